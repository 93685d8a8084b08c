"""Derivatives of D(x): second ones and gradient penalties, torch.func, activation checkpointing, compiled sampling."""

import copy

import pytest
import torch
from memory_builders import lived_in_memory, random_labels, unit_rows
from torch import nn
from torch.utils.checkpoint import checkpoint

B, M = 7, 3
TINY = 1e-12  # an epsilon so small that the clip never acts
OF_D = {
    "D": lambda probability: probability,
    "log D": lambda probability: probability.log(),
    "logit D": lambda probability: probability.logit(),
}


def queries_of(memory, seed=5):
    return 2 * unit_rows(B, memory.key_dim, seed=seed)


# ---------------------------------------------------------------- second derivatives


@pytest.mark.parametrize("settings", [{}, {"top_k": 17}, {"kappa": 20.0, "key_dim": 11}], ids=str)
def test_the_second_derivative_of_a_read_is_that_of_finite_differences(settings):
    memory = lived_in_memory(**settings, epsilon=TINY)
    assert torch.autograd.gradgradcheck(memory.read, queries_of(memory).requires_grad_())


def encoder_of_images(key_dim):
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 13), nn.Tanh(), nn.Linear(13, key_dim)).double()


def penalty(memory, encoder, images, of_d, one_lipschitz):
    """R1, E ||grad||^2, or the penalty of WGAN-GP, E (||grad|| - 1)^2, of a function of D at `images`."""
    images = images.clone().requires_grad_()
    value = OF_D[of_d](memory.read(encoder(images))).sum()
    (gradient,) = torch.autograd.grad(value, images, create_graph=True)
    squared = gradient.square().sum(dim=1)
    return ((squared.sqrt() - 1) ** 2 if one_lipschitz else squared).mean()


@pytest.mark.parametrize("of_d", OF_D)
@pytest.mark.parametrize("one_lipschitz", [False, True], ids=["R1", "WGAN-GP"])
def test_the_slope_of_a_gradient_penalty_is_that_of_finite_differences(of_d, one_lipschitz):
    memory = lived_in_memory(epsilon=TINY)
    encoder = encoder_of_images(M)
    images = torch.randn(B, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    weights = list(encoder.parameters())
    directions = [torch.randn_like(weight) for weight in weights]
    slopes = torch.autograd.grad(penalty(memory, encoder, images, of_d, one_lipschitz), weights, allow_unused=True)
    expected = sum((s * d).sum() for s, d in zip(slopes, directions, strict=True) if s is not None)
    step = 1e-5
    moved = []
    for sign in (1, -1):
        there = copy.deepcopy(encoder)
        with torch.no_grad():
            for weight, direction in zip(there.parameters(), directions, strict=True):
                weight += sign * step * direction
        moved.append(penalty(memory, there, images, of_d, one_lipschitz))
    assert float(expected) == pytest.approx(float((moved[0] - moved[1]).detach()) / (2 * step), rel=1e-5)


def test_a_second_derivative_after_a_write_is_refused():
    memory = lived_in_memory(epsilon=TINY)
    queries = queries_of(memory).requires_grad_()
    probability = memory.read_write(queries, random_labels(B, seed=1))
    with pytest.raises(RuntimeError, match="after the memory was written"):
        torch.autograd.grad(probability.sum(), queries, create_graph=True)


# ---------------------------------------------------------------- torch.func


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_func_s_derivatives_of_reads_are_those_of_autograd(dtype):
    memory = lived_in_memory(dtype=dtype, epsilon=1e-6)
    queries = queries_of(memory).to(dtype)
    leaf = queries.clone().requires_grad_()
    (expected,) = torch.autograd.grad(memory.read(leaf).sum(), leaf)
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(torch.func.grad(lambda q: memory.read(q).sum())(queries), expected, **close)
    one_by_one = torch.func.vmap(torch.func.grad(lambda q: memory.read(q.unsqueeze(0))[0]))(queries)
    torch.testing.assert_close(one_by_one, expected, **close)
    jacobian = torch.func.jacrev(memory.read)(queries)
    torch.testing.assert_close(jacobian.diagonal(dim1=0, dim2=1).T, expected, **close)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_func_s_jacobian_of_the_top_k_posterior_is_that_of_autograd(dtype):
    memory = lived_in_memory(dtype=dtype)
    queries = queries_of(memory).to(dtype)
    expected = torch.autograd.functional.jacobian(lambda q: memory.top_k_posterior(q)[0], queries)
    found = torch.func.jacrev(lambda q: memory.top_k_posterior(q)[0])(queries)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    weights, slots = torch.func.vmap(lambda q: memory.top_k_posterior(q.unsqueeze(0)))(queries)
    torch.testing.assert_close(weights[:, 0], memory.top_k_posterior(queries)[0], rtol=1e-4, atol=1e-5)
    assert torch.equal(slots[:, 0], memory.top_k_posterior(queries)[1])


# ---------------------------------------------------------------- activation checkpointing


def test_a_checkpointed_read_has_the_gradient_of_the_memory_that_it_read_although_it_was_written_since():
    memory = lived_in_memory(epsilon=TINY, alpha=0.5)
    encoder = encoder_of_images(M)
    images = torch.randn(B, 5, dtype=torch.float64)
    memory.read(encoder(images)).sum().backward()
    expected = [weight.grad.clone() for weight in encoder.parameters()]
    encoder.zero_grad()
    probability = checkpoint(lambda x: memory.read(encoder(x)), images, use_reentrant=False)
    memory.write(encoder(images), random_labels(B, seed=2))
    probability.sum().backward()
    for weight, gradient in zip(encoder.parameters(), expected, strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=1e-12, atol=1e-14)


READS = {
    "read": lambda memory, queries: memory.read(queries),
    "log_posterior_of": lambda memory, queries: memory.log_posterior_of(torch.arange(B) % 2, queries),
    "read_with_log_posterior": lambda memory, queries: memory.read_with_log_posterior(torch.arange(B) % 2, queries)[1],
    "top_k_posterior": lambda memory, queries: memory.top_k_posterior(queries)[0].square(),
    "posterior": lambda memory, queries: memory.posterior(queries).square(),
}
KEEP_THEIR_DERIVATIVE = ("read", "log_posterior_of", "read_with_log_posterior")


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("name", READS)
def test_a_checkpointed_read_before_a_write_has_the_gradient_of_its_memory_or_is_refused(name, reentrant):
    memory = lived_in_memory(epsilon=TINY)
    queries = queries_of(memory).requires_grad_()
    (expected,) = torch.autograd.grad(READS[name](memory, queries).sum(), queries)
    result = checkpoint(READS[name], memory, queries, use_reentrant=reentrant)
    memory.write(queries_of(memory), random_labels(B, seed=2))
    if name in KEEP_THEIR_DERIVATIVE and not reentrant:
        result.sum().backward()
        torch.testing.assert_close(queries.grad, expected, rtol=1e-12, atol=1e-14)
    else:
        with pytest.raises(RuntimeError, match="was called inside a backward pass"):
            result.sum().backward()


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpointed_write_is_refused_before_it_writes_twice(reentrant):
    memory = lived_in_memory()
    queries = queries_of(memory).requires_grad_()
    labels = random_labels(B, seed=1)
    probability = checkpoint(lambda q: memory.read_write(q.sin(), labels), queries, use_reentrant=reentrant)
    before = memory.keys.clone()
    with pytest.raises(RuntimeError, match="leave write and read_write outside"):
        probability.sum().backward()
    assert torch.equal(memory.keys, before)


# ---------------------------------------------------------------- compilation with changing batch sizes


@pytest.mark.thorough
@pytest.mark.filterwarnings("default")
def test_compiled_sampling_and_reading_take_another_batch_size():
    torch.compiler.reset()
    memory = lived_in_memory(61, 11, 5, dtype=torch.float32)

    def step(queries):
        keys, slots = memory.sample(len(queries))
        return memory.read(queries), keys, slots

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for size in (16, 16, 7, 16, 5):
        queries = unit_rows(size, 11, seed=size, dtype=torch.float32)
        probability, keys, slots = compiled(queries)
        torch.testing.assert_close(probability, memory.read(queries), rtol=1e-5, atol=1e-5)
        assert torch.equal(keys, memory.keys[slots]) and len(slots) == size
    torch.compiler.reset()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")  # in PyTorch's own formulas
def test_forward_mode_gives_the_derivatives_of_backward_mode():
    memory = lived_in_memory()
    queries = unit_rows(5, 3, seed=4)
    for function in (memory.read, lambda queries: memory.top_k_posterior(queries)[0]):
        backward = torch.autograd.functional.jacobian(function, queries)
        forward = torch.autograd.functional.jacobian(function, queries, vectorize=True, strategy="forward-mode")
        torch.testing.assert_close(forward, backward, rtol=1e-9, atol=1e-12)

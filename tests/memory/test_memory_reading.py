"""Reading: posterior, S, D(x), its gradient, the likelihood and samples, against plain loops, scipy and limits."""

import copy
import math

import numpy as np
import pytest
import torch
from memory_builders import assert_state_is, lived_in_memory, random_labels, reference_of, state_of, unit_rows
from scipy import special, stats
from torch.nn.functional import normalize

from memgan import VMFMemory

B, N, M, K = 7, 17, 3, 5
TINY = 1e-12  # an epsilon so small that the clip never acts
VARIANTS = [
    {},
    {"num_slots": 13, "key_dim": 11, "top_k": 1},
    {"top_k": N},
    {"kappa": 300.0},
    {"kappa": 0.05, "beta": 0.37},
]


@pytest.fixture(params=VARIANTS, ids=str)
def memory(request):
    return lived_in_memory(**request.param, seed=1)


def queries_for(memory, seed=5):
    return unit_rows(B, memory.key_dim, seed=seed)


# ---------------------------------------------------------------- posterior


def test_posterior_equals_the_plain_loops(memory):
    queries = queries_for(memory)
    expected = [reference_of(memory).posterior(query) for query in queries.numpy()]
    posterior = memory.posterior(queries)
    assert posterior.shape == (B, memory.num_slots)
    np.testing.assert_allclose(posterior.numpy(), expected, rtol=1e-11, atol=1e-300)


def test_posterior_equals_bayes_rule_with_scipy_s_densities(memory):
    queries = queries_for(memory)
    densities = scipy_log_densities(memory, queries)
    expected = special.softmax(densities + np.log(memory.histogram.numpy() + memory.beta), axis=1)
    np.testing.assert_allclose(memory.posterior(queries).numpy(), expected, rtol=1e-9, atol=1e-300)


def scipy_log_densities(memory, queries):
    """log p(x|c=i), [B, N]."""
    columns = [stats.vonmises_fisher(key, memory.kappa).logpdf(queries.numpy()) for key in memory.keys.numpy()]
    return np.stack(columns, axis=1)


def test_posterior_is_the_prior_where_kappa_vanishes():
    memory = lived_in_memory(kappa=1e-12)
    prior = memory.histogram.numpy() / memory.histogram.numpy().sum()
    np.testing.assert_allclose(memory.posterior(queries_for(memory)).numpy(), np.tile(prior, (B, 1)), rtol=1e-7)


def test_posterior_is_the_nearest_slot_where_kappa_is_large():
    memory = lived_in_memory(kappa=1e4)
    queries = queries_for(memory)
    nearest = (queries.numpy() @ memory.keys.numpy().T).argmax(axis=1)
    np.testing.assert_allclose(memory.posterior(queries).numpy(), np.eye(N)[nearest], rtol=0, atol=1e-6)


def test_posterior_s_gradient_is_that_of_finite_differences():
    memory = lived_in_memory()
    assert torch.autograd.gradcheck(memory.posterior, queries_for(memory).requires_grad_())


# ---------------------------------------------------------------- S


def test_top_k_posterior_is_the_posterior_of_the_plain_loops_over_their_s(memory):
    queries, reference = queries_for(memory), reference_of(memory)
    weights, slots = memory.top_k_posterior(queries)
    assert slots.tolist() == [reference.nearest(query) for query in queries.numpy()]
    joint = np.array(
        [[reference.joint(i, q) for i in row] for q, row in zip(queries.numpy(), slots.tolist(), strict=True)]
    )
    np.testing.assert_allclose(weights.numpy(), joint / joint.sum(axis=1, keepdims=True), rtol=1e-11, atol=1e-300)


def test_top_k_posterior_over_all_slots_is_the_exact_posterior():
    memory = lived_in_memory(top_k=N)
    queries = queries_for(memory)
    weights, slots = memory.top_k_posterior(queries)
    assert slots.sort(dim=1).values.tolist() == [list(range(N))] * B
    exact = [reference_of(memory).posterior(query) for query in queries.numpy()]
    np.testing.assert_allclose(torch.zeros(B, N).double().scatter(1, slots, weights).numpy(), exact, rtol=1e-11)


def test_top_k_posterior_s_gradient_is_that_of_finite_differences():
    memory = lived_in_memory()
    assert torch.autograd.gradcheck(lambda q: memory.top_k_posterior(q)[0], queries_for(memory).requires_grad_())


def test_top_k_posterior_s_values_do_not_depend_on_whether_a_gradient_is_wanted(memory):
    queries = queries_for(memory)
    without, slots = memory.top_k_posterior(queries)
    wanted, same_slots = memory.top_k_posterior(queries.clone().requires_grad_())
    assert torch.equal(slots, same_slots) and wanted.requires_grad and not without.requires_grad
    torch.testing.assert_close(wanted.detach(), without, rtol=1e-11, atol=1e-14)


# ---------------------------------------------------------------- D(x)


def test_read_equals_the_plain_loops(memory):
    queries = queries_for(memory)
    expected = [reference_of(memory).read(query) for query in queries.numpy()]
    probability = memory.read(queries)
    assert probability.shape == (B,)
    np.testing.assert_allclose(probability.numpy(), expected, rtol=1e-11)


def test_read_over_all_slots_is_the_exact_probability_of_a_real_image():
    memory = lived_in_memory(top_k=N, epsilon=TINY)
    queries = queries_for(memory)
    scores = scipy_log_densities(memory, queries) + np.log(memory.histogram.numpy() + memory.beta)
    exact = special.softmax(scores, axis=1) @ memory.values.numpy()
    np.testing.assert_allclose(memory.read(queries).numpy(), exact, rtol=1e-9)


@pytest.mark.parametrize("epsilon", [1e-9, 1e-3, 0.2])
def test_read_stays_between_epsilon_and_one_minus_epsilon_and_reaches_both(epsilon):
    memory = lived_in_memory(top_k=1, epsilon=epsilon)
    probability = memory.read(memory.keys)
    assert set(probability.tolist()) == {epsilon, 1 - epsilon}


def test_read_of_the_first_memory_is_undecided():
    # equal histograms, as many real as generated slots, hardly any concentration
    memory = VMFMemory(12, 3, 12, kappa=1e-9).double()
    np.testing.assert_allclose(memory.read(unit_rows(B, 3, seed=1)).numpy(), np.full(B, 0.5), rtol=0, atol=1e-8)


@pytest.mark.parametrize("settings", [{}, {"top_k": N}, {"kappa": 60.0}, {"num_slots": 13, "key_dim": 11}], ids=str)
def test_read_s_gradient_is_that_of_finite_differences(settings):
    memory = lived_in_memory(**settings, epsilon=TINY)
    assert torch.autograd.gradcheck(memory.read, queries_for(memory).requires_grad_())


def test_read_s_gradient_is_the_derivative_of_the_dense_posterior():
    memory = lived_in_memory(top_k=N, epsilon=TINY)
    queries = queries_for(memory).requires_grad_()
    upstream = torch.linspace(-1.3, 2.1, B, dtype=torch.float64)
    (ours,) = torch.autograd.grad(memory.read(queries), queries, upstream)
    scores = memory.kappa * normalize(queries, dim=1) @ memory.keys.T + (memory.histogram + memory.beta).log()
    (dense,) = torch.autograd.grad(scores.softmax(dim=1) @ memory.values.double(), queries, upstream)
    assert float(dense.abs().max()) > 1
    torch.testing.assert_close(ours, dense, rtol=1e-10, atol=1e-13)


def test_read_s_gradient_is_zero_where_the_clip_acts_and_only_there():
    memory = lived_in_memory(epsilon=0.2)
    queries = queries_for(memory, seed=6).requires_grad_()
    probability = memory.read(queries)
    probability.sum().backward()
    unclipped = np.array([_with(memory, epsilon=TINY).read(q) for q in queries.detach().numpy()])
    clipped = (unclipped < 0.2) | (unclipped > 0.8)
    assert 0 < clipped.sum() < B
    assert bool((queries.grad[torch.from_numpy(clipped)] == 0).all())
    assert bool((queries.grad[torch.from_numpy(~clipped)].norm(dim=1) > 1e-3).all())


def _with(memory, **settings):
    reference = reference_of(memory)
    for name, value in settings.items():
        setattr(reference, name, value)
    return reference


def unit(vector):
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("at_once", [False, True])
def test_read_s_gradient_is_that_of_before_a_write_that_comes_before_backward(at_once):
    memory = lived_in_memory(epsilon=TINY, alpha=0.5)
    untouched = copy.deepcopy(memory)
    labels = random_labels(B, seed=2)
    queries = queries_for(memory).requires_grad_()
    if at_once:
        probability = memory.read_write(queries, labels)
    else:
        probability = memory.read(queries)
        memory.write(queries, labels)
    assert not torch.equal(memory.keys, untouched.keys)
    probability.sum().backward()

    step = 1e-6
    for b in range(B):
        for m in range(M):
            nudge = np.zeros(M)
            nudge[m] = step
            query = queries[b].detach().numpy()
            before = reference_of(untouched)
            slope = (before.read(unit(query + nudge)) - before.read(unit(query - nudge))) / (2 * step)
            assert float(queries.grad[b, m]) == pytest.approx(slope, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("length", [1e-3, 3.0, 1e4])
def test_queries_of_any_length_are_read_as_their_direction(memory, length):
    queries = queries_for(memory)
    for name in ("posterior", "read", "log_likelihood"):
        of_direction, of_any_length = getattr(memory, name)(queries), getattr(memory, name)(length * queries)
        torch.testing.assert_close(of_any_length, of_direction, rtol=1e-10, atol=1e-14)


def test_the_gradient_of_a_read_flows_through_the_normalisation_of_a_query():
    memory = lived_in_memory(epsilon=TINY)
    raw = (3 * queries_for(memory)).requires_grad_()
    assert torch.autograd.gradcheck(memory.read, raw)
    memory.read(raw).sum().backward()
    radial = (raw.grad * raw.detach()).sum(dim=1)
    np.testing.assert_allclose(radial.numpy(), np.zeros(B), atol=1e-12)


def test_a_read_without_gradient_carries_none():
    memory = lived_in_memory()
    queries = queries_for(memory).requires_grad_()
    with torch.no_grad():
        assert not memory.read(queries).requires_grad
    assert not memory.read(queries.detach()).requires_grad
    assert memory.read(queries).requires_grad


def test_reading_never_changes_the_memory(memory):
    state = state_of(memory)
    queries = queries_for(memory).requires_grad_()
    total = memory.posterior(queries).sum() + memory.top_k_posterior(queries)[0].sum() + memory.read(queries).sum()
    total.backward()
    memory.log_likelihood(queries, label=1)
    memory.sample(5)
    assert_state_is(memory, state)
    assert not list(memory.parameters())


# ---------------------------------------------------------------- likelihood


@pytest.mark.parametrize("label", [None, 0, 1])
def test_log_likelihood_equals_scipy_s_mixture_of_scipy_s_densities(memory, label):
    queries = queries_for(memory)
    chosen = np.ones(memory.num_slots, bool) if label is None else memory.values.numpy() == label
    weight = (memory.histogram.numpy() + memory.beta) * chosen
    expected = special.logsumexp(scipy_log_densities(memory, queries), b=weight / weight.sum(), axis=1)
    likelihood = memory.log_likelihood(queries, label=label)
    assert likelihood.shape == (B,) and not likelihood.requires_grad
    np.testing.assert_allclose(likelihood.numpy(), expected, rtol=1e-10, atol=1e-10)


def test_log_likelihood_equals_the_plain_loops():
    memory = lived_in_memory()
    queries, reference = queries_for(memory), reference_of(memory)
    log_normaliser = math.log(memory.kappa / (4 * math.pi * math.sinh(memory.kappa)))  # M = 3
    expected = [reference.log_likelihood(query, log_normaliser) for query in queries.numpy()]
    np.testing.assert_allclose(memory.log_likelihood(queries).numpy(), expected, rtol=1e-12)


def test_the_mixture_integrates_to_one_over_the_sphere():
    memory = lived_in_memory()
    height, weight = np.polynomial.legendre.leggauss(60)
    longitude = np.arange(120) * 2 * np.pi / 120
    ring = np.sqrt(1 - height**2)[:, None]
    rows = [ring * np.cos(longitude), ring * np.sin(longitude), np.broadcast_to(height[:, None], (60, 120))]
    points = torch.from_numpy(np.stack(rows, axis=-1).reshape(-1, 3))
    for label in (None, 0, 1):
        density = memory.log_likelihood(points, label=label).exp().numpy().reshape(60, 120)
        assert (density.sum(axis=1) @ weight) * 2 * np.pi / 120 == pytest.approx(1, abs=1e-10)


def test_log_likelihood_in_blocks_equals_log_likelihood_at_once(monkeypatch):
    memory = lived_in_memory()
    queries = queries_for(memory)
    expected = special.logsumexp(
        scipy_log_densities(memory, queries),
        b=(memory.histogram / memory.histogram.sum()).numpy(),
        axis=1,
    )
    for elements in (1, 2 * N, 3 * N + 1):
        monkeypatch.setattr("memgan.engines.portions.MOST_NUMBERS", elements)
        np.testing.assert_allclose(memory.log_likelihood(queries).numpy(), expected, rtol=0, atol=1e-7)


# ---------------------------------------------------------------- sampling


def test_sample_frequencies_are_those_of_the_plain_loops_by_chi_square():
    memory = lived_in_memory()
    draws = 50_000
    keys, slots = memory.sample(draws, generator=torch.Generator().manual_seed(31))
    assert keys.shape == (draws, M) and slots.shape == (draws,) and slots.dtype == torch.long
    assert torch.equal(keys, memory.keys[slots])
    expected = np.array(reference_of(memory).sampling_probabilities())
    observed = np.bincount(slots.numpy(), minlength=N)
    real = expected > 0
    assert observed[~real].sum() == 0
    assert stats.chisquare(observed[real], draws * expected[real]).pvalue > 1e-4
    # the same test tells a histogram that is 10 % off in one slot
    off = expected.copy()
    off[np.argmax(off)] *= 1.1
    assert stats.chisquare(observed[real], draws * off[real] / off[real].sum()).pvalue < 1e-4


def test_slots_without_mass_or_without_v_1_are_never_sampled_even_at_the_ends():
    memory = lived_in_memory()
    memory.values.copy_(torch.arange(N) % 3 != 0)
    memory.histogram.copy_(torch.where(torch.arange(N) % 2 == 0, 0.0, 1.0))
    _, slots = memory.sample(5000, generator=torch.Generator().manual_seed(3))
    assert set(slots.tolist()) == {i for i in range(N) if i % 3 and i % 2}


def test_tiny_slots_are_sampled_in_proportion_beside_a_huge_one_in_float32():
    memory = lived_in_memory(num_slots=1009, dtype=torch.float32)
    memory.values.fill_(1)
    memory.histogram.fill_(1e-3)
    memory.histogram[4] = 2e4  # cumulative sums in float32 would step by 0.002 there and lose the others
    draws = 3_000_000
    _, slots = memory.sample(draws, generator=torch.Generator().manual_seed(37))
    others = int((slots != 4).sum())
    share = 1008e-3 / (2e4 + 1008e-3)
    assert stats.binomtest(others, draws, share).pvalue > 1e-4


def test_the_generator_decides_the_samples_and_leaves_the_global_one_alone():
    memory = lived_in_memory()
    before = torch.random.get_rng_state()
    first, again, other = (memory.sample(97, generator=torch.Generator().manual_seed(s))[1] for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_samples_are_copies_that_a_later_write_does_not_move():
    memory = lived_in_memory(alpha=0.5)
    keys, _ = memory.sample(B)
    before = keys.clone()
    memory.write(queries_for(memory), torch.ones(B, dtype=torch.long))
    assert torch.equal(keys, before)


@pytest.mark.parametrize("epsilon", [1e-8, 1e-12, 1e-300])
def test_the_loss_is_finite_however_small_epsilon_is(epsilon):
    """1 - 1e-8 is 1 in float32, and the logarithm of 1 - D would be infinite."""
    memory = VMFMemory(64, 8, 4, kappa=200, epsilon=epsilon)
    memory.values.fill_(1)
    queries = memory.keys.clone()
    d = memory.read(queries)
    assert float(d.max()) < 1 and bool((1 - d).log().isfinite().all())
    memory.values.fill_(0)
    least = memory.read(queries).min()
    assert float(least) == pytest.approx(max(epsilon, torch.finfo(torch.float32).tiny)) and bool(least.log().isfinite())


def test_the_largest_kappa_and_beta_read_and_write_finite_numbers():
    for settings in ({"kappa": 1e6}, {"beta": 1e30}):
        memory = VMFMemory(64, 8, 4, **settings)
        queries = torch.randn(16, 8, requires_grad=True)
        d = memory.read_write(queries, torch.arange(16) % 2)
        d.log().sum().backward()
        assert bool(d.isfinite().all()) and bool(queries.grad.isfinite().all())
        assert bool(memory.keys.isfinite().all()) and bool(memory.log_likelihood(queries.detach()).isfinite().all())

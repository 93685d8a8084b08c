"""On a GPU: the CPU's results, no host synchronisation, a whole step in a CUDA graph, and bitwise repeatable.

All of these skip where there is no CUDA device.
"""

import copy

import pytest
import torch
from memory_builders import assert_state_is, lived_in_memory, random_labels, state_of, unit_rows

pytestmark = pytest.mark.gpu

# N, M, k, B
SIZES = [(17, 3, 5, 7), (211, 11, 211, 31), (4001, 61, 13, 67)]
CHOICES = [
    {},
    {"em_steps": 3, "touch": "all", "replace_within_label": False, "correct_in_top": 5},
]
CLOSE = {torch.float64: {"rtol": 1e-10, "atol": 1e-11}, torch.float32: {"rtol": 1e-4, "atol": 1e-5}}


def pair(num_slots=211, key_dim=11, top_k=13, *, dtype=torch.float64, validate=False, **choices):
    """The same memory on the CPU and on the GPU."""
    memory = lived_in_memory(num_slots, key_dim, top_k, seed=1, dtype=dtype, validate=validate, **choices)
    return memory, copy.deepcopy(memory).cuda()


def batch(key_dim=11, size=31, *, seed=1, dtype=torch.float64):
    return unit_rows(size, key_dim, seed=seed, dtype=dtype), random_labels(size, seed=seed + 1)


def assert_same_memory(gpu, cpu, dtype):
    assert torch.equal(gpu.values.cpu(), cpu.values) and torch.equal(gpu.ages.cpu(), cpu.ages)
    for name in ("keys", "histogram"):
        torch.testing.assert_close(getattr(gpu, name).cpu(), getattr(cpu, name), **CLOSE[dtype])


@pytest.fixture
def synchronisation_is_an_error():
    """A function that makes it so, until the end of the test."""
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


# ---------------------------------------------------------------- agreement


@pytest.mark.parametrize(("num_slots", "key_dim", "top_k", "size"), SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_reads_agree_with_the_cpu(num_slots, key_dim, top_k, size, dtype):
    cpu, gpu = pair(num_slots, key_dim, top_k, dtype=dtype)
    queries, _ = batch(key_dim, size, dtype=dtype)
    theirs, ours = queries.clone().requires_grad_(), queries.cuda().requires_grad_()
    for name, settings in [("posterior", {}), ("read", {}), ("log_likelihood", {}), ("log_likelihood", {"label": 1})]:
        on_gpu, on_cpu = getattr(gpu, name)(ours, **settings), getattr(cpu, name)(theirs, **settings)
        assert on_gpu.is_cuda
        torch.testing.assert_close(on_gpu.detach().cpu(), on_cpu.detach(), **CLOSE[dtype])
    for on_gpu, on_cpu in zip(gpu.top_k_posterior(ours), cpu.top_k_posterior(theirs), strict=True):
        torch.testing.assert_close(on_gpu.detach().cpu(), on_cpu.detach(), **CLOSE[dtype])
    gpu.read(ours).sum().backward()
    cpu.read(theirs).sum().backward()
    torch.testing.assert_close(ours.grad.cpu(), theirs.grad, **CLOSE[dtype])


@pytest.mark.parametrize(("num_slots", "key_dim", "top_k", "size"), SIZES)
@pytest.mark.parametrize("choices", CHOICES, ids=str)
@pytest.mark.parametrize("operation", ["write", "read_write"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_writes_agree_with_the_cpu(num_slots, key_dim, top_k, size, choices, operation, dtype):
    cpu, gpu = pair(num_slots, key_dim, top_k, dtype=dtype, **choices)
    for step in range(3 if dtype == torch.float64 else 1):  # in float32, rounding would come to choose other slots
        queries, labels = batch(key_dim, size, seed=step, dtype=dtype)
        on_gpu = getattr(gpu, operation)(queries.cuda(), labels.cuda())
        on_cpu = getattr(cpu, operation)(queries, labels)
        if operation == "read_write":
            torch.testing.assert_close(on_gpu.cpu(), on_cpu, **CLOSE[dtype])
        assert_same_memory(gpu, cpu, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_counts_agree_with_the_cpu(dtype):
    cpu, gpu = pair(4001, 61, 13, dtype=dtype)
    queries, _ = batch(61, 1000, dtype=dtype)
    cpu.recount(queries)
    gpu.recount(queries.cuda())
    assert_same_memory(gpu, cpu, dtype)


def test_samples_are_slots_with_v_1_in_proportion_to_their_mass():
    _, gpu = pair()
    generator = torch.Generator("cuda").manual_seed(1)
    keys, slots = gpu.sample(100_003, generator=generator)
    assert torch.equal(keys, gpu.keys[slots])
    expected = 100_003 * gpu.slot_probabilities().cpu()
    observed = slots.cpu().bincount(minlength=211)
    assert bool((observed[expected == 0] == 0).all())
    real = expected > 0
    chi_square = float(((observed - expected)[real] ** 2 / expected[real]).sum())
    degrees = int(real.sum()) - 1
    assert abs(chi_square - degrees) < 5 * (2 * degrees) ** 0.5  # five standard deviations of chi-square


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_queries_and_autocast_agree_with_the_cpu(dtype):
    cpu, gpu = pair(dtype=torch.float32)
    queries, labels = batch(dtype=torch.float32)
    queries = queries.to(dtype)
    with torch.autocast("cuda", dtype=dtype):
        on_gpu = gpu.read_write(queries.cuda(), labels.cuda())
    assert on_gpu.dtype == torch.float32
    torch.testing.assert_close(on_gpu.cpu(), cpu.read_write(queries, labels), **CLOSE[torch.float32])
    assert_same_memory(gpu, cpu, torch.float32)


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_tensor_float_32_elsewhere_does_not_change_which_slots_are_found(precision):
    cpu, gpu = pair(4001, 61, 13, dtype=torch.float32, kappa=60.0)
    queries, _ = batch(61, 67, dtype=torch.float32)
    expected = cpu.top_k_posterior(queries)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        weights, slots = gpu.top_k_posterior(queries.cuda())
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(weights.cpu(), expected[0], **CLOSE[torch.float32])
    assert torch.equal(slots.cpu(), expected[1])


# ---------------------------------------------------------------- no host synchronisation


@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_nothing_waits_for_the_gpu_without_validation(choices, synchronisation_is_an_error):
    _, gpu = pair(dtype=torch.float32, **choices)
    queries, labels = (tensor.cuda() for tensor in batch(dtype=torch.float32))
    half, generator = queries.bfloat16(), torch.Generator("cuda").manual_seed(1)
    queries.requires_grad_()
    synchronisation_is_an_error()
    gpu.posterior(queries)
    gpu.top_k_posterior(queries)
    gpu.log_likelihood(queries)
    gpu.log_likelihood(queries, label=1)
    gpu.read(half)
    gpu.write(queries, labels)
    gpu.read_write(queries, labels).sum().backward()
    gpu.sample(13)
    gpu.sample(13, generator=generator)
    gpu.recount(queries)


def test_with_validation_bad_values_are_still_found():
    _, gpu = pair(validate=True)
    queries, labels = (tensor.cuda() for tensor in batch())
    before = state_of(gpu)
    with pytest.raises(ValueError, match="have a direction"):
        gpu.write(0 * queries, labels)
    with pytest.raises(ValueError, match="labels must be 0"):
        gpu.write(queries, labels + 1)
    with pytest.raises(ValueError, match="queries are on cpu, the memory is on cuda"):
        gpu.write(queries.cpu(), labels)
    with pytest.raises(ValueError, match="labels are on cpu, the memory is on cuda"):
        gpu.write(queries, labels.cpu())
    assert_state_is(gpu, before)


# ---------------------------------------------------------------- CUDA graphs


@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_a_step_of_reading_writing_and_sampling_replays_from_a_cuda_graph(choices):
    _, gpu = pair(dtype=torch.float64, **choices)
    eager, start = copy.deepcopy(gpu), state_of(gpu)
    queries, labels = (tensor.cuda() for tensor in batch())
    queries.requires_grad_()

    def step():
        probability = gpu.read_write(queries, labels)
        (gradient,) = torch.autograd.grad(probability.sum(), queries)
        return probability, gradient, *gpu.sample(13)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        probability, gradient, keys, slots = step()

    gpu.load_state_dict(start)
    drawn = []
    for seed in range(3):
        new_queries, new_labels = batch(seed=seed)
        with torch.no_grad():
            queries.copy_(new_queries)
        labels.copy_(new_labels)
        graph.replay()
        plain = new_queries.cuda().requires_grad_()
        expected = eager.read_write(plain, new_labels.cuda())
        expected.sum().backward()
        torch.testing.assert_close(probability, expected.detach(), **CLOSE[torch.float64])
        torch.testing.assert_close(gradient, plain.grad, **CLOSE[torch.float64])
        assert_same_memory(gpu, copy.deepcopy(eager).cpu(), torch.float64)
        assert torch.equal(keys, gpu.keys[slots]) and bool((gpu.values[slots] == 1).all())
        drawn.append(slots.tolist())
    assert drawn[0] != drawn[1] != drawn[2]  # a replay draws anew


# ---------------------------------------------------------------- repeatable


@pytest.mark.parametrize("choices", CHOICES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_writes_reads_and_samples_are_bitwise_repeatable(choices, dtype):
    _, gpu = pair(1009, 61, 13, dtype=dtype, **choices)
    start, runs = state_of(gpu), []
    for _ in range(3):
        gpu.load_state_dict(start)
        generator, results = torch.Generator("cuda").manual_seed(1), []
        for step in range(5):
            queries, labels = (tensor.cuda() for tensor in batch(61, 257, seed=step, dtype=dtype))
            queries.requires_grad_()
            probability = gpu.read_write(queries, labels)
            probability.sum().backward()
            results += [probability.detach(), queries.grad, *gpu.sample(97, generator=generator)]
        runs.append((state_of(gpu), results))
    for state, results in runs[1:]:
        assert all(torch.equal(state[name], runs[0][0][name]) for name in state)
        assert all(torch.equal(ours, first) for ours, first in zip(results, runs[0][1], strict=True))


@pytest.mark.filterwarnings("default")  # what a compiler says of itself is not ours
def test_read_write_compiled_agrees_with_eager():
    torch.compiler.reset()
    _, gpu = pair(dtype=torch.float32)
    eager = copy.deepcopy(gpu)
    queries, labels = (tensor.cuda() for tensor in batch(dtype=torch.float32))
    ours, theirs = queries.clone().requires_grad_(), queries.clone().requires_grad_()
    compiled, plain = torch.compile(gpu.read_write, fullgraph=True)(ours, labels), eager.read_write(theirs, labels)
    compiled.sum().backward()
    plain.sum().backward()
    torch.testing.assert_close(compiled, plain, **CLOSE[torch.float32])
    torch.testing.assert_close(ours.grad, theirs.grad, **CLOSE[torch.float32])
    assert_same_memory(gpu, copy.deepcopy(eager).cpu(), torch.float32)
    torch.compiler.reset()

"""Precision, autocast, compilation, checkpoints: the same memory under other circumstances gives the same results."""

import copy
import io
import pickle
import shutil
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from memory_builders import assert_state_is, lived_in_memory, random_labels, reference_of, state_of, unit_rows

from memgan import MemorySettings, VMFMemory
from memgan.engines.precision import full_precision
from memgan.presets import PRESETS

B, N, M, K = 7, 17, 3, 5


def batch(key_dim=M, size=B, *, seed=1, dtype=torch.float64):
    return unit_rows(size, key_dim, seed=seed, dtype=dtype), random_labels(size, seed=seed + 1)


# ---------------------------------------------------------------- float32

# Rounding a key moves kappa K . q by kappa * 1e-7: with kappa = 60 a responsibility by about 1e-5 of itself.
SINGLE = {"rtol": 5e-5, "atol": 5e-6}


@pytest.mark.parametrize("settings", [{}, {"em_steps": 3, "correct_in_top": K}, {"touch": "all"}], ids=str)
@pytest.mark.parametrize(("num_slots", "key_dim"), [(N, M), (211, 11)])
def test_float32_agrees_with_the_plain_loops_in_float64(settings, num_slots, key_dim):
    memory = lived_in_memory(num_slots, key_dim, seed=3, dtype=torch.float32, kappa=60.0, **settings)
    reference = reference_of(memory)
    queries, labels = batch(key_dim, dtype=torch.float32)
    exact = F.normalize(queries.double(), dim=1).numpy()
    expected = [reference.read(q) for q in exact]
    posterior = [reference.posterior(q) for q in exact]
    read = memory.read(queries)
    assert read.dtype == memory.posterior(queries).dtype == torch.float32
    np.testing.assert_allclose(memory.posterior(queries).numpy(), posterior, **SINGLE)
    np.testing.assert_allclose(read.numpy(), expected, **SINGLE)
    memory.write(queries, labels)
    reference.write_batch(exact, labels.tolist())
    np.testing.assert_allclose(memory.keys.numpy(), reference.keys, **SINGLE)
    np.testing.assert_allclose(memory.histogram.numpy(), reference.histogram, **SINGLE)
    assert (memory.values.tolist(), memory.ages.tolist()) == (reference.values, reference.ages)


def test_float32_log_likelihood_agrees_with_float64():
    memory = lived_in_memory(seed=4, kappa=60.0)
    queries, _ = batch()
    exact, single = memory.log_likelihood(queries), copy.deepcopy(memory).float().log_likelihood(queries.float())
    np.testing.assert_allclose(single.numpy(), exact.numpy(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("memory_dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("query_dtype", [torch.float32, torch.float64])
def test_results_have_the_precision_of_the_memory(memory_dtype, query_dtype):
    memory = lived_in_memory(dtype=memory_dtype)
    queries, labels = batch(dtype=query_dtype)
    results = [memory.posterior(queries), memory.top_k_posterior(queries)[0], memory.read(queries)]
    results += [memory.log_likelihood(queries), memory.read_write(queries, labels), memory.sample(3)[0]]
    assert {result.dtype for result in results} == {memory_dtype}


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_a_lower_matmul_precision_elsewhere_does_not_reach_the_memory(precision):
    memory = lived_in_memory(211, 101, seed=5, dtype=torch.float32, kappa=300.0)
    queries, _ = batch(101, size=67, dtype=torch.float32)
    exact = [reference_of(memory).nearest(q) for q in queries.double().numpy()]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        slots = memory.top_k_posterior(queries)[1]
    finally:
        torch.set_float32_matmul_precision(before)
    assert slots.tolist() == exact


def test_threads_that_read_side_by_side_are_exact_and_leave_the_precision_as_it_was():
    switch = torch.backends.cuda.matmul
    before = switch.fp32_precision
    both_inside, first_is_out = threading.Barrier(2, timeout=60), threading.Event()
    seen = []

    def first():
        with full_precision(torch.device("cpu")):
            both_inside.wait()
        first_is_out.set()

    def second():
        with full_precision(torch.device("cpu")):
            both_inside.wait()
            first_is_out.wait(60)
            seen.append(switch.fp32_precision)

    switch.fp32_precision = "tf32"
    try:
        threads = [threading.Thread(target=work) for work in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert seen == ["ieee"] and switch.fp32_precision == "tf32"
    finally:
        switch.fp32_precision = before


@pytest.mark.parametrize("length", [1e-45, 1e-30, 1e-22, 3e-22, 1e-19, 1e-17, 1e-15, 1e-6, 1e15])
def test_a_short_query_is_read_as_its_direction_or_refused(length):
    """In float32 the squares of a row shorter than 3e-16 lose digits, and below 4e-23 all of them are 0."""
    memory = lived_in_memory(dtype=torch.float32)
    queries, labels = batch(dtype=torch.float32)
    expected = memory.read(queries)
    before = memory.keys.clone()
    if length < 3e-16:
        with pytest.raises(ValueError, match="must have a direction"):
            memory.read_write(length * queries, labels)
        assert torch.equal(memory.keys, before)
    else:
        torch.testing.assert_close(memory.read_write(length * queries, labels), expected, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- half precision


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
@pytest.mark.parametrize("key_dim", [M, 101])
def test_low_precision_queries_are_their_unit_vectors_in_float32(dtype, rounding, key_dim):
    memory = lived_in_memory(key_dim=key_dim, dtype=torch.float32)
    full, labels = batch(key_dim, dtype=torch.float32)
    queries = full.to(dtype)
    meant = F.normalize(queries.float(), dim=1)
    results = [memory.posterior(queries), memory.top_k_posterior(queries)[0], memory.read(queries)]
    results += [memory.log_likelihood(queries)]
    expected = [memory.posterior(meant), memory.top_k_posterior(meant)[0], memory.read(meant)]
    expected += [memory.log_likelihood(meant)]
    for ours, theirs in zip(results, expected, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    # and close to what the unrounded queries would have given: kappa times the rounding of a unit vector
    torch.testing.assert_close(results[0], memory.posterior(full), rtol=4 * memory.kappa * rounding, atol=0)

    other = copy.deepcopy(memory)
    probability = memory.read_write(queries, labels)
    assert probability.dtype == torch.float32
    other.write(meant, labels)
    assert memory.keys.dtype == memory.histogram.dtype == torch.float32
    torch.testing.assert_close(memory.keys, other.keys, rtol=0, atol=1e-6)
    torch.testing.assert_close(memory.histogram, other.histogram)
    assert float((memory.keys.norm(dim=1) - 1).abs().max()) < 1e-6
    assert torch.equal(memory.values, other.values) and torch.equal(memory.ages, other.ages)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_gradient_of_a_read_returns_in_the_dtype_of_low_precision_queries(dtype):
    memory = lived_in_memory(dtype=torch.float32, epsilon=1e-9)
    full, _ = batch(dtype=torch.float32)
    queries = full.to(dtype).requires_grad_()
    memory.read(queries).sum().backward()
    assert queries.grad.dtype == dtype
    raw = queries.detach().float().requires_grad_()
    memory.read(F.normalize(raw, dim=1)).sum().backward()
    # one rounding of the gradient to 8 bits
    torch.testing.assert_close(queries.grad.float(), raw.grad, rtol=2**-8, atol=1e-3)


def test_autocast_does_not_reach_the_memory():
    memory = lived_in_memory(211, 11, dtype=torch.float32, epsilon=1e-9)
    other = copy.deepcopy(memory)
    queries, labels = batch(11, dtype=torch.float32)

    def everything(memory):
        leaf = queries.clone().requires_grad_()
        memory.read(leaf).sum().backward()
        results = [memory.posterior(queries), *memory.top_k_posterior(queries), memory.read(queries), leaf.grad]
        return [*results, memory.log_likelihood(queries), memory.read_write(queries, labels)]

    plain = everything(memory)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (queries @ queries.T).dtype == torch.bfloat16  # it is on
        under_autocast = everything(other)
    for ours, theirs in zip(under_autocast, plain, strict=True):
        assert torch.equal(ours, theirs) and ours.dtype == theirs.dtype
    assert_state_is(other, state_of(memory))


# ---------------------------------------------------------------- validation


@pytest.mark.parametrize("settings", [{}, {"em_steps": 3, "touch": "all", "replace_within_label": False}], ids=str)
def test_without_validation_results_are_bitwise_the_same(settings):
    memory = lived_in_memory(211, 11, seed=6, **settings)
    trusting = copy.deepcopy(memory)
    trusting.validate = False
    for step in range(10):
        queries, labels = batch(11, seed=step)
        for name in ("posterior", "read", "log_likelihood"):
            assert torch.equal(getattr(memory, name)(queries), getattr(trusting, name)(queries))
        assert torch.equal(memory.read_write(queries, labels), trusting.read_write(queries, labels))
    ours, theirs = (m.sample(97, generator=torch.Generator().manual_seed(7))[1] for m in (memory, trusting))
    assert torch.equal(ours, theirs)
    assert_state_is(trusting, state_of(memory))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 0.0], ids=str)
@pytest.mark.parametrize("operation", ["write", "read_write"])
def test_a_row_without_a_direction_is_never_written_although_nobody_looks_at_it(bad, operation):
    memory = lived_in_memory(211, 11, seed=6, validate=False)
    without = copy.deepcopy(memory)
    queries, labels = batch(11)
    rows = torch.arange(B) != 4
    without.write(queries[rows], labels[rows])
    queries[4] = bad
    probability = getattr(memory, operation)(queries, labels)
    assert_state_is(memory, state_of(without))
    if operation == "read_write":
        assert probability.isnan().tolist() == (~rows).tolist()


# ---------------------------------------------------------------- compilation

COMPILED = [
    {},
    {"em_steps": 3, "touch": "all", "replace_within_label": False, "correct_in_top": K},
]


def assert_compiled_agrees(backend, settings):
    torch.compiler.reset()
    eager = lived_in_memory(61, 11, K, seed=8, dtype=torch.float32, validate=False, **settings)
    memory = copy.deepcopy(eager)
    step = torch.compile(memory.read_write, fullgraph=True, backend=backend)
    for seed in range(3):
        queries, labels = batch(11, seed=seed, dtype=torch.float32)
        ours, theirs = queries.clone().requires_grad_(), queries.clone().requires_grad_()
        compiled, plain = step(ours, labels), eager.read_write(theirs, labels)
        compiled.sum().backward()
        plain.sum().backward()
        torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)
    for name in ("keys", "histogram"):
        torch.testing.assert_close(getattr(memory, name), getattr(eager, name), rtol=1e-5, atol=1e-5)
    assert torch.equal(memory.values, eager.values) and torch.equal(memory.ages, eager.ages)
    assert not torch.equal(memory.keys, lived_in_memory(61, 11, K, seed=8, dtype=torch.float32).keys)
    torch.compiler.reset()


@pytest.mark.thorough
@pytest.mark.parametrize("settings", COMPILED, ids=str)
@pytest.mark.filterwarnings("default")  # what a compiler says of itself is not ours
def test_read_write_is_one_graph_that_agrees_with_eager(settings):
    assert_compiled_agrees("aot_eager", settings)


@pytest.mark.thorough  # many seconds of C++ compilation the first time: what the soak compiles as well, one graph shows
@pytest.mark.parametrize("settings", [COMPILED[0], pytest.param(COMPILED[1], marks=pytest.mark.slow)], ids=str)
@pytest.mark.filterwarnings("default")
def test_read_write_compiled_to_machine_code_agrees_with_eager(settings):
    if not shutil.which("g++") and not shutil.which("clang++"):
        pytest.skip("torch.compile needs a C++ compiler, there is none")
    assert_compiled_agrees("inductor", settings)


@pytest.mark.filterwarnings("default")
def test_reads_and_samples_are_one_graph_too():
    torch.compiler.reset()
    memory = lived_in_memory(61, 11, K, dtype=torch.float32, validate=False)
    queries, _ = batch(11, dtype=torch.float32)
    for name in ("posterior", "read", "log_likelihood"):
        compiled = torch.compile(getattr(memory, name), fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(queries), getattr(memory, name)(queries), rtol=1e-5, atol=1e-5)
    keys, slots = torch.compile(lambda: memory.sample(13), fullgraph=True, backend="aot_eager")()
    assert torch.equal(keys, memory.keys[slots]) and bool((memory.values[slots] == 1).all())
    torch.compiler.reset()


# ---------------------------------------------------------------- the whole memory


def carried_over(memory, way):
    if way == "state_dict":
        fresh = VMFMemory.from_settings(memory.settings).double()
        fresh.load_state_dict(memory.state_dict())
        return fresh
    if way == "checkpoint":
        file = io.BytesIO()
        torch.save(memory.state_dict(), file)
        file.seek(0)
        fresh = VMFMemory.from_settings(memory.settings).double()
        fresh.load_state_dict(torch.load(file, weights_only=True))
        return fresh
    return copy.deepcopy(memory) if way == "deepcopy" else pickle.loads(pickle.dumps(memory))


@pytest.mark.parametrize("way", ["state_dict", "checkpoint", "deepcopy", "pickle"])
def test_a_memory_that_is_carried_over_lives_on_as_the_original_does(way):
    memory = lived_in_memory(seed=9)
    memory.write(*batch())
    other = carried_over(memory, way)
    assert_state_is(other, state_of(memory))
    for step in range(3):
        queries, labels = batch(seed=step)
        assert torch.equal(memory.read_write(queries, labels), other.read_write(queries, labels))
    ours, theirs = (m.sample(97, generator=torch.Generator().manual_seed(1))[1] for m in (memory, other))
    assert torch.equal(ours, theirs)
    assert_state_is(other, state_of(memory))
    memory.write(*batch(seed=5))
    assert not torch.equal(memory.keys, other.keys)  # and is its own


def test_the_state_is_four_buffers_of_the_promised_shapes_and_the_settings_beside_them():
    memory = VMFMemory(N, M, K)
    assert memory.state_dict().pop("_extra_state").dtype == torch.float64
    state = {name: (tuple(buffer.shape), buffer.dtype) for name, buffer in memory.named_buffers()}
    assert state == {
        "keys": ((N, M), torch.float32),
        "values": ((N,), torch.int64),
        "ages": ((N,), torch.int64),
        "histogram": ((N,), torch.float32),
    }


def test_the_first_memory_is_random_unit_keys_tiny_counts_and_half_real():
    torch.manual_seed(1)
    memory = VMFMemory(4001, 11, K)
    assert float((memory.keys.norm(dim=1) - 1).abs().max()) < 1e-6
    # uniform on the sphere: the mean of n unit vectors has expected squared length 1/n
    assert float(memory.keys.mean(dim=0).norm()) < 3 / 4001**0.5
    assert memory.values.tolist() == [1] * 2000 + [0] * 2001
    assert not memory.ages.any()
    assert bool((memory.histogram == torch.tensor(1e-5)).all())
    torch.manual_seed(1)
    assert torch.equal(VMFMemory(4001, 11, K).keys, memory.keys)


# ---------------------------------------------------------------- presets


def test_the_paper_s_preset_is_the_paper_s_choice():
    memory = VMFMemory.from_settings(PRESETS["fashion-mnist-paper"].memory)
    assert (memory.num_slots, memory.key_dim, memory.top_k) == (4096, 256, 128)  # METHOD 6
    assert (memory.kappa, memory.beta, memory.alpha, memory.em_steps, memory.epsilon) == (1.0, 1e-8, 0.5, 1, 1e-3)
    # METHOD 3: all of S may vouch for a label, EM makes all of S_y young, the oldest of all slots goes
    assert (memory.correct_in_top, memory.touch, memory.replace_within_label) == (128, "all", False)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_memory_and_takes_changes(name):
    preset = PRESETS[name].memory
    memory = VMFMemory.from_settings(preset, num_slots=N, key_dim=M, top_k=K, kappa=7.0, validate=False)
    assert (memory.num_slots, memory.key_dim, memory.top_k, memory.kappa, memory.validate) == (N, M, K, 7.0, False)
    assert memory.correct_in_top == min(preset.correct_in_top, K)
    assert (memory.alpha, memory.touch) == (preset.alpha, preset.touch)
    memory.write(*batch())


def test_a_memory_from_settings_is_the_memory_of_those_arguments():
    settings = MemorySettings(N, M, K, kappa=7.0, alpha=0.3, beta=1e-4, em_steps=2, correct_in_top=3, touch="all")
    memory = VMFMemory.from_settings(settings)
    for name in MemorySettings.__dataclass_fields__:
        assert getattr(memory, name) == getattr(settings, name)


def test_a_memory_is_exact_whatever_the_default_precision():
    torch.set_default_dtype(torch.bfloat16)
    try:
        memory = VMFMemory(17, 3, 5)
    finally:
        torch.set_default_dtype(torch.float32)
    assert memory.keys.dtype == memory.histogram.dtype == torch.float32
    torch.testing.assert_close(memory.keys.norm(dim=1), torch.ones(17))
    assert memory.read(torch.randn(4, 3)).dtype == torch.float32

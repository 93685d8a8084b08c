"""What holds of the memory after any writes: random and adversarial ones by hypothesis, 100,000 in a row as a soak."""

import copy
import itertools

import pytest
import torch
from hypothesis import HealthCheck, event, given, settings, strategies as st
from memory_builders import assert_state_is, random_labels, state_of, unit_rows

from memgan import VMFMemory

CASES = settings(max_examples=130, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
ADVERSARIES = ("random", "keys", "antipodes", "all equal", "axes", "near a key", "last batch", "opposite pairs")


def assert_valid(memory):
    """Unit keys, finite non-negative histogram, values in {0, 1}, ages whole and at least 0, no NaN."""
    tolerance = 1e-5 if memory.keys.dtype == torch.float32 else 1e-12
    assert bool(memory.keys.isfinite().all())
    assert float((memory.keys.norm(dim=1) - 1).abs().max()) < tolerance
    assert bool(memory.histogram.isfinite().all()) and bool((memory.histogram >= 0).all())
    assert memory.values.dtype == torch.long and set(memory.values.tolist()) <= {0, 1}
    assert memory.ages.dtype == torch.long and int(memory.ages.min()) >= 0


CHOSEN = ("kappa", "alpha", "beta", "em_steps", "touch", "replace_within_label")
CHOICES = list(  # all combinations: one draw is quicker than one for each setting
    itertools.product(
        [1e-3, 1.0, 7.0, 60.0, 1e3, 1e4],
        [1e-6, 0.5, 0.9, 1.0],
        [1e-30, 1e-8, 1.0],
        [1, 2, 3],
        ["best", "all"],
        [False, True],
        [False, True],  # whether correct_in_top is k
        [torch.float32, torch.float64],
    )
)


@st.composite
def memories(draw):
    num_slots = draw(st.sampled_from([2, 3, 5, 7, 13, 17, 61]))
    key_dim = draw(st.sampled_from([2, 3, 5, 11]))
    top_k = draw(st.integers(1, num_slots))
    torch.default_generator.manual_seed(draw(st.integers(0, 2**20)))  # torch.manual_seed would take a stack trace
    *choices, asks_all, dtype = draw(st.sampled_from(CHOICES))
    settings = dict(zip(CHOSEN, choices, strict=True), correct_in_top=top_k if asks_all else 1)
    memory = VMFMemory(num_slots, key_dim, top_k, **settings).to(dtype)
    torch.nn.functional.normalize(memory.keys, dim=1, out=memory.keys)  # float64 keys come from float32 ones
    return memory


@st.composite
def batches(draw):
    """How to make a batch for whatever memory meets it: a size, a kind of queries, labels and a seed."""
    size = draw(st.sampled_from([1, 2, 3, 5, 7]))
    bits = draw(st.integers(0, 2**size - 1))  # one draw where a list would be as many as there are labels
    labels = [bits >> sample & 1 for sample in range(size)]
    return size, draw(st.sampled_from(ADVERSARIES)), labels, draw(st.integers(0, 2**20))


def queries_of(kind, size, seed, memory, last):
    random = unit_rows(size, memory.key_dim, seed=seed)
    keys = memory.keys.double()[torch.arange(seed, seed + size) % memory.num_slots]
    queries = {
        "random": lambda: random,
        "keys": lambda: keys,
        "antipodes": lambda: -keys,
        "all equal": lambda: random[:1].expand(size, -1),
        "axes": lambda: torch.eye(memory.key_dim).double()[torch.arange(seed, seed + size) % memory.key_dim],
        "near a key": lambda: keys[:1] + 1e-6 * random,
        "last batch": lambda: last[torch.arange(size) % len(last)],
        "opposite pairs": lambda: random[:1] * (-1.0) ** torch.arange(size).unsqueeze(1),  # pulls that cancel
    }[kind]()
    return torch.nn.functional.normalize(queries, dim=1).to(memory.keys.dtype)


def write_and_check(memory, batch, last):
    """One write; a refused one, which has too few slots to replace, must change nothing."""
    size, kind, labels, seed = batch
    queries, labels = queries_of(kind, size, seed, memory, last), torch.tensor(labels)
    before = state_of(memory)
    try:
        probability = memory.read_write(queries, labels)
    except ValueError as refusal:
        assert "need a slot to replace" in str(refusal)
        event("refused")
        assert_state_is(memory, before)
        return queries.double()
    event(kind)
    assert bool(((probability >= memory.epsilon) & (probability <= 1 - memory.epsilon)).all())
    assert_valid(memory)
    aged = memory.ages - before["ages"]
    assert bool(((aged == 1) | (memory.ages == 0)).all())
    mass = before["histogram"].double()
    most = float(mass.sum() + size * mass.mean() + size)  # each sample adds the mean where it replaces, else at most 1
    assert float(memory.histogram.double().sum()) <= most * (1 + 1e-6)  # float32 rounds the mean
    changed = (memory.values != before["values"]).nonzero().flatten()
    assert len(changed) <= size and bool((memory.ages[changed] == 0).all())
    if memory.replace_within_label:
        assert memory.values.bincount(minlength=2).tolist() == before["values"].bincount(minlength=2).tolist()
        assert torch.equal(memory.values, before["values"])
    return queries.double()


@pytest.mark.thorough
@CASES
@given(memories(), st.lists(batches(), min_size=1, max_size=4))
def test_the_memory_stays_valid_after_any_sequence_of_writes(memory, writes):
    last = unit_rows(7, memory.key_dim, seed=0)
    for batch in writes:
        last = write_and_check(memory, batch, last)


@pytest.mark.thorough
@CASES
@given(memories(), batches(), st.integers(2, 12))
def test_the_memory_stays_valid_when_one_batch_is_written_again_and_again(memory, batch, times):
    last = unit_rows(7, memory.key_dim, seed=0)
    for _ in range(times):
        write_and_check(memory, batch, last)


@pytest.mark.thorough
@CASES
@given(memories(), st.lists(batches(), min_size=1, max_size=3), st.sampled_from([0.0, 1e-300, 1e-38, 1e6, 1e12]))
def test_the_memory_stays_valid_from_extreme_histograms(memory, writes, mass):
    memory.histogram.fill_(mass)
    memory.histogram[0] = 1.0
    last = unit_rows(7, memory.key_dim, seed=0)
    for batch in writes:
        last = write_and_check(memory, batch, last)


@pytest.mark.thorough
@CASES
@given(memories(), batches(), batches())
def test_reads_stay_probabilities_after_any_write(memory, first, second):
    last = write_and_check(memory, first, unit_rows(7, memory.key_dim, seed=0))
    queries = queries_of(second[1], second[0], second[3], memory, last)
    posterior, (weights, slots) = memory.posterior(queries), memory.top_k_posterior(queries)
    for distribution in (posterior, weights):
        assert bool((distribution >= 0).all()) and float((distribution.sum(dim=1) - 1).abs().max()) < 1e-5
    assert bool((weights.diff(dim=1) <= 1e-6).all())  # most probable first
    assert all(len(set(row)) == memory.top_k for row in slots.tolist())
    assert bool(memory.log_likelihood(queries).isfinite().all())
    leaf = queries.clone().requires_grad_()
    memory.read(leaf).sum().backward()
    assert bool(leaf.grad.isfinite().all())
    if bool((memory.histogram * memory.values).sum() > 0):
        _, sampled = memory.sample(11, generator=torch.Generator().manual_seed(second[3]))
        assert bool((memory.values[sampled] == 1).all()) and bool((memory.histogram[sampled] > 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_key_pulled_to_its_antipode_with_equal_force_keeps_a_unit_direction(dtype):
    # alpha h = 1 and one query of weight 1 at the antipode: the resultant is exactly nothing
    memory = VMFMemory(2, 3, 1, alpha=0.5).to(dtype)
    memory.keys.copy_(torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))
    memory.values.copy_(torch.tensor([1, 0]))
    memory.histogram.copy_(torch.tensor([2.0, 1e-30]))
    memory.settings = memory.settings.changed(kappa=1e-3)  # so that the antipode is still the most probable
    memory.write(torch.tensor([[0.0, -1.0, 0.0]], dtype=dtype), torch.tensor([1]))
    assert_valid(memory)
    assert float(memory.histogram[0]) == pytest.approx(2.0)


SOAKS = {
    "defaults": {},
    "paper": {"kappa": 1.0, "alpha": 0.5, "correct_in_top": 5, "touch": "all", "replace_within_label": False},
    "three steps, no forgetting": {"alpha": 1.0, "em_steps": 3, "replace_within_label": False},
}


@pytest.mark.slow
@pytest.mark.parametrize("choices", SOAKS.values(), ids=SOAKS.keys())
def test_the_memory_stays_valid_through_100_000_writes_in_a_row(choices):
    torch.manual_seed(0)
    memory = VMFMemory(31, 7, 5, **choices)
    generator, share = torch.Generator().manual_seed(1), copy.deepcopy(memory.values)
    centre = unit_rows(1, 7, seed=2, dtype=torch.float32)
    for step in range(100_000):
        # what is real drifts over the sphere; every hundredth batch is adversarial
        centre = torch.nn.functional.normalize(centre + 0.01 * torch.randn(1, 7, generator=generator), dim=1)
        labels = random_labels(3, seed=step)
        queries = torch.where(labels.unsqueeze(1) == 1, centre, -centre) + 0.4 * torch.randn(3, 7, generator=generator)
        queries = torch.nn.functional.normalize(queries, dim=1)
        if step % 100 == 0:
            queries = queries_of(ADVERSARIES[step // 100 % len(ADVERSARIES)], 3, step, memory, queries.double())
        memory.write(queries, labels)
        if step % 1000 == 999:
            assert_valid(memory)
            assert bool(memory.posterior(queries).isfinite().all())
    assert_valid(memory)
    if memory.replace_within_label:
        assert torch.equal(memory.values, share)
    if memory.alpha == 1:  # nothing is forgotten, replacement aside: float32 still counts
        assert float(memory.histogram.max()) > 1000

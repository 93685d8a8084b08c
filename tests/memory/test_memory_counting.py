"""Counting again, after a training, which slots real queries are from, against plain loops and its own definition."""

import numpy as np
import pytest
import torch
from memory_builders import assert_equals_reference, assert_state_is, lived_in_memory, reference_of, state_of, unit_rows
from scipy import special

from memgan import VMFMemory


@pytest.fixture(params=[0, 1, 2])
def memory(request):
    return lived_in_memory(seed=request.param)


@pytest.mark.parametrize("prior_weight", [0.0, 0.5, 1.0])
def test_it_is_that_of_a_plain_loop(memory, prior_weight):
    queries = unit_rows(40, memory.key_dim, seed=1)
    reference = reference_of(memory)
    memory.recount(queries * 3, prior_weight)
    reference.recount(queries.numpy(), prior_weight)
    assert_equals_reference(memory, reference)


def test_with_the_whole_prior_it_is_the_mean_posterior_among_real_slots(memory):
    queries = unit_rows(40, memory.key_dim, seed=2)
    scores = memory.kappa * queries.numpy() @ memory.keys.numpy().T + np.log(memory.histogram.numpy() + memory.beta)
    expected = special.softmax(scores[:, memory.values.numpy() == 1], axis=1).mean(axis=0)
    memory.recount(queries, 1.0)
    np.testing.assert_allclose(memory.slot_probabilities()[memory.values == 1], expected, rtol=1e-12)


def test_only_how_real_slots_share_their_counts_changes(memory):
    before = state_of(memory)
    mass = memory.histogram[memory.values == 1].sum()
    memory.recount(unit_rows(9, memory.key_dim, seed=3))
    torch.testing.assert_close(memory.histogram[memory.values == 1].sum(), mass)
    generated = memory.values == 0
    assert torch.equal(memory.histogram[generated], before["histogram"][generated])
    for name in ("keys", "values", "ages"):
        assert torch.equal(getattr(memory, name), before[name])


def test_many_queries_are_counted_in_parts(memory, monkeypatch):
    other = lived_in_memory(seed=0)
    one = lived_in_memory(seed=0)
    queries = unit_rows(50, one.key_dim, seed=4)
    one.recount(queries)
    monkeypatch.setattr("memgan.memory._MOST_SCORES", 7 * one.num_slots)
    other.recount(queries)
    torch.testing.assert_close(other.histogram, one.histogram, rtol=1e-12, atol=0)


def test_a_histogram_in_float32_is_counted_in_float64():
    memory = lived_in_memory(dtype=torch.float32)
    exact = lived_in_memory()
    queries = unit_rows(5000, memory.key_dim, seed=5)
    memory.recount(queries.float())
    exact.recount(queries)
    np.testing.assert_allclose(memory.histogram, exact.histogram, rtol=1e-5)


def test_slots_are_drawn_as_often_as_images_are_from_them_after_one_odd_batch():
    # Two directions, of which one is nine times as frequent; the last batches happened to show the other one only
    memory = VMFMemory(8, 3, 4, kappa=50.0, alpha=0.5)
    memory.keys.copy_(torch.eye(3)[[0, 1, 0, 1, 2, 2, 2, 2]])
    frequent = torch.tensor([[1.0, 0.0, 0.0]]).expand(900, 3)
    rare = torch.tensor([[0.0, 1.0, 0.0]]).expand(100, 3)
    memory.histogram.fill_(1.0)
    for _ in range(20):
        memory.write(rare[:10], torch.ones(10))
    is_rare = memory.keys[:, 1] > 0.5
    assert memory.slot_probabilities()[is_rare].sum() > 0.99
    memory.recount(torch.cat([frequent, rare]))
    assert memory.slot_probabilities()[is_rare].sum() == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("prior_weight", [-0.1, 1.5, float("nan"), "much"])
def test_a_weight_that_is_no_share_is_refused(memory, prior_weight):
    before = state_of(memory)
    with pytest.raises((TypeError, ValueError), match="prior_weight"):
        memory.recount(unit_rows(3, memory.key_dim, seed=6), prior_weight)
    assert_state_is(memory, before)


def test_a_memory_without_a_real_slot_is_refused(memory):
    memory.values.zero_()
    before = state_of(memory)
    with pytest.raises(ValueError, match="v = 1"):
        memory.recount(unit_rows(3, memory.key_dim, seed=7))
    assert_state_is(memory, before)


def test_queries_without_a_direction_are_refused_or_not_counted(memory):
    queries = unit_rows(6, memory.key_dim, seed=8)
    broken = torch.cat([queries, torch.full((1, memory.key_dim), torch.nan)])
    before = state_of(memory)
    with pytest.raises(ValueError, match="NaN"):
        memory.recount(broken)
    assert_state_is(memory, before)
    other = lived_in_memory(validate=False)
    expected = lived_in_memory()
    other.recount(broken)
    expected.recount(queries)
    torch.testing.assert_close(other.histogram, expected.histogram, rtol=1e-12, atol=0)

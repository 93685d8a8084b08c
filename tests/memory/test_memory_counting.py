"""Counting again, after a training, which slots real queries are from, against plain loops and its own definition."""

import copy
import math

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
    other = copy.deepcopy(memory)
    queries = unit_rows(50, memory.key_dim, seed=4)
    memory.recount(queries)
    monkeypatch.setattr("memgan.engines.portions.MOST_NUMBERS", 7 * other.num_slots)
    sizes = []
    shares = type(other)._shares
    monkeypatch.setattr(type(other), "_shares", lambda self, joint: sizes.append(len(joint)) or shares(self, joint))
    other.recount(queries)
    assert sizes == [7] * 7 + [1]
    torch.testing.assert_close(other.histogram, memory.histogram, rtol=1e-12, atol=0)


def test_many_small_shares_add_up_in_float32():
    """A share of 1e-5 of each of a million queries in one slot: float32 would lose what is added to a large sum."""
    memory = VMFMemory(2, 2, 2, kappa=math.log(1e5) / 2, beta=1e-30)
    memory.keys.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    memory.values.fill_(1)
    memory.histogram.fill_(1.0)
    number = 1_000_000
    memory.recount(torch.tensor([[1.0, 0.0]]).expand(number, 2))
    expected = 2 * special.expit(-math.log(1e5))
    assert float(memory.histogram[1]) == pytest.approx(expected, rel=1e-5)


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


def test_where_no_row_has_a_direction_nothing_is_counted():
    memory = lived_in_memory(validate=False)
    before = state_of(memory)
    memory.recount(torch.full((4, memory.key_dim), torch.nan, dtype=torch.float64))
    assert_state_is(memory, before)


def test_a_prior_of_nothing_counts_for_nothing():
    memory = VMFMemory(6, 3, 2, beta=1e-50)  # which is 0 in float32
    memory.histogram[0] = 0
    memory.recount(torch.eye(3), 0.0)
    assert bool(memory.histogram.isfinite().all()) and float(memory.histogram[0]) > 0

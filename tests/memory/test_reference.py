"""The plain loops against a memory small enough to compute by hand, and against numpy's dense statement.

With kappa = log 16 the likelihood exp(kappa K . q) is 16 for a key at the query, 1 for one across it and 1/16 for
one opposite: posteriors are fractions.
"""

import math

import numpy as np
import pytest
from scipy import special, stats

from memgan.reference import ReferenceMemory

EAST, NORTH, WEST, SOUTH = (np.array(v, dtype=float) for v in [(1, 0), (0, 1), (-1, 0), (0, -1)])


def compass(**settings):
    """East and north are real, west is generated; ages 4, 9, 9."""
    defaults = {"top_k": 3, "kappa": math.log(16), "alpha": 0.5, "beta": 1e-300}
    return ReferenceMemory(
        keys=np.stack([EAST, NORTH, WEST]),
        values=[1, 1, 0],
        ages=[4, 9, 9],
        histogram=[2.0, 32.0, 96.0],
        **(defaults | settings),
    )


def test_posterior_by_hand():
    # joint, up to C_M: 16 * 2, 1 * 32, 96 / 16
    assert compass().posterior(EAST) == pytest.approx([32 / 70, 32 / 70, 6 / 70], rel=1e-14)


def test_prior_smoothing_by_hand():
    # beta = 16 raises every count by 16: 16 * 18, 1 * 48, 112 / 16
    assert compass(beta=16.0).posterior(EAST) == pytest.approx([288 / 343, 48 / 343, 7 / 343], rel=1e-14)


def test_read_by_hand():
    assert compass().read(EAST) == pytest.approx(64 / 70, rel=1e-14)
    # towards the south east = 1, north = 1/16, west = 1: 2, 2 and 96, so S of two is east or north, and west
    assert compass().read(SOUTH) == pytest.approx(4 / 100, rel=1e-14)
    assert compass(top_k=1).read(SOUTH) == 1e-3
    assert compass(top_k=2).read(EAST) == 1 - 1e-3
    assert compass(top_k=2, epsilon=0.125).read(EAST) == 0.875


def test_nearest_slots_by_hand():
    memory = compass()
    memory.histogram = [2.0, 33.0, 96.0]
    assert memory.nearest(EAST) == [1, 0, 2]
    assert memory.nearest(EAST, label=0) == [2]
    memory.top_k = 2
    assert memory.nearest(WEST) == [2, 1]
    assert memory.nearest(WEST, label=1) == [1, 0]


def test_one_step_of_em_by_hand():
    memory = compass()
    memory.write(EAST, 1)
    # alpha h = 1, 16; joint 16 * 1 and 1 * 16, so gamma = 1/2, 1/2; K_1 moves by (1/2)/(33/2) = 1/33 towards east
    assert memory.histogram == pytest.approx([1.5, 16.5, 96.0], rel=1e-14)
    np.testing.assert_allclose(memory.keys, [EAST, np.array([1, 32]) / math.sqrt(1025), WEST], rtol=0, atol=1e-14)
    assert memory.values == [1, 1, 0]


def test_two_steps_of_em_by_hand():
    memory = compass(em_steps=2)
    memory.write(EAST, 1)
    # after the first step: h = 3/2, 33/2 and K_1 . q = 1/sqrt(1025)
    cosine = 1 / math.sqrt(1025)
    joint = 16 * 1.5, 16**cosine * 16.5
    gamma = joint[1] / sum(joint)
    assert memory.histogram == pytest.approx([1 + (1 - gamma), 16 + gamma, 96.0], rel=1e-13)
    moved = np.array([cosine, 32 * cosine])
    moved += (gamma - 0.5) / (16 + gamma) * (EAST - moved)  # the first half is taken back, gamma is added
    np.testing.assert_allclose(memory.keys[1], moved / np.linalg.norm(moved), rtol=0, atol=1e-13)
    np.testing.assert_allclose(memory.keys[0], EAST, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("touch", "ages"), [("best", [0, 10, 10]), ("all", [0, 0, 10])])
def test_em_makes_the_best_slot_young_or_all_of_them(touch, ages):
    memory = compass(touch=touch)
    memory.histogram[0] += 1  # so that east is the best
    memory.write(EAST, 1)
    assert memory.ages == ages


@pytest.mark.parametrize(("within_label", "overwritten"), [(True, 2), (False, 1)])
def test_replacement_by_hand(within_label, overwritten):
    memory = compass(replace_within_label=within_label)
    # near the east the nearest slots are east and north, both real: the memory is wrong about a generated sample
    query = np.array([0.8, 0.6])
    memory.write(query, 0)
    keys, values, histogram = [EAST, NORTH, WEST], [1, 1, 0], [2.0, 32.0, 96.0]
    keys[overwritten], values[overwritten], histogram[overwritten] = query, 0, 130 / 3
    ages = [5, 10, 10]
    ages[overwritten] = 0
    np.testing.assert_array_equal(memory.keys, keys)
    assert (memory.values, memory.ages) == (values, ages)
    assert memory.histogram == pytest.approx(histogram, rel=1e-14)


def test_how_many_slots_may_vouch_for_a_label_decides_between_em_and_replacement():
    for correct_in_top, replaces in [(1, True), (2, True), (3, False)]:
        memory = compass(correct_in_top=correct_in_top)
        memory.write(EAST, 0)  # west, the only generated slot, comes third
        assert (0 in memory.ages and np.array_equal(memory.keys[2], EAST)) == replaces


def test_a_batch_on_one_slot_by_hand():
    # S_1 is the nearest real slot alone, so gamma = 1 for each sample
    memory = compass(top_k=1)
    memory.histogram = [64.0, 1.0, 1e-9]
    southeast, northeast = (EAST + SOUTH) / math.sqrt(2), (EAST + NORTH) / math.sqrt(2)
    memory.write_batch(np.stack([EAST, southeast, northeast, EAST]), [1, 1, 1, 1])
    # decays once, 64 -> 32, and gains 4; the pulls up and down cancel, so the key stays
    assert memory.histogram == pytest.approx([36.0, 1.0, 1e-9], rel=1e-14)
    np.testing.assert_allclose(memory.keys[0], EAST, rtol=0, atol=1e-14)
    assert memory.ages == [0, 10, 10]

    memory.write_batch(np.stack([northeast, northeast]), [1, 1])
    # 36 -> 18, + 2; K <- 18/20 east + 2/20 northeast
    assert memory.histogram[0] == pytest.approx(20.0, rel=1e-14)
    moved = 18 * EAST + 2 * northeast
    np.testing.assert_allclose(memory.keys[0], moved / np.linalg.norm(moved), rtol=0, atol=1e-14)


def test_sampling_probabilities_by_hand():
    assert compass().sampling_probabilities() == pytest.approx([2 / 34, 32 / 34, 0])


def test_log_likelihood_of_a_mixture_equals_scipy_s():
    memory = compass(beta=1e-3)
    query = np.array([0.6, -0.8])
    prior = (np.array([2.0, 32.0, 96.0]) + 1e-3) / (130 + 3e-3)
    densities = [float(np.squeeze(stats.vonmises_fisher(k, memory.kappa).logpdf(query))) for k in memory.keys]
    normaliser = float(np.squeeze(stats.vonmises_fisher(EAST, memory.kappa).logpdf(NORTH)))  # exp(kappa * 0) C
    assert memory.log_likelihood(query, normaliser) == pytest.approx(special.logsumexp(densities, b=prior), rel=1e-12)


@pytest.mark.parametrize(
    ("prior_weight", "share_at_east", "share_at_north"),
    [(1.0, 1 / 2, 1 / 257), (0.5, 4 / 5, 1 / 65), (0.0, 16 / 17, 1 / 17)],
)
def test_counting_again_by_hand(prior_weight, share_at_east, share_at_north):
    # Of a query at east, the slot east has 16 * 2^w against 1 * 32^w of north; at north 1 * 2^w against 16 * 32^w
    memory = compass()
    memory.recount(np.stack([EAST, NORTH]), prior_weight)
    of_east = 34 * (share_at_east + share_at_north) / 2
    assert memory.histogram == pytest.approx([of_east, 34 - of_east, 96.0], rel=1e-12)
    np.testing.assert_array_equal(memory.keys, [EAST, NORTH, WEST])
    assert (memory.values, memory.ages) == ([1, 1, 0], [4, 9, 9])

"""Bonus notebooks: other memories, by hand, and against the package where the rules meet and where they part."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics

from walkthrough import b1_life_long as life_long, b2_published as published
from walkthrough.b1_life_long import LifelongMemory, Stream
from walkthrough.b2_published import PublishedMemory
from walkthrough.circle import angles, direction, ring

# ---------------------------------------------------------------- life-long memory


def lifelong():
    return LifelongMemory(direction([0, 90, 200]), torch.tensor([1, 0, 1]))


def test_lifelong_memory_averages_the_nearest_key_where_it_is_right():
    memory = lifelong()
    memory.write(direction([30.0]), torch.tensor([1]))
    assert angles(memory.keys).tolist() == pytest.approx([15, 90, 200])  # half way: both have length 1
    assert memory.ages.tolist() == [0, 1, 1]


def test_lifelong_memory_overwrites_the_oldest_slot_where_it_is_wrong():
    memory = lifelong()
    memory.ages = torch.tensor([1, 0, 7])
    memory.write(direction([80.0]), torch.tensor([1]))
    assert angles(memory.keys).tolist() == pytest.approx([0, 90, 80])
    assert memory.values.tolist() == [1, 0, 1]
    assert memory.ages.tolist() == [2, 1, 0]


def test_lifelong_memory_reads_the_nearest_value_and_its_confidence_is_a_softmax():
    memory, query = lifelong(), direction([50.0])
    assert memory.read(query).tolist() == [0]
    weights = np.exp(40 * np.cos(np.deg2rad([50, 40, 150])))
    assert float(memory.confidence(query)[0]) == pytest.approx((weights[0] + weights[2]) / weights.sum(), rel=1e-9)


def test_the_memory_loss_is_a_margin_between_the_nearest_of_each_value():
    loss = lifelong().loss(direction([45.0, 10.0]), torch.tensor([1, 1]))
    assert loss.tolist() == pytest.approx([0.1, 0])


@pytest.mark.parametrize(("alpha", "same"), [(0.5, True), (0.9, False)])
def test_averaging_is_em_at_alpha_one_half_only(alpha, same):
    memory = ring([10, 190], [1, 0], [1 / (1 - alpha), 1e-5], top_k=1, kappa=20.0, alpha=alpha)
    averaging = LifelongMemory(memory.keys, memory.values)
    for angle in (25.0, 0, 40, 13):
        memory.write(direction([angle]), torch.tensor([1]))
        averaging.write(direction([angle]), torch.tensor([1]))
    assert torch.allclose(memory.keys, averaging.keys, atol=1e-12) == same


def test_the_stream_s_truth_is_bayes_rule_with_scipy_s_density():
    stream = Stream()
    queries, labels = stream.batch(torch.Generator().manual_seed(0))
    assert labels.tolist().count(1) == 10
    radians = np.deg2rad(angles(queries).numpy())
    density = [stats.vonmises(12, loc=math.radians(centre)).pdf(radians) for centre in stream.centres]
    real, generated = 9 * density[0] + density[1], 10 * density[2]
    np.testing.assert_allclose(stream.probability_real(queries).numpy(), real / (real + generated), rtol=1e-9)


@pytest.mark.thorough
def test_the_memory_comes_closer_to_the_truth_than_without_histogram_or_by_the_nearest_key():
    raised, stream = life_long.raise_both(), Stream()
    flat = copy.deepcopy(raised.memory)
    flat.histogram.fill_(1.0)
    queries, labels = stream.batch(torch.Generator().manual_seed(5), times=100)
    loss = {
        name: life_long.log_loss(answer(queries), labels)
        for name, answer in {
            "truth": stream.probability_real,
            "memory": raised.memory.read,
            "flat": flat.read,
            "nearest": raised.lifelong.read,
        }.items()
    }
    assert loss["memory"] < loss["truth"] + 0.01
    assert min(loss["flat"], loss["nearest"]) > loss["truth"] + 0.02


def test_log_loss_is_that_of_scikit_learn():
    probability, labels = torch.tensor([0.2, 0.9, 0.6, 0.4], dtype=torch.float64), torch.tensor([0, 1, 0, 1])
    expected = metrics.log_loss(labels.numpy(), probability.numpy())
    assert life_long.log_loss(probability, labels) == pytest.approx(expected, rel=1e-9)


def test_the_slopes_of_both_losses_are_those_of_finite_differences():
    theta = torch.tensor([30.0, 50.0, 60.0], dtype=torch.float64)
    step = 1e-4
    ahead, behind = life_long.pulls(theta + step), life_long.pulls(theta - step)
    for name, (_, slope) in life_long.pulls(theta).items():
        difference = (ahead[name][0] - behind[name][0]) / (2 * step)
        torch.testing.assert_close(slope, difference, rtol=1e-5, atol=1e-9)


# ---------------------------------------------------------------- the authors' code


def test_every_slot_of_s_y_gains_one_in_the_published_rule_and_its_share_in_the_paper_s():
    memory = ring([0, 40, 90, 200], [1, 1, 1, 0], [1, 2, 3, 4], top_k=3, kappa=5.0, alpha=0.5, correct_in_top=3)
    code = PublishedMemory.of(memory)
    code.write(direction(10.0).numpy(), 1)
    memory.write(direction([10.0]), torch.tensor([1]))
    assert code.histogram == pytest.approx([1.5, 2, 2.5, 4])
    assert float(memory.histogram[:3].sum()) == pytest.approx(3 + 1)


def test_published_counts_settle_at_two():
    code = PublishedMemory.of(ring([0, 40, 180], [1, 1, 0], [1e-5] * 3, top_k=2, kappa=5.0, alpha=0.5))
    for _ in range(30):
        code.write(direction(5.0).numpy(), 1)
    assert code.histogram[:2] == pytest.approx([2, 2])


def test_the_published_label_mask_lowers_the_cosine_by_two():
    # both slots point at the query: the wrong one needs a count e^2 = 7.4 times as large
    for ratio, first in [(7.0, 0), (8.0, 1)]:
        code = PublishedMemory.of(ring([0, 0, 180], [1, 0, 0], [1, ratio, 1e-9], top_k=2, kappa=1.0))
        assert code.nearest(direction(0.0).numpy(), label=1)[0] == first


def test_one_writer_wins_and_the_others_are_counted_as_lost():
    code = PublishedMemory.first(num_slots=8, key_dim=2, top_k=3)
    queries = direction([10.0, 50, 90]).numpy()
    code.write_batch(queries, [1, 1, 1])
    np.testing.assert_allclose(code.keys[:3], np.tile(queries[2], (3, 1)), rtol=0, atol=1e-12)
    assert code.lost == 9 - 3


def test_the_published_memory_replaces_distinct_slots_oldest_first():
    code = PublishedMemory.first(num_slots=6, key_dim=2, top_k=2)
    code.ages = [0, 4, 1, 9, 2, 3]
    code.write_batch(direction([10.0, 50]).numpy(), [0, 0])  # all tie, and the first slots are real
    assert angles(torch.from_numpy(code.keys[[3, 1]])).tolist() == pytest.approx([10, 50])
    assert code.values == [1, 0, 1, 0, 0, 0]
    assert (code.ages[3], code.ages[1], code.ages[5]) == (0, 0, 4)


def test_more_slots_that_may_vouch_replace_less():
    assert published.share_replaced(1) > published.share_replaced(8)

"""Notebook 04: its experiments against closed forms and plain loops; its checks on right and on wrong answers."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import special

from walkthrough import circle, nb04_update as update
from walkthrough.circle import angles, direction, ring
from walkthrough.widgets import MemoryFilm

REAL = torch.tensor([1])


def said(capsys, check, answer):
    check(answer)
    return capsys.readouterr().out


# ---------------------------------------------------------------- memories on a circle


def test_angles_undo_direction():
    degrees = torch.tensor([0.0, 37, 90, 179, 181, 359], dtype=torch.float64)
    torch.testing.assert_close(angles(direction(degrees)), degrees)


def test_ring_holds_what_it_was_given():
    memory = ring([10, 200], [1, 0], [2, 3], [4, 5], top_k=1, kappa=7.0)
    assert angles(memory.keys).tolist() == pytest.approx([10, 200])
    assert (memory.values.tolist(), memory.histogram.tolist(), memory.ages.tolist()) == ([1, 0], [2, 3], [4, 5])
    assert memory.kappa == 7.0
    assert len(circle.table(memory).splitlines()) == 3


def test_the_case_and_the_slots_of_a_query_are_those_of_the_plain_loops():
    memory = ring([0, 40, 75, 120, 170], [1, 0, 1, 0, 1], [3, 1, 2, 0.5, 2], top_k=2, kappa=5.0)
    loops = circle.reference_of(memory)
    queries, labels = direction(torch.arange(0.0, 360, 17)), torch.arange(22) % 2
    found = circle.finds_its_label(memory, queries, labels)
    slots = circle.slots_of(memory, queries, labels)
    for query, label, case, own in zip(queries.numpy(), labels.tolist(), found, slots, strict=True):
        assert bool(case) == (loops.values[loops.nearest(query)[0]] == label)
        assert own.tolist() == loops.nearest(query, label)


def test_a_life_has_births_moves_and_a_slot_left_behind():
    film = MemoryFilm.record(*circle.life())
    assert len(film.frames) == 25
    assert film.frames[13]["replaced"]  # the generator has jumped
    assert any(frame["moved"] for frame in film.frames)
    assert max(film.frames[-1]["ages"]) >= 12


def test_a_strip_rings_what_was_replaced_and_draws_an_arc_for_what_moved():
    film = MemoryFilm.record(*circle.life())
    for write in (0, 3, 13):
        (axes,) = circle.film_strip(film.frames, [write], columns=1).axes
        frame = film.frames[write]
        rings = [dots for dots in axes.collections if not len(dots.get_facecolor())]
        assert len(rings) == len(frame["replaced"])
        assert len(axes.lines) == 1 + len(frame["queries"]) + len(frame["moved"])
        assert axes.get_title() == ("before" if write == 0 else f"after write {write}")


# ---------------------------------------------------------------- EM


def test_batch_em_is_that_of_scipy():
    queries = update.three_clusters()
    memory = update.untrained_mixture(queries)
    joint = 8.0 * queries.numpy() @ memory.keys.numpy().T + np.log(memory.histogram.numpy())
    gamma = special.softmax(joint, axis=1)
    resultants = gamma.T @ queries.numpy()
    expected = resultants / np.linalg.norm(resultants, axis=1, keepdims=True)
    keys, counts = update.batch_em(memory, queries)
    np.testing.assert_allclose(counts.numpy(), gamma.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(keys.numpy(), expected, rtol=0, atol=1e-12)


def test_exact_incremental_em_ends_in_a_fixed_point_and_unit_keys_do_not():
    queries = update.three_clusters()
    gaps = []
    for keep_length in (True, False):
        em = update.IncrementalEM(update.untrained_mixture(queries), queries, keep_length=keep_length)
        for _ in range(20):
            em.sweep()
        torch.testing.assert_close(em.memory.histogram, em.gamma.sum(dim=0))
        gaps.append(update.distance_from_fixed_point(em.memory, queries))
    assert gaps[0] < 1e-3
    assert gaps[1] > 1


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_a_data_set_written_at_once_never_lowers_its_likelihood(alpha):
    queries = update.three_clusters(seed=4)
    memory = update.untrained_mixture(queries, alpha)
    series = update.climb(memory, queries, lambda: update.write_all(memory, queries), 20)
    assert min(np.diff(series)) > -1e-12


@pytest.mark.slow
def test_single_writes_rest_near_the_maximum_only_with_a_long_memory():
    """A stochastic approximation with a small step stays at its fixed point; two queries cannot hold four slots."""
    queries = update.three_clusters()
    assert update.drift_from_maximum(queries, 0.99) < 4
    assert update.drift_from_maximum(queries, 0.5) > 45


def test_mean_length_is_that_of_scipy_and_of_samples():
    samples = circle.cluster(0, 8, 100_000, torch.Generator().manual_seed(0))
    assert update.mean_length(8, 2) == pytest.approx(float(samples.mean(dim=0).norm()), abs=2e-3)
    assert update.mean_length(60, 64) == pytest.approx(special.ive(32, 60) / special.ive(31, 60), rel=1e-9)


# ---------------------------------------------------------------- drift, batches, labels


def test_tracking_error_is_that_of_an_exponential_mean():
    alpha, speed, spread = 0.8, 0.5, 7.5
    rng = np.random.default_rng(0)
    estimate, squares = 0.0, []
    for step in range(40_000):
        estimate = alpha * estimate + (1 - alpha) * (speed * step + spread * rng.standard_normal())
        squares.append((estimate - speed * step) ** 2)
    assert update.tracking_error(alpha, speed, spread) == pytest.approx(math.sqrt(np.mean(squares[100:])), rel=0.02)


def test_slots_that_remember_one_write_sit_on_the_queries():
    errors, keys = update.track(1e-6, speed=3.0, writes=5)
    assert errors.shape == (5, 6)
    assert keys.shape == (6, 2)
    noise = angles(circle.cluster(0, 60, 6, torch.Generator().manual_seed(3)))
    # not exactly: the counts begin at 1e-5 and alpha is not 0, so a trace of the first keys is left
    torch.testing.assert_close(errors[0], (noise + 180) % 360 - 180, atol=0.01, rtol=0)


def test_last_write_wins_keeps_what_the_last_sample_alone_would_write():
    before = ring([0, 180], [1, 0], [1, 1], top_k=1, kappa=5.0)
    together, alone = copy.deepcopy(before), copy.deepcopy(before)
    update.write_last_wins(together, direction([10.0, 350, 30]), REAL.repeat(3))
    alone.write(direction([30.0]), REAL)
    torch.testing.assert_close(together.keys, alone.keys)
    assert update.mass_added(before, together) == pytest.approx(1)


def test_a_crowd_s_summed_write_counts_everybody_once():
    memory, queries, labels = update.crowd()
    after = copy.deepcopy(memory)
    after.write(queries, labels)
    assert update.mass_added(memory, after) == pytest.approx(64, abs=1e-3)


def test_within_the_label_each_keeps_its_half():
    assert set(update.share_of_real(replace_within_label=True, writes=10)) == {0.5}
    assert update.share_of_real(replace_within_label=False, writes=10)[-1] < 0.45


def test_touching_all_of_a_label_makes_every_slot_young():
    ages = update.aged("all", 16, writes=10).ages
    assert set(ages[:16].tolist()) == {0}


# ---------------------------------------------------------------- exercises


def test_cases(capsys):
    assert said(capsys, update.check_cases, ["EM", "EM", "replace", "EM"]).startswith("Right.")
    assert said(capsys, update.check_cases, ["em", "em", "Replace", "em"]).startswith("Right.")
    assert "h is 0.2" in said(capsys, update.check_cases, ["replace", "EM", "replace", "EM"])
    assert "Number 3" in said(capsys, update.check_cases, ["EM", "EM", "EM", "EM"])
    assert "Four words" in said(capsys, update.check_cases, ["em"])
    assert "Not answered" in said(capsys, update.check_cases, [..., ..., ..., ...])


def shares(keys, values, histogram, query, label, top_k, kappa, alpha, *, mask=True, prior=True, cut=True, divide=True):
    """(8), with the mistakes that a reader may make."""
    scores = kappa * keys @ query + ((alpha * histogram).log() if prior else 0)
    if mask:
        scores = torch.where(values == label, scores, -torch.inf)
    place = torch.where(values == label, kappa * keys @ query + histogram.log(), -torch.inf)
    keep = place >= place.topk(top_k).values[-1]
    scores = torch.where(keep, scores, -torch.inf) if cut and mask else scores
    return scores.softmax(dim=0) if divide else scores.exp()


@pytest.mark.parametrize(
    ("mistake", "reply"),
    [
        ({}, "Right."),
        ({"mask": False}, "v = 0 has a share"),
        ({"divide": False}, "not 1"),
        ({"cut": False}, "More than k = 3"),
        ({"prior": False}, "the prior, h, is missing"),
    ],
)
def test_responsibilities(capsys, mistake, reply):
    check = update.check_responsibilities
    assert reply in said(capsys, check, lambda *arguments: shares(*arguments, **mistake))


def test_a_mask_after_the_top_k_is_named(capsys):
    def late_mask(keys, values, histogram, query, label, top_k, kappa, alpha):
        scores = kappa * keys @ query + histogram.log()
        best = torch.zeros_like(scores).scatter(0, scores.topk(top_k).indices, 1).bool()
        return torch.where(best & (values == label), scores, -torch.inf).softmax(dim=0)

    assert "of the label*" in said(capsys, update.check_responsibilities, late_mask)


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (lambda K, h, q, g, a: (F.normalize(a * h * K + g @ q, dim=0), a * h + g.sum()), "Right."),
        (lambda K, h, q, g, a: (F.normalize(h * K + g @ q, dim=0), h + g.sum()), "has not decayed"),
        (lambda K, h, q, g, a: (F.normalize(a * h * K + g[-1] * q[-1], dim=0), a * h + g[-1]), "last write wins"),
        (lambda K, h, q, g, a: (F.normalize(a**5 * h * K + g @ q, dim=0), a**5 * h + g.sum()), "once per write"),
        (lambda K, h, q, g, a: (a * h * K + g @ q, a * h + g.sum()), "normalisation"),
        (lambda K, h, q, g, a: (F.normalize(h * K + g @ q, dim=0), a * h + g.sum()), "not with alpha h"),
        (lambda K, h, q, g, a: (K, a * h + g.sum()), "should point to"),
        (lambda K, h, q, g, a: (..., ...), "Not answered"),
    ],
)
def test_batch_m_step(capsys, answer, reply):
    assert reply in said(capsys, update.check_batch_m_step, answer)


def test_counts(capsys):
    assert "Right." in said(capsys, update.check_counts, (40, 44))
    assert "after the decay" in said(capsys, update.check_counts, (36, 44))
    assert "mass of 1" in said(capsys, update.check_counts, (10, 44))
    assert "is left" in said(capsys, update.check_counts, (40, 43))
    assert "Not answered" in said(capsys, update.check_counts, (..., ...))


def test_alpha(capsys):
    assert "Right." in said(capsys, update.check_alpha, 0.68)
    assert "lags" in said(capsys, update.check_alpha, 0.95)
    assert "jitters" in said(capsys, update.check_alpha, 0.2)
    assert "between 0 and 1" in said(capsys, update.check_alpha, 1.0)

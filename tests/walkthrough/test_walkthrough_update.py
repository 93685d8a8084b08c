"""Notebook 04: its experiments against closed forms and plain loops; its checks on right and on wrong answers."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from scipy import special

from walkthrough import circle, nb04_update as nb04
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


def drawn(film, write):
    """The axes of one frame of a film, as its still shows it."""
    axes = Figure().subplots()
    circle.draw(axes, film.frames[write], film.frames[max(0, write - 1)])
    return axes


def test_a_frame_marks_what_was_replaced_and_draws_an_arc_for_what_moved():
    film = MemoryFilm.record(*circle.life())
    for write in (0, 3, 13):
        axes = drawn(film, write)
        frame = film.frames[write]
        thick = [dots for dots in axes.collections if dots.get_linewidth()[0] > 2]
        assert len(thick) == len(frame["replaced"])
        assert len(axes.lines) == 1 + len(frame["queries"]) + len(frame["moved"])


def test_slots_that_nearly_coincide_do_not_hide_each_other():
    film = MemoryFilm.record(*circle.life())
    axes = drawn(film, 24)
    places = torch.tensor([dots.get_offsets()[0].tolist() for dots in axes.collections])
    apart = torch.pdist(places)
    assert len(places) == 12
    assert apart.min() > 0.2  # a marker is as wide


def test_a_line_of_the_life_ends_where_its_slot_is_overwritten():
    film = MemoryFilm.record(*circle.life())
    (axes,) = nb04.life_figure(film.frames).axes
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    assert len(crosses) == sum(len(frame["replaced"]) for frame in film.frames)
    where = [float(line.get_xdata()[0]) for line in crosses]
    assert where.count(12) == len(film.frames[13]["replaced"])


# ---------------------------------------------------------------- EM


def test_batch_em_is_that_of_scipy():
    queries = nb04.three_clusters()
    memory = nb04.untrained_mixture(queries)
    joint = 8.0 * queries.numpy() @ memory.keys.numpy().T + np.log(memory.histogram.numpy())
    gamma = special.softmax(joint, axis=1)
    resultants = gamma.T @ queries.numpy()
    expected = resultants / np.linalg.norm(resultants, axis=1, keepdims=True)
    keys, counts = nb04.batch_em(memory, queries)
    np.testing.assert_allclose(counts.numpy(), gamma.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(keys.numpy(), expected, rtol=0, atol=1e-12)


def test_exact_incremental_em_ends_in_a_fixed_point_and_unit_keys_do_not():
    queries = nb04.three_clusters()
    gaps = []
    for keep_length in (True, False):
        em = nb04.IncrementalEM(nb04.untrained_mixture(queries), queries, keep_length=keep_length)
        for _ in range(20):
            em.sweep()
        torch.testing.assert_close(em.memory.histogram, em.gamma.sum(dim=0))
        gaps.append(nb04.distance_from_fixed_point(em.memory, queries))
    assert gaps[0] < 1e-3
    assert gaps[1] > 1


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_a_data_set_written_at_once_never_lowers_its_likelihood(alpha):
    queries = nb04.three_clusters(seed=4)
    memory = nb04.untrained_mixture(queries, alpha)
    series = nb04.climb(memory, queries, lambda: nb04.write_all(memory, queries), 20)
    assert min(np.diff(series)) > -1e-12


@pytest.mark.slow
def test_single_writes_rest_near_the_maximum_only_with_a_long_memory():
    """A stochastic approximation with a small step stays at its fixed point; two queries cannot hold four slots."""
    queries = nb04.three_clusters()
    assert nb04.drift_from_maximum(queries, 0.99) < 4
    assert nb04.drift_from_maximum(queries, 0.5) > 45


# ---------------------------------------------------------------- drift, batches, labels


def test_tracking_error_is_that_of_an_exponential_mean():
    alpha, speed, spread = 0.8, 0.5, 7.5
    rng = np.random.default_rng(0)
    estimate, squares = 0.0, []
    for step in range(40_000):
        estimate = alpha * estimate + (1 - alpha) * (speed * step + spread * rng.standard_normal())
        squares.append((estimate - speed * step) ** 2)
    assert nb04.tracking_error(alpha, speed, spread) == pytest.approx(math.sqrt(np.mean(squares[100:])), rel=0.02)


def test_slots_that_remember_one_write_sit_on_the_queries():
    errors, keys = nb04.track(1e-6, speed=3.0, writes=5)
    assert errors.shape == (5, 6)
    assert keys.shape == (6, 2)
    noise = angles(circle.cluster(0, 60, 6, torch.Generator().manual_seed(3)))
    # not exactly: the counts begin at 1e-5 and alpha is not 0, so a trace of the first keys is left
    torch.testing.assert_close(errors[0], (noise + 180) % 360 - 180, atol=0.01, rtol=0)


def test_last_write_wins_keeps_what_the_last_sample_alone_would_write():
    before = ring([0, 180], [1, 0], [1, 1], top_k=1, kappa=5.0)
    together, alone = copy.deepcopy(before), copy.deepcopy(before)
    nb04.write_last_wins(together, direction([10.0, 350, 30]), REAL.repeat(3))
    alone.write(direction([30.0]), REAL)
    torch.testing.assert_close(together.keys, alone.keys)
    assert nb04.mass_added(before, together) == pytest.approx(1)


def test_a_crowd_s_summed_write_counts_everybody_once():
    memory, queries, labels = nb04.crowd()
    after = copy.deepcopy(memory)
    after.write(queries, labels)
    assert nb04.mass_added(memory, after) == pytest.approx(64, abs=1e-3)


def test_within_the_label_each_keeps_its_half():
    assert set(nb04.share_of_real(replace_within_label=True, writes=10)) == {0.5}
    assert nb04.share_of_real(replace_within_label=False, writes=10)[-1] < 0.45


def test_touching_all_of_a_label_makes_every_slot_young():
    ages = nb04.aged("all", 16, writes=10).ages
    assert set(ages[:16].tolist()) == {0}


# ---------------------------------------------------------------- exercises


def test_cases(capsys):
    assert said(capsys, nb04.check_cases, ["EM", "EM", "replace", "EM"]).startswith("Right.")
    assert said(capsys, nb04.check_cases, ["em", "em", "Replace", "em"]).startswith("Right.")
    assert "h is 0.2" in said(capsys, nb04.check_cases, ["replace", "EM", "replace", "EM"])
    assert "Number 3" in said(capsys, nb04.check_cases, ["EM", "EM", "EM", "EM"])
    assert "Four words" in said(capsys, nb04.check_cases, ["em"])
    assert "Not answered" in said(capsys, nb04.check_cases, [..., ..., ..., ...])


def replaced(memory, query, label, *, slot=None, value=True, age=0, count=None, others=False):
    """(7), with the mistakes that a reader may make."""
    mean = memory.histogram.mean()
    if slot is None:
        slot = int(torch.where(memory.values == label, memory.ages, -1).argmax())
    memory.keys[slot] = query
    memory.values[slot] = label if value else 1 - label
    memory.ages[slot] = age
    if count != "kept":
        memory.histogram[slot] = mean if count is None else count
    if others:
        memory.ages += 1
        memory.ages[slot] = 0


@pytest.mark.parametrize(
    ("mistake", "reply"),
    [
        ({}, "Right."),
        ({"slot": 2}, "which is real"),  # and the oldest of all
        ({"slot": 4}, "slot 1 is older"),
        ({"value": False}, "not its label"),
        ({"age": 3}, "its age is 3"),
        ({"count": "kept"}, "old count"),
        ({"count": 0}, "mean of all"),
        ({"others": True}, "ages of other slots"),
    ],
)
def test_replace(capsys, mistake, reply):
    assert reply in said(capsys, nb04.check_replace, lambda *arguments: replaced(*arguments, **mistake))


def test_replacing_nothing_is_no_answer(capsys):
    assert "Not answered" in said(capsys, nb04.check_replace, lambda *arguments: ...)
    assert "No key has changed" in said(capsys, nb04.check_replace, lambda *arguments: None)


def em(
    memory, queries, label, *, prior=True, mask=True, cut=True, decay=None, key_decay=None, unit=True, rows=slice(0, 9)
):
    """(8) to (10) as plain loops, with the mistakes that a reader may make."""
    queries = queries[rows]
    alpha = memory.alpha if decay is None else decay
    added = torch.zeros_like(memory.histogram)
    resultant = torch.zeros_like(memory.keys)
    for query in queries:
        likelihood = (memory.kappa * memory.keys @ query).exp()
        joint = likelihood * memory.histogram
        order = joint.argsort(descending=True).tolist()
        mine = [slot for slot in order if memory.values[slot] == label or not mask]
        S_y = mine[: memory.top_k] if cut else mine  # noqa: N806
        weights = joint if prior else likelihood
        for slot in S_y:
            share = weights[slot] / weights[S_y].sum()
            added[slot] += share
            resultant[slot] += share * query
    touched = added > 0
    past = torch.where(touched, alpha * memory.histogram, memory.histogram)
    weight = past if key_decay is None else key_decay * memory.histogram
    keys = weight.unsqueeze(1) * memory.keys + resultant
    if unit:
        keys = F.normalize(keys, dim=1)
    memory.keys.copy_(torch.where(touched.unsqueeze(1), keys, memory.keys))
    memory.histogram.copy_(past + added)


@pytest.mark.parametrize(
    ("mistake", "reply"),
    [
        ({}, "Right."),
        ({"mask": False}, "v = 0 has changed"),
        ({"prior": False}, "the prior, h, is missing"),
        ({"cut": False}, "only the k best"),
        ({"decay": 1.0}, "has not decayed"),
        ({"decay": 0.7**5}, "not once for each query"),
        ({"rows": slice(4, 5)}, "Only the last query"),
        ({"key_decay": 1.0}, "not with alpha h"),
        ({"unit": False}, "normalisation"),
    ],
)
def test_em_step(capsys, mistake, reply):
    assert reply in said(capsys, nb04.check_em_step, lambda *arguments: em(*arguments, **mistake))


def test_em_step_that_takes_no_notice_of_the_label_or_changes_ages(capsys):
    assert "with label 0" in said(capsys, nb04.check_em_step, lambda memory, queries, label: em(memory, queries, 1))

    def makes_old(memory, queries, label):
        em(memory, queries, label)
        memory.ages.fill_(99)

    assert "Ages have changed" in said(capsys, nb04.check_em_step, makes_old)


def test_an_em_step_that_does_nothing_is_no_answer(capsys):
    assert "Not answered" in said(capsys, nb04.check_em_step, lambda *arguments: ...)
    assert "No count has changed" in said(capsys, nb04.check_em_step, lambda *arguments: None)


def test_alpha(capsys):
    assert "Right." in said(capsys, nb04.check_alpha, 0.68)
    assert "lags" in said(capsys, nb04.check_alpha, 0.95)
    assert "jitters" in said(capsys, nb04.check_alpha, 0.2)
    assert "between 0 and 1" in said(capsys, nb04.check_alpha, 1.0)

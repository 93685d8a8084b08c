"""The k most probable slots against sorting all scores in numpy, through every way of cutting them up."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from memory_builders import unit_rows

from memgan.engines import blocked, dense, portions

KAPPA = 6.0
QUERIES, DIM = 7, 5

# (slots, k): with groups of 3, grouping begins at N = 12 k, and groups of groups at 36 k; N above, below and at
# multiples of blocks and groups
SIZES = [(13, 1), (13, 5), (13, 13), (17, 1), (61, 5), (60, 5), (59, 5), (97, 1), (97, 7), (97, 97)]
SIZES += [(211, 1), (211, 5), (211, 11)]
# (scores in a block, columns in a group, scores held at once)
LAYOUTS = {
    "as shipped": (blocked._CACHED_SCORES, blocked._GROUP, portions.MOST_NUMBERS),
    "one column in a block": (QUERIES, 3, 2**26),
    "blocks of two or three columns": (2 * QUERIES + 1, 3, 2**26),
    "blocks of about nine columns": (9 * QUERIES, 3, 2**26),
    "two blocks, groups of two": (59 * QUERIES, 2, 2**26),
    "groups larger than a block": (4 * QUERIES, 8, 2**26),
    "one block in groups": (2**19, 3, 2**26),
    "one query at a time": (9, 3, 1),
    "three queries at a time": (9 * 3, 3, 3 * 97),
}
DENSE = {"dense": 2**26, "dense, one query at a time": 1}


@pytest.fixture(params=[*LAYOUTS, *DENSE])
def engine(request, monkeypatch):
    """Both engines, the blocked one with every way of cutting up the scores."""
    if request.param in DENSE:
        monkeypatch.setattr(portions, "MOST_NUMBERS", DENSE[request.param])
        return dense
    cached_scores, group, most_scores = LAYOUTS[request.param]
    monkeypatch.setattr(blocked, "_CACHED_SCORES", cached_scores)
    monkeypatch.setattr(blocked, "_GROUP", group)
    monkeypatch.setattr(portions, "MOST_NUMBERS", most_scores)
    return blocked


def problem(num_slots, seed=0):
    generator = torch.Generator().manual_seed(seed + num_slots)
    log_prior = torch.rand(num_slots, generator=generator, dtype=torch.float64) * 3 - 5
    return unit_rows(QUERIES, DIM, seed=seed), unit_rows(num_slots, DIM, seed=seed + 1), log_prior


def all_scores(queries, keys, log_prior):
    return KAPPA * queries.numpy() @ keys.numpy().T + log_prior.numpy()


def best_first(found):
    """The search promises which slots, not their order: scores and slots, best first."""
    scores, order = found.scores.sort(dim=1, descending=True)
    return scores.numpy(), found.slots.gather(1, order).numpy()


def values_and_labels(num_slots, share, seed=3):
    generator = torch.Generator().manual_seed(seed)
    values = (torch.rand(num_slots, generator=generator) < share).long()
    return values, torch.arange(QUERIES) % 2


@pytest.mark.parametrize(("num_slots", "top_k"), SIZES)
def test_nearest_slots_are_those_of_sorting_all_scores(engine, num_slots, top_k):
    queries, keys, log_prior = problem(num_slots)
    scores = all_scores(queries, keys, log_prior)
    found_scores, found_slots = best_first(engine.nearest(queries, keys, log_prior, KAPPA, top_k))
    order = np.argsort(-scores, axis=1)[:, :top_k]
    np.testing.assert_array_equal(found_slots, order)
    np.testing.assert_allclose(found_scores, np.take_along_axis(scores, order, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("num_slots", "top_k"), SIZES)
def test_matching_slots_are_those_of_sorting_the_scores_of_the_label_s_slots(engine, num_slots, top_k):
    queries, keys, log_prior = problem(num_slots)
    values, labels = values_and_labels(num_slots, share=0.5)
    look_at = max(1, top_k - 2)
    nearest, matching = engine.nearest_and_matching(
        queries, keys, log_prior, KAPPA, values, labels, look_at=look_at, top_k=top_k
    )
    scores, (found_scores, found_slots) = all_scores(queries, keys, log_prior), best_first(nearest)
    np.testing.assert_array_equal(found_slots, np.argsort(-scores, axis=1)[:, :look_at])
    np.testing.assert_allclose(found_scores, -np.sort(-scores, axis=1)[:, :look_at], rtol=0, atol=1e-12)
    found_scores, found_slots = best_first(matching)
    assert found_slots.shape == found_scores.shape == (QUERIES, top_k)
    for query, label in enumerate(labels.tolist()):
        candidates = np.flatnonzero(values.numpy() == label)
        best = candidates[np.argsort(-scores[query, candidates])][:top_k]
        np.testing.assert_array_equal(found_slots[query, : len(best)], best)
        np.testing.assert_allclose(found_scores[query, : len(best)], scores[query, best], rtol=0, atol=1e-12)
        assert np.all(found_scores[query, len(best) :] == -np.inf)


@pytest.mark.parametrize("carried", [0, 1, 3])
@pytest.mark.parametrize(("num_slots", "top_k"), [(13, 5), (61, 5), (97, 7), (97, 97), (211, 11)])
def test_a_label_with_fewer_slots_than_k_is_filled_up_with_slots_of_score_minus_infinity(
    engine, num_slots, top_k, carried
):
    queries, keys, log_prior = problem(num_slots)
    values = torch.zeros(num_slots, dtype=torch.long)
    values[torch.tensor([num_slots - 1, 0, num_slots // 2])[:carried]] = 1
    labels = torch.ones(QUERIES, dtype=torch.long)
    _, matching = engine.nearest_and_matching(queries, keys, log_prior, KAPPA, values, labels, look_at=1, top_k=top_k)
    real = matching.scores > -torch.inf
    assert real.sum(dim=1).tolist() == [carried] * QUERIES
    carrying = values.nonzero().flatten().tolist()
    assert np.sort(best_first(matching)[1][:, :carried], axis=1).tolist() == [carrying] * QUERIES
    assert not bool(matching.scores.isnan().any())
    assert int(matching.slots.min()) >= 0 and int(matching.slots.max()) < num_slots


@pytest.mark.parametrize(("num_slots", "top_k"), [(13, 5), (61, 5), (97, 7), (211, 11)])
def test_among_equal_scores_any_slots_do_but_none_twice(engine, num_slots, top_k):
    queries, keys, _ = problem(num_slots)
    keys[1:] = keys[0]
    values, labels = values_and_labels(num_slots, share=0.5)
    prior = torch.full((num_slots,), -1.0, dtype=torch.float64)
    prior[num_slots // 3] = 0.0  # one slot is better than all others
    nearest, matching = engine.nearest_and_matching(
        queries, keys, prior, KAPPA, values, labels, look_at=top_k, top_k=top_k
    )
    for ranked in (engine.nearest(queries, keys, prior, KAPPA, top_k), nearest, matching):
        assert all(len(set(slots)) == top_k for slots in ranked.slots.tolist())
    assert best_first(nearest)[1][:, 0].tolist() == [num_slots // 3] * QUERIES
    assert bool((values[matching.slots] == labels.unsqueeze(1)).all())


def test_keys_all_opposite_to_the_query_are_still_found_before_the_padding(engine):
    # every score is far below zero: nothing may mistake a column beyond the slots for a better one
    num_slots, top_k = 97, 7
    queries = unit_rows(1, DIM, seed=11).expand(QUERIES, -1)
    keys = -queries[:1].repeat(num_slots, 1)
    prior = torch.linspace(-300, -200, num_slots, dtype=torch.float64)
    found = engine.nearest(queries, keys, prior, KAPPA, top_k)
    assert best_first(found)[1].tolist() == [list(range(96, 89, -1))] * QUERIES
    values, labels = torch.ones(num_slots, dtype=torch.long), torch.ones(QUERIES, dtype=torch.long)
    _, matching = engine.nearest_and_matching(queries, keys, prior, KAPPA, values, labels, look_at=1, top_k=top_k)
    assert best_first(matching)[1].tolist() == [list(range(96, 89, -1))] * QUERIES


@pytest.mark.parametrize("num_slots", [97, 4001])
def test_float32_scores_find_the_same_slots(engine, num_slots):
    queries, keys, prior = problem(num_slots)
    exact = all_scores(queries, keys, prior)
    order = np.argsort(-exact, axis=1)[:, :8]
    gaps = -np.diff(np.take_along_axis(exact, order, 1), axis=1)
    assert gaps.min() > 1e-5  # the oracle's order is not a matter of rounding
    scores, slots = best_first(engine.nearest(queries.float(), keys.float(), prior.float(), KAPPA, 7))
    np.testing.assert_array_equal(slots, order[:, :7])
    np.testing.assert_allclose(scores, np.take_along_axis(exact, order[:, :7], 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("by_onednn", [False, True])
def test_either_library_for_products_finds_the_same(monkeypatch, by_onednn):
    monkeypatch.setattr(blocked, "_onednn_is_faster", lambda: by_onednn)
    monkeypatch.setattr(blocked, "_CACHED_SCORES", 300)  # several blocks, of which the last is not full
    queries, keys, prior = problem(211)
    scores, slots = best_first(blocked.nearest(queries.float(), keys.float(), prior.float(), KAPPA, 7))
    exact = all_scores(queries, keys, prior)
    expected = np.argsort(-exact, axis=1)[:, :7]
    np.testing.assert_array_equal(slots, expected)
    np.testing.assert_allclose(scores, np.take_along_axis(exact, expected, 1), rtol=0, atol=1e-5)


def test_what_was_found_stays_when_the_same_space_is_searched_again():
    queries, keys, log_prior = problem(211)
    found = blocked.nearest(queries, keys, log_prior, KAPPA, 5)
    before = found.scores.clone()
    blocked.nearest(-queries, keys, log_prior, KAPPA, 5)
    assert torch.equal(found.scores, before)


def test_the_space_is_on_the_cpu_wherever_new_tensors_are_made():
    parts = problem(97)

    def on_another_device():
        torch.set_default_device("meta")
        try:
            return blocked.nearest(*parts, KAPPA, 5)
        finally:
            torch.set_default_device("cpu")

    expected = blocked.nearest(*parts, KAPPA, 5)
    with ThreadPoolExecutor(1) as thread:  # which has no space yet
        found = thread.submit(on_another_device).result()
    assert torch.equal(found.scores, expected.scores) and torch.equal(found.slots, expected.slots)


def test_threads_that_search_at_the_same_time_find_what_they_find_alone():
    problems = [problem(num_slots, seed) for seed, num_slots in enumerate((3001, 97, 2003, 59))]
    expected = [blocked.nearest(*parts, KAPPA, 5) for parts in problems]

    def search(number):
        return [blocked.nearest(*problems[number], KAPPA, 5) for _ in range(50)]

    with ThreadPoolExecutor(len(problems)) as pool:
        for one, repeated in zip(expected, pool.map(search, range(len(problems))), strict=True):
            for found in repeated:
                assert torch.equal(found.scores, one.scores)
                assert torch.equal(found.slots, one.slots)


def test_a_search_in_inference_mode_leaves_the_space_fit_for_training():
    queries, keys, log_prior = problem(4001)
    with torch.inference_mode():
        blocked.nearest(queries, keys, log_prior, KAPPA, 5)
    found = blocked.nearest(queries, keys, log_prior, KAPPA, 5)
    assert not found.scores.is_inference()


def test_the_keys_of_a_large_memory_are_moved_as_the_dense_engine_moves_them():
    num_slots, batch, top_k = 70_001, 6, 4
    queries, keys, _ = problem(num_slots)
    generator = torch.Generator().manual_seed(1)
    slots = torch.randint(num_slots, (batch, top_k), generator=generator)
    slots[:2, 0] = num_slots - 1  # two samples meet in the last slot
    moves = torch.rand(batch, top_k, generator=generator) < 0.7
    change = torch.rand(batch, top_k, generator=generator, dtype=torch.float64) * moves
    results = []
    for engine in (blocked, dense):
        new_keys, histogram = keys.clone(), torch.full((num_slots,), 0.5, dtype=torch.float64)
        engine.m_step(new_keys, histogram, queries[:batch], slots, moves, change)
        results.append((new_keys, histogram))
    for of_blocked, of_dense in zip(*results, strict=True):
        torch.testing.assert_close(of_blocked, of_dense, rtol=1e-12, atol=1e-12)

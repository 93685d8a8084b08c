"""Writing: one sample at a time against the plain loops, batches against METHOD's statement as dense arrays."""

import copy
import itertools

import numpy as np
import pytest
import torch
from memory_builders import (
    assert_equals_reference,
    assert_state_is,
    lived_in_memory,
    random_labels,
    reference_of,
    state_of,
    unit_rows,
)
from scipy import special

from memgan.engines import blocked, dense

B, N, M, K = 7, 17, 3, 5
OPEN_CHOICES = [
    {"em_steps": em_steps, "correct_in_top": look_at, "touch": touch, "replace_within_label": within, "alpha": alpha}
    for em_steps, look_at, touch, within, alpha in itertools.product(
        (1, 3), (1, 2, K), ("best", "all"), (True, False), (0.7, 1.0)
    )
]


@pytest.fixture(params=["blocked", "dense"])
def path(request, monkeypatch):
    """Both engines: `blocked`, which a CPU has, and `dense`, which a GPU and torch.compile have."""
    engine = {"blocked": blocked, "dense": dense}[request.param]
    monkeypatch.setattr("memgan.memory.engine_for", lambda queries: engine)
    return request.param


def dense_write(memory, queries, labels):
    """Section 3 of METHOD for a batch, as arrays over all samples and all slots: keys, values, ages, histogram."""
    keys, values, ages, histogram = (
        buffer.numpy().copy() for buffer in (memory.keys, memory.values, memory.ages, memory.histogram)
    )
    queries, labels = queries.numpy(), labels.numpy()
    log_joint = memory.kappa * queries @ keys.T + np.log(histogram + memory.beta)
    looked_at = np.argsort(-log_joint, axis=1)[:, : memory.correct_in_top]
    right = (values[looked_at] == labels[:, None]).any(axis=1)

    own = np.where(values == labels[:, None], log_joint, -np.inf)
    place = np.argsort(np.argsort(-own, axis=1), axis=1)  # 0 for the best slot of the label
    matching = (place < memory.top_k) & np.isfinite(own) & right[:, None]
    young = matching & (place == 0) if memory.touch == "best" else matching

    overwriter = np.full(len(keys), -1)
    by_seniority = np.lexsort((np.arange(len(keys)), -ages))
    for b in np.flatnonzero(~right)[np.argsort(queries[~right] @ np.sqrt(np.arange(1, queries.shape[1] + 1)))]:
        allowed = (overwriter < 0) & ((values == labels[b]) | (not memory.replace_within_label))
        overwriter[by_seniority[allowed[by_seniority]][0]] = b
    replaced, mean = overwriter >= 0, histogram.mean()

    moves = matching & ~replaced
    touched = moves.any(axis=0)
    histogram = np.where(touched, memory.alpha * histogram, histogram)
    remembered = np.zeros_like(log_joint)
    for _ in range(memory.em_steps):
        log_joint = memory.kappa * queries @ keys.T + np.log(histogram + memory.beta)
        with np.errstate(invalid="ignore"):  # rows of samples that replace have nothing to share
            gamma = special.softmax(np.where(matching, log_joint, -np.inf), axis=1)
        gamma = np.where(moves, gamma, 0.0)
        change, remembered = gamma - remembered, gamma
        histogram = histogram + change.sum(axis=0)
        pull = change.T @ queries - change.sum(axis=0)[:, None] * keys
        moved = keys + pull / histogram[:, None]
        keys = np.where(touched[:, None], moved / np.linalg.norm(moved, axis=1, keepdims=True), keys)
    ages = np.where(young.any(axis=0), 0, ages + 1)

    keys[replaced], values[replaced] = queries[overwriter[replaced]], labels[overwriter[replaced]]
    ages[replaced], histogram[replaced] = 0, mean
    return keys, values, ages, histogram


def assert_equals_dense(memory, dense, tolerance=1e-12):
    keys, values, ages, histogram = dense
    np.testing.assert_allclose(memory.keys.numpy(), keys, rtol=0, atol=tolerance)
    np.testing.assert_allclose(memory.histogram.numpy(), histogram, rtol=tolerance)
    assert memory.values.tolist() == values.tolist()
    assert memory.ages.tolist() == ages.tolist()


def replaces(memory, query, label):
    """Whether the memory is wrong about a sample, as the plain loops see it."""
    reference = reference_of(memory)
    looked_at = reference.nearest(query.numpy())[: memory.correct_in_top]
    return all(reference.values[slot] != int(label) for slot in looked_at)


# ---------------------------------------------------------------- one sample: the plain loop


@pytest.mark.parametrize("choices", OPEN_CHOICES, ids=str)
def test_writing_one_sample_equals_the_plain_loop_in_both_branches(choices, path):
    branches = set()
    for seed in range(6):
        memory = lived_in_memory(seed=seed, **choices)
        reference = reference_of(memory)
        query, label = unit_rows(1, M, seed=seed + 100), torch.tensor([seed % 2])
        branches.add(replaces(memory, query[0], label))
        memory.write(query, label)
        reference.write(query[0].numpy(), int(label))
        assert_equals_reference(memory, reference)
    # with 5 slots looked at the memory is hardly ever wrong: the next test goes there
    assert branches == {True, False} or (branches == {False} and choices["correct_in_top"] == K)


@pytest.mark.parametrize("choices", OPEN_CHOICES, ids=str)
def test_writing_one_sample_of_a_label_that_no_near_slot_carries_equals_the_plain_loop(choices, path):
    memory = lived_in_memory(seed=3, **choices)
    query = unit_rows(1, M, seed=4)
    near = torch.tensor(reference_of(memory).nearest(query[0].numpy()))
    memory.values[near] = 0
    memory.values[torch.tensor([i for i in range(N) if i not in near.tolist()])[:3]] = 1
    assert replaces(memory, query[0], 1)
    reference = reference_of(memory)
    memory.write(query, torch.tensor([1]))
    reference.write(query[0].numpy(), 1)
    assert_equals_reference(memory, reference)


@pytest.mark.parametrize("choices", OPEN_CHOICES, ids=str)
def test_writing_one_sample_of_a_label_with_fewer_slots_than_k_equals_the_plain_loop(choices, path):
    memory = lived_in_memory(seed=5, **choices)
    query = unit_rows(1, M, seed=6)
    near = reference_of(memory).nearest(query[0].numpy())
    memory.values.fill_(0)
    memory.values[torch.tensor([near[0], near[4]])] = 1
    reference = reference_of(memory)
    memory.write(query, torch.tensor([1]))
    reference.write(query[0].numpy(), 1)
    assert not torch.equal(torch.from_numpy(reference.keys[near[4]]), lived_in_memory(seed=5).keys[near[4]])
    assert_equals_reference(memory, reference)


def test_writing_the_first_sample_of_a_label_that_no_slot_carries_equals_the_plain_loop(path):
    memory = lived_in_memory(seed=7, replace_within_label=False)
    memory.values.fill_(0)
    reference = reference_of(memory)
    query = unit_rows(1, M, seed=8)
    memory.write(query, torch.tensor([1]))
    reference.write(query[0].numpy(), 1)
    assert memory.values.sum() == 1
    assert_equals_reference(memory, reference)


@pytest.mark.parametrize("choices", OPEN_CHOICES[::9] + [OPEN_CHOICES[-1]], ids=str)  # every value of every setting
@pytest.mark.parametrize(("num_slots", "key_dim", "top_k"), [(N, M, K), (13, 11, 13), (211, 2, 5)])
def test_fifty_samples_in_a_row_equal_the_plain_loop(choices, num_slots, key_dim, top_k):
    memory = lived_in_memory(num_slots, key_dim, top_k, seed=9, **choices)
    reference = reference_of(memory)
    queries, labels = unit_rows(50, key_dim, seed=10), random_labels(50, seed=11)
    for query, label in zip(queries, labels, strict=True):
        memory.write(query.unsqueeze(0), label.unsqueeze(0))
        reference.write(query.numpy(), int(label))
    assert_equals_reference(memory, reference, tolerance=1e-10)


def test_the_plain_batch_of_one_is_the_plain_loop():
    for seed, choices in enumerate(OPEN_CHOICES):
        one, batch = (reference_of(lived_in_memory(seed=seed, **choices)) for _ in range(2))
        query, label = unit_rows(1, M, seed=seed + 30).numpy(), seed % 2
        one.write(query[0], label)
        batch.write_batch(query, [label])
        np.testing.assert_array_equal(one.keys, batch.keys)
        assert (one.values, one.ages, one.histogram) == (batch.values, batch.ages, batch.histogram)


# ---------------------------------------------------------------- batches without collisions


def memory_without_collisions(**choices):
    """Five far-apart queries in 11 dimensions; each has three slots of its own label around it, two slots are over."""
    batch, key_dim, top_k = 5, 11, 3
    queries = torch.linalg.qr(unit_rows(key_dim, batch, seed=12)).Q.T.contiguous()
    labels = torch.tensor([1, 0, 0, 1, 1])
    near = queries.repeat_interleave(top_k, dim=0) + 0.15 * unit_rows(batch * top_k, key_dim, seed=13)
    memory = lived_in_memory(N, key_dim, top_k, seed=14, kappa=20.0, **choices)
    memory.keys[: batch * top_k] = torch.nn.functional.normalize(near, dim=1)
    memory.values[: batch * top_k] = labels.repeat_interleave(top_k)
    shuffle = torch.randperm(N, generator=torch.Generator().manual_seed(15))
    for buffer in memory.buffers():
        buffer.copy_(buffer[shuffle])
    return memory, queries, labels


@pytest.mark.parametrize("em_steps", [1, 3])
@pytest.mark.parametrize("touch", ["best", "all"])
def test_a_batch_without_collisions_equals_the_plain_loop_in_any_order(em_steps, touch, path):
    memory, queries, labels = memory_without_collisions(em_steps=em_steps, touch=touch)
    start = reference_of(memory)
    memory.write(queries, labels)
    for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 4, 0, 3, 1]]:
        loop = copy.deepcopy(start)
        for b in order:
            loop.write(queries[b].numpy(), int(labels[b]))
        assert_equals_reference(memory, loop, ages=False)
    # ages differ only in that a batch is one write: what was touched is new, all else is one older
    touched = {slot for q, y in zip(queries, labels, strict=True) for slot in start.nearest(q.numpy(), int(y))}
    assert len(touched) == 15  # no two samples shared a slot
    best = {start.nearest(q.numpy(), int(y))[0] for q, y in zip(queries, labels, strict=True)}
    young = touched if touch == "all" else best
    assert memory.ages.tolist() == [0 if i in young else start.ages[i] + 1 for i in range(N)]


# ---------------------------------------------------------------- batches with collisions


@pytest.mark.parametrize("choices", OPEN_CHOICES, ids=str)
def test_a_batch_with_collisions_equals_the_dense_statement_and_the_plain_batch(choices, path):
    for seed in range(3):
        memory = lived_in_memory(seed=seed + 20, **choices)
        queries, labels = unit_rows(B, M, seed=seed + 40), random_labels(B, seed=seed + 60)
        reference, dense = reference_of(memory), dense_write(memory, queries, labels)
        memory.write(queries, labels)
        reference.write_batch(queries.numpy(), labels.tolist())
        assert_equals_dense(memory, dense)
        assert_equals_reference(memory, reference)


@pytest.mark.parametrize(("num_slots", "key_dim", "top_k", "batch"), [(13, 11, 13, 5), (211, 5, 7, 31), (61, 2, 1, 47)])
@pytest.mark.parametrize("em_steps", [1, 3])
def test_writes_of_many_batches_in_a_row_equal_the_dense_statement(num_slots, key_dim, top_k, batch, em_steps, path):
    memory = lived_in_memory(num_slots, key_dim, top_k, seed=21, em_steps=em_steps, replace_within_label=False)
    for step in range(10):
        queries, labels = unit_rows(batch, key_dim, seed=step), random_labels(batch, seed=step + 50)
        if sum(replaces(memory, q, y) for q, y in zip(queries, labels, strict=True)) > num_slots:
            continue
        dense = dense_write(memory, queries, labels)
        memory.write(queries, labels)
        assert_equals_dense(memory, dense, tolerance=1e-11)


@pytest.mark.parametrize("elements", [1, M, 4 * M + 1])
def test_writes_in_small_blocks_equal_the_dense_statement(elements, path, monkeypatch):
    monkeypatch.setattr("memgan.engines.blocked._CACHED_UPDATES", elements)
    monkeypatch.setattr("memgan.engines.portions.MOST_NUMBERS", elements)
    for seed in range(5):
        memory = lived_in_memory(seed=seed, em_steps=3)
        queries, labels = unit_rows(B, M, seed=seed + 70), random_labels(B, seed=seed + 80)
        dense = dense_write(memory, queries, labels)
        memory.write(queries, labels)
        assert_equals_dense(memory, dense)


def test_samples_that_share_every_slot_all_count(path):
    # one real slot: each sample gives it its whole mass, so h <- alpha h + B and K <- alpha h K + sum q
    memory = lived_in_memory(seed=22, correct_in_top=K, top_k=K)
    memory.values.fill_(0)
    queries = torch.nn.functional.normalize(memory.keys[4] + 0.3 * unit_rows(B, M, seed=23), dim=1)
    memory.values[4], memory.histogram[4] = 1, 3.0
    resultant = 0.7 * 3.0 * memory.keys[4] + queries.sum(dim=0)
    memory.write(queries, torch.ones(B, dtype=torch.long))
    assert float(memory.histogram[4]) == pytest.approx(0.7 * 3.0 + B, rel=1e-13)
    torch.testing.assert_close(memory.keys[4], resultant / resultant.norm(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("choices", OPEN_CHOICES[::3], ids=str)
def test_the_order_of_a_batch_is_irrelevant(choices, path):
    memory = lived_in_memory(seed=24, **choices)
    queries, labels = unit_rows(B, M, seed=25), random_labels(B, seed=26)
    wrong = [replaces(memory, q, y) for q, y in zip(queries, labels, strict=True)]
    assert not all(wrong) and (sum(wrong) >= 2 or choices["correct_in_top"] > 1)
    shuffled = copy.deepcopy(memory)
    memory.write(queries, labels)
    for seed in range(5):
        order = torch.randperm(B, generator=torch.Generator().manual_seed(seed))
        other = copy.deepcopy(shuffled)
        other.write(queries[order], labels[order])
        for name in ("values", "ages"):
            assert torch.equal(getattr(other, name), getattr(memory, name))
        for name in ("keys", "histogram"):
            torch.testing.assert_close(getattr(other, name), getattr(memory, name), rtol=1e-13, atol=1e-13)


def test_the_order_of_a_batch_is_irrelevant_where_replacing_queries_share_a_first_coordinate(path):
    # bfloat16 queries have only some hundred different first coordinates, one-hot queries have two
    memory = lived_in_memory(seed=27, replace_within_label=False)
    memory.ages.copy_(torch.arange(N))
    memory.values.fill_(0)
    corners = torch.tensor([[1.0, 2.0, 2.0], [1.0, -2.0, 2.0], [1.0, 2.0, -2.0], [1.0, -2.0, -2.0]]).double()
    queries, labels = corners / 3, torch.ones(4, dtype=torch.long)
    other = copy.deepcopy(memory)
    memory.write(queries, labels)
    other.write(queries.flip(0), labels)
    torch.testing.assert_close(other.keys, memory.keys, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_write_is_bitwise_repeatable(dtype, path):
    memory = lived_in_memory(97, 11, 13, seed=28, dtype=dtype, em_steps=3)
    start, ends = state_of(memory), []
    for run in range(3):
        memory.load_state_dict(start)
        torch.manual_seed(run)
        for step in range(5):
            memory.write(unit_rows(61, 11, seed=step, dtype=dtype), random_labels(61, seed=step))
        ends.append(state_of(memory))
    assert not torch.equal(ends[0]["keys"], start["keys"])
    assert_state_is(memory, ends[0])
    memory.load_state_dict(ends[1])
    assert_state_is(memory, ends[0])


# ---------------------------------------------------------------- replacement


@pytest.mark.parametrize("within_label", [True, False])
def test_replacing_samples_take_distinct_oldest_slots_oldest_first_and_ties_by_index(within_label, path):
    memory = lived_in_memory(seed=29, replace_within_label=within_label, correct_in_top=K)
    memory.histogram.copy_(torch.linspace(0.1, 2.9, N))
    memory.ages.copy_(torch.tensor([3, 8, 8, 1, 0, 8, 5, 2, 9, 3, 3, 9, 0, 7, 7, 1, 2]))
    # slots 0..11 are generated and lie to the east, 12..16 are real and lie to the west, all samples come from the east
    east = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    sides = torch.cat([east.expand(12, -1), -east.expand(5, -1)])
    memory.keys.copy_(torch.nn.functional.normalize(sides + 0.1 * unit_rows(N, M, seed=31), dim=1))
    memory.values.copy_(torch.arange(N) >= 12)
    queries = torch.nn.functional.normalize(east + 0.2 * unit_rows(5, M, seed=32), dim=1)
    before = state_of(memory)
    memory.write(queries, torch.ones(5, dtype=torch.long))

    # ages: 9 at 8 and 11, then 8 at 1, 2 and 5; of the real slots 7 at 13 and 14, 2 at 16, 1 at 15, 0 at 12
    expected = [13, 14, 16, 15, 12] if within_label else [8, 11, 1, 2, 5]
    turns = (queries @ torch.tensor([1.0, 2.0, 3.0]).double().sqrt()).argsort()
    torch.testing.assert_close(memory.keys[expected], queries[turns], rtol=0, atol=1e-15)
    assert memory.values[expected].tolist() == [1] * 5
    assert memory.ages[expected].tolist() == [0] * 5
    mean = np.linspace(0.1, 2.9, N).mean()
    np.testing.assert_allclose(memory.histogram[expected].numpy(), np.full(5, mean), rtol=1e-7)
    others = torch.tensor([i for i in range(N) if i not in expected])
    for name in ("keys", "values", "histogram"):
        assert torch.equal(getattr(memory, name)[others], before[name][others])
    assert torch.equal(memory.ages[others], before["ages"][others] + 1)


def test_a_slot_that_is_replaced_is_not_also_moved(path):
    # the oldest slot is also the nearest of the other sample, which then gives its share of mass to nobody else
    memory = lived_in_memory(seed=33, replace_within_label=False)
    real, generated = 2, 3
    memory.keys[real] = torch.tensor([1.0, 0.0, 0.0])
    memory.keys[generated] = torch.tensor([-1.0, 0.0, 0.0])
    memory.values[real], memory.values[generated] = 1, 0
    memory.histogram[real] = memory.histogram[generated] = 1e3
    memory.ages[real] = 99
    queries = torch.stack([memory.keys[real], memory.keys[generated]])
    labels = torch.tensor([1, 1])  # the first is right, the second wrong
    assert [replaces(memory, q, y) for q, y in zip(queries, labels, strict=True)] == [False, True]
    mean, dense = float(memory.histogram.mean()), dense_write(memory, queries, labels)
    memory.write(queries, labels)
    torch.testing.assert_close(memory.keys[real], queries[1], rtol=0, atol=0)
    assert float(memory.histogram[real]) == pytest.approx(mean, rel=1e-14)
    assert_equals_dense(memory, dense)


@pytest.mark.parametrize("within_label", [True, False])
def test_without_validation_samples_beyond_the_slots_to_replace_are_not_written(within_label, path):
    memory = lived_in_memory(5, M, 5, seed=34, replace_within_label=within_label, kappa=60.0)
    memory.validate = False
    memory.values.copy_(torch.tensor([0, 0, 0, 1, 1] if within_label else [0] * 5))
    east = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    memory.keys.copy_(torch.where(memory.values.unsqueeze(1) == 0, east, -east))
    queries = torch.nn.functional.normalize(east + 0.2 * unit_rows(7, M, seed=35), dim=1)
    memory.write(queries, torch.ones(7, dtype=torch.long))
    fit = 2 if within_label else 5
    written = queries[(queries @ torch.tensor([1.0, 2.0, 3.0]).double().sqrt()).argsort()][:fit]
    written = written[written[:, 0].argsort()]
    slots = [3, 4] if within_label else list(range(5))
    found = memory.keys[slots]
    torch.testing.assert_close(found[found[:, 0].argsort()], written, rtol=0, atol=1e-15)
    assert memory.values.tolist() == ([0, 0, 0, 1, 1] if within_label else [1] * 5)
    assert bool((memory.ages[[0, 1, 2]] > 0).all()) or not within_label


# ---------------------------------------------------------------- what a write leaves alone


@pytest.mark.parametrize("choices", OPEN_CHOICES[::3], ids=str)
def test_slots_that_no_sample_touches_keep_their_key_value_and_mass_bitwise(choices, path):
    memory = lived_in_memory(211, M, K, seed=36, **choices)
    untouched = np.ones(211, bool)
    for step in range(10):
        queries, labels = unit_rows(3, M, seed=step), random_labels(3, seed=step + 5)
        before, start = state_of(memory), reference_of(memory)
        memory.write(queries, labels)
        touched = {i for q, y in zip(queries.numpy(), labels.tolist(), strict=True) for i in start.nearest(q, y)}
        touched |= set((memory.values != before["values"]).nonzero().flatten().tolist())
        touched |= set(start.oldest_first(0)[:3] + start.oldest_first(1)[:3])
        untouched = torch.tensor([i not in touched for i in range(211)])
        assert 150 < int(untouched.sum()) < 211
        for name in ("keys", "values", "histogram"):
            assert torch.equal(getattr(memory, name)[untouched], before[name][untouched])
        assert torch.equal(memory.ages[untouched], before["ages"][untouched] + 1)


def test_values_change_only_where_a_sample_of_another_label_replaces():
    memory = lived_in_memory(seed=37, replace_within_label=False)
    for step in range(200):
        query, label = unit_rows(1, M, seed=step), torch.tensor([step % 2])
        wrong, before = replaces(memory, query[0], label), memory.values.clone()
        oldest = reference_of(memory).oldest_first(0)[0]
        memory.write(query, label)
        changed = (memory.values != before).nonzero().flatten().tolist()
        assert changed == ([oldest] if wrong and int(before[oldest]) != int(label) else [])


def test_a_write_carries_no_gradient_and_changes_neither_queries_nor_labels():
    memory = lived_in_memory(seed=38)
    queries, labels = unit_rows(B, M, seed=39).requires_grad_(), random_labels(B, seed=40)
    before = queries.detach().clone(), labels.clone()
    assert memory.write(queries, labels) is None
    assert queries.grad is None and not any(buffer.requires_grad for buffer in memory.buffers())
    assert torch.equal(queries.detach(), before[0]) and torch.equal(labels, before[1])


def test_a_write_is_in_place():
    memory = lived_in_memory(seed=38)
    addresses = [buffer.data_ptr() for buffer in memory.buffers()]
    memory.write(unit_rows(B, M, seed=39), random_labels(B, seed=40))
    assert [buffer.data_ptr() for buffer in memory.buffers()] == addresses


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.float32, torch.bfloat16])
def test_labels_of_any_dtype_mean_the_same(dtype):
    memory = lived_in_memory(seed=41)
    other = copy.deepcopy(memory)
    queries, labels = unit_rows(B, M, seed=42), random_labels(B, seed=43)
    memory.write(queries, labels)
    other.write(queries, labels.to(dtype))
    assert_state_is(other, state_of(memory))


# ---------------------------------------------------------------- both at once


@pytest.mark.parametrize("choices", OPEN_CHOICES[::3], ids=str)
@pytest.mark.parametrize("num_slots", [N, 211])
def test_read_write_is_read_then_write(choices, num_slots, path):
    memory = lived_in_memory(num_slots, seed=44, **choices)
    apart = copy.deepcopy(memory)
    queries, labels = unit_rows(B, M, seed=45), random_labels(B, seed=46)
    expected, dense = [reference_of(memory).read(q) for q in queries.numpy()], dense_write(memory, queries, labels)
    probability = memory.read_write(queries, labels)
    np.testing.assert_allclose(probability.numpy(), expected, rtol=1e-11)
    assert_equals_dense(memory, dense)
    torch.testing.assert_close(apart.read(queries), probability, rtol=1e-13, atol=0)
    apart.write(queries, labels)
    for name in ("keys", "histogram"):
        torch.testing.assert_close(getattr(apart, name), getattr(memory, name), rtol=1e-13, atol=1e-14)
    assert torch.equal(apart.values, memory.values) and torch.equal(apart.ages, memory.ages)

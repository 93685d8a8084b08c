"""A memory in shards equals one memory, and the plain loops, for 1 to 4 ranks and in every branch of the write."""

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.distributed as dist
from memory_builders import lived_in_memory, random_labels, reference_of, unit_rows

from memgan import ShardedVMFMemory
from memgan.distributed import own_rows
from tests.ranks import on_ranks

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="PyTorch has no gloo here")

RANKS = (1, 2, 3, 4)
B, N, M, K = 12, 17, 3, 5  # 12 rows of all ranks together; 3 of 4 ranks have k slots, the last has 2
BUFFERS = ("keys", "values", "ages", "histogram")
CHOICES = [
    {"em_steps": em_steps, "correct_in_top": look_at, "touch": touch, "replace_within_label": within}
    for em_steps, look_at, touch, within in itertools.product((1, 3), (1, 2, K), ("best", "all"), (True, False))
]
SIZES = {  # N, M, k
    "shards of fewer than k slots": (10, 5, 4),
    "a rank without slots": (9, 4, 7),
    "two ranks of four without many": (5, 3, 4),
    "large shards": (211, 2, 5),
}


# ---------------------------------------------------------------- what runs on the ranks


def groups():
    """A group of the first ranks for each number of them, and the numbers of those to which this rank belongs."""
    of_number = {number: dist.new_group(list(range(number))) for number in RANKS}
    return {number: group for number, group in of_number.items() if dist.get_rank() < number}


def sharded(memory, group):
    """`memory` in shards."""
    settings = copy.deepcopy(memory.settings)
    shard = ShardedVMFMemory.from_settings(settings, process_group=group).to(memory.keys.dtype)
    shard.load_state_dict(memory.state_dict())
    return shard


def batch_of(case):
    """Two batches that follow one another: queries and labels of all ranks."""
    memory = memory_of(case)
    seed = case["seed"]
    queries = unit_rows(2 * B, memory.key_dim, seed=seed + 100, dtype=memory.keys.dtype) * 3  # features of any length
    return queries.split(B), random_labels(2 * B, seed=seed + 200).split(B)


def memory_of(case):
    num_slots, key_dim, top_k = case["size"]
    return lived_in_memory(num_slots, key_dim, top_k, seed=case["seed"], **case["choices"])


def steps(memory, queries, labels, rows):
    """A read with its derivative, a read and write, and a write: what is read, and the derivatives."""
    found = {}
    first = queries[0][rows].clone().requires_grad_()
    found["read"] = memory.read(first)
    (found["derivative"],) = torch.autograd.grad(found["read"].square().sum(), first)
    second = queries[0][rows].clone().requires_grad_()
    found["read_write"] = memory.read_write(second, labels[0][rows])
    (found["derivative_of_read_write"],) = torch.autograd.grad(found["read_write"].square().sum(), second)
    memory.write(queries[1][rows], labels[1][rows])
    found["read_again"] = memory.read(queries[0][rows])
    return {name: value.detach() for name, value in found.items()}


def as_a_rank(cases):
    found = {}
    for number, group in groups().items():
        rows = own_rows(B // number, group)
        for case in cases:
            memory = sharded(memory_of(case), group)
            queries, labels = batch_of(case)
            shard = steps(memory, queries, labels, rows)
            shard.update({name: getattr(memory, name) for name in BUFFERS})
            found[number, case["name"]] = shard
        for name, size in SIZES.items():
            memory = sharded(memory_to_read(size), group)
            found[number, f"{name}, read"] = everything_read(memory, rows)
            found[number, f"{name}, samples"] = samples(memory)
            found[number, f"{name}, others"] = what_is_only_sharded(memory)
    return found


def memory_to_read(size):
    return lived_in_memory(*size, seed=50)


def everything_read(memory, rows):
    """Every way to read the memory, with derivatives and a second one."""
    all_queries = unit_rows(B, memory.key_dim, seed=51) * 3
    queries = all_queries[rows].clone().requires_grad_()
    slots = (torch.arange(B) * 5 % memory.num_slots)[rows]
    weights, best = memory.top_k_posterior(queries)
    exact = memory.log_posterior_of(slots, queries)
    read, approximate = memory.read_with_log_posterior(slots, queries)
    found = {"weights": weights, "read": read, "exact": exact, "approximate": approximate}
    for name, value in list(found.items()):
        value = torch.where(value.isfinite(), value, 0.0)  # the log posterior of a slot that is not real
        (found[f"derivative of {name}"],) = torch.autograd.grad(value.square().sum(), queries, retain_graph=True)
    (penalty,) = torch.autograd.grad(memory.read(queries).sum(), queries, create_graph=True)
    (found["second derivative"],) = torch.autograd.grad(penalty.square().sum(), queries)
    found["best"] = best
    for label in (0, 1, None):
        found[f"log likelihood {label}"] = memory.log_likelihood(queries, label)
    return {name: value.detach() for name, value in found.items()}


def samples(memory):
    keys, slots = memory.sample(300, torch.Generator().manual_seed(52))
    return {"keys": keys, "slots": slots, "slots_in_use": memory.slots_in_use().reshape(1)}


def what_is_only_sharded(memory):
    rank = dist.get_rank()
    generator = torch.Generator().manual_seed(rank)
    own_keys, own_slots = memory.sample(7, generator)
    asked = (torch.arange(6) * 7 + rank) % memory.num_slots
    return {
        "own keys": own_keys,
        "own slots": own_slots,
        "asked": asked,
        "fetched": memory.keys_of(asked),
        "slot_probabilities": memory.slot_probabilities(),
        "own_slots": torch.tensor(memory.own_slots),
    }


def joined(by_rank, key):
    """What the ranks found, one after another: rows of the batch, or slots."""
    shards = [found[key] for found in by_rank if key in found]
    assert len(shards) == key[0]
    return {name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}


# ---------------------------------------------------------------- equality with one memory

CASES = [
    {"name": f"{choices}, {seed}", "size": (N, M, K), "seed": seed, "choices": choices}
    for seed, choices in enumerate(CHOICES)
] + [
    {"name": name, "size": size, "seed": 3, "choices": {"replace_within_label": False, "correct_in_top": 4}}
    for name, size in SIZES.items()
]


@pytest.fixture(scope="module")
def ranks():
    return on_ranks(max(RANKS), as_a_rank, CASES)


@pytest.mark.parametrize("number", RANKS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_shards_read_and_write_as_one_memory_and_the_plain_loops(ranks, case, number):
    memory = memory_of(case)
    queries, labels = batch_of(case)
    reference = reference_of(memory)
    expected = steps(memory, queries, labels, slice(None))
    expected.update({name: getattr(memory, name) for name in BUFFERS})
    found = joined(ranks, (number, case["name"]))
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-12, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}"
        )

    units = [torch.nn.functional.normalize(some, dim=1).numpy() for some in queries]
    np.testing.assert_allclose(found["read"], [reference.read(query) for query in units[0]], rtol=0, atol=1e-12)
    for some, some_labels in zip(units, labels, strict=True):
        reference.write_batch(some, some_labels.tolist())
    np.testing.assert_allclose(found["keys"], reference.keys, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["histogram"], reference.histogram, rtol=1e-12)
    assert found["values"].tolist() == reference.values
    assert found["ages"].tolist() == reference.ages


@pytest.mark.parametrize("number", RANKS)
@pytest.mark.parametrize("name", SIZES)
def test_shards_are_read_in_every_way_as_one_memory_with_all_derivatives(ranks, name, number):
    expected = everything_read(memory_to_read(SIZES[name]), slice(None))
    found = joined(ranks, (number, f"{name}, read"))
    for what, value in expected.items():
        torch.testing.assert_close(
            found[what], value, rtol=1e-11, atol=1e-11, msg=lambda text, what=what: f"{what}: {text}"
        )


@pytest.mark.parametrize("number", RANKS)
@pytest.mark.parametrize("name", SIZES)
def test_the_same_generator_samples_the_slots_of_one_memory_on_every_rank(ranks, name, number):
    expected = samples(memory_to_read(SIZES[name]))
    for found in ranks[:number]:
        found = found[number, f"{name}, samples"]
        assert torch.equal(found["slots"], expected["slots"])
        assert torch.equal(found["keys"], expected["keys"])
        torch.testing.assert_close(found["slots_in_use"], expected["slots_in_use"], rtol=1e-12, atol=0)


@pytest.mark.parametrize("number", RANKS)
@pytest.mark.parametrize("name", SIZES)
def test_a_rank_gets_the_keys_that_it_samples_and_asks_for(ranks, name, number):
    memory = memory_to_read(SIZES[name])
    probabilities = []
    slots = []
    for rank, found in enumerate(ranks[:number]):
        found = found[number, f"{name}, others"]
        _, expected = memory.sample(7, torch.Generator().manual_seed(rank))
        assert torch.equal(found["own slots"], expected)
        assert torch.equal(found["own keys"], memory.keys[expected])
        assert torch.equal(found["fetched"], memory.keys[found["asked"]])
        probabilities.append(found["slot_probabilities"])
        slots += found["own_slots"].tolist()
    assert slots == list(range(memory.num_slots))
    torch.testing.assert_close(torch.cat(probabilities), memory.slot_probabilities(), rtol=1e-12, atol=0)

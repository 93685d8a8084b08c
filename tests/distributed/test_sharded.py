"""A memory in shards equals one memory, and the plain loops, for 1 to 4 ranks and in every branch of the write."""

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.distributed as dist
from memory_builders import lived_in_memory, random_labels, reference_of, unit_rows

from memgan import ShardedVMFMemory, VMFMemory
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
SIZES = [(9, 4, 7), (10, 5, 4), (211, 2, 5), (5, 3, 4)]  # N, M, k: with shards of fewer than k slots, and of none


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
    found = []
    for number, group in groups().items():
        for case in cases:
            memory = sharded(memory_of(case), group)
            queries, labels = batch_of(case)
            rows = own_rows(B // number, group)
            shard = steps(memory, queries, labels, rows)
            shard.update({name: getattr(memory, name) for name in BUFFERS})
            found.append(((number, case["name"]), shard))
    return dict(found)


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
    {"name": f"{size}", "size": size, "seed": seed, "choices": {"replace_within_label": False, "correct_in_top": min(size[2], 4)}}
    for seed, size in enumerate(SIZES)
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
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")

    units = [torch.nn.functional.normalize(some, dim=1).numpy() for some in queries]
    np.testing.assert_allclose(found["read"], [reference.read(query) for query in units[0]], rtol=0, atol=1e-12)
    for some, some_labels in zip(units, labels, strict=True):
        reference.write_batch(some, some_labels.tolist())
    np.testing.assert_allclose(found["keys"], reference.keys, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["histogram"], reference.histogram, rtol=1e-12)
    assert found["values"].tolist() == reference.values
    assert found["ages"].tolist() == reference.ages

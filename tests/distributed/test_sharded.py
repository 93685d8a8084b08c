"""A memory in shards equals one memory, and the plain loops, for 1 to 4 ranks and in every branch of the write."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
import torch.distributed as dist
from memory_builders import lived_in_memory, random_labels, reference_of, unit_rows

from memgan import MemoryGAN, ShardedVMFMemory, VMFMemory
from memgan.distributed import own_rows
from memgan.training import Trainer, TrainingSettings
from tests.ranks import on_ranks

pytestmark = [
    pytest.mark.skipif(not dist.is_gloo_available(), reason="PyTorch has no gloo here"),
    pytest.mark.thorough,
]

RANKS = (1, 2, 3, 4)
B, N, M, K = 12, 17, 3, 5  # 12 rows of all ranks together; 3 of 4 ranks have k slots, the last has 2
BUFFERS = ("keys", "values", "ages", "histogram")
CHOICES = [
    {"em_steps": em_steps, "correct_in_top": look_at, "touch": touch, "replace_within_label": within}
    for em_steps in (1, 3)
    for look_at, touch, within in ((1, "best", True), (2, "all", True), (K, "best", False), (1, "all", False))
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
    shard = ShardedVMFMemory.from_settings(settings, process_group=group, validate=memory.validate).to(
        memory.keys.dtype
    )
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
    memory = lived_in_memory(num_slots, key_dim, top_k, seed=case["seed"], **case["choices"])
    memory.validate = None if case["seed"] % 2 else False
    return memory


def steps(memory, queries, labels, rows):
    """A read with its derivative, a read and write, a write, and a count: what is read, and the derivatives."""
    found = {}
    first = queries[0][rows].clone().requires_grad_()
    found["read"] = memory.read(first)
    (found["derivative"],) = torch.autograd.grad(found["read"].square().sum(), first)
    second = queries[0][rows].clone().requires_grad_()
    found["read_write"] = memory.read_write(second, labels[0][rows])
    (found["derivative_of_read_write"],) = torch.autograd.grad(found["read_write"].square().sum(), second)
    memory.write(queries[1][rows], labels[1][rows])
    found["read_again"] = memory.read(queries[0][rows])
    if memory.validate is False:  # then a row that has no direction is left out
        found["read_write_without_a_row"] = memory.read_write(without_first_row(queries[1])[rows], labels[1][rows])
    memory.recount(queries[0][rows])
    return {name: value.detach() for name, value in found.items()}


def without_first_row(queries):
    queries = queries.clone()
    queries[0, 1] = torch.nan
    return queries


def as_a_rank(cases, folder):
    of_number = groups()
    found = {"state": state_on_ranks(of_number, folder)}
    if 2 in of_number:
        found["refused"] = what_is_refused(of_number[2])
    for number, group in of_number.items():
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
            of_few = sharded(memory_to_read(size, one_is_real=True), group)
            found[number, f"{name}, read with one real slot"] = everything_read(of_few, rows)
            found[number, f"{name}, samples"] = samples(memory)
            found[number, f"{name}, others"] = what_is_only_sharded(memory)
    return found


def state_on_ranks(of_number, folder):
    """Save the shards of two ranks, and load them on one and on three; take one memory's state and give it back."""
    if 3 not in of_number:
        return {}  # the imports take seconds
    import torch.distributed.checkpoint as checkpoint
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    original = memory_to_read((10, 5, 4))
    found = {}
    if 2 in of_number:
        memory = sharded(original, of_number[2])
        found["whole"] = get_model_state_dict(memory, options=StateDictOptions(full_state_dict=True))
        checkpoint.save({"memory": memory.state_dict()}, checkpoint_id=folder, process_group=of_number[2])
        other = sharded(memory_to_read((10, 5, 4)), of_number[2])
        other.keys.zero_()
        other.load_state_dict(memory.state_dict())
        found[2] = {name: getattr(other, name).clone() for name in BUFFERS}
    dist.barrier(of_number[3])
    for number in (1, 3):
        if number in of_number:
            settings = original.settings.changed(kappa=7.0) if number == 3 else original.settings
            memory = ShardedVMFMemory.from_settings(settings, process_group=of_number[number]).double()
            state = {"memory": memory.state_dict()}
            checkpoint.load(state, checkpoint_id=folder, process_group=of_number[number])
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                memory.load_state_dict(state["memory"])
            found[number] = {name: getattr(memory, name) for name in BUFFERS}
            found[f"warned {number}"] = [str(warning.message) for warning in warned]
            memory.read(unit_rows(1, 5, seed=1))
    memory = sharded(original, of_number[1]) if dist.get_rank() == 0 else None
    if memory is not None:
        copied = pickle.loads(pickle.dumps(memory))
        found["copy"] = refusal(lambda: copied.read(unit_rows(1, 5, seed=1)))
        found["copy's group"] = refusal(lambda: assigned(copy.deepcopy(memory), of_number[2]))
        copied.process_group = of_number[1]
        found["copy read"] = copied.read(unit_rows(1, 5, seed=1))
        found["read"] = original.read(unit_rows(1, 5, seed=1))
    return found


def assigned(memory, group):
    memory.process_group = group
    memory.read(unit_rows(1, memory.key_dim, seed=1))


def refusal(call):
    """What a call raises, in words."""
    try:
        call()
    except Exception as error:  # whatever it is, the test looks at it
        return f"{type(error).__name__}: {error}"
    return "nothing"


def first_keys(group):
    torch.manual_seed(0)
    return ShardedVMFMemory(10, 5, 4, process_group=group).keys


def what_is_refused(group):
    """What two ranks raise where one of them, or both, are given what cannot be used."""
    rank = dist.get_rank()
    memory = sharded(memory_to_read((10, 5, 4)), group)
    before = {name: getattr(memory, name).clone() for name in BUFFERS}
    queries = unit_rows(2, 5, seed=1)
    labels = torch.tensor([0, 1])
    broken = queries.clone()
    broken[1, 1] = torch.nan if rank == 1 else 0.5
    found = {
        "rows": refusal(lambda: memory.read(queries[: 1 + rank])),
        "gradient": refusal(lambda: memory.read(queries.clone().requires_grad_(rank == 1))),
        "calls": refusal(lambda: memory.read(queries) if rank == 0 else memory.write(queries, labels)),
        "direction": refusal(lambda: memory.write(broken, labels)),
        "labels": refusal(lambda: memory.read_write(queries, labels + 2 * rank)),
        "slots": refusal(lambda: memory.keys_of(torch.tensor([10]))),
        "samples": refusal(lambda: memory.sample(0)),
        "first keys": first_keys(group),
        "posterior": refusal(lambda: memory.posterior(queries)),
        "transform": refusal(lambda: torch.func.grad(lambda some: memory.read(some).sum())(queries)),
    }
    gan = MemoryGAN(memory, torch.nn.Identity(), torch.nn.Identity(), noise_dim=2)
    found["trainer"] = refusal(lambda: Trainer(gan, torch.zeros(8, 1, 4, 4), TrainingSettings(steps=1)))
    leaf = queries.clone().requires_grad_()
    value = memory.log_posterior_of(torch.tensor([0, 1]), leaf).sum()
    found["second"] = refusal(lambda: torch.autograd.grad(value, leaf, create_graph=True))
    (slope,) = torch.autograd.grad(memory.read(leaf).sum(), leaf)
    read = memory.read(leaf).sum()
    memory.values.zero_()
    found["sample"] = refusal(lambda: memory.sample(3))
    found["recount"] = refusal(lambda: memory.recount(queries))
    found["likelihood"] = refusal(lambda: memory.log_likelihood(queries, 1))
    found["too many"] = refusal(lambda: memory.write(unit_rows(2, 5, seed=2), torch.ones(2)))
    memory.values.copy_(before["values"])
    found["unchanged"] = all(torch.equal(getattr(memory, name), before[name]) for name in BUFFERS)
    memory.write(queries, labels)
    (slope_after_write,) = torch.autograd.grad(read, leaf, retain_graph=True)
    found["write does no harm"] = torch.equal(slope, slope_after_write)
    found["written"] = refusal(lambda: torch.autograd.grad(read, leaf, create_graph=True))
    return found


def memory_to_read(size, *, one_is_real=False):
    memory = lived_in_memory(*size, seed=50)
    if one_is_real:  # so that most queries find none
        memory.values.zero_()
        memory.values[-1] = 1
    return memory


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
def checkpoint(tmp_path_factory):
    return str(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def ranks(checkpoint):
    return on_ranks(max(RANKS), as_a_rank, CASES, checkpoint)


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
            found[name], value, rtol=1e-12, atol=1e-12, equal_nan=True, msg=lambda text, name=name: f"{name}: {text}"
        )

    units = [torch.nn.functional.normalize(some, dim=1).numpy() for some in queries]
    np.testing.assert_allclose(found["read"], [reference.read(query) for query in units[0]], rtol=0, atol=1e-12)
    for some, some_labels in zip(units, labels, strict=True):
        reference.write_batch(some, some_labels.tolist())
    if memory.validate is False:
        reference.write_batch(units[1][1:], labels[1][1:].tolist())
    reference.recount(units[0])
    np.testing.assert_allclose(found["keys"], reference.keys, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["histogram"], reference.histogram, rtol=1e-12)
    assert found["values"].tolist() == reference.values
    assert found["ages"].tolist() == reference.ages


@pytest.mark.parametrize("number", RANKS)
@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("one_is_real", [False, True])
def test_shards_are_read_in_every_way_as_one_memory_with_all_derivatives(ranks, name, number, one_is_real):
    expected = everything_read(memory_to_read(SIZES[name], one_is_real=one_is_real), slice(None))
    found = joined(ranks, (number, f"{name}, read with one real slot" if one_is_real else f"{name}, read"))
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


# ---------------------------------------------------------------- state


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")  # one process loads, and that is meant
def test_a_checkpoint_of_two_ranks_loads_into_others_and_into_one_memory(ranks, checkpoint):
    import torch.distributed.checkpoint as dcp

    original = memory_to_read(SIZES["shards of fewer than k slots"])
    for number in (1, 2, 3):
        for name in BUFFERS:
            found = torch.cat([rank["state"][number][name] for rank in ranks[:number]])
            assert torch.equal(found, getattr(original, name)), f"{name} on {number} ranks"
    assert ranks[0]["state"]["warned 1"] == []
    assert "kappa 6.0 (here 7.0)" in ranks[1]["state"]["warned 3"][0]

    memory = VMFMemory.from_settings(original.settings).double()
    state = {"memory": memory.state_dict()}
    dcp.load(state, checkpoint_id=checkpoint, no_dist=True)
    memory.load_state_dict(state["memory"])
    for name in BUFFERS:
        assert torch.equal(getattr(memory, name), getattr(original, name))


def test_the_whole_state_of_shards_is_that_of_one_memory(ranks):
    original = memory_to_read(SIZES["shards of fewer than k slots"])
    memory = VMFMemory.from_settings(original.settings).double()
    memory.load_state_dict(ranks[0]["state"]["whole"])
    for name in BUFFERS:
        assert torch.equal(getattr(memory, name), getattr(original, name))


def test_a_copy_belongs_to_no_group_until_it_is_given_its_own(ranks):
    found = ranks[0]["state"]
    assert "this is a copy of the shard of rank 0 of 1" in found["copy"]
    assert "expected a group of 1 ranks in which this is rank 0, got one of 2" in found["copy's group"]
    torch.testing.assert_close(found["copy read"], found["read"], rtol=0, atol=1e-14)


def test_shards_of_one_seed_start_with_different_unit_keys(ranks):
    first, second = [rank["refused"]["first keys"] for rank in ranks[:2]]
    torch.testing.assert_close(torch.cat([first, second]).norm(dim=1), torch.ones(10), rtol=0, atol=1e-6)
    assert not torch.equal(first, second)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("what", "on_first", "on_second"),
    [
        (
            "rows",
            "ValueError: expected the same call with as many rows",
            "rank 0 read of 1 rows without gradient, rank 1",
        ),
        ("gradient", "ValueError: expected the same call", "rank 1 read of 2 rows with gradient"),
        ("calls", "rank 0 read of 2 rows without gradient, rank 1 write", "ValueError: expected the same call"),
        ("direction", "RuntimeError: write was given what it cannot use on rank 1", "row 1 of 2 holds NaN"),
        ("labels", "RuntimeError: read_write was given what it cannot use on rank 1", "ValueError: labels must be 0"),
        ("slots", "ValueError: slots must be in 0..9, got [10]", "ValueError: slots must be in 0..9, got [10]"),
        ("samples", "ValueError: num_samples must be", "ValueError: num_samples must be"),
        ("posterior", "NotImplementedError: posterior has 10 numbers", "use top_k_posterior"),
        ("transform", "RuntimeError: ShardedVMFMemory works without torch.func", "RuntimeError"),
        ("trainer", "TypeError: Trainer gives each rank a replica of the memory", "got a ShardedVMFMemory"),
        ("second", "RuntimeError: ShardedVMFMemory has no second derivative of a log posterior", "RuntimeError"),
        ("sample", "ValueError: sample needs a slot with v = 1", "ValueError: sample needs a slot with v = 1"),
        ("recount", "ValueError: recount needs a slot with v = 1", "ValueError: recount needs a slot with v = 1"),
        ("likelihood", "ValueError: log_likelihood(label=1) needs a slot", "ValueError: log_likelihood(label=1)"),
        ("too many", "4 of 4 samples need a slot to replace", "there are: [10, 0] slots with values 0 and 1"),
        ("written", "RuntimeError: a second derivative of what was read", "after the memory was written"),
    ],
)
def test_what_cannot_be_used_is_an_error_on_all_ranks(ranks, what, on_first, on_second):
    assert on_first in ranks[0]["refused"][what]
    assert on_second in ranks[1]["refused"][what]


def test_a_refused_write_changes_nothing_and_a_write_no_derivative(ranks):
    for rank in ranks[:2]:
        assert rank["refused"]["unchanged"]
        assert rank["refused"]["write does no harm"]


def test_a_memory_in_shards_needs_a_group():
    with pytest.raises(ValueError, match="process_group must be a group of torch.distributed .* got None"):
        ShardedVMFMemory(8, 3, 2, process_group=None)

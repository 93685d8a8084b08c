"""What something other than a write has made of a memory: refused by each operation, and what is sound is not."""

import copy
import pickle

import pytest
import torch
from memory_builders import lived_in_memory, random_labels, unit_rows
from torch import nn
from torch.nn.utils import parametrize
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from memgan import VMFMemory

B, N, M = 7, 17, 3
QUERIES, LABELS = unit_rows(B, M, seed=1), random_labels(B, seed=2)

OPERATIONS = {
    "posterior": lambda memory: memory.posterior(QUERIES),
    "top_k_posterior": lambda memory: memory.top_k_posterior(QUERIES),
    "read": lambda memory: memory.read(QUERIES),
    "log_likelihood": lambda memory: memory.log_likelihood(QUERIES),
    "sample": lambda memory: memory.sample(5),
    "write": lambda memory: memory.write(QUERIES, LABELS),
    "read_write": lambda memory: memory.read_write(QUERIES, LABELS),
}
each_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


def loaded(memory, name, slot, number):
    state = copy.deepcopy(memory.state_dict())
    state[name][slot] = number
    memory.load_state_dict(state)


DAMAGE = {
    "all keys shrunk, as by weight decay": (lambda memory: memory.keys.mul_(0.9), "17 of 17 keys .* length 0.9"),
    "a key of zeros": (lambda memory: memory.keys[4].zero_(), "1 of 17 keys .* slot 4 has length 0"),
    "a key with NaN": (lambda memory: memory.keys[4, 1].fill_(torch.nan), "slot 4 has length nan"),
    "every tensor initialised": (
        lambda memory: [nn.init.constant_(tensor, 2) for tensor in memory.state_dict().values()],
        "17 of 17 keys",
    ),
    "a loaded key": (lambda memory: loaded(memory, "keys", 3, 2.0), "1 of 17 keys .* slot 3"),
    "a loaded value": (lambda memory: loaded(memory, "values", 3, 2), "values must be 0 or 1, slot 3 has 2"),
    "a loaded count": (lambda memory: loaded(memory, "histogram", 3, torch.nan), "histogram .* slot 3 has nan"),
    "a count below 0": (lambda memory: memory.histogram[5].fill_(-1.0), "histogram .* slot 5 has -1"),
    "an infinite count": (lambda memory: memory.histogram[5].fill_(torch.inf), "histogram .* slot 5 has inf"),
    "another tensor": (lambda memory: setattr(memory, "keys", torch.ones(N, M).double()), "17 of 17 keys"),
    "values that are no whole numbers": (
        lambda memory: setattr(memory, "values", memory.values * 0.5),
        "values must be torch.int64, they were converted to torch.float32",
    ),
    "a parameter": (lambda memory: setattr(memory, "keys", nn.Parameter(memory.keys)), "keys must be a plain buffer"),
    "a parametrization": (
        lambda memory: parametrize.register_parametrization(memory, "histogram", nn.Identity()),
        "histogram must be a plain buffer",
    ),
}


@each_operation
@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_memory_is_refused_each_time_and_the_slot_is_named(operation, damage, message):
    memory = lived_in_memory()
    operation(memory)  # the memory is known to be sound now
    damage(memory)
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            operation(memory)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sampling_from_a_memory_in_half_precision_is_refused_as_reading_is(dtype):
    with pytest.raises(ValueError, match=f"float32 or float64, it was converted to {dtype}"):
        lived_in_memory().to(dtype).sample(5)


class Model(nn.Module):
    """A memory with weights beside it, as a GAN has them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Linear(M, M)
        self.memory = VMFMemory(N, M, 5)


def averaged_by_pytorch(use_buffers):
    def average(model, steps):
        averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=use_buffers)
        for _ in steps:
            averaged.update_parameters(model)
        return averaged.module

    return average


def averaged_by_a_loop(model, steps):
    """As many training scripts do it: `.data` hides the changes from PyTorch's count."""
    averaged = copy.deepcopy(model)
    for _ in steps:
        for mean, buffer in zip(averaged.buffers(), model.buffers(), strict=True):
            mean.data.copy_(0.9 * mean.data + 0.1 * buffer.data)
    return averaged


def writes(model):
    """Write thirty batches, one for each step."""
    for step in range(30):
        model.memory.write(unit_rows(B, M, seed=step, dtype=torch.float32), random_labels(B, seed=step))
        yield step


@each_operation
@pytest.mark.parametrize("average", [averaged_by_pytorch(use_buffers=True), averaged_by_a_loop])
def test_an_average_over_buffers_is_refused_and_the_message_says_how_to_average(average, operation):
    model = Model()
    averaged = average(model, writes(model))
    with pytest.raises(ValueError, match=r"keys are no unit rows.*use_buffers=False"):
        operation(averaged.memory)
    operation(model.memory)


def test_an_average_that_leaves_buffers_out_has_the_memory_as_it_is():
    model = Model()
    averaged = averaged_by_pytorch(use_buffers=False)(model, writes(model))
    assert torch.equal(averaged.memory.read(QUERIES), model.memory.read(QUERIES))


SOUND = {
    "copied": copy.deepcopy,
    "pickled": lambda memory: pickle.loads(pickle.dumps(memory)),
    "stored in bfloat16 for a while": lambda memory: memory.bfloat16().double(),
    "in another precision": lambda memory: memory.float(),
    "loaded": lambda memory: memory.load_state_dict(copy.deepcopy(memory.state_dict())) and memory,
    "without a count": lambda memory: memory.histogram[3].zero_() is not None and memory,
}


@each_operation
@pytest.mark.parametrize("changed", SOUND.values(), ids=SOUND)
def test_what_is_still_a_memory_is_taken(operation, changed):
    memory = lived_in_memory()
    operation(memory)
    operation(changed(memory))


def test_without_validation_nothing_is_looked_at():
    memory = lived_in_memory(validate=False)
    memory.keys.mul_(0.5)
    memory.read(QUERIES)
    memory.write(QUERIES, LABELS)
    memory.keys.mul_(0.5)
    memory.validate = True
    with pytest.raises(ValueError, match="keys are no unit rows"):
        memory.read(QUERIES)


def test_numbers_are_looked_at_once_and_not_after_the_memorys_own_writes(monkeypatch):
    """A look at all keys takes as long as a good part of a read of a small batch."""
    memory = lived_in_memory()
    memory.read(QUERIES)
    shapes = []
    norm = torch.Tensor.norm

    def counted(tensor, *args, **kwargs):
        shapes.append(tuple(tensor.shape))
        return norm(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "norm", counted)
    memory.write(QUERIES, LABELS)
    memory.read(QUERIES)
    memory.sample(5)
    assert (N, M) not in shapes
    memory.keys.mul_(1.0)
    memory.read(QUERIES)
    memory.read(QUERIES)
    assert shapes.count((N, M)) == 1


@pytest.mark.parametrize("write", ["write", "read_write"])
def test_a_write_that_a_replica_of_data_parallel_would_lose_is_refused(write):
    replica = lived_in_memory()._replicate_for_data_parallel()  # as torch.nn.parallel.replicate makes them
    replica.read(QUERIES)
    with pytest.raises(RuntimeError, match="replica of torch.nn.DataParallel"):
        getattr(replica, write)(QUERIES, LABELS)


def test_a_memory_made_for_inference_is_read_and_looked_at_each_time():
    with torch.inference_mode():
        memory = VMFMemory(N, M, 5)
        memory.read(QUERIES)
        memory.sample(5)
        memory.keys.mul_(3)  # PyTorch does not count what is changed here
        with pytest.raises(ValueError, match="no unit rows"):
            memory.read(QUERIES)


def test_a_tensor_in_the_place_of_one_that_is_gone_is_not_taken_for_it():
    """Python gives the `id` of an object that is gone to another one, which happens in about half of these tries."""
    for _ in range(20):
        memory = lived_in_memory()
        memory.read(QUERIES)
        memory.keys = memory.keys * 2
        memory.keys = memory.keys * 3
        with pytest.raises(ValueError, match="no unit rows"):
            memory.read(QUERIES)


@pytest.mark.gpu
def test_an_assertion_on_the_device_lets_a_sound_memory_pass_and_waits_for_nothing():
    memory = lived_in_memory().cuda()
    queries = QUERIES.cuda()
    memory.read(queries)
    torch.cuda.set_sync_debug_mode("error")
    try:
        memory.keys.mul_(1.0)
        memory.read(queries)
    finally:
        torch.cuda.set_sync_debug_mode("default")

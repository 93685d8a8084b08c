"""The GPU path without a GPU: fake tensors on "cuda" go through every operation.

A mix of devices, a look at a value on the host and a shape that depends on values all fail under FakeTensorMode.
`log_likelihood` is not here: its normaliser is a number that the host computes from kappa and M alone.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from memgan import VMFMemory

SETTINGS = [{}, {"em_steps": 3, "touch": "all", "replace_within_label": False, "correct_in_top": 13}]


@pytest.fixture
def fake_gpu():
    with FakeTensorMode(allow_non_fake_inputs=False):
        yield torch.device("cuda")


def a_memory(device, **settings):
    return VMFMemory(211, 11, 13, **settings).to(device)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_operation_stays_on_the_gpu_and_keeps_its_shapes(fake_gpu, settings, dtype):
    memory = a_memory(fake_gpu, **settings)
    queries = torch.empty(7, 11, device=fake_gpu, dtype=dtype)
    labels = torch.empty(7, device=fake_gpu, dtype=torch.long)
    weights, slots = memory.top_k_posterior(queries)
    keys, sampled = memory.sample(5)
    results = {
        "read": (memory.read(queries), (7,)),
        "posterior": (memory.posterior(queries), (7, 211)),
        "weights": (weights, (7, 13)),
        "slots": (slots, (7, 13)),
        "keys": (keys, (5, 11)),
        "sampled": (sampled, (5,)),
        "read_write": (memory.read_write(queries, labels), (7,)),
        "slot_probabilities": (memory.slot_probabilities(), (211,)),
        "slots_in_use": (memory.slots_in_use(), ()),
    }
    memory.write(queries, labels)
    memory.recount(queries)
    for name, (tensor, shape) in results.items():
        assert (tensor.device.type, tuple(tensor.shape)) == ("cuda", shape), name


class Asserted(TorchDispatchMode):
    """Notes what is asserted on the device."""

    def __init__(self):
        super().__init__()
        self.messages = []

    def __torch_dispatch__(self, function, types, arguments=(), names=None):
        if function is torch.ops.aten._assert_async.msg:
            self.messages.append(arguments[1])
        return function(*arguments, **(names or {}))


def test_what_is_not_looked_at_is_asserted_on_the_gpu(fake_gpu):
    """A label of 5 would be stored, a slot be drawn where none is real, and slot -1 be taken for the last one."""
    memory = a_memory(fake_gpu)
    queries = torch.empty(7, 11, device=fake_gpu)
    labels = torch.empty(7, device=fake_gpu, dtype=torch.long)
    for call, said in [
        (lambda: memory.read(queries), "queries must be finite"),
        (lambda: memory.write(queries, labels), "labels must be 0"),
        (lambda: memory.read_write(queries, labels), "labels must be 0"),
        (lambda: memory.sample(3), "needs a slot with v = 1"),
        (lambda: memory.keys_of(labels), "slots must be in 0..210"),
        (lambda: memory.log_posterior_of(labels, queries), "slots must be in 0..210"),
    ]:
        with Asserted() as asserted:
            call()
        assert any(said in message for message in asserted.messages)


def test_a_look_at_values_on_the_host_would_fail_here(fake_gpu):
    memory = a_memory(fake_gpu, validate=True)
    with pytest.raises(Exception, match="_local_scalar_dense"):
        memory.read(torch.empty(7, 11, device=fake_gpu))


def test_tensors_on_another_device_are_refused(fake_gpu):
    memory = a_memory(fake_gpu)
    with pytest.raises(ValueError, match="queries are on cpu, the memory is on cuda"):
        memory.read(torch.empty(7, 11))


def test_fake_tensors_on_a_cpu_have_shapes_and_leave_nothing_behind():
    with FakeTensorMode():
        memory = VMFMemory(64, 8, 4, validate=False)
        assert memory.read(torch.randn(6, 8)).shape == (6,)
        memory.write(torch.randn(6, 8), torch.arange(6) % 2)
    assert bool(VMFMemory(64, 8, 4).read(torch.randn(6, 8)).isfinite().all())

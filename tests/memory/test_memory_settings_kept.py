"""A memory's state says which settings it was made with: whoever loads it into a memory of others is warned."""

import copy
import pickle

import pytest
import torch
from memory_builders import lived_in_memory
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel

from memgan import VMFMemory

OTHERS = {
    "top_k": 4,
    "kappa": 30.0,
    "alpha": 0.5,
    "beta": 1e-6,
    "em_steps": 2,
    "correct_in_top": 2,
    "touch": "all",
    "replace_within_label": False,
    "epsilon": 1e-2,
}
EXTRA = "_extra_state"


def memory_with(**settings):
    return VMFMemory(17, 3, **{"top_k": 5, **settings})


@pytest.mark.parametrize("name", OTHERS)
def test_a_state_of_other_settings_is_loaded_with_a_warning_that_names_both(name):
    theirs, ours = memory_with(**{name: OTHERS[name]}), memory_with()
    own_settings = ours.settings
    with pytest.warns(UserWarning, match=name) as warned:
        ours.load_state_dict(theirs.state_dict())
    assert len(warned) == 1
    assert str(OTHERS[name]) in str(warned[0].message) and str(getattr(own_settings, name)) in str(warned[0].message)
    assert ours.settings == own_settings and torch.equal(ours.keys, theirs.keys)


def test_assigned_settings_are_those_of_the_state():
    theirs = memory_with()
    theirs.settings = theirs.settings.changed(kappa=30.0)
    memory_with(kappa=30.0).load_state_dict(theirs.state_dict())  # a warning would be an error
    with pytest.warns(UserWarning, match="kappa 30.0"):
        memory_with().load_state_dict(theirs.state_dict())


@pytest.mark.parametrize("inside", [False, True])
def test_a_state_of_an_older_version_is_loaded_as_it_always_was(inside):
    theirs, ours = memory_with(), memory_with()
    if inside:
        theirs, ours = torch.nn.Sequential(theirs), torch.nn.Sequential(ours)
    state = {name: tensor for name, tensor in theirs.state_dict().items() if EXTRA not in name}
    assert len(state) == 4
    missing, unexpected = ours.load_state_dict(state)
    assert not missing and not unexpected
    assert all(torch.equal(ours.state_dict()[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_state_that_was_rounded_is_no_other(dtype):
    theirs = memory_with(alpha=0.7, kappa=17.3, epsilon=3e-3)
    state = {}
    for name, tensor in theirs.state_dict().items():
        state[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    memory_with(alpha=0.7, kappa=17.3, epsilon=3e-3).load_state_dict(state)


def test_an_average_of_states_has_their_settings():
    one, other = memory_with().state_dict(), memory_with().state_dict()
    memory_with().load_state_dict({name: (0.9 * one[name] + 0.1 * other[name]).to(one[name]) for name in one})
    averaged = AveragedModel(memory_with())
    averaged.update_parameters(memory_with())
    assert averaged.module.settings == memory_with().settings


def test_safetensors_keep_the_settings(tmp_path):
    theirs = memory_with(kappa=30.0)
    save_file(theirs.state_dict(), tmp_path / "memory.safetensors")
    memory_with(kappa=30.0).load_state_dict(load_file(tmp_path / "memory.safetensors"))
    with pytest.warns(UserWarning, match="kappa"):
        memory_with().load_state_dict(load_file(tmp_path / "memory.safetensors"))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda memory: pickle.loads(pickle.dumps(memory))])
def test_a_copy_loads_and_gives_states_of_its_own(copied):
    memory = memory_with(kappa=30.0)
    other = copied(memory)
    other.settings = other.settings.changed(kappa=7.0)
    memory_with(kappa=30.0).load_state_dict(memory.state_dict())
    memory_with(kappa=7.0).load_state_dict(other.state_dict())
    other.load_state_dict({name: tensor for name, tensor in other.state_dict().items() if name != EXTRA})


def test_a_memory_whose_network_is_compiled_carries_its_settings():
    compiled = torch.compile(memory_with(kappa=30.0), backend="eager")
    with pytest.warns(UserWarning, match="kappa"):
        torch.compile(memory_with(), backend="eager").load_state_dict(compiled.state_dict())


@pytest.mark.parametrize("state", [None, {"kappa": 3.0}, torch.zeros(3), torch.zeros(9, dtype=torch.long)], ids=repr)
def test_what_is_no_such_state_is_refused(state):
    with pytest.raises(ValueError, match="settings of a memory"):
        memory_with().load_state_dict({**memory_with().state_dict(), EXTRA: state})


def test_reading_and_writing_leave_the_settings_alone():
    memory = lived_in_memory()
    before = memory.state_dict()[EXTRA].clone()
    memory.write(torch.randn(7, memory.key_dim, dtype=torch.float64), torch.tensor([1, 0, 1, 0, 1, 0, 1]))
    assert torch.equal(memory.state_dict()[EXTRA], before)

"""Bad input: a ValueError that says what was expected and what came, and a memory that is bitwise unchanged."""

import math

import numpy as np
import pytest
import torch
from memory_builders import assert_state_is, lived_in_memory, random_labels, reference_of, state_of, unit_rows

from memgan import MemorySettings, VMFMemory
from memgan.presets import PRESETS

B, N, M = 7, 17, 3
QUERIES, LABELS = unit_rows(B, M, seed=1), random_labels(B, seed=2)


def with_row(row, values):
    queries = QUERIES.clone()
    queries[row] = torch.tensor(values, dtype=queries.dtype)
    return queries


BAD_QUERIES = {
    "a wrong dimension": (unit_rows(B, 5, seed=1), r"shape \[B, 3\].* got a tensor of shape \[7, 5\]"),
    "a vector": (QUERIES[0], r"shape \[B, 3\].* got a tensor of shape \[3\]"),
    "three axes": (QUERIES.unsqueeze(0), r"shape \[B, 3\].* got a tensor of shape \[1, 7, 3\]"),
    "swapped axes": (QUERIES.T, r"shape \[B, 3\].* got a tensor of shape \[3, 7\]"),
    "no row": (QUERIES[:0], r"shape \[B, 3\] with B >= 1, got a tensor of shape \[0, 3\]"),
    "a list": (QUERIES.tolist(), r"shape \[B, 3\].* got list"),
    "an array": (QUERIES.numpy(), r"shape \[B, 3\].* got ndarray"),
    "nothing": (None, r"shape \[B, 3\].* got NoneType"),
    "integers": (QUERIES.long(), r"floating point, got torch.int64"),
    "booleans": (QUERIES > 0, r"floating point, got torch.bool"),
    "complex numbers": (QUERIES.to(torch.complex64), r"floating point, got torch.complex64"),
    "another device": (QUERIES.to("meta"), r"queries are on meta, the memory is on cpu"),
    "NaN": (with_row(4, [math.nan, 0, 1]), r"finite, row 4 of 7"),
    "infinity": (with_row(5, [0, math.inf, 0]), r"finite, row 5 of 7"),
    "minus infinity": (with_row(0, [0, -math.inf, 0]), r"finite, row 0 of 7"),
    "zeros": (with_row(6, [0, 0, 0]), r"have a direction, row 6 of 7 has length 0"),
    "a row whose squares underflow": (with_row(3, [0, 1e-165, 0]), r"have a direction, row 3 of 7 has length"),
}
BAD_LABELS = {
    "too few": (LABELS[:5], r"shape \[7\].* got a tensor of shape \[5\]"),
    "a column": (LABELS.unsqueeze(1), r"shape \[7\].* got a tensor of shape \[7, 1\]"),
    "one for all": (torch.tensor(1), r"shape \[7\].* got a tensor of shape \[\]"),
    "a list": (LABELS.tolist(), r"shape \[7\].* got list"),
    "an int": (1, r"shape \[7\].* got int"),
    "complex numbers": (LABELS.to(torch.complex64), r"got torch.complex64"),
    "another device": (LABELS.to("meta"), r"labels are on meta, the memory is on cpu"),
    "two": (torch.tensor([0, 1, 2, 1, 0, 1, 1]), r"0 \(generated\) or 1 \(real\), got \[0, 1, 2\]"),
    "minus one": (torch.tensor([-1, 1, 1, 1, -1, 1, 1]), r"0 \(generated\) or 1 \(real\), got \[-1, 1\]"),
    "a half": (torch.full((B,), 0.5), r"0 \(generated\) or 1 \(real\), got \[0.5\]"),
    "NaN": (torch.full((B,), math.nan), r"0 \(generated\) or 1 \(real\), got \[nan"),
}
READS = ("posterior", "top_k_posterior", "read", "log_likelihood")
WRITES = ("write", "read_write")


@pytest.mark.parametrize("operation", READS + WRITES)
@pytest.mark.parametrize("name", BAD_QUERIES)
def test_bad_queries_are_refused_with_what_was_expected_and_what_came(operation, name):
    queries, message = BAD_QUERIES[name]
    memory = lived_in_memory()
    before = state_of(memory)
    with pytest.raises(ValueError, match=message):
        getattr(memory, operation)(queries, *([LABELS] if operation in WRITES else []))
    assert_state_is(memory, before)


@pytest.mark.parametrize("operation", WRITES)
@pytest.mark.parametrize("name", BAD_LABELS)
def test_bad_labels_are_refused_with_what_was_expected_and_what_came(operation, name):
    labels, message = BAD_LABELS[name]
    memory = lived_in_memory()
    before = state_of(memory)
    with pytest.raises(ValueError, match=message):
        getattr(memory, operation)(QUERIES, labels)
    assert_state_is(memory, before)


@pytest.mark.parametrize("operation", READS + WRITES)
def test_without_validation_shapes_dtypes_and_devices_are_still_refused(operation):
    for name in ("a wrong dimension", "a list", "integers", "another device"):
        queries, message = BAD_QUERIES[name]
        memory = lived_in_memory(validate=False)
        before = state_of(memory)
        with pytest.raises(ValueError, match=message):
            getattr(memory, operation)(queries, *([LABELS] if operation in WRITES else []))
        assert_state_is(memory, before)


@pytest.mark.parametrize("operation", READS + WRITES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_memory_converted_to_low_precision_is_refused(operation, dtype):
    memory = lived_in_memory().to(dtype)
    before = state_of(memory)
    with pytest.raises(ValueError, match=f"float32 or float64, it was converted to {dtype}"):
        getattr(memory, operation)(QUERIES, *([LABELS] if operation in WRITES else []))
    assert_state_is(memory, before)


# ---------------------------------------------------------------- replacement, sampling, likelihood


@pytest.mark.parametrize("operation", WRITES)
@pytest.mark.parametrize(("within_label", "real_slots", "there"), [(True, 2, r"\[3, 2\]"), (False, 0, r"\[5\]")])
def test_more_replacements_than_slots_are_refused(operation, within_label, real_slots, there):
    memory = lived_in_memory(5, M, 5, replace_within_label=within_label, kappa=60.0)
    memory.values.copy_(torch.arange(5) < real_slots)
    east = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    memory.keys.copy_(torch.where(memory.values.unsqueeze(1) == 0, east, -east))
    queries = torch.nn.functional.normalize(east + 0.2 * QUERIES, dim=1)
    assert all(reference_of(memory).values[reference_of(memory).nearest(q.numpy())[0]] == 0 for q in queries)
    before = state_of(memory)
    with pytest.raises(ValueError, match=rf"^7 of 7 samples need a slot to replace, expected at most .*{there}"):
        getattr(memory, operation)(queries, torch.ones(B, dtype=torch.long))
    assert_state_is(memory, before)
    most = real_slots if within_label else 5
    getattr(memory, operation)(queries[:most], torch.ones(most, dtype=torch.long))  # as many as there are is fine


def test_a_label_that_no_slot_carries_cannot_replace_within_itself():
    memory = lived_in_memory(replace_within_label=True)
    memory.values.fill_(0)
    before = state_of(memory)
    with pytest.raises(ValueError, match=r"1 of 1 samples need a slot to replace, expected at most .*\[17, 0\]"):
        memory.write(QUERIES[:1], torch.tensor([1]))
    assert_state_is(memory, before)


@pytest.mark.parametrize("spoil", ["no slot with v = 1", "no mass where v = 1"])
def test_sampling_needs_a_slot_with_v_1_and_mass(spoil):
    memory = lived_in_memory()
    (memory.values if spoil == "no slot with v = 1" else memory.histogram).fill_(0)
    before = state_of(memory)
    with pytest.raises(ValueError, match="needs a slot with v = 1 and a positive histogram, there is none"):
        memory.sample(5)
    assert_state_is(memory, before)


@pytest.mark.parametrize("label", [0, 1])
def test_the_likelihood_under_a_label_that_no_slot_carries_is_refused(label):
    memory = lived_in_memory()
    memory.values.fill_(1 - label)
    with pytest.raises(ValueError, match=rf"needs a slot with value {label}, there is none"):
        memory.log_likelihood(QUERIES, label=label)


@pytest.mark.parametrize("label", [2, -1, 0.5, "real"])
def test_the_likelihood_under_a_label_that_is_none_is_refused(label):
    with pytest.raises(ValueError, match=rf"0, 1 or None, got {label!r}"):
        lived_in_memory().log_likelihood(QUERIES, label=label)


# ---------------------------------------------------------------- settings

BAD_SETTINGS = [
    ({"num_slots": 1, "top_k": 1}, "num_slots must be at least 2, got 1"),
    ({"num_slots": 0, "top_k": 1}, "num_slots must be at least 2, got 0"),
    ({"key_dim": 1}, "key_dim must be at least 2, got 1"),
    ({"top_k": 18}, r"top_k must be in 1..num_slots = 17, got 18"),
    ({"top_k": 0}, r"top_k must be in 1..num_slots = 17, got 0"),
    ({"kappa": 0.0}, r"kappa must be in \(0, 1,000,000\], got 0.0"),
    ({"kappa": -1.0}, r"kappa must be in .*, got -1.0"),
    ({"kappa": 1.1e6}, "kappa must be in .*, got 1100000.0"),
    ({"kappa": math.inf}, "kappa must be in .*, got inf"),
    ({"kappa": math.nan}, "kappa must be in .*, got nan"),
    ({"alpha": 0.0}, r"alpha must be in \(0, 1\], got 0.0"),
    ({"alpha": 1.01}, r"alpha must be in \(0, 1\], got 1.01"),
    ({"alpha": math.nan}, r"alpha must be in \(0, 1\], got nan"),
    ({"beta": 0.0}, r"beta must be in \(0, 1e\+30\], got 0.0"),
    ({"beta": -1e-8}, "beta must be in .*, got -1e-08"),
    ({"beta": 1e31}, r"beta must be in .*, got 1e\+31"),
    ({"beta": math.inf}, "beta must be in .*, got inf"),
    ({"em_steps": 0}, "em_steps must be at least 1, got 0"),
    ({"correct_in_top": 0}, r"correct_in_top must be in 1..top_k = 5, got 0"),
    ({"correct_in_top": 6}, r"correct_in_top must be in 1..top_k = 5, got 6"),
    ({"touch": "nearest"}, "touch must be 'best' or 'all', got 'nearest'"),
    ({"epsilon": 0.0}, r"epsilon must be in \(0, 0.5\), got 0.0"),
    ({"epsilon": -0.1}, r"epsilon must be in \(0, 0.5\), got -0.1"),
    ({"epsilon": 0.5}, r"epsilon must be in \(0, 0.5\), got 0.5"),
    ({"replace_within_label": 1}, "replace_within_label must be True or False, got 1"),
]
GOOD = {"num_slots": N, "key_dim": M, "top_k": 5}


@pytest.mark.parametrize(("change", "message"), BAD_SETTINGS, ids=[str(change) for change, _ in BAD_SETTINGS])
def test_each_bad_setting_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        VMFMemory(**(GOOD | change))
    with pytest.raises(ValueError, match=message):
        VMFMemory.from_settings(MemorySettings(**(GOOD | change)))


@pytest.mark.parametrize("name", ["num_slots", "key_dim", "top_k", "em_steps", "correct_in_top"])
def test_a_count_that_is_no_whole_number_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be .*, got 3.5"):
        VMFMemory(**(GOOD | {name: 3.5}))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_with_a_top_k_above_its_slots_is_refused(name):
    with pytest.raises(ValueError, match=r"top_k must be in 1..num_slots = 13, got 14"):
        VMFMemory.from_settings(PRESETS[name].memory, num_slots=13, key_dim=3, top_k=14, correct_in_top=1)


@pytest.mark.parametrize("name", ["num_slots", "key_dim", "kappa"])
def test_settings_are_changed_as_a_whole_and_never_for_a_memory_of_another_size(name):
    memory = lived_in_memory()
    with pytest.raises(AttributeError):
        setattr(memory, name, 30)
    memory.settings = memory.settings.changed(kappa=30)
    assert memory.kappa == 30.0
    with pytest.raises(ValueError, match=r"expected settings for \[17, 3\] keys, got num_slots=17 and key_dim=5"):
        memory.settings = memory.settings.changed(key_dim=5)


@pytest.mark.parametrize("number", [np.int64(5), np.float32(0.5), np.float64(0.5)])
def test_numpy_s_numbers_are_numbers(number):
    if isinstance(number, np.integer):
        memory = VMFMemory(number * 3, number, number, em_steps=number)
        assert [type(size) for size in (memory.num_slots, memory.key_dim, memory.top_k)] == [int] * 3
        assert memory.sample(number)[1].shape == (5,)
    else:
        memory = VMFMemory(15, 5, 5, kappa=number, alpha=number, beta=number, epsilon=number / 2)
        assert (memory.kappa, memory.epsilon) == (0.5, 0.25)


@pytest.mark.parametrize("name", ["kappa", "alpha", "beta", "epsilon"])
def test_a_setting_that_is_no_number_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be a number, got 'a'"):
        VMFMemory(17, 3, 5, **{name: "a"})


@pytest.mark.parametrize("number", [2.5, 0, -1, True])
def test_a_number_of_samples_that_is_no_count_is_refused(number):
    with pytest.raises(ValueError, match="num_samples must be a whole number of at least 1"):
        VMFMemory(17, 3, 5).sample(number)


def test_keys_of_slots_and_what_are_no_slots():
    memory = VMFMemory(17, 3, 5)
    assert torch.equal(memory.keys_of(torch.tensor([3, 16, 3])), memory.keys[[3, 16, 3]])
    for wrong in (torch.tensor([17]), torch.tensor([-1]), torch.tensor([1.0]), torch.tensor(1), [1]):
        with pytest.raises(ValueError, match="slots must"):
            memory.keys_of(wrong)

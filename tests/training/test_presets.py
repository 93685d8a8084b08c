"""Presets, fields set by name, and settings as JSON."""

import dataclasses
import json
from typing import get_args, get_type_hints

import numpy as np
import pytest
from gan_builders import tiny_settings

from memgan.presets import PRESETS, Settings, paper_memory

PARTS = ("memory", "networks", "training")
FIELDS = [(part, field.name) for part in PARTS for field in dataclasses.fields(getattr(PRESETS["digits"], part))]

# Another value for a field whose neighbours restrict it, on top of the preset "digits"
WITHIN_BOUNDS = {"top_k": 7, "image_size": 20, "stages": 1, "decay_from": 0.125}


def another_value(name, kind, now):
    """A value of the field's type that differs from the present one."""
    if get_args(kind):
        return next(choice for choice in get_args(kind) if choice != now)
    if kind is bool:
        return not now
    if name in WITHIN_BOUNDS:
        return WITHIN_BOUNDS[name]
    return now + 1 if kind is int else (now or 0.5) / 2


@pytest.mark.parametrize(("part", "name"), FIELDS)
def test_every_field_can_be_set_and_nothing_else_changes(part, name):
    before = PRESETS["digits"]
    section = getattr(before, part)
    value = another_value(name, get_type_hints(type(section))[name], getattr(section, name))
    after = before.changed([f"{part}.{name}={value}"])
    result = getattr(getattr(after, part), name)
    assert result == value and type(result) is type(value)
    expected = dataclasses.asdict(before)
    expected[part][name] = value
    assert dataclasses.asdict(after) == expected


def test_changing_leaves_the_preset_alone():
    before = dataclasses.asdict(PRESETS["digits"])
    PRESETS["digits"].changed(["memory.kappa=123.5", "training.steps=7"])
    assert dataclasses.asdict(PRESETS["digits"]) == before


def test_the_last_of_several_assignments_counts_and_blanks_do_not():
    changed = PRESETS["digits"].changed(["memory.kappa=3", " memory.kappa = 5e1 ", "networks.noise_dim=13"])
    assert changed.memory.kappa == 50.0 and changed.networks.noise_dim == 13
    assert PRESETS["digits"].changed([]) == PRESETS["digits"]


@pytest.mark.parametrize(("text", "value"), [(".99", 0.99), ("1.", 1.0), ("+0.5", 0.5), ("1E-1", 0.1)])
def test_numbers_are_read_as_python_writes_them_too(text, value):
    assert PRESETS["digits"].changed([f"training.beta2={text}"]).training.beta2 == value


@pytest.mark.parametrize(("text", "value"), [("true", True), ("True", True), ("false", False), ("FALSE", False)])
def test_booleans_are_read_as_words(text, value):
    assert PRESETS["digits"].changed([f"memory.replace_within_label={text}"]).memory.replace_within_label is value


@pytest.mark.parametrize(
    "assignment",
    ["memory.kapa=3", "kappa=3", "memory=3", "datasets=mnist", "memory.kappa", "", "=", "memory.=3", "optimiser.lr=1"],
)
def test_unknown_names_are_refused_with_the_known_ones(assignment):
    with pytest.raises(ValueError) as error:
        PRESETS["digits"].changed([assignment])
    assert repr(assignment) in str(error.value)
    for part, name in FIELDS:
        assert f"{part}.{name}" in str(error.value)


@pytest.mark.parametrize(
    ("assignment", "meant"),
    [
        ("memory.kapa=3", "memory.kappa"),
        ("trainig.step=9", "training.steps"),
        ("kappa=3", "memory.kappa"),
        ("zzz=3", None),
        ("memory.kappa", None),
    ],
)
def test_what_was_probably_meant_is_named(assignment, meant):
    with pytest.raises(ValueError) as error:
        PRESETS["digits"].changed([assignment])
    assert ("did you mean" in str(error.value)) == bool(meant)
    if meant:
        assert f"did you mean {meant}?" in str(error.value)


@pytest.mark.parametrize(
    ("assignment", "field", "expected", "came"),
    [
        ("memory.num_slots=many", "memory.num_slots", "integer", "'many'"),
        ("memory.num_slots=1.5", "memory.num_slots", "integer", "1.5"),
        ("memory.num_slots=true", "memory.num_slots", "integer", "True"),
        ("memory.kappa=", "memory.kappa", "number", "''"),
        ("memory.kappa=true", "memory.kappa", "number", "True"),
        ("memory.kappa=nan", "memory.kappa", "number", "'nan'"),
        ("memory.kappa=NaN", "memory.kappa", "finite", "nan"),
        ("memory.kappa=Infinity", "memory.kappa", "finite", "inf"),
        ("memory.kappa=1e999", "memory.kappa", "finite", "inf"),
        ("training.steps=None", "training.steps", "integer", "'None'"),
        ("training.steps=null", "training.steps", "integer", "None"),
        ("training.steps=[3]", "training.steps", "integer", "[3]"),
        ("memory.replace_within_label=1", "memory.replace_within_label", "boolean", "1"),
        ("memory.touch=worst", "memory.touch", "'best' or 'all'", "'worst'"),
        ("training.generator_loss=hinge", "training.generator_loss", "'saturating' or 'non_saturating'", "'hinge'"),
        ("training.steps=0", "steps", ">= 1", "0"),
        ("networks.image_size=17", "image_size", "divisible", "17"),
    ],
)
def test_values_of_the_wrong_kind_are_refused_with_field_expectation_and_value(assignment, field, expected, came):
    with pytest.raises(ValueError) as error:
        PRESETS["digits"].changed([assignment])
    message = str(error.value)
    assert field in message and expected in message and came in message
    assert "\n" not in message


def test_assignments_that_only_fit_together_are_accepted_in_any_order():
    """Between the two, residual networks have a hidden layer, which they may not."""
    for assignments in (
        ["networks.kind=residual", "networks.hidden=0"],
        ["networks.hidden=0", "networks.kind=residual"],
    ):
        assert PRESETS["mnist"].changed(assignments).networks.kind == "residual"


def test_the_slots_that_may_vouch_follow_a_smaller_k_down():
    assert PRESETS["paper"].changed(["memory.top_k=64"]).memory.correct_in_top == 64
    assert PRESETS["paper"].changed(["memory.top_k=64", "memory.correct_in_top=2"]).memory.correct_in_top == 2
    assert PRESETS["mnist-5k"].changed(["memory.top_k=64"]).memory.correct_in_top == 2
    with pytest.raises(ValueError, match="correct_in_top must be in 1..top_k = 64, got 128"):
        PRESETS["paper"].changed(["memory.top_k=64", "memory.correct_in_top=128"])
    for wrong in (0, 1.5, "64"):
        with pytest.raises(ValueError, match="top_k"):
            PRESETS["paper"].memory.changed(top_k=wrong)


@pytest.mark.parametrize("path", ["folder:/Pictures/Cats", "folder:/a=b", 'folder:/"x"'])
def test_a_path_keeps_its_letters(path):
    assert PRESETS["digits"].changed([f"dataset={path}"]).dataset == path


@pytest.mark.parametrize("settings", [*PRESETS.values(), tiny_settings()], ids=[*PRESETS, "tiny"])
def test_json_gives_back_the_same_settings(settings):
    assert Settings.from_json(settings.to_json()) == settings


def test_scalars_of_numpy_are_written_as_plain_numbers():
    settings = tiny_settings(
        memory={"num_slots": np.int64(61), "kappa": np.float32(0.5)}, training={"mi_weight": np.float32(0.25)}
    )
    plain = tiny_settings(memory={"num_slots": 61, "kappa": 0.5}, training={"mi_weight": 0.25})
    assert Settings.from_json(settings.to_json()) == plain


# METHOD.md, section 6: image, N, M, k, Z, lambda, Adam's moments
AUTHORS = {
    "mnist": (28, 1, 4096, 256, 128, 2, 1e-2, 0.5, 0.999),
    "fashion-mnist": (28, 1, 4096, 256, 128, 2, 1e-2, 0.5, 0.999),
    "affine-mnist": (40, 1, 4096, 256, 128, 2, 1e-2, 0.5, 0.999),
    "cifar10": (32, 3, 16384, 512, 256, 16, 1e-6, 0.0, 0.9),
}


@pytest.mark.parametrize("name", AUTHORS)
@pytest.mark.parametrize("rule", ["", "-paper"])
def test_presets_at_the_authors_size_have_the_published_numbers(name, rule):
    preset = PRESETS[name + rule]
    networks, memory, training = preset.networks, preset.memory, preset.training
    sizes = (networks.image_size, networks.channels, memory.num_slots, memory.key_dim, memory.top_k, networks.noise_dim)
    assert (*sizes, training.mi_weight, training.beta1, training.beta2) == AUTHORS[name]
    assert (preset.dataset, training.batch_size) == (name, 64)


@pytest.mark.parametrize("name", AUTHORS)
def test_presets_of_the_paper_have_the_published_rule(name):
    """METHOD.md, sections 3 and 6; CIFAR-10's rates fall from the start, the others' never do."""
    preset = PRESETS[f"{name}-paper"]
    memory, training = preset.memory, preset.training
    assert (memory.kappa, memory.alpha, memory.beta, memory.em_steps, memory.epsilon) == (1.0, 0.5, 1e-8, 1, 1e-3)
    assert (memory.correct_in_top, memory.touch, memory.replace_within_label) == (memory.top_k, "all", False)
    assert training.generator_loss == "saturating"
    assert (training.generator_lr, training.discriminator_lr) == (2e-4, 2e-4)
    assert training.decay_from == (0.0 if name == "cifar10" else 1.0)
    assert preset.networks == PRESETS[name].networks


def test_the_papers_memory_is_at_hand():
    """METHOD.md, sections 3 and 6: all k slots may vouch for a label, and all are touched."""
    assert PRESETS["paper"].memory == paper_memory(num_slots=4096, key_dim=256, top_k=128)
    small = paper_memory(num_slots=61, key_dim=7, top_k=5)
    assert (small.num_slots, small.key_dim, small.top_k, small.correct_in_top) == (61, 7, 5, 5)
    assert (small.kappa, small.alpha, small.touch, small.replace_within_label) == (1.0, 0.5, "all", False)


@pytest.mark.parametrize("name", PRESETS)
def test_images_are_changed_at_random_where_the_authors_did(name):
    training = PRESETS[name].training
    assert (training.flip, training.brightness > 0) == (name.startswith("cifar10"), name.startswith("cifar10"))


def test_json_is_readable_and_complete():
    content = json.loads(PRESETS["digits"].to_json())
    assert set(content) == {"dataset", "model", "background", *PARTS}
    assert {(part, name) for part in PARTS for name in content[part]} == set(FIELDS)


def changed_json(**parts):
    """The JSON of the digits' settings with some values replaced."""
    content = json.loads(PRESETS["digits"].to_json())
    for part, change in parts.items():
        content[part] = {**content[part], **change} if isinstance(change, dict) else change
    return json.dumps(content)


FOREIGN = {
    "no JSON": "kappa: 3",
    "empty": "",
    "cut off": PRESETS["digits"].to_json()[:100],
    "a number": "3",
    "a list": "[]",
    "null": "null",
    "another object": '{"name": "memgan"}',
    "unknown part": changed_json(optimiser="adam"),
    "unknown field": changed_json(memory={"kapa": 3.0}),
    "a part that is a list": changed_json(memory=[1, 2]),
    "a part that is null": changed_json(training=None),
    "missing field": json.dumps({**json.loads(PRESETS["digits"].to_json()), "memory": {"num_slots": 3}}),
    "missing data set": json.dumps({k: v for k, v in json.loads(PRESETS["digits"].to_json()).items() if k in PARTS}),
    "a data set that is a number": changed_json(dataset=7),
    "text for a float": changed_json(memory={"kappa": "large"}),
    "text for an int": changed_json(networks={"width": "3"}),
    "a fraction for an int": changed_json(memory={"num_slots": 100.5}),
    "null for a float": changed_json(training={"mi_weight": None}),
    "a list for an int": changed_json(memory={"top_k": [3]}),
    "no choice": changed_json(memory={"touch": "worst"}),
    "a number for a boolean": changed_json(memory={"replace_within_label": 3}),
    "not a number": changed_json(memory={"kappa": float("nan")}),
    "an infinity": changed_json(memory={"kappa": float("inf")}),
    "a boolean for an int": changed_json(memory={"num_slots": True}),
    "a boolean for a float": changed_json(memory={"kappa": True}),
    "a list for a size": changed_json(networks={"image_size": [16]}),
    "steps below one": changed_json(training={"steps": 0}),
}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN.keys())
def test_json_that_holds_no_settings_is_refused(text):
    with pytest.raises(ValueError):
        Settings.from_json(text)


def test_a_whole_number_passes_for_a_float():
    """As a person would write it in the file."""
    assert Settings.from_json(changed_json(memory={"kappa": 30})).memory.kappa == 30.0


@pytest.mark.parametrize("part", PARTS)
def test_a_file_from_before_a_field_existed_is_read_with_its_default(part):
    content = json.loads(PRESETS["digits"].to_json())
    defaults = {
        field.name: field.default
        for field in dataclasses.fields(getattr(PRESETS["digits"], part))
        if field.default is not dataclasses.MISSING
    }
    for name in defaults:
        del content[part][name]
    del content["model"]
    if part == "training":
        defaults["recount"] = False  # what was done before the field existed
    read = Settings.from_json(json.dumps(content))
    assert read.model == "memorygan"
    assert {name: getattr(getattr(read, part), name) for name in defaults} == defaults


def test_a_deeply_nested_file_is_refused():
    with pytest.raises(ValueError, match="not the settings of a run"):
        Settings.from_json("[" * 200_000)


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (changed_json(memory={"kapa": 3.0}), "memory.kapa"),
        (changed_json(optimiser="adam"), "optimiser"),
        (json.dumps({"dataset": "digits"}), "memory"),
    ],
)
def test_an_unknown_or_missing_field_is_named(content, field):
    with pytest.raises(ValueError, match=field):
        Settings.from_json(content)

"""Presets: which data, memory, networks and training go together.

They are starting points, of which any field can be changed:

    settings = PRESETS["digits"].changed(["memory.kappa=30", "training.steps=200"])
    memory = VMFMemory.from_settings(PRESETS["paper"].memory)
"""

import dataclasses
import difflib
import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from memgan.data.registry import absolute_name
from memgan.memory import MemorySettings
from memgan.networks import NetworkSettings
from memgan.training import TrainingSettings

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

__all__ = ["PRESETS", "Settings", "paper_memory"]

MOST_SHOWN = 80  # characters of a wrong value in an error


@dataclass(frozen=True)
class Settings:
    """Everything that, with a seed, determines a run."""

    dataset: str
    memory: MemorySettings
    networks: NetworkSettings
    training: TrainingSettings
    model: str = "memorygan"  # or a baseline of memgan.lab.baselines.models, which has its own use for some of these
    background: str = "white"  # the colour on which transparent pixels of a folder's images are laid

    # Read by pydantic, which checks what comes from a file or the command line; it holds for the three parts too.
    # Strict: the text "3" is no number, a truth value is no number, 1.5 is no whole number.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"strict": True, "extra": "forbid", "allow_inf_nan": False}

    def __post_init__(self) -> None:
        # a folder's path is kept whole: the settings of a run are read again in other folders than it was begun in
        object.__setattr__(self, "dataset", absolute_name(self.dataset))

    def changed(self, assignments: Sequence[str]) -> "Settings":
        """A copy with fields set by name: `changed(["memory.kappa=30", "training.steps=200", "dataset=mnist"])`.

        With a smaller `memory.top_k`, `memory.correct_in_top` follows it down unless it is set too.
        Raises ValueError for what is not `field=value`, for unknown fields, and for values of the wrong type.
        """
        if isinstance(assignments, str):
            raise ValueError(f"expected a list of assignments, such as [{assignments!r}], got a text")
        content = dataclasses.asdict(self)
        assigned = dict(_parsed(assignment) for assignment in assignments)
        for name, value in assigned.items():
            part, _, field = name.rpartition(".")
            section = content[part] if part else content
            section[field] = value
        top_k = content["memory"]["top_k"]
        if isinstance(top_k, int) and top_k >= 1 and "memory.correct_in_top" not in assigned:
            content["memory"]["correct_in_top"] = min(top_k, content["memory"]["correct_in_top"])
        return _validated(_as_json(content))

    def to_json(self) -> str:
        return _as_json(dataclasses.asdict(self)) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """The settings that `to_json` wrote. A field that has a default may be missing, as it is in older files.

        `training.recount` is False where it is missing, because older trainings did not count anew. Raises ValueError
        for anything else, with the field, what was expected and what came.
        """
        try:
            settings = _validated(text)
        except ValueError as error:
            raise ValueError(f"these are not the settings of a run: {error}") from error
        if "recount" not in json.loads(text)["training"]:
            settings = replace(settings, training=replace(settings.training, recount=False))
        return settings


# ---------------------------------------------------------------- settings from text

# Why pydantic: it checks the dataclasses as they stand and says which field is wrong. OmegaConf would quietly turn the
# text "3" into a number. It is imported where it is used, because a training loop of one's own never needs it.


@functools.cache
def _adapter() -> "TypeAdapter[Settings]":
    from pydantic import TypeAdapter

    return TypeAdapter(Settings)


def _validated(text: str) -> Settings:
    """The settings that the JSON in `text` describes. Raises ValueError in one line."""
    from pydantic import ValidationError

    text, path = _without_undecoded_path(text)
    try:
        settings = _adapter().validate_json(text)
    except ValidationError as error:
        raise ValueError(_first_line(error)) from error
    return settings if path is None else replace(settings, dataset=path)


def _without_undecoded_path(text: str) -> tuple[str, str | None]:
    """Settings whose data set is in a folder that Python could not decode, as with LC_ALL=C, without its name.

    Such a name holds lone surrogates in the place of its bytes: Python finds the folder by it, pydantic refuses it.
    """
    if "\\ud" not in text:
        return text, None
    try:
        content = json.loads(text)
        path = content["dataset"]
        path.encode("utf-8")
    except UnicodeEncodeError:
        return _as_json({**content, "dataset": "folder:undecoded"}), path
    except (ValueError, KeyError, TypeError, AttributeError):  # pydantic says what is wrong with it
        pass
    return text, None


def _first_line(error: "ValidationError") -> str:
    """What is wrong with the first wrong field."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "value_error":  # raised by the settings' own check
        return str(first["ctx"]["error"])
    field = ".".join(str(name) for name in first["loc"])
    message = f"{first['msg']}, got {_shortened(repr(first['input']))}"
    return f"{field}: {message}" if field else message


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def _as_json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, default=_as_python_number)


def _as_python_number(number: Any) -> Any:
    """A scalar of numpy as Python's own."""
    if hasattr(number, "item"):
        return number.item()
    raise TypeError(f"expected a number, a truth value or a text, got {number!r}")


def _parsed(assignment: str) -> tuple[str, Any]:
    """The field and the value of FIELD=VALUE. The value is a number or a truth value where it reads as one."""
    name, equals, text = assignment.partition("=")
    name = name.strip()
    text = text.strip()
    known = _field_names()
    if not equals or name not in known:
        suggestion = _suggestion(name, known) if equals else ""
        fields = ", ".join(known)
        raise ValueError(f"cannot set {assignment!r}: {suggestion}expected FIELD=VALUE, FIELD one of {fields}")
    truth_values = {"true": True, "false": False}
    if text.lower() in truth_values:
        return name, truth_values[text.lower()]
    try:
        return name, json.loads(text)
    except ValueError:
        pass
    try:
        number = float(text)  # such as .99 and +3, which JSON does not take for numbers
    except ValueError:
        return name, text
    return name, number if math.isfinite(number) else text


def _field_names() -> list[str]:
    """Every field by its full name: "dataset", "memory.num_slots" and so on."""
    names = []
    for field in dataclasses.fields(Settings):
        if dataclasses.is_dataclass(field.type):
            names += [f"{field.name}.{inner.name}" for inner in dataclasses.fields(field.type)]
        else:
            names.append(field.name)
    return names


def _suggestion(name: str, known: list[str]) -> str:
    """The known field that `name` resembles, with or without its part: "kappa" and "memory.kapa" are memory.kappa."""
    full_name = {field: field for field in known}
    full_name |= {field.rpartition(".")[2]: field for field in known}
    similar = difflib.get_close_matches(name, full_name, n=1)
    return f"did you mean {full_name[similar[0]]}? " if similar else ""


# ---------------------------------------------------------------- memories


def paper_memory(num_slots: int, key_dim: int, top_k: int) -> MemorySettings:
    """The paper's own rule for a memory of any size: kappa 1, alpha 0.5, all of S may vouch, the oldest slot goes."""
    return MemorySettings(
        num_slots=num_slots,
        key_dim=key_dim,
        top_k=top_k,
        kappa=1.0,
        alpha=0.5,
        correct_in_top=top_k,
        touch="all",
        replace_within_label=False,
    )


# The rule of this project is what MemorySettings has as defaults, with the two nearest slots vouching for a label. It
# was tuned on the digits and on slim Fashion-MNIST; at the authors' sizes it was tried on Fashion-MNIST and not tuned.
_DIGITS_MEMORY = MemorySettings(num_slots=512, key_dim=64, top_k=32, correct_in_top=2)
_MNIST_5K_MEMORY = MemorySettings(num_slots=2048, key_dim=64, top_k=32, kappa=15.0, alpha=0.95, correct_in_top=2)
_SLIM_MEMORY = MemorySettings(num_slots=1024, key_dim=64, top_k=32, correct_in_top=2)
_FASHION_SLIM_MEMORY = replace(_SLIM_MEMORY, top_k=128, kappa=15.0, alpha=0.95)
_CIFAR10_SLIM_MEMORY = replace(_SLIM_MEMORY, kappa=15.0)
_MNIST_MEMORY = MemorySettings(num_slots=4096, key_dim=256, top_k=128, correct_in_top=2)
_CIFAR10_MEMORY = MemorySettings(num_slots=16384, key_dim=512, top_k=256, correct_in_top=2)
_MNIST_PAPER_MEMORY = paper_memory(num_slots=4096, key_dim=256, top_k=128)
_CIFAR10_PAPER_MEMORY = paper_memory(num_slots=16384, key_dim=512, top_k=256)

# ---------------------------------------------------------------- networks

# The authors' sizes
_MNIST_NETWORKS = NetworkSettings(image_size=28)
_AFFINE_NETWORKS = NetworkSettings(image_size=40, stages=3)
_CIFAR10_NETWORKS = NetworkSettings(
    image_size=32, channels=3, width=128, stages=3, hidden=0, noise_dim=16, kind="residual"
)

# What one CPU core trains in an hour or less
_DIGITS_NETWORKS = NetworkSettings(image_size=16, width=16, hidden=0, noise_dim=4)
_MNIST_5K_NETWORKS = NetworkSettings(image_size=28, width=16, hidden=0, noise_dim=16)
_MNIST_SLIM_NETWORKS = NetworkSettings(image_size=28, width=32, hidden=0, noise_dim=4)
_FASHION_SLIM_NETWORKS = replace(_MNIST_SLIM_NETWORKS, noise_dim=32)
_AFFINE_SLIM_NETWORKS = NetworkSettings(image_size=40, stages=3, width=16, hidden=0, noise_dim=8)
_CIFAR10_SLIM_NETWORKS = NetworkSettings(image_size=32, channels=3, width=64, stages=3, hidden=0, noise_dim=32)

# ---------------------------------------------------------------- training

# The authors' batches, moments, decay and lambda, with the losses and rates of this project. The authors mirror and
# brighten the images of CIFAR-10 and let its rates fall from the start.
_MNIST_TRAINING = TrainingSettings(steps=46_900)  # 50 epochs of 60,000 images
_CIFAR10_TRAINING = TrainingSettings(
    steps=78_100,
    beta1=0.0,
    beta2=0.9,
    decay_from=0.0,
    mi_weight=1e-6,
    flip=True,
    brightness=0.125,
)

# As published: the saturating loss, and one rate for both networks, which on MNIST never falls
_MNIST_PAPER_TRAINING = replace(
    _MNIST_TRAINING,
    generator_loss="saturating",
    generator_lr=2e-4,
    discriminator_lr=2e-4,
    decay_from=1.0,
    recount=False,
)
_CIFAR10_PAPER_TRAINING = replace(
    _CIFAR10_TRAINING, generator_loss="saturating", generator_lr=2e-4, discriminator_lr=2e-4, recount=False
)

# Tuned on the digits and on slim Fashion-MNIST; small networks bear a higher rate for G and a larger lambda
_DIGITS_TRAINING = TrainingSettings(steps=650, generator_lr=4e-4, discriminator_lr=2e-4, mi_weight=2e-2)
_MNIST_5K_TRAINING = TrainingSettings(
    steps=1600, generator_lr=8e-4, discriminator_lr=4e-4, beta2=0.99, information="posterior", mi_weight=1.4
)
_SLIM_TRAINING = replace(_DIGITS_TRAINING, steps=15_000, decay_from=0.25)
_FASHION_SLIM_TRAINING = TrainingSettings(
    steps=15_000, generator_lr=3.2e-3, discriminator_lr=1.6e-3, information="posterior", mi_weight=1.0
)
# In colour a larger lambda makes slots purer and costs variety (docs/studies.md)
_CIFAR10_SLIM_TRAINING = TrainingSettings(
    steps=12_000,
    generator_lr=8e-4,
    discriminator_lr=4e-4,
    decay_from=0.25,
    information="posterior",
    mi_weight=0.05,
    flip=True,
    brightness=0.125,
)

# ---------------------------------------------------------------- the table

_MNIST_AS_PUBLISHED = Settings("mnist", _MNIST_PAPER_MEMORY, _MNIST_NETWORKS, _MNIST_PAPER_TRAINING)

PRESETS = {
    # Small: minutes on one CPU core
    "digits": Settings("digits", _DIGITS_MEMORY, _DIGITS_NETWORKS, _DIGITS_TRAINING),
    "mnist-5k": Settings("mnist-5k", _MNIST_5K_MEMORY, _MNIST_5K_NETWORKS, _MNIST_5K_TRAINING),
    "mnist-slim": Settings("mnist", _SLIM_MEMORY, _MNIST_SLIM_NETWORKS, _SLIM_TRAINING),
    "fashion-mnist-slim": Settings(
        "fashion-mnist", _FASHION_SLIM_MEMORY, _FASHION_SLIM_NETWORKS, _FASHION_SLIM_TRAINING
    ),
    "affine-mnist-slim": Settings("affine-mnist", _SLIM_MEMORY, _AFFINE_SLIM_NETWORKS, _SLIM_TRAINING),
    "cifar10-slim": Settings("cifar10", _CIFAR10_SLIM_MEMORY, _CIFAR10_SLIM_NETWORKS, _CIFAR10_SLIM_TRAINING),
    # The authors' sizes with the rule of this project
    "mnist": Settings("mnist", _MNIST_MEMORY, _MNIST_NETWORKS, _MNIST_TRAINING),
    "fashion-mnist": Settings("fashion-mnist", _MNIST_MEMORY, _MNIST_NETWORKS, _MNIST_TRAINING),
    "affine-mnist": Settings("affine-mnist", _MNIST_MEMORY, _AFFINE_NETWORKS, _MNIST_TRAINING),
    "cifar10": Settings("cifar10", _CIFAR10_MEMORY, _CIFAR10_NETWORKS, _CIFAR10_TRAINING),
    # The authors' sizes with the rule, the losses and the rates as published
    "paper": _MNIST_AS_PUBLISHED,
    "mnist-paper": _MNIST_AS_PUBLISHED,
    "fashion-mnist-paper": Settings("fashion-mnist", _MNIST_PAPER_MEMORY, _MNIST_NETWORKS, _MNIST_PAPER_TRAINING),
    "affine-mnist-paper": Settings("affine-mnist", _MNIST_PAPER_MEMORY, _AFFINE_NETWORKS, _MNIST_PAPER_TRAINING),
    "cifar10-paper": Settings("cifar10", _CIFAR10_PAPER_MEMORY, _CIFAR10_NETWORKS, _CIFAR10_PAPER_TRAINING),
}

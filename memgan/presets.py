"""Presets: which data, memory, networks and training go together. Starting points, any field can be set."""

import dataclasses
import difflib
import json
import math
from dataclasses import dataclass, replace
from typing import Any, get_args, get_type_hints

from memgan.memory import MemorySettings
from memgan.networks import NetworkSettings
from memgan.training import TrainingSettings

__all__ = ["PRESETS", "Settings"]


@dataclass(frozen=True)
class Settings:
    """Everything that, with a seed, determines a run."""

    dataset: str
    memory: MemorySettings
    networks: NetworkSettings
    training: TrainingSettings
    model: str = "memorygan"  # or a baseline of memgan.lab.baselines.models, which has its own use for some of these

    def changed(self, assignments: list[str]) -> "Settings":
        """A copy with fields set by name: `changed(["memory.kappa=30", "training.steps=200", "dataset=mnist"])`.

        Raises ValueError for what is not `field=value`, for unknown fields, and for values of the wrong type.
        """
        settings = self
        for assignment in assignments:
            name, equals, text = map(str.strip, assignment.partition("="))
            known = ["dataset", "model"] + [f"{p}.{f.name}" for p in _PARTS for f in dataclasses.fields(_PARTS[p])]
            if not equals or name not in known:
                short = {field.rpartition(".")[2]: field for field in known}
                near = difflib.get_close_matches(name, [*known, *short], 1)
                meant = f"did you mean {short.get(near[0], near[0])}? " if near and equals else ""
                fields = ", ".join(known)
                raise ValueError(f"cannot set {assignment!r}: {meant}expected FIELD=VALUE, FIELD one of {fields}")
            part, _, field = name.rpartition(".")
            section: Any = getattr(settings, part) if part else settings
            value = _typed(_parsed(text), get_type_hints(type(section))[field], name)
            section = replace(section, **{field: value})
            settings = replace(settings, **{part: section}) if part else section
        return settings

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """The settings that `to_json` wrote. Raises ValueError for anything else."""
        try:
            content = json.loads(text)
            parts = {part: _section(kind, content.pop(part), part) for part, kind in _PARTS.items()}
            names = {name: _typed(content.pop(name), str, name) for name in ("dataset", "model") if name in content}
            return cls(**names, **parts, **content)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"these are not the settings of a run: {error}") from error


_PARTS: dict[str, Any] = {"memory": MemorySettings, "networks": NetworkSettings, "training": TrainingSettings}


def _section(kind: Any, content: dict[str, Any], part: str) -> Any:
    hints = get_type_hints(kind)
    return kind(**{field: _typed(value, hints[field], f"{part}.{field}") for field, value in content.items()})


def _parsed(text: str) -> Any:
    """A number or a truth value where `text` is one, else the text."""
    try:
        return json.loads(text.lower())
    except ValueError:
        return text


def _typed(value: Any, kind: Any, name: str) -> Any:
    """`value`, if it is of a field's type."""
    choices = get_args(kind)
    if choices:
        if value in choices:
            return value
        raise ValueError(f"{name} must be one of {choices}, got {value!r}")
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise ValueError(f"{name} must be of type {kind.__name__}, got {value!r}")
    return value


_AUTHORS_SIZE = MemorySettings(num_slots=4096, key_dim=256, top_k=128, correct_in_top=2)
_SLIM_MEMORY = MemorySettings(num_slots=1024, key_dim=64, top_k=32, correct_in_top=2)
MEMORY_PRESETS = {
    "paper": replace(_AUTHORS_SIZE, kappa=1.0, alpha=0.5, correct_in_top=128, touch="all", replace_within_label=False),
    **dict.fromkeys(["mnist", "fashion-mnist", "affine-mnist"], _AUTHORS_SIZE),
    "cifar10": MemorySettings(num_slots=16384, key_dim=512, top_k=256, correct_in_top=2),
    **dict.fromkeys(["mnist-slim", "fashion-mnist-slim", "affine-mnist-slim", "cifar10-slim"], _SLIM_MEMORY),
    "digits": MemorySettings(num_slots=512, key_dim=64, top_k=32, correct_in_top=2),
}


def _published(settings: Settings, decay_from: float = 1.0) -> Settings:
    """The same data and networks with the rule as published: memory, losses and rates."""
    size = {field: getattr(settings.memory, field) for field in ("num_slots", "key_dim", "top_k")}
    memory = replace(MEMORY_PRESETS["paper"], **size, correct_in_top=settings.memory.top_k)
    training = replace(settings.training, generator_loss="saturating", generator_lr=2e-4, discriminator_lr=2e-4)
    return replace(settings, memory=memory, training=replace(training, decay_from=decay_from))


# The authors' sizes of networks and memory, their batches, rates of decay and lambda, with this project's rule. The
# rule was tuned on the digits and on slim Fashion-MNIST; at these sizes it was tried on Fashion-MNIST alone, not tuned.
_MNIST = NetworkSettings(image_size=28), TrainingSettings(steps=46_900)  # 50 epochs of 60,000 images
_COLOUR = TrainingSettings(steps=78_100, beta1=0.0, beta2=0.9, decay_from=0.0, flip=True, brightness=0.125)
_AUTHORS = {
    "mnist": Settings("mnist", MEMORY_PRESETS["mnist"], *_MNIST),
    "fashion-mnist": Settings("fashion-mnist", MEMORY_PRESETS["fashion-mnist"], *_MNIST),
    "affine-mnist": Settings(
        "affine-mnist",
        MEMORY_PRESETS["affine-mnist"],
        NetworkSettings(image_size=40, stages=3),
        TrainingSettings(steps=46_900),
    ),
    "cifar10": Settings(
        "cifar10",
        MEMORY_PRESETS["cifar10"],
        NetworkSettings(32, channels=3, width=128, stages=3, hidden=0, noise_dim=16, kind="residual"),
        replace(_COLOUR, mi_weight=1e-6),
    ),
}

# What 20 minutes of one CPU core hold. Tuned: fashion-mnist-slim, from which the others have all but their size.
_SLIM = TrainingSettings(steps=15_000, generator_lr=4e-4, discriminator_lr=2e-4, mi_weight=2e-2, decay_from=0.25)
_SLIM_MNIST = NetworkSettings(image_size=28, width=32, hidden=0, noise_dim=4), _SLIM

PRESETS = {
    "digits": Settings(
        "digits",
        MEMORY_PRESETS["digits"],
        NetworkSettings(image_size=16, width=16, hidden=0, noise_dim=4),
        TrainingSettings(steps=650, generator_lr=4e-4, discriminator_lr=2e-4, mi_weight=2e-2),
    ),
    **_AUTHORS,
    **{f"{name}-paper": _published(_AUTHORS[name]) for name in ("mnist", "fashion-mnist", "affine-mnist")},
    "cifar10-paper": _published(_AUTHORS["cifar10"], decay_from=0.0),
    "mnist-slim": Settings("mnist", MEMORY_PRESETS["mnist-slim"], *_SLIM_MNIST),
    "fashion-mnist-slim": Settings("fashion-mnist", MEMORY_PRESETS["fashion-mnist-slim"], *_SLIM_MNIST),
    "affine-mnist-slim": Settings(
        "affine-mnist",
        MEMORY_PRESETS["affine-mnist-slim"],
        NetworkSettings(image_size=40, stages=3, width=16, hidden=0, noise_dim=8),
        _SLIM,
    ),
    "cifar10-slim": Settings(
        "cifar10",
        MEMORY_PRESETS["cifar10-slim"],
        NetworkSettings(32, channels=3, width=16, stages=3, hidden=0, noise_dim=16, kind="residual"),
        replace(_SLIM, steps=4_000, flip=True, brightness=0.125),
    ),
}

"""Presets: which data, memory, networks and training go together. Starting points, any field can be set."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from memgan.memory import MEMORY_PRESETS, MemorySettings
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

    def changed(self, assignments: list[str]) -> "Settings":
        """A copy with fields set by name: `changed(["memory.kappa=30", "training.steps=200"])`.

        Raises ValueError for what is not `part.field=value`, for unknown fields, and for values of the wrong type.
        """
        settings = self
        for assignment in assignments:
            name, equals, text = assignment.partition("=")
            part, dot, field = name.strip().partition(".")
            known = [f"{p}.{f.name}" for p in _PARTS for f in dataclasses.fields(_PARTS[p])]
            if not equals or not dot or f"{part}.{field}" not in known:
                fields = ", ".join(known)
                raise ValueError(f"cannot set {assignment!r}, expected FIELD=VALUE with FIELD one of {fields}")
            section = getattr(settings, part)
            value = _typed(_parsed(text.strip()), get_type_hints(type(section))[field], name)
            settings = dataclasses.replace(settings, **{part: dataclasses.replace(section, **{field: value})})
        return settings

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """The settings that `to_json` wrote. Raises ValueError for anything else."""
        try:
            content = json.loads(text)
            parts = {part: _section(kind, content.pop(part), part) for part, kind in _PARTS.items()}
            return cls(_typed(content.pop("dataset"), str, "dataset"), **parts, **content)
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


PRESETS = {
    "digits": Settings(
        "digits",
        MEMORY_PRESETS["digits"],
        NetworkSettings(image_size=16, width=16, hidden=0, noise_dim=4),
        TrainingSettings(steps=650, generator_lr=4e-4, discriminator_lr=2e-4, mi_weight=2e-2),
    ),
    # The authors' sizes: as published
    "fashion-mnist": Settings(
        "fashion-mnist", MEMORY_PRESETS["fashion-mnist"], NetworkSettings(image_size=28), TrainingSettings(steps=46_900)
    ),
    "affine-mnist": Settings(
        "affine-mnist",
        MEMORY_PRESETS["affine-mnist"],
        NetworkSettings(image_size=40, stages=3),
        TrainingSettings(steps=46_900),
    ),
    # The same at a size that a CPU trains in minutes.
    "fashion-mnist-slim": Settings(
        "fashion-mnist",
        MEMORY_PRESETS["fashion-mnist-slim"],
        NetworkSettings(image_size=28, width=16, hidden=0),
        TrainingSettings(steps=9_380),
    ),
    "affine-mnist-slim": Settings(
        "affine-mnist",
        MEMORY_PRESETS["affine-mnist-slim"],
        NetworkSettings(image_size=40, stages=3, width=16, hidden=0),
        TrainingSettings(steps=9_380),
    ),
}

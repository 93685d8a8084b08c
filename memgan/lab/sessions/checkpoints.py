"""Checkpoints of a run, RUN/checkpoints/step-XXXXXXXX.pt: all that it takes to go on as if nothing had happened.

A file is there whole or not at all, its sums are checked before it is read, and reading it never runs anything.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, get_origin

import torch
from torch import Tensor, nn

from memgan.files import written_whole
from memgan.lab.sessions.diagnosis import Look
from memgan.presets import Settings
from memgan.runs import (
    CHECKPOINT_FORMAT,
    CHECKPOINT_VERSION,
    CHECKPOINTS,
    read_checkpoint,
    saved_checkpoints,
    serialised,
    step_of,
    without_compiled_names,
)
from memgan.training import Trainer

__all__ = ["Checkpoint", "load", "newest", "of_content", "path_of", "restore", "save"]


def _no_looks() -> Tensor:
    return torch.zeros(0, len(Look._fields), dtype=torch.double, device="cpu")


@dataclass(frozen=True)
class Checkpoint:
    """A run after some of its steps."""

    settings: Settings
    seed: int
    device: str  # "cpu" or "cuda": random states of one do not fit the other
    threads: int  # of a CPU: sums depend on them
    seconds: float  # of training so far
    trainer: dict[str, Any]  # Trainer.state_dict()
    history: Tensor  # [steps, 4] float32: the numbers of each `Step`
    old_fakes: Tensor  # [moments, 64, C, H, W] uint8
    old_steps: Tensor  # [moments] int64, when those were made
    data: str = ""  # digest of the training images; "" in a checkpoint of version 1
    init: str = ""  # whose weights the run began with; "" for random ones
    looks: Tensor = field(default_factory=_no_looks)  # [looks, 3] float64: the numbers of each `Look`; older ones: none

    @property
    def number(self) -> int:
        return self.trainer["number"]


def path_of(run: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return run / CHECKPOINTS / f"step-{step:08}.pt"


def save(run: Path, checkpoint: Checkpoint, keep: int, spare: int | None = None) -> Path:
    """Write a checkpoint, whole or not at all, then delete all but the last `keep` up to it. Returns its path.

    The checkpoint of step `spare` is kept too, such as that of the best scores so far.
    Raises OSError where it cannot be written, and FloatingPointError where it would not be worth it: not all of its
    numbers are finite. All older ones are still there then.
    """
    for tensor in [*checkpoint.trainer["gan"].values(), checkpoint.history]:
        if not bool(tensor.isfinite().all()):
            raise FloatingPointError(f"weights or losses are not finite at step {checkpoint.number}")
    path = path_of(run, checkpoint.number)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        **vars(checkpoint),
        "settings": checkpoint.settings.to_json(),
        "trainer": {**checkpoint.trainer, "gan": without_compiled_names(checkpoint.trainer["gan"])},
        "format": CHECKPOINT_FORMAT,
        "version": CHECKPOINT_VERSION,
    }
    with written_whole(path) as unfinished:
        unfinished.write_bytes(serialised(content))
    up_to_now = [
        old for old in saved_checkpoints(run) if step_of(old) <= checkpoint.number
    ]  # beyond it there can be damaged ones
    for old in up_to_now[:-keep]:
        if step_of(old) != spare:
            old.unlink()
    for left_over in path.parent.glob("step-*.pt.*"):  # by a process that was killed while it wrote
        left_over.unlink()
    return path


def newest(run: Path, say: Callable[[str], None]) -> Checkpoint:
    """The last checkpoint of a run that can be read; one that cannot is left where it is, and `say` is told why.

    Raises ValueError where there is none.
    """
    paths = saved_checkpoints(run)
    for path in reversed(paths):
        try:
            return load(path)
        except ValueError as error:
            say(f"{error}; trying the one before")
    if paths:
        found = f"none of its {len(paths)} checkpoints can be read"
    else:
        found = f"it has no {CHECKPOINTS}/step-*.pt"
    raise ValueError(f"{run} cannot be resumed: {found}")


def load(path: Path) -> Checkpoint:
    """What `save` wrote, on the CPU. Raises ValueError for a damaged, a foreign and a newer file, and runs nothing."""
    return of_content(path, read_checkpoint(path))


def of_content(path: Path, content: dict[str, Any]) -> Checkpoint:
    """The checkpoint whose entries were read from `path`. Raises ValueError where they are not those of one."""
    wrong = _wrong_entries(content)
    if wrong:
        raise ValueError(f"{path} does not hold what a checkpoint does: {', '.join(wrong)}")
    return Checkpoint(**{**content, "settings": Settings.from_json(content["settings"])})


def _wrong_entries(content: dict[str, Any]) -> list[str]:
    """The names of entries that are missing, unknown or of another type than in a `Checkpoint` as it is stored."""
    expected = {entry.name: get_origin(entry.type) or entry.type for entry in dataclasses.fields(Checkpoint)}
    expected["settings"] = str  # as JSON
    wrong = [str(name) for name in content if name not in expected]
    for entry in dataclasses.fields(Checkpoint):
        has_default = entry.default is not MISSING or entry.default_factory is not MISSING
        is_left_out = entry.name not in content and has_default
        if not is_left_out and type(content.get(entry.name)) is not expected[entry.name]:
            wrong.append(entry.name)
    if not wrong and type(content["trainer"].get("number")) is not int:
        wrong.append("trainer.number")
    return sorted(wrong)


def restore(trainer: Trainer, checkpoint: Checkpoint, *, other_data: bool = False) -> None:
    """Have `trainer` go on where the checkpoint was made; with `other_data`, at the beginning of an epoch of its own.

    Raises ValueError, and changes nothing, where it was made by another sort of trainer: other shapes, other data.
    """
    state = checkpoint.trainer
    expected = trainer.state_dict()
    if other_data:
        state = {**state, "order": expected["order"], "position": expected["position"]}
    own_names = list(expected["gan"])
    expected["gan"] = without_compiled_names(expected["gan"])
    expected["discriminator"] = _adam_state(trainer.gan.inference, steps=checkpoint.number)
    expected["generator"] = _adam_state(trainer.gan.generator, steps=checkpoint.number)
    state = {**state, "gan": {**_not_in_older_files(expected["gan"]), **state["gan"]}}
    _check_alike(state, expected, "state")
    _check_place(checkpoint, state, steps=trainer.settings.steps, images=len(expected["order"]))
    try:
        torch.Generator().set_state(state["random"]["cpu"])
    except RuntimeError as error:
        raise ValueError(f"the random state is none: {error}") from error
    weights = {own: state["gan"][name] for own, name in zip(own_names, expected["gan"], strict=True)}
    trainer.load_state_dict({**state, "gan": weights})


def _not_in_older_files(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The settings of a memory, which versions that wrote the checkpoints of version 1 kept elsewhere alone."""
    return {name: tensor for name, tensor in weights.items() if name.endswith("_extra_state")}


def _adam_state(network: nn.Module, steps: int) -> dict[int, Any]:
    """What Adam's state of a network looks like after some steps: empty before the first."""
    if steps == 0:
        return {}
    return {
        place: {"step": torch.zeros(()), "exp_avg": weight, "exp_avg_sq": weight}
        for place, weight in enumerate(network.parameters())
    }


def _check_place(checkpoint: Checkpoint, state: dict[str, Any], steps: int, images: int) -> None:
    """ValueError where a run of `steps` steps on `images` images cannot be at the place that the checkpoint names."""
    number = checkpoint.number
    position = state["position"]
    if not 0 <= number <= steps or not 0 <= position <= images:
        raise ValueError(f"step {number}, image {position}: there are {steps} and {images}")
    if len(checkpoint.history) != number:
        raise ValueError(f"the history has {len(checkpoint.history)} steps, expected {number}")
    if not torch.equal(state["order"].sort().values, torch.arange(images)):
        raise ValueError("the order of the data does not name each image once")


def _check_alike(value: Any, like: Any, name: str) -> None:
    """ValueError unless `value` is nested like `like`, with tensors of the same shapes and types."""
    if isinstance(like, dict) and isinstance(value, dict):
        if value.keys() != like.keys():
            differ = sorted(str(key) for key in value.keys() ^ like.keys())
            raise ValueError(f"{name} does not hold the expected entries: {', '.join(differ[:5])}")
        for key in like:
            _check_alike(value[key], like[key], f"{name}.{key}")
    elif isinstance(like, Tensor) and isinstance(value, Tensor):
        if value.shape != like.shape or value.dtype != like.dtype:
            raise ValueError(f"{name} has shape {_described(value)}, expected {_described(like)}")
    elif type(value) is not type(like):
        raise ValueError(f"{name} is of type {type(value).__name__}, expected {type(like).__name__}")


def _described(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} of {tensor.dtype}"

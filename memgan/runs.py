"""A run on disk: a folder with its settings, its weights and memory, and its history."""

import io
import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from memgan.gan import AdversarialModel, MemoryGAN
from memgan.presets import Settings

__all__ = ["build", "load_run", "load_weights", "save_run", "serialised", "without_compiled_names", "written_whole"]

# What the folder of a run holds
SETTINGS = "settings.json"
MODEL = "model.pt"
HISTORY = "history.json"
CHECKPOINTS = "checkpoints"

_COMPILED = "_orig_mod."  # torch.compile(module) is a module that holds the original under this name


def build(settings: Settings, device: torch.device | str = "cpu") -> MemoryGAN:
    """A fresh MemoryGAN for `settings`. Its memory looks at values on a CPU; a look would make a GPU wait.

    Raises ValueError for the settings of another model: `memgan.lab.baselines.models.build_model` builds those.
    """
    if settings.model != "memorygan":
        raise ValueError(f"expected a MemoryGAN, got the baseline {settings.model!r}: use memgan.lab.baselines.models")
    return MemoryGAN.from_settings(settings.memory, settings.networks).to(device)


def save_run(folder: Path | str, gan: AdversarialModel, settings: Settings, history: dict[str, Any]) -> None:
    """Write a run, each file whole or not at all. Raises OSError where the folder cannot be written.

    Networks that `torch.compile` wraps are stored as they were before.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = without_compiled_names(gan.state_dict())
    with written_whole(folder / MODEL) as path:
        path.write_bytes(serialised({name: tensor.cpu() for name, tensor in weights.items()}))
    with written_whole(folder / SETTINGS) as path:
        path.write_text(settings.to_json(), encoding="utf-8")
    with written_whole(folder / HISTORY) as path:
        path.write_text(json.dumps(history) + "\n", encoding="utf-8")


def load_run(
    folder: Path | str,
    device: torch.device | str = "cpu",
    build: Callable[[Settings, torch.device | str], AdversarialModel] = build,
) -> tuple[AdversarialModel, Settings]:
    """The model, memory included, and the settings of a run that `save_run` wrote; nothing in it is executed.

    `build` makes the model that the weights are for. Raises ValueError where the folder holds no run, or files that do
    not belong together.
    """
    folder = Path(folder)
    for name in (SETTINGS, MODEL):
        if not (folder / name).is_file():
            raise ValueError(_missing(folder, name))
    settings = Settings.from_json((folder / SETTINGS).read_text(encoding="utf-8"))
    gan = build(settings, device)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load_weights(gan, torch.load(folder / MODEL, map_location=device, weights_only=True))
    except Exception as error:  # a damaged or foreign file can make the unpickler raise anything
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{folder / MODEL} is damaged, or not the model of {SETTINGS}: {first_line}") from error
    return gan.eval(), settings


def _missing(folder: Path, name: str) -> str:
    """Why there is no file `name` in the folder of a run, and what to do about it."""
    if (folder / CHECKPOINTS).is_dir():
        return f"{folder} is not finished: go on with memgan train --out {folder} --resume"
    return f"{folder} is not a run: it has no {name} (make one with: memgan train --out {folder})"


def without_compiled_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under the names that they have where no network is wrapped by `torch.compile`."""
    return {name.replace(_COMPILED, ""): tensor for name, tensor in weights.items()}


def load_weights(gan: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put the weights of a model whose networks were not compiled into `gan`, whose networks may be.

    Raises RuntimeError where names or shapes differ.
    """
    own_name = {name.replace(_COMPILED, ""): name for name in gan.state_dict()}
    gan.load_state_dict({own_name.get(name, name): tensor for name, tensor in weights.items()})


def serialised(content: Any) -> bytes:
    """`content` as `torch.save` writes it; in memory, because a full disk is an OSError only to Python's own files."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when all went well, and is on the disk by then."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        yield unfinished
        _flush(unfinished)
        os.replace(unfinished, path)
        if os.name == "posix":  # elsewhere a folder cannot be opened
            _flush(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Have the disk hold what was written, or, of a folder, what was renamed in it."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

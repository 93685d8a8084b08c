"""A run on disk: a folder with its settings, its weights and memory, and its history."""

import dataclasses
import functools
import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from memgan.engines.precision import exact_dtype
from memgan.files import written_whole
from memgan.gan import AdversarialModel, MemoryGAN
from memgan.presets import Settings

__all__ = [
    "StoredModel",
    "build",
    "load_run",
    "load_weights",
    "read_checkpoint",
    "read_settings",
    "read_tensors",
    "rebuilt",
    "save_run",
    "saved_checkpoints",
    "serialised",
    "step_of",
    "stored_model",
    "without_compiled_names",
    "write_run",
]

# What the folder of a run holds
SETTINGS = "settings.json"
MODEL = "model.pt"
HISTORY = "history.json"
CHECKPOINTS = "checkpoints"
OLD_FAKES = "old_fakes.pt"

CHECKPOINT_FORMAT = "memgan checkpoint"
CHECKPOINT_VERSION = 3  # 1 had no digest of the data, 2 no looks at the memory

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

    A model that was saved there before is replaced; evaluations of it stay where they are. Networks that
    `torch.compile` wraps are stored as they were before. A model whose networks are not those of `settings` is stored,
    too; `load_run` then needs a `build` that makes it. Raises ValueError where the memory has other settings than
    `settings`, and where the folder holds checkpoints or old fakes, which may be those of another training and would
    be taken for this one's. Raises TypeError for a history that JSON cannot hold. Nothing is written then.
    """
    folder = Path(folder)
    left = [str(folder / CHECKPOINTS)] if saved_checkpoints(folder) else []
    if (folder / OLD_FAKES).exists():
        left.append(str(folder / OLD_FAKES))
    if left:
        raise ValueError(
            f"{folder} holds a run of memgan train, to which this model may not belong: choose another folder, or "
            f"delete {' and '.join(left)}"
        )
    write_run(folder, gan, settings, history)


def write_run(folder: Path, gan: AdversarialModel, settings: Settings, history: dict[str, Any]) -> None:
    """`save_run` beside the checkpoints and the old fakes of the same training."""
    _check_memory_settings(gan, settings)
    history_text = json.dumps(history) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    weights = without_compiled_names(gan.state_dict())
    with written_whole(folder / MODEL) as path:
        path.write_bytes(serialised({name: tensor.cpu() for name, tensor in weights.items()}))
    with written_whole(folder / SETTINGS) as path:
        path.write_text(settings.to_json(), encoding="utf-8")
    with written_whole(folder / HISTORY) as path:
        path.write_text(history_text, encoding="utf-8")


def _check_memory_settings(gan: AdversarialModel, settings: Settings) -> None:
    """ValueError where the run would be loaded with another memory than it has."""
    own = getattr(getattr(gan, "memory", None), "settings", settings.memory)
    if own == settings.memory:
        return
    differences = []
    for field in dataclasses.fields(own):
        has, says = getattr(own, field.name), getattr(settings.memory, field.name)
        if has != says:
            differences.append(f"{field.name} {has} and not {says}")
    raise ValueError(
        f"these are not the settings of the model, whose memory has {', '.join(differences)}: save it with "
        "dataclasses.replace(settings, memory=gan.memory.settings)"
    )


class StoredModel(NamedTuple):
    """What the folder of a run holds of its model: that of the finished run, or that of a checkpoint."""

    path: Path  # the file of the weights
    settings: Settings
    step: int  # how many steps of training the weights have had
    weights: dict[str, Tensor]
    checkpoint: dict[str, Any] | None  # all that the checkpoint holds; None for the model of a finished run


def load_run(
    folder: Path | str,
    device: torch.device | str = "cpu",
    build: Callable[[Settings, torch.device | str], AdversarialModel] = build,
    *,
    checkpoint: int | None = None,
) -> tuple[AdversarialModel, Settings]:
    """The model, memory included, and the settings of a run in `folder`; nothing in its files is executed.

    Of a run that is not finished it is the model of the newest checkpoint, and a warning says of which step. With
    `checkpoint` it is the model of the checkpoint of that step. `build` makes the model that the weights are for.
    Raises ValueError where the folder holds no run, no such checkpoint, or files that do not belong together.
    """
    stored = stored_model(folder, checkpoint, say=functools.partial(warnings.warn, stacklevel=3))
    return rebuilt(stored, device, build), stored.settings


def stored_model(folder: Path | str, checkpoint: int | None = None, *, say: Callable[[str], object]) -> StoredModel:
    """What `load_run` builds a model from, on the CPU: model.pt, or a checkpoint where the run is not finished.

    `say` is told, in a sentence, which checkpoint that is, and why one that is damaged was passed over. Raises
    ValueError as `load_run` does.
    """
    folder = Path(folder)
    paths = saved_checkpoints(folder)
    if checkpoint is not None:
        return _of_checkpoint(_path_of_step(folder, paths, checkpoint))
    settings = None
    if (folder / SETTINGS).is_file():
        settings = read_settings(folder / SETTINGS)
    if settings is not None and (folder / MODEL).is_file():
        newest_step = step_of(paths[-1]) if paths else 0
        if newest_step <= settings.training.steps:
            return StoredModel(folder / MODEL, settings, settings.training.steps, _weights_in(folder / MODEL), None)
    for path in reversed(paths):
        try:
            stored = _of_checkpoint(path)
        except ValueError as error:
            say(f"{error}; trying the one before")
            continue
        say(f"{folder} is not finished: this is its model after step {stored.step} of {stored.settings.training.steps}")
        return stored
    raise ValueError(_missing(folder, num_checkpoints=len(paths)))


def rebuilt(
    stored: StoredModel,
    device: torch.device | str = "cpu",
    build: Callable[[Settings, torch.device | str], AdversarialModel] = build,
) -> AdversarialModel:
    """The model in evaluation mode; what was stored in float64 is float64.

    Raises ValueError where the weights are those of other settings.
    """
    _check_memory(stored)  # before a memory is allocated that may be beyond any machine
    gan = build(stored.settings, device)
    gan = _widened(gan, stored.weights)
    try:
        load_weights(gan, stored.weights)
    except (RuntimeError, TypeError, AttributeError) as error:  # names, shapes, or what is no weight at all
        lines = [line.strip() for line in str(error).splitlines()]
        reason = lines[1] if len(lines) > 1 else lines[0]  # PyTorch's first line names the class only
        raise ValueError(
            f"{stored.path} does not hold the model of {SETTINGS}: {reason}. Networks of your own are loaded in "
            "Python, by load_run(folder, build=...) with a function that makes the model"
        ) from error
    return gan.eval()


def _widened(gan: AdversarialModel, weights: dict[str, Tensor]) -> AdversarialModel:
    """`gan` with float64 where the weights have it: loading would round them to the precision of a new model."""
    stored = {
        name: weight for name, weight in weights.items() if torch.is_tensor(weight) and weight.is_floating_point()
    }
    are_double = {name for name, weight in stored.items() if weight.dtype == torch.float64}
    if not are_double or exact_dtype(gan.device) != torch.float64:
        return gan
    if len(are_double) == len(stored):
        return gan.double()  # with buffers that are not stored
    for name, own in without_compiled_names({**dict(gan.named_parameters()), **dict(gan.named_buffers())}).items():
        if name in are_double:
            own.data = own.data.double()
    return gan


def _check_memory(stored: StoredModel) -> None:
    keys = stored.weights.get("memory.keys")
    memory = stored.settings.memory
    if torch.is_tensor(keys) and tuple(keys.shape) != (memory.num_slots, memory.key_dim):
        raise ValueError(
            f"{stored.path} does not hold the model of {SETTINGS}: its memory has shape {list(keys.shape)}, expected "
            f"[{memory.num_slots}, {memory.key_dim}]"
        )


def _of_checkpoint(path: Path) -> StoredModel:
    content = read_checkpoint(path)
    trainer = content.get("trainer")
    try:
        settings = Settings.from_json(content["settings"])
        return StoredModel(path, settings, int(trainer["number"]), dict(trainer["gan"]), content)  # type: ignore[index]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold what a checkpoint does: {error}") from error


def _path_of_step(folder: Path, paths: list[Path], step: int) -> Path:
    for path in paths:
        if step_of(path) == step:
            return path
    there_are = ", ".join(str(step_of(path)) for path in paths)
    found = f"there are those of steps {there_are}" if paths else "there are none"
    raise ValueError(f"{folder} has no checkpoint of step {step}: {found}")


def _weights_in(path: Path) -> dict[str, Tensor]:
    weights = read_tensors(path)
    if not isinstance(weights, dict):
        raise ValueError(f"{path} does not hold the weights of a model, but {type(weights).__name__}")
    return weights


def _missing(folder: Path, num_checkpoints: int) -> str:
    """Why there is no model in the folder of a run, and what to do about it."""
    if num_checkpoints > 0:
        return f"{folder} is not finished, and none of its {num_checkpoints} checkpoints can be read"
    if (folder / CHECKPOINTS).is_dir():
        return f"{folder} is not finished: go on with memgan train --out {folder} --resume"
    name = MODEL if (folder / SETTINGS).is_file() else SETTINGS
    return f"{folder} is not a run: it has no {name} (make one with: memgan train --out {folder})"


# ---------------------------------------------------------------- reading what may be damaged


def read_settings(path: Path) -> Settings:
    """The settings in a run's settings.json. Raises ValueError, with the path, for anything else."""
    try:
        return Settings.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def saved_checkpoints(folder: Path | str) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    found = (Path(folder) / CHECKPOINTS).glob("step-*.pt")
    numbered = [path for path in found if path.stem.removeprefix("step-").isdecimal()]
    return sorted(numbered, key=step_of)


def step_of(path: Path) -> int:
    """Of which step the checkpoint in `path` is, as its name says."""
    return int(path.stem.removeprefix("step-"))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The entries of a checkpoint, on the CPU. Raises ValueError for a damaged, a foreign and a newer file."""
    content = read_tensors(path)
    if not isinstance(content, dict) or content.pop("format", None) != CHECKPOINT_FORMAT:
        raise ValueError(f"{path} is not a checkpoint of memgan")
    version = content.pop("version", None)
    if version not in range(1, CHECKPOINT_VERSION + 1):
        raise ValueError(
            f"{path} has version {version}, this memgan reads up to {CHECKPOINT_VERSION}: use the one that wrote it"
        )
    trainer = content.get("trainer")
    number = trainer.get("number") if isinstance(trainer, dict) else None
    if isinstance(number, int) and path in saved_checkpoints(path.parent.parent) and number != step_of(path):
        raise ValueError(f"{path} holds the checkpoint of step {number}: it was renamed, or copied over another one")
    return content


def read_tensors(path: Path) -> Any:
    """What `torch.save` wrote, on the CPU; its sums are checked, and nothing in it is executed.

    Raises ValueError, with the path, for a damaged file and for one that holds more than tensors, numbers and texts;
    OSError where it cannot be opened.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # PyTorch itself does not look at the sums
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Exception as error:  # a damaged file can make the reader raise anything
        raise ValueError(f"{path} is damaged, or no file of memgan: {_reason(error)}") from error
    if damaged:
        raise ValueError(f"{path} is damaged: the sum of {damaged} is off")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # PyTorch's own message advises to load it all the same
        raise ValueError(
            f"{path} is damaged, or no file of memgan: it holds more than tensors, numbers and texts, which could run "
            "code when it is read"
        ) from error
    except Exception as error:
        raise ValueError(f"{path} is damaged, or no file of memgan: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The first line of what an error says, or its name where it says nothing."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


# ---------------------------------------------------------------- weights


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

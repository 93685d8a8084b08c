"""The model in a run's folder, for commands that look at it: that of the finished run, or that of a checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from memgan.gan import AdversarialModel
from memgan.lab.baselines.models import build_model
from memgan.lab.sessions import checkpoints
from memgan.lab.sessions.capacity import refuse_beyond_memory
from memgan.lab.sessions.checkpoints import Checkpoint
from memgan.lab.sessions.progress import to_stderr
from memgan.presets import Settings
from memgan.pretrained import PRETRAINED, load_pretrained
from memgan.runs import CHECKPOINTS, MODEL, SETTINGS, rebuilt, stored_model

__all__ = ["LoadedModel", "load_model"]


class LoadedModel(NamedTuple):
    """A model in evaluation mode, and where in its training it is."""

    gan: AdversarialModel
    settings: Settings
    step: int  # how many steps of training it has had
    checkpoint: Checkpoint | None  # what it was read from; None for the model of a finished run and a pretrained one


def load_model(
    folder: Path | str,
    device: torch.device | str = "cpu",
    *,
    checkpoint: int | None = None,
    say: Callable[[str], object] = to_stderr,
) -> LoadedModel:
    """The model of the run in `folder`, of any kind, or a pretrained one by its name, where no run is called that.

    Of a run that is not finished it is the model of the newest checkpoint that can be read, and `say` is told of which
    step; with `checkpoint`, the model of the checkpoint of that step. Raises ValueError where there is no run, no such
    checkpoint, or files that do not belong together.
    """
    is_run = any((Path(folder) / name).exists() for name in (SETTINGS, MODEL, CHECKPOINTS))  # perhaps a damaged one
    if str(folder) in PRETRAINED and not is_run:
        if checkpoint is not None:
            raise ValueError(f"{folder} is a model that comes with the package: it has no checkpoints")
        gan, settings = load_pretrained(str(folder), device)
        return LoadedModel(gan, settings, settings.training.steps, None)
    stored = stored_model(folder, checkpoint, say=say)
    whole = None
    if stored.checkpoint is not None:
        whole = checkpoints.of_content(stored.path, stored.checkpoint)
    refuse_beyond_memory(stored.settings, device, training=False)
    return LoadedModel(rebuilt(stored, device, build_model), stored.settings, stored.step, whole)

"""`memgan explore`: one HTML page to explore a run in."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from memgan.gan import MemoryGAN
from memgan.lab.baselines.memories import MEMORIES
from memgan.lab.commands.options import add_checkpoint, add_data, add_dataset, add_run, data_of, expanded_path, writable
from memgan.lab.commands.progress import Progress, warn_once
from memgan.lab.evaluation.classifier import Classifier, classifier_for, has_classes
from memgan.lab.sessions import load_model
from memgan.lab.sessions.progress import to_stderr
from memgan.presets import Settings
from memgan.widgets import Interpolation, LatentExplorer, SlotExplorer
from memgan.widgets.page import page


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `memgan explore`."""
    add_run(parser)
    default = "default: RUN/explore.html, RUN.html for a pretrained model"
    parser.add_argument("--out", type=expanded_path, metavar="PAGE", help=default)
    add_checkpoint(parser)
    add_dataset(parser)
    add_data(parser)


def run(options: argparse.Namespace) -> None:
    """Write the page."""
    gan, settings, step, _ = load_model(options.folder, checkpoint=options.checkpoint)
    if options.dataset is not None:
        settings = replace(settings, dataset=options.dataset)
    if not isinstance(gan, MemoryGAN) or settings.model not in ("memorygan", *MEMORIES):
        raise ValueError(f"{options.folder} holds a {settings.model}: its generator is given no slot to explore")
    out = writable(options.out or _default_page(options.folder), "a page such as explore.html")
    torch.set_num_threads(1)  # small networks run fastest on one
    not_kept: list[str] = []
    real = _real(options, settings, not_kept)
    widgets = {
        "Under the noise: one slot's images": LatentExplorer(gan),
        "Slot by slot": SlotExplorer(gan, real.images, real.classifier, real.class_names),
        "Walks": Interpolation(gan, classifier=real.classifier, class_names=real.class_names or []),
    }
    size = f"a memory of {gan.memory.num_slots} slots of {gan.memory.key_dim} numbers"
    lead = f"{settings.dataset}, {step} steps, {size}. The page computes each image itself."
    out.write_text(page(f"MemoryGAN: {options.folder.absolute().name}", lead, widgets), encoding="utf-8")
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB", flush=True)
    warn_once("explore", not_kept)


def _default_page(run: Path) -> Path:
    """The page of a run lies in its folder; a pretrained model has none, so its page goes where the command runs."""
    return run / "explore.html" if run.is_dir() else run.with_suffix(".html")


class _Real(NamedTuple):
    """What is known of the real images; None where it is not known."""

    images: Tensor | None = None  # bytes, which may be mapped from a file
    classifier: Classifier | None = None
    class_names: list[str] | None = None


def _real(options: argparse.Namespace, settings: Settings, not_kept: list[str]) -> _Real:
    """The real images, and their classes if they have any; nothing where the data set is missing.

    Raises ValueError where `--dataset` names what cannot be read.
    """
    try:
        data = data_of(options, settings)
    except ValueError as error:
        if options.dataset is not None:
            raise
        to_stderr(f"without real images and classes: {error}")
        return _Real()
    if not has_classes(data):
        to_stderr(f"without classes: {settings.dataset} has none")
        return _Real(data.images)
    classifier = classifier_for(settings.dataset, data=data, say=Progress(), warn=not_kept.append)
    names = None if data.class_names is None else list(data.class_names)
    return _Real(data.images, classifier, names)

"""`memgan explore`: one HTML page to explore a run in."""

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

from memgan.data import as_float
from memgan.gan import MemoryGAN
from memgan.lab.baselines.memories import MEMORIES
from memgan.lab.baselines.models import load_model
from memgan.lab.commands.options import add_data, add_run, data_of, writable
from memgan.lab.evaluation.classifier import Classifier, classifier_for
from memgan.presets import Settings
from memgan.widgets import Interpolation, LatentExplorer, SlotExplorer
from memgan.widgets.page import page


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `memgan explore`."""
    add_run(parser)
    default = "default: RUN/explore.html, RUN.html for a pretrained model"
    parser.add_argument("--out", type=Path, metavar="PAGE", help=default)
    add_data(parser)


def run(options: argparse.Namespace) -> None:
    """Write the page."""
    gan, settings = load_model(options.folder)
    if not isinstance(gan, MemoryGAN) or settings.model not in ("memorygan", *MEMORIES):
        raise ValueError(f"{options.folder} holds a {settings.model}: its generator is given no slot to explore")
    out = writable(options.out or _default_page(options.folder), "a page such as explore.html")
    torch.set_num_threads(1)  # small networks run fastest on one
    images, classifier = _images_and_classifier(options, settings)
    widgets = {
        "Under the noise: one slot's images": LatentExplorer(gan),
        "Slot by slot": SlotExplorer(gan, images, classifier),
        "Walks": Interpolation(gan, classifier=classifier),
    }
    size = f"a memory of {gan.memory.num_slots} slots of {gan.memory.key_dim} numbers"
    lead = f"{settings.dataset}, {settings.training.steps} steps, {size}. The page computes each image itself."
    out.write_text(page(f"MemoryGAN: {options.folder.absolute().name}", lead, widgets), encoding="utf-8")
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


def _default_page(run: Path) -> Path:
    """The page of a run lies in its folder; a pretrained model has none, so its page goes where the command runs."""
    return run / "explore.html" if run.is_dir() else run.with_suffix(".html")


def _images_and_classifier(
    options: argparse.Namespace, settings: Settings
) -> tuple[Tensor, Classifier] | tuple[None, None]:
    """The real images and a classifier of them, or neither where the data set is missing: the page does without."""
    try:
        data = data_of(options, settings)
        classifier = classifier_for(settings.dataset, data=data)
    except ValueError as error:
        print(f"without real images and classes: {error}", file=sys.stderr)
        return None, None
    return as_float(data.images), classifier

"""`memgan explore`: one HTML page to explore a run in."""

import argparse
import sys
from pathlib import Path

import torch

from memgan.data import as_float
from memgan.lab.baselines.memories import MEMORIES
from memgan.lab.baselines.models import load_model
from memgan.lab.commands.options import add_data, add_run, data_of, writable
from memgan.lab.evaluation.classifier import classifier_for

PURPOSE = "write one HTML page to explore a run in; it needs no Python and no network"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `memgan explore`."""
    add_run(parser)
    parser.add_argument(
        "--out", type=Path, metavar="PAGE", help="default: RUN/explore.html, RUN.html for a pretrained model"
    )
    add_data(parser)


def run(options: argparse.Namespace) -> None:
    """Write the page."""
    gan, settings = load_model(options.folder)
    if settings.model not in ("memorygan", *MEMORIES):
        raise ValueError(f"{options.folder} holds a {settings.model}: its generator is given no slot to explore")
    default = options.folder / "explore.html" if options.folder.is_dir() else options.folder.with_suffix(".html")
    out = writable(options.out or default, "a page such as explore.html")
    try:
        from memgan.widgets import Interpolation, LatentExplorer, SlotExplorer
        from memgan.widgets.page import page
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}; explore needs: pip install 'memgan[notebooks]'") from error
    torch.set_num_threads(1)
    try:
        data = data_of(options, settings)
        images, judge = as_float(data.images), classifier_for(settings.dataset, data=data)
    except ValueError as error:
        print(f"without real images and classes: {error}", file=sys.stderr)
        images, judge = None, None
    widgets = {
        "Under the noise: one slot's images": LatentExplorer(gan),
        "Slot by slot": SlotExplorer(gan, images, judge),
        "Walks": Interpolation(gan, classifier=judge),
    }
    size = f"a memory of {gan.memory.num_slots} slots of {gan.memory.key_dim} numbers"
    lead = f"{settings.dataset}, {settings.training.steps} steps, {size}. The page computes each image itself."
    out.write_text(page(f"MemoryGAN: {options.folder.absolute().name}", lead, widgets), encoding="utf-8")
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")

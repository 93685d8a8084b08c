"""`memgan sample`: a sheet of images, one slot in each row."""

import argparse
from pathlib import Path

import torch

from memgan.lab.baselines.models import load_model
from memgan.lab.commands.options import add_device, add_run, device_of, seed, writable
from memgan.plots import image_grid


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `memgan sample`."""
    add_run(parser)
    parser.add_argument("--out", type=Path, required=True, help="picture to write, e.g. grid.png")
    parser.add_argument("--slots", type=int, default=10, help="rows: slots, drawn as the generator draws them")
    parser.add_argument("--samples", type=int, default=12, help="columns: images of each slot")
    parser.add_argument("--seed", type=seed, default=0)
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    """Draw it."""
    if options.slots < 1 or options.samples < 1:
        raise ValueError(f"expected at least one slot and one sample, got {options.slots} and {options.samples}")
    device = device_of(options.device)
    gan, _ = load_model(options.folder, device)
    out = writable(options.out, "a picture such as grid.png")
    generator = torch.Generator(device).manual_seed(options.seed)
    images, slots = gan.sample_slots(options.slots, options.samples, generator=generator)
    row_labels = [f"slot {slot}" for slot in slots.tolist()]
    column_label = "noise z, drawn anew for each image"
    figure = image_grid(images.flatten(0, 1), options.samples, row_labels=row_labels, column_label=column_label)
    figure.savefig(out, dpi=150, bbox_inches="tight")
    print(out)

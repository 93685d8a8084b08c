"""`memgan sample`: a sheet of images, one slot in each row."""

import argparse

import torch

from memgan.gan import AdversarialModel
from memgan.lab.commands.options import (
    add_checkpoint,
    add_device,
    add_run,
    device_of,
    expanded_path,
    seed,
    writable,
)
from memgan.lab.sessions import load_model
from memgan.plots import image_grid

DPI = 150
CELL = 0.45  # inches of an image on the sheet, or more where it has more pixels
MOST_PIXELS = 25_000_000  # of a sheet: drawing one takes some 50 bytes a pixel


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `memgan sample`."""
    add_run(parser)
    parser.add_argument("--out", type=expanded_path, required=True, help="picture to write, e.g. grid.png")
    slots_help = "rows: slots, drawn as the generator draws them, each once (default: 10)"
    parser.add_argument("--slots", type=int, metavar="N", help=slots_help)
    parser.add_argument("--samples", type=int, default=12, metavar="N", help="columns: images of each slot (12)")
    parser.add_argument("--seed", type=seed, default=0)
    add_checkpoint(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    """Draw it."""
    if (options.slots is not None and options.slots < 1) or options.samples < 1:
        raise ValueError(f"expected at least one slot and one sample, got {options.slots} and {options.samples}")
    device = device_of(options.device)
    gan = load_model(options.folder, device, checkpoint=options.checkpoint).gan
    out = writable(options.out, "a picture such as grid.png")
    rows = _rows(options, gan)
    if gan.image_shape is None:
        raise ValueError(f"{options.folder} does not say how large its images are")
    cell = max(CELL, gan.image_shape[2] / DPI)
    _refuse_huge(rows, options.samples, cell)
    generator = torch.Generator(device).manual_seed(options.seed)
    images, slots = gan.sample_slots(rows, options.samples, distinct=gan.conditional, generator=generator)
    if not bool(images.isfinite().all()):
        raise ValueError("the generator makes numbers that are not finite: there is nothing to draw")
    row_labels: list[str] = []
    if gan.conditional:
        row_labels = [f"slot {slot}" for slot in slots.tolist()]
    figure = image_grid(
        images.flatten(0, 1).cpu(),
        options.samples,
        row_labels=row_labels,
        column_label="noise z, drawn anew for each image",
        cell=cell,
    )
    figure.savefig(out, dpi=DPI, bbox_inches="tight")
    print(out)


def _rows(options: argparse.Namespace, gan: AdversarialModel) -> int:
    """How many rows there are: without --slots, as many as there are slots, but at most ten."""
    if not gan.conditional:
        return options.slots or 10
    there = int((gan.slot_probabilities() > 0).sum())
    if options.slots is None:
        return max(1, min(10, there))
    if options.slots > there:
        raise ValueError(f"{options.folder} draws {there} slots, got --slots {options.slots}")
    return options.slots


def _refuse_huge(rows: int, columns: int, cell: float) -> None:
    """ValueError where the sheet would not fit into memory, with its size."""
    width = round(columns * cell * DPI)
    height = round(rows * cell * DPI)
    if width * height > MOST_PIXELS or max(width, height) >= 2**16:
        raise ValueError(
            f"a sheet of {rows:,} x {columns:,} images has {width:,} x {height:,} pixels, too many for one picture: "
            "choose fewer --slots or --samples, or write single images with memgan export"
        )

"""`memgan export`: single images in a folder, numbered, for programs that compare folders of images."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from memgan.data import as_bytes
from memgan.gan import AdversarialModel
from memgan.lab.commands.options import (
    add_checkpoint,
    add_data,
    add_dataset,
    add_device,
    add_run,
    data_of,
    device_of,
    expanded_path,
    seed,
)
from memgan.lab.commands.progress import Progress
from memgan.lab.evaluation.material import some_images
from memgan.lab.sessions import load_model
from memgan.lab.sessions.progress import to_stderr

AT_ONCE = 500  # images; part of what a seed means


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `memgan export`."""
    add_run(parser)
    parser.add_argument(
        "--out", type=expanded_path, required=True, metavar="DIR", help="folder to write to, new or empty"
    )
    number_help = "how many images (default: 10,000, or all with --real)"
    parser.add_argument("--number", type=int, metavar="N", help=number_help)
    real_help = "write the images that the run was trained on instead, as its networks see them"
    parser.add_argument("--real", action="store_true", help=real_help)
    parser.add_argument("--seed", type=seed, default=0, help="decides which images are drawn, or chosen")
    add_checkpoint(parser)
    add_dataset(parser)
    add_data(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    """Write the images."""
    if options.number is not None and options.number < 1:
        raise ValueError(f"expected at least one image, got --number {options.number}")
    if options.dataset is not None and not options.real:
        raise ValueError("--dataset says where the real images are: give --real as well, to write those")
    _refuse_used(options.out)
    device = device_of(options.device)
    loaded = load_model(options.folder, device, checkpoint=options.checkpoint)
    if options.real:
        dataset = options.dataset or loaded.settings.dataset
        real = data_of(options, replace(loaded.settings, dataset=dataset))
        there = len(real.images)
        number = there if options.number is None else options.number
        if number > there:
            raise ValueError(f"{dataset} has {there:,} training images, got --number {number}")
        parts = iter(some_images(real, number, seed=options.seed).images.split(AT_ONCE))
    else:
        number = 10_000 if options.number is None else options.number
        parts = _drawn(loaded.gan, number, torch.Generator(device).manual_seed(options.seed))
    options.out.mkdir(parents=True, exist_ok=True)
    _write(options.out, parts, number)
    print(f"{options.out}: {number:,} images")


def _refuse_used(folder: Path) -> None:
    """ValueError where the folder holds anything: a program that compares folders would take it for an image."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: choose another --out")
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds files already: choose another --out, or empty it")


def _drawn(gan: AdversarialModel, number: int, generator: torch.Generator) -> Iterator[Tensor]:
    """`number` images in parts, each drawn whole, so that the first images are the same however many there are."""
    for start in range(0, number, AT_ONCE):
        images = gan.generate(AT_ONCE, generator=generator).images.cpu()
        if not bool(images.isfinite().all()):
            raise ValueError("the generator makes numbers that are not finite: there is nothing to export")
        yield images[: number - start]


def _write(folder: Path, parts: Iterator[Tensor], number: int) -> None:
    """A PNG for each image, grey or in colour; their names count from 0 with leading zeros."""
    from PIL import Image

    progress = Progress()
    digits = max(5, len(str(number - 1)))
    done = 0
    for part in parts:
        progress(f"writing images: {done:,} of {number:,}")
        for image in as_bytes(part).permute(0, 2, 3, 1).numpy():
            grey = image.shape[2] == 1
            try:
                Image.fromarray(image[:, :, 0] if grey else image).save(folder / f"{done:0{digits}}.png")
            except OSError as error:
                raise OSError(f"{folder} holds {done:,} of {number:,} images, and no more: {error}") from error
            except KeyboardInterrupt as error:
                (folder / f"{done:0{digits}}.png").unlink(missing_ok=True)  # perhaps half of an image
                to_stderr(f"memgan export: stopped, {folder} holds {done:,} of {number:,} images")
                raise SystemExit(getattr(error, "exit_code", 130)) from error
            done += 1

"""What several commands ask for, read and checked in one way."""

import argparse
import os
from pathlib import Path

import torch

from memgan.data import ImageData, load_dataset
from memgan.presets import Settings
from memgan.pretrained import PRETRAINED

__all__ = [
    "add_checkpoint",
    "add_data",
    "add_dataset",
    "add_device",
    "add_run",
    "data_of",
    "device_of",
    "expanded_path",
    "seed",
    "writable",
]

Options = argparse.ArgumentParser | argparse._ArgumentGroup


def device_of(name: str) -> torch.device:
    """The device that `--device` names. Raises ValueError for an unknown one and for a GPU that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(_unknown_device(name)) from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(_unknown_device(name))
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name!r} was asked for, but PyTorch sees {torch.cuda.device_count()} GPUs")
    return device


def _unknown_device(name: str) -> str:
    return f"unknown device {name!r}, expected auto, cpu, cuda or cuda:N"


def seed(text: str) -> int:
    """The seed that `--seed` gives, for argparse."""
    number = int(text)
    if not 0 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"the seed must be in 0..2^63-1, got {text}")
    return number


def expanded_path(text: str) -> Path:
    """The file or folder that an option names, for argparse; ~ is the home folder, also where a shell leaves it."""
    if not text:
        raise argparse.ArgumentTypeError("expected a file or a folder, got no name: is a variable not set?")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"there is no home folder for {text}") from error


def background(text: str) -> str:
    """The colour that `--background` names, for argparse."""
    from memgan.data.pictures import colour

    try:
        colour(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def writable(path: Path, expected: str, *, figure_beside: bool = False) -> Path:
    """`path`, in a folder that is there now. Raises ValueError where nothing can be written, before the work begins.

    With `figure_beside`, a figure will be written there, too, with the suffix .png, which `path` may not have.
    """
    if path.is_dir() or not path.suffix or (figure_beside and path.suffix.lower() == ".png"):
        raise ValueError(f"--out must name {expected}, got {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    file = Path(os.path.realpath(path))  # what a link leads to is written
    file.parent.mkdir(parents=True, exist_ok=True)
    taken = file if file.exists() else file.parent
    if not os.access(taken, os.W_OK):
        raise ValueError(f"{path} cannot be written: choose another --out")
    return path


def add_run(parser: Options) -> None:
    """Declare the RUN that a command is about."""
    names = ", ".join(PRETRAINED)
    run_help = f"folder of a run, or a model that comes with the package: {names}"
    parser.add_argument("folder", type=expanded_path, metavar="RUN", help=run_help)


def add_dataset(parser: Options) -> None:
    """Declare `--dataset`, in the place of the one that a run was trained on."""
    dataset_help = "where the images that the run was trained on are now, e.g. folder:PATH"
    parser.add_argument("--dataset", metavar="NAME", help=dataset_help)


def add_checkpoint(parser: Options) -> None:
    """Declare `--checkpoint`."""
    checkpoint_help = "the model after so many steps (default: at the end, or the newest checkpoint there is)"
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help=checkpoint_help)


def add_device(parser: Options) -> None:
    """Declare `--device`."""
    parser.add_argument("--device", default="auto", help="auto (a GPU where there is one), cpu, cuda, cuda:1, ...")


def add_data(parser: Options) -> None:
    """Declare where the data are, and what may be done about what is missing or broken."""
    parser.add_argument(
        "--root", type=expanded_path, metavar="DATA", help="folder of the data sets ($MEMGAN_DATA, else ./data)"
    )
    parser.add_argument("--download", action="store_true", help="fetch the data set if it is not there")
    parser.add_argument("--strict", action="store_true", help="folder:PATH: refuse broken images, not leave them out")
    background_help = "folder:PATH: what transparent pixels are laid on (default: as the run was trained, or white)"
    parser.add_argument("--background", type=background, metavar="COLOUR", help=background_help)


def data_of(options: argparse.Namespace, settings: Settings, split: str = "train") -> ImageData:
    """The data set that `settings` name, in the size that its networks take. Raises ValueError for other channels."""
    size = settings.networks.image_size
    data = load_dataset(
        settings.dataset,
        options.root,
        split,
        options.download,
        size=size,
        strict=options.strict,
        background=options.background or settings.background,
    )
    found = data.images.shape[1]
    expected = settings.networks.channels
    if found != expected:
        remedy = f": --set networks.channels={found}" if hasattr(options, "set") else ""  # not all train a new model
        raise ValueError(f"{settings.dataset} has {found} channels, the networks {expected}{remedy}")
    return data

"""The data sets by name. To add one, add its entry to `DATASETS`."""

import operator
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from memgan.data.affine import CANVAS
from memgan.data.digits import load_digits
from memgan.data.folders import load_folder
from memgan.data.images import ImageData
from memgan.data.mnist_5k import load_mnist_5k
from memgan.data.torchvision_sets import load_affine_mnist, load_cifar10, load_fashion_mnist, load_mnist

__all__ = ["DATASETS", "FOLDER", "DataSet", "absolute_name", "load_dataset", "relative_name"]

FOLDER = "folder:"  # what the name of a folder of images begins with
FOLDER_SIZE = 32  # pixels along each side of its images, if nobody says
SPLITS = ("train", "test")


@dataclass(frozen=True)
class DataSet:
    """What can be known of a data set before it is loaded, and how to load it."""

    description: str
    size: int  # pixels along each side of an image
    channels: int  # 1 for grey, 3 for colour
    load: Callable[[Path, str, bool], ImageData]  # from the folder of the data sets, the split, and "may download"


DATASETS = {
    "affine-mnist": DataSet(
        "MNIST's digits, rotated, sheared, scaled and moved anew at each visit", CANVAS, 1, load_affine_mnist
    ),
    "cifar10": DataSet("photographs of animals and vehicles in ten classes", 32, 3, load_cifar10),
    "digits": DataSet(
        "scikit-learn's 1,797 handwritten digits", 16, 1, lambda root, split, download: load_digits(split)
    ),
    "fashion-mnist": DataSet("clothes in ten classes", 28, 1, load_fashion_mnist),
    "mnist": DataSet("handwritten digits", 28, 1, load_mnist),
    "mnist-5k": DataSet("5,000 of MNIST's digits", 28, 1, lambda root, split, download: load_mnist_5k(split)),
}


def load_dataset(
    name: str,
    root: str | Path | None = None,
    split: str = "train",
    download: bool = False,
    *,
    size: int | None = None,
    strict: bool = False,
    background: str = "white",
) -> ImageData:
    """The training or test images of a data set, on the CPU, whatever PyTorch's default device and type are.

    Those of "mnist-5k" and of a folder are in the order of their classes: the first hundred images are of one class.

    Args:
        name: one of `DATASETS`, or "folder:PATH" for a folder of images (see memgan/data/folders.py).
        root: the folder of the data sets, in which files lie as torchvision keeps them; $MEMGAN_DATA, else ./data.
        split: "train" or "test".
        download: fetch what is missing. Without it nothing is fetched.
        size: pixels along each side: what a folder's images are cut to (32 if nothing is given), and for `DATASETS`
            what is expected.
        strict: refuse a folder with broken images, which are otherwise left out.
        background: the colour on which transparent pixels of a folder's images are laid, such as "white" or "#808080".

    Raises:
        ValueError: for a name, split or size that there is not, and for what is missing or damaged; it says what to do.
        ModuleNotFoundError: where a library that reads the data set is not installed; it says which `pip` command
            brings it.
    """
    if split not in SPLITS:
        raise ValueError(f"expected split 'train' or 'test', got {split!r}")
    if size is not None:
        size = operator.index(size)
        if size < 1:
            raise ValueError(f"expected a size of at least 1, got {size}")
    with torch.device("cpu"):
        if name.startswith(FOLDER):
            return load_folder(_folder(name), split, FOLDER_SIZE if size is None else size, strict, background)
        if name not in DATASETS:
            raise ValueError(f"no data set {name!r} here, expected one of {', '.join(DATASETS)} or 'folder:PATH'")
        known = DATASETS[name]
        if size is not None and size != known.size:
            raise ValueError(f"images of {name} have {known.size} pixels a side, got size {size}")
        return known.load(_root(root), split, download)


def absolute_name(name: str, start: Path | None = None) -> str:
    """The name of a data set; a folder's holds its absolute path, so that it means the same from every folder.

    A relative path begins at the current folder, or at the folder `start`.
    """
    if not name.startswith(FOLDER) or name == FOLDER:
        return name
    path = Path(os.path.expanduser(name.removeprefix(FOLDER)))
    if start is None or path.is_absolute():
        return FOLDER + str(path.absolute())
    return FOLDER + os.path.normpath(start.absolute() / path)


def relative_name(name: str, start: Path) -> str:
    """The same data set, but a folder below the current one by its path from the folder `start`.

    So a file in `start` that is handed on with the images names no folder of this machine. `absolute_name` with the
    same `start` gives the name back.
    """
    if not name.startswith(FOLDER) or name == FOLDER:
        return name
    folder = Path(os.path.normpath(absolute_name(name).removeprefix(FOLDER)))
    if not folder.is_relative_to(Path.cwd()):
        return name
    try:
        short = FOLDER + Path(os.path.relpath(folder, start.absolute())).as_posix()
    except ValueError:  # on another drive of Windows
        return name
    return short if absolute_name(short, start) == name else name


def _folder(name: str) -> Path:
    """The folder in "folder:PATH". Raises ValueError for an empty PATH, which would be the current folder."""
    if name == FOLDER:
        raise ValueError("'folder:' names no folder, expected 'folder:PATH'; 'folder:.' is the current one")
    return Path(absolute_name(name).removeprefix(FOLDER))


def _root(root: str | Path | None) -> Path:
    """The folder of the data sets."""
    if root is None:
        root = os.environ.get("MEMGAN_DATA") or "data"
    try:
        return Path(root).expanduser()
    except RuntimeError as error:
        raise ValueError(f"there is no home folder for {root}") from error

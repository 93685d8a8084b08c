"""The handwritten digits that come with scikit-learn."""

import functools
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F

from memgan.data.images import ImageData
from memgan.extras import required

__all__ = ["load_digits"]

TEST_IMAGES = 360  # a fifth


def load_digits(split: str) -> ImageData:
    """1,797 handwritten digits of 8x8 pixels in 17 greys, enlarged to 16x16; the last 360 are for testing.

    The file is ordered by writer (scikit-learn's MOOC, "Sample grouping"), so that an unshuffled split tests on other
    people's handwriting: training has seen only some twenty images by one of the test writers. The images come with
    scikit-learn (E. Alpaydin and C. Kaynak, UCI repository, 1998), and nothing is downloaded. They are read once in a
    process.
    """
    with required("lab", "the data set 'digits'"):
        from sklearn import datasets

    images, classes = _digits_in(datasets)
    part = slice(None, -TEST_IMAGES) if split == "train" else slice(-TEST_IMAGES, None)
    greys = torch.tensor(images[part], dtype=torch.float32).unsqueeze(1)  # 0..16
    enlarged = F.interpolate(greys / 8 - 1, size=(16, 16), mode="bilinear", align_corners=False)
    labels = torch.tensor(classes[part], dtype=torch.int64)
    return ImageData(enlarged, labels, class_names=tuple("0123456789"))


@functools.cache
def _digits_in(datasets: ModuleType) -> tuple[np.ndarray, np.ndarray]:
    """Images [1797, 8, 8] and classes [1797] of scikit-learn's `datasets`, which reads a packed text file each time."""
    digits = datasets.load_digits()
    return digits.images, digits.target

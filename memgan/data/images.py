"""Images with their labels, and batches of them, each image changed at random as asked."""

import operator
import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from memgan.data.affine import move_at_random

__all__ = ["ImageData", "as_bytes", "as_float", "batch_of", "check_values", "warn_of_values"]

TOLERANCE = 1e-3  # by which resized images may leave [-1, 1]
_LOOKED_AT = 1000  # images that are looked at in search of truth values


class ImageData(NamedTuple):
    """Images and what they show. The labels are for evaluation only: training never sees them."""

    images: Tensor  # [n, C, H, W] uint8 in 0..255, or float32 in [-1, 1]
    labels: Tensor  # [n] int64
    source: Tensor | None = None  # [n, 1, 28, 28] uint8: digits that are moved anew at each visit (affine-mnist)
    class_names: tuple[str, ...] | None = None  # class i is called class_names[i]; None where there are no classes

    def to(self, device: torch.device | str) -> "ImageData":
        """The same data with every tensor on `device`."""
        source = None if self.source is None else self.source.to(device)
        return self._replace(images=self.images.to(device), labels=self.labels.to(device), source=source)


def as_float(images: Tensor) -> Tensor:
    """Images in [-1, 1]: bytes become x / 127.5 - 1 in float32; what is floating point already passes through.

    Raises TypeError for other whole numbers and for truth values, whose range is not known.
    """
    if images.is_floating_point():
        return images
    _check_bytes(images)
    return images.to(torch.float32) / 127.5 - 1


def as_bytes(images: Tensor) -> Tensor:
    """Images as bytes in 0..255: x in [-1, 1] becomes 127.5 (x + 1), rounded; what is bytes already passes through.

    Raises TypeError for other whole numbers and for truth values, whose range is not known.
    """
    if images.is_floating_point():
        return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    _check_bytes(images)
    return images


def _check_bytes(images: Tensor) -> None:
    if images.dtype != torch.uint8:
        raise TypeError(f"expected images of torch.uint8 in 0..255 or floating point in [-1, 1], got {images.dtype}")


def check_values(images: Tensor) -> None:
    """TypeError for what are no bytes and no floating-point numbers, ValueError for such outside [-1, 1] or NaN."""
    if not isinstance(images, Tensor):
        raise TypeError(f"expected images as a tensor, got {type(images).__name__}: use torch.from_numpy for an array")
    if not images.is_floating_point():
        _check_bytes(images)
    elif images.numel() > 0:
        least, most = images.aminmax()
        if not bool((least >= -1 - TOLERANCE) & (most <= 1 + TOLERANCE)):  # False for NaN
            raise ValueError(
                f"floating-point images must lie in [-1, 1], got values from {float(least):g} to {float(most):g}"
            )


def warn_of_values(images: Tensor, stacklevel: int = 2) -> None:
    """Warn of images whose values are allowed, and probably not meant: bytes of 0 and 1, and numbers in [0, 1]."""
    if images.numel() == 0:
        return
    if images.dtype == torch.uint8:
        if int(images[:_LOOKED_AT].amax()) <= 1:
            warnings.warn(
                "no byte is above 1, and bytes are read as 0..255: are the images truth values?",
                stacklevel=stacklevel + 1,
            )
        return
    least, most = (float(value) for value in images.aminmax())
    if least >= 0:
        warnings.warn(
            f"the images have values from {least:g} to {most:g}, and the generator's lie in [-1, 1]: "
            "if yours lie in [0, 1], as torchvision's ToTensor makes them, give 2 * images - 1",
            stacklevel=stacklevel + 1,
        )


def batch_of(data: ImageData, index: Tensor, *, flip: bool = False, brightness: float = 0.0, shift: int = 0) -> Tensor:
    """The images of `index` as floating point in [-1, 1], each changed at random as asked.

    A change that is off draws no random numbers. Nothing waits for the device, and no shape depends on the values, so
    that a CUDA graph can hold the whole function.

    Args:
        data: images [n, C, H, W]; where it has a `source`, each visit moves the source's digits anew.
        index: which images, [B] int64, on the device of `data`.
        flip: mirror each image left to right with probability 1/2.
        brightness: add to each image one number between `-brightness` and `brightness`, and cut the sum at -1 and 1.
            A brightness of 1 leads from grey to white.
        shift: move each image by up to so many pixels along each axis, with its edge repeated.

    Returns:
        Images [B, C, H, W] on the device of `data`; float32, unless `data` has floating-point images of another type.

    Raises:
        ValueError: for a negative `shift` or `brightness`.
    """
    shift = operator.index(shift)
    brightness = float(brightness)
    if shift < 0 or brightness < 0:
        raise ValueError(f"expected shift >= 0 and brightness >= 0, got {shift} and {brightness}")
    chosen = data.images[index] if data.source is None else move_at_random(data.source[index])
    images = as_float(chosen)
    if flip:
        images = _flipped(images)
    if shift > 0:
        images = _shifted(images, shift)
    if brightness > 0:
        images = _brightened(images, brightness)
    return images


def _flipped(images: Tensor) -> Tensor:
    """Half of `images` [B, C, H, W], chosen at random, mirrored left to right."""
    chosen = _uniform(images) < 0.5
    return torch.where(chosen, images.flip(3), images)


def _shifted(images: Tensor, most: int) -> Tensor:
    """Each of `images` [B, C, H, W] moved by -most..most pixels along both axes, with its edge repeated."""
    batch, _, height, width = images.shape
    # the row and the column of the image that come to lie in the upper left corner
    first_row, first_column = torch.randint(-most, most + 1, (2, batch, 1), device=images.device)
    rows = (torch.arange(height, device=images.device) + first_row).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) + first_column).clamp(0, width - 1)
    images = images.take_along_dim(rows[:, None, :, None], 2)
    return images.take_along_dim(columns[:, None, None, :], 3)


def _brightened(images: Tensor, most: float) -> Tensor:
    """Each of `images` [B, C, H, W] plus one number in [-most, most], cut at -1 and 1."""
    added = most * (2 * _uniform(images) - 1)
    return (images + added.to(images.dtype)).clamp(-1, 1)


def _uniform(images: Tensor) -> Tensor:
    """A uniform number in [0, 1) for each image, [B, 1, 1, 1]; float32 whatever PyTorch's default is."""
    return torch.rand(len(images), 1, 1, 1, dtype=torch.float32, device=images.device)

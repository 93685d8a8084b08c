"""Where a `Trainer` gets its images from: a tensor or `ImageData` that lies on the device, or a DataLoader.

Both kinds put each batch in the same place in memory (`index` into `data`), as a CUDA graph needs it, and neither
waits for the device.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from memgan.data import ImageData

__all__ = ["Batches", "LoadedBatches", "StoredBatches", "batches_from"]

TOLERANCE = 1e-3  # by which resized images may leave [-1, 1]


class StoredBatches:
    """Whole batches of images that are on the device already; each epoch in a new order, drawn on the CPU."""

    def __init__(self, data: ImageData, batch_size: int) -> None:
        number = len(data.images)
        if number < batch_size:
            raise ValueError(f"training needs at least a batch of {batch_size} images, got {number}")
        self.data = data
        self._device = data.images.device
        self._batch_size = batch_size
        self._order = torch.arange(number, device="cpu")
        self._order_on_device = self._order.to(self._device)
        self._position = number  # as after an epoch
        self.index = self._order_on_device[:batch_size].clone()  # the places in `data` of the present batch

    def advance(self) -> None:
        """Go to the next batch."""
        if self._position + self._batch_size > len(self._order):
            self._set_order(torch.randperm(len(self._order), device="cpu"))
            self._position = 0
        start = self._position
        self._position = start + self._batch_size
        self.index.copy_(self._order_on_device[start : self._position])

    def state_dict(self) -> dict[str, Any]:
        """The order of this epoch, on the CPU, and how much of it is done."""
        return {"order": self._order, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was made."""
        self._set_order(state["order"].cpu())
        self._position = state["position"]

    def _set_order(self, order: Tensor) -> None:
        self._order = order
        if self._device.type == "cuda":  # a copy from memory that is not pinned would wait for the device
            order = order.pin_memory()
        self._order_on_device = order.to(self._device, non_blocking=True)


class LoadedBatches:
    """The batches of a DataLoader, epoch after epoch, as images or as pairs of images and labels.

    Batches of another size than the first one, such as an incomplete last one, are left out. The order of the images
    is the loader's, and no part of the state.
    """

    def __init__(self, loader: DataLoader[Any], device: torch.device) -> None:
        self._loader = loader
        self._batches: Iterator[Any] = iter(())
        self._ahead: Tensor | None = self._from_loader()  # the first batch is looked at before training
        number = len(self._ahead)
        if number < 2:
            raise ValueError(f"training needs batches of at least 2 images, the DataLoader gives {number}")
        images = torch.empty(self._ahead.shape, dtype=self._ahead.dtype, device=device)
        self.data = ImageData(images.copy_(self._ahead), torch.zeros(number, dtype=torch.long, device=device))
        self.index = torch.arange(number, device=device)

    def advance(self) -> None:
        """Go to the next batch."""
        images = self._ahead
        self._ahead = None
        if images is None:
            images = self._of_full_size()
        self.data.images.copy_(images, non_blocking=True)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: an order of no images."""
        return {"order": torch.zeros(0, dtype=torch.long, device="cpu"), "position": 0}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin an epoch."""
        if len(state["order"]) > 0:
            raise ValueError("the state is that of training on a tensor, it cannot go on with a DataLoader")
        self._batches = iter(())
        self._ahead = None

    def _of_full_size(self) -> Tensor:
        expected = self.data.images
        while True:
            images = self._from_loader()
            if images.shape[1:] != expected.shape[1:] or images.dtype != expected.dtype:
                found = f"{list(images.shape[1:])} of {images.dtype}"
                raise ValueError(
                    f"the DataLoader began with images {list(expected.shape[1:])} of {expected.dtype}, "
                    f"now it gives {found}"
                )
            if len(images) == len(expected):
                return images

    def _from_loader(self) -> Tensor:
        """The images of the loader's next batch; where an epoch is over, of the first batch of a new one."""
        batch = next(self._batches, None)
        if batch is None:
            self._batches = iter(self._loader)
            batch = next(self._batches, None)
        if batch is None:
            raise ValueError("the DataLoader gives no batch at all")
        images = batch[0] if isinstance(batch, (tuple, list)) else batch
        if not isinstance(images, Tensor):
            raise TypeError(f"the DataLoader must give images or (images, labels), got {type(images).__name__}")
        return images


Batches = StoredBatches | LoadedBatches


def batches_from(
    data: Any, *, batch_size: int, image_shape: tuple[int, ...], device: torch.device, dtype: torch.dtype
) -> Batches:
    """The batches of `data` for a model on `device` with weights of `dtype`, after a look at its images.

    Raises TypeError for what are no images and for a wrong type of numbers, and ValueError for images of another shape
    than `image_shape`, outside [-1, 1], on another device, or too few.
    """
    batches: Batches
    if isinstance(data, DataLoader):
        batches = LoadedBatches(data, device)
    else:
        if isinstance(data, Tensor):
            data = ImageData(data, labels=torch.zeros(len(data), dtype=torch.long, device=data.device))
        if not isinstance(data, ImageData):
            raise TypeError(f"expected images as a tensor, an ImageData or a DataLoader, got {_described(data)}")
        if data.images.device != device:
            raise ValueError(f"the images are on {data.images.device}, the model is on {device}: move one of them")
        batches = StoredBatches(data, batch_size)
    _check_images(batches.data.images, image_shape, dtype)
    return batches


def _check_images(images: Tensor, image_shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tuple(images.shape[1:]) != image_shape:
        raise ValueError(f"expected images of shape {list(image_shape)}, got {list(images.shape[1:])}")
    if images.dtype == torch.uint8:
        return
    if images.dtype not in (torch.float32, dtype):
        raise TypeError(f"expected images of torch.uint8 in 0..255 or of {dtype} in [-1, 1], got {images.dtype}")
    least = float(images.amin())
    most = float(images.amax())
    is_inside = least >= -1 - TOLERANCE and most <= 1 + TOLERANCE  # False for NaN
    if not is_inside:
        raise ValueError(f"floating-point images must lie in [-1, 1], got values from {least:g} to {most:g}")


def _described(data: Any) -> str:
    kind = type(data).__name__
    if kind == "ndarray":
        return "a numpy array: use torch.from_numpy"
    return kind

"""Where a `Trainer` gets its images from: a tensor or `ImageData`, or a DataLoader.

Images lie on the device as a whole, or, where they are too many for a GPU, in the CPU's memory or in a file mapped into
it. Every kind puts each batch in the same place in memory (`index` into `data`), as a CUDA graph needs it, and none
waits for the device.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from memgan.data import ImageData, batch_of
from memgan.data.images import check_values, warn_of_values

__all__ = ["Batches", "LoadedBatches", "StagedBatches", "StoredBatches", "batches_from", "placed"]


class StoredBatches:
    """Whole batches of images that are on the device already; each epoch in a new order, drawn on the CPU."""

    def __init__(self, data: ImageData, batch_size: int) -> None:
        number = len(data.images)
        if number < batch_size:
            raise ValueError(
                f"training needs at least a batch of {batch_size} images, got {number}: "
                f"more images, or a smaller training.batch_size"
            )
        self.data = data
        self._device = data.images.device
        self._batch_size = batch_size
        self._order = torch.arange(number, device="cpu")
        self._order_on_device = self._order.to(self._device)
        self._position = number  # as after an epoch
        self.index = self._order_on_device[:batch_size].clone()  # the places in `data` of the present batch

    def advance(self) -> None:
        """Go to the next batch."""
        start = self._next_start()
        self.index.copy_(self._order_on_device[start : self._position])

    def _next_start(self) -> int:
        """Where in the order the next batch begins; `_position` becomes its end."""
        if self._position + self._batch_size > len(self._order):
            self._set_order(torch.randperm(len(self._order), device="cpu"))
            self._position = 0
        start = self._position
        self._position = start + self._batch_size
        return start

    def spread(self, number: int) -> Iterator[Tensor]:
        """`number` images, or all where there are fewer, evenly spread over all: in batches, in [-1, 1], on the device.

        As they are, neither mirrored nor shifted; digits of affine data stand at a random place, as for every look. The
        present batch and the order stay as they are.
        """
        of_all = len(self._order)
        number = min(number, of_all)
        places = torch.arange(number, device="cpu") * of_all // number
        for some in places.split(self._batch_size):
            yield self._as_they_are(some)

    def _as_they_are(self, places: Tensor) -> Tensor:
        """The images at these places, on the device, in [-1, 1]."""
        return batch_of(self.data, places.to(self._device))

    def state_dict(self) -> dict[str, Any]:
        """The order of this epoch, on the CPU, and how much of it is done."""
        return {"order": self._order, "position": self._position}

    def check_state_dict(self, state: dict[str, Any]) -> None:
        """ValueError for the state of other batches than these."""
        number = len(state["order"])
        if number == 0:
            raise ValueError("the state is that of training on a DataLoader, it cannot go on with a tensor")
        if number != len(self._order):
            raise ValueError(f"the state is that of training on {number} images, there are {len(self._order)}")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was made."""
        self.check_state_dict(state)
        self._set_order(state["order"].cpu())
        self._position = state["position"]

    def _set_order(self, order: Tensor) -> None:
        self._order = order
        if self._device.type == "cuda":  # a copy from memory that is not pinned would wait for the device
            order = order.pin_memory()
        self._order_on_device = order.to(self._device, non_blocking=True)


class StagedBatches(StoredBatches):
    """The same batches of images that stay where they are, on the CPU: each goes to `device` when its turn comes."""

    def __init__(self, data: ImageData, batch_size: int, device: torch.device) -> None:
        super().__init__(data, batch_size)
        self._all = data
        self._is_pinned = device.type == "cuda"
        self.data = self._of(self._order[:batch_size]).to(device)
        self.index = torch.arange(batch_size, device=device)

    def advance(self) -> None:
        """Go to the next batch."""
        start = self._next_start()
        batch = self._of(self._order[start : self._position])
        self._copy(batch.images, self.data.images)
        if batch.source is not None and self.data.source is not None:
            self._copy(batch.source, self.data.source)

    def _as_they_are(self, places: Tensor) -> Tensor:
        some = self._of(places).to(self.data.images.device)
        return batch_of(some, torch.arange(len(places), device=self.data.images.device))

    def _of(self, places: Tensor) -> ImageData:
        """The images at these places, still on the CPU."""
        source = None if self._all.source is None else self._all.source[places]
        return ImageData(self._all.images[places], self._all.labels[places], source)

    def _copy(self, images: Tensor, target: Tensor) -> None:
        if self._is_pinned:  # a copy from memory that is not pinned would wait for the device
            images = images.pin_memory()
        target.copy_(images, non_blocking=True)


class LoadedBatches:
    """The batches of a DataLoader, epoch after epoch, as images or as pairs of images and labels.

    Batches of another size than the first one, such as an incomplete last one, are left out. The order of the images
    is the loader's, and no part of the state. The values of each batch are looked at, unless the loader has put it on
    a GPU, where a look would wait.
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

    def spread(self, number: int) -> Iterator[Tensor]:
        """The first `number` images of a new epoch, or all of it where it has fewer: whole batches, in [-1, 1]."""
        self._batches = iter(())  # the epoch that was under way is given up
        self._ahead = None
        for batch in itertools.islice(self._loader, max(1, number // len(self.index))):
            images = _images_of(batch)
            if images.shape == self.data.images.shape and images.dtype == self.data.images.dtype:
                _check_on_cpu(images)
                self.data.images.copy_(images, non_blocking=True)
                yield batch_of(self.data, self.index)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: an order of no images."""
        return {"order": torch.zeros(0, dtype=torch.long, device="cpu"), "position": 0}

    def check_state_dict(self, state: dict[str, Any]) -> None:
        """ValueError for the state of other batches than a DataLoader's."""
        if len(state["order"]) > 0:
            raise ValueError("the state is that of training on a tensor, it cannot go on with a DataLoader")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin an epoch."""
        self.check_state_dict(state)
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
                _check_on_cpu(images)
                return images

    def _from_loader(self) -> Tensor:
        """The images of the loader's next batch; where an epoch is over, of the first batch of a new one."""
        batch = next(self._batches, None)
        if batch is None:
            self._batches = iter(self._loader)
            batch = next(self._batches, None)
        if batch is None:
            raise ValueError("the DataLoader gives no batch at all")
        return _images_of(batch)


def _images_of(batch: Any) -> Tensor:
    """The images of what a DataLoader gives. Raises TypeError for anything else."""
    images = batch[0] if isinstance(batch, (tuple, list)) else batch
    if not isinstance(images, Tensor):
        raise TypeError(f"the DataLoader must give images or (images, labels), got {type(images).__name__}")
    return images


def _check_on_cpu(images: Tensor) -> None:
    """Look at the values, unless that means to wait for a GPU."""
    if images.device.type == "cpu":
        check_values(images)


Batches = StoredBatches | LoadedBatches


def placed(data: ImageData, device: torch.device) -> ImageData:
    """`data` on `device`, or where it is if it would take more than half of what a GPU has free.

    A `Trainer` takes both: from the CPU's memory each batch is copied when its turn comes, and the run is the same.
    """
    if device.type == "cuda":
        tensors = [data.images, data.labels] + ([] if data.source is None else [data.source])
        free, _ = torch.cuda.mem_get_info(device)
        if sum(tensor.nbytes for tensor in tensors) > free // 2:
            return data
    return data.to(device)


def batches_from(
    data: Any, *, batch_size: int, image_shape: tuple[int, ...], device: torch.device, dtype: torch.dtype
) -> Batches:
    """The batches of `data` for a model on `device` with weights of `dtype`, after a look at its images.

    Raises TypeError for what are no images and for a wrong type of numbers, and ValueError for images of another shape
    than `image_shape`, outside [-1, 1], on another device than the model or the CPU, or too few.
    """
    if isinstance(data, DataLoader):
        loaded = LoadedBatches(data, device)
        _check_images(loaded.data.images, image_shape, dtype)
        return loaded
    if isinstance(data, Tensor):
        data = ImageData(data, labels=torch.zeros(len(data), dtype=torch.long, device=data.device))
    if not isinstance(data, ImageData):
        raise TypeError(f"expected images as a tensor, an ImageData or a DataLoader, got {_described(data)}")
    there = data.images.device
    if there != device and not (there.type == "cpu" and device.type == "cuda"):
        raise ValueError(f"the images are on {there}, the model is on {device}: move one of them")
    _check_images(data.images, image_shape, dtype)
    if there == device:
        return StoredBatches(data, batch_size)
    return StagedBatches(data, batch_size, device)


def _check_images(images: Tensor, image_shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if len(images) == 0:
        raise ValueError("training needs at least a batch of images, got none")
    if tuple(images.shape[1:]) != tuple(image_shape):
        raise ValueError(f"expected images of shape {list(image_shape)}, got {list(images.shape[1:])}")
    if images.dtype not in (torch.uint8, torch.float32, dtype):
        raise TypeError(f"expected images of torch.uint8 in 0..255 or of {dtype} in [-1, 1], got {images.dtype}")
    check_values(images)
    warn_of_values(images, stacklevel=4)


def _described(data: Any) -> str:
    kind = type(data).__name__
    if kind == "ndarray":
        return "a numpy array: use torch.from_numpy"
    return kind

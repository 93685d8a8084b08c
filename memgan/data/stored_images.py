"""Decoded images that do not fit into memory: kept in a file of the cache, and mapped into memory from there.

A folder of photographs is decoded once. Later loads take no time, and the system reads from the file what a batch asks
for. The file may be deleted at any time; it is made anew when it is needed.
"""

import json
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memgan.data.images import ImageData
from memgan.files import cache_folder, written_whole

__all__ = ["Loaded", "describe", "in_file", "in_memory", "stored"]


class Loaded(NamedTuple):
    """Images, and what was to be said when they were read."""

    data: ImageData
    left_out: dict[str, str]  # the files that could not be read, with the reason
    remarks: list[str]


def in_memory(shape: tuple[int, ...], images: Iterator[NDArray[np.uint8]]) -> Tensor:
    """The images in one tensor; `shape` [n, C, H, W] is that of all, of which some may be missing."""
    pixels = np.empty(shape, np.uint8)
    number = 0
    for image in images:
        pixels[number] = image
        number += 1
    return torch.from_numpy(pixels[:number])


def in_file(key: str, shape: tuple[int, ...], images: Iterator[NDArray[np.uint8]]) -> Tensor:
    """The same in a file of the cache. Raises ValueError where it has no room there."""
    path = _path(key, ".npy")
    number = math.prod(shape)
    size = f"{shape[0]:,} images of {shape[1]} x {shape[2]} x {shape[3]} bytes take {_gib(number)}"
    advice = "choose a smaller size, or set MEMGAN_CACHE to a folder with more room"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if number > free:
            raise ValueError(f"{size}, and {path.parent} has room for {_gib(free)}: {advice}")
        print(f"{size}: writing them once into {path} ...", file=sys.stderr, flush=True)
        with written_whole(path) as unfinished, open(unfinished, "wb") as file:
            _write_header(file, shape)
            written = 0
            for image in images:
                file.write(np.ascontiguousarray(image).data)
                written += 1
            file.seek(0)
            _write_header(file, (written, *shape[1:]))  # of the same length: numpy leaves room for the first number
    except OSError as error:
        raise ValueError(f"{size}, and they cannot be written into {path}: {error}; {advice}") from error
    return _mapped(path)


def describe(key: str, loaded: Loaded) -> None:
    """Write what belongs to the images of `in_file`, so that `stored` finds them."""
    content = {
        "labels": loaded.data.labels.tolist(),
        "class_names": loaded.data.class_names,
        "left_out": loaded.left_out,
        "remarks": loaded.remarks,
    }
    with written_whole(_path(key, ".json")) as unfinished:
        unfinished.write_text(json.dumps(content), encoding="utf-8")


def stored(key: str) -> Loaded | None:
    """The images that were stored under this key; None where there are none, or where they are damaged."""
    try:
        content = json.loads(_path(key, ".json").read_bytes())
        images = _mapped(_path(key, ".npy"))
        labels = torch.tensor(content["labels"], dtype=torch.int64)
        if len(images) != len(labels):
            return None
        names = content["class_names"]
        data = ImageData(images, labels, class_names=None if names is None else tuple(names))
        return Loaded(data, content["left_out"], content["remarks"])
    except Exception:  # a damaged file can make the readers raise anything; it is replaced by a new one
        return None


def _mapped(path: Path) -> Tensor:
    """The images in a file, mapped: what is written into the tensor does not reach the file."""
    return torch.from_numpy(np.lib.format.open_memmap(path, mode="c"))


def _path(key: str, ending: str) -> Path:
    return cache_folder(without_home=Path(tempfile.gettempdir()) / "memgan") / f"images-{key}{ending}"


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _gib(number: int) -> str:
    return f"{number / 2**30:,.1f} GiB"

"""Folders of images, by the conventions of `torchvision.datasets.ImageFolder`.

Every folder in the folder is a class, classes are numbered in the order of their names, images lie at any depth
inside, and links are followed. `ImageFolder` itself would refuse a folder without classes, which is all that a GAN
needs; it knows neither GIF nor other formats that Pillow reads, neither turns photographs upright nor scales 16 bits,
numbers the classes of a training and of a test folder apart, and follows a link that leads back up until the path is
too long.
"""

import os
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from memgan.data.images import ImageData
from memgan.extras import required

__all__ = ["load_folder"]

TEST_SHARE = 10  # one in so many images is for testing, where a folder does not say which
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")  # of Pillow


class _ImageFile(NamedTuple):
    path: Path
    split: str  # "train" or "test"
    kind: str  # the name of its class; "" for an image outside of all class folders


class _Picture(NamedTuple):
    pixels: NDArray[np.uint8] | None  # [size, size, 3]; None where only the mode was asked for
    mode: str  # Pillow's, as stored


def load_folder(folder: Path, split: str, size: int, strict: bool) -> ImageData:
    """The images of a folder that Pillow reads, upright, resized and cropped at the centre.

    Folders "train" and "test" are the splits. Without them, a checksum of each image's path chooses a tenth for
    testing, so that no image changes sides when others come. The images are grey if each file, of both splits, is
    stored in grey. Images outside of all class folders form a class of their own, the first.

    Args:
        folder: where the images are.
        split: "train" or "test".
        size: pixels along each side of the images that are returned.
        strict: refuse files that cannot be read, which are otherwise named on stderr and left out.

    Returns:
        Images [n, C, size, size] uint8 in the order of their paths, C being 1 or 3, and the numbers of their classes.

    Raises:
        ValueError: where there are no images, and for a file that cannot be read if `strict`.
    """
    with required("lab", "a folder of images"):
        import PIL.Image  # noqa: F401  (here, so that the library that is missing is no broken image)

    files = _image_files(folder)
    classes = sorted({file.kind for file in files})
    pixels: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    modes: set[str] = set()
    for file in files:
        try:
            picture = _read(file.path, size if file.split == split else None)
        except Exception as error:  # whatever a decoder makes of a broken file
            if strict:
                raise ValueError(f"{file.path} cannot be read: {error}") from error
            if file.split == split:
                print(f"left out {file.path}: {error}", file=sys.stderr)
            continue
        modes.add(picture.mode)
        if picture.pixels is not None:
            pixels.append(picture.pixels)
            labels.append(classes.index(file.kind))
    if not pixels:
        raise ValueError(
            f"no images for {split!r} in {folder}: expected PNG, JPEG or other images, in subfolders or not"
        )
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    channels = 1 if modes <= set(GREY_MODES) else 3
    return ImageData(images[:, :channels].contiguous(), torch.tensor(labels, dtype=torch.int64))


def _image_files(folder: Path) -> list[_ImageFile]:
    """Every image file of both splits, with its split and its class, in the order of the paths."""
    files: list[_ImageFile] = []
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        for split in ("test", "train"):
            for name in _image_names(folder / split):
                files.append(_ImageFile(folder / split / name, split, _kind(name)))
        return files
    for name in _image_names(folder):
        checksum = zlib.crc32(name.as_posix().encode())
        split = "test" if checksum % TEST_SHARE == 0 else "train"
        files.append(_ImageFile(folder / name, split, _kind(name)))
    return files


def _kind(name: Path) -> str:
    """The class of an image, from its path below the folder of the classes: the first folder on the way."""
    return name.parts[0] if len(name.parts) > 1 else ""


def _image_names(folder: Path) -> list[Path]:
    """The paths, from `folder`, of all files below it whose endings are those of formats that Pillow opens; sorted."""
    from PIL import Image

    endings = {ending for ending, form in Image.registered_extensions().items() if form in Image.OPEN}
    names = []
    for place, folders, files in os.walk(folder, followlinks=True):
        here = Path(place)
        folders[:] = [name for name in folders if not _leads_back(here / name)]
        names += [(here / name).relative_to(folder) for name in files if Path(name).suffix.lower() in endings]
    return sorted(names)


def _leads_back(folder: Path) -> bool:
    """Whether `folder` is a link to a folder that it lies in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _read(path: Path, size: int | None) -> _Picture:
    """The image in the file `path`, or, without a `size`, only its mode, for which its header is enough."""
    from PIL import Image, ImageOps

    with Image.open(path) as stored:
        if size is None:
            return _Picture(None, stored.mode)
        upright = ImageOps.exif_transpose(stored)
        if stored.mode.startswith("I"):  # 16 bits, which Pillow would cut at 255
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        fitted = ImageOps.fit(upright.convert("RGB"), (size, size))
        return _Picture(np.asarray(fitted), stored.mode)

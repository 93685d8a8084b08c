"""Folders of images, by the conventions of `torchvision.datasets.ImageFolder`.

Every folder in the folder is a class, classes are numbered in the order of their names, images lie at any depth
inside, and links are followed. `ImageFolder` itself would refuse a folder without classes, which is all that a GAN
needs; it knows neither GIF nor other formats that Pillow reads, neither turns photographs upright nor scales 16 bits
nor lays transparent pixels on a background, takes hidden folders for classes, numbers the classes of a training and of
a test folder apart, and follows a link that leads back up until the path is too long.
"""

import hashlib
import math
import os
import stat
import statistics
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from memgan.data import stored_images
from memgan.data.images import ImageData
from memgan.data.stored_images import Loaded
from memgan.extras import required

__all__ = ["load_folder", "typical_side"]

RECIPE = 3  # part of the name of stored images: to be raised with every change that moves a pixel or a label
TEST_SHARE = 10  # one in so many images is for testing, where a folder does not say which
IN_MEMORY = 2**30  # bytes of images that are held in memory; more are kept in a file
LOOKED_AT = 100  # images whose size is looked at for the typical one

# What folders of splits are called, in small letters
TRAINING = ("train", "training")
TESTING = ("test", "testing")
VALIDATION = ("val", "valid", "validation")
SPLITS = TRAINING + TESTING + VALIDATION

# What systems and programs leave in folders, beside hidden files and folders; in small letters
LEFTOVERS = (
    "__macosx",
    "__pycache__",
    "@eadir",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "lost+found",
    "system volume information",
)


class _Found(NamedTuple):
    """What lies below a folder."""

    files: dict[Path, tuple[int, int]]  # with endings of pictures, from the folder, sorted: bytes, and time of change
    problems: dict[Path, str]  # what could not be looked into, and why


class _Layout(NamedTuple):
    """What the folders on the way to an image mean."""

    depth: int  # of the folder that holds the splits or the classes
    splits: dict[str, str]  # "train" or "test" for the name of each folder of a split; empty where there are none
    class_first: bool  # whether the splits lie in the classes, and not the classes in the splits


class _ImageFile(NamedTuple):
    name: Path  # from the folder
    split: str  # "train", "test", or "" for an image beside the folders of the splits
    kind: str  # the name of its class; "" for an image outside of all class folders


class _LeftOut:
    """Names what cannot be read, and why, and goes on; or, if `strict`, raises ValueError at the first of them."""

    def __init__(self, folder: Path, strict: bool) -> None:
        self.reasons: dict[str, str] = {}
        self._folder = folder
        self._strict = strict

    def add(self, name: Path, reason: object) -> None:
        """Name a file on stderr, once, or raise."""
        path = self._folder / name
        if self._strict:
            raise ValueError(f"{path} cannot be read: {reason}")
        if str(name) not in self.reasons:
            print(f"left out {path}: {reason}", file=sys.stderr)
            self.reasons[str(name)] = str(reason)


class _Reader:
    """Reads the pictures of a folder, and remembers which of them can be read."""

    def __init__(self, folder: Path, background: str) -> None:
        from memgan.data import pictures

        self._pictures = pictures
        self._folder = folder
        self._background = pictures.colour(background)
        self._problems: dict[Path, str] = {}  # why a picture cannot be read; "" for one that can

    def is_grey(self, name: Path) -> bool:
        """Whether the picture is stored in grey; raises whatever a decoder makes of a broken header."""
        return self._pictures.is_grey(self._folder / name, self._background)

    def read(self, name: Path, size: int) -> NDArray[np.uint8]:
        """The picture [size, size, 3]; raises whatever a decoder makes of a broken file."""
        return self._pictures.read_picture(self._folder / name, size, self._background)

    def is_readable(self, name: Path) -> bool:
        """Whether the picture can be read to its end."""
        return self.problem(name) == ""

    def problem(self, name: Path) -> str:
        """Why the picture cannot be read to its end; "" where it can."""
        if name not in self._problems:
            try:
                self.read(name, size=1)
                self._problems[name] = ""
            except Exception as error:  # whatever a decoder makes of a broken file
                self._problems[name] = str(error) or "no more than its header can be read"
        return self._problems[name]

    def any_readable(self, names: Iterable[Path]) -> bool:
        """Whether one of the pictures can be read to its end. No more are tried than it takes to know."""
        return any(self.is_readable(name) for name in names)


def load_folder(folder: Path, split: str, size: int, strict: bool, background: str) -> ImageData:
    """The images of a folder that Pillow reads, upright, resized and cropped at the centre.

    Folders "train" and "test" (or "val") are the splits, in any case of letters. Without them, a checksum of each
    image's path chooses a tenth for testing, so that no image changes sides when others come; but of two images or
    more, one at least is for testing and one for training. The images are grey if each file, of both splits, is stored
    in grey. Hidden files and folders are passed over, and so is what systems leave behind. Images beside two class
    folders or more are left out. A class counts if one of its images can be read.

    Args:
        folder: where the images are.
        split: "train" or "test".
        size: pixels along each side of the images that are returned.
        strict: refuse files that cannot be read, which are otherwise named on stderr and left out.
        background: the colour on which transparent pixels are laid.

    Returns:
        Images [n, C, size, size] uint8 in the order of their paths, C being 1 or 3, with the numbers and the names of
        their classes. More than 1 GiB of them are kept in a file, which is mapped into memory.

    Raises:
        ValueError: where there is no such folder, where it has no images, for more images than there is room for, and
            for a file that cannot be read if `strict`.
    """
    with required("lab", "a folder of images"):
        import PIL.Image  # noqa: F401  (here, so that the library that is missing is no broken image)

    found = _found(folder)
    left_out = _LeftOut(folder, strict)
    for name, reason in found.problems.items():
        left_out.add(name, reason)
    key = _key(folder, found, (split, str(size), background))
    loaded = stored_images.stored(key)
    if loaded is None:
        loaded = _loaded(folder, found, split, size, _Reader(folder, background), key, left_out)
    for earlier, reason in loaded.left_out.items():
        left_out.add(Path(earlier), reason)
    for remark in loaded.remarks:
        print(remark, file=sys.stderr)
    return loaded.data


def typical_side(folder: Path) -> int:
    """Pixels along the shorter side of a typical image in a folder: the median of up to a hundred; 0 without images."""
    with required("lab", "a folder of images"):
        from memgan.data import pictures

    names = list(_found(folder).files)
    every = max(1, len(names) // LOOKED_AT)
    sides = []
    for name in names[::every]:
        try:
            sides.append(pictures.shorter_side(folder / name))
        except Exception:  # whatever a decoder makes of a broken file
            continue
    return int(statistics.median(sides)) if sides else 0


# ---------------------------------------------------------------- what is there


def _found(folder: Path) -> _Found:
    """The files below a folder that may be pictures. Raises ValueError where the folder itself cannot be read."""
    from memgan.data import pictures

    try:
        top = os.stat(folder)
        os.listdir(folder)
    except FileNotFoundError as error:
        raise ValueError(f"there is no folder {folder}") from error
    except NotADirectoryError as error:
        raise ValueError(f"{folder} is a file, expected a folder of images") from error
    except (OSError, ValueError) as error:  # the latter for a path that no system can have
        raise ValueError(f"the folder {folder} cannot be read: {error}") from error
    endings = pictures.endings()
    files: dict[Path, tuple[int, int]] = {}
    problems: dict[Path, str] = {}
    to_do = [(Path(), [_identity(top)])]  # folders, each with those that it lies in
    while to_do:
        place, above = to_do.pop()
        try:
            names = sorted(os.listdir(folder / place))
        except OSError as error:
            problems[place] = error.strerror or str(error)
            continue
        for name in names:
            if _is_leftover(name):
                continue
            path = place / name
            try:
                status = os.stat(folder / path)
            except OSError as error:  # such as a link that leads nowhere
                problems[path] = error.strerror or str(error)
                continue
            if stat.S_ISDIR(status.st_mode):
                if _identity(status) not in above:  # else a link that leads back up
                    to_do.append((path, [*above, _identity(status)]))
            elif path.suffix.lower() in endings:
                if stat.S_ISREG(status.st_mode):
                    files[path] = (status.st_size, status.st_mtime_ns)
                else:
                    problems[path] = "it is no file"
    return _Found({path: files[path] for path in sorted(files)}, problems)


def _is_leftover(name: str) -> bool:
    """Whether a file or folder is hidden, or one of those that systems leave behind."""
    return name.startswith(".") or name.lower() in LEFTOVERS


def _identity(status: os.stat_result) -> tuple[int, int]:
    """What tells a folder from all others."""
    return status.st_dev, status.st_ino


def _key(folder: Path, found: _Found, choices: tuple[str, ...]) -> str:
    """A name for the images of a folder under the choices made; another one as soon as a file changes."""
    digest = hashlib.sha256()
    for part in (str(RECIPE), os.path.realpath(folder), *choices):
        digest.update(os.fsencode(part) + b"\0")
    for name, (size, changed) in found.files.items():
        digest.update(os.fsencode(name) + f"\0{size} {changed}\0".encode())
    return digest.hexdigest()[:16]


# ---------------------------------------------------------------- what the folders mean


def _layout(names: list[Path]) -> _Layout:
    """Where the splits and the classes are.

    The splits lie in the folder (train/cat/1.png), in the only folder in it (pets/train/cat/1.png), or in the classes
    (cat/train/1.png). Where one split is all that there is, it holds the images of both.
    """
    folders = [name.parts[:-1] for name in names]
    depth = 0
    while _is_wrapped(folders, depth):
        depth += 1
    splits = _splits(_names_at(folders, depth))
    if splits:
        return _Layout(depth, splits, class_first=False)
    inner = _names_at(folders, depth + 1)
    if all(name.lower() in SPLITS for name in inner):
        splits = _splits(inner)
    return _Layout(depth, splits, class_first=bool(splits))


def _is_wrapped(folders: list[tuple[str, ...]], depth: int) -> bool:
    """Whether all images lie in a single folder at this depth which is no class: a split, or one that holds splits."""
    names = _names_at(folders, depth)
    if len(names) != 1 or "" in names:
        return False
    is_split = names.pop().lower() in SPLITS
    return is_split or bool(_splits(_names_at(folders, depth + 1)))


def _names_at(folders: list[tuple[str, ...]], depth: int) -> set[str]:
    """The names of the folders at a depth; "" stands for images that lie less deep."""
    return {parts[depth] if len(parts) > depth else "" for parts in folders}


def _splits(names: set[str]) -> dict[str, str]:
    """Which split each of these folders is. None, unless one is for training and one for testing or validation."""
    training = [name for name in names if name.lower() in TRAINING]
    testing = [name for name in names if name.lower() in TESTING]
    validation = [name for name in names if name.lower() in VALIDATION]
    other = testing or validation
    if not training or not other:
        return {}
    return dict.fromkeys(training, "train") | dict.fromkeys(other, "test")


def _placed(name: Path, layout: _Layout) -> _ImageFile:
    """An image with its split and its class."""
    folders = name.parts[layout.depth : -1]
    first = folders[0] if folders else ""
    second = folders[1] if len(folders) > 1 else ""
    if not layout.splits:
        split = "test" if _checksum(name) % TEST_SHARE == 0 else "train"
        return _ImageFile(name, split, first)
    if layout.class_first:
        return _ImageFile(name, layout.splits.get(second, ""), first)
    return _ImageFile(name, layout.splits.get(first, ""), second)


def _checksum(name: Path) -> int:
    return zlib.crc32(os.fsencode(name.as_posix()))  # a name need not be UTF-8


def _with_both_splits(files: list[_ImageFile], reader: _Reader) -> list[_ImageFile]:
    """The images, with one moved to the other split where the checksums left a split without any."""
    names: dict[str, list[Path]] = {"train": [], "test": []}
    for file in files:
        names[file.split].append(file.name)
    if reader.any_readable(names["train"]) and reader.any_readable(names["test"]):
        return files
    readable = [file.name for file in files if reader.is_readable(file.name)]
    readable.sort(key=lambda name: (_checksum(name) % TEST_SHARE, _checksum(name)))
    for_testing = readable[:1] if len(readable) > 1 else []
    return [file._replace(split="test" if file.name in for_testing else "train") for file in files]


# ---------------------------------------------------------------- reading


def _loaded(
    folder: Path, found: _Found, split: str, size: int, reader: _Reader, key: str, left_out: _LeftOut
) -> Loaded:
    """The images of a split, from their files."""
    is_grey: dict[Path, bool] = {}
    broken: dict[Path, str] = {}
    for name in found.files:
        try:
            is_grey[name] = reader.is_grey(name)
        except Exception as error:  # whatever a decoder makes of a broken file
            broken[name] = str(error)
    layout = _layout(list(is_grey))
    for name, reason in broken.items():
        if (_placed(name, layout).split or "train") == split:  # named once, and not with both splits
            left_out.add(name, reason)

    files = [_placed(name, layout) for name in is_grey]
    if not layout.splits:
        files = _with_both_splits(files, reader)
    remarks = []
    beside = [file for file in files if not file.split]
    if beside:
        remarks.append(f"left out {_places(folder, beside)}: beside the folders {' and '.join(sorted(layout.splits))}")
        files = [file for file in files if file.split]
    classes = _classes(files, reader)
    if len(classes) > 1:
        stray = [file for file in files if not file.kind]
        if stray:
            remarks.append(f"left out {_places(folder, stray)}: beside the folders of the classes")
            files = [file for file in files if file.kind]
    own = [file for file in files if file.split == split]
    if not reader.any_readable(file.name for file in own):
        for file in own:
            left_out.add(file.name, reader.problem(file.name))
        raise ValueError(_nothing(folder, split, files, reader))
    coloured = (file.name for file in files if not is_grey[file.name])
    channels = 3 if reader.any_readable(coloured) else 1

    labels: list[int] = []

    def decoded() -> Iterator[NDArray[np.uint8]]:
        for file in own:
            try:
                pixels = reader.read(file.name, size)
            except MemoryError:
                raise
            except Exception as error:
                left_out.add(file.name, error)
                continue
            labels.append(classes.index(file.kind) if classes else 0)
            yield pixels.transpose(2, 0, 1)[:channels]

    shape = (len(own), channels, size, size)
    in_memory = math.prod(shape) <= IN_MEMORY
    images = stored_images.in_memory(shape, decoded()) if in_memory else stored_images.in_file(key, shape, decoded())
    data = ImageData(images, torch.tensor(labels, dtype=torch.int64), class_names=tuple(classes) or None)
    loaded = Loaded(data, left_out.reasons, remarks if split == "train" else [])
    if not in_memory:
        stored_images.describe(key, loaded)
    return loaded


def _classes(files: list[_ImageFile], reader: _Reader) -> list[str]:
    """The names of the classes in order; none where the images are not sorted into folders.

    One folder and images beside it are no classes.
    """
    names: dict[str, list[Path]] = {}
    for file in files:
        names.setdefault(file.kind, []).append(file.name)
    found = sorted(kind for kind in names if reader.any_readable(names[kind]))
    named = [kind for kind in found if kind]
    if len(named) == 1 and "" in found:
        return []
    return named


def _places(folder: Path, files: list[_ImageFile]) -> str:
    """How many images, and where: "3 images in pets/val, pets/old"."""
    places = sorted({str(folder / file.name.parent) for file in files})
    shown = ", ".join(places[:3]) + (", ..." if len(places) > 3 else "")
    return f"{len(files):,} {'image' if len(files) == 1 else 'images'} in {shown}"


def _nothing(folder: Path, split: str, files: list[_ImageFile], reader: _Reader) -> str:
    """Why there is no image in a split."""
    start = f"no images for {split!r} in {folder}"
    if split == "test" and reader.any_readable(file.name for file in files):
        return (
            f"{start}: of its images that can be read none is left for testing; add images, or folders train and test"
        )
    return f"{start}: expected PNG, JPEG or other images, in subfolders or not"

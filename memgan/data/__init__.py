"""Images to train on: one function loads them by name, another cuts batches from them."""

import gzip
import os
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["DATASETS", "ImageData", "as_float", "batch_of", "load_dataset"]

DATASETS = ("affine-mnist", "cifar10", "digits", "fashion-mnist", "mnist")
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package dataset-fashion-mnist puts its files


class ImageData(NamedTuple):
    """Images and what they show. The labels are for evaluation only: training never sees them."""

    images: Tensor  # [n, C, H, W] uint8 in 0..255, or float32 in [-1, 1]
    labels: Tensor  # [n] int64
    source: Tensor | None = None  # [n, 1, 28, 28] uint8: digits that are moved anew at each visit (affine-mnist)

    def to(self, device: torch.device | str) -> "ImageData":
        source = None if self.source is None else self.source.to(device)
        return ImageData(self.images.to(device), self.labels.to(device), source)


def load_dataset(
    name: str, root: str | Path | None = None, split: str = "train", download: bool = False,
    *, size: int | None = None, strict: bool = False,
) -> ImageData:  # fmt: skip
    """The "train" or "test" split of digits, mnist, fashion-mnist, cifar10, affine-mnist or folder:PATH, on the CPU.

    Files are looked for under `root` ($MEMGAN_DATA, else ./data), where torchvision keeps them, and fetched only with
    `download`. A folder's images are cut to `size` pixels a side, or 32; with `strict` none of them may be broken.
    Raises ValueError, which says what to do, for what is unknown, missing, damaged or of another size.
    """
    if split not in ("train", "test") or (size is not None and size < 1):
        raise ValueError(f"expected split 'train' or 'test', got {split!r}, and a size of at least 1, got {size}")
    if name.startswith("folder:"):
        return _folder(Path(name.removeprefix("folder:")).expanduser(), split, 32 if size is None else size, strict)
    if name not in DATASETS:
        raise ValueError(f"no data set {name!r} here, expected one of {', '.join(DATASETS)} or 'folder:PATH'")
    root = Path(root or os.environ.get("MEMGAN_DATA") or "data").expanduser()
    data = _digits(split) if name == "digits" else _stored(name, root, split, download)
    if name == "affine-mnist":  # `images` hold each digit once, under a map of a fixed seed
        seeded = torch.Generator().manual_seed(int(split == "test"))
        images = torch.cat([_moved(part, seeded) for part in data.images.split(1000)])
        data = ImageData(images, data.labels, source=data.images)
    if size not in (None, data.images.shape[-1]):
        raise ValueError(f"images of {name} have {data.images.shape[-1]} pixels a side, got size {size}")
    return data


def as_float(images: Tensor) -> Tensor:
    """Images in [-1, 1]: bytes become x / 127.5 - 1 in float32; what is float already passes through."""
    return images if images.is_floating_point() else images.to(torch.float32) / 127.5 - 1


def batch_of(data: ImageData, index: Tensor, *, flip: bool = False, brightness: float = 0.0, shift: int = 0) -> Tensor:
    """The images of `index` [B] as float32 [B, C, H, W] on the data's device, each changed at random as asked.

    `flip` mirrors half of them left to right; `shift` moves each by up to so many pixels either way, edges repeated;
    `brightness` adds up to so much to each or takes it away (1 leads from grey to white), and cuts at -1 and 1. What
    is off draws no random numbers. Nothing waits for the device, and shapes depend on the arguments alone.
    """
    if shift < 0 or brightness < 0:
        raise ValueError(f"expected shift >= 0 and brightness >= 0, got {shift} and {brightness}")
    images = as_float(data.images[index] if data.source is None else _moved(data.source[index]))
    batch, _, height, width = images.shape
    if flip:
        images = torch.where(torch.rand(batch, 1, 1, 1, device=images.device) < 0.5, images.flip(3), images)
    if shift:
        down, right = torch.randint(-shift, shift + 1, (2, batch, 1), device=images.device)  # where each is cut out
        rows = (torch.arange(height, device=images.device) + down).clamp(0, height - 1)
        columns = (torch.arange(width, device=images.device) + right).clamp(0, width - 1)
        images = images.take_along_dim(rows[:, None, :, None], 2).take_along_dim(columns[:, None, None, :], 3)
    if brightness:
        images = (images + brightness * (2 * torch.rand(batch, 1, 1, 1, device=images.device) - 1)).clamp(-1, 1)
    return images


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


def _stored(name: str, root: Path, split: str, download: bool) -> ImageData:
    """MNIST (LeCun et al., 1998), Fashion-MNIST (Xiao et al., 2017) or CIFAR-10 (Krizhevsky, 2009), by torchvision.

    It checks the MD5 of what it downloads and of CIFAR-10's files; gzip checks Debian's, which are read in place.
    """
    kind = {"cifar10": "CIFAR10", "fashion-mnist": "FashionMNIST"}.get(name, "MNIST")
    folder = root / ("cifar-10-batches-py" if kind == "CIFAR10" else kind)
    try:
        if kind == "FashionMNIST" and DEBIAN.is_dir() and not folder.is_dir():
            folder, start = DEBIAN, "train" if split == "train" else "t10k"
            packed = (DEBIAN / f"{start}-{content}-ubyte.gz" for content in ("images-idx3", "labels-idx1"))
            raw = [np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8) for file in packed]
            pixels, labels = torch.tensor(raw[0][16:].reshape(-1, 28, 28)), torch.tensor(raw[1][8:])
        else:
            import torchvision

            data = getattr(torchvision.datasets, kind)(root, train=split == "train", download=download)
            pixels, labels = torch.as_tensor(data.data), torch.as_tensor(data.targets)
        images = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()
        if len(images) != len(labels) or images.shape[2] not in (28, 32) or not 0 <= int(labels.max()) <= 9:
            raise ValueError(f"{[*images.shape]} images and {len(labels)} labels up to {labels.max()}")
    except Exception as error:  # the network, a checksum, or whatever a reader makes of damaged bytes
        advice = "--download (download=True) fetches what is missing; delete or replace first what is damaged"
        raise ValueError(f"{folder} is missing or damaged ({type(error).__name__}: {error}); {advice}") from error
    return ImageData(images, labels.long())


def _moved(digits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """`digits` [B, 1, 28, 28] on 40x40, each under its own map: rotated, sheared, scaled in x and in y, shifted.

    The ranges are affNIST's (T. Tieleman, 2013): 20 degrees and 0.2 either way, 0.8 to 1.2, and anywhere where the
    whole digit stays in sight. The authors' code only rotates (by whole degrees) and shifts (by 0 to 11 pixels).
    """
    draws = 2 * torch.rand(6, len(digits), 1, 1, generator=generator, device=digits.device) - 1
    angle, shear, wide, high = (20 * draws[0]).deg2rad(), 0.2 * draws[1], 1 + 0.2 * draws[2], 1 + 0.2 * draws[3]
    cos, sin = angle.cos(), angle.sin()
    along = torch.stack([wide * cos, high * (shear * cos + sin)])  # what a step in x adds to the place (x, y)
    across = torch.stack([-wide * sin, high * (cos - shear * sin)])  # and what a step in y adds
    pixel = torch.arange(28, device=digits.device) - 13.5
    ink = torch.where(digits[:, 0] > 0, along * pixel + across * pixel[:, None], 0)  # the centre counts as ink
    least, most = ink.amin((2, 3), keepdim=True), ink.amax((2, 3), keepdim=True)
    room = 20.5 - (most - least) / 2 - along.abs() - across.abs()  # the last two: interpolation spreads the ink
    right, down = draws[4:] * room.clamp(min=0) - (least + most) / 2
    canvas = torch.arange(40, device=digits.device) - 19.5
    x, y = canvas - right, canvas[:, None] - down
    # the inverse map, written out: autocast would round the matrix product of F.affine_grid
    back = ((cos - shear * sin) / wide * x + sin / high * y, cos / high * y - (shear * cos + sin) / wide * x)
    moved = F.grid_sample(digits.float(), torch.stack(back, dim=-1) / 14, align_corners=False)
    return moved.round().to(torch.uint8)


def _folder(path: Path, split: str, size: int, strict: bool) -> ImageData:
    """The images under `path` that PIL reads, upright, resized and cropped at the centre; each subfolder is a class.

    Folders "train" and "test" are the splits; without them a tenth, chosen by a checksum of the names, is for testing:
    no image changes sides when others come. The images are grey if each file, of both splits, is stored in grey.
    """
    from PIL import Image, ImageOps

    known = {ending for ending, form in Image.registered_extensions().items() if form in Image.OPEN}
    files = sorted(file.relative_to(path) for file in path.rglob("*") if file.suffix.lower() in known)
    ready = (path / "train").is_dir() and (path / "test").is_dir()
    kinds = [(*file.parts[ready:-1], "")[0] for file in files]
    classes, pixels, labels, modes = sorted(set(kinds)), [], [], set()
    for file, kind in zip(files, kinds, strict=True):
        half = file.parts[0] if ready else "train" if zlib.crc32(file.as_posix().encode()) % 10 else "test"
        try:
            with Image.open(path / file) as picture:
                modes.add(picture.mode)
                if half == split:
                    whole = ImageOps.exif_transpose(picture)
                    if picture.mode[0] == "I":  # 16 bits, which PIL would cut at 255
                        whole = Image.fromarray((np.asarray(whole) >> 8).astype(np.uint8))
                    pixels.append(np.asarray(ImageOps.fit(whole.convert("RGB"), (size, size))))
                    labels.append(classes.index(kind))
        except Exception as error:  # whatever a decoder makes of a broken file
            if strict:
                raise ValueError(f"{path / file} cannot be read: {error}") from error
            if half == split:
                print(f"left out {path / file}: {error}", file=sys.stderr)
    if not pixels:
        raise ValueError(f"no images for {split!r} in {path}: expected PNG, JPEG or other images, in subfolders or not")
    images = torch.tensor(np.stack(pixels)).permute(0, 3, 1, 2)
    coloured = any(mode[0] not in "1LIF" for mode in modes)
    return ImageData(images[:, : 3 if coloured else 1].contiguous(), torch.tensor(labels))

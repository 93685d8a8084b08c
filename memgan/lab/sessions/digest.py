"""Are these the images that a run was begun with? A digest says so, wherever they lie."""

import hashlib

import torch
from torch import Tensor

from memgan.data import ImageData

__all__ = ["digest_of"]


def digest_of(data: ImageData) -> str:
    """A digest of all that training sees of `data`: its images, or the digits that are moved anew at each visit.

    It is the same on every device. Labels do not count, because training never sees them.
    """
    images = data.images if data.source is None else data.source
    digest = hashlib.sha256(f"{list(images.shape)} {images.dtype}".encode())
    for part in images.split(4096):
        digest.update(_bytes_of(part))
    return digest.hexdigest()


def _bytes_of(images: Tensor) -> bytes:
    return images.cpu().contiguous().view(torch.uint8).numpy().tobytes()

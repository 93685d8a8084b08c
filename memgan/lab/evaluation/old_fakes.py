"""What did the generator make earlier in its training? Images that a run keeps, to ask its last discriminator about."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from memgan.gan import AdversarialModel
from memgan.runs import OLD_FAKES, read_tensors

__all__ = ["OldFakes", "old_fakes_of"]


class OldFakes(NamedTuple):
    """What the generator made at some moments of its training."""

    images: Tensor  # [moments, n, C, H, W] uint8
    steps: Tensor  # [moments]


def old_fakes_of(run: Path, gan: AdversarialModel) -> OldFakes | None:
    """The old fakes that training left in a run's folder; None where there are none. Nothing in the file is executed.

    Raises ValueError for a damaged file and for images of another shape than the model's.
    """
    path = run / OLD_FAKES
    if not path.is_file():
        return None
    try:
        content = read_tensors(path)
        fakes = OldFakes(content["images"], content["steps"])
        moments, _, *image_shape = fakes.images.shape
        expected = moments == len(fakes.steps) and tuple(image_shape) == tuple(gan.image_shape or ())
    except Exception as error:  # it is damaged, may not be opened, or holds something else
        raise ValueError(f"{path} cannot be read: {error}; without it, nothing is said about forgetting") from error
    if not expected or fakes.images.dtype != torch.uint8:
        shape = list(fakes.images.shape)
        raise ValueError(f"{path} holds {shape} {fakes.images.dtype}, expected [moments, n, *{gan.image_shape}] bytes")
    return fakes

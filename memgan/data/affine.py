"""Affine-MNIST: each digit rotated, sheared, scaled and moved on a larger canvas.

The ranges are those of affNIST (T. Tieleman, 2013): 20 degrees and a shear of 0.2 either way, a scale of 0.8 to 1.2 in
x and in y, and every translation that keeps the whole digit in sight. The authors of MemoryGAN publish code that only
rotates (by whole degrees) and translates (by 0 to 11 pixels).
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["CANVAS", "DIGIT", "move_at_random"]

DIGIT = 28  # pixels along each side of a digit
CANVAS = 40  # and of the canvas that it is moved on
MOST_ROTATION = math.radians(20)
MOST_SHEAR = 0.2
MOST_SCALING = 0.2  # beside 1


class _LinearMaps(NamedTuple):
    """One linear map for each image: a rotation, then a shear, then a scaling. x points right and y points down.

    The maps act on coordinates step by step and not as matrices: autocast and TF32 round matrix products, also the one
    inside of `F.affine_grid`, and `torch.linalg.inv` makes the host wait for a GPU.
    """

    angle: Tensor  # [B, 1, 1], in radians
    shear: Tensor  # how much y grows with x
    width: Tensor  # the factor of x
    height: Tensor  # the factor of y

    def apply(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Where the points (x, y) [..., rows, columns] come to lie."""
        x, y = _rotated(x, y, self.angle)
        y = y + self.shear * x
        return self.width * x, self.height * y

    def undo(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The points that come to lie at (x, y): every step of `apply` undone, the last step first."""
        x = x / self.width
        y = y / self.height
        y = y - self.shear * x
        return _rotated(x, y, -self.angle)


def move_at_random(digits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Each of `digits` under an affine map of its own, drawn uniformly from the ranges of the module's docstring.

    Args:
        digits: [B, 1, 28, 28] uint8; 0 is paper, everything above 0 is ink.
        generator: where the random numbers come from; PyTorch's global one if none is given.

    Returns:
        Images [B, 1, 40, 40] uint8 on the device of `digits`, interpolated bilinearly. All ink stays on the canvas.
    """
    uniform = torch.rand(6, len(digits), 1, 1, generator=generator, dtype=torch.float32, device=digits.device)
    rotation, shear, scale_x, scale_y, place_x, place_y = (2 * uniform - 1).unbind()  # each [B, 1, 1] in [-1, 1)
    maps = _LinearMaps(
        angle=MOST_ROTATION * rotation,
        shear=MOST_SHEAR * shear,
        width=1 + MOST_SCALING * scale_x,
        height=1 + MOST_SCALING * scale_y,
    )
    right, down = _translations(digits, maps, place_x, place_y)
    canvas = _centred(CANVAS, digits.device)
    x, y = maps.undo(canvas - right, canvas[:, None] - down)
    grid = torch.stack([x, y], dim=-1) / (DIGIT / 2)  # grid_sample counts from -1 to 1 between the digit's edges
    return F.grid_sample(digits.float(), grid, align_corners=False).round().to(torch.uint8)


def _translations(digits: Tensor, maps: _LinearMaps, place_x: Tensor, place_y: Tensor) -> tuple[Tensor, Tensor]:
    """How far each digit is moved right and down, both [B, 1, 1].

    A place of -1 puts the ink at the left (upper) edge of the canvas, a place of 1 at the right (lower) edge.
    """
    pixel = _centred(DIGIT, digits.device)
    ink = digits[:, 0] > 0  # [B, 28, 28]
    x, y = maps.apply(pixel, pixel[:, None])
    # bilinear interpolation spreads the ink of a pixel to its neighbours, so by one step along x and one along y
    one = torch.ones_like(place_x)
    step_x, step_y = maps.apply(one, 0 * one), maps.apply(0 * one, one)
    right = _translation(torch.where(ink, x, 0), step_x[0].abs() + step_y[0].abs(), place_x)
    down = _translation(torch.where(ink, y, 0), step_x[1].abs() + step_y[1].abs(), place_y)
    return right, down


def _translation(ink: Tensor, spread: Tensor, place: Tensor) -> Tensor:
    """The same along one axis; `ink` [B, 28, 28] holds its coordinates, and 0, the centre, where there is no ink."""
    least, most = ink.amin((1, 2), keepdim=True), ink.amax((1, 2), keepdim=True)
    room = (CANVAS + 1) / 2 - (most - least) / 2 - spread  # from the middle of the canvas to a pixel beyond its edge
    return place * room.clamp(min=0) - (least + most) / 2


def _rotated(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """The points (x, y) rotated about the origin, from x towards y."""
    cos, sin = angle.cos(), angle.sin()
    return cos * x - sin * y, sin * x + cos * y


def _centred(number: int, device: torch.device) -> Tensor:
    """The coordinates of `number` pixels along one axis, in pixels from the middle."""
    return torch.arange(number, dtype=torch.float32, device=device) - (number - 1) / 2

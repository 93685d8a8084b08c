"""Pictures: arrays in, a matplotlib `Figure` out. Nothing here trains, and nothing changes matplotlib's settings.

Blue is real, orange is generated, grey is unused; the three differ in lightness too.
"""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

__all__ = ["GENERATED", "REAL", "UNUSED", "image_grid"]

REAL, GENERATED, UNUSED = "#0072B2", "#E69F00", "#999999"


def tile(images: Tensor, columns: int, gap: int = 1) -> np.ndarray:
    """`images` [n, C, H, W] in [-1, 1] as one picture, [height, width] or [height, width, 3] in [0, 1]."""
    number, channels, height, width = images.shape
    rows = -(-number // columns)
    sheet = torch.ones(channels, rows * (height + gap) - gap, columns * (width + gap) - gap)
    for index, image in enumerate(images.detach().cpu()):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = (image + 1) / 2
    picture = sheet.clamp(0, 1).numpy()
    return picture[0] if channels == 1 else picture.transpose(1, 2, 0)


def image_grid(
    images: Tensor, columns: int, *, row_labels: Sequence[str] = (), column_label: str = "", width: float = 6.0
) -> Figure:
    """A sheet of `images` [n, C, H, W] in [-1, 1], row by row, with a label for each row if given."""
    picture = tile(images, columns)
    figure = Figure(figsize=(width, width * picture.shape[0] / picture.shape[1] + 0.35), layout="constrained")
    axes = figure.subplots()
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xlabel=column_label, xticks=[], yticks=[])
    if row_labels:
        rows = -(-len(images) // columns)
        pitch = (picture.shape[0] + 1) / rows
        axes.set_yticks([pitch * (row + 0.5) - 1 for row in range(rows)], row_labels)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure

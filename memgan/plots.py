"""Pictures: arrays in, a matplotlib `Figure` out. Nothing here trains, and nothing changes matplotlib's settings.

Blue is real, orange is generated, grey is unused; the three differ in lightness too.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from memgan.data import as_float
from memgan.extras import required

with required("lab", "memgan.plots"):
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties, findfont, get_font

__all__ = ["GENERATED", "REAL", "UNUSED", "drawable", "image_grid", "legible", "tile"]

REAL = "#0072B2"
GENERATED = "#E69F00"
UNUSED = "#999999"

LABEL_WIDTH = 0.9  # inches beside a sheet


def legible(name: str) -> str:
    """The name of a file or folder as text that can be drawn and stored: "?" for each byte of it that is not UTF-8.

    Python holds such a byte as a lone surrogate, by which it finds the file.
    """
    return name.encode("utf-8", errors="replace").decode("utf-8")


def drawable(name: str) -> str:
    """`legible`, and also "?" for each character that matplotlib's fonts lack, such as those of Chinese in its own."""
    fonts = [get_font(findfont(FontProperties(family=[family]))) for family in matplotlib.rcParams["font.family"]]
    shown = ""
    for character in legible(name):
        known = character.isspace() or any(font.get_char_index(ord(character)) for font in fonts)
        shown += character if known else "?"
    return shown


def tile(images: Tensor, columns: int, gap: int = 1) -> np.ndarray:
    """Images side by side on white, `columns` in a row, as one picture.

    Args:
        images: [n, C, H, W], bytes or in [-1, 1], with n of at least 1; what is beyond is cut.
        columns: images in a row, also where there are fewer images than that.
        gap: pixels between two images.

    Returns:
        The picture, [height, width] for grey images and [height, width, 3] for coloured ones, in [0, 1].
    """
    with required("lab", "memgan.plots"):
        from torchvision.utils import make_grid

    shown = ((as_float(images.detach().cpu()) + 1) / 2).clamp(0, 1).to(torch.float32)
    channels = shown.shape[1]
    rows = -(-len(shown) // columns)
    missing = rows * columns - len(shown)
    white = torch.ones(missing, *shown.shape[1:], dtype=torch.float32, device="cpu")
    grid = make_grid(torch.cat([shown, white]), nrow=columns, padding=gap, pad_value=1.0)
    if rows * columns > 1:  # a single image comes back without the frame that make_grid draws around a sheet
        grid = grid[:, gap : grid.shape[1] - gap, gap : grid.shape[2] - gap]
    if channels == 1:  # make_grid repeats a grey image for red, green and blue
        return grid[0].numpy()
    return grid.permute(1, 2, 0).numpy()


def image_grid(
    images: Tensor,
    columns: int,
    *,
    row_labels: Sequence[str] = (),
    column_label: str = "",
    width: float = 6.0,
    cell: float | None = None,
) -> Figure:
    """A sheet of images, row by row, `width` inches wide, or as wide as images of `cell` inches need.

    Labels may be names of any kind: a `$` in them begins no formula.

    Args:
        images: [n, C, H, W], bytes or in [-1, 1].
        columns: images in a row.
        row_labels: what is written beside each row, if anything.
        column_label: what is written below the sheet.
        width: inches of the sheet.
        cell: inches of an image's width instead, so that many rows of few images stay small.
    """
    picture = tile(images, columns)
    if cell is not None:
        width = cell * columns
    height = width * picture.shape[0] / picture.shape[1] + 0.35
    if cell is not None and row_labels:
        width += LABEL_WIDTH
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(drawable(column_label), parse_math=False)
    if row_labels:
        rows = -(-len(images) // columns)
        pitch = (picture.shape[0] + 1) / rows
        middles = [pitch * (row + 0.5) - 1 for row in range(rows)]
        axes.set_yticks(middles, [drawable(label) for label in row_labels], parse_math=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure

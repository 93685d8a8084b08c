"""What the lesson's figures share beside the palette of `memgan.plots`: colours, and how axes look."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

__all__ = ["GREEN", "INK", "PURPLE", "SKY_BLUE", "VERMILION", "draw_unit_circle", "hide_top_and_right"]

INK = "#222222"  # text, arrows, queries

# Okabe and Ito's colours, which readers with colour blindness tell apart, beside the palette's blue and orange
GREEN = "#009E73"
PURPLE = "#CC79A7"
SKY_BLUE = "#56B4E9"
VERMILION = "#D55E00"


def hide_top_and_right(axes: Axes) -> None:
    """Leave of the frame only the two sides that carry ticks."""
    axes.spines[["top", "right"]].set_visible(False)


def draw_unit_circle(axes: Axes, colour: str, **style: Any) -> None:
    """A thin unit circle."""
    angle = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(angle), np.sin(angle), color=colour, linewidth=1, **style)

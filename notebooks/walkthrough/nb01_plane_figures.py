"""Pictures of the plane: the ring and its points, latent squares coloured by mode, slopes, the forbidden region.

Arrays in, a matplotlib `Figure` out. Every mode has a colour and a number, counted from 0 as `plane.centres` does;
what belongs to no mode is black.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Circle
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt

from memgan.plots import GENERATED, REAL
from walkthrough import nb01_plane as plane
from walkthrough.drawing import hide_top_and_right
from walkthrough.nb01_isoperimetry import least_off_mode

__all__ = [
    "MODE_COLOURS",
    "Series",
    "forbidden_region",
    "latent_square",
    "measures_by_kind",
    "slot_squares",
    "squares_over_time",
]

# Okabe & Ito's colours without their black, which is for the bridges, and a grey
MODE_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#BBBBBB")
BRIDGE = "#000000"
MODE_MAP = ListedColormap([BRIDGE, *MODE_COLOURS])


class Series(NamedTuple):
    """Points of the (slope, off-mode share) plane that belong together, with their name at `label_at`."""

    label: str
    slope: Sequence[float]
    off_mode: Sequence[float]
    colour: str
    marker: str
    label_at: tuple[float, float]  # slope and share at which the label begins
    size: float = 7.5  # of a marker, in points


def latent_square(
    modes: ArrayLike, slope: ArrayLike | None = None, sample: tuple[ArrayLike, ArrayLike] | None = None
) -> Figure:
    """The latent square (-1, 1)^2: the mode [side, side] that each z is sent to, black where to none.

    Beside it, if given: left a `sample` of points [n, 2] and their modes [n], right the `slope` ||dG/dz|| [side, side].
    """
    num_panels = 1
    width_of_colour_bar = 0.0
    if sample is not None:
        num_panels += 1
    if slope is not None:
        num_panels += 1
        width_of_colour_bar = 0.4
    figure = Figure(figsize=(3.05 * num_panels + width_of_colour_bar, 3.35), layout="constrained")
    panels = iter(figure.subplots(1, num_panels, squeeze=False)[0])
    if sample is not None:
        points, modes_of_points = sample
        left = next(panels)
        _ring(left, np.asarray(points), np.asarray(modes_of_points))
        left.set_title("generated points $G(z)$", fontsize=10.5)
    square = next(panels)
    _square(square, np.asarray(modes))
    square.set(xlabel="$z_1$", ylabel="$z_2$")
    square.set_title("the mode of $G(z)$ for each $z$", fontsize=10.5)
    if slope is not None:
        _slope(figure, next(panels), np.asarray(slope))
    return figure


def squares_over_time(modes: Mapping[int, ArrayLike]) -> Figure:
    """The latent square after some numbers of steps, side by side, all with the same axes."""
    layout = ConstrainedLayoutEngine(
        wspace=0.08
    )  # so that the last tick of a panel stays clear of the next one's first
    figure = Figure(figsize=(2.3 * len(modes) + 0.3, 2.85), layout=layout)
    panels = figure.subplots(1, len(modes), squeeze=False, sharey=True)[0]
    for axes, (step, square) in zip(panels, modes.items(), strict=True):
        _square(axes, np.asarray(square))
        axes.set_title(f"step {step:,}", fontsize=10.5)
        axes.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
        axes.set_xlabel("$z_1$")
    panels[0].set_ylabel("$z_2$")
    return figure


def slot_squares(modes: ArrayLike, titles: Sequence[str], columns: int = 8) -> Figure:
    """A latent square [side, side] for each of the slots, `modes` [slots, side, side], in rows of `columns`."""
    squares = np.asarray(modes)
    rows = math.ceil(len(squares) / columns)
    figure = Figure(figsize=(1.12 * columns, 1.35 * rows + 0.25), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(squares) :]:
        axes.axis("off")
    for axes, square, title in zip(grid, squares, titles, strict=False):
        _square(axes, square)
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, fontsize=8.5)
    figure.supxlabel("$z_1$, from -1 to 1", fontsize=9)
    figure.supylabel("$z_2$, from -1 to 1", fontsize=9)
    return figure


LOWEST = 5e-4  # the share at which the picture of the bound ends
FLOOR = 5e-5  # one point of 20,000: what is less is drawn here, in the pictures of many kinds of runs


def forbidden_region(series: Sequence[Series], slopes: tuple[float, float] = (0.15, 400.0)) -> Figure:
    """Off-mode share against slope, both logarithmic; hatched where no one piece that hits all modes equally can be."""
    figure = Figure(figsize=(8.2, 4.3), layout="constrained")
    axes = figure.subplots()
    flattest, steepest = slopes
    slope = np.geomspace(flattest, steepest, 400)
    least = least_off_mode(slope, plane.gap(), plane.MODES)
    axes.fill_between(slope, LOWEST, least, color="#EEEEEE")
    axes.fill_between(slope, LOWEST, least, facecolor="none", edgecolor="#CCCCCC", hatch="///", linewidth=0)
    axes.plot(slope, least, color="black", linewidth=1.6)
    steep = 100.0
    axes.text(
        steep,
        0.8 * float(least_off_mode(steep, plane.gap(), plane.MODES)),
        "the bound",
        fontsize=10,
        va="top",
        ha="right",
    )
    for points in series:
        axes.plot(
            points.slope,
            points.off_mode,
            marker=points.marker,
            color=points.colour,
            linestyle="none",
            markersize=points.size,
            markeredgecolor="white",
            markeredgewidth=0.8,
        )
        axes.text(*points.label_at, points.label, color=points.colour, fontsize=10, va="center")
    axes.set(xscale="log", yscale="log", xlim=slopes, ylim=(LOWEST, 1.4))
    axes.set_xlabel("largest slope $L$ measured, units of the plane per unit of $z$")
    axes.set_ylabel("share of points off all modes")
    axes.set_xticks([tick for tick in (0.1, 1, 10, 100) if flattest <= tick <= steepest])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks([1, 0.1, 0.01, 0.001], ["100 %", "10 %", "1 %", "0.1 %"])
    axes.text(
        1.35,
        2e-3,
        "forbidden to one connected latent space\nthat hits all 8 modes equally often",
        fontsize=10,
        ha="left",
        va="center",
        bbox={"facecolor": "#EEEEEE", "edgecolor": "none", "pad": 3},
    )
    hide_top_and_right(axes)
    return figure


def measures_by_kind(runs: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """For each kind the modes found, left, and the share off all modes, right; a dot a run: `(modes, off_mode)`."""
    figure = Figure(figsize=(8, 0.36 * len(runs) + 0.9), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for place, values in enumerate(runs.values()):
        heights = np.array([place])
        if len(values) > 1:
            heights = place + np.linspace(-0.22, 0.22, len(values))  # side by side, so that no dot hides another
        modes_found = [modes for modes, _ in values]
        off_mode = [max(share, FLOOR) for _, share in values]
        colour = REAL if place == 0 else GENERATED
        left.plot(modes_found, heights, "o", color=colour, markersize=5)
        right.plot(off_mode, heights, "o", color=colour, markersize=5)
    left.set(xlabel="modes found, of 8", xlim=(0, 8.5), yticks=range(len(runs)), yticklabels=list(runs))
    right.set(xlabel="share of points off all modes", xscale="log", xlim=(FLOOR / 1.5, 1.2))
    right.set_xticks([FLOOR, 1e-3, 1e-2, 1e-1, 1], ["< 1 in\n20,000", "0.1 %", "1 %", "10 %", "100 %"])
    left.invert_yaxis()
    for axes in (left, right):
        axes.grid(axis="y", color="#EEEEEE")
        axes.set_axisbelow(True)
        hide_top_and_right(axes)
    return figure


# ---------------------------------------------------------------- parts


def _ring(axes: Axes, points: NDArray[np.float64], modes: NDArray[np.int64]) -> None:
    axes.scatter(points[:, 0], points[:, 1], s=4, c=modes + 1, cmap=MODE_MAP, vmin=0, vmax=plane.MODES, linewidths=0)
    for number, centre in enumerate(plane.centres().tolist()):
        axes.add_patch(Circle(centre, plane.REACH * plane.SIGMA, fill=False, linewidth=0.8, edgecolor="#555555"))
        axes.text(1.36 * centre[0], 1.36 * centre[1], str(number), ha="center", va="center", fontsize=10)
    axes.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
    axes.set(xlabel="$x_1$", ylabel="$x_2$")
    hide_top_and_right(axes)


def _square(axes: Axes, modes: NDArray[np.int64]) -> None:
    axes.imshow(
        modes + 1,
        cmap=MODE_MAP,
        vmin=0,
        vmax=plane.MODES,
        origin="lower",
        extent=(-1, 1, -1, 1),
        interpolation="nearest",
    )
    axes.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    for number in range(plane.MODES):
        place = _deepest(modes == number)
        if place is not None:
            x, y = place
            axes.text(x, y, str(number), ha="center", va="center", fontsize=10, color="black")


def _deepest(inside: NDArray[np.bool_]) -> tuple[float, float] | None:
    """The point of the square that lies deepest inside a region, if there is room for a number."""
    depth = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    side = len(inside)
    if depth.max() < 0.02 * side:
        return None
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    x = float((column + 0.5) / side * 2 - 1)
    y = float((row + 0.5) / side * 2 - 1)
    return x, y


def _slope(figure: Figure, axes: Axes, slope: NDArray[np.float64]) -> None:
    log_slope = np.log10(slope.clip(1e-2))
    picture = axes.imshow(log_slope, cmap="magma", origin="lower", extent=(-1, 1, -1, 1), interpolation="nearest")
    axes.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1], xlabel="$z_1$", ylabel="$z_2$")
    axes.set_title(r"the slope $\|\partial G/\partial z\|$", fontsize=10.5)
    bar = figure.colorbar(picture, ax=axes, shrink=0.85)
    ticks = []
    labels = []
    for tick in (0.01, 0.1, 1, 10, 100):
        if log_slope.min() <= np.log10(tick) <= log_slope.max():
            ticks.append(np.log10(tick))
            labels.append(f"{tick:g}")
    bar.set_ticks(ticks, labels=labels)
    bar.set_label("length in $x$ per length in $z$", fontsize=9.5)

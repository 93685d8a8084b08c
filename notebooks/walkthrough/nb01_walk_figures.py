"""Pictures of walks between two samples of a generator; `memgan.lab.evaluation.walks` takes the walks."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from memgan.lab.evaluation.classifier import classify
from memgan.lab.evaluation.walks import (
    IN_BETWEEN,
    KINDS,
    LABELS,
    POINTS,
    SURE,
    Ends,
    Walk,
    WalkKind,
    base_rate,
    find_ends,
    in_between,
    pick,
    shares,
    walk,
    walk_between,
    widget_state,
)
from memgan.plots import GENERATED, REAL, UNUSED, tile
from walkthrough.drawing import hide_top_and_right

__all__ = ["IN_BETWEEN", "KINDS", "LABELS", "POINTS", "SURE", "Ends", "Walk", "WalkKind", "base_rate", "find_ends"]
__all__ += ["in_between", "classify", "pick", "shares", "walk", "walk_between", "widget_state"]
__all__ += ["confidence_figure", "outcome", "share_figure", "walk_figure"]


def walk_figure(walks: Mapping[str, Walk], indices: Sequence[int]) -> Figure:
    """One walk of each entry as a strip of images, the judge's confidence in bars below, its class above them."""
    figure = Figure(figsize=(7.5, 1.95 * len(walks)), layout="constrained")
    axes = figure.subplots(2 * len(walks), 1, squeeze=False, gridspec_kw={"height_ratios": [1.1, 1] * len(walks)})
    for row, ((title, walked), index) in enumerate(zip(walks.items(), indices, strict=True)):
        strip, bars = axes[2 * row, 0], axes[2 * row + 1, 0]
        _strip(strip, walked.images[index], title)
        _bars(bars, walked.confidence[index], walked.classes[index])
    axes[-1, 0].set_xlabel("step of the walk, from one end (0) to the other")
    return figure


def _strip(axes: Axes, images: Tensor, title: str) -> None:
    """`images` [points, C, H, W] side by side, each one unit wide and centred on its number."""
    points, side = len(images), images.shape[-1] + 1
    picture = tile(images, columns=points)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, extent=(-0.5, points - 0.5 - 1 / side, 0, 1), aspect="equal")
    axes.set_title(title, fontsize=10, loc="left")
    axes.set(xlim=(-0.55, points - 0.45))
    axes.axis("off")


def _bars(axes: Axes, confidence: Tensor, classes: Tensor) -> None:
    sure = confidence >= IN_BETWEEN
    colours = [REAL if value else GENERATED for value in sure]
    bars = axes.bar(range(len(confidence)), confidence.tolist(), color=colours, width=0.8)
    for bar, value in zip(bars, sure, strict=True):
        bar.set_hatch("" if value else "///")
        bar.set_edgecolor("white")
    for place, label in enumerate(classes.tolist()):
        axes.text(place, 1.03, f"{label}", ha="center", va="bottom", fontsize=9)
    axes.axhline(IN_BETWEEN, color="black", linewidth=0.8, linestyle="--")
    axes.set(
        xlim=(-0.55, len(confidence) - 0.45), ylim=(0, 1.25), yticks=[0, IN_BETWEEN], xticks=range(len(confidence))
    )
    axes.set_ylabel("confidence", fontsize=9)
    hide_top_and_right(axes)


def confidence_figure(walks: Mapping[str, Walk]) -> Figure:
    """The share of images in between at each step of the walks, a line for each entry."""
    figure = Figure(figsize=(6.5, 3.2 + 0.2 * len(walks)), layout="constrained")
    axes = figure.subplots()
    styles = [(GENERATED, "o", "-"), (REAL, "s", "--"), ("#009E73", "^", "-."), ("#CC79A7", "D", ":")]
    for (name, walked), (colour, marker, line) in zip(walks.items(), styles, strict=False):
        share = (walked.confidence < IN_BETWEEN).double().mean(dim=0)
        axes.plot(np.arange(len(share)), share, color=colour, marker=marker, linestyle=line, label=name)
    axes.set(xlabel="step of the walk", ylabel=f"share below confidence {IN_BETWEEN}", ylim=(-0.02, None))
    hide_top_and_right(axes)
    figure.legend(frameon=False, loc="outside upper left", fontsize=9)
    return figure


def share_figure(rates: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """`rates[model][walk]`, one number for each seed: every seed a dot, the mean a bar, models in groups."""
    rows = [(model, kind, values) for model, kinds in rates.items() for kind, values in kinds.items()]
    figure = Figure(figsize=(7.5, 0.34 * len(rows) + 0.9), layout="constrained")
    axes = figure.subplots()
    for place, (_, kind, values) in enumerate(rows):
        random = kind == "random samples"
        mean = sum(values) / len(values)
        axes.barh(place, mean, color=UNUSED if random else "#9CC9E3", hatch="///" if random else "", edgecolor="white")
        axes.plot(values, [place] * len(values), "o", color="black", markersize=4)
        axes.text(1.02, place, f"mean {mean:.2f}", va="center", fontsize=9, transform=axes.get_yaxis_transform())
    axes.set_yticks(range(len(rows)), [f"{model}: {LABELS.get(kind, kind)}" for model, kind, _ in rows], fontsize=9)
    axes.invert_yaxis()
    axes.set(xlabel=f"share of images below confidence {IN_BETWEEN}", xlim=(0, None))
    hide_top_and_right(axes)
    return figure


def outcome(rates: Mapping[str, float]) -> str:
    """The shares as lines of text, in hundredths."""
    return "\n".join(f"{name:15}{rate:.2f}" for name, rate in rates.items())

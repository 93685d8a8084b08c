"""Pictures of walks between two samples of a generator; `memgan.lab.evaluation.walks` takes the walks.

Those of notebook 1 were taken by scripts/measure_walks.py.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from memgan.lab.evaluation.walks import IN_BETWEEN, POINTS, Walk
from memgan.plots import GENERATED, REAL, tile
from walkthrough.drawing import hide_top_and_right

__all__ = ["LABELS", "load_walks", "middle_figure", "samples_figure", "stored_walks_figure", "walk_figure"]

LABELS = {"noise": "noise to noise", "slot": "inside a slot", "switch": "across slots", "keys": "between keys"}
ROOT = Path(__file__).resolve().parents[2]


def load_walks() -> dict[str, Any]:
    """What scripts/measure_walks.py found of a DCGAN on MNIST."""
    content: dict[str, Any] = json.loads((ROOT / "results" / "walks.json").read_text(encoding="utf-8"))
    return content


def samples_figure() -> Figure:
    """The sheet of figures/samples-dcgan.png."""
    from matplotlib.image import imread

    picture = imread(ROOT / "figures" / "samples-dcgan.png")
    figure = Figure(figsize=(6.5, 6.5 * picture.shape[0] / picture.shape[1]), layout="constrained")
    axes = figure.subplots()
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.axis("off")
    return figure


def stored_walks_figure(found: Mapping[str, Any], titles: Sequence[str]) -> Figure:
    """The walks of figures/walks-dcgan.png, each with the classifier's confidence and class below its images."""
    from matplotlib.image import imread

    picture = imread(ROOT / "figures" / "walks-dcgan.png")
    pitch = (picture.shape[0] + 1) // len(titles)
    figure = Figure(figsize=(7.5, 1.95 * len(titles)), layout="constrained")
    panels = figure.subplots(2 * len(titles), 1, height_ratios=[1.25, 1] * len(titles))
    for row, title in enumerate(titles):
        strip, bars = panels[2 * row : 2 * row + 2]
        _strip_of(strip, picture[row * pitch : (row + 1) * pitch - 1], POINTS, title)
        _bars(bars, torch.tensor(found["confidence"][row]), torch.tensor(found["classes"][row]))
    panels[-1].set_xlabel("image of the walk, from one end (0) to the other (10)")
    return figure


def middle_figure(found: Mapping[str, Any]) -> Figure:
    """The share of images in between at each step of the walks, beside random samples and real images."""
    figure = Figure(figsize=(6.4, 2.9), layout="constrained")
    axes = figure.subplots()
    lines = [("in_between", "between two digits", GENERATED, 7), ("in_between_one_class", "within a digit", REAL, 20)]
    for name, label, colour, above in lines:
        if name in found:
            shares = found[name]
            axes.plot(range(len(shares)), shares, color=colour, marker="o")
            axes.annotate(label, (5, shares[5]), (0, above), textcoords="offset points", ha="center", color=colour)
    last = len(found["in_between"]) - 1
    for name, label, style in [("random", "random samples of the GAN", "--"), ("real", "real test images", ":")]:
        axes.plot([0, last], [found[name]] * 2, color="black", linewidth=1, linestyle=style)
        axes.text(last + 0.2, found[name], label, va="center")
    highest = max(found["random"], *found["in_between"])
    axes.set(
        xlabel="image of the walk", ylabel="share in between", ylim=(-0.01, 1.15 * highest), xlim=(-0.3, last + 4.5)
    )
    axes.set_xticks(range(last + 1))
    hide_top_and_right(axes)
    axes.spines["bottom"].set_bounds(-0.3, last + 0.3)
    return figure


def walk_figure(walks: Mapping[str, Walk], indices: Sequence[int]) -> Figure:
    """One walk of each entry as a strip of images, the classifier's confidence in bars below, its class above them."""
    figure = Figure(figsize=(7.5, 1.95 * len(walks)), layout="constrained")
    panels = figure.subplots(2 * len(walks), 1, height_ratios=[1.1, 1] * len(walks))
    strips = panels[0::2]
    bars = panels[1::2]
    for place, (title, walked) in enumerate(walks.items()):
        index = indices[place]
        _strip(strips[place], walked.images[index], title)
        _bars(bars[place], walked.confidence[index], walked.classes[index])
    bars[-1].set_xlabel("step of the walk, from one end (0) to the other")
    return figure


def _strip(axes: Axes, images: Tensor, title: str) -> None:
    """`images` [points, C, H, W] side by side, each one unit wide and centred on its number."""
    _strip_of(axes, tile(images, columns=len(images)), len(images), title)


def _strip_of(axes: Axes, picture: np.ndarray, points: int, title: str) -> None:
    """A `picture` of `points` images side by side, each one unit wide and centred on its number, as the bars are."""
    side = (picture.shape[1] + 1) / points  # of an image in pixels, with the line beside it
    extent = (-0.5, points - 0.5 - 1 / side, 0, 1)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, extent=extent, aspect="equal", interpolation="nearest")
    axes.set_title(title, fontsize=10, loc="left")
    axes.set(xlim=(-0.55, points - 0.45))
    axes.axis("off")


def _bars(axes: Axes, confidence: Tensor, classes: Tensor) -> None:
    points = len(confidence)
    bars = axes.bar(range(points), confidence.tolist(), width=0.8, edgecolor="white")
    for bar, sure in zip(bars, (confidence >= IN_BETWEEN).tolist(), strict=True):
        if sure:
            bar.set_facecolor(REAL)
        else:
            bar.set_facecolor(GENERATED)
            bar.set_hatch("///")
    for place, label in enumerate(classes.tolist()):
        axes.text(place, 1.03, str(label), ha="center", va="bottom", fontsize=9)
    axes.axhline(IN_BETWEEN, color="black", linewidth=0.8, linestyle="--")
    axes.set(xlim=(-0.55, points - 0.45), ylim=(0, 1.25), yticks=[0, IN_BETWEEN], xticks=range(points))
    axes.set_ylabel("confidence", fontsize=9)
    hide_top_and_right(axes)

"""Notebook 01: what is made ready for its pictures, and the checks of its exercises."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from memgan.gan import AdversarialModel
from walkthrough import nb01_plane as plane
from walkthrough.lesson import Mistake, Wrong, answered, attempt, refuse_mistakes
from walkthrough.nb01_isoperimetry import STRETCH, least_off_mode, least_slope
from walkthrough.nb01_plane_figures import Series

__all__ = [
    "Square",
    "check_bound",
    "check_share",
    "check_slope",
    "check_staircase",
    "latent",
    "runs",
    "series",
]

RESULT = Path(__file__).resolve().parents[2] / "results" / "plane.json"


def runs(*kinds: str) -> list[dict[str, Any]]:
    """The runs of these kinds that scripts/measure_plane.py measured, kind by kind."""
    stored = json.loads(RESULT.read_text(encoding="utf-8"))["runs"]
    return [run for kind in kinds for run in stored if run["kind"] == kind]


def series(label: str, of: Iterable[dict[str, Any]], colour: str, marker: str, label_at: tuple[float, float]) -> Series:
    """Those runs as points of the plane of slope and off-mode share, named at the place `label_at` of that plane."""
    chosen = list(of)
    slopes = [run["slope"] for run in chosen]
    off_mode = [run["off_mode"] for run in chosen]
    return Series(label, slopes, off_mode, colour, marker, label_at)


class Square(NamedTuple):
    """What a generator does on its latent square (-1, 1)^2."""

    modes: Tensor  # [side, side], the mode of G(z), -1 for a bridge
    slope: Tensor  # [side, side], ||dG/dz||


@torch.no_grad()
def latent(gan: AdversarialModel, side: int = 150, piece: int = 0) -> Square:
    """The square of one piece of the latent space of `gan`, on a grid of `side` x `side` points."""
    noise = plane.latent_grid(side).view(-1, 2)
    code = plane.pieces(gan).codes[piece]
    points = gan.generator(code.expand(len(noise), -1), noise)
    modes = plane.mode_of(points).view(side, side)
    slope = plane.slopes(gan, code, noise).view(side, side)
    return Square(modes, slope)


# ------------------------------------------------------------------ checks


@attempt
def check_bound(answer: Callable[[float, float, int], float]) -> str:
    """Exercise: `answer(L, g, m)` is the least share of points off m equally likely modes."""
    for slope, gap, modes in [(20.0, 0.73, 8), (5.0, 1.0, 2), (1.0, 0.4, 3)]:
        got = float(answered(answer(slope, gap, modes)))
        right = float(least_off_mode(slope, gap, modes))
        with_whole_gap = float(least_off_mode(slope, 2 * gap, modes))
        without_stretch = float(least_off_mode(slope / STRETCH, gap, modes))
        mistakes = [
            Mistake(1 - right, "You give what is left in the modes: subtract it from 1."),
            Mistake(with_whole_gap, "The whole gap g belongs to two neighbours: each has half of it."),
            Mistake(without_stretch, "z is uniform, not normal: its slope counts sqrt(2/pi) times."),
            Mistake(1 - (1 - right) / modes, "That is for one mode: there are m of them."),
        ]
        case = f"For L = {slope:g}, g = {gap:g}, m = {modes}"
        _compare(got, right, mistakes, case, tolerance=2e-3)  # 1.596 for the constant is right, too
    return "Equal to isoperimetry.least_off_mode for three cases."


@attempt
def check_slope(answer: float) -> str:
    """Exercise: the slope that a generator needs for at most 1 % of its points off the eight modes."""
    gap = plane.gap()
    right = float(least_slope(0.01, gap, plane.MODES))
    mistakes = [
        Mistake(float(least_slope(0.1, gap, plane.MODES)), "That is for 10 %."),
        Mistake(float(least_slope(0.001, gap, plane.MODES)), "That is for 0.1 %."),
    ]
    _compare(float(answered(answer)), right, mistakes, "For 1 %", tolerance=0.01)
    return f"At least {right:.0f} units of the plane for each unit of z, at the steepest place."


@attempt
def check_staircase(answer: Callable[[np.ndarray], np.ndarray]) -> str:
    """Exercise: a map of z in (-1, 1), of slope at most 10, to within 0.4 of -1 and +1, with the shortest bridge."""
    z = np.linspace(-1, 1, 200_001)
    x = np.asarray(answered(answer(z)), dtype=float)
    if x.shape != z.shape:
        raise Wrong(f"For z of shape {z.shape} the map must give as many points; it gives shape {x.shape}.")
    steepest = float(np.abs(np.diff(x) / np.diff(z)).max())
    left = float((np.abs(x + 1) <= 0.4 + 1e-9).mean())
    right = float((np.abs(x - 1) <= 0.4 + 1e-9).mean())
    if steepest > 10 * (1 + 1e-6):
        raise Wrong(f"The map is as steep as {steepest:.3g}; at most 10 is allowed.")
    if abs(left - right) > 1e-3:
        raise Wrong(f"The modes must be equally likely; they get {left:.3f} and {right:.3f}.")
    off = 1 - left - right
    least = 1.2 / (2 * 10)
    if off > least * 1.01:
        raise Wrong(f"{off:.1%} of the points are off both modes; {least:.1%} is possible. Is it steep all the way?")
    bound = float(least_off_mode(10, 1.2, 2))
    return f"{off:.2%} off both modes; the bound says at least {bound:.2%}. No map of this slope can do better."


@attempt
def check_share(answer: Callable[[Tensor], float]) -> str:
    """Exercise: `answer(confidence)` is the share of interior images of walks [walks, points] that are in between."""
    confidence = torch.tensor(
        [
            [0.99, 0.70, 0.80, 0.30, 0.96],
            [0.99, 0.90, 0.90, 0.90, 0.99],
            [0.99, 0.50, 0.60, 0.90, 0.99],
            [0.99, 0.90, 0.90, 0.90, 0.99],
        ]
    )
    got = float(answered(answer(confidence)))
    mistakes = [
        Mistake(4 / 20, "You count the two ends of each walk: they were chosen to be sure."),
        Mistake(8 / 12, "That is the share of images that the classifier is sure of."),
        Mistake(2 / 4, "That is the share of walks with at least one such image."),
        Mistake(5 / 12, "An image at exactly 0.8 counts as sure."),
    ]
    _compare(got, 4 / 12, mistakes, "For a small example")
    return "The same as walks.in_between counts."


def _compare(got: float, right: float, mistakes: list[Mistake], case: str, tolerance: float = 1e-6) -> None:
    """Raise `Wrong` unless `got` is `right`, with the reason where it is one of the `mistakes`."""
    if np.isclose(got, right, rtol=tolerance, atol=1e-9):
        return
    refuse_mistakes(got, mistakes, f"{case}: {got:.4g}. ", rtol=tolerance, atol=1e-9)
    raise Wrong(f"{case} you get {got:.4g}, which is {'too large' if got > right else 'too small'}.")

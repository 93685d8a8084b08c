"""Bonus notebook b3: how results depend on kappa and on the number of slots."""

import json
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from memgan import VMFMemory
from memgan.plots import GENERATED, REAL, UNUSED
from memgan.presets import PRESETS
from walkthrough.drawing import hide_top_and_right

Array = NDArray[np.float64]
RESULTS = Path(__file__).resolve().parents[2] / "results"


def study(name: str) -> dict[float, list[dict[str, float]]]:
    """The runs of results/study-`name`.json by the number in their configuration, such as 60 of "kappa 60"."""
    runs = defaultdict(list)
    for run in json.loads((RESULTS / f"study-{name}.json").read_text(encoding="utf-8"))["runs"]:
        numbers = [float(word) for word in run["configuration"].split() if word.replace(".", "").isdigit()]
        runs[numbers[0]].append(run)
    return dict(sorted(runs.items()))


TICKS = (20, 50, 100, 200, 500, 1000, 2000)  # of the Frechet distance


def study_picture(studies: dict[str, dict[float, list[dict[str, float]]]], measures: dict[str, str]) -> Figure:
    """A row for each of `measures` with its label, and a column for each study; a dot is a run, the line their mean."""
    figure = Figure(figsize=(8.2, 2.6 * len(measures)), layout="constrained")
    panels = figure.subplots(len(measures), len(studies), sharex="col", sharey="row", squeeze=False)
    for row, (measure, label) in zip(panels, measures.items(), strict=True):
        for axes, runs in zip(row, studies.values(), strict=True):
            _draw_study(axes, runs, measure)
        if measure == "frechet_distance":
            row[0].set(yscale="log", ylim=(11, 2700))
            row[0].set_yticks(TICKS, [str(tick) for tick in TICKS])
            row[0].minorticks_off()
        else:
            row[0].set_ylim(-0.03, 1)
        row[0].set_ylabel(label)
    for axes, (name, runs) in zip(panels[-1], studies.items(), strict=True):
        axes.set(xscale="log", xlabel=name)
        axes.set_xticks(list(runs), [f"{number:g}" for number in runs])
        axes.minorticks_off()
    return figure


def _draw_study(axes: Axes, runs: dict[float, list[dict[str, float]]], measure: str) -> None:
    means = [float(np.mean([run[measure] for run in of_number])) for of_number in runs.values()]
    axes.plot(list(runs), means, color=REAL, linewidth=2)
    for number, of_number in runs.items():
        axes.plot([number] * len(of_number), [run[measure] for run in of_number], "o", color=REAL, alpha=0.6)
    real = next(iter(runs.values()))[0][f"{measure}_real"]
    axes.axhline(real, color=UNUSED, linestyle="--", linewidth=1.2, zorder=0)
    axes.text(0.99, real, "real test images", ha="right", va="bottom", fontsize=9, transform=axes.get_yaxis_transform())
    hide_top_and_right(axes)


def cosine_histograms(cosines: dict[int, Array]) -> Figure:
    """How the cosines of pairs of random directions spread, one panel for each dimension M of `cosines`."""
    figure = Figure(figsize=(8.2, 2.4), layout="constrained")
    panels = figure.subplots(1, len(cosines), sharey=True)
    for axes, (key_dim, values) in zip(panels, cosines.items(), strict=True):
        axes.hist(values, bins=np.linspace(-1, 1, 61), density=True, color=REAL)
        width = 1 / math.sqrt(key_dim)
        axes.axvspan(-width, width, color="#E0E0E0", linewidth=0, zorder=0)
        axes.set(title=f"M = {key_dim}", xlabel="cosine", xticks=(-1, 0, 1))
        hide_top_and_right(axes)
    panels[0].set_ylabel("density")
    return figure


def written(num_slots: int, real: Tensor, generated: Tensor, *, batches: int = 30) -> VMFMemory:
    """A memory of this size, else as in the preset mnist-5k, that `batches` of 64 of each of these queries went into."""
    generator = torch.Generator().manual_seed(0)
    memory = VMFMemory.from_settings(PRESETS["mnist-5k"].memory, num_slots=num_slots)
    labels = torch.tensor([1] * 64 + [0] * 64)
    for _ in range(batches):
        some_real = real[torch.randint(0, len(real), (64,), generator=generator)]
        some_generated = generated[torch.randint(0, len(generated), (64,), generator=generator)]
        memory.write(torch.cat([some_real, some_generated]), labels)
    return memory


def size_picture(missed: dict[str, dict[int, float]]) -> Figure:
    """Mean missed mass against the number of slots, a line for each name in `missed`."""
    figure = Figure(figsize=(6.6, 3.1), layout="constrained")
    axes = figure.subplots()
    styles = [(REAL, "-"), (REAL, "--"), (GENERATED, "-"), (GENERATED, "--")]
    for (name, by_size), (colour, line) in zip(missed.items(), styles, strict=True):
        mass = [max(value, 1e-6) for value in by_size.values()]
        axes.plot(list(by_size), mass, color=colour, linestyle=line, marker="o", linewidth=2)
        shift = {"random, k = 32": 4, "random, k = N/16": -5}.get(name, 0)  # these two end close together
        place = (list(by_size)[-1], mass[-1])
        axes.annotate(name, place, (8, shift), textcoords="offset points", color=colour, va="center")
    sizes = list(next(iter(missed.values())))
    axes.set(xscale="log", yscale="log", xlabel="N, number of slots", ylabel="missed mass", xlim=(100, 9000))
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    hide_top_and_right(axes)
    return figure

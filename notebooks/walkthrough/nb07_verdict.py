"""Notebook 07: the runs behind each verdict, as tables and figures, and the checks of the exercises."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memgan.lab.studies.result_file import load_study
from memgan.plots import GENERATED, REAL, UNUSED
from walkthrough.drawing import INK, hide_top_and_right
from walkthrough.lesson import Mistake, Wrong, answered, attempt, refuse_mistakes

__all__ = [
    "MEASURES",
    "Measure",
    "Panel",
    "Run",
    "check_causes",
    "check_chance",
    "check_switch",
    "choices_table",
    "grouped_figure",
    "headline_figure",
    "in_between_figure",
    "load_compared",
    "load_costs",
    "load_old_fakes",
    "load_runs",
    "of_model",
    "old_fakes_table",
    "plane_figure",
    "plane_groups",
    "published_choices",
    "range_table",
    "two_ablations_figure",
    "values_of",
]

Run = dict[str, Any]
RESULTS = Path(__file__).resolve().parents[2] / "results"
OURS = "MemoryGAN"
RENAMED = {"memoryGAN": OURS, "without memory: DCGAN": "DCGAN"}  # as the files name them: as the lesson does


def load_runs(study: str) -> list[Run]:
    """Every run of the study in results/study-NAME.json, without those that only tuned its learning rates."""
    return load_study(RESULTS / f"study-{study}.json")["runs"]


def published_choices() -> dict[str, list[Run]]:
    """The runs on MNIST with each of the published choices alone, with all of them, and with all but kappa = 1.

    The three choices in the rule for writing were made in the study of that rule.
    """
    settings = of_model(load_runs("paper-rule-mnist-5k"))
    rule = of_model(load_runs("rule-mnist-5k"))
    first = next(iter(settings))
    names = ("all of S may vouch", "all of S_y made young", "the oldest of all replaced")
    return {first: settings.pop(first), **{name: rule[f"posterior: {name}"] for name in names}, **settings}


def load_compared(preset: str) -> dict[str, list[Run]]:
    """Each model's runs: of the study of rivals, which was tuned most widely, or of the newest study of ablations."""
    models: dict[str, list[Run]] = {}
    for study in ("ablation", "parts", "rivals"):
        if (RESULTS / f"study-{study}-{preset}.json").exists():
            models |= of_model(load_runs(f"{study}-{preset}"))
    return models


def choices_table(choices: Mapping[str, Sequence[Run]]) -> str:
    """A line for each of the published choices: Inception Score, classes and slots in use of each seed."""
    lines = [f"{'':30}{'Inception Score of each seed':^30}{'classes':^14}{'slots in use':^20}"]
    for name, runs in choices.items():
        scores = "".join(f"{score:9.2f}" for score in values_of(runs, "inception_score"))
        classes = "".join(f"{number:4.0f}" for number in values_of(runs, "classes_covered"))
        slots = "".join(f"{number:6.0f}" for number in values_of(runs, "slots_in_use"))
        lines.append(f"{name:30}{scores}   {classes}  {slots}")
    return "\n".join(lines)


def load_old_fakes() -> dict[str, list[Run]]:
    """The rows of results/old-fakes.json by model: what its last discriminator says, "running" or "batch", of whom."""
    rows: dict[str, list[Run]] = {}
    for row in json.loads((RESULTS / "old-fakes.json").read_text(encoding="utf-8"))["runs"]:
        rows.setdefault(row["model"], []).append(row)
    return rows


def old_fakes_table(rows: Mapping[str, Sequence[Run]], measures: Mapping[str, str]) -> str:
    """Lowest and highest over the seeds of what a discriminator says of its own model's fakes, asked in two ways.

    A line for each model; for each of `measures`, with its title, a column with running averages and one with the
    statistics of the batch.
    """
    lines = [f"{'':28}" + "".join(f"{title:^30}" for title in measures.values())]
    lines.append(f"{'':28}" + f"{'averages':>14}{'batch':>14}  " * len(measures))
    for name, of_model in rows.items():
        line = f"{name:28}"
        for measure in measures:
            for way in ("running", "batch"):
                line += f"{_range([row[way][name][measure] for row in of_model], 2):>14}"
            line += "  "
        lines.append(line)
    return "\n".join(line.rstrip() for line in lines)


def load_costs() -> dict[str, dict[str, float]]:
    """Milliseconds of a training step and of the memory in it, and the memory's share, for each preset."""
    return json.loads((RESULTS / "benchmark-training-cpu.json").read_text(encoding="utf-8"))["rows"]


def of_model(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each model, models in the order of the file, under the names of the lesson."""
    models: dict[str, list[Run]] = {}
    for run in runs:
        stored: str = run["configuration"]
        name = RENAMED.get(stored, stored)
        if name not in models:
            models[name] = []
        models[name].append(run)
    return models


def values_of(runs: Sequence[Run], measure: str) -> list[float]:
    """One number of each run, or nothing if these models do not have it."""
    return [run[measure] for run in runs if run.get(measure) is not None]


# ------------------------------------------------------------------ tables


class Measure(NamedTuple):
    """A row of `range_table`."""

    title: str
    key: str  # in a run
    decimals: int = 2
    key_of_real: str | None = None  # the same of real test images, where it means anything for them


MEASURES = {
    measure.key: measure
    for measure in [
        Measure("Inception Score", "inception_score", 2, "inception_score_real"),
        Measure("Frechet distance", "frechet_distance", 1, "frechet_distance_real"),
        Measure("  to test images", "frechet_distance_test", 1),
        Measure("precision", "precision", 2, "precision_real"),
        Measure("recall", "recall", 2, "recall_real"),
        Measure("nearer to training", "nearer_to_training"),
        Measure("classes covered", "classes_covered", 0, "classes"),
        Measure("in between: random", "in_between", 3, "in_between_real"),
        Measure("  noise to noise", "in_between_noise", 3),
        Measure("  inside a slot", "in_between_slot", 3),
        Measure("  across slots", "in_between_switch", 3),
        Measure("  between keys", "in_between_keys", 3),
        Measure("slot purity", "slot_purity"),
        Measure("slots in use", "slots_in_use", 0),
        Measure("MS-SSIM inside a slot", "ms_ssim_in_slots"),
        Measure("MS-SSIM of any two", "ms_ssim", 2, "ms_ssim_real"),
        Measure("old fakes rejected", "old_fakes_rejected"),
        Measure("newest fakes rejected", "new_fakes_rejected"),
        Measure("real images rejected", "real_rejected"),
    ]
}


def range_table(models: Mapping[str, Sequence[Run]], keys: Sequence[str]) -> str:
    """Lowest and highest value over the seeds, a measure in each row and a model in each column.

    The last column is what real test images score, where that means anything. A run that failed has no values, and the
    row of the seeds says so. Raises KeyError for an unknown measure.
    """
    lines = [_line("", [*models, "real"])]
    lines.append(_line("seeds", [*(_seeds(runs) for runs in models.values()), ""]))
    for measure in (MEASURES[key] for key in keys):
        cells = [_range(values_of(runs, measure.key), measure.decimals) for runs in models.values()]
        first = next(iter(models.values()))[0]
        of_real = first.get(measure.key_of_real) if measure.key_of_real else None
        cells.append("" if of_real is None else f"{of_real:.{measure.decimals}f}")
        lines.append(_line(measure.title, cells))
    return "\n".join(lines)


def _seeds(runs: Sequence[Run]) -> str:
    """How many runs there are, or how many of them trained where some did not."""
    trained = [run for run in runs if not run.get("failed")]
    return str(len(runs)) if len(trained) == len(runs) else f"{len(trained)} of {len(runs)}"


def _line(title: str, cells: Sequence[str]) -> str:
    """A row: the title in 22 columns, the models in 17 each, real images in 7."""
    *models, real = cells
    return (f"{title:22}" + "".join(f"{cell:>17}" for cell in models) + f"{real:>7}").rstrip()


def _range(values: Sequence[float], decimals: int) -> str:
    """Lowest and highest of `values`, or one number if they agree; nothing if there are none."""
    if not values:
        return ""
    lowest, highest = (f"{value:.{decimals}f}" for value in (min(values), max(values)))
    return lowest if lowest == highest else f"{lowest} to {highest}"


# ------------------------------------------------------------------ figures


class Panel(NamedTuple):
    """One measure of `grouped_figure`, for every row."""

    label: str  # of its axis
    values: Mapping[str, Sequence[float]]  # by row; a row without values stays empty
    real: float | None = None  # of real test images, a dashed line
    logarithmic: bool = False
    limits: tuple[float | None, float | None] = (None, None)
    ticks: Mapping[float, str] | None = None


def headline_figure(models: Mapping[str, Sequence[Run]]) -> Figure:
    """Four measures of each model in two rows, the first model in blue; an arrow says which way is better.

    Old fakes have none, because a discriminator that rejected everything would reject all of them.
    """
    measures = {
        "inception_score": ("Inception Score →", 5.5, 10),
        "frechet_distance": ("← Frechet distance", 0, 300),
        "in_between": ("← images in between", 0, 0.35),
        "old_fakes_rejected": ("old fakes rejected", 0.7, 1),
    }
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    all_axes = figure.subplots(2, 2, sharey=True)
    for axes, (key, (label, lowest, highest)) in zip(all_axes.flat, measures.items(), strict=True):
        for place, runs in enumerate(models.values()):
            _dots(axes, place, values_of(runs, key), GENERATED if place else REAL)
        real = next(iter(models.values()))[0].get(f"{key}_real")
        _dress(axes, Panel(label, {}, real, limits=(lowest, highest)), len(models))
        axes.set_yticks(range(len(models)), list(models))
    return figure


def grouped_figure(groups: Mapping[str, Mapping[str, str]], panels: Sequence[Panel], ours: Sequence[str]) -> Figure:
    """A dot for each seed; rows stand in `groups` under a heading, measures side by side.

    `groups[heading][row]` is what a row is called in the picture. Rows in `ours` are blue, the others orange.
    """
    rows = [(heading, "") for heading in groups]
    for heading, names in groups.items():
        place = rows.index((heading, ""))
        rows[place + 1 : place + 1] = [(row, name) for row, name in names.items()]
    figure = Figure(figsize=(9, 0.27 * len(rows) + 0.9), layout="constrained")
    all_axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
    for axes, panel in zip(all_axes, panels, strict=True):
        for place, (row, name) in enumerate(rows):
            if name:
                _dots(axes, place, panel.values.get(row, ()), REAL if row in ours else GENERATED)
        _dress(axes, panel, len(rows))
    _name_rows(all_axes[0], rows)
    return figure


def _dots(axes: Axes, place: int, values: Sequence[float], colour: str) -> None:
    """A dot for each of `values` in one row, a little apart in height, so that no dot hides another."""
    axes.axhline(place, color="#EEEEEE", linewidth=0.8, zorder=0)
    if not len(values):
        return
    spread = 0.0 if len(values) == 1 else 0.22
    heights = place + np.linspace(-spread, spread, len(values))
    axes.plot(values, heights, "o", color=colour, markersize=4.5, clip_on=False)


def _dress(axes: Axes, panel: Panel, num_rows: int) -> None:
    """The axis of one measure, and the line of real images with its name on it."""
    if panel.logarithmic:
        axes.set_xscale("log")
    axes.set(xlabel=panel.label, xlim=panel.limits, ylim=(num_rows - 0.4, -0.6))
    if panel.ticks is not None:
        axes.set_xticks(list(panel.ticks), list(panel.ticks.values()))
        axes.minorticks_off()
    if panel.real is not None:
        axes.axvline(panel.real, color=UNUSED, linestyle="--", linewidth=1.2, zorder=0)
        at = axes.get_xaxis_transform()
        share, _ = axes.transAxes.inverted().transform(axes.transData.transform((panel.real, 0)))
        side = "left" if share < 0.2 else "right" if share > 0.8 else "center"  # not into the next panel
        axes.text(panel.real, 1.0, "real images", transform=at, ha=side, va="bottom", fontsize=9, color="#555555")
    hide_top_and_right(axes)
    axes.tick_params(axis="y", length=0)


def _name_rows(axes: Axes, rows: Sequence[tuple[str, str]]) -> None:
    """Headings in bold, the names of their rows below."""
    axes.set_yticks(range(len(rows)), [name or heading for heading, name in rows], fontsize=9.5)
    for label, (_, name) in zip(axes.get_yticklabels(), rows, strict=True):
        if not name:
            label.set_fontweight("bold")
            label.set_color(INK)


def plane_figure(
    groups: Mapping[str, Mapping[str, str]],
    modes: Mapping[str, Sequence[float]],
    off_mode: Mapping[str, Sequence[float]],
    ours: Sequence[str],
) -> Figure:
    """Modes found and points off all modes of every kind of run on the plane."""
    floor = 5e-5  # a share of 0 has no place on a logarithmic axis
    shown = {kind: [max(share, floor) for share in shares] for kind, shares in off_mode.items()}
    ticks = {floor: "none", 1e-3: "0.1 %", 1e-2: "1 %", 1e-1: "10 %", 1: "100 %"}
    found = Panel("modes found, of 8", modes, limits=(0, 8.5))
    off = Panel("share of points off all modes", shown, logarithmic=True, limits=(floor / 1.3, 1.2), ticks=ticks)
    return grouped_figure(groups, [found, off], ours)


def in_between_figure(models: Mapping[str, Sequence[Run]], rows: Mapping[str, Sequence[str]]) -> Figure:
    """The share of images in between, models in groups, a row for random samples and for each kind of walk."""
    groups: dict[str, dict[str, str]] = {}
    values = {}
    for model, keys in rows.items():
        groups[model] = {}
        for key in keys:
            title = MEASURES[key].title
            groups[model][f"{model} {key}"] = "random samples" if key == "in_between" else title.strip()
            values[f"{model} {key}"] = values_of(models[model], key)
    ours = list(groups[next(iter(rows))])
    real = next(iter(models.values()))[0]["in_between_real"]
    return grouped_figure(groups, [Panel("share of images in between", values, real, limits=(-0.01, 0.35))], ours)


def two_ablations_figure(studies: Mapping[str, Mapping[str, Sequence[Run]]]) -> Figure:
    """Inception Score and recall of every model, a row of panels for each data set; `studies[title][model]` are its runs."""
    heights = [0.27 * len(models) + 0.75 for models in studies.values()]
    figure = Figure(figsize=(8.4, sum(heights)), layout="constrained")
    all_axes = np.atleast_2d(figure.subplots(len(studies), 2, sharey="row", height_ratios=heights))
    for (score, recall), (title, models) in zip(all_axes, studies.items(), strict=True):
        first = next(iter(models.values()))[0]
        panels = [
            (score, "inception_score", Panel("Inception Score →", {}, first["inception_score_real"], limits=(3, 10))),
            (recall, "recall", Panel("recall →", {}, first["recall_real"], limits=(0, 1))),
        ]
        for axes, measure, panel in panels:
            for place, (model, runs) in enumerate(models.items()):
                _dots(axes, place, values_of(runs, measure), REAL if model == OURS else GENERATED)
            _dress(axes, panel, len(models))
        score.set_yticks(range(len(models)), list(models), fontsize=9.5)
        score.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK)
    return figure


def plane_groups() -> dict[str, dict[str, str]]:
    """The runs of results/plane.json that notebook 7 shows: heading, kind, and what was changed."""
    return {
        "the method": {"memory": "MemoryGAN"},
        "a part taken out, or another in its place": {
            "generator without key": "the generator is told no key",
            "lambda 0": "no information term (λ = 0)",
            "the paper's term": "density instead of posterior term",
            "one slot vouches": "1 slot may vouch, not 8",
            "two slots vouch": "2 slots may vouch, not 8",
            "all of S_y young": "all k slots made young, not the best",
            "oldest of all": "the oldest of all slots replaced",
            "the paper's rule": "both, as published",
            "no blur": "no noise on D's inputs",
        },
        "another number": {
            "kappa 5": "κ = 5, not 15",
            "kappa 60": "κ = 60, not 15",
            "32 slots": "32 slots, not 128",
        },
        "harder data": {
            "memory, sigma 0.05": "modes half as wide",
            "memory, unequal modes": "every other mode 3 times as frequent",
        },
        "InfoGAN: a one-hot code, no memory": {
            "one-hot": "8 codes for the 8 modes",
            "one-hot, 5 codes": "5 codes",
            "one-hot, 12 codes": "12 codes",
            "one-hot, unequal modes": "8 codes, unequal modes",
        },
    }


# ------------------------------------------------------------------ checks


@attempt
def check_causes(answer: dict[str, str]) -> str:
    """Exercise 7.1: which cause of forgetting alone loses most of A within 300 steps, for both sizes of memory."""
    truth = {"512 slots": "both", "128 slots": "drift"}
    for size, cause in truth.items():
        given = answered(answer.get(size, ...))
        if given not in ("drift", "slot loss", "both"):
            raise Wrong(f"{size}: expected 'drift', 'slot loss' or 'both', got {given!r}.")
        if given != cause:
            raise Wrong(f"{size}: look at what is left at step 300 when the OTHER cause is stopped, on every seed.")
    return "The encoder's drift alone loses A with both sizes; with 512 slots the loss of slots does, too."


@attempt
def check_switch(answer: Any) -> str:
    """Exercise 7.2: what the generator is given at time t of a walk across slots: the key switched, the noise moved."""
    keys = torch.eye(4)[:2]
    noise = torch.tensor([[-1.0, 0.0], [1.0, 0.5]])
    for time, end in [(0.0, 0), (0.25, 0), (0.45, 0), (0.55, 1), (0.75, 1), (1.0, 1)]:
        given_key, given_noise = answered(answer(keys, noise, time))
        key = torch.as_tensor(given_key)
        on_the_line = noise[0].lerp(noise[1], time)
        if not torch.allclose(torch.as_tensor(given_noise), on_the_line):
            raise Wrong(f"At t = {time} the noise should be on the straight line, {on_the_line.tolist()}.")
        if not torch.equal(key, keys[0]) and not torch.equal(key, keys[1]):
            raise Wrong(f"At t = {time} your key {key.tolist()} is no slot's key: switch it, do not interpolate it.")
        if not torch.equal(key, keys[end]):
            raise Wrong(f"At t = {time} the key should be that of end {end}.")
    return "Between two slots there is nothing that could be asked for."


def chance_of(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The share of all ways to deal these numbers into two groups of their sizes that favour the first at least as much.

    Favour is the difference of the means; this is the exact one-sided permutation test.
    """
    return _share_of_deals(ours, theirs, lambda difference, seen: difference >= seen - 1e-12)


def _share_of_deals(ours: Sequence[float], theirs: Sequence[float], counts: Callable[[float, float], bool]) -> float:
    together = [*ours, *theirs]
    seen = sum(ours) / len(ours) - sum(theirs) / len(theirs)
    deals = list(itertools.combinations(range(len(together)), len(ours)))
    hits = 0
    for deal in deals:
        first = sum(together[place] for place in deal)
        difference = first / len(ours) - (sum(together) - first) / len(theirs)
        hits += counts(difference, seen)
    return hits / len(deals)


@attempt
def check_chance(answer: Callable[[Sequence[float], Sequence[float]], float]) -> str:
    """Exercise 7.3: the exact permutation test of two lists of scores."""
    cases = [([9.1, 9.2, 9.4], [7.6, 7.8, 8.0]), ([1.0, 4.0, 6.0, 7.0], [2.0, 3.0, 5.0]), ([1.0, 2.0], [1.0, 2.0])]
    for ours, theirs in cases:
        got = float(answered(answer(list(ours), list(theirs))))
        right = chance_of(ours, theirs)
        two_sided = _share_of_deals(ours, theirs, lambda difference, seen: abs(difference) >= abs(seen) - 1e-12)
        strict = _share_of_deals(ours, theirs, lambda difference, seen: difference > seen + 1e-12)
        mistakes = [
            Mistake(strict, "A deal that favours ours exactly as much counts too; the real one is among them."),
            Mistake(1 - strict, "You count the deals that favour ours at most as much."),
            Mistake(two_sided, "You count deals that favour theirs as well."),
        ]
        if np.isclose(got, right, atol=1e-9):
            continue
        refuse_mistakes(got, mistakes, f"For {ours} against {theirs}: {got:.3f}. ")
        raise Wrong(f"For {ours} against {theirs} you get {got:.3f}; {right:.3f} is right.")
    return "The test is exact: it tries every deal."

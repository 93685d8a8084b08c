"""Notebook 07: what was taken out and what that cost, from a study's result, and the exercises."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure

from memgan.lab.studies.result_file import load_study
from memgan.plots import GENERATED, REAL, UNUSED
from walkthrough.drawing import hide_top_and_right
from walkthrough.lesson import Wrong, answered, attempt

__all__ = [
    "ablation_figure",
    "ablation_table",
    "check_causes",
    "check_switch",
    "FASHION_ABLATION",
    "load_candidates",
    "load_runs",
    "load_tuning",
    "load_seeds",
    "of_model",
    "seeds_table",
    "tuning_table",
    "walk_rates",
]

Run = dict[str, Any]
RESULT = Path(__file__).resolve().parents[2] / "results" / "study-ablation-digits.json"
FASHION = RESULT.with_name("study-seeds-fashion-mnist-slim.json")
FASHION_ABLATION = RESULT.with_name("study-ablation-fashion-mnist-slim.json")
WALKS = ("slot", "switch", "keys", "noise")


def load_runs(path: Path = RESULT) -> list[Run]:
    """Every run of `memgan study ablation`, after each model's own tuning."""
    return load_study(path)["runs"]


def load_tuning(path: Path = RESULT) -> list[Run]:
    """What was tried for each model before its runs: one run for each pair of rates."""
    return load_study(path)["tuning"]


def load_candidates(path: Path = RESULT) -> dict[str, list[float]]:
    """The pairs of learning rates that were tried, G's and D's, by name."""
    rates = {}
    for name, assignments in load_study(path)["candidates"].items():
        rates[name] = [_assigned_number(assignment) for assignment in assignments]
    return rates


def _assigned_number(assignment: str) -> float:
    """The number of "field=number"."""
    _, number = assignment.split("=")
    return float(number)


def load_seeds(path: Path = FASHION) -> list[Run]:
    """The runs of memoryGAN in the study of seeds on Fashion-MNIST."""
    return of_model(load_study(path)["runs"])["memoryGAN"]


def of_model(runs: list[Run]) -> dict[str, list[Run]]:
    """The runs of each model, models in the order of the file."""
    models: dict[str, list[Run]] = {}
    for run in runs:
        name = run["configuration"]
        if name not in models:
            models[name] = []
        models[name].append(run)
    return models


def ablation_table(runs: list[Run]) -> str:
    """Mean, lowest and highest of both scores over the seeds, and the number of classes covered by the worst seed."""
    lines = [f"{'':25}{'Inception Score':>21}{'Frechet':>18}{'classes':>9}"]
    for name, same in of_model(runs).items():
        score = _mean_and_range([run["inception_score"] for run in same], decimals=2)
        distance = _mean_and_range([run["frechet_distance"] for run in same], decimals=0)
        classes = min(run["classes_covered"] for run in same)
        lines.append(f"{name:25}{score:>21}{distance:>18}{classes:>9}")
    return "\n".join(lines)


def _mean_and_range(values: list[float], decimals: int) -> str:
    mean = sum(values) / len(values)
    return f"{mean:.{decimals}f} ({min(values):.{decimals}f} to {max(values):.{decimals}f})"


class Measure(NamedTuple):
    """A row of `seeds_table`."""

    title: str
    key: str  # in a run
    decimals: int
    key_of_real: str | None  # the same of real test images, where it means anything for them


MEASURES = [
    Measure("Inception Score", "inception_score", 2, "inception_score_real"),
    Measure("Frechet distance", "frechet_distance", 1, "frechet_distance_real"),
    Measure("classes covered", "classes_covered", 0, "classes"),
    Measure("precision", "precision", 2, "precision_real"),
    Measure("recall", "recall", 2, "recall_real"),
    Measure("MS-SSIM of random pairs", "ms_ssim", 2, "ms_ssim_real"),
    Measure("share in between", "in_between", 2, "in_between_real"),
    Measure("slot purity", "slot_purity", 2, None),
    Measure("slots in use", "slots_in_use", 0, None),
    Measure("nearest training image", "nearest_training_distance", 2, "nearest_training_distance_real"),
    Measure("old fakes rejected", "old_fakes_rejected", 2, None),
]


def seeds_table(runs: list[Run]) -> str:
    """What every seed of one configuration reached, a measure in each row, and what real test images have."""
    headings = [f"seed {run['seed']}" for run in runs]
    headings.append("real")
    lines = [_row("", headings)]
    for measure in MEASURES:
        numbers = [run[measure.key] for run in runs]
        if measure.key_of_real is not None:
            numbers.append(runs[0][measure.key_of_real])
        cells = [f"{number:.{measure.decimals}f}" for number in numbers]
        lines.append(_row(measure.title, cells))
    return "\n".join(lines)


def _row(title: str, cells: list[str]) -> str:
    """A line of a table: `title` in 24 columns, and each of `cells` at the right end of 8."""
    line = f"{title:24}"
    for cell in cells:
        line += f"{cell:>8}"
    return line


def tuning_table(tuning: list[Run], runs: list[Run], candidates: dict[str, list[float]]) -> str:
    """The Inception Score of every pair of rates that was tried for a model; a star at the pair that its runs took."""
    heading = f"{'rates of G, D in 1e-4:':25}"
    for generator_rate, discriminator_rate in candidates.values():
        heading += f"{1e4 * generator_rate:>5.0f}, {1e4 * discriminator_rate:.0f} "
    lines = [heading]
    taken = {run["configuration"]: run["candidate"] for run in runs}
    for name, tried in of_model(tuning).items():
        score = {run["candidate"]: run["inception_score"] for run in tried}
        line = f"{name:25}"
        for pair in candidates:
            star = "*" if pair == taken[name] else " "
            line += f"{score[pair]:8.2f}{star}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def ablation_figure(runs: list[Run]) -> Figure:
    """Both scores of every model, a dot for each seed; the grey lines are real test images."""
    models = of_model(runs)
    figure = Figure(figsize=(9, 0.38 * len(models) + 1.0), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, measure in ((left, "inception_score"), (right, "frechet_distance")):
        for place, same in enumerate(models.values()):
            colour = REAL if place == 0 else GENERATED
            axes.plot([run[measure] for run in same], [place] * len(same), "o", color=colour, markersize=6)
        axes.axvline(runs[0][f"{measure}_real"], color=UNUSED, linestyle="--", linewidth=1.2)
        axes.grid(axis="y", color="#EEEEEE")
        hide_top_and_right(axes)
    left.set(xlabel="Inception Score (higher is better)", xlim=(0, 10.5))
    left.set_yticks(range(len(models)), list(models))
    left.invert_yaxis()
    right.set(xlabel="Frechet distance to training images (lower is better)", xscale="log")
    right.set_xticks([15, 30, 60, 120, 240], ["15", "30", "60", "120", "240"])
    right.minorticks_off()
    return figure


def walk_rates(runs: list[Run], models: list[str]) -> dict[str, dict[str, list[float]]]:
    """For each of `models` the share of images in between on each kind of walk, one number for each seed."""
    by_model = of_model(runs)
    return {name: _walk_rates_of_one_model(by_model[name]) for name in models}


def _walk_rates_of_one_model(runs: list[Run]) -> dict[str, list[float]]:
    measures = {"random samples": "in_between"}
    for kind in WALKS:
        measures[kind] = f"in_between_{kind}"
    rates = {}
    for kind, measure in measures.items():
        if runs[0].get(measure) is not None:  # a model without slots has no walks across them
            rates[kind] = [run[measure] for run in runs]
    return rates


@attempt
def check_causes(answer: dict[str, str]) -> str:
    """Exercise 7.1: which cause of forgetting alone loses most of A within 300 steps, for both sizes of memory."""
    truth = {"512 slots": "drift", "128 slots": "both"}
    for size, cause in truth.items():
        given = answered(answer.get(size, ...))
        if given not in ("drift", "slot loss", "both"):
            raise Wrong(f"{size}: expected 'drift', 'slot loss' or 'both', got {given!r}.")
        if given != cause:
            raise Wrong(f"{size}: look at what is left at step 300 when the OTHER cause is stopped, on every seed.")
    return "With many slots the encoder's drift alone does it; with few, slots are lost as well."


@attempt
def check_switch(answer: Any) -> str:
    """Exercise 7.2: what the generator is given at time t of a walk across slots: the key switched, the noise moved."""
    keys = torch.eye(4)[:2]
    noise = torch.tensor([[-1.0, 0.0], [1.0, 0.5]])
    for time, end in [(0.0, 0), (0.25, 0), (0.75, 1), (1.0, 1)]:
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

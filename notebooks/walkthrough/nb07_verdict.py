"""Notebook 07: what was taken out and what that cost, from a study's result, and the exercises."""

from pathlib import Path
from typing import Any

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
    pairs = load_study(path)["candidates"]
    return {name: [float(change.partition("=")[2]) for change in changes] for name, changes in pairs.items()}


def load_seeds(path: Path = FASHION) -> list[Run]:
    """The runs of memoryGAN in the study of seeds on Fashion-MNIST."""
    return of_model(load_study(path)["runs"])["memoryGAN"]


def of_model(runs: list[Run]) -> dict[str, list[Run]]:
    """The runs of each model, models in the order of the file."""
    models: dict[str, list[Run]] = {}
    for run in runs:
        models.setdefault(run["configuration"], []).append(run)
    return models


def ablation_table(runs: list[Run]) -> str:
    """Mean, lowest and highest of both scores over the seeds, and the number of classes covered by the worst seed."""
    lines = [f"{'':25}{'Inception Score':>21}{'Frechet':>18}{'classes':>9}"]
    for name, same in of_model(runs).items():
        cells = []
        for measure, places in (("inception_score", 2), ("frechet_distance", 0)):
            values = [run[measure] for run in same]
            mean = sum(values) / len(values)
            cells.append(f"{mean:.{places}f} ({min(values):.{places}f} to {max(values):.{places}f})")
        lines.append(f"{name:25}{cells[0]:>21}{cells[1]:>18}{min(run['classes_covered'] for run in same):>9}")
    return "\n".join(lines)


def seeds_table(runs: list[Run]) -> str:
    """What every seed of one configuration reached, a measure in each row, and what real test images have."""
    measures = [  # what it is called, its key, decimals, the key of real images' own
        ("Inception Score", "inception_score", 2, "inception_score_real"),
        ("Frechet distance", "frechet_distance", 1, "frechet_distance_real"),
        ("classes covered", "classes_covered", 0, "classes"),
        ("precision", "precision", 2, "precision_real"),
        ("recall", "recall", 2, "recall_real"),
        ("MS-SSIM of random pairs", "ms_ssim", 2, "ms_ssim_real"),
        ("share in between", "in_between", 2, "in_between_real"),
        ("slot purity", "slot_purity", 2, None),
        ("slots in use", "slots_in_use", 0, None),
        ("nearest training image", "nearest_training_distance", 2, "nearest_training_distance_real"),
        ("old fakes rejected", "old_fakes_rejected", 2, None),
    ]
    lines = [" " * 24 + "".join(f"{'seed ' + str(run['seed']):>8}" for run in runs) + f"{'real':>8}"]
    for title, key, places, real in measures:
        numbers = [run[key] for run in runs] + ([runs[0][real]] if real else [])
        lines.append(f"{title:24}" + "".join(f"{number:>8.{places}f}" for number in numbers))
    return "\n".join(lines)


def tuning_table(tuning: list[Run], runs: list[Run], candidates: dict[str, list[float]]) -> str:
    """The Inception Score of every pair of rates that was tried for a model; a star at the pair that its runs took."""
    taken = {run["configuration"]: run["candidate"] for run in runs}
    lines = [
        f"{'rates of G, D in 1e-4:':25}" + "".join(f"{1e4 * g:>5.0f}, {1e4 * d:.0f} " for g, d in candidates.values())
    ]
    for name, tried in of_model(tuning).items():
        score = {run["candidate"]: run["inception_score"] for run in tried}
        cells = [f"{score[pair]:8.2f}{'*' if pair == taken[name] else ' '}" for pair in candidates]
        lines.append(f"{name:25}{''.join(cells)}".rstrip())
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
    measures = {"random samples": "in_between"} | {kind: f"in_between_{kind}" for kind in WALKS}
    by_model = of_model(runs)
    return {
        name: {
            kind: [run[measure] for run in by_model[name]]
            for kind, measure in measures.items()
            if by_model[name][0].get(measure) is not None
        }
        for name in models
    }


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
    keys, noise = torch.eye(4)[:2], torch.tensor([[-1.0, 0.0], [1.0, 0.5]])
    for t in (0.0, 0.25, 0.75, 1.0):
        given = answered(answer(keys, noise, t))
        key, z = (torch.as_tensor(part) for part in given)
        if not torch.allclose(z, noise[0].lerp(noise[1], t)):
            raise Wrong(f"At t = {t} the noise should be on the straight line, {noise[0].lerp(noise[1], t).tolist()}.")
        if not any(torch.equal(key, end) for end in keys):
            raise Wrong(f"At t = {t} your key {key.tolist()} is no slot's key: switch it, do not interpolate it.")
        if not torch.equal(key, keys[int(t >= 0.5)]):
            raise Wrong(f"At t = {t} the key should be that of end {int(t >= 0.5)}.")
    return "Between two slots there is nothing that could be asked for."

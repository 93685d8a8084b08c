"""Notebook 07: what was taken out and what that cost, from results/ablation.json, and the exercises."""

import json
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from memgan.plots import GENERATED, REAL, UNUSED
from walkthrough.lesson import Wrong, answered, attempt

__all__ = [
    "ablation_figure",
    "ablation_table",
    "check_causes",
    "check_switch",
    "load_candidates",
    "load_runs",
    "load_tuning",
    "of_model",
    "tuning_table",
    "walk_rates",
]

Run = dict[str, Any]
NAMES = {
    "full": "memoryGAN",
    "without memory (DCGAN)": "without memory: DCGAN",
    "one-hot code of 10 (InfoGAN)": "InfoGAN, 10 codes",
    "one-hot code of 64 (InfoGAN)": "InfoGAN, 64 codes",
}


def load_runs(path: Path | None = None) -> list[Run]:
    """Every run of results/ablation.json, after each model's own tuning."""
    return _named(_results(path)["runs"])


def load_tuning(path: Path | None = None) -> list[Run]:
    """What was tried for each model before its runs: one run for each pair of rates."""
    return _named(_results(path)["tuning"])


def load_candidates(path: Path | None = None) -> dict[str, list[float]]:
    """The pairs of learning rates that were tried, G's and D's, by name."""
    return _results(path)["candidates"]


def _results(path: Path | None) -> dict[str, Any]:
    path = path or Path(__file__).resolve().parent.parent / "results" / "ablation.json"
    return json.loads(path.read_text(encoding="utf-8"))


def _named(runs: list[Run]) -> list[Run]:
    """The runs under the names that a reader knows."""
    return [run | {"model": NAMES.get(run["model"], run["model"])} for run in runs]


def of_model(runs: list[Run]) -> dict[str, list[Run]]:
    """The runs of each model, models in the order of the file."""
    models: dict[str, list[Run]] = {}
    for run in runs:
        models.setdefault(run["model"], []).append(run)
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


def tuning_table(tuning: list[Run], runs: list[Run], candidates: dict[str, list[float]]) -> str:
    """The Inception Score of every pair of rates that was tried for a model; a star at the pair that its runs took."""
    taken = {run["model"]: run["candidate"] for run in runs}
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
        axes.spines[["top", "right"]].set_visible(False)
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
    return {
        name: {kind: [run["walks"][kind] for run in by_model[name]] for kind in by_model[name][0]["walks"]}
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

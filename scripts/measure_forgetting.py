"""Measure forgetting: every variant of `walkthrough.nb07_forgetting` on SEEDS, and what it costs to keep old fakes.

Writes results/forgetting.json, with the commit, and prints the table. About eight minutes on one free core.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

from memgan.data import load_dataset
from memgan.lab.studies.provenance import commit
from memgan.presets import PRESETS
from memgan.runs import build
from memgan.training import Trainer, prepare
from walkthrough.nb07_forgetting import (
    AMOUNT,
    DATASET,
    MARKS,
    RESULT,
    STEPS_ON_A,
    VARIANTS,
    Curve,
    experiment,
    mean_share,
)

SEEDS = (0, 1, 2)
SHOWN = (0, 5, 50, 300)
KEPT = 2048  # old fakes, in the step that is timed
ROUNDS = 110  # steps of each
WARM_UP = 10  # of them


def table(curves: Sequence[Curve]) -> str:
    """Share of A rejected, seed by seed, before B and after the steps SHOWN."""
    lines = [
        "| share of A still rejected | " + " | ".join(f"+{step}" for step in SHOWN) + " | real accepted at the end |"
    ]
    lines.append("|---" * (len(SHOWN) + 2) + "|")
    for variant in VARIANTS:
        runs = [curve for curve in curves if curve.variant == variant]
        cells = [" / ".join(f"{run.old[run.steps.index(step)]:.2f}" for run in runs) for step in SHOWN]
        lines.append(f"| {variant} | " + " | ".join(cells) + f" | {mean_share(runs, variant, SHOWN[-1], 'real'):.2f} |")
    return "\n".join(lines)


def step_times() -> dict[str, float]:
    """Median milliseconds of processor's time of a step of the preset, without old fakes and with so many.

    Both models take a step in turn, so that a noisy machine slows them alike.
    """
    times: dict[str, list[float]] = {}
    steps = {}
    for kept in (0, KEPT):
        settings = PRESETS[DATASET].changed([f"training.replay={kept}"])
        prepare(0)
        steps[str(kept)] = iter(Trainer(build(settings), load_dataset(DATASET), settings.training))
        times[str(kept)] = []
    for _ in range(ROUNDS):
        for name, training in steps.items():
            started = time.process_time()
            next(training)
            times[name].append(time.process_time() - started)
    return {name: round(1e3 * statistics.median(measured[WARM_UP:]), 3) for name, measured in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [*VARIANTS]
    parser.add_argument("names", nargs="*", choices=[[], *names], help="measure only these again, and keep the others")
    again = parser.parse_args().names or names
    stored: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    curves = {(curve["variant"], curve["seed"]): Curve(**curve) for curve in stored.get("curves", [])}
    curves |= {(name, seed): experiment(name, seed) for name in again for seed in SEEDS}
    ordered = [curves[variant, seed] for variant in VARIANTS for seed in SEEDS if (variant, seed) in curves]
    result = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "configuration": {
            "dataset": DATASET,
            "amount": AMOUNT,
            "steps_on_a": STEPS_ON_A,
            "marks": MARKS,
            "seeds": SEEDS,
        },
        "step_ms": step_times(),
        "curves": [curve._asdict() for curve in ordered],
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(ordered))


if __name__ == "__main__":
    main()

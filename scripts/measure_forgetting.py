"""Measure forgetting: every variant of `walkthrough.nb07_forgetting` on SEEDS.

Writes results/forgetting.json, with the commit, and prints the table. About seven minutes on one free core.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

import torch

from memgan.lab.studies.provenance import commit
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
        "curves": [curve._asdict() for curve in ordered],
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(ordered))


if __name__ == "__main__":
    main()

"""Measure forgetting: every variant of `walkthrough.nb07_forgetting` on SEEDS, and what a discriminator still knows.

Writes results/forgetting.json, with the commit, and prints both tables. About ten minutes on one core.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

import torch

from memgan.lab.studies.provenance import commit
from walkthrough.nb07_forgetting import (
    KEPT_AT,
    MARKS,
    RESULT,
    STEPS_ON_A,
    VARIANTS,
    Curve,
    Stationary,
    experiment,
    mean_share,
    stationary,
)

SEEDS = (0, 1, 2)
SHOWN = (0, 5, 50, 300)
GANS = ("memory", "dcgan")


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


def stationary_table(runs: Sequence[Stationary]) -> str:
    """Share of old fakes that a GAN's last discriminator rejects, seed by seed."""
    lines = ["| fakes of step | " + " | ".join(map(str, KEPT_AT)) + " | the end | real accepted |"]
    lines.append("|---" * (len(KEPT_AT) + 3) + "|")
    for run in runs:
        shares = [*run.rejected, run.newest, run.accepted]
        lines.append(f"| {run.gan}, seed {run.seed} | " + " | ".join(f"{share:.2f}" for share in shares) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [*VARIANTS, "stationary"]
    parser.add_argument("names", nargs="*", choices=[[], *names], help="measure only these again, and keep the others")
    again = parser.parse_args().names or names
    stored: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    curves = {(curve["variant"], curve["seed"]): Curve(**curve) for curve in stored.get("curves", [])}
    curves |= {(name, seed): experiment(name, seed) for name in again if name in VARIANTS for seed in SEEDS}
    gans = [Stationary(**run) for run in stored.get("stationary", [])]
    if "stationary" in again:
        gans = [stationary(name, seed) for name in GANS for seed in SEEDS]
    ordered = [curves[variant, seed] for variant in VARIANTS for seed in SEEDS if (variant, seed) in curves]
    result = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "configuration": {"steps_on_a": STEPS_ON_A, "marks": MARKS, "kept_at": KEPT_AT, "seeds": SEEDS},
        "curves": [curve._asdict() for curve in ordered],
        "stationary": [run._asdict() for run in gans],
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(ordered), stationary_table(gans), sep="\n\n")


if __name__ == "__main__":
    main()

"""Train and evaluate the digits: six seeds of each of the RULES below.

Writes results/digits.json, with the commit, and prints the table. About ten minutes on one core.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from memgan.data import load_dataset
from memgan.lab.evaluation import classifier_for, evaluate
from memgan.lab.studies.provenance import commit
from memgan.presets import PRESETS
from memgan.runs import build
from memgan.training import Trainer, prepare

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "digits.json"
SEEDS = (0, 1, 2, 3, 4, 5)  # the preset was chosen on the first three
STEPS = PRESETS["digits"].training.steps
RULES = {
    "preset": [],
    "twice the steps": [f"training.steps={2 * STEPS}"],
    "no mutual information": ["training.mi_weight=0"],
    "the paper's rule": [  # on the same networks
        "memory.kappa=1",
        "memory.alpha=0.5",
        f"memory.correct_in_top={PRESETS['digits'].memory.top_k}",
        "memory.touch=all",
        "memory.replace_within_label=false",
        "training.generator_loss=saturating",
        "training.generator_lr=2e-4",
        "training.discriminator_lr=2e-4",
        "training.mi_weight=1e-2",
        f"training.steps={2 * STEPS}",
    ],
}


def measure(rule: str, seed: int) -> dict[str, Any]:
    """Seconds of training, and everything that `memgan evaluate` reports."""
    settings = PRESETS["digits"].changed(RULES[rule])
    train_data = load_dataset("digits")
    test_data = load_dataset("digits", split="test")
    prepare(seed)
    gan = build(settings)
    started = time.perf_counter()
    Trainer(gan, train_data, settings.training).run()
    seconds = time.perf_counter() - started
    result = evaluate(gan, classifier_for("digits"), train_data, test_data)
    return {
        "rule": rule,
        "commit": commit(),
        "seed": seed,
        "steps": settings.training.steps,
        "seconds": round(seconds, 1),
        **result.to_dict(),
    }


def table(runs: list[dict[str, Any]]) -> str:
    """The runs in Markdown; a number for real images stands in brackets behind the generated one, then their ratio."""
    rows = [cells(run) for run in runs]
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *(list(row.values()) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cells(run: dict[str, Any]) -> dict[str, str]:
    """A row of the table, by the head of its columns."""
    real_distance = run["frechet_distance_real"]
    return {
        "rule": run["rule"],
        "seed": str(run["seed"]),
        "steps": str(run["steps"]),
        "seconds": f"{run['seconds']:.0f}",
        "Inception Score": beside_real(run["inception_score"], run["inception_score_real"], decimals=2),
        "Frechet to training images": beside_real(run["frechet_distance"], real_distance, decimals=1),
        "Frechet to test images": beside_real(run["frechet_distance_test"], real_distance, decimals=1),
        "classes": f"{run['classes_covered']:.0f} of {run['classes']:.0f}",
        "slot purity": f"{run['slot_purity']:.2f}",
        "nearest training image": beside_real(
            run["nearest_training_distance"], run["nearest_training_distance_real"], decimals=2
        ),
    }


def beside_real(generated: float, real: float, decimals: int) -> str:
    """What generated images score, in brackets what real ones do, and the ratio of both."""
    return f"{generated:.{decimals}f} ({real:.{decimals}f}), {generated / real:.2f}"


def kept_runs() -> dict[tuple[str, int], dict[str, Any]]:
    """The runs of the result file, by rule and seed."""
    if not RESULT.exists():
        return {}
    runs = json.loads(RESULT.read_text(encoding="utf-8"))["runs"]
    return {(run["rule"], run["seed"]): run for run in runs if run["rule"] in RULES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rules", nargs="*", choices=[[], *RULES], help="measure only these again, and keep the others")
    again = parser.parse_args().rules or list(RULES)
    runs = kept_runs()
    for rule in again:
        for seed in SEEDS:
            runs[rule, seed] = measure(rule, seed)
    ordered = [runs[rule, seed] for rule in RULES for seed in SEEDS if (rule, seed) in runs]
    result = {"torch": torch.__version__, "threads": torch.get_num_threads(), "runs": ordered}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(ordered))


if __name__ == "__main__":
    main()

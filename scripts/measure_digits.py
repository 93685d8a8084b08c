"""Train and judge the digits for README.md: six seeds of each of the RULES below.

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
from memgan.training import prepare, train

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "digits.json"
SEEDS = (0, 1, 2, 3, 4, 5)  # the preset was chosen on the first three
STEPS = PRESETS["digits"].training.steps
RULES = {
    "preset": [],
    "twice the steps": [f"training.steps={2 * STEPS}"],
    "no mutual information": ["training.mi_weight=0"],
    "the paper's rule": [  # on the same networks
        *("memory.kappa=1", "memory.alpha=0.5", f"memory.correct_in_top={PRESETS['digits'].memory.top_k}"),
        *("memory.touch=all", "memory.replace_within_label=false", "training.generator_loss=saturating"),
        *("training.generator_lr=2e-4", "training.discriminator_lr=2e-4", "training.mi_weight=1e-2"),
        f"training.steps={2 * STEPS}",
    ],
}


def measure(rule: str, seed: int) -> dict[str, Any]:
    """Seconds of training, and everything that `memgan evaluate` reports."""
    settings = PRESETS["digits"].changed(RULES[rule])
    train_data, test_data = load_dataset("digits"), load_dataset("digits", split="test")
    prepare(seed)
    gan = build(settings)
    started = time.perf_counter()
    for _ in train(gan, train_data.images, settings.training):
        pass
    seconds = time.perf_counter() - started
    result = evaluate(gan, classifier_for("digits"), train_data, test_data)
    steps = settings.training.steps
    return {
        "rule": rule,
        "commit": commit(),
        "seed": seed,
        "steps": steps,
        "seconds": round(seconds, 1),
        **result.to_dict(),
    }


def table(runs: list[dict[str, Any]]) -> str:
    """The runs in Markdown; a number for real images stands in brackets behind the generated one."""
    head = (
        "| | seed | steps | seconds | Inception Score | Frechet to training images | Frechet to test images "
        "| classes | slot purity | nearest training image |"
    )
    lines = [head, "|---" * 10 + "|"]
    for run in runs:
        real = run["frechet_distance_real"]
        score, best = run["inception_score"], run["inception_score_real"]
        near, real_near = run["nearest_training_distance"], run["nearest_training_distance_real"]
        cells = [
            run["rule"],
            f"{run['seed']}",
            f"{run['steps']}",
            f"{run['seconds']:.0f}",
            f"{score:.2f} ({best:.2f}), {score / best:.2f}",
            f"{run['frechet_distance']:.1f} ({real:.1f}), {run['frechet_distance'] / real:.2f}",
            f"{run['frechet_distance_test']:.1f} ({real:.1f}), {run['frechet_distance_test'] / real:.2f}",
            f"{run['classes_covered']:.0f} of {run['classes']:.0f}",
            f"{run['slot_purity']:.2f}",
            f"{near:.2f} ({real_near:.2f}), {near / real_near:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rules", nargs="*", choices=[[], *RULES], help="measure only these again, and keep the others")
    again = parser.parse_args().rules or list(RULES)
    kept = json.loads(RESULT.read_text(encoding="utf-8"))["runs"] if RESULT.exists() else []
    runs = {(run["rule"], run["seed"]): run for run in kept if run["rule"] in RULES}
    runs |= {(rule, seed): measure(rule, seed) for rule in again for seed in SEEDS}
    ordered = [runs[rule, seed] for rule in RULES for seed in SEEDS if (rule, seed) in runs]
    result = {"torch": torch.__version__, "threads": torch.get_num_threads(), "runs": ordered}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(ordered))


if __name__ == "__main__":
    main()

"""Train and judge the digits preset for the table of README.md: three seeds, the preset's steps and twice as many.

Writes results/digits.json, with the commit and the machine, and prints the table. About five minutes on one core.
"""

import json
import subprocess
import time
from pathlib import Path

import torch

from memgan.data import load_dataset
from memgan.evaluation import classifier_for, evaluate
from memgan.runs import build
from memgan.settings import PRESETS
from memgan.training import prepare, train

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "digits.json"
SEEDS = (0, 1, 2)


def measure(seed: int, steps: int) -> dict[str, float]:
    """Seconds of training, and everything that `memgan evaluate` reports."""
    settings = PRESETS["digits"].changed([f"training.steps={steps}"])
    train_data, test_data = load_dataset("digits"), load_dataset("digits", "test")
    prepare(seed)
    gan = build(settings)
    started = time.perf_counter()
    for _ in train(gan, train_data.images, settings.training):
        pass
    seconds = time.perf_counter() - started
    result = evaluate(gan, classifier_for("digits"), train_data, test_data)
    return {"seed": seed, "steps": steps, "seconds": round(seconds, 1), **result.to_dict()}


def table(runs: list[dict[str, float]]) -> str:
    """The runs in Markdown; a number for real images stands in brackets behind the generated one."""
    head = (
        "| seed | steps | seconds | Inception Score | Frechet to training images | Frechet to test images "
        "| classes | slot purity | nearest training image |"
    )
    lines = [head, "|---" * 9 + "|"]
    for run in runs:
        real = run["frechet_distance_real"]
        score, best = run["inception_score"], run["inception_score_real"]
        near, real_near = run["nearest_training_distance"], run["nearest_training_distance_real"]
        cells = [
            f"{run['seed']:.0f}",
            f"{run['steps']:.0f}",
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
    usual = PRESETS["digits"].training.steps
    runs = [measure(seed, steps) for steps in (usual, 2 * usual) for seed in SEEDS]
    command = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    result = {"commit": commit, "torch": torch.__version__, "threads": torch.get_num_threads(), "runs": runs}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(runs))


if __name__ == "__main__":
    main()

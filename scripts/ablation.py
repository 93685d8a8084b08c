"""MemoryGAN against itself with one part taken out, and against GANs without a memory: results/ablation.json.

Every model of MODELS gets the same tuning: the four pairs of learning rates of CANDIDATES on the seed TUNING_SEED, the
one with the best Inception Score is chosen, and then SEEDS are run with it and all of them reported. What was not tuned
again are the steps and the memory's own settings, which the digits preset chose for MemoryGAN.
About half an hour on one core; a run that stands in the file already is not repeated, so it can be broken off.
"""

import argparse
import json
import time
from typing import Any

import torch

from memgan.data import load_dataset
from memgan.gan import MemoryGAN
from memgan.settings import PRESETS, Settings
from memgan.training import prepare, train
from memgan_lab.baselines import build_model
from memgan_lab.classifier import classifier_for
from memgan_lab.evaluation import evaluate
from memgan_lab.metrics import inception_score
from scripts.digits import ROOT, commit
from walkthrough.walks import WalkKind, base_rate, in_between, walk

RESULT = ROOT / "results" / "ablation.json"
TUNING_SEED, SEEDS = 10, (0, 1, 2)
CANDIDATES = {  # learning rates of G and D
    "the preset's": (4e-4, 2e-4),
    "D as fast as G": (4e-4, 4e-4),
    "DCGAN's published": (2e-4, 2e-4),
    "both twice as fast": (8e-4, 4e-4),
}
WITH_KEYS: tuple[WalkKind, ...] = ("slot", "switch", "keys")
NOISE_ALONE = "networks.noise_dim=16"
# name -> changes, whose rates it takes, kinds of walks
MODELS: dict[str, dict[str, Any]] = {
    "full": {"walks": WITH_KEYS},
    "without EM": {"changes": ["model=kaiser"], "walks": WITH_KEYS},
    "without MCGN": {"changes": ["model=no-mcgn", NOISE_ALONE], "walks": ("noise",)},
    "without memory (DCGAN)": {"changes": ["model=dcgan", NOISE_ALONE], "walks": ("noise",)},
    "one-hot code of 10 (InfoGAN)": {"changes": ["model=infogan:10+0", "training.mi_weight=1"], "walks": WITH_KEYS},
    "one-hot code of 64 (InfoGAN)": {"changes": ["model=infogan:64+0", "training.mi_weight=1"], "walks": WITH_KEYS},
    "DCGAN, as many parameters": {
        "changes": ["model=dcgan", "networks.noise_dim=68"],
        "rates_of": "without memory (DCGAN)",
        "walks": ("noise",),
    },
    "DCGAN, twice the steps": {
        "changes": ["model=dcgan", NOISE_ALONE, f"training.steps={2 * PRESETS['digits'].training.steps}"],
        "rates_of": "without memory (DCGAN)",
        "walks": ("noise",),
    },
}


def settings_of(name: str, candidate: str) -> Settings:
    """The digits preset with a model's own changes and a candidate's rates."""
    model, (of_g, of_d) = MODELS[name], CANDIDATES[candidate]
    rates = [f"training.generator_lr={of_g}", f"training.discriminator_lr={of_d}"]
    return PRESETS["digits"].changed(model.get("changes", []) + rates)


def trained(name: str, candidate: str, seed: int) -> tuple[MemoryGAN, float]:
    """The model in evaluation mode, and the processor seconds that its training took."""
    settings = settings_of(name, candidate)
    images = load_dataset("digits").images
    prepare(seed)
    gan = build_model(settings)
    started = time.process_time()
    for _ in train(gan, images, settings.training):
        pass
    return gan.eval(), time.process_time() - started


def tune(name: str, candidate: str) -> dict[str, Any]:
    """The Inception Score of a candidate on the tuning seed."""
    gan, _ = trained(name, candidate, TUNING_SEED)
    images = gan.generate(1500, generator=torch.Generator().manual_seed(0)).images
    score = inception_score(classifier_for("digits")(images).detach())
    return {"model": name, "candidate": candidate, "seed": TUNING_SEED, "inception_score": score}


def measure(name: str, candidate: str, seed: int) -> dict[str, Any]:
    """Everything that `memgan evaluate` reports, and the share of images in between on each kind of walk."""
    gan, seconds = trained(name, candidate, seed)
    judge = classifier_for("digits")
    rates = {"random samples": base_rate(gan, judge)}
    for kind in MODELS[name]["walks"]:
        rates[kind] = in_between(walk(gan, judge, kind))
    result = evaluate(gan, judge, load_dataset("digits"), load_dataset("digits", split="test")).to_dict()
    sizes = {part: sum(p.numel() for p in getattr(gan, part).parameters()) for part in ("inference", "generator")}
    return {
        "model": name,
        "candidate": candidate,
        "seed": seed,
        "commit": commit(),
        "cpu_seconds": round(seconds, 1),
        "steps": settings_of(name, candidate).training.steps,
        "parameters": sizes,
        "walks": {kind: round(rate, 4) for kind, rate in rates.items()},
        **{key: round(value, 4) for key, value in result.items()},
    }


def chosen(name: str, tuning: list[dict[str, Any]]) -> str:
    """The candidate with the best Inception Score, of the model whose rates `name` takes."""
    own = [run for run in tuning if run["model"] == MODELS[name].get("rates_of", name)]
    return max(own, key=lambda run: run["inception_score"])["candidate"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", choices=[[], *MODELS], help="run these again, and keep the others")
    again = parser.parse_args().models
    kept = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"tuning": [], "runs": []}
    tuning = [run for run in kept["tuning"] if run["model"] not in again]
    runs = [run for run in kept["runs"] if run["model"] not in again]

    def save() -> None:
        order = list(MODELS)
        runs.sort(key=lambda run: (order.index(run["model"]), run["seed"]))
        result = {"torch": torch.__version__, "threads": 1, "candidates": CANDIDATES, "tuning": tuning, "runs": runs}
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    for name in MODELS:
        for candidate in [] if "rates_of" in MODELS[name] else CANDIDATES:
            if not any((run["model"], run["candidate"]) == (name, candidate) for run in tuning):
                tuning.append(tune(name, candidate))
                save()
                print(name, candidate, f"{tuning[-1]['inception_score']:.2f}", flush=True)
        for seed in SEEDS:
            if not any((run["model"], run["seed"]) == (name, seed) for run in runs):
                runs.append(measure(name, chosen(name, tuning), seed))
                run = runs[-1]
                save()
                print(name, seed, run["candidate"], f"{run['inception_score']:.2f}", run["walks"], flush=True)


if __name__ == "__main__":
    main()

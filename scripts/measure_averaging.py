"""Does an exponential moving average of the generator's weights help, when the memory that conditions it moves?

Trains the digits as the preset says and at a constant rate, on three seeds, and evaluates the generator as it is and
its average with three decays: with the memory's keys as they are, and with an average of each slot's key. Writes
results/averaging.json, with the commit, and prints the table. About ten minutes on one core.
"""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan.data import ImageData, load_dataset
from memgan.gan import MemoryGAN
from memgan.lab.evaluation import classifier_for, evaluate
from memgan.lab.evaluation.classifier import Classifier
from memgan.lab.evaluation.registry import METRICS
from memgan.lab.studies.provenance import commit
from memgan.memory import VMFMemory
from memgan.presets import PRESETS
from memgan.runs import build
from memgan.training import Trainer, prepare

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "averaging.json"
SEEDS = (0, 1, 2)
DECAYS = (0.9, 0.99, 0.999)
SCHEDULES = {
    "preset": [],
    "constant rates": ["training.decay_from=1"],
}
MEASURED = ("inception_score", "frechet_distance", "recall", "slot_purity", "classes_covered")
PASSES = 100  # batches from which the statistics of an average's batch normalisation are estimated


class Averages:
    """Averages of a generator's weights and of a memory's keys, with one decay.

    The decay is smaller during the first steps, as is usual, so that the random first weights are soon forgotten.
    """

    def __init__(self, gan: MemoryGAN, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.generator = copy.deepcopy(gan.generator)
        self.keys = gan.memory.keys.clone()

    @torch.no_grad()
    def update(self, gan: MemoryGAN, replaced: Tensor) -> None:
        """Go on by a step; the average of a slot that was `replaced` [N] begins anew."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for average, weight in zip(self.generator.parameters(), gan.generator.parameters(), strict=True):
            average.lerp_(weight, 1 - decay)
        self.keys.lerp_(gan.memory.keys, 1 - decay)
        self.keys[replaced] = gan.memory.keys[replaced]

    def model(self, gan: MemoryGAN, averaged_keys: bool) -> MemoryGAN:
        """A copy of `gan` with the average as its generator, and where asked for with the averages of its keys."""
        averaged = copy.deepcopy(gan)
        averaged.generator = copy.deepcopy(self.generator)
        if averaged_keys:
            averaged.memory.keys.copy_(F.normalize(self.keys, dim=1))
        estimate_statistics(averaged)
        return averaged


@torch.no_grad()
def estimate_statistics(gan: MemoryGAN) -> None:
    """Let batch normalisation in G forget its statistics, and take them anew over PASSES batches."""
    for module in gan.generator.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches
    gan.generator.train()
    for _ in range(PASSES):
        gan.generate(64)
    gan.generator.eval()


def replaced_slots(before: VMFMemory, after: VMFMemory) -> Tensor:
    """Which slots a write replaced, [N]: young ones with the mean of the histogram as it was before. (7)"""
    return (after.ages == 0) & (after.histogram == before.histogram.mean())


def measure(
    schedule: str, seed: int, classifier: Classifier, train_data: ImageData, test_data: ImageData
) -> Iterator[dict[str, Any]]:
    """A row for the generator as it is, under a decay of 0, and for each of its averages."""
    settings = PRESETS["digits"].changed([*SCHEDULES[schedule], "training.recount=false"])
    prepare(seed)
    gan = build(settings)
    averages = [Averages(gan, decay) for decay in DECAYS]
    before = copy.deepcopy(gan.memory)
    for _ in Trainer(gan, train_data, settings.training):
        replaced = replaced_slots(before, gan.memory)
        for average in averages:
            average.update(gan, replaced)
        before.load_state_dict(gan.memory.state_dict())
    same_weights = copy.deepcopy(gan)
    estimate_statistics(same_weights)
    models = [(0.0, "as they are", same_weights)]  # a decay of 0 averages nothing
    for average in averages:
        models.append((average.decay, "as they are", average.model(gan, averaged_keys=False)))
        models.append((average.decay, "averaged", average.model(gan, averaged_keys=True)))
    metrics = tuple(metric for metric in METRICS if metric.name in MEASURED)
    for decay, keys, model in models:
        result = evaluate(model, classifier, train_data, test_data, metrics=metrics)
        scores = {name: round(getattr(result, name), 4) for name in MEASURED}
        yield {"schedule": schedule, "seed": seed, "decay": decay, "keys": keys, **scores}


def main() -> None:
    classifier = classifier_for("digits")
    train_data = load_dataset("digits")
    test_data = load_dataset("digits", split="test")
    code = commit()
    runs = []
    for schedule in SCHEDULES:
        for seed in SEEDS:
            for run in measure(schedule, seed, classifier, train_data, test_data):
                runs.append(run)
                print(run, flush=True)
    result = {"commit": code, "torch": torch.__version__, "threads": torch.get_num_threads(), "runs": runs}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

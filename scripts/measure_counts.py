"""How often should each slot be drawn? `python -m scripts.measure_counts` scores the same models with four counts.

Each model is trained without counting again. Its slots are then drawn as the last batches of the training left their
counts, and as `VMFMemory.recount` counts 10,000 training images with the present counts trusted not at all, by half
(as a training does) and wholly (an E step). All else is the same, so that the scores differ by the counts alone.
Writes results/counts.json; half an hour on one core, and Fashion-MNIST has to be there.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memgan import MemoryGAN
from memgan.batches import StoredBatches
from memgan.data import ImageData, load_dataset
from memgan.lab.evaluation import classifier_for, evaluate
from memgan.lab.studies.provenance import commit
from memgan.presets import PRESETS
from memgan.runs import build
from memgan.training import COUNTED, prepare, train

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "counts.json"
SEEDS = (0, 1, 2)
MODELS = {
    "mnist-5k": ["training.recount=false"],
    "fashion-mnist-slim": [
        "training.recount=false",
        "training.mi_weight=0.3",  # which the preset had when its three models were trained
        "training.steps=3750",
        "training.precision=bfloat16",
    ],
}
COUNTS = {"as the last batches left them": None, "counted, w = 0": 0.0, "counted, w = 1/2": 0.5, "counted, w = 1": 1.0}
IDLE = 20  # writes in which a slot was the best match of no image
SCORES = ("inception_score", "frechet_distance", "precision", "recall", "slot_purity", "slots_in_use")


def measure(preset: str, seed: int) -> Iterator[dict[str, Any]]:
    """Train a model, and score it with each kind of counts."""
    settings = PRESETS[preset].changed(MODELS[preset])
    data = load_dataset(settings.dataset, size=settings.networks.image_size)
    test = load_dataset(settings.dataset, split="test", size=settings.networks.image_size)
    classifier = classifier_for(settings.dataset, data=data)
    prepare(seed)
    gan = build(settings)
    for _ in train(gan, data, settings.training):
        pass
    gan.eval()
    queries = queries_of(gan, data)
    counts = gan.memory.histogram.clone()
    for name, prior_weight in COUNTS.items():
        gan.memory.histogram.copy_(counts)
        if prior_weight is not None:
            gan.memory.recount(queries, prior_weight)
        found = evaluate(gan, classifier, data, test)
        scores = {score: float(f"{getattr(found, score):.6g}") for score in SCORES}
        is_idle = gan.memory.ages >= IDLE
        scores["idle_slots"] = float(f"{float(gan.memory.slot_probabilities()[is_idle].sum()):.6g}")
        yield {"preset": preset, "counts": name, "seed": seed, "steps": settings.training.steps, **scores}


@torch.no_grad()
def queries_of(gan: MemoryGAN, data: ImageData) -> Tensor:
    """What mu makes of training images, evenly spread over all, [n, M]."""
    return torch.cat([gan.inference(images) for images in StoredBatches(data, batch_size=256).spread(COUNTED)])


def main() -> None:
    rows = []
    for preset in MODELS:
        for seed in SEEDS:
            for row in measure(preset, seed):
                rows.append(row)
                score, distance = row["inception_score"], row["frechet_distance"]
                print(f"{preset}, seed {seed}, {row['counts']}: {score:.2f}, {distance:.1f}", flush=True)
    RESULT.write_text(json.dumps({"commit": commit(), "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Train the preset mnist-5k once, seed 0, and keep what notebook 6 shows of it.

Writes results/training.json (losses, the memory and D along the way, scores of the end) and two sheets of samples into
figures/. A minute and a half of one core.
"""

import json
from pathlib import Path
from typing import Any

import torch

from memgan import MemoryGAN
from memgan.data import ImageData, as_float, load_dataset
from memgan.lab.evaluation import classifier_for, evaluate
from memgan.lab.evaluation.classifier import classify
from memgan.lab.studies.provenance import commit
from memgan.presets import PRESETS
from memgan.runs import build
from memgan.training import Trainer, prepare
from scripts.measure_bounds import write_sheet

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "training.json"
SNAPSHOTS = ROOT / "figures" / "training-snapshots.png"
CONFIDENCE = ROOT / "figures" / "training-confidence.png"
PICTURES = (SNAPSHOTS.name, CONFIDENCE.name)
MOMENTS = (1, 25, 50, 100, 200, 400, 800, 1600)
EVERY = 10  # steps between two entries of the history: means over these steps


def sixteen(gan: MemoryGAN) -> torch.Tensor:
    """Sixteen images from the same random numbers each time."""
    gan.eval()
    return gan.generate(16, generator=torch.Generator().manual_seed(1)).images


def accepted(gan: MemoryGAN, images: torch.Tensor) -> float:
    """The share of `images` with D above one half."""
    gan.eval()
    with torch.no_grad():
        parts = [gan.discriminate(as_float(part)) for part in images.split(500)]
    return float((torch.cat(parts) > 0.5).double().mean())


def moment(gan: MemoryGAN, step: int, train: ImageData, test: ImageData) -> dict[str, Any]:
    """What D says of images that it has seen, of unseen ones and of the newest fakes; and the memory's state."""
    fakes = gan.eval().generate(1000, generator=torch.Generator().manual_seed(2)).images
    return {
        "step": step,
        "seen": accepted(gan, train.images[::4]),
        "unseen": accepted(gan, test.images),
        "fakes": accepted(gan, fakes),
        "slots_in_use": float(gan.memory.slots_in_use()),
        "real_slots": int(gan.memory.values.sum()),
    }


def by_confidence(gan: MemoryGAN, classifier: torch.nn.Module) -> torch.Tensor:
    """Of 1000 images the 32 that the classifier is most sure of, 32 round the median, and the 32 least sure."""
    images = gan.generate(1000, generator=torch.Generator().manual_seed(3)).images
    confidence, _ = classify(classifier, images)
    order = confidence.argsort(stable=True)
    return torch.cat([images[order[-32:]], images[order[484:516]], images[order[:32]]])


def main() -> None:
    settings = PRESETS["mnist-5k"].changed(["training.recount=false"])  # the counts as each step leaves them
    train = load_dataset(settings.dataset)
    test = load_dataset(settings.dataset, split="test")
    prepare(0)
    gan = build(settings)
    history: list[list[float]] = []
    block: list[list[float]] = []
    moments = []
    sheet = []
    for step in Trainer(gan, train, settings.training):
        block.append([float(number) for number in step[1:]])
        if step.number % EVERY == 0:
            history.append([round(number, 4) for number in torch.tensor(block).mean(dim=0).tolist()])
            block = []
        if step.number in MOMENTS:
            sheet.append(sixteen(gan))
            moments.append(moment(gan, step.number, train, test))
            print(moments[-1], flush=True)
    write_sheet(torch.cat(sheet), 16, SNAPSHOTS)
    gan.eval()
    classifier = classifier_for(settings.dataset)
    write_sheet(by_confidence(gan, classifier), 16, CONFIDENCE)
    result = evaluate(gan, classifier, train, test)
    print(result)
    content = {
        "commit": commit(),
        "steps": settings.training.steps,
        "every": EVERY,
        "history": history,
        "moments": moments,
        "scores": {name: value for name, value in result.to_dict().items() if isinstance(value, float | int)},
    }
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

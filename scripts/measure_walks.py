"""Walk through the latent space of a DCGAN on MNIST: what notebook 1 shows of digits.

The networks are those of the preset mnist-5k, with a sigmoid at the end of the discriminator and noise alone for the
generator; 3,000 steps. Writes results/walks.json and two sheets into figures/. Two minutes of one core.
"""

import json
from pathlib import Path
from typing import Any

import torch

from memgan.data import as_float, load_dataset
from memgan.gan import AdversarialModel
from memgan.lab.baselines.models import as_model, build_model
from memgan.lab.evaluation import classifier_for, evaluate, walks
from memgan.lab.evaluation.classifier import Classifier, classify
from memgan.lab.evaluation.registry import METRICS
from memgan.lab.studies.provenance import commit
from memgan.presets import PRESETS, Settings
from memgan.training import Trainer, prepare
from scripts.measure_bounds import write_sheet

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "walks.json"
SHEETS = ROOT / "figures"
WALKS = "walks-dcgan.png"
SAMPLES = "samples-dcgan.png"
PICTURES = (WALKS, SAMPLES)
SCORES = ("inception_score", "frechet_distance", "recall")


def dcgan_settings() -> Settings:
    """As many weights as the preset's MemoryGAN."""
    changes = ["training.steps=3000", "networks.noise_dim=16"]
    settings = as_model(PRESETS["mnist-5k"], "dcgan")
    return settings.changed(changes)


@torch.no_grad()
def ends_of_one_class(gan: AdversarialModel, classifier: Classifier) -> walks.Ends:
    """As many pairs of samples as `walks.walk` takes; the classifier is sure of both and gives them one class."""
    generator = torch.Generator().manual_seed(0)
    found = []
    while sum(len(noise) for noise in found) < walks.PAIRS:
        noise = torch.rand(2 * walks.PAIRS, 2, gan.noise_dim, generator=generator) * 2 - 1
        images = gan.generator(torch.zeros(len(noise) * 2, 0), noise.flatten(0, 1)).unflatten(0, (len(noise), 2))
        confidence, classes = classify(classifier, images)
        fit = (confidence >= walks.SURE).all(dim=1) & (classes[:, 0] == classes[:, 1])
        found.append(noise[fit])
    chosen = torch.cat(found)[: walks.PAIRS].transpose(0, 1)
    return walks.Ends(torch.zeros(2, walks.PAIRS, 0), chosen)


def main() -> None:
    settings = dcgan_settings()
    train = load_dataset(settings.dataset)
    test = load_dataset(settings.dataset, split="test")
    classifier = classifier_for(settings.dataset)
    prepare(0)
    gan = build_model(settings)
    for step in Trainer(gan, train, settings.training):
        if step.number % 500 == 0:
            gan.eval()
            print(step.number, float(step.real), float(step.generated), walks.base_rate(gan, classifier), flush=True)
    gan.eval()
    walked = walks.walk(gan, classifier, "noise")
    control = walks.walk_between(gan, classifier, ends_of_one_class(gan, classifier), "noise")
    chosen = [walks.pick(walked, quantile) for quantile in (0.9, 0.5, 0.1)]
    write_sheet(walked.images[chosen].flatten(0, 1), walks.POINTS, SHEETS / WALKS)
    generated = gan.generate(48, generator=torch.Generator().manual_seed(0)).images
    write_sheet(generated, 16, SHEETS / SAMPLES)
    real_confidence, _ = classify(classifier, as_float(test.images))
    metrics = tuple(metric for metric in METRICS if metric.name in SCORES)
    result = evaluate(gan, classifier, train, test, metrics=metrics)
    scores: dict[str, Any] = {}
    for name in SCORES:
        scores[name] = getattr(result, name)
        scores[f"{name}_real"] = getattr(result, f"{name}_real")
    content = {
        "commit": commit(),
        "steps": settings.training.steps,
        "in_between": (walked.confidence < walks.IN_BETWEEN).double().mean(dim=0).tolist(),
        "in_between_one_class": (control.confidence < walks.IN_BETWEEN).double().mean(dim=0).tolist(),
        "random": walks.base_rate(gan, classifier),
        "real": float((real_confidence < walks.IN_BETWEEN).double().mean()),
        "confidence": walked.confidence[chosen].tolist(),
        "classes": walked.classes[chosen].tolist(),
        "scores": scores,
    }
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(content)


if __name__ == "__main__":
    main()

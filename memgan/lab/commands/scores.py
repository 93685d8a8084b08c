"""What `memgan train --evaluate-every` measures: a few scores of the registry, on fewer images than `evaluate`."""

import argparse
from collections.abc import Callable

import torch

from memgan.data import ImageData
from memgan.gan import AdversarialModel
from memgan.lab.commands.options import data_of
from memgan.lab.evaluation import METRICS, Metric, classifier_for
from memgan.lab.evaluation.classifier import has_classes
from memgan.lab.evaluation.material import gather, some_images
from memgan.lab.evaluation.registry import named
from memgan.presets import Settings

__all__ = ["BEST", "SCORED", "scorer"]

BEST = "inception_score"
SCORED = {"inception_score": False, "frechet_distance": True}  # whether lower is better
BESIDE = ("slots_in_use", "classes_covered", "in_between")  # measured too, but nobody's best
MOST_IMAGES = 2000  # that are drawn for each measurement, and that they are compared with
SEED = 1  # `evaluate` draws by 0: the checkpoint that was best on some images should be reported on others


def scorer(
    options: argparse.Namespace, settings: Settings, train: ImageData
) -> Callable[[AdversarialModel], dict[str, float]]:
    """The function that measures a model while it is trained on `train`; it draws nothing from the random state.

    Raises ValueError for a data set without classes: a classifier of the data is what measures.
    """
    if not has_classes(train):
        raise ValueError(f"--evaluate-every needs images in classes, {settings.dataset} has none")
    with torch.random.fork_rng(devices=[]):
        test = data_of(options, settings, "test")
        classifier = classifier_for(settings.dataset, data=train)
    some_train = some_images(train, MOST_IMAGES, seed=0)
    some_test = some_images(test, len(some_train.images), seed=0)
    metrics: list[Metric] = [named(name, METRICS) for name in (*SCORED, *BESIDE)]

    def scores(gan: AdversarialModel) -> dict[str, float]:
        with torch.random.fork_rng(devices=[]):
            material = gather(gan, classifier, some_train, some_test, seed=SEED)
            measured = {metric.name: metric.measure(material) for metric in metrics}
        return {name: score.value for name, score in measured.items() if score is not None}

    return scores

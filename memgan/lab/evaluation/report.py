"""How good are a model's images, beside real ones? Every score of the registry, as an object, a table or JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.data import ImageData, as_float
from memgan.data.images import warn_of_values
from memgan.gan import AdversarialModel
from memgan.lab.evaluation.classifier import Classifier, FeatureExtractor, Say, checked, features_of
from memgan.lab.evaluation.material import Material, Sample, gather, some_images
from memgan.lab.evaluation.old_fakes import OldFakes
from memgan.lab.evaluation.registry import COVERED, METRICS, Metric, Scores, measure
from memgan.lab.evaluation.spread import Interval, bootstrap_mean

__all__ = ["Evaluation", "evaluate"]

CLOSEST = 10  # images that are kept because they are nearest to training images


@dataclass(frozen=True)
class Evaluation:
    """What `memgan evaluate` reports. Scores of real images stand beside those of generated ones.

    Every score is an attribute under its name in the registry (`result.inception_score`, `result.recall_real`), None
    where the model has no such score; `result.scores` has the same with their intervals.
    """

    scores: Scores  # by name: the value, and the interval that holds 95 % of it over resampled images
    inception_v3: Scores | None  # those that features give, on Inception-v3's, where they were asked for
    old_fakes: list[dict[str, float | None]] | None  # for each moment its step, and the share rejected, with interval
    class_shares: list[float]  # of the generated images, as the classifier sees them; empty where there is none
    class_shares_real: list[float]  # of the test images
    nearest_quantiles: list[float]  # 0, 5, ..., 100 % of the distances to the nearest training image
    nearest_quantiles_real: list[float]  # of the test images; empty where there are none
    closest: Tensor = field(compare=False, repr=False)  # [2, 10, C, H, W]: nearest to training images, and those
    class_names: tuple[str, ...] | None = field(default=None, compare=False)  # of the classes, where they have names
    metrics: tuple[Metric, ...] = field(default=METRICS, compare=False, repr=False)

    def __getattr__(self, name: str) -> Any:
        """The value of the score `name`."""
        scores = self.__dict__.get("scores", {})  # not there yet while a copy is made
        if name not in scores:
            raise AttributeError(f"an evaluation has no score {name!r}")
        score = scores[name]
        return None if score is None else score.value

    @property
    def intervals(self) -> dict[str, Interval]:
        """The scores that have an interval, by name."""
        return {name: score for name, score in self.scores.items() if score is not None and score.low is not None}

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold: all but the images; an interval as value, low and high."""
        values = {name: None if score is None else score.value for name, score in self.scores.items()}
        return {
            **values,
            "old_fakes": self.old_fakes,
            "class_shares": self.class_shares,
            "class_shares_real": self.class_shares_real,
            "nearest_quantiles": self.nearest_quantiles,
            "nearest_quantiles_real": self.nearest_quantiles_real,
            "inception_v3": None if self.inception_v3 is None else _as_dicts(self.inception_v3),
            "intervals": _as_dicts(self.intervals),
        }

    def __str__(self) -> str:
        rows = [("", "generated", "95 % interval", "real")]
        for metric in self.metrics:
            if "report" in metric.shown and self.scores[metric.name] is not None:
                rows.append(_row(metric, metric.label, self.scores))
        for metric in self.metrics:
            if self.inception_v3 is not None and metric.features and "report" in metric.shown:
                rows.append(_row(metric, f"Inception-v3: {metric.label}", self.inception_v3))
        width = max(len(row[0]) for row in rows)
        lines = [f"{label:{width}}{value:>11}{interval:>18}{real:>9}".rstrip() for label, value, interval, real in rows]
        unsure = self.scores.get("in_between")
        covered = [share for share in self.class_shares if share >= COVERED]
        if len(covered) == 1 and len(self.class_shares) > 1:
            lines.append("The classifier sees one class in all generated images: purity and walks then mean nothing.")
        elif unsure is not None and unsure.value > 0.5:
            lines.append(
                f"The classifier is sure of few generated images ({unsure.value:.0%} are in between): precision, "
                "purity and the number of classes then mean little."
            )
        return "\n".join(lines)


def _row(metric: Metric, label: str, scores: Scores) -> tuple[str, str, str, str]:
    """The cells of a row of the report: label, value, interval, and the value of real images."""
    score = scores[metric.name]
    value = _number(score, metric.decimals)
    if metric.column == "real":
        return label, "", "", value
    interval = ""
    if score is not None and score.low is not None:
        interval = f"{score.low:.{metric.decimals}f} to {score.high:.{metric.decimals}f}"
    return label, value, interval, _number(scores.get(metric.real), metric.decimals)


def _number(score: Interval | None, decimals: int) -> str:
    return "" if score is None else f"{score.value:.{decimals}f}"


def _as_dicts(scores: Mapping[str, Interval | None]) -> dict[str, dict[str, float | None]]:
    return {name: score._asdict() for name, score in scores.items() if score is not None}


@torch.no_grad()
def evaluate(
    gan: AdversarialModel,
    classifier: Classifier | None,
    train: ImageData,
    test: ImageData,
    seed: int = 0,
    *,
    old_fakes: OldFakes | None = None,
    classifier_test: ImageData | None = None,
    inception: FeatureExtractor | None = None,
    metrics: tuple[Metric, ...] = METRICS,
    say: Say = lambda text: None,
) -> Evaluation:
    """Measure `gan` by its images in evaluation mode, beside real ones; the model is left in the mode it came in.

    Images are drawn where the model is, as many as there are training images; all else is done on the CPU. Of more test
    images than training images, as many as those are compared, chosen by `seed`. `test` may hold no images, and there
    may be no `classifier`: what needs them is None then. `classifier_test` are labelled images for the classifier's
    accuracy, where `test` is not of its data set. `inception` adds the scores that features give on its own. `metrics`
    says what is measured, and `say` is told how far it is. Raises TypeError for images that are no `ImageData`, and
    ValueError for images outside [-1, 1] or of another shape than the model's, for labels that are no classes, and for
    a classifier of images of another shape.
    """
    train, test = checked("train", train), checked("test", test)
    if classifier_test is not None:
        classifier_test = checked("classifier_test", classifier_test)
    _check_shapes(classifier, train, test)
    compared = test
    if len(test.images) > len(train.images):
        compared = some_images(test, len(train.images), seed=seed)
    material = gather(
        gan, classifier, train, compared, seed, old_fakes=old_fakes, labelled=classifier_test or test, say=say
    )
    if not train.images.is_floating_point() or bool((material.measured.images < 0).any()):
        warn_of_values(train.images, stacklevel=3)
    on_inception = None
    if inception is not None:
        of_features = tuple(metric for metric in metrics if metric.features)
        on_inception = measure(material.seen_by(inception), of_features, say)
    return Evaluation(
        scores=measure(material, metrics, say),
        inception_v3=on_inception,
        old_fakes=_moment_by_moment(material),
        class_shares=_class_shares(material.measured),
        class_shares_real=_class_shares(material.test),
        nearest_quantiles=_quantiles(material),
        nearest_quantiles_real=_quantiles(material.real) if len(compared.images) > 0 else [],
        closest=_closest(material),
        metrics=metrics,
    )


def _check_shapes(classifier: Classifier | None, train: ImageData, test: ImageData) -> None:
    """ValueError where the images and the classifier do not belong together."""
    if len(train.images) == 0:
        raise ValueError("expected training images to compare with, got none")
    shape = list(train.images.shape[1:])
    if len(test.images) > 0 and list(test.images.shape[1:]) != shape:
        raise ValueError(f"the training images are {shape}, the test images {list(test.images.shape[1:])}")
    if classifier is None:
        return
    try:
        features_of(classifier, train.images[:1])
    except RuntimeError as error:  # of a layer, whose weights have another shape
        raise ValueError(
            f"the classifier is none of images {shape} in float32: train one with train_classifier(train)"
        ) from error


def _moment_by_moment(material: Material) -> list[dict[str, float | None]] | None:
    """For each moment of the training its step, and the share of its fakes that are rejected today."""
    if material.old_fakes is None or material.old_fakes_rejected is None:
        return None
    steps = material.old_fakes.steps.tolist()
    moments = []
    for step, is_rejected in zip(steps, material.old_fakes_rejected, strict=True):
        moments.append({"step": step, **bootstrap_mean(is_rejected)._asdict()})
    return moments


def _class_shares(sample: Sample) -> list[float]:
    if sample.extractor is None or len(sample.images) == 0:
        return []
    return F.one_hot(sample.classes, sample.logits.shape[1]).double().mean(dim=0).tolist()


def _quantiles(material: Material) -> list[float]:
    """0, 5, ..., 100 % of the distances to the nearest training image."""
    distances, _ = material.nearest
    return distances.double().quantile(torch.linspace(0, 1, 21, dtype=torch.double)).tolist()


def _closest(material: Material) -> Tensor:
    """The images that are most likely to be copies, and the training images that they might be copies of."""
    distances, index = material.nearest
    first = distances.argsort(stable=True)[:CLOSEST]
    return torch.stack([as_float(material.compared[first]), as_float(material.training.images[index[first]])])

"""Which scores are there? One entry for each, from which the report, the figures and the studies' tables are made.

To add a metric, write a function of `Material` and an entry of METRICS. The score then stands in the report, in the
JSON of `memgan evaluate` and of studies, and wherever else its entry says that it is shown.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from memgan.data import as_float
from memgan.lab.evaluation.classifier import Say, accuracy, classify
from memgan.lab.evaluation.material import Material, MissingError, rejected
from memgan.lab.evaluation.metrics import frechet_interval, inception_interval, ms_ssim, nearest, slot_purities
from memgan.lab.evaluation.spread import Interval, bootstrap, bootstrap_mean, grouped
from memgan.lab.evaluation.walks import IN_BETWEEN, WalkKind

__all__ = ["COVERED", "METRICS", "Metric", "Place", "Scores", "measure", "named"]

PAIRS = 1000  # random pairs for MS-SSIM
COVERED = 0.01  # share of the images from which a class counts as covered

Place = Literal["report", "panel", "walks", "study"]
Scores = dict[str, Interval | None]


@dataclass(frozen=True)
class Metric:
    """A score: how it is computed, what it is called, and where it is shown."""

    name: str  # its key in `Evaluation.scores`, in JSON and in the files of studies
    measure: Callable[[Material], Interval | None]  # None, or MissingError is raised, where there is no such score
    label: str  # in the report and on axes
    decimals: int
    better: str = ""  # the better direction, where there is one, or what a value means; in brackets on axes
    real: str = ""  # key of the score of real images that stands beside it
    measured_on_real: bool = True  # whether `measure` of the test images gives `real`; else another entry does
    shown: tuple[Place, ...] = ("report",)  # a row of the report, a panel or a walk of the figure, a column of studies
    short: str = ""  # label where there is little room: a study's column, a bar of the figure
    scale: Literal["share", "linear", "log"] = "linear"  # of its axis; log: in studies, one model's begins at 0
    features: bool = False  # whether it is computed from features, and so from those of Inception-v3 too, if asked for
    column: Literal["generated", "real"] = "generated"  # of the report; "real": a score of real images alone

    @property
    def title(self) -> str:
        """The label with the better direction."""
        return f"{self.label} ({self.better})" if self.better else self.label

    @property
    def short_title(self) -> str:
        """The same with the short label, where there is one."""
        label = self.short or self.label
        return f"{label} ({self.better})" if self.better else label


def measure(material: Material, metrics: tuple[Metric, ...], say: Say = lambda text: None) -> Scores:
    """Every score of the generated images, and under its own name its counterpart of real images.

    A score is None where what it needs is not there. `say` is told which one is next.
    """
    scores: Scores = {}
    for number, metric in enumerate(metrics, start=1):
        say(f"measuring: {metric.label} ({number} of {len(metrics)})")
        scores[metric.name] = _measured(metric, lambda: material)
        if metric.real and metric.measured_on_real:
            scores[metric.real] = _measured(metric, lambda: material.real)
    return scores


def _measured(metric: Metric, material: Callable[[], Material]) -> Interval | None:
    try:
        return metric.measure(material())
    except MissingError:
        return None


def named(name: str, metrics: tuple[Metric, ...]) -> Metric:
    """The metric of that name. Raises ValueError where there is none."""
    for metric in metrics:
        if metric.name == name:
            return metric
    raise ValueError(f"unknown metric {name!r}, expected one of {', '.join(metric.name for metric in metrics)}")


# ---------------------------------------------------------------- the scores, each a function of the material


def _inception_score(material: Material) -> Interval:
    return inception_interval(material.measured.logits)


def _frechet_to_training(material: Material) -> Interval:
    """The mean over parts as large as the test set, so that the distance of the test images compares."""
    features = material.measured.features
    size = len(material.test.images)
    if size < 2:
        size = len(features)
    parts = [part for part in features.split(size) if len(part) == size]
    return _frechet(parts, material.training.features)


def _frechet_to_test(material: Material) -> Interval:
    return _frechet([material.measured.features], material.test.features)


def _frechet(parts: list[Tensor], others: Tensor) -> Interval:
    if min(len(others), *[len(part) for part in parts]) < 2:
        raise MissingError("a covariance needs two images")
    return frechet_interval(parts, others)


def _precision(material: Material) -> Interval:
    precise, _ = material.within_manifolds
    return bootstrap_mean(precise)


def _recall(material: Material) -> Interval:
    _, recalled = material.within_manifolds
    return bootstrap_mean(recalled)


def _ms_ssim(material: Material) -> Interval:
    """Of pairs that have no image in common."""
    if not _have_structure(material.measured.images[0]):
        raise MissingError("structure needs images of four pixels a side")
    images = as_float(material.measured.images[material.measured.order[: 2 * PAIRS]])
    pairs = len(images) // 2
    if pairs == 0:
        raise MissingError("a pair needs two images")
    return bootstrap_mean(ms_ssim(images[:pairs], images[pairs : 2 * pairs]))


def _ms_ssim_in_slots(material: Material) -> Interval | None:
    """Of pairs of one slot that have no image in common; what varies is the slot."""
    if not material.has_slots or not _have_structure(material.slot_images[0, 0]):
        return None
    first = material.slot_images[:, ::2]
    second = material.slot_images[:, 1::2]
    similarity = ms_ssim(first.flatten(0, 1), second.flatten(0, 1))
    return bootstrap_mean(similarity.view(first.shape[:2]))


def _have_structure(image: Tensor) -> bool:
    """Whether it is an image [C, H, W], and no vector, and as large as half of the window of a similarity."""
    return image.ndim == 3 and min(image.shape[1:]) >= 4


def _nearest_training_distance(material: Material) -> Interval:
    distances, _ = material.nearest
    return bootstrap_mean(distances)


def _nearer_to_training(material: Material) -> Interval:
    """Of the images, how many are nearer to a training image than to a test image, of which there are equally many."""
    number = min(len(material.training.images), len(material.test.images))
    if number == 0:
        raise MissingError("there are no test images")
    images = as_float(material.compared)
    to_training, _ = nearest(images, material.training.images[material.training.some(number)])
    to_test, _ = nearest(images, material.test.images[material.test.some(number)])
    return bootstrap_mean((to_training < to_test).double() + (to_training == to_test).double() / 2)


def _slot_purity(material: Material) -> Interval | None:
    if material.classifier is None or not material.has_slots:
        return None
    _, classes = classify(material.classifier, material.slot_images)
    return bootstrap_mean(slot_purities(classes))


def _slots_in_use(material: Material) -> Interval | None:
    if not material.has_slots:
        return None
    return Interval(float(material.gan.slots_in_use())).within(1.0, math.inf)


def _classes_covered(material: Material) -> Interval:
    belongs = F.one_hot(material.measured.classes, material.measured.logits.shape[1]).double()

    def covered(sums: list[Tensor]) -> Tensor:
        shares = sums[0][:, 1:] / sums[0][:, :1]
        return (shares >= COVERED).sum(dim=1).double()

    value = int((belongs.mean(dim=0) >= COVERED).sum())
    return bootstrap(value, [grouped(belongs)], covered).within(0, belongs.shape[1])


def _classes(material: Material) -> Interval:
    return Interval(material.measured.logits.shape[1])


def _in_between(material: Material) -> Interval:
    return bootstrap_mean(material.measured.confidence < IN_BETWEEN)


def _in_between_on(kind: WalkKind) -> Callable[[Material], Interval | None]:
    """The score of one kind of walk."""

    def in_between(material: Material) -> Interval | None:
        confidence = material.walks.get(kind)
        return None if confidence is None else bootstrap_mean(confidence < IN_BETWEEN)

    return in_between


def _old_fakes_rejected(material: Material) -> Interval | None:
    old = material.old_fakes_rejected
    return None if old is None else bootstrap_mean(old.flatten())


def _rejected(material: Material) -> Interval:
    return bootstrap_mean(rejected(material.gan, material.compared))


def _classifier_accuracy(material: Material) -> Interval | None:
    if material.classifier is None or len(material.labelled.images) == 0:
        return None
    return Interval(accuracy(material.classifier, material.labelled))


METRICS: tuple[Metric, ...] = (
    Metric(  # exp E KL(p(y|x) || p(y)); the real ones are test images
        "inception_score",
        _inception_score,
        "Inception Score",
        decimals=2,
        better="higher is better",
        real="inception_score_real",
        shown=("report", "panel", "study"),
        features=True,
    ),
    Metric(
        "frechet_distance",
        _frechet_to_training,
        "Frechet distance to training images",
        decimals=1,
        better="lower is better",
        real="frechet_distance_real",
        shown=("report", "panel", "study"),
        short="Frechet distance",
        scale="log",
        features=True,
    ),
    Metric(  # of all generated images; beside it the same distance of the test images as above
        "frechet_distance_test",
        _frechet_to_test,
        "Frechet distance to test images",
        decimals=1,
        better="lower is better",
        real="frechet_distance_real",
        measured_on_real=False,
        shown=("report", "panel"),
        scale="log",
        features=True,
    ),
    Metric(  # share of generated images within the manifold of training images
        "precision",
        _precision,
        "precision",
        decimals=3,
        better="higher is better",
        real="precision_real",
        shown=("report", "panel", "study"),
        scale="share",
        features=True,
    ),
    Metric(  # share of training images within the manifold of generated ones
        "recall",
        _recall,
        "recall",
        decimals=3,
        better="higher is better",
        real="recall_real",
        shown=("report", "panel", "study"),
        scale="share",
        features=True,
    ),
    Metric(
        "ms_ssim",
        _ms_ssim,
        "MS-SSIM of random pairs",
        decimals=3,
        better="1: all are alike",
        real="ms_ssim_real",
        shown=("report", "panel"),
        scale="share",
    ),
    Metric(
        "ms_ssim_in_slots",
        _ms_ssim_in_slots,
        "MS-SSIM of pairs of one slot",
        decimals=3,
        better="1: all are alike",
        shown=("report", "panel"),
        scale="share",
    ),
    Metric(  # in pixels; a copy would be at 0
        "nearest_training_distance",
        _nearest_training_distance,
        "distance to nearest training image",
        decimals=2,
        real="nearest_training_distance_real",
    ),
    Metric(
        "nearer_to_training",
        _nearer_to_training,
        "nearer to a training image than to a test image",
        decimals=3,
        better="0.5: nothing is copied",
        scale="share",
    ),
    Metric(
        "slot_purity",
        _slot_purity,
        "slot purity",
        decimals=3,
        better="higher is better",
        shown=("report", "panel", "study"),
        scale="share",
    ),
    Metric("slots_in_use", _slots_in_use, "slots in use", decimals=0, shown=("report", "study")),
    Metric(
        "classes_covered",
        _classes_covered,
        "classes covered",
        decimals=0,
        real="classes",
        measured_on_real=False,
        shown=("report", "study"),
        short="classes",
    ),
    Metric("classes", _classes, "classes that the classifier knows", decimals=0, shown=()),
    Metric(  # the base rate of what follows
        "in_between",
        _in_between,
        "in between: random samples",
        decimals=3,
        real="in_between_real",
        shown=("report", "walks"),
        short="random samples",
        scale="share",
    ),
    Metric(
        "in_between_noise",
        _in_between_on("noise"),
        "in between: on walks through the noise",
        decimals=3,
        shown=("report", "walks"),
        short="walks through noise",
        scale="share",
    ),
    Metric(
        "in_between_slot",
        _in_between_on("slot"),
        "in between: on walks inside a slot",
        decimals=3,
        shown=("report", "walks"),
        short="walks inside a slot",
        scale="share",
    ),
    Metric(
        "in_between_switch",
        _in_between_on("switch"),
        "in between: on walks across slots",
        decimals=3,
        shown=("report", "walks"),
        short="walks across slots",
        scale="share",
    ),
    Metric(
        "in_between_keys",
        _in_between_on("keys"),
        "in between: on walks between keys",
        decimals=3,
        shown=("report", "walks"),
        short="walks between keys",
        scale="share",
    ),
    Metric(
        "old_fakes_rejected",
        _old_fakes_rejected,
        "rejected: old fakes",
        decimals=3,
        shown=("report", "study"),
        short="old fakes rejected",
        scale="share",
    ),
    Metric(  # a discriminator that rejects real images too remembers nothing
        "new_fakes_rejected",
        _rejected,
        "rejected: fakes of the end, real images",
        decimals=3,
        real="real_rejected",
        scale="share",
    ),
    Metric(
        "classifier_accuracy",
        _classifier_accuracy,
        "accuracy of the classifier on test images",
        decimals=3,
        scale="share",
        column="real",
    ),
)

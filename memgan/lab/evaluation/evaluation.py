"""How good the images are: as a classifier of the same data sees them, how varied, how far from copies; and what the
discriminator still knows."""

import copy
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.data import ImageData, as_float
from memgan.gan import MemoryGAN
from memgan.lab.evaluation.classifier import Classifier, FeatureExtractor, accuracy, judged_features
from memgan.lab.evaluation.metrics import (
    Interval,
    bootstrap,
    bootstrap_mean,
    frechet_interval,
    grouped,
    inception_interval,
    ms_ssim,
    nearest,
    precision_recall,
    slot_purities,
    slot_purity,
)
from memgan.lab.evaluation.walks import (
    IN_BETWEEN,
    LABELS,
    ROUNDS,
    SURE,
    Ends,
    WalkKind,
    find_ends,
    judged,
    walk_between,
)

__all__ = ["Evaluation", "OldFakes", "evaluate", "follows_keys", "old_fakes_of"]

SLOTS, SAMPLES = 128, 16  # slots as the generator draws them, and images of each
NEIGHBOURS = 3000  # images in each set for precision and recall; both depend on it
COMPARED = 2000  # images that are compared with all training images, and that the discriminator is asked about
PAIRS = 1000  # random pairs for MS-SSIM
CLOSEST = 10  # images that are kept because they are nearest to training images
_AT_ONCE = 2048  # images drawn at once


class OldFakes(NamedTuple):
    """What the generator made at some moments of its training."""

    images: Tensor  # [marks, n, C, H, W] uint8
    steps: Tensor  # [marks]


@dataclass(frozen=True)
class Evaluation:
    """What `memgan evaluate` reports. Scores of real images stand beside those of generated ones."""

    classifier_accuracy: float  # on test images
    inception_score: float
    inception_score_real: float  # of the test images
    frechet_distance: float  # generated images, as many at a time as there are test images, to training images
    frechet_distance_test: float  # generated images, as many as there are training images, to test images
    frechet_distance_real: float  # test images to training images: the yardstick of both
    classes_covered: int  # classes that at least 1 % of the generated images belong to
    classes: int
    slot_purity: float  # 128 slots as the generator draws them, 16 images each
    slots_in_use: float  # exp entropy of p(c|v=1)
    nearest_training_distance: float  # mean over at most 2,000 generated images, in pixels: a copy would be at 0
    nearest_training_distance_real: float  # mean over at most 2,000 test images
    precision: float  # share of generated images within the manifold of training images
    recall: float  # share of training images within the manifold of generated ones
    precision_real: float  # test images in the place of generated ones, as many
    recall_real: float
    ms_ssim: float  # mean similarity of 1,000 random pairs of generated images: 1 if all were one
    ms_ssim_real: float  # of test images
    ms_ssim_in_slots: float  # of pairs of one slot
    in_between: float  # share of generated images that the judge is less than 0.8 sure of: base rate of what follows
    in_between_real: float  # of test images
    in_between_noise: float | None  # the same on walks through the noise alone; None where there are keys
    in_between_slot: float | None  # ... inside a slot; None without keys, or if the judge is sure of too few ends
    in_between_switch: float | None  # ... across slots, the key switched half-way
    in_between_keys: float | None  # ... between two keys
    old_fakes_rejected: float | None  # share of fakes of earlier moments with D < 0.5; None: none were kept
    new_fakes_rejected: float  # of fakes of today
    real_rejected: float  # of test images: one that rejects all of them remembers nothing
    old_fakes: list[dict[str, float | None]] | None  # for each moment its step, and the share with its interval
    class_shares: list[float]  # of the generated images, as the judge sees them
    class_shares_real: list[float]  # of the test images
    nearest_quantiles: list[float]  # 0, 5, ..., 100 % of the distances to the nearest training image
    nearest_quantiles_real: list[float]
    inception_v3: dict[str, Interval] | None  # the scores on Inception-v3's features, where those were asked for
    intervals: dict[str, Interval]  # 95 % over resampled images (or slots, or walks) of the run, for most of the above
    closest: Tensor = field(compare=False, repr=False)  # [2, 10, C, H, W]: nearest to training images, and those

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold: all but the images; an interval as value, low and high."""
        content = asdict(self)
        del content["closest"]
        for name in ("intervals", "inception_v3"):
            if content[name] is not None:
                content[name] = {score: interval._asdict() for score, interval in getattr(self, name).items()}
        return content

    def __str__(self) -> str:
        lines = [f"{'':42}{'generated':>10}{'95 % interval':>18}{'real':>9}"]
        for title, decimals, name, real in ROWS:
            value = getattr(self, name) if name else None
            beside = getattr(self, real) if real else None
            if value is not None or not name:
                lines.append(_row(title, decimals, value, self.intervals.get(name), beside))
        for title, decimals, name, real in ROWS[:5] if self.inception_v3 else []:
            score = self.inception_v3[name]  # type: ignore[index]
            lines.append(_row(f"Inception-v3: {title}", decimals, score.value, score, self.inception_v3[real].value))  # type: ignore[index]
        if self.classes_covered == 1 < self.classes:
            lines.append("The judge sees one class in all generated images: purity and the walks then mean nothing.")
        return "\n".join(lines)


ROWS = (  # what, decimals, generated, real
    ("Inception Score", 2, "inception_score", "inception_score_real"),
    ("Frechet distance to training images", 1, "frechet_distance", "frechet_distance_real"),
    ("Frechet distance to test images", 1, "frechet_distance_test", "frechet_distance_real"),
    ("precision", 3, "precision", "precision_real"),
    ("recall", 3, "recall", "recall_real"),
    ("MS-SSIM of random pairs", 3, "ms_ssim", "ms_ssim_real"),
    ("MS-SSIM of pairs of one slot", 3, "ms_ssim_in_slots", ""),
    ("distance to nearest training image", 2, "nearest_training_distance", "nearest_training_distance_real"),
    ("classes covered", 0, "classes_covered", "classes"),
    ("slot purity", 3, "slot_purity", ""),
    ("slots in use", 0, "slots_in_use", ""),
    ("in between: random samples", 3, "in_between", "in_between_real"),
    ("in between: on walks through the noise", 3, "in_between_noise", ""),
    ("in between: on walks inside a slot", 3, "in_between_slot", ""),
    ("in between: on walks across slots", 3, "in_between_switch", ""),
    ("in between: on walks between keys", 3, "in_between_keys", ""),
    ("rejected: old fakes", 3, "old_fakes_rejected", ""),
    ("rejected: fakes of the end, real images", 3, "new_fakes_rejected", "real_rejected"),
    ("accuracy of the judge on test images", 3, "", "classifier_accuracy"),
)


def _row(title: str, decimals: int, value: float | None, interval: Interval | None, real: float | None) -> str:
    number, beside = ("" if x is None else f"{x:.{decimals}f}" for x in (value, real))
    low, high = (interval.low, interval.high) if interval else (None, None)
    spread = "" if low is None or high is None else f"{low:.{decimals}f} to {high:.{decimals}f}"
    return f"{title:42}{number:>10}{spread:>18}{beside:>9}".rstrip()


@torch.no_grad()
def evaluate(
    gan: MemoryGAN,
    judge: Classifier,
    train: ImageData,
    test: ImageData,
    seed: int = 0,
    *,
    old_fakes: OldFakes | None = None,
    judge_test: ImageData | None = None,
    inception: FeatureExtractor | None = None,
) -> Evaluation:
    """Judge `gan` by its images in evaluation mode, beside real ones; the model is left in the mode it came in.

    Images are drawn where the model is, as many as there are training images; all else is done on the CPU.
    `judge_test` are labelled images for the judge's accuracy, where `test` is not of its data set. `inception` adds
    scores on other features. Raises ValueError where there are more test images than training images.
    """
    if len(test.images) > len(train.images):
        most = len(train.images)
        raise ValueError(f"expected at most {most} test images, one per training image, got {len(test.images)}")
    gan, images, of_slots = _drawn(gan, len(train.images), seed)
    scores: dict[str, Interval | None]
    scores, logits, test_logits = _quality(judge, images, train.images, test.images, seed)
    shares, real_shares = (F.one_hot(x.argmax(dim=1), x.shape[1]).double().mean(dim=0) for x in (logits, test_logits))
    for name, answers in (("in_between", logits), ("in_between_real", test_logits)):
        scores[name] = bootstrap_mean(answers.softmax(dim=1).amax(dim=1) < IN_BETWEEN)
    of_classes = judged(judge, of_slots)[1]
    scores["slot_purity"] = bootstrap_mean(slot_purities(of_classes), slot_purity(of_classes))
    scores |= _variety(images, of_slots, test.images, seed)
    copies, closest = _copies(images, train.images, test.images, seed)
    scores["nearest_training_distance"] = bootstrap_mean(copies[0], float(copies[0].mean()))
    scores["nearest_training_distance_real"] = bootstrap_mean(copies[1], float(copies[1].mean()))
    scores["classes_covered"] = _coverage(logits)
    scores |= _walks(gan, judge, logits, seed)
    rejected, moments = _rejected(gan, images, test.images, old_fakes, seed)
    scores |= rejected
    values: dict[str, Any] = {name: found and found.value for name, found in scores.items()}
    return Evaluation(
        **values,
        classifier_accuracy=accuracy(judge, judge_test or test),
        classes=len(shares),
        slots_in_use=float(gan.memory.slots_in_use()),
        old_fakes=moments,
        class_shares=shares.tolist(),
        class_shares_real=real_shares.tolist(),
        nearest_quantiles=_quantiles(copies[0]),
        nearest_quantiles_real=_quantiles(copies[1]),
        inception_v3=_quality(inception, images, train.images, test.images, seed)[0] if inception else None,
        intervals={name: found for name, found in scores.items() if found is not None},
        closest=closest,
    )


def _drawn(gan: MemoryGAN, number: int, seed: int) -> tuple[MemoryGAN, Tensor, Tensor]:
    """A copy of the model in evaluation mode, what it made, [number, C, H, W], and 16 images of each of 128 slots.

    All of it on the CPU. Raises ValueError where the images are not finite.
    """
    gan = copy.deepcopy(gan).eval()
    generator = torch.Generator(gan.memory.keys.device).manual_seed(seed)
    parts = torch.arange(number).split(_AT_ONCE)
    images = torch.cat([gan.generate(len(part), generator=generator).images.cpu() for part in parts])
    of_slots = gan.sample_slots(SLOTS, SAMPLES, generator=generator)[0].cpu()
    if not bool(images.isfinite().all()):
        raise ValueError("the generator makes numbers that are not finite: there is nothing to judge")
    gan = gan.cpu()
    gan.memory.validate = False  # an untrained model's queries may have no direction, which is no reason to stop
    return gan, images, of_slots


def _quality(
    judge: FeatureExtractor, images: Tensor, train: Tensor, test: Tensor, seed: int
) -> tuple[dict[str, Any], Tensor, Tensor]:
    """Scores on the features of `judge`, and its logits of generated and of test images."""
    features, train_features, test_features = (judged_features(judge, part) for part in (images, train, test))
    logits, test_logits = judge.head(features), judge.head(test_features)
    as_many = [part for part in features.split(len(test)) if len(part) == len(test)]
    number = min(NEIGHBOURS, len(test))
    some, some_test = train_features[_some(train, number, seed)], test_features[_some(test, number, seed)]
    precise, recalled = precision_recall(features[:number], some)
    precise_real, recalled_real = precision_recall(some_test, some)
    scores = {
        "inception_score": inception_interval(logits),
        "inception_score_real": inception_interval(test_logits),
        "frechet_distance": frechet_interval(as_many, train_features),
        "frechet_distance_test": frechet_interval([features], test_features),
        "frechet_distance_real": frechet_interval([test_features], train_features),
        "precision": bootstrap_mean(precise),
        "recall": bootstrap_mean(recalled),
        "precision_real": bootstrap_mean(precise_real),
        "recall_real": bootstrap_mean(recalled_real),
    }
    return scores, logits, test_logits


def _coverage(logits: Tensor) -> Interval:
    """How many classes at least 1 % of the images belong to."""
    belongs = F.one_hot(logits.argmax(dim=1), logits.shape[1]).double()

    def covered(sums: list[Tensor]) -> Tensor:
        return (sums[0][:, 1:] / sums[0][:, :1] >= 0.01).sum(dim=1).double()

    return bootstrap(int((belongs.mean(dim=0) >= 0.01).sum()), [grouped(belongs)], covered)


def _variety(images: Tensor, of_slots: Tensor, test: Tensor, seed: int) -> dict[str, Interval]:
    """MS-SSIM of pairs that have no image in common; those of a slot vary with the slot."""
    real = as_float(test[torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))[: 2 * PAIRS]])
    in_slots = ms_ssim(of_slots[:, ::2].flatten(0, 1), of_slots[:, 1::2].flatten(0, 1))
    return {
        "ms_ssim": bootstrap_mean(_of_pairs(images[: 2 * PAIRS])),
        "ms_ssim_real": bootstrap_mean(_of_pairs(real)),
        "ms_ssim_in_slots": bootstrap_mean(in_slots.view(SLOTS, SAMPLES // 2)),
    }


def _of_pairs(images: Tensor) -> Tensor:
    pairs = len(images) // 2
    return ms_ssim(images[:pairs], images[pairs : 2 * pairs])


def _copies(images: Tensor, train: Tensor, test: Tensor, seed: int) -> tuple[list[Tensor], Tensor]:
    """Distances of generated and of test images to the nearest training image; and the nearest of all."""
    distances, index = nearest(images[:COMPARED], train)
    real, _ = nearest(as_float(test[_some(test, COMPARED, seed)]), train)
    first = distances.argsort(stable=True)[:CLOSEST]
    return [distances, real], torch.stack([images[first], as_float(train[index[first]])])


def _quantiles(distances: Tensor) -> list[float]:
    return distances.double().quantile(torch.linspace(0, 1, 21, dtype=torch.double)).tolist()


def _some(images: Tensor, number: int, seed: int) -> Tensor:
    """Which of `images` to take where all would be too many, in their order."""
    return torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:number].sort().values


def follows_keys(gan: MemoryGAN) -> bool:
    """Whether the generator's images depend on the memory's keys, so that there are slots to walk inside and across."""
    keys = gan.memory.keys[[0, -1]]
    first, last = gan.generator(keys, keys.new_zeros(2, gan.generator.noise_dim))
    return not torch.equal(first, last)


def _walks(gan: MemoryGAN, judge: Classifier, logits: Tensor, seed: int) -> dict[str, Interval | None]:
    """Share of images in between on walks of each kind that the model has: None where it has no such walks.

    Nor where `logits` of random samples say that a search would not find enough ends.
    """
    found: dict[str, Interval | None] = dict.fromkeys(f"in_between_{kind}" for kind in LABELS)
    confidence, classes = logits.softmax(dim=1).max(dim=1)
    sure = F.one_hot(classes[confidence >= SURE], logits.shape[1]).double().sum(dim=0) / len(logits)
    pairs = {"slot": sure.sum(), "other": sure.sum() ** 2 - sure.square().sum()}  # of one sample, of two classes
    kinds: tuple[WalkKind, ...] = ("slot", "switch", "keys") if follows_keys(gan) else ("noise",)
    ends: dict[str, Ends] = {}
    for kind in kinds:
        between = "slot" if kind == "slot" else "other"  # the same ends for all kinds but "slot"
        with suppress(ValueError):  # the judge is sure of too few images
            if ROUNDS * pairs[between] < 1:
                continue
            ends[between] = ends.get(between) or find_ends(gan, judge, kind, seed=seed)
            inside = walk_between(gan, judge, ends[between], kind).confidence[:, 1:-1]
            found[f"in_between_{kind}"] = bootstrap_mean(inside < IN_BETWEEN)
    return found


def _rejected(
    gan: MemoryGAN, images: Tensor, test: Tensor, old_fakes: OldFakes | None, seed: int
) -> tuple[dict[str, Interval | None], list[dict[str, float | None]] | None]:
    """Shares with D < 0.5 of fakes of the end, of real images, and of old fakes: these also moment by moment."""

    def share(of: Tensor) -> Tensor:
        return torch.cat([gan.discriminate(as_float(part)) for part in of.split(256)]) < 0.5

    found: dict[str, Interval | None] = {
        "new_fakes_rejected": bootstrap_mean(share(images[:COMPARED])),
        "real_rejected": bootstrap_mean(share(test[_some(test, COMPARED, seed)])),
    }
    if old_fakes is None or not len(old_fakes.steps):
        return found | {"old_fakes_rejected": None}, None
    old = share(old_fakes.images.flatten(0, 1)).unflatten(0, old_fakes.images.shape[:2])
    moments = [
        {"step": step, **bootstrap_mean(rejected)._asdict()}
        for step, rejected in zip(old_fakes.steps.tolist(), old, strict=True)
    ]
    return found | {"old_fakes_rejected": bootstrap_mean(old.flatten())}, moments


def old_fakes_of(run: Path, gan: MemoryGAN) -> OldFakes | None:
    """The old fakes that training left in a run's folder; None where there are none. Nothing in the file is executed.

    Raises ValueError for a damaged file and for images of another shape than the model's.
    """
    path = run / "old_fakes.pt"
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        fakes = OldFakes(content["images"], content["steps"])
        shapes = fakes.images.shape[0] == len(fakes.steps) and fakes.images.shape[2:] == gan.image_shape
    except Exception as error:  # a damaged or foreign file can make the unpickler raise anything
        raise ValueError(f"{path} cannot be read: {error}; without it, nothing is said about forgetting") from error
    if not shapes or fakes.images.dtype != torch.uint8:
        shape = list(fakes.images.shape)
        raise ValueError(f"{path} holds {shape} {fakes.images.dtype}, expected [marks, n, *{gan.image_shape}] bytes")
    return fakes

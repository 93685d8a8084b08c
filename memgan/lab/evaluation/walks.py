"""What lies between two samples of a generator? Straight walks from one to the other, and every image on the way.

A walk is a straight line in what the generator is given: noise, and, where there is a memory, the key. Its ends are
images that the classifier is sure of; the question is what lies between them.
"""

from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.gan import AdversarialModel
from memgan.lab.evaluation.classifier import Classifier, classify

__all__ = [
    "IN_BETWEEN",
    "POINTS",
    "ROUNDS",
    "SURE",
    "Ends",
    "Walk",
    "WalkKind",
    "base_rate",
    "find_ends",
    "in_between",
    "pick",
    "walk",
    "walk_between",
]

WalkKind = Literal["noise", "slot", "switch", "keys"]
SURE = 0.95  # confidence of a walk's ends, at least
IN_BETWEEN = 0.8  # confidence below which an image counts as in between
PAIRS = 150  # walks
POINTS = 11  # images on each walk, both ends included
ROUNDS = 40  # as many pairs as walks are drawn in each, until there are enough


class Ends(NamedTuple):
    """What the generator is given at both ends of each walk."""

    keys: Tensor  # [2, pairs, M]
    noise: Tensor  # [2, pairs, Z]


class Walk(NamedTuple):
    """Walks of one kind, and what the classifier says of them."""

    images: Tensor  # [pairs, points, C, H, W] in [-1, 1], both ends included
    confidence: Tensor  # [pairs, points], the classifier's largest probability
    classes: Tensor  # [pairs, points], the class that it belongs to


@torch.no_grad()
def find_ends(gan: AdversarialModel, classifier: Classifier, kind: WalkKind, pairs: int = PAIRS, seed: int = 0) -> Ends:
    """The first `pairs` pairs of samples that the classifier is SURE of.

    For "slot" both are of one slot, else of different classes. Raises ValueError for an unknown kind, and where the
    generator does not make enough of them.
    """
    if kind not in get_args(WalkKind):
        raise ValueError(f"kind must be one of {get_args(WalkKind)}, got {kind!r}")
    generator = torch.Generator().manual_seed(seed)
    keys = []
    noise = []
    found = 0
    for _ in range(ROUNDS):
        ends = _sure_pairs(gan, classifier, kind, pairs, generator)
        keys.append(ends.keys)
        noise.append(ends.noise)
        found += ends.keys.shape[1]
        if found >= pairs:
            break
    if found < pairs:
        raise ValueError(f"only {found} of {ROUNDS * pairs} pairs have two ends that the classifier is sure of")
    return Ends(torch.cat(keys, dim=1)[:, :pairs], torch.cat(noise, dim=1)[:, :pairs])


def _sure_pairs(
    gan: AdversarialModel, classifier: Classifier, kind: WalkKind, drawn: int, generator: torch.Generator
) -> Ends:
    """Those of `drawn` random pairs that may be ends."""
    first = gan.generate(drawn, generator=generator)
    second = gan.generate(drawn, generator=generator)
    keys = torch.stack([first.keys, first.keys if kind == "slot" else second.keys])
    noise = torch.stack([first.noise, second.noise])
    images = gan.generator(keys.flatten(0, 1), noise.flatten(0, 1)).unflatten(0, (2, drawn))
    confidence, classes = classify(classifier, images)
    fit = (confidence >= SURE).all(dim=0)
    if kind != "slot":
        fit &= classes[0] != classes[1]
    return Ends(keys[:, fit], noise[:, fit])


@torch.no_grad()
def walk_between(
    gan: AdversarialModel, classifier: Classifier, ends: Ends, kind: WalkKind, points: int = POINTS
) -> Walk:
    """The walks of one kind between given `ends`, `points` images each, equally far apart in the noise.

    "keys" goes straight from one key to the other and puts each point back on the sphere; "switch" keeps the first key
    up to the middle, the middle included.
    """
    place = torch.linspace(0, 1, points, device=ends.noise.device).view(-1, 1, 1)
    noise = ends.noise[0].lerp(ends.noise[1], place)
    if kind == "keys":
        keys = F.normalize(ends.keys[0].lerp(ends.keys[1], place), dim=-1)
    else:
        keys = torch.where(place <= 0.5, ends.keys[0], ends.keys[1])
    images = gan.generator(keys.flatten(0, 1), noise.flatten(0, 1)).unflatten(0, (points, -1)).transpose(0, 1)
    confidence, classes = classify(classifier, images)
    return Walk(images, confidence, classes)


def walk(gan: AdversarialModel, classifier: Classifier, kind: WalkKind, pairs: int = PAIRS, seed: int = 0) -> Walk:
    """`pairs` walks of one kind through `gan`, which must be in evaluation mode; the same for the same seed."""
    return walk_between(gan, classifier, find_ends(gan, classifier, kind, pairs, seed), kind)


def in_between(walk: Walk) -> float:
    """Share of the interior images of all walks that the classifier is not sure of: confidence below IN_BETWEEN."""
    return float((walk.confidence[:, 1:-1] < IN_BETWEEN).double().mean())


@torch.no_grad()
def base_rate(gan: AdversarialModel, classifier: Classifier, samples: int = 1500, seed: int = 0) -> float:
    """Share of random samples, on no walk, with confidence below IN_BETWEEN: what a walk is to be compared with."""
    images = gan.generate(samples, generator=torch.Generator().manual_seed(seed)).images
    confidence, _ = classify(classifier, images)
    return float((confidence < IN_BETWEEN).double().mean())


def pick(walk: Walk, quantile: float = 0.5) -> int:
    """The walk at a `quantile` of the least confidence on the way, so that no picture is picked by hand; 0: worst."""
    lowest = walk.confidence[:, 1:-1].amin(dim=1)
    return int(lowest.argsort()[round(quantile * (len(lowest) - 1))])

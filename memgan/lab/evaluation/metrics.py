"""What a set of images is worth, in numbers: from images, or from what the judge makes of them.

A score comes with its spread: the interval that holds 95 % of what resampled images give (`bootstrap`).
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan.data import as_float

__all__ = ["Interval", "bootstrap", "bootstrap_mean", "frechet_distance", "frechet_interval", "grouped"]
__all__ += ["inception_interval", "inception_score", "ms_ssim", "nearest", "nearest_distances", "precision_recall"]
__all__ += ["slot_purity", "slot_purities"]

RESAMPLES = 400
_GROUPS = 500  # at most so many groups of images are resampled; images are drawn independently, so groups are too
_MOST_FEATURES = 256  # from here on a Frechet distance takes too long for hundreds of resamples
_STANDARD_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of MS-SSIM's scales, finest first (Wang et al. 2003)
_WINDOW = 7  # pixels of torchmetrics' Gaussian window with sigma 0.8


# ---------------------------------------------------------------- spread


class Interval(NamedTuple):
    """A number and the interval that holds 95 % of it over resampled images; None where that takes too long."""

    value: float
    low: float | None
    high: float | None


def grouped(values: Tensor) -> Tensor:
    """`values` [n, ...] summed over at most 500 groups of equal size, a count in front: [groups, 1 + ...], float64."""
    flat = values.flatten(1) if values.ndim > 1 else values.unsqueeze(1)
    counted = torch.cat([flat.new_ones(len(flat), 1), flat], dim=1).double()
    return torch.stack([part.sum(dim=0) for part in counted.tensor_split(min(_GROUPS, len(flat)))])


def bootstrap(
    value: float, groups: list[Tensor], statistic: Callable[[list[Tensor]], Tensor], resamples: int = RESAMPLES
) -> Interval:
    """The spread of `value` = statistic(sums) when the images behind it are drawn again, with replacement.

    `groups` are sums over groups of images, [groups, d] for each set of images; `statistic` gets a list of sums
    [resamples, d] and returns [resamples]. The interval is the resamples' middle 95 %, moved so that their mean lies on
    `value`: resampling repeats images, which would raise a Frechet distance and lower a diversity. Seeded.
    """
    found = _resampled(groups, statistic, resamples)
    return _interval(value, found - found.mean() + value)


def _resampled(groups: list[Tensor], statistic: Callable[[list[Tensor]], Tensor], resamples: int) -> Tensor:
    generator, drawn = torch.Generator().manual_seed(0), []
    for sums in groups:
        index = torch.randint(len(sums), (resamples, len(sums)), generator=generator)
        once = torch.ones(index.shape, dtype=sums.dtype)
        drawn.append(torch.zeros_like(once).scatter_add_(1, index, once) @ sums)
    return statistic(drawn)


def _interval(value: float, found: Tensor) -> Interval:
    low, high = found.quantile(found.new_tensor([0.025, 0.975])).tolist()
    return Interval(value, low, high)


def bootstrap_mean(values: Tensor, value: float | None = None) -> Interval:
    """The mean of `values` [n], or [n, m] with n independent rows, and its spread."""
    values = values.double().view(len(values), -1).mean(dim=1)
    value = float(values.mean()) if value is None else value
    means = _resampled([grouped(values)], lambda sums: sums[0][:, 1] / sums[0][:, 0], RESAMPLES)
    return _interval(value, means)  # nothing to move: a mean has no bias, and a share stays within 0 and 1


# ---------------------------------------------------------------- quality


def inception_score(logits: Tensor) -> float:
    """exp E KL(p(y|x) || p(y)), from a classifier's `logits` [n, classes]: 1 to the number of classes.

    Salimans et al. 2016, in one split, as torchmetrics computes it.
    """
    from torchmetrics.image.inception import InceptionScore

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", category=UserWarning)  # memory footprint; the spread over a single split
        torch.manual_seed(0)  # it shuffles, for the splits it is not asked for
        metric = InceptionScore(feature=_Given(logits.shape[1]), splits=1)
        metric.update(logits)
        return float(metric.compute()[0])


def inception_interval(logits: Tensor) -> Interval:
    """`inception_score` and its spread: exp(H(y) - H(y|x)), both from sums over images; 1 to the number of classes."""
    probability = logits.double().softmax(dim=1)
    conditional = torch.special.entr(probability).sum(dim=1, keepdim=True)

    def score(sums: list[Tensor]) -> Tensor:
        mean = sums[0][:, 1:] / sums[0][:, :1]
        return (torch.special.entr(mean[:, 1:]).sum(dim=1) - mean[:, 0]).exp()

    groups = [grouped(torch.cat([conditional, probability], dim=1))]
    value, low, high = bootstrap(inception_score(logits), groups, score)
    return Interval(value, max(low or 1.0, 1.0), min(high or 1.0, float(logits.shape[1])))


def frechet_distance(features: Tensor, others: Tensor) -> float:
    """Squared Frechet distance of Gaussians fitted to two sets of features [n, d] (Heusel et al. 2017)."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Given(features.shape[1]))
    metric.update(features.double(), real=True)
    metric.update(others.double(), real=False)
    return float(metric.compute())


def frechet_interval(parts: list[Tensor], others: Tensor) -> Interval:
    """The mean `frechet_distance` of `parts`, each [n, d], to `others` [m, d], and its spread as the parts vary.

    With more than 256 features there is no interval: it would take hours.
    """
    value = sum(frechet_distance(part, others) for part in parts) / len(parts)
    if others.shape[1] > _MOST_FEATURES:
        return Interval(value, None, None)
    mean, covariance = others.double().mean(dim=0), others.double().T.cov()
    scale, directions = torch.linalg.eigh(covariance)
    root = directions * scale.clamp(min=0).sqrt() @ directions.T

    def distance(sums: list[Tensor]) -> Tensor:
        found = [_moments(part) for part in sums]
        return sum(
            (means - mean).square().sum(dim=1)
            + covariances.diagonal(dim1=1, dim2=2).sum(dim=1)
            + covariance.trace()
            - 2 * torch.linalg.eigvalsh(root @ covariances @ root).clamp(min=0).sqrt().sum(dim=1)
            for means, covariances in found
        ) / len(found)

    return bootstrap(value, [_grouped_moments(part) for part in parts], distance, resamples=RESAMPLES // 2)


def _grouped_moments(features: Tensor) -> Tensor:
    """Count, sum and sum of outer products of each group of `features` [n, d]: [groups, 1 + d + d^2]."""
    parts = features.double().tensor_split(min(_GROUPS, len(features)))
    rows = [torch.cat([part.new_tensor([len(part)]), part.sum(dim=0), (part.T @ part).flatten()]) for part in parts]
    return torch.stack(rows)


def _moments(sums: Tensor) -> tuple[Tensor, Tensor]:
    """Means [resamples, d] and covariances [resamples, d, d] from such sums."""
    count = sums[:, :1]
    dimension = round((sums.shape[1] - 0.75) ** 0.5 - 0.5)  # 1 + d + d^2 columns
    mean, second = sums[:, 1 : 1 + dimension] / count, sums[:, 1 + dimension :].unflatten(1, (dimension, dimension))
    outer = mean.unsqueeze(2) * mean.unsqueeze(1)
    return mean, (second - count.unsqueeze(2) * outer) / (count.unsqueeze(2) - 1)


class _Given(nn.Identity):
    """A feature extractor for torchmetrics that is handed the features."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


# ---------------------------------------------------------------- variety


def precision_recall(features: Tensor, real: Tensor, k: int = 3) -> tuple[Tensor, Tensor]:
    """Which generated `features` [n, d] lie on the real manifold, [n], and which `real` ones [m, d] on theirs, [m].

    Kynkaanniemi et al. 2019: a manifold is the union of balls around its points, each as wide as the distance to the
    point's k-th nearest neighbour; the means are improved precision and recall. Distances are exact, so that
    duplicates are at 0. Raises ValueError where a set has no k neighbours.
    """
    if min(len(features), len(real)) <= k:
        raise ValueError(f"expected more than k = {k} points in each set, got {len(features)} and {len(real)}")
    between = _distances(features, real)
    precise = (between <= _radii(real, k)).any(dim=1)
    recalled = (between <= _radii(features, k).unsqueeze(1)).any(dim=0)
    return precise, recalled


def _radii(points: Tensor, k: int) -> Tensor:
    return _distances(points, points).kthvalue(k + 1, dim=1).values  # the nearest is the point itself


def _distances(points: Tensor, others: Tensor) -> Tensor:
    return torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist")


def ms_ssim(images: Tensor, others: Tensor) -> Tensor:
    """Multi-scale structural similarity (Wang et al. 2003) of each pair in [-1, 1], [n]: 1 for equal ones.

    The standard has five scales and a window of 11 pixels, for images of 176 pixels and more. Here are as many of its
    scales, the finest first, as leave 7 pixels (two for 16, three for 28 to 40), their weights divided by their sum,
    and the same Gaussian window in 7 pixels (sigma 0.8). So numbers compare at one image size only; and much of an
    image is background, which is alike in all pairs: the number for real images has to stand beside.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    side = min(images.shape[-2:])
    scales = max(1, min(5, (side // _WINDOW).bit_length()))
    weights = tuple(weight / sum(_STANDARD_WEIGHTS[:scales]) for weight in _STANDARD_WEIGHTS[:scales])
    settings: dict[str, Any] = {"sigma": 0.8, "betas": weights, "data_range": 1.0, "reduction": "none"}
    settings["kernel_size"] = 1  # sigma says how wide a Gaussian is; this one is only held against the image's size
    pairs = zip(((images + 1) / 2).split(256), ((others + 1) / 2).split(256), strict=True)  # black is 0: no luminance
    return torch.cat([multiscale_structural_similarity_index_measure(*pair, **settings) for pair in pairs])


def slot_purities(classes: Tensor) -> Tensor:
    """Share of the most frequent class in each slot, [slots], from `classes` [slots, samples] of images of each."""
    return F.one_hot(classes).double().mean(dim=1).amax(dim=1)


def slot_purity(classes: Tensor) -> float:
    """Mean share of the most frequent class in a slot, from `classes` [slots, samples] of images of each slot."""
    return float(slot_purities(classes).mean())


# ---------------------------------------------------------------- copies


def nearest_distances(images: Tensor, others: Tensor) -> Tensor:
    """Euclidean distance in pixels of each of `images` [n, ...] to the nearest of `others` [m, ...], [n]."""
    return nearest(images, others)[0]


def nearest(images: Tensor, others: Tensor, candidates: int = 8) -> tuple[Tensor, Tensor]:
    """Distance of each of `images` [n, ...] to the nearest of `others` [m, ...], [n], and which that is, [n].

    |x|^2 + |y|^2 - 2xy, which is quick but cancels where two images are alike, finds the `candidates`; the distances
    to those are taken exactly. Bytes among `others` become numbers in [-1, 1] a part at a time.
    """
    flat, found, squares, start = images.flatten(1), [], [], 0
    for part in others.split(5000):
        rows = as_float(part).flatten(1)
        squared = torch.addmm(rows.square().sum(dim=1), flat, rows.T, alpha=-2)
        best = squared.topk(min(candidates, len(rows)), dim=1, largest=False)
        squares.append(best.values)
        found.append(best.indices + start)
        start += len(rows)
    of_best = torch.cat(squares, dim=1).topk(min(candidates, len(others)), dim=1, largest=False).indices
    index = torch.cat(found, dim=1).gather(1, of_best)
    parts = zip(flat.split(256), index.split(256), strict=True)
    exact = [_distances(x.unsqueeze(1), as_float(others[i]).flatten(2)).squeeze(1) for x, i in parts]
    distance, place = torch.cat(exact).min(dim=1)
    return distance, index.gather(1, place.unsqueeze(1)).squeeze(1)

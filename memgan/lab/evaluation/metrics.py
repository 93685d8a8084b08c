"""What is a set of images worth? Each score as a function of images, or of what a classifier makes of them.

Which of them are reported, and under which names, says `memgan.lab.evaluation.registry`.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan.data import as_float
from memgan.lab.evaluation.spread import RESAMPLES, Interval, bootstrap, grouped, in_groups

__all__ = [
    "NEIGHBOUR",
    "frechet_distance",
    "frechet_interval",
    "inception_interval",
    "inception_score",
    "ms_ssim",
    "nearest",
    "precision_recall",
    "slot_purities",
]

NEIGHBOUR = 3  # which neighbour says how far the manifold reaches around a point
_MOST_FEATURES = 256  # from here on a Frechet distance takes too long for hundreds of resamples
_STANDARD_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of MS-SSIM's scales, finest first (Wang et al. 2003)
_WINDOW = 7  # pixels of torchmetrics' Gaussian window with sigma 0.8


# ---------------------------------------------------------------- quality


def inception_score(logits: Tensor) -> float:
    """exp E KL(p(y|x) || p(y)), from a classifier's `logits` [n, classes]: 1 to the number of classes.

    Salimans et al. 2016, in one split. The mean divergence is H(y) - H(y|x): the entropy of the mean answer, less the
    mean entropy of the answers. (torchmetrics has 0 log 0 = NaN where a class has probability 0 in every image.)
    """
    sums = _answers(logits).sum(dim=0, keepdim=True)
    return min(max(float(_score_of_answers([sums])), 1.0), float(logits.shape[1]))  # which rounding may miss


def inception_interval(logits: Tensor) -> Interval:
    """`inception_score` and its interval, within 1 and the number of classes."""
    interval = bootstrap(inception_score(logits), [grouped(_answers(logits)[:, 1:])], _score_of_answers)
    return interval.within(1.0, float(logits.shape[1]))


def _answers(logits: Tensor) -> Tensor:
    """For each image 1, the entropy of p(y|x), and p(y|x): [n, 2 + classes], float64."""
    probability = logits.double().softmax(dim=1)
    entropy = torch.special.entr(probability).sum(dim=1, keepdim=True)
    return torch.cat([torch.ones_like(entropy), entropy, probability], dim=1)


def _score_of_answers(sums: list[Tensor]) -> Tensor:
    """The Inception Score from sums of `_answers` over images: [[resamples, 2 + classes]] to [resamples]."""
    count, entropy, probability = sums[0][:, :1], sums[0][:, 1], sums[0][:, 2:]
    return (torch.special.entr(probability / count).sum(dim=1) - entropy / count[:, 0]).exp()


def frechet_distance(features: Tensor, others: Tensor) -> float:
    """Squared Frechet distance of Gaussians fitted to two sets of features [n, d] (Heusel et al. 2017)."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Given(features.shape[1]), sync_on_compute=False)
    metric.update(features.double(), real=True)
    metric.update(others.double(), real=False)
    return max(0.0, float(metric.compute()))  # rounding can leave a little less than nothing


def frechet_interval(parts: list[Tensor], others: Tensor) -> Interval:
    """The mean `frechet_distance` of `parts`, each [n, d], to `others` [m, d], and its interval as the parts vary.

    For Gaussians (m, C) and (m', C') the distance is |m - m'|^2 + tr C + tr C' - 2 tr (C'^1/2 C C'^1/2)^1/2. With more
    than 256 features there is no interval: it would take hours.
    """
    value = sum(frechet_distance(part, others) for part in parts) / len(parts)
    if others.shape[1] > _MOST_FEATURES:
        return Interval(value)
    mean = others.double().mean(dim=0)
    covariance = others.double().T.cov()
    root = _square_root(covariance)

    def mean_distance(sums: list[Tensor]) -> Tensor:
        total = torch.zeros(len(sums[0]), dtype=torch.double)
        for of_part in sums:
            means, covariances = _moments(of_part)
            cross = torch.linalg.eigvalsh(root @ covariances @ root).clamp(min=0).sqrt().sum(dim=1)
            traces = covariances.diagonal(dim1=1, dim2=2).sum(dim=1) + covariance.trace()
            total += (means - mean).square().sum(dim=1) + traces - 2 * cross
        return total / len(sums)

    groups = [_grouped_moments(part) for part in parts]
    return bootstrap(value, groups, mean_distance, resamples=RESAMPLES // 2).within(0.0, math.inf)


def _square_root(covariance: Tensor) -> Tensor:
    """The symmetric root of a positive semi-definite matrix [d, d]."""
    scale, directions = torch.linalg.eigh(covariance)
    return directions * scale.clamp(min=0).sqrt() @ directions.T


def _grouped_moments(features: Tensor) -> Tensor:
    """Count, sum and sum of outer products of each group of `features` [n, d]: [groups, 1 + d + d^2].

    Not `grouped` of all outer products, which would take [n, d^2] numbers.
    """
    rows = []
    for part in in_groups(features.double()):
        count = part.new_tensor([len(part)])
        outer = (part.T @ part).flatten()
        rows.append(torch.cat([count, part.sum(dim=0), outer]))
    return torch.stack(rows)


def _moments(sums: Tensor) -> tuple[Tensor, Tensor]:
    """Means [resamples, d] and unbiased covariances [resamples, d, d] from such sums."""
    count = sums[:, :1]
    dimension = round((sums.shape[1] - 0.75) ** 0.5 - 0.5)  # 1 + d + d^2 columns
    mean = sums[:, 1 : 1 + dimension] / count
    second = sums[:, 1 + dimension :].unflatten(1, (dimension, dimension))
    outer = mean.unsqueeze(2) * mean.unsqueeze(1)
    covariance = (second - count.unsqueeze(2) * outer) / (count.unsqueeze(2) - 1)
    return mean, covariance


class _Given(nn.Identity):
    """A feature extractor for torchmetrics that is handed the features."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


# ---------------------------------------------------------------- variety


def precision_recall(features: Tensor, real: Tensor, k: int = NEIGHBOUR) -> tuple[Tensor, Tensor]:
    """Which generated `features` [n, d] lie on the real manifold, [n], and which `real` ones [m, d] on theirs, [m].

    Kynkaanniemi et al. 2019: a manifold is the union of balls around its points, each as wide as the distance to the
    point's k-th nearest neighbour; the means are improved precision and recall. Distances are exact and in float64, so
    that duplicates are at 0. Raises ValueError where a set has no k neighbours.
    """
    from scipy.spatial.distance import cdist

    if min(len(features), len(real)) <= k:
        raise ValueError(f"expected more than k = {k} points in each set, got {len(features)} and {len(real)}")
    generated_points = features.double().numpy()
    real_points = real.double().numpy()
    between = cdist(generated_points, real_points)
    precise = (between <= _radii(real_points, k)).any(axis=1)
    recalled = (between <= _radii(generated_points, k)[:, None]).any(axis=0)
    return torch.from_numpy(precise), torch.from_numpy(recalled)


def _radii(points: np.ndarray, k: int) -> np.ndarray:
    """Distance of each of `points` [n, d] to its k-th nearest neighbour, [n].

    A tree, because it subtracts coordinates: scikit-learn's brute force expands the square, and duplicates then are
    not at 0.
    """
    from sklearn.neighbors import NearestNeighbors

    neighbours = NearestNeighbors(n_neighbors=k + 1, algorithm="kd_tree").fit(points)
    distances, _ = neighbours.kneighbors(points)
    return distances[:, k]  # the nearest is the point itself


def ms_ssim(images: Tensor, others: Tensor) -> Tensor:
    """Multi-scale structural similarity (Wang et al. 2003) of each pair, bytes or in [-1, 1], [n]: 1 for equal ones.

    The standard has five scales and a window of 11 pixels, for images of 176 pixels and more. Here are as many of its
    scales, the finest first, as leave 7 pixels (two for 16, three for 28 to 40), their weights divided by their sum,
    and the same Gaussian window in 7 pixels (sigma 0.8). So numbers compare at one image size only. Much of an image is
    background, which is alike in all pairs; therefore the number for real images has to stand beside.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    side = min(images.shape[-2:])
    scales = max(1, min(5, (side // _WINDOW).bit_length()))
    weights = tuple(weight / sum(_STANDARD_WEIGHTS[:scales]) for weight in _STANDARD_WEIGHTS[:scales])
    similarities = []
    for part, other in zip(images.split(256), others.split(256), strict=True):
        similarities.append(
            multiscale_structural_similarity_index_measure(
                (as_float(part) + 1) / 2,  # black is 0, which has no luminance
                (as_float(other) + 1) / 2,
                sigma=0.8,
                betas=weights,
                data_range=1.0,
                reduction="none",
                kernel_size=1,  # sigma alone sets the window's width; this is only compared with the image's size
            )
        )
    return torch.cat(similarities).clamp(max=1)  # equal images are a rounding above it


def slot_purities(classes: Tensor) -> Tensor:
    """Share of the most frequent class in each slot, [slots], from `classes` [slots, samples] of images of each."""
    return F.one_hot(classes).double().mean(dim=1).amax(dim=1)


# ---------------------------------------------------------------- copies


def nearest(images: Tensor, others: Tensor, candidates: int = 8) -> tuple[Tensor, Tensor]:
    """Distance in pixels of each of `images` [n, ...] to the nearest of `others` [m, ...], [n], and which that is, [n].

    The fast formula |x|^2 + |y|^2 - 2xy cancels where two images are alike, so it only finds the `candidates`; the
    distances to those are taken exactly. Bytes become numbers in [-1, 1], those of `others` 5,000 images at a time.
    `sklearn.metrics.pairwise_distances_argmin_min` would need all of them as numbers at once, takes 1.9 times as long
    (2,000 images against 60,000 of Fashion-MNIST, one thread: 5.6 s against 3.0 s), and puts exact copies at 2e-6.
    """
    flat = as_float(images).flatten(1)
    squares = []
    indices = []
    start = 0
    for part in others.split(5000):
        rows = as_float(part).flatten(1)
        squared = torch.addmm(rows.square().sum(dim=1), flat, rows.T, alpha=-2)
        best = squared.topk(min(candidates, len(rows)), dim=1, largest=False)
        squares.append(best.values)
        indices.append(best.indices + start)
        start += len(rows)
    best_overall = torch.cat(squares, dim=1).topk(min(candidates, len(others)), dim=1, largest=False)
    index = torch.cat(indices, dim=1).gather(1, best_overall.indices)
    exact = []
    for part, of_part in zip(flat.split(256), index.split(256), strict=True):
        rows = as_float(others[of_part]).flatten(2)
        distances = torch.cdist(part.unsqueeze(1), rows, compute_mode="donot_use_mm_for_euclid_dist")
        exact.append(distances.squeeze(1))
    distance, place = torch.cat(exact).min(dim=1)
    return distance, index.gather(1, place.unsqueeze(1)).squeeze(1)

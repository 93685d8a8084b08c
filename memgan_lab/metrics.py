"""What a set of images is worth, in numbers: from images, or from what the judge makes of them."""

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["frechet_distance", "inception_score", "nearest_distances", "slot_purity"]


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


def frechet_distance(features: Tensor, others: Tensor) -> float:
    """Squared Frechet distance of Gaussians fitted to two sets of features [n, d] (Heusel et al. 2017)."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Given(features.shape[1]))
    metric.update(features.double(), real=True)
    metric.update(others.double(), real=False)
    return float(metric.compute())


class _Given(nn.Identity):
    """A feature extractor for torchmetrics that is handed the features."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def nearest_distances(images: Tensor, others: Tensor) -> Tensor:
    """Euclidean distance in pixels of each of `images` [n, ...] to the nearest of `others` [m, ...], [n]."""
    return torch.cdist(images.flatten(1), others.flatten(1), compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1)


def slot_purity(classes: Tensor) -> float:
    """Mean share of the most frequent class in a slot, from `classes` [slots, samples] of images of each slot."""
    return float(F.one_hot(classes).double().mean(dim=1).amax(dim=1).mean())

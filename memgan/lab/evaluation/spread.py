"""How much would a score vary if other images had been drawn? The bootstrap, over groups of images."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Interval", "bootstrap", "bootstrap_mean", "grouped", "in_groups"]

RESAMPLES = 400
MOST_GROUPS = 500  # at most so many groups of images are resampled

Statistic = Callable[[list[Tensor]], Tensor]


class Interval(NamedTuple):
    """A score and the interval that holds 95 % of what resampled images give; None where it has no interval."""

    value: float
    low: float | None = None
    high: float | None = None

    def within(self, least: float, most: float) -> "Interval":
        """The same without what rounding and moving an interval put beyond the score's bounds or beside its value."""
        value = min(max(self.value, least), most)
        low = None if self.low is None else min(max(self.low, least), value)
        high = None if self.high is None else max(min(self.high, most), value)
        return Interval(value, low, high)


def in_groups(rows: Tensor) -> tuple[Tensor, ...]:
    """`rows` [n, ...] in random order, in at most 500 groups of equal size, or of sizes that differ by one.

    A data set may be in the order of its classes, and images of one class beside each other are not independent.
    """
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    return rows[order].tensor_split(min(MOST_GROUPS, len(rows)))


def grouped(values: Tensor) -> Tensor:
    """`values` [n, ...] summed over groups of rows, a count in front: [groups, 1 + ...], float64."""
    flat = values.reshape(len(values), -1)
    counted = torch.cat([flat.new_ones(len(flat), 1), flat], dim=1).double()
    return torch.stack([part.sum(dim=0) for part in in_groups(counted)])


def bootstrap(value: float, groups: list[Tensor], statistic: Statistic, resamples: int = RESAMPLES) -> Interval:
    """The interval of `value` = statistic(sums) when the images behind it are drawn again, with replacement.

    `groups` are sums over groups of images, [groups, d] for each set of images. `statistic` takes a list of sums
    [resamples, d], one for each set, and returns [resamples]. The interval is the middle 95 % of the resamples, moved
    so that their mean lies on `value`: resampling repeats images, which would raise a Frechet distance and lower a
    diversity. The resamples are the same in each call. A set of a single group has no interval.
    """
    found = _resampled(groups, statistic, resamples)
    if found is None:
        return Interval(value)
    shift = value - float(np.mean(found.bootstrap_distribution))
    return Interval(value, float(found.confidence_interval.low) + shift, float(found.confidence_interval.high) + shift)


def bootstrap_mean(values: Tensor) -> Interval:
    """The mean of `values` [n], or [n, m] with n independent rows, and its interval.

    Nothing is moved here: a mean has no bias under resampling. It lies within the least and the greatest value.
    """
    rows = values.double().reshape(len(values), -1).mean(dim=1)
    value = float(rows.mean())
    found = _resampled([grouped(rows)], _mean, RESAMPLES)
    if found is None:
        return Interval(value).within(float(rows.min()), float(rows.max()))
    interval = Interval(value, float(found.confidence_interval.low), float(found.confidence_interval.high))
    return interval.within(float(rows.min()), float(rows.max()))


def _mean(sums: list[Tensor]) -> Tensor:
    return sums[0][:, 1] / sums[0][:, 0]


def _resampled(groups: list[Tensor], statistic: Statistic, resamples: int) -> Any:
    """What `scipy.stats.bootstrap` finds, or None where a set cannot be resampled because it is one group.

    SciPy draws the groups and takes the percentiles. It is given the groups' numbers instead of their sums, because it
    would hand `statistic` a copy of all sums for each resample: for the covariances of 64 features, several gigabytes.
    How often each group was drawn, times the sums, is the same in one matrix product.
    """
    from scipy.stats import bootstrap as scipy_bootstrap  # takes a second to import

    if min(len(sums) for sums in groups) < 2:
        return None

    def of_drawn(*drawn: np.ndarray, axis: int) -> np.ndarray:
        totals = [_times_drawn(index, len(sums)) @ sums for index, sums in zip(drawn, groups, strict=True)]
        return statistic(totals).numpy()

    numbers = [np.arange(len(sums)) for sums in groups]
    return scipy_bootstrap(numbers, of_drawn, n_resamples=resamples, vectorized=True, method="percentile", rng=0)


def _times_drawn(drawn: np.ndarray, number: int) -> Tensor:
    """How often each of `number` groups stands in each row of `drawn` [resamples, groups], float64."""
    index = torch.from_numpy(drawn)
    counts = torch.zeros(len(index), number, dtype=torch.double)
    return counts.scatter_add_(1, index, torch.ones_like(index, dtype=torch.double))

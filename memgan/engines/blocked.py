"""The engine for a CPU: the same results as `dense`, in fewer passes over the memory of the machine.

Finding the k largest of N scores is a costly part of a read on a CPU. So the scores are made in blocks that fit in the
cache, and each block leaves behind the maxima of small groups of its columns. A slot among the k best lies in one of
the k groups with the largest maxima, so that only those groups are looked into again. Keys are updated where a query
touches them, a cache-sized part at a time.
"""

import functools
import threading
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.engines.candidates import Candidates, joined
from memgan.engines.portions import rows_at_once
from memgan.engines.statistics import added, inverse, unit_rows

__all__ = ["m_step", "nearest", "nearest_and_matching"]

_CACHED_SCORES = 2**19  # scores that are computed at once: 2 MB in float32, about a cache
_CACHED_UPDATES = 2**17  # elements of the keys that are updated at once: 512 KB in float32, within a cache
_GROUP = 8  # columns behind one maximum

# The space for scores, which each thread keeps from call to call: 256 MB at most in float32
_of_thread = threading.local()


# ---------------------------------------------------------------- search


def nearest(queries: Tensor, keys: Tensor, log_prior: Tensor, kappa: float, top_k: int) -> Candidates:
    """S of (5): the `top_k` best slots for `queries` [B, M], given `keys` [N, M] and `log_prior` [N]."""
    layout = _Layout.of(queries, keys, top_k)
    parts = []
    for some_queries in queries.split(rows_at_once(len(keys))):
        scores = layout.empty_scores(some_queries, len(keys))
        maxima = layout.empty_maxima(some_queries)
        for block, _, groups in _score(scores, some_queries, keys, log_prior, kappa, layout):
            layout.maxima(block, out=maxima[:, groups])
        columns = layout.columns_of_best_groups(maxima, top_k)
        parts.append(_best(scores.gather(1, columns), columns, top_k))
    return joined(parts)


def nearest_and_matching(
    queries: Tensor,
    keys: Tensor,
    log_prior: Tensor,
    kappa: float,
    values: Tensor,
    labels: Tensor,
    *,
    look_at: int,
    top_k: int,
) -> tuple[Candidates, Candidates]:
    """The first `look_at` slots of S, and S_y of (7): the `top_k` best slots whose value is the query's label.

    `values` [N] and `labels` [B] hold 0 or 1. Where fewer than k slots carry a label, its S_y is filled up with
    arbitrary slots of score -inf.
    """
    layout = _Layout.of(queries, keys, top_k)
    penalty = _penalty(values, layout.width, keys)
    rows = rows_at_once(len(keys))
    of_all = []
    of_the_label = []
    for some_queries, some_labels in zip(queries.split(rows), labels.split(rows), strict=True):
        scores = layout.empty_scores(some_queries, len(keys))
        maxima = layout.empty_maxima(some_queries)
        own_maxima = layout.empty_maxima(some_queries)
        for block, at, groups in _score(scores, some_queries, keys, log_prior, kappa, layout):
            layout.maxima(block, out=maxima[:, groups])
            own_block = penalty[:, at].index_select(0, some_labels).add_(block)
            layout.maxima(own_block, out=own_maxima[:, groups])
        columns = layout.columns_of_best_groups(maxima, look_at)
        of_all.append(_best(scores.gather(1, columns), columns, look_at))
        columns = layout.columns_of_best_groups(own_maxima, top_k)
        own_scores = scores.gather(1, columns) + penalty.take(columns + layout.width * some_labels.unsqueeze(1))
        columns_of_slots = columns.clamp(max=len(keys) - 1)  # a column beyond the slots has score -inf
        of_the_label.append(_best(own_scores, columns_of_slots, top_k))
    return joined(of_all), joined(of_the_label)


def _penalty(values: Tensor, width: int, like: Tensor) -> Tensor:
    """What a slot's value adds to its score for label 0 and for label 1, [2, width]: 0 or -inf.

    Columns beyond the slots never match.
    """
    penalty = like.new_full((2, width), -torch.inf)
    for label in (0, 1):
        penalty[label, : len(values)] = torch.where(values == label, 0.0, -torch.inf)
    return penalty


class _Layout(NamedTuple):
    """How the columns of the scores are cut: into blocks of equal width, and those into groups.

    Group l of a block with L groups holds its columns l, l + L, l + 2 L, ...
    """

    width: int  # columns in all, at least the number of slots
    block: int  # columns in a block
    groups: int  # groups in a block

    @classmethod
    def of(cls, queries: Tensor, keys: Tensor, top_k: int) -> "_Layout":
        num_slots = len(keys)
        rows = min(len(queries), rows_at_once(num_slots))
        group = _GROUP if num_slots >= 4 * _GROUP * top_k else 1
        blocks = _divided_up(rows * num_slots, _CACHED_SCORES)
        groups = _divided_up(num_slots, blocks * group)
        block = groups * group
        return cls(width=_divided_up(num_slots, block) * block, block=block, groups=groups)

    def empty_scores(self, queries: Tensor, num_slots: int) -> Tensor:
        scores = _kept_space(queries, len(queries) * self.width).view(len(queries), self.width)
        scores[:, num_slots:] = -torch.inf  # columns beyond the slots are never chosen
        return scores

    def empty_maxima(self, queries: Tensor) -> Tensor:
        return queries.new_empty(len(queries), self.width // self.block * self.groups)

    def maxima(self, block: Tensor, out: Tensor) -> None:
        torch.amax(block.unflatten(1, (-1, self.groups)), dim=1, out=out)

    def columns_of_best_groups(self, maxima: Tensor, top_k: int) -> Tensor:
        """The columns of the k groups with the largest maxima, [B, k * columns in a group]."""
        best = _places_of_best(maxima, top_k)
        first = best + best // self.groups * (self.block - self.groups)
        members = torch.arange(0, self.block, self.groups, device=maxima.device)
        return (first.unsqueeze(1) + members.unsqueeze(1)).flatten(1)


def _kept_space(like: Tensor, number: int) -> Tensor:
    """`number` elements in the precision of `like`, with anything in them, in memory that this thread keeps.

    The system would fill each new page of the scores with zeros when it is first written, which takes an eighth of the
    time of a read of a large memory.
    """
    kept = getattr(_of_thread, "space", None)
    if kept is None or kept.dtype != like.dtype or kept.numel() < number:
        with torch.inference_mode(False):
            kept = torch.empty(number, dtype=like.dtype, device="cpu")
        _of_thread.space = kept
    return kept[:number]


def _divided_up(number: int, size: int) -> int:
    """How many parts of at most `size` hold `number`."""
    return (number + size - 1) // size


def _places_of_best(scores: Tensor, top_k: int) -> Tensor:
    """The columns of the k largest of each row, in no particular order: sorting would cost more than finding.

    NumPy finds them sooner than PyTorch does (docs/performance.md).
    """
    columns = scores.shape[1]
    in_two_parts = np.argpartition(scores.numpy(), columns - top_k, axis=1)  # the k largest behind the others
    return torch.from_numpy(in_two_parts)[:, columns - top_k :]


def _score(
    scores: Tensor, queries: Tensor, keys: Tensor, log_prior: Tensor, kappa: float, layout: _Layout
) -> Iterator[tuple[Tensor, slice, slice]]:
    """Fill `scores` block by block, handing out each block while it is still in the cache.

    With each block come its columns and the columns of its groups among the maxima.
    """
    by_onednn = keys.dtype == torch.float32 and _onednn_is_faster()
    scaled = (kappa * queries).to_mkldnn() if by_onednn else queries
    for start in range(0, len(keys), layout.block):
        slots = slice(start, min(start + layout.block, len(keys)))
        if by_onednn:
            scores[:, slots] = F.linear(scaled, keys[slots], log_prior[slots]).to_dense()
        else:
            torch.addmm(log_prior[slots], queries, keys[slots].T, alpha=kappa, out=scores[:, slots])
        at = slice(start, start + layout.block)
        first_group = start // layout.block * layout.groups
        yield scores[:, at], at, slice(first_group, first_group + layout.groups)


@functools.cache
def _onednn_is_faster() -> bool:
    """Whether oneDNN multiplies matrices faster than MKL: so it was on an AMD EPYC, and not on an Intel Xeon."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return torch.backends.mkldnn.is_available() and "Intel" not in capabilities.get("cpu_name", "")


def _best(candidates: Tensor, slots: Tensor, top_k: int) -> Candidates:
    best = _places_of_best(candidates, top_k)
    return Candidates(candidates.gather(1, best), slots.gather(1, best))


# ---------------------------------------------------------------- update


def m_step(keys: Tensor, histogram: Tensor, queries: Tensor, slots: Tensor, moves: Tensor, change: Tensor) -> None:
    """The M-step (9, 10), in place, as `dense.m_step` states it: `slots`, `moves` and `change` are [B, k].

    The changes are sorted by slot, so that each slot sums its few queries where they are, without a copy of them.
    """
    mass = torch.zeros_like(histogram).scatter_add_(0, slots.flatten(), change.flatten())
    new_histogram = added(histogram, mass)
    scale = inverse(new_histogram)
    keep = histogram * scale
    pull = change * scale.take(slots)

    moved_slots = torch.where(moves, slots, len(histogram)).flatten()
    number_of_moves = int(moves.sum())  # what does not move is sorted behind
    order = torch.from_numpy(np.argsort(moved_slots.numpy()))[:number_of_moves]
    touched, counts = moved_slots[order].unique_consecutive(return_counts=True)
    sample = order // slots.shape[1]
    weight = pull.flatten()[order]
    slots_at_once = max(1, _CACHED_UPDATES // keys.shape[1])
    end = 0
    for some_slots, some_counts in zip(touched.split(slots_at_once), counts.split(slots_at_once), strict=True):
        start = end
        end = start + int(some_counts.sum())
        bags = some_counts.cumsum(0) - some_counts  # where each slot's changes begin
        resultant = F.embedding_bag(sample[start:end], queries, bags, mode="sum", per_sample_weights=weight[start:end])
        kept = keys.index_select(0, some_slots).mul_(keep[some_slots].unsqueeze(1))
        new_keys, has_direction = unit_rows(kept.add_(resultant))
        if not bool(has_direction.all()):
            some_slots = some_slots[has_direction]
            new_keys = new_keys[has_direction]
        keys.index_copy_(0, some_slots, new_keys)
    histogram.copy_(new_histogram)

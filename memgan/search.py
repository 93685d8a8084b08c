"""The k most probable slots of each query, exactly, in about one pass over the scores.

A score is a slot's log joint up to a constant, kappa K_i . q + log(h_i + beta): what (4) exponentiates. Finding
the k largest of N is a costly part of a read on a CPU, so the scores are made in blocks that fit in the cache, and
each block leaves behind the maxima of small groups of its columns. A slot among the k best lies in one of the k
groups with the largest maxima, so only those groups are looked into again; and the same holds for the maxima.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Nearest", "nearest_and_matching", "nearest_slots"]

_MOST_SCORES = 2**26  # elements of the score matrix held at once: 256 MB in float32
_CACHED_KEYS = 2**19  # elements of the keys in one block on a CPU: 2 MB in float32, about a cache
_GROUP = 8  # columns behind one maximum


class Nearest(NamedTuple):
    """The best slots of each query, in no particular order: sorting would take as long as finding them."""

    scores: Tensor  # [B, k]
    slots: Tensor  # [B, k]


def nearest_slots(queries: Tensor, keys: Tensor, log_prior: Tensor, kappa: float, top_k: int) -> Nearest:
    """S of (5): the `top_k` best slots for `queries` [B, M], given `keys` [N, M] and `log_prior` [N]."""
    layout = _Layout.of(keys, top_k)
    parts = []
    for chunk in queries.split(max(1, _MOST_SCORES // len(keys))):
        scores = layout.empty_scores(chunk, len(keys))
        maxima = [layout.maxima(block) for block, _ in _score(scores, chunk, keys, log_prior, kappa, layout)]
        columns = layout.columns_of_best_groups(torch.cat(maxima, dim=1), top_k)
        parts.append(_best(scores.gather(1, columns), columns, top_k))
    return _joined(parts)


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
) -> tuple[Nearest, Nearest]:
    """The first `look_at` slots of S, and S_y of (7): the `top_k` best slots whose value is the query's label.

    `values` [N] and `labels` [B] hold 0 or 1. Where fewer than k slots carry a label, its S_y is filled up with
    arbitrary slots of score -inf.
    """
    layout = _Layout.of(keys, top_k)
    # what its value adds to a slot's score for label 0 and for label 1; columns beyond the slots never match
    penalty = keys.new_full((2, layout.width), -torch.inf)
    penalty[:, : len(keys)] = torch.where(torch.stack([values == 0, values == 1]), 0.0, -torch.inf)
    rows = max(1, _MOST_SCORES // len(keys))
    nearest, matching = [], []
    for chunk, label in zip(queries.split(rows), labels.split(rows), strict=True):
        scores = layout.empty_scores(chunk, len(keys))
        maxima, own_maxima = [], []
        for block, at in _score(scores, chunk, keys, log_prior, kappa, layout):
            maxima.append(layout.maxima(block))
            own_maxima.append(layout.maxima(penalty[:, at].index_select(0, label).add_(block)))
        columns = layout.columns_of_best_groups(torch.cat(maxima, dim=1), look_at)
        nearest.append(_best(scores.gather(1, columns), columns, look_at))
        columns = layout.columns_of_best_groups(torch.cat(own_maxima, dim=1), top_k)
        own = scores.gather(1, columns) + penalty.take(columns + layout.width * label.unsqueeze(1))
        matching.append(_best(own, columns.clamp(max=len(keys) - 1), top_k))
    return _joined(nearest), _joined(matching)


class _Layout(NamedTuple):
    """How the columns of the scores are cut: into blocks of equal width, and those into groups.

    Group l of a block with L groups holds its columns l, l + L, l + 2 L, ...
    """

    width: int  # columns in all, at least the number of slots
    block: int  # columns in a block
    groups: int  # groups in a block

    @classmethod
    def of(cls, keys: Tensor, top_k: int) -> "_Layout":
        num_slots, key_dim = keys.shape
        group = _GROUP if num_slots >= 4 * _GROUP * top_k and not keys.is_cuda else 1
        blocks = 1 if keys.is_cuda else -(-num_slots * key_dim // _CACHED_KEYS)
        groups = -(-num_slots // (blocks * group))
        return cls(width=blocks * groups * group, block=groups * group, groups=groups)

    def empty_scores(self, queries: Tensor, num_slots: int) -> Tensor:
        scores = queries.new_empty(len(queries), self.width)
        scores[:, num_slots:] = -torch.inf  # columns beyond the slots are never chosen
        return scores

    def maxima(self, block: Tensor) -> Tensor:
        return block.unflatten(1, (-1, self.groups)).amax(dim=1)

    def columns_of_best_groups(self, maxima: Tensor, top_k: int) -> Tensor:
        """The columns of the k groups with the largest maxima, [B, k * columns in a group]."""
        best = _top_columns(maxima, top_k)
        first = best // self.groups * self.block + best % self.groups
        members = torch.arange(0, self.block, self.groups, device=maxima.device)
        return (first.unsqueeze(1) + members.unsqueeze(1)).flatten(1)


def _top_columns(scores: Tensor, top_k: int) -> Tensor:
    """The columns of the k largest of each row, in no particular order, by the same trick: groups first."""
    rows, columns = scores.shape
    if columns < 4 * _GROUP * top_k or scores.is_cuda:
        return scores.topk(top_k, sorted=False).indices  # sorting would cost more than finding
    groups = columns // _GROUP
    best = _top_columns(scores[:, : groups * _GROUP].unflatten(1, (_GROUP, groups)).amax(dim=1), top_k)
    members = torch.arange(0, groups * _GROUP, groups)
    rest = torch.arange(groups * _GROUP, columns).expand(rows, -1)
    candidates = torch.cat([(best.unsqueeze(1) + members.unsqueeze(1)).flatten(1), rest], dim=1)
    return candidates.gather(1, scores.gather(1, candidates).topk(top_k, sorted=False).indices)


def _score(
    scores: Tensor, queries: Tensor, keys: Tensor, log_prior: Tensor, kappa: float, layout: _Layout
) -> Iterator[tuple[Tensor, slice]]:
    """Fill `scores` block by block, handing out each block, with its place, while it is still in the cache."""
    scaled = kappa * queries
    has_onednn = not torch.compiler.is_compiling() and torch.backends.mkldnn.is_available()
    if has_onednn and keys.device.type == "cpu" and keys.dtype == torch.float32:
        scaled = scaled.to_mkldnn()  # PyTorch's usual library can be slower here, as on AMD processors
    for start in range(0, len(keys), layout.block):
        slots = slice(start, min(start + layout.block, len(keys)))
        block = F.linear(scaled, keys[slots], log_prior[slots])
        scores[:, slots] = block.to_dense() if block.is_mkldnn else block
        at = slice(start, start + layout.block)
        yield scores[:, at], at


def _best(candidates: Tensor, slots: Tensor, top_k: int) -> Nearest:
    best = candidates.topk(top_k, sorted=False)
    return Nearest(best.values, slots.gather(1, best.indices))


def _joined(parts: list[Nearest]) -> Nearest:
    return Nearest(torch.cat([part.scores for part in parts]), torch.cat([part.slots for part in parts]))

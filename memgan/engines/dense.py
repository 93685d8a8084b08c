"""The engine for a GPU, and for torch.compile and torch.func: plain operations on whole matrices.

Shapes depend on the shapes of the arguments alone, and nothing looks at a value on the host: a step can be recorded as
a CUDA graph. No sum depends on an order that changes from run to run (there are no atomic additions).
"""

import torch
from torch import Tensor

from memgan.engines.candidates import Candidates, joined, marked
from memgan.engines.portions import rows_at_once
from memgan.engines.statistics import added, inverse, unit_rows

__all__ = ["m_step", "nearest", "nearest_and_matching"]


def nearest(queries: Tensor, keys: Tensor, log_prior: Tensor, kappa: float, top_k: int) -> Candidates:
    """S of (5): the `top_k` best slots for `queries` [B, M], given `keys` [N, M] and `log_prior` [N]."""
    parts = []
    for some_queries in queries.split(rows_at_once(len(keys))):
        scores = torch.addmm(log_prior, some_queries, keys.T, alpha=kappa)
        parts.append(_best(scores, top_k))
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
    rows = rows_at_once(len(keys))
    of_all = []
    of_the_label = []
    for some_queries, some_labels in zip(queries.split(rows), labels.split(rows), strict=True):
        scores = torch.addmm(log_prior, some_queries, keys.T, alpha=kappa)
        of_all.append(_best(scores, look_at))
        carries_another_label = values != some_labels.unsqueeze(1)
        of_the_label.append(_best(scores.masked_fill(carries_another_label, -torch.inf), top_k))
    return joined(of_all), joined(of_the_label)


def m_step(keys: Tensor, histogram: Tensor, queries: Tensor, slots: Tensor, moves: Tensor, change: Tensor) -> None:
    """The M-step (9, 10), in place, for `keys` [N, M] and `histogram` [N].

    `change` [B, k] is by how much the responsibility of each of a query's `slots` [B, k] has changed; it is 0 where
    `moves` [B, k] is False, and only slots that `moves` selects are updated. With m_i the sum of slot i's changes over
    the batch, and h_i on the right the new count,

        h_i <- h_i + m_i,    K_i <- normalise((h_i - m_i)/h_i K_i + sum_b change_bi/h_i q_b),

    which is K_i + sum_b change_bi/h_i (q_b - K_i) of (10) with its terms in another order.
    """
    num_slots = len(histogram)
    column = torch.where(moves, slots, num_slots)  # one column more than there are slots, cut off again
    by_slot = change.new_zeros(len(queries), num_slots + 1).scatter(1, column, change)[:, :num_slots]
    new_histogram = added(histogram, by_slot.sum(dim=0))
    scale = inverse(new_histogram)
    keep = histogram * scale
    pull = by_slot * scale  # [B, N]
    touched = marked(slots, moves, num_slots)
    slots_at_once = rows_at_once(keys.shape[1])
    for start in range(0, num_slots, slots_at_once):
        part = slice(start, start + slots_at_once)
        kept = keys[part] * keep[part].unsqueeze(1)
        new_keys, has_direction = unit_rows(kept + pull[:, part].T @ queries)
        moves_now = (touched[part] & has_direction).unsqueeze(1)
        keys[part] = torch.where(moves_now, new_keys, keys[part])
    histogram.copy_(new_histogram)


def _best(scores: Tensor, top_k: int) -> Candidates:
    best = scores.topk(top_k, dim=1, sorted=False)
    return Candidates(best.values, best.indices)

"""What a search for slots returns, and which slots stand in it."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Candidates", "joined", "marked"]


class Candidates(NamedTuple):
    """The best slots of each query, in no particular order: sorting them would take as long as finding them.

    A score is the logarithm of what (4) normalises, kappa K_i . q + log(h_i + beta).
    """

    scores: Tensor  # [B, k]; -inf fills up where there are fewer than k slots to find
    slots: Tensor  # [B, k] int64


def joined(parts: list[Candidates]) -> Candidates:
    """What was found for some queries after another, as one batch."""
    if len(parts) == 1:
        return parts[0]
    return Candidates(torch.cat([part.scores for part in parts]), torch.cat([part.slots for part in parts]))


def marked(slots: Tensor, where: Tensor, num_slots: int) -> Tensor:
    """Which slots stand in `slots` [B, any] at a place that `where` [B, any] selects: [num_slots] bool."""
    nowhere = num_slots  # one place more than there are slots, cut off again: what is not selected goes there
    marks = torch.zeros(num_slots + 1, dtype=torch.bool, device=slots.device)
    chosen = torch.where(where, slots, nowhere)
    return marks.scatter(0, chosen.flatten(), True)[:num_slots]

"""The arithmetic of the M-step (9, 10), slot by slot: what both engines do with the sums over a batch."""

import torch
from torch import Tensor

__all__ = ["added", "inverse", "unit_rows"]

_NO_DIRECTION = 1e-6  # a resultant shorter than this has no direction that rounding would not decide


def added(histogram: Tensor, mass: Tensor) -> Tensor:
    """h + mass, [N], never negative, and 0 where it would be a subnormal number, which slows a CPU down. (9)"""
    total = (histogram + mass).clamp(min=0)
    return torch.where(total >= torch.finfo(total.dtype).tiny, total, 0.0)


def inverse(histogram: Tensor) -> Tensor:
    """1 / h, [N], finite where h = 0 too: nothing was added to such a slot, so that it multiplies 0."""
    return histogram.clamp(min=torch.finfo(histogram.dtype).tiny).reciprocal()


def unit_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The directions of `rows` [n, M], which are changed in place, and which of them have one, [n]. (10)

    A row has none where a slot has no mass, or is pulled apart: such a slot keeps its key.
    """
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows.div_(length), length[:, 0] >= _NO_DIRECTION

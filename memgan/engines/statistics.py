"""The arithmetic of the M-step (9, 10), slot by slot: what both engines do with the sums over a batch."""

import torch
from torch import Tensor

__all__ = ["added", "inverse", "moved"]

_NO_DIRECTION = 1e-6  # a resultant shorter than this has no direction that rounding would not decide


def added(histogram: Tensor, mass: Tensor) -> Tensor:
    """h + mass, [N], never negative, and 0 where it would be a subnormal number, which slows a CPU down. (9)"""
    total = (histogram + mass).clamp(min=0)
    return torch.where(total >= torch.finfo(total.dtype).tiny, total, 0.0)


def inverse(histogram: Tensor) -> Tensor:
    """1 / h, [N], finite where h = 0 too: nothing was added to such a slot, so that it multiplies 0."""
    return histogram.clamp(min=torch.finfo(histogram.dtype).tiny).reciprocal()


def moved(keys: Tensor, keep: Tensor, resultant: Tensor) -> Tensor:
    """normalise(keep_i K_i + resultant_i) for `keys` [n, M], `keep` [n], `resultant` [n, M]. (10)

    A slot without mass, or one that is pulled apart to no direction, keeps its key.
    """
    new_keys = (keys * keep.unsqueeze(1)).add_(resultant)
    length = torch.linalg.vector_norm(new_keys, dim=1, keepdim=True)
    has_direction = length >= _NO_DIRECTION
    new_keys /= torch.where(has_direction, length, 1.0)
    return torch.where(has_direction, new_keys, keys)

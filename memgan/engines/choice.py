"""Which engine computes a memory: the single place where that is decided."""

from types import ModuleType

import torch
from torch import Tensor

from memgan.engines import blocked, dense

__all__ = ["engine_for", "is_transformed"]


def engine_for(queries: Tensor) -> ModuleType:
    """The engine for `queries` [B, M]: `blocked` in eager mode on a CPU, `dense` everywhere else."""
    if queries.device.type != "cpu" or torch.compiler.is_compiling() or is_transformed(queries):
        return dense
    return blocked


def is_transformed(tensor: Tensor) -> bool:
    """Whether torch.func (grad, jacrev, vmap, ...) is at work, whose tensors hold batches or tangents."""
    return not torch.compiler.is_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(tensor)

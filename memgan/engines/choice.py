"""Which engine computes a memory: the single place where that is decided."""

from types import ModuleType

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from memgan.engines import blocked, dense

__all__ = ["engine_for", "is_transformed"]


def engine_for(queries: Tensor) -> ModuleType:
    """The engine for `queries` [B, M]: `blocked` in eager mode on a CPU, `dense` everywhere else."""
    is_fake = isinstance(queries, torch._subclasses.FakeTensor)  # which has a shape and no numbers
    if queries.device.type != "cpu" or is_fake or torch.compiler.is_compiling() or is_transformed(queries):
        return dense
    return blocked


def is_transformed(tensor: Tensor) -> bool:
    """Whether torch.func (grad, jacrev, vmap, ...) or forward-mode differentiation is at work.

    Their tensors hold batches or tangents.
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor) or unpack_dual(tensor).tangent is not None

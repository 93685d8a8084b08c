"""Full precision for the scores, whatever the rest of a program computes in."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

__all__ = ["clipped", "exact_dtype", "first_dtype", "full_precision"]


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Autocast and TF32 off: rounded scores would change which slots are among the k best.

    What torch.compile makes of a matrix product depends on the process-wide setting at that time, so that there only
    autocast is switched off.
    """
    autocast_is_on = torch.is_autocast_enabled(device.type)
    without_autocast = torch.autocast(device.type, enabled=False) if autocast_is_on else nullcontext()
    if torch.compiler.is_compiling():
        with without_autocast:
            yield
        return
    _products.be_exact()
    try:
        with without_autocast:
            yield
    finally:
        _products.be_as_before()


class _Products:
    """PyTorch's switches for matrix products of float32, which all threads of a process share.

    They stay exact while any thread needs it: the first one notes how they were, and the last one puts that back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before: list[str] = []

    def be_exact(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._before = [switch.fp32_precision for switch in self._switches()]
                for switch in self._switches():
                    switch.fp32_precision = "ieee"

    def be_as_before(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                for switch, before in zip(self._switches(), self._before, strict=True):
                    switch.fp32_precision = before

    @staticmethod
    def _switches() -> tuple[Any, Any]:
        return torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]


_products = _Products()


def first_dtype() -> torch.dtype:
    """The precision of a new memory: PyTorch's default, but float32 at least."""
    return torch.promote_types(torch.get_default_dtype(), torch.float32)


def exact_dtype(device: torch.device) -> torch.dtype:
    """float64, where the device has it; Apple's GPUs do not."""
    return torch.float32 if device.type == "mps" else torch.float64


def clipped(probability: Tensor, epsilon: float) -> Tensor:
    """`probability` within [epsilon, 1 - epsilon], so that its logarithm and that of its complement are finite.

    Where 1 - epsilon would be rounded to 1, or epsilon to 0, the precision of `probability` says how near it may come.
    """
    limits = torch.finfo(probability.dtype)
    most = 1 - max(epsilon, limits.eps / 2)  # below 1, numbers are half as far apart as above
    return probability.clamp(max(epsilon, limits.tiny), most)

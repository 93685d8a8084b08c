"""Full precision for the scores, whatever the rest of a program computes in."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

__all__ = ["exact_dtype", "full_precision"]


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
    on_gpu = torch.backends.cuda.matmul
    on_cpu = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before_on_gpu = on_gpu.fp32_precision
    before_on_cpu = on_cpu.fp32_precision
    on_gpu.fp32_precision = "ieee"
    on_cpu.fp32_precision = "ieee"
    try:
        with without_autocast:
            yield
    finally:
        on_gpu.fp32_precision = before_on_gpu
        on_cpu.fp32_precision = before_on_cpu


def exact_dtype(device: torch.device) -> torch.dtype:
    """float64, where the device has it; Apple's GPUs do not."""
    return torch.float32 if device.type == "mps" else torch.float64

"""How the C library gives out memory on Linux: pages that tensors leave are kept for the next ones."""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# Parameters of mallopt, by their numbers in malloc.h
_TRIM_THRESHOLD = -1  # bytes that are free at the end of the heap before they are given back
_MMAP_THRESHOLD = -3  # bytes from which a block has pages of its own, which are given back when it is freed
_NEVER = 2**31 - 1  # the largest C int


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, where the C library is glibc.

    Each step of a training allocates the same large tensors again. glibc would give back what they leave, and the
    system would fill the pages with zeros before the next step has them.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return
    mallopt(_TRIM_THRESHOLD, _NEVER)
    mallopt(_MMAP_THRESHOLD, _NEVER)

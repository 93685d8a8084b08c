"""What `torchrun` means for a command: the processes that it started are ranks, which work together.

    torchrun --nproc-per-node 2 -m memgan train --out runs/two

The first rank alone writes files and speaks. `joined` is None for a process that works alone.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

__all__ = ["World", "announced_ranks", "joined"]

_PATIENCE = timedelta(days=7)  # with a rank that trains or evaluates alone; that one has ended is noticed at once


@dataclass(frozen=True)
class World:
    """The ranks that were started together, as one of them sees it. Each method is called by all of them."""

    rank: int  # of this process, from 0
    size: int  # how many ranks there are
    device: torch.device  # of this process
    group: dist.ProcessGroup  # for tensors on the device
    control: dist.ProcessGroup  # for what is on the CPU and does not wait for a GPU

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Go on when all ranks have come here."""
        dist.barrier(group=self.control)

    def largest(self, number: int) -> int:
        """The largest of the numbers that the ranks give."""
        largest = torch.tensor([number], dtype=torch.int64, device="cpu")
        dist.all_reduce(largest, dist.ReduceOp.MAX, group=self.control)
        return int(largest)

    def lost(self, error: RuntimeError) -> str:
        """What to say where working with the other ranks has failed, most often because one of them has ended."""
        what = (str(error).splitlines() or [""])[0]
        return f"rank {self.rank} of {self.size} cannot go on with the others, one of which may have ended ({what})"

    def gathered(self, value: Any) -> list[Any]:
        """What each rank gives, in their order. Values travel as pickles, between processes of one user."""
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.control)
        return values


def announced_ranks() -> int:
    """How many ranks the environment announces, as torchrun does: 1 where there is no word of any."""
    if "RANK" not in os.environ or "MASTER_ADDR" not in os.environ:
        return 1
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined(device: torch.device) -> Iterator[World | None]:
    """Join the ranks that torchrun has started, on `device`, or on the GPU with this rank's number; None if alone.

    Processes speak by gloo on a CPU and by nccl on GPUs. Raises ValueError where this rank has no GPU of its own.
    """
    if announced_ranks() == 1:
        yield None
        return
    if device.type == "cuda":
        device = _own_gpu()
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        everyone = list(range(dist.get_world_size()))
        group = _group_of(everyone, backend)
        control = _group_of(everyone, "gloo") if device.type == "cuda" else group
        yield World(dist.get_rank(), len(everyone), device, group, control)
    finally:
        dist.destroy_process_group()


def _group_of(ranks: list[int], backend: str) -> dist.ProcessGroup:
    group = dist.new_group(ranks, backend=backend, timeout=_PATIENCE)
    assert isinstance(group, dist.ProcessGroup)  # this rank is one of them
    return group


def _own_gpu() -> torch.device:
    number = int(os.environ.get("LOCAL_RANK", "0"))
    there = torch.cuda.device_count()
    if number >= there:
        raise ValueError(f"rank {os.environ['RANK']} needs GPU {number} of its machine, which has {there}")
    return torch.device("cuda", number)

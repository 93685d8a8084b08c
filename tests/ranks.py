"""Start some ranks on this machine and bring back what each of them returns."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def on_ranks(number: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """`work(*arguments)` in `number` processes that form one gloo group; what each returned, in their order.

    `work` is a function at the top of a module. The ranks meet in a file, so that no port has to be free.
    """
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_one_rank, (number, folder, work, arguments), nprocs=number)
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(number)]


def _one_rank(rank: int, number: int, folder: str, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # 127.0.0.1 alone
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=number)
    try:
        torch.save(work(*arguments), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()

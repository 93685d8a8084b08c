"""What is each technique of the CPU's engine worth? `python -m scripts.measure_engine`.

Each technique of memgan/engines/blocked.py is taken out alone. The memory with all of them and those without one do
their turns in each round of one run, in one thread, and the medians of the processor's time are compared. Writes
results/engine-cpu.json: how many times as long a read, and a read with a write, takes without the technique.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from memgan import VMFMemory
from memgan.engines import blocked
from scripts.benchmark_memory import SIZES, machine

ROUNDS = (60, 30, 5)  # of each size


def _plain_top_k(scores: Tensor, top_k: int) -> Tensor:
    return scores.topk(top_k, sorted=False).indices


def _fresh_space(like: Tensor, number: int) -> Tensor:
    return like.new_empty(number)


# What is put in the place of what, by the name of the technique that this takes out
WITHOUT: dict[str, dict[str, Any]] = {
    "groups of columns": {"_GROUP": 2**40},  # too large for any memory to be grouped
    "blocks of scores in the cache": {"_CACHED_SCORES": 2**60},
    "scores kept from call to call": {"_kept_space": _fresh_space},
    "NumPy's top k": {"_places_of_best": _plain_top_k},
    "keys updated in parts": {"_CACHED_UPDATES": 2**60},
    "MKL": {"_onednn_is_faster": lambda: True},  # on a processor where it is the faster one
}


@contextmanager
def without(technique: str | None) -> Iterator[None]:
    """The engine without one technique."""
    with ExitStack() as stack:
        for name, value in WITHOUT.get(technique or "", {}).items():
            stack.enter_context(patch.object(blocked, name, value))
        yield


@torch.no_grad()
def measure(size: tuple[int, int, int, int], rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of a read, and of a read with a write: of the whole engine, and without each technique."""
    batch, num_slots, key_dim, top_k = size
    torch.manual_seed(0)
    memory = VMFMemory(num_slots, key_dim, top_k)
    queries = F.normalize(torch.randn(batch, key_dim), dim=1)
    labels = (torch.arange(batch) < batch // 2).long()
    operations: dict[str, Callable[[], Any]] = {
        "read": lambda: memory.read(queries),
        "read_write": lambda: memory.read_write(queries, labels),
    }
    names = ["all", *WITHOUT]
    times: dict[str, dict[str, list[float]]] = {name: {operation: [] for operation in operations} for name in names}
    for turn in range(rounds + 1):
        for name in names:
            with without(None if name == "all" else name):
                for operation, run in operations.items():
                    run()  # what another contestant has left in the caches is not to count
                    start = time.process_time()
                    run()
                    if turn > 0:
                        times[name][operation].append(1e3 * (time.process_time() - start))
    return {name: {key: statistics.median(value) for key, value in of_name.items()} for name, of_name in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for size, rounds in zip(SIZES, ROUNDS, strict=True):
        milliseconds = measure(size, rounds)
        rows.append({"size": size, "rounds": rounds, "milliseconds": milliseconds})
        whole = milliseconds["all"]
        print(
            *size,
            "| read {read:.2f} ms, read and write {read_write:.2f} ms; without a technique, times as long:".format(
                **whole
            ),
        )
        for name in WITHOUT:
            shares = [milliseconds[name][operation] / whole[operation] for operation in whole]
            print(f"    {name:34}" + "".join(f"{share:8.2f}" for share in shares), flush=True)
    result = {**machine(torch.device("cpu")), "rows": rows}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "engine-cpu.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

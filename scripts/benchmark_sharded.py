"""What a memory in shards costs: `python -m scripts.benchmark_sharded` writes results/benchmark-sharded.json.

Two ranks hold half of the slots each, and a third process holds all slots in one memory. They take turns in every
round of one run, each with one thread, so that a noisy machine slows them all alike; what counts are the ratios of
medians. Where other programs keep the cores busy, the processor time of a rank says more than the time on the clock.
The ranks speak by gloo over the loopback interface, whose counters say what was sent, so that the traffic is
measured on Linux alone. Other programs can only add to the counters: the least of all rounds counts.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor

from memgan import ShardedVMFMemory, VMFMemory
from scripts.benchmark_memory import machine

RANKS = 2
ALONE = 2  # the process with the memory that is not in shards
KEY_DIM = 128
SIZES = [(64, 128), (128, 128), (64, 256)]  # B of both ranks together, and k
_FEW_SLOTS = 100_000  # with more, the first size alone is measured: the others take minutes and tell no more
OPERATIONS = ("read", "read, gradient", "write", "read and write", "sample")
Memory = VMFMemory


def operations(memory: Memory, rows: int, generator: torch.Generator) -> dict[str, Callable[[], Any]]:
    """What is timed, for a process that passes `rows` of its own."""
    queries = F.normalize(torch.randn(rows, KEY_DIM, generator=generator), dim=1)
    labels = (torch.arange(rows) < rows // 2).long()

    def read_with_gradient() -> Tensor:
        leaf = queries.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(memory.read(leaf).sum(), leaf)
        return gradient

    return {
        "read": lambda: memory.read(queries),
        "read, gradient": read_with_gradient,
        "write": lambda: memory.write(queries, labels),
        "read and write": lambda: memory.read_write(queries, labels),
        "sample": lambda: memory.sample(rows),
    }


def sent_over_loopback() -> int | None:
    """Bytes that all processes of this machine have sent to each other so far; None where it does not say."""
    try:
        lines = Path("/proc/net/dev").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, counters = line.partition(":")
        if name.strip() == "lo":
            return int(counters.split()[8])
    return None


def peak_megabytes() -> float:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one_process(rank: int, folder: str, num_slots: list[int], rounds: int) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS + 1)
    group = dist.new_group(list(range(RANKS)))
    rows = []
    for number in num_slots:
        rows += of_one_size(rank, group, number, rounds)
    if rank in (0, ALONE):
        Path(folder, f"{rank}.json").write_text(json.dumps(rows))
    dist.destroy_process_group()


def of_one_size(rank: int, group: Any, num_slots: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each batch and k: milliseconds of each operation here, bytes that were sent, megabytes held."""
    torch.manual_seed(0)
    before = peak_megabytes()
    memory: Memory
    if rank == ALONE:
        memory = VMFMemory(num_slots, KEY_DIM, SIZES[0][1])
    else:
        memory = ShardedVMFMemory(num_slots, KEY_DIM, SIZES[0][1], process_group=group)
    memory.histogram.uniform_(0.5, 1.5)  # as after some use
    of_buffers = sum(buffer.numel() * buffer.element_size() for buffer in memory.buffers()) / 2**20
    rows = []
    for batch, top_k in SIZES if num_slots <= _FEW_SLOTS else SIZES[:1]:
        memory.settings = memory.settings.changed(top_k=top_k)
        work = operations(memory, batch if rank == ALONE else batch // RANKS, torch.Generator().manual_seed(rank))
        milliseconds: dict[str, float] = {}
        processor: dict[str, float] = {}
        sent: dict[str, int | None] = {}
        for name in OPERATIONS:
            milliseconds[name], processor[name], sent[name] = measured(work[name], rank, rounds)
        row: dict[str, Any] = {"N": num_slots, "B": batch, "k": top_k, "M": KEY_DIM, "bytes": sent}
        row |= {"milliseconds": milliseconds, "processor_milliseconds": processor}
        rows.append({**row, "buffers_MB": of_buffers, "peak_MB": peak_megabytes(), "peak_before_MB": before})
        if rank == ALONE:
            print(json.dumps(row), flush=True)
    return rows


def measured(run: Callable[[], Any], rank: int, rounds: int) -> tuple[float, float, int | None]:
    """Median milliseconds of this process, on the clock and of a processor; bytes sent by both ranks in one call."""
    times = []
    processor_times = []
    sent = []
    for turn in range(rounds + 1):  # the first is a warm-up
        for who in ("shards", "alone"):
            dist.barrier()
            if (who == "alone") != (rank == ALONE):
                continue
            start_bytes = sent_over_loopback()
            start = time.perf_counter()
            start_processor = time.process_time()
            run()
            elapsed_processor = (time.process_time() - start_processor) * 1e3
            elapsed = (time.perf_counter() - start) * 1e3
            end_bytes = sent_over_loopback()
            if turn > 0:
                times.append(elapsed)
                processor_times.append(elapsed_processor)
                if start_bytes is not None and end_bytes is not None:
                    sent.append(end_bytes - start_bytes)
    return statistics.median(times), statistics.median(processor_times), min(sent, default=None)


def computed_bytes(operation: str, ranks: int, batch: int, key_dim: int, top_k: int) -> float:
    """What a rank sends to others in one call, in bytes: float32, `correct_in_top` 1, one EM step.

    `batch` is B of all ranks together. Left out are the 32 bytes with which the ranks compare their calls on a CPU, and
    what the network adds.
    """
    rows = batch // ranks
    others = ranks - 1
    queries = others * rows * key_dim * 4
    labels = others * rows * 4
    best = others * rows * top_k * 8  # score and slot of each candidate
    weights = others * rows * top_k * 4
    parts_of_derivatives = others * rows * key_dim * 4
    decided = others * rows * (4 + 1 + 4 * top_k) + others * rows * (top_k + 1)  # scores there, verdicts back
    oldest = others * 2 * batch * 8 + others * 8  # in each of two pools, and the mass
    shares = others * batch * 4
    read = queries + best
    write = queries + labels + decided + oldest + shares
    if operation == "sample":
        return others * (8 + 8 + rows * 8) + others / ranks * rows * (4 * key_dim + 8)
    return {
        "read": read,
        "read, gradient": read + weights + parts_of_derivatives,
        "write": write,
        "read and write": write + best,
        "read and write, gradient": write + best + weights + parts_of_derivatives,
    }[operation]


def table(rows: list[dict[str, Any]]) -> str:
    """Milliseconds on the clock, in brackets of a processor, and how many times as long the one memory takes."""
    names = f"{'N':>9} {'B':>4} {'k':>4} {'operation':16}"
    lines = [names + f"{'one memory, ms':>22}{'a shard, ms':>22}{'times':>14}{'KB a rank':>11}{'computed':>10}"]
    for row in rows:
        clock, processor = row["milliseconds"], row["processor_milliseconds"]
        for name in OPERATIONS:
            cells = [f"{clock[who][name]:.1f} ({processor[who][name]:.1f})" for who in ("alone", "shards")]
            times = [part["alone"][name] / part["shards"][name] for part in (clock, processor)]
            sent = row["sent_by_a_rank"][name]
            size = f"{row['N']:9} {row['B']:4} {row['k']:4} {name:16}"
            computed = computed_bytes(name, RANKS, row["B"], row["M"], row["k"])
            ratio = f"{times[0]:.2f} ({times[1]:.2f})"
            kilobytes = "-" if sent is None else f"{sent / 1e3:.1f}"
            lines.append(f"{size}{cells[0]:>22}{cells[1]:>22}{ratio:>14}{kilobytes:>11}{computed / 1e3:10.1f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, nargs="+", default=[40_000, 4_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the JSON file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(one_process, (folder, arguments.slots, arguments.rounds), nprocs=RANKS + 1)
        of_shards = json.loads(Path(folder, "0.json").read_text())
        of_alone = json.loads(Path(folder, f"{ALONE}.json").read_text())
    rows = []
    for shard, alone in zip(of_shards, of_alone, strict=True):
        size = {name: shard[name] for name in ("N", "M", "B", "k")}
        sent = {name: None if of_all is None else of_all / RANKS for name, of_all in shard["bytes"].items()}
        megabytes = {name: {"shard": shard[name], "alone": alone[name]} for name in ("buffers_MB", "peak_MB")}
        times = {
            name: {"shards": shard[name], "alone": alone[name]} for name in ("milliseconds", "processor_milliseconds")
        }
        rows.append({**size, **times, "sent_by_a_rank": sent, **megabytes})
    print(table(rows))
    torch.set_num_threads(1)
    result = {**machine(torch.device("cpu")), "ranks": RANKS, "rounds": arguments.rounds, "rows": rows}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "benchmark-sharded.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

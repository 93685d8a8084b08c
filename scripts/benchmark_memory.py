"""How long the memory takes, beside other ways of doing the same: `python scripts/benchmark_memory.py`.

Every contestant does its turn in each round of one run, so that a noisy machine slows them all alike; what counts
are the ratios of medians. On a CPU one thread and the processor's time, which other work on the machine changes less
than the clock's; on a GPU device events, eager and as a CUDA graph.

    memgan       VMFMemory of this package
    ordinary     the same method in the way of the public PyTorch ports: gathers K[S], writes [B, k, M] copies
    vq           the cosine codebook with EMA of vector-quantize-pytorch, in training mode (read + write)
    faiss        faiss' exact inner-product search for k neighbours (read)
    limit        the parts nobody can leave out: Q K^T, top-k, and a copy of the touched rows out and back

`vq` and `faiss` come with `pip install -e .[benchmark]`; without them their columns stay empty.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from memgan import VMFMemory
from memgan.lab.studies.provenance import commit

SIZES = [(64, 4096, 256, 128), (64, 16384, 512, 256), (256, 131072, 512, 256)]  # B, N, M, k
GOALS = {  # read + write: how many times faster than each, by size; "limit" is how many times slower at most
    "vq": (1.4, 3, 3),
    "limit": (1.25, 0.9, 0.7),
}
Work = Callable[[], Any]


class OrdinaryMemory:
    """MemoryGAN's read and write as one would first write them; samples that share a slot overwrite each other."""

    def __init__(self, keys: Tensor, values: Tensor, top_k: int, kappa: float, alpha: float) -> None:
        self.keys, self.values, self.top_k, self.kappa, self.alpha = keys, values, top_k, kappa, alpha
        self.histogram = torch.full_like(keys[:, 0], 1e-5)
        self.ages = torch.zeros_like(values)

    def top_k_of(self, queries: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        joint = torch.exp(self.kappa * (queries @ self.keys.T)) * (self.histogram + 1e-8) * values
        slots = joint.topk(self.top_k, dim=1).indices
        return slots, torch.einsum("bm,bkm->bk", queries, self.keys[slots])

    def read(self, queries: Tensor) -> Tensor:
        slots, cosine = self.top_k_of(queries, torch.ones_like(self.histogram))
        joint = torch.exp(self.kappa * cosine) * (self.histogram[slots] + 1e-8)
        return (joint * self.values[slots]).sum(1) / joint.sum(1)

    def write(self, queries: Tensor, labels: Tensor) -> None:
        matches = (self.values == labels.unsqueeze(1)).to(queries.dtype)
        nearest, _ = self.top_k_of(queries, torch.ones_like(self.histogram))
        wrong = self.values[nearest[:, 0]] != labels
        slots, cosine = self.top_k_of(queries, matches)
        joint = torch.exp(self.kappa * cosine) * (self.alpha * self.histogram[slots] + 1e-8)
        gamma = joint / joint.sum(1, keepdim=True)
        histogram = self.alpha * self.histogram[slots] + gamma
        keys = self.keys[slots]
        keys = F.normalize(keys + (gamma / histogram).unsqueeze(2) * (queries.unsqueeze(1) - keys), dim=2)
        self.ages += 1
        self.keys[slots[~wrong].flatten()] = keys[~wrong].flatten(0, 1)
        self.histogram[slots[~wrong].flatten()] = histogram[~wrong].flatten()
        self.ages[slots[~wrong].flatten()] = 0
        oldest = self.ages.topk(int(wrong.sum())).indices
        self.keys[oldest], self.values[oldest] = queries[wrong], labels[wrong]
        self.ages[oldest], self.histogram[oldest] = 0, self.histogram.mean()

    def read_write(self, queries: Tensor, labels: Tensor) -> Tensor:
        probability = self.read(queries)
        self.write(queries, labels)
        return probability


def contestants(size: tuple[int, int, int, int], device: torch.device) -> tuple[dict[str, dict[str, Work]], list[str]]:
    """What each contestant does for each operation, and who is missing."""
    batch, num_slots, key_dim, top_k = size
    memory = VMFMemory(num_slots, key_dim, top_k, validate=device.type == "cpu").to(device)
    queries = F.normalize(torch.randn(batch, key_dim, device=device), dim=1)
    labels = (torch.arange(batch, device=device) < batch // 2).long()
    ordinary = OrdinaryMemory(memory.keys.clone(), memory.values.clone(), top_k, memory.kappa, memory.alpha)

    fixed_keys = memory.keys.clone()
    touched = (queries @ fixed_keys.T).topk(top_k).indices.unique()

    def limit_read() -> None:
        (queries @ fixed_keys.T).topk(top_k)

    def limit_write() -> None:
        limit_read()
        fixed_keys.index_copy_(0, touched, fixed_keys.index_select(0, touched))

    work: dict[str, dict[str, Work]] = {
        "read": {
            "memgan": lambda: memory.read(queries),
            "ordinary": lambda: ordinary.read(queries),
            "limit": limit_read,
        },
        "write": {
            "memgan": lambda: memory.write(queries, labels),
            "ordinary": lambda: ordinary.write(queries, labels),
            "limit": limit_write,
        },
        "read_write": {
            "memgan": lambda: memory.read_write(queries, labels),
            "ordinary": lambda: ordinary.read_write(queries, labels),
            "limit": limit_write,
        },
        "sample": {"memgan": lambda: memory.sample(batch)},
    }
    missing = []
    try:
        from vector_quantize_pytorch import VectorQuantize

        codebook = VectorQuantize(
            dim=key_dim, codebook_size=num_slots, use_cosine_sim=True, decay=0.9, threshold_ema_dead_code=0
        ).to(device)
        codebook.train()
        work["read_write"]["vq"] = lambda: codebook(queries.unsqueeze(0))
    except ImportError:
        missing.append("vq")
    if device.type == "cpu":
        try:
            import faiss

            faiss.omp_set_num_threads(1)
            index = faiss.IndexFlatIP(key_dim)
            index.add(fixed_keys.numpy())
            work["read"]["faiss"] = lambda: index.search(queries.numpy(), top_k)
        except ImportError:
            missing.append("faiss")
    return work, missing


def measure(work: dict[str, Work], rounds: int, clock: Callable[[Work], float]) -> dict[str, float]:
    """Median milliseconds of each contestant, one turn each in every round after a warm-up.

    In its turn it runs twice, and the second time counts: the first brings back what others drove from the caches.
    """
    times: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 2):
        for name, run in work.items():
            run()
            elapsed = clock(run)
            if turn >= 2:
                times[name].append(elapsed)
    return {name: statistics.median(elapsed) for name, elapsed in times.items()}


def cpu_clock(run: Work) -> float:
    start = time.process_time()
    run()
    return (time.process_time() - start) * 1e3


def gpu_clock(run: Work) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def as_graph(run: Work) -> Work:
    """The same work, captured once and replayed."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


@torch.no_grad()
def benchmark(device: torch.device, rounds: int) -> list[dict[str, Any]]:
    """One row for each size and operation: milliseconds of every contestant."""
    rows = []
    for size in SIZES:
        torch.manual_seed(0)
        work, missing = contestants(size, device)
        if missing:
            print(f"not installed, left out: {', '.join(missing)}", file=sys.stderr)
        for operation, runs in work.items():
            if device.type == "cuda":
                runs = {**runs, "memgan, graph": as_graph(runs["memgan"])}
            turns = max(3, rounds // 8) if size[0] * size[1] > 2**24 else rounds
            times = measure(runs, turns, gpu_clock if device.type == "cuda" else cpu_clock)
            rows.append({"size": size, "operation": operation, "rounds": turns, "milliseconds": times})
            print(table(rows[-1:], header=len(rows) == 1), flush=True)
    return rows


COLUMNS = ("memgan", "memgan, graph", "ordinary", "vq", "faiss", "limit")


def table(rows: list[dict[str, Any]], header: bool = True) -> str:
    """Milliseconds, and in brackets how many times as long as memgan."""
    lines = []
    if header:
        lines.append(f"{'B, N, M, k':22} {'operation':11}" + "".join(f"{name:>17}" for name in COLUMNS))
    for row in rows:
        times = row["milliseconds"]
        cells = [
            f"{times[name]:9.2f} ({times[name] / times['memgan']:.2f})" if name in times else "-" for name in COLUMNS
        ]
        size = ", ".join(map(str, row["size"]))
        lines.append(f"{size:22} {row['operation']:11}" + "".join(f"{cell:>17}" for cell in cells))
    return "\n".join(lines)


def goals(rows: list[dict[str, Any]]) -> list[str]:
    """What was to be reached, and what was."""
    lines = []
    for size, row in zip(SIZES, [row for row in rows if row["operation"] == "read_write"], strict=True):
        times = row["milliseconds"]
        for rival, wanted in GOALS.items():
            if rival in times:
                ratio = times[rival] / times["memgan"] if rival != "limit" else times["memgan"] / times["limit"]
                goal = wanted[SIZES.index(size)]
                reached = ratio <= goal if rival == "limit" else ratio >= goal
                word = "of the limit, at most" if rival == "limit" else f"times faster than {rival}, at least"
                lines.append(f"{size}: {ratio:.2f} {word} {goal}: {'reached' if reached else 'NOT reached'}")
    for size, row in zip(SIZES, [row for row in rows if row["operation"] == "read"], strict=True):
        times = row["milliseconds"]
        if "faiss" in times:
            ratio = times["memgan"] / times["faiss"]
            lines.append(f"{size}: read {ratio:.2f} of faiss, at most 1: {'reached' if ratio <= 1 else 'NOT reached'}")
    return lines


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """Bars from 0, with their milliseconds: read and read + write, a panel for each size."""
    from matplotlib.figure import Figure

    colours = {"memgan": "#0072B2", "memgan, graph": "#56B4E9"}
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for axes, size in zip(figure.subplots(1, len(SIZES)), SIZES, strict=True):
        bars = [
            (f"{name}, {row['operation'].replace('_', ' + ')}", name, row["milliseconds"][name])
            for row in rows
            if tuple(row["size"]) == size and row["operation"] in ("read", "read_write")
            for name in COLUMNS
            if name in row["milliseconds"]
        ]
        labels, names, times = zip(*bars, strict=True)
        drawn = axes.barh(labels, times, color=[colours.get(name, "#999999") for name in names])
        axes.bar_label(
            drawn, [f"{time:,.1f}" if time < 100 else f"{time:,.0f}" for time in times], padding=2, fontsize=8
        )
        axes.set(xlabel="milliseconds", title="B {}, N {}, M {}, k {}".format(*size), xlim=(0, max(times) * 1.15))
        axes.title.set_fontsize(10)
        axes.tick_params(axis="y", labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.invert_yaxis()
    figure.savefig(path, dpi=120)


def machine(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name() if device.type == "cuda" else processor()
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__, "commit": commit()}


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=40, help="turns of each contestant (an eighth at the last size)")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the JSON file and the picture")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(1)
    rows = benchmark(device, arguments.rounds)
    reached = goals(rows)
    print("\n".join(reached))
    arguments.out.mkdir(parents=True, exist_ok=True)
    result = {**machine(device), "rows": rows, "goals": reached}
    (arguments.out / f"benchmark-memory-{device.type}.json").write_text(json.dumps(result, indent=1) + "\n")
    picture(rows, arguments.out / f"benchmark-memory-{device.type}.png")


if __name__ == "__main__":
    main()

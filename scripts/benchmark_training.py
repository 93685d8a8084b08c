"""How long a training step takes, and the memory's share of it: `python -m scripts.benchmark_training`.

The memory's operations are timed where the step calls them: on a CPU in one thread, by the processor's time, which
other work on the machine hardly changes; on a GPU by device events, with the step as one CUDA graph beside it, as a
whole. Images are random: what they show does not change the time. Writes results/benchmark-training-cpu.json or
benchmark-training-cuda.json.
"""

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from memgan import MemoryGAN
from memgan.presets import PRESETS, Settings
from memgan.runs import build
from memgan.training import Step, Trainer, prepare
from scripts.benchmark_memory import machine

OPERATIONS = ("sample", "read", "read_write", "log_posterior_of")  # all that a step asks of the memory
GOALS = {"cpu": 0.10, "cuda": 0.05}  # of the step, at the authors' Fashion-MNIST size
GOAL_PRESET = "fashion-mnist"
WARM_UP = 5  # steps; on a GPU the graph is recorded in the fourth


class Stopwatch:
    """Adds up what runs between `start` and `stop`: the processor's time on a CPU, the device's time on a GPU.

    On a GPU both only leave a mark in the queue of work, and `milliseconds` alone waits.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._starts: list[Any] = []
        self._ends: list[Any] = []

    def start(self) -> None:
        self._starts.append(self._now())

    def stop(self) -> None:
        self._ends.append(self._now())

    def milliseconds(self) -> float:
        """The sum of all spans since the last call."""
        spans = list(zip(self._starts, self._ends, strict=True))
        self._starts.clear()
        self._ends.clear()
        if self._on_gpu:
            torch.cuda.synchronize()
            return sum(start.elapsed_time(end) for start, end in spans)
        return 1e3 * sum(end - start for start, end in spans)

    def _now(self) -> Any:
        if not self._on_gpu:
            return time.process_time()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def time_memory(gan: MemoryGAN, stopwatch: Stopwatch) -> None:
    """Have the stopwatch run while the memory's operations do."""

    def timed(original: Callable[..., Any], *arguments: Any) -> Any:
        stopwatch.start()
        result = original(*arguments)
        stopwatch.stop()
        return result

    for name in OPERATIONS:
        setattr(gan.memory, name, functools.partial(timed, getattr(gan.memory, name)))


def steps_of(settings: Settings, device: torch.device, *, graph: bool) -> tuple[Iterator[Step], MemoryGAN]:
    """Training of `settings` on random bytes, on its first step; on a GPU as a CUDA graph or not."""
    prepare(0)
    number = 8 * settings.training.batch_size
    images = torch.randint(256, (number, *settings.networks.image_shape), dtype=torch.uint8)
    gan = build(settings, device)
    training = replace(settings.training, steps=10**6, cuda_graph=graph)
    return iter(Trainer(gan, images.to(device), training)), gan


def measure(settings: Settings, device: torch.device, rounds: int) -> dict[str, float]:
    """Median milliseconds of a step and of the memory's part in it; on a GPU also of a step in a graph."""
    steps, gan = steps_of(settings, device, graph=False)
    whole = Stopwatch(device)
    part = Stopwatch(device)
    time_memory(gan, part)
    of_steps = []
    of_memory = []
    for _ in range(WARM_UP + rounds):
        whole.start()
        next(steps)
        whole.stop()
        of_steps.append(whole.milliseconds())
        of_memory.append(part.milliseconds())
    of_steps = of_steps[WARM_UP:]
    of_memory = of_memory[WARM_UP:]
    shares = [memory / step for step, memory in zip(of_steps, of_memory, strict=True)]
    result = {
        "step": statistics.median(of_steps),
        "memory": statistics.median(of_memory),
        "share": statistics.median(shares),
    }
    if device.type == "cuda":
        result["graph"] = measured_graph(settings, device, rounds)
    return result


def measured_graph(settings: Settings, device: torch.device, rounds: int) -> float:
    """Milliseconds of a step in a graph, over all rounds together: single ones overlap with the host."""
    steps, _ = steps_of(settings, device, graph=True)
    for _ in range(WARM_UP):
        next(steps)
    stopwatch = Stopwatch(device)
    stopwatch.start()
    for _ in range(rounds):
        next(steps)
    stopwatch.stop()
    return stopwatch.milliseconds() / rounds


def table(rows: dict[str, dict[str, float]]) -> str:
    """Milliseconds, and the memory's share, of each preset."""
    head = f"{'preset':34}{'step, ms':>10}{'memory, ms':>12}{'share':>8}{'graph, ms':>11}"
    return "\n".join([head, *(line(name, row) for name, row in rows.items())])


def line(name: str, row: dict[str, float]) -> str:
    """The line of one preset in the table."""
    graph = f"{row['graph']:11.2f}" if "graph" in row else ""
    return f"{name:34}{row['step']:10.1f}{row['memory']:12.2f}{row['share']:8.1%}{graph}"


def goal(rows: dict[str, dict[str, float]], device: str) -> str:
    """What was to be reached at the authors' Fashion-MNIST size, and what was."""
    if GOAL_PRESET not in rows:
        return ""
    share = rows[GOAL_PRESET]["share"]
    wanted = GOALS[device]
    word = "reached" if share <= wanted else "NOT reached"
    return f"{GOAL_PRESET}: the memory takes {share:.1%} of a step, at most {wanted:.0%}: {word}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", metavar="PRESET", help="default: all, each also in bfloat16")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=20, help="steps of each preset, after a warm-up")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the JSON file")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    rows: dict[str, dict[str, float]] = {}
    for name in arguments.presets or [name for name in PRESETS if not name.endswith("-paper")]:
        for precision in ("float32", "bfloat16"):
            settings = PRESETS[name].changed([f"training.precision={precision}"])
            label = name if precision == "float32" else f"{name}, {precision}"
            rows[label] = measure(settings, device, arguments.rounds)
            print(line(label, rows[label]), flush=True)
    print(table(rows), goal(rows, device.type), sep="\n")
    result = {**machine(device), "rounds": arguments.rounds, "rows": rows, "goal": goal(rows, device.type)}
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"benchmark-training-{device.type}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

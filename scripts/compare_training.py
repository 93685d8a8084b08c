"""How much faster is a training step than at another commit? `python -m scripts.compare_training OTHER_CHECKOUT`.

OTHER_CHECKOUT is a folder with another commit, as `git worktree add ../before COMMIT` makes one. Both commits run their
own scripts/benchmark_training.py in turns, so that a noisy machine slows them alike, and the medians of the turns are
compared. Writes results/compare-training-cpu.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PRESETS = ("mnist-5k", "fashion-mnist-slim", "fashion-mnist")


def benchmark(checkout: Path, presets: list[str], rounds: int) -> dict[str, Any]:
    """The result file of the benchmark of steps as `checkout` has it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "scripts.benchmark_training", *presets, "--rounds", str(rounds)]
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        subprocess.run([*command, "--out", folder], cwd=checkout, env=environment, check=True, capture_output=True)
        return json.loads((Path(folder) / "benchmark-training-cpu.json").read_text(encoding="utf-8"))


def compared(other: Path, presets: list[str], turns: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of a step and of the memory in it, of both commits, by preset."""
    of_both: dict[str, list[dict[str, Any]]] = {"before": [], "after": []}
    for turn in range(turns):
        for name, checkout in (("before", other), ("after", ROOT)):
            of_both[name].append(benchmark(checkout, presets, rounds))
            print(f"turn {turn + 1} of {turns}, {name}", flush=True)
    last = of_both["after"][-1]
    result = {name: last[name] for name in ("device", "threads", "torch")}
    result |= {"turns": turns, "rounds": rounds}
    for name, files in of_both.items():
        rows = {}
        for label in last["rows"]:
            rows[label] = {
                measure: statistics.median(file["rows"][label][measure] for file in files)
                for measure in ("step", "memory")
            }
        result[name] = {"commit": files[-1]["commit"], "rows": rows}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, metavar="OTHER_CHECKOUT")
    parser.add_argument("presets", nargs="*", metavar="PRESET", help=f"default: {', '.join(PRESETS)}")
    parser.add_argument("--turns", type=int, default=5, help="of each commit")
    parser.add_argument("--rounds", type=int, default=8, help="steps of each preset in a turn, after a warm-up")
    arguments = parser.parse_intermixed_args()
    result = compared(arguments.other.resolve(), arguments.presets or list(PRESETS), arguments.turns, arguments.rounds)
    path = ROOT / "results" / "compare-training-cpu.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for label, before in result["before"]["rows"].items():
        after = result["after"]["rows"][label]
        print(f"{label:34}{before['step']:8.1f} -> {after['step']:6.1f} ms, {before['step'] / after['step']:.2f} times")


if __name__ == "__main__":
    main()

"""Train and measure every GAN of the plane: results/plane.json, which notebooks 01 and 07 load.

Plain GANs at several lengths of training, memoryGANs with all settings and with one changed at a time, InfoGANs
with a one-hot code. About twenty minutes on one core. Kinds as arguments: measure only these again, keep the others.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from memgan.gan import AdversarialModel
from memgan.lab.studies.provenance import commit
from walkthrough import nb01_plane as plane

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "plane.json"

LENGTHS = (150, 300, 600, 1200, 2400, 4800, 9600)
PLAIN = {  # changes, seeds
    "plain": ({}, range(5)),
    "plain, 16 noise dimensions": ({"noise_dim": 16}, range(3)),
}
UNEQUAL = (3.0, 1.0) * 4  # every other mode has three times the data
MEMORY = {
    "memory": ({}, range(10)),
    "memory, sigma 0.05": ({"sigma": 0.05}, range(5)),
    "memory, unequal modes": ({"shares": UNEQUAL}, range(5)),
    "one slot vouches": ({"correct_in_top": 1}, range(5)),
    "two slots vouch": ({"correct_in_top": 2}, range(5)),
    "all of S_y young": ({"touch": "all"}, range(5)),
    "oldest of all": ({"replace_within_label": False}, range(5)),
    "the paper's rule": ({"touch": "all", "replace_within_label": False}, range(5)),
    "the paper's term": ({"information": "density", "mi_weight": 0.05}, range(5)),
    "kappa 5": ({"kappa": 5.0}, range(5)),
    "kappa 60": ({"kappa": 60.0}, range(5)),
    "generator without key": ({"conditional": False}, range(5)),
    "lambda 0": ({"mi_weight": 0.0}, range(5)),
    "32 slots": ({"num_slots": 32}, range(5)),
    "no blur": ({"blur": 0.0}, range(5)),
}
ONE_HOT = {
    "one-hot": ({}, range(5)),
    "one-hot, lambda 0": ({"mi_weight": 0.0}, range(5)),
    "one-hot, unequal modes": ({"shares": UNEQUAL}, range(5)),
    "one-hot, 5 codes": ({"num_codes": 5}, range(5)),
    "one-hot, 12 codes": ({"num_codes": 12}, range(5)),
}
KINDS = [*PLAIN, *MEMORY, *ONE_HOT]


def runs_of(kind: str) -> Iterator[dict[str, Any]]:
    """Every run of a kind."""
    if kind in PLAIN:
        changes, seeds = PLAIN[kind]
        for seed in seeds:
            yield from plain(kind, seed, changes)
        return
    train = plane.train_memory if kind in MEMORY else plane.train_one_hot
    settings = plane.PlaneMemorySettings if kind in MEMORY else plane.CodeSettings
    changes, seeds = (MEMORY | ONE_HOT)[kind]
    for seed in seeds:
        gan = train(seed, **changes)
        yield record(kind, seed, settings(**changes), gan)


def plain(kind: str, seed: int, changes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One run, measured at each of LENGTHS: its rate does not decay, so each is also a run of that length."""
    for step, gan in plane.training_plain(seed, steps=LENGTHS[-1], **changes):
        if step in LENGTHS:
            settings = plane.PlainSettings(steps=step, **changes)
            yield record(kind, seed, settings, gan) | {"slope_at_most": rounded(plane.spectral_bound(gan))}


def record(kind: str, seed: int, settings: Any, gan: AdversarialModel) -> dict[str, Any]:
    measured = plane.measure(gan, settings.sigma)
    numbers = {name: rounded(value) for name, value in measured._asdict().items()}
    return {"kind": kind, "seed": seed, **numbers, "settings": asdict(settings)}


def rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [rounded(number) for number in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value


def table(runs: list[dict[str, Any]]) -> str:
    lines = [f"{'':28} {'seed':>4} {'steps':>5} {'modes':>5} {'off-mode':>8} {'slope':>7} {'pieces':>6} {'spread':>6}"]
    for run in runs:
        lines.append(
            f"{run['kind']:28} {run['seed']:4} {run['settings']['steps']:5} {run['modes']:5} {run['off_mode']:8.2%} "
            f"{run['slope']:7.2f} {run['pieces']:6} {run['spread'] or 0:6.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=[[], *KINDS], help="measure only these again, and keep the others")
    again = parser.parse_args().kinds or KINDS
    kept = json.loads(RESULT.read_text(encoding="utf-8"))["runs"] if RESULT.exists() else []
    for kind in again:
        started = time.process_time()
        new = [run | {"commit": commit()} for run in runs_of(kind)]
        kept = [run for run in kept if run["kind"] in KINDS and run["kind"] != kind] + new
        kept.sort(key=lambda run: KINDS.index(run["kind"]))
        result = {"torch": torch.__version__, "threads": torch.get_num_threads(), "runs": kept}
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(table(new), f"\n{time.process_time() - started:.0f} s of CPU time", flush=True)


if __name__ == "__main__":
    main()

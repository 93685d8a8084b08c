"""`memgan study`: a grid of configurations and seeds, trained and evaluated, into one result file."""

import argparse
import contextlib
import dataclasses
import sys
import textwrap
from pathlib import Path
from typing import Any

from memgan.lab.commands.options import add_device, device_of, expanded_path, seed, writable
from memgan.lab.commands.progress import warn_once
from memgan.lab.sessions.session import Interrupted
from memgan.lab.sessions.world import World, joined
from memgan.lab.studies.comparison import figure, table
from memgan.lab.studies.grids import STUDIES, Study
from memgan.lab.studies.plan import Plan
from memgan.lab.studies.result_file import load_study
from memgan.lab.studies.runner import run_study
from memgan.presets import PRESETS


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `memgan study`."""
    parser.description = "\n".join(_introduced(name, study) for name, study in STUDIES.items())
    parser.add_argument("name", choices=list(STUDIES), metavar="NAME", help=", ".join(STUDIES))
    parser.add_argument("--preset", choices=sorted(PRESETS), default="mnist-5k", help="what is changed in each run")
    parser.add_argument("--seeds", type=seed, nargs="+", default=[0, 1, 2], metavar="SEED", help="default: 0 1 2")
    parser.add_argument("--steps", type=int, help="of each run; default: the preset's")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="of the preset, in all runs, e.g. training.precision=bfloat16",
    )
    parser.add_argument(
        "--tuning-steps", type=int, help="of the trials that choose rates or weights, where a study has them"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="CONFIGURATION", help="run these, by name")
    parser.add_argument(
        "--out", type=expanded_path, metavar="FILE", help="default: results/study-NAME-PRESET.json; goes on with it"
    )
    parser.add_argument(
        "--runs", type=expanded_path, metavar="FOLDER", help="default: runs/ and the name of the result file"
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default: 1)")
    parser.add_argument(
        "--root", type=expanded_path, metavar="DATA", help="folder of the data sets ($MEMGAN_DATA, else ./data)"
    )
    add_device(parser)


def plan_of(options: argparse.Namespace) -> Plan:
    """What the options ask for. Raises ValueError where it cannot be carried out."""
    return Plan.of(
        options.name,
        options.preset,
        steps=options.steps,
        tuning_steps=options.tuning_steps,
        device=str(device_of(options.device)),
        root=options.root,
        changes=options.set,
    )


def run(options: argparse.Namespace) -> None:
    """Run what the result file does not hold yet, then print its table and draw its figure beside it.

    Under torchrun, each rank takes some of the runs, and the first one writes.
    """
    if options.jobs < 1:
        raise ValueError(f"expected at least one job at a time, got {options.jobs}")
    with joined(device_of(options.device)) as world:
        _run(options, world)


def _run(options: argparse.Namespace, world: World | None) -> None:
    plan = plan_of(options)
    if world is not None:
        plan = dataclasses.replace(plan, device=str(world.device))
    default = Path("results") / f"study-{options.name}-{options.preset}.json"
    out = writable(options.out or default, "a file such as kappa.json", figure_beside=True)
    runs = options.runs or Path("runs") / out.stem  # two results of one study may need runs of other settings
    rows = run_study(plan, out, seeds=options.seeds, runs=runs, only=options.only, processes=options.jobs, world=world)
    try:
        with contextlib.closing(rows):
            for row in rows:
                if world is None or world.is_first:
                    print(_described(row), file=sys.stderr, flush=True)
    except (Interrupted, KeyboardInterrupt) as end:
        there = [path for path in (out, runs) if path.exists()]
        holds = f"{there[0]} holds what was done" if there else "before anything was done"
        print(f"memgan study: stopped, {holds}; the same command goes on", file=sys.stderr)
        raise SystemExit(getattr(end, "exit_code", 130)) from end
    if world is not None and not world.is_first:
        return
    result = load_study(out)
    print(table(result), flush=True)
    picture = out.with_suffix(".png")
    try:
        figure(result).savefig(picture, dpi=150)
    except OSError as error:
        warn_once("study", [f"the figure was not kept: {error}"])
    else:
        print(f"{out}, {picture}", file=sys.stderr)


def _introduced(name: str, study: Study) -> str:
    """A study's question and, for --only, its configurations."""
    configurations = ", ".join(repr(configuration) for configuration in study.grid(PRESETS["digits"]))
    listed = textwrap.fill(configurations, 100, initial_indent="  ", subsequent_indent="  ")
    return f"{name}: {study.question}\n{listed}"


def _described(row: dict[str, Any]) -> str:
    """One run in a line."""
    which = f"{row['configuration']}, {row['candidate']}" if "candidate" in row else row["configuration"]
    if "failed" in row:
        return f"{which}, seed {row['seed']}: failed, {row['failed']}"
    scores = f"Inception Score {row['inception_score']}, Frechet distance {row['frechet_distance']}"
    return f"{which}, seed {row['seed']}: {scores}, {row['seconds']} s of training"

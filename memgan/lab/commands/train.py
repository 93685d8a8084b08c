"""`memgan train`: a preset, with any setting changed, into a folder; and on from where an earlier session stopped."""

import argparse
import os
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from memgan.data import ImageData, load_dataset
from memgan.lab.baselines.models import MODELS, as_model
from memgan.lab.commands.options import add_data, add_device, data_of, device_of, seed
from memgan.lab.sessions import checkpoints
from memgan.lab.sessions.checkpoints import Checkpoint
from memgan.lab.sessions.progress import METRICS
from memgan.lab.sessions.session import Habits, Interrupted, Session
from memgan.presets import PRESETS, Settings

PURPOSE = "train a preset"

PRESET = "digits"
MADE_BY_TRAINING = ("checkpoints", "samples", "old_fakes.pt", "settings.json", "model.pt", "history.json")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `memgan train`."""
    what = parser.add_argument_group("what to train")
    what.add_argument("--preset", choices=sorted(PRESETS), help=f"where to start from (default: {PRESET})")
    what.add_argument(
        "--model", metavar="NAME", help=f"memorygan, or a baseline of equal size: {', '.join(MODELS[1:])}"
    )
    what.add_argument("--dataset", metavar="NAME", help="the preset on another data set, e.g. folder:PATH")
    what.add_argument("--size", type=int, metavar="PIXELS", help="short for --set networks.image_size=PIXELS")
    what.add_argument("--steps", type=int, help="short for --set training.steps=STEPS")
    set_help = "any setting, e.g. memory.kappa=30"
    what.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help=set_help)
    what.add_argument("--seed", type=seed, help="same seed, same machine: bitwise the same run (default: 0)")

    add_data(parser.add_argument_group("data"))

    where = parser.add_argument_group("where and how")
    where.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder for checkpoints and the run")
    where.add_argument("--resume", action="store_true", help="go on from the last checkpoint in RUN")
    where.add_argument("--force", action="store_true", help="overwrite the run that RUN already holds")
    add_device(where)
    threads_help = "of a CPU (default: 1, or what measures fastest where the networks are large)"
    where.add_argument("--threads", type=int, metavar="N", help=threads_help)
    every_help = "steps between checkpoints (default: 500, or more where they would take over 1 %% of the time)"
    where.add_argument("--checkpoint-every", type=int, metavar="N", help=every_help)
    where.add_argument("--keep", type=int, default=Habits.keep, metavar="K", help="checkpoints to keep (default: 3)")
    stops_help = "train on where the memory has failed and nothing more can come of it"
    where.add_argument("--keep-going", action="store_true", help=stops_help)

    seen = parser.add_argument_group("what to see")
    seen.add_argument("--log-dir", type=Path, metavar="DIR", help="write metrics.jsonl and TensorBoard events there")
    sheets_help = "steps between sheets of samples in RUN/samples (default: none)"
    seen.add_argument("--sample-every", type=int, default=0, metavar="N", help=sheets_help)


def run(options: argparse.Namespace) -> None:
    """Train, and write the run."""
    if options.threads is not None and options.threads < 1:
        raise ValueError(f"--threads must be at least 1, got {options.threads}")
    habits = Habits(
        options.checkpoint_every, options.keep, options.sample_every, options.log_dir, stops=not options.keep_going
    )
    device = device_of(options.device)
    earlier = _earlier(options)
    settings, data = _data(_settings(options, earlier), options)
    session = Session(
        options.out,
        settings,
        data,
        seed=options.seed or 0,
        device=device,
        threads=options.threads,
        habits=habits,
        earlier=earlier,
    )
    if options.force:
        _clear(options.out)
    try:
        session.run()
    except Interrupted as end:
        _to_stderr(f"memgan train: {end}. It goes on, as if nothing had happened, with\n  {resuming(options)}")
        raise SystemExit(end.exit_code) from end
    where = f"{device}, {session.threads} thread{'s' * (session.threads > 1)}" if device.type == "cpu" else device
    if earlier and earlier.number == settings.training.steps:
        _to_stderr(f"memgan train: {options.out} was finished already, nothing was left to train")
    print(f"{options.out}: {settings.training.steps} steps in {session.seconds:.1f} s on {where}, seed {session.seed}")


def resuming(options: argparse.Namespace) -> str:
    """The command that goes on with a run: settings and seed are in its checkpoints, all else is repeated."""
    words = ["memgan", "train", "--out", str(options.out), "--resume"]
    for name, default in {"device": "auto", "keep": Habits.keep, "sample_every": 0}.items():
        if getattr(options, name) != default:
            words += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    for name in ("root", "log_dir", "checkpoint_every"):
        if getattr(options, name) is not None:
            words += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    words += [f"--{name.replace('_', '-')}" for name in ("strict", "keep_going") if getattr(options, name)]
    return shlex.join(words)


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _earlier(options: argparse.Namespace) -> Checkpoint | None:
    """The checkpoint to go on from, after a look at whether RUN is fit for what is asked."""
    if options.resume and options.force:
        raise ValueError("--resume goes on with the run in RUN, --force overwrites it: choose one")
    if options.resume:
        return checkpoints.newest(options.out, _to_stderr)
    holds_run = (options.out / "settings.json").exists() or checkpoints.saved(options.out)
    if holds_run and not options.force:
        raise ValueError(
            f"{options.out} already holds a run; choose another --out, --resume to go on with it, or --force to "
            "overwrite it"
        )
    log = options.log_dir / METRICS if options.log_dir else None
    if log and log.exists() and not options.force:
        raise ValueError(f"{log} holds the log of another run; choose another --log-dir, or --force to overwrite it")
    parent = next(path for path in [options.out.absolute(), *options.out.absolute().parents] if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ValueError(f"{options.out} cannot be written: {parent} is not a folder that may be written to")
    return None


def _settings(options: argparse.Namespace, earlier: Checkpoint | None) -> Settings:
    """The preset, or an earlier session's settings, with what the options change."""
    if earlier and options.seed not in (None, earlier.seed):
        raise ValueError(f"the run was begun with seed {earlier.seed}, it cannot go on with seed {options.seed}")
    settings = earlier.settings if earlier and not options.preset else PRESETS[options.preset or PRESET]
    if options.dataset is not None:
        settings = replace(settings, dataset=options.dataset)
    if options.model is not None and options.model != settings.model:
        settings = as_model(settings, options.model)
    changes = list(options.set)
    changes += [f"training.steps={options.steps}"] if options.steps is not None else []
    changes += [f"networks.image_size={options.size}"] if options.size is not None else []
    return settings.changed(changes)


def _data(settings: Settings, options: argparse.Namespace) -> tuple[Settings, ImageData]:
    """What to train on. Networks of another data set than the preset's follow it in size and channels."""
    if options.dataset is None:
        return settings, data_of(options, settings)
    size = settings.networks.image_size if settings.dataset.startswith("folder:") else None
    data = load_dataset(settings.dataset, options.root, "train", options.download, size=size, strict=options.strict)
    channels, side = data.images.shape[1:3]
    return replace(settings, networks=replace(settings.networks, channels=channels, image_size=side)), data


def _clear(run: Path) -> None:
    """Delete what an earlier run left in the folder."""
    for path in (run / name for name in MADE_BY_TRAINING):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

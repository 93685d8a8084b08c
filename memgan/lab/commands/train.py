"""`memgan train`: train a preset, with any setting changed, into a folder; `--resume` goes on from a checkpoint.

The loop over the steps is `memgan.training.Trainer`; `memgan.lab.sessions` puts checkpoints and progress around it.
"""

import argparse
import os
import shlex
from dataclasses import replace
from pathlib import Path

import torch

from memgan.data import ImageData, load_dataset
from memgan.data.folders import typical_side
from memgan.data.registry import FOLDER
from memgan.lab.baselines.models import MODELS, as_model
from memgan.lab.commands.options import add_data, add_device, data_of, device_of, expanded_path, seed
from memgan.lab.commands.scores import BEST, SCORED, scorer
from memgan.lab.sessions import checkpoints
from memgan.lab.sessions.checkpoints import Checkpoint
from memgan.lab.sessions.loading import LoadedModel, load_model
from memgan.lab.sessions.progress import METRICS, to_stderr
from memgan.lab.sessions.session import Interrupted, Session, SessionOptions, num_cores
from memgan.lab.sessions.world import World, announced_ranks, joined
from memgan.presets import PRESETS, Settings
from memgan.runs import SETTINGS, read_settings, saved_checkpoints
from memgan.training import rate_factor

PRESET = "mnist-5k"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `memgan train`."""
    what = parser.add_argument_group("what to train")
    start = what.add_mutually_exclusive_group()
    start.add_argument("--preset", choices=sorted(PRESETS), help=f"where to start from (default: {PRESET})")
    config_help = "start from the settings of a run: its settings.json, or its folder"
    start.add_argument("--config", type=expanded_path, metavar="FILE", help=config_help)
    init_help = "begin with the weights and the memory of another run, and with its settings unless others are given"
    what.add_argument("--init", type=expanded_path, metavar="RUN", help=init_help)
    model_help = f"memorygan, or a baseline of equal size: {', '.join(MODELS[1:])}"
    what.add_argument("--model", metavar="NAME", help=model_help)
    what.add_argument("--dataset", metavar="NAME", help="the preset on another data set, e.g. folder:PATH")
    what.add_argument("--size", type=int, metavar="PIXELS", help="short for --set networks.image_size=PIXELS")
    what.add_argument("--steps", type=int, help="short for --set training.steps=STEPS")
    set_help = "any setting, e.g. memory.kappa=30"
    what.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help=set_help)
    what.add_argument("--seed", type=seed, help="same seed, same machine: bitwise the same run (default: 0)")

    data = parser.add_argument_group("data")
    add_data(data)
    data.add_argument("--other-data", action="store_true", help="--resume although the images have changed")

    where = parser.add_argument_group("where and how")
    where.add_argument(
        "--out", type=expanded_path, required=True, metavar="RUN", help="folder for checkpoints and the run"
    )
    where.add_argument("--resume", action="store_true", help="go on from the last checkpoint in RUN")
    where.add_argument("--force", action="store_true", help="overwrite the run that RUN already holds")
    add_device(where)
    threads_help = "of a CPU (default: 1, or what measures fastest where the networks are large)"
    where.add_argument("--threads", type=int, metavar="N", help=threads_help)
    every_help = "steps between checkpoints (default: 500, or more where they would take over 1 %% of the time)"
    where.add_argument("--checkpoint-every", type=int, metavar="N", help=every_help)
    keep_help = f"checkpoints to keep (default: {SessionOptions.keep})"
    where.add_argument("--keep", type=int, default=SessionOptions.keep, metavar="K", help=keep_help)
    stops_help = "train on where the memory has failed and nothing more can come of it"
    where.add_argument("--keep-going", action="store_true", help=stops_help)

    seen = parser.add_argument_group("what to see")
    seen.add_argument(
        "--log-dir", type=expanded_path, metavar="DIR", help="write metrics.jsonl and TensorBoard events there"
    )
    sheets_help = "steps between sheets of samples in RUN/samples (default: none)"
    seen.add_argument("--sample-every", type=int, default=0, metavar="N", help=sheets_help)
    scores_help = "steps between two measurements, into RUN/scores.jsonl; the best checkpoint is kept (default: none)"
    seen.add_argument("--evaluate-every", type=int, default=0, metavar="N", help=scores_help)
    best_help = f"the score that decides which is the best (default: {BEST})"
    seen.add_argument("--best", choices=list(SCORED), default=BEST, metavar="SCORE", help=best_help)


def run(options: argparse.Namespace) -> None:
    """Train, and write the run; under torchrun, as one of the ranks that train it together."""
    with joined(device_of(options.device)) as world:
        _run(options, world)


def _run(options: argparse.Namespace, world: World | None) -> None:
    if options.threads is not None and options.threads < 1:
        raise ValueError(f"--threads must be at least 1, got {options.threads}")
    if options.threads is not None and options.threads > num_cores():
        raise ValueError(f"--threads {options.threads} is more than the {num_cores()} cores that there are")
    session_options = SessionOptions(
        checkpoint_every=options.checkpoint_every,
        keep=options.keep,
        sample_every=options.sample_every,
        log_dir=options.log_dir,
        evaluate_every=options.evaluate_every,
        best=options.best,
        lower_is_better=SCORED[options.best],
        other_data=options.other_data,
        stops=not options.keep_going,
    )
    device = device_of(options.device) if world is None else world.device
    say = to_stderr if world is None or world.is_first else _say_nothing
    earlier = _earlier(options)
    init = load_model(options.init, device) if options.init is not None else None
    wanted = _settings(options, earlier, init)
    if earlier is None and (world is None or world.is_first):
        _say_if_shrunk(wanted, options)
    settings, data = _data(wanted, options, earlier)
    session = Session(
        options.out,
        settings,
        data,
        seed=options.seed or 0,
        device=device,
        threads=options.threads,
        options=session_options,
        earlier=earlier,
        init=init.gan if init else None,
        init_name=f"{options.init}, step {init.step}" if init else "",
        score=scorer(options, settings, data) if options.evaluate_every != 0 else None,
        world=world,
    )
    if earlier is not None and (world is None or world.is_first):
        _tell_of_new_rates(earlier, settings)
    try:
        session.run(overwrite=options.force)
    except Interrupted as end:
        say(f"memgan train: {end}. To continue it exactly where it stopped:\n  {resuming(options)}")
        raise SystemExit(end.exit_code) from end
    except KeyboardInterrupt as end:  # a second signal, which does not wait for the step
        if not saved_checkpoints(options.out):
            raise
        say(f"memgan train: stopped. To continue with the last checkpoint:\n  {resuming(options)}")
        raise SystemExit(getattr(end, "exit_code", 130)) from end
    if earlier and earlier.number == settings.training.steps:
        say(f"memgan train: {options.out} was finished already, nothing was left to train")
    if session.best_step is not None:
        say(f"memgan train: the best {options.best} is that of step {session.best_step}, {session.best_score:.4g}")
    if world is not None and not world.is_first:
        return
    where = _device_text(device, session.threads)
    if world is not None:
        where = f"{world.size} ranks, each on {where}"
    print(f"{options.out}: {settings.training.steps} steps in {session.seconds:.1f} s on {where}, seed {session.seed}")


def _say_nothing(_: str) -> None:
    """In the place of `to_stderr`, for a rank that is not the first."""


def resuming(options: argparse.Namespace) -> str:
    """The command that goes on with a run: settings and seed are in its checkpoints, all else is repeated."""
    words = ["memgan"]
    if announced_ranks() > 1:
        words = ["torchrun", "--nproc-per-node", os.environ.get("LOCAL_WORLD_SIZE", "1"), "-m", "memgan"]
    words += ["train", "--out", str(options.out), "--resume"]
    defaults = {
        "device": "auto",
        "keep": SessionOptions.keep,
        "sample_every": 0,
        "root": None,
        "log_dir": None,
        "checkpoint_every": None,
        "evaluate_every": 0,
        "best": BEST,
    }
    for name, default in defaults.items():
        value = getattr(options, name)
        if value != default:
            words += [_flag(name), str(value)]
    for name in ("strict", "keep_going"):
        if getattr(options, name):
            words.append(_flag(name))
    return shlex.join(words)


def _flag(name: str) -> str:
    """The option as it is written on the command line."""
    return "--" + name.replace("_", "-")


def _device_text(device: torch.device, threads: int) -> str:
    """Where the run was trained, for its last line."""
    if device.type != "cpu":
        return str(device)
    return f"cpu, {threads} thread" if threads == 1 else f"cpu, {threads} threads"


def _earlier(options: argparse.Namespace) -> Checkpoint | None:
    """The checkpoint to go on from, after a look at whether RUN is fit for what is asked."""
    if options.resume and options.force:
        raise ValueError("--resume goes on with the run in RUN, --force overwrites it: choose one")
    if options.resume and options.init is not None:
        raise ValueError("--resume goes on with the run in RUN, --init begins another one: choose one")
    if options.other_data and not options.resume:
        raise ValueError("--other-data is for --resume: a new run takes any images")
    if options.resume:
        return checkpoints.newest(options.out, to_stderr)
    if not options.force:
        _refuse_to_overwrite(options)
    _refuse_unwritable(options.out)
    if options.log_dir is not None:
        _refuse_unwritable(options.log_dir)
    return None


def _refuse_to_overwrite(options: argparse.Namespace) -> None:
    """ValueError where RUN holds a run, or the log folder the log of one."""
    if (options.out / SETTINGS).exists() or saved_checkpoints(options.out):
        raise ValueError(
            f"{options.out} already holds a run; choose another --out, --resume to go on with it, or --force to "
            "overwrite it"
        )
    if options.log_dir is not None and (options.log_dir / METRICS).exists():
        log = options.log_dir / METRICS
        raise ValueError(f"{log} holds the log of another run; choose another --log-dir, or --force to overwrite it")


def _refuse_unwritable(folder: Path) -> None:
    """ValueError where the folder, or the first one above it that exists, may not be written to."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ValueError(f"{folder} cannot be written: {existing} is not a folder that may be written to")


def _settings(options: argparse.Namespace, earlier: Checkpoint | None, init: LoadedModel | None) -> Settings:
    """Those to start from, of a preset, a file or another run, with what the options change."""
    if "model" in _fields_set(options):
        raise ValueError("--set does not choose the model: --model NAME does, and gives each as many weights")
    if earlier and options.seed not in (None, earlier.seed):
        raise ValueError(f"the run was begun with seed {earlier.seed}, it cannot go on with seed {options.seed}")
    if options.config is not None:
        settings = read_settings(options.config / SETTINGS if options.config.is_dir() else options.config)
    elif options.preset:
        settings = PRESETS[options.preset]
    elif earlier:
        settings = earlier.settings
    elif init:
        settings = init.settings
    else:
        settings = PRESETS[PRESET]
    if options.dataset is not None:
        settings = replace(settings, dataset=options.dataset)
    if options.background is not None:
        settings = replace(settings, background=options.background)
    if options.model is not None and options.model != settings.model:
        settings = as_model(settings, options.model)
    changes = list(options.set)
    if options.steps is not None:
        changes.append(f"training.steps={options.steps}")
    if options.size is not None:
        changes.append(f"networks.image_size={options.size}")
    return settings.changed(changes)


def _fields_set(options: argparse.Namespace) -> set[str]:
    """The fields that `--set` names."""
    return {change.partition("=")[0].strip() for change in options.set}


def _tell_of_new_rates(earlier: Checkpoint, settings: Settings) -> None:
    """Say so where a run becomes longer whose rates have begun to fall: they go up again."""
    number = earlier.number
    before = rate_factor(number, earlier.settings.training)
    after = rate_factor(number, settings.training)
    if number < settings.training.steps and after != before:
        to_stderr(
            f"memgan train: at step {number}, the learning rates go from {before:.0%} to {after:.0%} of what they were "
            f"at the start; a run of {settings.training.steps} steps from the start would have come by another way"
        )


def _data(settings: Settings, options: argparse.Namespace, earlier: Checkpoint | None) -> tuple[Settings, ImageData]:
    """What to train on. Networks of another data set than the preset's follow it in size and channels."""
    if options.dataset is None:
        try:
            return settings, data_of(options, settings)
        except ValueError as error:
            if earlier and settings.dataset.startswith(FOLDER):
                raise ValueError(f"{error}; --dataset folder:PATH says where the images are now") from error
            raise
    size = settings.networks.image_size if settings.dataset.startswith(FOLDER) else None
    data = load_dataset(
        settings.dataset,
        options.root,
        "train",
        options.download,
        size=size,
        strict=options.strict,
        background=settings.background,
    )
    _, channels, side, _ = data.images.shape
    _refuse_another_size(options, settings, side, channels)
    return replace(settings, networks=replace(settings.networks, channels=channels, image_size=side)), data


def _refuse_another_size(options: argparse.Namespace, settings: Settings, side: int, channels: int) -> None:
    """ValueError where a size or a number of channels was asked for that the images of a data set do not have."""
    asked = _fields_set(options)
    networks = settings.networks
    if networks.image_size != side and (options.size is not None or "networks.image_size" in asked):
        raise ValueError(f"images of {settings.dataset} have {side} pixels a side, got size {networks.image_size}")
    if networks.channels != channels and "networks.channels" in asked:
        raise ValueError(f"{settings.dataset} has {channels} channels, got networks.channels={networks.channels}")


def _say_if_shrunk(settings: Settings, options: argparse.Namespace) -> None:
    """Say so where images of a folder are larger than the preset's networks take, and nobody has asked for the size."""
    is_asked_for = options.size is not None or "networks.image_size" in _fields_set(options)
    if is_asked_for or not settings.dataset.startswith(FOLDER):
        return
    size = settings.networks.image_size
    side = typical_side(Path(settings.dataset.removeprefix(FOLDER)))
    if side > size:
        to_stderr(
            f"memgan train: the images of {settings.dataset} are shrunk from typically {side} pixels along the shorter "
            f"side to {size}, as the preset has it; --size chooses another size"
        )

"""`memgan train`: a preset, with any setting changed, into a folder."""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from memgan.data import load_dataset
from memgan.runs import build, save_run
from memgan.settings import PRESETS
from memgan.training import Step, prepare, train
from memgan_lab.commands.options import add_device, device_of, seed

PURPOSE = "train a preset"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `memgan train`."""
    parser.add_argument("--preset", choices=sorted(PRESETS), default="digits", help="where to start from")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder for settings, model and history")
    parser.add_argument("--seed", type=seed, default=0, help="same seed, same machine: bitwise the same run")
    parser.add_argument("--steps", type=int, help="short for --set training.steps=STEPS")
    set_help = "any setting, e.g. memory.kappa=30"
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help=set_help)
    parser.add_argument("--force", action="store_true", help="overwrite the run that RUN already holds")
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    """Train, and write the run."""
    changes = options.set + ([f"training.steps={options.steps}"] if options.steps is not None else [])
    settings = PRESETS[options.preset].changed(changes)
    device = device_of(options.device)
    if (options.out / "settings.json").exists() and not options.force:
        raise ValueError(f"{options.out} already holds a run; choose another --out, or --force to overwrite it")
    parent = next(path for path in [options.out.absolute(), *options.out.absolute().parents] if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ValueError(f"{options.out} cannot be written: {parent} is not a folder that may be written to")
    images = load_dataset(settings.dataset).images.to(device)
    prepare(options.seed)
    gan = build(settings, device)
    started = time.perf_counter()
    steps = list(_shown(train(gan, images, settings.training), settings.training.steps))
    seconds = time.perf_counter() - started
    history = {name: [float(getattr(step, name)) for step in steps] for name in Step._fields if name != "number"}
    save_run(options.out, gan, settings, {**history, "seed": options.seed, "device": str(device), "seconds": seconds})
    print(f"{options.out}: {settings.training.steps} steps in {seconds:.1f} s on {device}, seed {options.seed}")


def _shown(steps: Iterator[Step], total: int) -> Iterator[Step]:
    """The same steps: with a progress bar on a terminal, with a line for each tenth elsewhere."""
    if sys.stderr.isatty():
        with tqdm(steps, total=total, unit="step") as bar:
            for step in bar:
                if step.number % 20 == 0:
                    bar.set_postfix_str(_described(step))
                yield step
        return
    for step in steps:
        if step.number % max(1, total // 10) == 0 or step.number == total:
            print(f"step {step.number}/{total}: {_described(step)}", file=sys.stderr, flush=True)
        yield step


def _described(step: Step) -> str:
    losses = f"loss D {float(step.discriminator_loss):.2f} G {float(step.generator_loss):.2f}"
    return f"{losses}, D(real) {float(step.real):.2f} D(generated) {float(step.generated):.2f}"

"""The command line: `memgan train`, `memgan sample`, `memgan evaluate`, `memgan explore`."""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from memgan.data import load_dataset
from memgan.runs import build, load_run, save_run
from memgan.settings import PRESETS
from memgan.training import Step, prepare, train

__all__ = ["main"]

EXAMPLES = """examples:
  memgan train --preset digits --out runs/digits
  memgan train --preset digits --out runs/contrast --set memory.kappa=30 --set training.steps=600
  memgan sample runs/digits --out grid.png
  memgan evaluate runs/digits --json
  memgan explore runs/digits --out explore.html
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Exit code 0: done; 1: it could not be done, with the reason on stderr; 2: wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, OSError, FloatingPointError, ModuleNotFoundError) as error:
        print(f"memgan {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"memgan {options.command}: stopped, nothing was written", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    layout: Any = {"epilog": EXAMPLES, "formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser("memgan", description="Train and look at MemoryGANs.", **layout)
    parser.add_argument("--version", action="version", version=f"memgan {version('memgan')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(run: Callable[[argparse.Namespace], None], purpose: str) -> argparse.ArgumentParser:
        added = commands.add_parser(run.__name__.lstrip("_"), help=purpose, **layout)
        added.set_defaults(run=run)
        return added

    train = command(_train, "train a preset")
    train.add_argument("--preset", choices=sorted(PRESETS), default="digits", help="where to start from")
    train.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder for settings, model and history")
    train.add_argument("--seed", type=_seed, default=0, help="same seed, same machine: bitwise the same run")
    train.add_argument("--steps", type=int, help="short for --set training.steps=STEPS")
    set_help = "any setting, e.g. memory.kappa=30"
    train.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help=set_help)
    train.add_argument("--force", action="store_true", help="overwrite the run that RUN already holds")

    sample = command(_sample, "draw a sheet of images: one slot in each row")
    sample.add_argument("folder", type=Path, metavar="RUN")
    sample.add_argument("--out", type=Path, required=True, help="picture to write, e.g. grid.png")
    sample.add_argument("--slots", type=int, default=10, help="rows: slots, drawn as the generator draws them")
    sample.add_argument("--samples", type=int, default=12, help="columns: images of each slot")
    sample.add_argument("--seed", type=_seed, default=0)

    evaluate = command(_evaluate, "judge a run with a classifier of its data; writes RUN/evaluation.json")
    evaluate.add_argument("folder", type=Path, metavar="RUN")
    evaluate.add_argument("--seed", type=_seed, default=0, help="of the generated images")
    evaluate.add_argument("--json", action="store_true", help="print JSON instead of a table")

    explore = command(_explore, "write one HTML page to explore a run in; it needs no Python and no network")
    explore.add_argument("folder", type=Path, metavar="RUN")
    explore.add_argument("--out", type=Path, metavar="PAGE", help="default: RUN/explore.html")

    for added in (train, sample, evaluate):
        added.add_argument("--device", default="auto", help="auto (a GPU where there is one), cpu, cuda, cuda:1, ...")
    return parser


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", name):
        raise ValueError(f"unknown device {name!r}, expected auto, cpu, cuda or cuda:N")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name!r} was asked for, but PyTorch sees {torch.cuda.device_count()} GPUs")
    return device


def _seed(text: str) -> int:
    seed = int(text)
    if not 0 <= seed < 2**63:
        raise argparse.ArgumentTypeError(f"the seed must be in 0..2^63-1, got {text}")
    return seed


def _train(options: argparse.Namespace) -> None:
    changes = options.set + ([f"training.steps={options.steps}"] if options.steps is not None else [])
    settings = PRESETS[options.preset].changed(changes)
    device = _device(options.device)
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


def _sample(options: argparse.Namespace) -> None:
    from memgan.plots import image_grid

    if options.slots < 1 or options.samples < 1:
        raise ValueError(f"expected at least one slot and one sample, got {options.slots} and {options.samples}")
    device = _device(options.device)
    gan, _ = load_run(options.folder, device)
    out = _writable(options.out, "a picture such as grid.png")
    generator = torch.Generator(device).manual_seed(options.seed)
    images, slots = gan.sample_slots(options.slots, options.samples, generator=generator)
    labels = [f"slot {slot}" for slot in slots.tolist()]
    noise = "noise z, drawn anew for each image"
    figure = image_grid(images.flatten(0, 1), options.samples, row_labels=labels, column_label=noise)
    figure.savefig(out, dpi=150, bbox_inches="tight")
    print(out)


def _evaluate(options: argparse.Namespace) -> None:
    from memgan.evaluation import classifier_for, evaluate

    gan, settings = load_run(options.folder, _device(options.device))
    torch.set_num_threads(1)
    print("judging (the first time, a classifier of the data is trained and kept: seconds) ...", file=sys.stderr)
    train_data, test_data = load_dataset(settings.dataset), load_dataset(settings.dataset, "test")
    result = evaluate(gan, classifier_for(settings.dataset), train_data, test_data, options.seed)
    (options.folder / "evaluation.json").write_text(json.dumps(result.to_dict(), indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result.to_dict(), indent=2) if options.json else result)


def _explore(options: argparse.Namespace) -> None:
    from memgan.evaluation import classifier_for

    gan, settings = load_run(options.folder)
    out = _writable(options.out or options.folder / "explore.html", "a page such as explore.html")
    try:
        from memgan.widgets import Interpolation, LatentExplorer, SlotExplorer
        from memgan.widgets.page import page
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}; explore needs: pip install 'memgan[notebooks]'") from error
    torch.set_num_threads(1)
    try:
        images, judge = load_dataset(settings.dataset).images, classifier_for(settings.dataset)
    except ValueError as error:
        print(f"without real images and classes: {error}", file=sys.stderr)
        images, judge = None, None
    widgets = {
        "Under the noise: one slot's images": LatentExplorer(gan),
        "Slot by slot": SlotExplorer(gan, images, judge),
        "Walks": Interpolation(gan, classifier=judge),
    }
    size = f"a memory of {gan.memory.num_slots} slots of {gan.memory.key_dim} numbers"
    lead = f"{settings.dataset}, {settings.training.steps} steps, {size}. The page computes each image itself."
    out.write_text(page(f"MemoryGAN: {options.folder.absolute().name}", lead, widgets), encoding="utf-8")
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


def _writable(path: Path, expected: str) -> Path:
    """`path`, in a folder that is there now."""
    if path.is_dir() or not path.suffix:
        raise ValueError(f"--out must name {expected}, got {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path

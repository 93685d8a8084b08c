"""The command line: `memgan COMMAND`. Each command is a module of `memgan.lab.commands` with `add` and `run`.

Only the module of the command that is asked for is imported, so `memgan --help` needs none of the extras, and a command
whose extra is missing can say which one it is.
"""

import argparse
import importlib
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from memgan import __version__
from memgan.extras import required
from memgan.lab.commands.terminal import lasting_streams

__all__ = ["COMMANDS", "main", "parser"]


class Command(NamedTuple):
    """What `memgan --help` says of a command, and the extra that brings its libraries."""

    purpose: str
    extra: str = "lab"
    shares_work: bool = False  # between the processes that torchrun starts


COMMANDS = {
    "train": Command("train a preset", shares_work=True),
    "sample": Command("draw a sheet of images: one slot in each row"),
    "export": Command("write single images to a folder, for other programs"),
    "evaluate": Command("measure a run with a classifier of its data; writes RUN/evaluation.json and a figure"),
    "classifier": Command("train the classifier of a data set, unless it is stored already, and report its accuracy"),
    "explore": Command("write one HTML page to explore a run in; it needs no Python and no network", "notebooks"),
    "playground": Command(
        "write one HTML page in which a GAN and a MemoryGAN learn side by side; it needs no Python", "notebooks"
    ),
    "study": Command(
        "compare configurations on several seeds; can be interrupted; writes a JSON file and a figure", shares_work=True
    ),
}

EXAMPLES = """examples:
  memgan train --out runs/mnist
  memgan train --preset digits --out runs/contrast --set memory.kappa=30 --set training.steps=600
  memgan sample runs/mnist --out grid.png
  memgan export runs/mnist --number 10000 --out exported
  memgan evaluate runs/mnist --json
  memgan classifier fashion-mnist
  memgan explore runs/mnist --out explore.html
  memgan playground --out playground.html
  memgan study kappa --preset digits --seeds 0 1 2
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Exit code 0: done; 1: it could not be done, with the reason on stderr; 2: wrong usage."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        with lasting_streams():
            return _run(words)
    except OSError as error:
        print(f"memgan: what was to be printed could not be written: {error}", file=sys.stderr)
        return 1


def _run(words: list[str]) -> int:
    command = next((word for word in words if not word.startswith("-")), "")
    if command not in COMMANDS:
        parser().parse_args(words)  # --help, --version or wrong usage: argparse answers and exits
    try:
        with required(COMMANDS[command].extra, "this command"), _ended_by_sigterm():
            options = parser(command).parse_args(words)
            _refuse_several_ranks(command)
            options.run(options)
    except (ValueError, OSError, FloatingPointError, ModuleNotFoundError) as error:
        print(f"memgan {command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as end:
        print(f"memgan {command}: stopped", file=sys.stderr)
        return getattr(end, "exit_code", 130)
    return 0


class Terminated(KeyboardInterrupt):
    """SIGTERM ended a command."""

    exit_code = 128 + signal.SIGTERM


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does, so that no half-written file of gigabytes is left behind.

    A session of training has its own way to end. Under torchrun the signal ends the process at once, which may be
    waiting for other ranks, and a signal that is ignored stays ignored.
    """
    from memgan.lab.sessions.world import announced_ranks

    is_ours = threading.current_thread() is threading.main_thread() and announced_ranks() <= 1
    if not is_ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(*_: Any) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _refuse_several_ranks(command: str) -> None:
    """ValueError where torchrun has started a command that would do the same in each process."""
    from memgan.lab.sessions.world import announced_ranks

    if announced_ranks() > 1 and not COMMANDS[command].shares_work:
        together = " and ".join(name for name, other in COMMANDS.items() if other.shares_work)
        raise ValueError(f"this command works in one process, torchrun is for {together}: start it without torchrun")


def parser(command: str = "") -> argparse.ArgumentParser:
    """The parser that knows the name of every command, and the options of `command`.

    Raises ModuleNotFoundError where a library of that command is missing.
    """
    layout: dict[str, Any] = {"epilog": EXAMPLES, "formatter_class": argparse.RawDescriptionHelpFormatter}
    whole = argparse.ArgumentParser("memgan", description="Train and look at MemoryGANs.", **layout)
    whole.add_argument("--version", action="version", version=f"memgan {__version__}")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, description in COMMANDS.items():
        added = commands.add_parser(name, help=description.purpose, **layout)
        if name == command:
            module = importlib.import_module(f"memgan.lab.commands.{name}")
            module.add(added)
            added.set_defaults(run=module.run)
    return whole

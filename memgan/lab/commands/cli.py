"""The command line: `memgan COMMAND`; each command is a module of `memgan.lab.commands`."""

import argparse
import importlib
import sys
from importlib.metadata import version
from typing import Any

__all__ = ["main"]

COMMANDS = ("train", "sample", "evaluate", "classifier", "explore", "study")

EXAMPLES = """examples:
  memgan train --preset digits --out runs/digits
  memgan train --preset digits --out runs/contrast --set memory.kappa=30 --set training.steps=600
  memgan sample runs/digits --out grid.png
  memgan evaluate runs/digits --json
  memgan classifier fashion-mnist
  memgan explore runs/digits --out explore.html
  memgan study kappa --preset digits --seeds 0 1 2
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
    for name in COMMANDS:
        module = importlib.import_module(f"memgan.lab.commands.{name}")
        added = commands.add_parser(name, help=module.PURPOSE, **layout)
        module.add(added)
        added.set_defaults(run=module.run)
    return parser

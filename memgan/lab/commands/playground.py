"""`memgan playground`: one HTML page in which a GAN and a MemoryGAN learn side by side."""

import argparse
from pathlib import Path

from memgan.lab.commands.options import expanded_path, writable
from memgan.widgets import Playground
from memgan.widgets.page import page

LEAD = (
    "An ordinary GAN and a MemoryGAN learn the same points of the plane, from the same seed. Both are trained in this "
    "page, which needs no network and no Python. Choose the data or paint your own, and take out parts of the method "
    "to see what each is for."
)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `memgan playground`."""
    default = Path("playground.html")
    parser.add_argument("--out", type=expanded_path, metavar="PAGE", default=default, help="default: %(default)s")


def run(options: argparse.Namespace) -> None:
    """Write the page."""
    out = writable(options.out, "a page such as playground.html")
    widgets = {"A GAN and a MemoryGAN learn": Playground()}
    out.write_text(page("MemoryGAN: a playground", LEAD, widgets), encoding="utf-8")
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB", flush=True)

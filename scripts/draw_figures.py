"""Draw the pictures that README.md and the notebooks share into figures/; `FIGURES` knows who draws which.

Without names, all of them, in a minute on one core.
"""

import argparse
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib import rc_context
from matplotlib.figure import Figure

from memgan import load_pretrained
from memgan.data import load_dataset
from memgan.gan import MemoryGAN
from memgan.lab.evaluation.classifier import classifier_for
from memgan.lab.evaluation.metrics import slot_purities
from memgan.plots import image_grid
from memgan.widgets import SlotExplorer
from memgan.widgets.page import page
from walkthrough import nb01_discontinuity as discontinuity, nb07_forgetting as forgetting
from walkthrough.nb00_dataflow import dataflow
from walkthrough.nb01_plane_figures import measures_by_kind

FOLDER = Path(__file__).resolve().parent.parent / "figures"


def mnist_slots() -> Figure:
    """Ten slots of the pretrained MNIST model as its generator is given them, twelve images each."""
    return slots_of(load_pretrained("mnist-5k")[0])


def fashion_slots() -> Figure:
    """The same of the pretrained Fashion-MNIST model."""
    return slots_of(load_pretrained("fashion-mnist-slim")[0])


def fashion_by_purity() -> Figure:
    """Ten of 128 drawn Fashion-MNIST slots, from the most mixed to the purest, at equal steps of the order."""
    gan, settings = load_pretrained("fashion-mnist-slim")
    images, _ = gan.sample_slots(128, 12, generator=torch.Generator().manual_seed(0))
    classifier = classifier_for(settings.dataset)
    classes = classifier(images.flatten(0, 1)).argmax(dim=1).view(images.shape[:2])
    purity = slot_purities(classes)
    places = torch.linspace(0, len(purity) - 1, 10).round().long()
    chosen = purity.argsort(stable=True)[places]
    labels = [f"purity {share:.2f}" for share in purity[chosen].tolist()]
    return image_grid(images[chosen].flatten(0, 1), 12, row_labels=labels, column_label="noise z")


def slots_of(gan: MemoryGAN) -> Figure:
    """Ten drawn slots of `gan`, twelve images each."""
    generator = torch.Generator().manual_seed(0)
    images, slots = gan.sample_slots(10, 12, generator=generator)
    labels = [f"slot {slot}" for slot in slots.tolist()]
    return image_grid(images.flatten(0, 1), 12, row_labels=labels, column_label="noise z, drawn anew for each image")


def explorer() -> bytes:
    """The slot explorer on the pretrained MNIST model, as a browser shows it (Playwright and Debian's Chromium)."""
    from playwright.sync_api import sync_playwright

    gan, settings = load_pretrained("mnist-5k")
    widget = SlotExplorer(gan, load_dataset(settings.dataset).images, classifier_for(settings.dataset))
    most_used_three = widget.table["classes"].index(3)  # the table begins with the slots that are drawn most
    widget.slot = widget.table["slots"][most_used_three]
    text = page("MemoryGAN", "", {"Slots": widget})
    with sync_playwright() as driver:
        chromium = os.environ.get("MEMGAN_CHROMIUM") or shutil.which("chromium")
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 760, "height": 900}, device_scale_factor=1.5)
        tab.set_content(text)
        tab.wait_for_timeout(3000)  # hundreds of slots are painted in pieces
        picture = tab.locator(".memgan").screenshot()
        browser.close()
    return picture


def plane_runs() -> Figure:
    """Every run of results/plane.json that has one thing changed, and memoryGAN's own."""
    kinds = {
        "memory": "memoryGAN",
        "generator without key": "no MCGN: G sees noise only",
        "lambda 0": "no mutual-information term",
        "the paper's term": "the paper's mutual-information term",
        "one slot vouches": "correct_in_top = 1",
        "kappa 5": "kappa = 5",
        "one-hot": "one-hot code of 8 (InfoGAN)",
    }
    measures = {}
    for kind, label in kinds.items():
        measures[label] = [(run["modes"], run["off_mode"]) for run in discontinuity.runs(kind)]
    return measures_by_kind(measures)


def forgetting_curves() -> Figure:
    """How fast four kinds of discriminator forget."""
    return forgetting.forgetting_curves(
        forgetting.load(), ["sigmoid", "memory", "sigmoid + 2048 old fakes", "memory + 2048 old fakes"]
    )


FIGURES: dict[str, Callable[[], Figure | bytes]] = {
    "dataflow.svg": dataflow,
    "explorer.png": explorer,
    "fashion-purity.png": fashion_by_purity,
    "fashion-slots.png": fashion_slots,
    "forgetting.png": forgetting_curves,
    "mnist-slots.png": mnist_slots,
    "plane.png": plane_runs,
}


def draw(name: str, folder: Path = FOLDER) -> Path:
    """Draw one of `FIGURES` into `folder`, the same bytes for the same picture."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    varying = "Date" if path.suffix == ".svg" else "Software"  # left out, so that the bytes are the same again
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):  # no random ids; text that can be searched
        picture = FIGURES[name]()
        if isinstance(picture, bytes):
            path.write_bytes(picture)
        else:
            picture.savefig(path, dpi=150, facecolor="white", bbox_inches="tight", metadata={varying: None})
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"draw only these of {', '.join(FIGURES)}")
    names = parser.parse_args().names or list(FIGURES)
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        parser.error(f"expected names from {', '.join(FIGURES)}, got {', '.join(unknown)}")
    for name in names:
        print(draw(name).name)


if __name__ == "__main__":
    main()

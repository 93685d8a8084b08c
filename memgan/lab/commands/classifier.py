"""`memgan classifier`: the classifier of a data set, trained once and kept, and how often it is right."""

import argparse
import time

from memgan.data import ImageData, load_dataset
from memgan.lab.commands.options import add_data
from memgan.lab.commands.progress import Progress, warn_once
from memgan.lab.evaluation import accuracy, classifier_for
from memgan.lab.evaluation.classifier import cache_path, is_kept
from memgan.lab.sessions.progress import to_stderr


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `memgan classifier`."""
    parser.add_argument("dataset", metavar="DATASET", help="such as fashion-mnist, or folder:PATH")
    size_help = "side of a folder's images in pixels (32); a run needs the classifier of its own size"
    parser.add_argument("--size", type=int, help=size_help)
    add_data(parser)


def run(options: argparse.Namespace) -> None:
    """Train it or read it, and say how good it is."""
    train = _split(options, "train")
    test = _test_images(options, train)
    kept = is_kept(options.dataset, train)
    started = time.perf_counter()
    not_kept: list[str] = []
    classifier = classifier_for(options.dataset, data=train, say=Progress(), warn=not_kept.append)
    how = "kept before" if kept else f"trained in {time.perf_counter() - started:.0f} s"
    right = "no test images"
    if len(test.images) > 0:
        right = f"right on {accuracy(classifier, test):.2%} of {len(test.labels):,} test images"
    side = train.images.shape[-1]
    where = options.dataset if not_kept else cache_path(options.dataset, train)
    size = f", for runs with images of {side} x {side} pixels" if options.dataset.startswith("folder:") else ""
    print(f"{where}: {how}, {right}{size}", flush=True)
    warn_once("classifier", not_kept)


def _test_images(options: argparse.Namespace, train: ImageData) -> ImageData:
    """The images to test on, of which a small folder may have none."""
    try:
        return _split(options, "test")
    except ValueError as error:
        if options.strict or not options.dataset.startswith("folder:"):
            raise
        to_stderr(f"without its accuracy: {error}")
        return ImageData(train.images[:0], train.labels[:0])


def _split(options: argparse.Namespace, split: str) -> ImageData:
    return load_dataset(
        options.dataset,
        options.root,
        split,
        options.download,
        size=options.size,
        strict=options.strict,
        background=options.background or "white",
    )

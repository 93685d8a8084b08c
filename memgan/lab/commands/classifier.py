"""`memgan classifier`: the classifier of a data set, trained once and kept, and how often it is right."""

import argparse
import time

from memgan.data import ImageData, load_dataset
from memgan.lab.commands.options import add_data
from memgan.lab.evaluation import accuracy, classifier_for
from memgan.lab.evaluation.classifier import cache_path


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `memgan classifier`."""
    parser.add_argument("dataset", metavar="DATASET", help="such as fashion-mnist, or folder:PATH")
    parser.add_argument("--size", type=int, help="side of a folder's images in pixels (32)")
    add_data(parser)


def run(options: argparse.Namespace) -> None:
    """Train it or read it, and say how good it is."""
    train = _split(options, "train")
    test = _split(options, "test")
    path = cache_path(options.dataset, train)
    kept = path.is_file()
    started = time.perf_counter()
    classifier = classifier_for(options.dataset, data=train)
    how = "kept before" if kept else f"trained in {time.perf_counter() - started:.0f} s"
    print(f"{path}: {how}, right on {accuracy(classifier, test):.2%} of {len(test.labels):,} test images")


def _split(options: argparse.Namespace, split: str) -> ImageData:
    return load_dataset(
        options.dataset, options.root, split, options.download, size=options.size, strict=options.strict
    )

"""`memgan classifier`: the judge of a data set, trained once and kept, and how often it is right."""

import argparse
import time

from memgan.data import load_dataset
from memgan.lab.commands.options import add_data
from memgan.lab.evaluation.classifier import accuracy, cache_path, classifier_for

PURPOSE = "train the judge of a data set, unless it is kept already, and report its accuracy"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `memgan classifier`."""
    parser.add_argument("dataset", metavar="DATASET", help="such as fashion-mnist, or folder:PATH")
    parser.add_argument("--size", type=int, help="side of a folder's images in pixels (32)")
    add_data(parser)


def run(options: argparse.Namespace) -> None:
    """Train it or read it, and say how good it is."""
    train, test = (
        load_dataset(options.dataset, options.root, split, options.download, size=options.size, strict=options.strict)
        for split in ("train", "test")
    )
    path, started = cache_path(options.dataset, train), time.perf_counter()
    kept = path.is_file()
    judge = classifier_for(options.dataset, data=train)
    how = "kept before" if kept else f"trained in {time.perf_counter() - started:.0f} s"
    print(f"{path}: {how}, right on {accuracy(judge, test):.2%} of {len(test.labels):,} test images")

"""`memgan evaluate`: a run's scores, beside those of real images."""

import argparse
import json
import sys
from pathlib import Path

import torch

from memgan_lab.baselines import load_model
from memgan_lab.classifier import classifier_for
from memgan_lab.commands.options import add_data, add_device, data_of, device_of, seed
from memgan_lab.evaluation import evaluate

PURPOSE = "judge a run with a classifier of its data; writes RUN/evaluation.json"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `memgan evaluate`."""
    parser.add_argument("folder", type=Path, metavar="RUN")
    parser.add_argument("--seed", type=seed, default=0, help="of the generated images")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_data(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    """Judge it, and write what comes of it into the run's folder."""
    gan, settings = load_model(options.folder, device_of(options.device))
    torch.set_num_threads(1)
    print("judging (the first time, a classifier of the data is trained and kept: seconds) ...", file=sys.stderr)
    train_data, test_data = data_of(options, settings), data_of(options, settings, "test")
    result = evaluate(gan, classifier_for(settings.dataset, data=train_data), train_data, test_data, options.seed)
    (options.folder / "evaluation.json").write_text(json.dumps(result.to_dict(), indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result.to_dict(), indent=2) if options.json else result)

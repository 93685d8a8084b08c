"""`memgan evaluate`: a run's scores, beside those of real images."""

import argparse
import json
import sys
from dataclasses import replace

import torch

from memgan.data import ImageData
from memgan.gan import AdversarialModel
from memgan.lab.baselines.models import load_model
from memgan.lab.commands.options import add_data, add_device, add_run, data_of, device_of, seed
from memgan.lab.evaluation import Evaluation, classifier_for, evaluate, old_fakes_of
from memgan.lab.evaluation.classifier import has_classes
from memgan.lab.evaluation.inception import InceptionV3
from memgan.presets import Settings
from memgan.runs import written_whole


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `memgan evaluate`."""
    add_run(parser)
    parser.add_argument(
        "--against",
        metavar="REAL",
        help="real images to compare with: a data set, or folder:PATH (default: what the run was trained on)",
    )
    parser.add_argument(
        "--classifier",
        metavar="DATASET",
        help="data set whose classifier is used (default: REAL, or what the run was trained on if REAL has no classes)",
    )
    parser.add_argument(
        "--features",
        choices=["classifier", "inception"],
        default="classifier",
        help="inception adds scores on Inception-v3's features; its weights have to be there",
    )
    parser.add_argument("--seed", type=seed, default=0, help="of the generated images")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_data(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    """Evaluate the run, and write what comes of it into its folder."""
    gan, settings = load_model(options.folder, device_of(options.device))
    torch.set_num_threads(1)
    result = _evaluated(options, gan, settings)
    content = json.dumps(result.to_dict(), indent=2, allow_nan=False)
    options.folder.mkdir(exist_ok=True)  # a pretrained model has none
    with written_whole(options.folder / "evaluation.json") as path:
        path.write_text(content + "\n", encoding="utf-8")
    from memgan.lab.evaluation.figure import evaluation_figure  # matplotlib takes a second to import

    with written_whole(options.folder / "evaluation.png") as path:
        evaluation_figure(result).savefig(path, dpi=130, format="png")
    print(content if options.json else result)


def _evaluated(options: argparse.Namespace, gan: AdversarialModel, settings: Settings) -> Evaluation:
    """The run, compared with REAL by the classifier of a data set that has classes."""
    inception = None
    if options.features == "inception":
        inception = InceptionV3(device_of(options.device))  # before anything that takes long, because it may fail
    old_fakes = old_fakes_of(options.folder, gan)
    real = options.against or settings.dataset
    train, test = _splits(options, settings, real)
    name = options.classifier
    if name is None:
        name = real if has_classes(train) else settings.dataset
    classifier_train, classifier_test = train, test
    if name != real:
        classifier_train, classifier_test = _splits(options, settings, name)
    print("evaluating (the first time, a classifier of the data is trained and kept: minutes) ...", file=sys.stderr)
    return evaluate(
        gan,
        classifier_for(name, data=classifier_train),
        train,
        test,
        options.seed,
        old_fakes=old_fakes,
        classifier_test=classifier_test,
        inception=inception,
    )


def _splits(options: argparse.Namespace, settings: Settings, dataset: str) -> tuple[ImageData, ImageData]:
    """The training images and the test images of a data set, in the size that the run's networks take."""
    settings = replace(settings, dataset=dataset)
    return data_of(options, settings, "train"), data_of(options, settings, "test")

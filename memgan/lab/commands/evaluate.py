"""`memgan evaluate`: a run's scores, beside those of real images."""

import argparse
import json
import sys
from dataclasses import replace

import torch

from memgan.gan import MemoryGAN
from memgan.lab.baselines.models import load_model
from memgan.lab.commands.options import add_data, add_device, add_run, data_of, device_of, seed
from memgan.lab.evaluation.classifier import classifier_for, has_classes
from memgan.lab.evaluation.evaluation import Evaluation, evaluate, old_fakes_of
from memgan.lab.evaluation.inception import InceptionV3
from memgan.presets import Settings
from memgan.runs import written_whole

PURPOSE = "judge a run with a classifier of its data; writes RUN/evaluation.json and RUN/evaluation.png"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `memgan evaluate`."""
    add_run(parser)
    against = "real images to compare with: a data set, or folder:PATH (default: what the run was trained on)"
    parser.add_argument("--against", metavar="REAL", help=against)
    judge = "data set whose classifier judges (default: REAL, or what the run was trained on if REAL has no classes)"
    parser.add_argument("--judge", metavar="DATASET", help=judge)
    features = "inception adds scores on Inception-v3's features; its weights have to be there"
    parser.add_argument("--features", choices=["judge", "inception"], default="judge", help=features)
    parser.add_argument("--seed", type=seed, default=0, help="of the generated images")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_data(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    """Judge it, and write what comes of it into the run's folder."""
    gan, settings = load_model(options.folder, device_of(options.device))
    torch.set_num_threads(1)
    result = _judged(options, gan, settings)
    content = json.dumps(result.to_dict(), indent=2, allow_nan=False)
    options.folder.mkdir(exist_ok=True)  # a pretrained model has none
    with written_whole(options.folder / "evaluation.json") as path:
        path.write_text(content + "\n", encoding="utf-8")
    from memgan.lab.evaluation.figure import evaluation_figure

    with written_whole(options.folder / "evaluation.png") as path:
        evaluation_figure(result).savefig(path, dpi=130, format="png")
    print(content if options.json else result)


def _judged(options: argparse.Namespace, gan: MemoryGAN, settings: Settings) -> Evaluation:
    """The run, held against REAL by the classifier of a data set that has classes."""
    inception = InceptionV3(device_of(options.device)) if options.features == "inception" else None  # fails at once
    old_fakes = old_fakes_of(options.folder, gan)
    real = options.against or settings.dataset
    train, test = (data_of(options, replace(settings, dataset=real), split) for split in ("train", "test"))
    name = options.judge or (real if has_classes(train) else settings.dataset)
    of_judge, judge_test = (
        (train, test)
        if name == real
        else (data_of(options, replace(settings, dataset=name), split) for split in ("train", "test"))
    )
    print("judging (the first time, a classifier of the data is trained and kept: minutes) ...", file=sys.stderr)
    judge = classifier_for(name, data=of_judge)
    return evaluate(
        gan, judge, train, test, options.seed, old_fakes=old_fakes, judge_test=judge_test, inception=inception
    )

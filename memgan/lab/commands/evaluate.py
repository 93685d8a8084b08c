"""`memgan evaluate`: a run's scores, beside those of real images."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from memgan import __version__
from memgan.data import ImageData
from memgan.data.registry import absolute_name
from memgan.files import written_whole
from memgan.lab.commands.options import (
    add_checkpoint,
    add_data,
    add_dataset,
    add_device,
    add_run,
    data_of,
    device_of,
    expanded_path,
    seed,
    writable,
)
from memgan.lab.commands.progress import Progress, warn_once
from memgan.lab.evaluation import Evaluation, OldFakes, accuracy, classifier_for, evaluate, old_fakes_of
from memgan.lab.evaluation.classifier import Classifier, has_classes
from memgan.lab.evaluation.inception import InceptionV3
from memgan.lab.sessions import LoadedModel, load_model
from memgan.lab.sessions.progress import to_stderr
from memgan.presets import Settings

FILE = "evaluation.json"
# What tells one question from another. The model of a finished run, whose slots may have been counted anew, is another
# one than that of its last checkpoint.
QUESTION = ("step", "is_checkpoint", "dataset", "background", "against", "classifier", "features", "seed")


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
    out_help = "where the JSON is kept, and the figure beside it (default: RUN/evaluation.json; the answer to another "
    parser.add_argument("--out", type=expanded_path, metavar="FILE", help=f"{out_help}question is kept beside it)")
    add_checkpoint(parser)
    add_dataset(parser)
    add_data(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    """Evaluate the run, print the scores, and then keep them."""
    if options.out is not None:
        writable(options.out, "a file such as evaluation.json", figure_beside=True)
    loaded = load_model(options.folder, device_of(options.device), checkpoint=options.checkpoint)
    if options.dataset is not None:
        loaded = loaded._replace(settings=replace(loaded.settings, dataset=options.dataset))
    torch.set_num_threads(1)
    not_kept: list[str] = []
    result, asked = _evaluated(options, loaded, not_kept)
    content = {**result.to_dict(), "class_names": result.class_names, "asked": asked}
    text = json.dumps(content, indent=2, allow_nan=False)
    print(text if options.json else result, flush=True)
    try:
        _keep(options, result, asked, text)
    except OSError as error:
        if options.out is not None:
            raise
        not_kept.append(f"the evaluation was not kept: {error}; --out FILE keeps it elsewhere")
    warn_once("evaluate", not_kept)


def _keep(options: argparse.Namespace, result: Evaluation, asked: dict[str, Any], text: str) -> None:
    """Write the JSON and the figure."""
    path = options.out
    if path is None:
        options.folder.mkdir(exist_ok=True)  # a pretrained model has none
        path = _place(options.folder, asked)
    with written_whole(path) as unfinished:
        unfinished.write_text(text + "\n", encoding="utf-8")
    from memgan.lab.evaluation.figure import evaluation_figure  # matplotlib takes a second to import

    picture = path.with_suffix(".png")
    with written_whole(picture) as unfinished:
        evaluation_figure(result).savefig(unfinished, dpi=130, format="png")
    to_stderr(f"kept in {path} and {picture.name}")


def _place(folder: Path, asked: dict[str, Any]) -> Path:
    """evaluation.json, or evaluation-2.json and so on where that holds the answer to another question."""
    path = folder / FILE
    number = 1
    while path.exists() and not _answers(path, asked):
        number += 1
        path = folder / f"evaluation-{number}.json"
    return path


def _answers(path: Path, asked: dict[str, Any]) -> bool:
    """Whether a file holds an earlier answer to the same question."""
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))["asked"]
        earlier.setdefault("is_checkpoint", earlier["step"] < asked["steps"])  # older versions did not write that down
        return all(earlier[name] == asked[name] for name in QUESTION)
    except (ValueError, KeyError, TypeError, AttributeError):  # an older answer did not write down its question
        return False


class _Splits(NamedTuple):
    train: ImageData
    test: ImageData


def _evaluated(
    options: argparse.Namespace, loaded: LoadedModel, not_kept: list[str]
) -> tuple[Evaluation, dict[str, Any]]:
    """The run, compared with REAL by the classifier of a data set that has classes; and what was asked."""
    inception = None
    if options.features == "inception":
        inception = InceptionV3(device_of(options.device))  # before anything that takes long, because it may fail
    old_fakes = _old_fakes(options.folder, loaded)
    real = loaded.settings.dataset if options.against is None else absolute_name(options.against)
    splits = _splits(options, loaded.settings, real)
    name, of_classifier = _classified(options, loaded.settings, real, splits)
    to_stderr(f"evaluating {options.folder} after step {loaded.step} against {real}")
    progress = Progress()
    classifier: Classifier | None = None
    if of_classifier is not None and name is not None:
        classifier = classifier_for(name, data=of_classifier.train, say=progress, warn=not_kept.append)
        _tell_accuracy(name, classifier, of_classifier.test)
    result = evaluate(
        loaded.gan,
        classifier,
        splits.train,
        splits.test,
        options.seed,
        old_fakes=old_fakes,
        classifier_test=None if of_classifier is None else of_classifier.test,
        inception=inception,
        say=progress,
    )
    if of_classifier is not None:
        result = replace(result, class_names=of_classifier.train.class_names)
    asked = {
        "run": str(options.folder),
        "step": loaded.step,
        "steps": loaded.settings.training.steps,
        "is_checkpoint": loaded.checkpoint is not None,
        "dataset": loaded.settings.dataset,
        "background": options.background or loaded.settings.background,
        "against": real,
        "classifier": name,
        "features": options.features,
        "seed": options.seed,
        "version": __version__,
    }
    return result, asked


def _tell_accuracy(name: str, classifier: Classifier, test: ImageData) -> None:
    number = len(test.images)
    if number > 0:
        right = accuracy(classifier, test)
        to_stderr(f"the classifier of {name} is right on {right:.2%} of {number:,} test images")


def _old_fakes(folder: Path, loaded: LoadedModel) -> OldFakes | None:
    """What the generator made before the step that is evaluated."""
    if loaded.checkpoint is None:
        return old_fakes_of(folder, loaded.gan)
    if len(loaded.checkpoint.old_steps) == 0:
        return None
    return OldFakes(loaded.checkpoint.old_fakes, loaded.checkpoint.old_steps)


def _classified(
    options: argparse.Namespace, settings: Settings, real: str, splits: _Splits
) -> tuple[str | None, _Splits | None]:
    """The data set whose classifier is used, and its images; None where no data set that is known has classes."""
    if options.classifier is not None:
        of_classifier = absolute_name(options.classifier)
        return of_classifier, splits if of_classifier == real else _splits(options, settings, of_classifier)
    if has_classes(splits.train):
        return real, splits
    if real != settings.dataset:
        trained_on = _splits(options, settings, settings.dataset)
        if has_classes(trained_on.train):
            return settings.dataset, trained_on
    to_stderr(f"{real} has no classes: only what needs no classifier is measured; --classifier names a data set")
    return None, None


def _splits(options: argparse.Namespace, settings: Settings, dataset: str) -> _Splits:
    """The images of a data set, in the size that the run's networks take. Folders may have none to test on."""
    settings = replace(settings, dataset=dataset)
    train = data_of(options, settings, "train")
    try:
        test = data_of(options, settings, "test")
    except ValueError as error:
        if options.strict or not dataset.startswith("folder:"):
            raise
        to_stderr(f"without scores of real test images: {error}")
        test = ImageData(train.images[:0], train.labels[:0])
    return _Splits(train, test)

"""Results are given before anything beside them is kept, and what is asked decides where they are kept."""

import json
import shutil

import numpy as np
import pytest
import torch
from command_line import TINY, fails
from PIL import Image

import memgan.lab.evaluation.classifier
from memgan.lab.commands.cli import main
from memgan.lab.commands.progress import Progress
from memgan.lab.evaluation.classifier import train_classifier


def folder_of_images(path, number, classes=("",)):
    for index in range(number):
        place = path / classes[index % len(classes)] / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        grey = np.random.default_rng(index).integers(0, 256, (16, 16), dtype=np.uint8)
        Image.fromarray(grey).save(place)
    return f"folder:{path}"


def trained_on(folder, dataset, **settings):
    changes = [word for name, value in settings.items() for word in ("--set", f"{name.replace('__', '.')}={value}")]
    networks = ["--set", "networks.stages=2"]
    words = ["train", "--out", str(folder), *TINY, "--dataset", dataset, "--size", "16", *networks, *changes]
    assert main(words) == 0
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Ten images to train on in two classes, and ten to test on."""
    folder = tmp_path_factory.mktemp("images")
    for split in ("train", "test"):
        folder_of_images(folder / split, 10, ("cat", "dog"))
    return f"folder:{folder}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, images):
    return trained_on(tmp_path_factory.mktemp("runs") / "run", images, training__batch_size=4)


@pytest.fixture
def run(tmp_path, trained, monkeypatch):
    monkeypatch.setenv("MEMGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        memgan.lab.evaluation.classifier,
        "train_classifier",
        lambda data, **options: train_classifier(data, epochs=1, **options),
    )
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def evaluated(capsys, *words):
    """What `evaluate --json` prints, and what it says on stderr."""
    assert main(["evaluate", "--json", *[str(word) for word in words]]) == 0
    out, error = capsys.readouterr()
    return json.loads(out), error


# ---------------------------------------------------------------- what cannot be kept


def test_scores_are_printed_where_the_run_cannot_be_written_and_one_warning_says_what_was_not_kept(run, capsys):
    (run / "evaluation.json").mkdir()  # in the way, also for an administrator
    _, error = evaluated(capsys, run)
    (warning,) = [line for line in error.splitlines() if "warning" in line]
    assert "evaluation.json" in warning and "--out" in warning


@pytest.mark.thorough
def test_scores_are_kept_in_the_file_that_is_named(run, tmp_path, capsys):
    content, _ = evaluated(capsys, run, "--out", tmp_path / "new" / "mine.json")
    assert json.loads((tmp_path / "new" / "mine.json").read_text(encoding="utf-8")) == content
    assert (tmp_path / "new" / "mine.png").read_bytes()[:4] == b"\x89PNG"
    assert not (run / "evaluation.json").exists()


@pytest.mark.thorough
@pytest.mark.parametrize("command", ["evaluate", "explore", "classifier"])
def test_a_classifier_that_cannot_be_kept_costs_a_warning_after_the_result(run, images, capsys, monkeypatch, command):
    monkeypatch.setenv("MEMGAN_CACHE", str(run / "settings.json" / "cache"))
    words = {"evaluate": [run], "explore": [run], "classifier": [images, "--size", "16"]}[command]
    assert main([command, *[str(word) for word in words]]) == 0
    out, error = capsys.readouterr()
    assert out != ""
    (warning,) = [line for line in error.splitlines() if "warning" in line]
    assert warning == error.splitlines()[-1] and "MEMGAN_CACHE" in warning


def test_a_place_that_cannot_be_written_is_named_before_the_work_begins(run, capsys):
    for command in ("evaluate", "explore", "sample"):
        error = fails(capsys, command, run, "--out", run / "settings.json" / "a.png")
        assert "settings.json" in error


# ---------------------------------------------------------------- what is asked


@pytest.mark.thorough
def test_the_question_stands_in_the_json_and_another_one_does_not_overwrite_the_first_answer(run, capsys):
    first, _ = evaluated(capsys, run)
    assert {"step", "against", "classifier", "features", "seed", "version"} <= set(first["asked"])
    other, _ = evaluated(capsys, run, "--seed", 7)
    early, _ = evaluated(capsys, run, "--checkpoint", 0)
    again, _ = evaluated(capsys, run, "--seed", 7)
    assert (other["asked"]["seed"], early["asked"]["step"]) == (7, 0) and again == other
    kept = {}
    for path in sorted(run.glob("evaluation*.json")):
        kept[path.name] = json.loads(path.read_text(encoding="utf-8"))
    assert kept == {"evaluation.json": first, "evaluation-2.json": other, "evaluation-3.json": early}


@pytest.mark.thorough
def test_a_finished_model_and_its_last_checkpoint_are_other_questions(run, capsys):
    """Only the slots of the finished one are counted anew."""
    of_model, _ = evaluated(capsys, run)
    last = of_model["asked"]["step"]
    of_checkpoint, _ = evaluated(capsys, run, "--checkpoint", last)
    assert of_checkpoint["slots_in_use"] != of_model["slots_in_use"]
    assert json.loads((run / "evaluation.json").read_text(encoding="utf-8")) == of_model
    assert json.loads((run / "evaluation-2.json").read_text(encoding="utf-8")) == of_checkpoint


@pytest.mark.thorough
def test_an_answer_of_a_version_that_did_not_say_checkpoint_is_one_where_training_was_not_over(run, capsys):
    first, _ = evaluated(capsys, run)
    early, _ = evaluated(capsys, run, "--checkpoint", 0)
    for answer, name in ((first, "evaluation.json"), (early, "evaluation-2.json")):
        older = {key: value for key, value in answer["asked"].items() if key not in ("is_checkpoint", "steps")}
        (run / name).write_text(json.dumps({**answer, "asked": older}), encoding="utf-8")
    evaluated(capsys, run)
    evaluated(capsys, run, "--checkpoint", 0)
    assert not (run / "evaluation-3.json").exists()


@pytest.mark.thorough
def test_a_run_whose_images_were_moved_is_evaluated_and_explored_where_they_are_now(run, images, tmp_path, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(images.removeprefix("folder:"), moved)
    settings = run / "settings.json"
    gone = settings.read_text(encoding="utf-8").replace(images, "folder:/nowhere/at/all")
    settings.write_text(gone, encoding="utf-8")
    assert "nowhere" in fails(capsys, "evaluate", run)
    content, _ = evaluated(capsys, run, "--dataset", f"folder:{moved}")
    assert content["asked"]["against"] == f"folder:{moved}" and content["classes"] == 2
    assert main(["explore", str(run), "--dataset", f"folder:{moved}"]) == 0
    assert "without real images" not in capsys.readouterr().err
    page = (run / "explore.html").read_bytes()
    assert "nowhere" in fails(capsys, "explore", run, "--dataset", "folder:/nowhere")
    assert (run / "explore.html").read_bytes() == page


@pytest.mark.thorough
def test_classes_are_called_by_their_folders(run, capsys):
    content, error = evaluated(capsys, run)
    assert content["class_names"] == ["cat", "dog"]
    assert "is right on" in error and "10 test images" in error  # the classifier's accuracy
    assert main(["explore", str(run)]) == 0
    page = (run / "explore.html").read_text(encoding="utf-8")
    assert page.count('["cat", "dog"]') >= 2


# ---------------------------------------------------------------- small folders


@pytest.mark.thorough
def test_a_small_folder_without_classes_gives_what_needs_no_classifier(tmp_path, capsys):
    dataset = folder_of_images(tmp_path / "images", 4)
    run = trained_on(tmp_path / "run", dataset, training__batch_size=2)
    capsys.readouterr()
    content, error = evaluated(capsys, run)
    assert content["ms_ssim"] is not None and content["nearest_training_distance"] > 0
    assert content["inception_score"] is None and content["asked"]["classifier"] is None
    assert "no classes" in error
    assert main(["explore", str(run)]) == 0
    assert "without classes" in capsys.readouterr().err
    assert (run / "explore.html").stat().st_size > 10_000


def test_a_folder_too_small_for_the_classifiers_batch_has_one(images, run, capsys):
    assert main(["classifier", images, "--size", "16"]) == 0
    out = capsys.readouterr().out
    assert "of 10 test images" in out and "16 x 16 pixels" in out


# ---------------------------------------------------------------- progress


def test_progress_is_said_at_once_and_then_not_again_within_ten_seconds(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = Progress()
    for text, seconds in (("one", 0), ("two", 9), ("three", 11), ("four", 12)):
        now[0] = 100.0 + seconds
        progress(text)
    assert capsys.readouterr().err.split() == ["one", "three"]


def test_two_trainings_of_one_seed_do_not_depend_on_who_listens():
    from evaluation_builders import some_digits

    silent = train_classifier(some_digits(), epochs=1)
    heard = train_classifier(some_digits(), epochs=1, say=lambda text: None)
    for one, other in zip(silent.parameters(), heard.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("command", [["evaluate", "run"], ["study", "kappa", "--preset", "digits", "--steps", "2"]])
def test_a_result_is_not_written_where_its_figure_goes(run, capsys, monkeypatch, command):
    monkeypatch.chdir(run.parent)
    assert "--out must name a file such as" in fails(capsys, *command, "--out", "scores.png")
    assert not (run.parent / "scores.png").exists()


def test_a_picture_is_no_result_of_a_study(tmp_path, capsys):
    picture = tmp_path / "study.json"
    Image.new("L", (3, 3)).save(picture, format="png")
    error = fails(capsys, "study", "kappa", "--preset", "digits", "--steps", "2", "--out", picture)
    assert f"{picture} is not the result of a study" in error


@pytest.mark.thorough
def test_the_same_name_in_two_folders_and_another_background_are_other_questions(run, tmp_path, capsys, monkeypatch):
    for number, place in enumerate(("one", "two"), start=4):
        folder_of_images(tmp_path / place / "pictures", 2 * number, ("cat", "dog"))
    for place in ("one", "two", "one"):
        monkeypatch.chdir(tmp_path / place)
        evaluated(capsys, run, "--against", "folder:pictures")
    monkeypatch.chdir(tmp_path)
    evaluated(capsys, run, "--background", "black")
    evaluated(capsys, run, "--background", "white")
    asked = [json.loads(path.read_text(encoding="utf-8"))["asked"] for path in sorted(run.glob("evaluation*.json"))]
    questions = {(each["against"].removeprefix(f"folder:{tmp_path}/"), each["background"]) for each in asked}
    assert len(asked) == len(questions) == 4
    assert {("one/pictures", "white"), ("two/pictures", "white")} < questions

"""The command line, in this process and with settings small enough for a test."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from command_line import TINY, exits, fails

import memgan.lab.evaluation.classifier
from memgan.data import ImageData
from memgan.files import written_whole
from memgan.lab.commands.cli import COMMANDS, EXAMPLES, main, parser
from memgan.lab.evaluation.classifier import train_classifier
from memgan.lab.evaluation.registry import METRICS
from memgan.runs import load_run, save_run

OPTIONS_OF = {
    "train": ["--out", "--device", "--seed", "--resume", "--root", "--log-dir"],
    "sample": ["--out", "--device", "--seed", "--checkpoint"],
    "export": ["--number", "--out", "--seed", "--real"],
    "evaluate": ["--device", "--seed", "--checkpoint", "--dataset", "--out"],
    "explore": ["--out", "--checkpoint", "--dataset"],
    "classifier": ["--root"],
    "study": ["--preset", "--seeds", "--only", "--runs", "--jobs"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that no test changes."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert main(["train", "--out", str(folder), *TINY]) == 0
    return folder


@pytest.fixture
def quick_classifier(monkeypatch, tmp_path):
    monkeypatch.setenv("MEMGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        memgan.lab.evaluation.classifier,
        "train_classifier",
        lambda data, **_: train_classifier(ImageData(data.images[:64], data.labels[:64]), epochs=1),
    )


# ---------------------------------------------------------------- sample


def test_sample_writes_a_picture_and_prints_its_name(tmp_path, capsys, trained):
    picture = tmp_path / "new" / "grid.png"
    assert main(["sample", str(trained), "--out", str(picture), "--slots", "3", "--samples", "5"]) == 0
    assert capsys.readouterr().out == f"{picture}\n"
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    from matplotlib.image import imread

    height, width = imread(picture).shape[:2]
    assert width > height > 100  # five images in a row, three rows


def size_of_sheet(trained, picture, *words):
    assert main(["sample", str(trained), "--out", str(picture), *words]) == 0
    from matplotlib.image import imread

    height, width = imread(picture).shape[:2]
    return width, height


def test_an_image_on_the_sheet_is_as_large_however_many_there_are(tmp_path, trained):
    _, of_ten = size_of_sheet(trained, tmp_path / "ten.png", "--slots", "10", "--samples", "1")
    width, of_thirty = size_of_sheet(trained, tmp_path / "thirty.png", "--slots", "30", "--samples", "1")
    assert of_thirty < 3 * of_ten + 30 and of_thirty / 30 < 80 and width < 600
    _, of_wide = size_of_sheet(trained, tmp_path / "wide.png", "--slots", "10", "--samples", "12")
    assert of_wide == pytest.approx(of_ten, rel=0.1)


def test_the_rows_of_a_sheet_are_different_slots_and_at_most_as_many_as_there_are(tmp_path, capsys, trained):
    error = fails(capsys, "sample", trained, "--out", tmp_path / "a.png", "--slots", 1000)
    gan, _ = load_run(trained)
    assert f"{int((gan.slot_probabilities() > 0).sum())} slots" in error


def test_a_sheet_beyond_memory_is_refused_with_its_size(tmp_path, capsys, trained):
    error = fails(capsys, "sample", trained, "--out", tmp_path / "a.png", "--slots", 5, "--samples", 1_000_000)
    assert "67,500,000 x 338 pixels" in error and "memgan export" in error


def test_a_model_without_slots_is_drawn_without_their_names(tmp_path):
    run = tmp_path / "dcgan"
    assert main(["train", "--out", str(run), "--model", "dcgan", *TINY]) == 0
    labelled = size_of_sheet(run, tmp_path / "a.png", "--slots", "10", "--samples", "12")
    assert labelled[0] < 12 * 0.45 * 150 + 50


def test_the_checkpoint_that_is_named_is_drawn_and_an_unfinished_run_by_its_newest(tmp_path, capsys, trained):
    unfinished = tmp_path / "run"
    shutil.copytree(trained, unfinished)
    (unfinished / "model.pt").unlink()
    (unfinished / "settings.json").unlink(missing_ok=True)
    assert main(["sample", str(unfinished), "--out", str(tmp_path / "newest.png")]) == 0
    assert "not finished" in capsys.readouterr().err
    assert main(["sample", str(trained), "--out", str(tmp_path / "start.png"), "--checkpoint", "0"]) == 0
    assert main(["sample", str(trained), "--out", str(tmp_path / "end.png"), "--checkpoint", "3"]) == 0
    newest, start, end = [(tmp_path / f"{name}.png").read_bytes() for name in ("newest", "start", "end")]
    assert newest == end != start
    assert main(["sample", str(trained), "--out", str(tmp_path / "finished.png")]) == 0
    assert (tmp_path / "finished.png").read_bytes() != end  # whose images were counted anew
    capsys.readouterr()
    assert "step 12345" in fails(capsys, "sample", trained, "--out", tmp_path / "a.png", "--checkpoint", 12345)


def test_a_model_whose_numbers_are_not_finite_is_not_drawn(tmp_path, capsys, trained):
    gan, settings = load_run(trained)
    with torch.no_grad():
        next(gan.generator.parameters()).fill_(torch.nan)
    save_run(tmp_path / "run", gan, settings, {})
    assert "not finite" in fails(capsys, "sample", tmp_path / "run", "--out", tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


def test_a_command_that_is_ended_by_sigterm_leaves_nothing_half_written(tmp_path, capsys, monkeypatch, trained):
    def stopped(*_, **__):
        with written_whole(tmp_path / "large") as unfinished:
            unfinished.write_bytes(bytes(10))
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("it went on")

    monkeypatch.setattr("memgan.lab.commands.sample.load_model", stopped)
    before = signal.getsignal(signal.SIGTERM)
    assert main(["sample", str(trained), "--out", str(tmp_path / "sheet.png")]) == 128 + signal.SIGTERM
    assert "stopped" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [] and signal.getsignal(signal.SIGTERM) is before


def test_sample_of_one_seed_is_the_same_picture(tmp_path, trained):
    pictures = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        words = ["--slots", "8", "--samples", "5", "--seed", str(seed)]
        assert main(["sample", str(trained), "--out", str(tmp_path / f"{name}.png"), *words]) == 0
        pictures.append((tmp_path / f"{name}.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


@pytest.mark.parametrize("name", ["grid", "folder"])
def test_the_printed_name_is_that_of_a_picture_or_the_command_fails(tmp_path, capsys, trained, name):
    (tmp_path / "folder").mkdir()
    code = main(["sample", str(trained), "--out", str(tmp_path / name), "--slots", "1", "--samples", "2"])
    out, error = capsys.readouterr()
    if code == 0:
        assert Path(out.rstrip("\n")).is_file()
    else:
        assert code == 1 and name in error


def test_sample_of_nothing_and_in_unknown_formats_is_refused(tmp_path, capsys, trained):
    assert "at least one" in fails(capsys, "sample", trained, "--out", tmp_path / "a.png", "--slots", 0)
    assert "at least one" in fails(capsys, "sample", trained, "--out", tmp_path / "a.png", "--samples", -1)
    assert "xyz" in fails(capsys, "sample", trained, "--out", tmp_path / "a.xyz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [["sample", "--out", "grid.png"], ["evaluate"]])
def test_what_is_not_a_run_is_named(tmp_path, capsys, command):
    error = fails(capsys, command[0], tmp_path / "nowhere", *command[1:])
    assert "nowhere is not a run" in error and "memgan train" in error


def test_a_run_cut_off_is_one_readable_line(tmp_path, capsys, trained):
    shutil.copytree(trained, tmp_path / "run")
    whole = (trained / "model.pt").read_bytes()
    for share in (0.1, 0.5, 0.9):
        (tmp_path / "run" / "model.pt").write_bytes(whole[: int(len(whole) * share)])
        assert "model.pt" in fails(capsys, "sample", tmp_path / "run", "--out", tmp_path / "a.png")


# ---------------------------------------------------------------- evaluate


@pytest.mark.thorough
def test_evaluate_of_one_seed_prints_and_keeps_the_same_numbers_as_json_and_as_a_table(
    tmp_path, capsys, trained, quick_classifier
):
    shutil.copytree(trained, tmp_path / "run")
    evaluation = tmp_path / "run" / "evaluation.json"
    assert main(["evaluate", str(tmp_path / "run"), "--json", "--seed", "3"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {metric.name for metric in METRICS} <= set(printed)
    assert printed["classes"] == 10 and 0.1 <= printed["slot_purity"] <= 1
    assert 1 - 1e-6 <= printed["inception_score"] <= 10
    assert json.loads(evaluation.read_text(encoding="utf-8")) == printed

    evaluation.unlink()
    assert main(["evaluate", str(tmp_path / "run"), "--seed", "3"]) == 0
    table = capsys.readouterr().out
    assert json.loads(evaluation.read_text(encoding="utf-8")) == printed
    assert f"{printed['inception_score']:.2f}" in table and f"{printed['slot_purity']:.3f}" in table
    assert "generated" in table.splitlines()[0] and "real" in table.splitlines()[0]


# ---------------------------------------------------------------- usage


@pytest.mark.parametrize(("command", "options"), OPTIONS_OF.items())
def test_help_of_every_command_shows_examples_and_every_option(capsys, command, options):
    assert exits(command, "--help") == 0
    text = capsys.readouterr().out
    assert "examples:" in text and f"memgan {command} " in text.split("examples:")[1]
    assert all(option in text for option in options)


def test_help_names_every_command(capsys):
    assert exits("--help") == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS) and "examples:" in text


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["paint"],
        ["train"],
        ["train", "--out", "x", "--preset", "imagenet"],
        ["train", "--out", "x", "--seed", "many"],
        ["sample", "x"],
        ["evaluate"],
        ["evaluate", "x", "--verbose"],
    ],
)
def test_wrong_usage_is_exit_code_two_on_stderr(capsys, words):
    assert exits(*words) == 2
    out, error = capsys.readouterr()
    assert out == "" and "usage: memgan" in error


def test_every_example_of_the_help_is_accepted_by_the_parser():
    examples = [line.split()[1:] for line in EXAMPLES.splitlines() if line.strip().startswith("memgan")]
    assert {words[0] for words in examples} == set(COMMANDS)
    for words in examples:
        parser(words[0]).parse_args(words)

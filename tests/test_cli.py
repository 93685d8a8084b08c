"""The command line, in this process and with settings small enough for a test."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gan_builders import TINY_ASSIGNMENTS

import memgan_lab.classifier
import memgan_lab.cli
import memgan_lab.commands.train
from memgan.data import ImageData
from memgan.runs import load_run
from memgan_lab.classifier import train_classifier
from memgan_lab.cli import main
from memgan_lab.evaluation import Evaluation

TINY = [word for assignment in TINY_ASSIGNMENTS for word in ("--set", assignment)]
COMMANDS = {
    "train": ["--out", "--device", "--seed"],
    "sample": ["--out", "--device", "--seed"],
    "evaluate": ["--device", "--seed"],
    "explore": ["--out"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that no test changes."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert main(["train", "--out", str(folder), *TINY]) == 0
    return folder


@pytest.fixture
def quick_judge(monkeypatch, tmp_path):
    monkeypatch.setenv("MEMGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        memgan_lab.classifier,
        "train_classifier",
        lambda data: train_classifier(ImageData(data.images[:64], data.labels[:64]), epochs=1),
    )


def fails(capsys, *arguments):
    """Its one line on stderr, for a command that ends with exit code 1."""
    assert main([str(argument) for argument in arguments]) == 1
    out, error = capsys.readouterr()
    assert out == "" and error.startswith(f"memgan {arguments[0]}: ")
    assert error.count("\n") == 1 and "Traceback" not in error
    return error


def exits(*arguments):
    """The exit code of a command that argparse ends."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


# ---------------------------------------------------------------- train


def test_train_writes_a_run_and_says_so(tmp_path, capsys):
    folder = tmp_path / "new" / "run"
    assert main(["train", "--out", str(folder), *TINY, "--set", "memory.kappa=17.5", "--steps", "5"]) == 0
    out, error = capsys.readouterr()
    assert str(folder) in out and "5 steps" in out and out.count("\n") == 1
    gan, settings = load_run(folder)
    assert (settings.memory.kappa, settings.training.steps, settings.dataset) == (17.5, 5, "digits")
    assert gan.memory.ages.max() <= 5 and gan.memory.histogram.sum() > 1
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    assert (history.pop("seed"), history.pop("device")) == (0, "cpu") and history.pop("seconds") > 0
    assert set(history) == {"discriminator_loss", "generator_loss", "real", "generated"}
    assert all(len(series) == 5 for series in history.values())


def test_progress_is_plain_lines_where_there_is_no_terminal(tmp_path, capsys):
    assert main(["train", "--out", str(tmp_path / "run"), *TINY, "--steps", "23"]) == 0
    lines = capsys.readouterr().err.splitlines()
    steps = [line.split(":")[0] for line in lines]
    assert steps == [f"step {n}/23" for n in [*range(2, 23, 2), 23]]  # each tenth, and the last
    assert all("loss D" in line and "D(real)" in line for line in lines)
    assert not any(character in "".join(lines) for character in "\r\x1b█")


def test_progress_is_a_bar_on_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["train", "--out", str(tmp_path / "run"), *TINY]) == 0
    error = capsys.readouterr().err
    assert "\r" in error and "3/3" in error and "step 3/3:" not in error


def test_same_seed_gives_the_same_files_and_another_not(tmp_path):
    models = {}
    for name, seed in (("one", 5), ("again", 5), ("other", 6)):
        assert main(["train", "--out", str(tmp_path / name), "--seed", str(seed), *TINY]) == 0
        models[name] = load_run(tmp_path / name)[0].state_dict()
    assert all(torch.equal(models["one"][key], models["again"][key]) for key in models["one"])
    assert not torch.equal(models["one"]["memory.keys"], models["other"]["memory.keys"])
    assert not torch.equal(models["one"]["generator.layers.0.weight"], models["other"]["generator.layers.0.weight"])


def test_a_run_is_overwritten_by_force_only(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["train", "--out", str(folder), *TINY]) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    capsys.readouterr()
    error = fails(capsys, "train", "--out", folder, *TINY, "--seed", 1)
    assert str(folder) in error and "--force" in error
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert main(["train", "--out", str(folder), *TINY, "--seed", "1", "--force"]) == 0
    assert (folder / "model.pt").read_bytes() != before["model.pt"]


@pytest.fixture
def training_must_not_start(monkeypatch):
    def started(*_):
        raise AssertionError("trained before looking whether it can be kept")

    monkeypatch.setattr(memgan_lab.commands.train, "train", started)


def test_a_folder_that_cannot_be_written_is_refused_before_training(tmp_path, capsys, training_must_not_start):
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("root may write everywhere")
    try:
        assert str(tmp_path) in fails(capsys, "train", "--out", tmp_path / "run", *TINY)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("below", ["", "run"])
def test_a_file_in_place_of_the_folder_is_refused_before_training(tmp_path, capsys, training_must_not_start, below):
    (tmp_path / "file").write_text("here", encoding="utf-8")
    assert "file" in fails(capsys, "train", "--out", tmp_path / "file" / below, *TINY)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "here"


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("memory.kapa=3", "memory.kappa"),
        ("memory.kappa=many", "memory.kappa must be of type float, got 'many'"),
        ("memory.top_k=1000", "top_k"),
        ("memory.touch=worst", "'best'"),
        ("training.steps=0", "steps"),
        ("training.batch_size=5000", "1437"),
        ("training.generator_lr=-1", "-1"),
        ("networks.image_size=20", "20"),
        ("networks.image_size=17", "image_size"),
        ("networks.channels=3", "3"),
        ("networks.width=0", "width"),
        ("networks.width=-1", "width"),
        ("networks.hidden=-1", "hidden"),
        ("networks.noise_dim=-1", "noise_dim"),
    ],
)
def test_settings_that_do_not_work_are_one_readable_line(tmp_path, capsys, assignment, expected):
    assert expected in fails(capsys, "train", "--out", tmp_path / "run", *TINY, "--set", assignment)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("device", ["warp", "", "cpu:x", "meta", "mps", "vulkan", "xpu"])
def test_unknown_devices_are_refused(tmp_path, capsys, device):
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has one")
    if device == "xpu" and torch.xpu.is_available():
        pytest.skip("this machine has one")
    error = fails(capsys, "train", "--out", tmp_path / "run", *TINY, "--device", device)
    assert repr(device) in error


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named(tmp_path, capsys, trained):
    for words in (["train", "--out", tmp_path / "run", *TINY], ["sample", trained, "--out", tmp_path / "a.png"]):
        assert "sees 0 GPUs" in fails(capsys, *words, "--device", "cuda")


@pytest.mark.parametrize("seed", [2**63, 10**30, -1])
def test_a_seed_out_of_range_is_wrong_usage(tmp_path, capsys, seed):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--out", str(tmp_path / "run"), *TINY, "--seed", str(seed)])
    assert stopped.value.code == 2
    assert "--seed" in capsys.readouterr().err


def test_stopping_writes_nothing(tmp_path, capsys, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(memgan_lab.commands.train, "train", stopped)
    assert main(["train", "--out", str(tmp_path / "run"), *TINY]) == 130
    assert "nothing was written" in capsys.readouterr().err and not (tmp_path / "run").exists()


# ---------------------------------------------------------------- sample


def test_sample_writes_a_picture_and_prints_its_name(tmp_path, capsys, trained):
    picture = tmp_path / "new" / "grid.png"
    assert main(["sample", str(trained), "--out", str(picture), "--slots", "3", "--samples", "5"]) == 0
    assert capsys.readouterr().out == f"{picture}\n"
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    from matplotlib.image import imread

    height, width = imread(picture).shape[:2]
    assert width > height > 100  # five images in a row, three rows


def test_sample_of_one_seed_is_the_same_picture(tmp_path, trained):
    pictures = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        words = ["--slots", "3", "--samples", "5", "--seed", str(seed)]
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
def test_evaluate_prints_json_and_keeps_it_with_the_run(tmp_path, capsys, trained, quick_judge):
    shutil.copytree(trained, tmp_path / "run")
    assert main(["evaluate", str(tmp_path / "run"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == set(Evaluation.__dataclass_fields__)
    assert printed["classes"] == 10 and 0.1 <= printed["slot_purity"] <= 1
    assert 1 - 1e-6 <= printed["inception_score"] <= 10
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text(encoding="utf-8")) == printed


@pytest.mark.thorough
def test_evaluate_prints_a_table_of_the_same_numbers(tmp_path, capsys, trained, quick_judge):
    shutil.copytree(trained, tmp_path / "run")
    assert main(["evaluate", str(tmp_path / "run"), "--seed", "3"]) == 0
    table = capsys.readouterr().out
    kept = json.loads((tmp_path / "run" / "evaluation.json").read_text(encoding="utf-8"))
    assert f"{kept['inception_score']:.2f}" in table and f"{kept['slot_purity']:.3f}" in table
    assert "generated" in table.splitlines()[0] and "real" in table.splitlines()[0]


@pytest.mark.thorough
def test_evaluate_of_one_seed_gives_the_same_numbers(tmp_path, capsys, trained, quick_judge):
    shutil.copytree(trained, tmp_path / "run")
    printed = []
    for _ in range(2):
        assert main(["evaluate", str(tmp_path / "run"), "--json", "--seed", "3"]) == 0
        printed.append(json.loads(capsys.readouterr().out))
    assert printed[0] == printed[1]


# ---------------------------------------------------------------- usage


@pytest.mark.parametrize(("command", "options"), COMMANDS.items())
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
    examples = [line.split()[1:] for line in memgan_lab.cli.EXAMPLES.splitlines() if line.strip().startswith("memgan")]
    assert {words[0] for words in examples} == set(COMMANDS)
    for words in examples:
        memgan_lab.cli._parser().parse_args(words)


@pytest.mark.thorough
def test_the_installed_command_works(tmp_path):
    """Outside this process and this folder: the console script, its exit code and both streams."""
    script = Path(sys.executable).with_name("memgan")
    if not script.exists():
        pytest.skip("the package is not installed beside this Python")
    done = subprocess.run([script, "sample", "nowhere", "--out", "a.png"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("memgan sample: nowhere is not a run")

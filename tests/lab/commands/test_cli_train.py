"""`memgan train`: what it writes and shows, what it refuses, and how it goes on."""

import json
import os
import shlex
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import TINY, exits, fails

import memgan.lab.commands.train
import memgan.lab.evaluation.classifier
import memgan.lab.sessions.session
import memgan.training
from memgan.data import ImageData, load_dataset
from memgan.lab.commands import scores
from memgan.lab.commands.cli import main, parser
from memgan.lab.evaluation.classifier import train_classifier
from memgan.lab.evaluation.material import gather
from memgan.lab.sessions import load_model
from memgan.lab.sessions.digest import digest_of
from memgan.lab.sessions.lock import held
from memgan.runs import load_run, saved_checkpoints


def test_train_writes_a_run_and_says_so(tmp_path, capsys):
    folder = tmp_path / "new" / "run"
    assert main(["train", "--out", str(folder), *TINY, "--set", "memory.kappa=17.5", "--steps", "5"]) == 0
    out, error = capsys.readouterr()
    assert str(folder) in out and "5 steps" in out and out.count("\n") == 1
    gan, settings = load_run(folder)
    assert (settings.memory.kappa, settings.training.steps, settings.dataset) == (17.5, 5, "digits")
    assert gan.memory.ages.max() <= 5 and gan.memory.histogram.sum() > 1
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    assert (history.pop("seed"), history.pop("device"), history.pop("threads")) == (0, "cpu", 1)
    assert history.pop("seconds") > 0
    assert history.pop("data") == digest_of(load_dataset("digits"))
    assert set(history) == {"discriminator_loss", "generator_loss", "real", "generated"}
    assert all(len(series) == 5 for series in history.values())


def test_progress_is_plain_lines_where_there_is_no_terminal(tmp_path, capsys):
    assert main(["train", "--out", str(tmp_path / "run"), *TINY, "--steps", "23"]) == 0
    first, *lines = capsys.readouterr().err.splitlines()
    expected = ["1,437 images", "10 classes", "16 x 16 pixels", "1 channel", "61 slots", "cpu, 1 thread", "23 steps"]
    assert all(words in first for words in expected) and first.endswith(" s left")
    steps = [line.split(":")[0] for line in lines]
    assert steps == [f"step {n}/23" for n in [*range(2, 23, 2), 23]]  # each tenth, and the last
    assert all("loss D" in line and "D(real)" in line and "slots in use" in line for line in lines)
    assert all(line.endswith(" s left") for line in lines[:-1])
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


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_overwritten_by_force_only(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["train", "--out", str(folder), *TINY, "--steps", "5"]) == 0
    before = files(folder)
    capsys.readouterr()
    error = fails(capsys, "train", "--out", folder, *TINY, "--seed", 1)
    assert str(folder) in error and "--force" in error and "--resume" in error
    assert files(folder) == before
    assert main(["train", "--out", str(folder), *TINY, "--seed", "1", "--force"]) == 0
    assert files(folder)[Path("model.pt")] != before[Path("model.pt")]
    assert names(folder / "checkpoints") == ["step-00000000.pt", "step-00000003.pt"]  # nothing of the old run


def test_force_clears_a_run_whose_checkpoints_lie_elsewhere_and_what_was_said_of_it(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "scratch").mkdir()
    (folder / "checkpoints").symlink_to(tmp_path / "scratch")
    assert main(["train", "--out", str(folder), *TINY]) == 0
    (folder / "evaluation-2.json").write_text('{"asked": {}}', encoding="utf-8")
    (folder / "evaluation-2.png").write_text("", encoding="utf-8")
    (folder / "evaluation-mine.json").write_text("{}", encoding="utf-8")
    assert main(["train", "--out", str(folder), *TINY, "--force", "--steps", "4"]) == 0
    assert (folder / "checkpoints").is_symlink()
    assert names(tmp_path / "scratch") == ["step-00000000.pt", "step-00000004.pt"]
    assert {"evaluation-2.json", "evaluation-2.png"}.isdisjoint(names(folder))
    assert "evaluation-mine.json" in names(folder)


@pytest.mark.parametrize("option", ["--out", "--config", "--init", "--root", "--log-dir"])
def test_a_folder_without_a_name_is_wrong_usage(tmp_path, option, monkeypatch):
    """As from a variable that is not set: it would be the current folder."""
    monkeypatch.chdir(tmp_path)
    assert exits("train", "--out", "run", option, "", *TINY) == 2
    assert names(tmp_path) == []


def test_the_home_folder_is_meant_where_a_shell_leaves_its_sign(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--out=~/run", *TINY]) == 0
    assert (tmp_path / "home" / "run" / "model.pt").is_file() and not (tmp_path / "~").exists()


def test_a_background_that_is_no_colour_is_wrong_usage(tmp_path, capsys):
    assert exits("train", "--out", tmp_path / "run", *TINY, "--background", "nonsense") == 2
    assert "unknown background 'nonsense'" in capsys.readouterr().err


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def training_must_not_start(monkeypatch):
    def started(*_):
        raise AssertionError("trained before looking whether it can be kept")

    monkeypatch.setattr(memgan.training, "training_step", started)


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
        ("memory.kappa=many", "memory.kappa: Input should be a valid number, got 'many'"),
        ("memory.top_k=1000", "top_k"),
        ("memory.touch=worst", "'best'"),
        (" model = infogan", "--model NAME"),
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
def test_a_gpu_that_is_not_there_is_named(tmp_path, capsys):
    assert "sees 0 GPUs" in fails(capsys, "train", "--out", tmp_path / "run", *TINY, "--device", "cuda")


@pytest.mark.parametrize("seed", [2**63, 10**30, -1])
def test_a_seed_out_of_range_is_wrong_usage(tmp_path, capsys, seed):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--out", str(tmp_path / "run"), *TINY, "--seed", str(seed)])
    assert stopped.value.code == 2
    assert "--seed" in capsys.readouterr().err


# ---------------------------------------------------------------- what else it writes


def test_old_fakes_are_kept_at_ten_moments(tmp_path):
    as_the_last_step_left_it = ["--set", "training.recount=false"]
    assert main(["train", "--out", str(tmp_path / "run"), *TINY, "--steps", "40", *as_the_last_step_left_it]) == 0
    kept = torch.load(tmp_path / "run" / "old_fakes.pt", weights_only=True)
    assert kept["steps"].tolist() == list(range(4, 41, 4))
    assert kept["images"].shape == (10, 64, 1, 16, 16) and kept["images"].dtype == torch.uint8
    gan, _ = load_run(tmp_path / "run")
    last = gan.generate(64, generator=torch.Generator().manual_seed(40)).images.detach()
    assert (kept["images"][-1] / 127.5 - 1 - last).abs().max() <= 1 / 255 + 1e-6  # rounded to the nearest
    assert not torch.equal(kept["images"][-1], kept["images"][-2])


@pytest.mark.thorough
def test_logs_and_sheets_do_not_change_the_run(tmp_path):
    assert main(["train", "--out", str(tmp_path / "plain"), *TINY, "--steps", "7"]) == 0
    more = ["--log-dir", str(tmp_path / "log"), "--sample-every", "2", "--checkpoint-every", "3", "--keep", "1"]
    assert main(["train", "--out", str(tmp_path / "run"), *TINY, "--steps", "7", *more]) == 0
    assert names(tmp_path / "run" / "samples") == [f"step-{n:08}.png" for n in (2, 4, 6, 7)]
    assert names(tmp_path / "run" / "checkpoints") == ["step-00000007.pt"]
    plain, run = (load_run(tmp_path / name)[0].state_dict() for name in ("plain", "run"))
    assert all(torch.equal(plain[name], run[name]) for name in plain)


@pytest.mark.thorough
def test_log_holds_the_means_of_the_history_one_object_a_line(tmp_path):
    log = tmp_path / "log"
    assert main(["train", "--out", str(tmp_path / "run"), *TINY, "--steps", "120", "--log-dir", str(log)]) == 0
    lines = [json.loads(line) for line in (log / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    history = json.loads((tmp_path / "run" / "history.json").read_text(encoding="utf-8"))
    assert [line["step"] for line in lines] == [50, 100, 120]
    assert lines[0]["generator_loss"] == pytest.approx(np.mean(history["generator_loss"][:50]))
    assert lines[1]["real"] == pytest.approx(np.mean(history["real"][50:100]))
    assert all(1 <= line["slots_in_use"] <= 61 and line["real_slots"] == pytest.approx(30 / 61) for line in lines)
    assert any(path.name.startswith("events.out.tfevents") for path in log.iterdir())


def test_tensorboard_reads_the_same_numbers(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = tmp_path / "log"
    words = ["--steps", "50", "--log-dir", str(log), "--sample-every", "50"]
    assert main(["train", "--out", str(tmp_path / "run"), *TINY, *words]) == 0
    (line,) = (json.loads(line) for line in (log / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    events = EventAccumulator(str(log)).Reload()
    assert set(events.Tags()["scalars"]) == set(line) - {"step"} and events.Tags()["images"] == ["samples"]
    for name in events.Tags()["scalars"]:
        (event,) = events.Scalars(name)
        assert event.step == 50 and event.value == pytest.approx(line[name], rel=1e-6)


def test_a_log_of_another_run_is_not_overwritten(tmp_path, capsys):
    words = ["--log-dir", str(tmp_path / "log")]
    assert main(["train", "--out", str(tmp_path / "run"), *TINY, *words]) == 0
    before = (tmp_path / "log" / "metrics.jsonl").read_bytes()
    capsys.readouterr()
    assert "--log-dir" in fails(capsys, "train", "--out", tmp_path / "other", *TINY, *words)
    assert (tmp_path / "log" / "metrics.jsonl").read_bytes() == before


def test_without_tensorboard_a_log_has_its_json_lines_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    words = ["--sample-every", "3", "--log-dir", str(tmp_path / "log")]
    assert main(["train", "--out", str(tmp_path / "run"), *TINY, *words]) == 0
    assert "pip install 'memgan[lab]'" in capsys.readouterr().err
    assert names(tmp_path / "log") == ["metrics.jsonl"]


def test_a_log_has_its_json_lines_alone_where_tensorboard_cannot_write(tmp_path, capsys):
    """It writes into folders alone whose names are UTF-8."""
    log = tmp_path / os.fsdecode(b"log\xff")
    try:
        log.mkdir()
    except OSError:
        pytest.skip("the file system takes no such name")
    assert main(["train", "--out", str(tmp_path / "run"), *TINY, "--sample-every", "3", "--log-dir", str(log)]) == 0
    assert "without TensorBoard" in capsys.readouterr().err
    assert names(log) == ["metrics.jsonl"]


# ---------------------------------------------------------------- other data, other models


def test_networks_follow_another_data_set(tmp_path):
    """Colour images of a folder, at the size that is asked for, on a preset for grey digits."""
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    pixels = np.random.default_rng(0)
    for number in range(13):
        picture = pixels.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{number}.png")
    words = ["--dataset", f"folder:{tmp_path / 'pictures'}", "--size", "8"]
    assert main(["train", "--out", str(tmp_path / "run"), *TINY, *words]) == 0
    gan, settings = load_run(tmp_path / "run")
    assert gan.image_shape == (3, 8, 8) and settings.dataset == words[1]


def test_a_baseline_is_trained_by_the_same_command(tmp_path):
    assert main(["train", "--out", str(tmp_path / "run"), *TINY, "--model", "dcgan"]) == 0
    loaded = load_model(tmp_path / "run")
    assert loaded.settings.model == "dcgan" and not hasattr(loaded.gan, "memory")


def test_an_unknown_model_is_refused(tmp_path, capsys):
    assert "'vae'" in fails(capsys, "train", "--out", tmp_path / "run", *TINY, "--model", "vae")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--keep", 0], "keep = 0"),
        (["--checkpoint-every", 0], "got 0"),
        (["--sample-every", -1], "sample_every must be at least 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, capsys, words, expected):
    assert expected in fails(capsys, "train", "--out", tmp_path / "run", *TINY, *words)
    assert "--threads" in fails(capsys, "train", "--out", tmp_path / "run", *TINY, "--threads", 0)
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- stopping and going on


def send(monkeypatch, signal_number, *, at):
    """The signal arrives in the middle of step `at`."""
    real, done = memgan.training.training_step, []

    def step(*arguments):
        done.append(None)
        if len(done) == at:
            signal.raise_signal(signal_number)
        return real(*arguments)

    monkeypatch.setattr(memgan.training, "training_step", step)


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_training_with_a_checkpoint_and_the_command_that_goes_on(
    tmp_path, capsys, monkeypatch, name, code
):
    folder, words = tmp_path / "with space" / "run", [*TINY, "--steps", "9", "--seed", "3"]
    assert main(["train", "--out", str(tmp_path / "whole"), *words]) == 0
    with monkeypatch.context() as patch:
        send(patch, getattr(signal, name), at=4)
        assert exits("train", "--out", folder, *words, "--keep", "2") == code
    out, error = capsys.readouterr()
    assert name in error and "step-00000004.pt" in error and "Traceback" not in error
    command = shlex.split(error.splitlines()[-1])
    assert command == ["memgan", "train", "--out", str(folder), "--resume", "--keep", "2"]
    assert main(command[1:]) == 0
    assert "9 steps" in capsys.readouterr().out
    whole, run = files(tmp_path / "whole"), files(folder)
    for file in ("settings.json", "model.pt", "old_fakes.pt"):
        assert run[Path(file)] == whole[Path(file)], file
    ours, theirs = (json.loads(content[Path("history.json")]) for content in (run, whole))
    assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}


def test_signal_handlers_are_put_back(tmp_path, monkeypatch):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    send(monkeypatch, signal.SIGTERM, at=2)
    assert exits("train", "--out", tmp_path / "run", *TINY) == 143
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_before_the_first_step_writes_nothing(tmp_path, capsys, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(memgan.lab.commands.train, "Session", stopped)
    assert main(["train", "--out", str(tmp_path / "run"), *TINY]) == 130
    assert capsys.readouterr().err == "memgan train: stopped\n" and not (tmp_path / "run").exists()


def test_a_stop_in_the_middle_of_a_step_names_the_command_that_goes_on(tmp_path, capsys, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(memgan.lab.sessions.session.Session, "_after", stopped)
    assert exits("train", "--out", tmp_path / "run", *TINY) == 130
    error = capsys.readouterr().err
    assert "stopped. To continue with the last checkpoint" in error and "--resume" in error
    assert saved_checkpoints(tmp_path / "run")


def test_force_deletes_nothing_where_the_log_cannot_be_written(tmp_path, capsys):
    run, taken = tmp_path / "run", tmp_path / "taken"
    assert main(["train", "--out", str(run), *TINY]) == 0
    before = {path.name for path in run.iterdir()}
    taken.touch()
    assert main(["train", "--out", str(run), *TINY, "--force", "--log-dir", str(taken)]) == 1
    assert f"{taken} cannot be written" in capsys.readouterr().err
    assert {path.name for path in run.iterdir()} == before


def test_force_deletes_nothing_that_no_run_has_written(tmp_path):
    run = tmp_path / "run"
    for folder in ("samples", "checkpoints"):
        (run / folder).mkdir(parents=True)
        (run / folder / "mine.txt").write_text("mine", encoding="utf-8")
    for _ in range(2):  # where there is no run yet, and where there is one
        assert main(["train", "--out", str(run), *TINY, "--force"]) == 0
        for folder in ("samples", "checkpoints"):
            assert (run / folder / "mine.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("asked", [["--size", "20"], ["--set", "networks.image_size=20"]])
def test_a_size_that_a_data_set_does_not_have_is_refused_and_not_left_out(tmp_path, capsys, asked):
    words = ["--preset", "digits", "--dataset", "mnist-5k", *asked, "--steps", "2"]
    assert main(["train", "--out", str(tmp_path / "run"), *words]) == 1
    assert "images of mnist-5k have 28 pixels a side, got size 20" in capsys.readouterr().err
    words = ["--preset", "digits", "--dataset", "mnist-5k", "--set", "networks.channels=3", "--steps", "2"]
    assert main(["train", "--out", str(tmp_path / "run"), *words]) == 1
    assert "mnist-5k has 1 channels, got networks.channels=3" in capsys.readouterr().err


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A run of 9 steps whose rates begin to fall after 4.5, stopped after 4."""
    with monkeypatch.context() as patch:
        send(patch, signal.SIGINT, at=4)
        assert exits("train", "--out", tmp_path / "run", *TINY, "--steps", "9") == 130
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--seed", 7], "seed 0"),
        (["--set", "memory.kappa=30"], "memory.kappa was 60.0, not 30.0"),
        (["--preset", "fashion-mnist-slim"], ""),
        (["--model", "dcgan"], "model was 'memorygan', not 'dcgan'"),
        (["--steps", 3], "training.steps was 9, not 3"),
        (["--force"], "choose one"),
    ],
)
def test_going_on_with_something_else_is_refused(stopped, capsys, words, expected):
    before = files(stopped)
    capsys.readouterr()
    assert expected in fails(capsys, "train", "--out", stopped, "--resume", *words)
    assert files(stopped) == before


def test_saying_the_same_again_goes_on(stopped):
    assert main(["train", "--out", str(stopped), "--resume", "--seed", "0", *TINY, "--steps", "9"]) == 0


def test_a_run_becomes_longer_while_its_rates_still_hold(stopped, tmp_path):
    assert main(["train", "--out", str(stopped), "--resume", "--steps", "20"]) == 0
    assert main(["train", "--out", str(tmp_path / "whole"), *TINY, "--steps", "20"]) == 0
    assert files(stopped)[Path("model.pt")] == files(tmp_path / "whole")[Path("model.pt")]


def test_a_finished_run_goes_on_with_more_steps(stopped, capsys):
    assert main(["train", "--out", str(stopped), "--resume"]) == 0
    capsys.readouterr()
    assert main(["train", "--out", str(stopped), "--resume", "--steps", "20"]) == 0
    out, error = capsys.readouterr()
    assert "at step 9, the learning rates go from 0% to 100%" in error and "20 steps" in out
    _, settings = load_run(stopped)
    history = json.loads((stopped / "history.json").read_text(encoding="utf-8"))
    assert settings.training.steps == 20 and len(history["real"]) == 20


def test_a_run_whose_rates_have_begun_to_fall_does_not_become_shorter(tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        send(patch, signal.SIGINT, at=6)
        assert exits("train", "--out", tmp_path / "run", *TINY, "--steps", "9") == 130
    capsys.readouterr()
    said = fails(capsys, "train", "--out", tmp_path / "run", "--resume", "--steps", 7)
    assert "training.steps was 9, not 7; it could become shorter until step 3" in said and "it is at 6" in said


def test_resuming_what_is_not_there_is_refused(tmp_path, capsys):
    assert "it has no checkpoints" in fails(capsys, "train", "--out", tmp_path / "run", "--resume")
    assert not (tmp_path / "run").exists()


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    assert main(["train", "--out", str(tmp_path / "run"), *TINY]) == 0
    before = files(tmp_path / "run")
    assert main(["train", "--out", str(tmp_path / "run"), "--resume"]) == 0
    assert files(tmp_path / "run") == before


def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(stopped, capsys, tmp_path):
    newest = stopped / "checkpoints" / "step-00000004.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    capsys.readouterr()
    assert main(["train", "--out", str(stopped), "--resume", "--keep", "1"]) == 0
    error = capsys.readouterr().err
    assert str(newest) in error and "damaged" in error and "the one before" in error
    assert main(["train", "--out", str(tmp_path / "whole"), *TINY, "--steps", "9"]) == 0
    assert files(stopped)[Path("model.pt")] == files(tmp_path / "whole")[Path("model.pt")]


def test_a_damaged_checkpoint_beyond_a_shorter_end_is_named_before_training(stopped, capsys):
    """The run would look as if it were not finished, and could not be written at its end."""
    beyond = stopped / "checkpoints" / "step-00000009.pt"
    beyond.write_bytes(b"damaged")
    capsys.readouterr()
    assert main(["train", "--out", str(stopped), "--resume", "--steps", "8"]) == 1
    error = capsys.readouterr().err
    assert f"delete first what is beyond the 8 steps of this run: {beyond}" in error
    beyond.unlink()
    assert main(["train", "--out", str(stopped), "--resume", "--steps", "8"]) == 0


@pytest.mark.thorough
def test_a_log_of_another_run_is_not_gone_on_with(tmp_path, capsys):
    logs = {}
    for seed in (0, 1):
        log = logs[seed] = tmp_path / f"log-{seed}"
        words = ["--seed", str(seed), "--steps", "60", "--log-dir", str(log)]
        assert main(["train", "--out", str(tmp_path / f"run-{seed}"), *TINY, *words]) == 0
    lines = (logs[0] / "metrics.jsonl").read_bytes()
    capsys.readouterr()
    words = ["train", "--out", str(tmp_path / "run-1"), "--resume", "--steps", "100"]
    assert main([*words, "--log-dir", str(logs[0])]) == 1
    assert f"{logs[0] / 'metrics.jsonl'} holds the log of another run" in capsys.readouterr().err
    assert (logs[0] / "metrics.jsonl").read_bytes() == lines
    assert main([*words, "--log-dir", str(logs[1])]) == 0
    logged = (logs[1] / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in logged] == [50, 60, 100]


@pytest.mark.thorough
def test_a_log_that_begins_later_is_moved_aside(stopped, tmp_path, capsys):
    """Whether it is that of this run cannot be known."""
    log = tmp_path / "log"
    assert main(["train", "--out", str(tmp_path / "other"), *TINY, "--steps", "60", "--log-dir", str(log)]) == 0
    lines = (log / "metrics.jsonl").read_bytes()
    capsys.readouterr()
    assert main(["train", "--out", str(stopped), "--resume", "--log-dir", str(log)]) == 0
    assert "begins after step 4" in capsys.readouterr().err
    assert (log / "before-metrics.jsonl").read_bytes() == lines
    (line,) = (log / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["step"] == 9


@pytest.mark.thorough
def test_a_log_with_lines_of_another_length_of_the_run_is_gone_on_with(tmp_path):
    """A run that was made longer, for a while without a log, has other losses there than an earlier session logged."""
    run, log = tmp_path / "run", tmp_path / "log"
    words = ["train", "--out", str(run), "--resume"]
    more = ["--steps", "110", "--checkpoint-every", "55", "--log-dir", str(log)]
    assert main(["train", "--out", str(run), *TINY, *more]) == 0
    (run / "checkpoints" / "step-00000110.pt").unlink()
    assert main([*words, "--steps", "160"]) == 0
    assert main([*words, "--steps", "170", "--log-dir", str(log)]) == 0
    logged = (log / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in logged] == [50, 100, 110, 170]


@pytest.mark.parametrize(
    "line", ["{}", "garbage}", '{"step": null}', '{"step": "50"}', '{"step": Infinity}', '{"step": -3}']
)
@pytest.mark.parametrize("name", ["scores.jsonl", "metrics.jsonl"])
def test_a_log_that_is_none_is_named(stopped, capsys, name, line):
    (stopped / name).write_text(f"{line}\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["train", "--out", str(stopped), "--resume", "--log-dir", str(stopped)]) == 1
    assert f"{stopped / name} is no log of a run" in capsys.readouterr().err
    assert (stopped / name).read_text(encoding="utf-8") == f"{line}\n"
    assert main(["train", "--out", str(stopped), *TINY, "--force", "--log-dir", str(stopped)]) == 0


@pytest.mark.thorough
def test_log_of_a_run_that_went_on_holds_each_step_once(tmp_path, monkeypatch):
    """The earlier session got to step 50 and logged it, but its checkpoint is of step 40."""
    log, words = tmp_path / "log", ["--log-dir", str(tmp_path / "log")]
    with monkeypatch.context() as patch:
        send(patch, signal.SIGINT, at=51)
        more = ["--steps", "100", "--checkpoint-every", "20"]
        assert exits("train", "--out", tmp_path / "run", *TINY, *more, *words) == 130
    (tmp_path / "run" / "checkpoints" / "step-00000051.pt").unlink()
    with (log / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 51, "rea')  # a line that was being written
    assert main(["train", "--out", str(tmp_path / "run"), "--resume", *words]) == 0
    lines = (log / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [50, 100]


# ---------------------------------------------------------------- settings and weights of another run


def test_a_run_s_settings_are_those_of_a_new_one(tmp_path):
    assert main(["train", "--out", str(tmp_path / "one"), *TINY, "--set", "memory.kappa=17"]) == 0
    for name, config in (("of the file", tmp_path / "one" / "settings.json"), ("of the folder", tmp_path / "one")):
        assert main(["train", "--out", str(tmp_path / name), "--config", str(config), "--steps", "2"]) == 0
        _, settings = load_run(tmp_path / name)
        assert (settings.memory.kappa, settings.memory.num_slots, settings.training.steps) == (17.0, 61, 2)


@pytest.mark.parametrize("content", ["[]", "null", '{"dataset": 3}'])
def test_a_file_of_other_settings_is_named(tmp_path, capsys, content):
    (tmp_path / "settings.json").write_text(content, encoding="utf-8")
    error = fails(capsys, "train", "--out", tmp_path / "run", "--config", tmp_path / "settings.json")
    assert str(tmp_path / "settings.json") in error


def test_a_new_run_begins_with_the_weights_and_settings_of_another(tmp_path):
    """A rate of 0 leaves the weights as they were, so that they can be compared."""
    assert main(["train", "--out", str(tmp_path / "one"), *TINY, "--steps", "5", "--seed", "3"]) == 0
    still = ["--set", "training.generator_lr=0", "--set", "memory.kappa=17"]
    assert main(["train", "--out", str(tmp_path / "two"), "--init", str(tmp_path / "one"), "--steps", "2", *still]) == 0
    one, _ = load_run(tmp_path / "one")
    two, settings = load_run(tmp_path / "two")
    assert settings.memory.num_slots == 61 and two.memory.kappa == 17.0
    for name, weight in one.generator.named_parameters():
        assert torch.equal(weight, two.generator.get_parameter(name)), name
    assert int(two.memory.ages.max()) <= 7 and not torch.equal(one.memory.keys, two.memory.keys)
    history = json.loads((tmp_path / "two" / "history.json").read_text(encoding="utf-8"))
    assert history["init"] == f"{tmp_path / 'one'}, step 5" and len(history["real"]) == 2


def test_a_new_run_begins_with_the_newest_checkpoint_of_one_that_is_not_finished(stopped, tmp_path, capsys):
    assert main(["train", "--out", str(tmp_path / "new"), "--init", str(stopped), "--steps", "2"]) == 0
    assert "step 4 of 9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--set", "memory.num_slots=67"], "memory.keys has shape [61, 7], expected [67, 7]"),
        (["--set", "networks.width=3"], "inference"),
        (["--model", "dcgan"], "another kind of model"),
        (["--resume"], "choose one"),
    ],
)
def test_weights_that_do_not_fit_are_refused(stopped, tmp_path, capsys, words, expected):
    capsys.readouterr()
    assert main(["train", "--out", str(tmp_path / "new"), "--init", str(stopped), *words]) == 1
    assert expected in capsys.readouterr().err and not (tmp_path / "new").exists()


# ---------------------------------------------------------------- scores while it trains


@pytest.fixture
def quick_classifier(monkeypatch, tmp_path):
    monkeypatch.setenv("MEMGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        memgan.lab.evaluation.classifier,
        "train_classifier",
        lambda data: train_classifier(ImageData(data.images[:64], data.labels[:64]), epochs=1),
    )


@pytest.mark.thorough
def test_scores_are_written_while_a_run_trains_and_the_best_is_kept(tmp_path, capsys, quick_classifier):
    words = ["--steps", "9", "--evaluate-every", "4", "--keep", "1", "--log-dir", str(tmp_path / "log")]
    assert main(["train", "--out", str(tmp_path / "run"), *TINY, *words]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "scores.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines] == [4, 8, 9]
    assert all(1 - 1e-6 <= line["inception_score"] <= 10 and line["frechet_distance"] > 0 for line in lines)
    best = max(lines, key=lambda line: line["inception_score"])["step"]
    assert f"step {best}" in capsys.readouterr().err
    assert names(tmp_path / "run" / "checkpoints") == sorted({f"step-{step:08}.pt" for step in (best, 9)})
    assert main(["train", "--out", str(tmp_path / "plain"), *TINY, "--steps", "9"]) == 0
    assert files(tmp_path / "run")[Path("model.pt")] == files(tmp_path / "plain")[Path("model.pt")]


def test_the_best_checkpoint_is_chosen_by_other_draws_than_it_is_reported_by(tmp_path, quick_classifier, monkeypatch):
    drawn = []
    monkeypatch.setattr(scores, "gather", lambda *given, seed: drawn.append(seed) or gather(*given, seed=seed))
    words = ["--steps", "2", "--evaluate-every", "2"]
    assert main(["train", "--out", str(tmp_path / "run"), *TINY, *words]) == 0
    reported = parser("evaluate").parse_args(["evaluate", str(tmp_path / "run")]).seed
    assert drawn and reported not in drawn


def test_images_without_classes_cannot_be_scored(tmp_path, capsys):
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    pixels = np.random.default_rng(0)
    for number in range(13):
        picture = pixels.integers(0, 256, (16, 16), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{number}.png")
    words = ["--dataset", f"folder:{tmp_path / 'pictures'}", "--evaluate-every", 2]
    assert "classes" in fails(capsys, "train", "--out", tmp_path / "run", *TINY, *words)


# ---------------------------------------------------------------- the machine


def test_more_threads_than_cores_are_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert "3 cores" in fails(capsys, "train", "--out", tmp_path / "run", *TINY, "--threads", 4)


def test_a_memory_beyond_the_machine_is_refused(tmp_path, capsys):
    error = fails(capsys, "train", "--out", tmp_path / "run", *TINY, "--set", "memory.num_slots=1000000000000")
    assert "48,000.0 GB" in error and "1,000,000,000,000 slots" in error


def test_a_folder_that_is_trained_in_is_refused(tmp_path, capsys):
    with held(tmp_path / "run"):
        assert str(os.getpid()) in fails(capsys, "train", "--out", tmp_path / "run", *TINY)

"""What can be seen of a run that is not finished: the model of its newest checkpoint, or of one that is named."""

import itertools
import shutil

import pytest
import torch
from gan_builders import random_images, same_state, state_of, tiny_settings

from memgan.data import ImageData
from memgan.lab.sessions import Session, SessionOptions, load_model
from memgan.runs import load_run, saved_checkpoints

EVERY_STEP = SessionOptions(checkpoint_every=1, keep=3)


def session_in(folder, steps=13):
    data = ImageData(random_images(23), torch.zeros(23, dtype=torch.long))
    return Session(folder, tiny_settings(training={"steps": steps}), data, options=EVERY_STEP)


@pytest.fixture
def unfinished(tmp_path):
    """A run with checkpoints of steps 3, 4 and 5, and the states of its model then."""
    session = session_in(tmp_path / "run")
    states = {}
    for step in itertools.islice(session.trainer, 5):
        session._pending.append(step)
        states[step.number] = state_of(session.gan)
        session.save()
    return tmp_path / "run", states


def test_the_newest_checkpoint_of_an_unfinished_run_is_taken_and_named(unfinished):
    run, states = unfinished
    said = []
    loaded = load_model(run, say=said.append)
    assert same_state(loaded.gan, states[5]) and loaded.step == 5 and not loaded.gan.training
    assert loaded.settings.training.steps == 13 and loaded.checkpoint.number == 5
    assert len(said) == 1 and "step 5 of 13" in said[0]


def test_where_it_is_taken_from_is_said_on_stderr(unfinished, capsys):
    load_model(unfinished[0])
    assert "step 5 of 13" in capsys.readouterr().err


@pytest.mark.parametrize("step", [3, 4, 5])
def test_a_checkpoint_can_be_named(unfinished, step):
    run, states = unfinished
    loaded = load_model(run, checkpoint=step, say=pytest.fail)
    assert same_state(loaded.gan, states[step]) and loaded.step == step


def test_a_checkpoint_that_is_not_there_is_refused_with_those_that_are(unfinished):
    with pytest.raises(ValueError, match="no checkpoint of step 2: there are those of steps 3, 4, 5"):
        load_model(unfinished[0], checkpoint=2)


def test_a_damaged_checkpoint_is_passed_over_and_named(unfinished):
    run, states = unfinished
    newest = saved_checkpoints(run)[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    said = []
    loaded = load_model(run, say=said.append)
    assert loaded.step == 4 and same_state(loaded.gan, states[4])
    assert str(newest) in said[0] and "step 4 of 13" in said[1]


def test_without_a_checkpoint_that_can_be_read_the_run_is_named(unfinished):
    run, _ = unfinished
    for path in saved_checkpoints(run):
        path.write_bytes(b"gone")
    with pytest.raises(ValueError, match="none of its 3 checkpoints can be read"):
        load_model(run, say=lambda _: None)


def test_load_run_takes_the_newest_checkpoint_too_and_warns(unfinished):
    run, states = unfinished
    with pytest.warns(UserWarning, match="step 5 of 13"):
        gan, settings = load_run(run)
    assert same_state(gan, states[5]) and settings.training.steps == 13
    assert same_state(load_run(run, checkpoint=3)[0], states[3])


def test_a_finished_run_is_loaded_whole_without_a_word(tmp_path):
    session = session_in(tmp_path)
    session.run()
    loaded = load_model(tmp_path, say=pytest.fail)
    assert loaded.step == 13 and loaded.checkpoint is None and same_state(loaded.gan, state_of(session.gan))
    assert load_model(tmp_path, checkpoint=12, say=pytest.fail).step == 12


@pytest.mark.parametrize("name", ["model.pt", "checkpoints/step-00000001.pt"])
def test_a_damaged_run_is_not_taken_for_a_pretrained_model_of_its_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    damaged = tmp_path / "mnist-5k" / name
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="mnist-5k is not"):
        load_model("mnist-5k", say=lambda _: None)


def test_a_checkpoint_under_the_name_of_another_is_refused(unfinished):
    run, states = unfinished
    folder = run / "checkpoints"
    shutil.copy(folder / "step-00000003.pt", folder / "step-00000009.pt")
    with pytest.raises(ValueError, match=r"step-00000009.pt holds the checkpoint of step 3: it was renamed"):
        load_model(run, checkpoint=9)
    said = []
    assert same_state(load_model(run, say=said.append).gan, states[5]) and "step-00000009.pt" in said[0]


def test_a_pretrained_model_has_no_checkpoints():
    loaded = load_model("fashion-mnist-slim", say=pytest.fail)
    assert loaded.checkpoint is None and loaded.step == loaded.settings.training.steps
    with pytest.raises(ValueError, match="fashion-mnist-slim"):
        load_model("fashion-mnist-slim", checkpoint=5)

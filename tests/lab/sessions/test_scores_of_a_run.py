"""Scores while a run trains: what is written, what is kept, and that the run is the same as without them."""

import json
import math

import pytest
import torch
from gan_builders import random_images, same_state, state_of, tiny_settings

from memgan.data import ImageData
from memgan.lab.sessions import Session, SessionOptions, resume
from memgan.runs import saved_checkpoints, step_of

VALUES = {2: 3.0, 4: 5.0, 6: 5.0, 8: 1.0, 10: math.nan, 12: 2.0, 13: 4.0}  # by step
SETTINGS = tiny_settings(training={"steps": 13})


def data_of():
    return ImageData(random_images(23), torch.zeros(23, dtype=torch.long))


def measured(folder, **options):
    """A session that is scored every two steps, by the values above in turn."""
    values = iter(VALUES.values())
    options = SessionOptions(evaluate_every=2, checkpoint_every=1, keep=2, **options)
    return Session(folder, SETTINGS, data_of(), options=options, score=lambda gan: {"inception_score": next(values)})


def lines(folder):
    return [json.loads(line) for line in (folder / "scores.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("lower_is_better", "best"), [(False, 4), (True, 8)])
def test_the_best_checkpoint_is_kept_beside_the_last_ones(tmp_path, lower_is_better, best):
    session = measured(tmp_path, lower_is_better=lower_is_better)
    session.run()
    assert session.best_step == best and session.best_score == VALUES[best]
    assert [step_of(path) for path in saved_checkpoints(tmp_path)] == [best, 12, 13]


def test_scores_are_one_object_a_line(tmp_path):
    measured(tmp_path).run()
    assert [line["step"] for line in lines(tmp_path)] == list(VALUES)
    assert [line["inception_score"] for line in lines(tmp_path)] == [3.0, 5.0, 5.0, 1.0, None, 2.0, 4.0]


@pytest.mark.thorough
def test_a_run_that_is_scored_is_the_run_that_is_not(tmp_path):
    scored = measured(tmp_path / "scored")
    scored.run()
    plain = Session(tmp_path / "plain", SETTINGS, data_of())
    plain.run()
    assert same_state(scored.gan, state_of(plain.gan))


def test_a_run_that_goes_on_measures_again_what_came_after_its_checkpoint(tmp_path):
    measured(tmp_path).run()
    saved_checkpoints(tmp_path)[-1].unlink()  # that of step 13
    options = SessionOptions(evaluate_every=2, keep=2)
    again = resume(tmp_path, SETTINGS, data_of(), options=options, score=lambda gan: {"inception_score": 9.0})
    again.run()
    assert [line["step"] for line in lines(tmp_path)] == list(VALUES)
    assert again.best_step == 13 and lines(tmp_path)[-1]["inception_score"] == 9.0


def test_a_score_that_is_not_measured_cannot_decide(tmp_path):
    with pytest.raises(ValueError, match="'recall'.*inception_score"):
        measured(tmp_path, best="recall").run()


def test_the_best_by_another_score_is_among_the_steps_that_are_kept(tmp_path):
    """The first session keeps its best, step 4, beside 12 and 13, so that step 8, the lowest, is gone."""
    measured(tmp_path).run()
    settings = tiny_settings(training={"steps": 15})
    options = SessionOptions(evaluate_every=2, checkpoint_every=1, keep=2, lower_is_better=True)
    again = resume(tmp_path, settings, data_of(), options=options, score=lambda gan: {"inception_score": 9.0})
    again.run()
    assert again.best_step == 12 and again.best_score == VALUES[12]
    assert 12 in [step_of(path) for path in saved_checkpoints(tmp_path)]

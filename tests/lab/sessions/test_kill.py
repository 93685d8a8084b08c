"""kill -9 at random moments: what is left loads, little is lost, and the run that goes on is the run not broken off."""

import json
import multiprocessing
import os
import random
import signal
import time

import pytest
import torch
from gan_builders import random_images, tiny_settings

import memgan.training
from memgan.data import ImageData
from memgan.lab.sessions import checkpoints
from memgan.lab.sessions.session import SessionOptions, resume
from memgan.runs import saved_checkpoints

EVERY = 5  # steps between checkpoints: a good part of the time goes into writing them

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, so that each starts at once")


def go_on(folder, steps, done):
    """A session, in a process of its own; `done` counts the steps that it has made."""
    real = memgan.training.training_step

    def counted(*arguments):
        numbers = real(*arguments)
        done.value += 1
        return numbers

    memgan.training.training_step = counted
    images = random_images(23)
    data = ImageData(((images + 1) * 127.5).byte(), torch.zeros(23, dtype=torch.long))
    settings = tiny_settings(training={"steps": steps, "shift": 1})
    session = resume(folder, settings, data, options=SessionOptions(checkpoint_every=EVERY, keep=2))
    done.value = session.trainer.number
    session.run()


def unfinished(folder):
    return list((folder / "checkpoints").glob("step-*.pt.*"))


def survives(tmp_path, *, kills, steps):
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(
        ["memgan.lab.sessions.session", "torch._dynamo", "pytest"]  # what takes seconds to load
    )
    done, chance, folder = processes.Value("q", 0, lock=False), random.Random(0), tmp_path / "killed"

    def started(where):
        process = processes.Process(target=go_on, args=(where, steps, done))
        process.start()
        return process

    started(tmp_path / "whole").join()
    in_the_middle_of_writing = 0
    for kill in range(kills):
        earlier = saved_checkpoints(folder)
        process = started(folder)
        began = time.monotonic()
        while saved_checkpoints(folder) == earlier and time.monotonic() < began + 60:
            time.sleep(0.005)  # until it is under way
        if kill % 2:
            time.sleep(chance.uniform(0, 0.1))
        while not kill % 2 and not unfinished(folder) and time.monotonic() < began + 60:
            pass  # every other time at the worst moment: when the next checkpoint is being written
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it was done before it was killed: it needs more steps"
        for path in saved_checkpoints(folder):
            checkpoints.load(path)
        kept = checkpoints.newest(folder, pytest.fail)
        assert done.value - EVERY <= kept.number <= done.value
        in_the_middle_of_writing += len(unfinished(folder))
    last = started(folder)
    last.join()
    assert last.exitcode == 0
    for name in ("model.pt", "old_fakes.pt", "settings.json"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    histories = [json.loads((run / "history.json").read_text()) for run in (folder, tmp_path / "whole")]
    assert {**histories[0], "seconds": 0} == {**histories[1], "seconds": 0}
    assert len(list((folder / "checkpoints").iterdir())) == 2  # and nothing unfinished
    return in_the_middle_of_writing


@pytest.mark.slow
def test_five_kills_leave_the_run_as_if_nothing_had_happened(tmp_path):
    survives(tmp_path, kills=5, steps=150)


@pytest.mark.slow
def test_fifty_kills_leave_the_run_as_if_nothing_had_happened(tmp_path):
    in_the_middle_of_writing = survives(tmp_path, kills=50, steps=1500)
    assert in_the_middle_of_writing > 0  # some came at the worst moment
    print(f"50 kills, {in_the_middle_of_writing} in the middle of writing a checkpoint")

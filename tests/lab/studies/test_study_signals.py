"""A study whose runs are in several processes ends as a whole, and keeps what was done."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import psutil
import pytest

from memgan.runs import read_checkpoint, saved_checkpoints

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals"),
    pytest.mark.thorough,  # three processes start
]


@pytest.fixture
def study(tmp_path):
    """A study of five long runs, two at a time, in a group of processes of its own, when both have begun."""
    runs = tmp_path / "runs"
    words = ["--preset", "digits", "--steps", "100000", "--seeds", "0", "--jobs", "2", "--runs", str(runs)]
    words += ["--set", "networks.width=4", "--set", "training.batch_size=8"]
    command = [sys.executable, "-m", "memgan", "study", "kappa", *words, "--out", str(tmp_path / "kappa.json")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    late = threading.Timer(300, os.killpg, (process.pid, signal.SIGKILL))
    late.start()
    try:
        for _ in range(2):
            assert any("training a memorygan" in line for line in process.stderr)
        wait_for(lambda: len(list(runs.glob("*/seed-0/checkpoints/*.pt"))) == 2)
        time.sleep(1)  # some steps
        yield SimpleNamespace(process=process, runs=runs, workers=psutil.Process(process.pid).children(recursive=True))
    finally:
        late.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def trainings(study):
    """The processes that train; there is also one that looks after multiprocessing's resources."""
    return [worker for worker in study.workers if "spawn_main" in " ".join(worker.cmdline())]


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("SIGTERM", False),  # as `kill` sends it
        pytest.param("SIGINT", True, marks=pytest.mark.slow),  # as a terminal sends it
        pytest.param("SIGTERM", True, marks=pytest.mark.slow),  # as a scheduler sends it
    ],
)
def test_a_signal_ends_the_study_and_its_runs_which_keep_what_they_have(study, name, group):
    number = getattr(signal, name)
    if group:
        os.killpg(study.process.pid, number)
    else:
        study.process.send_signal(number)
    _, said = study.process.communicate(timeout=60)
    assert study.process.returncode == 128 + number
    assert "the same command goes on" in said
    assert psutil.wait_procs(study.workers, timeout=10)[1] == []
    begun = list(study.runs.glob("*/seed-0"))
    assert len(begun) == 2  # and none of the three that were waiting
    for run in begun:
        assert read_checkpoint(saved_checkpoints(run)[-1])["trainer"]["number"] > 0


@pytest.mark.slow
def test_a_second_signal_ends_them_at_once(study):
    for worker in trainings(study):
        worker.suspend()  # so that it cannot end by itself
    study.process.send_signal(signal.SIGINT)
    time.sleep(1)
    study.process.send_signal(signal.SIGINT)
    study.process.communicate(timeout=30)
    assert study.process.returncode == 130
    assert psutil.wait_procs(study.workers, timeout=10)[1] == []


@pytest.mark.slow
def test_a_run_whose_process_is_killed_ends_the_others_and_is_named(study):
    trainings(study)[0].kill()
    _, said = study.process.communicate(timeout=60)
    assert study.process.returncode == 1
    assert "seed-0: its process ended with exit code -9" in said
    assert psutil.wait_procs(study.workers, timeout=10)[1] == []

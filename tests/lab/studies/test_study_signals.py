"""A study whose runs are in several processes ends as a whole, and keeps what was done."""

import signal
import subprocess
import sys

import psutil
import pytest

from memgan.runs import saved_checkpoints


def read_until(lines, *words):
    """Read lines until each of the words has stood in one, in this order."""
    for word in words:
        assert any(word in line for line in lines), word


@pytest.mark.parametrize("name", [pytest.param("SIGINT", marks=pytest.mark.slow), "SIGTERM"])
def test_a_signal_to_the_study_alone_ends_its_runs_and_they_keep_a_checkpoint(tmp_path, name):
    """As `kill` sends it; a terminal sends it to the runs, too, which leave it to the study."""
    runs = tmp_path / "runs"
    words = ["--preset", "digits", "--steps", "100000", "--seeds", "0", "--jobs", "2", "--runs", str(runs)]
    words += ["--set", "networks.width=4", "--set", "training.batch_size=8"]
    command = [sys.executable, "-m", "memgan", "study", "kappa", *words, "--out", str(tmp_path / "kappa.json")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)

    read_until(process.stderr, "training a memorygan", "training a memorygan", "step")
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(getattr(signal, name))
    _, said = process.communicate(timeout=60)

    assert process.returncode == 128 + getattr(signal, name)
    assert "the same command goes on" in said
    assert psutil.wait_procs(workers, timeout=10)[1] == []
    begun = list(runs.glob("*/seed-0"))
    assert len(begun) == 2  # and none of the three that were waiting
    assert all(saved_checkpoints(run) for run in begun)

"""Two trainings in one folder: the second is refused and told who is there, and nothing stale stands in the way."""

import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gan_builders import random_images, tiny_settings

from memgan.data import ImageData
from memgan.lab.sessions import Session
from memgan.lab.sessions.lock import LOCK, held

fcntl = pytest.importorskip("fcntl")
HOLDER = {"pid": os.getpid(), "host": socket.gethostname(), "since": "2026-01-01 00:00:00"}


def process_that_is_gone():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def session_in(folder):
    data = ImageData(random_images(23), torch.zeros(23, dtype=torch.long))
    return Session(folder, tiny_settings(training={"steps": 3}), data)


def test_the_second_training_is_refused_with_process_computer_and_time(tmp_path):
    with held(tmp_path):
        holder = json.loads((tmp_path / LOCK).read_text(encoding="utf-8"))
        assert (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())
        with pytest.raises(ValueError) as error:
            session_in(tmp_path).run(overwrite=True)
    assert all(str(part) in str(error.value) for part in [tmp_path, *holder.values()])
    assert os.listdir(tmp_path) == []  # nothing was written, and the lock is gone


def test_a_run_leaves_no_lock_behind(tmp_path):
    session_in(tmp_path).run()
    assert not (tmp_path / LOCK).exists()
    with held(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps(HOLDER)], ids=["empty", "cut off", "foreign", "whole"])
def test_a_lock_that_nobody_holds_does_not_block(tmp_path, content):
    (tmp_path / LOCK).write_text(content, encoding="utf-8")
    session_in(tmp_path).run()


@pytest.mark.thorough
def test_the_lock_of_a_killed_process_does_not_block(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from memgan.lab.sessions.lock import held\n"
        f"with held(Path({str(tmp_path)!r})): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert (tmp_path / LOCK).exists()
    with held(tmp_path):
        pass


def test_a_lock_that_is_removed_while_it_is_waited_for_is_made_anew(tmp_path, monkeypatch):
    real = fcntl.flock
    calls = []

    def removed_first(descriptor, operation):
        calls.append(operation)
        if len(calls) == 1:
            (tmp_path / LOCK).unlink()
        return real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    with held(tmp_path):
        assert len(calls) == 2 and (tmp_path / LOCK).exists()


def test_a_lock_that_is_removed_while_it_is_looked_at_is_made_anew(tmp_path, monkeypatch):
    looks, real = [], Path.stat

    def gone_at_first(path, **how):
        if path.name == LOCK:
            looks.append(path)
            if len(looks) == 1:
                path.unlink()
        return real(path, **how)

    monkeypatch.setattr(Path, "stat", gone_at_first)
    with held(tmp_path):
        assert len(looks) == 2 and (tmp_path / LOCK).exists()


@pytest.fixture
def without_locks(monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)


def test_without_locks_a_living_process_is_respected(tmp_path, without_locks):
    with held(tmp_path), pytest.raises(ValueError, match=str(os.getpid())), held(tmp_path):
        pass
    with held(tmp_path):
        pass


@pytest.mark.parametrize("change", [{"pid": "gone"}, {"host": "another"}, {"pid": 10**30}], ids=repr)
def test_without_locks_a_process_that_is_gone_or_elsewhere_does_not_block(tmp_path, without_locks, change):
    if change.get("pid") == "gone":
        change = {"pid": process_that_is_gone()}
    (tmp_path / LOCK).write_text(json.dumps({**HOLDER, **change}), encoding="utf-8")
    session_in(tmp_path).run()

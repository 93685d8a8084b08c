"""What is printed never decides whether work is kept: streams that are missing, full, without a reader or narrow."""

import contextlib
import io
import os
import subprocess
import sys

import pytest
from command_line import TINY

from memgan.lab.commands.cli import main
from memgan.lab.commands.terminal import lasting_streams

has_full_device = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")


@pytest.fixture
def stream(request):
    """The stream of a kind that is named."""
    if request.param == "missing":
        yield None
        return
    if request.param == "ASCII":
        yield narrow_stream("ascii")
        return
    path = "/dev/full" if request.param == "full" else os.devnull
    if request.param == "without a reader":
        reader, path = os.pipe()
        os.close(reader)
    with open(path, "w", encoding="utf-8", buffering=1) as file:
        if request.param == "closed":
            file.close()
        yield file


def narrow_stream(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", write_through=True)


FULL = pytest.param("full", marks=has_full_device)


@pytest.mark.parametrize("stream", ["missing", "closed", FULL, "without a reader", "ASCII"], indirect=True)
def test_training_does_not_depend_on_stderr(tmp_path, monkeypatch, capsys, stream):
    folder = tmp_path / "l\u00e4ufe"
    monkeypatch.setattr(sys, "stderr", stream)
    assert main(["train", "--out", str(folder), *TINY]) == 0
    assert (folder / "model.pt").exists() and "3 steps" in capsys.readouterr().out


@pytest.mark.parametrize("stream", ["missing", "closed", "without a reader"], indirect=True)
def test_a_command_whose_readers_are_gone_ends_well(tmp_path, monkeypatch, stream):
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["train", "--out", str(tmp_path / "run"), *TINY]) == 0
    assert (tmp_path / "run" / "model.pt").exists()


@has_full_device
def test_a_result_that_cannot_be_printed_is_an_error_but_the_run_is_kept(tmp_path, monkeypatch, capsys):
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["train", "--out", str(tmp_path / "run"), *TINY]) == 1
    assert "No space left" in capsys.readouterr().err and (tmp_path / "run" / "model.pt").exists()


@pytest.mark.parametrize(("encoding", "shown"), [("cp1252", b"\xe4?"), ("ascii", b"??"), ("utf-8", "ä→".encode())])
def test_what_a_terminal_cannot_show_is_replaced(tmp_path, monkeypatch, encoding, shown):
    stream = narrow_stream(encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["train", "--out", str(tmp_path / "ä→"), *TINY]) == 0
    assert shown in stream.buffer.getvalue() and (tmp_path / "ä→" / "model.pt").exists()


def test_an_error_about_a_name_that_cannot_be_shown_is_one_line(tmp_path, monkeypatch):
    stream = narrow_stream("ascii")
    monkeypatch.setattr(sys, "stderr", stream)
    assert main(["sample", str(tmp_path / "→"), "--out", "a.png"]) == 1
    assert b"? is not a run" in stream.buffer.getvalue()


def test_streams_are_put_back():
    before = sys.stdout, sys.stderr
    with contextlib.suppress(ZeroDivisionError), lasting_streams():
        print("shown", file=sys.stdout)
        raise ZeroDivisionError
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.thorough
@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize("redirected", [pytest.param(">&- 2>&-", marks=pytest.mark.slow), "2>&1 | head -1"])
def test_a_process_with_such_streams_ends_well_and_leaves_its_run(tmp_path, redirected):
    words = " ".join([sys.executable, "-m", "memgan", "train", "--out", str(tmp_path / "run"), *TINY])
    done = subprocess.run(["bash", "-o", "pipefail", "-c", f"{words} {redirected}"], capture_output=True, text=True)
    assert done.returncode == 0 and "Broken pipe" not in done.stderr + done.stdout
    assert (tmp_path / "run" / "model.pt").exists()

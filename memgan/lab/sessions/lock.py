"""One training at a time in a run's folder, one study at a time in a file: whoever comes second is told who is there.

The lock is the operating system's own, so that it goes with the process that holds it, however that process ends. Where
a file system has no locks, the process that is named in the file decides.
"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

__all__ = ["LOCK", "held"]

LOCK = ".training.lock"  # in the folder of a run, while it is trained


@contextmanager
def held(folder: Path, lock: str = LOCK, taken: str = "") -> Iterator[None]:
    """Hold the file `lock` in `folder`, which is made where it is missing.

    Raises ValueError where another process holds it: `taken`, by default that the run in the folder is being trained,
    with process, computer and time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / lock
    file = _locked_file(path, taken or f"{folder} is being trained")
    try:
        now = datetime.now().isoformat(sep=" ", timespec="seconds")
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": now}
        path.write_text(json.dumps(holder), encoding="utf-8")
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _locked_file(path: Path, taken: str) -> int:
    """The descriptor of the lock's file, which is locked where the file system can."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(file, path, taken)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), path.stat()):
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its last holder has just removed it


def _lock(file: int, path: Path, taken: str) -> None:
    if not _is_free(file, path):
        holder = _holder(path)
        who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}, since {holder.get('since', '?')}"
        raise ValueError(f"{taken} by {who}: wait for it, or choose another --out")


def _is_free(file: int, path: Path) -> bool:
    """Whether nobody else trains here. Afterwards the file is locked, where the system and the file system can."""
    try:
        import fcntl  # Windows has none

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # OSError: this file system has no locks
        return not _names_a_living_process(path)
    return True


def _holder(path: Path) -> dict[str, Any]:
    """What the holder of the lock wrote of itself; nothing where it has not done so yet."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _names_a_living_process(path: Path) -> bool:
    """Whether the file names a process of this computer that is running. Of another computer nobody can know."""
    holder = _holder(path)
    pid = holder.get("pid")
    if os.name != "posix" or holder.get("host") != socket.gethostname() or not isinstance(pid, int) or pid < 1:
        return False
    try:
        os.kill(pid, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True

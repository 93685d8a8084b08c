"""Files of the package's own: where what can be made anew is kept, and how a file is written whole or not at all."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["cache_folder", "written_whole"]

# What file systems answer that cannot flush a folder; a disk that fails or is full answers otherwise
NO_FSYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM)


def cache_folder(without_home: Path | None = None) -> Path:
    """$MEMGAN_CACHE, in which ~ is the home folder; else ~/.cache/memgan.

    Where the variable is not set and there is no home folder, it is the folder `without_home`. Raises ValueError where
    that is not given either, and for a variable with a ~ that stands for no folder.
    """
    named = os.environ.get("MEMGAN_CACHE")
    try:
        if named:
            return Path(named).expanduser()
        return Path.home() / ".cache" / "memgan"
    except RuntimeError as error:
        if named:
            raise ValueError(f"there is no home folder for MEMGAN_CACHE={named}") from error
        if without_home is None:
            raise ValueError("there is no home folder") from error
        return without_home


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when all went well, and is on the disk by then.

    It is another path for each call, because processes on several machines may write the same file. Where `path` is a
    link, the file that it leads to is written.
    """
    path = Path(os.path.realpath(path))
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        yield unfinished
        _flush(unfinished)
        os.replace(unfinished, path)
        _flush_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Have the disk hold what was written into a file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    """Have the disk hold what was renamed in a folder, where it can be asked to: network file systems may refuse."""
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # one may write into it, and not read it
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FSYNC:
            raise
    finally:
        os.close(descriptor)

"""What a command prints never decides whether its work is kept.

stdout and stderr can be missing (in a service, under pythonw, after `2>&-`), full (a log on a full disk), without a
reader (`| head`), or unable to show a character (cp1252, ASCII). `lasting_streams` makes all of it harmless, but for
results that stdout cannot take: those are an OSError, because somebody waits for them.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

__all__ = ["lasting_streams"]

Forgives = Callable[[OSError], bool]


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Within this block, stdout and stderr take any text; at its end stdout is flushed.

    Raises OSError where stdout cannot take what was printed, unless its reader has gone.
    """
    _fill_standard_descriptors()
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        sys.stdout = _lasting(sys.stdout or nowhere, nowhere, forgives=_reader_has_gone)
        sys.stderr = _lasting(sys.stderr or nowhere, nowhere, forgives=lambda error: True)
        try:
            yield
            sys.stdout.flush()
        finally:
            sys.stderr.flush()
            sys.stdout, sys.stderr = before


def _reader_has_gone(error: OSError) -> bool:
    return isinstance(error, BrokenPipeError)


def _fill_standard_descriptors() -> None:
    """Have closed descriptors 0, 1 and 2 lead nowhere; the next file that is opened would get one of them otherwise."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _lasting(stream: TextIO, nowhere: TextIO, forgives: Forgives) -> TextIO:
    return cast(TextIO, _Stream(nowhere if stream.closed else stream, forgives))


class _Stream:
    """A stream that replaces what it cannot show, and that goes nowhere after an error that is forgiven."""

    def __init__(self, stream: TextIO, forgives: Forgives) -> None:
        self._stream = stream
        self._forgives = forgives

    def write(self, text: str) -> int:
        """Write `text`, with question marks where the stream cannot show a character in any way of its own."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            self.write(text.encode(encoding, "replace").decode(encoding))
        except OSError as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Lead the stream nowhere, so that what its buffer holds can be flushed; raises `error` if it counts."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if not self._forgives(error):
            raise error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

"""What a command says on stderr while it works: how far it is, and, after its results, what was not kept."""

import time

from memgan.lab.sessions.progress import to_stderr

__all__ = ["Progress", "warn_once"]

SECONDS = 10  # between two lines


class Progress:
    """Says how far a command is: at once, and then at most every ten seconds."""

    def __init__(self) -> None:
        self._last = -float("inf")

    def __call__(self, text: str) -> None:
        """Print `text`, unless another line was printed a moment ago."""
        now = time.monotonic()
        if now - self._last < SECONDS:
            return
        self._last = now
        to_stderr(text)


def warn_once(command: str, not_kept: list[str]) -> None:
    """One line on stderr that names all that was `not_kept`, if anything."""
    if not_kept:
        to_stderr(f"memgan {command}: warning: {'; '.join(not_kept)}")

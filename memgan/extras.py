"""Libraries that only a part of memgan needs, and what to say where one of them is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["required"]


@contextmanager
def required(extra: str, purpose: str) -> Iterator[None]:
    """Import, within this block, what the extra `extra` brings: `with required("lab", "the digits"): import sklearn`.

    Raises ModuleNotFoundError with the `pip install` that brings a missing library, and `purpose`, which needs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library in ("", "memgan"):  # already explained by an inner block, or a fault of our own
            raise
        raise ModuleNotFoundError(
            f"{purpose} needs {library}: pip install 'memgan[{extra}]' (in a clone: pip install '.[{extra}]')"
        ) from error

"""What to install when a part of the package needs a library that the core does not bring."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["required"]


@contextmanager
def required(extra: str, purpose: str) -> Iterator[None]:
    """Around imports: a library that is missing is reported with the `pip` command that brings it.

    Args:
        extra: the optional dependencies of this package that hold the library, such as "lab".
        purpose: what needs the library; the subject of the message.

    Raises:
        ModuleNotFoundError: where an import inside fails because a library of somebody else is not installed. A
            missing module of this package is a fault of this package and passes through as it is, and so does a
            report of a `required` further inside.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        already_explained = isinstance(error.__cause__, ModuleNotFoundError)
        if library in ("", "memgan") or already_explained:
            raise
        message = f"{purpose} needs {library}: pip install 'memgan[{extra}]'"
        raise ModuleNotFoundError(message, name=error.name) from error

"""How a lesson shows a figure, shows code, and answers an exercise."""

import base64
import inspect
import io
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure

__all__ = ["Mistake", "Wrong", "answered", "attempt", "png", "refuse_mistakes", "show", "source"]

PIXELS_PER_INCH = 96  # on the page
SHARP = 1.5 * PIXELS_PER_INCH  # what figures are drawn at


def png(figure: Figure, dpi: float = SHARP) -> bytes:
    """`figure` as a PNG file of `dpi` pixels an inch, by default 1.5 for each pixel of the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def show(figure: Figure, caption: str, alt: str) -> None:
    """Show `figure` with a `caption` that says what to see and `alt`, its content for readers who cannot see it."""
    if not caption.strip() or not alt.strip():
        raise ValueError(f"expected a caption and an alternative text, got {caption!r} and {alt!r}")
    width = round(figure.get_size_inches()[0] * PIXELS_PER_INCH)
    picture = {"image/png": base64.b64encode(png(figure)).decode(), "text/plain": f"<Figure: {alt}>"}
    display(picture, raw=True, metadata={"image/png": {"alt": alt, "width": width}})
    display(Markdown(f"*{caption}*"))


def source(thing: Callable[..., Any] | type, *, docstring: bool = False) -> Markdown:
    """The code of a function, method or class as it stands in the package; by default without its docstring."""
    code = textwrap.dedent(inspect.getsource(thing)).rstrip()
    if not docstring and thing.__doc__:
        opening = code.index('"""')
        closing = code.index('"""', opening + 3) + 3
        code = code[:opening].rstrip() + code[closing:]
    return Markdown(f"`{thing.__module__}.{thing.__qualname__}`\n\n```python\n{code}\n```")


class Wrong(Exception):  # noqa: N818  it reads as what it says: raise Wrong("...")
    """What is wrong with an answer to an exercise, for the reader."""


class Mistake(NamedTuple):
    """What a common mistake makes of an exercise."""

    result: Any  # a number or a tensor, as the answer is
    reason: str  # why it is wrong, for the reader


def refuse_mistakes(
    given: Any, mistakes: Sequence[Mistake], opening: str = "", *, rtol: float = 1e-5, atol: float = 1e-8
) -> None:
    """Raise `Wrong`, with `opening` and the reason, where `given` is what one of the `mistakes` makes of an exercise."""
    numbers = torch.as_tensor(given).detach().double()
    for mistake in mistakes:
        result = torch.as_tensor(mistake.result).detach().double()
        if numbers.shape == result.shape and torch.allclose(numbers, result, rtol=rtol, atol=atol):
            raise Wrong(opening + mistake.reason)


def attempt(check: Callable[..., str]) -> Callable[..., None]:
    """Decorates the check of an exercise: it returns praise or raises `Wrong`; the reader sees a printed line.

    An answer of `...`, or a function that returns `...`, has not been written yet; one that raises is reported as such.
    """

    def checked(answer: Any) -> None:
        if answer is ...:
            print("Not answered yet: put your answer in the place of the three dots.")
            return
        try:
            print("Right.", check(answer))
        except Wrong as wrong:
            print("Not yet.", wrong)
        except NotAnswered:
            print("Not answered yet: put your answer in the place of the three dots.")
        except Exception as error:
            print(f"Not yet. Your code stops with {type(error).__name__}: {error}")

    checked.__name__ = check.__name__
    checked.__doc__ = check.__doc__
    return checked


class NotAnswered(Exception):  # noqa: N818
    """The exercise still holds its three dots."""


def answered(value: Any) -> Any:
    """`value`, unless it is the three dots of an exercise that nobody has begun."""
    if value is ...:
        raise NotAnswered
    return value

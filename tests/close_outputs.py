"""How `pytest --nbval` compares a cell tagged `nbval-close`: its text exactly, and each number within a tolerance.

Results of a training differ between machines in their last digits. Such a cell still prints its numbers, and is
compared loosely instead of not at all:

    # %% tags=["nbval-close"] tolerance={"relative": 0.1, "absolute": 0.02}

The metadata of the cell may name either tolerance, that of the notebook (`tolerance`, beside its kernelspec) is what a
cell takes where it names none, and `TOLERANCE` is what a notebook takes.
"""

import copy
import math
import re
from collections import defaultdict
from typing import Any, NamedTuple


class Tolerance(NamedTuple):
    """Numbers are close if they differ by at most `absolute`, or by at most `relative` of the larger one."""

    relative: float
    absolute: float


TOLERANCE = Tolerance(relative=0.02, absolute=1e-9)

# With the spaces before it, because a column is padded by as many as its number leaves. A digit inside a word, as in
# "mnist-5k", belongs to the word.
NUMBER = re.compile(r" *(?<![\w.])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?!\w)")


def tolerance_of(cell: Any, notebook: Any) -> Tolerance:
    """The tolerance of `cell`, which names it itself or takes its notebook's. ValueError for what is no tolerance."""
    named = {**notebook.metadata.get("tolerance", {}), **cell.metadata.get("tolerance", {})}
    unknown = set(named) - set(Tolerance._fields)
    if unknown or not 0 <= named.get("relative", 0) < 1 or not 0 <= named.get("absolute", 0) < float("inf"):
        raise ValueError(
            f"expected a tolerance with {Tolerance._fields}, the relative one in [0, 1), the absolute one finite "
            f"and not negative, got {named}"
        )
    return TOLERANCE._replace(**named)


def settled(found: list[Any], stored: list[Any], tolerance: Tolerance) -> list[Any]:
    """The outputs `found` with each number that is close to its counterpart replaced by the one that was `stored`.

    An exact comparison of the result with `stored` fails where a word differs, or a number by more than `tolerance`.
    """
    found = _with_whole_streams(found)
    counterparts = _texts_by_kind(_with_whole_streams(stored))
    for kind, places in _texts_by_kind(found).items():
        for (holder, key), (other, other_key) in zip(places, counterparts.get(kind, []), strict=False):
            holder[key] = settled_text(holder[key], other[other_key], tolerance)
    return found


def settled_text(found: str, stored: str, tolerance: Tolerance) -> str:
    """`found` with its close numbers as in `stored`, or as it is if the text between the numbers differs."""
    if NUMBER.split(found) != NUMBER.split(stored):
        return found
    numbers = iter(NUMBER.findall(stored))

    def closest(match: re.Match[str]) -> str:
        number = next(numbers)
        same = math.isclose(float(match[0]), float(number), rel_tol=tolerance.relative, abs_tol=tolerance.absolute)
        return number if same else match[0]

    return NUMBER.sub(closest, found)


def _with_whole_streams(outputs: list[Any]) -> list[Any]:
    """A copy of `outputs` in which what was printed is one output, and not as many as messages that the kernel sent."""
    whole: list[Any] = []
    streams: dict[str, Any] = {}
    for output in copy.deepcopy(outputs):
        name = output.get("name", "")
        if name in streams:
            streams[name]["text"] += output["text"]
            continue
        if output["output_type"] == "stream":
            streams[name] = output
        whole.append(output)
    return whole


def _texts_by_kind(outputs: list[Any]) -> dict[str, list[tuple[Any, str]]]:
    """Where the texts of `outputs` are, by kind (a stream, "text/plain", ...), in order, as nbval pairs them."""
    places = defaultdict(list)
    for output in outputs:
        if isinstance(output.get("text"), str):
            places[output.get("name", "text")].append((output, "text"))
        for kind, value in output.get("data", {}).items():
            if isinstance(value, str):
                places[kind].append((output["data"], kind))
    return places

"""The scores of a run while it trains, RUN/scores.jsonl, and which step has the best so far."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from memgan.files import written_whole
from memgan.lab.sessions.progress import lines_up_to

__all__ = ["SCORES", "ScoreLog"]

SCORES = "scores.jsonl"  # in the folder of a run


class BestOf(Protocol):
    """Which score is compared, as `SessionOptions` says it."""

    @property
    def best(self) -> str:
        """Its name."""

    @property
    def lower_is_better(self) -> bool:
        """Whether the best is the lowest."""


class ScoreLog:
    """One JSON object a line: a step and the scores of the model then."""

    def __init__(self, path: Path, done: int, options: BestOf, kept: Iterable[int] = ()) -> None:
        """Go on after `done` steps: what an earlier session measured beyond them is taken back with the next score.

        `kept` are the steps whose checkpoints are there still. An earlier session, which may have had another score to
        decide by, has deleted those of the others, so that none of them can be the best one now.
        """
        self._path = path
        self._options = options
        self._lines = lines_up_to(path, done)
        self._kept = set(kept)

    def add(self, number: int, scores: dict[str, float]) -> None:
        """Write down the scores of step `number`. Raises ValueError where the score that decides is not among them."""
        if self._options.best not in scores:
            raise ValueError(f"no score {self._options.best!r} is measured, expected one of {', '.join(scores)}")
        self._kept.add(number)
        finite = {name: value if math.isfinite(value) else None for name, value in scores.items()}
        self._lines = [line for line in self._lines if json.loads(line)["step"] < number]
        self._lines.append(json.dumps({"step": number, **finite}) + "\n")
        with written_whole(self._path) as unfinished:
            unfinished.write_text("".join(self._lines), encoding="utf-8")

    @property
    def best_step(self) -> int | None:
        """The step with the best score of those that are kept, the first of several; None where there is none."""
        best_step = None
        best_value = -math.inf
        for line in self._lines:
            measured = json.loads(line)
            value = measured.get(self._options.best)
            if value is None or measured["step"] not in self._kept:
                continue
            if self._options.lower_is_better:
                value = -value
            if value > best_value:
                best_value = value
                best_step = measured["step"]
        return best_step

    def value_at(self, step: int) -> float:
        """The score that decides, at a step that was measured."""
        for line in self._lines:
            measured = json.loads(line)
            if measured["step"] == step:
                return measured[self._options.best]
        raise KeyError(step)

"""The scores of a run while it trains, RUN/scores.jsonl, and which step has the best so far."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from memgan.files import written_whole
from memgan.lab.sessions.progress import lines_up_to

__all__ = ["SCORES", "ScoreLog"]

SCORES = "scores.jsonl"  # in the folder of a run


class ScoreLog:
    """One JSON object a line: a step and the scores of the model then."""

    def __init__(self, path: Path, done: int, *, best: str, lower_is_better: bool, kept: Iterable[int] = ()) -> None:
        """Go on after `done` steps: what an earlier session measured beyond them is taken back with the next score.

        `best` names the score that decides. `kept` are the steps whose checkpoints are there still. An earlier session,
        which may have had another score to decide by, has deleted those of the others, so that none of them can be the
        best one now.
        """
        self._path = path
        self._decides = best
        self._lower_is_better = lower_is_better
        self._measured: list[dict[str, Any]] = [json.loads(line) for line in lines_up_to(path, done)]
        self._kept = set(kept)

    def add(self, number: int, scores: dict[str, float]) -> None:
        """Write down the scores of step `number`. Raises ValueError where the score that decides is not among them."""
        if self._decides not in scores:
            raise ValueError(f"no score {self._decides!r} is measured, expected one of {', '.join(scores)}")
        self._kept.add(number)
        finite = {name: value if math.isfinite(value) else None for name, value in scores.items()}
        self._measured = [earlier for earlier in self._measured if earlier["step"] < number]
        self._measured.append({"step": number, **finite})
        with written_whole(self._path) as unfinished:
            unfinished.write_text("".join(json.dumps(row) + "\n" for row in self._measured), encoding="utf-8")

    @property
    def best(self) -> dict[str, Any] | None:
        """The step with the best score of those that are kept, the first of several, and its scores; None: none is."""
        kept = [row for row in self._measured if row["step"] in self._kept and row.get(self._decides) is not None]
        choose = min if self._lower_is_better else max
        return choose(kept, key=lambda row: row[self._decides], default=None)

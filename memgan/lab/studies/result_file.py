"""What has a study found so far? Its result file: read, checked against a plan, and written whole after each run."""

import json
import math
from pathlib import Path
from typing import Any

from memgan.data.registry import absolute_name, relative_name
from memgan.files import written_whole
from memgan.lab.studies.plan import Plan
from memgan.presets import Settings

__all__ = ["Row", "finite", "load_study", "result_to_continue", "with_digests", "write_result"]

Row = dict[str, Any]


def load_study(path: Path) -> Row:
    """What `run_study` wrote. Raises ValueError for anything else, OSError where there is nothing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not the result of a study: {error}") from error
    if not isinstance(content, dict) or "study" not in content or not _has_rows(content):
        raise ValueError(f"{path} is not the result of a study")
    if "settings" in content:  # those of an older file lack fields that have a default today
        stored = content["settings"]
        if isinstance(stored, dict) and isinstance(stored.get("dataset"), str):
            stored = stored | {"dataset": absolute_name(stored["dataset"], path.parent)}
        try:
            settings = Settings.from_json(json.dumps(stored))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        content["settings"] = json.loads(settings.to_json())
    return content


def _has_rows(content: Row) -> bool:
    """Whether there are lists of tuning runs and of runs, each with what tells it from the others."""
    expected: dict[str, dict[str, type]] = {
        "tuning": {"configuration": str, "candidate": str},
        "runs": {"configuration": str, "seed": int, "changes": list},
    }
    for kind, fields in expected.items():
        rows = content.get(kind)
        if not isinstance(rows, list):
            return False
        for row in rows:
            if not isinstance(row, dict):
                return False
            if not all(isinstance(row.get(name), type_) for name, type_ in fields.items()):
                return False
    return True


def result_to_continue(path: Path, plan: Plan) -> Row:
    """What stands in `path`, or a result without runs where there is no file.

    Raises ValueError where the file is of another study, other settings, or another grid.
    """
    head = json.loads(json.dumps(plan.head()))  # as it stands in a file
    if not path.exists():
        return head | {"tuning": [], "runs": []}
    content = load_study(path)
    for name, value in head.items():
        if name != "question" and content.get(name) != value:
            detail = _difference(content.get(name), value)
            raise ValueError(f"{path} holds a study with another {name}{detail}; choose another --out")
    for row in content["runs"]:
        if row["changes"] != _planned_changes(row, plan):
            raise ValueError(f"{path} holds runs of another grid: {row['configuration']!r}; choose another --out")
    return content | {"question": head["question"]}


def _difference(there: Any, here: Any, name: str = "") -> str:
    """In words, in what a value of the file differs from the plan's; of settings, the first field that does."""
    if isinstance(there, dict) and isinstance(here, dict):
        for field in here:
            if there.get(field) != here[field]:
                return _difference(there.get(field), here[field], f"{name}.{field}" if name else field)
    if not isinstance(here, str | int | float):
        return ""
    return f": {name + ' is ' if name else ''}{there!r} there, {here!r} here"


def with_digests(result: Row, plan: Plan, path: Path) -> Row:
    """The `result` that stands in `path`, with the digests of the images that its next runs will see.

    A file of an older version has none, and is given those of today's images. Raises ValueError where its runs have
    seen other images: the scores of the next ones could not be compared with theirs.
    """
    digests = plan.digests()
    if result.get("images", digests) != digests:
        raise ValueError(
            f"{path} holds runs on other images than those that {plan.settings.dataset} has now; choose another --out, "
            "and another folder for --runs"
        )
    rows = {kind: result[kind] for kind in ("tuning", "runs")}
    head = {name: value for name, value in result.items() if name not in rows}
    return head | {"images": digests} | rows


def _planned_changes(row: Row, plan: Plan) -> list[str] | None:
    """What the plan changes in the preset for a run with its candidate; None where it has no such."""
    if row["configuration"] not in plan.grid:
        return None
    changes = plan.grid[row["configuration"]]
    if "candidate" in row:
        changes = changes + plan.all_candidates(row["configuration"]).get(row["candidate"], [])
    return changes


def write_result(path: Path, result: Row, plan: Plan) -> None:
    """Write the result, in the grid's order, whole or not at all, as strict JSON.

    A folder of images below the current folder is named by its path from the file's folder, so that the file can be
    handed on.
    """
    configurations = list(plan.grid)
    candidates = {name: list(plan.all_candidates(name)) for name in configurations}
    result["runs"].sort(key=lambda row: (configurations.index(row["configuration"]), row["seed"]))
    result["tuning"].sort(
        key=lambda row: (
            configurations.index(row["configuration"]),
            candidates[row["configuration"]].index(row["candidate"]),
        )
    )
    settings = result["settings"]
    written = result | {"settings": settings | {"dataset": relative_name(settings["dataset"], path.parent)}}
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(written, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def finite(value: Any) -> Any:
    """The same with None for what is no finite number, which JSON does not know; numbers to six digits."""
    if isinstance(value, dict):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value

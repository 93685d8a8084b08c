"""What a study found, from its result file: a table and a figure, with every seed in sight."""

import math
import re
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from memgan.lab.studies.grids import STUDIES
from memgan.plots import GENERATED, REAL

__all__ = ["MEASURES", "figure", "markdown", "table"]

Row = dict[str, Any]

# measure -> its name, decimals, and whether its axis is logarithmic
MEASURES = {
    "inception_score": ("Inception Score (higher is better)", 2, False),
    "frechet_distance": ("Frechet distance (lower is better)", 1, True),
    "precision": ("precision", 2, False),
    "recall": ("recall", 2, False),
    "slot_purity": ("slot purity", 2, False),
    "slots_in_use": ("slots in use", 0, False),
    "classes_covered": ("classes", 0, False),
    "old_fakes_rejected": ("old fakes rejected (share)", 2, False),
}


def table(result: Row) -> str:
    """A line for each configuration: mean, lowest and highest of each measure over its seeds; real images last."""
    lines = _cells(result)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_line(cells, widths) for cells in lines)


def markdown(result: Row) -> str:
    """The same for a page: lowest and highest below the mean and never broken in two, weights behind."""
    lines = _cells(result)
    head, *rows = ([name, *scores, weights, note.replace(" ", "\u00a0")] for name, _, weights, *scores, note in lines)
    if not any(cells[-1] for cells in rows):
        head, *rows = (cells[:-1] for cells in (head, *rows))
    rule = ["---", *["---:"] * (len(head) - 1)]
    ranges = [[re.sub(r" \((.+) to (.+)\)$", "<br>\\1\u2013\u2060\\2", cell) for cell in cells] for cells in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *ranges))


def _cells(result: Row) -> list[list[str]]:
    """A head, then of each configuration its name, runs and weights, a cell for each measure, and what else to say."""
    runs = result["runs"]
    shown = {measure: how for measure, how in MEASURES.items() if _values(runs, measure)}
    lines = [["", "runs", "weights", *(label.partition(" (")[0] for label, _, _ in shown.values()), ""]]
    for name, rows in _by_configuration(runs).items():
        weights: Row = next((row["parameters"] for row in rows if "parameters" in row), {})
        total = f"{weights['inference'] + weights['generator']:,}" if weights else ""
        cells = [_spread(_values(rows, measure), decimals) for measure, (_, decimals, _) in shown.items()]
        lines.append([name, str(len(rows)), total, *cells, _failures(rows) or rows[0].get("candidate", "")])
    real = [_spread(_values(runs, f"{measure}_real"), decimals) for measure, (_, decimals, _) in shown.items()]
    return [*lines, ["real images", "", "", *real, ""]]


def _line(cells: list[str], widths: list[int]) -> str:
    """Numbers to the right, the names at both ends to the left."""
    first, *numbers, last = (
        cell.rjust(width) if 0 < place < len(cells) - 1 else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *numbers, last]).rstrip()


def _failures(rows: list[Row]) -> str:
    failed = sum("failed" in row for row in rows)
    return f"{failed} of {len(rows)} failed" if failed else ""


def _spread(values: list[float], decimals: int) -> str:
    if not values:
        return ""
    mean = f"{sum(values) / len(values):.{decimals}f}"
    low, high = (f"{value:.{decimals}f}" for value in (min(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"


def _by_configuration(runs: list[Row]) -> dict[str, list[Row]]:
    configurations: dict[str, list[Row]] = {}
    for row in runs:
        configurations.setdefault(row["configuration"], []).append(row)
    return configurations


def _values(rows: list[Row], measure: str) -> list[float]:
    return [row[measure] for row in rows if row.get(measure) is not None]


def figure(result: Row) -> Figure:
    """A dot for each run of each configuration, a line at their mean; dashed, the same measure of real images."""
    runs, wanted = _by_configuration(result["runs"]), STUDIES[result["study"]].measures
    measures = [measure for measure in wanted if _values(result["runs"], measure)]
    columns = min(2, max(1, len(measures)))
    rows_of_panels = max(1, math.ceil(len(measures) / columns))
    size = (2 + 3 * columns, rows_of_panels * (0.27 * len(runs) + 0.75) + 0.6)
    drawn = Figure(figsize=size, layout="constrained")
    title = f"{result['study']}, {result['preset']}: {result['question']}"
    drawn.suptitle(f"{title}\ndots: seeds; bars: their mean; dashed: real test images", fontsize=10)
    panels = drawn.subplots(rows_of_panels, columns, sharey=True, squeeze=False).flatten()
    for spare in panels[len(measures) :]:
        spare.set_axis_off()
    names = [", ".join(filter(None, [name, _failures(rows)])) for name, rows in runs.items()]
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    for axes, measure in zip(panels, measures, strict=False):
        for place, rows in enumerate(runs.values()):
            values = _values(rows, measure)
            axes.plot(values, [place] * len(values), "o", color=GENERATED, markersize=5, alpha=0.8)
            if values:
                axes.plot([sum(values) / len(values)] * 2, [place - 0.3, place + 0.3], color=GENERATED, linewidth=1.5)
        for value in _values(result["runs"], f"{measure}_real")[:1]:
            axes.axvline(value, color=REAL, linestyle="--", linewidth=1.2)
        _finish(axes, *MEASURES[measure])
    return drawn


def _finish(axes: Axes, label: str, decimals: int, logarithmic: bool) -> None:
    axes.set(xlabel=label)
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    elif axes.get_xlim()[1] <= 1.1:  # a share
        axes.set_xlim(-0.03, 1.03)
    else:
        axes.set_xlim(left=0)
    axes.grid(axis="y", color="#EEEEEE")
    axes.spines[["top", "right"]].set_visible(False)

"""What did a study find? A table and a figure of its result file, with every seed in sight."""

import math
import textwrap
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from memgan.lab.evaluation.registry import METRICS, Metric, named
from memgan.lab.studies.grids import STUDIES
from memgan.lab.studies.result_file import Row
from memgan.plots import GENERATED, REAL

if TYPE_CHECKING:
    from pandas import DataFrame, Series

__all__ = ["figure", "markdown", "table"]

MOST_DECIMALS = 2  # seeds vary too much for the third
LABEL_WIDTH = 34  # letters of a configuration's name in the figure; a longer one is broken
NOTE = ""  # head of the last column: what failed, or which candidate was chosen


# ---------------------------------------------------------------- tables


def table(result: Row, metrics: tuple[Metric, ...] = METRICS) -> str:
    """A line for each configuration: mean, lowest and highest of each metric over its seeds; real images last."""
    cells = _cells(result, metrics, "{mean} ({low} to {high})")
    return "\n".join(line.rstrip() for line in cells.to_string().splitlines())


def markdown(result: Row, metrics: tuple[Metric, ...] = METRICS) -> str:
    """The same for a page: lowest and highest below the mean and never broken in two, weights behind."""
    cells = _cells(result, metrics, "{mean}<br>{low}\u2013\u2060{high}").drop(columns="runs")
    weights = cells.pop("weights")
    notes = cells.pop(NOTE).str.replace(" ", "\u00a0")
    cells["weights"] = weights
    if any(notes):
        cells[NOTE] = notes
    lines = [_markdown_row("", list(cells.columns)), _markdown_row("---", ["---:"] * len(cells.columns))]
    for name, row in cells.iterrows():
        lines.append(_markdown_row(name, list(row)))
    return "\n".join(lines)


def _markdown_row(name: str, cells: list[str]) -> str:
    return f"| {' | '.join([name, *cells])} |"


def _cells(result: Row, metrics: tuple[Metric, ...], spread: str) -> "DataFrame":
    """The table as text: a row for each configuration and for real images, a column for each metric of the runs.

    `spread` is how mean, low and high are written where they differ.
    """
    from pandas import DataFrame  # takes half a second to import

    runs = DataFrame(result["runs"])
    configurations = runs.groupby("configuration", sort=False)
    cells = DataFrame(index=[name for name, _ in configurations] + ["real images"])
    cells["runs"] = [str(len(rows)) for _, rows in configurations] + [""]
    cells["weights"] = [_weights(rows) for _, rows in configurations] + [""]
    for metric in _shown(result, metrics):
        column = [_spread(rows[metric.name], metric, spread) for _, rows in configurations]
        real = _spread(runs[metric.real], metric, spread) if metric.real in runs else ""
        cells[metric.short or metric.label] = [*column, real]
    cells[NOTE] = [_note(rows) for _, rows in configurations] + [""]
    return cells


def _shown(result: Row, metrics: tuple[Metric, ...]) -> list[Metric]:
    """The metrics that stand in studies and that a run of this one has."""
    return [metric for metric in metrics if "study" in metric.shown and _values(result["runs"], metric.name)]


def _spread(values: "Series", metric: Metric, spread: str) -> str:
    """Mean, lowest and highest of what is there; the mean alone where these are equal."""
    values = values.dropna().astype(float)
    if values.empty:
        return ""
    decimals = min(metric.decimals, MOST_DECIMALS)
    mean = f"{values.mean():.{decimals}f}"
    low = f"{values.min():.{decimals}f}"
    high = f"{values.max():.{decimals}f}"
    return mean if low == high else spread.format(mean=mean, low=low, high=high)


def _weights(rows: "DataFrame") -> str:
    """How many weights both networks of a configuration have."""
    if "parameters" not in rows or rows["parameters"].dropna().empty:
        return ""
    counts = rows["parameters"].dropna().iloc[0]
    return f"{counts['inference'] + counts['generator']:,}"


def _note(rows: "DataFrame") -> str:
    """How many runs of a configuration failed, if any did; else the candidate that was chosen, where it was tuned."""
    if "failed" in rows and rows["failed"].notna().any():
        return f"{rows['failed'].count()} of {len(rows)} failed"
    if "candidate" in rows and isinstance(rows["candidate"].iloc[0], str):
        return rows["candidate"].iloc[0]
    return ""


# ---------------------------------------------------------------- figure


def figure(result: Row, metrics: tuple[Metric, ...] = METRICS) -> Figure:
    """A dot for each run of each configuration, a line at their mean; dashed, the same metric of real images.

    The metrics are those that `STUDIES` names for the study.
    """
    wanted = [named(name, metrics) for name in STUDIES[result["study"]].metrics]
    shown = [metric for metric in wanted if _values(result["runs"], metric.name)]
    configurations = _by_configuration(result["runs"])
    columns = 2 if len(shown) > 1 else 1
    rows = max(1, math.ceil(len(shown) / columns))
    names = [textwrap.fill(_described(name, runs), LABEL_WIDTH) for name, runs in configurations.items()]
    line_height = 0.42 if any("\n" in name for name in names) else 0.27  # inches
    size = (2 + 3 * columns, rows * (line_height * len(names) + 0.75) + 0.6)
    drawn = Figure(figsize=size, layout="constrained")
    title = f"{result['study']}, {result['preset']}: {result['question']}"
    drawn.suptitle(f"{title}\ndots: seeds; bars: their mean; dashed: real test images", fontsize=10)
    panels = drawn.subplots(rows, columns, sharey=True, squeeze=False).flatten()
    for spare in panels[len(shown) :]:
        spare.set_axis_off()
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    for axes, metric in zip(panels, shown, strict=False):
        _panel(axes, metric, configurations)
    return drawn


def _panel(axes: Axes, metric: Metric, configurations: dict[str, list[Row]]) -> None:
    """One metric: a line of dots for each configuration."""
    real = []
    for place, runs in enumerate(configurations.values()):
        values = _values(runs, metric.name)
        axes.plot(values, [place] * len(values), "o", color=GENERATED, markersize=5, alpha=0.8)
        if values:
            mean = sum(values) / len(values)
            axes.plot([mean, mean], [place - 0.3, place + 0.3], color=GENERATED, linewidth=1.5)
        real += _values(runs, metric.real)
    if real:
        axes.axvline(real[0], color=REAL, linestyle="--", linewidth=1.2)
    axes.set(xlabel=metric.short_title)
    if metric.scale == "log":
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    elif metric.scale == "share":
        axes.set_xlim(-0.03, 1.03)
    else:
        axes.set_xlim(left=0)
    axes.grid(axis="y", color="#EEEEEE")
    axes.spines[["top", "right"]].set_visible(False)


def _by_configuration(runs: list[Row]) -> dict[str, list[Row]]:
    configurations: dict[str, list[Row]] = {}
    for run in runs:
        name = run["configuration"]
        if name not in configurations:
            configurations[name] = []
        configurations[name].append(run)
    return configurations


def _described(name: str, runs: list[Row]) -> str:
    """A configuration's name, and how many of its runs failed."""
    failed = sum(1 for run in runs if "failed" in run)
    return f"{name}, {failed} of {len(runs)} failed" if failed else name


def _values(runs: list[Row], name: str) -> list[float]:
    """What the runs have under `name`; a run that failed has nothing."""
    return [run[name] for run in runs if run.get(name) is not None]

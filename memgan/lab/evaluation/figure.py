"""What does `memgan evaluate` find, in one picture? Generated images are orange, real ones blue."""

import math
import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from memgan.lab.evaluation.registry import Metric
from memgan.lab.evaluation.report import Evaluation
from memgan.lab.evaluation.spread import Interval
from memgan.plots import GENERATED, REAL, UNUSED, drawable, legible, tile

__all__ = ["evaluation_figure"]

COLUMNS = 4  # panels of scores side by side


def evaluation_figure(result: Evaluation) -> Figure:
    """Scores with their 95 % intervals, classes, nearest training images, walks, old fakes, and the closest images."""
    panels = [metric for metric in result.metrics if "panel" in metric.shown and result.scores[metric.name] is not None]
    rows = max(1, math.ceil(len(panels) / COLUMNS))
    heights = [1.7 * rows, 5.0, 2.2]
    figure = Figure(figsize=(10, sum(heights)), layout="constrained")
    top, middle, strip = figure.subfigures(3, 1, squeeze=False, height_ratios=heights).flat
    _scores(top, panels, rows, result)
    (classes, copies), (walks, old_fakes) = middle.subplots(2, 2)
    _classes(classes, result)
    _copies(copies, result)
    _walks(walks, result)
    _old_fakes(old_fakes, result)
    _closest(strip.subplots(), result)
    return figure


def _scores(figure: SubFigure, panels: list[Metric], rows: int, result: Evaluation) -> None:
    """A panel for each metric, and the legend that they share."""
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for spare in axes[len(panels) :]:
        spare.set_axis_off()
    for panel, metric in zip(axes, panels, strict=False):
        score = result.scores[metric.name]
        if score is not None:
            _score(panel, metric, score, result.scores.get(metric.real))
    handles = [
        Line2D([], [], color=GENERATED, marker="o", linewidth=2, label="generated, 95 % over resampled images"),
        Line2D([], [], color=REAL, linestyle="--", linewidth=2, label="real test images"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)


def _score(axes: Axes, metric: Metric, score: Interval, real: Interval | None) -> None:
    """A number with its interval, and the real one as a line across; the axis of what is no share begins at 0."""
    axes.errorbar([score.value], [0], xerr=_error_bars([score]), fmt="o", color=GENERATED, capsize=4)
    numbers = f"{score.value:.3g}"
    largest = score.value if score.high is None else score.high
    if real is not None:
        axes.axvline(real.value, color=REAL, linestyle="--", linewidth=2)
        numbers += f" (real {real.value:.3g})"
        largest = max(largest, real.value)
    better = f"({metric.better})" if metric.better else ""
    axes.set_title(f"{metric.label}\n{better}\n{numbers}", fontsize=9)
    if metric.scale == "share":
        axes.set_xlim(-0.03, 1.03)
    else:
        axes.set_xlim(0, 1.15 * max(largest, 1e-9))
    axes.set(ylim=(-1, 1), yticks=[])
    _without_frame(axes, "left")


def _classes(axes: Axes, result: Evaluation) -> None:
    axes.set_title("Are all classes there?", fontsize=10)
    number = len(result.class_shares)
    if number == 0:
        _says(axes, "there is no classifier of these images")
        return
    generated_places = [place - 0.2 for place in range(number)]
    real_places = [place + 0.2 for place in range(number)]
    axes.bar(generated_places, result.class_shares, 0.4, color=GENERATED)
    if result.class_shares_real:
        axes.bar(real_places, result.class_shares_real, 0.4, color=REAL, hatch="///", edgecolor="white")
    step = 1 + (number - 1) // 20
    axes.set(xlabel="class, as the classifier sees it", ylabel="share of images", xticks=range(0, number, step))
    if result.class_names is not None and len(result.class_names) == number:
        names = [_class_label(place, result.class_names[place]) for place in range(0, number, step)]
        upright = max(len(name) for name in names) <= 2
        axes.set_xticks(
            range(0, number, step),
            names,
            rotation=0 if upright else 60,
            ha="center" if upright else "right",
            parse_math=False,  # a class may be called "$"
        )
    _without_frame(axes)


def _class_label(number: int, name: str) -> str:
    """The beginning of the name of a class; its number where the name cannot be drawn."""
    shown = drawable(name)
    if shown != legible(name):
        return str(number)
    return textwrap.shorten(shown, 12, placeholder="...")


def _copies(axes: Axes, result: Evaluation) -> None:
    percent = [5 * place for place in range(len(result.nearest_quantiles))]
    axes.plot(result.nearest_quantiles, percent, color=GENERATED, label="generated images")
    if result.nearest_quantiles_real:
        axes.plot(result.nearest_quantiles_real, percent, color=REAL, linestyle="--", label="test images")
    axes.set(xlabel="distance to the nearest training image (pixels)", ylabel="images within (%)")
    axes.set(xlim=(0, None), ylim=(0, 100))
    axes.set_title("Copies? They would be at 0", fontsize=10)
    axes.legend(frameon=False, fontsize=9)
    _without_frame(axes)


def _walks(axes: Axes, result: Evaluation) -> None:
    """The share of images in between: dashed that of real images, grey the base rate that walks compare with."""
    axes.set_title("In between classes", fontsize=10)
    labels: list[str] = []
    for metric in result.metrics:
        score = result.scores[metric.name]
        if "walks" not in metric.shown or score is None:
            continue
        place = len(labels)
        labels.append(metric.short or metric.label)
        real = result.scores.get(metric.real)
        if real is not None:
            axes.axvline(real.value, color=REAL, linestyle="--", linewidth=2)
        colour = GENERATED if real is None else UNUSED
        axes.barh(place, score.value, xerr=_error_bars([score]), color=colour, capsize=3)
        axes.text(1.02, place, f"{score.value:.3f}", transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    if not labels:
        _says(axes, "there is no classifier of these images")
        return
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set(xlabel="share of images with the classifier's confidence below 0.8", xlim=(0, None))
    _without_frame(axes)


def _old_fakes(axes: Axes, result: Evaluation) -> None:
    axes.set_title("Are old fakes still rejected at the end?", fontsize=10)
    if result.old_fakes is None:
        _says(axes, "the run kept no old fakes")
        return
    steps = []
    shares = []
    for moment in result.old_fakes:
        steps.append(moment["step"] or 0.0)
        shares.append(Interval(moment["value"] or 0.0, moment["low"], moment["high"]))
    values = [share.value for share in shares]
    bars = _error_bars(shares)
    axes.errorbar(steps, values, yerr=bars, color=GENERATED, marker="o", capsize=3, label="fakes of that step")
    for name, label, colour, line in (
        ("real_rejected", "real test images", REAL, "--"),
        ("new_fakes_rejected", "fakes of the end", UNUSED, ":"),
    ):
        score = result.scores.get(name)
        if score is not None:
            axes.axhline(score.value, color=colour, linestyle=line, linewidth=2, label=label)
    axes.set(xlabel="step at which the fakes were made", ylabel="share with D < 0.5", ylim=(-0.03, 1.08))
    axes.legend(frameon=False, fontsize=9)
    _without_frame(axes)


def _closest(axes: Axes, result: Evaluation) -> None:
    """The images most likely to be copies, over what they might be copies of."""
    number = result.closest.shape[1]
    if result.closest.ndim != 5 or result.closest.shape[2] not in (1, 3):
        _says(axes, "the data are no images in grey or in colour")
        return
    picture = tile(result.closest.flatten(0, 1), columns=number)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    height = picture.shape[0]
    axes.set_yticks([height / 4, 3 * height / 4], ["generated", "training"])
    axes.set_xticks([])
    axes.set_title(f"The {number} generated images that are closest to a training image, and those", fontsize=10)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _error_bars(scores: list[Interval]) -> list[list[float]]:
    """How far each interval reaches below and above its value, as matplotlib takes it; 0 where there is none."""
    below = []
    above = []
    for value, low, high in scores:
        below.append(0.0 if low is None else max(0.0, value - low))
        above.append(0.0 if high is None else max(0.0, high - value))
    return [below, above]


def _says(axes: Axes, text: str) -> None:
    """A text in the place of what there is nothing to draw of."""
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
    axes.axis("off")


def _without_frame(axes: Axes, *more: str) -> None:
    """Without the lines at the top, at the right and at `more`."""
    axes.spines[["top", "right", *more]].set_visible(False)

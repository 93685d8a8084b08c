"""One picture of what `memgan evaluate` found: generated images orange, real ones blue."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memgan.lab.evaluation.evaluation import Evaluation
from memgan.lab.evaluation.metrics import Interval
from memgan.plots import GENERATED, REAL, UNUSED, tile

__all__ = ["evaluation_figure"]

SCORES = (  # title with the better direction, generated, real
    ("Inception Score\n(higher is better)", "inception_score", "inception_score_real"),
    ("Frechet distance\nto training images (lower)", "frechet_distance", "frechet_distance_real"),
    ("Frechet distance\nto test images (lower)", "frechet_distance_test", "frechet_distance_real"),
    ("slot purity\n(higher)", "slot_purity", ""),
    ("precision\n(higher)", "precision", "precision_real"),
    ("recall\n(higher)", "recall", "recall_real"),
    ("MS-SSIM, random pairs\n(as real)", "ms_ssim", "ms_ssim_real"),
    ("MS-SSIM, pairs of a slot\n(below 1)", "ms_ssim_in_slots", ""),
)
SHARES = {"precision", "recall", "slot_purity", "ms_ssim", "ms_ssim_in_slots"}  # between 0 and 1
WALKS = {
    "in_between": "random samples",
    "in_between_noise": "walks through noise",
    "in_between_slot": "walks inside a slot",
    "in_between_switch": "walks across slots",
    "in_between_keys": "walks between keys",
}


def evaluation_figure(result: Evaluation) -> Figure:
    """Scores with their 95 % intervals, classes, nearest training images, walks, old fakes, and the closest images."""
    figure = Figure(figsize=(10, 10.5), layout="constrained")
    top, bottom, strip = figure.subfigures(3, 1, squeeze=False, height_ratios=[3.4, 5, 2.2]).flat
    for axes, (title, name, real) in zip(top.subplots(2, 4).flat, SCORES, strict=True):
        _score(axes, title, result.intervals[name], getattr(result, real) if real else None, name in SHARES)
    top.legend(*_legend(), loc="outside upper center", ncols=2, frameon=False)
    (classes, copies), (walks, forgetting) = bottom.subplots(2, 2)
    _classes(classes, result)
    _copies(copies, result)
    _walks(walks, result)
    _forgetting(forgetting, result)
    _closest(strip.subplots(), result)
    return figure


def _legend() -> tuple[list[Axes], list[str]]:
    from matplotlib.lines import Line2D

    generated = Line2D([], [], color=GENERATED, marker="o", linewidth=2)
    real = Line2D([], [], color=REAL, linestyle="--", linewidth=2)
    return [generated, real], ["generated, 95 % over resampled images", "real test images"]  # type: ignore[list-item]


def _score(axes: Axes, title: str, interval: Interval, real: float | None, share: bool) -> None:
    """A number with its interval, and the real one as a line across; the axis of what is no share begins at 0."""
    axes.errorbar([interval.value], [0], xerr=_ends([interval]), fmt="o", color=GENERATED, capsize=4)
    text = f"{title}\n{interval.value:.3g}"
    if real is not None:
        axes.axvline(real, color=REAL, linestyle="--", linewidth=2)
        text += f" (real {real:.3g})"
    axes.set_title(text, fontsize=9)
    most = 1 if share else 1.15 * max(interval.high or interval.value, real or 0, 1e-9)
    axes.set(xlim=(0, most), ylim=(-1, 1), yticks=[])
    _plain(axes, "left")


def _classes(axes: Axes, result: Evaluation) -> None:
    places = range(result.classes)
    axes.bar([place - 0.2 for place in places], result.class_shares, 0.4, color=GENERATED)
    bars = axes.bar([place + 0.2 for place in places], result.class_shares_real, 0.4, color=REAL)
    for bar in bars:
        bar.set_hatch("///")
        bar.set_edgecolor("white")
    step = 1 + (result.classes - 1) // 20
    axes.set(xlabel="class, as the judge sees it", ylabel="share of images", xticks=places[::step])
    axes.set_title(f"{result.classes_covered:.0f} of {result.classes} classes covered", fontsize=10)
    _plain(axes)


def _copies(axes: Axes, result: Evaluation) -> None:
    percent = [5 * place for place in range(len(result.nearest_quantiles))]
    axes.plot(result.nearest_quantiles, percent, color=GENERATED, label="generated images")
    axes.plot(result.nearest_quantiles_real, percent, color=REAL, linestyle="--", label="test images")
    axes.set(xlabel="distance to the nearest training image (pixels)", ylabel="images within (%)")
    axes.set(xlim=(0, None), ylim=(0, 100))
    axes.set_title("Copies? They would be at 0", fontsize=10)
    axes.legend(frameon=False, fontsize=9)
    _plain(axes)


def _walks(axes: Axes, result: Evaluation) -> None:
    """The share of images in between; grey is the base rate that walks are to be compared with."""
    rows = [(title, result.intervals[name]) for name, title in WALKS.items() if name in result.intervals]
    for place, (_, interval) in enumerate(rows):
        axes.barh(place, interval.value, xerr=_ends([interval]), color=GENERATED if place else UNUSED, capsize=3)
        axes.text(1.02, place, f"{interval.value:.3f}", transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    axes.axvline(result.in_between_real, color=REAL, linestyle="--", linewidth=2)
    axes.set_yticks(range(len(rows)), [title for title, _ in rows])
    axes.invert_yaxis()
    axes.set(xlabel="share of images with the judge's confidence below 0.8", xlim=(0, None))
    axes.set_title("In between classes", fontsize=10)
    _plain(axes)


def _forgetting(axes: Axes, result: Evaluation) -> None:
    axes.set_title("Are old fakes still rejected at the end?", fontsize=10)
    if result.old_fakes is None:
        axes.text(0.5, 0.5, "the run kept no old fakes", ha="center", va="center", transform=axes.transAxes)
        axes.axis("off")
        return
    shares = [Interval(moment["value"] or 0.0, moment["low"], moment["high"]) for moment in result.old_fakes]
    steps, values = [moment["step"] or 0.0 for moment in result.old_fakes], [share.value for share in shares]
    axes.errorbar(steps, values, yerr=_ends(shares), color=GENERATED, marker="o", capsize=3, label="fakes of that step")
    axes.axhline(result.real_rejected, color=REAL, linestyle="--", label="real test images")
    axes.axhline(result.new_fakes_rejected, color=UNUSED, linestyle=":", linewidth=2, label="fakes of the end")
    axes.set(xlabel="step at which the fakes were made", ylabel="share with D < 0.5", ylim=(-0.03, 1.08))
    axes.legend(frameon=False, fontsize=9)
    _plain(axes)


def _closest(axes: Axes, result: Evaluation) -> None:
    """The images most likely to be copies, over what they might be copies of."""
    number = result.closest.shape[1]
    picture = tile(result.closest.flatten(0, 1), columns=number)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    height = picture.shape[0]
    axes.set_yticks([height / 4, 3 * height / 4], ["generated", "training"])
    axes.set_xticks([])
    axes.set_title(f"The {number} generated images that are closest to a training image, and those", fontsize=10)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _ends(intervals: list[Interval]) -> list[list[float]]:
    """How far each interval goes down and up from its value, for matplotlib; 0 where there is none."""
    down = [max(0.0, value - (value if low is None else low)) for value, low, _ in intervals]
    return [down, [max(0.0, (value if high is None else high) - value) for value, _, high in intervals]]


def _plain(axes: Axes, *more: str) -> None:
    axes.spines[["top", "right", *more]].set_visible(False)

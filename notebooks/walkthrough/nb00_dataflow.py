"""The picture that all notebooks share: how an image goes through the memory and round again."""

from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from memgan.plots import GENERATED, REAL
from walkthrough.drawing import INK

__all__ = ["STAGES", "alt", "dataflow"]

HIGHLIGHT = "#FFE9A8"
PLAIN = "#F4F4F4"


class Box(NamedTuple):
    """A stage: where it stands and what it says."""

    x: float
    y: float
    width: float
    title: str
    detail: str
    equations: str


TOP = 2.95  # the lower edge of each row of boxes
MIDDLE = 1.6
BOTTOM = 0.25
STAGES = {
    "images": Box(0.0, TOP, 1.5, "images $x$", "real and generated", ""),
    "inference": Box(1.9, TOP, 2.1, "inference network", r"query $q = \mu(x)$, a direction", ""),
    "posterior": Box(4.4, TOP, 1.75, "posterior", "which slot is it from?", "(1)-(4)"),
    "top_k": Box(6.65, TOP, 1.55, "top k", "only the likely slots", "(5)"),
    "read": Box(8.7, TOP, 1.75, "read", "$D(x)$ = share of real", "(6)"),
    "write": Box(1.9, MIDDLE, 2.1, "write", "EM, or replace the oldest", "(7)-(10)"),
    "memory": Box(4.4, MIDDLE, 3.8, "memory", "N slots: key $K$, value $v$, age $a$, count $h$", ""),
    "losses": Box(8.7, MIDDLE, 1.75, "losses", "train both networks", "(12)-(15)"),
    "generator": Box(0.0, BOTTOM, 1.5, "generator", "$x = G(K_c, z)$", "(11)"),
    "sample": Box(4.4, BOTTOM, 3.8, "sample a slot", "$c$ among the real ones, as often as $h$ says", "(11)"),
}
HEIGHT = 0.9


def dataflow(stage: str | None = None) -> Figure:
    """The way of an image through the memory and round again, with one of `STAGES` highlighted.

    Raises ValueError for a stage that is not in the picture.
    """
    if stage is not None and stage not in STAGES:
        raise ValueError(f"stage must be one of {sorted(STAGES)}, got {stage!r}")
    figure = Figure(figsize=(9, 3.45))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.1, 10.55), ylim=(0.1, 4.35), aspect="equal")
    axes.axis("off")
    for name, box in STAGES.items():
        _draw(axes, box, highlighted=name == stage)
    _arrows(axes)
    return figure


def alt(stage: str | None = None) -> str:
    """The picture in words."""
    text = (
        "Dataflow. Images, real and generated, go through the inference network and become queries; the posterior over "
        "slots, cut to the top k, is read as the probability of being real, which feeds the losses. The same queries "
        "are written into the memory. From the memory a real slot is sampled; its key and noise go into the generator, "
        "whose images go round again."
    )
    if stage is None:
        return text
    return f"{text} Highlighted: {STAGES[stage].title}."


def _draw(axes: Axes, box: Box, *, highlighted: bool) -> None:
    patch = FancyBboxPatch(
        (box.x, box.y),
        box.width,
        HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.1",
        facecolor=HIGHLIGHT if highlighted else PLAIN,
        edgecolor=INK,
        linewidth=2.2 if highlighted else 0.9,
    )
    axes.add_patch(patch)
    middle = box.x + box.width / 2
    axes.text(middle, box.y + 0.63, box.title, ha="center", va="center", fontsize=10.5, weight="bold", color=INK)
    axes.text(middle, box.y + 0.37, box.detail, ha="center", va="center", fontsize=8, color=INK)
    axes.text(middle, box.y + 0.14, box.equations, ha="center", va="center", fontsize=8, color=INK)


def _arrows(axes: Axes) -> None:
    top = TOP + HEIGHT / 2  # the height at which an arrow crosses a row of boxes
    middle = MIDDLE + HEIGHT / 2
    bottom = BOTTOM + HEIGHT / 2
    for start, end in [(1.5, 1.9), (4.0, 4.4), (6.15, 6.65), (8.2, 8.7)]:
        _arrow(axes, (start, top), (end, top))
    _arrow(axes, (2.95, TOP), (2.95, MIDDLE + HEIGHT))  # queries -> write
    _arrow(axes, (4.0, middle), (4.4, middle))  # write -> memory
    _arrow(axes, (5.27, MIDDLE + HEIGHT), (5.27, TOP))  # memory -> posterior
    _arrow(axes, (9.57, TOP), (9.57, MIDDLE + HEIGHT))  # read -> losses
    _arrow(axes, (6.3, MIDDLE), (6.3, BOTTOM + HEIGHT), colour=REAL)  # memory -> sample
    _arrow(axes, (4.4, bottom), (1.5, bottom), colour=REAL)  # key -> generator
    _arrow(axes, (0.75, BOTTOM + HEIGHT), (0.75, TOP), colour=GENERATED)  # generator -> images
    axes.text(2.95, bottom + 0.13, "key $K_c$, and noise $z$", ha="center", fontsize=8, color=INK)
    axes.text(3.03, 2.7, "with label $y$", ha="left", va="center", fontsize=8, color=INK)
    axes.text(0.83, 2.05, "generated", ha="left", va="center", fontsize=8, color=INK)
    axes.text(0.83, 4.1, "real, from the data", ha="left", va="center", fontsize=8, color=INK)
    _arrow(axes, (0.75, 4.25), (0.75, TOP + HEIGHT), colour=REAL)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], *, colour: str = INK) -> None:
    arrow = FancyArrowPatch(
        start,
        end,
        arrowstyle="-|>",
        mutation_scale=13,
        linewidth=1.4,
        color=colour,
        shrinkA=0,
        shrinkB=0,
    )
    axes.add_patch(arrow)

"""Memories whose keys lie on a circle (M = 2): made from angles, printed as a table, drawn, filmed."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from memgan import VMFMemory, vmf
from memgan.plots import GENERATED, REAL, UNUSED
from memgan.reference import ReferenceMemory
from walkthrough.drawing import INK, draw_unit_circle

__all__ = ["angles", "direction", "finds_its_label", "reference_of", "ring", "slots_of", "table"]

Frame = dict[str, Any]  # of a `walkthrough.widgets.MemoryFilm`: the memory after a write, and what the write did


def direction(degrees: float | Sequence[float] | Tensor) -> Tensor:
    """The unit vectors [..., 2] that point to these angles, in degrees, in float64."""
    radians = torch.deg2rad(torch.as_tensor(degrees, dtype=torch.float64))
    return torch.stack([radians.cos(), radians.sin()], dim=-1)


def angles(vectors: Tensor) -> Tensor:
    """The angles of `vectors` [..., 2], in degrees in [0, 360)."""
    return torch.rad2deg(torch.atan2(vectors[..., 1], vectors[..., 0])) % 360


def cluster(centre: float, kappa: float, number: int, generator: torch.Generator) -> Tensor:
    """`number` queries [number, 2] from a vMF around the angle `centre`, in degrees."""
    return vmf.sample(direction(centre), kappa, number, generator)


def ring(
    degrees: Sequence[float],
    values: Sequence[int],
    histogram: Sequence[float],
    ages: Sequence[int] | None = None,
    *,
    top_k: int,
    **settings: Any,
) -> VMFMemory:
    """The real memory, in float64, with its keys at these angles, in degrees; `settings` are `VMFMemory`'s."""
    memory = VMFMemory(len(degrees), 2, top_k, **settings).double()
    memory.keys.copy_(direction(degrees))
    memory.values.copy_(torch.tensor(values))
    memory.histogram.copy_(torch.tensor(histogram))
    if ages is not None:
        memory.ages.copy_(torch.tensor(ages))
    return memory


def reference_of(memory: VMFMemory) -> ReferenceMemory:
    """The same memory as plain loops."""
    return ReferenceMemory(
        keys=memory.keys.double().numpy().copy(),
        values=memory.values.tolist(),
        ages=memory.ages.tolist(),
        histogram=memory.histogram.double().tolist(),
        top_k=memory.top_k,
        kappa=memory.kappa,
        alpha=memory.alpha,
        beta=memory.beta,
        em_steps=memory.em_steps,
        correct_in_top=memory.correct_in_top,
        touch=memory.touch,
        replace_within_label=memory.replace_within_label,
        epsilon=memory.epsilon,
    )


def table(memory: VMFMemory) -> str:
    """One line for each slot: its key as an angle, its value, age and histogram."""
    rows = ["slot  key (deg)  v       age  h"]
    for slot, angle in enumerate(angles(memory.keys).tolist()):
        kind = "1 real" if memory.values[slot] else "0 gen."
        rows.append(f"{slot:4}  {angle:9.1f}  {kind}  {int(memory.ages[slot]):3}  {float(memory.histogram[slot]):.2f}")
    return "\n".join(rows)


def finds_its_label(memory: VMFMemory, queries: Tensor, labels: Tensor) -> Tensor:
    """Whether one of the `correct_in_top` nearest slots of each query carries its label, [B]: EM, not replacement."""
    _, slots = memory.top_k_posterior(queries)
    looked_at = slots[:, : memory.correct_in_top]
    return (memory.values[looked_at] == labels.unsqueeze(1)).any(dim=1)


def slots_of(memory: VMFMemory, queries: Tensor, labels: Tensor) -> Tensor:
    """S_y, the k most probable slots among those that carry each query's label, best first, [B, k]."""
    other_label = memory.values != labels.unsqueeze(1)
    own = memory.posterior(queries).masked_fill(other_label, 0.0)
    return own.topk(memory.top_k, dim=1).indices


# ---------------------------------------------------------------- a life in pictures


def life(writes: int = 24, seed: int = 0) -> tuple[VMFMemory, list[tuple[Tensor, Tensor]]]:
    """A short life to record: two clusters of real queries that stay, and a generator that wanders and then jumps.

    12 slots, k = 4, kappa = 20, alpha = 0.8; each write is 4 real and 4 generated queries.
    """
    generator = torch.Generator().manual_seed(seed)
    start = (torch.rand(12, generator=generator, dtype=torch.float64) * 360).tolist()
    memory = ring(start, [1] * 6 + [0] * 6, [1e-5] * 12, top_k=4, kappa=20.0, alpha=0.8)
    labels = torch.tensor([1] * 4 + [0] * 4)
    jump = writes // 2
    batches = []
    for step in range(writes):
        if step < jump:  # where the generated queries are
            centre = 330 - 6 * step
        else:
            centre = 100 + 3 * (step - jump)
        first_real = cluster(60, 60, 2, generator)
        second_real = cluster(170, 60, 2, generator)
        generated = cluster(centre, 60, 4, generator)
        batches.append((torch.cat([first_real, second_real, generated]), labels))
    return memory, batches


def draw(axes: Axes, now: Frame, before: Frame) -> None:
    """A frame on its circle: each slot by its number, the queries just written as ticks outside.

    Slots whose keys nearly coincide stand behind each other, towards the centre.
    """
    draw_unit_circle(axes, "#DDDDDD", zorder=0)
    for (x, y), label in zip(now["queries"], now["labels"], strict=True):
        colour = REAL if label == 1 else GENERATED
        axes.plot([1.3 * x, 1.46 * x], [1.3 * y, 1.46 * y], color=colour, linewidth=1.6, solid_capstyle="butt")
    for slot in now["moved"]:
        colour = REAL if now["values"][slot] == 1 else GENERATED
        _draw_arc(axes, before["keys"][slot], now["keys"][slot], colour)
    for slot, radius in enumerate(_radii(now["keys"])):
        _draw_slot(axes, now, slot, radius)
    axes.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect="equal", xticks=[], yticks=[])
    axes.axis("off")


def _radii(keys: Sequence[Sequence[float]], apart: float = 0.25) -> list[float]:
    """How far from the centre each slot is drawn: 1, or less where one with a smaller number would be hidden."""
    places: list[tuple[float, float]] = []
    radii: list[float] = []
    for x, y in keys:
        candidates = [1 - 0.05 * step for step in range(20)]
        room = [min([apart, *(math.dist((r * x, r * y), place) for place in places)]) for r in candidates]
        radius = candidates[room.index(max(room))]
        places.append((radius * x, radius * y))
        radii.append(radius)
    return radii


def _draw_slot(axes: Axes, now: Frame, slot: int, radius: float) -> None:
    if now["values"][slot] == 1:
        marker, colour = "o", REAL
    else:
        marker, colour = "s", GENERATED
    if now["histogram"][slot] <= 1e-3:
        colour = UNUSED
    x, y = now["keys"][slot]
    is_new = slot in now["replaced"]
    edge: dict[str, Any] = {"edgecolor": INK, "linewidth": 2.2} if is_new else {"edgecolor": "white", "linewidth": 0.5}
    axes.scatter(radius * x, radius * y, s=120, marker=marker, color=colour, zorder=2, **edge)
    text: dict[str, Any] = {
        "ha": "center",
        "va": "center_baseline",
        "fontsize": 7.5,
        "color": "white",
        "weight": "bold",
    }
    axes.text(radius * x, radius * y, str(slot), zorder=3, **text)


def _draw_arc(axes: Axes, start: Sequence[float], end: Sequence[float], colour: str) -> None:
    """Where EM moved a key: a thin line just outside the circle."""
    first, last = angles(torch.tensor([start, end])).tolist()
    turn = (last - first + 180) % 360 - 180
    path = np.deg2rad(first + np.linspace(0, turn, 20))
    axes.plot(1.2 * np.cos(path), 1.2 * np.sin(path), color=colour, linewidth=2.2, alpha=0.8, zorder=1)

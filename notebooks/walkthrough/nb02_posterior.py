"""Notebook 02: from a direction on the sphere to the posterior over slots, its pictures and its exercises."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray
from torch import Tensor

from memgan import VMFMemory, vmf
from memgan.plots import GENERATED, REAL, UNUSED
from walkthrough.circle import direction, ring
from walkthrough.drawing import GREEN, PURPLE, SKY_BLUE, VERMILION, draw_unit_circle, hide_top_and_right
from walkthrough.lesson import Mistake, Wrong, answered, attempt, refuse_mistakes

__all__ = [
    "ANGLES",
    "bayes_on_the_circle",
    "check_closed_form",
    "check_contest",
    "check_posterior",
    "check_scaling",
    "contrast",
    "directions_picture",
    "four_slots",
    "half_width",
    "outvoted",
    "six_slots",
    "sphere_picture",
    "stranger_picture",
    "two_worlds",
    "vote_curves",
    "voters",
]

Array = NDArray[np.float64]

ANGLES = (10, 70, 150, 270)  # degrees; the keys of the four slots
VALUES = (1, 0, 1, 0)
SIX_PLACES = ((45, 40), (-25, 15), (25, -30), (80, 0), (200, 20), (-110, -20))  # on the sphere: turn, tilt (degrees)
COUNTS = (3.0, 1.0, 0.5, 2.0)
BLUE_FOR_REAL = LinearSegmentedColormap.from_list("real", ["#F6D08A", "white", "#8FC1E3"])  # p(y=1|x) from 0 to 1
SLOT_COLOURS = (REAL, GENERATED, SKY_BLUE, VERMILION)  # slots 0 to 3: blues are real, oranges generated
SLOT_HATCHES = ("", "/", "", "/")  # and so that colour is not all: generated slots are hatched
SLOT_LINES = ("-", "--", "-", "--")


# -------------------------------------------------------------------- the toy memory, and numbers about the sphere


def four_slots(kappa: float, top_k: int = 4) -> VMFMemory:
    """A memory on the circle, float64, that one can follow by hand: keys at `ANGLES`, values 1, 0, 1, 0."""
    return ring(ANGLES, VALUES, COUNTS, top_k=top_k, kappa=kappa)


def six_slots(kappa: float, top_k: int = 6) -> VMFMemory:
    """A memory on the sphere, float64: four keys in front, two behind, real and generated in turn."""
    places = torch.deg2rad(torch.tensor(SIX_PLACES, dtype=torch.float64))
    turn = places[:, 0]
    tilt = places[:, 1]
    keys = torch.stack([tilt.cos() * turn.cos(), tilt.cos() * turn.sin(), tilt.sin()], dim=1)
    memory = VMFMemory(6, 3, top_k, kappa=kappa).double()
    memory.keys.copy_(keys)
    memory.values.copy_(torch.tensor([1, 0, 1, 0, 1, 0]))
    memory.histogram.copy_(torch.tensor([3.0, 1.0, 0.5, 2.0, 1.0, 2.5]))
    return memory


def half_width(kappa: float) -> float:
    """The angle in degrees at which the density has fallen to half of its peak (180: it nowhere has)."""
    cosine = 1 - math.log(2) / kappa
    return math.degrees(math.acos(max(-1.0, cosine)))


def outvoted(kappa: float, key_dim: int) -> float:
    """How many slots in random directions one slot right on the query outvotes, at equal histograms.

    exp(kappa) / E[exp(kappa t)], t the cosine of a random direction; by (2), E[exp(kappa t)] = 1/(C_M(kappa) area).
    """
    log_area = math.log(2) + key_dim / 2 * math.log(math.pi) - math.lgamma(key_dim / 2)
    return math.exp(kappa + float(vmf.log_normaliser(kappa, key_dim)) + log_area)


def two_worlds(number: int, key_dim: int = 64, *, real_first: bool = True) -> tuple[Tensor, Tensor]:
    """Queries [number, key_dim] and labels [number], real and generated in turn: five tight clusters of each.

    The clusters are vMF with kappa 200 around random directions, so real and generated are far apart.
    """
    generator = torch.Generator().manual_seed(1)
    centres = F.normalize(torch.randn(2, 5, key_dim, generator=generator), dim=-1)
    first_label = 1 if real_first else 0
    labels = (torch.arange(number) + first_label) % 2
    clusters = torch.randint(0, 5, (number,), generator=generator)
    queries = [vmf.sample(centre, 200.0, 1, generator) for centre in centres[labels, clusters]]
    return torch.cat(queries), labels


# -------------------------------------------------------------------- pictures of one density


def directions_picture(query_degrees: float) -> Figure:
    """The four keys and one query as arrows on the unit circle, each key with its cosine to the query."""
    figure = Figure(figsize=(5.6, 3.7), layout="constrained")
    axes = figure.subplots()
    _circle(axes)
    axes.plot(0, 0, marker=".", color="black")
    query = direction(query_degrees)
    for slot, key in enumerate(direction(ANGLES)):
        colour = SLOT_COLOURS[slot]
        _arrow(axes, key, colour, SLOT_LINES[slot])
        text = f"slot {slot}, {_kind(VALUES[slot])}\ncosine {float(key @ query):+.2f}"
        x, y = key.tolist()
        axes.text(1.14 * x, 1.14 * y, text, ha=_side_of_label(x), va="center", fontsize=10, color=colour)
    _arrow(axes, query, "black", "-", width=2.6)
    x, y = query.tolist()
    axes.text(1.12 * x, 1.12 * y, "query $q$", fontsize=11, weight="bold", va="center")
    axes.set(xlim=(-2.1, 2.2), ylim=(-1.45, 1.3))
    return figure


def _kind(value: int | Tensor) -> str:
    return "real" if value == 1 else "generated"


def _side_of_label(x: float) -> str:
    """The alignment of a label outside the circle, at the horizontal place `x`: its text leads away from the circle."""
    if x > 0.01:
        return "left"
    if x < -0.01:
        return "right"
    return "center"


def contrast(kappa: float) -> Figure:
    """One vMF density for this `kappa`: against the angle, as a wall around the circle, as a cap on the sphere."""
    figure = Figure(figsize=(7.0, 2.4), layout="constrained")
    against_angle, on_circle, on_sphere = figure.subplots(1, 3, width_ratios=(1.35, 1, 1))
    degrees = np.linspace(-180, 180, 721)
    density = _density_on_circle(degrees, kappa)
    height = density / density.max()
    _curve(against_angle, height, degrees, kappa)
    _wall(on_circle, height, degrees)
    _cap(on_sphere, kappa)
    return figure


def _density_on_circle(degrees: Array, kappa: float) -> Array:
    mean = direction(0.0)
    return vmf.log_density(direction(torch.from_numpy(degrees)), mean, kappa).exp().numpy()


def _curve(axes: Axes, height: Array, degrees: Array, kappa: float) -> None:
    """The density against the angle to its mean, with the width at which it has halved."""
    axes.plot(degrees, height, color=REAL, linewidth=2)
    half = half_width(kappa)
    if half < 180:
        axes.plot([-half, half], [0.5, 0.5], color="black", linewidth=1.5)
        text = f"half at {half:.0f}°"
        if half < 90:
            axes.text(half + 6, 0.5, text, va="center", fontsize=10)
        else:  # there is no room beside the line, so the text goes below it
            axes.text(-60, 0.42, text, va="center", fontsize=10)
    axes.set(xlabel="angle to the mean (degrees)", ylabel="density / its peak", xticks=range(-180, 181, 90))
    axes.set(ylim=(0, 1.05), title=rf"$\kappa$ = {kappa:.3g}")
    hide_top_and_right(axes)


def _wall(axes: Axes, height: Array, degrees: Array) -> None:
    """A wall outside the unit circle, as high as the density."""
    _circle(axes)
    angle = np.deg2rad(degrees + 90)  # the mean points up
    foot = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    radius = 1 + 0.9 * height
    top = foot * radius[:, np.newaxis]
    outline = np.concatenate([top, foot[::-1]])
    axes.fill(outline[:, 0], outline[:, 1], color=REAL, alpha=0.45, linewidth=0)
    axes.annotate("", (0, 1), (0, 0), arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 1.6})
    axes.set(xlim=(-1.95, 1.95), ylim=(-1.95, 1.95), title="on the circle, M = 2")


def _cap(axes: Axes, kappa: float) -> None:
    """The near half of the unit sphere, in ten bands of density, darkest at the mean, which is tilted towards us."""
    side = np.linspace(-1, 1, 160)
    across, up = np.meshgrid(side, side[::-1])
    inside = across**2 + up**2 <= 1
    depth = np.sqrt(np.clip(1 - across**2 - up**2, 0, 1))
    mean = np.array([0.0, math.sin(math.radians(35)), math.cos(math.radians(35))])
    cosine = across * mean[0] + up * mean[1] + depth * mean[2]
    relative = np.where(inside, np.exp(kappa * (cosine - 1)), np.nan)
    axes.contourf(across, up, relative, levels=np.linspace(0, 1, 11), cmap="Blues")
    draw_unit_circle(axes, "black")
    axes.plot(mean[0], mean[1], marker="+", color="black", markersize=9)
    axes.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), title="on the sphere, M = 3", aspect="equal")
    axes.axis("off")


def _circle(axes: Axes) -> None:
    draw_unit_circle(axes, UNUSED)
    axes.set_aspect("equal")
    axes.axis("off")


def _arrow(axes: Axes, tip: Tensor, colour: str, line: str, width: float = 2.0) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": width, "linestyle": line, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", tuple(tip.tolist()), (0, 0), arrowprops=style)


# -------------------------------------------------------------------- pictures of the posterior


def bayes_on_the_circle(memory: VMFMemory) -> Figure:
    """Bayes' rule for every direction of the circle: the four joints above, the posterior and p(y=1|x) below."""
    degrees = np.linspace(0, 360, 361)
    queries = direction(torch.from_numpy(degrees))
    mass = memory.histogram + memory.beta
    prior = mass / mass.sum()
    joint = prior * vmf.log_density(queries.unsqueeze(1), memory.keys, memory.kappa).exp()
    posterior = memory.posterior(queries).T.numpy()
    figure = Figure(figsize=(7.4, 4.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for slot in range(4):
        colour = SLOT_COLOURS[slot]
        above.plot(degrees, joint[:, slot], color=colour, linestyle=SLOT_LINES[slot], linewidth=2)
        peak = float(joint[:, slot].max())
        text = f"slot {slot}, {_kind(VALUES[slot])}, h = {COUNTS[slot]:g}"
        above.text(
            max(ANGLES[slot], 2), peak + 0.015, text, color=colour, fontsize=9.5, ha="left" if slot < 2 else "center"
        )
    order = [0, 2, 1, 3]  # the real slots first, at the bottom: their upper edge is p(y=1|x)
    colours = [SLOT_COLOURS[slot] for slot in order]
    layers = below.stackplot(degrees, posterior[order], colors=colours)
    for layer, slot in zip(layers, order, strict=True):
        layer.set(hatch=SLOT_HATCHES[slot], edgecolor="white", linewidth=0)
    is_real = np.array(VALUES) == 1
    real = posterior[is_real].sum(axis=0)
    below.plot(degrees, real, color="black", linewidth=2.2)
    box: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    for slot, (x, y) in enumerate([(22, 0.4), (86, 0.7), (150, 0.4), (262, 0.6)]):
        below.text(x, y, str(slot), ha="center", va="center", bbox=box, fontsize=10)
    below.text(199, 0.6, "$p(y=1|x)$", ha="left", va="center", bbox=box, fontsize=10)
    above.set(ylabel="$p(c=i)\\,p(x|c=i)$", ylim=(0, 1.18 * float(joint.max())))
    below.set(ylabel="posterior $p(c=i|x)$", xlabel="direction of the query (degrees)", ylim=(0, 1), xlim=(0, 360))
    below.set_xticks(range(0, 361, 45))
    hide_top_and_right(above)
    return figure


def sphere_picture(memory: VMFMemory, queries: Tensor, view: tuple[float, float]) -> Figure:
    """p(y=1|x) on the half of the sphere that one sees from `view` (turn, tilt in degrees), its slots and `queries`."""
    figure = Figure(figsize=(6.6, 4.2), layout="constrained")
    axes = figure.subplots()
    frame = _frame_of_view(view)
    side = torch.linspace(-1, 1, 160, dtype=torch.float64)
    across, up = torch.meshgrid(side, side, indexing="xy")
    depth = (1 - across**2 - up**2).clamp(min=0).sqrt()
    seen = torch.stack([across, up, depth], dim=2).view(-1, 3)
    points = F.normalize(seen, dim=1) @ frame
    real = (memory.posterior(points) @ memory.values.double()).view(160, 160)
    inside = across**2 + up**2 <= 1
    real_inside = real.where(inside, torch.nan)
    bands = axes.contourf(across, up, real_inside, levels=np.linspace(0, 1, 11), cmap=BLUE_FOR_REAL)
    figure.colorbar(bands, ax=axes, label="$p(y=1|x)$", ticks=[0, 0.5, 1])
    axes.add_patch(Circle((0, 0), 1, fill=False, color="black"))
    keys = memory.keys @ frame.T
    for slot, (x, y, depth_of_key) in enumerate(keys.tolist()):
        if depth_of_key >= 0:  # the key is on the half that one sees
            value = int(memory.values[slot])
            colour = REAL if value == 1 else GENERATED
            marker = "o" if value == 1 else "s"
            axes.plot(x, y, marker, color=colour, markersize=11, markeredgecolor="black")
            text = f"slot {slot}, {_kind(value)}\nh = {float(memory.histogram[slot]):g}"
            if x > 0.7:  # at the edge there is more room outside
                axes.text(1.06, y, text, ha="left", va="center", fontsize=9.5)
            else:
                axes.text(x, y + 0.09, text, ha="center", va="bottom", fontsize=9.5)
    for x, y, depth_of_query in (queries @ frame.T).tolist():
        if depth_of_query >= 0:
            axes.plot(x, y, "x", color="black", markersize=9, markeredgewidth=2)
    axes.set(xlim=(-1.05, 1.75), ylim=(-1.05, 1.05), aspect="equal")
    axes.axis("off")
    return figure


def _frame_of_view(view: tuple[float, float]) -> Tensor:
    """The directions to the right, upward and towards the eye, rows of [3, 3], for a `view` (turn, tilt in degrees)."""
    turn = math.radians(view[0])
    tilt = math.radians(view[1])
    right = [-math.sin(turn), math.cos(turn), 0]
    upward = [-math.sin(tilt) * math.cos(turn), -math.sin(tilt) * math.sin(turn), math.cos(tilt)]
    towards = [math.cos(tilt) * math.cos(turn), math.cos(tilt) * math.sin(turn), math.sin(tilt)]
    return torch.tensor([right, upward, towards], dtype=torch.float64)


# -------------------------------------------------------------------- pictures of high dimensions


def vote_curves(kappas: Array, key_dims: Sequence[int], sizes: dict[str, int]) -> Figure:
    """`outvoted` against kappa for each dimension, with the sizes of memories, by name, as horizontal lines."""
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.subplots()
    looks = [(REAL, "-"), (GENERATED, "--"), (GREEN, ":")]
    for key_dim, (colour, line) in zip(key_dims, looks, strict=False):
        votes = [outvoted(kappa, key_dim) for kappa in kappas]
        axes.plot(kappas, votes, color=colour, linestyle=line, linewidth=2.2)
        axes.text(kappas[-1] * 1.05, votes[-1], f"M = {key_dim}", color=colour, va="center")
    for name, size in sizes.items():
        axes.axhline(size, color="black", linewidth=0.8)
        axes.text(1.05, size * (1.25 if size > 3000 else 0.3), name, fontsize=9.5)
    axes.axvline(1, color=UNUSED, linewidth=0.8)
    axes.axvline(15, color=UNUSED, linewidth=0.8)
    axes.text(1.03, 1e11, "κ of the paper", fontsize=9.5)
    axes.text(14.5, 2, "κ for MNIST here", fontsize=9.5, ha="right")
    axes.set(xscale="log", yscale="log", ylim=(1, 1e13), xlim=(kappas[0], kappas[-1]))
    axes.set(xlabel=r"concentration $\kappa$", ylabel="unrelated slots outvoted\nby one perfect match")
    ticks = [0.5, 1, 2, 5, 10, 15, 30]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    hide_top_and_right(axes)
    return figure


def voters(memories: dict[str, VMFMemory], queries: Tensor, labels: Tensor) -> Figure:
    """Which slots are asked about which query: a mark in row b and column i where slot i is in S of query b.

    One panel for each of `memories`; the rows are the real `queries` first. Blue slots say real, orange generated.
    """
    figure = Figure(figsize=(8.2, 3.3), layout="constrained")
    panels = figure.subplots(1, len(memories), sharey=True)
    order = labels.argsort(descending=True, stable=True)
    for axes, (name, memory) in zip(panels, memories.items(), strict=True):
        _, slots = memory.top_k_posterior(queries[order])
        row = torch.arange(len(order)).unsqueeze(1).expand_as(slots)
        for value, colour in ((1, REAL), (0, GENERATED)):
            says = memory.values[slots] == value
            axes.plot(slots[says], row[says], linestyle="", marker="s", markersize=1.3, color=colour)
        axes.axhline(int(labels.sum()) - 0.5, color="black", linewidth=0.8)
        axes.set(title=name, xlabel="slot", xlim=(-5, memory.num_slots + 5), ylim=(len(order), -1))
    panels[0].set_ylabel("query (real above the line,\ngenerated below)")
    return figure


def stranger_picture(densities: dict[str, Tensor], probabilities: dict[str, Tensor]) -> Figure:
    """log p(x) against D(x) for groups of queries, by name: known real, known generated, strangers."""
    figure = Figure(figsize=(6.6, 3.3), layout="constrained")
    axes = figure.subplots()
    looks = [(REAL, "o"), (GENERATED, "s"), (PURPLE, "x")]
    for (name, density), (colour, marker) in zip(densities.items(), looks, strict=True):
        axes.plot(density, probabilities[name], linestyle="", marker=marker, color=colour, markersize=4)
        axes.text(float(density.mean()), _height_of_label(name), name, color=colour, ha="center", fontsize=10)
    axes.set(xlabel="$\\log p(x)$ of the mixture, equation (3) (nats)", ylabel="$D(x)$, probability of real")
    axes.set_ylim(-0.12, 1.15)
    hide_top_and_right(axes)
    return figure


def _height_of_label(group: str) -> float:
    """Where the name of a group of queries stands: real ones lie at D = 1, generated ones at 0, strangers anywhere."""
    return {"real": 1.05, "generated": -0.09}.get(group, 1.05)


# -------------------------------------------------------------------- exercises


@attempt
def check_contest(kappa: float) -> str:
    """Exercise 2.1: from which kappa on does a perfect match with h = 1e-5 beat a slot at cosine 0 with h = 2?"""
    truth = math.log(2 / 1e-5)
    if math.isclose(kappa, math.log10(2 / 1e-5), rel_tol=0.02):
        raise Wrong("That is the logarithm to base 10; exp(kappa ...) asks for the natural one.")
    if math.isclose(kappa, truth / 2, rel_tol=0.02):
        raise Wrong("The cosines are 1 and 0, a difference of 1, not 2.")
    if math.isclose(kappa, 2 / 1e-5, rel_tol=0.02):
        raise Wrong("That is the ratio of the two priors. The likelihood must make up for it: exp(kappa (1 - 0)).")
    if not math.isclose(kappa, truth, rel_tol=0.02):
        raise Wrong("Set both joints equal: exp(kappa * 1) * 1e-5 = exp(kappa * 0) * 2, and solve for kappa.")
    return f"log(2 / 0.00001) = {truth:.1f}. Twelve times the paper's kappa, and a little less than that of the MNIST preset."


@attempt
def check_closed_form(answer: Callable[[float], float]) -> str:
    """Exercise 2.2: C_3(kappa) without a Bessel function."""
    for kappa in (0.5, 2.0, 20.0):
        given = float(answered(answer(kappa)))
        truth = float(vmf.log_normaliser(kappa, 3).exp())
        if math.isclose(given * truth, 1, rel_tol=1e-6):
            raise Wrong("You have the integral itself. C is one divided by it.")
        if math.isclose(given / truth, 2 * math.pi, rel_tol=1e-6):
            raise Wrong("Your value is 2 pi times too large: each cosine is a whole circle of directions.")
        if math.isclose(given, truth * math.exp(kappa), rel_tol=1e-6):
            raise Wrong("You have integrated exp(kappa (t - 1)); (2) has exp(kappa t).")
        if not math.isclose(given, truth, rel_tol=1e-6):
            raise Wrong(f"At kappa = {kappa:g} your C integrates the density to {given / truth:.4g}, not to 1.")
    return "kappa / (4 pi sinh kappa), equal to vmf.log_normaliser for M = 3."


@attempt
def check_posterior(answer: Callable[..., Tensor]) -> str:
    """Exercise 2.3: `answer(keys, values, histogram, queries, kappa, label)`: the posterior, or that among one label."""
    memory, queries = _uneven_memory()
    for label in (None, 1, 0):
        expected = _posterior_among(memory, queries, label)
        arguments = (memory.keys, memory.values, memory.histogram, queries, memory.kappa, label)
        given = torch.as_tensor(answered(answer(*arguments)))
        which = f"With label={label}"
        if given.shape != expected.shape:
            raise Wrong(f"Expected shape {list(expected.shape)}, a row for each query, got {list(given.shape)}.")
        if not bool(given.isfinite().all()):
            raise Wrong(f"{which} there are NaNs or infinities: one slot has h = 0, and log(0) needs the beta of (1).")
        given = given.double()
        refuse_mistakes(given, _mistakes_of_the_posterior(memory, queries, label), atol=1e-6)
        sums = given.sum(dim=1)
        if not torch.allclose(sums, torch.ones_like(sums), atol=1e-6):
            raise Wrong(f"{which} your first row sums to {float(sums[0]):.4g}, not to 1.")
        if not torch.allclose(given, expected, atol=1e-6):
            largest = float((given - expected).abs().max())
            raise Wrong(f"{which} the largest difference to the posterior is {largest:.2g}.")
    return "Equal to memory.posterior to 1e-6, and among the real slots to the posterior that (15) needs."


def _posterior_among(memory: VMFMemory, queries: Tensor, label: int | None) -> Tensor:
    """The posterior of the package, renormalised over the slots that carry `label`, [B, N]."""
    posterior = memory.posterior(queries)
    if label is not None:
        posterior = posterior * (memory.values == label)
    return posterior / posterior.sum(dim=1, keepdim=True)


def _mistakes_of_the_posterior(memory: VMFMemory, queries: Tensor, label: int | None) -> list[Mistake]:
    mass = memory.histogram + memory.beta
    cosines = queries @ memory.keys.T
    exponent = memory.kappa * cosines
    if label is not None:
        not_renormalised = memory.posterior(queries) * (memory.values == label)
        other = _posterior_among(memory, queries, 1 - label)
        return [
            Mistake(memory.posterior(queries), f"With label={label} the slots of the other label must get 0."),
            Mistake(
                not_renormalised,
                f"With label={label} your rows no longer sum to 1: divide by the sum over the slots of the label.",
            ),
            Mistake(other, f"With label={label} you kept the slots with v = {1 - label}."),
        ]
    over_the_batch = (exponent + mass.log()).softmax(dim=0)
    mass_in_exponent = (exponent + mass).softmax(dim=1)
    without_prior = exponent.softmax(dim=1)
    kappa_times_prior = (exponent + memory.kappa * mass.log()).softmax(dim=1)
    without_kappa = (cosines + mass.log()).softmax(dim=1)
    return [
        Mistake(
            over_the_batch,
            "Your columns sum to 1, not your rows: normalise over the slots (dim=1), not over the batch.",
        ),
        Mistake(
            mass_in_exponent,
            "You have added h + beta to the exponent. It multiplies exp(kappa K.q), so its LOG is added.",
        ),
        Mistake(without_prior, "You have left out the prior: a slot with a large histogram must weigh more."),
        Mistake(kappa_times_prior, "kappa multiplies the cosine only, not the log of the prior."),
        Mistake(without_kappa, "You have left out kappa."),
    ]


def _uneven_memory() -> tuple[VMFMemory, Tensor]:
    """A float64 memory of 7 slots, one of them with h = 0, and 5 queries."""
    generator = torch.Generator().manual_seed(7)
    memory = VMFMemory(num_slots=7, key_dim=3, top_k=2, kappa=6.0).double()
    memory.keys.copy_(F.normalize(torch.randn(7, 3, generator=generator, dtype=torch.float64), dim=1))
    memory.histogram.copy_(torch.rand(7, generator=generator, dtype=torch.float64) * 3)
    memory.histogram[4] = 0
    queries = F.normalize(torch.randn(5, 3, generator=generator, dtype=torch.float64), dim=1)
    return memory, queries


@attempt
def check_scaling(answer: str) -> str:
    """Exercise 2.4: what does the posterior do if every h is multiplied by 100?"""
    if answer not in ("sharper", "flatter", "the same"):
        raise Wrong("Answer with one of 'sharper', 'flatter', 'the same'.")
    memory, queries = _uneven_memory()
    before = memory.posterior(queries)
    memory.histogram.mul_(100)
    change = float((memory.posterior(queries) - before).abs().max())
    if answer != "the same":
        raise Wrong(f"It was run for you: no posterior changes by more than {change:.0e}. Look at (4) once more.")
    return f"A common factor cancels in (4), but for beta. Run for you: the largest change is below {_above(change)}."


def _above(value: float) -> str:
    """The next power of ten, which survives another machine's rounding."""
    return f"1e{math.floor(math.log10(value)) + 1}"

"""Bonus notebook b1: what MemoryGAN's memory changed of its parent, the life-long memory.

`LifelongMemory` is the memory of Kaiser et al., Learning to Remember Rare Events, ICLR 2017 (arXiv 1703.03129), written
for reading, in float64, from the paper.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from memgan import VMFMemory, vmf
from memgan.plots import GENERATED, REAL, UNUSED
from walkthrough.circle import angles, cluster, direction, ring
from walkthrough.drawing import GREEN, INK, hide_top_and_right


class LifelongMemory:
    """Keys [N, M], values [N] and ages [N]: no histogram, no probabilities.

    A read is the value of the nearest key. A write averages the nearest key with the query where their labels agree,
    and overwrites the oldest slot where they do not.
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys = keys.clone()
        self.values = values.clone()
        self.ages = torch.zeros_like(values)

    def read(self, queries: Tensor) -> Tensor:
        """The value of the nearest key, [B]."""
        return self.values[(queries @ self.keys.T).argmax(dim=1)].to(queries)

    def confidence(self, queries: Tensor, temperature: float = 40.0) -> Tensor:
        """The share of v = 1 in a softmax of `temperature` times the cosines, [B]; their side output, here over all."""
        return (temperature * queries @ self.keys.T).softmax(dim=1) @ self.values.to(queries)

    def write(self, queries: Tensor, labels: Tensor) -> None:
        """One sample after another. (Their random part of the ages, against races of many machines, is left out.)"""
        for query, label in zip(queries, labels, strict=True):
            nearest = int((self.keys @ query).argmax())
            right = bool(self.values[nearest] == label)
            slot = nearest if right else int(self.ages.argmax())
            self.keys[slot] = F.normalize(self.keys[slot] + query, dim=0) if right else query
            self.values[slot] = label
            self.ages += 1
            self.ages[slot] = 0

    def loss(self, queries: Tensor, labels: Tensor, margin: float = 0.1) -> Tensor:
        """Their memory loss, [B]: the nearest key of the wrong value is to be `margin` further than the right one's."""
        cosine = queries @ self.keys.T
        right = self.values == labels.unsqueeze(1)
        wrong_one = cosine.masked_fill(right, -math.inf).amax(dim=1)
        right_one = cosine.masked_fill(~right, -math.inf).amax(dim=1)
        return (wrong_one - right_one + margin).clamp(min=0)


class Stream:
    """Real queries in a frequent mode (180 degrees, 9 in 20) and a rare one (60 degrees, 1 in 20); generated ones at 0.

    All three spread alike (kappa = 12), so the rare mode and the generated one (10 in 20) overlap.
    """

    centres = (180.0, 60.0, 0.0)  # degrees
    shares = (9, 1, 10)  # of 20
    values = (1, 1, 0)
    kappa = 12.0

    def batch(self, generator: torch.Generator, times: int = 1) -> tuple[Tensor, Tensor]:
        """20 queries for each of `times`, in the proportions of the stream and in random order, and their labels."""
        numbers = [times * share for share in self.shares]
        parts = []
        for centre, number in zip(self.centres, numbers, strict=True):
            parts.append(cluster(centre, self.kappa, number, generator))
        labels = torch.tensor(self.values).repeat_interleave(torch.tensor(numbers))
        order = torch.randperm(len(labels), generator=generator)
        return torch.cat(parts)[order], labels[order]

    def probability_real(self, queries: Tensor) -> Tensor:
        """P(real | query), [B]: Bayes' rule on the densities that the queries are drawn from."""
        density = torch.stack([vmf.log_density(queries, direction(c), self.kappa).exp() for c in self.centres])
        joint = density * torch.tensor(self.shares).unsqueeze(1)
        joint_and_real = joint * torch.tensor(self.values).unsqueeze(1)
        return joint_and_real.sum(dim=0) / joint.sum(dim=0)


class Raised(NamedTuple):
    """The two memories after the same stream."""

    memory: VMFMemory
    lifelong: LifelongMemory


def raise_both(writes: int = 80, seed: int = 0) -> Raised:
    """Both memories, 16 slots from the same random keys, after `writes` batches of the stream (20 queries each)."""
    stream = Stream()
    generator = torch.Generator().manual_seed(seed)
    start = (360 * torch.rand(16, generator=generator, dtype=torch.float64)).tolist()
    values = [1] * 8 + [0] * 8
    memory = ring(start, values, [1e-5] * 16, top_k=16, kappa=stream.kappa, alpha=0.95, correct_in_top=16)
    lifelong = LifelongMemory(direction(start), torch.tensor(values))
    for _ in range(writes):
        queries, labels = stream.batch(generator)
        memory.write(queries, labels)
        lifelong.write(queries, labels)
    return Raised(memory, lifelong)


def log_loss(probability: Tensor, labels: Tensor, epsilon: float = 1e-3) -> float:
    """The mean of -log of the probability given to the truth, in nats; probabilities are clipped as D is."""
    clipped = probability.clamp(epsilon, 1 - epsilon)
    return float(-torch.where(labels == 1, clipped, 1 - clipped).log().mean())


def jitter(memory: VMFMemory | LifelongMemory, queries: Tensor) -> float:
    """The standard deviation, in degrees, of the first key while real `queries` are written, the first third apart."""
    places = []
    for query in queries.split(1):
        memory.write(query, torch.tensor([1]))
        places.append((float(angles(memory.keys[0])) + 180) % 360)
    return float(np.std(places[len(places) // 3 :]))


def pulls(theta: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """The two losses of a real query at angles `theta` [n], and their slopes per degree: name -> (loss, slope).

    Two slots: the real one at 0 degrees, the generated one at 90; equal histograms, kappa = 12.
    """
    memory = ring([0, 90], [1, 0], [1, 1], top_k=2, kappa=12.0)
    lifelong = LifelongMemory(memory.keys, memory.values)
    real = torch.ones(len(theta), dtype=torch.long)

    def memory_loss(queries: Tensor) -> Tensor:
        return lifelong.loss(queries, real)

    def gan_loss(queries: Tensor) -> Tensor:
        return -memory.read(queries).log()

    return {
        "margin (Kaiser et al.)": _loss_and_slope(memory_loss, theta),
        "GAN loss, -log D": _loss_and_slope(gan_loss, theta),
    }


def _loss_and_slope(loss: Callable[[Tensor], Tensor], theta: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of queries at angles `theta` [n], in degrees, and its derivative by the angle, [n] each."""
    angle = theta.clone().requires_grad_()
    value = loss(torch.stack([torch.deg2rad(angle).cos(), torch.deg2rad(angle).sin()], dim=1))
    (slope,) = torch.autograd.grad(value.sum(), angle)
    return value.detach(), slope


# ---------------------------------------------------------------- figures


def reading_figure(curves: Mapping[str, Tensor], degrees: Tensor) -> Figure:
    """P(real) as each memory answers it around the circle, unrolled."""
    figure = Figure(figsize=(8.4, 3.3), layout="constrained")
    axes = figure.subplots()
    styles: list[dict[str, Any]] = [
        {"color": INK, "linestyle": "-", "linewidth": 3},
        {"color": REAL, "linestyle": "--", "linewidth": 2},
        {"color": GENERATED, "linestyle": "-.", "linewidth": 1.6},
        {"color": GREEN, "linestyle": ":", "linewidth": 2},
    ]
    for place, ((name, curve), style) in enumerate(zip(curves.items(), styles, strict=True)):
        axes.plot(degrees, curve, **style)
        axes.text(92, 0.62 - 0.13 * place, name, color=style["color"], fontsize=10)
        axes.plot([78, 89], [0.64 - 0.13 * place] * 2, **style)
    axes.set(
        xlabel="angle of the query (degrees)",
        ylabel="P(real)",
        ylim=(-0.03, 1.03),
        xlim=(-60, 240),
        xticks=range(-60, 241, 60),
    )
    for angle, name in [(0, "generated"), (60, "real, rare"), (180, "real, frequent")]:
        axes.axvline(angle, color=UNUSED, linewidth=0.8, zorder=0)
        axes.text(angle, 1.06, name, fontsize=9, color="#555555", ha="center")
    hide_top_and_right(axes)
    return figure


def pulls_figure(theta: Tensor, losses: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Two losses of a real query against its angle, and the size of their slopes."""
    figure = Figure(figsize=(8.6, 3.1), layout="constrained")
    value_axes, slope_axes = figure.subplots(1, 2)
    for (value, slope), (colour, line) in zip(losses.values(), [(GREEN, "--"), (REAL, "-")], strict=True):
        value_axes.plot(theta, value, line, color=colour, linewidth=2)
        slope_axes.plot(theta, slope.abs(), line, color=colour, linewidth=2)
    value_axes.text(66, 6.9, "GAN loss, -log D", color=REAL, ha="right", va="center")
    value_axes.text(90, -0.2, "margin (Kaiser et al.)", color=GREEN, ha="right", va="top")
    value_axes.set_ylim(-1, 7.4)
    value_axes.set(ylabel="loss (nats, or units of cosine)", title="the loss")
    slope_axes.set(ylabel="|slope| (1/degree)", title="what the network feels", yscale="log", ylim=(1e-6, 1))
    for axes in (value_axes, slope_axes):
        axes.set(xlabel="angle of the query (0: real key, 90: generated key)", xticks=range(0, 91, 15))
        hide_top_and_right(axes)
    return figure

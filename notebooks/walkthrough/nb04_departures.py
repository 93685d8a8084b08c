"""What MemoryGAN's memory changed of its parent, and what the authors' code changed of their paper: plain versions.

`LifelongMemory` is the memory of Kaiser et al., Learning to Remember Rare Events, ICLR 2017 (arXiv 1703.03129).
`PublishedMemory` is the memory as the authors of MemoryGAN published it in TensorFlow. Both are written for reading, in
float64, from the papers and from what the published code does; the experiments of notebook 04 run them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from memgan import VMFMemory, vmf
from memgan.plots import GENERATED, REAL, UNUSED
from memgan.reference import ReferenceMemory
from walkthrough.circle import angles, cluster, direction, finds_its_label, reference_of, ring
from walkthrough.drawing import GREEN, INK, hide_top_and_right
from walkthrough.lesson import Wrong, attempt

Vector = NDArray[np.float64]


# ---------------------------------------------------------------- life-long memory


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


def share_replaced(correct_in_top: int, *, writes: int = 30, seed: int = 0) -> float:
    """The share of the stream's queries that replace a slot (N 32, k 8), the first third of the writes apart."""
    stream = Stream()
    generator = torch.Generator().manual_seed(seed)
    start = (360 * torch.rand(32, generator=generator, dtype=torch.float64)).tolist()
    memory = ring(start, [1] * 16 + [0] * 16, [1e-5] * 32, top_k=8, kappa=12.0, correct_in_top=correct_in_top)
    replaces = []
    for _ in range(writes):
        queries, labels = stream.batch(generator)
        replaces.append(~finds_its_label(memory, queries, labels))
        memory.write(queries, labels)
    return float(torch.stack(replaces[writes // 3 :]).double().mean())


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
        "memory loss (Kaiser et al.)": _loss_and_slope(memory_loss, theta),
        "GAN loss, -log D": _loss_and_slope(gan_loss, theta),
    }


def _loss_and_slope(loss: Callable[[Tensor], Tensor], theta: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of queries at angles `theta` [n], in degrees, and its derivative by the angle, [n] each."""
    angle = theta.clone().requires_grad_()
    value = loss(torch.stack([torch.deg2rad(angle).cos(), torch.deg2rad(angle).sin()], dim=1))
    (slope,) = torch.autograd.grad(value.sum(), angle)
    return value.detach(), slope


# ---------------------------------------------------------------- the authors' code


class SlotUpdate(NamedTuple):
    """What a sample writes into a slot."""

    slot: int
    key: Vector
    value: int
    mass: float


class PublishedMemory(ReferenceMemory):
    """The memory as published: the reference with the departures of the code from the paper put in.

    At kappa = 1 and alpha = 0.5 it is the published setting. `lost` counts the updates that another sample of the same
    batch overwrote.
    """

    lost: int = 0

    @classmethod
    def first(cls, num_slots: int, key_dim: int, top_k: int) -> "PublishedMemory":
        """The published beginning: all keys zero, the first half real, every count 1e-5."""
        half = num_slots // 2
        return cls(
            keys=np.zeros((num_slots, key_dim)),
            values=[1] * half + [0] * (num_slots - half),
            ages=[0] * num_slots,
            histogram=[1e-5] * num_slots,
            top_k=top_k,
            kappa=1.0,
            alpha=0.5,
        )

    @classmethod
    def of(cls, memory: VMFMemory) -> "PublishedMemory":
        """The published rules on the contents and settings of `memory`."""
        return cls(**vars(reference_of(memory)))

    def scores(self, query: Vector) -> Vector:
        """exp(kappa (K . q - 1))(h + beta), [N]."""
        return np.exp(self.kappa * (self.keys @ query - 1)) * (np.array(self.histogram) + self.beta)

    def nearest(self, query: Vector, label: int | None = None) -> list[int]:
        """S and S_y. Slots of the other label are not left out of S_y: their cosine is lowered by 2."""
        scores = self.scores(query)
        if label is not None:
            scores = np.where(np.array(self.values) == label, scores, scores * math.exp(-2 * self.kappa))
        return [int(slot) for slot in np.argsort(-scores, kind="stable")[: self.top_k]]

    def joint(self, slot: int, query: Vector) -> float:
        """The read's prior is alpha h + beta."""
        likelihood = np.exp(self.kappa * (self.keys[slot] @ query - 1))
        prior = self.alpha * self.histogram[slot] + self.beta
        return float(likelihood * prior)

    def em(self, query: Vector, slots: list[int]) -> tuple[Vector, Vector]:
        """The slots' new keys and counts for T = 1: each count grows by the sum of gamma, which is 1."""
        gamma = np.array([self.joint(slot, query) for slot in slots])
        gamma /= gamma.sum()
        counts = self.alpha * np.array(self.histogram)[slots] + gamma.sum()
        moved = self.keys[slots] + (gamma / counts)[:, None] * (query - self.keys[slots])
        return moved / np.linalg.norm(moved, axis=1, keepdims=True), counts

    def write_batch(self, queries: Vector, labels: list[int]) -> None:
        """Every sample's update starts from the memory as it was; of several for one slot, the last one stays."""
        oldest = sorted(self.slots, key=lambda slot: -self.ages[slot])
        mean = sum(self.histogram) / len(self.histogram)
        updates = []
        for place, (query, label) in enumerate(zip(queries, labels, strict=True)):
            if self.values[self.nearest(query)[0]] != label:  # the nearest slot alone decides
                updates.append(SlotUpdate(oldest[place], query, label, mean))
                continue
            slots = self.nearest(query, label)
            keys, counts = self.em(query, slots)
            for slot, key, count in zip(slots, keys, counts, strict=True):
                updates.append(SlotUpdate(slot, key, self.values[slot], float(count)))
        self.grow_older()
        for update in updates:
            self.keys[update.slot] = update.key
            self.values[update.slot] = update.value
            self.histogram[update.slot] = update.mass
            self.ages[update.slot] = 0
        self.lost += len(updates) - len({update.slot for update in updates})

    def write(self, query: Vector, label: int) -> None:
        self.write_batch(query[None], [label])


def two_modes(number: int, dim: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    """`number` real queries, 9 in 10 around one direction, and as many generated ones around two others; labels.

    float64, kappa = 60, the four directions at random.
    """
    generator = torch.Generator().manual_seed(seed)
    homes = F.normalize(torch.randn(4, dim, generator=generator, dtype=torch.float64), dim=1)
    rare = number // 10
    numbers = [number - rare, rare, number // 2, number - number // 2]
    parts = []
    for home, how_many in zip(homes, numbers, strict=True):
        parts.append(vmf.sample(home, 60.0, how_many, generator))
    return torch.cat(parts), torch.tensor([1] * number + [0] * number)


def mean_read(memory: VMFMemory | ReferenceMemory, queries: Tensor, number: int = 64) -> float:
    """The mean D of the first `number` queries."""
    if isinstance(memory, VMFMemory):
        return float(memory.read(queries[:number]).mean())
    return float(np.mean([memory.read(query) for query in queries[:number].numpy()]))


# ---------------------------------------------------------------- figures


def reading_figure(curves: Mapping[str, Tensor], degrees: Tensor) -> Figure:
    """P(real) as each memory answers it around the circle, unrolled."""
    figure = Figure(figsize=(8.4, 3.3), layout="constrained")
    axes = figure.subplots()
    styles = [(INK, "-", 2.5), (REAL, "--", 2), (GENERATED, "-.", 1.6), (GREEN, ":", 2)]
    for (name, curve), (colour, line, width) in zip(curves.items(), styles, strict=True):
        axes.plot(degrees, curve, line, color=colour, linewidth=width, label=name)
    axes.set(
        xlabel="angle of the query (degrees)",
        ylabel="P(real)",
        ylim=(-0.03, 1.03),
        xlim=(-60, 240),
        xticks=range(-60, 241, 60),
    )
    for angle, name in [(0, "generated"), (60, "real, rare"), (180, "real, frequent")]:
        axes.axvline(angle, color=UNUSED, linewidth=0.8, zorder=0)
        axes.text(angle + 3, 0.55, name, fontsize=8.5, color="#555555", rotation=90, va="center")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    hide_top_and_right(axes)
    return figure


def pulls_figure(theta: Tensor, losses: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Two losses of a real query against its angle, and the size of their slopes."""
    figure = Figure(figsize=(8.6, 3.1), layout="constrained")
    value_axes, slope_axes = figure.subplots(1, 2)
    for (name, (value, slope)), (colour, line) in zip(losses.items(), [(GREEN, "--"), (REAL, "-")], strict=True):
        value_axes.plot(theta, value, line, color=colour, label=name, linewidth=2)
        slope_axes.plot(theta, slope.abs(), line, color=colour, label=name, linewidth=2)
    value_axes.set(ylabel="loss of a real query (nats; cosine)", title="the loss")
    slope_axes.set(ylabel="|slope| (1/degree)", title="what the network feels", yscale="log", ylim=(1e-6, 1))
    for axes in (value_axes, slope_axes):
        axes.set(xlabel="angle of the query (0: real key, 90: generated key)", xticks=range(0, 91, 15))
        hide_top_and_right(axes)
    value_axes.legend(frameon=False)
    return figure


def counts_figure(series: Mapping[str, Sequence[float]]) -> Figure:
    """Histograms of slots, largest first, as bars."""
    figure = Figure(figsize=(8.4, 2.8), layout="constrained")
    for axes, (name, counts) in zip(figure.subplots(1, len(series), sharey=True), series.items(), strict=True):
        ordered = sorted(counts, reverse=True)
        axes.bar(range(1, len(ordered) + 1), ordered, color=REAL, width=0.8)
        axes.set(xlabel="slots, fullest first", ylabel="h (effective count)", title=name)
        hide_top_and_right(axes)
    return figure


# ---------------------------------------------------------------- exercise


@attempt
def check_averaging(answer: float) -> str:
    """The alpha at which EM on a slot that takes all of each query is the averaging of Kaiser et al."""
    if not 0 < answer <= 1:
        raise Wrong("alpha must lie in (0, 1].")
    memory = ring([10, 190], [1, 0], [1 / max(1 - answer, 1e-9), 1e-5], top_k=1, kappa=20.0, alpha=float(answer))
    lifelong = LifelongMemory(memory.keys, memory.values)
    for query in cluster(30, 20, 20, torch.Generator().manual_seed(0)).split(1):
        memory.write(query, torch.tensor([1]))
        lifelong.write(query, torch.tensor([1]))
    apart = float((memory.keys - lifelong.keys).norm(dim=1).max())
    if apart > 1e-9:
        weight = "less" if answer > 0.5 else "more"
        raise Wrong(f"After 20 queries the keys are {apart:.3f} apart: here a new query counts {weight} than the key.")
    return "Twenty queries later both keys are the same to 1e-9: averaging is EM with a memory of two queries."

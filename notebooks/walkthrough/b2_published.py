"""Bonus notebook b2: what the authors' code changed of their paper, and what their rule does on these networks.

`PublishedMemory` is the memory as the authors of MemoryGAN published it in TensorFlow, written for reading, in float64,
from what the published code does.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from memgan import VMFMemory, vmf
from memgan.plots import REAL
from memgan.reference import ReferenceMemory
from walkthrough.b1_life_long import Stream
from walkthrough.circle import finds_its_label, reference_of, ring
from walkthrough.drawing import hide_top_and_right

Vector = NDArray[np.float64]


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


def counts_figure(series: Mapping[str, Sequence[float]]) -> Figure:
    """Histograms of slots, largest first, as bars."""
    figure = Figure(figsize=(8.4, 2.8), layout="constrained")
    for axes, (name, counts) in zip(figure.subplots(1, len(series), sharey=True), series.items(), strict=True):
        ordered = sorted(counts, reverse=True)
        axes.bar(range(1, len(ordered) + 1), ordered, color=REAL, width=0.8)
        axes.set(xlabel="slots, fullest first", ylabel="h (effective count)", title=name)
        hide_top_and_right(axes)
    return figure

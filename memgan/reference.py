"""The method as plain loops: one sample at a time, float64, nothing clever.

Read this first. Numbers in brackets are equations of docs/notation.md; the tests hold `memgan.memory`, which does
the same for whole batches on a GPU, to what these loops compute. Vectors are NumPy arrays, slots are counted by
plain integers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ReferenceMemory"]

Vector = NDArray[np.float64]


@dataclass
class ReferenceMemory:
    """Keys K, values v, ages a and histogram h of N slots, and the settings of `memgan.MemorySettings`."""

    keys: Vector  # [N, M], unit rows
    values: list[int]  # [N], 1 real, 0 generated
    ages: list[int]  # [N]
    histogram: list[float]  # [N]
    top_k: int
    kappa: float
    alpha: float
    beta: float = 1e-8
    em_steps: int = 1
    correct_in_top: int = 1
    touch: str = "best"
    replace_within_label: bool = True
    epsilon: float = 1e-3

    @property
    def slots(self) -> range:
        return range(len(self.keys))

    def joint(self, slot: int, query: Vector) -> float:
        """p(c=i) p(x|c=i) up to a constant that no slot changes: exp(kappa K_i . q)(h_i + beta). (1, 2)"""
        # exp(kappa (K . q - 1)) differs by a constant factor and cannot overflow
        return float(np.exp(self.kappa * (self.keys[slot] @ query - 1)) * (self.histogram[slot] + self.beta))

    def posterior(self, query: Vector) -> list[float]:
        """p(c=i|x), Bayes' rule. (4)"""
        joint = [self.joint(slot, query) for slot in self.slots]
        return [j / sum(joint) for j in joint]

    def log_posterior_of(self, slot: int, query: Vector) -> float:
        """log p(c=i|x, v=1): Bayes' rule among the real slots. (15)"""
        if self.values[slot] != 1:
            return -np.inf
        joint_of_real = [self.joint(i, query) for i in self.slots if self.values[i] == 1]
        return float(np.log(self.joint(slot, query) / sum(joint_of_real)))

    def nearest(self, query: Vector, label: int | None = None) -> list[int]:
        """S, the k most probable slots, best first; with a label S_y, the same among the slots that carry it. (5, 7)"""
        candidates = [slot for slot in self.slots if label is None or self.values[slot] == label]
        return sorted(candidates, key=lambda slot: -self.joint(slot, query))[: self.top_k]

    def read(self, query: Vector) -> float:
        """D(x): the share of real slots in the posterior over S, clipped. (6)"""
        joint = {slot: self.joint(slot, query) for slot in self.nearest(query)}
        probability = sum(self.values[slot] * j for slot, j in joint.items()) / sum(joint.values())
        return min(max(probability, self.epsilon), 1 - self.epsilon)

    def write(self, query: Vector, label: int) -> None:
        """One sample: replace the oldest slot if the memory is wrong about it, else EM. (7-10)"""
        looked_at = self.nearest(query)[: self.correct_in_top]
        if not any(self.values[slot] == label for slot in looked_at):
            self.replace(query, label)
        else:
            self.expectation_maximisation(query, label)

    def replace(self, query: Vector, label: int) -> None:
        """Overwrite the oldest slot, ties by index. (7)"""
        oldest = self.oldest_first(label)[0]
        mean = sum(self.histogram) / len(self.histogram)
        self.grow_older()
        self.keys[oldest], self.values[oldest] = query, label
        self.ages[oldest], self.histogram[oldest] = 0, mean

    def expectation_maximisation(self, query: Vector, label: int) -> None:
        """T steps of incremental EM on S_y, from h^0 = alpha h and gamma^0 = 0. (8-10)"""
        matching = self.nearest(query, label)
        self.grow_older()
        for slot in matching if self.touch == "all" else matching[:1]:
            self.ages[slot] = 0
        for slot in matching:
            self.histogram[slot] *= self.alpha
        before = dict.fromkeys(matching, 0.0)
        for _ in range(self.em_steps):
            joint = {slot: self.joint(slot, query) for slot in matching}
            gamma = {slot: j / sum(joint.values()) for slot, j in joint.items()}  # E-step (8)
            for slot in matching:
                change = gamma[slot] - before[slot]
                self.histogram[slot] += change  # M-step (9)
                if self.histogram[slot] > 0:
                    moved = self.keys[slot] + change / self.histogram[slot] * (query - self.keys[slot])
                    self.keys[slot] = moved / np.linalg.norm(moved)  # M-step (10)
            before = gamma

    def write_batch(self, queries: Vector, labels: list[int]) -> None:
        """A whole batch as one EM step on summed statistics: each slot decays once and moves by all its samples.

        Equals `write` for a batch of one, and one `write` after another where nobody replaces and no sample's write
        changes what another finds (but for the ages, which grow by one with each call).
        """
        found = [[self.values[slot] for slot in self.nearest(query)[: self.correct_in_top]] for query in queries]
        right = [b for b, label in enumerate(labels) if label in found[b]]
        wrong = [b for b, label in enumerate(labels) if label not in found[b]]
        matching = {b: self.nearest(queries[b], labels[b]) for b in right}
        replaced: dict[int, int] = {}  # slot -> sample
        for b in sorted(wrong, key=lambda b: (turn(queries[b]), b)):
            replaced[next(slot for slot in self.oldest_first(labels[b]) if slot not in replaced)] = b
        mean = sum(self.histogram) / len(self.histogram)

        self.grow_older()
        for b in right:
            for slot in matching[b] if self.touch == "all" else matching[b][:1]:
                self.ages[slot] = 0
        moving = {slot for b in right for slot in matching[b]} - set(replaced)
        for slot in moving:
            self.histogram[slot] *= self.alpha
        before = {(b, slot): 0.0 for b in right for slot in matching[b]}
        for _ in range(self.em_steps):
            gamma: dict[tuple[int, int], float] = {}
            for b in right:
                joint = {slot: self.joint(slot, queries[b]) for slot in matching[b]}
                gamma |= {(b, slot): j / sum(joint.values()) for slot, j in joint.items()}
            for slot in moving:
                change = {b: gamma[b, slot] - before[b, slot] for b in right if slot in matching[b]}
                self.histogram[slot] += sum(change.values())
                if self.histogram[slot] > 0:
                    pull = [c / self.histogram[slot] * (queries[b] - self.keys[slot]) for b, c in change.items()]
                    moved = self.keys[slot] + sum(pull)
                    self.keys[slot] = moved / np.linalg.norm(moved)
            before = gamma
        for slot, b in replaced.items():
            self.keys[slot], self.values[slot] = queries[b], labels[b]
            self.ages[slot], self.histogram[slot] = 0, mean

    def recount(self, queries: Vector, prior_weight: float = 0.5) -> None:
        """After a training: what each real slot holds of real queries; its h is the prior, to a power. (17)"""
        real = [slot for slot in self.slots if self.values[slot] == 1]
        mass = sum(self.histogram[slot] for slot in real)
        counts = dict.fromkeys(real, 0.0)
        for query in queries:
            joint = {
                slot: np.exp(self.kappa * (self.keys[slot] @ query - 1))
                * (self.histogram[slot] + self.beta) ** prior_weight
                for slot in real
            }
            for slot in real:
                counts[slot] += float(joint[slot] / sum(joint.values()))
        for slot in real:
            self.histogram[slot] = mass * counts[slot] / len(queries)

    def oldest_first(self, label: int) -> list[int]:
        """The slots that a sample with this label may overwrite, oldest first, ties by index."""
        pool = [i for i in self.slots if self.values[i] == label or not self.replace_within_label]
        return sorted(pool, key=lambda slot: (-self.ages[slot], slot))

    def grow_older(self) -> None:
        self.ages = [age + 1 for age in self.ages]

    def sampling_probabilities(self) -> list[float]:
        """p(c=i|v=1), how often the generator is given each slot. (11)"""
        mass = [h * v for h, v in zip(self.histogram, self.values, strict=True)]
        return [m / sum(mass) for m in mass]

    def log_likelihood(self, query: Vector, log_normaliser: float) -> float:
        """log p(x) = log sum_i p(c=i) C_M(kappa) exp(kappa K_i . q), given log C_M(kappa). (3)"""
        prior = [(h + self.beta) / sum(g + self.beta for g in self.histogram) for h in self.histogram]
        exponents = [self.kappa * (self.keys[slot] @ query) for slot in self.slots]
        return log_normaliser + float(np.logaddexp.reduce(np.log(prior) + exponents))


def turn(query: Vector) -> float:
    """Who replaces first, the smallest: an order of samples that does not depend on their order in the batch."""
    return float(query @ np.sqrt(np.arange(1, len(query) + 1)))

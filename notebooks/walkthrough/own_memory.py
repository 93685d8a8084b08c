"""The memory that the reader builds: the functions of the exercises of notebooks 2 to 6, put together.

Each function is checked on its own where it is asked for. `OwnMemory` puts them in the place of the package's, so that a
MemoryGAN trains with them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from memgan import MemoryGAN, VMFMemory
from memgan.gan import Generated, Information
from memgan.memory import MemorySettings
from walkthrough.circle import finds_its_label, slots_of

__all__ = ["OwnGAN", "OwnMemory", "Parts"]


@dataclass(frozen=True)
class Parts:
    """What the reader writes. `memory` has `keys`, `values`, `ages` and `histogram`, and the settings as attributes."""

    read: Callable[[Tensor, Tensor, Tensor, Tensor, float, int], Tensor]  # keys, values, histogram, queries, kappa, k
    replace: Callable[[VMFMemory, Tensor, int], None]  # memory, query [M], label: changes the memory in place
    em_step: Callable[[VMFMemory, Tensor, int], None]  # memory, queries [B, M], label: changes the memory in place
    sample: Callable[[Tensor, Tensor, int], Tensor] | None = None  # values, histogram, number: slots [number]
    information: Callable[..., Tensor] | None = (
        None  # keys, values, histogram, slots [B], queries [B, M], kappa: I_post
    )


class OwnMemory(VMFMemory):
    """A `VMFMemory` that reads, writes and samples by `parts`. (4-11)

    One rule decides here: which samples are written by EM and which replace. A batch is written in this order: all slots
    grow one older, EM for the known samples of each label, then one replacement after another.
    """

    def __init__(self, settings: MemorySettings, parts: Parts) -> None:
        super().__init__(**vars(settings))
        self.parts = parts

    def read(self, queries: Tensor) -> Tensor:
        """D(x), [B]. The keys are copied, because a write may change them before the backward pass needs them."""
        queries = F.normalize(queries, dim=1)
        return self.parts.read(
            self.keys.clone(), self.values.clone(), self.histogram.clone(), queries, self.kappa, self.top_k
        )

    def read_write(self, queries: Tensor, labels: Tensor) -> Tensor:
        """D(x) as it was before the write, [B]."""
        probability = self.read(queries)
        self.write(queries, labels)
        return probability

    @torch.no_grad()
    def write(self, queries: Tensor, labels: Tensor) -> None:
        """Write `queries` [B, M] with `labels` [B]."""
        queries = F.normalize(queries.detach(), dim=1)
        labels = labels.long()
        known = finds_its_label(self, queries, labels)
        best = slots_of(self, queries, labels)[:, 0]
        self.ages += 1
        for label in (0, 1):
            chosen = known & (labels == label)
            if bool(chosen.any()):
                self.parts.em_step(self, queries[chosen], label)
                self.ages[best[chosen]] = 0
        for query, label in zip(queries[~known], labels[~known].tolist(), strict=True):
            self.parts.replace(self, query, label)

    @torch.no_grad()
    def sample(self, num_samples: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Keys [num_samples, M] and slots [num_samples], by the reader's `sample` where there is one."""
        if self.parts.sample is None:
            return super().sample(num_samples, generator)
        slots = self.parts.sample(self.values, self.histogram, num_samples)
        return self.keys[slots], slots


class OwnGAN(MemoryGAN):
    """A MemoryGAN on an `OwnMemory`, whose second information loss is the reader's, where there is one. (15)"""

    def information(self, generated: Generated, queries: Tensor, bound: Information = "density") -> Tensor:
        """I_hat (14), or the reader's I_post (15), of `generated` images and their `queries` [B, M]."""
        memory = self.memory
        assert isinstance(memory, OwnMemory)
        if bound == "density" or memory.parts.information is None:
            return super().information(generated, queries, bound)
        contents = (memory.keys.clone(), memory.values.clone(), memory.histogram.clone())
        return memory.parts.information(*contents, generated.slots, queries, memory.kappa)

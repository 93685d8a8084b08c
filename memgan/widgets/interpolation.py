"""Interpolation: a walk between two samples, beside it a plain GAN's, and what a classifier says on the way."""

from typing import Any

import torch
import torch.nn.functional as F
import traitlets
from torch import Tensor, nn

from memgan.evaluation import Classifier
from memgan.gan import MemoryGAN
from memgan.widgets.base import ExplorerWidget, script, sheet
from memgan.widgets.export import export_generator, export_network
from memgan.widgets.slots import evaluating, fitting, random_noises

__all__ = ["Interpolation"]

POINTS = 11  # images of a walk, both ends included; interpolation.js has the same


class Interpolation(ExplorerWidget):
    """A walk from G(K_c, z) to another, with c in `slots` and z in `noises`; z always goes straight from end to end.

    `kind` says what the key does: "slot", it stays that of the first slot; "switch", it changes in the middle, which
    still has the first; "keys", it goes along the great circle between them: straight, then put back on the sphere.
    `position` in [0, 1] is where the large image is. A `baseline` without keys, such as a DCGAN, walks between its own
    two `baseline_noises`. A `classifier` says under each image how sure it is of which class. The inherited `slot` is
    `slots[0]`. Raises ValueError for a baseline that does not suit, TraitError for values that do not.
    """

    _esm = script("interpolation.js")

    kind = traitlets.Enum(["slot", "switch", "keys"], "switch").tag(sync=True)
    slots = traitlets.List(traitlets.Int()).tag(sync=True)
    noises = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    baseline_noises = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    position = traitlets.Float(0.0, min=0.0, max=1.0).tag(sync=True)
    baseline = traitlets.Dict().tag(sync=True)  # `export_generator` of it
    classifier = traitlets.Dict().tag(sync=True)  # `export_network` of it

    def __init__(
        self, gan: MemoryGAN, baseline: MemoryGAN | None = None, classifier: Classifier | None = None, **state: Any
    ) -> None:
        if state.get("slots"):
            state["slot"] = state["slots"][0]
        self._baseline = baseline
        super().__init__(gan, **state)
        shape = self.gan["image_shape"]
        if baseline is not None:
            self.baseline = export_generator(baseline)
            if self.baseline["key_dim"] or self.baseline["image_shape"] != shape:
                raise ValueError(
                    f"expected a baseline without keys and with images {shape}, got {type(baseline).__name__} "
                    f"with {self.baseline['key_dim']} numbers of a key and images {self.baseline['image_shape']}"
                )
        if classifier is not None:
            layers = nn.Sequential(classifier.features, classifier.head)
            self.classifier = export_network(layers, torch.zeros(1, *shape))

    def refresh(self) -> None:
        super().refresh()
        if self._baseline is not None:
            self.baseline = export_generator(self._baseline)

    @torch.no_grad()
    def walk(self) -> Tensor:
        """The walk's images as PyTorch computes them, [POINTS, C, H, W]."""
        at = torch.linspace(0, 1, POINTS).unsqueeze(1)
        first, second = self._live.memory.keys[self.slots].cpu()
        if self.kind == "keys":
            keys = F.normalize(first.lerp(second, at), dim=1)
        else:
            keys = torch.where((at <= 0.5) | (self.kind == "slot"), first, second)
        return _straight(self._live, keys, self.noises)

    @torch.no_grad()
    def baseline_walk(self) -> Tensor:
        """The same of the baseline, whose images depend on z alone; without one, none of them."""
        if self._baseline is None:
            return torch.zeros(0, *self.gan["image_shape"])
        return _straight(self._baseline, torch.zeros(POINTS, 0), self.baseline_noises)

    @traitlets.default("slots")
    def _far_apart(self) -> list[int]:
        """The most used slot, and of the 20 most used the one whose key is farthest from it."""
        memory = self._live.memory
        used = (memory.histogram * memory.values).argsort(descending=True)[:20]
        return [int(used[0]), int(used[(memory.keys[used] @ memory.keys[used[0]]).argmin()])]

    @traitlets.default("noises")
    def _corner_to_corner(self) -> list[list[float]]:
        return [[edge] * self.gan["noise_dim"] for edge in (-0.6, 0.6)]

    @traitlets.default("baseline_noises")
    def _any_two(self) -> list[list[float]]:
        return random_noises(2, self._baseline.generator.noise_dim) if self._baseline is not None else []

    @traitlets.validate("slots")
    def _slots_exist(self, proposal: Any) -> list[int]:
        slots, number = proposal["value"], len(self.gan["values"])
        if len(slots) != 2 or not all(0 <= slot < number for slot in slots):
            raise traitlets.TraitError(f"slots must be two of 0..{number - 1}, got {slots}")
        return slots

    @traitlets.validate("noises", "baseline_noises")
    def _noises_fit(self, proposal: Any) -> list[list[float]]:
        name, ends = proposal["trait"].name, proposal["value"]
        if name == "noises":
            return fitting(name, ends, self.gan["noise_dim"], 2)
        if self._baseline is None:
            return fitting(name, ends, 0, 0)
        return fitting(name, ends, self._baseline.generator.noise_dim, 2)

    @traitlets.observe("slot", "slots")
    def _first_slot(self, change: Any) -> None:
        if change["name"] == "slots":
            self.slot = self.slots[0]
        else:
            self.slots = [self.slot, self.slots[1]]

    def picture(self) -> bytes:
        return sheet(torch.cat([self.walk(), self.baseline_walk()]), POINTS, scale=3)

    def __repr__(self) -> str:
        beside = ", a plain GAN below" if self._baseline is not None else ""
        return f"Interpolation(slots {self.slots[0]} and {self.slots[1]}, kind {self.kind}{beside})"


def _straight(gan: MemoryGAN, keys: Tensor, ends: list[list[float]]) -> Tensor:
    """G of `keys` [n, M] and of n noises on the straight line between two, [n, C, H, W], in evaluation mode."""
    noise = torch.tensor(ends)[0].lerp(torch.tensor(ends)[1], torch.linspace(0, 1, len(keys)).unsqueeze(1))
    device = next(gan.generator.parameters()).device
    with evaluating(gan.generator):
        return gan.generator(keys.to(device), noise.to(device)).cpu()

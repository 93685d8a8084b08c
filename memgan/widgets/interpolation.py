"""Interpolation: a walk between two samples, beside it a plain GAN's, and what a classifier says on the way."""

from typing import Any

import torch
import torch.nn.functional as F
import traitlets
from torch import Tensor, nn

from memgan.gan import MemoryGAN
from memgan.widgets.base import ExplorerWidget, checked_noises, script, sheet, still
from memgan.widgets.export import export_generator, export_network
from memgan.widgets.slots import random_noises

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
        self, gan: MemoryGAN, baseline: MemoryGAN | None = None, classifier: nn.Module | None = None, **state: Any
    ) -> None:
        if len(state.get("slots", ())):
            state["slot"] = state["slots"][0]
        if baseline is not None:
            state["baseline"] = exported = export_generator(baseline)
            state = {"baseline_noises": random_noises(2, baseline.noise_dim)} | state
            shape, got = list(getattr(gan, "image_shape", ())), exported["image_shape"]
            if exported["key_dim"] or got != shape:
                what = f"{type(baseline).__name__} with {exported['key_dim']} numbers of a key and images {got}"
                raise ValueError(f"expected a baseline without keys and with images {shape}, got {what}")
        if classifier is not None:
            state["classifier"] = export_network(classifier, torch.zeros(1, *(gan.image_shape or ())))
        self._baseline = baseline
        super().__init__(gan, **state)

    def refresh(self) -> None:
        super().refresh()
        if self._baseline is not None:
            self.baseline = export_generator(self._baseline)

    def walk(self) -> Tensor:
        """The walk's images as PyTorch computes them, [POINTS, C, H, W]."""
        at, gan = torch.linspace(0, 1, POINTS).unsqueeze(1), still(self._live)
        first, second = gan.memory.keys[self.slots]
        if self.kind == "keys":
            keys = F.normalize(first.lerp(second, at), dim=1)
        else:
            keys = torch.where((at <= 0.5) | (self.kind == "slot"), first, second)
        return gan.generator(keys, _straight(self.noises))

    def baseline_walk(self) -> Tensor:
        """The same of the baseline, whose images depend on z alone; without one, none of them."""
        if self._baseline is None:
            return torch.zeros(0, *self.gan["image_shape"])
        return still(self._baseline).generator(torch.zeros(POINTS, 0), _straight(self.baseline_noises))

    @traitlets.default("slots")
    def _far_apart(self) -> list[int]:
        """The most used slot, and of the 20 most used the one whose key is farthest from it."""
        memory = self._live.memory
        used = memory.slot_probabilities().argsort(descending=True)[:20]
        return [int(used[0]), int(used[(memory.keys[used] @ memory.keys[used[0]]).argmin()])]

    @traitlets.default("noises")
    def _corner_to_corner(self) -> list[list[float]]:
        return [[edge] * self.gan["noise_dim"] for edge in (-0.6, 0.6)]

    @traitlets.validate("slots")
    def _slots_exist(self, proposal: Any) -> list[int]:
        slots, number = proposal["value"], len(self.gan["values"])
        if len(slots) != 2 or not all(0 <= slot < number for slot in slots):
            raise traitlets.TraitError(f"slots must be two of 0..{number - 1}, got {slots}")
        return slots

    @traitlets.validate("noises", "baseline_noises")
    def _noises_fit(self, proposal: Any) -> list[list[float]]:
        name = proposal["trait"].name
        of = self.gan if name == "noises" else self.baseline
        return checked_noises(name, proposal["value"], *((2, of["noise_dim"]) if of else (0, 0)))

    @traitlets.observe("slot", "slots")
    def _first_slot(self, change: Any) -> None:
        self.slot = self.slots[0] if change["name"] == "slots" else self.slot
        self.slots = [self.slot, self.slots[1]]

    def picture(self) -> bytes:
        return sheet(torch.cat([self.walk(), self.baseline_walk()]), POINTS, scale=3)

    def __repr__(self) -> str:
        beside = ", a plain GAN below" if self._baseline is not None else ""
        return f"Interpolation(slots {self.slots[0]} and {self.slots[1]}, kind {self.kind}{beside})"


def _straight(ends: list[list[float]]) -> Tensor:
    """POINTS noises [POINTS, Z] on the line between two."""
    first, second = torch.tensor(ends)
    return first.lerp(second, torch.linspace(0, 1, POINTS).unsqueeze(1))

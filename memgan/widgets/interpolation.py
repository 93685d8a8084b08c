"""Interpolation: a walk between two samples, beside it a plain GAN's, and what a classifier says on the way."""

from typing import Any

import torch
import torch.nn.functional as F
import traitlets
from torch import Tensor, nn

from memgan.gan import AdversarialModel, MemoryGAN
from memgan.memory import VMFMemory
from memgan.plots import legible
from memgan.widgets.base import ExplorerWidget, checked_noises, noise_tensor, script, sheet, still
from memgan.widgets.export import export_generator, export_network
from memgan.widgets.slots import random_noises

__all__ = ["Interpolation"]

POINTS = 11  # images of a walk, both ends included; interpolation.js has the same


class Interpolation(ExplorerWidget):
    """A walk from G(K_c, z) to another, with c in `slots` and z in `noises`; z always goes straight from end to end.

    `kind` says what the key does: "slot", it stays that of the first slot; "switch", it changes in the middle, which
    still has the first; "keys", it goes along the great circle between them: straight, then put back on the sphere.
    `position` in [0, 1] is where the large image is. A `baseline` without keys, such as a DCGAN, walks between its own
    two `baseline_noises`. A `classifier` says under each image how sure it is of which class; its classes may have
    `class_names`. The inherited `slot` is `slots[0]`. Raises ValueError for a baseline that does not suit, TraitError
    for values that do not.
    """

    _esm = script("interpolation.js")

    kind = traitlets.Enum(["slot", "switch", "keys"], "switch").tag(sync=True)
    slots = traitlets.List(traitlets.Int()).tag(sync=True)
    noises = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    baseline_noises = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    position = traitlets.Float(0.0, min=0.0, max=1.0).tag(sync=True)
    baseline = traitlets.Dict().tag(sync=True)  # `export_generator` of it
    classifier = traitlets.Dict().tag(sync=True)  # `export_network` of it
    class_names = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(
        self,
        gan: MemoryGAN,
        baseline: AdversarialModel | None = None,
        classifier: nn.Module | None = None,
        **state: Any,
    ) -> None:
        if len(state.get("slots", ())) > 0:
            state["slot"] = state["slots"][0]
        if baseline is not None:
            state["baseline"] = _exported_baseline(gan, baseline)
            if "baseline_noises" not in state:
                state["baseline_noises"] = random_noises(2, baseline.noise_dim)
        if classifier is not None:
            example = torch.zeros(1, *_image_shape(gan), dtype=torch.float32, device="cpu")
            state["classifier"] = export_network(classifier, example)
        self._baseline = baseline
        super().__init__(gan, **state)

    def refresh(self) -> None:
        super().refresh()
        if self._baseline is not None:
            self.baseline = export_generator(self._baseline)

    def close(self) -> None:
        self._baseline = None
        super().close()

    def walk(self) -> Tensor:
        """The walk's images as PyTorch computes them, [POINTS, C, H, W]."""
        gan = still(self._live)
        first, second = gan.memory.keys[self.slots]
        at = _steps()
        if self.kind == "slot":
            keys = first.expand(POINTS, -1)
        elif self.kind == "switch":
            keys = torch.where(at <= 0.5, first, second)
        else:
            keys = F.normalize(first.lerp(second, at), dim=1)
        return gan.generator(keys, _straight(self.noises))

    def baseline_walk(self) -> Tensor:
        """The same of the baseline, whose images depend on z alone; without one, none of them."""
        if self._baseline is None:
            return torch.zeros(0, *self.gan["image_shape"], dtype=torch.float32, device="cpu")
        noises = _straight(self.baseline_noises)
        return still(self._baseline).generator(noises.new_zeros(POINTS, 0), noises)

    @traitlets.default("slots")
    def _far_apart(self) -> list[int]:
        return _slots_far_apart(self._live.memory)

    def _leave_missing_slots(self) -> None:
        if max(self.slots) >= len(self.gan["values"]):
            self.slots = _slots_far_apart(self._live.memory)

    @traitlets.default("noises")
    def _corner_to_corner(self) -> list[list[float]]:
        length = self.gan["noise_dim"]
        return [[-0.6] * length, [0.6] * length]

    @traitlets.validate("slots")
    def _slots_exist(self, proposal: Any) -> list[int]:
        slots = proposal["value"]
        number = len(self.gan["values"])
        if len(slots) != 2 or not all(0 <= slot < number for slot in slots):
            raise traitlets.TraitError(f"slots must be two of 0..{number - 1}, got {slots}")
        return slots

    @traitlets.validate("noises")
    def _noises_fit(self, proposal: Any) -> list[list[float]]:
        return checked_noises("noises", proposal["value"], 2, self.gan["noise_dim"])

    @traitlets.validate("baseline_noises")
    def _baseline_noises_fit(self, proposal: Any) -> list[list[float]]:
        noises = proposal["value"]
        if not self.baseline:
            return checked_noises("baseline_noises", noises, 0, 0)
        return checked_noises("baseline_noises", noises, 2, self.baseline["noise_dim"])

    @traitlets.validate("class_names")
    def _names_legible(self, proposal: Any) -> list[str]:
        return [legible(name) for name in proposal["value"]]

    @traitlets.observe("slot", "slots")
    def _first_slot(self, change: Any) -> None:
        """Keep `slot` and `slots[0]` the same, whichever of them was set."""
        if change["name"] == "slots":
            self.slot = self.slots[0]
        else:
            self.slots = [self.slot, self.slots[1]]

    def picture(self) -> bytes:
        return sheet(torch.cat([self.walk(), self.baseline_walk()]), POINTS, scale=3)

    def __repr__(self) -> str:
        beside = ", a plain GAN below" if self.baseline else ""
        return f"Interpolation(slots {self.slots[0]} and {self.slots[1]}, kind {self.kind}{beside})"


def _slots_far_apart(memory: VMFMemory) -> list[int]:
    """The most used slot, and of the 20 most used the one whose key is farthest from it."""
    most_used = memory.slot_probabilities().argsort(descending=True)[:20]
    first = most_used[0]
    cosines = memory.keys[most_used] @ memory.keys[first]
    return [int(first), int(most_used[cosines.argmin()])]


def _steps() -> Tensor:
    """How far along the walk each of its images is, in [0, 1], [POINTS, 1]."""
    return torch.linspace(0, 1, POINTS, dtype=torch.float32, device="cpu").unsqueeze(1)


def _straight(ends: list[list[float]]) -> Tensor:
    """POINTS noises [POINTS, Z] on the line between two."""
    first, second = noise_tensor(ends)
    return first.lerp(second, _steps())


def _image_shape(gan: AdversarialModel) -> list[int]:
    """[C, H, W], or nothing where the model has not been told yet."""
    return list(getattr(gan, "image_shape", None) or ())


def _exported_baseline(gan: MemoryGAN, baseline: AdversarialModel) -> dict[str, Any]:
    """`export_generator` of a baseline without keys whose images have the shape of those of `gan`."""
    exported = export_generator(baseline)
    shape = _image_shape(gan)
    if exported["key_dim"] > 0 or exported["image_shape"] != shape:
        found = f"{exported['key_dim']} numbers of a key and images {exported['image_shape']}"
        what = f"{type(baseline).__name__} with {found}"
        raise ValueError(f"expected a baseline without keys and with images {shape}, got {what}")
    return exported

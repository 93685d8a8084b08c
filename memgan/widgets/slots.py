"""Slot explorer: what a slot of the memory counts, which real images lie near it, and what G makes of it."""

from typing import Any

import torch
import traitlets
from sklearn.manifold import TSNE
from torch import Tensor, nn

from memgan.gan import MemoryGAN
from memgan.widgets.base import ExplorerWidget, checked_noises, script, sheet, still

__all__ = ["SlotExplorer", "random_noises"]

SAMPLES, JUDGED, NEAREST = 16, 8, 4  # images of a slot to look at; for its class; real images beside it
MOST_BYTES = 600_000  # of real images: a notebook stores them


class SlotExplorer(ExplorerWidget):
    """Pick a `slot` c from a sheet, from a map of the keys, or by a draw; see its counts, and samples G(K_c, z).

    Real `images` [n, C, H, W] in [-1, 1] are shown beside the slots that they are nearest to, by the cosine of mu(x)
    and K_c. With a `classifier` a slot has a class: what most of 8 images of it are taken for. The sheet's `order` is
    "use", "class" or "age"; `noises` are the z of the samples; `table` holds what is computed of every slot that the
    generator is given, most used first. Raises ValueError for images of another shape, TraitError for a `noises` that
    does not fit and for classes without a classifier.
    """

    _esm = script("slots.js")

    order = traitlets.Enum(["use", "class", "age"], "use").tag(sync=True)
    noises = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    table = traitlets.Dict().tag(sync=True)

    def __init__(
        self, gan: MemoryGAN, images: Tensor | None = None, classifier: nn.Module | None = None, **state: Any
    ) -> None:
        self._images, self._classifier = images, classifier
        super().__init__(gan, **state)
        self.noises = self.noises or random_noises(SAMPLES, self.gan["noise_dim"])
        if images is not None and (not len(images) or list(images.shape[1:]) != list(gan.image_shape or ())):
            raise ValueError(f"expected real images [n, *{list(gan.image_shape or ())}], got {list(images.shape)}")
        self.table = self._tabulate()

    def refresh(self) -> None:
        with self.hold_sync():
            super().refresh()
            self.table = self._tabulate()

    def _tabulate(self) -> dict[str, Any]:
        """A list for each property, with an entry for each slot that can be drawn, most used first."""
        gan = still(self._live)
        mass = gan.memory.slot_probabilities()
        slots = mass.argsort(descending=True, stable=True)[: int((mass > 0).sum())]
        keys = gan.memory.keys[slots]
        table: dict[str, Any] = {"slots": slots.tolist(), "places": _places(keys)}
        if self._classifier is not None and len(keys):
            noise = torch.tensor(random_noises(JUDGED, gan.noise_dim))
            pairs = keys.repeat_interleave(JUDGED, dim=0), noise.repeat(len(keys), 1)
            drawn = [gan.generator(*part) for part in zip(*(pair.split(512) for pair in pairs), strict=True)]
            judge = still(self._classifier)
            answers = torch.cat([judge(part).argmax(dim=1) for part in drawn]).view(-1, JUDGED)
            classes = answers.mode(dim=1).values
            table |= {"classes": classes.tolist(), "agreed": (answers == classes[:, None]).sum(dim=1).tolist()}
        if self._images is not None and len(keys):
            queries = torch.cat([gan.inference(part) for part in self._images.cpu().split(512)])
            keys = keys[: MOST_BYTES // (NEAREST * self._images[0].numel())]
            cosines, nearest = (keys @ queries.T).topk(min(NEAREST, len(queries)))
            kept = nearest.unique()
            pixels = ((self._images.cpu()[kept] + 1) * 127.5).round().clamp(0, 255).byte()
            table |= {"nearest": nearest.tolist(), "cosines": [[round(c, 2) for c in row] for row in cosines.tolist()]}
            table |= {"kept": kept.tolist(), "images": pixels.numpy().tobytes()}
        return table

    @traitlets.validate("order")
    def _order_exists(self, proposal: Any) -> str:
        if proposal["value"] == "class" and self._classifier is None:
            raise traitlets.TraitError("order 'class' needs a classifier: SlotExplorer(gan, classifier=...)")
        return proposal["value"]

    @traitlets.validate("noises")
    def _noises_fit(self, proposal: Any) -> list[list[float]]:
        return checked_noises("noises", proposal["value"], SAMPLES, self.gan["noise_dim"])

    def picture(self) -> bytes:
        return sheet(self.images(torch.tensor(self.noises)), 8, scale=3)

    def __repr__(self) -> str:
        return f"SlotExplorer(slot {self.slot} of {len(self.gan['values'])}, sheet by {self.order})"


def random_noises(number: int, length: int) -> list[list[float]]:
    """The same every time: two decimals are enough to look at, and short to store."""
    noises = torch.rand(number, length, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return [[round(part, 2) for part in noise] for noise in noises.tolist()]


def _places(keys: Tensor) -> list[list[float]]:
    """Keys [n, M] on a map, [0, 1]^2: t-SNE of their cosines, which starts from their two principal components."""
    if len(keys) < 4:
        return [[(place + 1) / (len(keys) + 1), 0.5] for place in range(len(keys))]
    spread = TSNE(metric="cosine", init="pca", perplexity=min(30, (len(keys) - 1) / 3), random_state=0)
    places = torch.from_numpy(spread.fit_transform(keys.double().numpy()))
    places = (places - places.amin(dim=0)) / (places.amax(dim=0) - places.amin(dim=0))
    return [[round(part, 3) for part in place] for place in places.tolist()]

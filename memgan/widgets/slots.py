"""Slot explorer: what a slot of the memory counts, which real images lie near it, and what G makes of it."""

from collections.abc import Sequence
from typing import Any

import torch
import traitlets
from torch import Tensor, nn

from memgan.data import as_bytes, as_float
from memgan.extras import required
from memgan.gan import MemoryGAN
from memgan.plots import legible
from memgan.widgets.base import ExplorerWidget, checked_noises, noise_tensor, script, sheet, still

with required("lab", "memgan.widgets"):
    from sklearn.manifold import TSNE

__all__ = ["SlotExplorer", "random_noises"]

SAMPLES = 16  # images of a slot to look at
CLASSIFIED = 8  # images of a slot that say its class
NEAREST = 4  # real images beside a slot
MOST_BYTES = 600_000  # of real images: a notebook stores them
BATCH = 512  # images that a network makes or sees at a time
ALIKE = 1e-4  # keys that are all closer than this differ by rounding alone: their cosines are 1 to eight decimals


class SlotExplorer(ExplorerWidget):
    """Pick a `slot` c from a sheet, from a map of the keys, or by a draw; see its counts, and samples G(K_c, z).

    Real `images` [n, C, H, W], bytes or in [-1, 1], are shown beside the slots that they are nearest to, by the cosine
    of mu(x) and K_c. With a `classifier` a slot has a class: what most of 8 images of it are taken for; `class_names`
    say what its classes are called. The sheet's `order` is "use", "class" or "age"; `noises` are the z of the samples;
    `table` holds what is computed of every slot that the generator is given, most used first. Raises ValueError for
    images of another shape, TypeError for images of other whole numbers than bytes, TraitError for a `noises` that does
    not fit and for classes without a classifier.
    """

    _esm = script("slots.js")

    order = traitlets.Enum(["use", "class", "age"], "use").tag(sync=True)
    noises = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    table = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        gan: MemoryGAN,
        images: Tensor | None = None,
        classifier: nn.Module | None = None,
        class_names: Sequence[str] | None = None,
        **state: Any,
    ) -> None:
        self._images = images
        self._classifier = classifier
        self._class_names = class_names
        super().__init__(gan, **state)
        if not self.noises:
            self.noises = random_noises(SAMPLES, self.gan["noise_dim"])
        shape = self.gan["image_shape"]
        if images is not None and (len(images) == 0 or list(images.shape[1:]) != shape):
            raise ValueError(f"expected real images [n, *{shape}], got {list(images.shape)}")
        self.table = self._tabulate()

    def refresh(self) -> None:
        with self.hold_sync():
            super().refresh()
            self.table = self._tabulate()

    def close(self) -> None:
        self._images = None
        self._classifier = None
        super().close()

    def _tabulate(self) -> dict[str, Any]:
        """A list for each property, with an entry for each slot that can be drawn, most used first."""
        gan = still(self._live)
        probabilities = gan.memory.slot_probabilities()
        by_use = probabilities.argsort(descending=True, stable=True)
        slots = by_use[: int((probabilities > 0).sum())]
        keys = gan.memory.keys[slots]
        table: dict[str, Any] = {"slots": slots.tolist(), "places": _places(keys)}
        if len(slots) == 0:
            return table
        if self._classifier is not None:
            table |= _classes(gan, keys, still(self._classifier))
            if self._class_names is not None:
                table["class_names"] = [legible(str(name)) for name in self._class_names]
        if self._images is not None:
            table |= _neighbours(gan, keys, self._images.detach())
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
        return sheet(self.images(noise_tensor(self.noises)), 8, scale=3)

    def __repr__(self) -> str:
        return f"SlotExplorer(slot {self.slot} of {len(self.gan['values'])}, sheet by {self.order})"


def random_noises(number: int, length: int) -> list[list[float]]:
    """`number` of [-1, 1]^length, the same every time: two decimals are enough to look at, and short to store."""
    generator = torch.Generator(device="cpu").manual_seed(0)
    noises = torch.rand(number, length, generator=generator, dtype=torch.float32, device="cpu") * 2 - 1
    return [[round(part, 2) for part in noise] for noise in noises.tolist()]


def _classes(gan: MemoryGAN, keys: Tensor, classifier: nn.Module) -> dict[str, Any]:
    """The class that `classifier` gives to most images of each key [n, M], and how many images it gives it to."""
    noise = noise_tensor(random_noises(CLASSIFIED, gan.noise_dim))
    key_batches = keys.repeat_interleave(CLASSIFIED, dim=0).split(BATCH)
    noise_batches = noise.repeat(len(keys), 1).split(BATCH)
    answers = []
    for key_batch, noise_batch in zip(key_batches, noise_batches, strict=True):
        images = gan.generator(key_batch, noise_batch)
        answers.append(classifier(images).argmax(dim=1))
    answers_by_slot = torch.cat(answers).view(-1, CLASSIFIED)
    classes = answers_by_slot.mode(dim=1).values
    agreed = (answers_by_slot == classes[:, None]).sum(dim=1)
    return {"classes": classes.tolist(), "agreed": agreed.tolist()}


def _neighbours(gan: MemoryGAN, keys: Tensor, images: Tensor) -> dict[str, Any]:
    """The real `images` whose queries are nearest to each key [n, M], of as many keys as there is room for.

    `nearest` and `cosines` hold a row for each key; `images` are the bytes of those numbered in `kept`. The images may
    be bytes that are mapped from a file: only a batch at a time becomes numbers.
    """
    queries = torch.cat([gan.inference(as_float(batch.cpu()).float()) for batch in images.split(BATCH)])
    room = MOST_BYTES // (NEAREST * images[0].numel())
    cosines, nearest = (keys[:room] @ queries.T).topk(min(NEAREST, len(queries)))
    kept = nearest.unique()
    return {
        "nearest": nearest.tolist(),
        "cosines": [[round(cosine, 2) for cosine in row] for row in cosines.tolist()],
        "kept": kept.tolist(),
        "images": as_bytes(as_float(images[kept.to(images.device)].cpu())).numpy().tobytes(),
    }


def _places(keys: Tensor) -> list[list[float]]:
    """Keys [n, M] on a map, [0, 1]^2: t-SNE of their cosines, which starts from their two principal components."""
    number = len(keys)
    if number < 4 or _are_alike(keys):  # too few for t-SNE, or no differences for it to show: in a row
        return [[(place + 1) / (number + 1), 0.5] for place in range(number)]
    perplexity = min(30, (number - 1) / 3)
    reduction = TSNE(metric="cosine", init="pca", perplexity=perplexity, random_state=0)
    places = torch.from_numpy(reduction.fit_transform(keys.double().numpy()))
    least = places.amin(dim=0)
    most = places.amax(dim=0)
    extent = most - least
    # a direction in which all keys lie at one place has no extent to divide by: they go into its middle
    places = torch.where(extent > 0, (places - least) / extent, 0.5)
    return [[round(part, 3) for part in place] for place in places.tolist()]


def _are_alike(keys: Tensor) -> bool:
    """Whether all keys [n, M] lie at one place as far as one can tell. t-SNE of equal keys ends the process."""
    distances = (keys - keys[0]).norm(dim=1)
    return bool(distances.max() < ALIKE)

"""What are the scores computed from? The images of one model beside real ones, and what several scores need of them."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from memgan.data import ImageData, as_float
from memgan.gan import AdversarialModel, MemoryGAN
from memgan.lab.evaluation import metrics
from memgan.lab.evaluation.classifier import Classifier, FeatureExtractor, Say, features_of
from memgan.lab.evaluation.old_fakes import OldFakes
from memgan.lab.evaluation.walks import ROUNDS, SURE, Ends, WalkKind, find_ends, walk_between
from memgan.networks import detached_copy

__all__ = ["Material", "MissingError", "Sample", "gather", "rejected", "some_images"]

SLOTS = 128  # slots, as the generator draws them
SAMPLES = 16  # images of each of these slots
NEIGHBOURS = 3000  # images in each set for precision and recall; both depend on it
COMPARED = 2000  # images that are compared with all training images, and that the discriminator is asked about
_DRAWN_AT_ONCE = 2048


class MissingError(LookupError):
    """What a score is computed from is not there: a classifier, test images, or enough images; the score is None."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A set of images, and what an extractor makes of them, computed when it is first asked for."""

    images: Tensor  # [n, C, H, W], bytes or in [-1, 1]
    extractor: FeatureExtractor | None
    order: Tensor  # [n], in which images are taken where not all of them are

    @classmethod
    def of_independent(cls, images: Tensor, extractor: FeatureExtractor | None) -> "Sample":
        """Images that were drawn independently: the first ones are as good as any."""
        return cls(images, extractor, torch.arange(len(images)))

    @classmethod
    def of_data(cls, images: Tensor, extractor: FeatureExtractor | None, seed: int) -> "Sample":
        """Images of a data set, which may be in the order of their classes: some of them are drawn by `seed`."""
        return cls(images, extractor, torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)))

    def some(self, number: int) -> Tensor:
        """The places of `number` images, or of all if there are fewer, in ascending order."""
        return self.order[:number].sort().values

    @cached_property
    def features(self) -> Tensor:
        """What the extractor makes of the images, [n, d]."""
        return features_of(self._extractor, self.images)

    @cached_property
    @torch.no_grad()
    def logits(self) -> Tensor:
        """The extractor's answers before the softmax, [n, classes]."""
        return self._extractor.head(self.features)

    @property
    def confidence(self) -> Tensor:
        """The largest probability, [n]."""
        return self.logits.softmax(dim=1).amax(dim=1)

    @property
    def classes(self) -> Tensor:
        """The class of the largest probability, [n]."""
        return self.logits.argmax(dim=1)

    @property
    def _extractor(self) -> FeatureExtractor:
        if self.extractor is None:
            raise MissingError("there is no classifier")
        return self.extractor


@dataclass(frozen=True, eq=False)
class Material:
    """What each metric is a function of. What several metrics need is computed once, when the first one asks.

    A metric that asks for what is not there meets `MissingError`, and there is no such score.
    """

    measured: Sample  # generated images, or test images in their place
    training: Sample
    test: Sample
    gan: AdversarialModel  # a copy, in evaluation mode and float32, on the CPU
    slot_images: Tensor  # [SLOTS, SAMPLES, C, H, W], of slots as the generator draws them
    classifier: Classifier | None  # None where no data set has classes
    labelled: ImageData  # test images of the classifier's own data set
    old_fakes: OldFakes | None
    seed: int

    @cached_property
    def real(self) -> "Material":
        """The same with the test images in the place of the generated ones."""
        if len(self.test.images) == 0:
            raise MissingError("there are no test images")
        return replace(self, measured=self.test)

    @property
    def has_slots(self) -> bool:
        """Whether the model has slots: those of a memory, or the values of a code that its generator is given."""
        return isinstance(self.gan, MemoryGAN) or self.gan.conditional

    def seen_by(self, extractor: FeatureExtractor) -> "Material":
        """The same with the features of another network."""
        return replace(
            self,
            measured=replace(self.measured, extractor=extractor),
            training=replace(self.training, extractor=extractor),
            test=replace(self.test, extractor=extractor),
        )

    @cached_property
    def within_manifolds(self) -> tuple[Tensor, Tensor]:
        """Which images lie on the manifold of training images, and which of these on theirs.

        Both depend on how many there are: as many of each, and at most NEIGHBOURS.
        """
        number = min(NEIGHBOURS, len(self.test.images), len(self.training.images))
        if number <= metrics.NEIGHBOUR:
            raise MissingError(f"precision and recall need more than {metrics.NEIGHBOUR} images of each kind")
        features = self.measured.features[self.measured.some(number)]
        return metrics.precision_recall(features, self.training.features[self.training.some(number)])

    @cached_property
    def nearest(self) -> tuple[Tensor, Tensor]:
        """Distance in pixels of COMPARED images to their nearest training image, and which that is."""
        return metrics.nearest(as_float(self.compared), self.training.images)

    @property
    def compared(self) -> Tensor:
        """At most COMPARED of the images."""
        return self.measured.images[self.measured.some(COMPARED)]

    @cached_property
    def old_fakes_rejected(self) -> Tensor | None:
        """Which old fakes have D < 0.5, [moments, n]; None where none were kept."""
        if self.old_fakes is None or len(self.old_fakes.steps) == 0:
            return None
        images = self.old_fakes.images
        return rejected(self.gan, images.flatten(0, 1)).unflatten(0, images.shape[:2])

    @cached_property
    def walks(self) -> dict[WalkKind, Tensor]:
        """The classifier's confidence in the images inside of walks, [pairs, points - 2], for each kind there is.

        A model whose generator is told a slot has walks inside a slot, across slots and between keys; any other has
        walks through the noise. A kind is missing where the classifier is sure of too few images to find ends.
        """
        if self.classifier is None:
            return {}
        kinds: tuple[WalkKind, ...] = ("slot", "switch", "keys") if self.gan.conditional else ("noise",)
        found: dict[WalkKind, Tensor] = {}
        for kind in kinds:
            ends = self._ends_in_a_slot if kind == "slot" else self._ends_of_two_classes
            if ends is not None:
                found[kind] = walk_between(self.gan, self.classifier, ends, kind).confidence[:, 1:-1]
        return found

    @cached_property
    def _ends_in_a_slot(self) -> Ends | None:
        return self._ends("slot", self._sure_of_classes.sum())

    @cached_property
    def _ends_of_two_classes(self) -> Ends | None:
        sure = self._sure_of_classes
        return self._ends("noise", sure.sum().square() - sure.square().sum())

    @property
    def _sure_of_classes(self) -> Tensor:
        """Share of all images that are of each class and that the classifier is SURE of, [classes]."""
        sure = self.measured.classes[self.measured.confidence >= SURE]
        return sure.bincount(minlength=self.measured.logits.shape[1]).double() / len(self.measured.images)

    def _ends(self, kind: WalkKind, share_of_pairs: Tensor) -> Ends | None:
        """Ends of walks; None where a search finds too few, or where `share_of_pairs` says that it would."""
        if self.classifier is None or ROUNDS * share_of_pairs < 1:
            return None
        try:
            return find_ends(self.gan, self.classifier, kind, seed=self.seed)
        except ValueError:
            return None


@torch.no_grad()
def gather(
    gan: AdversarialModel,
    classifier: Classifier | None,
    train: ImageData,
    test: ImageData,
    seed: int,
    *,
    old_fakes: OldFakes | None = None,
    labelled: ImageData | None = None,
    say: Say = lambda text: None,
) -> Material:
    """Draw as many images as there are training images, and images of slots, by a copy of the model.

    They are drawn where the model is and in its precision; all else happens on the CPU and in float32. `say` is told
    how far the drawing is. Raises ValueError where the images are not finite, and where they have another shape than
    the training images.
    """
    gan = detached_copy(gan).eval()
    generator = torch.Generator(gan.device).manual_seed(seed)
    parts = []
    number = len(train.images)
    for part in torch.arange(number).split(_DRAWN_AT_ONCE):
        say(f"drawing images: {int(part[0]):,} of {number:,}")
        drawn = gan.generate(len(part), generator=generator).images
        shape, expected = list(drawn.shape[1:]), list(train.images.shape[1:])
        if shape != expected:
            raise ValueError(f"the model makes images {shape}, the training images are {expected}")
        parts.append(drawn.cpu().float())
    images = torch.cat(parts)
    slot_images, _ = gan.sample_slots(SLOTS, SAMPLES, generator=generator)
    if not bool(images.isfinite().all()):
        raise ValueError("the generator makes numbers that are not finite: there is nothing to evaluate")
    gan = gan.cpu()
    if slot_images.dtype != torch.float32:
        gan = gan.float()
    if isinstance(gan, MemoryGAN):
        gan.memory.validate = False  # an untrained model's queries may have no direction, which is no reason to stop
    return Material(
        measured=Sample.of_independent(images, classifier),
        training=Sample.of_data(train.images, classifier, seed),
        test=Sample.of_data(test.images, classifier, seed),
        gan=gan,
        slot_images=slot_images.cpu().float(),
        classifier=classifier,
        labelled=labelled or test,
        old_fakes=old_fakes,
        seed=seed,
    )


def some_images(data: ImageData, at_most: int, *, seed: int) -> ImageData:
    """At most so many images of a data set, which may be in the order of its classes: they are drawn by `seed`."""
    order = torch.randperm(len(data.images), generator=torch.Generator().manual_seed(seed))
    chosen = order[:at_most].sort().values
    source = None if data.source is None else data.source[chosen]
    return data._replace(images=data.images[chosen], labels=data.labels[chosen], source=source)


# ---------------------------------------------------------------- what is asked of a model


@torch.no_grad()
def rejected(gan: AdversarialModel, images: Tensor) -> Tensor:
    """Which of `images` [n, C, H, W], bytes or in [-1, 1], have D < 0.5, [n]."""
    return torch.cat([gan.discriminate(as_float(part)) for part in images.split(256)]) < 0.5

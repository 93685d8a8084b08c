"""MemoryGAN: the inference network, the memory and the generator, joined. The losses stand beside it.

    image -> inference network -> query -> memory.read   (D)
    memory.sample -> key, and noise -> generator -> image   (G)

`AdversarialModel` is what training, sessions and evaluation ask of a model; MemoryGAN and every baseline are one.
"""

import operator
from abc import ABC, abstractmethod
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from memgan.distributed import num_ranks, own_rows
from memgan.memory import MemorySettings, VMFMemory
from memgan.networks import Generator, InferenceNetwork, NetworkSettings

__all__ = [
    "AdversarialModel",
    "Generated",
    "GeneratorLoss",
    "Information",
    "MemoryGAN",
    "discriminator_loss",
    "generator_loss",
    "information_loss",
    "noise_dim_of",
    "posterior_information_loss",
]

_DRAWN_AT_ONCE = 2048  # images: their activations have to fit into memory

GeneratorLoss = Literal["saturating", "non_saturating"]
Information = Literal["density", "posterior"]


class Generated(NamedTuple):
    """What G made, and from what."""

    images: Float[Tensor, "batch channels height width"]  # in [-1, 1]
    keys: Float[Tensor, "batch key_dim"]  # the K_c that conditioned each image
    slots: Int[Tensor, " batch"]  # their places in the memory
    noise: Float[Tensor, "batch noise_dim"]


class AdversarialModel(nn.Module, ABC):
    """A GAN as training, sessions and evaluation see it: G is given the key of a slot, D reads what mu makes of images.

    A model without a memory has slots too: the values of its code, whose keys are one-hot. Where it has no code there
    is one slot, with a key of no numbers, and the model is not `conditional`.
    """

    inference: nn.Module  # mu: images [B, C, H, W] to queries [B, M]
    generator: nn.Module  # G: keys [B, M] and noise [B, Z] to images [B, C, H, W] in [-1, 1]
    noise_dim: int  # Z
    image_shape: tuple[int, ...] | None  # [C, H, W]; None if unknown: a Trainer determines it from G's output
    conditional: bool  # whether G is told which slot was drawn, so that images depend on it
    process_group: ProcessGroup | None = None  # whose ranks draw and train together; see `memgan.distributed`

    # ---------------------------------------------------------------- what each model has its own way to do

    @abstractmethod
    def sample_keys(
        self, num_samples: int, *, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "batch key_dim"], Int[Tensor, " batch"]]:
        """Slots as G is given them: their keys [num_samples, M] and their places [num_samples]."""

    @abstractmethod
    def read(self, queries: Float[Tensor, "batch query_dim"]) -> Float[Tensor, " batch"]:
        """D: the probability of being real, [B], of images with the given `queries`; it changes nothing."""

    @abstractmethod
    def read_write(
        self, queries: Float[Tensor, "batch query_dim"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """`read`, and then remember `queries` with their `labels` (1 real, 0 generated), where there is a memory."""

    @abstractmethod
    def information(
        self, generated: Generated, queries: Float[Tensor, "batch query_dim"], bound: Information = "density"
    ) -> Float[Tensor, ""]:
        """What bounds the information between slots and images, to be minimised, given mu's `queries` of images.

        `bound` says which of MemoryGAN's two bounds; a model with a bound of its own takes no notice.
        """

    @abstractmethod
    def slot_probabilities(self) -> Float[Tensor, " num_slots"]:
        """How often G is given each slot, [N]."""

    @abstractmethod
    def keys_of(self, slots: Int[Tensor, " batch"]) -> Float[Tensor, "batch key_dim"]:
        """The keys, [B, M], that G is given for `slots`, [B]."""

    @abstractmethod
    def slots_in_use(self) -> Float[Tensor, ""]:
        """exp of the entropy of `slot_probabilities`: so many slots, equally often drawn, would be as varied."""

    # ---------------------------------------------------------------- what all models do in one way

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def discriminate(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, " batch"]:
        """P(real), [B], of `images` [B, C, H, W] in [-1, 1]. Raises TypeError for bytes."""
        if not images.is_floating_point():
            raise TypeError(f"images must be floating point in [-1, 1], got {images.dtype}: use memgan.data.as_float")
        return self.read(self.inference(images))

    def generate(self, num_samples: int, *, generator: torch.Generator | None = None) -> Generated:
        """Images of randomly drawn slots and of uniform noise on (-1, 1). (11)

        They carry a gradient in training mode only: call `generator` itself for one in evaluation mode. Several ranks
        draw together: each draws keys and noise for all, and makes its own `num_samples` images.
        """
        with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
            of_all = num_samples * num_ranks(self.process_group)
            own = own_rows(num_samples, self.process_group)
            all_keys, all_slots = self.sample_keys(of_all, generator=generator)
            noise = self._noise(of_all, all_keys, generator)[own]
            keys, slots = all_keys[own], all_slots[own]
            return Generated(self.generator(keys, noise), keys, slots, noise)

    @torch.no_grad()
    def sample_slots(
        self, num_slots: int, samples: int, *, distinct: bool = False, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "num_slots samples channels height width"], Int[Tensor, " num_slots"]]:
        """Images [num_slots, samples, C, H, W] of randomly drawn slots, and the places of these slots [num_slots].

        A slot that is drawn often comes often, as in training; if `distinct`, it comes once. Raises ValueError where
        there are not so many distinct slots.
        """
        num_slots = operator.index(num_slots)
        samples = operator.index(samples)
        if distinct:
            slots = self._distinct_slots(num_slots, generator)
            keys = self.keys_of(slots)
        else:
            keys, slots = self.sample_keys(num_slots, generator=generator)
        noise = self._noise(num_slots * samples, keys, generator)
        keys = keys.repeat_interleave(samples, dim=0)
        at_once = len(keys) if self.training else _DRAWN_AT_ONCE  # in training mode, images of a batch may interact
        parts = []
        for part, of_part in zip(keys.split(at_once), noise.split(at_once), strict=True):
            parts.append(self.generator(part, of_part))
        return torch.cat(parts).unflatten(0, (num_slots, samples)), slots

    def _distinct_slots(self, number: int, generator: torch.Generator | None) -> Tensor:
        """Slots as they are drawn one after the other when none is put back, [number]."""
        probabilities = self.slot_probabilities()
        there = int((probabilities > 0).sum())
        if number > there:
            raise ValueError(f"expected at most {there} distinct slots, as many as are ever drawn, got {number}")
        waiting = torch.empty_like(probabilities).exponential_(generator=generator)  # a race that the likely ones win
        return (probabilities / waiting).topk(number).indices

    def _noise(self, num_samples: int, keys: Tensor, generator: torch.Generator | None) -> Tensor:
        """z, uniform on (-1, 1), [num_samples, Z]; on the device and in the precision of `keys`."""
        noise = keys.new_empty(num_samples, self.noise_dim)
        return noise.uniform_(generator=generator) * 2 - 1  # torch.rand takes no size that a compiler does not know


class MemoryGAN(AdversarialModel):
    """D(x) = memory.read(mu(x)); x = G(K_c, z) with c drawn from the real slots of the same memory. (6, 11)

    The three parts are modules of your own or of this package:

        memory = VMFMemory(num_slots=1024, key_dim=64, top_k=32)
        gan = MemoryGAN(memory, encoder, decoder, noise_dim=4)

    `inference` maps images [B, C, H, W] in [-1, 1] to features [B, M] of any length: the memory sees their directions.
    `generator` maps keys [B, M] and noise [B, Z] to images. `noise_dim` is Z, by default `generator.noise_dim`. The
    shape of an image, `image_shape`, is found out by a `Trainer` where it is not given. Raises TypeError for what is no
    module and where Z is nowhere to be found, and ValueError for a Z below 0.
    """

    memory: VMFMemory
    conditional = True  # to be set to False on a model whose own generator ignores the keys

    def __init__(
        self,
        memory: VMFMemory,
        inference: nn.Module,
        generator: nn.Module,
        *,
        noise_dim: int | None = None,
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        if isinstance(memory, MemorySettings):
            raise TypeError("expected a memory, got its settings: MemoryGAN.from_settings builds a model from settings")
        for name, module in (("memory", memory), ("inference", inference), ("generator", generator)):
            if not isinstance(module, nn.Module):
                raise TypeError(f"{name} must be a torch.nn.Module, got {type(module).__name__}")
        if not hasattr(memory, "read_write"):
            raise TypeError(
                f"expected MemoryGAN(memory, inference, generator), got a {type(memory).__name__} as memory"
            )
        self.memory = memory
        self.inference = inference
        self.generator = generator
        self.noise_dim = noise_dim_of(generator) if noise_dim is None else operator.index(noise_dim)
        if self.noise_dim < 0:
            raise ValueError(f"noise_dim must be at least 0, got {self.noise_dim}")
        self.image_shape = None if image_shape is None else tuple(image_shape)

    @classmethod
    def from_settings(
        cls, memory: MemorySettings, networks: NetworkSettings, *, validate: bool | None = None
    ) -> "MemoryGAN":
        """The model of this package's own parts, with random weights. `validate` is that of `VMFMemory`."""
        return cls(
            VMFMemory.from_settings(memory, validate=validate),
            InferenceNetwork(networks, memory.key_dim),
            Generator(networks, memory.key_dim),
            image_shape=networks.image_shape,
        )

    @property
    def device(self) -> torch.device:
        """The device of the memory and of the weights."""
        return self.memory.keys.device

    def sample_keys(
        self, num_samples: int, *, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "batch key_dim"], Int[Tensor, " batch"]]:
        """c ~ p(c=i|v=1): keys [num_samples, M] and slots [num_samples]. (11)"""
        return self.memory.sample(num_samples, generator)

    def read(self, queries: Float[Tensor, "batch key_dim"]) -> Float[Tensor, " batch"]:
        """D(x), [B]. (6)"""
        return self.memory.read(queries)

    def read_write(
        self, queries: Float[Tensor, "batch key_dim"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """D(x), [B], as it is before the memory is written. (6-10)"""
        return self.memory.read_write(queries, labels)

    def information(
        self, generated: Generated, queries: Float[Tensor, "batch key_dim"], bound: Information = "density"
    ) -> Float[Tensor, ""]:
        """I_hat (14) or I_post (15) of `generated` images, given what mu makes of them, `queries` [B, M]."""
        if bound == "density":
            return information_loss(generated.keys, queries, self.memory.kappa)
        if bound == "posterior":
            return posterior_information_loss(self.memory, generated.slots, queries)
        raise ValueError(f"bound must be one of {get_args(Information)}, got {bound!r}")

    def slot_probabilities(self) -> Float[Tensor, " num_slots"]:
        """p(c=i|v=1), [N]. (11)"""
        return self.memory.slot_probabilities()

    def keys_of(self, slots: Int[Tensor, " batch"]) -> Float[Tensor, "batch key_dim"]:
        """K_c, [B, M]."""
        return self.memory.keys_of(slots)

    def slots_in_use(self) -> Float[Tensor, ""]:
        """exp of the entropy of p(c|v=1)."""
        return self.memory.slots_in_use()


def discriminator_loss(real: Float[Tensor, " real"], generated: Float[Tensor, " generated"]) -> Float[Tensor, ""]:
    """-E log D(x) - E log(1 - D(G)), from the two probabilities of being real. (12)"""
    return -real.log().mean() - (1 - generated).log().mean()


def generator_loss(generated: Float[Tensor, " batch"], kind: GeneratorLoss) -> Float[Tensor, ""]:
    """E log(1 - D(G)), or -E log D(G), whose gradient does not vanish where D is sure that G's images are fake. (13)"""
    if kind == "saturating":
        return (1 - generated).log().mean()
    if kind == "non_saturating":
        return -generated.log().mean()
    raise ValueError(f"kind must be one of {get_args(GeneratorLoss)}, got {kind!r}")


def information_loss(
    keys: Float[Tensor, "batch key_dim"], queries: Float[Tensor, "batch key_dim"], kappa: float
) -> Float[Tensor, ""]:
    """I_hat = -E[kappa K_c . mu(G(z, K_c))], from unit `keys` [B, M] and `queries` [B, M]. (14)

    log C_M(kappa) + H(K_c) - I_hat bounds the mutual information between a key and its images from below. Queries may
    have any length: their directions count. Raises ValueError where keys and queries differ in shape.
    """
    if keys.shape != queries.shape:
        raise ValueError(
            f"expected a query for each key, as long as a key, got keys {list(keys.shape)} and queries "
            f"{list(queries.shape)}: the encoder must return as many features as key_dim says"
        )
    directions = F.normalize(queries, dim=1, eps=torch.finfo(queries.dtype).tiny)
    return -kappa * (keys * directions).sum(dim=1).mean()


def posterior_information_loss(
    memory: VMFMemory, slots: Int[Tensor, " batch"], queries: Float[Tensor, "batch key_dim"]
) -> Float[Tensor, ""]:
    """I_post = -E log p(c | mu(G(z, K_c)), v=1), from `slots` [B] and `queries` [B, M]; at least 0. (15)

    H(c) - I_post bounds the mutual information between a slot and its images from below (InfoGAN's bound, with the
    memory's own posterior over the real slots in the place of a network). Differs from the paper, whose bound (14) is
    about the key as a vector: this one stops pulling a query towards its key once the slot can be told from its rivals.
    """
    return -memory.log_posterior_of(slots, queries).mean()


def noise_dim_of(generator: Any) -> int:
    """Z, as a generator says it. Raises TypeError where it does not."""
    noise_dim = getattr(generator, "noise_dim", None)
    if not isinstance(noise_dim, int):
        raise TypeError(f"{type(generator).__name__} does not say its noise_dim: give the model noise_dim=Z")
    return noise_dim

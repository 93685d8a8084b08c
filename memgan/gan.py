"""MemoryGAN: the inference network, the memory and the generator, joined. The losses stand beside it."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from memgan.memory import MemorySettings, VMFMemory
from memgan.networks import Generator, InferenceNetwork, NetworkSettings

__all__ = ["Generated", "GeneratorLoss", "MemoryGAN", "discriminator_loss", "generator_loss", "information_loss"]

GeneratorLoss = Literal["saturating", "non_saturating"]


class Generated(NamedTuple):
    """What G made, and from what."""

    images: Tensor  # [B, C, H, W] in [-1, 1]
    keys: Tensor  # [B, M], the K_c that conditioned each image
    slots: Tensor  # [B], their places in the memory
    noise: Tensor  # [B, Z]


class MemoryGAN(nn.Module):
    """D(x) = memory.read(mu(x)); x = G(K_c, z) with c drawn from the real slots of the same memory. (6, 11)"""

    def __init__(self, memory: MemorySettings, networks: NetworkSettings, *, validate: bool = True) -> None:
        super().__init__()
        self.memory = VMFMemory.from_settings(memory, validate=validate)
        self.inference = InferenceNetwork(networks, memory.key_dim)
        self.generator = Generator(networks, memory.key_dim)
        self.image_shape = (networks.channels, networks.image_size, networks.image_size)

    def discriminate(self, images: Tensor) -> Tensor:
        """P(real) [B] of `images` [B, C, H, W]."""
        return self.memory.read(self.inference(images))

    def generate(self, num_samples: int, *, generator: torch.Generator | None = None) -> Generated:
        """Images of slots that the memory offers and of uniform noise on (-1, 1). (11)"""
        keys, slots = self.memory.sample(num_samples, generator)
        noise = self._noise(num_samples, generator)
        return Generated(self.generator(keys, noise), keys, slots, noise)

    def information(self, generated: Generated, queries: Tensor) -> Tensor:
        """I_hat of `generated` images, given what mu makes of them, `queries` [B, M]. (14)"""
        return information_loss(generated.keys, queries, self.memory.kappa)

    @torch.no_grad()
    def sample_slots(
        self, num_slots: int, samples: int, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Images [num_slots, samples, C, H, W] of slots [num_slots] that the memory offers, and those slots."""
        keys, slots = self.memory.sample(num_slots, generator)
        noise = self._noise(num_slots * samples, generator)
        images = self.generator(keys.repeat_interleave(samples, dim=0), noise)
        return images.unflatten(0, (num_slots, samples)), slots

    def _noise(self, num_samples: int, generator: torch.Generator | None) -> Tensor:
        noise = torch.empty(num_samples, self.generator.noise_dim, device=self.memory.keys.device)
        return noise.uniform_(generator=generator) * 2 - 1  # torch.rand takes no size that a compiler does not know


def discriminator_loss(real: Tensor, generated: Tensor) -> Tensor:
    """-E log D(x) - E log(1 - D(G)), from the two probabilities of being real. (12)"""
    return -real.log().mean() - (1 - generated).log().mean()


def generator_loss(generated: Tensor, kind: GeneratorLoss) -> Tensor:
    """E log(1 - D(G)), or -E log D(G) where that saturates. (13)"""
    if kind == "saturating":
        return (1 - generated).log().mean()
    return -generated.log().mean()


def information_loss(keys: Tensor, queries: Tensor, kappa: float) -> Tensor:
    """I_hat = -E[kappa K_c . mu(G(z, K_c))], from `keys` [B, M] and `queries` [B, M]. (14)

    log C_M(kappa) + H(K_c) - I_hat bounds the mutual information between a key and its images from below.
    """
    return -kappa * (keys * queries).sum(dim=1).mean()

"""GANs without a memory: D is a sigmoid on the last layer of the inference network.

DCGAN (Radford et al. 2016) gives the generator noise only; InfoGAN (Chen et al. 2016) also gives it a one-hot code, and
has the discriminator read the codes back.
"""

import math
import operator

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from memgan.engines.precision import clipped
from memgan.gan import AdversarialModel, Generated, Information, noise_dim_of
from memgan.memory import MemorySettings
from memgan.networks import Generator, InferenceNetwork, NetworkSettings

__all__ = ["Scorer", "SigmoidGAN"]


class Scorer(InferenceNetwork):
    """The layers of the inference network, not normalised, and one more: a logit and what is read of the codes."""

    def __init__(self, networks: NetworkSettings, features: int, codes: int) -> None:
        super().__init__(networks, features)
        last = nn.Linear(features, 1 + codes)
        nn.init.normal_(last.weight, std=0.02)
        nn.init.zeros_(last.bias)
        self.layers.extend([nn.LeakyReLU(0.2), last])

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch scores"]:
        """The scores of each image, [B, 1 + codes]; under autocast too in the weights' precision, as the clip needs."""
        weight = next(self.parameters())
        return self.layers(images).to(weight.dtype)


class SigmoidGAN(AdversarialModel):
    """DCGAN, and with `num_codes` > 0 InfoGAN: a one-hot code, and the first `continuous` numbers of the noise.

    `inference` maps images [B, C, H, W] to scores [B, 1 + num_codes + continuous]: the logit of D, the logits of the
    one-hot code and what is read of the continuous ones. `generator` maps the one-hot code [B, num_codes] and noise to
    images; `noise_dim` is Z, by default `generator.noise_dim`. The slots are the values of the one-hot code, all
    equally probable; without a code there is one slot, whose key has no numbers. D is clipped to
    [epsilon, 1 - epsilon], so that its logarithm is finite. The clip of a memory would take from a sigmoid what makes
    it train, the gradient of -log D, which reaches the generator however sure D is; so epsilon is much smaller here.
    Raises ValueError for more continuous codes than noise.
    """

    one_hot: Tensor  # [slots, codes], the keys

    def __init__(
        self,
        inference: nn.Module,
        generator: nn.Module,
        *,
        num_codes: int = 0,
        continuous: int = 0,
        noise_dim: int | None = None,
        epsilon: float = 1e-7,
        image_shape: tuple[int, int, int] | None = None,
    ) -> None:
        super().__init__()
        self.noise_dim = noise_dim_of(generator) if noise_dim is None else operator.index(noise_dim)
        if self.noise_dim < continuous:
            raise ValueError(f"{continuous} continuous codes need noise_dim >= {continuous}, got {self.noise_dim}")
        self.conditional = num_codes > 0
        self.num_codes = num_codes
        self.continuous = continuous
        self.epsilon = epsilon
        self.inference = inference
        self.generator = generator
        self.image_shape = None if image_shape is None else tuple(image_shape)
        self.register_buffer("one_hot", torch.eye(max(num_codes, 1))[:, :num_codes], persistent=False)

    @classmethod
    def from_settings(
        cls, memory: MemorySettings, networks: NetworkSettings, *, num_codes: int = 0, continuous: int = 0
    ) -> "SigmoidGAN":
        """The model with MemoryGAN's networks; the scorer has M numbers, as a query has, before its last layer."""
        return cls(
            Scorer(networks, memory.key_dim, num_codes + continuous),
            Generator(networks, key_dim=num_codes),
            num_codes=num_codes,
            continuous=continuous,
            image_shape=networks.image_shape,
        )

    def sample_keys(
        self, num_samples: int, *, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "batch codes"], Int[Tensor, " batch"]]:
        """Values of the code, uniformly drawn: one-hot [num_samples, codes] and as numbers [num_samples]."""
        device = self.one_hot.device
        slots = torch.randint(len(self.one_hot), (num_samples,), device=device, generator=generator)
        return self.one_hot[slots], slots

    def keys_of(self, slots: Int[Tensor, " batch"]) -> Float[Tensor, "batch codes"]:
        """One-hot, [B, codes]."""
        return self.one_hot[slots]

    def read(self, queries: Float[Tensor, "batch scores"]) -> Float[Tensor, " batch"]:
        """The sigmoid of the first score, clipped."""
        return clipped(queries[:, 0].sigmoid(), self.epsilon)

    def read_write(
        self, queries: Float[Tensor, "batch scores"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """`read`: there is nothing to write to."""
        return self.read(queries)

    def information(
        self, generated: Generated, queries: Float[Tensor, "batch scores"], bound: Information = "density"
    ) -> Float[Tensor, ""]:
        """-E log Q(c | x), InfoGAN's bound without the constant H(c), from the scores [B, 1 + codes + continuous].

        Q is categorical for the one-hot code and a Gaussian of variance 1 around the head's answer for each continuous
        code, which are uniform on (-1, 1): -log Q = (c - answer)^2 / 2 + log(2 pi) / 2. Without a code it is 0.
        """
        if self.num_codes == 0:
            return queries.new_zeros(())
        _, logits, answers = queries.split([1, self.num_codes, self.continuous], dim=1)
        squared = (generated.noise[:, : self.continuous] - answers).square().sum(dim=1)
        gaussian = (squared.mean() + self.continuous * math.log(2 * math.pi)) / 2
        return F.cross_entropy(logits, generated.slots) + gaussian

    def slot_probabilities(self) -> Float[Tensor, " num_slots"]:
        """The same for each value of the code."""
        num_slots = len(self.one_hot)
        return torch.full((num_slots,), 1 / num_slots, dtype=torch.double, device=self.one_hot.device)

    def slots_in_use(self) -> Float[Tensor, ""]:
        """All values of the code."""
        return torch.tensor(float(len(self.one_hot)), dtype=torch.double, device=self.one_hot.device)

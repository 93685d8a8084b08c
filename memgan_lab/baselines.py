"""What MemoryGAN is compared with: the same networks and the same trainer, with one part taken out or exchanged.

Each is a `MemoryGAN` to `train` and to `evaluate`. What has no memory has a `SigmoidHead` in its place, whose slots
are the values of a one-hot code; where there is no code at all, there is one slot, which tells the generator nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan.gan import Generated, MemoryGAN
from memgan.memory import MemorySettings, VMFMemory
from memgan.networks import Generator, InferenceNetwork, NetworkSettings
from memgan.search import Nearest
from memgan.settings import Settings

__all__ = ["BASELINES", "AveragingMemory", "build_baseline"]

# What each baseline changes in a preset before its own grid of rates is tried
BASELINES: dict[str, list[str]] = {
    "dcgan": ["networks.noise_dim=16", "training.mi_weight=0"],  # Radford et al. 2016
    "infogan": ["training.mi_weight=1"],  # Chen et al. 2016: lambda 1 for a categorical code
    "no_mcgn": ["networks.noise_dim=16", "training.mi_weight=0"],
    "no_em": [],
}


def build_baseline(name: str, settings: Settings, codes: int = 10) -> MemoryGAN:
    """A fresh baseline of `BASELINES`, which holds the changes of `settings` that suit it but applies none.

    "dcgan": the generator sees noise only, D is a sigmoid on the features. "infogan": the same with a one-hot code of
    `codes` values, which a second head reads back. "no_mcgn": the memory is the discriminator, the generator sees noise
    only. "no_em": the memory is an `AveragingMemory`. Raises ValueError for an unknown name.
    """
    if name not in BASELINES:
        raise ValueError(f"unknown baseline {name!r}, expected one of {sorted(BASELINES)}")
    if name in ("dcgan", "infogan"):
        return _SigmoidGAN(settings.memory, settings.networks, codes if name == "infogan" else 0)
    gan = (_WithoutMCGN if name == "no_mcgn" else MemoryGAN)(settings.memory, settings.networks)
    if name == "no_em":
        gan.memory = AveragingMemory.from_settings(settings.memory)
    return gan


class AveragingMemory(VMFMemory):
    """The update of life-long memory (Kaiser et al. 2017) in the place of (8-10); everything else is as it was.

    A sample that finds its label counts for its best matching slot alone: K <- normalise(K + q), whatever h is, and
    h <- alpha h + 1. In a batch, the samples of a slot count as one query, their mean, and as their number in h. Kaiser
    et al. keep no h; here it says how often each slot was the best match, so that the slots can be read and sampled.
    """

    def _em(self, queries: Tensor, matching: Nearest, belongs: Tensor, moves: Tensor) -> None:
        best = matching.scores.argmax(dim=1, keepdim=True)
        slots = torch.where(moves.gather(1, best), matching.slots.gather(1, best), self.num_slots)[:, 0]
        assigned = F.one_hot(slots, self.num_slots + 1)[:, :-1].to(queries)
        count = assigned.sum(dim=0)
        mean = assigned.T @ queries / count.clamp(min=1).unsqueeze(1)
        touched = count > 0
        self.keys.copy_(torch.where(touched.unsqueeze(1), F.normalize(self.keys + mean, dim=1), self.keys))
        self.histogram.copy_(torch.where(touched, self.alpha * self.histogram + count, self.histogram))


class _WithoutMCGN(MemoryGAN):
    """The memory as discriminator; the generator is not told which slot was drawn."""

    def __init__(self, memory: MemorySettings, networks: NetworkSettings) -> None:
        super().__init__(memory, networks)
        self.generator = _NoiseOnly(networks, key_dim=0)

    def information(self, generated: Generated, queries: Tensor) -> Tensor:
        return queries.new_zeros(())  # there is nothing to read back


class _NoiseOnly(Generator):
    def forward(self, keys: Tensor, noise: Tensor) -> Tensor:
        return super().forward(keys[:, :0], noise)


class _SigmoidGAN(MemoryGAN):
    """DCGAN, and with `codes` > 0 InfoGAN with a one-hot code."""

    def __init__(self, memory: MemorySettings, networks: NetworkSettings, codes: int) -> None:
        nn.Module.__init__(self)
        self.memory = SigmoidHead(codes, memory.epsilon)  # type: ignore[assignment]  # stands in the memory's place
        self.inference = _Scorer(networks, memory.key_dim, codes)
        self.generator = Generator(networks, key_dim=codes)
        self.image_shape = (networks.channels, networks.image_size, networks.image_size)

    def information(self, generated: Generated, queries: Tensor) -> Tensor:
        """-E log Q(c | x): InfoGAN's bound for a categorical code, without the constant H(c)."""
        if not generated.keys.shape[1]:
            return queries.new_zeros(())
        return F.cross_entropy(queries[:, 1:], generated.slots)


class _Scorer(InferenceNetwork):
    """The layers of the inference network, not normalised, and one more: a logit and the codes', [B, 1 + codes]."""

    def __init__(self, networks: NetworkSettings, features: int, codes: int) -> None:
        super().__init__(networks, features)
        last = nn.Linear(features, 1 + codes)
        nn.init.normal_(last.weight, std=0.02)
        nn.init.zeros_(last.bias)
        self.layers.extend([nn.LeakyReLU(0.2), last])

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class SigmoidHead(nn.Module):
    """D(x) = sigmoid of the first score, clipped as a memory's; and the codes, all equally probable, as slots."""

    keys: Tensor
    values: Tensor
    histogram: Tensor

    def __init__(self, codes: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.register_buffer("keys", torch.eye(codes) if codes else torch.zeros(1, 0))
        self.register_buffer("values", torch.ones(len(self.keys), dtype=torch.long))
        self.register_buffer("histogram", torch.ones(len(self.keys)))

    def read(self, scores: Tensor) -> Tensor:
        return scores[:, 0].sigmoid().clamp(self.epsilon, 1 - self.epsilon)

    def read_write(self, scores: Tensor, labels: Tensor) -> Tensor:
        return self.read(scores)  # there is nothing to write to

    def sample(self, num_samples: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        slots = torch.randint(len(self.keys), (num_samples,), device=self.keys.device, generator=generator)
        return self.keys[slots], slots

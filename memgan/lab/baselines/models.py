"""What MemoryGAN is compared with: the same networks and the same trainer, with one part taken out or exchanged.

    memorygan         nothing is taken out
    kaiser            without EM: the memory averages, as life-long memory does (Kaiser et al. 2017)
    last-write-wins   where several samples of a batch find the same slot, the last one alone moves it
    one-by-one        the samples of a batch are written one after another, as in the paper's text; slow
    no-mcgn           the memory is the discriminator, the generator sees noise only
    dcgan             no memory: the generator sees noise only, D is a sigmoid on the features (Radford et al. 2016)
    infogan           the same with a one-hot code and continuous codes that D's second head reads back (Chen et al.
                      2016); "infogan" is "infogan:10+2", 10 values of the one-hot code and 2 continuous codes

Each is a `MemoryGAN` to `train` and to `evaluate`. What has no memory has a `SigmoidHead` in its place, whose slots
are the values of the one-hot code; where there is no code at all, there is one slot, which tells the generator nothing.
"""

import math
import re
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan.gan import Generated, MemoryGAN
from memgan.lab.baselines.memories import MEMORIES
from memgan.memory import MemorySettings, VMFMemory
from memgan.networks import Generator, InferenceNetwork, NetworkSettings
from memgan.presets import Settings
from memgan.pretrained import PRETRAINED, load_pretrained
from memgan.runs import SETTINGS, build, load_run

__all__ = ["MODELS", "as_model", "build_model", "load_model", "parameters"]

MODELS = ("memorygan", *MEMORIES, "no-mcgn", "dcgan", "infogan")
CODES, CONTINUOUS = 10, 2  # of InfoGAN on MNIST


def as_model(settings: Settings, model: str) -> Settings:
    """MemoryGAN's `settings` for another of `MODELS`, with as many weights.

    Where the generator sees no key, noise takes the place of its M numbers, so that both generators have one size; of
    InfoGAN's noise the first numbers are its continuous codes, and lambda is 1, as in its authors' code. The
    discriminators differ by the last layer alone. Raises ValueError for an unknown model and for settings that are not
    MemoryGAN's.
    """
    kind, codes, _ = _parsed(model)
    if settings.model != "memorygan":
        raise ValueError(f"expected the settings of a memorygan, got those of {settings.model!r}")
    if kind == "memorygan" or kind in MEMORIES:
        return replace(settings, model=model)
    networks = replace(settings.networks, noise_dim=settings.networks.noise_dim + settings.memory.key_dim - codes)
    training = replace(settings.training, mi_weight=1.0) if kind == "infogan" else settings.training
    return replace(settings, model=model, networks=networks, training=training)


def build_model(settings: Settings, device: torch.device | str = "cpu") -> MemoryGAN:
    """A fresh model of the kind that `settings.model` names. Raises ValueError for an unknown one."""
    kind, codes, continuous = _parsed(settings.model)
    if kind == "memorygan":
        return build(settings, device)
    device = torch.device(device)
    if kind in ("dcgan", "infogan"):
        return _SigmoidGAN(settings.memory, settings.networks, codes, continuous).to(device)
    validate = device.type == "cpu"
    if kind == "no-mcgn":
        return _WithoutMCGN(settings.memory, settings.networks, validate=validate).to(device)
    gan = MemoryGAN(settings.memory, settings.networks, validate=validate)
    gan.memory = MEMORIES[kind].from_settings(settings.memory, validate=validate)
    return gan.to(device)


def load_model(folder: Path | str, device: torch.device | str = "cpu") -> tuple[MemoryGAN, Settings]:
    """`memgan.runs.load_run` for a run of any model; or a pretrained one by its name, where no run is called that."""
    if str(folder) in PRETRAINED and not (Path(folder) / SETTINGS).exists():
        return load_pretrained(str(folder), device)
    return load_run(folder, device, build_model)


def parameters(gan: MemoryGAN) -> dict[str, int]:
    """How many weights Adam trains in each network, and how many numbers the memory's keys hold beside them."""
    counts = {part: sum(p.numel() for p in getattr(gan, part).parameters()) for part in ("inference", "generator")}
    return counts | {"memory": gan.memory.keys.numel() if isinstance(gan.memory, VMFMemory) else 0}


def _parsed(model: str) -> tuple[str, int, int]:
    """A model's name, and how many values its one-hot code and how many continuous codes it has."""
    if model in MODELS:
        return (model, CODES, CONTINUOUS) if model == "infogan" else (model, 0, 0)
    numbers = re.fullmatch(r"infogan:([1-9]\d*)\+(\d+)", model)
    if not numbers:
        raise ValueError(f"unknown model {model!r}, expected one of {', '.join(MODELS)}, or such as infogan:64+0")
    return "infogan", int(numbers[1]), int(numbers[2])


class _WithoutMCGN(MemoryGAN):
    """The memory as discriminator; the generator is not told which slot was drawn."""

    def __init__(self, memory: MemorySettings, networks: NetworkSettings, *, validate: bool = True) -> None:
        super().__init__(memory, networks, validate=validate)
        self.generator = _NoiseOnly(networks, key_dim=0)

    def information(self, generated: Generated, queries: Tensor) -> Tensor:
        return queries.new_zeros(())  # there is nothing to read back


class _NoiseOnly(Generator):
    def forward(self, keys: Tensor, noise: Tensor) -> Tensor:
        return super().forward(keys[:, :0], noise)


class _SigmoidGAN(MemoryGAN):
    """DCGAN, and with `codes` > 0 InfoGAN: a one-hot code, and the first `continuous` numbers of the noise."""

    def __init__(self, memory: MemorySettings, networks: NetworkSettings, codes: int, continuous: int) -> None:
        if networks.noise_dim < continuous:
            raise ValueError(f"{continuous} continuous codes need noise_dim >= {continuous}, got {networks.noise_dim}")
        nn.Module.__init__(self)
        self.codes, self.continuous = codes, continuous
        self.memory = SigmoidHead(codes, memory.epsilon)  # type: ignore[assignment]  # stands in the memory's place
        self.inference = _Scorer(networks, memory.key_dim, codes + continuous)
        self.generator = Generator(networks, key_dim=codes)
        self.image_shape = (networks.channels, networks.image_size, networks.image_size)

    def information(self, generated: Generated, queries: Tensor) -> Tensor:
        """-E log Q(c | x), InfoGAN's bound without the constant H(c), from the scores [B, 1 + codes + continuous].

        Q is categorical for the one-hot code and a Gaussian of variance 1 around the head's answer for each continuous
        code, which are uniform on (-1, 1): -log Q = (c - answer)^2 / 2 + log(2 pi) / 2.
        """
        if not self.codes:
            return queries.new_zeros(())
        _, logits, answers = queries.split([1, self.codes, self.continuous], dim=1)
        squared = (generated.noise[:, : self.continuous] - answers).square().sum(dim=1)
        gaussian = (squared.mean() + self.continuous * math.log(2 * math.pi)) / 2
        return F.cross_entropy(logits, generated.slots) + gaussian


class _Scorer(InferenceNetwork):
    """The layers of the inference network, not normalised, and one more: a logit and the codes', [B, 1 + codes]."""

    def __init__(self, networks: NetworkSettings, features: int, codes: int) -> None:
        super().__init__(networks, features)
        last = nn.Linear(features, 1 + codes)
        nn.init.normal_(last.weight, std=0.02)
        nn.init.zeros_(last.bias)
        self.layers.extend([nn.LeakyReLU(0.2), last])

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).to(next(self.parameters()).dtype)  # under autocast, the clip needs more digits


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

    def slot_probabilities(self) -> Tensor:
        """How often the generator is given each code, [codes]: all of them equally often."""
        return torch.full((len(self.keys),), 1 / len(self.keys), dtype=torch.float64, device=self.keys.device)

    def slots_in_use(self) -> Tensor:
        """The number of codes, which is also the exp of their entropy."""
        return torch.special.entr(self.slot_probabilities()).sum().exp()

    def read(self, scores: Tensor) -> Tensor:
        return scores[:, 0].sigmoid().clamp(self.epsilon, 1 - self.epsilon)

    def read_write(self, scores: Tensor, labels: Tensor) -> Tensor:
        return self.read(scores)  # there is nothing to write to

    def sample(self, num_samples: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        slots = torch.randint(len(self.keys), (num_samples,), device=self.keys.device, generator=generator)
        return self.keys[slots], slots

"""What MemoryGAN is compared with: the same networks and the same trainer, with one part taken out or exchanged.

    memorygan         nothing is taken out
    kaiser            without EM: the memory averages, as life-long memory does (Kaiser et al. 2017)
    last-write-wins   where several samples of a batch find the same slot, the last one alone moves it
    one-by-one        the samples of a batch are written one after another, as in the paper's text; slow
    no-mcgn           the memory is the discriminator, the generator sees noise only
    dcgan             no memory: the generator sees noise only, D is a sigmoid on the features (Radford et al. 2016)
    infogan           the same with a one-hot code and continuous codes that D's second head reads back (Chen et al.
                      2016); "infogan" is "infogan:10+2", 10 values of the one-hot code and 2 continuous codes

Each is an `AdversarialModel` to train and to evaluate. The slots of a model without a memory are the values of its
one-hot code; where there is no code at all, there is one slot, which tells the generator nothing.
"""

import re
from dataclasses import dataclass, replace

import torch

from memgan.gan import AdversarialModel, MemoryGAN
from memgan.lab.baselines.memories import MEMORIES
from memgan.lab.baselines.sigmoid import SigmoidGAN
from memgan.lab.baselines.unconditional import NoiseGenerator, UnconditionalMemoryGAN
from memgan.memory import VMFMemory
from memgan.networks import Generator, InferenceNetwork
from memgan.presets import Settings
from memgan.runs import build

__all__ = ["MODELS", "as_model", "build_model", "parameters"]

MODELS = ("memorygan", *MEMORIES, "no-mcgn", "dcgan", "infogan")
INFOGAN_CODES = 10  # values of the one-hot code that InfoGAN's authors use on MNIST
INFOGAN_CONTINUOUS = 2  # and their continuous codes


@dataclass(frozen=True)
class ModelName:
    """What the name of a model says."""

    kind: str  # one of MODELS
    num_codes: int = 0  # values of InfoGAN's one-hot code
    continuous: int = 0  # InfoGAN's continuous codes

    @classmethod
    def parse(cls, name: str) -> "ModelName":
        """Read "dcgan" or "infogan:64+0". Raises ValueError for the name of no model."""
        if name == "infogan":
            return cls(name, INFOGAN_CODES, INFOGAN_CONTINUOUS)
        if name in MODELS:
            return cls(name)
        found = re.fullmatch(r"infogan:([1-9]\d*)\+(\d+)", name)
        if found is None:
            raise ValueError(
                f"unknown model {name!r}, expected one of {', '.join(MODELS)}, or one such as infogan:64+0"
            )
        return cls("infogan", num_codes=int(found[1]), continuous=int(found[2]))


def as_model(settings: Settings, model: str) -> Settings:
    """MemoryGAN's `settings` for another of `MODELS`, with as many weights.

    Where the generator sees no key, noise takes the place of its M numbers, so that both generators have one size; of
    InfoGAN's noise the first numbers are its continuous codes, and lambda is 1, as in its authors' code. The
    discriminators differ by the last layer alone. Raises ValueError for an unknown model and for settings that are not
    MemoryGAN's.
    """
    name = ModelName.parse(model)
    if settings.model != "memorygan":
        raise ValueError(f"expected the settings of a memorygan, got those of {settings.model!r}")
    if name.kind == "memorygan" or name.kind in MEMORIES:
        return replace(settings, model=model)
    noise_dim = settings.networks.noise_dim + settings.memory.key_dim - name.num_codes
    networks = replace(settings.networks, noise_dim=noise_dim)
    training = settings.training
    if name.kind == "infogan":
        training = replace(training, mi_weight=1.0)
    return replace(settings, model=model, networks=networks, training=training)


def build_model(settings: Settings, device: torch.device | str = "cpu") -> AdversarialModel:
    """A fresh model of the kind that `settings.model` names. Raises ValueError for an unknown one.

    All models with a memory draw their random weights in one order: on the same seed, what they share begins the same.
    """
    name = ModelName.parse(settings.model)
    networks = settings.networks
    key_dim = settings.memory.key_dim
    if name.kind == "memorygan":
        return build(settings, device)
    model: AdversarialModel
    if name.kind in ("dcgan", "infogan"):
        model = SigmoidGAN.from_settings(
            settings.memory, networks, num_codes=name.num_codes, continuous=name.continuous
        )
    elif name.kind == "no-mcgn":
        model = UnconditionalMemoryGAN(
            VMFMemory.from_settings(settings.memory),
            InferenceNetwork(networks, key_dim),
            NoiseGenerator(networks),
            image_shape=networks.image_shape,
        )
    else:
        model = MemoryGAN(
            MEMORIES[name.kind].from_settings(settings.memory),
            InferenceNetwork(networks, key_dim),
            Generator(networks, key_dim),
            image_shape=networks.image_shape,
        )
    return model.to(device)


def parameters(gan: AdversarialModel) -> dict[str, int]:
    """How many weights Adam trains in each network, and how many numbers the memory's keys hold beside them."""
    memory = getattr(gan, "memory", None)
    return {
        "inference": sum(weight.numel() for weight in gan.inference.parameters()),
        "generator": sum(weight.numel() for weight in gan.generator.parameters()),
        "memory": 0 if memory is None else memory.keys.numel(),
    }

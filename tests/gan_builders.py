"""MemoryGANs that fit into a blink, images for them, and what else the tests of the upper rooms share."""

import copy

import torch
import torch.nn.functional as F

from memgan import MemoryGAN, MemorySettings
from memgan.networks import NetworkSettings
from memgan.presets import Settings
from memgan.training import TrainingSettings

SIDE = 4  # pixels of the images that these models see
TINY_MEMORY = {"num_slots": 61, "key_dim": 7, "top_k": 5, "kappa": 11.0, "correct_in_top": 1}
TINY_NETWORKS = {"image_size": SIDE, "channels": 3, "width": 2, "stages": 1, "hidden": 0, "noise_dim": 5}
TINY_TRAINING = {"steps": 13, "batch_size": 11}

# The same for the command line, on the digits' 16 pixels
TINY_ASSIGNMENTS = [
    "memory.num_slots=61",
    "memory.key_dim=7",
    "memory.top_k=5",
    "memory.correct_in_top=1",
    "networks.width=2",
    "training.batch_size=11",
    "training.steps=3",
]


def tiny_settings(*, memory=None, networks=None, training=None):
    """Settings small enough for a test, with the given fields changed."""
    return Settings(
        "digits",
        MemorySettings(**{**TINY_MEMORY, **(memory or {})}),
        NetworkSettings(**{**TINY_NETWORKS, **(networks or {})}),
        TrainingSettings(**{**TINY_TRAINING, **(training or {})}),
    )


def tiny_gan(*, seed=0, memory=None, networks=None):
    """A model with known random weights; the global random state is left alone."""
    settings = tiny_settings(memory=memory, networks=networks)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MemoryGAN.from_settings(settings.memory, settings.networks)


def random_images(number, *, seed=0, channels=3, side=SIDE):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(number, channels, side, side, generator=generator) * 2 - 1


def unit_rows(*shape, seed=0):
    return F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def state_of(module):
    return copy.deepcopy(module.state_dict())


def same_state(module, state):
    """Bitwise, NaN excluded."""
    now = module.state_dict()
    return now.keys() == state.keys() and all(torch.equal(now[name], state[name]) for name in state)

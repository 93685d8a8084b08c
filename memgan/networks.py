"""The two networks: images to queries on the unit sphere, keys and noise to images.

They know nothing of the memory or of training. Both are DCGANs in shape: each stage halves or doubles the image and
doubles or halves the channels.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Generator", "InferenceNetwork", "NetworkSettings"]


@dataclass(frozen=True)
class NetworkSettings:
    """Sizes of both networks."""

    image_size: int  # pixels, H = W; divisible by 2^stages
    channels: int = 1  # C
    width: int = 64  # channels after the first stage of the inference network
    stages: int = 2  # halvings of the image
    hidden: int = 1024  # units of the fully connected layer; 0 leaves it out
    noise_dim: int = 2  # Z

    def __post_init__(self) -> None:
        least = {"image_size": 1, "channels": 1, "width": 1, "stages": 1, "hidden": 0, "noise_dim": 0}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise ValueError(f"{name} must be at least {smallest}, got {getattr(self, name)}")
        if self.image_size % 2**self.stages:
            raise ValueError(f"image_size must be divisible by 2^stages = {2**self.stages}, got {self.image_size}")

    @property
    def innermost(self) -> tuple[int, int, int]:
        """Shape [C, H, W] between the convolutions and the fully connected layers."""
        side = self.image_size // 2**self.stages
        return self.width * 2 ** (self.stages - 1), side, side


class InferenceNetwork(nn.Module):
    """mu: images [B, C, H, W] in [-1, 1] to unit queries [B, M]."""

    def __init__(self, settings: NetworkSettings, key_dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = settings.channels
        for stage in range(settings.stages):
            after = settings.width * 2**stage
            layers.append(nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1, bias=stage == 0))
            layers += [nn.BatchNorm2d(after)] if stage else []  # as in DCGAN, none on the input's own layer
            layers.append(nn.LeakyReLU(0.2))
            before = after
        layers.append(nn.Flatten())
        features = math.prod(settings.innermost)
        if settings.hidden:
            layers += [nn.Linear(features, settings.hidden, bias=False), nn.BatchNorm1d(settings.hidden)]
            layers.append(nn.LeakyReLU(0.2))
            features = settings.hidden
        layers.append(nn.Linear(features, key_dim))
        self.layers = nn.Sequential(*layers)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.layers(images), dim=1)


class Generator(nn.Module):
    """G: keys [B, M] and noise [B, Z] to images [B, C, H, W] in [-1, 1]."""

    def __init__(self, settings: NetworkSettings, key_dim: int) -> None:
        super().__init__()
        self.noise_dim = settings.noise_dim
        layers: list[nn.Module] = []
        features = key_dim + settings.noise_dim
        for width in [settings.hidden] * bool(settings.hidden) + [math.prod(settings.innermost)]:
            layers += [nn.Linear(features, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
            features = width
        layers.append(nn.Unflatten(1, settings.innermost))
        before = settings.innermost[0]
        for stage in reversed(range(settings.stages)):
            after = settings.width * 2 ** (stage - 1) if stage else settings.channels
            layers.append(nn.ConvTranspose2d(before, after, kernel_size=4, stride=2, padding=1, bias=not stage))
            layers += [nn.BatchNorm2d(after), nn.ReLU()] if stage else [nn.Tanh()]
            before = after
        self.layers = nn.Sequential(*layers)
        self.apply(_initialise)

    def forward(self, keys: Tensor, noise: Tensor) -> Tensor:
        # a unit key weighs about as much as all the noise; scaled up it would drown it, and slots would lose variety
        return self.layers(torch.cat([keys, noise], dim=1))


def _initialise(module: nn.Module) -> None:
    """DCGAN's weights: N(0, 0.02), so that both networks start close to linear."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

"""The two networks: images to queries on the unit sphere, keys and noise to images.

They know nothing of the memory or of training. Both come in two kinds. "dcgan": each stage halves or doubles the
image and doubles or halves the channels. "residual", for CIFAR-10: blocks of one width, with layer normalisation
and ELU, after the residual networks of Gulrajani et al. 2017 for 32x32.

The authors' code has other details in its DCGANs. For Fashion-MNIST a third convolution replaces the inference
network's fully connected layer, and the generator's first transposed convolution keeps its channels; for
affine-MNIST there is no such layer, and inner stages end in a 1x1 convolution. In both the batch normalises the
queries, and images lie in [0, 1].
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Generator", "InferenceNetwork", "NetworkSettings"]


Kind = Literal["dcgan", "residual"]


@dataclass(frozen=True)
class NetworkSettings:
    """Sizes of both networks."""

    image_size: int  # pixels, H = W; divisible by 2^stages
    channels: int = 1  # C
    width: int = 64  # channels after the first stage of the inference network; of every residual block
    stages: int = 2  # halvings of the image
    hidden: int = 1024  # units of the fully connected layer; 0 leaves it out, as residual networks do
    noise_dim: int = 2  # Z
    kind: Kind = "dcgan"

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {get_args(Kind)}, got {self.kind!r}")
        least = {"image_size": 1, "channels": 1, "width": 1, "stages": 1, "hidden": 0, "noise_dim": 0}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise ValueError(f"{name} must be at least {smallest}, got {getattr(self, name)}")
        if self.image_size % 2**self.stages:
            raise ValueError(f"image_size must be divisible by 2^stages = {2**self.stages}, got {self.image_size}")
        if self.kind == "residual" and (self.hidden or self.stages < 2):
            raise ValueError(
                f"residual networks have two stages or more and hidden = 0, got {self.stages} and {self.hidden}"
            )

    @property
    def innermost(self) -> tuple[int, int, int]:
        """Shape [C, H, W] between the convolutions and the fully connected layers."""
        side = self.image_size // 2**self.stages
        return self.width if self.kind == "residual" else self.width * 2 ** (self.stages - 1), side, side


class InferenceNetwork(nn.Module):
    """mu: images [B, C, H, W] in [-1, 1] to unit queries [B, M]."""

    def __init__(self, settings: NetworkSettings, key_dim: int) -> None:
        super().__init__()
        layers = _residual_inference if settings.kind == "residual" else _dcgan_inference
        self.layers = layers(settings, key_dim)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        features = self.layers(images)  # under autocast in half precision: the direction is taken in the weights' own
        return F.normalize(features.to(next(self.parameters()).dtype), dim=1)


class Generator(nn.Module):
    """G: keys [B, M] and noise [B, Z] to images [B, C, H, W] in [-1, 1]."""

    def __init__(self, settings: NetworkSettings, key_dim: int) -> None:
        super().__init__()
        self.noise_dim = settings.noise_dim
        layers = _residual_generator if settings.kind == "residual" else _dcgan_generator
        self.layers = layers(settings, key_dim + settings.noise_dim)
        self.apply(_initialise)

    def forward(self, keys: Tensor, noise: Tensor) -> Tensor:
        # a unit key weighs about as much as all the noise; scaled up it would drown it, and slots would lose variety
        return self.layers(torch.cat([keys, noise], dim=1))


def _dcgan_inference(settings: NetworkSettings, key_dim: int) -> nn.Sequential:
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
    return nn.Sequential(*layers, nn.Linear(features, key_dim))


def _dcgan_generator(settings: NetworkSettings, features: int) -> nn.Sequential:
    layers: list[nn.Module] = []
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
    return nn.Sequential(*layers)


class ResidualBlock(nn.Module):
    """ELU(norm(body(x) + shortcut(x))), the body two 3x3 convolutions: [B, before, H, W] to [B, after, H', W'].

    "up" doubles H and W before the body, "down" halves them after it. Normalised after the sum, as in the authors'
    code, not before the body as by Gulrajani et al. Between the convolutions their code leaves batch normalisation,
    the default of an operation; here it is the layer normalisation of the rest.
    """

    def __init__(
        self, before: int, after: int, resample: Literal["up", "down", ""] = "", *, on_images: bool = False
    ) -> None:
        super().__init__()
        up: list[nn.Module] = [nn.Upsample(scale_factor=2)] if resample == "up" else []
        down: list[nn.Module] = [nn.AvgPool2d(2)] if resample == "down" else []
        inner = [] if on_images else [_layer_norm(after)]
        first = nn.Conv2d(before, after, kernel_size=3, padding=1, bias=on_images)
        second = nn.Conv2d(after, after, kernel_size=3, padding=1)
        self.body = nn.Sequential(*up, first, *inner, nn.ELU(), second, *down)
        # a 1x1 convolution commutes with both resamplings: it goes where the image is small
        self.shortcut = (
            nn.Sequential(*down, nn.Conv2d(before, after, kernel_size=1), *up) if resample else nn.Identity()
        )
        self.output = nn.Sequential(_layer_norm(after), nn.ELU())

    def forward(self, images: Tensor) -> Tensor:
        return self.output(self.body(images) + self.shortcut(images))


def _residual_inference(settings: NetworkSettings, key_dim: int) -> nn.Sequential:
    width = settings.width
    blocks = [ResidualBlock(settings.channels, width, "down", on_images=True)]
    blocks += [ResidualBlock(width, width, "down") for _ in range(settings.stages - 2)]
    blocks += [ResidualBlock(width, width), ResidualBlock(width, width)]
    query = nn.Conv2d(width, key_dim, kernel_size=4, stride=2, padding=1)  # the last halving
    layers = nn.Sequential(*blocks, query, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return layers.to(memory_format=torch.channels_last)  # a third faster on a CPU


def _residual_generator(settings: NetworkSettings, features: int) -> nn.Sequential:
    width, inner = settings.width, math.prod(settings.innermost)
    start = [nn.Linear(features, inner, bias=False), nn.LayerNorm(inner), nn.ELU(), nn.Unflatten(1, settings.innermost)]
    blocks = [ResidualBlock(width, width, "up") for _ in range(settings.stages)]
    layers = nn.Sequential(*start, *blocks, nn.Conv2d(width, settings.channels, kernel_size=3, padding=1), nn.Tanh())
    return layers.to(memory_format=torch.channels_last)


def _layer_norm(channels: int) -> nn.GroupNorm:
    """Layer normalisation over channels and pixels together, with a scale and a shift for each channel."""
    return nn.GroupNorm(1, channels)


def _initialise(module: nn.Module) -> None:
    """DCGAN's weights: N(0, 0.02), so that both networks start close to linear."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

"""The two networks: images to queries on the unit sphere, keys and noise to images.

They know nothing of the memory or of training. Both come in two kinds. "dcgan": each stage halves or doubles the
image and doubles or halves the channels. "residual", for CIFAR-10: blocks of one width, with layer normalisation
and ELU, after the residual networks of Gulrajani et al. 2017 for 32x32.

The authors' code has other details in its DCGANs. For Fashion-MNIST a third convolution replaces the inference
network's fully connected layer, and the generator's first transposed convolution keeps its channels; for
affine-MNIST there is no such layer, and inner stages end in a 1x1 convolution. In both, batch normalisation is
applied to the queries, and images lie in [0, 1].
"""

import copy
import math
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from memgan.fields import truth_value, whole_number

__all__ = ["Generator", "ImageConvTranspose2d", "InferenceNetwork", "NetworkSettings", "detached_copy"]


Kind = Literal["dcgan", "residual"]
Module = TypeVar("Module", bound=nn.Module)


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
    spread_queries: bool = False  # a batch normalisation without weights ends the inference network: queries of mean 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {get_args(Kind)}, got {self.kind!r}")
        truth_value("spread_queries", self.spread_queries)
        for name in ("image_size", "channels", "width", "stages", "hidden", "noise_dim"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        for name in ("image_size", "channels", "width", "stages"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("hidden", "noise_dim"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        factor = 2**self.stages
        if self.image_size % factor != 0:
            smaller = self.image_size // factor * factor
            nearest = f"{smaller} and {smaller + factor} are" if smaller else f"{factor} is"
            raise ValueError(
                f"image_size must be divisible by 2^stages = {factor}, got {self.image_size}: the nearest {nearest}"
            )
        if self.kind == "residual" and (self.hidden != 0 or self.stages < 2):
            raise ValueError(
                f"residual networks have two stages or more and hidden = 0, got {self.stages} and {self.hidden}"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape [C, H, W] of an image."""
        return self.channels, self.image_size, self.image_size

    @property
    def innermost(self) -> tuple[int, int, int]:
        """Shape [C, H, W] between the convolutions and the fully connected layers."""
        side = self.image_size // 2**self.stages
        if self.kind == "residual":
            return self.width, side, side
        return self.width * 2 ** (self.stages - 1), side, side


class InferenceNetwork(nn.Module):
    """mu: images [B, C, H, W] in [-1, 1] to unit queries [B, M]."""

    def __init__(self, settings: NetworkSettings, key_dim: int) -> None:
        super().__init__()
        if settings.kind == "residual":
            self.layers = _residual_inference(settings, key_dim)
        else:
            self.layers = _dcgan_inference(settings, key_dim)
        if settings.spread_queries:
            self.layers.append(nn.BatchNorm1d(key_dim, affine=False))
        self.apply(_initialise)

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch key_dim"]:
        """The direction of each image's features.

        Under autocast the layers give half precision; the direction is taken in the precision of the weights.
        """
        features = self.layers(images)
        weight = next(self.parameters())
        return F.normalize(features.to(weight.dtype), dim=1)


class Generator(nn.Module):
    """G: keys [B, M] and noise [B, Z] to images [B, C, H, W] in [-1, 1]."""

    def __init__(self, settings: NetworkSettings, key_dim: int) -> None:
        super().__init__()
        self.noise_dim = settings.noise_dim
        num_inputs = key_dim + settings.noise_dim
        if settings.kind == "residual":
            self.layers = _residual_generator(settings, num_inputs)
        else:
            self.layers = _dcgan_generator(settings, num_inputs)
        self.apply(_initialise)

    def forward(
        self, keys: Float[Tensor, "batch key_dim"], noise: Float[Tensor, "batch noise_dim"]
    ) -> Float[Tensor, "batch channels height width"]:
        """One image for each pair of a key and a noise vector.

        A unit key weighs about as much as all the noise. Scaled up it would drown the noise, and the images of a slot
        would lose their variety.
        """
        return self.layers(torch.cat([keys, noise], dim=1))


def _dcgan_inference(settings: NetworkSettings, key_dim: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = settings.channels
    for stage in range(settings.stages):
        is_first = stage == 0
        is_last = stage == settings.stages - 1
        channels_after = settings.width * 2**stage
        convolution = ContiguousConv2d if is_last else nn.Conv2d
        layers.append(convolution(channels, channels_after, kernel_size=4, stride=2, padding=1, bias=is_first))
        if not is_first:  # as in DCGAN, the layer on the images themselves is not normalised
            layers.append(nn.BatchNorm2d(channels_after))
        layers.append(nn.LeakyReLU(0.2))
        channels = channels_after
    layers.append(nn.Flatten())
    features = math.prod(settings.innermost)
    if settings.hidden > 0:
        layers.append(nn.Linear(features, settings.hidden, bias=False))
        layers.append(nn.BatchNorm1d(settings.hidden))
        layers.append(nn.LeakyReLU(0.2))
        features = settings.hidden
    layers.append(nn.Linear(features, key_dim))
    return nn.Sequential(*layers)


def _dcgan_generator(settings: NetworkSettings, num_inputs: int) -> nn.Sequential:
    widths = [math.prod(settings.innermost)]
    if settings.hidden > 0:
        widths.insert(0, settings.hidden)
    layers: list[nn.Module] = []
    features = num_inputs
    for width in widths:
        layers.append(nn.Linear(features, width, bias=False))
        layers.append(nn.BatchNorm1d(width))
        layers.append(nn.ReLU())
        features = width
    layers.append(nn.Unflatten(1, settings.innermost))
    channels = settings.innermost[0]
    for stage in reversed(range(1, settings.stages)):
        channels_after = settings.width * 2 ** (stage - 1)
        layers.append(nn.ConvTranspose2d(channels, channels_after, kernel_size=4, stride=2, padding=1, bias=False))
        layers.append(nn.BatchNorm2d(channels_after))
        layers.append(nn.ReLU())
        channels = channels_after
    layers.append(ImageConvTranspose2d(channels, settings.channels))
    layers.append(nn.Tanh())
    return nn.Sequential(*layers)


class ContiguousConv2d(nn.Conv2d):
    """`Conv2d` whose features lie in memory channel by channel, whatever the layout of the images.

    For features that are flattened later: flattening hands its gradient back in this layout. Batch normalisation and
    activations are slow on a CPU where the gradient has another layout than the features.
    """

    def forward(self, images: Tensor) -> Tensor:
        """The convolution of `images` [B, in_channels, H, W]."""
        return super().forward(images).contiguous()

    def _get_name(self) -> str:
        """Printed as what it computes."""
        return "Conv2d"


class ImageConvTranspose2d(nn.ConvTranspose2d):
    """`ConvTranspose2d` with a kernel of 4 and a stride of 2, which makes images.

    On a CPU it is computed as a product of matrices if the images have one channel, for which PyTorch's own way is
    slow (docs/performance.md). A column of `patches` holds what one place of the features adds to 16 pixels.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=4, stride=2, padding=1)

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        """The transposed convolution of `features` [B, in_channels, H, W], [B, C, 2 H, 2 W].

        An `output_size` is passed on to `ConvTranspose2d`.
        """
        is_for_a_cpu = features.device.type == "cpu" and self.out_channels == 1
        if not is_for_a_cpu or self.bias is None or output_size is not None:
            return super().forward(features, output_size)
        height, width = (2 * side for side in features.shape[2:])
        patches = self.weight.flatten(1).mT @ features.flatten(2)  # [B, 16, places]
        images = F.fold(patches, (height, width), kernel_size=4, padding=1, stride=2)
        return images + self.bias.to(images.dtype).view(-1, 1, 1)


class ResidualBlock(nn.Module):
    """ELU(norm(body(x) + shortcut(x))), the body two 3x3 convolutions: [B, before, H, W] to [B, after, H', W'].

    "up" doubles H and W before the body, "down" halves them after it. Normalised after the sum, as in the authors'
    code, not before the body as by Gulrajani et al. Between the convolutions their code leaves batch normalisation,
    the default of an operation; here it is the layer normalisation of the rest. A block `on_images` does not normalise
    there, because its first convolution sees the images themselves.
    """

    def __init__(
        self, before: int, after: int, resample: Literal["up", "down", ""] = "", *, on_images: bool = False
    ) -> None:
        super().__init__()
        up: list[nn.Module] = [nn.Upsample(scale_factor=2)] if resample == "up" else []
        down: list[nn.Module] = [nn.AvgPool2d(2)] if resample == "down" else []
        norm: list[nn.Module] = [] if on_images else [_layer_norm(after)]
        first = nn.Conv2d(before, after, kernel_size=3, padding=1, bias=on_images)
        second = nn.Conv2d(after, after, kernel_size=3, padding=1)
        self.body = nn.Sequential(*up, first, *norm, nn.ELU(), second, *down)
        self.shortcut: nn.Module = nn.Identity()
        if resample:  # a 1x1 convolution commutes with both resamplings: it goes where the image is small
            self.shortcut = nn.Sequential(*down, nn.Conv2d(before, after, kernel_size=1), *up)
        self.output = nn.Sequential(_layer_norm(after), nn.ELU())

    def forward(
        self, images: Float[Tensor, "batch before height width"]
    ) -> Float[Tensor, "batch after new_height new_width"]:
        return self.output(self.body(images) + self.shortcut(images))


def _residual_inference(settings: NetworkSettings, key_dim: int) -> nn.Sequential:
    width = settings.width
    layers: list[nn.Module] = [ResidualBlock(settings.channels, width, "down", on_images=True)]
    for _ in range(settings.stages - 2):
        layers.append(ResidualBlock(width, width, "down"))
    layers.append(ResidualBlock(width, width))
    layers.append(ResidualBlock(width, width))
    layers.append(nn.Conv2d(width, key_dim, kernel_size=4, stride=2, padding=1))  # the last halving
    layers.append(nn.AdaptiveAvgPool2d(1))
    layers.append(nn.Flatten())
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)  # a third faster on a CPU


def _residual_generator(settings: NetworkSettings, num_inputs: int) -> nn.Sequential:
    width = settings.width
    features = math.prod(settings.innermost)
    layers: list[nn.Module] = [
        nn.Linear(num_inputs, features, bias=False),
        nn.LayerNorm(features),
        nn.ELU(),
        nn.Unflatten(1, settings.innermost),
    ]
    for _ in range(settings.stages):
        layers.append(ResidualBlock(width, width, "up"))
    layers.append(nn.Conv2d(width, settings.channels, kernel_size=3, padding=1))
    layers.append(nn.Tanh())
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def _layer_norm(channels: int) -> nn.GroupNorm:
    """Layer normalisation over channels and pixels together, with a scale and a shift for each channel."""
    return nn.GroupNorm(1, channels)


def _initialise(module: nn.Module) -> None:
    """DCGAN's weights: N(0, 0.02), so that both networks start close to linear."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def detached_copy(module: Module) -> Module:
    """A deep copy of `module`, also where it holds tensors with a history, which `copy.deepcopy` refuses to copy.

    The hooks of `torch.nn.utils.spectral_norm`, `weight_norm` and `prune` keep such a tensor: the weight that they made
    in the last forward pass.
    """
    copies: dict[int, object] = {}  # by the id of the original, as copy.deepcopy keeps them
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                copies[id(value)] = value.detach().clone()
    return copy.deepcopy(module, copies)

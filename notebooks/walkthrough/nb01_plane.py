"""Eight Gaussians on a ring: the smallest problem whose classes have nothing in between.

A plain GAN, a memoryGAN and an InfoGAN with a one-hot code, each trained on it in seconds by the package's own
`training_step`, and what is measured of them. The networks are so small that they stand here; all else is the package's.

The latent space of each is a number of separate *pieces*, each of them a cube of noise z: a single piece for the plain
GAN, one for each real slot of the memory, one for each of InfoGAN's codes.
"""

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from memgan import MemoryGAN, VMFMemory
from memgan.gan import AdversarialModel, Information
from memgan.lab.baselines.sigmoid import SigmoidGAN
from memgan.lab.baselines.unconditional import UnconditionalMemoryGAN
from memgan.memory import Touch
from memgan.training import TrainingSettings, adam_optimisers, prepare, rate_factor, training_step

__all__ = [
    "EQUAL",
    "MODES",
    "RADIUS",
    "REACH",
    "SIGMA",
    "CodeSettings",
    "Measured",
    "Pieces",
    "PlainSettings",
    "PlaneMemorySettings",
    "PointEncoder",
    "PointGenerator",
    "centres",
    "gap",
    "latent_grid",
    "measure",
    "memory_gan",
    "mode_of",
    "one_hot_gan",
    "pieces",
    "plain_gan",
    "real_points",
    "slopes",
    "spectral_bound",
    "train_memory",
    "train_one_hot",
    "training_plain",
]

Model = TypeVar("Model", bound=AdversarialModel)

MODES = 8  # Gaussians
RADIUS = 2.0  # of the circle that they lie on
SIGMA = 0.1  # how wide each is
EQUAL = (1.0,) * MODES  # how much of the data each mode has
REACH = 4.0  # a point belongs to a mode if it lies within this many sigma of its centre
EPSILON = 1e-6  # to which D of a GAN without a memory is clipped: so close to 0 and 1 that it plays no part


# ------------------------------------------------------------------ the data


def centres() -> Tensor:
    """The eight centres [8, 2], counted anticlockwise from the one on the right."""
    angle = torch.arange(MODES) * (2 * math.pi / MODES)
    return RADIUS * torch.stack([angle.cos(), angle.sin()], dim=1)


def gap(sigma: float = SIGMA) -> float:
    """Distance between the discs, of radius `REACH` sigma, around two neighbouring centres."""
    return 2 * RADIUS * math.sin(math.pi / MODES) - 2 * REACH * sigma


def real_points(
    number: int,
    sigma: float = SIGMA,
    shares: Sequence[float] = EQUAL,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Points [number, 2] of the data, in the eight modes as often as `shares` [8] say."""
    mode = torch.multinomial(torch.tensor(shares), number, replacement=True, generator=generator)
    return centres()[mode] + sigma * torch.randn(number, 2, generator=generator)


def mode_of(points: Tensor, sigma: float = SIGMA) -> Tensor:
    """The mode 0..7 that each of `points` [..., 2] belongs to, or -1 where it is off all of them, [...]."""
    distance, mode = torch.cdist(points.reshape(-1, 2), centres()).min(dim=1)
    return torch.where(distance <= REACH * sigma, mode, -1).view(points.shape[:-1])


# ------------------------------------------------------------------ the models


class PointGenerator(nn.Module):
    """G: a code [B, code_dim] and noise [B, Z] to points [B, 2]; `normalise` puts batch normalisation behind each layer.

    A unit key is scaled by `scale`, so that each of its numbers weighs about as much as one of the noise. With a
    `code_dim` of 0 the generator takes no notice of what code it is given.
    """

    def __init__(self, code_dim: int, noise_dim: int, width: int, *, normalise: bool, scale: float = 1.0) -> None:
        super().__init__()
        self.code_dim = code_dim
        self.noise_dim = noise_dim
        self.scale = scale
        self.layers = _mlp(code_dim + noise_dim, width, 2, normalise=normalise)

    def forward(self, codes: Tensor, noise: Tensor) -> Tensor:
        return self.layers(torch.cat([self.scale * codes[:, : self.code_dim], noise], dim=1))


class PointEncoder(nn.Module):
    """D's network: points [B, 2] to `outputs` numbers [B, outputs], in training through a `blur` of normal noise.

    The blur makes real and generated points overlap at first, so that D cannot tell them apart too easily.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.blur: float = 0.0  # standard deviation, in units of the plane
        self.layers = _mlp(2, width, outputs, leak=0.2)

    def forward(self, points: Tensor) -> Tensor:
        if self.training and self.blur > 0:
            points = points + self.blur * torch.randn_like(points)
        return self.layers(points)


def _mlp(before: int, width: int, after: int, *, normalise: bool = False, leak: float = 0.0) -> nn.Sequential:
    """Two hidden layers of `width` units, ReLU or, with a `leak`, LeakyReLU."""
    layers: list[nn.Module] = []
    for inputs in (before, width):
        layers.append(nn.Linear(inputs, width))
        if normalise:
            layers.append(nn.BatchNorm1d(width))
        layers.append(nn.LeakyReLU(leak))
    return nn.Sequential(*layers, nn.Linear(width, after))


def plain_gan(settings: "PlainSettings") -> SigmoidGAN:
    """A GAN whose latent space is in one piece."""
    generator = PointGenerator(0, settings.noise_dim, settings.width, normalise=False)
    return SigmoidGAN(PointEncoder(settings.width, 1), generator, epsilon=EPSILON)


def one_hot_gan(settings: "CodeSettings") -> SigmoidGAN:
    """InfoGAN (Chen et al. 2016) with a one-hot code, all codes equally often."""
    generator = PointGenerator(settings.num_codes, settings.noise_dim, settings.width, normalise=True)
    scorer = PointEncoder(settings.width, 1 + settings.num_codes)
    return SigmoidGAN(scorer, generator, num_codes=settings.num_codes, epsilon=EPSILON)


def memory_gan(settings: "PlaneMemorySettings") -> MemoryGAN:
    """MemoryGAN for points of the plane: D(x) = memory.read(mu(x)), x = G(K_c, z). (6, 11)"""
    # without the checks that need a look at values: with few slots, replacements beyond their number are dropped
    memory = VMFMemory(
        settings.num_slots,
        settings.key_dim,
        settings.top_k,
        kappa=settings.kappa,
        alpha=settings.alpha,
        correct_in_top=settings.correct_in_top,
        touch=settings.touch,
        replace_within_label=settings.replace_within_label,
        validate=False,
    )
    encoder = PointEncoder(settings.width, settings.key_dim)
    if not settings.conditional:
        generator = PointGenerator(0, settings.noise_dim, settings.width, normalise=True)
        return UnconditionalMemoryGAN(memory, encoder, generator)
    scale = math.sqrt(settings.key_dim)
    generator = PointGenerator(settings.key_dim, settings.noise_dim, settings.width, normalise=True, scale=scale)
    return MemoryGAN(memory, encoder, generator)


class Pieces(NamedTuple):
    """The pieces of a latent space."""

    codes: Tensor  # [pieces, code_dim], what the generator is given
    probabilities: Tensor  # [pieces], how often


def pieces(gan: AdversarialModel) -> Pieces:
    """A piece for each slot or code of `gan`; a single one where the generator is not told which."""
    if gan.conditional:
        probabilities = gan.slot_probabilities()
    else:
        probabilities = torch.ones(1)
    return Pieces(gan.keys_of(torch.arange(len(probabilities))), probabilities)


# ------------------------------------------------------------------ training


@dataclass(frozen=True)
class PlainSettings:
    """The plain GAN: sigmoid discriminator, non-saturating loss."""

    steps: int = 1200
    sigma: float = SIGMA
    shares: tuple[float, ...] = EQUAL  # of the modes in the data
    batch_size: int = 256
    noise_dim: int = 2  # Z
    width: int = 64
    generator_lr: float = 2e-3  # Adam's
    discriminator_lr: float = 2e-3
    beta1: float = 0.0
    decay_from: float = 1.0  # share of the steps after which both rates fall linearly to 0
    blur: float = 0.0  # noise on D's inputs at the first step, in units of the plane
    blur_until: float = 0.7  # share of the steps after which there is none
    mi_weight: float = 0.0  # lambda
    information: Information = "posterior"

    def for_training(self) -> TrainingSettings:
        """What of these `training_step` is told."""
        names = {field.name for field in fields(TrainingSettings)} & {field.name for field in fields(self)}
        return TrainingSettings(**{name: getattr(self, name) for name in sorted(names)})


@dataclass(frozen=True)
class CodeSettings(PlainSettings):
    """What memoryGAN and the InfoGAN with a one-hot code share."""

    steps: int = 1500
    batch_size: int = 64
    generator_lr: float = 1e-3
    discriminator_lr: float = 1e-3
    beta1: float = 0.5
    decay_from: float = 0.6
    blur: float = 0.5
    mi_weight: float = 1.0
    num_codes: int = MODES


@dataclass(frozen=True)
class PlaneMemorySettings(CodeSettings):
    """MemoryGAN; `scripts/measure_plane.py` measures what happens without each of these settings."""

    discriminator_lr: float = 1e-4
    num_slots: int = 128  # N
    key_dim: int = 16  # M
    top_k: int = 8  # k
    kappa: float = 15.0
    alpha: float = 0.9
    correct_in_top: int = 8  # any of S may vouch for a label
    touch: Touch = "best"
    replace_within_label: bool = True
    conditional: bool = True  # whether the generator is given a key (MCGN)


def training_plain(seed: int, **changes: Any) -> Iterator[tuple[int, SigmoidGAN]]:
    """Train a plain GAN, handing out the number of steps done, from 0, and the model after each of them.

    `changes` are fields of `PlainSettings`. Seeds PyTorch.
    """
    settings = PlainSettings(**changes)
    prepare(seed)
    return _training(plain_gan(settings), settings)


def train_memory(seed: int, **changes: Any) -> MemoryGAN:
    """A memoryGAN on the ring; `changes` are fields of `PlaneMemorySettings`. Seeds PyTorch."""
    settings = PlaneMemorySettings(**changes)
    prepare(seed)
    return _last(_training(memory_gan(settings), settings))


def train_one_hot(seed: int, **changes: Any) -> SigmoidGAN:
    """An InfoGAN with a one-hot code; `changes` are fields of `CodeSettings`. Seeds PyTorch."""
    settings = CodeSettings(**changes)
    prepare(seed)
    return _last(_training(one_hot_gan(settings), settings))


def _training(gan: Model, settings: PlainSettings) -> Iterator[tuple[int, Model]]:
    """Train `gan` by the package's own `training_step`; the number of steps done and the model, from step 0."""
    told = settings.for_training()
    encoder = gan.inference
    assert isinstance(encoder, PointEncoder)
    optimisers = adam_optimisers(gan, told)
    schedules = [LambdaLR(optimiser, functools.partial(rate_factor, settings=told)) for optimiser in optimisers]
    yield 0, gan.eval()
    for step in range(settings.steps):
        gan.train()
        encoder.blur = settings.blur * max(0.0, 1 - step / (settings.blur_until * settings.steps))
        points = real_points(settings.batch_size, settings.sigma, settings.shares)
        training_step(gan, points, optimisers, told)
        for schedule in schedules:
            schedule.step()
        yield step + 1, gan.eval()


def _last(steps: Iterable[tuple[int, Model]]) -> Model:
    """The model after the last step."""
    for _, gan in steps:
        trained = gan  # the same model at every step
    return trained


# ------------------------------------------------------------------ what is measured


class Measured(NamedTuple):
    """What `measure` says of a model."""

    modes: int  # that get at least a quarter of their share of the points
    off_mode: float  # share of points that belong to no mode
    slope: float  # largest ||dG/dz|| on a grid over every piece in use: at most the Lipschitz constant
    pieces: int  # of the latent space, in use
    spread: float  # of the points within their modes, per axis and in sigma: 1 for the data
    masses: tuple[float, ...]  # share of points in each mode


IN_USE = 1e-4  # a piece is in use if the generator is given it at least this often


@torch.no_grad()
def measure(
    gan: AdversarialModel, sigma: float = SIGMA, number: int = 20_000, seed: int = 0, side: int = 400
) -> Measured:
    """What `number` points of `gan` look like and how steep it is on `side`^2 points of noise, shared by all pieces.

    With noise of another dimension than 2, the grid's place is taken by as many random points.
    """
    generator = torch.Generator().manual_seed(seed)
    generated = gan.generate(number, generator=generator).images
    mode = mode_of(generated, sigma)
    mass = torch.bincount(mode[mode >= 0], minlength=MODES) / number
    codes, probabilities = pieces(gan)
    used = codes[probabilities >= IN_USE]
    points = side**2 // len(used)
    if gan.noise_dim == 2:
        noise = latent_grid(int(math.sqrt(points))).view(-1, 2)
    else:
        noise = torch.rand(points, gan.noise_dim, generator=generator) * 2 - 1
    slope = max(float(slopes(gan, code, noise).max()) for code in used)
    modes = int((mass >= 1 / (4 * MODES)).sum())
    spread = _spread(generated, mode) / sigma
    off_mode = float((mode < 0).double().mean())
    return Measured(modes, off_mode, slope, len(used), spread, tuple(mass.tolist()))


def _spread(points: Tensor, mode: Tensor) -> float:
    """Standard deviation per axis of `points` [n, 2] around the mean of their mode [n], those in no mode left out."""
    deviations = []
    for number in range(MODES):
        group = points[mode == number]
        if len(group):
            deviations.append(group - group.mean(dim=0))
    if not deviations:
        return float("nan")
    return float(torch.cat(deviations).square().mean().sqrt())


def latent_grid(side: int) -> Tensor:
    """The centres of `side` x `side` equal cells of the square (-1, 1)^2, [side, side, 2]: row up, column right."""
    along = (torch.arange(side) + 0.5) / side * 2 - 1
    up, right = torch.meshgrid(along, along, indexing="ij")
    return torch.stack([right, up], dim=-1)


def slopes(gan: AdversarialModel, code: Tensor, noise: Tensor) -> Tensor:
    """||dG/dz||, the largest singular value of the Jacobian, at each row of `noise` [n, Z], for one `code`, [n]."""
    with torch.enable_grad():
        z = noise.detach().requires_grad_()
        points = gan.generator(code.expand(len(z), -1), z)
        (first,) = torch.autograd.grad(points[:, 0].sum(), z, retain_graph=True)  # the rows of each Jacobian J
        (second,) = torch.autograd.grad(points[:, 1].sum(), z)
    # J J^T is a symmetric 2x2 matrix; its larger eigenvalue is the square of the largest singular value of J
    top_left = (first**2).sum(dim=1)
    off_diagonal = (first * second).sum(dim=1)
    bottom_right = (second**2).sum(dim=1)
    root = ((top_left - bottom_right) ** 2 + 4 * off_diagonal**2).sqrt()
    larger_eigenvalue = (top_left + bottom_right + root) / 2
    return larger_eigenvalue.sqrt()


def spectral_bound(gan: AdversarialModel) -> float:
    """Product of the weights' spectral norms: no less than the Lipschitz constant of a GAN without normalisation."""
    generator = gan.generator
    assert isinstance(generator, PointGenerator)
    weights = [layer.weight for layer in generator.layers if isinstance(layer, nn.Linear)]
    return math.prod(float(torch.linalg.matrix_norm(weight.detach(), ord=2)) for weight in weights)

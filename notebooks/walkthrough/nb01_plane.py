"""Eight Gaussians on a ring: the smallest problem whose classes have nothing in between.

A plain GAN, a memoryGAN and an InfoGAN with a one-hot code, each trained on it in seconds, and what is measured of
them. The memory and its losses are `memgan`'s; the networks are so small that they stand here.

The latent space of each is a number of separate *pieces*, each of them a cube of noise z: a single piece for the plain
GAN, one for each real slot of the memory, one for each of InfoGAN's codes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan import VMFMemory, information_loss
from memgan.gan import discriminator_loss, generator_loss
from memgan.training import prepare

__all__ = [
    "EQUAL",
    "MODES",
    "RADIUS",
    "REACH",
    "SIGMA",
    "CodeSettings",
    "Measured",
    "MemorySettings",
    "PlainSettings",
    "PlaneGAN",
    "PlaneMemoryGAN",
    "centres",
    "gap",
    "latent_grid",
    "measure",
    "mode_of",
    "real_points",
    "slopes",
    "spectral_bound",
    "train_memory",
    "train_one_hot",
    "train_plain",
    "training_plain",
]

MODES = 8  # Gaussians
RADIUS = 2.0  # of the circle that they lie on
SIGMA = 0.1  # how wide each is
EQUAL = (1.0,) * MODES  # how much of the data each mode has
REACH = 4.0  # a point belongs to a mode if it lies within this many sigma of its centre


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


class Drawn(NamedTuple):
    """Generated points and what they were made from."""

    points: Tensor  # [n, 2]
    codes: Tensor  # [n, code_dim]
    pieces: Tensor  # [n], which piece of the latent space each comes from: for a memory the slot
    noise: Tensor  # [n, Z] in (-1, 1)


class PlaneGAN(nn.Module):
    """x = G(code, z) with one fixed code for each piece of the latent space; a plain GAN has one piece, without a code.

    `normalise` puts batch normalisation behind the hidden layers.
    """

    def __init__(self, num_pieces: int, code_dim: int, noise_dim: int, width: int, *, normalise: bool) -> None:
        super().__init__()
        self.num_pieces = num_pieces
        self.code_dim = code_dim
        self.noise_dim = noise_dim
        self.layers = _mlp(code_dim + noise_dim, width, 2, normalise=normalise)

    def codes(self) -> tuple[Tensor, Tensor]:
        """The code [pieces, code_dim] of each piece and the probability [pieces] that the generator is given it."""
        codes = torch.eye(self.num_pieces)[:, : self.code_dim]
        probabilities = torch.full((self.num_pieces,), 1 / self.num_pieces)
        return codes, probabilities

    def pick(self, number: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Codes [number, code_dim], drawn as often as their probabilities say, and their pieces [number]."""
        codes, probabilities = self.codes()
        pieces = torch.multinomial(probabilities, number, replacement=True, generator=generator)
        return codes[pieces], pieces

    def forward(self, codes: Tensor, noise: Tensor) -> Tensor:
        return self.layers(torch.cat([codes, noise], dim=1))

    def draw(self, number: int, generator: torch.Generator | None = None) -> Drawn:
        """Generated points [number, 2]."""
        codes, pieces = self.pick(number, generator)
        noise = torch.rand(number, self.noise_dim, generator=generator) * 2 - 1
        return Drawn(self(codes, noise), codes, pieces, noise)


class PlaneMemoryGAN(PlaneGAN):
    """MemoryGAN for points of the plane: D(x) = memory.read(mu(x)), x = G(K_c, z). (6, 11)"""

    def __init__(self, settings: "MemorySettings") -> None:
        num_pieces = settings.num_slots if settings.conditional else 1
        code_dim = settings.key_dim if settings.conditional else 0
        super().__init__(num_pieces, code_dim, settings.noise_dim, settings.width, normalise=True)
        self.conditional = settings.conditional
        # without the checks that need a look at values: with few slots, replacements beyond their number are dropped
        self.memory = VMFMemory(
            settings.num_slots,
            settings.key_dim,
            settings.top_k,
            kappa=settings.kappa,
            alpha=settings.alpha,
            correct_in_top=settings.correct_in_top,
            validate=False,
        )
        layers = _mlp(2, settings.width, settings.key_dim, leak=0.2)
        spread = nn.BatchNorm1d(settings.key_dim, affine=False) if settings.spread_queries else nn.Identity()
        self.query = nn.Sequential(layers, spread)

    def inference(self, points: Tensor) -> Tensor:
        """mu: unit queries [n, M] of `points` [n, 2]."""
        return F.normalize(self.query(points), dim=1)

    def codes(self) -> tuple[Tensor, Tensor]:
        """The keys [N, M] and how often the memory offers each, [N]: never, where a slot is not real. (11)"""
        if not self.conditional:
            return super().codes()
        return self.memory.keys, self.memory.slot_probabilities()

    def pick(self, number: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Keys and slots as the memory draws them. (11)"""
        if not self.conditional:
            return super().pick(number, generator)
        return self.memory.sample(number, generator)

    def forward(self, codes: Tensor, noise: Tensor) -> Tensor:
        # scaled by sqrt(M): each number of the key then weighs about as much as one of the noise
        scale = math.sqrt(max(codes.shape[1], 1))
        return super().forward(codes * scale, noise)


def _mlp(before: int, width: int, after: int, *, normalise: bool = False, leak: float = 0.0) -> nn.Sequential:
    """Two hidden layers of `width` units, ReLU or, with a `leak`, LeakyReLU."""
    layers: list[nn.Module] = []
    for inputs in (before, width):
        layers.append(nn.Linear(inputs, width))
        if normalise:
            layers.append(nn.BatchNorm1d(width))
        layers.append(nn.LeakyReLU(leak))
    return nn.Sequential(*layers, nn.Linear(width, after))


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
    rate: float = 2e-3  # Adam's, of both networks, without decay
    beta1: float = 0.0


@dataclass(frozen=True)
class CodeSettings:
    """What memoryGAN and the InfoGAN with a one-hot code share."""

    steps: int = 1500
    sigma: float = SIGMA
    shares: tuple[float, ...] = EQUAL  # of the modes in the data
    batch_size: int = 64
    noise_dim: int = 2  # Z
    width: int = 64
    generator_rate: float = 1e-3  # Adam's
    discriminator_rate: float = 1e-3
    beta1: float = 0.5
    decay_from: float = 0.6  # share of the steps after which both rates fall linearly to 0
    blur: float = 0.5  # noise on D's inputs at the first step, in units of the plane; decisive for memoryGAN
    blur_until: float = 0.7  # share of the steps after which there is none
    mi_weight: float = 1.0  # lambda
    num_codes: int = MODES


@dataclass(frozen=True)
class MemorySettings(CodeSettings):
    """MemoryGAN; `scripts/measure_plane.py` measures what happens without each of the settings that are marked as decisive."""

    discriminator_rate: float = 1e-4
    mi_weight: float = 0.05  # lambda; without it a run in a few misses a mode
    num_slots: int = 128  # N; 32 do as well
    key_dim: int = 16  # M
    top_k: int = 8  # k
    kappa: float = 60.0  # decisive
    alpha: float = 0.9
    correct_in_top: int = 8  # decisive: any of S may vouch for a label
    spread_queries: bool = True  # decisive: batch normalisation of mu's output, real and generated points together
    conditional: bool = True  # decisive: whether the generator is given a key (MCGN)


def train_plain(seed: int, steps: int = PlainSettings.steps, **changes: Any) -> PlaneGAN:
    """A plain GAN after `steps` steps; `changes` are fields of `PlainSettings`. Seeds PyTorch."""
    *_, last = training_plain(seed, steps=steps, **changes)
    _, gan = last
    return gan.eval()


def training_plain(seed: int, **changes: Any) -> Iterator[tuple[int, PlaneGAN]]:
    """The same, handing out the number of steps done, from 0, and the model after each of them."""
    settings = PlainSettings(**changes)
    prepare(seed)
    gan = PlaneGAN(1, 0, settings.noise_dim, settings.width, normalise=False)
    discriminator = _mlp(2, settings.width, 1, leak=0.2)
    optimiser_of_d = _adam(discriminator, settings.rate, settings.beta1)
    optimiser_of_g = _adam(gan, settings.rate, settings.beta1)
    yield 0, gan
    for step in range(1, settings.steps + 1):
        real = real_points(settings.batch_size, settings.sigma, settings.shares)
        generated = gan.draw(settings.batch_size).points.detach()
        loss_of_d = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(generated)).mean()
        _descend(optimiser_of_d, loss_of_d)

        generated = gan.draw(settings.batch_size).points
        loss_of_g = F.softplus(-discriminator(generated)).mean()
        _descend(optimiser_of_g, loss_of_g)
        yield step, gan


def train_memory(seed: int, **changes: Any) -> PlaneMemoryGAN:
    """A memoryGAN on the ring; `changes` are fields of `MemorySettings`. Seeds PyTorch."""
    settings = MemorySettings(**changes)
    prepare(seed)
    gan = PlaneMemoryGAN(settings)
    optimiser_of_d = _adam(gan.query, settings.discriminator_rate, settings.beta1)
    optimiser_of_g = _adam(gan.layers, settings.generator_rate, settings.beta1)
    labels = torch.tensor([1] * settings.batch_size + [0] * settings.batch_size)
    for blur in _schedule(settings, optimiser_of_d, optimiser_of_g):
        drawn = gan.draw(settings.batch_size)
        queries = _queries_of_both(gan, settings, drawn.points.detach(), blur)
        real, generated = gan.memory.read_write(queries, labels).chunk(2)
        information = _weighted_information(drawn.codes, queries[settings.batch_size :], settings)
        _descend(optimiser_of_d, discriminator_loss(real, generated) + information)

        drawn = gan.draw(settings.batch_size)
        queries = _queries_of_both(gan, settings, drawn.points, blur)[settings.batch_size :]
        information = _weighted_information(drawn.codes, queries, settings)
        loss_of_g = generator_loss(gan.memory.read(queries), "non_saturating")
        _descend(optimiser_of_g, loss_of_g + information)
    return gan.eval()


def _queries_of_both(gan: PlaneMemoryGAN, settings: MemorySettings, generated: Tensor, blur: float) -> Tensor:
    """Queries [2B, M] of new real points and of `generated` ones [B, 2], all blurred alike."""
    real = real_points(settings.batch_size, settings.sigma, settings.shares)
    points = torch.cat([real, generated])
    return gan.inference(points + blur * torch.randn_like(points))


def _weighted_information(codes: Tensor, queries: Tensor, settings: MemorySettings) -> Tensor | float:
    """lambda I_hat, (14); 0 for a generator without key, which has nothing to inform about."""
    if not settings.conditional or settings.mi_weight == 0:
        return 0.0
    return settings.mi_weight * information_loss(codes, queries, settings.kappa)


def train_one_hot(seed: int, **changes: Any) -> PlaneGAN:
    """InfoGAN (Chen et al. 2016) with a one-hot code, all codes equally often; `changes` as in `CodeSettings`."""
    settings = CodeSettings(**changes)
    prepare(seed)
    gan = PlaneGAN(settings.num_codes, settings.num_codes, settings.noise_dim, settings.width, normalise=True)
    # its first output is the logit of being real, the others are the logits of the codes
    discriminator = _mlp(2, settings.width, 1 + settings.num_codes, leak=0.2)
    optimiser_of_d = _adam(discriminator, settings.discriminator_rate, settings.beta1)
    optimiser_of_g = _adam(gan, settings.generator_rate, settings.beta1)
    for blur in _schedule(settings, optimiser_of_d, optimiser_of_g):
        drawn = gan.draw(settings.batch_size)
        points = torch.cat([real_points(settings.batch_size, settings.sigma, settings.shares), drawn.points.detach()])
        real, generated = discriminator(points + blur * torch.randn_like(points)).chunk(2)
        loss = F.softplus(-real[:, 0]).mean() + F.softplus(generated[:, 0]).mean()
        information = settings.mi_weight * F.cross_entropy(generated[:, 1:], drawn.pieces)
        _descend(optimiser_of_d, loss + information)

        drawn = gan.draw(settings.batch_size)
        generated = discriminator(drawn.points + blur * torch.randn_like(drawn.points))
        loss = F.softplus(-generated[:, 0]).mean()
        information = settings.mi_weight * F.cross_entropy(generated[:, 1:], drawn.pieces)
        _descend(optimiser_of_g, loss + information)
    return gan.eval()


def _adam(network: nn.Module, rate: float, beta1: float) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), rate, (beta1, 0.999), fused=True)  # fused: fewer small operations


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward(inputs=optimiser.param_groups[0]["params"])  # the other network only passes it on
    optimiser.step()


def _schedule(settings: CodeSettings, *optimisers: torch.optim.Optimizer) -> Iterator[float]:
    """The blur of each step; the rates hold and then fall linearly to 0."""
    rates = [optimiser.param_groups[0]["lr"] for optimiser in optimisers]
    for step in range(settings.steps):
        done = step / settings.steps
        share = min(1.0, (1 - done) / max(1 - settings.decay_from, 1e-12))
        for optimiser, rate in zip(optimisers, rates, strict=True):
            optimiser.param_groups[0]["lr"] = share * rate
        yield settings.blur * max(0.0, 1 - step / (settings.blur_until * settings.steps))


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
def measure(gan: PlaneGAN, sigma: float = SIGMA, number: int = 20_000, seed: int = 0, side: int = 400) -> Measured:
    """What `number` points of `gan` look like and how steep it is on `side`^2 points of noise, shared by all pieces.

    With noise of another dimension than 2, the grid's place is taken by as many random points.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = gan.draw(number, generator).points
    mode = mode_of(drawn, sigma)
    mass = torch.bincount(mode[mode >= 0], minlength=MODES) / number
    codes, probabilities = gan.codes()
    used = codes[probabilities >= IN_USE]
    points = side**2 // len(used)
    if gan.noise_dim == 2:
        noise = latent_grid(int(math.sqrt(points))).view(-1, 2)
    else:
        noise = torch.rand(points, gan.noise_dim, generator=generator) * 2 - 1
    slope = max(float(slopes(gan, code, noise).max()) for code in used)
    modes = int((mass >= 1 / (4 * MODES)).sum())
    spread = _spread(drawn, mode) / sigma
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


def slopes(gan: PlaneGAN, code: Tensor, noise: Tensor) -> Tensor:
    """||dG/dz||, the largest singular value of the Jacobian, at each row of `noise` [n, Z], for one `code`, [n]."""
    with torch.enable_grad():
        z = noise.detach().requires_grad_()
        points = gan(code.expand(len(z), -1), z)
        (first,) = torch.autograd.grad(points[:, 0].sum(), z, retain_graph=True)  # the rows of each Jacobian J
        (second,) = torch.autograd.grad(points[:, 1].sum(), z)
    # J J^T is the 2x2 matrix ((a, b), (b, c)); its larger eigenvalue is the square of the largest singular value
    a = (first**2).sum(dim=1)
    b = (first * second).sum(dim=1)
    c = (second**2).sum(dim=1)
    eigenvalue = (a + c + ((a - c) ** 2 + 4 * b**2).sqrt()) / 2
    return eigenvalue.sqrt()


def spectral_bound(gan: PlaneGAN) -> float:
    """Product of the weights' spectral norms: no less than the Lipschitz constant of a GAN without normalisation."""
    weights = [layer.weight for layer in gan.layers if isinstance(layer, nn.Linear)]
    return math.prod(float(torch.linalg.matrix_norm(weight.detach(), ord=2)) for weight in weights)

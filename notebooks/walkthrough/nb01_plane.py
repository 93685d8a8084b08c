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

MODES, RADIUS, SIGMA = 8, 2.0, 0.1  # how many Gaussians, on a circle of which radius, how wide each is
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
        self.num_pieces, self.code_dim, self.noise_dim = num_pieces, code_dim, noise_dim
        self.layers = _mlp(code_dim + noise_dim, width, 2, normalise=normalise)

    def codes(self) -> tuple[Tensor, Tensor]:
        """The code [pieces, code_dim] of each piece and the probability [pieces] that the generator is given it."""
        return torch.eye(self.num_pieces)[:, : self.code_dim], torch.full((self.num_pieces,), 1 / self.num_pieces)

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
        s = settings
        code_dim = s.key_dim if s.conditional else 0
        super().__init__(s.num_slots if s.conditional else 1, code_dim, s.noise_dim, s.width, normalise=True)
        self.conditional = s.conditional
        # without the checks that need a look at values: with few slots, replacements beyond their number are dropped
        self.memory = VMFMemory(
            s.num_slots,
            s.key_dim,
            s.top_k,
            kappa=s.kappa,
            alpha=s.alpha,
            correct_in_top=s.correct_in_top,
            validate=False,
        )
        spread = nn.BatchNorm1d(s.key_dim, affine=False) if s.spread_queries else nn.Identity()
        self.query = nn.Sequential(_mlp(2, s.width, s.key_dim, leak=0.2), spread)

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
        return self.memory.sample(number, generator) if self.conditional else super().pick(number, generator)

    def forward(self, codes: Tensor, noise: Tensor) -> Tensor:
        # scaled by sqrt(M): each number of the key then weighs about as much as one of the noise
        return super().forward(codes * math.sqrt(max(codes.shape[1], 1)), noise)


def _mlp(before: int, width: int, after: int, *, normalise: bool = False, leak: float = 0.0) -> nn.Sequential:
    """Two hidden layers of `width` units, ReLU or, with a `leak`, LeakyReLU."""
    layers: list[nn.Module] = []
    for inputs in (before, width):
        layers.append(nn.Linear(inputs, width))
        layers += [nn.BatchNorm1d(width)] if normalise else []
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
    *_, (_, gan) = training_plain(seed, steps=steps, **changes)
    return gan.eval()


def training_plain(seed: int, **changes: Any) -> Iterator[tuple[int, PlaneGAN]]:
    """The same, handing out the number of steps done, from 0, and the model after each of them."""
    s = PlainSettings(**changes)
    prepare(seed)
    gan = PlaneGAN(1, 0, s.noise_dim, s.width, normalise=False)
    discriminator = _mlp(2, s.width, 1, leak=0.2)
    of_d, of_g = _adam(discriminator, s.rate, s.beta1), _adam(gan, s.rate, s.beta1)
    yield 0, gan
    for step in range(1, s.steps + 1):
        real, generated = real_points(s.batch_size, s.sigma, s.shares), gan.draw(s.batch_size).points.detach()
        loss = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(generated)).mean()
        _descend(of_d, loss)
        _descend(of_g, F.softplus(-discriminator(gan.draw(s.batch_size).points)).mean())
        yield step, gan


def train_memory(seed: int, **changes: Any) -> PlaneMemoryGAN:
    """A memoryGAN on the ring; `changes` are fields of `MemorySettings`. Seeds PyTorch."""
    s = MemorySettings(**changes)
    prepare(seed)
    gan = PlaneMemoryGAN(s)
    of_d, of_g = _adam(gan.query, s.discriminator_rate, s.beta1), _adam(gan.layers, s.generator_rate, s.beta1)
    labels = torch.tensor([1] * s.batch_size + [0] * s.batch_size)
    weight = s.mi_weight if s.conditional else 0.0  # without a key there is nothing to inform about

    def queries(generated: Tensor, blur: float) -> Tensor:
        points = torch.cat([real_points(s.batch_size, s.sigma, s.shares), generated])
        return gan.inference(points + blur * torch.randn_like(points))

    for blur in _schedule(s, of_d, of_g):
        drawn = gan.draw(s.batch_size)
        both = queries(drawn.points.detach(), blur)
        real, fake = gan.memory.read_write(both, labels).chunk(2)
        information = information_loss(drawn.codes, both[s.batch_size :], s.kappa) if weight else 0.0
        _descend(of_d, discriminator_loss(real, fake) + weight * information)

        drawn = gan.draw(s.batch_size)
        of_drawn = queries(drawn.points, blur)[s.batch_size :]
        information = information_loss(drawn.codes, of_drawn, s.kappa) if weight else 0.0
        _descend(of_g, generator_loss(gan.memory.read(of_drawn), "non_saturating") + weight * information)
    return gan.eval()


def train_one_hot(seed: int, **changes: Any) -> PlaneGAN:
    """InfoGAN (Chen et al. 2016) with a one-hot code, all codes equally often; `changes` as in `CodeSettings`."""
    s = CodeSettings(**changes)
    prepare(seed)
    gan = PlaneGAN(s.num_codes, s.num_codes, s.noise_dim, s.width, normalise=True)
    discriminator = _mlp(2, s.width, 1 + s.num_codes, leak=0.2)  # a logit of being real, then one for each code
    of_d, of_g = _adam(discriminator, s.discriminator_rate, s.beta1), _adam(gan, s.generator_rate, s.beta1)
    for blur in _schedule(s, of_d, of_g):
        drawn = gan.draw(s.batch_size)
        points = torch.cat([real_points(s.batch_size, s.sigma, s.shares), drawn.points.detach()])
        real, fake = discriminator(points + blur * torch.randn_like(points)).chunk(2)
        loss = F.softplus(-real[:, 0]).mean() + F.softplus(fake[:, 0]).mean()
        _descend(of_d, loss + s.mi_weight * F.cross_entropy(fake[:, 1:], drawn.pieces))

        drawn = gan.draw(s.batch_size)
        fake = discriminator(drawn.points + blur * torch.randn_like(drawn.points))
        loss = F.softplus(-fake[:, 0]).mean()
        _descend(of_g, loss + s.mi_weight * F.cross_entropy(fake[:, 1:], drawn.pieces))
    return gan.eval()


def _adam(network: nn.Module, rate: float, beta1: float) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), rate, (beta1, 0.999), fused=True)  # fused: fewer small operations


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward(inputs=optimiser.param_groups[0]["params"])  # the other network only passes it on
    optimiser.step()


def _schedule(settings: CodeSettings, *optimisers: torch.optim.Optimizer) -> Iterator[float]:
    """The blur of each step; the rates hold and then fall linearly to 0."""
    s = settings
    rates = [optimiser.param_groups[0]["lr"] for optimiser in optimisers]
    for step in range(s.steps):
        share = min(1.0, (1 - step / s.steps) / max(1 - s.decay_from, 1e-12))
        for optimiser, rate in zip(optimisers, rates, strict=True):
            optimiser.param_groups[0]["lr"] = share * rate
        yield s.blur * max(0.0, 1 - step / (s.blur_until * s.steps))


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
    groups = [points[mode == number] for number in range(MODES)]
    apart = torch.cat([group - group.mean(dim=0) for group in groups if len(group)] or [points[:0]])
    return float(apart.square().mean().sqrt()) if len(apart) else float("nan")


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
        rows = [torch.autograd.grad(points[:, i].sum(), z, retain_graph=True)[0] for i in range(2)]
    # the larger eigenvalue of J J^T, a 2x2 matrix ((a, b), (b, c))
    a, b, c = (rows[0] ** 2).sum(dim=1), (rows[0] * rows[1]).sum(dim=1), (rows[1] ** 2).sum(dim=1)
    return ((a + c + ((a - c) ** 2 + 4 * b**2).sqrt()) / 2).sqrt()


def spectral_bound(gan: PlaneGAN) -> float:
    """Product of the weights' spectral norms: no less than the Lipschitz constant of a GAN without normalisation."""
    weights = [layer.weight for layer in gan.layers if isinstance(layer, nn.Linear)]
    return math.prod(float(torch.linalg.matrix_norm(weight.detach(), ord=2)) for weight in weights)

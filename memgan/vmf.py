"""The von Mises-Fisher distribution: what a Gaussian is to the plane, this is to the unit sphere.

    p(x) = C_M(kappa) exp(kappa mean . x),    C_M(kappa) = kappa^(M/2-1) / ((2 pi)^(M/2) I_(M/2-1)(kappa))

for unit vectors x in M dimensions; I is the modified Bessel function of the first kind. (2)
`kappa` is the concentration: 0 would be the uniform distribution, large values a small cap around `mean`.
"""

import math

import torch
from torch import Tensor

__all__ = ["log_bessel_i", "log_density", "log_normaliser", "sample"]


def log_bessel_i(order: float, x: float | Tensor) -> Tensor:
    """log I_order(x) for `order` >= 0 and x > 0, in float64, with the shape of `x`.

    Sums the power series I_v(x) = sum_m (x/2)^(2m+v) / (m! Gamma(m+v+1)) in the log domain. Every term is
    positive, so nothing cancels, and nothing over- or underflows where I itself would.
    """
    x = torch.as_tensor(x, dtype=torch.float64)
    largest = float(x.max())
    peak = (math.hypot(order, largest) - order) / 2  # the index of the largest term
    index = torch.arange(int(peak + 12 * math.sqrt(peak + 1) + 60), dtype=torch.float64, device=x.device)
    log_terms = (
        (2 * index + order) * (x / 2).log().unsqueeze(-1) - torch.lgamma(index + 1) - torch.lgamma(index + order + 1)
    )
    return log_terms.logsumexp(-1)


def log_normaliser(kappa: float | Tensor, dim: int) -> Tensor:
    """log C_M(kappa) for M = `dim`, in float64, with the shape of `kappa`.

    Checked from M = 2 to 2048 and kappa from 1e-3 to 1e4. Raises ValueError for dim < 2 or kappa <= 0.
    """
    kappa = _checked_concentration(kappa, dim)
    order = dim / 2 - 1
    return order * kappa.log() - dim / 2 * math.log(2 * math.pi) - log_bessel_i(order, kappa)


def log_density(x: Tensor, mean: Tensor, kappa: float | Tensor) -> Tensor:
    """log p(x) of unit vectors `x` [..., M] around unit vectors `mean` [..., M]; shape and dtype of x . mean."""
    if x.shape[-1] != mean.shape[-1]:
        raise ValueError(f"x and mean must have the same last dimension, got {x.shape[-1]} and {mean.shape[-1]}")
    cosine = (x * mean).sum(-1)
    return log_normaliser(kappa, x.shape[-1]).to(cosine) + kappa * cosine


def sample(mean: Tensor, kappa: float, num_samples: int, generator: torch.Generator | None = None) -> Tensor:
    """`num_samples` unit vectors [num_samples, M] around the unit vector `mean` [M].

    A sample is cos * mean + sin * (a uniform direction orthogonal to mean); only the cosine needs the
    rejection sampler of A. T. A. Wood, Simulation of the von Mises Fisher distribution, 1994.
    """
    if mean.ndim != 1:
        raise ValueError(f"mean must be one unit vector of shape [M], got shape {list(mean.shape)}")
    if num_samples < 0:
        raise ValueError(f"num_samples must be at least 0, got {num_samples}")
    dim = mean.shape[0]
    kappa = float(_checked_concentration(kappa, dim))
    length = float(mean.double().norm())
    if not abs(length - 1) <= 1e-3:
        raise ValueError(f"mean must have unit length to within 0.001, got a vector of length {length:.6g}")
    centre = mean.double() / length
    cosine = _sample_cosine(kappa, dim, num_samples, centre, generator).unsqueeze(-1)
    tangent = _uniform_directions(num_samples, centre, generator)
    tangent = tangent - (tangent @ centre).unsqueeze(-1) * centre
    tangent = tangent / tangent.norm(dim=-1, keepdim=True)
    return (cosine * centre + (1 - cosine**2).clamp(min=0).sqrt() * tangent).to(mean.dtype)


def _sample_cosine(kappa: float, dim: int, num_samples: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """The cosine between a vMF sample and its mean, [num_samples]: Wood's envelope, proposals until all accept."""
    spread = (dim - 1) / (2 * kappa + math.hypot(2 * kappa, dim - 1))  # Wood's b, without its cancellation
    mode = (1 - spread) / (1 + spread)
    ceiling = kappa * mode + (dim - 1) * math.log1p(-(mode**2))
    accepted = like.new_empty(0)
    while len(accepted) < num_samples:
        # (1 + a coordinate of a uniform direction)/2 is Beta((M-1)/2, (M-1)/2), the proposal Wood asks for
        beta = (1 + _uniform_directions(num_samples, like, generator)[:, 0]) / 2
        cosine = (1 - (1 + spread) * beta) / (1 - (1 - spread) * beta)
        log_ratio = kappa * cosine + (dim - 1) * (1 - mode * cosine).log() - ceiling
        uniform = torch.rand(num_samples, generator=generator, dtype=like.dtype, device=like.device)
        accepted = torch.cat([accepted, cosine[log_ratio >= uniform.log()]])
    return accepted[:num_samples]


def _uniform_directions(num_samples: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    normal = torch.randn(num_samples, like.shape[-1], generator=generator, dtype=like.dtype, device=like.device)
    return normal / normal.norm(dim=-1, keepdim=True)


def _checked_concentration(kappa: float | Tensor, dim: int) -> Tensor:
    if dim < 2:
        raise ValueError(f"the sphere needs at least 2 dimensions, got dim={dim}")
    kappa = torch.as_tensor(kappa, dtype=torch.float64)
    if not bool(((kappa > 0) & kappa.isfinite()).all()):
        raise ValueError(f"kappa must be positive and finite, got {kappa.tolist()}")
    return kappa

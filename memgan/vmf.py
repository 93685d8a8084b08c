"""The von Mises-Fisher distribution: what a Gaussian is to the plane, this is to the unit sphere.

    p(x) = C_M(kappa) exp(kappa mean . x),    C_M(kappa) = kappa^(M/2-1) / ((2 pi)^(M/2) I_(M/2-1)(kappa))

for unit vectors x in M dimensions; I is the modified Bessel function of the first kind. (2)
`kappa` is the concentration: 0 would be the uniform distribution, large values a small cap around `mean`.
"""

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor

__all__ = ["log_bessel_i", "log_density", "log_normaliser", "sample"]

_LARGEST = 1e7


def log_bessel_i(order: float, x: float | Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
    """log I_order(x), the logarithm of the modified Bessel function of the first kind.

    Sums the power series I_v(x) = sum_m (x/2)^(2m+v) / (m! Gamma(m+v+1)) in the log domain. Every term is
    positive, so nothing cancels, and nothing over- or underflows where I itself would.

    Args:
        order: v >= 0.
        x: above 0 and at most 1e7, for which the sum takes a second.

    Returns:
        The logarithm in float64, with the shape of `x`, on the CPU: no accelerator needs it, and not all know float64.

    Raises:
        ValueError: for another `order` or `x`.
    """
    x = _on_cpu(x)
    if not order >= 0:
        raise ValueError(f"order must be at least 0, got {order}")
    if not bool(((x > 0) & (x <= _LARGEST)).all()):
        raise ValueError(f"x must be in (0, {_LARGEST:g}], got {x.tolist()}")
    largest = float(x.detach().max())
    peak = (math.hypot(order, largest) - order) / 2  # the index m of the largest term
    terms = int(peak + 12 * math.sqrt(peak + 1) + 60)
    m = torch.arange(terms, dtype=torch.float64, device=x.device)
    log_power = (2 * m + order) * (x / 2).log().unsqueeze(-1)
    log_terms = log_power - torch.lgamma(m + 1) - torch.lgamma(m + order + 1)
    return log_terms.logsumexp(-1)


def log_normaliser(kappa: float | Float[Tensor, "*shape"], dim: int) -> Float64[Tensor, "*shape"]:
    """log C_M(kappa), the first factor of (2). Checked from M = 2 to 2048 and kappa from 1e-3 to 1e4.

    Args:
        kappa: the concentration, positive and finite.
        dim: M >= 2.

    Returns:
        The logarithm in float64, with the shape of `kappa`, on the CPU as that of `log_bessel_i`.

    Raises:
        ValueError: for another `kappa` or `dim`.
    """
    kappa = _checked_concentration(kappa, dim)
    order = dim / 2 - 1
    return order * kappa.log() - dim / 2 * math.log(2 * math.pi) - log_bessel_i(order, kappa)


def log_density(
    x: Float[Tensor, "*#batch dim"], mean: Float[Tensor, "*#batch dim"], kappa: float | Float[Tensor, "*#batch"]
) -> Float[Tensor, "*#batch"]:
    """log p(x) = log C_M(kappa) + kappa mean . x (2).

    Args:
        x: unit vectors.
        mean: unit vectors, the mean directions.
        kappa: the concentration, positive and finite.

    Returns:
        The logarithm of the density for each pair, in the type and on the device of the cosine x . mean.

    Raises:
        ValueError: for vectors of different dimension or of whole numbers, and for another `kappa`.
    """
    for name, vectors in (("x", x), ("mean", mean)):
        _check_floating_point(name, vectors)
    if x.shape[-1] != mean.shape[-1]:
        raise ValueError(f"x and mean must have the same last dimension, got {x.shape[-1]} and {mean.shape[-1]}")
    cosine = (x * mean).sum(-1)
    constant = log_normaliser(kappa, x.shape[-1])
    return _back(constant, cosine) + _back(_on_cpu(kappa), cosine) * cosine


def sample(
    mean: Float[Tensor, " dim"], kappa: float, num_samples: int, generator: torch.Generator | None = None
) -> Float[Tensor, "{num_samples} dim"]:
    """Unit vectors drawn from (2) around `mean`.

    A sample is cos * mean + sin * (a uniform direction orthogonal to mean); only the cosine needs the
    rejection sampler of A. T. A. Wood, Simulation of the von Mises Fisher distribution, 1994. Everything is drawn in
    float64 on the CPU, so that a generator gives the same samples whatever device they are for.

    Args:
        mean: a unit vector, the mean direction.
        kappa: the concentration, positive and finite.
        num_samples: how many, 0 or more.
        generator: of the CPU, where the random numbers come from; PyTorch's global one if none is given.

    Returns:
        The samples in the type and on the device of `mean`.

    Raises:
        ValueError: for what is not as above.
    """
    _check_floating_point("mean", mean)
    if mean.ndim != 1:
        raise ValueError(f"mean must be one unit vector of shape [M], got shape {list(mean.shape)}")
    if num_samples < 0:
        raise ValueError(f"num_samples must be at least 0, got {num_samples}")
    if generator is not None and generator.device.type != "cpu":
        raise ValueError(f"the generator must be one of the CPU, got one of {generator.device}")
    dim = mean.shape[0]
    kappa = _checked_concentration(kappa, dim).item()
    centre = _on_cpu(mean)
    length = float(centre.detach().norm())
    if not abs(length - 1) <= 1e-3:
        raise ValueError(f"mean must have unit length to within 0.001, got a vector of length {length:.6g}")
    centre = centre / length
    cosine = _sample_cosine(kappa, dim, num_samples, generator).unsqueeze(-1)
    sine = (1 - cosine**2).clamp(min=0).sqrt()
    tangent = _uniform_directions(num_samples, dim, generator)
    tangent = tangent - (tangent @ centre).unsqueeze(-1) * centre
    tangent = tangent / tangent.norm(dim=-1, keepdim=True)
    return _back(cosine * centre + sine * tangent, mean)


def _sample_cosine(kappa: float, dim: int, num_samples: int, generator: torch.Generator | None) -> Tensor:
    """The cosine between a vMF sample and its mean, [num_samples]: Wood's envelope, proposals until all accept."""
    spread = (dim - 1) / (2 * kappa + math.hypot(2 * kappa, dim - 1))  # Wood's b, without its cancellation
    mode = (1 - spread) / (1 + spread)
    ceiling = kappa * mode + (dim - 1) * math.log1p(-(mode**2))
    accepted = torch.empty(0, dtype=torch.float64, device="cpu")
    while len(accepted) < num_samples:
        # (1 + a coordinate of a uniform direction)/2 is Beta((M-1)/2, (M-1)/2), the proposal Wood asks for
        beta = (1 + _uniform_directions(num_samples, dim, generator)[:, 0]) / 2
        cosine = (1 - (1 + spread) * beta) / (1 - (1 - spread) * beta)
        log_ratio = kappa * cosine + (dim - 1) * (1 - mode * cosine).log() - ceiling
        uniform = torch.rand(num_samples, generator=generator, dtype=torch.float64, device="cpu")
        accepted = torch.cat([accepted, cosine[log_ratio >= uniform.log()]])
    return accepted[:num_samples]


def _uniform_directions(num_samples: int, dim: int, generator: torch.Generator | None) -> Tensor:
    """Uniform unit vectors [num_samples, dim]."""
    normal = torch.randn(num_samples, dim, generator=generator, dtype=torch.float64, device="cpu")
    return normal / normal.norm(dim=-1, keepdim=True)


def _checked_concentration(kappa: float | Tensor, dim: int) -> Tensor:
    if dim < 2:
        raise ValueError(f"the sphere needs at least 2 dimensions, got dim={dim}")
    kappa = _on_cpu(kappa)
    if not bool(((kappa > 0) & kappa.isfinite()).all()):
        raise ValueError(f"kappa must be positive and finite, got {kappa.tolist()}")
    return kappa


def _check_floating_point(name: str, vectors: Tensor) -> None:
    if not vectors.is_floating_point():
        raise ValueError(f"{name} must be floating point, got {vectors.dtype}")


def _on_cpu(numbers: float | Tensor) -> Tensor:
    """`numbers` in float64 on the CPU. A tensor goes there first: where it comes from, there may be no float64."""
    if torch.is_tensor(numbers):
        return numbers.cpu().to(torch.float64)
    return torch.as_tensor(numbers, dtype=torch.float64, device="cpu")


def _back(numbers: Tensor, like: Tensor) -> Tensor:
    """`numbers` of the CPU in the type, and then on the device, of `like`."""
    return numbers.to(like.dtype).to(like.device)

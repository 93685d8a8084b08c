"""How much a generator with one connected latent space must put between its modes: an exact lower bound.

Let z be uniform on a cube (-1, 1)^Z, G a map with Lipschitz constant L, and let B_1..B_m be discs at least g apart
from each other, which G hits with probabilities a_1..a_m. Then, with Phi the normal distribution function,

    off  =  1 - sum_i a_i  >=  sum_i [Phi(Phi^-1(a_i) + s) - a_i],     s = g / (2 sqrt(2/pi) L)

because z = 2 Phi(u) - 1 of a normal u is a sqrt(2/pi)-Lipschitz map of it, because the s-neighbourhoods of the m sets
of u that G sends into the discs do not meet, and because no set of its probability has a smaller s-neighbourhood than
a half-space (Gaussian isoperimetry: Sudakov & Tsirelson 1974, Borell 1975). With equal a_i: 1 - m Phi(Phi^-1(1/m) - s).
"""

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

__all__ = ["least_off_mode", "least_slope", "margin", "surroundings"]

STRETCH = math.sqrt(2 / math.pi)  # the largest slope of u -> 2 Phi(u) - 1, at u = 0


def margin(lipschitz: ArrayLike, gap: float) -> NDArray[np.float64]:
    """s: how far, in the space of the normal u, each mode's set keeps from the middle between two of them."""
    return gap / (2 * STRETCH * np.asarray(lipschitz, dtype=float))


def least_off_mode(lipschitz: ArrayLike, gap: float, num_modes: int) -> NDArray[np.float64]:
    """The smallest possible share of points off all of `num_modes` modes that are hit equally often.

    `lipschitz` is L, of any shape; `gap` is g, in the same unit of length per unit of z.
    """
    rest = _quantile(1 / num_modes) - margin(lipschitz, gap)
    return 1 - num_modes * _probability(rest)


def surroundings(masses: ArrayLike, lipschitz: float, gap: float) -> float:
    """The same for modes that are hit with probabilities `masses` [m]: what must surround them."""
    mass = np.asarray(masses, dtype=float)
    mass = mass[mass > 0]
    return float((_probability(_quantile(mass) + margin(lipschitz, gap)) - mass).sum())


def least_slope(off_mode: ArrayLike, gap: float, num_modes: int) -> NDArray[np.float64]:
    """`least_off_mode` turned round: the smallest L with which a share `off_mode` can be reached."""
    rest = _quantile((1 - np.asarray(off_mode, dtype=float)) / num_modes)
    return gap / (2 * STRETCH * (_quantile(1 / num_modes) - rest))


def _probability(u: ArrayLike) -> NDArray[np.float64]:
    return torch.special.ndtr(torch.as_tensor(u, dtype=torch.float64)).numpy()


def _quantile(probability: ArrayLike) -> NDArray[np.float64]:
    return torch.special.ndtri(torch.as_tensor(probability, dtype=torch.float64)).numpy()

"""The plane: data, models, measures, and the isoperimetric bound against closed forms and maps made by hand."""

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from scipy.stats import norm
from torch import nn

from memgan.gan import Generated
from memgan.lab.baselines.sigmoid import SigmoidGAN
from walkthrough import nb01_plane as plane, nb01_plane_figures as plane_figures
from walkthrough.nb01_isoperimetry import least_off_mode, least_slope, surroundings


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def train_plain(seed, steps):
    *_, (_, gan) = plane.training_plain(seed, steps=steps)
    return gan


def test_a_share_of_exp_minus_eight_of_the_data_is_off_all_modes():
    off = plane.mode_of(plane.real_points(200_000, generator=seeded())) < 0
    assert float(off.double().mean()) == pytest.approx(math.exp(-8), rel=0.5)


def test_data_have_the_shares_that_they_are_given():
    shares = (3.0, 1.0) * 4
    mode = plane.mode_of(plane.real_points(40_000, shares=shares, generator=seeded()))
    mass = torch.bincount(mode[mode >= 0], minlength=8) / len(mode)
    assert mass.tolist() == pytest.approx([share / 16 for share in shares], abs=0.01)


def test_gap_is_the_distance_of_two_neighbouring_discs():
    first, second = plane.centres()[:2]
    assert plane.gap(0.1) == pytest.approx(float((first - second).norm()) - 0.8, rel=1e-6)


def test_each_centre_is_its_own_mode_and_the_middle_belongs_to_none():
    assert plane.mode_of(plane.centres()).tolist() == list(range(8))
    assert plane.mode_of(torch.zeros(2, 3, 2)).tolist() == [[-1] * 3] * 2


def test_slope_is_the_largest_singular_value_of_the_jacobian():
    gan = train_plain(seed=0, steps=3)
    noise = plane.latent_grid(5).view(-1, 2)
    oracle = [
        torch.linalg.svdvals(torch.autograd.functional.jacobian(gan.generator.layers, z))[0].item() for z in noise
    ]
    assert plane.slopes(gan, plane.pieces(gan).codes[0], noise).tolist() == pytest.approx(oracle, rel=1e-4)


def test_no_slope_exceeds_the_product_of_spectral_norms():
    gan = train_plain(seed=0, steps=30)
    assert plane.measure(gan).slope <= plane.spectral_bound(gan)


def test_grid_points_are_centres_of_equal_cells():
    grid = plane.latent_grid(4)
    assert grid[0, :, 0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert grid[:, 0, 1].tolist() == [-0.75, -0.25, 0.25, 0.75]


def test_measures_of_a_generator_that_draws_the_data():
    class Perfect(SigmoidGAN):
        def generate(self, num_samples, *, generator=None):
            points = plane.real_points(num_samples, generator=generator)
            return Generated(points, points, points, points)

    generator = plane.PointGenerator(0, 2, 4, normalise=False)
    measured = plane.measure(Perfect(plane.PointEncoder(4, 1), generator), side=20)
    assert (measured.modes, measured.pieces) == (8, 1)
    assert measured.off_mode < 2e-3
    assert measured.spread == pytest.approx(1, abs=0.02)


def test_memory_offers_its_real_slots_only():
    gan = plane.train_memory(seed=0, steps=20)
    probabilities = plane.pieces(gan).probabilities
    assert float(probabilities.sum()) == pytest.approx(1, abs=1e-5)
    assert not bool(probabilities[gan.memory.values == 0].any())
    assert bool((gan.memory.values[gan.generate(100).slots] == 1).all())


def test_training_is_the_same_for_the_same_seed():
    first, second = (plane.train_memory(seed=1, steps=5).memory.keys for _ in range(2))
    assert torch.equal(first, second)


class Discs(nn.Module):
    """A generator made by hand: the code says which mode, and the noise moves the point a little within it."""

    def forward(self, codes, noise):
        return plane.centres()[codes.argmax(dim=1)] + 0.05 * noise


def test_a_one_hot_code_needs_no_bridges():
    """Below the bound, which holds for a latent space in one piece."""
    gan = plane.one_hot_gan(plane.CodeSettings()).eval()
    gan.generator = Discs()
    measured = plane.measure(gan, side=40)
    assert (measured.modes, measured.pieces, measured.off_mode) == (8, 8, 0)
    assert measured.slope == pytest.approx(0.05, rel=1e-4)
    assert least_off_mode(measured.slope, plane.gap(), 8) > 0.9


@pytest.mark.slow
def test_a_one_hot_code_is_trained_to_need_no_bridges():
    measured = plane.measure(plane.train_one_hot(seed=0))
    assert measured.modes == 8
    assert measured.off_mode < least_off_mode(measured.slope, plane.gap(), 8)


# ------------------------------------------------------------------ the bound


@pytest.mark.parametrize("slope", [2.0, 10.0, 50.0])
def test_bound_is_reached_by_a_step_of_a_normal_variable(slope):
    """Two modes, u normal, x = clip(slope u): off is P(|u| < gap / (2 slope)). For normal u, L counts without 0.798."""
    gap = 1.2
    off = 2 * norm.cdf(gap / (2 * slope)) - 1
    assert float(least_off_mode(slope / math.sqrt(2 / math.pi), gap, 2)) == pytest.approx(off, rel=1e-9)


@pytest.mark.parametrize("slope", [1.0, 5.0, 40.0])
def test_no_uniform_step_beats_the_bound_and_a_steep_one_reaches_it(slope):
    gap = 0.8
    off, bound = gap / (2 * slope), float(least_off_mode(slope, gap, 2))
    assert bound <= off
    assert bound == pytest.approx(off, rel=0.1 / slope**2)


@pytest.mark.parametrize("slope", [6.0, 20.0, 60.0])
def test_a_map_made_by_hand_obeys_the_bound(slope):
    """Eight equal sectors of the latent square: Monte Carlo of the bridges between them, as narrow as L allows."""
    z = torch.rand(200_000, 2, generator=seeded(), dtype=torch.float64) * 2 - 1
    angle = torch.atan2(z[:, 1], z[:, 0]) % (math.pi / 4)
    from_border = z.norm(dim=1) * torch.sin(torch.minimum(angle, math.pi / 4 - angle))
    off = float((from_border < plane.gap() / (2 * slope)).double().mean())
    assert off >= float(least_off_mode(slope, plane.gap(), 8))


def test_least_slope_turns_the_bound_round():
    slopes = np.array([1.0, 6.0, 22.0, 100.0])
    assert least_slope(least_off_mode(slopes, 0.7, 8), 0.7, 8) == pytest.approx(slopes, rel=1e-6)


def test_modes_of_equal_mass_that_fill_the_room_are_where_both_bounds_meet():
    off = float(least_off_mode(9.0, 0.7, 8))
    assert surroundings([(1 - off) / 8] * 8, 9.0, 0.7) == pytest.approx(off, rel=1e-9)


def test_unequal_masses_need_less_around_them():
    assert surroundings([0.2, 0.05] * 4, 9.0, 0.7) < surroundings([0.125] * 8, 9.0, 0.7)


@pytest.mark.thorough
def test_a_trained_gan_obeys_the_bound():
    measured = plane.measure(train_plain(seed=3, steps=300))
    assert measured.off_mode >= surroundings(measured.masses, measured.slope, plane.gap())


# ------------------------------------------------------------------ pictures


def test_pictures_are_drawn_from_arrays():
    gan = train_plain(seed=0, steps=2)
    noise = plane.latent_grid(10).view(-1, 2)
    modes, points = torch.arange(100).view(10, 10) % 9 - 1, plane.real_points(20)
    slope = plane.slopes(gan, plane.pieces(gan).codes[0], noise).view(10, 10)
    sample = (points, plane.mode_of(points))
    assert len(plane_figures.latent_square(modes, slope, sample).axes) == 4  # three panels and a colour bar
    assert len(plane_figures.slot_squares(torch.stack([modes] * 3), ["a", "b", "c"], columns=2).axes) == 4
    series = plane_figures.Series("one", [2.0], [0.3], "#000000", "o", label_at=(3.0, 0.5))
    assert isinstance(plane_figures.forbidden_region([series]), Figure)
    assert isinstance(plane_figures.measures_by_kind({"memory": [(8, 0.0)], "other": [(4, 0.3), (5, 0.2)]}), Figure)

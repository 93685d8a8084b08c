"""The exercises of notebook 01: right answers are accepted, typical wrong ones are named."""

import numpy as np
import pytest
from scipy.stats import norm

from walkthrough import nb01_plane as plane
from walkthrough.nb01_discontinuity import check_bound, check_share, check_slope, check_staircase, latent, runs, series


def bound(L, g, m, *, half=2.0, stretch=0.7978845608028654, modes=None):
    s = g / (half * stretch * L)
    return 1 - (modes or m) * norm.cdf(norm.ppf(1 / m) - s)


@pytest.mark.parametrize(
    ("check", "answer", "says"),
    [
        (check_bound, bound, "Right."),
        (check_bound, lambda L, g, m: bound(L, g, m, stretch=0.798), "Right."),  # 1.596, as the notebook prints it
        (check_bound, lambda L, g, m: bound(L, g, m, half=1, stretch=0.798), "each has half of it"),
        (check_bound, lambda L, g, m: 1.01 * bound(L, g, m), "too large"),
        (check_bound, ..., "Not answered yet"),
        (check_bound, lambda L, g, m: ..., "Not answered yet"),
        (check_bound, lambda L, g, m: 1 - bound(L, g, m), "subtract it from 1"),
        (check_bound, lambda L, g, m: bound(L, g, m, half=1), "each has half of it"),
        (check_bound, lambda L, g, m: bound(L, g, m, stretch=1), "z is uniform"),
        (check_bound, lambda L, g, m: bound(L, g, m, modes=1), "there are m of them"),
        (check_bound, lambda L, g, m: 1 / 0, "ZeroDivisionError"),
        (check_slope, 75.2, "Right."),
        (check_slope, 7.26, "That is for 10 %"),
        (check_slope, 10.0, "too small"),
        (check_staircase, lambda z: np.clip(10 * z, -1, 1), "Right."),
        (check_staircase, lambda z: np.clip(20 * z, -1, 1), "as steep as 20"),
        (check_staircase, lambda z: np.clip(5 * z, -1, 1), "Is it steep all the way?"),
        (check_staircase, lambda z: np.clip(10 * z - 3, -1, 1), "equally likely"),
        (check_staircase, lambda z: z[:3], "it gives shape"),
        (check_share, lambda c: (c[:, 1:-1] < 0.8).double().mean(), "Right."),
        (check_share, lambda c: (c < 0.8).double().mean(), "two ends"),
        (check_share, lambda c: (c[:, 1:-1] <= 0.8).double().mean(), "exactly 0.8"),
        (check_share, lambda c: (c < 0.8).any(dim=1).double().mean(), "share of walks"),
    ],
)
def test_exercise(check, answer, says, capsys):
    check(answer)
    assert says in capsys.readouterr().out


def test_stored_runs_are_found_by_their_kind():
    chosen = series("plain", runs("plain"), "#000000", "o", (3.0, 0.5))
    assert len(chosen.slope) == len(chosen.off_mode) == len(runs("plain")) > 0


def test_latent_square_says_where_each_noise_goes():
    *_, (_, gan) = plane.training_plain(seed=0, steps=2)
    square = latent(gan, side=6)
    noise = plane.latent_grid(6)
    assert int(square.modes[1, 4]) == int(plane.mode_of(gan.generator.layers(noise[1, 4])[None])[0])
    assert square.slope.shape == (6, 6)

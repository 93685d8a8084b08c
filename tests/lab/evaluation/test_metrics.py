"""The scores against known values, closed forms, scipy and plain loops; and their spreads against the theory."""

import math
import warnings

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F
from torchmetrics.image.inception import InceptionScore

from memgan.lab.evaluation.metrics import (
    _grouped_moments,
    _moments,
    frechet_distance,
    frechet_interval,
    inception_interval,
    inception_score,
    ms_ssim,
    nearest,
    precision_recall,
    slot_purities,
)
from memgan.lab.evaluation.spread import bootstrap_mean, grouped

# ---------------------------------------------------------------- Inception Score


@pytest.mark.parametrize("classes", [2, 7, 10])
def test_inception_score_of_sure_and_evenly_spread_answers_is_the_number_of_classes(classes):
    logits = torch.eye(classes).repeat(3, 1) * 100
    assert inception_score(logits) == pytest.approx(classes, rel=1e-5)


def test_inception_score_of_one_answer_for_all_is_one():
    assert inception_score(torch.tensor([[3.0, -1.0, 0.5]]).repeat(11, 1)) == pytest.approx(1, abs=1e-6)
    assert inception_score(torch.tensor([[100.0, 0.0, 0.0]]).repeat(11, 1)) == pytest.approx(1, abs=1e-6)


def test_inception_score_of_classes_at_unequal_shares_is_the_exponential_of_their_entropy():
    counts = [1, 2, 5]
    logits = torch.cat([F.one_hot(torch.full((n,), c), 3) for c, n in enumerate(counts)]).float() * 100
    entropy = -sum(n / 8 * math.log(n / 8) for n in counts)
    assert inception_score(logits) == pytest.approx(math.exp(entropy), rel=1e-5)


def test_inception_score_by_hand():
    """p(y|x) = (3/4, 1/4) and (1/4, 3/4): KL to (1/2, 1/2) is log 2 + 3/4 log 3/4 + 1/4 log 1/4 for both."""
    logits = torch.log(torch.tensor([[3.0, 1.0], [1.0, 3.0]]))
    kl = math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    assert inception_score(logits) == pytest.approx(math.exp(kl), rel=1e-5)


def test_inception_score_by_a_plain_loop():
    logits = torch.randn(53, 7, generator=torch.Generator().manual_seed(0)) * 2
    p = np.exp(logits.double().numpy())
    p /= p.sum(axis=1, keepdims=True)
    marginal = p.mean(axis=0)
    kl = sum(a * math.log(a / b) for row in p for a, b in zip(row, marginal, strict=True)) / 53
    assert inception_score(logits) == pytest.approx(math.exp(kl), rel=1e-5)


def test_inception_score_is_that_of_torchmetrics():
    logits = torch.randn(301, 7, generator=torch.Generator().manual_seed(0)) * 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the memory it takes, and of the spread over a single split
        metric = InceptionScore(feature=Identity(7), splits=1)
        metric.update(logits)
        expected, _ = metric.compute()
    assert inception_score(logits) == pytest.approx(float(expected), rel=1e-5)


class Identity(torch.nn.Identity):
    """A feature extractor for torchmetrics that is handed the logits."""

    def __init__(self, num_features):
        super().__init__()
        self.num_features = num_features


def test_a_class_that_no_image_can_be_of_leaves_the_inception_score_a_number():
    logits = torch.tensor([[0.0, -1000.0, -1e5], [-1000.0, 0.0, -1e5]])  # the last one's probability is 0 in both
    assert inception_score(logits) == pytest.approx(2)
    assert inception_interval(logits.repeat(50, 1)).value == pytest.approx(2)


# ---------------------------------------------------------------- Frechet distance


def with_moments(number, mean, deviations):
    """Samples whose mean and (unbiased) covariance are exactly `mean` and diag(deviations^2)."""
    dimension = len(mean)
    centred = np.random.default_rng(number).standard_normal((number, dimension))
    centred -= centred.mean(axis=0)
    orthonormal, _ = np.linalg.qr(centred)
    return torch.as_tensor(orthonormal * math.sqrt(number - 1) * np.array(deviations) + np.array(mean))


def test_frechet_distance_of_a_set_to_itself_is_zero():
    features = torch.randn(53, 5, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_of_a_shifted_set_is_the_squared_shift():
    features = torch.randn(53, 5, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    shift = torch.tensor([1.0, -2.0, 0.0, 0.5, 3.0], dtype=torch.double)
    assert frechet_distance(features, features + shift) == pytest.approx(1 + 4 + 0.25 + 9, rel=1e-6)


def test_frechet_distance_of_scaled_gaussians():
    """Diagonal covariances: |m - m'|^2 + sum (s - s')^2."""
    mean, other_mean = [0.0, 1.0, -1.0], [2.0, 1.0, 0.5]
    s, t = [1.0, 2.0, 0.5], [3.0, 2.0, 0.25]
    expected = 4 + 2.25 + 4 + 0.0625
    distance = frechet_distance(with_moments(31, mean, s), with_moments(47, other_mean, t))
    assert distance == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_correlated_features_by_scipy():
    rng = np.random.default_rng(0)
    one = rng.standard_normal((97, 5)) @ rng.standard_normal((5, 5)) + rng.standard_normal(5)
    other = rng.standard_normal((61, 5)) @ rng.standard_normal((5, 5))
    c, d = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = scipy.linalg.sqrtm(c @ d).real
    expected = np.sum((one.mean(axis=0) - other.mean(axis=0)) ** 2) + np.trace(c + d - 2 * root)
    assert frechet_distance(torch.as_tensor(one), torch.as_tensor(other)) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(torch.as_tensor(other), torch.as_tensor(one)) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_with_features_that_are_always_zero():
    """As after a ReLU: a singular covariance adds nothing and breaks nothing."""
    features = F.pad(with_moments(31, [0.0, 1.0], [1.0, 2.0]), (0, 3))
    others = F.pad(with_moments(31, [1.0, 1.0], [2.0, 2.0]), (0, 3))
    assert frechet_distance(features, others) == pytest.approx(1 + 1, rel=1e-5)


# ---------------------------------------------------------------- copies and slots


def test_nearest_distances_by_brute_force():
    generator = torch.Generator().manual_seed(0)
    images, others = (torch.rand(n, 3, 5, 7, generator=generator) * 2 - 1 for n in (31, 53))
    result, _ = nearest(images, others)
    assert result.shape == (31,)
    for image, distance in zip(images.double().numpy(), result.tolist(), strict=True):
        expected = min(math.sqrt(((image - other) ** 2).sum()) for other in others.double().numpy())
        assert distance == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("number", [3, 101])
def test_copies_are_at_distance_zero(number):
    """Also where |a|^2 + |b|^2 - 2ab, the fast way to a distance, cancels badly: 16x16 arbitrary pixels."""
    others = torch.rand(number, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert float(nearest(others.flip(0), others)[0].max()) == pytest.approx(0, abs=1e-4)


def purity(classes):
    return float(slot_purities(classes).mean())


def test_slot_purity_by_hand():
    assert purity(torch.tensor([[1, 1, 1], [7, 7, 7]])) == 1
    assert purity(torch.tensor([[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]])) == pytest.approx(1 / 5)
    assert purity(torch.tensor([[5, 5, 5, 0], [0, 1, 1, 2], [3, 3, 2, 2]])) == pytest.approx((3 + 2 + 2) / 12)


def test_slot_purity_is_of_the_slots_and_not_of_all_images():
    """Every slot pure, all classes equal in number: pure all the same."""
    assert purity(torch.arange(7).unsqueeze(1).expand(7, 5)) == 1


def test_scoring_leaves_the_global_random_state_alone():
    state = torch.get_rng_state()
    inception_score(torch.randn(13, 5, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), state)


def test_nearest_of_many_in_parts_and_as_bytes_by_brute_force():
    """More than are looked at together, bytes among them, the best of all in the last part."""
    others = torch.randint(0, 256, (5003, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = torch.cat([others[[5001, 7]], others[[3000]].flip(3)]).float() / 127.5 - 1
    distance, index = nearest(images, others)
    assert index[:2].tolist() == [5001, 7] and distance[:2].tolist() == [0, 0]
    squares = (others.double() / 127.5 - 1 - images[2].double()).square().sum(dim=(1, 2, 3))
    assert int(index[2]) == int(squares.argmin())
    assert float(distance[2]) == pytest.approx(math.sqrt(float(squares.min())), rel=1e-6)


def test_bytes_are_measured_as_the_images_that_they_are():
    draw = torch.Generator().manual_seed(0)
    images, others = torch.randint(0, 256, (2, 5, 1, 16, 16), generator=draw, dtype=torch.uint8)
    as_numbers = [part.float() / 127.5 - 1 for part in (images, others)]
    torch.testing.assert_close(ms_ssim(images, others), ms_ssim(*as_numbers))
    torch.testing.assert_close(nearest(images, others), nearest(*as_numbers))


# ---------------------------------------------------------------- precision and recall


def points(number, seed=0, dimension=5):
    return torch.randn(number, dimension, generator=torch.Generator().manual_seed(seed))


def by_plain_loops(features, real, k):
    """Kynkaanniemi et al. 2019, algorithm 1, in float64."""

    def within(of, support):
        radii = [sorted(math.dist(p, q) for q in support)[k] for p in support]  # the point itself is the 0th
        return [any(math.dist(p, q) <= r for q, r in zip(support, radii, strict=True)) for p in of]

    features, real = features.double().tolist(), real.double().tolist()
    return within(features, real), within(real, features)


@pytest.mark.parametrize(("n", "m", "k"), [(41, 53, 3), (53, 41, 1), (31, 31, 5)])
def test_precision_and_recall_by_plain_loops(n, m, k):
    features, real = points(n, 1), 1.3 * points(m, 2) + 0.4
    precise, recalled = precision_recall(features, real, k)
    expected_precise, expected_recalled = by_plain_loops(features, real, k)
    assert precise.tolist() == expected_precise and recalled.tolist() == expected_recalled
    assert 0 < sum(expected_precise) < n and 0 < sum(expected_recalled) < m


def test_precision_and_recall_of_a_set_with_itself_are_one():
    precise, recalled = precision_recall(points(41), points(41))
    assert bool(precise.all()) and bool(recalled.all())


def test_precision_and_recall_of_sets_far_apart_are_zero():
    precise, recalled = precision_recall(points(41), points(53) + 1000)
    assert not bool(precise.any()) and not bool(recalled.any())


def test_a_set_of_copies_is_precise_and_recalls_what_it_copies_alone():
    """Three real points out of 53, each many times: their balls have radius 0."""
    real = points(53)
    precise, recalled = precision_recall(real[[5, 11, 17]].repeat(9, 1), real)
    assert bool(precise.all())
    assert recalled.nonzero().flatten().tolist() == [5, 11, 17]


def test_every_point_twice_keeps_precision_and_lowers_no_recall():
    real = points(53)
    precise, recalled = precision_recall(real.repeat(2, 1), real)
    assert bool(precise.all()) and bool(recalled.all())


def test_half_the_modes_are_precise_and_recall_half():
    modes = 100 * torch.eye(5)
    real = (modes[:4].unsqueeze(1) + points(4 * 20).view(4, 20, 5)).flatten(0, 1)
    precise, recalled = precision_recall(real[:40], real)
    assert bool(precise.all())
    assert bool(recalled[:40].all()) and not bool(recalled[40:].any())


def test_too_few_points_for_k_neighbours_are_refused():
    with pytest.raises(ValueError, match="more than k = 3 points in each set, got 3 and 53"):
        precision_recall(points(3), points(53))


# ---------------------------------------------------------------- MS-SSIM


def pictures(number, side, seed=0, channels=1):
    coarse = torch.rand(number, channels, side // 4, side // 4, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(side, side), mode="bilinear") * 2 - 1


@pytest.mark.parametrize("side", [16, 28, 32, 40, 64, 128, 256])
def test_ms_ssim_of_equal_images_is_one_and_of_others_below(side):
    images = pictures(5, side)
    torch.testing.assert_close(ms_ssim(images, images), torch.ones(5))
    assert float(ms_ssim(images, pictures(5, side, seed=1)).max()) < 0.9


def test_ms_ssim_of_an_image_and_its_negative_is_zero():
    """Their covariance is negative at every scale, which counts as none."""
    images = pictures(5, 28)
    assert float(ms_ssim(images, -images).max()) == 0


def test_ms_ssim_falls_with_the_noise_and_does_not_depend_on_the_order():
    images, noise = pictures(7, 28), torch.randn(7, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    means = [float(ms_ssim(images, (images + level * noise).clamp(-1, 1)).mean()) for level in (0, 0.05, 0.2, 0.8)]
    assert means == sorted(means, reverse=True) and means[0] > means[-1] + 0.3
    torch.testing.assert_close(ms_ssim(images, images.flip(0)), ms_ssim(images.flip(0), images))


def test_ms_ssim_of_two_greys_is_their_luminance_alone():
    """Greys a and b in [0, 1]: contrast agrees, (2ab + c1)/(a^2 + b^2 + c1) enters at the coarsest of three scales."""
    a, b, c1 = 0.25, 0.75, 0.01**2
    weight = 0.3001 / (0.0448 + 0.2856 + 0.3001)
    expected = ((2 * a * b + c1) / (a * a + b * b + c1)) ** weight
    one, other = (torch.full((1, 1, 28, 28), 2 * grey - 1) for grey in (a, b))
    assert float(ms_ssim(one, other)) == pytest.approx(expected, rel=1e-4)


# ---------------------------------------------------------------- spread


def test_interval_of_a_mean_is_two_standard_errors_wide():
    for number in (97, 4001):  # one image in a group, and several
        values = torch.randn(number, generator=torch.Generator().manual_seed(0)) * 3 + 7
        interval = bootstrap_mean(values)
        error = float(values.std()) / math.sqrt(number)
        assert interval.value == pytest.approx(float(values.double().mean()))
        assert interval.low == pytest.approx(interval.value - 1.96 * error, abs=0.3 * error)
        assert interval.high == pytest.approx(interval.value + 1.96 * error, abs=0.3 * error)


def test_interval_of_values_in_rows_varies_with_the_rows():
    """Eleven equal values in each row say no more than one."""
    values = torch.randn(101, 1, generator=torch.Generator().manual_seed(0))
    assert bootstrap_mean(values.expand(-1, 11)) == pytest.approx(bootstrap_mean(values), rel=1e-9)


def test_interval_of_what_never_varies_is_a_point():
    assert bootstrap_mean(torch.ones(53)) == (1, 1, 1)


def test_one_value_has_no_interval():
    assert bootstrap_mean(torch.tensor([3.0])) == (3, None, None)


def test_groups_hold_every_image_once():
    values = torch.randn(1003, 3, generator=torch.Generator().manual_seed(0))
    sums = grouped(values)
    assert sums.shape == (500, 4) and set(sums[:, 0].tolist()) == {2, 3}
    torch.testing.assert_close(sums.sum(dim=0)[1:], values.double().sum(dim=0))
    assert float(sums.sum(dim=0)[0]) == 1003


def coverage(draw, truth, experiments):
    """How often the interval of a fresh draw holds the truth."""
    found = [draw(torch.Generator().manual_seed(seed)) for seed in range(experiments)]
    return sum(interval.low <= truth <= interval.high for interval in found) / experiments


@pytest.mark.thorough
def test_intervals_of_the_mean_hold_the_truth_about_95_times_in_100():
    assert 0.90 <= coverage(lambda g: bootstrap_mean(torch.rand(300, generator=g)), 0.5, 200) <= 0.99


def test_images_in_the_order_of_their_classes_have_the_interval_of_images_in_any_order():
    """One class is covered and the other is not: the share's standard error is that of independent images."""
    covered = torch.arange(3000) < 1500
    interval = bootstrap_mean(covered)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * (0.25 / 3000) ** 0.5, rel=0.15)


@pytest.mark.thorough
def test_intervals_of_the_frechet_distance_hold_its_mean_about_95_times_in_100():
    """N(0, 1) to N(1, 1) in 3 dimensions with 200 images: their mean over many draws, bias included."""
    real = points(2000, dimension=3)

    def draw(generator):
        return frechet_interval([torch.randn(200, 3, generator=generator) + 1], real)

    mean = sum(draw(torch.Generator().manual_seed(seed)).value for seed in range(1000, 1060)) / 60
    assert 0.85 <= coverage(draw, mean, 60) <= 1


@pytest.mark.thorough
def test_intervals_of_the_inception_score_hold_its_mean_about_95_times_in_100():
    def draw(generator):
        return inception_interval(3 * torch.randn(300, 5, generator=generator))

    mean = sum(draw(torch.Generator().manual_seed(seed)).value for seed in range(1000, 1060)) / 60
    assert 0.85 <= coverage(draw, mean, 60) <= 1


def test_a_frechet_interval_has_the_distance_in_it_and_its_mean_over_parts():
    parts, real = [points(60, seed) for seed in (1, 2)], points(200)
    interval = frechet_interval(parts, real)
    assert interval.value == pytest.approx(sum(frechet_distance(part, real) for part in parts) / 2)
    assert interval.low < interval.value < interval.high
    copies = points(1).expand(60, -1)
    point = frechet_interval([copies], real)  # resampling copies changes nothing
    assert point.low == pytest.approx(point.value, rel=1e-6) and point.high == pytest.approx(point.value, rel=1e-6)


def test_a_frechet_interval_is_as_wide_as_its_value_varies():
    """Against the spread over draws, not over resamples."""
    real = points(500, dimension=3)
    draws = [torch.randn(400, 3, generator=torch.Generator().manual_seed(seed)) + 0.7 for seed in range(60)]
    spread = np.std([frechet_distance(draw, real) for draw in draws])
    interval = frechet_interval([draws[0]], real)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * spread, rel=0.35)


def test_sums_over_groups_give_the_moments_that_numpy_gives():
    """Of 23 images, one in a group, and of 1,003, in groups of two and three."""
    for number in (23, 1003):
        features = points(number, dimension=4)
        mean, covariance = _moments(_grouped_moments(features).sum(dim=0, keepdim=True))
        np.testing.assert_allclose(mean[0], features.double().numpy().mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(covariance[0], np.cov(features.double().numpy(), rowvar=False), atol=1e-12)


def test_many_features_have_a_frechet_distance_without_an_interval():
    features = points(300, dimension=257)
    assert frechet_interval([features], features)[1:] == (None, None)


def test_an_inception_interval_has_the_score_in_it():
    logits = 3 * torch.randn(700, 5, generator=torch.Generator().manual_seed(0))
    interval = inception_interval(logits)
    assert interval.value == inception_score(logits) and interval.low < interval.value < interval.high
    assert inception_interval(torch.eye(2).repeat(50, 1) * 1000).high <= 2


def test_an_interval_of_a_share_stays_within_0_and_1():
    for share in (torch.arange(500) > 0, torch.arange(500) == 0):
        assert 0 <= bootstrap_mean(share).low <= bootstrap_mean(share).high <= 1

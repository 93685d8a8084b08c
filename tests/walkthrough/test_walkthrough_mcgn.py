"""The measures of notebook 05 against outside oracles, and its checks against typical mistakes."""

import math

import numpy as np
import pytest
import torch
from gan_builders import tiny_gan
from scipy.special import ive
from sklearn.metrics import mutual_info_score

from memgan.lab.evaluation.classifier import Classifier
from walkthrough import nb05_mcgn as mcgn
from walkthrough.nb05_mcgn import small_case


def said(capsys):
    return capsys.readouterr().out


def test_crossed_design_has_one_noise_in_each_column_and_one_slot_in_each_row():
    gan = tiny_gan().eval()
    classifier = Classifier(3, 4, 10).eval()
    design = mcgn.crossed(gan, classifier, num_slots=5, num_noises=3)
    assert design.images.shape == (5, 3, 3, 4, 4)
    assert len(design.slots.unique()) == 5
    assert bool((gan.memory.values[design.slots] == 1).all())
    torch.testing.assert_close(design.queries[2, 1], gan.inference(design.images[2, 1:2])[0])


def test_bound_equals_a_plain_loop_and_never_exceeds_the_entropy():
    memory, slots, queries = small_case()
    p = [float(h) * int(v) for h, v in zip(memory.histogram, memory.values, strict=True)]
    p = [mass / sum(p) for mass in p]
    total = 0.0
    for slot, query in zip(slots.tolist(), queries.double().numpy(), strict=True):
        joint = [q * math.exp(6.0 * float(key @ query)) for q, key in zip(p, memory.keys.double().numpy(), strict=True)]
        total += math.log(joint[slot] / sum(joint))
    entropy = -sum(q * math.log(q) for q in p if q)
    bound = mcgn.information_bound(memory, slots, queries)
    assert bound == pytest.approx(entropy + total / len(slots), abs=1e-6)
    assert bound < entropy
    assert mcgn.information_bound(memory, slots, memory.keys[slots]) <= entropy


def test_right_sign_is_a_bound_that_is_tight_at_the_true_kappa_in_three_dimensions():
    kappas = torch.linspace(0.5, 20, 196, dtype=torch.float64)
    right, printed, information = mcgn.two_signs(kappas, 4.0)
    grid = np.linspace(-1, 1, 200_001)
    density = 4.0 * np.exp(4.0 * (grid - 1)) / (1 - math.exp(-8.0))  # of the cosine
    expected = np.trapezoid(density * np.log(density * 2), grid)  # KL from the uniform: the information
    assert information == pytest.approx(expected, abs=1e-6)
    assert bool((right <= information + 1e-12).all())
    assert mcgn.tight_kappa(kappas, right) == pytest.approx(4.0)
    assert bool((printed > information).all())


def test_mean_cosine_of_three_dimensions_is_a_ratio_of_bessel_functions():
    right, _, information = mcgn.two_signs(torch.tensor([5.0], dtype=torch.float64), 5.0)
    assert ive(1.5, 5.0) / ive(0.5, 5.0) == pytest.approx(1 / math.tanh(5.0) - 1 / 5.0)
    assert float(right) == pytest.approx(information)


def test_shares_of_variance_are_those_of_a_design_built_from_known_parts():
    generator = torch.Generator().manual_seed(0)
    slot, noise = torch.randn(6, 1, generator=generator), torch.randn(1, 5, generator=generator)
    slot, noise = slot - slot.mean(), noise - noise.mean()
    shares = mcgn.shares_of_variance((slot + noise).unsqueeze(2))
    total = float(slot.square().mean() + noise.square().mean())
    assert shares == pytest.approx(
        (float(slot.square().mean()) / total, float(noise.square().mean()) / total, 0), abs=1e-6
    )
    alone = mcgn.shares_of_variance((slot * noise).unsqueeze(2))
    assert alone == pytest.approx((0, 0, 1), abs=1e-6)


def test_agreement_counts_pairs():
    classes = torch.tensor([[0, 0, 1, 1], [2, 2, 2, 2]])
    assert mcgn.agreement(classes) == pytest.approx((2 / 6 + 1) / 2)


def test_shared_information_is_that_of_scikit_learn():
    classes = torch.randint(0, 4, (7, 9), generator=torch.Generator().manual_seed(1)) + torch.arange(7).unsqueeze(1) % 2
    rows = torch.arange(7).unsqueeze(1).expand(7, 9)
    share = torch.bincount(classes.flatten()).double() / classes.numel()
    entropy = float(torch.special.entr(share).sum())
    expected = mutual_info_score(rows.flatten().numpy(), classes.flatten().numpy()) / entropy
    assert mcgn.shared_information(classes) == pytest.approx(expected)


def test_figures_are_drawn():
    gan, classifier = tiny_gan().eval(), Classifier(3, 4, 10).eval()
    design = mcgn.crossed(gan, classifier, num_slots=4, num_noises=3)
    assert len(mcgn.style_and_class({"with": design, "without": design}).axes) == 2
    assert mcgn.usage_figure(mcgn.usage(gan.memory), 3.0).axes


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ([0.25, 0, 0.5, 0.25], "Right."),
        ([2 / 13, 5 / 13, 4 / 13, 2 / 13], "v = 0"),
        ([1 / 3, 0, 1 / 3, 1 / 3], "equally"),
        ([2, 0, 4, 2], "Divide"),
        ([0.5, 0.5], "four slots"),
        (..., "Not answered"),
    ],
)
def test_check_of_probabilities_names_the_mistake(answer, word, capsys):
    mcgn.check_probabilities(answer)
    assert word in said(capsys)


def sampler(mass, strict=True):
    def draw(histogram, values, u):
        cumulative = mass(histogram.double(), values).cumsum(0)
        hit = cumulative > u * cumulative[-1] if strict else cumulative >= u * cumulative[-1]
        return int(hit.nonzero()[0])

    return draw


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (sampler(lambda h, v: h * v), "Right."),
        (sampler(lambda h, v: h), "v = 0"),
        (sampler(lambda h, v: h * v, strict=False), "v = 0"),
        (sampler(lambda h, v: v.double()), "slot 2"),
        (lambda h, v, u: ..., "Not answered"),
    ],
)
def test_check_of_the_sampler_names_the_mistake(answer, word, capsys):
    mcgn.check_sampler(answer)
    assert word in said(capsys)


@pytest.mark.parametrize(
    ("answer", "word"), [(0.98, "Right."), (0.43, "unscaled"), (64 / 68, "1/3"), (0.874, "lengths"), (0.5, "Share =")]
)
def test_check_of_the_key_share_names_the_mistake(answer, word, capsys):
    mcgn.check_key_share(answer)
    assert word in said(capsys)


def bound(memory, slots, queries, *, prior=True, real=True, entropy=1.0, sign=1.0):
    weight = memory.histogram.double() if prior else torch.ones(7, dtype=torch.float64)
    weight = weight * memory.values if real else weight
    log_r = (6.0 * queries.double() @ memory.keys.double().T + weight.log()).log_softmax(dim=1)
    hc = torch.special.entr(mcgn.usage(memory)).sum()
    return entropy * hc + sign * log_r[torch.arange(len(slots)), slots].mean()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "Right."),
        ({"entropy": 0.0}, "missing"),
        ({"sign": -1.0}, "wrong sign"),
        ({"real": False}, "all slots"),
        ({"prior": False}, "equally probable"),
    ],
)
def test_check_of_the_bound_names_the_mistake(changes, word, capsys):
    mcgn.check_bound(lambda *arguments: bound(*arguments, **changes))
    assert word in said(capsys)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (lambda v: v.mean(1).var(correction=0) / v.var(correction=0), "Right."),
        (lambda v: v.mean(0).var(correction=0) / v.var(correction=0), "noise's share"),
        (lambda v: v.mean(1).var(correction=0), "divide by the variance"),
        (lambda v: v.mean(1).var() / v.var(), "correction=0"),
    ],
)
def test_check_of_the_slot_share_names_the_mistake(answer, word, capsys):
    mcgn.check_slot_share(answer)
    assert word in said(capsys)

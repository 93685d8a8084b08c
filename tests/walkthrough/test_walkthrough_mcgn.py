"""The measures of notebook 05 against outside oracles, and its checks against typical mistakes."""

import math

import numpy as np
import pytest
import torch
from gan_builders import tiny_gan
from scipy.special import ive
from sklearn.metrics import mutual_info_score

from memgan.gan import information_loss, posterior_information_loss
from memgan.lab.evaluation.classifier import Classifier
from walkthrough import nb05_mcgn as mcgn
from walkthrough.nb05_mcgn import small_case


def said(capsys):
    return capsys.readouterr().out


def test_crossed_design_has_one_noise_in_each_column_and_one_slot_in_each_row():
    gan = tiny_gan().eval()
    classifier = Classifier(3, (4, 4), 10).eval()
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
    assert float(kappas[right.argmax()]) == pytest.approx(4.0)
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


def test_shared_information_is_that_of_scikit_learn():
    classes = torch.randint(0, 4, (7, 9), generator=torch.Generator().manual_seed(1)) + torch.arange(7).unsqueeze(1) % 2
    rows = torch.arange(7).unsqueeze(1).expand(7, 9)
    share = torch.bincount(classes.flatten()).double() / classes.numel()
    entropy = float(torch.special.entr(share).sum())
    expected = mutual_info_score(rows.flatten().numpy(), classes.flatten().numpy()) / entropy
    assert mcgn.shared_information(classes) == pytest.approx(expected)


def test_variety_is_one_for_slots_that_vary_as_classes_do():
    real = torch.randn(400, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(400) % 2
    slots = torch.stack([real[labels == 0], real[labels == 1]])
    assert mcgn.variety(slots, real, labels) == pytest.approx(1.0)
    assert mcgn.variety(slots / 2, real, labels) == pytest.approx(0.25)
    assert mcgn.variety(slots[:, :1].expand_as(slots), real, labels) == pytest.approx(0.0)


def test_pulls_are_the_gradients_on_paper():
    memory, _, _ = small_case()
    slot = int(memory.slot_probabilities().argmax())
    found = mcgn.pulls(memory, slot, number=9)
    angle = torch.deg2rad(found.degrees)
    torch.testing.assert_close(found.density, memory.kappa * angle.sin(), atol=1e-4, rtol=1e-4)
    assert float(found.posterior[0]) < float(found.posterior[-1])
    assert float(found.probability[0]) == float(found.probability.max())


def test_a_table_has_a_row_for_each_seed():
    runs = {"a": [{"run": "a", "seed": 0, "score": 1.25}, {"run": "a", "seed": 1, "score": 2.0}]}
    lines = mcgn.run_table(runs, ["a"], {"score": ".1f"}).splitlines()
    assert [line.split() for line in lines[1:]] == [["a", "0", "1.2"], ["a", "1", "2.0"]]
    assert len({len(line) for line in lines}) == 1


def test_figures_are_drawn():
    gan = tiny_gan().eval()
    shares = {"class_from_slot": 0.9, "class_from_noise": 0.1}
    variance = {"variance_slot": 0.6, "variance_noise": 0.1, "variance_both": 0.3}
    assert len(mcgn.shares_figure({"a": shares | variance, "b": shares | variance}).axes) == 2
    slot = int(gan.memory.slot_probabilities().argmax())
    assert len(mcgn.pull_figure(mcgn.pulls(gan.memory, slot, number=30), 20.0).axes) == 2
    images = torch.zeros(5, 3, 4, 4, dtype=torch.uint8)
    assert mcgn.slot_rows(gan, [slot], images, torch.full((5,), slot)).axes


def test_least_pure_slots_are_labelled_by_number_and_classes_most_frequent_first():
    gan = tiny_gan().eval()
    measured = [{"slot": 1, "classes": [0, 0, 0, 9, 0, 20, 0, 0, 18, 1]}]
    (axes,) = mcgn.least_pure_rows(gan, measured).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["slot 1: 5, 8, 3"]


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


def by_weight(weight):
    return lambda values, histogram, number: torch.multinomial(weight(values, histogram), number, replacement=True)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (by_weight(lambda v, h: h * v), "Right."),
        (by_weight(lambda v, h: h), "v = 0"),
        (by_weight(lambda v, h: v.float()), "slot 2"),
        (by_weight(lambda v, h: (h * v) ** 2), "shares"),
        (lambda v, h, n: torch.tensor([1, 3, 5]).repeat(n)[:n], "same slots"),
        (lambda v, h, n: torch.rand(n), "whole numbers"),
        (lambda v, h, n: [1] * n, "list"),
        (lambda v, h, n: ..., "Not answered"),
    ],
)
def test_check_of_the_sample_names_the_mistake(answer, word, capsys):
    mcgn.check_sample(answer)
    assert word in said(capsys)


@pytest.mark.parametrize(
    ("answer", "word"), [(0.923, "Right."), (0.158, "unscaled"), (0.8, "1/3"), (0.776, "lengths"), (0.5, "Share =")]
)
def test_check_of_the_key_share_names_the_mistake(answer, word, capsys):
    mcgn.check_key_share(answer)
    assert word in said(capsys)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (information_loss, "Right."),
        (lambda k, q, kappa: float(information_loss(k, q, kappa).detach()), "no gradient"),
        (lambda k, q, kappa: -information_loss(k, q, kappa), "sign"),
        (lambda k, q, kappa: information_loss(k, q, 1.0), "concentration"),
        (lambda k, q, kappa: -kappa * (k * q).sum(), "not a sum"),
        (lambda k, q, kappa: -kappa * (k @ q.T).mean(), "every key"),
        (lambda k, q, kappa: -kappa * (k * q).sum(dim=1), "one number"),
        (lambda k, q, kappa: torch.tensor(0.0), "yours is 0.0000"),
        (lambda k, q, kappa: ..., "Not answered"),
    ],
)
def test_check_of_the_density_loss_names_the_mistake(answer, word, capsys):
    mcgn.check_density_loss(answer)
    assert word in said(capsys)


def cross_entropy(keys, values, histogram, slots, queries, kappa, *, prior=True, real=True):
    scores = kappa * queries @ keys.T
    if prior:
        scores = scores + (histogram + 1e-8).log()
    if real:
        scores = scores.masked_fill(values == 0, -torch.inf)
    return torch.nn.functional.cross_entropy(scores, slots)


def log_of_softmax(keys, values, histogram, slots, queries, kappa):
    """Right in value; its gradient is not a number, because log 0 is met on the way."""
    joint = (kappa * queries @ keys.T).exp() * histogram * values
    log_p = (joint / joint.sum(dim=1, keepdim=True)).log()
    chosen = torch.zeros_like(log_p).scatter(1, slots.unsqueeze(1), 1.0)
    return -torch.where(chosen > 0, log_p, 0.0).sum(dim=1).mean()


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (cross_entropy, "Right."),
        (lambda *a: -cross_entropy(*a), "sign"),
        (lambda *a: len(a[3]) * cross_entropy(*a), "not a sum"),
        (lambda *a: cross_entropy(*a, real=False), "all slots"),
        (lambda *a: cross_entropy(*a, prior=False), "prior"),
        (lambda *a: cross_entropy(*a[:4], a[4].detach(), a[5]), "no gradient"),
        (log_of_softmax, "not finite"),
        (lambda *a: ..., "Not answered"),
    ],
)
def test_check_of_the_posterior_loss_names_the_mistake(answer, word, capsys):
    mcgn.check_posterior_loss(answer)
    assert word in said(capsys)


def test_the_right_posterior_loss_is_a_cross_entropy_over_the_real_slots():
    memory, slots, queries = small_case()
    ours = cross_entropy(memory.keys, memory.values, memory.histogram, slots, queries, 6.0)
    torch.testing.assert_close(ours, posterior_information_loss(memory, slots, queries), atol=1e-5, rtol=1e-5)

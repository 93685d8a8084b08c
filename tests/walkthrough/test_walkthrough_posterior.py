"""Notebook 02's numbers against closed forms and samples; its checks know right answers from typical wrong ones."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from memgan import VMFMemory, vmf
from memgan.presets import paper_memory
from memgan.training import prepare
from walkthrough import nb02_posterior as posterior


def said(capsys, check, answer):
    check(answer)
    return capsys.readouterr().out


def test_half_width_is_where_the_density_has_halved():
    for kappa in (0.5, 1.0, 60.0):
        angle = math.radians(posterior.half_width(kappa))
        assert math.exp(kappa * (math.cos(angle) - 1)) == pytest.approx(0.5)
    assert posterior.half_width(0.1) == 180  # exp(-2 kappa) > 1/2: it nowhere has


@pytest.mark.parametrize(("kappa", "key_dim"), [(1.0, 3), (10.0, 16), (5.0, 64)])
def test_outvoted_is_the_weight_of_a_match_over_the_mean_weight_of_a_stranger(kappa, key_dim):
    cosine = F.normalize(torch.randn(400_000, key_dim, generator=torch.Generator().manual_seed(0)), dim=1)[:, 0]
    sampled = math.exp(kappa) / (kappa * cosine.double()).exp().mean().item()
    assert posterior.outvoted(kappa, key_dim) == pytest.approx(sampled, rel=0.02)


def test_two_worlds_are_far_apart_and_take_turns():
    queries, labels = posterior.two_worlds(20)
    assert labels.tolist() == [1, 0] * 10
    assert posterior.two_worlds(20, real_first=False)[1].tolist() == [0, 1] * 10
    assert queries.norm(dim=1).sub(1).abs().max() < 1e-5
    across = (queries[labels == 1] @ queries[labels == 0].T).max()
    assert across < 0.6


def test_paper_rule_one_after_another_says_what_came_first():
    """The claim of "Where that leaves the histogram", both ways round, and that kappa alone undoes it."""
    for first in (True, False):
        queries, labels = posterior.two_worlds(40, real_first=first)
        for kappa, locked in ((1.0, True), (60.0, False)):
            prepare(seed=3)
            memory = VMFMemory.from_settings(paper_memory(512, 64, 32), kappa=kappa)
            for query, label in zip(queries, labels, strict=True):
                memory.write(query.unsqueeze(0), label.unsqueeze(0))
            says_real = memory.read(queries) > 0.5
            assert bool((says_real == first).all()) == locked
            assert bool((says_real == (labels == 1)).all()) != locked


def test_pictures_are_drawn_for_extreme_contrast_too():
    for kappa in (0.1, 200.0):
        assert posterior.contrast(kappa).axes
        assert posterior.bayes_on_the_circle(posterior.four_slots(kappa)).axes


def test_six_slots_stand_on_the_sphere_and_the_picture_shows_those_in_front():
    memory = posterior.six_slots(5.0)
    assert memory.keys.norm(dim=1).tolist() == pytest.approx([1] * 6)
    axes = posterior.sphere_picture(memory, memory.keys[:1], view=(0, 0)).axes[0]  # from there x is towards us
    places = [tuple(map(float, line.get_xydata()[0])) for line in axes.lines]
    in_front = [(float(y), float(z)) for x, y, z in memory.keys if x >= 0]
    assert places == [pytest.approx(place) for place in [*in_front, in_front[0]]]
    assert len(in_front) == 4


def test_a_real_key_is_called_generated_where_the_prior_has_the_word():
    for kappa, called_real in ((0.3, False), (1.0, False), (5.0, True)):
        memory = posterior.six_slots(kappa)
        assert bool(memory.values[2])
        assert bool(memory.read(memory.keys[2:3]) > 0.5) == called_real


def test_contest(capsys):
    assert said(capsys, posterior.check_contest, math.log(2e5)).startswith("Right.")
    assert "base 10" in said(capsys, posterior.check_contest, 5.3)
    assert "ratio" in said(capsys, posterior.check_contest, 2e5)
    assert "not 2" in said(capsys, posterior.check_contest, 6.1)
    assert "Set both joints equal" in said(capsys, posterior.check_contest, 3.0)


def test_closed_form(capsys):
    right = {"Right.": lambda kappa: kappa / (4 * math.pi * math.sinh(kappa))}
    wrong = {
        "one divided by it": lambda kappa: 4 * math.pi * math.sinh(kappa) / kappa,
        "2 pi times too large": lambda kappa: kappa / (2 * math.sinh(kappa)),
        "exp(kappa (t - 1))": lambda kappa: kappa * math.exp(kappa) / (4 * math.pi * math.sinh(kappa)),
        "not to 1": lambda kappa: kappa / (4 * math.pi),
        "Not answered yet": lambda kappa: ...,
    }
    for message, answer in (right | wrong).items():
        assert message in said(capsys, posterior.check_closed_form, answer)


def answer_with(kept=None, scores=None, divide=None):
    """A reader's posterior: scores [B, N], what stays of them for a label, and how they become shares."""

    def answer(keys, values, histogram, queries, kappa, label=None):
        joint = scores(keys, histogram, queries, kappa) if scores else scores_of(keys, histogram, queries, kappa)
        if label is not None:
            joint = kept(joint, values, label) if kept else joint.masked_fill(values != label, -torch.inf)
        return divide(joint) if divide else joint.softmax(dim=1)

    return answer


def scores_of(keys, histogram, queries, kappa, beta=1e-8):
    return kappa * queries @ keys.T + (histogram + beta).log()


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("Right.", answer_with()),
        ("columns sum to 1", answer_with(divide=lambda s: s.softmax(0))),
        ("LOG is added", answer_with(scores=lambda K, h, q, kappa: kappa * q @ K.T + h + 1e-8)),
        ("left out the prior", answer_with(scores=lambda K, h, q, kappa: kappa * q @ K.T)),
        ("left out kappa", answer_with(scores=lambda K, h, q, kappa: scores_of(K, h, q, 1.0))),
        ("multiplies the cosine only", answer_with(scores=lambda K, h, q, kappa: kappa * scores_of(K, h, q, 1.0))),
        (
            "NaNs or infinities",
            answer_with(scores=lambda K, h, q, kappa: scores_of(K, h, q, kappa, 0), divide=lambda s: s),
        ),
        ("not to 1", answer_with(divide=lambda s: s.exp())),
        ("Expected shape", answer_with(scores=lambda K, h, q, kappa: kappa * K @ q.T)),
        ("largest difference", answer_with(scores=lambda K, h, q, kappa: scores_of(K, h, q, 2 * kappa))),
        ("must get 0", answer_with(kept=lambda s, v, label: s)),
        ("with v = 0", answer_with(kept=lambda s, v, label: s.masked_fill(v == label, -torch.inf))),
        ("With label=0", answer_with(kept=lambda s, v, label: s.masked_fill(v == 0, -torch.inf) if label else s)),
        ("With label=0", answer_with(kept=lambda s, v, label: s.masked_fill(v == 0, -torch.inf))),
        ("Not answered yet", lambda *arguments: ...),
        ("stops with", lambda keys, *others: keys @ others[2]),
    ],
)
def test_posterior(capsys, message, answer):
    assert message in said(capsys, posterior.check_posterior, answer)


def test_posterior_that_is_not_divided_again_for_a_label(capsys):
    def answer(keys, values, histogram, queries, kappa, label=None):
        shares = scores_of(keys, histogram, queries, kappa).softmax(dim=1)
        return shares if label is None else shares * (values == label)

    assert "no longer sum to 1" in said(capsys, posterior.check_posterior, answer)


def test_scaling(capsys):
    assert said(capsys, posterior.check_scaling, "the same").startswith("Right.")
    assert "It was run for you" in said(capsys, posterior.check_scaling, "sharper")
    assert "one of" in said(capsys, posterior.check_scaling, "more")


def test_four_slots_share_the_query_as_the_notebook_says():
    memory = posterior.four_slots(5.0)
    tie = np.deg2rad(40)
    share = memory.posterior(torch.tensor([[np.cos(tie), np.sin(tie)]]))[0]
    assert share[0] / share[1] == pytest.approx(3, rel=1e-6)  # beta aside, as their counts
    assert float(vmf.log_normaliser(5.0, 2)) == pytest.approx(-math.log(2 * math.pi * np.i0(5.0)))

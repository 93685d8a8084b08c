"""Notebook 03: its measures against plain sums, and its checks against typical mistakes."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from walkthrough import nb03_topk as topk
from walkthrough.nb02_posterior import four_slots


def said(capsys, check, answer):
    check(answer)
    return capsys.readouterr().out


def strangers(number=7):
    return F.normalize(torch.randn(number, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(3)), dim=1)


def test_approximation_agrees_with_plain_sums():
    memory = topk.random_memory(40, top_k=5, kappa=10.0)
    result = topk.approximation(memory, strangers())
    for row, query in enumerate(strangers()):
        joint = torch.exp(10 * memory.keys @ query) * (memory.histogram + memory.beta)
        best = sorted(range(40), key=lambda slot: -float(joint[slot]))[:5]
        inside = sum(float(joint[slot]) for slot in best)
        assert float(result.missed[row]) == pytest.approx(1 - inside / float(joint.sum()), abs=1e-9)
        over_best = sum(float(joint[slot]) for slot in best if memory.values[slot]) / inside
        assert float(result.approximate[row]) == pytest.approx(over_best)
        assert float(result.exact[row]) == pytest.approx(float(joint[memory.values == 1].sum() / joint.sum()))


def test_reread_leaves_the_memory_as_it_was():
    memory = topk.random_memory(40)
    other = topk.reread(memory, top_k=3, kappa=1.0)
    assert (other.top_k, other.kappa, memory.top_k, memory.kappa) == (3, 1.0, 32, 60.0)


def test_every_query_is_silent_with_one_slot_and_none_with_a_mixed_crowd():
    memory = topk.random_memory(40, top_k=40, kappa=1.0)
    assert not topk.silent(memory, strangers()).any()
    assert topk.silent(topk.reread(memory, top_k=1), strangers()).all()


def plain_gradients(memory, queries, loss):
    """The gradients [B, M] of a loss of D, by autograd through a plain softmax over the k best scores."""
    queries = queries.clone().requires_grad_()
    scores = memory.kappa * queries @ memory.keys.T + (memory.histogram + memory.beta).log()
    best = scores.topk(memory.top_k, dim=1)
    d = (best.values.softmax(dim=1) * memory.values[best.indices]).sum(dim=1)
    return torch.autograd.grad(loss(d).sum(), queries)[0]


@pytest.mark.parametrize("saturating", [True, False])
def test_push_is_the_median_gradient_that_normalising_a_query_leaves(saturating):
    memory, queries = topk.random_memory(40, top_k=5, kappa=3.0), strangers(9)
    gradients = plain_gradients(memory, queries, lambda d: (1 - d).log() if saturating else -d.log())
    unnormalised = (3 * queries).requires_grad_()  # of length 3: its gradient is a third of what is left
    linear = (F.normalize(unnormalised, dim=1) * gradients).sum()
    (left,) = torch.autograd.grad(linear, unnormalised)
    assert topk.push(memory, queries, saturating=saturating) == pytest.approx(float(3 * left.norm(dim=1).median()))


def test_agreement_is_the_mean_cosine_between_two_gradients():
    memory, queries = topk.random_memory(40, top_k=5, kappa=3.0), strangers(6)
    gradients = plain_gradients(memory, queries, lambda d: d)
    cosines = [F.cosine_similarity(a, b, dim=0) for i, a in enumerate(gradients) for b in gradients[:i]]
    assert topk.agreement(memory, queries) == pytest.approx(float(torch.stack(cosines).mean()))


def test_steps_jump_where_slots_of_different_labels_change_places():
    """The figures that the notebook gives: two jumps of nearly half at k = 2, none with all four slots."""
    axes = topk.steps_picture(four_slots(1.0), (1, 2, 4)).axes[0]
    degrees, jumps = axes.lines[0].get_xdata(), [abs(np.diff(line.get_ydata())) for line in axes.lines]
    assert degrees[:-1][jumps[1] > 0.1] == pytest.approx([142.5, 155.25])
    assert jumps[1].max() == pytest.approx(0.49, abs=0.01)
    assert jumps[2].max() < 0.01


def test_twelve_slots_disagree_with_their_neighbours():
    memory = topk.twelve_slots()
    assert (memory.values != memory.values.roll(1)).all()
    assert F.cosine_similarity(memory.keys, memory.keys.roll(1, 0)).tolist() == pytest.approx(
        [math.cos(math.pi / 6)] * 12
    )


def read(keys, values, histogram, queries, kappa, k, *, by_cosine=False, all_slots=False, clip=True):
    scores = kappa * queries @ keys.T + (histogram + 1e-8).log()
    chosen = (queries @ keys.T if by_cosine else scores).topk(len(keys) if all_slots else k).indices
    result = (scores.gather(1, chosen).softmax(dim=1) * values[chosen]).sum(dim=1)
    return result.clamp(1e-3, 1 - 1e-3) if clip else result


@pytest.mark.parametrize(
    ("mistake", "words"),
    [({}, "Right."), ({"by_cosine": True}, "cosine"), ({"all_slots": True}, "over S only"), ({"clip": False}, "clip")],
)
def test_check_of_the_read(capsys, mistake, words):
    assert words in said(capsys, topk.check_read, lambda *given: read(*given, **mistake))


def test_check_of_log_d_looks_at_the_far_query(capsys):
    def too_small_there(scores, values):
        log_d = scores.masked_fill(values == 0, -torch.inf).logsumexp(dim=1) - scores.logsumexp(dim=1)
        return log_d * torch.tensor([1.0, 1.0, 1.0, 0.7])

    assert "The last query" in said(capsys, topk.check_log_probability, too_small_there)


def test_check_of_a_read_without_a_gradient(capsys):
    assert "no gradient" in said(capsys, topk.check_read, torch.no_grad()(read))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda p, k: (p >= p.sort().values[-k]).long(), "Right."),
        (lambda p, k: (p < p.sort().values[-k]).long(), "Right."),
        (lambda p, k: torch.ones(len(p)), "is possible"),
        (lambda p, k: 0.5 * torch.ones(len(p)), "0 or 1"),
        (lambda p, k: ..., "Not answered"),
    ],
)
def test_check_of_the_worst_values(capsys, answer, words):
    assert words in said(capsys, topk.check_worst_values, answer)


def smallest(posterior, tolerance):
    counts = []
    for row in posterior.tolist():
        left, k = 1.0, 0
        for p in sorted(row, reverse=True):
            if left <= tolerance + 1e-9 and k:
                break
            left, k = left - p, k + 1
        counts.append(k)
    return torch.tensor(counts)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (smallest, "Right."),
        (lambda p, t: smallest(p, t) - 1, "One too few"),
        (lambda p, t: smallest(p, t) + 1, "One too many"),
        (lambda p, t: ..., "Not answered"),
    ],
)
def test_check_of_the_smallest_k(capsys, answer, words):
    assert words in said(capsys, topk.check_smallest_k, answer)


def log_probability(scores, values):
    return scores.masked_fill(values == 0, -torch.inf).logsumexp(dim=1) - scores.logsumexp(dim=1)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (log_probability, "Right."),
        (lambda s, v: (s.softmax(dim=1) * v).sum(dim=1).log(), "not finite"),
        (lambda s, v: log_probability(s, v).exp(), "D itself"),
        (lambda s, v: log_probability(s, v).clamp(min=-50), "Is it clipped"),
        (lambda s, v: log_probability(s, v).detach(), "stops with"),
        (lambda s, v: ..., "Not answered"),
    ],
)
def test_check_of_the_log_probability(capsys, answer, words):
    assert words in said(capsys, topk.check_log_probability, answer)


@pytest.mark.parametrize(("answer", "words"), [(0, "Right."), (1.0, "weight 1"), (..., "Not answered")])
def test_check_of_one_slot(capsys, answer, words):
    assert words in said(capsys, topk.check_no_gradient, answer)

"""Notebook 06's pictures and checks: what is traced is what a step does, and wrong answers are recognised."""

import math

import pytest
import torch

from memgan.presets import PRESETS
from memgan.runs import build
from walkthrough import nb06_full_training as full_training


@pytest.fixture(scope="module")
def gan():
    torch.manual_seed(0)
    return build(PRESETS["digits"])


def test_traced_shapes_are_those_of_the_preset_and_nothing_changes(gan):
    before = {name: tensor.clone() for name, tensor in gan.memory.state_dict().items()}
    lines = full_training.traced_shapes(gan, torch.rand(3, 1, 16, 16) * 2 - 1)
    shapes = [line[line.index("[") :] for line in lines]
    expected = ["[3, 1, 16, 16]", "[3, 64]", "[3, 4]", "[3, 1, 16, 16]", "[6, 64]", "[6, 32]", "[6, 32]", "[6]"]
    assert shapes == expected
    assert all(torch.equal(before[name], tensor) for name, tensor in gan.memory.state_dict().items())


def test_effective_number_counts_equal_shares():
    for number in (1, 3, 7):
        assert full_training.effective_number(torch.full((number,), 1 / number)) == pytest.approx(number)


def test_moment_is_a_copy_of_the_distribution_that_slots_are_drawn_from(gan):
    now = full_training.moment(5, gan.memory)
    assert now.real_slots == 256
    torch.testing.assert_close(now.offered, gan.memory.values.double() / 256)
    assert len(full_training.histogram_life([now, now._replace(step=6)]).axes) == 3


def test_progress_bar_yields_every_step_and_says_what_stays_true(monkeypatch):
    shown = []
    monkeypatch.setattr(full_training, "display", lambda data, raw: shown.append(data))
    assert list(full_training.watched(iter("abc"), 3)) == ["a", "b", "c"]
    assert shown[0]["text/plain"] == "A progress bar of 3 training steps."
    assert "application/vnd.jupyter.widget-view+json" in shown[0]


def test_latent_square_has_z1_along_and_z2_upward(gan):
    squares = full_training.latent_squares(gan.eval(), torch.tensor([4, 9]), side=3)
    assert squares.shape == (2, 9, 1, 16, 16)
    for place, (z1, z2) in {0: (-2 / 3, 2 / 3), 4: (0, 0), 5: (2 / 3, 0), 7: (0, -2 / 3)}.items():
        image = gan.generator(gan.memory.keys[9:10], torch.tensor([[z1, z2, 0.0, 0.0]]))[0]
        torch.testing.assert_close(squares[1, place], image.detach(), rtol=0, atol=1e-5)


def said(capsys, check, answer):
    check(answer)
    return capsys.readouterr().out


def plain_loss(real, generated):
    return -sum(math.log(d) for d in real.tolist()) / 3 - sum(math.log(1 - d) for d in generated.tolist()) / 3


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (plain_loss, "Right."),
        (lambda r, g: r.log().mean() + (1 - g).log().mean(), "sign"),
        (lambda r, g: -r.log().mean() - g.log().mean(), "log(1 - D)"),
        (lambda r, g: -r.log().sum() - (1 - g).log().sum(), "not a sum"),
        (lambda r, g: -r.log() - (1 - g).log(), "one number"),
        (lambda r, g: 0.0, "yours is 0.0000"),
        (lambda r, g: ..., "Not answered"),
    ],
)
def test_check_of_the_loss(capsys, answer, words):
    assert words in said(capsys, full_training.check_discriminator_loss, answer)


@pytest.mark.parametrize(
    ("made", "written", "read", "words"),
    [
        (128, 128, 192, "Right."),
        (64, 128, 192, "fresh one"),
        (128, 192, 192, "writes nothing"),
        (128, 128, 128, "reads its own"),
        (..., 128, 192, "Not answered"),
    ],
)
def test_check_of_the_counts(capsys, made, written, read, words):
    answer = {"images generated": made, "queries written": written, "queries read": read}
    assert words in said(capsys, full_training.check_counts, answer)


def plain_number(histogram, values):
    mass = [h * v for h, v in zip(histogram.tolist(), values.tolist(), strict=True)]
    return math.exp(-sum(m / sum(mass) * math.log(m / sum(mass)) for m in mass if m))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (plain_number, "Right."),
        (lambda h, v: math.log(plain_number(h, v)), "exponential"),
        (lambda h, v: plain_number(h, torch.ones_like(v)), "multiply h by v"),
        (lambda h, v: (h * v > 0).sum(), "1.7548"),
        (lambda h, v: 9.0, "4 in use"),
        (lambda h, v: ..., "Not answered"),
    ],
)
def test_check_of_the_slots_in_use(capsys, answer, words):
    assert words in said(capsys, full_training.check_slots_in_use, answer)


@pytest.mark.parametrize(
    ("saturating", "other", "words"),
    [
        (1.0101, 100, "Right."),
        (-1.0101, -100, "Right."),
        (1.01, 1, "non_saturating"),
        (0.01, 100, "saturating:"),
        (..., ..., "Not answered"),
    ],
)
def test_check_of_the_slopes(capsys, saturating, other, words):
    answer = {"saturating": saturating, "non_saturating": other}
    assert words in said(capsys, full_training.check_slopes, answer)

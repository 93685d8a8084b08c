"""Notebook 06's pictures and checks: what is traced is what a step does, and wrong answers are recognised."""

import math

import pytest
import torch

from memgan.gan import generator_loss
from memgan.presets import PRESETS
from memgan.runs import build
from walkthrough import nb06_full_training as full_training
from walkthrough.own_memory import Parts


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


def test_moment_is_a_copy_of_the_distribution_that_slots_are_drawn_from(gan):
    now = full_training.moment(5, gan.memory)
    assert now.real_slots == 256
    torch.testing.assert_close(now.offered, gan.memory.values.double() / 256)
    peaked = now._replace(step=6, offered=torch.eye(512, dtype=torch.float64)[3])
    left, right = full_training.histogram_life([now, peaked], early=0, top=1).axes
    both, first_only, last_only = left.get_lines()
    assert list(both.get_ydata()) == [0, 0]
    assert list(first_only.get_ydata()) == pytest.approx([100 / 256, 0])
    assert list(last_only.get_ydata())[-1] == pytest.approx(100)
    assert list(right.get_lines()[0].get_ydata()) == pytest.approx([256, 1])


def test_progress_bar_yields_every_step_and_says_what_stays_true(monkeypatch):
    shown = []
    monkeypatch.setattr(full_training, "display", lambda data, raw: shown.append(data))
    assert list(full_training.watched(iter("abc"), 3)) == ["a", "b", "c"]
    assert shown[0]["text/plain"] == "A progress bar of 3 training steps."
    assert "application/vnd.jupyter.widget-view+json" in shown[0]


def test_fewer_slots_are_the_real_ones_that_are_drawn_most(gan):
    gan.memory.histogram.copy_(torch.rand(512, generator=torch.Generator().manual_seed(0)))
    small = full_training.fewer_slots(gan, 5)
    busiest = gan.memory.slot_probabilities().argsort(descending=True)[:5]
    torch.testing.assert_close(small.memory.keys, gan.memory.keys[busiest])
    torch.testing.assert_close(small.memory.histogram, gan.memory.histogram[busiest])
    assert small.memory.values.tolist() == [1] * 5
    assert not small.training


def test_curves_are_means_of_blocks_of_steps():
    history = {
        name: [1.0, 3.0, 5.0, 7.0, 9.0] for name in ("discriminator_loss", "generator_loss", "real", "generated")
    }
    (line, *_) = full_training.training_curves(history, every=10, window=20).axes[0].get_lines()
    assert [list(data) for data in line.get_data()] == [[10, 30], [2, 6]]


def test_snapshots_keep_the_rows_and_columns_that_were_asked_for():
    figure = full_training.snapshots("training-snapshots.png", {2: "step 50", 7: "step 1600"}, columns=5)
    picture = figure.axes[0].images[0].get_array()
    assert picture.shape[:2] == (2 * 29 - 1, 5 * 29 - 1)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["step 50", "step 1600"]


def test_nearest_figure_has_a_row_of_neighbours_below_each_kind():
    images = torch.randint(0, 256, (6, 1, 7, 7), dtype=torch.uint8)
    pairs = {
        "a": (torch.zeros(3, 1, 7, 7), torch.tensor([0, 1, 2])),
        "b": (torch.ones(3, 1, 7, 7), torch.tensor([5, 5, 5])),
    }
    labels = full_training.nearest_figure(pairs, images, 3).axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == ["a", "nearest in training", "b", "nearest in training"]


def test_figures_are_drawn():
    values = {"a": torch.rand(9), "b": torch.rand(9)}
    assert len(full_training.chances_figure(values, {"a": "blue", "b": "orange"}).axes) == 2
    moments = [{"step": step, "seen": 0.9, "unseen": 0.8, "fakes": 0.2} for step in (25, 50)]
    assert len(full_training.acceptance_figure(moments).axes[0].get_lines()) == 3


def test_d_of_bytes_is_that_of_the_same_images_as_numbers(gan):
    images = torch.randint(0, 256, (7, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    expected = gan.eval().discriminate(images / 127.5 - 1).detach()
    torch.testing.assert_close(full_training.discriminate(gan, images), expected)


def test_own_training_says_what_is_missing(capsys):
    parts = Parts(read=..., replace=..., em_step=..., sample=..., information=...)
    losses = full_training.Losses(discriminator=..., generator=...)
    assert full_training.train_own(parts, losses) is None
    assert "Not answered" in capsys.readouterr().out


def test_own_training_says_that_a_loss_still_holds_its_three_dots(capsys):
    parts = Parts(read=print, replace=print, em_step=print, sample=print, information=print)
    losses = full_training.Losses(discriminator=lambda real, generated: ..., generator=lambda generated: generated)
    assert full_training.train_own(parts, losses) is None
    assert "Not answered" in capsys.readouterr().out


def said(capsys, check, answer):
    check(answer)
    return capsys.readouterr().out


def plain_loss(real, generated):
    return -sum(math.log(d) for d in real.tolist()) / 3 - sum(math.log(1 - d) for d in generated.tolist()) / 3


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda r, g: -(r.log().sum() + (1 - g).log().sum()) / 3, "Right."),
        (plain_loss, "no gradient"),
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


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda g: generator_loss(g, "non_saturating"), "Right."),
        (lambda g: g.log().mean(), "sign"),
        (lambda g: (1 - g).log().mean(), "saturating loss"),
        (lambda g: -g.log().sum(), "not a sum"),
        (lambda g: -g.log(), "one number"),
        (lambda g: 0.0, "yours is 0.0000"),
        (lambda g: ..., "Not answered"),
    ],
)
def test_check_of_the_generator_loss(capsys, answer, words):
    assert words in said(capsys, full_training.check_generator_loss, answer)


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

"""The forgetting experiment: its fakes, its memory that rehearses, and what its results must show."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import grey_dilation, grey_erosion

from memgan import VMFMemory
from walkthrough import nb07_forgetting as forgetting
from walkthrough.nb07_forgetting import (
    CAUSES,
    Discriminator,
    RehearsingMemory,
    experiment,
    kinds,
    load,
    mean_share,
    restroked,
)

SMALL = {"num_slots": 48, "key_dim": 5, "top_k": 4, "kappa": 8.0}


def unit_rows(*shape, seed=0):
    return F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize(("amount", "extreme"), [(0.5, grey_dilation), (-0.5, grey_erosion)])
def test_strokes_go_half_the_way_to_scipys_dilation_or_erosion(amount, extreme):
    images = torch.rand(3, 1, 7, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = [(image + extreme(image, size=(3, 3), mode="nearest")) / 2 for image in images[:, 0].numpy()]
    np.testing.assert_allclose(restroked(images, amount)[:, 0].numpy(), np.stack(expected), atol=1e-6)


def test_no_digit_is_in_two_kinds_and_bold_is_brighter_than_thin():
    real, bold, thin = kinds(seed=1, amount=0.0)
    together = torch.cat([real, bold, thin]).flatten(1)
    assert len(together) == 4000
    assert len(together.unique(dim=0)) > 3990  # the data set itself holds next to no duplicates
    real, bold, thin = kinds(seed=1)
    assert bold.mean() > real.mean() > thin.mean()


def test_a_memory_that_neither_keeps_images_nor_is_gentle_is_the_ordinary_one():
    torch.manual_seed(0)
    plain = VMFMemory(**SMALL)
    rehearsing = RehearsingMemory(**SMALL)
    rehearsing.load_state_dict(plain.state_dict(), strict=False)
    queries, labels = unit_rows(20, 5), torch.arange(20) % 2
    for memory in (plain, rehearsing):
        memory.write(queries, labels)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, rehearsing.state_dict()[name])


def test_gentle_decay_takes_alpha_to_the_power_of_what_a_slot_was_given():
    torch.manual_seed(0)
    memory = RehearsingMemory(**SMALL, gentle=True)
    plain = VMFMemory(**SMALL)
    plain.load_state_dict(memory.state_dict(), strict=False)
    for each in (memory, plain):
        each.histogram.fill_(2.0)
    label = int(memory.values[memory.posterior(unit_rows(1, 5, seed=3)).argmax()])
    query, labels = unit_rows(1, 5, seed=3), torch.tensor([label])
    memory.write(query, labels)
    plain.write(query, labels)
    touched = plain.histogram != 2.0
    gamma = plain.histogram - 0.9 * 2.0
    expected = torch.where(touched, 2.0 * 0.9**gamma + gamma, torch.tensor(2.0))
    torch.testing.assert_close(memory.histogram, expected)
    assert int(touched.sum()) == 4
    assert memory.histogram.sum() > plain.histogram.sum()


def test_a_re_encoded_key_is_the_query_of_the_image_that_its_slot_keeps():
    torch.manual_seed(0)
    memory = RehearsingMemory(**SMALL)
    images = torch.rand(6, 1, 28, 28)
    directions = torch.randn(784, 5)
    encode = lambda batch: F.normalize(batch.flatten(1) @ directions, dim=1)  # noqa: E731
    queries, labels = encode(images), torch.zeros(6, dtype=torch.long)
    memory.write(queries, labels)
    memory.keep_images(queries, labels, images)
    before = memory.keys.clone()
    memory.re_encode(encode)
    assert torch.equal(memory.keys[~memory.filled], before[~memory.filled])
    torch.testing.assert_close(memory.keys[memory.filled], encode(memory.images[memory.filled]))


def test_shielded_slots_hold_what_they_held():
    torch.manual_seed(0)
    discriminator = Discriminator(forgetting.VARIANTS["128 slots, slots protected"])
    memory = discriminator.memory
    images = kinds(0)
    slots = discriminator.slots_of(images.bold)
    names = ("keys", "values", "ages", "histogram")
    before = {name: getattr(memory, name)[slots].clone() for name in names}
    discriminator.shield(images.bold)
    discriminator.loss(images.real[:32], images.thin[:32])
    for name in names:
        assert torch.equal(getattr(memory, name)[slots], before[name])


@pytest.mark.thorough
def test_the_same_seed_gives_the_same_curve_and_the_sigmoid_forgets_at_once():
    short = experiment("sigmoid", 0, steps_on_b=5)
    assert short == experiment("sigmoid", 0, steps_on_b=5)
    assert short.steps == [0, 1, 2, 5]
    assert short.old[0] > 0.95
    assert short.old[-1] < 0.5


def test_results_hold_every_variant_and_tell_the_two_causes_apart():
    """What notebooks 01 and 07 say of results/forgetting.json."""
    curves = load()
    assert {curve.variant for curve in curves} == set(forgetting.VARIANTS)
    end = {name: mean_share(curves, name, 300) for name in forgetting.VARIANTS}
    kept = [end[name] for name in CAUSES]
    assert kept[0] < 0.05  # 512 slots, nothing stopped
    assert kept[1] < 0.05  # slot loss alone
    assert kept[2] < 0.05  # drift alone
    assert kept[3] > 0.95
    assert kept[4] < 0.05  # 128 slots, nothing stopped
    assert kept[5] > 0.95  # slot loss alone
    assert kept[6] < 0.05  # drift alone
    assert kept[7] > 0.95
    assert mean_share(curves, "memory", 5) > mean_share(curves, "sigmoid", 5) + 0.5  # the memory delays it
    assert end["memory, re-encoded and gentle"] < end["memory, rehearsed"] < end["memory + replay"]


def test_old_fakes_of_ordinary_training_are_those_of_the_study():
    runs = forgetting.load_stationary()
    assert [(run.gan, run.seed) for run in runs] == [(gan, seed) for gan in ("memory", "dcgan") for seed in range(6)]
    for run in runs:
        assert len(run.steps) == len(run.rejected) == 10
        assert 0.5 < run.accepted < 0.9


def test_figures_are_drawn_from_the_results():
    curves = load()
    panels = forgetting.small_multiples(curves, CAUSES).axes
    assert [len(axes.lines) for axes in panels] == [4] * 8  # three seeds and their mean
    with pytest.raises(ValueError, match="no curve"):
        forgetting.small_multiples(curves[:3], {"memory": "a memory"})
    lines = forgetting.forgetting_curves(curves, ["sigmoid", "memory"]).axes[0].lines
    assert [line.get_label() for line in lines] == ["sigmoid", "memory"]
    ends = forgetting.forgetting_curves(curves, ["sigmoid", "sigmoid + R1", "memory"]).axes[0].texts
    assert {end.get_text() for end in ends} == {"sigmoid", "sigmoid + R1", "memory"}
    heights = sorted(end.xyann[1] for end in ends)
    assert min(np.diff(heights)) >= 0.079  # names do not overlap
    with pytest.raises(ValueError, match="no curve"):
        forgetting.forgetting_curves(curves, ["an elephant"])
    assert forgetting.kinds_of_digits(kinds(0)).axes

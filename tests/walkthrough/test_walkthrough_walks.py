"""Walks: straight, between ends that the classifier is sure of, and counted as a plain loop counts."""

from types import SimpleNamespace
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from gan_builders import unit_rows

from memgan.lab.evaluation.walks import (
    IN_BETWEEN,
    SURE,
    Ends,
    Walk,
    WalkKind,
    base_rate,
    find_ends,
    in_between,
    pick,
    walk,
    walk_between,
)
from walkthrough.nb01_walk_figures import (
    load_walks,
    middle_figure,
    samples_figure,
    stored_walks_figure,
    walk_figure,
)


class ToyGAN:
    """Its "images" are what it was given: pixel 0 the first number of the key, pixel 1 of the noise."""

    KEYS = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])

    def generate(self, number, *, generator):
        slots = torch.randint(3, (number,), generator=generator)
        noise = torch.rand(number, 2, generator=generator) * 2 - 1
        keys = self.KEYS[slots]
        return SimpleNamespace(images=self.generator(keys, noise), keys=keys, slots=slots, noise=noise)

    def generator(self, keys, noise):
        return torch.stack([keys[:, 0], noise[:, 0], keys[:, 1], noise[:, 1]], dim=1).view(-1, 1, 2, 2)


def by_key(images):
    """A classifier of two classes that goes by the key's first number: sure at 1 and -1, undecided at 0."""
    first = images[:, 0, 0, 0]
    return torch.stack([4 * first, -4 * first], dim=1)


def test_ends_are_confident_samples_of_different_classes():
    ends = find_ends(ToyGAN(), by_key, "keys", pairs=37)
    logits = by_key(ToyGAN().generator(ends.keys.flatten(0, 1), ends.noise.flatten(0, 1)))
    assert ends.keys.shape == (2, 37, 2) and ends.noise.shape == (2, 37, 2)
    assert float(logits.softmax(dim=1).amax(dim=1).min()) >= SURE
    of_first, of_second = logits.argmax(dim=1).chunk(2)
    assert bool((of_first != of_second).all())


def test_ends_inside_a_slot_share_their_key_and_not_their_noise():
    ends = find_ends(ToyGAN(), by_key, "slot", pairs=37)
    assert torch.equal(ends.keys[0], ends.keys[1])
    assert not bool((ends.noise[0] == ends.noise[1]).any())


def test_ends_that_nobody_is_sure_of_are_refused():
    with pytest.raises(ValueError, match="only 0 of 280 pairs"):
        find_ends(ToyGAN(), lambda images: torch.zeros(len(images), 10), "keys", pairs=7)
    with pytest.raises(ValueError, match="kind must be one of"):
        find_ends(ToyGAN(), by_key, "key")


def ends_of_two():
    keys = torch.stack([unit_rows(5, 2, seed=1), unit_rows(5, 2, seed=2)])
    noise = torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return Ends(keys, noise)


@pytest.mark.parametrize("kind", get_args(WalkKind))
def test_walk_goes_straight_through_the_noise_and_stops_at_both_ends(kind):
    ends = ends_of_two()
    images = walk_between(ToyGAN(), by_key, ends, kind, points=7).images
    assert images.shape == (5, 7, 1, 2, 2)
    for place in range(7):
        share = place / 6
        expected = (1 - share) * ends.noise[0] + share * ends.noise[1]
        torch.testing.assert_close(images[:, place, 0, :, 1], expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(images[:, 0, 0, :, 0], ends.keys[0])
    torch.testing.assert_close(images[:, -1, 0, :, 0], ends.keys[1])


def test_switch_has_no_key_in_between_and_the_other_walk_only_keys_on_the_sphere():
    ends = ends_of_two()
    switched = walk_between(ToyGAN(), by_key, ends, "switch", points=5).images[..., 0, :, 0]
    for place in range(5):
        assert torch.equal(switched[:, place], ends.keys[0 if place <= 2 else 1])
    between = walk_between(ToyGAN(), by_key, ends, "keys", points=5).images[..., 0, :, 0]
    torch.testing.assert_close(between.norm(dim=-1), torch.ones(5, 5), rtol=0, atol=1e-6)
    torch.testing.assert_close(between[:, 2], F.normalize(ends.keys.sum(dim=0), dim=1), rtol=0, atol=1e-6)


def test_shares_by_plain_counting():
    confidence = torch.tensor([[0.9, 0.7, 0.95, 0.9], [0.1, 0.79, 0.81, 0.1]])
    walked = Walk(torch.zeros(2, 4, 1, 2, 2), confidence, torch.zeros(2, 4, dtype=torch.long))
    count = sum(float(c) < IN_BETWEEN for row in confidence for c in row[1:-1])
    assert in_between(walked) == count / 4 == 0.5


def test_base_rate_is_the_share_of_slots_that_show_nothing():
    """A third of the toy's samples are of the undecided slot."""
    assert base_rate(ToyGAN(), by_key, samples=3000) == pytest.approx(1 / 3, abs=0.03)


def test_images_are_in_between_on_walks_from_key_to_key_and_not_inside_a_slot():
    assert in_between(walk(ToyGAN(), by_key, "slot")) == 0 < in_between(walk(ToyGAN(), by_key, "keys"))


def test_same_seed_gives_the_same_walks_and_the_global_state_is_left_alone():
    state = torch.get_rng_state()
    one, other = (walk(ToyGAN(), by_key, "keys", pairs=9, seed=4) for _ in range(2))
    assert torch.equal(one.images, other.images)
    assert not torch.equal(one.images, walk(ToyGAN(), by_key, "keys", pairs=9, seed=5).images)
    assert torch.equal(torch.get_rng_state(), state)


def test_walk_is_picked_by_its_least_confident_image():
    confidence = torch.tensor([[0.9, 0.5, 0.9], [0.9, 0.2, 0.9], [0.9, 0.8, 0.9]])
    walked = Walk(torch.zeros(3, 3, 1, 2, 2), confidence, torch.zeros(3, 3, dtype=torch.long))
    assert (pick(walked, 0), pick(walked), pick(walked, 1)) == (1, 0, 2)


def test_figures_say_what_they_show():
    walked = walk(ToyGAN(), by_key, "keys", pairs=9)
    strips = walk_figure({"between keys": walked, "again": walked}, [0, 1])
    assert strips.axes[0].get_title(loc="left") == "between keys"
    assert [text.get_text() for text in strips.axes[1].texts] == [str(int(c)) for c in walked.classes[0]]
    heights = [bar.get_height() for bar in strips.axes[1].patches]
    assert heights == pytest.approx(walked.confidence[0].tolist())


def test_the_stored_walks_are_those_that_the_pictures_show():
    found = load_walks()
    assert len(found["in_between"]) == 11
    assert found["in_between"][0] == found["in_between"][-1] == 0  # the ends are sure
    for confidence, classes in zip(found["confidence"], found["classes"], strict=True):
        assert min(confidence[0], confidence[-1]) >= SURE
        assert classes[0] != classes[-1]
    assert len(stored_walks_figure(found, ["a", "b", "c"]).axes) == 6
    assert len(middle_figure(found).axes[0].get_lines()) >= 3
    assert samples_figure().axes

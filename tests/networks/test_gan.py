"""The joined model and the losses, against numpy and the statistics of scipy."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from gan_builders import random_images, same_state, state_of, tiny_gan, tiny_settings, unit_rows
from torch import nn

from memgan.gan import MemoryGAN, discriminator_loss, generator_loss, information_loss
from memgan.memory import VMFMemory
from memgan.training import Trainer, TrainingSettings


def probabilities(number, seed):
    return torch.rand(number, generator=torch.Generator().manual_seed(seed), dtype=torch.double) * 0.98 + 0.01


# ---------------------------------------------------------------- losses


def test_discriminator_loss_is_the_sum_of_both_cross_entropies():
    real, generated = probabilities(7, seed=0), probabilities(5, seed=1)
    expected = -np.mean(np.log(real.numpy())) - np.mean(np.log1p(-generated.numpy()))
    assert float(discriminator_loss(real, generated)) == pytest.approx(expected, rel=1e-12)


def test_discriminator_loss_where_nothing_can_be_told_apart():
    half = torch.full((7,), 0.5)
    assert float(discriminator_loss(half, half)) == pytest.approx(2 * np.log(2), rel=1e-6)


def test_discriminator_loss_is_minimal_where_d_is_right():
    right, wrong = torch.full((7,), 0.999), torch.full((7,), 0.001)
    assert float(discriminator_loss(right, wrong)) == pytest.approx(-2 * np.log(0.999), rel=1e-3)
    assert float(discriminator_loss(wrong, right)) == pytest.approx(-2 * np.log(0.001), rel=1e-3)


def test_generator_losses():
    generated = probabilities(7, seed=0)
    d = generated.numpy()
    assert float(generator_loss(generated, "saturating")) == pytest.approx(np.mean(np.log1p(-d)), rel=1e-12)
    assert float(generator_loss(generated, "non_saturating")) == pytest.approx(-np.mean(np.log(d)), rel=1e-12)


def test_less_than_no_noise_is_refused():
    gan = tiny_gan()
    with pytest.raises(ValueError, match="noise_dim must be at least 0, got -1"):
        MemoryGAN(gan.memory, gan.inference, gan.generator, noise_dim=-1)


def test_losses_and_bounds_that_there_are_not_are_refused():
    with pytest.raises(ValueError, match=r"kind must be one of .*'non_saturating'.*got 'non-saturating'"):
        generator_loss(probabilities(7, seed=0), "non-saturating")
    gan = tiny_gan()
    made = gan.generate(4)
    with pytest.raises(ValueError, match=r"bound must be one of .*'density'.*got 'densty'"):
        gan.information(made, gan.inference(made.images), "densty")


@pytest.mark.parametrize("kind", ["saturating", "non_saturating"])
def test_generator_losses_fall_when_d_believes_more(kind):
    generated = probabilities(7, seed=0).requires_grad_()
    generator_loss(generated, kind).backward()
    assert bool((generated.grad < 0).all())


def test_saturating_loss_saturates_and_the_other_does_not():
    """d/dD of log(1 - D) is -1/(1-D), of -log D it is -1/D: at D = 0.001 that is about 1 against 1000."""
    slopes = {}
    for kind in ("saturating", "non_saturating"):
        generated = torch.tensor([1e-3], dtype=torch.double, requires_grad=True)
        generator_loss(generated, kind).backward()
        slopes[kind] = float(generated.grad)
    assert slopes == pytest.approx({"saturating": -1 / 0.999, "non_saturating": -1000.0}, rel=1e-9)


@pytest.mark.parametrize("length", [1e-13, 1.0, 3.0])
def test_information_loss_of_queries_of_any_length_by_a_plain_loop(length):
    keys = unit_rows(7, 5).double()
    queries = length * unit_rows(7, 5, seed=1).double()
    kappa = 3.0
    expected = 0.0
    for key, query in zip(keys.tolist(), queries.tolist(), strict=True):
        cosine = sum(a * b for a, b in zip(key, query, strict=True)) / math.hypot(*query)
        expected -= kappa * cosine / 7
    assert float(information_loss(keys, queries, kappa)) == pytest.approx(expected, rel=1e-12)


def test_information_loss_rewards_queries_that_point_at_their_key():
    keys, kappa = unit_rows(7, 5).double(), 13.0
    assert float(information_loss(keys, keys, kappa)) == pytest.approx(-kappa, rel=1e-6)
    assert float(information_loss(keys, -keys, kappa)) == pytest.approx(kappa, rel=1e-6)
    axes = torch.eye(5)
    assert float(information_loss(axes[:2], axes[2:4], kappa)) == 0


# ---------------------------------------------------------------- the model


def gan_with_known_memory():
    """61 slots with histograms all different; those with an even index are real, and some of them are empty."""
    gan = tiny_gan()
    index = torch.arange(61)
    gan.memory.values.copy_((index % 2 == 0).long())
    gan.memory.histogram.copy_((index % 7) * 0.5)
    return gan


def test_generated_images_come_from_the_keys_slots_and_noise_that_are_reported():
    gan = gan_with_known_memory().eval()
    made = gan.generate(23)
    assert made.images.shape == (23, 3, 4, 4) and made.noise.shape == (23, 5) and made.slots.shape == (23,)
    assert torch.equal(made.keys, gan.memory.keys[made.slots])
    torch.testing.assert_close(made.images, gan.generator(made.keys, made.noise), rtol=0, atol=1e-6)


def test_only_real_slots_are_drawn():
    gan = gan_with_known_memory()
    slots = torch.cat([gan.generate(997).slots, gan.sample_slots(997, 1)[1]])
    assert bool((gan.memory.values[slots] == 1).all())
    assert bool((gan.memory.histogram[slots] > 0).all())


def test_slots_are_drawn_in_proportion_to_their_histogram():
    gan = gan_with_known_memory()
    made = gan.generate(20_011, generator=torch.Generator().manual_seed(3))
    counts = np.bincount(made.slots.numpy(), minlength=61)
    weights = np.array([(i % 7) * 0.5 if i % 2 == 0 else 0.0 for i in range(61)])
    drawn = weights > 0
    assert counts[~drawn].sum() == 0
    expected = 20_011 * weights[drawn] / weights.sum()
    assert scipy.stats.chisquare(counts[drawn], expected).pvalue > 1e-3


def test_noise_is_uniform_between_minus_one_and_one():
    made = tiny_gan().generate(4001, generator=torch.Generator().manual_seed(5))
    noise = made.noise.double().numpy()
    assert noise.min() >= -1 and noise.max() < 1
    for dimension in noise.T:
        assert scipy.stats.kstest(dimension, scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-3
    correlation = np.corrcoef(noise.T) - np.eye(5)
    assert np.abs(correlation).max() < 5 / 4001**0.5  # independent across dimensions


def test_noise_does_not_depend_on_the_slot():
    made = gan_with_known_memory().generate(4001, generator=torch.Generator().manual_seed(5))
    correlation = scipy.stats.spearmanr(made.slots.numpy(), made.noise[:, 0].numpy()).statistic
    assert abs(correlation) < 5 / 4001**0.5


def test_a_generator_makes_the_same_draw_again_and_leaves_the_global_state_alone():
    gan, state = tiny_gan().eval(), torch.get_rng_state()
    for draw in (
        lambda: gan.generate(7, generator=torch.Generator().manual_seed(3)),
        lambda: gan.sample_slots(7, 5, generator=torch.Generator().manual_seed(3)),
    ):
        assert all(torch.equal(one, other) for one, other in zip(draw(), draw(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    others = gan.generate(7, generator=torch.Generator().manual_seed(4))
    assert not torch.equal(others.noise, gan.generate(7, generator=torch.Generator().manual_seed(3)).noise)


def test_sampled_slots_share_their_key_and_not_their_noise():
    gan = tiny_gan().eval()
    seen = {}
    original = gan.generator.forward
    gan.generator.forward = lambda keys, noise: seen.update(keys=keys, noise=noise) or original(keys, noise)
    images, slots = gan.sample_slots(7, 5)
    assert images.shape == (7, 5, 3, 4, 4) and slots.shape == (7,) and not images.requires_grad
    keys, noise = seen["keys"].reshape(7, 5, 7), seen["noise"].reshape(7, 5, 5)
    for row in range(7):
        for column in range(5):
            assert torch.equal(keys[row, column], gan.memory.keys[slots[row]])
            image = original(keys[row, column].unsqueeze(0), noise[row, column].unsqueeze(0))[0]
            torch.testing.assert_close(images[row, column], image, rtol=0, atol=1e-6)
    assert len(seen["noise"].unique(dim=0)) == 35


def test_distinct_slots_come_once_and_as_often_as_a_draw_without_replacement_says():
    """Oracle: numpy's choice without replacement, one slot after the other."""
    gan = gan_with_known_memory()
    probabilities = gan.slot_probabilities().double()
    there = int((probabilities > 0).sum())
    images, slots = gan.sample_slots(there, 2, distinct=True)
    assert images.shape[:2] == (there, 2) and len(slots.unique()) == there
    assert bool((probabilities[slots] > 0).all())
    with pytest.raises(ValueError, match=f"at most {there} distinct slots.*got {there + 1}"):
        gan.sample_slots(there + 1, 2, distinct=True)

    generator = torch.Generator().manual_seed(0)
    ours = np.zeros(61)
    for _ in range(2000):
        ours[gan._distinct_slots(5, generator).numpy()] += 1
    oracle = np.zeros(61)
    random = np.random.default_rng(0)
    chance = probabilities.numpy() / float(probabilities.sum())
    for _ in range(2000):
        oracle[random.choice(61, 5, replace=False, p=chance)] += 1
    assert np.abs(ours - oracle).max() < 5 * (2 * 2000 * 0.5 * 0.5) ** 0.5


def test_many_images_of_slots_are_those_that_each_key_and_noise_give():
    gan = tiny_gan().eval()
    seen = []
    original = gan.generator.forward
    gan.generator.forward = lambda keys, noise: seen.append((keys, noise)) or original(keys, noise)
    images, _ = gan.sample_slots(50, 100)
    assert len(seen) > 1  # in parts
    keys = torch.cat([part for part, _ in seen])
    noise = torch.cat([part for _, part in seen])
    torch.testing.assert_close(images.flatten(0, 1), original(keys, noise), rtol=0, atol=1e-5)


def test_generated_images_carry_a_gradient_in_training_mode_only():
    gan = tiny_gan()
    assert gan.train().generate(3).images.requires_grad
    assert not gan.eval().generate(3).images.requires_grad
    with torch.no_grad():
        assert not gan.train().generate(3).images.requires_grad


def test_generating_and_discriminating_leave_the_memory_alone():
    gan = tiny_gan()
    before = state_of(gan.memory)
    generator = torch.Generator().manual_seed(0)  # not by chance: such a tiny G draws plain grey once in 100 batches
    gan.discriminate(gan.generate(7, generator=generator).images)
    gan.sample_slots(7, 5, generator=generator)
    assert same_state(gan.memory, before)


def test_discriminate_reads_the_memory_at_the_query():
    """Against the plain reading of (6): all slots, exp and sums in float64."""
    gan = tiny_gan(memory={"top_k": 61}).eval()
    gan.memory.histogram.copy_(torch.arange(1, 62) / 7)
    images = random_images(7)
    queries = gan.inference(images).detach().double().numpy()
    keys, values = gan.memory.keys.double().numpy(), gan.memory.values.numpy()
    weights = np.exp(11.0 * queries @ keys.T) * (np.arange(1, 62) / 7 + 1e-8)
    expected = (weights * values).sum(axis=1) / weights.sum(axis=1)
    np.testing.assert_allclose(gan.discriminate(images).detach().numpy(), expected, rtol=0, atol=1e-5)


def test_checkpoint_holds_both_networks_and_the_memory():
    names = set(tiny_gan().state_dict())
    assert {"memory.keys", "memory.values", "memory.ages", "memory.histogram"} <= names
    assert {name.split(".")[0] for name in names} == {"memory", "inference", "generator"}


# ---------------------------------------------------------------- modules of one's own


class Encoder(nn.Module):
    """Features of any length, without normalisation."""

    def __init__(self, length=1.0):
        super().__init__()
        self.layer = nn.Linear(48, 7)
        self.length = length

    def forward(self, images):
        return self.length * self.layer(images.flatten(1))


class Decoder(nn.Module):
    """Images of keys and noise; it does not say how much noise it takes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(7 + 2, 48)

    def forward(self, keys, noise):
        return self.layer(torch.cat([keys, noise], dim=1)).tanh().unflatten(1, (3, 4, 4))


def own_gan(length=1.0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        memory = VMFMemory(num_slots=61, key_dim=7, top_k=5, kappa=11.0)
        return MemoryGAN(memory, Encoder(length), Decoder(), noise_dim=2)


def test_parts_are_the_modules_that_were_given():
    memory, encoder, decoder = VMFMemory(61, 7, 5), Encoder(), Decoder()
    gan = MemoryGAN(memory, encoder, decoder, noise_dim=np.int64(2))
    assert gan.memory is memory and gan.inference is encoder and gan.generator is decoder
    assert gan.noise_dim == 2 and gan.image_shape is None
    assert gan.generate(11).images.shape == (11, 3, 4, 4)


def test_a_model_of_ones_own_modules_trains():
    torch.manual_seed(0)
    gan = own_gan()
    before = state_of(gan)
    steps = list(Trainer(gan, random_images(23), TrainingSettings(steps=5, batch_size=11)))
    assert all(bool(step.discriminator_loss.isfinite()) for step in steps)
    assert gan.image_shape == (3, 4, 4)
    after = gan.state_dict()
    for name in ("inference.layer.weight", "generator.layer.weight", "memory.keys"):
        assert not torch.equal(before[name], after[name]), name


@pytest.mark.parametrize("length", [1e-3, 20.0])
def test_length_of_the_features_does_not_matter(length):
    """Neither to D nor to the information term, which would otherwise reward long features without end."""
    plain, scaled = own_gan(), own_gan(length)
    images, made = random_images(11), plain.generate(11, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(scaled.discriminate(images), plain.discriminate(images), rtol=1e-4, atol=1e-6)
    plain_queries, scaled_queries = plain.inference(images), scaled.inference(images)
    for bound in ("density", "posterior"):
        expected = plain.information(made, plain_queries, bound)
        torch.testing.assert_close(scaled.information(made, scaled_queries, bound), expected, rtol=1e-4, atol=1e-6)


def test_density_is_kappa_times_the_mean_cosine_between_key_and_query():
    gan = own_gan()
    made = gan.generate(11, generator=torch.Generator().manual_seed(0))
    queries = gan.inference(made.images)
    expected = -11 * F.cosine_similarity(made.keys, queries).mean()  # kappa is 11
    torch.testing.assert_close(gan.information(made, queries, "density"), expected, rtol=1e-4, atol=1e-6)


def test_posterior_is_the_cross_entropy_of_the_slot_among_the_real_ones():
    """As a classifier of slots whose classes are the real slots and whose logits are the scores of (4)."""
    gan = own_gan()
    gan.memory.histogram.copy_(torch.rand(61, generator=torch.Generator().manual_seed(1)) + 0.1)
    made = gan.generate(11, generator=torch.Generator().manual_seed(0))
    queries = gan.inference(made.images)
    real = gan.memory.values.nonzero()[:, 0]
    logits = 11 * F.normalize(queries, dim=1) @ gan.memory.keys[real].T + (gan.memory.histogram[real] + 1e-8).log()
    place_among_real = torch.searchsorted(real, made.slots)
    expected = F.cross_entropy(logits, place_among_real)
    torch.testing.assert_close(gan.information(made, queries, "posterior"), expected, rtol=1e-4, atol=1e-6)


def test_noise_dim_that_nobody_gives_is_asked_for():
    with pytest.raises(TypeError, match="Decoder does not say its noise_dim: give the model"):
        MemoryGAN(VMFMemory(61, 7, 5), Encoder(), Decoder())


def test_settings_in_the_place_of_modules_are_refused_with_the_way_to_use_them():
    settings = tiny_settings()
    with pytest.raises(TypeError, match="MemoryGAN.from_settings builds a model from settings"):
        MemoryGAN(settings.memory, settings.networks, Decoder())
    with pytest.raises(TypeError, match="inference must be a torch.nn.Module, got NetworkSettings"):
        MemoryGAN(VMFMemory(61, 7, 5), settings.networks, Decoder())


def test_a_model_from_settings_has_the_parts_that_they_describe():
    settings = tiny_settings()
    gan = MemoryGAN.from_settings(settings.memory, settings.networks)
    assert gan.memory.settings == settings.memory
    assert gan.noise_dim == 5 and gan.image_shape == (3, 4, 4)


def test_slots_in_use_is_the_exponential_of_the_entropy_of_how_often_they_are_drawn():
    gan = gan_with_known_memory()
    probabilities = gan.slot_probabilities().numpy()
    weights = np.array([(i % 7) * 0.5 if i % 2 == 0 else 0.0 for i in range(61)])
    np.testing.assert_allclose(probabilities, weights / weights.sum(), rtol=1e-12)
    assert float(gan.slots_in_use()) == pytest.approx(np.exp(scipy.stats.entropy(weights)), rel=1e-12)


def test_parts_in_the_wrong_order_are_refused():
    with pytest.raises(TypeError, match=r"MemoryGAN\(memory, inference, generator\), got a Encoder"):
        MemoryGAN(Encoder(), VMFMemory(61, 7, 5), Decoder(), noise_dim=2)


def test_bytes_are_no_images_for_the_model():
    with pytest.raises(TypeError, match=r"torch\.uint8"):
        tiny_gan().discriminate(torch.zeros(3, 3, 4, 4, dtype=torch.uint8))


def test_information_needs_a_query_for_each_key():
    with pytest.raises(ValueError, match=r"\[7, 5\] and queries \[3, 5\]"):
        information_loss(unit_rows(7, 5), unit_rows(3, 5), 1.0)

"""The two networks: shapes, ranges and refused sizes."""

import dataclasses

import pytest
import torch
from gan_builders import random_images, unit_rows

from memgan.networks import Generator, InferenceNetwork, NetworkSettings
from memgan.settings import PRESETS

# METHOD.md, section 6
AUTHORS = {"fashion-mnist": (28, 1, 256, 2, 64, 1024), "affine-mnist": (40, 1, 256, 2, 64, 1024)}

SIZES = {
    "one stage": NetworkSettings(image_size=6, channels=3, width=5, stages=1, hidden=0, noise_dim=7),
    "two stages": NetworkSettings(image_size=12, channels=2, width=3, stages=2, hidden=11, noise_dim=5),
    "three stages": NetworkSettings(image_size=40, channels=1, width=3, stages=3, hidden=0, noise_dim=1),
    "odd innermost side": NetworkSettings(image_size=28, channels=5, width=2, stages=2, hidden=13, noise_dim=3),
}
sizes = pytest.mark.parametrize("settings", SIZES.values(), ids=SIZES.keys())


def images_for(settings, number, seed=0):
    return random_images(number, seed=seed, channels=settings.channels, side=settings.image_size)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_maps_images_to_queries_and_keys_to_images(name):
    preset = PRESETS[name]
    networks, key_dim = preset.networks, preset.memory.key_dim
    shape = (3, networks.channels, networks.image_size, networks.image_size)
    assert InferenceNetwork(networks, key_dim)(images_for(networks, 3)).shape == (3, key_dim)
    noise = torch.zeros(3, networks.noise_dim)
    assert Generator(networks, key_dim)(unit_rows(3, key_dim), noise).shape == shape


@pytest.mark.parametrize("name", sorted(AUTHORS))
def test_presets_at_the_authors_size_have_the_published_numbers(name):
    networks = PRESETS[name].networks
    sizes = (networks.image_size, networks.channels, PRESETS[name].memory.key_dim, networks.noise_dim)
    assert (*sizes, networks.width, networks.hidden) == AUTHORS[name]


@sizes
def test_shapes_with_every_dimension_a_different_number(settings):
    batch, key_dim = 17, 19
    queries = InferenceNetwork(settings, key_dim)(images_for(settings, batch))
    assert queries.shape == (batch, key_dim)
    images = Generator(settings, key_dim)(unit_rows(batch, key_dim), torch.zeros(batch, settings.noise_dim))
    assert images.shape == (batch, settings.channels, settings.image_size, settings.image_size)


@sizes
@pytest.mark.parametrize("training", [True, False])
def test_queries_have_unit_length(settings, training):
    network = InferenceNetwork(settings, key_dim=19).train(training)
    lengths = network(images_for(settings, 17)).double().pow(2).sum(dim=1)
    torch.testing.assert_close(lengths, torch.ones(17, dtype=torch.double), rtol=0, atol=1e-6)


@sizes
def test_images_stay_in_range_even_with_huge_weights(settings):
    network = Generator(settings, key_dim=19)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(100)
    images = network(unit_rows(17, 19), torch.rand(17, settings.noise_dim) * 2 - 1)
    assert images.min() >= -1 and images.max() <= 1
    assert images.min() < -0.9 and images.max() > 0.9  # the range is used, not only kept


@sizes
def test_images_depend_on_the_key_and_on_the_noise(settings):
    network = Generator(settings, key_dim=19).eval()
    keys, noise = unit_rows(2, 19), torch.full((2, settings.noise_dim), 0.5)
    same = network(keys[:1].expand(2, -1), noise)
    torch.testing.assert_close(same[0], same[1], rtol=0, atol=1e-6)  # a function of its two inputs only
    by_key = network(keys, noise)
    by_noise = network(keys[:1].expand(2, -1), noise * torch.tensor([[1.0], [-1.0]]))
    for pair in (by_key, by_noise):
        assert (pair[0] - pair[1]).abs().max() > 100 * (same[0] - same[1]).abs().max()
        assert not torch.equal(pair[0], pair[1])


def test_queries_do_not_depend_on_the_rest_of_the_batch_in_evaluation_mode():
    settings = SIZES["two stages"]
    network, images = InferenceNetwork(settings, key_dim=19).eval(), images_for(settings, 7)
    alone = torch.cat([network(image.unsqueeze(0)) for image in images])
    torch.testing.assert_close(network(images), alone, rtol=1e-5, atol=1e-6)


@sizes
def test_gradient_reaches_every_parameter_of_both_networks(settings):
    inference, generator = InferenceNetwork(settings, key_dim=19), Generator(settings, key_dim=19)
    noise = torch.rand(17, settings.noise_dim) * 2 - 1
    queries = inference(generator(unit_rows(17, 19), noise))
    (queries * unit_rows(17, 19, seed=1)).sum().backward()
    for network in (inference, generator):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_initial_weights_are_those_of_dcgan():
    """N(0, 0.02), to five standard errors of the mean and of the standard deviation of all weights."""
    settings = NetworkSettings(image_size=28, width=64, hidden=64)
    for network in (InferenceNetwork(settings, 64), Generator(settings, 64)):
        weights = torch.cat([p.detach().flatten() for p in network.parameters() if p.ndim > 1])
        assert len(weights) > 100_000
        assert float(weights.std()) == pytest.approx(0.02, rel=5 / (2 * len(weights)) ** 0.5)
        assert abs(float(weights.mean())) < 5 * 0.02 / len(weights) ** 0.5


@pytest.mark.parametrize(("image_size", "stages"), [(28, 3), (15, 1), (10, 2), (1, 1)])
def test_sizes_that_do_not_halve_evenly_are_refused(image_size, stages):
    with pytest.raises(ValueError, match=rf"divisible by 2\^stages = {2**stages}, got {image_size}"):
        NetworkSettings(image_size=image_size, stages=stages)


@pytest.mark.parametrize(
    "field", ["image_size=0", "image_size=-4", "channels=0", "width=0", "width=-1", "stages=0", "hidden=-1"]
)
def test_sizes_that_give_no_network_are_refused(field):
    name, number = field.split("=")
    with pytest.raises(ValueError, match=name):
        NetworkSettings(**{"image_size": 16, name: int(number)})


def test_negative_noise_dimension_is_refused():
    with pytest.raises(ValueError, match="noise_dim"):
        NetworkSettings(image_size=16, noise_dim=-1)


def test_settings_cannot_be_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        NetworkSettings(image_size=16).width = 3

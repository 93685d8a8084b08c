"""The two networks: shapes, ranges and refused sizes."""

import dataclasses
import functools

import pytest
import torch
import torch.nn.functional as F
from gan_builders import random_images, unit_rows

from memgan.networks import ContiguousConv2d, Generator, InferenceNetwork, NetworkSettings, ResidualBlock, detached_copy
from memgan.presets import PRESETS

# METHOD.md, section 6: pixels, channels, M, Z, width, units of the fully connected layer
AUTHORS = {
    "mnist": (28, 1, 256, 2, 64, 1024),
    "fashion-mnist": (28, 1, 256, 2, 64, 1024),
    "affine-mnist": (40, 1, 256, 2, 64, 1024),
    "cifar10": (32, 3, 512, 16, 128, 0),
}

SIZES = {
    "one stage": NetworkSettings(image_size=6, channels=3, width=5, stages=1, hidden=0, noise_dim=7),
    "two stages": NetworkSettings(image_size=12, channels=2, width=3, stages=2, hidden=11, noise_dim=5),
    "three stages": NetworkSettings(image_size=40, channels=1, width=3, stages=3, hidden=0, noise_dim=1),
    "odd innermost side": NetworkSettings(image_size=28, channels=5, width=2, stages=2, hidden=13, noise_dim=3),
    "residual, two stages": NetworkSettings(20, channels=2, width=7, stages=2, hidden=0, noise_dim=5, kind="residual"),
    "residual, three stages": NetworkSettings(
        24, channels=3, width=5, stages=3, hidden=0, noise_dim=2, kind="residual"
    ),
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
    residual = NetworkSettings(image_size=32, channels=3, width=16, stages=3, hidden=0, noise_dim=16, kind="residual")
    networks = [kind(each, 64) for each in (settings, residual) for kind in (InferenceNetwork, Generator)]
    for network in networks:
        weights = torch.cat([p.detach().flatten() for p in network.parameters() if p.ndim > 1])
        assert len(weights) > 20_000
        assert float(weights.std()) == pytest.approx(0.02, rel=5 / (2 * len(weights)) ** 0.5)
        assert abs(float(weights.mean())) < 5 * 0.02 / len(weights) ** 0.5


def parameters_of(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_residual_networks_have_the_parameters_of_the_authors_layers():
    """Counted from the list of layers in the authors' code, C channels, layer normalisation with 2 C parameters."""
    c, features, key_dim = 128, 512 + 16, 512
    three, one, norm = 9 * c * c, c * c, 2 * c
    plain = three + norm + three + c + norm  # no bias before a normalisation
    resampling = plain + one + c
    start = features * 16 * c + 2 * 16 * c  # to 4x4xC, normalised over all of it
    settings = PRESETS["cifar10"].networks
    assert parameters_of(Generator(settings, key_dim)) == start + 3 * resampling + 9 * c * 3 + 3
    on_images = 9 * 3 * c + c + three + c + 3 * c + c + norm
    query = 16 * c * key_dim + key_dim
    assert parameters_of(InferenceNetwork(settings, key_dim)) == on_images + resampling + 2 * plain + query


def test_residual_networks_halve_and_double_as_the_authors_do():
    """Sides of the images between blocks: 32 -> 16 -> 8, then two plain blocks; 4 -> 8 -> 16 -> 32."""
    settings = NetworkSettings(image_size=32, channels=3, width=16, stages=3, hidden=0, noise_dim=16, kind="residual")
    sides = []
    networks = InferenceNetwork(settings, 64), Generator(settings, 64)
    for block in (module for network in networks for module in network.modules() if isinstance(module, ResidualBlock)):
        block.register_forward_hook(lambda _, inputs, output: sides.append((inputs[0].shape[-1], output.shape[-1])))
    networks[0](networks[1](unit_rows(1, 64), torch.zeros(1, 16)))
    assert sides == [(4, 8), (8, 16), (16, 32), (32, 16), (16, 8), (8, 8), (8, 8)]


def layer_norm(images, module):
    """Over channels and pixels of each image, then scale and shift by channel."""
    mean, variance = images.mean(dim=(1, 2, 3), keepdim=True), images.var(dim=(1, 2, 3), keepdim=True, unbiased=False)
    return (images - mean) / (variance + 1e-5).sqrt() * module.weight.view(-1, 1, 1) + module.bias.view(-1, 1, 1)


def elu(images):
    return torch.where(images > 0, images, images.exp() - 1)


def doubled(images):
    return images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def mean_pooled(images):
    return (images[..., ::2, ::2] + images[..., 1::2, ::2] + images[..., ::2, 1::2] + images[..., 1::2, 1::2]) / 4


@pytest.mark.parametrize("resample", ["up", "down", ""])
@torch.no_grad()
def test_a_residual_block_is_the_authors_formula(resample):
    """Their shortcut resamples on the side where the image is large: here it must only come to the same."""
    torch.manual_seed(0)
    block = ResidualBlock(5, 5, resample).double()
    for parameter in block.parameters():
        parameter.normal_()
    (first,), (second,) = ([m for m in block.body if isinstance(m, torch.nn.Conv2d)][i : i + 1] for i in (0, 1))
    (inner,) = (m for m in block.body if isinstance(m, torch.nn.GroupNorm))
    images = torch.randn(3, 5, 8, 12, dtype=torch.double)
    before = doubled if resample == "up" else lambda x: x
    after = mean_pooled if resample == "down" else lambda x: x
    body = elu(layer_norm(F.conv2d(before(images), first.weight, padding=1), inner))
    body = after(F.conv2d(body, second.weight, second.bias, padding=1))
    shortcut = images
    if resample:
        (one,) = (m for m in block.shortcut if isinstance(m, torch.nn.Conv2d))
        shortcut = after(F.conv2d(before(images), one.weight, one.bias))
    torch.testing.assert_close(block(images), elu(layer_norm(body + shortcut, block.output[0])))


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


@pytest.mark.parametrize("change", [{"hidden": 7}, {"stages": 1}])
def test_residual_networks_of_other_shapes_are_refused(change):
    with pytest.raises(ValueError, match="residual networks have two stages or more and hidden = 0, got "):
        NetworkSettings(**{"image_size": 16, "hidden": 0, "kind": "residual", **change})


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"kind must be one of \('dcgan', 'residual'\), got 'transformer'"):
        NetworkSettings(16, kind="transformer")


def test_negative_noise_dimension_is_refused():
    with pytest.raises(ValueError, match="noise_dim"):
        NetworkSettings(image_size=16, noise_dim=-1)


def test_settings_cannot_be_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        NetworkSettings(image_size=16).width = 3


@pytest.mark.parametrize("normalise", [torch.nn.utils.spectral_norm, torch.nn.utils.parametrizations.spectral_norm])
def test_a_network_that_was_just_trained_under_spectral_normalisation_can_be_copied(normalise):
    torch.manual_seed(0)
    network = torch.nn.Sequential(normalise(torch.nn.Linear(3, 5)), torch.nn.Linear(5, 2))
    inputs = torch.randn(7, 3)
    network(inputs).sum().backward()
    copied = detached_copy(network).eval()
    expected = network.eval()(inputs)
    torch.nn.init.zeros_(network[1].weight)
    torch.testing.assert_close(copied(inputs), expected)


# ---------------------------------------------------------------- the layer that makes images of one channel


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_layer_that_makes_images_of_one_channel_is_a_transposed_convolution_with_all_its_derivatives(layout):
    layer = Generator(SIZES["three stages"], key_dim=5).double().layers[-2]
    assert layer.out_channels == 1
    torch.nn.init.normal_(layer.bias)
    transposed = functools.partial(F.conv_transpose2d, weight=layer.weight, bias=layer.bias, stride=2, padding=1)
    generator = torch.Generator().manual_seed(0)
    shape = (2, layer.in_channels, 20, 14)
    inputs = torch.randn(shape, generator=generator, dtype=torch.float64).contiguous(memory_format=layout)
    inputs.requires_grad_()
    results = []
    for compute in (layer, transposed):
        made = compute(inputs)
        weighted = (made * torch.linspace(-1, 1, made.numel(), dtype=made.dtype).view_as(made)).square().sum()
        first = torch.autograd.grad(weighted, [inputs, layer.weight, layer.bias], create_graph=True)
        second = torch.autograd.grad(first[0].square().sum(), [inputs, layer.weight])
        results.append([made, *first, *second])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- layouts


@pytest.mark.parametrize("name", ["two stages", "three stages"])
def test_gradients_come_to_each_layer_of_a_dcgan_encoder_in_the_layout_of_its_features(name):
    """Where the layouts differ, activations are many times as slow on a CPU."""
    settings = SIZES[name]
    encoder = InferenceNetwork(settings, key_dim=5).to(memory_format=torch.channels_last)
    layouts = []

    def note_layouts(layer, inputs, features):
        features.register_hook(lambda gradient: layouts.append((type(layer), features.stride(), gradient.stride())))

    slow = (torch.nn.BatchNorm2d, torch.nn.LeakyReLU)
    for layer in encoder.layers:
        if isinstance(layer, slow):
            layer.register_forward_hook(note_layouts)
    images = images_for(settings, 4).contiguous(memory_format=torch.channels_last)
    encoder(images).square().sum().backward()
    assert len(layouts) == sum(isinstance(layer, slow) for layer in encoder.layers)
    for layer, of_features, of_gradient in layouts:
        assert of_gradient == of_features, layer


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_layer_before_features_are_flattened_is_a_convolution_with_all_its_derivatives(layout):
    layer = ContiguousConv2d(3, 5, kernel_size=4, stride=2, padding=1).double().to(memory_format=layout)
    convolution = functools.partial(F.conv2d, weight=layer.weight, bias=layer.bias, stride=2, padding=1)
    images = torch.randn(2, 3, 8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=layout).requires_grad_()
    results = []
    for compute in (layer, convolution):
        features = compute(images)
        first = torch.autograd.grad(features.pow(3).sum(), [images, layer.weight], create_graph=True)
        second = torch.autograd.grad(first[0].square().sum(), [images, layer.weight])
        results.append([features, *first, *second])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    assert results[0][0].is_contiguous()


@pytest.mark.parametrize("kind", ["dcgan", "residual"])
def test_queries_are_spread_on_demand(kind):
    """The features of a batch have mean 0 and variance 1, and there is no weight more."""
    settings = NetworkSettings(image_size=16, channels=3, width=8, stages=2, hidden=0, noise_dim=4, kind=kind)
    images = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    networks = {}
    for spreads in (False, True):
        torch.manual_seed(0)
        networks[spreads] = InferenceNetwork(dataclasses.replace(settings, spread_queries=spreads), 12)
    plain, spread = (networks[spreads].layers(images) for spreads in (False, True))
    expected = (plain - plain.mean(dim=0)) / (plain.var(dim=0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(spread, expected, rtol=1e-3, atol=1e-4)
    assert networks[True](images).norm(dim=1).allclose(torch.ones(64))
    number = [sum(weight.numel() for weight in network.parameters()) for network in networks.values()]
    assert number[0] == number[1]


def test_spread_queries_is_true_or_false():
    with pytest.raises(ValueError, match="spread_queries"):
        NetworkSettings(image_size=16, spread_queries="yes")

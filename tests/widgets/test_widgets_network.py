"""Networks in the page: what JavaScript computes from float16 weights against what PyTorch computes."""

import base64
import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm

from memgan.lab.baselines.models import build_model
from memgan.lab.evaluation.classifier import Classifier
from memgan.presets import PRESETS
from memgan.runs import build
from memgan.widgets.base import script
from memgan.widgets.export import export_gan, export_generator, export_network
from tests.browser import chromium

pytestmark = pytest.mark.thorough

# One preset for each shape of network: those with the published rule have the networks of their neighbours
DISTINCT = {(preset.networks, preset.memory.key_dim): name for name, preset in reversed(PRESETS.items())}

IN_PAGE = """async ([source, exported, inputs]) => {
  const module = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const bytes = Uint8Array.from(atob(exported.weights), (letter) => letter.charCodeAt(0));
  const network = new module.Network({ ...exported, weights: new DataView(bytes.buffer) });
  const outputs = inputs.map((input) => {
    const bytes = new Uint8Array(Float32Array.from(network.forward(Float32Array.from(input))).buffer);
    return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  });
  const milliseconds = inputs.map((input) => {
    const start = performance.now();
    network.forward(Float32Array.from(input));
    return performance.now() - start;
  });
  return { outputs, milliseconds: milliseconds.sort((a, b) => a - b)[inputs.length >> 1] };
}"""


@pytest.fixture(scope="module")
def page():
    with chromium() as browser:
        yield browser.new_page()


def in_page(page, exported, inputs):
    """Outputs [n, ...] of the network in the browser for inputs [n, ...], and the median milliseconds of one."""
    exported = {"layers": exported["layers"], "weights": base64.b64encode(exported["weights"]).decode()}
    result = page.evaluate(IN_PAGE, [script("network.js"), exported, inputs.flatten(1).tolist()])
    outputs = [np.frombuffer(base64.b64decode(output), dtype="<f4") for output in result["outputs"]]
    return torch.from_numpy(np.stack(outputs)), result["milliseconds"]


def lived_in(network, inputs):
    """The network with weights and batch statistics unlike those it was born with, in evaluation mode."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")  # outputs of order 1, so that errors show
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    network.train()
    network(inputs)
    return network.eval()


@pytest.mark.parametrize(
    "preset",
    [n if "slim" in n or n == "digits" else pytest.param(n, marks=pytest.mark.slow) for n in sorted(DISTINCT.values())],
)
@torch.no_grad()
def test_generator_of_each_preset_draws_what_pytorch_draws(page, preset):
    torch.manual_seed(0)
    gan = build(PRESETS[preset])
    keys, noise = gan.memory.keys[:16], torch.rand(16, gan.noise_dim) * 2 - 1
    inputs = torch.cat([keys, noise], dim=1)
    lived_in(gan.generator.layers, inputs)
    last = gan.generator.layers[-2]  # before tanh: as spread as in a trained model, where few pixels are grey
    last.weight /= gan.generator.layers[:-1](inputs).std()
    expected = gan.generator(keys[:3], noise[:3])
    drawn, _ = in_page(page, export_gan(gan), inputs[:3])
    assert expected.std() > 0.3
    assert (drawn.view_as(expected) - expected).abs().max() < 2e-3


@pytest.mark.parametrize("name", ["dcgan", "infogan", "no-mcgn"])
@torch.no_grad()
def test_generator_of_each_baseline_draws_what_pytorch_draws(page, name):
    torch.manual_seed(0)
    gan = build_model(PRESETS["digits"].changed([f"model={name}"])).eval()
    generated = gan.generate(3)
    exported = export_generator(gan)
    key = generated.keys[:, : exported["key_dim"]]
    drawn, _ = in_page(page, exported, torch.cat([key, generated.noise], dim=1))
    assert (drawn.view_as(generated.images) - generated.images).abs().max() < 2e-3


@pytest.mark.parametrize(("channels", "size"), [(1, 16), (3, 28)])
@torch.no_grad()
def test_classifier_answers_as_pytorch_answers(page, channels, size):
    torch.manual_seed(0)
    images = torch.rand(32, channels, size, size) * 2 - 1
    classifier = lived_in(Classifier(channels, (size, size), 10), images)
    expected = classifier(images[:4])
    answers, _ = in_page(
        page, export_network(nn.Sequential(classifier.features, classifier.head), images[:1]), images[:4]
    )
    assert (answers - expected).abs().max() < 2e-3 * expected.abs().max()


class Twice(nn.Module):
    """Three paths whose results are added up, the middle one through the first."""

    def __init__(self, first, second, third):
        super().__init__()
        self.first, self.second, self.third = first, second, third

    def forward(self, values):
        once = self.first(values)
        return self.third(values) + (self.second(once) + once)


class Applied(nn.Module):
    """What `compute` makes of its modules and an input."""

    def __init__(self, compute, *parts):
        super().__init__()
        self.compute = compute
        self.parts = nn.ModuleList(parts)

    def forward(self, values):
        return self.compute(self.parts, values)


def doubled(parts, values):
    once = parts[0](values)
    return once + once


def read_before_it_is_changed(parts, values):
    once = parts[0](values)
    beside = parts[1](once)
    return beside + parts[2](once)


@pytest.mark.parametrize(
    "network",
    [
        Twice(nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 5, 1), nn.Conv2d(3, 5, 5, padding=2)),
        Twice(nn.Sequential(nn.Upsample(scale_factor=2), nn.ELU(0.7)), nn.GroupNorm(1, 3), nn.Upsample(scale_factor=2)),
        nn.Sequential(nn.Conv2d(3, 7, 4, stride=3, padding=2), nn.BatchNorm2d(7), nn.Flatten(), nn.LayerNorm(7 * 15)),
        nn.Sequential(nn.ConvTranspose2d(3, 2, 5, stride=3, padding=1), nn.ELU()),
        Applied(doubled, nn.Conv2d(3, 2, 3)),
        Applied(read_before_it_is_changed, nn.Conv2d(3, 2, 3), nn.Conv2d(2, 2, 1), nn.LeakyReLU(0.2, inplace=True)),
        nn.Sequential(nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(3, 2, 3), nn.ReLU(inplace=True)),
        nn.Sequential(nn.UpsamplingNearest2d(scale_factor=2), nn.Conv2d(3, 2, 3)),
    ],
    ids=["sums", "resampled", "odd sizes", "transposed", "doubled", "changed last", "in place", "nearest"],
)
@torch.no_grad()
def test_small_networks_of_every_layer_answer_as_pytorch_answers(page, network):
    torch.manual_seed(0)
    images = torch.randn(11, 3, 13, 7) * 2 + 1
    lived_in(network, images.clone())
    expected = network(images[:2].clone())  # into which a layer may write
    answers, _ = in_page(page, export_network(network, images[:1]), images[:2])
    assert (answers.view_as(expected) - expected).abs().max() < 2e-3 * expected.abs().max()


class Negative(nn.Module):
    """A parametrization of one's own."""

    def forward(self, weight):
        return -weight


REPARAMETRISED = {
    "spectral norm": parametrizations.spectral_norm,
    "weight norm": parametrizations.weight_norm,
    "orthogonal": parametrizations.orthogonal,
    "of one's own": lambda layer: parametrize.register_parametrization(layer, "weight", Negative()),
    "of the bias": lambda layer: parametrize.register_parametrization(layer, "bias", Negative()),
    "spectral norm as a hook": spectral_norm,
    "weight norm as a hook": nn.utils.weight_norm,
    "pruning": lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
}
of_each_kind = pytest.mark.parametrize("reparametrise", REPARAMETRISED.values(), ids=REPARAMETRISED)


def numbers_of(exported):
    return np.frombuffer(exported["weights"], dtype="<f2")


@of_each_kind
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_weights_are_those_that_the_layer_computes_with(reparametrise):
    """A linear layer is known from what it makes of 0 and of the unit vectors."""
    torch.manual_seed(0)
    layer = nn.Linear(5, 3)
    reparametrise(layer)
    network = nn.Sequential(layer)
    network(torch.randn(7, 5)).sum().backward()  # hooks keep a weight with a history from here on
    exported = export_network(network, torch.zeros(1, 5))
    with torch.no_grad():
        bias = network.eval()(torch.zeros(1, 5))
        weight = (network(torch.eye(5)) - bias).T
    expected = torch.cat([weight.flatten(), bias.flatten()])
    np.testing.assert_allclose(numbers_of(exported), expected.numpy(), atol=2e-3)


@of_each_kind
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_exporting_takes_no_parametrization_from_the_network(reparametrise):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3))
    reparametrise(network[0])
    names = [name for name, _ in network.named_parameters()]
    inputs = torch.randn(7, 5)
    network(inputs)
    expected = network.eval()(inputs)
    export_network(network.train(), torch.zeros(1, 5))
    assert [name for name, _ in network.named_parameters()] == names
    assert network.training
    assert torch.equal(network.eval()(inputs), expected)


def test_a_generator_under_spectral_normalisation_is_shown(page):
    torch.manual_seed(0)
    gan = build(PRESETS["digits"])
    for layer in gan.generator.modules():
        if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
            parametrizations.spectral_norm(layer)
    generated = gan.eval().generate(3)
    inputs = torch.cat([generated.keys, generated.noise], dim=1)
    drawn, _ = in_page(page, export_gan(gan), inputs)
    assert (drawn.view_as(generated.images) - generated.images).abs().max() < 2e-3


@pytest.mark.parametrize("register", [nn.Module.register_forward_hook, nn.Module.register_forward_pre_hook])
def test_a_hook_that_changes_values_is_refused_and_one_that_looks_is_not(register):
    seen = []
    layer = nn.Linear(2, 2)
    register(layer, lambda module, *values: seen.append(values))
    export_network(nn.Sequential(layer), torch.zeros(1, 2))
    register(layer, lambda module, inputs, *outputs: 2 * (outputs or inputs)[0])
    with pytest.raises(ValueError, match="a hook changes what a layer computes"):
        export_network(nn.Sequential(layer), torch.zeros(1, 2))


def test_layers_in_a_row_name_no_others():
    exported = export_network(
        nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Tanh()), torch.zeros(1, 2)
    )
    assert [layer["kind"] for layer in exported["layers"]] == ["Linear", "ReLU", "Tanh"]
    assert not any("reads" in layer for layer in exported["layers"])


@pytest.mark.parametrize(("preset", "most"), [("digits", 16), ("fashion-mnist-slim", 50), ("cifar10-slim", 400)])
def test_an_image_is_there_within_a_frame(page, preset, most):
    """16 ms is one frame of a screen. One core of a server took 0.7, 5 and 9 ms; the authors' sizes 26, 84 and 280."""
    gan = build(PRESETS[preset])
    inputs = torch.randn(21, gan.memory.key_dim + gan.noise_dim)
    assert in_page(page, export_gan(gan), inputs)[1] < most


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 3, (3, 5)),
        nn.Conv2d(2, 4, 3, groups=2),
        nn.Conv2d(2, 4, 3, dilation=2),
        nn.ConvTranspose2d(2, 4, 3, stride=2, output_padding=1),
        nn.AvgPool2d(2),
        nn.BatchNorm2d(2),
        nn.MaxPool2d(2, padding=1),
        nn.Conv2d(2, 4, 3, padding="same"),
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="replicate"),
        nn.GroupNorm(2, 2),
        nn.LayerNorm([2, 9, 9]),
        nn.LayerNorm(9),
        nn.Linear(9, 5),
        nn.Upsample(scale_factor=3),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Softmax(dim=1),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_that_the_page_lacks_is_refused_by_name(layer):
    with pytest.raises(ValueError, match=type(layer).__name__):
        export_network(nn.Sequential(layer), torch.zeros(1, 2, 9, 9))


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Flatten(2), nn.Linear(81, 5)),
        nn.Sequential(nn.Flatten(2), nn.Upsample(scale_factor=2)),
        nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)),
    ],
    ids=["Linear", "Upsample", "BatchNorm2d"],
)
def test_a_layer_is_refused_by_name_where_the_page_would_compute_something_else(network):
    with pytest.raises(ValueError, match=type(network[-1]).__name__):
        export_network(network, torch.zeros(1, 2, 9, 9))


@pytest.mark.parametrize(
    "compute",
    [
        lambda parts, values: parts[0](values) + 1.0,
        lambda parts, values: 1.0 + parts[0](values),
        lambda parts, values: parts[0](values) + parts[1](values),
    ],
    ids=["constant", "constant first", "repeated to fit"],
)
def test_a_sum_of_other_than_two_values_of_one_shape_is_refused(compute):
    network = Applied(compute, nn.Conv2d(2, 4, 9), nn.Conv2d(2, 4, 3))
    with pytest.raises(ValueError, match=r"cannot run .* \+ .* in a page"):
        export_network(network, torch.zeros(1, 2, 9, 9))


@pytest.mark.parametrize("between", [nn.Identity(), nn.Flatten()], ids=["itself", "a view"])
@pytest.mark.parametrize("change", [nn.ReLU, nn.LeakyReLU, nn.ELU])
def test_a_value_that_is_changed_in_place_and_read_again_is_refused(between, change):
    def residual(parts, values):
        once = parts[0](values)
        changed = parts[2](parts[1](once))
        return changed + parts[3](once)

    changes = Applied(residual, nn.Conv2d(2, 2, 1), between, change(inplace=True), type(between)())
    with pytest.raises(ValueError, match=change.__name__):
        export_network(changes, torch.zeros(1, 2, 9, 9))
    export_network(Applied(residual, nn.Conv2d(2, 2, 1), between, change(), type(between)()), torch.zeros(1, 2, 9, 9))


def test_a_sum_that_changes_what_is_read_again_is_refused():
    def residual(parts, values):
        once = parts[0](values)
        total = once
        total += parts[1](once)
        return total + once  # PyTorch adds the sum to itself

    with pytest.raises(ValueError, match="in place"):
        export_network(Applied(residual, nn.Linear(2, 2), nn.Linear(2, 2)), torch.zeros(1, 2))


@pytest.mark.parametrize(
    "compute",
    [
        lambda parts, values: (parts[0](values), parts[1](values)),
        lambda parts, values: [parts[0](values), parts[1](values)][0],
        lambda parts, values: {"logits": parts[0](values)},
    ],
    ids=["two", "not the last", "a dictionary"],
)
def test_a_network_is_refused_whose_output_is_not_its_last_layer(compute):
    with pytest.raises(ValueError, match="cannot run Applied in a page"):
        export_network(Applied(compute, nn.Linear(2, 2), nn.Linear(2, 2)), torch.zeros(1, 2))


def test_the_example_is_left_as_it_was():
    example = torch.full((1, 2), -1.0)
    export_network(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 2)), example)
    assert torch.equal(example, torch.full((1, 2), -1.0))


def test_a_normalisation_is_not_folded_into_what_others_read_too():
    with pytest.raises(ValueError, match="BatchNorm2d"):
        export_network(Twice(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.ReLU()), torch.zeros(1, 2, 9, 9))


def test_an_operation_that_the_page_lacks_is_refused_by_name():
    class Difference(Twice):
        def forward(self, values):
            return self.first(values) - self.second(values)

    with pytest.raises(ValueError, match="sub"):
        export_network(Difference(nn.ReLU(), nn.Tanh(), nn.Identity()), torch.zeros(1, 2))


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_weights_beyond_float16_are_refused(value):
    layer = nn.Linear(2, 2)
    nn.init.constant_(layer.weight, value)
    with pytest.raises(ValueError, match="do not fit into float16"):
        export_network(nn.Sequential(layer), torch.zeros(1, 2))


def test_exporting_leaves_the_network_as_it_was():
    gan = build(PRESETS["digits"]).train()
    before = {name: tensor.clone() for name, tensor in gan.state_dict().items()}
    exported = export_gan(gan)
    assert gan.generator.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in gan.state_dict().items())
    json.dumps(exported["layers"])  # plain data


@pytest.mark.parametrize(("thing", "named"), [(nn.Linear(1, 1), "Linear has nothing"), (None, "NoneType has nothing")])
def test_what_has_no_memory_is_refused(thing, named):
    with pytest.raises(ValueError, match=named):
        export_gan(thing)


def test_a_baseline_without_memory_is_refused():
    with pytest.raises(ValueError, match="expected a model with a memory, a MemoryGAN"):
        export_gan(build_model(PRESETS["digits"].changed(["model=dcgan"])))


def test_a_generator_without_layers_is_refused():
    gan = build(PRESETS["digits"])
    gan.generator = nn.Linear(68, 256)
    with pytest.raises(ValueError, match="expected a generator whose `layers` .* got a Linear"):
        export_gan(gan)


def test_a_model_that_does_not_know_its_images_is_refused():
    gan = build(PRESETS["digits"])
    gan.image_shape = None
    with pytest.raises(ValueError, match="does not know the shape of its images"):
        export_gan(gan)

"""A GPU that is not there: tensors without values on a device "cuda" go through the model of every preset.

A mix of devices, a look at a value on the host, or a shape that depends on values fails here as it would fail, or wait,
on a GPU. Networks are built outside of the mode, because random weights need a device.
"""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from memgan.data import ImageData, batch_of
from memgan.gan import MemoryGAN, discriminator_loss, generator_loss
from memgan.lab.baselines.models import as_model, build_model
from memgan.presets import PRESETS

CUDA = torch.device("cuda:0")
each_preset = pytest.mark.parametrize("name", sorted(PRESETS))


def moved(model):
    """The model with fake tensors on a GPU in the place of its weights and buffers; call it inside the mode."""
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            fake = torch.empty(weight.shape, dtype=weight.dtype, device=CUDA)
            setattr(module, name, nn.Parameter(fake))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype, device=CUDA))
    return model


def fake_mode():
    return FakeTensorMode(allow_non_fake_inputs=False)


def built(name, model="memorygan"):
    """The smallest memory and few channels, the preset's shapes: what is tested is what runs where, not how much."""
    settings = PRESETS[name].changed(["memory.num_slots=61", "memory.top_k=5", "memory.correct_in_top=1"])
    return build_model(as_model(settings, model)), settings


def test_the_mode_finds_what_it_is_here_for():
    with fake_mode():
        on_gpu = torch.ones(3, device=CUDA)
        with pytest.raises(RuntimeError, match="device"):
            on_gpu + torch.ones(3)
        with pytest.raises(DataDependentOutputException):
            on_gpu.sum().item()


@each_preset
def test_networks_of_every_preset_run_forward_on_a_gpu(name):
    gan, settings = built(name)
    with fake_mode(), torch.no_grad():
        gan = moved(gan)
        assert gan.device == CUDA
        made = gan.generate(7)
        queries = gan.inference(made.images)
        d_generated = gan.read_write(queries, torch.ones(7, dtype=torch.long, device=CUDA))
        images, slots = gan.sample_slots(3, 5)
        loss = discriminator_loss(gan.discriminate(made.images), d_generated) + gan.information(made, queries)
        loss = loss + generator_loss(d_generated, "non_saturating") + gan.slots_in_use()
        for tensor in (*made, queries, d_generated, images, slots, loss, gan.slot_probabilities()):
            assert tensor.device == CUDA
        assert made.images.shape == (7, *settings.networks.image_shape)
        assert images.shape == (3, 5, *settings.networks.image_shape)


@pytest.mark.parametrize("model", ["dcgan", "infogan", "no-mcgn", "kaiser", "last-write-wins"])
def test_baselines_run_forward_on_a_gpu(model):
    gan, settings = built("digits", model)
    with fake_mode(), torch.no_grad():
        gan = moved(gan)
        made = gan.generate(7)
        queries = gan.inference(made.images)
        d = gan.read_write(queries, torch.ones(7, dtype=torch.long, device=CUDA))
        for tensor in (*made, queries, d, gan.information(made, queries), gan.slot_probabilities(), gan.slots_in_use()):
            assert tensor.device == CUDA


@pytest.mark.parametrize("kind", ["bytes", "numbers", "affine"])
def test_batches_are_cut_and_changed_on_a_gpu(kind):
    with fake_mode():
        labels = torch.empty(23, dtype=torch.long, device=CUDA)
        if kind == "affine":
            images = torch.empty(23, 1, 40, 40, dtype=torch.uint8, device=CUDA)
            data = ImageData(images, labels, torch.empty(23, 1, 28, 28, dtype=torch.uint8, device=CUDA))
        else:
            dtype = torch.uint8 if kind == "bytes" else torch.float32
            data = ImageData(torch.empty(23, 3, 32, 32, dtype=dtype, device=CUDA), labels)
        index = torch.empty(7, dtype=torch.long, device=CUDA)
        images = batch_of(data, index, flip=True, brightness=0.1, shift=2)
        assert images.device == CUDA and images.shape == (7, *data.images.shape[1:])
        assert images.dtype == torch.float32


class Encoder(nn.Module):
    """Features of any length."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(48, 11))

    def forward(self, images):
        return 7 * self.layers(images)


def test_a_model_of_ones_own_modules_runs_forward_on_a_gpu():
    memory = MemoryGAN.from_settings(PRESETS["digits"].memory.changed(key_dim=11), PRESETS["digits"].networks).memory
    decoder = nn.Bilinear(11, 2, 48)
    gan = MemoryGAN(memory, Encoder(), Decoder(decoder), noise_dim=2)
    with fake_mode(), torch.no_grad():
        gan = moved(gan)
        made = gan.generate(7)
        assert gan.discriminate(made.images).device == CUDA


class Decoder(nn.Module):
    """Images of a key and noise."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, keys, noise):
        return self.layer(keys, noise).tanh().unflatten(1, (3, 4, 4))

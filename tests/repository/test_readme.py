"""The code of README.md runs, and the training step that it shows trains a GAN that a reader might bring."""

import re
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from memgan import VMFMemory

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)  # a training step, the pretrained model

DIGITS = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 8 - 1  # [1797, 1, 8, 8] in [-1, 1]

with_and_without_batch_norm = pytest.mark.parametrize("batch_norm", [True, False], ids=["BatchNorm", "no BatchNorm"])


class OwnGAN:
    """A reader's own networks and optimisers around the memory. The features have no particular length."""

    def __init__(self, batch_norm):
        torch.manual_seed(0)
        self.memory = VMFMemory(num_slots=512, key_dim=64, top_k=32, kappa=15, alpha=0.95, correct_in_top=2)
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(16, 32, 4, stride=2, padding=1),
            nn.BatchNorm2d(32) if batch_norm else nn.Identity(),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(512, 64),
            nn.BatchNorm1d(64, affine=False) if batch_norm else nn.Identity(),
        )
        self.generator = nn.Sequential(
            nn.Linear(64 + 4, 512),
            nn.BatchNorm1d(512),
            nn.ReLU(),
            nn.Unflatten(1, (32, 4, 4)),
            nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
            nn.Tanh(),
        )
        self.encoder_optimiser = torch.optim.Adam(self.encoder.parameters(), 5e-4, betas=(0.5, 0.999))
        self.generator_optimiser = torch.optim.Adam(self.generator.parameters(), 1e-3, betas=(0.5, 0.999))

    def train(self, steps, example=EXAMPLES[0]):
        names = {}
        exec(example, names)
        for _ in range(steps):
            real = DIGITS[torch.randint(len(DIGITS), (64,))]
            names["step"](
                self.memory,
                self.encoder,
                self.generator,
                lambda loss: update(self.encoder_optimiser, loss),
                lambda loss: update(self.generator_optimiser, loss),
                real,
                noise(64),
            )

    @torch.no_grad()
    def draw(self, number):
        keys, _ = self.memory.sample(number)
        return self.generator(torch.cat([keys, noise(number)], dim=1))

    @torch.no_grad()
    def mean_probability(self, images):
        return self.memory.read(self.encoder(images)).mean()


def update(optimiser, loss):
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def noise(number):
    return torch.rand(number, 4) * 2 - 1


def distance_to_nearest(images, others):
    """Mean Euclidean distance of each image to the nearest of the others."""
    return torch.cdist(images.flatten(1), others.flatten(1)).amin(dim=1).mean()


@with_and_without_batch_norm
def test_step_changes_networks_and_memory_and_takes_no_gradient_to_the_memory(batch_norm):
    gan = OwnGAN(batch_norm)
    before = [gan.encoder[0].weight.clone(), gan.generator[0].weight.clone(), gan.memory.keys.clone()]
    gan.train(steps=2)
    after = [gan.encoder[0].weight, gan.generator[0].weight, gan.memory.keys]
    for old, new in zip(before, after, strict=True):
        assert not torch.equal(old, new)
        assert bool(new.isfinite().all())
    assert not gan.memory.keys.requires_grad


@pytest.mark.thorough
@pytest.mark.parametrize(
    "batch_norm", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["BatchNorm", "no BatchNorm"]
)
def test_step_trains_a_gan_on_digits(batch_norm):
    """D tells real from generated images while G is bad; then G's images come close to the data, and cover it."""
    gan = OwnGAN(batch_norm)
    assert distance_to_nearest(gan.draw(500), DIGITS) > 6  # at first the images are grey
    gan.train(steps=100)
    assert gan.mean_probability(DIGITS[:64]) - gan.mean_probability(gan.draw(64)) > 0.3
    gan.train(steps=150)
    # Half of the digits are 2.2 away from the nearest of the other half, and all of them 4.3 from the mean image.
    assert distance_to_nearest(gan.draw(500), DIGITS) < 3.2
    assert distance_to_nearest(DIGITS[:500], gan.draw(500)) < 3.5


@pytest.mark.thorough
def test_encoding_both_kinds_in_one_pass_with_batch_norm_would_not_train():
    """The reason for the two passes of the example: the batch's statistics tell D what it is to learn."""
    in_one_pass = EXAMPLES[0].replace("torch.cat([encoder(real), encoder(fake)])", "encoder(torch.cat([real, fake]))")
    assert in_one_pass != EXAMPLES[0]
    gan = OwnGAN(batch_norm=True)
    gan.train(steps=100, example=in_one_pass)
    assert gan.mean_probability(DIGITS[:64]) - gan.mean_probability(gan.draw(64)) < 0.2


def test_example_loads_the_pretrained_model():
    names = {}
    exec(EXAMPLES[1], names)
    assert names["images"].shape == (10, 12, 1, 28, 28)

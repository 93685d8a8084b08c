"""Training, step by step: one `training_step` that reads like the algorithm, and `train`, which repeats it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from memgan.gan import GeneratorLoss, MemoryGAN, discriminator_loss, generator_loss

__all__ = ["Optimisers", "Step", "TrainingSettings", "prepare", "train", "training_step"]


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast to train."""

    steps: int
    batch_size: int = 64  # B, of real images and of generated ones
    generator_lr: float = 2e-4  # Adam's rate for G
    discriminator_lr: float = 1e-4  # Adam's rate for mu
    beta1: float = 0.5  # Adam's moments
    beta2: float = 0.999
    decay_from: float = 0.5  # share of the steps after which both rates fall linearly to 0
    generator_loss: GeneratorLoss = "non_saturating"
    mi_weight: float = 1e-2  # lambda

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 2:
            raise ValueError(f"expected steps >= 1 and batch_size >= 2, got {self.steps} and {self.batch_size}")
        for name in ("generator_lr", "discriminator_lr", "mi_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.decay_from <= 1:
            raise ValueError(f"decay_from must be a share of the steps in [0, 1], got {self.decay_from}")
        if self.generator_loss not in ("saturating", "non_saturating"):
            raise ValueError(f"generator_loss must be 'saturating' or 'non_saturating', got {self.generator_loss!r}")


class Step(NamedTuple):
    """What one training step did. The numbers stay on the device until somebody looks."""

    number: int  # from 1
    discriminator_loss: Tensor
    generator_loss: Tensor
    real: Tensor  # D(x), mean over the batch
    generated: Tensor  # D(G(z, K_c)), mean over the batch


class Optimisers:
    """Adam for both networks, with rates that hold and then fall linearly to 0."""

    def __init__(self, gan: MemoryGAN, settings: TrainingSettings) -> None:
        betas = (settings.beta1, settings.beta2)
        self.discriminator = torch.optim.Adam(gan.inference.parameters(), settings.discriminator_lr, betas)
        self.generator = torch.optim.Adam(gan.generator.parameters(), settings.generator_lr, betas)
        total, falling = settings.steps, max(1 - settings.decay_from, 1e-12)
        self._schedules = [
            torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, (1 - step / total) / falling))
            for optimiser in (self.discriminator, self.generator)
        ]

    def advance(self) -> None:
        for schedule in self._schedules:
            schedule.step()


def training_step(
    gan: MemoryGAN, images: Tensor, optimisers: Optimisers, settings: TrainingSettings
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One step of (11-14) on real `images` [B, C, H, W]: both losses, and mean D on real and on generated images."""
    # D: a batch of real images and one of generated ones, each normalised by its own statistics
    with torch.no_grad():
        generated = gan.generate(len(images))
    real_queries, generated_queries = gan.inference(images), gan.inference(generated.images)
    labels = images.new_ones(2 * len(images), dtype=torch.long)
    labels[len(images) :] = 0
    # read both, and write both: the memory learns without a gradient, mu by it
    real, fake = gan.memory.read_write(torch.cat([real_queries, generated_queries]), labels).chunk(2)
    information = gan.information(generated, generated_queries)
    loss_d = discriminator_loss(real, fake) + settings.mi_weight * information
    optimisers.discriminator.zero_grad()
    loss_d.backward()
    optimisers.discriminator.step()

    # G: a fresh batch, read but not written
    generated = gan.generate(len(images))
    gan.inference.requires_grad_(False)
    queries = gan.inference(generated.images)
    information = gan.information(generated, queries)
    loss_g = generator_loss(gan.memory.read(queries), settings.generator_loss) + settings.mi_weight * information
    optimisers.generator.zero_grad()
    loss_g.backward()
    optimisers.generator.step()
    gan.inference.requires_grad_(True)

    optimisers.advance()
    return loss_d.detach(), loss_g.detach(), real.detach().mean(), fake.detach().mean()


def train(gan: MemoryGAN, images: Tensor, settings: TrainingSettings) -> Iterator[Step]:
    """Train `gan` on `images` [n, C, H, W], handing out every step as it is done.

        for step in train(gan, images, settings):
            ...

    Raises ValueError for images of another size than the model's and for fewer than a batch, FloatingPointError
    where a loss is not finite (looked at every 50 steps and at the last, so as not to wait for a GPU at each).
    """
    if images.shape[1:] != gan.image_shape:
        raise ValueError(f"expected images of shape {list(gan.image_shape)}, got {list(images.shape[1:])}")
    if len(images) < settings.batch_size:
        raise ValueError(f"training needs at least a batch of {settings.batch_size} images, got {len(images)}")
    optimisers = Optimisers(gan, settings)
    batches = _shuffled_batches(images, settings.batch_size)
    gan.train()
    for number in range(1, settings.steps + 1):
        step = Step(number, *training_step(gan, next(batches), optimisers, settings))
        looked_at = number % 50 == 0 or number == settings.steps
        if looked_at and not bool((step.discriminator_loss + step.generator_loss).isfinite()):
            raise FloatingPointError(f"the losses are no longer finite at step {number}")
        yield step


def _shuffled_batches(images: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Whole batches, each epoch in a new order, without end."""
    while True:
        order = torch.randperm(len(images)).to(images.device)
        for start in range(0, len(images) - batch_size + 1, batch_size):
            yield images[order[start : start + batch_size]]


def prepare(seed: int, threads: int = 1) -> None:
    """Seed PyTorch, and set it up for small networks on a CPU: one thread is faster, subnormal numbers are slow."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)

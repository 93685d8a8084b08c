"""Training, step by step: a `training_step` that reads like the algorithm, and a `Trainer` that repeats it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from memgan.data import ImageData, batch_of
from memgan.gan import GeneratorLoss, MemoryGAN, discriminator_loss, generator_loss

__all__ = ["Optimisers", "Step", "Trainer", "TrainingSettings", "is_large", "prepare", "train", "training_step"]

Precision = Literal["float32", "bfloat16"]
Numbers = tuple[Tensor, ...]  # of a `Step`: both losses, mean D on real and on generated images


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
    flip: bool = False  # mirror half of the real images left to right
    brightness: float = 0.0  # add to each real image up to this much, or take it away; 1 is from grey to white
    shift: int = 0  # move each real image by up to so many pixels either way
    precision: Precision = "float32"  # of the networks' layers; the memory's scores are always in float32

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 2:
            raise ValueError(f"expected steps >= 1 and batch_size >= 2, got {self.steps} and {self.batch_size}")
        for name in ("generator_lr", "discriminator_lr", "mi_weight", "brightness", "shift"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.decay_from <= 1:
            raise ValueError(f"decay_from must be a share of the steps in [0, 1], got {self.decay_from}")
        for name, choices in (("generator_loss", get_args(GeneratorLoss)), ("precision", get_args(Precision))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")


class Step(NamedTuple):
    """What one training step did. The numbers stay on the device until somebody looks."""

    number: int  # from 1
    discriminator_loss: Tensor
    generator_loss: Tensor
    real: Tensor  # D(x), mean over the batch
    generated: Tensor  # D(G(z, K_c)), mean over the batch


class Optimisers:
    """Adam for both networks, with rates that hold and then fall linearly to 0."""

    NAMES = ("discriminator", "generator")

    def __init__(self, gan: MemoryGAN, settings: TrainingSettings) -> None:
        self._settings, betas, on_gpu = settings, (settings.beta1, settings.beta2), gan.memory.keys.is_cuda
        # fused: in one pass over the weights; capturable, with rates in tensors: fit for a CUDA graph
        how: dict[str, Any] = {"betas": betas, "fused": on_gpu or is_large(gan) or None, "capturable": on_gpu}
        rates = [gan.memory.keys.new_zeros(()) if on_gpu else 0.0 for _ in self.NAMES]
        self.discriminator = torch.optim.Adam(gan.inference.parameters(), rates[0], **how)
        self.generator = torch.optim.Adam(gan.generator.parameters(), rates[1], **how)
        self.set_rates(done=0)

    def set_rates(self, done: int) -> None:
        """Set both rates to what they are after `done` steps."""
        share = min(1.0, (1 - done / self._settings.steps) / max(1 - self._settings.decay_from, 1e-12))
        for name in self.NAMES:
            (group,), rate = getattr(self, name).param_groups, getattr(self._settings, f"{name}_lr") * share
            group["lr"] = group["lr"].fill_(rate) if torch.is_tensor(group["lr"]) else rate


def training_step(gan: MemoryGAN, images: Tensor, optimisers: Optimisers, settings: TrainingSettings) -> Numbers:
    """One step of (11-14) on real `images` [B, C, H, W]: both losses, and mean D on real and on generated images."""
    networks = torch.autocast(images.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16")
    # D: a batch of real images and one of generated ones, each normalised by its own statistics
    with torch.no_grad(), networks:
        generated = gan.generate(len(images))
    with networks:
        real_queries, generated_queries = gan.inference(images), gan.inference(generated.images)
    labels = (torch.arange(2 * len(images), device=images.device) < len(images)).long()
    # read both, and write both: the memory learns without a gradient, mu by it
    real, fake = gan.memory.read_write(torch.cat([real_queries, generated_queries]), labels).chunk(2)
    information = gan.information(generated, generated_queries)
    loss_d = discriminator_loss(real, fake) + settings.mi_weight * information
    optimisers.discriminator.zero_grad()
    loss_d.backward()
    optimisers.discriminator.step()

    # G: a fresh batch, read but not written
    gan.inference.requires_grad_(False)
    with networks:
        generated = gan.generate(len(images))
        queries = gan.inference(generated.images)
    information = gan.information(generated, queries)
    loss_g = generator_loss(gan.memory.read(queries), settings.generator_loss) + settings.mi_weight * information
    optimisers.generator.zero_grad()
    loss_g.backward()
    optimisers.generator.step()
    gan.inference.requires_grad_(True)
    return loss_d.detach(), loss_g.detach(), real.detach().mean(), fake.detach().mean()


class Trainer:
    """Trains `gan` on images [n, C, H, W], on the device of both: `for step in Trainer(gan, data, settings): ...`

    It goes on from wherever it is: `state_dict` holds all that the next step depends on. On a GPU a whole step becomes
    a CUDA graph, unless the memory looks at values on the host (`validate`). Raises ValueError for images of another
    size and for fewer than a batch, FloatingPointError where a loss is not finite.
    """

    def __init__(self, gan: MemoryGAN, data: ImageData | Tensor, settings: TrainingSettings) -> None:
        if isinstance(data, Tensor):
            data = ImageData(data, labels=torch.zeros(len(data), dtype=torch.long))
        (number, *shape), device = data.images.shape, data.images.device
        if tuple(shape) != gan.image_shape:
            raise ValueError(f"expected images of shape {list(gan.image_shape)}, got {shape}")
        if number < settings.batch_size:
            raise ValueError(f"training needs at least a batch of {settings.batch_size} images, got {number}")
        if device.type == "cuda" or is_large(gan):
            gan.to(memory_format=torch.channels_last)  # many channels: convolutions are faster so
        self.gan, self.data, self.settings, self.number = gan, data, settings, 0
        self.optimisers = Optimisers(gan, settings)
        self._order, self._position = torch.arange(number), number  # as after an epoch
        self._index = self._order[: settings.batch_size].to(device)  # of each batch, always in the same place
        self._step = self._graph_or_plain()

    def __iter__(self) -> Iterator[Step]:
        self.gan.train()
        while self.number < self.settings.steps:
            self._index.copy_(self._next_batch())
            self.optimisers.set_rates(self.number)
            step = Step(self.number + 1, *self._step())
            self.number += 1
            looked_at = self.number % 50 == 0 or self.number == self.settings.steps  # each look waits for a GPU
            if looked_at and not bool((step.discriminator_loss + step.generator_loss).isfinite()):
                raise FloatingPointError(f"the losses are no longer finite at step {self.number}")
            yield step

    def _next_batch(self) -> Tensor:
        """The places in the data of the next whole batch, each epoch in a new order."""
        if self._position + self.settings.batch_size > len(self._order):
            self._order, self._position = torch.randperm(len(self._order)), 0
        self._position += self.settings.batch_size
        return self._order[self._position - self.settings.batch_size : self._position]

    def _plain_step(self) -> Numbers:
        how = {name: getattr(self.settings, name) for name in ("flip", "brightness", "shift")}
        return training_step(self.gan, batch_of(self.data, self._index, **how), self.optimisers, self.settings)

    def _graph_or_plain(self) -> Callable[[], Numbers]:
        waits_for_nobody = self._index.is_cuda and not getattr(self.gan.memory, "validate", False)
        return _Replayed(self._plain_step) if waits_for_nobody else self._plain_step

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, but for the data and the settings: references, not copies."""
        random = {"cpu": torch.get_rng_state()}
        if self._index.is_cuda:
            random["cuda"] = torch.cuda.get_rng_state(self._index.device)
        moments = {name: getattr(self.optimisers, name).state_dict()["state"] for name in Optimisers.NAMES}
        place = {"number": self.number, "order": self._order, "position": self._position}
        return {**place, "gan": dict(self.gan.state_dict()), "random": random, **moments}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was made, which trusts it: the laboratory's checkpoints are checked first."""
        self.gan.load_state_dict(state["gan"])
        for name in Optimisers.NAMES:
            optimiser = getattr(self.optimisers, name)
            optimiser.load_state_dict({**optimiser.state_dict(), "state": state[name]})
        self.number, self._order, self._position = state["number"], state["order"], state["position"]
        torch.set_rng_state(state["random"]["cpu"])
        if self._index.is_cuda:
            torch.cuda.set_rng_state(state["random"]["cuda"], self._index.device)
        self._step = self._graph_or_plain()


def train(gan: MemoryGAN, data: ImageData | Tensor, settings: TrainingSettings) -> Iterator[Step]:
    """Train from the first step to the last, handing out each as it is done; raises what a `Trainer` does."""
    yield from Trainer(gan, data, settings)


class _Replayed:
    """A step on a GPU: three run as they are, to warm up; then it is recorded as a CUDA graph, and replayed."""

    def __init__(self, step: Callable[[], Numbers]) -> None:
        self._step, self._done, self._stream = step, 0, torch.cuda.Stream()
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> Numbers:
        self._done += 1
        if self._done <= 3:
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                numbers = self._step()
            torch.cuda.current_stream().wait_stream(self._stream)
            return numbers
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):  # records, and runs nothing
                self._numbers = self._step()
        self._graph.replay()
        return tuple(number.clone() for number in self._numbers)  # before the next replay overwrites them


def is_large(gan: MemoryGAN) -> bool:
    """Whether a CPU gains from channels last and from fused Adam: the networks hold 2^18 weights or more."""
    return sum(parameter.numel() for parameter in gan.parameters()) >= 2**18


def prepare(seed: int, threads: int = 1) -> None:
    """Seed PyTorch, and set it up for small networks on a CPU: one thread is faster, subnormal numbers are slow."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)

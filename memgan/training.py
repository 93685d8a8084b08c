"""Training, step by step: a `training_step` that reads like the algorithm, and a `Trainer` that repeats it."""

import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from memgan.allocation import keep_freed_memory
from memgan.batches import LoadedBatches, batches_from
from memgan.cuda_graph import CudaRecorder, RepeatedStep, constants_of
from memgan.data import ImageData, batch_of
from memgan.distributed import averaged, least, num_ranks, own_rows, replicated, share_of_batch, shared_state
from memgan.fields import finite_number, truth_value, whole_number
from memgan.gan import AdversarialModel, GeneratorLoss, Information, discriminator_loss, generator_loss
from memgan.memory import VMFMemory
from memgan.replay import ReplayBuffer
from memgan.sharded import ShardedVMFMemory

__all__ = [
    "Optimisers",
    "Step",
    "StepNumbers",
    "Trainer",
    "TrainingSettings",
    "adam_optimisers",
    "gradient_penalty",
    "is_large",
    "old_fakes_in",
    "prepare",
    "rate_factor",
    "running_averages_kept",
    "train",
    "training_step",
]

Precision = Literal["float32", "bfloat16"]
Data = Tensor | ImageData | DataLoader[Any]

COUNTED = 10_000  # training images, or all where there are fewer, that are counted when all steps are done
LOOK_EVERY = 50  # steps between two looks at whether the losses are finite: each look waits for a GPU
LARGE = 2**17  # weights from which a CPU gains from channels last and from fused Adam


# Fields of `TrainingSettings` that are any finite number
_NUMBERS = (
    "generator_lr",
    "discriminator_lr",
    "beta1",
    "beta2",
    "decay_from",
    "mi_weight",
    "gradient_penalty",
    "brightness",
    "replay_share",
)


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast to train."""

    steps: int
    batch_size: int = 64  # B, of real images and of generated ones, of all ranks; a DataLoader has a size of its own
    generator_lr: float = 2e-4  # Adam's rate for G
    discriminator_lr: float = 1e-4  # Adam's rate for mu
    beta1: float = 0.5  # Adam's moments
    beta2: float = 0.999
    decay_from: float = 0.5  # share of the steps after which both rates fall linearly to 0
    generator_loss: GeneratorLoss = "non_saturating"
    information: Information = "density"  # the bound that lambda weighs: the paper's (14), or the slot's posterior (15)
    mi_weight: float = 1e-2  # lambda
    gradient_penalty: float = 0.0  # gamma, weight of R1 on real images; 0, the method's own choice, leaves it out
    flip: bool = False  # mirror half of the real images left to right
    brightness: float = 0.0  # add to each real image up to this much, or take it away; 1 is from grey to white
    shift: int = 0  # move each real image by up to so many pixels either way
    replay: int = 0  # R, old fakes that are kept as images and shown to D again; 0, the method's own choice: none
    replay_share: float = 0.5  # of the fakes that D is shown, how many are old ones, where they are kept
    recount: bool = True  # when all steps are done, count anew which slots the training images are from (17)
    precision: Precision = "float32"  # of the networks' layers; the memory's scores are always in float32
    cuda_graph: bool = True  # on a CUDA device, record a step as a graph and replay it; the numbers are the same

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "shift", "replay"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        for name in _NUMBERS:
            object.__setattr__(self, name, finite_number(name, getattr(self, name)))
        for name in ("flip", "recount", "cuda_graph"):
            truth_value(name, getattr(self, name))
        if self.steps < 1:
            raise ValueError(f"expected steps >= 1, got {self.steps}")
        if self.batch_size < 2:
            raise ValueError(f"expected batch_size >= 2, got {self.batch_size}")
        for name in ("generator_lr", "discriminator_lr", "mi_weight", "gradient_penalty", "brightness", "shift"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.replay < 0:
            raise ValueError(f"replay is a number of images, expected at least 0, got {self.replay}")
        if not 0 < self.replay_share < 1:
            raise ValueError(f"replay_share must be a share of the fakes in (0, 1), got {self.replay_share}")
        if not 0 <= self.decay_from <= 1:
            raise ValueError(f"decay_from must be a share of the steps in [0, 1], got {self.decay_from}")
        if self.generator_loss not in get_args(GeneratorLoss):
            raise ValueError(f"generator_loss must be one of {get_args(GeneratorLoss)}, got {self.generator_loss!r}")
        if self.information not in get_args(Information):
            raise ValueError(f"information must be one of {get_args(Information)}, got {self.information!r}")
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision must be one of {get_args(Precision)}, got {self.precision!r}")


# ---------------------------------------------------------------- one step


class Optimisers(NamedTuple):
    """What steps each network."""

    discriminator: Optimizer  # of mu
    generator: Optimizer  # of G


class StepNumbers(NamedTuple):
    """What there is to say of a training step, each a tensor without dimensions on the model's device."""

    discriminator_loss: Tensor
    generator_loss: Tensor
    real: Tensor  # D(x), mean over the batch
    generated: Tensor  # D(G(z, K_c)), mean over the batch, old fakes among them where they are replayed


def training_step(
    gan: AdversarialModel,
    images: Tensor,
    optimisers: Optimisers,
    settings: TrainingSettings,
    replay: ReplayBuffer | None = None,
) -> StepNumbers:
    """One step of (11-15) on real `images` [B, C, H, W]: one of D, whose memory is written, and then one of G.

    With a `replay` buffer, `settings.replay_share` of the fakes that D is shown come from it. The others are new, and
    are added to it first, so that a fake of this batch can be among those that are drawn. A network whose weights
    require no gradient stays as it is. Raises ValueError for a model in evaluation mode, in which G has no gradient.
    """
    if not gan.training:
        raise ValueError(
            "training_step expected a model in training mode, this one is in evaluation mode: call train()"
        )
    networks = torch.autocast(images.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16")
    batch = len(images)
    num_old = 0 if replay is None else old_fakes_in(batch, settings)

    # D: a batch of real images and one of generated ones, each normalised by its own statistics
    with torch.no_grad(), networks:
        generated = gan.generate(batch - num_old)
    with networks:
        real_queries = gan.inference(images)
        generated_queries = gan.inference(generated.images)
    queries = [real_queries, generated_queries]
    if replay is not None:  # old fakes are normalised by their own statistics, which the running averages leave out
        replay.add(generated.images)
        with networks, running_averages_kept(gan.inference):
            queries.append(gan.inference(replay.draw(num_old).to(images.dtype)))
    penalty = gradient_penalty(gan, images) if settings.gradient_penalty > 0 else None

    # read both, and write both: the memory learns without a gradient, mu by it
    information = gan.information(generated, generated_queries, settings.information)  # as it was before the write
    is_real = torch.arange(2 * batch, device=images.device) < batch
    d_real, d_generated = gan.read_write(torch.cat(queries), is_real.long()).chunk(2)
    loss_d = discriminator_loss(d_real, d_generated)
    loss_d = loss_d + settings.mi_weight * information
    if penalty is not None:
        loss_d = loss_d + settings.gradient_penalty * penalty
    optimisers.discriminator.zero_grad()
    if loss_d.requires_grad:  # not where mu is frozen
        loss_d.backward()
    optimisers.discriminator.step()

    # G: a fresh batch, read but not written; the gradient passes through mu and stops at G's weights
    with networks:
        generated = gan.generate(batch)
        queries = gan.inference(generated.images)
    loss_g = generator_loss(gan.read(queries), settings.generator_loss)
    loss_g = loss_g + settings.mi_weight * gan.information(generated, queries, settings.information)
    optimisers.generator.zero_grad()
    trained = [weight for weight in gan.generator.parameters() if weight.requires_grad]
    if trained:
        loss_g.backward(inputs=trained)
    optimisers.generator.step()
    return StepNumbers(loss_d.detach(), loss_g.detach(), d_real.detach().mean(), d_generated.detach().mean())


def old_fakes_in(batch: int, settings: TrainingSettings) -> int:
    """How many of a batch of fakes are old ones where they are replayed: `replay_share` of it, but at least one.

    Two are always new, because batch normalisation needs them. Raises ValueError for a batch of fewer than three.
    """
    if batch < 3:
        raise ValueError(f"an old fake stands beside two new ones: expected a batch of at least 3, got {batch}")
    return min(max(1, round(settings.replay_share * batch)), batch - 2)


@contextmanager
def running_averages_kept(network: torch.nn.Module) -> Iterator[None]:
    """Batch normalisation uses a batch's own statistics, as in training, and leaves its running averages alone.

    So does instance normalisation that keeps such averages.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, _NormBase) and layer.track_running_stats]
    momenta = [layer.momentum for layer in layers]
    counts = [layer.num_batches_tracked for layer in layers]  # which weigh the averages where there is no momentum
    counts_before = [None if count is None else count.clone() for count in counts]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for count, before in zip(counts, counts_before, strict=True):
            if count is not None and before is not None:
                count.copy_(before)


def gradient_penalty(gan: AdversarialModel, images: Tensor) -> Tensor:
    """R1 on real `images` [B, C, H, W], a scalar that can be differentiated by the weights of mu:

        R1 = 1/2 E_x || grad_x logit D(x) ||^2

    Its weight gamma is `TrainingSettings.gradient_penalty`. (Mescheder, Geiger & Nowozin, *Which training methods for
    GANs do actually converge?*, ICML 2018, eq. 9. Their D is the score before the sigmoid, which is the logit here.)
    An image whose D is clipped, at epsilon or at 1 - epsilon, adds nothing, because D does not change around it.
    """
    images = images.detach().requires_grad_()
    logits = gan.discriminate(images).logit()
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1).mean() / 2


# ---------------------------------------------------------------- optimisers and their rates


def adam_optimisers(gan: AdversarialModel, settings: TrainingSettings, *, capturable: bool = False) -> Optimisers:
    """Adam for both networks. `capturable`: fit for a CUDA graph, which finds the rate in a tensor on the device."""
    fused = gan.device.type == "cuda" or is_large(gan)  # in one pass over all weights

    def adam(network: torch.nn.Module, rate: float) -> Adam:
        lr = torch.tensor(rate, dtype=torch.float32, device=gan.device) if capturable else rate
        # "initial_lr" is where LambdaLR starts from. From a number it sets a tensor without waiting for the device.
        group = {"params": list(network.parameters()), "initial_lr": rate}
        betas = (settings.beta1, settings.beta2)
        return Adam([group], lr, betas, fused=fused or None, capturable=capturable)

    return Optimisers(
        discriminator=adam(gan.inference, settings.discriminator_lr),
        generator=adam(gan.generator, settings.generator_lr),
    )


def rate_factor(done: int, settings: TrainingSettings) -> float:
    """What both rates are multiplied by after `done` steps: 1 up to `decay_from`, then less, linearly to 0."""
    left = 1 - done / settings.steps
    return min(1.0, left / max(1 - settings.decay_from, 1e-12))


def _schedule(optimiser: Optimizer, settings: TrainingSettings, done: int) -> LambdaLR:
    """The rate's scheduler as it is after `done` steps; it sets the rate."""
    for group in optimiser.param_groups:
        group.setdefault("initial_lr", float(group["lr"]))
    return LambdaLR(optimiser, functools.partial(rate_factor, settings=settings), last_epoch=done - 1)


# ---------------------------------------------------------------- all steps


class Step(NamedTuple):
    """What one training step did. The numbers stay on the device until somebody looks."""

    number: int  # from 1
    discriminator_loss: Tensor
    generator_loss: Tensor
    real: Tensor  # D(x), mean over the batch
    generated: Tensor  # D(G(z, K_c)), mean over the batch


class Trainer:
    """Trains `gan` on real images: `for step in Trainer(gan, data, settings): ...`, or `Trainer(...).run()`.

    `data` are images [n, C, H, W] on the model's device, bytes in 0..255 or floating-point numbers in [-1, 1], as a
    tensor or as `ImageData`; or a DataLoader of batches of such images, with labels beside them or without, which are
    brought to the device. Other data, such as vectors [n, D] in [-1, 1], are taken in the same way. Images on the CPU
    are good for a model on a GPU, too: each batch is copied when its turn comes, so that images that do not fit into
    the GPU's memory, or into any (mapped from a file), can be trained on.
    `optimisers` are those of mu and of G, in this order, by default Adam at the rates of `settings`. `decay_from`
    lowers the rates of your own optimisers, too, unless it is 1.

    When there are no steps left, the memory counts anew which slots the images are from (`settings.recount`). It does
    so after the last step was handed out: if you stop iterating there, the counts stay as that step left them.

    It goes on from wherever it is: `state_dict` holds all that the next step depends on, but for a DataLoader's order.
    Before each step the model is set to training mode. On a CUDA device a step is recorded as a graph and replayed
    (`settings.cuda_graph`), which is faster.

    `process_group` is a group of `torch.distributed` whose ranks train one model together, each with a Trainer on the
    same images: `settings.batch_size` is the batch of all ranks. The model, its memory and the random numbers of the
    first rank are given to all, and stay bitwise equal. A DataLoader gives each rank its own part of the batch. Steps
    are not recorded as a graph then.

    Raises TypeError and ValueError for images that are not as said, for fewer than a batch, and for optimisers that do
    not hold the weights of their networks; FloatingPointError where a loss is not finite.
    """

    def __init__(
        self,
        gan: AdversarialModel,
        data: Data,
        settings: TrainingSettings,
        optimisers: Sequence[Optimizer] | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        _check_kinds(gan, settings)
        self.gan = gan
        self.settings = settings
        self.number = 0  # of steps that are done
        ranks = num_ranks(process_group)
        if ranks < 1:
            raise ValueError("expected a process_group to which this process belongs, it belongs to another")
        self._group = process_group if ranks > 1 else None
        self._device = gan.device
        self._dtype = next(gan.parameters()).dtype
        if gan.image_shape is None:
            gan.image_shape = _shape_of_generated(gan)
        _check_that_images_can_be_varied(gan.image_shape, settings)
        self._batches = batches_from(
            data,
            batch_size=settings.batch_size,
            image_shape=gan.image_shape,
            device=self._device,
            dtype=self._dtype,
        )
        if self._device.type == "cuda" or is_large(gan):
            gan.to(memory_format=torch.channels_last)  # many channels: convolutions are faster so
        self.replay = self._replay_buffer()
        self._records = self._device.type == "cuda" and settings.cuda_graph and self._group is None
        if optimisers is None:
            optimisers = adam_optimisers(gan, settings, capturable=self._records)
        self.optimisers = _checked_optimisers(optimisers, gan)
        self._trained = gan if self._group is None else self._shared(self._group)
        self._trainable = self._requires_grad()
        self._has_counted = False
        self._begin()

    def _replay_buffer(self) -> ReplayBuffer | None:
        """Where old fakes are kept, if any are."""
        if self.settings.replay == 0:
            return None
        if isinstance(self._batches, LoadedBatches):  # which have a size of their own
            own_batch = len(self._batches.index)
        else:
            own_batch = share_of_batch(self.settings.batch_size, self._group)
        old_fakes_in(own_batch, self.settings)  # refuses what is too small
        assert self.gan.image_shape is not None
        return ReplayBuffer(self.settings.replay, self.gan.image_shape, device=self._device, process_group=self._group)

    def _shared(self, group: ProcessGroup) -> AdversarialModel:
        """The model as the ranks of `group` train it together, after all have been given that of the first."""
        if not isinstance(self._batches, LoadedBatches):
            share_of_batch(self.settings.batch_size, group)  # refuses what the ranks cannot share
        shared_state(self.gan.buffers(), self._device, group)
        memory = getattr(self.gan, "memory", None)
        if memory is not None:
            memory.process_group = group
        return replicated(self.gan, group)

    def _begin(self) -> None:
        """Make what depends on how many steps are done and on where the state lies."""
        self._schedulers = [_schedule(optimiser, self.settings, self.number) for optimiser in self.optimisers]
        self._repeated_step: RepeatedStep | None = None
        if self._records:
            self._repeated_step = RepeatedStep(CudaRecorder(self._device))

    def _requires_grad(self) -> tuple[bool, ...]:
        """Of each weight, whether it is trained. A network may be frozen, or trained again, between two steps."""
        return tuple(weight.requires_grad for weight in self.gan.parameters())

    @property
    def is_recorded(self) -> bool:
        """Whether steps are replayed from a CUDA graph by now."""
        return self._repeated_step is not None and self._repeated_step.is_recorded

    def run(self, callback: Callable[[Step], object] | None = None) -> None:
        """Train to the last step, and call `callback` with each step when it is done."""
        for step in self:
            if callback is not None:
                callback(step)

    def __iter__(self) -> Iterator[Step]:
        while self.number < self.settings.steps:
            yield self._next_step()
        if self.settings.recount and not self._has_counted:
            self._recount()
            self._has_counted = True

    def _next_step(self) -> Step:
        self.gan.train()  # whatever was done with the model since the last step
        self._has_counted = False
        if self._group is not None and self._requires_grad() != self._trainable:
            self._trained = replicated(self.gan, self._group)  # which averages the gradients that there are by now
            self._trainable = self._requires_grad()
        self._trained.train()  # a replica has a mode of its own
        self._batches.advance()
        for scheduler in self._schedulers:
            if scheduler.last_epoch < self.number:
                scheduler.step()
        step = Step(self.number + 1, *self._step())
        self.number += 1
        is_last = self.number == self.settings.steps
        if self.number % LOOK_EVERY == 0 or is_last:
            losses = step.discriminator_loss + step.generator_loss
            if not bool(losses.isfinite()):
                raise FloatingPointError(f"the losses are no longer finite at step {self.number}")
        return step

    @torch.no_grad()
    def _recount(self) -> None:
        """Count anew which slots the training images are from, as mu sees them in evaluation mode. (17)"""
        memory = getattr(self.gan, "memory", None)
        if not isinstance(memory, VMFMemory):
            return
        if self._group is not None:  # on a CPU each rank has running averages of its own; the first one's are kept
            shared_state(self.gan.inference.buffers(), self._device, self._group)
        # A DataLoader gives each rank images of its own; others are the same on all ranks, which share them
        number = COUNTED // num_ranks(self._group) if isinstance(self._batches, LoadedBatches) else COUNTED
        self.gan.eval()
        parts = []
        for images in self._batches.spread(number):
            own = self._own_part(images)
            if len(own) > 0:
                with torch.autocast(self._device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16"):
                    parts.append(self.gan.inference(own))
        self.gan.train()
        number = least(sum(len(part) for part in parts), self._device, self._group)
        if number == 0:
            warnings.warn("the DataLoader gives no more images, so that none were counted anew", stacklevel=3)
        else:
            memory.recount(torch.cat(parts)[:number])

    def _step(self) -> tuple[Tensor, ...]:
        if self._repeated_step is None:
            return self._plain_step()
        state = [*self.gan.parameters(), *self.gan.buffers()]
        if self.replay is not None:
            state += self.replay.buffers()
        memory_settings = getattr(getattr(self.gan, "memory", None), "settings", None)
        optimisers = tuple(constants_of(optimiser) for optimiser in self.optimisers)
        constants = (self.settings, memory_settings, optimisers, self._requires_grad())
        return self._repeated_step(self._plain_step, state, constants)

    def _plain_step(self) -> StepNumbers:
        settings = self.settings
        images = batch_of(
            self._batches.data,
            self._batches.index,
            flip=settings.flip,
            brightness=settings.brightness,
            shift=settings.shift,
        )
        step = training_step(self._trained, self._own_part(images), self.optimisers, settings, self.replay)
        return step if self._group is None else StepNumbers(*averaged(step, self._group))

    def _own_part(self, images: Tensor) -> Tensor:
        """This rank's images of a batch, in the precision of the weights."""
        if not isinstance(self._batches, LoadedBatches):  # these are of all ranks, drawn alike by each
            images = images[own_rows(len(images) // num_ranks(self._group), self._group)]
        return images.to(self._dtype)

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, but for the data and the settings: references, not copies."""
        random = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self._device)
        old_fakes = {} if self.replay is None else {"replay": dict(self.replay.state_dict())}
        counted = {"counted": True} if self._has_counted else {}
        return {
            "number": self.number,
            **self._batches.state_dict(),
            "gan": dict(self.gan.state_dict()),
            "random": random,
            "discriminator": self.optimisers.discriminator.state_dict()["state"],
            "generator": self.optimisers.generator.state_dict()["state"],
            **old_fakes,
            **counted,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was made, which is trusted: the laboratory's checkpoints are checked first.

        Raises ValueError, with nothing changed, for the state of a training on other images than these, of more steps
        than `settings.steps`, or with a replay buffer where there is none, or without.
        """
        if state["number"] > self.settings.steps:
            raise ValueError(f"expected the state of at most {self.settings.steps} steps, got one of {state['number']}")
        self._batches.check_state_dict(state)
        if ("replay" in state) != (self.replay is not None):
            was, here = ("with", "without") if "replay" in state else ("without", "with")
            raise ValueError(
                f"the state is that of a training {was} a replay buffer, this one is {here} (training.replay)"
            )
        self.gan.load_state_dict(state["gan"])
        _load_moments(self.optimisers.discriminator, state["discriminator"])
        _load_moments(self.optimisers.generator, state["generator"])
        if self.replay is not None:
            self.replay.load_state_dict(state["replay"])
        self.number = state["number"]
        self._has_counted = state.get("counted", False)
        self._batches.load_state_dict(state)
        torch.set_rng_state(state["random"]["cpu"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(state["random"]["cuda"], self._device)
        self._begin()


def train(gan: AdversarialModel, data: Data, settings: TrainingSettings) -> Iterator[Step]:
    """Train from the first step to the last, handing out each as it is done; raises what a `Trainer` does."""
    yield from Trainer(gan, data, settings)


def _check_kinds(gan: Any, settings: Any) -> None:
    """TypeError for what is no model and for what are no `TrainingSettings`."""
    if not isinstance(gan, AdversarialModel):
        hint = ": compile its `inference` and its `generator`" if hasattr(gan, "_orig_mod") else ""
        raise TypeError(f"expected a model such as a MemoryGAN, got {type(gan).__name__}{hint}")
    if isinstance(getattr(gan, "memory", None), ShardedVMFMemory):
        raise TypeError(
            "Trainer gives each rank a replica of the memory: expected a VMFMemory, got a ShardedVMFMemory, which a "
            "training loop of your own can use"
        )
    if not isinstance(settings, TrainingSettings):
        hint = ": give its `training`" if hasattr(settings, "training") else ""
        raise TypeError(f"settings must be TrainingSettings, got {type(settings).__name__}{hint}")


def _checked_optimisers(optimisers: Any, gan: AdversarialModel) -> Optimisers:
    """The optimisers of mu and of G. TypeError for what they are not, ValueError for those of other weights."""
    given = (optimisers,) if isinstance(optimisers, (Mapping, Optimizer)) else tuple(optimisers)
    if len(given) != 2 or not all(isinstance(optimiser, Optimizer) for optimiser in given):
        kinds = ", ".join(type(part).__name__ for part in given)
        raise TypeError(f"expected optimisers=(of gan.inference, of gan.generator), got ({kinds})")
    checked = Optimisers(*given)
    _check_weights("first", checked.discriminator, ("inference", gan.inference), ("generator", gan.generator))
    _check_weights("second", checked.generator, ("generator", gan.generator), ("inference", gan.inference))
    return checked


def _check_weights(
    place: str, optimiser: Optimizer, own: tuple[str, torch.nn.Module], other: tuple[str, torch.nn.Module]
) -> None:
    """ValueError for an optimiser that steps no weight of its own network, or one of the other's."""
    name, network = own
    other_name, other_network = other
    held = {id(weight) for group in optimiser.param_groups for weight in group["params"]}
    weights = {id(weight) for weight in network.parameters() if weight.requires_grad}  # others may be in none
    others = {id(weight) for weight in other_network.parameters()} - {id(weight) for weight in network.parameters()}
    if held & others:
        wrong = f"some of gan.{other_name}"
    elif weights and not held & weights:
        wrong = "none of them"
    else:
        return
    raise ValueError(f"the {place} of the two optimisers must hold the weights of gan.{name}, it holds {wrong}")


def _check_that_images_can_be_varied(shape: tuple[int, ...], settings: TrainingSettings) -> None:
    """ValueError where the settings vary images and the data are none."""
    if len(shape) == 3:
        return
    for name in ("flip", "brightness", "shift"):
        value = getattr(settings, name)
        if value:
            raise ValueError(f"training.{name} varies images [C, H, W], expected 0 for data {list(shape)}, got {value}")


def _load_moments(optimiser: Optimizer, moments: dict[Any, Any]) -> None:
    """Put an optimiser's state back, but not its rates: those follow from the settings."""
    optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})


@torch.no_grad()
def _shape_of_generated(gan: AdversarialModel) -> tuple[int, ...]:
    """Shape [C, H, W] of what G makes, or that of other data. The model and the random state stay as they are."""
    modes = {module: module.training for module in gan.modules()}
    draw = torch.Generator(gan.device).manual_seed(0)
    gan.eval()
    shape = tuple(gan.generate(2, generator=draw).images.shape[1:])
    for module, was_training in modes.items():
        module.training = was_training
    if not shape:
        raise ValueError("the generator must make images [B, C, H, W] or other data [B, ...], it makes [B]")
    return shape


def is_large(gan: AdversarialModel) -> bool:
    """Whether a CPU gains from channels last and from fused Adam."""
    return sum(weight.numel() for weight in gan.parameters()) >= LARGE


def prepare(seed: int, threads: int = 1) -> None:
    """Seed PyTorch, and set it up for small networks on a CPU: one thread is faster, subnormal numbers are slow.

    On Linux the process also keeps the memory that tensors leave, instead of asking the system for it in each step.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    keep_freed_memory()

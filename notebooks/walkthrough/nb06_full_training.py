"""Notebook 06: one step seen from inside, the life of the histogram, images sorted by a rule, and its exercises."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from tqdm.notebook import tqdm

from memgan import VMFMemory
from memgan.gan import MemoryGAN, discriminator_loss
from memgan.plots import GENERATED, REAL
from walkthrough.drawing import hide_top_and_right
from walkthrough.lesson import Mistake, Wrong, answered, attempt
from walkthrough.nb05_mcgn import usage

__all__ = [
    "Moment",
    "check_counts",
    "check_discriminator_loss",
    "check_slopes",
    "check_slots_in_use",
    "effective_number",
    "histogram_life",
    "latent_squares",
    "moment",
    "traced_shapes",
    "training_curves",
    "watched",
]


def training_curves(history: Mapping[str, Sequence[float]], window: int = 25) -> Figure:
    """Losses and mean D on real and generated images against the step, as running means over `window` steps.

    `history` holds equally long series named discriminator_loss, generator_loss, real and generated.
    """
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    _running_mean(losses, history["discriminator_loss"], window, REAL, "discriminator loss")
    _running_mean(losses, history["generator_loss"], window, GENERATED, "generator loss")
    losses.set_ylabel("loss (nats)")
    _running_mean(scores, history["real"], window, REAL, "real")
    _running_mean(scores, history["generated"], window, GENERATED, "generated")
    scores.set_ylabel("mean D(x), probability of real")
    scores.set_ylim(0, 1)
    for axes in (losses, scores):
        axes.set_xlabel("training step")
        axes.legend(frameon=False)
        hide_top_and_right(axes)
    return figure


def _running_mean(axes: Axes, series: Sequence[float], window: int, colour: str, label: str) -> None:
    """The mean of the last `window` numbers of `series` at each step, from the first step that has as many."""
    values = np.asarray(series, dtype=float)
    width = min(window, len(values))
    means = np.convolve(values, np.ones(width) / width, mode="valid")
    axes.plot(np.arange(width, len(values) + 1), means, color=colour, label=label)


class Moment(NamedTuple):
    """The memory after a training step."""

    step: int
    offered: Tensor  # [N] p(c=i|v=1) of (11)
    real_slots: int  # how many carry v = 1
    age: float  # mean over all slots, in writes


def moment(step: int, memory: VMFMemory) -> Moment:
    """What of `memory` the figure of its life needs, copied."""
    return Moment(
        step,
        offered=usage(memory),
        real_slots=int(memory.values.sum()),
        age=float(memory.ages.double().mean()),
    )


def watched(steps: Iterable[Any], total: int) -> tqdm:
    """`steps` under a progress bar; readers of the stored notebook without JavaScript get words that stay true."""
    bar = tqdm(steps, total=total, display=False)
    shown = dict(bar.container._repr_mimebundle_())
    shown["text/plain"] = f"A progress bar of {total} training steps."
    display(shown, raw=True)
    return bar


def effective_number(probabilities: Tensor) -> float:
    """exp of the entropy of `probabilities` [N]: how many slots, equally often drawn, would be as varied."""
    return float(torch.special.entr(probabilities.double()).sum().exp())


def traced_shapes(gan: MemoryGAN, images: Tensor) -> list[str]:
    """The tensors of a step's first half, each with its shape; nothing is changed."""
    lines: list[str] = []

    def note(name: str, tensor: Tensor) -> Tensor:
        lines.append(f"{name:42} {list(tensor.shape)}")
        return tensor

    with torch.no_grad():
        note("real images x", images)
        generated = gan.generate(len(images))
        note("keys of the slots drawn, K_c (11)", generated.keys)
        note("noise z", generated.noise)
        note("generated images G(K_c, z) (11)", generated.images)
        queries = torch.cat([gan.inference(images), gan.inference(generated.images)])
        note("queries of both, q = mu(x)", queries)
        weights, slots = gan.memory.top_k_posterior(queries)
        note("S, the k most probable slots (5)", slots)
        note("their posterior", weights)
        note("D(x), real and generated (6)", gan.memory.read(queries))
    return lines


@torch.no_grad()
def latent_squares(gan: MemoryGAN, slots: Tensor, side: int = 5) -> Tensor:
    """Images [S, side^2, C, H, W] of `slots` [S]: z1 grows along a row, z2 from the last row up, the rest is 0."""
    places = (2 * torch.arange(side) + 1) / side - 1  # the middles of `side` equal parts of (-1, 1)
    noise = torch.zeros(side, side, gan.noise_dim)
    noise[..., 0] = places
    noise[..., 1] = places.flip(0).unsqueeze(1)
    noise = noise.flatten(0, 1).repeat(len(slots), 1)
    keys = gan.memory.keys[slots].repeat_interleave(side**2, dim=0)
    return gan.generator(keys, noise).unflatten(0, (len(slots), side**2))


def histogram_life(moments: Sequence[Moment]) -> Figure:
    """How often each slot is offered to the generator, and how many are in use, against the training step."""
    steps = np.array([now.step for now in moments])
    shares = torch.stack([now.offered for now in moments])
    visible = shares.amax(dim=0) >= 0.003  # the others would only make the picture pale
    per_cent = shares[:, visible].T.numpy() * 100
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    image = left.pcolormesh(steps, np.arange(len(per_cent)), per_cent, cmap="Blues", vmin=0, vmax=2)
    left.set(xlabel="training step", ylabel="slots once offered 0.3 % or more", title="how often each is offered")
    figure.colorbar(image, ax=left, label="p(c | v = 1) (%)", extend="max")
    in_use = [effective_number(now.offered) for now in moments]
    right.plot(steps, [now.real_slots for now in moments], color=REAL, label="slots called real")
    right.plot(steps, in_use, color=GENERATED, linestyle="--", label="of these in use")
    right.set(xlabel="training step", ylabel="number of slots", title="how many are in use")
    right.set_ylim(bottom=0)
    right.legend(frameon=False)
    hide_top_and_right(right)
    return figure


@attempt
def check_discriminator_loss(answer: Any) -> str:
    """(12) without the mutual-information term, from D on real and on generated images."""
    real = torch.tensor([0.9, 0.6, 0.7])
    generated = torch.tensor([0.2, 0.4, 0.1])
    loss = torch.as_tensor(answered(answer(real, generated)))
    if loss.ndim > 0:
        raise Wrong(f"A loss is one number; yours has shape {list(loss.shape)}: take the mean over the batch.")
    right = discriminator_loss(real, generated)
    not_turned_round = -real.log().mean() - generated.log().mean()
    summed = -real.log().sum() - (1 - generated).log().sum()
    mistakes = [
        Mistake(-right, "The sign is the other way round: D minimises, and its loss is smallest where it is right."),
        Mistake(not_turned_round, "On generated images D should be small: it is log(1 - D) there."),
        Mistake(summed, "An expectation is a mean over the batch, not a sum."),
    ]
    for mistake in mistakes:
        if torch.isclose(loss, mistake.result):
            raise Wrong(mistake.reason)
    if not torch.isclose(loss, right):
        raise Wrong(f"For D = {real.tolist()} and {generated.tolist()} it is {right:.4f}, yours is {loss:.4f}.")
    return "Equal to memgan.gan.discriminator_loss."


class Count(NamedTuple):
    """One number that an exercise asks for."""

    name: str
    number: int
    hint: str  # what to count


COUNTS = [  # of a step with a batch of 64
    Count("images generated", 128, "one batch for D and a fresh one for G"),
    Count("queries written", 128, "the real ones and the generated ones of D's half; G's half writes nothing"),
    Count("queries read", 192, "D's half reads both batches, G's half reads its own"),
]


@attempt
def check_counts(answer: Any) -> str:
    """How many images a step makes, and how many queries it writes, for a batch of 64."""
    for count in COUNTS:
        given = answered(answer.get(count.name, ...))
        if given != count.number:
            raise Wrong(f"{count.name}: {given} is not it; count {count.hint}.")
    return "128 are made, 128 written, 192 read."


@attempt
def check_slots_in_use(answer: Any) -> str:
    """The effective number of slots that the generator is offered."""
    histogram = torch.tensor([4.0, 4.0, 4.0, 4.0, 8.0])
    values = torch.tensor([1, 1, 1, 1, 0])
    number = float(answered(answer(histogram, values)))
    if math.isclose(number, math.log(4), abs_tol=1e-4):
        raise Wrong("That is the entropy, in nats; its exponential is a number of slots.")
    if 4.5 < number <= 5:
        raise Wrong("Slots with v = 0 are never offered: multiply h by v before you divide by the sum.")
    if not math.isclose(number, 4, abs_tol=1e-4):
        raise Wrong(f"Four real slots, equally often offered, are 4 in use; yours says {number:.4f}.")
    uneven = float(answer(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([1, 1, 0])))
    if not math.isclose(uneven, effective_number(torch.tensor([0.25, 0.75])), abs_tol=1e-4):
        raise Wrong(f"Equal shares are right, but for shares 1/4 and 3/4 it is 1.7548; yours says {uneven:.4f}.")
    return "The same as `effective_number`."


@attempt
def check_slopes(answer: Any) -> str:
    """|dL_G / dD| of both generator losses at D = 0.01."""
    probability = torch.tensor(0.01, requires_grad=True)
    losses = {"saturating": (1 - probability).log(), "non_saturating": -probability.log()}
    for kind, loss in losses.items():
        (derivative,) = torch.autograd.grad(loss, probability)
        size = abs(float(derivative))
        given = abs(float(answered(answer.get(kind, ...))))  # a signed derivative is right as well
        if abs(given - size) > 0.02 * size:
            raise Wrong(f"{kind}: the derivative of the loss with respect to D at 0.01 is not {given:g} in size.")
    return "Where D is sure of a fake, the non-saturating loss pulls a hundred times as hard."

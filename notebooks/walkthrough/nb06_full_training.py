"""Notebook 6: one step seen from inside, the stored run, the life of the histogram, what D accepts, and the exercises.

The run of 1,600 steps was made by scripts/measure_training.py.
"""

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from IPython.display import display
from matplotlib.figure import Figure
from torch import Tensor
from tqdm.notebook import tqdm

from memgan import VMFMemory
from memgan.data import as_float, load_dataset
from memgan.gan import MemoryGAN, discriminator_loss, generator_loss
from memgan.plots import GENERATED, REAL, image_grid
from memgan.presets import PRESETS, Settings
from memgan.runs import build
from memgan.training import adam_optimisers, prepare
from walkthrough.drawing import GREEN, hide_top_and_right
from walkthrough.lesson import Mistake, Wrong, answered, attempt, refuse_mistakes
from walkthrough.own_memory import OwnGAN, OwnMemory, Parts

__all__ = [
    "Losses",
    "Moment",
    "Parts",
    "acceptance_figure",
    "chances_figure",
    "check_counts",
    "check_discriminator_loss",
    "check_generator_loss",
    "check_slopes",
    "discriminate",
    "fewer_slots",
    "histogram_life",
    "load_scores",
    "load_training",
    "moment",
    "nearest_figure",
    "snapshots",
    "traced_shapes",
    "train_own",
    "training_curves",
    "watched",
]

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "results" / "training.json"
PRETRAINED = ROOT / "results" / "study-seeds-mnist-5k-long.json"


# ---------------------------------------------------------------- the stored run


def load_training() -> dict[str, Any]:
    """What scripts/measure_training.py kept of the run of 1,600 steps."""
    content: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8"))
    return content


def load_scores() -> dict[str, float]:
    """The scores of the pretrained model, as `memgan study` measured them."""
    runs = json.loads(PRETRAINED.read_text(encoding="utf-8"))["runs"]
    return {name: value for name, value in runs[0].items() if isinstance(value, float | int)}


SHEET_COLUMNS = 16  # of the sheets in figures/, each image a pixel from the next


def snapshots(
    name: str, labels: Mapping[int, str], columns: int = SHEET_COLUMNS, column_label: str = "", width: float = 7.0
) -> Figure:
    """Some rows of a sheet of figures/, each with its label, and of each row the first `columns` images."""
    from matplotlib.image import imread

    picture = imread(ROOT / "figures" / name)
    pitch = (picture.shape[1] + 1) // SHEET_COLUMNS
    rows = [picture[row * pitch : (row + 1) * pitch - 1, : columns * pitch - 1] for row in labels]
    gap = np.ones((1, *rows[0].shape[1:]), dtype=picture.dtype)
    parts = []
    for row in rows:
        parts += [row, gap]
    picture = np.concatenate(parts[:-1])
    figure = Figure(figsize=(width, 0.87 * width * picture.shape[0] / picture.shape[1] + 0.3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_yticks([pitch * (row + 0.5) - 1 for row in range(len(labels))], list(labels.values()))
    axes.set(xticks=[], xlabel=column_label)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def training_curves(history: Mapping[str, Sequence[float]], every: int = 1, window: int = 25) -> Figure:
    """Losses and mean D on real and generated images against the step, each a mean over `window` steps.

    `history` holds equally long series named discriminator_loss, generator_loss, real and generated, whose entries lie
    `every` steps apart.
    """
    figure = Figure(figsize=(8.4, 2.8), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    lines = [  # the last two: where on the line its label stands, as a share, and how far from it, in points
        (losses, "discriminator_loss", REAL, "discriminator", 0.6, (0, 13)),
        (losses, "generator_loss", GENERATED, "generator", 0.15, (40, 8)),
        (scores, "real", REAL, "real images", 0.7, (0, 16)),
        (scores, "generated", GENERATED, "generated images", 0.7, (0, -20)),
    ]
    for axes, name, colour, label, place, shift in lines:
        steps, means = _block_means(history[name], every, window)
        axes.plot(steps, means, color=colour, linewidth=1.5)
        at = int(place * len(steps))
        point = (steps[at], means[at])
        axes.annotate(label, point, shift, textcoords="offset points", color=colour, ha="center", va="center")
    scores.axhline(0.5, color="black", linewidth=0.8, linestyle="--")
    scores.text(0.99, 0.515, "D = 1/2, a guess", ha="right", fontsize=9, transform=scores.transAxes)
    losses.set_ylabel("loss (nats)")
    scores.set_ylabel("mean D(x)")
    scores.set_ylim(0, 1)
    for axes in (losses, scores):
        axes.set_xlabel("training step")
        axes.set_xlim(0, None)
        hide_top_and_right(axes)
    return figure


def _block_means(series: Sequence[float], every: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """The means of blocks of `window` steps that do not overlap, and the middle of each block."""
    values = np.asarray(series, dtype=float)
    size = max(1, min(window // every, len(values)))
    blocks = values[: len(values) // size * size].reshape(-1, size).mean(axis=1)
    steps = (np.arange(len(blocks)) + 0.5) * size * every
    return steps, blocks


class Moment(NamedTuple):
    """The memory after a training step."""

    step: int
    offered: Tensor  # [N] p(c=i|v=1) of (11)
    real_slots: int  # how many carry v = 1


def moment(step: int, memory: VMFMemory) -> Moment:
    """What of `memory` the figure of its life needs, copied."""
    return Moment(
        step,
        offered=memory.slot_probabilities(),
        real_slots=int(memory.values.sum()),
    )


def watched(steps: Iterable[Any], total: int) -> tqdm:
    """`steps` under a progress bar; readers of the stored notebook without JavaScript get words that stay true."""
    bar = tqdm(steps, total=total, display=False)
    shown = dict(bar.container._repr_mimebundle_())
    shown["text/plain"] = f"A progress bar of {total} training steps."
    display(shown, raw=True)
    return bar


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


def fewer_slots(gan: MemoryGAN, number: int) -> MemoryGAN:
    """A copy of `gan` that keeps only the `number` real slots that are drawn most, for a widget that stays small."""
    busiest = gan.memory.slot_probabilities().topk(number).indices
    settings = gan.memory.settings
    memory = VMFMemory(number, settings.key_dim, min(settings.top_k, number), kappa=settings.kappa)
    memory.keys.copy_(gan.memory.keys[busiest])
    memory.values.fill_(1)
    memory.ages.copy_(gan.memory.ages[busiest])
    memory.histogram.copy_(gan.memory.histogram[busiest])
    return MemoryGAN(memory, gan.inference, gan.generator, image_shape=gan.image_shape).eval()


def histogram_life(moments: Sequence[Moment], early: int, top: int = 20) -> Figure:
    """Left, how often the busiest slots of two moments are drawn; right, how many slots are in use.

    The `top` slots of the moment at place `early` and those of the last one fall into three groups: in the first list
    only, in both, in the last only.
    """
    steps = [now.step for now in moments]
    first, last = (set(moments[at].offered.topk(top).indices.tolist()) for at in (early, -1))
    when = (moments[early].step, moments[-1].step)
    groups = {  # label: slots, colour, style
        f"{len(first & last)} slots, busy at both": (first & last, REAL, "-"),
        f"{len(first - last)} slots, busy at step {when[0]} only": (first - last, "#000000", "--"),
        f"{len(last - first)} slots, busy at step {when[1]} only": (last - first, GREEN, "-."),
    }
    figure = Figure(figsize=(8.6, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
    highest = 0.0
    for label, (slots, colour, style) in groups.items():
        shares = [100 * float(now.offered[sorted(slots)].sum()) for now in moments]
        left.plot(steps, shares, color=colour, linestyle=style, linewidth=1.8)
        left.annotate(
            label,
            (steps[-1], max(shares[len(steps) // 2 :])),  # above the part of the line that it stands over
            (0, 9),
            textcoords="offset points",
            color=colour,
            ha="right",
            va="center",
            fontsize=9,
        )
        highest = max(highest, *shares)
    left.set(xlabel="training step", ylabel="of 100 draws", ylim=(0, 1.15 * highest))
    in_use = [float(torch.special.entr(now.offered.double()).sum().exp()) for now in moments]
    right.plot(steps, in_use, color=REAL, linewidth=2)
    right.set(xlabel="training step", ylabel="slots in use", ylim=(0, None))
    hide_top_and_right(left)
    hide_top_and_right(right)
    return figure


# ---------------------------------------------------------------- what D accepts


@torch.no_grad()
def discriminate(gan: MemoryGAN, images: Tensor) -> Tensor:
    """D(x), [n], of `images` [n, C, H, W], bytes or in [-1, 1], some at a time."""
    return torch.cat([gan.discriminate(as_float(part)) for part in images.split(500)])


def chances_figure(chances: Mapping[str, Tensor], colours: Mapping[str, str]) -> Figure:
    """The distribution of D for each set of images, one panel below the other, all on one scale."""
    figure = Figure(figsize=(6.6, 1.15 * len(chances) + 0.5), layout="constrained")
    panels = figure.subplots(len(chances), 1, sharex=True, sharey=True)
    for axes, (name, values) in zip(panels, chances.items(), strict=True):
        heights, edges = np.histogram(values.numpy(), bins=20, range=(0, 1))
        axes.bar(edges[:-1], 100 * heights / len(values), width=0.048, align="edge", color=colours[name])
        axes.axvline(0.5, color="black", linewidth=0.8, linestyle="--")
        axes.text(1.0, 0.98, name, ha="right", va="top", color=colours[name], transform=axes.transAxes)
        axes.set(xlim=(0, 1))
        hide_top_and_right(axes)
    panels[-1].set_xlabel("D(x)")
    figure.supylabel("per cent of the images", fontsize=10)
    return figure


def nearest_figure(pairs: Mapping[str, tuple[Tensor, Tensor]], images: Tensor, columns: int) -> Figure:
    """Some images of each kind, and below each the training image that is nearest to it.

    `pairs[kind]` holds images [columns, C, H, W] in [-1, 1] and the places of their nearest ones in `images`.
    """
    rows, labels = [], []
    for kind, (some, nearest_ones) in pairs.items():
        rows += [some, as_float(images[nearest_ones])]
        labels += [kind, "nearest in training"]
    return image_grid(torch.cat(rows), columns, row_labels=labels, width=7)


def acceptance_figure(moments: Sequence[Mapping[str, float]]) -> Figure:
    """The shares of seen, unseen and generated images with D above one half, against the step (logarithmic)."""
    figure = Figure(figsize=(6.2, 2.9), layout="constrained")
    axes = figure.subplots()
    steps = [now["step"] for now in moments]
    for name, label, colour, style in [
        ("seen", "training images", REAL, "-"),
        ("unseen", "unseen real images", REAL, "--"),
        ("fakes", "generated images", GENERATED, "-"),
    ]:
        values = [now[name] for now in moments]
        axes.plot(steps, values, color=colour, linestyle=style, marker="o", markersize=4)
        axes.text(steps[-1] * 1.12, values[-1], label, color=colour, va="center")
    axes.set(xscale="log", xlabel="training step", ylabel="share with D(x) > 1/2", ylim=(0, 1.03))
    axes.set_xlim(20, steps[-1] * 8)
    axes.set_xticks(steps, [str(step) for step in steps])
    axes.minorticks_off()
    hide_top_and_right(axes)
    return figure


# ---------------------------------------------------------------- exercises


@attempt
def check_discriminator_loss(answer: Any) -> str:
    """(12) without the mutual-information term, from D on real and on generated images."""
    real = torch.tensor([0.9, 0.6, 0.7], requires_grad=True)
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
    refuse_mistakes(loss, mistakes)
    if not torch.isclose(loss, right):
        raise Wrong(f"For D = {real.tolist()} and {generated.tolist()} it is {right:.4f}, yours is {loss:.4f}.")
    _refuse_no_gradient(loss)
    return "Equal to memgan.gan.discriminator_loss."


def _refuse_no_gradient(loss: Tensor) -> None:
    if loss.grad_fn is None:
        raise Wrong("The value is right, but the loss has no gradient, so nothing could learn from it.")


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
def check_generator_loss(answer: Any) -> str:
    """(13), non-saturating, without the information term, from D on generated images."""
    generated = torch.tensor([0.2, 0.4, 0.1], requires_grad=True)
    loss = torch.as_tensor(answered(answer(generated)))
    if loss.ndim > 0:
        raise Wrong(f"A loss is one number; yours has shape {list(loss.shape)}: take the mean over the batch.")
    right = generator_loss(generated, "non_saturating")
    mistakes = [
        Mistake(-right, "The sign is the other way round: G minimises, and its loss is smallest where D is near 1."),
        Mistake(generator_loss(generated, "saturating"), "That is the saturating loss; exercise 6.3 compares the two."),
        Mistake(right * 3, "An expectation is a mean over the batch, not a sum."),
    ]
    refuse_mistakes(loss, mistakes)
    if not torch.isclose(loss, right):
        raise Wrong(f"For D = {generated.tolist()} it is {right:.4f}, yours is {loss:.4f}.")
    _refuse_no_gradient(loss)
    return "Equal to memgan.gan.generator_loss."


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


SMALL = ["memory.num_slots=512", "networks.noise_dim=16"]  # of the GAN that the reader's memory trains
LOOKS = 4  # how often the two trainings of `train_own` are looked at


class Losses(NamedTuple):
    """The reader's losses; each of `discriminator` and `generator` takes what D says."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def train_own(parts: Parts, losses: Losses, steps: int = 240) -> Figure | None:
    """Train two small MemoryGANs on MNIST from the same weights: one with the reader's parts and losses, one with memgan's.

    Prints what both do on the way, and returns a sheet of samples of both. Says so where a part is missing.
    """
    if ... in (*vars(parts).values(), *losses) or _hold_three_dots(losses):
        print("Not answered yet: put your functions in the place of the dots.")
        return None
    settings = PRESETS["mnist-5k"].changed(SMALL)
    images = as_float(load_dataset(settings.dataset).images)
    prepare(seed=0)
    packages = build(settings)
    own_memory = OwnMemory(settings.memory, parts)
    own_memory.load_state_dict(packages.memory.state_dict())
    networks = copy.deepcopy((packages.inference, packages.generator))
    own = OwnGAN(own_memory, *networks, image_shape=packages.image_shape)
    memgans = Losses(discriminator_loss, lambda generated: generator_loss(generated, "non_saturating"))
    models = {"yours": (own, losses), "memgan": (packages, memgans)}
    rows = {name: _train(gan, used, images, settings, steps) for name, (gan, used) in models.items()}
    print("step   yours: D(real)  D(generated)  slots   memgan: D(real)  D(generated)  slots")
    for yours, theirs in zip(rows["yours"], rows["memgan"], strict=True):
        cells = [f"{real:14.2f}  {generated:12.2f}  {slots:5.0f}" for _, real, generated, slots in (yours, theirs)]
        print(f"{yours[0]:4}   {cells[0]}   {cells[1]}")
    draw = [gan.eval().generate(32, generator=torch.Generator().manual_seed(0)).images for gan, _ in models.values()]
    return image_grid(torch.cat(draw), 16, row_labels=["yours", "", "memgan", ""], width=7)


def _hold_three_dots(losses: Losses) -> bool:
    """Whether one of the functions has not been written yet."""
    half = torch.tensor([0.5])
    return losses.discriminator(half, half) is ... or losses.generator(half) is ...


def _train(
    gan: MemoryGAN, losses: Losses, images: Tensor, settings: Settings, steps: int
) -> list[tuple[int, float, float, float]]:
    """`memgan.training.training_step`, with the losses given; (step, mean D(real) and D(generated) since the row before, slots in use)."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    optimisers = adam_optimisers(gan, settings.training)
    rows = []
    block: list[tuple[float, float]] = []
    for step in range(1, steps + 1):
        batch = images[torch.randint(len(images), (64,), generator=generator)]
        with torch.no_grad():
            generated = gan.generate(64)
        queries = torch.cat([gan.inference(batch), gan.inference(generated.images)])
        weighted = settings.training.mi_weight * gan.information(generated, queries[64:], "posterior")
        labels = torch.tensor([1] * 64 + [0] * 64)
        real, fake = gan.read_write(queries, labels).chunk(2)
        _descend(optimisers.discriminator, losses.discriminator(real, fake) + weighted)
        generated = gan.generate(64)
        queries = gan.inference(generated.images)
        weighted = settings.training.mi_weight * gan.information(generated, queries, "posterior")
        _descend(optimisers.generator, losses.generator(gan.read(queries)) + weighted)
        block.append((float(real.detach().mean()), float(fake.detach().mean())))
        if step % (steps // LOOKS) == 0:
            mean_real, mean_fake = torch.tensor(block).mean(dim=0).tolist()
            rows.append((step, mean_real, mean_fake, float(gan.memory.slots_in_use())))
            block = []
    return rows


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of one network: the other network's gradients are cleared before its own step."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

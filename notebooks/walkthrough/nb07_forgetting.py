"""Forgetting, made to show: a discriminator learns to reject one kind of fakes, then another, and is asked again.

No generator is trained. A and B are kinds of fakes that look like digits: strokes too bold, strokes too thin. A
discriminator has STEPS_ON_A steps against A, then some against B only; the curve is the share of A that it still
rejects (D < 0.5). Real, A and B are made from different training digits. In `VARIANTS` one thing changes at a time, so
that the two ways in which a memory forgets can be told apart: its encoder moves away from its keys, or its slots go.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from memgan import VMFMemory
from memgan.data import as_float, load_dataset
from memgan.engines import Candidates, marked
from memgan.gan import discriminator_loss
from memgan.networks import InferenceNetwork
from memgan.plots import REAL, image_grid
from memgan.presets import PRESETS
from memgan.replay import ReplayBuffer
from memgan.training import prepare
from walkthrough.drawing import GREEN, PURPLE, VERMILION, hide_top_and_right

__all__ = [
    "MARKS",
    "VARIANTS",
    "CAUSES",
    "REPAIRS",
    "Curve",
    "Kinds",
    "RehearsingMemory",
    "Stationary",
    "Variant",
    "experiment",
    "forgetting_curves",
    "kinds",
    "kinds_of_digits",
    "load",
    "load_step_times",
    "load_stationary",
    "mean_share",
    "restroked",
    "small_multiples",
]

DATASET = "mnist-5k"
NUM_SLOTS = 512  # a quarter of the preset's, because a few minutes of training need no more
RESULTS = Path(__file__).resolve().parents[2] / "results"
RESULT = RESULTS / "forgetting.json"
STUDY = RESULTS / "study-seeds-mnist-5k.json"
STEPS_ON_A = 150
AMOUNT = 0.9  # of strokes; at 0.5 the sigmoid forgets A for a few steps only, so that there is little to prevent
MARKS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 300)  # steps on B after which the discriminator is asked about A
BATCH = 32  # B, of real images and of fakes
REPLAYED = 128  # old fakes that replay keeps; the same number of slots' images is rehearsed
STILL = 0.9  # a slot holds what it held while its key is within this cosine of what it was
LEARNING_RATE = PRESETS[DATASET].training.discriminator_lr


class Kinds(NamedTuple):
    """Three kinds of images [n, 1, 28, 28], no two made from the same digit."""

    real: Tensor
    bold: Tensor  # A
    thin: Tensor  # B


@dataclass(frozen=True)
class Variant:
    """What a discriminator is, and what is done about its forgetting."""

    memory: bool  # a VMFMemory reads the query; else a linear layer and a sigmoid do
    penalty: float = 0.0  # weight of R1, E |grad D(real)|^2 / 2 (Mescheder et al. 2018)
    replay: bool = False  # on B, half of the fakes come from 128 that were kept of A
    frozen: bool = False  # on B, the encoder stands still: no drift
    protected: bool = False  # on B, what A's slots hold is put back after each write: no slot loss
    re_encoded: bool = False  # each slot keeps an image, and its key follows the encoder
    gentle: bool = False  # a slot decays by alpha^gamma, not by alpha: who gives little takes little away
    rehearsed: bool = False  # on B, half of the fakes are images that slots of generated ones keep
    num_slots: int = NUM_SLOTS  # N; k is N/16
    buffer: int = 0  # on A and on B, half of the fakes come from so many that a ReplayBuffer keeps of all so far


VARIANTS: dict[str, Variant] = {
    "sigmoid": Variant(memory=False),
    "sigmoid + R1": Variant(memory=False, penalty=1.0),
    "sigmoid + replay": Variant(memory=False, replay=True),
    "memory": Variant(memory=True),
    "memory, encoder frozen": Variant(memory=True, frozen=True),
    "memory, slots protected": Variant(memory=True, protected=True),
    "memory, both stopped": Variant(memory=True, frozen=True, protected=True),
    "memory, keys re-encoded": Variant(memory=True, re_encoded=True),
    "memory, re-encoded and gentle": Variant(memory=True, re_encoded=True, gentle=True),
    "memory, rehearsed": Variant(memory=True, rehearsed=True),
    "memory, re-encoded, rehearsed": Variant(memory=True, re_encoded=True, rehearsed=True),
    "128 slots": Variant(memory=True, num_slots=128),
    "128 slots, encoder frozen": Variant(memory=True, num_slots=128, frozen=True),
    "128 slots, slots protected": Variant(memory=True, num_slots=128, protected=True),
    "128 slots, both stopped": Variant(memory=True, num_slots=128, frozen=True, protected=True),
    "128 slots, rehearsed": Variant(memory=True, num_slots=128, rehearsed=True),
    "memory + replay": Variant(memory=True, replay=True),
    "memory + 512 old fakes": Variant(memory=True, buffer=512),
    "memory + 2048 old fakes": Variant(memory=True, buffer=2048),
    "sigmoid + 512 old fakes": Variant(memory=False, buffer=512),
    "sigmoid + 2048 old fakes": Variant(memory=False, buffer=2048),
}


CAUSES = {  # what is stopped, for both sizes of memory
    "memory": "neither",
    "memory, encoder frozen": "drift",
    "memory, slots protected": "slot loss",
    "memory, both stopped": "both",
    "128 slots": "neither",
    "128 slots, encoder frozen": "drift",
    "128 slots, slots protected": "slot loss",
    "128 slots, both stopped": "both",
}
REPAIRS = tuple(
    name
    for name, variant in VARIANTS.items()
    if variant.re_encoded or variant.rehearsed or variant.replay or variant.buffer
)


class Curve(NamedTuple):
    """What a discriminator says after each number of `steps` on B; shares of images, 0 to 1."""

    variant: str
    seed: int
    steps: list[int]
    old: list[float]  # of A, rejected
    new: list[float]  # of B, rejected
    real: list[float]  # of the real images, accepted
    cosine: list[float]  # between an image of A's query now and before B, mean: 1 is no drift
    slots: list[float]  # share of the slots that A matched best before B that hold what they held; 1 for a sigmoid


def restroked(images: Tensor, amount: float) -> Tensor:
    """`images` [n, C, H, W] with bolder strokes (amount > 0) or thinner ones (< 0), up to 1: one pixel each way.

    Grey-level dilation and erosion: `amount` of the way to the largest, or smallest, of each pixel's 3x3 neighbours.
    """
    sign = 1 if amount > 0 else -1
    extreme = sign * F.max_pool2d(sign * F.pad(images, [1] * 4, mode="replicate"), kernel_size=3, stride=1)
    return images.lerp(extreme, abs(amount))


def kinds(seed: int, amount: float = AMOUNT) -> Kinds:
    """Real digits, bold fakes and thin fakes, from a random split of the training digits; the labels are not used."""
    images = as_float(load_dataset(DATASET).images)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    real, bold, thin = images[order].split([len(images) - 800, 400, 400])
    return Kinds(real, restroked(bold, amount), restroked(thin, -amount))


class RehearsingMemory(VMFMemory):
    """A memory that keeps an image beside each slot: of the last sample that found it the best match.

    `re_encode` turns the images into keys again, so that a key is as new as the encoder. With `gentle`, (9) starts from
    h^0 = alpha^gamma h and not from alpha h. Kim et al. have neither. A key that is re-encoded is the query of one
    image, no mean, so how far EM moved it no longer matters.
    """

    images: Tensor
    filled: Tensor

    def __init__(self, *args: Any, gentle: bool = False, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.gentle = gentle
        side = PRESETS[DATASET].networks.image_size
        self.register_buffer("images", torch.zeros(self.num_slots, 1, side, side))
        self.register_buffer("filled", torch.zeros(self.num_slots, dtype=torch.bool))

    @torch.no_grad()
    def keep_images(self, queries: Tensor, labels: Tensor, images: Tensor) -> None:
        """After a write of the same batch: every sample leaves its image with its best slot; the last one stays."""
        slots = best_matching(self, queries, labels)
        self.images[slots] = images
        self.filled[slots] = True

    @torch.no_grad()
    def re_encode(self, encoder: Callable[[Tensor], Tensor]) -> None:
        """K_i <- mu(image of slot i), for the slots that keep one."""
        if bool(self.filled.any()):
            self.keys[self.filled] = encoder(self.images[self.filled])

    def expectation_maximisation(self, queries: Tensor, matching: Candidates, belongs: Tensor, moves: Tensor) -> None:
        """(8-10), and with `gentle` another decay: the counts that EM leaves are replaced by alpha^gamma h + gamma."""
        before = self.histogram.clone()
        super().expectation_maximisation(queries, matching, belongs, moves)
        if self.gentle:
            gamma = (self.histogram - self.alpha * before).clamp(min=0)  # the sum over the batch
            touched = marked(matching.slots, moves, self.num_slots)
            self.histogram.copy_(torch.where(touched, self.alpha**gamma * before + gamma, self.histogram))


def best_matching(memory: VMFMemory, queries: Tensor, labels: Tensor) -> Tensor:
    """The slot with the largest posterior (4) among those with each query's label, [B]."""
    other = memory.values != labels.unsqueeze(1)
    return memory.posterior(queries).masked_fill(other, -1).argmax(dim=1)


class Shielded(NamedTuple):
    """What some slots of a memory held when they were shielded, a row for each of `slots`."""

    slots: Tensor
    keys: Tensor
    values: Tensor
    ages: Tensor
    histogram: Tensor

    def put_back(self, memory: VMFMemory) -> None:
        memory.keys[self.slots] = self.keys
        memory.values[self.slots] = self.values
        memory.ages[self.slots] = self.ages
        memory.histogram[self.slots] = self.histogram


class Discriminator(nn.Module):
    """A discriminator of one `Variant`: an encoder, and what reads its queries."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        preset = PRESETS[DATASET]
        self.variant = variant
        self.encoder = without_batch_statistics(InferenceNetwork(preset.networks, preset.memory.key_dim))
        settings = replace(preset.memory, num_slots=variant.num_slots, top_k=variant.num_slots // 16)
        self.memory = RehearsingMemory(**asdict(settings), gentle=variant.gentle)
        self.head = nn.Linear(preset.memory.key_dim, 1)
        nn.init.normal_(self.head.weight, std=0.02)
        betas = (preset.training.beta1, preset.training.beta2)
        self.optimiser = torch.optim.Adam(self.parameters(), LEARNING_RATE, betas=betas)
        self.shielded: Shielded | None = None

    def logit(self, images: Tensor) -> Tensor:
        return self.head(self.encoder.layers(images)).squeeze(1)

    def forward(self, images: Tensor) -> Tensor:
        """D(x), [n]."""
        if self.variant.memory:
            return self.memory.read(self.encoder(images))
        return self.logit(images).sigmoid()

    def loss(self, real: Tensor, fakes: Tensor) -> Tensor:
        """(12) without the mutual-information term, and the write that goes with it."""
        if self.variant.memory:
            return self.loss_of_memory(real, fakes)
        real = real.requires_grad_(self.variant.penalty > 0)
        logit = self.logit(real)
        loss = F.softplus(-logit).mean() + F.softplus(self.logit(fakes)).mean()
        if self.variant.penalty:
            (slope,) = torch.autograd.grad(logit.sum(), real, create_graph=True)
            squared_length = slope.square().flatten(1).sum(dim=1)
            loss = loss + self.variant.penalty / 2 * squared_length.mean()
        return loss

    def loss_of_memory(self, real: Tensor, fakes: Tensor) -> Tensor:
        if self.variant.re_encoded:
            self.memory.re_encode(self.encoder)
        images = torch.cat([real, fakes])
        queries = self.encoder(images)
        labels = torch.tensor([1] * len(real) + [0] * len(fakes))
        probabilities = self.memory.read_write(queries, labels)
        loss = discriminator_loss(probabilities[: len(real)], probabilities[len(real) :])
        if self.variant.re_encoded or self.variant.rehearsed:
            self.memory.keep_images(queries, labels, images)
        if self.shielded is not None:
            self.shielded.put_back(self.memory)
        return loss

    def rehearsal(self, number: int) -> Tensor:
        """Images that slots of generated ones keep, [number, C, H, W], every slot as often."""
        slots = (self.memory.filled & (self.memory.values == 0)).nonzero().squeeze(1)
        return some(self.memory.images[slots], number)

    @torch.no_grad()
    def slots_of(self, fakes: Tensor) -> Tensor:
        """The slots, each once, that these fakes match best among those of generated ones."""
        labels = torch.zeros(len(fakes), dtype=torch.long)
        return best_matching(self.memory, self.encoder(fakes), labels).unique()

    @torch.no_grad()
    def shield(self, images: Tensor) -> None:
        """From now on the slots that these fakes match best hold what they hold now."""
        slots = self.slots_of(images)
        self.shielded = Shielded(
            slots,
            keys=self.memory.keys[slots].clone(),
            values=self.memory.values[slots].clone(),
            ages=self.memory.ages[slots].clone(),
            histogram=self.memory.histogram[slots].clone(),
        )


def without_batch_statistics(network: InferenceNetwork) -> InferenceNetwork:
    """GroupNorm for BatchNorm: what D says of an image must not depend on which others stand beside it."""
    for index, layer in enumerate(network.layers):
        if isinstance(layer, nn.BatchNorm2d):
            network.layers[index] = nn.GroupNorm(1, layer.num_features)
    return network


def experiment(variant: str, seed: int, steps_on_b: int = 300, amount: float = AMOUNT) -> Curve:
    """One discriminator of `VARIANTS`, trained on A and then on B, asked about A at the `MARKS` up to `steps_on_b`.

    Reproducible from the seed alone. Raises KeyError for an unknown variant.
    """
    chosen = VARIANTS[variant]
    images = kinds(seed, amount)
    prepare(seed)
    discriminator = Discriminator(chosen)
    buffer = ReplayBuffer(chosen.buffer, images.real.shape[1:]) if chosen.buffer else None
    half = BATCH // 2
    for _ in range(STEPS_ON_A):
        fakes = some(images.bold, BATCH)
        if buffer is not None:
            fakes = with_old_fakes(fakes, buffer)
        train_once(discriminator, some(images.real, BATCH), fakes)
    if chosen.protected:
        discriminator.shield(images.bold)
    questions = Questions(discriminator, images)
    if chosen.frozen:
        discriminator.requires_grad_(False)
    marks = [0]
    answers = [questions.ask()]
    for step in range(1, steps_on_b + 1):
        fakes = some(images.thin, BATCH)
        if chosen.replay:
            fakes[:half] = some(images.bold[:REPLAYED], half)
        if chosen.rehearsed:
            fakes[:half] = discriminator.rehearsal(half)
        if buffer is not None:
            fakes = with_old_fakes(fakes, buffer)
        train_once(discriminator, some(images.real, BATCH), fakes)
        if step in MARKS:
            marks.append(step)
            answers.append(questions.ask())
    return Curve(
        variant,
        seed,
        marks,
        old=[answer.old for answer in answers],
        new=[answer.new for answer in answers],
        real=[answer.real for answer in answers],
        cosine=[answer.cosine for answer in answers],
        slots=[answer.slots for answer in answers],
    )


def some(images: Tensor, number: int) -> Tensor:
    """`number` of the images, drawn at random and with repetition."""
    return images[torch.randint(len(images), (number,))]


def with_old_fakes(fakes: Tensor, buffer: ReplayBuffer) -> Tensor:
    """Half of these `fakes` and as many old ones, as with `training.replay`; in one batch, which normalises nothing."""
    new = fakes[: len(fakes) // 2]
    buffer.add(new)
    return torch.cat([new, buffer.draw(len(fakes) - len(new))])


def train_once(discriminator: Discriminator, real: Tensor, fakes: Tensor) -> None:
    """A step of Adam; only the write where nothing may move."""
    loss = discriminator.loss(real, fakes)
    if loss.requires_grad:
        discriminator.optimiser.zero_grad()
        loss.backward()
        discriminator.optimiser.step()


class Answer(NamedTuple):
    """The numbers of a `Curve` at one step."""

    old: float
    new: float
    real: float
    cosine: float
    slots: float


class Questions:
    """What a `Curve` asks of a discriminator, which is compared with what it was when this was made, before B."""

    @torch.no_grad()
    def __init__(self, discriminator: Discriminator, images: Kinds) -> None:
        self.discriminator = discriminator
        self.images = images
        self.queries_before = discriminator.encoder(images.bold)
        self.slots = discriminator.slots_of(images.bold)
        self.keys_before = discriminator.memory.keys[self.slots].clone()

    @torch.no_grad()
    def ask(self) -> Answer:
        """The numbers as they are now."""
        discriminator = self.discriminator
        memory = discriminator.memory
        if discriminator.variant.re_encoded:
            memory.re_encode(discriminator.encoder)
        queries = discriminator.encoder(self.images.bold)
        still_there = (memory.keys[self.slots] * self.keys_before).sum(dim=1) > STILL
        still_generated = memory.values[self.slots] == 0
        return Answer(
            old=rounded_mean(discriminator(self.images.bold) < 0.5),
            new=rounded_mean(discriminator(self.images.thin) < 0.5),
            real=rounded_mean(discriminator(self.images.real) > 0.5),
            cosine=rounded_mean((self.queries_before * queries).sum(dim=1)),
            slots=rounded_mean(still_there & still_generated),
        )


def rounded_mean(values: Tensor) -> float:
    """The mean, or of truth values the share that is true, to four decimals."""
    return round(float(values.double().mean()), 4)


def load(path: Path = RESULT) -> list[Curve]:
    """The curves that scripts/measure_forgetting.py measured, every variant on its seeds."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    return [Curve(**curve) for curve in stored["curves"]]


def load_step_times(path: Path = RESULT) -> dict[str, float]:
    """Milliseconds of a training step by how many old fakes are kept: "0" and "2048"."""
    return json.loads(path.read_text(encoding="utf-8"))["step_ms"]


def load_stationary(path: Path = STUDY) -> "list[Stationary]":
    """What `memgan study seeds --preset mnist-5k` measured of old fakes in ordinary training."""
    runs = []
    for run in json.loads(path.read_text(encoding="utf-8"))["runs"]:
        kept = run["old_fakes"]
        runs.append(
            Stationary(
                gan="memory" if run["configuration"] == "memoryGAN" else "dcgan",
                seed=run["seed"],
                steps=[moment["step"] for moment in kept],
                rejected=[moment["value"] for moment in kept],
                newest=run["new_fakes_rejected"],
                accepted=round(1 - run["real_rejected"], 4),
            )
        )
    return runs


def of_variant(curves: Sequence[Curve], variant: str) -> list[Curve]:
    """The curves of `variant`, one for each of its seeds."""
    return [curve for curve in curves if curve.variant == variant]


def mean_share(curves: Sequence[Curve], variant: str, step: int, share: str = "old") -> float:
    """The mean over the seeds of one number of the curves of `variant`, at one of their steps."""
    values = []
    for curve in of_variant(curves, variant):
        place = curve.steps.index(step)
        values.append(getattr(curve, share)[place])
    return sum(values) / len(values)


STYLES = [  # Okabe and Ito's colours, each with a marker and a line of its own
    (VERMILION, "o", "-"),
    (REAL, "s", "-"),
    (GREEN, "^", "--"),
    (PURPLE, "D", "-."),
]


def kinds_of_digits(images: Kinds, columns: int = 14) -> Figure:
    """A row each of real digits, of bold fakes (A) and of thin fakes (B)."""
    rows = torch.cat([part[:columns] for part in images])
    return image_grid(rows, columns, row_labels=["real", "A: too bold", "B: too thin"], width=7.5)


def forgetting_curves(curves: Sequence[Curve], variants: Sequence[str]) -> Figure:
    """Share of A's fakes still rejected against steps on B: a line for each variant, mean and range over its seeds."""
    figure = Figure(figsize=(8.2, 3.6), layout="constrained")
    axes = figure.subplots()
    for variant, style in zip(variants, STYLES, strict=False):
        draw_share(axes, of_variant(curves, variant), "old", variant, style)
    finish(axes, "share of A's fakes still rejected")
    return figure


def small_multiples(curves: Sequence[Curve], variants: Mapping[str, str], columns: int = 4) -> Figure:
    """Share of A's fakes still rejected against steps on B: a panel for each variant under its title, a thin line a seed.

    The thick line is the mean of the seeds. All panels have the same axes.
    """
    rows = math.ceil(len(variants) / columns)
    figure = Figure(figsize=(9.4, 1.75 * rows + 0.6), layout="constrained")
    panels = np.atleast_2d(figure.subplots(rows, columns, sharex=True, sharey=True))
    for axes, (variant, title) in zip(panels.flat, variants.items(), strict=False):
        chosen = of_variant(curves, variant)
        if not chosen:
            raise ValueError(f"no curve for {variant!r}")
        colour = REAL if VARIANTS[variant].memory else VERMILION
        values = torch.tensor([curve.old for curve in chosen])
        for of_seed in values:
            axes.plot(chosen[0].steps, of_seed, color=colour, linewidth=0.8, alpha=0.5)
        axes.plot(chosen[0].steps, values.mean(dim=0), color=colour, linewidth=2.2)
        axes.set_title(title, fontsize=10, color=colour)
        step_axis(axes, ticks=(0, 1, 5, 20, 80, 300))
        axes.set(ylim=(-0.03, 1.03))
        hide_top_and_right(axes)
    for axes in panels.flat[len(variants) :]:
        axes.set_visible(False)
    figure.supxlabel("steps on B: 0, then a logarithmic scale from 1 on", fontsize=10)
    figure.supylabel("share of A still rejected", fontsize=10)
    return figure


def draw_share(axes: Axes, curves: Sequence[Curve], share: str, label: str, style: tuple[str, str, str]) -> None:
    """The mean of one number of the `curves` at each step, over their range. Raises ValueError for no curves."""
    if not curves:
        raise ValueError(f"no curve for {label!r}")
    colour, marker, line = style
    values = torch.tensor([getattr(curve, share) for curve in curves])
    steps = curves[0].steps
    axes.plot(steps, values.mean(dim=0), color=colour, marker=marker, linestyle=line, markersize=5, label=label)
    if len(curves) > 1:
        axes.fill_between(steps, values.amin(dim=0), values.amax(dim=0), color=colour, alpha=0.13, linewidth=0)


def finish(axes: Axes, label: str) -> None:
    """The axes of a picture against the steps on B, on a logarithmic scale that begins at 0; each line is named."""
    step_axis(axes, ticks=(0, 1, 2, 5, 10, 20, 50, 100, 300))
    axes.set(xlabel="steps on B: 0, then logarithmic", ylabel=label, ylim=(-0.03, 1.03))
    name_lines(axes)
    hide_top_and_right(axes)


def step_axis(axes: Axes, ticks: Sequence[int]) -> None:
    """Steps on B along x, logarithmic but for the first, which is 0."""
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()


def name_lines(axes: Axes, apart: float = 0.08) -> None:
    """The label of each line at its right end, in its colour; labels keep `apart`, a share of the height."""
    below = -math.inf
    for line in sorted(axes.lines, key=lambda line: float(np.asarray(line.get_ydata())[-1])):
        label = str(line.get_label())
        end = float(np.asarray(line.get_ydata())[-1])
        room = apart * (1 + 0.7 * label.count("\n"))
        height = max(end, below + room)
        below = height
        axes.annotate(
            label,
            (float(np.asarray(line.get_xdata())[-1]), end),
            xytext=(1.02, height),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            color=str(line.get_color()),
            fontsize=9.5,
            annotation_clip=False,
        )


class Stationary(NamedTuple):
    """One GAN on MNIST: what its last discriminator says of fakes from its youth; shares of images."""

    gan: str  # "memory" or "dcgan"
    seed: int
    steps: list[int]  # at which fakes were kept
    rejected: list[float]  # of the fakes kept at each of them
    newest: float  # of fakes made at the end, rejected
    accepted: float  # of real test images

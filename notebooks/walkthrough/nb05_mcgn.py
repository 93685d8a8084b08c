"""Notebook 5: a slot and a noise are crossed, the two information bounds, figures, and the checks of the exercises.

A design crosses every slot with every noise, so that what the slot does and what the noise does can be told apart:
images [S, R, ...] of S slots (rows) and R noises (columns). Long trainings were made by scripts/measure_bounds.py.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from memgan import MemoryGAN, VMFMemory, information_loss, vmf
from memgan.data import as_float
from memgan.gan import posterior_information_loss
from memgan.lab.evaluation.classifier import Classifier
from memgan.plots import REAL, UNUSED, image_grid
from walkthrough.drawing import SKY_BLUE, VERMILION, hide_top_and_right
from walkthrough.lesson import Mistake, Wrong, answered, attempt, refuse_mistakes

__all__ = [
    "Design",
    "Pulls",
    "run_table",
    "check_density_loss",
    "check_key_share",
    "check_posterior_loss",
    "check_probabilities",
    "check_sample",
    "crossed",
    "information_bound",
    "k_means",
    "least_pure_rows",
    "load_runs",
    "pull_figure",
    "pulls",
    "shared_information",
    "shares_figure",
    "shares_of_variance",
    "sheets",
    "slot_rows",
    "two_signs",
    "variety",
]

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "results" / "bounds.json"


class Design(NamedTuple):
    """Every slot with every noise."""

    slots: Tensor  # [S], all different, drawn as the generator's are
    images: Tensor  # [S, R, C, H, W]
    classes: Tensor  # [S, R], what the classifier sees
    features: Tensor  # [S, R, 64], of the classifier
    queries: Tensor  # [S, R, M], what mu makes of the images


@torch.no_grad()
def crossed(gan: MemoryGAN, classifier: Classifier, num_slots: int = 48, num_noises: int = 48, seed: int = 0) -> Design:
    """Images of `num_slots` different slots, each with the same `num_noises` noises; evaluation mode is up to you."""
    generator = torch.Generator().manual_seed(seed)
    _, drawn = gan.memory.sample(20 * num_slots, generator)
    slots = _first_different(drawn, num_slots)
    noise = torch.rand(num_noises, gan.noise_dim, generator=generator) * 2 - 1
    keys = gan.memory.keys[slots].repeat_interleave(num_noises, dim=0)
    images = gan.generator(keys, noise.repeat(len(slots), 1))
    features = classifier.features(images)
    classes = classifier.head(features).argmax(dim=1)
    queries = gan.inference(images)
    rows_and_columns = (len(slots), num_noises)
    return Design(
        slots,
        images=images.unflatten(0, rows_and_columns),
        classes=classes.unflatten(0, rows_and_columns),
        features=features.unflatten(0, rows_and_columns),
        queries=queries.unflatten(0, rows_and_columns),
    )


def _first_different(drawn: Tensor, number: int) -> Tensor:
    """The first `number` slots of `drawn` that differ from all before them, in their order."""
    different: list[int] = []
    for slot in drawn.tolist():
        if slot not in different:
            different.append(slot)
    return torch.tensor(different[:number])


def entropy(probabilities: Tensor) -> float:
    """H = -sum p log p of `probabilities` [N], in nats."""
    return float(torch.special.entr(probabilities).sum())


@torch.no_grad()
def information_bound(memory: VMFMemory, slots: Tensor, queries: Tensor) -> float:
    """Nats that images are at least worth about their slot, from `slots` [n] and their images' `queries` [n, M].

        I(c; x) >= H(c) + E log r(c|x),    r(c=i|x) = p_i exp(kappa K_i . mu(x)) / sum_j p_j exp(kappa K_j . mu(x))

    with p = p(c|v=1): the memory's own posterior (4) over its real slots. Never above H(c), as log r <= 0.
    """
    probabilities = memory.slot_probabilities()
    return entropy(probabilities) + _mean_log_r(memory, slots, queries, probabilities.log())


def _mean_log_r(memory: VMFMemory, slots: Tensor, queries: Tensor, log_prior: Tensor) -> float:
    """E log r(c|x) of the bound, for this `log_prior` over the slots."""
    scores = memory.kappa * queries.double() @ memory.keys.double().T + log_prior
    log_r = scores.log_softmax(dim=1)
    of_the_slots = log_r.gather(1, slots.unsqueeze(1))
    return float(of_the_slots.mean())


def shares_of_variance(values: Tensor) -> tuple[float, float, float]:
    """Of `values` [S, R, ...]: shares of the variance due to the slot, to the noise, and to both only together.

    The two-way analysis of variance of a full design; sums to 1.
    """
    values = values.flatten(2).double()
    centred = values - values.mean(dim=(0, 1))
    total = centred.square().mean(dim=(0, 1)).sum()
    slot = centred.mean(dim=1).square().mean(dim=0).sum() / total
    noise = centred.mean(dim=0).square().mean(dim=0).sum() / total
    return float(slot), float(noise), float(1 - slot - noise)


def shared_information(classes: Tensor) -> float:
    """I(class; row) / H(class), 0 to 1, of `classes` [rows, columns], each row as probable as the others."""
    joint = F.one_hot(classes).double().mean(dim=1) / len(classes)
    marginal = joint.sum(dim=0)
    conditional_entropy = torch.special.entr(joint * len(classes)).sum(dim=1).mean()
    return float(1 - conditional_entropy / torch.special.entr(marginal).sum())


def variety(images: Tensor, real: Tensor, labels: Tensor) -> float:
    """How varied the images of a slot are: their mean variance a pixel, as a share of that of real images of a class.

    `images` [S, R, C, H, W] are of S slots; `real` [n, C, H, W] have the classes `labels` [n].
    """
    of_classes = [real[labels == label].var(dim=0, correction=0).mean() for label in labels.unique()]
    return float(images.var(dim=1, correction=0).mean() / torch.stack(of_classes).mean())


def k_means(points: Tensor, number: int, steps: int = 10) -> Tensor:
    """The centres [number, d] of k-means on `points` [n, d], which starts from points drawn by a fixed seed."""
    start = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:number]
    centres = points[start]
    for _ in range(steps):
        cluster = torch.cdist(points, centres).argmin(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, cluster, points)
        counts = cluster.bincount(minlength=number).unsqueeze(1)
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)  # an empty cluster stays where it is
    return centres


# ---------------------------------------------------------------- the sign of the constant


def two_signs(kappas: Tensor, true_kappa: float) -> tuple[Tensor, Tensor, float]:
    """InfoGAN's bound with +log C and with -log C, for each of `kappas` [n], and the information itself; nats.

    The case in which all is known: K uniform on the sphere in three dimensions, the query vMF around K with
    `true_kappa`. Then K given the query is vMF around the query, and its mean cosine is coth kappa - 1/kappa.
    """
    cosine = 1 / math.tanh(true_kappa) - 1 / true_kappa
    entropy_of_key = math.log(4 * math.pi)  # of the uniform distribution on the sphere
    log_constant = vmf.log_normaliser(kappas, 3)
    right = entropy_of_key + log_constant + kappas * cosine
    printed = entropy_of_key - log_constant + kappas * cosine
    information = entropy_of_key + float(vmf.log_normaliser(true_kappa, 3)) + true_kappa * cosine
    return right, printed, information


# ---------------------------------------------------------------- how hard each bound pulls


class Pulls(NamedTuple):
    """What the two bounds do to a query on its way from the key of a rival to the key of its own slot."""

    degrees: Tensor  # [n], from the query to its own key
    density: Tensor  # [n], length of the gradient of I_hat along the sphere
    posterior: Tensor  # [n], of I_post
    probability: Tensor  # [n], p(c|x) of its own slot among the real ones


def pulls(memory: VMFMemory, slot: int, number: int = 121) -> Pulls:
    """The gradients of both losses at `number` queries between the nearest real key and the key of `slot`."""
    own = memory.keys[slot]
    cosines = memory.keys @ own
    never_drawn = memory.slot_probabilities() < 1e-4
    cosines[never_drawn] = -1
    cosines[slot] = -1
    rival = memory.keys[cosines.argmax()]
    across = F.normalize(rival - (rival @ own) * own, dim=0)
    angle = torch.linspace(0, float((rival @ own).acos()), number)
    points = angle.cos().unsqueeze(1) * own + angle.sin().unsqueeze(1) * across
    slots = torch.full((number,), slot)
    losses = {
        "density": lambda q: information_loss(own.expand_as(q), q, memory.kappa),
        "posterior": lambda q: posterior_information_loss(memory, slots, q),
    }
    lengths = {}
    for name, loss in losses.items():
        queries = points.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(number * loss(queries), queries)  # the losses are means
        along = gradient - (gradient * points).sum(dim=1, keepdim=True) * points
        lengths[name] = along.norm(dim=1)
    probability = memory.log_posterior_of(slots, points).exp()
    return Pulls(angle.rad2deg(), lengths["density"], lengths["posterior"], probability)


def pull_figure(found: Pulls, degrees_at_rest: float) -> Figure:
    """Both pulls, and the posterior of the own slot, against the angle between query and key."""
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(found.degrees, found.density, color=VERMILION, linewidth=2)
    left.plot(found.degrees, found.posterior, color=REAL, linewidth=2)
    third = len(found.degrees) // 3
    x = float(found.degrees[third])
    left.text(x - 1, float(found.density[third]) + 0.3, "density", color=VERMILION, ha="right")
    left.text(float(found.degrees[-1]) * 0.68, float(found.posterior[2 * third]) * 0.7, "posterior", color=REAL)
    left.set(ylabel="pull along the sphere", ylim=(0, None))
    right.plot(found.degrees, found.probability, color="black", linewidth=2)
    right.set(ylabel="probability of the own slot, p(c | x)", ylim=(0, 1.03))
    for axes in (left, right):
        axes.axvline(degrees_at_rest, color=UNUSED, linestyle="--", linewidth=1)
        axes.set(xlabel="degrees from the query to its own key", xlim=(0, float(found.degrees[-1])))
        hide_top_and_right(axes)
    right.text(degrees_at_rest - 0.8, 0.3, "generated queries\nrest here", ha="right", color="#555555", fontsize=9)
    return figure


# ---------------------------------------------------------------- the long trainings


def load_runs() -> dict[str, list[dict[str, Any]]]:
    """The runs of scripts/measure_bounds.py by name, those of all seeds of a name in a list."""
    found: dict[str, list[dict[str, Any]]] = {}
    for run in json.loads(RESULT.read_text(encoding="utf-8"))["runs"]:
        found.setdefault(run["run"], []).append(run)
    return found


def run_table(runs: Mapping[str, Sequence[Mapping[str, Any]]], names: Sequence[str], columns: Mapping[str, str]) -> str:
    """A table of the runs `names`, a row for each seed; `columns` are the measures and how each is written."""
    head = f"{'run':{25}}seed" + "".join(f"{name.replace('_', ' '):>{len(name) + 2}}" for name in columns)
    lines = [head]
    for name in names:
        for run in runs[name]:
            cells = "".join(f"{run[column]:>{len(column) + 2}{style}}" for column, style in columns.items())
            lines.append(f"{name:25}{run['seed']:4}{cells}")
    return "\n".join(lines)


def sheets(files: Mapping[str, str], size: float = 3.1, aspect: float = 0.73) -> Figure:
    """Sheets of figures/ side by side, by their titles: a slot in each row, the same noises in each."""
    from matplotlib.image import imread

    figure = Figure(figsize=(size * len(files), aspect * size))
    figure.set_layout_engine("constrained", h_pad=0.08)  # else the titles are cut
    for axes, (title, name) in zip(np.atleast_1d(figure.subplots(1, len(files))), files.items(), strict=True):
        axes.imshow(imread(ROOT / "figures" / name), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title, fontsize=10, loc="left")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return figure


def shares_figure(runs: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Who decides what: bars of the class's entropy and of the pixels' variance, stacked by slot, noise and both."""
    figure = Figure(figsize=(8.4, 0.5 * len(runs) + 1.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = list(runs)
    for place, run in enumerate(runs.values()):
        for part, by, colour in [("slot", 0.2, REAL), ("noise", -0.2, VERMILION)]:
            share = run[f"class_from_{part}"]
            left.barh(place + by, share, height=0.38, color=colour)
            text = f"{share:.2f} from the {part}"
            left.text(share + 0.02, place + by, text, color=colour, va="center", fontsize=9)
        start = 0.0
        for part, colour in [("slot", REAL), ("noise", VERMILION), ("both", SKY_BLUE)]:
            width = run[f"variance_{part}"]
            right.barh(place, width, left=start, height=0.6, color=colour, edgecolor="white")
            middle = start + width / 2
            if width > 0.15:
                text_colour = "white" if part == "slot" else "black"
                text = f"{part} {width:.2f}" if width > 0.25 else f"{part}\n{width:.2f}"
                right.text(middle, place, text, ha="center", va="center", color=text_colour, fontsize=9)
            elif width > 0.005:
                right.text(
                    middle, place + 0.32, f"{part} {width:.2f}", ha="center", va="bottom", color=colour, fontsize=9
                )
            start += width
    left.set_yticks(range(len(names)), names)
    left.set(xlabel="share of the class that is known", xlim=(0, 1.5), xticks=[0, 0.5, 1])
    right.set(xlabel="share of the variance of the pixels", xlim=(0, 1))
    for axes in (left, right):
        hide_top_and_right(axes)
    return figure


@torch.no_grad()
def slot_rows(gan: MemoryGAN, slots: Sequence[int], images: Tensor, slot_of_image: Tensor) -> Figure:
    """A row for each of `slots`: four real `images` [n, C, H, W] that belong to it, a gap, eight generated ones."""
    noise = torch.rand(8, gan.noise_dim, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rows = []
    for slot in slots:
        real = as_float(images[slot_of_image == slot][:4])
        gap = torch.ones_like(real[:1])
        rows += [real, gap, gan.generator(gan.memory.keys[slot].expand(8, -1), noise)]
    labels = [f"slot {slot}" for slot in slots]
    figure = image_grid(torch.cat(rows), 13, row_labels=labels, width=6.6)
    (axes,) = figure.axes
    for text, place in [("real images of the slot", 4 / 26), ("generated for its key", 18 / 26)]:
        axes.text(place, 1.01, text, transform=axes.transAxes, ha="center", va="bottom")
    return figure


@torch.no_grad()
def least_pure_rows(gan: MemoryGAN, measured: Sequence[Mapping[str, Any]]) -> Figure:
    """Sixteen images for each slot of `measured`, labelled by its number and the classes that the classifier saw."""
    noise = torch.rand(16, gan.noise_dim, generator=torch.Generator().manual_seed(0)) * 2 - 1
    keys = torch.stack([gan.memory.keys[row["slot"]] for row in measured])
    images = gan.generator(keys.repeat_interleave(16, dim=0), noise.repeat(len(measured), 1))
    labels = []
    for row in measured:
        by_count = sorted(range(10), key=lambda label: -row["classes"][label])
        seen = [str(label) for label in by_count if row["classes"][label] > 1]
        labels.append(f"slot {row['slot']}: {', '.join(seen)}")
    return image_grid(images, 16, row_labels=labels, width=7.6)


# ---------------------------------------------------------------- exercises

HISTOGRAM = [2.0, 5.0, 4.0, 2.0]  # of exercise 1
VALUES = [1, 0, 1, 1]


@attempt
def check_probabilities(answer: Sequence[float]) -> str:
    """Exercise 1: p(c=i|v=1) of four slots."""
    given = torch.tensor([answered(entry) for entry in answer], dtype=torch.float64)
    mass = torch.tensor(HISTOGRAM, dtype=torch.float64)
    real = torch.tensor(VALUES, dtype=torch.float64)
    if given.shape != mass.shape:
        raise Wrong(f"There are four slots, you gave {len(given)} numbers.")
    if torch.allclose(given, mass / mass.sum(), atol=1e-3):
        raise Wrong("Slot 1 stands for generated images (v = 0): the generator never draws it.")
    if torch.allclose(given, real / real.sum(), atol=1e-3):
        raise Wrong("Real slots are not equally probable: h says how much data stands behind each.")
    if torch.allclose(given, mass * real, atol=1e-3):
        raise Wrong("These are h v. Divide by their sum, so that they are probabilities.")
    if not torch.allclose(given, mass * real / (mass * real).sum(), atol=2e-3):
        raise Wrong("Not these. Multiply h by v, then divide by the sum.")
    return "Slot 2 is drawn half of the time, slot 1 never."


@attempt
def check_sample(answer: Callable[[Tensor, Tensor, int], Tensor]) -> str:
    """Your own memory: a function (values [N], histogram [N], number) -> slots [number], drawn by (11)."""
    values = torch.tensor([0, 1, 1, 1, 0, 1])
    histogram = torch.tensor([3.0, 1.0, 0.0, 6.0, 2.0, 4.0])
    number = 40_000
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = answered(answer(values, histogram, number))
        again = answer(values, histogram, number)
    if not isinstance(drawn, Tensor) or drawn.shape != (number,) or drawn.is_floating_point():
        shape = f"shape {list(drawn.shape)} and {drawn.dtype}" if isinstance(drawn, Tensor) else type(drawn).__name__
        raise Wrong(f"It should return {number} places of slots, a tensor of whole numbers; it returns {shape}.")
    not_real = drawn[values[drawn] == 0]
    if len(not_real) > 0:
        raise Wrong(f"It returns slot {int(not_real[0])}, which has v = 0.")
    if bool((drawn == 2).any()):
        raise Wrong("It returns slot 2, whose h is 0. If you use a running sum, mind the boundary.")
    if torch.equal(drawn, again):
        raise Wrong("Two calls return the same slots: they should be drawn at random.")
    share = torch.bincount(drawn, minlength=6) / number
    expected = histogram * values / (histogram * values).sum()
    if not torch.allclose(share, expected, atol=0.012):
        raise Wrong(f"The shares are {share.numpy().round(3)}, expected {expected.numpy().round(3)}.")
    return "Each real slot comes as often as its count says."


@attempt
def check_key_share(answer: float) -> str:
    """The key's share of the first layer's variance, if the key were scaled by sqrt(M), M = 64, Z = 16."""
    key = 64  # squared lengths
    noise = 16 / 3
    mistakes = [
        Mistake(1 / (1 + noise), "That is the share of the unscaled key. Its squared length becomes 64."),
        Mistake(64 / 80, "The squared length of z is not 16: a uniform number on (-1, 1) has mean square 1/3."),
        Mistake(8 / (8 + math.sqrt(noise)), "Those are lengths. Variances go with squared lengths."),
    ]
    for mistake in mistakes:
        if abs(answer - mistake.result) < 5e-3:
            raise Wrong(mistake.reason)
    if abs(answer - key / (key + noise)) > 5e-3:
        raise Wrong("Not this. Share = |key|^2 / (|key|^2 + E|z|^2), with |key|^2 = 64 after scaling.")
    return "About 0.92: the first layer would hardly hear the noise."


@attempt
def check_density_loss(answer: Callable[[Tensor, Tensor, float], Tensor]) -> str:
    """Your own memory: a function (keys [B, M], queries [B, M], kappa) -> I_hat (14)."""
    memory, slots, queries = small_case()
    keys = memory.keys[slots]
    loss = torch.as_tensor(answered(answer(keys, queries.clone().requires_grad_(), 6.0)))
    _refuse_no_scalar(loss)
    right = information_loss(keys, queries, 6.0)
    mistakes = [
        Mistake(-right, "The sign is the other way round: the loss is smallest where queries meet their keys."),
        Mistake(right / 6, "The concentration kappa is missing."),
        Mistake(right * len(slots), "An expectation is a mean over the batch, not a sum."),
        Mistake(-6 * (keys @ queries.T).mean(), "Each query meets every key; it should meet its own one only."),
    ]
    _compare(loss, right, mistakes)
    if loss.grad_fn is None:
        raise Wrong("The loss has no gradient for the queries, so nothing could learn from it.")
    return "Equal to memgan.information_loss."


@attempt
def check_posterior_loss(answer: Callable[..., Tensor]) -> str:
    """Your own memory: a function (keys, values, histogram, slots [B], queries [B, M], kappa) -> I_post (15)."""
    memory, slots, queries = small_case()
    arguments = (memory.keys, memory.values, memory.histogram, slots, queries, 6.0)
    differentiable = queries.clone().requires_grad_()
    loss = torch.as_tensor(answered(answer(*arguments[:4], differentiable, 6.0)))
    _refuse_no_scalar(loss)
    right = posterior_information_loss(memory, slots, queries)
    scores = 6.0 * queries @ memory.keys.T
    log_prior = (memory.histogram + 1e-8).log()
    real_only = scores.masked_fill(memory.values == 0, -torch.inf)

    def loss_from(all_scores: Tensor) -> Tensor:
        return F.cross_entropy(all_scores, slots)

    mistakes = [
        Mistake(-right, "The sign is the other way round: log p is negative, and the loss is its negative mean."),
        Mistake(right * len(slots), "An expectation is a mean over the batch, not a sum."),
        Mistake(
            loss_from(scores + log_prior), "Your posterior runs over all slots: the generator draws real ones only."
        ),
        Mistake(loss_from(real_only), "Your posterior forgets the prior: each score needs log(h + beta)."),
    ]
    _compare(loss, right, mistakes)
    if loss.grad_fn is None:
        raise Wrong("The loss has no gradient for the queries, so nothing could learn from it.")
    (gradient,) = torch.autograd.grad(loss, differentiable)
    if not bool(gradient.isfinite().all()):
        raise Wrong(
            "The value is right, but its gradient is not finite. Work with log_softmax instead of log of softmax."
        )
    return "Equal to memgan.posterior_information_loss, with a finite gradient."


def _refuse_no_scalar(loss: Tensor) -> None:
    if loss.ndim > 0:
        raise Wrong(f"A loss is one number; yours has shape {list(loss.shape)}: take the mean over the batch.")


def _compare(loss: Tensor, right: Tensor, mistakes: Sequence[Mistake]) -> None:
    """Raise `Wrong` unless `loss` is `right`, with the reason where it is one of the `mistakes`."""
    if torch.allclose(loss, right.to(loss.dtype), atol=1e-4):
        return
    refuse_mistakes(loss, mistakes, atol=1e-4)
    raise Wrong(f"Expected {float(right):.4f}, yours is {float(loss):.4f}.")


def small_case() -> tuple[VMFMemory, Tensor, Tensor]:
    """A memory of seven slots, slots drawn from it, and queries around their keys."""
    generator = torch.Generator().manual_seed(5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        memory = VMFMemory(7, 3, 2, kappa=6.0)
    memory.histogram.copy_(torch.rand(7, generator=generator) + 0.2)
    keys, slots = memory.sample(40, generator)
    queries = F.normalize(keys + 0.4 * torch.randn(40, 3, generator=generator), dim=1)
    return memory, slots, queries

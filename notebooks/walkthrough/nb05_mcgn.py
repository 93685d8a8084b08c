"""The generator that is told a slot: what decides the class and what the style, the bound, figures, exercises.

A design crosses every slot with every noise, so that what the slot does and what the noise does can be told apart:
images [S, R, ...] of S slots (rows) and R noises (columns).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from memgan import MemoryGAN, VMFMemory, vmf
from memgan.lab.evaluation.classifier import Classifier
from memgan.plots import REAL, UNUSED
from walkthrough.drawing import SKY_BLUE, VERMILION, hide_top_and_right
from walkthrough.lesson import Mistake, Wrong, answered, attempt

__all__ = [
    "Design",
    "agreement",
    "check_bound",
    "check_key_share",
    "check_probabilities",
    "check_sampler",
    "check_slot_share",
    "crossed",
    "information_bound",
    "sampled_and_expected",
    "shared_information",
    "shares_of_variance",
    "sign_figure",
    "style_and_class",
    "tight_kappa",
    "two_signs",
    "usage",
    "usage_figure",
]


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


def usage(memory: VMFMemory) -> Tensor:
    """p(c=i|v=1), [N], in float64. (11)"""
    mass = memory.histogram.double() * memory.values
    return mass / mass.sum()


def entropy(probabilities: Tensor) -> float:
    """H = -sum p log p of `probabilities` [N], in nats."""
    return float(torch.special.entr(probabilities).sum())


@torch.no_grad()
def information_bound(memory: VMFMemory, slots: Tensor, queries: Tensor) -> float:
    """Nats that images are at least worth about their slot, from `slots` [n] and their images' `queries` [n, M].

        I(c; x) >= H(c) + E log r(c|x),    r(c=i|x) = p_i exp(kappa K_i . mu(x)) / sum_j p_j exp(kappa K_j . mu(x))

    with p = p(c|v=1): the memory's own posterior (4) over its real slots. Never above H(c), as log r <= 0.
    """
    probabilities = usage(memory)
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


def agreement(classes: Tensor) -> float:
    """Probability that two images of the same row of `classes` [rows, columns] are seen as the same class."""
    counts = F.one_hot(classes).sum(dim=1).double()
    columns = classes.shape[1]
    equal_pairs = (counts * (counts - 1)).sum(dim=1)
    all_pairs = columns * (columns - 1)
    return float((equal_pairs / all_pairs).mean())


def shared_information(classes: Tensor) -> float:
    """I(class; row) / H(class), 0 to 1, of `classes` [rows, columns], each row as probable as the others."""
    joint = F.one_hot(classes).double().mean(dim=1) / len(classes)
    marginal = joint.sum(dim=0)
    conditional_entropy = torch.special.entr(joint * len(classes)).sum(dim=1).mean()
    return float(1 - conditional_entropy / torch.special.entr(marginal).sum())


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


def tight_kappa(kappas: Tensor, bounds: Tensor) -> float:
    """The kappa at which a bound is highest."""
    return float(kappas[bounds.argmax()])


def sign_figure(kappas: Tensor, right: Tensor, printed: Tensor, information: float, true_kappa: float) -> Figure:
    """Left the right bound, close up; right both bounds; and the information that they must stay under."""
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    close_up, both = figure.subplots(1, 2)
    for axes, limits in [(close_up, (0, 1.6)), (both, (-2, 32))]:
        axes.axhline(information, color="black", linewidth=1.2, linestyle="--", label="the information itself")
        axes.plot(kappas, right, color=REAL, linewidth=2, label=r"$+\log C_M(\kappa)$: a lower bound")
        label = r"$-\log C_M(\kappa)$, as printed"
        axes.plot(kappas, printed, color=VERMILION, linewidth=2, linestyle="-.", label=label)
        axes.axvline(true_kappa, color=UNUSED, linewidth=1, linestyle=":")
        axes.text(true_kappa, limits[0], r" true $\kappa$", color="#555555", fontsize=9, va="bottom")
        axes.set(xlabel=r"$\kappa$ of the variational posterior", ylabel="nats", ylim=limits)
        hide_top_and_right(axes)
    both.legend(frameon=False, loc="upper left")
    return figure


# ---------------------------------------------------------------- figures


def sampled_and_expected(expected: Sequence[float], counts: Tensor, values: Sequence[int]) -> Figure:
    """Bars of p(c=i|v=1) beside the share of draws that fell on each slot."""
    figure = Figure(figsize=(5.6, 2.8), layout="constrained")
    axes = figure.subplots()
    place = np.arange(len(expected))
    share = (counts / counts.sum()).numpy()
    axes.bar(place - 0.2, list(expected), width=0.38, color=REAL, label=r"$p(c=i \mid v_c=1)$ (11)")
    axes.bar(place + 0.2, share, width=0.38, color=SKY_BLUE, hatch="//", label="share of the draws")
    axes.set_xticks(place, [f"slot {slot}\nv = {value}" for slot, value in enumerate(values)])
    axes.set(ylabel="probability")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    hide_top_and_right(axes)
    return figure


def usage_figure(probabilities: Tensor, in_use: float) -> Figure:
    """p(c|v=1) of the real slots, most probable first, on a logarithmic axis; slots at 0 are left out."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    ordered = probabilities[probabilities > 1e-7].sort(descending=True).values.numpy()
    axes.bar(np.arange(1, len(ordered) + 1), ordered, width=1.0, color=REAL)
    axes.axvline(in_use, color="black", linestyle="--", linewidth=1)
    text = f"{in_use:.0f} slots in use: exp of the entropy"
    axes.text(in_use + 3, float(ordered[0]) * 0.7, text, fontsize=9, va="top")
    axes.set(yscale="log", xlabel="real slots, most probable first", ylabel=r"$p(c \mid v_c = 1)$", ylim=(1e-6, None))
    hide_top_and_right(axes)
    return figure


def style_and_class(designs: Mapping[str, Design]) -> Figure:
    """Left, what the class depends on; right, what the pixels depend on; a group of bars for each training."""
    figure = Figure(figsize=(8.6, 3.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    information = []
    variance = []
    for design in designs.values():
        of_slot = shared_information(design.classes)
        of_noise = shared_information(design.classes.T)
        information.append([of_slot, of_noise])
        variance.append(shares_of_variance(design.images))
    grouped_bars(left, information, ["slot c", "noise z"], list(designs))
    left.set(ylabel="share of the class's entropy\nthat is known from it", ylim=(0, 1))
    grouped_bars(right, variance, ["slot c", "noise z", "both together"], list(designs))
    right.set(ylabel="share of the variance of the pixels", ylim=(0, 1))
    right.legend(frameon=False, loc="upper right")
    return figure


def grouped_bars(axes: Axes, groups: Sequence[Sequence[float]], names: Sequence[str], labels: Sequence[str]) -> None:
    """For each of `names` a bar of each group, side by side; every other group is hatched."""
    width = 0.8 / len(groups)
    middle = (len(groups) - 1) / 2
    for number, (heights, label) in enumerate(zip(groups, labels, strict=True)):
        place = np.arange(len(names)) + (number - middle) * width
        if number % 2 == 0:
            colour = REAL
            hatch = ""
        else:
            colour = VERMILION
            hatch = "//"
        axes.bar(place, heights, width=width * 0.92, label=label, edgecolor="white", color=colour, hatch=hatch)
    axes.set_xticks(np.arange(len(names)), names)
    hide_top_and_right(axes)


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
def check_sampler(answer: Callable[[Tensor, Tensor, float], int]) -> str:
    """Exercise 2: a function (histogram [N], values [N], u in [0, 1)) -> slot."""
    mass = torch.tensor([3.0, 1.0, 0.0, 6.0, 2.0, 4.0])
    values = torch.tensor([0, 1, 1, 1, 0, 1])
    uniforms = torch.arange(1100, dtype=torch.float64) / 1100
    drawn = torch.tensor([int(answered(answer(mass, values, u))) for u in uniforms.tolist()])
    not_real = drawn[values[drawn] == 0]
    if len(not_real) > 0:
        raise Wrong(f"For some u it returns slot {int(not_real[0])}, which has v = 0.")
    if bool((drawn == 2).any()):
        raise Wrong("For some u it returns slot 2, whose h is 0: mind the boundary, use a strict comparison.")
    share = torch.bincount(drawn, minlength=6) / len(drawn)
    expected = mass * values / (mass * values).sum()
    if not torch.allclose(share, expected, atol=2e-3):
        raise Wrong(f"The shares are {share.numpy().round(3)}, expected {expected.numpy().round(3)}.")
    return "Each slot is returned for exactly its share of the u."


@attempt
def check_key_share(answer: float) -> str:
    """Exercise 3: the key's share of the first layer's variance, if the key were scaled by sqrt(M), M = 64, Z = 4."""
    key = 64  # squared lengths
    noise = 4 / 3
    mistakes = [
        Mistake(1 / (1 + noise), "That is the share of the unscaled key. Its squared length becomes 64."),
        Mistake(64 / 68, "The squared length of z is not 4: a uniform number on (-1, 1) has mean square 1/3."),
        Mistake(8 / (8 + math.sqrt(noise)), "Those are lengths. Variances go with squared lengths."),
    ]
    for mistake in mistakes:
        if abs(answer - mistake.result) < 5e-3:
            raise Wrong(mistake.reason)
    if abs(answer - key / (key + noise)) > 5e-3:
        raise Wrong("Not this. Share = |key|^2 / (|key|^2 + E|z|^2), with |key|^2 = 64 after scaling.")
    return "About 0.98: the noise would be a whisper, and the images of a slot nearly all alike."


@attempt
def check_bound(answer: Callable[[VMFMemory, Tensor, Tensor], Tensor]) -> str:
    """Exercise 4: a function (memory, slots [n], queries [n, M]) -> the bound on I(c; x) in nats."""
    memory, slots, queries = small_case()
    given = float(answered(answer(memory, slots, queries)))
    right = information_bound(memory, slots, queries)
    if abs(given - right) < 1e-4:
        return "Equal to information_bound to 1e-4, and not above H(c)."
    for mistake in _mistakes_of_the_bound(memory, slots, queries):
        if abs(given - mistake.result) < 1e-4:
            raise Wrong(mistake.reason)
    raise Wrong(f"Got {given:.4f} nats, expected {right:.4f} (H(c) is {entropy(usage(memory)):.4f}).")


def _mistakes_of_the_bound(memory: VMFMemory, slots: Tensor, queries: Tensor) -> list[Mistake]:
    entropy_of_real = entropy(usage(memory))
    entropy_of_all = entropy(usage_of_all(memory))
    log_r = _mean_log_r(memory, slots, queries, usage(memory).log())
    log_r_of_all = _mean_log_r(memory, slots, queries, usage_of_all(memory).log())
    log_r_without_prior = _mean_log_r(memory, slots, queries, memory.values.log())  # log 0 for generated slots
    return [
        Mistake(log_r, "The entropy H(c) is missing."),
        Mistake(entropy_of_real - log_r, "E log r has the wrong sign: log r is negative, and is added to H(c)."),
        Mistake(
            entropy_of_real + log_r_of_all,
            "Your r spreads over all slots; the generator draws from those with v = 1 only.",
        ),
        Mistake(entropy_of_all + log_r_of_all, "Your r and your entropy are over all slots; is c not a real one?"),
        Mistake(
            entropy_of_real + log_r_without_prior,
            "Your r forgets that slots are not equally probable: put p(c|v=1) in.",
        ),
    ]


@attempt
def check_slot_share(answer: Callable[[Tensor], float]) -> str:
    """Exercise 5: a function (values [S, R]) -> the share of the variance due to the slot."""
    values = torch.randn(5, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64).cumsum(dim=0)
    given = float(answered(answer(values)))
    slot, noise, _ = shares_of_variance(values.unsqueeze(2))
    if abs(given - slot) < 1e-6:
        return "Equal to shares_of_variance to 1e-6."
    not_divided = slot * float(values.var(correction=0))
    by_one_less = float(values.mean(dim=1).var() / values.var())
    mistakes = [
        Mistake(noise, "This is the noise's share: average over the noises (dim=1) first, then take the variance."),
        Mistake(not_divided, "This is the slot's variance itself: divide by the variance of all values."),
        Mistake(
            by_one_less, "Nearly: both variances must divide by the number of values (correction=0), not by one less."
        ),
    ]
    for mistake in mistakes:
        if abs(given - mistake.result) < 1e-6:
            raise Wrong(mistake.reason)
    raise Wrong(f"Got {given:.4f}, expected {slot:.4f}.")


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


def usage_of_all(memory: VMFMemory) -> Tensor:
    """The share of each slot in the histogram, real or not, [N], in float64."""
    mass = memory.histogram.double()
    return mass / mass.sum()

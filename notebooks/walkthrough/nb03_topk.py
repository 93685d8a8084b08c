"""Notebook 03: what looking at only k slots leaves out, what gradient is left, its pictures and its exercises."""

import copy
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from memgan import VMFMemory
from memgan.gan import MemoryGAN
from memgan.plots import GENERATED, REAL, UNUSED
from memgan.presets import Settings
from memgan.runs import build
from memgan.training import prepare, train
from walkthrough.circle import angles, direction, ring
from walkthrough.drawing import GREEN, INK, PURPLE, hide_top_and_right
from walkthrough.lesson import Mistake, Wrong, answered, attempt, refuse_mistakes
from walkthrough.nb04_update import write_one_by_one

__all__ = [
    "PAPER_RULE",
    "OneAfterAnother",
    "across",
    "agreement",
    "approximation",
    "check_log_probability",
    "check_no_gradient",
    "check_read",
    "check_smallest_k",
    "check_worst_values",
    "clip_picture",
    "error_picture",
    "field_picture",
    "gradient_of_unit_query",
    "mass_picture",
    "push",
    "random_memory",
    "reread",
    "silent",
    "silent_picture",
    "steps_picture",
    "train_and_watch",
    "twelve_slots",
]

LOOKS = ((REAL, "-"), (GENERATED, "--"), (GREEN, ":"), (PURPLE, "-."))

# The paper's rule on the networks of a preset
PAPER_RULE = [
    "memory.kappa=1",
    "memory.alpha=0.5",
    "memory.correct_in_top=32",
    "memory.touch=all",
    "memory.replace_within_label=false",
    "training.generator_loss=saturating",
    "training.information=density",
    "training.mi_weight=1e-2",
    "training.generator_lr=2e-4",
    "training.discriminator_lr=2e-4",
]


# -------------------------------------------------------------------- memories to look at


class OneAfterAnother(VMFMemory):
    """The real memory, but a training batch is written one sample after another, as the paper states its rule."""

    @classmethod
    def of(cls, memory: VMFMemory) -> "OneAfterAnother":
        """A copy of `memory` that is written in this way."""
        with torch.random.fork_rng(devices=[]):  # its first keys are drawn for nothing
            other = cls(**dataclasses.asdict(memory.settings), validate=memory.validate)
        other.load_state_dict(memory.state_dict())
        return other

    def read_write(self, queries: Tensor, labels: Tensor) -> Tensor:
        """D(x) before the writes, then the real and the generated samples in turn."""
        probability = self.read(queries)
        turns = torch.arange(len(labels)).view(2, -1).T.flatten()  # a training batch holds the real ones first
        write_one_by_one(self, queries.detach()[turns], labels[turns])
        return probability


class Watched(NamedTuple):
    """A trained model, and the share of generated images without any gradient at some of its steps."""

    gan: MemoryGAN
    steps: list[int]
    silent: list[float]


def train_and_watch(settings: Settings, images: Tensor, steps: int, looks: Sequence[int], *, turns: bool) -> Watched:
    """Train for `steps` from seed 0, and count the silent among 128 generated images at the steps `looks`.

    `turns`: write one sample after another instead of a batch at once.
    """
    prepare(seed=0)
    gan = build(settings)
    if turns:
        gan.memory = OneAfterAnother.of(gan.memory)
    watched = Watched(gan, [], [])
    for step in train(gan, images, dataclasses.replace(settings.training, steps=steps, recount=False)):
        if step.number in looks:
            with torch.random.fork_rng(devices=[]), torch.no_grad():  # looking must not change what comes next
                queries = gan.inference(gan.generate(128).images)
            watched.steps.append(step.number)
            watched.silent.append(float(silent(gan.memory, queries).float().mean()))
    return watched


def random_memory(num_slots: int, top_k: int = 32, key_dim: int = 64, kappa: float = 60.0) -> VMFMemory:
    """A memory that has learnt nothing, in float64: random keys, every h the same, half of the slots real."""
    generator = torch.Generator().manual_seed(num_slots)
    memory = VMFMemory(num_slots, key_dim, top_k, kappa=kappa).double()
    keys = torch.randn(num_slots, key_dim, generator=generator, dtype=torch.float64)
    memory.keys.copy_(F.normalize(keys, dim=1))
    return memory


def twelve_slots(kappa: float = 5.0, top_k: int = 3) -> VMFMemory:
    """A memory on the circle whose labels alternate and whose counts do not, so that it matters how many are asked."""
    counts = [3, 1, 0.5, 2, 1, 1.5, 0.3, 2.5, 1, 0.8, 2, 1.2]
    return ring(range(0, 360, 30), [1, 0] * 6, counts, top_k=top_k, kappa=kappa)


# -------------------------------------------------------------------- what is measured


def reread(memory: VMFMemory, **changes: float) -> VMFMemory:
    """A float64 copy of `memory` with other settings of the read: `top_k`, `kappa`, `epsilon`."""
    other = copy.deepcopy(memory).double()
    other.settings = memory.settings.changed(**changes)
    return other


class Approximation(NamedTuple):
    """What the k best slots say, and what all would have said; each [B]."""

    missed: Tensor  # posterior mass outside S
    approximate: Tensor  # D over S, before the clip
    exact: Tensor  # p(y=1|x)


def approximation(memory: VMFMemory, queries: Tensor) -> Approximation:
    """Compare (6) with the sum over all slots, in float64."""
    memory = reread(memory)
    queries = queries.double()
    posterior = memory.posterior(queries)
    weights, slots = memory.top_k_posterior(queries)
    values = memory.values.double()
    missed = 1 - posterior.gather(1, slots).sum(dim=1)
    approximate = (weights * values[slots]).sum(dim=1)
    exact = posterior @ values
    return Approximation(missed.clamp(min=0), approximate, exact)


def silent(memory: VMFMemory, queries: Tensor) -> Tensor:
    """Which of `queries` [B, M] get a gradient of D that is exactly zero, [B] bool."""
    queries = queries.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(memory.read(queries).sum(), queries)
    return (gradient == 0).all(dim=1)


def push(memory: VMFMemory, queries: Tensor, *, saturating: bool) -> float:
    """The median length, over unit `queries` [B, M], of the gradient that G's loss (13) hands to a query.

    It has no part along the query: the memory normalises its queries, and so takes that part away.
    """
    queries = queries.detach().clone().requires_grad_()
    probability = memory.read(queries)
    loss = (1 - probability).log() if saturating else -probability.log()
    (gradient,) = torch.autograd.grad(loss.sum(), queries)
    return float(gradient.norm(dim=1).median())


def gradient_of_unit_query(memory: VMFMemory, queries: Tensor) -> Tensor:
    """kappa sum_{i in S} p_i (v_i - D) K_i, [B, M]: the derivative of D, before the clip, at unit `queries` [B, M].

    It counts changes of a query's length too. Autograd through `memory.read` does not, because the memory normalises
    its queries: it returns the part of this across the query.
    """
    weights, slots = memory.top_k_posterior(queries)
    values = memory.values[slots].to(weights)
    mean = (weights * values).sum(dim=1, keepdim=True)
    pull = memory.kappa * weights * (values - mean)
    return torch.einsum("bk,bkm->bm", pull, memory.keys[slots])


def across(vectors: Tensor, queries: Tensor) -> Tensor:
    """The part of each of `vectors` [B, M] that is at right angles to its query, of unit `queries` [B, M]."""
    return vectors - (vectors * queries).sum(dim=1, keepdim=True) * queries


def agreement(memory: VMFMemory, queries: Tensor) -> float:
    """How much the gradients of D at unit `queries` [B, M] point the same way: the mean cosine between two of them.

    They are those of `gradient_of_unit_query`; queries where the clip acts have none and are left out.
    """
    gradients = gradient_of_unit_query(memory, queries)[~silent(memory, queries)]
    directions = F.normalize(gradients, dim=1)
    number = len(directions)
    sum_of_all_cosines = directions.sum(dim=0).square().sum()  # each pair twice, and each with itself
    return float((sum_of_all_cosines - number) / (number * (number - 1)))


# -------------------------------------------------------------------- pictures of the approximation


def mass_picture(posteriors: dict[str, Tensor]) -> Figure:
    """The posterior mass in the k best slots, against k: median and the middle 90 % of the queries of each group."""
    figure = Figure(figsize=(6.6, 3.2), layout="constrained")
    axes = figure.subplots()
    for (name, posterior), (colour, line) in zip(posteriors.items(), LOOKS, strict=False):
        mass = posterior.sort(dim=1, descending=True).values.cumsum(dim=1).numpy()
        low, middle, high = np.quantile(mass, [0.05, 0.5, 0.95], axis=0)
        k = np.arange(1, mass.shape[1] + 1)
        axes.fill_between(k, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(k, middle, color=colour, linestyle=line, linewidth=2.2, label=name)
    axes.legend(loc="lower right", frameon=False)
    axes.set(xscale="log", ylim=(0, 1.02), xlabel="k, number of best slots", ylabel="posterior mass in them")
    axes.set_xlim(1, 4 * mass.shape[1])
    _ticks_of_k(axes, mass.shape[1])
    hide_top_and_right(axes)
    return figure


def _ticks_of_k(axes: Axes, largest: int) -> None:
    ticks = [4**power for power in range(int(math.log(largest, 4)) + 1)]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()


def error_picture(tables: dict[str, dict[float, dict[int, Approximation]]]) -> Figure:
    """Mean missed mass (lines) and mean error of D (marks) against k, a panel for each memory, a colour for each kappa.

    `tables` maps the memory's name to kappa to k to an `Approximation`.
    """
    figure = Figure(figsize=(8.2, 3.5), layout="constrained")
    panels = figure.subplots(1, len(tables), sharey=True)
    least = 1e-6
    for axes, (name, by_kappa) in zip(panels, tables.items(), strict=True):
        for (kappa, by_k), (colour, line), marker in zip(by_kappa.items(), LOOKS, "os^", strict=False):
            missed = np.array([float(result.missed.mean()) for result in by_k.values()])
            error = np.array([float((r.approximate - r.exact).abs().mean()) for r in by_k.values()])
            ks = np.array(list(by_k))
            axes.plot(ks[missed > least], missed[missed > least], color=colour, linestyle=line, linewidth=2)
            axes.plot(
                ks[error > least], error[error > least], color=colour, linestyle="", marker=marker, fillstyle="none"
            )
            last = int((missed > least).sum()) - 1
            text = f"κ = {kappa:g}"
            axes.annotate(text, (ks[last], missed[last]), (6, 0), textcoords="offset points", color=colour, va="center")
        axes.set(title=name, xlabel="k", xscale="log", yscale="log", ylim=(least, 2), xlim=(0.9, 1500))
        axes.axvline(32, color=UNUSED, linewidth=0.8)
        _ticks_of_k(axes, max(max(by_k) for by_k in by_kappa.values()))
        hide_top_and_right(axes)
    panels[0].set_ylabel("missed mass (lines)\nand error of D(x) (marks)")
    return figure


# -------------------------------------------------------------------- pictures of the gradient


def steps_picture(memory: VMFMemory, ks: Sequence[int]) -> Figure:
    """D around the circle of `memory` for these `ks`, before the clip; the last is all of its slots."""
    figure = Figure(figsize=(7.4, 2.8), layout="constrained")
    axes = figure.subplots()
    degrees = torch.linspace(0, 360, 1441, dtype=torch.float64)
    grey = "#707070"
    styles = [(grey, ":", (95, 0.93)), (GENERATED, "--", (57, 0.77)), ("black", "-", (40, 0.6))]
    for top_k, (colour, line, place) in zip(ks, styles, strict=True):
        value = reread(memory, top_k=top_k, epsilon=1e-12).read(direction(degrees))
        name = "all slots" if top_k == memory.num_slots else f"k = {top_k}"
        axes.plot(degrees, value, color=colour, linestyle=line, linewidth=2)
        axes.text(*place, name, color=colour, ha="center", va="center")
    axes.set(xlabel="direction of the query (degrees)", ylabel="$D(x)$", xlim=(0, 360))
    axes.set_xticks(range(0, 361, 45))
    hide_top_and_right(axes)
    return figure


def field_picture(memory: VMFMemory) -> Figure:
    """D around the circle of `memory`, unrolled, with its keys; below, which way and how hard its gradient pushes."""
    figure = Figure(figsize=(8.2, 3.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    degrees = torch.linspace(0, 360, 721, dtype=torch.float64)
    above.plot(degrees, memory.read(direction(degrees)), color="black", linewidth=2)
    for slot, angle in enumerate(angles(memory.keys).tolist()):
        label, colour, marker = ("real", REAL, "o") if memory.values[slot] else ("generated", GENERATED, "s")
        above.plot(angle, 0.05, markersize=9, color=colour, marker=marker)
        text = f"slot {slot}, {label}, h = {float(memory.histogram[slot]):g}"
        above.text(angle + 6, 0.05, text, color=INK, va="center", fontsize=8.5)
        for axes in (above, below):
            axes.axvline(angle, color=colour, linewidth=1, zorder=0, alpha=0.6)
    at = torch.arange(7.5, 360, 15, dtype=torch.float64)
    queries = direction(at).requires_grad_()
    (gradient,) = torch.autograd.grad(memory.read(queries).sum(), queries)
    tangent = direction(at + 90)  # the way in which the angle grows
    slopes = (gradient * tangent).sum(dim=1)
    lengths = 14 * slopes / slopes.abs().max()
    for angle, length in zip(at.tolist(), lengths.tolist(), strict=True):
        ends = {"xy": (angle + length / 2, 0), "xytext": (angle - length / 2, 0)}
        arrow = {"arrowstyle": "-|>", "color": "black", "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0}
        if abs(length) > 2:
            below.annotate("", **ends, arrowprops=arrow)
        else:
            below.plot(angle, 0, ".", color="black", markersize=4)
    above.set(ylabel="$D(x)$", ylim=(-0.03, 1), xlim=(0, 360), xticks=range(0, 361, 45))
    below.set(xlabel="direction of the query (degrees)", ylabel="gradient\nof $D$", ylim=(-1, 1), yticks=[])
    for axes in (above, below):
        hide_top_and_right(axes)
    return figure


def clip_picture(epsilon: float) -> Figure:
    """Against the log-odds of real: D with and without its clip, and the size of the slope of both losses of G."""
    figure = Figure(figsize=(8.2, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    odds = torch.linspace(-12, 12, 2401, dtype=torch.float64).requires_grad_()
    edge = math.log((1 - epsilon) / epsilon)
    clipped = odds.sigmoid().clamp(epsilon, 1 - epsilon)
    left.plot(odds.detach(), odds.sigmoid().detach(), color=UNUSED, linewidth=4)
    left.plot(odds.detach(), clipped.detach(), color="black", linewidth=1.6)
    left.text(9.5, 0.9982, "after\nthe clip", ha="center", va="top", fontsize=9)
    left.text(-7.4, 4e-5, "before the clip", va="center", fontsize=9, color="#707070")
    left.set(
        ylabel="$D(x)$, on the scale of log-odds",
        yscale="logit",
        ylim=(1e-5, 1 - 1e-5),
        yticks=[1e-4, 1e-3, 0.1, 0.5, 0.9, 0.999],
    )
    left.set_yticklabels(["0.0001", "0.001", "0.1", "0.5", "0.9", "0.999"])
    left.minorticks_off()
    losses = {"$-\\log D$\nnon-saturating": -clipped.log(), "$\\log(1 - D)$\nsaturating": (1 - clipped).log()}
    for (name, loss), (colour, line), place in zip(losses.items(), LOOKS, (-3.2, 3.6), strict=False):
        (slope,) = torch.autograd.grad(loss.sum(), odds, retain_graph=True)
        right.plot(odds.detach(), slope.abs(), color=colour, linestyle=line, linewidth=2.2)
        right.text(place, 1.06, name, color=colour, ha="center", va="bottom", fontsize=9)
    right.set(ylabel="size of the slope:\nG's loss by log-odds", ylim=(-0.03, 1.45))
    for axes in (left, right):
        axes.axvspan(-12, -edge, color=UNUSED, alpha=0.25, linewidth=0)
        axes.axvspan(edge, 12, color=UNUSED, alpha=0.25, linewidth=0)
        axes.set(xlabel="log-odds of real (nats)", xlim=(-12, 12))
        hide_top_and_right(axes)
    return figure


def silent_picture(run: Watched) -> Figure:
    """The share of generated images without gradient at each step that was looked at."""
    figure = Figure(figsize=(6.6, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(run.steps, run.silent, color=GENERATED, marker="o", markersize=4)
    axes.set(xlabel="training step", ylabel="share of generated images\nwithout gradient", ylim=(-0.02, 0.6))
    hide_top_and_right(axes)
    return figure


# -------------------------------------------------------------------- exercises


def _contested() -> tuple[VMFMemory, Tensor]:
    """A float64 memory of 12 slots and 6 queries that no single slot decides."""
    generator = torch.Generator().manual_seed(11)
    memory = VMFMemory(num_slots=12, key_dim=3, top_k=4, kappa=4.0).double()
    memory.keys.copy_(F.normalize(torch.randn(12, 3, generator=generator, dtype=torch.float64), dim=1))
    memory.values.copy_(torch.tensor([1, 0] * 6))
    memory.histogram.copy_(torch.rand(12, generator=generator, dtype=torch.float64) * 5 + 0.01)
    return memory, F.normalize(torch.randn(6, 3, generator=generator, dtype=torch.float64), dim=1)


@attempt
def check_no_gradient(answer: float) -> str:
    """Exercise 3.1: the length of the gradient of D(x) with respect to the query at k = 1."""
    memory, queries = _contested()
    memory = reread(memory, top_k=1)
    share = float(silent(memory, queries).double().mean())
    if answer != 0:
        raise Wrong("It was run for you: with k = 1 the one slot has weight 1 wherever the query stands. Think again.")
    return f"Run for you: the gradient is exactly zero for {share:.0%} of the queries. D(x) is just v of the best slot."


ReadAnswer = Callable[[Tensor, Tensor, Tensor, Tensor, float, int], Tensor]


@attempt
def check_read(answer: ReadAnswer) -> str:
    """Exercise 3.2: D(x) from the k best slots of a batch, clipped; the oracle is `VMFMemory.read`."""
    memory, queries = _contested()
    memory = reread(memory, kappa=30.0)  # so that the clip acts on the last query
    queries = torch.cat([queries, memory.keys[:1]])
    asked = queries.clone().requires_grad_()
    answer_of_reader = answer(memory.keys, memory.values, memory.histogram, asked, memory.kappa, memory.top_k)
    given = torch.as_tensor(answered(answer_of_reader)).double()
    has_gradient = given.requires_grad
    given = given.detach()
    expected = memory.read(queries)
    if given.shape != expected.shape:
        raise Wrong(f"Expected one number for each query, shape {list(expected.shape)}, got {list(given.shape)}.")
    for mistake in _mistakes_of_the_read(memory, queries):
        clipped = mistake.result.clamp(memory.epsilon, 1 - memory.epsilon)
        refuse_mistakes(given, [mistake, Mistake(clipped, mistake.reason)], atol=1e-6)
    if torch.allclose(given.clamp(memory.epsilon, 1 - memory.epsilon), expected, atol=1e-6):
        if not torch.allclose(given, expected, atol=1e-6):
            raise Wrong("Right but for the clip: (6) ends in [epsilon, 1 - epsilon] with epsilon = 0.001.")
        if not has_gradient:
            raise Wrong("The value is right, but no gradient reaches the queries, so that nothing could learn from it.")
        return "Equal to memory.read to 1e-6."
    raise Wrong(f"The largest difference to memory.read is {float((given - expected).abs().max()):.2g}.")


def _mistakes_of_the_read(memory: VMFMemory, queries: Tensor) -> list[Mistake]:
    cosines = queries @ memory.keys.T
    scores = memory.kappa * cosines + (memory.histogram + memory.beta).log()
    values = memory.values.double()
    by_cosine = cosines.topk(memory.top_k).indices
    by_posterior = scores.topk(memory.top_k).indices
    wrong_slots = (scores.gather(1, by_cosine).softmax(dim=1) * values[by_cosine]).sum(dim=1)
    not_divided = (scores.softmax(dim=1).gather(1, by_posterior) * values[by_posterior]).sum(dim=1)
    all_slots = scores.softmax(dim=1) @ values
    unweighted = values[by_posterior].mean(dim=1)
    return [
        Mistake(wrong_slots, "You chose S by the cosine. (5) chooses by the posterior: similarity AND histogram."),
        Mistake(not_divided, "You did not divide by the mass of S: the weights of (6) sum to 1 over S."),
        Mistake(all_slots, "Your sum runs over all slots; (6) is over S only."),
        Mistake(unweighted, "Nearly: the mean of the k values is not weighted by the posterior."),
    ]


@attempt
def check_worst_values(answer: Callable[[Tensor, int], Tensor]) -> str:
    """Exercise 3.3: values [N] for which the error of D is as large as the posterior mass outside of the k best."""
    posterior = torch.tensor([0.05, 0.4, 0.1, 0.25, 0.2]).double()
    for k, missed in ((1, 0.6), (2, 0.35), (3, 0.15)):
        values = torch.as_tensor(answered(answer(posterior, k))).double()
        if values.shape != posterior.shape or not bool(((values == 0) | (values == 1)).all()):
            raise Wrong(f"Expected a value of 0 or 1 for each of the {len(posterior)} slots, got {values.tolist()}.")
        best = posterior.topk(k).indices
        approximate = float((posterior[best] * values[best]).sum() / posterior[best].sum())
        error = abs(approximate - float((posterior * values).sum()))
        if error < missed - 1e-6:
            where = f"With k = {k} your values make an error of {error:.2f}; {missed:.2f} is possible."
            raise Wrong(f"{where} What would the slots in S have to say, and what those outside?")
    return (
        "If S is of one mind and all others contradict it, the error is the missed mass: the bound cannot be improved."
    )


@attempt
def check_smallest_k(answer: Callable[[Tensor, float], Tensor]) -> str:
    """Exercise 3.4: for each query the smallest k that guarantees an error of D of at most the tolerance."""
    posterior = torch.tensor([[0.1, 0.6, 0.3], [0.98, 0.01, 0.01], [0.2, 0.3, 0.5], [0.34, 0.33, 0.33]]).double()
    expected = {0.25: [2, 1, 2, 3], 0.05: [3, 1, 3, 3], 0.45: [1, 1, 2, 2]}
    for tolerance, truth in expected.items():
        given = torch.as_tensor(answered(answer(posterior, tolerance))).tolist()
        if given == [k - 1 for k in truth]:
            raise Wrong("One too few everywhere: did you return an index, which counts from 0?")
        if given == [k + 1 for k in truth]:
            raise Wrong("One too many everywhere: the last slot that you took was not needed.")
        without_sorting = ((1 - posterior.cumsum(dim=1)) > tolerance).sum(dim=1) + 1
        if given != truth and given == without_sorting.tolist():
            raise Wrong("Your slots are in the order of the memory: sort them first, most probable first.")
        if given != truth:
            raise Wrong(f"With a tolerance of {tolerance}, expected {truth}, got {given}.")
    return "These k leave out at most the tolerance, and no smaller ones do."


@attempt
def check_log_probability(answer: Callable[[Tensor, Tensor], Tensor]) -> str:
    """Exercise 3.5: log D(x) from scores [B, k] and values [B, k], without D, so that the gradient survives."""
    generator = torch.Generator().manual_seed(5)
    scores = torch.randn(4, 6, generator=generator) * 3
    values = torch.tensor([[1, 0, 0, 1, 0, 1]] * 4)
    scores[3] -= 200 * values[3]  # the real slots are far behind: D underflows to 0 in float32
    scores.requires_grad_()
    given = answered(answer(scores, values))
    if given.shape != (4,):
        raise Wrong(f"Expected one number for each query, shape [4], got {list(given.shape)}.")
    if not bool(given.isfinite().all()):
        raise Wrong("The last query has real slots 200 nats behind; your result there is not finite. Never form D.")
    exact = scores.detach().double()
    truth = exact.masked_fill(values == 0, -torch.inf).logsumexp(dim=1) - exact.logsumexp(dim=1)
    if torch.allclose(given.detach().double(), truth.exp(), atol=1e-5):
        raise Wrong("That is D itself; its logarithm is asked for.")
    if not torch.allclose(given[:3].double(), truth[:3], atol=1e-4):
        raise Wrong(f"For the first query log D is {float(truth[0]):.4f}, you return {float(given[0].detach()):.4f}.")
    last = float(given[3].detach())
    if not math.isclose(last, float(truth[3]), rel_tol=1e-4):
        raise Wrong(f"The last query: log D is {float(truth[3]):.0f}, you return {last:.1f}. Is it clipped?")
    (gradient,) = torch.autograd.grad(given.sum(), scores)
    if not bool(gradient[3].abs().max() > 0.1):
        raise Wrong("The value is right, but no gradient reaches the scores of the last query.")
    return "Right also 200 nats away, where D is 0 in float32, and the gradient is alive there."

"""Why the memory is written as it is: EM on a circle, queries that drift, batches, labels that take over.

Experiments and figures of notebook 04, and the checks of its exercises. Every write is `VMFMemory.write`.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from memgan import VMFMemory, vmf
from memgan.plots import GENERATED, REAL, UNUSED
from walkthrough.circle import Frame, angles, cluster, direction, finds_its_label, ring
from walkthrough.drawing import GREEN, INK, PURPLE, draw_unit_circle, hide_top_and_right
from walkthrough.lesson import Mistake, Wrong, answered, attempt

# ---------------------------------------------------------------- EM for the mixture


def three_clusters(seed: int = 1) -> Tensor:
    """45 queries [45, 2] in three clusters, the third one wide."""
    generator = torch.Generator().manual_seed(seed)
    first = cluster(40, 30, 15, generator)
    second = cluster(120, 12, 15, generator)
    third = cluster(250, 4, 15, generator)
    return torch.cat([first, second, third])


def untrained_mixture(queries: Tensor, alpha: float = 1.0) -> VMFMemory:
    """Four slots at 0, 90, 180 and 270 degrees that share `queries` equally; one label, k = N, kappa = 8."""
    share = len(queries) / 4
    return ring([0, 90, 180, 270], [1] * 4, [share] * 4, top_k=4, kappa=8.0, alpha=alpha, beta=1e-300)


def batch_em(memory: VMFMemory, queries: Tensor) -> tuple[Tensor, Tensor]:
    """The keys [N, M] and counts [N] that one step of batch EM makes of the mixture."""
    gamma = memory.posterior(queries)  # E-step: [n, N]
    resultants = gamma.T @ queries
    return F.normalize(resultants, dim=1), gamma.sum(dim=0)  # M-step


def distance_from_fixed_point(memory: VMFMemory, queries: Tensor) -> float:
    """The largest angle by which a step of batch EM would still turn a key, in degrees."""
    keys, _ = batch_em(memory, queries)
    sine = (keys[:, 0] * memory.keys[:, 1] - keys[:, 1] * memory.keys[:, 0]).abs()
    return float(torch.rad2deg(torch.atan2(sine, (keys * memory.keys).sum(dim=1))).max())


class IncrementalEM:
    """Equations (8) to (10) with alpha = 1 and every query's responsibilities remembered from visit to visit.

    With `keep_length` the running means keep their length, m_i = R_i / h_i, and the keys are their directions: this is
    incremental EM exactly (Neal & Hinton, 1998). Without, they are cut to unit length after each visit, as (10) says.
    The mixture lives in `memory`, whose posterior and likelihood are asked.
    """

    def __init__(self, memory: VMFMemory, queries: Tensor, *, keep_length: bool = True) -> None:
        self.memory = memory
        self.queries = queries
        self.keep_length = keep_length
        self.gamma = memory.posterior(queries)
        counts = self.gamma.sum(dim=0)
        self.means = self.gamma.T @ queries / counts.unsqueeze(1)
        self._store(counts)

    def visit(self, sample: int) -> None:
        """One query again: its old contribution out, its new one in."""
        query = self.queries[sample]
        gamma = self.memory.posterior(query.unsqueeze(0))[0]  # (8)
        change = gamma - self.gamma[sample]
        counts = self.memory.histogram + change  # (9)
        self.means = self.means + (change / counts).unsqueeze(1) * (query - self.means)  # (10)
        self.gamma[sample] = gamma
        self._store(counts)

    def sweep(self) -> None:
        """Every query once."""
        for sample in range(len(self.queries)):
            self.visit(sample)

    def _store(self, counts: Tensor) -> None:
        keys = F.normalize(self.means, dim=1)
        if not self.keep_length:
            self.means = keys
        self.memory.keys.copy_(keys)
        self.memory.histogram.copy_(counts)


def climb(memory: VMFMemory, queries: Tensor, sweep: Callable[[], Any], sweeps: int) -> list[float]:
    """The mean log-likelihood of `queries` (nats for each query) before and after each of `sweeps` sweeps."""
    series = [float(memory.log_likelihood(queries).mean())]
    for _ in range(sweeps):
        sweep()
        series.append(float(memory.log_likelihood(queries).mean()))
    return series


def write_all(memory: VMFMemory, queries: Tensor, *, past: float = 1.0) -> None:
    """All queries as one batch of real ones, after the histogram was multiplied by `past` (0: as good as forgotten)."""
    memory.histogram *= max(past, 1e-15)  # not 0: the ratios between slots are the prior
    memory.write(queries, torch.ones(len(queries), dtype=torch.long))


def write_one_by_one(memory: VMFMemory, queries: Tensor, labels: Tensor | None = None) -> None:
    """One write after another, as the paper states its rule; without `labels` all are real."""
    if labels is None:
        labels = torch.ones(len(queries), dtype=torch.long)
    for query, label in zip(queries.split(1), labels.split(1), strict=True):
        memory.write(query, label)


def drift_from_maximum(queries: Tensor, alpha: float, *, writes: int = 1500, seed: int = 0) -> float:
    """Where single writes come to rest, started at a maximum of batch EM: the largest angle of a mean key from it.

    The mean is over the last two thirds of the writes; the answer is in degrees.
    """
    memory = untrained_mixture(queries, alpha)
    for _ in range(100):
        write_all(memory, queries, past=0)
    best = memory.keys.clone()
    memory.histogram.mul_(1 / (1 - alpha) / len(queries))  # one query a write keeps the counts' sum at 1/(1 - alpha)
    order = torch.randint(len(queries), (writes,), generator=torch.Generator().manual_seed(seed))
    total = torch.zeros_like(memory.keys)
    for number, query in enumerate(queries[order].split(1)):
        memory.write(query, torch.tensor([1]))
        if number >= writes // 3:
            total += memory.keys
    cosine = F.cosine_similarity(total, best).clamp(-1, 1)
    return float(torch.rad2deg(torch.acos(cosine)).max())


# ---------------------------------------------------------------- queries that drift


def track(alpha: float, speed: float, *, clusters: int = 6, writes: int = 100, seed: int = 3) -> tuple[Tensor, Tensor]:
    """Slots that follow as many clusters, which turn by `speed` degrees with each write of one query for each.

    Returns the errors [writes, clusters], the angle in degrees from each cluster's centre to the nearest key after each
    write (negative: it lags behind), and the final keys [clusters, 2].
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.arange(clusters) * 360.0 / clusters
    memory = ring(
        degrees=[*start.tolist(), 0.0],
        values=[1] * clusters + [0],
        histogram=[1e-5] * (clusters + 1),
        top_k=clusters,
        kappa=30.0,
        alpha=alpha,
        correct_in_top=clusters,
    )
    errors = []
    for write in range(writes):
        centres = start + speed * write
        noise = angles(cluster(0, 60, clusters, generator))
        memory.write(direction(centres + noise), torch.ones(clusters, dtype=torch.long))
        error = (angles(memory.keys[:clusters]) - centres.unsqueeze(1) + 180) % 360 - 180  # [cluster, slot]
        errors.append(error.gather(1, error.abs().argmin(dim=1, keepdim=True)).squeeze(1))
    return torch.stack(errors), memory.keys[:clusters].clone()


SPREAD = 7.5  # degrees: the standard deviation of a query of `track` around its centre


def tracking_error(alpha: float, speed: float, spread: float = SPREAD) -> float:
    """The error (root mean square, degrees) of an exponential mean that follows a centre turning at `speed`.

    Lag alpha speed / (1 - alpha), and spread sqrt((1 - alpha) / (1 + alpha)) from averaging 1 / (1 - alpha) queries.
    """
    lag = alpha * speed / (1 - alpha)
    noise = spread * math.sqrt((1 - alpha) / (1 + alpha))
    return math.hypot(lag, noise)


# ---------------------------------------------------------------- a batch


def write_last_wins(memory: VMFMemory, queries: Tensor, labels: Tensor) -> None:
    """A batch in which each sample's write starts from the memory as it was, and the last one to touch a slot wins."""
    before = copy.deepcopy(memory)
    for query, label in zip(queries.split(1), labels.split(1), strict=True):
        alone = copy.deepcopy(before)
        alone.write(query, label)
        touched = (alone.histogram != before.histogram) | (alone.keys != before.keys).any(dim=1)
        for name in ("keys", "values", "ages", "histogram"):
            getattr(memory, name)[touched] = getattr(alone, name)[touched]


def mass_added(before: VMFMemory, after: VMFMemory) -> float:
    """What a write added to the histogram, beside the decay of each slot that it touched."""
    touched = after.histogram != before.histogram
    kept = torch.where(touched, before.alpha * before.histogram, before.histogram)
    return float((after.histogram - kept).sum())


def crowd(batch: int = 64, seed: int = 0) -> tuple[VMFMemory, Tensor, Tensor]:
    """A lived-in memory (N 256, M 16, k 16), and a batch of real queries around four of its keys."""
    generator = torch.Generator().manual_seed(seed)
    memory = VMFMemory(256, 16, 16, kappa=30.0, correct_in_top=16).double()
    memory.keys.copy_(F.normalize(torch.randn(256, 16, generator=generator, dtype=torch.float64), dim=1))
    memory.histogram.copy_(0.1 + 3 * torch.rand(256, generator=generator, dtype=torch.float64))
    centres = memory.keys[:4]
    queries = torch.cat([vmf.sample(centre, 40.0, batch // 4, generator) for centre in centres])
    return memory, queries, torch.ones(batch, dtype=torch.long)


# ---------------------------------------------------------------- settings that the paper leaves open


def share_of_real(*, replace_within_label: bool, writes: int = 60, seed: int = 0) -> list[float]:
    """The share of slots with v = 1 after each write, while real queries stay where they are and generated ones roam.

    N = 128, M = 8, k = 8; 8 real queries around two directions and 8 generated in random directions in each write.
    """
    generator = torch.Generator().manual_seed(seed)
    memory = VMFMemory(128, 8, 8, kappa=20.0, replace_within_label=replace_within_label).double()
    memory.keys.copy_(_random_directions(128, 8, generator))
    homes = _random_directions(2, 8, generator)
    labels = torch.tensor([1] * 8 + [0] * 8)
    shares = []
    for _ in range(writes):
        real = torch.cat([vmf.sample(home, 60.0, 4, generator) for home in homes])
        memory.write(torch.cat([real, _random_directions(8, 8, generator)]), labels)
        shares.append(float(memory.values.double().mean()))
    return shares


def aged(touch: str, top_k: int, *, writes: int = 60, seed: int = 0) -> VMFMemory:
    """A memory (N 32, M 4) after so many single writes of real queries around six directions."""
    generator = torch.Generator().manual_seed(seed)
    memory = VMFMemory(32, 4, top_k, kappa=20.0, touch=touch, correct_in_top=top_k).double()  # type: ignore[arg-type]
    memory.keys.copy_(_random_directions(32, 4, generator))
    homes = _random_directions(6, 4, generator)
    for write in range(writes):
        memory.write(vmf.sample(homes[write % 6], 60.0, 1, generator), torch.tensor([1]))
    return memory


def _random_directions(number: int, dim: int, generator: torch.Generator) -> Tensor:
    return F.normalize(torch.randn(number, dim, generator=generator, dtype=torch.float64), dim=1)


# ---------------------------------------------------------------- figures


def _circle(axes: Axes) -> None:
    draw_unit_circle(axes, "#DDDDDD", zorder=0)
    axes.set(aspect="equal", xlim=(-1.45, 1.45), ylim=(-1.45, 1.45))
    axes.axis("off")


def life_figure(frames: Sequence[Frame]) -> Figure:
    """Every key of a `MemoryFilm` as an angle against the writes, and the queries of each write as dots.

    A slot's line ends (cross) where it is overwritten, and begins anew (black edge) at the query that it then stores.
    """
    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    axes = figure.subplots()
    for write, frame in enumerate(frames[1:], start=1):
        degrees = angles(torch.tensor(frame["queries"])).tolist()
        colours = [REAL if label else GENERATED for label in frame["labels"]]
        axes.scatter([write] * len(degrees), degrees, s=10, c=colours, alpha=0.5, linewidths=0)
    places = [angles(torch.tensor(frame["keys"])).tolist() for frame in frames]
    for slot in range(len(places[0])):
        for write in range(1, len(frames)):
            old, new = places[write - 1][slot], places[write][slot]
            colour = _colour_of(frames[write], slot)
            if slot in frames[write]["replaced"]:
                axes.plot(write - 1, old, "x", color=_colour_of(frames[write - 1], slot), markersize=6)
                marker, colour = ("o", REAL) if frames[write]["values"][slot] else ("s", GENERATED)
                axes.plot(write, new, marker, color=colour, markersize=7, markeredgecolor=INK, markeredgewidth=1.4)
            else:
                axes.plot([write - 1, write], [old, new], color=colour, linewidth=1.8, alpha=0.8)
    for write, at, side in ((0, -0.35, "right"), (len(frames) - 1, len(frames) - 0.65, "left")):
        free = 0.0  # from this angle on: labels keep a line's height apart
        for slots, colour, mean in _close_together(places[write], frames[write]):
            height = max(mean, free)
            text = ", ".join(str(slot) for slot in slots)
            axes.text(at, height, text, color=colour, ha=side, va="center", fontsize=9, weight="bold")
            free = height + 13
    style: dict[str, Any] = {"fontsize": 9, "ha": "center"}
    axes.text(5, 37, "real queries, cluster at 60", color=REAL, **style)
    axes.text(6.5, 188, "real queries, cluster at 170", color=REAL, **style)
    axes.text(8.2, 326, "generated queries wander", color=GENERATED, **style)
    axes.text(14.5, 122, "... and jump", color=GENERATED, **style)
    axes.text(18, 268, "left behind", color=GENERATED, **style)
    axes.set(xlabel="write", ylabel="direction (degrees)", xlim=(-2.2, len(frames) + 2.2), ylim=(0, 360))
    axes.set(xticks=range(0, len(frames), 4), yticks=range(0, 361, 60))
    hide_top_and_right(axes)
    return figure


def _colour_of(frame: Frame, slot: int) -> str:
    """Blue or orange for a slot that is in use, grey for one in which nothing was ever counted."""
    if frame["histogram"][slot] <= 1e-3:
        return UNUSED
    return REAL if frame["values"][slot] == 1 else GENERATED


def _close_together(degrees: Sequence[float], frame: Frame) -> list[tuple[list[int], str, float]]:
    """One label for slots of one colour within ten degrees of each other: slots, colour, mean angle; by angle."""
    groups: list[list[int]] = []
    for slot in sorted(range(len(degrees)), key=lambda number: (_colour_of(frame, number), degrees[number])):
        last = groups[-1][-1] if groups else slot
        together = _colour_of(frame, last) == _colour_of(frame, slot) and degrees[slot] - degrees[last] < 10
        if groups and together:
            groups[-1].append(slot)
        else:
            groups.append([slot])
    labels = []
    for group in groups:
        mean = sum(degrees[slot] for slot in group) / len(group)
        labels.append((sorted(group), _colour_of(frame, group[0]), mean))
    return sorted(labels, key=lambda label: label[2])


def em_step_figure(before: VMFMemory, after: VMFMemory, query: Tensor) -> Figure:
    """One write by EM: on the left where the keys went (angles), on the right what became of each h."""
    figure = Figure(figsize=(8.2, 3.4), layout="constrained")
    circle, bars = figure.subplots(1, 2, width_ratios=(1.05, 1))
    draw_unit_circle(circle, "#DDDDDD", zorder=0)
    circle.set(aspect="equal", xlim=(-0.75, 1.5), ylim=(-0.25, 1.3))
    circle.axis("off")
    x, y = query[0].tolist()
    circle.annotate("", (0.93 * x, 0.93 * y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 1.5})
    circle.text(0.3, 0.3, "query, real", fontsize=9, ha="center", va="center", rotation=math.degrees(math.atan2(y, x)))
    for slot, (old, new) in enumerate(zip(before.keys.tolist(), after.keys.tolist(), strict=True)):
        if before.values[slot]:
            colour, marker = REAL, "o"
        else:
            colour, marker = GENERATED, "s"
        circle.scatter(*old, s=80, facecolors="white", edgecolors=colour, marker=marker, linewidths=1.5)
        circle.scatter(*new, s=80, color=colour, marker=marker, zorder=3)
        circle.text(1.17 * new[0], 1.17 * new[1], f"slot {slot}", color=colour, fontsize=9, ha="center", va="center")
    circle.set_title("keys: hollow before, full after", fontsize=10)
    number = np.arange(before.num_slots)
    colours = [REAL if v else GENERATED for v in before.values.tolist()]
    bars.bar(number - 0.2, before.histogram, 0.36, facecolor="white", edgecolor=colours, linewidth=1.5)
    bars.bar(number + 0.2, after.histogram, 0.36, color=colours, edgecolor=colours, linewidth=1.5)
    bars.set(xticks=number, xlabel="slot", ylabel="h (effective count of queries)")
    bars.set_title("histogram: hollow before, full after", fontsize=10)
    hide_top_and_right(bars)
    return figure


def mixture_figure(memories: Mapping[str, VMFMemory], queries: Tensor) -> Figure:
    """The densities of mixtures on the circle, unrolled, over the queries that they are to explain (ticks)."""
    figure = Figure(figsize=(8, 2.9), layout="constrained")
    axes = figure.subplots()
    grid = torch.linspace(0, 360, 361, dtype=torch.float64)
    styles = [(UNUSED, "--"), (REAL, "-"), (GENERATED, ":")]
    for (name, memory), (colour, line) in zip(memories.items(), styles, strict=False):
        density = memory.log_likelihood(direction(grid)).exp() * math.pi / 180  # per radian -> per degree
        axes.plot(grid, density, line, color=colour, linewidth=2)
        peak = int(density.argmax()) if line == "-" else 180
        text_colour = "#666666" if colour == UNUSED else colour
        axes.text(peak + 8, float(density[peak]), name, color=text_colour, fontsize=10, va="bottom")
        axes.plot(angles(memory.keys), [-0.0012] * memory.num_slots, "^", color=colour, markersize=8, clip_on=False)
    axes.plot(angles(queries), [0.0004] * len(queries), "|", color=INK, markersize=9, alpha=0.6)
    axes.set(xlabel="angle (degrees)", ylabel="density p(x) (1/degree)", xlim=(0, 360), xticks=range(0, 361, 60))
    hide_top_and_right(axes)
    return figure


def climbs_figure(series: Mapping[str, Sequence[float]]) -> Figure:
    """How far the mean log-likelihood is below the best one, against sweeps, on a logarithmic axis."""
    figure = Figure(figsize=(8.2, 3.4), layout="constrained")
    axes = figure.subplots()
    best = max(max(values) for values in series.values())
    least = 1e-6
    styles = [(INK, "-"), (GREEN, "--"), (GENERATED, "-."), (REAL, ":"), (PURPLE, "-")]
    for (name, values), (colour, line) in zip(series.items(), styles, strict=False):
        missing = best - np.array(values)
        arrives = int(np.argmax(missing < least)) if (missing < least).any() else len(missing) - 1
        shown = np.maximum(missing[: arrives + 1], least)
        axes.plot(shown, line, color=colour, linewidth=2.2)
        labelled = arrives if arrives > 15 else int(np.abs(np.log(shown / 4e-6)).argmin())
        place: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
        if name == "incremental EM":  # there is room on the left of its curve only
            place |= {"xytext": (-10, -4), "ha": "right"}
        axes.annotate(name.replace(" EM", "\nEM"), (labelled, shown[labelled]), color=colour, **place)
    axes.set(xlabel="sweeps over the queries", ylabel="log-likelihood below the best\n(nats per query)")
    axes.set(yscale="log", ylim=(least / 2, 2), xlim=(0, 24.5), xticks=range(0, 21, 5))
    hide_top_and_right(axes)
    return figure


def tracking_figure(measured: Mapping[float, Mapping[float, float]], traces: Mapping[float, Tensor]) -> Figure:
    """Left: one key's error at each write, for a few alphas; right: error against effective memory.

    `measured[speed][alpha]` in degrees; `traces[alpha]` [writes] are degrees from the centre to the key at half a
    degree a write.
    """
    figure = Figure(figsize=(8.4, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    styles = [(GREEN, "-"), (INK, "-"), (PURPLE, "-")]
    for (alpha, trace), (colour, line) in zip(traces.items(), styles, strict=True):
        left.plot(trace, line, color=colour, linewidth=1.5)
        end = float(trace[-10:].mean())
        left.text(len(trace) + 2, end, f"α = {alpha:g}", color=colour, va="center", fontsize=9.5)
    left.axhline(0, color=UNUSED, linewidth=1, zorder=0)
    left.set(xlabel="write", ylabel="key ahead of its centre (degrees)", xlim=(0, 1.35 * len(trace)))
    left.set(xticks=range(0, len(trace) + 1, 25), title="a turn of 0.5 degrees a write")
    fine = 1 - np.geomspace(1, 0.02, 60)
    looks = [(UNUSED, "o", "at rest"), (REAL, "s", "0.5 degrees\na write"), (GENERATED, "^", "2 degrees\na write")]
    for (speed, errors), (colour, marker, text) in zip(measured.items(), looks, strict=True):
        expected = {
            1 / (1 - alpha): tracking_error(alpha, speed) for alpha in fine if tracking_error(alpha, speed) < 30
        }
        right.plot(list(expected), list(expected.values()), color=colour, linewidth=1.8)
        memory = [1 / (1 - alpha) for alpha in errors]
        # hollow, because some lie on each other
        right.plot(memory, list(errors.values()), marker, color=colour, fillstyle="none", markersize=7)
        last = list(expected)[-1]
        text_colour = "#707070" if colour == UNUSED else colour
        right.annotate(
            text, (last, expected[last]), (5, 0), textcoords="offset points", fontsize=9, color=text_colour, va="center"
        )
    for alpha in traces:
        place = (1 / (1 - alpha), measured[0.5][alpha])
        by, side = ((-5, -13), "right") if alpha == 0.5 else ((6, -12), "left")
        text = f"α = {alpha:g}"
        right.annotate(text, place, by, textcoords="offset points", fontsize=8.5, color=REAL, ha=side)
    right.set(xscale="log", yscale="log", xticks=[1, 2, 5, 10, 20, 50], yticks=[1, 2, 5, 10, 20], ylim=(0.7, 40))
    right.set_xticklabels(["1", "2", "5", "10", "20", "50"])
    right.set_yticklabels(["1", "2", "5", "10", "20"])
    right.minorticks_off()
    right.set(xlabel="effective memory 1/(1 - α) (writes)", ylabel="error of the keys (degrees, rms)")
    right.set(xlim=(0.9, 140), title="marks: measured; curves: formula")
    for axes in (left, right):
        axes.title.set_fontsize(10)
        hide_top_and_right(axes)
    return figure


def shares_figure(series: Mapping[str, Sequence[float]]) -> Figure:
    """The share of slots called real against writes."""
    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    axes = figure.subplots()
    for (name, values), (colour, line) in zip(series.items(), [(REAL, "-"), (INK, "--")], strict=True):
        axes.plot(range(1, len(values) + 1), values, line, color=colour, linewidth=2)
        axes.annotate(name, (len(values), values[-1]), (6, 0), textcoords="offset points", color=colour, va="center")
    axes.set(xlabel="writes", ylabel="share of slots with v = 1", ylim=(0, 0.6), xlim=(0, 1.6 * len(values)))
    axes.set_xticks(range(0, len(values) + 1, 20))
    hide_top_and_right(axes)
    return figure


# ---------------------------------------------------------------- exercises


def four_writes() -> tuple[VMFMemory, Tensor, Tensor]:
    """A memory of six slots, and four queries with their labels, each to be written into it alone."""
    memory = ring([20, 60, 100, 190, 230, 310], [1, 0, 1, 0, 0, 1], [3, 0.2, 1, 2, 2, 1], top_k=2, kappa=10.0)
    return memory, direction([55, 15, 240, 150]), torch.tensor([1, 1, 1, 0])


@attempt
def check_cases(answer: Any) -> str:
    """ "EM" or "replace" for each of `four_writes`."""
    memory, queries, labels = four_writes()
    right = ["EM" if found else "replace" for found in finds_its_label(memory, queries, labels)]
    words = [_as_case(answered(case)) for case in answer]
    if len(words) != 4 or not set(words) <= {"EM", "replace"}:
        raise Wrong(f'Four words are asked for, each "EM" or "replace", not {words!r}.')
    for number, (given, case) in enumerate(zip(words, right, strict=True)):
        if given != case and number == 0:
            raise Wrong(
                "The first: slot 1 is nearest by angle, but exp(kappa K . q)(h + beta) decides, and its h is 0.2."
            )
        if given != case:
            raise Wrong(f"Number {number + 1} (counted from 1): look which value the most probable slot carries.")
    return "The most probable slot decides, and that need not be the nearest one."


def _as_case(word: Any) -> Any:
    """ "EM" or "replace" for a word that means it, however it is spelled; anything else as it is."""
    spelling = str(word).strip().lower()
    if spelling == "em":
        return "EM"
    if spelling == "replace":
        return "replace"
    return word


@attempt
def check_replace(answer: Callable[[VMFMemory, Tensor, int], Any]) -> str:
    """`answer(memory, query, label)` overwrites the oldest slot of the label in place (7); ages have grown before."""
    before = ring([0, 50, 110, 170, 230, 300], [1, 0, 1, 1, 0, 1], [3, 1, 2, 0.5, 2, 1], [4, 9, 12, 2, 5, 1], top_k=1)
    query = direction([140.0])
    label = torch.tensor([0])
    right = copy.deepcopy(before)
    right.write(query, label)  # replaces slot 1: the oldest generated one
    before.ages += 1
    given = copy.deepcopy(before)
    if answer(given, query[0].clone(), 0) is ...:
        answered(...)
    changed = (given.keys != before.keys).any(dim=1).nonzero().flatten().tolist()
    if not changed:
        raise Wrong("No key has changed. Write into the memory in place: memory.keys[slot] = query.")
    if len(changed) > 1:
        raise Wrong(f"The keys of slots {changed} have changed; a replacement overwrites one slot.")
    if changed != [1]:
        raise Wrong(_why_another_slot(before, changed[0]))
    if int(given.values[1]) != 0:
        raise Wrong("The slot has the key of the query, but not its label: v is still another one.")
    if int(given.ages[1]) != 0:
        raise Wrong(f"The slot is new, but its age is {int(given.ages[1])}: it would be replaced again at once.")
    if not torch.equal(given.ages, right.ages):
        raise Wrong("The ages of other slots have changed: they grow elsewhere, before your function is called.")
    count = float(given.histogram[1])
    if count == float(before.histogram[1]):
        raise Wrong("The slot has kept its old count, which belongs to queries that it no longer stands for.")
    if not math.isclose(count, float(right.histogram[1]), rel_tol=1e-6):
        raise Wrong(f"Its count should be the mean of all, {float(right.histogram[1]):.3f}, and is {count:.3f}.")
    if not torch.allclose(given.histogram, right.histogram):
        raise Wrong("The counts of other slots have changed.")
    if not torch.allclose(given.keys, right.keys):
        raise Wrong("The new key is not the query.")
    return "Slot 1 is now what memory.write makes of it."


def _why_another_slot(memory: VMFMemory, slot: int) -> str:
    if memory.values[slot] != 0:
        return f"You overwrote slot {slot}, which is real. The oldest slot *of the query's label* is asked for."
    return f"You overwrote slot {slot}, aged {int(memory.ages[slot])}; slot 1 is older, {int(memory.ages[1])}."


@attempt
def check_em_step(answer: Callable[[VMFMemory, Tensor, int], Any]) -> str:
    """`answer(memory, queries, label)`: one EM step on a batch, (8) to (10), in place; ages are left alone."""
    degrees = [0, 35, 60, 110, 200, 300, 340]
    settings: dict[str, Any] = {"top_k": 2, "kappa": 6.0, "alpha": 0.7, "correct_in_top": 2}
    before = ring(degrees, [1, 0, 1, 1, 0, 1, 1], [0.5, 4, 2, 1, 3, 1, 2], **settings)
    queries = direction([10.0, 40, 25, 80, 350])
    right = copy.deepcopy(before)
    right.write(queries, torch.ones(5, dtype=torch.long))
    given = copy.deepcopy(before)
    if answer(given, queries.clone(), 1) is ...:
        answered(...)
    if torch.equal(given.histogram, before.histogram):
        raise Wrong("No count has changed. Write into the memory in place, for example memory.histogram[...] = ...")
    if not torch.equal(given.ages, before.ages):
        raise Wrong("Ages have changed: they grow elsewhere, and your function leaves them alone.")
    other = before.values == 0
    if not torch.equal(given.histogram[other], before.histogram[other]):
        raise Wrong("A slot with v = 0 has changed, but the queries are real: S_y holds slots of their label only.")
    for mistake in _mistakes_of_em(before, queries):
        if torch.allclose(given.histogram, mistake.result[:, 0]) and torch.allclose(given.keys, mistake.result[:, 1:]):
            raise Wrong(mistake.reason)
    if not torch.allclose(given.histogram, right.histogram, atol=1e-6):
        slot = int((given.histogram - right.histogram).abs().argmax())
        wanted = float(right.histogram[slot])
        raise Wrong(f"The count of slot {slot} should be {wanted:.3f}, yours is {float(given.histogram[slot]):.3f}.")
    length = given.keys.norm(dim=1)
    if float((length - 1).abs().max()) > 1e-6:
        raise Wrong(f"A key has length {float(length.min()):.3f}: (10) ends with a normalisation.")
    if not torch.allclose(given.keys, right.keys, atol=1e-6):
        slot = int((given.keys - right.keys).norm(dim=1).argmax())
        wanted_angle = _degrees(right.keys[slot])
        raise Wrong(f"The key of slot {slot} should point to {wanted_angle}, yours to {_degrees(given.keys[slot])}.")
    _refuse_only_real(answer, before, queries)
    return "Keys and counts are those of memory.write to 1e-6, and no order of the batch can matter: sums have none."


def _refuse_only_real(answer: Callable[[VMFMemory, Tensor, int], Any], before: VMFMemory, queries: Tensor) -> None:
    """Raise `Wrong` where `answer` takes real slots for the S_y of generated queries, too."""
    right = copy.deepcopy(before)
    right.values.copy_(1 - before.values)
    given = copy.deepcopy(right)
    right.write(queries, torch.zeros(5, dtype=torch.long))
    answer(given, queries.clone(), 0)
    if not torch.allclose(given.histogram, right.histogram, atol=1e-6):
        raise Wrong("Right for real queries, but with label 0 S_y holds generated slots: compare values with label.")


def _mistakes_of_em(memory: VMFMemory, queries: Tensor) -> list[Mistake]:
    """What typical mistakes make of the counts and keys of `memory` for real `queries`: [N, 1 + M]."""
    return [
        Mistake(
            _em_with(memory, queries, prior=False), "Your shares use the likelihood alone: the prior, h, is missing."
        ),
        Mistake(
            _em_with(memory, queries, cut=False), "All slots of the label have a share: S_y holds only the k best."
        ),
        Mistake(
            _em_with(memory, queries, mask_first=False),
            "S_y is the k best slots *of the label*: leave out the other label first, then take k.",
        ),
        Mistake(
            _em_with(memory, queries, decay=1.0), "The past has not decayed: first h <- alpha h for touched slots."
        ),
        Mistake(
            _em_with(memory, queries, decay=memory.alpha ** len(queries)),
            "The past decays once with each write, not once for each query.",
        ),
        Mistake(_em_with(memory, queries[-1:]), "Only the last query has been counted. Add up over the batch."),
        Mistake(
            _em_with(memory, queries, key_decay=1.0),
            "The key weighs its past with h, not with alpha h: it has to forget as the count does.",
        ),
        Mistake(
            _em_with(memory, queries, everywhere=True), "Slots outside every S_y have decayed: only touched ones do."
        ),
    ]


def _em_with(
    memory: VMFMemory,
    queries: Tensor,
    *,
    prior: bool = True,
    cut: bool = True,
    mask_first: bool = True,
    decay: float | None = None,
    key_decay: float | None = None,
    everywhere: bool = False,
) -> Tensor:
    """Counts and keys after (8) to (10) on real `queries`, with one thing done in another way."""
    is_real = memory.values == 1
    likelihood = memory.kappa * queries @ memory.keys.T
    joint = likelihood + memory.histogram.log()
    place = joint.masked_fill(~is_real, -torch.inf) if mask_first else joint
    top_k = memory.top_k if cut else memory.num_slots
    best = torch.zeros_like(joint, dtype=torch.bool).scatter(1, place.topk(top_k, dim=1).indices, True)
    inside = best & is_real
    shares = (joint if prior else likelihood).masked_fill(~inside, -torch.inf).softmax(dim=1)
    touched = inside.any(dim=0)
    kept = memory.alpha if decay is None else decay
    past = torch.where(touched | (everywhere & is_real), kept * memory.histogram, memory.histogram)
    weight = past if key_decay is None else key_decay * memory.histogram
    keys = F.normalize(weight.unsqueeze(1) * memory.keys + shares.T @ queries, dim=1)
    keys = torch.where(touched.unsqueeze(1), keys, memory.keys)
    return torch.cat([(past + shares.sum(dim=0)).unsqueeze(1), keys], dim=1)


def _degrees(key: Tensor) -> str:
    return f"{float(angles(key)):.2f} degrees"


@attempt
def check_alpha(answer: float) -> str:
    """An alpha whose error at 1 degree a write is within 5 % of the smallest possible."""
    if not 0 < answer < 1:
        raise Wrong("alpha must lie between 0 and 1, both excluded here.")
    candidates = np.linspace(0.01, 0.99, 981)
    best = min(candidates, key=lambda alpha: tracking_error(alpha, 1.0))
    error = tracking_error(answer, 1.0)
    least = tracking_error(best, 1.0)
    if error > 1.05 * least:
        why = "lags: it remembers too long" if answer > best else "jitters: it forgets too fast"
        raise Wrong(f"The error is {error:.1f} degrees, where {least:.1f} is possible. The key {why}.")
    errors, _ = track(float(answer), 1.0)
    measured = float(errors[50:].square().mean().sqrt())
    return f"Expected error {error:.1f} degrees (least possible {least:.1f}); measured with real writes {measured:.0f}."

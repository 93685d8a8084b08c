"""The memory of MemoryGAN: a mixture of von Mises-Fisher distributions that is read and written as it trains.

    image -> inference network -> query -> memory.read   (posterior -> top-k -> P(real)) -> losses
                                    |-----> memory.write  (EM on the matching slots | replace the oldest)
    memory.sample -> key + noise -> generator -> image    (and round again)

Slot i is a mean direction K_i (`keys`), a label v_i (`values`: 1 real, 0 generated), an age a_i (`ages`: writes
since it was last touched) and an effective count of data h_i (`histogram`). Equation numbers refer to
docs/notation.md; `memgan.reference` states the same method as plain loops.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan import vmf
from memgan.search import Nearest, nearest_and_matching, nearest_slots

__all__ = ["MEMORY_PRESETS", "MemorySettings", "VMFMemory"]

Touch = Literal["best", "all"]

_CACHED_ELEMENTS = 2**17  # elements of the keys updated at once on a CPU: 512 KB in float32, within a cache
_MOST_ELEMENTS = 2**26  # elements of a temporary that is not cached: 256 MB in float32


@dataclass(frozen=True)
class MemorySettings:
    """The settings of a `VMFMemory`, with the symbols of the paper."""

    num_slots: int  # N
    key_dim: int  # M
    top_k: int  # k; at N/16 ages still tell slots apart, at N every slot is always young
    kappa: float = 60.0  # vMF concentration; at the paper's 1 the likelihood spans only e^2
    alpha: float = 0.9  # histogram decay of a touched slot, per write; 1 never forgets
    beta: float = 1e-8  # prior smoothing
    em_steps: int = 1  # T
    correct_in_top: int = 1  # how many of the nearest slots may vouch for a label; k is the paper's text
    touch: Touch = "best"  # which slots EM makes young: the best match (Kaiser et al.) or all k (authors' code)
    replace_within_label: bool = True  # overwrite the oldest slot of the sample's own label: no label takes over
    epsilon: float = 1e-3  # D(x) is clipped to [epsilon, 1 - epsilon]


_AUTHORS_SIZE = MemorySettings(num_slots=4096, key_dim=256, top_k=128, correct_in_top=2)
_SLIM = MemorySettings(num_slots=1024, key_dim=64, top_k=32, correct_in_top=2)

MEMORY_PRESETS = {
    # The paper's text and settings. They did not train the digits: README, "What it reaches".
    "paper": replace(_AUTHORS_SIZE, kappa=1.0, alpha=0.5, correct_in_top=128, touch="all", replace_within_label=False),
    **dict.fromkeys(["mnist", "fashion-mnist", "affine-mnist"], _AUTHORS_SIZE),
    "cifar10": MemorySettings(num_slots=16384, key_dim=512, top_k=256, correct_in_top=2),
    **dict.fromkeys(["mnist-slim", "fashion-mnist-slim", "affine-mnist-slim", "cifar10-slim"], _SLIM),
    "digits": MemorySettings(num_slots=512, key_dim=64, top_k=32, correct_in_top=2),
}


class VMFMemory(nn.Module):
    """A vMF mixture over N slots that tells real queries from generated ones and learns while it is used.

        p(c=i|x)  = exp(kappa K_i . q)(h_i + beta) / sum_j exp(kappa K_j . q)(h_j + beta)            (4)
        D(x)      = sum_{i in S} v_i p(c=i|x) / sum_{i in S} p(c=i|x),  S the k most probable slots  (6)

    `read` and `sample` never change the memory, only `write` does. The arguments are those of
    `MemorySettings`; `validate=False` leaves out the checks that need values on the host (for GPUs).
    Keys start as random unit rows, the histogram at 1e-5, the first half of the values at 1.
    Differs from the paper in how a batch is written: see `write`.
    """

    keys: Tensor
    values: Tensor
    ages: Tensor
    histogram: Tensor

    def __init__(
        self,
        num_slots: int,
        key_dim: int,
        top_k: int,
        *,
        kappa: float = MemorySettings.kappa,
        alpha: float = MemorySettings.alpha,
        beta: float = MemorySettings.beta,
        em_steps: int = MemorySettings.em_steps,
        correct_in_top: int = MemorySettings.correct_in_top,
        touch: Touch = MemorySettings.touch,
        replace_within_label: bool = MemorySettings.replace_within_label,
        epsilon: float = MemorySettings.epsilon,
        validate: bool = True,
    ) -> None:
        super().__init__()
        self.num_slots, self.key_dim, self.top_k = num_slots, key_dim, top_k
        self.kappa, self.alpha, self.beta = kappa, alpha, beta
        self.em_steps, self.correct_in_top, self.touch = em_steps, correct_in_top, touch
        self.replace_within_label, self.epsilon, self.validate = replace_within_label, epsilon, validate
        self._check_settings()
        self.register_buffer("keys", F.normalize(torch.randn(num_slots, key_dim), dim=1))
        self.register_buffer("values", (torch.arange(num_slots) < num_slots // 2).long())
        self.register_buffer("ages", torch.zeros(num_slots, dtype=torch.long))
        self.register_buffer("histogram", torch.full((num_slots,), 1e-5))

    @classmethod
    def from_settings(cls, settings: MemorySettings, *, validate: bool = True) -> "VMFMemory":
        return cls(**asdict(settings), validate=validate)

    @classmethod
    def from_preset(cls, name: str, *, validate: bool = True, **changes: Any) -> "VMFMemory":
        """The memory of a preset, "paper" or a data set's name; `changes` override single settings.

        With a smaller `top_k`, `correct_in_top` follows it down. Raises ValueError for an unknown name.
        """
        if name not in MEMORY_PRESETS:
            raise ValueError(f"unknown memory preset {name!r}, expected one of {sorted(MEMORY_PRESETS)}")
        preset = MEMORY_PRESETS[name]
        top_k = changes.get("top_k", preset.top_k)
        changes.setdefault("correct_in_top", min(preset.correct_in_top, top_k))
        return cls.from_settings(replace(preset, **changes), validate=validate)

    # ---------------------------------------------------------------- reading

    def posterior(self, queries: Tensor) -> Tensor:
        """p(c=i|x) over all slots, [B, N], for unit `queries` [B, M]; differentiable in the queries. (4)

        A write before the backward pass makes autograd raise; `read` has no such limit.
        """
        queries = self._checked_queries(queries)
        with _full_precision(queries):
            return torch.addmm(self._log_prior(), queries, self.keys.T, alpha=self.kappa).softmax(dim=1)

    def top_k_posterior(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """S, most probable slot first, and the posterior renormalised over it: weights [B, k], slots [B, k]. (5)

        The weights are differentiable in the queries.
        """
        queries = self._checked_queries(queries)
        with _full_precision(queries):
            scores, slots = self._nearest(queries)
            scores, order = scores.sort(dim=1, descending=True)
            slots = slots.gather(1, order)
            if queries.requires_grad and torch.is_grad_enabled():
                scores = self._log_likelihood_of(queries, slots) + self._log_prior().take(slots)
            return scores.softmax(dim=1), slots

    def read(self, queries: Tensor) -> Tensor:
        """D(x) = P(real) for unit `queries` [B, M]: [B] in [epsilon, 1 - epsilon]. (6)

        Its gradient, kappa sum_{i in S} p_i (v_i - D) K_i, reaches the queries only and is computed with the value,
        so a write before the backward pass does no harm. Where the clip acts it is 0. Differentiable once.
        """
        queries = self._checked_queries(queries)
        with _full_precision(queries):
            return self._probability_real(queries, *self._nearest(queries))

    def _probability_real(self, queries: Tensor, scores: Tensor, slots: Tensor) -> Tensor:
        with torch.no_grad():
            weights = scores.softmax(dim=1)
            values = self.values.take(slots).to(weights)
            probability = (weights * values).sum(dim=1)
        if queries.requires_grad and torch.is_grad_enabled():
            with torch.no_grad():
                pull = self.kappa * weights * (values - probability.unsqueeze(1))
                gradient = F.embedding_bag(slots, self.keys, mode="sum", per_sample_weights=pull)
            probability = _WithGradient.apply(queries, probability, gradient)
        return probability.clamp(self.epsilon, 1 - self.epsilon)

    @torch.no_grad()
    def log_likelihood(self, queries: Tensor, label: int | None = None) -> Tensor:
        """log p(x) of the mixture, [B], true normaliser included; with `label`, of its slots with that value. (1-3)

        Raises ValueError where no slot carries `label`.
        """
        queries = self._checked_queries(queries)
        if label not in (0, 1, None):
            raise ValueError(f"label must be 0, 1 or None, got {label!r}")
        prior = self.histogram + self.beta
        if label is not None:
            prior = prior * (self.values == label)
            if self.validate and not bool((prior > 0).any()):
                raise ValueError(f"log_likelihood(label={label}) needs a slot with value {label}, there is none")
        log_prior = prior.log() - prior.sum().log()
        size = max(1, _MOST_ELEMENTS // self.num_slots)
        with _full_precision(queries):
            parts = [
                torch.addmm(log_prior, q, self.keys.T, alpha=self.kappa).logsumexp(dim=1) for q in queries.split(size)
            ]
            return torch.cat(parts) + vmf.log_normaliser(self.kappa, self.key_dim).item()

    @torch.no_grad()
    def sample(self, num_samples: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Slots c ~ p(c=i|v=1) = h_i v_i / sum_j h_j v_j: keys [num_samples, M] and slots [num_samples]. (11)

        Raises ValueError where no slot with v = 1 has a positive histogram.
        """
        if type(num_samples) is not int or num_samples < 1:
            raise ValueError(f"num_samples must be a whole number of at least 1, got {num_samples!r}")
        cumulative = (self.histogram.double() * self.values).cumsum(dim=0)
        if self._checks_values() and not bool(cumulative[-1] > 0):
            raise ValueError("sample needs a slot with v = 1 and a positive histogram, there is none")
        uniform = torch.rand(num_samples, dtype=torch.double, device=self.keys.device, generator=generator)
        slots = torch.searchsorted(cumulative, uniform * cumulative[-1], right=True).clamp(max=self.num_slots - 1)
        return self.keys[slots], slots

    # ---------------------------------------------------------------- writing

    @torch.no_grad()
    def write(self, queries: Tensor, labels: Tensor) -> None:
        """Write unit `queries` [B, M] with `labels` [B] (1 real, 0 generated) in place, without gradient. (7-10)

        A sample whose label none of its `correct_in_top` nearest slots carries overwrites the oldest slot (7). Any
        other takes T steps of incremental EM on S_y, the k most probable slots of its own label, from alpha h:

            gamma_i = exp(kappa K_i . q)(h_i + beta) / sum over S_y                                   (8)
            h_i    <- h_i + sum over samples of the change in gamma_i                                 (9)
            K_i    <- K_i + sum over samples of the change in gamma_i / h_i * (q - K_i), normalised  (10)

        Every slot's age grows by one. Differs from the paper in that a batch is one EM step on summed statistics: each
        touched slot decays once, the order of the batch is irrelevant. Equal to the paper's rule where nobody replaces
        and no sample's write changes what another finds. Samples that replace take distinct slots, oldest first, ties
        by index; the smallest q . (1, sqrt 2, sqrt 3, ...) goes first. A slot that is replaced is not also moved.

        Raises ValueError, with the memory unchanged, when more samples replace than there are slots to replace
        (under `validate=False` those beyond are not written).
        """
        queries, labels = self._checked_queries(queries), self._checked_labels(labels, len(queries))
        with _full_precision(queries):
            nearest, matching = self._nearest_and_matching(queries, labels, look_at=self.correct_in_top)
            self._update(queries, labels, nearest, matching)

    def read_write(self, queries: Tensor, labels: Tensor) -> Tensor:
        """`read`, then `write`, on one similarity matrix: D(x) [B] as it was before the write."""
        queries, labels = self._checked_queries(queries), self._checked_labels(labels, len(queries))
        with _full_precision(queries):
            nearest, matching = self._nearest_and_matching(queries, labels, look_at=self.top_k)
            probability = self._probability_real(queries, *nearest)
            with torch.no_grad():
                self._update(queries, labels, nearest, matching)
        return probability

    def _update(self, queries: Tensor, labels: Tensor, nearest: Nearest, matching: Nearest) -> None:
        """Apply (7-10), given the best slots of all, at least `correct_in_top` of them, and S_y."""
        queries = F.normalize(queries, dim=1)
        looked_at = nearest.slots.gather(1, nearest.scores.topk(self.correct_in_top).indices)
        right = (self.values.take(looked_at) == labels.unsqueeze(1)).any(dim=1)
        writer, target = self._assign_replacements(queries, labels, ~right)
        mean_histogram = self.histogram.mean()

        scores, slots = matching
        belongs = (scores > -torch.inf) & right.unsqueeze(1)  # S_y holds fewer than k slots where the label does
        self.ages += 1
        if self.touch == "best":
            best = scores.argmax(dim=1, keepdim=True)
            self.ages *= ~self._mark(slots.gather(1, best), belongs.gather(1, best))
        else:
            self.ages *= ~self._mark(slots, belongs)
        self._em(queries, matching, belongs, moves=belongs & (writer.take(slots) < 0))

        # Every target is written, with its own content where nobody replaces it: fixed shapes and no race.
        source, replaced = writer[target].clamp(min=0), writer[target] >= 0
        for buffer, new in [
            (self.keys, queries[source]),
            (self.values, labels[source]),
            (self.ages, torch.zeros_like(target)),
            (self.histogram, mean_histogram.expand(len(target))),
        ]:
            mask = replaced.unsqueeze(1) if buffer.ndim == 2 else replaced
            buffer.index_copy_(0, target, torch.where(mask, new, buffer[target]))

    def _assign_replacements(self, queries: Tensor, labels: Tensor, replaces: Tensor) -> tuple[Tensor, Tensor]:
        """The sample that overwrites each slot, `writer` [N] (-1: none), and a `target` slot per sample, [B]. (7)"""
        slot = torch.arange(self.num_slots, device=labels.device)
        sample = torch.arange(len(labels), device=labels.device)
        if self.replace_within_label:
            pool, member = labels, torch.stack([self.values == 0, self.values == 1])
        else:
            pool, member = torch.zeros_like(labels), torch.ones_like(slot, dtype=torch.bool).unsqueeze(0)
        seniority = self.ages * self.num_slots + (self.num_slots - 1 - slot)  # oldest first, ties by index
        seniority, oldest = torch.where(member, seniority, -1).topk(min(len(labels), self.num_slots), dim=1)

        # whose turn it is must not depend on the order of the batch: any fixed direction without ties will do
        turn = (queries.double() * torch.arange(1, self.key_dim + 1, device=labels.device).sqrt()).sum(dim=1)
        earlier = (turn < turn.unsqueeze(1)) | ((turn == turn.unsqueeze(1)) & (sample < sample.unsqueeze(1)))
        rank = (earlier & replaces & (pool == pool.unsqueeze(1))).sum(dim=1)
        place = rank.clamp(max=oldest.shape[1] - 1)
        fits = replaces & (rank == place) & (seniority[pool, place] >= 0)
        if self._checks_values() and bool((replaces & ~fits).any()):
            whose = "slots with values 0 and 1" if self.replace_within_label else "slots"
            raise ValueError(
                f"{int(replaces.sum())} of {len(labels)} samples need a slot to replace, expected at most as many as "
                f"there are: {member.sum(dim=1).tolist()} {whose}; use a larger memory or a smaller batch"
            )
        target = oldest[pool, place]
        writer = torch.full_like(slot, -1).scatter_reduce(0, target, torch.where(fits, sample, -1), "amax")
        return writer, target

    def _em(self, queries: Tensor, matching: Nearest, belongs: Tensor, moves: Tensor) -> None:
        """T steps of incremental EM on S_y: `belongs` [B, k] enters the E-step, `moves` [B, k] the M-step. (8-10)"""
        scores, slots = matching
        likelihood = scores - self._log_prior().take(slots)  # kappa K . q
        touched = self._mark(slots, moves)
        self.histogram.copy_(torch.where(touched, self.histogram * self.alpha, self.histogram))
        remembered = torch.zeros_like(scores)
        for step in range(self.em_steps):
            if step > 0:
                likelihood = self._log_likelihood_of(queries, slots)
            joint = torch.where(belongs, likelihood + self._log_prior().take(slots), -torch.inf)
            responsibilities = torch.where(moves, joint.softmax(dim=1), 0.0)
            self._m_step(queries, slots, moves, touched, responsibilities - remembered)
            remembered = responsibilities

    def _m_step(self, queries: Tensor, slots: Tensor, moves: Tensor, touched: Tensor, change: Tensor) -> None:
        """Add each sample's `change` [B, k] of responsibility to the sufficient statistics of the touched slots.

        With m = sum_b change_b, (9) is h <- h + m and (10) is K <- normalise(h_old/h K + sum_b change_b/h q_b),
        because K + change/h (q - K) = ((h - change) K + change q)/h.
        """
        fixed_shapes = change.is_cuda or torch.compiler.is_compiling()
        if fixed_shapes:  # and no atomics: a dense matrix of contributions, each entry written once
            column = torch.where(moves, slots, self.num_slots)
            dense = change.new_zeros(len(queries), self.num_slots + 1).scatter(1, column, change)[:, :-1]
            mass = dense.sum(dim=0)
        else:
            mass = torch.zeros_like(self.histogram).scatter_add_(0, slots.flatten(), change.flatten())
        tiny = torch.finfo(mass.dtype).tiny
        histogram = (self.histogram + mass).clamp(min=0)
        histogram *= histogram >= tiny  # subnormal numbers slow a CPU down
        scale = histogram.clamp(min=tiny).reciprocal()
        keep = self.histogram * scale
        if fixed_shapes:
            self._move_all(queries, dense * scale, keep, touched)
        else:
            self._move_touched(queries, slots, moves, change * scale.take(slots), keep)
        self.histogram.copy_(histogram)

    def _move_touched(self, queries: Tensor, slots: Tensor, moves: Tensor, pull: Tensor, keep: Tensor) -> None:
        """K_i <- normalise(keep_i K_i + sum_b pull_bi q_b) for the touched slots, a cache-sized block at a time.

        For a CPU: pulls are sorted by slot, so each slot sums its few queries where they are, without a copy.
        """
        by_slot, order = torch.where(moves, slots, self.num_slots).flatten().sort(stable=True)
        order = order[: int(moves.sum())]
        sample, weight = order // self.top_k, pull.flatten()[order]
        touched, counts = by_slot[: len(order)].unique_consecutive(return_counts=True)
        size, end = max(1, _CACHED_ELEMENTS // self.key_dim), 0
        for rows, count in zip(touched.split(size), counts.split(size), strict=True):
            start, end = end, end + int(count.sum())
            bags, part = count.cumsum(0) - count, slice(start, end)
            resultant = F.embedding_bag(sample[part], queries, bags, mode="sum", per_sample_weights=weight[part])
            old = self.keys.index_select(0, rows)
            self.keys.index_copy_(0, rows, _moved(old, keep[rows], resultant))

    def _move_all(self, queries: Tensor, pull: Tensor, keep: Tensor, touched: Tensor) -> None:
        """The same in fixed shapes, for a GPU: `pull` is dense, [B, N], and every slot is visited."""
        size = max(1, _MOST_ELEMENTS // self.key_dim)
        for start in range(0, self.num_slots, size):
            rows = slice(start, start + size)
            old = self.keys[rows]
            new = _moved(old, keep[rows], pull[:, rows].T @ queries)
            old.copy_(torch.where(touched[rows].unsqueeze(1), new, old))

    # ---------------------------------------------------------------- parts

    def _log_prior(self) -> Tensor:
        """log(h_i + beta), [N]: the log prior up to a constant. (1)"""
        return (self.histogram + self.beta).log()

    def _log_likelihood_of(self, queries: Tensor, slots: Tensor) -> Tensor:
        """kappa K_i . q for the `slots` [B, k] of each query, [B, k]: log p(x|c=i) up to a constant. (2)"""
        size = max(1, _MOST_ELEMENTS // (self.key_dim * self.top_k))
        parts = zip(queries.split(size), slots.split(size), strict=True)
        return self.kappa * torch.cat([torch.einsum("bm,bkm->bk", q, self.keys[s]) for q, s in parts])

    def _nearest(self, queries: Tensor) -> Nearest:
        """S: scores [B, k] and slots [B, k], best first. (5)"""
        with torch.no_grad():
            return nearest_slots(queries, self.keys, self._log_prior(), self.kappa, self.top_k)

    def _nearest_and_matching(self, queries: Tensor, labels: Tensor, look_at: int) -> tuple[Nearest, Nearest]:
        """The first `look_at` slots of S, and S_y. (5, 7)"""
        with torch.no_grad():
            prior = self._log_prior()
            return nearest_and_matching(
                queries, self.keys, prior, self.kappa, self.values, labels, look_at=look_at, top_k=self.top_k
            )

    def _mark(self, slots: Tensor, where: Tensor) -> Tensor:
        """Which slots stand in `slots` [B, any] at a place that `where` [B, any] selects, [N] bool."""
        marks = torch.zeros(self.num_slots + 1, dtype=torch.bool, device=slots.device)
        return marks.scatter_(0, torch.where(where, slots, self.num_slots).flatten(), True)[:-1]

    # ---------------------------------------------------------------- checks

    def _checked_queries(self, queries: Tensor) -> Tensor:
        """The queries in the memory's precision; ValueError for what is not a batch of unit vectors."""
        if not torch.is_tensor(queries) or queries.ndim != 2 or queries.shape[1] != self.key_dim or not len(queries):
            raise ValueError(f"queries must have shape [B, {self.key_dim}] with B >= 1, got {_describe(queries)}")
        if not queries.is_floating_point():
            raise ValueError(f"queries must be floating point, got {queries.dtype}")
        if queries.device != self.keys.device:
            raise ValueError(f"queries are on {queries.device}, the memory is on {self.keys.device}")
        if self.keys.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"the memory must stay in float32 or float64, it was converted to {self.keys.dtype}")
        low_precision = queries.dtype in (torch.bfloat16, torch.float16)
        queries = queries.to(self.keys.dtype)
        if self._checks_values():
            self._check_unit_length(queries.detach(), tolerance=1e-2 if low_precision else 1e-3)
        return F.normalize(queries, dim=1) if low_precision else queries

    def _check_unit_length(self, queries: Tensor, tolerance: float) -> None:
        length = queries.norm(dim=1)
        unit = (length - 1).abs() <= tolerance  # false for NaN
        if not bool(unit.all()):
            row = int((~unit).nonzero()[0])
            if not bool(queries[row].isfinite().all()):
                raise ValueError(f"queries must be finite, row {row} of {len(queries)} holds NaN or infinity")
            raise ValueError(
                f"queries must have unit length to within {tolerance:g} (use F.normalize(queries, dim=1)), "
                f"row {row} of {len(queries)} has length {float(length[row]):.6g}"
            )

    def _checked_labels(self, labels: Tensor, batch: int) -> Tensor:
        """The labels as int64; ValueError unless they are one 0 or 1 per query."""
        if not torch.is_tensor(labels) or labels.shape != (batch,):
            raise ValueError(f"labels must have shape [{batch}], one for each query, got {_describe(labels)}")
        if labels.dtype.is_complex:
            raise ValueError(f"labels must be bool, integer or floating point, got {labels.dtype}")
        if labels.device != self.keys.device:
            raise ValueError(f"labels are on {labels.device}, the memory is on {self.keys.device}")
        if self._checks_values() and not bool(((labels == 0) | (labels == 1)).all()):
            raise ValueError(f"labels must be 0 (generated) or 1 (real), got {labels.unique().tolist()[:8]}")
        return labels.long()

    def _checks_values(self) -> bool:
        return self.validate and not torch.compiler.is_compiling()

    def _check_settings(self) -> None:
        for name in ("num_slots", "key_dim", "top_k", "em_steps", "correct_in_top"):
            if type(getattr(self, name)) is not int:
                raise ValueError(f"{name} must be a whole number, got {getattr(self, name)!r}")
        for name in ("kappa", "alpha", "beta", "epsilon"):
            if type(getattr(self, name)) not in (int, float):
                raise ValueError(f"{name} must be a number, got {getattr(self, name)!r}")
        conditions = {
            "num_slots must be at least 2": self.num_slots >= 2,
            "key_dim must be at least 2": self.key_dim >= 2,
            f"top_k must be in 1..num_slots = {self.num_slots}": 1 <= self.top_k <= self.num_slots,
            "kappa must be positive and finite": 0 < self.kappa < float("inf"),
            "alpha must be in (0, 1]": 0 < self.alpha <= 1,
            "beta must be positive": 0 < self.beta < float("inf"),
            "em_steps must be at least 1": self.em_steps >= 1,
            f"correct_in_top must be in 1..top_k = {self.top_k}": 1 <= self.correct_in_top <= self.top_k,
            "touch must be 'best' or 'all'": self.touch in ("best", "all"),
            "epsilon must be in [0, 0.5)": 0 <= self.epsilon < 0.5,
        }
        for expected, holds in conditions.items():
            if not holds:
                raise ValueError(f"{expected}, got {getattr(self, expected.split()[0])!r}")

    def extra_repr(self) -> str:
        shown = [field for field in MemorySettings.__dataclass_fields__ if field not in ("beta", "epsilon")]
        return ", ".join(f"{field}={getattr(self, field)!r}" for field in shown)


class _WithGradient(torch.autograd.Function):
    """`value` [B], with the row `gradient` [B, M] as its derivative with respect to the row of `queries`."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        # A compiler that sees the gradient needed in the backward pass only would compute it there: after the write.
        return value + 0 * gradient.sum(dim=1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return upstream.unsqueeze(1) * gradient, None, None


def _moved(old: Tensor, keep: Tensor, resultant: Tensor) -> Tensor:
    """normalise(keep K + resultant), or K where that is nothing: no mass, or pulled apart to no direction."""
    new = (old * keep.unsqueeze(1)).add_(resultant)
    length = torch.linalg.vector_norm(new, dim=1, keepdim=True)
    lost = length < 1e-6
    new /= length.masked_fill(lost, 1.0)
    waits_for_nobody = not (new.is_cuda or torch.compiler.is_compiling())
    if waits_for_nobody and not bool(lost.any()):
        return new  # nearly always: a look at one number saves a pass over the keys
    return torch.where(lost, old, new)


def _full_precision(queries: Tensor) -> torch.autocast:
    """Autocast off: scores in half precision would change which slots enter the top k."""
    return torch.autocast(queries.device.type, enabled=False)


def _describe(value: Any) -> str:
    return f"a tensor of shape {list(value.shape)}" if torch.is_tensor(value) else type(value).__name__

"""The memory of MemoryGAN: a mixture of von Mises-Fisher distributions that is read and written as it trains.

    image -> inference network -> query -> memory.read   (posterior -> top-k -> P(real)) -> losses
                                    |-----> memory.write  (EM on the matching slots | replace the oldest)
    memory.sample -> key + noise -> generator -> image    (and round again)

Slot i is a mean direction K_i (`keys`), a label v_i (`values`: 1 real, 0 generated), an age a_i (`ages`: writes
since it was last touched) and an effective count of data h_i (`histogram`). Equation numbers refer to
docs/notation.md; `memgan.reference` states the same method as plain loops, and memgan/engines/ makes it fast.
"""

import dataclasses
import math
import warnings
import weakref
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from memgan import vmf
from memgan.distributed import are_equal, gathered, own_rows
from memgan.engines import (
    Candidates,
    engine_for,
    expected_value,
    is_transformed,
    log_posterior,
    log_posterior_in_top_k,
    marked,
    rows_at_once,
    scores_of,
)
from memgan.engines.precision import clipped, exact_dtype, first_dtype, full_precision
from memgan.fields import number, truth_value, whole_number

__all__ = ["MemorySettings", "VMFMemory"]

Touch = Literal["best", "all"]

_FIRST_COUNT = 1e-5  # of every slot's histogram, as in the authors' code
_LARGEST_KAPPA = 1e6  # slots would be narrower than float32 tells cosines apart, which it rounds by 6e-8
_LARGEST_BETA = 1e30  # times N slots, float32 ends at 3e38
_UNIT = 1e-2  # by how much the length of a key may differ from 1: what bfloat16 leaves of one is unit by that


@dataclass(frozen=True)
class MemorySettings:
    """The settings of a `VMFMemory`, with the symbols of the paper. ValueError for what cannot be a memory."""

    num_slots: int  # N, at least 2
    key_dim: int  # M, at least 2
    top_k: int  # k, slots considered per query; with touch="all" all k become young, so that k has to be far below N
    kappa: float = 60.0  # vMF concentration; at the paper's 1 the likelihood spans only e^2
    alpha: float = 0.9  # histogram decay of a touched slot, per write, in (0, 1]; 1 never forgets
    beta: float = 1e-8  # prior smoothing, in counts of data
    em_steps: int = 1  # T
    correct_in_top: int = 1  # how many of the nearest slots may vouch for a label; k is the paper's text
    touch: Touch = "best"  # which slots EM makes young: the best match (Kaiser et al.) or all k (authors' code)
    replace_within_label: bool = True  # overwrite the oldest slot of the sample's own label: no label takes over
    epsilon: float = 1e-3  # D(x) is clipped to [epsilon, 1 - epsilon], so that its logarithm stays finite; in
    # float32 it also stays 6e-8 below 1, however small epsilon is

    def __post_init__(self) -> None:
        for name in ("num_slots", "key_dim", "top_k", "em_steps", "correct_in_top"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        for name in ("kappa", "alpha", "beta", "epsilon"):
            object.__setattr__(self, name, number(name, getattr(self, name)))
        truth_value("replace_within_label", self.replace_within_label)
        if self.num_slots < 2:
            raise ValueError(f"num_slots must be at least 2, got {self.num_slots}")
        if self.key_dim < 2:
            raise ValueError(f"key_dim must be at least 2, got {self.key_dim}")
        if not 1 <= self.top_k <= self.num_slots:
            raise ValueError(f"top_k must be in 1..num_slots = {self.num_slots}, got {self.top_k}")
        if not 0 < self.kappa <= _LARGEST_KAPPA:
            raise ValueError(f"kappa must be in (0, {_LARGEST_KAPPA:,.0f}], got {self.kappa}")
        if not 0 < self.alpha <= 1:
            raise ValueError(f"alpha must be in (0, 1], got {self.alpha}")
        if not 0 < self.beta <= _LARGEST_BETA:
            raise ValueError(f"beta must be in (0, {_LARGEST_BETA:g}], got {self.beta}")
        if self.em_steps < 1:
            raise ValueError(f"em_steps must be at least 1, got {self.em_steps}")
        if not 1 <= self.correct_in_top <= self.top_k:
            raise ValueError(f"correct_in_top must be in 1..top_k = {self.top_k}, got {self.correct_in_top}")
        if self.touch not in ("best", "all"):
            raise ValueError(f"touch must be 'best' or 'all', got {self.touch!r}")
        if not 0 < self.epsilon < 0.5:
            raise ValueError(f"epsilon must be in (0, 0.5), got {self.epsilon}")

    def changed(self, **changes: Any) -> "MemorySettings":
        """A copy with some fields changed. With a smaller `top_k`, `correct_in_top` follows it down."""
        if "top_k" in changes and "correct_in_top" not in changes:
            changes["correct_in_top"] = min(self.correct_in_top, max(1, whole_number("top_k", changes["top_k"])))
        return dataclasses.replace(self, **changes)


class VMFMemory(nn.Module):
    """A vMF mixture over N slots that tells real queries from generated ones and learns while it is used.

        p(c=i|x)  = exp(kappa K_i . q)(h_i + beta) / sum_j exp(kappa K_j . q)(h_j + beta)            (4)
        D(x)      = sum_{i in S} v_i p(c=i|x) / sum_{i in S} p(c=i|x),  S the k most probable slots  (6)

    Queries are features of any length: the memory normalises them. `read` and `sample` never change the memory; `write`
    and `recount` do, the latter being meant for the end of a training. Calling the module reads. The arguments are
    those of `MemorySettings`, which `settings` holds.

    With `validate=True` values are looked at: rows that have no direction, labels other than 0 and 1 and slots that do
    not exist raise ValueError. None, the default, looks on a CPU. On a GPU a look would wait for the device, so that
    assertions on the device guard instead.

    Only `write` and `recount` may change the keys, values, ages and histogram, which are buffers. Where something
    else has left keys that are not unit rows, other values than 0 and 1, or a histogram that is not finite,
    reading, sampling and writing raise ValueError. An average of several memories is such a thing: average the
    networks alone, for example with `torch.optim.swa_utils.AveragedModel(gan, use_buffers=False)`, which takes the
    memory as it is.

    `process_group` is a group of `torch.distributed` whose ranks train together, each with a replica of this memory.
    `write`, `read_write` and `recount` then take the queries of all ranks, so that replicas that begin equal stay
    bitwise equal; the first call compares the replicas, and raises ValueError where they differ. Each rank must give a
    batch of the same size, and the memory must lie outside of `DistributedDataParallel`, or in one with
    `broadcast_buffers=False`. A copy of a memory belongs to no group. What a replica of `DataParallel` would write is
    lost, so that it raises.

    Keys start as random unit rows, the histogram at 1e-5, the first half of the values at 1. Differs from the paper in
    how a batch is written: see `write`.
    """

    # The tensors of the state that was last checked, or left by a write, each with its version counter
    _sound: tuple[tuple[weakref.ref[Tensor], int], ...] | None = None
    _compared_in: ProcessGroup | None = None  # the group whose replicas were found to be equal

    keys: Tensor  # [N, M], unit rows
    values: Tensor  # [N] int64
    ages: Tensor  # [N] int64
    histogram: Tensor  # [N]

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
        validate: bool | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        settings = MemorySettings(
            num_slots=num_slots,
            key_dim=key_dim,
            top_k=top_k,
            kappa=kappa,
            alpha=alpha,
            beta=beta,
            em_steps=em_steps,
            correct_in_top=correct_in_top,
            touch=touch,
            replace_within_label=replace_within_label,
            epsilon=epsilon,
        )
        self.validate = validate
        self.process_group = process_group
        self._settings = settings
        slots = self._places(settings.num_slots)
        self.register_buffer("keys", self._first_keys(settings))
        self.register_buffer("values", (slots < settings.num_slots // 2).long())
        self.register_buffer("ages", torch.zeros(len(slots), dtype=torch.long))
        self.register_buffer("histogram", torch.full((len(slots),), _FIRST_COUNT, dtype=self.keys.dtype))
        self.settings = settings
        self.register_load_state_dict_pre_hook(_add_extra_state)

    def keys_of(self, slots: Int[Tensor, " batch"]) -> Float[Tensor, "batch key_dim"]:
        """The keys [B, M] of `slots` [B]. Raises ValueError for what are no places in the memory."""
        return self.keys[self._checked_slots(slots)]

    def _first_keys(self, settings: MemorySettings) -> Tensor:
        """The keys of a memory in which nothing was written: random unit rows."""
        return F.normalize(torch.randn(settings.num_slots, settings.key_dim, dtype=first_dtype()), dim=1)

    def _places(self, num_slots: int, device: torch.device | None = None) -> Tensor:
        """The places in the memory of the slots that the buffers hold: all of them, 0 to N - 1."""
        return torch.arange(num_slots, device=device)

    @classmethod
    def from_settings(
        cls,
        settings: MemorySettings,
        *,
        validate: bool | None = None,
        process_group: ProcessGroup | None = None,
        **changes: Any,
    ) -> "VMFMemory":
        """The memory of `settings`, with `changes` to single fields: `from_settings(settings, num_slots=512)`."""
        fields = dataclasses.asdict(settings.changed(**changes))
        return cls(**fields, validate=validate, process_group=process_group)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and for pickle: a group of processes can be neither copied nor written to a file."""
        return {**self.__dict__, "process_group": None, "_compared_in": None, "_sound": None}

    # ---------------------------------------------------------------- the mixture (1-3)

    def _log_prior(self) -> Tensor:
        """log(h_i + beta), [N]: the log prior up to a constant. (1)"""
        return (self.histogram + self.beta).log()

    def _log_prior_of_real(self) -> Tensor:
        """log(h_i + beta) of real slots and -inf of the others, [N]."""
        return torch.where(self.values == 1, self._log_prior(), -torch.inf)

    def _log_likelihood(self, queries: Tensor, slots: Tensor) -> Tensor:
        """kappa K_i . q of each query's `slots` [B, k], [B, k]: log p(x|c=i) up to a constant. (2)"""
        rows = rows_at_once(self.key_dim * self.top_k)
        without_prior = torch.zeros_like(self.histogram)
        parts = []
        for some_queries, some_slots in zip(queries.split(rows), slots.split(rows), strict=True):
            parts.append(scores_of(some_queries, self.keys, some_slots, without_prior, self.kappa))
        return torch.cat(parts)

    @torch.no_grad()
    def log_likelihood(
        self, queries: Float[Tensor, "batch key_dim"], label: int | None = None
    ) -> Float[Tensor, " batch"]:
        """log p(x) of the mixture, [B], true normaliser included; with `label`, of its slots with that value. (1-3)

        Raises ValueError where no slot carries `label`.
        """
        queries = self._unit_queries(queries)
        if label not in (0, 1, None):
            raise ValueError(f"label must be 0, 1 or None, got {label!r}")
        prior = self.histogram + self.beta
        if label is not None:
            prior = prior * (self.values == label)
            if self._looks_at_values() and not bool((prior > 0).any()):
                raise ValueError(f"log_likelihood(label={label}) needs a slot with value {label}, there is none")
        log_prior = prior.log() - prior.sum().log()
        log_normaliser = vmf.log_normaliser(self.kappa, self.key_dim).item()
        parts = []
        with full_precision(queries.device):
            for some_queries in queries.split(rows_at_once(self.num_slots)):
                log_joint = torch.addmm(log_prior, some_queries, self.keys.T, alpha=self.kappa)
                parts.append(log_joint.logsumexp(dim=1) + log_normaliser)
        return torch.cat(parts)

    # ---------------------------------------------------------------- reading

    def forward(self, queries: Float[Tensor, "batch key_dim"]) -> Float[Tensor, " batch"]:
        """`read`."""
        return self.read(queries)

    def posterior(self, queries: Float[Tensor, "batch key_dim"]) -> Float[Tensor, "batch num_slots"]:
        """p(c=i|x) over all slots, [B, N], for `queries` [B, M]; differentiable in the queries. (4)

        A write before the backward pass makes autograd raise; `read` has no such limit. Inside activation
        checkpointing, which would read the memory a second time, the backward pass raises RuntimeError.
        """
        queries = self._unit_queries(queries)
        self._refuse_reading_again(queries, keeps_derivative=False)
        with full_precision(queries.device):
            return torch.addmm(self._log_prior(), queries, self.keys.T, alpha=self.kappa).softmax(dim=1)

    @torch.no_grad()
    def _nearest(self, queries: Tensor) -> Candidates:
        """S: scores [B, k] and slots [B, k]. (5)"""
        return engine_for(queries).nearest(queries, self.keys, self._log_prior(), self.kappa, self.top_k)

    def top_k_posterior(
        self, queries: Float[Tensor, "batch key_dim"]
    ) -> tuple[Float[Tensor, "batch top_k"], Int[Tensor, "batch top_k"]]:
        """S, most probable slot first, and the posterior renormalised over it: weights [B, k], slots [B, k]. (5)

        The weights are differentiable in the queries. Inside activation checkpointing, which would read the memory a
        second time, the backward pass raises RuntimeError.
        """
        queries = self._unit_queries(queries)
        self._refuse_reading_again(queries, keeps_derivative=False)
        with full_precision(queries.device):
            nearest = self._nearest(queries)
            scores, order = nearest.scores.sort(dim=1, descending=True)
            slots = nearest.slots.gather(1, order)
            if is_transformed(queries) or (queries.requires_grad and torch.is_grad_enabled()):
                scores = scores_of(queries, self.keys, slots, self._log_prior(), self.kappa)
            return scores.softmax(dim=1), slots

    def read(self, queries: Float[Tensor, "batch key_dim"]) -> Float[Tensor, " batch"]:
        """D(x) = P(real) for `queries` [B, M]: [B] in [epsilon, 1 - epsilon]. (6)

        Differentiable in the queries, twice too, as a gradient penalty needs. The derivative with respect to the unit
        query, kappa sum_{i in S} p_i (v_i - D) K_i, is computed with the value, so that a write before the backward
        pass does no harm. Where the clip acts it is 0.

        Raises ValueError for what is not a batch of queries with a direction, and RuntimeError inside a backward pass
        of reentrant activation checkpointing, which would read another memory than the forward pass did.
        """
        queries = self._unit_queries(queries)
        self._refuse_reading_again(queries)
        with full_precision(queries.device):
            return self._probability_real(queries, self._nearest(queries))

    def _probability_real(self, queries: Tensor, nearest: Candidates) -> Tensor:
        """D(x), [B], given S: the posterior mean of v over S, clipped. (6)"""
        probability = expected_value(queries, self.keys, nearest, self.values, self._log_prior(), self.kappa)
        return clipped(probability, self.epsilon)

    def log_posterior_of(
        self, slots: Int[Tensor, " batch"], queries: Float[Tensor, "batch key_dim"]
    ) -> Float[Tensor, " batch"]:
        """log p(c|x, v=1), [B], at most 0: of the slot that each of `queries` [B, M] was generated from. (15)

        The posterior is that of (4) among the real slots alone, because the generator is given no others. `slots` [B]
        are places in the memory; the result is -inf where such a slot is not real, and NaN where no slot is.
        Differentiable in the queries, twice too; a write before the backward pass does no harm.

        Raises ValueError for slots that are not one place for each query, and RuntimeError where `read` does.
        """
        queries = self._unit_queries(queries)
        slots = self._checked_slots(slots, number=len(queries))
        self._refuse_reading_again(queries)
        with full_precision(queries.device):
            return log_posterior(queries, self.keys, slots, self._log_prior_of_real(), self.kappa)

    def read_with_log_posterior(
        self, slots: Int[Tensor, " batch"], queries: Float[Tensor, "batch key_dim"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """`read` and the top-k approximation of `log_posterior_of`, each [B], from one search. (6, 16)

        Among the real slots, the approximation looks at the query's own slot and at those in S. It leaves out at most
        the mass of R real slots that are each no more probable than the least of S, so that with the scores s of (4)

            0 <= approximation - exact <= log(1 + R exp(min_{i in S} s_i) / sum of exp(s_i) over what it looks at).
        """
        queries = self._unit_queries(queries)
        slots = self._checked_slots(slots, number=len(queries))
        self._refuse_reading_again(queries)
        with full_precision(queries.device):
            nearest = self._nearest(queries)
            probability = self._probability_real(queries, nearest)
            log_prior = self._log_prior_of_real()
            return probability, log_posterior_in_top_k(queries, self.keys, slots, nearest, log_prior, self.kappa)

    # ---------------------------------------------------------------- sampling

    def slot_probabilities(self) -> Float[Tensor, " num_slots"]:
        """p(c=i|v=1) = h_i v_i / sum_j h_j v_j, [N] in float64: how often the generator is given each slot. (11)

        NaN where no slot with v = 1 has any mass.
        """
        mass = (self.histogram * self.values).to(exact_dtype(self.histogram.device))
        return mass / mass.sum()

    def slots_in_use(self) -> Float[Tensor, ""]:
        """exp of the entropy of p(c|v=1), a number from 1 to N: so many slots, equally often drawn, vary as much."""
        return torch.special.entr(self.slot_probabilities()).sum().exp()

    @torch.no_grad()
    def sample(
        self, num_samples: int, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "num_samples key_dim"], Int[Tensor, " num_samples"]]:
        """Slots c ~ p(c=i|v=1), (11): their keys [num_samples, M] and their places [num_samples].

        Raises ValueError where no slot with v = 1 has a positive histogram.
        """
        _check_number_of_samples(num_samples)
        self._check_state()
        probabilities = self.slot_probabilities()
        needed = "sample needs a slot with v = 1 and a positive histogram, there is none"
        if self._looks_at_values():
            if not bool(probabilities.isfinite().all()):
                raise ValueError(needed)
        elif probabilities.is_cuda:
            torch._assert_async(probabilities.isfinite().all(), needed)
        # Whole numbers, because sums of floating-point numbers may come in any order on a GPU. All up to `steps` are
        # exact in the precision of the probabilities.
        steps = round(1 / torch.finfo(probabilities.dtype).eps)
        cumulative = (probabilities * steps).long().cumsum(dim=0)
        uniform = probabilities.new_empty(num_samples).uniform_(
            generator=generator
        )  # torch.rand takes no symbolic size
        drawn = (uniform * cumulative[-1]).long()
        slots = torch.searchsorted(cumulative, drawn, right=True).clamp(max=self.num_slots - 1)
        return self.keys[slots], slots

    # ---------------------------------------------------------------- counting

    @torch.no_grad()
    def recount(self, queries: Float[Tensor, "number key_dim"], prior_weight: float = 0.5) -> None:
        """Set the counts h of the real slots to what each of them holds of real `queries` [n, M]. (17)

            h_i <- H mean over the queries of r_i,    r_i = exp(kappa K_i . q)(h_i + beta)^w / sum over the real slots

        H is what the real slots hold together, and stays. Call it after a training: what `write` leaves in h comes from
        few batches, the last 1 / (1 - alpha) or so, and from the mean count with which a new slot begins.
        `prior_weight` is w, how far these counts are trusted: with 1 it is an E step over all queries, which gives busy
        slots still more; with 0 likelihood alone decides. Keys, values, ages and the counts of generated slots stay.
        D(x) changes with the counts, (6).

        The ranks of a `process_group` give equally many queries each, and all are counted. Raises ValueError, with the
        memory unchanged, for what is no batch of queries with a direction, for a w outside [0, 1], and where no slot is
        real.
        """
        prior_weight = number("prior_weight", prior_weight)
        if not 0 <= prior_weight <= 1:
            raise ValueError(f"prior_weight must be in [0, 1], got {prior_weight}")
        queries = self._unit_queries(queries)
        self._refuse_writing_twice_or_in_vain()
        queries, _ = self._of_all_ranks(queries, queries.new_ones(len(queries)))
        if self._looks_at_values() and self._slots_by_value()[1] == 0:
            raise ValueError("recount needs a slot with v = 1, there is none")
        is_real = self.values == 1
        mass = self._mass_of_real()
        weighted = prior_weight * self._log_prior() if prior_weight > 0 else torch.zeros_like(self.histogram)
        log_prior = torch.where(is_real, weighted, -torch.inf)
        counts = torch.zeros_like(self.histogram, dtype=mass.dtype)
        with full_precision(queries.device):
            queries, has_direction = _without_rows_that_have_no_direction(queries)
            rows = rows_at_once(self._most_slots)
            for some_queries, are_counted in zip(queries.split(rows), has_direction.split(rows), strict=True):
                log_joint = torch.addmm(log_prior, some_queries, self.keys.T, alpha=self.kappa)
                shares = self._shares(log_joint) * are_counted.unsqueeze(1)
                counts += shares.sum(dim=0, dtype=counts.dtype)
        counted = mass / has_direction.sum() * counts
        is_counted = is_real & has_direction.any()
        self.histogram.copy_(torch.where(is_counted, counted.to(self.histogram.dtype), self.histogram))
        self._trust_own_write()

    @property
    def _most_slots(self) -> int:
        """How many slots a process holds."""
        return self.num_slots

    def _mass_of_real(self) -> Tensor:
        """sum_i h_i v_i, in float64."""
        return (self.histogram * self.values).sum(dtype=exact_dtype(self.histogram.device))

    # ---------------------------------------------------------------- writing

    @torch.no_grad()
    def write(self, queries: Float[Tensor, "batch key_dim"], labels: Tensor) -> None:
        """Write `queries` [B, M] with `labels` [B] (1 real, 0 generated) in place, without gradient. (7-10)

        A sample whose label none of its `correct_in_top` nearest slots carries overwrites the oldest slot (7). Any
        other takes T steps of incremental EM on S_y, the k most probable slots of its own label, from alpha h:

            gamma_i = exp(kappa K_i . q)(h_i + beta) / sum over S_y                                   (8)
            h_i    <- h_i + sum over samples of the change in gamma_i                                 (9)
            K_i    <- K_i + sum over samples of the change in gamma_i / h_i * (q - K_i), normalised  (10)

        Every slot's age grows by one. Differs from the paper in that a batch is one EM step on summed statistics: each
        touched slot decays once, the order of the batch is irrelevant. Equal to the paper's rule where nobody replaces
        and no sample's write changes what another finds. A slot that is replaced is not also moved.

        Raises ValueError, with the memory unchanged, when more samples replace than there are slots to replace. Where
        values are not looked at (`validate`), those beyond are not written, nor are rows without a direction.
        """
        labels = self._checked_labels(labels, queries)
        queries = self._unit_queries(queries)
        self._refuse_writing_twice_or_in_vain()
        queries, labels = self._of_all_ranks(queries, labels)
        with full_precision(queries.device):
            queries, has_direction = _without_rows_that_have_no_direction(queries)
            nearest, matching = self._nearest_and_matching(queries, labels, look_at=self.correct_in_top)
            self._update(queries, labels, nearest, matching, has_direction)
        self._trust_own_write()

    def read_write(self, queries: Float[Tensor, "batch key_dim"], labels: Tensor) -> Float[Tensor, " batch"]:
        """`read`, then `write`, on one similarity matrix: D(x) [B] as it was before the write."""
        labels = self._checked_labels(labels, queries)
        queries = self._unit_queries(queries)
        self._refuse_writing_twice_or_in_vain()
        own = own_rows(len(queries), self.process_group)
        of_all, labels = self._of_all_ranks(queries.detach(), labels)
        with full_precision(queries.device):
            writable, has_direction = _without_rows_that_have_no_direction(of_all)
            nearest, matching = self._nearest_and_matching(writable, labels, look_at=self.top_k)
            probability = self._probability_of_own_rows(queries, nearest)
            probability = torch.where(has_direction[own], probability, torch.nan)
            with torch.no_grad():
                self._update(writable, labels, nearest, matching, has_direction)
        self._trust_own_write()
        return probability

    def _probability_of_own_rows(self, queries: Tensor, nearest: Candidates) -> Tensor:
        """D(x) of this rank's `queries` [B, M], given S for the queries of all ranks. (6)"""
        own = own_rows(len(queries), self.process_group)
        return self._probability_real(queries, Candidates(nearest.scores[own], nearest.slots[own]))

    def _of_all_ranks(self, queries: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """What the ranks of the group want to write together; without a group, what there is to write."""
        if self.process_group is None:
            return queries, labels
        self._compare_replicas(self.process_group)
        return gathered(queries, labels, self.process_group)

    def _compare_replicas(self, group: ProcessGroup) -> None:
        """ValueError on all ranks, at the first write in a group, where they do not hold the same memory."""
        is_recorded = self.keys.is_cuda and torch.cuda.is_current_stream_capturing()
        if self._compared_in is group or torch.compiler.is_compiling() or is_recorded:
            return
        if not are_equal(self, group):
            raise ValueError(
                "the ranks of a process_group must begin with the same memory, theirs differ: make it after the same "
                "torch.manual_seed on each rank, load the same state, or broadcast its buffers from one of them"
            )
        self._compared_in = group

    @torch.no_grad()
    def _nearest_and_matching(self, queries: Tensor, labels: Tensor, look_at: int) -> tuple[Candidates, Candidates]:
        """The first `look_at` slots of S, and S_y. (5, 7)"""
        return engine_for(queries).nearest_and_matching(
            queries,
            self.keys,
            self._log_prior(),
            self.kappa,
            self.values,
            labels,
            look_at=look_at,
            top_k=self.top_k,
        )

    def _update(
        self, queries: Tensor, labels: Tensor, nearest: Candidates, matching: Candidates, has_direction: Tensor
    ) -> None:
        """Replacement or EM for each sample (7-10), given the best slots of all, `correct_in_top` or more, and S_y."""
        is_known = self._is_known(labels, nearest)
        writer, target = self.assign_replacements(queries, labels, ~is_known & has_direction)
        mean_histogram = self.histogram.mean()  # of before this write

        is_of_label = matching.scores > -torch.inf  # S_y has fewer than k slots where the label does
        belongs = is_of_label & (is_known & has_direction).unsqueeze(1)
        stays = writer.take(matching.slots) < 0
        self._grow_older(matching, belongs)
        self.expectation_maximisation(queries, matching, belongs, moves=belongs & stays)
        self._replace(queries, labels, writer, target, mean_histogram)

    def _is_known(self, labels: Tensor, nearest: Candidates) -> Tensor:
        """Whether one of the `correct_in_top` nearest slots carries the sample's label, [B]. (7)"""
        best = nearest.scores.topk(self.correct_in_top, dim=1).indices
        looked_at = nearest.slots.gather(1, best)
        return (self.values[looked_at] == labels.unsqueeze(1)).any(dim=1)

    def _grow_older(self, matching: Candidates, belongs: Tensor) -> None:
        """Every slot's age grows by one; the slots that EM touches, or of each sample the best of them, are young."""
        touched, selected = matching.slots, belongs
        if self.touch == "best":
            best = matching.scores.argmax(dim=1, keepdim=True)
            touched, selected = touched.gather(1, best), belongs.gather(1, best)
        self._age(young=marked(touched, selected, len(self.ages)))

    def _age(self, young: Tensor) -> None:
        """a_i <- 0 for the slots that `young` [N] selects, a_i <- a_i + 1 for the others."""
        self.ages.copy_(torch.where(young, 0, self.ages + 1))

    # ------------------------------------------------ replacement (7)

    def assign_replacements(self, queries: Tensor, labels: Tensor, replaces: Tensor) -> tuple[Tensor, Tensor]:
        """Which slot each sample that replaces overwrites: the oldest, each a slot of its own. (7)

        `replaces` [B] says which samples do. Returns for each slot the sample that overwrites it, `writer` [N] (-1:
        none), and for each sample a slot, `target` [B], which is its own only where `writer` names it.

        A *pool* holds the slots that a sample may overwrite: those of its own label (`replace_within_label`), or all.
        Each pool is ordered by age, oldest first, ties by index. The samples that replace in a pool take *turns*: the
        first in turn gets the oldest slot, the next one the next. The order of turns may not depend on the order of
        the batch, so the smallest q . (1, sqrt 2, sqrt 3, ...) goes first; any fixed direction without ties would do.

        Example: real slots 0, 1, 2 have ages 5, 9, 5, so that their pool is ordered 1, 0, 2. Real samples A, B, C
        all replace, and q . (1, sqrt 2, ...) is 0.3, -0.2, 0.9. Turns are B, A, C: B gets slot 1, A slot 0, C slot 2.
        With a fourth sample the pool would be too small: an error, or with `validate=False` nothing is written for it.
        """
        num_pools = 2 if self.replace_within_label else 1
        pool = labels if self.replace_within_label else torch.zeros_like(labels)
        oldest, is_slot_of_pool = self._oldest_slots(num_pools, at_most=len(labels))
        turn = _turns(queries, pool, replaces)
        place = turn.clamp(max=oldest.shape[1] - 1)
        fits = replaces & (turn == place) & is_slot_of_pool[pool, place]
        self._check_that_all_fit(replaces, fits, num_pools)
        return self._writers(oldest[pool, place], fits)

    def _writers(self, target: Tensor, fits: Tensor) -> tuple[Tensor, Tensor]:
        """`writer` and `target` as `assign_replacements` returns them, given which samples get theirs, `fits` [B]."""
        sample = torch.arange(len(target), device=target.device)
        nobody = torch.full((len(self.ages),), -1, device=target.device)
        writer = nobody.scatter_reduce(0, target, torch.where(fits, sample, -1), "amax")
        return writer, target

    def _oldest_slots(self, num_pools: int, at_most: int) -> tuple[Tensor, Tensor]:
        """The oldest slots of each pool, oldest first, [pools, n], and whether there are so many in it, [pools, n]."""
        seniority, oldest = self._seniority(num_pools).topk(min(at_most, self.num_slots), dim=1)
        return oldest, seniority >= 0

    def _seniority(self, num_pools: int) -> Tensor:
        """A whole number for each slot in each pool, [pools, N], the larger the older: by age, ties by index.

        No two slots have the same one; -1 for the slots that are not in the pool.
        """
        slot = self._places(self.num_slots, self.ages.device)
        age_then_index = self.ages * self.num_slots + (self.num_slots - 1 - slot)
        if num_pools == 2:
            is_member = torch.stack([self.values == 0, self.values == 1])
        else:
            is_member = torch.ones(1, len(slot), dtype=torch.bool, device=slot.device)
        return torch.where(is_member, age_then_index, -1)

    def _check_that_all_fit(self, replaces: Tensor, fits: Tensor, num_pools: int) -> None:
        if not self._looks_at_values() or not bool((replaces & ~fits).any()):
            return
        if num_pools == 2:
            there_are = f"{self._slots_by_value()} slots with values 0 and 1"
        else:
            there_are = f"{[self.num_slots]} slots"
        raise ValueError(
            f"{int(replaces.sum())} of {len(replaces)} samples need a slot to replace, expected at most as many as "
            f"there are: {there_are}; use a larger memory or a smaller batch"
        )

    def _slots_by_value(self) -> list[int]:
        """How many slots have the values 0 and 1."""
        return [int((self.values == value).sum()) for value in (0, 1)]

    def _replace(self, queries: Tensor, labels: Tensor, writer: Tensor, target: Tensor, mean: Tensor) -> None:
        """K_n <- q, v_n <- y, a_n <- 0, h_n <- mean(h) where a sample replaces slot n. (7)

        Each sample's target is written, with its own content where nobody replaces it: shapes are fixed that way, and
        where two samples name one slot, both write the same.
        """
        sample = writer[target].clamp(min=0)
        is_replaced = writer[target] >= 0
        new_keys = torch.where(is_replaced.unsqueeze(1), queries[sample], self.keys[target])
        new_values = torch.where(is_replaced, labels[sample], self.values[target])
        new_ages = torch.where(is_replaced, 0, self.ages[target])
        new_histogram = torch.where(is_replaced, mean, self.histogram[target])
        self.keys.index_copy_(0, target, new_keys)
        self.values.index_copy_(0, target, new_values)
        self.ages.index_copy_(0, target, new_ages)
        self.histogram.index_copy_(0, target, new_histogram)

    # ------------------------------------------------ expectation maximisation (8-10)

    def expectation_maximisation(self, queries: Tensor, matching: Candidates, belongs: Tensor, moves: Tensor) -> None:
        """T steps of incremental EM on S_y, from h^0 = alpha h and gamma^0 = 0. (8-10)

        `matching` holds S_y of each sample. `belongs` [B, k] says which of its slots share the responsibility (8):
        none for a sample that replaces. `moves` [B, k] says which of them are updated (9, 10): not those that another
        sample of the batch overwrites.
        """
        engine = engine_for(queries)
        slots = matching.slots
        log_likelihood = matching.scores - self._log_prior()[slots]  # kappa K . q
        touched = marked(slots, moves, len(self.histogram))
        self.histogram.copy_(torch.where(touched, self.alpha * self.histogram, self.histogram))
        remembered = torch.zeros_like(matching.scores)
        for step in range(self.em_steps):
            if step > 0:
                log_likelihood = self._log_likelihood(queries, slots)
            log_joint = torch.where(belongs, log_likelihood + self._log_prior()[slots], -torch.inf)
            responsibilities = torch.where(moves, self._shares(log_joint), 0.0)  # E-step (8)
            change = responsibilities - remembered
            engine.m_step(self.keys, self.histogram, queries, slots, moves, change)  # M-step (9, 10)
            remembered = responsibilities

    def _shares(self, log_joint: Tensor) -> Tensor:
        """exp(`log_joint`) [B, k] over its sum over S_y. (8)"""
        return log_joint.softmax(dim=1)

    # ---------------------------------------------------------------- checks

    def _unit_queries(self, queries: Tensor) -> Tensor:
        """The directions of `queries` in the memory's precision; ValueError for what is no batch with directions."""
        self._check_queries(queries)
        self._check_state()
        queries = queries.to(self.keys.dtype)
        if self._looks_at_values() and not is_transformed(queries):
            _check_directions(queries.detach())
        elif queries.is_cuda and not is_transformed(queries):
            has_direction, _ = _directions(queries.detach())
            torch._assert_async(has_direction.all(), "queries must be finite and must have a direction")
        return F.normalize(queries, dim=1, eps=torch.finfo(queries.dtype).tiny)

    def _check_queries(self, queries: Tensor) -> None:
        if not torch.is_tensor(queries) or queries.ndim != 2 or queries.shape[1] != self.key_dim or not len(queries):
            raise ValueError(f"queries must have shape [B, {self.key_dim}] with B >= 1, got {_described(queries)}")
        if not queries.is_floating_point():
            raise ValueError(f"queries must be floating point, got {queries.dtype}")
        if queries.device != self.keys.device:
            raise ValueError(f"queries are on {queries.device}, the memory is on {self.keys.device}")

    def _check_state(self) -> None:
        """ValueError where something other than a write has left what is no memory.

        The numbers are looked at once after each change that PyTorch counts, but not after a write. On a GPU an
        assertion on the device does that.
        """
        if self.keys.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"the memory must stay in float32 or float64, it was converted to {self.keys.dtype}")
        if torch.compiler.is_compiling():
            return
        for name in ("keys", "values", "ages", "histogram"):
            if name not in self._buffers:
                raise ValueError(f"the memory's {name} must be a plain buffer, not a parameter and not parametrized")
        if self.values.dtype != torch.int64:
            raise ValueError(f"the memory's values must be torch.int64, they were converted to {self.values.dtype}")
        if not self._guards_state() or self._is_as_it_was_found():
            return
        has_unit_keys = (self.keys.norm(dim=1) - 1).abs() <= _UNIT  # False for NaN, as the others are
        has_value = (self.values == 0) | (self.values == 1)
        has_count = (self.histogram >= 0) & self.histogram.isfinite()
        is_sound = (has_unit_keys & has_value & has_count).all()
        if not self._looks_at_values():
            torch._assert_async(
                is_sound, "a memory needs unit keys, values 0 and 1, a finite histogram: is it averaged?"
            )
        elif not bool(is_sound):
            self._refuse_state(has_unit_keys, has_value, has_count)
        self._sound = self._state()

    def _refuse_state(self, has_unit_keys: Tensor, has_value: Tensor, has_count: Tensor) -> None:
        """ValueError that names the first slot that is wrong."""
        if not bool(has_unit_keys.all()):
            slot = int((~has_unit_keys).nonzero()[0])
            wrong = int((~has_unit_keys).sum())
            found = f"{wrong} of {self.num_slots} keys are no unit rows, slot {slot} has length "
            found += f"{float(self.keys[slot].norm()):.4g}"
        elif not bool(has_value.all()):
            slot = int((~has_value).nonzero()[0])
            found = f"values must be 0 or 1, slot {slot} has {int(self.values[slot])}"
        else:
            slot = int((~has_count).nonzero()[0])
            found = f"the histogram must be finite and not negative, slot {slot} has {float(self.histogram[slot]):.4g}"
        raise ValueError(
            f"this is no memory any more: {found}. Something other than write or recount has changed it. An average of "
            "models has to leave the memory out: use AveragedModel(..., use_buffers=False), or copy buffers instead of "
            "averaging"
        )

    def _state(self) -> tuple[tuple[weakref.ref[Tensor], int], ...] | None:
        """Which tensors hold the memory, and how often each was changed in place; None where PyTorch does not count.

        Weak references, because another tensor may later have the `id` of one that is gone.
        """
        tensors = (self.keys, self.values, self.histogram)
        if any(tensor.is_inference() for tensor in tensors):
            return None
        return tuple((weakref.ref(tensor), tensor._version) for tensor in tensors)

    def _is_as_it_was_found(self) -> bool:
        """Whether nothing has changed the state since it was last found, or left, as it should be."""
        if self._sound is None:
            return False
        tensors = (self.keys, self.values, self.histogram)
        for (found, version), tensor in zip(self._sound, tensors, strict=True):
            if found() is not tensor or tensor.is_inference() or tensor._version != version:
                return False
        return True

    def _guards_state(self) -> bool:
        """Whether the state is checked, by a look or by an assertion on a GPU."""
        return not is_transformed(self.keys) and (self._looks_at_values() or self.keys.is_cuda)

    def _trust_own_write(self) -> None:
        """Take the state as a write has left it for sound, as it was before."""
        if not torch.compiler.is_compiling() and self._guards_state():
            self._sound = self._state()

    def _checked_labels(self, labels: Tensor, queries: Tensor) -> Tensor:
        """The labels as int64; ValueError unless they are one 0 or 1 for each query."""
        self._check_queries(queries)
        batch = len(queries)
        if not torch.is_tensor(labels) or labels.shape != (batch,):
            raise ValueError(f"labels must have shape [{batch}], one for each query, got {_described(labels)}")
        if labels.dtype.is_complex:
            raise ValueError(f"labels must be bool, integer or floating point, got {labels.dtype}")
        if labels.device != self.keys.device:
            raise ValueError(f"labels are on {labels.device}, the memory is on {self.keys.device}")
        if self._looks_at_values():
            if not bool(_are_labels(labels)):
                raise ValueError(f"labels must be 0 (generated) or 1 (real), got {labels.unique().tolist()[:8]}")
        elif labels.is_cuda:
            torch._assert_async(_are_labels(labels), "labels must be 0 (generated) or 1 (real)")
        return labels.long()

    def _checked_slots(self, slots: Tensor, number: int | None = None) -> Tensor:
        """The slots as int64; ValueError unless they are places in the memory, as many as there are queries."""
        if number is not None and (not torch.is_tensor(slots) or slots.shape != (number,)):
            raise ValueError(f"slots must have shape [{number}], one for each query, got {_described(slots)}")
        if not torch.is_tensor(slots) or slots.ndim != 1:
            raise ValueError(f"slots must have shape [B], got {_described(slots)}")
        if slots.is_floating_point() or slots.dtype in (torch.bool, torch.complex64, torch.complex128):
            raise ValueError(f"slots must be whole numbers, got {slots.dtype}")
        if slots.device != self.keys.device:
            raise ValueError(f"slots are on {slots.device}, the memory is on {self.keys.device}")
        if self._looks_at_values():
            if not bool(self._are_places(slots)):
                raise ValueError(f"slots must be in 0..{self.num_slots - 1}, got {slots.unique().tolist()[:8]}")
        elif slots.is_cuda:
            torch._assert_async(self._are_places(slots), f"slots must be in 0..{self.num_slots - 1}")
        return slots.long()

    def _are_places(self, slots: Tensor) -> Tensor:
        """Whether all are places in the memory, a tensor without dimensions."""
        return ((slots >= 0) & (slots < self.num_slots)).all()

    def _looks_at_values(self) -> bool:
        """Whether values may be looked at on the host, which waits for a GPU and which a compiler cannot follow."""
        if torch.compiler.is_compiling():
            return False
        if self.validate is None:
            return self.keys.device.type == "cpu"
        return self.validate

    def _refuse_reading_again(self, queries: Tensor, *, keeps_derivative: bool = True) -> None:
        """RuntimeError in the backward pass of reentrant activation checkpointing.

        It runs the forward pass again there, on a memory that may have been written since. The other kind of
        checkpointing keeps the derivative of the first read, and is right, but only where the read computes its
        derivative with its value (`keeps_derivative`): what autograd saves for it is computed again.
        """
        if torch.compiler.is_compiling() or not _inside_a_backward_pass() or not torch.is_grad_enabled():
            return
        is_kept = torch._C._autograd._top_saved_tensors_default_hooks(True) is not None
        keeps_the_first_read = keeps_derivative and is_kept
        if queries.requires_grad and not keeps_the_first_read:
            raise RuntimeError(
                "memory.read was called inside a backward pass, where the memory may be another one than in the "
                "forward pass: use torch.utils.checkpoint with use_reentrant=False, or leave the read outside of it"
            )

    def _refuse_writing_twice_or_in_vain(self) -> None:
        """RuntimeError where a write would be done twice, and where it would be lost."""
        if torch.compiler.is_compiling():
            return
        if getattr(self, "_is_replica", False):
            raise RuntimeError(
                "the memory was to be written in a replica of torch.nn.DataParallel, which is thrown away after the "
                "forward pass: wrap the networks alone, and write to the memory outside of them"
            )
        if _inside_a_backward_pass():
            raise RuntimeError(
                "the memory was to be written inside a backward pass, which activation checkpointing does a second "
                "time: leave write and read_write outside of what is checkpointed"
            )

    # ---------------------------------------------------------------- settings

    @property
    def settings(self) -> MemorySettings:
        """The settings. Others of the same N and M may be assigned: `memory.settings.changed(kappa=30.0)`."""
        return self._settings

    @settings.setter
    def settings(self, settings: MemorySettings) -> None:
        expected = self._shape()
        if (settings.num_slots, settings.key_dim) != expected:
            raise ValueError(
                f"expected settings for {list(expected)} keys, "
                f"got num_slots={settings.num_slots} and key_dim={settings.key_dim}"
            )
        self._settings = settings
        self._extra_state = _as_numbers(settings)

    def _shape(self) -> tuple[int, int]:
        """N and M of the memory whose slots the buffers hold."""
        num_slots, key_dim = self.keys.shape
        return num_slots, key_dim

    def get_extra_state(self) -> Float[Tensor, " settings"]:
        """The settings that no shape of a buffer shows, for `state_dict`, as float64 numbers on the CPU.

        A tensor, because files such as safetensors hold nothing else. A truth value is 0 or 1, as is "best" or "all".
        A copy, because torch.distributed.checkpoint loads into the tensors of a state.
        """
        return self._extra_state.clone()

    def set_extra_state(self, state: Any) -> None:
        """Compare `state`, which `load_state_dict` found, with the memory's own settings, which stay as they are.

        A warning names each that differs: the memory would go on in another way than the one whose state it takes over.
        Raises ValueError for what `get_extra_state` did not give.
        """
        own = self._extra_state
        if not torch.is_tensor(state) or state.shape != own.shape or not state.is_floating_point():
            raise ValueError(f"expected the settings of a memory as {len(own)} numbers, got {_described(state)}")
        precision = 10 * torch.finfo(state.dtype).eps
        theirs = state.detach().to(own)
        differs = ~torch.isclose(theirs, own.to(state.dtype).to(own), rtol=precision, atol=0.0)
        if not bool(differs.any()):
            return
        names = [name for name, is_other in zip(_IN_EXTRA_STATE, differs.tolist(), strict=True) if is_other]
        their_values = theirs[differs].tolist()
        listed = []
        for name, value in zip(names, their_values, strict=True):
            listed.append(f"{name} {_from_number(name, value)} (here {getattr(self, name)})")
        warnings.warn(
            f"the state is that of a memory with other settings, and those here stay: {', '.join(listed)}; assign "
            "memory.settings to change them",
            stacklevel=2,
        )

    @property
    def num_slots(self) -> int:
        return self._settings.num_slots

    @property
    def key_dim(self) -> int:
        return self._settings.key_dim

    @property
    def top_k(self) -> int:
        return self._settings.top_k

    @property
    def kappa(self) -> float:
        return self._settings.kappa

    @property
    def alpha(self) -> float:
        return self._settings.alpha

    @property
    def beta(self) -> float:
        return self._settings.beta

    @property
    def em_steps(self) -> int:
        return self._settings.em_steps

    @property
    def correct_in_top(self) -> int:
        return self._settings.correct_in_top

    @property
    def touch(self) -> Touch:
        return self._settings.touch

    @property
    def replace_within_label(self) -> bool:
        return self._settings.replace_within_label

    @property
    def epsilon(self) -> float:
        return self._settings.epsilon

    def extra_repr(self) -> str:
        shown = dataclasses.asdict(self._settings)
        del shown["beta"]
        del shown["epsilon"]
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())


# The settings that no shape of a buffer shows, in the order of the extra state
_IN_EXTRA_STATE = tuple(
    field.name for field in dataclasses.fields(MemorySettings) if field.name not in ("num_slots", "key_dim")
)


def _as_numbers(settings: MemorySettings) -> Tensor:
    """The extra state of a memory with these settings."""
    numbers = []
    for name in _IN_EXTRA_STATE:
        value = getattr(settings, name)
        numbers.append(float(value == "all") if name == "touch" else float(value))
    return torch.tensor(numbers, dtype=torch.float64, device="cpu")


def _from_number(name: str, number: float) -> Any:
    """The setting that `_as_numbers` made a number of."""
    if name == "touch":
        return "all" if number == 1 else "best"
    if name == "replace_within_label":
        return number == 1
    if name in ("top_k", "em_steps", "correct_in_top"):
        return round(number)
    return number


def _add_extra_state(
    memory: VMFMemory,
    state_dict: dict[str, Any],
    prefix: str,
    local_metadata: dict[str, Any],
    strict: bool,
    missing_keys: list[str],
    unexpected_keys: list[str],
    error_msgs: list[str],
) -> None:
    """Have a state without an extra one, as older versions wrote it, be loaded as it always was."""
    state_dict.setdefault(f"{prefix}_extra_state", memory.get_extra_state())


def _turns(queries: Tensor, pool: Tensor, replaces: Tensor) -> Tensor:
    """How many samples of the same pool replace before each sample, [B]."""
    weights = torch.arange(1, queries.shape[1] + 1, device=queries.device).to(exact_dtype(queries.device)).sqrt()
    position = (queries.to(weights.dtype) * weights).sum(dim=1)
    sample = torch.arange(len(queries), device=queries.device)
    is_earlier = position < position.unsqueeze(1)
    is_earlier_twin = (position == position.unsqueeze(1)) & (sample < sample.unsqueeze(1))
    shares_pool = pool == pool.unsqueeze(1)
    return ((is_earlier | is_earlier_twin) & replaces & shares_pool).sum(dim=1)


def _without_rows_that_have_no_direction(queries: Tensor) -> tuple[Tensor, Tensor]:
    """Unit `queries` with zeros in the place of rows that are not of unit length, and which rows are, [B]."""
    has_direction = (queries.norm(dim=1) - 1).abs() < 1e-3  # False for NaN
    return torch.where(has_direction.unsqueeze(1), queries, 0.0), has_direction


def _directions(queries: Tensor) -> tuple[Tensor, Tensor]:
    """Which rows have a direction that a length, the root of a sum of squares, can make a unit row; and the lengths."""
    limits = torch.finfo(queries.dtype)
    length = queries.norm(dim=1)
    shortest = math.sqrt(limits.tiny / limits.eps)  # the squares of anything shorter lose digits, or all of them
    return (length >= shortest) & length.isfinite(), length


def _check_directions(queries: Tensor) -> None:
    has_direction, length = _directions(queries)
    if bool(has_direction.all()):
        return
    row = int((~has_direction).nonzero()[0])
    if not bool(queries[row].isfinite().all()):
        raise ValueError(f"queries must be finite, row {row} of {len(queries)} holds NaN or infinity")
    raise ValueError(f"queries must have a direction, row {row} of {len(queries)} has length {float(length[row]):.6g}")


def _are_labels(labels: Tensor) -> Tensor:
    """Whether all are 0 or 1, a tensor without dimensions."""
    return ((labels == 0) | (labels == 1)).all()


def _check_number_of_samples(number: Any) -> None:
    is_whole_number = isinstance(number, (Integral, torch.SymInt)) and not isinstance(number, bool)
    if not is_whole_number or number < 1:
        raise ValueError(f"num_samples must be a whole number of at least 1, got {number!r}")


def _inside_a_backward_pass() -> bool:
    return torch._C._current_graph_task_id() != -1


def _described(value: Any) -> str:
    if torch.is_tensor(value):
        return f"a tensor of shape {list(value.shape)}"
    return f"{type(value).__name__}, which is no tensor"

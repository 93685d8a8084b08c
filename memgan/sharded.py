"""A memory in shards, for memories that outgrow a device: each rank of a group holds some of the slots.

A collective brings every rank the queries of all ranks, and each rank searches its own slots for all of them. What is
found goes back to the rank whose query it is, which decides, and tells the others. So a step sends numbers in
proportion to the batch B and to k, never to the number of slots N:

    read     local top k -> the query's rank: the global top k -> P(real)
                         -> the others: their slots' weights -> their part of the derivative
    write    local top k of the label -> the query's rank: which slots EM moves -> the others: each moves its own
             local oldest slots -> all: the globally oldest
    sample   by the masses of the ranks, and then by those of the slots; keys come from the ranks that hold them

`memgan.memory` says what is computed, in the words of the equations of docs/notation.md; here are the places where the
ranks speak with each other.
"""

from collections.abc import Callable
from numbers import Integral
from typing import Any, NamedTuple, NoReturn, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributed import ProcessGroup

from memgan import vmf
from memgan.distributed import (
    exchanged,
    exchanged_rows,
    gathered_from_all,
    num_ranks,
    own_shard,
    packed,
    unpacked,
)
from memgan.engines import (
    Candidates,
    derivative_with_keys,
    engine_for,
    is_transformed,
    marked,
    rows_at_once,
    scores_of,
    with_derivative,
)
from memgan.engines.precision import clipped, exact_dtype, first_dtype, full_precision
from memgan.memory import MemorySettings, VMFMemory, _check_number_of_samples

__all__ = ["ShardedVMFMemory"]

Checked = TypeVar("Checked")

_CALLS = (
    "read",
    "top_k_posterior",
    "log_posterior_of",
    "read_with_log_posterior",
    "log_likelihood",
    "write",
    "read_write",
    "sample",
    "keys_of",
    "recount",
)
_LARGEST_INT32 = 2**31 - 1
_SHARDED = ("keys", "values", "ages", "histogram")
_IN_S_Y = 1  # what a sample's rank tells the others of a candidate: that it is in S_y,
_BEST = 2  # or even the best of it; 0 otherwise


class _Best(NamedTuple):
    """S of this rank's own queries, from the shards of all ranks."""

    scores: Tensor  # [B, k]
    slots: Tensor  # [B, k] int64, places in the whole memory
    values: Tensor  # [B, k], in the precision of the scores
    places: Tensor  # [B, k]: where each stood among the candidates of all ranks
    candidates: int  # of each query, from all ranks together


class ShardedVMFMemory(VMFMemory):
    """A `VMFMemory` whose N slots are split over the ranks of `process_group`; all of them together are one memory.

    With n = N / ranks, rounded up, rank r holds the slots r n to (r + 1) n - 1, as far as there are so many. N need
    not be a multiple of the number of ranks, and the last ranks may hold fewer slots than k, or none. `keys`,
    `values`, `ages` and `histogram` are those of this rank's slots. Everywhere else a slot is known by its place in
    the whole memory, 0 to N - 1.

    Results are those of one `VMFMemory` with the same N slots, up to rounding; where two slots are equally probable and
    only one of them is among the k best, either may be the one. Which slots are among the k best, who replaces and what
    is replaced is decided once, or from the same bits, so that no two ranks decide differently.

    All ranks call the same methods in the same order, also where this rank's result is not needed. Each passes rows
    of its own and gets the results for these:

        read, sample    Ranks may pass the same rows; every rank then gets the same results, and the work is done
                        `ranks` times. The seed of the random numbers says which slots are sampled, see `sample`.
        write, recount  The batch that is written is that of all ranks together, in their order. A row must be passed by
                        one rank only: rows that every rank passes would be written `ranks` times.

    All ranks pass equally many rows, either all with or all without gradient. On a CPU, or with `validate=True`, the
    ranks compare that before anything else, for one more collective of four numbers: they all raise ValueError where
    calls differ, and RuntimeError where only another rank was given something that cannot be used. On a GPU nothing is
    compared, because a look would wait for the device; calls that differ then hang or fail in the collective.

    The derivative of `read` is computed with the value. So there is no collective in a backward pass, but for a second
    derivative, for which the keys of S are fetched: all ranks must ask for it.

    `process_group` is the group, for example `torch.distributed.group.WORLD`. `state_dict` holds DTensors, so that
    torch.distributed.checkpoint saves each shard where it is, and loads into any number of ranks and into one
    `VMFMemory`. `load_state_dict` takes the DTensors of the same ranks, and the state of one `VMFMemory`, of which each
    rank takes its slots.

    The other arguments are those of `MemorySettings`; they and `validate` must be the same on all ranks. Keys start as
    random unit rows. Each rank draws those of its slots from a seed that it takes from the default generator and its
    rank, so that ranks of equal seeds get different keys; they are not those of a `VMFMemory`. The first half of the
    slots starts as real, and so the first half of the ranks holds all real slots until some are replaced.

    Departs from `VMFMemory` in what follows. `posterior` raises NotImplementedError: it has N numbers for each query.
    `slot_probabilities` are those of this rank's slots. torch.compile and torch.func raise RuntimeError: collectives
    cannot be traced here. A copy belongs to no group and cannot be used before it is given one.
    `memgan.training.Trainer` trains replicas of a memory and refuses this one.
    """

    def __init__(
        self,
        num_slots: int,
        key_dim: int,
        top_k: int,
        *,
        process_group: ProcessGroup,
        validate: bool | None = None,
        **settings: Any,
    ) -> None:
        if not isinstance(process_group, ProcessGroup):
            raise ValueError(
                "process_group must be a group of torch.distributed to which this process belongs, for example "
                f"torch.distributed.group.WORLD after init_process_group, got {process_group!r}"
            )
        self._ranks = num_ranks(process_group)
        self._rank = dist.get_rank(process_group)
        super().__init__(num_slots, key_dim, top_k, validate=validate, process_group=process_group, **settings)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rank={self._rank}, ranks={self._ranks}"

    # ---------------------------------------------------------------- the shard

    @property
    def own_slots(self) -> range:
        """The places in the memory of this rank's slots."""
        return own_shard(self.num_slots, self._group())

    @property
    def _most_slots(self) -> int:
        """The largest number of slots that a rank holds."""
        return -(-self.num_slots // self._ranks)

    def _first_keys(self, settings: MemorySettings) -> Tensor:
        seed = int(torch.randint(2**62, ()))  # of the default generator, which may be the same on all ranks
        own_slots = own_shard(settings.num_slots, self._group())
        keys = torch.empty(len(own_slots), settings.key_dim, dtype=first_dtype())
        keys.normal_(generator=torch.Generator(keys.device).manual_seed(seed + self._rank))
        return F.normalize(keys, dim=1, out=keys)

    def _places(self, num_slots: int, device: torch.device | None = None) -> Tensor:
        own = own_shard(num_slots, self._group())
        return torch.arange(own.start, own.stop, device=device)

    def _shape(self) -> tuple[int, int]:
        return self.num_slots, self.key_dim

    def _group(self) -> ProcessGroup:
        """The group, checked. RuntimeError where this memory is a copy without one, or was given another kind."""
        group = self.process_group
        if group is None:
            raise RuntimeError(
                f"this is a copy of the shard of rank {self._rank} of {self._ranks}, and a copy belongs to no group: "
                "assign memory.process_group"
            )
        if (num_ranks(group), dist.get_rank(group)) != (self._ranks, self._rank):
            raise RuntimeError(
                f"expected a group of {self._ranks} ranks in which this is rank {self._rank}, got one of "
                f"{num_ranks(group)} in which it is rank {dist.get_rank(group)}"
            )
        return group

    # ---------------------------------------------------------------- what the ranks tell each other

    def _agreed(self, call: str, rows: int, check: Callable[[], Checked]) -> Checked:
        """What `check` returns on this rank. Raises on all ranks where it raises on one, or where calls differ."""
        if torch.compiler.is_compiling():
            raise RuntimeError(f"ShardedVMFMemory.{call} cannot be compiled, as it calls collectives: leave it eager")
        if not self._looks_at_values():
            return check()
        error = None
        needs_grad = False
        try:
            checked = check()
            needs_grad = _needs_grad(checked)
        except (ValueError, RuntimeError) as found:
            error = found
        own = [_CALLS.index(call), rows, int(needs_grad), int(error is not None)]
        of_all = gathered_from_all(torch.tensor(own, device=self.keys.device), self._group()).tolist()
        if error is not None:
            raise error
        refused = [rank for rank, (_, _, _, has_error) in enumerate(of_all) if has_error]
        if refused:
            raise RuntimeError(f"{call} was given what it cannot use on rank {refused[0]}, which says what it is")
        if any(other != own for other in of_all):
            calls = [
                f"rank {rank} {_CALLS[number]} of {rows} rows {'with' if needs_grad else 'without'} gradient"
                for rank, (number, rows, needs_grad, _) in enumerate(of_all)
            ]
            raise ValueError(
                f"expected the same call with as many rows on every rank, got {', '.join(calls[:4])}"
                f"{', ...' if len(calls) > 4 else ''}"
            )
        return checked

    def _of_all(self, *own: Tensor) -> list[Tensor]:
        """The rows [B, n] of all ranks, [ranks * B, n], of each tensor: one collective."""
        of_bytes = gathered_from_all(packed(own), self._group())
        return unpacked(of_bytes.flatten(0, 1), own)

    def _to_the_rows_ranks(self, *found: Tensor) -> list[Tensor]:
        """From what this shard found for the rows of all ranks, [ranks * B, n]: what all found for the own ones.

        [B, ranks * n] for each tensor, in the order of the shards: one collective.
        """
        of_bytes = exchanged(packed(found).unflatten(0, (self._ranks, -1)), self._group())
        by_row = unpacked(of_bytes.transpose(0, 1), found)
        return [tensor.flatten(1) for tensor in by_row]

    def _to_the_shards(self, decided: Tensor) -> Tensor:
        """The way back: from what was decided for own rows, [B, ranks * n], what the others decided for this shard.

        [ranks * B, n], in the order of the ranks: one collective.
        """
        by_shard = decided.unflatten(1, (self._ranks, -1)).transpose(0, 1)
        return exchanged(by_shard, self._group()).flatten(0, 1)

    def _summed(self, parts: Tensor) -> Tensor:
        """From this shard's parts of sums for the rows of all ranks, [ranks * B, M], the sums for the own ones, [B, M].

        In the order of the shards, so that a row that several ranks pass has the same sum on each.
        """
        return exchanged(parts.unflatten(0, (self._ranks, -1)), self._group()).sum(dim=0)

    def _code(self, slots: Tensor) -> Tensor:
        """Place and value of this shard's `slots` in one number, 2 i + v_i: int32 where that is large enough."""
        dtype = torch.int32 if 2 * self.num_slots <= _LARGEST_INT32 else torch.int64
        return (2 * (slots + self.own_slots.start) + self.values[slots]).to(dtype)

    # ---------------------------------------------------------------- reading

    @torch.no_grad()
    def _nearest(self, queries: Tensor) -> Candidates:
        """The best of this rank's slots: k, or all where it has fewer. `slots` are places in the shard. (5)"""
        top_k = min(self.top_k, len(self.keys))
        if top_k == 0:
            return _nothing(queries)
        return engine_for(queries).nearest(queries, self.keys, self._log_prior(), self.kappa, top_k)

    @torch.no_grad()
    def _best_of_all(self, found: Candidates) -> _Best:
        """S of the own queries, from what each shard `found` for the queries of all ranks. (5)"""
        width = min(self.top_k, self._most_slots)
        missing = (0, width - found.slots.shape[1])
        scores = F.pad(found.scores, missing, value=-torch.inf)
        scores, codes = self._to_the_rows_ranks(scores, F.pad(self._code(found.slots), missing))
        best = scores.topk(self.top_k, dim=1, sorted=False)
        code = codes.gather(1, best.indices).long()
        values = (code % 2).to(scores.dtype)
        return _Best(best.values, code // 2, values, best.indices, candidates=scores.shape[1])

    def read(self, queries: Float[Tensor, "batch key_dim"]) -> Float[Tensor, " batch"]:
        """D(x) = P(real) for this rank's `queries` [B, M]: [B] in [epsilon, 1 - epsilon]. (6)

        As `VMFMemory.read`, differentiable twice. Every rank calls it, with as many rows. Where a gradient is wanted,
        the derivative is summed over the ranks now, so that the backward pass of a loss needs no other rank; that of a
        derivative (`create_graph=True`) fetches the keys of S, B k M numbers, and has to be done by all ranks.
        """
        queries = self._agreed("read", _rows(queries), lambda: self._readable(queries))
        with full_precision(queries.device):
            (of_all,) = self._of_all(queries.detach())
            return self._probability_of_own_rows(queries, self._nearest(of_all))

    def _readable(self, queries: Tensor) -> Tensor:
        """Unit `queries`; ValueError or RuntimeError for what cannot be read."""
        self._group()
        queries = self._unit_queries(queries)
        self._refuse_reading_again(queries)
        return queries

    def _compare_replicas(self, group: ProcessGroup) -> None:
        """Nothing: each rank holds slots of its own."""

    def _unit_queries(self, queries: Tensor) -> Tensor:
        if torch.is_tensor(queries) and is_transformed(queries):
            raise RuntimeError("ShardedVMFMemory works without torch.func, whose transforms cannot pass a collective")
        return super()._unit_queries(queries)

    def _probability_of_own_rows(self, queries: Tensor, nearest: Candidates) -> Tensor:
        """D(x) of this rank's `queries` [B, M], given this shard's `nearest` for the queries of all ranks. (6)"""
        return self._probability_from(queries, nearest, self._best_of_all(nearest))

    def _probability_from(self, queries: Tensor, nearest: Candidates, best: _Best) -> Tensor:
        """D(x) of this rank's `queries` [B, M], given S. (6)"""
        posterior = best.scores.softmax(dim=1)
        mean = (posterior * best.values).sum(dim=1)
        if queries.requires_grad and torch.is_grad_enabled():
            weights = self.kappa * posterior * (best.values - mean.unsqueeze(1))
            derivative = self._summed(self._weighted_keys(nearest, best, weights))
            then = queries.detach()

            def derivative_at(queries: Tensor) -> Tensor:
                keys = self.keys_of(best.slots.flatten()).unflatten(0, best.slots.shape)
                log_prior = best.scores - self.kappa * (then.unsqueeze(1) * keys).sum(dim=2)
                return derivative_with_keys(queries, keys, best.values, log_prior, self.kappa)

            mean = with_derivative(queries, mean, derivative, derivative_at, written=self.ages)
        return clipped(mean, self.epsilon)

    @torch.no_grad()
    def _weighted_keys(self, found: Candidates, best: _Best, weights: Tensor) -> Tensor:
        """This shard's part of sum_{i in S} w_i K_i for the rows of all ranks, [ranks * B, M].

        `weights` [B, k] are those of the own rows' S.
        """
        of_candidates = weights.new_zeros(len(weights), best.candidates).scatter(1, best.places, weights)
        of_shard = self._to_the_shards(of_candidates)[:, : found.slots.shape[1]]
        if len(self.keys) == 0:
            return weights.new_zeros(len(of_shard), self.key_dim)
        return F.embedding_bag(found.slots, self.keys, mode="sum", per_sample_weights=of_shard.contiguous())

    def top_k_posterior(
        self, queries: Float[Tensor, "batch key_dim"]
    ) -> tuple[Float[Tensor, "batch top_k"], Int[Tensor, "batch top_k"]]:
        """As `VMFMemory.top_k_posterior`: weights [B, k], slots [B, k] as places in the whole memory. (5)

        Where a gradient is wanted, the keys of S are fetched: B k M numbers.
        """
        queries = self._agreed("top_k_posterior", _rows(queries), lambda: self._readable(queries))
        with full_precision(queries.device):
            (of_all,) = self._of_all(queries.detach())
            best = self._best_of_all(self._nearest(of_all))
            scores, order = best.scores.sort(dim=1, descending=True)
            slots = best.slots.gather(1, order)
            if queries.requires_grad and torch.is_grad_enabled():
                keys = self.keys_of(slots.flatten()).unflatten(0, slots.shape)
                change = ((queries - queries.detach()).unsqueeze(1) * keys).sum(dim=2)  # 0, but for its derivative
                scores = scores + self.kappa * change
            return scores.softmax(dim=1), slots

    def posterior(self, queries: Float[Tensor, "batch key_dim"]) -> NoReturn:
        """Raises NotImplementedError: p(c=i|x) over all slots has N numbers for each query. (4)"""
        raise NotImplementedError(
            f"posterior has {self.num_slots} numbers for each query, which a memory in shards keeps from sending: use "
            "top_k_posterior"
        )

    def log_posterior_of(
        self, slots: Int[Tensor, " batch"], queries: Float[Tensor, "batch key_dim"]
    ) -> Float[Tensor, " batch"]:
        """As `VMFMemory.log_posterior_of`, for this rank's `queries` [B, M] and `slots` [B], any of the memory. (15)

        Differentiable once: a second derivative raises RuntimeError.
        """
        queries, slots = self._agreed("log_posterior_of", _rows(queries), lambda: self._readable_slots(slots, queries))
        with full_precision(queries.device):
            value, derivative = self._log_posterior_and_derivative(slots, queries)
        return with_derivative(queries, value, derivative, _no_second_derivative, written=self.ages)

    def _readable_slots(self, slots: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Unit `queries`, and `slots`; ValueError or RuntimeError for what cannot be read."""
        queries = self._readable(queries)
        return queries, self._checked_slots(slots, number=len(queries))

    @torch.no_grad()
    def _log_posterior_and_derivative(self, slots: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """log p(c=i|x, v=1) [B] and its derivative, kappa (K_i - sum_j p(c=j|x, v=1) K_j), [B, M]. (15)

        Each shard finds the mass of its real slots and their mean key, and then learns its share of the whole mass.
        """
        of_all, slots_of_all = self._of_all(queries, slots.unsqueeze(1))
        log_prior = self._log_prior_of_real()
        masses = []
        mean_keys = []
        for some_queries in of_all.split(rows_at_once(len(self.keys))):
            log_joint = torch.addmm(log_prior, some_queries, self.keys.T, alpha=self.kappa)
            mass = log_joint.logsumexp(dim=1, keepdim=True)
            masses.append(mass)
            mean_keys.append((log_joint - torch.where(mass > -torch.inf, mass, 0.0)).exp() @ self.keys)
        log_mass = torch.cat(masses)
        score, own_key = self._score_and_key(slots_of_all[:, 0], of_all, log_prior)
        scores, log_masses = self._to_the_rows_ranks(score, log_mass)
        log_mass_of_all = log_masses.logsumexp(dim=1, keepdim=True)
        value = scores.amax(dim=1) - log_mass_of_all[:, 0]
        if not queries.requires_grad:
            return value, torch.zeros_like(queries)
        (log_mass_of_all,) = self._of_all(log_mass_of_all)
        share = (log_mass - log_mass_of_all).exp()
        return value, self.kappa * self._summed(own_key - share * torch.cat(mean_keys))

    def _score_and_key(self, slots: Tensor, queries: Tensor, log_prior: Tensor) -> tuple[Tensor, Tensor]:
        """kappa K_i . q + `log_prior` [n] of `slots` [B], [B, 1], and their keys [B, M], where this shard holds them.

        -inf and 0 where another does.
        """
        own = self.own_slots
        is_here = ((slots >= own.start) & (slots < own.stop)).unsqueeze(1)
        if len(own) == 0:
            return queries.new_full((len(slots), 1), -torch.inf), torch.zeros_like(queries)
        places = torch.where(is_here, slots.unsqueeze(1) - own.start, 0)
        scores = scores_of(queries, self.keys, places, log_prior, self.kappa)
        return torch.where(is_here, scores, -torch.inf), torch.where(is_here, self.keys[places[:, 0]], 0.0)

    def read_with_log_posterior(
        self, slots: Int[Tensor, " batch"], queries: Float[Tensor, "batch key_dim"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """As `VMFMemory.read_with_log_posterior`, of this rank's `queries` [B, M] and `slots` [B]. (6, 16)

        The log posterior is differentiable once: a second derivative raises RuntimeError.
        """
        call = "read_with_log_posterior"
        queries, slots = self._agreed(call, _rows(queries), lambda: self._readable_slots(slots, queries))
        with full_precision(queries.device):
            of_all, slots_of_all = self._of_all(queries.detach(), slots.unsqueeze(1))
            nearest = self._nearest(of_all)
            best = self._best_of_all(nearest)
            probability = self._probability_from(queries, nearest, best)
            with torch.no_grad():
                own_score, own_key = self._score_and_key(slots_of_all[:, 0], of_all, self._log_prior_of_real())
                (own_scores,) = self._to_the_rows_ranks(own_score)
                is_compared = (best.slots != slots.unsqueeze(1)) & (best.values == 1)
                compared = torch.where(is_compared, best.scores, -torch.inf)
                log_joint = torch.cat([own_scores.amax(dim=1, keepdim=True), compared], dim=1)
                compares_any = log_joint.amax(dim=1, keepdim=True) > -torch.inf  # else 0/0: -inf, its derivative 0
                log_posteriors = torch.where(compares_any, log_joint, 0.0).log_softmax(dim=1)
                value = torch.where(compares_any[:, 0], log_posteriors[:, 0], -torch.inf)
                derivative = torch.zeros_like(queries)
                if queries.requires_grad:
                    weights = -self.kappa * log_posteriors.exp()
                    weights[:, 0] += self.kappa
                    weights = torch.where(compares_any, weights, 0.0)
                    (own_weights,) = self._of_all(weights[:, :1])
                    parts = self._weighted_keys(nearest, best, weights[:, 1:]) + own_weights * own_key
                    derivative = self._summed(parts)
        return probability, with_derivative(queries, value, derivative, _no_second_derivative, written=self.ages)

    @torch.no_grad()
    def log_likelihood(
        self, queries: Float[Tensor, "batch key_dim"], label: int | None = None
    ) -> Float[Tensor, " batch"]:
        """As `VMFMemory.log_likelihood`, [B], for this rank's `queries` [B, M]. (1-3)

        Every rank gives the same `label`.
        """

        def check() -> Tensor:
            if label not in (0, 1, None):
                raise ValueError(f"label must be 0, 1 or None, got {label!r}")
            return self._readable(queries)

        queries = self._agreed("log_likelihood", _rows(queries), check)
        prior = self.histogram + self.beta
        if label is not None:
            prior = prior * (self.values == label)
        mass = prior.sum(dtype=exact_dtype(prior.device)).unsqueeze(0)
        whole = gathered_from_all(mass, self._group()).sum()
        if self._looks_at_values() and not bool(whole > 0):
            raise ValueError(f"log_likelihood(label={label}) needs a slot with value {label}, there is none")
        log_prior = prior.log() - whole.log().to(prior.dtype)
        log_normaliser = vmf.log_normaliser(self.kappa, self.key_dim).item()
        (of_all,) = self._of_all(queries)
        parts = []
        with full_precision(queries.device):
            for some_queries in of_all.split(rows_at_once(len(self.keys))):
                log_joint = torch.addmm(log_prior, some_queries, self.keys.T, alpha=self.kappa)
                parts.append(log_joint.logsumexp(dim=1, keepdim=True))
        (of_shards,) = self._to_the_rows_ranks(torch.cat(parts))
        return of_shards.logsumexp(dim=1) + log_normaliser

    # ---------------------------------------------------------------- slots of any rank

    @torch.no_grad()
    def keys_of(self, slots: Int[Tensor, " batch"]) -> Float[Tensor, "batch key_dim"]:
        """The keys of `slots` [B], any places in the memory, [B, M]: those that other ranks hold are fetched.

        Collective: every rank asks for as many, which may be the same or others. On a GPU it waits for the device.
        """
        slots = self._agreed("keys_of", _rows(slots), lambda: self._checked_slots(slots))
        asked = gathered_from_all(slots, self._group())
        owner = asked // self._most_slots
        return self._fetched(owner, self.keys[asked[owner == self._rank] - self.own_slots.start])

    def _fetched(self, owner: Tensor, rows: Tensor) -> Tensor:
        """What this rank asked for, [B, D], where `owner` [ranks, B] says which rank has what each rank asked for.

        `rows` [n, D] are what the ranks asked of this one, in their order. Only what was asked for is sent.
        """
        sent = (owner == self._rank).sum(dim=1).tolist()
        own = owner[self._rank]
        received = own.bincount(minlength=self._ranks).tolist()
        by_owner = exchanged_rows(rows, sent, received, self._group())
        fetched = torch.empty_like(by_owner)
        fetched[own.argsort(stable=True)] = by_owner
        return fetched

    # ---------------------------------------------------------------- sampling

    def slot_probabilities(self) -> Float[Tensor, " own_slots"]:
        """p(c=i|v=1) of this rank's slots, in float64; over all ranks they sum to 1. (11)

        Collective. NaN where no slot with v = 1 has any mass.
        """
        mass, whole = self._masses()
        return mass / whole

    def _masses(self) -> tuple[Tensor, Tensor]:
        """h_i v_i of this rank's slots, in float64, and their sum over all ranks. (11)"""
        mass = (self.histogram * self.values).to(exact_dtype(self.histogram.device))
        return mass, gathered_from_all(mass.sum().unsqueeze(0), self._group()).sum()

    def slots_in_use(self) -> Float[Tensor, ""]:
        """exp of the entropy of p(c|v=1) over the slots of all ranks, a number from 1 to N. Collective."""
        entropy = torch.special.entr(self.slot_probabilities()).sum()
        return gathered_from_all(entropy.unsqueeze(0), self._group()).sum().exp()

    @torch.no_grad()
    def sample(
        self, num_samples: int, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "num_samples key_dim"], Int[Tensor, " num_samples"]]:
        """Slots c ~ p(c=i|v=1), (11): their keys [num_samples, M] and their places in the memory [num_samples].

        Each rank draws for itself, from `generator` or the default one. So ranks whose generators have the same state
        sample the same slots, which are those that a `VMFMemory` would sample, and ranks with other seeds sample
        others. Keys come from the ranks that hold them, in one collective. Every rank calls it with the same
        `num_samples`. On a GPU it waits for the device, to learn how many keys each rank has to send.

        Raises ValueError where no slot with v = 1 has a positive histogram.
        """
        self._agreed("sample", _whole(num_samples), lambda: self._check_sampling(num_samples))
        mass, whole = self._masses()
        if not bool(whole > 0):
            raise ValueError("sample needs a slot with v = 1 and a positive histogram, there is none")
        # Whole numbers, as in VMFMemory.sample: sums of them are the same in any order, and so in any number of shards.
        steps = round(1 / torch.finfo(mass.dtype).eps)
        cumulative = (mass / whole * steps).long().cumsum(dim=0)
        in_shard = cumulative[-1:] if len(cumulative) > 0 else cumulative.new_zeros(1)
        end_of_shard = gathered_from_all(in_shard, self._group())[:, 0].cumsum(dim=0)
        uniform = mass.new_empty(num_samples).uniform_(generator=generator)
        drawn = (uniform * end_of_shard[-1]).long().clamp(max=end_of_shard[-1] - 1)
        drawn_by_all = gathered_from_all(drawn, self._group())
        owner = torch.searchsorted(end_of_shard, drawn_by_all, right=True)
        within = drawn_by_all[owner == self._rank] - (end_of_shard[self._rank] - in_shard)
        slots = torch.searchsorted(cumulative, within, right=True)
        keys = self.keys[slots]
        places = (slots + self.own_slots.start).unsqueeze(1)
        rows = self._fetched(owner, packed([keys, places]))
        keys, places = unpacked(rows, [keys, places])
        return keys, places[:, 0]

    def _check_sampling(self, num_samples: int) -> None:
        _check_number_of_samples(num_samples)
        self._group()
        self._check_state()

    # ---------------------------------------------------------------- counting

    @torch.no_grad()
    def recount(self, queries: Float[Tensor, "number key_dim"], prior_weight: float = 0.5) -> None:
        """As `VMFMemory.recount`, of this rank's `queries` [n, M] with those of all other ranks. (17)

        Every rank gives the same `prior_weight`.
        """

        def check() -> Tensor:
            self._refuse_writing_twice_or_in_vain()
            return self._readable(queries)

        self._agreed("recount", _rows(queries), check)
        super().recount(queries, prior_weight)

    def _mass_of_real(self) -> Tensor:
        return self._masses()[1]

    # ---------------------------------------------------------------- writing

    @torch.no_grad()
    def write(self, queries: Float[Tensor, "batch key_dim"], labels: Tensor) -> None:
        """Write this rank's `queries` [B, M] with `labels` [B], with those of all other ranks, as one batch. (7-10)

        As `VMFMemory.write` of the ranks' rows in their order. Each rank changes its own slots. Raises ValueError on
        all ranks, with the memory unchanged, when more samples replace than there are slots to replace.
        """
        self._agreed("write", _rows(queries), lambda: self._check_what_is_written(queries, labels))
        super().write(queries, labels)

    def read_write(self, queries: Float[Tensor, "batch key_dim"], labels: Tensor) -> Float[Tensor, " batch"]:
        """`read`, then `write`, with one search: D(x) [B] of this rank's rows as it was before the write."""
        self._agreed("read_write", _rows(queries), lambda: self._check_what_is_written(queries, labels))
        return super().read_write(queries, labels)

    def _check_what_is_written(self, queries: Tensor, labels: Tensor) -> Tensor:
        self._group()
        self._checked_labels(labels, queries)
        self._refuse_writing_twice_or_in_vain()
        return self._unit_queries(queries)

    @torch.no_grad()
    def _nearest_and_matching(self, queries: Tensor, labels: Tensor, look_at: int) -> tuple[Candidates, Candidates]:
        """The best of this rank's slots, as many as could be in S, and as many as could be in S_y. (5, 7)"""
        number = len(self.keys)
        if number == 0:
            return _nothing(queries), _nothing(queries)
        return engine_for(queries).nearest_and_matching(
            queries,
            self.keys,
            self._log_prior(),
            self.kappa,
            self.values,
            labels,
            look_at=min(look_at, number),
            top_k=min(self.top_k, number),
        )

    def _update(
        self, queries: Tensor, labels: Tensor, nearest: Candidates, matching: Candidates, has_direction: Tensor
    ) -> None:
        """Replacement or EM for each sample of all ranks (7-10), given the best slots of this shard."""
        is_known, is_of_s_y, is_best = self._decided(labels, nearest, matching)
        writer, target = self.assign_replacements(queries, labels, ~is_known & has_direction)
        mean_histogram = self._mean_histogram()  # of before this write

        belongs = is_of_s_y & (is_known & has_direction).unsqueeze(1)
        stays = writer.take(matching.slots) < 0
        touched = belongs & is_best if self.touch == "best" else belongs
        self._age(young=marked(matching.slots, touched, len(self.ages)))
        self.expectation_maximisation(queries, matching, belongs, moves=belongs & stays)
        self._replace(queries, labels, writer, target, mean_histogram)

    def _decided(self, labels: Tensor, nearest: Candidates, matching: Candidates) -> tuple[Tensor, Tensor, Tensor]:
        """Whether each sample of all ranks is known, [B]; which of this shard's slots are in S_y, and the best, [B, k].

        Each sample's own rank decides, from the candidates of all shards, and tells the others. (7)
        """
        look_at = min(self.correct_in_top, self._most_slots)
        own_look_at = min(look_at, nearest.slots.shape[1])
        best = nearest.scores.topk(own_look_at, dim=1)
        looked_at = nearest.slots.gather(1, best.indices)
        vouches = self.values[looked_at] == labels.unsqueeze(1)
        width = min(self.top_k, self._most_slots)
        found = matching.slots.shape[1]
        nearest_scores, vouches, scores = self._to_the_rows_ranks(
            F.pad(best.values, (0, look_at - own_look_at), value=-torch.inf),
            F.pad(vouches, (0, look_at - own_look_at)),
            F.pad(matching.scores, (0, width - found), value=-torch.inf),
        )
        best_of_all = nearest_scores.topk(self.correct_in_top, dim=1).indices
        is_known = vouches.gather(1, best_of_all).any(dim=1)

        best_of_label = scores.topk(self.top_k, dim=1)  # the best first
        verdict = torch.full_like(best_of_label.indices, _IN_S_Y, dtype=torch.uint8)
        verdict[:, 0] = _BEST
        verdict = torch.where(best_of_label.values > -torch.inf, verdict, 0)  # the label may have fewer than k slots
        verdicts = torch.zeros_like(scores, dtype=torch.uint8).scatter(1, best_of_label.indices, verdict)
        known = is_known.to(torch.uint8).unsqueeze(1).expand(-1, self._ranks)
        to_tell = torch.cat([verdicts.unflatten(1, (self._ranks, -1)), known.unsqueeze(2)], dim=2)
        told = self._to_the_shards(to_tell.flatten(1))
        verdicts = told[:, :found]
        return told[:, -1] == 1, verdicts > 0, verdicts == _BEST

    def _mean_histogram(self) -> Tensor:
        """mean(h) over all slots, summed in the order of the shards, so that all ranks have the same."""
        mass = self.histogram.sum(dtype=exact_dtype(self.histogram.device)).unsqueeze(0)
        return (gathered_from_all(mass, self._group()).sum() / self.num_slots).to(self.histogram.dtype)

    def _oldest_slots(self, num_pools: int, at_most: int) -> tuple[Tensor, Tensor]:
        """The oldest slots of each pool, [pools, n], in the whole memory, and whether there are so many, [pools, n]."""
        width = min(at_most, self._most_slots)
        own = self._seniority(num_pools)
        own = own.topk(min(width, own.shape[1]), dim=1).values
        own = F.pad(own, (0, width - own.shape[1]), value=-1)
        of_all = gathered_from_all(own, self._group()).transpose(0, 1).flatten(1)
        seniority = of_all.topk(min(at_most, self.num_slots), dim=1).values
        oldest = self.num_slots - 1 - seniority % self.num_slots  # what `_seniority` made it of
        return oldest, seniority >= 0

    def _writers(self, target: Tensor, fits: Tensor) -> tuple[Tensor, Tensor]:
        """As in one memory, but for this shard: `writer` is that of its slots, `target` one of them for each sample."""
        own = self.own_slots
        is_here = (target >= own.start) & (target < own.stop)
        if len(own) == 0:
            return target.new_empty(0), torch.zeros_like(target)
        return super()._writers(torch.where(is_here, target - own.start, 0), fits & is_here)

    def _replace(self, queries: Tensor, labels: Tensor, writer: Tensor, target: Tensor, mean: Tensor) -> None:
        if len(writer) > 0:
            super()._replace(queries, labels, writer, target, mean)

    def _shares(self, log_joint: Tensor) -> Tensor:
        """exp(`log_joint`) [B, k] over its sum over S_y, which all shards hold together. (8)"""
        of_shards = gathered_from_all(log_joint.logsumexp(dim=1), self._group())
        return (log_joint - of_shards.logsumexp(dim=0).unsqueeze(1)).exp()

    def _slots_by_value(self) -> list[int]:
        own = torch.tensor(super()._slots_by_value(), device=self.values.device)
        return gathered_from_all(own, self._group()).sum(dim=0).tolist()

    # ---------------------------------------------------------------- state

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """The shards as DTensors, which share the memory of the buffers, and the settings."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in _SHARDED:
            destination[prefix + name] = self._as_distributed(destination[prefix + name])

    def _as_distributed(self, own: Tensor) -> Tensor:
        """This shard's buffer as a part of the whole memory's."""
        from torch.distributed.device_mesh import DeviceMesh  # only here: the import takes seconds
        from torch.distributed.tensor import DTensor, Shard

        mesh = DeviceMesh.from_group(self._group(), own.device.type)
        shape = torch.Size([self.num_slots, *own.shape[1:]])
        stride = torch.empty(shape, device="meta").stride()
        return DTensor.from_local(own, mesh, [Shard(0)], run_check=False, shape=shape, stride=stride)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """From the shards of this group (DTensors), or from a whole memory, of which each rank takes its own."""
        for name in _SHARDED:
            value = state_dict.get(prefix + name)
            if torch.is_tensor(value):
                state_dict[prefix + name] = self._own_part(prefix + name, value)
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def _own_part(self, name: str, value: Tensor) -> Tensor:
        """This rank's rows of `value` [N, ...], a DTensor or all rows; another shape is left for PyTorch to refuse."""
        own = self.own_slots
        if hasattr(value, "to_local"):
            shard: Any = value  # a DTensor, whose import takes seconds
            its_ranks = shard.device_mesh.mesh.flatten().tolist()
            own_ranks = dist.get_process_group_ranks(self._group())
            if its_ranks != own_ranks or (len(shard.to_local()), len(shard)) != (len(own), self.num_slots):
                raise ValueError(
                    f"{name}: expected the shards of {self.num_slots} slots on ranks {own_ranks}, got a DTensor of "
                    f"{len(shard)} on ranks {its_ranks}, of which {len(shard.to_local())} are here: "
                    "torch.distributed.checkpoint loads into another number of ranks"
                )
            return shard.to_local()
        if value.ndim == 0 or len(value) != self.num_slots:
            return value
        return value[own.start : own.stop].clone()  # a slice would keep the whole alive


def _nothing(queries: Tensor) -> Candidates:
    """What a rank without slots finds."""
    return Candidates(
        queries.new_empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.long, device=queries.device)
    )


def _no_second_derivative(queries: Tensor) -> NoReturn:
    """For the log posteriors, whose second derivative would need the keys of all real slots."""
    raise RuntimeError(
        "ShardedVMFMemory has no second derivative of a log posterior, only of read: take it from a VMFMemory"
    )


def _whole(number: Any) -> int:
    """A whole number, for a comparison; -1 for what is none, which is refused later."""
    return int(number) if isinstance(number, Integral) else -1


def _rows(queries: Any) -> int:
    """How many rows there are, for a comparison; -1 for what has none, which is refused later."""
    return len(queries) if torch.is_tensor(queries) and queries.ndim > 0 else -1


def _needs_grad(checked: Any) -> bool:
    """Whether the checked queries want a gradient."""
    queries = checked[0] if isinstance(checked, tuple) else checked
    return torch.is_tensor(queries) and queries.requires_grad and torch.is_grad_enabled()

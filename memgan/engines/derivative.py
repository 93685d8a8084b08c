"""D(x), the log posteriors and their derivatives.

The memory may be written between a read and its backward pass. With S the slots that were found, p the posterior over
S and D = sum_{i in S} v_i p_i (6), the derivative with respect to the query is

    dD/dq = kappa sum_{i in S} p_i (v_i - D) K_i.

It is computed together with D. So nothing of size [B, k, M] is kept, and a later write does no harm. A second
derivative, which a gradient penalty needs, is taken of the same expression when it is asked for.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.engines.candidates import Candidates
from memgan.engines.choice import is_transformed
from memgan.engines.portions import rows_at_once

__all__ = [
    "derivative_of_mean",
    "derivative_with_keys",
    "expected_value",
    "log_posterior",
    "log_posterior_in_top_k",
    "scores_of",
    "with_derivative",
]


def expected_value(
    queries: Tensor, keys: Tensor, nearest: Candidates, values: Tensor, log_prior: Tensor, kappa: float
) -> Tensor:
    """sum_{i in S} v_i p_i, [B]: the posterior mean of `values` [N] over the slots S that were found for each query.

    Differentiable in `queries` [B, M]: any number of times, but once only under torch.compile. `log_prior` is [N].
    """
    if is_transformed(queries):
        posterior = scores_of(queries, keys, nearest.slots, log_prior, kappa).softmax(dim=1)
        return (posterior * values[nearest.slots].to(posterior.dtype)).sum(dim=1)
    with torch.no_grad():
        mean = _mean(nearest, values)
    if not wants_derivative(queries):
        return mean
    with torch.no_grad():
        derivative = derivative_of_mean(nearest, mean, keys, values, kappa)
    values_in_s = values[nearest.slots]  # now, because a write may change them
    log_prior_in_s = log_prior[nearest.slots]

    def derivative_at(queries: Tensor) -> Tensor:
        return derivative_with_keys(queries, keys[nearest.slots], values_in_s, log_prior_in_s, kappa)

    return with_derivative(queries, mean, derivative, derivative_at, keys)


def scores_of(queries: Tensor, keys: Tensor, slots: Tensor, log_prior: Tensor, kappa: float) -> Tensor:
    """kappa K_i . q + log(h_i + beta) of given `slots` [B, k], [B, k], for `keys` [N, M] and `log_prior` [N].

    Products and sums, not a matrix product: a GPU may round the factors of that to ten bits (TF32).
    """
    return _log_likelihood(queries, keys, slots, kappa) + log_prior[slots]


def log_posterior(queries: Tensor, keys: Tensor, slots: Tensor, log_prior: Tensor, kappa: float) -> Tensor:
    """log p(c=i|x) of one slot i for each query, [B], over all slots whose `log_prior` [N] is finite. (15)

    Differentiable in `queries` [B, M]: any number of times, but once only under torch.compile. The derivative is
    computed with the value, so that a write before the backward pass does no harm.
    """
    if is_transformed(queries):
        return _log_posteriors(queries, keys, log_prior, kappa).gather(1, slots.unsqueeze(1))[:, 0]
    values = []
    derivatives = []
    is_differentiated = wants_derivative(queries)
    rows = rows_at_once(len(keys))
    with torch.no_grad():
        for some_queries, some_slots in zip(queries.split(rows), slots.split(rows), strict=True):
            scores = torch.addmm(log_prior, some_queries, keys.T, alpha=kappa)
            values.append(scores.log_softmax(dim=1).gather(1, some_slots.unsqueeze(1))[:, 0])
            if is_differentiated:
                derivatives.append(kappa * (keys[some_slots] - scores.softmax(dim=1) @ keys))
    value = torch.cat(values)
    if not is_differentiated:
        return value

    def derivative_at(queries: Tensor) -> Tensor:
        posteriors = _log_posteriors(queries, keys, log_prior, kappa).exp()
        return kappa * (keys[slots] - posteriors @ keys)

    return with_derivative(queries, value, torch.cat(derivatives), derivative_at, keys)


def log_posterior_in_top_k(
    queries: Tensor, keys: Tensor, slots: Tensor, nearest: Candidates, log_prior: Tensor, kappa: float
) -> Tensor:
    """`log_posterior` with its sum cut to each query's own slot and the `nearest` ones that were found already. (16)"""
    own = slots.unsqueeze(1)
    is_another = nearest.slots != own
    prior_of_others = torch.where(is_another, log_prior[nearest.slots], -torch.inf)
    compared = torch.cat([own, nearest.slots], dim=1)  # [B, 1 + k]
    prior = torch.cat([log_prior[own], prior_of_others], dim=1)
    compares_any = prior.amax(dim=1, keepdim=True) > -torch.inf  # else 0/0: the result is -inf, its derivative 0
    finite_prior = torch.where(compares_any, prior, 0.0)

    def log_posteriors_at(queries: Tensor) -> Tensor:
        return (_log_likelihood(queries, keys, compared, kappa) + finite_prior).log_softmax(dim=1)

    def value_of(log_posteriors: Tensor) -> Tensor:
        return torch.where(compares_any[:, 0], log_posteriors[:, 0], -torch.inf)

    def derivative_at(queries: Tensor) -> Tensor:
        posteriors = log_posteriors_at(queries).exp()
        expected_keys = (posteriors.unsqueeze(2) * keys[compared]).sum(dim=1)
        return torch.where(compares_any, kappa * (keys[slots] - expected_keys), 0.0)

    if is_transformed(queries):
        return value_of(log_posteriors_at(queries))
    with torch.no_grad():
        log_posteriors = log_posteriors_at(queries)
        value = value_of(log_posteriors)
    if not wants_derivative(queries):
        return value
    with torch.no_grad():
        weights = -kappa * log_posteriors.exp()
        weights[:, 0] += kappa
        weights = torch.where(compares_any, weights, 0.0)
        derivative = F.embedding_bag(compared, keys, mode="sum", per_sample_weights=weights)
    return with_derivative(queries, value, derivative, derivative_at, keys)


def _log_posteriors(queries: Tensor, keys: Tensor, log_prior: Tensor, kappa: float) -> Tensor:
    """log p(c=i|x), [B, N]. (4)"""
    return torch.addmm(log_prior, queries, keys.T, alpha=kappa).log_softmax(dim=1)


def wants_derivative(queries: Tensor) -> bool:
    """Whether somebody may differentiate what is computed of `queries`."""
    return queries.requires_grad and torch.is_grad_enabled()


def with_derivative(
    queries: Tensor, value: Tensor, derivative: Tensor, derivative_at: Callable[[Tensor], Tensor], written: Tensor
) -> Tensor:
    """`value` [B] with `derivative` [B, M]; `derivative_at(queries)` is the same as an expression that autograd knows.

    The expression is for higher derivatives. It raises RuntimeError where `written`, a buffer that
    every write changes, has changed since.
    """
    if not wants_derivative(queries):
        return value
    if torch.compiler.is_compiling():
        return _DifferentiableOnce.apply(queries, value, derivative)
    version = written._version

    def checked_derivative_at(queries: Tensor) -> Tensor:
        _check_that_nobody_wrote(written, version)
        return derivative_at(queries)

    return _DifferentiableAgain.apply(queries, value, derivative, checked_derivative_at)


def _check_that_nobody_wrote(written: Tensor, version: int) -> None:
    if written._version != version:
        raise RuntimeError(
            "a second derivative of what was read from the memory was asked for after the memory was written; "
            "compute a gradient penalty before memory.write, or from a read that comes after it"
        )


def _log_likelihood(queries: Tensor, keys: Tensor, slots: Tensor, kappa: float) -> Tensor:
    """kappa K_i . q of given `slots` [B, k], [B, k]."""
    return kappa * (queries.unsqueeze(1) * keys[slots]).sum(dim=2)


def _mean(nearest: Candidates, values: Tensor) -> Tensor:
    """D, [B]. (6)"""
    posterior = nearest.scores.softmax(dim=1)
    return (posterior * values[nearest.slots].to(posterior.dtype)).sum(dim=1)


def derivative_of_mean(nearest: Candidates, mean: Tensor, keys: Tensor, values: Tensor, kappa: float) -> Tensor:
    """dD/dq, [B, M]: a weighted sum of rows of the keys, which are read where they are."""
    posterior = nearest.scores.softmax(dim=1)
    weights = kappa * posterior * (values[nearest.slots] - mean.unsqueeze(1))
    return F.embedding_bag(nearest.slots, keys, mode="sum", per_sample_weights=weights)


def derivative_with_keys(queries: Tensor, keys: Tensor, values: Tensor, log_prior: Tensor, kappa: float) -> Tensor:
    """dD/dq, [B, M], given the keys [B, k, M], `values` [B, k] and `log_prior` [B, k] of the slots in S.

    Made of ordinary operations on the queries, so that it can be differentiated.
    """
    posterior = (kappa * (queries.unsqueeze(1) * keys).sum(dim=2) + log_prior).softmax(dim=1)
    values = values.to(posterior.dtype)
    mean = (posterior * values).sum(dim=1, keepdim=True)
    weights = kappa * posterior * (values - mean)
    return (weights.unsqueeze(2) * keys).sum(dim=1)


class _DifferentiableAgain(torch.autograd.Function):
    """`value` [B] with `derivative` [B, M] with respect to the queries, and an expression for higher derivatives.

    The derivative is an attribute of `ctx` and not one of its saved tensors: activation checkpointing computes saved
    tensors again, and then the memory may be another one.
    """

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, value: Tensor, derivative: Tensor, derivative_at: Callable[[Tensor], Tensor]
    ) -> Tensor:
        ctx.save_for_backward(queries)
        ctx.derivative = derivative
        ctx.derivative_at = derivative_at
        return value.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        derivative = ctx.derivative
        if torch.is_grad_enabled():  # somebody will differentiate the derivative
            (queries,) = ctx.saved_tensors
            derivative = ctx.derivative_at(queries)
        return upstream.unsqueeze(1) * derivative, None, None, None


class _DifferentiableOnce(torch.autograd.Function):
    """`value` [B] with `derivative` [B, M] as its derivative with respect to the queries, for torch.compile."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, value: Tensor, derivative: Tensor) -> Tensor:
        ctx.save_for_backward(derivative)
        # A compiler would compute what only the backward pass needs in the backward pass, after the write.
        return value + 0 * derivative.sum(dim=1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (derivative,) = ctx.saved_tensors
        return upstream.unsqueeze(1) * derivative, None, None

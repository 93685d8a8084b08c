"""log p(c|x, v=1) of the slot that an image was generated from, against plain loops, scipy and closed forms."""

import numpy as np
import pytest
import scipy.special
import torch
from memory_builders import lived_in_memory, reference_of, state_of, unit_rows

BATCH = 23


@pytest.fixture
def memory():
    return lived_in_memory()


def queries_and_slots(memory, *, seed=0):
    """Queries in float64, and for each a real slot, all real slots among them."""
    real = memory.values.nonzero()[:, 0]
    slots = real[torch.arange(BATCH) % len(real)]
    return unit_rows(BATCH, memory.key_dim, seed=seed), slots


def scores_by_numpy(memory, queries):
    """What (4) normalises, as logarithms, [B, N]."""
    log_prior = np.log(memory.histogram.numpy() + memory.beta)
    return memory.kappa * queries.numpy() @ memory.keys.numpy().T + log_prior


def test_it_is_that_of_a_plain_loop(memory):
    queries, slots = queries_and_slots(memory)
    reference = reference_of(memory)
    expected = []
    for query, slot in zip(queries.numpy(), slots.tolist(), strict=True):
        expected.append(reference.log_posterior_of(slot, query))
    found = memory.log_posterior_of(slots, queries)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_a_generated_slot_has_none_in_the_plain_loop_either(memory):
    generated = (memory.values == 0).nonzero()[0]
    query = unit_rows(1, memory.key_dim, seed=0)
    expected = reference_of(memory).log_posterior_of(int(generated), query[0].numpy())
    assert memory.log_posterior_of(generated, query).tolist() == [expected] == [-float("inf")]


def test_probabilities_of_all_real_slots_add_up_to_1(memory):
    query = unit_rows(1, memory.key_dim, seed=3)
    real = memory.values.nonzero()[:, 0]
    log_posteriors = memory.log_posterior_of(real, query.expand(len(real), -1))
    assert float(log_posteriors.exp().sum()) == pytest.approx(1, abs=1e-12)


def test_it_is_never_above_0_even_where_one_slot_explains_everything(memory):
    memory.settings = memory.settings.changed(kappa=1e4)
    real = memory.values.nonzero()[:, 0]
    at_their_keys = memory.log_posterior_of(real, memory.keys[real])
    assert bool((at_their_keys <= 0).all())
    assert float(at_their_keys.max()) == pytest.approx(0, abs=1e-12)


def test_where_queries_say_nothing_its_mean_is_the_entropy_of_the_slots(memory):
    """At kappa near 0 the posterior is the prior, and the cross entropy of a prior with itself is H(c)."""
    memory.settings = memory.settings.changed(kappa=1e-9)
    real = memory.values.nonzero()[:, 0]
    log_posteriors = memory.log_posterior_of(real, unit_rows(len(real), memory.key_dim, seed=5))
    probabilities = memory.slot_probabilities()[real]
    mean = -float((probabilities * log_posteriors).sum())
    assert mean == pytest.approx(float(scipy.special.entr(probabilities.numpy()).sum()), abs=1e-6)


def test_a_slot_that_is_not_real_is_impossible(memory):
    generated = memory.values.eq(0).nonzero()[:1, 0]
    assert memory.log_posterior_of(generated, unit_rows(1, memory.key_dim, seed=0)).tolist() == [-float("inf")]


def test_queries_of_any_length(memory):
    queries, slots = queries_and_slots(memory)
    expected = memory.log_posterior_of(slots, queries)
    torch.testing.assert_close(memory.log_posterior_of(slots, 7.0 * queries), expected, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- derivative


@pytest.mark.parametrize("which", ["exact", "top k"])
def test_gradient_by_finite_differences(memory, which):
    queries, slots = queries_and_slots(memory)

    def log_posterior(directions):
        if which == "exact":
            return memory.log_posterior_of(slots, directions)
        return memory.read_with_log_posterior(slots, directions)[1]

    assert torch.autograd.gradcheck(log_posterior, (queries.requires_grad_(),), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("which", ["exact", "top k"])
def test_torch_func_finds_the_same_gradient(memory, which):
    queries, slots = queries_and_slots(memory)

    def total(directions):
        if which == "exact":
            return memory.log_posterior_of(slots, directions).sum()
        return memory.read_with_log_posterior(slots, directions)[1].sum()

    leaf = queries.clone().requires_grad_()
    total(leaf).backward()
    torch.testing.assert_close(torch.func.grad(total)(queries), leaf.grad, rtol=1e-10, atol=1e-12)


def test_a_write_before_the_backward_pass_leaves_the_gradient_as_it_was(memory):
    queries, slots = queries_and_slots(memory)
    gradients = []
    for writes in (False, True):
        leaf = queries.clone().requires_grad_()
        loss = memory.log_posterior_of(slots, leaf).sum()
        if writes:
            memory.write(queries[:5], torch.tensor([0, 1, 0, 1, 1]))
        loss.backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=0)


@pytest.mark.parametrize("which", ["exact", "top k"])
def test_second_derivative_by_finite_differences(memory, which):
    queries, slots = queries_and_slots(memory)

    def log_posterior(directions):
        if which == "exact":
            return memory.log_posterior_of(slots, directions)
        return memory.read_with_log_posterior(slots, directions)[1]

    assert torch.autograd.gradgradcheck(log_posterior, (queries.requires_grad_(),), eps=1e-6, atol=1e-5)


def test_a_second_derivative_after_a_write_is_refused(memory):
    queries, slots = queries_and_slots(memory)
    leaf = queries.clone().requires_grad_()
    loss = memory.log_posterior_of(slots, leaf).sum()
    memory.write(queries[:1], torch.tensor([1]))
    with pytest.raises(RuntimeError, match="after the memory was written"):
        torch.autograd.grad(loss, leaf, create_graph=True)


# ---------------------------------------------------------------- top k


@pytest.mark.parametrize("top_k", [1, 3, 8, 17])
def test_top_k_is_above_the_exact_value_by_no_more_than_the_stated_bound(top_k):
    memory = lived_in_memory(top_k=top_k)
    queries, slots = queries_and_slots(memory)
    exact = memory.log_posterior_of(slots, queries).numpy()
    approximate = memory.read_with_log_posterior(slots, queries)[1].numpy()
    scores = scores_by_numpy(memory, queries)
    real = memory.values.numpy() == 1
    for row in range(BATCH):
        in_s = set(np.argsort(-scores[row])[:top_k].tolist())
        looked_at = [i for i in in_s | {int(slots[row])} if real[i]]
        left_out = int(real.sum()) - len(looked_at)
        least = min(scores[row][i] for i in in_s)
        bound = np.log1p(left_out * np.exp(least) / np.exp(scores[row][looked_at]).sum())
        assert -1e-12 <= approximate[row] - exact[row] <= bound + 1e-12


def test_top_k_of_all_slots_is_exact():
    memory = lived_in_memory(top_k=17)
    queries, slots = queries_and_slots(memory)
    approximate = memory.read_with_log_posterior(slots, queries)[1]
    torch.testing.assert_close(approximate, memory.log_posterior_of(slots, queries), rtol=1e-12, atol=1e-12)


def test_top_k_reads_what_read_does_and_changes_nothing(memory):
    queries, slots = queries_and_slots(memory)
    before = state_of(memory)
    probability, _ = memory.read_with_log_posterior(slots, queries)
    assert torch.equal(probability, memory.read(queries))
    assert all(torch.equal(before[name], buffer) for name, buffer in memory.state_dict().items())


# ---------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("slots", "said"),
    [
        (torch.zeros(3, dtype=torch.long), r"shape \[23\]"),
        (torch.zeros(BATCH), "whole numbers"),
        (torch.full((BATCH,), 17), r"0\.\.16"),
        (torch.full((BATCH,), -1), r"0\.\.16"),
        ([0] * BATCH, "list"),
    ],
)
def test_slots_that_are_no_places_are_refused(memory, slots, said):
    queries, _ = queries_and_slots(memory)
    with pytest.raises(ValueError, match=said):
        memory.log_posterior_of(slots, queries)


def test_top_k_is_minus_infinity_without_a_gradient_where_it_looks_at_no_real_slot():
    memory = lived_in_memory()
    memory.values.zero_()
    memory.values[-1] = 1
    memory.histogram.fill_(1.0)
    queries = memory.keys[: memory.top_k].clone().requires_grad_()
    slots = torch.arange(len(queries))
    exact = memory.log_posterior_of(slots, queries)
    _, approximate = memory.read_with_log_posterior(slots, queries)
    assert exact.tolist() == approximate.tolist() == [-torch.inf] * len(queries)
    nearest = memory.top_k_posterior(queries)[1]
    looks_at_none = ~(nearest == len(memory.keys) - 1).any(dim=1)
    assert bool(looks_at_none.any())
    (gradient,) = torch.autograd.grad(approximate.sum(), queries)
    assert bool(gradient.isfinite().all()) and not bool(gradient[looks_at_none].any())

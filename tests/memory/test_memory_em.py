"""EM is EM: the write is the M-step of a von Mises-Fisher mixture, and incremental EM arrives where batch EM does.

Two sufficient statistics describe a mixture with a fixed kappa: the counts h_i = sum_n gamma_ni and the resultants
R_i = sum_n gamma_ni q_n; the M-step is prior ~ h, K = R / |R|. What of this is true of the memory's write:

- A slot remembers its count h and its direction K, not |R|. A write therefore takes the resultant of all that came
  before to be h K, as if those queries had all been equal to K: the new key is the direction of h K + sum gamma q.
- Where nothing came before (h -> 0, ratios kept for the prior), a write of a whole data set is one step of batch
  EM, exactly. Repeated, it is batch EM, and the likelihood cannot fall.
- The rule of METHOD section 3 is incremental EM, exactly, for a mean that keeps its length, m_i = R_i / h_i, with
  keys m / |m|. There the free energy cannot fall at any visit (Neal & Hinton, 1998) and a fixed point is one of
  batch EM. With keys cut back to unit length after each visit it is not: gammas that no longer change move nothing,
  whether or not K points along R. Then no statement about the likelihood is guaranteed, and none is tested.
"""

import numpy as np
import pytest
import torch
from memory_builders import lived_in_memory, unit_rows
from scipy import special, stats

from memgan import VMFMemory

KAPPA, COMPONENTS, DIM, SAMPLES = 11.0, 5, 3, 61


def data():
    """Three clusters, one of them spread: neither too easy for five components nor without structure."""
    centres, spread = unit_rows(3, DIM, seed=1).repeat_interleave(21, dim=0)[:SAMPLES], unit_rows(SAMPLES, DIM, seed=2)
    width = torch.tensor([0.3, 0.5, 1.1]).repeat_interleave(21)[:SAMPLES].unsqueeze(1)
    return torch.nn.functional.normalize(centres + width * spread, dim=1).numpy()


def first_guess():
    keys = unit_rows(COMPONENTS, DIM, seed=3).numpy()
    return keys, np.array([5.0, 17.0, 11.0, 13.0, 15.0])


LOG_NORMALISER = float(np.squeeze(stats.vonmises_fisher([0, 0, 1], KAPPA).logpdf([0, 0, 1]))) - KAPPA


def log_joint(queries, keys, counts):
    """log p(c=i) p(x|c=i), with the normaliser of scipy's density."""
    return LOG_NORMALISER + KAPPA * queries @ keys.T + np.log(counts / counts.sum())


def log_likelihood(queries, keys, counts):
    return special.logsumexp(log_joint(queries, keys, counts), axis=1).sum()


def batch_em_step(queries, keys, counts):
    gamma = special.softmax(log_joint(queries, keys, counts), axis=1)
    resultants = gamma.T @ queries
    return resultants / np.linalg.norm(resultants, axis=1, keepdims=True), gamma.sum(axis=0)


class IncrementalEM:
    """METHOD section 3 with alpha = 1 and responsibilities remembered from visit to visit; means keep their length."""

    def __init__(self, queries, keys, counts):
        self.queries = queries
        self.gamma = special.softmax(log_joint(queries, keys, counts), axis=1)
        self.counts = self.gamma.sum(axis=0)
        self.means = self.gamma.T @ queries / self.counts[:, None]

    @property
    def keys(self):
        return self.means / np.linalg.norm(self.means, axis=1, keepdims=True)

    def visit(self, sample):
        query = self.queries[sample]
        gamma = special.softmax(log_joint(query[None], self.keys, self.counts), axis=1)[0]  # E
        change = gamma - self.gamma[sample]  # the old contribution is taken back, the new one added
        self.counts = self.counts + change  # M
        self.means = self.means + (change / self.counts)[:, None] * (query - self.means)
        self.gamma[sample] = gamma

    def free_energy(self):
        """What EM climbs: expected log joint plus the entropy of the remembered responsibilities."""
        return (self.gamma * log_joint(self.queries, self.keys, self.counts)).sum() + special.entr(self.gamma).sum()


def memory_of(keys, counts, **settings):
    """A one-label memory whose S_y is all slots, with a prior that nothing smooths."""
    settings = {"kappa": KAPPA, "alpha": 1.0, "beta": 1e-300} | settings
    memory = VMFMemory(len(keys), keys.shape[1], len(keys), **settings).double()
    memory.keys.copy_(torch.from_numpy(keys))
    memory.histogram.copy_(torch.from_numpy(counts))
    memory.values.fill_(1)
    return memory


def write(memory, queries):
    memory.write(torch.from_numpy(queries), torch.ones(len(queries), dtype=torch.long))


# ---------------------------------------------------------------- the memory's write is an M-step


def test_a_write_adds_posteriors_to_the_counts_and_posterior_weighted_queries_to_the_resultants():
    queries, (keys, counts) = data(), first_guess()
    for batch in (queries[:1], queries[:7], queries):
        memory = memory_of(keys, counts)
        write(memory, batch)
        gamma = special.softmax(log_joint(batch, keys, counts), axis=1)
        resultants = counts[:, None] * keys + gamma.T @ batch
        np.testing.assert_allclose(memory.histogram.numpy(), counts + gamma.sum(axis=0), rtol=1e-12)
        assert float(memory.histogram.sum()) == pytest.approx(counts.sum() + len(batch), rel=1e-14)
        expected = resultants / np.linalg.norm(resultants, axis=1, keepdims=True)
        np.testing.assert_allclose(memory.keys.numpy(), expected, rtol=0, atol=1e-12)


def test_a_write_of_all_data_into_slots_without_a_past_is_a_step_of_batch_em():
    queries, (keys, counts) = data(), first_guess()
    memory = memory_of(keys, 1e-15 * counts)
    write(memory, queries)
    expected_keys, expected_counts = batch_em_step(queries, keys, counts)
    np.testing.assert_allclose(memory.histogram.numpy(), expected_counts, rtol=1e-12)
    np.testing.assert_allclose(memory.keys.numpy(), expected_keys, rtol=0, atol=1e-12)


def test_the_likelihood_never_falls_while_writes_forget_the_past_and_see_all_data():
    queries, (keys, counts) = data(), first_guess()
    memory = memory_of(keys, counts)
    likelihoods = []
    for _ in range(300):
        likelihoods.append(float(memory.log_likelihood(torch.from_numpy(queries)).sum()))
        memory.histogram *= 1e-15
        write(memory, queries)
    assert likelihoods[0] == pytest.approx(log_likelihood(queries, keys, counts), rel=1e-12)
    assert np.diff(likelihoods).min() > -1e-10
    assert likelihoods[-1] > likelihoods[0] + 10
    # and where it ends is a maximum that batch EM in numpy, from the same start, finds as well
    for _ in range(300):
        keys, counts = batch_em_step(queries, keys, counts)
    np.testing.assert_allclose(memory.keys.numpy(), keys, rtol=0, atol=1e-9)
    assert likelihoods[-1] == pytest.approx(log_likelihood(queries, keys, counts), rel=1e-12)


def test_a_fixed_point_of_batch_em_is_one_of_such_writes():
    queries, (keys, counts) = data(), first_guess()
    for _ in range(3000):
        keys, counts = batch_em_step(queries, keys, counts)
    memory = memory_of(keys, 1e-15 * counts)
    write(memory, queries)
    np.testing.assert_allclose(memory.keys.numpy(), keys, rtol=0, atol=1e-9)
    np.testing.assert_allclose(memory.histogram.numpy(), counts, rtol=1e-9)


def test_two_em_steps_take_the_first_responsibilities_back():
    # one sample: the counts of T = 2 have gained the responsibilities found after the first step, and those alone
    queries, (keys, counts) = data()[:1], first_guess()
    once, twice = memory_of(keys, counts), memory_of(keys, counts, em_steps=2)
    write(once, queries)
    write(twice, queries)
    second = special.softmax(log_joint(queries, once.keys.numpy(), once.histogram.numpy()), axis=1)[0]
    np.testing.assert_allclose(twice.histogram.numpy(), counts + second, rtol=1e-12)
    assert not np.allclose(once.histogram.numpy(), twice.histogram.numpy(), rtol=1e-6)


# ---------------------------------------------------------------- incremental EM, each query remembered


def test_the_running_mean_of_the_write_rule_is_the_resultant_over_the_count():
    em = IncrementalEM(data(), *first_guess())
    for visit in range(5 * SAMPLES):
        em.visit((visit * 7) % SAMPLES)
    np.testing.assert_allclose(em.counts, em.gamma.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(em.means, em.gamma.T @ em.queries / em.counts[:, None], rtol=0, atol=1e-12)
    assert np.linalg.norm(em.means, axis=1).max() < 0.999  # the length that a unit key forgets


def test_incremental_em_never_lowers_the_free_energy_nor_over_a_sweep_the_likelihood():
    queries = data()
    em, energies, likelihoods = IncrementalEM(queries, *first_guess()), [], []
    for _ in range(60):
        # the likelihood as the memory itself reports it
        memory = memory_of(em.keys, em.counts)
        likelihoods.append(float(memory.log_likelihood(torch.from_numpy(queries)).sum()))
        for sample in np.random.default_rng(len(likelihoods)).permutation(SAMPLES)[:31]:
            energies.append(em.free_energy())
            em.visit(sample)
    assert np.diff(energies).min() > -1e-10  # guaranteed at each visit, and below the likelihood at any time
    assert energies[-1] <= log_likelihood(queries, em.keys, em.counts) + 1e-10
    assert np.diff(likelihoods).min() > -1e-10
    assert likelihoods[-1] > likelihoods[0] + 10


def test_the_fixed_point_of_incremental_em_is_one_of_batch_em_and_of_the_memory_s_write():
    queries = data()
    em = IncrementalEM(queries, *first_guess())
    for visit in range(400 * SAMPLES):
        em.visit(visit % SAMPLES)
    keys, counts = batch_em_step(queries, em.keys, em.counts)
    np.testing.assert_allclose(keys, em.keys, rtol=0, atol=1e-8)
    np.testing.assert_allclose(counts, em.counts, rtol=1e-8)
    memory = memory_of(em.keys, 1e-15 * em.counts)
    write(memory, queries)
    np.testing.assert_allclose(memory.keys.numpy(), em.keys, rtol=0, atol=1e-8)
    # not a saddle that any start would satisfy: the first guess was none
    assert np.abs(batch_em_step(queries, *first_guess())[0] - first_guess()[0]).max() > 0.1


# ---------------------------------------------------------------- forgetting


def test_counts_settle_at_the_rate_of_writing_over_the_rate_of_forgetting():
    # each write keeps alpha of the counts and adds B: h -> B / (1 - alpha)
    memory = lived_in_memory(13, DIM, 13, alpha=0.9, correct_in_top=13)
    memory.values.fill_(1)
    for step in range(400):
        memory.write(unit_rows(7, DIM, seed=step), torch.ones(7, dtype=torch.long))
    assert float(memory.histogram.sum()) == pytest.approx(7 / (1 - 0.9), rel=1e-12)

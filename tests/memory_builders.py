"""Memories in the middle of their life, batches for them, and the same memories as plain loops."""

import numpy as np
import torch
import torch.nn.functional as F

from memgan import VMFMemory
from memgan.reference import ReferenceMemory

SETTINGS = ("top_k", "kappa", "alpha", "beta", "em_steps", "correct_in_top", "touch", "replace_within_label", "epsilon")


def unit_rows(*shape, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(shape, generator=generator, dtype=torch.float64), dim=-1).to(dtype)


def random_labels(batch, *, seed):
    return torch.randint(0, 2, (batch,), generator=torch.Generator().manual_seed(seed))


def lived_in_memory(num_slots=17, key_dim=3, top_k=5, *, seed=0, dtype=torch.float64, kappa=6.0, alpha=0.7, **settings):
    """A memory whose slots differ in every respect: no two equal histograms, ages with ties, values mixed.

    alpha = 0.7 and kappa = 6 are chosen so that neither is a power of two and no posterior is one-sided.
    """
    generator = torch.Generator().manual_seed(1000 + seed)
    memory = VMFMemory(num_slots, key_dim, top_k, kappa=kappa, alpha=alpha, **settings).to(dtype)
    memory.keys.copy_(unit_rows(num_slots, key_dim, seed=2000 + seed))
    memory.values.copy_(memory.values[torch.randperm(num_slots, generator=generator)])
    memory.ages.copy_(torch.randint(0, num_slots, (num_slots,), generator=generator))
    memory.histogram.copy_(torch.rand(num_slots, generator=generator, dtype=torch.float64) * 3 + 0.1)
    return memory


def reference_of(memory):
    """The same memory as plain loops."""
    return ReferenceMemory(
        keys=memory.keys.double().numpy().copy(),
        values=memory.values.tolist(),
        ages=memory.ages.tolist(),
        histogram=memory.histogram.double().tolist(),
        **{name: getattr(memory, name) for name in SETTINGS},
    )


def assert_equals_reference(memory, reference, *, ages=True, tolerance=1e-12):
    np.testing.assert_allclose(memory.keys.numpy(), reference.keys, rtol=0, atol=tolerance)
    np.testing.assert_allclose(memory.histogram.numpy(), reference.histogram, rtol=tolerance, atol=tolerance)
    assert memory.values.tolist() == reference.values
    if ages:
        assert memory.ages.tolist() == reference.ages


def state_of(memory):
    return {name: buffer.clone() for name, buffer in memory.state_dict().items()}


def assert_state_is(memory, state):
    """Bitwise: the same names, dtypes and numbers."""
    now = memory.state_dict()
    assert now.keys() == state.keys()
    for name in state:
        assert now[name].dtype == state[name].dtype
        assert torch.equal(now[name], state[name]), f"{name} differs"

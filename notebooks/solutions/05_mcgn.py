# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5 · The generator that is told what to draw: solutions
#
# To the exercises of [notebook 5](../05_mcgn.ipynb).

# %%
import torch

from memgan import VMFMemory
from memgan.training import prepare
from walkthrough import nb05_mcgn as mcgn

prepare(seed=0)

# %% [markdown]
# ### 5.1 · Four slots
#
# $h v = (2, 0, 4, 2)$, and its sum is 8.

# %%
mcgn.check_probabilities([2 / 8, 0, 4 / 8, 2 / 8])

# %% [markdown]
# ### 5.2 · Write the draw
#
# The first slot whose running sum is *above* $u$ times the total. "Above", not "at least": an interval of length zero is then never hit.


# %%
def draw(histogram: torch.Tensor, values: torch.Tensor, u: float) -> int:
    cumulative = (histogram.double() * values).cumsum(dim=0)
    return int((cumulative > u * cumulative[-1]).nonzero()[0])


mcgn.check_sampler(draw)

# %% [markdown]
# ### 5.3 · A louder key
#
# The key's squared length becomes 64; that of the noise is $4 \cdot 1/3$ on average.

# %%
mcgn.check_key_share(64 / (64 + 4 / 3))

# %% [markdown]
# ### 5.4 · Write the bound
#
# A softmax over slots of $\kappa K \cdot \mu + \log p$; slots with $p = 0$ drop out, since $\log 0 = -\infty$.


# %%
def bound(memory: VMFMemory, slots: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    p = memory.histogram.double() * memory.values
    p = p / p.sum()
    log_r = (memory.kappa * queries.double() @ memory.keys.double().T + p.log()).log_softmax(dim=1)
    return torch.special.entr(p).sum() + log_r[torch.arange(len(slots)), slots].mean()


mcgn.check_bound(bound)

# %% [markdown]
# ### 5.5 · Write the slot's share
#
# The mean of a row is what the slot does whatever the noise.


# %%
def slot_share(values: torch.Tensor) -> float:
    return float(values.mean(dim=1).var(correction=0) / values.var(correction=0))


mcgn.check_slot_share(slot_share)

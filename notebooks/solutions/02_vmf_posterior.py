# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2 · The posterior over slots: solutions
#
# To the exercises of [notebook 2](../02_vmf_posterior.ipynb).

# %%
import math

import torch

from memgan import VMFMemory
from memgan.training import prepare
from walkthrough import nb02_posterior as posterior

prepare(seed=0)

# %% [markdown]
# ### 2.1 · A fresh slot against a busy one
#
# From which $\kappa$ on does a fresh slot that matches the query beat a busy one at a right angle to it?
#
# Set the joints equal: $e^{\kappa\cdot 1}\cdot 10^{-5} = e^{\kappa\cdot 0}\cdot 2$, so $\kappa = \log(2/10^{-5})$.

# %%
posterior.check_contest(math.log(2 / 1e-5))

# %% [markdown]
# At the paper's $\kappa = 1$ similarity makes up for a factor of at most $e$ here. A slot that has just been born would lose to every slot that has ever been used.
#
# ### 2.2 · The normaliser of an ordinary sphere
#
# $C_3(\kappa)$ without a Bessel function.
#
# For $M = 3$ the "sphere with one dimension less" is a circle of length $2\pi$, and the integrand is $e^{\kappa t}$ alone:
#
# $$\frac1{C_3(\kappa)} = 2\pi\int_{-1}^1 e^{\kappa t}\,dt = 2\pi\,\frac{e^\kappa - e^{-\kappa}}{\kappa} = \frac{4\pi\sinh\kappa}{\kappa}$$


# %%
def closed_form(kappa):
    return kappa / (4 * math.pi * math.sinh(kappa))


posterior.check_closed_form(closed_form)

# %% [markdown]
# ### 2.3 · The posterior of a batch
#
# The posterior of a batch. The scores are logarithms, so prior and likelihood are added, and softmax divides by the sum over the slots (`dim=1`).


# %%
def my_posterior(keys, histogram, queries, kappa, beta):
    scores = kappa * queries @ keys.T + (histogram + beta).log()
    return scores.softmax(dim=1)


posterior.check_posterior(my_posterior)

# %% [markdown]
# Leave out $\beta$ and the slot with $h = 0$ gets a score of $-\infty$: a probability of exactly 0, for any query. (`softmax` bears that, unless *all* slots are empty; then it returns NaN.)

# %%
one_empty, all_empty = torch.tensor([[0.3, -torch.inf], [-torch.inf, -torch.inf]])
print("without beta, one empty slot:", one_empty.softmax(dim=0).tolist())
print("without beta, all empty:     ", all_empty.softmax(dim=0).tolist())

# %% [markdown]
# ### 2.4 · A hundred times the counts
#
# Every $h_i$ multiplied by 100.

# %%
posterior.check_scaling("the same")

# %% [markdown]
# Only ratios of histograms matter. That is also why it does no harm that the authors' code reads with $\alpha h + \beta$ where the paper has $h + \beta$. Multiplying $\kappa$ by 100 is quite another thing: it stretches all differences of cosines, and the nearest slot takes all.

# %%
for kappa in [5.0, 500.0]:
    memory = posterior.four_slots(kappa)
    largest = memory.posterior(torch.tensor([[0.8, 0.6]], dtype=torch.float64)).max()
    print(f"kappa = {kappa:3.0f}: the largest posterior is {largest:.3f}")

# %% [markdown]
# ### 2.5 · Enough contrast for 4096 slots
#
# The least whole $\kappa$ for $N = 4096$, $M = 256$. A perfect match has half of the posterior when it outvotes the $N - 1$ others.

# %%
kappa = 1
while posterior.outvoted(kappa, key_dim=256) < 4096 - 1:
    kappa += 1
posterior.check_least_kappa(kappa)

# %% [markdown]
# Confirmed on a memory with such keys:

# %%
for kappa in [1.0, 8.0, 9.0]:
    memory = VMFMemory(num_slots=4096, key_dim=256, top_k=128, kappa=kappa)
    share = memory.posterior(memory.keys[:256]).diagonal().mean()
    print(f"kappa = {kappa:.0f}: on average a perfect match has {share:.1%}")

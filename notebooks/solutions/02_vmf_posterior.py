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
# The exercises stand at the end of [notebook 2](../02_vmf_posterior.ipynb#Exercises). There are other ways to solve them.

# %%
import math

import torch
import torch.nn.functional as F

from memgan import VMFMemory
from memgan.presets import PRESETS
from memgan.training import prepare
from walkthrough import nb02_posterior as nb02

prepare(seed=0)

# %% [markdown]
# ### 2.1 · A fresh slot against a busy one
#
# Set the joints equal: $e^{\kappa\cdot 1}\cdot 10^{-5} = e^{\kappa\cdot 0}\cdot 2$, so $\kappa = \log(2/10^{-5})$.

# %%
nb02.check_contest(math.log(2 / 1e-5))

# %% [markdown]
# At the paper's $\kappa = 1$ similarity makes up for a factor of at most $e$ here. A slot that still has its first count would lose to every slot in use.
#
# ### 2.2 · A hundred times the counts

# %%
nb02.check_scaling("the same")

# %% [markdown]
# Only ratios of counts matter. Multiplying $\kappa$ by 100 is quite another thing. It stretches all differences of cosines, and the nearest slot takes all:

# %%
for kappa in [5.0, 500.0]:
    memory = nb02.four_slots(kappa)
    largest = memory.posterior(torch.tensor([[0.8, 0.6]], dtype=torch.float64)).max()
    print(f"kappa = {kappa:3.0f}: the largest posterior is {largest:.3f}")

# %% [markdown]
# ### 2.3 · Your own memory: the posterior
#
# The scores are logarithms, so prior and likelihood are added, and the softmax divides by the sum over the slots (`dim=1`). Slots of the other label get a score of $-\infty$ before the softmax, so the division is by the sum over the label's own slots.


# %%
def posterior(keys, values, histogram, queries, kappa, label=None):
    scores = kappa * queries @ keys.T + (histogram + 1e-8).log()
    if label is not None:
        scores = scores.masked_fill(values != label, -torch.inf)
    return scores.softmax(dim=1)


nb02.check_posterior(posterior)

# %% [markdown]
# Leave out $\beta$, and a slot with $h = 0$ gets a score of $-\infty$ too: a probability of exactly 0 for any query. If all slots are empty, the softmax returns NaN.

# %%
one_empty, all_empty = torch.tensor([[0.3, -torch.inf], [-torch.inf, -torch.inf]])
print("without beta, one empty slot:", one_empty.softmax(dim=0).tolist())
print("without beta, all empty:     ", all_empty.softmax(dim=0).tolist())

# %% [markdown]
# ### 2.4 · The normaliser of an ordinary sphere
#
# For $M = 3$ the "sphere with one dimension less" is a circle of length $2\pi$, and the integrand is $e^{\kappa t}$ alone:
#
# $$\frac1{C_3(\kappa)} = 2\pi\int_{-1}^1 e^{\kappa t}\,dt = 2\pi\,\frac{e^\kappa - e^{-\kappa}}{\kappa} = \frac{4\pi\sinh\kappa}{\kappa}$$


# %%
def closed_form(kappa):
    return kappa / (4 * math.pi * math.sinh(kappa))


nb02.check_closed_form(closed_form)

# %% [markdown]
# ### 2.5 · Harder: "none of these"
#
# The component takes the share $w\,u$ of the density, where $u$ is the uniform density, and the slots take $(1-w)\,p(x)$. So
#
# $$D'(x) = \frac{(1-w)\,p(x)\,D(x) + w\,u/2}{(1-w)\,p(x) + w\,u}.$$
#
# The memory of Figure 2.5 gives known queries a density of at least $e^{47}$ and strangers at most $e^{43}$. The uniform density is $e^{40.8}$ in 64 dimensions, about that of a stranger. So with a small $w$ nothing changes. The two groups are separated where the log-odds of $w$ are a few nats above 0.

# %%
prepare(seed=0)
queries, labels = nb02.two_worlds(256)
memory = VMFMemory.from_settings(PRESETS["mnist-5k"].memory, num_slots=512)
for some_queries, some_labels in zip(queries.split(16), labels.split(16), strict=True):
    memory.write(some_queries, some_labels)
strangers = F.normalize(torch.randn(200, 64, generator=torch.Generator().manual_seed(2)), dim=1)
log_uniform = math.lgamma(32) - math.log(2) - 32 * math.log(math.pi)
print(f"log of the uniform density: {log_uniform:.1f}")

# %% tags=["nbval-close"] tolerance={"relative": 0.1}
for log_odds in [-4.0, 0.0, 3.0, 6.0, 10.0]:  # log of w / (1 - w)
    for name, group in {"known": queries, "strangers": strangers}.items():
        share = (log_odds + log_uniform - memory.log_likelihood(group)).sigmoid()  # of the new component
        d = (1 - share) * memory.read(group) + 0.5 * share
        sure = ((d - 0.5).abs() > 0.3).float().mean()
        print(f"log-odds of w {log_odds:4.0f}, {name:9}: sure of {sure:4.0%}")

# %% [markdown]
# One can choose $w$ by a quantile: the log-odds at which the component takes half of the least likely 1 % of the known queries. In a training these densities change all the time, so $w$ would have to follow them. And a generator whose images are all strangers would be told nothing.
#
# ### 2.6 · Harder: a width for each slot
#
# The normalisers come back, since $C_M(\kappa_i)$ differs from slot to slot, and $\kappa_i$ stands in each exponent. A slot's score would be $\log C_M(\kappa_i) + \kappa_i K_i \cdot q + \log(h_i + \beta)$, and the search would sort by that. It is still one matrix product, with keys that are multiplied by their $\kappa_i$ and a bias.
#
# A slot that has seen a single query has no width: the best fit is $\kappa_i \to \infty$, and its density at that query is infinite. It would claim this query with certainty and no other. A prior on $\kappa_i$ or a lower limit for the width would be needed, as for any mixture with free widths.

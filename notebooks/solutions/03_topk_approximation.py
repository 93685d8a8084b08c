# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions of 3 · Looking at k slots only
#
# The exercises stand at the end of [notebook 3](../03_topk_approximation.ipynb).

# %%
import torch

from memgan.training import prepare
from walkthrough import nb03_topk as topk

prepare(seed=0)

# %% [markdown]
# ## 3.1 · One slot
#
# A softmax over one score is 1, whatever the score. So $D = v$ of that slot, and its slope is 0.

# %%
topk.check_no_gradient(0)

# %% [markdown]
# ## 3.2 · Write the read


# %%
def read(keys, values, histogram, queries, kappa, k):
    scores = kappa * queries @ keys.T + (histogram + 1e-8).log()
    best, slots = scores.topk(k, dim=1)  # S
    probability = (best.softmax(dim=1) * values[slots]).sum(dim=1)
    return probability.clamp(1e-3, 1 - 1e-3)


topk.check_read(read)

# %% [markdown]
# ## 3.3 · Write the gradient


# %%
def gradient(weights, values, keys, kappa):
    probability = (weights * values).sum()
    return kappa * (weights * (values - probability)) @ keys


topk.check_gradient(gradient)

# %% [markdown]
# ## 3.4 · How small may k be?
#
# Take slots, most probable first, while more than the tolerance is still left out. The small number is for rounding.


# %%
def smallest_k(posterior, tolerance):
    taken = posterior.sort(dim=1, descending=True).values.cumsum(dim=1)
    return (1 - taken > tolerance + 1e-12).sum(dim=1) + 1


topk.check_smallest_k(smallest_k)

# %% [markdown]
# ## 3.5 · Without a clip
#
# $\log D = \log \sum_{v_i = 1} e^{s_i} - \log \sum_i e^{s_i}$, each a logsumexp. (If no slot of S is real, the first is $-\infty$: only then is a clip needed.)


# %%
def log_probability(scores, values):
    real = scores.masked_fill(values == 0, -torch.inf)
    return real.logsumexp(dim=1) - scores.logsumexp(dim=1)


topk.check_log_probability(log_probability)

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3 · Looking at k slots only: solutions
#
# The exercises stand at the end of [notebook 3](../03_topk_approximation.ipynb#Exercises). There are other ways to solve them.

# %%
import torch

from memgan.training import prepare
from walkthrough import nb02_posterior as nb02, nb03_topk as nb03
from walkthrough.circle import direction

prepare(seed=0)

# %% [markdown]
# ### 3.1 · One slot
#
# A softmax over one score is 1, whatever the score. So $D = v$ of that slot, and its slope is 0.

# %%
nb03.check_no_gradient(0)

# %% [markdown]
# ### 3.2 · Your own memory: the read
#
# A softmax over the $k$ best scores is the posterior divided by the mass of $S$.


# %%
def read(keys, values, histogram, queries, kappa, k):
    scores = kappa * queries @ keys.T + (histogram + 1e-8).log()
    best, slots = scores.topk(k, dim=1)  # S
    probability = (best.softmax(dim=1) * values[slots]).sum(dim=1)
    return probability.clamp(1e-3, 1 - 1e-3)


nb03.check_read(read)

# %% [markdown]
# ### 3.3 · How bad can it be?
#
# All slots of $S$ say "real" and all others "generated". Then $D_S = 1$, and the exact answer is $1 - m$.


# %%
def worst_values(posterior, k):
    values = torch.zeros_like(posterior)
    values[posterior.topk(k).indices] = 1
    return values


nb03.check_worst_values(worst_values)

# %% [markdown]
# ### 3.4 · How small may k be?
#
# Take slots, most probable first, while more than the tolerance is still left out. The small number is for rounding.


# %%
def smallest_k(posterior, tolerance):
    taken = posterior.sort(dim=1, descending=True).values.cumsum(dim=1)
    return (1 - taken > tolerance + 1e-12).sum(dim=1) + 1


nb03.check_smallest_k(smallest_k)

# %% [markdown]
# ### 3.5 · Harder: without a clip
#
# $\log D = \log \sum_{v_i = 1} e^{s_i} - \log \sum_i e^{s_i}$, each a logsumexp. (If no slot of $S$ is real, the first is $-\infty$: only then is a clip needed.)


# %%
def log_probability(scores, values):
    real = scores.masked_fill(values == 0, -torch.inf)
    return real.logsumexp(dim=1) - scores.logsumexp(dim=1)


nb03.check_log_probability(log_probability)

# %% [markdown]
# ### 3.6 · Harder: without jumps
#
# Ask $k + 1$ slots, and let each weigh what it has *more* than the last one: $w_i = e^{s_i} - e^{s_{k+1}}$. A slot that is about to leave $S$ then weighs 0, so nothing jumps when it does.


# %%
def smooth_read(memory, queries, k):
    scores = memory.kappa * queries @ memory.keys.T + (memory.histogram + memory.beta).log()
    best, slots = scores.topk(k + 1, dim=1)
    weights = best.exp() - best[:, -1:].exp()
    return (weights * memory.values[slots]).sum(dim=1) / weights.sum(dim=1)


memory = nb02.four_slots(kappa=1.0, top_k=2)
for spacing in [0.25, 0.025, 0.0025]:
    around = direction(torch.arange(0, 360, spacing, dtype=torch.float64))
    exact = memory.posterior(around) @ memory.values.double()
    for name, d in {"top k": memory.read(around), "without jumps": smooth_read(memory, around, 2)}.items():
        step, error = d.diff().abs().max(), (d - exact).abs().mean()
        print(f"every {spacing:6} degrees, {name:13}: largest step {step:.3f}, mean error {error:.3f}")

# %% [markdown]
# On a finer grid the largest step of the first stays what it was, because $D$ jumps, and that of the second shrinks in proportion, because $D$ is continuous.
#
# There are two prices. The mean error is more than twice as large, because every slot's weight is reduced by that of the last one, and the slots just above it lose most of theirs. And the bound is lost. The weights are no longer those of the posterior, so the error can exceed the missed mass even where all of $S$ would have been right. The slope can also be very steep where the two best scores are nearly equal.

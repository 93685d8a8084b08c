# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4 · Writing the memory: solutions
#
# The exercises stand at the end of [notebook 4](../04_memory_update.ipynb#Exercises). There are other ways to solve them.

# %%
import numpy as np
import torch
import torch.nn.functional as F

from memgan.training import prepare
from walkthrough import nb04_update as nb04
from walkthrough.circle import table

prepare(seed=0)

# %% [markdown]
# ### 4.1 · Which case?
#
# The most probable slot decides.
#
# - Real at 55: slot 1 (generated) is 5 degrees away with $h = 0.2$, and slot 0 (real) 35 degrees away with $h = 3$. The 30 degrees more cost slot 0 a factor of $e^{10(\cos 5 - \cos 35)} = 5.9$, but its count is 15 times as large. Slot 0 wins: EM.
# - Real at 15: slot 0, which is real, stands at 20: EM.
# - Real at 240: slot 4, which is generated, stands at 230: replace.
# - Generated at 150: slot 3, generated, is 40 degrees away with $h = 2$, and slot 2, real, 50 degrees with $h = 1$: EM.

# %%
print(table(nb04.four_writes()[0]))
nb04.check_cases(["EM", "EM", "replace", "EM"])

# %% [markdown]
# ### 4.2 · Your own memory: replace
#
# The mean is taken before the slot's own count is overwritten. Slots of the other label get an age of -1, which no slot has, so they are never the oldest.


# %%
def replace(memory, query, label):
    mean = memory.histogram.mean()
    ages = torch.where(memory.values == label, memory.ages, -1)
    oldest = ages.argmax()
    memory.keys[oldest] = query
    memory.values[oldest] = label
    memory.ages[oldest] = 0
    memory.histogram[oldest] = mean


nb04.check_replace(replace)

# %% [markdown]
# ### 4.3 · Your own memory: the EM step
#
# First the label, then the top $k$, then the softmax. Multiplying every count by $\alpha$ does not change the shares, so they can be computed before the decay. `gamma` [B, N] is zero outside of each query's $S_y$.


# %%
def em_step(memory, queries, label):
    scores = memory.kappa * queries @ memory.keys.T + (memory.histogram + 1e-8).log()
    scores = scores.masked_fill(memory.values != label, -torch.inf)
    best, slots = scores.topk(memory.top_k, dim=1)
    gamma = torch.zeros_like(scores).scatter(1, slots, best.softmax(dim=1))  # (8)

    touched = (gamma > 0).any(dim=0)
    gamma = gamma[:, touched]
    past = memory.alpha * memory.histogram[touched]
    resultant = past.unsqueeze(1) * memory.keys[touched] + gamma.T @ queries
    memory.histogram[touched] = past + gamma.sum(dim=0)  # (9)
    memory.keys[touched] = F.normalize(resultant, dim=1)  # (10)


nb04.check_em_step(em_step)

# %% [markdown]
# ### 4.4 · Choose alpha
#
# A grid is enough.

# %%
candidates = [number / 100 for number in range(1, 100)]
best = min(candidates, key=lambda alpha: nb04.tracking_error(alpha, speed=1.0))
print("alpha:", best)
nb04.check_alpha(best)

# %% [markdown]
# ### 4.5 · Harder: unit keys with remembered shares
#
# It does not end in a fixed point of EM. Once the shares no longer change, every $\Delta$ is 0 and nothing moves, *wherever the keys are*. Exact incremental EM stops only where the keys agree with the shares, because its means keep their length.

# %%
queries = nb04.three_clusters()
for name, keep in [("means keep their length", True), ("cut to unit length", False)]:
    em = nb04.IncrementalEM(nb04.untrained_mixture(queries), queries, keep_length=keep)
    for _ in range(20):
        em.sweep()
    off = nb04.distance_from_fixed_point(em.memory, queries)
    print(f"{name:23}: a step of EM would still turn a key by {off:.2f} degrees")

# %% [markdown]
# On other data the likelihood even falls from one sweep to the next, which EM never lets happen:

# %%
other = nb04.three_clusters(seed=5)
for name, keep in [("means keep their length", True), ("cut to unit length", False)]:
    em = nb04.IncrementalEM(nb04.untrained_mixture(other), other, keep_length=keep)
    changes = np.diff(nb04.climb(em.memory, other, em.sweep, 20))
    print(f"{name:23}: the likelihood falls in {int((changes < -1e-4).sum())} of 20 sweeps")

# %% [markdown]
# So the paper's two changes belong together. With forgotten shares each visit pushes again, by $\gamma_i/h_i\,(q - K_i)$. If the counts are large beside single shares, a key stays in its place only if these pushes cancel on average. They do so where $\sum_b \gamma_{bi}\,q_b$ has no part across $K_i$, that is, where the key points along its resultant, as EM requires.
#
# ### 4.6 · Harder: alpha for another batch size
#
# A memory of $1/(1-0.95) = 20$ writes of 64 queries holds 1280 queries. With batches of 16 that is 80 writes, so $\alpha = 1 - 1/80 = 0.9875$.
#
# There is a reason to choose a shorter memory. What makes old queries stale is the training of the inference network, which takes one optimiser step with each write. If a step with a batch of 16 moves the network as far as one with 64 does, the queries go stale after the same number of *writes*, and $\alpha$ should stay 0.95. But with a quarter of the queries in each write the keys jitter more, and a longer memory averages this out. Lag asks for 0.95 and jitter for 0.9875, so the best value probably lies between the two. We have not measured it.

# %%
print(f"same number of queries: alpha {1 - 16 / (64 * 20):.4f}")
print("same number of writes:  alpha 0.95")

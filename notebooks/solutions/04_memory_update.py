# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions to notebook 4
#
# One way each. The exercises are at the end of [4 · Writing](../04_memory_update.ipynb#Exercises).

# %%
import torch
import torch.nn.functional as F

from memgan.training import prepare
from walkthrough import nb04_departures as departures, nb04_update as update
from walkthrough.circle import table

prepare(seed=0)

# %% [markdown]
# **Exercise 1. Predict.** The most probable slot decides.
#
# - Real at 55: slot 1 (generated) is 5 degrees away with $h = 0.2$, slot 0 (real) 35 degrees away with $h = 3$. The 30 degrees more cost a factor of $e^{10(\cos 5 - \cos 35)} = 5.9$, the count gives 15 back: slot 0 wins, EM.
# - Real at 15: slot 0, real, at 20: EM.
# - Real at 240: slot 4, generated, at 230: replace.
# - Generated at 150: slot 3, generated, is 40 degrees away with $h = 2$; slot 2, real, 50 degrees with $h = 1$: EM.

# %%
print(table(update.four_writes()[0]))
update.check_cases(["EM", "EM", "replace", "EM"])

# %% [markdown]
# **Exercise 2. The E-step.** First the label, then the top k, then the softmax. The logarithm of $h$ is added to $\kappa K\cdot q$; $\alpha$ multiplies every count alike, so it cancels (but for $\beta$, which we leave out).


# %%
def responsibilities(keys, values, histogram, query, label, top_k, kappa, alpha):
    scores = kappa * keys @ query + (alpha * histogram).log()
    scores = torch.where(values == label, scores, -torch.inf)
    best = scores.topk(top_k).indices
    gamma = torch.zeros_like(scores)
    gamma[best] = scores[best].softmax(dim=0)
    return gamma


update.check_responsibilities(responsibilities)

# %% [markdown]
# **Exercise 3. The M-step of a batch.** Sums over the batch; the past decays once.


# %%
def batch_m_step(key, count, queries, gamma, alpha):
    resultant = alpha * count * key + gamma @ queries
    return F.normalize(resultant, dim=0), alpha * count + float(gamma.sum())


update.check_batch_m_step(batch_m_step)

# %% [markdown]
# **Exercise 4. Counts.** $h = 0.9\,h + 4$ gives $h = 40$. And $0.9^{43} = 0.0108$, $0.9^{44} = 0.0097$.

# %%
settles_at, writes = 4 / (1 - 0.9), 44
update.check_counts((settles_at, writes))

# %% [markdown]
# **Exercise 5. Choose alpha.** Try a grid.

# %%
candidates = [number / 100 for number in range(1, 100)]
best = min(candidates, key=lambda alpha: update.tracking_error(alpha, speed=1.0))
print("alpha:", best)
update.check_alpha(best)

# %% [markdown]
# **Exercise 6. Averaging.** With $\gamma = 1$ the count settles at $1/(1-\alpha)$, and the key's past weighs $\alpha/(1-\alpha)$ against 1 for the query. They are equal at $\alpha = 1/2$: the paper's setting.

# %%
departures.check_averaging(0.5)

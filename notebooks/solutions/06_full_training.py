# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions of 6 · Full training
#
# The exercises stand at the end of [notebook 6](../06_full_training.ipynb).

# %%
import torch

from memgan.presets import PRESETS
from walkthrough import nb06_full_training as full_training

# %% [markdown]
# ## 6.1 · Count
#
# D's half makes 64 images and reads and writes 128 queries; G's half makes 64 more and reads them.

# %%
counts = {"images generated": 64 + 64, "queries written": 64 + 64, "queries read": 128 + 64}
full_training.check_counts(counts)

# %% [markdown]
# ## 6.2 · Write the loss
#
# Two expectations, each a mean over its batch.


# %%
def loss_of_d(real, generated):
    return -real.log().mean() - (1 - generated).log().mean()


full_training.check_discriminator_loss(loss_of_d)

# %% [markdown]
# ## 6.3 · Write the number of slots in use
#
# Slots with $v = 0$ have no mass; $0 \log 0$ is 0, which `entr` knows.


# %%
def slots_in_use(histogram, values):
    mass = histogram * values
    return torch.special.entr(mass / mass.sum()).sum().exp()


full_training.check_slots_in_use(slots_in_use)

# %% [markdown]
# ## 6.4 · Two slopes
#
# $\frac{d}{dD} \log(1-D) = -1/(1-D)$ and $\frac{d}{dD}(-\log D) = -1/D$.

# %%
slopes = {"saturating": 1 / 0.99, "non_saturating": 1 / 0.01}
full_training.check_slopes(slopes)

# %% [markdown]
# ## 6.5 · Without the term
#
# Without the term slots lose their meaning: along a row of Figure 6.6 the class changes with the noise, and slot purity falls to about 0.5 ([results](../../docs/results.md), *no mutual information*). Figure 6.5 gets worse too, and on one seed of six G drew a single image.

# %%
print(PRESETS["digits"].changed(["training.mi_weight=0"]).training)

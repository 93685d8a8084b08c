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
# The exercises stand at the end of [notebook 5](../05_mcgn.ipynb#Exercises). There are other ways to solve them.

# %%
import torch
import torch.nn.functional as F

from memgan import load_pretrained
from memgan.gan import posterior_information_loss
from memgan.training import prepare
from walkthrough import nb05_mcgn as nb05

prepare(seed=0)

# %% [markdown]
# ### 5.1 · Four slots
#
# $h v = (2, 0, 4, 2)$, and its sum is 8.

# %%
nb05.check_probabilities([2 / 8, 0, 4 / 8, 2 / 8])

# %% [markdown]
# ### 5.2 · A larger key
#
# The key's squared length becomes 64, and that of the noise is $16 \cdot 1/3$ on average. The images of a slot would be more alike, because the first layer would hear little else than the key.

# %%
nb05.check_key_share(64 / (64 + 16 / 3))

# %% [markdown]
# ### 5.3 · Your own memory: sample
#
# PyTorch draws from weights that need not sum to 1. It never returns a place with weight 0.


# %%
def sample(values, histogram, number):
    return torch.multinomial(histogram * values, number, replacement=True)


nb05.check_sample(sample)

# %% [markdown]
# ### 5.4 · Your own memory: the two information losses
#
# The first is the mean of row-wise dot products. The second is a cross-entropy over slots. A slot with $v = 0$ gets the score $-\infty$, and so the probability 0.


# %%
def density_loss(keys, queries, kappa):
    return -kappa * (keys * queries).sum(dim=1).mean()


def posterior_loss(keys, values, histogram, slots, queries, kappa):
    scores = kappa * queries @ keys.T + (histogram + 1e-8).log()
    scores = scores.masked_fill(values == 0, -torch.inf)
    return F.cross_entropy(scores, slots)


nb05.check_density_loss(density_loss)
nb05.check_posterior_loss(posterior_loss)

# %% [markdown]
# ### 5.5 · Harder: the gradient on paper
#
# Write $s_j = \kappa K_j \cdot \mu + \log(h_j + \beta)$. Then $I_\text{post} = -s_c + \log \sum_j e^{s_j}$. The gradient of the first term is $-\kappa K_c$. The gradient of the second is $\sum_j \kappa K_j\, e^{s_j} / \sum_l e^{s_l} = \kappa \sum_j p_j K_j$.

# %%
gan, _ = load_pretrained("mnist-5k")
memory = gan.memory
_, slots = memory.sample(3, torch.Generator().manual_seed(0))
queries = F.normalize(memory.keys[slots] + 0.1 * torch.randn(3, 64, generator=torch.Generator().manual_seed(1)), dim=1)
queries.requires_grad_()
(gradient,) = torch.autograd.grad(3 * posterior_information_loss(memory, slots, queries), queries)
queries = queries.detach()

scores = memory.kappa * queries @ memory.keys.T + (memory.histogram + memory.beta).log()
p = scores.masked_fill(memory.values == 0, -torch.inf).softmax(dim=1)
on_paper = -memory.kappa * (memory.keys[slots] - p @ memory.keys)
along = on_paper - (on_paper * queries).sum(dim=1, keepdim=True) * queries  # the loss normalises its queries
print("largest difference:", f"{float((gradient - along).abs().max()):.5f}")
print("lengths:", [round(length, 2) for length in along.norm(dim=1).tolist()])

# %% [markdown]
# With two slots and the query half-way, $p = 1/2$ each, and the bracket is $(K_c - K_j)/2$. Its length is half the distance of the two keys, so the pull is $\kappa \lVert K_c - K_j \rVert / 2$, and it points straight across from the rival to the own key.
#
# ### 5.6 · Harder: generated slots as rivals
#
# The probability would then be $p(c \mid x) = p(c \mid x, v=1) \cdot p(v=1 \mid x)$, so that
#
# $$-\log p(c \mid x) = -\log p(c \mid x, v=1) - \log p(y=1 \mid x).$$
#
# The new part is $-\log D(x)$, up to the top $k$ and the clip: the non-saturating loss of the generator, weighted by $\lambda$. For the generator it would only raise the weight of a loss that it has already, from 1 to $1 + \lambda$. So nothing new would make it stronger, and beside that loss the slot would count for less. For the discriminator it would be wrong, because the term stands in $L_D$ as well, and would reward $\mu$ for taking generated images for real ones.

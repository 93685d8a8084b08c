# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # b1 · Bonus: four differences from life-long memory
#
# **The question:** MemoryGAN's memory has a parent, the life-long memory of Kaiser, Nachum, Roy and Bengio (*Learning to Remember Rare Events*, ICLR 2017). It also has keys, values and ages. What did MemoryGAN change, and why?
#
# The parent answers with the value of the nearest key: real or generated, and never in between. MemoryGAN answers with a probability, and in the figure below this probability follows the truth.
#
# You need [notebook 4](04_memory_update.ipynb). Reading takes about 8 minutes, running about 10 seconds.

# %%
import copy

import torch

from memgan.training import prepare
from walkthrough import b1_life_long as life_long, circle, show, source
from walkthrough.circle import angles, direction, ring

prepare(seed=0)
REAL = torch.tensor([1])

# %% [markdown]
# Both memories start from the same 16 random keys and see the same stream of queries: real ones from a frequent mode (at 180 degrees, 45 % of all) and a rare mode (60 degrees, 5 %), and generated ones from 0 degrees (50 %). The rare mode and the generated one overlap. Because we drew the queries ourselves, Bayes' rule gives the true probability of real. MemoryGAN's memory is given the best case: the true $\kappa$ of the modes, and all 16 slots may be read and may vouch.

# %%
stream, raised = life_long.Stream(), life_long.raise_both()
flat = copy.deepcopy(raised.memory)
flat.histogram.fill_(1.0)
answers = {
    "truth (Bayes' rule)": stream.probability_real,
    "MemoryGAN's memory": raised.memory.read,
    "the same, histogram flat": flat.read,
    "life-long memory": raised.lifelong.read,
}
degrees = torch.linspace(-60, 240, 301, dtype=torch.float64)
read = {name: answer(direction(degrees)) for name, answer in answers.items()}

# %%
show(
    life_long.reading_figure(read, degrees),
    "Figure B1.1. What each memory says about a query at each angle. The life-long memory jumps from 0 to 1. The posterior "
    "of MemoryGAN's memory follows the truth. Without its histogram, rare and forgotten slots vote like all others, and "
    "the boundary moves.",
    "P(real) from -60 to 240 degrees. Truth and MemoryGAN's memory: one smooth rise at about 40 degrees. Flat histogram: a "
    "rise at 30 degrees and a tail of up to 0.3 below 0. Life-long memory: a step at 37 degrees.",
)

# %% [markdown]
# The **log-loss** is the mean of $-\log$ of the probability that was given to the true label. It is smallest for the truth, and large where a memory is sure and wrong. (Probabilities are clipped as $D$ is.)

# %% tags=["nbval-close"]
queries, labels = stream.batch(torch.Generator().manual_seed(9), times=100)
for name, answer in answers.items():
    print(f"{name:24}: log-loss {life_long.log_loss(answer(queries), labels):.3f} nats")

# %% [markdown]
# This is all of the parent's write:

# %%
source(life_long.LifelongMemory.write)

# %% [markdown]
# ## 1. A probability instead of a decision
#
# For classification the parent's answer is good enough, because its step is nearly in the right place. A discriminator must also say *how sure* it is, since the slope of its answer is what the generator learns from. A step has no slope.
#
# Kaiser et al. also return a softmax of 40 times the cosines as a measure of confidence. In our terms this is a posterior with $\kappa = 40$ and without a prior:

# %% tags=["nbval-close"]
loss = life_long.log_loss(raised.lifelong.confidence(queries), labels)
print(f"life-long memory with softmax: log-loss {loss:.3f} nats")

# %% [markdown]
# This is far better than the step and nearly as good as MemoryGAN's memory. So on this stream most of the gain is due to the softmax, and the counts add the rest.
#
# ## 2. EM instead of averaging
#
# The parent moves the nearest key to $(K + q)/\lVert K + q\rVert$. Compare this with (10) for a slot that takes the whole query, $\gamma = 1$, at the paper's $\alpha = 0.5$. The count settles at $h = 2$. It decays to 1 and gains 1, so the new key points along $1\cdot K + 1 \cdot q$. **That is the parent's rule.** Averaging is EM for a lone slot that remembers two queries:

# %%
memory = ring([10, 190], [1, 0], [2, 1e-5], top_k=1, kappa=20.0, alpha=0.5)
parent = life_long.LifelongMemory(memory.keys, memory.values)
for query in circle.cluster(30, 20, 50, torch.Generator().manual_seed(0)).split(1):
    memory.write(query, REAL)
    parent.write(query, REAL)
print(f"after 50 queries: EM {angles(memory.keys)[0]:.4f} degrees, averaging {angles(parent.keys)[0]:.4f} degrees")

# %% [markdown]
# EM differs where slots share a query (averaging moves only the nearest one), where a slot is new (its first queries count more), and where $\alpha$ is not 0.5. The last is easy to see in how much a key jitters in a cluster that stands still:

# %% tags=["nbval-close"]
still = circle.cluster(0, 20, 150, torch.Generator().manual_seed(1))
lone = {"top_k": 1, "kappa": 20.0}
memories = {
    "averaging": life_long.LifelongMemory(direction([0, 180]), torch.tensor([1, 0])),
    "EM, alpha 0.5": ring([0, 180], [1, 0], [1, 1], alpha=0.5, **lone),
    "EM, alpha 0.9": ring([0, 180], [1, 0], [1, 1], alpha=0.9, **lone),
}
for name, memory in memories.items():
    print(f"{name:13}: the key jitters by {life_long.jitter(memory, still):.1f} degrees (standard deviation)")

# %% [markdown]
# ## 3. A GAN loss instead of a margin
#
# The parent trains its network with a margin: the nearest key of the wrong value must be further away than the nearest key of the right one, by 0.1 of cosine. MemoryGAN uses $-\log D$. Here are both losses for a real query between a real key (0 degrees) and a generated one (90 degrees):

# %%
theta = torch.linspace(0, 90, 181, dtype=torch.float64)
losses = life_long.pulls(theta)

# %%
show(
    life_long.pulls_figure(theta, losses),
    "Figure B1.2. The margin pulls with nearly the same force wherever it is violated, and not at all elsewhere. The pull "
    "of -log D grows until the memory is sure of the wrong answer, at about 50 degrees, and then stays level. Where D is "
    "clipped, on both sides, it is zero: also where the query is furthest on the wrong side.",
    "Left: two losses against the angle of a real query. The margin loss is 0 to 41 degrees, then rises to 1.1. -log D "
    "rises from 30 degrees to 6.9 at 69 and is flat from there. Right: their slopes on a logarithmic axis.",
)

# %% tags=["nbval-close"]
for name, (_, slope) in losses.items():
    felt, size = theta[slope != 0], slope[slope != 0].abs()
    print(f"{name}: a gradient from {felt.min():.0f} to {felt.max():.0f} degrees, {size.min():.2g} to {size.max():.2g}")

# %% [markdown]
# The margin looks at two keys and is no probability. $D$ is a probability made of all $k$ slots, so both players can use it: the discriminator raises it for real images, and the generator for its own.
#
# ## 4. The histogram
#
# Figure B1.1 shows what reading loses without the histogram. The other half is sampling (11): each mode should be drawn as often as it occurs in the data. One in ten *real* queries came from the rare mode:

# %% tags=["nbval-close"]
off = ((angles(raised.memory.keys) - 60 + 180) % 360 - 180).abs()
rare = ((off < 40) & (raised.memory.values == 1)).double()
for name, memory in [("with the histogram", raised.memory), ("every real slot alike", flat)]:
    real = memory.histogram * memory.values
    print(f"{name:21}: the rare mode is asked for in {rare @ real / real.sum():.1%} of draws")

# %% [markdown]
# How much a difference matters in the training of a GAN was tested for EM only: without it, the images are worse ([notebook 7](07_does_it_work.ipynb#claim-3-each-part-is-needed)).
#
# ## In five lines
#
# - The parent answers with the value of the nearest key, MemoryGAN with a posterior, which has a slope to learn from.
# - The parent averages the nearest key with the query. This is EM for a lone slot with $\alpha = 0.5$.
# - EM shares a query among slots, and lets the length of the memory be chosen.
# - A margin looks at two keys. $-\log D$ looks at all $k$, and serves both players.
# - The histogram gives rare modes the weight that they have in the data, in reading and in sampling.

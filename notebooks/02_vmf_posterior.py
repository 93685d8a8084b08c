# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2 · The posterior over slots
#
# **The question:** the memory holds many directions, one for each slot. An image comes in and is turned into a direction too. How probable is it that the image belongs to slot number 7? And what does that say about whether it is real?
#
# The answer is Bayes' rule. Each slot stands for a bell curve on a sphere, and has a weight. In the direction of the image, add the heights of the bells of the real slots and divide by the heights of all bells. That is the probability that the image is real. Here it is for four slots on a circle:

# %%
import math

import numpy as np
import torch
import torch.nn.functional as F
from IPython.display import display

from memgan import VMFMemory, vmf
from memgan.presets import PRESETS
from memgan.reference import ReferenceMemory
from memgan.training import prepare
from walkthrough import nb02_posterior as nb02, show, source
from walkthrough.circle import direction, reference_of
from walkthrough.lesson import png
from walkthrough.widgets import Frames, PosteriorExplorer

prepare(seed=0)
memory = nb02.four_slots(kappa=5.0)
show(
    nb02.bayes_on_the_circle(memory),
    "Figure 2.1. The result. Above: for each slot, its prior times its likelihood. Below: the same divided by their sum. "
    "Blue areas are real slots and hatched orange ones generated slots, so the black line between them is the probability "
    "of real. A slot owns the directions around its key. Between two neighbours the border lies nearer to the key with the smaller count h.",
    "Above, four bells over the direction of the query in degrees: those of slots 0 and 3, at 10 and 270 degrees, are high, "
    "those of slots 1 and 2, at 70 and 150, low. Below, four stacked areas that sum to 1, blue around 10 and 150 degrees, "
    "orange around 80 and 260; a black line follows the upper edge of the blue ones.",
)

# %% [markdown]
# The lower picture is the whole discriminator of MemoryGAN: it has no output layer and no sigmoid. This notebook builds it, step by step: the bell, the weight, Bayes' rule, and the sum over the real slots.
#
# You need PyTorch and the idea of Bayes' rule. [Notebook 0](00_start_here.ipynb) has the notation, and equation numbers such as (4) are those of the [notation page](../docs/notation.md). Reading takes about 25 minutes, running about 15 seconds.
#
# ## Directions on a sphere
#
# The inference network $\mu$ turns an image $x$ into $M$ numbers and divides them by their length. What is left is a *direction*: the **query** $q = \mu(x)$, a point on the unit sphere in $M$ dimensions. The memory has $N$ slots. Slot $i$ has a **key** $K_i$, also a direction, and a **value** $v_i$, which is 1 if the slot stands for real images and 0 if it stands for generated ones.
#
# The dot product of two directions is the cosine of the angle between them: 1 for the same direction, 0 for a right angle, -1 for opposite ones. It is the only notion of nearness that we need, because the distance says the same: $\lVert q - K_i \rVert^2 = 2 - 2\,K_i \cdot q$.

# %%
show(
    nb02.directions_picture(40.0),
    "Figure 2.2. The four keys, and one query. The query lies exactly between a real slot and a generated one. Both cosines "
    "are 0.87, so the cosine cannot decide between them. The counts of the slots will break the tie.",
    "The unit circle. Arrows: slot 0, real, at 10 degrees; slot 1, generated, at 70; slot 2, real, at 150; slot 3, "
    "generated, at 270; the query at 40 degrees, with cosine 0.87 to slots 0 and 1, -0.34 to slot 2 and -0.64 to slot 3.",
)

# %% [markdown]
# ## A bell curve on the sphere
#
# Each slot says: "my images have directions around $K_i$". In the plane one would write that as a Gaussian. On the sphere the natural choice is the **von Mises-Fisher distribution** (vMF):
#
# $$p(x \mid c=i) = C_M(\kappa)\, e^{\kappa K_i \cdot q} \tag{2}$$
#
# Here $c$ is the slot that the image comes from, and $C_M(\kappa)$ is the constant that makes the density integrate to 1. The vMF *is* a Gaussian, seen only on the sphere: put the distance from above into $e^{-\lVert q - K_i\rVert^2 / 2\sigma^2}$, and you get a constant times $e^{K_i \cdot q/\sigma^2}$. So the **concentration** $\kappa$ plays the part of $1/\sigma^2$. The larger it is, the narrower the bell. This is also why queries have length 1: a query twice as long would count like twice the $\kappa$, and the network could make any answer surer by longer queries alone. (The paper writes $p(x \mid c=i)$, but it is a density of the direction $q = \mu(x)$ and not of the pixels.)
#
# Move $\kappa$. **Predict** first: how wide is the bell at 15, the value of the preset `mnist-5k`?

# %%
kappas = [0.3, 1, 2, 5, 15, 60]
for kappa in kappas[1:]:
    print(f"kappa = {kappa:2}: half as high at {nb02.half_width(kappa):.1f} degrees")
pictures = [png(nb02.contrast(kappa)) for kappa in kappas]
labels = [f"κ = {kappa:g}, half as high at {nb02.half_width(kappa):.0f}°" for kappa in kappas]
Frames(pictures, labels, "concentration", index=kappas.index(5), width=672)

# %% [markdown]
# *The density for κ = 5. Left: its height against the angle to the mean. Middle: the same as a wall around a circle. Right: as bands on a sphere, with the mean at the cross. Only the angle to the mean matters, and not where the mean points.*
#
# Near $\kappa = 0$ every direction is as likely as every other. At an angle $\theta$ the height is $e^{\kappa(\cos\theta - 1)}$ of the peak, so it is halved where $\cos\theta = 1 - \log 2/\kappa$. This gives the angles above.
#
# Half as high at 17.5 degrees does not mean that a sample of the vMF lies about so far from its mean. In many dimensions there is far more room at large angles. **Predict:** at $\kappa = 15$, how far from the mean is a typical sample in $M = 3$ dimensions, and how far in the 64 of the preset? The mean cosine of a sample is $I_{M/2}(\kappa) / I_{M/2-1}(\kappa)$, where $I$ is a Bessel function (see below).

# %%
for key_dim in [3, 16, 64]:
    mean = F.normalize(torch.ones(key_dim, dtype=torch.float64), dim=0)
    cosine = float((vmf.sample(mean, 15.0, 4000, torch.Generator().manual_seed(0)) @ mean).mean())
    exact = float((vmf.log_bessel_i(key_dim / 2, 15.0) - vmf.log_bessel_i(key_dim / 2 - 1, 15.0)).exp())
    print(
        f"M = {key_dim:2}: mean cosine {cosine:.3f} (exact {exact:.3f}), which is {math.degrees(math.acos(exact)):.0f} degrees"
    )

# %% [markdown]
# In 64 dimensions a sample is almost at a right angle to its mean. The queries of a memory are no such samples: they are made by the network $\mu$, which training is free to send nearer to the keys, and it does. What the method uses of the vMF is how it *compares* slots, and for that only the height of the bell matters.
#
# ### The normaliser
#
# To find $C_M(\kappa)$, cut the sphere into rings of equal cosine $t = K_i \cdot q$. The density is the same everywhere on a ring. The ring at $t = \cos\theta$ is a sphere with one dimension less, shrunk to radius $\sqrt{1-t^2}$, so its area has a factor $(1-t^2)^{(M-2)/2}$. A step $dt$ of the cosine is $d\theta = dt/\sqrt{1-t^2}$ wide on the sphere. Together the exponent is $(M-3)/2$:
#
# $$\frac{1}{C_M(\kappa)} = \underbrace{\frac{2\pi^{(M-1)/2}}{\Gamma(\frac{M-1}{2})}}_{\text{area of the unit sphere in } M-1 \text{ dimensions}} \int_{-1}^{1} e^{\kappa t}\,(1-t^2)^{(M-3)/2}\,dt = \frac{(2\pi)^{M/2}\, I_{M/2-1}(\kappa)}{\kappa^{M/2-1}}$$
#
# The second step is the definition of $I$, the modified Bessel function of the first kind, by its integral. In the package:

# %%
source(vmf.log_normaliser)

# %% [markdown]
# Does the density integrate to 1? We integrate it over the rings, and compare the density at random points with SciPy's. $M = 64$ and $\kappa = 15$ are the settings of `mnist-5k`.

# %%
from scipy.integrate import quad
from scipy.special import gammaln
from scipy.stats import vonmises_fisher


def on_ring(t, kappa, key_dim):
    return math.exp(kappa * (t - 1)) * (1 - t * t) ** ((key_dim - 3) / 2)


for key_dim, kappa in [(3, 5.0), (64, 15.0), (256, 1.0)]:
    rings, _ = quad(on_ring, -1, 1, args=(kappa, key_dim))
    area = math.log(2) + (key_dim - 1) / 2 * math.log(math.pi) - gammaln((key_dim - 1) / 2)
    whole = vmf.log_normaliser(kappa, key_dim) + kappa + area + math.log(rings)
    mean, point = F.normalize(torch.randn(2, key_dim, dtype=torch.float64), dim=1)
    ours, scipys = vmf.log_density(point, mean, kappa), vonmises_fisher(mean, kappa).logpdf(point)
    print(f"M = {key_dim:3}: integral {whole.exp():.6f}; log density {ours:.5f}, SciPy's {scipys:.5f}")

# %% [markdown]
# ## The prior: how probable a slot is before we see the query
#
# Figure 2.2 left a tie. But slots are not equally busy. Each keeps a **histogram** entry $h_i$, which counts how many images stand behind it. (The count fades with time. [Notebook 4](04_memory_update.ipynb) says how it is kept.) Before we look at the query, the probability of slot $i$ is its share of the counts:
#
# $$p(c=i) = \frac{h_i + \beta}{\sum_j (h_j + \beta)} \tag{1}$$

# %%
h, beta = memory.histogram, memory.beta
prior = (h + beta) / (h + beta).sum()
print("values   ", memory.values.tolist())
print("histogram", h.tolist())
print("prior    ", [round(p, 3) for p in prior.tolist()])

# %% [markdown]
# What is $\beta = 10^{-8}$ for? A slot with $h_i = 0$ would have a prior of exactly 0, and no query could ever reach it. With $\beta$ its prior is small, and a likelihood that speaks for it can make up for that. The likelihoods of two slots differ by a factor of at most $e^{2\kappa}$, because the cosine lies between -1 and 1. In logarithms (the unit is the *nat*):

# %%
busy, fresh = 1.0, 0.0
for kappa in [1, 5, 15]:
    gap = math.log((busy + beta) / (fresh + beta))
    print(f"kappa = {kappa:2}: the prior is {gap:.1f} nats behind, the likelihood can make up for {2 * kappa}")

# %% [markdown]
# Let a query equal the key of a fresh slot, at $\kappa = 15$. If the busy slot lies in the opposite direction, the likelihoods differ by 30 nats and the fresh slot wins. If the busy slot lies at a right angle, they differ by only 15 nats and the busy slot wins. At $\kappa = 1$ the fresh slot never wins, whatever the query is. (In the package a memory begins with $h_i = 10^{-5}$ in every slot, so that a fresh slot is less far behind.)
#
# ## Bayes' rule
#
# By the **law of total probability**, the mixture of all slots gives a query the density
#
# $$p(x) = \sum_i p(c=i)\,p(x \mid c=i) \tag{3}$$
#
# Bayes' rule turns prior and likelihood into the **posterior**, the probability of each slot once the query has been seen. Every slot has the same $\kappa$, so the same $C_M(\kappa)$ stands in each term above and below the fraction bar, and cancels. The sum in the denominator of the prior (1) cancels, too.
#
# $$p(c=i \mid x) = \frac{p(c=i)\,p(x \mid c=i)}{p(x)} = \frac{e^{\kappa K_i \cdot q}(h_i+\beta)}{\sum_j e^{\kappa K_j \cdot q}(h_j+\beta)} \tag{4}$$
#
# ### By hand
#
# The query at 40 degrees lies between slots 0 and 1. **Predict:** slot 0 has $h = 3$ and slot 1 has $h = 1$. What share does each get?

# %%
query = direction(40.0)
cosine = [float(key @ query) for key in memory.keys]
joint = [math.exp(5 * c) * float(count) for c, count in zip(cosine, h, strict=True)]
by_hand = [j / sum(joint) for j in joint]

print("slot  cosine  exp(5 cosine)    h    joint  posterior")
for slot in range(4):
    row = f"{cosine[slot]:6.3f}  {math.exp(5 * cosine[slot]):13.3f}  {h[slot]:3.1f}"
    print(f"{slot:4}  {row}  {joint[slot]:7.3f}  {by_hand[slot]:9.4f}")

# %% [markdown]
# They share the query three to one, as their counts do: where the likelihoods tie, the prior decides. Slots 2 and 3 are too far away to matter.
#
# ### As a loop, and all at once
#
# [`memgan/reference.py`](../memgan/reference.py) states the whole method in plain loops. Its posterior is (4) and nothing else. (The $-1$ in the exponent multiplies every slot by $e^{-\kappa}$, which cancels, and keeps `exp` from overflowing.)

# %%
display(source(ReferenceMemory.joint), source(ReferenceMemory.posterior))

# %% [markdown]
# Now take the logarithm of what (4) has above the fraction bar, $\kappa K_i \cdot q + \log(h_i + \beta)$, and call it the **score** of the slot. Then (4) is a softmax of scores, and a whole batch of queries is one matrix product:

# %%
queries = query.unsqueeze(0)  # [B, M], here B = 1
scores = memory.kappa * queries @ memory.keys.T + (h + beta).log()  # [B, N]
vectorised = scores.softmax(dim=1)

# %% [markdown]
# This is the method of the package, for any batch and with a gradient for the queries. (`_unit_queries` checks the queries and gives them unit length, and `_refuse_reading_again` stops a use that would give a wrong gradient.)

# %%
source(VMFMemory.posterior)

# %%
ladder = {
    "by hand": by_hand,
    "loop": reference_of(memory).posterior(query.numpy()),
    "vectorised": vectorised[0],
    "VMFMemory": memory.posterior(queries)[0],
}
for name, result in ladder.items():
    print(f"{name:10}", [f"{share:.4f}" for share in np.asarray(result)])

# %% [markdown]
# (By hand we left out $\beta$.) You may know this as **attention**: a softmax of scaled dot products between queries and keys. Here $\kappa$ is the scale, the log prior is a bias on the scores, and the values are the labels. In a transformer, keys and values are computed from the input. Here they are *written*, sample by sample.
#
# ### Where the normaliser does not cancel
#
# The normaliser cancels because all slots share one $\kappa$. If slot 1 had a concentration of its own, leaving $C_M$ out would change the posterior:

# %%
shared = torch.full((4,), 5.0, dtype=torch.float64)
own = torch.tensor([5.0, 20.0, 5.0, 5.0], dtype=torch.float64)
for name, kappa in [("one kappa for all", shared), ("slot 1 has its own", own)]:
    log_joint = kappa * (memory.keys @ query) + (h + beta).log()
    without = log_joint.softmax(dim=0)
    full = (vmf.log_normaliser(kappa, 2) + log_joint).softmax(dim=0)
    print(f"{name:18}: slot 1 gets {full[1]:.3f}, without the normaliser {without[1]:.3f}")

# %% [markdown]
# So one $\kappa$ for all is more than a convenience: no Bessel function is evaluated in training. The normaliser does not cancel in the density (3) itself, which `memory.log_likelihood` computes with the true constant, nor in the information bound of [notebook 5](05_mcgn.ipynb), where it is a constant that no training changes.
#
# ## From slots to real or generated
#
# Use the law of total probability again, now for the label:
#
# $$p(y=1 \mid x) = \sum_i p(y=1 \mid c=i, x)\, p(c=i \mid x) = \sum_i v_i\, p(c=i \mid x)$$
#
# The second step is an **assumption**: $p(y \mid c, x) = p(y \mid c)$. Once we know the slot, the image itself says nothing more about its label, because a slot is either real or generated. What is left is the posterior mass of the real slots.

# %%
exact = (memory.values * memory.posterior(queries)[0]).sum()
print(f"p(y = 1 | x), the sum over slots: {exact:.4f}")
print(f"memory.read with k = N:           {memory.read(queries)[0]:.4f}")

# %% [markdown]
# (`memory.read` is $D(x)$. It also clips the result to $[0.001, 0.999]$, so that $\log D$ and $\log(1 - D)$ in the losses stay finite, and looks at $k$ slots only. [Notebook 3](03_topk_approximation.ipynb) is about both.)
#
# Drag the query round the circle, and move $\kappa$ with the slider. A curve shows $D$ in every direction. **Predict:** what becomes of that curve as $\kappa$ goes to 0, and as it grows to 60? And back at $\kappa = 5$ and 40 degrees: how much $h$ does slot 1 need before this query is more likely generated than real?

# %%
PosteriorExplorer(memory, direction([40.0, 110.0, 210.0]), slot=1)

# %% [markdown]
# *Left: the four slots on their circle. Discs are real, squares generated, and a larger mark is a larger count. The arrow is the query at 40 degrees. Right: $D$ in every direction; the grey line is the query.*
#
# From code, for three queries that lie half-way between two slots:

# %%
asked = direction([40.0, 110.0, 210.0])
for kappa in [0.1, 5.0, 60.0]:
    values = [round(d, 2) for d in nb02.four_slots(kappa).read(asked).tolist()]
    print(f"kappa = {kappa:4}: D at 40, 110 and 210 degrees: {values}")

# %% [markdown]
# As $\kappa$ goes to 0, every query gets the same answer: the prior's share of real, $3.5/6.5 = 0.54$. As $\kappa$ grows, the nearest slot gets all of the posterior. (The three queries printed above are exact ties, in which the counts decide, whatever $\kappa$ is.) The curve becomes a staircase, and its slope is 0 almost everywhere. But that slope is what trains both networks, so a useful $\kappa$ lies in between. And slot 1 needs $h = 3$, as much as slot 0, because the likelihoods tie.
#
# On a sphere nothing changes in (4), but a slot owns a patch instead of an arc. Here are six slots in three dimensions:

# %%
six = nb02.six_slots(kappa=5.0)
between = F.normalize(six.keys[:1] + six.keys[1:2], dim=1)
show(
    nb02.sphere_picture(six, between, view=(10, 20)),
    "Figure 2.3. p(y=1|x) on the half of a sphere that faces us, κ = 5. The cross is a query half-way between slots 0 "
    "and 1. The white boundary lies nearer to slot 1, whose count is smaller. Slots 4 and 5 are on the far side.",
    "A disc with bands of colour: blue round slot 0, upper right, and slot 2, below; orange round slots 1, left, and 3, at "
    "the right edge; white between them, and the query on the blue side.",
)

# %% [markdown]
# ## What κ = 1 means
#
# The paper sets $\kappa = 1$. What share of the posterior can one slot get? Let $N$ slots have random keys and equal counts, and let the query *equal* one of the keys. **Predict** the share of that slot for $N = 2048$, $M = 64$, at $\kappa = 1$ and at 15.

# %%
for kappa in [1.0, 15.0, 60.0]:
    plain = VMFMemory(num_slots=2048, key_dim=64, top_k=32, kappa=kappa)
    share = plain.posterior(plain.keys[:200])[range(200), range(200)].mean()
    print(f"kappa = {kappa:2.0f}: a perfect match gets {share:.2%} of the posterior")

# %% [markdown]
# In high dimensions random directions are nearly orthogonal: their cosines have a spread of $1/\sqrt M$. The match weighs $e^\kappa$. A random slot weighs $e^{\kappa t}$ with a cosine $t$ of that spread, which is $e^{\kappa^2/2M}$ on average. So one perfect match outvotes about $e^{\kappa - \kappa^2/2M}$ unrelated slots:

# %%
for kappa in [1.0, 8.0, 9.0, 15.0]:
    by_formula = math.exp(kappa - kappa**2 / (2 * 64))
    exactly = nb02.outvoted(kappa, 64)
    print(f"kappa = {kappa:2.0f}, M = 64: one match outvotes {exactly:,.1f} slots (by the formula {by_formula:,.1f})")
show(
    nb02.vote_curves(
        np.geomspace(0.5, 30, 60),
        [16, 64, 256],
        {"N = 2048, MNIST here": 2048, "N = 4096, Fashion-MNIST in the paper": 4096},
    ),
    "Figure 2.4. How many unrelated slots one perfect match outvotes, at equal counts. At κ = 1 it outvotes fewer than "
    "three, in any dimension, so the counts decide and not the image.",
    "Three rising curves over kappa from 0.5 to 30, both axes logarithmic, for 16, 64 and 256 dimensions. All pass 2.7 at "
    "kappa 1; those for 64 and 256 dimensions pass 2048 near kappa 8, that for 16 near 11; lines mark 2048 and 4096 slots.",
)

# %% [markdown]
# **How does one choose $\kappa$?** On the one hand, one match should outvote all $N$ slots, so that $\kappa - \kappa^2/2M$ should exceed $\log N$. For $N = 2048$ and $M = 64$ that is so from a $\kappa$ between 8 and 9 on (the lines above), and more is needed because no query equals its key. On the other hand, $D$ must keep a slope between slots, which it loses as $\kappa$ grows. Between these limits one tries a few values; the preset `mnist-5k` has 15. [b3](b3_how_many_slots_and_what_kappa.ipynb) shows how a training depends on the choice, and [b2](b2_the_published_code.ipynb) what $\kappa = 1$ does to a memory as it is written.
#
# ## Where it breaks
#
# **There is no "none of these".** A posterior sums to 1. A query that is like nothing in memory must still belong to some slot, and often belongs to it confidently. We write queries from ten tight clusters, five of each label, into a memory of 512 slots with the other settings of `mnist-5k`. Then we read 200 random directions, which no image has ever had.

# %%
prepare(seed=0)
queries, labels = nb02.two_worlds(256)
memory = VMFMemory.from_settings(PRESETS["mnist-5k"].memory, num_slots=512)
for some_queries, some_labels in zip(queries.split(16), labels.split(16), strict=True):
    memory.write(some_queries, some_labels)
strangers = F.normalize(torch.randn(200, 64, generator=torch.Generator().manual_seed(2)), dim=1)

groups = {"real": queries[labels == 1], "generated": queries[labels == 0], "strangers": strangers}
probabilities = {name: memory.read(group) for name, group in groups.items()}
densities = {name: memory.log_likelihood(group) for name, group in groups.items()}

# %%
show(
    nb02.stranger_picture(densities, probabilities),
    "Figure 2.5. D(x) against the density (3). Strangers get any answer. Their density is far below that of every known query, but "
    "the posterior has divided it out.",
    "Scatter plot. Known queries stand on the right, the real ones at D = 1 and the generated ones at D = 0. Strangers stand "
    "on the left, with D anywhere between 0 and 1.",
)

# %% tags=["nbval-close"] tolerance={"relative": 0.1}
sure = (probabilities["strangers"] - 0.5).abs() > 0.3
print(f"strangers with D below 0.2 or above 0.8: {sure.float().mean():.0%}")
known = torch.cat([densities["real"], densities["generated"]])
print(f"log p(x): strangers at most {densities['strangers'].max():.1f}, known queries at least {known.min():.1f}")

# %% [markdown]
# **One width for all.** With one $\kappa$ no slot can be broad. A class with many styles needs many slots, and its count is spread over them.
#
# ## In five lines
#
# - An image becomes a direction $q$. Each slot is a bell on the sphere around its key, and all bells have one width, which $\kappa$ sets.
# - The prior is proportional to $h_i + \beta$ and the likelihood to $e^{\kappa K_i\cdot q}$. The posterior (4) is the softmax of $\kappa K_i \cdot q + \log(h_i + \beta)$.
# - The normaliser cancels because all slots share $\kappa$. It stays in the density (3) and in the information bound of notebook 5.
# - $p(y=1|x)$ is the posterior mass of the slots that carry $v = 1$, if the label depends on the image only through its slot. That sum is the discriminator.
# - $\kappa$ sets the balance. At 1 the counts mostly decide the posterior, and at 15 similarity does.
#
# ## Exercises
#
# Replace the three dots and run the cell. The check says what is wrong. [Solutions](solutions/02_vmf_posterior.ipynb). In exercise 2.3 you begin to build **your own memory**. It grows in notebooks 3 to 5, and in notebook 6 it trains a GAN.
#
# ### 2.1 · A fresh slot against a busy one
#
# A fresh slot has $h = 10^{-5}$ and equals the query (cosine 1). A busy slot has $h = 2$ and cosine 0. From which $\kappa$ on does the fresh one win? ($\beta$ does not matter here.)

# %%
nb02.check_contest(...)

# %% [markdown]
# ### 2.2 · A hundred times the counts
#
# Every $h_i$ is multiplied by 100. Does the posterior get `"sharper"`, `"flatter"`, or does it stay `"the same"`? Then compare: what if $\kappa$ were multiplied by 100?

# %%
nb02.check_scaling(...)

# %% [markdown]
# ### 2.3 · Your own memory: the posterior
#
# Write (4) for a batch: `keys` [N, M], `values` [N], `histogram` [N], `queries` [B, M]; return [B, N]. With a `label` (0 or 1) return the posterior among the slots that carry it: zero for all others, and rows that sum to 1. The EM step of notebook 4 needs that, and so does a loss of notebook 5. One slot of the test has $h = 0$; $\beta$ is $10^{-8}$.


# %%
def posterior(keys, values, histogram, queries, kappa, label=None):
    return ...


nb02.check_posterior(posterior)

# %% [markdown]
# ### 2.4 · The normaliser of an ordinary sphere
#
# For $M = 3$ the ring integral has an ordinary solution, because $(1-t^2)^{(M-3)/2} = 1$. Do it on paper, and write $C_3(\kappa)$ without a Bessel function.


# %%
def closed_form(kappa):
    return ...


nb02.check_closed_form(closed_form)

# %% [markdown]
# ### 2.5 · Harder: "none of these"
#
# Give the mixture one more component that is uniform on the sphere, with a prior weight $w$ and a value of 0.5: a query from it is as likely real as generated. What becomes of $D$ for a stranger, and for a known query? How would you choose $w$? Try it on the memory of Figure 2.5. (The uniform density is one over the area of the sphere, `2 * pi ** (M / 2) / gamma(M / 2)`.)
#
# ### 2.6 · Harder: a width for each slot
#
# Suppose that each slot had its own $\kappa_i$, fitted to the queries behind it. Which terms of (4) come back, what would the top-k search of notebook 3 have to sort by, and what could go wrong with a slot that has seen a single query?
#
# **Next:** the sum in (4) runs over all slots. [Notebook 3](03_topk_approximation.ipynb) keeps only the $k$ best of them, and asks what that costs and what gradient is left.

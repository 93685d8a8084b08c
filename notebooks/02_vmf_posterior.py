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
# **The question:** the memory holds a few hundred directions. A new image comes in and is turned into a direction too. How probable is it that the image belongs to slot number 7? And what does that say about whether the image is real?
#
# You will see a bell curve on a sphere, Bayes' rule on four slots that you can follow by hand, and the same rule in the package. Then you will see why one number, the concentration $\kappa$, decides whether the memory listens to the image at all. With the published value it may not.
#
# You need: PyTorch, and the idea of Bayes' rule. [Notebook 0](00_start_here.ipynb) has the notation; equation numbers such as (4) are those of the [notation page](../docs/notation.md). Reading takes about half an hour, running about 20 seconds.

# %%
import math

import numpy as np
import torch
import torch.nn.functional as F

from memgan import VMFMemory, vmf
from memgan.presets import paper_memory
from memgan.training import prepare
from walkthrough import nb02_posterior as posterior, show, source
from walkthrough.circle import direction, reference_of
from walkthrough.lesson import png
from walkthrough.nb00_dataflow import alt, dataflow
from walkthrough.widgets import Frames, PosteriorExplorer

prepare(seed=0)

# %%
show(
    dataflow("posterior"),
    "Figure 2.1. Where we are: a query has arrived; which slot is it from?",
    alt("posterior"),
)

# %% [markdown]
# ## Directions on a sphere
#
# The inference network $\mu$ turns an image $x$ into $M$ numbers and divides them by their length. What is left is a *direction*: the query $q = \mu(x)$, a point on the unit sphere in $M$ dimensions. The memory has $N$ slots. Slot $i$ has a **key** $K_i$, also a direction, and a **value** $v_i$: 1 if the slot stands for real images, 0 if it stands for generated ones.
#
# For two directions, the dot product is the cosine of the angle between them: 1 for the same direction, 0 for a right angle, -1 for opposite ones. It is the only notion of nearness that we need, because distance says the same: $\lVert q - K_i \rVert^2 = 2 - 2\,K_i \cdot q$.
#
# Here is a memory so small that it fits on a circle ($M = 2$, $N = 4$), and one query.

# %%
show(
    posterior.directions_picture(40.0),
    "Figure 2.2. Four keys and a query. The query lies exactly between a real slot and a "
    "generated one. See that the cosine cannot decide between them: something else must.",
    "The unit circle. Arrows: slot 0, real, at 10 degrees; slot 1, generated, at 70; slot 2, "
    "real, at 150; slot 3, generated, at 270; the query at 40 degrees, with cosine 0.87 to "
    "slots 0 and 1, -0.34 to slot 2 and -0.64 to slot 3.",
)

# %% [markdown]
# ## A bell curve on the sphere
#
# Each slot says: "my images have directions around $K_i$". In the plane one would write that as a Gaussian. On the sphere the natural choice is the **von Mises-Fisher distribution** (vMF):
#
# $$p(x \mid c=i) = C_M(\kappa)\, e^{\kappa K_i \cdot q} \tag{2}$$
#
# Here $c$ is the slot that the image comes from. The vMF *is* a Gaussian, seen only on the sphere: put the distance from above into $e^{-\lVert q - K_i\rVert^2 / 2\sigma^2}$ and you get $e^{K_i \cdot q/\sigma^2}$ times a constant. So the **concentration** $\kappa$ plays the part of $1/\sigma^2$: the larger it is, the narrower the bell.
#
# (One shortcut of the paper's notation: $p(x \mid c=i)$ is a density of the direction $q = \mu(x)$, not of the pixels.)

# %%
show(
    posterior.contrast(5.0),
    "Figure 2.3. One vMF density with κ = 5, seen three ways. Left: its height against the "
    "angle to the mean. Middle: as a wall around a circle. Right: as bands on a sphere, the "
    "mean at the cross. See that nothing depends on where the mean points, only on the angle "
    "to it.",
    "Left: a bell curve over angles from -180 to 180 degrees, half as high at 31 degrees. "
    "Middle: a circle with a wall that is highest at the top. Right: a sphere with dark bands "
    "around a point near the top.",
)

# %% [markdown]
# Now move $\kappa$. **Predict:** at which $\kappa$ does the bell still cover the whole circle, and how wide is it at 60, the value that our digits use?

# %%
kappas = [0.3, 1, 2, 5, 20, 60]
pictures = [png(posterior.contrast(kappa)) for kappa in kappas]
half_widths = {kappa: posterior.half_width(kappa) for kappa in kappas}
labels = [f"κ = {kappa:g}, half as high at {half_widths[kappa]:.0f}°" for kappa in kappas]
Frames(pictures, labels, "concentration", index=kappas.index(5), width=672)

# %% [markdown]
# $\kappa$ works like the contrast of a picture. Near 0 every direction is as likely as every other. At 60 the density is half as high at an angle of 9 degrees. In between, the height at an angle $\theta$ is $e^{\kappa(\cos\theta - 1)}$ of the peak, so it is halved where $\cos\theta = 1 - \log 2/\kappa$:

# %%
for kappa in [1, 5, 60]:
    print(f"kappa = {kappa:2}: half as high at {posterior.half_width(kappa):.0f} degrees")

# %% [markdown]
# ## The normaliser
#
# $C_M(\kappa)$ makes the density integrate to 1 over the sphere. To find it, cut the sphere into rings of equal cosine $t = K_i \cdot q$. The density is the same everywhere on a ring. The ring at $t = \cos\theta$ is a sphere with one dimension less, shrunk to radius $\sqrt{1-t^2}$: its area has a factor $(1-t^2)^{(M-2)/2}$. And for a step $dt$ of the cosine its width on the sphere is $d\theta = dt/\sqrt{1-t^2}$. Together the exponent is $(M-3)/2$:
#
# $$\frac{1}{C_M(\kappa)} = \underbrace{\frac{2\pi^{(M-1)/2}}{\Gamma(\frac{M-1}{2})}}_{\text{area of the unit sphere in } M-1 \text{ dimensions}} \int_{-1}^{1} e^{\kappa t}\,(1-t^2)^{(M-3)/2}\,dt = \frac{(2\pi)^{M/2}\, I_{M/2-1}(\kappa)}{\kappa^{M/2-1}}$$
#
# The second step is the definition of $I$, the modified Bessel function of the first kind, by its integral. The result is the $C_M$ of (2): $\kappa^{M/2-1} / ((2\pi)^{M/2} I_{M/2-1}(\kappa))$. In the package:

# %%
source(vmf.log_normaliser)

# %% [markdown]
# Do not believe it: integrate. First with the package's density, over the circle and over the sphere in angles. (On the sphere a patch has the size $\sin\theta\,d\theta\,d\phi$; around the mean nothing depends on $\phi$, so that integral is a factor $2\pi$.)

# %%
angle = torch.linspace(-math.pi, math.pi, 20_001, dtype=torch.float64)
on_circle = torch.stack([angle.cos(), angle.sin()], dim=1)
for kappa in [0.5, 5.0, 60.0]:
    density = vmf.log_density(on_circle, on_circle[10_000], kappa).exp()
    print(f"circle, kappa = {kappa:4}: {torch.trapezoid(density, angle):.6f}")

# %%
theta = torch.linspace(0, math.pi, 20_001, dtype=torch.float64)
on_arc = torch.stack([theta.sin(), torch.zeros_like(theta), theta.cos()], dim=1)
for kappa in [0.5, 5.0, 60.0]:
    density = vmf.log_density(on_arc, on_arc[0], kappa).exp()
    whole = 2 * math.pi * torch.trapezoid(density * theta.sin(), theta)
    print(f"sphere, kappa = {kappa:4}: {whole:.6f}")

# %% [markdown]
# Then, in dimensions where nobody can see anything, against the integral over rings, and against SciPy's own vMF. $M = 64$ and $\kappa = 60$ are the digits' settings.

# %%
from scipy.integrate import quad
from scipy.special import gammaln


def on_ring(t, kappa, key_dim):
    return math.exp(kappa * (t - 1)) * (1 - t * t) ** ((key_dim - 3) / 2)


for key_dim, kappa in [(3, 5.0), (64, 60.0), (256, 1.0)]:
    rings, _ = quad(on_ring, -1, 1, args=(kappa, key_dim))
    area = math.log(2) + (key_dim - 1) / 2 * math.log(math.pi) - gammaln((key_dim - 1) / 2)
    whole = vmf.log_normaliser(kappa, key_dim) + kappa + area + math.log(rings)
    print(f"M = {key_dim:3}, kappa = {kappa:4}: integral {whole.exp():.6f}")

# %%
from scipy.stats import vonmises_fisher

for key_dim, kappa in [(2, 5.0), (3, 5.0), (64, 60.0)]:
    mean, *points = F.normalize(torch.randn(4, key_dim, dtype=torch.float64), dim=1)
    ours = vmf.log_density(torch.stack(points), mean, kappa)
    scipys = vonmises_fisher(mean, kappa).logpdf(torch.stack(points))
    print(f"M = {key_dim:2}: SciPy agrees to 1e-6:", bool(np.allclose(ours, scipys, atol=1e-6)))

# %% [markdown]
# ## What was likely before: the prior
#
# Figure 2.2 left a tie. But slots are not equally busy. Each keeps a **histogram** entry $h_i$: how many images stand behind it. (A *soft* count that fades with time; [notebook 4](04_memory_update.ipynb) is about how it is kept.) Before we look at the query, the probability of slot $i$ is its share of the counts:
#
# $$p(c=i) = \frac{h_i + \beta}{\sum_j (h_j + \beta)} \tag{1}$$
#
# $\beta = 10^{-8}$ keeps a slot with $h_i = 0$ possible: without it the logarithm of its prior would be $-\infty$. Our four slots, as the real memory holds them:

# %%
memory = posterior.four_slots(kappa=5.0)
h, beta = memory.histogram, memory.beta
prior = (h + beta) / (h + beta).sum()
print("values   ", memory.values.tolist())
print("histogram", h.tolist())
print("prior    ", [round(p, 3) for p in prior.tolist()])

# %% [markdown]
# What does $\beta$ decide? Suppose that slot 0 had never seen anything: $h_0 = 0$. Is it lost? The likelihood can still speak for it. The most that it can make up for, from a cosine of -1 to one of 1, is a factor $e^{2\kappa}$. In logarithms (the unit is the *nat*):

# %%
busy, fresh = 1.0, 0.0
for kappa in [1, 5, 60]:
    gap = math.log((busy + beta) / (fresh + beta))
    print(f"kappa = {kappa:2}: prior {gap:.1f} nats behind, likelihood can make up {2 * kappa}")

# %% [markdown]
# At $\kappa = 60$ a slot with $h = 0$ is still found by a query that matches it. At $\kappa = 1$ it cannot win against a busy slot whatever the query is. Keep this in mind; it comes back.
#
# ## Bayes' rule
#
# The mixture of all slots gives a query the density
#
# $$p(x) = \sum_i p(c=i)\,p(x \mid c=i) \tag{3}$$
#
# and Bayes' rule turns prior and likelihood into the **posterior**: the probability of each slot, once the query has been seen. Every slot has the same $\kappa$, so the same $C_M(\kappa)$ stands in each term above and below the fraction bar, and cancels. So does the sum under the prior.
#
# $$p(c=i \mid x) = \frac{p(c=i)\,p(x \mid c=i)}{p(x)} = \frac{e^{\kappa K_i \cdot q}(h_i+\beta)}{\sum_j e^{\kappa K_j \cdot q}(h_j+\beta)} \tag{4}$$
#
# ### By hand
#
# The query at 40 degrees, between slots 0 and 1. **Predict:** slot 0 has $h = 3$ and slot 1 has $h = 1$. Which share does each get?

# %%
query = torch.tensor([math.cos(math.radians(40)), math.sin(math.radians(40))]).double()
print("slot  cosine  exp(5 cosine)     h    joint  posterior")
cosine = [float(key @ query) for key in memory.keys]
joint = [math.exp(5 * c) * float(count) for c, count in zip(cosine, h, strict=True)]
by_hand = [j / sum(joint) for j in joint]
for slot in range(4):
    print(
        f"{slot:4}  {cosine[slot]:6.3f}  {math.exp(5 * cosine[slot]):13.3f}  {h[slot]:4.1f}"
        f"  {joint[slot]:7.3f}  {by_hand[slot]:9.4f}"
    )

# %% [markdown]
# Three to one, as their counts: where the likelihoods tie, the prior decides. Slots 2 and 3 are too far away to matter.
#
# ### As a loop
#
# `memgan.reference` states the whole method in plain loops. Its posterior is (4) and nothing else:

# %%
from memgan.reference import ReferenceMemory

source(ReferenceMemory.joint)

# %%
source(ReferenceMemory.posterior)

# %% [markdown]
# (The $-1$ in the exponent multiplies every slot by $e^{-\kappa}$, which cancels, and keeps `exp` from overflowing.)
#
# ### All at once
#
# Take the logarithm of what (4) has above the fraction bar: $\kappa K_i \cdot q + \log(h_i + \beta)$. Call it the **score** of the slot. Then (4) is a softmax of scores, and a whole batch of queries is one matrix product.

# %%
queries = query.unsqueeze(0)  # [B, M], here B = 1
scores = memory.kappa * queries @ memory.keys.T + (h + beta).log()  # [B, N]
vectorised = scores.softmax(dim=1)

# %% [markdown]
# ### The real thing
#
# This is the method that the training runs, on any batch, with a gradient for the queries:

# %%
source(VMFMemory.posterior)

# %%
real_thing = memory.posterior(queries)[0]
looped = torch.tensor(reference_of(memory).posterior(query.numpy()))
ladder = {"by hand": torch.tensor(by_hand), "loop": looped, "vectorised": vectorised[0]}
for name, result in ladder.items():
    same = torch.allclose(result.double(), real_thing, rtol=0, atol=1e-6)
    print(f"{name} equals memory.posterior to 1e-6:", same)

# %% [markdown]
# ### Where the normaliser does not cancel
#
# Cancelling is a gift of the shared $\kappa$. Put the $C_M$ in, and nothing changes. Give slot 1 a concentration of its own, and it does. This is why one $\kappa$ for all slots is more than a convenience: no Bessel function is ever evaluated in training.

# %%
shared = torch.full((4,), 5.0, dtype=torch.float64)
own = torch.tensor([5.0, 20.0, 5.0, 5.0], dtype=torch.float64)


def full_bayes(kappa, with_normaliser):
    log_c = vmf.log_normaliser(kappa, 2) if with_normaliser else 0
    return (log_c + kappa * (memory.keys @ query) + (h + beta).log()).softmax(dim=0)


for name, kappa in [("one kappa for all", shared), ("slot 1 has its own", own)]:
    same = torch.allclose(full_bayes(kappa, True), full_bayes(kappa, False))
    print(f"{name}: the normaliser cancels:", same)

# %% [markdown]
# It does not cancel in the density (3) itself. The package has that too, with the true constant, and it integrates to 1:

# %%
density = memory.log_likelihood(on_circle).exp()
print(f"integral of the mixture over the circle: {torch.trapezoid(density, angle):.6f}")

# %% [markdown]
# And it does not cancel in the lower bound on the mutual information, where a vMF stands alone; there it is a constant that training cannot see. [Notebook 5](05_mcgn.ipynb) derives that bound.
#
# ## From slots to real or generated
#
# Each slot knows its label, so the probability that the image is real is the posterior mass of the real slots:
#
# $$p(y=1 \mid x) = \sum_i p(y=1 \mid c=i)\, p(c=i \mid x) = \sum_i v_i\, p(c=i \mid x)$$
#
# That sum is the whole discriminator. There is no output layer and no sigmoid: the memory *is* the classifier. For the query at 40 degrees:

# %%
exact = (memory.values * real_thing).sum()
print(f"p(y = 1 | x), the sum over slots: {exact:.4f}")
print(
    "memory.read with k = N says the same:",
    torch.isclose(memory.read(queries)[0], exact).item(),
)

# %% [markdown]
# (`memory.read`, which we call $D(x)$, also clips the result to $[0.001, 0.999]$ and looks at $k$ slots only; [notebook 3](03_topk_approximation.ipynb) is about both. Here $k = N$ and the clip does not act.)

# %%
show(
    posterior.bayes_on_the_circle(memory),
    "Figure 2.4. Bayes' rule in every direction of the circle. Above: prior times likelihood "
    "of each slot. Below: the same, divided by their sum. Blue areas are real slots, hatched "
    "orange ones generated; the black line between them is p(y=1|x). See that a slot owns the "
    "directions around its key, and more of them the larger its h.",
    "Above, four bells over the direction of the query in degrees: the bells at 10 and 270 "
    "degrees are high, those at 70 and 150 low. Below, four stacked areas that sum to 1: blue "
    "around 10 and 150 degrees, orange around 80 and 260; a black line goes up and down with "
    "the blue ones, smoothly.",
)

# %% [markdown]
# Now take the query in your hand. Drag it round the circle, and turn $\kappa$ with the slider. (The slider for $k$ is [notebook 3](03_topk_approximation.ipynb)'s; leave it at 4.) **Predict:** what is left of the line below the circle as $\kappa$ goes to 0? And as it grows to 60? And back at $\kappa = 5$ and 40 degrees: how much $h$ does slot 1 need, before the memory finds this query more likely generated than real?

# %%
PosteriorExplorer(memory, direction([40.0, 110.0, 210.0]), slot=1)

# %% [markdown]
# The same from code, for the three queries of the menu:

# %%
asked = direction([40.0, 110.0, 210.0])
for kappa in [0.1, 5.0, 60.0]:
    values = [round(d, 2) for d in posterior.four_slots(kappa).read(asked).tolist()]
    print(f"kappa = {kappa:4}: D at 40, 110 and 210 degrees: {values}")

# %% [markdown]
# Towards 0, every query gets the same answer: the prior's share of real, $3.5/6.5 = 0.54$. Towards infinity, the nearest slot takes all, the line becomes a staircase, and its slope (the gradient that trains both networks) is 0 almost everywhere. Only on a boundary between two slots, as at 40, 110 and 210 degrees, the counts still decide, $3/4$, $0.5/1.5$ and $0.5/2.5$. A useful $\kappa$ lies between. And slot 1 needs $h = 3$, as much as slot 0: at 40 degrees the likelihoods tie.
#
# ### On a sphere
#
# One dimension more changes nothing in (4): a slot owns a patch instead of an arc. Here are six slots in three dimensions.

# %%
six = posterior.six_slots(kappa=5.0)
between = F.normalize(six.keys[:1] + six.keys[1:2], dim=1)

# %%
show(
    posterior.sphere_picture(six, between, view=(10, 20)),
    "Figure 2.5. p(y=1|x) on the half of a sphere that faces us, κ = 5. The cross is a query "
    "half-way between slots 0 (real, h = 3) and 1 (generated, h = 1). See that the white "
    "boundary lies nearer to slot 1.",
    "A disc with bands of colour: blue round slot 0, upper right, and slot 2, below; orange "
    "round slots 1, left, and 3, at the right edge; white between them, and the query on the "
    "blue side.",
)

# %% [markdown]
# Turn the sphere and move the query. **Try:** find the two slots on the far side. Then find a query for which no slot has more than half of the posterior, and one that sits on a *real* key and is called generated all the same. (Lower $\kappa$, or raise a neighbour's $h$.)

# %%
PosteriorExplorer(six, between, view=[10.0, 20.0])

# %% [markdown]
# With the counts as they are, $\kappa$ must be small for the last: then the prior, 4.5 of 10 for real, has the word. At the key of slot 2:

# %%
for kappa in [0.3, 1.0, 5.0]:
    low = posterior.six_slots(kappa)
    print(f"kappa = {kappa}: D at the key of slot 2, real: {low.read(low.keys[2:3]).item():.2f}")

# %% [markdown]
# ### You may know this as attention
#
# A softmax of scaled dot products between queries and keys, multiplied by values: this is dot-product attention, with $\kappa$ as the scale, the log prior as a bias on the scores, and the labels as values. PyTorch's own attention gives the same number.

# %%
attention = F.scaled_dot_product_attention(
    queries,
    memory.keys,
    memory.values.double().unsqueeze(1),
    attn_mask=(h + beta).log().unsqueeze(0),
    scale=memory.kappa,
)
print(
    "attention gives p(y = 1 | x) to 1e-6:",
    torch.isclose(attention[0, 0], exact, atol=1e-6).item(),
)

# %% [markdown]
# What differs from a transformer is where keys and values come from: they are not computed from the input but *written*, sample by sample, and their counts weigh in.
#
# ## What κ = 1 means
#
# The paper sets $\kappa = 1$. Every cosine lies in $[-1, 1]$. So the likelihoods of the best and the worst possible slot differ by a factor of at most $e^2$:

# %%
print(f"most that similarity can do at kappa = 1: a factor {math.exp(2):.2f}")

# %% [markdown]
# And that is the generous case. In high dimension almost all pairs of directions are nearly orthogonal. The $M$ coordinates of a random unit vector have squares that sum to 1, so each has mean square $1/M$; a cosine with any fixed direction is such a coordinate. Its typical size is $1/\sqrt M$.

# %%
cosines = {}
for key_dim in [2, 16, 64, 256]:
    one, other = F.normalize(torch.randn(2, 20_000, key_dim), dim=-1)
    cosines[key_dim] = (one * other).sum(dim=1).numpy()
    spread = cosines[key_dim].std()
    print(f"M = {key_dim:3}: spread {spread:.3f}, 1/sqrt(M) = {1 / math.sqrt(key_dim):.3f}")

# %%
show(
    posterior.cosine_histograms(cosines),
    "Figure 2.6. Cosines between random directions; the grey band is ±1/√M. See how, from a "
    "few dozen dimensions on, a cosine of 0.5 between strangers practically never happens.",
    "Four histograms of cosines, for 2, 16, 64 and 256 dimensions: for 2 highest at the ends, "
    "then ever narrower bells around 0.",
)

# %% [markdown]
# **Predict:** a memory has $N = 512$ slots in random directions with equal histograms, $M = 64$. A query comes that *equals* one of the keys. What share of the posterior does that one slot get, with $\kappa = 1$? And with 60?

# %%
for kappa in [1.0, 60.0]:
    plain = VMFMemory(num_slots=512, key_dim=64, top_k=32, kappa=kappa)
    share = plain.posterior(plain.keys[:1])[0, 0]
    print(f"kappa = {kappa:2.0f}: a perfect match gets {share:.1%} of the posterior")

# %% [markdown]
# Half a percent! The match weighs $e^1$, each of the other 511 about $e^0$. In closed form, one perfect match outvotes $e^\kappa / \mathbb E[e^{\kappa t}]$ strangers, where $t$ is the cosine with a random direction. The expectation is the integral of the normaliser divided by the sphere's area, so $C_M(\kappa)$ turns up once more.

# %%
show(
    posterior.vote_curves(
        np.geomspace(0.5, 100, 60),
        [16, 64, 256],
        {"N = 512, the digits here": 512, "N = 4096, Fashion-MNIST in the paper": 4096},
    ),
    "Figure 2.7. How many unrelated slots one perfect match outvotes, at equal histograms. "
    "See that at κ = 1 it is fewer than three, in any dimension; from about 10 on (13 for M = 16) it is more "
    "than a memory of 4096 slots holds; at 60 the question does not arise.",
    "Three rising curves over kappa from 0.5 to 100, both axes logarithmic, for 16, 64 and "
    "256 dimensions. All pass 2.7 at kappa 1 and 512 near kappa 7; lines mark 512 and 4096 "
    "slots.",
)

# %%
for kappa in [1, 10, 60]:
    votes = [posterior.outvoted(kappa, key_dim) for key_dim in (64, 256)]
    print(f"kappa = {kappa:2}: outvotes {votes[0]:.1e} (M = 64), {votes[1]:.1e} (M = 256)")

# %% [markdown]
# ### Where that leaves the histogram
#
# If similarity cannot decide, the histogram does. Let us give a fresh memory a life. The queries come from two worlds that are easy to tell apart: five tight clusters of real ones, five of generated ones, all in different directions. They are written one after another, real and generated in turn, by the paper's rule (`preset="paper"`, at the digits' size). Only $\kappa$ differs. (What a write does is the subject of [notebook 4](04_memory_update.ipynb). For now: it adds to $h$ of the slots of its label that it finds, or overwrites the oldest slot if it finds none.)


# %%
def life(kappa, queries, labels):
    prepare(seed=0)
    memory = VMFMemory.from_settings(paper_memory(512, 64, 32), kappa=kappa)
    for query, label in zip(queries, labels, strict=True):
        memory.write(query.unsqueeze(0), label.unsqueeze(0))
    return memory


# %% [markdown]
# **Predict:** after 64 real and 64 generated writes, what does each memory say about these very same queries?

# %%
queries, labels = posterior.two_worlds(128)
lives = {kappa: life(kappa, queries, labels) for kappa in [1.0, 60.0]}
for kappa, memory in lives.items():
    d = memory.read(queries)
    print(f"kappa = {kappa:2.0f}: D(real) = {d[labels == 1].mean():.3f}", end=", ")
    print(f"D(generated) = {d[labels == 0].mean():.3f}")

# %% [markdown]
# With $\kappa = 1$ everything is real. Which slots were asked?

# %%
for kappa, memory in lives.items():
    _, asked = memory.top_k_posterior(queries)
    print(f"kappa = {kappa:2.0f}: slots among the 32 best of any query: {len(asked.unique())}")

# %%
show(
    posterior.voters({f"κ = {kappa:.0f}": m for kappa, m in lives.items()}, queries, labels),
    "Figure 2.8. Who votes on whom. Row: a query; marks: its 32 most probable slots, blue "
    "where the slot says real, orange where it says generated. See the stripes on the left: "
    "the same 32 slots vote on every query, whatever it looks like.",
    "Two panels with slots across and queries down. Left, kappa 1: 32 unbroken vertical blue "
    "stripes. Right, kappa 60: real queries have mostly blue marks, generated ones mostly "
    "orange ones, in different places.",
)

# %% [markdown]
# Watch it happen in the first two writes. The first is real. It raises 32 slots of its label from $10^{-5}$ to about $1/32$. Now every query finds these 32 first, because no similarity makes up for a factor of 3000. The second is generated. It finds no slot of its label, and so overwrites the oldest slot, whose new $h$ is the *mean* of all. One slot in $N/k = 16$ is among the 32, so the mean is a 16th of theirs. And $16 > e^2$.

# %%
young = life(1.0, queries[:1], labels[:1])
first = young.histogram.max().item()
young.write(queries[1:2], labels[1:2])
new = int((young.keys @ queries[1]).argmax())
print(f"the fullest slot of the first write: h = {first:.5f}")
print(f"the slot of the second write:        h = {young.histogram[new]:.5f}")
print("its rank for the very query that it holds:", end=" ")
print(int((young.posterior(queries[1:2])[0] > young.posterior(queries[1:2])[0, new]).sum()) + 1)

# %% [markdown]
# The slot that was just written for this query is the 33rd for this query, one place too late to be asked. So the generated image is "wrong" again next time, and overwrites another slot, and so on. **Predict:** what if a generated query comes first?

# %%
queries_0, labels_0 = posterior.two_worlds(128, real_first=False)
d = life(1.0, queries_0, labels_0).read(queries_0)
print(f"D(real) = {d[labels_0 == 1].mean():.3f}, D(generated) = {d[labels_0 == 0].mean():.3f}")

# %% [markdown]
# Now everything is generated: the memory says what its *first* sample was. With the paper's sizes $N/k$ is 32 or 64, both above $e^2 = 7.4$, so the argument holds there too.
#
# How far does this go? It is the paper's *text*, one sample after another, starting from random keys with $h = 10^{-5}$. The authors' code starts and counts differently ([notebook 4](04_memory_update.ipynb) has the list), and this package writes a batch at once, so that both labels get their counts in the same step and nobody is first. Then the lock does not happen, and what is left is the weak contrast:

# %%
prepare(seed=0)
at_once = VMFMemory.from_settings(paper_memory(512, 64, 32))
at_once.write(queries, labels)
d = at_once.read(queries)
print(f"kappa = 1, one batch: D(real) = {d[labels == 1].mean():.1f}", end=", ")
print(f"D(generated) = {d[labels == 0].mean():.1f}")

# %% [markdown]
# So $\kappa$ is no detail. With the digits' $\kappa = 60$ the histogram settles ties and near-ties, as a prior should, and similarity settles the rest.
#
# ## Where it breaks
#
# **There is no "none of these".** A posterior sums to 1. A query that is like nothing in memory must still belong to some slot, and often belongs to it confidently. Here are 200 random directions, which no image has ever had, read by the healthy memory of above.

# %%
memory = lives[60.0]
strangers = F.normalize(torch.randn(200, 64, generator=torch.Generator().manual_seed(2)), dim=1)
groups = {
    "real": queries[labels == 1],
    "generated": queries[labels == 0],
    "strangers": strangers,
}
probabilities = {name: memory.read(group) for name, group in groups.items()}
densities = {name: memory.log_likelihood(group) for name, group in groups.items()}
sure = (probabilities["strangers"] - 0.5).abs() > 0.4
known = torch.cat([densities["real"], densities["generated"]])
below = densities["strangers"].max() < known.min()
print(
    "more than 40 % of the strangers get a D below 0.1 or above 0.9:",
    sure.float().mean().item() > 0.4,
)
print("every stranger is less likely than every known query:", below.item())

# %%
show(
    posterior.stranger_picture(densities, probabilities),
    "Figure 2.9. D(x) against the density (3). See that strangers get any answer, many of "
    "them near 0 or 1. The density would give them away, but the posterior has divided it "
    "out.",
    "Scatter plot. Known queries stand on the right at log p(x) above 50, the real ones at D "
    "= 1 and the generated ones at D = 0. Strangers stand on the left, below 45, with D "
    "anywhere between 0 and 1 and many at the ends.",
)

# %% [markdown]
# **One width for all.** With one $\kappa$, no slot can be broad. A class with many styles needs many slots, and its count is spread over them.
#
# **Too much contrast.** With a very large $\kappa$ the nearest slot takes all and the slope is gone. [Notebook 3](03_topk_approximation.ipynb) measures what reaches the networks.
#
# ## In five lines
#
# - An image becomes a direction $q$; each slot is a bell on the sphere around its key, all with one width, $1/\sqrt\kappa$ in radians for large $\kappa$.
# - Prior $\propto h_i + \beta$, likelihood $\propto e^{\kappa K_i\cdot q}$; the posterior (4) is the softmax of $\kappa K_i \cdot q + \log(h_i + \beta)$.
# - The normaliser cancels because all slots share $\kappa$; it stays in the density (3) and in the bound of notebook 5.
# - $p(y=1|x)$ is the posterior mass of the slots that carry $v = 1$. That sum is the discriminator.
# - $\kappa$ decides who speaks: at 1, in 64 dimensions, a perfect match outvotes fewer than 3 of the other slots and the histogram rules; at 60 similarity does.

# %% [markdown]
# ## Exercises
#
# Replace the three dots and run the cell. The check says what is wrong. [Solutions](solutions/02_vmf_posterior.ipynb).
#
# ### 2.1 · A fresh slot against a busy one
#
# A fresh slot has $h = 10^{-5}$ and equals the query (cosine 1). A busy slot has $h = 2$ and cosine 0. From which $\kappa$ on does the fresh one win? ($\beta$ does not matter here.)

# %%
posterior.check_contest(...)

# %% [markdown]
# ### 2.2 · The normaliser of an ordinary sphere
#
# For $M = 3$ the ring integral has an ordinary solution: $(1-t^2)^{(M-3)/2} = 1$. Do it on paper, and write $C_3(\kappa)$ without a Bessel function.


# %%
def closed_form(kappa):
    return ...


posterior.check_closed_form(closed_form)

# %% [markdown]
# ### 2.3 · The posterior of a batch
#
# Write (4) for a batch: `keys` [N, M], `histogram` [N], `queries` [B, M]; return [B, N]. One slot of the test has $h = 0$.


# %%
def my_posterior(keys, histogram, queries, kappa, beta):
    return ...


posterior.check_posterior(my_posterior)

# %% [markdown]
# ### 2.4 · A hundred times the counts
#
# Predict: every $h_i$ is multiplied by 100. Does the posterior get `"sharper"`, `"flatter"` or does it stay `"the same"`? Then compare: what if $\kappa$ were multiplied by 100?

# %%
posterior.check_scaling(...)

# %% [markdown]
# ### 2.5 · Enough contrast for 4096 slots
#
# The paper's Fashion-MNIST memory has $N = 4096$ slots of $M = 256$ dimensions. Let all keys be random directions and all $h$ equal. Which is the smallest whole $\kappa$ at which a perfect match has at least half of the posterior? Use `posterior.outvoted(kappa, key_dim)`.

# %%
posterior.check_least_kappa(...)

# %% [markdown]
# **Next:** the sum in (4) runs over all slots. [Notebook 3](03_topk_approximation.ipynb) keeps only the $k$ best of them, and asks what that costs and what gradient is left.

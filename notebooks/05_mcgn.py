# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5 · The generator that is told what to draw
#
# **The question:** how can a generator be told *which class* to draw, when nobody has ever named a class?
#
# The memory conditional generative network (MCGN) takes its orders from the memory: a real slot is drawn, and its key goes into the generator beside the noise. You will see how a slot is drawn, why the key goes in as it is, what makes the generator obey (a bound on mutual information, derived and checked), and then measure what the slot decides and what the noise decides. At the end you can pick slots yourself.
#
# You need: [notebook 2](02_vmf_posterior.ipynb) (the vMF distribution, the posterior) and [notebook 4](04_memory_update.ipynb) (what $h$ counts). Reading takes about 30 minutes; running takes less than a minute on one core.

# %%
import math

import torch

from memgan import MemoryGAN, VMFMemory, information_loss, vmf
from memgan.data import load_dataset
from memgan.lab.evaluation.classifier import accuracy, train_classifier
from memgan.networks import Generator
from memgan.plots import image_grid
from memgan.presets import PRESETS
from memgan.reference import ReferenceMemory
from memgan.runs import build
from memgan.training import prepare, train
from memgan.widgets import SlotExplorer
from walkthrough import nb00_dataflow as dataflow, nb05_mcgn as mcgn, show, source

prepare(seed=0)

# %%
show(
    dataflow.dataflow("sample"),
    "Figure 5.1. Where we are: the way back, from the memory to an image. A slot is drawn among the "
    "real ones, and its key goes to the generator.",
    dataflow.alt("sample"),
)

# %% [markdown]
# ## Drawing a slot
#
# The generator should draw what real images look like, as often as they look like it. The memory knows both: $v_i = 1$ marks the slots of real images, and $h_i$ counts how much data stands behind slot $i$. So
#
# $$c \sim p(c=i \mid v_c=1) = \frac{h_i v_i}{\sum_j h_j v_j} \tag{11}$$
#
# By hand, on four slots. **Predict:** which slot is never drawn, and how often is slot 0?

# %%
histogram, values = torch.tensor([3.0, 1.0, 6.0, 2.0]), torch.tensor([1, 1, 0, 1])
by_hand = [3 / 6, 1 / 6, 0, 2 / 6]
vectorised = histogram * values / (histogram * values).sum()
print("by hand:   ", [round(p, 4) for p in by_hand])
print("vectorised:", [round(p, 4) for p in vectorised.tolist()])

# %% [markdown]
# Slot 2 has the largest histogram and is never drawn: it stands for generated images. The plain loop of `memgan.reference` says the same.

# %%
keys = torch.eye(4)
reference = ReferenceMemory(keys.numpy(), values.tolist(), [0] * 4, histogram.tolist(), 2, 60.0, 0.9)
loop = torch.tensor(reference.sampling_probabilities())
print("loop equals vectorised to 1e-6:", bool((loop - vectorised).abs().max() < 1e-6))

# %% [markdown]
# And the real thing. It draws a uniform number and looks up where it falls in the running sum of $h_i v_i$. Everything has a fixed shape and nothing waits for the host, so it can live in a GPU's graph. A slot without mass has an interval of length zero: `right=True` makes sure that it is never hit.

# %%
source(VMFMemory.sample)

# %%
memory = VMFMemory(4, 4, 2)
memory.histogram.copy_(histogram)
memory.values.copy_(values)
drawn = memory.sample(60_000, torch.Generator().manual_seed(0))[1]
counts = drawn.bincount(minlength=4)
error = (vectorised * (1 - vectorised) / 60_000).sqrt()
print("slot 2 drawn:", counts[2].item(), "times")
print("all within 4 standard errors:", bool(((counts / 60_000 - vectorised).abs() <= 4 * error).all()))

# %%
show(
    mcgn.sampled_and_expected(vectorised.tolist(), counts, values.tolist()),
    "Figure 5.2. 60,000 draws fall where (11) says; the slot of generated images gets none.",
    "Bars for four slots: probability 0.50, 0.17, 0 and 0.33, and beside each the share of draws, equal to the eye.",
)

# %% [markdown]
# One detail: the read's prior (1) is $h_i + \beta$, so that every slot can be found. The draw uses $h_i$ alone, so that a slot in which nothing was ever written is never ordered.
#
# ## The key goes in beside the noise
#
# $x = G([K_c, z])$ is a concatenation and nothing more.

# %%
source(Generator.forward)

# %% [markdown]
# The comment says *a unit key weighs about as much as all the noise*. The first layer is linear with weights of equal spread, so each input contributes to the variance in proportion to its square. The key has squared length 1. Each of the $Z$ noise numbers is uniform on (-1, 1), with mean square 1/3. For $Z = 4$ the key's share should be $1/(1 + 4/3)$. Measured on a fresh generator:

# %%
gan = build(PRESETS["digits"])
first = gan.generator.layers[0].weight.detach()  # [features, M + Z]
by_key = torch.nn.functional.normalize(torch.randn(5000, 64), dim=1) @ first[:, :64].T
by_noise = (torch.rand(5000, 4) * 2 - 1) @ first[:, 64:].T
share = by_key.var() / (by_key.var() + by_noise.var())
print(f"expected {1 / (1 + 4 / 3):.2f}; measured {share:.2f}")

# %% [markdown]
# In other settings one finds keys scaled by $\sqrt M$, so that each coordinate is of size 1. Exercise 5.3 asks what that would do here.
#
# ## Why should the generator obey?
#
# Nothing so far makes it. A generator could ignore $K_c$: the discriminator asks only whether the image looks real. So the paper adds InfoGAN's idea: images of a slot must *tell* which slot they are of. Call the information between them $I(K_c; x)$. It can be written as
#
# $$I(K_c; x) = H(K_c) - H(K_c \mid x) = H(K_c) + \mathbb E \log p(K_c \mid x).$$
#
# The true $p(K_c \mid x)$ is unknown. Put any other distribution $r(K_c \mid x)$ in its place:
#
# $$\mathbb E \log p(K_c \mid x) = \mathbb E \log r(K_c \mid x) + \mathbb E_x\, \mathrm{KL}\big(p(\cdot \mid x)\,\|\,r(\cdot \mid x)\big) \;\ge\; \mathbb E \log r(K_c \mid x),$$
#
# because a KL divergence is never negative. This is InfoGAN's bound (Chen et al., 2016). InfoGAN trains a network $r$. Here there is one already: the query of the image, $\mu(x)$, is a direction, and the vMF around it is a distribution over keys. With $\log r(K \mid x) = \log C_M(\kappa) + \kappa\, K \cdot \mu(x)$ and
#
# $$\hat I = -\mathbb E[\kappa K_c \cdot \mu(G([K_c, z]))] \tag{14}$$
#
# the bound reads
#
# $$I(K_c; x) \;\ge\; H(K_c) + \log C_M(\kappa) - \hat I .$$
#
# So making $\hat I$ small raises the bound. In the code it is one line:

# %%
source(information_loss)

# %% [markdown]
# ### The sign of the constant
#
# The paper prints the constant with a minus: $H(K_c) - \log C_M(\kappa) - \hat I$. It does not change training, because neither $\log C_M(\kappa)$ nor $H(K_c)$ depends on the networks' weights. But only one sign gives a bound. Take a case in which everything is known: $K$ uniform on the sphere in three dimensions, the query vMF around $K$ with $\kappa = 5$. **Predict:** at which $\kappa$ of $r$ does the right bound touch the information?

# %%
kappas = torch.linspace(0.2, 20, 397, dtype=torch.float64)
right, printed, information = mcgn.two_signs(kappas, true_kappa=5.0)
print("+log C never above the information:", bool((right <= information + 1e-9).all()))
print(f"it is highest at kappa = {mcgn.tight_kappa(kappas, right):.2f}")
print(f"and touches it there: {right.max():.4f} and {information:.4f} nats")
print("-log C above the information everywhere:", bool((printed > information).all()))

# %%
show(
    mcgn.sign_figure(kappas, right, printed, information, 5.0),
    "Figure 5.3. Left: with the plus sign the curve stays under the information and touches it where r is the true "
    "posterior. Right, on a coarser scale: with the minus sign it lies above it and grows: no bound.",
    "Two panels against kappa from 0 to 20. Left, the blue curve rises to the dashed line of the information at kappa 5 and "
    "falls again. Right, the orange curve starts above the dashed line and grows to 30, while the blue one stays below.",
)

# %% [markdown]
# ### A density is not a probability
#
# One more trap. $C_M(\kappa)$ belongs to a *density*, in nats per unit of area of the sphere. Our $K_c$ is one of $N$ slots: its entropy is at most $\log N$, and so is the information. Mixing the two gives nonsense, as you will see below on a trained model. For a finite set of keys, $r$ must be normalised over the slots instead of over the sphere:
#
# $$r(c=i \mid x) = \frac{p_i\, e^{\kappa K_i \cdot \mu(x)}}{\sum_j p_j\, e^{\kappa K_j \cdot \mu(x)}}, \qquad p_i = p(c=i \mid v_c=1).$$
#
# That is the memory's own posterior (4), over its real slots (without $\beta$). The bound $H(c) + \mathbb E \log r$ then never exceeds $H(c)$, since $\log r \le 0$. Written out, $\mathbb E \log p_c = -H(c)$ cancels the entropy, and what is left is $\mathbb E[\kappa K_c \cdot \mu - \log\sum_j p_j e^{\kappa K_j \cdot \mu}]$. The constant of the sphere, $\log C_M(\kappa) = -\log \int e^{\kappa K \cdot \mu}\, dK$, has become $-\log \sum_j p_j e^{\kappa K_j \cdot \mu}$. That one *does* depend on $\mu$: it rewards queries for being far from the other keys. The paper's term leaves it out, and so does `memgan`, which follows the paper; here we use it only to measure.
#
# ## Does it work? The same training with and without
#
# Two trainings on the digits from the same seed, 400 steps each (the preset has 650; fewer are enough to see the difference, and the digits are less sharp for it): the preset's $\lambda = 0.02$, and $\lambda = 0$. Only a small classifier, which measures the result, uses the labels.

# %%
train_data, test_data = load_dataset("digits"), load_dataset("digits", split="test")
classifier = train_classifier(train_data, epochs=6)
print("the classifier is right on at least 95 % of the test digits:", accuracy(classifier, test_data) >= 0.95)


# %%
def trained(mi_weight: float) -> MemoryGAN:
    settings = PRESETS["digits"].changed(["training.steps=400", f"training.mi_weight={mi_weight}"])
    prepare(seed=0)
    gan = build(settings)
    for _ in train(gan, train_data.images, settings.training):
        pass
    return gan.eval()


# %%
models = {"lambda = 0.02": trained(0.02), "lambda = 0": trained(0.0)}
designs = {name: mcgn.crossed(model, classifier) for name, model in models.items()}
design, without = designs.values()
print("images:", list(design.images.shape))

# %% [markdown]
# Each *design* holds 48 slots, drawn by (11), each with the same 48 noises: rows are slots, columns are noises. Look along the rows.

# %%
show(
    image_grid(
        design.images[:8, :16].flatten(0, 1),
        columns=16,
        row_labels=[f"slot {slot}" for slot in design.slots[:8].tolist()],
        column_label="noise z, the same in each column",
        width=7,
    ),
    "Figure 5.4. With the mutual-information term: one slot in each row. In most rows the shape stays and the handwriting changes a little. After 400 steps several slots are smudges.",
    "Eight rows of sixteen generated images. Most rows show one shape, a digit or a smudge, with small changes.",
)

# %%
show(
    image_grid(
        without.images[:8, :16].flatten(0, 1),
        columns=16,
        row_labels=[f"slot {slot}" for slot in without.slots[:8].tolist()],
        column_label="noise z, the same in each column",
        width=7,
    ),
    "Figure 5.5. The same training with lambda = 0: the image changes along a row, and some columns look alike: the noise decides part of it. The digits are also less finished.",
    "Eight rows of sixteen generated digits; within a row the images differ, and some columns show the same noisy pattern in all rows.",
)

# %%
purities, classes = {}, {}
for name, d in designs.items():
    purities[name] = d.classes.mode(dim=1).values.unsqueeze(1).eq(d.classes).double().mean().item()
    classes[name] = len(d.classes.unique())

# %% tags=["nbval-ignore-output"]
for name in designs:
    print(f"{name}: purity {purities[name]:.2f}, {classes[name]} classes")

# %%
for name in designs:
    print(f"{name}: purity above 0.85: {purities[name] > 0.85}, at least 7 classes: {classes[name] >= 7}")

# %% [markdown]
# *Purity* is the mean share of the most frequent class in a row. This is one seed, and without the term the images are also less finished after as many steps, so part of the difference may be that. Over six seeds and the preset's 650 steps ([results](../docs/results.md)) it lies between 0.96 and 0.99 with the term. Without it, five seeds gave 0.49 to 0.57. On the sixth the generator drew one single image: purity 1.00, and one class. So never read purity without the number of classes beside it.
#
# ### The bound, on the trained memories
#
# **Predict:** the queries of a slot's images point about where its key points. Is the bound near $H(c)$, and for which model?

# %%
bounds, entropies = {}, {}
for name, model in models.items():
    d = designs[name]
    slots = d.slots.repeat_interleave(d.queries.shape[1])
    bounds[name] = mcgn.information_bound(model.memory, slots, d.queries.flatten(0, 1))
    entropies[name] = torch.special.entr(mcgn.usage(model.memory)).sum().item()

# %% tags=["nbval-ignore-output"]
for name in models:
    print(f"{name}: bound {bounds[name]:.2f} nats, H(c) {entropies[name]:.2f}")

# %%
for name in models:
    print(f"{name}: bound below H(c): {bounds[name] <= entropies[name]}, above 0: {bounds[name] > 0}")
gap = {name: entropies[name] - bounds[name] for name in models}
print("with the term, less than a nat below H(c):", gap["lambda = 0.02"] < 1)

# %% [markdown]
# With the term, the images say most of what there is to say about their slot: the bound lies about half a nat below $H(c)$. Without it the bound is negative, so it says nothing: $r$ with $\kappa = 60$ is then sure of itself and wrong.
#
# And the nonsense that was promised, from the density's constant and the entropy of a finite set:

# %%
model = models["lambda = 0.02"]
cosine = torch.einsum("srm,sm->sr", design.queries, model.memory.keys[design.slots]).mean().item()
entropy = torch.special.entr(mcgn.usage(model.memory)).sum().item()
mixed = entropy + vmf.log_normaliser(60.0, 64).item() + 60 * cosine
print("H(c) + log C - I_hat far above H(c), and even above log N:", mixed > math.log(512) + 10)

# %% [markdown]
# ## How many slots are in use?
#
# The effective number of slots is $\exp$ of the entropy of (11): it is $n$ if $n$ slots are drawn equally often.

# %%
probabilities = mcgn.usage(model.memory)
in_use = math.exp(entropy)
drawn_at_all = probabilities[probabilities > 1e-7]

# %% tags=["nbval-ignore-output"]
print(f"slots in use {in_use:.0f}; most frequent over rarest {drawn_at_all.max() / drawn_at_all.min():.0f}")

# %%
print("real slots:", model.memory.values.sum().item(), "of", model.memory.num_slots)
print("in use: more than 50, fewer than 256:", 50 < in_use < 256)

# %%
show(
    mcgn.usage_figure(probabilities, in_use),
    "Figure 5.6. How often each real slot is drawn. No slot dominates, and the rarest is drawn several hundred times less often than the most frequent.",
    "Bars on a logarithmic axis, real slots sorted by probability: from 0.03 down to 0.0001, with a dashed line near slot 140.",
)

# %% [markdown]
# There are far more slots in use than classes. A slot is a kind of *digit as written in one way*, not a class. Nobody told the memory that there are ten.
#
# ## Style in z, class in c
#
# The model says $p(x, z, c) = p(x \mid z, c)\, p(z)\, p(c)$: slot and noise are drawn independently. Whether they share the work as one hopes, class to $c$ and style to $z$, is a question for measurement. Every slot was crossed with every noise, so we can hold one and change the other.
#
# **Predict:** hold $z$ and change the slot. How often do two images show the same class? And hold the slot and change $z$?

# %%
same_slot = {name: mcgn.agreement(d.classes) for name, d in designs.items()}
same_noise = {name: mcgn.agreement(d.classes.T) for name, d in designs.items()}

# %% tags=["nbval-ignore-output"]
for name in designs:
    print(f"{name}: same slot, other z: {same_slot[name]:.2f}; same z, other slot: {same_noise[name]:.2f}")

# %%
print("with the term, same slot: over 0.8:", same_slot["lambda = 0.02"] > 0.8)
print("with the term, same z: near chance, below 0.15:", same_noise["lambda = 0.02"] < 0.15)
print("without it, same slot: under 0.8:", same_slot["lambda = 0"] < 0.8)
print("without it, same z: over 0.2:", same_noise["lambda = 0"] > 0.2)

# %%
show(
    mcgn.style_and_class(designs),
    "Figure 5.7. Left: the class is known from the slot, and hardly at all from the noise. Right: of the variance "
    "of the pixels the noise alone has little, the slot most. Without the term the noise takes over some of both.",
    "Two groups of bars. Left, share of the class's entropy known from slot and noise: with the term about 0.9 and near 0, "
    "without it less from the slot and more from the noise. Right, share of pixel variance: the slot's is the largest and falls without the term.",
)

# %%
slot, noise, both = mcgn.shares_of_variance(design.images)
print("the shares sum to 1:", abs(slot + noise + both - 1) < 1e-9)
print("slot > noise, in the pixels and in the classifier's features:", slot > noise, end=", ")
print(mcgn.shares_of_variance(design.features)[0] > 0.7)
chance = design.classes.flatten()[torch.randperm(design.classes.numel())].view_as(design.classes)
print("shuffled classes: information below 0.1:", mcgn.shared_information(chance) < 0.1)

# %% [markdown]
# The left measure is *normalised mutual information*: $I(\text{class}; c)/H(\text{class})$. With 48 images in a row it is a little above 0 even for shuffled classes; that is the base line. The right measure is a two-way analysis of variance: what changes with the slot alone, with the noise alone, and only with both together.
#
# Honest reading: the noise's share of the pixels is small. Digits of one slot are rather alike. The more slots there are, the less is left for $z$ to do.
#
# ## Slot by slot

# %%
busiest = probabilities.argsort(descending=True)[:48]
with torch.no_grad():
    at_zero = model.generator(model.memory.keys[busiest], torch.zeros(48, 4))

# %%
show(
    image_grid(at_zero, columns=12, width=6),
    "Figure 5.8. The 48 slots that are drawn most, one image each at z = 0: the first rows of the sheet that the "
    "explorer below opens with.",
    "Four rows of twelve generated digits; several slots show the same digit, written in different ways.",
)

# %% [markdown]
# Now pick slots yourself: on the sheet, on the map, or by a draw. Every slot's samples are drawn from the same 16 noises, so what differs from slot to slot is due to the key. **Try:** sort the sheet by class, pick two slots of one digit that lie far apart on the map, and compare their samples and their nearest real images. Then find a slot whose nearest images show another digit than its samples.

# %%
explorer = SlotExplorer(model, train_data.images, classifier)
explorer

# %% [markdown]
# What one sees can be counted: the explorer's `table` holds what it shows.

# %%
table = {name: torch.tensor(explorer.table[name]) for name in ("places", "classes", "agreed", "nearest")}
same = train_data.labels[table["nearest"]] == table["classes"].unsqueeze(1)  # [slots, 4 nearest real images]
apart = torch.cdist(table["places"], table["places"]).fill_diagonal_(9)
beside = table["classes"][apart.argmin(dim=1)] == table["classes"]
clear = table["agreed"] == 8
print("all 8 images of one digit: more than 4 slots of 10:", bool(clear.double().mean() > 0.4))
print("nearest real images of the slot's digit, more than 7 of 10:", bool(same.double().mean() > 0.7))
print("more of them where all 8 agree:", bool(same[clear].double().mean() > same[~clear].double().mean()))
print("next dot on the map of the same digit, more than 6 of 10:", bool(beside.double().mean() > 0.6))

# %% [markdown]
# So the slots of a digit lie together on the map, often in several groups, and the real images next to a key are mostly of the digit that the slot draws. Where they are not, the slot's own images disagree more often: smudges, on the borders between groups.
#
# ## Where it breaks
#
# Sort the slots by purity, so that nobody picks. These are the four least pure of the 48:

# %%
purity = (design.classes == design.classes.mode(dim=1).values.unsqueeze(1)).double().mean(dim=1)
worst = purity.argsort()[:4]

# %%
show(
    image_grid(
        design.images[worst, :16].flatten(0, 1),
        columns=16,
        row_labels=[f"purity {p:.2f}" for p in purity[worst].tolist()],
        width=7,
    ),
    "Figure 5.9. The four least pure slots: between two digits, or smudges.",
    "Four rows of generated images whose digit is unclear or changes within the row.",
)

# %%
print("the least pure slot is below 0.9:", bool(purity.min() < 0.9))
print("slots that are pure (above 0.9): more than half:", bool((purity > 0.9).double().mean() > 0.5))

# %% [markdown]
# ## What it is not
#
# | | conditional GAN | InfoGAN | MCGN |
# |---|---|---|---|
# | what is given to G | a label | a code: one of $n$, and continuous numbers | the key of a slot |
# | where it comes from | people named each image | drawn from a fixed prior | learnt: the memory's keys |
# | how often each | as in the labels | set beforehand, usually all equally | as $h$ counts (11) |
# | how many | the classes | chosen beforehand | at most $N$; how many are in use is learnt |
# | who reads it back | nobody needs to | a second head $r$ | $\mu$, the discriminator's own encoder |
# | an encoder of real images | no | $r$, trained on generated images only | $\mu$ and the posterior (4), which real images write |
#
# In the last column the table's last two rows are one and the same network: the discriminator's. (InfoGAN's $r$ shares all but its last layers with the discriminator.) Whether a learnt code beats InfoGAN's fixed one is a question for runs with equal tuning: they are in [notebook 7](07_does_it_work.ipynb).
#
# ## In five lines
#
# - A slot is drawn among the real ones, as often as its histogram says; its key goes into the generator as it is, beside the noise.
# - The mutual-information term makes the generator obey: images of a slot must be read back as that slot.
# - The bound is $H(K_c) + \log C_M(\kappa) - \hat I$, plus sign; for a finite set of slots $C_M$ must give way to a sum over slots.
# - With the term the class is known from the slot and hardly from the noise; without it the slots lose their meaning.
# - A slot is finer than a class, the noise is left with little, and some slots are smudges.
#
# ## Exercises
#
# Replace the three dots and run the cell. The check says what is wrong. [Solutions](solutions/05_mcgn.ipynb).
#
# ### 5.1 · Four slots
#
# $h = (2, 5, 4, 2)$ and $v = (1, 0, 1, 1)$. How often is each slot drawn? A list of four numbers.

# %%
mcgn.check_probabilities(...)

# %% [markdown]
# ### 5.2 · Write the draw
#
# From a uniform number $u$ in [0, 1), return the slot. A slot with $v = 0$ or $h = 0$ must never be returned, not even for $u = 0$.


# %%
def draw(histogram: torch.Tensor, values: torch.Tensor, u: float) -> int:
    return ...


mcgn.check_sampler(draw)

# %% [markdown]
# ### 5.3 · A louder key
#
# Suppose the key went into the generator as $\sqrt M K_c$, with $M = 64$ and $Z = 4$. Which share of the first layer's variance would it have?

# %%
mcgn.check_key_share(...)

# %% [markdown]
# ### 5.4 · Write the bound
#
# Given a memory, slots $c$ [n] and the queries of their images [n, M], return $H(c) + \mathbb E \log r(c \mid x)$ in nats, with $r$ over the real slots.


# %%
def bound(memory: VMFMemory, slots: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    return ...


mcgn.check_bound(bound)

# %% [markdown]
# ### 5.5 · Write the slot's share
#
# `values` [S, R] holds one number for each slot (row) and noise (column). Return the share of its variance that is due to the slot alone.


# %%
def slot_share(values: torch.Tensor) -> float:
    return ...


mcgn.check_slot_share(slot_share)

# %% [markdown]
# Next: [notebook 6](06_full_training.ipynb), where the whole machine trains while you watch.

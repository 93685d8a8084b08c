# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 0 · Start here
#
# **The question:** what can an ordinary GAN not do, however long it trains, and how could a *memory* help?
#
# These notebooks take you through one paper, slowly and completely: Y. Kim, M. Kim and G. Kim, *Memorization Precedes
# Generation: Learning Unsupervised GANs with Memory Networks*, ICLR 2018
# ([arXiv 1803.01500](https://arxiv.org/abs/1803.01500)), **MemoryGAN** for short. You need to know PyTorch and what a
# GAN is. Nothing else: not this paper, no von Mises-Fisher distribution, no EM.
#
# This first notebook shows the two problems in one picture each, the idea in one picture, and how to read the rest. It runs in
# about 10 seconds.

# %% [markdown]
# ## Is everything there?
#
# Everything runs on a CPU. The notebooks use one thread of it, because small networks are faster that way, and
# because the numbers stored here should be the ones that you get. Your versions will differ; that is fine.

# %% tags=["nbval-ignore-output"]
import platform

import torch

print("Python", platform.python_version(), "· PyTorch", torch.__version__)
print("a GPU for your own training:", "yes" if torch.cuda.is_available() else "none, and none is needed here")

# %% [markdown]
# ## Problem 1: one continuous latent space
#
# A generator is a continuous function. Walk from one noise vector to another, and its image changes continuously from, say, a
# cat to a building; in between it shows what is neither. The paper calls this *structural discontinuity*: the data come in
# separate classes, and the latent space has no gaps between them.
#
# The smallest case is eight separate groups of points in the plane, the *modes* of the data. We train an ordinary GAN on them for a few
# seconds. Its noise is a square, and we colour each noise vector by the mode that it is sent to. **Predict:** is any part
# of the square sent to no mode at all?

# %%
from walkthrough import nb01_plane as plane, show
from walkthrough.nb01_discontinuity import latent
from walkthrough.nb01_plane_figures import latent_square

gan = plane.train_plain(seed=0)
drawn = gan.generate(2000, generator=torch.Generator().manual_seed(0))

# %%
points = drawn.images  # an image of two numbers
picture = latent_square(latent(gan).modes, sample=(points, plane.mode_of(points)))

# %%
show(
    picture,
    "Figure 0.1. Left: what the GAN draws; circles are the true modes, black points belong to "
    "none. Right: its latent square, each z coloured by the mode it is sent to, black where to "
    "none. See the black seams: neighbours in z are neighbours in x, so a seam runs "
    "wherever two colours meet.",
    "Left: points on a ring, most of them inside eight circles, many on the ring between two "
    "circles. Right: a square cut into eight coloured wedges with black strips between them.",
)

# %% tags=["nbval-ignore-output"]
found = plane.measure(gan)
print(f"samples that belong to no mode: {found.off_mode:.1%}")

# %%
print("modes found:", found.modes, "of 8")
print("more than one sample in ten belongs to no mode:", found.off_mode > 0.1)

# %% [markdown]
# (The tests do not compare the first number: it differs a little between machines. What holds on all of them stands in the second cell.)
#
# All eight modes are found, and still many samples lie between them. Longer training makes the seams narrower, never
# none: [notebook 1](01_structural_discontinuity.ipynb) proves it, and says by how much.

# %% [markdown]
# ## Problem 2: a discriminator forgets
#
# The discriminator's loss asks only about *today's* generated images. Nothing in it mentions what the generator
# drew a thousand steps ago. If those weights are needed for something new, the old knowledge goes.
#
# To see it, we need no generator. Take real digits and two kinds of false ones: A, with strokes too bold, and B, too thin.

# %%
from walkthrough.nb07_forgetting import experiment, forgetting_curves, kinds, kinds_of_digits

# %%
show(
    kinds_of_digits(kinds(seed=0)),
    "Figure 0.2. Real digits, and two kinds of fakes made from other digits.",
    "Three rows of handwritten digits: normal strokes, bold strokes, thin strokes.",
)

# %% [markdown]
# An ordinary discriminator learns to tell real digits from A, for 150 steps. Then the fakes are of kind B, and A is never shown again.
# The curve says how much of A it still rejects (gives a D below one half). **Predict:** how many steps on B until half of A is forgotten?

# %%
curve = experiment("sigmoid", seed=0, steps_on_b=50)

picture = forgetting_curves([curve], ["sigmoid"])
picture.axes[0].get_legend().remove()  # there is one curve only
picture.axes[0].set_xlim(-0.1, 55)

# %%
show(
    picture,
    "Figure 0.3. The share of A that an ordinary discriminator (a sigmoid at its end) still "
    "rejects, after so many steps on B. See how few it takes.",
    "A curve over the steps on B, from 0 to 50 on a logarithmic axis: near 1 at first, below 0.2 from step 5 on.",
)

# %% tags=["nbval-ignore-output"]
after = dict(zip(curve.steps, curve.old, strict=True))
for step in (0, 1, 2, 5, 10):
    print(f"share of A still rejected after {step:2} steps on B: {after[step]:.2f}")

# %%
print("rejected before B, at least nine in ten:", after[0] >= 0.9)
print("rejected after 5 steps on B, fewer than half:", after[5] < 0.5)

# %% [markdown]
# Five steps at most. The fakes were made to be alike but for one property, which is the hard case; notebook 1 also shows where a discriminator
# does *not* forget.

# %% [markdown]
# ## The idea: remember
#
# MemoryGAN puts a *memory* where the discriminator's last layer was. Follow the picture from the top left.
#
# - An image goes through an **inference network**, which turns it into a direction: a point on a sphere, the *query*.
# - The memory holds N **slots**. Each has a key (a direction), a value (1: real, 0: generated), an age and a count.
# - **Reading** asks by Bayes' rule which slots the query may come from. The share of real ones is D(x), the probability that the
#   image is real.
# - **Writing** stores the query: slots like it move towards it, or the oldest slot is replaced. No gradient is involved.
# - **Generating** starts from the memory too: draw a real slot, hand its key to the generator, add noise. Which class to draw is
#   now a discrete choice. There is nothing between two slots.

# %%
from walkthrough.nb00_dataflow import alt, dataflow

# %%
show(
    dataflow(),
    "Figure 0.4. One round through MemoryGAN. Black: an image is read and written. Blue: real images, and the keys that "
    "stand for them. Orange: generated images. The next notebooks light up one box each.",
    alt(),
)

# %% [markdown]
# ## The memory in ten lines
#
# Before any theory, use it once. Queries here are directions in the plane, so that we can think of them as points of a compass.
# The memory has 16 slots. We write 20 times: real samples point roughly east, generated ones roughly west.

# %%
from memgan import VMFMemory

torch.manual_seed(0)
memory = VMFMemory(num_slots=16, key_dim=2, top_k=4)
east, west = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 0.0])
for _ in range(20):
    samples = torch.stack([east, west]) + 0.1 * torch.randn(2, 2)
    queries = torch.nn.functional.normalize(samples, dim=1)
    memory.write(queries, labels=torch.tensor([1, 0]))

# %% [markdown]
# Nobody computed a gradient. What does the memory say about directions that it has not seen? **Predict** D for east, for
# 37 degrees north of it, and for west.

# %%
questions = torch.tensor([[1.0, 0.0], [0.8, 0.6], [-1.0, 0.0]])
for name, probability in zip(["east", "37 degrees north", "west"], memory.read(questions), strict=True):
    print(f"{name:16} D = {probability:.3f}")

# %% [markdown]
# It answers 0.999 and 0.001 and not 1 and 0: the read is clipped to $[\epsilon, 1-\epsilon]$ with $\epsilon = 10^{-3}$, so that its
# logarithm stays finite. Notebook 3 says what the clip costs. And for 37 degrees, why 0.983?
# Look at the three slots that this query most probably comes from:

# %%
posterior = memory.posterior(questions[1:2])[0]
for slot in posterior.topk(3).indices:
    name, degrees = ("generated", "real")[memory.values[slot]], (memory.keys[slot] @ questions[1]).acos().rad2deg()
    print(f"{posterior[slot]:.3f}: {name}, {degrees:.0f} degrees away, count {memory.histogram[slot]:.5f}")

# %% [markdown]
# The slot of the real samples wins, although two others are nearer. Nothing was ever written to those: they have been called generated from the start, and
# their counts are next to nothing. Bayes' rule weighs how near a slot is against how often it was met; notebook 2 takes that apart.
#
# The same memory also *offers* what the generator should draw: a slot that stands for something real.

# %%
keys, slots = memory.sample(1000)
print("all of the offered slots are real:", bool((memory.values[slots] == 1).all()))
print("share of offered keys that point east:", f"{(keys[:, 0] > 0.8).float().mean():.2f}")

# %% [markdown]
# ## How to read
#
# | notebook | question | seconds |
# |---|---|---|
# | [0 Start here](00_start_here.ipynb) | what can an ordinary GAN not do, and how could a memory help? | 10 |
# | [1 Structural discontinuity, and forgetting](01_structural_discontinuity.ipynb) | why must a continuous generator draw what lies between the classes, and when does a discriminator forget? | 25 |
# | [2 The posterior over slots](02_vmf_posterior.ipynb) | which slot is an image from, and is it real? | 9 |
# | [3 Looking at k slots only](03_topk_approximation.ipynb) | what is lost, and where does the gradient go? | 25 |
# | [4 Writing: why these E and M steps?](04_memory_update.ipynb) | where do the paper's three lines come from, and what would go wrong with something simpler? | 18 |
# | [5 The generator that is told what to draw](05_mcgn.ipynb) | how does a slot come to mean something? | 30 |
# | [6 Full training](06_full_training.ipynb) | does it learn real digits while you watch? | 25 |
# | [7 Does it work?](07_does_it_work.ipynb) | are the two problems cured? | 40 |
#
# The seconds are those of one CPU core, imports included.
#
# - **In order.** Each notebook uses what came before, and says so.
# - **Predict, then run.** Where you read *Predict*, stop and answer before you look at the output. A wrong guess is the moment at which
#   one learns.
# - **The code is the real one.** Whatever has to do with the method is imported from `memgan`, the package that you can train with. Where you
#   should read it, the notebook shows its source. The shortest complete account of the method is
#   [memgan/reference.py](../memgan/reference.py): plain loops, no batches.
# - **Numbers in brackets**, such as (4), are equations. They are all on one page, [docs/notation.md](../docs/notation.md), with every symbol.
# - **Sliders** show their picture at once; run their cell to move them. Nothing moves unless you ask for it.
# - **Exercises** stand at the end of each notebook from 1 on, and check themselves; [solutions](solutions/01_structural_discontinuity.ipynb) are
#   in a folder beside.
# - **Numbers come from runs.** What takes longer than a minute was computed by a script of this repository, and the notebook says
#   which. Where a result is not what the paper claims, it says that too.

# %% [markdown]
# ## Symbols that you will meet at once
#
# Shapes are written in brackets: `[B, M]` is a batch of B vectors of M numbers. B counts images, N slots; a key has M numbers, a noise vector Z; k is how many
# slots are looked at.
#
# | symbol | shape | in words | in the code |
# |---|---|---|---|
# | $x$ | [B, C, H, W] | image, from -1 (black) to 1 (white) | `images` |
# | $y$ | [B] | 1: real, 0: generated | `labels` |
# | $q = \mu(x)$ | [B, M] | query: the image's direction, of length 1 | `queries` |
# | $K, v, a, h$ | [N, M], [N], [N], [N] | keys, values, ages, histogram of the N slots | `memory.keys`, ... |
# | $\kappa$ | | how sharply a slot is peaked around its key | `kappa` |
# | $z$ | [B, Z] | noise | `noise` |
# | $D(x)$ | [B] | probability that $x$ is real | `memory.read(queries)` |

# %% [markdown]
# ## In five lines
#
# - A continuous generator on a connected latent space that draws several separate classes must also draw what lies between them.
# - A discriminator that is asked only about today's fakes may forget yesterday's.
# - MemoryGAN's discriminator is a memory of slots, each a direction that is called real or generated; reading is Bayes' rule.
# - The memory learns by writing, without a gradient, while the networks learn by gradients through the read.
# - The generator is told which slot to draw, and that choice is discrete.
#
# Whether it really cures both problems is a question for measurements, and [notebook 7](07_does_it_work.ipynb) answers it with what we found.
# Next: [1 · Structural discontinuity, and forgetting](01_structural_discontinuity.ipynb).

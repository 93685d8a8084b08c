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
# **The question:** what can an ordinary GAN not do, and how could a *memory* help?
#
# MemoryGAN keeps prototypes of images in a memory, and each place of the memory is called a *slot*. Each row below shows images that were generated from one slot. The training saw 4,000 images of digits. Nobody told it that they are digits, or that there are ten kinds.

# %%
import platform

import torch
import torch.nn.functional as F

from memgan import VMFMemory, load_pretrained
from memgan.plots import image_grid
from memgan.widgets import Playground
from walkthrough import show
from walkthrough.nb00_dataflow import alt, dataflow

gan, settings = load_pretrained("mnist-5k")
images, slots = gan.sample_slots(8, 14, generator=torch.Generator().manual_seed(4))
show(
    image_grid(images.flatten(0, 1), 14, row_labels=[f"slot {slot}" for slot in slots.tolist()], width=7),
    "Figure 0.1. A MemoryGAN that was trained on 4,000 digits of MNIST without their labels. Each row is one random slot of its "
    "memory, and along the row only the noise changes. The slot decides the digit and its handwriting, and the noise small details.",
    "Eight rows of fourteen crisp handwritten digits; every row shows one digit in one handwriting, with small changes.",
)

# %% [markdown]
# These notebooks take you through one paper: Y. Kim, M. Kim and G. Kim, *Memorization Precedes Generation: Learning Unsupervised GANs with Memory Networks*, ICLR 2018 ([arXiv 1803.01500](https://arxiv.org/abs/1803.01500)), **MemoryGAN** for short. You need to know PyTorch and what a GAN is. You need neither this paper, nor the von Mises-Fisher distribution, nor EM.
#
# **The promise.** When you are through, you will have
#
# - seen with your own eyes which two problems the paper attacks, and how large they are,
# - checked every equation of the method by running it, and read the code that training runs,
# - written a memory of your own and trained a GAN with it,
# - and seen which of the paper's claims hold in our experiments, which do not, and which were not tested.
#
# Everything runs on a CPU. (These pages were made with the versions below; yours will differ.)

# %% tags=["nbval-ignore-output"]
print("Python", platform.python_version(), "· PyTorch", torch.__version__)
print("a GPU for your own training:", "yes" if torch.cuda.is_available() else "none, and none is needed here")

# %% [markdown]
# ## Two problems
#
# **Problem 1: one continuous latent space.** A generator is a continuous function. If you walk from one noise vector to another, its image changes continuously, say from a 1 to an 8. Somewhere on the way it is neither. The data come in separate classes, but the latent space has no gaps between them, so the generator must draw what lies between. The paper calls this *structural discontinuity*. [Notebook 1](01_structural_discontinuity.ipynb) proves it in three lines and measures it.
#
# **Problem 2: the discriminator forgets.** The loss of the discriminator asks only about the images that the generator draws *now*. Nothing in it mentions what was drawn a thousand steps ago. New gradients change the weights, and what they encoded about old images can be overwritten. Notebook 1 shows when this happens, and when it does not.
#
# ## The idea: remember
#
# MemoryGAN puts a *memory* where the discriminator's last layer was. Follow the picture from the top left.
#
# - An image goes through an **inference network**, which turns it into a direction, a point on a sphere. This is the *query*.
# - The memory has $N$ **slots**. Each has a key (a direction), a value (1 for real, 0 for generated), an age (how many writes ago it was last used) and a count (how many images stand behind it, where old ones count less and less).
# - **Reading** uses Bayes' rule: how probable is it that the query comes from each slot? Only the $k$ most probable slots are kept ("top k"). The probabilities of the real slots add up to $D(x)$, the probability that the image is real.
# - **Writing** stores the query: slots like it move towards it by a step of *EM* (notebook 4), or the oldest slot is replaced. No gradient is involved.
# - **Generating** starts from the memory too. A real slot is drawn, and its key goes to the generator, with some noise. What to draw is now a discrete choice, and there is nothing between two slots.

# %%
show(
    dataflow(),
    "Figure 0.2. One round through MemoryGAN. Black: an image is read and written. Blue: real images, and the keys that "
    "stand for them. Orange: generated images. Numbers in brackets are equations, and notebooks 2 to 6 "
    "take them up one after another.",
    alt(),
)

# %% [markdown]
# ## Watch both learn
#
# Watch an ordinary GAN and a MemoryGAN learn the same points: eight separate clusters on a ring, which we call *modes*. Run the cell, and both are trained in this page. After 2,000 steps the ordinary GAN reaches all modes, but its points form one connected piece, with bridges from mode to mode. MemoryGAN draws nothing in between, but fills only a part of each mode.

# %%
Playground()

# %% [markdown]
# *Both GANs after 50, 400 and 2,000 steps. Grey dots are data, and the other dots are generated, with a colour for each slot of the MemoryGAN. The lines are a square grid of noise after the generator has moved it. The background is blue where the discriminator says real, and orange where it says generated.*
#
# The menu *settings* takes out one part of the method at a time. The next notebooks explain the parts one by one.
#
# ## The memory in ten lines
#
# Before any theory, use the memory once. The queries here are directions in the plane, like points of a compass. The memory has 16 slots and the package's defaults. We write 20 times: real samples point roughly east, and generated ones roughly west.

# %%
torch.manual_seed(0)
memory = VMFMemory(num_slots=16, key_dim=2, top_k=4)
east, west = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 0.0])
for _ in range(20):
    samples = torch.stack([east, west]) + 0.1 * torch.randn(2, 2)
    queries = F.normalize(samples, dim=1)
    memory.write(queries, labels=torch.tensor([1, 0]))

# %% [markdown]
# Nobody computed a gradient. What does the memory say about directions that it has not seen? **Predict** $D$ for east, for 37 degrees north of it, and for west.

# %%
questions = torch.tensor([[1.0, 0.0], [0.8, 0.6], [-1.0, 0.0]])
for name, probability in zip(["east", "37 degrees north", "west"], memory.read(questions), strict=True):
    print(f"{name:16} D = {probability:.3f}")

# %% [markdown]
# It answers 0.999 and 0.001, and not 1 and 0, because the read is clipped to $[\epsilon, 1-\epsilon]$ with $\epsilon = 10^{-3}$. The losses of a GAN contain $\log D$ and $\log(1 - D)$, and the clip keeps both finite when the memory is quite sure. ([Notebook 3](03_topk_approximation.ipynb) says what it costs.) And why is it 0.983 for 37 degrees? Look at the three slots that this query most probably comes from:

# %%
posterior = memory.posterior(questions[1:2])[0]
for slot in posterior.topk(3).indices:
    name = ("generated", "real")[memory.values[slot]]
    degrees = (memory.keys[slot] @ questions[1]).acos().rad2deg()
    print(f"{posterior[slot]:.3f}: {name:9} {degrees:2.0f} degrees away, count {memory.histogram[slot]:.5f}")

# %% [markdown]
# The slot of the real samples wins, although two others are nearer. Nothing was ever written to those two. A new memory gives every slot a random key, a label and a tiny count, and these two were labelled as generated. Bayes' rule weighs how near a slot is against how often it was used, with a setting $\kappa$ that says how much nearness counts (60 here), and [notebook 2](02_vmf_posterior.ipynb) takes that apart.
#
# The same memory also chooses what the generator should draw. It samples a slot that stands for something real:

# %%
keys, slots = memory.sample(1000)
print("of 1,000 sampled slots, real ones:", int(memory.values[slots].sum()))
print("sampled keys that point east:     ", int((keys[:, 0] > 0.8).sum()))

# %% [markdown]
# ## How to read
#
# | notebook | question | seconds |
# |---|---|---|
# | [0 Start here](00_start_here.ipynb) | what can an ordinary GAN not do, and how could a memory help? | 10 |
# | [1 Structural discontinuity, and forgetting](01_structural_discontinuity.ipynb) | why must a continuous generator draw what lies between the classes, and when does a discriminator forget? | 30 |
# | [2 The posterior over slots](02_vmf_posterior.ipynb) | which slot is an image from, and is it real? | 15 |
# | [3 Looking at k slots only](03_topk_approximation.ipynb) | what is lost, and where does the gradient go? | 25 |
# | [4 Writing the memory](04_memory_update.ipynb) | where do the paper's three lines come from? | 40 |
# | [5 The generator that is told what to draw](05_mcgn.ipynb) | how is a generator told, and what makes it obey? | 40 |
# | [6 Full training](06_full_training.ipynb) | does it learn handwritten digits? | 35 |
# | [7 Does it work?](07_does_it_work.ipynb) | which of the paper's claims hold here? | 65 |
#
# The seconds are about those of one free CPU core, imports included. Each notebook takes 10 to 30 minutes to read. Three bonus notebooks go further: [b1](b1_life_long_memory.ipynb) on the memory that MemoryGAN descends from, [b2](b2_the_published_code.ipynb) on the code that the authors published, and [b3](b3_how_many_slots_and_what_kappa.ipynb) on the choice of the settings.
#
# - **In order.** Each notebook uses what came before, and says so.
# - **Predict, then run.** Where you read *Predict*, stop and answer before you look at the output. You learn most when your guess is wrong.
# - **The code is the real one.** All code of the method is imported from `memgan`, the package that you can train with, and the notebook shows its source where you should read it. The shortest complete account of the method is [memgan/reference.py](../memgan/reference.py), in plain loops.
# - **Numbers in brackets**, such as (4), are equations. They all stand on one page, [docs/notation.md](../docs/notation.md), with every symbol.
# - **Sliders** can be moved once you have run their cell. Until then you see a still picture of them.
# - **Exercises** stand at the end of each notebook from 1 on, and check themselves. The [solutions](solutions/01_structural_discontinuity.ipynb) are in a folder of their own. From notebook 2 on, some of them are the parts of **your own memory**, with which you train a GAN in notebook 6.
# - **Numbers come from runs.** What takes longer than a minute was computed by a script of this repository, and the notebook says which. Where a result contradicts the paper, it says so.
#
# ## Symbols that you will meet at once
#
# Shapes are written in brackets: `[B, M]` is a batch of B vectors of M numbers. B counts images and N slots; an image has C channels, H rows and W columns. A key has M numbers and a noise vector Z, and k is how many slots are looked at.
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
#
# ## In five lines
#
# - A continuous generator on a connected latent space that draws several separate classes must also draw what lies between them.
# - A discriminator that is asked only about today's fakes may forget yesterday's.
# - MemoryGAN's discriminator is a memory of slots, each a direction that is called real or generated. Reading is Bayes' rule.
# - The memory learns by writing, without a gradient, while the networks learn by gradients through the read.
# - The generator is told which slot to draw, and that choice is discrete.
#
# Whether it cures both problems is a question for measurements, and [notebook 7](07_does_it_work.ipynb) answers it with what we found. **Next:** [1 · Structural discontinuity, and forgetting](01_structural_discontinuity.ipynb).

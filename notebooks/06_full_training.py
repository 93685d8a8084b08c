# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6 · Full training
#
# **The question:** does a discriminator that *remembers*, and a generator that is told *what* to draw by that memory,
# learn real handwritten digits, without ever seeing a label, while you watch?
#
# You will see one training step taken apart, then the whole run (about 40 seconds on one CPU core), then what the
# memory has made of the digits: its slots, and what the generator draws for each of them.
#
# Everything here is imported from `memgan`; the symbols are those of the
# [notation page](../docs/notation.md), where the equations are numbered.

# %%
import inspect

import torch
from tqdm.auto import tqdm

import memgan
from memgan.data import load_dataset
from memgan.evaluation import evaluate, train_classifier
from memgan.plots import image_grid, training_curves
from memgan.runs import build
from memgan.settings import PRESETS
from memgan.training import Optimisers, prepare, train, training_step

# %% [markdown]
# ## The data
#
# Scikit-learn's handwritten digits come with scikit-learn, so nothing is downloaded. They are 8x8 pixels; we enlarge
# them to 16x16. The file is ordered by writer, and the last 360 images are kept for testing, so that **the test digits
# are by people whom training has not seen**. The labels are only for judging the result: training never looks at them.

# %%
train_data, test_data = load_dataset("digits"), load_dataset("digits", split="test")
print("training images:", list(train_data.images.shape), " test images:", list(test_data.images.shape))
print("pixel values from", train_data.images.min().item(), "to", train_data.images.max().item())

# %%
image_grid(train_data.images[:48], columns=16, title="Real digits: the first 48 training images")

# %% [markdown]
# ## The model
#
# Three parts. The *inference network* $\mu$ turns an image into a query, a point on the unit sphere. The *memory* is a
# mixture of von Mises-Fisher distributions on that sphere; each slot says whether it stands for real or for generated
# images. The *generator* is given the key of a real slot and noise. The settings of all three are a preset.

# %%
prepare(seed=0)
settings = PRESETS["digits"]
gan = build(settings)
print(gan.memory)
for name in ("inference", "generator"):
    print(f"{name}: {sum(p.numel() for p in getattr(gan, name).parameters()):,} parameters")

# %% [markdown]
# The memory starts ignorant: random directions, half of the slots called real, half generated.

# %%
memory = gan.memory
print("slots:", memory.num_slots, " called real:", memory.values.sum().item())
print("length of a key:", round(memory.keys.norm(dim=1).mean().item(), 6))

# %% [markdown]
# ## One step
#
# This is the training step that the run below repeats, as it stands in the package. First the discriminator:
# read both batches, write both into the memory, improve $\mu$ by the gradient of (12). Then the generator: a fresh
# batch, read but not written, and the gradient of (13).

# %%
print(inspect.getsource(training_step))

# %% [markdown]
# Before any training, the memory cannot tell real from generated. **Predict:** after one single write of 64 real and 64
# generated images, before any network has changed, what will the memory say about the same images?

# %%
images = train_data.images[:64]
with torch.no_grad():
    queries = torch.cat([gan.inference(images), gan.inference(gan.generate(64).images)])
labels = torch.tensor([1] * 64 + [0] * 64)
before, _ = memory.read(queries).chunk(2)
memory.write(queries, labels)
real, generated = memory.read(queries).chunk(2)
print("before the write, D(real) on average above 0.9:", before.mean().item() > 0.9)
print("after it, more certain of real than of generated:", real.mean().item() > generated.mean().item() + 0.5)

# %% [markdown]
# One write is enough: the memory learns by *writing down*, not by gradients. That is what "memorization precedes
# generation" means. What it knows is only as good as the queries, though, and those have to be learnt.

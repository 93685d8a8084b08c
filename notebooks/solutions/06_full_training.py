# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6 · Full training: solutions
#
# The exercises stand at the end of [notebook 6](../06_full_training.ipynb#Exercises). There are other ways to solve them.

# %%
import torch
import torch.nn.functional as F

from memgan import load_pretrained
from memgan.training import prepare
from walkthrough import nb06_full_training as nb06, show

prepare(seed=0)

# %% [markdown]
# ### 6.1 · Count
#
# The half of $D$ generates 64 images, and reads and writes 128 queries. The half of $G$ generates 64 more and reads them.

# %%
nb06.check_counts({"images generated": 64 + 64, "queries written": 64 + 64, "queries read": 128 + 64})

# %% [markdown]
# ### 6.2 · Your own losses
#
# Each expectation is a mean over its batch.


# %%
def loss_of_d(real, generated):
    return -real.log().mean() - (1 - generated).log().mean()


def loss_of_g(generated):
    return -generated.log().mean()


nb06.check_discriminator_loss(loss_of_d)
nb06.check_generator_loss(loss_of_g)

# %% [markdown]
# ### 6.3 · Two slopes
#
# $\frac{d}{dD} \log(1-D) = -1/(1-D)$ and $\frac{d}{dD}(-\log D) = -1/D$.

# %%
nb06.check_slopes({"saturating": 1 / 0.99, "non_saturating": 1 / 0.01})

# %% [markdown]
# ### 6.4 · Your own memory trains
#
# These are the solutions of the notebooks before, together the whole memory of MemoryGAN in some thirty lines.


# %%
def read(keys, values, histogram, queries, kappa, k):
    scores = kappa * queries @ keys.T + (histogram + 1e-8).log()
    best, slots = scores.topk(k, dim=1)
    probability = (best.softmax(dim=1) * values[slots]).sum(dim=1)
    return probability.clamp(1e-3, 1 - 1e-3)


def replace(memory, query, label):
    mean = memory.histogram.mean()
    ages = torch.where(memory.values == label, memory.ages, -1)
    oldest = ages.argmax()
    memory.keys[oldest] = query
    memory.values[oldest] = label
    memory.ages[oldest] = 0
    memory.histogram[oldest] = mean


def em_step(memory, queries, label):
    scores = memory.kappa * queries @ memory.keys.T + (memory.histogram + 1e-8).log()
    scores = scores.masked_fill(memory.values != label, -torch.inf)
    best, slots = scores.topk(memory.top_k, dim=1)
    gamma = torch.zeros_like(scores).scatter(1, slots, best.softmax(dim=1))
    touched = (gamma > 0).any(dim=0)
    gamma = gamma[:, touched]
    past = memory.alpha * memory.histogram[touched]
    resultant = past.unsqueeze(1) * memory.keys[touched] + gamma.T @ queries
    memory.histogram[touched] = past + gamma.sum(dim=0)
    memory.keys[touched] = F.normalize(resultant, dim=1)


def sample(values, histogram, number):
    return torch.multinomial(histogram * values, number, replacement=True)


def posterior_loss(keys, values, histogram, slots, queries, kappa):
    scores = kappa * queries @ keys.T + (histogram + 1e-8).log()
    return F.cross_entropy(scores.masked_fill(values == 0, -torch.inf), slots)


# %% tags=["nbval-close"] tolerance={"absolute": 0.2, "relative": 0.5}
parts = nb06.Parts(read=read, replace=replace, em_step=em_step, sample=sample, information=posterior_loss)
losses = nb06.Losses(discriminator=loss_of_d, generator=loss_of_g)
sheet = nb06.train_own(parts, losses)

# %%
show(
    sheet,
    "Samples after 240 steps: of the GAN with the memory above, and of the one with the package's.",
    "Two rows of rough digits of one model, and two rows of the other.",
)

# %% [markdown]
# They differ because the two memories draw other slots from the same random state, write the replacements of a batch one after another or together, and add in another order. A GAN enlarges such differences within a few steps. What should agree, roughly, are the means of $D$ in the table, each over the 60 steps before it. The slots in use differ more from run to run.
#
# ### 6.5 · Harder: only the generator
#
# $G$ can make the images of different slots different, and it can push them to where $\mu$ happens to be sensitive. It cannot change what $\mu$ is sensitive to. We take the step of `training_step` and leave the term out of the first loss.

# %%
from memgan.data import as_float, load_dataset
from memgan.gan import discriminator_loss, generator_loss
from memgan.presets import PRESETS
from memgan.runs import build
from memgan.training import adam_optimisers

images = as_float(load_dataset("mnist-5k").images)
settings = PRESETS["mnist-5k"].changed(["memory.num_slots=512"])


def probability_of_the_slot(weight_in_d, steps=60):
    prepare(seed=0)
    gan = build(settings)
    optimisers = adam_optimisers(gan, settings.training)
    labels = torch.tensor([1] * 64 + [0] * 64)
    for _ in range(steps):
        with torch.no_grad():
            generated = gan.generate(64)
        batch = images[torch.randint(4000, (64,))]
        queries = torch.cat([gan.inference(batch), gan.inference(generated.images)])
        term = gan.information(generated, queries[64:], "posterior")
        real, fake = gan.read_write(queries, labels).chunk(2)
        loss = discriminator_loss(real, fake) + weight_in_d * term
        optimisers.discriminator.zero_grad()
        loss.backward()
        optimisers.discriminator.step()

        generated = gan.generate(64)
        queries = gan.inference(generated.images)
        loss = generator_loss(gan.read(queries), "non_saturating")
        loss = loss + 1.4 * gan.information(generated, queries, "posterior")
        optimisers.generator.zero_grad()
        loss.backward()
        optimisers.generator.step()
    generated = gan.eval().generate(500, generator=torch.Generator().manual_seed(0))
    queries = gan.inference(generated.images).detach()
    return float(gan.memory.log_posterior_of(generated.slots, queries).exp().mean())


# %% tags=["nbval-close"] tolerance={"absolute": 0.1, "relative": 0.4}
for weight in (1.4, 0.0):
    print(f"weight {weight} in L_D: probability of the right slot {probability_of_the_slot(weight):.2f}")

# %% [markdown]
# The generator alone gets part of the way, and both together get further in the same 60 steps. What is missing is the part of $\mu$: it does not learn to tell the slots.
#
# ### 6.6 · Harder: write before you read
#
# A query that has just been written stands on a slot of its own label, or has pulled such a slot towards itself. So $D$ is pushed towards 1 on the real half and towards 0 on the generated half, whatever $\mu$ does. The loss is smaller, and so is the gradient: $\mu$ is told that there is less to learn than there is. With the pretrained model, 64 new digits and 64 generated ones:

# %%
gan, _ = load_pretrained("mnist-5k")
with torch.no_grad():
    new = gan.inference(as_float(load_dataset("mnist-5k", split="test").images[::15][:64]))
    generated = gan.inference(gan.generate(64, generator=torch.Generator().manual_seed(0)).images)
labels = torch.tensor([1] * 64 + [0] * 64)
queries = torch.cat([new, generated])
before = gan.memory.read(queries).chunk(2)
gan.memory.write(queries, labels)
after = gan.memory.read(queries).chunk(2)

# %% tags=["nbval-close"]
for name, (real, fake) in {"before the write": before, "after it": after}.items():
    print(f"{name:16}: D(real) {real.mean():.2f}, D(generated) {fake.mean():.2f}")

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
# **The question:** how can a generator be told *which kind* of image to draw, when nobody has ever named a kind? And what makes it obey?
#
# The answer to the first part is that the memory tells it: a real slot is drawn, and its key goes into the generator beside the noise. The second part is harder. Here are three trainings that differ in one term of the loss and in nothing else.

# %%
import math

import torch
import torch.nn.functional as F
from IPython.display import display

from memgan import MemoryGAN, VMFMemory, information_loss, load_pretrained
from memgan.data import as_float, load_dataset
from memgan.gan import posterior_information_loss
from memgan.networks import Generator
from memgan.presets import PRESETS
from memgan.runs import build
from memgan.training import prepare, train
from walkthrough import nb05_mcgn as nb05, show, source
from walkthrough.nb00_dataflow import alt, dataflow

prepare(seed=0)

# %%
show(
    nb05.sheets(
        {
            "no information term": "bound-none.png",
            "the paper's term (14)": "bound-density.png",
            "the posterior's term (15)": "bound-posterior.png",
        }
    ),
    "Figure 5.1. Three generators after the same 1,200 steps on MNIST. Each row is one slot of the memory, and all rows have "
    "the same twelve noises. Left: both slot and noise change the digit. Middle: all rows are equal, so the generator does not "
    "listen to the slot at all. Right: every row is one digit, and the noise changes its strokes. This generator obeys.",
    "Three sheets of eight rows and twelve columns. Left, digits and malformed digits that change along each row. Middle, eight "
    "times the same row of twelve different shapes, many of which are no digits. Right, each row shows one digit.",
)

# %% [markdown]
# The term in the middle is the paper's. It is derived from a correct inequality, and with the paper's own memory rule it fails here: it is worse than no term. This notebook derives it, finds out what goes wrong, and derives a second term from the same inequality, with which the same training works. Most of this walkthrough uses the second one.
#
# You need [notebook 2](02_vmf_posterior.ipynb) (the vMF distribution, the posterior) and [notebook 4](04_memory_update.ipynb) (what $h$ counts). Reading takes about 30 minutes, running about half a minute.

# %%
show(
    dataflow("sample"),
    "Figure 5.2. Where we are: the way back, from the memory to an image. A slot is drawn among the real ones, and its key "
    "goes to the generator.",
    alt("sample"),
)

# %% [markdown]
# ## Drawing a slot
#
# The generator should draw every kind of image that occurs in the data, each as often as it occurs. The memory knows both. The value $v_i = 1$ marks the slots of real images, and the count $h_i$ says how much data stands behind slot $i$. If all real slots were equally likely, rare kinds would be drawn as often as common ones, and slots that were never written to would be drawn too. So slot $c$ is drawn with the probability
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
# Slot 2 has the largest count and is never drawn, because it stands for generated images. The package draws a uniform number and looks up where it falls in the running sum of the probabilities:

# %%
display(source(VMFMemory.sample))
memory = VMFMemory(num_slots=4, key_dim=4, top_k=2)
memory.histogram.copy_(histogram)
memory.values.copy_(values)
_, drawn = memory.sample(60_000, torch.Generator().manual_seed(0))
counts = drawn.bincount(minlength=4)
print("of 60,000 draws:", counts.tolist())
print("expected:       ", [round(60_000 * p) for p in by_hand])

# %% [markdown]
# (A slot without mass has an interval of length zero in the running sum, and `right=True` makes sure that it is never hit.)
#
# The reading prior (1) is $h_i + \beta$, so that every slot can be found. The draw uses $h_i$ alone. A slot that was never written to still has its first count of $10^{-5}$ and is practically never drawn.
#
# ## The key goes in beside the noise
#
# The image is $x = G([K_c, z])$. The paper calls this generator the *memory conditional generative network*, **MCGN**. The brackets are a concatenation, and nothing more happens to the key:

# %%
source(Generator.forward)

# %% [markdown]
# How much of the output of the first layer depends on the key, compared with the noise? The first layer is linear, and its weights all have the same spread, so each input contributes to the variance of a feature in proportion to its square. The key has squared length 1. Each of the $Z$ noise numbers is uniform on $(-1, 1)$ and has the mean square 1/3. The key's share should therefore be $1/(1 + Z/3)$. We measure it on fresh generators:

# %% tags=["nbval-close"] tolerance={"relative": 0.1}
for noise_dim in (4, 16):
    gan = build(PRESETS["mnist-5k"].changed([f"networks.noise_dim={noise_dim}"]))
    first = gan.generator.layers[0].weight.detach()  # [features, M + Z]
    by_key = F.normalize(torch.randn(5000, 64), dim=1) @ first[:, :64].T
    by_noise = (torch.rand(5000, noise_dim) * 2 - 1) @ first[:, 64:].T
    share = by_key.var() / (by_key.var() + by_noise.var())
    print(f"Z = {noise_dim:2}: expected {1 / (1 + noise_dim / 3):.2f}, measured {share:.2f}")

# %% [markdown]
# With 16 noise numbers, as in the preset `mnist-5k`, five sixths of the variance of the first layer come from the noise at the beginning. Training must increase the key's part if the slot is to decide the image.
#
# ## Why should the generator obey?
#
# So far nothing makes it. The discriminator asks only whether an image looks real, and a generator can look real and ignore its key. So the paper adds an idea of InfoGAN (Chen et al., 2016): it should be possible to *tell from the image* which key it was made from. The mutual information of the two measures that:
#
# $$I(K_c; x) = H(K_c) - H(K_c \mid x) = H(K_c) + \mathbb E \log p(K_c \mid x).$$
#
# Here $H(K_c)$ is the entropy of the key, that is, how uncertain we are before we see the image. The last term says how well the key can be guessed from the image. The true $p(K_c \mid x)$ is unknown, so we put any other distribution $r(K_c \mid x)$ in its place. The two differ by a KL divergence, which is never negative:
#
# $$\mathbb E \log p(K_c \mid x) = \mathbb E \log r(K_c \mid x) + \mathbb E_x\, \mathrm{KL}\big(p(\cdot \mid x)\,\|\,r(\cdot \mid x)\big) \;\ge\; \mathbb E \log r(K_c \mid x).$$
#
# So every choice of $r$ gives a lower bound of the information. InfoGAN trains a network to be $r$. MemoryGAN needs no further network, because the query of the image, $\mu(x)$, is a direction and already estimates the key.
#
# ### The paper's choice: a density around the query
#
# The paper takes the vMF around $\mu(x)$ as $r$. Its logarithm is $\log C_M(\kappa) + \kappa\, K \cdot \mu(x)$, and with
#
# $$\hat I = -\mathbb E[\kappa K_c \cdot \mu(G([K_c, z]))] \tag{14}$$
#
# the bound reads
#
# $$I(K_c; x) \;\ge\; H(K_c) + \log C_M(\kappa) - \hat I .$$
#
# Neither $H(K_c)$ nor $\log C_M(\kappa)$ contains a network's weights. So only $\hat I$ is put into the losses, with a weight $\lambda$, and both networks make it small:

# %%
source(information_loss)

# %% [markdown]
# In words: the query of a generated image should point in the same direction as the key that the image was made from.
#
# ## What goes wrong
#
# We train MNIST with this term for 80 steps, with $\lambda = 0.02$ and 1,024 slots, by the memory rule of the paper ([notebook 4](04_memory_update.ipynb)): a query counts as known if any of its $k$ best slots has its label, and a new query replaces the oldest slot whatever its label. As in the authors' code, all slots of $S_y$ get the age 0. ($\kappa$, $\alpha$ and $Z$ are those of the preset `mnist-5k`. The paper's own numbers follow below.) Every tenth step we look at 500 generated images and ask two things: how close are their queries to their keys, as a cosine? And how probable does the memory find the right slot, if it may look at the image?

# %%
digits = load_dataset("mnist-5k")
papers_rule = ["memory.correct_in_top=32", "memory.touch=all", "memory.replace_within_label=false"]
preset = PRESETS["mnist-5k"].changed([*papers_rule, "memory.num_slots=1024"])


def look(gan: MemoryGAN) -> tuple[float, float]:
    """The mean cosine between a generated image's query and its key, and the mean probability of its slot."""
    gan.eval()
    generated = gan.generate(500, generator=torch.Generator().manual_seed(0))
    queries = gan.inference(generated.images).detach()
    cosine = (queries * generated.keys).sum(dim=1)
    probability = gan.memory.log_posterior_of(generated.slots, queries).exp()
    return round(float(cosine.mean()), 2) + 0.0, float(probability.mean())  # + 0.0 makes -0.0 a plain zero


def trained(changes: list[str], steps: int = 80) -> tuple[MemoryGAN, dict[int, tuple[float, float]]]:
    settings = preset.changed(changes)
    prepare(seed=0)
    gan = build(settings)
    seen = {0: look(gan)}
    for step in train(gan, digits, settings.training):
        if step.number % 10 == 0:
            seen[step.number] = look(gan)
        if step.number == steps:
            break
    return gan.eval(), seen


# %% [markdown]
# **Predict:** if the cosine rises well above 0.5, what happens to the probability of the right slot?

# %% tags=["nbval-close"] tolerance={"absolute": 0.3, "relative": 0.2}
density, seen_density = trained(["training.information=density", "training.mi_weight=0.02"])
for step in (0, 20, 40, 80):
    cosine, probability = seen_density[step]
    print(f"step {step:3}: cosine of query and key {cosine:.2f}, probability of the right slot {probability:.2f}")

# %% [markdown]
# The term does what it asks for: the queries move towards their keys. (We stop at step 80, because what comes after it differs from machine to machine.) Yet at no step does the memory know which slot an image came from. How can an image lie close to its key and not tell which key it was? Look at the keys themselves:


# %% tags=["nbval-close"] tolerance={"absolute": 0.3, "relative": 0.1}
def cosine_of_two_keys(gan: MemoryGAN) -> float:
    keys, _ = gan.memory.sample(500, torch.Generator().manual_seed(0))
    others, _ = gan.memory.sample(500, torch.Generator().manual_seed(1))
    return round(float((keys * others).sum(dim=1).mean()), 2) + 0.0


without, seen_without = trained(["training.mi_weight=0"])
models = {"before training": build(preset), "no information term": without, "the density's term": density}
for name, gan in models.items():
    print(f"{name:20}: cosine of two random real keys {cosine_of_two_keys(gan):.2f}")
cosine, probability = seen_without[80]
print(
    f"no information term, step 80: cosine of query and key {cosine:.2f}, probability of the right slot {probability:.2f}"
)
assert 0.3 < cosine_of_two_keys(without) < cosine_of_two_keys(density)

# %% [markdown]
# **All keys have become nearly the same.** Some of that comes from the young network, which maps all images to similar directions: without the term the cosine of two keys has grown too (second line). With the density's term it is near 1. The key of a slot is a running mean of the queries that were written into it, and the queries come from the network $\mu$ that this term trains. The easiest way to bring every query close to its key is to send all images to the same direction. The keys follow, and no key can be told from another. The cosine of a query and its key then says nothing about the slot, because the cosine with every other key is about as large.
#
# What went wrong? The derivation calls the entropy of $K_c$ a constant, because no weight appears in it. But the keys are made by $\mu$. When they come close together, the entropy of such a vector falls, so that the information does not grow although $\hat I$ falls. The loss leaves out this entropy, which is the term that would have grown worse. (A memory has $N$ keys, so an image can carry at most $\log N$ nats about its slot. The density's bound does not know this limit.)
#
# ## The second bound: which slot, not which vector
#
# The generator is not told an arbitrary vector. It is told a *slot*, one of those with $v = 1$. So we apply the same inequality to $c$ in the place of $K_c$. Now $r(c \mid x)$ must be a distribution over slots, and the memory has one: its own posterior (4), restricted to the real slots.
#
# $$I(c; x) \;\ge\; H(c) - I_\text{post}, \qquad I_\text{post} = -\mathbb E \log \frac{e^{\kappa K_c \cdot \mu(x)}(h_c+\beta)}{\sum_{j:\,v_j=1} e^{\kappa K_j \cdot \mu(x)}(h_j+\beta)} \tag{15}$$
#
# The sum runs over the real slots only, because the generator is given no others. $I_\text{post}$ is the cross-entropy of a classifier whose classes are the slots: it is 0 if every image tells its slot for certain, and it is never negative. So the bound is at most $H(c)$, as it should be. $H(c)$ depends on the counts alone, and only $I_\text{post}$ goes into the losses. Nothing there keeps many slots in use: with a single one $I_\text{post}$ would be 0. In the runs below it does not come to that.

# %%
source(posterior_information_loss)

# %% [markdown]
# By hand on four slots, and as the package has it:

# %%
memory = VMFMemory(num_slots=4, key_dim=4, top_k=2, kappa=3.0)
memory.histogram.copy_(histogram)
memory.values.copy_(values)
query = F.normalize(memory.keys[0] + 0.5 * memory.keys[1], dim=0)  # an image of slot 0 that looks a little like slot 1
joint = [math.exp(3 * float(memory.keys[i] @ query)) * float(histogram[i]) for i in (0, 1, 3)]  # slot 2 is not real
print(f"by hand: {-math.log(joint[0] / sum(joint)):.4f}")
print(f"package: {posterior_information_loss(memory, torch.tensor([0]), query.unsqueeze(0)):.4f}")

# %% [markdown]
# ### Two pulls
#
# Both losses pull the query of an image. Their gradients with respect to $\mu(x)$ are
#
# $$-\kappa K_c \quad\text{for } \hat I, \qquad\qquad -\kappa \Big(K_c - \sum_{j:\,v_j=1} p(c=j \mid x, v=1)\, K_j\Big) \quad\text{for } I_\text{post}.$$
#
# The density always pulls towards $K_c$, no matter where the other keys are. The posterior pulls towards $K_c$ *and away from the rivals*, each in proportion to its probability. If all keys were equal, the bracket would be zero, so nothing is gained by making them equal. And once the right slot is certain, the bracket is zero again: the query is left alone, wherever it stands near its key.
#
# We move a query from its own key to the key of its nearest rival, in the memory of the pretrained model `mnist-5k`. The query is normalised, so only the part of each gradient *along the sphere* (tangent to it) can move it. For the density that part has the length $\kappa \sin\theta$ at an angle $\theta$ from the key, and it vanishes at the key although the whole gradient does not.

# %%
pretrained, _ = load_pretrained("mnist-5k")
busiest = int(pretrained.memory.slot_probabilities().argmax())
found = nb05.pulls(pretrained.memory, busiest)
generated = pretrained.generate(1000, generator=torch.Generator().manual_seed(0))
queries = pretrained.inference(generated.images).detach()
rest = math.degrees(math.acos((queries * generated.keys).sum(dim=1).mean()))
show(
    nb05.pull_figure(found, rest),
    "Figure 5.3. A query goes from its own key (0 degrees) to the key of the nearest rival (the right end). Left: how hard each "
    "loss pulls it back, as the length of the gradient's part tangent to the sphere. Right: the probability of its own slot. The "
    "posterior stops pulling as soon as the slot is known; the density goes on. Dashed: where the queries of this model's "
    "generated images rest, on average.",
    "Left: two curves over the angle. Both begin near 11.5 at 52 degrees. The density's falls slowly to 0 at 0 degrees; the "
    "posterior's is near 1 at 27 degrees and 0 below 15. Right: the probability is 1 below 15 degrees and falls to 0 at 50.",
)
print("degrees  density  posterior  p(c | x)")
for at in range(0, 121, 20):
    row = f"{found.density[at]:7.1f}  {found.posterior[at]:9.2f}  {found.probability[at]:8.2f}"
    print(f"{found.degrees[at]:7.0f}  {row}")

# %% [markdown]
# This is why the two terms have such different weights. The pull of the density is zero only when the query equals its key. So it pushes the queries of a slot's images to one direction, however well the slot is known already. Its weight has to be kept tiny, because the other losses would not count beside it. The posterior's pull ends by itself, so its weight can be large: the preset has $\lambda = 1.4$, and the paper $0.01$ or less.
#
# ## Both on the same settings
#
# The same 80 steps from the same seed, with the second bound:

# %% tags=["nbval-close"] tolerance={"absolute": 0.3, "relative": 0.2}
posterior, seen_posterior = trained(["training.information=posterior", "training.mi_weight=1.4"])
print("          density            posterior")
for step in (0, 20, 40, 80):
    columns = [f"cosine {c:.2f}, p {p:.2f}" for c, p in (seen_density[step], seen_posterior[step])]
    print(f"step {step:3}: {columns[0]}  {columns[1]}")
two_keys = [cosine_of_two_keys(gan) for gan in (density, posterior)]
print(f"two keys: {two_keys[0]:.2f}               {two_keys[1]:.2f}")
assert seen_posterior[80][1] > 2 * seen_density[80][1]
assert two_keys[1] < two_keys[0]

# %% [markdown]
# With the posterior the cosine grows as well, but the keys stay apart, and the right slot gets several times as much probability as with the density. (There it gets about one twentieth, as if the memory guessed blindly among twenty slots.)
#
# What becomes of this after 1,200 steps, one or two minutes of one core, was measured by [`scripts/measure_bounds.py`](../scripts/measure_bounds.py). Some measures, each in a sentence:
#
# - **Inception Score**: high if a classifier is sure of each image and all classes are equally frequent; from 1 to 10, and 9.6 for real test images.
# - **Frechet distance**: how far the classifier's features of generated images are from those of the training images, as two Gaussians; 0 would be equal, and real test images have 14.
# - **Purity**: take 16 images of a slot; the share of the most frequent class, averaged over slots. A generator that ignores its slots has about 0.25.
# - **Slots in use**: $e^{H(c)}$, the number of equally likely slots that would have the same entropy.
# - **Variety**: how much the images of a slot vary in a pixel, as a share of how much real images of one class vary.
#
# The classifier is a small network, trained on the labels of the same 4,000 digits and right on 98 % of the test digits. MemoryGAN itself never sees a label.

# %%
runs = nb05.load_runs()
columns = {
    "inception_score": ".2f",
    "frechet_distance": ".0f",
    "slot_purity": ".2f",
    "slots_in_use": ".0f",
    "variety": ".2f",
}
print(nb05.run_table(runs, ["density", "no term", "posterior"], columns))
show(
    nb05.shares_figure(
        {
            "no term": runs["no term"][0],
            "density": runs["density"][0],
            "posterior": runs["posterior"][0],
        }
    ),
    "Figure 5.4. Who decides what, measured on 48 slots crossed with the same 48 noises. Left: how much of the class one knows "
    "from the slot alone, and from the noise alone. Right: the variance of the pixels, split into what the slot changes, what the "
    "noise changes, and what only both together change.",
    "Left, bars of the class: with the posterior 0.92 from the slot and 0.01 from the noise; with the density 0 and 1; without a "
    "term 0.38 and 0.26. Right, the variance of the pixels: 0.79 the slot's with the posterior, all the noise's with the density, "
    "and a third each without a term.",
)

# %% [markdown]
# From here on the walkthrough uses the posterior term. With the density, the generator takes everything from the noise: the whole class is known from $z$ and nothing of it from the slot. With the posterior it is the other way round (Figure 5.1).
#
# ### The paper's own numbers
#
# Is the density only badly tuned? We change its weight and the number of noise dimensions. The last two runs, *paper*, have the paper's $\kappa = 1$, $\alpha = 0.5$ and $Z = 2$ (for Fashion-MNIST), the density with its $\lambda = 0.01$, and the posterior with 1.4:

# %%
tuned = ["density", "density, Z 4", "density, Z 4, lambda 0.1", "density, Z 2, lambda .01", "posterior"]
tuned += ["paper, density", "paper, posterior"]
print(nb05.run_table(runs, tuned, columns | {"cosine": ".2f", "bound": ".2f"}))

# %% [markdown]
# *The last two columns are the cosine of a generated query and its key, and the bound $H(c) - I_\text{post}$ in nats. One seed each.*
#
# At $\kappa = 15$ none of these settings mends the density. With five times the weight the cosine is highest and the images are the worst of the four. With two noise numbers and the paper's weight the slot decides more (purity 0.60), but the Frechet distance is larger than with 16. The bound is below zero in all four runs: the memory would guess the slot better without looking at the image.
#
# At the paper's own numbers both terms fail, with the largest Frechet distances of the table. The density's pull is then at most $\lambda\kappa = 0.01$, too weak to move a query to its key (cosine -0.04). The posterior does move it, but at $\kappa = 1$ a key at its query outweighs one at a right angle only by $e$, so the slot cannot be told. So $\kappa$, $\alpha$ and $Z$ together fail here, whatever the term. (The paper's larger networks, 4,096 slots and longer training were not tested.)
#
# In other settings the density trains: [a study](../docs/studies.md#fashion-mnist-the-papers-term-50-epochs) has it on Fashion-MNIST with $\kappa = 60$ and another memory rule. We have not measured which of the two makes the difference.
#
# ## Style in z, class in c
#
# So the slot should decide the class and the noise the style. Figure 5.4 shows how far that goes. The pretrained model goes further. It differs in several ways at once: 20,000 steps, twice the channels and twice the slots, the rule for writing of this project's preset, and R1 (a penalty on the slope of $D$, [notebook 6](06_full_training.ipynb)).

# %%
print(nb05.run_table(runs, ["pretrained"], columns))
row = runs["pretrained"][0]
print(
    f"share of the class that is known: {row['class_from_slot']:.2f} from the slot, {row['class_from_noise']:.2f} from the noise"
)
print(
    f"variance of the pixels: slot {row['variance_slot']:.2f}, noise {row['variance_noise']:.2f}, both {row['variance_both']:.2f}"
)

# %% [markdown]
# The measure for the class is *normalised mutual information*, $I(\text{class}; c)/H(\text{class})$. The measure for the pixels is a two-way analysis of variance. (The Frechet distance of 12 is below the 14 of real test images, probably because generated digits lie nearer to the training digits.) The price is that the slot now determines nearly the whole image, so that $z$ changes little. With 798 slots in use there is a slot for each way of writing a digit. The images of a slot vary by 0.14 of what the real images of a class do. If you want the noise to do more, use fewer slots or a smaller $\lambda$. A larger $\lambda$ makes the slots still easier to tell apart and gives realism less weight; we have not measured it.
#
# ## A slot is not a class
#
# The memory is also an encoder of real images: each image has a most probable slot. We look up the slots of the 4,000 training images. If the memory had found the classes, all images of a slot would carry the same label. **Predict:** how many slots does a digit have?

# %% tags=["nbval-close"]
memory = pretrained.memory


@torch.no_grad()
def slot_of(images: torch.Tensor) -> torch.Tensor:
    """The most probable real slot of each image."""
    queries = torch.cat([pretrained.inference(as_float(part)) for part in images.split(500)])
    scores = memory.kappa * queries @ memory.keys.T + memory.slot_probabilities().log().float()
    return scores.argmax(dim=1)


own_slot = slot_of(digits.images)
votes = torch.zeros(memory.num_slots, 10).index_put_((own_slot, digits.labels), torch.ones(4000), accumulate=True)
label_of_slot = votes.argmax(dim=1)
taken = votes.sum(dim=1) > 0

print(f"slots in use: {memory.slots_in_use():.0f} of {int(memory.values.sum())} real ones")
print("slots that hold training images of the digits 0 to 9:", label_of_slot[taken].bincount(minlength=10).tolist())
print(f"training images whose slot mostly holds their own digit: {votes.amax(dim=1).sum() / 4000:.0%}")
shuffled = digits.labels[torch.randperm(4000, generator=torch.Generator().manual_seed(0))]
by_chance = torch.zeros_like(votes).index_put_((own_slot, shuffled), torch.ones(4000), accumulate=True)
print(f"the same, if the labels are shuffled:                    {by_chance.amax(dim=1).sum() / 4000:.0%}")
test = load_dataset("mnist-5k", split="test")
right = label_of_slot[slot_of(test.images)] == test.labels
print(f"test images named rightly by the label of their slot:   {right.float().mean():.0%}")

pixels, of_test = as_float(digits.images).flatten(1), as_float(test.images).flatten(1)
centres = nb05.k_means(pixels, number=int(taken.sum()))
cluster = torch.cdist(pixels, centres).argmin(dim=1)
label_of_cluster = torch.zeros(len(centres), 10).index_put_((cluster, digits.labels), torch.ones(4000), accumulate=True)
named = {
    "the label of their k-means cluster": label_of_cluster.argmax(dim=1)[torch.cdist(of_test, centres).argmin(dim=1)],
    "their nearest training image": digits.labels[torch.cdist(of_test, pixels).argmin(dim=1)],
}
for way, labels in named.items():
    print(f"named rightly by {way + ':':39}{(labels == test.labels).float().mean():.0%}")

# %%
fours = [
    slot
    for slot in memory.slot_probabilities().argsort(descending=True).tolist()
    if label_of_slot[slot] == 4 and votes[slot].sum() >= 4
]
show(
    nb05.slot_rows(pretrained, fours[:6], digits.images, own_slot),
    "Figure 5.5. Six slots of the digit 4: those that are drawn most, among those with at least four training images. Left: four real "
    "images that belong to the slot. Right: eight images that the generator draws for its key. Most slots hold one way of writing a digit. The first three also "
    "hold real images of other digits, and the first two draw poor ones.",
    "Six rows. Left four real images, right eight generated ones; most rows show 4s in a handwriting of their own, and the first ones mix digits.",
)

# %% [markdown]
# A digit has about a hundred slots, and most of them hold one way of writing it. (Shuffled labels give 38 % and not a tenth, because a slot holds only about four training images, and some label always leads.) The memory was not told that there are ten digits.
#
# Is 81 % good? No: plain k-means on the pixels, with as many clusters, names more test images rightly, and so does the nearest training image. The slots are made to tell generated images from real ones, and not to sort real images by class.
#
# To pick slots yourself, run `memgan explore mnist-5k`, which writes a page with every slot's samples and nearest real images.
#
# ## Where it breaks
#
# We drew 48 slots of the pretrained model at random. These are the four least pure of them:

# %%
show(
    nb05.least_pure_rows(pretrained, runs["pretrained"][0]["least_pure"]),
    "Figure 5.6. The four least pure of 48 slots, sixteen noises each. Beside a slot's number stand the digits that the classifier "
    "sees in its images, the most frequent first. The eye agrees: each of these shapes lies between these digits.",
    "Four rows of sixteen generated digits: between 7 and 9, 5 and 8, 3, 5 and 8, 4 and 9.",
)

# %% [markdown]
# The posterior asks only that a slot can be told from its *rivals*. It does not ask for a good digit: a slot of a strange shape is told easily. And it measures what $\mu$ can tell. If $\mu$ told two slots by a stray pixel, the term would be satisfied.
#
# ## A detour: the sign of the constant
#
# The paper prints the density's constant with a minus, $H(K_c) - \log C_M(\kappa) - \hat I$. For training this does not matter, but only one of the signs gives a bound. Take a case in which everything is known: $K$ is uniform on the sphere in three dimensions, and the query is a vMF around $K$ with $\kappa = 5$.

# %%
kappas = torch.tensor([1.0, 2.0, 5.0, 10.0, 20.0], dtype=torch.float64)
plus, minus, information = nb05.two_signs(kappas, true_kappa=5.0)
print(f"information: {information:.4f} nats")
for kappa, with_plus, with_minus in zip(kappas, plus, minus, strict=True):
    print(f"kappa of r {kappa:2.0f}: with plus {with_plus:7.4f}, with minus {with_minus:7.4f}")

# %% [markdown]
# With the plus sign the bound lies below the information and touches it at the true $\kappa = 5$, where $r$ is the true posterior. With the minus sign it lies above, so it bounds nothing.
#
# ## What it is not
#
# | | conditional GAN | InfoGAN | MCGN |
# |---|---|---|---|
# | what G is given | a label | a code: one of $n$, and continuous numbers | the key of a slot |
# | where it comes from | people named each image | drawn from a fixed prior | learnt: the memory's keys |
# | how often each | as in the labels | set beforehand, usually all equally | as $h$ counts (11) |
# | how many | the classes | chosen beforehand | at most $N$; how many are in use is learnt |
# | who reads it back | nobody needs to | a second head $r$ of the discriminator | the memory: the vMF around $\mu$ (14), or the posterior (15) |
#
# Whether a learnt code beats InfoGAN's fixed one is a question for runs with equal tuning. They are in [notebook 7](07_does_it_work.ipynb).
#
# ## In five lines
#
# - A slot is drawn among the real ones, as often as its count says. Its key goes into the generator as it is, beside the noise.
# - A lower bound of the information between slot and image makes the generator obey. Any guess $r$ of the slot from the image gives such a bound.
# - The paper's guess is a density around the query (14). It can be satisfied by making all keys equal, and with the paper's memory rule that is what happened here. At the paper's own $\kappa$ and $\alpha$ neither term trains.
# - The memory's own posterior over the real slots (15) pulls towards the own key and away from the rivals, and stops when the slot is known. On the same settings it trains.
# - The slot then decides the class, and the noise changes only small details. A slot is finer than a class: a digit has about a hundred.
#
# ## Exercises
#
# Replace the three dots and run the cell. The check says what is wrong. [Solutions](solutions/05_mcgn.ipynb). Exercises 5.3 and 5.4 are three more parts of **your own memory**; in notebook 6 it trains a GAN.
#
# ### 5.1 · Four slots
#
# $h = (2, 5, 4, 2)$ and $v = (1, 0, 1, 1)$. How often is each slot drawn? Give a list of four numbers.

# %%
nb05.check_probabilities(...)

# %% [markdown]
# ### 5.2 · A larger key
#
# Suppose that we multiplied the keys by $\sqrt M$, so that each coordinate is of size 1, with $M = 64$ and $Z = 16$. Which share of the first layer's variance would the key have? What would become of the variety inside a slot?

# %%
nb05.check_key_share(...)

# %% [markdown]
# ### 5.3 · Your own memory: sample
#
# Write (11): from `values` [N] and `histogram` [N], draw `number` slots at random and return their places [number]. A slot with $v = 0$ or $h = 0$ must never be returned.


# %%
def sample(values, histogram, number):
    return ...


nb05.check_sample(sample)

# %% [markdown]
# ### 5.4 · Your own memory: the two information losses
#
# Write $\hat I$ (14) from the `keys` [B, M] that the generator was given and the `queries` [B, M] of its images. Then write $I_\text{post}$ (15): `keys` [N, M], `values` [N] and `histogram` [N] are those of the memory, `slots` [B] are the places that were drawn, and $\beta$ is $10^{-8}$. Your `posterior` of exercise 2.3 knows the sum over real slots already; for a loss, its logarithm should stay finite.


# %%
def density_loss(keys, queries, kappa):
    return ...


def posterior_loss(keys, values, histogram, slots, queries, kappa):
    return ...


nb05.check_density_loss(density_loss)
nb05.check_posterior_loss(posterior_loss)

# %% [markdown]
# ### 5.5 · Harder: the gradient on paper
#
# Derive the gradient of $I_\text{post}$ with respect to $\mu(x)$, which the section "Two pulls" states. Then check it with `torch.autograd` on the pretrained memory. How long is it if only two slots are possible, with equal counts, and the query lies exactly between them?
#
# ### 5.6 · Harder: generated slots as rivals
#
# Let the sum in (15) run over *all* slots, those with $v = 0$ too. What would the term then ask of the generator, beside telling its slot? Which other loss asks for the same? Would you expect a stronger or a weaker generator?
#
# **Next:** [notebook 6](06_full_training.ipynb) puts everything together and trains it, from the first step to good digits.

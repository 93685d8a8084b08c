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
# **The question:** does a discriminator that remembers, together with a generator that the memory tells what to draw, learn handwritten digits, without ever seeing a label?
#
# Here is one training run, at six of its 1,600 steps. Each column has its own random numbers, and the generator is given the same ones at all six steps.

# %%
import torch

from memgan import load_pretrained
from memgan.data import as_float, load_dataset
from memgan.gan import discriminator_loss, generator_loss
from memgan.lab.evaluation.metrics import nearest
from memgan.plots import GENERATED, REAL, image_grid
from memgan.presets import PRESETS
from memgan.runs import build
from memgan.training import prepare, train, training_step
from memgan.widgets import LatentExplorer
from walkthrough import nb06_full_training as nb06, show, source
from walkthrough.nb00_dataflow import alt, dataflow

run = nb06.load_training()
rows = {place: f"step {now['step']}" for place, now in enumerate(run["moments"]) if now["step"] >= 50}

# %%
show(
    nb06.snapshots(
        "training-snapshots.png", rows, columns=11, column_label="down a column the random numbers are the same"
    ),
    "Figure 6.1. One training of the preset `mnist-5k`, a minute and a half of one core. After 100 steps there are blobs, "
    "after 200 strokes, after 800 most images can be read as digits, and after 1,600 nearly all. A column does not keep its "
    "digit; the section on the histogram says why.",
    "Six rows of eleven images: two rows of blobs, strokes, rough digits, and two rows of digits, the last of which is clear. "
    "Down a column the digit changes, for example from 0 to 8 to 5.",
)

# %% [markdown]
# In this notebook you see the losses and one training step line by line, and you train the first part of this run yourself. Then you look at what came of it: how good the images are, what the memory does, and whether the networks know digits or only the 4,000 that they were shown.
#
# You need the read ([notebook 3](03_topk_approximation.ipynb)), the write ([notebook 4](04_memory_update.ipynb)) and the generator's side ([notebook 5](05_mcgn.ipynb)). Reading takes about 30 minutes, running about half a minute.

# %%
show(
    dataflow("losses"),
    "Figure 6.2. Earlier notebooks explained every grey box. This one adds the losses. (This preset has (15) in the place of (14).)",
    alt("losses"),
)

# %% [markdown]
# ## The data and the model
#
# `mnist-5k` has 5,000 digits of MNIST, 28x28 pixels each. Training sees 4,000 of them. The other 1,000 are kept for the scores, and no network is trained on them. No label is used in training.

# %%
digits, test = load_dataset("mnist-5k"), load_dataset("mnist-5k", split="test")
print("training images:", list(digits.images.shape), " test images:", list(test.images.shape))
prepare(seed=0)
settings = PRESETS["mnist-5k"]
gan = build(settings)
print(gan.inference)
print(gan.generator)

# %% [markdown]
# The two networks are those of a small DCGAN (Radford et al., 2016). What is missing is the discriminator's last layer, which would give one number. The memory takes its place:

# %%
memory = gan.memory
print(f"N = {memory.num_slots} slots with keys of M = {memory.key_dim} numbers, k = {memory.top_k}")
print(f"kappa = {memory.kappa}, alpha = {memory.alpha}, slots called real at the start: {int(memory.values.sum())}")

# %% [markdown]
# ## The losses
#
# The discriminator should say 1 on real images and 0 on generated ones. Its loss is
#
# $$L_D = -\mathbb E \log D(x) - \mathbb E \log(1 - D(G(z, K_c))) + \lambda I \tag{12}$$

# %%
guess = torch.full((4,), 0.5)  # what D says if it cannot tell real from generated
print(f"L_D without the information term, at D = 1/2: {discriminator_loss(guess, guess):.3f} (2 log 2)")
source(discriminator_loss)

# %% [markdown]
# The generator wants its images to be taken for real. The paper gives the *saturating* form, and this project trains with the *non-saturating* one:
#
# $$L_G = \mathbb E \log(1 - D(G)) + \lambda I \quad\text{(saturating)}, \qquad L_G = -\mathbb E \log D(G) + \lambda I \quad\text{(non-saturating)} \tag{13}$$

# %%
print(f"L_G without the information term, at D = 1/2: {generator_loss(guess, 'non_saturating'):.3f} (log 2)")
source(generator_loss)

# %% [markdown]
# Both are smallest where $D$ takes every fake for real. They differ where $D$ is sure of a fake, as it is at the beginning. There the slope of the first form is many times smaller than that of the second, so it learns more slowly (exercise 6.3 asks for the two slopes).
#
# The information term $I$ is (15), $I_\text{post} = -\mathbb E \log p(c \mid x, v=1)$, in this preset. The paper has (14), $\hat I = -\mathbb E[\kappa K_c \cdot \mu(G)]$. [Notebook 5](05_mcgn.ipynb) derives both.
#
# **Why is the information term in $D$'s loss, too?** It depends on two networks: $G$ makes the image, and $\mu$ tells the slot from it. The generator can make images of different slots differ. But the guess of the slot from the image is made by $\mu$, and if $\mu$ maps two different images to the same direction, the guess fails however different they are. In InfoGAN, too, the network that guesses belongs to the discriminator. The loss of $D$ therefore asks two things of the same query: to say real or generated, and to say which slot.
#
# ## One step, line by line
#
# | | in words | equation | in the code |
# |---|---|---|---|
# | 1 | draw slots and noise, generate a batch | (11) | `gan.generate` |
# | 2 | turn real and generated images into queries | | `gan.inference` |
# | 3 | read both: how probable is it that each is real? | (4)-(6) | `read_write`, first half |
# | 4 | write both with their labels, without a gradient | (7)-(10) | `read_write`, second half |
# | 5 | one step of $\mu$ down the gradient of $L_D$ | (12) | `optimisers.discriminator.step` |
# | 6 | generate a fresh batch, and read it but do not write it | (11), (6) | `gan.generate`, `gan.read` |
# | 7 | one step of $G$ down the gradient of $L_G$ | (13) | `optimisers.generator.step` |

# %%
source(training_step)

# %% [markdown]
# (`replay` is `None` here. It shows old fakes again and is no part of the paper; see [notebook 7](07_does_it_work.ipynb#claim-4-old-fakes-stay-recognised).) Four choices in this code need a reason.
#
# - Real and generated images go through $\mu$ *separately*, because its BatchNorm should see each batch by itself.
# - A batch is read *before* it is written. Otherwise $D$ would be asked about images whose labels the memory has just been told. (The paper writes one sample at a time and does not say whether it reads before or after.) The step of $\mu$ comes after the write and could as well come before it, because $D$ and its gradient are computed by then.
# - What is written carries no gradient. A key is a running mean of many steps, and a gradient would have to go back through all of them.
# - While $G$ learns, the gradient passes through $\mu$ to the images but changes only $G$.
#
# The first half of a step on four images, with shapes. B counts images, M = 64 is the length of a query, k = 32 the number of slots looked at, Z = 16 the noise.

# %%
for line in nb06.traced_shapes(gan, digits.images[:4] / 127.5 - 1):
    print(line)

# %% [markdown]
# ### What one write does
#
# Before any training the memory cannot tell real from generated. **Predict:** after a single write of 64 real and 64 generated images, and before any network has changed, what does the memory say about the same images? And about 64 other ones of each kind?

# %%
with torch.no_grad():
    real = gan.inference(digits.images[::31][:128] / 127.5 - 1)
    generated = gan.inference(gan.generate(128).images)
labels = torch.tensor([1] * 64 + [0] * 64)
before = memory.read(torch.cat([real, generated]))
memory.write(torch.cat([real[:64], generated[:64]]), labels)
after = memory.read(torch.cat([real, generated]))

# %% tags=["nbval-close"] tolerance={"absolute": 0.1, "relative": 0.1}
for name, chances in {"before the write": before, "after it": after}.items():
    r, r_other, g, g_other = (float(part.mean()) for part in chances.split(64))
    print(f"{name:16}: D(real) {r:.2f}, others {r_other:.2f}; D(generated) {g:.2f}, others {g_other:.2f}")

# %% [markdown]
# One write is enough, even for images that were not written, because at the beginning real and generated images are so different that they lie in different directions. The memory learns by *writing down*, and not by gradients. This is what the paper's title, *Memorization Precedes Generation*, means. The memory can tell apart only images whose queries differ, though, and $\mu$ has to learn to make them differ.
#
# ## The run
#
# We start again from the same seed and train for 200 of the 1,600 steps. (The rates are constant up to step 800, so up to rounding these are the first 200 steps of Figure 6.1.) Watch the two numbers beside the bar: the mean of $D$ on real and on generated images.

# %%
prepare(seed=0)
gan = build(settings)
moments, seen, drawn = [], [], {}
steps = 200
progress = nb06.watched(train(gan, digits, settings.training), steps)
for step in progress:
    seen.append((float(step.real), float(step.generated)))
    if step.number % 5 == 0:
        moments.append(nb06.moment(step.number, gan.memory))
        progress.set_postfix(real=f"{step.real:.2f}", generated=f"{step.generated:.2f}")
    if step.number in (100, 200):
        drawn[step.number] = gan.memory.sample(1000, torch.Generator().manual_seed(1))  # keys, slots
    if step.number == steps:
        break
gan = gan.eval()

# %% tags=["nbval-close"] tolerance={"absolute": 0.15, "relative": 0.3}
for first in (0, 50, 100, 150):
    real, generated = torch.tensor(seen[first : first + 50]).mean(dim=0).tolist()
    print(f"steps {first + 1:3} to {first + 50:3}: mean D(real) {real:.2f}, mean D(generated) {generated:.2f}")

# %% [markdown]
# At first $D$ wins easily. Then the generator catches up, and the two numbers come closer. Here is the whole run:

# %%
names = ["discriminator_loss", "generator_loss", "real", "generated"]
history = {name: [entry[place] for entry in run["history"]] for place, name in enumerate(names)}
show(
    nb06.training_curves(history, every=run["every"], window=50),
    "Figure 6.3. The losses with their information term (left) and D (right) over the run, each point the mean of 50 steps. "
    "Dashed: a D that says 1/2 to everything.",
    "Left: the generator's loss falls from above 7 to 1.3 and rises to 1.6; the discriminator's falls from 3.6 to 1. "
    "Right: D of real images falls from 0.94 to 0.61 and rises to 0.74; D of generated ones does the opposite, 0.12, 0.48, 0.31. "
    "Both stay on their side of the dashed line at 1/2.",
)

# %% [markdown]
# The losses need not fall towards 0, because each network is the other's moving target. The right picture has three parts. At first $D$ tells the two kinds apart with ease. Then the generator catches up, and between steps 700 and 850 the two curves are closest to 1/2. After that $D$ gets ahead again, although the images improve (Figure 6.1). Figure 6.9 shows what else happens at that time.
#
# ## The life of the histogram
#
# The count $h$ decides which slots the generator is given (11). **Predict:** at step 200, is the generator still given the slots of the first steps?

# %%
show(
    nb06.histogram_life(moments, early=3),
    "Figure 6.4. Left: of 100 draws, how many go to the slots that are busy at step 20, at step 200 or at both. *Busy* means "
    "to be among the 20 slots with the largest count. Right: the number of slots in use, the exponential of the entropy of (11).",
    "Left: the slots that are busy at both moments get the most draws and lose some of them; those that are busy at step 20 "
    "only become rare, and those busy at step 200 only become frequent. Right: the number in use grows, in several jumps.",
)

# %% tags=["nbval-close"] tolerance={"absolute": 12, "relative": 0.2}
for now in (moments[3], moments[-1]):
    in_use = torch.special.entr(now.offered.double()).sum().exp()
    print(f"step {now.step:3}: called real {now.real_slots}, in use {in_use:.0f}")
early, late = (set(now.offered.topk(20).indices.tolist()) for now in (moments[3], moments[-1]))
print(f"of the 20 slots drawn most at step 20, among those of step 200: {len(early & late)}")

# %% [markdown]
# The number of slots that are called real never changes, because a sample replaces a slot of its own label (`replace_within_label`, [notebook 4](04_memory_update.ipynb)). Which of them are *in use* changes. A part of the slots that are busy at first stay so, and the others give way. The other slots have small counts: they are hardly ever drawn, weigh little in a read, and do no harm. Later the number in use grows. A likely reason, which we have not tested, is that $\mu$ learns to tell images apart: images that had nearly the same query move apart, and fill slots that were hardly used.
#
# This also explains why a column of Figure 6.1 does not keep its digit. A random number picks a *place* in the running sum of the counts ([notebook 5](05_mcgn.ipynb)). When the counts change, another slot stands at that place. And where it is still the same slot, its key has moved, and so have the weights of the generator that reads it:

# %% tags=["nbval-close"] tolerance={"absolute": 0.1}
(keys, then), (moved, now) = drawn[100], drawn[200]
print(
    f"of 1,000 random numbers, those that pick the same slot at steps 100 and 200: {(then == now).float().mean():.2f}"
)
same = (keys * moved).sum(dim=1)[then == now]
print(f"cosine of the key of such a slot at step 100 and at step 200: {same.mean():.2f}")

# %% [markdown]
# ### After the last step
#
# What stands in the counts at the end of a training comes from its last batches. With $\alpha = 0.95$, half of the count of a slot that every write touches is from the last 14 writes, because $0.95^{14} \approx 1/2$. These writes have seen some 900 digits, for 1,024 real slots. So how often a slot is drawn depends on which digits happened to come last.
#
# The package therefore counts anew when the training is over (`training.recount`). It takes all training images, or 10,000 of them where there are more, and gives each real slot its share of them, by a posterior among the real slots and with the keys as they are:
#
# $$h_i \leftarrow \frac Hn \sum_x \frac{e^{\kappa K_i \cdot \mu(x)}\,(h_i+\beta)^w}{\sum_{j:\,v_j=1} e^{\kappa K_j \cdot \mu(x)}\,(h_j+\beta)^w}, \qquad w = \tfrac12 \tag{17}$$
#
# Here $n$ is the number of these images, and $H$ is what the real slots hold together, so that their sum stays as it was. With $w = 1$ this is the E step of [notebook 4](04_memory_update.ipynb#the-e-step-makes-the-bound-equal-to-the-likelihood), over all images at once. It then trusts the present counts in full. But they are partly chance, and a slot that happens to be busy gets still more. With $w = 1/2$ they are trusted by half. The paper has no such step. [Results](../docs/results.md#how-often-should-each-slot-be-drawn) shows what it is worth, by the scores of the same models with four kinds of counts. The run of this notebook is shown without it, because its pictures are about what each training step leaves behind.
#
# ## How good is it?
#
# Now we take two finished models. One is the end of the run of Figure 6.1. The other comes with the package, as `load_pretrained("mnist-5k")`: it has twice the channels, 20,000 steps, and R1, a penalty on the slope of $D$ at real images (Mescheder et al., 2018). This is what it draws, and nothing was picked by hand:

# %%
pretrained, _ = load_pretrained("mnist-5k")
of_slots, slots = pretrained.sample_slots(8, 16, generator=torch.Generator().manual_seed(1))
show(
    image_grid(
        of_slots.flatten(0, 1),
        columns=16,
        row_labels=[f"slot {slot}" for slot in slots.tolist()],
        column_label="noise z, drawn anew for each image",
    ),
    "Figure 6.5. The pretrained model. Each row is one slot, and the number is its place in the memory, which means nothing else. "
    "The eight slots were drawn at random, as the generator draws them. That three of them are 8s is chance. Along a row the "
    "digit stays, and its strokes vary a little; only in the third row some 8s are open and look like a 5.",
    "Eight rows of sixteen generated digits. Each row is one digit in one handwriting, but for a row of 8s with a few 5s in it.",
)

# %% [markdown]
# To put numbers on it we need a classifier. It is a small network that was trained on the *labels* of the 4,000 training digits, and it is right on 98 % of the test digits. It is used for judging only. These are the measures:
#
# - **Inception Score**: high if the classifier is sure of each image and all ten classes are equally frequent. It lies between 1 and 10.
# - **Frechet distance**: the distance between two Gaussians, fitted to the classifier's features of generated and of training images. It is 0 if they agree.
# - **Precision**: the share of generated images whose features lie among those of real images.
# - **Recall**: the share of real images whose features lie among those of generated images. It falls if the generator leaves something out.
# - **MS-SSIM** (multi-scale structural similarity): how similar two random images are, from 0 to 1. It rises if the generator repeats itself.
# - **Purity**: the share of the most frequent class among 16 images of a slot, averaged over slots that are drawn as the generator draws them.
# - **Slots in use**: the exponential of the entropy of (11), as in Figure 6.4.
# - **In between**: the share of images in which the classifier gives no class a probability of 0.8.

# %%
scores = {"1,600 steps": run["scores"], "pretrained": nb06.load_scores()}
rows = ["inception_score", "frechet_distance", "precision", "recall", "ms_ssim", "slot_purity"]
rows += ["slots_in_use", "in_between"]
print(f"{'':18}1,600 steps  pretrained  real test images")
for row in rows:
    real = scores["pretrained"].get(f"{row}_real")
    decimals = {"slots_in_use": 0, "frechet_distance": 1}.get(row, 2)
    values = [*(scores[name][row] for name in scores), real]
    cells = ["" if value is None else f"{value:.{decimals}f}" for value in values]
    print(f"{row.replace('_', ' '):18}{cells[0]:>11}{cells[1]:>12}{cells[2]:>18}".rstrip())

# %% [markdown]
# Compare each number with the last column. After a minute and a half the model is at 9.1 of 9.6 in the Inception Score, and its slots are pure. Its weakness is recall: 0.73, where real test images have 0.86. The pretrained model, with more steps and more channels, reaches 0.84. It even has a *smaller* Frechet distance to the training images than real test images have. That should make you suspicious: does it copy them? We ask the discriminator first, and then the generator.
#
# ## What D says of real images that it has not seen
#
# Has the discriminator learnt what a digit is, or which digits it was shown? We ask the pretrained $D$ about four sets: all 4,000 training images, the 1,000 test images, which no training has seen, 1,000 generated ones, and noise.

# %% tags=["nbval-close"]
pictures = {
    "training images": digits.images,
    "unseen real images": test.images,
    "generated images": pretrained.generate(1000, generator=torch.Generator().manual_seed(0)).images.detach(),
    "random pixels": torch.rand(1000, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1,
}
chances = {name: nb06.discriminate(pretrained, images) for name, images in pictures.items()}

colours = dict(zip(list(pictures)[:3], [REAL, REAL, GENERATED], strict=True))
show(
    nb06.chances_figure({name: chances[name] for name in colours}, colours),
    "Figure 6.6. D of the pretrained model on three sets of images, all on one scale. To the right of one half (dashed) an "
    "image is accepted as real.",
    "Three histograms of D between 0 and 1. Training images and unseen real images have a broad hill around 0.6, which is wider "
    "for training images. That of generated images is broad, too, and has its top near 0.3.",
)


def told_apart(first, second):
    """How often D is higher on a random image of `first` than on one of `second`; 0.5 is a guess."""
    return float((first.unsqueeze(1) > second).double().mean())


for name, values in chances.items():
    share, high = ((values > threshold).float().mean() for threshold in (0.5, 0.85))
    print(f"{name:20} accepted {share:.0%}, D above 0.85 {high:.0%}, mean D {values.mean():.2f}")
fakes = chances["generated images"]
for name in ("training images", "unseen real images"):
    print(f"D puts {name} above generated ones in {told_apart(chances[name], fakes):.0%} of all pairs")
seen_or_not = told_apart(chances["training images"], chances["unseen real images"])
print(f"D puts training images above unseen ones in {seen_or_not:.0%} of all pairs (a guess: 50%)")

# %% [markdown]
# **This discriminator treats unseen real digits nearly as it treats those that it was trained on.** It accepts about the same share of both, and it tells both from generated images about equally well. A trace is left: a tenth of the training images has a $D$ above 0.85, and hardly any unseen one has. Still, *this $D$* tells the two apart little better than a guess.
#
# Why does it then reject a fifth of all real images? Because the generator has become good. Let $p$ be the density of real and $p_G$ that of generated images. The best discriminator is Bayes' rule again, $D(x) = p(x) / (p(x) + p_G(x))$. Where the generator draws 1s as often and as well as the data, this $D$ is 1/2 for 1s, and small errors push many real 1s below that. Here are the unseen digits with the lowest and with the highest $D$:

# %% tags=["nbval-close"] tolerance={"absolute": 3}
order = chances["unseen real images"].argsort(stable=True)
show(
    image_grid(
        test.images[torch.cat([order[:32], order[-32:]])] / 127.5 - 1,
        16,
        row_labels=["D lowest", "", "D highest", ""],
        width=7,
    ),
    "Figure 6.7. Unseen real digits, sorted by D of the pretrained model. Those that it rejects are ordinary digits, "
    "and many of them are 1s.",
    "Two rows of plain digits with many 1s and no 8 but one, and two rows with many 2s, 4s, 8s and 9s.",
)
low = (chances["unseen real images"] < 0.5).nonzero().flatten()
print("rejected of 100 unseen images of each digit 0 to 9:", test.labels[low].bincount(minlength=10).tolist())

# %% [markdown]
# The rejected digits look ordinary, and most often they are 1s, which have the fewest strokes. A likely reason, which we have not tested, is that the generator draws simple digits best. In any case a low $D$ does not mean "a bad digit".
#
# ## Does the generator copy?
#
# The generator never sees a real image. But it is told a key, and a key is a running mean of the queries of a few training images: 4,000 images share nearly 800 slots. The gradient of $D$ pulls the images of a slot towards what has such queries. In this way the generator could learn training images, although it is shown none. To test this, we look for the nearest training image of each image, by the Euclidean distance of all 784 pixels. Here are generated images, and unseen real ones, with their nearest training images:

# %% tags=["nbval-close"] tolerance={"absolute": 0.02, "relative": 0.05}
sets = {"generated": pictures["generated images"], "unseen real": as_float(test.images)}
found = {name: nearest(images, digits.images) for name, images in sets.items()}
some = torch.randperm(1000, generator=torch.Generator().manual_seed(0))[:11]
shown = {name: torch.cat([some, distance.argmin().view(1)]) for name, (distance, _) in found.items()}
show(
    nb06.nearest_figure(
        {name: (sets[name][shown[name]], found[name][1][shown[name]]) for name in sets}, digits.images, 12
    ),
    "Figure 6.8. Eleven generated digits and eleven unseen real ones, chosen at random, each above the training image that is "
    "nearest to it. In the last column stands the closest pair of all 1,000. Look for pairs that differ in no stroke.",
    "Four rows of twelve digits. Many generated digits have nearly the strokes of their nearest training images, and differ in "
    "thickness and detail. Unseen real digits differ more from the training images below them. Both closest pairs are 1s.",
)
for name, (distance, _) in found.items():
    print(
        f"{name:11}: distance to the nearest training image {distance.mean():.1f} on average, {distance.min():.1f} at least"
    )
moved = [(image.roll(1, dims=-1) - image).norm() for image in sets["unseen real"]]
print(f"for scale: an unseen digit and itself, moved by one pixel, are {sum(moved) / len(moved):.1f} apart on average")
quarter = digits.images[::4]  # as many training images as there are unseen ones, 100 of each digit
to_training, to_unseen = (nearest(sets["generated"], images)[0] for images in (quarter, test.images))
share = (to_training < to_unseen).float().mean()
print(f"generated images whose nearest of 1,000 training and 1,000 unseen images is a training image: {share:.0%}")

# %% [markdown]
# **No image is an exact copy, but the generator leans on what it has seen.** On average a generated digit is nearer to its nearest training digit than an unseen real digit is, and many pairs of the figure look nearly alike. The closest pair is a thin 1, which has few pixels to differ in. If the generator had learnt only what digits are, its images would lie as near to 1,000 unseen digits as to 1,000 training digits, and the last number would be 50 %. It is about two thirds. So read its good scores with that in mind, above all the Frechet distance, which is measured to the training images. [The model's card](../memgan/pretrained/mnist-5k.md) says so, too.
#
# The generator of the shorter run leans on the training images nearly as much: the share is the last number of the next output. And its $D$ memorises, which that of the pretrained model hardly does. It was asked about 1,000 training images, all test images and 1,000 of its own fakes at each of its moments:

# %%
show(
    nb06.acceptance_figure(run["moments"][1:]),
    "Figure 6.9. The share of images that D accepts, along the run of 1,600 steps (the step on a logarithmic axis).",
    "Three lines over the step. Training and unseen images stay together up to step 200. At step 1,600 training images are at "
    "0.88, unseen ones at 0.67 and generated ones at 0.17.",
)
print("step   training  unseen  generated")
for now in run["moments"][1:]:
    print(f"{now['step']:5}  {now['seen']:8.2f}  {now['unseen']:6.2f}  {now['fakes']:9.2f}")
print(f"generated images of step 1,600 that are nearer to a training image: {run['scores']['nearer_to_training']:.0%}")

# %% [markdown]
# Up to step 200 seen and unseen images are treated alike. (Around step 400 $D$ accepts less than half of the real images. Here batch normalisation uses its running averages. They lag behind while the networks change fast, so that the numbers differ from those of Figure 6.3.) At the end $D$ accepts far more of the images that it was trained on. It has begun to memorise them, after having met each about 25 times. At the same time it gets ahead in Figure 6.3. Memorising may be the reason, but we have not tested it: the learning rates also begin to fall at step 800. The memory's slots are averages, but the inference network that makes the queries is free to learn single images.
#
# The pretrained model has met each image 320 times and shows little of this. It was trained with R1, which keeps $D$ from jumping between one image and its neighbours. That is the likely reason; we have not tested it alone.
#
# ## Where it fails
#
# We sort 1,000 images of the run of 1,600 steps by a rule: how sure the classifier is of its own answer.

# %%
show(
    nb06.snapshots("training-confidence.png", dict(enumerate(["most sure", "", "median", "", "least sure", ""]))),
    "Figure 6.10. Of 1,000 generated digits, the 32 that the classifier is most sure of, 32 around the median, and the 32 that it "
    "is least sure of.",
    "Six rows of sixteen: two rows of clear digits, two of ordinary ones, two of shapes between two digits or of none.",
)

# %% [markdown]
# The last two rows are the worst 32 of 1,000. Do not take the classifier's word for the rest. It has only ever seen real digits, it must choose one of ten classes, and it can be nearly sure of a shape that the eye cannot read. Count such images in the middle rows. So read "in between" in the table as a lower limit of the failures.
#
# ## Move z
#
# Here is the model that you have trained, with the 64 slots that are drawn most. **Try:** drag over the square or move its mark with the arrow keys, then choose another slot. What changes with the slot, and what with $z$? (On the command line, `memgan explore mnist-5k` makes such a page of the pretrained model.)

# %%
LatentExplorer(nb06.fewer_slots(gan, 64))

# %% [markdown]
# *Images $G(K_c, z)$ of the slot that is drawn most. From left to right the first of the 16 numbers of $z$ grows, from bottom to top the second, and the others are 0. When the cell runs, you choose the slot and move over this square.*
#
# ## In five lines
#
# - A step reads a real and a generated batch, writes both, and improves $\mu$. Then a fresh batch, which is read only, improves $G$.
# - The memory learns by writing: after one write it knows the batch. The networks learn by gradients, through the read.
# - The information term stands in both losses, because $G$ must make slots look different and $\mu$ must be able to tell them.
# - After 1,600 steps nearly all images are digits, and most slots draw one digit, although no label was used. Slots come and go on the way.
# - $D$ rejects some real images because generated ones are like them. In the shorter run, which has no R1, it also begins to memorise the 4,000 training images. The pretrained $D$, with R1, hardly does. Its generator does not copy training images, but it stays nearer to them than to unseen ones.
#
# ## Exercises
#
# Replace the three dots and run the cell. The check says what is wrong. [Solutions](solutions/06_full_training.ipynb).
#
# ### 6.1 · Count
#
# How many images does one training step generate with a batch of 64, how many queries does it write, and how many does it read?

# %%
nb06.check_counts({"images generated": ..., "queries written": ..., "queries read": ...})

# %% [markdown]
# ### 6.2 · Your own losses
#
# Write $L_D$ (12) and the non-saturating $L_G$ (13), both without the information term. The arguments are $D$ of a real and of a generated batch, [B] each.


# %%
def loss_of_d(real, generated):
    return ...


def loss_of_g(generated):
    return ...


nb06.check_discriminator_loss(loss_of_d)
nb06.check_generator_loss(loss_of_g)

# %% [markdown]
# ### 6.3 · Two slopes
#
# At $D = 0.01$, when $D$ is sure of a fake, how large is the derivative of each generator loss (13) with respect to $D$? Which of the two would you rather train with at the beginning?

# %%
nb06.check_slopes({"saturating": ..., "non_saturating": ...})

# %% [markdown]
# ### 6.4 · Your own memory trains
#
# Copy what you wrote in exercises 3.2 (`read`), 4.2 (`replace`), 4.3 (`em_step`), 5.3 (`sample`) and 5.4 (`posterior_loss`) into this notebook and put the functions in the place of the dots. Two small MemoryGANs then train on MNIST from the same weights, for about half a minute: one has your memory and your losses, and the other those of the package. They should do nearly the same, but not to the last digit. Why not?

# %%
parts = nb06.Parts(read=..., replace=..., em_step=..., sample=..., information=...)
losses = nb06.Losses(discriminator=loss_of_d, generator=loss_of_g)
nb06.train_own(parts, losses)

# %% [markdown]
# ### 6.5 · Harder: only the generator
#
# Take the information term out of $L_D$ and leave it in $L_G$. First predict: what can $G$ still do to make $I_\text{post}$ small, and what can it not? Then write such a step from the code of `training_step`, and train a model of 512 slots for 60 steps with it, and another one with the term in both losses. What happens to the probability of the right slot (`look` in notebook 5)?
#
# ### 6.6 · Harder: write before you read
#
# Exchange the two halves of `read_write`, so that $D$ is asked after the memory has been told. What does $D$ say then, and which gradient is left for $\mu$?
#
# **Next:** [7 · Does it work?](07_does_it_work.ipynb) goes through the claims of the paper, one by one.

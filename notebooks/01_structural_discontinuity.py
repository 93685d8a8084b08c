# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1 · Structural discontinuity, and forgetting
#
# **The question:** what can a GAN with one continuous latent space *never* do? And when does its discriminator forget?
#
# The first half of the answer is an argument of three lines.
#
# 1. A generator $G$ is continuous, and its latent space, such as a square or a cube, is connected: it is one piece.
# 2. The continuous image of a connected set is connected.
# 3. The data are several separate pieces. So if $G$ reaches two of them, it also draws points that lie in none.
#
# Here is a trained GAN whose data are eight separate clusters in the plane.

# %%
import torch

from memgan.lab.baselines.models import as_model, build_model
from memgan.presets import PRESETS
from memgan.training import prepare
from memgan.widgets import Playground
from walkthrough import nb01_plane as plane, nb01_walk_figures as walks, show, source
from walkthrough.nb01_discontinuity import check_bound, check_share, check_slope, check_staircase, latent, runs, series
from walkthrough.nb01_isoperimetry import least_off_mode, surroundings
from walkthrough.nb01_plane_figures import GENERATED, Series, forbidden_region, latent_square, squares_over_time

prepare(seed=0)
moments = {}
for step, gan in plane.training_plain(seed=0):
    if step in (100, 300, 600, 1200):
        moments[step] = (latent(gan).modes, plane.measure(gan))

# %%
points = gan.generate(2000, generator=torch.Generator().manual_seed(0)).images
square = latent(gan)
show(
    latent_square(square.modes, square.slope, (points, plane.mode_of(points))),
    "Figure 1.1. Left: what the GAN draws; circles are the clusters, and black points belong to none. Middle: its latent "
    "square, each z coloured by the cluster that it is sent to, and black where it is sent to none. Every border between two "
    "colours has a black seam. Right: how steep G is. It is flat inside a colour and steep on the seams.",
    "Left: points on a ring, many between the eight circles. Middle: eight wedges of colour with black strips between them "
    "that meet near the centre. Right: bright strips in the same places.",
)

# %% [markdown]
# The paper calls this **structural discontinuity**: the data come in separate pieces, and the latent space does not. The generator sends the black seams to *bridges*, continuous paths of points that no data point resembles.
#
# The three lines say that there must be a bridge. They do not say how much of the latent space it takes. It might be so thin that no sample ever hits it. This notebook bounds that share from below, measures it, looks for bridges on handwritten digits, and asks when a discriminator forgets.
#
# You need PyTorch, what a GAN is, and [notebook 0](00_start_here.ipynb). Reading takes about 25 minutes, running about 30 seconds.
#
# ## The GAN on eight clusters
#
# The data are eight Gaussians on a circle of radius 2, each with a standard deviation of $\sigma = 0.1$. We call the clusters **modes**. A point *belongs to a mode* if it lies within $4\sigma$ of its centre, and otherwise it is *off all modes*. Almost no data point is:

# %%
real = plane.real_points(20_000)
print(f"data off all modes: {(plane.mode_of(real) < 0).double().mean():.2%} (a Gaussian has exp(-8) = 0.03% there)")
print(f"gap between two neighbouring discs of radius 4 sigma: {plane.gap():.3f}")
print(gan.generator)
print(gan.inference)

# %% [markdown]
# Both networks are small (a LeakyReLU with slope 0 is a ReLU), and the noise $z$ is uniform on the square $(-1, 1)^2$. The discriminator ends in a sigmoid, which belongs to the loss and so is not printed. The losses are $-\mathbb E \log D(x) - \mathbb E \log(1 - D(G(z)))$ for the discriminator and $-\mathbb E \log D(G(z))$ for the generator. Adam trains both with a rate of 0.002, with batches of 256, for 1,200 steps.
#
# Does the bridge go away with more training? **Predict**, then look at four moments of the training. In the table, a mode counts as *hit* if it gets at least a quarter of its fair share, an eighth of the points. (The picture shows every mode that any noise reaches.)

# %% tags=["nbval-close"] tolerance={"absolute": 0.3, "relative": 0.25}
show(
    squares_over_time({step: modes for step, (modes, _) in moments.items()}),
    "Figure 1.2. The latent square of Figure 1.1 at four moments of the training, coloured as there. In the end the seams are "
    "narrow.",
    "Four squares. After 100 steps nearly all is black; then coloured wedges grow, and the black between them shrinks to strips.",
)
for step, (_, found) in moments.items():
    print(
        f"step {step:4}: off all modes {found.off_mode:.3f}, largest slope {found.slope:5.1f}, modes hit {found.modes}"
    )

# %% [markdown]
# In the end the seams are narrow, and the slope has grown with every line of the table. The next section proves that a smaller share off the modes requires a larger slope. Training can make the bridges steeper, but it cannot remove them.
#
# **Try it** with data of your own. Choose *paint your own*, paint two or three separate spots, and watch the grid of noise in the picture of the ordinary GAN: it stretches from spot to spot and never tears.

# %%
Playground()

# %% [markdown]
# *Both GANs after 50, 400 and 2,000 steps, drawn as in [notebook 0](00_start_here.ipynb).*
#
# ## How large must the bridges be?
#
# Let $L$ be the *Lipschitz constant* of $G$, its largest slope: $\|G(z) - G(z')\| \le L\,\|z - z'\|$ for all $z, z'$. Let there be $m$ modes, each hit with the same probability $a$, and let the discs of two modes be at least $g$ apart. The share that we want is $\text{off} = 1 - m a$.
#
# **1. From uniform to normal.** Write each coordinate as $z = 2\Phi(u) - 1$, where $u$ is standard normal and $\Phi$ is its distribution function, with the density $\varphi$. Then $z$ is uniform. The slope of this map is $2\varphi(u) \le 2\varphi(0) = \sqrt{2/\pi} \approx 0.798$. So $x = G(z)$ is a function of a normal $u$ with a Lipschitz constant of at most $0.798\,L$, in any number of dimensions.
#
# **2. Distance.** Let $A_i$ be the set of all $u$ that $G$ sends into disc $i$. Points of two discs are at least $g$ apart, so $A_i$ and $A_j$ are at least $g / (0.798 L)$ apart. Widen each $A_i$ by half of that,
#
# $$s = \frac{g}{2 \cdot 0.798\, L} = \frac{g}{1.596\,L}.$$
#
# The widened sets do not meet, so their probabilities add up to at most 1.
#
# **3. Isoperimetry.** How little can a set of probability $a$ gain when it is widened by $s$? Among all sets, a *half-space* gains least (Sudakov and Tsirelson 1974; Borell 1975). A half-space of probability $a$ ends at $\Phi^{-1}(a)$, and when it is widened by $s$ it has the probability $\Phi(\Phi^{-1}(a) + s)$. This is the only step that we cite and do not prove.
#
# **4. Together.** $m\,\Phi(\Phi^{-1}(a) + s) \le 1$, hence $a \le \Phi(\Phi^{-1}(1/m) - s)$, and
#
# $$\text{off} \;\ge\; 1 - m\,\Phi\!\left(\Phi^{-1}\!\left(\tfrac1m\right) - \frac{g}{1.596\,L}\right).$$
#
# For two modes or more and every finite $L$ this is above 0. Nothing was assumed about the training, the loss or the number of dimensions, only that $z$ is uniform on a cube. (For a normally distributed $z$, skip step 1 and replace 1.596 by 2.) Modes that are *not* hit equally often have a bound of their own, by the same steps: $\text{off} \ge \sum_i [\Phi(\Phi^{-1}(a_i) + s) - a_i]$. For a GAN that draws a single mode it is 0, because such a GAN needs no bridge: it leaves modes out instead, which is called *mode collapse*.
#
# Here is the bound by hand, for a slope of 20. (In the function, `margin` is $s$, `_quantile` is $\Phi^{-1}$ and `_probability` is $\Phi$.)

# %%
from statistics import NormalDist

normal = NormalDist()
s = plane.gap() / (1.5957691 * 20)
by_hand = 1 - 8 * normal.cdf(normal.inv_cdf(1 / 8) - s)
print(f"by hand {by_hand:.5f}, by the function {least_off_mode(20.0, plane.gap(), 8):.5f}")
source(least_off_mode)

# %% [markdown]
# **Is the bound any good?** With two modes it is nearly reached. Send $z$ below $-w$ to one mode and above $w = g / 2L$ to the other, and go straight with slope $L$ between them. Only that strip is off, a share of $w$. With eight modes the bound is true but cannot be reached, because no eight half-spaces lie side by side without overlapping.

# %%
for slope in (5, 20, 80):
    best = plane.gap() / (2 * slope)
    print(f"two modes, L = {slope:2}: best map {best:.4f}, bound {float(least_off_mode(slope, plane.gap(), 2)):.4f}")

# %% [markdown]
# With more modes the bound is higher, because there are more borders: at $L = 20$ it is 0.018 for two modes and 0.037 for eight.
#
# ### The forbidden region
#
# Now draw the bound as a curve, the share of points off all modes against the slope. No GAN whose $z$ is uniform on a cube can lie below the curve *if it hits all eight modes equally often*. **Predict:** where do trained GANs lie, and which way do they move as they train?

# %%
plain, wide = runs("plain"), runs("plain, 16 noise dimensions")
full = [run for run in plain + wide if run["modes"] == 8]
found = moments[1200][1]
shown = [
    series("fewer than 8 modes", [run for run in plain + wide if run not in full], "#777777", "s", (9, 0.9)),
    series("z in 2 dimensions", [run for run in plain if run in full], GENERATED, "o", (30, 0.04)),
    series("z in 16 dimensions", [run for run in wide if run in full], "#CC79A7", "v", (80, 0.22)),
    Series("Figure 1.1", [found.slope], [found.off_mode], "#000000", "*", (11.5, 0.105), size=15),
]

# %%
show(
    forbidden_region(shown, slopes=(1, 400)),
    "Figure 1.3. GANs after seven lengths of training from 150 to 9,600 steps: five seeds with 2 noise dimensions, three with 16, "
    "and the one trained above (star). Training moves them down along the bound and never across it: fewer points are off the modes, "
    "and G is steeper.",
    "Logarithmic axes. A falling curve with a hatched region below it. All dots lie above the curve, in a band parallel to it, "
    "from slope 4 and 80 percent to slope 200 and 2 percent. The grey ones, with fewer than 8 modes, are at the upper left.",
)

# %%
for steps in (300, 1200, 9600):
    some = [run for run in plain if run["settings"]["steps"] == steps]
    off, slope = ([f"{run[name]:.3g}" for run in some] for name in ("off_mode", "slope"))
    print(f"{steps:4} steps, seeds 0-4: off {', '.join(off)}; slope {', '.join(slope)}")
allowed = [run["off_mode"] >= surroundings(run["masses"], run["slope"], plane.gap()) for run in plain + wide]
print("runs that break the bound for their own a_i:", allowed.count(False), "of", len(allowed))
times = [run["off_mode"] / least_off_mode(run["slope"], plane.gap(), 8) for run in full]
print(f"off / bound, for the {len(full)} runs with all 8 modes: {min(times):.0f} to {max(times):.0f}")

# %% [markdown]
# (The slope is the largest one at 160,000 points of the latent space. The true $L$ is at least that, so a true point lies to the *right* of the drawn one, further from the forbidden region, and the error cannot hide a violation. The runs are in `results/plane.json`.)
#
# The GANs stay several times above the bound. It says what is *necessary*, and nothing promises that training gets there. The proof needs a latent space in **one connected piece**. If $G$ is first told which piece to draw, a discrete choice, and then gets noise within that piece, no bridge is needed. [Notebook 7](07_does_it_work.ipynb) trains MemoryGANs, which have such a choice, on the same data.
#
# ## Do digits show the same?
#
# Nobody knows where the modes of handwritten digits end, so we ask a classifier. It was trained on the labels of the 4,000 training digits of `mnist-5k`, and it is right on 98 % of the test digits. Two thresholds were fixed before the measurement: the classifier is *sure* of an image if it gives a class at least 0.95, and the image is **in between** if no class gets 0.8.
#
# The generator is that of a DCGAN (Radford et al., 2016) with 16 noise numbers. Its networks have the sizes of the preset `mnist-5k`, with which the model of notebook 0 was trained, but the discriminator ends in a sigmoid instead of a memory. (`ImageConvTranspose2d` computes what `ConvTranspose2d` does, and is faster on a CPU.)

# %%
settings = as_model(PRESETS["mnist-5k"], "dcgan").changed(["networks.noise_dim=16", "training.steps=3000"])
dcgan = build_model(settings)
print(dcgan.generator)
print(dcgan.inference)
training = settings.training
print(f"Adam, rates {training.generator_lr} (G) and {training.discriminator_lr} (D), batches of {training.batch_size}")
print(f"{training.steps} steps, rates falling to 0 from half of them, {training.generator_loss} loss")

# %% [markdown]
# It was trained by [`scripts/measure_walks.py`](../scripts/measure_walks.py). Its *Inception Score* is below that of real images. (The score is high if the classifier is sure of each image and all classes are equally frequent; it lies between 1 and 10.)

# %%
found = walks.load_walks()
scores = found["scores"]
print(f"Inception Score: DCGAN {scores['inception_score']:.1f}, test images {scores['inception_score_real']:.1f}")
show(
    walks.samples_figure(),
    "Figure 1.4. Random samples of the DCGAN, not selected. Most can be read as a digit. Some, such as the third from the end "
    "of the last row, cannot.",
    "Three rows of sixteen generated digits, some of them malformed.",
)

# %% [markdown]
# Now 150 **walks**. Both ends of a walk are samples of which the classifier is sure, and it names two different digits. We go from one noise to the other in a straight line, with nine images on the way. For comparison, 150 other walks join two sure samples of the *same* digit.

# %%
show(
    walks.stored_walks_figure(
        found,
        [
            "a good walk: one walk in ten is better",
            "the median walk: half of all are better",
            "a bad walk: one walk in ten is worse",
        ],
    ),
    "Figure 1.5. Three of the 150 walks, which were sorted by their least sure image. The bars are the classifier's confidence, "
    "with its class above them. Hatched bars are below the threshold of 0.8 (dashed), so these images are in between.",
    "Three strips of eleven generated images, each turning from one digit into another, and bars of confidence below them.",
)

# %% [markdown]
# Do you agree with the classifier? It is sure that the bad walk begins with a 3, where one may well read a 5 or no digit. It has only ever seen real digits and must choose one of ten, so it can be sure of a shape that you cannot read. We count the images about which the classifier is unsure. A person would probably be unsure about more.
#
# **Predict:** how often is the middle of a walk in between, compared with a random sample?

# %%
show(
    walks.middle_figure(found),
    "Figure 1.6. The share of images that are in between, at each image of the walk. The ends are 0 by choice.",
    "Two curves over the eleven images of the walk, 0 at both ends. That between two digits is higher in the middle than that "
    "within a digit. Lines for random samples and for real images.",
)

# %%
print("between digits:", " ".join(f"{share:.2f}" for share in found["in_between"]))
print("within a digit:", " ".join(f"{share:.2f}" for share in found["in_between_one_class"]))
print(f"random samples: {found['random']:.2f}   real test images: {found['real']:.2f}")

# %% [markdown]
# The middle of a walk between two digits is in between in 27 of 100 cases, nine times as often as a real digit. Both ends are clear digits, so it is the way between them that fails. The walks within a digit have ends that were chosen in the same way, and their middle is in between in 1 of 150 cases. So images become unclear where a walk crosses from one digit to the next. (Two samples of one digit may also lie nearer to each other in the latent space, which the comparison ignores.)
#
# Now look at the dashed line. A *random* sample is in between nearly as often as the middle of a walk. So one need not walk to find such images. This measurement cannot say how much of that share is bridges and how much is poor drawing.
#
# ## The second problem: forgetting
#
# Look at the discriminator's loss again, $-\mathbb E \log D(x) - \mathbb E \log(1 - D(G(z)))$. It depends only on what the generator draws *now*. Suppose that $G$ draws images of a kind A, that $D$ learns to reject them, and that $G$ moves on to a kind B. From then on no term of the loss mentions A. The gradient changes the weights for the sake of B, and whether $D$ still rejects A is left to chance. If it does not, $G$ may go back.
#
# Nothing *forces* $D$ to forget. So when does it? In this experiment it learns for 150 steps to tell the real digits of `mnist-5k` from A, digits whose strokes are too bold. Then it sees B, digits whose strokes are too thin, and A never comes again. (In A each pixel goes nine tenths of the way to the brightest of its 3x3 neighbours, and in B to the darkest.) The network is small and without batch normalisation, so that what $D$ says of an image does not depend on the rest of the batch:

# %%
from walkthrough import nb07_forgetting as forgetting

print(forgetting.Discriminator(forgetting.VARIANTS["sigmoid"]).encoder)
print("then a linear layer and a sigmoid; Adam, rate", f"{forgetting.LEARNING_RATE}, batches of", forgetting.BATCH)

# %%
show(
    forgetting.kinds_of_digits(forgetting.kinds(seed=0)),
    "Figure 1.7. Real digits, and the two kinds of fakes, which are made from other digits. In B, thin strokes nearly vanish.",
    "Three rows of handwritten digits: normal strokes, bold strokes, thin strokes.",
)

# %% [markdown]
# $D$ *rejects* an image if it says $D < 1/2$, and otherwise *accepts* it. **Predict:** what share of A does it still reject after 5 steps on B? And what did it say of B before it ever saw it?

# %% tags=["nbval-close"] tolerance={"absolute": 0.15, "relative": 0.2}
curve = forgetting.experiment("sigmoid", seed=0, steps_on_b=20)
for step in (0, 5, 10, 20):
    at = curve.steps.index(step)
    shares = f"A rejected {curve.old[at]:.2f}, B rejected {curve.new[at]:.2f}, real accepted {curve.real[at]:.2f}"
    print(f"after {step:2} steps on B: {shares}")

# %% [markdown]
# Before B, the discriminator accepts nearly all thin digits, because fakes have had too much ink. Five steps later fakes have too little ink, and it accepts nearly all of A. Real digits are accepted before and after. Two remedies are common. **R1** (Mescheder et al., 2018) adds to the loss the squared gradient of $D$'s logit at real images, which keeps $D$ smooth there. **Replay** keeps 128 of the old fakes, and half of each batch of fakes is drawn from them.

# %%
stored = forgetting.load()
show(
    forgetting.forgetting_curves(stored, ["sigmoid", "sigmoid + R1", "sigmoid + replay"]),
    "Figure 1.8. The share of A that is still rejected, after steps on B; mean and range of three seeds. With the sigmoid alone it falls to "
    "nearly 0 within five steps. R1 delays the fall by two steps only, because its loss does not mention A either. With replay the share falls at first, too, and then it recovers.",
    "Three curves. Sigmoid falls from 1 to near 0 within 5 steps, and so does sigmoid with R1, which stays above 0.7 for two steps. "
    "Replay falls to 0.4 after one step and is near 1 from step 5 on, with a dip to 0.87 at step 200.",
)

print("before B, after 5 steps on B, after 300 (three seeds each):")
for variant in ("sigmoid", "sigmoid + R1", "sigmoid + replay"):
    chosen = [curve for curve in stored if curve.variant == variant]
    rows = [[curve.old[curve.steps.index(step)] for curve in chosen] for step in (0, 5, 300)]
    print(f"{variant:17}", *("/".join(f"{share:.2f}" for share in row) for row in rows), sep="  ")

# %% [markdown]
# **Where it does not show.** This experiment was designed to provoke forgetting, because A and B differ from real digits in opposite directions. If each pixel goes only half of the way, $D$ forgets most of A at first, and later rejects it again without seeing it (the first line below). Probably the grey edges that A and B then share are the reason. In ordinary training we saw no forgetting either. We kept fakes of several moments of the training of six DCGANs on `mnist-5k` (`results/study-seeds-mnist-5k.json`), and asked the *last* discriminator of each about them:

# %% tags=["nbval-close"] tolerance={"absolute": 0.15, "relative": 0.2}
halfway = forgetting.experiment("sigmoid", seed=0, steps_on_b=100, amount=0.5)
before, lowest, after = halfway.old[0], min(halfway.old), halfway.old[-1]
print(
    f"half of the way: A rejected before B {before:.2f}, at its lowest {lowest:.2f}, after 100 steps on B {after:.2f}"
)
dcgans = [run for run in forgetting.load_stationary() if run.gan == "dcgan"]
steps = " ".join(f"{step:4}" for step in dcgans[0].steps)
print(f"share rejected of the fakes of step:         {steps}  the end")
for run in dcgans:
    old = " ".join(f"{share:.2f}" for share in run.rejected)
    print(f"seed {run.seed} (accepts {run.accepted:.2f} of real test images): {old}  {run.newest:.2f}")

# %% [markdown]
# The last discriminator rejects fakes of any earlier step about as often as the newest (at worst some 8 of 100 less) or more often, because bad fakes stay easy. It does not simply reject everything, since it accepts about 70 % of real test images. ([Notebook 6](06_full_training.ipynb) asks why it rejects the other 30 %.) So forgetting is real, but in our tests $D$ forgot only where rejecting the new fakes conflicted with rejecting the old ones. [Notebook 7](07_does_it_work.ipynb) asks whether a memory helps there.
#
# ## In five lines
#
# - The continuous image of a connected set is connected. So a GAN that reaches several separate modes from one latent space also draws what lies between them.
# - For $m$ equally likely modes, that share is at least $1 - m\,\Phi(\Phi^{-1}(1/m) - g/1.596L)$. More training makes the bridges steeper and narrower; it cannot remove them.
# - On digits, the middle between two clear samples of different digits is no clear digit in 27 of 100 cases, and between two of one digit in 1 of 150. Random samples are in between nearly as often as the first kind of walk.
# - A discriminator's loss mentions only present fakes. In an experiment designed to provoke forgetting, it forgets within five steps; in ordinary training here it did not.
# - Both problems suggest a memory: a *discrete* choice for the generator, and a record of what was seen for the discriminator.
#
# ## Exercises
#
# Replace the three dots and run the cell. The check says what is wrong. [Solutions](solutions/01_structural_discontinuity.ipynb).
#
# ### 1.1 · A wrong bound
#
# A colleague widens each $A_i$ by the *whole* distance $g/(0.798L)$ instead of half of it, and gets a bound twice as strong for small gaps. Which step of the proof fails then? First say it in a sentence. Then write the right bound yourself, for slope $L$, gap $g$ and $m$ modes.


# %%
def least(L, g, m):
    return ...


check_bound(least)

# %% [markdown]
# ### 1.2 · How steep?
#
# How steep must $G$ be, at least, to hit the eight modes equally often with at most 1 % of its points off them? Find it with `least_off_mode`, and compare with what the trained GANs needed for 2 %.

# %%
check_slope(...)

# %% [markdown]
# ### 1.3 · The best map
#
# Two modes lie on a line: everything within 0.4 of -1, and everything within 0.4 of +1, so that the gap is 1.2. Write a map of $z$, uniform on $(-1, 1)$, with slope at most 10, that hits both equally often and whose bridge is as short as possible. (`z` is a NumPy array.)


# %%
def staircase(z):
    return ...


check_staircase(staircase)

# %% [markdown]
# ### 1.4 · Count the walks
#
# From the `confidence` of some walks [walks, points], return the share of images in between among those that are neither end. Decide what an image at exactly 0.8 is.


# %%
def share_in_between(confidence):
    return ...


check_share(share_in_between)

# %% [markdown]
# ### 1.5 · Harder: sixteen dimensions
#
# What happens to the bound if $z$ has 16 dimensions instead of 2? Answer from the proof first, then look at the two kinds of coloured marks in Figure 1.3, and compare how far above the bound they lie.
#
# ### 1.6 · Harder: a latent space in two pieces
#
# Give $G$ noise that is uniform on $(-1, -0.2) \cup (0.2, 1)$. Which of the four steps of the proof fails, and how many of the eight modes can it serve without a bridge? What would a GAN on eight modes need, and who would have to know that there are eight?
#
# **Next:** [notebook 2](02_vmf_posterior.ipynb) starts on the memory: which slot does an image come from?

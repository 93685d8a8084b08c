# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # b3 · Bonus: how many slots, and what κ?
#
# **The question:** the method has two settings that decide how many directions the memory can tell apart: the number of slots $N$ and the concentration $\kappa$. How much do the results depend on them, and how does one choose?
#
# On MNIST $\kappa = 15$ gives the smallest Frechet distance of five values, and more slots give more variety:

# %%
import math

import torch
import torch.nn.functional as F

from memgan.training import prepare
from walkthrough import b3_sensitivity as b3, nb02_posterior as nb02, nb03_topk as nb03, show

prepare(seed=0)
studies = {"concentration κ": b3.study("kappa-mnist-5k"), "slots N": b3.study("memory-size-mnist-5k")}

# %%
show(
    b3.study_picture(studies, {"frechet_distance": "Frechet distance", "recall": "recall"}),
    "Figure B3.1. Frechet distance (lower is better) and recall (higher is better) for five values of κ and four of N, trained on 4,000 digits of MNIST for "
    "1,600 steps. A dot is a training with its own seed, the line is the mean, and the dashed line is what real test images score. The scales are logarithmic, but for recall. "
    "At κ = 1 two of three trainings collapse. The distance is smallest at κ = 15 and recall is largest at 30; 8 costs variety. "
    "Recall grows with the number of slots.",
    "Four panels. The distance falls from over 500 at kappa 1 to about 25 at 15 and rises to about 70 at 60; it is about 40 at 512 slots and "
    "25 to 30 from 1024 on. Recall is 0 to 0.1 at kappa 1, 0.4 at 8 and 0.7 from 15 on; it rises from 0.58 at 512 slots to 0.8 at 4096.",
)

# %%
for name, runs in studies.items():
    print(f"{name:16}  Frechet distance of each seed   recall of each seed     slots in use")
    for number, of_number in runs.items():
        distances = "".join(f"{run['frechet_distance']:9.1f}" for run in of_number)
        recalls = "".join(f"{run['recall']:7.2f}" for run in of_number)
        used = "".join(f"{run['slots_in_use']:7.0f}" for run in of_number)
        print(f"{number:16g} {distances}   {recalls}   {used}")

# %% [markdown]
# (The **Frechet distance** compares means and covariances of a classifier's features, and **recall** is the share of real images that have a generated one near them. [Notebook 6](06_full_training.ipynb) says more about both. **Slots in use** is the exponential of the entropy of the slot that the generator is given: so many slots, drawn equally often, would vary as much. The trainings have the preset `mnist-5k`, with the posterior bound of [notebook 5](05_mcgn.ipynb), and one setting changed. $k$ grows with $N$, so that its effect and that of $N$ are not told apart. The [page of studies](../docs/studies.md#mnist-5k-how-large-should-kappa-be) has all their numbers. The other settings were tuned for $\kappa = 15$ and $N = 2048$, which favours these.)
#
# You need [notebook 2](02_vmf_posterior.ipynb) and [notebook 3](03_topk_approximation.ipynb). Reading takes about 8 minutes, running a few seconds.
#
# ## Why κ must be large enough
#
# In high dimensions almost all pairs of directions are nearly orthogonal. The $M$ coordinates of a random unit vector have squares that sum to 1, so each has the mean square $1/M$. Choose the axes so that the first one is a fixed direction. The cosine with that direction is then the first coordinate, and its typical size is $1/\sqrt M$.

# %% tags=["nbval-close"]
cosines = {}
for key_dim in [2, 16, 64, 256]:
    one, other = F.normalize(torch.randn(2, 20_000, key_dim), dim=-1)
    cosines[key_dim] = (one * other).sum(dim=1).numpy()
    print(f"M = {key_dim:3}: spread {cosines[key_dim].std():.3f}, 1/sqrt(M) = {1 / math.sqrt(key_dim):.3f}")

# %%
show(
    b3.cosine_histograms(cosines),
    "Figure B3.2. Cosines between random directions; the grey band is ±1/√M. In 64 dimensions a cosine of 0.5 "
    "between random directions practically never happens.",
    "Four histograms of cosines, for 2, 16, 64 and 256 dimensions: for 2 highest at the ends, then ever narrower bells.",
)

# %% [markdown]
# The score of a slot is $\kappa$ times the cosine, plus the logarithm of its count. At equal counts, a slot that matches a query has a score of $\kappa$, and slots with unrelated keys have scores of about $\pm\kappa/\sqrt M$, which is 1.9 for $\kappa = 15$ and $M = 64$. The match outvotes $e^\kappa / \mathbb E[e^{\kappa t}]$ slots with random keys, where $t$ is the cosine with a random direction. The expectation is $1/C_M(\kappa)$ divided by the sphere's area, so `vmf.log_normaliser` gives it. Where $\kappa$ is well below $M$ it is about $e^{\kappa^2/2M}$. So the match has half of the posterior if
#
# $$\kappa - \frac{\kappa^2}{2M} \approx \log N .$$
#
# Here is the smallest whole $\kappa$ for several memories, from the exact formula:

# %%
print("          " + "".join(f"N = {size:<8}" for size in (256, 512, 2048, 4096, 16384)))
for key_dim in (16, 64, 256, 512):
    least = []
    for size in (256, 512, 2048, 4096, 16384):
        least.append(next(kappa for kappa in range(1, 100) if nb02.outvoted(kappa, key_dim) >= size - 1))
    print(f"M = {key_dim:3}   " + "".join(f"{kappa:<12}" for kappa in least))

# %% [markdown]
# These are lower limits. A query never equals its key, counts are uneven, and other slots have keys that are not random: some lie near the right one. From $M = 64$ on the limit depends little on the size of the problem, because it grows with the *logarithm* of $N$. For the preset's $M = 64$ and $N = 2048$ it is 9. The trainings agree: with $\kappa = 8$ fewer than 100 slots are in use, and with 15 more than 600. (Values in between were not tried.) So one and a half times the limit is a first guess for a training of your own, from one data set only; then try a few values around it.
#
# Too large a $\kappa$ has a disadvantage as well. The densities of the slots become so narrow that neighbouring slots no longer share a query. $D$ then jumps from slot to slot and is flat in between, where it tells the generator nothing. That may be why the Frechet distance grows again at 30 and 60; we have not tested it.
#
# ## How k depends on N
#
# A read looks at $k$ slots. Should $k$ grow with $N$? We write queries from ten tight clusters into memories of five sizes with the other settings of `mnist-5k`, and make random memories of the same sizes. Each is read with $k = 32$ and with $k = N/16$. The **missed mass** is the posterior outside the $k$ best slots; it bounds the error of $D$.

# %%
queries, labels = nb02.two_worlds(1024)
strangers = F.normalize(torch.randn(400, 64, dtype=torch.float64), dim=1)
missed = {}
for size in [128, 256, 512, 1024, 2048]:
    banks = {"written": (b3.written(size, queries[labels == 1], queries[labels == 0]), queries[:400])}
    banks["random"] = (nb03.random_memory(size, kappa=15.0), strangers)
    for name, (bank, asked) in banks.items():
        for rule, k in {"k = 32": 32, "k = N/16": size // 16}.items():
            result = nb03.approximation(nb03.reread(bank, top_k=k), asked)
            missed.setdefault(f"{name}, {rule}", {})[size] = result.missed.mean().item()

# %% tags=["nbval-close"] tolerance={"absolute": 0.002, "relative": 0.2}
show(
    b3.size_picture(missed),
    "Figure B3.3. Mean missed mass at κ = 15 for memories of five sizes: written, or random, with a fixed k or with k in "
    "proportion to N. Of these written memories 32 slots miss at most 0.006, because their counts lie in few slots.",
    "Four lines of missed mass against N, 128 to 2048.",
)
for name, by_size in missed.items():
    print(f"{name:18}", {size: round(mass, 3) for size, mass in by_size.items()})

# %% [markdown]
# So $k$ need not grow with $N$ as long as few slots carry the counts, as on these tight clusters. In the trainings on MNIST the number of slots in use grows with $N$ (the last columns of the table above), and then a fixed $k$ [leaves out more](03_topk_approximation.ipynb#How-to-choose-k). If many slots have similar counts, as in the random memories, it must grow in proportion. (In a write $k$ also decides which slots are touched. There a $k$ near $N$ does harm if all of $S_y$ are made young, because "the oldest" then means nothing. See [notebook 4](04_memory_update.ipynb#Two-choices-about-age).)
#
# ## In five lines
#
# - On MNIST $\kappa = 15$ has the smallest Frechet distance of five values, and $\kappa = 1$ fails. More slots give more variety.
# - Random directions in $M$ dimensions have cosines of about $1/\sqrt M$, so the score of a match exceeds the others by nearly $\kappa$.
# - One match outvotes $N$ slots with random keys from about $\kappa - \kappa^2/2M = \log N$ on.
# - A first guess for $\kappa$ is one and a half times this limit.
# - If few slots carry the counts, a small $k$ misses little.

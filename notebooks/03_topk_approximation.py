# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3 · Looking at k slots only
#
# **The question:** Bayes' rule asks all N slots. The method asks the k most probable ones and forgets the rest. What is lost, what is gained, and where does the gradient go that trains the networks?
#
# You will see an example in which nearest and most probable differ, the error of the approximation on a trained memory and on a random one, the gradient in closed form, and a clip that can silence a whole training.
#
# You need: [notebook 2](02_vmf_posterior.ipynb) (the posterior). Reading takes about 30 minutes, running under a minute of one core.

# %%
import math

import torch
import torch.nn.functional as F

from memgan import VMFMemory
from memgan.data import load_dataset
from memgan.engines import blocked
from memgan.engines.derivative import derivative_of_mean
from memgan.presets import PRESETS
from memgan.reference import ReferenceMemory
from memgan.training import prepare
from walkthrough import nb00_dataflow as dataflow, nb02_posterior as posterior, nb03_topk as topk, show, source
from walkthrough.circle import direction, reference_of
from walkthrough.widgets import PosteriorExplorer

prepare(seed=0)

# %%
show(
    dataflow.dataflow("top_k"),
    "Figure 3.1. Where we are: between the posterior and the read. Only some slots are asked.",
    dataflow.alt("top_k"),
)

# %% [markdown]
# ## Most probable, not nearest
#
# Call $S$ the slots that are asked. The paper takes
#
# $$S = \text{the } k \text{ slots with the largest } e^{\kappa K_i \cdot q}(h_i+\beta) \tag{5}$$
#
# that is, the largest posterior (4): similarity *and* histogram. **Predict:** the query stands at 50 degrees, and the four slots of notebook 2 have $h = 3, 1, 0.5, 2$ at 10, 70, 150 and 270 degrees. With $k = 1$ and $\kappa = 2$, which slot is nearest, and which is $S$?

# %%
four = posterior.four_slots(kappa=2.0, top_k=1)
query = direction([50.0]).double()
nearest = (query @ four.keys.T).argmax().item()
weights, slots = four.top_k_posterior(query)
print("nearest:", nearest, " most probable:", slots.item())

# %% [markdown]
# Slot 1 is nearer (20 degrees against 40), slot 0 is three times as busy. At $\kappa = 2$ that outweighs 20 degrees. With a much larger $\kappa$ it no longer does. The turn is where $e^{\kappa(\cos 20° - \cos 40°)} = 3$, at $\kappa = 6.3$:

# %%
for kappa in [2.0, 6.0, 7.0, 60.0]:
    chosen = posterior.four_slots(kappa=kappa, top_k=1).top_k_posterior(query)[1].item()
    print(f"kappa = {kappa:2.0f}: most probable is slot {chosen}")

# %% [markdown]
# ## The read over S
#
# What is left of the sum over slots is divided by what is left of the probability:
#
# $$D(x) = \frac{\sum_{i \in S} v_i\, p(c=i \mid x)}{\sum_{i \in S} p(c=i \mid x)}, \text{ clipped to } [\epsilon, 1-\epsilon] \tag{6}$$
#
# The ladder once more, with $k = 2$: by hand, as the reference's loops, vectorised, and the real thing.

# %%
memory = posterior.four_slots(kappa=5.0, top_k=2)
cosines, counts = (memory.keys @ query[0]).tolist(), memory.histogram.tolist()
joint = [math.exp(5 * cosine) * h for cosine, h in zip(cosines, counts, strict=True)]
best = sorted(range(4), key=lambda slot: -joint[slot])[:2]
by_hand = sum(joint[i] * int(memory.values[i]) for i in best) / sum(joint[i] for i in best)
print("S:", best, " D by hand:", round(by_hand, 4))

# %%
scores = memory.kappa * query @ memory.keys.T + (memory.histogram + memory.beta).log()
top = scores.topk(2, dim=1)
vectorised = (top.values.softmax(dim=1) * memory.values[top.indices]).sum(dim=1)

# %%
source(ReferenceMemory.read)

# %%
real_thing = memory.read(query)
looped = reference_of(memory).read(query[0].numpy())
ladder = {"by hand": by_hand, "loop": looped, "vectorised": vectorised.item()}
for name, value in ladder.items():
    print(f"{name} equals memory.read to 1e-6:", abs(value - real_thing.item()) < 1e-6)

# %% [markdown]
# Two softmaxes hide here. The posterior is a softmax over N scores; dividing by the mass of $S$ makes it a softmax over k of them. So no probability over all slots is ever needed, only the k best *scores*.
#
# ### How wrong can it be?
#
# Let $m$ be the posterior mass outside $S$, and $D$ the answer over $S$. The exact answer is $(1-m)\,D$ plus something between 0 (all left-out slots generated) and $m$ (all real). So the error is at most $m$, whatever the values. The next pictures show $m$ and that bound on memories that are not toys.
#
# ## A trained memory and a random one
#
# We train the digits preset for 150 steps, a few seconds. Beside it stands a memory of the same size that has learnt nothing.

# %%
images = load_dataset("digits").images
looks = [1, 2, 5, 10, 20, 40, 80, 150]
preset = topk.train_and_watch(PRESETS["digits"], images, 150, looks, turns=False)
trained, gan = preset.gan.memory, preset.gan
with torch.no_grad():
    real, generated = gan.inference(images[:400]), gan.inference(gan.generate(400).images)
random = topk.random_memory(512)

# %%
queries = torch.cat([real, generated]).double()
strangers = F.normalize(torch.randn(800, 64, dtype=torch.float64), dim=1)
mass = {
    "trained memory, its images": topk.reread(trained).posterior(queries),
    "random memory, random queries": random.posterior(strangers),
}
picture = topk.mass_picture(mass)

# %% [markdown]
# **Predict:** of 512 slots, how many hold nine tenths of the posterior?

# %%
show(
    picture,
    "Figure 3.2. Posterior mass in the k most probable slots, kappa = 60; the line is the median "
    "query, the band holds 90 % of them. See that a handful of 512 slots hold nine tenths, "
    "whether the memory knows its queries or not.",
    "Two rising curves against k from 1 to 512, logarithmic; both reach 1 long before 512.",
)

# %%
held = {name: table.sort(dim=1, descending=True).values.cumsum(dim=1) for name, table in mass.items()}
needed = {name: int((1 + (sums < 0.9).sum(dim=1)).median()) for name, sums in held.items()}

# %% tags=["nbval-ignore-output"]
for name, slots in needed.items():
    print(f"{name}: nine tenths in {slots} slots, for the median query")

# %%
for name, slots in needed.items():
    print(f"{name}: nine tenths in 10 slots or fewer, for most: {slots <= 10}")

# %% [markdown]
# ### k and kappa
#
# The error of $D$ is at most the missed mass, and usually less: the slots that are left out say in part the same as those that are asked.


# %%
def table_of(bank, asked):
    ks, kappas = (1, 4, 16, 32, 64, 256), (1.0, 10.0, 60.0)
    read = {(kappa, k): topk.reread(bank, top_k=k, kappa=kappa) for kappa in kappas for k in ks}
    found = {pair: topk.approximation(other, asked) for pair, other in read.items()}
    return {kappa: {k: found[kappa, k] for k in ks} for kappa in kappas}


tables = {
    "trained memory": table_of(trained, queries),
    "random memory": table_of(random, strangers),
}

# %%
show(
    topk.error_picture(tables),
    "Figure 3.3. Mean missed mass (lines) and mean error of D (marks) against k, for three "
    "kappas. The grey line is the preset's k = 32. See that at kappa = 1 in the random memory "
    "hardly any k is enough, because then every slot has a say.",
    "Two panels. In each, three falling curves over k; the one for kappa 60 falls fastest, "
    "the one for kappa 1 stays near 1 until k is large. Marks lie below the curves.",
)

# %%
by_ks = [by_k for panel in tables.values() for by_k in panel.values()]
results = [result for by_k in by_ks for result in by_k.values()]
within = [bool(((r.approximate - r.exact).abs() <= r.missed + 1e-9).all()) for r in results]
print("error of D at most the missed mass, for every query:", all(within))
at_trained = tables["trained memory"]
missed = {kappa: by_k[32].missed.mean().item() for kappa, by_k in at_trained.items()}
print("missed at k = 32 falls as kappa grows:", missed[1.0] > missed[10.0] > missed[60.0])
print("at kappa = 1 it is more than ten times that at 60:", missed[1.0] > 10 * missed[60.0])
at_random = tables["random memory"][1.0][32].missed.mean().item()
print("random memory, kappa = 1: over four fifths are missed:", at_random > 0.8)

# %% [markdown]
# At $\kappa = 1$, 32 of 512 equally busy slots hold less than a fifth of the posterior: the approximation is then a different discriminator. (It may still work. But it is not (4) any more.) On the trained memory less is missed, because most of its histogram lies in few slots: there the prior chooses $S$.
#
# Here is one real image, at $k = 8$, and what $D$ would be for every other $k$:

# %%
in_eight = topk.reread(trained).posterior(real.double()).topk(8, dim=1).values.sum(dim=1)
widest = real[in_eight.argmin()].double()

# %%
show(
    topk.approximation_picture(trained, widest, top_k=8),
    "Figure 3.4. The real image whose posterior is spread the widest. Left: its most "
    "probable slots, those in S in full colour (blue real, orange generated). Right: D over"
    " the k best, within the bounds of the missed mass.",
    "Left, falling bars, the first eight dark. Right, D against k, settling on the dashed "
    "line of all slots inside a grey wedge that narrows.",
)

# %%
twelve = topk.twelve_slots()

# %%
show(
    topk.steps_picture(twelve, (1, 3, 12)),
    "Figure 3.5. Twelve slots on a circle, real and generated in turn, kappa = 5: D for three k. "
    "See that k = 3 follows the sum over all slots, with a jump or a bend wherever S changes.",
    "D against the direction of the query. All slots: a wave. k = 3: nearly the same wave, "
    "cut into pieces by small jumps. k = 1: steps between 0 and 1.",
)

# %% [markdown]
# Now move $k$ yourself. 512 slots in 64 dimensions cannot be drawn, so these are the twelve of Figure 3.5: neighbours contradict each other, the worst case for a small $k$. Slots outside $S$ are pale. **Try:** drag the query once round the circle and watch the error and its bound. **Predict** first: how many of the twelve must be asked so that the error stays below 0.01 in every direction? How many at $\kappa = 1$, and at 20?

# %%
PosteriorExplorer(twelve, direction([50.0, 125.0, 280.0]))

# %% [markdown]
# The error never exceeds the posterior outside $S$, its bound. How many slots are needed, over 360 directions:

# %%
around = direction(range(360))
for kappa in [1.0, 5.0, 20.0]:
    largest = {}
    for k in range(1, 13):
        result = topk.approximation(topk.reread(twelve, top_k=k, kappa=kappa), around)
        largest[k] = float((result.approximate - result.exact).abs().max())
    needed = min(k for k in largest if largest[k] < 0.01)
    print(f"kappa = {kappa:2.0f}: {needed:2} slots; with 3 the error is up to {largest[3]:.3f}")

# %% [markdown]
# A narrow bell reaches few slots, so few are enough; with a wide one nearly all have a say.
#
# ### The size of the memory
#
# Should k grow with N? We write the same queries into memories of four sizes, and make random ones of the same sizes; each is read with $k = 32$ and with $k = N/16$.

# %%
sizes = [128, 256, 512, 1024]
missed = {}
for size in sizes:
    banks = {"written": (topk.written(size, real, generated), queries)}
    banks["random"] = (topk.random_memory(size), strangers)
    for name, (bank, asked) in banks.items():
        for rule, k in {"k = 32": 32, "k = N/16": size // 16}.items():
            result = topk.approximation(topk.reread(bank, top_k=k), asked)
            missed.setdefault(f"{name}, {rule}", {})[size] = result.missed.mean().item()

# %%
show(
    topk.size_picture(missed),
    "Figure 3.6. Mean missed mass for memories of four sizes: written with the same "
    "queries, or random; with k = 32 always, or k in proportion to N.",
    "Four lines of missed mass against N, 128 to 1024: written and random, k = 32 and N/16.",
)

# %%
for name in ["written", "random"]:
    fixed, growing = missed[f"{name}, k = 32"], missed[f"{name}, k = N/16"]
    little = max(fixed.values()) < 0.005
    print(f"{name}: with k = 32, under 0.5 % is missed at every N:", little)
    print(f"{name}: 8 slots of 128 miss more than 64 of 1024:", growing[128] > growing[1024])

# %% [markdown]
# (The authors use $k = N/32$, and $N/64$ for CIFAR-10; the presets here $N/16$ at the small sizes. In [notebook 4](04_memory_update.ipynb) k also decides which slots are written, and there a k near N does harm.)
#
# ## What it costs
#
# For B queries of M numbers, the similarities with all N keys are needed either way: B·N·M multiplications. The search for the k best scores looks at B·N numbers. After it, everything is proportional to k. With the authors' sizes, B = 128 queries (64 real, 64 generated), N = 4096, M = 256, k = 128:

# %%
B, N, M, k = 128, 4096, 256, 128
print(f"similarities:       {B * N * M / 1e6:6.1f} million multiplications")
print(f"gradient over all:  {B * N * M / 1e6:6.1f} million more")
print(f"gradient over S:    {B * k * M / 1e6:6.1f} million more, {N // k} times fewer")

# %% [markdown]
# So the top k does not save the matrix product. It saves what comes after: the softmax, the sum, the gradient, and in notebook 4 the write, where touching k keys instead of N makes the difference.
#
# Is the search itself approximate? No. `memgan.engines.blocked`, the engine for a CPU, finds exactly the k best, in blocks of columns: it looks at each block's maximum first, and only searches blocks that can hold one of the k best.

# %%
source(blocked.nearest)

# %%
log_prior = (trained.histogram + trained.beta).log()
found = blocked.nearest(real, trained.keys, log_prior, trained.kappa, 32)
plain = (trained.kappa * real @ trained.keys.T + log_prior).topk(32, dim=1)
scores = found.scores.sort(dim=1, descending=True).values
equal = torch.allclose(scores, plain.values, atol=1e-4)
print("the same scores as a plain topk over all slots:", equal)

# %% [markdown]
# Measured on this machine (not compared by the tests, because time is nobody's constant):

# %% tags=["nbval-ignore-output"]
import timeit

big = VMFMemory(num_slots=4096, key_dim=256, top_k=128)
asked = F.normalize(torch.randn(128, 256), dim=1)
everyone = big.values.float()
whole = min(timeit.repeat(lambda: big.posterior(asked) @ everyone, number=5, repeat=3)) / 5
part = min(timeit.repeat(lambda: big.read(asked), number=5, repeat=3)) / 5
print(f"all slots {1e3 * whole:.1f} ms, k best {1e3 * part:.1f} ms")

# %% [markdown]
# On a CPU, without a gradient, the top k is no faster: the product with all keys is needed either way. The [page on performance](../docs/performance.md) has the comparison with a gradient and with writes.
#
# ## Where the gradient goes
#
# Both networks learn through $D$ (12, 13). $D$ over $S$ is a softmax-weighted mean of the values; with $p_i$ the weights over $S$, the derivative of a softmax gives
#
# $$\frac{\partial D}{\partial q} = \kappa \sum_{i \in S} p_i\,(v_i - D)\,K_i .$$
#
# Real keys pull ($v_i - D > 0$), generated ones push, each in proportion to its posterior. **Predict:** what is the gradient when all of $S$ is real?

# %%
source(derivative_of_mean)

# %% [markdown]
# The package computes it with the value, and hands it to autograd: a write before the backward pass, which changes keys in place, then does no harm. Is it right? Three oracles: finite differences, autograd through a plain softmax, and the formula.

# %%
bank = topk.reread(random, top_k=32, kappa=10.0)
asked = strangers[:5].clone().requires_grad_()
(package,) = torch.autograd.grad(bank.read(asked).sum(), asked)
directions = F.normalize(asked, dim=1)
plain = (bank.kappa * directions @ bank.keys.T + (bank.histogram + bank.beta).log()).topk(32, dim=1)
value = (plain.values.softmax(dim=1) * bank.values[plain.indices]).sum()
(by_autograd,) = torch.autograd.grad(value, asked)
same = torch.allclose(package, by_autograd, atol=1e-9)
print("autograd through a plain softmax agrees:", same)

# %%
weights, slots = bank.top_k_posterior(asked.detach())
values = bank.values[slots].double()
pull = weights * (values - (weights * values).sum(dim=1, keepdim=True))
formula = bank.kappa * torch.einsum("bk,bkm->bm", pull, bank.keys[slots])
formula = formula - (formula * asked).sum(dim=1, keepdim=True) * asked  # read normalises: no part along q
print("the formula agrees:", torch.allclose(package, formula, atol=1e-9))

# %%
step, along = 1e-6, F.normalize(torch.randn(5, 64, dtype=torch.float64), dim=1)
up, down = bank.read(asked.detach() + step * along), bank.read(asked.detach() - step * along)
slope = (package * along).sum(dim=1)
print("finite differences agree:", torch.allclose((up - down) / (2 * step), slope, atol=1e-6))

# %% [markdown]
# Nothing flows to the memory: keys, values and histogram are buffers, not parameters. The networks learn by gradients, the memory by writing.

# %%
print("parameters of the memory:", len(list(trained.parameters())))
print("keys ask for a gradient:", trained.keys.requires_grad)

# %%
show(
    topk.field_picture(posterior.four_slots(kappa=2.0)),
    "Figure 3.7. The gradient of D at 24 queries on the circle, less its part along the "
    "query. Arrows lead from generated keys (squares) to real ones (discs); where the "
    "posterior is sure, they are short.",
    "A circle with two blue discs and two orange squares; arrows along the circle point "
    "away from the squares and towards the discs.",
)

# %% [markdown]
# Far from any boundary the arrows vanish: if all of $S$ agrees, then $v_i = D$ for each of its slots. That is the sigmoid's vanishing gradient in a new dress. And a small k makes it worse. With $k = 1$ there is nothing to weigh:

# %%
show(
    topk.steps_picture(posterior.four_slots(kappa=1.0), (1, 2, 4)),
    "Figure 3.8. D around the circle of four slots, kappa = 1. With k = 1 it is a "
    "staircase, and its slope is zero almost everywhere. With k = 2 it bends where two "
    "slots of one label change places in S (at 11 and 188 degrees), and jumps where a real "
    "and a generated one do (at 143 and 155).",
    "Three curves of D against the direction of the query: a low wave for all slots; for "
    "two the same wave with a tower up to 1 between 143 and 155 degrees; steps between 0 "
    "and 1 for one.",
)

# %%
pair = posterior.four_slots(kappa=1.0, top_k=2)
for degrees in [142, 144, 155, 157]:
    at = direction([float(degrees)])
    slots = sorted(pair.top_k_posterior(at)[1][0].tolist())
    print(f"query at {degrees} degrees: S = {slots}, D = {pair.read(at).item():.2f}")

# %% [markdown]
# At 143 degrees slot 2, real, takes the place of slot 1, generated: all of $S$ is real now, and $D$ leaps by 0.47. The loss has no gradient that could tell of it.

# %%
single = topk.reread(trained, top_k=1)
without = topk.silent(single, queries).float().mean().item()
print("share of queries without any gradient at k = 1:", without)

# %% [markdown]
# ## The clip
#
# (6) ends in a clip to $[\epsilon, 1-\epsilon]$, $\epsilon = 10^{-3}$, because the losses take logarithms and $S$ may well be of one mind. Its price: where the clip acts, the gradient is exactly zero.

# %%
show(
    topk.clip_picture(1e-3),
    "Figure 3.9. Left: D against the log-odds of real, before and after the clip. Right: "
    "the slope of both losses of G. In the grey zones the clip acts, and both slopes are "
    "zero.",
    "Left, a line that is cut off at 0.001 and 0.999. Right, the non-saturating slope is 1 "
    "on the left and falls to 0, the saturating one is 0 on the left and rises to 1; both "
    "are 0 in the grey zones.",
)

# %% [markdown]
# A sample in the left grey zone is a fake that the memory is sure about. It has *no* gradient at all: the generator learns nothing from it, under either loss. If all fakes end up there, training is dead, quietly: losses stay finite and nothing moves.
#
# Does it happen? We count the generated images without gradient in the training above, and in one under the paper's rule ($\kappa = 1$, $\alpha = 0.5$, the oldest slot of all replaced, saturating loss), written as the paper says, one sample after another. **Predict** both curves.

# %%
paper = PRESETS["digits"].changed(topk.PAPER_RULE)
published = topk.train_and_watch(paper, images, 40, looks[:6], turns=True)

# %%
show(
    topk.silent_picture({"preset": preset, "the paper's rule": published}),
    "Figure 3.10. Share of generated images that get no gradient from D, during the first "
    "steps of training. Each point: 128 images.",
    "Two curves against the training step: the preset's starts near 1 and falls to 0 by "
    "step 40; that of the paper's rule stays at 1.",
)

# %%
print("preset at step 150, fewer than half without gradient:", preset.silent[-1] < 0.5)
print("the paper's rule at step 40, nine in ten or more:", published.silent[-1] >= 0.9)

# %% [markdown]
# The preset begins in the clip as well: at first the memory knows every fake. After some 40 steps nearly all have a gradient. (What moves them there was not taken apart: the few images that have one, and the mutual-information term, which does not pass through $D$.) Under the paper's rule, on this data and with these networks, no image gets one at any step that we looked at: $D$ teaches the generator nothing there. This is one seed and 40 steps, written one sample after another. That the authors' own runs trained may be due to the differences between their code and their paper ([notebook 4](04_memory_update.ipynb), part two), or to their data and sizes; we have not found out which.
#
# ### The same rule, a batch at a time
#
# The [results](../docs/results.md) hold six runs of the paper's rule that write each batch at once, as everything else here does. None of them trains. **Predict:** is it the clip there too?

# %%
batches = topk.train_and_watch(paper, images, 60, [*looks[:6], 60], turns=False)
print("images without gradient, at the step with the most:", max(batches.silent))

# %% [markdown]
# No image is in the clip at any look. So each has a gradient. What is it like? For 256 images of each run: how much do the gradients of $D$ point the same way (the mean cosine between those of two images)? From how many slots do they come? And how long is the gradient that the loss of $G$ (13) hands to a query, without the part along the query, which its normalisation takes away?

# %%
pushes = {}
for name, run in {"preset": preset, "paper": batches}.items():
    memory, is_paper = run.gan.memory, name == "paper"
    with torch.no_grad():
        asked = run.gan.inference(run.gan.generate(256).images)
    slots = memory.top_k_posterior(asked)[1].unique()
    pushes[name] = topk.push(memory, asked, saturating=is_paper)
    alike = topk.agreement(memory, asked) > 0.98
    print(f"{name}: nearly parallel: {alike}; fewer than 64 slots in all S: {len(slots) < 64}")
other_loss = topk.push(memory, asked, saturating=False)
print("the preset's push is over 100 times as long:", pushes["preset"] > 100 * pushes["paper"])
print("-log D would lengthen the paper's over 20 times:", other_loss > 20 * pushes["paper"])

# %% [markdown]
# Two things differ. First, at $\kappa = 1$ similarity hardly chooses: 34 slots make up the $S$ of all 256 images (117 under the preset), and $\kappa \sum p_i (v_i - D) K_i$ is nearly the same vector for every image (mean cosine 1.00, against 0.78). The gradients of different images differ only along the query, and normalisation removes that part. Second, the push is weak: a median length of 0.02, against about 20. A factor of 70 of this is the saturating loss, whose slope has $1 - D$ below the fraction bar where $-\log D$ has the small $D$. Weakness alone would not stop Adam, which divides a gradient by its own size. But the mutual-information term pulls at the same query, with $\lambda\kappa$ = 0.01 before normalisation, half as strong as $D$; under the preset, with 1.2, it is about an eighteenth.
#
# Which of this keeps the rule from training on these networks, or whether it is something else, is open: it is one seed and 60 steps, and nothing here was changed one at a time.
#
# ## Where it breaks
#
# - **k = 1**: $D$ is a staircase, and no query has a gradient.
# - **small kappa**: the posterior is flat, so k of N slots hold little of it; and where the histogram is uneven, they are the same k slots for every query.
# - **D is not smooth** where a slot enters or leaves $S$: it bends, and it jumps where the two slots that change places have different values, by at most their share of $S$.
# - **the clip** silences fakes that the memory is sure of. Exercise 3.5 shows that it is not needed for finite logarithms.
#
# ## In five lines
#
# - S holds the k most *probable* slots: similarity and histogram decide together.
# - The error of D is at most the posterior mass outside S; at kappa = 60 and k = N/16 that is well under a percent here, at kappa = 1 it can be most of it.
# - The search is exact; the top k saves what comes after the matrix product, not the product itself.
# - The gradient is $\kappa \sum_{i \in S} p_i (v_i - D) K_i$: it reaches the query only, and vanishes where S is of one mind.
# - The clip makes it exactly zero. Under the paper's rule every generated image we looked at was in it if samples are written one after another, and none if batches are.
#
# Next: [4 · Writing](04_memory_update.ipynb), how the memory comes to know anything.
#
# ## Exercises
#
# Replace the three dots and run the cell. The check says what is wrong. [Solutions](solutions/03_topk_approximation.ipynb).
#
# ### 3.1 · One slot
#
# With $k = 1$, how long is the gradient of $D(x)$ with respect to the query? Give the number before you run it.

# %%
topk.check_no_gradient(...)

# %% [markdown]
# ### 3.2 · Write the read
#
# $D(x)$ (6) for a batch: `keys` [N, M], `values` [N], `histogram` [N], `queries` [B, M]; $\beta = 10^{-8}$, $\epsilon = 10^{-3}$.


# %%
def read(keys, values, histogram, queries, kappa, k):
    return ...


topk.check_read(read)

# %% [markdown]
# ### 3.3 · Write the gradient
#
# For one query: `weights` [k] over S, their `values` [k] and `keys` [k, M]. Return $\partial D/\partial q$, [M].


# %%
def gradient(weights, values, keys, kappa):
    return ...


topk.check_gradient(gradient)

# %% [markdown]
# ### 3.4 · How small may k be?
#
# From a `posterior` [B, N] over all slots, return for each query the smallest k that leaves out at most `tolerance`, [B].


# %%
def smallest_k(posterior, tolerance):
    return ...


topk.check_smallest_k(smallest_k)

# %% [markdown]
# ### 3.5 · Without a clip
#
# $\log D$ can be had without $D$, finite and with a gradient, however sure the memory is. From the scores [B, k] of S and the values [B, k] of its slots, return $\log D$ [B].


# %%
def log_probability(scores, values):
    return ...


topk.check_log_probability(log_probability)

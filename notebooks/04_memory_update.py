# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4 · Writing: why these E and M steps?
#
# **The question:** the memory does not learn by gradients. It is *written*. The paper gives the rule in three lines, (8) to (10), and does not say where they come from. Why these lines? And what would go wrong with something simpler?
#
# You will see slots being born, moving, ageing and being replaced on a circle. Then the rule is derived from the mixture in five small steps, and each step is run. Then come the things that a paper can leave open and a program cannot: a batch instead of a sample, and what "oldest" means. Part two comes after the five lines and can be left out: it compares with the memory that this one grew out of and with the code that the authors published.
#
# You need: [notebook 2](02_vmf_posterior.ipynb) (the posterior) and [notebook 3](03_topk_approximation.ipynb) (the top k). Reading part one takes about 40 minutes, part two 15. Running takes under a minute.

# %%
import copy

import numpy as np
import torch
import torch.nn.functional as F

from memgan import VMFMemory
from memgan.reference import ReferenceMemory
from memgan.training import prepare
from walkthrough import (
    circle,
    nb00_dataflow as dataflow,
    nb04_departures as departures,
    nb04_update as update,
    show,
    source,
)
from walkthrough.circle import angles, direction, ring, table
from walkthrough.widgets import MemoryFilm

prepare(seed=0)
REAL = torch.tensor([1])  # the label of a real query

# %%
show(
    dataflow.dataflow("write"),
    "Figure 4.1. Where we are: queries with known labels, real or generated, are written into "
    "the memory. Nothing in this box has a gradient.",
    dataflow.alt("write"),
)

# %% [markdown]
# # Part one: the method
#
# ## 1. What a slot holds
#
# Slot $i$ is four things:
#
# | | what it is | what it is for | who changes it |
# |---|---|---|---|
# | $K_i$ | key, a direction | the centre of the slot's vMF, (2) | EM turns it, replacement overwrites it |
# | $v_i$ | value, 1 real or 0 generated | what the slot votes for, (6) | replacement only |
# | $h_i$ | histogram, an effective count of queries | the prior (1), and how often the generator is given the slot (11) | both |
# | $a_i$ | age, writes since the slot was last touched | nothing but choosing whom to replace | every write |
#
# Below is a memory of eight slots on a circle ($M = 2$). It is the real `VMFMemory`; only its contents are put in by hand.

# %%
memory = ring(
    [0, 40, 75, 120, 170, 215, 260, 310],  # keys, as angles in degrees
    [1, 1, 0, 1, 0, 0, 1, 0],  # v
    [3, 1, 2, 0.5, 2, 1, 0.2, 3],  # h
    [0, 2, 1, 9, 4, 6, 9, 0],  # a
    **{"top_k": 3, "kappa": 12.0, "alpha": 0.9, "replace_within_label": False},
)
print(table(memory))

# %% [markdown]
# **Predict:** the memory reads a query at 60 degrees. Which of these change the answer $D$: all ages set to 1000? All histograms multiplied by 10? All values flipped?

# %%
changes = {"ages": memory.ages + 1000, "histogram": 10 * memory.histogram}
for name, new in (changes | {"values": 1 - memory.values}).items():
    changed = copy.deepcopy(memory)
    getattr(changed, name).copy_(new)
    before, after = float(memory.read(direction([60]))), float(changed.read(direction([60])))
    print(f"{name:9} changed: D(60 degrees) from {before:.3f} to {after:.3f}")

# %% [markdown]
# Ages never enter a read. Of the histogram only ratios matter. Flipped values turn $D$ into $1 - D$.
#
# ## 2. The two cases
#
# A query $q$ comes with its label $y$. The memory is asked first: *do the most probable slots carry this label?* If yes, what it knows is refined, by EM. If no, it has just seen something that it would get wrong, and stores it as it is, in place of its oldest slot. This is the rule in the reference, one sample at a time:

# %%
source(ReferenceMemory.write)

# %% [markdown]
# `nearest` sorts by $e^{\kappa K_i\cdot q}(h_i + \beta)$, so "nearest" means *most probable*. How many slots may vouch for the label is `correct_in_top`: 1 in the authors' code, all $k$ in the paper's text. Here it is 1.
#
# **Predict** the case for a real and for a generated query at 60 and at 215 degrees. (At 60 the candidates are slot 1, real, $h = 1$, 20 degrees away, and slot 2, generated, $h = 2$, 15 degrees away.)

# %%
queries = direction([60.0, 60, 215, 215])
labels = torch.tensor([1, 0, 1, 0])
names = ["real at 60", "generated at 60", "real at 215", "generated at 215"]
for name, right in zip(names, circle.finds_its_label(memory, queries, labels), strict=True):
    print(f"{name}: {'EM' if right else 'replace the oldest slot'}")

# %% [markdown]
# ### Replacement, step by step
#
# The oldest slot $n = \arg\max_i a_i$ is overwritten:
#
# $$K_n \leftarrow q, \quad v_n \leftarrow y, \quad a_n \leftarrow 0, \quad h_n \leftarrow \tfrac1N \textstyle\sum_i h_i \tag{7}$$
#
# We write real queries where the memory expects generated ones, and watch. **Predict** which slots go first.

# %%
places = [230.0, 155, 90, 325]
film = MemoryFilm.record(memory, [(direction([angle]), REAL) for angle in places])
for angle, now in zip(places, film.frames[1:], strict=True):
    print(f"real query at {angle:3.0f}: replaced {now['replaced']}, ages now {now['ages']}")

# %%
show(
    circle.film_strip(film.frames, [0, 1, 2, 3], numbers=True),
    "Figure 4.2. Three replacements. The ringed slot is the one that was overwritten: 3, then "
    "6 (both were aged 9; ties go by index), then 5. It now sits at the query, is blue "
    "(real) and young; all others have grown older by one, so they are a little paler.",
    "Four circles of eight slots. Before: a mix of blue and orange. After write 1, slot 3 is "
    "at 230 degrees, ringed. After write 2, slot 6 at 155. After write 3, slot 5 at 90.",
)

# %% [markdown]
# Every write makes all slots one older; the overwritten one becomes the youngest and is safe for a while. Its count becomes the mean: with 0 it would have no prior and never be probable; with much it would claim evidence that nobody has seen. (So replacement is not EM, and the sum of $h$ changes.) The fourth query, at 325, shows the same rule once more.

# %%
print(table(memory))

# %% [markdown]
# ### EM, by hand on four slots
#
# Now the other case. For one query with label $y$, with $S_y$ the $k$ most probable slots *of its own label*, and one iteration ($T = 1$):
#
# $$\gamma_i = \frac{e^{\kappa K_i \cdot q}(\alpha h_i+\beta)}{\sum_{j \in S_y} e^{\kappa K_j \cdot q}(\alpha h_j+\beta)} \tag{8}$$
#
# $$h_i \leftarrow \alpha h_i + \gamma_i \tag{9}$$
#
# $$K_i \leftarrow K_i + \frac{\gamma_i}{h_i}\,(q - K_i), \text{ then normalised} \tag{10}$$
#
# In (10) $h_i$ is already the new count. Four slots, a real query at 25 degrees, $k = 2$. The most probable slot is 2: it is 20 degrees further away than slot 1, but has twice the count, and $2 e^{6 \cos 25°} = 460$ is more than $e^{6 \cos 5°} = 394$. It is real, so this is a case for EM:

# %%
four = ring([0, 20, 50, 120], [1, 0, 1, 1], [0.5, 1, 2, 1], top_k=2, kappa=6.0, alpha=0.9)
query = direction([25.0])
print(table(four))

# %%
K, h, q = four.keys.numpy().copy(), four.histogram.numpy().copy(), query[0].numpy()
S_y = [0, 2]  # slot 1 is generated; of the real ones, 3 is not among the best two
joint = np.exp(6 * K[S_y] @ q) * (0.9 * h[S_y] + 1e-8)
gamma = joint / joint.sum()
print("gamma of slots 0 and 2:", gamma.round(3), " sum:", gamma.sum().round(6))

# %%
h[S_y] = 0.9 * h[S_y] + gamma
moved = K[S_y] + (gamma / h[S_y])[:, None] * (q - K[S_y])
K[S_y] = moved / np.linalg.norm(moved, axis=1, keepdims=True)
print("h:", h.round(3))
print("keys (degrees):", angles(torch.from_numpy(K)).round(decimals=1).tolist())

# %% [markdown]
# The same as plain loops, and the same in the real memory, which does whole batches. Do the three agree?

# %%
loops = circle.reference_of(four)
loops.write(q, 1)
after = copy.deepcopy(four)
after.write(query, REAL)
for name, other in [("plain loops", loops), ("real memory", after)]:
    keys, counts = np.asarray(other.keys), np.asarray(other.histogram)
    apart = max(np.abs(K - keys).max(), np.abs(h - counts).max())
    print(f"{name}: equal to the calculation by hand to 1e-6: {apart < 1e-6}")

# %%
show(
    update.em_step_figure(four, after, query),
    "Figure 4.3. One write by EM. Slot 1 is the nearest by angle but is generated, so it does "
    "not move; slot 3 is not among the k = 2. Slots 0 and 2 share the query. Slot 0 gets a "
    "quarter of slot 2's share and turns just as far, because its count is a quarter too.",
    "Left: a circle with four keys; slot 0 moves from 0 to 7.6 degrees, slot 2 from 50 to 42, "
    "both towards the query at 25; slots 1 and 3 stay. Right: h before and after, 0.5 to 0.65, "
    "1 to 1, 2 to 2.6, 1 to 1.",
)

# %% [markdown]
# Keep the fraction $\gamma_i / h_i$ in mind: *share of the query over what the slot has seen*. Section 3 shows that it could be nothing else.
#
# ### A life in pictures
#
# Both cases together, with batches of eight queries. Two clusters of real queries stay where they are. The generator (orange) wanders clockwise, and after write 12 it jumps to another place.

# %%
film = MemoryFilm.record(*circle.life())
show(
    circle.film_strip(film.frames, [0, 1, 3, 8, 12, 13, 17, 24]),
    "Figure 4.4. Slots are born by replacement (1, 13, 24: ringed), are moved by EM (arcs), "
    "follow the wandering generator (3 to 12), and are left behind when it jumps (13). What "
    "is left behind grows old and pale, but keeps its count: counts decay only when visited.",
    "Eight circles. At first twelve grey dots. After write 1 a few slots sit under the real "
    "queries and under the generated ones. Until write 12 the orange slot follows its queries "
    "clockwise from 330 to 264 degrees. At write 13 the queries are at 100 degrees; four "
    "slots are replaced there, and the old slot stays at 281 degrees, paler each time.",
)

# %% [markdown]
# Now step through it: the buttons, the slider, or arrow keys on the circle; play, if you like. The film opens just before the jump. **Predict** before you step on: how many slots does the jump cost, and what becomes of the count $h$ and the age of slot 6, which has followed the generator so far? Then go back to the start: six slots are replaced at write 1. What is their count, and which slot is born (its count rises above 0.001) without being replaced?

# %%
film.write = 12
film

# %% [markdown]
# The line above the circle and the last column of the table say what each write did. The same from code:

# %%
frames = film.frames
counts = {write: len(now["replaced"]) for write, now in enumerate(frames) if now["replaced"]}
print("slots replaced, by write:", counts)
print("born at write 1:", frames[1]["born"], "at write 2:", frames[2]["born"])
print("replaced at the jump:", frames[13]["replaced"])
print("slot 6, h after write 12 and 24:", [round(frames[w]["histogram"][6], 1) for w in (12, 24)])
print("slot 6, age after write 12 and 24:", [frames[w]["ages"][6] for w in (12, 24)])

# %% [markdown]
# The six slots of write 1 were given the mean count, which is still nearly nothing; they are born at write 2, when EM finds them. The jump costs four slots, the oldest with $v = 0$. Two of these, 10 and 11, had never been used. The other two, 7 and 8, had counts of 3.6 and 3.4 and sat beside slot 6 all the time: section 7 says why they were old. Slot 6 is nobody's match any more. It keeps its count to the last digit and grows old.

# %% [markdown]
# ## 3. Why these two steps
#
# ### 3.1 What is to be maximised
#
# Take the slots of one label. They are a mixture (3), and the queries of that label are its data $q_1, q_2, \dots$ A good memory makes them probable: it maximises $\sum_b \log p(q_b) = \sum_b \log \sum_i p(c=i)\,p(q_b \mid c=i)$. A logarithm of a sum has no closed solution. If only we knew which slot each query came from!
#
# ### 3.2 The E-step: a bound that touches
#
# Give query $b$ to slot $i$ with share $\gamma_{bi}$, any positive shares with $\sum_i \gamma_{bi} = 1$. The logarithm is concave, so by Jensen's inequality
#
# $$\log p(q_b) \;\ge\; \sum_i \gamma_{bi} \log \frac{p(c=i)\,p(q_b \mid c=i)}{\gamma_{bi}},$$
#
# with equality exactly where the fraction is the same for all $i$: where $\gamma_{bi}$ is the posterior. That is (8). The E-step lifts the bound until it touches the likelihood.
#
# ### 3.3 The M-step: two numbers per slot
#
# Now hold the shares and improve the mixture. With the vMF (2), the bound depends on the keys and on the prior only through
#
# $$\sum_i \kappa\, K_i \cdot \underbrace{\textstyle\sum_b \gamma_{bi}\, q_b}_{R_i} \;+\; \sum_i \underbrace{\textstyle\sum_b \gamma_{bi}}_{h_i} \log p(c=i).$$
#
# A unit vector has the largest product with $R_i$ when it points along $R_i$. And $\sum_i h_i \log p(c=i)$ under $\sum_i p(c=i) = 1$ is largest at $p(c=i) \propto h_i$ (set the derivative of the Lagrangian to 0: $h_i / p(c=i)$ is the same for all $i$). So
#
# $$K_i = R_i / \lVert R_i \rVert, \qquad p(c=i) = h_i / \textstyle\sum_j h_j .$$
#
# All that the mixture needs to know of its data are two **sufficient statistics** for each slot: the count $h_i$ and the resultant $R_i$. This is where $h$ comes from, and why the prior (1) is built from it. Is the resultant's direction really the best one? Try all of them:

# %%
queries = update.three_clusters()
start = update.untrained_mixture(queries)
gamma = start.posterior(queries)  # E-step
resultant = gamma[:, 0] @ queries
grid = torch.linspace(0, 360, 36001, dtype=torch.float64)[:-1]
bound = gamma[:, 0] @ (8.0 * queries @ direction(grid).T)  # the part that depends on K_0
print(f"best of 36,000 directions: {grid[bound.argmax()]:.2f} degrees")
print(f"direction of the resultant: {angles(resultant):.2f} degrees")

# %% [markdown]
# Repeat both steps and you have EM. Neither can lower the likelihood: the M-step lifts the bound, the likelihood lies above it. The real memory does exactly this if it is given all queries as one batch and forgets its past (`update.write_all` multiplies $h$ by $10^{-15}$ first):

# %%
keys, counts = update.batch_em(start, queries)  # the formulas above
memory = copy.deepcopy(start)
update.write_all(memory, queries, past=0)
print("same keys:", torch.allclose(memory.keys, keys))
print("same counts:", torch.allclose(memory.histogram, counts))

# %%
memory = copy.deepcopy(start)
batch_em = update.climb(memory, queries, lambda: update.write_all(memory, queries, past=0), 20)
print("never falls:", min(np.diff(batch_em)) > -1e-12)
print(f"mean log p(q): at first {batch_em[0]:.3f}, at last {batch_em[-1]:.3f}")
gap = update.distance_from_fixed_point(memory, queries)
print("one more step would turn no key by 0.001 degrees:", gap < 1e-3)

# %%
show(
    update.mixture_figure({"before": start, "after EM": memory}, queries),
    "Figure 4.5. EM at work. Ticks: 45 queries in three clusters. Triangles: the keys. Dashed: "
    "the mixture before, four equal bumps in arbitrary places. Solid: after; two slots "
    "have taken a narrow cluster each, two share the wide one.",
    "Density against angle. Before, four equal peaks at 0, 90, 180 and 270 degrees. After, "
    "peaks near 40 and 120 where the narrow clusters are, lower ones at 203 and 267 degrees.",
)

# %% [markdown]
# ### 3.4 One query at a time: the running mean
#
# EM on all data is out of the question in a GAN: the queries arrive in small batches. **Incremental EM** (Neal & Hinton, 1998) visits one query at a time and corrects the sufficient statistics. It takes the query's old contribution back and adds the new one. With $\Delta_i = \gamma_i^{\text{new}} - \gamma_i^{\text{old}}$:
#
# $$h_i \leftarrow h_i + \Delta_i, \qquad R_i \leftarrow R_i + \Delta_i\, q .$$
#
# The first is (9). For the second, write $m_i = R_i / h_i$, the *mean* of the queries assigned to the slot:
#
# $$m_i^{\text{new}} = \frac{h_i m_i + \Delta_i q}{h_i + \Delta_i} = m_i + \frac{\Delta_i}{h_i^{\text{new}}}\,(q - m_i).$$
#
# This is (10), letter for letter, with $m$ in the place of $K$. So $\gamma_i/h_i$ is no learning rate that somebody chose. It is what a running mean does: the hundredth number moves a mean by a hundredth of its distance. Here is the code, and a check that nothing is lost on the way, after 200 visits in random order:

# %%
source(update.IncrementalEM.visit)

# %%
exact = update.IncrementalEM(copy.deepcopy(start), queries)
for sample in torch.randint(45, (200,), generator=torch.Generator().manual_seed(0)).tolist():
    exact.visit(sample)
counts, resultants = exact.gamma.sum(dim=0), exact.gamma.T @ queries
print("count = sum of shares:", torch.allclose(exact.memory.histogram, counts))
means = resultants / counts.unsqueeze(1)
print("running mean = resultant / count:", torch.allclose(exact.means, means))
print("lengths of the means:", [round(x, 2) for x in exact.means.norm(dim=1).tolist()])

# %% [markdown]
# ### 3.5 What the paper's rule does differently
#
# Look at the last line: a mean of directions is shorter than 1, the more so the wider its queries spread. The paper changes two things.
#
# 1. **It cuts the mean to unit length** after each visit. The slot then remembers a direction and a count, but not how much the queries behind it agreed: it treats its past as $h_i$ queries that all pointed along $K_i$.
# 2. **It remembers no shares**: $\gamma^0 = 0$ at each visit. A GAN has no list of queries to come back to. The same image returns as another query, because $\mu$ has moved on; generated images never return at all. So old contributions are never taken back (and $\alpha$, in section 4, lets them fade).
#
# What remains of EM? It pays to be exact here. (In all five $k$ is the number of slots. With a top $k$ that leaves slots out, not even the likelihood of batch EM is sure to climb.)
#
# | version | shares | keys | what holds |
# |---|---|---|---|
# | A: batch EM | all at once | unit | climbs, ends in a fixed point |
# | B: incremental EM | remembered | means keep their length | exact: the bound never falls at any visit, the same fixed points |
# | C: B with change 1 | remembered | unit | no guarantee: once shares stop changing, $\Delta = 0$ and nothing moves, *wherever the keys are* |
# | D: the memory, one query a write | forgotten | unit | for counts that are large beside single shares ($\alpha$ near 1): at rest *on average* near the fixed points of batch EM; with a short memory it can leave them |
# | E: the memory, all queries in one write | forgotten | unit | climbs for any $\alpha$, the same fixed points |
#
# So the two changes belong together. Cutting to unit length alone breaks EM (C). With forgotten shares each visit pushes again, by $\gamma_i (q - K_i)/(\alpha h_i + \gamma_i)$. If $h_i$ is large, the denominator is nearly the same at each visit, and the pushes cancel, but for a part along $K_i$ that the normalisation removes, where $R_i$ points along $K_i$. If it is small, a query with a large share is damped by it, the keys jitter, and D has a resting place of its own or none. In E, the new key points along $\alpha h_i K_i + R_i$, part of the way to batch EM's, and the new prior lies between the old one and batch EM's. Both lift the bound, so the likelihood cannot fall (*generalised* EM).
#
# **Predict:** all five start from the same place, with $\alpha = 1$. (B and C need shares to remember, so they begin with those of the start; that is one step of A.) Which come close to the best likelihood, and which get stuck?

# %%
series = {"A: batch EM": batch_em}
for name, keep in [("B: incremental EM, exact", True), ("C: B with unit keys", False)]:
    em = update.IncrementalEM(copy.deepcopy(start), queries, keep_length=keep)
    series[name] = update.climb(em.memory, queries, em.sweep, 20)
    gap = update.distance_from_fixed_point(em.memory, queries)
    print(f"{name}: a step of batch EM would turn a key by {gap:.1f} degrees")

# %%
for name, sweep in [
    ("D: memory.write, one at a time", update.write_one_by_one),
    ("E: memory.write, all in a batch", update.write_all),
]:
    memory = copy.deepcopy(start)
    series[name] = update.climb(memory, queries, lambda m=memory, s=sweep: s(m, queries), 20)
    print(f"{name}: rises at each of 20 sweeps: {min(np.diff(series[name])) > 0}")

# %%
show(
    update.climbs_figure(series),
    "Figure 4.6. How much log-likelihood is missing (down is better, logarithmic). A and B "
    "reach the same maximum, B sooner. C stops short and stays there. D and E, the memory with "
    "alpha = 1, keep climbing, but more and more slowly: they never forget their bad start. (Cut off at 1e-7.)",
    "Five curves over 20 sweeps. A and B fall below 1e-6 within 9 and 5 sweeps. C flattens at "
    "0.004. D and E fall slowly from about 0.6 to below 0.02 and are still falling.",
)

# %% [markdown]
# C is 2.6 degrees from where EM would take it, and no further visit will move it. D and E are still on their way, and slow, because with $\alpha = 1$ the counts only grow and each new query weighs less. Is C's failure always that mild? No. On other data it even *loses* likelihood from one sweep to the next, which EM never does:

# %%
other = update.three_clusters(seed=5)
for name, keep in [("B", True), ("C", False)]:
    em = update.IncrementalEM(update.untrained_mixture(other), other, keep_length=keep)
    falls = np.diff(update.climb(em.memory, other, em.sweep, 20)) < -1e-4
    print(f"{name}: the likelihood fell by over 0.0001 in {falls.sum()} of 20 sweeps")

# %% [markdown]
# And E for $\alpha$ below 1: forgetting a part of the past with each sweep makes it faster, and it still never falls.

# %%
for alpha in (1.0, 0.9, 0.5):
    memory = update.untrained_mixture(queries, alpha)
    climb = update.climb(memory, queries, lambda m=memory: update.write_all(m, queries), 30)
    gap = update.distance_from_fixed_point(memory, queries)
    falls = min(np.diff(climb)) < -1e-9
    print(f"alpha {alpha}: ever falls: {falls}; still to turn: {gap:.1f} degrees")

# %% [markdown]
# How far from a fixed point does D come to rest? We start each memory *at* the maximum that A found, write 1500 queries one at a time, in random order, and average each key over the last 1000. (The counts start where this $\alpha$ will hold them.) **Predict:** is a memory of two queries, $\alpha = 0.5$, enough for four slots?

# %%
for alpha in (0.99, 0.9, 0.5):
    off = update.drift_from_maximum(queries, alpha)
    said = f"{off:.1f}" if off < 45 else "more than 45"
    print(f"D, alpha {alpha}: the furthest key rests {said} degrees from the maximum")

# %% [markdown]
# With a memory of a hundred queries D stays about where EM would have it (1 to 3 degrees off in four orders of the queries); with one of ten it is up to 8 degrees off. With two, it forgets slots while the queries are elsewhere. So when the memory lasts $1/(1-\alpha)$ writes, a write should bring every slot something: in the digits' training it brings 64 queries of each label, which is nearer to E than to D.
#
# How much does the lost length matter? A slot of concentration $\kappa$ has a mean of length $I_{M/2}(\kappa)/I_{M/2-1}(\kappa)$. Its past counts for one over that: too heavy, never too light. **Predict** for $\kappa = 8$ on the circle, and for the digits' $\kappa = 60$ in 64 dimensions.

# %%
for kappa, dim in [(8, 2), (60, 64)]:
    length = update.mean_length(kappa, dim)
    print(f"kappa {kappa}, M {dim}: length {length:.2f}, the past counts {1 / length:.1f} fold")

# %% [markdown]
# On the circle it is a tenth. At the digits' setting the past weighs 1.7 times what it should, so keys follow their queries more slowly than a running mean would.
#
# ## 4. Why forget? What alpha is for
#
# In section 3 the queries stood still. In a GAN they never do: the inference network that makes them is being trained. What an old query said about a slot goes stale. So with each write a touched slot first forgets a part, $h_i \leftarrow \alpha h_i$, and a key's weight shrinks with it, because (10) divides by the new count.
#
# A query that was written $w$ writes ago then counts $\alpha^w$. The weights sum to $1 + \alpha + \alpha^2 + \dots = 1/(1-\alpha)$: the slot's **effective memory**, in writes. If each write brings a mass $g$, the count settles where $h = \alpha h + g$:

# %%
for alpha in (0.5, 0.9):
    memory = ring([0, 180], [1, 0], [1e-5, 1e-5], top_k=1, kappa=20.0, alpha=alpha)
    for _ in range(100):
        memory.write(direction([0.0, 0, 0, 0]), REAL.repeat(4))
    h, formula = float(memory.histogram[0]), 4 / (1 - alpha)
    print(f"alpha {alpha}: h settles at {h:.1f}; 4/(1 - alpha) = {formula:.1f}")

# %% [markdown]
# Now let the queries drift. Six clusters turn round the circle, a little with each write, as if $\mu$ were changing. Each write brings one query from each cluster, 7.5 degrees off its centre (standard deviation). Six real slots try to follow.
#
# A short memory averages few queries, so keys **jitter**: the error is $7.5\sqrt{(1-\alpha)/(1+\alpha)}$ degrees. A long memory averages over places where the cluster no longer is, so keys **lag**: by $\alpha/(1-\alpha)$ times the turn per write. (Both are what an exponential mean does; for an angle it is true as long as angles are small.) **Predict:** where is the best $\alpha$, and what does it depend on?

# %%
alphas = {0: [0.001, 0.5, 0.9, 0.95], 0.5: [0.001, 0.5, 0.8, 0.9, 0.98], 2: [0.001, 0.5, 0.8]}
tracks = {(turn, a): update.track(a, turn) for turn, row in alphas.items() for a in row}
measured = {turn: {} for turn in alphas}
for (turn, alpha), (errors, _) in tracks.items():
    measured[turn][alpha] = float(errors[50:].pow(2).mean().sqrt())  # settled by then
for turn, row in measured.items():
    print(f"{turn:g} degrees a write: the best of {list(row)} is {min(row, key=row.get)}")

# %%
centres = direction(torch.arange(6) * 60.0 + 0.5 * 99)
keys = {f"alpha = {alpha}": (tracks[0.5, alpha][1], centres) for alpha in (0.5, 0.9, 0.98)}

# %%
show(
    update.tracking_figure(measured, keys),
    "Figure 4.7. Left: keys (dots) and the centres they follow (bars), which turn counter-"
    "clockwise by 0.5 degrees a write. At 0.5 the keys jitter round the bars, at 0.9 they "
    "trail, at 0.98 they are lost. Right: points are real writes, curves the formula. The "
    "faster the queries move, the shorter the best memory.",
    "Left: three circles with six bars and six dots each. Right: error in degrees against "
    "1/(1 - alpha) on logarithmic axes. At rest the error falls from 7 to 1. At 0.5 degrees a "
    "write it is smallest, about 3, near 5 writes. At 2 degrees near 2 writes, about 4.5.",
)

# %%
close = []
for turn, row in measured.items():
    close += [abs(update.tracking_error(a, turn) - e) < 0.2 * e for a, e in row.items()]
print(f"{sum(close)} of {len(close)} points lie within 20 % of the formula")

# %% [markdown]
# (The point that does not is $\alpha = 0.98$ at half a degree: its lag of 24.5 degrees would take 200 writes to build up, and the next cluster is only 60 degrees away.) There is no best $\alpha$ as such: it weighs the speed of the encoder against the spread of its queries. The paper uses 0.5, a memory of two writes. The digits of this project train with 0.9, ten writes ([notebook 6](06_full_training.ipynb)).
#
# **Where it breaks.** Every slot of $S_y$ decays, whatever its share. A slot that is often *among* the $k$ best without being the best is forgotten by its neighbours' traffic:

# %%
memory = ring([0, 60, 180], [1, 1, 0], [5, 5, 1], top_k=2, kappa=20.0, alpha=0.9)
for _ in range(30):
    memory.write(direction([0.0]), REAL)
h, places = memory.histogram.tolist(), angles(memory.keys).tolist()
print(f"the slot that matches: h {h[0]:.1f}")
print(f"its neighbour in S_y: h {h[1]:.1f}, still at {places[1]:.1f} degrees")

# %% [markdown]
# What it knew is intact, but its prior is fading, by a factor of $0.9^{30} = 0.04$ so far. [Notebook 7](07_does_it_work.ipynb) comes back to this: it is one of the two ways in which the memory forgets.
#
# ## 5. T = 1 or 3
#
# The paper allows $T$ iterations of (8) to (10) within one write. The first starts from $\gamma^0 = 0$; each later one takes the previous shares back, as in section 3.4. **Predict:** after three iterations, is the mass that a query adds 3, or 1?

# %%
settings = {"top_k": 2, "kappa": 4.0, "correct_in_top": 2}
for T in (1, 3):
    memory = ring([0, 60, 180], [1, 1, 0], [0.3, 0.3, 1], em_steps=T, **settings)
    memory.write(direction([25.0]), REAL)
    one, two = (memory.histogram[:2] - 0.9 * 0.3).tolist()
    turned = [round(angle) for angle in angles(memory.keys[:2]).tolist()]
    print(f"T = {T}: shares {one:.2f} + {two:.2f} = {one + two:.2f}, keys at {turned} degrees")

# %% [markdown]
# One: the changes telescope. What $T$ does is to look again after the keys have moved, for this one query. Here the keys were light, so they jumped towards the query in the first step, and the second look finds the two slots more alike. For slots that have seen much, nothing is left to change:

# %%
places = []
for T in (1, 3):
    memory = ring([0, 60, 180], [1, 1, 0], [30, 30, 1], em_steps=T, **settings)
    memory.write(direction([25.0]), REAL)
    places.append(angles(memory.keys))
apart = float((places[0] - places[1]).abs().max())
print("h = 30: T = 1 and T = 3 differ by less than 0.1 degrees:", apart < 0.1)

# %% [markdown]
# So $T = 1$ is the default, in the authors' code and here.
#
# ## 6. A batch instead of a sample
#
# The rule above writes one sample at a time. A GPU has to write 64 at once, and samples of one batch meet in the same slots. How often? Below is a memory with $N = 256$, $k = 16$ and a batch of 64 real queries around four of its keys.

# %%
memory, queries, labels = update.crowd()
slots = circle.slots_of(memory, queries, labels)
print("pairs (query, slot) to write:", slots.numel())
print("distinct slots:", len(slots.unique()))
print("updates lost if one writer wins each slot:", slots.numel() - len(slots.unique()))

# %% [markdown]
# The authors' code lets one writer win each slot. What this project does follows from section 3: the sufficient statistics are *sums*. A batch is one EM step on sums. Each touched slot decays once, then
#
# $$h_i \leftarrow \alpha h_i + \textstyle\sum_b \gamma_{bi}, \qquad K_i \propto \alpha h_i K_i + \textstyle\sum_b \gamma_{bi}\, q_b ,$$
#
# which is (9) and (10) with the changes of all samples added up. `update.write_last_wins` is a plain version of the other. **Predict:** 64 queries are written. How much mass does each rule add to the histogram?

# %%
source(update.write_last_wins)

# %%
for name, write in [("summed", VMFMemory.write), ("last wins", update.write_last_wins)]:
    after = copy.deepcopy(memory)
    write(after, queries, labels)
    added = update.mass_added(memory, after)
    gain = (after.log_likelihood(queries, 1) - memory.log_likelihood(queries, 1)).mean()
    print(f"{name}: mass added {added:.1f} of 64; log p(x) of the batch {gain:+.1f} nats")

# %% [markdown]
# Of 64 queries, last-write-wins counted about two. And which two depends on the order of the batch, which on a GPU nobody controls:

# %%
order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
for name, write in [("summed", VMFMemory.write), ("last wins", update.write_last_wins)]:
    first, second = copy.deepcopy(memory), copy.deepcopy(memory)
    write(first, queries, labels)
    write(second, queries[order], labels[order])
    apart = float((first.histogram - second.histogram).abs().max())
    print(f"{name}: the same counts in another order, to 1e-9: {apart < 1e-9}")

# %% [markdown]
# **Is a batch equal to one write after another?** Exactly where nobody replaces and no sample's write changes what another one finds; for instance where each has slots of its own. Ages apart: they grow by one with each call.

# %%
three = ring([0, 120, 240, 60], [1, 1, 1, 0], [1, 2, 3, 1], top_k=1, kappa=20.0, alpha=0.9)
for name, where in [("own slots", [5.0, 110, 250]), ("one slot", [5.0, 350, 10])]:
    batch, singles = copy.deepcopy(three), copy.deepcopy(three)
    batch.write(direction(where), REAL.repeat(3))
    update.write_one_by_one(singles, direction(where))
    same = torch.allclose(batch.keys, singles.keys)
    h, h_singles = float(batch.histogram[0]), float(singles.histogram[0])
    print(f"{name}: same keys {same}; h of slot 0: batch {h:.3f}, singles {h_singles:.3f}")

# %% [markdown]
# With slots of their own they are equal. In one slot they are not: one after another, the past decays three times, and the first query twice: $0.9^3 + 0.9^2 + 0.9 + 1 = 3.439$. In a batch the past decays once and all three queries count in full: $0.9 + 3 = 3.9$. So in this project $\alpha$ is *per write*, whatever the size of the batch. Samples of one batch that replace take different slots, oldest first.
#
# ## 7. Who is old? One setting that the paper leaves open, one that we changed
#
# **`touch`.** EM visits all of $S_y$. Does it make all $k$ slots young (`"all"`, the authors' code), or only the best match (`"best"`, Kaiser et al.)? Sixteen real slots, 60 writes around six directions:

# %%
for touch, k in [("best", 4), ("all", 4), ("best", 16), ("all", 16)]:
    memory = update.aged(touch, k)
    ages = memory.ages[memory.values == 1]
    different, oldest = len(ages.unique()), int(ages.max())
    print(f"touch={touch}, k = {k}: {different} different ages, the oldest {oldest}")

# %% [markdown]
# With `"all"` and a large $k$ every slot is always young: "the oldest" means nothing, and ties send each replacement to the slot with the lowest index. `"best"` keeps ages apart, so it is the default. It has its own price, visible in the film: twins that share a cluster (in the film of section 2, look at 60 degrees) hold real counts, yet only the best of them stays young. Their age says "unused" while they are in use. Slots 7 and 8 paid that price at write 13.
#
# **`replace_within_label`.** Whom may a sample overwrite: the oldest slot of all (the paper), or the oldest with its own label? Let real queries stay where they are, and generated ones roam, as those of a young generator do. **Predict** what happens to the share of real slots.

# %%
shares = {
    "oldest of the same label": update.share_of_real(replace_within_label=True),
    "oldest of all": update.share_of_real(replace_within_label=False),
}
for name, share in shares.items():
    print(f"{name}: share of real slots after 60 writes {share[-1]:.2f}")

# %%
show(
    update.shares_figure(shares),
    "Figure 4.8. Whoever surprises the memory more takes it over. If the oldest slot of all is "
    "replaced, the roaming label pushes the settled one out; within the label, each keeps "
    "its half.",
    "Share of slots with v = 1 against 60 writes. Within the label it stays at 0.5. With the "
    "oldest of all it falls from 0.48 to below 0.1.",
)

# %% [markdown]
# This is a toy, but the runaway is the same in training: once few real slots are left, there is nothing to sample from (11). So `True` is the default here, and `False` is in `preset="paper"`.
#
# ## In five lines
#
# - A slot is a component of a vMF mixture; its key and its count are what EM needs to know of all the queries behind it.
# - The E-step (8) is the posterior over the label's slots; the M-step (9, 10) is a running mean: share over count, towards the query.
# - Unit keys and forgotten shares, together, have the fixed points of batch EM: exactly if all queries come in one write, nearly if they come one by one and counts are large. Unit keys with remembered shares have not.
# - $\alpha$ weighs jitter against lag: the memory lasts $1/(1-\alpha)$ writes. What matches nothing is not moved; it ages and is replaced.
# - A batch is one EM step on sums: nothing is lost, and no order matters.
#
# You can go on to the [exercises](#Exercises) now. Part two is for those who know, or want to know, the memory's parent, or the authors' code.

# %% [markdown]
# # Part two: departures
#
# ## 8. Four differences from life-long memory
#
# The parent is the memory of Kaiser, Nachum, Roy and Bengio, *Learning to Remember Rare Events* (ICLR 2017). It has keys, values and ages too. `departures.LifelongMemory` is a plain version; here is all of its writing:

# %%
source(departures.LifelongMemory.write)

# %% [markdown]
# Both memories, from the same 16 random keys, now see the same stream: real queries from a frequent mode (180 degrees, 45 %) and a rare one (60 degrees, 5 %), generated ones from 0 degrees (50 %). The rare and the generated mode overlap. We drew the queries, so Bayes' rule gives the true P(real).

# %%
stream, raised = departures.Stream(), departures.raise_both()
flat = copy.deepcopy(raised.memory)
flat.histogram.fill_(1.0)
answers = {
    "truth (Bayes' rule)": stream.probability_real,
    "MemoryGAN's memory": raised.memory.read,
    "the same, histogram flat": flat.read,
    "life-long memory": raised.lifelong.read,
}
queries, labels = stream.batch(torch.Generator().manual_seed(9), times=100)
for name, answer in answers.items():
    loss = departures.log_loss(answer(queries), labels)
    print(f"{name}: log-loss on new queries {loss:.2f} nats")

# %%
degrees = torch.linspace(-60, 240, 301, dtype=torch.float64)
read = {name: answer(direction(degrees)) for name, answer in answers.items()}

# %%
show(
    departures.reading_figure(read, degrees),
    "Figure 4.9. Differences 1 and 4. The nearest key's value is a step: right or wrong, never "
    "unsure. The posterior follows the truth. Without the histogram (dash-dotted) rare slots "
    "and forgotten ones vote like all others, and the boundary shifts.",
    "P(real) from -60 to 240 degrees. Truth and MemoryGAN's memory: one smooth rise at about "
    "40 degrees. Flat histogram: a rise at 30 degrees and a tail of up to 0.3 below 0. "
    "Life-long memory: a step at 37 degrees.",
)

# %% [markdown]
# **1. A probabilistic reading.** The parent's answer is the value of the nearest key. For classification that is fine: its step is nearly in the right place. A discriminator must say *how sure* it is, because its gradient is what the generator learns from. (Kaiser et al. also return a softmax of 40 times the cosines as a signal of confidence. It is a posterior with $\kappa = 40$ and no prior:)

# %%
loss = departures.log_loss(raised.lifelong.confidence(queries), labels)
print(f"life-long memory with softmax: log-loss {loss:.2f} nats")

# %% [markdown]
# **2. EM instead of averaging.** The parent moves the winner to $(K + q)/\lVert K + q\rVert$. Compare with (10) for a slot that takes the whole query, $\gamma = 1$, at the paper's $\alpha = 0.5$: $h$ settles at 2, decays to 1, gains 1, and the new key points along $1\cdot K + 1 \cdot q$. **That is the parent's rule.** Averaging is EM for a lone slot that remembers two queries:

# %%
memory = ring([10, 190], [1, 0], [2, 1e-5], top_k=1, kappa=20.0, alpha=0.5)
lifelong = departures.LifelongMemory(memory.keys, memory.values)
for query in circle.cluster(30, 20, 50, torch.Generator().manual_seed(0)).split(1):
    memory.write(query, REAL)
    lifelong.write(query, REAL)
print("the same keys after 50 queries:", torch.allclose(memory.keys, lifelong.keys))

# %% [markdown]
# EM differs where slots *share* (two slots near one query: averaging moves only the winner, EM moves both by their shares), where a slot is new (its first queries count more), and where $\alpha$ is not 0.5. The last is easy to see in the jitter of a key in a cluster that stands still:

# %%
queries = circle.cluster(0, 20, 150, torch.Generator().manual_seed(1))
lone = {"top_k": 1, "kappa": 20.0}
memories = {
    "averaging": departures.LifelongMemory(direction([0, 180]), torch.tensor([1, 0])),
    "EM, alpha 0.5": ring([0, 180], [1, 0], [1, 1], alpha=0.5, **lone),
    "EM, alpha 0.9": ring([0, 180], [1, 0], [1, 1], alpha=0.9, **lone),
}
for name, memory in memories.items():
    print(f"{name}: the key jitters by {departures.jitter(memory, queries):.0f} degrees")

# %% [markdown]
# **3. A GAN loss instead of a memory loss.** The parent trains its network by a margin: the nearest key of the wrong value has to be further away than the nearest of the right one, by 0.1 of cosine. MemoryGAN uses $-\log D$. For a real query between a real key (0 degrees) and a generated one (90 degrees):

# %%
theta = torch.linspace(0, 90, 181, dtype=torch.float64)
losses = departures.pulls(theta)
for name, (_, slope) in losses.items():
    felt, size = theta[slope != 0], slope[slope != 0].abs()
    ratio = float(size.max() / size.min())
    print(f"{name}: a gradient from {felt.min():.0f} to {felt.max():.0f} degrees,")
    print(f"    the largest more than 100 times the smallest: {ratio > 100}")

# %%
show(
    departures.pulls_figure(theta, losses),
    "Figure 4.10. Difference 3. The margin pulls with nearly the same force wherever it is "
    "violated, and not at all elsewhere. -log D pulls harder the surer the memory is of the "
    "wrong answer. It is silent where D is clipped, on both sides: also at the worst place.",
    "Left: two losses against the angle of a real query. The memory loss is 0 to 41 degrees, "
    "then rises to 1.1. -log D rises from 30 degrees to 6.9 at 69 and is flat from there. "
    "Right: their slopes on a logarithmic axis.",
)

# %% [markdown]
# The margin loss looks at two keys and is no probability. $D$ is a probability made of all $k$ slots, so the same quantity serves both players, and the generator can be trained to raise it.
#
# **4. The histogram.** Figure 4.9 showed what reading loses without it. The other half is sampling (11): the generator should be asked for each mode as often as the data show it. Ten per cent of the *real* queries came from the rare mode:

# %%
off = ((angles(raised.memory.keys) - 60 + 180) % 360 - 180).abs()
rare = ((off < 40) & (raised.memory.values == 1)).double()
for name, memory in [("with the histogram", raised.memory), ("every real slot alike", flat)]:
    real = memory.histogram * memory.values
    print(f"{name}: the rare mode is asked for in {rare @ real / real.sum():.0%} of draws")

# %% [markdown]
# ## 9. Where the authors' code is not their paper
#
# The published TensorFlow code departs from the paper's text in several places. Each is run here with `departures.PublishedMemory`, a plain version. First, its EM step:

# %%
source(departures.PublishedMemory.em)

# %% [markdown]
# **The M-step of $h$.** The code adds $\sum_i \gamma_i$, which is 1, to *every* slot of $S_y$; the paper adds $\gamma_i$. Then $h = \alpha h + 1$ for each slot that is visited often, and $h \to 1/(1-\alpha) = 2$. We write 80 queries twice, one at a time, into both memories. Nine in ten real ones come from one mode.

# %%
queries, labels = departures.two_modes(40)
torch.manual_seed(0)  # for the memory's random first keys
memory = VMFMemory(64, 16, 8, kappa=30.0, alpha=0.5, touch="all").double()
paper, code = circle.reference_of(memory), departures.PublishedMemory.of(memory)
for b in torch.randperm(80, generator=torch.Generator().manual_seed(3)).tolist() * 2:
    paper.write(queries[b].numpy(), int(labels[b]))
    code.write(queries[b].numpy(), int(labels[b]))
for name, rule in [("paper", paper), ("code", code)]:
    fullest = sorted(rule.histogram, reverse=True)[:20]
    equal = fullest[0] < 1.02 * fullest[-1]
    print(f"{name}: the 20 fullest slots have the same h, to 2 %: {equal}")

# %%
show(
    departures.counts_figure({"paper: + share": paper.histogram, "code: + 1": code.histogram}),
    "Figure 4.11. The same queries, two rules. The paper's counts differ from slot to slot, as "
    "the data do. The code's are 2 for every slot in use: the histogram says who is in "
    "use, and nothing about how much.",
    "Bars of h, sorted. Left: a few high bars, then near 0. Right: a plateau at 2, then 0.",
)

# %% [markdown]
# **The read uses $\alpha h + \beta$** where the paper has $h + \beta$. The factor cancels but for $\beta = 10^{-8}$. How much can it matter, even for counts as small as at the start?

# %%
memory = ring([0, 70], [1, 0], [1e-5, 2], top_k=2, kappa=1.0, alpha=0.5)
decayed = copy.deepcopy(memory)
decayed.histogram *= 0.5
around = direction(torch.arange(0.0, 360, 5))
change = float((memory.read(around) - decayed.read(around)).abs().max())
print("changes D by less than 1e-3 anywhere:", change < 1e-3)

# %% [markdown]
# **All first keys are zero**, so all cosines are 0 and all slots of a label tie. Here is the very first batch at the authors' size ($N = 4096$, $M = 256$, $k = 128$): 64 different real queries, with **one writer winning** each slot.

# %%
generator = torch.Generator().manual_seed(0)
queries = F.normalize(torch.randn(64, 256, generator=generator), dim=1).double().numpy()
code = departures.PublishedMemory.first(4096, 256, 128)
code.write_batch(queries, [1] * 64)
used = code.keys[np.linalg.norm(code.keys, axis=1) > 0]
print(f"updates: {64 * 128}, lost: {code.lost}")
print(f"slots written: {len(used)}, different keys: {len(np.unique(used.round(6), axis=0))}")

# %% [markdown]
# 64 images went in; one is remembered, 128 times. Random first keys, which this project uses, have no ties.
#
# **The nearest slot alone decides** whether to replace; the paper's text lets any of the $k$ vouch. Both are settings of the real memory, so we can count. Twenty batches of the stream of section 8, whose rare real mode overlaps with the generated one:

# %%
for look_at in (1, 8):
    share = departures.share_replaced(correct_in_top=look_at)
    print(f"correct_in_top {look_at} of k = 8: {share:.1%} of the queries replace a slot")

# %% [markdown]
# With one slot looked at, contested places keep replacing (1.5 % of all queries here): a query on the wrong side of a boundary is no novelty, only unlikely. **The label mask is no mask**: $S_y$ is found by lowering the cosines of the other label by 2, at $\kappa = 1$ a factor of $e^{-2} = 0.14$ in the score. At equal cosines a slot of the wrong label gets in if its count is more than 7.4 times as large. To see it, we begin again, smaller: real and generated queries from well-separated, *fixed* clusters, the easiest task there is, with a perfect encoder. One batch of 32 real queries, one of 32 generated ones:

# %%
queries, labels = departures.two_modes(640, seed=1)
shuffled = torch.randperm(640, generator=torch.Generator().manual_seed(0))
real, generated = queries[:640][shuffled], queries[640:][shuffled]
code = departures.PublishedMemory.first(256, 16, 16)
code.write_batch(real[:32].numpy(), [1] * 32)
code.write_batch(generated[:32].numpy(), [0] * 32)
S_y = [code.nearest(query, label=0) for query in generated[32:64].numpy()]
wrong = np.mean([code.values[slot] == 1 for slots in S_y for slot in slots])
print(f"S_y of new generated queries: {wrong:.0%} of its slots are real ones")

# %% [markdown]
# EM with such an $S_y$ turns slots that vote "real" towards generated queries. What do the departures do together? We go on for 20 batches of each, `PublishedMemory` with the published settings beside this project's memory.

# %%
code = departures.PublishedMemory.first(256, 16, 16)
here = VMFMemory(256, 16, 16, correct_in_top=2).double()
for r, g in zip(real.split(32), generated.split(32), strict=True):
    code.write_batch(r.numpy(), [1] * 32)
    code.write_batch(g.numpy(), [0] * 32)
    here.write(torch.cat([r, g]), torch.tensor([1] * 32 + [0] * 32))

# %%
for name, memory in [("published", code), ("here", here)]:
    D_real, D_generated = (departures.mean_read(memory, group) for group in (real, generated))
    print(f"{name}: D(real) {D_real:.2f}, D(generated) {D_generated:.2f}")
    print(f"    share of slots that are real: {np.mean(np.asarray(memory.values)):.2f}")

# %% [markdown]
# The published memory calls every generated query real, although real slots have become rare. How can that be? Look at the 16 slots that such a query is shown:

# %%
S = [code.nearest(query) for query in generated[:64].numpy()]
share = np.mean([code.values[slot] for slots in S for slot in slots])
print(f"S of generated queries: {share:.0%} real slots")
of_real = [h for h, value in zip(code.histogram, code.values, strict=True) if value and h > 0.1]
print(f"{len(of_real)} real slots in use, mean h {np.mean(of_real):.1f}")
of_generated = [h for h, value in zip(code.histogram, code.values, strict=True) if not value]
print(f"{len(of_generated)} generated slots, median h {np.median(of_generated):.1f}")

# %% [markdown]
# All of them are real. At $\kappa = 1$ a slot with $h = 2$ at a right angle ($2 e^{-1} = 0.74$) beats a slot with $h = 0.5$ that points straight at the query. The generated slots never gather a count, because each generated query is a surprise and overwrites one of them. Which part is to blame? **Predict** what the same code does with one number changed, $\kappa = 30$:

# %%
code = departures.PublishedMemory.first(256, 16, 16)
code.kappa = 30.0
for r, g in zip(real.split(32), generated.split(32), strict=True):
    code.write_batch(r.numpy(), [1] * 32)
    code.write_batch(g.numpy(), [0] * 32)
D_real, D_generated = (departures.mean_read(code, group) for group in (real, generated))
print(f"published at kappa = 30: D(real) {D_real:.2f}, D(generated) {D_generated:.2f}")

# %% [markdown]
# It separates them. This is a toy with a fixed encoder; that one number repairs it here does not say that it would train a GAN. What did train one is in [notebook 6](06_full_training.ipynb).
#
# **The mutual-information term** is a mean squared error between the key and the *unnormalised* query, where the paper has $-\kappa K \cdot \mu$. For unit queries the two say the same, since $\lVert K - q\rVert^2 = 2 - 2 K\cdot q$; for others the first also pulls the length. [Notebook 5](05_mcgn.ipynb) is about this term.
#
# Each of these is a place where this project follows the paper's text, or says what it does instead: the four settings of sections 2 and 7, the batch of section 6, random first keys.

# %% [markdown]
# ## Exercises
#
# Solutions: [solutions/04_memory_update.ipynb](solutions/04_memory_update.ipynb). The checks say what is wrong, not only that something is.
#
# **Exercise 1. Predict.** Four queries, each to be written alone into this memory ($k = 2$, $\kappa = 10$, `correct_in_top` 1): a real one at 55 degrees, a real one at 15, a real one at 240, a generated one at 150. "EM" or "replace"? Decide without running a read: $e^{\kappa K\cdot q}(h + \beta)$, and 40 degrees cost a factor of $e^{10(\cos 0 - \cos 40)} = 10$.

# %%
print(table(update.four_writes()[0]))
update.check_cases([..., ..., ..., ...])

# %% [markdown]
# **Exercise 2. The E-step.** Write (8): from `keys` [N, M], `values` [N], `histogram` [N], one `query` [M] and its `label`, return $\gamma$ [N], zero outside $S_y$. ($\beta$ may be left out.)


# %%
def responsibilities(keys, values, histogram, query, label, top_k, kappa, alpha):
    return ...


update.check_responsibilities(responsibilities)

# %% [markdown]
# **Exercise 3. The M-step of a batch.** One slot has `key` [M] and `count`. A batch of `queries` [B, M] is written, of which it takes the shares `gamma` [B]. Return its new key and count. Everybody in the batch must count, in any order.


# %%
def batch_m_step(key, count, queries, gamma, alpha):
    return ..., ...


update.check_batch_m_step(batch_m_step)

# %% [markdown]
# **Exercise 4. Counts.** A slot receives a mass of 4 with each write, $\alpha = 0.9$. What does $h$ settle at? And after how many writes does a query count for less than 1 % of what it counted at first?

# %%
settles_at, writes = ..., ...
update.check_counts((settles_at, writes))

# %% [markdown]
# **Exercise 5. Choose alpha.** The clusters of section 4 turn by 1 degree a write. Find an $\alpha$ within 5 % of the smallest possible error. (`update.tracking_error(alpha, speed)` is the formula; Figure 4.7 gives a first guess.)

# %%
update.check_alpha(...)

# %% [markdown]
# **Exercise 6. Averaging** (part two). Before you look it up: for which $\alpha$ is EM, on a slot that takes the whole of each query and has settled, the averaging of Kaiser et al.?

# %%
departures.check_averaging(...)

# %% [markdown]
# **Next:** the memory now knows what is real, and how much of it there is. [Notebook 5](05_mcgn.ipynb) lets the generator draw from that knowledge.

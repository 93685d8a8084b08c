# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions of 7 · Does it work?
#
# The exercises stand at the end of [notebook 7](../07_does_it_work.ipynb).

# %%
from memgan.training import prepare
from walkthrough import forgetting, verdict

prepare(seed=0)

# %% [markdown]
# ## 7.1 · Which cause?
#
# With 512 slots a frozen encoder keeps A, and protected slots do not: drift. With 128 slots each alone loses A on some seed.

# %%
verdict.check_causes({"512 slots": "drift", "128 slots": "both"})

# %% [markdown]
# ## 7.2 · Write the measure


# %%
def in_between(confidence):
    return (confidence[:, 1:-1] < 0.8).double().mean()


verdict.check_share(in_between)

# %% [markdown]
# ## 7.3 · Write the walk


# %%
def across(keys, noise, t):
    return keys[int(t >= 0.5)], noise[0].lerp(noise[1], t)


verdict.check_switch(across)

# %% [markdown]
# ## 7.4 · Predict
#
# One seed; look at the shares after 5 steps and decide whether your reason fits.

# %%
bolder = forgetting.experiment("memory", seed=0, steps_on_b=50, amount=0.9)
print("all of A is rejected before B:", bolder.old[0] > 0.95)
print("shares were measured at steps", bolder.steps)

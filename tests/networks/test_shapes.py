"""Shapes in the signatures of memgan.gan and memgan.networks, checked by jaxtyping and beartype while they run.

Every dimension is another prime, so that no two of them can be taken for each other. A process of its own, because the
modules have to be imported under the hook that adds the checks.
"""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKED = """
from jaxtyping import Float, Int, TypeCheckError, install_import_hook

with install_import_hook(["memgan.gan", "memgan.networks"], "beartype.beartype"):
    import memgan.gan
    import memgan.networks

import torch
from memgan.gan import MemoryGAN, discriminator_loss, generator_loss, information_loss
from memgan.memory import MemorySettings
from memgan.networks import NetworkSettings

BATCH, CHANNELS, NUM_SLOTS, KEY_DIM, NOISE_DIM, SLOTS, SAMPLES = 17, 3, 61, 7, 5, 11, 13
MEMORY = MemorySettings(num_slots=NUM_SLOTS, key_dim=KEY_DIM, top_k=19)


def refused(call, *arguments):
    try:
        call(*arguments)
    except TypeCheckError:
        return True
    return False


for settings in (
    NetworkSettings(46, CHANNELS, width=2, stages=1, hidden=29, noise_dim=NOISE_DIM),
    NetworkSettings(92, CHANNELS, width=2, stages=2, hidden=0, noise_dim=NOISE_DIM),
    NetworkSettings(92, CHANNELS, width=2, stages=2, hidden=0, noise_dim=NOISE_DIM, kind="residual"),
):
    gan = MemoryGAN.from_settings(MEMORY, settings)
    made = gan.generate(BATCH)
    queries = gan.inference(made.images)
    labels = torch.arange(BATCH) % 2
    side = settings.image_size
    assert made.images.shape == (BATCH, CHANNELS, side, side)
    assert made.keys.shape == queries.shape == (BATCH, KEY_DIM)
    assert made.noise.shape == (BATCH, NOISE_DIM) and made.slots.shape == (BATCH,)
    images, slots = gan.sample_slots(SLOTS, SAMPLES)
    assert images.shape == (SLOTS, SAMPLES, CHANNELS, side, side) and slots.shape == (SLOTS,)
    real = gan.discriminate(made.images)
    generated = gan.read_write(queries, labels)
    information = gan.information(made, queries)
    loss = discriminator_loss(real, generated[:5]) + generator_loss(generated, "saturating") + information
    loss.backward()
    assert gan.slot_probabilities().shape == (NUM_SLOTS,) and gan.slots_in_use().shape == ()
    assert refused(gan.inference, made.images[0])
    assert refused(gan.generator, made.keys[:5], made.noise)
    assert refused(gan.generator, made.keys, made.noise.long())
    assert refused(gan.read_write, queries, labels[:5])
    assert refused(information_loss, made.keys, queries[:, :3], 1.0)
print("checked")
"""


@pytest.mark.thorough
def test_shapes_are_what_the_signatures_say():
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", CHECKED], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "checked"

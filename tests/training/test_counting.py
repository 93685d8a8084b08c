"""After its last step a Trainer counts anew which slots the training images are from."""

import pytest
import torch
from gan_builders import TINY_TRAINING, random_images, tiny_gan
from torch.utils.data import DataLoader

import memgan.training
from memgan.batches import StagedBatches, StoredBatches
from memgan.data import ImageData
from memgan.training import Trainer, TrainingSettings, prepare

BATCH = TINY_TRAINING["batch_size"]
IMAGES = random_images(4 * BATCH, seed=1)


def trained(data=IMAGES, *, stop_after=None, **changes):
    prepare(0)
    gan = tiny_gan()
    for step in Trainer(gan, data, TrainingSettings(**{**TINY_TRAINING, **changes})):
        if step.number == stop_after:
            break
    return gan


def counted(gan, images=IMAGES):
    """The counts that `gan` should have, given those that its last batches left."""
    gan.eval()
    with torch.no_grad():
        gan.memory.recount(gan.inference(images))
    return gan.memory.histogram


@pytest.mark.parametrize("augmented", [{}, {"flip": True, "brightness": 0.3, "shift": 1}])
def test_all_training_images_are_counted_as_they_are_after_the_last_step(augmented):
    found = trained(**augmented)
    as_left = trained(**augmented, recount=False)
    assert not torch.allclose(found.memory.histogram, as_left.memory.histogram)
    torch.testing.assert_close(found.memory.histogram, counted(as_left))
    for name in ("keys", "values", "ages"):
        assert torch.equal(getattr(found.memory, name), getattr(as_left.memory, name))
    assert found.training


def test_nothing_is_counted_before_the_last_step():
    found, as_left = (trained(stop_after=12, recount=recount) for recount in (True, False))
    assert torch.equal(found.memory.histogram, as_left.memory.histogram)


def test_a_loaders_images_are_counted(monkeypatch):
    monkeypatch.setattr(memgan.training, "COUNTED", len(IMAGES))  # one epoch of the loader
    found, as_left = (trained(DataLoader(IMAGES, batch_size=BATCH), recount=recount) for recount in (True, False))
    torch.testing.assert_close(found.memory.histogram, counted(as_left))


def test_of_many_images_some_are_counted_evenly_spread_over_all(monkeypatch):
    monkeypatch.setattr(memgan.training, "COUNTED", 2 * BATCH + 3)
    found, as_left = trained(), trained(recount=False)
    torch.testing.assert_close(found.memory.histogram, counted(as_left, IMAGES[::2]))


@pytest.mark.parametrize("kind", ["stored", "staged"])
def test_counting_leaves_the_order_and_the_present_batch_as_they_are(kind):
    data = ImageData(IMAGES, torch.zeros(len(IMAGES), dtype=torch.long))
    make = {"stored": lambda: StoredBatches(data, BATCH), "staged": lambda: StagedBatches(data, BATCH, IMAGES.device)}
    torch.manual_seed(0)
    batches, others = make[kind](), make[kind]()
    for some in (batches, others):
        torch.manual_seed(1)
        some.advance()
    assert torch.equal(torch.cat(list(batches.spread(10**6))), IMAGES)
    assert torch.equal(batches.data.images[batches.index], others.data.images[others.index])
    assert batches.state_dict()["position"] == others.state_dict()["position"]
    assert torch.equal(batches.state_dict()["order"], others.state_dict()["order"])

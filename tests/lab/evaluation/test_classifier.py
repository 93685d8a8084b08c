"""The classifier: trained once, the same bits each time, kept under what it was trained on."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from evaluation_builders import FirstPixels, change_a_byte, some_digits
from gan_builders import same_state, state_of

import memgan.lab.evaluation.classifier
from memgan.data import ImageData, batch_of, load_dataset
from memgan.lab.commands.cli import main
from memgan.lab.evaluation.classifier import (
    Classifier,
    accuracy,
    cache_path,
    classifier_for,
    features_of,
    has_classes,
    is_kept,
    train_classifier,
)


def test_accuracy_is_the_share_of_right_answers():
    images = torch.eye(10, 16)[[3, 1, 4, 1, 5]].view(5, 1, 4, 4)
    labels = torch.tensor([3, 1, 4, 0, 0])
    assert accuracy(FirstPixels(), ImageData(images, labels)) == pytest.approx(3 / 5)


def test_training_a_classifier_is_deterministic_and_leaves_the_global_random_state_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = train_classifier(some_digits(), seed=3, epochs=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert same_state(train_classifier(some_digits(), seed=3, epochs=1), state_of(one))
    assert not same_state(train_classifier(some_digits(), seed=4, epochs=1), state_of(one))
    assert not one.training


@pytest.mark.parametrize("without_gradients", [torch.no_grad, torch.inference_mode])
def test_a_classifier_learns_where_its_caller_wants_no_gradients(without_gradients):
    digits = some_digits()
    expected = state_of(train_classifier(digits, epochs=1))
    with without_gradients():
        model = train_classifier(digits, epochs=1)
    assert same_state(model, expected)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.fixture
def quick_training(monkeypatch):
    """Trains in a moment; counts how often."""
    calls = []

    def quick(data, *arguments, **settings):
        calls.append(data)
        return train_classifier(ImageData(data.images[:64], data.labels[:64]), epochs=1)

    monkeypatch.setattr(memgan.lab.evaluation.classifier, "train_classifier", quick)
    return calls


def test_classifier_is_trained_once_and_then_read_from_its_folder(quick_training, tmp_path):
    folder = tmp_path / "new" / "cache"
    first = classifier_for("digits", folder)
    again = classifier_for("digits", folder)
    assert len(quick_training) == 1
    assert same_state(again, state_of(first)) and not again.training and not first.training
    (file,) = folder.iterdir()
    assert "digits" in file.name
    file.unlink()
    classifier_for("digits", folder)
    assert len(quick_training) == 2


def test_classifier_is_trained_on_the_training_split(quick_training, tmp_path):
    classifier_for("digits", tmp_path)
    assert torch.equal(quick_training[0].images, load_dataset("digits").images)


def test_the_environment_says_where_classifiers_are_kept(quick_training, tmp_path, monkeypatch):
    monkeypatch.setenv("MEMGAN_CACHE", str(tmp_path / "here"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    classifier_for("digits")
    assert len(list((tmp_path / "here").iterdir())) == 1
    monkeypatch.setenv("MEMGAN_CACHE", "~/there")
    classifier_for("digits")
    assert len(list((tmp_path / "home" / "there").iterdir())) == 1
    monkeypatch.delenv("MEMGAN_CACHE")
    classifier_for("digits")
    assert len(list((tmp_path / "home" / ".cache" / "memgan").iterdir())) == 1


def test_a_classifier_that_cannot_be_kept_is_returned_with_one_warning_and_trained_again(
    quick_training, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MEMGAN_CACHE", str(tmp_path / "file" / "cache"))
    for _ in range(2):
        with pytest.warns(UserWarning, match="digits was not kept.*file/cache.*MEMGAN_CACHE") as warned:
            assert isinstance(classifier_for("digits"), Classifier)
        assert len(warned) == 1
    assert len(quick_training) == 2


def test_without_a_home_the_classifier_is_returned_and_the_variable_is_named(quick_training, monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("MEMGAN_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    said = []
    assert isinstance(classifier_for("digits", warn=said.append), Classifier)
    (sentence,) = said
    assert "no home folder" in sentence and "MEMGAN_CACHE" in sentence


def test_a_classifier_whose_writing_failed_is_not_taken_for_one(quick_training, tmp_path, monkeypatch):
    def breaks(path, content):
        path.touch()
        raise OSError("disk full")

    said = []
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", breaks)
        classifier_for("digits", tmp_path, warn=said.append)
    assert "disk full" in said[0] and not list(tmp_path.iterdir())
    classifier_for("digits", tmp_path)
    assert len(quick_training) == 2


@pytest.mark.parametrize("number", [2, 5, 63])
def test_fewer_images_than_a_batch_holds_are_one_batch(number):
    data = stripes(number)
    assert accuracy(train_classifier(data), stripes(301, seed=1)) > 0.9


def test_training_says_how_far_it_is(tmp_path):
    said = []
    train_classifier(some_digits(), epochs=2, say=said.append)
    assert [line.split("%")[0].split()[-1] for line in said] == ["12", "25", "38", "50", "62", "75", "88"]


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04"])
def test_a_damaged_classifier_is_trained_anew_or_named(quick_training, tmp_path, content):
    classifier_for("digits", tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    try:
        classifier_for("digits", tmp_path)
        assert len(quick_training) == 2
    except ValueError as error:
        assert file.name in str(error)


def test_a_classifier_with_a_single_changed_byte_is_trained_anew(quick_training, tmp_path):
    """PyTorch would read it without a word, and every score would be measured by the weight that has changed."""
    first = classifier_for("digits", tmp_path)
    (file,) = tmp_path.iterdir()
    change_a_byte(file, of=first.head.weight.detach())
    assert not is_kept("digits", load_dataset("digits"), tmp_path)
    assert same_state(classifier_for("digits", tmp_path), state_of(first)) and len(quick_training) == 2
    assert is_kept("digits", load_dataset("digits"), tmp_path)


@pytest.mark.thorough
def test_the_classifier_of_the_digits_is_right_on_unseen_writers(tmp_path):
    assert accuracy(classifier_for("digits", tmp_path), load_dataset("digits", split="test")) >= 0.97


def test_classifier_features_are_what_its_head_sees():
    model = Classifier(channels=3, image_size=(8, 8), num_classes=7).eval()
    images = torch.rand(5, 3, 8, 8)
    assert model.features(images).shape == (5, 64) and model(images).shape == (5, 7)
    torch.testing.assert_close(model.head(model.features(images)), model(images))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [4, 7, 8, 20])
def test_a_classifier_takes_images_of_every_size_from_four_pixels(channels, side):
    """And it learns from batches of one, where batch normalisation must not meet a single number."""
    model = Classifier(channels, side, num_classes=3)
    assert model(torch.zeros(1, channels, side, side)).shape == (1, 3)
    assert model.eval()(torch.zeros(2, channels, side, side)).shape == (2, 3)


def test_in_colour_images_are_mirrored_while_the_classifier_learns(monkeypatch):
    """Photographs are; in grey, where images may be digits, they are not."""
    mirrored = []

    def noting(data, index, **changes):
        mirrored.append(changes["flip"])
        return batch_of(data, index, **changes)

    monkeypatch.setattr("memgan.lab.evaluation.classifier.batch_of", noting)
    for channels in (1, 3):
        train_classifier(stripes(64, channels=channels), epochs=1)
    assert mirrored == [False, True]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(4, 9), (12, 8), (16, 5)])
def test_images_need_not_be_square(channels, height, width):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(20, channels, height, width, generator=generator) * 2 - 1
    model = train_classifier(ImageData(images, torch.arange(20) % 2), epochs=1)
    assert model(images).shape == (20, 2)


@pytest.mark.parametrize(
    ("images", "labels", "kind", "message"),
    [
        (torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 2, -1]), ValueError, "count the classes from 0, got -1"),
        (
            torch.zeros(4, 1, 8, 8),
            torch.tensor([0.0, 1, 2, 3]),
            TypeError,
            "tensor of whole numbers, got torch.float32",
        ),
        (torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 2]), ValueError, r"each of the 4 images of data, got \[3\]"),
        (torch.zeros(4, 8, 8), torch.arange(4), ValueError, r"expected images \[n, C, H, W\], got \[4, 8, 8\]"),
        (torch.full((4, 1, 8, 8), 255.0), torch.arange(4), ValueError, r"must lie in \[-1, 1\]"),
        (torch.zeros(4, 1, 8, 8, dtype=torch.int32), torch.arange(4), TypeError, "got torch.int32"),
    ],
)
def test_what_a_classifier_cannot_learn_from_is_refused(images, labels, kind, message):
    with pytest.raises(kind, match=message):
        train_classifier(ImageData(images, labels))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_images_of_any_precision_and_labels_of_any_whole_numbers_are_taken(dtype):
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    labels = torch.arange(20) % 2
    expected = train_classifier(ImageData(images.to(dtype).float(), labels), epochs=1)
    found = train_classifier(ImageData(images.to(dtype), labels.to(torch.uint8)), epochs=1)
    assert same_state(found, state_of(expected))


def test_what_is_no_data_is_refused():
    with pytest.raises(TypeError, match=r"data must be ImageData\(images, labels\), got Tensor"):
        train_classifier(torch.zeros(4, 1, 8, 8))


def test_a_class_without_training_images_is_a_class_all_the_same():
    """Such as a folder in `test` alone: else the classifier's answers and the names would not belong together."""
    data = stripes(64)._replace(class_names=("across", "down", "spotted"))
    model = train_classifier(data, epochs=1)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 3)


# ---------------------------------------------------------------- any data set


def stripes(number, side=8, channels=1, seed=0):
    """Bytes of two classes, stripes across and stripes down, with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(number) % 2
    across = (torch.arange(side) % 2 * 200).view(1, 1, side, 1).expand(number, channels, side, side)
    images = torch.where(labels.view(-1, 1, 1, 1) == 0, across, across.transpose(2, 3))
    noise = torch.randint(0, 50, images.shape, generator=generator)
    return ImageData((images + noise).to(torch.uint8), labels)


@pytest.mark.parametrize(("number", "channels"), [(150, 3), (5000, 1)])
def test_channels_size_and_classes_follow_the_data(number, channels):
    """Few images and many, which are trained and laid out otherwise."""
    data = stripes(number, channels=channels)
    model = train_classifier(data, epochs=1 if number > 1000 else 5)
    assert model(torch.zeros(5, channels, 8, 8)).shape == (5, 2)
    assert accuracy(model, stripes(301, channels=channels, seed=1)) > 0.95


def test_training_on_many_images_is_deterministic_whatever_the_threads():
    data, threads = stripes(5000), torch.get_num_threads()
    one = train_classifier(data, epochs=1)
    torch.set_num_threads(2)
    assert same_state(train_classifier(data, epochs=1), state_of(one)) and torch.get_num_threads() == 2
    torch.set_num_threads(threads)


def test_the_digits_classifier_is_trained_as_a_plain_loop_says():
    """README's and the notebooks' numbers hang on it: 64 a batch, a shift by padding, AdamW, one cycle."""
    data = some_digits(200)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = Classifier(1, (16, 16), 10)
        optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=6)
        for _ in range(2):
            for index in torch.randperm(200).split(64)[:3]:
                padded = F.pad(data.images[index], [1, 1, 1, 1], mode="replicate")
                down, right = torch.randint(0, 3, (2, 64)).tolist()
                moved = [x[:, y : y + 16, z : z + 16] for x, y, z in zip(padded, down, right, strict=True)]
                optimiser.zero_grad()
                F.cross_entropy(model(torch.stack(moved)), data.labels[index]).backward()
                optimiser.step()
                schedule.step()
    assert same_state(train_classifier(data, seed=3, epochs=2), state_of(model))


def test_features_in_parts_are_those_of_all_at_once_and_bytes_count_as_what_they_stand_for():
    data = stripes(700)
    model = train_classifier(data, epochs=1)
    with torch.no_grad():
        whole = model.features(data.images.float() / 127.5 - 1)
    torch.testing.assert_close(features_of(model, data.images), whole, rtol=1e-4, atol=1e-5)


def test_images_of_one_class_are_refused():
    data = stripes(20)
    assert has_classes(data) and not has_classes(ImageData(data.images, torch.zeros(20).long()))
    with pytest.raises(ValueError, match="two classes or more.*--classifier"):
        train_classifier(ImageData(data.images, torch.zeros(20).long()))


def test_the_place_in_the_cache_depends_on_name_pixels_labels_source_and_recipe(tmp_path, monkeypatch):
    data = stripes(20)
    changed = data.images.clone()
    changed[7, 0, 3, 3] ^= 1
    paths = [
        cache_path("mnist", data, tmp_path),
        cache_path("cifar10", data, tmp_path),
        cache_path("mnist", ImageData(changed, data.labels), tmp_path),
        cache_path("mnist", ImageData(data.images, 1 - data.labels), tmp_path),
        cache_path("mnist", ImageData(data.images, data.labels, data.images), tmp_path),
        cache_path("folder:/some/where else", data, tmp_path),
    ]
    monkeypatch.setattr(memgan.lab.evaluation.classifier, "RECIPE", -1)
    paths.append(cache_path("mnist", data, tmp_path))
    assert len(set(paths)) == len(paths) and all(path.parent == tmp_path for path in paths)
    monkeypatch.undo()
    assert cache_path("mnist", stripes(20), tmp_path) == paths[0]


def test_another_content_under_the_same_name_is_another_classifier(quick_training, tmp_path):
    """As a folder whose images change."""
    classifier_for("folder:x", tmp_path, some_digits(100))
    classifier_for("folder:x", tmp_path, some_digits(101))
    classifier_for("folder:x", tmp_path, some_digits(100))
    assert len(quick_training) == 2


def test_the_command_trains_once_and_reports_the_accuracy_on_test_images(quick_training, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEMGAN_CACHE", str(tmp_path))
    assert main(["classifier", "digits"]) == main(["classifier", "digits"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    test = load_dataset("digits", split="test")
    assert f"{accuracy(classifier_for('digits'), test):.2%} of 360 test images" in first
    assert "trained" in first and "kept" in second and len(quick_training) == 1


def test_the_command_names_an_unknown_data_set(capsys):
    assert main(["classifier", "letters"]) == 1
    assert "letters" in capsys.readouterr().err


@pytest.mark.parametrize(("labels", "there_are"), [([0, 1, 1], True), ([0, 0], False), ([3, 3], False), ([], False)])
def test_images_have_classes_where_they_are_of_two_or_more(labels, there_are):
    labels = torch.tensor(labels, dtype=torch.long)
    assert has_classes(ImageData(torch.zeros(len(labels), 1, 4, 4, dtype=torch.uint8), labels)) is there_are

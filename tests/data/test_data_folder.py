"""Folders of images: what is found, cut, labelled, split, and left out; and how the commands load them."""

import argparse
import dataclasses

import numpy as np
import pytest
import torch
import torchvision.datasets
from PIL import Image

from memgan.data import load_dataset
from memgan.lab.commands.options import add_data, data_of
from memgan.presets import PRESETS

GREYS = np.random.default_rng(0).integers(0, 256, (40, 20, 20), dtype=np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def load(folder, split="train", size=20, **options):
    return load_dataset(f"folder:{folder}", split=split, size=size, **options)


def both(folder, **options):
    """All images of a folder without splits, those for testing last."""
    train, test = (load(folder, split, **options) for split in ("train", "test"))
    return torch.cat([train.images, test.images]), torch.cat([train.labels, test.labels])


@pytest.fixture
def flat(tmp_path):
    """Forty grey images in a folder, and what is no image beside them."""
    for number, pixels in enumerate(GREYS):
        save(tmp_path / f"{number:02}.png", pixels)
    (tmp_path / "README.txt").write_text("no image")
    return tmp_path


def test_images_of_the_right_size_are_theirs_to_the_byte_and_in_one_class(flat):
    images, labels = both(flat)
    assert images.shape == (40, 1, 20, 20) and images.dtype == torch.uint8
    assert {image.numpy().tobytes() for image in images} == {pixels.tobytes() for pixels in GREYS}
    assert labels.tolist() == [0] * 40 and labels.dtype == torch.int64
    assert load(flat).class_names is None


def test_a_tenth_or_so_is_for_testing_in_the_order_of_the_names(flat):
    train, test = load(flat), load(flat, "test")
    assert 1 <= len(test.images) <= 10
    places = [[pixels.tobytes() for pixels in GREYS].index(image.numpy().tobytes()) for image in train.images]
    assert places == sorted(places)


def test_no_image_changes_sides_when_others_come(flat):
    before = load(flat, "test").images
    for number, pixels in enumerate(255 - GREYS):
        save(flat / f"{number:02}-more.png", pixels)
    after = {image.numpy().tobytes() for image in load(flat, "test").images}
    assert {image.numpy().tobytes() for image in before} <= after and len(after) > len(before)


def test_loading_twice_gives_the_same_and_draws_no_random_numbers(flat):
    state = torch.get_rng_state()
    one, other = load(flat), load(flat)
    assert torch.equal(one.images, other.images) and torch.equal(torch.get_rng_state(), state)


def test_each_subfolder_is_a_class_in_the_order_of_the_names(tmp_path):
    for number, kind in enumerate(["dog", "cat", "ape"] * 12):
        save(tmp_path / kind / "deeper" / f"{number}.png", np.full((20, 20), 10 * (number % 3), np.uint8))
    images, labels = both(tmp_path)
    assert load(tmp_path).class_names == load(tmp_path, "test").class_names == ("ape", "cat", "dog")
    assert labels.bincount().tolist() == [12, 12, 12]
    assert {(int(image.max()), int(label)) for image, label in zip(images, labels, strict=True)} == {
        (20, 0),  # ape
        (10, 1),
        (0, 2),
    }


def test_train_and_test_folders_are_the_splits_with_the_same_classes(tmp_path):
    for part, kind, grey in [("train", "b", 1), ("train", "c", 2), ("test", "a", 3), ("test", "c", 4), ("val", "d", 5)]:
        save(tmp_path / part / kind / "x.png", np.full((20, 20), grey, np.uint8))
    train, test = load(tmp_path), load(tmp_path, "test")
    assert train.images[:, 0, 0, 0].tolist() == [1, 2] and train.labels.tolist() == [1, 2]
    assert test.images[:, 0, 0, 0].tolist() == [3, 4] and test.labels.tolist() == [0, 2]


def test_train_and_test_folders_without_classes_have_one(tmp_path):
    for part in ("train", "test"):
        save(tmp_path / part / "x.png", GREYS[0])
    assert load(tmp_path).labels.tolist() == load(tmp_path, "test").labels.tolist() == [0]


def test_classes_and_labels_are_those_of_torchvisions_image_folder(tmp_path):
    names = ["zebra/1.png", "ape/b/2.png", "ape/a/3.png", "ape/4.png", "Cat/5.png"]
    for number, name in enumerate(names):
        save(tmp_path / "train" / name, np.full((20, 20), number, np.uint8))
        save(tmp_path / "test" / name, np.full((20, 20), number, np.uint8))
    found = load(tmp_path)
    expected = torchvision.datasets.ImageFolder(tmp_path / "train")
    labels = {int(np.asarray(image)[0, 0, 0]): label for image, label in expected}
    assert dict(zip(found.images[:, 0, 0, 0].tolist(), found.labels.tolist(), strict=True)) == labels


def test_links_to_folders_and_to_files_are_followed(tmp_path):
    save(tmp_path / "elsewhere" / "deep" / "one.png", np.full((20, 20), 1, np.uint8))
    save(tmp_path / "elsewhere" / "two.png", np.full((20, 20), 2, np.uint8))
    for part in ("train", "test"):
        (tmp_path / "set" / part / "b").mkdir(parents=True)
        (tmp_path / "set" / part / "a").symlink_to(tmp_path / "elsewhere" / "deep")
        (tmp_path / "set" / part / "b" / "link.png").symlink_to(tmp_path / "elsewhere" / "two.png")
    data = load(tmp_path / "set")
    assert data.images[:, 0, 0, 0].tolist() == [1, 2] and data.labels.tolist() == [0, 1]


def test_a_link_that_leads_back_up_is_not_followed(tmp_path):
    for part in ("train", "test"):
        save(tmp_path / part / "a" / "x.png", GREYS[0])
        (tmp_path / part / "a" / "again").symlink_to(tmp_path / part)
        (tmp_path / part / "a" / "here").symlink_to(".")
    assert len(load(tmp_path).images) == 1


def test_a_folder_whose_name_ends_like_an_image_is_a_folder(tmp_path, capsys):
    for part in ("train", "test"):
        save(tmp_path / part / "album.png" / "x.png", GREYS[0])
    assert len(load(tmp_path).images) == 1
    assert capsys.readouterr().err == ""


def test_one_image_stored_in_colour_makes_all_of_both_splits_coloured(tmp_path):
    red = np.zeros((20, 20, 3), np.uint8)
    red[:, :, 0] = 200
    save(tmp_path / "train" / "grey.png", GREYS[0])
    save(tmp_path / "test" / "red.png", red)
    train, test = load(tmp_path).images, load(tmp_path, "test").images
    assert train.shape == test.shape == (1, 3, 20, 20)
    assert np.array_equal(train[0], np.stack([GREYS[0]] * 3))
    assert np.array_equal(test[0], red.transpose(2, 0, 1))


def test_grey_with_transparency_is_grey_and_lab_is_coloured(tmp_path):
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        Image.new("LA", (20, 20), (100, 255)).save(tmp_path / part / "grey.png")
    assert load(tmp_path).images.shape == (1, 1, 20, 20)
    Image.new("LAB", (20, 20), (128, 128, 128)).save(tmp_path / "test" / "lab.tif")
    assert load(tmp_path).images.shape == (1, 3, 20, 20)


def test_images_are_cropped_at_the_centre_and_resized(tmp_path):
    """A square of stripes with margins left and right, and one four times too large above and below."""
    wide, tall = np.full((20, 60), 77, np.uint8), np.full((160, 80), 77, np.uint8)
    wide[:, 20:40] = 200
    tall[40:120] = 200
    save(tmp_path / "train" / "tall.png", tall)
    save(tmp_path / "train" / "wide.png", wide)
    save(tmp_path / "test" / "x.png", wide)
    images = load(tmp_path).images
    assert images.shape == (2, 1, 20, 20)
    assert images[1].unique().tolist() == [200]  # cut only
    assert int(images[0].min()) > 180 and int(images[0].max()) < 220  # shrunk: the margins shine in a little


def test_a_large_image_is_shrunk_without_aliasing(tmp_path):
    checks = np.indices((200, 200)).sum(0).astype(np.uint8) % 2 * 255
    for part in ("train", "test"):
        save(tmp_path / part / "checks.png", checks)
    image = load(tmp_path).images.double()
    assert float((image - 127.5).abs().max()) < 4  # grey, where picking pixels would give black or white


def test_images_are_32_pixels_a_side_unless_asked_otherwise(flat):
    assert load_dataset(f"folder:{flat}").images.shape[1:] == (1, 32, 32)
    assert load(flat, size=8).images.shape[1:] == (1, 8, 8)


def test_turned_photographs_are_set_upright(tmp_path):
    upright = np.repeat(np.repeat([[0, 80], [160, 240]], 10, axis=0), 10, axis=1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned: the viewer turns it clockwise by a quarter
    for part in ("train", "test"):
        save(tmp_path / part / "turned.png", np.rot90(upright).copy(), exif=exif)
    assert np.array_equal(load(tmp_path).images[0, 0], upright)


def test_sixteen_bits_are_scaled_and_not_cut(tmp_path):
    for part in ("train", "test"):
        save(tmp_path / part / "deep.png", GREYS[0].astype(np.uint16) * 257)
    assert np.array_equal(load(tmp_path).images[0, 0], GREYS[0])


@pytest.mark.parametrize("ending", ["bmp", "gif", "jpg", "pgm", "png", "tif", "webp", "PNG"])
def test_formats_that_pil_reads_are_read(tmp_path, ending):
    smooth = np.add.outer(np.arange(20), np.arange(20)).astype(np.uint8) * 5
    for part in ("train", "test"):
        save(tmp_path / part / f"x.{ending}", smooth)
    image = load(tmp_path).images[0, 0].numpy()
    np.testing.assert_allclose(image.astype(int), smooth, atol=6 if ending in ("jpg", "webp") else 0)


def broken(folder):
    """One image cut off in the middle and one that is none, among forty good ones."""
    raw = (folder / "00.png").read_bytes()
    (folder / "cut.png").write_bytes(raw[: len(raw) // 2])
    (folder / "none.jpg").write_text("<html>not found</html>")


def test_broken_files_are_named_once_and_left_out(flat, capsys):
    good = both(flat)[0]
    broken(flat)
    assert torch.equal(both(flat)[0], good)
    said = capsys.readouterr()
    for name in ("cut.png", "none.jpg"):  # by the split that it would be in, not by both
        assert said.err.count(f"left out {flat / name}: ") == 1
    assert said.out == ""


def test_broken_files_are_refused_when_strict(flat):
    assert torch.equal(load(flat, strict=True).images, load(flat).images)
    broken(flat)
    with pytest.raises(ValueError, match=r"(cut\.png|none\.jpg) cannot be read: "):
        load(flat, strict=True)


@pytest.mark.parametrize("content", ["nothing", "no images", "only broken"])
def test_a_folder_without_images_is_refused(tmp_path, content):
    folder = tmp_path / content
    folder.mkdir()
    if content in ("no images", "only broken"):
        (folder / ("a.txt" if content == "no images" else "a.png")).write_text("text")
    with pytest.raises(ValueError, match=f"no images for 'train' in {folder}: expected"):
        load(folder)


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_below_one_is_refused(flat, size):
    with pytest.raises(ValueError, match=f"a size of at least 1, got {size}"):
        load(flat, size=size)


def of_command(folder, *arguments, split="train", **networks):
    """What a command loads under `arguments` for the digits' networks, with other fields, on a folder of images."""
    parser = argparse.ArgumentParser()
    add_data(parser)
    fields = dataclasses.replace(PRESETS["digits"].networks, **networks)
    settings = dataclasses.replace(PRESETS["digits"], dataset=f"folder:{folder}", networks=fields)
    return data_of(parser.parse_args(arguments), settings, split)


def test_a_command_cuts_images_to_the_size_of_the_networks(flat):
    assert of_command(flat, image_size=24, split="test").images.shape[1:] == (1, 24, 24)


def test_a_command_refuses_images_of_other_channels_than_the_networks(flat):
    with pytest.raises(ValueError, match="has 1 channels, the networks 3$"):
        of_command(flat, channels=3)


def test_a_command_refuses_broken_files_only_when_strict(flat):
    broken(flat)
    assert len(of_command(flat).images) > 20
    with pytest.raises(ValueError, match="cannot be read"):
        of_command(flat, "--strict")

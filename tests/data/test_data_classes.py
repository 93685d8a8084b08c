"""What the folders of a folder mean: classes, splits, links, and what systems leave behind."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from memgan.data import load_dataset

LEFTOVERS = [
    ".ipynb_checkpoints",
    ".hidden",
    "__MACOSX",
    "@eaDir",
    "lost+found",
    "$RECYCLE.BIN",
    "System Volume Information",
    "#recycle",
]
as_root = pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="nothing is forbidden to root")


def save(path, grey=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), grey, np.uint8)).save(path)


def load(folder, split="train", **options):
    return load_dataset(f"folder:{folder}", split=split, size=8, **options)


def greys(folder, split="train", **options):
    """The grey of each image, with the name of its class."""
    data = load(folder, split, **options)
    names = data.class_names or ("",)
    return {(int(image.max()), names[label]) for image, label in zip(data.images, data.labels, strict=True)}


def of_both(folder):
    return greys(folder) | greys(folder, "test")


@pytest.fixture
def pets(tmp_path):
    """Twenty cats from grey 0 on and twenty dogs from grey 100 on; no splits."""
    for number in range(20):
        save(tmp_path / "pets" / "cat" / f"{number}.png", number)
        save(tmp_path / "pets" / "dog" / f"{number}.png", 100 + number)
    return tmp_path / "pets"


PETS = {(number, "cat") for number in range(20)} | {(100 + number, "dog") for number in range(20)}


@pytest.mark.parametrize("name", LEFTOVERS)
@pytest.mark.parametrize("where", ["beside the classes", "in a class"])
def test_what_systems_leave_is_no_class_and_no_image(pets, name, where, capsys):
    save((pets if where == "beside the classes" else pets / "cat") / name / "x.png", 77)
    assert of_both(pets) == PETS
    assert load(pets).class_names == ("cat", "dog")
    assert capsys.readouterr().err == ""


def test_hidden_files_are_no_images_even_when_strict(pets):
    save(pets / "cat" / ".x.png", 77)
    (pets / "cat" / "._0.png").write_bytes(b"\0\5\26\7")  # what macOS writes on foreign disks
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store"):
        (pets / name).write_bytes(b"x")
        (pets / "dog" / name).write_bytes(b"x")
    assert greys(pets, strict=True) | greys(pets, "test", strict=True) == PETS


def test_a_hidden_folder_makes_no_classes_of_a_flat_one(tmp_path):
    for number in range(10):
        save(tmp_path / f"{number}.png", number)
    save(tmp_path / ".cache" / "x.png", 77)
    assert of_both(tmp_path) == {(number, "") for number in range(10)}
    assert load(tmp_path).class_names is None


def test_the_folder_itself_may_be_hidden(pets):
    hidden = pets.rename(pets.parent / ".pets")
    assert of_both(hidden) == PETS


def test_images_beside_the_classes_are_left_out_and_counted(pets, capsys):
    save(pets / "stray.png", 77)
    save(pets / "other.png", 78)
    assert of_both(pets) == PETS
    said = capsys.readouterr().err
    assert said.count(f"2 images in {pets}:") == 1  # not with both splits


def test_one_folder_and_images_beside_it_are_no_classes(tmp_path):
    for number in range(10):
        save(tmp_path / f"{number}.png", number)
    save(tmp_path / "old" / "x.png", 77)
    data = [load(tmp_path, split) for split in ("train", "test")]
    assert all(part.class_names is None and not part.labels.any() for part in data)
    assert of_both(tmp_path) == {(number, "") for number in [*range(10), 77]}


@pytest.mark.parametrize("broken", [b"", b"no image", "cut"])
def test_a_folder_of_which_no_image_can_be_read_is_no_class(pets, broken):
    whole = (pets / "cat" / "0.png").read_bytes()
    (pets / "ape").mkdir()
    for number in range(30):  # in both splits
        (pets / "ape" / f"{number}.png").write_bytes(whole[: len(whole) - 25] if broken == "cut" else broken)
    for split in ("train", "test"):
        assert load(pets, split).class_names == ("cat", "dog")
    assert of_both(pets) == PETS


def test_a_broken_file_in_colour_does_not_make_grey_images_coloured_in_one_split_only(pets):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(pets / "colour.png")
    whole = (pets / "colour.png").read_bytes()
    (pets / "colour.png").unlink()
    for number in range(30):
        (pets / "cat" / f"cut-{number}.png").write_bytes(whole[: len(whole) - 25])
    assert load(pets).images.shape[1] == load(pets, "test").images.shape[1] == 1


def test_images_deeper_in_a_class_belong_to_it(pets):
    save(pets / "cat" / "young" / "tabby" / "x.png", 50)
    assert of_both(pets) == PETS | {(50, "cat")}


# ---------------------------------------------------------------- splits


@pytest.mark.parametrize(
    ("training", "testing"),
    [
        ("train", "test"),
        ("Train", "TEST"),
        ("training", "testing"),
        ("train", "val"),
        ("TRAIN", "Valid"),
        ("train", "validation"),
    ],
)
@pytest.mark.parametrize("where", ["{split}/{kind}", "set/{split}/{kind}", "{kind}/{split}"])
def test_splits_are_known_by_their_names_in_any_case(tmp_path, training, testing, where):
    for grey, kind in ((1, "cat"), (2, "dog")):
        save(tmp_path / where.format(split=training, kind=kind) / "x.png", grey)
        save(tmp_path / where.format(split=testing, kind=kind) / "x.png", grey + 10)
    assert greys(tmp_path) == {(1, "cat"), (2, "dog")}
    assert greys(tmp_path, "test") == {(11, "cat"), (12, "dog")}


def test_of_three_splits_the_one_for_testing_counts_and_the_other_is_named(tmp_path, capsys):
    for grey, part in enumerate(("train", "val", "test")):
        save(tmp_path / part / "x.png", grey)
    assert greys(tmp_path) == {(0, "")} and greys(tmp_path, "test") == {(2, "")}
    assert f"1 image in {tmp_path / 'val'}" in capsys.readouterr().err


@pytest.mark.parametrize("split", ["train", "Test", "val"])
def test_the_folder_of_one_split_alone_holds_both(pets, split):
    (pets.parent / "set").mkdir()
    pets.rename(pets.parent / "set" / split)
    assert of_both(pets.parent / "set") == PETS


def test_a_class_may_be_called_train(tmp_path):
    for number in range(20):
        save(tmp_path / "train" / f"{number}.png", number)
        save(tmp_path / "bus" / f"{number}.png", 100 + number)
    assert load(tmp_path).class_names == ("bus", "train")


@pytest.mark.parametrize("number", range(2, 12))
def test_of_few_images_some_are_for_training_and_some_for_testing(tmp_path, number):
    for grey in range(number):
        save(tmp_path / f"image-{grey}.png", grey)
    train, test = greys(tmp_path), greys(tmp_path, "test")
    assert train and test and not train & test and len(train | test) == number


def test_files_that_cannot_be_read_do_not_count_as_images_for_testing(tmp_path):
    for grey in range(5):
        save(tmp_path / f"image-{grey}.png", grey)
    for number in range(40):
        (tmp_path / f"broken-{number}.png").write_bytes(b"no image")
    assert len(greys(tmp_path, "test")) == 1 and len(greys(tmp_path)) == 4


def test_a_single_image_is_for_training_and_the_message_says_so(tmp_path):
    for name in ("a.png", "b.png", "c.png", "d.png", "e.png", "f.png", "g.png", "h.png", "i.png", "j.png", "k.png"):
        folder = tmp_path / Path(name).stem
        save(folder / name, 5)
        assert greys(folder) == {(5, "")}
        with pytest.raises(ValueError, match=rf"no images for 'test' in {folder}: .*none is left for testing"):
            load(folder, "test")


# ---------------------------------------------------------------- links


def test_linked_classes_splits_and_images_are_followed(pets, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train").symlink_to(pets)
    (tmp_path / "set" / "val").mkdir()
    (tmp_path / "set" / "val" / "dog").symlink_to(pets / "cat")
    (tmp_path / "set" / "val" / "one.png").symlink_to(pets / "dog" / "0.png")
    assert greys(tmp_path / "set") == PETS
    assert greys(tmp_path / "set", "test") == {(number, "dog") for number in range(20)}  # the other one is a stray


def test_links_that_lead_into_each_other_end(tmp_path):
    for kind, grey in (("a", 1), ("b", 2)):
        save(tmp_path / "train" / kind / "x.png", grey)
        save(tmp_path / "test" / kind / "x.png", grey)
    (tmp_path / "train" / "a" / "other").symlink_to(tmp_path / "train" / "b")
    (tmp_path / "train" / "b" / "other").symlink_to(tmp_path / "train" / "a")
    data = load(tmp_path)
    found = sorted(zip(data.images[:, 0, 0, 0].tolist(), data.labels.tolist(), strict=True))
    assert found == [(1, 0), (1, 1), (2, 0), (2, 1)]


@pytest.mark.parametrize("target", ["gone", "ape"])  # the latter leads to itself
def test_a_link_that_leads_nowhere_is_named_and_refused_when_strict(pets, target, capsys):
    (pets / "ape").symlink_to(pets / target)
    assert of_both(pets) == PETS
    assert f"left out {pets / 'ape'}: " in capsys.readouterr().err
    with pytest.raises(ValueError, match="ape cannot be read: "):
        load(pets, strict=True)


@as_root
@pytest.mark.parametrize("what", ["class", "image"])
def test_what_may_not_be_read_is_named_and_refused_when_strict(pets, what, capsys):
    path = pets / "cat" if what == "class" else pets / "cat" / "0.png"
    path.chmod(0)
    try:
        left = PETS - {(0, "cat")} if what == "image" else {pair for pair in PETS if pair[1] == "dog"}
        assert of_both(pets) == left
        assert f"left out {path}: " in capsys.readouterr().err
        with pytest.raises(ValueError, match="cannot be read: .*ermission denied"):
            of_both_strict = [load(pets, split, strict=True) for split in ("train", "test")]
            assert of_both_strict
    finally:
        path.chmod(stat.S_IRWXU)


@as_root
def test_a_folder_that_may_not_be_read_is_refused_by_name(pets):
    pets.chmod(0)
    try:
        with pytest.raises(ValueError, match=f"the folder {pets} cannot be read: .*ermission denied"):
            load(pets)
    finally:
        pets.chmod(stat.S_IRWXU)


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("kind", ["image", "class"])
def test_names_need_not_be_utf_8(pets, kind, capsys):
    name = os.fsdecode(b"caf\xe9")
    try:
        save(pets / "cat" / f"{name}.png" if kind == "image" else pets / name / "x.png", 77)
    except OSError:
        pytest.skip("a file system of UTF-8 names only")
    assert of_both(pets) == PETS | {(77, "cat" if kind == "image" else name)}
    assert capsys.readouterr().err == ""


def test_names_of_data_and_films_are_no_pictures_even_when_strict(pets):
    for name in ("data.h5", "data.hdf", "data.grib", "data.bufr", "film.mpg", "paper.pdf", "array.npy", "notes.txt"):
        (pets / "cat" / name).write_bytes(b"x")
    save(pets / "cat" / "album.jpg" / "x.png", 50)
    assert greys(pets, strict=True) | greys(pets, "test", strict=True) == PETS | {(50, "cat")}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_with_the_name_of_an_image_is_not_waited_for(pets, capsys):
    os.mkfifo(pets / "cat" / "pipe.png")
    assert of_both(pets) == PETS
    assert "pipe.png" in capsys.readouterr().err


# ---------------------------------------------------------------- paths


def test_an_empty_path_is_refused_and_a_dot_is_the_current_folder(pets, monkeypatch):
    monkeypatch.chdir(pets)
    with pytest.raises(ValueError, match="names no folder"):
        load_dataset("folder:")
    assert torch.equal(load(".").images, load(pets).images)


@pytest.mark.parametrize("written", ["pets", "pets/", "./pets", "../{here}/pets", "~/pets"])
def test_a_path_may_be_relative_or_begin_at_home(pets, monkeypatch, written):
    monkeypatch.chdir(pets.parent)
    monkeypatch.setenv("HOME", str(pets.parent))
    monkeypatch.setenv("USERPROFILE", str(pets.parent))
    assert torch.equal(load(written.format(here=pets.parent.name)).images, load(pets).images)


@pytest.mark.parametrize("name", ["gone", "gone/deeper", "~nobody-of-that-name/x"])
def test_a_folder_that_does_not_exist_is_called_missing(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"there is no folder .*{name}"):
        load(name)


def test_a_file_is_no_folder(pets):
    with pytest.raises(ValueError, match=r"0\.png is a file"):
        load(pets / "cat" / "0.png")


def test_a_path_that_no_system_has_is_refused(tmp_path):
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(ValueError, match="cannot be read"):
            load(tmp_path / name)

"""Images that do not fit: kept in a file of the cache, brought to the device batch by batch, or refused with sizes."""

import os
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from gan_builders import random_images, tiny_gan
from PIL import Image

from memgan.batches import StagedBatches, StoredBatches, placed
from memgan.data import ImageData, folders, load_dataset
from memgan.networks import NetworkSettings
from memgan.presets import PRESETS
from memgan.training import Trainer, TrainingSettings

NUMBER = 23


@pytest.fixture
def pets(tmp_path, monkeypatch):
    """23 images in two classes; the cache is empty, and images of more than 1,000 bytes go into a file there."""
    monkeypatch.setenv("MEMGAN_CACHE", str(tmp_path / "cache"))
    generator = np.random.default_rng(0)
    for number in range(NUMBER):
        path = tmp_path / "pets" / ("cat" if number % 2 else "dog") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (20, 20), dtype=np.uint8)).save(path)
    return tmp_path / "pets"


def images_in_file(monkeypatch):
    monkeypatch.setattr(folders, "IN_MEMORY", 1000)


def test_images_from_a_file_are_those_from_memory(pets, monkeypatch):
    in_memory = load_dataset(f"folder:{pets}", size=20)
    images_in_file(monkeypatch)
    first = load_dataset(f"folder:{pets}", size=20)
    again = load_dataset(f"folder:{pets}", size=20)
    for data in (first, again):
        assert torch.equal(data.images, in_memory.images) and torch.equal(data.labels, in_memory.labels)
        assert data.class_names == ("cat", "dog")


def test_a_file_is_written_once_and_anew_when_an_image_changes(pets, monkeypatch, tmp_path):
    images_in_file(monkeypatch)
    load_dataset(f"folder:{pets}", size=20)
    (stored,) = (tmp_path / "cache").glob("*.npy")
    written = stored.stat().st_mtime_ns
    load_dataset(f"folder:{pets}", size=20)
    assert stored.stat().st_mtime_ns == written
    Image.fromarray(np.full((20, 20), 7, np.uint8)).save(pets / "dog" / "0.png")
    changed = load_dataset(f"folder:{pets}", size=20)
    assert bool((changed.images == 7).flatten(1).all(dim=1).any())


DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "cut in its first line": lambda content: content[:20],
    "zeros": lambda content: bytes(len(content)),
    "another file": lambda content: b"PK\x03\x04" + content,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("ending", ["npy", "json"])
def test_a_damaged_file_is_made_anew(pets, monkeypatch, tmp_path, ending, damage):
    """As a power failure may leave it."""
    images_in_file(monkeypatch)
    expected = load_dataset(f"folder:{pets}", size=20)
    (stored,) = (tmp_path / "cache").glob(f"*.{ending}")
    whole = stored.read_bytes()
    stored.unlink()  # else the images that are mapped from it would change, too
    stored.write_bytes(damage(whole))
    again = load_dataset(f"folder:{pets}", size=20)
    assert torch.equal(again.images, expected.images) and torch.equal(again.labels, expected.labels)
    assert stored.read_bytes() == whole


def test_stored_images_are_on_the_disk_before_they_are_found(pets, monkeypatch, tmp_path):
    """What fsync saw, beside which files were there to be found by then."""
    images_in_file(monkeypatch)
    cache = tmp_path / "cache"
    seen = []

    def spy(descriptor):
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        seen.append((name.partition(".")[2][:3], sorted(path.suffix for path in cache.glob("images-*"))))

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no way to see what a descriptor stands for")
    monkeypatch.setattr(os, "fsync", spy)
    load_dataset(f"folder:{pets}", size=20)
    of_files = [name for name, there in seen if name and f".{name}" not in there]
    assert of_files == ["npy", "jso"]


def test_the_cache_may_be_named_from_the_home_folder(pets, monkeypatch, tmp_path):
    images_in_file(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEMGAN_CACHE", "~/mycache")
    load_dataset(f"folder:{pets}", size=20)
    assert len(list((tmp_path / "home" / "mycache").glob("*.npy"))) == 1
    assert not (tmp_path / "~").exists()


def test_a_cache_in_the_home_of_nobody_is_refused(pets, monkeypatch, tmp_path):
    images_in_file(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMGAN_CACHE", "~nobody-of-that-name/cache")
    with pytest.raises(ValueError, match="MEMGAN_CACHE=~nobody-of-that-name/cache"):
        load_dataset(f"folder:{pets}", size=20)


def test_what_is_written_into_mapped_images_does_not_reach_the_file(pets, monkeypatch):
    images_in_file(monkeypatch)
    load_dataset(f"folder:{pets}", size=20).images.zero_()
    assert int(load_dataset(f"folder:{pets}", size=20).images.max()) > 0


def test_a_broken_image_is_named_with_a_stored_file_too(pets, monkeypatch, capsys):
    for place in ("train", "test"):
        shutil.copytree(pets / "cat", pets / place / "cat")
    shutil.rmtree(pets / "cat")
    shutil.rmtree(pets / "dog")
    (pets / "train" / "cat" / "1.png").write_text("no picture")
    images_in_file(monkeypatch)
    for _ in range(2):
        load_dataset(f"folder:{pets}", size=20)
        assert str(pets / "train" / "cat" / "1.png") in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"1\.png"):
        load_dataset(f"folder:{pets}", size=20, strict=True)


def test_more_than_the_disk_holds_is_refused_with_both_sizes(pets, monkeypatch):
    images_in_file(monkeypatch)
    usage = namedtuple("usage", "total used free")(2**40, 2**40, 2**10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match=r"images of 1 x 2000 x 2000 bytes take 0\.1 GiB.*room for 0\.0 GiB"):
        load_dataset(f"folder:{pets}", size=2000)


def test_staged_batches_are_the_stored_ones_and_go_on_in_the_same_way():
    data = ImageData((random_images(NUMBER) * 127).to(torch.uint8), torch.arange(NUMBER))
    torch.manual_seed(0)
    stored = StoredBatches(data, batch_size=5)
    torch.manual_seed(0)
    staged = StagedBatches(data, 5, torch.device("cpu"))
    for step in range(12):
        torch.manual_seed(step)
        stored.advance()
        torch.manual_seed(step)
        staged.advance()
        assert torch.equal(staged.data.images[staged.index], stored.data.images[stored.index])
    again = StagedBatches(data, 5, torch.device("cpu"))
    again.load_state_dict(staged.state_dict())
    torch.manual_seed(100)
    again.advance()
    torch.manual_seed(100)
    staged.advance()
    assert torch.equal(again.data.images, staged.data.images)


def test_on_a_cpu_data_stay_where_they_are():
    data = ImageData(random_images(3), torch.zeros(3, dtype=torch.long))
    assert placed(data, torch.device("cpu")).images is data.images


def test_mapped_images_train_like_any_others(pets, monkeypatch):
    runs = []
    for mapped in (False, True):
        if mapped:
            images_in_file(monkeypatch)
        data = load_dataset(f"folder:{pets}", size=4)
        gan = tiny_gan(networks={"channels": 1})
        torch.manual_seed(0)
        steps = list(Trainer(gan, data, TrainingSettings(steps=3, batch_size=7)))
        runs.append([float(step.discriminator_loss) for step in steps])
    assert runs[0] == runs[1]


# ---------------------------------------------------------------- settings


def test_a_size_that_networks_cannot_take_names_the_nearest():
    with pytest.raises(ValueError, match=r"2\^stages = 4, got 30: the nearest 28 and 32 are"):
        NetworkSettings(image_size=30)
    with pytest.raises(ValueError, match="the nearest 4 is"):
        NetworkSettings(image_size=3)


def test_settings_keep_the_whole_path_of_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = PRESETS["digits"].changed(["dataset=folder:pets"])
    assert settings.dataset == f"folder:{tmp_path / 'pets'}"
    assert type(settings).from_json(settings.to_json()) == settings

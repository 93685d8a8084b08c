"""Stored data sets: the real ones beside their files' bytes, small made ones for everything that can be wrong."""

import gzip
import hashlib
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets

from memgan.data import load_dataset, torchvision_sets
from memgan.data.affine import move_at_random

REAL = Path(os.environ.get("MEMGAN_DATA") or "data")
PACKED = torchvision_sets.DEBIAN_FASHION_MNIST
real_mnist = pytest.mark.skipif(
    not (REAL / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file(), reason="no MNIST under $MEMGAN_DATA"
)
real_fashion = pytest.mark.skipif(not PACKED.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
STEMS = {"train": "train", "test": "t10k"}
CONTENTS = ["images-idx3", "labels-idx1"]
both = pytest.mark.parametrize("split", ["train", "test"])
kinds = pytest.mark.parametrize(("name", "kind"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])


def idx(values):
    """`values` [...] uint8 as an idx file's bytes."""
    return struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape) + values.tobytes()


def write_idx(folder, packed=False, **changed):
    """Seven training and three test images of 28x28 with their labels, under `folder`; returns them by split."""
    folder.mkdir(parents=True)
    generator, made = np.random.default_rng(0), {}
    for split, number in (("train", 7), ("test", 3)):
        images = generator.integers(0, 256, (number, 28, 28), dtype=np.uint8)
        labels = generator.integers(0, 10, number, dtype=np.uint8)
        made[split] = images, labels
        for content, values in zip(CONTENTS, (images, labels), strict=True):
            raw, name = changed.get(f"{split}_{content[:6]}", idx(values)), f"{STEMS[split]}-{content}-ubyte"
            (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(raw) if packed else raw)
    return made


@pytest.fixture(autouse=True)
def _no_packed_files(monkeypatch, tmp_path):
    monkeypatch.setattr(torchvision_sets, "DEBIAN_FASHION_MNIST", tmp_path / "not-installed")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """A test that reaches out fails at once, on any machine."""
    import urllib.request

    def refuse(*_, **__):
        raise OSError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@real_fashion
@both
def test_fashion_mnist_is_what_debians_files_hold(split, monkeypatch):
    monkeypatch.setattr(torchvision_sets, "DEBIAN_FASHION_MNIST", PACKED)
    data = load_dataset("fashion-mnist", root="nowhere", split=split)
    raw = [gzip.decompress((PACKED / f"{STEMS[split]}-{content}-ubyte.gz").read_bytes()) for content in CONTENTS]
    number = {"train": 60_000, "test": 10_000}[split]
    assert data.images.shape == (number, 1, 28, 28) and data.images.dtype == torch.uint8
    assert data.images.numpy().tobytes() == raw[0][16:] and data.labels.numpy().astype(np.uint8).tobytes() == raw[1][8:]
    assert data.labels.dtype == torch.int64 and data.labels.bincount().tolist() == [number // 10] * 10
    assert not Path("nowhere").exists()


@pytest.mark.parametrize("name", ["mnist", "affine-mnist"])
def test_classes_of_mnist_are_called_after_their_digits(tmp_path, name):
    write_idx(tmp_path / "MNIST" / "raw")
    assert load_dataset(name, root=tmp_path).class_names == tuple(str(digit) for digit in range(10))


@pytest.mark.parametrize("place", ["root", "debian"])
def test_classes_of_fashion_mnist_have_torchvisions_names(tmp_path, monkeypatch, place):
    if place == "debian":
        monkeypatch.setattr(torchvision_sets, "DEBIAN_FASHION_MNIST", tmp_path / "debian")
        write_idx(tmp_path / "debian", packed=True)
    else:
        write_idx(tmp_path / "FashionMNIST" / "raw")
    assert load_dataset("fashion-mnist", root=tmp_path).class_names == tuple(torchvision.datasets.FashionMNIST.classes)


@real_mnist
@both
def test_mnist_is_what_its_files_hold(split):
    data = load_dataset("mnist", root=REAL, split=split)
    raw = [(REAL / "MNIST" / "raw" / f"{STEMS[split]}-{content}-ubyte").read_bytes() for content in CONTENTS]
    assert data.images.shape[1:] == (1, 28, 28) and data.images.dtype == torch.uint8
    assert data.images.numpy().tobytes() == raw[0][16:] and data.labels.numpy().astype(np.uint8).tobytes() == raw[1][8:]
    assert len(data.labels.unique()) == 10


@real_mnist
def test_real_digits_lose_no_ink_when_they_are_moved():
    """The sum over the canvas is the digit's times the area of its map, up to what sampling at pixels changes."""
    digits = load_dataset("affine-mnist", root=REAL, split="test").source
    draws = 2 * torch.rand(6, len(digits), generator=torch.Generator().manual_seed(7), dtype=torch.float32) - 1
    images = move_at_random(digits, torch.Generator().manual_seed(7))
    area = (1 + 0.2 * draws[2].double()) * (1 + 0.2 * draws[3].double())
    kept = images.double().sum((1, 2, 3)) / digits.double().sum((1, 2, 3)) / area
    assert float(kept.min()) > 0.95 and float(kept.max()) < 1.05
    assert kept.mean() == pytest.approx(1, abs=0.001)


@kinds
@both
@pytest.mark.parametrize("kind_of_path", [str, Path])
def test_sets_under_the_root_are_found_where_torchvision_keeps_them(tmp_path, name, kind, split, kind_of_path):
    images, labels = write_idx(tmp_path / kind / "raw")[split]
    data = load_dataset(name, root=kind_of_path(tmp_path), split=split)
    assert data.images[:, 0].numpy().tobytes() == images.tobytes() and data.labels.tolist() == labels.tolist()
    assert data.source is None


def test_the_root_is_memgan_data_where_it_is_set_and_else_data(tmp_path, monkeypatch):
    images = write_idx(tmp_path / "data" / "MNIST" / "raw")["train"][0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MEMGAN_DATA", raising=False)
    assert len(load_dataset("mnist").images) == len(images)
    monkeypatch.setenv("MEMGAN_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(ValueError, match="elsewhere"):
        load_dataset("mnist")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MEMGAN_DATA", "~/data")
    assert len(load_dataset("mnist").images) == len(images)


def test_a_root_in_the_home_of_nobody_is_refused(monkeypatch):
    monkeypatch.setenv("MEMGAN_DATA", "~nobody-of-that-name/data")
    with pytest.raises(ValueError, match="~nobody-of-that-name/data"):
        load_dataset("mnist")


@both
def test_debians_files_are_read_in_place_and_those_under_the_root_come_first(tmp_path, monkeypatch, split):
    monkeypatch.setattr(torchvision_sets, "DEBIAN_FASHION_MNIST", tmp_path / "debian")
    images, labels = write_idx(tmp_path / "debian", packed=True)[split]
    before = sorted(tmp_path.rglob("*"))
    data = load_dataset("fashion-mnist", root=tmp_path, split=split)
    assert data.images[:, 0].numpy().tobytes() == images.tobytes() and data.labels.tolist() == labels.tolist()
    assert sorted(tmp_path.rglob("*")) == before
    other = idx(255 - images)
    write_idx(tmp_path / "FashionMNIST" / "raw", **{f"{split}_images": other})
    assert torch.equal(load_dataset("fashion-mnist", root=tmp_path, split=split).images, 255 - data.images)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "affine-mnist", "cifar10"])
def test_a_missing_set_says_where_it_was_looked_for_and_how_to_get_it(tmp_path, name):
    with pytest.raises(ValueError, match=r"missing or damaged .*--download \(download=True\)") as error:
        load_dataset(name, root=tmp_path / "here")
    assert str(tmp_path / "here") in str(error.value)
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_download_without_a_network_says_so(tmp_path, name):
    with pytest.raises(ValueError, match="no network in tests"):
        load_dataset(name, root=tmp_path, download=True)


@kinds
def test_a_set_that_is_there_is_not_downloaded_again(tmp_path, name, kind):
    write_idx(tmp_path / kind / "raw")
    assert len(load_dataset(name, root=tmp_path, download=True).images) == 7


IMAGES = np.zeros((7, 28, 28), np.uint8)
DAMAGE = {
    "truncated": {"train_images": idx(IMAGES)[:-1]},
    "too long": {"train_images": idx(IMAGES) + b"\0"},
    "empty": {"train_images": b""},
    "no images": {"train_images": idx(IMAGES[:0]), "train_labels": idx(np.zeros(0, np.uint8))},
    "other sizes": {"train_images": idx(np.zeros((7, 27, 27), np.uint8))},
    "other magic number": {"train_images": b"GIF8" + idx(IMAGES)[4:]},
    "labels as images": {"train_images": idx(np.zeros(7, np.uint8))},
    "a label too few": {"train_labels": idx(np.zeros(6, np.uint8))},
    "a label that is no digit": {"train_labels": idx(np.full(7, 10, np.uint8))},
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_files_are_refused_with_what_to_delete(tmp_path, damage):
    write_idx(tmp_path / "MNIST" / "raw", **damage)
    with pytest.raises(ValueError, match=f"{tmp_path / 'MNIST'} is missing or damaged .* delete"):
        load_dataset("mnist", root=tmp_path)


PACKED_DAMAGE = {
    "truncated": lambda raw: raw[: len(raw) // 2],
    "no gzip": lambda raw: b"<html>" + raw[6:],
    "checksum off": lambda raw: raw[:-8] + bytes([raw[-8] ^ 1]) + raw[-7:],
    "empty": lambda raw: b"",
    "other content": lambda raw: gzip.compress(b"x" * 1000),
}


@pytest.mark.parametrize("damaged", PACKED_DAMAGE.values(), ids=PACKED_DAMAGE)
@pytest.mark.parametrize("content", CONTENTS)
def test_damaged_packed_files_are_refused(tmp_path, monkeypatch, content, damaged):
    monkeypatch.setattr(torchvision_sets, "DEBIAN_FASHION_MNIST", tmp_path / "debian")
    write_idx(tmp_path / "debian", packed=True)
    path = tmp_path / "debian" / f"train-{content}-ubyte.gz"
    path.write_bytes(damaged(path.read_bytes()))
    with pytest.raises(ValueError, match=f"{tmp_path / 'debian'} is missing or damaged"):
        load_dataset("fashion-mnist", root=tmp_path)


@both
def test_affine_mnist_keeps_the_digits_and_moves_each_under_a_map_of_its_own_seed(tmp_path, split):
    images, labels = write_idx(tmp_path / "MNIST" / "raw")[split]
    state = torch.get_rng_state()
    data, again = (load_dataset("affine-mnist", root=tmp_path, split=split) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert data.images.shape == (len(images), 1, 40, 40) and data.images.dtype == torch.uint8
    assert data.source.numpy().tobytes() == images.tobytes() and data.labels.tolist() == labels.tolist()
    assert torch.equal(data.images, again.images)


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Ten training images, two in each of five files, and two test images, with the checksums that torchvision asks."""
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return name, hashlib.md5((folder / name).read_bytes()).hexdigest()

    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    batches = [(pixels[at : at + 2].reshape(2, -1), [at % 10, 9]) for at in range(0, 12, 2)]
    files = [write(n, {"data": rows, "labels": labels}) for n, (rows, labels) in zip(names, batches, strict=True)]
    name, checksum = write("batches.meta", {"label_names": list("abcdefghij")})
    monkeypatch.setattr(CIFAR10, "train_list", files[:5])
    monkeypatch.setattr(CIFAR10, "test_list", files[5:])
    monkeypatch.setattr(CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": checksum})
    return pixels


def test_cifar10_keeps_its_channels_rows_and_columns(tmp_path, cifar):
    train, test = (load_dataset("cifar10", root=tmp_path, split=split) for split in ("train", "test"))
    assert np.array_equal(train.images, cifar[:10]) and np.array_equal(test.images, cifar[10:])
    assert train.images.dtype == torch.uint8 and train.images.is_contiguous()
    assert train.labels.tolist() == [0, 9, 2, 9, 4, 9, 6, 9, 8, 9] and train.labels.dtype == torch.int64
    names = "airplane automobile bird cat deer dog frog horse ship truck"  # as its authors list them
    assert train.class_names == test.class_names == tuple(names.split())


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
@pytest.mark.parametrize("damage", [lambda raw: raw[:-1] + b"?", lambda raw: raw[: len(raw) // 2], None])
def test_a_cifar10_file_with_another_checksum_is_refused_before_anything_is_unpickled(tmp_path, cifar, name, damage):
    path = tmp_path / "cifar-10-batches-py" / name
    if damage:
        path.write_bytes(damage(path.read_bytes()))
    else:
        path.unlink()
    with pytest.raises(ValueError, match="cifar-10-batches-py is missing or damaged .*corrupted.*download=True"):
        load_dataset("cifar10", root=tmp_path)


@pytest.mark.parametrize(("name", "right"), [("digits", 16), ("mnist", 28)])
def test_a_size_is_accepted_where_it_is_the_sets_own(tmp_path, name, right):
    write_idx(tmp_path / "MNIST" / "raw")
    assert load_dataset(name, root=tmp_path, size=right).images.shape[-1] == right
    with pytest.raises(ValueError, match=f"images of {name} have {right} pixels a side, got size 20"):
        load_dataset(name, root=tmp_path, size=20)

"""Batches on a GPU that is not there, in one compiled graph, and under other defaults of PyTorch."""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from memgan.data import DATASETS, ImageData, batch_of, load_dataset

B = 5
CHANGES = [
    {},
    {"flip": True},
    {"shift": 2},
    {"brightness": 0.3},
    {"flip": True, "shift": 3, "brightness": 0.5},
]
changes = pytest.mark.parametrize("change", CHANGES, ids=str)
KINDS = ["bytes", "floats", "affine"]
kinds = pytest.mark.parametrize("kind", KINDS)


def data_of(kind, device="cpu"):
    """Eleven images: bytes or floats of 3x13x7, or digits to be moved on a canvas."""
    generator = torch.Generator(device="cpu").manual_seed(0)
    labels = torch.arange(11, device=device)
    if kind == "affine":
        digits = torch.randint(0, 256, (11, 1, 28, 28), dtype=torch.uint8, generator=generator, device="cpu")
        return ImageData(digits.to(device), labels, source=digits.to(device))
    images = torch.randint(0, 256, (11, 3, 13, 7), dtype=torch.uint8, generator=generator, device="cpu")
    if kind == "floats":
        images = images.to(torch.float32) / 127.5 - 1
    return ImageData(images.to(device), labels)


@kinds
@changes
def test_a_batch_on_a_gpu_neither_waits_nor_mixes_devices_nor_lets_values_decide_shapes(kind, change):
    """Fake tensors refuse all three: they have a device and a shape, and no values."""
    cpu = data_of(kind)
    with FakeTensorMode(allow_non_fake_inputs=False) as mode:
        parts = [None if part is None else mode.from_tensor(part).to("cuda") for part in cpu[:3]]
        batch = batch_of(ImageData(*parts), torch.zeros(B, dtype=torch.int64, device="cuda"), **change)
    assert batch.device.type == "cuda" and batch.dtype == torch.float32
    assert list(batch.shape) == ([B, 1, 40, 40] if kind == "affine" else [B, 3, 13, 7])


@pytest.mark.thorough
@kinds
def test_a_batch_compiles_into_one_graph(kind):
    data = data_of(kind)
    index = torch.tensor([0, 3, 3, 10, 7])
    for change in (CHANGES[0], CHANGES[-1]):  # none, and all at once: a compilation takes a second
        torch.compiler.reset()
        torch.manual_seed(2)
        expected = batch_of(data, index, **change)
        torch.manual_seed(2)
        compiled = torch.compile(batch_of, fullgraph=True, backend="aot_eager")(data, index, **change)
        if kind == "affine":  # bytes: a rounding may tip over
            assert float((compiled - expected).abs().max()) < 1.01 / 127.5, change
            assert float((compiled != expected).double().mean()) < 0.01, change
        else:
            torch.testing.assert_close(compiled, expected, rtol=0, atol=1e-6)


@pytest.fixture
def other_device():
    """A default device on which a tensor has no values, so that nothing made there can be loaded or compared."""
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


@pytest.fixture
def other_dtype():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def folder(tmp_path):
    """Four grey images, two for each split."""
    image = pytest.importorskip("PIL.Image")
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        for number in range(2):
            image.fromarray(np.full((8, 8), 40 * number, np.uint8)).save(tmp_path / split / f"{number}.png")
    return f"folder:{tmp_path}"


def available(name):
    try:
        load_dataset(name, split="test")
    except ValueError:
        return False
    return True


def same(one, other):
    parts = zip((one.images, one.labels, one.source), (other.images, other.labels, other.source), strict=True)
    return one.class_names == other.class_names and all(
        (a is None and b is None) or (a.dtype == b.dtype and a.device == b.device and torch.equal(a, b))
        for a, b in parts
    )


@pytest.mark.parametrize("name", sorted(DATASETS))
@pytest.mark.parametrize("default", ["other_device", "other_dtype"])
def test_a_default_device_or_type_does_not_change_what_is_loaded(name, default, request):
    if not available(name):
        pytest.skip(f"no {name} under $MEMGAN_DATA")
    expected = load_dataset(name, split="test")
    request.getfixturevalue(default)
    assert same(load_dataset(name, split="test"), expected)


@pytest.mark.parametrize("default", ["other_device", "other_dtype"])
def test_a_default_device_or_type_does_not_change_a_folder(default, folder, request):
    expected = load_dataset(folder, size=8)
    request.getfixturevalue(default)
    assert same(load_dataset(folder, size=8), expected)


@kinds
@changes
@pytest.mark.parametrize("default", ["other_device", "other_dtype"])
def test_a_default_device_or_type_does_not_change_a_batch(kind, change, default, request):
    data, index = data_of(kind), torch.tensor([0, 3, 3, 10, 7])
    torch.manual_seed(2)
    expected = batch_of(data, index, **change)
    request.getfixturevalue(default)
    torch.manual_seed(2)
    batch = batch_of(data, index, **change)
    assert batch.dtype == torch.float32 and batch.device.type == "cpu" and torch.equal(batch, expected)


@pytest.mark.parametrize("kind", ["bytes", "floats"])
def test_numbers_of_numpy_are_as_good_as_pythons(kind):
    data, index = data_of(kind), torch.arange(11)
    torch.manual_seed(2)
    expected = batch_of(data, index, flip=True, shift=2, brightness=0.5)
    torch.manual_seed(2)
    batch = batch_of(data, index, flip=np.True_, shift=np.int64(2), brightness=np.float32(0.5))
    assert torch.equal(batch, expected)

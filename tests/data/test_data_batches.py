"""Batches: bytes made float, changes at random beside plain loops, affine maps beside scipy's."""

import itertools

import numpy as np
import pytest
import scipy.ndimage
import torch

from memgan.data import ImageData, as_bytes, as_float, batch_of
from memgan.data.affine import move_at_random

SHAPE = (11, 3, 7, 5)  # n, C, H, W: primes, so that a swapped axis fails


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, SHAPE, dtype=torch.uint8, generator=generator)
    return ImageData(images, torch.arange(len(images)))


@pytest.fixture(scope="module")
def digits():
    """Strokes of several greys in a box of 20x20, off the centre, as MNIST's are; the corners of the box are inked."""
    generator = torch.Generator().manual_seed(0)
    digits = torch.zeros(13, 1, 28, 28, dtype=torch.uint8)
    digits[:, :, 3:23, 6:26] = torch.randint(0, 256, (13, 1, 20, 20), dtype=torch.uint8, generator=generator)
    digits[:, :, [3, 3, 22, 22], [6, 25, 6, 25]] = 255
    return digits


def drawn(data, number=400, **changes):
    """Image 4 of `data`, visited `number` times, as numpy; and the image itself in [-1, 1]."""
    torch.manual_seed(1)
    batch = batch_of(data, torch.full((number,), 4), **changes)
    return batch.double().numpy(), data.images[4].double().numpy() / 127.5 - 1


def test_every_byte_becomes_the_float_of_numpy_and_comes_back():
    every = torch.arange(256, dtype=torch.uint8)
    made = as_float(every)
    assert made.dtype == torch.float32 and made[0] == -1 and made[255] == 1
    np.testing.assert_allclose(made, np.arange(256) / 127.5 - 1, rtol=0, atol=1.2e-7)
    assert torch.equal(((made + 1) * 127.5).round().to(torch.uint8), every)


def test_what_is_float_passes_through():
    images = torch.tensor([-1.0, 0.3])
    assert as_float(images) is images


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.bool])
@pytest.mark.parametrize("convert", [as_float, as_bytes])
def test_whole_numbers_other_than_bytes_are_refused(convert, dtype):
    with pytest.raises(TypeError, match=f"got {dtype}"):
        convert(torch.zeros(2, 1, 3, 3, dtype=dtype))


@pytest.mark.parametrize("floats", [False, True], ids=["bytes", "floats"])
def test_with_nothing_switched_on_a_batch_is_its_images_and_no_random_number_is_drawn(data, floats):
    given = data._replace(images=as_float(data.images)) if floats else data
    index, state = torch.tensor([10, 2, 2, 7]), torch.get_rng_state()
    batch = batch_of(given, index)
    assert torch.equal(torch.get_rng_state(), state)
    assert batch.dtype == torch.float32 and torch.equal(batch, as_float(data.images[index]))


@pytest.mark.parametrize("changes", [{"flip": True}, {"brightness": 0.3}, {"shift": 2}, {"flip": True, "shift": 1}])
def test_the_same_random_state_gives_the_same_batch_and_another_another(data, changes):
    index = torch.arange(11)
    batches = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        batches.append(batch_of(data, index, **changes))
    assert torch.equal(batches[0], batches[1]) and not torch.equal(batches[0], batches[2])
    assert batches[0].shape == SHAPE and batches[0].dtype == torch.float32


def test_the_data_set_itself_is_not_changed(data, digits):
    before = data.images.clone(), digits.clone()
    batch_of(data, torch.arange(11), flip=True, brightness=0.5, shift=2)
    batch_of(ImageData(digits, torch.zeros(13), digits), torch.arange(13), flip=True)
    assert torch.equal(data.images, before[0]) and torch.equal(digits, before[1])


def test_flip_mirrors_left_to_right_half_of_the_time(data):
    batch, image = drawn(data, number=4000, flip=True)
    same, mirrored = (np.abs(batch - one).max((1, 2, 3)) < 1e-6 for one in (image, image[:, :, ::-1]))
    assert (same ^ mirrored).all()
    assert mirrored.sum() == pytest.approx(2000, abs=5 * 1000**0.5)  # five standard deviations


def shifted(image, down, right):
    """`image` [C, H, W] moved pixel by pixel, edges repeated."""
    result = np.empty_like(image)
    _, height, width = image.shape
    for y, x in itertools.product(range(height), range(width)):
        result[:, y, x] = image[:, min(max(y - down, 0), height - 1), min(max(x - right, 0), width - 1)]
    return result


@pytest.mark.parametrize("most", [1, 2])
def test_shift_moves_each_image_by_every_number_of_pixels_up_to_the_most_equally_often(data, most):
    batch, image = drawn(data, shift=most)
    moves = list(itertools.product(range(-most, most + 1), repeat=2))
    counts = [sum(np.allclose(one, shifted(image, *move), atol=1e-6) for one in batch) for move in moves]
    assert sum(counts) == len(batch)
    expected = len(batch) / len(moves)
    assert min(counts) > expected - 5 * expected**0.5 and max(counts) < expected + 5 * expected**0.5


def test_a_shift_wider_than_the_image_leaves_its_edge(data):
    batch, image = drawn(data, number=50, shift=40)
    assert all(np.isclose(image[0], one[0, 0, 0], rtol=0, atol=1e-6).any() for one in batch)


def test_brightness_adds_one_number_to_each_image_uniformly_and_cuts_at_the_ends(data):
    batch, image = drawn(data, brightness=0.25)
    inside = np.abs(image) < 0.7
    added = np.array([(one - image)[inside] for one in batch])
    assert np.ptp(added, axis=1).max() < 1e-6  # the same for each of its pixels
    for one, amount in zip(batch, added[:, 0], strict=True):
        np.testing.assert_allclose(one, np.clip(image + amount, -1, 1), rtol=0, atol=1e-6)
    assert added.min() > -0.25 and added.max() < 0.25
    spread = 0.25 / 3**0.5
    assert added[:, 0].mean() == pytest.approx(0, abs=5 * spread / 400**0.5)
    assert added[:, 0].std() == pytest.approx(spread, rel=0.1)


@pytest.mark.parametrize("wrong", [{"shift": -1}, {"brightness": -0.1}])
def test_a_negative_change_is_refused(data, wrong):
    with pytest.raises(ValueError, match="expected shift >= 0 and brightness >= 0, got"):
        batch_of(data, torch.arange(3), **wrong)


def by_scipy(digit, draws):
    """`digit` [28, 28] rotated, sheared, scaled and shifted by affine_transform: (y, x), from the middle.

    The last two draws place the digit between the two places where its ink, with the pixel that bilinear
    interpolation spreads it by, touches the canvas' edges.
    """
    angle = np.deg2rad(20 * draws[0])
    rotate = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    shear = np.array([[1, 0.2 * draws[1]], [0, 1]])  # y grows with x
    scale = np.diag([1 + 0.2 * draws[3], 1 + 0.2 * draws[2]])
    forward = scale @ shear @ rotate
    places = forward @ (np.argwhere(digit > 0) - 13.5).T
    spread = np.abs(forward).sum(axis=1)
    low, high = -20.5 + spread - places.min(axis=1), 20.5 - spread - places.max(axis=1)
    shift = low + (draws[[5, 4]] + 1) / 2 * (high - low)
    back = np.linalg.inv(forward)
    offset = 13.5 - back @ (19.5 + shift)
    wide = np.pad(digit.astype(float), 1)  # scipy does not fade out beyond the last pixel; a frame of zeros does
    return scipy.ndimage.affine_transform(wide, back, offset + 1, output_shape=(40, 40), order=1), forward, shift


def test_affine_maps_are_those_of_scipy(digits):
    draws = torch.rand(6, 13, generator=torch.Generator().manual_seed(5)) * 2 - 1
    images = move_at_random(digits, torch.Generator().manual_seed(5))
    assert images.shape == (13, 1, 40, 40) and images.dtype == torch.uint8
    for image, digit, draw in zip(images, digits, draws.T.double().numpy(), strict=True):
        expected, *_ = by_scipy(digit[0].numpy(), draw)
        np.testing.assert_allclose(image[0].double(), expected, rtol=0, atol=0.51)  # rounded to bytes


def test_a_moved_digit_loses_no_ink_at_the_border(digits):
    """Ink times area is kept: the sum over the canvas is the digit's times the determinant of its map."""
    draws = 2 * torch.rand(6, 13, generator=torch.Generator().manual_seed(6)) - 1
    images = move_at_random(digits, torch.Generator().manual_seed(6)).double().sum((1, 2, 3))
    area = (1 + 0.2 * draws[2].double()) * (1 + 0.2 * draws[3].double())
    np.testing.assert_allclose(images / digits.double().sum((1, 2, 3)), area, rtol=0.03)


def test_a_dot_comes_to_lie_anywhere_on_the_canvas():
    dot = torch.zeros(2000, 1, 28, 28, dtype=torch.uint8)
    dot[:, :, 13:15, 13:15] = 255
    images = move_at_random(dot, torch.Generator().manual_seed(0))[:, 0].double()
    weight = images.sum((1, 2))
    assert weight.min() > 0.6 * 4 * 255 * 0.8  # never cut away
    middle = (images.sum(1) * torch.arange(40)).sum(1) / weight
    counts = np.histogram(middle, bins=8, range=(1.5, 37.5))[0]
    assert counts.min() > 180 and counts.max() < 300  # 250 in each, from edge to edge


def test_a_blank_image_stays_blank_and_a_full_one_stays_in_the_middle():
    blank = move_at_random(torch.zeros(3, 1, 28, 28, dtype=torch.uint8))
    assert int(blank.max()) == 0
    full = move_at_random(torch.full((50, 1, 28, 28), 255, dtype=torch.uint8), torch.Generator().manual_seed(0))
    assert int(full[:, 0, 17:23, 17:23].min()) == 255


def test_each_visit_draws_new_maps_from_the_global_random_state(digits):
    data, index = ImageData(digits, torch.zeros(13), source=digits), torch.tensor([0, 0, 5])
    torch.manual_seed(2)
    first, second = batch_of(data, index), batch_of(data, index)
    torch.manual_seed(2)
    assert torch.equal(batch_of(data, index), first)
    assert not torch.equal(first, second) and not torch.equal(first[0], first[1])
    assert first.shape == (3, 1, 40, 40) and first.dtype == torch.float32 and float(first.min()) == -1


def test_autocast_does_not_round_the_maps(digits):
    data, index = ImageData(digits, torch.zeros(13), source=digits), torch.arange(13)
    torch.manual_seed(2)
    plain = batch_of(data, index)
    torch.manual_seed(2)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(batch_of(data, index, flip=False), plain)


def test_data_goes_to_a_device_whole(digits):
    there = ImageData(digits, torch.zeros(13), source=digits).to("meta")
    assert {part.device.type for part in (there.images, there.labels, there.source)} == {"meta"}
    assert ImageData(digits, torch.zeros(13)).to("cpu").source is None


def test_moving_to_a_device_keeps_the_names_of_the_classes(data):
    assert data._replace(class_names=("ape", "cat")).to("meta").class_names == ("ape", "cat")


@pytest.mark.gpu
@pytest.mark.parametrize("affine", [False, True])
def test_a_batch_on_a_gpu_can_be_captured_and_replayed_with_new_draws(digits, affine):
    data = ImageData(digits, torch.zeros(13), source=digits if affine else None).to("cuda")
    index = torch.arange(13, device="cuda")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # warm up, as capture asks for
        batch_of(data, index, flip=True, brightness=0.2, shift=2)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        batch = batch_of(data, index, flip=True, brightness=0.2, shift=2)
    graph.replay()
    first = batch.clone()
    graph.replay()
    assert batch.shape[0] == 13 and not torch.equal(batch, first)


@pytest.mark.gpu
def test_a_gpu_shows_the_same_images(digits, data):
    index = torch.arange(11, device="cuda")
    on_gpu = batch_of(data.to("cuda"), index).cpu()
    torch.testing.assert_close(on_gpu, batch_of(data, index.cpu()), rtol=0, atol=2**-23)  # a GPU divides otherwise

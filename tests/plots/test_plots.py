"""Pictures: every pixel in its place, axes labelled, and no interference with the reader's matplotlib."""

import runpy
import sys

import matplotlib
import numpy as np
import pytest
import torch
from gan_builders import random_images
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import memgan.plots
from memgan.plots import GENERATED, REAL, UNUSED, drawable, image_grid, legible, tile
from walkthrough.nb06_full_training import training_curves

PALETTE = {REAL: "blue", GENERATED: "orange", UNUSED: "grey"}


@pytest.mark.parametrize(
    ("number", "columns", "channels", "gap"),
    [(7, 3, 1, 1), (6, 2, 3, 2), (1, 5, 1, 1), (5, 5, 3, 0), (1, 1, 3, 1), (2, 1, 1, 1)],
)
def test_tile_puts_every_pixel_where_a_plain_loop_puts_it(number, columns, channels, gap):
    height, width = 4, 3
    images = torch.rand(number, channels, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rows = (number + columns - 1) // columns
    expected = np.ones((rows * height + (rows - 1) * gap, columns * width + (columns - 1) * gap, channels))
    for n in range(number):
        for y in range(height):
            for x in range(width):
                for c in range(channels):
                    at = (n // columns * (height + gap) + y, n % columns * (width + gap) + x, c)
                    expected[at] = (float(images[n, c, y, x]) + 1) / 2
    picture = tile(images, columns, gap)
    np.testing.assert_allclose(picture, expected[..., 0] if channels == 1 else expected, rtol=0, atol=1e-6)


def test_tile_maps_black_to_zero_and_white_to_one_and_clips_beyond():
    images = torch.tensor([-1.0, 0.0, 1.0, -7.0, 7.0]).view(5, 1, 1, 1)
    assert tile(images, 5, gap=0).tolist() == [[0.0, 0.5, 1.0, 0.0, 1.0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_tile_takes_images_of_any_floating_point_type(dtype):
    images = random_images(5)
    picture = tile(images.to(dtype), 3)
    assert picture.dtype == np.float32
    np.testing.assert_allclose(picture, tile(images, 3), rtol=0, atol=0.01)


def test_tile_takes_bytes_as_a_data_set_has_them_and_no_other_whole_numbers():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    np.testing.assert_allclose(tile(images, 3, gap=0), [[0, 0.2, 1]], atol=1e-6)
    for dtype in (torch.int64, torch.bool):
        with pytest.raises(TypeError, match=f"got {dtype}"):
            tile(images.to(dtype), 3)


def test_a_default_type_or_device_does_not_change_a_sheet():
    images = random_images(5)
    expected = tile(images, 3)
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        picture = tile(images, 3)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert picture.dtype == expected.dtype
    np.testing.assert_array_equal(picture, expected)


def test_tile_takes_images_with_a_gradient_and_leaves_them_alone():
    images = random_images(5).requires_grad_()
    before = images.detach().clone()
    assert tile(images, 2).shape == (3 * 4 + 2, 2 * 4 + 1, 3)
    assert torch.equal(images.detach(), before)


def test_image_grid_shows_the_sheet_with_its_labels():
    images = random_images(6, channels=1)
    figure = image_grid(images, 3, row_labels=["slot 5", "slot 11"], column_label="noise z")
    (axes,) = figure.axes
    assert isinstance(figure, Figure)
    np.testing.assert_array_equal(axes.images[0].get_array(), tile(images, 3))
    assert axes.get_xlabel() == "noise z"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["slot 5", "slot 11"]
    # each label stands at the middle of its row: rows are 4 pixels high, 1 apart, and pixel 0 is centred on 0
    assert axes.get_yticks().tolist() == pytest.approx([1.5, 6.5])
    assert axes.images[0].get_clim() == (0, 1)


def test_a_byte_that_is_no_text_becomes_a_question_mark_and_other_names_stay_as_they_are():
    assert legible(b"caf\xe9 \xff".decode("utf-8", "surrogateescape")) == "caf? ?"
    for name in ("", "caf\u00e9", "\u732b \U0001f408", "$x^$ \\n <b>"):
        assert legible(name) == name


def test_what_the_font_has_no_sign_for_becomes_a_question_mark():
    assert drawable("\u732b cat") == "? cat"
    for name in ("", "caf\u00e9 5 \u03bb", "two\nlines", "$x^$"):
        assert drawable(name) == name


@pytest.mark.parametrize("name", ["$", "x$^$", "$\\nothing$", "dear $$$", "caf\udce9", "two\nlines"])
def test_any_name_can_label_a_sheet(name):
    figure = image_grid(random_images(2), 1, row_labels=[name, "other"], column_label=name)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    shown = name.replace("\udce9", "?")
    assert axes.get_xlabel() == shown
    assert [label.get_text() for label in axes.get_yticklabels()] == [shown, "other"]


def test_a_cells_width_sets_the_size_of_a_sheet_whatever_its_columns():
    for number, columns in ((5, 1), (30, 6)):
        figure = image_grid(random_images(number), columns, cell=0.5)
        (axes,) = figure.axes
        figure.draw_without_rendering()
        width_of_sheet = axes.get_window_extent().width / figure.dpi
        assert width_of_sheet == pytest.approx(0.5 * columns, rel=0.25)


HISTORY = {
    "discriminator_loss": [1.5, 1.0, 0.5, 0.25, 0.0],
    "generator_loss": [0.25, 0.5, 1.0, 1.5, 2.0],
    "real": [0.5, 0.6, 0.7, 0.8, 0.9],
    "generated": [0.5, 0.4, 0.3, 0.2, 0.1],
}


def test_training_curves_are_means_of_blocks_at_their_middles():
    *lines, guess = [line for axes in training_curves(HISTORY, window=2).axes for line in axes.get_lines()]
    assert list(guess.get_ydata()) == [0.5, 0.5]
    for line, series in zip(lines, HISTORY.values(), strict=True):
        steps, values = line.get_data()
        assert list(steps) == [1, 3]
        assert list(values) == pytest.approx([sum(series[:2]) / 2, sum(series[2:4]) / 2])


def test_training_curves_of_fewer_steps_than_the_window():
    (line, *_) = training_curves({name: series[:2] for name, series in HISTORY.items()}).axes[0].get_lines()
    assert [list(data) for data in line.get_data()] == [[1], [1.25]]


def test_every_axis_of_the_curves_is_labelled_and_every_line_is_named():
    figure = training_curves(HISTORY, window=2)
    for axes in figure.axes:
        assert "step" in axes.get_xlabel() and axes.get_ylabel()
        assert len(axes.texts) == len(axes.get_lines()) >= 2
    assert "nats" in figure.axes[0].get_ylabel()
    assert figure.axes[1].get_ylim() == (0, 1)


def test_real_is_blue_and_generated_is_orange():
    axes = training_curves(HISTORY).axes[1]
    colours = {text.get_text(): to_hex(text.get_color()) for text in axes.texts}
    assert colours == {
        "real images": REAL.lower(),
        "generated images": GENERATED.lower(),
        "D = 1/2, a guess": "#000000",
    }
    assert [to_hex(line.get_color()) for line in axes.get_lines()] == [REAL.lower(), GENERATED.lower(), "#000000"]
    for colour, name in PALETTE.items():
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        assert {"blue": blue > green > red, "orange": red > green > blue, "grey": red == green == blue}[name]


def test_figures_can_be_written(tmp_path):
    for name, figure in {"a": image_grid(random_images(6), 3), "b": training_curves(HISTORY)}.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_plots_use_neither_pyplot_nor_other_settings(monkeypatch):
    """The module is run anew, in a Python in which nothing can import pyplot."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.delattr(matplotlib, "pyplot", raising=False)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        before = matplotlib.rcParams.copy()
        anew = runpy.run_path(memgan.plots.__file__)
        anew["image_grid"](torch.zeros(4, 1, 3, 3), 2)
        assert matplotlib.rcParams.copy() == before

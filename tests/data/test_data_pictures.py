"""What a picture shows is what its bytes become: modes, transparency, depths; and what has no meaning is refused."""

import numpy as np
import pytest
from PIL import Image

from memgan.data import load_dataset

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def loaded(folder, images, **options):
    """The images (with the options of `save`) as both splits of a folder, loaded: [n, C, 16, 16] as numpy."""
    for part in ("train", "test"):
        (folder / part).mkdir(exist_ok=True)
        for name, (image, saved) in images.items():
            image.save(folder / part / name, **saved)
    return load_dataset(f"folder:{folder}", size=16, **options).images.numpy()


def half_transparent(mode, colour):
    """The colour, transparent in the left half and opaque in the right one."""
    image = Image.new("RGBA", (16, 16), (*colour, 255))
    image.paste((*colour, 0), (0, 0, 8, 16))
    if mode == "P":
        palette = Image.new("P", (16, 16), 1)
        palette.putpalette([*colour, *colour])
        palette.paste(0, (0, 0, 8, 16))
        return palette, {"transparency": 0}
    if mode == "L key":
        image = Image.new("L", (16, 16), colour[0])
        image.paste(3, (0, 0, 8, 16))
        return image, {"transparency": 3}
    if mode == "RGB key":
        image = Image.new("RGB", (16, 16), colour)
        image.paste((1, 2, 3), (0, 0, 8, 16))
        return image, {"transparency": (1, 2, 3)}
    if mode == "I;16 key":
        values = np.full((16, 16), colour[0] * 257, np.uint16)
        values[:, :8] = 3
        return Image.fromarray(values), {"transparency": 3}
    if mode == "PA":
        palette = image.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE).convert("PA")
        palette.putalpha(image.getchannel("A"))
        return palette, {}
    return image.convert(mode), {}


@pytest.mark.parametrize(
    ("mode", "ending"),
    [
        ("RGBA", "png"),
        ("RGBA", "tif"),
        ("RGBA", "webp"),
        ("LA", "png"),
        ("P", "png"),
        ("P", "gif"),
        ("PA", "tif"),
        ("L key", "png"),
        ("RGB key", "png"),
        ("I;16 key", "png"),
    ],
)
@pytest.mark.parametrize(("background", "level"), [("white", 255), ("black", 0), ("#808080", 128)])
def test_transparent_pixels_show_the_background_and_never_the_colour_beneath(tmp_path, mode, ending, background, level):
    image, saved = half_transparent(mode, (90, 90, 90))
    if ending == "webp":
        saved = {"lossless": True, "exact": True}
    pixels = loaded(tmp_path, {f"x.{ending}": (image, saved)}, background=background)[0]
    assert (pixels[:, :, :8] == level).all()
    assert (pixels[:, :, 8:] == 90).all()


def test_the_background_is_white_and_mixes_with_what_is_half_transparent(tmp_path):
    image = Image.new("RGBA", (16, 16), (200, 100, 0, 51))  # a fifth opaque
    pixels = loaded(tmp_path, {"x.png": (image, {})})[0]
    expected = 0.2 * np.array([200, 100, 0]) + 0.8 * 255
    assert np.abs(pixels[:, 4, 4] - expected).max() <= 1


def test_colours_beneath_transparent_pixels_do_not_bleed_when_an_image_is_resized(tmp_path):
    image = Image.new("RGBA", (64, 64), (255, 255, 255, 255))
    for column in range(0, 64, 2):
        image.paste((255, 0, 0, 0), (column, 0, column + 1, 64))
    assert (loaded(tmp_path, {"x.png": (image, {})}) == 255).all()


def test_grey_images_stay_grey_on_a_grey_background_and_not_on_a_red_one(tmp_path):
    image, saved = half_transparent("LA", (90, 90, 90))
    assert loaded(tmp_path, {"x.png": (image, saved)}).shape == (1, 1, 16, 16)
    pixels = loaded(tmp_path, {"x.png": (image, saved)}, background="red")[0]
    assert pixels[:, 4, 4].tolist() == [255, 0, 0] and pixels[:, 4, 12].tolist() == [90, 90, 90]


def test_an_unknown_background_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'whitish'"):
        loaded(tmp_path, {"x.png": (Image.new("L", (16, 16)), {})}, background="whitish")


@pytest.mark.parametrize("ending", ["png", "tif", "pgm", "jp2"])
def test_16_bits_keep_their_upper_eight(tmp_path, ending):
    image = Image.fromarray(RAMP.astype(np.uint16) * 256 + 77)
    assert np.array_equal(loaded(tmp_path, {f"x.{ending}": (image, {})})[0, 0], RAMP)


@pytest.mark.parametrize("ending", ["tif", "pfm"])
def test_floating_point_numbers_from_0_to_1_are_black_to_white(tmp_path, ending):
    image = Image.fromarray(RAMP.astype(np.float32) / 255)
    assert np.array_equal(loaded(tmp_path, {f"x.{ending}": (image, {})})[0, 0], RAMP)


WITHOUT_RANGE = {
    "floats beyond 1": (RAMP.astype(np.float32), "from 0 to 255"),
    "negative floats": (RAMP.astype(np.float32) / 255 - 0.5, "from -0.5 to 0.5"),
    "not a number": (np.where(RAMP == 7, np.nan, 0.5).astype(np.float32), "not finite"),
    "infinite": (np.where(RAMP == 7, np.inf, 0.5).astype(np.float32), "not finite"),
    "32 bits": (RAMP.astype(np.int32) * 1000, "32-bit integers"),
}


@pytest.mark.parametrize(("values", "reason"), WITHOUT_RANGE.values(), ids=WITHOUT_RANGE)
def test_numbers_without_a_known_range_are_left_out_by_name_and_refused_when_strict(tmp_path, values, reason, capsys):
    images = {"good.png": (Image.fromarray(RAMP), {}), "odd.tif": (Image.fromarray(values), {})}
    assert np.array_equal(loaded(tmp_path, images), RAMP[None, None])
    said = capsys.readouterr().err
    assert str(tmp_path / "train" / "odd.tif") in said and reason in said
    with pytest.raises(ValueError, match=rf"odd\.tif cannot be read: .*{reason}"):
        loaded(tmp_path, images, strict=True)


@pytest.mark.parametrize(
    ("mode", "ending", "channels"),
    [("1", "png", 1), ("L", "png", 1), ("L", "jpg", 1), ("RGB", "bmp", 3), ("CMYK", "jpg", 3), ("YCbCr", "tif", 3)],
)
def test_every_other_mode_shows_its_colour(tmp_path, mode, ending, channels):
    colour = (255, 255, 255) if mode == "1" else (100, 100, 100)
    image = Image.new("RGB", (16, 16), colour).convert(mode)
    pixels = loaded(tmp_path, {f"x.{ending}": (image, {})})
    assert pixels.shape == (1, channels, 16, 16)
    assert np.abs(pixels.astype(int) - colour[0]).max() <= 3


def test_lab_is_no_grey_and_shows_its_colour(tmp_path):
    """L* = 53.6, a* = b* = 0 is sRGB's grey of 128 (CIE's formula by hand); Pillow stores 2.55 L* and 128 + a*."""
    image = Image.new("LAB", (16, 16), (round(53.6 * 2.55), 128, 128))
    pixels = loaded(tmp_path, {"x.tif": (image, {})})
    assert pixels.shape == (1, 3, 16, 16)
    assert np.abs(pixels.astype(int) - 128).max() <= 3


def test_the_first_frame_of_an_animation_counts(tmp_path):
    frames = [Image.new("L", (16, 16), level) for level in (50, 200)]
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        frames[0].save(tmp_path / part / "x.gif", save_all=True, append_images=frames[1:])
    assert (load_dataset(f"folder:{tmp_path}", size=16).images == 50).all()


def test_a_photograph_is_turned_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored with its upper edge at the left
    image = Image.new("L", (16, 16), 0)
    image.paste(255, (0, 0, 8, 16))
    pixels = loaded(tmp_path, {"x.png": (image, {"exif": exif})})[0, 0]
    assert (pixels[:8] == 255).all() and (pixels[8:] == 0).all()

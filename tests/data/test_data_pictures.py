"""What a picture shows is what its bytes become: modes, transparency, depths; and what has no meaning is refused."""

import struct
import zlib

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


def loaded_bytes(folder, name, content, **options):
    """The file with this content as both splits of a folder, loaded."""
    for part in ("train", "test"):
        (folder / part).mkdir(exist_ok=True)
        (folder / part / name).write_bytes(content)
    return load_dataset(f"folder:{folder}", size=16, **options).images.numpy()


def tiff(pixels, bits, *, white_is_zero=False, sample_format=1):
    """A TIFF file of 16x16 grey pixels without compression, written by hand after TIFF 6.0."""
    tags = {256: 16, 257: 16, 258: bits, 259: 1, 262: 0 if white_is_zero else 1, 273: 8, 277: 1, 278: 16}
    tags |= {279: len(pixels), 339: sample_format}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)


def png(rows, bits, colour_type, transparent=None):
    """A PNG file of 16x16 pixels, written by hand: colour type 0 is grey, 2 is RGB, 4 is grey and alpha."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 16, 16, bits, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))), (b"IEND", b"")]
    if transparent is not None:
        chunks.insert(1, (b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


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


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_the_numbers_of_a_tiff_mean_what_its_header_says(tmp_path, white_is_zero):
    expected = 255 - RAMP if white_is_zero else RAMP
    values = {
        (8, 1): RAMP.tobytes(),
        (16, 1): (RAMP.astype("<u2") * 256 + 77).tobytes(),
        (32, 3): (RAMP / np.float32(255)).astype("<f4").tobytes(),
    }
    for (bits, sample_format), pixels in values.items():
        content = tiff(pixels, bits, white_is_zero=white_is_zero, sample_format=sample_format)
        assert np.array_equal(loaded_bytes(tmp_path, "x.tif", content)[0, 0], expected)


def test_12_bits_keep_their_upper_eight(tmp_path):
    """Two numbers in three bytes."""
    digits = "".join(f"{level:02x}9" for level in RAMP.flatten())
    content = tiff(bytes.fromhex(digits), 12)
    assert np.array_equal(loaded_bytes(tmp_path, "x.tif", content)[0, 0], RAMP)


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


def fits(values):
    """A FITS file of 16x16 signed integers of 16 bits."""
    header = {"SIMPLE": "T", "BITPIX": 16, "NAXIS": 2, "NAXIS1": 16, "NAXIS2": 16}
    cards = [f"{name:<8}= {value:>20}".ljust(80) for name, value in header.items()]
    return "".join([*cards, "END"]).ljust(2880).encode() + values.astype(">i2").tobytes()


SIGNED = RAMP.astype(np.int16) * 100 - 5000


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.tif", tiff(SIGNED.astype("<i2").tobytes(), 16, sample_format=2)), ("x.fits", fits(SIGNED))],
    ids=["tif", "fits"],
)
def test_signed_integers_are_refused(tmp_path, name, content):
    with pytest.raises(ValueError, match=f"{name} cannot be read: .*signed"):
        loaded_bytes(tmp_path, name, content, strict=True)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize(("background", "level"), [("white", 255), ("black", 0), ("#808080", 128)])
def test_a_grey_level_of_few_bits_that_is_transparent_shows_the_background(tmp_path, bits, background, level):
    """The left half has the transparent level 1, the right half level 0, which is black."""
    left = sum(1 << bits * place for place in range(8))
    rows = [left.to_bytes(bits, "big") + bytes(bits)] * 16
    pixels = loaded_bytes(tmp_path, "x.png", png(rows, bits, 0, transparent=[1]), background=background)[0]
    assert (pixels[:, :, :8] == level).all()
    assert (pixels[:, :, 8:] == 0).all()


def test_grey_and_alpha_of_16_bits_is_what_it_is_with_8_bits(tmp_path):
    of_8_bits = [bytes([90, 0] * 8 + [90, 255] * 8)] * 16
    of_16_bits = [bytes([90, 7, 0, 0] * 8 + [90, 7, 255, 255] * 8)] * 16
    for background, channels in {"white": 1, "red": 3}.items():
        expected = loaded_bytes(tmp_path, "x.png", png(of_8_bits, 8, 4), background=background)
        assert expected.shape == (1, channels, 16, 16)
        found = loaded_bytes(tmp_path, "x.png", png(of_16_bits, 16, 4), background=background)
        assert np.array_equal(found, expected)


def test_a_transparent_colour_of_16_bits_is_refused_and_one_of_8_bits_is_not(tmp_path):
    """Pillow keeps eight bits of the pixels, so that it cannot tell the colour from others."""
    of_16_bits = png([bytes([0, 5, 0, 6, 0, 7] * 16)] * 16, 16, 2, transparent=[5, 6, 7])
    with pytest.raises(ValueError, match="x.png cannot be read: .*transparent colour of 16 bits"):
        loaded_bytes(tmp_path, "x.png", of_16_bits, strict=True)
    of_8_bits = png([bytes([5, 6, 7] * 16)] * 16, 8, 2, transparent=[5, 6, 7])
    assert (loaded_bytes(tmp_path, "x.png", of_8_bits) == 255).all()
    opaque = png([bytes([90, 5, 90, 6, 90, 7] * 16)] * 16, 16, 2)
    assert (loaded_bytes(tmp_path, "x.png", opaque) == 90).all()


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

"""One picture file, read so that the bytes show what the picture shows.

Pillow's own conversions drop transparency, so that the colours beneath it show, and cut 16 bits, 32 bits and
floating-point numbers at 255. Here transparent pixels are laid over a plain background, 12 and 16 bits keep their upper
eight, floating-point numbers mean 0 to 1, and what has no known range is refused.
"""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageFile, ImageOps, TiffImagePlugin

__all__ = ["Colour", "colour", "endings", "is_grey", "read_picture", "shorter_side"]

Colour = tuple[int, int, int]  # red, green and blue, each in 0..255

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")  # of Pillow
SIXTEEN_BITS = ("IM", "JPEG2000", "PNG", "PPM")  # formats whose integers are made to use all 16 bits by Pillow
LEVEL_STEP = {"L;2": 85, "L;4": 17}  # between two grey levels of a PNG of 2 or 4 bits, when they are bytes
NO_PICTURES = ("BUFR", "GRIB", "HDF5", "MPEG")  # formats that Pillow knows by name and cannot draw: data and films


def endings() -> set[str]:
    """The endings, such as ".png", of the files that Pillow reads as pictures."""
    formats = Image.registered_extensions().items()
    return {ending for ending, form in formats if form in Image.OPEN and form not in NO_PICTURES}


def colour(name: str) -> Colour:
    """The colour that `name` names: "white", "#ff8000" or another form that Pillow knows. Raises ValueError."""
    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
    except (ValueError, AttributeError) as error:
        raise ValueError(f"unknown background {name!r}, expected a colour such as white, black or #ff8000") from error
    return red, green, blue


def is_grey(path: Path, background: Colour) -> bool:
    """Whether a picture is stored in grey, and stays grey on the background. Its header is enough to tell."""
    with Image.open(path) as stored:
        stored_in_grey = stored.mode in GREY_MODES or _raw_mode(stored) == "LA;16B"  # which Pillow makes RGBA of
        stays_grey = len(set(background)) == 1 or not stored.has_transparency_data
        return stored_in_grey and stays_grey


def shorter_side(path: Path) -> int:
    """Pixels along the shorter side of a picture, from its header."""
    with Image.open(path) as stored:
        return min(stored.size)


def read_picture(path: Path, size: int, background: Colour) -> NDArray[np.uint8]:
    """The picture in a file: [size, size, 3], upright, cropped at the centre and resized.

    Raises what Pillow does for a broken file, and ValueError where the picture cannot be told from what Pillow reads:
    for a transparent colour of 16 bits, and for numbers without a known range, which are signed or 32-bit integers, and
    floating-point numbers outside of [0, 1].
    """
    with Image.open(path) as stored:
        raw_mode = _raw_mode(stored)  # asked before the pixels are read, after which it is gone
        image = _with_level_as_byte(ImageOps.exif_transpose(stored), raw_mode)
        if stored.mode == "F":
            image = _of_floats(image, white_is_zero=_white_is_zero(stored))
        elif stored.mode.startswith("I"):
            image = _of_integers(image, _bits(stored), white_is_zero=_white_is_zero(stored))
        # laid on the background before it is resized: else the colours beneath transparent pixels would bleed
        fitted = ImageOps.fit(_on(background, image), (size, size))
        return np.asarray(fitted)


def _raw_mode(stored: ImageFile.ImageFile) -> str:
    """How the pixels lie in a PNG, in Pillow's words: "LA;16B" is grey and alpha, of 16 bits. Nothing otherwise."""
    if stored.format != "PNG" or not stored.tile:
        return ""
    return str(stored.tile[0][3])


def _with_level_as_byte(image: Image.Image, raw_mode: str) -> Image.Image:
    """The picture of a PNG, whose level that is transparent is in the numbers of its pixels as Pillow reads them.

    Raises ValueError for a colour of 16 bits, of which Pillow keeps eight, so that other colours look the same.
    """
    if "transparency" not in image.info:
        return image
    if raw_mode == "RGB;16B":
        raise ValueError("it names a transparent colour of 16 bits; expected 8 bits, or an alpha channel")
    if raw_mode in LEVEL_STEP:
        image.info["transparency"] *= LEVEL_STEP[raw_mode]
    return image


def _white_is_zero(stored: ImageFile.ImageFile) -> bool:
    """Whether 0 means white in a TIFF. Pillow looks at that where a number has eight bits or fewer."""
    if not isinstance(stored, TiffImagePlugin.TiffImageFile):
        return False
    return stored.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0


def _bits(stored: ImageFile.ImageFile) -> int:
    """How many bits the integers of a grey picture have. Raises ValueError where their range is not known."""
    if stored.format in SIXTEEN_BITS:
        return 16
    if isinstance(stored, TiffImagePlugin.TiffImageFile) and stored.mode != "I":
        return max(stored.tag_v2[TiffImagePlugin.BITSPERSAMPLE])
    raise ValueError(
        "it holds integers whose range is not known, such as signed or 32-bit integers; expected 8, 12 or 16 bits"
    )


def _of_floats(image: Image.Image, *, white_is_zero: bool) -> Image.Image:
    """Floating-point numbers in [0, 1] as bytes."""
    values = np.asarray(image)
    least = float(values.min())
    most = float(values.max())
    if not (math.isfinite(least) and math.isfinite(most)):
        raise ValueError("it holds floating-point numbers that are not finite")
    if least < 0 or most > 1:
        raise ValueError(f"it holds floating-point numbers from {least:g} to {most:g}, expected 0 to 1")
    if white_is_zero:
        values = 1 - values
    return Image.fromarray((values * 255).round().astype(np.uint8))


def _of_integers(image: Image.Image, bits: int, *, white_is_zero: bool) -> Image.Image:
    """The upper eight of `bits` bits. What a PNG declares transparent stays so."""
    values = np.asarray(image)
    greys = Image.fromarray((values >> (bits - 8)).astype(np.uint8))
    if white_is_zero:
        greys = ImageOps.invert(greys)
    transparent = image.info.get("transparency")
    if transparent is not None:
        alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
        greys.putalpha(Image.fromarray(alpha))
    return greys


def _on(background: Colour, image: Image.Image) -> Image.Image:
    """The image in RGB, on the background where it is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")  # Pillow knows no way from grey with premultiplied alpha to RGBA
    plain = Image.new("RGBA", image.size, background)
    plain.alpha_composite(image.convert("RGBA"))
    return plain.convert("RGB")

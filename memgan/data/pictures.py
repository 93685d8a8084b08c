"""One picture file, read so that the bytes show what the picture shows.

Pillow's own conversions drop transparency, so that the colours beneath it show, and cut 16 bits, 32 bits and
floating-point numbers at 255. Here transparent pixels are laid over a plain background, 16 bits keep their upper eight,
floating-point numbers mean 0 to 1, and what has no known range is refused.
"""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps

__all__ = ["Colour", "colour", "endings", "is_grey", "read_picture", "shorter_side"]

Colour = tuple[int, int, int]  # red, green and blue, each in 0..255

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")  # of Pillow
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
        stays_grey = len(set(background)) == 1 or not stored.has_transparency_data
        return stored.mode in GREY_MODES and stays_grey


def shorter_side(path: Path) -> int:
    """Pixels along the shorter side of a picture, from its header."""
    with Image.open(path) as stored:
        return min(stored.size)


def read_picture(path: Path, size: int, background: Colour) -> NDArray[np.uint8]:
    """The picture in a file: [size, size, 3], upright, cropped at the centre and resized.

    Raises what Pillow does for a broken file, and ValueError for numbers without a known range: 32-bit integers, and
    floating-point numbers outside of [0, 1].
    """
    with Image.open(path) as stored:
        image = ImageOps.exif_transpose(stored)
        if stored.mode == "F":
            image = _of_floats(image)
        elif stored.mode.startswith("I"):
            image = _of_integers(image, str(stored.format))
        # laid on the background before it is resized: else the colours beneath transparent pixels would bleed
        fitted = ImageOps.fit(_on(background, image), (size, size))
        return np.asarray(fitted)


def _of_floats(image: Image.Image) -> Image.Image:
    """Floating-point numbers in [0, 1] as bytes."""
    values = np.asarray(image)
    least = float(values.min())
    most = float(values.max())
    if not (math.isfinite(least) and math.isfinite(most)):
        raise ValueError("it holds floating-point numbers that are not finite")
    if least < 0 or most > 1:
        raise ValueError(f"it holds floating-point numbers from {least:g} to {most:g}, expected 0 to 1")
    return Image.fromarray((values * 255).round().astype(np.uint8))


def _of_integers(image: Image.Image, form: str) -> Image.Image:
    """The upper eight of 16 bits. What a PNG declares transparent stays so."""
    if image.mode == "I" and form not in ("PNG", "PPM"):  # from these Pillow reads 16 bits into 32
        raise ValueError("it holds 32-bit integers, whose range is not known; expected 8 or 16 bits")
    values = np.asarray(image)
    greys = Image.fromarray((values >> 8).astype(np.uint8))
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

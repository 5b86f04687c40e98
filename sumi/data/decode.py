"""One image file -> one square of 8-bit pixels, whatever the file holds.

In this order: the file is decoded at a reduced scale where its format can (JPEG), sixteen bits become eight by
round(v / 257), transparency is laid over white, other modes become grey or RGB, the shorter side is resampled to the
size asked for (Lanczos over its whole support, so that nothing aliases) and the longer one cropped about its centre,
and the camera's orientation is applied. A file that ends early or would take too much memory is refused whole.
"""

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.Image import Resampling, Transpose
from PIL.ImageFile import ImageFile

from sumi.data.dataset import Skipped

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
LARGEST_PIXELS = 100_000_000

_SIXTEEN_BIT_COLOUR = re.compile(r"\b(RGB|RGBA|LA);16[BLN]")
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


class Rule(Enum):
    """What was done to an image that a person should know; the value completes "12 of 500 images …"."""

    RESIZED = "were resized and centre-cropped to {size}x{size}"
    ENLARGED = "are smaller than {size}x{size} and were enlarged"
    SIXTEEN_BIT = "hold 16 bits a channel and were reduced to 8"
    COMPOSITED = "have transparent pixels, which were laid over white"
    FIRST_FRAME = "hold several frames or pages, of which the first is used"
    GREYED = "have colours and were made grey"


class Layer(Enum):
    """What is read of an image with transparency."""

    SEEN = "its colours laid over white"
    COLOUR = "its colours, those that are hidden too"
    ALPHA = "how opaque it is: grey, 0 for transparent, 255 for opaque and where nothing says it"


class UnreadableImage(Exception):
    """An image file that cannot be used; the message is the reason that ``Skipped`` states."""


@dataclass(frozen=True)
class Decoded:
    """uint8 pixels (C, size, size), C = 1 where the image is grey or was asked to be, else 3; and the rules applied."""

    pixels: NDArray[np.uint8]
    rules: frozenset[Rule]


def decode(path: Path, size: int | None, channels: int | None, layer: Layer = Layer.SEEN) -> Decoded:
    """Read one image file, fitted to a square of ``size`` or, for None, as large as it is.

    ``channels`` = 1 makes it grey, 3 and None leave grey images at one channel. ``layer``: what is read of it.

    Raises:
        UnreadableImage: it is no image, is damaged or truncated, or is too large.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            return _decode(image, size, channels, layer)
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # decoders answer damage with OSError, SyntaxError, ValueError, struct.error …
        raise UnreadableImage(_reason(path, error)) from error


def try_decode(key: str, path: Path, size: int, channels: int | None) -> Decoded | Skipped:
    """``decode``, with the reason as a value."""
    try:
        return decode(path, size, channels)
    except UnreadableImage as error:
        return Skipped(key, str(error))


def fit(image: Image.Image, size: int) -> Image.Image:
    """A grey or RGB image, its shorter side resampled to ``size`` and its longer one cropped about the centre."""
    width, height = image.size
    if width == height == size:
        return image
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize((size, size), Resampling.LANCZOS, (left, top, left + side, top + side), reducing_gap=3.0)


def _decode(image: ImageFile, size: int | None, channels: int | None, layer: Layer) -> Decoded:
    rules: set[Rule] = set()
    if size is not None:
        if image.size != (size, size):
            rules.add(Rule.RESIZED)
        if min(image.size) < size:
            rules.add(Rule.ENLARGED)
        image.draft(None, (2 * size, 2 * size))  # a JPEG's own 2, 4 or 8-fold reduction, kept above twice that size
    width, height = image.size
    if width * height > LARGEST_PIXELS:
        raise UnreadableImage(
            f"{width}x{height} is {width * height / 1e6:.1f} million pixels, "
            f"more than the {LARGEST_PIXELS // 10**6} million read from one file; make it smaller"
        )
    if any(_SIXTEEN_BIT_COLOUR.search(str(tile)) for tile in image.tile):
        rules.add(Rule.SIXTEEN_BIT)  # Pillow keeps the high byte of each channel
    image.load()
    orientation = image.getexif().get(_ORIENTATION_TAG)  # after load(), which turns a TIFF by itself
    if image.format != "MPO" and getattr(image, "is_animated", False):
        rules.add(Rule.FIRST_FRAME)

    return _fitted(image, size, channels, layer, rules, orientation)


def from_picture(image: Image.Image, size: int | None, channels: int | None, layer: Layer = Layer.SEEN) -> Decoded:
    """An image in memory, by the rules of `decode`. Raises UnreadableImage for floating-point pixels."""
    rules: set[Rule] = set()
    if size is not None and image.size != (size, size):
        rules |= {Rule.RESIZED} | ({Rule.ENLARGED} if min(image.size) < size else set())
    return _fitted(image, size, channels, layer, rules, image.getexif().get(_ORIENTATION_TAG))


def _fitted(
    image: Image.Image, size: int | None, channels: int | None, layer: Layer, rules: set[Rule], orientation: int | None
) -> Decoded:
    """What is seen of an image, in the size and channels asked for and upright."""
    plain = _to_grey_or_rgb(image, rules, layer)
    fitted = plain if size is None else fit(plain, size)
    if orientation in _UPRIGHT:
        fitted = fitted.transpose(_UPRIGHT[orientation])
    pixels = np.asarray(fitted)
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    if pixels.ndim == 3 and channels == 1:
        rules.add(Rule.GREYED)
        pixels = np.asarray(fitted.convert("L"))
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return Decoded(pixels, frozenset(rules))


def _to_grey_or_rgb(image: Image.Image, rules: set[Rule], layer: Layer) -> Image.Image:
    """One layer of any mode -> "L" or "RGB"."""
    if image.mode.startswith("I"):
        return _sixteen_to_eight(image, rules, layer)
    if image.mode == "F":
        raise UnreadableImage("floating-point pixels have no fixed range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        if layer is not Layer.SEEN:
            return alpha if layer is Layer.ALPHA else image.convert("RGB")
        if alpha.getextrema() != (255, 255):
            rules.add(Rule.COMPOSITED)
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=alpha)
        return white
    if layer is Layer.ALPHA:
        return Image.new("L", image.size, 255)
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _sixteen_to_eight(image: Image.Image, rules: set[Rule], layer: Layer) -> Image.Image:
    """Modes I;16, I;16B and I (16-bit values in 32-bit integers) -> L. Pillow's own conversion only clips at 255."""
    values = np.array(image, dtype=np.int32)
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableImage("32-bit pixels outside 0..65535 have no fixed range; save it with 8 or 16 bits")
    rules.add(Rule.SIXTEEN_BIT)
    transparent = image.info.get("transparency")
    if layer is Layer.ALPHA:
        return Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
    if layer is Layer.SEEN and isinstance(transparent, int) and (values == transparent).any():
        rules.add(Rule.COMPOSITED)
        values[values == transparent] = 65535
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _reason(path: Path, error: Exception) -> str:
    message = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    if path.stat().st_size == 0:
        return "is an empty file"
    if isinstance(error, UnidentifiedImageError):
        return "is no image in a format read here, or is damaged at its start"
    if isinstance(error, Image.DecompressionBombError):
        return f"has far more than the {LARGEST_PIXELS // 10**6} million pixels read from one file; make it smaller"
    if "truncated" in message.lower() or isinstance(error, EOFError):
        return f"is truncated: the file ends before the image does ({message})"
    return f"is damaged ({message or type(error).__name__})"

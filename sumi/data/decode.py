"""One image file -> 8-bit sRGB pixels of one size, whatever the file holds.

In this order: the file is decoded at a reduced scale where its format can (JPEG); 12 and 16 bits become eight, of greys
round(255 v / largest v) and of colours the high byte (both bytes count where they are converted or laid over a
background); colours of another space than sRGB are converted to it (`sumi.data.colour`); transparency is laid over the
background; other modes become grey or RGB; the picture is fitted to the configured size (`sumi.data.frame`); and the
camera's orientation is applied. A file that ends early, has holes (`sumi.data.integrity`) or would take too much memory
is refused whole. What a file holds besides its pixels may be damaged.
"""

import io
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features
from PIL.Image import Transpose
from PIL.ImageFile import ImageFile

from sumi.boundary.files import irregular
from sumi.data import colour
from sumi.data.dataset import Skipped
from sumi.data.frame import WHITE, Frame, Size, frame_of, in_words
from sumi.data.integrity import IncompleteImage, JPEGStream, check_decoded, check_tiff, png_core
from sumi.data.members import Held, Part
from sumi.data.memory import Room

_USUAL = (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif")
SUFFIXES: Final = frozenset((*_USUAL, ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif"))
LARGEST_PIXELS: Final = 100_000_000
THREADS: Final = min(4, os.cpu_count() or 1)
"""That decode images at the same time."""
ROOM: Final = Room(LARGEST_PIXELS // 2)
"""The pixels that all threads together decode at a time."""

_SIXTEEN_BIT_COLOUR = re.compile(r"(RGB|RGBA|RGBX|RGBa|LA|CMYK);16[BLN]")
_OTHER_BYTE = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
Source = Callable[[], Path | IO[bytes]]
"""Opens the bytes that are read: the path of a file, or a part of it."""
LowBytes = Callable[[], Image.Image]
"""Reads the low bytes of 16-bit colours."""

_ORIENTATION, _BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 274, 258, 262, 339
_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_TURNED = (5, 6, 7, 8)
"""The orientations that exchange height and width."""


class Rule(Enum):
    """What was done to an image that a person should know; the value completes "12 of 500 images …"."""

    RESIZED = "were {done}"
    ENLARGED = "are smaller than {size} and were enlarged"
    SIXTEEN_BIT = "hold 16 bits a channel and were reduced to 8"
    CONVERTED = "state a colour profile or gamma other than sRGB and were converted to sRGB"
    PROFILE_UNUSED = "have a colour profile that is damaged or does not fit, and were read as sRGB"
    COMPOSITED = "have transparent pixels, which were laid over {background}"
    FIRST_FRAME = "hold several frames or pages, of which the first is used"
    GREYED = "have colours and were made grey"


class Layer(Enum):
    """What is read of an image with transparency."""

    SEEN = "its colours laid over the background"
    COLOUR = "its colours, those that are hidden too"
    ALPHA = "how opaque it is: grey, 0 for transparent, 255 for opaque and where nothing says it"


class UnreadableImage(Exception):
    """An image file that cannot be used; the message is the reason that ``Skipped`` states."""


@dataclass(frozen=True)
class Decoded:
    """uint8 pixels (C, H, W), C = 1 where the image is grey or was asked to be, else 3; and the rules applied.

    ``own``: (height, width) before it was fitted, upright.
    """

    pixels: NDArray[np.uint8]
    rules: frozenset[Rule]
    own: tuple[int, int]


@dataclass(frozen=True)
class Reading:
    """How images are read.

    Attributes:
        frame: the size that they are fitted to, and how; None leaves them as large as they are.
        channels: 1 makes them grey; 3 and None leave grey images at one channel.
        layer: what is read of those with transparency.
        background: what transparency is laid over: a name or #rrggbb, as of ``data.background``.
    """

    frame: Frame | None = None
    channels: int | None = None
    layer: Layer = Layer.SEEN
    background: str = WHITE


def decode(
    path: Path | Part,
    size: Size | Frame | None,
    channels: int | None,
    layer: Layer = Layer.SEEN,
    background: str = WHITE,
) -> Decoded:
    """Read one image file; the arguments are those of `Reading`.

    Raises:
        UnreadableImage: it is no image, is damaged or truncated, or is too large.
    """
    reading = Reading(None if size is None else frame_of(size), channels, layer, background)
    try:
        match path:
            case Part():
                path = Held(path, path.read_bytes())
                source: Source = partial(path.open, "rb")
            case _:
                source = partial(_regular, path)
        source()
        try:
            return _of_file(path, source, reading)
        except (UnreadableImage, IncompleteImage, MemoryError):
            raise
        except Exception:  # of a PNG, what stands beside its pixels may be at fault
            core = png_core(path.read_bytes())
            if core is None:
                raise
            content, dropped = core
            unused = {Rule.PROFILE_UNUSED} if b"iCCP" in dropped else set[Rule]()
            return _of_file(path, lambda: io.BytesIO(content), reading, unused)
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # decoders answer damage with OSError, SyntaxError, ValueError, struct.error …
        raise UnreadableImage(_reason(path, error)) from error


def _regular(path: Path) -> Path:
    """The path. Raises UnreadableImage for a pipe, a folder or the like, and OSError."""
    if (found := irregular(path)) is not None:
        raise UnreadableImage(f"is {found}, not a regular file")
    return path


def try_decode(key: str, path: Path | Part, size: Frame, channels: int | None, background: str) -> Decoded | Skipped:
    """``decode``, with the reason as a value."""
    try:
        return decode(path, size, channels, background=background)
    except UnreadableImage as error:
        return Skipped(key, str(error))


def from_picture(
    image: Image.Image,
    size: Size | Frame | None,
    channels: int | None,
    layer: Layer = Layer.SEEN,
    background: str = WHITE,
) -> Decoded:
    """An image in memory, by the rules of `decode`. Raises UnreadableImage for floating-point pixels."""
    reading = Reading(None if size is None else frame_of(size), channels, layer, background)
    return _fitted(image, image.size, _hidden(image, None), reading, set(), None)


def notes_of(rules: Counter[Rule], count: int, frame: Frame | None, background: str) -> tuple[str, ...]:
    """What was done to how many of ``count`` images, one sentence a rule."""
    words = {"size": in_words(frame.height, frame.width), "done": frame.done} if frame else {}
    return tuple(
        f"{rules[rule]} of {count} images {rule.value.format(background=background, **words)}"
        for rule in Rule
        if rules[rule]
    )


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    """Of the formats read here those that this Pillow has."""
    optional = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}
    found = [name for name, feature in optional.items() if feature in features.get_supported()]
    return ("PNG", "JPEG", "BMP", "DIB", "TIFF", "GIF", "PPM", *found)


def _opened(source: Source) -> ImageFile:
    return Image.open(source(), formats=_formats())


def _of_file(path: Path | Part, source: Source, reading: Reading, rules: set[Rule] | None = None) -> Decoded:
    """``source``: the path, or the part of its bytes that is read."""
    with path.open("rb") as file:
        jpeg = JPEGStream(path.read_bytes()) if file.read(3) == b"\xff\xd8\xff" else None
    with Image.open(jpeg, formats=("JPEG",)) if jpeg else _opened(source) as image:
        own, frame, rules = image.size, reading.frame, rules or set()
        if frame is not None:  # a JPEG's own 2, 4 or 8-fold reduction, kept above twice that size, however it is turned
            image.draft(None, (2 * max(frame.height, frame.width),) * 2)
        width, height = image.size
        if width * height > LARGEST_PIXELS:
            raise UnreadableImage(
                f"{width}x{height} is {width * height / 1e6:.1f} million pixels, "
                f"more than the {LARGEST_PIXELS // 10**6} million read from one file; make it smaller"
            )
        low = None
        if _SIXTEEN_BIT_COLOUR.fullmatch(_packed(image)):
            rules.add(Rule.SIXTEEN_BIT)  # Pillow keeps the high byte of each channel
            low = partial(_low_bytes, source)
        with ROOM.taken(width * height):
            if image.format == "TIFF":
                check_tiff(_tags(image), path)
            alpha = _hidden(image, low)
            image.load()
            own = image.size if image.format == "TIFF" else own  # load() turns a TIFF by itself
            if jpeg is not None:
                jpeg.check()
            check_decoded(image, path)
            if image.format != "MPO" and getattr(image, "is_animated", False):
                rules.add(Rule.FIRST_FRAME)
            return _fitted(image, own, alpha, reading, rules, low)


def _resized(size: tuple[int, int], frame: Frame) -> set[Rule]:
    """Of a picture of ``size`` = (width, height)."""
    width, height = size
    if (height, width) == (frame.height, frame.width):
        return set()
    return {Rule.RESIZED, Rule.ENLARGED} if frame.enlarges(height, width) else {Rule.RESIZED}


def _fitted(
    image: Image.Image,
    own: tuple[int, int],
    alpha: Image.Image | None,
    reading: Reading,
    rules: set[Rule],
    low: LowBytes | None,
) -> Decoded:
    """What is seen of an image, in the size and channels asked for and upright; ``own``: its size in the file."""
    orientation, frame = _orientation(image), reading.frame
    fitted = _to_grey_or_rgb(image, alpha, reading, rules, low)
    seen = own if orientation in _TURNED else (own[1], own[0])
    if frame is not None:
        frame = frame.turned if orientation in _TURNED else frame
        rules |= _resized(own, frame)
        fitted = frame.fitted(fitted)
    if orientation in _UPRIGHT:
        fitted = fitted.transpose(_UPRIGHT[orientation])
    pixels = np.asarray(fitted)
    if pixels.ndim == 3 and all((pixels[..., 0] == pixels[..., k]).all() for k in (1, 2)):
        pixels = pixels[..., 0]
    if pixels.ndim == 3 and reading.channels == 1:
        rules.add(Rule.GREYED)
        pixels = np.asarray(fitted.convert("L"))
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return Decoded(pixels, frozenset(rules), seen)


def _orientation(image: Image.Image) -> int | None:
    """As the camera states it; None where that is unreadable. Of a loaded image: load() turns a TIFF by itself."""
    image.load()
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # damaged Exif raises almost anything, and pixels do not need it
        return None


def _to_grey_or_rgb(
    image: Image.Image, alpha: Image.Image | None, reading: Reading, rules: set[Rule], low: LowBytes | None
) -> Image.Image:
    """One layer of any mode -> "L" or "RGB"."""
    colours, own = _colours_and_alpha(image, rules)
    alpha = alpha or own
    if reading.layer is Layer.ALPHA:
        return alpha or Image.new("L", image.size, 255)
    seen_through = reading.layer is Layer.SEEN and alpha is not None and alpha.getextrema() != (255, 255)
    if low is not None and own is not None and seen_through:
        own = ((_wide(image, low).astype(np.int32) + 128) // 257).astype(np.uint8)
        colours, alpha = Image.fromarray(own[..., :3]), Image.fromarray(own[..., 3])
    colours = _in_srgb(colours, image, rules, low)
    if alpha is None or not seen_through:
        return colours
    rules.add(Rule.COMPOSITED)
    ground = Image.new("RGB", image.size, reading.background)
    ground.paste(colours, mask=alpha)
    return ground


def _colours_and_alpha(image: Image.Image, rules: set[Rule]) -> tuple[Image.Image, Image.Image | None]:
    """("L", "RGB", "CMYK", "LAB" or "I;16", "L" or None)."""
    if image.mode.startswith("I"):
        return _sixteen_bits(image, rules)
    if image.mode == "F":
        raise UnreadableImage("floating-point pixels have no fixed range; save it with 8 or 16 bits")
    if image.mode == "L" and 2 in _tags(image).get(_SAMPLE_FORMAT, ()):
        raise UnreadableImage("signed pixels have no fixed range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        whole = image if image.mode == "RGBA" else image.convert("RGBA")
        colours = whole.getchannel("R") if image.mode in ("L", "LA", "La", "1") else whole.convert("RGB")
        return colours, whole.getchannel("A")
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image, None
    return image.convert("L" if image.mode == "1" else "RGB"), None


def _sixteen_bits(image: Image.Image, rules: set[Rule]) -> tuple[Image.Image, Image.Image | None]:
    """Modes I;16, I;16B and I (16-bit values in 32-bit integers) -> I;16. Pillow's own conversion only clips at 255."""
    values = np.array(image, dtype=np.int32)
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableImage("32-bit pixels outside 0..65535 have no fixed range; save it with 8 or 16 bits")
    if _tags(image).get(_BITS) == (32,) and values.max() < 256:
        raise UnreadableImage("32-bit pixels of 0 to 255 may be of 8 or of 16 bits; save it with so many")
    rules.add(Rule.SIXTEEN_BIT)
    key = image.info.get("transparency")
    alpha = None if key is None else Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
    tags = _tags(image)
    if tags.get(_BITS) == (12,):
        values = (values * 65535 + 2047) // 4095
    if tags.get(_PHOTOMETRIC) == 0:  # white is 0, which Pillow minds with fewer bits alone
        values = 65535 - values
    return Image.fromarray(values.astype(np.uint16)), alpha


def _in_srgb(colours: Image.Image, image: Image.Image, rules: set[Rule], low: LowBytes | None) -> Image.Image:
    """The colours of ``image``, whose profile counts, as "L" or "RGB"."""
    grey, found = colours.mode == "I;16", None
    try:
        profile = colour.profile_of(image.info, "L" if grey else colours.mode)
        if profile and grey:
            table = colour.grey_table(profile)
            found = None if table is None else Image.fromarray(table[np.asarray(colours)])
        elif profile and low and colours.mode == "RGB":
            found = colour.wide_to_srgb(_wide(image, low)[..., :3], profile)
        elif profile:
            found = colour.to_srgb(colours, profile)
    except colour.UNUSABLE:
        rules.add(Rule.PROFILE_UNUSED)
    if found is not None:
        rules.add(Rule.CONVERTED)
        return found
    if grey:
        return Image.fromarray(((np.asarray(colours).astype(np.int32) + 128) // 257).astype(np.uint8))
    return colours if colours.mode in ("L", "RGB") else colours.convert("RGB")


def _packed(image: Image.Image) -> str:
    """How the pixels of an image that is not yet loaded lie in its file, as Pillow calls it; else ""."""
    tiles = getattr(image, "tile", ())
    return _first_word(str(tiles[0].args)) if tiles else ""


@lru_cache(maxsize=64)
def _first_word(of: str) -> str:
    return re.sub(r"\W*([\w;]*).*", r"\1", of)


def _low_bytes(source: Source) -> Image.Image:
    """The low bytes of 16-bit colours, of which Pillow reads the high ones."""
    with _opened(source) as image:
        packed = _packed(image)
        if packed == "LA;16B":
            image.tile = [tile._replace(args="RGBA") for tile in image.tile]
            _, grey, _, alpha = image.split()
            return Image.merge("RGBA", (grey, grey, grey, alpha))
        other = packed[:-1] + _OTHER_BYTE[packed[-1]]
        tiff = image.format == "TIFF"
        image.tile = [tile._replace(args=(other, *(tile.args or ())[1:]) if tiff else other) for tile in image.tile]
        return image.copy()


def _wide(image: Image.Image, low: LowBytes) -> NDArray[np.uint16]:
    """16-bit colours (H, W, C)."""
    return (np.asarray(image).astype(np.uint16) << 8 | np.asarray(low())).astype(np.uint16)


def _hidden(image: Image.Image, low: LowBytes | None) -> Image.Image | None:
    """What the colour that a PNG declares transparent leaves visible, where Pillow would compare it with other bits.

    ``image`` is not yet loaded. Greys of 2 and 4 bits are spread over 8 and the key is not; of 16-bit colours Pillow
    keeps the high bytes.
    """
    key, packed = image.info.get("transparency"), _packed(image)
    if image.format != "PNG" or key is None:
        return None
    match packed:
        case "L;2" | "L;4" | "L":
            image.info["transparency"] = key * {"L;2": 85, "L;4": 17, "L": 1}[packed] & 255
        case "RGB":
            image.info["transparency"] = tuple(part & 255 for part in key)
        case "RGB;16B":
            del image.info["transparency"]
            hidden = (np.asarray(image) == [part >> 8 for part in key]).all(-1)
            hidden &= low is None or (np.asarray(low()) == [part & 255 for part in key]).all(-1)
            return Image.fromarray(np.where(hidden, 0, 255).astype(np.uint8))
        case _:
            pass
    return None


def _tags(image: Image.Image) -> Any:
    """Of a TIFF; nothing of other files."""
    return getattr(image, "tag_v2", {})


def _reason(path: Path | Part, error: Exception) -> str:
    message = " ".join(str(error).split())
    match error:
        case IncompleteImage():
            return message
        case OSError(strerror=str(cause)) if cause:
            return f"cannot be read ({cause})"
        case _ if path.stat().st_size == 0:
            return "is an empty file"
        case UnidentifiedImageError():
            return _unidentified(path)
        case Image.DecompressionBombError():
            return f"has far more than the {LARGEST_PIXELS // 10**6} million pixels read from one file; make it smaller"
        case EOFError():
            truncated = True
        case _:
            truncated = "truncated" in message.lower()
    if truncated:
        return f"is truncated: the file ends before the image does ({message})"
    return f"is damaged ({message or type(error).__name__})"


def _unidentified(path: Path | Part) -> str:
    """Why no decoder takes a file: a format that is not read, or the answer of the one whose format it has."""
    Image.init()  # not all decoders are there before a file needs them
    with path.open("rb") as file:
        start = file.read(32)
        if start[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"ftyphevc"):
            return "is an HEIC image, which is not read here; convert it to JPEG or PNG"
        for name in _formats():
            opened, accepts = Image.OPEN[name]
            if len(start) < 32 or accepts is None or accepts(start) is not True:
                continue
            file.seek(0)
            try:
                opened(file, str(path)).close()
            except Exception as error:
                return f"is damaged, or a {name} of a kind not read here ({error}); save it anew, as an 8-bit PNG"
    return "is no image in a format read here, or is damaged at its start"

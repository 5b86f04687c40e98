"""Pictures of images: grids, grids side by side, neighbours, strips and animations.

Images are uint8 (N, C, H, W) with C = 1 (grey), 3 (RGB) or 4 (RGBA). Small ones are enlarged by a whole factor without
smoothing. Gaps are transparent and text is white on slate, so a picture suits light and dark pages.
"""

import io
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from sumi.errors import InputError, printable
from sumi.figures.files import EXIF_SOFTWARE, SOFTWARE, texts_of

Images = Tensor | NDArray[np.uint8]

MEGABYTE = 2**20
CELL = 96  # the least width in pixels at which an image is shown
TEXT = 15
CAPTIONED = 160  # the least width of an image with a caption that is as long
MOST_LINES = 6  # of a caption
LINE = TEXT + 8  # the height of a bar with one line of text
SLATE = (74, 80, 92, 255)
WHITE = (255, 255, 255, 255)
CLEAR = (0, 0, 0, 0)


def image_grid(
    images: Images,
    *,
    columns: int | None = None,
    scale: int | None = None,
    gap: int | None = None,
    captions: Sequence[str] | None = None,
) -> Image.Image:
    """Images (N, C, H, W) in rows of ``columns`` (default: a square), left to right and then down; RGBA.

    ``scale``: whole factor of enlargement (default: until the shorter side has 96 pixels); ``gap``: pixels between
    (default: a sixteenth of a cell); ``captions``: a text below each, in lines of the cell's width. Raises InputError
    for anything but uint8 images of 1, 3 or 4 channels.
    """
    if captions is not None and scale is None:
        least = max(CELL, min(CAPTIONED, max(map(_width, captions), default=0)))
        scale = math.ceil(least / np.asarray(images).shape[-1])
    cells = _cells(images, scale)
    columns = columns or math.ceil(math.sqrt(len(cells)))
    space = _gap(cells) if gap is None else gap
    parts = [slice(start, start + columns) for start in range(0, len(cells), columns)]
    rows = [
        _in_row(cells[part] if captions is None else _captioned(cells[part], captions[part]), space) for part in parts
    ]
    return _stacked(rows, space, centred=False)


def side_by_side(
    groups: Sequence[tuple[str, Images]],
    *,
    columns: int = 6,
    scale: int | None = None,
    gap: int | None = None,
    captions: Sequence[Sequence[str]] | None = None,
) -> Image.Image:
    """One grid for each (title, images), side by side, with titles above; ``captions``: as `image_grid`, of each."""
    below = [None] * len(groups) if captions is None else captions
    grids = [
        _titled(title, image_grid(images, columns=columns, scale=scale, gap=gap, captions=texts), above=True)
        for (title, images), texts in zip(groups, below, strict=True)
    ]
    return _in_row(grids, TEXT)


def strip(frames: Images, *, labels: Sequence[str] | None = None, scale: int | None = None) -> Image.Image:
    """Frames (N, C, H, W) of one image in a row, as it emerges from noise; ``labels`` go below the frames."""
    cells = _cells(frames, scale)
    if labels is not None:
        cells = [_titled(label, cell, above=False) for label, cell in zip(labels, cells, strict=True)]
    return _in_row(cells, _gap(cells))


def neighbours(
    samples: Images,
    nearest: Images,
    distances: Sequence[float],
    *,
    titles: tuple[str, str] = ("sample", "nearest"),
    columns: int = 8,
    scale: int | None = None,
) -> Image.Image:
    """Each sample above its nearest training image, with the distance between the two below; ``columns`` in a row."""
    pairs = zip(_cells(samples, scale), _cells(nearest, scale), distances, strict=True)
    cells = [_titled(f"{distance:.2f}", _stacked([a, b], 2), above=False) for a, b, distance in pairs]
    height = (cells[0].height - LINE - 2) // 2
    width = max(_width(title) for title in titles)
    margin = _stacked([_bar(title, width, height) for title in titles], 2)
    rows = [_in_row([margin, *cells[start : start + columns]], _gap(cells)) for start in range(0, len(cells), columns)]
    return _stacked(rows, TEXT, centred=False)


def film(frames: Sequence[tuple[str, Image.Image]], *, seconds: float) -> bytes:
    """An `animation` of pictures of one size, the title of each above it, on white: a viewer may leave what is below
    transparent places."""
    titled = [_titled(title, frame.convert("RGBA"), above=True) for title, frame in frames]
    white = Image.new("RGBA", titled[0].size, "white")
    return animation([Image.alpha_composite(white, frame).convert("RGB") for frame in titled], seconds=seconds)


def is_shown(images: Tensor) -> bool:
    """Whether images (…, C, H, W) are grey or in colour; anything of fewer axes is taken for values."""
    return images.ndim < 3 or images.shape[-3] in (1, 3)


def channels_apart(images: Tensor) -> Tensor:
    """(…, C, H, W) -> (…, 1, rows H, columns W): the channels beside each other in rows, as near to a square as goes;
    places left over are 0."""
    *first, channels, height, width = images.shape
    columns = math.ceil(channels**0.5)
    rows = math.ceil(channels / columns)
    filled = images.new_zeros(*first, rows * columns, height, width)
    filled[..., :channels, :, :] = images
    apart = filled.reshape(*first, rows, columns, height, width).transpose(-3, -2)
    return apart.reshape(*first, 1, rows * height, columns * width)


def png(picture: Image.Image, about: Mapping[str, object] | None = None) -> bytes:
    """The picture as a PNG file, with what it is ``about``, as samples have it."""
    file = io.BytesIO()
    info = PngInfo()
    for name, text in texts_of(about).items():
        info.add_text(name, text)
    picture.save(file, "PNG", optimize=True, pnginfo=info)
    return file.getvalue()


def animation(frames: Sequence[Image.Image], *, seconds: float = 3.0, hold: float = 2.0) -> bytes:
    """A looping animated WebP file: all ``frames`` (of one size) in ``seconds``, the last one held for ``hold``.

    Lossless, unless that takes more than a megabyte, as noisy photographs do.
    """
    if not frames:
        raise InputError("frames: there are none; give at least one")
    each = max(20, round(1000 * seconds / len(frames)))
    durations = [each] * (len(frames) - 1) + [each + round(1000 * hold)]
    exif = Image.Exif()
    exif[EXIF_SOFTWARE] = SOFTWARE

    def encoded(lossless: bool, quality: int) -> bytes:
        file = io.BytesIO()
        frames[0].save(
            file,
            "WEBP",
            save_all=True,
            append_images=frames[1:],
            duration=durations,
            loop=0,
            method=2,
            lossless=lossless,
            quality=quality,
            exif=exif,
        )
        return file.getvalue()

    exact = encoded(lossless=True, quality=20)
    return exact if len(exact) <= MEGABYTE else min(exact, encoded(lossless=False, quality=75), key=len)


def _cells(images: Images, scale: int | None) -> list[Image.Image]:
    """Each of images (N, C, H, W) as an enlarged RGBA picture."""
    array = np.asarray(images)
    if array.ndim != 4 or array.dtype != np.uint8 or array.shape[1] not in (1, 3, 4) or not len(array):
        raise InputError(
            f"images: have shape {array.shape} and type {array.dtype}; give uint8 (N, C, H, W) with C = 1, 3 or 4"
        )
    factor = scale or max(1, math.ceil(CELL / min(array.shape[2:])))
    enlarged = array.repeat(factor, 2).repeat(factor, 3).transpose(0, 2, 3, 1)
    if array.shape[1] == 1:
        enlarged = enlarged[..., 0]
    return [Image.fromarray(np.ascontiguousarray(image)).convert("RGBA") for image in enlarged]


def _gap(cells: Sequence[Image.Image]) -> int:
    return max(2, min(cells[0].size) // 16)


def _in_row(parts: Sequence[Image.Image], gap: int) -> Image.Image:
    picture = Image.new(
        "RGBA", (sum(part.width for part in parts) + gap * (len(parts) - 1), max(part.height for part in parts)), CLEAR
    )
    left = 0
    for part in parts:
        picture.paste(part, (left, 0))
        left += part.width + gap
    return picture


def _stacked(parts: Sequence[Image.Image], gap: int, *, centred: bool = True) -> Image.Image:
    width = max(part.width for part in parts)
    picture = Image.new("RGBA", (width, sum(part.height for part in parts) + gap * (len(parts) - 1)), CLEAR)
    top = 0
    for part in parts:
        picture.paste(part, ((width - part.width) // 2 if centred else 0, top))
        top += part.height + gap
    return picture


def _titled(title: str, picture: Image.Image, *, above: bool) -> Image.Image:
    bar = _bar(title, picture.width, LINE)
    return _stacked([bar, picture] if above else [picture, bar], 0)


def _captioned(cells: Sequence[Image.Image], captions: Sequence[str]) -> list[Image.Image]:
    each = [_lines(caption, cell.width) for caption, cell in zip(captions, cells, strict=True)]
    count = max(map(len, each))
    bars = [
        _stacked([_bar(line, cell.width, LINE).crop((0, 0, cell.width, LINE)) for line in lines], 0)
        for cell, lines in zip(cells, ([*lines, *[""] * (count - len(lines))] for lines in each), strict=True)
    ]
    return [_stacked([cell, bar], 0) for cell, bar in zip(cells, bars, strict=True)]


def _lines(text: str, width: int) -> list[str]:
    """``text`` in lines of up to ``width`` pixels and one word at least, `MOST_LINES` of them."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _width(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 1], f"{lines[MOST_LINES - 1]} …"]


@cache
def _font() -> ImageFont.FreeTypeFont:
    import matplotlib  # comes with a font that has Greek and accents; Pillow's own has neither

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", TEXT)


def _width(text: str) -> int:
    return math.ceil(_font().getlength(printable(text))) + 12


def _bar(text: str, width: int, height: int) -> Image.Image:
    """White text centred on a slate bar, at least as wide as ``width`` and as the text."""
    bar = Image.new("RGBA", (max(width, _width(text)), height), SLATE)
    ImageDraw.Draw(bar).text((bar.width / 2, height / 2), printable(text), fill=WHITE, font=_font(), anchor="mm")
    return bar

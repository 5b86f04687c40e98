"""Pictures to restore, from files and names; and what became of them, on disk.

Image files are read by the rules of `sumi.data.decode`, but are neither resized nor made grey. A mask is white (128 or
more of 255) where it is to be painted and black where pixels are kept; colours count by their luminance. Programs that
make masks with transparency differ in what they mean by it. What does not vary says nothing:

    alpha one value everywhere                        white is painted
    alpha varies, one colour everywhere, also hidden  transparent (alpha below 128) is painted
    both vary                                         refused: it may mean either
"""

from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from sumi.config import nearest
from sumi.data.decode import Decoded, Layer, Rule, UnreadableImage, decode
from sumi.data.files import save, write_images
from sumi.data.pixels import PixelRange
from sumi.errors import InputError, writing
from sumi.figures.pictures import CELL, png, side_by_side
from sumi.operators.convolution import gaussian_blur, motion_blur
from sumi.operators.jpeg import JPEG
from sumi.operators.linear import AnyOperator, Grey, composed
from sumi.operators.separable import bicubic, box

ROUNDING: Final = 2 / 255 / 12**0.5
"""The deviation of what rounding to bytes does to a picture in [-1, 1]."""
BYTES: Final = PixelRange()
PAINT: Final = ((235, 94, 40), (201, 66, 20))
"""The colours, in squares, of what is to be painted."""
OPERATORS: Final = {
    "blur": ("blur:STD", (1.0,)),
    "motion": ("motion:LENGTH:ANGLE", (5.0, 0.0)),
    "grey": ("grey", ()),
    "box": ("box:FACTOR", (2.0,)),
    "bicubic": ("bicubic:FACTOR", (2.0,)),
    "jpeg": ("jpeg:QUALITY", (20.0,)),
}
"""How each is written, and the numbers that are taken where they are left out."""


def find_operator(text: str, shape: tuple[int, int, int]) -> tuple[AnyOperator, tuple[int, int, int], float]:
    """The operator called NAME or NAME:NUMBER:… on pictures of ``shape``: itself, its pictures' shape, their noise.

    Of several, A+B, the first acts first. The noise is that of rounding where undoing the operator would enlarge it
    (blur), else 0. Raises InputError.
    """
    first, *then = text.split("+")
    operator, shape, noise = _find_one(first, shape)
    for name in then:
        after, shape, more = _find_one(name, shape)
        operator, noise = composed(after, operator), max(noise, more)
    return operator, shape, noise


def _find_one(text: str, shape: tuple[int, int, int]) -> tuple[AnyOperator, tuple[int, int, int], float]:
    name, *given = text.split(":")
    if name not in OPERATORS:
        raise InputError(f"operator: there is no {text}; {nearest(name, OPERATORS)}")
    form, usual = OPERATORS[name]
    try:
        numbers = [float(number) for number in given]
    except ValueError:
        numbers = [float("nan")]
    whole = name in ("box", "bicubic", "jpeg")
    if len(numbers) > len(usual) or not all(np.isfinite(v) and (not whole or v == int(v)) for v in numbers):
        raise InputError(f"operator: {text} is not of the form {form}, whose numbers are optional")
    first, second, *_ = (*numbers, *usual[len(numbers) :], 0.0, 0.0)
    channels, height, width = shape
    if name == "blur":
        return gaussian_blur(first), shape, ROUNDING
    if name == "motion":
        return motion_blur(first, second), shape, ROUNDING
    if name == "jpeg":
        if height % 8 or width % 8:
            raise InputError(
                f"operator: {text} needs sides that are multiples of 8, and the model's are {height} × {width}"
            )
        return JPEG(int(first)), shape, 0.0
    if name == "grey":
        if channels != 3:
            raise InputError(f"operator: {text} needs a model of colour images, and this one's are grey")
        return Grey(), (1, height, width), 0.0
    factor = int(first)
    operator = (box if name == "box" else bicubic)(height, width, factor)
    return operator, (channels, height // factor, width // factor), 0.0


def read_image(path: str, shape: tuple[int, int, int], what: str = "image", *, larger: bool = False) -> Tensor:
    """The picture in a file, float32 in [-1, 1], of ``shape`` or, where ``larger`` may be, with sides not below that.

    Raises InputError where it is of another shape.
    """
    decoded = _read(path, shape, what, larger)
    if Rule.GREYED in decoded.rules:
        raise InputError(f"{what}: {path}: has colours, and a grey image is needed; make it grey")
    pixels = decoded.pixels
    return BYTES.to_model(np.broadcast_to(pixels, (shape[0], *pixels.shape[1:])).copy())


def read_mask(path: str, size: tuple[int, int]) -> Tensor:
    """Where to paint, bool of ``size``: where the file is white, or transparent (module docstring).

    Raises InputError.
    """
    alpha = _read(path, (1, *size), "mask", layer=Layer.ALPHA).pixels[0]
    if not np.ptp(alpha):
        return torch.from_numpy(_read(path, (1, *size), "mask", layer=Layer.COLOUR).pixels[0] >= 128)
    colours = _read(path, (3, *size), "mask", layer=Layer.COLOUR).pixels
    if np.ptp(colours, axis=(1, 2)).any():
        raise InputError(
            f"mask: {path}: varies both in colour and in transparency, so it is ambiguous; save it without "
            "transparency, white where to paint"
        )
    return torch.from_numpy(alpha < 128)


def _read(
    path: str, shape: tuple[int, int, int], what: str, larger: bool = False, layer: Layer = Layer.SEEN
) -> Decoded:
    channels, height, width = shape
    try:
        decoded = decode(Path(path), None, channels, layer)
    except UnreadableImage as error:
        raise InputError(f"{what}: {path}: {error}; give an image file") from None
    except OSError as error:
        raise InputError(f"{what}: {path}: cannot be read ({error.strerror or error}); check the path") from None
    _, high, wide = decoded.pixels.shape
    if (high, wide) != (height, width) and not (larger and high >= height and wide >= width):
        wanted = f"this takes {width} × {height}" + (" and more" if larger else "")
        raise InputError(f"{what}: {path}: is of {wide} × {high} pixels, and {wanted}; make it that size")
    return decoded


def write_restored(
    folder: Path,
    image: Tensor,
    made: Tensor,
    about: Mapping[str, object],
    mask: Tensor | None = None,
    *,
    mean: bool = True,
) -> Path:
    """Write candidates ``made`` (n, C, H, W) as `write_images` does, and before-after.png; returns its path.

    Where there are more than one, also their ``mean`` as mean.png, unless it is not wanted.

    ``image`` (C', H', W') is what was given, shown enlarged to their size, and with what was ``mask``, bool (H, W),
    in orange. Raises InputError and SumiError as `write_images` does.
    """
    after = BYTES.to_bytes(made)
    write_images(folder, after, start=0, about=about)
    factor = made.shape[-1] // image.shape[-1]
    before = BYTES.to_bytes(image)[None].repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    scale = max(1, ceil(2 * CELL / made.shape[-1]))
    if mask is not None:
        before = before.expand(-1, 3, -1, -1).clone()
        before[0, :, mask] = marked(mask.shape)[:, mask]
    columns = ceil(len(made) ** 0.5) if len(made) > 6 else len(made)
    picture = side_by_side([("before", before), ("after", after)], columns=columns, scale=scale)
    with writing(folder):
        (folder / "before-after.png").write_bytes(png(picture))
        if mean and len(made) > 1:
            save(folder / "mean.png", BYTES.to_bytes(made.mean(0)), {**about, "index": 0, "count": len(made)})
    return folder / "before-after.png"


def marked(size: tuple[int, ...]) -> Tensor:
    """Squares of two colours, uint8 (3, *size), of about an eighth of a side."""
    height, width = size
    side = max(1, min(size) // 16)
    odd = (torch.arange(height)[:, None] // side + torch.arange(width) // side) % 2
    light, dark = (torch.tensor(colour, dtype=torch.uint8)[:, None, None] for colour in PAINT)
    return torch.where(odd == 1, dark, light)

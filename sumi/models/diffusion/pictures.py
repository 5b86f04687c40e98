"""Pictures to restore, from files and names; and what became of them, on disk.

Image files are read by the rules of `sumi.data.decode`, and fitted where a frame is given. A mask is white (128 or
more of 255) where it is to be painted and black where pixels are kept; colours count by their luminance. Programs that
make masks with transparency differ in what they mean by it. What does not vary says nothing:

    alpha one value everywhere                        white is painted
    alpha varies, one colour everywhere, also hidden  transparent (alpha below 128) is painted
    both vary                                         refused: it may mean either
"""

import os
from collections.abc import Callable, Mapping
from math import ceil
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sumi.boundary.arguments import tensor
from sumi.boundary.config import nearest
from sumi.data.decode import Layer
from sumi.data.files import is_made, save, write_images
from sumi.data.frame import WHITE, Frame, in_words
from sumi.data.items import BYTES, Given, decoded_picture, read_picture, shown_picture
from sumi.errors import InputError
from sumi.figures.files import write_picture
from sumi.figures.pictures import CELL, png, side_by_side
from sumi.operators.convolution import gaussian_blur, motion_blur
from sumi.operators.jpeg import JPEG
from sumi.operators.linear import AnyOperator, Grey, composed
from sumi.operators.separable import bicubic, box

ROUNDING: Final = 2 / 255 / 12**0.5
"""The deviation of what rounding to bytes does to a picture in [-1, 1]."""
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
    try:
        operator, shape, noise = _find_one(first, shape)
        for name in then:
            after, shape, more = _find_one(name, shape)
            operator, noise = composed(after, operator), max(noise, more)
    except InputError as error:
        why = str(error).removeprefix("operator: ")
        raise InputError(f"operator: {why}" if why != str(error) else f"operator: {text}: {why}") from None
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


def read_image(
    path: str,
    shape: tuple[int, int, int],
    what: str = "image",
    *,
    larger: bool = False,
    frame: Frame | None = None,
    background: str = WHITE,
) -> Given:
    """The picture in a file, float32 in [-1, 1], of ``shape`` or, where ``larger`` may be, with sides not below that.

    ``frame``, ``background``: as of `read_items`. Raises InputError where it is of another shape.
    """
    image = read_picture(what, path, shape, frame=frame, background=background)
    _check_sides(path, (image.x.shape[1], image.x.shape[2]), shape, what, larger)
    return image


def read_mask(given: object, size: tuple[int, int]) -> Tensor:
    """Where to paint, bool of ``size``: where the file or PIL image is white, or transparent (module docstring).

    Of an array or tensor, (H, W) with or without an axis of one channel: where it is True, or 1, or 255 of uint8, with
    0 elsewhere. Raises InputError.
    """
    match given:
        case str() | os.PathLike() | Image.Image():
            return _of_picture(given, size)
        case _:
            mask = tensor("mask", given)
    if mask.dtype != torch.bool:
        white = 255 if mask.dtype == torch.uint8 and bool((mask == 255).any()) else 1
        if not bool(((mask == 0) | (mask == white)).all()):
            raise InputError("mask: has values other than two; give booleans, True where it is to be painted")
        mask = mask == white
    if mask.ndim == 3:
        mask = mask.squeeze(0) if mask.shape[0] == 1 else mask.squeeze(-1)
    if tuple(mask.shape) != size:
        raise InputError(f"mask: is of shape {tuple(mask.shape)}; the model takes {size} here")
    return mask


def read_mask_of(given: object, image: Given, frame: Frame | None) -> Tensor:
    """The mask of an ``image`` as `read_mask` reads it, fitted with it to ``frame``. Raises InputError."""
    mask, (height, width) = read_mask(given, image.own), image.x.shape[-2:]
    return mask if frame is None or image.own == (height, width) else torch.from_numpy(frame.fitted_mask(mask.numpy()))


def _of_picture(given: object, size: tuple[int, int]) -> Tensor:
    alpha = _pixels(given, (1, *size), Layer.ALPHA)[0]
    if not np.ptp(alpha):
        return torch.from_numpy(_pixels(given, (1, *size), Layer.COLOUR)[0] >= 128)
    if np.ptp(_pixels(given, (3, *size), Layer.COLOUR), axis=(1, 2)).any():
        raise InputError(
            f"mask: {shown_picture(given)}varies both in colour and in transparency, so it is ambiguous; save it "
            "without transparency, white where to paint"
        )
    return torch.from_numpy(alpha < 128)


def _pixels(given: object, shape: tuple[int, int, int], layer: Layer) -> NDArray[np.uint8]:
    pixels = decoded_picture("mask", given, shape[0], layer).pixels
    _check_sides(given, (pixels.shape[1], pixels.shape[2]), shape, "mask")
    return pixels


def _check_sides(
    given: object, found: tuple[int, int], shape: tuple[int, int, int], what: str, larger: bool = False
) -> None:
    (high, wide), (_, height, width) = found, shape
    if (high, wide) != (height, width) and not (larger and high >= height and wide >= width):
        wanted = f"this takes {in_words(height, width)}" + (" and more" if larger else "")
        place = shown_picture(given)
        raise InputError(f"{what}: {place}is of {in_words(high, wide)} pixels, and {wanted}; make it that size")


def write_restored(
    folder: Path,
    image: Tensor,
    made: Tensor,
    about: Mapping[str, object],
    mask: Tensor | None = None,
    *,
    mean: bool = True,
    each: Callable[[int], Mapping[str, object]] | None = None,
) -> Path:
    """Write candidates ``made`` (n, C, H, W) as `write_images` does, and before-after.png; returns its path.

    Where there are more than one, also their ``mean`` as mean.png, unless it is not wanted.

    ``image`` (C', H', W') is what was given, shown enlarged to their size, and with what was ``mask``, bool (H, W),
    in orange. ``each``: what is known of one by its index. Raises InputError and SumiError as `write_images` does.
    """
    after = BYTES.to_bytes(made)
    write_images(folder, after, start=0, about=about, each=each)
    factor = made.shape[-1] // image.shape[-1]
    before = BYTES.to_bytes(image)[None].repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    scale = max(1, ceil(CELL / made.shape[-1]))
    if mask is not None:
        before = before.expand(-1, 3, -1, -1).clone()
        before[0, :, mask] = marked(mask.shape)[:, mask]
    columns = ceil(len(made) ** 0.5) if len(made) > 6 else len(made)
    picture = side_by_side([("before", before), ("after", after)], columns=columns, scale=scale)
    if mean and len(made) > 1:
        save(folder / "mean.png", BYTES.to_bytes(made.mean(0)), {**about, "index": 0, "count": len(made)})
    return write_picture(folder / "before-after.png", png(picture))


def write_reconstruction(folder: Path, image: Tensor, made: Tensor, about: Mapping[str, object]) -> Path:
    """Write ``made`` (C, H, W) as NAME.png, and NAME-before-after.png; returns the path of that.

    ``image``: what was given; ``about["image"]`` is its path, whose name is taken. Raises InputError and SumiError as
    `write_images` does.
    """
    file = folder / f"{Path(str(about['image'])).stem}.png"
    is_made(file, about)  # or refused
    before, after = BYTES.to_bytes(image), BYTES.to_bytes(made)
    save(file, after, about)
    picture = side_by_side([("before", before[None]), ("after", after[None])], columns=1)
    return write_picture(file.with_name(f"{file.stem}-before-after.png"), png(picture))


def marked(size: tuple[int, ...]) -> Tensor:
    """Squares of two colours, uint8 (3, *size), of about an eighth of a side."""
    height, width = size
    side = max(1, min(size) // 16)
    odd = (torch.arange(height)[:, None] // side + torch.arange(width) // side) % 2
    light, dark = (torch.tensor(colour, dtype=torch.uint8)[:, None, None] for colour in PAINT)
    return torch.where(odd == 1, dark, light)

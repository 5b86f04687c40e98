"""Items that a person gives to a model, as it takes them: float32 on the CPU.

    a path, or a PIL image         by the rules of `sumi.data.decode`, in the model's channels
    a NumPy array of uint8         pixels 0 … 255, as files hold them: x = 2 k/255 - 1
    a tensor, an array of floats   the model's own range, [-1, 1] for images
    a list of these                many items, of one size

Pictures (paths, PIL images and NumPy arrays of uint8) that have another size than the model's, or colours where it has
none, are fitted to it as its training images were (`sumi.data.frame`); what is given in the model's own range is taken
as it is.

An image's first axis is its channels where it is as long as the model has channels, else the last one is; a grey image
may go without. Whole numbers in a tensor, of other types in an array, values out of range, infinite ones and NaN are
refused.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sumi.boundary.arguments import finite, tensor, unmasked
from sumi.data.decode import Decoded, Layer, Rule, UnreadableImage, decode, from_picture
from sumi.data.frame import WHITE, Frame
from sumi.data.pixels import PixelRange
from sumi.errors import InputError

Item = str | os.PathLike[str] | Image.Image | Tensor | NDArray[Any]
Items = Item | Sequence[Item]
BYTES: Final = PixelRange()
ROUNDING: Final = 1e-3
"""How far beyond its range a value may lie."""


@dataclass(frozen=True, eq=False)
class Given:
    """An image as the model takes it.

    Attributes:
        x: float32 (C, H, W) in [-1, 1].
        own: (height, width) before it was fitted.
        done: what was done to it, in words; "" where it is as it was given.
    """

    x: Tensor
    own: tuple[int, int]
    done: str = ""


def read_picture(
    name: str, given: object, shape: tuple[int, ...], *, frame: Frame | None = None, background: str = WHITE
) -> Given:
    """One image (module docstring). Without a ``frame`` it may have any sides, and must be grey for a grey model.

    Raises InputError, which begins with ``name``.
    """
    match given:
        case str() | os.PathLike() | Image.Image():
            pass
        case np.ndarray() if frame is not None and given.dtype == np.uint8 and shape[0] in (1, 3):
            given = _as_picture(name, given, shape[0])
        case _:
            x = _image(name, given, shape[0], True)
            return Given(x, (x.shape[-2], x.shape[-1]) if x.ndim > 1 else (0, 0))
    if shape[0] not in (1, 3):
        raise InputError(
            f"{name}: {shown_picture(given)}a picture has 1 or 3 channels, the model's images have {shape[0]}; give "
            "an array or tensor in [-1, 1], in Python"
        )
    decoded = decoded_picture(name, given, shape[0], frame=frame, background=background)
    if Rule.GREYED in decoded.rules and frame is None:
        raise InputError(f"{name}: {shown_picture(given)}has colours, and a grey image is needed; make it grey")
    done = [frame.done_to(*decoded.own)] if frame is not None and Rule.RESIZED in decoded.rules else []
    done += ["made grey"] if Rule.GREYED in decoded.rules else []
    done += ["made colour"] if frame is not None and len(decoded.pixels) < shape[0] else []
    pixels = torch.from_numpy(decoded.pixels.copy())
    x = BYTES.to_model(pixels.expand(shape[0], -1, -1).contiguous())
    return Given(x, decoded.own, " and ".join(done))


def read_items(
    name: str,
    given: object,
    shape: tuple[int, ...],
    *,
    bounded: bool = True,
    frame: Frame | None = None,
    background: str = WHITE,
) -> Tensor:
    """One item of ``shape``, or (N, …) where there are many (module docstring); an image may have other sides.

    ``bounded``: whether images must be in [-1, 1]; a measurement need not be. ``frame``: what pictures are fitted to;
    None leaves them as they are. ``background``: what the transparency of pictures is laid over, ``data.background``
    of the model's run. Raises InputError, which begins with ``name``.
    """
    match given:
        case list() | tuple() if given and all(map(_is_item, given)):
            items = [
                read_items(name, item, shape, bounded=bounded, frame=frame, background=background) for item in given
            ]
            if len({item.shape for item in items}) > 1:
                sizes = ", ".join(sorted({str(tuple(item.shape)) for item in items}))
                raise InputError(f"{name}: are of shapes {sizes}; give items of one shape")
            return torch.stack(items)
        case str() | os.PathLike() | Image.Image() if len(shape) == 3:
            return read_picture(name, given, shape, frame=frame, background=background).x
        case np.ndarray() if frame is not None and given.dtype == np.uint8 and shape[0] in (1, 3):
            if given.ndim < 4:
                return read_picture(name, given, shape, frame=frame, background=background).x
            return torch.stack([read_picture(name, one, shape, frame=frame, background=background).x for one in given])
        case _:
            return _image(name, given, shape[0], bounded) if len(shape) == 3 else finite(name, given).cpu()


def decoded_picture(
    name: str,
    given: object,
    channels: int,
    layer: Layer = Layer.SEEN,
    *,
    frame: Frame | None = None,
    background: str = WHITE,
) -> Decoded:
    """The pixels of a path or a PIL image. Raises InputError for what cannot be read, naming the file."""
    try:
        match given:
            case Image.Image():
                return from_picture(given, frame, channels, layer, background)
            case _:
                return decode(Path(str(given)), frame, channels, layer, background)
    except UnreadableImage as error:
        raise InputError(f"{name}: {shown_picture(given)}{error}; give an image file") from None
    except OSError as error:
        why = f"cannot be read ({error.strerror or error}); check the path"
        raise InputError(f"{name}: {shown_picture(given)}{why}") from None


def _as_picture(name: str, given: NDArray[np.uint8], channels: int) -> Image.Image:
    """Pixels (H, W), (H, W, C), (C, H, W) or, with transparency, (H, W, 4)."""
    unmasked(name, given)
    pixels = given
    if given.ndim == 3:
        first, last = given.shape[0], given.shape[2]
        ahead = first == channels or (last != channels and first in (1, 3))
        pixels = given.transpose(1, 2, 0) if ahead else given
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)) or not pixels.size:
        raise InputError(f"{name}: is of shape {given.shape}; give (H, W), (H, W, 3), (3, H, W) or (H, W, 4)")
    return Image.fromarray(np.ascontiguousarray(pixels))


def shown_picture(given: object) -> str:
    """ "PATH: " of a file; nothing of an image in memory."""
    match given:
        case Image.Image():
            return ""
        case _:
            return f"{given}: "


def _is_item(value: object) -> bool:
    match value:
        case str() | os.PathLike() | Image.Image():
            return True
        case _:
            return getattr(value, "ndim", 0) > 0


def _image(name: str, given: object, channels: int, bounded: bool) -> Tensor:
    """The pixels of an array in the model's range, channels before sides."""
    x = tensor(name, given).cpu()
    match given, x.dtype:
        case _, dtype if dtype.is_floating_point:
            x = finite(name, x)
        case Tensor(), dtype:
            raise InputError(
                f"{name}: is a tensor of {dtype}, and tensors are in [-1, 1]; convert pixels 0 to 255 with x / 127.5 - "
                "1, or give a NumPy array of uint8"
            )
        case _, torch.uint8:
            x = BYTES.to_model(x)
        case _, dtype:
            raise InputError(f"{name}: {dtype} is not a type of pixels; give uint8, or floats in [-1, 1]")
    if bounded and x.numel() and float(x.abs().max()) > 1 + ROUNDING:
        low, high = float(x.min()), float(x.max())
        raise InputError(
            f"{name}: values from {low:g} to {high:g} are beyond [-1, 1]; convert pixels 0 to 255 with x / 127.5 - 1"
        )
    if x.ndim not in (2, 3, 4) or (x.ndim > 2 and x.shape[-3] == channels):
        return x
    if x.ndim > 2 and x.shape[-1] == channels:
        return x.movedim(-1, -3).contiguous()
    return x.unsqueeze(-3) if channels == 1 and x.ndim < 4 else x

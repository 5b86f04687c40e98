"""Colours of any stated space -> sRGB, by LittleCMS.

What a file states counts in this order: an ICC profile; "sRGB"; a PNG's gamma g (a sample v stands for light v^(1/g))
and the chromaticities of its white and its primaries, of which a profile is made (ICC.1:2022, adapted to D50 by
Bradford's matrix). A gamma within 5 % of 1/2.2, with sRGB's primaries or none, is sRGB, as in libpng. Where a
conversion would change no colour by more than 2 of 255 the pixels stay as they are.
"""

import io
import struct
from collections.abc import Mapping
from functools import lru_cache
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.ImageCms import Flags, ImageCmsProfile, ImageCmsTransform, Intent

UNUSABLE: Final = (ImageCms.PyCMSError, OSError, ValueError)
"""What a profile raises that is damaged, or is for other colours than the image's."""

_SAME = 2
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])
_SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}


def profile_of(info: Mapping[Any, Any], mode: str) -> bytes | None:
    """The profile that a file's ``info`` states for an image of ``mode``; None where that is sRGB or nothing is stated.

    Raises ValueError for a profile that could not be read.
    """
    if mode == "LAB":
        return _lab()
    if "icc_profile" in info:
        if not info["icc_profile"]:
            raise ValueError("the profile is damaged")
        return info["icc_profile"]
    gamma, primaries = info.get("gamma"), None if mode == "L" else info.get("chromaticity")
    if "srgb" in info or not (gamma or primaries):
        return None
    if (not gamma or abs(2.2 * gamma - 1) < 0.05) and np.allclose(primaries or _SRGB, _SRGB, atol=0.002):
        return None
    curve = (1 / gamma, 1.0, 0.0, 0.0, 0.0) if gamma else _SRGB_CURVE
    return _made(curve, tuple(primaries or _SRGB), mode == "L")


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    """An image "L", "RGB", "CMYK" or "LAB" as "L" or "RGB" of sRGB; None where it is that already. Raises UNUSABLE."""
    space = _space(profile)
    if image.mode == "RGB" and space == "L" and all(image.getchannel(k) == image.getchannel(0) for k in (1, 2)):
        image = image.getchannel(0)  # greys that were written as colours
    if image.mode == "L":
        table = grey_table(profile)
        return None if table is None else image.point(table[::257].tolist())
    if image.mode != space:
        raise ValueError(f"a profile for {space} does not fit {image.mode}")
    transform = _transform(profile)
    return None if transform is None else transform.apply(image)


def wide_to_srgb(values: NDArray[np.uint16], profile: bytes) -> Image.Image | None:
    """As `to_srgb`, of 16-bit colours (H, W, 3): linear between the conversions of their neighbours of 8 bits."""
    if _space(profile) != "RGB":
        raise ValueError("a profile for other colours does not fit RGB")
    transform = _transform(profile)
    if transform is None:
        return None
    below = np.minimum(values // 257, 254).astype(np.uint8)
    start = np.asarray(transform.apply(Image.fromarray(below))).astype(np.float32)
    found = start.copy()
    for channel in range(3):
        above = below.copy()
        above[..., channel] += 1
        change = np.asarray(transform.apply(Image.fromarray(above))) - start
        found += change * (values[..., channel, None] / np.float32(257) - below[..., channel, None])
    return Image.fromarray(found.round().clip(0, 255).astype(np.uint8))


@lru_cache(maxsize=16)
def grey_table(profile: bytes) -> NDArray[np.uint8] | None:
    """The sRGB grey of each of 65536 values, uint8; None where that is the value itself. Raises UNUSABLE."""
    ramp = np.arange(65536)
    if _space(profile) == "L":
        image = Image.fromarray(ramp.astype(np.uint16).reshape(256, 256))
        found = np.asarray(_built(profile, "I;16", Flags.NOOPTIMIZE).apply(image))[..., 1].reshape(-1)
    else:
        image = Image.merge("RGB", [Image.fromarray(np.arange(256, dtype=np.uint8)[None])] * 3)
        found = np.asarray(_built(profile, "RGB", Flags.NOOPTIMIZE).apply(image).convert("L"))[0]
        found = np.round(np.interp(ramp / 257, np.arange(256), found)).astype(np.uint8)
    change = np.abs(found - ramp / 257).max()
    return None if change <= _SAME + 0.5 else found


@lru_cache(maxsize=16)
def _transform(profile: bytes) -> ImageCmsTransform | None:
    space = _space(profile)
    transform = _built(profile, space, Flags.NOOPTIMIZE if space == "LAB" else Flags.HIGHRESPRECALC)
    if space == "RGB":
        colours = np.array(list(product(range(0, 256, 15), repeat=3)), np.uint8)[None]
        found = np.asarray(transform.apply(Image.fromarray(colours)))
        if np.abs(found.astype(int) - colours).max() <= _SAME:
            return None
    return transform


def _built(profile: bytes, mode: str, flags: Flags) -> ImageCmsTransform:
    made = ImageCms.buildTransform(
        _opened(profile), ImageCms.createProfile("sRGB"), mode, "RGB", Intent.PERCEPTUAL, flags
    )
    if made is None:
        raise ValueError("no conversion can be made of the profile")
    return made


def _opened(profile: bytes) -> ImageCmsProfile:
    return ImageCmsProfile(io.BytesIO(profile))


def _space(profile: bytes) -> str:
    """The mode of images whose colours the profile describes."""
    return _MODES.get(_opened(profile).profile.xcolor_space, "none read here")


@lru_cache(maxsize=1)
def _lab() -> bytes:
    return ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


@lru_cache(maxsize=16)
def _made(curve: tuple[float, ...], chromaticities: tuple[float, ...], grey: bool) -> bytes:
    """A display's ICC profile of one curve, Y = (a X + b)^g for X >= d, else c X, with ``curve`` = (g, a, b, c, d).

    ``chromaticities``: x, y of white, red, green and blue.
    """
    points = np.array(chromaticities).reshape(4, 2)
    white, *primaries = np.column_stack([points, 1 - points.sum(1)]) / np.maximum(points[:, 1:], 1e-9)
    columns = np.array(primaries).T
    columns = columns * np.linalg.solve(columns, white)
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ _D50 / (_BRADFORD @ white)) @ _BRADFORD
    tags = {b"wtpt": b"XYZ \0\0\0\0" + _fixed(_D50)}
    bent = b"para\0\0\0\0\0\3\0\0" + _fixed(curve)
    for name, column in zip((b"r", b"g", b"b"), (adapted @ columns).T, strict=True):
        tags |= {} if grey else {name + b"XYZ": b"XYZ \0\0\0\0" + _fixed(column), name + b"TRC": bent}
    tags |= {b"kTRC": bent} if grey else {}
    table, body = b"", b""
    for name, data in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data
    space = b"GRAY" if grey else b"RGB "
    rest = b"\0\0\0\0\4\x20\0\0mntr" + space + b"XYZ " + bytes(12) + b"acsp" + bytes(28) + _fixed(_D50) + bytes(48)
    return struct.pack(">I", 132 + len(table) + len(body)) + rest + struct.pack(">I", len(tags)) + table + body


def _fixed(values: Any) -> bytes:
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)

"""Arrays of numbers, in memory or in .npy and .npz files. Their axes say what they hold:

    (N, H, W), (N, H, W, C), (N, C, H, W)    images of C channels
    (N, D), (N,)                             vectors, or bits; with data.symbols symbols (`sumi.data.symbols`)

Of an image's two ends the channels are the one of length 1 or 3, else the one shorter than all other sides. Its values
are L levels k between the two ends of a range,

    value = low + (high - low) k / (L - 1),

    uint8, uint16     from 0 to 255 or 65,535, each value a level, where data.range is left out
    whole numbers     L = high - low + 1: each value a level, up to 65,536 of them
    floats            L = 65,536: the nearest level, (high - low)/131,070 away at most
"""

import zlib
from collections.abc import Iterable
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from sumi.boundary.config import nearest
from sumi.data import symbol_files, vectors
from sumi.data.config import DataConfig
from sumi.data.dataset import Classes, Dataset, Progress, few, indexed
from sumi.data.image_set import from_images, from_levels
from sumi.data.images import ImageSpec
from sumi.data.memory import require_memory
from sumi.data.pixels import MOST_LEVELS
from sumi.data.spec import DataSpec
from sumi.errors import InputError

_UNREADABLE: Final = (OSError, ValueError, EOFError, MemoryError, SyntaxError, TokenError, BadZipFile, zlib.error)
"""What numpy.load raises of damaged files."""
_CHUNK: Final = 256


def from_array(
    array: NDArray[Any],
    config: DataConfig,
    what: str,
    *,
    classes: Classes = (None, ()),
    progress: Progress | None = None,
) -> Dataset:
    """The data set of an array, called ``what`` in errors; ``classes``: of images, as `indexed` gives them.

    Raises InputError for an array that holds neither images nor vectors, and for values out of range.
    """
    if config.symbols:
        return symbol_files.from_integers(array, config, what)
    if not _holds_images(array):
        return vectors.from_numbers(array, config, what)
    if len(array) < 2:
        raise InputError(f"data.source: {what} holds {len(array)} image(s); at least 2 images are needed")
    levels, ends = _scale(array, config, what)
    found = channels_first(array, what)
    require_memory(len(found), found.shape[1:], config.source, itemsize=1 if levels <= 256 else 2)
    images = _levels(found, levels, ends, what)
    keys = tuple(f"row/{i:07d}" for i in range(len(images)))
    if levels == 256 and ends is None and images.shape[1] in (1, 3):
        return from_images(images, *classes, keys, config, progress=progress)
    return from_levels(images, *classes, keys, config, levels, ends, _coarse(images, config, what))


def outline(array: NDArray[Any], config: DataConfig, what: str) -> DataSpec:
    """What an array holds: images, vectors or bits. Raises InputError as `from_array` does, but for its values."""
    if config.symbols:
        return symbol_files.from_integers(array, config, what).spec
    if not _holds_images(array):
        return vectors.outline(array)
    levels, ends = _scale(array, config, what)
    _, channels, height, width = channels_first(array, what).shape
    return ImageSpec(channels, height, width, levels, (), ends)


def channels_first(array: NDArray[Any], what: str) -> NDArray[Any]:
    """(N, H, W), (N, H, W, C) or (N, C, H, W) as (N, C, H, W) (module docstring). Raises InputError."""
    if array.ndim == 3:
        return array[:, None]
    _, first, middle, last = array.shape
    if (first in (1, 3)) != (last in (1, 3)):
        at_front = first in (1, 3)
    elif first not in (1, 3) and min(first, last) < middle and first != last:
        at_front = first < last
    else:
        raise InputError(
            f"data.source: {what} is of shape {array.shape}, and either end may be its channels; give (N, H, W, C) "
            "with C smaller than height and width"
        )
    return array if at_front else array.transpose(0, 3, 1, 2)


def load_array(path: Path, config: DataConfig, *, progress: Progress | None = None) -> Dataset:
    """The data set of a .npy or .npz file. Raises InputError where it cannot be read, and as `from_array` does."""
    array, labels = _read(path, config)
    classes = indexed(labels.tolist()) if labels is not None else (None, ())
    return from_array(array, config, str(path), classes=classes, progress=progress)


def outline_of_file(path: Path, config: DataConfig) -> DataSpec:
    """As `outline`, of a .npy or .npz file. Raises InputError."""
    return outline(_read(path, config)[0], config, str(path))


def matched(labels: NDArray[Any], count: int) -> NDArray[Any]:
    """``labels`` (N,) or (N, 1) of so many images, (N,). Raises InputError."""
    flat = labels.reshape(-1) if labels.shape == (len(labels), 1) else labels
    if flat.ndim != 1 or flat.dtype.kind not in "iuUb":
        raise InputError(f"data: labels are {labels.dtype} {labels.shape}; give one number or name for each image")
    if len(flat) != count:
        raise InputError(f"data: has {count} images and {len(flat)} labels; give one label for each image")
    return flat


def _holds_images(array: NDArray[Any]) -> bool:
    return array.ndim in (3, 4) and array.dtype.kind in "fiub" and array.size > 0


def _scale(array: NDArray[Any], config: DataConfig, what: str) -> tuple[int, tuple[float, float] | None]:
    """(levels, range) of an array of images; no range where values and levels are the same."""
    size = array.dtype.itemsize
    match config.range:
        case None if array.dtype.kind == "u" and size <= 2:
            return 256**size, None
        case None:
            raise InputError(
                f"data.range: {what} holds images of {array.dtype}, {_seen(array)}; state their lowest and highest "
                "possible values, such as data.range=0,1"
            )
        case (first, last):
            low, high = float(first), float(last)
    count = high - low + 1
    if array.dtype.kind != "f" and low.is_integer() and high.is_integer() and count <= MOST_LEVELS:
        return int(count), None if low == 0 and count in (256, MOST_LEVELS) else (low, high)
    return MOST_LEVELS, (low, high)


def _levels(images: NDArray[Any], levels: int, ends: tuple[float, float] | None, what: str) -> NDArray[Any]:
    """The level of each value, uint8 or uint16, in an array of its own. Raises InputError."""
    low, high = ends or (0, levels - 1)
    slack = (high - low) / (levels - 1) / 2
    found = np.empty(images.shape, np.uint8 if levels <= 256 else np.uint16)
    for first in range(0, len(images), _CHUNK):
        part = images[first : first + _CHUNK].astype(np.float64)
        broken = np.flatnonzero(~np.isfinite(part).all((1, 2, 3)))
        if len(broken):
            raise InputError(
                f"data.source: {what} has NaN or infinite values in image {first + broken[0]}; remove such images"
            )
        if part.min() < low - slack or part.max() > high + slack:
            raise InputError(
                f"data.range: {what} holds values {_seen(images)}, beyond {low:g} to {high:g}; give a range that holds "
                "them"
            )
        found[first : first + _CHUNK] = np.round((part - low) * ((levels - 1) / (high - low))).clip(0, levels - 1)
    return found


def _seen(array: NDArray[Any]) -> str:
    """The lowest and the highest value, but for NaN."""
    return f"from {float(np.fmin.reduce(array, axis=None)):g} to {float(np.fmax.reduce(array, axis=None)):g}"


def _coarse(images: NDArray[Any], config: DataConfig, what: str) -> tuple[str, ...]:
    """A note where values of 16 bits use less than half of these."""
    most = int(images.max())
    if config.range is not None or images.dtype != np.uint16 or 2 * most >= MOST_LEVELS:
        return ()
    return (f"{what} goes up to {most} of 65535: data.range=0,{2 ** most.bit_length() - 1} makes more of its contrast",)


def _read(path: Path, config: DataConfig) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """The array of a file, which is read as it is used, and the labels where it has some."""
    try:
        found = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
        match found:
            case np.ndarray():
                _refuse_names(path, config)
                return found, None
            case archive:
                with archive:
                    name = _named("array", config.array, ("images", "arr_0"), archive.files, path)
                    array = archive[name]
                    labels = _named("labels", config.labels, ("labels", "arr_1"), archive.files, path)
                    if not labels or labels == name or not _holds_images(array):
                        return array, None
                    return array, matched(archive[labels], len(array))
    except InputError:
        raise
    except _UNREADABLE as error:
        why = " ".join(str(error).split())  # some of NumPy's are several lines
        with_what = "numpy.save" if path.suffix == ".npy" else "numpy.savez"
        raise InputError(
            f"data.source: {path} cannot be read as {path.suffix} ({why}); save it with {with_what}"
        ) from None


def _refuse_names(path: Path, config: DataConfig) -> None:
    for field in ("array", "labels"):
        if getattr(config, field) is not None:
            raise InputError(f"data.{field}: {path} holds one array, which has no name; leave it out, or give an .npz")


def _named(
    field: Literal["array", "labels"], given: str | None, usual: Iterable[str], names: list[str], path: Path
) -> str:
    """The name of one array of an archive; "" where it has no labels. Raises InputError."""
    if given is not None:
        if given not in names:
            raise InputError(f"data.{field}: {path} has no array {given!r}; {nearest(given, names)}")
        return given
    found = next((name for name in usual if name in names), "")
    if found or field == "labels":
        return found
    if len(names) != 1:
        raise InputError(f"data.array: {path} holds {few(names) or 'nothing'}; name the array of images")
    return names[0]

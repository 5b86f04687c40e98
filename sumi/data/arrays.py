"""Arrays, in memory or in a .npy file: uint8 (N, H, W), (N, H, W, C) or (N, C, H, W) are images, (N, D) vectors."""

from pathlib import Path
from tokenize import TokenError
from typing import Any, Final, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from sumi.data import vectors
from sumi.data.config import DataConfig
from sumi.data.dataset import Dataset, Progress
from sumi.data.images import ImageSpec, from_images, indexed
from sumi.data.spec import DataSpec
from sumi.errors import InputError

_UNREADABLE: Final = (OSError, ValueError, EOFError, MemoryError, SyntaxError, TokenError, BadZipFile)
"""What numpy.load raises of damaged files."""


def from_array(
    array: NDArray[Any],
    config: DataConfig,
    what: str,
    *,
    labels: NDArray[Any] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The data set of an array, called ``what`` in errors; ``labels`` (N,): the class of each image, by name or number.

    Raises InputError for an array that holds neither images nor vectors.
    """
    if not _holds_images(array):
        return vectors.from_numbers(array, config, what)
    if len(array) < 2:
        raise InputError(f"data.source: {what} holds {len(array)} image(s); at least 2 images are needed")
    images = channels_first(array, what).copy()  # the array's owner may write to it
    keys = tuple(f"row/{i:07d}" for i in range(len(images)))
    classes, names = (None, ()) if labels is None else indexed(labels.tolist())
    return from_images(images, classes, names, keys, config, progress=progress)


def outline(array: NDArray[Any], what: str) -> DataSpec:
    """What an array holds: images, vectors or bits."""
    if not _holds_images(array):
        return vectors.outline(array)
    _, channels, height, width = channels_first(array, what).shape
    return ImageSpec(channels, height, width, 256, ())


def channels_first(array: NDArray[np.uint8], what: str) -> NDArray[np.uint8]:
    """(N, H, W), (N, H, W, C) or (N, C, H, W) as (N, C, H, W). Raises InputError where C is neither 1 nor 3."""
    if array.ndim == 3:
        return array[:, None]
    first, last = array.shape[1] in (1, 3), array.shape[3] in (1, 3)
    if first == last:
        raise InputError(
            f"data.source: {what} is of shape {array.shape}, and "
            + ("either end may be its channels" if first else "has neither 1 channel (grey) nor 3 (colour)")
            + "; give uint8 (N, H, W), (N, H, W, 3) or (N, 3, H, W)"
        )
    return array if first else array.transpose(0, 3, 1, 2)


def load_array(path: Path, config: DataConfig, *, progress: Progress | None = None) -> Dataset:
    """The data set of a .npy file. Raises InputError where it cannot be read, and as `from_array` does."""
    return from_array(_read(path), config, str(path), progress=progress)


def outline_of_file(path: Path) -> DataSpec:
    """As `outline`, of a .npy file, of which no more is read than that takes. Raises InputError."""
    return outline(_read(path, "r"), str(path))


def _holds_images(array: NDArray[Any]) -> bool:
    return array.dtype == np.uint8 and array.ndim in (3, 4)


def _read(path: Path, mapped: Literal["r"] | None = None) -> NDArray[Any]:
    try:
        array = np.load(path, mmap_mode=mapped, allow_pickle=False)
    except _UNREADABLE as error:
        why = " ".join(str(error).split())  # some of NumPy's are several lines
        raise InputError(f"data.source: {path} cannot be read as .npy ({why}); save it with numpy.save") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"data.source: {path} holds an archive, not numbers of shape (N, D); give one such array")
    return array

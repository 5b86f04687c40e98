"""Decoded images in a file that is mapped into memory: decoded once, read where they are used, shared by processes.

    CACHE/images/FINGERPRINT/  pixels.npy: uint8 (N, C, H, W)      facts.json: keys, what was done, what was left out

The fingerprint is of the files (names, sizes, times of change, their own and the system's: unpacked files may have the
former of others) and of how they are decoded, so that a change of either makes another one. The folder is written under
another name and renamed when it is whole; of several processes that need it at once, one writes. CACHE is
``SUMI_CACHE``, or ``.cache/sumi`` in the home folder; it may be deleted at any time.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, Protocol, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from sumi.boundary.files import lock, reserve, write_text
from sumi.errors import InputError, writing

VERSION: Final = 1
"""Of how files are decoded: raised where the same files give other pixels."""


class Unread(Protocol):
    """An array of images that are made when they are asked for (`sumi.data.streamed`)."""

    dtype: Any
    ndim: int
    shape: tuple[int, ...]

    def __getitem__(self, items: Any) -> NDArray[np.uint8]: ...

    def prepare(self, items: NDArray[np.int64]) -> None: ...


class Rows:
    """Rows of an array that is mapped, or `Unread`, in an order of their own: no memory is taken before they are used.

    ``std``: the standard deviation of images of 256 levels in [-1, 1], where it is known.
    """

    def __init__(self, base: NDArray[Any] | Unread, rows: NDArray[np.int64], std: float | None = None) -> None:
        self.base, self.rows, self.std = base, rows, std
        self.dtype, self.ndim, self.shape = base.dtype, base.ndim, (len(rows), *base.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: SupportsIndex | slice | NDArray[Any] | Sequence[int]) -> NDArray[Any]:
        return self.base[self.rows[key]]

    def prepare(self, items: NDArray[np.int64]) -> None:
        """These are asked for next."""
        match self.base:
            case np.ndarray():
                pass
            case unread:
                unread.prepare(self.rows[items])

    def subset(self, chosen: NDArray[np.int64]) -> "Rows":
        """These of the rows, without reading them."""
        return Rows(self.base, self.rows[chosen])


@dataclass(frozen=True)
class Stored:
    """What is known of decoded files: the keys of those that are there, what was done to how many, and the others.

    ``std``: see `Rows`.
    """

    keys: tuple[str, ...]
    rules: Counter[str]
    unreadable: tuple[tuple[str, str], ...]
    grey: bool
    std: float


def cache_folder() -> Path:
    """Where decoded images are kept."""
    return Path(os.environ.get("SUMI_CACHE") or Path.home() / ".cache" / "sumi") / "images"


class File(Protocol):
    """What a fingerprint needs of a file."""

    def stat(self) -> Any: ...


def fingerprint(files: Sequence[tuple[str, File]], how: Sequence[object]) -> str:
    """sha256 of the files' keys, sizes and times of change, and of ``how`` they are decoded. Raises InputError."""
    digest = hashlib.sha256(repr((VERSION, *how)).encode())
    for key, path in files:
        try:
            found = path.stat()
        except OSError as error:
            raise InputError(f"data.source: {path} cannot be read ({error.strerror}); mend it and try again") from None
        line = f"{key}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ctime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def mapped(
    name: str, shape: tuple[int, int, int, int], decode: Callable[[NDArray[np.uint8]], Stored]
) -> tuple[Rows, Stored]:
    """The images of the fingerprint ``name``; where there are none, ``decode`` fills the first rows of (N, C, H, W).

    Raises InputError where the disk has no room, and SumiError where the cache cannot be written.
    """
    if (before := _whole(name)) is not None:  # it may lie where nothing can be written
        return before
    place = cache_folder() / name
    with writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.with_name(f".{name}.lock").open("ab") as held:
            alone = lock(held, wait=True)  # None where the file system has no locks
            if (before := _whole(name)) is not None:
                return before
            for left in place.parent.glob(f".{name}.*new") if alone else ():
                shutil.rmtree(left)  # of a process that was killed
            _fill(place, shape, decode)
    return mapped_before(name)


def _fill(place: Path, shape: tuple[int, int, int, int], decode: Callable[[NDArray[np.uint8]], Stored]) -> None:
    needed, free = prod(shape), shutil.disk_usage(place.parent).free
    if needed > free:
        raise InputError(
            f"data.store: {place.parent} has {free / 1e9:.1f} GB left, and {shape[0]} images take "
            f"{needed / 1e9:.1f} GB; free some, or set SUMI_CACHE to a folder with more"
        )
    new = place.with_name(f".{place.name}.{token_hex(4)}.new")
    new.mkdir()
    try:
        pixels = np.lib.format.open_memmap(new / "pixels.npy", "w+", np.uint8, shape)
        reserve(new / "pixels.npy")
        found = decode(pixels)
        pixels.flush()
        write_text(new / "facts.json", json.dumps(vars(found)))
        if _whole(place.name) is None:  # without locks another process may have been faster
            shutil.rmtree(place, ignore_errors=True)
            new.rename(place)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _whole(name: str) -> tuple[Rows, Stored] | None:
    """`mapped_before`; None where it is not there, or damaged."""
    try:
        return mapped_before(name)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def mapped_before(name: str) -> tuple[Rows, Stored]:
    """What `mapped` has written under ``name``. Raises OSError where it is not there."""
    place = cache_folder() / name
    facts = json.loads((place / "facts.json").read_text())
    unreadable = tuple((key, reason) for key, reason in facts["unreadable"])
    stored = Stored(tuple(facts["keys"]), Counter(facts["rules"]), unreadable, facts["grey"], facts["std"])
    pixels = np.load(place / "pixels.npy", mmap_mode="r", allow_pickle=False)
    return Rows(pixels[:, :1] if stored.grey else pixels, np.arange(len(stored.keys)), stored.std), stored

"""Data sets, and the rule that splits them.

Every item has a *key* that stays the same on every machine (its path below the root, or ``train/00012`` in an array
file). An item is held out when

    u(key) = sha256(key) read as a fraction in [0, 1) < held_out,

so the split needs no list, seed or order, and adding or removing files never moves another item between the sides. (One
exception for tiny sets: an empty side gets the nearest item, see `divide`.)
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sumi.config import nearest
from sumi.data.spec import DataSpec
from sumi.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[int, int], None]
"""Called with (done, total) while data are read."""


@dataclass(frozen=True)
class Skipped:
    """A file that was skipped, with the reason."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{escaped(self.path)}: {self.reason}"


def escaped(name: str, *, keep_controls: bool = False) -> str:
    """A name of a file or class as text of one line: bytes that are not UTF-8, control characters and half surrogate
    pairs are escaped (caf\\xe9, \\n). ``keep_controls``: what is valid text stays as it is.
    """
    return "".join(_escaped(c) if "\ud800" <= c <= "\udfff" or not (keep_controls or _shows(c)) else c for c in name)


def _shows(character: str) -> bool:
    """Whether a terminal shows it and does nothing else."""
    return character.isprintable() or character in "\u200c\u200d\u3000\xa0"


def _escaped(character: str) -> str:
    byte = ord(character) - 0xDC00  # how Python holds a byte that is not UTF-8
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else character.encode("unicode_escape").decode()


def few(names: Sequence[str], most: int = 5) -> str:
    """The first names, escaped, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(escaped, names[:most])) + more


def held_out_fraction(key: str) -> float:
    """u(key) in [0, 1): the first 53 bits of sha256, which a float holds exactly (so u never rounds up to 1)."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def divide(keys: Sequence[str], held_out: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The indices of the training items, and of the held-out ones (u(key) < ``held_out``), in order.

    Neither side is ever empty: the item with the smallest u is always held out, and that with the largest u is always
    used for training.

    Raises:
        InputError: ``held_out`` is not strictly between 0 and 1, or there are fewer than two items.
    """
    if not 0 < held_out < 1:
        raise InputError(f"data.held_out: {held_out} is not a share above 0 and below 1; give one such as 0.1")
    if len(keys) < 2:
        raise InputError(f"data.source: {len(keys)} item(s) cannot be divided; at least 2 are needed")
    fractions = np.array([held_out_fraction(key) for key in keys])
    held = fractions < held_out
    held[fractions.argmin()] = True
    held[fractions.argmax()] = False
    return np.flatnonzero(~held), np.flatnonzero(held)


@runtime_checkable
class Dataset(Protocol):
    """The interface of all data: N items of one type, each with a unique key.

    Code outside this folder uses nothing else: not every data set is an array.

    Attributes:
        label_names: one name a class; () where there are none.
        keys: one name an item, all different, the same everywhere.
        columns: the names of the numbers that belong to each item.
        notes: what the user should know about how the data were read.
    """

    @property
    def spec(self) -> DataSpec:
        """What one item is."""
        ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def label_names(self) -> tuple[str, ...]: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def keys(self) -> tuple[str, ...]: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def batch(self, items: NDArray[np.int64]) -> "Tensor":
        """These items as a model sees them: float32 (len(items), …), on the CPU."""
        ...

    def labels_of(self, items: NDArray[np.int64]) -> "Tensor":
        """The classes of these items, int64 (len(items),). Raises InputError where the data have none."""
        ...

    def column(self, name: str) -> NDArray[np.float64]:
        """The numbers called ``name``, (N,), nan where an item has none. Raises InputError for another name."""
        ...

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> Self:
        """The items at ``indices`` (all different), in that order."""
        ...

    def split(self, held_out: float) -> tuple[Self, Self]:
        """(train, held out), as `divide` says. Raises InputError."""
        ...

    def fitted_to(self, spec: DataSpec, source: str) -> Self:
        """The data in the units of a model of ``spec``. Raises InputError, naming ``source``, where they are unlike."""
        ...

    def std(self) -> float:
        """The standard deviation in the model's range: the root of the mean over all elements of their variance."""
        ...

    def fingerprint(self) -> str:
        """sha256 (hex) of the training data: equal exactly if the data are."""
        ...

    def skipped_report(self, limit: int | None = None) -> tuple[str, ...]:
        """The files that were not used and why, one line each; ``limit`` cuts the list and says how many are left."""
        ...


def everything(data: Dataset) -> "Tensor":
    """All items as a model sees them: float32 (N, …), on the CPU."""
    return data.batch(np.arange(len(data)))


def every_label(data: Dataset) -> "Tensor":
    """The classes of all items, int64 (N,). Raises InputError where the data have none."""
    return data.labels_of(np.arange(len(data)))


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """Up to ``most`` places of ``count``, all different and evenly spaced: files are often sorted by class."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(np.int64)


def evenly_spaced(data: Dataset, most: int) -> "Tensor":
    """Up to ``most`` items of ``data``, evenly spaced, as a model sees them."""
    return data.batch(evenly(len(data), most))


def no_labels() -> InputError:
    """The error for data without classes."""
    return InputError("labels: the data have no classes; give labelled data")


def no_column(name: str, columns: Sequence[str]) -> InputError:
    """The error for an unknown column of numbers."""
    hint = nearest(name, columns) if columns else "they have none at all"
    return InputError(f"values: the data have no numbers {name!r}; {hint}")

"""Data sets, and the rules that split them.

Every item has a *key* that stays the same on every machine (its path below the root, or ``train/00012`` in an array
file). An item is held out when

    u(key) = sha256(key) read as a fraction in [0, 1) < held_out,

so the split needs no list, seed or order, and adding or removing files never moves another item between the sides. (One
exception for tiny sets: an empty side gets the nearest item, see `divide`.)

Data may come with splits of their own, one name an item, which then decide instead (`divide_by_splits`): ``train``
is trained on, ``test`` (or another of `HELD_OUT_SPLITS`) is held out, and all else is left alone.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sumi.boundary.config import nearest
from sumi.data.spec import DataSpec
from sumi.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[int, int], None]
"""Called with (done, total) while data are read."""
TRAINING_SPLITS: Final = frozenset({"train", "training"})
HELD_OUT_SPLITS: Final = frozenset({"test", "testing", "val", "valid", "validation", "dev", "eval", "holdout"})

_THINGS: Final = "(?:images?|imgs?|pictures|photos|data|set)"
_SPLIT_FOLDER: Final = re.compile(rf"(?:{_THINGS}[_ -])?([a-z]+?)(?:[_ -]?{_THINGS})?(?:[_ -]?20[0-9]{{2}})?")


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


def skipped_lines(used: int, skipped: Sequence[Skipped], limit: int | None) -> tuple[str, ...]:
    """What a person should see about the files that were not used, one line each; () where all were.

    The first line counts them; ``limit`` (at least 1) cuts the list and says how many more there are.
    """
    if not skipped:
        return ()
    lines = [f"used {used} of {used + len(skipped)} files; skipped {len(skipped)}:"]
    lines += [f"  {item}" for item in skipped[:limit]]
    if limit is not None and len(skipped) > limit:
        lines.append(f"  and {len(skipped) - limit} more")
    return tuple(lines)


def held_out_fraction(key: str) -> float:
    """u(key) in [0, 1): the first 53 bits of sha256, which a float holds exactly (so u never rounds up to 1)."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def divide(
    keys: Sequence[str], held_out: float, fractions: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The indices of the training items, and of the held-out ones (u(key) < ``held_out``), in order.

    ``fractions``: u(key) of each, where they are known.

    Neither side is ever empty: the item with the smallest u is always held out, and that with the largest u is always
    used for training.

    Raises:
        InputError: ``held_out`` is not strictly between 0 and 1, or there are fewer than two items.
    """
    if not 0 < held_out < 1:
        raise InputError(f"data.held_out: {held_out} is not a share above 0 and below 1; give one such as 0.1")
    if len(keys) < 2:
        raise InputError(f"data.source: {len(keys)} item(s) cannot be divided; at least 2 are needed")
    if fractions is None:
        fractions = np.array([held_out_fraction(key) for key in keys])
    held = fractions < held_out
    held[fractions.argmin()] = True
    held[fractions.argmax()] = False
    return np.flatnonzero(~held), np.flatnonzero(held)


def divide_by_splits(
    splits: Sequence[str], keys: Sequence[str], held_out: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The indices of the items whose split is one for training, and of those whose split is held out, in order.

    Names count in any case. Where no split is held out, the training items are divided as `divide` says.

    Raises:
        InputError: no item is for training; or as `divide`, where it is used.
    """
    roles = [split_role(split) for split in splits]
    train, held = (np.flatnonzero([role == wanted for role in roles]) for wanted in ("train", "held out"))
    if not len(train):
        raise InputError(f"data.source: none of the splits is train ({_counted(splits)}); name the training items' so")
    if not len(held):
        kept, held = divide([keys[i] for i in train.tolist()], held_out)
        return train[kept], train[held]
    return train, held


def split_role(split: str) -> str | None:
    """What the items of a split are for: "train", "held out", or None for those that are left alone."""
    name = split.strip().casefold()
    return "train" if name in TRAINING_SPLITS else "held out" if name in HELD_OUT_SPLITS else None


def folder_role(name: str) -> str | None:
    """As `split_role`, of a folder's name, which may also say what it holds, or the year: train_images, val2017."""
    found = _SPLIT_FOLDER.fullmatch(name.strip().casefold())
    return None if found is None else split_role(found[1])


def split_notes(splits: Sequence[str]) -> tuple[str, ...]:
    """What is done with the items of each split, in words."""
    by_role = {role: [split for split in splits if split_role(split) == role] for role in ("train", "held out", None)}
    uses = {
        "train": "trained on",
        "held out": "held out, whatever data.held_out is",
        None: "left out, neither trained on nor measured",
    }
    parts = [f"{_counted(by_role[role])}: {use}" for role, use in uses.items() if by_role[role]]
    return (f"the data have splits of their own: {'; '.join(parts)}",)


def left_out(whole: "Dataset") -> int:
    """How many items are neither trained on nor held out, by the data's own splits."""
    return sum(split_role(split) is None for split in getattr(whole, "splits", None) or ())


def _counted(splits: Sequence[str]) -> str:
    counts = Counter(splits)
    return few([f"{count} {split or 'without a split'}" for split, count in counts.items()])


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
        """(train, held out), as `divide` says, or by the data's own splits (`divide_by_splits`). Raises InputError."""
        ...

    def fitted_to(self, spec: DataSpec, source: str) -> Self:
        """The data in the units of a model of ``spec``. Raises InputError, naming ``source``, where they are unlike."""
        ...

    def std(self) -> float:
        """The standard deviation in the model's range: the root of the mean over all elements of their variance."""
        ...

    def fingerprint(self) -> str:
        """sha256 (hex) of the training data: equal exactly if the data are, but for texts and attributes."""
        ...

    def skipped_report(self, limit: int | None = None) -> tuple[str, ...]:
        """The files that were not used and why, one line each; ``limit`` cuts the list and says how many are left."""
        ...


@runtime_checkable
class Prepares(Protocol):
    """A data set that can begin to read what is asked for next."""

    def prepare(self, items: NDArray[np.int64]) -> None:
        """These items are asked for next, in any parts; what was prepared before is not."""
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


Classes = tuple[NDArray[np.int64] | None, tuple[str, ...]]
"""The class of each image, (N,), and the names of the classes; or None and ()."""


def indexed(classes: Sequence[str | int | None]) -> Classes:
    """(labels, label names) of one class an item: whole numbers in their order, all else as text; one class is none."""
    names = sorted({str(name) for name in classes})
    if {type(name) for name in classes} == {int}:
        names.sort(key=int)
    if len(names) < 2:
        return None, ()
    index = {name: i for i, name in enumerate(names)}
    return np.array([index[str(name)] for name in classes], np.int64), tuple(names)

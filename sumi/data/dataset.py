"""A data set in memory, and the one rule that divides it.

Every item has a *key* that stays the same on every machine (its path below the root, or ``train/00012`` in an array
file). An item is held out when

    u(key) = sha256(key) read as a fraction in [0, 1) < held_out,

so the division needs no list, no seed and no order, and adding or removing files never moves another item from one
side to the other. (One exception, for tiny sets: an empty side is given the nearest item, see ``ImageDataset.split``.)
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from sumi.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[int, int], None]
"""Called with (done, total) while something long is read."""


@dataclass(frozen=True)
class Skipped:
    """A file that was not used, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def held_out_fraction(key: str) -> float:
    """u(key) in [0, 1): the first 53 bits of sha256, which a float holds exactly (so u never rounds up to 1)."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def divide(keys: Sequence[str], held_out: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places of the items to train on, and of those that are held out: u(key) < ``held_out``, in order.

    Neither side is ever empty: where the rule would leave none, the item with the smallest u is held out, or the one
    with the largest u trains.

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


class Dataset(Protocol):
    """What training and sampling need of any data: N items of one shape, each with a key of its own."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def label_names(self) -> tuple[str, ...]: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def batch(self, items: NDArray[np.int64]) -> "Tensor":
        """These items as a model sees them: float32 (len(items), …), on the CPU."""
        ...

    def split(self, held_out: float) -> tuple[Self, Self]: ...

    def std(self) -> float: ...

    def fingerprint(self) -> str: ...

    def skipped_report(self, limit: int | None = None) -> tuple[str, ...]: ...


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """N images of one size, with what is known about each.

    Attributes:
        images: uint8 (N, C, H, W), values 0..levels-1, C = 1 or 3.
        labels: int64 (N,), indices into ``label_names``; None where the data has no classes.
        label_names: one name a class; () where there are none.
        captions: one text an item ("" where it has none); None where no item has one.
        keys: one name an item, the same everywhere, all different.
        levels: how many values a pixel may take: 256, or 17 for the built-in digits.
        skipped: every file that was not used, and why.
        notes: what was done to the data that a person should know.
        values: float64 (N,) by name: numbers that belong to each item, nan where it has none.

    Raises:
        InputError: the fields do not agree with each other.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    label_names: tuple[str, ...]
    captions: tuple[str, ...] | None
    keys: tuple[str, ...]
    levels: int = 256
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    values: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[1] not in (1, 3):
            raise InputError(
                f"images: {self.images.dtype} {self.images.shape} is not uint8 (N, C, H, W), C = 1 or 3; convert them"
            )
        if count and int(self.images.max()) >= self.levels:
            raise InputError(f"images: hold {int(self.images.max())}, above the {self.levels} levels stated; mend one")
        if len(self.keys) != count or len(set(self.keys)) != count:
            raise InputError(f"keys: {len(set(self.keys))} different ones for {count} images; give each image its own")
        if self.captions is not None and len(self.captions) != count:
            raise InputError(f"captions: {len(self.captions)} for {count} images; give one an image, or None")
        for name, column in self.values.items():
            if column.shape != (count,):
                raise InputError(
                    f"values: {name} has shape {column.shape} for {count} images; give one number an image"
                )
        if (self.labels is None) != (not self.label_names):
            raise InputError("labels: labels and label_names come together; give both or neither")
        if self.labels is not None:
            if self.labels.shape != (count,):
                raise InputError(f"labels: shape {self.labels.shape} for {count} images; give one label an image")
            if count and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.label_names):
                raise InputError(f"labels: outside 0..{len(self.label_names) - 1}; give each an index into label_names")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> "ImageDataset":
        """The items at ``indices`` (all different), in that order. ``skipped`` stays with the loaded whole."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            images=self.images[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            captions=None if self.captions is None else tuple(self.captions[i] for i in chosen),
            keys=tuple(self.keys[i] for i in chosen),
            skipped=(),
            values={name: column[chosen] for name, column in self.values.items()},
        )

    def split(self, held_out: float) -> "tuple[ImageDataset, ImageDataset]":
        """(train, held out), as `divide` says. Raises InputError."""
        train, held = divide(self.keys, held_out)
        return self.subset(train), self.subset(held)

    def batch(self, items: NDArray[np.int64]) -> "Tensor":
        """These images in [-1, 1]: float32 (len(items), C, H, W), on the CPU."""
        from sumi.data.pixels import PixelRange

        return PixelRange(self.levels).to_model(self.images[items])

    def std(self) -> float:
        """The standard deviation of the data in [-1, 1]: the root of the mean over all places in an image of their
        variance over the images, float64. One image, or all alike, have 0.
        """
        total = np.zeros(self.shape)
        squares = np.zeros(self.shape)
        for first in range(0, len(self), 1024):
            part = self.images[first : first + 1024].astype(np.float64)
            total += part.sum(0)
            squares += np.square(part).sum(0)
        variance = squares / len(self) - np.square(total / len(self))
        return float(np.sqrt(max(variance.mean(), 0.0)) * 2 / (self.levels - 1))

    def fingerprint(self) -> str:
        """sha256 (hex) of pixels, labels, values, levels and keys: equal exactly when the same would be trained on."""
        digest = hashlib.sha256(f"{self.images.shape} {self.levels} {self.labels is not None}".encode())
        names = "\0".join((*self.keys, "", *self.label_names))  # keys decide which side of the split an item is on
        digest.update(names.encode("utf-8", "surrogateescape"))
        digest.update(np.ascontiguousarray(self.images).data)
        if self.labels is not None:
            digest.update(self.labels.astype("<i8").tobytes())
        for name, column in sorted(self.values.items()):
            digest.update(name.encode())
            digest.update(column.astype("<f8").tobytes())
        return digest.hexdigest()

    def skipped_report(self, limit: int | None = None) -> tuple[str, ...]:
        """What a person should see about the files that were not used, one line each; () where all were.

        The first line counts them; ``limit`` (at least 1) cuts the list and says how many more there are.
        """
        if not self.skipped:
            return ()
        used, missed = len(self), len(self.skipped)
        lines = [f"used {used} of {used + missed} files; skipped {missed}:"]
        lines += [f"  {item}" for item in self.skipped[:limit]]
        if limit is not None and missed > limit:
            lines.append(f"  and {missed - limit} more")
        return tuple(lines)

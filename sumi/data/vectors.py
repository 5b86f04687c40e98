"""Data that are vectors: points, short sequences of bits, rows of a table.

A model works on numbers of about unit size, so a user's columns are moved and scaled as a whole,

    z = (x - centre)/scale,       centre: the columns' means,       scale: one number, of which half is the deviation,

which keeps angles and the ratios of distances. Samples are written in the user's own units again, and a density in them
is that of z divided by scale^D. Built-in sets are made in the model's range: their centre is 0 and their scale 1.

Where all numbers are 0 and 1, or all -1 and 1, they are bits: a model sees -1 and 1 of them.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import log
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sumi.boundary.arguments import MOST_COUNT, whole
from sumi.data.config import DataConfig
from sumi.data.dataset import Skipped, divide, few, no_column, no_labels
from sumi.data.files import Writing, made_in_parts, refuse_together, stated_in_parts, write_vectors
from sumi.data.spec import DataSpec, Unit, describe, expect, states, unlike
from sumi.errors import InputError
from sumi.figures.canvas import INK, noised
from sumi.figures.pictures import animation
from sumi.figures.vectors import picture, reach_of

ROWS: Final = 2**16
"""So many rows at a time are looked at for anything but bits."""
SMALL: Final = 0.01
"""Of the largest deviation: a column of less is near the least noise of the schedules."""
OTHER_FIELDS: Final = ("size", "channels", "range", "labels", "label_pattern", "flip", "dequantize")
"""The fields of a `DataConfig` that vectors do not have."""


@dataclass(frozen=True)
class VectorSpec:
    """Vectors (D,) of real numbers or of bits; x = centre + scale · value in the user's units (module docstring)."""

    name: ClassVar[str] = "vectors"
    # points may lie anywhere; the network is small enough to be exact and to take many at a time, and a falling rate
    # settles fine structure
    defaults: ClassVar[tuple[str, ...]] = (
        "network=mlp",
        "training.batch_size=256",
        "training.learning_rate=3e-3",
        "training.precision=fp32",
        "training.decay=cosine",
        "sampling.threshold=none",
    )
    together: ClassVar[bool] = True
    previewed: ClassVar[int] = 1000

    dimensions: int
    levels: int | None
    centre: tuple[float, ...] = ()
    scale: float = 1.0
    label_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        whole("dimensions", self.dimensions, least=1, most=MOST_COUNT)
        if self.levels not in (None, 2):
            raise InputError(f"levels: {self.levels} are neither those of bits, 2, nor none")

    @property
    def shape(self) -> tuple[int]:
        return (self.dimensions,)

    @property
    def unit(self) -> Unit:
        """Bits per sequence of bits, nats per dimension of points."""
        if self.levels is not None:
            return Unit("bits/sequence", f"{self.dimensions} bits each", log(2))
        about = f"a density of {self.dimensions} numbers in the data's own units"
        return Unit("nats/dim", about, self.dimensions, log(self.scale))

    def describe(self) -> str:
        return describe(self)

    def clamp(self, x: Tensor) -> Tensor:
        """Itself: points may lie anywhere."""
        return x

    def finish(self, x: Tensor) -> Tensor:
        """Points as they are, of bits the nearer of -1 and 1."""
        return torch.where(x > 0, 1.0, -1.0).to(x) if self.levels == 2 else x

    def to_units(self, x: Tensor) -> NDArray[np.float64]:
        """Values (N, D) of the model, as saved, in the user's units: float64, as an offset may be large."""
        centre = torch.tensor(self.centre or (0.0,) * self.dimensions, dtype=torch.float64)
        return (centre + self.scale * self.finish(x).double()).numpy()

    def picture(self, x: Tensor, title: str, captions: Sequence[str] | None = None) -> bytes:
        """A plot, or a raster of bits."""
        del captions
        return picture([(title, x)], self.levels)

    def strip(self, t: Sequence[float], x: Tensor) -> bytes:
        """States (K, N, D), with axes in common."""
        times, few = states(t, x, 10)
        panels = [(f"t = {time:.2f}", state) for time, state in zip(times, few, strict=True)]
        return picture(panels, self.levels, columns=5, colours=[noised(INK, time) for time in times])

    def animation(self, t: Sequence[float], x: Tensor) -> bytes:
        """Up to 30 states (K, N, D), with axes in common."""
        reach = reach_of([*x])
        frames = [
            Image.open(
                io.BytesIO(picture([(f"t = {time:.2f}", x_t)], self.levels, reach=reach, colours=[noised(INK, time)]))
            )
            for time, x_t in zip(*states(t, x, 30), strict=True)
        ]
        return animation(frames)

    def write(self, folder: Path, make: Callable[[range], Tensor], indices: range, how: Writing) -> str:
        """vectors.npy, all of them in the user's units, and picture.png. See `DataSpec.write`."""
        if how.format not in ("", "npy") or how.shard != (1, 1):
            field = "shard" if how.shard != (1, 1) else "format"
            raise InputError(f"{field}: {self.name} are written as one .npy by one process; leave it out")
        about = {**how.about, "start": indices.start, "count": len(indices)}
        refuse_together(folder, "vectors.npy", about)
        x = made_in_parts(folder / "vectors.npy", make, indices, how, about)
        stated = stated_in_parts(folder / "vectors.npy", indices, how)
        shown = write_vectors(folder, self.to_units(x), self.picture(self.finish(x), how.title), about, stated)
        return f"{folder / 'vectors.npy'} and {shown}"

    def reading(self, config: DataConfig) -> DataConfig:
        """As they are."""
        return config


@dataclass(frozen=True, eq=False)
class VectorDataset:
    """N vectors of D numbers.

    Attributes:
        values: float32 (N, D), finite, in the model's units.
        keys: one name an item, all different, the same everywhere.
        levels: 2 where every value is -1 or 1 (bits); None for points of a continuum.
        centre: float (D,), and ``scale`` > 0: x = centre + scale · value in the user's units.
        notes: what was done to the data that a person should know.

    Raises:
        InputError: the fields do not agree with each other.
    """

    values: NDArray[np.float32]
    keys: tuple[str, ...]
    levels: int | None = None
    centre: tuple[float, ...] = ()
    scale: float = 1.0
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    label_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.values.dtype != np.float32 or self.values.ndim != 2 or not self.values.shape[1]:
            raise InputError(f"vectors: {self.values.dtype} {self.values.shape} is not float32 (N, D); convert them")
        if not np.isfinite(self.values).all():
            raise InputError("vectors: hold NaN or infinite values; remove those rows")
        if len(self.keys) != len(self.values) or len(set(self.keys)) != len(self.values):
            raise InputError(
                f"keys: {len(set(self.keys))} different ones for {len(self.values)} vectors; give each one"
            )
        if self.levels not in (None, 2) or (self.levels == 2 and not bool((np.abs(self.values) == 1).all())):
            raise InputError("vectors: levels is 2 for values -1 and 1, and None for all others; mend one")
        if self.centre and len(self.centre) != self.values.shape[1]:
            raise InputError(
                f"centre: {len(self.centre)} numbers for {self.values.shape[1]} columns; give one a column"
            )
        if not 0 < self.scale < float("inf"):
            raise InputError(f"scale: {self.scale} is not above 0 and finite; give such a number")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int]:
        """(D,)."""
        return (self.values.shape[1],)

    @property
    def spec(self) -> VectorSpec:
        return VectorSpec(*self.shape, self.levels, self.centre, self.scale)

    @property
    def columns(self) -> tuple[str, ...]:
        return ()

    def batch(self, items: NDArray[np.int64]) -> Tensor:
        """These vectors in the model's units: float32 (len(items), D), on the CPU."""
        return torch.from_numpy(self.values[items])

    def labels_of(self, items: NDArray[np.int64]) -> Tensor:
        """Raises InputError: vectors have no classes."""
        del items
        raise no_labels()

    def column(self, name: str) -> NDArray[np.float64]:
        """Raises InputError: no further numbers belong to vectors."""
        raise no_column(name, self.columns)

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> "VectorDataset":
        """The items at ``indices`` (all different), in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(self, values=self.values[chosen], keys=tuple(self.keys[i] for i in chosen))

    def split(self, held_out: float) -> "tuple[VectorDataset, VectorDataset]":
        """(train, held out), as `sumi.data.dataset.divide` says. Raises InputError."""
        train, held = divide(self.keys, held_out)
        return self.subset(train), self.subset(held)

    def fitted_to(self, spec: DataSpec, source: str) -> "VectorDataset":
        """The same vectors in the units of a model of ``spec``: bits stay bits, and are points to a model of points.

        Raises InputError where the model's items are others.
        """
        other = unlike(self.spec, spec, source)
        vectors = expect(spec, VectorSpec, str(other))
        if vectors.shape != self.shape or vectors.levels not in (self.levels, None):
            raise other
        if vectors.levels is not None:
            return replace(self, centre=vectors.centre, scale=vectors.scale)
        return replace(self, levels=None).in_units(vectors.centre, vectors.scale)

    def in_units(self, centre: tuple[float, ...], scale: float) -> "VectorDataset":
        """The same vectors for a model that sees (x - centre)/scale of them; itself where it holds them so."""
        if (centre, scale) == (self.centre, self.scale):
            return self
        x = np.array(self.centre or 0.0) + self.scale * self.values.astype(np.float64)
        values = ((x - np.array(centre or 0.0)) / scale).astype(np.float32)
        return replace(self, values=values, centre=centre, scale=scale, notes=_notes(scale))

    def std(self) -> float:
        """The root of the mean variance of the columns, in the model's units."""
        return float(np.sqrt(self.values.astype(np.float64).var(0).mean()))

    def fingerprint(self) -> str:
        """sha256 (hex) of values, units and keys: equal exactly when the same vectors would be trained on."""
        units = f"{self.values.shape} {self.levels} {self.centre} {self.scale}"
        digest = hashlib.sha256(units.encode())
        digest.update("\0".join(self.keys).encode())
        digest.update(np.ascontiguousarray(self.values, dtype="<f4").data)
        return digest.hexdigest()

    def skipped_report(self, limit: int | None = None) -> tuple[str, ...]:
        """Nothing: an array is used whole or refused."""
        del limit
        return ()


def from_numbers(array: NDArray[Any], config: DataConfig, what: str) -> VectorDataset:
    """Numbers (N, D) or (N,) in the user's own units (module docstring); ``what`` is their name in errors.

    Raises:
        InputError: they are no such array, hold NaN or infinite values, or all rows are alike.
    """
    if array.ndim not in (1, 2) or array.dtype.kind not in "fiub" or not array.size:
        raise InputError(
            f"data.source: {what} holds {array.dtype} {array.shape}, not numbers of shape (N, D); give one such array, "
            "or images (N, H, W) or (N, H, W, C)"
        )
    config.refuse("vectors", OTHER_FIELDS)
    values = array.astype(np.float64).reshape(len(array), -1)
    broken = np.flatnonzero(~np.isfinite(values).all(1))
    if len(broken):
        raise InputError(f"data.source: {what} has NaN or infinite values in row {broken[0]}; remove such rows")
    if (values == values[0]).all():
        raise InputError(f"data.source: all rows of {what} are alike, with nothing to learn; give rows that differ")
    keys = tuple(f"row/{i:07d}" for i in range(len(values)))
    zero = zero_of_bits(values)
    if zero is not None:
        bits = np.where(values == 1, 1, -1).astype(np.float32)
        centre, scale = ((0.5,) * bits.shape[1], 0.5) if zero == 0 else ((), 1.0)
        return VectorDataset(bits, keys, 2, centre, scale, (f"all numbers are {zero} or 1: they are taken for bits",))
    with np.errstate(over="ignore", invalid="ignore"):
        centre, scale = values.mean(0), 2 * float(np.sqrt(values.var(0).mean()))
    if not 0 < scale < np.inf:
        raise InputError(f"data.source: the deviation of {what} is {scale / 2:.3g} in floats; give it in other units")
    scaled = ((values - centre) / scale).astype(np.float32)
    return VectorDataset(
        scaled, keys, centre=tuple(centre.tolist()), scale=scale, notes=(*_notes(scale), *_unlike(scaled))
    )


def outline(array: NDArray[Any]) -> VectorSpec:
    """What numbers (N, D) or (N,) will be, without their units."""
    bits = array.ndim in (1, 2) and zero_of_bits(array) is not None
    return VectorSpec(int(np.prod(array.shape[1:])), 2 if bits else None)


def zero_of_bits(array: NDArray[Any]) -> int | None:
    """What stands for a 0 where all numbers are bits, with 1 for a 1: 0 or -1; None where they are no bits.

    Rows are looked at up to the first that holds another number.
    """
    for zero in (0, -1):
        parts = (array[first : first + ROWS] for first in range(0, len(array), ROWS))
        if all(bool(((part == zero) | (part == 1)).all()) for part in parts):
            return zero
    return None


def _notes(scale: float) -> tuple[str]:
    return (f"rows are centred and divided by {scale:.4g}: pictures show that, samples are written in your units",)


def _unlike(values: NDArray[np.float32]) -> tuple[str, ...]:
    """A note on the columns that are constant or vary too little for one scale of all columns."""
    deviations = values.std(0, dtype=np.float64)
    small = np.flatnonzero(deviations < SMALL * deviations.max())
    if not len(small):
        return ()
    names = few([f"{k} ({deviations[k] / deviations.max():.1g})" for k in small])
    why = f"columns whose deviation is below {SMALL:g} of column {deviations.argmax()}'s are hardly learned"
    return (f"{why}: {names}; scale the columns alike",)

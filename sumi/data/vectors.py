"""Data that are vectors: points, short sequences of bits, rows of a table.

A model works on numbers of about unit size, so a user's columns are moved and scaled as a whole,

    z = (x - centre)/scale,       centre: the columns' means,       scale: one number, of which half is the deviation,

which keeps angles and the ratios of distances. Samples are told in the user's own units again, and a density in them is
that of z divided by scale^D. Built-in sets are made in the model's range: their centre is 0 and their scale 1.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from sumi.data.config import DataConfig
from sumi.data.dataset import Skipped, divide
from sumi.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

_UNREADABLE: Final = (OSError, ValueError, EOFError, MemoryError, SyntaxError, TokenError, BadZipFile)
"""What numpy.load raises of damaged files."""


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

    def batch(self, items: NDArray[np.int64]) -> "Tensor":
        """These vectors in the model's units: float32 (len(items), D), on the CPU."""
        import torch

        return torch.from_numpy(self.values[items])

    def split(self, held_out: float) -> "tuple[VectorDataset, VectorDataset]":
        """(train, held out), as `sumi.data.dataset.divide` says. Raises InputError."""
        train, held = (
            replace(self, values=self.values[chosen], keys=tuple(self.keys[i] for i in chosen))
            for chosen in divide(self.keys, held_out)
        )
        return train, held

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


def load_array(path: Path, config: DataConfig) -> VectorDataset:
    """A .npy file of numbers (N, D) or (N,), in the user's own units (module docstring).

    Raises:
        InputError: it cannot be read, is no such array, holds NaN or infinite values, or all rows are alike.
    """
    refuse_image_fields(config)
    try:
        array = np.load(path, allow_pickle=False)
    except _UNREADABLE as error:
        why = " ".join(str(error).split())  # some of NumPy's are several lines
        raise InputError(f"data.source: {path} cannot be read as .npy ({why}); save it with numpy.save") from None
    if not isinstance(array, np.ndarray) or array.ndim not in (1, 2) or array.dtype.kind not in "fiu" or not array.size:
        kind = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise InputError(f"data.source: {path} holds {kind}, not numbers of shape (N, D); give one such array")
    values = array.astype(np.float64).reshape(len(array), -1)
    broken = np.flatnonzero(~np.isfinite(values).all(1))
    if len(broken):
        raise InputError(f"data.source: {path} has NaN or infinite values in row {broken[0]}; remove such rows")
    if (values == values[0]).all():
        raise InputError(f"data.source: all rows of {path} are alike, with nothing to learn; give rows that differ")
    with np.errstate(over="ignore", invalid="ignore"):
        centre, scale = values.mean(0), 2 * float(np.sqrt(values.var(0).mean()))
    if not 0 < scale < np.inf:
        raise InputError(f"data.source: the deviation of {path} is {scale / 2:.3g} in floats; give it in other units")
    keys = tuple(f"row/{i:07d}" for i in range(len(values)))
    scaled = ((values - centre) / scale).astype(np.float32)
    return VectorDataset(scaled, keys, centre=tuple(centre.tolist()), scale=scale, notes=_notes(scale))


def _notes(scale: float) -> tuple[str]:
    return (f"rows are centred and divided by {scale:.4g}: pictures show that, samples are written in your units",)


def refuse_image_fields(config: DataConfig) -> None:
    """Raises InputError where a field that only images have is set for data that are vectors."""
    for name, value in (
        ("size", config.size),
        ("channels", config.channels),
        ("flip", config.flip or None),
        ("dequantize", config.dequantize or None),
    ):
        if value is not None:
            raise InputError(f"data.{name}: {config.source} holds vectors, which have none; leave it out")

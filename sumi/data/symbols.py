"""Data that are sequences of symbols: lines of text, strings of molecules, rows of whole numbers.

A string becomes its characters' numbers in the vocabulary, sorted, and where strings differ in length, one number more,
the end, fills them up to the longest:

    vocabulary C N O,   "CON" and "C"      0 2 1  and  0 3 3

A model learns the ends as it learns all else, and so how long strings are: -log p of the filled sequence is that of the
string and its length. Rows of whole numbers (N, L) are symbols in the same way, named by their numbers.
`sumi.data.symbol_files` reads them.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import log
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sumi.boundary.arguments import MOST_COUNT, shown, whole
from sumi.data.config import DataConfig
from sumi.data.dataset import Skipped, divide, escaped, few, no_column, no_labels
from sumi.data.files import Writing, made_in_parts, refuse_together, write_together
from sumi.data.spec import DataSpec, Unit, expect, states, unlike
from sumi.errors import InputError, printable
from sumi.figures.pictures import animation, png
from sumi.figures.text import MASK, page, pages

MOST_SYMBOLS: Final = 1024
SHOWN: Final = 96
"""Lines in a picture."""


@dataclass(frozen=True)
class SymbolSpec:
    """Sequences (L,) of symbols, int64: places in ``vocabulary``; ``ends``: and one more, the end (module docstring).

    ``separator``: what is between the symbols of a line: nothing, or a space where they are numbers.
    """

    name: ClassVar[str] = "symbols"
    defaults: ClassVar[tuple[str, ...]] = ()
    together: ClassVar[bool] = True
    previewed: ClassVar[int] = 24

    vocabulary: tuple[str, ...]
    length: int
    ends: bool
    separator: str = ""
    label_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        whole("length", self.length, least=1, most=MOST_COUNT)
        if not 2 <= self.levels <= MOST_SYMBOLS or len(set(self.vocabulary)) != len(self.vocabulary):
            raise InputError(
                f"vocabulary: {len(set(self.vocabulary))} different symbols of {len(self.vocabulary)}; give 2 to "
                f"{MOST_SYMBOLS}, all different"
            )

    @property
    def shape(self) -> tuple[int]:
        return (self.length,)

    @property
    def levels(self) -> int:
        """K: the vocabulary's symbols and, where sequences differ in length, the end."""
        return len(self.vocabulary) + self.ends

    @property
    def unit(self) -> Unit:
        """Bits of a whole sequence; `lengths` makes bits per character of them."""
        return Unit("bits/sequence", f"up to {self.length} symbols each", log(2))

    def describe(self) -> str:
        words = f"{'up to ' if self.ends else ''}{self.length} of {len(self.vocabulary)} symbols"
        return words + (f", classes {', '.join(map(printable, self.label_names))}" if self.label_names else "")

    def clamp(self, x: Tensor) -> Tensor:
        """Itself: symbols have no range."""
        return x

    def finish(self, x: Tensor) -> Tensor:
        """Itself."""
        return x

    def lengths(self, x: Tensor) -> Tensor:
        """The number of symbols before the first end, int64 (N,), of sequences (N, L)."""
        if not self.ends:
            return torch.full((len(x),), self.length)
        return (x == len(self.vocabulary)).long().cumsum(1).eq(0).sum(1)

    def texts(self, x: Tensor, *, whole_lines: bool = False) -> list[str]:
        """Sequences (N, L) as text, up to their first end, a mask as `MASK`; ``whole_lines``: a space for an end."""
        table = [*self.vocabulary, *([" "] if self.ends else []), MASK]
        counts = [self.length] * len(x) if whole_lines else self.lengths(x).tolist()
        return [
            self.separator.join(table[k] for k in row[:count]) for row, count in zip(x.tolist(), counts, strict=True)
        ]

    def numbers(self, items: Sequence[str], what: str) -> NDArray[np.int64]:
        """Texts as symbols (N, L). Raises InputError, naming ``what``, for other symbols and for longer ones."""
        place = {symbol: k for k, symbol in enumerate(self.vocabulary)}
        found = np.full((len(items), self.length), len(self.vocabulary), np.int64)
        for i, item in enumerate(items):
            parts = item.split(self.separator) if self.separator else list(item)
            if unknown := [part for part in parts if part not in place]:
                raise InputError(
                    f"{what}: {escaped(item)} has {few(sorted(set(unknown)))}, and the symbols are "
                    f"{escaped(' '.join(self.vocabulary[:40]))}; give only these"
                )
            if len(parts) > self.length or (len(parts) < self.length and not self.ends):
                kind = "at most" if self.ends else "exactly"
                raise InputError(f"{what}: {escaped(item)} has {len(parts)} symbols; give {kind} {self.length}")
            found[i, : len(parts)] = [place[part] for part in parts]
        return found

    def picture(self, x: Tensor, title: str, captions: Sequence[str] | None = None) -> bytes:
        """A page of lines."""
        del captions
        lines = self.texts(x[:SHOWN])
        columns = max(1, min(6, len(lines) // 12, 120 // (max(map(len, lines), default=1) + 3)))
        return png(page(lines, title, columns=columns).convert("RGBA"))

    def strip(self, t: Sequence[float], x: Tensor) -> bytes:
        """States (K, N, L), of up to 8 sequences, with their times."""
        panels = [
            page(self.texts(state[:8], whole_lines=True), f"t = {time:.2f}", width=self.length)
            for time, state in zip(*states(t, x, 10), strict=True)
        ]
        return png(pages(panels, max(1, min(5, 160 // (self.length + 4)))).convert("RGBA"))

    def animation(self, t: Sequence[float], x: Tensor) -> bytes:
        """Up to 60 states (K, N, L), of up to 16 sequences."""
        return animation(
            [
                page(self.texts(state[:16], whole_lines=True), f"t = {time:.2f}", width=self.length)
                for time, state in zip(*states(t, x, 60), strict=True)
            ]
        )

    def write(self, folder: Path, make: Callable[[range], Tensor], indices: range, how: Writing) -> str:
        """samples.txt, a line each, and picture.png. See `DataSpec.write`."""
        if how.format not in ("", "txt") or how.shard != (1, 1):
            name = "shard" if how.shard != (1, 1) else "format"
            raise InputError(f"{name}: {self.name} are written as one .txt by one process; leave it out")
        about = {**how.about, "start": indices.start, "count": len(indices)}
        refuse_together(folder, "samples.txt", about)
        x = made_in_parts(folder / "samples.txt", make, indices, how, about)
        text = "".join(f"{line}\n" for line in self.texts(x)).encode()
        picture = self.picture(x, how.title)
        pictured = write_together(folder, "samples.txt", lambda file: file.write(text), picture, about)
        return f"{folder / 'samples.txt'} and {pictured}"

    def reading(self, config: DataConfig) -> DataConfig:
        """Arrays are symbols, too."""
        return config


@dataclass(frozen=True, eq=False)
class SymbolDataset:
    """N sequences of L symbols.

    Attributes:
        values: int16 (N, L), below the spec's levels; ends come last.
        spec: the vocabulary.
        keys: one name an item, all different, the same everywhere.
        labels: int64 (N,) where there are classes.
        numbers: float64 (N,) for each column of numbers, NaN where one is missing.

    Raises:
        InputError: the fields do not agree with each other.
    """

    values: NDArray[np.int16]
    spec: SymbolSpec
    keys: tuple[str, ...]
    labels: NDArray[np.int64] | None = None
    numbers: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != self.spec.length or self.values.dtype != np.int16:
            raise InputError(f"symbols: {self.values.dtype} {self.values.shape} is not int16 (N, {self.spec.length})")
        if len(self.values) and not 0 <= self.values.min() <= self.values.max() < self.spec.levels:
            raise InputError(f"symbols: hold values outside 0 to {self.spec.levels - 1}")
        if len(self.keys) != len(self.values) or len(set(self.keys)) != len(self.values):
            raise InputError(f"keys: {len(set(self.keys))} different ones for {len(self.values)} items; give each one")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int]:
        """(L,)."""
        return self.spec.shape

    @property
    def label_names(self) -> tuple[str, ...]:
        return self.spec.label_names

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.numbers)

    def batch(self, items: NDArray[np.int64]) -> Tensor:
        """These sequences: int64 (len(items), L), on the CPU."""
        return torch.from_numpy(self.values[items].astype(np.int64))

    def labels_of(self, items: NDArray[np.int64]) -> Tensor:
        """Classes, int64 (len(items),). Raises InputError where there are none."""
        if self.labels is None:
            raise no_labels()
        return torch.from_numpy(self.labels[items])

    def column(self, name: str) -> NDArray[np.float64]:
        """The numbers of every item. Raises InputError for an unknown name."""
        if name not in self.numbers:
            raise no_column(name, self.columns)
        return self.numbers[name]

    def texts(self) -> list[str]:
        """All items as text."""
        return self.spec.texts(self.batch(np.arange(len(self))))

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> "SymbolDataset":
        """The items at ``indices`` (all different), in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            values=self.values[chosen],
            keys=tuple(self.keys[i] for i in chosen),
            labels=None if self.labels is None else self.labels[chosen],
            numbers={name: column[chosen] for name, column in self.numbers.items()},
        )

    def split(self, held_out: float) -> "tuple[SymbolDataset, SymbolDataset]":
        """(train, held out), as `sumi.data.dataset.divide` says. Raises InputError."""
        train, held = divide(self.keys, held_out)
        return self.subset(train), self.subset(held)

    def fitted_to(self, spec: DataSpec, source: str) -> "SymbolDataset":
        """The same texts in the vocabulary and length of ``spec``. Raises InputError where they do not fit."""
        wanted = expect(spec, SymbolSpec, str(unlike(self.spec, spec, source)))
        if replace(wanted, label_names=self.label_names) == self.spec:
            return self
        values = wanted.numbers(self.texts(), f"data.source: {source}").astype(np.int16)
        return replace(self, values=values, spec=replace(wanted, label_names=self.label_names))

    def std(self) -> float:
        """1: symbols have no scale."""
        return 1.0

    def fingerprint(self) -> str:
        """sha256 (hex) of symbols, vocabulary, classes, numbers and keys."""
        digest = hashlib.sha256(f"{self.spec} {self.values.shape}".encode())
        digest.update("\0".join(self.keys).encode("utf-8", "surrogateescape"))
        digest.update(np.ascontiguousarray(self.values, dtype="<i2").data)
        for name, column in (("", self.labels), *self.numbers.items()):
            if column is not None:
                digest.update(name.encode() + np.ascontiguousarray(column).astype("<f8").data)
        return digest.hexdigest()

    def skipped_report(self, limit: int | None = None) -> tuple[str, ...]:
        """Nothing: a file is used whole or refused."""
        del limit
        return ()


def pattern_of(spec: SymbolSpec, pattern: object, unknown: str = "?") -> tuple[Tensor, int]:
    """A text in which ``unknown`` stands for any one symbol, as int64 (L,) with -1 for those; and its symbols' number.

    "*" at the end: any symbols may follow, and none. Without it, the sequence ends there. Raises InputError.
    """
    match pattern:
        case str() if pattern:
            text = pattern
        case _:
            raise InputError(f"pattern: {shown(pattern)} is no text; write one such as CC?O")
    if len(unknown) != 1 or unknown in spec.vocabulary:
        raise InputError(f"mask: {unknown!r} is not one character that is none of the data's; give another")
    opened = text.endswith("*") and "*" not in spec.vocabulary
    text = text.removesuffix("*") if opened else text
    parts = (text.split(spec.separator) if text else []) if spec.separator else list(text)
    values = torch.full((spec.length,), len(spec.vocabulary) if spec.ends and not opened else -1)
    if len(parts) > spec.length or not (spec.ends or opened or len(parts) == spec.length):
        raise InputError(f"pattern: {escaped(text)} has {len(parts)} symbols, and the data's have {spec.length}")
    for i, part in enumerate(parts):
        values[i] = -1 if part == unknown else int(replace(spec, length=1).numbers([part], "pattern")[0, 0])
    return values, len(parts)

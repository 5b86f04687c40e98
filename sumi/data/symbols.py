"""Data that are sequences of symbols: lines of text, strings of molecules, rows of whole numbers.

A string becomes its characters' numbers in the vocabulary, sorted, and where strings differ in length, one number more,
the end, fills them up to the longest:

    vocabulary C N O,   "CON" and "C"      0 2 1  and  0 3 3

A model learns the ends as it learns all else, and so how long strings are: -log p of the filled sequence is that of the
string and its length. Rows of whole numbers (N, L) are symbols in the same way, named by their numbers.

    .txt     an item a line; empty lines are left out
    .csv     with a line of names: data.column has the strings, data.labels classes; columns of numbers are conditions
    .npy     whole numbers (N, L), with data.symbols=true
"""

import csv
import gzip
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import log
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sumi.boundary.arguments import MOST_COUNT, shown, whole
from sumi.boundary.config import nearest
from sumi.data.config import DataConfig
from sumi.data.dataset import Skipped, divide, escaped, few, no_column, no_labels
from sumi.data.files import Writing, batches_of, refuse_together, write_together
from sumi.data.images import indexed
from sumi.data.spec import DataSpec, Unit, expect, states, unlike
from sumi.errors import InputError, printable
from sumi.figures.pictures import animation, png
from sumi.figures.text import MASK, page, pages

LONGEST: Final = 1024
MOST_SYMBOLS: Final = 1024
SHOWN: Final = 96
"""Lines in a picture."""
SUFFIXES: Final = (".txt", ".csv", ".txt.gz", ".csv.gz")


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
        x = torch.cat([make(batch) for batch in batches_of(indices, how.batch_size, how.progress)])
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


def from_texts(
    items: Sequence[str],
    config: DataConfig,
    what: str,
    *,
    keys: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    numbers: Mapping[str, NDArray[np.float64]] | None = None,
    notes: tuple[str, ...] = (),
) -> SymbolDataset:
    """Strings as sequences of their characters; ``what`` is their name in errors.

    Raises InputError for fewer than two, for empty and too long ones, and where all are alike.
    """
    refuse_other_fields(config)
    if len(items) < 2 or len(set(items)) < 2:
        alike = "all alike" if len(items) > 1 else "too few"
        raise InputError(f"data.source: {what} holds {len(items)} strings, {alike}; give at least 2 that differ")
    if not all(items):
        raise InputError(f"data.source: {what} has an empty string at {items.index('')}; leave it out")
    length, shortest = max(map(len, items)), min(map(len, items))
    if length > LONGEST:
        raise InputError(f"data.source: {what} has a string of {length} characters; cut them to {LONGEST}")
    used = Counter[str]()
    for item in items:
        used.update(item)
    if (k := len(used)) >= MOST_SYMBOLS:
        raise InputError(f"data.source: {what} has {k} different characters; give text of fewer than {MOST_SYMBOLS}")
    index, names = (None, ()) if labels is None else indexed(list(labels))
    spec = SymbolSpec(tuple(sorted(used)), length, shortest < length, "", names)
    values = spec.numbers(items, what).astype(np.int16)
    return SymbolDataset(
        values, spec, tuple(keys) or tuple(f"line/{i:07d}" for i in range(len(items))), index, numbers or {}, notes
    )


def from_integers(array: NDArray[Any], config: DataConfig, what: str) -> SymbolDataset:
    """Whole numbers (N, L), each value a symbol. Raises InputError for anything else."""
    refuse_other_fields(config)
    if array.ndim != 2 or array.dtype.kind not in "iub" or array.size == 0:
        raise InputError(f"data.symbols: {what} holds {array.dtype} {array.shape}; give whole numbers (N, L)")
    found, places = np.unique(np.asarray(array), return_inverse=True)
    if not 2 <= len(found) <= MOST_SYMBOLS or array.shape[1] > LONGEST:
        raise InputError(
            f"data.symbols: {what} holds {len(found)} different numbers in rows of {array.shape[1]}; give 2 to "
            f"{MOST_SYMBOLS} of them in rows of up to {LONGEST}"
        )
    spec = SymbolSpec(tuple(str(int(value)) for value in found), array.shape[1], False, " ")
    keys = tuple(f"row/{i:07d}" for i in range(len(array)))
    return SymbolDataset(places.reshape(array.shape).astype(np.int16), spec, keys)


def load_texts(path: Path, config: DataConfig) -> SymbolDataset:
    """The strings of a text file, or of a column of a table (module docstring). Raises InputError."""
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise InputError(f"data.source: {path} cannot be read as text ({error}); save it as UTF-8") from None
    if ".csv" in path.suffixes:
        return from_table(text.splitlines(), config, str(path))
    for name in ("column", "labels"):
        if getattr(config, name) is not None:
            raise InputError(f"data.{name}: {path} has no columns; leave it out, or give a .csv")
    lines = text.splitlines()
    items = [line for line in lines if line]
    left = len(lines) - len(items)
    return from_texts(items, config, str(path), notes=(f"{left} empty lines are left out",) if left else ())


def from_table(lines: Iterable[str], config: DataConfig, what: str) -> SymbolDataset:
    """The strings in ``config.column`` of a table with a line of names, its first column where none is named.

    Columns of numbers are kept as numbers; ``config.labels`` names that of the classes. Raises InputError.
    """
    rows = [row for row in csv.reader(lines) if row]
    if len(rows) < 3:
        raise InputError(f"data.source: {what} holds {max(0, len(rows) - 1)} rows; at least 2 are needed")
    names, body = rows[0], rows[1:]
    for i, row in enumerate(body):
        if len(row) != len(names):
            raise InputError(f"data.source: {what} has {len(row)} fields in row {i + 1}, and {len(names)} names")
    columns = dict(zip(names, zip(*body, strict=True), strict=True))
    chosen = {"column": config.column or names[0], "labels": config.labels}
    for name, value in chosen.items():
        if value is not None and value not in columns:
            raise InputError(f"data.{name}: {what} has no column {value!r}; {nearest(value, names)}")
    items = columns.pop(str(chosen["column"]))
    labels = None if config.labels is None else columns.pop(config.labels)
    numbers = {name: found for name, values in columns.items() if (found := _numbers_of(values)) is not None}
    return from_texts(list(items), config, what, labels=labels, numbers=numbers)


def _numbers_of(values: Sequence[str]) -> NDArray[np.float64] | None:
    """A column of numbers, NaN where a field is empty; None where one is no number, or all are empty."""
    try:
        found = np.array([float(value) if value.strip() else np.nan for value in values])
    except ValueError:
        return None
    return found if np.isfinite(found).any() and not np.isinf(found).any() else None


def refuse_other_fields(config: DataConfig) -> None:
    """Raises InputError where a field of images is set."""
    for name, value in (
        ("size", config.size),
        ("channels", config.channels),
        ("range", config.range),
        ("label_pattern", config.label_pattern),
        ("flip", config.flip or None),
        ("dequantize", config.dequantize or None),
    ):
        if value is not None:
            raise InputError(f"data.{name}: {config.source} holds symbols, which have none; leave it out")


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

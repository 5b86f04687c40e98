"""Files and arrays that hold symbols (`sumi.data.symbols`).

.txt     an item a line; empty lines are left out, and lines of over 1,024 characters are divided into pieces of 256
folder   of .txt files and nothing else that is read: the items of all, in the order of names
.csv     with a line of names: data.column has the strings, data.labels classes; columns of numbers are conditions; rows
         whose string is empty are left out, and line breaks within one become spaces
.npy     whole numbers (N, L), with data.symbols=true
"""

import csv
import gzip
import io
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sumi.boundary.config import nearest
from sumi.data.config import DataConfig
from sumi.data.dataset import indexed
from sumi.data.decode import SUFFIXES as PICTURES
from sumi.data.molecule_files import SUFFIXES as MOLECULES
from sumi.data.sound_files import SUFFIXES as SOUNDS
from sumi.data.symbols import MOST_SYMBOLS, SymbolDataset, SymbolSpec
from sumi.errors import InputError

LONGEST: Final = 1024
PIECE: Final = 256
"""Characters of a piece of a line that is too long, as of a text without lines."""
TEXTS: Final = (".txt", ".txt.gz")
SUFFIXES: Final = (*TEXTS, ".csv", ".csv.gz")
OTHER_FIELDS: Final = ("size", "channels", "range", "label_pattern", "flip", "dequantize")
"""The fields of a `DataConfig` that symbols do not have."""


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
    config.refuse("symbols", OTHER_FIELDS)
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
    config.refuse("symbols", OTHER_FIELDS)
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


def holds_texts(folder: Path) -> bool:
    """Whether there are text files below a folder, and no pictures, sounds or molecules, whose captions they may be."""
    found = False
    for _, _, names in os.walk(folder):
        suffixes = {Path(name).suffix.lower() for name in names}
        if suffixes & {*PICTURES, *SOUNDS, *MOLECULES}:
            return False
        found |= any(name.endswith(TEXTS) for name in names)
    return found


def load_texts(path: Path, config: DataConfig) -> SymbolDataset:
    """The strings of a text file, of a folder of them, or of a table's column (module docstring). Raises InputError."""
    if path.name.endswith((".csv", ".csv.gz")):
        return from_table(io.StringIO(_text(path), newline=""), config, str(path))
    for name in ("column", "labels"):
        if getattr(config, name) is not None:
            raise InputError(f"data.{name}: {path} has no columns; leave it out, or give a .csv")
    files = sorted(f for f in path.rglob("[!.]*") if f.name.endswith(TEXTS)) if path.is_dir() else [path]
    lines = [(file, line) for file in files for line in _text(file).splitlines()]
    left, long = sum(not line for _, line in lines), sum(len(line) > LONGEST for _, line in lines)
    items = [(file, piece) for file, line in lines for piece in _pieces(line)]
    notes = [f"empty lines, left out: {left}"] if left else []
    notes += [f"lines of more than {LONGEST:,} characters, divided into pieces of {PIECE}: {long}"] if long else []
    keys = [f"{f.relative_to(path).as_posix()}/{i:07d}" for i, (f, _) in enumerate(items)] if path.is_dir() else ()
    return from_texts([item for _, item in items], config, str(path), keys=keys, notes=tuple(notes))


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        raise InputError(f"data.source: {path} cannot be read as text ({error}); save it as UTF-8") from None


def _pieces(line: str) -> list[str]:
    """The line itself, none of an empty one, or what a line that is too long is divided into."""
    if len(line) <= LONGEST:
        return [line] if line else []
    return [line[k : k + PIECE] for k in range(0, len(line), PIECE)]


def from_table(lines: Iterable[str], config: DataConfig, what: str) -> SymbolDataset:
    """The strings in ``config.column`` of a table with a line of names, its first column where none is named.

    Columns of numbers are kept as numbers; ``config.labels`` names that of the classes. Raises InputError.
    """
    try:
        rows = [row for row in csv.reader(lines) if row]
    except csv.Error as error:
        raise InputError(f"data.source: {what} is no table ({error}); look for a quote that is not closed") from None
    if len(rows) < 3:
        raise InputError(f"data.source: {what} holds {max(0, len(rows) - 1)} rows; at least 2 are needed")
    names, body = rows[0], rows[1:]
    for i, row in enumerate(body):
        if len(row) != len(names):
            raise InputError(f"data.source: {what} has {len(row)} fields in row {i + 1}, and {len(names)} names")
    chosen = {"column": config.column or names[0], "labels": config.labels}
    for name, value in chosen.items():
        if value is not None and value not in names:
            raise InputError(f"data.{name}: {what} has no column {value!r}; {nearest(value, names)}")
    place = names.index(str(chosen["column"]))
    whole = [row for row in body if row[place]]
    if not whole:
        raise InputError(f"data.column: {what} has nothing in its column {chosen['column']!r}; choose another")
    left = len(body) - len(whole)
    columns = dict(zip(names, zip(*whole, strict=True), strict=True))
    given = columns.pop(names[place])
    items = [" ".join(item.splitlines()) for item in given]
    broken = sum(item != one for item, one in zip(items, given, strict=True))
    labels = None if config.labels is None else columns.pop(config.labels)
    numbers = {name: found for name, values in columns.items() if (found := _numbers_of(values)) is not None}
    notes = [f"rows without a string, left out: {left}"] if left else []
    notes += [f"strings with line breaks, which are spaces now: {broken}"] if broken else []
    return from_texts(items, config, what, labels=labels, numbers=numbers, notes=tuple(notes))


def _numbers_of(values: Sequence[str]) -> NDArray[np.float64] | None:
    """A column of numbers, NaN where a field is empty; None where one is no number, or all are empty."""
    try:
        found = np.array([float(value) if value.strip() else np.nan for value in values])
    except ValueError:
        return None
    return found if np.isfinite(found).any() and not np.isinf(found).any() else None

"""Files and arrays that hold symbols (`sumi.data.symbols`).

.txt     an item a line; empty lines are left out
.csv     with a line of names: data.column has the strings, data.labels classes; columns of numbers are conditions
.npy     whole numbers (N, L), with data.symbols=true
"""

import csv
import gzip
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sumi.boundary.config import nearest
from sumi.data.config import DataConfig
from sumi.data.dataset import indexed
from sumi.data.symbols import MOST_SYMBOLS, SymbolDataset, SymbolSpec
from sumi.errors import InputError

LONGEST: Final = 1024
SUFFIXES: Final = (".txt", ".csv", ".txt.gz", ".csv.gz")
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

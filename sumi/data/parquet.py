"""Parquet files as a data set of images: the layout of Hugging Face's data sets (``pip install 'sumi[parquet]'``).

    data/train-00000-of-00002.parquet … test-00000-of-00001.parquet

A row is an image, encoded as a file is: a column of bytes, or of ``{bytes, path}``; ``image`` where there are several.
The other columns describe it as those of a table of metadata do (`sumi.data.metadata`). Classes are the column
``label``, or else the first that the file's own description calls one, with the names that it has there. A file's name
up to its number, which a hash may follow, is the split of its rows, where they have none of their own. The key of an
image is the name in ``path``, where all in a file differ, or the row's number; and the file's.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from sumi.data.config import DataConfig
from sumi.data.dataset import Progress, escaped, few
from sumi.data.decode import SUFFIXES
from sumi.data.folder import image_set
from sumi.data.image_set import ImageDataset
from sumi.data.members import Facts, Part
from sumi.data.metadata import TEXT_COLUMNS, Description, description_of
from sumi.errors import InputError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

IMAGE: Final = "image"
_NUMBERED: Final = re.compile(r"(.+?)-\d+-of-\d+(?:-[0-9a-f]{16})?")
_READING = Lock()


@dataclass(frozen=True)
class Cell(Part):
    """The image in ``row`` of a group of rows of ``table``, called ``name``."""

    table: Path
    name: str
    column: str
    nested: bool
    group: int
    row: int
    size: int
    changed: int
    noted: int

    def __str__(self) -> str:
        return f"{self.name} in {self.table}"

    def read_bytes(self) -> bytes:
        with _READING:  # one thread reads a group, and the others find it
            content = _group(self.table, self.changed, self.group, self.column, self.nested)[self.row]
        if content is None:
            raise OSError(0, "its row has no image")
        return content

    def stat(self) -> Facts:
        """The size of the whole file, as those of images are not known unread."""
        return Facts(self.size, self.changed, self.noted)


def tables_in(path: Path) -> list[Path]:
    """The Parquet files of a folder, or of ``data`` in it, that holds no images; or the one at ``path``."""
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    if not path.is_dir() or any(entry.suffix.lower() in SUFFIXES for entry in path.iterdir()):
        return []
    return sorted(path.glob("*.parquet")) or sorted(path.glob("data/*.parquet"))


def load_tables(path: Path, config: DataConfig, *, progress: Progress | None = None) -> ImageDataset:
    """Read every image in the Parquet files at ``path``.

    Raises InputError as `sumi.data.folder.load_folder`, where pyarrow is missing, and for a damaged file, or one
    without a column of images.
    """
    images: list[tuple[str, Part]] = []
    described: dict[str, Description] = {}
    unused: dict[str, None] = {}
    for table in tables_in(path):
        for key, cell, fields in _rows(table):
            found, without = description_of(fields, f"{table}, {cell.name}")
            split = _NUMBERED.fullmatch(table.stem)
            described[key] = replace(found, split=found.split or (split[1] if split else table.stem))
            unused |= dict.fromkeys(without)
            images.append((key, cell))
    used = f"captions are {', '.join(TEXT_COLUMNS)}; classes are label"
    notes = [f"columns that are not used: {few([*unused])} ({used})"] if unused else []
    return image_set(path, images, described, config, (), (), ((), notes), progress=progress)


def _rows(table: Path) -> Iterator[tuple[str, Cell, dict[str, Any]]]:
    """Of a file: key, image and the other columns of each row."""
    file, found = _opened(table), table.stat()
    schema = file.schema_arrow
    image, nested = _image_column(schema, table)
    classes = _classes(schema.metadata or {})
    others = [name for name in schema.names if name != image]
    label = "label" if "label" in others else next((name for name in classes if name in others), None)
    names: list[str | None] = [None] * file.metadata.num_rows
    if nested and "path" in [field.name for field in schema.field(image).type]:
        column = file.read(columns=[f"{image}.path"]).column(0)
        names = [None if row is None else row["path"] for row in column.to_pylist()]
    own = [None if name is None else PurePosixPath(name.replace("\\", "/")).name for name in names]
    alone = None not in own and len(set(own)) == len(own)
    number = 0
    for group in range(file.num_row_groups):
        facts = file.read_row_group(group, columns=others).to_pylist() if others else []
        for row in range(file.metadata.row_group(group).num_rows):
            fields = dict(facts[row]) if others else {}
            if label is not None:
                fields["label"] = _named(fields.pop(label), classes.get(label))
            name = str(own[number]) if alone else f"row {number}"
            times = found.st_mtime_ns, found.st_ctime_ns
            cell = Cell(table, name, image, nested, group, row, found.st_size, *times)
            yield f"{name if alone else number}@{table.name}", cell, fields
            number += 1


def _image_column(schema: Any, table: Path) -> tuple[str, bool]:
    """The column of encoded images, and whether they are a field of it. Raises InputError where there is none."""
    found: dict[str, bool] = {}
    for field in schema:
        if str(field.type) in ("binary", "large_binary"):
            found[field.name] = False
        elif str(field.type).startswith("struct<") and "bytes" in [part.name for part in field.type]:
            found[field.name] = True
    if not found:
        columns = few([escaped(name) for name in schema.names])
        raise InputError(f"data.source: {table} has no column of images, but {columns}; give files with encoded images")
    name = IMAGE if IMAGE in found else next(iter(found))
    return name, found[name]


def _classes(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """The names of the classes in each column of classes, of the description by Hugging Face's library."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        return {
            name: [str(one) for one in feature["names"]]
            for name, feature in features.items()
            if feature.get("_type") == "ClassLabel"
        }
    except (ValueError, AttributeError, KeyError, TypeError):
        return {}


def _named(label: Any, names: list[str] | None) -> Any:
    """The class's name where there are names; None for -1, which stands for an unknown one."""
    match label:
        case int() if names is not None:
            return names[label] if 0 <= label < len(names) else None
        case _:
            return label


@lru_cache(maxsize=2)
def _group(table: Path, changed: int, group: int, column: str, nested: bool) -> list[bytes | None]:
    """The encoded images of a group of rows. Raises OSError."""
    if table.stat().st_mtime_ns != changed:
        raise OSError(0, "the file has changed since the start")
    wanted = f"{column}.bytes" if nested else column
    read = _opened(table).read_row_group(group, columns=[wanted]).column(0).to_pylist()
    return [None if row is None else row["bytes"] for row in read] if nested else read


def _opened(table: Path) -> "pq.ParquetFile":
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError(f"data.source: {table} needs pyarrow; install it: pip install 'sumi[parquet]'") from None
    try:
        return pq.ParquetFile(table)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"data.source: {table} is no Parquet file, or damaged ({reason}); copy it again") from None

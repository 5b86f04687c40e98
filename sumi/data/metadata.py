"""Descriptions of images: ``metadata.jsonl``, ``metadata.csv`` or ``metadata.tsv`` in the folder of images.

The convention of Hugging Face's ``imagefolder``: one JSON object a line, or a table with a header. The file may lie
in any folder from the data folder down; its paths are relative to where it lies, with / or \\ between folders.

    file_name, filename, file, image or path     the image; the first that is there
    text, caption, prompt or description         its caption, or a list of captions; the first that is there
    keywords                                     words for it: a list, or one text with commas between them
    label                                        its class: a name or a whole number
    split                                        what it is for: train, test, … (`sumi.data.dataset.split_role`)
    all others                                   values of the image where they are numbers, else not used

A table's separator is the one of comma, semicolon, tab and | that is most frequent in its header.

A text file of an image's own name, such as 001.txt of 001.png, holds its captions, one a line, where the metadata have
none.
"""

import csv
import io
import json
import os
import re
import unicodedata
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any, Final

from sumi.data.dataset import escaped, few
from sumi.errors import InputError

METADATA: Final = ("metadata.jsonl", "metadata.csv", "metadata.tsv")
"""The names of such files; of several in a folder the first is read."""
FILE_COLUMNS: Final = ("file_name", "filename", "file", "image", "path")
TEXT_COLUMNS: Final = ("text", "caption", "prompt", "description")
CAPTION_SUFFIXES: Final = (".txt", ".caption")
LONGEST_CAPTION: Final = 2**16
"""In bytes; longer text files are no captions."""
_LONGEST_NUMBER: Final = 300
"""In digits; longer ones are taken for text."""


@dataclass(frozen=True)
class Description:
    """What one line says about one image; ``place`` is "FILE, line N"; ``text`` has a line for each caption."""

    place: str
    text: str | None
    label: str | int | None
    values: Mapping[str, float] = field(default_factory=dict)
    split: str | None = None
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Line:
    """A line's image, its label, caption and numbers, the column of its caption, and the columns that are not used."""

    file_name: str
    description: Description
    text_column: str | None
    unused: tuple[str, ...]


def key_of(relative_path: str) -> str:
    """The key of a file: its path with forward slashes, composed (NFC) as not every file system gives it."""
    if relative_path.isascii() and "/" not in relative_path:
        return relative_path
    return unicodedata.normalize("NFC", str(PurePosixPath(relative_path)))


def read_metadata(
    files: Sequence[Path], root: Path, images: Container[str], captions: Mapping[str, Path]
) -> tuple[dict[str, Description], tuple[str, ...]]:
    """The descriptions in ``files`` by the key of the image below ``root``, and notes on the columns.

    ``images``: the keys that there are; ``captions``: the text file of each image that has one. Of two files that
    describe an image the later one counts. Raises InputError for a line that cannot be read; the message names file and
    line.
    """
    described: dict[str, Description] = {}
    notes: list[str] = []
    for path in files:
        own: dict[str, Description] = {}
        columns: dict[str, None] = {}
        unused: dict[str, None] = {}
        for line in _lines(path):
            key = _key(path, line.file_name, root, images)
            if key is None:
                continue
            if key in own:
                place = f"{path}, {line.description.place.rsplit(', ', 1)[1]}"
                first = own[key].place.rsplit(", ", 1)[1]
                raise InputError(f"{place}: {line.file_name} stands in {first} already; remove one of them")
            own[key] = line.description
            columns |= dict.fromkeys(filter(None, [line.text_column]))
            unused |= dict.fromkeys(line.unused)
        described |= own
        for name in columns:
            notes += [f"captions are read from {escaped(name)} in {path.name}"] if name != "text" else []
        if unused:
            used = f"captions are {', '.join(TEXT_COLUMNS)}; classes are label"
            notes.append(f"not used in {path.name}: {few([*unused])} ({used})")
    texts = {key: path for key, path in captions.items() if key not in described or not described[key].text}
    for key, path in texts.items():
        found = described.get(key, Description(str(path), None, None))
        described[key] = replace(found, text=_captions_in(path))
    if texts:
        notes.append(f"captions of {len(texts)} are read from text files of their names")
    if len(captions) > len(texts):
        notes.append(
            f"{len(captions) - len(texts)} text files are not used: the metadata have captions for their images"
        )
    return described, tuple(notes)


def description_of(fields: Mapping[str, object], place: str) -> tuple[Description, tuple[str, ...]]:
    """What the columns of one row say, by the rules above, and the names of those that are not used.

    Raises InputError as `read_metadata`, naming ``place``.
    """
    line = _described({**fields, FILE_COLUMNS[0]: "-"}, place, place)
    return line.description, line.unused


def _captions_in(path: Path) -> str | None:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); mend its permissions") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8, as captions are; save it as UTF-8") from None
    return caption_of(text)


def caption_of(text: str) -> str | None:
    """The lines of a text that are not blank."""
    return "\n".join(filter(None, map(str.strip, text.splitlines()))) or None


def _key(path: Path, file_name: str, root: Path, images: Container[str]) -> str | None:
    """The key that ``file_name`` in the file ``path`` stands for; None for an image outside ``root``."""
    for name in (file_name, file_name.replace("\\", "/")):
        key = key_of(os.path.relpath(f"{path.parent}/{name}", root))
        if key in images:
            return key
    outside = key.startswith("../") and not path.is_relative_to(root)
    return None if outside else key


def _lines(path: Path) -> Iterator[_Line]:
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); mend its permissions") from None
    read = _objects if path.suffix == ".jsonl" else _rows
    for number, fields in read(content, path):
        yield _described(fields, f"{path}, line {number}", f"{path.name}, line {number}")


def _decoded(content: bytes, place: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: is not UTF-8 ({error.reason}); save the file as UTF-8") from error


def _objects(content: bytes, path: Path) -> Iterator[tuple[int, Any]]:
    """(line number, its JSON value), without empty lines."""
    for number, line in enumerate(content.split(b"\n"), start=1):
        place = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            yield number, json.loads(_decoded(line, place), parse_int=_whole)
        except json.JSONDecodeError as error:
            raise InputError(f"{place}: is not JSON ({error.msg}, column {error.colno}); mend or remove it") from error
        except RecursionError as error:
            raise InputError(f"{place}: is nested too deeply; mend or remove the line") from error


def _rows(content: bytes, path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """(line number, cells by column) of a table; empty cells are None, and numbers are numbers but in captions."""
    for k, part in enumerate(content.split(b"\n"), start=1):
        _decoded(part, f"{path}, line {k}")
    text = content.decode("utf-8")
    header = text.split("\n", 1)[0]
    separator = max(",;\t|", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, restkey="")
    try:
        for row in reader:
            cells = {name.strip(): cell for name, cell in row.items() if name}
            yield reader.line_num, {name: _cell(name, cell) for name, cell in cells.items()}
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num + 1}: is no row of a table ({error}); mend or remove it"
        ) from None


def _cell(name: str, cell: str | None) -> object:
    if not cell or not cell.strip():
        return None
    if name in (*FILE_COLUMNS, *TEXT_COLUMNS):
        return cell
    if re.fullmatch(r"-?(0|[1-9]\d*)", cell.strip(), re.ASCII):
        return _whole(cell.strip())
    if name != "label" and "_" not in cell:
        with suppress(ValueError):
            return float(cell)
    return cell


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else digits


def _described(fields: object, place: str, short: str) -> _Line:
    match fields:
        case dict():
            pass
        case _:
            raise InputError(f'{place}: is no JSON object; write {{"file_name": "a.png", "text": "…"}}')
    file_column, text_column = _first(fields, FILE_COLUMNS), _first(fields, TEXT_COLUMNS)
    match fields.get(file_column):
        case str(file_name) if file_name:
            pass
        case _:
            raise InputError(f"{place}: has no file_name; give the image's path relative to the folder")
    match fields.get(text_column):
        case (None | str()) as text:
            pass
        case [*several] if several and all(map(_is_text, several)):
            text = "\n".join(" ".join(caption.split()) for caption in several)
        case other:
            raise InputError(
                f"{place}: {text_column} is {type(other).__name__}; give a string or a list of them, or leave it out"
            )
    keywords = _keywords(fields.get("keywords"))
    label = _label(fields.get("label"), place)
    split = _split(fields.get("split"))
    used = (file_column, text_column, "label", *(["split"] if split else []), *(["keywords"] if keywords else []))
    rest = {name: value for name, value in fields.items() if name not in used}
    numbers = {escaped(name): _number(value) for name, value in rest.items()}
    values = {name: number for name, number in numbers.items() if number is not None}
    unused = tuple(name for name, value in rest.items() if value is not None and escaped(name) not in values)
    return _Line(
        file_name, Description(short, text, label, values, split, keywords), text_column if text else None, unused
    )


def _first(fields: Mapping[str, object], names: Sequence[str]) -> str:
    """The first of ``names`` that has a value."""
    return next((name for name in names if fields.get(name) is not None), names[0])


def _is_text(value: object) -> bool:
    match value:
        case str():
            return True
        case _:
            return False


def _keywords(value: object) -> tuple[str, ...]:
    """Of a list of texts, or of one with commas; () for anything else, which is not used."""
    match value:
        case str():
            words = value.split(",")
        case [*words] if all(map(_is_text, words)):
            pass
        case _:
            return ()
    return tuple(dict.fromkeys(" ".join(word.split()) for word in words if word.strip()))


def _label(value: object, place: str) -> str | int | None:
    match value:
        case bool():
            pass
        case str():
            return escaped(value, keep_controls=True)
        case int() | None:
            return value
        case float() if value.is_integer():
            return int(value)
        case float() if not isfinite(value):  # how pandas writes a label that is missing
            return None
    raise InputError(f"{place}: label is {type(value).__name__}; give a name or a whole number, or leave it out")


def _split(value: object) -> str | None:
    """A name; numbers are values, as in any other column."""
    match value:
        case str() if value.strip():
            return escaped(value.strip())
        case _:
            return None


def _number(value: object) -> float | None:
    match value:
        case bool():
            return None
        case int() | float() if isfinite(value):
            return float(value)
        case _:
            return None

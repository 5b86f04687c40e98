"""``metadata.jsonl``: captions and classes beside a folder of images.

The convention of Hugging Face's ``imagefolder``: one JSON object a line, whose ``file_name`` is a path relative to the
folder; ``text`` is its caption and ``label`` its class. Numbers in other fields are values of the image by the field's
name. What else there is, is left alone.
"""

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path, PurePosixPath
from types import NoneType

from sumi.errors import InputError

FILE_NAME = "metadata.jsonl"


@dataclass(frozen=True)
class Description:
    """What one line says about one image; ``line`` counts from 1."""

    line: int
    text: str | None
    label: str | int | None
    values: Mapping[str, float] = field(default_factory=dict)


def key_of(relative_path: str) -> str:
    """The key of a file: its path with forward slashes, composed (NFC) as not every file system gives it."""
    return unicodedata.normalize("NFC", str(PurePosixPath(relative_path)))


def read_metadata(root: Path) -> dict[str, Description]:
    """The lines of ``root/metadata.jsonl`` by the key of the image they describe; {} where there is no such file.

    Raises:
        InputError: a line is not what the convention asks for; the message names file and line.
    """
    path = root / FILE_NAME
    if not path.is_file():
        return {}
    described: dict[str, Description] = {}
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        file_name, description = _read_line(line, number, place)
        key = key_of(file_name)
        if key in described:
            raise InputError(f"{place}: {file_name} stands in line {described[key].line} already; remove one of them")
        described[key] = description
    return described


def _read_line(line: bytes, number: int, place: str) -> tuple[str, Description]:
    try:
        fields = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: is not UTF-8 ({error.reason}); save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: is not JSON ({error.msg}, column {error.colno}); mend or remove it") from error
    except RecursionError as error:
        raise InputError(f"{place}: is nested too deeply; mend or remove the line") from error
    match fields:
        case {"file_name": str(file_name)} if file_name:
            text, label = fields.get("text"), fields.get("label")
        case dict():
            raise InputError(f"{place}: has no file_name; give the image's path relative to the folder")
        case _:
            raise InputError(f'{place}: is no JSON object; write {{"file_name": "a.png", "text": "…"}}')
    if type(text) not in (str, NoneType):
        raise InputError(f"{place}: text is {type(text).__name__}; give one string, or leave it out")
    if type(label) not in (str, int, NoneType):
        raise InputError(f"{place}: label is {type(label).__name__}; give a name or a whole number, or leave it out")
    values = {name: float(v) for name, v in fields.items() if name != "label" and _is_number(v)}
    return file_name, Description(number, text, label, values)


def _is_number(value: object) -> bool:
    match value:
        case bool():
            return False
        case int() | float():
            return isfinite(value)
        case _:
            return False

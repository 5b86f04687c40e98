"""Typed configuration: frozen dataclasses, and JSON both ways; `sumi.boundary.settings` lays settings over them.

Every component owns its configuration class; this file knows none of them. Values are checked against the field's
annotation and never converted silently: "1e-4" is not a number, 3.0 not an integer, 1 not a boolean. A field that can
hold one of several classes stores the class's ``name`` as ``type``:

    {"schedule": {"type": "cosine", "steps": 1000, "s": 0.008, "max_beta": 0.999}}

A field with ``stored=False`` in its metadata belongs to one session, such as a loaded model: it is neither written nor
read. ``most`` is the largest number that a field, or an item of its list, may be: what takes memory or time in
proportion is refused as it is read. A class may name a ``shorthand``, the field that is set when none is given:
``sampling.guidance=2``.

This is our own code rather than a library, so that errors are one line with the nearest valid name, and training needs
no further package.
"""

import dataclasses
import difflib
import json
import re
import types
from collections.abc import Callable, Iterable, Iterator
from inspect import isabstract
from math import isfinite
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, overload

from sumi.errors import InputError

Config = TypeVar("Config")
LONGEST: Final = 4096
"""Characters of a text, as of a path."""


def parse_json(text: bytes, where: object, remedy: str) -> Any:
    """The value of a JSON text, with a byte order mark or without.

    Raises InputError, from ``where`` (a file or field) to the ``remedy``, for text that is not JSON, nested too deeply,
    or with a number of thousands of digits.
    """
    try:
        return json.loads(text)
    except RecursionError:
        reason = "nested too deeply"
    except (json.JSONDecodeError, UnicodeError) as error:
        reason = str(error)
    except ValueError:  # of int()
        reason = "a number has thousands of digits"
    raise InputError(f"{where}: is not valid JSON ({reason}); {remedy}")


def to_json(config: object, *, later: bool = True) -> Any:
    """Plain dicts, lists, numbers, strings, booleans and None; the inverse of `from_json`.

    ``later`` = False leaves out fields that classes did not have at first: those of the metadata "later" at their
    default, and those of the metadata "before" at that value, which all had then.
    """
    if dataclasses.is_dataclass(config):
        tag = {"type": config.name} if hasattr(config, "name") else {}
        fields = [f for f in stored_fields(config) if later or not _unused(config, f)]
        return tag | {f.name: to_json(getattr(config, f.name), later=later) for f in fields}
    if isinstance(config, tuple):
        return [to_json(item, later=later) for item in config]
    return config.tolist() if hasattr(config, "tolist") else config  # a number of NumPy's, or a tensor of one


@overload
def from_json(cls: type[Config], data: object, where: str = "", known: Iterable[type] = ()) -> Config: ...
@overload
def from_json(cls: types.UnionType, data: object, where: str = "", known: Iterable[type] = ()) -> Any: ...
def from_json(cls: Any, data: object, where: str = "", known: Iterable[type] = ()) -> Any:
    """The configuration that ``data`` describes; for a union of classes, the one that its ``type`` names.

    ``known``: further classes that ``type`` may name, such as the subclasses of an abstract one. Raises InputError
    naming the field (below ``where``) that is unknown, missing, of the wrong type or out of range.
    """
    return _convert(data, cls, where, tuple(one for one in known if hasattr(one, "name")))


def own_classes(config: object) -> tuple[type, ...]:
    """The classes in a configuration that its annotations do not name: what `from_json` must know to read it."""
    found: tuple[type, ...] = ()
    if not dataclasses.is_dataclass(config):
        return found
    hints = get_type_hints(type(config))
    for f in stored_fields(config):
        values, options = getattr(config, f.name), alternatives(hints[f.name])
        values = values if isinstance(values, tuple) else (values,)
        options += [
            one for option in options if get_origin(option) is tuple for one in alternatives(get_args(option)[0])
        ]
        for value in values:
            named = dataclasses.is_dataclass(value) and hasattr(value, "name") and type(value) not in options
            found += ((type(value),) if named else ()) + own_classes(value)
    return found


def differences(old: object, new: object) -> list[str]:
    """One "section.field: old → new" for each field that differs between two configurations."""
    before, after = dict(_leaves(to_json(old))), dict(_leaves(to_json(new)))
    keys = list(before) + [key for key in after if key not in before]
    absent = "(absent)"
    return [
        f"{key}: {before.get(key, absent)} → {after.get(key, absent)}"
        for key in keys
        if before.get(key, absent) != after.get(key, absent)
    ]


def describe(config: Any, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """(name, value, meaning) of every field, nested ones as section.field."""
    hints = get_type_hints(type(config))
    for f in stored_fields(config):
        value, name = getattr(config, f.name), f"{prefix}{f.name}"
        help_text = str(f.metadata.get("help", ""))
        if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            yield name, ",".join(item.name for item in value), help_text
            for item in value:
                yield from describe(item, f"{name}.{item.name}.")
            continue
        if dataclasses.is_dataclass(value):
            choices = [c.name for c in alternatives(hints[f.name]) if hasattr(c, "name")]
            if choices and hasattr(value, "name"):
                yield name, value.name, f"one of {', '.join(choices)}"
            yield from describe(value, f"{name}.")
        else:
            yield name, json.dumps(to_json(value)), help_text


def nearest(word: str, words: Iterable[str]) -> str:
    """ "did you mean …?" with the most similar of ``words``, or "choose from" and all of them."""
    words = list(words)
    if not words:
        return "there are none here; leave it out"
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(words)}"


def stored_fields(cls: Any) -> list[dataclasses.Field[Any]]:
    """The fields that are written to files."""
    return [f for f in dataclasses.fields(cls) if f.metadata.get("stored", True)]


def _unused(config: object, field: dataclasses.Field[Any]) -> bool:
    at_first = (
        field.default if field.metadata.get("later", False) else field.metadata.get("before", dataclasses.MISSING)
    )
    return getattr(config, field.name) == at_first


def _leaves(data: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, json.dumps(data)


def alternatives(hint: Any) -> list[Any]:
    """The alternatives of a union, or the one type."""
    return list(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else [hint]


_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", types.NoneType: "none"}


def _expects(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return f"a list, each item {_expects(get_args(hint)[0])}"
    return _WORDS.get(hint, "a table of fields")


def _convert(data: Any, hint: Any, where: str, known: tuple[type, ...]) -> Any:
    options = alternatives(hint)
    classes = [option for option in options if dataclasses.is_dataclass(option)]
    if classes and isinstance(data, dict):
        return _build(chosen_class(classes, data, where, known), data, where, known)
    if classes and hasattr(classes[0], "shorthand"):
        return _build(classes[0], {classes[0].shorthand: data}, where, known)
    for option in options:
        origin = get_origin(option)
        if origin is Literal and data in get_args(option):
            return data
        if origin is tuple and isinstance(data, list):
            item = get_args(option)[0]
            return tuple(_convert(value, item, f"{where}[{i}]", known) for i, value in enumerate(data))
        if origin is None and option in _WORDS and type(data) is option:
            _check_range(data, where)
            return data
        if option is float and type(data) is int:
            _check_range(data, where)
            return float(data)
    names = [name for option in options if get_origin(option) is Literal for name in get_args(option)]
    if names and isinstance(data, str):
        raise InputError(f"{where}: there is no {_shown(data, repr)}; {nearest(data, names)}")
    wanted = " or ".join(_expects(option) for option in options)
    raise InputError(f"{where or 'configuration'}: {_shown(data)} is not {wanted}")


def _check_range(value: Any, where: str) -> None:
    match value:
        case float() if not isfinite(value):
            raise InputError(f"{where}: {value} is not a finite number")
        case int() if not -(2**63) <= value < 2**64:
            raise InputError(f"{where}: {_shown(value)} is out of range; give one from -2^63, below 2^64")
        case str() if re.search("[\ud800-\udc7f\udd00-\udfff]", value):
            raise InputError(f"{where}: {_shown(value, repr)} is no text (half of a surrogate pair); write it anew")
        case str() if len(value) > LONGEST:
            raise InputError(f"{where}: is text of {len(value):,} characters; give {LONGEST:,} or fewer")


def _check_most(value: Any, most: int | None, where: str) -> None:
    if most is None or value is None:
        return
    for number in value if type(value) is tuple else (value,):
        if number > most:
            raise InputError(f"{where}: {number} is too large; give {most:,} or less")


def _shown(data: object, write: Callable[[object], str] = json.dumps) -> str:
    """A value of a file in a few characters of one line."""
    try:
        text = write(data)
    except (ValueError, RecursionError):
        text = f"a {type(data).__name__}"
    return text if len(text) <= 60 else f"{text[:59]}…"


def chosen_class(classes: list[Any], data: dict[str, Any], where: str, known: tuple[type, ...]) -> Any:
    """The one of ``classes``, or of those ``known``, that the ``type`` in ``data`` names. Raises InputError."""
    concrete = [cls for cls in classes if not isabstract(cls)]
    named, tag = [cls for cls in concrete if hasattr(cls, "name")], data.get("type")
    if concrete and (not named or (tag is None and len(named) < len(concrete))):
        return next(cls for cls in concrete if cls not in named)
    others = [cls for cls in known if concrete or issubclass(cls, tuple(classes))]
    by_name = {cls.name: cls for cls in (*others, *named)}
    if not isinstance(tag, str) or tag not in by_name:
        wrong = "'type' is missing" if tag is None else f"there is no {_shown(tag, repr)}"
        raise InputError(
            f"{where or 'configuration'}: {wrong}; {nearest(_shown(tag), [cls.name for cls in named] or by_name)}"
        )
    return by_name[tag]


def _with_sections(message: str, fields: Iterable[str], where: str) -> str:
    """``message`` with the full path of its field: one of the ``fields`` of the value at ``where``, or that value."""
    first = message.partition(":")[0].partition(".")[0]
    sections, _, own = where.rpartition(".")
    if first in fields and where:
        return f"{where}.{message}"
    return f"{sections}.{message}" if first == own and sections else message


def _build(cls: Any, data: dict[str, Any], where: str, known: tuple[type, ...]) -> Any:
    hints = get_type_hints(cls)
    fields = {f.name: f for f in stored_fields(cls)}
    prefix = f"{where}." if where else ""
    values = {}
    for key, value in data.items():
        if key == "type" and hasattr(cls, "name"):
            continue
        if key not in fields:
            name = key if key.isprintable() and len(key) <= 60 else _shown(key)
            raise InputError(f"{prefix}{name}: there is no such field; {nearest(name, fields)}")
        values[key] = _convert(value, hints[key], f"{prefix}{key}", known)
        _check_most(values[key], fields[key].metadata.get("most"), f"{prefix}{key}")
    for name, f in fields.items():
        if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise InputError(f"{prefix}{name}: is missing; add it")
    try:
        return cls(**values)
    except InputError as error:
        raise InputError(_with_sections(str(error), fields, where)) from error

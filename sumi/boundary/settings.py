"""Settings, "section.field=value", laid over a configuration, as the command line and Python give them."""

import dataclasses
import json
import os
import types
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal, get_args, get_origin, get_type_hints

from sumi.boundary.config import (
    Config,
    alternatives,
    chosen_class,
    from_json,
    nearest,
    own_classes,
    stored_fields,
    to_json,
)
from sumi.errors import InputError

Settings = str | Iterable[str] | Mapping[str, object]
"""One or several "section.field=value", or {"section.field": value}, or {"section": {"field": value}}."""


def override(config: Config, settings: Settings) -> Config:
    """``config`` after these settings, applied in order and then checked together.

    Values are JSON or bare text; "none" is None; lists may be written 32,64 or a,b. To choose between classes, give the
    class's name (``schedule=cosine``), which sets its defaults. A table (``training={"steps": 9}``) changes only the
    fields that it names, unless it names the class. Raises InputError.
    """
    data, known = to_json(config), own_classes(config)
    for assignment in assignments(settings):
        path, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f"settings: {assignment} has no '='; write section.field=value")
        _assign(type(config), data, path.strip(), text.strip(), known)
    return _with_unstored(from_json(type(config), data, known=known), config)


def assignments(settings: Settings) -> tuple[str, ...]:
    """Settings as "section.field=value", one a field. Raises InputError for what is none."""
    match settings:
        case str():
            return (settings,)
        case Mapping():
            return tuple(_assignments(settings, ""))
        case Iterable():
            found = tuple(settings)
        case _:
            found = (settings,)
    for setting in found:
        match setting:
            case str():
                pass
            case _:
                raise InputError(f"settings: {setting!r} is not of the form section.field=value; write that")
    return found


def _assignments(values: Mapping[Any, object], section: str) -> Iterator[str]:
    """Those of a mapping: the ``type`` of a section first, as it sets the defaults of its fields."""
    for name in sorted(values, key=lambda name: name != "type"):
        match name, values[name]:
            case "type", str() as cls if section:
                yield f"{section}={cls}"
            case str(), Mapping() as inner:
                yield from _assignments(inner, f"{section}.{name}" if section else name)
            case str(), value:
                yield f"{section}.{name}={_text(value)}" if section else f"{name}={_text(value)}"
            case _:
                raise InputError(f"settings: {name!r} is not the name of a field; write section.field")


def _text(value: object) -> str:
    """A value of Python's or NumPy's as it is written on a command line."""
    match value:
        case None:
            return "none"
        case str() | os.PathLike():
            return os.fspath(value)
        case _:
            return json.dumps(to_json(value), default=to_json)


def _with_unstored(new: Any, old: object) -> Any:
    """``new`` with what no file holds, from ``old``, where they are of the same classes."""
    if type(new) is not type(old) or not dataclasses.is_dataclass(new) or isinstance(new, type):
        return new
    stored = [f.name for f in stored_fields(new)]
    kept = {
        f.name: _with_unstored(getattr(new, f.name), getattr(old, f.name)) if f.name in stored else getattr(old, f.name)
        for f in dataclasses.fields(new)
    }
    return dataclasses.replace(new, **kept)


def _assign(cls: Any, data: dict[str, Any], path: str, text: str, known: tuple[type, ...]) -> None:
    """Put ``text``, read as its field's type, at ``path`` of ``data``, the JSON of a ``cls``."""
    *sections, name = path.split(".")
    while sections:
        section = sections.pop(0)
        hint = _hint(cls, section, path)
        data = data[section]
        if isinstance(data, list):  # of configurations: NAME.field, or the field of the only one
            hint = get_args(hint)[0]
            named = [item for item in data if isinstance(item, dict) and sections[:1] == [item.get("type")]]
            sections = sections[1:] if named else sections
            chosen = named or data
            if len(chosen) != 1:
                names = ", ".join(str(item["type"]) for item in data) or "none"
                raise InputError(f"{path}: {section} is {names}; write {section}.NAME.{name}, or set {section} itself")
            data = chosen[0]
        classes = [option for option in alternatives(hint) if dataclasses.is_dataclass(option)]
        if not classes:
            raise InputError(f"{path}: {section!r} has no fields of its own; set {section} itself")
        cls = chosen_class(classes, data, path, known)
    hint = _hint(cls, name, path)
    if hasattr(hint, "shorthand") and not text.startswith("{"):
        data[name][hint.shorthand] = _parse(text, _hint(hint, hint.shorthand, path), path)
    else:
        data[name] = _merged(data.get(name), _parse(text, hint, path))


def _merged(before: object, given: object) -> object:
    """A table ``given`` over the one ``before``, unless it says of which class it is; else ``given`` itself."""
    match before, given:
        case dict(), dict() if "type" not in given:
            return before | {name: _merged(before.get(name), value) for name, value in given.items()}
        case _:
            return given


def _hint(cls: Any, name: str, path: str) -> Any:
    names = [f.name for f in stored_fields(cls)]
    if name not in names:
        raise InputError(f"{path}: there is no field {name!r}; {nearest(name, names)}")
    return get_type_hints(cls)[name]


def _parse(text: str, hint: Any, path: str) -> object:
    """``text`` from a command line, as a value for a field with this annotation."""
    options = alternatives(hint)
    if types.NoneType in options and text.lower() in ("none", "null"):
        return None
    if str in options or any(get_origin(option) is Literal for option in options):
        return text
    classes = [option for option in options if dataclasses.is_dataclass(option)]
    if classes and not text.startswith("{"):
        return {"type": text}
    tuples = [option for option in options if get_origin(option) is tuple]
    if tuples and int in options:  # a size: 64, or 48x64
        text = f"[{text.replace('x', ',')}]" if "x" in text else text
    elif tuples and not text.startswith("["):
        item = get_args(tuples[0])[0]
        words = [word.strip() for word in text.split(",")]
        if item is str:
            return words
        if dataclasses.is_dataclass(alternatives(item)[0]):
            return [{"type": word} for word in words if word != "none"]
        return [_parse(word, item, path) for word in words if text]
    if bool in options:
        text = {"yes": "true", "no": "false"}.get(text.lower(), text.lower())
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return _number(text, options)
    except (RecursionError, ValueError):
        raise InputError(
            f"{path}: is nested too deeply, or has a number of thousands of digits; give a plain value"
        ) from None
    if tuples and dataclasses.is_dataclass(alternatives(get_args(tuples[0])[0])[0]):
        return [{"type": item} if type(item) is str else item for item in found]
    return found


def _number(text: str, options: list[Any]) -> object:
    """``text`` as a number that JSON writes otherwise, such as .001, +1 or 1_000, where one may stand; or the text."""
    for read in (int, float):
        if {int, float} & {*options}:
            with suppress(ValueError):
                return read(text)
    return text

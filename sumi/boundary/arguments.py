"""Arguments as people write them: numbers, paths and arrays, whoever made them, read in one way.

The value counts and not its class: a whole number may be Python's, NumPy's or a tensor without axes, an array a tensor
of any type, device or layout, a NumPy array, nested lists, or anything with ``__array__``. A boolean is no number. What
has no such value is refused in a line that begins with the argument's name.

`torch_defaults` keeps what a caller has set for torch as a whole out of the work here.
"""

import os
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager, nullcontext
from math import isfinite
from operator import index
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from sumi.errors import InputError

MOST: Final = 2**64
"""Seeds and indices are words of a counter (`sumi.randomness`)."""
MOST_COUNT: Final = 10_000_000
"""Of samples, steps and draws at once: what takes time in proportion."""
_LOCK: Final = threading.Lock()
_found: Final[list[torch.dtype]] = []
"""The default types that those inside of `torch_defaults` found."""


@contextmanager
def torch_defaults() -> Generator[None]:
    """torch's own global settings, also as a decorator: float32, the CPU, gradients on.

    Networks are float32, and a caller's default type or device, ``no_grad`` or ``inference_mode`` changes nothing.
    The type is one for all threads: of several at once, the last to leave restores what the first found.
    """
    away = torch.get_default_device().type != "cpu"
    with _LOCK:
        _found.append(torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.device("cpu") if away else nullcontext():
            yield
    finally:
        with _LOCK:
            torch.set_default_dtype(_found.pop())


def whole(name: str, value: object, *, least: int = 0, most: int = MOST - 1) -> int:
    """``value`` as an int. Raises InputError unless it is a whole number from ``least`` to ``most``."""
    try:
        number = index(_numeric(value))
    except TypeError:
        raise InputError(f"{name}: {shown(value)} is not a whole number; give {least} or more") from None
    if not least <= number <= most:
        below = "below 2^64" if most == MOST - 1 else f"at most {most:,}"
        raise InputError(f"{name}: {number} is out of range; give {least} or more, {below}")
    return number


def real(name: str, value: object) -> float:
    """``value`` as a float. Raises InputError unless it is a finite number."""
    try:
        number = float(_numeric(value))
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name}: {shown(value)} is not a number; give one") from None
    if not isfinite(number):
        raise InputError(f"{name}: {number} is not a finite number; give one")
    return number


def _numeric(value: Any) -> Any:
    """A number of Python's of an array or tensor without axes. Raises TypeError for booleans, texts and axes."""
    if (axes := getattr(value, "ndim", 0)) != 0:
        raise TypeError(f"{axes} axes")
    match value.item() if hasattr(value, "item") else value:
        case bool() | str() | bytes() | bytearray() | complex():
            raise TypeError("no number")
        case number:
            return number


def path(name: str, value: object) -> str:
    """A path as text. Raises InputError for what is no path, and for an empty one."""
    match value:
        case str() | bytes() | os.PathLike():
            found = os.fsdecode(value)
        case _:
            raise InputError(f"{name}: {shown(value)} is not a path; give text or a pathlib.Path")
    if not found or "\0" in found or not _is_encodable(found):
        raise InputError(f"{name}: {shown(found)} is not a path; give one")
    return found


def _is_encodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def sides(name: str, value: object) -> tuple[int, int]:
    """(height, width). Raises InputError unless these are two whole numbers from 1 on."""
    try:
        height, width = listed(name, value)
    except (InputError, ValueError):
        raise InputError(f"{name}: {shown(value)} is not (height, width); give both") from None
    return whole(name, height, least=1), whole(name, width, least=1)


def listed(name: str, value: object) -> list[Any]:
    """The items of anything that has some, but for text. Raises InputError."""
    match value:
        case str() | bytes():
            pass
        case Iterable() if getattr(value, "ndim", 1):
            return list(value)
        case _:
            pass
    raise InputError(f"{name}: {shown(value)} is not a list; give one")


def classes(name: str, value: object) -> tuple[type, ...]:
    """The items of anything that has some, each a class. Raises InputError."""
    found = listed(name, value)
    for one in found:
        if not isinstance(one, type):
            raise InputError(f"{name}: {shown(one)} is no class; give the class itself")
    return tuple(found)


def tensor(name: str, value: object) -> Tensor:
    """``value`` as a tensor of its own type on its own device, without its gradient.

    Raises InputError for what holds no real numbers.
    """
    found: Tensor
    match value:
        case Tensor():
            with torch.inference_mode(False):
                found = value.detach().clone() if value.is_inference() else value.detach()
        case _:
            found = _of_array(name, value)
    if found.is_complex():
        raise InputError(f"{name}: holds {found.dtype}; give real numbers")
    return found


def unmasked(name: str, value: object) -> object:
    """``value``. Raises InputError for a NumPy array that masks some of its values, which others would read."""
    if np.ma.is_masked(value):
        raise InputError(f"{name}: {np.ma.count_masked(value)} of its values are masked; give its .filled(…)")
    return value


def _of_array(name: str, value: object) -> Tensor:
    unmasked(name, value)
    try:
        array = np.array(value, order="C")  # a copy, as its owner may write to it
        plain = np.dtype(np.float64) if array.dtype == np.longdouble else array.dtype.newbyteorder("=")
        return torch.from_numpy(array.astype(plain, copy=False))
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name}: {shown(value)} is not an array of numbers; give a tensor or an array") from None


def finite(name: str, value: object) -> Tensor:
    """``value`` as float32. Raises InputError for what holds no real numbers, or infinite ones or NaN."""
    found = tensor(name, value).float()
    if not bool(torch.isfinite(found).all()):
        raise InputError(f"{name}: not every value is finite; look for where it became NaN or infinite")
    return found


def shown(value: object) -> str:
    """``value`` in a few characters of one line; of anything large, its class."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"a {type(value).__name__}"

"""The training log ``metrics.jsonl``: one JSON object per line, each with its ``step``.

A line counts once its newline is written. A kill during a write leaves a last line without one; readers ignore it and
the next write removes it. Any other invalid line is an error that names file and line; it is never repaired silently.

Strict JSON has no NaN or infinity: such a value is written as null, and plots have a gap.
"""

import json
import math
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from sumi.boundary.files import contents
from sumi.errors import InputError, SumiError

Value: TypeAlias = float | int | str | bool | None
RENAMED: Final = {"images_per_second": "items_per_second"}
"""Former names of metrics, and their present names."""


def seconds_left(line: Mapping[str, Value], steps: int, batch_size: int) -> float | None:
    """Seconds to the last of the ``steps`` at the speed of a ``line`` of the log; None where it has no speed."""
    match line:
        case {"step": int(step), "items_per_second": float(speed)} if speed > 0:
            return max(0, steps - step) * batch_size / speed
    return None


class MetricsLog:
    """Writes the log of one run; see ``read``.

    Args:
        path: the file; the first ``append`` creates it, in an existing folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, metrics: Mapping[str, Value]) -> None:
        """Write one line and flush it to the operating system, so that a later kill does not lose it.

        Args:
            metrics: an integer ``step``, and numbers, strings, booleans or None by name.

        Raises:
            InputError: ``step`` is missing, or a value has another type.
            SumiError: the file cannot be written.
        """
        line = _line(metrics)
        with _writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with _writing(self.path), self.path.open("a+b") as file:
            _drop_torn_line(file)
            file.write(line)

    def cut_back(self, step: int) -> None:
        """Remove a torn last line and every line after ``step``, atomically.

        A run resumed at ``step`` continues from there; its first line averages the steps since.

        Raises:
            InputError: a line is not one of this log; the message names file and line.
            SumiError: the file cannot be written.
        """
        if not self.path.exists():
            return
        kept = [line for line, metrics in _lines(self.path) if _step(metrics) <= step]
        temporary = self.path.with_name(f".{self.path.name}.cut")
        with _writing(self.path):
            try:
                with temporary.open("wb") as file:
                    file.writelines(kept)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(self.path)
            finally:
                temporary.unlink(missing_ok=True)


def read(path: Path) -> list[dict[str, Value]]:
    """The lines of a log, without a torn last one, under their present names (`RENAMED`).

    Raises:
        InputError: the file is missing, or a line is not one of this log; the message names file and line.
    """
    return [{RENAMED.get(name, name): value for name, value in metrics.items()} for _, metrics in _lines(path)]


def _line(metrics: Mapping[str, Value]) -> bytes:
    _step(metrics)
    for name, value in metrics.items():
        if not isinstance(value, float | int | str | None):
            raise InputError(f"metrics.{name}: a {type(value).__name__} cannot be logged; give a plain number or text")
    finite = {name: None if _is_nonfinite(value) else value for name, value in metrics.items()}
    return (json.dumps(finite, allow_nan=False) + "\n").encode()


def _is_nonfinite(value: Value) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _step(metrics: Mapping[str, Value]) -> int:
    match metrics.get("step"):
        case int(step) if type(step) is not bool:
            return step
        case step:
            raise InputError(f"metrics.step: {step!r} is not a whole number; every line of the log needs its step")


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Value]]]:
    """Each whole line as bytes and as an object with a ``step``."""
    try:
        *whole, _torn = contents(path).split(b"\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}; check the path") from error
    for number, line in enumerate(whole, start=1):
        try:
            metrics = json.loads(line)
            _step(metrics)
        except (ValueError, AttributeError, RecursionError, InputError) as error:
            raise InputError(
                f"{path}:{number}: is not a JSON object with a step; remove the line or restore the file"
            ) from error
        yield line + b"\n", metrics


def _drop_torn_line(file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return
    file.seek(size - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


@contextmanager
def _writing(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise SumiError(
            f"{path}: cannot be written: {error.strerror or error}; free the space or the permission and resume"
        ) from error

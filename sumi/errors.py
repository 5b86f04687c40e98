"""The two errors that a command can end with, each one line.

A message names the file or field, says what is wrong, and ends with what to do. ``exit_code`` is what the command line
returns: 2 for input that the user can correct, 1 for a failure while running.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


class SumiError(Exception):
    """Something failed while running (exit code 1)."""

    exit_code = 1


class InputError(SumiError):
    """The input is wrong: a path, a field or a file (exit code 2)."""

    exit_code = 2


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Turns an OSError while writing below ``path`` into a SumiError that names it."""
    try:
        yield
    except OSError as error:
        raise SumiError(
            f"{path}: cannot be written ({error.strerror or error}); write elsewhere, or make room"
        ) from error

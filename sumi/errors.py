"""The two ways a command can end badly, each in one line.

A message names the file or field, says what is wrong, and ends with what to do. ``exit_code`` is what the command line
returns: 2 for input that a person can mend, 1 for a failure on the way.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


class SumiError(Exception):
    """Something failed while running (exit code 1)."""

    exit_code = 1


class InputError(SumiError):
    """What was asked for cannot be done as given: a path, a field or a file is wrong (exit code 2)."""

    exit_code = 2


@contextmanager
def writing(path: Path) -> Generator[None]:
    """What cannot be written below ``path`` is a SumiError that names it."""
    try:
        yield
    except OSError as error:
        raise SumiError(
            f"{path}: cannot be written ({error.strerror or error}); write elsewhere, or make room"
        ) from error

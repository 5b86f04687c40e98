"""The two errors that a command can end with, each one line.

A message names the file or field, says what is wrong, and ends with what to do. Names in it may hold anything, so what
would move a cursor or begin a line is escaped, and very long ones are cut in the middle. ``exit_code`` is what the
command line returns: 2 for input that the user can correct, 1 for a failure while running.
"""

import re
import unicodedata
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_CONTROLS: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
_LONG: Final = r"\S{500,}"


def printable(text: str) -> str:
    """``text`` as one line that a terminal only shows: control, separator and surrogate characters are escaped.

    Names of files and classes may hold anything, such as what sets a window's title or forges a line. Two joiners that
    scripts need are kept.
    """
    return "".join(
        c if unicodedata.category(c) not in _CONTROLS or c in "\u200c\u200d" else c.encode("unicode_escape").decode()
        for c in text
    )


class SumiError(Exception):
    """Something failed while running (exit code 1). ``repeated``: another process of the training says so already."""

    exit_code = 1
    repeated = False

    def __init__(self, message: str) -> None:
        super().__init__(re.sub(_LONG, lambda word: f"{word[0][:240]}…{word[0][-240:]}", printable(message)))


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


def shortened(error: Exception) -> str:
    """The first words of an error of another program."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"

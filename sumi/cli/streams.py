"""Standard output and standard error: in any encoding, onto a full device or a closed pipe, and free of what others
write there.

Letters that an encoding lacks are written as their escapes. Output that cannot be written is a failure with one line; a
reader that has seen enough, as ``head``, is one without. Warnings of libraries are one line each; what their C code
writes to file descriptor 2 is dropped. With ``--debug`` all of it is shown.
"""

import errno
import logging
import os
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import TextIO

from sumi.errors import printable


def tell(text: str) -> None:
    """A line on standard error, if there is one."""
    if sys.stderr is not None:
        with suppress(OSError):  # a full device: the exit code still says it
            print(printable(text), file=sys.stderr, flush=True)


class _Output(TextIOWrapper):
    """Standard output that keeps the first error of writing to it: not all who write let errors pass."""

    lost: OSError | None = None

    def write(self, text: str, /) -> int:
        with self._kept():
            return super().write(text)

    def flush(self) -> None:
        with self._kept():
            super().flush()

    @contextmanager
    def _kept(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            self.lost = self.lost or error
            raise


@contextmanager
def own_output() -> Generator[None]:
    """Standard output in any encoding, of a program of its own; elsewhere what is there."""
    for stream in (sys.stdout, sys.stderr):
        match stream:
            case TextIOWrapper():
                stream.reconfigure(errors="backslashreplace")
            case _:
                pass
    match sys.stdout:
        case TextIOWrapper() as before if before is sys.__stdout__:
            own = _Output(before.buffer, before.encoding, "backslashreplace", line_buffering=before.line_buffering)
        case _:
            yield
            return
    sys.stdout = own
    try:
        yield
    finally:
        sys.stdout = before
        with suppress(OSError):
            own.detach()


def output_error() -> OSError | None:
    """What standard output did not take, if anything."""
    match sys.stdout:
        case _Output() as output:
            with suppress(OSError):
                output.flush()
            return output.lost
        case _:
            return None


def all_written() -> bool:
    """Whether standard output has taken everything. If not, the reason is printed, and what is left is dropped."""
    lost = output_error()
    if lost is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if lost.errno != errno.EPIPE:
            tell(f"sumi: output: cannot be written ({lost.strerror}); write elsewhere, or make room")
    return lost is None


@contextmanager
def libraries_kept_apart() -> Generator[None]:
    """Of a program of its own: see the module docstring."""
    match sys.stderr:
        case TextIOWrapper() as before if before is sys.__stderr__ and before.fileno() == 2:
            stream = os.fdopen(os.dup(2), "w", encoding=before.encoding, errors="backslashreplace")
        case _:
            yield
            return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    handler, shown = logging.lastResort, warnings.showwarning
    sys.stderr, logging.lastResort, warnings.showwarning = stream, _StderrHandler(), _tell_warning
    try:
        yield
    finally:
        os.dup2(stream.fileno(), 2)
        sys.stderr, logging.lastResort, warnings.showwarning = before, handler, shown
        with suppress(OSError):  # a full device
            stream.close()


class _StderrHandler(logging.Handler):
    """What a library logs from warnings on, a line each."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        tell(f"sumi: {record.name}: {record.getMessage()}")


def _tell_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del filename, lineno, file, line
    tell(f"sumi: {category.__name__}: {' '.join(str(message).split())}")

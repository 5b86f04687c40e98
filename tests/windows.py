"""Windows, as far as locks and open files go: a stand-in for msvcrt, and what it refuses to do to an open file."""

import errno
import fcntl
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from sumi.boundary import files


class Msvcrt(ModuleType):
    """msvcrt.locking of one byte: of a handle, not of a process, and without shared locks.

    LK_LOCK gives up with EDEADLK after ten tries, here after one; ``tries`` counts them.
    """

    LK_LOCK: Final = 1
    LK_NBLCK: Final = 2

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self.tries = 0

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        assert (os.lseek(descriptor, 0, os.SEEK_CUR), count) == (2**30, 1)  # what is locked cannot be read
        self.tries += 1
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(errno.EACCES if mode == self.LK_NBLCK else errno.EDEADLK, "locked") from None


class System:
    """The module os of Windows."""

    name = "nt"

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def is_open(path: Path) -> bool:
    """Whether this process has the file open."""
    return any(os.path.realpath(link) == os.path.realpath(path) for link in Path("/proc/self/fd").iterdir())


def of_closed_files(change: Callable[..., Any]) -> Callable[..., Any]:
    """``change``, a method of Path, which raises PermissionError for a file that is open."""

    def changed(path: Path, *given: Any, **options: Any) -> Any:
        if is_open(path):
            raise PermissionError(errno.EACCES, "is open", str(path))
        return change(path, *given, **options)

    return changed


def files_on_windows(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`sumi.boundary.files` as it is there, with the stand-in as its ``msvcrt``; no open file is renamed or removed."""
    with monkeypatch.context() as during:
        during.setitem(sys.modules, "msvcrt", Msvcrt())
        during.setattr(sys, "platform", "win32")
        spec = importlib.util.spec_from_file_location("sumi.boundary.files_on_windows", files.__file__)
        assert spec is not None
        assert spec.loader is not None
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
    monkeypatch.setattr(found, "os", System())
    for name in ("replace", "unlink"):
        monkeypatch.setattr(Path, name, of_closed_files(getattr(Path, name)))
    return found

"""One run folder has one trainer at a time.

Who trains holds a lock on the file ``.lock`` in the run folder, which says who that is: the process, when it started,
and its machine. The lock ends with the process, however it ends; the file that a killed one leaves means nothing. Where
the file system has no locks (some network file systems), the file itself is believed as long as that process lives.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from sumi.boundary.files import is_at, lock, refuse_folder
from sumi.errors import InputError, writing

LOCK: Final = ".lock"
PATIENCE: Final = 0.5
"""Seconds for which a lock is tried again: whoever looks who trains holds it for an instant."""

_held: set[BinaryIO] = set()


@dataclass(frozen=True)
class Process:
    """A process that trains. ``started``: its start in clock ticks since the machine's, None where that is unknown."""

    pid: int
    started: int | None
    host: str
    since: str

    @classmethod
    def own(cls) -> "Process":
        """This process."""
        return cls(os.getpid(), _start_of(os.getpid()), socket.gethostname(), f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")

    def __str__(self) -> str:
        where = "" if self.host == socket.gethostname() else f" on {self.host}"
        return f"process {self.pid}{where} since {self.since}"

    def lives(self) -> bool:
        """Whether it still runs, as far as can be seen from here: not on another machine."""
        if self.host != socket.gethostname() or os.name == "nt":
            return False
        if self.started is not None:
            return _start_of(self.pid) == self.started
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def trainer_of(folder: Path) -> Process | None:
    """The process that trains in a run folder; None: there is none, as far as can be seen."""
    try:
        file = (folder / LOCK).open("rb")
    except OSError:
        return None
    with file:
        held = lock(file, shared=True)
        found = _written(file)
    if held is False:
        return found or Process(0, None, socket.gethostname(), "now")
    return found if held is None and found is not None and found.lives() else None


@contextmanager
def training_in(folder: Path, say: Callable[[str], None]) -> Generator[None]:
    """Hold the lock of a run folder, which is made if it is missing, and removed again if nothing was put into it.

    ``say`` gets a line where the file system has no locks. Raises InputError if another process trains there, SumiError
    if the folder cannot be written.
    """
    refuse_folder(folder)
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    with writing(folder):
        file, locked = _acquired(folder)
    if not locked:
        say(f"note: the file system of {folder} has no locks: a second training there would not be noticed everywhere")
    _held.add(file)
    process = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == process:  # a forked process has no part in it
            _release(file, folder)
            for place in made:
                with suppress(OSError):
                    place.rmdir()


def _acquired(folder: Path) -> tuple[BinaryIO, bool]:
    path, patience = folder / LOCK, time.monotonic() + PATIENCE
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("a+b")
        except FileNotFoundError:  # who held it has just removed the folder that it had made
            if time.monotonic() > patience:
                raise
            continue
        held = lock(file)
        other = _written(file)
        if held is False or (held is None and other is not None and other.lives()):
            file.close()
            if held is False and time.monotonic() < patience:
                time.sleep(0.02)
                continue
            who = f" ({other})" if other is not None else ""
            raise InputError(
                f"out: {folder} is being trained by another process{who}; wait for it, or give another folder"
            )
        if held is None or is_at(file, path):
            break
        file.close()  # who held it has just removed it
    file.truncate(0)
    file.write(json.dumps(asdict(Process.own())).encode())
    file.flush()
    return file, bool(held)


def _release(file: BinaryIO, folder: Path) -> None:
    path = folder / LOCK
    _held.discard(file)
    if os.name == "nt":  # which removes no open file
        file.close()
    if os.name == "nt" or is_at(file, path):
        with suppress(OSError):
            path.unlink(missing_ok=True)
    file.close()


def _written(file: BinaryIO) -> Process | None:
    file.seek(0)
    try:
        found = json.loads(file.read())
        return Process(int(found["pid"]), found["started"], str(found["host"]), str(found["since"]))
    except (ValueError, KeyError, TypeError):
        return None


def _start_of(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _let_go() -> None:
    """A forked process closes what it inherited: the lock is its parent's, and ends with it."""
    for file in _held:
        file.close()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)

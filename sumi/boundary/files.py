"""Files that appear whole or not at all, and the names and paths that people give.

A file is written as ``.NAME.new`` in its own folder, flushed to the disk, and then renamed: however a write ends, NAME
holds the former contents or the new ones. What a killed process left under the other name is written over.
"""

import errno
import hashlib
import os
import shlex
import stat
import sys
from collections.abc import Generator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final

from sumi.errors import InputError, writing

LONGEST_NAME: Final = 200
"""Bytes of a name that is made up of what was given; file systems take 255."""
_IRREGULAR: Final = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISDIR, "a folder"))
_NO_LOCKS: Final = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}

if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO, wait: bool, shared: bool) -> None:
        del shared
        file.seek(2**30)  # a locked byte cannot be read, so one beyond the contents
        while True:
            try:
                return msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            except OSError as error:
                if not wait or error.errno != errno.EDEADLK:  # which is given up after ten seconds
                    raise

else:
    import fcntl

    def _lock(file: BinaryIO, wait: bool, shared: bool) -> None:
        how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        fcntl.flock(file.fileno(), how)


def lock(file: BinaryIO, *, wait: bool = False, shared: bool = False) -> bool | None:
    """Lock an open file until it is closed, or its process ends: False if another process holds the lock.

    None: the file system has no locks. ``shared``: with other shared locks. Raises OSError.
    """
    try:
        _lock(file, wait, shared)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def reserve(path: Path) -> None:
    """Take the room on the disk that a file of holes will need: to fill them on a full one would end the process.

    Raises OSError where there is not as much. Nothing is done where the system, or the file system, cannot.
    """
    if sys.platform == "linux":
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise


def is_at(file: BinaryIO, path: Path) -> bool:
    """Whether the open ``file`` is still the one at ``path``."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def irregular(path: Path) -> str | None:
    """What is there instead of a regular file: a named pipe, a socket, a folder or a device. Raises OSError."""
    mode = path.stat().st_mode
    return None if stat.S_ISREG(mode) else next((name for test, name in _IRREGULAR if test(mode)), "a device")


def opened(path: Path) -> BufferedReader:
    """A regular file to read. Raises OSError, also for a pipe or a device, which may never end."""
    if (found := irregular(path)) is not None:
        raise OSError(errno.EINVAL, f"is {found}, not a regular file")
    return path.open("rb")


def contents(path: Path) -> bytes:
    """The bytes of a regular file. Raises OSError as `opened` does."""
    with opened(path) as file:
        return file.read()


@contextmanager
def whole(path: Path) -> Generator[BinaryIO]:
    """A file to write, which gets the name ``path`` once all of it is on the disk; its folder is made.

    Processes that write the same file take turns. Raises SumiError if it cannot be written, and leaves ``path`` as it
    was.
    """
    unfinished = path.with_name(f".{path.name}.new")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _opened_alone(unfinished)
        try:
            with file:
                file.truncate(0)
                yield file
                file.flush()
                os.fsync(file.fileno())
                if os.name != "nt":
                    unfinished.replace(path)  # before another process gets the lock
            if os.name == "nt":  # which renames no open file
                unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def write_whole(path: Path, contents: bytes) -> Path:
    """Write a file of these bytes as `whole` does; returns ``path``."""
    with whole(path) as file:
        file.write(contents)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a file of this text, in UTF-8, as `whole` does; returns ``path``."""
    return write_whole(path, text.encode("utf-8", "backslashreplace"))


def _opened_alone(path: Path) -> BinaryIO:
    while True:
        file = path.open("ab")
        lock(file, wait=True)
        if is_at(file, path):
            return file
        file.close()  # another process has finished it meanwhile


def refuse_folder(folder: Path, field: str = "out") -> None:
    """Raises InputError where ``folder`` cannot be a folder to write into: a file, a dead link, no permission."""
    place = folder
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if place.is_symlink() and not place.exists():
        raise InputError(f"{field}: {place} is a link to what is not there; give a folder")
    if not place.is_dir():
        raise InputError(f"{field}: {place} is a file; give a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{field}: {place} cannot be written into; fix its permissions, or give another folder")


def given_path(text: str | Path) -> Path:
    """The path that was given: as it is written if that exists, else with ``~`` read as a home folder."""
    path = Path(text)
    if os.path.lexists(path):
        return path
    try:
        return path.expanduser()
    except RuntimeError:  # no such user
        return path


def typed(path: Path | str) -> str:
    """A path as a shell takes it."""
    return shlex.quote(Path(path).as_posix())


def short_name(name: str) -> str:
    """``name`` as the name of a file or folder: a long one is cut, and a hash tells it from others that begin so."""
    encoded = os.fsencode(name)
    if len(encoded) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:8]
    return f"{encoded[: LONGEST_NAME - 9].decode('utf-8', 'ignore')}-{digest}"

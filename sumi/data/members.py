"""Members of tar files, read where they lie: a tar does not compress them, so each is a part of its bytes.

The members of a file are found once and kept in CACHE/index (`sumi.data.mapped`), by the file's path, size and times
of change.
"""

import hashlib
import io
import json
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from sumi.boundary.files import contents, write_text
from sumi.data.mapped import cache_folder
from sumi.errors import InputError, writing


@dataclass(frozen=True)
class Facts:
    """As of `os.stat_result`: bytes, and the times of change of the whole file that it is in."""

    st_size: int
    st_mtime_ns: int
    st_ctime_ns: int


class Part(ABC):
    """A file within another one, read as a path is."""

    @abstractmethod
    def read_bytes(self) -> bytes:
        """Its bytes. Raises OSError."""

    @abstractmethod
    def stat(self) -> Facts:
        """Its size, and when the whole file was changed."""

    def open(self, mode: Literal["rb"]) -> IO[bytes]:
        """Itself as a file. Raises OSError."""
        del mode
        return io.BytesIO(self.read_bytes())


@dataclass(frozen=True)
class Member(Part):
    """The file ``name`` in ``tar``, of ``size`` bytes from ``offset``.

    ``changed``, ``noted``: when the tar was changed, as it says itself and as the system does.
    """

    tar: Path
    name: str
    offset: int
    size: int
    changed: int
    noted: int = 0

    def __str__(self) -> str:
        return f"{self.name} in {self.tar}"

    def read_bytes(self) -> bytes:
        with io.FileIO(self.tar) as file:  # without a buffer, it is one read
            file.seek(self.offset)
            return file.read(self.size)

    def stat(self) -> Facts:
        return Facts(self.size, self.changed, self.noted)


@dataclass(frozen=True)
class Held(Part):
    """Another part, whose bytes have been read: it is asked for them several times."""

    part: Part
    content: bytes

    def __str__(self) -> str:
        return str(self.part)

    def read_bytes(self) -> bytes:
        return self.content

    def stat(self) -> Facts:
        return self.part.stat()


def members_of(tar: Path) -> list[Member]:
    """The regular files in ``tar``, in their order. Raises InputError where it is damaged or compressed."""
    try:
        found = tar.stat()
    except OSError as error:
        raise InputError(f"data.source: {tar} cannot be read ({error.strerror}); mend its permissions") from None
    times = f"{found.st_mtime_ns}\0{found.st_ctime_ns}"
    facts = f"{tar.resolve()}\0{found.st_size}\0{times}".encode(errors="surrogateescape")
    index = cache_folder().with_name("index") / f"{hashlib.sha256(facts).hexdigest()}.json"
    if index.exists():
        rows: list[tuple[str, int, int]] = json.loads(contents(index))
    else:
        rows = [(entry.name, entry.offset_data, entry.size) for entry in _entries(tar)]
        with writing(index):
            index.parent.mkdir(parents=True, exist_ok=True)
        write_text(index, json.dumps(rows))
    return [Member(tar, name, offset, size, found.st_mtime_ns, found.st_ctime_ns) for name, offset, size in rows]


def _entries(tar: Path) -> Iterator[tarfile.TarInfo]:
    try:
        with tarfile.open(tar, "r:") as archive:
            end = tar.stat().st_size
            for entry in archive:
                if entry.isreg() and not entry.issparse():
                    if entry.offset_data + entry.size > end:
                        raise InputError(f"data.source: {tar} ends within {entry.name}; copy it again")
                    yield entry
    except (tarfile.TarError, OSError) as error:
        raise InputError(
            f"data.source: {tar} is no tar, or is damaged or compressed ({error}); copy it again"
        ) from None

"""The files of an encoder that is taken as it is: where they are, how they are known, where its states are kept."""

import hashlib
import os
import sqlite3
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from sumi.boundary.files import given_path
from sumi.errors import InputError


def sha256_of(files: Iterable[Path]) -> str:
    """sha256 of the files' names, sizes and content, in this order; of files that did not change it is known."""
    stats = ((file, file.stat()) for file in files)
    return _hashed(tuple((file, stat.st_mtime_ns, stat.st_size) for file, stat in stats))


@lru_cache(maxsize=8)
def _hashed(stamps: tuple[tuple[Path, int, int], ...]) -> str:
    found = hashlib.sha256()
    for file, _, size in stamps:
        found.update(f"{file.name} {size} ".encode())
        with file.open("rb") as opened:
            found.update(hashlib.file_digest(opened, "sha256").digest())
    return found.hexdigest()


def absolute(source: str) -> str:
    """The path ``source`` so that it is found from any folder."""
    return str(given_path(source).resolve())


def gone(source: str, trained_with: str) -> InputError:
    """Of files that a run was ``trained_with``, by their sha256, and that are not at ``source`` any more."""
    where = "put them back" if Path(source).expanduser().is_absolute() else "run from the folder where it was trained"
    return InputError(
        f"encoder.source: {source} is gone, with whose files (sha256 {trained_with[:12]}…) the run was trained; "
        f"{where}, or link them there"
    )


def same(place: Path, found: str, trained_with: str) -> str:
    """``found``, the sha256 of the files at ``place``. Raises InputError for others than were ``trained_with``."""
    if trained_with not in ("", found):
        raise InputError(
            f"encoder.source: {place} has other files than the run was trained with (sha256 {found[:12]}…, not "
            f"{trained_with[:12]}…); restore them"
        )
    return found


def cache_of(weights: str) -> Path:
    """The file with the states of an encoder of this fingerprint. Raises InputError where it cannot be made."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "sumi" / "text"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); set XDG_CACHE_HOME to another folder") from None
    return folder / f"{weights}.sqlite"


def unusable(cache: Path, error: sqlite3.Error) -> InputError:
    """Of a file of `cache_of` that is damaged, locked, or cannot be written."""
    return InputError(f"{cache}: cannot be used ({error}); delete it, or set XDG_CACHE_HOME to another folder")

"""The manifest of a checkpoint: the size and sha256 of each file, and a sha256 of the manifest itself.

The files are `FILES`; or the state and shards, files that several processes have written (`shard_files`).

safetensors detects a truncated file but not a flipped bit; the manifest detects both.
"""

import errno
import hashlib
import json
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sumi.boundary.files import contents, opened
from sumi.errors import InputError, SumiError

FORMAT = 1
MANIFEST = "manifest.json"
TENSOR_FILES = ("model.safetensors", "ema.safetensors", "optimizer.safetensors")
STATE = "state.json"
FILES = (*TENSOR_FILES, STATE)
_SHARD = re.compile(r"shard-\d{5,}-model-\d{5}-of-\d{5}\.safetensors", re.ASCII)
REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space or raise the quota",
    errno.EACCES: "fix the permissions",
    errno.EROFS: "choose a writable folder",
}


@dataclass(frozen=True)
class Stamp:
    """A file's size in bytes and the sha256 of its contents in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The step of a checkpoint and the stamp of each of its files."""

    step: int
    files: dict[str, Stamp]

    @property
    def sharded(self) -> bool:
        """Whether the tensors are in shards."""
        return any(map(_SHARD.fullmatch, self.files))

    def render(self) -> bytes:
        """The only valid text of this manifest, with its own sha256: any other byte on the disk means damage."""
        files = {name: {"size": stamp.size, "sha256": stamp.sha256} for name, stamp in self.files.items()}
        body = {"format": FORMAT, "step": self.step, "files": files}
        seal = hashlib.sha256(json.dumps(body).encode()).hexdigest()
        return (json.dumps({**body, "sha256": seal}, indent=2) + "\n").encode()


def read_manifest(path: Path) -> Manifest:
    """The manifest in the checkpoint folder ``path``. Raises InputError if it is missing or damaged."""
    file = path / MANIFEST
    with reading(file):
        raw = contents(file)
    try:
        found = json.loads(raw)
        files = found["files"]
        shards = sorted(filter(_SHARD.fullmatch, files))
        names = [*shards, STATE] if shards else FILES
        stamps = {name: Stamp(files[name]["size"], files[name]["sha256"]) for name in names}
        manifest = Manifest(found["step"], stamps)
    except (ValueError, KeyError, TypeError, RecursionError):
        manifest = None
    if manifest is None or manifest.render() != raw:
        raise InputError(f"{file}: is damaged or has a newer format; copy the checkpoint again or use another one")
    return manifest


def verify(file: Path, stamp: Stamp) -> None:
    """Compare every byte of a file with its stamp. Raises InputError if it is missing or differs."""
    if stamp_of(file) != stamp:
        raise damaged(file, "is damaged: its size or sha256 differs from what was saved")


def stamp_of(file: Path) -> Stamp:
    """The stamp of a file as it is on the disk. Raises InputError if it is missing, SumiError if it is unreadable."""
    with reading(file), opened(file) as stream:
        return Stamp(os.fstat(stream.fileno()).st_size, hashlib.file_digest(stream, "sha256").hexdigest())


def damaged(file: Path, what: str) -> InputError:
    """The error for a damaged file."""
    return InputError(f"{file}: {what}; copy the checkpoint again or use another one")


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Raise InputError for a missing file (damage), and SumiError for one that cannot be read now (a failure)."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise damaged(path, "is missing") from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # of `opened`
            raise damaged(path, f"{error.strerror}") from error
        remedy = REMEDIES.get(error.errno or 0, "check the disk")
        raise SumiError(f"{path}: cannot be read: {error.strerror or error}; {remedy} and try again") from error

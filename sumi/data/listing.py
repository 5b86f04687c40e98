"""Which files of a folder are images, under which keys.

Hidden names (beginning with a dot) do not count. A folder whose images lie in split folders (``train`` alone or beside
``test``, ``validation``, …) stands for its ``train`` folder, so that no test image is trained on.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from sumi.data.dataset import Skipped
from sumi.data.decode import SUFFIXES
from sumi.data.metadata import FILE_NAME, key_of
from sumi.errors import InputError

_TRAIN = "train"
_OTHER_SPLITS = frozenset({"test", "val", "valid", "validation", "dev", "eval"})


@dataclass(frozen=True)
class Listing:
    """The image files below ``root`` as (key, path), sorted by key; other files as skipped; and what was decided."""

    root: Path
    images: tuple[tuple[str, Path], ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]


def list_images(folder: Path) -> Listing:
    """All image files below a folder (links to folders are followed), by their suffix.

    Raises:
        InputError: a folder cannot be read.
    """
    root, notes = _descend(folder)
    images: list[tuple[str, Path]] = []
    skipped: list[Skipped] = []
    for path in _walk(root):
        key = key_of(path.relative_to(root).as_posix())
        suffix = path.suffix.lower()
        if suffix in SUFFIXES:
            images.append((key, path))
        elif key != FILE_NAME:
            skipped.append(Skipped(key, f"{suffix or 'a file without suffix'} is no image format read here"))
    return Listing(root, tuple(sorted(images)), tuple(sorted(skipped, key=lambda item: item.path)), notes)


def _descend(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """``folder``, or its ``train`` folder where it holds nothing but splits."""
    try:
        inside = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"data.source: {folder} cannot be read ({error.strerror}); mend its permissions") from error
    folders = {entry.name for entry in inside if entry.is_dir()}
    holds_images = any(entry.suffix.lower() in SUFFIXES or entry.name == FILE_NAME for entry in inside)
    if _TRAIN not in folders or not folders <= _OTHER_SPLITS | {_TRAIN} or holds_images:
        return folder, ()
    left = sorted(folders - {_TRAIN})
    notes = (f"only {_TRAIN}/ is read; {', '.join(f'{name}/' for name in left)} left alone",) if left else ()
    return folder / _TRAIN, notes


def _walk(root: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"data.source: {error.filename} cannot be read ({error.strerror}); mend its permissions")

    files: list[Path] = []
    seen: set[str] = set()  # a link may lead back to a folder above it
    for folder, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(folder) / name for name in names if not name.startswith(".")]
    return files

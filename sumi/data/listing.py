"""Which files of a folder are images, and under which keys.

    hidden names              begin with a dot, and __MACOSX: ignored
    system folders            @eaDir, #recycle, $RECYCLE.BIN, lost+found and their like: ignored
    splits                    a training folder (train, training) beside a folder for tests (test, testing, val, valid,
                              validation, dev, eval, holdout), in any case, also as train_images or val2017: only the
                              training folder is read
    run folders               config.json beside checkpoints/ or metrics.jsonl: left alone, and refused as data
    pipes, sockets, devices   skipped, never opened
    names that differ only in how their letters are composed (Unicode NFC and NFD): the first is read

A folder that holds nothing but ``train``, or whose only folder holds splits, stands for the training folder.
"""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from sumi.boundary.files import irregular
from sumi.data.dataset import Skipped, escaped, few, folder_role
from sumi.data.decode import SUFFIXES
from sumi.data.metadata import CAPTION_SUFFIXES, LONGEST_CAPTION, METADATA, key_of
from sumi.errors import InputError

ARCHIVES: Final = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".parquet"})

_OF_SYSTEMS: Final = frozenset(
    {"__MACOSX", "@eaDir", "#recycle", "@Recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
)
"""Folders that archives, disks and network drives add to any folder."""


@dataclass(frozen=True)
class Listing:
    """The image files below ``root`` as (key, path), sorted by key, and the files that are no images.

    ``metadata``: the files of descriptions, outermost folder first; ``captions``: the text files that have an image's
    name, by its key. ``empty``: folders in ``root`` without any image.
    """

    root: Path
    images: tuple[tuple[str, Path], ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    metadata: tuple[Path, ...]
    captions: Mapping[str, Path]
    empty: tuple[str, ...]


def list_images(folder: Path, suffixes: Collection[str] = SUFFIXES, what: str = "image") -> Listing:
    """All image files below a folder (links to folders are followed), by their suffix; or all files of ``what``.

    Raises:
        InputError: a folder cannot be read, or holds several training folders.
    """
    if _is_run(folder):
        raise InputError(f"data.source: {folder} is a run folder, not data; give the folder of {what}s")
    root, left = _training_root(folder, suffixes)
    above = [place for place in (root, *root.parents) if place != root and place.is_relative_to(folder)]
    metadata = [file for place in reversed(above) for file in _first_metadata(place, _inside(place)[1])]
    images: dict[str, Path] = {}
    skipped: list[Skipped] = []
    texts: dict[str, Path] = {}
    folders: set[str] = set()
    runs: list[str] = []
    for place, inside, found in _walk(root):
        names = list(found)
        own = [name for name in inside if _is_run(place / name)]
        training = _training(place, [name for name in inside if name not in own])
        others = [name for name in inside if name not in own and training not in (None, name)]
        runs += [_shown(place / name, folder) for name in own]
        left += [_shown(place / name, folder) for name in others]
        inside[:] = [name for name in inside if name not in own and name not in others]
        if place == root:
            folders.update(inside)
        described = _first_metadata(place, names)
        metadata += described
        above = "" if place == root else f"{key_of(place.relative_to(root).as_posix())}/"
        for name, regular in found.items():
            path, plain = place / name, regular and name not in METADATA and _suffix(name) in suffixes
            key, reason = above + key_of(name), None if plain else _unusable(path, suffixes, what)
            if not plain and path in described:
                continue
            if reason is None and key in images:
                reason = "has the name of another file once its letters are composed; rename one of them"
            if reason is None:
                images[key] = path
            else:
                skipped.append(Skipped(key, reason))
                texts |= {key: path} if path.suffix.lower() in CAPTION_SUFFIXES and _short(path) else {}
    captions = _of_images(texts, images)
    used = set(captions.values())
    skipped = [item for item in skipped if texts.get(item.path) not in used]
    notes = [f"only {_shown(root, folder)} is read; {few(left)} left alone"] if left and root != folder else []
    notes += [f"only the training folders are read; {few(left)} left alone"] if left and root == folder else []
    notes += [f"run folders are left alone: {few(runs)}"] if runs else []
    filled = {key.split("/", 1)[0] for key in images}
    return Listing(
        root,
        tuple(sorted(images.items())),
        tuple(sorted(skipped, key=lambda item: item.path)),
        tuple(notes),
        tuple(metadata),
        captions,
        tuple(sorted(name for name in folders if key_of(name) not in filled)),
    )


def _training_root(folder: Path, suffixes: Collection[str]) -> tuple[Path, list[str]]:
    """The folder that ``folder`` stands for, and the names beside it that are left alone."""
    folders, files = _inside(folder)
    images = [name for name in files if Path(name).suffix.lower() in suffixes]
    training = _training(folder, folders)
    if training is not None:
        others = [f"{name}/" for name in folders if name != training]
        return folder / training, [escaped(name) for name in (*others, *images)]
    if len(folders) != 1 or images or any(name in METADATA for name in files):
        return folder, []
    only = folder / folders[0]
    if folder_role(only.name) == "train":
        return only, []
    deeper, _ = _inside(only)
    below = _training(only, deeper)
    if below is None:
        return folder, []
    return only / below, [_shown(only / name, folder) for name in deeper if name != below]


def _training(folder: Path, names: Sequence[str]) -> str | None:
    """The training folder among ``names``, where a folder for tests lies beside it."""
    roles = {name: folder_role(name) for name in names}
    training = [name for name, role in roles.items() if role == "train"]
    if not training or "held out" not in roles.values():
        return None
    if len(training) > 1:
        raise InputError(f"data.source: {folder} holds {few([f'{n}/' for n in training])}; give the path of one")
    return training[0]


def _inside(folder: Path) -> tuple[list[str], list[str]]:
    """The names of the visible folders (without run folders) and files in ``folder``, sorted."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if _visible(entry.name))
    except OSError as error:
        raise InputError(f"data.source: {folder} cannot be read ({error.strerror}); mend its permissions") from error
    folders = [entry.name for entry in entries if entry.is_dir() and not _is_run(entry)]
    return folders, [entry.name for entry in entries if not entry.is_dir()]


def _walk(root: Path) -> Iterable[tuple[Path, list[str], dict[str, bool]]]:
    """(folder, folders in it, files in it) from ``root`` down, each folder once: a link may lead back above it.

    Of each file, whether it is known to be a regular one, as most file systems say without being asked for each. The
    folders that the caller leaves in the list are walked.
    """
    seen: set[str] = set()
    left = [root]
    while left:
        folder = left.pop()
        place = os.path.realpath(folder)
        if place in seen:
            continue
        seen.add(place)
        folders: list[str] = []
        files: dict[str, bool] = {}
        try:
            with os.scandir(folder) as entries:
                for entry in sorted((entry for entry in entries if _visible(entry.name)), key=lambda one: one.name):
                    if _is(entry.is_dir):
                        folders.append(entry.name)
                    else:
                        files[entry.name] = _is(entry.is_file)
        except OSError as error:
            raise InputError(
                f"data.source: {error.filename} cannot be read ({error.strerror}); mend its permissions"
            ) from error
        yield folder, folders, files
        left += [folder / name for name in reversed(folders)]


def _is(question: Callable[[], bool]) -> bool:
    """The answer; no where there is none, as of a link in a circle."""
    try:
        return question()
    except OSError:
        return False


def _suffix(name: str) -> str:
    """As `Path.suffix`, in small letters."""
    place = name.rfind(".")
    return name[place:].lower() if 0 < place < len(name) - 1 else ""


def _visible(name: str) -> bool:
    return not name.startswith(".") and name not in _OF_SYSTEMS


def _is_run(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any((folder / n).exists() for n in ("checkpoints", "metrics.jsonl"))


def _first_metadata(folder: Path, names: Sequence[str]) -> list[Path]:
    """The file of descriptions in ``folder``, of several the first in the order of `METADATA`."""
    return [folder / name for name in METADATA if name in names and (folder / name).is_file()][:1]


def _short(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= LONGEST_CAPTION


def _without_suffix(key: str) -> str:
    return str(PurePosixPath(key).with_suffix(""))


def _of_images(texts: Mapping[str, Path], images: Collection[str]) -> dict[str, Path]:
    """The text file of each image: 001.png.txt of 001.png where that is there, else 001.txt, else 001.caption."""
    if not texts:
        return {}
    by_name = {_without_suffix(key): path for key, path in sorted(texts.items())}  # .txt comes last
    found = {key: by_name.get(key) or by_name.get(_without_suffix(key)) for key in images}
    return {key: path for key, path in found.items() if path is not None}


def _unusable(path: Path, suffixes: Collection[str], what: str) -> str | None:
    """Why a file is no ``what`` that can be read, as far as its name and type show it; None where nothing does."""
    suffix = path.suffix.lower()
    try:
        found = irregular(path)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if found is not None and (suffix in suffixes or path.name in METADATA):
        return f"is {found}, not a regular file"
    if path.name in METADATA:
        return "another file of descriptions beside it is read"
    if suffix in ARCHIVES:
        return f"{suffix} is an archive, which is not read; unpack it"
    if suffix not in suffixes:
        return f"{suffix or 'a file without suffix'} is no {what} format read here"
    return None


def _shown(place: Path, folder: Path) -> str:
    return escaped(place.relative_to(folder).as_posix()) + "/"


def first_suffix(folder: Path, known: Collection[str]) -> str:
    """Of the first file below a folder, in the order of names, that has one of these suffixes; empty if none has."""
    for _, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            stem, _, end = name.rpartition(".")  # a path of each of a million names takes seconds
            if stem and name[0] != "." and (suffix := f".{end.lower()}") in known:
                return suffix
    return ""

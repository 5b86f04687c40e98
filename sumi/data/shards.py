"""A folder of tar files, or one, as a data set of images: the layout of WebDataset.

    00000.tar: 0001.png 0001.cls 0001.txt 0001.json 0002.png …

Members of one name up to its first dot belong together: an image, its class (cls: a whole number or a name), its
caption (txt) and numbers (json). The key of an image is its name and its tar's, so that moving the folder changes
nothing. Items stand in the order of the files and of the members in them; the order of training is `sumi.randomness`'.
"""

import json
from math import isfinite
from pathlib import Path
from typing import Final

import PIL

from sumi.data.config import DataConfig
from sumi.data.dataset import Progress, Skipped, escaped
from sumi.data.decode import SUFFIXES
from sumi.data.folder import DEFAULT_SIZE, image_set
from sumi.data.image_set import ImageDataset
from sumi.data.kept import kept
from sumi.data.mapped import fingerprint
from sumi.data.members import Member, members_of
from sumi.data.metadata import Description, caption_of
from sumi.errors import InputError

_DESCRIBED: Final = ("cls", "txt", "json")


def shards_in(path: Path) -> list[Path]:
    """The tar files of a folder that holds nothing else to read, or the one at ``path``; [] where there are none."""
    if path.is_file():
        return [path] if path.suffix == ".tar" else []
    found = sorted(path.glob("*.tar"))
    others = (entry for entry in path.iterdir() if entry.is_dir() or entry.suffix.lower() in SUFFIXES)
    return [] if found and any(not entry.name.startswith(".") for entry in others) else found


def load_shards(path: Path, config: DataConfig, *, progress: Progress | None = None) -> ImageDataset:
    """Every image in the tar files at ``path``, which are opened once for all runs where nothing of them is in memory.

    Raises InputError as `sumi.data.folder.load_folder`.
    """
    if config.store == "memory":
        return _opened(path, config, progress)
    frame = config.frame(DEFAULT_SIZE)
    how = (str(path.resolve()), frame, config.channels, config.background, config.label_pattern, config.store)
    name = fingerprint([(tar.name, tar) for tar in shards_in(path)], (*how, PIL.__version__))
    return kept(name, lambda: _opened(path, config, progress))


def _opened(path: Path, config: DataConfig, progress: Progress | None) -> ImageDataset:
    images: list[tuple[str, Path | Member]] = []
    described: dict[str, Description] = {}
    skipped: list[Skipped] = []
    for tar in shards_in(path):
        grouped: dict[str, dict[str, Member]] = {}
        for member in members_of(tar):
            place, _, name = member.name.rpartition("/")
            stem, _, extension = name.partition(".")
            grouped.setdefault(f"{place}/{stem}".lstrip("/"), {})[extension.lower()] = member
        for parts in grouped.values():
            picture = next((member for kind, member in parts.items() if f".{kind}" in SUFFIXES), None)
            if picture is None:
                skipped += [Skipped(str(member), "belongs to no image") for member in parts.values()]
                continue
            key = f"{picture.name.removeprefix('./')}@{tar.name}"
            images.append((key, picture))
            if any(kind in parts for kind in _DESCRIBED):
                described[key] = _description(parts)
    return image_set(path, images, described, config, tuple(skipped), progress=progress)


def _description(parts: dict[str, Member]) -> Description:
    texts = {kind: _text(parts[kind]).strip() for kind in _DESCRIBED if kind in parts}
    label = texts.get("cls")
    try:
        facts = json.loads(texts.get("json", "{}"))
        numbers = {str(k): float(v) for k, v in facts.items() if type(v) in (int, float) and isfinite(v)}
    except (ValueError, AttributeError, RecursionError):
        raise InputError(f"data.source: {parts['json']} is not a JSON object; mend it") from None
    number = label is not None and label.isdecimal()
    return Description(
        str(next(iter(parts.values()))),
        caption_of(texts.get("txt", "")),
        int(label) if number and label is not None else label,
        numbers,
    )


def _text(member: Member) -> str:
    try:
        return member.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"data.source: {escaped(str(member))} is not UTF-8; mend it") from None

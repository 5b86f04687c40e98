"""A folder of images as a data set.

Items stand in the order of their keys. The class of an image is what ``data.label_pattern`` finds in its name; without
a pattern its ``label`` in the metadata where every image has one; else the first folder on its path where every image
lies in one. A single class is none. Files are decoded by a few threads (Pillow lets go of the interpreter while it
decodes) straight into the array.
"""

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from sumi.data.config import DataConfig
from sumi.data.dataset import Progress, Skipped, escaped, few, indexed, split_notes, split_role
from sumi.data.decode import THREADS, Rule, notes_of, try_decode
from sumi.data.frame import Frame, in_words
from sumi.data.image_set import ImageDataset, deviation
from sumi.data.images import ImageSpec
from sumi.data.listing import list_images
from sumi.data.mapped import Rows, Stored, fingerprint, mapped
from sumi.data.members import Member, Part
from sumi.data.memory import give_back, require_memory
from sumi.data.metadata import Description, read_metadata
from sumi.data.streamed import Pictures, Survey
from sumi.errors import InputError

DEFAULT_SIZE = 32


def load_folder(folder: Path, config: DataConfig, *, progress: Progress | None = None) -> ImageDataset:
    """Read every image below ``folder``; ``progress(done, total)`` is called after each file.

    Raises:
        InputError: fewer than two images can be read, a file of metadata is malformed, or memory does not suffice.
    """
    listing = list_images(folder)
    found = {key for key, _ in listing.images}
    described, metadata_notes = read_metadata(listing.metadata, listing.root, found, listing.captions)
    missing = [
        Skipped(key, f"is described in {description.place}, but is not there")
        for key, description in described.items()
        if key not in found
    ]
    skipped = (*missing, *listing.skipped)
    notes = (listing.notes, metadata_notes)
    return image_set(folder, listing.images, described, config, skipped, listing.empty, notes, progress=progress)


def image_set(
    source: Path,
    files: Sequence[tuple[str, Path | Part]],
    described: dict[str, Description],
    config: DataConfig,
    left: tuple[Skipped, ...],
    empty: Sequence[str] = (),
    notes: tuple[Sequence[str], Sequence[str]] = ((), ()),
    *,
    progress: Progress | None = None,
) -> ImageDataset:
    """The set of these ``files``, by key, with what is known of each.

    ``left``: what else was there, and why it is left out; ``empty``: folders without images; ``notes``: on how the
    files were found, and on what describes them. Raises InputError as `load_folder`.
    """
    frame = config.frame(DEFAULT_SIZE)
    images, keys, rules, unreadable = _images_of(files, frame, config, progress)
    skipped = (*unreadable, *left)
    _require_two(len(keys), skipped, source)
    labels, label_names, class_notes = classes_of(keys, described, config.label_pattern, empty)
    captions, caption_notes = captions_of(keys, described)
    splits, division = splits_of(keys, described)
    size_notes = (
        () if config.size else (f"data.size was not given: images are fitted to {in_words(frame.height, frame.width)}",)
    )
    rule_notes = notes_of(rules, len(keys), frame, config.background)
    return ImageDataset(
        images=images,
        labels=labels,
        label_names=label_names,
        captions=captions,
        keywords=keywords_of(keys, described),
        keys=keys,
        skipped=skipped,
        notes=(*notes[0], *size_notes, *rule_notes, *notes[1], *class_notes, *caption_notes, *division),
        values=values_of(keys, described),
        splits=splits,
    )


def outline(config: DataConfig) -> ImageSpec:
    """What a folder's images will be, as far as that is known unread: in colour, if nothing else is configured."""
    frame = config.frame(DEFAULT_SIZE)
    return ImageSpec(config.picture_channels or 3, frame.height, frame.width, 256, ())


def _images_of(
    files: Sequence[tuple[str, Path | Part]], frame: Frame, config: DataConfig, progress: Progress | None
) -> tuple[NDArray[np.uint8] | Rows, tuple[str, ...], Counter[Rule], list[Skipped]]:
    """Pixels (N, C, H, W) and keys of the files that could be read, how often each rule applied, and the rest."""
    shape = (len(files), config.picture_channels or 3, frame.height, frame.width)

    def decode(images: NDArray[np.uint8]) -> Stored:
        keys, rules, unreadable, grey = _decode_all(files, images, frame, config, progress)
        counts = Counter({rule.name: count for rule, count in rules.items()})
        reasons = tuple((skipped.path, skipped.reason) for skipped in unreadable)
        return Stored(keys, counts, reasons, grey, deviation(images[: len(keys), : 1 if grey else None], 256))

    match config.store:
        case "memory":
            require_memory(shape[0], shape[1:], config.source)
            whole = np.empty((len(files), config.channels or 3, *shape[2:]), np.uint8)
            stored = decode(whole)
            part = whole[: len(stored.keys)]
            images = part[:, :1].copy() if stored.grey else part
        case "mapped":
            how = (frame, config.channels, config.background, PIL.__version__)
            images, stored = mapped(fingerprint(files, how), shape, decode)
        case "streamed":
            members = {key: _member(file, config) for key, file in files}
            survey = Survey(shape[1:])
            keys, rules, unreadable, grey = _decode_all(files, survey, frame, config, progress)
            channels = 1 if grey else shape[1]
            pictures = Pictures.of([members[key] for key in keys], frame, channels, config.background)
            return Rows(pictures, np.arange(len(keys)), survey.std(channels)), keys, rules, unreadable
    rules = Counter({Rule[name]: count for name, count in stored.rules.items()})
    return images, stored.keys, rules, [Skipped(*one) for one in stored.unreadable]


def _member(file: Path | Part, config: DataConfig) -> Member:
    match file:
        case Member():
            return file
        case _:
            raise InputError(f"data.store: streamed is for tar files, and {config.source} holds others; give mapped")


def _decode_all(
    files: Sequence[tuple[str, Path | Part]],
    images: NDArray[np.uint8] | Survey,
    frame: Frame,
    config: DataConfig,
    progress: Progress | None,
) -> tuple[tuple[str, ...], Counter[Rule], list[Skipped], bool]:
    """Fill ``images`` with those that can be read: their keys, how often each rule applied, the rest, and whether all
    are grey where no channels are configured.
    """
    channels = config.channels
    keys: list[str] = []
    rules: Counter[Rule] = Counter()
    unreadable: list[Skipped] = []
    all_grey = True
    pool = ThreadPoolExecutor(THREADS)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")  # what matters of them is said in reasons and rules
            read = partial(try_decode, size=frame, channels=channels, background=config.background)
            results = pool.map(read, [key for key, _ in files], [path for _, path in files])
            for done, ((key, _), result) in enumerate(zip(files, results, strict=True), start=1):
                if isinstance(result, Skipped):
                    unreadable.append(result)
                else:
                    images[len(keys)] = result.pixels  # one channel fills three
                    all_grey &= len(result.pixels) == 1
                    rules.update(result.rules)
                    keys.append(key)
                if progress is not None:
                    progress(done, len(files))
    finally:
        pool.shutdown(cancel_futures=True)
        give_back()
    return tuple(keys), rules, unreadable, channels is None and all_grey


def _require_two(count: int, skipped: Sequence[Skipped], folder: Path) -> None:
    files = "1 file" if len(skipped) == 1 else f"{len(skipped)} files"
    why = f" ({files} skipped; the first: {skipped[0]})" if skipped else ""
    if count == 0:
        raise InputError(
            f"data.source: {folder} holds no readable image{why}; give PNG, JPEG, WebP, AVIF, TIFF, BMP or GIF files"
        )
    if count == 1:
        raise InputError(f"data.source: {folder} holds one readable image{why}; at least 2 images are needed, add more")


def classes_of(
    keys: Sequence[str],
    described: dict[str, Description],
    pattern: str | None,
    empty: Sequence[str],
    what: str = "image",
) -> tuple[NDArray[np.int64] | None, tuple[str, ...], tuple[str, ...]]:
    """(labels, label names, notes)."""
    stated = [described[key].label for key in keys if key in described and described[key].label is not None]
    notes: list[str] = []
    classes: Sequence[str | int | None]
    if pattern is not None:
        classes, source = [_named(key, pattern) for key in keys], "class by data.label_pattern"
    elif len(stated) == len(keys):
        classes, source = stated, "label in the metadata"
    else:
        if stated:
            notes.append(f"{len(stated)} of {len(keys)} {what}s have a label in the metadata: the labels are not used")
        outside = sum("/" not in key for key in keys)
        if outside:
            note = f"{outside} of {len(keys)} {what}s lie in no sub-folder: there are no classes"
            return None, (), (*notes, *([note] if outside < len(keys) else []))
        folders = [key.split("/", 1)[0] for key in keys]
        shown = {folder: escaped(folder, keep_controls=True) for folder in set(folders)}
        classes, source = [shown[folder] for folder in folders], "sub-folder"
        notes += [f"no class, as there is no {what} in it: {few([f'{name}/' for name in empty])}"] if empty else []
    labels, names = indexed(classes)
    if labels is None:
        notes.append(f"all {what}s have the same {source} ({escaped(str(classes[0]))}): there are no classes")
        return None, (), tuple(notes)
    return labels, names, tuple(notes)


def _named(key: str, pattern: str) -> str:
    """The first group of ``pattern`` in the file's name. Raises InputError where it does not match."""
    match = re.match(pattern, key.rsplit("/", 1)[-1])
    if match is None or match[1] is None:
        raise InputError(
            f"data.label_pattern: {pattern} does not match {escaped(key)}; give one that matches every image's name"
        )
    return escaped(match[1], keep_controls=True)


def values_of(keys: Sequence[str], described: dict[str, Description]) -> dict[str, NDArray[np.float64]]:
    """Every number that is said of any of the images, by name; nan for those of which it is not."""
    if not described:
        return {}
    of_each = [described[key].values if key in described else {} for key in keys]
    names = sorted({name for values in of_each for name in values})
    return {name: np.array([values.get(name, np.nan) for values in of_each]) for name in names}


def captions_of(
    keys: Sequence[str], described: dict[str, Description], what: str = "image"
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """(captions or None, notes)."""
    if not described:
        return None, ()
    texts = tuple((described[key].text or "") if key in described else "" for key in keys)
    without = sum(not text for text in texts)
    if without == len(texts):
        return None, ()
    return texts, (f"{without} of {len(texts)} {what}s have no caption",) if without else ()


def keywords_of(keys: Sequence[str], described: dict[str, Description]) -> tuple[tuple[str, ...], ...] | None:
    """The keywords of each image, or None."""
    if not described:
        return None
    words = tuple(described[key].keywords if key in described else () for key in keys)
    return words if any(words) else None


def splits_of(
    keys: Sequence[str], described: dict[str, Description], what: str = "image"
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """(splits or None, notes): they count where they differ and the name of one is known."""
    if not described:
        return None, ()
    splits = tuple((described[key].split or "") if key in described else "" for key in keys)
    names = sorted({*splits} - {""})
    if not names:
        return None, ()
    if len(set(splits)) == 1:
        return None, (f"split in the metadata is not used: it is {names[0]} for all {what}s",)
    if not any(map(split_role, names)):
        return None, (f"split in the metadata is not used: no {what} has train or test, but {few(names)}",)
    return splits, split_notes(splits)

"""Sound as a data set: folders of WAV and FLAC files, and spoken digits.

Files, keys, classes and descriptions are those of a folder of images (`sumi.data.folder`). What a clip becomes is said
in `sumi.data.audio.fitted`. The seconds that it had are kept as its number ``seconds``.

    rate       data.rate, else the lowest of the files'
    length     data.seconds, else 1 second, rounded up to whole `sumi.data.audio.MULTIPLE`

An .npz of recordings end to end, as the Free Spoken Digit Dataset is here: ``samples`` int16, ``offsets`` (N + 1),
``sample_rate``, ``digit``, ``speaker``, ``take`` (N,) and ``speaker_names``.
"""

from collections import Counter
from math import ceil
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sumi.boundary.config import nearest
from sumi.data.audio import LEVELS, AudioDataset, AudioSpec, fitted, length_of
from sumi.data.config import DataConfig
from sumi.data.dataset import Progress, Skipped, indexed
from sumi.data.decode import SUFFIXES as PICTURES
from sumi.data.folder import captions_of, classes_of, keywords_of, splits_of, values_of
from sumi.data.listing import first_suffix, list_images
from sumi.data.memory import require_memory
from sumi.data.metadata import read_metadata
from sumi.data.sound_files import SUFFIXES, UnreadableSound, read_sound
from sumi.errors import InputError

SECONDS: Final = 1.0
DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPOKEN_SECONDS: Final = 0.64
"""Of spoken digits: 94 of 100 are no longer."""
OWN_TEST: Final = 5
"""Takes below this are the Free Spoken Digit Dataset's own test."""
OTHER_FIELDS: Final = ("size", "channels", "range", "array", "flip", "dequantize")
"""The fields of a `DataConfig` that clips of sound do not have."""
BEYOND: Final = 2.0
"""Seconds that are kept of a recording beyond a clip's, so that its end is resampled, and cut, as of the whole."""


def holds_sound(folder: Path) -> bool:
    """Whether the first file of sound or picture below a folder, in the order of names, is of sound."""
    return first_suffix(folder, SUFFIXES | PICTURES) in SUFFIXES


def load_sound_folder(folder: Path, config: DataConfig, *, progress: Progress | None = None) -> AudioDataset:
    """Read every clip below ``folder``; ``progress(done, total)`` is called after each file.

    Raises InputError: fewer than two can be read, a line of metadata is malformed, or memory does not suffice.
    """
    config.refuse("clips of sound", OTHER_FIELDS)
    listing = list_images(folder, SUFFIXES, "sound")
    found = {key for key, _ in listing.images}
    described, notes = read_metadata(listing.metadata, listing.root, found, listing.captions)
    missing = (
        Skipped(k, f"is described in {d.place}, but is not there") for k, d in described.items() if k not in found
    )
    skipped: list[Skipped] = []
    sounds: dict[str, tuple[NDArray[np.float32], int]] = {}
    heard = (config.seconds or SECONDS) + BEYOND
    for done, (key, path) in enumerate(listing.images, start=1):
        try:
            values, own = read_sound(path)
            sounds[key] = values[:, : ceil(own * heard)].mean(0, keepdims=True).astype(np.float32), own
        except UnreadableSound as error:
            skipped.append(Skipped(key, str(error)))
        except OSError as error:
            skipped.append(Skipped(key, f"cannot be read ({error.strerror or error})"))
        if progress is not None:
            progress(done, len(listing.images))
    skipped += [*missing, *listing.skipped]
    if len(sounds) < 2:
        why = f" ({len(skipped)} skipped; the first: {skipped[0]})" if skipped else ""
        raise InputError(
            f"data.source: {folder} holds {len(sounds)} readable clips{why}; give 2 WAV or FLAC files or more"
        )
    rates = Counter(own for _, own in sounds.values())
    rate, length = config.rate or min(rates), 0
    length = length_of(rate, config.seconds or SECONDS)
    require_memory(len(sounds), (length,), config.source, itemsize=2)
    keys = tuple(sounds)
    clips, cut, lengths = np.empty((len(keys), length), np.int16), 0, np.empty(len(keys))
    loud = 0
    for i, (values, own) in enumerate(sounds.values()):
        clips[i], was_cut = fitted(values.astype(np.float64), own, rate, length)
        cut, lengths[i] = cut + was_cut, min(values.shape[1] / own, length / rate)
        loud += bool(np.abs(values).max() > 1)
    labels, names, of_classes = classes_of(keys, described, config.label_pattern, listing.empty, "sound")
    captions, of_captions = captions_of(keys, described, "sound")
    splits, of_splits = splits_of(keys, described, "sound")
    own_notes = [f"clips are of {length / rate:g} s at {rate} Hz"] if None in (config.rate, config.seconds) else []
    own_notes += (
        [f"{sum(n for r, n in rates.items() if r != rate)} of {len(keys)} were resampled"] if {*rates} != {rate} else []
    )
    own_notes += [f"{cut} of {len(keys)} were longer and are cut"] if cut else []
    own_notes += [f"{loud} of {len(keys)} go beyond -1 to 1 and are clipped"] if loud else []
    return AudioDataset(
        clips,
        rate,
        keys,
        labels,
        names,
        captions,
        keywords_of(keys, described),
        tuple(skipped),
        (*listing.notes, *own_notes, *notes, *of_classes, *of_captions, *of_splits),
        {"seconds": lengths, **values_of(keys, described)},
        splits,
    )


def outline_of_sound(folder: Path, config: DataConfig) -> AudioSpec:
    """What a folder's clips will be, as far as that is known without reading them all: classes, and the first rate."""
    listing = list_images(folder, SUFFIXES, "sound")
    keys = tuple(key for key, _ in listing.images)
    described, _ = read_metadata(listing.metadata, listing.root, keys, listing.captions)
    rate = config.rate
    for _, path in listing.images if rate is None else ():
        try:
            rate = read_sound(path)[1]
            break
        except (UnreadableSound, OSError):
            continue
    names = classes_of(keys, described, config.label_pattern, listing.empty, "sound")[1] if keys else ()
    return AudioSpec(rate or 16_000, length_of(rate or 16_000, config.seconds or SECONDS), names)


def is_spoken_digits(path: Path) -> bool:
    """Whether it is an .npz of recordings (module docstring)."""
    if path.suffix != ".npz" or not path.is_file():
        return False
    try:
        with np.load(path, allow_pickle=False) as file:
            return {"samples", "offsets", "sample_rate", "digit", "speaker", "take"} <= {*file.files}
    except (OSError, ValueError, EOFError):
        return False


def load_spoken_digits(path: Path, config: DataConfig, *, progress: Progress | None = None) -> AudioDataset:
    """Of such a file. Raises InputError where it is damaged."""
    del progress
    with np.load(path, allow_pickle=False) as file:
        parts = {name: file[name] for name in file.files}
    try:
        return of_spoken_digits(parts, config)
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(f"data.source: {path} is damaged ({error}); fetch it again") from None


def of_spoken_digits(parts: dict[str, Any], config: DataConfig) -> AudioDataset:
    """Recordings (module docstring) as clips with the classes that data.labels names: digit, or speaker.

    Each has the caption "seven by jackson". Raises InputError.
    """
    config.refuse("clips of sound", OTHER_FIELDS)
    own = int(parts["sample_rate"])
    rate = config.rate or own
    length = length_of(rate, config.seconds or SPOKEN_SECONDS)
    digits, takes = parts["digit"].tolist(), parts["take"].tolist()
    speakers = [str(parts["speaker_names"][i]) for i in parts["speaker"]]
    classes = {"digit": digits, "speaker": speakers}
    chosen = config.labels or "digit"
    if chosen not in classes:
        raise InputError(f"data.labels: {config.source} has no classes {chosen!r}; {nearest(chosen, classes)}")
    offsets, samples = parts["offsets"], parts["samples"]
    clips, cut = np.empty((len(digits), length), np.int16), 0
    for i in range(len(digits)):
        values = samples[offsets[i] : offsets[i + 1]].astype(np.float64)[None] / LEVELS
        clips[i], was_cut = fitted(values, own, rate, length)
        cut += was_cut
    seconds = np.minimum(np.diff(offsets) / own, length / rate)
    labels, names = indexed(classes[chosen])
    return AudioDataset(
        clips,
        rate,
        tuple(f"{d}_{s}_{t}" for d, s, t in zip(digits, speakers, takes, strict=True)),
        labels,
        names,
        tuple(f"{DIGITS[d]} by {s}" for d, s in zip(digits, speakers, strict=True)),
        notes=(f"{cut} of {len(clips)} were longer than {length / rate:g} s and are cut",) if cut else (),
        values={"seconds": seconds},
        splits=tuple("test" if take < OWN_TEST else "train" for take in takes) if min(takes) < OWN_TEST else None,
    )


def outline_of_spoken_digits(path: Path, config: DataConfig) -> AudioSpec:
    """See `load_spoken_digits`."""
    return load_spoken_digits(path, config).spec

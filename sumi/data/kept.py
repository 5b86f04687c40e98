"""A set of images as it was opened before, so that a million of them are there at once.

Opening goes through every member of every tar: names, classes, captions, which of them can be read; and dividing and
recognising a set goes through every key and every pixel. What comes out follows from the tars (names, sizes, times of
change) and from how they are read, so it is kept under a fingerprint of those:

    CACHE/sets/FINGERPRINT.npz      arrays, and text as bytes      (CACHE: `sumi.data.mapped`; it may be deleted)
"""

import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from sumi.boundary.files import write_whole
from sumi.data.dataset import Skipped, held_out_fraction
from sumi.data.frame import Frame
from sumi.data.image_set import Facts, ImageDataset
from sumi.data.mapped import Rows, cache_folder, mapped_before
from sumi.data.streamed import Pictures
from sumi.errors import InputError, writing


def kept(name: str, make: Callable[[], ImageDataset]) -> ImageDataset:
    """The set of the fingerprint ``name``; where there is none, that of ``make``, which is kept.

    Raises SumiError where the cache cannot be written, and what ``make`` does.
    """
    place = cache_folder().with_name("sets") / f"{name}.npz"
    if place.exists() and (found := _read(place)) is not None:
        return found
    made = make()
    fractions = np.array([held_out_fraction(key) for key in made.keys])
    made = replace(made, facts=Facts.of_whole(fractions, made.fingerprint()))
    with writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, _packed(made))
    return made


def _packed(data: ImageDataset) -> bytes:
    """All of a set but its pixels."""
    match data.images:
        case Rows(base=Pictures() as pictures, std=std):
            frame = pictures.frame
            arrays: dict[str, NDArray[Any]] = {"table": pictures.table}
            where = {
                "tars": [str(tar.resolve()) for tar in pictures.tars],
                "names": list(pictures.names),
                "frame": [frame.height, frame.width, frame.fit, frame.background],
                "channels": pictures.shape[1],
                "background": pictures.background,
            }
        case Rows(base=np.memmap() as pixels, std=std):
            arrays = dict[str, NDArray[Any]]()
            where = {"mapped": Path(str(pixels.filename)).parent.name}
        case _:
            raise InputError("data.store: memory keeps nothing; give mapped or streamed")
    if data.labels is not None:
        arrays["labels"] = data.labels
    arrays |= {f"value {name}": column for name, column in data.values.items()}
    facts = data.facts
    arrays["fractions"] = np.empty(0) if facts is None else facts.fractions
    text = {
        **where,
        "std": std,
        "fingerprint": "" if facts is None else facts.fingerprint,
        "keys": data.keys,
        "captions": data.captions,
        "label_names": data.label_names,
        "skipped": [(skipped.path, skipped.reason) for skipped in data.skipped],
        "notes": data.notes,
    }
    arrays["text"] = np.frombuffer(json.dumps(text).encode(), np.uint8)
    file = BytesIO()
    np.savez(file, **arrays)  # pyrefly: ignore[bad-argument-type]
    return file.getvalue()


def _read(place: Path) -> ImageDataset | None:
    """None where pixels that it names are gone, or it is damaged."""
    try:
        with np.load(place, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        text = json.loads(arrays["text"].tobytes())
        if "mapped" in text:
            images = mapped_before(text["mapped"])[0]
        else:
            how = Frame(*text["frame"]), text["channels"], text["background"]
            tars = [Path(tar) for tar in text["tars"]]
            pictures = Pictures(tars, arrays["table"], text["names"], *how)
            images = Rows(pictures, np.arange(len(pictures)), text["std"])
        captions = text["captions"]
        return ImageDataset(
            images=images,
            labels=arrays.get("labels"),
            label_names=tuple(text["label_names"]),
            captions=None if captions is None else tuple(captions),
            keys=tuple(text["keys"]),
            skipped=tuple(Skipped(path, reason) for path, reason in text["skipped"]),
            notes=tuple(text["notes"]),
            values={name.removeprefix("value "): arrays[name] for name in arrays if name.startswith("value ")},
            facts=Facts.of_whole(arrays["fractions"], text["fingerprint"]),
        )
    except (OSError, ValueError, KeyError, BadZipFile, InputError):
        return None

"""Samples on disk, in files that say how they were made: PNG for images, .npy and a picture for vectors."""

import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from sumi.boundary.files import refuse_folder, whole, write_text
from sumi.data.stated import MEASURED, Facts, columns, keep_stated, kept_stated, stated_in, summary
from sumi.errors import InputError, SumiError
from sumi.figures.files import is_unfinished, refuse_foreign
from sumi.figures.pictures import CELL, image_grid, strip

MOST_IN_GRID: Final = 1024
"""Images in grid.png: of more samples, the first."""
SPELT: Final = frozenset({"run", "image", "mask", "a", "b", "worse", "classifier"})
"""What files say as it was typed. Whether two were made alike is seen from ``digest`` and ``given`` instead."""

FORMATS: Final = ("png", "npz", "npy", "tar")
"""A file an image, or one file of all (`sumi.data.archives`)."""


@dataclass(frozen=True)
class Writing:
    """How samples are written, and what is known of them.

    ``about``: all of them, ``each``: the one of an index alone. ``format``: of `FORMATS`, "" for what suits the data.
    ``shard``: (k, K), this process is the k-th of K, 1 ≤ k ≤ K, that share the batches. ``progress(done, total)``.
    """

    batch_size: int
    title: str
    about: Facts
    each: Callable[[int], Facts] | None = None
    progress: Callable[[int, int], None] | None = None
    format: str = ""
    shard: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        k, shards = self.shard
        if not 1 <= k <= shards:
            raise InputError(f"shard: {k}/{shards} is not one of 1/{shards} to {shards}/{shards}; give one of those")
        if self.format not in ("", *FORMATS):
            raise InputError(f"format: {self.format} is none of {', '.join(FORMATS)}; give one of those")

    def share(self, indices: range) -> range:
        """Those of this shard: whole batches of the ``indices``, so every batch is the one that one process makes."""
        k, shards = self.shard
        batches = ceil(len(indices) / self.batch_size)
        return indices[batches * (k - 1) // shards * self.batch_size : batches * k // shards * self.batch_size]

    def facts(self, index: int) -> Facts:
        """What is known of one."""
        return {**self.about, **(self.each(index) if self.each else {})}


def write_samples(
    folder: Path, make: Callable[[range], Tensor], indices: range, how: Writing
) -> tuple[Path | None, int]:
    """Write the images ``indices`` as `write_images` does, each batch as soon as it is made.

    ``make`` gives a batch as uint8 (n, C, H, W). One whose files are there, whole and made alike, is not made again, so
    the same call goes on where another was cut off. The grid has the first `MOST_IN_GRID`. Returns its path, None where
    other shards have yet to make some of those; and how many files were there. Raises as `write_images`, before
    anything is made.
    """
    _refuse_places(folder)
    own = how.share(indices)
    there, whole = 0, set[int]()  # the images that are there, and the first of each batch that is
    for batch in batches_of(own, how.batch_size):
        made = sum(is_made(_file(folder, index), how.facts(index)) for index in batch)
        there += made
        whole |= {batch.start} if made == len(batch) else set()
    for batch in batches_of(own, how.batch_size, how.progress):
        if batch.start not in whole:
            _save(folder, make(batch), {index: how.facts(index) for index in batch})
    first = indices[:MOST_IN_GRID]
    if not all(is_made(_file(folder, index), how.facts(index)) for index in first):
        return None, there
    files = [_file(folder, index) for index in first]
    each = [{**how.facts(index), **stated_in(_facts_of(file) or {})} for index, file in zip(first, files, strict=True)]
    return write_grid(folder, np.stack([*map(_pixels, files)]), how.about, indices, each), there


def write_images(
    folder: Path, images: Tensor, *, start: int, about: Facts, each: Callable[[int], Facts] | None = None
) -> Path:
    """Write uint8 (n, C, H, W) as 00000.png … (numbered from ``start``) and grid.png; returns the grid's path.

    Each file carries ``about``, what ``each`` says of its index, and that as JSON in the PNG text "sumi". Raises
    InputError for a file that was made otherwise, SumiError where one cannot be written.
    """
    indices = range(start, start + len(images))
    _refuse_places(folder)
    of_each = [each(index) if each else {} for index in indices]
    for index, own in zip(indices, of_each, strict=True):
        is_made(_file(folder, index), {**about, **own})
    _save(folder, images, {index: {**about, **own} for index, own in zip(indices, of_each, strict=True)})
    return write_grid(folder, images.numpy(), about, indices, of_each)


def batches_of(indices: range, batch_size: int, progress: Callable[[int, int], None] | None = None) -> Iterator[range]:
    """``indices`` in batches; each counts once the next one is taken."""
    for first in range(0, len(indices), batch_size):
        batch = indices[first : first + batch_size]
        yield batch
        if progress is not None:
            progress(first + len(batch), len(indices))


def write_between(folder: Path, ends: Tensor, made: Tensor, about: Mapping[str, object]) -> Path:
    """Write ``made``, uint8 (n, C, H, W), as `write_images` does, and strip.png: them between the two images ``ends``.

    Below each stands how far on the way it is. Returns the strip's path. Raises as `write_images` does.
    """
    write_images(folder, made, start=0, about=about)
    words = ["a", *(f"{k / (len(made) - 1):.2f}" for k in range(len(made))), "b"]
    row = strip(torch.cat([ends[:1], made, ends[1:]]), labels=words, scale=max(1, ceil(CELL / made.shape[-1])))
    refuse_foreign(folder / "strip.png")
    return _write_png(folder / "strip.png", row, {**about, "index": 0, "count": len(made)})


def made_in_parts(
    file: Path, make: Callable[[range], Tensor], indices: range, how: Writing, about: Mapping[str, object]
) -> Tensor:
    """The items ``indices`` (n, …) of a ``file`` of all of them, each batch on the disk as soon as it is made.

    They lie in FILE.parts with what they are made with, so the same call goes on where another was cut off; whoever has
    written the file removes them (`remove_parts`). Raises InputError for parts that were made otherwise.
    """
    parts = parts_of(file)
    claim = parts / "made.json"
    if claim.exists() and not alike(_claimed(claim), about):
        raise made_otherwise(parts)
    write_text(claim, json.dumps(about) + "\n")
    made: list[Tensor] = []
    for batch in batches_of(indices, how.batch_size, how.progress):
        part = _part(parts, batch)
        items = _kept(part)
        if items is None:
            items = make(batch).as_subclass(Tensor)
            if not bool(items.isfinite().all()):
                raise SumiError(
                    f"samples: {batch.start} to {batch.stop - 1} are not all finite; choose another checkpoint"
                )
            keep_stated(part, [how.facts(index) for index in batch])
            with whole(part) as written:
                np.save(written, items.numpy())
        made.append(items)
    return torch.cat(made)


def stated_in_parts(file: Path, indices: range, how: Writing) -> list[Facts]:
    """What each of the items that `made_in_parts` has made states (`sumi.data.stated`)."""
    batches = batches_of(indices, how.batch_size)
    return [one for batch in batches for one in kept_stated(_part(parts_of(file), batch), len(batch))]


def _part(parts: Path, batch: range) -> Path:
    return parts / f"{batch.start:08d}-{batch.stop:08d}.npy"


def parts_of(file: Path) -> Path:
    """The folder of what is made of a file of many items."""
    return file.with_name(f"{file.name}.parts")


def remove_parts(file: Path) -> None:
    """Remove what `made_in_parts` has put there."""
    shutil.rmtree(parts_of(file), ignore_errors=True)


def _kept(part: Path) -> Tensor | None:
    """The items of a part; None where it is not there, or not whole."""
    try:
        return torch.from_numpy(np.load(part, allow_pickle=False))
    except (OSError, ValueError, EOFError):
        return None


def _claimed(claim: Path) -> Facts:
    try:
        found = json.loads(claim.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    match found:
        case dict():
            return found
        case _:
            return {}


def write_vectors(
    folder: Path, vectors: NDArray[np.float64], picture: bytes, about: Facts, each: Sequence[Facts] = ()
) -> Path:
    """Write vectors (n, D) as vectors.npy, and what ``each`` states of itself, if it does; see `write_together`."""
    refuse_together(folder, "vectors.npy", about)
    write_arrays(folder, columns(each))
    about = {**about, **summary(each)}
    return write_together(folder, "vectors.npy", lambda file: np.save(file, vectors), picture, about)


def write_arrays(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Each of these arrays as NAME.npy. Raises SumiError where one cannot be written."""
    for name, values in arrays.items():
        with whole(folder / f"{name}.npy") as written:
            np.save(written, values)


def write_together(
    folder: Path, name: str, write: Callable[[IO[bytes]], object], picture: bytes, about: Mapping[str, object]
) -> Path:
    """Write many items as one file called ``name``, and their ``picture`` as picture.png; returns the picture's path.

    The picture carries ``about`` as images do, and speaks for the items beside it. Raises InputError and SumiError as
    `write_images` does.
    """
    file = folder / "picture.png"
    refuse_together(folder, name, about)
    with whole(folder / name) as written:
        # the picture gets its name first: it says how the items were made
        write(written)
        _write_png(file, Image.open(io.BytesIO(picture)), {**about, "index": 0})
    remove_parts(folder / name)
    return file


def refuse_together(folder: Path, name: str, about: Facts) -> None:
    """Raises InputError where the folder holds items called ``name`` that were made otherwise, or takes no files."""
    refuse_folder(folder)
    items = folder / name
    if not is_made(folder / "picture.png", about) and items.exists() and items.stat().st_size:
        raise made_otherwise(items)


def save_picture(file: Path, picture: bytes, about: Facts) -> Path:
    """A ``picture`` as a PNG file that carries ``about``; returns its path. Raises InputError for somebody else's."""
    refuse_foreign(file)
    return _write_png(file, Image.open(io.BytesIO(picture)), about)


def save(file: Path, pixels: Tensor, about: Facts) -> None:
    """One image, uint8 (C, H, W), as a PNG file that carries ``about``. Raises InputError for somebody else's file."""
    refuse_foreign(file)
    _write_png(file, picture_of(pixels), about)


def _file(folder: Path, index: int) -> Path:
    return folder / f"{index:05d}.png"


def _refuse_places(folder: Path) -> None:
    """Raises InputError where the folder cannot be written into, or has somebody else's grid."""
    refuse_folder(folder)
    refuse_foreign(folder / "grid.png")


def _save(folder: Path, images: Tensor, facts: Mapping[int, Facts]) -> None:
    for (index, about), pixels in zip(facts.items(), images, strict=True):
        _write_png(_file(folder, index), picture_of(pixels), {**about, "index": index})


def write_grid(
    folder: Path, images: NDArray[np.uint8], about: Facts, indices: range, each: Sequence[Facts] = ()
) -> Path:
    """grid.png of the first of the ``indices``, (n, C, H, W); returns its path.

    ``each``: what is known of each image; below it stands its prompt, or else its class, where it has one. The file
    says the worst and the median of what those that it shows state.
    """
    images = images[:MOST_IN_GRID]
    each = each[: len(images)]
    facts = {**about, "index": indices.start, "count": len(indices), **summary(each)}
    words = [str(own.get("prompt", own.get("label"))) for own in each if {"prompt", "label"} & {*own}]
    captions = words if words and "prompt" not in about and about.get("label", "all") == "all" else None
    return _write_png(folder / "grid.png", image_grid(images, captions=captions), facts)


def _write_png(file: Path, picture: Image.Image, about: Facts) -> Path:
    with whole(file) as written:
        encode(written, picture, about)
    return file


def encode(file: IO[bytes], picture: Image.Image, about: Facts) -> None:
    """A PNG whose text "sumi" is ``about``, as JSON."""
    info = PngInfo()
    info.add_text("sumi", json.dumps(about))
    picture.save(file, "PNG", pnginfo=info)


def picture_of(pixels: Tensor) -> Image.Image:
    values = pixels.permute(1, 2, 0).numpy()
    return Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)


def _pixels(file: Path) -> NDArray[np.uint8]:
    """The image of a file that `_write_png` wrote, (C, H, W)."""
    with Image.open(file) as picture:
        values = np.asarray(picture)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def is_made(file: Path, about: Facts) -> bool:
    """Whether the file is there, whole and made alike. Raises InputError for one that was made otherwise.

    One that a write without a rename left in part is not there.
    """
    if not file.exists():
        return False
    made = _facts_of(file)
    if made is None and is_unfinished(file):
        return False
    if made is None or not alike(made, about):
        raise made_otherwise(file)
    return file.read_bytes().endswith(b"IEND\xaeB`\x82")


def _facts_of(file: Path) -> Facts | None:
    """What an image says of itself; None where it says nothing, or cannot be read."""
    try:
        with Image.open(file) as picture:
            made = json.loads(str(picture.info.get("sumi", "null")))
    except (OSError, ValueError, SyntaxError, RecursionError, Image.DecompressionBombError):
        return None
    return made if isinstance(made, dict) else None


def alike(a: Facts, b: Facts) -> bool:
    """Whether what two files say of themselves means that they were made alike."""
    first, second = ({k: v for k, v in facts.items() if k not in SPELT | MEASURED | {"index"}} for facts in (a, b))
    return first == second


def made_otherwise(file: Path) -> InputError:
    """The error for a file in the place of another one."""
    return InputError(f"out: {file.parent} holds {file.name}, which was made with other settings; give another folder")

"""Samples on disk, in files that say how they were made: PNG for images, .npy and a picture for vectors."""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from sumi.boundary.files import refuse_folder, whole
from sumi.errors import InputError
from sumi.figures.files import is_unfinished, refuse_foreign
from sumi.figures.pictures import CELL, image_grid, strip

MOST_IN_GRID: Final = 1024
"""Images in grid.png: of more samples, the first."""
SPELT: Final = frozenset({"run", "image", "mask", "a", "b", "worse", "classifier"})
"""What files say as it was typed. Whether two were made alike is seen from ``digest`` and ``given`` instead."""

Facts = Mapping[str, object]


def write_samples(
    folder: Path,
    make: Callable[[range], Tensor],
    indices: range,
    *,
    batch_size: int,
    about: Facts,
    each: Sequence[Facts] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, int]:
    """Write the images ``indices`` as `write_images` does, each batch as soon as it is made.

    ``make`` gives a batch as uint8 (n, C, H, W). One whose files are there, whole and made alike, is not made again, so
    the same call goes on where another was cut off. The grid has the first `MOST_IN_GRID`. Returns its path, and how
    many files were there. ``progress(done, total)``. Raises as `write_images`, before anything is made.
    """
    facts = _facts(about, indices, each)
    there = _there(folder, facts)
    shown: list[NDArray[np.uint8]] = []
    for batch in batches_of(indices, batch_size, progress):
        if not there.issuperset(batch):
            _save(folder, make(batch), {index: facts[index] for index in batch})
        shown += [_pixels(_file(folder, index)) for index in batch[: MOST_IN_GRID - len(shown)]]
    return _write_grid(folder, np.stack(shown), about, indices), len(there)


def write_images(
    folder: Path, images: Tensor, *, start: int, about: Facts, each: Sequence[Facts] | None = None
) -> Path:
    """Write uint8 (n, C, H, W) as 00000.png … (numbered from ``start``) and grid.png; returns the grid's path.

    Each file carries ``about``, what ``each`` says of it alone, and its index as JSON in the PNG text "sumi". Raises
    InputError for a file that was made otherwise, SumiError where one cannot be written.
    """
    indices = range(start, start + len(images))
    facts = _facts(about, indices, each)
    _there(folder, facts)
    _save(folder, images, facts)
    return _write_grid(folder, images.numpy(), about, indices)


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
    row = strip(torch.cat([ends[:1], made, ends[1:]]), labels=words, scale=max(1, ceil(1.5 * CELL / made.shape[-1])))
    refuse_foreign(folder / "strip.png")
    return _write_png(folder / "strip.png", row, {**about, "index": 0, "count": len(made)})


def write_vectors(folder: Path, vectors: NDArray[np.float64], picture: bytes, about: Mapping[str, object]) -> Path:
    """Write vectors (n, D) as vectors.npy and their ``picture`` as picture.png; returns the picture's path.

    The picture carries ``about`` as images do, and speaks for the vectors beside it. Raises InputError and SumiError as
    `write_images` does.
    """
    file, numbers = folder / "picture.png", folder / "vectors.npy"
    refuse_vectors(folder, about)
    with whole(numbers) as written:
        # the picture gets its name first: it says how the numbers were made
        np.save(written, vectors)
        _write_png(file, Image.open(io.BytesIO(picture)), {**about, "index": 0})
    return file


def refuse_vectors(folder: Path, about: Facts) -> None:
    """Raises InputError where the folder holds vectors that were made otherwise, or cannot be written into."""
    refuse_folder(folder)
    numbers = folder / "vectors.npy"
    if not is_made(folder / "picture.png", about) and numbers.exists() and numbers.stat().st_size:
        raise _made_otherwise(numbers)


def save(file: Path, pixels: Tensor, about: Facts) -> None:
    """One image, uint8 (C, H, W), as a PNG file that carries ``about``. Raises InputError for somebody else's file."""
    refuse_foreign(file)
    _write_png(file, _picture(pixels), about)


def _facts(about: Facts, indices: range, each: Sequence[Facts] | None) -> dict[int, Facts]:
    return {index: {**about, **(each[k] if each else {})} for k, index in enumerate(indices)}


def _file(folder: Path, index: int) -> Path:
    return folder / f"{index:05d}.png"


def _there(folder: Path, facts: Mapping[int, Facts]) -> set[int]:
    """Which of these files are there. Raises InputError for files in their places that were made otherwise."""
    refuse_folder(folder)
    refuse_foreign(folder / "grid.png")
    return {index for index, about in facts.items() if is_made(_file(folder, index), about)}


def _save(folder: Path, images: Tensor, facts: Mapping[int, Facts]) -> None:
    for (index, about), pixels in zip(facts.items(), images, strict=True):
        _write_png(_file(folder, index), _picture(pixels), {**about, "index": index})


def _write_grid(folder: Path, images: NDArray[np.uint8], about: Facts, indices: range) -> Path:
    facts = {**about, "index": indices.start, "count": len(indices)}
    return _write_png(folder / "grid.png", image_grid(images[:MOST_IN_GRID]), facts)


def _write_png(file: Path, picture: Image.Image, about: Facts) -> Path:
    info = PngInfo()
    info.add_text("sumi", json.dumps(about))
    with whole(file) as written:
        picture.save(written, "PNG", pnginfo=info)
    return file


def _picture(pixels: Tensor) -> Image.Image:
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
    try:
        with Image.open(file) as picture:
            made = json.loads(str(picture.info.get("sumi", "null")))
    except (OSError, ValueError, SyntaxError, RecursionError, Image.DecompressionBombError):
        made = None
    if made is None and is_unfinished(file):
        return False
    if not isinstance(made, dict) or _alike(made) != _alike(about):
        raise _made_otherwise(file)
    return file.read_bytes().endswith(b"IEND\xaeB`\x82")


def _alike(about: Facts) -> Facts:
    return {name: value for name, value in about.items() if name not in SPELT and name != "index"}


def _made_otherwise(file: Path) -> InputError:
    return InputError(f"out: {file.parent} holds {file.name}, which was made with other settings; give another folder")

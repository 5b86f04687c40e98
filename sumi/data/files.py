"""Samples on disk, in files that say how they were made: PNG for images, .npy and a picture for vectors."""

import io
import json
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from sumi.errors import InputError, writing
from sumi.figures.pictures import CELL, image_grid, strip


def write_images(
    folder: Path,
    images: Tensor,
    *,
    start: int,
    about: Mapping[str, object],
    each: Sequence[Mapping[str, object]] | None = None,
) -> Path:
    """Write uint8 (n, C, H, W) as 00000.png … (numbered from ``start``) and grid.png; returns the grid's path.

    Each file carries ``about``, what ``each`` says of it alone, and its index as JSON in the PNG text "sumi". Raises
    InputError for a file that was made otherwise, SumiError where one cannot be written.
    """
    own = [{**about, **(each[k] if each else {})} for k in range(len(images))]
    for index, facts in enumerate(own, start):
        refuse_another(folder / f"{index:05d}.png", facts)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for index, pixels in enumerate(images, start):
            save(folder / f"{index:05d}.png", pixels, {**own[index - start], "index": index})
        grid = folder / "grid.png"
        image_grid(images.numpy()).save(grid, pnginfo=_text({**about, "index": start, "count": len(images)}))
    return grid


def write_between(folder: Path, ends: Tensor, made: Tensor, about: Mapping[str, object]) -> Path:
    """Write ``made``, uint8 (n, C, H, W), as `write_images` does, and strip.png: them between the two images ``ends``.

    Below each stands how far on the way it is. Returns the strip's path. Raises as `write_images` does.
    """
    write_images(folder, made, start=0, about=about)
    words = ["a", *(f"{k / (len(made) - 1):.2f}" for k in range(len(made))), "b"]
    row = strip(torch.cat([ends[:1], made, ends[1:]]), labels=words, scale=max(1, ceil(1.5 * CELL / made.shape[-1])))
    with writing(folder):
        row.save(folder / "strip.png", pnginfo=_text({**about, "index": 0, "count": len(made)}))
    return folder / "strip.png"


def write_vectors(folder: Path, vectors: NDArray[np.float64], picture: bytes, about: Mapping[str, object]) -> Path:
    """Write vectors (n, D) as vectors.npy and their ``picture`` as picture.png; returns the picture's path.

    The picture carries ``about`` as images do, and speaks for the vectors beside it. Raises InputError and SumiError as
    `write_images` does.
    """
    file, numbers = folder / "picture.png", folder / "vectors.npy"
    refuse_another(file, about)
    if numbers.exists() and not file.exists():
        raise InputError(f"out: {folder} holds {numbers.name}, which was made with other settings; give another folder")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / ".vectors.npy"
        np.save(temporary, vectors)
        Image.open(io.BytesIO(picture)).save(file, pnginfo=_text({**about, "index": 0}))
        temporary.replace(numbers)
    return file


def save(file: Path, pixels: Tensor, about: Mapping[str, object]) -> None:
    """One image, uint8 (C, H, W), as a PNG file that carries ``about``."""
    values = pixels.permute(1, 2, 0).numpy()
    Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values).save(file, pnginfo=_text(about))


def refuse_another(file: Path, about: Mapping[str, object]) -> None:
    """An image that was made in another way, or by something else, is not written over."""
    if not file.exists():
        return
    try:
        with Image.open(file) as picture:
            made = json.loads(str(picture.info.get("sumi", "null")))
    except (OSError, ValueError):
        made = None
    if not isinstance(made, dict) or {**made, "index": 0} != {**about, "index": 0}:
        raise InputError(
            f"out: {file.parent} holds {file.name}, which was made with other settings; give another folder"
        )


def _text(about: Mapping[str, object]) -> PngInfo:
    info = PngInfo()
    info.add_text("sumi", json.dumps(about))
    return info

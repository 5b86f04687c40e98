"""Samples as one file: .npz or .npy of (N, H, W, C), or a tar of PNG files; in parts until all are made.

Every batch is written as a part, a small .npy, as soon as it is made. Once all parts are there, in whatever order and
by however many processes they were made, they are gathered in the order of their indices and removed. So memory holds
one batch however many there are, a call goes on where another was cut off, and the file appears whole or not at all,
with the same bytes for any number of shards.

    samples.npz         arr_0: (N, H, W, C), of uint8 or in the data's own units; with classes arr_1: int64 (N,), as FID
                        tools read them; where samples state their error also stated_error and evaluations
    samples.npy         the same array; with classes also labels.npy, and likewise stated_error.npy and evaluations.npy
    samples.tar         00000.png …; with classes also 00000.cls, the index of its class (WebDataset)
    samples.npz.json    what all of them were made with
    samples.npz.parts/  the batches, and what their samples state, until they are gathered
"""

import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sumi.boundary.files import lock, refuse_folder, whole, write_text
from sumi.data.files import (
    MOST_IN_GRID,
    Writing,
    alike,
    batches_of,
    encode,
    made_otherwise,
    picture_of,
    write_arrays,
    write_grid,
)
from sumi.data.stated import Facts, columns, keep_stated, kept_stated, summary
from sumi.figures.files import refuse_foreign


def write_archive(
    folder: Path,
    make: Callable[[range], Tensor],
    indices: range,
    how: Writing,
    label_names: Sequence[str],
    *,
    shown: Callable[[NDArray[Any]], NDArray[np.uint8]] = lambda images: images,
) -> tuple[Path | None, int]:
    """Write the images ``indices`` into one file of ``how.format``, and grid.png (module docstring).

    ``make`` gives a batch (n, C, H, W) in the units of the file, of which ``shown`` makes uint8 (n, 1 or 3, H', W') for
    the grid. Returns the file's path, None where other shards have yet to make parts; and how many of this shard's
    images were there. Raises InputError for files that were made otherwise, before anything is made; SumiError where
    one cannot be written.
    """
    file = folder / f"samples.{how.format}"
    claim, parts = file.with_name(f"{file.name}.json"), file.with_name(f"{file.name}.parts")
    refuse_folder(folder)
    refuse_foreign(folder / "grid.png")
    about = {**how.about, "start": indices.start, "count": len(indices), "batch_size": how.batch_size}
    _claim(claim, file, about)
    own = how.share(indices)
    if file.exists():
        return file, len(own)
    there = sum(len(batch) for batch in batches_of(own, how.batch_size) if _read(parts, batch) is not None)
    for batch in batches_of(own, how.batch_size, how.progress):
        if _read(parts, batch) is None:
            images = make(batch).permute(0, 2, 3, 1).numpy()
            keep_stated(_part(parts, batch), [how.facts(index) for index in batch])
            with whole(_part(parts, batch)) as written:
                np.save(written, images)
    with claim.open("rb") as held:  # of several processes that finish at once, one gathers
        lock(held, wait=True)
        if not file.exists():
            batches = list(batches_of(indices, how.batch_size))
            if any(_read(parts, batch) is None for batch in batches):
                return None, there
            first = np.concatenate([_images(parts, batch) for batch in batches[: ceil(MOST_IN_GRID / how.batch_size)]])
            stated = [one for batch in batches for one in kept_stated(_part(parts, batch), len(batch))]
            each = [{**how.facts(index), **own} for index, own in zip(indices, stated, strict=True)]
            write_grid(folder, shown(first[:MOST_IN_GRID].transpose(0, 3, 1, 2)), how.about, indices, each)
            _gather(file, parts, indices, how, each, label_names)
            if found := summary(each):
                write_text(claim, json.dumps({**about, **found}) + "\n")
        shutil.rmtree(parts, ignore_errors=True)
    return file, there


def _claim(claim: Path, file: Path, about: dict[str, object]) -> None:
    """Note what the file is made with. Raises InputError where it was made otherwise, or is somebody else's."""
    try:
        made = json.loads(claim.read_text("utf-8")) if claim.exists() else None
    except ValueError:
        made = None
    match made:
        case dict() if alike(made, about):
            return
        case None if not file.exists():
            write_text(claim, json.dumps(about) + "\n")
        case _:
            raise made_otherwise(file)


def _part(parts: Path, batch: range) -> Path:
    return parts / f"{batch.start:08d}.npy"


def _read(parts: Path, batch: range) -> NDArray[Any] | None:
    """The images of a part, (n, H, W, C); None where it is not there, or not whole."""
    try:
        images = np.load(_part(parts, batch), mmap_mode="r", allow_pickle=False)  # read where it is used
    except (OSError, ValueError, EOFError):
        return None
    return images if len(images) == len(batch) else None


def _images(parts: Path, batch: range) -> NDArray[Any]:
    images = _read(parts, batch)
    if images is None:
        raise made_otherwise(_part(parts, batch))
    return images


def _gather(
    file: Path, parts: Path, indices: range, how: Writing, each: Sequence[Facts], label_names: Sequence[str]
) -> None:
    batches = list(batches_of(indices, how.batch_size))
    first = _images(parts, batches[0])
    header = {
        "descr": np.lib.format.dtype_to_descr(first.dtype),
        "fortran_order": False,
        "shape": (len(indices), *first.shape[1:]),
    }
    arrays = (_images(parts, batch) for batch in batches)
    labels = _labels(indices, how, label_names)
    match how.format:
        case "npy":
            write_arrays(file.parent, {**({} if labels is None else {"labels": labels}), **columns(each)})
            with whole(file) as written:
                _write_npy(written, header, arrays)
        case "npz":
            with whole(file) as written, zipfile.ZipFile(_Forward(written), "w") as archive:
                with archive.open(zipfile.ZipInfo("arr_0.npy"), "w", force_zip64=True) as member:
                    _write_npy(member, header, arrays)
                for name, values in {**({} if labels is None else {"arr_1": labels}), **columns(each)}.items():
                    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as member:
                        np.save(member, values)
        case _:
            with whole(file) as written, tarfile.open(fileobj=written, mode="w|") as archive:
                images = (image for array in arrays for image in array)
                for k, (index, image) in enumerate(zip(indices, images, strict=True)):
                    png = io.BytesIO()
                    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
                    encode(png, picture_of(pixels), {**each[k], "index": index})
                    _add(archive, f"{index:05d}.png", png.getvalue())
                    if labels is not None:
                        _add(archive, f"{index:05d}.cls", str(labels[k]).encode())


def _labels(indices: range, how: Writing, names: Sequence[str]) -> NDArray[np.int64] | None:
    """The index of each image's class; None where one has none."""
    if not indices or how.facts(indices[0]).get("label") not in names:
        return None
    place = {name: k for k, name in enumerate(names)}
    return np.fromiter((place[str(how.facts(index)["label"])] for index in indices), np.int64, len(indices))


def _write_npy(file: IO[bytes], header: dict[str, Any], arrays: Iterator[NDArray[Any]]) -> None:
    np.lib.format.write_array_header_1_0(file, header)
    for array in arrays:
        file.write(array.tobytes())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # of the time 0, so that the same images give the same bytes
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


class _Forward(io.RawIOBase):
    """A file that is written forward alone, as one opened to append must be: zipfile then seeks nowhere."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        return self._file.write(data)

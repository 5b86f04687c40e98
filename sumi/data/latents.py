"""Images as an autoencoder encodes them, once, in a file that is mapped into memory.

Every image is there with the mean and the standard deviation of its latents, and so is its mirror image where they are
mirrored in training: a step draws new latents of each (Rombach et al. 2022, appendix G). The file is written under
another name, checked for values that are not finite, and renamed when it is whole; a second one says what it is of.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sumi.boundary.files import reserve
from sumi.data.dataset import Dataset
from sumi.data.image_set import Facts, ImageDataset
from sumi.data.spec import DataSpec
from sumi.errors import InputError, SumiError, writing

BATCH = 64
STAMPED = 2**20  # bytes at either end of the file
STATISTICS = ("mean", "std")  # by channel, in the file that says what the latents are of


@dataclass(frozen=True)
class Latents:
    """Latents of ``shape`` (c, h, w), of data of these classes. ``images``: (C, H, W) of the images that an autoencoder
    encodes; None: of other data.
    """

    shape: tuple[int, ...]
    label_names: tuple[str, ...]
    images: tuple[int, int, int] | None = None
    levels: None = None


@dataclass(frozen=True, eq=False)
class LatentDataset:
    """``images``, encoded. ``moments`` float32 (M, 2c, h, w): means, then standard deviations, of each latent.

    Of M = 2 N items the second half are the images mirrored; ``mean``, ``std`` (c,): of each channel over all of them.
    """

    images: Dataset
    moments: NDArray[np.float32]
    mean: Tensor
    std_by_channel: Tensor

    @property
    def spec(self) -> DataSpec:
        """Of the images."""
        return self.images.spec

    @property
    def shape(self) -> tuple[int, ...]:
        _, channels, height, width = self.moments.shape
        return channels // 2, height, width

    @property
    def label_names(self) -> tuple[str, ...]:
        return self.images.label_names

    @property
    def columns(self) -> tuple[str, ...]:
        return self.images.columns

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the images; of a mirror image with its mark."""
        own = self.images.keys
        return own if len(self) == len(own) else (*own, *(f"{key} mirrored" for key in own))

    @property
    def notes(self) -> tuple[str, ...]:
        return self.images.notes

    def __len__(self) -> int:
        return len(self.moments)

    def batch(self, items: NDArray[np.int64]) -> Tensor:
        """Moments of these items, float32 (len(items), 2c, h, w)."""
        return torch.from_numpy(self.moments[items])

    def pictures(self, items: NDArray[np.int64]) -> Tensor:
        """The images of these items as they were encoded, some of them mirrored: float32 (len(items), C, H, W)."""
        x = self.images.batch(items % len(self.images))
        mirrored = torch.from_numpy(items >= len(self.images))
        x[mirrored] = x[mirrored].flip(-1)
        return x

    def labels_of(self, items: NDArray[np.int64]) -> Tensor:
        """See `Dataset.labels_of`."""
        return self.images.labels_of(items % len(self.images))

    def column(self, name: str) -> NDArray[np.float64]:
        """See `Dataset.column`."""
        column = self.images.column(name)
        return np.tile(column, len(self) // len(column))

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> "LatentDataset":
        """Of these images, not mirrored."""
        return replace(self, images=self.images.subset(indices), moments=self.moments[np.asarray(indices)])

    def split(self, held_out: float) -> tuple["LatentDataset", "LatentDataset"]:
        """Raises InputError: the images were divided before."""
        del held_out
        raise InputError("data: latents are of training images alone; divide the images")

    def fitted_to(self, spec: DataSpec, source: str) -> "LatentDataset":
        """See `Dataset.fitted_to`."""
        return replace(self, images=self.images.fitted_to(spec, source))

    def std(self) -> float:
        """Of standardised latents."""
        return 1.0

    def fingerprint(self) -> str:
        """Of the images."""
        return self.images.fingerprint()

    def skipped_report(self, limit: int | None = None) -> tuple[str, ...]:
        """See `Dataset.skipped_report`."""
        return self.images.skipped_report(limit)


def encoded(
    images: Dataset,
    posterior: Callable[[Tensor], tuple[Tensor, Tensor]],
    file: Path,
    made_of: dict[str, object],
    *,
    mirrored: bool,
    progress: Callable[[int, int], None] | None = None,
) -> LatentDataset:
    """``images`` by ``posterior``, x (n, C, H, W) -> means and standard deviations.

    Read from ``file`` where it is there, whole, of the same images and of what ``made_of`` says, else written to it.

    Raises SumiError for latents that are not finite, and where the file cannot be written, InputError where the disk
    has no room.
    """
    about = {**made_of, "count": len(images), "mirrored": mirrored}
    stated = file.with_suffix(".json")
    kept = _kept(file, stated, images, about)
    if kept is None:
        with writing(file):
            stated.unlink(missing_ok=True)
            _write(images, posterior, file, mirrored, progress)
            moments = _mapped(file)
            statistics = _statistics(moments)
            found = {name: each.tolist() for name, each in zip(STATISTICS, statistics, strict=True)}
            found |= {"images": images.fingerprint(), "origin": _origin(images), "contents": _stamp(file)}
            stated.write_text(json.dumps({**about, **found}))
        kept = moments, statistics
    moments, statistics = kept
    return LatentDataset(images, moments, *statistics)


def is_encoded(file: Path) -> bool:
    """Whether `encoded` has written ``file`` to its end, of whatever images."""
    return file.with_suffix(".json").exists()


def _origin(images: Dataset) -> str | None:
    """What they are recognised by without reading them; None: nothing."""
    match images:
        case ImageDataset(facts=Facts(origin=origin)):
            return origin
        case _:
            return None


def _kept(
    file: Path, stated: Path, images: Dataset, about: dict[str, object]
) -> tuple[NDArray[np.float32], tuple[Tensor, Tensor]] | None:
    """What is in ``file``, and `_statistics` of it; None where it is not there, not whole, or of something else than
    ``images`` and ``about``.
    """
    try:
        held = json.loads(stated.read_text())
        known = [held.pop(name, None) for name in STATISTICS]
        origin = held.pop("origin", None)
        if origin is None or origin != _origin(images):
            about = {**about, "images": images.fingerprint()}
        else:
            del held["images"]
        if held != {**about, "contents": _stamp(file)}:
            return None
        moments = _mapped(file)
        if None in known:  # older runs did not note them
            return moments, _statistics(moments)
        mean, std = (torch.tensor(each, dtype=torch.float64) for each in known)
        return moments, (mean, std)
    except (FileNotFoundError, AttributeError, KeyError, TypeError, ValueError):  # of JSON, and of a file cut off
        return None


def _stamp(file: Path) -> str:
    """sha256 of its length, its first and its last MB: enough to know a file that another encoder wrote."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        first = opened.read(STAMPED)
        opened.seek(max(0, size - STAMPED))
        return hashlib.sha256(str(size).encode() + first + opened.read()).hexdigest()


def _mapped(file: Path) -> NDArray[np.float32]:
    """To be read only; torch takes no arrays that cannot be written. Raises ValueError where the file is cut off."""
    np.load(file, mmap_mode="r")  # "r+" would fill the rest with zeros
    return np.load(file, mmap_mode="r+")


def _write(
    images: Dataset,
    posterior: Callable[[Tensor], tuple[Tensor, Tensor]],
    file: Path,
    mirrored: bool,
    progress: Callable[[int, int], None] | None,
) -> None:
    ways = 2 if mirrored else 1
    partial = file.with_name(f".{file.name}.partial")
    moments: np.memmap | None = None
    file.parent.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(images), BATCH):
        items = np.arange(start, min(start + BATCH, len(images)))
        x = images.batch(items)
        for way in range(ways):
            made = torch.cat(posterior(x.flip(-1) if way else x), 1).float().cpu()
            if not bool(made.isfinite().all()):
                raise SumiError(
                    f"autoencoder: gives latents that are not finite for images {start} to {int(items[-1])}; "
                    "train another, with a lower learning rate"
                )
            if moments is None:
                shape = (ways * len(images), *made.shape[1:])
                needed, free = prod(shape) * 4, shutil.disk_usage(file.parent).free
                if needed > free:  # to write it would end the process without a word
                    raise InputError(
                        f"{file.parent}: has {free / 1e9:.1f} GB left, and the latents of {len(images)} images take "
                        f"{needed / 1e9:.1f} GB; free some, or make the folder a link to a larger disk"
                    )
                moments = np.lib.format.open_memmap(partial, "w+", np.float32, shape)
                reserve(partial)
            moments[way * len(images) + items] = made.numpy()
        if progress is not None:
            progress(int(items[-1]) + 1, len(images))
    if moments is not None:
        moments.flush()
    partial.replace(file)


def _statistics(moments: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of the latents, whose own variance counts: float64 (c,) each."""
    total, squares, count = torch.zeros(()), torch.zeros(()), 0
    for start in range(0, len(moments), 1024):
        mean, std = torch.from_numpy(moments[start : start + 1024]).double().chunk(2, dim=1)
        total = total + mean.sum((0, 2, 3))
        squares = squares + (mean.square() + std.square()).sum((0, 2, 3))
        count += mean.numel() // mean.shape[1]
    mean = total / count
    return mean, (squares / count - mean.square()).clamp(min=0).sqrt()

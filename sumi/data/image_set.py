"""A set of images in memory, and arrays that hold them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sumi.boundary.config import nearest
from sumi.data.config import DataConfig
from sumi.data.dataset import Progress, Skipped, divide, divide_by_splits, no_column, no_labels, skipped_lines
from sumi.data.images import ImageSpec
from sumi.data.mapped import Rows
from sumi.data.memory import require_memory
from sumi.data.pixels import PixelRange
from sumi.data.spec import DataSpec, expect, unlike
from sumi.errors import InputError

_Each = TypeVar("_Each")


@dataclass(frozen=True)
class Facts:
    """Of a whole set, which take long to find of a million images: u(key) of each, and `ImageDataset.fingerprint`.

    ``origin``: what the very items are recognised by, unread; of a part of the set the whole's fingerprint and the
    places in it, while its own ``fingerprint`` is not known (None).
    """

    fractions: NDArray[np.float64]
    fingerprint: str | None
    origin: str

    @staticmethod
    def of_whole(fractions: NDArray[np.float64], fingerprint: str) -> "Facts":
        """Of a set that is recognised by its fingerprint."""
        return Facts(fractions, fingerprint, fingerprint)

    def of_part(self, chosen: NDArray[np.int64]) -> "Facts":
        """Of these items alone."""
        digest = hashlib.sha256(f"part of {self.origin}: ".encode() + chosen.astype("<i8").tobytes())
        return Facts(self.fractions[chosen], None, digest.hexdigest())


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """N images of one size, with what is known about each.

    Attributes:
        images: uint8 (N, C, H, W), values 0..levels-1; uint16 of more than 256 levels; or rows of a mapped file.
        labels: int64 (N,), indices into ``label_names``; None where the data has no classes.
        label_names: one name a class; () where there are none.
        captions: one text an item, of a line for each of its captions ("" where it has none); None where no item has
            one.
        keys: one name an item, the same everywhere, all different.
        levels: how many values a pixel may take: 256, or 17 for the built-in digits.
        skipped: every file that was not used, and why.
        notes: what was done to the data that a person should know.
        values: float64 (N,) by name: numbers that belong to each item, nan where it has none.
        splits: the name of each item's split, "" where it has none; None where a hash divides the data.
        attributes: what else is known of each item, value by name; None where nothing is.
        keywords: words for each item; None where no item has any.
        mentioned: the names of those that its caption mentions; None where that is not known.
        ends: what the lowest and the highest level stand for; None where values and levels are the same.
        facts: what is known already of these very items.

    Raises:
        InputError: the fields do not agree with each other.
    """

    images: NDArray[np.uint8] | NDArray[np.uint16] | Rows
    labels: NDArray[np.int64] | None
    label_names: tuple[str, ...]
    captions: tuple[str, ...] | None
    keys: tuple[str, ...]
    levels: int = 256
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    values: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    splits: tuple[str, ...] | None = None
    attributes: tuple[Mapping[str, str], ...] | None = None
    keywords: tuple[tuple[str, ...], ...] | None = None
    mentioned: tuple[tuple[str, ...], ...] | None = None
    ends: tuple[float, float] | None = None
    facts: Facts | None = None

    def __post_init__(self) -> None:
        count = len(self.images)
        held = np.uint8 if self.levels <= 256 else np.uint16
        if self.images.dtype != held or self.images.ndim != 4:
            raise InputError(
                f"images: {self.images.dtype} {self.images.shape} is not {held.__name__} (N, C, H, W); convert them"
            )
        if count and self.levels < np.iinfo(held).max + 1 and (most := int(self.images[:].max())) >= self.levels:
            raise InputError(f"images: hold {most}, above the {self.levels} levels stated; mend one")
        if len(self.keys) != count or len(set(self.keys)) != count:
            raise InputError(f"keys: {len(set(self.keys))} different ones for {count} images; give each image its own")
        names = ("captions", "splits", "attributes", "keywords", "mentioned")
        each: dict[str, tuple[object, ...] | None] = {name: getattr(self, name) for name in names}
        for name, given in each.items():
            if given is not None and len(given) != count:
                raise InputError(f"{name}: {len(given)} for {count} images; give one an image, or None")
        for name, column in self.values.items():
            if column.shape != (count,):
                raise InputError(
                    f"values: {name} has shape {column.shape} for {count} images; give one number an image"
                )
        if (self.labels is None) != (not self.label_names):
            raise InputError("labels: labels and label_names come together; give both or neither")
        if self.labels is not None:
            if self.labels.shape != (count,):
                raise InputError(f"labels: shape {self.labels.shape} for {count} images; give one label an image")
            if count and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.label_names):
                raise InputError(f"labels: outside 0..{len(self.label_names) - 1}; give each an index into label_names")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def spec(self) -> ImageSpec:
        return ImageSpec(*self.shape, self.levels, self.label_names, self.ends)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.values)

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> "ImageDataset":
        """The items at ``indices`` (all different), in that order. ``skipped`` stays with the loaded whole."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            images=_rows(self.images, chosen),
            labels=None if self.labels is None else self.labels[chosen],
            captions=_at(self.captions, chosen),
            keys=tuple(self.keys[i] for i in chosen),
            skipped=(),
            values={name: column[chosen] for name, column in self.values.items()},
            splits=_at(self.splits, chosen),
            attributes=_at(self.attributes, chosen),
            keywords=_at(self.keywords, chosen),
            mentioned=_at(self.mentioned, chosen),
            facts=None if self.facts is None else self.facts.of_part(chosen),
        )

    def reduced(self, factor: int) -> "ImageDataset":
        """With the rounded mean of each ``factor`` × ``factor`` block for a pixel. Raises InputError as `ImageSpec`."""
        if factor == 1:
            return self
        spec = self.spec.reduced(factor)
        small = np.empty((len(self), *spec.shape), self.images.dtype)
        for first in range(0, len(self), 1024):
            part = self.images[first : first + 1024]
            blocks = part.reshape(len(part), spec.channels, spec.height, factor, spec.width, factor)
            small[first : first + 1024] = np.rint(blocks.mean((3, 5), dtype=np.float32))
        return replace(self, images=small, facts=None)

    def split(self, held_out: float) -> "tuple[ImageDataset, ImageDataset]":
        """See `Dataset.split`."""
        if self.splits is None:
            train, held = divide(self.keys, held_out, None if self.facts is None else self.facts.fractions)
        else:
            train, held = divide_by_splits(self.splits, self.keys, held_out)
        return self.subset(train), self.subset(held)

    def of_split(self, name: str) -> "ImageDataset":
        """The items whose split is called ``name``. Raises InputError where there are none."""
        chosen = [i for i, split in enumerate(self.splits or ()) if split == name]
        if not chosen:
            names = tuple(dict.fromkeys(self.splits or ()))
            hint = nearest(name, names) if names else "they have none of their own"
            raise InputError(f"split: the data have no split {name!r}; {hint}")
        return self.subset(chosen)

    def prepare(self, items: NDArray[np.int64]) -> None:
        """See `Prepares`."""
        match self.images:
            case Rows():
                self.images.prepare(items)
            case _:
                pass

    def batch(self, items: NDArray[np.int64]) -> Tensor:
        """These images in [-1, 1]: float32 (len(items), C, H, W), on the CPU."""
        return PixelRange(self.levels).to_model(self.images[items])

    def labels_of(self, items: NDArray[np.int64]) -> Tensor:
        """See `Dataset.labels_of`."""
        if self.labels is None:
            raise no_labels()
        return torch.from_numpy(self.labels[items])

    def column(self, name: str) -> NDArray[np.float64]:
        """See `Dataset.column`."""
        if name not in self.values:
            raise no_column(name, self.columns)
        return self.values[name]

    def fitted_to(self, spec: DataSpec, source: str) -> "ImageDataset":
        """Itself. Raises InputError where the model's images are others."""
        other = unlike(self.spec, spec, source)
        model = expect(spec, ImageSpec, str(other))
        if (self.shape, self.levels, self.ends) != (model.shape, model.levels, model.ends):
            raise other
        return self

    def std(self) -> float:
        """The standard deviation of the data in [-1, 1]: the root of the mean over all places in an image of their
        variance over the images, float64. One image, or all alike, have 0.
        """
        match self.images:
            case Rows(std=float(known)):
                return known
            case images:
                return deviation(images, self.levels)

    def fingerprint(self) -> str:
        """sha256 (hex) of pixels, labels, values, levels, range, keys and splits: equal exactly when the same would be
        trained on, but for captions, keywords and attributes, which few systems learn (`SystemConfig.annotations`).
        """
        if self.facts is not None and self.facts.fingerprint is not None:
            return self.facts.fingerprint
        digest = hashlib.sha256(f"{self.images.shape} {self.levels} {self.labels is not None}".encode())
        names = "\0".join((*self.keys, "", *self.label_names))  # keys decide which side of the split an item is on
        digest.update(names.encode("utf-8", "surrogateescape"))
        for first in range(0, len(self), 1024):
            digest.update(np.ascontiguousarray(self.images[first : first + 1024]).data)
        if self.labels is not None:
            digest.update(self.labels.astype("<i8").tobytes())
        for name, column in sorted(self.values.items()):
            digest.update(name.encode())
            digest.update(column.astype("<f8").tobytes())
        if self.ends is not None:
            digest.update(f"range {self.ends}".encode())
        if self.splits is not None:
            digest.update("\0".join(("splits", *self.splits)).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def skipped_report(self, limit: int | None = None) -> tuple[str, ...]:
        """See `Dataset.skipped_report`."""
        return skipped_lines(len(self), self.skipped, limit)


def deviation(images: NDArray[Any] | Rows, levels: int) -> float:
    """See `ImageDataset.std`, of images (N, C, H, W); nan for none."""
    if not len(images):
        return nan
    total, squares = np.zeros(images.shape[1:]), np.zeros(images.shape[1:])
    for first in range(0, len(images), 1024):
        part = images[first : first + 1024].astype(np.float64)
        total += part.sum(0)
        squares += np.square(part).sum(0)
    variance = squares / len(images) - np.square(total / len(images))
    return float(np.sqrt(max(variance.mean(), 0.0)) * 2 / (levels - 1))


def _rows(images: NDArray[Any] | Rows, chosen: NDArray[np.int64]) -> NDArray[Any] | Rows:
    match images:
        case Rows():
            return images.subset(chosen)
        case _:
            return images[chosen]


def _at(each: tuple[_Each, ...] | None, chosen: NDArray[np.int64]) -> tuple[_Each, ...] | None:
    return None if each is None else tuple(each[i] for i in chosen)


def from_images(
    images: NDArray[np.uint8],
    labels: NDArray[np.integer] | None,
    label_names: tuple[str, ...],
    keys: tuple[str, ...],
    config: DataConfig,
    *,
    levels: int = 256,
    notes: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> ImageDataset:
    """uint8 (N, C, H, W) of ``levels`` values, C = 1 or 3 -> a data set in the size and channels of ``config``.

    With ``config.size`` the images are fitted to that as files are; in-between values then arise, so a set of
    fewer levels is spread over 256 first. Grey is repeated where 3 channels are wanted; colours become their luminance
    where 1 is.

    Raises:
        InputError: the result does not fit into memory.
    """
    count, channels, height, width = images.shape
    frame, wanted = config.frame((height, width)), config.picture_channels or channels
    require_memory(count, (wanted, frame.height, frame.width), config.source)
    resized = (height, width) != (frame.height, frame.width)
    if resized or wanted < channels:
        spread = np.round(np.arange(levels) * 255 / (levels - 1)).astype(np.uint8)
        fitted = np.empty((count, wanted, frame.height, frame.width), np.uint8)
        for i, image in enumerate(images):
            picture = Image.fromarray(spread[image[0] if channels == 1 else image.transpose(1, 2, 0)])
            picture = frame.fitted(picture.convert("L") if wanted < channels else picture)
            pixels = np.asarray(picture.convert("L" if wanted == 1 else "RGB"))
            fitted[i] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
            if progress is not None and ((i + 1) % 1000 == 0 or i + 1 == count):
                progress(i + 1, count)
        done = frame.done_to(height, width) if resized else "made grey"
        note = f"all {count} images were {done}"
        notes = (*notes, note if levels == 256 else f"{note}, which makes their {levels} levels 256")
        images, levels = fitted, 256
    return ImageDataset(
        images=np.repeat(images, wanted, axis=1) if images.shape[1] < wanted else images,
        labels=None if labels is None else labels.astype(np.int64),
        label_names=label_names,
        captions=None,
        keys=keys,
        levels=levels,
        notes=notes,
    )


def from_levels(
    images: NDArray[Any],
    labels: NDArray[np.int64] | None,
    label_names: tuple[str, ...],
    keys: tuple[str, ...],
    config: DataConfig,
    levels: int,
    ends: tuple[float, float] | None,
    notes: tuple[str, ...] = (),
) -> ImageDataset:
    """Levels (N, C, H, W), which no image file need hold, as a data set in the size of ``config`` and in the range
    ``ends``. Raises InputError for other channels than theirs, and for padding, which has no colour here.
    """
    channels, height, width = images.shape[1:]
    if config.channels not in (None, channels):
        raise InputError(
            f"data.channels: the images have {channels} channels, which are not made {config.channels}; leave it out"
        )
    frame = config.frame((height, width))
    if (height, width) != (frame.height, frame.width):
        if frame.fit == "pad":
            raise InputError("data.fit: pad is for grey and colour images of 8 bits; give crop or stretch")
        fitted = np.empty((len(images), channels, frame.height, frame.width), images.dtype)
        for image, into in zip(images, fitted, strict=True):
            for channel, plane in zip(image, into, strict=True):
                values = np.asarray(frame.fitted(Image.fromarray(channel.astype(np.float32))))
                plane[:] = values.round().clip(0, levels - 1)
        notes = (*notes, f"all {len(images)} images were {frame.done_to(height, width)}")
        images = fitted
    return ImageDataset(images, labels, label_names, None, keys, levels, notes=notes, ends=ends)

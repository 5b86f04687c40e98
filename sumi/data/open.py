"""The door for data of any form: names and paths, arrays and tensors, lists of pictures, any set of (image, label).

    a name or a path                                         `sumi.data.load`
    an array or tensor (N, H, W), (N, H, W, C), (N, C, H, W): uint8, uint16, or any numbers with data.range: images
    (such an array, labels as an array or a list)            images with classes, by number or name
    an array or tensor (N, D) of numbers                     vectors, or bits
    anything with a length and items by number, or a generator: each item an image (PIL, or an array
        (H, W), (H, W, C) or (C, H, W) of uint8, of floats k/255, or as above), or (image, label); or the numbers of
        a vector; or all of them strings

What was in memory is in config.json as ``memory``, with its fingerprint: to go on with such a run, or to evaluate it,
the same data are given again.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sumi.boundary.arguments import shown, unmasked
from sumi.data import symbol_files, vectors
from sumi.data.arrays import channels_first, from_array, matched, outline
from sumi.data.audio import AudioDataset
from sumi.data.config import MEMORY, DataConfig
from sumi.data.dataset import Classes, Dataset, Progress, indexed, split_notes
from sumi.data.decode import SUFFIXES, Rule, UnreadableImage, from_picture, notes_of
from sumi.data.folder import DEFAULT_SIZE
from sumi.data.frame import in_words
from sumi.data.image_set import ImageDataset
from sumi.data.load import load, peek
from sumi.data.spec import DataSpec
from sumi.errors import InputError

WHAT: Final = "the array"


def open_data(data: object, config: DataConfig | None = None, *, progress: Progress | None = None) -> Dataset:
    """The data set of ``data`` (module docstring), read as ``config`` says, whose source does not count.

    ``progress(done, total)`` counts items. A data set of Sumi's own is itself. Without ``config.own_splits`` the items
    are those of one set, which a hash divides. Raises InputError for data of no such form, fewer than two items, and
    items that differ in kind.
    """
    match _opened(data, config, progress):
        case (ImageDataset(splits=tuple() as splits) | AudioDataset(splits=tuple() as splits)) as images if (
            config is not None and not config.own_splits
        ):
            notes = tuple(note for note in images.notes if note not in split_notes(splits))
            return replace(images, splits=None, notes=notes)
        case found:
            return found


def _opened(data: object, config: DataConfig | None, progress: Progress | None) -> Dataset:
    config = config or DataConfig(MEMORY)
    match data:
        case str() | Path():
            return reduced(load(replace(config, source=str(data)), progress=progress), config.reduce)
        case Dataset():
            return data
        case _:
            return reduced(_in_memory(data, replace(config, source=MEMORY), progress), config.reduce)


def _in_memory(data: object, config: DataConfig, progress: Progress | None) -> Dataset:
    pair = _with_labels(data)
    if pair is not None:
        return from_array(pair[0], config, WHAT, classes=indexed(pair[1].tolist()), progress=progress)
    if hasattr(data, "__array__"):
        return from_array(_numbers(data), config, WHAT, progress=progress)
    return _from_items(_items(data), config, getattr(data, "classes", None), progress)


def reduced(data: Dataset, factor: int) -> Dataset:
    """Images made smaller by means of blocks (`ImageDataset.reduced`). Raises InputError for data that are none."""
    match data:
        case _ if factor == 1:
            return data
        case ImageDataset():
            return data.reduced(factor)
        case _:
            raise InputError(f"data.reduce: is of images, and these data are {data.spec.name}; leave it out")


def outline_of(data: object, config: DataConfig) -> DataSpec:
    """What the items of ``data`` will be, as far as that is known unread (`sumi.data.load.peek`)."""
    match data:
        case str() | Path():
            return peek(replace(config, source=str(data)))
        case _ if hasattr(data, "__array__"):
            return outline(_numbers(data), config, WHAT)
        case _:
            return open_data(data, config).spec


def materialised(data: object) -> object:
    """``data``, which can be read more than once: of a generator, a list of what it gave."""
    match data:
        case str() | Path() | Dataset():
            return data
        case Iterable() if not hasattr(data, "__array__") and not hasattr(data, "__getitem__"):
            return list(data)
        case _:
            return data


def _with_labels(data: object) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """(images, labels) of such a pair; None of anything else."""
    match data:
        case tuple((first, list() | tuple() as second)) if hasattr(first, "__array__"):
            images, labels = _numbers(first), _stacked(second)
        case tuple((first, second)) if hasattr(first, "__array__") and hasattr(second, "__array__"):
            images, labels = _numbers(first), _numbers(second)
        case _:
            return None
    if images.ndim <= 2 or labels.ndim > 2:
        return None
    return images, matched(labels, len(images))


def _numbers(value: Any) -> NDArray[Any]:
    match value:
        case torch.Tensor():
            plain = value.detach().cpu()
            return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()  # which NumPy lacks
        case _:
            return np.asarray(unmasked("data", value))


def _items(data: Any) -> list[Any]:
    """All items, in their order."""
    found = list[Any]()
    try:
        if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
            for i in range(len(data)):
                found.append(data[i])
        else:
            found.extend(data)
    except (TypeError, KeyError) as error:
        if found:
            raise  # a fault of the caller's own
        raise InputError(
            f"data: {type(data).__name__} has no items by number; give a path, an array, a list of images, or an "
            f"object with __len__ and __getitem__ (item 0: {shown(error)})"
        ) from error
    if len(found) < 2:
        used = "; a generator gives its items once: make a new one" if not found else ""
        raise InputError(f"data: gives {len(found)} item(s), and at least 2 are needed{used}")
    return found


def _from_items(
    items: Sequence[Any], config: DataConfig, classes: Sequence[object] | None, progress: Progress | None
) -> Dataset:
    """``classes``: the names of labels that are numbers, as torchvision's sets have them."""
    texts = [item for item in items if type(item) is str]
    if texts and len(texts) == len(items) and not all(Path(text).suffix.lower() in SUFFIXES for text in texts):
        return symbol_files.from_texts(texts, config, "the list", keys=[f"item/{i:07d}" for i in range(len(items))])
    pairs = [_divided(item) for item in items]
    if _is_beyond_files(pairs[0][0], config):
        labels = _classes([label for _, label in pairs], classes)
        return from_array(
            _stacked([value for value, _ in pairs]), config, "the list", classes=labels, progress=progress
        )
    pictures = [_picture(value, i) for i, (value, _) in enumerate(pairs)]
    if any(picture is None for picture in pictures):
        if any(picture is not None for picture in pictures):
            raise InputError("data: some items are images and some are not; give items of one kind")
        match pairs[0][0]:
            case str() | os.PathLike() | Mapping() as first:
                raise InputError(
                    f"data: item 0 is a {type(first).__name__}; give images, of a path PIL.Image.open(path), or pairs "
                    "(image, label)"
                )
            case _:
                pass
        return vectors.from_numbers(_stacked([value for value, _ in pairs]), config, "the list")
    return _from_pictures(
        [p for p in pictures if p is not None], [label for _, label in pairs], config, classes, progress
    )


def _divided(item: Any) -> tuple[Any, Any]:
    """(value, label) of an item; the label is None where there is none, and with a vector, which has no class."""
    match item:
        case [value, *rest] if _is_image(value):
            return value, rest[0] if rest else None
        case [value, *_] if hasattr(value, "__array__") and _numbers(value).ndim == 1:
            return value, None
        case _:
            return item, None


def _is_image(value: Any) -> bool:
    match value:
        case Image.Image():
            return True
        case _:
            return hasattr(value, "__array__") and _numbers(value).ndim in (2, 3)


def _is_beyond_files(value: Any, config: DataConfig) -> bool:
    """Whether it is an image that no image file need hold: in a stated range, of 16 bits, or of other channels."""
    match value:
        case Image.Image():
            return False
        case _ if not _is_image(value):
            return False
        case _:
            array = _numbers(value)
    ends = {array.shape[0], array.shape[-1]} if array.ndim == 3 else {1}
    return config.range is not None or array.dtype == np.uint16 or not ends & {1, 3}


def _picture(value: Any, place: int) -> Image.Image | None:
    """A picture of one item; None where it is none."""
    match value:
        case Image.Image():
            return value
        case _ if not _is_image(value):
            return None
        case _:
            pass
    array = _numbers(value)
    if array.dtype.kind == "f":
        levels = np.round(array * 255)
        if not (np.abs(levels - array * 255) <= 1e-3).all() or levels.min() < 0 or levels.max() > 255:
            raise InputError(
                f"data: item {place} holds floats that are no 255ths of 0 to 1, which no pixel stands for; give uint8"
            )
        array = levels.astype(np.uint8)
    if array.dtype != np.uint8:
        raise InputError(f"data: item {place} holds {array.dtype} pixels; give uint8, 0 to 255")
    pixels = channels_first(array[None], f"item {place}")[0]
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def _stacked(values: Sequence[Any]) -> NDArray[Any]:
    try:
        return np.stack([_numbers(value) for value in values])
    except (ValueError, TypeError):
        raise InputError("data: items are neither images nor equally long rows of numbers; give one of these") from None


def _from_pictures(
    pictures: Sequence[Image.Image],
    labels: Sequence[Any],
    config: DataConfig,
    classes: Sequence[object] | None,
    progress: Progress | None,
) -> ImageDataset:
    config.refuse_array_fields()
    sizes = {picture.size for picture in pictures}
    frame = config.frame(DEFAULT_SIZE) if config.size or len(sizes) > 1 else None
    rules: Counter[Rule] = Counter()
    found = []
    for i, picture in enumerate(pictures):
        try:
            decoded = from_picture(picture, frame, config.picture_channels, background=config.background)
        except UnreadableImage as error:
            raise InputError(f"data: item {i}: {error}") from None
        rules.update(decoded.rules)
        found.append(decoded.pixels)
        if progress is not None and ((i + 1) % 1000 == 0 or i + 1 == len(pictures)):
            progress(i + 1, len(pictures))
    channels = config.channels or max(len(pixels) for pixels in found)
    images = np.stack([np.broadcast_to(pixels, (channels, *pixels.shape[1:])) for pixels in found])
    fitted = (
        ()
        if config.size or frame is None
        else (f"data.size was not given: images are fitted to {in_words(frame.height, frame.width)}",)
    )
    notes = notes_of(rules, len(found), frame, config.background)
    index, names = _classes(labels, classes)
    keys = tuple(f"item/{i:07d}" for i in range(len(found)))
    return ImageDataset(images, index, names, None, keys, notes=(*fitted, *notes))


def _number_of_class(label: Any, place: int) -> int:
    """Raises InputError for what is no whole number."""
    with suppress(TypeError, ValueError, OverflowError, RuntimeError):
        value = label.item() if hasattr(label, "item") else label
        if (number := int(value)) == value:
            return number
    raise InputError(f"data: item {place} has the label {shown(label)}; give a name or a whole number")


def _classes(labels: Sequence[Any], classes: Sequence[object] | None) -> Classes:
    """(labels, label names); none where no item has a label. Raises InputError where some have one."""
    without = [i for i, label in enumerate(labels) if label is None]
    if len(without) == len(labels):
        return None, ()
    if without:
        raise InputError(f"data: item {without[0]} has no label, and others have one; give one to every item, or none")
    plain: list[int | str] = []
    numbers: list[int] = []
    for i, label in enumerate(labels):
        match label:
            case str():
                plain.append(label)
            case _:
                numbers.append(_number_of_class(label, i))
                plain.append(numbers[-1])
    if classes and len(numbers) == len(plain) and 0 <= min(numbers) <= max(numbers) < len(classes):
        return np.array(numbers, np.int64), tuple(map(str, classes))
    return indexed(plain)

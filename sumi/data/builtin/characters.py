"""``characters``: 24,000 drawn monsters, plants in pots, blocky people, robots, planets and faces, RGB 64x64.

    train     19,965 pictures
    test       1,035 pictures of attributes that training does not show together, each pair of which it does
    combos     3,000 pictures of a kind in a colour, or of a part in a colour, that training never shows

Each has a caption and the attributes that it was drawn from (kind, color, background, and the parts of its kind). The
set is drawn by ``scripts/make_characters.py`` and packed by ``scripts/pack_characters.py``: every picture keeps 32
colours of its own (40.5 dB), and all indices go through one xz stream, 11.4 MB, where alike pictures stand together.
"""

import json
import lzma
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sumi.data.config import DataConfig
from sumi.data.dataset import Progress, split_notes
from sumi.data.image_set import ImageDataset, from_images
from sumi.data.images import ImageSpec

CLASSES: Final = ("face", "monster", "person", "planet", "plant", "robot")
SIZE: Final = 64
_FILE: Final = Path(__file__).parent / "characters.xz"


def load_characters(config: DataConfig, progress: Progress | None = None) -> ImageDataset:
    """24,000 images, 4,000 a kind, with captions, attributes and splits."""
    images, rows = unpack(_FILE)
    labels = np.array([CLASSES.index(row["attrs"]["kind"]) for row in rows])
    keys = tuple(f"characters/{i:05d}" for i in range(len(rows)))
    splits = tuple(row["split"] for row in rows)
    whole = from_images(images, labels, CLASSES, keys, config, notes=split_notes(splits), progress=progress)
    return replace(
        whole,
        captions=tuple(row["caption"] for row in rows),
        splits=splits,
        attributes=tuple(row["attrs"] for row in rows),
        mentioned=tuple(tuple(row["tells"]) for row in rows),
    )


def outline_of_characters(config: DataConfig) -> ImageSpec:
    """What the images of `load_characters` are, unread."""
    frame = config.frame(SIZE)
    return ImageSpec(config.picture_channels or 3, frame.height, frame.width, 256, CLASSES)


def unpack(path: Path) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """The pictures uint8 (N, 3, H, W) and what is known of each, of a file of ``scripts/pack_characters.py``.

    Little-endian: the length of a JSON header (uint32), the header (``count``, ``size``, ``colours``), indices uint8
    (N, H, W), palettes uint8 (3, colours, N), and one JSON object a picture, a line each.
    """
    content = lzma.decompress(path.read_bytes())
    (length,) = struct.unpack("<I", content[:4])
    header = json.loads(content[4 : 4 + length])
    count, size, colours = header["count"], header["size"], header["colours"]
    start, palettes = 4 + length, 4 + length + count * size**2
    rows = palettes + 3 * colours * count
    indices = np.frombuffer(content, np.uint8, count * size**2, start).reshape(count, size**2)
    planes = np.frombuffer(content, np.uint8, 3 * colours * count, palettes).reshape(3, colours, count)
    images = np.empty((count, 3, size**2), np.uint8)
    for image, index, palette in zip(images, indices, planes.transpose(2, 0, 1).copy(), strict=True):
        np.take(palette, index, axis=1, out=image, mode="clip")
    return images.reshape(count, 3, size, size), [json.loads(line) for line in content[rows:].splitlines()]

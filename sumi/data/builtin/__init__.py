"""The data sets that come with Sumi, read from the files in this folder (origin and licences: ``ATTRIBUTION.md``).

    digits        1,797 handwritten digits, grey 8x8, 17 levels     keys digits/00000 …
    fashion      12,000 pieces of clothing, grey 28x28              keys train/00000 …
    characters   24,000 drawn characters, RGB 64x64, with captions  ``characters.py``
    swiss-roll, ring-of-8, heartbeat                            ``vectors.py``
    qm7-small     2,000 small molecules, with their energies     ``molecules.py``
    spoken-digits   840 spoken digits by six people, 0.64 s at 8 kHz    ``spoken_digits.py``
    qm9-smiles   10,000 molecules as SMILES strings, with logP      ``smiles.py``

The number in a key of ``fashion`` is the image's place in Fashion-MNIST's training file: read from there, the same
image has the same key and falls on the same side of the split.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sumi.data.builtin.characters import load_characters, outline_of_characters
from sumi.data.builtin.molecules import load_qm7_small
from sumi.data.builtin.smiles import load_smiles
from sumi.data.builtin.spoken_digits import load_spoken_digits, outline_of_digits
from sumi.data.builtin.vectors import load_heartbeat, load_ring_of_8, load_swiss_roll
from sumi.data.config import DataConfig
from sumi.data.dataset import Dataset, Progress
from sumi.data.image_set import ImageDataset, from_images
from sumi.data.spec import DataSpec

FASHION_LABELS = (
    "t-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
_HERE = Path(__file__).parent


def load_digits(config: DataConfig, progress: Progress | None = None) -> ImageDataset:
    """1,797 images, 174 to 183 a digit."""
    with np.load(_HERE / "digits.npz", allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    keys = tuple(f"digits/{i:05d}" for i in range(len(images)))
    names = tuple(str(i) for i in range(10))
    return from_images(images[:, None], labels, names, keys, config, levels=17, progress=progress)


def load_fashion(config: DataConfig, progress: Progress | None = None) -> ImageDataset:
    """12,000 images, 1,200 a class, in the order of Fashion-MNIST's training file."""
    with np.load(_HERE / "fashion.npz", allow_pickle=False) as file:
        index, labels = file["index"], file["labels"]
    order = np.argsort(index)
    keys = tuple(f"train/{i:05d}" for i in index[order])
    images = _fashion_tiles()[order, None]
    return from_images(images, labels[order], FASHION_LABELS, keys, config, progress=progress)


def _fashion_tiles() -> NDArray[np.uint8]:
    """uint8 (12000, 28, 28): the tiles of the mosaic, row by row."""
    with Image.open(_HERE / "fashion.png") as image:
        mosaic = np.asarray(image)
    rows, columns = mosaic.shape[0] // 28, mosaic.shape[1] // 28
    return mosaic.reshape(rows, 28, columns, 28).swapaxes(1, 2).reshape(rows * columns, 28, 28)


BUILTIN: dict[str, Callable[[DataConfig, Progress | None], Dataset]] = {
    "digits": load_digits,
    "fashion": load_fashion,
    "characters": load_characters,
    "swiss-roll": load_swiss_roll,
    "ring-of-8": load_ring_of_8,
    "heartbeat": load_heartbeat,
    "qm7-small": load_qm7_small,
    "spoken-digits": load_spoken_digits,
    "qm9-smiles": load_smiles,
}


def outline_of_builtin(config: DataConfig) -> DataSpec:
    """What the items of a set of `BUILTIN` are; the larger ones are not read for it."""
    match config.source:
        case "characters":
            return outline_of_characters(config)
        case "spoken-digits":
            return outline_of_digits(config)
        case source:
            return BUILTIN[source](config, None).spec

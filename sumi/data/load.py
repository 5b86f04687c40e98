"""From a data configuration to a data set in memory: a built-in set, an array, idx files, or a folder of images."""

from dataclasses import replace
from pathlib import Path

from sumi.config import nearest
from sumi.data.builtin import BUILTIN, BUILTIN_VECTORS
from sumi.data.config import DataConfig
from sumi.data.dataset import ImageDataset, Progress
from sumi.data.folder import load_folder
from sumi.data.idx import find_idx, load_idx
from sumi.data.vectors import VectorDataset, load_array
from sumi.errors import InputError


def load(config: DataConfig, *, progress: Progress | None = None) -> ImageDataset | VectorDataset:
    """Read the whole set that ``config.source`` names; ``progress(done, total)`` counts files or images.

    Raises:
        InputError: there is no such set, it holds fewer than two readable images, it is damaged, or it does not fit
            into memory.
    """
    if config.source in BUILTIN:
        return BUILTIN[config.source](config, progress)
    path = Path(config.source).expanduser()
    try:
        exists = path.exists()
        array = holds_vectors(config) and path.is_file()
        images = find_idx(path) if exists and not array else None
    except OSError as error:
        raise InputError(f"data.source: {path} cannot be read ({error.strerror}); check the path") from error
    if not exists:
        raise InputError(f"data.source: {path} does not exist; check the path, or {nearest(config.source, BUILTIN)}")
    if array:
        return load_array(path, config)
    if images is not None:
        return load_idx(images, config, progress=progress)
    if path.is_file():
        raise InputError(
            f"data.source: {path} is one file; give the folder of images or idx files that holds it, or a .npy"
        )
    return load_folder(path, config, progress=progress)


def load_images(config: DataConfig, *, progress: Progress | None = None) -> ImageDataset:
    """As `load`, where only images will do. Raises InputError where the source holds vectors."""
    dataset = load(config, progress=progress)
    if not isinstance(dataset, ImageDataset):
        raise InputError(f"data.source: {config.source} holds vectors, and images are needed here; give a set of those")
    return dataset


def holds_vectors(config: DataConfig) -> bool:
    """Whether the source is, by its name, a set of vectors: a built-in one or a .npy file."""
    return config.source in BUILTIN_VECTORS or Path(config.source).suffix == ".npy"


def holds_bits(config: DataConfig) -> bool:
    """Whether the source is a set of sequences of bits."""
    return config.source == "heartbeat"


def coarse_levels(config: DataConfig) -> bool:
    """Whether pixels are the digits' 17 levels and not 256: the built-in set at its own size."""
    return config.source == "digits" and config.size in (None, 8)


def anywhere(config: DataConfig) -> DataConfig:
    """The same data with its path made absolute, so that it is found from any folder; a built-in name stays."""
    if config.source in BUILTIN or not is_there(config):
        return config
    return replace(config, source=str(Path(config.source).expanduser().resolve()))


def is_there(config: DataConfig) -> bool:
    """Whether the source is a built-in set or an existing path."""
    return config.source in BUILTIN or Path(config.source).expanduser().exists()

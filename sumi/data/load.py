"""From a data configuration to a data set in memory: a built-in set, MNIST's idx files, or a folder of images."""

from dataclasses import replace
from pathlib import Path

from sumi.config import nearest
from sumi.data.builtin import BUILTIN
from sumi.data.config import DataConfig
from sumi.data.dataset import ImageDataset, Progress
from sumi.data.folder import load_folder
from sumi.data.idx import find_idx, load_idx
from sumi.errors import InputError


def load(config: DataConfig, *, progress: Progress | None = None) -> ImageDataset:
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
        images = find_idx(path) if exists else None
    except OSError as error:
        raise InputError(f"data.source: {path} cannot be read ({error.strerror}); check the path") from error
    if not exists:
        raise InputError(f"data.source: {path} does not exist; check the path, or {nearest(config.source, BUILTIN)}")
    if images is not None:
        return load_idx(images, config, progress=progress)
    if path.is_file():
        raise InputError(f"data.source: {path} is one file; give the folder of images or idx files that holds it")
    return load_folder(path, config, progress=progress)


def anywhere(config: DataConfig) -> DataConfig:
    """The same data with its path made absolute, so that it is found from any folder; a built-in name stays."""
    if config.source in BUILTIN or not is_there(config):
        return config
    return replace(config, source=str(Path(config.source).expanduser().resolve()))


def is_there(config: DataConfig) -> bool:
    """Whether the source is a built-in set or an existing path."""
    return config.source in BUILTIN or Path(config.source).expanduser().exists()

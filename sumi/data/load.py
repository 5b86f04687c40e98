"""From a data configuration to a data set: a built-in set, or files of one of the formats in `LOADERS`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sumi.boundary.config import nearest
from sumi.boundary.files import given_path
from sumi.data.arrays import load_array, outline_of_file
from sumi.data.audio import AudioSpec
from sumi.data.builtin import BUILTIN, outline_of_builtin
from sumi.data.clips import (
    holds_sound,
    is_spoken_digits,
    load_sound_folder,
    load_spoken_digits,
    outline_of_sound,
    outline_of_spoken_digits,
)
from sumi.data.config import MEMORY, DataConfig
from sumi.data.dataset import Dataset, Progress
from sumi.data.folder import load_folder, outline
from sumi.data.idx import find_idx, load_idx
from sumi.data.images import ImageSpec
from sumi.data.listing import ARCHIVES
from sumi.data.molecule_files import holds_molecules, load_molecules, outline_of_molecules
from sumi.data.parquet import load_tables, tables_in
from sumi.data.shards import load_shards, shards_in
from sumi.data.spec import DataSpec, expect
from sumi.data.symbol_files import SUFFIXES, holds_texts, load_texts
from sumi.errors import InputError


@dataclass(frozen=True)
class Loader:
    """One format of files: whether a path holds it, what its items will be as far as known unread, and reading it."""

    reads: Callable[[Path], bool]
    outline: Callable[[Path, DataConfig], DataSpec]
    load: Callable[[Path, DataConfig, Progress | None], Dataset]
    fields: tuple[str, ...] = ()
    """The fields of `DataConfig` that are of this format, and of few others."""


SPOKEN: Final = Loader(
    is_spoken_digits,
    outline_of_spoken_digits,
    lambda path, config, progress: load_spoken_digits(path, config, progress=progress),
)
LOADERS: Final = (
    SPOKEN,
    Loader(
        lambda path: path.suffix in (".npy", ".npz") and path.is_file() and not holds_molecules(path),
        outline_of_file,
        lambda path, config, progress: load_array(path, config, progress=progress),
        ("range", "array", "labels", "symbols"),
    ),
    Loader(
        lambda path: path.name.endswith(SUFFIXES) and path.is_file(),
        lambda path, config: load_texts(path, config).spec,
        lambda path, config, _: load_texts(path, config),
        ("column", "labels"),
    ),
    Loader(
        holds_molecules,
        outline_of_molecules,
        lambda path, config, progress: load_molecules(path, config, progress=progress),
        ("range", "array", "labels"),
    ),
    Loader(
        lambda path: find_idx(path) is not None,
        lambda _, config: outline(config),
        lambda path, config, progress: load_idx(find_idx(path) or path, config, progress=progress),
    ),
    Loader(
        lambda path: path.is_dir() and holds_sound(path),
        outline_of_sound,
        lambda path, config, progress: load_sound_folder(path, config, progress=progress),
    ),
    Loader(
        lambda path: bool(shards_in(path)),
        lambda _, config: outline(config),
        lambda path, config, progress: load_shards(path, config, progress=progress),
    ),
    Loader(
        lambda path: bool(tables_in(path)),
        lambda _, config: outline(config),
        lambda path, config, progress: load_tables(path, config, progress=progress),
    ),
    Loader(
        lambda path: path.is_dir() and holds_texts(path),
        lambda path, config: load_texts(path, config).spec,
        lambda path, config, _: load_texts(path, config),
    ),
    Loader(
        lambda path: path.is_dir(),
        lambda _, config: outline(config),
        lambda path, config, progress: load_folder(path, config, progress=progress),
    ),
)


def load(config: DataConfig, *, progress: Progress | None = None) -> Dataset:
    """Read the whole set that ``config.source`` names; ``progress(done, total)`` counts files or images.

    Raises:
        InputError: there is no such set, it holds fewer than two readable images, it is damaged, or it does not fit
            into memory.
    """
    if config.source in BUILTIN:
        if config.source != "spoken-digits":
            config.refuse_array_fields()
        return _checked(BUILTIN[config.source](config, progress), config)
    if config.source == MEMORY:
        raise InputError("data: this run's data were in memory, of which no copy is kept; give them again: data=…")
    path = given_path(config.source)
    try:
        exists = path.exists()
        loader = _loader(path) if exists else None
    except OSError as error:
        raise InputError(f"data.source: {path} cannot be read ({error.strerror}); check the path") from error
    if not exists:
        raise InputError(f"data.source: {path} does not exist; check the path, or {nearest(config.source, BUILTIN)}")
    if loader is None and path.suffix.lower() in ARCHIVES:
        raise InputError(f"data.source: {path} is an archive, which is not read; unpack it, and give the folder")
    if loader is None:
        raise InputError(
            f"data.source: {path} is one file; give the folder of images, sound or idx files that holds it, a .npy or "
            ".npz, or a .txt or .csv of strings"
        )
    config.refuse_array_fields(loader.fields)
    return _checked(loader.load(path, config, progress), config)


def _checked(found: Dataset, config: DataConfig) -> Dataset:
    """Raises InputError where a field of sound is set for other data."""
    match found.spec:
        case AudioSpec():
            pass
        case _:
            config.refuse_sound_fields()
    return found


def peek(config: DataConfig) -> DataSpec:
    """What the items of ``config.source`` will be, as far as that is known without reading all of it.

    Images in files may turn out to be grey or to have classes. Of a source that is not there, as of a folder; it is
    refused where it is read. Raises InputError for a damaged .npy or .npz file.
    """
    if config.source in BUILTIN:
        return outline_of_builtin(config)
    path = given_path(config.source)
    try:
        loader = _loader(path) if path.exists() else None
    except OSError:
        loader = None
    return outline(config) if loader is None else loader.outline(path, config)


def load_images(config: DataConfig, *, progress: Progress | None = None) -> Dataset:
    """As `load`, where only images will do. Raises InputError where the source holds vectors."""
    dataset = load(config, progress=progress)
    why = f"{config.source} holds {dataset.spec.name}, and images are needed here; give a set of those"
    expect(dataset.spec, ImageSpec, f"data.source: {why}")
    return dataset


def anywhere(config: DataConfig) -> DataConfig:
    """The same data with its path made absolute, so that it is found from any folder; a name stays."""
    if config.source in (*BUILTIN, MEMORY) or not is_there(config):
        return config
    return replace(config, source=str(given_path(config.source).resolve()))


def is_there(config: DataConfig) -> bool:
    """Whether the source is a built-in set, data in memory (if they still are) or an existing path."""
    return config.source in (*BUILTIN, MEMORY) or given_path(config.source).exists()


def has_file_names(config: DataConfig) -> bool:
    """Whether the items are files with names: those of a folder of images. A source that is not there counts as one."""
    if config.source in (*BUILTIN, MEMORY):
        return False
    path = given_path(config.source)
    return not path.exists() or _loader(path) in (None, LOADERS[-1])


def _loader(path: Path) -> Loader | None:
    return next((loader for loader in LOADERS if loader.reads(path)), None)

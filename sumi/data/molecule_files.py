"""Molecules from files: .xyz (one or many molecules each), .sdf (with rdkit), folders of them, and .npz as of QM7.

The arrays of an .npz: ``atomic_number`` (A,), ``position`` (A, 3) in ångström, ``offsets`` (N + 1,): molecule i is rows
offsets[i] to offsets[i + 1]; and numbers (N,), or (N, k) of which the first counts, that belong to the molecules.
``molecule_id`` (N,) names them.
"""

import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sumi.data.config import DataConfig
from sumi.data.dataset import Progress, Skipped
from sumi.data.molecules import OTHER_FIELDS, MoleculeDataset, MoleculeSpec, from_molecules
from sumi.data.xyz import read_frames
from sumi.errors import InputError
from sumi.metrics.bonds import ELEMENTS, Molecule

SUFFIXES: Final = (".xyz", ".sdf")
ARRAYS: Final = ("atomic_number", "position", "offsets")
Record = tuple[str, Molecule, dict[str, float]]
"""A key, a molecule, and its numbers."""


def holds_molecules(path: Path) -> bool:
    """Whether it is a file of molecules, or a folder with some."""
    if path.is_dir():
        return any(entry.suffix.lower() in SUFFIXES for entry in path.iterdir())
    if path.suffix == ".npz" and path.is_file():
        try:
            with zipfile.ZipFile(path) as archive:
                return {f"{name}.npy" for name in ARRAYS} <= set(archive.namelist())
        except (OSError, zipfile.BadZipFile):
            return False
    return path.suffix.lower() in SUFFIXES and path.is_file()


def load_molecules(path: Path, config: DataConfig, *, progress: Progress | None = None) -> MoleculeDataset:
    """All molecules there. Files that cannot be read are skipped, with the reason. Raises InputError."""
    config.refuse("molecules", OTHER_FIELDS)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return from_arrays({name: file[name] for name in file.files}, path.stem, config.source)
    files = [path] if path.is_file() else sorted(f for f in path.iterdir() if f.suffix.lower() in SUFFIXES)
    found: list[Record] = []
    skipped = []
    for k, file in enumerate(files):
        try:
            found += _read(file)
        except (OSError, ValueError) as error:
            skipped.append(Skipped(file.name, str(error)))
        if progress is not None:
            progress(k + 1, len(files))
    names = dict.fromkeys(name for _, _, numbers in found for name in numbers)
    properties = {
        name: np.array([numbers.get(name, np.nan) for _, _, numbers in found])
        for name in names
        if name not in ("atoms", "index", *ELEMENTS)
    }
    return from_molecules([m for _, m, _ in found], [key for key, _, _ in found], properties, config.source, skipped)


def outline_of_molecules(path: Path, config: DataConfig) -> MoleculeSpec:
    """What they will be: these data are small, and are read for it."""
    return load_molecules(path, config).spec


def from_arrays(arrays: dict[str, NDArray[Any]], name: str, source: str) -> MoleculeDataset:
    """Molecules of arrays (module docstring). Raises InputError where they do not fit each other."""
    numbers, positions, offsets = (arrays[array] for array in ARRAYS)
    count = len(offsets) - 1
    whole = numbers.ndim == offsets.ndim == 1 and positions.shape == (len(numbers), 3) and count > 0
    if not whole or offsets[0] != 0 or offsets[-1] != len(numbers) or (np.diff(offsets) < 1).any():
        raise InputError(
            f"data.source: {source}: atomic_number {numbers.shape}, position {positions.shape} and offsets "
            f"{offsets.shape} do not fit; give (A,), (A, 3), and (N + 1,) that rise from 0 to A"
        )
    if not ((numbers >= 1) & (numbers <= len(ELEMENTS))).all() or not np.isfinite(positions).all():
        raise InputError(
            f"data.source: {source}: holds atomic numbers beyond 1 to {len(ELEMENTS)}, or places that are not finite; "
            "remove those molecules"
        )
    spans = list(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True))
    molecules = [
        Molecule(tuple(ELEMENTS[z - 1] for z in numbers[a:b].tolist()), positions[a:b].astype(np.float64))
        for a, b in spans
    ]
    ids = arrays.get("molecule_id", np.arange(count))
    keys = [f"{name}/{number:05d}" for number in ids.tolist()]
    properties = {
        key: np.asarray(value if value.ndim == 1 else value[:, 0], np.float64)
        for key, value in arrays.items()
        if key not in (*ARRAYS, "molecule_id") and len(value) == count and value.dtype.kind in "fiu"
    }
    return from_molecules(molecules, keys, properties, source)


def _read(file: Path) -> Iterator[Record]:
    if file.suffix.lower() == ".sdf":
        yield from _read_sdf(file)
        return
    for i, (elements, places, numbers) in enumerate(read_frames(file.read_text("utf-8", "replace"), ELEMENTS)):
        yield f"{file.name}/{i:05d}", Molecule(elements, places), numbers


def _read_sdf(file: Path) -> Iterator[Record]:
    try:
        chem = import_module("rdkit.Chem")
    except ImportError:
        raise InputError(
            f"data.source: {file.name} is read with rdkit, which is not installed; `pip install 'sumi[molecules]'`, or "
            "convert it to .xyz"
        ) from None
    for i, record in enumerate(chem.SDMolSupplier(str(file), removeHs=False, sanitize=False)):
        if record is None or not record.GetNumConformers():
            raise ValueError(f"molecule {i} cannot be read, or has no places")
        numbers = {}
        for name, text in record.GetPropsAsDict().items():
            match text:
                case int() | float():
                    numbers[name] = float(text)
                case _:
                    pass
        elements = tuple(atom.GetSymbol() for atom in record.GetAtoms())
        yield f"{file.name}/{i:05d}", Molecule(elements, record.GetConformer().GetPositions()), numbers

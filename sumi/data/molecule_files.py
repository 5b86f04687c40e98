"""Molecules from files: .xyz (one or many molecules each), .sdf (with rdkit), folders of them, and .npz as of QM7.

Of an .sdf the molecules that can be read are used, and others are skipped by name; an .xyz in which a line is wrong is
skipped as a whole, since what follows cannot be told.

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
from sumi.data.decode import SUFFIXES as PICTURES
from sumi.data.listing import first_suffix
from sumi.data.molecules import OTHER_FIELDS, MoleculeDataset, MoleculeSpec, from_molecules
from sumi.data.sound_files import SUFFIXES as SOUNDS
from sumi.data.xyz import read_frames
from sumi.errors import InputError
from sumi.metrics.bonds import ELEMENTS, Molecule

SUFFIXES: Final = (".xyz", ".sdf")
ARRAYS: Final = ("atomic_number", "position", "offsets")
Record = tuple[str, Molecule, dict[str, float]]
"""A key, a molecule, and its numbers."""


def holds_molecules(path: Path) -> bool:
    """Whether it is a file of molecules, or a folder whose first file of a known form is one."""
    if path.is_dir():
        return first_suffix(path, {*SUFFIXES, *PICTURES, *SOUNDS}) in SUFFIXES
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
    root = path if path.is_dir() else path.parent
    files = [path] if path.is_file() else sorted(f for f in path.rglob("[!.]*") if f.suffix.lower() in SUFFIXES)
    found: list[Record] = []
    skipped: list[Skipped] = []
    for k, file in enumerate(files):
        name = file.relative_to(root).as_posix()
        try:
            records = [*(_read_sdf if file.suffix.lower() == ".sdf" else _read_xyz)(file, name)]
        except (OSError, ValueError) as error:
            records = [Skipped(name, str(error))]
        for record in records:
            match record:
                case Skipped():
                    skipped.append(record)
                case _:
                    found.append(record)
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
        if key not in (*ARRAYS, "molecule_id") and value.shape[:1] == (count,) and value.dtype.kind in "fiu"
    }
    return from_molecules(molecules, keys, properties, source)


def _read_xyz(file: Path, name: str) -> Iterator[Record]:
    for i, (elements, places, numbers) in enumerate(read_frames(file.read_text("utf-8", "replace"), ELEMENTS)):
        yield f"{name}/{i:05d}", Molecule(elements, places), numbers


def _read_sdf(file: Path, name: str) -> Iterator[Record | Skipped]:
    try:
        chem, log = import_module("rdkit.Chem"), import_module("rdkit.rdBase")
    except ImportError:
        raise InputError(
            f"data.source: {name} is read with rdkit, which is not installed; `pip install 'sumi[molecules]'`, or "
            "convert it to .xyz"
        ) from None
    with log.BlockLogs():  # what cannot be read is skipped by name
        records = [*chem.SDMolSupplier(str(file), removeHs=False, sanitize=False)]
    for i, record in enumerate(records):
        key = f"{name}/{i:05d}"
        if record is None or not record.GetNumConformers():
            yield Skipped(key, "cannot be read, or has no places")
            continue
        elements = tuple(atom.GetSymbol() for atom in record.GetAtoms())
        if unknown := next((e for e in elements if e not in ELEMENTS), None):
            yield Skipped(key, f"has an atom {unknown!r}, which is no element up to {ELEMENTS[-1]}")
        elif not record.GetConformer().Is3D():
            yield Skipped(key, "is a drawing in the plane (2D); give places in space")
        else:
            matched = (
                (field, value) for field, value in record.GetPropsAsDict().items() if type(value) in (int, float)
            )
            numbers = {field: float(value) for field, value in matched}
            yield key, Molecule(elements, record.GetConformer().GetPositions()), numbers

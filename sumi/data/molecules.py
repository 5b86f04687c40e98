"""Data that are molecules: atoms of some elements, each at a place in space. Molecules differ in size.

A model sees an atom as 3 + K numbers: its place, and one number an element,

    (x - mean of the molecule)/scale,        ONE_HOT/scale where it is that element, else 0         (places in ångström)

with one scale for the data, of which places have the deviation 1/2. Places have zero mean in every molecule: where a
molecule is says nothing (Hoogeboom et al. 2022, "Equivariant diffusion for molecule generation in 3D", section 3.1).
Elements stand on a smaller scale than places, so that noise hides them later: a model first arranges the atoms and
then says which they are (the same, section 3.2).

A batch is (N, largest size, 3 + K); rows that are no atoms are exactly 0, for a network too. In training, molecules of
similar size are taken together (`halves`); in sampling those of one size (`by_size`), and then there are no such rows.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sumi.boundary.files import refuse_folder, write_text, write_whole
from sumi.data.config import DataConfig
from sumi.data.dataset import Skipped, divide, no_column, no_labels
from sumi.data.files import Writing, made_in_parts, remove_parts
from sumi.data.spec import DataSpec, Unit, expect, unlike
from sumi.data.xyz import frame_text
from sumi.errors import InputError
from sumi.figures.molecules import animation, picture
from sumi.metrics.bonds import ELEMENTS, Molecule

ONE_HOT: Final = 0.25
"""Ångström: what stands for an atom's element, as in the paper's code."""
OTHER_FIELDS: Final = ("size", "channels", "range", "array", "labels", "label_pattern", "flip", "dequantize")
"""The fields of a `DataConfig` that molecules do not have."""


@dataclass(frozen=True)
class MoleculeSpec:
    """Molecules of up to ``len(counts)`` atoms of these ``elements``.

    ``counts[k]``: how many molecules of k + 1 atoms the data have; sizes of samples are distributed so. ``scale``: of
    the module docstring, in ångström. Raises InputError for values that fit no data.
    """

    name: ClassVar[str] = "molecules"
    defaults: ClassVar[tuple[str, ...]] = ()
    together: ClassVar[bool] = True
    previewed: ClassVar[int] = 12

    elements: tuple[str, ...]
    counts: tuple[int, ...]
    scale: float = 1.0

    def __post_init__(self) -> None:
        unknown = [element for element in self.elements if element not in ELEMENTS]
        if unknown or not self.elements or len(set(self.elements)) != len(self.elements):
            raise InputError(f"elements: {list(self.elements)} are not different elements; give such as H, C, N, O")
        if not self.counts or min(self.counts) < 0 or not any(self.counts):
            raise InputError("counts: are of no molecule; give how many there are of each size, from 1 atom on")
        if not 0 < self.scale < float("inf"):
            raise InputError(f"scale: {self.scale} is not above 0 and finite; give such a number")

    @property
    def shape(self) -> tuple[int, int]:
        """(largest size, 3 + K)."""
        return len(self.counts), 3 + len(self.elements)

    @property
    def levels(self) -> None:
        return None

    @property
    def label_names(self) -> tuple[str, ...]:
        return ()

    @property
    def unit(self) -> Unit:
        """Nats of a molecule, by a density of places and of numbers that stand for elements, in the model's units."""
        return Unit("nats/molecule", "a density of all numbers of a molecule", 1.0)

    @property
    def one_hot(self) -> float:
        """What stands for an element, in the model's units."""
        return ONE_HOT / self.scale

    def describe(self) -> str:
        sizes = [size for size, count in enumerate(self.counts, 1) if count]
        return f"{sizes[0]} to {sizes[-1]} atoms of {', '.join(self.elements)}"

    def clamp(self, x: Tensor) -> Tensor:
        """Itself: atoms may be anywhere."""
        return x

    def finish(self, x: Tensor) -> Tensor:
        """Places as they are, of the elements of each atom the nearest."""
        elements = torch.zeros_like(x[..., 3:]).scatter_(-1, x[..., 3:].argmax(-1, keepdim=True), self.one_hot)
        return torch.cat([x[..., :3], elements * is_atom(x)[..., None]], -1)

    def molecules(self, x: Tensor) -> list[Molecule]:
        """What items (N, …) of the model's units are."""
        found = []
        for item, there in zip(x, is_atom(x), strict=True):
            atoms = item[there]
            elements = tuple(self.elements[k] for k in atoms[:, 3:].argmax(1).tolist())
            found.append(Molecule(elements, self.scale * atoms[:, :3].double().numpy()))
        return found

    def picture(self, x: Tensor, title: str, captions: Sequence[str] | None = None) -> bytes:
        """Up to `sumi.figures.molecules.MOST` of them."""
        del captions
        return picture(self._molecules(x), title=title)

    def strip(self, t: Sequence[float], x: Tensor) -> bytes:
        """States (K, N, …) of the first molecule."""
        chosen = np.linspace(0, len(x) - 1, min(10, len(x))).round().astype(int).tolist()
        return picture(self._molecules(x[chosen, 0]), [f"t = {t[k]:.2f}" for k in chosen], columns=5)

    def animation(self, t: Sequence[float], x: Tensor) -> bytes:
        """States (K, N, …) of the first molecule."""
        return animation(self._molecules(x[:, 0]), [f"t = {time:.2f}" for time in t])

    def write(self, folder: Path, make: Callable[[range], Tensor], indices: range, how: Writing) -> str:
        """molecules.xyz, all of them in ångström, and picture.png. See `DataSpec.write`."""
        if how.format not in ("", "xyz") or how.shard != (1, 1):
            name = "shard" if how.shard != (1, 1) else "format"
            raise InputError(f"{name}: {self.name} are written as one .xyz by one process; leave it out")
        refuse_folder(folder)
        file, shown = folder / "molecules.xyz", folder / "picture.png"
        facts = {**how.about, "start": indices.start, "count": len(indices)}
        about = json.dumps(facts)
        if file.exists() and about not in file.read_text("utf-8", "replace").partition("\n")[2][: len(about)]:
            raise InputError(
                f"out: {folder} holds {file.name}, which was made with other settings; give another folder"
            )
        x = made_in_parts(file, make, indices, how, facts)
        made = self.molecules(x)
        lines = (frame_text(m.elements, m.places, f"{about} index={i}") for i, m in zip(indices, made, strict=True))
        write_whole(shown, self.picture(x, how.title))
        write_text(file, "".join(lines))
        remove_parts(file)
        return f"{file} and {shown}"

    def reading(self, config: DataConfig) -> DataConfig:
        """As they are."""
        return config

    def _molecules(self, x: Tensor) -> list[tuple[tuple[str, ...], NDArray[np.float64]]]:
        return [(m.elements, m.places) for m in self.molecules(x)]


def is_atom(x: Tensor) -> Tensor:
    """Which rows of items (…, n, 3 + K) are atoms: bool (…, n)."""
    return (x != 0).any(-1)


def centred(x: Tensor) -> Tensor:
    """Items (…, n, 3 + K) of n atoms each with the mean of their places taken away: the projection onto the subspace of
    (n - 1)·3 + n·K dimensions where all molecules of this size are."""
    return torch.cat([x[..., :3] - x[..., :3].mean(-2, keepdim=True), x[..., 3:]], -1)


def by_size(sizes: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Each size of ``sizes`` (N,) and the rows that have it, int64; smallest first."""
    for size in sizes.unique().tolist():
        yield size, (sizes == size).nonzero()[:, 0]


def halves(sizes: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The rows of smaller molecules and those of larger ones, int64, each with its largest size; which is smaller is
    so chosen that there are the fewest pairs of rows when each part is padded to its largest size; molecules
    of one size are one part."""
    order = sizes.argsort(stable=True)
    ordered = sizes[order].double()
    smaller = torch.arange(1, len(sizes) + 1)
    pairs = smaller * ordered.square() + (len(sizes) - smaller) * ordered[-1].square()
    for rows in order.tensor_split([len(sizes) - int(pairs.flip(0).argmin())]):
        if len(rows):
            yield int(sizes[rows].max()), rows


@dataclass(frozen=True, eq=False)
class MoleculeDataset:
    """N molecules of up to M atoms.

    Attributes:
        values: float32 (N, M, 3 + K), finite, in the model's units (module docstring).
        keys: one name an item, all different, the same everywhere.
        elements: K of them.
        scale: in ångström.
        properties: numbers by name, float64 (N,) each, nan where unknown.
    """

    values: NDArray[np.float32]
    keys: tuple[str, ...]
    elements: tuple[str, ...]
    scale: float
    properties: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    label_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.keys) != len(self.values) or len(set(self.keys)) != len(self.values):
            raise InputError(
                f"keys: {len(set(self.keys))} different ones for {len(self.values)} molecules; give each one"
            )

    def __len__(self) -> int:
        return len(self.values)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """The number of atoms of each."""
        return (self.values != 0).any(2).sum(1)

    @property
    def shape(self) -> tuple[int, int]:
        """(M, 3 + K)."""
        return self.values.shape[1], self.values.shape[2]

    @property
    def spec(self) -> MoleculeSpec:
        counts = np.bincount(self.sizes, minlength=self.values.shape[1] + 1)[1:]
        return MoleculeSpec(self.elements, tuple(counts.tolist()), self.scale)

    @property
    def columns(self) -> tuple[str, ...]:
        """The properties, the number of atoms, and that of the atoms of each element."""
        return (*self.properties, "atoms", *self.elements)

    def batch(self, items: NDArray[np.int64]) -> Tensor:
        """These molecules in the model's units: float32 (len(items), M, 3 + K), on the CPU."""
        return torch.from_numpy(self.values[items])

    def labels_of(self, items: NDArray[np.int64]) -> Tensor:
        """Raises InputError: molecules have no classes."""
        del items
        raise no_labels()

    def column(self, name: str) -> NDArray[np.float64]:
        """One of ``columns``. Raises InputError for another name."""
        if name in self.properties:
            return self.properties[name]
        if name == "atoms":
            return self.sizes.astype(np.float64)
        if name in self.elements:
            return (self.values[:, :, 3 + self.elements.index(name)] > 0).sum(1).astype(np.float64)
        raise no_column(name, self.columns)

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> "MoleculeDataset":
        """The items at ``indices`` (all different), in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        properties = {name: numbers[chosen] for name, numbers in self.properties.items()}
        return replace(
            self, values=self.values[chosen], keys=tuple(self.keys[i] for i in chosen), properties=properties
        )

    def split(self, held_out: float) -> "tuple[MoleculeDataset, MoleculeDataset]":
        """(train, held out), as `sumi.data.dataset.divide` says. Raises InputError."""
        train, held = divide(self.keys, held_out)
        return self.subset(train), self.subset(held)

    def fitted_to(self, spec: DataSpec, source: str) -> "MoleculeDataset":
        """The same molecules for a model of ``spec``: its elements, its scale and its largest size.

        Raises InputError where the model's items are others, and for a molecule with another element or more atoms.
        """
        other = unlike(self.spec, spec, source)
        wanted = expect(spec, MoleculeSpec, str(other))
        if (wanted.elements, wanted.scale, wanted.shape) == (self.elements, self.scale, self.shape):
            return self
        most, largest = len(wanted.counts), int(self.sizes.max())
        foreign = [e for e in self.elements if e not in wanted.elements]
        if largest > most or foreign:
            what = f"atoms of {', '.join(foreign)}" if foreign else f"molecules of {largest} atoms"
            raise InputError(f"data.source: {source} has {what}; the model makes {wanted.describe()}")
        values = np.zeros((len(self), *wanted.shape), np.float32)
        n = min(most, self.shape[0])
        values[:, :n, :3] = self.values[:, :n, :3] * np.float32(self.scale / wanted.scale)
        for k, element in enumerate(self.elements):
            is_it = self.values[:, :n, 3 + k] > 0
            values[:, :n, 3 + wanted.elements.index(element)] = is_it * np.float32(wanted.one_hot)
        return replace(self, values=values, elements=wanted.elements, scale=wanted.scale)

    def std(self) -> float:
        """The deviation of the places of atoms in the model's units."""
        return float(np.sqrt(np.square(self.values[..., :3], dtype=np.float64).sum() / (3 * self.sizes.sum())))

    def fingerprint(self) -> str:
        """sha256 (hex) of the molecules, their properties and their names."""
        found = hashlib.sha256(repr((self.elements, self.scale, sorted(self.properties))).encode())
        found.update(np.ascontiguousarray(self.values).data)
        for name in sorted(self.properties):
            found.update(np.ascontiguousarray(self.properties[name]).data)
        found.update("\0".join(self.keys).encode("utf-8", "surrogateescape"))
        return found.hexdigest()

    def skipped_report(self, limit: int | None = None) -> tuple[str, ...]:
        """See `Dataset`."""
        lines = tuple(map(str, self.skipped[:limit]))
        more = len(self.skipped) - len(lines)
        return (*lines, f"… and {more} more") if more else lines


def from_molecules(
    molecules: Sequence[Molecule],
    keys: Sequence[str],
    properties: dict[str, NDArray[np.float64]],
    source: str,
    skipped: Sequence[Skipped] = (),
) -> MoleculeDataset:
    """The data set of these molecules. Raises InputError for fewer than two, and for those that are all of one atom."""
    if len(molecules) < 2:
        why = f" ({skipped[0]})" if skipped else ""
        raise InputError(f"data.source: {source} has {len(molecules)} molecule(s){why}; at least 2 are needed")
    elements = tuple(sorted({e for m in molecules for e in m.elements}, key=ELEMENTS.index))
    most = max(len(m.elements) for m in molecules)
    places = [m.places - m.places.mean(0) for m in molecules]
    scale = 2 * float(np.sqrt(np.mean(np.square(np.concatenate(places)))))
    if not 0 < scale < float("inf"):
        raise InputError(f"data.source: the molecules of {source} are single atoms; give some with more")
    scale = float(f"{scale:.4g}")
    values = np.zeros((len(molecules), most, 3 + len(elements)), np.float32)
    numbers = {element: 3 + k for k, element in enumerate(elements)}
    for row, molecule, at in zip(values, molecules, places, strict=True):
        n = len(molecule.elements)
        row[:n, :3] = at / scale
        row[range(n), [numbers[e] for e in molecule.elements]] = ONE_HOT / scale
    return MoleculeDataset(values, tuple(keys), elements, scale, properties, skipped=tuple(skipped))

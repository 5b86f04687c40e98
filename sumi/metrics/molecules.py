"""Figures of molecules: are they chemically sound, connected, different from each other and new, and are bonds as long?

All shares are of all molecules of a set, unless their name says otherwise: of a set whose members are often wrong, a
share among those that passed an earlier filter flatters (uniqueness "of the valid ones", for instance). A molecule in
pieces is one wrong molecule, not a right one with a remainder. Every figure is to be read next to that of real
molecules, which the rules of `sumi.metrics.bonds` do not all pass either.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sumi.metrics.bonds import Molecule, bond_orders, fragments, graph, stable_atoms
from sumi.metrics.intervals import Estimate, share
from sumi.metrics.perception import can_perceive, perceived

FEWEST_BONDS: Final = 20
"""Of a kind in each set, for their lengths to be compared."""


@dataclass(frozen=True)
class Judged:
    """One molecule with its bonds."""

    molecule: Molecule
    orders: NDArray[np.int64]

    @classmethod
    def of(cls, molecule: Molecule) -> "Judged":
        return cls(molecule, bond_orders(molecule.elements, molecule.places))

    def stable(self, legacy: bool = False) -> NDArray[np.bool_]:
        """Which of its atoms are."""
        return stable_atoms(self.molecule.elements, self.orders, legacy)

    @cached_property
    def connected(self) -> bool:
        return fragments(self.orders) == 1

    @cached_property
    def sound(self) -> bool:
        """All atoms are stable, and it is in one piece."""
        return self.connected and bool(self.stable().all())

    @cached_property
    def graph(self) -> str:
        """See `sumi.metrics.bonds.graph`."""
        return graph(self.molecule.elements, self.orders)


@dataclass(frozen=True)
class MoleculeFigures:
    """Of ``count`` molecules: shares with their intervals; ``legacy``: by the older table of valences.

    ``sound``: stable and in one piece. ``distinct``: different graphs among the sound ones. ``new``: those of them that
    no training molecule has. ``valid``: rdkit finds bonds of a neutral molecule in one piece; None without rdkit.
    """

    count: int
    atoms: Estimate
    molecules: Estimate
    legacy_atoms: Estimate
    legacy_molecules: Estimate
    connected: Estimate
    sound: Estimate
    distinct: Estimate
    new: Estimate
    valid: Estimate | None = field(default=None)


def figures(molecules: Sequence[Judged], known: Collection[str]) -> MoleculeFigures:
    """``known``: graphs of the training molecules. Raises InputError for no molecules."""
    count, atoms = len(molecules), sum(len(m.molecule.elements) for m in molecules)
    sound = [m for m in molecules if m.sound]
    graphs = {m.graph for m in sound}
    valid = None
    if can_perceive():
        found = (perceived(m.molecule.elements, m.molecule.places) for m in molecules)
        valid = share(sum(one is not None for one in found), count)
    return MoleculeFigures(
        count,
        share(sum(int(m.stable().sum()) for m in molecules), atoms),
        share(sum(bool(m.stable().all()) for m in molecules), count),
        share(sum(int(m.stable(legacy=True).sum()) for m in molecules), atoms),
        share(sum(bool(m.stable(legacy=True).all()) for m in molecules), count),
        share(sum(m.connected for m in molecules), count),
        share(len(sound), count),
        share(len(graphs), count),
        share(len(graphs.difference(known)), count),
        valid,
    )


def bond_lengths(molecules: Sequence[Judged]) -> dict[str, NDArray[np.float64]]:
    """Sorted lengths in ångström by kind, such as C-H or C=O."""
    found: dict[str, list[float]] = defaultdict(list)
    for judged in molecules:
        elements, places = judged.molecule.elements, judged.molecule.places
        for i, j in zip(*np.nonzero(np.triu(judged.orders)), strict=True):
            first, second = sorted((elements[i], elements[j]))
            found[f"{first}{' -=≡'[judged.orders[i, j]]}{second}"].append(float(np.linalg.norm(places[i] - places[j])))
    return {kind: np.sort(lengths) for kind, lengths in sorted(found.items())}


def wasserstein(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """W1 between two sets of sorted numbers: the mean distance of their quantiles."""
    at = (np.arange(1000) + 0.5) / 1000
    return float(np.abs(np.quantile(a, at) - np.quantile(b, at)).mean())


def length_distance(molecules: Sequence[Judged], real: Sequence[Judged]) -> float:
    """Ångström: W1 of bond lengths, the mean over kinds as frequent as in ``real``; nan where none is frequent."""
    own, other = bond_lengths(molecules), bond_lengths(real)
    shared = [kind for kind in own if kind in other and min(len(own[kind]), len(other[kind])) >= FEWEST_BONDS]
    if not shared:
        return float("nan")
    return float(np.average([wasserstein(own[k], other[k]) for k in shared], weights=[len(other[k]) for k in shared]))


class PropertyJudge:
    """A property of molecules by a linear function of their atoms and bonds, fitted to real ones.

    It knows nothing of places beyond bonds, and judges by what a sample is, not by how it was made: for QM7's energies
    its error is a twentieth of their deviation.
    """

    def __init__(self, molecules: Sequence[Judged], values: NDArray[np.float64]) -> None:
        """``values`` (N,), finite."""
        counts = [_counts(m) for m in molecules]
        self.names = sorted({name for one in counts for name in one})
        self.weights = np.linalg.lstsq(self._features(counts), values, rcond=None)[0]

    def __call__(self, molecules: Sequence[Judged]) -> NDArray[np.float64]:
        """The property of each, (N,)."""
        return self._features([_counts(m) for m in molecules]) @ self.weights

    def _features(self, counts: Sequence[dict[str, int]]) -> NDArray[np.float64]:
        return np.array([[1.0, *(one.get(name, 0) for name in self.names)] for one in counts])


def _counts(judged: Judged) -> dict[str, int]:
    elements, orders = judged.molecule.elements, judged.orders
    found: dict[str, int] = defaultdict(int)
    for element in elements:
        found[element] += 1
    for i, j in zip(*np.nonzero(np.triu(orders)), strict=True):
        found["-".join(sorted((elements[i], elements[j]))) + str(orders[i, j])] += 1
    return found

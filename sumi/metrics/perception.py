"""The bonds of a molecule as rdkit perceives them from its atoms' places, where rdkit is installed."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MOST_TRIALS: Final = 2000
"""Assignments of bond orders that are tried for one molecule, of which real ones need few."""


def can_perceive() -> bool:
    """Whether rdkit is installed."""
    return find_spec("rdkit") is not None


def perceived(elements: Sequence[str], places: NDArray[np.float64]) -> Any | None:
    """rdkit's molecule, if it is neutral and in one piece, with every atom's valence as it should be; else None.

    Raises ImportError where rdkit is not installed.
    """
    chem, bonds = import_module("rdkit.Chem"), import_module("rdkit.Chem.rdDetermineBonds")
    import_module("rdkit.RDLogger").DisableLog("rdApp.*")
    found = chem.RWMol()
    for element in elements:
        found.AddAtom(chem.Atom(element))
    shape = chem.Conformer(len(elements))
    for k, place in enumerate(places.tolist()):
        shape.SetAtomPosition(k, place)
    found.AddConformer(shape)
    try:
        bonds.DetermineBonds(found, charge=0, maxIterations=MOST_TRIALS)
        chem.SanitizeMol(found)
    except (ValueError, RuntimeError):
        return None
    return found if len(chem.GetMolFrags(found)) == 1 else None

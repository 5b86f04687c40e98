"""Bonds by distance, and whether they are those that an atom has.

Two atoms are bonded singly, doubly or triply where they are closer than the usual length of such a bond plus 10, 5 or 3
picometres (Hoogeboom et al. 2022, appendix E; the margins were chosen there for QM9). An atom is *stable* if its bonds
add up to a valence of its element, a molecule if all its atoms are. There are two tables of valences:

- ``LEGACY``, that of the paper, which its successors report: sulphur has 4 alone, so that a thiol or a thioether, and
  every real molecule of QM7 with sulphur, counts as wrong;
- ``VALENCES``, the chemical ones: sulphur has 2, 4 or 6, phosphorus 3 or 5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

ELEMENTS: Final = (
    *("H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar", "K", "Ca"),
    *("Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br", "Kr", "Rb", "Sr", "Y"),
    *("Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I", "Xe"),
)
"""By atomic number, from 1 on."""
MARGINS: Final = (10, 5, 3)
"""Picometres, of a single, a double and a triple bond."""
SINGLE: Final = {
    "H": {"H": 74, "C": 109, "N": 101, "O": 96, "F": 92, "B": 119, "Si": 148, "P": 144, "S": 134, "Cl": 127, "Br": 141},
    "C": {"C": 154, "N": 147, "O": 143, "F": 135, "Si": 185, "P": 184, "S": 182, "Cl": 177, "Br": 194, "I": 214},
    "N": {"N": 145, "O": 140, "F": 136, "P": 177, "S": 168, "Cl": 175, "Br": 214, "I": 222},
    "O": {"O": 148, "F": 142, "Si": 163, "P": 163, "S": 151, "Cl": 164, "Br": 172, "I": 194},
    "F": {"F": 142, "Si": 160, "P": 156, "S": 158, "Cl": 166, "Br": 178, "I": 187},
    "Si": {"Si": 233, "S": 200, "Cl": 202, "Br": 215, "I": 243},
    "P": {"P": 221, "S": 210, "Cl": 203, "Br": 222},
    "S": {"S": 204, "Cl": 207, "Br": 225, "I": 234},
    "Cl": {"Cl": 199, "Br": 214, "B": 175},
    "Br": {"Br": 228},
    "I": {"I": 266, "H": 161},
}
DOUBLE: Final = {
    "C": {"C": 134, "N": 129, "O": 120, "S": 160},
    "N": {"N": 125, "O": 121},
    "O": {"O": 121, "P": 150},
    "P": {"S": 186},
}
TRIPLE: Final = {"C": {"C": 120, "N": 116, "O": 113}, "N": {"N": 110}}
LEGACY: Final[dict[str, tuple[int, ...]]] = {
    **dict.fromkeys(("H", "F", "Cl", "Br", "I"), (1,)),
    "B": (3,),
    "C": (4,),
    "N": (3,),
    "O": (2,),
    "Si": (4,),
    "P": (3, 5),
    "S": (4,),
}
VALENCES: Final = {**LEGACY, "S": (2, 4, 6)}


@dataclass(frozen=True)
class Molecule:
    """Elements, one an atom, and places (n, 3) in ångström."""

    elements: tuple[str, ...]
    places: NDArray[np.float64]


def longest(a: str, b: str, order: int) -> float:
    """Ångström: two such atoms have a bond of this order where they are closer; 0 where they have none."""
    table = (SINGLE, DOUBLE, TRIPLE)[order - 1]
    length = table.get(a, {}).get(b) or table.get(b, {}).get(a)
    return 0.0 if length is None else (length + MARGINS[order - 1]) / 100


def bond_orders(elements: Sequence[str], places: NDArray[np.float64]) -> NDArray[np.int64]:
    """0 to 3 for each pair of atoms, symmetric (n, n): places (n, 3) in ångström."""
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    different = sorted(set(elements))
    index = np.array([different.index(e) for e in elements])
    limits = np.array([[[longest(a, b, order) for b in different] for a in different] for order in (1, 2, 3)])
    limits = np.minimum.accumulate(limits, 0)  # a double bond is short enough for a single one
    orders = (distance < limits[:, index[:, None], index[None]]).sum(0)
    np.fill_diagonal(orders, 0)
    return orders


def stable_atoms(elements: Sequence[str], orders: NDArray[np.int64], legacy: bool = False) -> NDArray[np.bool_]:
    """Which atoms (n,) have bonds that add up to a valence of theirs; an element without known valences never has."""
    table = LEGACY if legacy else VALENCES
    return np.array([int(total) in table.get(e, ()) for e, total in zip(elements, orders.sum(1), strict=True)])


def fragments(orders: NDArray[np.int64]) -> int:
    """How many pieces are not bonded to each other."""
    reached = (orders > 0) | np.eye(len(orders), dtype=bool)
    for _ in range(max(1, (len(orders) - 1).bit_length())):
        reached = reached @ reached
    return len({row.tobytes() for row in reached})


def graph(elements: Sequence[str], orders: NDArray[np.int64]) -> str:
    """A name of the molecule's graph of elements and bonds: the same for the same graph in any order of its atoms.

    By Weisfeiler & Lehman's refinement (1968): an atom's colour is its element, refined by those of its neighbours as
    often as there are atoms. Mirror images have one name, and so have some different graphs that are very regular,
    which no molecule of a few atoms is likely to be.
    """
    colours: list[str | int] = list(elements)
    for _ in elements:
        seen = [
            (colours[i], tuple(sorted((int(orders[i, j]), str(colours[j])) for j in np.flatnonzero(orders[i]))))
            for i in range(len(elements))
        ]
        names = {key: k for k, key in enumerate(sorted(set(seen), key=repr))}
        refined: list[str | int] = [names[key] for key in seen]
        whole = sorted(repr(key) for key in seen)
        if len(names) == len(set(colours)):
            break
        colours = refined
    return "|".join([*sorted(elements), *whole])

"""XYZ files: the number of atoms, a line of comment, and a line an atom with its element and its place in ångström.

    3
    energy=-76.4 name=water
    O  0.000  0.000  0.117
    H  0.000  0.757 -0.471
    H  0.000 -0.757 -0.471

One after the other, as many as there are. NAME=NUMBER in the comment is a number that belongs to the molecule.

Files of QM9 (Ramakrishnan et al. 2014, "Quantum chemistry structures and properties of 134 kilo molecules") have their
numbers in the comment, "gdb 1 157.7 …", in the order of `QM9`, exponents as in 6.2*^-6, and three lines after the
atoms: frequencies, SMILES and InChI.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import isfinite
from typing import Final

import numpy as np
from numpy.typing import NDArray

Frame = tuple[tuple[str, ...], NDArray[np.float64], dict[str, float]]
"""Elements, places (n, 3), and the numbers of the comment."""
_NUMBER: Final = re.compile(r"(?:^|\s)([A-Za-z_][\w-]*)=([-+]?[\d.]+(?:[eE][-+]?\d+)?)(?=\s|$)")

QM9: Final = (
    *("rotation_a", "rotation_b", "rotation_c", "mu", "alpha", "homo", "lumo", "gap", "r2", "zpve"),
    *("u0", "u298", "h298", "g298", "cv"),
)
"""Rotational constants in GHz, dipole moment in debye, polarisability in bohr³, energies in hartree, ⟨r²⟩ in bohr²,
heat capacity in cal/(mol K). None is named as an element is: those are numbers of atoms."""
_QM9_LINES: Final = 3


def frame_text(elements: Sequence[str], places: NDArray[np.float64], comment: str) -> str:
    """One molecule as text."""
    rows = (f"{e:<2} {x:12.6f} {y:12.6f} {z:12.6f}\n" for e, (x, y, z) in zip(elements, places, strict=True))
    return f"{len(elements)}\n{comment}\n{''.join(rows)}"


def read_frames(text: str, known: Sequence[str]) -> Iterator[Frame]:
    """All molecules of a file. Raises ValueError, saying the line, for text of another form.

    ``known``: symbols of elements; numbers of elements (from 1) are read too.
    """
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        count = lines[at].strip()
        if not count.isdecimal() or not int(count):
            raise ValueError(f"line {at + 1} should be the number of atoms, and is {count[:40]!r}")
        atoms = lines[at + 2 : at + 2 + int(count)]
        if len(atoms) < int(count):
            raise ValueError(f"line {at + 1} says {count} atoms, and the file ends after {len(atoms)}")
        rows = [_atom(line, at + 3 + k, known) for k, line in enumerate(atoms)]
        numbers, more = _numbers(lines[at + 1])
        yield tuple(element for element, _ in rows), np.array([place for _, place in rows]), numbers
        at += 2 + int(count) + more


def _numbers(comment: str) -> tuple[dict[str, float], int]:
    """The numbers of a comment, and how many lines follow the atoms."""
    match comment.split():
        case ["gdb", _, *values] if len(values) == len(QM9):
            with suppress(ValueError):
                return dict(zip(QM9, map(_number, values), strict=True)), _QM9_LINES
        case _:
            pass
    return {name: float(number) for name, number in _NUMBER.findall(comment)}, 0


def _number(text: str) -> float:
    return float(text.replace("*^", "e"))


def _atom(line: str, number: int, known: Sequence[str]) -> tuple[str, list[float]]:
    parts = line.split()
    try:
        place = [_number(part) for part in parts[1:4]]
        symbol = known[int(parts[0]) - 1] if parts[0].isdecimal() else parts[0].capitalize()
    except (ValueError, IndexError):
        raise ValueError(f"line {number} is no element with its place: {line[:60]!r}") from None
    if symbol not in known or len(place) != 3 or not all(map(isfinite, place)):
        raise ValueError(f"line {number} is no element with its place: {line[:60]!r}")
    return symbol, place

"""XYZ files: the number of atoms, a line of comment, and a line an atom with its element and its place in ångström.

    3
    energy=-76.4 name=water
    O  0.000  0.000  0.117
    H  0.000  0.757 -0.471
    H  0.000 -0.757 -0.471

One after the other, as many as there are. NAME=NUMBER in the comment is a number that belongs to the molecule.
"""

import re
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Final

import numpy as np
from numpy.typing import NDArray

Frame = tuple[tuple[str, ...], NDArray[np.float64], dict[str, float]]
"""Elements, places (n, 3), and the numbers of the comment."""
_NUMBER: Final = re.compile(r"(?:^|\s)([A-Za-z_][\w-]*)=([-+]?[\d.]+(?:[eE][-+]?\d+)?)(?=\s|$)")


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
        numbers = {name: float(number) for name, number in _NUMBER.findall(lines[at + 1])}
        yield tuple(element for element, _ in rows), np.array([place for _, place in rows]), numbers
        at += 2 + int(count)


def _atom(line: str, number: int, known: Sequence[str]) -> tuple[str, list[float]]:
    parts = line.split()
    try:
        place = [float(part) for part in parts[1:4]]
        symbol = known[int(parts[0]) - 1] if parts[0].isdecimal() else parts[0].capitalize()
    except (ValueError, IndexError):
        raise ValueError(f"line {number} is no element with its place: {line[:60]!r}") from None
    if symbol not in known or len(place) != 3 or not all(map(isfinite, place)):
        raise ValueError(f"line {number} is no element with its place: {line[:60]!r}")
    return symbol, place

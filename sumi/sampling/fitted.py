"""Grids and weights for few steps, fitted to networks of several sets of images at once (`benchmarks/fitted.py`).

In units of the data's standard deviation, a step from x̂ = x/alpha at σ̂_t to σ̂_s is

    (1 + a) x̂_0 + (σ̂_s + b) ε_t + Σ_j w_j (ε_j - ε_t)

as a tuned solver's (`sumi.sampling.solvers.tuned`), with the same numbers for every model and every part of an image.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

Row = tuple[float, ...]
"""w_j of the evaluations before a step, newest first, then a and b."""

START: Final = 40.0
"""The least σ̂ to begin at: that of noise in which next to no data are left."""
NEAR, LITTLE = 0.25, 0.02
"""How far a σ̂ may lie from the table's, as a part of it, and besides: a chain's own times do not hit it."""


@dataclass(frozen=True)
class FewSteps:
    """``grid``: σ̂ where steps end, 0 at last; ``rows``: the numbers of each step."""

    grid: tuple[float, ...]
    rows: tuple[Row, ...]

    def row(self, nodes: tuple[float, ...]) -> Row | None:
        """The numbers of the step that ``nodes`` end in, all σ̂ so far, oldest first; None of steps on another grid."""
        start, *reached = nodes
        if start < START or len(reached) > len(self.grid):
            return None
        near = all(
            node == there if 0 in (node, there) else abs(node - there) < NEAR * there + LITTLE
            for node, there in zip(reached, self.grid, strict=False)
        )
        return self.rows[len(reached) - 1] if near else None


@cache
def few_steps() -> dict[int, FewSteps]:
    """What was fitted, by the number of steps."""
    stored = json.loads((Path(__file__).parent / "fitted.json").read_text())
    return {
        int(steps): FewSteps((*found["grid"], 0.0), tuple(map(tuple, found["rows"]))) for steps, found in stored.items()
    }

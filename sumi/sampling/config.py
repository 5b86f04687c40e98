"""How a run's model is sampled unless the caller says otherwise."""

from dataclasses import dataclass, field
from math import isfinite

from sumi.config import nearest
from sumi.errors import InputError
from sumi.sampling.method import NATURAL, find_solver
from sumi.sampling.solvers import SOLVERS
from sumi.sampling.time_grid import TIME_GRIDS

_GRIDS = (NATURAL, *TIME_GRIDS)


@dataclass(frozen=True)
class SamplingConfig:
    """The defaults of ``sample``."""

    solver: str = field(default="adams", metadata={"help": f"one of {', '.join(SOLVERS)}"})
    steps: int = field(default=50, metadata={"help": "intervals of the time grid, 1 or more"})
    time_grid: str = field(default=NATURAL, metadata={"help": f"one of {', '.join(_GRIDS)} (the solver's own)"})
    guidance: float = field(
        default=1.0, metadata={"help": "scale of classifier-free guidance where a label is given; 1: none"}
    )
    threshold: bool = field(default=True, metadata={"help": "keep every x̂_0 in [-1, 1] while sampling"})

    def __post_init__(self) -> None:
        find_solver(self.solver, "sampling.solver")
        if self.time_grid not in _GRIDS:
            raise InputError(f"sampling.time_grid: there is no {self.time_grid!r}; {nearest(self.time_grid, _GRIDS)}")
        if not isfinite(self.guidance):
            raise InputError(f"sampling.guidance: {self.guidance} is not a finite number; 1 is no guidance")
        if self.steps < 1:
            raise InputError(f"sampling.steps: {self.steps} is not a number of steps; give 1 or more")

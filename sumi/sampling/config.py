"""How a run's model is sampled unless the caller says otherwise."""

from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

from sumi.config import nearest
from sumi.errors import InputError
from sumi.sampling.method import NATURAL, find_solver
from sumi.sampling.solvers import SOLVERS
from sumi.sampling.time_grid import TIME_GRIDS

Threshold = Literal["none", "static", "dynamic"]
"""What keeps x̂_0 in [-1, 1]: nothing, a clamp, or a scale of its own for each sample (`sumi.guidance.thresholding`)."""

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
    guidance_interval: tuple[float, ...] | None = field(
        default=None, metadata={"help": "LOW,HIGH in sigma/alpha at which guidance counts, such as 0.3,5; none: all"}
    )
    guidance_rescale: float = field(
        default=0.0, metadata={"help": "0 to 1: how far guided x̂_0 keep the contrast of unguided ones"}
    )
    threshold: Threshold = field(
        default="static", metadata={"help": "what keeps every x̂_0 in [-1, 1] while sampling: none, static or dynamic"}
    )

    def __post_init__(self) -> None:
        find_solver(self.solver, "sampling.solver")
        if self.time_grid not in _GRIDS:
            raise InputError(f"sampling.time_grid: there is no {self.time_grid!r}; {nearest(self.time_grid, _GRIDS)}")
        if not isfinite(self.guidance):
            raise InputError(f"sampling.guidance: {self.guidance} is not a finite number; 1 is no guidance")
        if self.guidance_interval is not None and not _is_interval(self.guidance_interval):
            given = ",".join(f"{end:g}" for end in self.guidance_interval)
            raise InputError(f"sampling.guidance_interval: {given} is not LOW,HIGH with 0 ≤ LOW < HIGH; write 0.3,5")
        if not 0 <= self.guidance_rescale <= 1:
            raise InputError(f"sampling.guidance_rescale: {self.guidance_rescale} is not between 0 and 1; 0 is none")
        if self.steps < 1:
            raise InputError(f"sampling.steps: {self.steps} is not a number of steps; give 1 or more")


def _is_interval(ends: tuple[float, ...]) -> bool:
    return len(ends) == 2 and 0 <= ends[0] < ends[1]

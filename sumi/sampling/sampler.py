"""How samples are made: a solver and the times at which it stops, chosen by name.

How a run's model is sampled unless the caller says otherwise.
"""

from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Final, Literal

from torch import Tensor

from sumi.config import nearest
from sumi.errors import InputError
from sumi.process.schedule import Schedule
from sumi.sampling.solvers import BIT_SOLVERS, SOLVERS
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.solver import Solver
from sumi.sampling.time_grid import TIME_GRIDS, snap

NATURAL: Final = "natural"
NATURAL_GRIDS: Final = dict.fromkeys(
    ("ddim", "ddpm", "ddpm_large", "ddpm_learned", "euler_maruyama", "predictor_corrector", "langevin", *BIT_SOLVERS),
    "uniform",
)
"""The grid of a solver that is none of its own: where its paper has it. All others take `log_ratio`."""
BINOMIAL: Final = "binomial"
"""The one solver of bits."""
LEAST_STD: Final = 1e-3  # images that are all alike have none


@dataclass(frozen=True)
class Method:
    """A solver, its times (steps + 1,), and the name it goes by."""

    name: str
    solver: Solver[Any]
    times: Tensor

    @property
    def steps(self) -> int:
        return len(self.times) - 1


def find_solver(name: str, where: str) -> tuple[str, Solver[Any], str]:
    """The solver called SOLVER or SOLVER@GRID: its name, itself, and the grid ("" where none is named).

    Raises InputError that begins with ``where``.
    """
    solver, at, grid = name.partition("@")
    known = SOLVERS | BIT_SOLVERS
    if solver not in known:
        raise InputError(f"{where}: there is no solver {solver!r}; {nearest(solver, SOLVERS)}")
    if at and grid not in TIME_GRIDS:
        raise InputError(f"{where}: there is no time grid {grid!r}; {nearest(grid, TIME_GRIDS)}")
    return solver, known[solver], grid


def refuse_off_grid(name: str, solver: Solver[Any], grid: int | None, where: str) -> None:
    """Raises InputError for a solver that needs other times than the ``grid`` that a network knows."""
    if grid is not None and solver.off_grid:
        known = ", ".join(other for other, one in SOLVERS.items() if not one.off_grid)
        raise InputError(
            f"{where}: {name} evaluates between the times of its grid, and the network knows only the {grid} of its "
            f"chain; choose from {known}"
        )


def build_method(
    name: str,
    steps: int,
    schedule: Schedule,
    *,
    time_grid: str = NATURAL,
    data_std: float = 0.5,
    grid: int | None = None,
    eta: float | None = None,
    bits: bool = False,
) -> Method:
    """The method that these names and numbers stand for.

    ``name``: a solver, or SOLVER@GRID for a time grid other than ``time_grid``. ``grid``: T where the network knows
    only the times i/T, else None. ``eta`` overrides DDIM's η. ``bits``: whether the process is binomial. Raises
    InputError: an unknown name, too many steps or fewer than 1, an η for a solver that has none, a solver of the other
    process, and one that needs times which the network does not know.
    """
    wanted, solver, other_grid = find_solver(name, f"--solver {name}")
    if bits != (wanted in BIT_SOLVERS):
        takes = f"bits take {', '.join(BIT_SOLVERS)}" if bits else "for bits; choose one for Gaussian noise, as adams"
        raise InputError(f"--solver {name}: {takes}")
    if isinstance(solver, Adams):
        solver = replace(solver, data_std=max(data_std, LEAST_STD))
    if eta is not None:
        if not isinstance(solver, DDIM) or wanted != "ddim":
            raise InputError(f"--eta: {name} has its own; leave it out, or choose ddim")
        solver = replace(solver, eta=eta)
    refuse_off_grid(name, solver, grid, f"--solver {name}")
    if time_grid == NATURAL:
        time_grid = NATURAL_GRIDS.get(wanted, "log_ratio")
    times = TIME_GRIDS[other_grid or time_grid](schedule, steps, max(data_std, LEAST_STD))
    return Method(name, solver, times if grid is None else snap(times, grid))


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

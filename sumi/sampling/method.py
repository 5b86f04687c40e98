"""How samples are made: a solver and the times at which it stops, chosen by name."""

from dataclasses import dataclass, replace
from typing import Any, Final

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

"""Solvers by name, as the command line and the run folder call them."""

from typing import Any, Final

from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.solver import Solver

SOLVERS: Final[dict[str, Solver[Any]]] = {
    "ddim": DDIM(eta=0.0),
    "ddpm": DDIM(eta=1.0),
    "ddpm_large": DDIM(eta=1.0, variance="large"),
}

"""Solvers by name, as the command line and the run folder call them."""

from typing import Final

from sumi.sampling.solvers.ddim import DDIM

SOLVERS: Final[dict[str, DDIM]] = {
    "ddim": DDIM(eta=0.0),
    "ddpm": DDIM(eta=1.0),
    "ddpm_large": DDIM(eta=1.0, variance="large"),
}

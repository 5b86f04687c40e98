"""Which integrator a network's ODE gets: its chain's own times where it knows no others, else adaptive steps."""

from typing import Final

from sumi.likelihood.grid_flow import GridFlow
from sumi.likelihood.probability_flow import SMALLEST, Flow, ProbabilityFlow

TOLERANCE: Final = 1e-4
"""Of the adaptive steps, in nats for a dimension too: far below the standard error over some hundred items."""


def integrator(grid: int | None, *, stride: int = 1, smallest: float = SMALLEST) -> Flow:
    """For a network that knows the times i/``grid``, or any time (None).

    ``stride``: every how many of the chain's times are walked; ``smallest``: sigma/alpha where adaptive steps begin.
    """
    if grid is not None:
        return GridFlow(grid, stride)
    return ProbabilityFlow(rtol=TOLERANCE, atol=TOLERANCE, smallest=smallest)

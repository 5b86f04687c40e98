"""Time grids: the times t_0 = 1 > t_1 > … > t_K = 0 at which a sampler of K steps stops."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from sumi.errors import InputError


def _positions(steps: int) -> Tensor:
    if steps < 1:
        raise InputError(f"steps: {steps} is not a number of steps; give 1 or more")
    return torch.arange(steps, -1, -1, dtype=torch.float64) / steps


def uniform(steps: int) -> Tensor:
    """Evenly spaced times from 1 to 0, float64 (steps + 1,)."""
    return _positions(steps)


def quadratic(steps: int) -> Tensor:
    """Times ∝ i², denser near the data (Song et al. 2021 "DDIM", appendix D.2), float64 (steps + 1,)."""
    return _positions(steps) ** 2


def snap(times: Tensor, grid: int) -> Tensor:
    """The nearest times of the form i/grid that are still all different: first, last and number of times stay.

    For networks that know only the times of their chain. Raises InputError for more steps than the chain has.
    """
    steps = len(times) - 1
    if steps > grid:
        raise InputError(
            f"steps: {steps} is more than the {grid} that this model was trained with; give at most {grid}"
        )
    count = torch.arange(steps + 1)
    rising = (times.flip(0) * grid + 0.5).floor().long()
    rising = (rising - count).cummax(0).values + count  # no two alike …
    rising = torch.minimum(rising, grid - steps + count)  # … and none past the end
    return rising.flip(0).double() / grid


TIME_GRIDS: Final[dict[str, Callable[[int], Tensor]]] = {"uniform": uniform, "quadratic": quadratic}

"""Samples that state their error: the probability-flow ODE on ever finer grids, until two of them agree.

Each sample is taken to the data in K_1 steps, K_2 = 3/2 K_1, K_3 = 3/2 K_2, …, from the same start. Let d_k be the
distance (root mean square over elements, in units of the data's standard deviation) between its ends on grids k and
k - 1. For a method of order q the finer end is d_k/(r^q - 1) from the ODE's, r = K_k/K_(k-1) (Richardson 1911). Few
steps have no clean order, so q is what the last two distances show, less 1, between 5/4 and p (or 1/2 and p = 1 for a
solver of order 1), and the estimate

    e_k = c max(d_k/(r^q - 1), d_(k-1)/(r^p (r^p - 1))),        q = log(d_(k-1)/d_k)/log r - 1

guards by its second term against two ends that agree by chance. c = 1.4, and p = 5/2 on grids of 31 to 60 steps. On
coarser ones data of low rank show an order that finer grids do not keep, so c = 1.6 and p = 2. A sample that needs more
than 60 steps is not smooth (restored pictures, guided photographs), and p = 2 again. The constants were chosen on 20
mixtures and three networks so that with `adams` e is above the true distance in at least 95 of 100 samples, and about
five times as large in half of them, or less (benchmarks/stated_error.py).

A network whose ε̂ does not stay bounded near the data (one that predicts x_0 and cannot copy its input) has an ODE that
no grid brings to its end soon: its d_k fall slower than the 5/4 above. From four grids on, an order below that between
d_2 and d_k is taken for q, down to 1/4. That is no more than a help: what a path still has to go where d_k fall as
slowly as K^-1/2 cannot be known from them, and e may be below the true distance.

A sample goes on until its own e is small enough, so its result does not depend on its batch.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, inf, log
from typing import Any, Final

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.sampling.solvers.adaptive import Adaptive
from sumi.sampling.solvers.solver import AroundSolver, Solver
from sumi.sampling.tuning import distance

RATIO: Final = 1.5
"""Of the steps of one grid to those of the one before."""
MOST_STEPS: Final = 500
SMALLEST, LARGEST = 1e-4, 1.0
"""Errors that can be asked for: below, rounding of float32 networks counts."""
GRIDS: Final = ((30.0, 1.6, 2.0), (60.0, 1.4, 2.5), (inf, 1.4, 2.0))
"""Of grids of up to so many steps: c, and p."""
LEAST_ORDER: Final = 1.25
FIRST_ORDER: Final = 0.5
"""What is assumed of a solver of order 1, which few steps do not have yet."""
LOWEST_ORDER: Final = 0.25
"""The least that `sample_to` believes of an order seen over all grids."""
ORDER_FROM: Final = 4
"""Grids from which an order below `LEAST_ORDER` over all of them is believed: fewer show one by chance."""
TOLERANCE: Final = 0.1
"""Of an adaptive solver, times K^-2: its error falls as fast as that of one of order 2."""
TINY: Final = 1e-30


@dataclass(frozen=True)
class Stated:
    """Ends ``x`` (N, …), each one's estimated distance from the end of its ODE in units of the data's deviation,
    float64 (N,), the evaluations of networks that it took on all grids together, and the ``steps`` of the last one,
    int64 (N,).

    ``error`` is above the one that was wanted for a sample that the finest grid does not bring so near.
    """

    x: Tensor
    error: Tensor
    evaluations: Tensor
    steps: Tensor


def estimate(
    moved: Tensor, before: Tensor | None, steps: tuple[int, int], order: float = inf, overall: Tensor | None = None
) -> Tensor:
    """e_k (N,) of d_k = ``moved`` (N,) and d_(k-1) = ``before`` (None: these are the first two grids).

    ``steps``: K_(k-1) and K_k. ``order``: the solver's. ``overall``: the order (N,) that d_2 and d_k show, or None.
    """
    moved, ratio = moved.clamp(min=TINY), steps[1] / steps[0]
    safety, highest = next(of_grid for up_to, *of_grid in GRIDS if steps[1] <= up_to)
    least, most = (LEAST_ORDER, highest) if order > 1 else (FIRST_ORDER, 1.0)
    if before is None:
        return safety * moved / (ratio**least - 1)
    seen = (order_between(before, moved, ratio) - 1).clamp(least, most)
    if overall is not None:
        seen = torch.minimum(seen, overall.clamp(min=LOWEST_ORDER))
    return safety * torch.maximum(moved / (ratio**seen - 1), before / (ratio**most * (ratio**most - 1)))


def order_between(before: Tensor, moved: Tensor, ratio: float) -> Tensor:
    """That of distances ``before`` and ``moved`` (N,) on grids whose steps have this ``ratio``."""
    return (before.clamp(min=TINY) / moved.clamp(min=TINY)).log() / log(ratio)


def first_steps(error: float, most: int) -> int:
    """K_1: fewer than suffice, as the estimate wants three grids."""
    return max(min(round(0.6 * error**-0.5), int(most / RATIO)), 1)


def sample_to(
    walk: Callable[[int, Tensor], tuple[Tensor, int]],
    count: int,
    error: float,
    data_std: float,
    most: int,
    order: float = inf,
) -> Stated:
    """``count`` samples, each with an estimated ``error`` of at most that, or of the finest grid up to ``most`` steps.

    ``walk(steps, rows)`` takes the samples ``rows`` (n,) to the data in so many steps: their ends (n, …), and the
    evaluations of each. ``data_std``: > 0. ``order``: of the solver, where it is known. Raises InputError for fewer
    than 2 steps at ``most``.
    """
    if most < 2:
        raise InputError(
            "error: there is but one step to the data from there, and two grids are compared; leave it out"
        )
    left, steps = torch.arange(count), first_steps(error, most)
    ends, taken = walk(steps, left)
    found = Stated(
        torch.empty_like(ends), torch.zeros(count).double(), torch.full((count,), taken), torch.zeros(count).long()
    )
    gap, first, first_finer, grids = None, torch.empty(0), 0, 1
    while len(left):
        finer, grids = ceil(RATIO * steps), grids + 1
        finer_ends, taken = walk(finer, left)
        moved = distance(finer_ends, ends).double().cpu() / data_std
        if gap is None:
            first, first_finer = moved, finer
        overall = order_between(first[left], moved, finer / first_finer) if grids >= ORDER_FROM else None
        stated = estimate(moved, gap, (steps, finer), order, overall)
        near = (stated <= error) | (ceil(RATIO * finer) > most)
        found.evaluations[left] += taken
        found.error[left[near]] = stated[near]
        found.steps[left[near]] = finer
        found.x[left[near].to(ends.device)] = finer_ends[near.to(ends.device)]
        left, ends, gap, steps = left[~near], finer_ends[~near.to(ends.device)], moved[~near], finer
    return found


def on_grid(solver: Solver[Any], steps: int) -> Solver[Any]:
    """``solver`` for a grid of so many steps: one that takes its own steps between them has tolerances that shrink."""
    match solver:
        case Adaptive():
            return replace(solver, rtol=TOLERANCE * steps**-2, atol=TOLERANCE * steps**-2)
        case AroundSolver(solver=inner):
            return replace(solver, solver=on_grid(inner, steps))
        case _:
            return solver


def refuse_unstated(name: str, solver: Solver[Any]) -> None:
    """Raises InputError for a method, called ``name``, whose samples have no end of an ODE to be near to."""
    if solver.draws_noise:
        raise InputError(f"error: {name} draws noise, so no sample has one end to be near to; choose adams, or steps")
    if solver.order == 0:
        raise InputError(f"error: {name} comes no nearer to the ODE's end with more steps; give steps instead")

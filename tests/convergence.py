"""The order at which a deterministic solver converges, measured on a target whose flow is known."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import log

import torch
from torch import Tensor

from sumi.process.schedule import NoiseLevel, levels

Flow = Callable[[Tensor, NoiseLevel, NoiseLevel], Tensor]


def run(denoiser, solver, times: Tensor, x: Tensor, flow: Flow, exact_steps: int = 0) -> Tensor:
    """x at times[0] carried to times[-1] by the real steps of ``solver``.

    The first ``exact_steps`` steps fill its state but their results are replaced by the exact ones: a multistep method
    is then started at its own order. Any last time is kept as it is: no step to sigma = 0.
    """
    walk = list(levels(denoiser.schedule, times))
    state = solver.init()
    for k, (t, s) in enumerate(pairwise(walk)):
        after, state = solver.step(denoiser, x, t, s, state, None)
        x = flow(x, t, s) if k < exact_steps else after
    return x


def errors(
    denoiser, solver, grid: Callable[[int], Tensor], steps: Sequence[int], x, flow, exact_steps=0
) -> list[float]:
    """The largest error at the end of the interval for each number of steps; ``grid(n)`` gives its n + 1 times."""
    found = []
    for n in steps:
        times = grid(n)
        first, *_, last = levels(denoiser.schedule, times)
        end = run(denoiser, solver, times, x, flow, exact_steps)
        found.append(float((end - flow(x, first, last)).abs().max()))
    return found


def orders(steps: Sequence[int], found: Sequence[float]) -> list[float]:
    """The observed order between neighbouring numbers of steps: log(e_1/e_2)/log(n_2/n_1)."""
    return [log(a / b) / log(n / m) for (m, a), (n, b) in pairwise(zip(steps, found, strict=True))]


def between(schedule, first: float, last: float, place: Callable[[Tensor], Tensor]) -> Callable[[int], Tensor]:
    """Grids on the times [last, first]: ``place`` maps 0 … 1, evenly spaced, smoothly to the part of the way."""

    def grid(n: int) -> Tensor:
        part = place(torch.arange(n + 1, dtype=torch.float64) / n)
        return first + (last - first) * part

    return grid

"""The order at which a deterministic solver converges, measured on a target whose flow is known."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from math import log

import torch
from torch import Tensor

from sumi.process.schedule import NoiseLevel, Schedule, noise_levels
from sumi.sampling.solvers.exponential import Base

Flow = Callable[[Tensor, NoiseLevel, NoiseLevel], Tensor]


def run(denoiser, solver, times: Tensor, x: Tensor, flow: Flow, exact_steps: int = 0) -> Tensor:
    """x at times[0] carried to times[-1] by the real steps of ``solver``.

    The first ``exact_steps`` steps fill its state but their results are replaced by the exact ones, and so is a point
    of the way that the state remembers: a multistep method is then started at its own order. Any last time is kept as
    it is: no step to sigma = 0.
    """
    walk = list(noise_levels(denoiser.schedule, times))
    state, start = solver.init(), x
    for k, (t, s) in enumerate(pairwise(walk)):
        after, state = solver.step(denoiser, x, t, s, state, None)
        if k < exact_steps:
            after = flow(start, walk[0], s)
            state = replace(state, x=flow(start, walk[0], state.t)) if isinstance(state, Base) else state
        x = after
    return x


def errors(
    denoiser, solver, grid: Callable[[int], Tensor], steps: Sequence[int], x, flow, exact_steps=0
) -> list[float]:
    """The largest error at the end of the interval for each number of steps; ``grid(n)`` gives its n + 1 times."""
    found = []
    for n in steps:
        times = grid(n)
        first, *_, last = noise_levels(denoiser.schedule, times)
        end = run(denoiser, solver, times, x, flow, exact_steps)
        found.append(float((end - flow(x, first, last)).abs().max()))
    return found


def orders(steps: Sequence[int], found: Sequence[float]) -> list[float]:
    """The observed order between neighbouring numbers of steps: log(e_1/e_2)/log(n_2/n_1)."""
    return [log(a / b) / log(n / m) for (m, a), (n, b) in pairwise(zip(steps, found, strict=True))]


def grids(schedule: Schedule, high: float = 0.5, low: float = 0.1) -> dict[str, Callable[[int], Tensor]]:
    """Grids from σ̂ = high to low: even in t, ever denser, and even in log-SNR."""
    first, last = schedule.time(-2 * torch.tensor([high, low], dtype=torch.float64).log()).tolist()

    def part(n: int) -> Tensor:
        return torch.arange(n + 1, dtype=torch.float64) / n

    return {
        "uniform": cache(lambda n: first + (last - first) * part(n)),
        "quadratic": cache(lambda n: last + (first - last) * (1 - part(n)) * (1 - part(n) / 2)),
        "log_snr": cache(lambda n: schedule.time(-2 * (log(high) + (log(low) - log(high)) * part(n)))),
    }


def limit(steps: Sequence[int], found: Sequence[float]) -> float:
    """The order, extrapolated once: with e(n) = a n^-p (1 + b/n) the observed ones at n and 2n are b/n and b/2n off."""
    coarse, fine = orders(steps, found)
    return 2 * fine - coarse

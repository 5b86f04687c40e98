"""Time grids: the times t_0 = 1 > t_1 > … > t_K = 0 of a sampler with K steps.

Some are formulas in t, others in the noise-to-signal ratio σ̂ = sigma/alpha, in which every schedule has the same
probability-flow ODE. Those go from σ̂(1) down to σ̂(0), or `SMALLEST` where that is 0, in K - 1 steps, and in one more
to the data. If σ̂(1) exceeds `LARGEST` only because alpha(1) is small (sigma(1) does not), they are spaced as if from
`LARGEST`, but the first step still starts at t = 1.
"""

from collections.abc import Callable
from math import inf, log, log1p
from typing import Final

import torch
from torch import Tensor

from sumi.boundary.arguments import whole
from sumi.errors import InputError
from sumi.process.schedule import Schedule, noise_level, noise_ratio
from sumi.sampling.fitted import START, few_steps

__all__ = [
    "TIME_GRIDS",
    "TimeGrid",
    "fitted",
    "karras",
    "log_ratio",
    "log_snr",
    "quadratic",
    "renoised",
    "snap",
    "uniform",
]

TimeGrid = Callable[[Schedule, int, float], Tensor]
"""Times (steps + 1,) for a schedule, a number of steps and the data's standard deviation."""

LARGEST: Final = 100.0
SMALLEST: Final = 0.002  # σ_min of Karras et al. 2022
RENOISED, LAST_RENOISED = 1.64, 0.5


def _positions(steps: int) -> Tensor:
    steps = whole("steps", steps, least=1)
    return torch.arange(steps, -1, -1, dtype=torch.float64) / steps


def uniform(steps: int) -> Tensor:
    """Evenly spaced times from 1 to 0, float64 (steps + 1,)."""
    return _positions(steps)


def quadratic(steps: int) -> Tensor:
    """Times ∝ i², denser near the data (Song et al. 2021 "DDIM", appendix D.2), float64 (steps + 1,)."""
    return _positions(steps) ** 2


def noise_range(schedule: Schedule) -> tuple[float, float]:
    """The largest and the smallest σ̂ of a grid (module docstring)."""
    end, start = noise_level(schedule, 1.0), noise_level(schedule, 0.0)
    largest = max(LARGEST, float(end.sigma))
    return min(noise_ratio(end), largest), noise_ratio(start) or SMALLEST


def log_ratio(
    schedule: Schedule, steps: int, data_std: float = 0.5, *, near: float = 0.05, far: float = 100.0
) -> Tensor:
    """log (σ̂ + near)/(σ̂ + far) evenly spaced from t = 1 to the data itself, float64 (steps + 1,).

    ``near`` and ``far`` are in units of ``data_std``: steps shrink with σ̂ down to ``near``, and grow without limit
    beyond ``far``, so the grid can start at σ̂ = ∞. If it would pass below σ̂(0) > 0, the last step but one ends there.
    Made for `sumi.sampling.solvers.adams`.
    """
    near, far = near * data_std, far * data_std
    end, start = (noise_ratio(noise_level(schedule, t)) for t in (1.0, 0.0))
    first = log1p((near - far) / (end + far))
    part = 1 - _positions(steps)
    noise = _undo(first + part * (log(near / far) - first), near, far)[:-1]
    if steps > 1 and noise[-1] < start:
        part = part[:-1] * (steps / (steps - 1))
        noise = _undo(first + part * (log((start + near) / (start + far)) - first), near, far)
    return at_noise(schedule, noise)


def _undo(v: Tensor, near: float, far: float) -> Tensor:
    return (far * v.exp() - near) / -v.expm1()


def at_noise(schedule: Schedule, noise: Tensor) -> Tensor:
    """The times of these σ̂ (K,), with 1 as the first and a final 0: float64 (K + 1,)."""
    times = schedule.time(-2 * noise.log())
    times[0] = 1.0
    return torch.cat([times, times.new_zeros(1)])


def _parts(steps: int) -> Tensor:
    """0 … 1 in ``steps`` points, one for each noise level before the last step."""
    return (1 - _positions(steps)[:-1]) * (steps / max(steps - 1, 1))


def log_snr(schedule: Schedule, steps: int) -> Tensor:
    """Evenly spaced in log-SNR, float64 (steps + 1,)."""
    largest, smallest = noise_range(schedule)
    return at_noise(schedule, (log(largest) + _parts(steps) * (log(smallest) - log(largest))).exp())


def fitted(schedule: Schedule, steps: int, data_std: float = 0.5) -> Tensor:
    """The grid of `sumi.sampling.fitted` for so many steps, float64 (steps + 1,); `log_ratio` where it has none.

    That is of other numbers of steps, and of a schedule that begins or ends within the grid.
    """
    found = few_steps().get(steps)
    end, start = (noise_ratio(noise_level(schedule, t)) / data_std for t in (1.0, 0.0))
    if found is None or end < START or found.grid[-2] <= start:
        return log_ratio(schedule, steps, data_std)
    return at_noise(schedule, torch.tensor([inf, *found.grid[:-1]], dtype=torch.float64) * data_std)


def karras(schedule: Schedule, steps: int, rho: float = 7.0) -> Tensor:
    """σ̂^(1/ρ) evenly spaced (Karras et al. 2022, eq. 5), float64 (steps + 1,)."""
    largest, smallest = noise_range(schedule)
    first, last = largest ** (1 / rho), smallest ** (1 / rho)
    return at_noise(schedule, (first + _parts(steps) * (last - first)) ** rho)


def renoised(schedule: Schedule, steps: int, data_std: float = 0.5) -> Tensor:
    """t = 1, then log σ̂ evenly from `RENOISED` times ``data_std`` down to `LAST_RENOISED` times, float64 (steps + 1,).

    For samples that are noised again: with much more noise a sample is made as if from nothing, by a network that has
    seen few such levels. Geng et al. 2025 ("Consistency models made easy") noise once, to the first of these.
    """
    if steps < 2:
        return _positions(steps)
    first = min(RENOISED * data_std, noise_ratio(noise_level(schedule, 1.0)) / 2)
    again = first * (LAST_RENOISED / RENOISED) ** _parts(steps - 1)
    return at_noise(schedule, torch.cat([again.new_ones(1), again]))


def snap(times: Tensor, grid: int) -> Tensor:
    """The nearest distinct times of the form i/grid; first, last and number of times stay the same.

    For networks that know only the times of their chain. Raises InputError for more steps than the chain has.
    """
    steps = len(times) - 1
    if steps > grid:
        raise InputError(
            f"steps: {steps} is more than the {grid} that this model was trained with; give at most {grid}"
        )
    count = torch.arange(steps + 1)
    rising = (times.flip(0) * grid + 0.5).floor().long()
    rising = (rising - count).cummax(0).values + count  # all distinct …
    rising = torch.minimum(rising, grid - steps + count)  # … and none past the end
    return rising.flip(0).double() / grid


TIME_GRIDS: Final[dict[str, TimeGrid]] = {
    "uniform": lambda _, steps, __: uniform(steps),
    "quadratic": lambda _, steps, __: quadratic(steps),
    "log_snr": lambda schedule, steps, _: log_snr(schedule, steps),
    "karras": lambda schedule, steps, _: karras(schedule, steps),
    "log_ratio": log_ratio,
    "renoised": renoised,
    "fitted": fitted,
}

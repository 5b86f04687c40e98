"""SDEdit: noise data to a level and denoise them (Meng et al. 2022, "Guided image synthesis and editing with SDEs").

    x_t = alpha_t x_0 + sigma_t z,      then the sampler's own steps from t to the data

If x_0 follows the data distribution, so does the result, at every t: the more noise, the less of x_0 it retains.

The noise level is set by a *strength* in [0, 1] with the same meaning on every schedule, the ratio of noise to data of
standard deviation s:

    sigma/(alpha s) = tan(π/2 strength)

0 is no noise, 1/2 as much noise as data, 1 pure noise; the angle is the φ of `sumi.sampling.solvers.runge_kutta`. If a
schedule ends with less noise than a strength means, its end is used.
"""

from math import log, pi, tan

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.process.schedule import DATA, NoiseLevel, Schedule, noise_level
from sumi.sampling.time_grid import snap


def at_strength(schedule: Schedule, strength: float, data_std: float, grid: int | None = None) -> NoiseLevel:
    """The noise level of a strength in [0, 1] (module docstring): `DATA` for 0, t = 1 for 1.

    ``data_std``: s > 0. ``grid``: T where a network knows only the times i/T; then the nearest of them after 0. Raises
    InputError for another strength.
    """
    if not 0 <= strength <= 1:
        raise InputError(f"strength: {strength:g} is not between 0 (what was given) and 1 (nothing of it)")
    if strength == 0:
        return DATA
    if strength == 1:
        return noise_level(schedule, 1.0)
    ratio = data_std * tan(pi / 2 * strength)
    t = float(schedule.time(torch.tensor(-2 * log(ratio), dtype=torch.float64)))
    if grid is not None:
        t = max(1, round(t * grid)) / grid
    now = noise_level(schedule, t)
    return now if now.sigma else DATA


def rest_of(times: Tensor, t: float) -> Tensor:
    """The remaining part of a sampler's ``times`` from t on, starting with t: at least one step; all of them for t = 1.

    Of times that restart, a restart goes up no further than the last time below t, and where it has none to go to it is
    left out.
    """
    if t == 1:
        return times
    left = times[times < t].unique_consecutive()
    return torch.cat([times.new_tensor([t]), left if len(left) else times[-1:]])


def spread(times: Tensor, steps: int, grid: int | None = None) -> Tensor:
    """``steps`` steps evenly spaced among the falling ``times`` (M + 1,), M ≥ steps, with the same ends: (steps + 1,).

    ``grid``: T where a network knows only the times i/T.
    """
    places = torch.linspace(0, len(times) - 1, steps + 1, dtype=torch.float64)
    below = places.long().clamp(max=len(times) - 2)
    found = torch.lerp(times[below], times[below + 1], places - below)
    return found if grid is None else snap(found, grid)

"""Noising to a level and back (Meng et al. 2022, "SDEdit: guided image synthesis and editing with SDEs").

    x_t = alpha_t x_0 + sigma_t z,      then the sampler's own steps from t to the data

Where x_0 is a draw of the data, so is what comes back, at every t: the more noise, the less of x_0 is left in it.

How far to go is a *strength* in [0, 1] that means the same on every schedule, since it says how much noise there is
beside the data, whose deviation is s:

    sigma/(alpha s) = tan(π/2 strength)

At 0 there is none, at 1/2 as much noise as data, at 1 noise alone; as an angle it is the φ in which
`sumi.sampling.solvers.runge_kutta` walks. A schedule that ends with less noise than a strength asks for is at its end.
"""

from math import log, pi, tan

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.process.schedule import DATA, NoiseLevel, Schedule, noise_level


def at_strength(schedule: Schedule, strength: float, data_std: float, grid: int | None = None) -> NoiseLevel:
    """The level that a strength in [0, 1] means (module docstring): `DATA` for 0, t = 1 for 1.

    ``data_std``: s > 0. ``grid``: T where a network knows only the times i/T; then the nearest of them after 0. Raises
    InputError.
    """
    if not 0 <= strength <= 1:
        raise InputError(f"strength: {strength:g} is not between 0 (the image itself) and 1 (nothing of it)")
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
    """What is left of a sampler's falling ``times`` from the time t on, with t itself first: at least one step."""
    left = times[times < t]
    return torch.cat([times.new_tensor([t]), left if len(left) else times[-1:]])

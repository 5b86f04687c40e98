"""The only sampling loop: pure solver steps along the times, from noise to data.

t = 0 *is* data: if the last time is 0, sampling ends at sigma = 0 exactly, even if the schedule has sigma(0) > 0.
Inversion from data to noise (`sumi.sampling.inversion`) starts there likewise.
"""

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from sumi.boundary.arguments import shown
from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.process.schedule import DATA, NoiseLevel, noise_levels
from sumi.sampling.solvers.solver import Noise, Solver, State, StepNoise

Callback = Callable[[int, NoiseLevel, Tensor], None]


def sample(
    denoiser: Denoiser,
    solver: Solver[State],
    times: Tensor,
    x: Tensor,
    noise: Noise | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """x at ``times[0]`` taken to ``times[-1]``, or to the data where that is 0.

    ``times``: falling, float64 (K + 1,), for K steps; the last two may both be 0 where sigma(0) > 0. Or rising, for a
    solver that works in that direction, and then the first two. ``x``: (N, …). ``noise(step, purpose, draw)``: standard
    normal noise shaped like x; deterministic solvers never call it. ``callback(step, level, x)`` gets the state after
    each step. The schedule is evaluated once, for all times together. Raises InputError for what is no solver or no
    denoiser.
    """
    if isinstance(solver, type) or not hasattr(solver, "step"):
        raise InputError(f"solver: {shown(solver)} is no solver; give one, such as sumi.solvers.DDIM()")
    if not hasattr(denoiser, "schedule"):
        raise InputError(f"denoiser: {shown(denoiser)} has no schedule; give sumi.FunctionDenoiser(f, schedule)")
    state = solver.init()
    walk = list(noise_levels(denoiser.schedule, times))
    if walk[-1].t == 0:
        walk[-1] = DATA
    elif walk[0].t == 0:
        walk[0] = DATA
    for step, (t, s) in enumerate(pairwise(walk)):
        x, state = solver.step(denoiser, x, t, s, state, StepNoise(noise, step))
        if callback is not None:
            callback(step, s, x)
    return x

"""The only sampling loop: walk the times from noise to data, one pure step after the other.

t = 0 *is* data: a walk whose last time is 0 ends at sigma = 0 exactly, also for a schedule with sigma(0) > 0. The way
from data to noise (`sumi.sampling.inversion`) begins there in the same sense.
"""

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from sumi.denoising.denoiser import Denoiser
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
    """x at ``times[0]`` carried to ``times[-1]``, or to the data where that is 0.

    ``times``: falling, float64 (K + 1,), for K steps; the last two may both be 0 where sigma(0) > 0. Or rising, for a
    solver that goes that way, and then the first two. ``x``: (N, …).
    ``noise(step, purpose, draw)``: standard normal noise shaped like x; a solver that needs none never calls it.
    ``callback(step, level, x)`` sees the state after each step. The schedule is evaluated once, for all the times
    together.
    """
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

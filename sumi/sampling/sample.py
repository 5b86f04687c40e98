"""The only sampling loop: walk the times from noise to data, one pure step after the other."""

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.process.noise import Purpose
from sumi.process.schedule import NoiseLevel, levels
from sumi.sampling.solvers.solver import Solver, State

Callback = Callable[[int, NoiseLevel, Tensor], None]


def sample(
    denoiser: Denoiser,
    solver: Solver[State],
    times: Tensor,
    x: Tensor,
    noise: Callable[[int, Purpose], Tensor] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """x at ``times[0]`` carried to ``times[-1]``.

    ``times``: decreasing, float64 (K + 1,), for K steps. ``x``: (N, …). ``noise(step, purpose)``: standard normal noise
    shaped like x; a solver that needs none never calls it. ``callback(step, level, x)`` sees the state after each step.
    The schedule is evaluated once, for all the times together.
    """
    state = solver.init()
    for step, (t, s) in enumerate(pairwise(levels(denoiser.schedule, times))):
        x, state = solver.step(denoiser, x, t, s, state, (lambda purpose, k=step: noise(k, purpose)) if noise else None)
        if callback is not None:
            callback(step, s, x)
    return x

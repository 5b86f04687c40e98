"""An adaptive solver: `sumi.sampling.dormand_prince` on the probability-flow ODE, with a step size for every sample.

It integrates dy/dφ = v̂ in the angle φ of `runge_kutta`, in which y has unit power at every level, so that one absolute
tolerance means the same from noise to data. A sample's result does not depend on its batch.

ε̂ cannot be evaluated at σ = 0: a step to the data goes to ``smallest``, or the schedule's own smallest σ̂, then to x̂_0.
"""

from dataclasses import dataclass, field
from math import atan, cos, sin, tan
from typing import Final

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError, SumiError
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel, deviation, noise_level
from sumi.sampling.dormand_prince import State, Stuck, Tolerance, Walk, integrate
from sumi.sampling.solvers.runge_kutta import angle
from sumi.sampling.solvers.solver import StepNoise
from sumi.sampling.time_grid import SMALLEST

FIRST_STEP: Final = 0.1  # radians, of the π/2 from noise to data


@dataclass(frozen=True, slots=True)
class AdaptiveState:
    """For each sample the step size it would take next, float64 (N,), and its evaluations so far, int64 (N,)."""

    step_size: Tensor
    evaluations: Tensor


@dataclass(frozen=True)
class Adaptive:
    """Steps of their own between the grid's times, as many as the tolerances ask for. One step of the grid is enough.

    One evaluation and then six for every step tried; state.evaluations counts each sample's. ``order`` is that of its
    own steps, which the grid's intervals are where they are short.
    """

    off_grid = True
    order = 5
    draws_noise = False

    rtol: float = field(default=1e-3, metadata={"help": "error of a step allowed for each unit of |x|, > 0"})
    atol: float = field(default=1e-3, metadata={"help": "error of a step allowed besides, > 0"})
    smallest: float = field(default=SMALLEST, metadata={"help": "sigma/alpha from where the data are reached, > 0"})
    max_steps: int = field(default=1000, metadata={"help": "steps tried between two times before giving up"})

    def __post_init__(self) -> None:
        for name in ("rtol", "atol", "smallest", "max_steps"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name}: {getattr(self, name)} is not positive")

    def init(self) -> AdaptiveState:
        return AdaptiveState(torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.int64))

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: AdaptiveState, noise: StepNoise
    ) -> tuple[Tensor, AdaptiveState]:
        """All samples carried from t to s, x of shape (N, …); draws no noise.

        Raises SumiError, naming the row, for a sample that is not there after ``max_steps`` or is no longer finite.
        """
        del noise
        if not len(state.step_size):
            state = AdaptiveState(torch.full((len(x),), FIRST_STEP).double(), torch.zeros(len(x), dtype=torch.int64))
        end = (
            angle(s) if s.sigma else min(angle(t), max(atan(self.smallest), angle(noise_level(denoiser.schedule, 0.0))))
        )
        size = deviation(t)
        walk = Walk((x / size,), (denoiser(x, t).velocity / size,), state.step_size, state.evaluations + 1)

        def slope(phi: Tensor, y: State) -> State:
            """v̂ = dy/dφ at the angles phi (N,)."""
            now = noise_level(denoiser.schedule, denoiser.schedule.time(-2 * phi.tan().log()))
            size = expand(deviation(now), y[0])
            return (denoiser(size * y[0], now).velocity / size,)

        try:
            walk = integrate(slope, walk, angle(t), end, [Tolerance(self.rtol, self.atol)], self.max_steps)
        except Stuck as stuck:
            if stuck.how == "still":
                advice = f" after {self.max_steps} steps; raise rtol and atol, or max_steps"
            else:
                advice = "; check the model there, or sample with ddim"
            where = f"row {stuck.row} of the batch is {stuck.how} at σ̂ = {tan(stuck.place):.3g}"
            raise SumiError(f"solver: {where}{advice}") from None
        (y,), (v,), state = walk.y, walk.slope, AdaptiveState(walk.step_size, walk.evaluations)
        if s.sigma == 0:
            return cos(end) * y - sin(end) * v, state
        return deviation(s) * y, state

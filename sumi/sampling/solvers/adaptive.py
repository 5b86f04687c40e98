"""An adaptive solver: Dormand & Prince's embedded pair of orders 5 and 4, with a step size for every sample.

It integrates dy/dφ = v̂ in the angle φ of `runge_kutta`, in which y has unit power at every level, so that one absolute
tolerance means the same from noise to data. The two orders differ by an estimate e of a step's error. A step of h is
accepted where

    err = √(mean of (e/(atol + rtol max(|y|, |y'|)))²) ≤ 1,     and the next is     h · min(5, max(1/5, 0.9 err^(-1/5)))

(Hairer, Nørsett & Wanner, "Solving ordinary differential equations I", section II.4). Every sample has its own φ and h
and is accepted or rejected alone: its result does not depend on its batch. All are evaluated together, those that have
arrived with a step of 0, because a denoiser may hold something for each row, such as a label.

ε̂ cannot be evaluated at σ = 0: a step to the data goes to ``smallest``, or the schedule's own smallest σ̂, then to x̂_0.
"""

from dataclasses import dataclass, field
from math import atan, cos, sin
from typing import Final

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError, SumiError
from sumi.process.forward import expand
from sumi.process.schedule import NoiseLevel, Schedule, deviation, level
from sumi.sampling.solvers.runge_kutta import Row, angle
from sumi.sampling.solvers.solver import StepNoise
from sumi.sampling.time_grid import SMALLEST

STAGES: Final[tuple[Row, ...]] = (  # the last is the step of fifth order
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERROR: Final[Row] = (71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
FIRST_STEP: Final = 0.1  # radians, of the π/2 from noise to data


@dataclass(frozen=True, slots=True)
class AdaptiveState:
    """For each sample the step size it would take next, float64 (N,), and its evaluations so far, int64 (N,)."""

    step_size: Tensor
    evaluations: Tensor


@dataclass(frozen=True)
class Adaptive:
    """Steps of their own between the grid's times, as many as the tolerances ask for. One step of the grid is enough.

    One evaluation and then six for every step tried; state.evaluations counts each sample's.
    """

    off_grid = True

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
        end = angle(s) if s.sigma else min(angle(t), max(atan(self.smallest), angle(level(denoiser.schedule, 0.0))))
        size = deviation(t)
        y, slope = x / size, denoiser(x, t).velocity / size
        y, slope, state = _integrate(self, denoiser, y, slope, angle(t), end, state)
        if s.sigma == 0:
            return cos(end) * y - sin(end) * slope, state
        return deviation(s) * y, state


def _integrate(
    solver: Adaptive, denoiser: Denoiser, y: Tensor, slope: Tensor, start: float, end: float, state: AdaptiveState
) -> tuple[Tensor, Tensor, AdaptiveState]:
    """y and v̂ carried from the angle ``start`` to ``end``, every sample by steps of its own."""
    h, evaluations = state.step_size, state.evaluations + 1
    phi = torch.full_like(h, start)
    tried = 0
    while bool((left := phi - end).any()):
        if tried == solver.max_steps:
            advice = f" after {tried} steps; raise rtol and atol, or max_steps"
            raise _stuck(int(left.argmax()), "still", phi, advice)
        tried += 1
        trial = torch.minimum(h, left)
        y_new, slope_new, error = _attempt(denoiser, y, slope, phi, -trial)
        allowed = solver.atol + solver.rtol * torch.maximum(y.abs(), y_new.abs())
        err = (error / allowed).flatten(1).square().mean(1).sqrt().to("cpu", torch.float64)
        if not bool((finite := err.isfinite()).all()):
            raise _stuck(
                int(finite.int().argmin()), "no longer finite", phi, "; check the model there, or sample with ddim"
            )
        accepted = err <= 1
        taken = accepted.to(y.device).reshape(-1, *(1,) * (y.ndim - 1))
        y, slope = torch.where(taken, y_new, y), torch.where(taken, slope_new, slope)
        phi = torch.where(accepted, torch.where(trial < left, phi - trial, end), phi)
        proposed = trial * (0.9 * err.pow(-1 / 5)).clamp(1 / 5, 5)
        h = torch.where(accepted & (trial < h), torch.maximum(h, proposed), proposed)
        evaluations = evaluations + 6 * (trial > 0)
    return y, slope, AdaptiveState(h, evaluations)


def _stuck(row: int, how: str, phi: Tensor, advice: str) -> SumiError:
    return SumiError(f"solver: row {row} of the batch is {how} at σ̂ = {float(phi[row].tan()):.3g}{advice}")


def _attempt(denoiser: Denoiser, y: Tensor, slope: Tensor, phi: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """y and v̂ after steps of h (N,) from the angles phi (N,), and the estimate of the error."""
    slopes, stage = [slope], y
    for row in STAGES:
        stage = y + _combine(h, row, slopes)
        slopes.append(_slope(denoiser, stage, phi + h * sum(row)))
    return stage, slopes[-1], _combine(h, ERROR, slopes)


def _combine(h: Tensor, weights: Row, slopes: list[Tensor]) -> Tensor:
    total = torch.zeros_like(slopes[0])
    for weight, slope in zip(weights, slopes, strict=True):
        total = total + expand(h * weight, slope) * slope
    return total


def _slope(denoiser: Denoiser, y: Tensor, phi: Tensor) -> Tensor:
    """v̂ = dy/dφ at the angles phi (N,)."""
    schedule: Schedule = denoiser.schedule
    now = level(schedule, schedule.time(-2 * phi.tan().log()))
    size = expand(deviation(now), y)
    return denoiser(size * y, now).velocity / size

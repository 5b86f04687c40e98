"""Heun's method and churn (Karras et al. 2022, "Elucidating the design space", algorithms 1 and 2).

In σ̂ = sigma/alpha every schedule has the same probability-flow ODE, d(x/alpha)/dσ̂ = ε̂. Euler's step with ε̂_t is DDIM;
Heun's repeats it with the mean of the slopes at both ends:

    x_s' = alpha_s x̂_0 + sigma_s ε̂_t,      x_s = x_s' + alpha_s (σ̂_s - σ̂_t) (ε̂_s - ε̂_t)/2

A step to the data is Euler's, since ε̂ cannot be evaluated there. So is one from σ̂ > 1000, where hardly anything is left
of the data: the difference of two ε̂ times σ̂ would keep no more than three of float32's digits, and from σ̂ = ∞ none.
The second evaluation magnifies what x̂_0 changes from t to s by σ̂_t/2σ̂_s, so neighbouring σ̂ of the grid should have
moderate ratios: on the mixture of the tests and the linear chain, 20 steps end 0.04 from the data if they are even in
t, 0.011 on Karras' grid.

Churn first raises the level from t to t̂, σ̂_t̂ = (1 + γ) σ̂_t, with fresh noise, which mends errors of earlier steps:

    x_t̂ = a x_t + S_noise √v z          (a and v of the transition from t to t̂)
"""

from dataclasses import dataclass, field
from math import log1p, sqrt
from typing import Final, Generic

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.process.gaussian import transition
from sumi.process.schedule import NoiseLevel, noise_level, noise_ratio
from sumi.randomness import Purpose
from sumi.sampling.solvers.solver import Solver, State, StepNoise

LARGEST: Final = 1000.0


@dataclass(frozen=True)
class Heun:
    """Heun's method in σ̂ (module docstring): order 2; two evaluations a step, one in the last."""

    off_grid = False
    order = 2
    draws_noise = False

    def init(self) -> None:
        return None

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: None, noise: StepNoise
    ) -> tuple[Tensor, None]:
        """One step (module docstring), x of shape (N, …); draws no noise."""
        del noise
        now = denoiser(x, t)
        x_s = s.alpha * now.clean + s.sigma * now.noise
        if s.sigma == 0 or t.sigma > LARGEST * t.alpha:
            return x_s, state
        half = float(s.sigma - s.alpha * noise_ratio(t)) / 2
        return x_s + half * (denoiser(x_s, s).noise - now.noise), state


@dataclass(frozen=True)
class Churn(Generic[State]):
    """Any one-step solver, started at a raised noise level; evaluations as the solver's.

    γ of a step is min(S_churn/K, √2 - 1) for K steps in the paper, whose values for ImageNet are S_churn = 40, K = 256,
    S_min = 0.05, S_max = 50, S_noise = 1.003. Levels end where the schedule does.
    """

    off_grid = True

    solver: Solver[State]
    churn: float = field(default=40 / 256, metadata={"help": "γ, by which σ̂ rises before a step, in [0, √2 - 1]"})
    churn_min: float = field(default=0.05, metadata={"help": "S_min: no churn at σ̂ below"})
    churn_max: float = field(default=50.0, metadata={"help": "S_max: no churn at σ̂ above"})
    noise_scale: float = field(default=1.0, metadata={"help": "S_noise, the fresh noise's standard deviation, > 0"})

    def __post_init__(self) -> None:
        if not 0 <= self.churn <= sqrt(2) - 1:
            raise InputError(
                f"churn: {self.churn} is not between 0 and √2 - 1; the paper's S_churn/steps is at most that"
            )
        if not 0 <= self.churn_min <= self.churn_max:
            raise InputError(f"churn_min: {self.churn_min} is not between 0 and churn_max = {self.churn_max}")
        if not self.noise_scale > 0:
            raise InputError(f"noise_scale: {self.noise_scale} is not positive; give 1, or slightly more")

    @property
    def order(self) -> int:
        """The solver's, where γ falls with the number of steps as the paper's S_churn/K does."""
        return self.solver.order

    @property
    def draws_noise(self) -> bool:
        """For γ > 0."""
        return self.churn > 0 or self.solver.draws_noise

    def init(self) -> State:
        return self.solver.init()

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: State, noise: StepNoise
    ) -> tuple[Tensor, State]:
        """Up to t̂, then the solver's step to s, x of shape (N, …). Raises InputError where noise is needed and none is
        offered."""
        if self.churn and self.churn_min * t.alpha <= t.sigma <= self.churn_max * t.alpha:
            log_snr = torch.tensor(t.log_snr - 2 * log1p(self.churn), dtype=torch.float64)
            raised = noise_level(denoiser.schedule, float(denoiser.schedule.time(log_snr)))
            kernel = transition(t, raised)
            x = kernel.scale * x + self.noise_scale * sqrt(max(0.0, float(kernel.variance))) * noise(Purpose.CHURN)
            t = raised
        return self.solver.step(denoiser, x, t, s, state, noise)

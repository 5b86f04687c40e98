"""Diffusion posterior sampling (DPS, Chung et al. 2023, algorithm 1): a gradient step with each solver step.

    x_s ← solver's x_s - ζ ∇_{x_t} ‖y - A(x̂_0(x_t))‖

p(y | x_0 = x̂_0) approximates the likelihood p(y | x_t). Its weight 1/(2 s²) would make solvers unstable, so ζ over the
distance replaces it, as in the authors' code (the paper's ζ' in ζ_i = ζ'/‖y - A(x̂_0)‖ is half of ζ). A only needs a
gradient; it may be nonlinear.

It is never exact: the step length depends neither on s nor on the noise level, and the total on the number of steps.
Samples end near the set A x = y, with a spread that ζ and the grid decide.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoised, Denoiser
from sumi.errors import InputError
from sumi.process.schedule import NoiseLevel, Schedule, Time
from sumi.restoration.measurement import Measurement
from sumi.sampling.solvers.solver import AroundSolver, State, StepNoise


@dataclass(frozen=True)
class DPS(AroundSolver[State]):
    """A solver with DPS's gradient (module docstring), at the cost of one backward pass per step.

    The solver reuses the evaluation at (x_t, t). ``zeta``: > 0, in units of the data for measurements of their size;
    the paper uses 0.3 to 1 (of its ζ') with 1000 steps.
    """

    measurement: Measurement
    zeta: float = 1.0
    order = 0

    def __post_init__(self) -> None:
        if not self.zeta > 0:
            raise InputError(f"zeta: {self.zeta} is not positive; the paper uses 0.3 to 1")

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: State, noise: StepNoise
    ) -> tuple[Tensor, State]:
        """x (N, …) from t to s. Raises InputError for shapes that do not fit."""
        with torch.inference_mode(False), torch.enable_grad():
            point = x.detach().clone().requires_grad_()
            denoised = denoiser(point, t)
            distance = self.measurement.residual(denoised.clean).flatten(1).norm(dim=1)
            (gradient,) = torch.autograd.grad(distance.sum(), point)
        clean = denoised.clean.detach()
        known = Denoised(clean, x, denoised.alpha, denoised.sigma, denoised.clean_variance)
        x_s, state = self.solver.step(_Evaluated(denoiser, x, t, known), x, t, s, state, noise)
        return x_s - self.zeta * gradient, state


@dataclass(frozen=True)
class _Evaluated:
    """A denoiser with a cached evaluation at one point."""

    denoiser: Denoiser
    x: Tensor
    t: NoiseLevel
    denoised: Denoised

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        return self.denoised if x_t is self.x and t is self.t else self.denoiser(x_t, t)

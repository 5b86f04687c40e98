"""Euler-Maruyama on the reverse SDE (Song et al. 2021, "Score-based generative modeling through SDEs", eq. 6).

    forward    dx = f x dt + g dw,       f = alpha'/alpha,      g² = 2 sigma (sigma' - f sigma)
    reverse    dx = [f x - (1 + λ²)/2 · g² ∇ log p] dt + λ g dw̄

λ = 1 is the paper's reverse SDE, λ = 0 the probability-flow ODE, any λ has the same marginals (Zhang & Chen 2023, "Fast
sampling of diffusion models with exponential integrator", eq. 5). With ∇ log p = -ε̂/sigma and h = t - s,

    x_s = x_t - h [f x_t + (1 + λ²)(sigma' - f sigma) ε̂] + λ g √h z,                   of weak order 1.

Two steps have infinite coefficients and known answers. To the data (sigma' = ∞ where sigma grows like √t) the step is
x̂_0 = E[x_0 | x_t], the mean of the exact kernel, which adds no noise that nothing would take away again. From
alpha_t = 0 (f = -∞) x_t holds nothing of x_0, and x_s is drawn from N(alpha_s x̂_0, sigma_s²) as DDIM with η = λ does.
"""

from dataclasses import dataclass, field
from math import sqrt

from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.process.schedule import NoiseLevel, wronskian
from sumi.randomness import Purpose
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.solver import StepNoise


@dataclass(frozen=True)
class EulerMaruyama:
    """The reverse SDE in steps of t, one evaluation each. Wants hundreds of steps: DDIM's family needs fewer."""

    off_grid = False
    order = 1

    stochasticity: float = field(default=1.0, metadata={"help": "λ: 1 is the reverse SDE, 0 its ODE, in [0, 1]"})

    def __post_init__(self) -> None:
        if not 0 <= self.stochasticity <= 1:
            raise InputError(f"stochasticity: {self.stochasticity} is not between 0 (the ODE) and 1 (the reverse SDE)")

    @property
    def draws_noise(self) -> bool:
        """For λ > 0."""
        return self.stochasticity > 0

    def init(self) -> None:
        return None

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: None, noise: StepNoise
    ) -> tuple[Tensor, None]:
        """One step (module docstring), x of shape (N, …). Raises InputError where λ > 0 and no noise is offered."""
        if s.sigma == 0:
            return denoiser(x, t).clean, state
        if t.alpha == 0:
            return DDIM(eta=self.stochasticity).step(denoiser, x, t, s, state, noise)
        h = float(t.t - s.t)
        f = float(t.alpha_slope / t.alpha)
        rise = float(wronskian(t) / t.alpha)  # sigma' - f sigma = g²/(2 sigma)
        x_s = x * (1 - h * f) - denoiser(x, t).noise * (h * (1 + self.stochasticity**2) * rise)
        if self.stochasticity:
            x_s.add_(noise(Purpose.STEP), alpha=self.stochasticity * sqrt(2 * float(t.sigma) * rise * h))
        return x_s, state

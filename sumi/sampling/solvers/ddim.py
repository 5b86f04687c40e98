"""The DDIM family (Song et al. 2021, "Denoising diffusion implicit models", eqs. 12 and 16).

    x_s = alpha_s x̂_0 + √(sigma_s² - τ²) ε̂ + τ z,          τ² = η² · Var(x_s | x_t, x_0)

η = 0 is deterministic DDIM, the first-order exponential integrator of the probability-flow ODE; η = 1 has the mean and
variance of the posterior q(x_s | x_t, x̂_0): it *is* the ancestral sampler of DDPM (Ho et al. 2020, algorithm 2), for
any two times. With variance = "large" the noise z gets the transition's variance v instead of the posterior's (the
paper's σ_t² = β_t against β̃_t), exact for N(0, I) data where "small" is exact for a single point. The last step adds no
noise.
"""

from dataclasses import dataclass, field
from math import sqrt
from typing import Literal

from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.process.forward import noise_fraction
from sumi.process.noise import Purpose
from sumi.process.schedule import NoiseLevel
from sumi.sampling.solvers.solver import StepNoise


@dataclass(frozen=True)
class DDIM:
    """DDIM for any η in [0, 1]; DDPM's ancestral sampler at η = 1."""

    off_grid = False

    eta: float = field(default=0.0, metadata={"help": "0: deterministic DDIM; 1: DDPM's ancestral sampling"})
    variance: Literal["small", "large"] = field(
        default="small", metadata={"help": "of the noise: posterior's (β̃) or transition's (β)"}
    )

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise InputError(f"eta: {self.eta} is not between 0 (DDIM) and 1 (DDPM)")
        if self.variance not in ("small", "large"):
            raise InputError(f"variance: {self.variance!r} is not one of small, large")

    def init(self) -> None:
        return None

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: None, noise: StepNoise
    ) -> tuple[Tensor, None]:
        """One step (module docstring), x of shape (N, …). Raises InputError where η > 0 and no noise is offered."""
        added = float(noise_fraction(s, t))  # v/sigma_t²
        posterior_std = self.eta * float(s.sigma) * sqrt(added)
        noise_std = posterior_std if self.variance == "small" else self.eta * float(t.sigma) * sqrt(added)
        of_x = sqrt(float(s.sigma) ** 2 - posterior_std**2) / float(t.sigma)
        x_s = (denoiser(x, t).clean * (float(s.alpha) - of_x * float(t.alpha))).add_(x, alpha=of_x)
        if s.sigma and noise_std:
            x_s.add_(noise(Purpose.STEP), alpha=noise_std)
        return x_s, state

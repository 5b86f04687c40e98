"""The DDIM family (Song et al. 2021, "Denoising diffusion implicit models", eqs. 12 and 16).

    x_s = alpha_s x̂_0 + √(sigma_s² - τ²) ε̂ + τ z,          τ² = η² · Var(x_s | x_t, x_0)

η = 0 is deterministic DDIM, the first-order exponential integrator of the probability-flow ODE; η = 1 has the mean and
variance of the posterior q(x_s | x_t, x̂_0): it *is* the ancestral sampler of DDPM (Ho et al. 2020, algorithm 2), for
any two times. With variance = "large" the noise z gets the transition's variance v instead of the posterior's (the
paper's σ_t² = β_t against β̃_t), exact for N(0, I) data where "small" is exact for a single point. With "learned" it is

    Var(x_s | x_t) = η² Var(x_s | x_t, x_0) + (alpha_s - alpha_t √(sigma_s² - τ²)/sigma_t)² Var(x_0 | x_t),

where the denoiser says the last factor (Nichol & Dhariwal 2021 at η = 1): the mean's own coefficient of x̂_0, squared,
times what x̂_0 does not know. The last step adds no noise, and η = 0 none whatever the variance.
"""

from dataclasses import dataclass, field
from math import sqrt
from typing import Literal

from torch import Tensor

from sumi.denoising.denoiser import Denoised, Denoiser
from sumi.errors import InputError
from sumi.process.gaussian import noise_fraction
from sumi.process.schedule import NoiseLevel, Number
from sumi.randomness import Purpose
from sumi.sampling.solvers.solver import StepNoise


@dataclass(frozen=True)
class DDIM:
    """DDIM for any η in [0, 1]; DDPM's ancestral sampler at η = 1."""

    off_grid = False

    eta: float = field(default=0.0, metadata={"help": "0: deterministic DDIM; 1: DDPM's ancestral sampling"})
    variance: Literal["small", "large", "learned"] = field(
        default="small", metadata={"help": "of the noise: posterior's (β̃), transition's (β), or the denoiser's own"}
    )

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise InputError(f"eta: {self.eta} is not between 0 (DDIM) and 1 (DDPM)")
        if self.variance not in ("small", "large", "learned"):
            raise InputError(f"variance: {self.variance!r} is not one of small, large, learned")

    @property
    def order(self) -> int:
        """1; 2 with the learned variance, with which x_s has its true mean and variance given x_t."""
        return 2 if self.draws_noise and self.variance == "learned" else 1

    @property
    def draws_noise(self) -> bool:
        """For η > 0."""
        return self.eta > 0

    def init(self) -> None:
        return None

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: None, noise: StepNoise
    ) -> tuple[Tensor, None]:
        """One step (module docstring), x of shape (N, …). Raises InputError where η > 0 and no noise is offered."""
        added = float(noise_fraction(s, t)) if self.eta else 0.0  # v/sigma_t²; η = 0 also goes towards noise
        posterior_std = self.eta * float(s.sigma) * sqrt(added)
        noise_std = self.eta * float(t.sigma) * sqrt(added) if self.variance == "large" else posterior_std
        of_x = sqrt(float(s.sigma) ** 2 - posterior_std**2) / float(t.sigma)
        denoised = denoiser(x, t)
        of_clean = float(s.alpha) - of_x * float(t.alpha)
        x_s = (denoised.clean * of_clean).add_(x, alpha=of_x)
        if s.sigma and self.eta and self.variance == "learned":
            x_s.add_(noise(Purpose.STEP) * self._learned_std(denoised, posterior_std**2, of_clean))
        elif s.sigma and noise_std:
            x_s.add_(noise(Purpose.STEP), alpha=noise_std)
        return x_s, state

    @staticmethod
    def _learned_std(denoised: Denoised, posterior_variance: float, of_clean: float) -> Number:
        if denoised.clean_variance is None:
            raise InputError("variance: this model has learned none; choose ddpm, or train with variance=learned")
        match posterior_variance + of_clean**2 * denoised.clean_variance:
            case Tensor() as variance:
                return variance.clamp(min=0.0).sqrt()
            case variance:
                return max(0.0, variance) ** 0.5

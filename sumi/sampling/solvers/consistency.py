"""Solvers of models of few steps (Song et al. 2023, "Consistency models"; Geng et al. 2025, "Mean flows").

A consistency model's D(x_t, t) is not the mean of x_0 but the end of the ODE through x_t. One evaluation is a sample.
More steps noise it again to the next level (Song et al. 2023, algorithm 1):

    x_s = alpha_s D(x_t, t) + sigma_s z

A mean flow's denoiser also knows where its step goes: D(x_t, t → s) is the x̂_0 that takes the whole way to x_s in one
step of DDIM,

    x_s = alpha_s D(x_t, t → s) + sigma_s (x_t - alpha_t D(x_t, t → s))/sigma_t.

Of a denoiser that does not know, that is DDIM, of order 1; with s = 0, it is a consistency model.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.process.schedule import NoiseLevel
from sumi.randomness import Purpose
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.solver import StepNoise


@dataclass(frozen=True)
class Consistency:
    """``order`` 0: of a mean of x_0 instead of a consistency function, it comes to rest away from the data."""

    off_grid = False
    order = 0
    draws_noise = True

    def init(self) -> None:
        return None

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: None, noise: StepNoise
    ) -> tuple[Tensor, None]:
        """One evaluation at t, noised to s, shape (N, …). Raises InputError where no noise is offered."""
        clean = denoiser(x, t).clean
        if s.sigma == 0:
            return clean, state
        return (clean * float(s.alpha)).add_(noise(Purpose.STEP), alpha=float(s.sigma)), state


@dataclass(frozen=True)
class MeanFlow:
    """One step of DDIM with the mean of its way."""

    off_grid = False
    order = 1
    draws_noise = False

    def init(self) -> None:
        return None

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: None, noise: StepNoise
    ) -> tuple[Tensor, None]:
        """One evaluation at t of the way to s, x of shape (N, …)."""
        return DDIM().step(denoiser, x, replace(t, until=s), s, state, noise)

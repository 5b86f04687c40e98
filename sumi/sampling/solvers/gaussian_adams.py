"""Adams-Bashforth that carries the Gaussian part of the data exactly.

For data N(m, Σ) with eigenvalues λ the ODE dx̂/dσ̂ = ε is linear, and (x̂ - m)/√(λ + σ̂²) stays what it is in every
eigendirection. For other data with these moments only the residual is left to integrate numerically:

    r = ε - (x̂ - m) σ̂/(λ + σ̂²)
    x̂_s = m + R_s [(x̂_t - m)/R_t + Σ_j r_j ∫ l_j(v(σ̂))/R dσ̂],          R = √(λ + σ̂²)

with the polynomials of `sumi.sampling.solvers.adams`. On Gaussian data r = 0 and any number of steps is exact. On
others it helps where steps are few: the structure of the data on its large scales is in the moments. (That the first
steps of trained models are nearly those of a Gaussian: Wang & Vastola 2024.)
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.process.schedule import NoiseLevel, noise_ratio
from sumi.sampling.gaussian import Gaussian
from sumi.sampling.solvers.adams import Adams, History, known_end, lagrange, quadrature
from sumi.sampling.solvers.solver import StepNoise


@dataclass(frozen=True)
class GaussianAdams:
    """``adams`` on what is left when the flow of ``gaussian`` is taken out."""

    off_grid = False
    draws_noise = False

    gaussian: Gaussian
    adams: Adams = field(default_factory=Adams)

    @property
    def order(self) -> int:
        """As that of ``adams``."""
        return self.adams.order

    def init(self) -> History:
        return ()

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: History, noise: StepNoise
    ) -> tuple[Tensor, History]:
        """One step and one evaluation; x of shape (N, …). ``noise`` is not used."""
        del noise
        data, mean = self.gaussian, self.gaussian.mean.to(x.device, x.dtype).view(1, *x.shape[1:])
        variance = np.append(data.variances.numpy(), data.rest)
        var_t, var_s = (float(v.alpha) ** 2 * variance + float(v.sigma) ** 2 for v in (t, s))  # of x_t, x_s
        offset = x - float(t.alpha) * mean
        residual = denoiser(x, t).noise - self._scaled(offset, float(t.sigma) / var_t)
        history = ((noise_ratio(t), residual), *state)
        x_s = float(s.alpha) * mean + self._scaled(offset, np.sqrt(var_s / var_t))
        if t.alpha:  # where no data is left in x_t, it is noise alone: r = 0
            nodes = (*(node for node, _ in history), *known_end(t, s))
            for w, (_, r) in zip(self._weights(nodes, noise_ratio(s), variance), history, strict=False):
                x_s += self._scaled(r, w * np.sqrt(var_s))
        return x_s, self.adams.remembered(history)

    def _weights(self, nodes: tuple[float, ...], after: float, variance: np.ndarray) -> np.ndarray:
        """∫ l_j/R dσ̂ for every node j and eigenvalue: (J, R + 1)."""
        near, far = self.adams.near * self.adams.data_std, self.adams.far * self.adams.data_std
        at, weight = quadrature(nodes[0], after, near)
        return (lagrange(nodes, at, near, far) * weight) @ (1 / np.sqrt(at[:, None] ** 2 + variance))

    def _scaled(self, x: Tensor, factors: np.ndarray) -> Tensor:
        return self.gaussian.scaled(x, torch.from_numpy(factors[:-1]), float(factors[-1]))

"""Targets whose exact denoiser is known, and the exact recursion of any affine sampler on them.

For x_0 ~ N(m, c²) per dimension, E[x_0 | x_t] = m + (alpha c²/(alpha² c² + sigma²)) (x_t - alpha m), so one step of a
sampler that is affine in x_t and its noise is an affine map, and a whole run turns the mean and variance of its start
into those of its end with no sampling error.
"""

from dataclasses import dataclass, field
from math import exp, inf, log

import numpy as np
import torch
from scipy import integrate
from torch import Tensor

from sumi.denoising.denoiser import FunctionDenoiser
from sumi.process.schedule import NoiseLevel, Schedule
from sumi.randomness import Purpose
from sumi.sampling.sample import sample


@dataclass(frozen=True)
class GaussianTarget:
    """x_0 ~ N(mean, std²), independently in each dimension."""

    mean: float
    std: float

    def clean(self, x_t: Tensor, t: NoiseLevel) -> Tensor:
        gain = t.alpha * self.std**2 / (t.alpha**2 * self.std**2 + t.sigma**2)
        return self.mean + gain * (x_t - t.alpha * self.mean)

    def denoiser(self, schedule: Schedule) -> FunctionDenoiser:
        return FunctionDenoiser(self.clean, schedule)

    def flow(self, x_t: Tensor, t: NoiseLevel, s: NoiseLevel) -> Tensor:
        """Where the probability-flow ODE carries x_t at time t to at time s: the standardised value stays."""
        (mean_t, variance_t), (mean_s, variance_s) = self.marginal(t), self.marginal(s)
        return mean_s + (x_t - mean_t) * (variance_s / variance_t) ** 0.5

    def marginal(self, t: NoiseLevel) -> tuple[float, float]:
        """Mean and variance of x_t."""
        return t.alpha * self.mean, t.alpha**2 * self.std**2 + t.sigma**2


@dataclass(frozen=True)
class MixtureTarget:
    """A mixture of isotropic Gaussians: means (K, D), stds (K,), weights (K,), all float64."""

    means: Tensor
    stds: Tensor
    weights: Tensor
    carried: dict[tuple[bytes, NoiseLevel, NoiseLevel], Tensor] = field(default_factory=dict, compare=False, repr=False)
    """What `flow` has found: solvers are compared with one truth."""

    def clean(self, x_t: Tensor, t: NoiseLevel) -> Tensor:
        variance = t.alpha**2 * self.stds**2 + t.sigma**2
        offset = x_t[:, None] - t.alpha * self.means
        log_density = self.weights.log() - offset.square().sum(-1) / (2 * variance)
        log_density = log_density - x_t.shape[1] / 2 * variance.log()
        posterior = log_density.softmax(1)
        each = self.means + (t.alpha * self.stds**2 / variance)[:, None] * offset
        return (posterior[..., None] * each).sum(1)

    def denoiser(self, schedule: Schedule) -> FunctionDenoiser:
        return FunctionDenoiser(self.clean, schedule)

    def flow(self, x_t: Tensor, t: NoiseLevel, s: NoiseLevel) -> Tensor:
        """Where the probability-flow ODE carries x_t (N, D) at time t to at time s, to about 1e-11 (DOP853).

        In τ = log(σ̂ + 0.02): in the noise-to-signal ratio σ̂, x_t/alpha follows dx/dσ̂ = ε on every schedule.
        """
        key = (x_t.numpy().tobytes(), t, s)
        if key not in self.carried:
            self.carried[key] = self._carry(x_t, t, s)
        return self.carried[key].clone()

    def _carry(self, x_t: Tensor, t: NoiseLevel, s: NoiseLevel) -> Tensor:
        shift = 0.02
        noise = [0.0 if v.log_snr == inf else exp(-v.log_snr / 2) for v in (t, s)]

        def slope(tau: float, x: np.ndarray) -> np.ndarray:
            sigma = max(exp(tau) - shift, 1e-14)
            here = NoiseLevel(0.0, 1.0, sigma, -2 * log(sigma), 0.0, 0.0)
            x_hat = torch.from_numpy(x).view(x_t.shape)
            return ((x_hat - self.clean(x_hat, here)) * ((sigma + shift) / sigma)).reshape(-1).numpy()

        start = (x_t.double() / t.alpha).reshape(-1).numpy()
        ends = [log(v + shift) for v in noise]
        solution = integrate.solve_ivp(slope, ends, start, method="DOP853", rtol=1e-11, atol=1e-12)
        assert solution.success
        return torch.from_numpy(solution.y[:, -1].copy()).view(x_t.shape) * s.alpha


MIXTURE = MixtureTarget(
    torch.tensor([[-0.6, 0.2], [0.7, -0.1]], dtype=torch.float64),
    torch.tensor([0.1, 0.2]).double(),
    torch.tensor([0.3, 0.7]).double(),
)


def linear_probe(denoiser, solver, times: Tensor, start_mean: float, start_variance: float) -> tuple[float, float]:
    """Mean and variance of the output of the real sampler, from its response to zero and to a unit of each noise.

    For samplers that are affine in x and their noise, whatever they draw it for. The first run counts the draws.
    """
    draws: list[tuple[int, Purpose, int]] = []

    def count(step: int, purpose: Purpose, draw: int = 0) -> Tensor:
        assert (step, purpose, draw) not in draws, "the same noise twice"
        draws.append((step, purpose, draw))
        return torch.zeros(1, 1, dtype=torch.float64)

    sample(denoiser, solver, times, torch.full((1, 1), start_mean, dtype=torch.float64), count)
    rows = {source: 2 + k for k, source in enumerate(draws)}
    # row 0: the mean; row 1: a unit at the start; row 2 + k: a unit of the k-th draw
    x = torch.full((2 + len(rows), 1), start_mean, dtype=torch.float64)
    x[1] += 1

    def noise(step: int, purpose: Purpose, draw: int = 0) -> Tensor:
        unit = torch.zeros_like(x)
        unit[rows[step, purpose, draw]] = 1
        return unit

    end = sample(denoiser, solver, times, x, noise)[:, 0]
    response = end[1:] - end[0]
    return float(end[0]), float(response[0] ** 2 * start_variance + response[1:].square().sum())


def reference_alpha_bar(betas: np.ndarray) -> np.ndarray:
    """ᾱ_0 … ᾱ_T by plain products in extended precision."""
    return np.concatenate([[1.0], np.cumprod(1 - betas.astype(np.longdouble))]).astype(np.longdouble)


def random_mixture(seed: int, dimension: int = 64, components: int = 10) -> tuple[MixtureTarget, float]:
    """Isotropic components inside [-1, 1] with deviations from 0.02 to 0.1; and the data's standard deviation."""
    draw = torch.Generator().manual_seed(seed)
    means = torch.rand(components, dimension, generator=draw, dtype=torch.float64) - 0.5
    stds = 0.02 * 5 ** torch.rand(components, generator=draw, dtype=torch.float64)
    shares = torch.rand(components, generator=draw, dtype=torch.float64) + 0.3
    shares /= shares.sum()
    spread = means - shares @ means
    std = float((shares @ (stds[:, None] ** 2 + spread**2)).mean().sqrt())
    return MixtureTarget(means, stds, shares), std

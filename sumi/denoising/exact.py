"""Exact denoisers, for Gaussian data and for mixtures of Gaussians.

For x_0 ~ N(m, c²) in each dimension, x_t ~ N(alpha m, alpha² c² + sigma²) and

    E[x_0 | x_t] = m + alpha c²/(alpha² c² + sigma²) (x_t - alpha m),
    Var(x_0 | x_t) = c² sigma²/(alpha² c² + sigma²).

For a mixture Σ_k π_k N(m_k, c_k²) it is the mean of these, weighted by the probability of each component given x_t,

    p(k | x_t) ∝ π_k N(x_t; alpha m_k, alpha² c_k² + sigma²).
"""

from torch import Tensor

from sumi.denoising.denoiser import FunctionDenoiser
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel, Number, Schedule


def gaussian_denoiser(mean: float, std: float, schedule: Schedule) -> FunctionDenoiser:
    """The exact denoiser of data N(mean, std²), independent in each dimension."""

    def clean(x_t: Tensor, t: NoiseLevel) -> Tensor:
        alpha, sigma = expand(t.alpha, x_t), expand(t.sigma, x_t)
        gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
        return mean + gain * (x_t - alpha * mean)

    def clean_variance(t: NoiseLevel) -> Number:
        return std**2 * t.sigma**2 / (t.alpha**2 * std**2 + t.sigma**2)

    return FunctionDenoiser(clean, schedule, clean_variance)


def mixture_denoiser(means: Tensor, stds: Tensor, shares: Tensor, schedule: Schedule) -> FunctionDenoiser:
    """The exact denoiser of a mixture; means (K, D), stds and shares (K,), x_t (N, D)."""

    def clean(x_t: Tensor, t: NoiseLevel) -> Tensor:
        alpha, sigma = expand(t.alpha, x_t), expand(t.sigma, x_t)  # numbers, or (N, 1)
        variance = alpha**2 * stds**2 + sigma**2
        offset = x_t[:, None] - expand(t.alpha, x_t[:, None]) * means
        log_density = shares.log() - offset.square().sum(-1) / (2 * variance) - means.shape[1] / 2 * variance.log()
        probability = log_density.softmax(1)
        each = means + (alpha * stds**2 / variance)[..., None] * offset
        return (probability[..., None] * each).sum(1)

    return FunctionDenoiser(clean, schedule)

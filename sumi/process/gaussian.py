"""The forward process: three Gaussian kernels, all consequences of x_t = alpha x_0 + sigma ε.

    marginal     q(x_t | x_0)       = N(alpha_t x_0, sigma_t²)
    transition   q(x_t | x_s)       = N(a x_s, v),        a = alpha_t/alpha_s,   v = sigma_t² - a² sigma_s²      (s < t)
    posterior    q(x_s | x_t, x_0)  = N(a sigma_s²/sigma_t² x_t + alpha_s v/sigma_t² x_0,  v sigma_s²/sigma_t²)

With r = v/sigma_t² = 1 - SNR_t/SNR_s = -expm1(log_snr_t - log_snr_s), the variances of neighbouring times lose only the
digits that the two log-SNRs share: 12 remain for the steps of a 1000-step chain. (Sohl-Dickstein et al. 2015;
Ho et al. 2020, eqs. 2, 4, 7.)

The divergence between two Gaussians is

    KL(N(m_q, v_q) ‖ N(m_p, v_p)) = ½ (v_q/v_p - 1 - log v_q/v_p + (m_q - m_p)²/v_p)

in nats per dimension (Kullback 1959, "Information theory and statistics", chapter 9; the terms of Ho et al. 2020,
eq. 5). In a chain of many steps the two variances are close, so it is computed from their difference d = v_q - v_p,

    v_q/v_p - 1 = d/v_p,        log v_q/v_p = log1p(d/v_p) where d ≥ 0, else -log1p(-d/v_q),

which subtracts nothing nearly equal a second time: the logarithm is as precise as d.
"""

from dataclasses import dataclass
from math import expm1, log1p
from typing import ClassVar

import torch
from torch import Tensor

from sumi.process.schedule import NoiseLevel, Number


@dataclass(frozen=True, slots=True)
class Transition:
    """q(x_t | x_s) = N(scale x_s, variance)."""

    scale: Number
    variance: Number


@dataclass(frozen=True, slots=True)
class Posterior:
    """q(x_s | x_t, x_0) = N(noisy x_t + clean x_0, variance)."""

    noisy: Number
    clean: Number
    variance: Number


def expand(coefficient: Number, x: Tensor) -> Number:
    """A coefficient that broadcasts against x (N, …): floats unchanged, a tensor (N,) as (N, 1, …) in x's type.

    A tensor of x's dimensions, such as (N, 1, C), which differs between elements, broadcasts as it is.
    """
    match coefficient:
        case Tensor():
            found = coefficient.to(x.device, x.dtype)
            return found if 1 < found.ndim == x.ndim else found.reshape(-1, *(1,) * (x.ndim - 1))
        case _:
            return coefficient


def add_noise(x_0: Tensor, noise: Tensor, t: NoiseLevel) -> Tensor:
    """Sample the marginal: alpha x_0 + sigma noise, shapes (N, …); ``t`` of floats, or of tensors (N,)."""
    return expand(t.alpha, x_0) * x_0 + expand(t.sigma, x_0) * noise


def noise_fraction(s: NoiseLevel, t: NoiseLevel) -> Number:
    """v/sigma_t²: the share of the noise in x_t that was added after time s. In [0, 1]; 1 where sigma_s = 0."""
    match t.log_snr - s.log_snr:
        case Tensor() as difference:
            return -torch.expm1(difference)
        case difference:
            return -expm1(difference)


def transition(s: NoiseLevel, t: NoiseLevel) -> Transition:
    """The kernel from time s to the later time t."""
    return Transition(t.alpha / s.alpha, t.sigma**2 * noise_fraction(s, t))


def posterior(s: NoiseLevel, t: NoiseLevel) -> Posterior:
    """The kernel from t back to the earlier time s, given x_0."""
    fraction = noise_fraction(s, t)
    return Posterior(t.alpha / s.alpha * (s.sigma / t.sigma) ** 2, s.alpha * fraction, s.sigma**2 * fraction)


@dataclass(frozen=True)
class Gaussian:
    """The Gaussian process: x_t = alpha x_0 + sigma ε."""

    name: ClassVar[str] = "gaussian"

    def noised(self, x_0: Tensor, noise: Tensor, t: NoiseLevel) -> Tensor:
        """Sample q(x_t | x_0), shapes (N, …); ``noise`` is standard normal."""
        return add_noise(x_0, noise, t)

    def start(self, noise: Tensor, std: float) -> Tensor:
        """x at t = 1, where sampling begins: standard normal ``noise`` (N, …) scaled to ``std``."""
        return noise * std


def gaussian_kl(mean_difference: Number, variance_q: Number, variance_p: Number) -> Number:
    """KL(q ‖ p) of each element in nats, from m_q - m_p and the two variances, both > 0; shapes broadcast.

    Exactly 0, with zero gradients, where q is p. The rounding error is relative to d/v_p, not to 1.
    """
    excess = (variance_q - variance_p) / variance_p
    return (excess - log_ratio(variance_q, variance_p) + mean_difference**2 / variance_p) / 2


def log_ratio(a: Number, b: Number) -> Number:
    """log(a/b) of positive values, precise where they are nearly equal."""
    match a - b:
        case Tensor() as difference:
            # each branch sees only its own sign, so that the one not taken has finite values and gradients
            above, below = difference.clamp(min=0) / b, (-difference).clamp(min=0) / a
            return torch.where(difference >= 0, torch.log1p(above), -torch.log1p(below))
        case difference:
            return log1p(difference / b) if difference >= 0 else -log1p(-difference / a)

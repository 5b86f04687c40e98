"""Binomial diffusion: each step keeps a bit or resamples it (Sohl-Dickstein et al. 2015, table App.1).

A bit is x = ±1, and a Bernoulli distribution is given by its mean, P(x = ±1) = (1 ± mean)/2. One step keeps a bit with
probability 1 - β and otherwise replaces it by a fair coin. With a = Π (1 - β) = alpha², b = a_t/a_s (s < t)

    marginal     E[x_t | x_0]       = a_t x_0
    transition   E[x_t | x_s]       = b x_s
    posterior    E[x_s | x_t, x_0]  = b (1 - a_s²)/(1 - a_t²) x_t + a_s (1 - b²)/(1 - a_t²) x_0

The posterior is Bayes' rule (b x_t + a_s x_0)/(1 + a_t x_t x_0) with (x_t x_0)² = 1. It is affine in x_0, so its mean
given x_t is the same formula at E[x_0 | x_t]. The three means are those of the Gaussian kernels
(`sumi.process.gaussian`) with alpha = a and sigma² = 1 - a², the variance of x_t. Any schedule whose alpha falls serves
both processes; where it preserves variance, sigma² is the share of resampled bits.

Log-odds add: observing x_t adds x_t λ(a_t) to those of x_0, with λ(m) = 2 artanh m = log((1 + m)/(1 - m)).

A bit is sampled by a threshold on one standard normal number, so the Gaussian process's noise serves here too.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel, Number


@dataclass(frozen=True, slots=True)
class BitPosterior:
    """E[x_s | x_t, x_0] = noisy x_t + clean x_0."""

    noisy: Number
    clean: Number


def kept(t: NoiseLevel) -> Number:
    """a = alpha² in E[x_t | x_0] = a x_0: the probability that a bit was never resampled."""
    return t.alpha**2


def transition(s: NoiseLevel, t: NoiseLevel) -> Number:
    """b in E[x_t | x_s] = b x_s, from time s to the later time t."""
    return kept(t) / kept(s)


def posterior(s: NoiseLevel, t: NoiseLevel) -> BitPosterior:
    """The kernel from t back to the earlier time s, given x_0; s may be the data, and a may be 0 at t."""
    b = transition(s, t)
    spread = (1 - kept(t)) * (1 + kept(t))
    return BitPosterior(b * (1 - kept(s)) * (1 + kept(s)) / spread, kept(s) * (1 - b) * (1 + b) / spread)


def draw(mean: Tensor, noise: Tensor) -> Tensor:
    """Bits with the given means in [-1, 1]: +1 where Φ(noise) < P(+1) = (1 + mean)/2, else -1; in ``mean``'s type.

    ``noise``: standard normal, shaped like ``mean``. A mean of ±1 gives that bit for any noise, 0 a fair coin; means
    beyond ±1, from rounding, count as ±1. NaN stays NaN.
    """
    threshold = torch.erfinv(mean.clamp(-1, 1)) * 2**0.5  # Φ⁻¹, without the digits that 1 + mean would lose near -1
    bits = torch.where(noise < threshold, 1.0, -1.0).to(mean.dtype)
    return bits.masked_fill_(mean.isnan(), torch.nan)


def flip(x_0: Tensor, noise: Tensor, t: NoiseLevel) -> Tensor:
    """Sample the marginal: bits x_t from x_0 and standard normal noise, shapes (N, …)."""
    return draw(expand(kept(t), x_0) * x_0, noise)


@dataclass(frozen=True)
class Binomial:
    """The binomial process: each step keeps a bit or resamples it."""

    name: ClassVar[str] = "binomial"

    def noised(self, x_0: Tensor, noise: Tensor, t: NoiseLevel) -> Tensor:
        """Sample q(x_t | x_0), shapes (N, …); ``noise`` is standard normal."""
        return flip(x_0, noise, t)

    def start(self, noise: Tensor, std: float) -> Tensor:
        """x at t = 1, where sampling begins: fair coins from standard normal ``noise`` (N, …)."""
        del std  # bits have no scale
        return draw(torch.zeros_like(noise), noise)


def log_odds(mean: Tensor) -> Tensor:
    """λ = log P(+1)/P(-1) = 2 artanh(mean), ±inf for ±1."""
    return 2 * torch.atanh(mean)


def bernoulli_kl(mean: Tensor, other: Tensor) -> Tensor:
    """KL(p ‖ q) in nats of Bernoulli distributions with means ``mean`` (p) and ``other`` (q), elementwise; ≥ 0."""
    up, down = (1 + mean) / 2, (1 - mean) / 2
    negative_entropy = torch.xlogy(up, up) + torch.xlogy(down, down)
    return negative_entropy - torch.xlogy(up, (1 + other) / 2) - torch.xlogy(down, (1 - other) / 2)

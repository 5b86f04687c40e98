"""Schedules defined by formulas in continuous time.

    variance preserving   alpha² = exp(-B(t)),  B(t) = β_min t + (β_max - β_min) t²/2,  sigma² = 1 - alpha²
    sub-VP                alpha² = exp(-B(t)),  sigma = 1 - alpha²
    cosine                alpha = cos(πt/2),  sigma = sin(πt/2)
    rectified flow        alpha = 1 - t,  sigma = t

The first is the limit of the DDPM chain, the second has less variance at all times (Song et al. 2021, eqs. 32 ff.); at
t = 1 they keep alpha² = e^-10.05 = 4.3e-5 of the data. The third is the cosine schedule without its offset and limit
(Salimans & Ho 2022), the last a straight line from data to noise (Liu et al. 2023; Lipman et al. 2023). These two reach
alpha = 0 at t = 1, where a prediction of ε or the score carries no information about x_0.

Erasing: each step removes the same share 1/T of the information (Sohl-Dickstein et al. 2015, section 2.4.1).

    alpha² = 1 - t,   sigma² = t;      on the grid i/T it is the chain with β_i = 1/(T - i + 1)

This is the paper's schedule for bits: a share alpha² of them is unchanged, the rest resampled
(`sumi.process.binomial`). It preserves variance, so it serves the Gaussian process as well. At t = 1 alpha reaches 0
with infinite slope (β_T = 1).
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.process.schedule import MOST_STEPS, NoiseLevel, Schedule


class _LinearRate:
    """β(t) rising linearly, with its integral B(t)."""

    def __init__(self, beta_min: float, beta_max: float) -> None:
        self.beta_min, self.slope = beta_min, beta_max - beta_min

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """β(t) and B(t)."""
        beta = self.beta_min + self.slope * t
        return beta, t * (self.beta_min + beta) / 2

    def time(self, integral: Tensor) -> Tensor:
        """The time in [0, 1] at which B has this value, 1 where it never does; the root is free of cancellation."""
        integral = integral.clamp(max=2 * self.beta_min + self.slope)  # 2 B(1): past the end, and finite
        return (2 * integral / (self.beta_min + (self.beta_min**2 + 2 * self.slope * integral).sqrt())).clamp(0, 1)


class VariancePreserving(Schedule):
    """dx = -½ β(t) x dt + √β(t) dw with β(t) linear from ``beta_min`` to ``beta_max`` (both > 0)."""

    def __init__(self, beta_min: float, beta_max: float) -> None:
        self.beta = _LinearRate(beta_min, beta_max)

    def noise_level(self, t: Tensor) -> NoiseLevel:
        beta, integral = self.beta(t)
        alpha = (-integral / 2).exp()
        variance = -(-integral).expm1()
        sigma = variance.sqrt()
        alpha_slope = -beta / 2 * alpha
        return NoiseLevel(t, alpha, sigma, -integral - variance.log(), alpha_slope, -alpha_slope * alpha / sigma)

    def time(self, log_snr: Tensor) -> Tensor:
        return self.beta.time(-torch.nn.functional.logsigmoid(log_snr.to(torch.float64)))  # alpha² = sigmoid(log_snr)


class SubVariancePreserving(Schedule):
    """dx = -½ β(t) x dt + √(β(t) (1 - alpha⁴)) dw (Song et al. 2021, eq. 29)."""

    def __init__(self, beta_min: float, beta_max: float) -> None:
        self.beta = _LinearRate(beta_min, beta_max)

    def noise_level(self, t: Tensor) -> NoiseLevel:
        beta, integral = self.beta(t)
        alpha, sigma = (-integral / 2).exp(), -(-integral).expm1()
        return NoiseLevel(t, alpha, sigma, -integral - 2 * sigma.log(), -beta / 2 * alpha, beta * alpha**2)

    def time(self, log_snr: Tensor) -> Tensor:
        ratio = (-log_snr.to(torch.float64) / 2).exp()  # sigma/alpha = 2 sinh(B/2)
        return self.beta.time(2 * (ratio / 2).asinh())


class CosineNoise(Schedule):
    """alpha = cos(πt/2), sigma = sin(πt/2)."""

    def noise_level(self, t: Tensor) -> NoiseLevel:
        quarter = torch.pi / 2
        alpha, sigma = (quarter * (1 - t)).sin(), (quarter * t).sin()
        return NoiseLevel(t, alpha, sigma, 2 * (alpha.log() - sigma.log()), -quarter * sigma, quarter * alpha)

    def time(self, log_snr: Tensor) -> Tensor:
        return (-log_snr.to(torch.float64) / 2).exp().atan() * (2 / torch.pi)


class RectifiedFlow(Schedule):
    """alpha = 1 - t, sigma = t."""

    def noise_level(self, t: Tensor) -> NoiseLevel:
        one = torch.ones_like(t)
        return NoiseLevel(t, 1 - t, t, 2 * ((-t).log1p() - t.log()), -one, one)

    def time(self, log_snr: Tensor) -> Tensor:
        return (-log_snr.to(torch.float64) / 2).sigmoid()


@dataclass(frozen=True)
class _RateRange:
    """β(t) rising from a first to a last value."""

    beta_min: float = field(default=0.1, metadata={"help": "β at t = 0, > 0"})
    beta_max: float = field(default=20.0, metadata={"help": "β at t = 1, at least beta_min"})

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max:
            raise InputError(
                f"schedule.beta_min: {self.beta_min} and beta_max = {self.beta_max} must be positive and rising"
            )


@dataclass(frozen=True)
class VP(_RateRange):
    """The variance preserving SDE with β(t) linear (Song et al. 2021, appendix C)."""

    name: ClassVar[str] = "vp"
    steps: ClassVar[None] = None

    def build(self) -> VariancePreserving:
        return VariancePreserving(self.beta_min, self.beta_max)


@dataclass(frozen=True)
class SubVP(_RateRange):
    """The sub-VP SDE with β(t) linear (Song et al. 2021, appendix C)."""

    name: ClassVar[str] = "sub_vp"
    steps: ClassVar[None] = None

    def build(self) -> SubVariancePreserving:
        return SubVariancePreserving(self.beta_min, self.beta_max)


@dataclass(frozen=True)
class Cosine:
    """The cosine schedule in continuous time, from alpha = 1 to alpha = 0."""

    name: ClassVar[str] = "continuous_cosine"
    steps: ClassVar[None] = None

    def build(self) -> CosineNoise:
        return CosineNoise()


@dataclass(frozen=True)
class Flow:
    """Rectified flow: a straight line from data to noise."""

    name: ClassVar[str] = "flow"
    steps: ClassVar[None] = None

    def build(self) -> RectifiedFlow:
        return RectifiedFlow()


class ConstantErasing(Schedule):
    """alpha = √(1 - t), sigma = √t."""

    def noise_level(self, t: Tensor) -> NoiseLevel:
        alpha, sigma = (1 - t).sqrt(), t.sqrt()
        return NoiseLevel(t, alpha, sigma, (-t).log1p() - t.log(), -0.5 / alpha, 0.5 / sigma)

    def time(self, log_snr: Tensor) -> Tensor:
        return (-log_snr.to(torch.float64)).sigmoid()


@dataclass(frozen=True)
class Erasing:
    """Erases 1/T of the information a step, β_i = 1/(T - i + 1) (Sohl-Dickstein et al. 2015, section 2.4.1)."""

    name: ClassVar[str] = "erasing"

    steps: int = field(default=100, metadata={"most": MOST_STEPS, "help": "T, the length of the chain"})

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"schedule.steps: {self.steps} is not a number of steps; give 1 or more")

    def build(self) -> ConstantErasing:
        return ConstantErasing()

"""Schedules that are given by formulas in continuous time.

    variance preserving   alpha² = exp(-B(t)),  B(t) = β_min t + (β_max - β_min) t²/2,  sigma² = 1 - alpha²
    rectified flow        alpha = 1 - t,  sigma = t

The first is the DDPM chain's limit (Song et al. 2021, eq. 32 f.); at t = 1 it keeps alpha² = e^-10.05 = 4.3e-5 of the
data. The second is a straight line from data to noise (Liu et al. 2023; Lipman et al. 2023); at t = 1 nothing of the
data is left, so what a network says of ε or the score there says nothing of x_0.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.process.schedule import NoiseLevel, Schedule


class VariancePreserving(Schedule):
    """dx = -½ β(t) x dt + √β(t) dw with β(t) linear from ``beta_min`` to ``beta_max`` (both > 0)."""

    def __init__(self, beta_min: float, beta_max: float) -> None:
        self.beta_min, self.beta_max = beta_min, beta_max

    def level(self, t: Tensor) -> NoiseLevel:
        beta = self.beta_min + (self.beta_max - self.beta_min) * t
        integral = t * (self.beta_min + beta) / 2
        alpha = (-integral / 2).exp()
        variance = -(-integral).expm1()
        sigma = variance.sqrt()
        alpha_slope = -beta / 2 * alpha
        return NoiseLevel(t, alpha, sigma, -integral - variance.log(), alpha_slope, -alpha_slope * alpha / sigma)

    def time(self, log_snr: Tensor) -> Tensor:
        integral = -torch.nn.functional.logsigmoid(log_snr.to(torch.float64))  # alpha² = sigmoid(log_snr)
        slope = self.beta_max - self.beta_min
        # the root of slope t²/2 + beta_min t = integral that subtracts nothing
        return (2 * integral / (self.beta_min + (self.beta_min**2 + 2 * slope * integral).sqrt())).clamp(0, 1)


class RectifiedFlow(Schedule):
    """alpha = 1 - t, sigma = t."""

    def level(self, t: Tensor) -> NoiseLevel:
        one = torch.ones_like(t)
        return NoiseLevel(t, 1 - t, t, 2 * ((-t).log1p() - t.log()), -one, one)

    def time(self, log_snr: Tensor) -> Tensor:
        return (-log_snr.to(torch.float64) / 2).sigmoid()


@dataclass(frozen=True)
class VP:
    """The variance preserving SDE with β(t) linear (Song et al. 2021, appendix C)."""

    name: ClassVar[str] = "vp"
    steps: ClassVar[None] = None

    beta_min: float = field(default=0.1, metadata={"help": "β at t = 0, > 0"})
    beta_max: float = field(default=20.0, metadata={"help": "β at t = 1, at least beta_min"})

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max:
            raise InputError(
                f"schedule.beta_min: {self.beta_min} and beta_max = {self.beta_max} must be positive and rising"
            )

    def build(self) -> VariancePreserving:
        return VariancePreserving(self.beta_min, self.beta_max)


@dataclass(frozen=True)
class Flow:
    """Rectified flow: a straight line from data to noise."""

    name: ClassVar[str] = "flow"
    steps: ClassVar[None] = None

    def build(self) -> RectifiedFlow:
        return RectifiedFlow()

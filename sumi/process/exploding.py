"""Variance exploding schedules, which add noise to unscaled data: alpha = 1.

    geometric     sigma = sigma_min (sigma_max/sigma_min)^t                              (Song et al. 2021, eq. 31)
    Karras        sigma^(1/ρ) linear in t from sigma_min^(1/ρ) to sigma_max^(1/ρ)        (Karras et al. 2022, eq. 5)
    ladder        L levels of a geometric sequence at t = 1/L, 2/L … 1                   (Song & Ermon 2019)

The first two have sigma(0) = sigma_min > 0, noise too small to see. The ladder is geometric between its levels too;
below the first it falls linearly to sigma(0) = 0.
"""

from dataclasses import dataclass, field
from math import inf, log
from typing import ClassVar, Final

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.process.schedule import MOST_STEPS, NoiseLevel, Schedule

MOST_SIGMA: Final = 10**6


def _level(t: Tensor, sigma: Tensor, slope: Tensor) -> NoiseLevel:
    return NoiseLevel(t, torch.ones_like(t), sigma, -2 * sigma.log(), torch.zeros_like(t), slope)


class GeometricNoise(Schedule):
    """sigma from ``sigma_min`` to ``sigma_max``, geometric in time."""

    def __init__(self, sigma_min: float, sigma_max: float) -> None:
        self.sigma_min, self.sigma_max = sigma_min, sigma_max
        self.rate = log(sigma_max / sigma_min)

    def noise_level(self, t: Tensor) -> NoiseLevel:
        sigma = self.sigma_min ** (1 - t) * self.sigma_max**t
        return _level(t, sigma, self.rate * sigma)

    def time(self, log_snr: Tensor) -> Tensor:
        return ((-log_snr.to(torch.float64) / 2 - log(self.sigma_min)) / self.rate).clamp(0, 1)


class KarrasNoise(Schedule):
    """sigma from ``sigma_min`` to ``sigma_max``, with sigma^(1/ρ) linear in time."""

    def __init__(self, sigma_min: float, sigma_max: float, rho: float) -> None:
        self.first, self.rho = sigma_min ** (1 / rho), rho
        self.rise = sigma_max ** (1 / rho) - self.first

    def noise_level(self, t: Tensor) -> NoiseLevel:
        root = self.first + self.rise * t
        sigma = root**self.rho
        return _level(t, sigma, self.rho * self.rise * sigma / root)

    def time(self, log_snr: Tensor) -> Tensor:
        return (((-log_snr.to(torch.float64) / (2 * self.rho)).exp() - self.first) / self.rise).clamp(0, 1)


class NoiseLadder(Schedule):
    """``levels`` of noise from ``sigma_min`` at t = 1/levels to ``sigma_max`` at t = 1 (module docstring)."""

    def __init__(self, sigma_min: float, sigma_max: float, levels: int) -> None:
        self.sigma_min, self.sigma_max, self.levels = sigma_min, sigma_max, levels
        self.step = log(sigma_max / sigma_min) / (levels - 1)

    def noise_level(self, t: Tensor) -> NoiseLevel:
        rung = t * self.levels
        part = (rung - 1) / (self.levels - 1)
        sigma = torch.where(rung > 1, self.sigma_min ** (1 - part) * self.sigma_max**part, self.sigma_min * rung)
        slope = self.levels * torch.where(rung > 1, self.step * sigma, torch.full_like(t, self.sigma_min))
        return _level(t, sigma, slope)

    def time(self, log_snr: Tensor) -> Tensor:
        ratio = (-log_snr.to(torch.float64) / 2).exp() / self.sigma_min
        return (torch.where(ratio > 1, 1 + ratio.log() / self.step, ratio) / self.levels).clamp(0, 1)


@dataclass(frozen=True)
class _NoiseRange:
    """sigma from a smallest to a largest value."""

    sigma_min: float = field(default=0.01, metadata={"help": "the least noise, > 0"})
    sigma_max: float = field(
        default=50.0, metadata={"most": MOST_SIGMA, "help": "the most noise, about the distances in the data"}
    )

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max < inf:
            raise InputError(
                f"schedule.sigma_min: {self.sigma_min} and sigma_max = {self.sigma_max} must be finite, positive and "
                "rising"
            )


@dataclass(frozen=True)
class VE(_NoiseRange):
    """The variance exploding SDE (Song et al. 2021, appendix C: 0.01 to 50 for CIFAR-10)."""

    name: ClassVar[str] = "ve"
    steps: ClassVar[None] = None

    def build(self) -> GeometricNoise:
        return GeometricNoise(self.sigma_min, self.sigma_max)


@dataclass(frozen=True)
class EDM(_NoiseRange):
    """EDM's noise levels, with time as its sampler steps through them (Karras et al. 2022, table 1)."""

    name: ClassVar[str] = "edm"
    steps: ClassVar[None] = None

    sigma_min: float = field(default=0.002, metadata={"help": "the least noise, > 0"})
    sigma_max: float = field(default=80.0, metadata={"most": MOST_SIGMA, "help": "the most noise"})
    rho: float = field(default=7.0, metadata={"help": "larger: more of the time at small noise, ≥ 1"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.rho < inf:
            raise InputError(f"schedule.rho: {self.rho} is not a number from 1 up; the paper's value is 7")

    def build(self) -> KarrasNoise:
        return KarrasNoise(self.sigma_min, self.sigma_max, self.rho)


@dataclass(frozen=True)
class Ladder(_NoiseRange):
    """NCSN's noise levels: 10 from 1 to 0.01 (Song & Ermon 2019, section 5)."""

    name: ClassVar[str] = "ladder"

    sigma_max: float = field(default=1.0, metadata={"most": MOST_SIGMA, "help": "the most noise"})
    steps: int = field(default=10, metadata={"most": MOST_STEPS, "help": "number of noise levels, 2 or more"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 2:
            raise InputError(f"schedule.steps: {self.steps} levels are no ladder; give 2 or more")

    def build(self) -> NoiseLadder:
        return NoiseLadder(self.sigma_min, self.sigma_max, self.steps)

"""Schedules: how much of the data, alpha(t), and how much noise, sigma(t), is in x_t.

    x_t = alpha(t) x_0 + sigma(t) ε,      t = 0 is data, t = 1 is noise,      log_snr(t) = log(alpha² / sigma²)

A schedule gives the noise level at a time, `Schedule.noise_level`, and its inverse: the time of a log-SNR,
`Schedule.time`. It is a chain of β (`chain`), formulas in t (`continuous`, `exploding`), or learned (`learned`).
Everything is float64 on the CPU and cast where it multiplies the data.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields
from math import exp, inf
from typing import Final

import torch
from torch import Tensor

MOST_STEPS: Final = 1_000_000
"""Length of a grid of times."""

Number = float | Tensor
"""A coefficient: one float for a whole batch, or a float64 tensor with one entry per sample."""


@dataclass(frozen=True, slots=True)
class NoiseLevel:
    """A schedule at one time: all floats, or all float64 tensors of one shape.

    ``alpha`` and ``sigma`` are the coefficients of data and noise, ``log_snr`` is log(alpha²/sigma²), ``alpha_slope``
    and ``sigma_slope`` are dalpha/dt and dsigma/dt (infinite at t = 0 where sigma grows like √t). ``until``: where a
    step from here ends, for denoisers that know two times (`sumi.objectives.mean_flow`); None: here.
    """

    t: Number
    alpha: Number
    sigma: Number
    log_snr: Number
    alpha_slope: Number
    sigma_slope: Number
    until: "NoiseLevel | None" = None

    def columns(self) -> dict[str, Number]:
        """The numbers by name, in order."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "until"}

    def chosen(self, which: slice | Tensor) -> "NoiseLevel":
        """The level of some samples, by a slice or indices (M,). A level of floats holds for all samples."""
        match self.alpha:
            case Tensor():
                until = None if self.until is None else self.until.chosen(which)
                columns = {name: torch.as_tensor(v)[which] for name, v in self.columns().items()}
                return NoiseLevel(**columns, until=until)
            case _:
                return self


Time = float | Tensor | NoiseLevel

DATA: Final = NoiseLevel(0.0, 1.0, 0.0, inf, 0.0, inf)
"""The noise level of clean data, where every sampler ends, even if the schedule has sigma(0) > 0."""


class Schedule(ABC):
    """alpha and sigma as functions of time; tensors of any shape in, float64 tensors of that shape out.

    alpha falls from (nearly) 1, sigma rises from (nearly) 0, and their ratio is strictly monotone. At a corner, slopes
    are those on the data's side.
    """

    @abstractmethod
    def noise_level(self, t: Tensor) -> NoiseLevel:
        """The noise level at the times t in [0, 1], a float64 tensor on the CPU."""

    @abstractmethod
    def time(self, log_snr: Tensor) -> Tensor:
        """The time in [0, 1] that has this log-SNR; values outside the schedule's range give its nearer end."""

    def alpha(self, t: Tensor) -> Tensor:
        """The signal's coefficient; ``alpha(t)**2`` is ᾱ of the DDPM paper."""
        return torch.as_tensor(noise_level(self, t).alpha)

    def sigma(self, t: Tensor) -> Tensor:
        """The noise's standard deviation, ≥ 0 and increasing."""
        return torch.as_tensor(noise_level(self, t).sigma)

    def log_snr(self, t: Tensor) -> Tensor:
        """log(alpha² / sigma²), decreasing in t; +inf where sigma is 0, -inf where alpha is."""
        return torch.as_tensor(noise_level(self, t).log_snr)

    def betas(self, steps: int) -> Tensor:
        """β_1 … β_steps of the chain on the grid i/steps: 1 - alpha(t_i)² / alpha(t_{i-1})², shape (steps,)."""
        alpha = self.alpha(torch.arange(steps + 1, dtype=torch.float64) / steps)
        return 1 - (alpha[1:] / alpha[:-1]) ** 2


def noise_level(schedule: Schedule, t: Time) -> NoiseLevel:
    """The noise level at time t: floats for a float, tensors for a tensor; a level is returned unchanged."""
    match t:
        case NoiseLevel():
            return t
        case Tensor():
            return schedule.noise_level(t.detach().to("cpu", torch.float64))
        case _:
            return next(noise_levels(schedule, torch.tensor([t], dtype=torch.float64)))


def noise_levels(schedule: Schedule, times: Tensor) -> Iterator[NoiseLevel]:
    """One level of floats for each of ``times`` (K,), evaluated together: the steps of a sampler."""
    table = noise_level(schedule, times)
    columns = [torch.as_tensor(column) for column in table.columns().values()]
    return (NoiseLevel(*row) for row in torch.stack(columns, dim=1).tolist())


def at_log_snr(log_snr: Tensor) -> NoiseLevel:
    """The variance-preserving noise level with these log-SNR (N,). It belongs to no time, so it has no slopes."""
    none = torch.full_like(log_snr, torch.nan)
    return NoiseLevel(none, log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt(), log_snr, none, none)


def noise_ratio(t: NoiseLevel) -> float:
    """σ̂ = sigma/alpha at a level of floats: 0 for data, infinite where alpha is (nearly) 0.

    As a function of σ̂, every schedule has the same probability-flow ODE, d(x/alpha)/dσ̂ = ε.
    """
    log_ratio = -float(t.log_snr) / 2
    return exp(log_ratio) if log_ratio < 709 else inf  # e^710 is no float64


def deviation(t: NoiseLevel, of_data: float = 1.0) -> Number:
    """√(alpha² s² + sigma²): the standard deviation of x_t for data of standard deviation s = ``of_data``."""
    return (t.alpha**2 * of_data**2 + t.sigma**2) ** 0.5


def wronskian(t: NoiseLevel) -> Number:
    """alpha sigma' - alpha' sigma = -½ alpha sigma dlog_snr/dt, the Wronskian of alpha and sigma, ≥ 0.

    It equals alpha² dσ̂/dt, and half of g² alpha/sigma with g the diffusion coefficient of the forward SDE.
    """
    return t.alpha * t.sigma_slope - t.alpha_slope * t.sigma

"""Schedules: how much of the data, alpha(t), and how much noise, sigma(t), is in x_t.

    x_t = alpha(t) x_0 + sigma(t) ε,      t = 0 is data, t = 1 is noise,      log_snr(t) = log(alpha² / sigma²)

A schedule comes from a chain of β (`chain`) or is given by formulas in t (`continuous`). Everything is float64 on the
CPU; the values meet the data's type where they multiply it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Number = float | Tensor
"""A coefficient: one float for a whole batch, or a float64 tensor with one entry a sample."""


@dataclass(frozen=True, slots=True)
class NoiseLevel:
    """A schedule at one time: ``t``, ``alpha``, ``sigma``, ``log_snr``, all floats or float64 tensors of one shape."""

    t: Number
    alpha: Number
    sigma: Number
    log_snr: Number


Time = float | Tensor | NoiseLevel


class Schedule(Protocol):
    """alpha and sigma as functions of time; tensors of any shape in, float64 tensors of that shape out."""

    def alpha(self, t: Tensor) -> Tensor:
        """The signal's coefficient, 1 at t = 0 and falling; ``alpha(t)**2`` is ᾱ of the DDPM paper."""
        ...

    def sigma(self, t: Tensor) -> Tensor:
        """The noise's standard deviation, 0 or more and rising."""
        ...

    def log_snr(self, t: Tensor) -> Tensor:
        """log(alpha² / sigma²), decreasing in t; +inf where sigma is 0."""
        ...

    def time(self, log_snr: Tensor) -> Tensor:
        """The time in [0, 1] that has this log-SNR; values outside the schedule's range go to its nearer end."""
        ...

    def betas(self, steps: int) -> Tensor:
        """β_1 … β_steps of the chain on the grid i/steps: 1 - alpha(t_i)² / alpha(t_{i-1})², shape (steps,)."""
        ...


def level(schedule: Schedule, t: Time) -> NoiseLevel:
    """The noise level at time t: floats for a float, tensors for a tensor; a level is returned as it is."""
    if isinstance(t, NoiseLevel):
        return t
    if isinstance(t, Tensor):
        times = t.detach().to("cpu", torch.float64)
        return NoiseLevel(times, schedule.alpha(times), schedule.sigma(times), schedule.log_snr(times))
    return next(levels(schedule, torch.tensor([t], dtype=torch.float64)))


def levels(schedule: Schedule, times: Tensor) -> Iterator[NoiseLevel]:
    """One level of floats for each of ``times`` (shape (K,)), evaluated together: what a sampler walks through."""
    table = level(schedule, times)
    columns = [torch.as_tensor(c) for c in (table.t, table.alpha, table.sigma, table.log_snr)]
    return (NoiseLevel(*row) for row in torch.stack(columns, dim=1).tolist())

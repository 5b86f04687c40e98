"""Guidance limited to an interval of noise levels, low < sigma/alpha ≤ high (Kynkäänniemi et al. 2024).

In much noise guidance costs variety, near the data it does nothing.
"""

from dataclasses import dataclass, field
from math import inf
from typing import Final

import torch

from sumi.errors import InputError
from sumi.process.schedule import NoiseLevel, Number


@dataclass(frozen=True)
class Interval:
    """The noise levels at which guidance counts. Raises InputError for an interval that is empty."""

    low: float = field(default=0.0, metadata={"help": "sigma/alpha above which guidance begins, ≥ 0"})
    high: float = field(default=inf, metadata={"help": "sigma/alpha up to which it goes"})

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise InputError(f"guidance: the interval from {self.low} to {self.high} is empty; give low below high")

    def within(self, other: "Interval") -> "Interval":
        """Where both count. Raises InputError where they have nothing in common."""
        return Interval(max(self.low, other.low), min(self.high, other.high))

    def choose(self, now: NoiseLevel, inside: float, outside: float) -> Number:
        """``inside`` at levels in the interval, ``outside`` elsewhere.

        One number where it is the same for all samples, else float64 (N,).
        """
        if self.low == 0 and self.high == inf:
            return float(inside)
        ratio = torch.as_tensor(now.sigma, dtype=torch.float64) / torch.as_tensor(now.alpha, dtype=torch.float64)
        counts = (ratio > self.low) & (ratio <= self.high)
        if bool(counts.all()) or not bool(counts.any()):
            return float(inside if bool(counts.all()) else outside)
        return torch.where(counts, inside, outside).double()


ALWAYS: Final = Interval()

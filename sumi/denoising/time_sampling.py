"""Which times a training step sees: uniform numbers u in [0, 1), one a sample, become times.

A time sampler is the inverse of a distribution function, so that the randomness itself stays counter-based and a
resumed run sees the same times.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from torch import Tensor

from sumi.errors import InputError


class TimeSampler(Protocol):
    """The times (N,) float64 that belong to u (N,) in [0, 1); ``grid`` is T where only i/T occur, else None."""

    @property
    def grid(self) -> int | None: ...

    def times(self, u: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class GridTimes:
    """Each of 1/T, 2/T, … 1 equally often: the discrete chain of Ho et al. 2020."""

    name: ClassVar[str] = "grid"

    steps: int = field(default=1000, metadata={"help": "T, the number of times; the schedule's own number of steps"})

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"times.steps: {self.steps} is not a number of steps; give 1 or more")

    @property
    def grid(self) -> int | None:
        return self.steps

    def times(self, u: Tensor) -> Tensor:
        return ((u * self.steps).floor() + 1) / self.steps


@dataclass(frozen=True)
class UniformTimes:
    """Every time between ``start`` and 1 alike (Song et al. 2021: start = 1e-5 for variance preserving processes)."""

    name: ClassVar[str] = "uniform"

    start: float = field(
        default=1e-3, metadata={"help": "the earliest time, in (0, 1): at 0 there is nothing to predict"}
    )

    def __post_init__(self) -> None:
        if not 0 < self.start < 1:
            raise InputError(f"times.start: {self.start} is not between 0 and 1")

    @property
    def grid(self) -> int | None:
        return None

    def times(self, u: Tensor) -> Tensor:
        return self.start + (1 - self.start) * u


TimeSamplerConfig = GridTimes | UniformTimes

"""Erasing: each step takes the same share 1/T of the information (Sohl-Dickstein et al. 2015, section 2.4.1).

    alpha² = 1 - t,   sigma² = t;      on the grid i/T it is the chain with β_i = 1/(T - i + 1)

The paper's schedule for bits, of which a share alpha² is as it was and the rest drawn afresh (`sumi.process.binomial`).
It preserves variance, so it noises Gaussian data as well. Nothing of the data is left at t = 1 (β_T = 1), and alpha
falls to 0 with infinite slope.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.process.schedule import NoiseLevel, Schedule


class ConstantErasing(Schedule):
    """alpha = √(1 - t), sigma = √t."""

    def level(self, t: Tensor) -> NoiseLevel:
        alpha, sigma = (1 - t).sqrt(), t.sqrt()
        return NoiseLevel(t, alpha, sigma, (-t).log1p() - t.log(), -0.5 / alpha, 0.5 / sigma)

    def time(self, log_snr: Tensor) -> Tensor:
        return (-log_snr.to(torch.float64)).sigmoid()


@dataclass(frozen=True)
class Erasing:
    """Erases 1/T of the information a step, β_i = 1/(T - i + 1) (Sohl-Dickstein et al. 2015, section 2.4.1)."""

    name: ClassVar[str] = "erasing"

    steps: int = field(default=100, metadata={"help": "T, the length of the chain"})

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"schedule.steps: {self.steps} is not a number of steps; give 1 or more")

    def build(self) -> ConstantErasing:
        return ConstantErasing()

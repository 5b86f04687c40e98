"""How much each noise level counts in the loss: a weight on the error of x̂_0.

    loss(t) = w(t) ‖x̂_0 - x_0‖² = w(t) c_out² ‖F - target‖²

An error of ε̂ is an error of x̂_0 times alpha/sigma, so the "simple" loss of Ho et al. 2020 (eq. 14), which counts all
errors of ε̂ alike, is the weight SNR = alpha²/sigma².
"""

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.process.schedule import NoiseLevel


class Weighting(Protocol):
    """w(t) on the x_0 error at a level of tensors (N,): float64 (N,)."""

    def weight(self, t: NoiseLevel) -> Tensor: ...


@dataclass(frozen=True)
class ConstantWeighting:
    """w = 1: plain squared error of x̂_0."""

    name: ClassVar[str] = "constant"

    def weight(self, t: NoiseLevel) -> Tensor:
        return torch.ones_like(torch.as_tensor(t.alpha))


@dataclass(frozen=True)
class SNRWeighting:
    """w = SNR: plain squared error of ε̂, the simple loss of Ho et al. 2020, eq. 14."""

    name: ClassVar[str] = "snr"

    def weight(self, t: NoiseLevel) -> Tensor:
        return torch.as_tensor(t.log_snr).exp()


@dataclass(frozen=True)
class MinSNRWeighting:
    """w = min(SNR, γ) (Hang et al. 2023, section 3.4): the clearest images no longer dominate."""

    name: ClassVar[str] = "min_snr"

    gamma: float = field(default=5.0, metadata={"help": "upper limit of the weight, > 0"})

    def __post_init__(self) -> None:
        if not self.gamma > 0:
            raise InputError(f"weighting.gamma: {self.gamma} is not positive; the paper's value is 5")

    def weight(self, t: NoiseLevel) -> Tensor:
        return torch.as_tensor(t.log_snr).exp().clamp(max=self.gamma)


WeightingConfig = SNRWeighting | ConstantWeighting | MinSNRWeighting

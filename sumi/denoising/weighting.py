"""The weight of each noise level in the loss, as a factor on the error of x̂_0.

    loss(t) = w(t) ‖x̂_0 - x_0‖² = w(t) c_out² ‖F - target‖²

An error of ε̂ is an error of x̂_0 times alpha/sigma, so the "simple" loss of Ho et al. 2020 (eq. 14), the plain error
of ε̂, is the weight SNR = alpha²/sigma². Likewise the plain squared error of any prediction is the weight 1/c_out² of
that prediction, whatever the network itself predicts:

| weight        | w                             | what it is                                     |
| ------------- | ----------------------------- | ---------------------------------------------- |
| constant      | 1                             | error of x_0                                   |
| snr           | SNR                           | error of ε                                     |
| velocity      | SNR + 1                       | error of v, where alpha² + sigma² = 1          |
| flow          | (alpha sigma'/sigma - alpha')²| error of u = alpha' x_0 + sigma' ε             |
| edm           | SNR + 1/s²                    | error of EDM's F                               |
| truncated_snr | max(SNR, 1)                   | the larger of the errors of ε and x_0          |
| min_snr       | min(SNR, γ)                   | the smaller, where γ = 1                       |
| likelihood    | -½ dSNR/dt                    | the variational bound                          |
| uncertainty   | e^-u(t)/c_out²                | u is learned (`sumi.objectives.uncertainty`)    |

With score = -ε/sigma this covers both common weights of score matching: sigma² ‖score error‖² is snr, and
g² ‖score error‖² (Song et al. 2021, "Maximum likelihood training", eq. 7) is twice likelihood.
"""

from dataclasses import dataclass, field
from math import log
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from sumi.denoising.parameterization import Parameterization
from sumi.errors import InputError
from sumi.process.schedule import NoiseLevel, Schedule, noise_level, wronskian


class Weighting(Protocol):
    """w(t), the weight of the x_0 error, at a level of tensors (N,): float64 (N,)."""

    def weight(self, t: NoiseLevel) -> Tensor: ...


def _snr(t: NoiseLevel) -> Tensor:
    return torch.as_tensor(t.log_snr).exp()


@dataclass(frozen=True)
class ConstantWeighting:
    """w = 1: plain squared error of x̂_0."""

    name: ClassVar[str] = "constant"

    def weight(self, t: NoiseLevel) -> Tensor:
        return torch.ones_like(torch.as_tensor(t.alpha))


@dataclass(frozen=True)
class SNRWeighting:
    """w = SNR: plain squared error of ε̂, the simple loss of Ho et al. 2020, eq. 14.

    Also denoising score matching with the weight sigma² (Song & Ermon 2019, eq. 6).
    """

    name: ClassVar[str] = "snr"

    def weight(self, t: NoiseLevel) -> Tensor:
        return _snr(t)


@dataclass(frozen=True)
class MinSNRWeighting:
    """w = min(SNR, γ) (Hang et al. 2023, section 3.4): nearly clean images no longer dominate."""

    name: ClassVar[str] = "min_snr"

    gamma: float = field(default=5.0, metadata={"help": "upper limit of the weight, > 0"})

    def __post_init__(self) -> None:
        if not self.gamma > 0:
            raise InputError(f"weighting.gamma: {self.gamma} is not positive; the paper's value is 5")

    def weight(self, t: NoiseLevel) -> Tensor:
        return _snr(t).clamp(max=self.gamma)


@dataclass(frozen=True)
class TruncatedSNRWeighting:
    """w = max(SNR, 1): the noisiest images keep some weight (Salimans & Ho 2022, section 4)."""

    name: ClassVar[str] = "truncated_snr"

    def weight(self, t: NoiseLevel) -> Tensor:
        return _snr(t).clamp(min=1.0)


@dataclass(frozen=True)
class VelocityWeighting:
    """w = SNR + 1: plain squared error of v̂ where alpha² + sigma² = 1 (Salimans & Ho 2022, section 4)."""

    name: ClassVar[str] = "velocity"

    def weight(self, t: NoiseLevel) -> Tensor:
        return _snr(t) + 1.0


@dataclass(frozen=True)
class FlowWeighting:
    """w = (alpha sigma'/sigma - alpha')²: plain squared error of û.

    Conditional flow matching (Lipman et al. 2023, eq. 9); 1/t² for rectified flow.
    """

    name: ClassVar[str] = "flow"

    def weight(self, t: NoiseLevel) -> Tensor:
        return torch.as_tensor(wronskian(t) / t.sigma) ** 2


@dataclass(frozen=True)
class EDMWeighting:
    """w = (σ̂² + s²)/(σ̂ s)² = SNR + 1/s² (Karras et al. 2022, table 1): w c_out² = 1 for the paper's own network."""

    name: ClassVar[str] = "edm"

    sigma_data: float = field(default=0.5, metadata={"most": 10**6, "help": "s, the deviation of the data, > 0"})

    def __post_init__(self) -> None:
        if not self.sigma_data >= 1e-9:  # its inverse square is finite
            raise InputError(f"weighting.sigma_data: {self.sigma_data} is below 1e-9; the paper's value is 0.5")

    def weight(self, t: NoiseLevel) -> Tensor:
        return _snr(t) + 1.0 / self.sigma_data**2


@dataclass(frozen=True)
class LikelihoodWeighting:
    """w = -½ dSNR/dt: its integral over t is the variational bound, in nats per dimension (Kingma et al. 2021, eq. 17).

    On a chain's grid, `StepLikelihood` averages this weight over each step. The loss is divided by the density of the
    sampled times, so it estimates the bound for any density.
    """

    name: ClassVar[str] = "likelihood"

    def weight(self, t: NoiseLevel) -> Tensor:
        return torch.as_tensor(t.alpha * wronskian(t) / t.sigma**3)


@dataclass(frozen=True)
class StepLikelihood:
    """w = ½ T (SNR(t - 1/T) - SNR(t)) at the times i/T: the bound of a chain of T steps (Kingma et al. 2021, eq. 13).

    The mean over the grid is the sum of the chain's T Gaussian KL terms, divided by the dimension. Where SNR(0) is
    infinite the first term is -log p(x_0 | x_1) of a Gaussian decoder with the noise of x_1, N(x̂_0,
    (sigma_1/alpha_1)²). Its weight is ½ T SNR(1/T), so SNR(0) counts as 2 SNR(1/T) there.
    """

    schedule: Schedule
    steps: int

    def weight(self, t: NoiseLevel) -> Tensor:
        time, log_snr = torch.as_tensor(t.t), torch.as_tensor(t.log_snr)
        before = (time - 1 / self.steps).clamp(min=0.0)
        from_data = (before == 0) & (noise_level(self.schedule, 0.0).sigma == 0)
        # do not evaluate log-SNR where it is infinite: it may be learned, and has no gradient there
        earlier = torch.as_tensor(noise_level(self.schedule, torch.where(from_data, time, before)).log_snr)
        earlier = torch.where(from_data, log_snr + log(2), earlier)
        return -self.steps / 2 * earlier.exp() * torch.expm1(log_snr - earlier)


@dataclass(frozen=True)
class OutputWeighting:
    """w = 1/c_out²: plain squared error of the network's own output, in any parameterization."""

    parameterization: Parameterization

    def weight(self, t: NoiseLevel) -> Tensor:
        return torch.as_tensor(self.parameterization.coefficients(t).c_out) ** -2


@dataclass(frozen=True)
class LearnedUncertainty:
    """loss = ‖F - target‖² e^-u + u with u(t) learned: `sumi.objectives.uncertainty`.

    At the optimal u each level's loss is divided by its remaining error, so all levels count alike (Kendall et al.
    2018; Karras et al. 2024, "EDM2", eqs. 14-16, with F and its plain error as in EDM).
    """

    name: ClassVar[str] = "uncertainty"


WeightingConfig = (
    SNRWeighting
    | ConstantWeighting
    | MinSNRWeighting
    | TruncatedSNRWeighting
    | VelocityWeighting
    | FlowWeighting
    | EDMWeighting
    | LikelihoodWeighting
    | LearnedUncertainty
)

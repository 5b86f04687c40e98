"""Parameterizations: what a network predicts, as four coefficients.

Whatever the output F of the network stands for, the denoised image is linear in it (Karras et al. 2022, eq. 7):

    x̂_0 = c_skip x_t + c_out F(c_in x_t, c_noise)

| F predicts | c_skip                  | c_out                    | from                                         |
| ---------- | ----------------------- | ------------------------ | -------------------------------------------- |
| x_0        | 0                       | 1                        |                                              |
| x_0, b.    | (1 - r)/alpha           | r                        | bounded: r = min(sigma/b, 1)                 |
| ε          | 1/alpha                 | -sigma/alpha             | x_t = alpha x_0 + sigma ε                    |
| ε, b.      | (alpha + sigma²/a)/q    | -sigma/a                 | the same; q = alpha² + sigma², a ≥ alpha     |
| v          | alpha/(alpha² + sigma²) | -sigma/(alpha² + sigma²) | v = alpha ε - sigma x_0 (Salimans & Ho 2022) |
| u          | sigma'/w                | -sigma/w                 | u = alpha' x_0 + sigma' ε                    |
| score      | 1/alpha                 | sigma²/alpha             | score = -ε/sigma                             |
| EDM's F    | alpha s²/p              | sigma s/√p               | unit variance (Karras et al. 2022)           |
| ∇E         | 1/alpha                 | -sigma/alpha             | score = -∇E/sigma, so ∇E = ε                 |

with w = alpha sigma' - alpha' sigma (slopes in t), p = sigma² + alpha² s², and s the standard deviation of the data.

The network's time input is c_noise = 1000 t - 1, which on the grid of a 1000-step chain is the index 0 … 999 of the
DDPM paper's code (4 t - 2 for a network that is to be smooth in t), and x_t is not scaled (c_in = 1). Exceptions:
EDM's F has c_in = 1/√p and c_noise = ln(sigma/alpha)/4, ∇E has c_in = 1/√(alpha² + sigma²). The coefficients are plain
arithmetic on a noise level: floats in a sampler, tensors with one entry per sample in training. None subtracts nearly
equal numbers (alpha' ≤ 0 ≤ sigma'), so all stay precise at both ends.

Where alpha(1) = 0, a prediction of ε, the score or ∇E at t = 1 carries no information about x_0, and EDM's c_noise is
infinite: those coefficients are not finite there. Those of x_0, v and u are.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.process.schedule import NoiseLevel, Number, deviation, wronskian


@dataclass(frozen=True, slots=True)
class Coefficients:
    """c_in, c_skip, c_out and c_noise at one noise level; ``c_span``: the way ahead, for networks of two times."""

    c_in: Number
    c_skip: Number
    c_out: Number
    c_noise: Number
    c_span: Number | None = None


class Parameterization(Protocol):
    """Anything that gives the four coefficients at a noise level."""

    def coefficients(self, t: NoiseLevel) -> Coefficients: ...


def _time_input(t: NoiseLevel) -> Number:
    return 1000.0 * t.t - 1.0


@dataclass(frozen=True)
class PredictClean:
    """F = x_0."""

    name: ClassVar[str] = "clean"

    def coefficients(self, t: NoiseLevel) -> Coefficients:
        return Coefficients(1.0, 0.0 * t.alpha, 0.0 * t.alpha + 1.0, _time_input(t))


@dataclass(frozen=True)
class PredictBoundedClean:
    """F = x_0, read so that its error counts a bounded number of times in ε̂ = (x_t - alpha x̂_0)/sigma.

    A network that cannot copy its input (large patches, a narrow one) misses x_0 by as much at little noise as at none.
    Where that is more than the noise, x_t - alpha F does not go to 0 with sigma, and no number of steps brings the ODE
    to an end. Below sigma = ``least_noise`` the step towards F is therefore shortened by r = sigma/``least_noise``, so
    that ε̂ = (x_t - alpha F)/``least_noise``; above it this is `PredictClean`. About a third of the noise at the limit
    stays in samples: 0.02 is less than a level of 256. Li & He 2025 ("Back to basics") divide by no less than t = 0.05,
    whose grain can be seen in many steps.
    """

    name: ClassVar[str] = "bounded_clean"

    least_noise: float = field(default=0.02, metadata={"help": "sigma below which steps are shortened, in (0, 1]"})

    def __post_init__(self) -> None:
        if not 0 < self.least_noise <= 1:
            raise InputError(f"parameterization.least_noise: {self.least_noise} is not in (0, 1]; give such as 0.02")

    def coefficients(self, t: NoiseLevel) -> Coefficients:
        part: Number
        match t.sigma:
            case Tensor() as sigma:
                part = (sigma / self.least_noise).clamp(max=1.0)
                signal: Number = torch.where(part < 1, torch.as_tensor(t.alpha), 1.0)
            case sigma:
                part = min(sigma / self.least_noise, 1.0)
                signal = t.alpha if part < 1 else 1.0
        return Coefficients(1.0, (1.0 - part) / signal, part, _time_input(t))


@dataclass(frozen=True)
class PredictNoise:
    """F = ε (Ho et al. 2020, eq. 12)."""

    name: ClassVar[str] = "noise"

    def coefficients(self, t: NoiseLevel) -> Coefficients:
        return Coefficients(1.0, 1.0 / t.alpha, -t.sigma / t.alpha, _time_input(t))


@dataclass(frozen=True)
class PredictBoundedNoise:
    """F = ε, read so that its error counts a bounded number of times: what few steps need of a network of ε.

    v = alpha ε̂ - sigma x̂_0 = ((alpha² + sigma²) ε̂ - sigma x_t)/alpha, with at least ``least_signal`` of √(alpha² +
    sigma²) for the last alpha, and x̂_0 of v. Where there is more signal than that it is `PredictNoise`.
    """

    name: ClassVar[str] = "bounded_noise"

    least_signal: float = field(default=0.1, metadata={"help": "least alpha of a noise level, in (0, 1]"})

    def __post_init__(self) -> None:
        if not 0 < self.least_signal <= 1:
            raise InputError(f"parameterization.least_signal: {self.least_signal} is not in (0, 1]; give such as 0.1")

    def coefficients(self, t: NoiseLevel) -> Coefficients:
        power = t.alpha**2 + t.sigma**2
        least = self.least_signal * power**0.5
        match t.alpha:
            case Tensor() as alpha:
                signal: Number = torch.maximum(alpha, torch.as_tensor(least))
            case alpha:
                signal = max(alpha, least)
        return Coefficients(1.0, (t.alpha + t.sigma**2 / signal) / power, -t.sigma / signal, _time_input(t))


@dataclass(frozen=True)
class PredictVelocity:
    """F = v = alpha ε - sigma x_0 (Salimans & Ho 2022, appendix D), for any schedule."""

    name: ClassVar[str] = "velocity"

    def coefficients(self, t: NoiseLevel) -> Coefficients:
        power = t.alpha**2 + t.sigma**2
        return Coefficients(1.0, t.alpha / power, -t.sigma / power, _time_input(t))


@dataclass(frozen=True)
class PredictScore:
    """F = ∇ log p(x_t) (Song & Ermon 2019)."""

    name: ClassVar[str] = "score"

    def coefficients(self, t: NoiseLevel) -> Coefficients:
        return Coefficients(1.0, 1.0 / t.alpha, t.sigma**2 / t.alpha, _time_input(t))


@dataclass(frozen=True)
class PredictFlow:
    """F = u = alpha' x_0 + sigma' ε, the velocity of the path x_t at fixed x_0 and ε (Lipman et al. 2023, theorem 3).

    For rectified flow u = ε - x_0.
    """

    name: ClassVar[str] = "flow"

    def coefficients(self, t: NoiseLevel) -> Coefficients:
        w = wronskian(t)
        return Coefficients(1.0, t.sigma_slope / w, -t.sigma / w, _time_input(t))


@dataclass(frozen=True)
class PredictSmoothFlow:
    """F = u as `PredictFlow`, of a network that is smooth in time: c_noise = 4 t - 2.

    What mean flow needs, which learns from derivatives in t (`sumi.objectives.mean_flow`).
    """

    name: ClassVar[str] = "smooth_flow"

    def coefficients(self, t: NoiseLevel) -> Coefficients:
        return replace(PredictFlow().coefficients(t), c_noise=4.0 * t.t - 2.0)


@dataclass(frozen=True)
class PredictPreconditioned:
    """EDM's F: input and target of unit variance at every noise level (Karras et al. 2022, table 1).

    The paper's coefficients are those of x_t/alpha, in which the noise is σ̂ = sigma/alpha.
    """

    name: ClassVar[str] = "edm"

    sigma_data: float = field(default=0.5, metadata={"most": 10**6, "help": "standard deviation of the data, > 0"})

    def __post_init__(self) -> None:
        if not self.sigma_data > 0:
            raise InputError(
                f"parameterization.sigma_data: {self.sigma_data} is not positive; the paper's value is 0.5"
            )

    def coefficients(self, t: NoiseLevel) -> Coefficients:
        root = deviation(t, self.sigma_data)
        return Coefficients(
            1.0 / root, t.alpha * (self.sigma_data / root) ** 2, t.sigma * self.sigma_data / root, -t.log_snr / 8.0
        )


@dataclass(frozen=True)
class PreconditionedParts:
    """EDM's F for data whose last dimension has parts of different deviations: ``sigma_data`` (C,), float64, > 0.

    c_in, c_skip and c_out are tensors (1, 1, C), or (N, 1, C) at levels of tensors (N,), for data (N, n, C).
    """

    sigma_data: Tensor

    def coefficients(self, t: NoiseLevel) -> Coefficients:
        alpha, sigma = (torch.as_tensor(v, dtype=torch.float64).cpu().reshape(-1, 1, 1) for v in (t.alpha, t.sigma))
        root = (sigma.square() + (alpha * self.sigma_data).square()).sqrt()
        return Coefficients(
            1.0 / root, alpha * (self.sigma_data / root) ** 2, sigma * self.sigma_data / root, -t.log_snr / 8.0
        )


@dataclass(frozen=True)
class PredictEnergy:
    """F = ∇E, the gradient of a scalar in the scaled input: log p(x_t) = -E(c_in x_t)/(c_in sigma) + constant.

    Scaled this way, ∇E has unit variance at every level, as ε has. `sumi.denoising.energy.EnergyGradient` makes it from
    any network (Song & Ermon 2019, section 2.1; Salimans & Ho 2021).
    """

    name: ClassVar[str] = "energy"

    def coefficients(self, t: NoiseLevel) -> Coefficients:
        return Coefficients(1.0 / deviation(t), 1.0 / t.alpha, -t.sigma / t.alpha, _time_input(t))


Plain = (
    PredictNoise
    | PredictBoundedNoise
    | PredictClean
    | PredictBoundedClean
    | PredictVelocity
    | PredictScore
    | PredictFlow
    | PredictSmoothFlow
    | PredictPreconditioned
)
"""Whose output the network gives as it is."""


@dataclass(frozen=True)
class Reread:
    """Another parameterization for a network of other conventions: its output times ``gain``, its time input changed.

    c_out' = gain c_out and c_noise' = time_scale c_noise + time_offset: an index that counts from 1, a time from 0 to 1
    in place of 1000 t - 1, or a flow of the other sign. With ``clock`` = log_ratio ln(sigma/alpha) takes the place of
    c_noise.
    """

    name: ClassVar[str] = "reread"

    of: Plain = field(default_factory=PredictNoise, metadata={"help": "what the network predicts"})
    time_scale: float = field(default=1.0, metadata={"help": "by which the time input is multiplied, not 0"})
    time_offset: float = field(default=0.0, metadata={"help": "that is added to it then"})
    gain: float = field(default=1.0, metadata={"help": "by which the output is multiplied, not 0"})
    clock: Literal["own", "log_ratio"] = field(
        default="own", metadata={"help": "what the time input is made of: its own, or ln(sigma/alpha)"}
    )

    def __post_init__(self) -> None:
        for name in ("time_scale", "gain"):
            if not getattr(self, name):
                raise InputError(f"parameterization.{name}: is 0, which says nothing; give another number, such as 1")

    def coefficients(self, t: NoiseLevel) -> Coefficients:
        c = self.of.coefficients(t)
        time = c.c_noise if self.clock == "own" else -t.log_snr / 2
        return replace(c, c_out=self.gain * c.c_out, c_noise=self.time_scale * time + self.time_offset)


ParameterizationConfig = Plain | PredictEnergy | Reread

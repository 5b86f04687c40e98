"""What a network predicts, as four coefficients.

Whatever the output F of the network means, the denoised image is linear in it (Karras et al. 2022, eq. 7):

    x̂_0 = c_skip x_t + c_out F(c_in x_t, c_noise)

| F predicts | c_skip               | c_out                | from                                          |
| ---------- | -------------------- | -------------------- | --------------------------------------------- |
| x_0        | 0                    | 1                    |                                               |
| ε          | 1/alpha              | -sigma/alpha         | x_t = alpha x_0 + sigma ε                     |
| v          | alpha/(alpha²+sigma²)| -sigma/(alpha²+sigma²)| v = alpha ε - sigma x_0 (Salimans & Ho 2022) |
| score      | 1/alpha              | sigma²/alpha         | score = -ε/sigma                              |

All four read x_t unscaled (c_in = 1) and the time as c_noise = 1000 t - 1, which on the grid of a 1000-step chain is
the index 0 … 999 of the DDPM paper's code. The coefficients are plain arithmetic on a noise level, so they are
floats in a sampler and tensors, one entry a sample, in training.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from sumi.process.schedule import NoiseLevel, Number


@dataclass(frozen=True, slots=True)
class Coefficients:
    """c_in, c_skip, c_out and c_noise at one noise level."""

    c_in: Number
    c_skip: Number
    c_out: Number
    c_noise: Number


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
class PredictNoise:
    """F = ε (Ho et al. 2020, eq. 12)."""

    name: ClassVar[str] = "noise"

    def coefficients(self, t: NoiseLevel) -> Coefficients:
        return Coefficients(1.0, 1.0 / t.alpha, -t.sigma / t.alpha, _time_input(t))


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


ParameterizationConfig = PredictNoise | PredictClean | PredictVelocity | PredictScore

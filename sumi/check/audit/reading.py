"""Readings: everything that a sampler has to believe of a network before its output means anything.

    x'_t = alpha x'_0 + sigma ε,   x̂'_0 = c_skip x'_t + c_out F(c_in x'_t, c_noise)
    x'_0 = scale · x_0[channels] + shift

A reading is a schedule (alpha, sigma), a parameterization (what F stands for), a clock (c_noise) and a frame (how the
data are presented). All readings of one network are compared on the same items, the same noise and the same amount of
noise *relative to the data*, ρ = sigma/(alpha · scale), so that the error of x̂_0 is that of one and the same task.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations
from math import inf, log
from typing import Final, Literal

import torch
from torch import Tensor

from sumi.denoising.parameterization import (
    Coefficients,
    Parameterization,
    ParameterizationConfig,
    PredictClean,
    PredictEnergy,
    PredictFlow,
    PredictNoise,
    PredictPreconditioned,
    PredictScore,
    PredictSmoothFlow,
    PredictVelocity,
    Reread,
)
from sumi.process.chain import CosineBeta, LinearBeta, QuadraticBeta, SigmoidBeta
from sumi.process.continuous import Cosine, Flow
from sumi.process.exploding import VE
from sumi.process.schedule import NoiseLevel, Number, Schedule, noise_level
from sumi.process.schedules import ScheduleConfig

GRID: Final = 1000
"""Steps at which a network in continuous time is probed."""
OFFSET: Final = "off-by-one timesteps"


@dataclass(frozen=True)
class Clock:
    """c_noise: ``scale`` · v + ``offset``, where v is the stated c_noise, 1000 t - 1, the log-SNR or sigma/alpha."""

    words: str
    of: Literal["stated", "time", "log_snr", "ratio"] = "stated"
    scale: float = 1.0
    offset: float = 0.0

    def read(self, level: NoiseLevel, stated: Number) -> Number:
        """The network's time input at a noise level."""
        match self.of:
            case "stated":
                value = stated
            case "time":
                value = GRID * level.t - 1
            case "log_snr":
                value = level.log_snr
            case "ratio":
                value = level.sigma / level.alpha
        return self.scale * value + self.offset


STATED: Final = Clock("as stated")


@dataclass(frozen=True)
class Frame:
    """The data as the network gets them: x' = ``scale`` · x[``channels``] + ``shift``; no channels: as they are."""

    words: str = "as they are"
    scale: float = 1.0
    shift: float = 0.0
    channels: tuple[int, ...] = ()

    def __call__(self, x: Tensor) -> Tensor:
        """Items (N, …) as the network gets them."""
        return self.scale * (x[:, list(self.channels)] if self.channels else x) + self.shift


@dataclass(frozen=True)
class Reading:
    """See the module docstring."""

    schedule: Schedule
    parameterization: Parameterization
    clock: Clock = STATED
    frame: Frame = Frame()

    def level(self, ratio: float) -> NoiseLevel | None:
        """The noise level at which there is ``ratio`` = σ/α of noise relative to the data; None: it has no such one."""
        wanted = -2 * log(ratio * self.frame.scale)
        found = noise_level(self.schedule, float(self.schedule.time(torch.tensor(wanted, dtype=torch.float64))))
        return found if abs(float(found.log_snr) - wanted) < 0.02 and 0 < found.t < 1 + 1e-12 else None

    def coefficients(self, level: NoiseLevel) -> Coefficients:
        """c_in, c_skip, c_out and c_noise."""
        c = self.parameterization.coefficients(level)
        return replace(c, c_noise=self.clock.read(level, c.c_noise))


@dataclass(frozen=True)
class Changed(Schedule):
    """A schedule whose alpha is a ``power`` of another's, at alpha² + sigma² = 1."""

    of: Schedule
    power: float

    def noise_level(self, t: Tensor) -> NoiseLevel:
        level = noise_level(self.of, t)
        alpha = torch.as_tensor(level.alpha) ** self.power
        variance = (1 - alpha**2).clamp(min=1e-300)
        slope = self.power * torch.as_tensor(level.alpha) ** (self.power - 1) * level.alpha_slope
        log_snr = 2 * alpha.log() - variance.log()
        return NoiseLevel(t, alpha, variance.sqrt(), log_snr, slope, -slope * alpha / variance.sqrt())

    def time(self, log_snr: Tensor) -> Tensor:
        # alpha² = sigmoid(λ) = alpha_of^(2 power), so alpha_of² = sigmoid(λ)^(1/power)
        log_square = torch.nn.functional.logsigmoid(log_snr.to(torch.float64)) / self.power
        return self.of.time(log_square - torch.log(-torch.expm1(log_square)))


@dataclass(frozen=True)
class Alternative:
    """Another reading: what differs (``axis``), which mistake that would be (``fault``), and the change in words."""

    axis: str
    fault: str
    words: str
    reading: Reading


PREDICTIONS: Final[dict[str, tuple[ParameterizationConfig, str]]] = {
    "noise": (PredictNoise(), "ε, the noise"),
    "velocity": (PredictVelocity(), "v = alpha ε - sigma x_0"),
    "clean": (PredictClean(), "x_0, the clean data"),
    "flow": (PredictFlow(), "u, the velocity of the path (ε - x_0 for rectified flow)"),
    "reversed_flow": (Reread(PredictFlow(), gain=-1.0), "x_0 - ε, the flow towards the data"),
    "score": (PredictScore(), "the score, -ε/sigma"),
}

KNOWN_SCHEDULES: Final[dict[str, ScheduleConfig]] = {
    "linear (β from 1e-4 to 0.02, T = 1000)": LinearBeta(),
    "cosine (T = 1000, s = 0.008)": CosineBeta(),
    "Stable Diffusion's (√β linear from 0.00085 to 0.012)": QuadraticBeta(beta_start=0.00085, beta_end=0.012),
    "sigmoid (β from 1e-4 to 0.02)": SigmoidBeta(),
    "continuous cosine": Cosine(),
    "flow (alpha = 1 - t, sigma = t)": Flow(),
    "variance-exploding (alpha = 1)": VE(),
}


def clocks(steps: int) -> Iterator[tuple[str, Clock]]:
    """Every convention in use for a network's time input, with the mistake it stands for."""
    yield OFFSET, Clock("one index later (c + 1)", offset=1.0)
    yield OFFSET, Clock("one index earlier (c - 1)", offset=-1.0)
    yield "time unit", Clock("t from 0 to 1", "time", 1 / GRID, 1 / GRID)
    yield "time unit", Clock("the index 0 … 999 (1000 t - 1)", "time")
    yield "time unit", Clock("1000 t", "time", 1.0, 1.0)
    if steps != GRID:
        yield "time unit", Clock(f"the index 0 … {steps - 1}", "time", steps / GRID, steps / GRID - 1)
    yield "time direction", Clock("1 - t: time runs from noise to data", "time", -1 / GRID, 1 - 1 / GRID)
    yield "time direction", Clock("1000 (1 - t): time runs from noise to data", "time", -1.0, GRID - 1.0)
    yield "time unit", Clock("ln(sigma/alpha)/4, as EDM", "log_snr", -1 / 8)
    yield "time unit", Clock("the log-SNR", "log_snr")
    yield "time unit", Clock("sigma/alpha itself", "ratio")


def frames(x: Tensor) -> Iterator[tuple[str, str, Frame]]:
    """Every way in which data may be presented to a network, for items (N, …) as stated to be in [-1, 1]."""
    channels = x.shape[1] if x.ndim == 4 else 0
    orders = list(permutations(range(channels)))[1:] if 2 <= channels <= 3 else []
    orders += [tuple(reversed(range(channels)))] if channels > 3 else []
    for order in orders:
        name = "BGR" if order == (2, 1, 0) else ", ".join(map(str, order))
        yield "channels", "swapped channels", Frame(f"channels in the order {name}", channels=order)
    yield "range", "data range", Frame("in [0, 1]", 0.5, 0.5)
    yield "range", "data range", Frame("in [0, 255]", 127.5, 127.5)
    yield "range", "data range", Frame("in [-1, 1], where they are read as [0, 1]", 2.0, -1.0)
    for power in (-3, -2, -1, 1, 2, 3):
        yield "scale", "scale factor", scaled(2.0**power)


def scaled(scale: float) -> Frame:
    """The data times a number."""
    return Frame(f"multiplied by {scale:.3g}", scale)


def at_its_time(parameterization: ParameterizationConfig, stated: Parameterization) -> ParameterizationConfig:
    """``parameterization``, whose time input is 1000 t - 1, with the time input that is stated in its place."""
    match stated:
        case Reread(of=PredictPreconditioned() | PredictSmoothFlow(), clock="own"):
            return parameterization
        case Reread(time_scale=scale, time_offset=offset, clock=clock):
            match parameterization:
                case Reread() as read:
                    return replace(read, time_scale=scale, time_offset=offset, clock=clock)
                case PredictEnergy() as energy:
                    return energy
                case plain:
                    return Reread(plain, scale, offset, clock=clock)
        case _:
            return parameterization


def alternatives(now: Reading, steps: int, x: Tensor | None) -> Iterator[Alternative]:
    """All readings that differ from ``now`` in one thing, the likelier mistakes first.

    ``x``: items of the data; None: the model's own samples are all there is, and no frame can be told from them.
    """
    for known, words in PREDICTIONS.values():
        parameterization = at_its_time(known, now.parameterization)
        if parameterization != now.parameterization:
            reading = replace(now, parameterization=parameterization)
            yield Alternative("prediction", "prediction type", words, reading)
    for fault, clock in clocks(steps):
        if clock != now.clock:
            yield Alternative("clock", fault, clock.words, replace(now, clock=clock))
    for power, words in ((0.5, "the square root of the stated alpha"), (2.0, "the square of the stated alpha")):
        schedule = Changed(now.schedule, power)
        yield Alternative("schedule", "squared alphas", words, replace(now, schedule=schedule))
    for words, schedule in KNOWN_SCHEDULES.items():
        yield Alternative("schedule", "schedule", words, replace(now, schedule=schedule.build()))
    if x is not None:
        for axis, fault, frame in frames(x):
            yield Alternative(axis, fault, frame.words, replace(now, frame=frame))
        edm = PredictPreconditioned()
        if now.parameterization != edm:
            words = "EDM's F with σ_data = 0.5, its own scaling and clock"
            yield Alternative("prediction", "prediction type", words, replace(now, parameterization=edm, clock=STATED))


def probing_ratios(schedule: Schedule, steps: int, std: float, most: int = 14) -> list[float]:
    """σ/α at ``most`` or fewer levels i/``steps`` of a schedule, in the data's units: from little noise to much.

    From the first steps on, where an offset by one shows, and evenly in log σ/α. Levels with more than ten times as
    much noise as data (std) say nothing of the data; below a thousandth of it nothing is left to remove.
    """
    t = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    level = noise_level(schedule, t)
    ratio = (torch.as_tensor(level.log_snr) / -2).exp()
    usable = [r for r in ratio.tolist() if 1e-3 * std <= r <= 10 * std and r < inf]
    if not usable:
        return []
    wanted = torch.linspace(log(usable[0]), log(usable[-1]), most).exp().tolist()
    chosen = {min(usable, key=lambda r: abs(log(r / w))) for w in wanted}
    return sorted(chosen | set(usable[:3]))

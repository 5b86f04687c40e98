"""Chains: schedules defined by the variances β_1 … β_T of T discrete steps (Ho et al. 2020).

On the grid t_i = i/T

    log alpha(t_i)² = log ᾱ_i = Σ_{k ≤ i} log(1 - β_k),          sigma² = 1 - alpha².

Between grid points log ᾱ is linear in t: a continuous process with a constant rate within each step, whose steps are
exactly the chain's. Its log-SNR can be inverted in closed form.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sin
from typing import ClassVar

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.process.schedule import MOST_STEPS, NoiseLevel, Schedule


class Chain(Schedule, ABC):
    """A variance-preserving schedule defined by log ᾱ on its grid (module docstring)."""

    steps: int
    """T, the length of the chain."""

    @abstractmethod
    def log_alpha_bar(self) -> Tensor:
        """log ᾱ_0 = 0, log ᾱ_1, … log ᾱ_T, falling: float64 (T + 1,) on the CPU."""

    def _log_alpha_squared(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """log ᾱ at t, and its change over the step that contains t."""
        position = t.clamp(0, 1) * self.steps
        left = ((position * (1 - 1e-15)).ceil() - 1).long().clamp(min=0)  # i/T · T may be rounded to above i
        log_alpha_bar = self.log_alpha_bar()
        start, end = log_alpha_bar[left], log_alpha_bar[left + 1]
        return torch.lerp(start, end, position - left), end - start

    def noise_level(self, t: Tensor) -> NoiseLevel:
        log_alpha_squared, rise = self._log_alpha_squared(t)
        half_rate = rise * (self.steps / 2)  # d log alpha / dt
        alpha = (log_alpha_squared / 2).exp()
        variance = log_alpha_squared.expm1().abs()
        sigma = variance.sqrt()
        alpha_slope = half_rate * alpha
        return NoiseLevel(
            t, alpha, sigma, log_alpha_squared - variance.log(), alpha_slope, -alpha_slope * alpha / sigma
        )

    def time(self, log_snr: Tensor) -> Tensor:
        log_alpha_bar = self.log_alpha_bar().detach()
        wanted = torch.nn.functional.logsigmoid(log_snr.detach().to(torch.float64))  # alpha² = sigmoid(log_snr)
        wanted = wanted.clamp(min=float(log_alpha_bar[-1]))
        right = torch.searchsorted(-log_alpha_bar, -wanted).clamp(1, self.steps)
        start, end = log_alpha_bar[right - 1], log_alpha_bar[right]
        return (right - 1 + (wanted - start) / (end - start)) / self.steps

    def betas(self, steps: int) -> Tensor:
        grid = torch.arange(steps + 1, dtype=torch.float64) / steps
        return -self._log_alpha_squared(grid)[0].diff().expm1()


class BetaSchedule(Chain):
    """The chain with the given β.

    ``betas``: T values in (0, 1). Raises InputError for any other.
    """

    def __init__(self, betas: Tensor | Sequence[float]) -> None:
        values = torch.as_tensor(betas, dtype=torch.float64).detach().cpu()
        if values.ndim != 1 or not len(values) or not bool(((values > 0) & (values < 1)).all()):
            raise InputError("schedule.betas: every β must lie strictly between 0 and 1; give a list of such numbers")
        self.steps = len(values)
        self._log_alpha_bar = torch.cat([values.new_zeros(1), torch.log1p(-values).cumsum(0)])

    def log_alpha_bar(self) -> Tensor:
        return self._log_alpha_bar


def _check_chain(steps: int, **betas: float) -> None:
    if steps < 1:
        raise InputError(f"schedule.steps: {steps} is not a number of steps; give 1 or more")
    for name, value in betas.items():
        if not 0 < value < 1:
            raise InputError(f"schedule.{name}: {value} is not between 0 and 1")


@dataclass(frozen=True)
class BetaRange:
    """A chain with β rising from a first to a last value."""

    steps: int = field(default=1000, metadata={"most": MOST_STEPS, "help": "T, the length of the chain"})
    beta_start: float = field(default=1e-4, metadata={"help": "β of the first step, in (0, 1)"})
    beta_end: float = field(default=0.02, metadata={"help": "β of the last step, in (0, 1)"})

    def __post_init__(self) -> None:
        _check_chain(self.steps, beta_start=self.beta_start, beta_end=self.beta_end)


@dataclass(frozen=True)
class LinearBeta(BetaRange):
    """β rising linearly (Ho et al. 2020, section 4): ᾱ_500 = 0.0786 and ᾱ_1000 = 4.04e-5 as given there."""

    name: ClassVar[str] = "linear"

    def build(self) -> BetaSchedule:
        return BetaSchedule(torch.linspace(self.beta_start, self.beta_end, self.steps, dtype=torch.float64))


@dataclass(frozen=True)
class ConstantBeta:
    """The same β at every step. By default alpha ends where that of 1000 linear steps does (ᾱ = 4.04e-5)."""

    name: ClassVar[str] = "constant"

    steps: int = field(default=1000, metadata={"most": MOST_STEPS, "help": "T, the length of the chain"})
    beta: float = field(default=0.0100667, metadata={"help": "β of every step, in (0, 1)"})

    def __post_init__(self) -> None:
        _check_chain(self.steps, beta=self.beta)

    def build(self) -> BetaSchedule:
        return BetaSchedule(torch.full((self.steps,), self.beta, dtype=torch.float64))


@dataclass(frozen=True)
class CosineBeta:
    """ᾱ(t) = f(t)/f(0), f(t) = cos²((t + s)/(1 + s) · π/2), as a chain (Nichol & Dhariwal 2021, eq. 17)."""

    name: ClassVar[str] = "cosine"

    steps: int = field(default=1000, metadata={"most": MOST_STEPS, "help": "T, the length of the chain"})
    s: float = field(default=0.008, metadata={"help": "offset that keeps the first β from vanishing, 0 to 10"})
    max_beta: float = field(default=0.999, metadata={"help": "upper limit of β, in (0, 1)"})

    def __post_init__(self) -> None:
        _check_chain(self.steps, max_beta=self.max_beta)
        if not 0 <= self.s <= 10:
            raise InputError(f"schedule.s: {self.s} is out of range; give 0 to 10 (the paper's value is 0.008)")

    def build(self) -> BetaSchedule:
        quarter = torch.pi / 2 / (1 + self.s)
        angle = (torch.arange(self.steps + 1, dtype=torch.float64) / self.steps + self.s) * quarter
        before, after = angle[:-1], angle[1:]
        # β = (cos² before - cos² after)/cos² before, with the difference as a product: small β keep their digits
        betas = sin(quarter / self.steps) * torch.sin(before + after) / torch.cos(before) ** 2
        return BetaSchedule(betas.clamp(max=self.max_beta))


@dataclass(frozen=True)
class QuadraticBeta(BetaRange):
    """√β rising linearly (Song et al. 2021 "DDIM", appendix D.2; Stable Diffusion's "scaled linear")."""

    name: ClassVar[str] = "quadratic"

    def build(self) -> BetaSchedule:
        roots = torch.linspace(self.beta_start**0.5, self.beta_end**0.5, self.steps, dtype=torch.float64)
        return BetaSchedule(roots**2)


@dataclass(frozen=True)
class SigmoidBeta:
    """β along a sigmoid between its ends: slow at both (Xu et al. 2022, "GeoDiff", in its code)."""

    name: ClassVar[str] = "sigmoid"

    steps: int = field(default=1000, metadata={"most": MOST_STEPS, "help": "T, the length of the chain"})
    beta_start: float = field(default=1e-4, metadata={"help": "β far before the sigmoid's middle, in (0, 1)"})
    beta_end: float = field(default=0.02, metadata={"help": "β far after it, in (0, 1)"})
    width: float = field(default=6.0, metadata={"help": "the sigmoid is taken from -width to width, > 0"})

    def __post_init__(self) -> None:
        _check_chain(self.steps, beta_start=self.beta_start, beta_end=self.beta_end)
        if not self.width > 0:
            raise InputError(f"schedule.width: {self.width} is not positive; the usual value is 6")

    def build(self) -> BetaSchedule:
        rising = torch.linspace(-self.width, self.width, self.steps, dtype=torch.float64).sigmoid()
        return BetaSchedule(self.beta_start + (self.beta_end - self.beta_start) * rising)


@dataclass(frozen=True)
class ListedBeta:
    """Any chain, by the list of its β."""

    name: ClassVar[str] = "listed"

    betas: tuple[float, ...] = field(default=(1e-4, 0.02), metadata={"help": "β_1 … β_T, each in (0, 1)"})

    def __post_init__(self) -> None:
        self.build()

    @property
    def steps(self) -> int:
        """T, the length of the chain."""
        return len(self.betas)

    def build(self) -> BetaSchedule:
        return BetaSchedule(self.betas)

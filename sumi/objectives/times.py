"""Time samplers: they turn uniform numbers u in [0, 1), one per sample, into training times.

A time sampler is an inverse distribution function, increasing in u. The randomness stays counter-based, so a resumed
run sees the same times. It knows its density p(t), relative to uniform times (on a grid: T times the probability of
i/T). A loss then estimates one of

    E[L(t)]  over p,  the weight becomes w(t) p(t)           EDM's log-normal σ̂, logit-normal t, as in their papers
    E[L(t)/p(t)],     the same integral for any p             importance sampling; every likelihood weight

`stratified` spreads u evenly over the batch, for any sampler.
"""

from dataclasses import dataclass, field
from math import pi, sqrt
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from sumi.boundary.group import group
from sumi.data.batch import Batch
from sumi.errors import InputError
from sumi.process.schedule import MOST_STEPS, NoiseLevel, Schedule, noise_level, wronskian
from sumi.randomness import Purpose, uniform

SMALLEST_U, LARGEST_U = 2.0**-54, 1 - 2.0**-53  # a normal quantile is infinite at 0 and at 1


class TimeSampler(Protocol):
    """Maps u (N,) in [0, 1) to times (N,) float64 in [0, 1].

    ``grid``: T if only times i/T occur, else None. ``divides``: whether losses are divided by the density.
    """

    @property
    def grid(self) -> int | None: ...

    divides: ClassVar[bool]

    def begin(self, step: int, /) -> None:
        """Called before the times of every training step, once or more."""
        ...

    def times(self, u: Tensor, schedule: Schedule, /) -> Tensor: ...

    def density(self, t: NoiseLevel, schedule: Schedule, /) -> Tensor:
        """p at a level of tensors (N,), relative to uniform times: float64 (N,)."""
        ...

    def record(self, t: Tensor, losses: Tensor, /) -> None:
        """Called with the losses (N,) at times t (N,), before any division."""
        ...


class _FixedTimes:
    """Continuous times whose density neither depends on the losses nor divides them."""

    divides: ClassVar[bool] = False

    @property
    def grid(self) -> int | None:
        return None

    def begin(self, _: int, /) -> None:
        pass

    def record(self, _t: Tensor, _losses: Tensor, /) -> None:
        pass


def stratified(first: float, positions: Tensor, batch: int) -> Tensor:
    """u_i = (first + i/batch) mod 1 at ``positions`` i (N,) of the whole batch: float64 (N,).

    Each u is uniform if ``first`` is, and every interval of length 1/batch holds one: the batch loss varies less
    (Kingma et al. 2021, appendix I.1).
    """
    return (first + positions.double() / batch) % 1.0


def places(batch: Batch, whole: int | None) -> Tensor:
    """u of each position of a batch, float64 (n,): `stratified` over a step's ``whole`` batch; None: independent."""
    if whole is None:
        return batch.uniform(Purpose.TRAINING_TIME)
    first = float(uniform(batch.seed, [0], batch.step, Purpose.TRAINING_TIME))
    return stratified(first, torch.from_numpy(batch.positions), whole)


@dataclass(frozen=True)
class GridTimes(_FixedTimes):
    """Each of 1/T, 2/T, … 1 equally often: the discrete chain of Ho et al. 2020."""

    name: ClassVar[str] = "grid"

    steps: int = field(
        default=1000,
        metadata={"most": MOST_STEPS, "help": "T, the number of times; the schedule's own number of steps"},
    )

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    @property
    def grid(self) -> int | None:
        return self.steps

    def times(self, u: Tensor, _: Schedule, /) -> Tensor:
        return ((u * self.steps).floor() + 1) / self.steps

    def density(self, t: NoiseLevel, _: Schedule, /) -> Tensor:
        return torch.ones_like(torch.as_tensor(t.t))


@dataclass(frozen=True)
class ImportanceTimes:
    """The grid's times, sampled by the size of their losses: `ImportanceSampler` (Nichol & Dhariwal 2021).

    This is the configuration; `sampler` builds the module that stores the losses.
    """

    name: ClassVar[str] = "importance"

    steps: int = field(
        default=1000,
        metadata={"most": MOST_STEPS, "help": "T, the number of times; the schedule's own number of steps"},
    )
    history: int = field(default=10, metadata={"most": 1000, "help": "number of past losses stored for each time"})

    def __post_init__(self) -> None:
        _check_steps(self.steps)
        if self.history < 1:
            raise InputError(f"times.history: {self.history} is too few; the paper's value is 10")

    @property
    def grid(self) -> int | None:
        return self.steps

    def sampler(self) -> "ImportanceSampler":
        """A new sampler without losses."""
        return ImportanceSampler(self.steps, self.history)


@dataclass(frozen=True)
class UniformTimes(_FixedTimes):
    """Times uniform on [``start``, 1] (Song et al. 2021: start = 1e-5 for variance preserving processes)."""

    name: ClassVar[str] = "uniform"

    start: float = field(
        default=1e-3, metadata={"help": "the earliest time, in (0, 1): at 0 there is nothing to predict"}
    )

    def __post_init__(self) -> None:
        if not 0 < self.start < 1:
            raise InputError(f"times.start: {self.start} is not between 0 and 1")

    def times(self, u: Tensor, _: Schedule, /) -> Tensor:
        return self.start + (1 - self.start) * u

    def density(self, t: NoiseLevel, _: Schedule, /) -> Tensor:
        return torch.full_like(torch.as_tensor(t.t), 1 / (1 - self.start))


@dataclass(frozen=True)
class LogitNormalTimes(_FixedTimes):
    """log(t/(1 - t)) is normal, so intermediate times dominate (Esser et al. 2024, eq. 19). Not divided by p."""

    name: ClassVar[str] = "logit_normal"

    mean: float = field(default=0.0, metadata={"help": "of log(t/(1 - t)); above 0: more often noisy"})
    std: float = field(default=1.0, metadata={"help": "of log(t/(1 - t)), > 0"})

    def __post_init__(self) -> None:
        _check_std(self.std)

    def times(self, u: Tensor, _: Schedule, /) -> Tensor:
        return torch.sigmoid(self.mean + self.std * _normal_quantile(u))

    def density(self, t: NoiseLevel, _: Schedule, /) -> Tensor:
        time = torch.as_tensor(t.t)
        return _normal_density(torch.logit(time), self.mean, self.std) / (time * (1 - time))


@dataclass(frozen=True)
class LogNormalTimes(_FixedTimes):
    """ln σ̂ is normal, within the schedule's own σ̂ = sigma/alpha (Karras et al. 2022, table 1). Not divided by p."""

    name: ClassVar[str] = "log_normal"

    mean: float = field(default=-1.2, metadata={"help": "P_mean of ln(sigma/alpha)"})
    std: float = field(default=1.2, metadata={"help": "P_std of ln(sigma/alpha), > 0"})

    def __post_init__(self) -> None:
        _check_std(self.std)

    def _range(self, schedule: Schedule) -> tuple[float, float]:
        """The normal distribution function at the schedule's smallest and largest σ̂."""
        high, low = _log_snr_range(schedule)
        ends = (torch.tensor([high, low], dtype=torch.float64) / -2 - self.mean) / self.std
        first, last = torch.special.ndtr(ends).tolist()
        if last - first < 1e-6:
            raise InputError(
                f"times.mean: {self.mean} with times.std = {self.std} lies outside the schedule's ln(sigma/alpha), "
                f"{-high / 2:.1f} … {-low / 2:.1f}; the paper's values are -1.2 and 1.2"
            )
        return first, last

    def times(self, u: Tensor, schedule: Schedule, /) -> Tensor:
        first, last = self._range(schedule)
        return schedule.time(-2 * (self.mean + self.std * _normal_quantile(first + u * (last - first))))

    def density(self, t: NoiseLevel, schedule: Schedule, /) -> Tensor:
        first, last = self._range(schedule)
        log_noise = torch.as_tensor(t.log_snr) / -2
        return _normal_density(log_noise, self.mean, self.std) / (last - first) * _log_noise_slope(t)


@dataclass(frozen=True)
class LogSNRTimes(_FixedTimes):
    """log-SNR is uniform between the schedule's ends, or ``low`` and ``high`` if narrower (Kingma & Gao 2023)."""

    name: ClassVar[str] = "log_snr"

    low: float = field(default=-20.0, metadata={"help": "least log-SNR; the schedule's at t = 1 if that is more"})
    high: float = field(default=13.3, metadata={"help": "largest log-SNR; the schedule's at t = 0 if that is less"})

    def _range(self, schedule: Schedule) -> tuple[float, float]:
        high, low = _log_snr_range(schedule)
        high, low = min(high, self.high), max(low, self.low)
        if not low < high:
            raise InputError(
                f"times.low: there is no log-SNR from {low:.1f} to {high:.1f}; lower it, or raise times.high"
            )
        return high, low

    def times(self, u: Tensor, schedule: Schedule, /) -> Tensor:
        high, low = self._range(schedule)
        return schedule.time(high - u * (high - low))

    def density(self, t: NoiseLevel, schedule: Schedule, /) -> Tensor:
        high, low = self._range(schedule)
        return 2 * _log_noise_slope(t) / (high - low)


class ImportanceSampler(nn.Module):
    """Times i/T with p_i ∝ √E[L_i²] over the last losses at each, which minimises the variance of L/p.

    Uniform until every time has ``history`` losses. As in the paper's code, a share `UNIFORM_PART` of the times stays
    uniform. The losses are buffers, so checkpoints store them. p is constant within a step, so it does not matter how a
    batch is divided. (Nichol & Dhariwal 2021, section 3.3.)
    """

    UNIFORM_PART: ClassVar[float] = 0.001
    divides: ClassVar[bool] = True

    losses: Tensor
    counts: Tensor

    def __init__(self, steps: int, history: int) -> None:
        super().__init__()
        self.steps, self.history = steps, history
        self.register_buffer("losses", torch.zeros(steps, history))
        self.register_buffer("counts", torch.zeros(steps, dtype=torch.int64))
        self._step: int | None = None
        self._density = torch.ones(steps, dtype=torch.float64)

    @property
    def grid(self) -> int | None:
        return self.steps

    def begin(self, step: int, /) -> None:
        """Update p with the losses of all earlier steps."""
        if step == self._step:
            return
        self._step = step
        size = self.losses.cpu().double().square().mean(1).sqrt()
        if bool((self.counts >= self.history).all()) and float(size.sum()) > 0:
            self._density = torch.lerp(size / size.mean(), torch.ones_like(size), self.UNIFORM_PART)
        else:
            self._density = torch.ones_like(size)

    def times(self, u: Tensor, _: Schedule, /) -> Tensor:
        edges = self._density.cumsum(0)
        index = torch.searchsorted(edges, u * edges[-1], right=True).clamp(max=self.steps - 1)
        return (index.double() + 1) / self.steps

    def density(self, t: NoiseLevel, _: Schedule, /) -> Tensor:
        return self._density[self._index(torch.as_tensor(t.t))]

    @torch.no_grad()
    def record(self, t: Tensor, losses: Tensor, /) -> None:
        """Each loss replaces the oldest one at its time, in batch order; those of all processes count."""
        t, losses = group().together(t), group().together(losses)
        index = self._index(t).to(self.losses.device)
        same = index[:, None] == index
        earlier, later = same.tril(-1).sum(1), same.triu(1).sum(1)
        place = (self.counts[index] + earlier) % self.history
        kept = later < self.history  # this batch overwrites the others
        self.losses[index[kept], place[kept]] = losses[kept].to(self.losses)
        self.counts.index_add_(0, index, torch.ones_like(index))

    def _index(self, t: Tensor) -> Tensor:
        return (t * self.steps).round().long() - 1


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise InputError(f"times.steps: {steps} is not a number of steps; give 1 or more")


def _check_std(std: float) -> None:
    if not std > 0:
        raise InputError(f"times.std: {std} is not positive; give more than 0")


def _normal_quantile(u: Tensor) -> Tensor:
    return torch.special.ndtri(u.clamp(SMALLEST_U, LARGEST_U))


def _normal_density(x: Tensor, mean: float, std: float) -> Tensor:
    return (-(((x - mean) / std) ** 2) / 2).exp() / (std * sqrt(2 * pi))


def _log_snr_range(schedule: Schedule) -> tuple[float, float]:
    """log-SNR at t = 0 and at t = 1; infinite where sigma(0) = 0 or alpha(1) = 0."""
    high, low = torch.as_tensor(noise_level(schedule, torch.tensor([0.0, 1.0])).log_snr).tolist()
    return high, low


def _log_noise_slope(t: NoiseLevel) -> Tensor:
    """d ln(sigma/alpha)/dt."""
    return torch.as_tensor(wronskian(t) / (t.alpha * t.sigma))


TimeSamplerConfig = GridTimes | UniformTimes | LogNormalTimes | LogitNormalTimes | LogSNRTimes | ImportanceTimes

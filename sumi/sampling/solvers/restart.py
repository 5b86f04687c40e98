"""Restart sampling (Xu et al. 2023, "Restart sampling for improving generative processes", algorithm 1).

An ODE's solver makes no noise and mends no error; an SDE's mends errors and makes larger ones. Restart takes turns:
from a low noise level back up to a high one in one step of the forward process, and down again by the ODE, K times.

    x_high = a x_low + √v z,        (a and v of q(x_high | x_low)),        then the solver's own steps from high to low

Both halves take the law of x_low to itself where the denoiser is exact, so samples keep the law that they have; what
they have wrong shrinks with each turn, as the noise forgets it. Both levels are times of the solver's own grid, the
outermost ones between ``low`` and ``high``. A multistep solver begins anew after each turn, with steps of low order.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from sumi.boundary.arguments import MOST_COUNT, real, whole
from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.process.gaussian import transition
from sumi.process.schedule import NoiseLevel, Schedule, noise_levels, noise_ratio
from sumi.randomness import Purpose
from sumi.sampling.solvers.solver import AroundSolver, Solver, State, StepNoise


@dataclass(frozen=True)
class Restart:
    """How often, and between which sigma/alpha (the paper's values for CIFAR-10). Raises InputError."""

    shorthand: ClassVar[str] = "repeats"

    repeats: int = field(default=0, metadata={"help": "how often noise is added again and taken away; 0: never"})
    low: float = field(default=0.06, metadata={"help": "sigma/alpha from which it is added, > 0"})
    high: float = field(default=0.3, metadata={"help": "sigma/alpha up to which it is added"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "repeats", whole("restart.repeats", self.repeats, most=MOST_COUNT))
        for name in ("low", "high"):
            object.__setattr__(self, name, real(f"restart.{name}", getattr(self, name)))
        if not 0 < self.low < self.high:
            raise InputError(f"restart.interval: {self.low:g},{self.high:g} is not LOW,HIGH with 0 < LOW < HIGH")

    def times(self, times: Tensor, schedule: Schedule) -> Tensor:
        """The falling ``times`` (K + 1,) of a grid, with the part between the levels repeated.

        Raises InputError where no step of the grid lies between them.
        """
        ratios = torch.tensor([noise_ratio(level) for level in noise_levels(schedule, times[:-1])])
        within = ((ratios >= self.low) & (ratios <= self.high)).nonzero()[:, 0].tolist()
        if self.repeats and len(within) < 2:
            raise InputError(
                f"restart.interval: no step of {len(times) - 1} lies between {self.low:g} and {self.high:g}; give more "
                "steps, or a wider one"
            )
        if not self.repeats:
            return times
        again = times[within[0] : within[-1] + 1]
        return torch.cat([times[: within[-1] + 1], again.repeat(self.repeats), times[within[-1] + 1 :]])


def turns(times: Tensor) -> int:
    """How often ``times`` (K + 1,) go back up."""
    return int((times.diff() > 0).sum())


def raised(x: Tensor, t: NoiseLevel, s: NoiseLevel, noise: StepNoise) -> Tensor:
    """A sample of q(x_s | x_t) for a *later* s; x of shape (N, …). Raises InputError without a noise source."""
    up = transition(t, s)
    return x * float(up.scale) + noise(Purpose.STEP) * float(up.variance) ** 0.5


@dataclass(frozen=True)
class Restarted(AroundSolver[State]):
    """A solver for `Restart.times`: a step to a later time samples the forward process, after which it starts anew."""

    draws_noise: bool = field(default=True, init=False)

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: State, noise: StepNoise
    ) -> tuple[Tensor, State]:
        """x (N, …) from t to s, earlier or later. Raises InputError without a noise source."""
        if s.t > t.t:
            return raised(x, t, s, noise), self.init()
        return self.solver.step(denoiser, x, t, s, state, noise)


def restarted(name: str, solver: Solver[State]) -> Restarted[State]:
    """The solver called ``name`` with restarts. Raises InputError for one that follows no ODE or SDE."""
    if solver.order == 0:
        raise InputError(f"restart: goes on from where an ODE's or SDE's solver is, and {name} is none; choose adams")
    return Restarted(solver)

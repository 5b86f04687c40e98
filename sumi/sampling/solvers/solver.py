"""What a solver is: one pure step from time t to the earlier time s; whatever it must remember is handed in and out."""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.process.schedule import NoiseLevel
from sumi.randomness import Purpose


class Noise(Protocol):
    """Standard normal noise shaped like x, by step, purpose and, where a step needs several of one purpose, draw."""

    def __call__(self, step: int, purpose: Purpose, draw: int = 0, /) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class StepNoise:
    """The noise of one step. Raises InputError at the first draw where the caller of `sample` offered none."""

    noise: Noise | None
    step: int

    def __call__(self, purpose: Purpose, draw: int = 0) -> Tensor:
        if self.noise is None:
            raise InputError("noise: this sampler needs noise for each step; pass noise= to sample()")
        return self.noise(self.step, purpose, draw)


State = TypeVar("State")
"""What a solver remembers from step to step: None, or the last evaluations."""


class Solver(Protocol[State]):
    """A solver never asks which schedule, parameterization or guidance it has."""

    @property
    def order(self) -> int:
        """Of convergence: n steps of a smooth grid, between two times of 0 < sigma, 0 < alpha, err like n^-order.

        Without noise of steps that is the error of x_s itself, and a multistep solver has it when its first steps are
        exact. With noise it is the error of the distribution's mean and variance (weak order). 0: more steps alone do
        not bring it to the exact answer.
        """
        ...

    @property
    def draws_noise(self) -> bool:
        """Whether its steps draw noise: `sample` must then be given some. If not, x_s is a function of x_t."""
        ...

    @property
    def off_grid(self) -> bool:
        """Whether it evaluates the denoiser between the times of the grid.

        A network that was trained on a chain's own times knows no others.
        """
        ...

    def init(self) -> State:
        """The state before the first step."""
        ...

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: State, noise: StepNoise
    ) -> tuple[Tensor, State]:
        """x at time t (shape (N, …)) carried to the earlier time s, and the next state. Levels are floats."""
        ...


@dataclass(frozen=True)
class AroundSolver(Generic[State]):
    """What adds to the steps of another solver has of it: its order, its noise, its state, and where it evaluates."""

    solver: Solver[State]

    @property
    def order(self) -> int:
        """As the solver's own steps."""
        return self.solver.order

    @property
    def draws_noise(self) -> bool:
        """As the solver's own steps."""
        return self.solver.draws_noise

    @property
    def off_grid(self) -> bool:
        """As the solver's own steps."""
        return self.solver.off_grid

    def init(self) -> State:
        """The solver's."""
        return self.solver.init()

"""What a solver is: one pure step from time t to the earlier time s; whatever it must remember is handed in and out."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.process.noise import Purpose
from sumi.process.schedule import NoiseLevel

StepNoise = Callable[[Purpose], Tensor] | None
"""Standard normal noise shaped like x for one step, by purpose; None where the caller offers none."""

State = TypeVar("State")
"""What a solver remembers from step to step: None, or the last evaluations."""


class Solver(Protocol[State]):
    """A solver never asks which schedule, parameterization or guidance it has."""

    def init(self) -> State:
        """The state before the first step."""
        ...

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: State, noise: StepNoise
    ) -> tuple[Tensor, State]:
        """x at time t (shape (N, …)) carried to the earlier time s, and the next state. Levels are floats."""
        ...

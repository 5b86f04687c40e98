"""Predictor-corrector sampling (Song et al. 2021, "Score-based generative modeling through SDEs", algorithms 2 to 5).

Any solver predicts x_s; then, at the level of s, a few steps of Langevin dynamics correct its distribution:

    x ← x + ε g + √(2ε) z,      g = ∇ log p(x_s),      ε = 2 (r ‖z‖/‖g‖)²

so that the step's length is r times that of its noise ("signal-to-noise ratio").

Three choices differ from the paper's code. It averages both norms over the batch; here a sample does not depend on its
neighbours, so ‖g‖ is its own, and ‖z‖ what that average tends to, √D in D dimensions (its own would heat x by 2/D). The
factor α_i = 1 - β_i that algorithm 5 gives ε on variance preserving chains is left out: without it the step is the same
on every schedule, since ‖g‖ alone carries x's unit. And ε is at most sigma_s²: -∇² log p ≤ 1/sigma_s², so up to there
no step overshoots, and none is infinite where g vanishes.

Steps whose length depends on ‖g‖ come to rest at p ‖g‖² instead of p, and finite ones a little wider: on Gaussian data
at (1 + 2/D)(1 + r²) times the variance of x_s. That is 2.6 % too much for images and r = 0.16, but twice as much for
points in the plane: the corrector is made for many dimensions.

Data itself (s with sigma = 0) is not corrected.
"""

from dataclasses import dataclass, field
from typing import Generic

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel
from sumi.randomness import Purpose
from sumi.sampling.solvers.solver import Solver, State, StepNoise


@dataclass(frozen=True)
class PredictorCorrector(Generic[State]):
    """A solver followed by Langevin steps; 1 + corrections evaluations a step if the predictor's own are 1.

    ``order`` 0: whatever the predictor's, the corrections come to rest at 1 + r² times the variance.
    """

    order = 0
    draws_noise = True

    predictor: Solver[State]
    corrections: int = field(
        default=1, metadata={"most": 10**5, "help": "Langevin steps after each step of the predictor, ≥ 1"}
    )
    snr: float = field(default=0.16, metadata={"help": "r, the length of a correction over that of its noise, > 0"})

    def __post_init__(self) -> None:
        if self.corrections < 1:
            raise InputError(f"corrections: {self.corrections} is not a number of corrections; give 1 or more")
        if not self.snr > 0:
            raise InputError(f"snr: {self.snr} is not positive; the paper's value is 0.16")

    @property
    def off_grid(self) -> bool:
        """As the predictor's: corrections happen at the grid's own times."""
        return self.predictor.off_grid

    def init(self) -> State:
        return self.predictor.init()

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: State, noise: StepNoise
    ) -> tuple[Tensor, State]:
        """The predictor's step to s and the corrections there, x of shape (N, …). Raises InputError without noise."""
        x, state = self.predictor.step(denoiser, x, t, s, state, noise)
        for draw in range(self.corrections if s.sigma else 0):
            x = self._correct(denoiser, x, s, noise(Purpose.CORRECTOR, draw))
        return x, state

    def _correct(self, denoiser: Denoiser, x: Tensor, s: NoiseLevel, z: Tensor) -> Tensor:
        score = denoiser(x, s).score
        mean_square = score.flatten(1).square().mean(1)  # ‖g‖²/D
        length = torch.clamp(2 * self.snr**2 / mean_square, max=float(s.sigma) ** 2)
        return x + expand(length, x) * score + expand((2 * length).sqrt(), x) * z

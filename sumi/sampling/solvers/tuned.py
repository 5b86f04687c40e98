"""A multistep method whose coefficients were fitted to one model, one number of steps and one grid.

    x_s/alpha_s = x̂_0 + σ̂_s ε_t + Σ_j w_j (ε_j - ε_t)

is the form of every linear multistep method on ε (`sumi.sampling.solvers.adams`), here with all evaluations of the way
so far and the weights that `sumi.sampling.tuning` found.
"""

from dataclasses import dataclass

from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.process.schedule import NoiseLevel
from sumi.sampling.solvers.solver import StepNoise

Evaluations = tuple[Tensor, ...]
"""ε of every step so far, newest first."""


@dataclass(frozen=True)
class Tuned:
    """``weights[k]``: k numbers, the w_j of step k for the k evaluations before its own, newest first.

    ``order`` 0: it is fitted to one number of steps, and there are no more to take.
    """

    off_grid = False
    order = 0
    draws_noise = False

    weights: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        for k, row in enumerate(self.weights):
            if len(row) != k:
                raise InputError(f"weights: step {k} has {len(row)} of them, not {k}; tune again")

    def init(self) -> Evaluations:
        return ()

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: Evaluations, noise: StepNoise
    ) -> tuple[Tensor, Evaluations]:
        """One step and one evaluation; x of shape (N, …). Raises InputError for more steps than were fitted."""
        del noise
        if len(state) >= len(self.weights):
            raise InputError(f"steps: this solver was fitted to {len(self.weights)}; give it its own times")
        denoised = denoiser(x, t)
        epsilon, alpha = denoised.noise, float(s.alpha)
        x_s = (denoised.clean * alpha).add_(epsilon, alpha=float(s.sigma))
        for w, past in zip(self.weights[len(state)], state, strict=True):
            x_s.add_(past - epsilon, alpha=alpha * w)
        return x_s, (epsilon, *state)

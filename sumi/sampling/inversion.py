"""Inversion: from data to the noise that a sampler makes them of.

The probability-flow ODE leads both ways, and nothing in a solver's step from x_t to x_s asks which of the two has more
noise: the same solver on the same times in rising order carries data to noise. With DDIM that is "DDIM inversion" (Song
et al. 2021, "Denoising diffusion implicit models", section 4.3; Dhariwal & Nichol 2021, appendix F).

*Out of the data.* ε̂ cannot be evaluated where sigma = 0. Where the density is smooth it goes to 0 there, as σ̂ does, so
that the trapezoid needs one evaluation:

    x_s = alpha_s x_0 + ½ sigma_s ε̂(alpha_s x_0, s),      off by the order of σ̂_s⁴

*Corrections.* Φ, the sampler's own step from x_s, does not quite lead back to x_t. Its exact inverse is where

    x_s ← x_s + |s|/|t| (x_t - Φ(x_s)),      |t| = √(alpha_t² + sigma_t²)

comes to rest (Pan et al. 2023, "Effective real image editing with accelerated iterative diffusion inversion"; Garibi et
al. 2024, "ReNoise"). An iteration leaves 1 - |s|/|t| ∂Φ/∂x_s of what is off, which is small where steps are short. Two
steps stay beyond it for a real network: the sampler's last, which is x̂_0 and leads from many x to one, and its first
where sigma/alpha is so large that x̂_0 is only what it is clamped to.

Interpolation between two draws of noise, on the sphere that both are on (Shoemake 1985; Song et al. 2021, "DDIM").

    z(w) = |z(w)| (sin((1 - w) θ) a/|a| + sin(w θ) b/|b|)/sin θ,      |z(w)| = (1 - w)|a| + w|b|

with θ the angle between a and b. Noise in many dimensions has one length, and the mean of two draws would be shorter,
with less noise than a sampler expects. Two draws are nearly orthogonal, so that the weights are a cosine and a sine and
z(w) a draw of the same normal distribution.
"""

from dataclasses import dataclass, field
from math import atan2, pi, sin
from typing import Final

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError, SumiError
from sumi.process.schedule import NoiseLevel, deviation
from sumi.sampling.sample import sample
from sumi.sampling.solvers.solver import AroundSolver, Solver, State, StepNoise

REVERSIBLE: Final = ("heun", "ddim", "rk4", "adams", "adaptive")
"""Solvers that go both ways. Those that predict x̂_0 (dpmpp_2m, unipc …) amplify their errors on the way to noise."""


@dataclass(frozen=True)
class Inverse(AroundSolver[State]):
    """A solver of the ODE for steps towards noise, and out of the data (module docstring).

    Each of ``corrections`` costs as many evaluations as a step of the solver. Raises InputError for corrections of a
    solver that remembers more than x, and SumiError where they run away.
    """

    corrections: int = field(default=0, metadata={"help": "fixed-point iterations of each step, 0 or more"})

    def __post_init__(self) -> None:
        if self.corrections < 0:
            raise InputError(f"corrections: {self.corrections} is not a number of iterations; give 0 or more")
        if self.corrections and self.solver.init() is not None:
            raise InputError("corrections: need a solver of single steps; choose heun, ddim or rk4")

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: State, noise: StepNoise
    ) -> tuple[Tensor, State]:
        """x at t carried to s, where there is more noise; x of shape (N, …)."""
        if t.sigma == 0:
            x_s = out_of_data(denoiser, x, s)
        else:
            x_s, state = self.solver.step(denoiser, x, t, s, state, noise)
        for _ in range(self.corrections):
            back, _ = self.solver.step(denoiser, x_s, s, t, self.solver.init(), noise)
            x_s = x_s + float(deviation(s) / deviation(t)) * (x - back)
        if not bool(torch.isfinite(x_s).all()):
            raise SumiError(f"inversion: is no longer finite at t = {s.t:.3g}; take more steps, or fewer corrections")
        return x_s, state


def out_of_data(denoiser: Denoiser, x_0: Tensor, s: NoiseLevel) -> Tensor:
    """x at s of data x_0 (N, …), where s has little noise: one evaluation."""
    x_s = float(s.alpha) * x_0
    return x_s + float(s.sigma) / 2 * denoiser(x_s, s).noise


def invert(denoiser: Denoiser, solver: Solver[State], times: Tensor, x_0: Tensor, corrections: int = 0) -> Tensor:
    """The noise at ``times[0]`` that `sample` with the same solver and falling times makes x_0 (N, …) of."""
    return sample(denoiser, Inverse(solver, corrections), times.flip(0), x_0)


LEAST: Final = 1e-4
"""Radians from parallel or opposite, from where the formula has no digits left."""


def slerp(a: Tensor, b: Tensor, parts: Tensor) -> Tensor:
    """z(w) for each w in [0, 1] of ``parts`` (P,): shape (P, …) from a and b of shape (…), exact at both ends.

    Raises InputError for a and b that are opposite, where no way is the shortest, and for noise that is 0.
    """
    one, other = a.double(), b.double()
    lengths = float(one.norm()), float(other.norm())
    if not all(lengths):
        raise InputError("interpolation: noise that is 0 everywhere has no direction; give other latents")
    directions = one / lengths[0], other / lengths[1]
    theta = 2 * atan2(float((directions[0] - directions[1]).norm()), float((directions[0] + directions[1]).norm()))
    if theta > pi - LEAST:
        raise InputError("interpolation: the two are opposite, and no way between them is the shortest; give others")
    rows = []
    for w in parts.double().tolist():
        length = (1 - w) * lengths[0] + w * lengths[1]
        of_one, of_other = (sin(v * theta) / sin(theta) if theta > LEAST else v for v in (1 - w, w))
        rows.append(length * of_one / lengths[0] * one + length * of_other / lengths[1] * other)
    return torch.stack(rows).to(a.dtype)

"""Inversion: from data to the noise from which a sampler generates them.

The probability-flow ODE runs both ways, and a solver's step does not depend on whether x_t or x_s has more noise: the
same solver on the same times in rising order maps data to noise. With DDIM this is "DDIM inversion" (Song et al. 2021,
"Denoising diffusion implicit models", section 4.3; Dhariwal & Nichol 2021, appendix F).

*The first step, out of the data.* ε̂ cannot be evaluated where sigma = 0. For a smooth density it vanishes there like
σ̂, so the trapezoidal rule needs one evaluation:

    x_s = alpha_s x_0 + ½ sigma_s ε̂(alpha_s x_0, s),      off by the order of σ̂_s⁴

*Corrections.* Φ, the sampler's own step from x_s, does not lead back to x_t exactly. Its exact inverse is the fixed
point of

    x_s ← x_s + |s|/|t| (x_t - Φ(x_s)),      |t| = √(alpha_t² + sigma_t²)

(Pan et al. 2023, "Effective real image editing with accelerated iterative diffusion inversion"; Garibi et al. 2024,
"ReNoise"). An iteration multiplies the error by 1 - |s|/|t| ∂Φ/∂x_s, which is small for short steps. Two steps of a
real network cannot be corrected: the sampler's last, which is x̂_0 and maps many x to one, and its first if sigma/alpha
is so large that clamping decides x̂_0.

Interpolation between two noise tensors, along a great circle (Shoemake 1985; Song et al. 2021, "DDIM").

    z(w) = |z(w)| (sin((1 - w) θ) a/|a| + sin(w θ) b/|b|)/sin θ,      |z(w)| = (1 - w)|a| + w|b|

with θ the angle between a and b. Noise in many dimensions has nearly constant length, and the mean of two samples would
be shorter, with less noise than a sampler expects. Two samples are nearly orthogonal, so the weights are a cosine and a
sine, and z(w) has the same normal distribution.
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
"""Solvers that work in both directions. Those that predict x̂_0 (dpmpp_2m, unipc …) amplify errors towards noise."""


@dataclass(frozen=True)
class Inverse(AroundSolver[State]):
    """A solver of the ODE for steps towards noise, and out of the data (module docstring).

    Each of ``corrections`` costs as many evaluations as a step of the solver. Raises InputError for corrections of a
    multistep solver, and SumiError where they diverge.
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
        """x (N, …) from t to s, which has more noise."""
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
    """x at the small noise level s from data x_0 (N, …), by one evaluation."""
    x_s = float(s.alpha) * x_0
    return x_s + float(s.sigma) / 2 * denoiser(x_s, s).noise


def invert(denoiser: Denoiser, solver: Solver[State], times: Tensor, x_0: Tensor, corrections: int = 0) -> Tensor:
    """The noise at ``times[0]`` from which `sample` with the same solver and falling times generates x_0 (N, …)."""
    return sample(denoiser, Inverse(solver, corrections), times.flip(0), x_0)


LEAST: Final = 1e-4
"""Radians from parallel or opposite below which the formula loses its precision."""


def slerp(a: Tensor, b: Tensor, parts: Tensor) -> Tensor:
    """z(w) for each w in [0, 1] of ``parts`` (P,): shape (P, …) from a and b of shape (…), exact at both ends.

    Raises InputError for opposite a and b, which have no unique shortest path, and for zero noise.
    """
    one, other = a.double(), b.double()
    lengths = float(one.norm()), float(other.norm())
    if not all(lengths):
        raise InputError("interpolation: a latent is 0 everywhere and has no direction; give another")
    directions = one / lengths[0], other / lengths[1]
    theta = 2 * atan2(float((directions[0] - directions[1]).norm()), float((directions[0] + directions[1]).norm()))
    if theta > pi - LEAST:
        raise InputError("interpolation: the two latents are opposite, with no unique shortest path; give others")
    rows = []
    for w in parts.double().tolist():
        length = (1 - w) * lengths[0] + w * lengths[1]
        of_one, of_other = (sin(v * theta) / sin(theta) if theta > LEAST else v for v in (1 - w, w))
        rows.append(length * of_one / lengths[0] * one + length * of_other / lengths[1] * other)
    return torch.stack(rows).to(a.dtype)

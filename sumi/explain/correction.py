"""How far later steps correct the errors of earlier ones depends on the sampler.

For data N(m, c²) the exact denoiser is affine. Of a unit error at time t, at time s there remains

    under the probability-flow ODE            std_s/std_t                        std_t² = alpha_t² c² + sigma_t²
    under ancestral sampling (on average)     Cov(x_s, x_t)/Var(x_t),
                                              Cov = alpha_s alpha_t c² + alpha_t/alpha_s sigma_s²

so the ODE keeps the error relative to the marginal's width, while fresh noise makes an ancestral sampler forget it.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sumi.denoising.exact import gaussian_denoiser
from sumi.figures.canvas import INK, RED, SavedFigure, canvas, name_lines, save
from sumi.process.schedule import NoiseLevel, Schedule
from sumi.randomness import Purpose
from sumi.sampling.sample import sample
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.solver import Solver, State

STD = 0.3


@dataclass(frozen=True)
class Remainder:
    """What remains of a unit error at each time s, measured through the real sampler."""

    t: tuple[float, ...]
    left: tuple[float, ...]


def measure_remainder(
    schedule: Schedule, solver: Solver[State], *, kick_at: float = 0.5, steps: int = 500
) -> Remainder:
    """The sampler's response to a unit error in x at ``kick_at``, for data N(0, 0.3²) and fixed noise."""
    times = kick_at * (1 - torch.arange(steps + 1, dtype=torch.float64) / steps)
    left, at = [1.0], [kick_at]

    def silent(step: int, purpose: Purpose, draw: int = 0, /) -> Tensor:
        del step, purpose, draw
        return torch.zeros(2, 1, dtype=torch.float64)

    def record(step: int, level: NoiseLevel, x: Tensor) -> None:
        del step
        at.append(float(level.t))
        left.append(float(x[1] - x[0]))

    start = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    sample(gaussian_denoiser(0.0, STD, schedule), solver, times, start, silent, record)
    return Remainder(tuple(at), tuple(left))


def draw_correction(schedule: Schedule, path: Path) -> SavedFigure:
    """The remainder of a unit error at t = 0.5 on the way to the data, for DDIM (the ODE) and ancestral sampling."""
    figure = canvas(6.5, 3.4)
    axes = figure.subplots()
    ends = {}
    for label, eta, colour in (("DDIM, η = 0 (the ODE)", 0.0, INK), ("ancestral, η = 1", 1.0, RED)):
        remainder = measure_remainder(schedule, DDIM(eta=eta))
        axes.plot(remainder.t, remainder.left, color=colour, label=label)
        ends[eta] = remainder.left[-1]
    axes.invert_xaxis()
    axes.set_xlabel("t   (sampling goes from left to right)")
    axes.set_ylabel("remainder of a unit error at t = 0.5")
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.25)
    name_lines(axes)
    return save(
        figure,
        path,
        f"of a unit error made at t = 0.5, the ODE keeps {ends[0.0]:.4f}, ancestral sampling {ends[1.0]:.4f}",
    )

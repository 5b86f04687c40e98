"""DPM-Solver++ (Lu et al. 2022, "DPM-Solver++: fast solver for guided sampling"), with data prediction.

Both kinds take the exponential integrator of `exponential`, whatever the schedule, and evaluate once an interval of the
grid, at its beginning:

    multistep    each step uses its own evaluation and those of the k - 1 steps before; the first steps fewer
    singlestep   k intervals are one step of order k, whose stages are the grid's own times, each reached from where the
                 step begins by the evaluations so far

The SDE variant (the paper's SDE-DPM-Solver++; "2M SDE") is the multistep one with η > 0; order 1 is then DDPM's
ancestral sampler, as order 1 with η = 0 is DDIM. η² is the part of the reverse SDE's noise, as in `euler_maruyama` and
DDIM; the η of k-diffusion is our η². It is of weak order 2 at most.

The polynomial is in λ, which is infinite for data and for pure noise. A step to the data ends with x̂_0, at order 1, and
evaluations at λ = -∞ are not remembered. (To extrapolate x̂_0 to σ̂ = 0 instead, from two evaluations and linearly in σ̂²
as theory has it for small σ̂, changes hardly anything on grids even in log-SNR; in even steps of t, whose last interval
is by far the worst, it made some errors on exact mixtures a third smaller and others twice as large.)
"""

from dataclasses import dataclass, field
from math import inf
from typing import Literal

from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.process.schedule import NoiseLevel
from sumi.randomness import Purpose
from sumi.sampling.solvers.exponential import Base, Evaluations, Slope, added_noise, advance, check_slope, half_log_snr
from sumi.sampling.solvers.solver import StepNoise


@dataclass(frozen=True)
class DPMSolverMultistep:
    """DPM-Solver++ of the last ``evaluations`` (module docstring), which are its order, and 2 at most with η > 0."""

    off_grid = False

    evaluations: int = field(default=2, metadata={"help": "evaluations that a step uses: 1 (DDIM), 2 or 3"})
    eta: float = field(default=0.0, metadata={"help": "0 is the probability-flow ODE, 1 the reverse SDE, in [0, 1]"})
    slope: Slope = field(default="bh2", metadata={"help": "of two evaluations: exact, bh2 (as the paper) or bh1"})

    def __post_init__(self) -> None:
        if self.evaluations not in (1, 2, 3):
            raise InputError(f"evaluations: {self.evaluations} is not 1, 2 or 3")
        if not 0 <= self.eta <= 1:
            raise InputError(f"eta: {self.eta} is not between 0 (the ODE) and 1 (the reverse SDE)")
        check_slope(self.slope)

    @property
    def order(self) -> int:
        """As many as evaluations; of weak order 2 at most where η > 0."""
        return min(self.evaluations, 2) if self.draws_noise else self.evaluations

    @property
    def draws_noise(self) -> bool:
        """For η > 0."""
        return self.eta > 0

    def init(self) -> Evaluations:
        return ()

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: Evaluations, noise: StepNoise
    ) -> tuple[Tensor, Evaluations]:
        """One step, x of shape (N, …). Raises InputError where η > 0 and no noise is offered."""
        now = (half_log_snr(t), denoiser(x, t).clean)
        evaluations = (now, *state)
        x_s = advance(x, t, s, evaluations if s.sigma else (now,), self.slope, self.eta)
        if s.sigma and self.eta:
            x_s.add_(noise(Purpose.STEP), alpha=added_noise(t, s, self.eta))
        return x_s, evaluations[: self.evaluations - 1] if t.log_snr != -inf else ()


@dataclass(frozen=True)
class DPMSolverSinglestep:
    """DPM-Solver++ whose steps of order ``order`` span as many intervals (module docstring).

    Where the intervals are not a multiple of the order, the last of them end with the order that is possible. An
    interval to the data ends with x̂_0, from wherever in a step it begins, and one from pure noise is a step by itself.
    """

    off_grid = False
    draws_noise = False

    order: Literal[2, 3] = field(default=2, metadata={"help": "of a step, and intervals that it spans: 2 or 3"})
    slope: Slope = field(default="exact", metadata={"help": "of two evaluations: exact, bh2 (as the paper) or bh1"})

    def __post_init__(self) -> None:
        if self.order not in (2, 3):
            raise InputError(f"order: {self.order} is not 2 or 3; order 1 is ddim")
        check_slope(self.slope)

    def init(self) -> Base | None:
        return None

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: Base | None, noise: StepNoise
    ) -> tuple[Tensor, Base | None]:
        """One interval, x of shape (N, …); draws no noise."""
        del noise
        now = (half_log_snr(t), denoiser(x, t).clean)
        if s.sigma == 0:
            return advance(x, t, s, (now,)), None
        base = Base(x, t, (now,)) if state is None else Base(state.x, state.t, (*state.evaluations, now))
        x_s = advance(base.x, base.t, s, base.evaluations, self.slope)
        return x_s, base if len(base.evaluations) < self.order and t.log_snr != -inf else None

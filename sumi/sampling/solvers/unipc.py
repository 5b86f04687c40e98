"""UniPC (Zhao et al. 2023, "UniPC: a unified predictor-corrector framework"), with data prediction.

UniP-p is the exponential integrator of `exponential` through the last p evaluations, UniC-p the same over the same step
with the evaluation at its end as well:

    UniP    x_s  from x_t   by the evaluations at t, and before
    UniC    x_s' from x_t   by those and x̂_0(x_s, s),            of order p + 1

That last evaluation is the one the next step begins with, so each step costs one: it evaluates at x_t, corrects x_t
from the point before with it, and predicts from the corrected point with the same evaluation. The last step is not
corrected: it ends with x̂_0 where it ends at the data.

For three evaluations and more the paper solves for weights that make the polynomial's integral exact, and its B(h)
cancels; it remains where two are known (UniP-2, and UniC-1 in the first step).
"""

from dataclasses import dataclass, field
from math import inf

from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.process.schedule import NoiseLevel
from sumi.sampling.solvers.exponential import Base, Slope, advance, check_slope, half_log_snr
from sumi.sampling.solvers.solver import StepNoise


@dataclass(frozen=True)
class UniPC:
    """UniPC-p of p = ``predictor_order``: of order p + 1, with one evaluation a step (module docstring)."""

    off_grid = False
    draws_noise = False

    predictor_order: int = field(default=2, metadata={"help": "p; the corrector has one more: 1, 2 or 3"})
    slope: Slope = field(default="bh2", metadata={"help": "of two evaluations: exact, or the paper's bh2 or bh1"})

    def __post_init__(self) -> None:
        if self.predictor_order not in (1, 2, 3):
            raise InputError(f"predictor_order: {self.predictor_order} is not 1, 2 or 3")
        check_slope(self.slope)

    @property
    def order(self) -> int:
        """The corrector's."""
        return self.predictor_order + 1

    def init(self) -> Base | None:
        return None

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: Base | None, noise: StepNoise
    ) -> tuple[Tensor, Base]:
        """One step and one evaluation, x of shape (N, …); draws no noise."""
        del noise
        now = (half_log_snr(t), denoiser(x, t).clean)
        known = (now,)
        if state is not None:
            x = advance(state.x, state.t, t, (*state.evaluations, now), self.slope)
            if state.t.log_snr != -inf:
                known = (now, *state.evaluations)[: self.predictor_order]
        x_s = advance(x, t, s, known if s.sigma else (now,), self.slope)
        return x_s, Base(x, t, known)

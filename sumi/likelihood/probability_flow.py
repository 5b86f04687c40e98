"""Exact log-densities by the probability-flow ODE (Chen et al. 2018; Song et al. 2021, eq. 39).

The ODE maps data to noise and back, so the density at its noisy end, the prior N(0, prior_std²), determines the one at
the other. In the angle φ of `sumi.sampling.solvers.runge_kutta`, with y = x_t/√(alpha² + sigma²), x_t = alpha x̂_0 +
sigma ε̂ gives ε̂ = (y - cos φ x̂_0)/sin φ, and so

    dy/dφ = v̂ = cos φ ε̂ - sin φ x̂_0 = (cos φ y - x̂_0)/sin φ
    div v̂  = (D cos φ - tr ∂x̂_0/∂y)/sin φ
    log p(y_0) = log p(y_1) + ∫ div v̂ dφ       from φ_0 to φ_1                 (instantaneous change of variables)

Only the trace of x̂_0's Jacobian is estimated (`sumi.likelihood.trace`); D cos φ, much larger near the data, is exact.

*Which density.* Integration begins at a small noise level σ̂ = tan φ_0, and x stands for x_t/alpha there: the density
is that of data with added noise of size σ̂. With x = y_0/cos φ_0 and x_1 = √(alpha_1² + sigma_1²) y_1

    log p(x) = log N(x_1; 0, prior_std²) + D log √(alpha_1² + sigma_1²) + ∫ div v̂ dφ + D log cos φ_0

σ̂ is the schedule's own at t = 0 if that exceeds `SMALLEST`. Song et al. begin VP at t = 10⁻⁵, where σ̂ = 0.001 =
SMALLEST. Noise blurs the edges of dequantised bins: a value whose neighbours never occur costs 0.35 bits of an 8-bit
pixel at σ̂ = 0.002, 0.18 at 0.001 (uniform dequantisation; a learned one avoids it).

For networks that know only the times of their chain, see `sumi.likelihood.grid_flow`.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import atan, cos, log, pi, tan
from typing import ClassVar, Final, Protocol

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError, SumiError
from sumi.likelihood.trace import Trace
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel, Schedule, deviation, noise_level
from sumi.sampling.dormand_prince import State, Stuck, Tolerance, Walk, integrate
from sumi.sampling.solvers.runge_kutta import angle, at_angle

SMALLEST: Final = 0.001
LONGEST_FIRST_STEP: Final = 0.1  # radians, of the π/2 from data to noise


@dataclass(frozen=True, slots=True)
class LogDensity:
    """The ODE's result for each sample.

    ``estimates``: the log-density in nats by each estimate of the trace, float64 (N, P). ``evaluations`` of the
    denoiser: int64 (N,). ``latent``: x_1, the noise that the ODE maps the sample to, (N, …).
    """

    estimates: Tensor
    evaluations: Tensor
    latent: Tensor

    @property
    def log_density(self) -> Tensor:
        """The mean of the estimates, nats, float64 (N,)."""
        return self.estimates.mean(1)

    @property
    def standard_error(self) -> Tensor:
        """The standard error of that mean over probes, float64 (N,); NaN for a single estimate."""
        count = self.estimates.shape[1]
        if count == 1:
            return torch.full_like(self.estimates[:, 0], torch.nan)
        return self.estimates.std(1) / count**0.5


class Flow(Protocol):
    """An integrator of the ODE."""

    off_grid: ClassVar[bool]
    """Whether it evaluates the denoiser between the times of a chain."""

    @property
    def how(self) -> str:
        """Its steps in words."""
        ...

    def first(self, schedule: Schedule, /) -> NoiseLevel:
        """The level, of floats, whose density of x_t/alpha is given."""
        ...

    def log_density(
        self,
        denoiser: Denoiser,
        x: Tensor,
        trace: Trace,
        /,
        *,
        start: NoiseLevel | None = None,
        prior_std: float | None = None,
    ) -> LogDensity:
        """The density of x_t/alpha at ``start``, or at `first`, at the points x (N, …) with prior N(0, prior_std²).

        ``prior_std``: None means sigma(1), as for samplers. Works in any autograd mode.
        """
        ...


@dataclass(frozen=True)
class ProbabilityFlow:
    """Adaptive steps, with a step size per sample: a sample's density does not depend on its batch.

    Errors add up over the 10 to 25 steps; with the defaults, the mean density of mixtures of Gaussians is within 10⁻⁴
    bits per dimension.
    """

    off_grid: ClassVar[bool] = True

    rtol: float = field(default=1e-5, metadata={"help": "error per step relative to |x|, > 0"})
    atol: float = field(default=1e-5, metadata={"help": "absolute error per step, and of log p per dimension, > 0"})
    smallest: float = field(
        default=SMALLEST, metadata={"help": "σ̂ to begin at, if the schedule has less at t = 0, > 0"}
    )
    max_steps: int = field(default=1000, metadata={"most": 10**9, "help": "limit of attempted steps"})

    def __post_init__(self) -> None:
        for name in ("rtol", "atol", "smallest", "max_steps"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name}: {getattr(self, name)} is not positive")

    @property
    def how(self) -> str:
        """See `Flow`."""
        return "adaptive steps"

    def first(self, schedule: Schedule, /) -> NoiseLevel:
        """The level of σ̂ = ``smallest``, or t = 0 where the schedule has more noise there."""
        return at_angle(schedule, atan(self.smallest))

    def log_density(
        self,
        denoiser: Denoiser,
        x: Tensor,
        trace: Trace,
        /,
        *,
        start: NoiseLevel | None = None,
        prior_std: float | None = None,
    ) -> LogDensity:
        """See `Flow`. Raises SumiError, naming the row, where ``max_steps`` are not enough or values are not finite."""
        schedule, dimensions = denoiser.schedule, x[0].numel()

        def slopes(phi: Tensor, state: State) -> State:
            """v̂ and, for each estimate of the trace, div v̂ per dimension."""
            y, _ = state
            now = noise_level(schedule, schedule.time(-2 * phi.tan().log()))
            size = expand(deviation(now), y)
            clean, traces = trace(lambda y: denoiser(size * y, now).clean, y)
            of_data, of_noise = phi.cos(), phi.sin()
            velocity = (expand(of_data, y) * y - clean) / expand(of_noise, y)
            return velocity, (of_data[:, None] - traces / dimensions) / of_noise[:, None]

        with outside_inference_mode():
            first, last = start or self.first(schedule), noise_level(schedule, 1.0)
            here, end = angle(first), angle(last)
            y = x.clone() * cos(here)
            step = torch.full((len(x),), min(here, LONGEST_FIRST_STEP), dtype=torch.float64)
            begun = slopes(torch.full_like(step, here), (y, y))
            walk = Walk((y, torch.zeros_like(begun[1])), begun, step, torch.ones(len(x), dtype=torch.int64))
            tolerances = [Tolerance(self.rtol, self.atol), Tolerance(0.0, self.atol)]
            try:
                walk = integrate(slopes, walk, here, end, tolerances, self.max_steps)
            except Stuck as stuck:
                raise SumiError(self._explain(stuck)) from None
            y, per_dimension = walk.y
            return finish(y, per_dimension, walk.evaluations, here, last, prior_std)

    def _explain(self, stuck: Stuck) -> str:
        still = stuck.how == "still"
        advice = f" after {self.max_steps} steps; raise rtol and atol" if still else "; check the model there"
        return f"likelihood: row {stuck.row} of the batch is {stuck.how} at σ̂ = {tan(stuck.place):.3g}{advice}"


@contextmanager
def outside_inference_mode() -> Generator[None]:
    """Tensors created within can be differentiated, but gradients are off by default."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def finish(
    y: Tensor, per_dimension: Tensor, evaluations: Tensor, start: float, last: NoiseLevel, prior_std: float | None
) -> LogDensity:
    """The density at the angle ``start``, from y (N, …) at the level ``last`` and ∫ div v̂ dφ / D, (N, P)."""
    dimensions, size = y[0].numel(), float(deviation(last))
    std = float(last.sigma) if prior_std is None else prior_std
    latent = size * y
    squares = latent.to("cpu", torch.float64).square().flatten(1).sum(1)
    prior = -squares / (2 * std**2) - dimensions / 2 * log(2 * pi * std**2)
    estimates = prior[:, None] + dimensions * (log(size) + log(cos(start)) + per_dimension)
    return LogDensity(estimates, evaluations, latent)

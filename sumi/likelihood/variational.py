"""The variational bound of a chain: an upper bound on -log p(x_0), one term per step, in nats.

On a grid t_0 = 0 < t_1 < … < t_T = 1 of any schedule, the model starts at N(0, prior_std²) and generates
x_T → … → x_1 → x_0 by Gaussian steps. With x̂_0 = D(x_i, t_i) (Ho et al. 2020, eq. 5)

    L_T     = KL(q(x_T | x_0) ‖ N(0, prior_std²))                                               `prior`
    L_{i-1} = KL(q(x_{i-1} | x_i, x_0) ‖ N(posterior's mean at x̂_0, V_i)),   i = 2 … T           `step`
    L_0     = -log P(x_0 | x_1),  the discretised N(x̂_0, V_1)                                   `step` with i = 1

Their sum, with x_i sampled from q(x_i | x_0), bounds -log p(x_0) in expectation. The prior must be the sampler's, which
starts at `sumi.process.schedule.deviation(end, data_std)`. t_0 is the data itself, even if sigma(0) > 0: as in
sampling, the last step goes to sigma = 0. A network that knows only the grid of its chain needs that grid,
`even_times`; others can use any.

The variance V of a step from t to s, with a posterior q(x_s | x_t, x_0) = N(noisy x_t + clean x_0, β̃):

    posterior    V = β̃                                    right where x_0 is known: too small      ("small")
    transition   V = β = Var_q(x_t | x_s)                 right for data N(0, 1), to first order   ("large")
    learned      V = β̃ + clean² Var(x_0 | x_t)            right: it is Var(x_s | x_t)

The last is the law of total variance; in the step to the data (β̃ = 0, clean = 1) it is Var(x_0 | x_1). There the first
is 0, so both fixed variances use the β̃ of the previous step, from t_2 to t_1, as the code of Ho et al. does. If there
is none (T = 1), or it is unrelated to the noise in x_1 (sigma(0) > 0), they use sigma²/(alpha² + sigma²) at t_1, which
is Var(x_0 | x_1) of data N(0, 1).
"""

from dataclasses import dataclass, fields
from typing import ClassVar, Final, Protocol

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoised, Denoiser
from sumi.errors import InputError
from sumi.likelihood.discretised import check_levels, discretised_gaussian
from sumi.likelihood.estimate import Strata, information
from sumi.process.gaussian import add_noise, expand, gaussian_kl, posterior, transition
from sumi.process.schedule import NoiseLevel, Number, Schedule, noise_level


class StepVariance(Protocol):
    """V, the model's variance of one step, as a number or a tensor that broadcasts to x."""

    def between(self, denoised: Denoised, s: NoiseLevel, t: NoiseLevel) -> Number:
        """The variance of x_s given x_t, where sigma_s > 0."""
        ...

    def of_data(self, denoised: Denoised, before: Number) -> Number:
        """The variance of x_0 given x_1; ``before``: the fixed variances' value there (module docstring)."""
        ...


class _FixedVariance:
    """Common to both fixed variances: the last step uses the previous step's."""

    def of_data(self, denoised: Denoised, before: Number) -> Number:
        return expand(before, denoised.clean)


@dataclass(frozen=True)
class PosteriorVariance(_FixedVariance):
    """V = β̃ (Ho et al. 2020, section 3.2)."""

    name: ClassVar[str] = "small"

    def between(self, denoised: Denoised, s: NoiseLevel, t: NoiseLevel) -> Number:
        return expand(posterior(s, t).variance, denoised.clean)


@dataclass(frozen=True)
class TransitionVariance(_FixedVariance):
    """V = β (Ho et al. 2020, section 3.2)."""

    name: ClassVar[str] = "large"

    def between(self, denoised: Denoised, s: NoiseLevel, t: NoiseLevel) -> Number:
        return expand(transition(s, t).variance, denoised.clean)


@dataclass(frozen=True)
class CleanVariance:
    """V = β̃ + clean² Var(x_0 | x_t) with the denoiser's variance (Nichol & Dhariwal 2021; Bao et al. 2022).

    Raises InputError where the denoiser has none.
    """

    name: ClassVar[str] = "learned"

    def between(self, denoised: Denoised, s: NoiseLevel, t: NoiseLevel) -> Number:
        q, x = posterior(s, t), denoised.clean
        return expand(q.variance, x) + expand(q.clean**2, x) * _clean_variance(denoised)

    def of_data(self, denoised: Denoised, before: Number) -> Number:
        del before
        return _clean_variance(denoised)


VARIANCES: Final[dict[str, StepVariance]] = {
    v.name: v for v in (PosteriorVariance(), TransitionVariance(), CleanVariance())
}


def _clean_variance(denoised: Denoised) -> Number:
    if denoised.clean_variance is None:
        raise InputError(
            "variance: this denoiser has learned none; choose small or large, or fit it with "
            "sumi.likelihood.fitted_variance"
        )
    return denoised.clean_variance


def even_times(steps: int) -> Tensor:
    """0, 1/T, … 1: float64 (steps + 1,), the grid of a chain of ``steps`` steps."""
    return torch.arange(steps + 1, dtype=torch.float64) / steps


def prior_kl(x_0: Tensor, end: NoiseLevel, prior_std: float) -> Tensor:
    """L_T = KL(N(alpha x_0, sigma²) ‖ N(0, prior_std²)) at the level ``end`` of floats: nats (N,), in x_0's type."""
    return torch.as_tensor(gaussian_kl(end.alpha * x_0, end.sigma**2, prior_std**2)).flatten(1).sum(1)


def step_kl(denoised: Denoised, x_0: Tensor, s: NoiseLevel, t: NoiseLevel, variance: StepVariance) -> Tensor:
    """KL(q(x_s | x_t, x_0) ‖ N(posterior's mean at x̂_0, V)): nats (N,), in x_0's type.

    ``denoised``: the prediction for x_t. x_0: (N, …). ``s``, ``t``: 0 < sigma_s < sigma_t, floats, or tensors (N,).
    Gradients reach ``denoised.clean`` and, with `CleanVariance`, ``denoised.clean_variance``.
    """
    q = posterior(s, t)
    error = expand(q.clean, x_0) * (x_0 - denoised.clean)
    kl = gaussian_kl(error, expand(q.variance, x_0), variance.between(denoised, s, t))
    return torch.as_tensor(kl).flatten(1).sum(1).to(x_0)


def decoder_nats(denoised: Denoised, x_0: Tensor, variance: Number, levels: int | None) -> Tensor:
    """-log P(x_0) under the discretised N(x̂_0, variance), or the density if levels is None: nats (N,), x_0's type."""
    nats = discretised_gaussian(x_0, denoised.clean, variance**0.5, levels)
    return nats.flatten(1).sum(1).to(x_0)


@dataclass(frozen=True)
class VariationalBound:
    """The bound on a grid (module docstring).

    ``times``: t_0 … t_T rising from 0 to 1, (T + 1,). ``levels``: the number of values of a pixel in [-1, 1]; None for
    real numbers. Raises InputError for values out of range.
    """

    schedule: Schedule
    times: Tensor
    variance: StepVariance
    levels: int | None = 256
    prior_std: float = 1.0

    def __post_init__(self) -> None:
        check_levels(self.levels)
        check_prior(self.prior_std)
        times = self.times.detach().to("cpu", torch.float64)
        if times.ndim != 1 or len(times) < 2 or times[0] != 0 or times[-1] != 1 or not bool((times.diff() > 0).all()):
            raise InputError("times: they must rise from 0 to 1; even_times(1000) are those of a chain of 1000 steps")
        object.__setattr__(self, "times", times)

    @property
    def steps(self) -> int:
        """T."""
        return len(self.times) - 1

    def prior(self, x_0: Tensor) -> Tensor:
        """L_T, (N,)."""
        return prior_kl(x_0, noise_level(self.schedule, 1.0), self.prior_std)

    def step(self, denoiser: Denoiser, x_0: Tensor, index: Tensor, noise: Tensor) -> Tensor:
        """L_{i-1} for i = ``index`` (N,) in 1 … T, one per sample, at x_i made with ``noise`` (N, …): (N,)."""
        t = noise_level(self.schedule, self.times[index])
        return self.of_denoised(denoiser(add_noise(x_0, noise, t), t), x_0, index)

    def of_denoised(self, denoised: Denoised, x_0: Tensor, index: Tensor) -> Tensor:
        """L_{i-1} from the prediction for x_i, i = ``index`` (N,), int64 on the CPU: (N,) in x_0's type."""
        last = index == 1  # the step to the data, the last in sampling
        nats = x_0.new_zeros(len(x_0))
        if bool(last.any()):
            prediction = _rows(denoised, last)
            variance = self.variance.of_data(prediction, self._before_last())
            nats[last] = decoder_nats(prediction, x_0[last], variance, self.levels)
        if not bool(last.all()):
            s, t = (noise_level(self.schedule, self.times[index[~last] - back]) for back in (1, 0))
            nats[~last] = step_kl(_rows(denoised, ~last), x_0[~last], s, t, self.variance)
        return nats

    def index(self, t: Tensor) -> Tensor:
        """i of the grid's time nearest to each of ``t`` (N,), at least 1: int64 (N,) on the CPU."""
        t = t.detach().to("cpu", torch.float64)
        middles = (self.times[:-1] + self.times[1:]) / 2
        return torch.searchsorted(middles, t).clamp(min=1)

    def _before_last(self) -> Number:
        """β̃ of the step from t_2 to t_1, or its substitute (module docstring)."""
        first = noise_level(self.schedule, self.times[1:2])
        if self.steps == 1 or noise_level(self.schedule, 0.0).sigma != 0:
            return first.sigma**2 / (first.alpha**2 + first.sigma**2)
        return posterior(first, noise_level(self.schedule, self.times[2:3])).variance

    # the interface of `sumi.likelihood.estimate`

    def decoder(self, denoiser: Denoiser, x_0: Tensor, noise: Tensor) -> Tensor:
        """L_0, (N,)."""
        return self.step(denoiser, x_0, torch.ones(len(x_0), dtype=torch.int64), noise)

    def strata(self, count: int, data_std: float) -> Strata:
        """``count`` strata from t_1 to 1; one for each of the T - 1 steps if there are no more."""
        grid, times = self._information(data_std), self.times[1:]
        if count >= self.steps - 1:
            return Strata(grid, times, torch.ones(self.steps - 1, dtype=torch.float64))
        edges = torch.linspace(float(grid[0]), float(grid[-1]), count + 1, dtype=torch.float64)
        right = torch.searchsorted(-grid, -edges).clamp(1, len(grid) - 1)
        part = (grid[right - 1] - edges) / (grid[right - 1] - grid[right])
        return Strata(edges, torch.lerp(times[right - 1], times[right], part), (right + part).diff())

    def rate(self, denoiser: Denoiser, x_0: Tensor, place: Tensor, noise: Tensor, data_std: float) -> Tensor:
        """L_{i-1} per nat of I in step i, with i ≥ 2 the step that contains I = ``place`` (N,): (N,)."""
        grid = self._information(data_std)
        right = torch.searchsorted(-grid, -place, right=True).clamp(1, len(grid) - 1)
        return self.step(denoiser, x_0, right + 1, noise) / (grid[right - 1] - grid[right]).to(x_0)

    def _information(self, data_std: float) -> Tensor:
        """I at t_1 … t_T, falling: (T,)."""
        return information(noise_level(self.schedule, self.times[1:]), data_std)


def check_prior(std: float) -> None:
    """Raises InputError unless ``std`` is positive."""
    if not std > 0:
        raise InputError(f"prior_std: {std} is not positive; for variance preserving schedules give 1")


def _rows(denoised: Denoised, rows: Tensor) -> Denoised:
    """The predictions for the ``rows`` (N,) of a batch; coefficients may be one number for all."""
    shape = denoised.clean.shape
    parts = {f.name: getattr(denoised, f.name) for f in fields(denoised)}
    own = {
        k: v[rows] for k, v in parts.items() if isinstance(v, Tensor) and v.ndim == len(shape) and len(v) == shape[0]
    }
    return Denoised(**{**parts, **own})

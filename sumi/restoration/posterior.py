"""The posterior mean E[x_0 | x_t, y], with x_0 given x_t approximated by a Gaussian N(x̂_0, C).

A measurement y = A x_0 + s n tilts p(x_t) by N(y; A x̂_0, A C A* + s² I), so by Tweedie's formula

    E[x_0 | x_t, y] = x̂_0 + (sigma²/alpha) Jᵀ A* (A C A* + s² I)⁻¹ (y - A x̂_0),      J = ∂x̂_0/∂x_t,

neglecting the derivative of C in x_t. The methods differ in C:

    moment matching   C = (sigma²/alpha) J        the covariance itself (Tweedie, second order; Finzi et al. 2023,
                                                  Rozet et al. 2024): exact for every Gaussian x_0, every A and s
    ΠGDM              C = r² I, r² = d² sigma²/(alpha² d² + sigma²)        (Song et al. 2023, where d = 1): exact for
                                                  x_0 ~ N(m, d² I), every A and s

A product with Jᵀ is one backward pass through the denoiser. ΠGDM needs one, moment matching one for each iteration of
conjugate gradients and one more. Both need alpha > 0.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoised, Denoiser
from sumi.errors import InputError
from sumi.operators.linear import Weighted, solve
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel, Number, Schedule, Time
from sumi.restoration.measurement import Measurement
from sumi.restoration.product import level_with_data, with_covariance


@dataclass(frozen=True)
class MomentMatching:
    """Moment matching (module docstring). On Gaussians it is exact with as many ``iterations`` as y has elements, or
    fewer where elements are redundant. Raises InputError for an operator that is not linear."""

    denoiser: Denoiser
    measurement: Measurement
    iterations: int = 10

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise InputError(f"iterations: {self.iterations} is too few; give 1 or more")
        self.measurement.linear("moment matching")

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        """x_t: (N, …). Without noise in y, every x̂_0 satisfies A x̂_0 = y. Raises InputError where alpha = 0."""
        now, operator = level_with_data(self.schedule, t), self.measurement.linear("moment matching")
        with torch.inference_mode(False), torch.enable_grad():
            denoised, covariance = with_covariance(self.denoiser, x_t, now)

            def of_measured(u: Tensor) -> Tensor:
                return operator(covariance(operator.adjoint(u))) + self.measurement.std**2 * u

            clean = denoised.clean.detach()
            u = solve(of_measured, self.measurement.residual(clean), self.iterations)
            clean = clean + covariance(operator.adjoint(u))
        if self.measurement.std == 0:
            clean = self.measurement.consistent(clean)
        return replace(denoised, clean=clean, x_t=x_t, clean_variance=None)


@dataclass(frozen=True)
class PseudoinverseGuidance:
    """ΠGDM (module docstring). ``data_std``: d, in units of the data. ``iterations``: of conjugate gradients in the
    space of y, without evaluating the denoiser; one suffices for masks, `box` and `Grey`, and a noiseless y needs none.
    Raises InputError for an operator that is not linear."""

    denoiser: Denoiser
    measurement: Measurement
    data_std: float = 1.0
    iterations: int = 20

    def __post_init__(self) -> None:
        check_guidance(self.measurement, self.data_std, self.iterations, "ΠGDM")

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        """x_t of (N, …). Raises InputError where alpha = 0."""
        denoised, shift, _ = guided(self.denoiser, x_t, t, self.measurement, self.data_std, self.iterations)
        return replace(denoised, clean=denoised.clean + shift, clean_variance=None)


def check_guidance(measurement: Measurement, data_std: float, iterations: int, method: str) -> None:
    """Raises InputError for arguments that `guided` cannot take."""
    if not data_std > 0:
        raise InputError(f"data_std: {data_std} is not positive; give the data's standard deviation")
    if iterations < 1:
        raise InputError(f"iterations: {iterations} is too few; give 1 or more")
    measurement.linear(method)


def clean_variance(t: NoiseLevel, data_std: float) -> Number:
    """r², the variance of x_0 given x_t for x_0 ~ N(m, data_std² I)."""
    return data_std**2 * t.sigma**2 / (t.alpha**2 * data_std**2 + t.sigma**2)


def guided(
    denoiser: Denoiser, x_t: Tensor, t: Time, measurement: Measurement, data_std: float, iterations: int
) -> tuple[Denoised, Tensor, Tensor]:
    """x̂_0, the shift (sigma²/alpha) ∇ log p(y | x_t) and log p(y | x_t), for p(y | x_t) = N(y; A x̂_0, r² A A* + s²
    I).

    The shift is shaped like x_t (N, …); log p is (N,), up to a constant of the noise level.
    """
    now = level_with_data(denoiser.schedule, t)
    with torch.inference_mode(False), torch.enable_grad():
        denoised, covariance = with_covariance(denoiser, x_t, now)
        clean = denoised.clean.detach()
        missing = measurement.residual(clean)
        back = weighed(measurement, missing, clean_variance(now, data_std), iterations)
        shift = covariance(back)
    operator = measurement.linear("guidance")
    distance = (operator.pseudo_inverse(missing) * back).flatten(1).sum(1)  # missing · (r² A A* + s² I)⁻¹ missing
    return replace(denoised, clean=clean, x_t=x_t), shift, -distance / 2


def weighed(measurement: Measurement, missing: Tensor, variance: Number, iterations: int) -> Tensor:
    """A* (r² A A* + s² I)⁻¹ ``missing``, shaped like x; ``variance``: r². Without noise this is A⁺ missing / r²."""
    operator = measurement.linear("guidance")
    if measurement.std == 0:
        back = operator.pseudo_inverse(missing)
        return back / expand(variance, back)
    of_each = expand(variance, missing)
    match operator:
        case Weighted(weights=weights):  # number by number, whatever the weights
            return operator.adjoint(missing / (of_each * weights.to(missing).square() + measurement.std**2))
        case _:
            pass

    def of_measured(u: Tensor) -> Tensor:
        return of_each * operator(operator.adjoint(u)) + measurement.std**2 * u

    return operator.adjoint(solve(of_measured, missing, iterations))

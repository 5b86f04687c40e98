"""Multiplying the model's distribution by a second one, r(x_0) (Sohl-Dickstein et al. 2015, section 2.5).

The product p̃(x_0) ∝ p(x_0) r(x_0) diffuses to p̃(x_t) ∝ p(x_t) h(x_t) with h(x_t) = E[r(x_0) | x_t], so by Tweedie's
formula its denoiser is

    E_p̃[x_0 | x_t] = x̂_0 + (sigma²/alpha) ∇ log h(x_t).

`Product` takes a given ∇ log h. The paper approximates h by a slowly changing r_t(x_t). For known values y of some
elements, r = Π N(x_0; y, s²), r_t is r diffused like the data, Π N(x_t; alpha y, alpha² s² + sigma²)
(`KnownValues.score`). This equals h if elements are independent and p is flat over the width of r. Otherwise it counts
the noise of x_t twice, in p(x_t) and in r_t, and unknown elements learn of the known ones only through x_t. It is right
only as sigma → 0, which is too late for a sampler: for two elements of unit variance and correlation 0.9, the first
known to be 1, the other should be 0.9 ± 0.436 and comes out at 0.301 ± 0.741 (probability-flow ODE, VP).

`Conditioned` is better if x_0 given x_t is nearly Gaussian. With the covariance C = (sigma²/alpha) ∂x̂_0/∂x_t
(Tweedie's formula, second order) and H selecting the known elements, h = N(y; H x̂_0, H C Hᵀ + s² I) and

    E_p̃[x_0 | x_t] = x̂_0 + C Hᵀ (H C Hᵀ + s² I)⁻¹ (y - H x̂_0)

neglecting the derivative of C in x_t: exact for every Gaussian p and any known elements (Finzi et al. 2023; Rozet et
al. 2024).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoised, Denoiser
from sumi.errors import InputError
from sumi.operators.linear import solve
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel, Schedule, Time, noise_level


def level_with_data(schedule: Schedule, t: Time) -> NoiseLevel:
    """The noise level at time t. Raises InputError where alpha = 0."""
    now = noise_level(schedule, t)
    if bool((torch.as_tensor(now.alpha) == 0).any()):
        raise InputError("times: at t = 1 no data is left to guide (alpha = 0); start the grid below 1")
    return now


@dataclass(frozen=True)
class KnownValues:
    """r(x_0) = Π N(x_0; values, width²) over the elements where ``known`` is True. Both broadcast to x of shape (N, …).

    ``width``: 0 or more, in units of the data. Raises InputError for a negative one.
    """

    values: Tensor
    known: Tensor
    width: float = 0.0

    def __post_init__(self) -> None:
        if not self.width >= 0:
            raise InputError(f"width: {self.width} is negative; give 0 for exactly known values")

    def score(self, x_t: Tensor, t: NoiseLevel) -> Tensor:
        """∇ log r_t(x_t) of the diffused r (module docstring), (N, …); 0 for unknown elements."""
        alpha, variance = expand(t.alpha, x_t), expand(t.alpha**2 * self.width**2 + t.sigma**2, x_t)
        return torch.where(self.known, (alpha * self.values - x_t) / variance, 0.0)


@dataclass(frozen=True)
class Product:
    """x̂_0 + (sigma²/alpha) ∇ log r_t(x_t), with ``score(x_t, level)`` = ∇ log r_t, as `KnownValues.score`."""

    denoiser: Denoiser
    score: Callable[[Tensor, NoiseLevel], Tensor]

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        """Raises InputError where alpha = 0."""
        now = level_with_data(self.schedule, t)
        denoised = self.denoiser(x_t, now)
        clean = denoised.clean + expand(now.sigma**2 / now.alpha, x_t) * self.score(x_t, now)
        return replace(denoised, clean=clean, clean_variance=None)


@dataclass(frozen=True)
class Conditioned:
    """E[x_0 | x_t, known values], with x_0 given x_t approximated by a Gaussian (module docstring).

    Conjugate gradients solve the known elements' equations; each iteration is one product with C, a backward pass
    through the denoiser. As many iterations as known elements are exact, or fewer where elements are redundant. Values
    of width 0 are exact in every x̂_0.
    """

    denoiser: Denoiser
    known: KnownValues
    iterations: int = 10

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise InputError(f"iterations: {self.iterations} is too few; give 1 or more")

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        """Raises InputError where alpha = 0."""
        now = level_with_data(self.schedule, t)
        values, mask = self.known.values, self.known.known
        with torch.inference_mode(False), torch.enable_grad():
            denoised, covariance = with_covariance(self.denoiser, x_t, now)

            def of_known(u: Tensor) -> Tensor:
                return torch.where(mask, covariance(u), 0.0) + self.known.width**2 * u

            clean = denoised.clean.detach()
            missing = torch.where(mask, values - clean, 0.0)
            clean = clean + covariance(solve(of_known, missing, self.iterations))
        if self.known.width == 0:
            clean = torch.where(mask, values.to(clean), clean)
        return replace(denoised, clean=clean, x_t=x_t, clean_variance=None)


def with_covariance(denoiser: Denoiser, x_t: Tensor, t: NoiseLevel) -> tuple[Denoised, Callable[[Tensor], Tensor]]:
    """The denoiser's prediction for x_t (N, …), with its graph, and v ↦ (sigma²/alpha) (∂x̂_0/∂x_t)ᵀ v = C v.

    Call this, and the returned function, outside inference mode and with gradients enabled.
    """
    point = x_t.detach().clone().requires_grad_()
    denoised = denoiser(point, t)
    gain = expand(t.sigma**2 / t.alpha, point)

    def covariance(v: Tensor) -> Tensor:
        (product,) = torch.autograd.grad(denoised.clean, point, v, retain_graph=True)
        return gain * product

    return denoised, covariance

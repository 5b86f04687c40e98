"""The exponential integrator that DPM-Solver++ and UniPC share: polynomials of x̂_0 in λ = log(alpha/sigma).

Of the reverse SDE with a part η² of its noise (η = 0: the probability-flow ODE), all but x̂_0 is solved exactly:

    x_s = sigma_s/sigma_t e^(-η²h) x_t + alpha_s ∫ c e^(-c(λ_s - λ)) x̂_0(λ) dλ + sigma_s √(1 - e^(-2η²h)) z

with h = λ_s - λ_t and c = 1 + η² (Lu et al. 2022, "DPM-Solver++", proposition 4.1 and its SDE variant). What remains is
replaced by the polynomial through k known evaluations x̂_0(λ_j), wherever they lie, and that is integrated exactly too.
With τ = (λ - λ_t)/h and y = c h,

    ∫ … = Σ_j w_j x̂_0(λ_j),     w_j = ∫ l_j(τ) dμ,     E_i = ∫ τ^i dμ = 1 - (i/y) E_{i-1},  E_0 = 1 - e^-y

over [0, 1] with dμ = y e^(-y(1-τ)) dτ. E_1, E_2, … are h φ_2, 2 h φ_3, … of the papers.

Where only two evaluations are known, the papers take B(h)/2 for E_1: (1 - e^-y)/2 is DPM-Solver++'s and UniPC's
"bh2", y/2 its "bh1" (Zhao et al. 2023, "UniPC"). They agree with E_1 as h → 0. Between two evaluations at
the ends of a step, E_1 is exact where x̂_0 is linear in λ, bh2 where it is linear in e^λ = alpha/sigma. At the noisy end
it is that, so a step from λ = -∞ takes bh2.

Measured on mixtures of 10 Gaussians in 64 dimensions (20 steps even in log-SNR, VP, median error in units of the data's
deviation): multistep of order 2, E_1 0.0088 and bh2 0.0050; singlestep 0.0064 and 0.0134; UniPC-2 0.0042, 0.0031 and
0.0069 with bh1. The defaults are the better ones.
"""

from dataclasses import dataclass
from math import exp, expm1, isinf, sqrt
from typing import Final, Literal

from torch import Tensor

from sumi.errors import InputError
from sumi.process.schedule import NoiseLevel

Slope = Literal["exact", "bh1", "bh2"]
"""What multiplies the difference of two evaluations: E_1, or B(h)/2."""

SLOPES: Final = ("exact", "bh1", "bh2")

Evaluations = tuple[tuple[float, Tensor], ...]
"""λ and x̂_0 of some evaluations."""


@dataclass(frozen=True, slots=True)
class Base:
    """A point on the way, x at level t, and the evaluations that a step from there can use, its own among them."""

    x: Tensor
    t: NoiseLevel
    evaluations: Evaluations


def half_log_snr(t: NoiseLevel) -> float:
    """λ = log(alpha/sigma)."""
    return float(t.log_snr) / 2


def check_slope(slope: str) -> None:
    """Raises InputError for a slope that is none of `SLOPES`."""
    if slope not in SLOPES:
        raise InputError(f"slope: {slope!r} is not one of {', '.join(SLOPES)}")


def moments(y: float, count: int) -> list[float]:
    """E_0 … E_{count-1} for y in (0, ∞], each to a few units of its last digit."""
    if y > 2:
        found = [-expm1(-y)]
        for i in range(1, count):
            found.append(1 - i / y * found[-1])
        return found
    top, total, term, k = count - 1, 0.0, 1.0, 0
    while term > 1e-17:  # Σ y^k/k! ∫ τ^(top + k) dτ
        total += term / (count + k)
        k += 1
        term *= y / k
    found = [y * exp(-y) * total]
    for i in range(top, 0, -1):
        found.append(y / i * (1 - found[-1]))
    return found[::-1]


def weights(places: list[float], y: float, slope: Slope = "exact") -> list[float]:
    """w_j of the evaluations at these τ, all different: the solution of Σ_j w_j τ_j^i = E_i (Björck & Pereyra 1970)."""
    count = len(places)
    w = moments(y, count)
    if count == 2 and (slope != "exact" or isinf(y)):
        w[1] = (y if slope == "bh1" and not isinf(y) else w[0]) / 2
    for k in range(count - 1):
        for i in range(count - 1, k, -1):
            w[i] -= places[k] * w[i - 1]
    for k in range(count - 2, -1, -1):
        for i in range(k + 1, count):
            w[i] /= places[i] - places[i - k - 1]
        for i in range(k, count - 1):
            w[i] -= w[i + 1]
    return w


def advance(
    x: Tensor, t: NoiseLevel, s: NoiseLevel, evaluations: Evaluations, slope: Slope = "exact", eta: float = 0.0
) -> Tensor:
    """The mean of x_s from x at t, shape (N, …), by the polynomial through ``evaluations`` (module docstring).

    Where h is infinite only one evaluation can be used, or for a step from λ = -∞ those at its two ends.
    """
    start = half_log_snr(t)
    h = half_log_snr(s) - start
    places = [0.0 if node == start else (node - start) / h for node, _ in evaluations] if not isinf(h) else [0.0, 1.0]
    kept = float(s.sigma / t.sigma) * (exp(-(eta**2) * h) if eta else 1.0)
    x_s = x * kept
    for w, (_, clean) in zip(weights(places[: len(evaluations)], (1 + eta**2) * h, slope), evaluations, strict=True):
        x_s.add_(clean, alpha=float(s.alpha) * w)
    return x_s


def added_noise(t: NoiseLevel, s: NoiseLevel, eta: float) -> float:
    """The standard deviation of the noise that a step from t to s adds."""
    return float(s.sigma) * sqrt(-expm1(-2 * eta**2 * (half_log_snr(s) - half_log_snr(t))))

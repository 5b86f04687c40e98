"""How sure a measured number is: 95 % confidence intervals that hold for a hundred images as for ten thousand.

An interval from "estimate ± 1.96 standard errors" fails where the standard error depends on the value being estimated:
a share near 0 or 1, a squared distance near 0. The remedy is Wilson's (1927): ask which true values θ the estimate is
compatible with, taking the variance *at θ*:

    |estimate - θ| ≤ z √V(θ)                                                         z = Φ⁻¹(0.975) = 1.96

- a share p of n:                V(p) = p(1 - p)/n                                   (Wilson's score interval)
- a squared distance Δ² between two distributions, estimated without bias:   V(Δ²) = V_0 + c Δ²

The second is the shape of every estimator that is the squared length of a noisy vector: for Δ̂ = Δ + noise with
covariance S, Var ‖Δ̂‖² = 2 tr S² + 4 Δᵀ S Δ. The first term is all there is when the distributions are equal (a
degenerate U-statistic), the second rules when they differ, and c = 4 ΔᵀSΔ/Δ² is well determined in both cases.

Wilson's interval for a share whose parts are not independent, or not weighted alike.

A share p of n independent things varies by p(1 - p)/n. Shares in which the things hang together, or which are weighted
means of shares, vary by c p(1 - p) with another c: 1/c is the number of independent things that would be as sure (the
effective size; Kish 1965). With c known, Wilson's question has the same answer as before:

    (p - θ)² = z² c θ(1 - θ)
"""

import math
from dataclasses import dataclass

from sumi.errors import InputError

Z = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A measured value with the ends of its 95 % confidence interval, low ≤ high."""

    value: float
    low: float
    high: float


def squared_distance(value: float, variance_at_zero: float, slope: float) -> Estimate:
    """The interval of an unbiased estimate of Δ² ≥ 0 whose variance is V_0 + c Δ² (V_0, c ≥ 0).

    ``value`` may be negative, by chance, and so may ``low``: an interval that reaches zero says that the two
    distributions cannot be told apart with so few images.
    """
    at_zero = Z * math.sqrt(variance_at_zero)
    if value + at_zero < 0:  # no Δ² ≥ 0 is compatible with so low a value, 0 still the most
        return Estimate(value, value - at_zero, 0.0)
    # (value - θ)² = z² (V_0 + c θ) is a quadratic in θ; left of θ = 0 the variance stays V_0
    spread = Z**2 * slope
    root = math.sqrt(spread * (4 * value + spread) + 4 * at_zero**2)
    low = value - at_zero if value < at_zero else (2 * value + spread - root) / 2
    return Estimate(value, low, (2 * value + spread + root) / 2)


def share(count: int, total: int) -> Estimate:
    """A share ``count/total`` with Wilson's score interval (Wilson 1927; Brown, Cai and DasGupta 2001, eq. 4)."""
    if not 0 <= count <= total or total == 0:
        raise InputError(f"a share of {count} in {total} is not one: give 0 ≤ count ≤ total, total > 0")
    p, w = count / total, Z**2 / total
    centre = (p + w / 2) / (1 + w)
    half = Z / (1 + w) * math.sqrt(p * (1 - p) / total + w / (4 * total))
    # at the ends the formula gives exactly 0 and 1, up to rounding
    return Estimate(p, 0.0 if count == 0 else centre - half, 1.0 if count == total else centre + half)


def ratio(a: Estimate, b: Estimate) -> Estimate:
    """The ratio a/b of two independent positive quantities from their intervals (b.value > 0 and b.low > 0).

    The method of variance estimates recovery (Donner and Zou 2012, "Closed-form confidence intervals for functions of
    the normal mean and standard deviation", section 2): the limits are where a - R b, with the distances of a and b
    from their own limits combined in quadrature, just reaches zero.
    """
    if b.value <= 0 or b.low <= 0:
        raise InputError(f"a ratio to {b.value:g} has no interval: the second quantity must be above zero")
    product = a.value * b.value
    # (a - R b)² = (a - a's limit)² + R² (b - b's limit)²: low takes a's low end against b's high end, high the others
    low_a, low_b = a.low * (2 * a.value - a.low), b.high * (2 * b.value - b.high)
    high_a, high_b = a.high * (2 * a.value - a.high), b.low * (2 * b.value - b.low)
    low = low_a / (product + math.sqrt(max(0.0, product**2 - low_a * low_b))) if low_a > 0 else 0.0
    high = (product + math.sqrt(max(0.0, product**2 - high_a * high_b))) / high_b
    return Estimate(a.value / b.value, low, high)


def dependent_share(value: float, variance_factor: float) -> Estimate:
    """A share ``value`` in [0, 1] that varies by ``variance_factor`` p(1 - p), with Wilson's 95 % interval.

    ``variance_factor`` = 1/n gives ``intervals.share``. Raises InputError for a value that is no share and for a
    factor that is not above zero.
    """
    if not 0 <= value <= 1 or not variance_factor > 0:
        raise InputError(
            f"a share of {value:g} with variance factor {variance_factor:g} is none: give 0 ≤ share ≤ 1, factor > 0"
        )
    w = Z**2 * variance_factor
    centre = (value + w / 2) / (1 + w)
    half = math.sqrt(w * (value * (1 - value) + w / 4)) / (1 + w)
    # at the ends the formula gives exactly 0 and 1, up to rounding
    return Estimate(value, 0.0 if value == 0 else centre - half, 1.0 if value == 1 else centre + half)

"""95 % confidence intervals that hold for a hundred images as well as for ten thousand.

"Estimate ± 1.96 standard errors" fails if the standard error depends on the estimated value: a share near 0 or 1, a
squared distance near 0. Wilson's remedy (1927) is the set of true values θ compatible with the estimate, with the
variance *at θ*:

    |estimate - θ| ≤ z √V(θ)                                                         z = Φ⁻¹(0.975) = 1.96

- a share p of n:                V(p) = p(1 - p)/n                                   (Wilson's score interval)
- a squared distance Δ² between two distributions, estimated without bias:   V(Δ²) = V_0 + c Δ²

The second holds for every estimator that is the squared length of a noisy vector: for Δ̂ = Δ + noise with covariance S,
Var ‖Δ̂‖² = 2 tr S² + 4 Δᵀ S Δ. For equal distributions only the first term remains (a degenerate U-statistic); for
different ones the second dominates, and c = 4 ΔᵀSΔ/Δ² is well determined in both cases.

- a share of dependent or unequally weighted items:      V(p) = c p(1 - p)

For n independent items c = 1/n. In general 1/c is the effective sample size (Kish 1965). With c known, the interval
solves

    (p - θ)² = z² c θ(1 - θ)

The interval of a mean of skewed values. Where values are skewed to the right, a sample that misses the rare large ones
has too low a mean and, at once, too small a standard deviation s, so mean ± t s/√n lies too low. With the skewness γ,
Hall's transformation (1992, "On the removal of skewness by transformation") takes that out:

    T = x + γ/3 x² + γ²/27 x³ + γ/(6n),   x = (mean - μ)/s         √n T is nearly standard normal, and monotone in μ

It widens the upper side. Where the variance of the values is infinite, or so for all that n of them show, no interval
holds its 95 %: ``heavy_tailed`` says so, by Hill's estimate of the tail index α, P(X > x) ~ x^-α, being below 2. Share
of intervals that hold the mean (mean ± 1.96 s/√n in brackets), 400 values: exponential 0.95 (0.94), lognormal of
deviation 1.5 0.94 (0.90), of deviation 2 0.89 (0.82), Pareto of index 2.5 0.93 (0.91), 1.5 0.85 (0.76). Of the last
nine in ten are called heavy-tailed.
"""

import math
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from sumi.errors import InputError

Z = 1.959963984540054
TAIL: Final = 20
"""Hill's estimate is of the largest twentieth of the values."""


@dataclass(frozen=True)
class Estimate:
    """A measured value with the ends of its 95 % confidence interval, low ≤ high."""

    value: float
    low: float
    high: float


def squared_distance(value: float, variance_at_zero: float, slope: float) -> Estimate:
    """The interval of an unbiased estimate of Δ² ≥ 0 whose variance is V_0 + c Δ² (V_0, c ≥ 0).

    ``value`` may be negative by chance, and so may ``low``: if the interval includes zero, this many images cannot
    distinguish the two distributions.
    """
    at_zero = Z * math.sqrt(variance_at_zero)
    if value + at_zero < 0:  # no Δ² ≥ 0 is compatible with so low a value; 0 is the closest
        return Estimate(value, value - at_zero, 0.0)
    # (value - θ)² = z² (V_0 + c θ) is a quadratic in θ; left of θ = 0 the variance stays V_0
    spread = Z**2 * slope
    root = math.sqrt(spread * (4 * value + spread) + 4 * at_zero**2)
    low = value - at_zero if value < at_zero else (2 * value + spread - root) / 2
    return Estimate(value, low, (2 * value + spread + root) / 2)


def share(count: int, total: int) -> Estimate:
    """A share ``count/total`` with Wilson's score interval (Wilson 1927; Brown, Cai and DasGupta 2001, eq. 4)."""
    if not 0 <= count <= total or total == 0:
        raise InputError(f"share: {count} in {total} is not a share; give 0 ≤ count ≤ total, total > 0")
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
        raise InputError(f"ratio: to {b.value:g} it has no interval; give a second quantity above zero")
    product = a.value * b.value
    # (a - R b)² = (a - a's limit)² + R² (b - b's limit)²: low takes a's low end against b's high end, high the others
    low_a, low_b = a.low * (2 * a.value - a.low), b.high * (2 * b.value - b.high)
    high_a, high_b = a.high * (2 * a.value - a.high), b.low * (2 * b.value - b.low)
    low = low_a / (product + math.sqrt(max(0.0, product**2 - low_a * low_b))) if low_a > 0 else 0.0
    high = (product + math.sqrt(max(0.0, product**2 - high_a * high_b))) / high_b
    return Estimate(a.value / b.value, low, high)


def dependent_share(value: float, variance_factor: float) -> Estimate:
    """A share ``value`` in [0, 1] with variance ``variance_factor`` p(1 - p), with Wilson's 95 % interval.

    ``variance_factor`` = 1/n gives `share`. Raises InputError for a value outside [0, 1] and a factor that is not
    positive.
    """
    if not 0 <= value <= 1 or not variance_factor > 0:
        raise InputError(
            f"share: {value:g} with variance factor {variance_factor:g} is out of range; give 0 ≤ share ≤ 1, factor > 0"
        )
    w = Z**2 * variance_factor
    centre = (value + w / 2) / (1 + w)
    half = math.sqrt(w * (value * (1 - value) + w / 4)) / (1 + w)
    # at the ends the formula gives exactly 0 and 1, up to rounding
    return Estimate(value, 0.0 if value == 0 else centre - half, 1.0 if value == 1 else centre + half)


def t_quantile(freedom: int) -> float:
    """The 97.5 % point of Student's t with ``freedom`` ≥ 1 degrees of freedom, within 0.2 %.

    Exact for 1 and 2, else by the expansion in their inverse (Abramowitz and Stegun 1964, 26.7.5).
    """
    if freedom < 3:
        return math.tan(0.475 * math.pi) if freedom == 1 else 0.95 * math.sqrt(2 / (1 - 0.95**2))
    terms = (
        (Z**3 + Z) / 4,
        (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96,
        (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384,
        (79 * Z**9 + 776 * Z**7 + 1482 * Z**5 - 1920 * Z**3 - 945 * Z) / 92160,
    )
    return Z + math.fsum(term / freedom**power for power, term in enumerate(terms, 1))


def mean_of(values: Tensor) -> Estimate:
    """The mean of independent values (N,), N ≥ 2, with Hall's interval and Student's quantile (module docstring)."""
    x = values.double()
    count, mean, deviation = len(x), float(x.mean()), float(x.std())
    if not deviation > 0:
        return Estimate(mean, mean, mean)
    skewness = float(((x - mean) / deviation).pow(3).mean())
    reach = t_quantile(count - 1) / math.sqrt(count)
    low, high = (_without_skewness(end, skewness, count) for end in (reach, -reach))
    return Estimate(mean, mean - deviation * low, mean - deviation * high)


def _without_skewness(end: float, skewness: float, count: int) -> float:
    """The x at which T is ``end``."""
    a = skewness / 3
    shifted = end - skewness / (6 * count)
    return (
        (math.copysign(abs(1 + 3 * a * shifted) ** (1 / 3), 1 + 3 * a * shifted) - 1) / a if abs(a) > 1e-6 else shifted
    )


def positive_mean(values: Tensor) -> Estimate:
    """As `mean_of`, of positive values, on the scale of the logarithm: the ends stay above 0."""
    found = mean_of(values)
    if found.value <= 0:
        return Estimate(found.value, found.value, found.value)
    low, high = (found.value * math.exp(end / found.value - 1) for end in (found.low, found.high))
    return Estimate(found.value, low, high)


def heavy_tailed(values: Tensor) -> bool:
    """Whether positive values (N,), N ≥ 100, look so heavy-tailed that intervals of their mean hold less than 95 %.

    Hill's estimate (1975) of the tail index from the largest twentieth is below 2. Of fewer values it says nothing, so
    False.
    """
    count = len(values) // TAIL
    if count < 5:
        return False
    largest = values.double().topk(count + 1).values
    return bool(largest[-1] > 0) and float((largest[:-1] / largest[-1]).log().mean()) > 1 / 2

"""Wilson's interval for a share whose parts are not independent, or not weighted alike.

A share p of n independent things varies by p(1 - p)/n. Shares in which the things hang together, or which are weighted
means of shares, vary by c p(1 - p) with another c: 1/c is the number of independent things that would be as sure (the
effective size; Kish 1965). With c known, Wilson's question has the same answer as before:

    (p - θ)² = z² c θ(1 - θ)
"""

import math

from sumi.errors import InputError
from sumi.evaluation.intervals import Estimate, Z


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

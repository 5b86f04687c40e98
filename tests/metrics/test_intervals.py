"""Intervals: the known formulas, and the stated 95 % kept in simulation, near the edges too."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from sumi.errors import InputError
from sumi.metrics.intervals import (
    Estimate,
    Z,
    heavy_tailed,
    mean_of,
    positive_mean,
    ratio,
    share,
    squared_distance,
    t_quantile,
)


@pytest.mark.parametrize(("count", "total"), [(0, 10), (1, 10), (5, 10), (10, 10), (163, 180), (0, 1), (999, 1000)])
def test_a_share_has_wilsons_interval(count: int, total: int) -> None:
    exact = stats.binomtest(count, total).proportion_ci(0.95, "wilson")
    found = share(count, total)
    assert found.value == count / total
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-12)


@pytest.mark.parametrize("truth", [0.02, 0.2, 0.5, 0.93, 0.99])
def test_a_shares_interval_covers_the_truth_nineteen_times_in_twenty(truth: float) -> None:
    """Exactly, by summing the binomial law: Wilson's coverage at n = 180 lies between 92 and 98 %."""
    covered = sum(
        stats.binom.pmf(k, 180, truth) for k in range(181) if share(k, 180).low <= truth <= share(k, 180).high
    )
    assert 0.92 < covered < 0.98


@pytest.mark.parametrize(("p", "q"), [(0.9, 0.95), (0.5, 0.95), (0.02, 0.9), (0.97, 0.97)])
def test_the_interval_of_a_ratio_covers_the_truth_nineteen_times_in_twenty(p: float, q: float) -> None:
    """Exactly, over the joint law of two counts; 0.95 ± 0.02, the unevenness of counts."""
    m, n = 200, 120
    a, b = [share(k, m) for k in range(m + 1)], [share(k, n) for k in range(n + 1)]
    covered = 0.0
    for i in range(m + 1):
        for j in range(1, n + 1):
            chance = stats.binom.pmf(i, m, p) * stats.binom.pmf(j, n, q) if abs(j - n * q) < 25 else 0.0
            if chance > 1e-9:
                found = ratio(a[i], b[j])
                covered += chance * (found.low <= p / q <= found.high)
    assert covered == pytest.approx(0.95, abs=0.02)


def test_a_ratio_to_a_sure_quantity_is_a_plain_quotient() -> None:
    found = ratio(Estimate(0.4, 0.3, 0.55), Estimate(0.5, 0.5, 0.5))
    assert (found.value, found.low, found.high) == pytest.approx((0.8, 0.6, 1.1), abs=1e-12)


@pytest.mark.parametrize("value", [-0.3, -0.1, 0.0, 0.3, 5.0])
@pytest.mark.parametrize("slope", [0.0, 0.2, 4.0])
def test_the_ends_of_a_squared_distance_are_where_it_is_just_compatible(value: float, slope: float) -> None:
    """|value - θ| = z √(V_0 + c max(θ, 0)) at both ends."""
    at_zero = 0.04
    found = squared_distance(value, at_zero, slope)
    assert found.low < value < found.high
    for end in (found.low, found.high):
        variance = at_zero + slope * max(end, 0.0)
        assert abs(value - end) == pytest.approx(Z * math.sqrt(variance), rel=1e-9)


def test_a_value_too_low_for_any_squared_distance_leaves_zero() -> None:
    found = squared_distance(-1.0, 0.04, 0.2)
    assert (found.low, found.high) == (pytest.approx(-1 - Z * 0.2), 0)


@pytest.mark.parametrize("length", [0.0, 0.3, 1.0, 3.0])
def test_the_interval_of_a_squared_length_covers_the_truth_nineteen_times_in_twenty(length: float) -> None:
    """‖Δ + noise‖² - tr S with noise N(0, S): far from normal at Δ = 0, of variance 4 ΔᵀSΔ beyond.

    4000 repetitions put the share within ± 1.4 % (four standard errors) of the law's own coverage; at Δ = 0 that is
    between 94 and 98 %, depending on the number of dimensions, as chi-square has no lower tail.
    """
    rng = np.random.default_rng(0)
    s = np.array([0.1, 0.05, 0.05, 0.02, 0.02, 0.02, 0.01, 0.01])
    delta = np.zeros(8)
    delta[0] = length
    vectors = delta + rng.standard_normal((4000, 8)) * np.sqrt(s)
    covered = 0
    for vector in vectors:
        found = squared_distance(float(vector @ vector - s.sum()), 2 * float(s @ s), 4 * 0.1)
        covered += found.low <= length**2 <= found.high
    assert 0.93 < covered / 4000 < 0.99


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 20, 99, 10_000])
def test_students_quantile(freedom: int) -> None:
    """The terms that are left out fall like the fifth power of the freedom."""
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.4 / freedom**5 + 1e-14)


SKEWED = {
    "normal": (stats.norm(5), 0.93, 0.0),
    "exponential": (stats.expon(), 0.92, 0.1),
    "lognormal 1": (stats.lognorm(1.0), 0.91, 0.4),
    "lognormal 1.5": (stats.lognorm(1.5), 0.89, 1.0),
    "Pareto 2.5": (stats.pareto(2.5), 0.9, 0.4),
    "Pareto 1.5": (stats.pareto(1.5), 0.78, 1.0),
}
"""A law, the least share of intervals that hold its mean at 100 values, and the largest share called heavy-tailed."""


@pytest.mark.parametrize("name", SKEWED)
def test_the_interval_of_a_mean_of_skewed_values_holds_it_or_says_that_it_may_not(name: str) -> None:
    """1000 times 100 values (standard error 0.7 to 1.3 %); mean ± 1.96 s/√n holds it in 0.93 to, of the last, 0.70."""
    law, least, most_called = SKEWED[name]
    draws = torch.from_numpy(law.rvs((1000, 100), random_state=4))
    held, held_above, plain, called = 0, 0, 0, 0
    for x in draws:
        found, above = mean_of(x), positive_mean(x)
        assert 0 < above.low <= above.value <= above.high
        held += found.low <= law.mean() <= found.high
        held_above += above.low <= law.mean() <= above.high
        plain += abs(float(x.mean()) - law.mean()) <= Z * float(x.std()) / 10
        called += heavy_tailed(x)
    assert min(held, held_above) >= 1000 * least
    assert held_above >= plain - 10
    assert called <= 1000 * most_called
    if law.std() == math.inf:
        assert called > 600
        assert held_above > plain + 100


def test_many_values_of_infinite_variance_are_called_heavy_tailed() -> None:
    heavy, light = stats.pareto(1.5).rvs(2000, random_state=0), stats.pareto(4).rvs(2000, random_state=0)
    assert heavy_tailed(torch.from_numpy(heavy))
    assert not heavy_tailed(torch.from_numpy(light))
    assert not heavy_tailed(torch.from_numpy(heavy[:99]))  # too few to say
    assert not heavy_tailed(torch.zeros(200))


@pytest.mark.parametrize("index", [1.98, 2.02])
def test_the_tail_is_of_the_largest_twentieth_above_the_next(index: float) -> None:
    """Hill's estimate by hand: of five values over the sixth, whatever the others are."""
    values = torch.cat([torch.full((5,), 1 / index, dtype=torch.float64).exp(), torch.ones(1), torch.full((94,), 1e-9)])
    assert heavy_tailed(values) == (index < 2)


def test_equal_values_have_no_interval_and_two_have_students() -> None:
    assert mean_of(torch.ones(5)) == positive_mean(torch.ones(5)) == Estimate(1, 1, 1)
    assert positive_mean(torch.zeros(5)) == Estimate(0, 0, 0)
    two = mean_of(torch.tensor([0.0, 2.0]))
    assert (two.low, two.high) == pytest.approx((1 - stats.t.ppf(0.975, 1), 1 + stats.t.ppf(0.975, 1)), rel=1e-6)


def test_what_has_no_interval_is_refused() -> None:
    with pytest.raises(InputError, match="share"):
        share(3, 2)
    with pytest.raises(InputError, match="ratio"):
        ratio(share(1, 2), share(0, 2))

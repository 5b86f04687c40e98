"""The kernel distance: its formula, no bias at any size, the right variance, and intervals that keep their promise."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.metrics import kernel_distance as module
from sumi.metrics.intervals import Estimate, squared_distance
from sumi.metrics.kernel_distance import energy_distance, kernel_distance

POINTS = torch.randn(12, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
P = torch.tensor([4.0, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 0], dtype=torch.float64) / 18
Q = P.flip(0)


def kernel(x: Tensor, y: Tensor) -> float:
    return float((x @ y / len(x) + 1) ** 3)


def exact(p: Tensor, q: Tensor) -> float:
    """MMD² between two distributions over ``POINTS``, by its definition."""
    k = (POINTS @ POINTS.T / 6 + 1) ** 3
    return float((p - q) @ k @ (p - q))


def draw(p: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return POINTS[torch.multinomial(p, count, replacement=True, generator=generator)]


def test_it_is_the_mean_over_pairs_of_different_images() -> None:
    a, b = POINTS[:5], POINTS[5:]
    within = [
        sum(kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j) / (len(x) * (len(x) - 1))
        for x in (a, b)
    ]
    between = sum(kernel(x, y) for x in a for y in b) / (len(a) * len(b))
    assert kernel_distance(a, b).value == pytest.approx(sum(within) - 2 * between, rel=1e-12)


def test_blocks_and_order_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = draw(P, 50, generator), draw(Q, 40, generator)
    whole = kernel_distance(a, b)
    monkeypatch.setattr(module, "BLOCK", 7)
    parts = kernel_distance(a[torch.randperm(50, generator=generator)], b.flip(0))
    assert (parts.value, parts.low, parts.high) == pytest.approx((whole.value, whole.low, whole.high), rel=1e-10)
    mirrored = kernel_distance(b, a)
    assert (mirrored.value, mirrored.high) == pytest.approx((whole.value, whole.high), rel=1e-10)


@pytest.mark.parametrize(("p", "q"), [pytest.param(P, P, marks=pytest.mark.slow), (P, Q)])
@pytest.mark.parametrize(("m", "n"), [(4, 5), pytest.param(40, 25, marks=pytest.mark.slow)])
def test_its_mean_is_the_true_value_at_every_size(p: Tensor, q: Tensor, m: int, n: int) -> None:
    generator = torch.Generator().manual_seed(2)
    values = np.array([kernel_distance(draw(p, m, generator), draw(q, n, generator)).value for _ in range(1500)])
    assert abs(values.mean() - exact(p, q)) < 3 * values.std() / np.sqrt(len(values))


def variance_terms(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """A list that fills with the (V_0, c) of every distance measured from here on."""
    seen: list[tuple[float, float]] = []

    def record(value: float, variance_at_zero: float, slope: float) -> Estimate:
        seen.append((variance_at_zero, slope))
        return squared_distance(value, variance_at_zero, slope)

    monkeypatch.setattr(module, "squared_distance", record)
    return seen


def test_its_variance_between_equal_distributions_is_estimated_without_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    """V_0 = (2/(m(m-1)) + 2/(n(n-1)) + 4/(mn)) E k̃², k̃ the kernel centred over the distribution; exact for POINTS."""
    m, n = 9, 6
    k = (POINTS @ POINTS.T / 6 + 1) ** 3
    centred = k - (k @ P)[:, None] - (k @ P)[None] + P @ k @ P
    expected = float(P @ centred.square() @ P) * (2 / (m * (m - 1)) + 2 / (n * (n - 1)) + 4 / (m * n))
    seen = variance_terms(monkeypatch)
    generator = torch.Generator().manual_seed(3)
    for _ in range(2000):
        kernel_distance(draw(P, m, generator), draw(P, n, generator))
    found = np.array([at_zero for at_zero, _ in seen])
    assert abs(found.mean() - expected) < 3 * found.std() / np.sqrt(len(found))


def test_its_variance_between_different_distributions_is_that_of_the_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    """c MMD² = 4/m Var w(x) + 4/n Var w(y), w = E k(·, x) - E k(·, y); 5 %: with so many images."""
    m, n = 6000, 4000
    w = (POINTS @ POINTS.T / 6 + 1) ** 3 @ (P - Q)
    expected = 4 / m * float(P @ w**2 - (P @ w) ** 2) + 4 / n * float(Q @ w**2 - (Q @ w) ** 2)
    seen = variance_terms(monkeypatch)
    generator = torch.Generator().manual_seed(6)
    kernel_distance(draw(P, m, generator), draw(Q, n, generator))
    assert seen[0][1] * exact(P, Q) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("m", "n", "mixing"),
    [
        (60, 60, 0.0),
        (200, 50, 1.0),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [(60, 60, 0.25), (60, 60, 1.0), (200, 50, 0.0), (200, 50, 0.25)]
        ),
    ],
)
def test_its_interval_covers_the_true_value_nineteen_times_in_twenty(m: int, n: int, mixing: float) -> None:
    """From equal distributions to very different ones. 600 repetitions: four standard errors are 3.6 %."""
    generator = torch.Generator().manual_seed(5)
    q = (1 - mixing) * P + mixing * Q
    found = [kernel_distance(draw(P, m, generator), draw(q, n, generator)) for _ in range(600)]
    covered = np.mean([estimate.low <= exact(P, q) <= estimate.high for estimate in found])
    assert 0.914 < covered < 0.99


def test_features_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="one D"):
        kernel_distance(torch.zeros(5, 3), torch.zeros(5, 4))
    with pytest.raises(InputError, match="too few"):
        kernel_distance(torch.zeros(5, 3), torch.zeros(3, 3))


def test_the_energy_distance_is_its_double_sum_over_pairs() -> None:
    a, b = POINTS[:5], POINTS[5:]

    def mean(x: Tensor, y: Tensor, pairs: int) -> float:
        return sum(float((p - q).square().sum().sqrt()) for p in x for q in y) / pairs

    expected = 2 * mean(a, b, 35) - mean(a, a, 20) - mean(b, b, 42)
    assert energy_distance(a, b).value == pytest.approx(expected, rel=1e-12)


def test_the_energy_distance_of_two_points_is_twice_what_is_between_them() -> None:
    """All of one set at a, all of the other at b: 2 ‖a - b‖, without spread."""
    found = energy_distance(torch.zeros(6, 2), torch.tensor([[3.0, 4.0]]).expand(5, 2))
    assert (found.value, found.low, found.high) == pytest.approx((10, 10, 10))


def test_the_energy_distance_sees_more_than_two_moments() -> None:
    """±1 at random and N(0, 1) have one mean and one variance."""
    generator = torch.Generator().manual_seed(7)
    signs = torch.randint(2, (600, 1), generator=generator) * 2.0 - 1
    assert energy_distance(signs, torch.randn(600, 1, generator=generator)).low > 0.05


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_the_energy_distances_interval_is_that_of_repeated_draws(shift: float) -> None:
    """Of normal points in the line, E‖x - y‖ for N(shift, 2) is known, and so is the truth.

    600 repetitions: the mean is true to 3 standard errors, and the 95 % intervals cover it but for 4 of theirs, 3.6 %.
    """
    normal = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 2**0.5)
    density, below = normal.log_prob(torch.tensor(shift)).exp(), normal.cdf(torch.tensor(shift, dtype=torch.float64))
    between = float(2 * 2 * density + shift * (2 * below - 1))
    truth = 2 * between - 2 * 2 / np.pi**0.5
    generator = torch.Generator().manual_seed(8)
    found = [
        energy_distance(torch.randn(50, 1, generator=generator), shift + torch.randn(80, 1, generator=generator))
        for _ in range(600)
    ]
    values = np.array([estimate.value for estimate in found])
    assert abs(values.mean() - truth) < 3 * values.std() / 600**0.5
    assert 0.914 < np.mean([estimate.low <= truth <= estimate.high for estimate in found]) < 0.99


def test_the_standard_error_of_an_energy_distance_is_that_of_repeated_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The root of V_0 + c Δ², on average, beside the deviation of 800 values (known to 2.5 %)."""
    seen = variance_terms(monkeypatch)
    generator = torch.Generator().manual_seed(9)
    values = [
        energy_distance(
            torch.randn(60, 2, generator=generator), 0.5 + 1.3 * torch.randn(40, 2, generator=generator)
        ).value
        for _ in range(800)
    ]
    variance = np.mean([at_zero + slope * max(value, 0) for (at_zero, slope), value in zip(seen, values, strict=True)])
    assert variance**0.5 == pytest.approx(np.std(values), rel=0.1)


def test_points_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="one D"):
        energy_distance(torch.zeros(5, 3), torch.zeros(5, 4))
    with pytest.raises(InputError, match="too few"):
        energy_distance(torch.zeros(5, 3), torch.zeros(3, 3))

"""The Fréchet distance: closed forms, an independent matrix root, and the small-sample bias taken off."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor

from sumi.errors import InputError
from sumi.metrics import moments as module_of_moments
from sumi.metrics.frechet import frechet_distance, gaussian_frechet_distance, plug_in_frechet_distance
from sumi.metrics.intervals import squared_distance
from sumi.metrics.kernel_distance import kernel_distance
from sumi.metrics.precision_recall import precision_recall

D = 6


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_covariance(seed: int, size: int = D) -> Tensor:
    a = torch.randn(size, size, dtype=torch.float64, generator=generator(seed))
    return a @ a.T / size + 0.05 * torch.eye(size, dtype=torch.float64)


def normal(count: int, mean: Tensor, covariance: Tensor, source: torch.Generator) -> Tensor:
    root = torch.linalg.cholesky(covariance)
    return mean + torch.randn(count, len(mean), dtype=torch.float64, generator=source) @ root.T


def test_in_one_dimension_it_is_the_difference_of_means_and_of_widths() -> None:
    found = gaussian_frechet_distance(*(torch.tensor(x) for x in ([1.0], [[4.0]], [3.5], [[0.25]])))
    assert found == pytest.approx((1 - 3.5) ** 2 + (2 - 0.5) ** 2, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_it_agrees_with_the_general_matrix_root(seed: int) -> None:
    """The textbook formula with scipy's square root of Σ_a Σ_b, which is not symmetric."""
    a, b = random_covariance(2 * seed, 40), random_covariance(2 * seed + 1, 40)
    mean = torch.randn(40, dtype=torch.float64, generator=generator(seed))
    root = linalg.sqrtm((a @ b).numpy())
    expected = float(mean @ mean + a.trace() + b.trace() - 2 * np.trace(root).real)
    assert gaussian_frechet_distance(mean, a, torch.zeros(40), b) == pytest.approx(expected, rel=1e-9)


def test_singular_covariances_are_no_trouble() -> None:
    """Fewer images than features. Diagonal covariances: (√a_i - √b_i)² summed."""
    a, b = torch.diag(torch.tensor([4.0, 1.0, 0.0, 0.0])), torch.diag(torch.tensor([1.0, 0.0, 9.0, 0.0]))
    assert gaussian_frechet_distance(torch.zeros(4), a, torch.zeros(4), b) == pytest.approx(1 + 1 + 9, rel=1e-12)
    axis = torch.randn(30, dtype=torch.float64, generator=generator(1))
    line, ball = torch.outer(axis, axis), torch.eye(30, dtype=torch.float64)
    exact = 30 + float(axis @ axis) - 2 * float(axis.norm())  # of one direction, in which rounding has no part
    found = gaussian_frechet_distance(torch.zeros(30), ball, torch.zeros(30), line)
    assert found == pytest.approx(exact, rel=1e-13)
    few = torch.randn(4, 30, dtype=torch.float64, generator=generator(0))
    assert plug_in_frechet_distance(few, few) == pytest.approx(0, abs=1e-6)
    assert np.isfinite(frechet_distance(few, few + 1).value)


@pytest.mark.parametrize(("count", "groups"), [(9, 64), (11, 4), (12, 4)])
def test_bias_and_interval_are_those_of_the_jackknife(count: int, groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spelt out from the features left: one by one, in groups of 3 and 2, in groups of 3."""
    monkeypatch.setattr(module_of_moments, "MOST_GROUPS", groups)
    a, b = (torch.randn(count, D, dtype=torch.float64, generator=generator(seed)) for seed in (7, 8))
    whole = plug_in_frechet_distance(a, b)
    bias = variance = 0.0
    for side in range(2):
        pseudo = []
        for g in range(min(groups, count)):
            kept = torch.arange(count) % groups != g
            left = plug_in_frechet_distance(a[kept], b) if side == 0 else plug_in_frechet_distance(a, b[kept])
            share = float(kept.double().mean())
            pseudo.append((1 / (1 - share), left))
        one = len(pseudo) * whole - sum((1 - 1 / h) * left for h, left in pseudo)
        bias += whole - one
        variance += sum((h * whole - (h - 1) * left - one) ** 2 / (h - 1) for h, left in pseudo) / len(pseudo)
    expected = squared_distance(whole - bias, variance / whole * max(0, bias) / 2, variance / whole)
    found = frechet_distance(a, b)
    assert [found.value, found.low, found.high] == pytest.approx(
        [expected.value, expected.low, expected.high], rel=1e-9
    )


@pytest.mark.parametrize("shift", [pytest.param(0.0, marks=pytest.mark.slow), 1.0])
def test_the_bias_of_few_images_is_taken_off(shift: float) -> None:
    """400 repetitions of 60 against 40 images: what is left is within 3 standard errors plus a fiftieth of the bias."""
    mean, covariance = torch.full((D,), shift, dtype=torch.float64), random_covariance(1)
    truth = shift**2 * D
    source, zero = generator(3), torch.zeros(D, dtype=torch.float64)
    pairs = [(normal(60, mean, covariance, source), normal(40, zero, covariance, source)) for _ in range(400)]
    plug_in = np.mean([plug_in_frechet_distance(a, b) for a, b in pairs])
    values = np.array([frechet_distance(a, b).value for a, b in pairs])
    error = values.std() / np.sqrt(len(values))
    bias = plug_in - truth
    assert bias > 5 * error
    assert abs(values.mean() - truth) < 3 * error + bias / 50


@pytest.mark.parametrize(
    ("groups", "shift", "width"),
    [
        (256, 0.0, 1.0),
        (40, 2.0, 1.0),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                (256, 0.3, 1.0),
                (256, 0.0, 2.0),
                (256, 2.0, 1.0),
                (40, 0.0, 1.0),
                (40, 0.3, 1.0),
                (40, 0.0, 2.0),
            ]
        ),
    ],
)
def test_its_interval_covers_the_true_value_nineteen_times_in_twenty(
    groups: int, shift: float, width: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From equal Gaussians to very different ones. 300 repetitions: four standard errors are 5 %."""
    monkeypatch.setattr(module_of_moments, "MOST_GROUPS", groups)
    covariance, zero = random_covariance(2), torch.zeros(D, dtype=torch.float64)
    mean = zero.clone()
    mean[0] = shift
    truth = gaussian_frechet_distance(mean, width * covariance, zero, covariance)
    source = generator(11)
    found = [
        frechet_distance(normal(120, mean, width * covariance, source), normal(80, zero, covariance, source))
        for _ in range(300)
    ]
    assert 0.90 < np.mean([estimate.low <= truth <= estimate.high for estimate in found]) < 0.997


def test_features_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="one D"):
        frechet_distance(torch.zeros(5, 3), torch.zeros(5, 4))
    with pytest.raises(InputError, match="too few"):
        plug_in_frechet_distance(torch.zeros(2, 3), torch.zeros(9, 3))


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance, precision_recall])
def test_features_that_are_no_finite_numbers_are_refused(distance: Callable[[Tensor, Tensor], object]) -> None:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    for wrong in (torch.nan, torch.inf, -torch.inf, 1e21):
        other = x.clone()
        other[7, 1] = wrong
        for pair in ((x, other), (other, x)):
            with pytest.raises(InputError, match="features: some of them are NaN, infinite or beyond"):
                distance(*pair)
    with pytest.raises(InputError, match="features: some of them"):
        distance(x, (1e5 * x).half())
    with pytest.raises(InputError, match="both must be"):
        distance(x[:, :0], x[:, :0])
    constant = torch.cat([x, torch.ones(40, 2)], 1)
    assert "nan" not in str(distance(constant, constant + 1))

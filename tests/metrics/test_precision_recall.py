"""Precision, recall, density and coverage: by their definition, at the values a perfect model has, with intervals."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.metrics import precision_recall as module
from sumi.metrics.intervals import dependent_share, share
from sumi.metrics.precision_recall import PrecisionRecall, expected_coverage, precision_recall


def normal(count: int, dimension: int, source: torch.Generator) -> Tensor:
    return torch.randn(count, dimension, dtype=torch.float64, generator=source)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def values(found: PrecisionRecall) -> list[float]:
    return [found.precision.value, found.recall.value, found.density.value, found.coverage.value]


def by_definition(x: Tensor, y: Tensor, k: int) -> list[float]:
    """One pair after the other."""

    def radius(points: Tensor, j: int) -> float:
        return sorted(math.dist(points[j], points[i]) for i in range(len(points)) if i != j)[k - 1]

    of_y, of_x = [radius(y, j) for j in range(len(y))], [radius(x, i) for i in range(len(x))]
    in_y = [[math.dist(a, b) <= of_y[j] for j, b in enumerate(y)] for a in x]
    in_x = [[math.dist(a, b) <= of_x[i] for i, a in enumerate(x)] for b in y]
    return [
        sum(map(any, in_y)) / len(x),
        sum(map(any, in_x)) / len(y),
        sum(map(sum, in_y)) / (k * len(x)),
        sum(any(row[j] for row in in_y) for j in range(len(y))) / len(y),
    ]


@pytest.mark.parametrize("k", [1, 3])
def test_they_are_what_their_definition_says(k: int) -> None:
    source = generator(k)
    x, y = 0.8 * normal(40, 3, source) + 0.7, normal(50, 3, source)
    assert values(precision_recall(x, y, neighbours=k)) == pytest.approx(by_definition(x, y, k), rel=1e-12)


def test_blocks_and_order_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    source = generator(2)
    x, y = normal(60, 4, source) + 0.5, normal(45, 4, source)
    whole = values(precision_recall(x, y))
    monkeypatch.setattr(module, "BLOCK", 7 * 45)
    assert values(precision_recall(x[torch.randperm(60, generator=source)], y.flip(0))) == whole


def test_no_more_than_a_block_of_distances_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that 50,000 against 50,000 need no more memory than 2000 against 2000."""
    held = []

    def watched(a: Tensor, b: Tensor) -> Tensor:
        held.append(len(a) * len(b))
        return torch.cdist(a, b)

    monkeypatch.setattr(module, "_distances", watched)
    monkeypatch.setattr(module, "BLOCK", 5000)
    x, y = normal(300, 2, generator(0)), normal(400, 2, generator(1))
    module.figures(x, y, 3)
    assert max(held) <= 5000
    assert sum(held) == 300 * 300 + 400 * 400 + 300 * 400


def test_samples_and_real_images_exchanged_exchange_precision_and_recall() -> None:
    source = generator(3)
    x, y = normal(60, 4, source) + 0.5, normal(45, 4, source)
    there, back = precision_recall(x, y), precision_recall(y, x)
    assert there.precision.value == back.recall.value
    assert there.recall.value == back.precision.value


def test_one_kind_of_two_has_full_precision_and_half_the_recall() -> None:
    """Two far clusters of real images, samples in one of them: 100 on the same places."""
    source = generator(4)
    left, right = normal(100, 2, source), normal(100, 2, source) + 100
    found = precision_recall(left, torch.cat([left, right]), neighbours=3)
    assert (found.precision.value, found.recall.value, found.coverage.value) == (1, 0.5, 0.5)
    outside = precision_recall(left + 1000, torch.cat([left, right]), neighbours=3)
    assert values(outside) == [0, 0, 0, 0]
    assert 0 < outside.precision.high < 0.04


def test_copies_of_all_real_images_lie_in_all_their_balls() -> None:
    """Every ball then holds its centre and, its k-th nearest being on its edge, exactly k others: ties stay ties."""
    y = normal(80, 30, generator(5)).float()
    found = precision_recall(y, y.clone(), neighbours=4)
    assert values(found) == [1, 1, 5 / 4, 1]


@pytest.mark.parametrize(("m", "n", "dimension", "k"), [(30, 60, 2, 2), (90, 36, 20, 5)])
def test_a_perfect_model_has_density_one_and_the_expected_coverage(m: int, n: int, dimension: int, k: int) -> None:
    """Whatever the distribution: here normal ones cubed. 600 repetitions, within 3 standard errors."""
    source = generator(6)
    found = np.array(
        [module.figures(normal(m, dimension, source) ** 3, normal(n, dimension, source) ** 3, k) for _ in range(600)]
    )
    error = found.std(0) / np.sqrt(len(found))
    assert abs(found[:, 2].mean() - 1) < 3 * error[2]
    assert abs(found[:, 3].mean() - expected_coverage(m, n, k)) < 3 * error[3]


def test_the_expected_coverage_is_that_of_counting() -> None:
    """One neighbour, m samples and n real ones: the nearest other is a real one with probability (n-1)/(m+n-1)."""
    assert expected_coverage(5, 4, 1) == pytest.approx(1 - 3 / 8)
    assert expected_coverage(10_000, 10_000, 5) == pytest.approx(1 - 2**-5, abs=1e-3)


@pytest.mark.parametrize(
    ("dimension", "m", "n", "shift", "width"),
    [(2, 120, 90, 1, 1), pytest.param(8, 100, 100, 1.5, 0.5, marks=pytest.mark.slow)],
)
def test_their_intervals_hold_the_mean_where_wilsons_do_not(
    dimension: int, m: int, n: int, shift: float, width: float
) -> None:
    """120 repetitions: 95 % less three standard errors is 0.89; too wide by less than half."""
    source = generator(7)

    def draw() -> tuple[Tensor, Tensor]:
        x = width * normal(m, dimension, source)
        x[:, 0] += shift
        return x, normal(n, dimension, source)

    every = np.array([module.figures(*draw(), 3).numpy() for _ in range(1500)])
    truth, spread = every.mean(0), every.std(0)
    found = [precision_recall(*draw(), neighbours=3) for _ in range(120)]
    measured = [[f.precision, f.recall, f.density, f.coverage] for f in found]
    held = np.mean([[e.low <= t <= e.high for e, t in zip(row, truth, strict=True)] for row in measured], 0)
    assert (held > 0.89).all()
    half_widths = np.mean([[e.high - e.low for e in row] for row in measured], 0) / 2
    assert (half_widths[2:] < 1.5 * 1.96 * spread[2:]).all()
    if dimension == 2:
        wilson = [share(round(f.precision.value * m), m) for f in found]
        assert np.mean([e.low <= truth[0] <= e.high for e in wilson]) < 0.75


def test_the_variance_of_groups_is_divided_by_that_of_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """p(1 - p) of a share, the density itself of a density."""
    found = iter([torch.tensor(row).double() for row in ([0.2, 0.4, 1.0, 0.6], [0.4, 0.4, 3.0, 0.8]) * 24])
    monkeypatch.setattr(module, "figures", lambda *_: next(found))
    x = normal(40, 2, generator(0))
    factors = module._factors_of_groups(x, x, 3, 2, generator(1))
    assert factors.tolist() == pytest.approx([0.02 / 0.21, 0.0, 2 / 2, 0.02 / 0.21])


def test_no_interval_is_narrower_than_that_of_as_many_independent_images() -> None:
    """Samples among real images, in all groups: of 40 samples, and of 400 real images that are all near one."""
    real = normal(400, 2, generator(2))
    few, many = precision_recall(0.01 * real[:40], real), precision_recall(real, 0.01 * real[:40])
    assert few.precision == share(40, 40)
    assert many.recall == share(40, 40)


def test_a_dependent_share_of_independent_things_has_wilsons_interval() -> None:
    for count in (0, 3, 20):
        found, expected = dependent_share(count / 20, 1 / 20), share(count, 20)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert {dependent_share(1.0, 1 / count).high for count in range(1, 200)} == {1.0}  # without a rounding
    wide, narrow = dependent_share(0.3, 1 / 5), dependent_share(0.3, 1 / 50)
    assert wide.low < narrow.low < 0.3 < narrow.high < wide.high
    # the ends solve (p - θ)² = z² c θ(1 - θ)
    for end in (wide.low, wide.high):
        assert (0.3 - end) ** 2 == pytest.approx(1.959963984540054**2 / 5 * end * (1 - end), rel=1e-9)
    with pytest.raises(InputError, match="factor > 0"):
        dependent_share(0.3, 0)


def test_features_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="one D"):
        precision_recall(torch.zeros(50, 3), torch.zeros(50, 4))
    with pytest.raises(InputError, match="at least 36"):
        precision_recall(torch.zeros(50, 3), torch.zeros(35, 3))
    with pytest.raises(InputError, match="neighbours"):
        precision_recall(torch.zeros(50, 3), torch.zeros(50, 3), neighbours=0)

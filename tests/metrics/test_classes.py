"""What a classifier sees: counts, thresholds, and a permutation test that errs as often as it says."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sumi.metrics.classes import balance, clarity


def sure(labels: list[int], classes: int, top: float = 1.0) -> Tensor:
    """Probabilities that give each label ``top`` and share the rest."""
    rows = torch.full((len(labels), classes), (1 - top) / (classes - 1), dtype=torch.float64)
    rows[torch.arange(len(labels)), torch.tensor(labels)] = top
    return rows


def test_an_image_is_clear_above_nine_tenths() -> None:
    samples = torch.cat([sure([0] * 30, 3, 0.91), sure([1] * 10, 3, 0.9), sure([2] * 10, 3, 0.5)])
    real = torch.cat([sure([0] * 80, 3, 0.95), sure([1] * 20, 3, 0.6)])
    found = clarity(samples, real)
    assert (found.threshold, found.samples.value, found.real.value) == (0.9, 0.6, 0.8)
    assert found.relative is not None
    assert found.relative.value == pytest.approx(0.75)
    assert found.relative.low < 0.75 < found.relative.high


def test_where_no_real_image_is_clear_there_is_no_ratio() -> None:
    assert clarity(sure([0] * 5, 2, 0.95), sure([0] * 5, 2, 0.6)).relative is None


def test_the_balance_counts_classes_and_names_the_missing_ones() -> None:
    found = balance(sure([0] * 6 + [1] * 2, 5), sure([0] * 5 + [1] * 3 + [2] + [3], 5), seed=0)
    assert found.samples == (6, 2, 0, 0, 0)
    assert found.real == (5, 3, 1, 1, 0)
    assert found.total_variation == pytest.approx(0.75 - 0.5)  # 0.25 must move from class 0 to 1, 2 and 3
    assert found.missing == (2, 3)


def test_chance_is_that_of_exchanging_images_between_the_sets() -> None:
    """Two against two, of two classes: of the 6 divisions two part the classes (1), four mix them (0)."""
    found = balance(sure([0, 0], 2), sure([1, 1], 2), seed=0)
    assert found.total_variation == 1
    assert found.by_chance == pytest.approx(1 / 3, abs=0.04)  # 1999 draws: four standard errors
    assert found.p_value == pytest.approx(1 / 3, abs=0.04)
    assert balance(sure([0, 1], 2), sure([1, 0], 2), seed=0).p_value == 1


def test_no_p_value_is_below_that_of_the_one_division_that_was_seen() -> None:
    assert balance(sure([0] * 60, 2), sure([1] * 60, 2), seed=0).p_value == 1 / 2000


def test_the_p_value_errs_as_often_as_it_says() -> None:
    """Of 300 pairs of alike sets 5 % ± three standard errors have p < 0.05; of different ones most do."""
    rng = np.random.default_rng(1)
    shares, others = [0.1] * 10, [0.05] * 5 + [0.15] * 5

    def p_value(a: list[float], b: list[float], seed: int) -> float:
        x, y = (rng.choice(10, count, p=p).tolist() for p, count in ((a, 200), (b, 120)))
        return balance(sure(x, 10), sure(y, 10), seed=seed).p_value

    assert 0.015 < np.mean([p_value(shares, shares, seed) < 0.05 for seed in range(300)]) < 0.09
    assert np.mean([p_value(shares, others, seed) < 0.05 for seed in range(50)]) > 0.8

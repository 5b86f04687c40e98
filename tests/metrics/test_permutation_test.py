"""The test by exchanging pairs: exact, of the right size, and sharper than two intervals."""

import itertools

import pytest
import torch
from torch import Tensor

from sumi.metrics.permutation_test import exchange_p_values, exchanged

SOURCE = torch.Generator().manual_seed(0)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=SOURCE, dtype=torch.float64)


def of_means(first: Tensor, second: Tensor, chosen: Tensor) -> Tensor:
    a, b = exchanged(first, second, chosen)
    return (b.mean(0) - a.mean(0)).reshape(-1)


def test_chosen_rows_change_places_and_no_others() -> None:
    first, second = torch.zeros(3, 2), torch.ones(3, 2)
    a, b = exchanged(first, second, torch.tensor([True, False, True]))
    assert a.tolist() == [[1, 1], [0, 0], [1, 1]]
    assert b.tolist() == [[0, 0], [1, 1], [0, 0]]


def test_p_is_the_share_of_all_exchanges_that_reach_as_far() -> None:
    """All 2⁸ exchanges of 8 pairs, for two figures at once; 3 standard errors of 4000 random ones are below 0.024."""
    first = normal(8, 2)
    second = first + 0.6 * normal(8, 2) + torch.tensor([0.3, -0.1])
    every = torch.stack(
        [of_means(first, second, torch.tensor(c)) for c in itertools.product([False, True], repeat=8)]
    ).abs()
    exact = (every >= every[0] * (1 - 1e-9)).double().mean(0)
    found = exchange_p_values(lambda chosen: of_means(first, second, chosen), 8, exchanges=4000)
    assert exact.min() > 2 / 256
    assert exact.max() < 1
    assert found.tolist() == pytest.approx(exact.tolist(), abs=0.024)


def test_alike_pairs_are_found_different_as_often_as_promised() -> None:
    """400 times, 30 pairs that differ by chance alone: p ≤ 0.1 in 10 %, within 3 standard errors (4.5 %)."""
    found = []
    for seed in range(400):
        first = normal(30)
        second = 0.9 * first + 0.4 * normal(30)
        first = 0.9 * first + 0.4 * normal(30)
        found.append(exchange_p_values(lambda c, a=first, b=second: of_means(a, b, c), 30, exchanges=19, seed=seed))
    assert abs(float((torch.cat(found) <= 0.1).double().mean()) - 0.1) < 0.045


def test_pairs_show_what_two_intervals_do_not() -> None:
    """A shift of a twentieth of a deviation, of 200 pairs that are nearly alike, either way."""
    first = normal(200)
    noise = 0.1 * normal(200)
    assert 1.96 * float(first.std()) / 200**0.5 > 2 * 0.05  # what an interval of one of them would hide
    for shift in (0.05, -0.05):
        p = exchange_p_values(lambda c, s=shift: of_means(first, first + noise + s, c), 200)
        assert float(p) == 1 / 200  # the least that 199 exchanges can give


def test_what_is_equal_but_for_rounding_is_no_difference() -> None:
    first = normal(50)
    assert float(exchange_p_values(lambda c: of_means(first, first.clone(), c), 50)) == 1

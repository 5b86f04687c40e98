"""Copies are found, new images are not taken for copies, and the p-value is exact."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from sumi.errors import InputError
from sumi.metrics import copies as module
from sumi.metrics.copies import copying, nearest


def images(count: int, seed: int, shape: tuple[int, ...] = (3, 5, 4)) -> Tensor:
    return torch.rand((count, *shape), generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("block", [1, 7 * 60, 10**9])
def test_the_nearest_is_the_nearest_of_all(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against all differences, whatever the size of the blocks."""
    monkeypatch.setattr(module, "PATCH_BLOCK", block)
    some, among = images(30, 0), images(50, 1)
    distances = (some[:, None].double() - among[None].double()).square().flatten(2).mean(2).sqrt()
    found = nearest(some, among)
    assert torch.equal(found.index, distances.argmin(1))
    torch.testing.assert_close(found.distance, distances.min(1).values, rtol=1e-12, atol=0)


def test_a_copy_is_at_distance_zero_exactly() -> None:
    """Not at the square root of a rounding error, which would be about 1e-8."""
    among = images(40, 2, (1, 28, 28))
    found = nearest(among[5:9], among)
    assert found.index.tolist() == [5, 6, 7, 8]
    assert found.distance.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(("m", "n", "k"), [(50, 20, 1), (300, 180, 2), (1000, 1200, 12)])
def test_the_p_value_is_the_tail_of_the_negative_hypergeometric_law(m: int, n: int, k: int) -> None:
    """scipy's law counts successes before the r-th failure: m samples among m + n, before the k-th real image.

    (Its tail is 1 minus a sum, so it is good to 1e-10 only.)
    """
    for j in (0, 1, k, 5 * k, m):
        found = copying(torch.arange(m) + (k - j + 0.5), torch.arange(1, n + 1).double())  # j of them up to the k-th
        assert (found.threshold, found.counted) == (k, j)
        expected = stats.nhypergeom.sf(j - 1, m + n, m, k)
        assert found.p_value == pytest.approx(expected, rel=1e-6, abs=1e-10)


def test_new_images_are_not_taken_for_copies() -> None:
    """Samples and held-out images of one distribution: the share is as expected and p < 0.05 in at most 5 % of cases.

    1500 repetitions: the mean share is within 3 standard errors, the error rate within 1.7 % of its bound.
    """
    rng = np.random.default_rng(0)
    found = [
        copying(torch.from_numpy(rng.gamma(5, size=200)), torch.from_numpy(rng.gamma(5, size=180))) for _ in range(1500)
    ]
    shares = np.array([c.share for c in found])
    assert {c.expected for c in found} == {2 / 181}
    assert abs(shares.mean() - 2 / 181) < 3 * shares.std() / np.sqrt(len(shares))
    assert np.mean([c.p_value < 0.05 for c in found]) < 0.067


def test_a_twentieth_of_copies_among_new_images_is_found() -> None:
    rng = np.random.default_rng(1)
    distances = rng.gamma(5, size=400)
    distances[:20] = 0.01
    found = copying(torch.from_numpy(distances), torch.from_numpy(rng.gamma(5, size=180)))
    assert found.p_value < 0.01
    assert found.counted >= 20
    assert found.share == found.counted / 400


def test_copies_are_found_where_the_data_itself_has_duplicates() -> None:
    """3 % of held-out images are duplicates of training images, at distance 0: the threshold is 0, and so is a copy."""
    rng = np.random.default_rng(2)
    held_out = rng.gamma(5, size=100)
    held_out[:3] = 0
    found = copying(torch.zeros(50), torch.from_numpy(held_out))
    assert (found.threshold, found.counted, found.expected) == (0, 50, 3 / 101)
    assert found.p_value < 1e-9
    honest = rng.gamma(5, size=50)
    honest[0] = 0
    assert copying(torch.from_numpy(honest), torch.from_numpy(held_out)).p_value > 0.1


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="one size"):
        nearest(images(2, 0), images(2, 0, (3, 4, 4)))
    with pytest.raises(InputError, match="at least one"):
        copying(torch.zeros(0), torch.zeros(3))

"""The Inception score: known values, its formula, the bias of few images taken off, an interval that holds."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.metrics import inception_score as module
from sumi.metrics.inception_score import inception_score


def soft(count: int, sharpness: float, seed: int) -> Tensor:
    logits = torch.randn(count, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (sharpness * logits).softmax(1)


def by_definition(p: Tensor) -> float:
    """exp of the mean Kullback-Leibler divergence from the mean, a number at a time."""
    mean = p.mean(0)
    return math.exp(sum(float(v) * math.log(v / q) for row in p for v, q in zip(row, mean, strict=True)) / len(p))


def test_it_is_what_its_definition_says() -> None:
    p = soft(30, 2, 0)
    assert inception_score(p).plug_in == pytest.approx(by_definition(p), rel=1e-12)


def test_sure_images_in_equal_shares_count_the_classes() -> None:
    p = torch.eye(7, dtype=torch.float64).repeat(30, 1)
    found = inception_score(p)
    assert found.plug_in == pytest.approx(7, rel=1e-12)
    assert found.score.value == pytest.approx(7, rel=0.02)
    assert (found.classes, found.images) == (7, 210)


def test_images_all_alike_have_score_one() -> None:
    p = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).expand(20, 3)
    found = inception_score(p)
    for value in (found.plug_in, found.score.value, found.score.low, found.score.high):
        assert value == pytest.approx(1, abs=1e-6)


def test_the_jackknife_leaves_out_one_image_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 5)  # blocks of one row, for more than 5 classes
    p = soft(12, 3, 1)
    left = np.log([by_definition(torch.cat([p[:i], p[i + 1 :]])) for i in range(12)])
    value = 12 * math.log(by_definition(p)) - 11 * left.mean()
    error = 1.959963984540054 * math.sqrt(11 / 12 * np.square(left - left.mean()).sum())
    found = inception_score(p).score
    expected = [math.exp(x) for x in (value, value - error, value + error)]
    assert [found.value, found.low, found.high] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("shares", [(0.5, 0.2, 0.1, 0.1, 0.05, 0.05), (1 / 6,) * 6])
def test_the_bias_of_few_images_is_taken_off_and_the_interval_holds(shares: tuple[float, ...]) -> None:
    """Sure images of six classes: I = the entropy of the shares, exactly. 800 repetitions of 60 images.

    What is left of the bias is within 3 standard errors and a tenth of it; 95 % less three standard errors is 0.927.
    """
    entropy = -sum(p * math.log(p) for p in shares)
    source = torch.Generator().manual_seed(2)
    labels = torch.multinomial(torch.tensor(shares), 60 * 800, replacement=True, generator=source).reshape(800, 60)
    found = [inception_score(torch.eye(6, dtype=torch.float64)[row]) for row in labels]
    plug_in = np.mean([math.log(f.plug_in) for f in found]) - entropy
    values = np.log([f.score.value for f in found])
    error = values.std() / np.sqrt(len(values))
    assert plug_in == pytest.approx(-5 / 120, abs=3 * error + 0.005)  # (C - 1)/(2N)
    assert abs(values.mean() - entropy) < 3 * error + abs(plug_in) / 10
    held = np.mean([f.score.low <= math.exp(entropy) <= f.score.high for f in found])
    assert held > 0.927


def test_a_doubtful_classifier_s_interval_holds_too() -> None:
    """Against the score of 200,000 images. 600 repetitions of 100."""
    truth = inception_score(soft(200_000, 2, 3)).plug_in
    pool = soft(60_000, 2, 4).split(100)
    held = np.mean([f.low <= truth <= f.high for f in (inception_score(p).score for p in pool)])
    assert 0.92 < held < 0.98


def test_what_are_no_probabilities_is_refused() -> None:
    for bad in (torch.zeros(5, 3), torch.full((5, 2), torch.nan), torch.tensor([[1.5, -0.5]]).expand(5, 2)):
        with pytest.raises(InputError, match="softmax"):
            inception_score(bad)
    with pytest.raises(InputError, match="at least 4 images"):
        inception_score(torch.ones(3, 2) / 2)

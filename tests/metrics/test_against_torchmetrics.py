"""The same features give the same figures as in torchmetrics, to 1e-6: two codes that know nothing of each other.

Features are given as images are there, through a network that answers its input.
"""

import pytest
import torch
from torch import Tensor, nn

from sumi.metrics.frechet import plug_in_frechet_distance
from sumi.metrics.inception_score import inception_score
from sumi.metrics.kernel_distance import kernel_distance

fid, inception, kid = (pytest.importorskip(f"torchmetrics.image.{name}") for name in ("fid", "inception", "kid"))
pytestmark = [
    pytest.mark.filterwarnings("ignore:Metric .* will save all extracted features"),
    pytest.mark.filterwarnings("ignore:std.*degrees of freedom"),  # of one split
]

D = 24


class Same(nn.Module):
    """Its input, which counts as features (N, D)."""

    num_features = D

    def forward(self, x: Tensor) -> Tensor:
        return x


def features(count: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    mixing = torch.randn(D, D, dtype=torch.float64, generator=torch.Generator().manual_seed(99))
    return scale * torch.randn(count, D, dtype=torch.float64, generator=source) @ mixing / D**0.5 + shift


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1.3, 0.2), (0.2, 3.0)])
def test_the_frechet_distance_is_the_same(scale: float, shift: float) -> None:
    real, samples = features(300, 0), features(400, 1, scale, shift)
    metric = fid.FrechetInceptionDistance(Same(), normalize=True).set_dtype(torch.float64)
    for batch in real.split(70):
        metric.update(batch, real=True)
    for batch in samples.split(90):
        metric.update(batch, real=False)
    assert plug_in_frechet_distance(samples, real) == pytest.approx(float(metric.compute()), rel=1e-6)


@pytest.mark.parametrize(("scale", "shift"), [(1.3, 0.2), (0.2, 3.0)])
def test_the_kernel_distance_is_the_same(scale: float, shift: float) -> None:
    """Its subsets are all images here, so that nothing is left to chance."""
    real, samples = features(200, 2), features(200, 3, scale, shift)
    metric = kid.KernelInceptionDistance(Same(), subsets=2, subset_size=200, normalize=True).set_dtype(torch.float64)
    metric.update(real, real=True)
    metric.update(samples, real=False)
    mean, spread = metric.compute()
    assert kernel_distance(samples, real).value == pytest.approx(float(mean), rel=1e-6)
    assert float(spread) < 1e-6 * float(mean)


def test_the_inception_score_is_the_same() -> None:
    logits = 3 * features(500, 4)
    metric = inception.InceptionScore(Same(), splits=1).set_dtype(torch.float64)
    metric.update(logits)
    assert inception_score(logits.softmax(1)).plug_in == pytest.approx(float(metric.compute()[0]), rel=1e-6)

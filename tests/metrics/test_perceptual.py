"""The perceptual distance: a metric's laws, a network small enough to count by hand, and real digits made worse."""

from collections.abc import Callable
from math import sqrt

import pytest
import torch
from torch import Tensor

from sumi.data.config import DataConfig
from sumi.data.load import load_images
from sumi.errors import InputError
from sumi.metrics.features import learned as module
from sumi.metrics.features.learned import train_classifier
from sumi.metrics.features.network import FeatureNetwork
from sumi.metrics.perceptual import perceptual_distance
from sumi.operators.convolution import gaussian_blur


class Pair:
    """Two stages: (x, x²) at every pixel, and (Σ x, 1) over the picture."""

    def maps(self, images: Tensor, /) -> list[Tensor]:
        total = images.sum((2, 3), keepdim=True)
        return [torch.cat([images, images.square()], 1), torch.cat([total, torch.ones_like(total)], 1)]


@pytest.fixture(scope="module")
def digits() -> Tensor:
    """Held-out images (N, 1, 8, 8)."""
    return torch.from_numpy(load_images(DataConfig("digits")).split(0.1)[1].images).float() / 8 - 1


@pytest.fixture(scope="module")
def network() -> FeatureNetwork:
    """A classifier of digits, after a fraction of its training."""
    training = load_images(DataConfig("digits")).split(0.1)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FEWEST_STEPS", 100)
        patch.setattr(module, "MOST_STEPS", 100)
        images, labels = torch.from_numpy(training.images).float() / 8 - 1, torch.from_numpy(training.labels)
        return train_classifier(images, labels, classes=10, seed=0)


def test_the_distance_of_two_small_pictures_is_the_one_counted_by_hand() -> None:
    """At pixels 1 | 2 and 0 | -1 the first stage has (1, 1)/√2 | (2, 4)/√20 and (0, 0) | (-1, 1)/√2.

    Squared distances 1 and 2 - 2 (-2 + 4)/(√20 √2), whose mean counts; the second (3, 1)/√10 and (-1, 1)/√2. What is
    added to squared lengths of 2 changes them by some 1e-8.
    """
    a, b = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[0.0, -1.0]]]])
    first = (1 + 2 - 2 * 2 / sqrt(40)) / 2
    second = 2 - 2 * (-3 + 1) / sqrt(20)
    found = perceptual_distance(Pair(), a, b)
    torch.testing.assert_close(found, torch.tensor([first + second], dtype=torch.float64), rtol=0, atol=3e-8)


def test_it_is_zero_between_equals_symmetric_and_each_pairs_own(network: FeatureNetwork, digits: Tensor) -> None:
    """Alone and in a batch the network's float32 values differ by rounding."""
    a, b = digits[:20], digits[20:40]
    found = perceptual_distance(network, a, b)
    assert float(perceptual_distance(network, a, a).abs().max()) == 0
    assert torch.equal(found, perceptual_distance(network, b, a))
    alone = torch.cat([perceptual_distance(network, x[None], y[None]) for x, y in zip(a, b, strict=True)])
    torch.testing.assert_close(found, alone, rtol=1e-4, atol=0)
    assert float(found.min()) > 0


def test_the_stages_are_the_convolutions_and_lead_to_the_features(network: FeatureNetwork, digits: Tensor) -> None:
    maps = network.maps(digits[:3])
    assert [tuple(stage.shape) for stage in maps] == [(3, 32, 8, 8), (3, 64, 4, 4), (3, 64, 2, 2)]
    layers = network._network.body
    features = layers[-2:](layers[-4:-2](maps[-1]))  # 2 × 2 means, flattened; linear, SiLU
    expected = (features.double() - network._centre) / network._scale
    torch.testing.assert_close(network.features(digits[:3]), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "worse",
    [
        lambda x, much: gaussian_blur(0.4 * much)(x),
        lambda x, much: x + 0.15 * much * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)),
        lambda x, much: x.lerp(x.flip(0), 0.2 * much),
    ],
    ids=["blur", "noise", "another digit"],
)
def test_the_worse_a_digit_is_made_the_farther_it_is(
    worse: Callable[[Tensor, int], Tensor], network: FeatureNetwork, digits: Tensor
) -> None:
    """On average over the held-out ones at every step, and for nine in ten from the least to the most."""
    far = torch.stack([perceptual_distance(network, worse(digits, much), digits) for much in range(1, 5)])
    assert bool((far.mean(1).diff() > 0).all())
    assert float((far[3] > far[0]).double().mean()) > 0.9


def test_a_shift_by_a_pixel_is_nearer_than_a_blur_of_the_same_squared_error(
    network: FeatureNetwork, digits: Tensor
) -> None:
    """What the distance is for. The blur is scaled to the shift's squared error, digit by digit."""
    shifted, blurred = digits.roll(1, 3), gaussian_blur(2.0)(digits)

    def error(x: Tensor) -> Tensor:
        return (x - digits).square().mean((1, 2, 3), keepdim=True)

    scaled = digits + (blurred - digits) * (error(shifted) / error(blurred)).sqrt()
    near, far = (perceptual_distance(network, x, digits).mean() for x in (shifted, scaled))
    assert near < far


def test_pictures_that_are_no_pairs_are_refused(network: FeatureNetwork) -> None:
    with pytest.raises(InputError, match="pairs of one shape"):
        perceptual_distance(network, torch.zeros(2, 1, 8, 8), torch.zeros(1, 1, 8, 8))

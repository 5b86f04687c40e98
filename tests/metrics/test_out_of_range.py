"""Images that are no real ones are out of their range, or far by their features; new real ones are not."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.data.pixels import PixelRange
from sumi.metrics.features import learned
from sumi.metrics.features.network import FeatureNetwork
from sumi.metrics.intervals import Estimate
from sumi.metrics.kernel_distance import kernel_distance
from sumi.metrics.out_of_range import out_of_range, pixel_statistics, why_unseen
from sumi.metrics.precision_recall import figures

SOURCE = torch.Generator().manual_seed(0)
HERE = Estimate(0.0, -0.1, 0.1)


def scenes(count: int, seed: int) -> Tensor:
    """Colour pictures (count, 3, 16, 16) with a power law for a spectrum, of several brightnesses and contrasts."""
    source = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 3, 16, 16, generator=source) + 2 * torch.randn(count, 1, 16, 16, generator=source)
    length = (torch.fft.fftfreq(16)[:, None] ** 2 + torch.fft.fftfreq(16) ** 2).sqrt().clamp(min=1 / 16)
    steep = 1 + 0.5 * torch.rand(count, 1, 1, 1, generator=source)
    x = torch.fft.ifft2(torch.fft.fft2(noise) / length**steep).real
    x /= x.std((1, 2, 3), keepdim=True)
    contrast = 0.2 + 0.3 * torch.rand(count, 1, 1, 1, generator=source)
    return (contrast * x + 0.2 * torch.randn(count, 1, 1, 1, generator=source)).clamp(-1, 1)


@pytest.fixture(scope="module")
def real() -> dict[str, Tensor]:
    digits = load(DataConfig("digits"))
    clothes = load(DataConfig("fashion"))
    order = torch.randperm(len(clothes.images), generator=SOURCE)[:1500]
    return {
        "digits": torch.from_numpy(digits.images).float() / 8 - 1,
        "fashion": PixelRange().to_model(clothes.images[order]),
        "scenes": scenes(1500, 1),
    }


def blurred(x: Tensor, std: float) -> Tensor:
    across = torch.exp(-(torch.arange(-2, 3) ** 2) / (2 * std**2))
    kernel = (across[:, None] * across / across.sum() ** 2).expand(x.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), kernel, groups=x.shape[1])


def unreal(x: Tensor) -> dict[str, Tensor]:
    """What no real image of any of the three sets is."""
    noise = torch.randn(x.shape, generator=SOURCE)
    grey = 2 * torch.rand(len(x), x.shape[1], 1, 1, generator=SOURCE) - 1
    return {
        "noise": noise.clamp(-1, 1),
        "noise of their mean and deviation": (x.mean() + x.std() * noise).clamp(-1, 1),
        "one colour each": grey.expand_as(x),
        "black": -torch.ones_like(x),
        "their pixels in another order": x.flatten(2)[..., torch.randperm(x[0, 0].numel(), generator=SOURCE)].view_as(
            x
        ),
    }


@pytest.mark.parametrize("name", ["digits", "fashion", "scenes"])
def test_noise_and_empty_images_are_out_of_the_range_of_real_ones(name: str, real: dict[str, Tensor]) -> None:
    x = real[name]
    for what, samples in unreal(x[:200]).items():
        assert out_of_range(samples, x[500:])["any"] > 0.7, what


@pytest.mark.parametrize("name", ["digits", "fashion", "scenes"])
def test_new_real_images_are_in_range_in_each_of_a_hundred_draws_and_slightly_blurred_ones_too(
    name: str, real: dict[str, Tensor]
) -> None:
    """10 or 200 of them against 200 others."""
    x = real[name]
    for draw in range(100):
        mixed = x[torch.randperm(len(x), generator=SOURCE)]
        assert why_unseen(HERE, out_of_range(mixed[200 : 210 if draw % 2 else 400], mixed[:200])) == ""
    assert why_unseen(HERE, out_of_range(blurred(x[:200], 0.5), x[500:])) == ""


def test_inverted_digits_and_those_of_another_set_are_out_of_range(real: dict[str, Tensor]) -> None:
    x, clothes = real["digits"], F.adaptive_avg_pool2d(real["fashion"], 8)
    assert why_unseen(HERE, out_of_range(-x[:200], x[500:])) == (
        "100% of the samples are outside of the range of real images, most in brightness"
    )
    assert "contrast" in why_unseen(HERE, out_of_range(clothes[:400], x[500:]))


def test_what_only_the_features_find_is_far_by_them_although_its_precision_is_high(real: dict[str, Tensor]) -> None:
    """Colour noise has a precision above 0.5; real ones of a hundred draws are not far."""
    x = real["scenes"]
    network = features_of(x[:600])
    held_out = network.features(x[600:900])
    noise = network.features(torch.randn(200, 3, 16, 16, generator=SOURCE).clamp(-1, 1))
    assert figures(noise, held_out)[0] > 0.5
    assert "far" in why_unseen(kernel_distance(noise, held_out), {"any": 0.0})
    of_real = network.features(x[600:])
    for draw in range(100):
        mixed = of_real[torch.randperm(len(of_real), generator=SOURCE)]
        count = 10 if draw % 2 else 300
        assert why_unseen(kernel_distance(mixed[:count], mixed[-count:]), {"any": 0.0}) == ""


def features_of(images: Tensor) -> FeatureNetwork:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned, "FEWEST_STEPS", 150)
        return learned.train_rotations(images, seed=0)


def test_the_statistics_are_those_of_a_wave() -> None:
    """0.1 + A cos of 4 pixels: deviation A/√2, all power in fine detail, none in broad shapes; grey, so no colour."""
    wave = 0.1 + 0.5 * torch.cos(torch.arange(16) * torch.pi / 2).expand(1, 3, 16, 16)
    found = {name: float(value) for name, value in pixel_statistics(wave).items()}
    assert found["brightness"] == pytest.approx(0.1, abs=1e-6)
    assert found["contrast"] == pytest.approx(torch.tensor(0.125).log().item() / 2, abs=1e-3)
    assert found["fine detail"] == pytest.approx(0, abs=1e-3)
    least = 2 * (torch.tensor(1 / 255).log().item() - found["contrast"])
    assert found["broad shapes"] == pytest.approx(least, abs=1e-2)
    assert found["colour"] == pytest.approx(torch.tensor(1 / 255).log().item(), abs=1e-3)
    wave[:, 0] += 0.3
    assert float(pixel_statistics(wave)["colour"]) == pytest.approx(torch.tensor(0.02).log().item() / 2, abs=1e-3)

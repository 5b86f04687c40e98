"""The power spectrum: exact on known fields, nothing lost, and a distance to real images with intervals that hold."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.metrics import spectrum as module
from sumi.metrics.intervals import Estimate
from sumi.metrics.spectrum import spectral_distance, spectrum


def noise(count: int, height: int, width: int, seed: int, channels: int = 1) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, height, width, dtype=torch.float64, generator=source)


def lengths(height: int, width: int | None = None) -> Tensor:
    rows, columns = (torch.fft.fftfreq(side, dtype=torch.float64) for side in (height, width or height))
    return (rows[:, None] ** 2 + columns**2).sqrt()


def rings(height: int, width: int) -> Tensor:
    """Which ring each frequency is of: the one whose k/max(H, W) is nearest to its length."""
    return (lengths(height, width) * max(height, width)).round().long().flatten()


def field(white: Tensor, amplitude: Tensor) -> Tensor:
    """White noise made into a field whose mean power at each frequency is ``amplitude``²."""
    return torch.fft.ifft2(torch.fft.fft2(white) * amplitude).real


def powers(images: Tensor) -> list[float]:
    return [p.value for p in spectrum(images).power]


def test_a_sine_has_all_its_power_in_one_ring() -> None:
    """5 waves of amplitude A over 32 pixels: A²HW/4 at each of 2 frequencies, shared by all those of ring 5."""
    x = 0.6 * (2 * math.pi * 5 * torch.arange(32, dtype=torch.float64) / 32 + 0.3).sin()
    found = spectrum(x.expand(4, 1, 20, 32))
    on_ring = sum(
        round(32 * math.hypot(i / 20, j / 32)) == 5 for i in range(-10, 10) for j in range(-16, 16)
    )  # frequencies i/20 and j/32 in cycles per pixel
    values = [p.value for p in found.power]
    assert values.pop(5) == pytest.approx(2 * 0.36 * 20 * 32 / 4 / on_ring, rel=1e-12)
    assert max(values) < 1e-25
    assert found.frequency[5] == 5 / 32


def test_a_diagonal_sine_is_found_at_its_length() -> None:
    """6 waves down and 8 across are 10 along: ring 10."""
    place = torch.arange(32, dtype=torch.float64)
    x = (2 * math.pi * (6 * place[:, None] + 8 * place) / 32).cos().expand(4, 3, 32, 32)
    assert np.argmax(powers(x)) == 10


def test_an_even_grey_has_power_at_zero_only() -> None:
    values = powers(torch.full((4, 3, 9, 9), 0.5))
    assert values[0] == pytest.approx(0.25 * 81, rel=1e-12)
    assert max(values[1:]) < 1e-25


def test_no_power_is_lost() -> None:
    """Parseval: the sum over frequencies, each P/(HW), is the mean square; corners are counted too."""
    x = noise(4, 12, 10, 0, channels=3) + 0.4
    total = float(torch.tensor(powers(x), dtype=torch.float64) @ rings(12, 10).bincount().double())
    assert total / 120 == pytest.approx(float(x.square().mean()), rel=1e-12)
    assert len(powers(x)) == 1 + round(12 * math.sqrt(0.5))  # -½ and -½ is a frequency of even sides


def test_white_noise_is_flat() -> None:
    """s² = 0.09 in every ring, within 4 standard errors of each."""
    for p in spectrum(0.3 * noise(400, 16, 16, 1)).power:
        assert abs(p.value - 0.09) < 4 * (p.high - p.value) / 1.96


def test_a_field_with_one_over_f_falls_like_one_over_f_squared() -> None:
    """Amplitude 1/f: the slope of log power against log frequency is -2; rings average over f ± 1/64, so 2 %."""
    amplitude = 1 / lengths(32).clamp(min=1 / 32)
    found = spectrum(field(noise(600, 32, 32, 2), amplitude))
    rings = slice(4, 16)
    slope = np.polyfit(np.log(found.frequency[rings]), np.log([p.value for p in found.power[rings]]), 1)[0]
    assert slope == pytest.approx(-2, rel=0.02)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = noise(10, 8, 8, 3)
    whole = spectrum(x)
    monkeypatch.setattr(module, "BLOCK", 200)
    assert spectrum(x) == whole


def test_the_detail_that_samples_lack_is_measured() -> None:
    """A quarter of the power at and above ¼ cycle per pixel, exactly, on the same noise."""
    real = noise(50, 16, 16, 4)
    blurred = field(real, torch.where(lengths(16) >= 0.25, 0.5, 1.0).double())
    found = spectral_distance(blurred, real)
    assert found.detail.value == pytest.approx(0.25, rel=1e-12)
    assert found.detail.high < 0.3
    assert found.log_distance is not None
    assert found.log_distance.low > 0.1
    same = spectral_distance(blurred, real, above=0.4)
    assert same.detail.value == pytest.approx(0.25, rel=1e-12)
    other = spectral_distance(noise(50, 16, 16, 5), real)
    assert other.detail.low < 1 < other.detail.high
    assert other.log_distance is not None
    assert other.log_distance.low < 0


@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_the_intervals_hold_the_truth_and_the_log_distance_has_no_bias(tilt: float) -> None:
    """Gaussian fields of amplitude 1/f against (1 + tilt f)/f, exact powers known. 400 repetitions of 60 and 80.

    95 % less three standard errors is 0.917; the bias is within 4 standard errors, where the plug-in's is beyond 10.
    """
    side = 10
    f = lengths(side)
    amplitudes = [1 / f.clamp(min=0.05), (1 + tilt * f) / f.clamp(min=0.05)]
    counts = rings(side, side).bincount()
    real_powers, own = ((rings(side, side).bincount(a.square().flatten()) / counts)[1:] for a in amplitudes)
    distance = float((own / real_powers).log().square().mean())
    fine = f >= 0.25
    detail = float(amplitudes[1].square()[fine].mean() / amplitudes[0].square()[fine].mean())
    found, ring = [], []
    for repetition in range(400):
        real = field(noise(80, side, side, 2 * repetition), amplitudes[0])
        samples = field(noise(60, side, side, 2 * repetition + 1), amplitudes[1])
        found.append(spectral_distance(samples, real))
        ring.append(spectrum(samples).power[2])

    def held(estimates: list[Estimate], truth: float) -> float:
        return float(np.mean([e.low <= truth <= e.high for e in estimates]))

    logs = [x.log_distance for x in found if x.log_distance is not None]
    assert len(logs) == 400
    assert 0.917 < held(logs, distance) < 0.99
    assert 0.917 < held([x.detail for x in found], detail) < 0.99
    assert 0.917 < held(ring, float(own[1])) < 0.99
    values = np.array([e.value for e in logs])
    assert abs(values.mean() - distance) < 4 * values.std() / 20


def test_samples_without_any_detail_have_none() -> None:
    found = spectral_distance(torch.zeros(5, 1, 8, 8), noise(6, 8, 8, 6))
    assert (found.detail.value, found.detail.high, found.log_distance) == (0, 0, None)


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="one size"):
        spectral_distance(noise(4, 8, 8, 0), noise(4, 8, 9, 0))
    with pytest.raises(InputError, match="too few"):
        spectrum(noise(3, 8, 8, 0))
    with pytest.raises(InputError, match=r"^above"):
        spectral_distance(noise(4, 8, 8, 0), noise(4, 8, 8, 0), above=0.8)

"""Figures of sound: copies found wherever they begin, loudness, and a judge of another seed."""

import numpy as np
import pytest
import torch

from sumi.data.audio import AudioDataset
from sumi.data.sound_files import to_levels
from sumi.evaluation.audio import evaluate_sound, level_of
from sumi.metrics.correlation import best_correlation
from sumi.metrics.features import learned
from sumi.metrics.features.log_mel import FLOOR, as_images, hertz, log_mel, mel, triangles


def noise(n: int, length: int = 400) -> torch.Tensor:
    return torch.randn(n, length, generator=torch.Generator().manual_seed(n))


def test_a_shifted_and_scaled_copy_is_found_and_others_are_not() -> None:
    known, x = noise(20), noise(3)
    x[1] = -0.1 * torch.nn.functional.pad(known[7], (30, 0))[:400]
    x[2] = 0
    best, which = best_correlation(x, known)
    expected = float(known[7, :370].square().sum().sqrt() / known[7].norm())
    assert (float(best[1]), int(which[1])) == (pytest.approx(expected, abs=1e-5), 7)
    assert float(best[0]) < 0.4
    assert float(best[2]) == 0
    direct = max(
        abs(float(np.correlate(x[0].numpy(), k.numpy(), "full").__abs__().max() / k.norm() / x[0].norm()))
        for k in known
    )
    assert float(best[0]) == pytest.approx(direct, abs=1e-5)


def test_decibels_are_of_a_sine_and_in_its_band() -> None:
    t = torch.arange(8000).double() / 8000
    decibels = log_mel(0.1 * torch.sin(2 * torch.pi * 1000 * t)[None], 8000)
    assert decibels.shape == (1, 40, 101)
    band = int(triangles(40, 256, 8000)[:, 32].argmax())
    assert int(decibels[0, :, 50].argmax()) == band
    assert float(decibels[0, band, 50]) == pytest.approx(-20, abs=2)
    assert float(log_mel(torch.zeros(1, 800), 8000).max()) == FLOOR
    assert as_images(torch.zeros(2, 1, 800), 8000).unique().tolist() == [-1]
    assert hertz(mel(torch.tensor(440.0))) == pytest.approx(440, abs=1e-3)


def test_levels_are_those_of_the_clips() -> None:
    x = torch.stack([torch.full((1, 100), 0.5), torch.full((1, 100), -0.5), torch.full((1, 100), 1.5)])
    found = level_of(x)
    assert (found.loudness, found.offset, found.clipped) == (pytest.approx(-6.02, abs=0.01), 0.5, pytest.approx(1 / 3))


@pytest.fixture(scope="module")
def tones() -> AudioDataset:
    rng, t = np.random.default_rng(0), np.arange(1024) / 4000
    variants = np.arange(120) % 2
    pitch = np.where(variants == 0, 300, 1200) * rng.uniform(0.9, 1.1, 120)
    x = rng.uniform(0.2, 0.8, (120, 1)) * np.sin(2 * np.pi * pitch[:, None] * t + rng.uniform(0, 6, (120, 1)))
    x += 0.05 * rng.standard_normal(x.shape)
    keys = tuple(map(str, range(120)))
    splits = tuple("test" if i >= 90 else "train" for i in range(120))
    return AudioDataset(to_levels(x), 4000, keys, variants.astype(np.int64), ("low", "high"), splits=splits)


def test_training_clips_are_copies_near_real_ones_and_heard_as_what_they_are(
    tones: AudioDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last ten of thirty are said to be of the other class."""
    monkeypatch.setattr(learned, "FEWEST_STEPS", 60)
    train, held_out = tones.split(0.1)
    again = train.batch(np.arange(30))
    labels = train.labels_of(np.arange(30))
    labels[20:] = 1 - labels[20:]
    found = evaluate_sound(again, labels, train, held_out, tones.spec)
    assert found.heard is not None
    assert found.heard_real is not None
    assert found.heard.value == pytest.approx(2 / 3, abs=0.04)
    assert found.heard_real.value > 0.9
    assert (found.copies.value, found.alike) == (1.0, pytest.approx(1.0, abs=1e-4))
    assert found.alike_real < 0.999
    assert abs(found.distances.frechet.value) < 5

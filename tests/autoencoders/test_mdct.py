"""The MDCT: orthogonal, its own formula, and back without loss."""

from math import pi, sqrt

import pytest
import torch

from sumi.autoencoders.mdct import STD, BandScale, inverse_mdct, mdct


def noise(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=dtype) * 2 - 1


@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("frames", [1, 2, 40])
def test_it_loses_nothing_and_keeps_lengths_and_products(dtype: torch.dtype, within: float, frames: int) -> None:
    x, y = noise(3, 1, 32 * frames, dtype=dtype), noise(3, 1, 32, frames, dtype=dtype)
    c = mdct(x, 32)
    assert c.shape == y.shape
    assert (inverse_mdct(c) - x).abs().max() <= within
    assert float((c * y).sum()) == pytest.approx(float((x * inverse_mdct(y)).sum()), abs=1e3 * within)


def test_training_in_bfloat16_rounds_no_sound() -> None:
    """The objective computes what is learned under autocast, which would round the products of the transform."""
    scale, x = BandScale(1280, 32, 0.5), noise(3, 1, 1280, dtype=torch.float32)
    z, back = scale(x), scale.inverse(scale(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(scale(x), z)
        assert torch.equal(scale.inverse(z), back)


def test_inside_it_is_the_transform_of_princen_and_bradley() -> None:
    """c_k = √(2/M) Σ_n w(n) x(n) cos(π/M (n + 1/2 - M/2)(k + 1/2)) over 2 M that begin M/2 before a block."""
    size, frame, x = 32, 5, noise(1, 1, 320)
    n, k = torch.arange(2 * size).double(), torch.arange(size).double()
    window = torch.sin(pi * (n + 0.5) / (2 * size))
    seen = x[0, 0, frame * size - size // 2 :][: 2 * size]
    basis = sqrt(2 / size) * torch.cos(pi / size * (n[:, None] + 0.5 - size / 2) * (k + 0.5))
    assert mdct(x, size)[0, 0, :, frame] == pytest.approx((window * seen) @ basis, abs=1e-12)


def test_a_tone_is_in_its_band() -> None:
    t = torch.arange(4096).double()
    c = mdct(torch.sin(2 * pi * (10.5 / 128) * t)[None, None], 64).square().mean((0, 1, 3))
    assert int(c.argmax()) == 10
    assert float(c[9:12].sum() / c.sum()) > 0.9


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_scaled_bands_have_the_deviation_of_the_noise_levels_and_come_back(power: float) -> None:
    x = noise(64, 1, 512) * torch.linspace(0.01, 1, 512, dtype=torch.float64)
    scale = BandScale(512, 16, power).double()
    scale.fit(scale.compressed(x).square().sum((0, 1, 3))[:, None], 64 * 32)
    z = scale(x)
    assert z.square().mean((0, 1, 3)).sqrt() == pytest.approx(torch.full((16,), STD).double(), abs=1e-12)
    assert (scale.inverse(z) - x).abs().max() <= 1e-12
    assert float(scale(2 * x).norm() / z.norm()) == pytest.approx(2**power)


def test_a_band_without_sound_is_not_scaled() -> None:
    scale = BandScale(64, 4, 1.0)
    scale.fit(torch.tensor([[0.0], [4.0], [0.0], [9.0]]).double(), 4)
    assert scale.std.flatten().tolist() == [1, 1, 1, 1.5]
    assert scale(torch.zeros(1, 1, 64)).isfinite().all()

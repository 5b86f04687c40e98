"""Tiling: weights that add up to one, exact for independent pixels and blocks, and so is what is steered through it."""

from itertools import pairwise
from math import pi, sin

import pytest
import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoised, FunctionDenoiser
from sumi.errors import InputError
from sumi.guidance.tiling import Tiled, Tiling
from sumi.operators.linear import Mask
from sumi.process.continuous import VP
from sumi.process.schedule import NoiseLevel, noise_level
from sumi.restoration.measurement import Measurement
from sumi.restoration.posterior import MomentMatching
from sumi.restoration.product import with_covariance
from tests.oracles import GaussianTarget

SCHEDULE = VP().build()
TARGET = GaussianTarget(0.3, 0.5)
SIZES = [((11, 7), (4, 5), (3, 2)), ((8, 8), (4, 4), (2, 2)), ((9, 4), (4, 4), (4, 1)), ((6, 6), (6, 6), (1, 6))]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def blocks(side: int) -> FunctionDenoiser:
    """E[x_0 | x_t] of squares N(0, I + 1 1ᵀ): each pixel goes with all others of its square."""
    count = side * side

    def clean(x_t: Tensor, t: NoiseLevel) -> Tensor:
        assert x_t.shape[2:] == (side, side)
        alone, together = (v / (t.alpha**2 * v + t.sigma**2) * t.alpha for v in (1.0, 1.0 + count))
        mean = x_t.mean((1, 2, 3), keepdim=True)
        return alone * (x_t - mean) + together * mean

    return FunctionDenoiser(clean, SCHEDULE)


@pytest.mark.parametrize(("size", "tile", "stride"), SIZES)
def test_windows_cover_the_picture_and_weights_add_up_to_one(
    size: tuple[int, int], tile: tuple[int, int], stride: tuple[int, int]
) -> None:
    tiling = Tiling(size, tile, stride)
    x = noise(2, 3, *size)
    windows = tiling.cut(x)
    assert windows.shape == (2 * tiling.count, 3, *tile)
    corners = [(top, left) for top in tiling.corners[0] for left in tiling.corners[1]]
    for k, (top, left) in enumerate(corners):  # the second picture's
        assert torch.equal(windows[tiling.count + k], x[1, :, top : top + tile[0], left : left + tile[1]])
    torch.testing.assert_close(tiling.blend(windows), x, rtol=0, atol=1e-14)
    for places, side, step, whole in zip(tiling.corners, tile, stride, size, strict=True):
        assert (places[0], places[-1]) == (0, whole - side)
        assert all(0 < b - a <= step for a, b in pairwise(places))


def test_a_window_counts_by_the_square_of_a_sine_in_each_direction() -> None:
    """Of windows 4 wide that begin at 0 and 3, the pixel 3 is the last of the first and the first of the second."""
    tiling = Tiling((4, 7), (4, 4), (1, 3))
    ones = torch.tensor([1.0, 0.0], dtype=torch.float64)[:, None, None, None].expand(2, 1, 4, 4)
    expected = torch.tensor([1.0, 1.0, 1.0, 0.5, 0.0, 0.0, 0.0]).double()
    torch.testing.assert_close(tiling.blend(ones)[0, 0], expected.expand(4, 7), rtol=0, atol=1e-15)
    closer = Tiling((4, 6), (4, 4), (4, 2)).blend(ones)[0, 0, 0]
    first, second = sin(pi * 2.5 / 4) ** 2, sin(pi * 0.5 / 4) ** 2  # at pixel 2
    assert float(closer[2]) == pytest.approx(first / (first + second), abs=1e-15)
    assert first + second == pytest.approx(1)  # half a window apart nothing is left to divide by


@pytest.mark.parametrize(("size", "tile", "stride"), SIZES)
@pytest.mark.parametrize("t", [0.3, torch.tensor([0.2, 0.9])], ids=["one time", "a time each"])
def test_independent_pixels_are_denoised_exactly(
    size: tuple[int, int], tile: tuple[int, int], stride: tuple[int, int], t: float | Tensor
) -> None:
    """With their variance, whether it is told as a number or for every element."""
    x_t = noise(2, 3, *size)
    per_pixel = FunctionDenoiser(lambda x, at: TARGET.clean(x, _each(at)), SCHEDULE, lambda at: at.sigma * 2.0)
    found, whole = Tiled(per_pixel, Tiling(size, tile, stride))(x_t, t), per_pixel(x_t, t)
    torch.testing.assert_close(found.clean, whole.clean, rtol=0, atol=1e-13)
    torch.testing.assert_close(found.noise, whole.noise, rtol=0, atol=1e-12)
    expected = torch.as_tensor(whole.clean_variance).expand_as(x_t).double()
    torch.testing.assert_close(torch.as_tensor(found.clean_variance).expand_as(x_t).double(), expected)
    assert found.x_t is x_t
    assert torch.equal(torch.as_tensor(found.alpha), torch.as_tensor(whole.alpha))


def _each(t: NoiseLevel) -> NoiseLevel:
    """A level whose numbers multiply pictures."""
    names = ("t", "alpha", "sigma", "log_snr", "alpha_slope", "sigma_slope")
    return NoiseLevel(*(v.view(-1, 1, 1, 1) if isinstance(v := getattr(t, n), Tensor) else v for n in names))


def test_variances_of_windows_are_averaged_as_their_means_are() -> None:
    """One that says 1, 2, 3, … of its windows: the mean of what covers a place."""
    tiling = Tiling((3, 6), (3, 4), (3, 2))

    class Says:
        schedule = SCHEDULE

        def __call__(self, x_t: Tensor, t: object) -> Denoised:
            numbers = torch.arange(1.0, 1 + len(x_t), dtype=torch.float64)[:, None, None, None]
            return Denoised(numbers.expand_as(x_t), x_t, 0.5, 0.5, numbers)

    found = Tiled(Says(), tiling)(noise(2, 1, 3, 6), 0.5)
    assert isinstance(found.clean_variance, Tensor)
    torch.testing.assert_close(found.clean_variance, found.clean)
    assert found.clean[1, 0, 0].tolist() == pytest.approx([3, 3, 3 + sin(pi / 8) ** 2, 3 + sin(3 * pi / 8) ** 2, 4, 4])


def test_independent_blocks_are_denoised_exactly_with_a_stride_of_their_size() -> None:
    x_t, now = noise(2, 1, 6, 9), noise_level(SCHEDULE, 0.4)
    found = Tiled(blocks(3), Tiling((6, 9), (3, 3), (3, 3)))(x_t, 0.4).clean
    apart = blocks(3)
    for top in (0, 3):
        for left in (0, 3, 6):
            square = (slice(None), slice(None), slice(top, top + 3), slice(left, left + 3))
            torch.testing.assert_close(found[square], apart.f(x_t[square], now), rtol=0, atol=1e-14)


def test_with_windows_that_overlap_the_slope_is_that_of_the_mean() -> None:
    """∂x̂_0/∂x_t by autograd against differences: restoration steers by it."""
    tiled, x_t = Tiled(blocks(3), Tiling((4, 5), (3, 3), (1, 2))), noise(1, 1, 4, 5)
    now, v = noise_level(SCHEDULE, 0.4), noise(1, 1, 4, 5, seed=1)
    _, covariance = with_covariance(tiled, x_t, now)
    by_hand = torch.zeros_like(x_t)
    for k in range(x_t.numel()):  # the denoiser is linear: a unit's answer less that of 0 is its column
        unit = torch.zeros_like(x_t).view(-1).scatter(0, torch.tensor([k]), 1.0).view_as(x_t)
        column = tiled(unit, now).clean - tiled(torch.zeros_like(x_t), now).clean
        by_hand.view(-1)[k] = now.sigma**2 / now.alpha * (column * v).sum()
    torch.testing.assert_close(covariance(v), by_hand, rtol=0, atol=1e-13)


def test_moment_matching_through_tiles_is_exact_for_independent_blocks() -> None:
    """The mean of block-wise Gaussians N(0, I + 1 1ᵀ) given x_t and some pixels, by conditioning in numbers."""
    x_t, now = noise(1, 1, 2, 6), noise_level(SCHEDULE, 0.5)
    known = torch.tensor([True, False, False, True, True, False] * 2).view(1, 1, 2, 6)
    y = noise(1, 1, 2, 6, seed=2)
    tiled = Tiled(blocks(2), Tiling((2, 6), (2, 2), (2, 2)))
    found = MomentMatching(tiled, Measurement(Mask(~known), y), iterations=12)(x_t, 0.5).clean
    expected = torch.zeros_like(x_t)
    for left in (0, 2, 4):
        part = (0, 0, slice(None), slice(left, left + 2))
        prior = torch.eye(4, dtype=torch.float64) + 1
        seen = torch.cat(
            [torch.eye(4, dtype=torch.float64)[known[part].reshape(-1)], now.alpha * torch.eye(4).double()]
        )
        condition = torch.cat([y[part].reshape(-1)[known[part].reshape(-1)], x_t[part].reshape(-1)])
        spread = torch.zeros(len(seen)).double()
        spread[-4:] = now.sigma**2
        gain = prior @ seen.T @ torch.linalg.inv(seen @ prior @ seen.T + spread.diag())
        expected[part] = (gain @ condition).view(2, 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("size", "tile", "stride", "why"),
    [
        ((3, 8), (4, 4), (2, 2), "3 × 8 is less than the 4 × 4"),
        ((8, 8), (4, 4), (2, 5), "stride: 5 is not in 1 … 4"),
        ((8, 8), (4, 4), (0, 2), "stride: 0"),
    ],
)
def test_windows_that_do_not_fit_are_refused(
    size: tuple[int, int], tile: tuple[int, int], stride: tuple[int, int], why: str
) -> None:
    with pytest.raises(InputError, match=why):
        Tiling(size, tile, stride)
    with pytest.raises(InputError, match="windows are those of"):
        Tiling((8, 8), (4, 4), (2, 2)).cut(torch.zeros(1, 1, 8, 9))

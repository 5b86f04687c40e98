"""The map between pixel levels and [-1, 1]: exact at the ends, invertible at every level."""

import numpy as np
import pytest
import torch

from sumi.data.pixels import PixelRange
from sumi.errors import InputError, SumiError
from sumi.figures.pictures import channels_apart


@pytest.mark.parametrize("levels", range(2, 257))
def test_every_level_survives_the_round_trip(levels: int) -> None:
    pixels = PixelRange(levels)
    all_levels = np.arange(levels, dtype=np.uint8)

    assert (pixels.to_levels(pixels.to_model(all_levels)).numpy() == all_levels).all()


@pytest.mark.parametrize("levels", [2, 3, 17, 100, 256])
def test_levels_are_evenly_spaced_from_minus_one_to_one(levels: int) -> None:
    pixels = PixelRange(levels)
    x = pixels.to_model(np.arange(levels, dtype=np.uint8))
    exact = torch.linspace(-1, 1, levels, dtype=torch.float64)

    assert x.dtype == torch.float32
    assert x[0] == -1
    assert x[-1] == 1
    assert torch.equal(x, -x.flip(0))
    assert torch.equal(x, (2 * torch.arange(levels, dtype=torch.float64) / (levels - 1) - 1).float())  # rounded once
    assert pixels.bin_width == pytest.approx(float(exact[1] - exact[0]), rel=1e-12)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_values_go_to_the_nearest_level_and_no_further_than_the_ends(levels: int) -> None:
    pixels = PixelRange(levels)
    all_levels = np.arange(levels, dtype=np.uint8)
    x = pixels.to_model(all_levels)

    for shift in (-0.49, 0.49):  # of the distance between two levels
        assert (pixels.to_levels(x + shift * pixels.bin_width).numpy() == all_levels).all()
    assert (pixels.to_levels(x[:-1] + 0.51 * pixels.bin_width).numpy() == all_levels[1:]).all()
    beyond = torch.tensor([-7.0, -1.1, 1.1, 7.0, float("-inf"), float("inf")])
    assert pixels.to_levels(beyond).tolist() == [0, 0, levels - 1, levels - 1, 0, levels - 1]


def test_bytes_spread_the_levels_over_a_whole_byte() -> None:
    digits = PixelRange(17)
    x = digits.to_model(np.arange(17, dtype=np.uint8))

    assert digits.to_bytes(x).tolist() == [round(k * 255 / 16) for k in range(17)]
    assert digits.to_bytes(x + 0.4 * digits.bin_width).tolist() == digits.to_bytes(x).tolist()
    photographs = PixelRange(256)
    noise = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(photographs.to_bytes(noise), photographs.to_levels(noise))


def test_arrays_and_tensors_of_any_shape_agree_and_are_left_unchanged() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 4, 5), dtype=np.uint8)
    images.setflags(write=False)
    pixels = PixelRange()

    from_array, tensor = pixels.to_model(images), torch.tensor(images)
    assert from_array.shape == (3, 1, 4, 5)
    assert torch.equal(pixels.to_model(tensor), from_array)
    assert torch.equal(tensor, torch.tensor(images))
    before = from_array.clone()
    assert pixels.to_levels(from_array.bfloat16()).dtype == torch.uint8
    pixels.to_bytes(from_array)
    assert torch.equal(from_array, before)


@pytest.mark.parametrize("levels", [257, 4096, 2**16])
def test_levels_above_a_byte_survive_the_round_trip(levels: int) -> None:
    pixels = PixelRange(levels)
    all_levels = np.arange(levels, dtype=np.uint16)
    x = pixels.to_model(all_levels)
    assert x.numpy() == pytest.approx(np.linspace(-1, 1, levels), abs=1e-7)
    np.testing.assert_array_equal(pixels.to_levels(x).numpy(), all_levels)
    assert pixels.to_bytes(x).numpy() == pytest.approx(np.linspace(0, 255, levels), abs=0.501)
    with pytest.raises(InputError, match="give uint16"):
        pixels.to_model(np.zeros(3, np.uint8))


def test_channels_are_shown_next_to_each_other() -> None:
    images = torch.arange(2 * 5 * 2 * 3, dtype=torch.uint8).view(2, 5, 2, 3)
    shown = channels_apart(images)
    assert shown.shape == (2, 1, 4, 9)
    for k in range(5):
        row, column = divmod(k, 3)
        assert torch.equal(shown[:, 0, 2 * row : 2 * row + 2, 3 * column : 3 * column + 3], images[:, k])
    assert not shown[:, 0, 2:, 6:].any()
    x = PixelRange().to_model(images)
    assert torch.equal(PixelRange().to_bytes(x), shown)
    assert torch.equal(PixelRange().to_bytes(x[:, :3]), images[:, :3])


def test_what_is_no_level_is_refused() -> None:
    with pytest.raises(InputError, match="levels: 65537 is out of range"):
        PixelRange(65537)
    with pytest.raises(InputError, match="levels: 1 is out of range"):
        PixelRange(1)
    with pytest.raises(InputError, match=r"float32 are not pixel levels; give uint8 in 0\.\.16"):
        PixelRange(17).to_model(torch.zeros(2))
    with pytest.raises(SumiError, match="hold NaN"):
        PixelRange().to_bytes(torch.tensor([0.0, float("nan")]))

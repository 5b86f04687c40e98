"""Time grids: exact ends, exact numbers of steps, distinct times of the chain."""

from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sumi.errors import InputError
from sumi.process.chain import LinearBeta
from sumi.process.continuous import VP, Flow
from sumi.process.exploding import EDM, VE
from sumi.process.schedule import noise_level, noise_ratio
from sumi.sampling.time_grid import TIME_GRIDS, snap, uniform

CHAIN = LinearBeta().build()


@pytest.mark.parametrize("name", TIME_GRIDS)
@pytest.mark.parametrize("steps", [1, 2, 7, 50, 999, 1000])
def test_ends_and_number_are_exact(name: str, steps: int) -> None:
    times = TIME_GRIDS[name](CHAIN, steps, 0.5)
    assert (len(times), times[0].item(), times[-1].item()) == (steps + 1, 1.0, 0.0)
    assert times.dtype == torch.float64
    assert bool((times.diff() < 0).all())


@pytest.mark.parametrize("name", TIME_GRIDS)
@given(data=st.data())
def test_any_number_of_steps_from_1_to_T_stays_on_the_chain(name: str, data) -> None:
    grid = data.draw(st.integers(1, 1000))
    steps = data.draw(st.integers(1, grid))
    times = snap(TIME_GRIDS[name](CHAIN, steps, 0.5), grid)
    index = times * grid
    assert (len(times), times[0].item(), times[-1].item()) == (steps + 1, 1.0, 0.0)
    assert torch.allclose(index, index.round(), atol=1e-9)
    assert bool((index.round().diff() <= -1).all())


def test_karras_grid_is_equation_5_and_the_step_to_the_data() -> None:
    """σ_i = (σ_max^(1/ρ) + i/(N-1) (σ_min^(1/ρ) - σ_max^(1/ρ)))^ρ for i < N, and σ_N = 0 (Karras et al. 2022)."""
    schedule, n = EDM().build(), 18
    noise = schedule.sigma(TIME_GRIDS["karras"](schedule, n, 0.5))
    expected = [(80 ** (1 / 7) + i / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(n)]
    torch.testing.assert_close(noise[:-1], torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=0)
    # from σ_min, which is t = 0 to rounding, one step to the data
    assert TIME_GRIDS["karras"](schedule, n, 0.5)[-2:].tolist() == pytest.approx([0.0, 0.0], abs=1e-15)


@pytest.mark.parametrize("name", ["log_snr", "karras", "log_ratio"])
@pytest.mark.parametrize("schedule", [VP().build(), Flow().build(), VE().build(), EDM().build()])
def test_grids_in_noise_fall_from_1_to_the_data_on_every_schedule(name: str, schedule) -> None:
    for steps in (1, 2, 3, 10, 77):
        times = TIME_GRIDS[name](schedule, steps, 0.5)
        assert (len(times), times[0].item(), times[-1].item()) == (steps + 1, 1.0, 0.0)
        assert bool((times[:-1].diff() < 0).all())


@pytest.mark.parametrize("config", [EDM(), Flow()])
def test_a_sample_is_noised_again_to_levels_that_are_even_in_their_logarithm(config) -> None:
    """From 1.64 to ½ of the data's deviation, after a first evaluation at t = 1; and half of a noise that is less."""
    schedule = config.build()
    times = TIME_GRIDS["renoised"](schedule, 5, 0.5)
    assert (float(times[0]), float(times[-1])) == (1.0, 0.0)
    noise = torch.tensor([noise_ratio(noise_level(schedule, float(t))) for t in times[1:-1]]).double()
    torch.testing.assert_close(noise, 0.82 * (0.5 / 1.64) ** (torch.arange(4) / 3).double(), rtol=1e-6, atol=0)
    assert TIME_GRIDS["renoised"](schedule, 1, 0.5).tolist() == [1.0, 0.0]
    quiet = EDM(sigma_max=1.0).build()
    once = TIME_GRIDS["renoised"](quiet, 2, 0.5)
    assert noise_ratio(noise_level(quiet, float(once[1]))) == pytest.approx(0.5, rel=1e-6)


def test_log_snr_grid_is_even_between_its_ends() -> None:
    """On VP from σ̂(1) (above 100: from 100) to 0.002, where the first step begins at t = 1 all the same."""
    schedule = VP().build()
    values = schedule.log_snr(TIME_GRIDS["log_snr"](schedule, 9, 0.5)[:-1])
    expected = torch.linspace(-2 * log(100.0), -2 * log(0.002), 9, dtype=torch.float64)
    torch.testing.assert_close(values[1:], expected[1:], rtol=1e-9, atol=1e-9)
    exploding = VE().build()  # sigma(1) = 50 is its own largest, sigma(0) = 0.01 its smallest
    values = exploding.log_snr(TIME_GRIDS["log_snr"](exploding, 9, 0.5)[:-1])
    expected = torch.linspace(-2 * log(50.0), -2 * log(0.01), 9, dtype=torch.float64)
    torch.testing.assert_close(values, expected, rtol=1e-9, atol=1e-9)


def test_noise_that_a_schedule_adds_beyond_the_largest_is_a_part_of_the_grid() -> None:
    schedule = VE(sigma_min=0.005, sigma_max=500.0).build()
    sigma = schedule.sigma(TIME_GRIDS["log_snr"](schedule, 6, 0.5)[:-1])
    torch.testing.assert_close(sigma, 500.0 * 10.0 ** -torch.arange(6, dtype=torch.float64), rtol=1e-12, atol=0)


def test_the_grids_are_their_formulas() -> None:
    k = torch.arange(5, dtype=torch.float64)
    torch.testing.assert_close(TIME_GRIDS["uniform"](CHAIN, 4, 0.5), (4 - k) / 4)
    torch.testing.assert_close(TIME_GRIDS["quadratic"](CHAIN, 4, 0.5), ((4 - k) / 4) ** 2)


def test_every_T_gives_all_of_its_times() -> None:
    assert torch.equal(snap(TIME_GRIDS["uniform"](CHAIN, 1000, 0.5), 1000), torch.arange(1000, -1, -1).double() / 1000)
    assert torch.equal(
        snap(TIME_GRIDS["quadratic"](CHAIN, 1000, 0.5), 1000), torch.arange(1000, -1, -1).double() / 1000
    )


def test_snapping_goes_to_the_nearest_time() -> None:
    times = TIME_GRIDS["uniform"](CHAIN, 7, 0.5)
    assert (snap(times, 1000) - times).abs().max().item() <= 0.5 / 1000 + 1e-12


def test_more_steps_than_the_chain_are_refused() -> None:
    with pytest.raises(InputError, match="steps: 11 is more than the 10"):
        snap(TIME_GRIDS["uniform"](CHAIN, 11, 0.5), 10)
    with pytest.raises(InputError, match=r"^steps: 2\.5 is not a whole number"):
        uniform(2.5)
    with pytest.raises(InputError, match="steps: 0"):
        TIME_GRIDS["uniform"](CHAIN, 0, 0.5)

"""Time grids: exact ends, exact numbers of steps, distinct times of the chain."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sumi.errors import InputError
from sumi.process.chain import LinearBeta
from sumi.sampling.time_grid import TIME_GRIDS, snap

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
    with pytest.raises(InputError, match="steps: 0"):
        TIME_GRIDS["uniform"](CHAIN, 0, 0.5)

"""Restart on Gaussian data, where every step is affine and the law of the end is exact."""

from typing import Any

import pytest
import torch

from sumi.errors import InputError
from sumi.process.schedule import noise_level, noise_ratio
from sumi.randomness import SampleNoise
from sumi.sampling.sample import sample
from sumi.sampling.sampler import Sampling
from sumi.sampling.solvers import SOLVERS
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.heun import Heun
from sumi.sampling.solvers.restart import Restart, Restarted, restarted
from sumi.sampling.solvers.solver import Solver, StepNoise
from sumi.sampling.time_grid import TIME_GRIDS
from tests.labelled_mixture import POINTS, SCHEDULES, mixture
from tests.oracles import GaussianTarget, linear_probe

TARGET = GaussianTarget(0.4, 0.5)
NOISE = SampleNoise(3, range(16), (2,), torch.float64)


def grid(name: str, steps: int) -> torch.Tensor:
    return TIME_GRIDS["log_ratio"](SCHEDULES[name], steps, 0.5)


@pytest.mark.parametrize("solver", [Adams(), Heun(), SOLVERS["ddpm"]], ids=["adams", "heun", "ddpm"])
def test_no_restart_is_the_solver_to_the_bit(solver) -> None:
    schedule, times = SCHEDULES["vp"], grid("vp", 12)
    same = Restart(0).times(times, schedule)
    assert torch.equal(same, times)
    made = sample(mixture(schedule), Restarted(solver), same, POINTS, NOISE)
    assert torch.equal(made, sample(mixture(schedule), solver, times, POINTS, NOISE))


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_part_between_the_levels_is_walked_again(name: str) -> None:
    """As often as is wanted, from the outermost times of the grid in there, and all else is as before."""
    schedule, times, restart = SCHEDULES[name], grid(name, 20), Restart(3, 0.1, 1.0)
    found = restart.times(times, schedule)
    ratios = torch.tensor([noise_ratio(noise_level(schedule, float(t))) for t in times[:-1]])
    inside = times[:-1][(ratios >= 0.1) & (ratios <= 1.0)]
    assert len(inside) > 2
    assert len(found) == len(times) + 3 * len(inside)
    first = int((times == inside[0]).nonzero())
    assert torch.equal(found[: first + len(inside)], times[: first + len(inside)])
    assert torch.equal(found[first + len(inside) : first + 4 * len(inside)], inside.repeat(3))
    assert torch.equal(found[first + 4 * len(inside) :], times[first + len(inside) :])


@pytest.mark.parametrize(("solver", "repeats"), [(Heun(), 1), (Heun(), 4), (Adams(), 2)], ids=str)
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_law_of_gaussian_data_is_kept(name: str, solver: Solver[Any], repeats: int) -> None:
    """Mean and variance of the end, exact but for the solver's own error in 200 steps.

    From the law of x at the first time; the plain solver ends 1e-4 off. Noise of too much or too little would be wrong
    by per cents.
    """
    schedule, times = SCHEDULES[name], grid(name, 200)
    mean, variance = TARGET.marginal(noise_level(schedule, float(times[0])))
    denoiser, found = TARGET.denoiser(schedule), Restart(repeats, 0.06, 1.0).times(times, schedule)
    made = linear_probe(denoiser, Restarted(solver), found, mean, variance)
    assert made == pytest.approx((0.4, 0.25), abs=3e-4)


def test_a_multistep_solver_starts_anew_after_the_way_up() -> None:
    """What it has seen is of another trajectory; down it goes on with what it remembers."""
    low, high = (noise_level(SCHEDULES["vp"], t) for t in (0.1, 0.4))
    solver, past = Restarted(Adams()), ((0.5, POINTS),)
    _, state = solver.step(mixture(SCHEDULES["vp"]), POINTS, low, high, past, StepNoise(NOISE, 0))
    assert state == ()
    _, state = solver.step(mixture(SCHEDULES["vp"]), POINTS, high, low, past, StepNoise(NOISE, 0))
    assert len(state) == 2


def test_what_a_start_has_wrong_shrinks_with_each_restart() -> None:
    """A start of twice the variance: its excess at the end falls by the squared share of x that is left at ``high``."""
    schedule, times = SCHEDULES["vp"], grid("vp", 200)
    mean, variance = TARGET.marginal(noise_level(schedule, float(times[0])))
    excess = []
    for repeats in (0, 1, 2):
        found = Restart(repeats, 0.05, 2.0).times(times, schedule)
        ends = [linear_probe(TARGET.denoiser(schedule), Restarted(Heun()), found, mean, k * variance) for k in (1, 2)]
        excess.append(ends[1][1] - ends[0][1])
    inside = [noise_ratio(noise_level(schedule, float(t))) for t in times[:-1]]
    low, high = (edge([r for r in inside if 0.05 <= r <= 2.0]) for edge in (min, max))
    share = (0.25 + low**2) / (0.25 + high**2)  # of the deviation from the law, in variance
    assert excess[1] / excess[0] == pytest.approx(share, rel=0.01)
    assert excess[2] / excess[1] == pytest.approx(share, rel=0.01)


def test_a_network_of_a_chain_is_evaluated_at_its_own_times_alone() -> None:
    times = torch.linspace(1, 0, 21, dtype=torch.float64)
    assert set(Restart(2, 0.1, 3.0).times(times, SCHEDULES["vp"]).tolist()) == set(times.tolist())


@pytest.mark.parametrize(
    ("made", "answer"),
    [
        (lambda: Restart(-1), r"^restart.repeats: -1 is out of range"),
        (lambda: Restart(1, 0.3, 0.3), r"^restart.interval: 0.3,0.3 is not LOW,HIGH"),
        (lambda: Restart(1, 0.1, 0.11).times(grid("vp", 5), SCHEDULES["vp"]), "no step of 5 lies between 0.1 and 0.11"),
        (lambda: restarted("langevin", SOLVERS["langevin"]), r"^restart: goes on from .*, and langevin is none"),
        (lambda: Sampling(error=0.1, restart=Restart(2)), r"^error: restart draws noise, so no sample has one end"),
    ],
)
def test_restarts_that_cannot_be_are_refused(made, answer: str) -> None:
    with pytest.raises(InputError, match=answer):
        made()

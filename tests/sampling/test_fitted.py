"""Fitted steps are what their formula says, on every schedule and scale alike; other steps are those of adams."""

from itertools import pairwise
from math import inf

import pytest
import torch
from torch import Tensor

import sumi
from sumi.models.diffusion.model import DiffusionModel
from sumi.process.chain import LinearBeta
from sumi.process.continuous import VP, Cosine, Flow
from sumi.process.exploding import EDM, VE
from sumi.process.schedule import Schedule, noise_level, noise_levels, noise_ratio
from sumi.sampling.fitted import FewSteps, few_steps
from sumi.sampling.sample import sample
from sumi.sampling.sampler import build_method
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.fitted import Fitted
from sumi.sampling.solvers.solver import StepNoise
from sumi.sampling.time_grid import fitted, log_ratio
from sumi.sampling.tuning import distance
from tests.oracles import MixtureTarget, random_mixture

STEPS = sorted(few_steps())
TARGET, STD = random_mixture(31, dimension=8)
NOISE = torch.randn(16, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
FIRST = 45.0
SCHEDULES = {"vp": VP().build(), "flow": Flow().build(), "edm": EDM().build(), "cosine": Cosine().build()}


def on_table(schedule: Schedule, steps: int, std: float) -> tuple[Tensor, Tensor]:
    """The table's times, from σ̂ = `FIRST` times ``std`` on, and x there."""
    noise = torch.tensor([FIRST, *few_steps()[steps].grid], dtype=torch.float64) * std
    times = schedule.time(-2 * noise.log())
    times[-1] = 0.0
    return times, NOISE * float(noise_level(schedule, float(times[0])).sigma)


def by_formula(steps: int) -> Tensor:
    """The ends of the walk by the equation of `sumi.sampling.fitted`, in x̂ alone."""
    edm, table = SCHEDULES["edm"], few_steps()[steps]  # where x̂ is x
    x, now, past = NOISE * FIRST, FIRST, list[Tensor]()
    for after, (*weights, a, b) in zip(table.grid, table.rows, strict=True):
        level = noise_level(edm, float(edm.time(torch.tensor(now * STD, dtype=torch.float64).log() * -2)))
        clean = TARGET.clean(x * STD, level) / STD
        noise = (x - clean) / now
        earlier = sum((w * (old - noise) for w, old in zip(weights, past, strict=True)), torch.zeros_like(x))
        x, now, past = (1 + a) * clean + (after + b) * noise + earlier, after, [noise, *past]
    return x * STD


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", STEPS)
def test_a_walk_is_its_formula_on_every_schedule(steps: int, name: str) -> None:
    times, x = on_table(SCHEDULES[name], steps, STD)
    denoiser = TARGET.denoiser(SCHEDULES[name])
    found = sample(denoiser, Fitted(steps, STD), times, x)
    assert torch.allclose(found, by_formula(steps), rtol=0, atol=1e-9)
    assert float((found - sample(denoiser, Adams(data_std=STD), times, x)).abs().max()) > 1e-3


@pytest.mark.parametrize("steps", STEPS)
def test_data_of_another_scale_have_samples_of_that_scale(steps: int) -> None:
    ends = []
    for factor in (1.0, 3.0):
        target = MixtureTarget(TARGET.means * factor, TARGET.stds * factor, TARGET.weights)
        times, x = on_table(SCHEDULES["flow"], steps, STD * factor)
        ends.append(sample(target.denoiser(SCHEDULES["flow"]), Fitted(steps, STD * factor), times, x) / factor)
    assert torch.allclose(*ends, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", [*SCHEDULES, "a chain of 1000"])
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("std", [0.2, 0.6, 1.0])
def test_every_step_of_the_method_is_one_of_the_table(steps: int, name: str, std: float) -> None:
    """Also at the times that a chain has."""
    schedule = SCHEDULES.get(name, LinearBeta().build())
    method = build_method("fitted", steps, schedule, data_std=std, grid=None if name in SCHEDULES else 1000)
    assert method.solver == Fitted(steps, std)
    nodes = [noise_ratio(level) / std for level in noise_levels(schedule, method.times)]
    nodes[-1] = 0.0
    for k, row in enumerate(few_steps()[steps].rows):
        assert few_steps()[steps].row(tuple(nodes[: k + 2])) == row
        assert len(row) == k + 2


def test_other_walks_are_those_of_adams() -> None:
    schedule, adams = SCHEDULES["flow"], Adams(data_std=STD)
    denoiser, grid = TARGET.denoiser(schedule), fitted(schedule, 7, STD)
    for steps, times in (
        (20, fitted(schedule, 20, STD)),  # another number of steps
        (7, log_ratio(schedule, 7, STD)),  # another grid
        (7, grid[2:]),  # from the middle
        (4, grid),  # of another number
    ):
        found, wanted = (sample(denoiser, solver, times, NOISE) for solver in (Fitted(steps, STD), adams))
        assert torch.equal(found, wanted)
    assert torch.equal(fitted(schedule, 20, STD), log_ratio(schedule, 20, STD))
    for within, std in ((VE().build(), 30.0), (VE().build(), 0.01)):  # begins or ends within the grid
        assert torch.equal(fitted(within, 7, std), log_ratio(within, 7, std))


def test_a_walk_that_leaves_the_grid_goes_on_as_adams_does() -> None:
    """Whose steps are of order 4, however many evaluations are known."""
    schedule, solver, adams = SCHEDULES["flow"], Fitted(7, STD), Adams(data_std=STD)
    denoiser, times = TARGET.denoiser(schedule), fitted(schedule, 7, STD)
    levels = list(noise_levels(schedule, times))
    x, state = NOISE, solver.init()
    for t, s in pairwise(levels[:6]):
        x, state = solver.step(denoiser, x, t, s, state, StepNoise(None, 0))
    off = noise_level(schedule, float(times[5] + times[6]) / 2)
    found, _ = solver.step(denoiser, x, levels[5], off, state, StepNoise(None, 0))
    wanted, _ = adams.step(denoiser, x, levels[5], off, state[:3], StepNoise(None, 0))
    assert torch.equal(found, wanted)


def test_a_step_is_of_the_table_only_where_all_before_it_are() -> None:
    table = FewSteps((4.0, 1.0, 0.0), ((0.1, 0.2), (0.3, 0.4, 0.5), (0.6, 0.7, 0.8, 0.9)))
    assert table.row((inf, 4.2)) == (0.1, 0.2)
    assert table.row((100.0, 4.2, 0.9)) == (0.3, 0.4, 0.5)
    assert table.row((100.0, 4.2, 0.9, 0.0)) == (0.6, 0.7, 0.8, 0.9)
    for nodes in ((30.0, 4.0), (inf, 6.0), (inf, 6.0, 1.0), (inf, 4.0, 0.0), (inf, 4.0, 1.0, 0.5, 0.0), (inf, inf)):
        assert table.row(nodes) is None


def test_clothes_come_nearer_in_five_steps_than_by_any_other_solver() -> None:
    """Of which none was fitted to. 0.43 times of the nearest for 64 trajectories (`benchmarks/fitted.py`)."""
    model = sumi.load("fashion", DiffusionModel)
    std, denoiser, x = model.description.data_std, model.denoiser(), model.start_noise(range(6), 0)
    with torch.inference_mode():
        ends = {}
        for name, steps in (("adams", 60), ("adams", 5), ("unipc", 5), ("dpmpp_2m", 5), ("fitted", 5)):
            method = build_method(name, steps, denoiser.schedule, data_std=std)
            ends[name, steps] = sample(denoiser, method.solver, method.times, x)
    end = ends.pop(("adams", 60))
    away = {name: float(distance(found, end).median()) for (name, _), found in ends.items()}
    assert away.pop("fitted") < 0.7 * min(away.values())

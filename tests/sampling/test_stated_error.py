"""Samples that state their error: the estimate, its calibration on exact mixtures, and what refuses to state one."""

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from math import ceil

import pytest
import torch
from torch import Tensor

from benchmarks.mixture import FAMILIES, Mixture, Paths
from sumi.denoising.denoiser import CountingDenoiser, FunctionDenoiser
from sumi.errors import InputError
from sumi.process.continuous import VP, Flow
from sumi.process.exploding import EDM
from sumi.process.schedule import DATA, NoiseLevel, deviation, noise_level, noise_ratio
from sumi.sampling.sample import sample
from sumi.sampling.sampler import Sampling, build_method
from sumi.sampling.solvers import SOLVERS
from sumi.sampling.stated_error import MOST_STEPS, estimate, first_steps, on_grid, refuse_unstated, sample_to
from sumi.sampling.tuning import distance
from tests.oracles import MIXTURE

ROUGH = ("dpmpp_2s", "adaptive")  # on odd grids unlike on even ones; and with tolerances of each step
DETERMINISTIC = [name for name, one in SOLVERS.items() if not one.draws_noise and one.order]


def of_each(target, x_t: Tensor, t: NoiseLevel) -> Tensor:
    """The target's x̂_0; `adaptive` has a level of its own for each row."""
    levels = torch.as_tensor(t.alpha).reshape(-1), torch.as_tensor(t.sigma).reshape(-1)
    if len(levels[0]) == 1:
        return target.clean(x_t, t)
    rows = zip(x_t, *levels, strict=True)
    return torch.cat([target.clean(row[None], replace(t, alpha=float(a), sigma=float(s))) for row, a, s in rows])


@dataclass(frozen=True)
class AtLevel:
    """A mixture of the benchmarks, asked at a level of a schedule."""

    mixture: Mixture

    def clean(self, x_t: Tensor, t: NoiseLevel) -> Tensor:
        return self.mixture.clean(x_t / t.alpha, t.sigma / t.alpha)


def to(target, std: float, schedule, solver: str, x: Tensor, error: float, calls: list[tuple[int, int]] | None = None):
    """`sample_to` of the target's exact denoiser from x at t = 1; ``calls`` gets the rows and steps of each grid."""
    denoiser = CountingDenoiser(FunctionDenoiser(partial(of_each, target), schedule))

    def walk(steps: int, rows: Tensor) -> tuple[Tensor, int]:
        if calls is not None:
            calls.append((steps, len(rows)))
        method, before = build_method(solver, steps, schedule, data_std=std), denoiser.evaluations
        return sample(denoiser, on_grid(method.solver, steps), method.times, x[rows]), denoiser.evaluations - before

    return sample_to(walk, len(x), error, std, MOST_STEPS, SOLVERS[solver].order)


GRIDS = [((8, 12, 18), 1.6, 2), ((13, 20, 30), 1.6, 2), ((24, 36, 54), 1.4, 2.5), ((40, 60, 90), 1.4, 2)]


@pytest.mark.parametrize("order", [1.3, 2.0, 4.0])
@pytest.mark.parametrize(("steps", "safety", "most"), GRIDS)
def test_of_a_method_of_any_order_the_estimate_is_above_the_error(
    order: float, steps: tuple[int, int, int], safety: float, most: float
) -> None:
    """Ends of ODE's end + c K^-q: Richardson's, with the order less one, from 5/4 to what a grid may show."""
    wrong = [5.0 * k**-order for k in steps]
    before, moved = (torch.tensor([a - b]).double() for a, b in pairwise(wrong))
    assumed = min(max(order - 1, 1.25), most)
    plain, guard = moved / (1.5**assumed - 1), before / (1.5**most * (1.5**most - 1))
    found = estimate(moved, before, steps[1:])
    torch.testing.assert_close(found, safety * torch.maximum(plain, guard), rtol=1e-12, atol=0)
    assert float(found) > wrong[2]
    first = estimate(before, None, (16, 24))
    assert float(first) == pytest.approx(1.6 * float(before) / (1.5**1.25 - 1), rel=1e-12)


def test_two_ends_that_agree_by_chance_state_no_small_error() -> None:
    found = estimate(torch.tensor([1e-9]).double(), torch.tensor([0.1]).double(), (24, 36))
    assert float(found) == pytest.approx(1.4 * 0.1 / (1.5**2.5 * (1.5**2.5 - 1)), rel=1e-6)


@pytest.mark.parametrize("order", [0.3, 0.5, 0.8])
def test_of_an_ode_that_steps_hardly_bring_to_its_end_more_is_stated(order: float) -> None:
    """Ends of K^-q times a distance of each sample's own. With the order of 5/4 that two grids are taken to have, less
    than the true error would be stated.
    """
    far, ways = (
        torch.tensor([0.2, 1.0, 0.5, 3.0]).double(),
        torch.randn(4, 7, generator=torch.Generator().manual_seed(0)).double(),
    )
    ways /= distance(ways, torch.zeros(4, 7))[:, None]

    def walk(steps: int, rows: Tensor) -> tuple[Tensor, int]:
        return (far * steps**-order)[rows, None] * ways[rows], steps

    found = sample_to(walk, 4, 0.03, 1.0, MOST_STEPS, 2.0)
    true = far * found.steps**-order
    torch.testing.assert_close(distance(found.x, torch.zeros(4, 7)), true)
    assert bool((found.error >= true).all())
    assert bool((found.error <= 6 * true).all())
    moved, before = (true * (k**order - 1) for k in (1.5, 2.25))
    assert not bool((estimate(moved, before - moved, (48, 72), 2.0) >= true).any())


def test_stated_errors_are_calibrated_on_mixtures() -> None:
    """By `benchmarks/stated_error.py`, a mixture of each family: above the true one in 95 of 100, in the median up to 5
    times it.
    """
    stated, true = [], []
    for place, settings in enumerate(FAMILIES.values()):
        mixture = Mixture(10 + place, **settings)
        schedule = (VP(), EDM())[place % 2].build()
        end = noise_level(schedule, 1.0)
        draw = torch.Generator().manual_seed(place)
        x = torch.randn(12, len(mixture.mean), generator=draw).double() * deviation(end, mixture.std)
        ends = Paths(mixture, x / end.alpha, noise_ratio(end)).at(0.0)
        for error in (0.03, 0.01):
            found = to(AtLevel(mixture), mixture.std, schedule, "adams", x, error)
            assert bool((found.error <= error).all())
            stated.append(found.error)
            true.append(distance(found.x, ends) / mixture.std)
    stated, true = torch.cat(stated), torch.cat(true)
    assert float((true <= stated).double().mean()) >= 0.95
    assert 1 < float((stated / true).median()) <= 5


def test_a_sample_is_the_same_alone_and_in_a_batch_and_stops_by_itself() -> None:
    schedule, std = Flow().build(), 0.6
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    calls: list[tuple[int, int]] = []
    whole = to(MIXTURE, std, schedule, "adams", x, 0.01, calls)
    steps = [k for k, _ in calls]
    assert steps == [first_steps(0.01, MOST_STEPS), *(ceil(1.5 * k) for k in steps[:-1])]
    rows = [n for _, n in calls]
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] < 8
    assert int(whole.evaluations.sum()) == sum(k * n for k, n in calls)
    for i in range(8):
        alone = to(MIXTURE, std, schedule, "adams", x[i : i + 1], 0.01)
        torch.testing.assert_close(alone.x, whole.x[i : i + 1], rtol=0, atol=1e-13)
        assert float(alone.error) == pytest.approx(float(whole.error[i]))
        assert int(alone.evaluations) == int(whole.evaluations[i])


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_every_deterministic_solver_comes_as_near_as_it_states(name: str) -> None:
    schedule, std = VP().build(), 0.6
    end = noise_level(schedule, 1.0)
    x = torch.randn(12, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = to(MIXTURE, std, schedule, name, x, 0.05)
    true = distance(found.x, MIXTURE.flow(x, end, DATA)) / std
    assert bool((found.error <= 0.05).all())
    assert float((true <= found.error).double().mean()) >= (0.7 if name in ROUGH else 0.9)


def test_the_finest_grid_states_what_it_reached() -> None:
    schedule, std = VP().build(), 0.6
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def walk(steps: int, rows: Tensor) -> tuple[Tensor, int]:
        method = build_method("ddim", steps, schedule, data_std=std)
        return sample(MIXTURE.denoiser(schedule), method.solver, method.times, x[rows]), steps

    found = sample_to(walk, 4, 1e-4, std, 20)
    method = build_method("ddim", 20, schedule, data_std=std)
    torch.testing.assert_close(found.x, sample(MIXTURE.denoiser(schedule), method.solver, method.times, x))
    assert bool((found.error > 1e-3).all())
    with pytest.raises(InputError, match=r"^error: there is but one step"):
        sample_to(walk, 4, 1e-2, std, 1)


def test_what_has_no_end_to_be_near_to_is_refused_by_name() -> None:
    for name in sorted(SOLVERS.keys() - set(DETERMINISTIC)):
        with pytest.raises(InputError, match=rf"^error: {name} "):
            refuse_unstated(name, SOLVERS[name])
    for name in DETERMINISTIC:
        refuse_unstated(name, SOLVERS[name])


def test_an_error_takes_the_place_of_steps() -> None:
    run = Sampling(error=0.02)
    assert run.replaced({"steps": 7}).error is None
    assert run.replaced({}).error == 0.02
    assert Sampling().replaced({"error": 0.01}).error == 0.01
    with pytest.raises(InputError, match=r"^steps: error chooses their number"):
        Sampling().replaced({"steps": 7, "error": 0.01})
    for wrong in (0.0, 1e-5, 2.0, float("nan")):
        with pytest.raises(InputError, match=r"^error: "):
            Sampling(error=wrong)

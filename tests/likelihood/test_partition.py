"""Normalising constants that are known in closed form: three ways to the same number, each within what it states."""

from itertools import product
from math import log, pi

import pytest
import torch
from torch import Tensor, nn

from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.energy import EnergyGradient
from sumi.denoising.parameterization import PredictEnergy
from sumi.errors import InputError
from sumi.likelihood.grid_flow import GridFlow
from sumi.likelihood.partition import Annealing, anneal, annealing_times, energy, partition_by_flow, partition_on_plane
from sumi.likelihood.probability_flow import ProbabilityFlow
from sumi.likelihood.trace import ExactTrace
from sumi.process.chain import LinearBeta
from sumi.process.continuous import VP
from sumi.process.exploding import VE
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel, deviation, noise_level

STD = 0.3
SCHEDULES = {
    "vp": VP().build(),
    "ve": VE().build(),
    "linear": LinearBeta(steps=200, beta_start=5e-4, beta_end=0.1).build(),
}


class Quadratic(nn.Module):
    """f = (1 - √a) x, so that E = ½ a ‖x‖² and the model is that of data N(0, STD²): U = ‖x_t‖²/(2 V), V = Var(x_t)."""

    def __init__(self, schedule) -> None:
        super().__init__()
        self.schedule = schedule

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        now = noise_level(self.schedule, ((c_noise + 1) / 1000).double())
        c_in = 1 / deviation(now)
        a = now.sigma / (c_in * variance(now))
        return (1 - expand(a**0.5, x)) * x


def variance(now: NoiseLevel):
    return now.alpha**2 * STD**2 + now.sigma**2


def model(name: str, grid: int | None = None) -> NetworkDenoiser:
    schedule = SCHEDULES[name]
    return NetworkDenoiser(EnergyGradient(Quadratic(schedule)), schedule, PredictEnergy(), grid)


def closed_form(now: NoiseLevel, dimensions: int) -> float:
    return dimensions / 2 * log(2 * pi * float(variance(now)))


def draws(now: NoiseLevel, count: int, dimensions: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, dimensions, dtype=torch.float64, generator=generator)
    return noise * float(variance(now)) ** 0.5


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_energy_is_the_log_density_but_for_a_constant(name: str) -> None:
    now = noise_level(SCHEDULES[name], 0.2)
    x = draws(now, 5, 3)
    torch.testing.assert_close(energy(model(name), x, now), x.square().sum(1) / (2 * variance(now)))


QUICK = {("linear", 1), ("ve", 2), ("vp", 5)}
CASES = [pytest.param(*case, marks=[pytest.mark.slow] * (case not in QUICK)) for case in product(SCHEDULES, (1, 2, 5))]


@pytest.mark.parametrize(("name", "dimensions"), CASES)
def test_annealing_finds_the_closed_form(name: str, dimensions: int) -> None:
    """Within three standard errors, which are small enough to say something."""
    schedule = SCHEDULES[name]
    times = annealing_times(schedule, 0.2, 80)
    done = anneal(model(name), (dimensions,), times, chains=200, dtype=torch.float64)
    found, truth = done.log_partition, closed_form(noise_level(schedule, 0.2), dimensions)
    assert found.error < 0.1
    assert abs(found.value - truth) < 3 * found.error
    assert abs(found.value - truth) > 1e-9
    assert done.effective > 50
    assert 0.6 < done.accepted.min() < 0.99
    assert done.accepted.shape == (79,)


def test_weights_have_no_bias_however_few_the_steps() -> None:
    """E[w] = Z with 4 levels, and steps far too long or twice short: three standard errors of 5 %."""
    schedule = SCHEDULES["vp"]
    for step_size, moves in ((6.0, 1), (0.3, 2)):
        times = annealing_times(schedule, 0.5, 4)
        done = anneal(model("vp"), (1,), times, chains=8000, step_size=step_size, moves=moves, dtype=torch.float64)
        found = done.log_partition
        assert found.error < 0.05
        assert abs(found.value - closed_form(noise_level(schedule, 0.5), 1)) < 3 * found.error
    assert done.accepted.min() > 0.9


def test_more_levels_make_the_error_smaller() -> None:
    schedule = SCHEDULES["ve"]
    few, many = (anneal(model("ve"), (3,), annealing_times(schedule, 0.2, k), chains=100) for k in (12, 120))
    assert many.log_partition.error < few.log_partition.error / 2
    assert many.effective > 1.5 * few.effective


def test_the_prior_may_be_another() -> None:
    """Wider than sigma(1), as long as chains can follow; and the grid's own times will do."""
    done = anneal(
        model("linear", 200),
        (2,),
        torch.arange(200, 9, -2, dtype=torch.float64) / 200,
        prior_std=1.2,
        dtype=torch.float64,
    )
    found = done.log_partition
    assert abs(found.value - closed_form(noise_level(SCHEDULES["linear"], 0.05), 2)) < 3 * found.error < 0.3


def test_a_chain_depends_on_its_own_number_alone() -> None:
    times = annealing_times(SCHEDULES["vp"], 0.3, 10)
    few, many = (anneal(model("vp"), (2,), times, chains=n, dtype=torch.float64).log_weights for n in (3, 9))
    torch.testing.assert_close(few, many[:3], rtol=0, atol=1e-12)
    other = anneal(model("vp"), (2,), times, chains=3, seed=1, dtype=torch.float64).log_weights
    assert (few - other).abs().min() > 1e-6


def test_mean_weights_are_added_without_overflow() -> None:
    """log ((e^a + 3 e^a)/2) of weights e^a and 3 e^a, and the error of their mean."""
    found = Annealing(torch.tensor([2000.0, 2000.0 + log(3)], dtype=torch.float64), torch.zeros(1)).log_partition
    assert found.value == pytest.approx(2000 + log(2), abs=1e-9)
    assert found.error == pytest.approx(0.5)  # the weights are 1/2 and 3/2 of their mean
    one = Annealing(torch.tensor([0.0, -800.0], dtype=torch.float64), torch.zeros(1))
    assert one.effective == pytest.approx(1.0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_quadrature_in_the_plane(name: str) -> None:
    """Within what is stated; the rule alone is far better on a Gaussian."""
    now = noise_level(SCHEDULES[name], 0.2)
    reach = 7 * float(variance(now)) ** 0.5
    found, plane = partition_on_plane(
        model(name), now, ((-reach, reach), (-reach, reach)), draws(now, 2000, 2), points=65
    )
    truth = closed_form(now, 2)
    assert found.value == pytest.approx(truth, abs=1e-8)
    assert 1e-4 < found.error < 0.003
    middle = plane.log_density[32, 32]
    assert float(middle) == pytest.approx(0.0, abs=1e-12)
    cut, _ = partition_on_plane(model(name), now, ((-reach, 0.0), (-reach, reach)), draws(now, 2000, 2), points=65)
    assert cut.value == pytest.approx(truth - log(2), abs=1e-2)
    assert cut.value < truth < cut.value + cut.error


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_ode_says_the_same_at_every_point(name: str) -> None:
    """alpha_t and the prior are accounted for; the mean's error is that of the prior, 4·10⁻⁵ · STD²."""
    now = noise_level(SCHEDULES[name], 0.2)
    x = draws(now, 6, 3)
    flow = ProbabilityFlow(rtol=1e-7, atol=1e-7)
    found = partition_by_flow(model(name), flow, ExactTrace(), x, now)
    assert found.value == pytest.approx(closed_form(now, 3), abs=1e-3)
    assert found.spread < 1e-3
    assert found.error == pytest.approx(found.spread / 6**0.5)


def test_the_ode_by_a_chain() -> None:
    now = noise_level(SCHEDULES["linear"], 0.1)
    found = partition_by_flow(model("linear", 200), GridFlow(200), ExactTrace(), draws(now, 6, 2), now)
    assert found.value == pytest.approx(closed_form(now, 2), abs=2e-3)


def test_an_energy_that_is_not_that_of_its_flow_is_seen_in_the_spread() -> None:
    """A prior of half the width: the flow's density is another, and so is log Z from point to point."""
    now = noise_level(SCHEDULES["vp"], 0.2)
    found = partition_by_flow(model("vp"), ProbabilityFlow(), ExactTrace(), draws(now, 40, 2), now, prior_std=0.5)
    assert found.spread > 0.5


@pytest.mark.parametrize(
    "make",
    [
        lambda: annealing_times(SCHEDULES["vp"], 0.2, 1),
        lambda: anneal(model("vp"), (2,), torch.tensor([1.0, 0.5]), chains=1),
        lambda: anneal(model("vp"), (2,), torch.tensor([1.0, 0.5]), moves=0),
        lambda: anneal(model("vp"), (2,), torch.tensor([1.0, 0.5]), step_size=0.0),
        lambda: energy(
            NetworkDenoiser(nn.Identity(), SCHEDULES["vp"], PredictEnergy()),
            torch.zeros(1, 2),
            noise_level(SCHEDULES["vp"], 0.5),
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(make) -> None:
    with pytest.raises(InputError, match=r"^\w+: "):
        make()

"""UniPC on targets whose flow is known: its orders, started at their own and self-started, and what it evaluates."""

from math import exp, sqrt
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from sumi.denoising.denoiser import FunctionDenoiser
from sumi.process.schedule import DATA, NoiseLevel, noise_level, noise_levels
from sumi.process.schedules import ScheduleConfig
from sumi.sampling.sample import sample
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.exponential import Base, half_log_snr
from sumi.sampling.solvers.unipc import UniPC
from sumi.sampling.time_grid import karras, log_snr
from tests.convergence import errors, grids, orders
from tests.oracles import MIXTURE, GaussianTarget, linear_probe

CONTINUOUS = {config.name: config().build() for config in get_args(ScheduleConfig) if config().steps is None}
NORMAL = torch.from_numpy(np.random.default_rng(5).standard_normal((16, 2)))


@pytest.mark.parametrize(("order", "expected"), [(1, 2), (2, 3), (3, 3)])
def test_self_started_it_is_of_third_order_at_most(order: int, expected: int) -> None:
    """The first step, corrected by UniC-1, errs at third order, once; that UniPC-3 has the fourth is then not seen."""
    schedule = CONTINUOUS["flow"]
    times = grids(schedule, 0.6, 0.15)["log_snr"]
    x = NORMAL[:8] * 0.6 * noise_level(schedule, float(times(1)[0])).alpha
    found = errors(MIXTURE.denoiser(schedule), UniPC(order), times, (400, 800), x, MIXTURE.flow)
    assert orders((400, 800), found) == [pytest.approx(expected, abs=0.1)]


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_corrected_points_are_exact_to_one_degree_more_than_predicted_ones(name: str, order: int) -> None:
    """x̂_0 a polynomial in λ, of degree p for UniC-p and p - 1 for UniP-p, on uneven levels: integrated exactly."""
    schedule = CONTINUOUS[name]
    halves = torch.tensor([-2.0, -1.5, -0.3, 0.2, 1.7], dtype=torch.float64)
    walk = list(noise_levels(schedule, schedule.time(2 * halves)))
    x = torch.tensor([[0.4]], dtype=torch.float64)
    for degree in (order - 1, order):

        def clean(half: float, degree=degree) -> float:
            return sum((k + 1) * (half - 0.3) ** k for k in range(degree + 1))

        def flow(t: NoiseLevel, s: NoiseLevel, clean=clean) -> Tensor:
            integral, _ = quad(lambda half: exp(half) * clean(half), half_log_snr(t), half_log_snr(s), epsrel=1e-13)
            return s.sigma * (x / t.sigma + integral)

        denoiser = FunctionDenoiser(lambda x, t, clean=clean: torch.full_like(x, clean(half_log_snr(t))), schedule)
        known = [(half_log_snr(t), denoiser(x, t).clean) for t in walk[2::-1]]
        state = Base(x, walk[2], tuple(known[:order]))
        x_s, state = UniPC(order, slope="exact").step(denoiser, torch.zeros_like(x), walk[3], walk[4], state, None)
        torch.testing.assert_close(state.x, flow(walk[2], walk[3]), rtol=1e-12, atol=0)
        assert [node for node, _ in state.evaluations] == [half_log_snr(t) for t in walk[3 : 3 - order : -1]]
        exact = flow(walk[2], walk[4])
        if degree < order:
            torch.testing.assert_close(x_s, exact, rtol=1e-12, atol=0)
        else:
            assert float((x_s - exact).abs()) > 1e-2


def test_from_pure_noise_the_first_step_is_corrected_where_x_0_is_linear_in_the_signal_to_noise_ratio() -> None:
    """alpha(1) = 0: with x̂_0 = a + b alpha/sigma the corrected point is exact, and the first evaluation forgotten."""
    schedule = CONTINUOUS["flow"]
    denoiser = FunctionDenoiser(lambda x, t: torch.full_like(x, 0.5 + 0.2 * t.alpha / t.sigma), schedule)
    walk = [noise_level(schedule, t) for t in (1.0, 0.7, 0.4)]
    x = torch.tensor([[0.9]], dtype=torch.float64)
    for slope in ("exact", "bh1", "bh2"):
        solver = UniPC(2, slope)
        x_s, state = solver.step(denoiser, x, walk[0], walk[1], solver.init(), None)
        torch.testing.assert_close(x_s, 0.3 * torch.full_like(x, 0.5) + 0.7 * x, rtol=1e-14, atol=0)  # DDIM's
        _, state = solver.step(denoiser, x_s, walk[1], walk[2], state, None)
        # x_s/sigma_s = x_1 + ∫ (0.5 + 0.2 r) dr up to r = alpha/sigma = 3/7
        exact = 0.7 * (0.9 + 0.5 * 3 / 7 + 0.1 * (3 / 7) ** 2)
        assert state.x.item() == pytest.approx(exact, rel=1e-14)
        assert len(state.evaluations) == 1


def test_the_last_step_is_not_corrected_and_costs_nothing() -> None:
    """One step is DDIM; of two, the second starts from the corrected point but ends with its own x̂_0."""
    schedule = CONTINUOUS["vp"]
    x = torch.tensor([[0.3, -1.1]], dtype=torch.float64)
    one = torch.tensor([1.0, 0.0], dtype=torch.float64)
    denoiser = MIXTURE.denoiser(schedule)
    torch.testing.assert_close(sample(denoiser, UniPC(3), one, x), sample(denoiser, DDIM(), one, x), rtol=1e-12, atol=0)
    times = torch.tensor([1.0, 0.4, 0.0], dtype=torch.float64)
    end = sample(denoiser, UniPC(3), times, x)
    torch.testing.assert_close(end, sample(denoiser, DDIM(), times, x), rtol=1e-12, atol=0)


@pytest.mark.parametrize("grid", [log_snr, karras])
@pytest.mark.parametrize("name", ["vp", "edm", "flow"])
def test_whole_runs_end_where_the_ode_does(name: str, grid) -> None:
    """From t = 1 to the data: 40 steps leave 0.0015 of DDIM's 0.02 at most, 80 steps 1.6e-4."""
    schedule = CONTINUOUS[name]
    first = noise_level(schedule, 1.0)
    begin = first if first.alpha else noise_level(schedule, 1 - 1e-5)
    x = NORMAL * sqrt(begin.alpha**2 * 0.3 + begin.sigma**2)
    truth = MIXTURE.flow(x, begin, DATA)
    x = x if first.alpha else x - begin.alpha * MIXTURE.weights @ MIXTURE.means
    for order in (2, 3):
        for steps, limit in ((40, 1.5e-3), (80, 1.6e-4)):
            end = sample(MIXTURE.denoiser(schedule), UniPC(order), grid(schedule, steps), x)
            assert float((end - truth).abs().amax(1).median()) < limit


def test_gaussian_data_keep_their_mean_exactly_and_their_variance_nearly() -> None:
    """Through the real sampler with no Monte Carlo; DDIM's variance is off by -0.018, -0.0094 and -0.0048."""
    schedule, target = CONTINUOUS["vp"], GaussianTarget(0.5, 0.3)
    start = target.marginal(noise_level(schedule, 1.0))
    for steps, wrong in ((25, 1.23e-3), (50, 1.53e-4), (100, 1.54e-5)):
        mean, variance = linear_probe(target.denoiser(schedule), UniPC(2), log_snr(schedule, steps), *start)
        assert mean == pytest.approx(0.5, abs=1e-12)
        assert variance - 0.09 == pytest.approx(wrong, rel=0.01)

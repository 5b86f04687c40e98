"""DPM-Solver++ on targets whose flow is known: its integrals, orders, ends and counts, and its SDE variant."""

from itertools import pairwise
from math import exp, inf, sqrt
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from sumi.denoising.denoiser import FunctionDenoiser
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.schedule import DATA, NoiseLevel, noise_level, noise_levels
from sumi.process.schedules import ScheduleConfig
from sumi.sampling.sample import sample
from sumi.sampling.solvers import SOLVERS
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.dpm_solver import DPMSolverMultistep, DPMSolverSinglestep
from sumi.sampling.solvers.exponential import half_log_snr, moments, weights
from sumi.sampling.solvers.unipc import UniPC
from sumi.sampling.time_grid import karras, log_snr, uniform
from tests.convergence import errors, grids, orders
from tests.oracles import MIXTURE, GaussianTarget, linear_probe

CONTINUOUS = {config.name: config().build() for config in get_args(ScheduleConfig) if config().steps is None}
ALL = {**CONTINUOUS, "linear": LinearBeta().build(), "cosine": CosineBeta().build()}
GAUSSIAN = GaussianTarget(mean=0.5, std=0.3)
NORMAL = torch.from_numpy(np.random.default_rng(5).standard_normal((16, 2)))
FAMILY = {
    "1m": DPMSolverMultistep(1),
    "2m": DPMSolverMultistep(2),
    "2m exact": DPMSolverMultistep(2, slope="exact"),
    "2m bh1": DPMSolverMultistep(2, slope="bh1"),
    "3m": DPMSolverMultistep(3),
    "2s": DPMSolverSinglestep(2),
    "2s bh2": DPMSolverSinglestep(2, slope="bh2"),
    "3s": DPMSolverSinglestep(3),
    "3s bh2": DPMSolverSinglestep(3, slope="bh2"),
}


# --- the integrals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("y", [1e-9, 1e-4, 3e-3, 0.05, 0.3, 1.999999, 2.000001, 3.0, 8.0, 60.0, 800.0])
def test_moments_are_the_integrals_of_powers(y: float) -> None:
    for i, found in enumerate(moments(y, 4)):
        points = None if y < 10 else [1 - 10 / y]
        expected, _ = quad(
            lambda tau, i=i: y * exp(-y * (1 - tau)) * tau**i, 0, 1, epsabs=0, epsrel=1e-13, points=points
        )
        assert found == pytest.approx(expected, rel=1e-13)
    assert moments(inf, 4) == [1, 1, 1, 1]


@pytest.mark.parametrize("y", [1e-3, 0.4, 2.5, 40.0])
def test_weights_integrate_the_polynomial_through_any_places(y: float) -> None:
    places = [0.0, -0.7, 1.0, -1.9]
    for count in (1, 2, 3, 4):
        for power in range(count):
            got = sum(w * tau**power for w, tau in zip(weights(places[:count], y), places, strict=False))
            # rounding of weights up to 3, of which the smallest E_3, 2.5e-4, has these digits left
            assert got == pytest.approx(moments(y, 4)[power], rel=1e-11)


def test_slopes_of_two_evaluations_are_those_of_the_papers() -> None:
    y, r = 0.8, -0.6
    assert weights([0.0, r], y, "bh2")[1] == pytest.approx((1 - exp(-y)) / 2 / r, rel=1e-14)
    assert weights([0.0, r], y, "bh1")[1] == pytest.approx(y / 2 / r, rel=1e-14)
    for slope in ("exact", "bh1", "bh2"):
        assert sum(weights([0.0, r], y, slope)) == pytest.approx(1 - exp(-y), rel=1e-14)
        assert weights([0.0, r, 1.0], y, slope) == weights([0.0, r, 1.0], y)


@pytest.mark.parametrize(
    ("solver", "degree", "exact_steps"),
    [
        (DPMSolverMultistep(1), 0, 0),
        (DPMSolverMultistep(2, slope="exact"), 1, 1),
        (DPMSolverMultistep(3), 2, 2),
        (DPMSolverSinglestep(2), 1, 0),
        (DPMSolverSinglestep(3), 2, 0),
    ],
    ids=["1m", "2m", "3m", "2s", "3s"],
)
@pytest.mark.parametrize("name", CONTINUOUS)
def test_clean_images_that_are_polynomials_in_lambda_are_integrated_exactly(name, solver, degree, exact_steps) -> None:
    """Six uneven steps, and singlestep ones end with whole blocks: every node, place and base must be right."""
    schedule = CONTINUOUS[name]
    times = schedule.time(torch.tensor([-2.0, -1.5, -0.3, 0.2, 1.7, 2.1, 3.4], dtype=torch.float64))

    def clean(t: NoiseLevel) -> float:
        return sum((k + 1) * (half_log_snr(t) - 0.3) ** k for k in range(degree + 1))

    def flow(x: Tensor, t: NoiseLevel, s: NoiseLevel) -> Tensor:
        def integrand(half: float) -> float:
            return exp(half) * clean(NoiseLevel(0.0, 1.0, 1.0, 2 * half, 0.0, 0.0))

        integral, _ = quad(integrand, half_log_snr(t), half_log_snr(s), epsabs=0, epsrel=1e-13)
        return s.sigma * (x / t.sigma + integral)

    denoiser = FunctionDenoiser(lambda x, t: torch.full_like(x, clean(t)), schedule)
    x = torch.tensor([[0.4]], dtype=torch.float64)
    found = errors(denoiser, solver, lambda n: times, [6], x, flow, exact_steps)
    assert found[0] < 1e-11  # of values around 10, after a few additions
    if degree:
        lower = type(solver)(2) if degree == 2 else DPMSolverMultistep(1)
        assert errors(denoiser, lower, lambda n: times, [6], x, flow, exact_steps)[0] > 1e-3


# --- first order is DDIM -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_order_1_is_ddim_and_with_eta_1_ddpm(name: str, eta: float) -> None:
    schedule = ALL[name]
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    draws = [torch.randn(3, 2, generator=torch.Generator().manual_seed(k), dtype=torch.float64) for k in range(7)]
    x_1 = x * noise_level(schedule, 1.0).sigma
    states: dict[str, list[Tensor]] = {"ours": [], "ddim": []}
    for key, solver in (("ours", DPMSolverMultistep(1, eta=eta)), ("ddim", DDIM(eta=eta))):

        def keep(k: int, s: NoiseLevel, x: Tensor, key=key) -> None:
            states[key].append(x)

        sample(MIXTURE.denoiser(schedule), solver, uniform(7), x_1, lambda k, p, d: draws[k], keep)
    for ours, ddim in zip(states["ours"], states["ddim"], strict=True):
        torch.testing.assert_close(ours, ddim, rtol=1e-11, atol=1e-11)  # sigma/alpha(1) = 8e4 of the cosine chain


def test_self_started_the_third_order_multistep_is_of_second_order() -> None:
    """Its first step is DDIM's, whose error of second order stays; below some hundred steps it is not seen."""
    schedule = CONTINUOUS["flow"]
    times = grids(schedule, 1.0, 0.1)["log_snr"]
    x = torch.tensor([[0.9, -0.4]], dtype=torch.float64)
    found = errors(MIXTURE.denoiser(schedule), DPMSolverMultistep(3), times, (800, 1600), x, MIXTURE.flow)
    assert orders((800, 1600), found) == [pytest.approx(2, abs=0.1)]


# --- ends and counts -----------------------------------------------------------------------------------------------


def end_errors(schedule, grid, steps: int) -> dict[str, float]:
    """The median distance from where the ODE ends, from 16 starts at t = 1 (or where a 10⁵th of the data is left)."""
    first = noise_level(schedule, 1.0)
    begin = first if first.alpha else noise_level(schedule, 1 - 1e-5)
    x = NORMAL * sqrt(begin.alpha**2 * 0.3 + begin.sigma**2)
    truth = MIXTURE.flow(x, begin, DATA)
    x = x if first.alpha else x - begin.alpha * MIXTURE.weights @ MIXTURE.means
    denoiser = MIXTURE.denoiser(schedule)
    times = grid(schedule, steps)
    return {
        kind: float((sample(denoiser, solver, times, x) - truth).abs().amax(1).median())
        for kind, solver in FAMILY.items()
    }


@pytest.mark.parametrize("grid", [log_snr, karras])
@pytest.mark.parametrize("name", ["vp", "edm", "flow"])
def test_whole_runs_end_where_the_ode_does(name: str, grid) -> None:
    """From t = 1 to the data, the step to σ = 0 included: twice the steps, about the errors that the order promises.

    At 80 steps they are 4e-5 to 1.7e-3 where DDIM's is 0.009 to 0.011.
    """
    found = {steps: end_errors(CONTINUOUS[name], grid, steps) for steps in (40, 80)}
    for kind, solver in FAMILY.items():
        if solver.order > 1:
            # σ̂ = 0.002 of the last step leaves (0.002/0.1)²/2 = 2e-4 of the distance from a mode
            assert found[80][kind] < found[40][kind] / (0.6 * 2**solver.order) + 1e-4, kind
            assert found[80][kind] < 0.2 * found[80]["1m"], kind


def test_edm_runs_whose_last_two_times_are_both_0() -> None:
    """Karras' grid on EDM's noise: the last step starts at t = 0, sigma = 0.002, and ends at the data."""
    schedule = CONTINUOUS["edm"]
    times = karras(schedule, 30)
    times[-2] = 0.0  # but for rounding it is so already
    x = torch.tensor([[30.0, -70.0]], dtype=torch.float64)
    truth = MIXTURE.flow(x, noise_level(schedule, 1.0), DATA)
    for kind, solver in FAMILY.items():
        if solver.order > 1:
            assert float((sample(MIXTURE.denoiser(schedule), solver, times, x) - truth).abs().max()) < 0.02, kind


def test_from_pure_noise_the_first_step_is_ddims_and_is_not_remembered() -> None:
    """alpha(1) = 0: the second step is of first order too, the third is what it would be if it were the second."""
    schedule = CONTINUOUS["flow"]
    x = torch.tensor([[0.3, -1.1]], dtype=torch.float64)
    times = torch.tensor([1.0, 0.8, 0.55, 0.3, 0.2], dtype=torch.float64)
    for kind, solver in FAMILY.items():
        seen: list[Tensor] = []
        sample(MIXTURE.denoiser(schedule), solver, times, x, callback=lambda k, s, x, seen=seen: seen.append(x))
        first = sample(MIXTURE.denoiser(schedule), DDIM(), times[:2], x)
        torch.testing.assert_close(seen[0], first, rtol=1e-14, atol=0)
        later = sample(MIXTURE.denoiser(schedule), solver, times[1:], first)
        torch.testing.assert_close(seen[-1], later, rtol=1e-14, atol=0, msg=kind)


def test_singlestep_closes_with_the_order_that_is_possible() -> None:
    """Before the end at the data: whole steps, then one of 1 or 2 intervals; each by the definition of the order."""
    schedule = CONTINUOUS["vp"]
    x = torch.tensor([[0.3, -1.1]], dtype=torch.float64)
    denoiser = MIXTURE.denoiser(schedule)
    for steps in range(2, 12):
        times = torch.linspace(0.9, 0.0, steps + 1, dtype=torch.float64)
        walk = list(noise_levels(schedule, times))
        for order in (2, 3):
            state, expected = x, x
            for first in range(0, steps, order):
                span = walk[first : first + order + 1]
                if span[-1].t == 0:
                    span = span[:-1]
                expected = block(denoiser, span, state)
                state = expected
            end = sample(denoiser, DPMSolverSinglestep(order), times, x)
            torch.testing.assert_close(end, MIXTURE.clean(expected, walk[-2]), rtol=1e-12, atol=0)


def block(denoiser, span: list[NoiseLevel], x: Tensor) -> Tensor:
    """One singlestep step over the levels of ``span``, by numerical integration of the Lagrange polynomial."""
    base, known, at = span[0], [], x
    for here, after in pairwise(span):
        known.append((half_log_snr(here), denoiser(at, here).clean))
        total = torch.zeros_like(x)
        for j, (node, clean) in enumerate(known):
            others = [other for k, (other, _) in enumerate(known) if k != j]

            def integrand(half: float, node=node, others=others) -> float:
                return exp(half) * np.prod([(half - o) / (node - o) for o in others])

            total += quad(integrand, half_log_snr(base), half_log_snr(after), epsabs=0, epsrel=1e-13)[0] * clean
        at = after.sigma * (x / base.sigma + total)
    return at


# --- the SDE variant -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_data_at_a_point_keep_their_marginals_exactly(name: str, eta: float) -> None:
    """Then x̂_0 is constant, so the linear part and the noise are all there is, for any order, grid and η."""
    point, schedule = GaussianTarget(0.5, 0.0), CONTINUOUS[name]
    times = grids(schedule, 5.0, 0.1)["quadratic"](7)
    first, *_, last = noise_levels(schedule, times)
    for order in (1, 2, 3):
        got = linear_probe(point.denoiser(schedule), DPMSolverMultistep(order, eta=eta), times, *point.marginal(first))
        assert got == pytest.approx(point.marginal(last), rel=1e-12)


def test_sde_samples_converge_to_the_data() -> None:
    """From t = 1 to the data, 50 and 100 steps even in log-SNR: the variance's error is halved, or quartered."""
    schedule = CONTINUOUS["vp"]
    start = GAUSSIAN.marginal(noise_level(schedule, 1.0))
    for order, expected in ((1, [-0.0172, -0.0092]), (2, [0.00142, 0.00035])):
        for steps, wrong in zip((50, 100), expected, strict=True):
            times = log_snr(schedule, steps)
            got = linear_probe(GAUSSIAN.denoiser(schedule), DPMSolverMultistep(order, eta=1.0), times, *start)
            assert got == (pytest.approx(0.5, abs=1e-12), pytest.approx(0.09 + wrong, abs=0.01 * abs(wrong)))


def test_from_pure_noise_the_sde_draws_the_marginal_of_its_x_0() -> None:
    """No time is far enough from t = 1 for any of its noise to be left: x_s = alpha_s x̂_0 + sigma_s z."""
    schedule = CONTINUOUS["flow"]
    t, s = noise_level(schedule, 1.0), noise_level(schedule, 0.6)
    x, z = torch.tensor([[0.7]], dtype=torch.float64), torch.tensor([[-1.2]], dtype=torch.float64)
    for eta in (0.4, 1.0):
        x_s, state = DPMSolverMultistep(2, eta=eta).step(GAUSSIAN.denoiser(schedule), x, t, s, (), lambda purpose: z)
        torch.testing.assert_close(x_s, s.alpha * torch.full_like(x, 0.5) + s.sigma * z, rtol=1e-15, atol=1e-15)
        assert state == ()


def test_the_names_of_the_command_line_mean_what_the_papers_call_so() -> None:
    assert SOLVERS["dpmpp_2m"] == DPMSolverMultistep(2, eta=0.0, slope="bh2")
    assert SOLVERS["dpmpp_3m"] == DPMSolverMultistep(3, eta=0.0)
    assert SOLVERS["dpmpp_2m_sde"] == DPMSolverMultistep(2, eta=1.0, slope="bh2")
    assert SOLVERS["dpmpp_2s"] == DPMSolverSinglestep(2, slope="exact")
    assert SOLVERS["dpmpp_3s"] == DPMSolverSinglestep(3, slope="exact")
    assert SOLVERS["unipc"] == UniPC(2, slope="bh2")
    assert SOLVERS["unipc_3"] == UniPC(3, slope="bh2")

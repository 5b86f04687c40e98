"""Solvers of the probability-flow ODE on targets whose flow is known: orders, ends, counts, and tolerances."""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import log, sqrt
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.integrate import RK45
from torch import Tensor

from sumi.denoising.denoiser import Denoised, FunctionDenoiser
from sumi.errors import SumiError
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.continuous import VP, Cosine, Flow, SubVP
from sumi.process.exploding import EDM, VE
from sumi.process.gaussian import expand
from sumi.process.schedule import DATA, NoiseLevel, noise_level, noise_levels
from sumi.randomness import Purpose
from sumi.sampling.dormand_prince import ERROR, STAGES, Tolerance, Walk, _size, integrate
from sumi.sampling.sample import sample
from sumi.sampling.solvers.adaptive import Adaptive
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.heun import Churn, Heun
from sumi.sampling.solvers.runge_kutta import RungeKutta
from sumi.sampling.time_grid import karras, uniform
from tests.convergence import grids, orders
from tests.oracles import MIXTURE, GaussianTarget, MixtureTarget

CONTINUOUS = {config.name: config.build() for config in (VP(), SubVP(), Cosine(), Flow(), VE(), EDM())}
ALL = {**CONTINUOUS, "linear": LinearBeta().build(), "cosine": CosineBeta().build()}
GAUSSIAN = GaussianTarget(mean=0.5, std=0.3)
NORMAL = torch.from_numpy(np.random.default_rng(5).standard_normal((6, 2)))
SOLVERS = {
    "ddim": (1, DDIM()),
    "heun": (2, Heun()),
    "midpoint": (2, RungeKutta(2)),
    "third": (3, RungeKutta(3)),
    "fourth": (4, RungeKutta(4)),
}


class RowByRow:
    """The exact denoiser of a target, for levels of floats and of tensors (N,); keeps the levels it was asked for."""

    def __init__(self, target, schedule) -> None:
        self.target, self.schedule = target, schedule
        self.requested: list[NoiseLevel] = []

    def __call__(self, x_t: Tensor, t) -> Denoised:
        now = noise_level(self.schedule, t)
        self.requested.append(now)
        if isinstance(now.alpha, float):
            return Denoised(self.target.clean(x_t, now), x_t, now.alpha, now.sigma)
        rows = [
            self.target.clean(x, NoiseLevel(*(v[k] for v in (now.t, now.alpha, now.sigma, now.log_snr)), 0.0, 0.0))
            for k, x in enumerate(x_t.split(1))
        ]
        return Denoised(torch.cat(rows), x_t, expand(now.alpha, x_t), expand(now.sigma, x_t))


def no_noise(step: int, purpose: Purpose, draw: int = 0) -> Tensor:
    raise AssertionError("drew noise")


def start(schedule) -> Tensor:
    """Draws of the noise at t = 1, scaled as the schedule ends."""
    return NORMAL * float(schedule.sigma(torch.ones(()).double()))


def at(schedule, ratio: float) -> float:
    """The time at which σ̂ is this."""
    return float(schedule.time(torch.tensor(-2 * log(ratio), dtype=torch.float64)))


@pytest.mark.parametrize("name", ALL)
def test_eulers_step_in_the_noise_ratio_is_ddim(name: str) -> None:
    """d(x/alpha)/dσ̂ = ε̂ on every schedule; Heun begins with that step and ends with it."""
    schedule = ALL[name]
    denoiser = MIXTURE.denoiser(schedule)
    t, s = noise_level(schedule, 0.7), noise_level(schedule, 0.4)
    x = MIXTURE.means[:1] * t.alpha + NORMAL * t.sigma
    ddim, _ = DDIM().step(denoiser, x, t, s, None, no_noise)
    euler = s.alpha * (x / t.alpha + (s.sigma / s.alpha - t.sigma / t.alpha) * denoiser(x, t).noise)
    torch.testing.assert_close(ddim, euler, rtol=1e-13, atol=1e-13 * t.sigma / t.alpha)
    average = (denoiser(x, t).noise + denoiser(ddim, s).noise) / 2
    heun = s.alpha * (x / t.alpha + (s.sigma / s.alpha - t.sigma / t.alpha) * average)
    got, _ = Heun().step(denoiser, x, t, s, None, no_noise)
    torch.testing.assert_close(got, heun, rtol=1e-13, atol=1e-13 * t.sigma / t.alpha)
    last, _ = Heun().step(denoiser, x, t, DATA, None, no_noise)
    torch.testing.assert_close(last, denoiser(x, t).clean, rtol=0, atol=0)
    end = noise_level(schedule, 1.0)
    if end.alpha < end.sigma / 1000:  # nothing left of the data: Euler's, and finite
        x = NORMAL * end.sigma
        first = [solver.step(denoiser, x, end, s, None, no_noise)[0] for solver in (Heun(), DDIM())]
        torch.testing.assert_close(*first, rtol=1e-13, atol=1e-13)


def edm_algorithm_2(x, noise_levels, denoise, churn, low, high, scale, draws) -> np.ndarray:
    """Karras et al. 2022, algorithm 2 with σ(t) = t, s(t) = 1, as printed; ``churn`` is S_churn."""
    count = len(noise_levels) - 1
    for i, (t, after) in enumerate(pairwise(noise_levels)):
        gamma = min(churn / count, sqrt(2) - 1) if low <= t <= high else 0.0
        hat = t + gamma * t
        x_hat = x + sqrt(hat**2 - t**2) * scale * draws[i]
        d = (x_hat - denoise(x_hat, hat)) / hat
        x = x_hat + (after - hat) * d
        if after != 0:
            x = x_hat + (after - hat) * (d / 2 + (x - denoise(x, after)) / after / 2)
    return x


@pytest.mark.parametrize("name", ["edm", "vp"])
@pytest.mark.parametrize("churn", [0.0, 3.0, 40.0])
def test_heun_with_churn_is_edms_sampler(name: str, churn: float) -> None:
    """To rounding, in x/alpha; S_churn is γ times the number of steps."""
    schedule, steps = CONTINUOUS[name], 10
    times = torch.tensor([at(schedule, v) for v in np.geomspace(20, 0.05, steps)] + [0.0])
    walk = list(noise_levels(schedule, times[:-1]))
    ratios = [v.sigma / v.alpha for v in walk] + [0.0]
    draws = np.random.default_rng(1).standard_normal((steps, 6, 2))

    def denoise(x: np.ndarray, sigma: float) -> np.ndarray:
        return MIXTURE.clean(torch.from_numpy(x), NoiseLevel(0.0, 1.0, sigma, 0.0, 0.0, 0.0)).numpy()

    def noise(step: int, purpose: Purpose, draw: int = 0) -> Tensor:
        assert (purpose, draw) == (Purpose.CHURN, 0)
        return torch.from_numpy(draws[step])

    x = 20 * NORMAL
    expected = edm_algorithm_2(x.numpy(), ratios, denoise, churn, 0.1, 10.0, 1.007, draws)
    solver = Churn(Heun(), min(churn / steps, sqrt(2) - 1), 0.1, 10.0, 1.007)
    got = sample(MIXTURE.denoiser(schedule), solver, times, x * walk[0].alpha, noise)
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-11)


@dataclass(frozen=True)
class Stay:
    """A solver that does not move, and keeps the level it was started at."""

    off_grid: ClassVar[bool] = False

    def init(self) -> None:
        return None

    def step(self, denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state, noise) -> tuple[Tensor, NoiseLevel]:
        return x, t


@pytest.mark.parametrize("name", ALL)
def test_churn_goes_to_the_marginal_of_a_raised_level(name: str) -> None:
    """σ̂ times 1 + γ, or the schedule's end; there the variance is that of the marginal, also with much data left."""
    schedule = ALL[name]
    x = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)
    noise = torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64)
    for time in (0.1, 0.6, 1.0):
        t = noise_level(schedule, time)
        if t.alpha == 0:
            continue
        solver = Churn(Stay(), 0.3, 0.0, 1e9)
        end, raised = solver.step(GAUSSIAN.denoiser(schedule), x, t, DATA, None, lambda purpose: noise)
        ratio = raised.sigma / raised.alpha / (t.sigma / t.alpha)
        assert ratio == pytest.approx(1.3 if time < 1 else 1.0, rel=1e-9)
        mean, variance = GAUSSIAN.marginal(t)
        zero, scale, fresh = end[:, 0].tolist()
        assert zero == 0
        assert (scale * mean, scale**2 * variance + fresh**2) == pytest.approx(GAUSSIAN.marginal(raised), rel=1e-12)
    t = noise_level(schedule, 0.6)
    for low, high in ((0.0, 0.9), (1.1, 2.0)):  # outside its range nothing is raised and nothing drawn
        solver = Churn(Stay(), 0.3, low * t.sigma / t.alpha, high * t.sigma / t.alpha)
        got, kept = solver.step(GAUSSIAN.denoiser(schedule), x, t, DATA, None, no_noise)
        assert (got is x, kept is t) == (True, True)
    edges = [Churn(Stay(), 0.3, low * t.sigma / t.alpha, 1.01 * t.sigma / t.alpha) for low in (0.0, 0.99)]
    for solver in edges:
        assert solver.step(GAUSSIAN.denoiser(schedule), x, t, DATA, None, lambda purpose: noise)[1].sigma > t.sigma


def test_the_last_stage_of_rk4_is_at_the_grids_own_time() -> None:
    """As the first of the next step."""
    schedule, denoiser = ALL["linear"], RowByRow(GAUSSIAN, ALL["linear"])
    sample(denoiser, RungeKutta(4), uniform(7), start(schedule))
    walk = list(noise_levels(schedule, uniform(7)))
    assert denoiser.requested[:24:4] == walk[:-2]
    assert denoiser.requested[3:24:4] == walk[1:-1]


def test_the_last_step_keeps_the_order() -> None:
    """Down to σ = 0 on rectified flow, even in t: Heun ends with one step of first order and loses nothing, RK4 with
    one of third order; with Euler's at the end it would be of order 2."""
    schedule = Flow().build()
    x = torch.tensor([[1.0]], dtype=torch.float64)
    first = noise_level(schedule, 0.75)
    for name, steps in (("ddim", 100), ("heun", 100), ("midpoint", 100), ("third", 400), ("fourth", 50)):
        order, solver = SOLVERS[name]
        found = []
        for count in (steps, 2 * steps):
            end = sample(GAUSSIAN.denoiser(schedule), solver, 0.75 * uniform(count), x)
            found.append(float((end - GAUSSIAN.flow(x, first, DATA)).abs()))
        assert orders((steps, 2 * steps), found) == [pytest.approx(order, abs=0.05)], name


@pytest.mark.parametrize("name", ["linear", "cosine", "flow"])
def test_few_steps_come_near_the_data(name: str) -> None:
    """10 steps, also from the cosine chain's σ̂ = 2·10⁴: mean distances from the truth are a little below the bounds."""
    schedule = ALL[name]
    denoiser, end = MIXTURE.denoiser(schedule), noise_level(schedule, 1.0)
    truth = MIXTURE.flow(start(schedule), end if end.alpha else noise_level(schedule, 1 - 1e-7), DATA)
    for solver, times, bound in (
        (DDIM(), karras(schedule, 10), 0.2),
        (Heun(), karras(schedule, 10), 0.1),
        (Heun(), uniform(10), 0.1),
        (RungeKutta(4), karras(schedule, 10), 0.005),
        (RungeKutta(4), uniform(10), 0.01),
    ):
        got = sample(denoiser, solver, times, start(schedule))
        assert (got - truth).abs().mean() < bound


def test_float32_loses_nothing_at_the_noisy_end() -> None:
    """From σ̂ = 2·10⁴ of the cosine chain: ten steps in float32 end 1e-6 from those in float64, ten roundings."""
    schedule = ALL["cosine"]
    target = MixtureTarget(*(v.float() for v in (MIXTURE.means, MIXTURE.stds, MIXTURE.weights)))
    for solver in (*(solver for _, solver in SOLVERS.values()), Adaptive()):
        wide = sample(RowByRow(MIXTURE, schedule), solver, karras(schedule, 10), start(schedule))
        narrow = sample(RowByRow(target, schedule), solver, karras(schedule, 10), start(schedule).float())
        assert narrow.dtype == torch.float32
        torch.testing.assert_close(narrow.double(), wide, rtol=0, atol=1e-6)


@pytest.mark.parametrize("tolerance", [1e-6, 32e-6])
def test_the_next_step_is_that_whose_error_would_be_allowed(tolerance: float) -> None:
    """For y' = φ⁴ the estimate is K h⁵, whatever the place: after a step of any length the next one is
    0.9 (tolerance/K)^(1/5), K = Σ ERROR_j c_j⁴."""
    nodes = np.array([0.0, *(sum(row) for row in STAGES)])
    exact = 0.9 * (tolerance / abs(float(np.array(ERROR) @ nodes**4))) ** 0.2
    for length in (0.4, 0.7, 1.0):
        first = torch.tensor([length * exact], dtype=torch.float64)
        none, zero = torch.zeros(1, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.float64)
        walk = Walk((zero,), (zero,), first, none)
        quartic = partial(integrate, lambda phi, _: ((phi**4)[:, None],))
        done = quartic(walk, 0.0, float(first), [Tolerance(0.0, tolerance)], 1)
        assert float(done.step_size) == pytest.approx(exact, rel=1e-9)
        assert float(done.y[0]) == pytest.approx(float(first) ** 5 / 5, rel=1e-12)


def test_the_embedded_pair_is_dormand_and_princes() -> None:
    """Against SciPy's RK45, whose error coefficients have the other sign."""
    for k, row in enumerate(STAGES[:-1], start=1):
        np.testing.assert_allclose(row, RK45.A[k, :k], rtol=1e-14)
        assert sum(row) == pytest.approx(RK45.C[k] if k < 6 else 1, rel=1e-14)
    np.testing.assert_allclose(STAGES[-1], RK45.B, rtol=1e-14)
    np.testing.assert_allclose(np.abs(ERROR), np.abs(RK45.E), rtol=1e-14)
    assert sum(ERROR) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("name", ["vp", "ve", "flow"])
def test_the_error_follows_the_tolerance(name: str) -> None:
    """On a mixture, against DOP853: within 30 tolerances (some steps' errors add), and each 100 times smaller one
    makes it 30 to 300 times smaller."""
    schedule = CONTINUOUS[name]
    times = torch.tensor([at(schedule, 20.0), at(schedule, 0.02)], dtype=torch.float64)
    first, last = noise_levels(schedule, times)
    x = NORMAL[:3] * float(first.sigma)
    truth = MIXTURE.flow(x, first, last)
    found = []
    for tolerance in (1e-4, 1e-6, 1e-8):
        got = sample(RowByRow(MIXTURE, schedule), Adaptive(rtol=tolerance, atol=tolerance), times, x)
        found.append(float((got - truth).abs().max()))
        assert found[-1] < 30 * tolerance
    assert all(30 < a / b < 300 for a, b in pairwise(found))


@pytest.mark.parametrize("name", ["flow", "cosine", "edm", "linear"])
def test_adaptive_goes_from_pure_noise_to_the_data(name: str) -> None:
    """One step of the grid is enough. The last stretch, from σ̂ = 0.002 by x̂_0, leaves 0.002²/2·0.1² = 2e-4 of a width
    of 0.1; a noise level of alpha = 0 is no obstacle, and a truth that starts just below it differs by less."""
    schedule = ALL[name]
    end = noise_level(schedule, 1.0)
    near = end if end.alpha else noise_level(schedule, 1 - 1e-7)
    truth = MIXTURE.flow(start(schedule), near, DATA)
    got = sample(RowByRow(MIXTURE, schedule), Adaptive(rtol=1e-6, atol=1e-6), uniform(1), start(schedule))
    torch.testing.assert_close(got, truth, rtol=0, atol=1e-4)


def test_adaptive_takes_any_function_of_a_level() -> None:
    """Each row has a level of its own, whose numbers broadcast against x_t of any axes."""
    schedule = CONTINUOUS["vp"]
    x = torch.randn(5, 2, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    got = sample(GAUSSIAN.denoiser(schedule), Adaptive(rtol=1e-6, atol=1e-6), uniform(1), x)
    truth = GAUSSIAN.flow(x, noise_level(schedule, 1.0), DATA)
    torch.testing.assert_close(got, truth, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["vp", "flow", "edm"])
def test_adaptive_ends_with_the_denoised_image(name: str) -> None:
    """Data at one point are reached exactly, though noise of σ̂ = 0.1 (or all that EDM's 0.002 is) is left before; and
    nothing is asked of levels that the schedule does not have."""
    point, schedule = GaussianTarget(0.5, 0.0), CONTINUOUS[name]
    for smallest in (0.1, 1e-5):
        denoiser = RowByRow(point, schedule)
        got = sample(denoiser, Adaptive(smallest=smallest), uniform(1), start(schedule))
        torch.testing.assert_close(got, torch.full_like(got, 0.5), rtol=0, atol=1e-10)
        least = min(float((now.sigma / torch.as_tensor(now.alpha)).min()) for now in denoiser.requested)
        assert least == pytest.approx(max(smallest, 0.002 if name == "edm" else 0.0), rel=1e-6)


def drive(x: Tensor, schedule, solver: Adaptive):
    """The result, the state, and the number of times the denoiser was asked, from σ̂ = 20 to 0.02."""
    denoiser = RowByRow(MIXTURE, schedule)
    first, last = (noise_level(schedule, at(schedule, v)) for v in (20.0, 0.02))
    got, state = solver.step(denoiser, x * float(first.sigma), first, last, solver.init(), no_noise)
    return got, state, len(denoiser.requested)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    """Bit for bit, with its own number of evaluations; the batch is asked as often as its hardest row."""
    schedule, solver = CONTINUOUS["vp"], Adaptive(rtol=1e-5, atol=1e-5)
    together, state, requested = drive(NORMAL, schedule, solver)
    for k in range(len(NORMAL)):
        alone, own, own_asked = drive(NORMAL[k : k + 1], schedule, solver)
        assert torch.equal(alone[0], together[k])
        assert own.evaluations.item() == own_asked == state.evaluations[k]
        assert own.step_size.item() == state.step_size[k]
    assert requested == state.evaluations.max()
    assert len(set(state.evaluations.tolist())) > 1
    assert 60 < requested < 120  # 85 was measured: one and 14 steps over three decades of noise


def test_looser_tolerances_cost_less_and_step_sizes_are_kept_between_times() -> None:
    schedule = CONTINUOUS["vp"]
    loose, tight = (drive(NORMAL, schedule, Adaptive(rtol=v, atol=v))[2] for v in (1e-3, 1e-6))
    assert 1.5 * loose < tight
    denoiser = RowByRow(MIXTURE, schedule)
    times = grids(schedule, 20.0, 0.02)["log_snr"](200)
    sample(denoiser, Adaptive(), times, NORMAL * float(schedule.sigma(times[:1])))
    assert len(denoiser.requested) == 200 * 7  # a step a time: each first guess is good


def test_an_error_is_measured_by_the_larger_end_of_its_step() -> None:
    """As by Hairer, Nørsett & Wanner: of a step from 0 as of one to 0."""
    error, small, large = ((torch.full((1, 4), value),) for value in (1.0, 0.0, -8.0))
    for before, after in ((small, large), (large, small)):
        assert _size(error, before, after, [Tolerance(0.25, 2.0)]).tolist() == [0.25]


def test_evaluations_and_step_sizes_go_on_from_time_to_time() -> None:
    """A time that is near leaves the step size that was found before it."""
    schedule, solver = CONTINUOUS["vp"], Adaptive(rtol=1e-8, atol=1e-8)
    denoiser = RowByRow(MIXTURE, schedule)
    first, middle, last = (noise_level(schedule, at(schedule, v)) for v in (20.0, 0.5, 0.499))
    x, before = solver.step(denoiser, NORMAL[:1] * float(first.sigma), first, middle, solver.init(), no_noise)
    _, after = solver.step(denoiser, x, middle, last, before, no_noise)
    assert after.evaluations.tolist() == [len(denoiser.requested)]
    assert after.step_size.tolist() == before.step_size.tolist()


def test_adaptive_says_which_sample_and_what_to_do() -> None:
    schedule = CONTINUOUS["vp"]

    _, state, _ = drive(NORMAL, schedule, Adaptive())
    tried = (int(state.evaluations.max()) - 1) // 6
    drive(NORMAL, schedule, Adaptive(max_steps=tried))
    with pytest.raises(SumiError, match=f"after {tried - 1} steps"):
        drive(NORMAL, schedule, Adaptive(max_steps=tried - 1))

    def jump(x_t: Tensor, t: NoiseLevel) -> Tensor:
        """Row 1 has an x̂_0 that no step size can follow."""
        rough = torch.sin(1e6 * torch.as_tensor(t.log_snr)).reshape(-1, 1)
        return torch.tensor([[0.0], [1.0], [0.0]]) * rough + 0 * x_t

    x = NORMAL[:3]
    with pytest.raises(SumiError, match=r"^solver: row 1 of the batch is still at σ̂ = .* after 20 steps; raise rtol"):
        sample(FunctionDenoiser(jump, schedule), Adaptive(max_steps=20), uniform(1), x)

    def broken(x_t: Tensor, t: NoiseLevel) -> Tensor:
        row = torch.tensor([[0.0], [0.0], [1.0]])
        return torch.where((row > 0) & (torch.as_tensor(t.t).reshape(-1, 1) < 0.5), torch.nan, 0 * x_t)

    with pytest.raises(SumiError, match=r"^solver: row 2 of the batch is no longer finite at σ̂ = .*; check the model"):
        sample(FunctionDenoiser(broken, schedule), Adaptive(), uniform(1), x)

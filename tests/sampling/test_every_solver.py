"""Every solver by its name and in its variants: what all of them promise, on every kind of schedule.

What is particular to a solver's maths stands in the file of its own name.
"""

from collections.abc import Callable
from inspect import isclass
from itertools import chain, pairwise
from math import inf
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from sumi.denoising.denoiser import Denoised, FunctionDenoiser, NetworkDenoiser
from sumi.denoising.exact import gaussian_denoiser
from sumi.denoising.parameterization import ParameterizationConfig, PredictPreconditioned, PredictSmoothFlow
from sumi.errors import InputError
from sumi.process.gaussian import expand
from sumi.process.schedule import DATA, NoiseLevel, Schedule, noise_level, noise_levels
from sumi.process.schedules import ScheduleConfig
from sumi.randomness import Purpose, SampleNoise
from sumi.sampling import solvers
from sumi.sampling.gaussian import Gaussian
from sumi.sampling.sample import sample
from sumi.sampling.sampler import build_method
from sumi.sampling.solvers import BIT_SOLVERS, SOLVERS
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.adaptive import Adaptive
from sumi.sampling.solvers.binomial import BinomialAncestral
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.dpm_solver import DPMSolverMultistep, DPMSolverSinglestep
from sumi.sampling.solvers.euler_maruyama import EulerMaruyama
from sumi.sampling.solvers.fitted import Fitted
from sumi.sampling.solvers.gaussian_adams import GaussianAdams
from sumi.sampling.solvers.heun import Churn, Heun
from sumi.sampling.solvers.langevin import AnnealedLangevin
from sumi.sampling.solvers.predictor_corrector import PredictorCorrector
from sumi.sampling.solvers.restart import Restarted
from sumi.sampling.solvers.runge_kutta import RungeKutta
from sumi.sampling.solvers.solver import AroundSolver, Solver, StepNoise
from sumi.sampling.solvers.tuned import Tuned
from sumi.sampling.solvers.unipc import UniPC
from sumi.sampling.time_grid import snap, uniform
from tests.bits import Exact, law_of, random_distribution, states
from tests.convergence import errors, grids, limit
from tests.oracles import MIXTURE, GaussianTarget

ALL = {cls.name: cls().build() for cls in get_args(ScheduleConfig)}
CONTINUOUS = {cls.name: ALL[cls.name] for cls in get_args(ScheduleConfig) if cls().steps is None}
SCHEDULES = ("linear", "cosine", "vp", "sub_vp", "continuous_cosine", "flow", "ve", "edm", "ladder")
ALIKE = {"cosine", "sub_vp", "continuous_cosine", "ve", "learned"}
"""To a solver each is one of "vp", "flow", "edm" and "linear" at other times: they are `slow`."""
EACH = [pytest.param(s, id=name, marks=[pytest.mark.slow] * (name in ALIKE)) for name, s in CONTINUOUS.items()]
NORMAL = torch.from_numpy(np.random.default_rng(5).standard_normal((8, 2)))
ROUND = Gaussian(torch.zeros(4).double(), torch.eye(4).double(), torch.full((4,), 0.01).double(), 0.0)

PLAIN: dict[str, Solver[Any]] = {
    **{f"adams, order {k}": Adams(k, 0.3) for k in (1, 2, 3)},
    "gaussian_adams": GaussianAdams(ROUND, Adams(3, 0.3)),
    "euler_maruyama, λ = 0": EulerMaruyama(0.0),
    "midpoint": RungeKutta(2),
    "rk3": RungeKutta(3),
    "dpmpp_1m": DPMSolverMultistep(1),
    **{f"dpmpp_2m, {slope}": DPMSolverMultistep(2, slope=slope) for slope in ("exact", "bh1")},
    **{f"dpmpp_{k}s, bh2": DPMSolverSinglestep(k, slope="bh2") for k in (2, 3)},
    **{f"unipc_{k}, {slope}": UniPC(k, slope) for k in (1, 2) for slope in ("exact", "bh1")},
    "unipc_1": UniPC(1),
    **{name: solver for name, solver in SOLVERS.items() if not solver.draws_noise},
}
NOISY: dict[str, Solver[Any]] = {
    "ddim, η = 0.4": DDIM(0.4),
    "euler_maruyama, λ = 0.7": EulerMaruyama(0.7),
    **{
        f"dpmpp_{k}m, η = {eta}, {slope}": DPMSolverMultistep(k, eta, slope)
        for k, eta, slope in ((1, 0.5, "bh2"), (2, 0.5, "bh2"), (2, 1.0, "exact"), (3, 1.0, "bh2"), (3, 0.5, "bh2"))
    },
    **{name: solver for name, solver in SOLVERS.items() if solver.draws_noise},
}
EVERY = PLAIN | NOISY


def test_every_solver_is_here() -> None:
    """But one that is fitted to a model, and what wraps other solvers."""
    modules = [module for name, module in vars(solvers).items() if hasattr(module, "__file__")]
    found = {
        c for m in modules for c in vars(m).values() if isclass(c) and hasattr(c, "step") and c.__module__ == m.__name__
    }
    assert found - {Solver, AroundSolver, StepNoise, Tuned, Restarted} == {
        type(s) for s in chain(EVERY.values(), BIT_SOLVERS.values())
    }


def own_start(solver: Solver[Any]) -> int:
    """How many exact steps start a multistep method at its own order."""
    if isinstance(solver, UniPC):
        return solver.predictor_order - 1
    multistep = isinstance(solver, (Adams, Fitted, GaussianAdams, DPMSolverMultistep))
    return solver.order - 1 if multistep else 0


# Enough that the extrapolated order is within 0.04, and the smallest errors, 1e-10, are far above rounding.
STEPS = {0: 128, 1: 60, 2: 30, 3: 48, 4: 48}


# --- the order


@pytest.mark.parametrize("schedule", EACH)
@pytest.mark.parametrize("name", [n for n in PLAIN if n not in {"adaptive"}])
def test_x_converges_at_the_solvers_order(name: str, schedule: Schedule) -> None:
    """Four deviations of the data at once: for each alone the first term of the error vanishes on some grid."""
    solver, stds = PLAIN[name], torch.tensor([[0.05, 0.1, 0.3, 1.0]], dtype=torch.float64)
    target, x = GaussianTarget(0.5, stds), torch.full_like(stds, 1.3)
    few = STEPS[solver.order] // (4 if isinstance(solver, RungeKutta) and solver.order > 2 else 1)
    steps = (few, 2 * few, 4 * few)
    for kind, times in grids(schedule).items():
        found = errors(target.denoiser(schedule), solver, times, steps, x, target.flow, own_start(solver))
        assert limit(steps, found) == pytest.approx(solver.order, abs=0.05), kind


@pytest.mark.parametrize("name", ["vp", "ve", "flow"])
def test_adaptive_steps_have_the_order_of_their_pair(name: str) -> None:
    """Where the tolerances forbid nothing and every interval of the grid is one step."""
    solver, target = Adaptive(rtol=1.0, atol=1.0), GaussianTarget(0.5, 0.3)
    times, x = grids(CONTINUOUS[name], 2.0)["log_snr"], torch.tensor([[1.3]], dtype=torch.float64)
    found = errors(target.denoiser(CONTINUOUS[name]), solver, times, (16, 32, 64), x, target.flow)
    assert limit((16, 32, 64), found) == pytest.approx(solver.order, abs=0.05)


@pytest.mark.parametrize("schedule", [CONTINUOUS[name] for name in ("vp", "ve", "flow")], ids=["vp", "ve", "flow"])
@pytest.mark.parametrize("name", [n for n in PLAIN if n not in {"adaptive", "gaussian_adams"}])
def test_x_converges_at_the_solvers_order_on_a_mixture(name: str, schedule: Schedule) -> None:
    solver = PLAIN[name]
    times = grids(schedule, 0.6, 0.15)["log_snr"]
    x = NORMAL * 0.6 * noise_level(schedule, float(times(1)[0])).alpha
    few = 2 * STEPS[solver.order] // (4 if isinstance(solver, RungeKutta) and solver.order > 2 else 1)
    steps = (few, 2 * few, 4 * few)
    found = errors(MIXTURE.denoiser(schedule), solver, times, steps, x, MIXTURE.flow, own_start(solver))
    assert limit(steps, found) == pytest.approx(solver.order, abs=0.05)


LENGTH = 1600  # more than draws
DRAWS = torch.eye(LENGTH, dtype=torch.float64) * LENGTH**0.5


def moments(solver: Solver[Any], schedule: Schedule, times: Tensor, stds: Tensor) -> tuple[Tensor, Tensor]:
    """The variances (K,) that N(0, stds²) ends with, started from the marginal at times[0], and what is kept of x.

    Draws are orthogonal vectors of the length √D that noise has in many dimensions D, so ‖x‖²/D is the variance.
    """
    first = noise_level(schedule, float(times[0]))
    target, draws = GaussianTarget(0.0, stds[:, None]), iter(DRAWS)
    start = target.marginal(first)[1] ** 0.5 * next(draws)
    denoiser = FunctionDenoiser(target.clean, schedule)
    end = sample(denoiser, solver, times, start, lambda *_: next(draws).expand_as(start))
    return end.square().mean(1), end[:, 0] / start[:, 0]


@pytest.mark.parametrize("schedule", EACH)
@pytest.mark.parametrize("name", [n for n in NOISY if n not in {"ddpm_learned"}])
def test_moments_converge_at_the_solvers_order(name: str, schedule: Schedule) -> None:
    """The variance, and what is left of an error: for a share η or λ of the reverse SDE's noise that error follows
    d log d = (1 + λ²)/2 d log V - λ² d log alpha, and is without error for ancestral sampling."""
    solver = NOISY[name]
    share = getattr(solver, "stochasticity", getattr(solver, "eta", None))
    stds = torch.tensor([0.1, 0.3, 1.0] if solver.order else [0.1], dtype=torch.float64)
    steps = tuple(k * STEPS[solver.order] for k in (1, 2, 4))
    if solver.order == 0:  # so that it comes to rest, well away from the truth, in a few hundred levels
        solver = AnnealedLangevin(3, 1.5) if name == "langevin" else PredictorCorrector(Heun(), snr=0.3)
    for kind, times in grids(schedule).items():
        wrong: list[list[float]] = [[], []]
        for n in steps:
            first, *_, last = noise_levels(schedule, times(n))
            churned = Churn(solver.solver, 4 / n) if isinstance(solver, Churn) else solver
            variance, kept = moments(churned, schedule, times(n), stds)
            before, after = ((v.alpha * stds) ** 2 + v.sigma**2 for v in (first, last))
            wrong[0].append(float((variance - after).norm()))
            if share is not None:
                exact = (after / before) ** ((1 + share**2) / 2) * (first.alpha / last.alpha) ** share**2
                wrong[1].append(float((kept - exact).norm()))
        for found in wrong:
            if found and max(found) > 1e-12:
                assert limit(steps, found) == pytest.approx(solver.order, abs=0.05), kind
        assert max(wrong[0]) > 1e-12


@pytest.mark.parametrize("solver", [DDIM(1.0, v) for v in ("small", "large", "learned")], ids=lambda s: s.variance)
def test_the_density_of_ancestral_samples_converges_at_the_order_on_a_mixture(solver: DDIM) -> None:
    """On a grid of 500 places, with no Monte Carlo. Learned variances are exact on Gaussians and show theirs here."""
    schedule, place = CONTINUOUS["vp"], torch.linspace(-4, 4, 500, dtype=torch.float64)[:, None]
    means, stds, shares = (
        torch.tensor([-0.6, 0.7]).double(),
        torch.tensor([0.3, 0.4]).double(),
        torch.tensor([0.3, 0.7]),
    )

    def density(t: NoiseLevel) -> np.ndarray:
        spread = ((t.alpha * stds) ** 2 + t.sigma**2) ** 0.5
        return (shares * torch.from_numpy(stats.norm.pdf(place, t.alpha * means, spread))).sum(1).numpy()

    def exact(x: Tensor, t: NoiseLevel) -> Denoised:
        variance = (t.alpha * stds) ** 2 + t.sigma**2
        part = (shares.log() - (x - t.alpha * means) ** 2 / (2 * variance) - variance.log() / 2).softmax(1)
        each = means + t.alpha * stds**2 / variance * (x - t.alpha * means)
        clean, second = ((part * v).sum(1, keepdim=True) for v in (each, each**2 + stds**2 * t.sigma**2 / variance))
        return Denoised(clean, x, t.alpha, t.sigma, second - clean**2)

    found = []
    for n in (20, 40, 80):
        walk = list(noise_levels(schedule, grids(schedule)["log_snr"](n)))
        law = density(walk[0])
        for t, s in pairwise(walk):
            zero, one = (solver.step(exact, place, t, s, None, lambda _, z=z: z)[0] for z in (0 * place, 0 * place + 1))
            kernel = stats.norm.pdf(place.T, zero, one - zero)
            law = law @ kernel * float(place[1] - place[0])
        found.append(float(np.abs(law - density(walk[-1])).sum() * (place[1] - place[0])))
    assert limit((20, 40, 80), found) == pytest.approx(solver.order, abs=0.05)


def test_dependent_bits_converge_at_first_order() -> None:
    """Total variation over all 16 states of four bits: 0.0105 with 32 steps."""
    p = random_distribution(4)
    steps = (8, 16, 32)
    found = [np.abs(law_of(Exact(states(4), p), np.full(16, 1 / 16), n, 4) - p).sum() / 2 for n in steps]
    assert limit(steps, found) == pytest.approx(BinomialAncestral().order, abs=0.05)
    assert found[-1] < 0.02


# --- noise, shapes and batches


def times_of(name: str, schedule: Schedule, steps: int) -> tuple[Solver[Any], Tensor]:
    """The solver and the grid that it takes by itself."""
    if name in SOLVERS:
        method = build_method(name, steps, schedule, data_std=0.3)
        return method.solver, method.times
    return EVERY[name], uniform(steps)


def no_noise(step: int, purpose: Purpose, draw: int = 0) -> Tensor:
    raise AssertionError("drew noise")


@pytest.mark.parametrize("name", [*EVERY, *BIT_SOLVERS])
def test_noise_is_needed_exactly_by_what_draws_it(name: str) -> None:
    solver, schedule = (EVERY | BIT_SOLVERS)[name], ALL["linear"]
    denoiser = gaussian_denoiser(0.5, 0.3, schedule) if name in EVERY else Exact(states(2), random_distribution(2))
    x = torch.ones(1, 2, dtype=torch.float64)
    x = torch.ones(1, 4, dtype=torch.float64) if name == "gaussian_adams" else x
    if solver.draws_noise:
        with pytest.raises(InputError, match=r"^noise: this sampler needs noise"):
            sample(denoiser, solver, uniform(4), x)
    else:
        sample(denoiser, solver, uniform(4), x, no_noise)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", EVERY)
def test_x_keeps_its_dtype_and_shape_and_is_as_in_any_batch(name: str, dtype: torch.dtype) -> None:
    """Images 2 … 4 alone are those among eight; and neither x nor what the denoiser gave is written over."""
    schedule = ALL["flow"]
    solver, times = times_of(name, schedule, 5)
    shape = (1, 2, 2) if name == "gaussian_adams" else (3, 5, 4)
    seen: list[tuple[Tensor, Tensor]] = []

    class Exact:
        def __init__(self) -> None:
            self.schedule = schedule

        def __call__(self, x_t: Tensor, t: Any) -> Denoised:
            now = noise_level(schedule, t)
            alpha, sigma = expand(now.alpha, x_t), expand(now.sigma, x_t)
            power = alpha**2 * 0.09 + sigma**2
            clean = (0.5 + 0.09 * alpha / power * (x_t - alpha * 0.5)).to(dtype)
            seen.extend([(x_t, x_t.clone()), (clean, clean.clone())])
            return Denoised(clean, x_t, alpha, sigma, 0.09 * sigma**2 / power)

    def images(indices: range) -> Tensor:
        noise = SampleNoise(0, indices, shape, dtype=dtype)
        return sample(Exact(), solver, times, noise(0, Purpose.START), noise)

    whole, part = images(range(8)), images(range(2, 5))
    assert (whole.shape, whole.dtype, whole.device.type) == ((8, *shape), dtype, "cpu")
    torch.testing.assert_close(part, whole[2:5], rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-13)
    assert all(torch.equal(now, before) for now, before in seen)


# --- the steps of a grid

EVALUATIONS: dict[type, Callable[[Any, int, bool], int | None]] = {
    Heun: lambda solver, n, floor: 2 * n - 1,
    RungeKutta: lambda solver, n, floor: solver.order * n - ((solver.order - 1) * floor or solver.order == 4),
    PredictorCorrector: lambda solver, n, floor: 2 * n - 1,
    AnnealedLangevin: lambda solver, n, floor: 100 * n + 1,
}
"""By a solver, a number of steps and whether the schedule ends above σ = 0; others: one a step, or uncounted."""
UNCOUNTED = (Adaptive, Churn)
ENDS_WITH_CLEAN = (DDIM, DPMSolverMultistep, DPMSolverSinglestep, EulerMaruyama, Heun, UniPC)
"""Their step to the data is the last evaluation's x̂_0, to the bit."""


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("schedule", ["linear", "flow", "edm"])
def test_any_number_of_steps_is_exactly_that_many_and_their_times(name: str, schedule: str) -> None:
    """From 1 to 20: from t = 1 to the data itself, at the grid's own times but for solvers off the grid."""
    solver, process = EVERY[name], ALL[schedule]
    x, exact = torch.full((1, 4), 0.3, dtype=torch.float64), gaussian_denoiser(0.5, 0.3, process)
    for steps in (1, 2, 3, 7) if name == "langevin" else range(1, 21):
        requested: list[float] = []
        seen: list[tuple[int, float]] = []
        answers, draws = list[Tensor](), list[tuple[int, Purpose, int]]()

        class Watched:
            schedule = process

            def __call__(self, x_t: Tensor, t: Any, requested=requested, answers=answers) -> Denoised:
                now = noise_level(process, t)
                assert float(torch.as_tensor(now.sigma).min()) > 0
                requested.append(float(now.t.max() if isinstance(now.t, Tensor) else now.t))
                denoised = exact(x_t, t)
                answers.append(denoised.clean.clone())
                return denoised

        def noise(*draw: Any, draws=draws) -> Tensor:
            draws.append(draw)
            return x

        times = uniform(steps)
        end = sample(Watched(), solver, times, x, noise, lambda k, s, _, seen=seen: seen.append((k, s.t)))
        assert seen == list(enumerate(times[1:].tolist()))
        assert requested[0] == 1
        assert bool(end.isfinite().all())
        if type(solver) in ENDS_WITH_CLEAN:
            assert torch.equal(end, answers[-1])
        if not isinstance(solver, (AnnealedLangevin, Churn)):  # one draw a step but the last
            purposes = (Purpose.STEP, Purpose.CORRECTOR) if isinstance(solver, PredictorCorrector) else (Purpose.STEP,)
            assert draws == [(k, purpose, 0) for k in range((steps - 1) * solver.draws_noise) for purpose in purposes]
        if not solver.off_grid:
            assert list(dict.fromkeys(requested)) == times[:-1].tolist()
        if not isinstance(solver, UNCOUNTED):
            count = EVALUATIONS.get(type(solver), lambda solver, n, floor: n)
            first_is_ddim = schedule == "flow" and isinstance(solver, Heun) and steps > 1
            assert len(requested) == count(solver, steps, schedule == "edm") - first_is_ddim


@pytest.mark.parametrize("name", EVERY)
def test_a_network_of_a_chain_is_evaluated_at_its_own_times_or_the_solver_refused(name: str) -> None:
    schedule, requested = ALL["linear"], list[float]()
    if EVERY[name].off_grid:
        if name in SOLVERS:
            with pytest.raises(InputError, match=rf"^solver: {name} evaluates between the times"):
                build_method(name, 7, schedule, grid=1000)
        return
    solver, times = times_of(name, schedule, 7)
    exact = gaussian_denoiser(0.5, 0.3, schedule)
    listening = FunctionDenoiser(lambda x, t: requested.append(t.t) or exact.f(x, t), schedule, exact.clean_variance)
    x = torch.zeros(1, 4, dtype=torch.float64)
    sample(listening, solver, snap(times, 1000), x, lambda *_: x + 1)
    assert {round(t * 1000, 9) % 1 for t in requested} == {0.0}


# --- where they end


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        pytest.param(n, s, marks=[pytest.mark.slow] * (s in ALIKE))
        for n in SOLVERS
        for s in SCHEDULES
        if n != "consistency" and (n != "langevin" or s == "ladder")
    ],
)
def test_ends_at_the_data(name: str, schedule: str) -> None:
    """40 steps. A solver that draws no noise ends within 0.02 (DDIM, of first order: 0.12) of where the ODE of
    N(0.5, 0.3²) leads from each start; one that does, with mean and deviation of 400 samples within 0.1 (their own
    standard error is 0.015). Annealed Langevin is on its own ladder only: 40 levels from σ̂ = 157 down are too far
    apart for it. mean_flow, of a denoiser that knows one time, is DDIM; consistency needs another function than the
    mean (tests/objectives/test_few_steps.py).
    """
    process, steps = ALL[schedule], 10 if name == "langevin" else 40
    target = GaussianTarget(0.5, 0.3)
    solver, times = times_of(name, process, steps)
    end = noise_level(process, 1.0)
    mean, variance = target.marginal(end)
    noise = SampleNoise(0, range(100 if name == "langevin" else 400), (1,), dtype=torch.float64)
    x = mean + variance**0.5 * noise(0, Purpose.START)
    got = sample(gaussian_denoiser(0.5, 0.3, process), solver, times, x, noise)
    if solver.draws_noise:
        assert float(got.mean()) == pytest.approx(0.5, abs=0.1)
        assert float(got.std()) == pytest.approx(0.3, abs=0.1)
    else:
        assert float((got - target.flow(x, end, DATA)).abs().max()) < (0.12 if name in ("ddim", "mean_flow") else 0.02)


class ExactNetwork(nn.Module):
    """The F(c_in x_t, c_noise) that the mixture's exact denoiser has under a parameterization."""

    def __init__(self, schedule: Schedule, parameterization: Any) -> None:
        super().__init__()
        self.schedule, self.parameterization = schedule, parameterization

    def forward(self, scaled: Tensor, c_noise: Tensor) -> Tensor:
        if isinstance(self.parameterization, PredictPreconditioned):
            t = self.schedule.time(-8 * c_noise[:1])
        elif self.parameterization == PredictSmoothFlow():
            t = (c_noise[:1] + 2) / 4
        else:
            t = (c_noise[:1] + 1) / 1000
        now = noise_level(self.schedule, t.item())
        c = self.parameterization.coefficients(now)
        x_t = scaled / c.c_in
        return (MIXTURE.clean(x_t, now) - c.c_skip * x_t) / c.c_out


@pytest.mark.parametrize("config", get_args(ParameterizationConfig), ids=lambda config: config.name)
@pytest.mark.parametrize("schedule", EACH)
def test_the_parameterization_changes_nothing(schedule: Schedule, config: Any) -> None:
    """Exact networks of every kind end where the exact denoiser does, to the rounding of 1/sigma = 10."""
    parameterization, times = config(), grids(schedule, 5.0)["uniform"](8)
    network = NetworkDenoiser(ExactNetwork(schedule, parameterization), schedule, parameterization)
    for name in [n for n in PLAIN if n not in {"adaptive", "gaussian_adams"}]:
        got, expected = (sample(d, PLAIN[name], times, NORMAL) for d in (network, MIXTURE.denoiser(schedule)))
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-11, msg=name)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        *((lambda k=k: Adams(order=k), "order") for k in (0, 9)),
        *((lambda s=s: Adams(data_std=s), "data_std") for s in (0.0, inf)),
        (lambda: Adams(near=0.0), "near"),
        (lambda: Adams(near=5.0, far=2.0), "near"),
        *((lambda eta=eta: DDIM(eta), "eta") for eta in (1.5, -0.1)),
        (lambda: DDIM(variance="huge"), "variance"),
        *((lambda k=k: DPMSolverMultistep(k), "evaluations") for k in (0, 4)),
        (lambda: DPMSolverMultistep(2, eta=1.1), "eta"),
        (lambda: DPMSolverMultistep(2, slope="bh3"), "slope"),
        (lambda: DPMSolverSinglestep(1), "order"),
        (lambda: DPMSolverSinglestep(3, slope="bh3"), "slope"),
        *((lambda k=k: UniPC(k), "predictor_order") for k in (0, 4)),
        (lambda: UniPC(2, slope="bh3"), "slope"),
        *((lambda v=v: EulerMaruyama(v), "stochasticity") for v in (-0.1, 1.5, float("nan"))),
        (lambda: RungeKutta(5), "order"),
        *((lambda v=v: Churn(Heun(), churn=v), "churn") for v in (0.5, -0.1)),
        (lambda: Churn(Heun(), churn_min=2.0, churn_max=1.0), "churn_min"),
        (lambda: Churn(Heun(), noise_scale=0.0), "noise_scale"),
        (lambda: Adaptive(rtol=0.0), "rtol"),
        (lambda: Adaptive(atol=-1.0), "atol"),
        (lambda: Adaptive(smallest=0.0), "smallest"),
        (lambda: Adaptive(max_steps=0), "max_steps"),
        (lambda: PredictorCorrector(DDIM(), corrections=0), "corrections"),
        *((lambda v=v: PredictorCorrector(DDIM(), snr=v), "snr") for v in (0.0, float("nan"))),
        (lambda: AnnealedLangevin(corrections=0), "corrections"),
        *((lambda v=v: AnnealedLangevin(step_size=v), "step_size") for v in (0.0, 4.0)),
        (lambda: BinomialAncestral("most"), "last"),
    ],
)
def test_impossible_values_are_refused_by_name(make: Callable[[], Any], field: str) -> None:
    with pytest.raises(InputError, match=f"^{field}: "):
        make()

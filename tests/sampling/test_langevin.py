"""Langevin dynamics, annealed and as a corrector: closed forms on Gaussians, statistics where steps depend on norms."""

from dataclasses import dataclass
from itertools import pairwise
from math import log, sqrt
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.continuous import VP, Flow
from sumi.process.exploding import EDM, VE, Ladder
from sumi.process.schedule import DATA, NoiseLevel, noise_level, noise_levels
from sumi.randomness import Purpose, SampleNoise
from sumi.sampling.sample import sample
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.euler_maruyama import EulerMaruyama
from sumi.sampling.solvers.langevin import AnnealedLangevin
from sumi.sampling.solvers.predictor_corrector import PredictorCorrector
from sumi.sampling.solvers.runge_kutta import RungeKutta
from sumi.sampling.solvers.solver import StepNoise
from sumi.sampling.time_grid import uniform
from tests.oracles import GaussianTarget, MixtureTarget, linear_probe

SCHEDULES = {
    "vp": VP().build(),
    "ve": VE().build(),
    "edm": EDM().build(),
    "flow": Flow().build(),
    "linear": LinearBeta().build(),
    "ladder": Ladder().build(),
}
TARGET = GaussianTarget(mean=0.5, std=0.3)


@dataclass(frozen=True)
class Stay:
    """A predictor that does not move."""

    off_grid: ClassVar[bool] = False

    def init(self) -> None:
        return None

    def step(self, denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state, noise) -> tuple[Tensor, None]:
        return x, None


class Counting:
    """A denoiser that keeps the levels it was asked for."""

    def __init__(self, target, schedule) -> None:
        self.denoiser, self.schedule = target.denoiser(schedule), schedule
        self.requested: list[NoiseLevel] = []

    def __call__(self, x: Tensor, t):
        self.requested.append(t)
        return self.denoiser(x, t)


def at(schedule, ratio: float) -> NoiseLevel:
    """The level at which σ̂ is this."""
    return noise_level(schedule, float(schedule.time(torch.tensor(-2 * log(ratio), dtype=torch.float64))))


def gaussian_noise(seed: int, shape: tuple[int, ...]):
    draws = np.random.default_rng(seed)
    return lambda *_: torch.from_numpy(draws.standard_normal(shape))


# Annealed Langevin dynamics


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("name", SCHEDULES)
def test_langevin_comes_to_rest_at_its_closed_form(name: str, ratio: float) -> None:
    """x̂ ← x̂ + δ/2 ŝ + √δ z on N(m, V), V = c² + σ̂²: k iterations leave a^k of the mean's error and a^2k of the
    variance's, a = 1 - δ/2V, around V/(1 - δ/4V)."""
    schedule, t = SCHEDULES[name], at(SCHEDULES[name], ratio)
    power, delta = 0.09 + ratio**2, 0.7 * ratio**2
    rest, a = power / (1 - delta / (4 * power)), 1 - delta / (2 * power)
    for iterations in (1, 3, 40):
        times = torch.tensor([t.t, t.t], dtype=torch.float64)
        mean, variance = linear_probe(TARGET.denoiser(schedule), AnnealedLangevin(iterations, 0.7), times, 0.0, 2.0)
        assert mean / t.alpha == pytest.approx(0.5 - 0.5 * a**iterations, rel=1e-10)
        expected = rest + (2 / t.alpha**2 - rest) * a ** (2 * iterations)
        assert variance / t.alpha**2 == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("denoise", [True, False])
def test_a_whole_run_is_the_papers_algorithm(denoise: bool) -> None:
    """Song & Ermon 2019, algorithm 1, with its ε = 2e-5 and σ_L = 0.01 on ten levels from 1: exactly, in mean and
    variance; then x̂_0, or the last draw as it is."""
    sigmas = np.geomspace(1, 0.01, 10)
    mean, variance = 0.2, 1.5
    for sigma in sigmas:
        step = 2e-5 * (sigma / 0.01) ** 2
        for _ in range(7):
            keep = 1 - step / 2 / (0.09 + sigma**2)
            mean, variance = 0.5 + keep * (mean - 0.5), keep**2 * variance + step
    if denoise:
        gain = 0.09 / (0.09 + 1e-4)
        mean, variance = 0.5 + gain * (mean - 0.5), gain**2 * variance
    solver = AnnealedLangevin(corrections=7, denoise=denoise)
    got = linear_probe(TARGET.denoiser(SCHEDULES["ladder"]), solver, uniform(10), 0.2, 1.5)
    assert got == pytest.approx((mean, variance), abs=1e-12)


def test_annealing_is_the_same_on_every_schedule() -> None:
    """At the same σ̂ and with the same noise x/alpha is the same, and at the data x."""
    ratios = np.geomspace(0.9, 0.05, 6)
    start = torch.linspace(-2, 2, 7, dtype=torch.float64)[:, None]
    found = []
    for schedule in SCHEDULES.values():
        times = torch.tensor([*(at(schedule, ratio).t for ratio in ratios), 0.0], dtype=torch.float64)
        alpha = next(noise_levels(schedule, times)).alpha
        noise = SampleNoise(3, range(7), (1,), dtype=torch.float64)
        found.append(sample(TARGET.denoiser(schedule), AnnealedLangevin(5), times, start * alpha, noise))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=1e-11)


def test_evaluations_are_steps_times_corrections_and_one_to_denoise() -> None:
    """All at the grid's own times but never at the data; from pure noise (alpha = 0), too."""
    for name in ("ladder", "flow", "edm"):
        for steps in range(1, 51, 7):
            for denoise in (True, False):
                denoiser = Counting(TARGET, SCHEDULES[name])
                x = torch.zeros(2, 1, dtype=torch.float64)
                draws: list = []

                def noise(step: int, purpose: Purpose, draw: int, x=x, draws=draws) -> Tensor:
                    draws.append((step, purpose, draw))
                    return x + 1

                sample(denoiser, AnnealedLangevin(3, denoise=denoise), uniform(steps), x, noise)
                walk = list(noise_levels(denoiser.schedule, uniform(steps)))[:-1]
                last = [walk[-1]] if denoise else []
                assert denoiser.requested == [v for v in walk for _ in range(3)] + last
                assert draws == [(k, Purpose.STEP, draw) for k in range(steps) for draw in range(3)]


def test_pure_noise_is_taken_over_as_noise_of_the_next_level() -> None:
    """From alpha = 0, where x/alpha is infinite: variance 1 at t = 1 is sigma_s² at s, up to the iterations' own."""
    schedule = SCHEDULES["flow"]
    times = torch.tensor([1.0, 0.8], dtype=torch.float64)
    mean, variance = linear_probe(TARGET.denoiser(schedule), AnnealedLangevin(4), times, 0.0, 1.0)
    at_rest = 1 / (1 - 0.2 / 4)
    assert mean == 0
    assert variance == pytest.approx(0.64 * (at_rest + (1 - at_rest) * 0.9**8), rel=1e-12)


def test_many_levels_sample_the_data() -> None:
    """200 levels from 10 to 0.01: the more iterations, the later x lags behind; 50 leave a per cent of N(0.5, 0.3²)."""
    schedule = Ladder(sigma_max=10.0, steps=200).build()
    far = []
    for iterations in (2, 10, 50):
        mean, variance = linear_probe(TARGET.denoiser(schedule), AnnealedLangevin(iterations), uniform(200), 0.0, 100.0)
        assert mean == pytest.approx(0.5, abs=1e-2)
        far.append(abs(sqrt(variance) - 0.3))
    assert far[0] > 4 * far[1] > 16 * far[2]
    assert far[2] < 3e-3


# Predictor and corrector


def corrected(x: Tensor, name: str, s: NoiseLevel, noise, target=TARGET, **options) -> Tensor:
    """Corrections alone, at the level s."""
    solver = PredictorCorrector(Stay(), **options)
    return solver.step(target.denoiser(SCHEDULES[name]), x, s, s, solver.init(), noise)[0]


def test_a_correction_is_the_papers() -> None:
    """x + ε g + √(2ε) z, ε = 2 (r √D/‖g‖)² with each sample's own ‖g‖, twice: Song et al. 2021, algorithm 4."""
    s = at(SCHEDULES["ve"], 0.8)
    x = np.random.default_rng(0).standard_normal((5, 3, 4, 4))
    draws = np.random.default_rng(1).standard_normal((2, 5, 3, 4, 4))
    requested: list = []

    def noise(purpose: Purpose, draw: int = 0) -> Tensor:
        requested.append((purpose, draw))
        return torch.from_numpy(draws[draw])

    got = corrected(torch.from_numpy(x), "ve", s, noise, corrections=2, snr=0.1)
    for z in draws:
        for k in range(5):
            g = -(x[k] - 0.5) / (0.09 + 0.64)
            step = 2 * (0.1 * sqrt(48) / sqrt((g**2).sum())) ** 2
            x[k] += step * g + sqrt(2 * step) * z[k]
    np.testing.assert_allclose(got.numpy(), x, rtol=1e-12)
    assert requested == [(Purpose.CORRECTOR, 0), (Purpose.CORRECTOR, 1)]


def test_the_corrector_comes_to_rest_at_one_plus_r_squared() -> None:
    """In many dimensions norms do not vary: from v the next variance is (1 - ε/V)² v + 2ε with ε = 2 r² V²/v, at rest
    at (1 + r²) V. 16 samples of 20,000 dimensions know a variance to 0.25 %; 1 % is four standard errors."""
    s = at(SCHEDULES["vp"], 0.8)
    mean, power = TARGET.marginal(s)
    for r in (0.16, 0.3):
        variance, x = 2 * power, mean + sqrt(2 * power) * gaussian_noise(0, (16, 20_000))()
        noise = gaussian_noise(1, (16, 20_000))
        for corrections in (1, 2, 120):
            x = corrected(x, "vp", s, noise, corrections=corrections, snr=r)
            for _ in range(corrections):
                step = 2 * r**2 * power**2 / variance
                variance = (1 - step / power) ** 2 * variance + 2 * step
            assert float((x - mean).square().mean()) == pytest.approx(variance, rel=1e-2)
        assert variance == pytest.approx((1 + r**2) * power, rel=1e-4)


def test_a_correction_is_the_same_on_every_schedule() -> None:
    """In x/alpha: ‖g‖ carries the unit."""
    start, z = (gaussian_noise(seed, (3, 64))() for seed in (2, 3))
    found = []
    for name, schedule in SCHEDULES.items():
        s = at(schedule, 0.7)
        found.append(corrected(start * s.alpha, name, s, lambda *_: z) / s.alpha)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=1e-11)


def test_a_step_is_at_most_the_noises_variance() -> None:
    """Where the score vanishes, or nearly: ε = sigma², so x moves by √2 sigma z and what the score takes back."""
    s = at(SCHEDULES["vp"], 0.5)
    mean, power = TARGET.marginal(s)
    x = torch.tensor([[mean, mean], [mean + 1e-3, mean]], dtype=torch.float64)
    z = torch.tensor([[1.0, -0.5], [0.3, 0.2]], dtype=torch.float64)
    got = corrected(x, "vp", s, lambda *_: z)
    expected = x - s.sigma**2 * (x - mean) / power + sqrt(2) * s.sigma * z
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["vp", "flow", "edm"])
def test_corrections_are_evaluations_at_the_grids_times_but_never_at_the_data(name: str) -> None:
    """K predictions and two corrections at each time between: 3 K - 2, for every K; the predictor's state passes."""
    for steps in range(1, 51):
        denoiser = Counting(TARGET, SCHEDULES[name])
        x = torch.full((1, 4), 0.1, dtype=torch.float64)
        sample(denoiser, PredictorCorrector(DDIM(), 2), uniform(steps), x, lambda *_, x=x: x)
        walk = list(noise_levels(denoiser.schedule, uniform(steps)))[:-1]
        expected = [walk[0], *(v for now in walk[1:] for v in (now, now, now))]
        assert denoiser.requested == expected
    assert not PredictorCorrector(DDIM()).off_grid
    assert PredictorCorrector(RungeKutta()).off_grid


@dataclass(frozen=True)
class CountingSteps:
    """A predictor whose state is the number of its steps."""

    off_grid: ClassVar[bool] = False

    def init(self) -> int:
        return 0

    def step(self, denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: int, noise) -> tuple[Tensor, int]:
        return s.alpha / t.alpha * x, state + 1


def test_the_predictors_state_is_handed_on() -> None:
    schedule = SCHEDULES["vp"]
    solver = PredictorCorrector(CountingSteps())
    x, state = torch.ones(1, 4, dtype=torch.float64), solver.init()
    for t, s in pairwise(noise_levels(schedule, uniform(4)[:-1])):
        x, state = solver.step(TARGET.denoiser(schedule), x, t, s, state, StepNoise(lambda *_: torch.ones(1, 4), 0))
    assert state == 3


def blobs(dimensions: int) -> MixtureTarget:
    means = torch.full((2, dimensions), 0.5, dtype=torch.float64)
    means[0] = -0.5
    return MixtureTarget(means, torch.tensor([0.2, 0.3]).double(), torch.tensor([0.3, 0.7]).double())


def test_the_corrector_mends_a_wrong_distribution_on_a_mixture() -> None:
    """1,000 samples of 32 dimensions with noise 1.5 times too strong, corrected 200 times. Distances from the nearer
    mean are then those of p ‖g‖², χ of 34 instead of 32 degrees of freedom, times √(1 + r²), by Kolmogorov and Smirnov
    (fixed seed, at 1e-6); before, they are far from it."""
    s, target, draws = at(SCHEDULES["vp"], 0.3), blobs(32), np.random.default_rng(5)
    side = torch.from_numpy(draws.choice(2, 1000, p=[0.3, 0.7]))
    std = (s.alpha**2 * target.stds[side] ** 2 + s.sigma**2).sqrt()[:, None]
    wrong = s.alpha * target.means[side] + 1.5 * std * torch.from_numpy(draws.standard_normal((1000, 32)))
    expected = std[:, 0].numpy() * np.sqrt((1 + 0.16**2) * draws.chisquare(34, 1000))

    def far(x: Tensor) -> np.ndarray:
        return (x[:, None] - s.alpha * target.means).square().sum(-1).amin(1).sqrt().numpy()

    mended = corrected(wrong, "vp", s, gaussian_noise(6, (1000, 32)), target=target, corrections=200)
    assert stats.ks_2samp(far(wrong), expected).pvalue < 1e-30
    assert stats.ks_2samp(far(mended), expected).pvalue > 1e-6


@pytest.mark.parametrize("predictor", [EulerMaruyama(), DDIM(eta=1.0), DDIM()], ids=["sde", "ancestral", "ode"])
def test_a_mixture_is_sampled_with_any_predictor(predictor) -> None:
    """1,000 samples in 16 dimensions by 100 steps: shares by a binomial test, coordinates of each side by Kolmogorov
    and Smirnov, at 1e-6 with a fixed seed. The corrector's 1 + r² of the noise is gone with the noise."""
    target, schedule = blobs(16), SCHEDULES["linear"]
    noise = gaussian_noise(7, (1000, 16))
    x = sample(target.denoiser(schedule), PredictorCorrector(predictor), uniform(100), noise(), noise)
    left = x.mean(1) < 0
    assert stats.binomtest(int(left.sum()), 1000, 0.3).pvalue > 1e-6
    for side, mean, std in ((left, -0.5, 0.2), (~left, 0.5, 0.3)):
        standard = ((x[side] - mean) / std)[:, 0].numpy()
        assert stats.kstest(standard, "norm").pvalue > 1e-6


def test_data_are_not_corrected() -> None:
    schedule = CosineBeta().build()
    x = torch.ones(2, 3, dtype=torch.float64)
    t = noise_level(schedule, 0.1)
    solver = PredictorCorrector(DDIM())
    plain, _ = DDIM().step(TARGET.denoiser(schedule), x, t, DATA, None, StepNoise(None, 0))
    got, _ = solver.step(TARGET.denoiser(schedule), x, t, DATA, None, StepNoise(None, 0))
    assert torch.equal(got, plain)

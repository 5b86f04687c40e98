"""Twisted sequential Monte Carlo draws from the posterior, and simulation-based calibration that shows it.

Calibration (Talts et al. 2018): with x_0 drawn from the data and y from x_0, the rank of x_0 among draws of what is
claimed to be p(x_0 | y) is uniform, for every number that is computed of x_0.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, multivariate_normal
from torch import Tensor

from sumi.errors import InputError
from sumi.operators.linear import Linear, Mask
from sumi.process.schedule import DATA, noise_level
from sumi.randomness import Purpose, SampleNoise
from sumi.restoration.measurement import Measurement
from sumi.restoration.posterior import MomentMatching, PseudoinverseGuidance, guided
from sumi.restoration.twisted import TwistedSMC
from sumi.sampling.particles import effective_number, systematic
from sumi.sampling.sample import sample
from sumi.sampling.solvers.runge_kutta import RungeKutta
from sumi.sampling.solvers.solver import StepNoise
from tests.restoration_targets import SCHEDULE, SKEWED, SUMS, TRIPLE, Gauss, Mixture, gaussian

FIRST = np.array([[1.0, 0.0]])
Draw = Callable[[Mixture, Measurement, int, Gauss], Tensor]
LEAST = 1e-3
"""The level of each test of uniformity; seeds are fixed."""


def times(steps: int) -> Tensor:
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** 2


def by_particles(count: int) -> Draw:
    """``count`` particles side by side; for one alone every draw is a run of its own."""

    def draw(data: Mixture, measurement: Measurement, per: int, noise: Gauss) -> Tensor:
        if count == 1:
            y = measurement.y.repeat_interleave(per, 0)
            measurement = Measurement(measurement.operator, y, measurement.std)
        solver = TwistedSMC(measurement, count, iterations=2)
        return sample(data.denoiser(), solver, times(100), noise(0, Purpose.START), noise)

    return draw


def by_ode(method) -> Draw:
    """Draws of a wrapped denoiser, each from its own start."""

    def draw(data: Mixture, measurement: Measurement, per: int, noise: Gauss) -> Tensor:
        each = Measurement(measurement.operator, measurement.y.repeat_interleave(per, 0), measurement.std)
        denoiser = method(data.denoiser(), each, iterations=2)
        return sample(denoiser, RungeKutta(4), times(40), noise(0, Purpose.START))

    return draw


def uniformity(data: Mixture, a: np.ndarray, std: float, per: int, draw: Draw) -> float:
    """The smallest p of chi-square tests, one for each element of x_0, that its ranks among ``per`` draws are uniform.

    In 8 bins, for 800 x_0, each with its own y of noise ``std``."""
    count, bins, rng = 800, 8, np.random.default_rng(5)
    truth = data.draws(count, seed=1)
    y = truth @ a.T + std * rng.standard_normal((count, len(a)))
    measurement = Measurement(Linear(torch.from_numpy(a)), torch.from_numpy(y), std)
    sampled = draw(data, measurement, per, Gauss((count * per, truth.shape[1]), seed=1)).numpy()
    ranks = (sampled.reshape(count, per, -1) < truth[:, None]).sum(1)
    return min(chisquare(np.bincount(r * bins // (per + 1), minlength=bins)).pvalue for r in ranks.T)


def test_moment_matching_on_a_gaussian_is_calibrated() -> None:
    """And ΠGDM with too small a deviation of the data is seen not to be."""
    assert uniformity(TRIPLE, SUMS, 0.3, 15, by_ode(MomentMatching)) > LEAST
    overconfident = by_ode(partial(PseudoinverseGuidance, data_std=0.5))
    assert uniformity(TRIPLE, SUMS, 0.3, 15, overconfident) < 1e-6


@pytest.mark.slow
def test_twisted_particles_on_a_mixture_are_calibrated() -> None:
    """And one particle alone, whose weight cannot count, is seen not to be."""
    assert uniformity(SKEWED, FIRST, 0.1, 63, by_particles(63)) > LEAST
    assert uniformity(SKEWED, FIRST, 0.1, 63, by_particles(1)) < 1e-6


@pytest.mark.parametrize("std", [0.0, 0.5])
def test_for_isotropic_gaussians_any_number_of_steps_is_exact(std: float) -> None:
    """N(m, 0.7² I), whose chain of eight steps has its very law: mean and covariance of 20000 particles."""
    data, y = gaussian(np.array([0.3, -0.2, 0.1]), 0.49 * np.eye(3)), np.array([0.9, -0.8])
    measurement, seen = Measurement(Linear(torch.from_numpy(SUMS)), torch.from_numpy(y)[None], std), []
    solver = TwistedSMC(measurement, 20_000, data_std=0.7, iterations=2, watch=lambda *now: seen.append(now))
    start = torch.from_numpy(data.noised(noise_level(SCHEDULE, 1.0)).draws(20_000, 3))
    found = sample(data.denoiser(), solver, times(8), start, Gauss((20_000, 3))).numpy()
    wanted = data.given(SUMS, y, std)
    np.testing.assert_allclose(found.mean(0), wanted.mean, rtol=0, atol=0.03)
    np.testing.assert_allclose(np.cov(found.T), wanted.covariance, rtol=0, atol=0.03)
    if std == 0:
        np.testing.assert_allclose(found @ SUMS.T, np.broadcast_to(y, (20_000, 2)), rtol=0, atol=1e-12)
    assert [t.t for t, _ in seen] == times(8)[:-1].tolist()
    assert all(ess.shape == (1,) and 1000 < float(ess) <= 20_000 for _, ess in seen)


@pytest.mark.parametrize("schedule_step", [(0.5, 0.3), (0.2, 0.05)])
def test_weights_and_proposal_are_those_of_the_chain(schedule_step: tuple[float, float]) -> None:
    """One step against densities written out: w h_s/h_t p(x_s | x_t)/proposal, up to a factor for all particles."""
    t, s = (noise_level(SCHEDULE, v) for v in schedule_step)
    y, std, d = np.array([0.9, -0.8]), 0.3, 0.8
    measurement = Measurement(Linear(torch.from_numpy(SUMS)), torch.from_numpy(y)[None], std)
    solver, noise = TwistedSMC(measurement, 6, data_std=d, threshold=0.0, iterations=2), Gauss((6, 3))
    x_t = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 3)))
    x_s, state = solver.step(TRIPLE.denoiser(), x_t, t, s, None, StepNoise(noise, 3))

    def variance(v) -> float:
        return d**2 * v.sigma**2 / (v.alpha**2 * d**2 + v.sigma**2)

    def guess(x: np.ndarray, v) -> np.ndarray:
        clean = TRIPLE.clean(torch.from_numpy(x), v).numpy()
        inside = variance(v) * SUMS @ SUMS.T + std**2 * np.eye(2)
        return np.array([multivariate_normal.logpdf(y, SUMS @ c, inside) for c in clean])

    fraction = 1 - (t.alpha * s.sigma / (s.alpha * t.sigma)) ** 2
    of_noisy, of_clean = t.alpha / s.alpha * (s.sigma / t.sigma) ** 2, s.alpha * fraction
    tau = np.sqrt(s.sigma**2 * fraction + of_clean**2 * variance(t))
    mean = of_noisy * x_t.numpy() + of_clean * TRIPLE.clean(x_t, t).numpy()
    slope = np.stack(
        [(guess(x_t.numpy() + h, t) - guess(x_t.numpy() - h, t)) / 2e-5 for h in 1e-5 * np.eye(3)],
        1,
    )
    twisted = mean + of_clean * t.sigma**2 / t.alpha * slope
    z = noise(3, Purpose.STEP).numpy()
    np.testing.assert_allclose(x_s.numpy(), twisted + tau * z, rtol=0, atol=1e-7)
    moved = x_s.numpy() - mean
    weight = guess(x_s.numpy(), s) + ((tau * z) ** 2 - moved**2).sum(1) / (2 * tau**2)  # h_t cancels with the first
    found = state.log_weight[0].numpy()
    np.testing.assert_allclose(found - found[0], weight - weight[0], rtol=0, atol=1e-6)


def test_systematic_resampling_takes_each_as_often_as_its_weight() -> None:
    """K w_i on average over u, and never more than one from it; rising, and the same index for weights of rounding."""
    weights = torch.tensor([[0.5, 0.3, 0.0, 0.2], [0.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    counts = []
    for u in (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000:
        chosen = systematic(weights, u.expand(2))
        assert bool((chosen.diff(dim=1) >= 0).all())
        counts.append(torch.stack([(chosen == k).sum(1) for k in range(4)], 1))
    stacked = torch.stack(counts).double()
    torch.testing.assert_close(stacked.mean(0), 4 * weights, rtol=0, atol=2e-3)
    assert bool(((stacked - 4 * weights).abs() < 1).all())
    short = torch.full((1, 3), 0.333, dtype=torch.float64)  # a sum below 1
    assert systematic(short, torch.tensor([0.9999])).max() == 2


def test_the_effective_number_is_between_one_and_all() -> None:
    log_weight = torch.tensor([[0.0, 0.0, 0.0, 0.0], [900.0, 0.0, 0.0, 0.0], [1.0, 1.0, -800.0, -800.0]])
    assert effective_number(log_weight).tolist() == pytest.approx([4, 1, 2])
    assert effective_number(torch.tensor([[0.9, 0.1]]).log()).tolist() == pytest.approx([1 / 0.82])


def test_each_place_alone_has_the_weights_law() -> None:
    """After resampling, the first particle of 8000 runs of three is each of them as often as its weight says."""
    measurement = Measurement(Mask(torch.tensor([False])), torch.tensor([[0.4]]).double(), 0.2)
    solver, noise = TwistedSMC(measurement, 3, threshold=1.1), Gauss((24_000, 1))
    data, t = gaussian(np.zeros(1), np.eye(1)), noise_level(SCHEDULE, 0.1)
    x = torch.tensor([[0.1], [0.4], [0.6]]).double().repeat(8000, 1)
    s = noise_level(SCHEDULE, 0.05)

    def still(step: int, purpose: Purpose, draw: int = 0) -> Tensor:  # so that where a particle goes says which it was
        return noise(step, purpose, draw) * (purpose == Purpose.RESAMPLE)

    moved, after = solver.step(data.denoiser(), x, t, s, None, StepNoise(still, 0))
    one = replace(solver, particles=1, threshold=0.5)  # never resampled
    apart, alone = one.step(data.denoiser(), x[:3], t, s, None, StepNoise(lambda *_: 0 * x[:3], 0))
    log_likelihood = guided(data.denoiser(), x[:3], t, measurement, 1.0, 20)[2]
    chosen = (moved - apart.T).abs().argmin(1)
    torch.testing.assert_close(moved, apart[chosen], rtol=0, atol=1e-14)
    for place in range(3):
        found = chosen.view(-1, 3)[:, place].bincount(minlength=3) / 8000
        torch.testing.assert_close(found, log_likelihood.softmax(0).float(), rtol=0, atol=0.022)  # four deviations
    # the weights begin anew where the lone particles' begin with the likelihood
    expected = (alone.log_weight.view(-1) - log_likelihood)[chosen]
    torch.testing.assert_close(after.log_weight.view(-1), expected, rtol=0, atol=1e-12)
    for part in ("clean", "shift", "log_likelihood"):
        torch.testing.assert_close(getattr(after, part), getattr(alone, part)[chosen], rtol=0, atol=1e-12)


def test_particles_of_one_measurement_know_nothing_of_another() -> None:
    y = torch.tensor([[0.9], [-0.4]], dtype=torch.float64)
    alone, together = (
        sample(
            SKEWED.denoiser(),
            TwistedSMC(Measurement(Linear(torch.from_numpy(FIRST)), y[rows], 0.3), 8),
            times(12),
            noise(0, Purpose.START),
            noise,
        )
        for rows, noise in (
            (slice(1, 2), SampleNoise(4, range(8, 16), (2,), torch.float64)),
            (slice(0, 2), SampleNoise(4, range(16), (2,), torch.float64)),
        )
    )
    torch.testing.assert_close(alone, together[8:], rtol=0, atol=1e-12)


def test_known_elements_are_kept_to_the_bit_and_tall_measurements_have_their_noise() -> None:
    """The last step draws from N(x̂_0, r² I) N(y; A x_0, s² I): for five numbers of two elements by 40000 draws."""
    noise, t = Gauss((40_000, 2)), noise_level(SCHEDULE, 0.4)
    known = Measurement(Mask(torch.tensor([False, True])), torch.tensor([[0.3, 0.0]], dtype=torch.float64))
    data = gaussian(np.zeros(2), np.eye(2))
    x = noise(9, Purpose.START)
    end, _ = TwistedSMC(known, 40_000).step(data.denoiser(), x, t, DATA, None, StepNoise(noise, 1))
    assert bool((end[:, 0] == 0.3).all())
    tall = np.random.default_rng(3).standard_normal((5, 2))
    y = np.array([0.3, -0.5, 0.2, 0.9, 0.1])
    measurement = Measurement(Linear(torch.from_numpy(tall)), torch.from_numpy(y)[None], 0.4)
    x = torch.tensor([[0.5, -0.2]]).double().expand(40_000, 2)
    end, _ = TwistedSMC(measurement, 40_000).step(data.denoiser(), x, t, DATA, None, StepNoise(noise, 1))
    r = t.sigma**2 / (t.alpha**2 + t.sigma**2)
    clean = data.clean(x[:1], t).numpy()[0]
    covariance = np.linalg.inv(np.eye(2) / r + tall.T @ tall / 0.16)
    np.testing.assert_allclose(end.numpy().mean(0), covariance @ (clean / r + tall.T @ y / 0.16), rtol=0, atol=0.01)
    np.testing.assert_allclose(np.cov(end.numpy().T), covariance, rtol=0, atol=0.005)


def test_numbers_of_particles_that_do_not_fit_are_refused() -> None:
    y = torch.zeros(2, 1, dtype=torch.float64)
    solver = TwistedSMC(Measurement(Linear(torch.from_numpy(FIRST)), y), 4)
    for count in (4, 7, 12):
        with pytest.raises(InputError, match=f"^particles: {count} samples are not 4 for each of 2 measurements"):
            sample(SKEWED.denoiser(), solver, times(2), torch.zeros(count, 2).double(), Gauss((count, 2)))
    with pytest.raises(InputError, match=r"^noise: this sampler needs noise"):
        sample(SKEWED.denoiser(), solver, times(2), torch.zeros(8, 2).double())
    assert solver.off_grid is False

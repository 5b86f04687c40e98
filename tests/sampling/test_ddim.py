"""The DDIM family on targets whose exact denoiser is known: no Monte Carlo, errors of one index show at 1e-10."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from sumi.denoising.denoiser import FunctionDenoiser, NetworkDenoiser
from sumi.denoising.exact import gaussian_denoiser
from sumi.denoising.parameterization import PredictNoise
from sumi.errors import InputError
from sumi.guidance.thresholding import StaticThreshold
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.continuous import Flow, SubVP
from sumi.process.exploding import VE
from sumi.process.schedule import noise_level, noise_levels
from sumi.randomness import Purpose
from sumi.sampling.sample import sample
from sumi.sampling.solvers import SOLVERS
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.time_grid import snap, uniform
from tests.oracles import GaussianTarget, MixtureTarget, linear_probe

LINEAR, COSINE = LinearBeta().build(), CosineBeta().build()
TARGET = GaussianTarget(mean=0.5, std=0.3)


def exact_recursion(alpha_bar: np.ndarray, eta: float, large: bool) -> tuple[float, float]:
    """Mean and variance after Song et al. 2021, eq. 12, written with ᾱ alone, for x_0 ~ N(0.5, 0.3²), from N(0, 1).

    ``alpha_bar``: ᾱ at the sampler's times, from noise to data.
    """
    mean, variance = 0.0, 1.0
    for now, after in pairwise(alpha_bar):
        gain = np.sqrt(now) * 0.09 / (now * 0.09 + 1 - now)
        clean = np.array([0.5 - gain * np.sqrt(now) * 0.5, gain])  # constant and slope of x̂_0 in x
        epsilon = (np.array([0.0, 1.0]) - np.sqrt(now) * clean) / np.sqrt(1 - now)
        beta = 1 - now / after
        small = eta**2 * (1 - after) / (1 - now) * beta
        step = np.sqrt(after) * clean + np.sqrt(1 - after - small) * epsilon
        added = (eta**2 * beta if large else small) if after < 1 else 0.0
        mean, variance = step[0] + step[1] * mean, step[1] ** 2 * variance + added
    return mean, variance


@pytest.mark.parametrize("config", [LinearBeta(), CosineBeta()], ids=["linear", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 7, 50, 1000])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("variance", ["small", "large"])
def test_output_is_the_exact_recursion(config, steps: int, eta: float, variance: str) -> None:
    schedule = config.build()
    times = snap(uniform(steps), 1000)
    if isinstance(config, LinearBeta):
        betas = np.linspace(1e-4, 0.02, 1000)
    else:
        f = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - f[1:] / f[:-1], 0.999)
    alpha_bar = np.concatenate([[1.0], np.cumprod(1 - betas)])[(times * 1000).round().long().numpy()]
    got = linear_probe(TARGET.denoiser(schedule), DDIM(eta, variance), times, 0.0, 1.0)
    assert got == pytest.approx(exact_recursion(alpha_bar, eta, variance == "large"), abs=1e-10)


@pytest.mark.parametrize("name", ["ddim", "ddpm"])
def test_samples_converge_to_the_data(name: str) -> None:
    """Started from the true marginal at t = 1: the mean is exact, the error of the standard deviation halves."""
    start = TARGET.marginal(noise_level(LINEAR, 1.0))
    errors = []
    for steps in (125, 250, 500, 1000):
        mean, variance = linear_probe(TARGET.denoiser(LINEAR), SOLVERS[name], uniform(steps), *start)
        errors.append((abs(mean - 0.5), abs(variance**0.5 - 0.3)))
    errors = np.array(errors)
    assert errors[:, 0].max() < 1e-12
    assert errors[:-1, 1] / errors[1:, 1] == pytest.approx([2, 2, 2], abs=0.25)  # not yet the limit at 125 steps
    assert errors[-1].max() < 5e-3


def test_small_variance_is_exact_for_a_point_and_large_for_unit_noise() -> None:
    point, unit = GaussianTarget(0.5, 0.0), GaussianTarget(0.0, 1.0)
    for steps in (1, 5, 50):
        got = linear_probe(
            point.denoiser(LINEAR), SOLVERS["ddpm"], uniform(steps), *point.marginal(noise_level(LINEAR, 1.0))
        )
        assert got == pytest.approx((0.5, 0.0), abs=1e-12)
        # the last step adds nothing, so unit variance is met at the end of all the others
        times = uniform(steps)[:-1]
        got = linear_probe(unit.denoiser(LINEAR), SOLVERS["ddpm_large"], times, 0.0, 1.0)
        assert got == pytest.approx((0.0, 1.0), abs=1e-12)


EXACT = {
    name: config.build()
    for name, config in (
        ("linear", LinearBeta()),
        ("cosine", CosineBeta()),
        ("sub_vp", SubVP()),
        ("flow", Flow()),
        ("ve", VE()),
    )
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_the_learned_variance_is_exact_on_gaussian_data_at_every_number_of_steps(
    name: str, steps: int, eta: float
) -> None:
    """Started from the true marginal, x_s has the true one at every s > 0, whatever η > 0: no order, no error.

    The last step adds no noise, so at the end the variance is c² - Var(x_0 | x_t) at the last t before.
    """
    schedule = EXACT[name]
    denoiser, solver, times = gaussian_denoiser(0.5, 0.3, schedule), DDIM(eta, "learned"), uniform(steps)
    walk = list(noise_levels(schedule, times))
    for k in range(1, steps):
        found = linear_probe(denoiser, solver, times[: k + 1], *TARGET.marginal(walk[0]))
        assert found == pytest.approx(TARGET.marginal(walk[k]), abs=1e-9)
    mean, variance = linear_probe(denoiser, solver, times, *TARGET.marginal(walk[0]))
    assert mean == pytest.approx(0.5, abs=1e-9)
    assert variance == pytest.approx(0.09 - denoiser.clean_variance(walk[-2]), abs=1e-9)


@pytest.mark.parametrize("steps", [2, 7, 50, 200])
def test_the_learned_variance_is_better_than_both_fixed_ones(steps: int) -> None:
    """Before the last step, where it is right, small is too small and large too large."""
    denoiser, times = gaussian_denoiser(0.5, 0.3, LINEAR), uniform(steps)[:-1]
    found = {
        variance: linear_probe(denoiser, DDIM(1.0, variance), times, *TARGET.marginal(noise_level(LINEAR, 1.0)))[1]
        for variance in ("small", "learned", "large")
    }
    true = TARGET.marginal(noise_level(LINEAR, float(times[-1])))[1]
    assert found["learned"] == pytest.approx(true, abs=1e-10)
    assert found["small"] < true * (1 - 1e-3)
    assert found["large"] > true * (1 + 1e-3)


@pytest.mark.parametrize("message", [-1.4, 0.0, 1.0])
def test_on_its_own_chain_the_learned_noise_is_the_papers(message: float) -> None:
    """The response to a unit of noise is √(β^v β̃^(1-v)), v = (message + 1)/2, at any step but the last (η = 1)."""

    class LearnedVariance(torch.nn.Module):
        def forward(self, x: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
            return torch.cat([0 * x, torch.full_like(x, message)], 1)

    schedule, v = LinearBeta(steps=10, beta_end=0.4).build(), (message + 1) / 2
    denoiser = NetworkDenoiser(LearnedVariance(), schedule, PredictNoise(), 10, learned_variance=True)
    beta = np.linspace(1e-4, 0.4, 10)
    kept = np.cumprod(1 - beta)
    x = torch.zeros(2, 1, dtype=torch.float64)
    for i in (2, 6, 10):
        small = beta[i - 1] * (1 - kept[i - 2]) / (1 - kept[i - 1])
        times = torch.tensor([i / 10, (i - 1) / 10], dtype=torch.float64)
        end = sample(denoiser, SOLVERS["ddpm_learned"], times, x, lambda *_: torch.tensor([[0.0], [1.0]]).double())
        assert (end[1] - end[0]).item() == pytest.approx((beta[i - 1] ** v * small ** (1 - v)) ** 0.5, rel=1e-9)


def test_a_variance_below_nothing_adds_no_noise() -> None:
    """A network may say so little of v that rounding leaves less than 0 of the step's variance: no NaN."""
    denoiser = FunctionDenoiser(lambda x, _: 0 * x, LINEAR, lambda t: torch.tensor([-1e9], dtype=torch.float64))
    x = torch.ones(1, 1, dtype=torch.float64)
    end = sample(denoiser, SOLVERS["ddpm_learned"], uniform(4)[:-1], x, lambda *_: x)
    assert end.item() == sample(denoiser, DDIM(1.0, "learned"), uniform(4)[:-1], x, lambda *_: 0 * x).item()
    number = FunctionDenoiser(lambda x, _: 0 * x, LINEAR, lambda _: -1e9)
    assert sample(number, SOLVERS["ddpm_learned"], uniform(4)[:-1], x, lambda *_: x).item() == end.item()


def test_a_denoiser_that_says_no_variance_is_refused_by_name_unless_there_is_no_noise() -> None:
    x = torch.zeros(1, 1, dtype=torch.float64)
    condition = r"^variance: this model has learned none; choose ddpm, or train with variance=learned$"
    with pytest.raises(InputError, match=condition):
        sample(TARGET.denoiser(LINEAR), SOLVERS["ddpm_learned"], uniform(4), x, lambda *_: x)
    without = sample(TARGET.denoiser(LINEAR), DDIM(0.0, "learned"), uniform(4), x)
    assert without.item() == sample(TARGET.denoiser(LINEAR), DDIM(), uniform(4), x).item()


def test_errors_of_early_steps_are_corrected_by_later_ones() -> None:
    """A unit kick at t = 0.5: the ODE keeps std_0/std_t of it, ancestral sampling Cov(x_0, x_t)/Var(x_t).

    For data N(m, 0.3²) and the linear schedule: 0.3113 against 0.0272.
    """
    half = noise_level(LINEAR, 0.5)
    _, variance = TARGET.marginal(half)
    times = uniform(2000)[1000:]
    kicked = torch.tensor([[0.0], [1.0]], dtype=torch.float64)

    def zero(step: int, purpose: Purpose, draw: int = 0) -> torch.Tensor:
        return torch.zeros(2, 1, dtype=torch.float64)

    remainder = {}
    for name in ("ddim", "ddpm"):
        end = sample(TARGET.denoiser(LINEAR), SOLVERS[name], times, kicked, zero)
        remainder[name] = (end[1] - end[0]).item()
    assert remainder["ddpm"] == pytest.approx(half.alpha * 0.09 / variance, abs=1e-12)  # exact for any steps
    assert remainder["ddim"] == pytest.approx(0.3 / variance**0.5, rel=3e-3)  # first order in 1/1000
    assert remainder["ddim"] == pytest.approx(0.3113, rel=5e-3)
    assert remainder["ddpm"] == pytest.approx(0.0272, rel=5e-3)


def test_a_mixture_is_sampled_in_its_proportions() -> None:
    """2,000 ancestral samples of a two-sided mixture in 2-D: share and spread of each side within 4 standard errors."""
    means = torch.tensor([[-0.6, 0.2], [0.7, -0.1]], dtype=torch.float64)
    target = MixtureTarget(means, torch.tensor([0.1, 0.2]).double(), torch.tensor([0.3, 0.7]).double())
    draws = torch.Generator().manual_seed(11)
    denoiser = FunctionDenoiser(target.clean, COSINE)

    def noise(step: int, purpose: Purpose, draw: int = 0) -> torch.Tensor:
        return torch.randn(2000, 2, generator=draws, dtype=torch.float64)

    x = sample(denoiser, SOLVERS["ddpm"], uniform(1000), noise(0, Purpose.START), noise)
    left = x[:, 0] < 0
    assert stats.binomtest(int(left.sum()), 2000, 0.3).pvalue > 1e-4
    for side, mean, std in ((left, means[0], 0.1), (~left, means[1], 0.2)):
        count = int(side.sum())
        assert (x[side].mean(0) - mean).abs().max().item() < 4 * std / count**0.5
        assert x[side].std(0).tolist() == pytest.approx([std, std], rel=4 / (2 * count) ** 0.5 + 0.02)


def test_static_threshold_keeps_the_noise_consistent() -> None:
    wild = FunctionDenoiser(lambda x, t: 5 * torch.ones_like(x), LINEAR)
    x = torch.zeros(2, 1, dtype=torch.float64)
    denoised = StaticThreshold(wild)(x, 0.5)
    assert denoised.clean.tolist() == [[1.0], [1.0]]
    torch.testing.assert_close(denoised.alpha * denoised.clean + denoised.sigma * denoised.noise, x)
    assert sample(StaticThreshold(wild), DDIM(), uniform(3), x).tolist() == [[1.0], [1.0]]

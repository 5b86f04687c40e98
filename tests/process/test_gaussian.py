"""The three kernels against recursion, Bayes' rule, and each other."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sumi.process.chain import ConstantBeta, CosineBeta, LinearBeta, QuadraticBeta, SigmoidBeta
from sumi.process.continuous import VP, Erasing, Flow
from sumi.process.gaussian import add_noise, posterior, transition
from sumi.process.schedule import noise_level, noise_levels
from sumi.randomness import Purpose, normal

NAMED = [LinearBeta(), ConstantBeta(), CosineBeta(), QuadraticBeta(), SigmoidBeta(), VP(), Flow(), Erasing()]
SCHEDULES = [config.build() for config in NAMED]
NAMES = [config.name for config in NAMED]
TIMES = st.tuples(st.floats(0, 1), st.floats(1e-4, 1)).filter(lambda pair: pair[0] < pair[1] - 1e-7)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=NAMES)
def test_noising_step_by_step_equals_the_jump(schedule) -> None:
    """Mean and variance of 1000 single steps, by recursion, at every time: within 1e-12 of the marginal."""
    mean, variance = 1.0, 0.0
    grid = list(noise_levels(schedule, torch.arange(1001, dtype=torch.float64) / 1000))
    for s, t in pairwise(grid):
        step = transition(s, t)
        mean, variance = step.scale * mean, step.scale**2 * variance + step.variance
        assert mean == pytest.approx(t.alpha, rel=1e-12)
        assert variance == pytest.approx(t.sigma**2, rel=1e-12)


def test_one_step_has_the_root_of_one_minus_beta() -> None:
    betas = np.linspace(1e-4, 0.02, 1000)
    schedule = LinearBeta().build()
    for i in (1, 2, 500, 1000):
        step = transition(noise_level(schedule, (i - 1) / 1000), noise_level(schedule, i / 1000))
        assert step.scale == pytest.approx(np.sqrt(1 - betas[i - 1]), rel=1e-13)
        assert step.variance == pytest.approx(betas[i - 1], rel=1e-11)


def test_noising_step_by_step_equals_the_jump_in_distribution() -> None:
    """20,000 points taken through 50 steps are distributed as points that jumped (Kolmogorov-Smirnov at 1e-4)."""
    schedule = LinearBeta(steps=50, beta_end=0.2).build()
    grid = list(noise_levels(schedule, torch.linspace(0, 1, 51, dtype=torch.float64)))
    x_0 = torch.full((1, 20_000), 0.7, dtype=torch.float64)
    walked = x_0
    for k, (s, t) in enumerate(pairwise(grid)):
        step = transition(s, t)
        noise = normal(3, [0], k, Purpose.STEP, (20_000,), dtype=torch.float64)
        walked = step.scale * walked + step.variance**0.5 * noise
    jumped = add_noise(x_0, normal(3, [1], 0, Purpose.START, (20_000,), dtype=torch.float64), grid[-1])
    exact = stats.norm(grid[-1].alpha * 0.7, grid[-1].sigma)
    assert stats.kstest(walked[0].numpy(), exact.cdf).pvalue > 1e-4
    assert stats.kstest(jumped[0].numpy(), exact.cdf).pvalue > 1e-4


@pytest.mark.parametrize("schedule", SCHEDULES, ids=NAMES)
@given(times=TIMES)
def test_transitions_compose(schedule, times: tuple[float, float]) -> None:
    start, t = (noise_level(schedule, u) for u in times)
    middle = noise_level(schedule, sum(times) / 2)
    first, second, whole = transition(start, middle), transition(middle, t), transition(start, t)
    assert first.scale * second.scale == pytest.approx(whole.scale, rel=1e-12)
    assert second.scale**2 * first.variance + second.variance == pytest.approx(whole.variance, rel=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=NAMES)
@given(times=TIMES, x_0=st.floats(-2, 2), x_t=st.floats(-3, 3))
def test_posterior_is_bayes_rule(schedule, times: tuple[float, float], x_0: float, x_t: float) -> None:
    """Against conditioning the joint Gaussian of (x_s, x_t) given x_0, computed with its covariance in long double."""
    s, t = (noise_level(schedule, u) for u in times)
    a_s, a_t, v_s, v_t = (np.longdouble(v) for v in (s.alpha, t.alpha, s.sigma**2, t.sigma**2))
    gain = (a_t / a_s) * v_s / v_t  # Cov(x_s, x_t) / Var(x_t)
    mean = a_s * x_0 + gain * (x_t - a_t * x_0)
    variance = v_s - gain * (a_t / a_s) * v_s
    kernel = posterior(s, t)
    assert kernel.noisy * x_t + kernel.clean * x_0 == pytest.approx(float(mean), abs=1e-12)
    assert kernel.variance == pytest.approx(float(variance), abs=1e-12)


def test_posterior_of_one_step_is_the_ddpm_formula() -> None:
    """Ho et al. 2020, eq. 7, from β alone."""
    betas = np.linspace(1e-4, 0.02, 1000)
    alpha_bar = np.cumprod(1 - betas)
    schedule = LinearBeta().build()
    for i in (2, 3, 500, 1000):
        kernel = posterior(noise_level(schedule, (i - 1) / 1000), noise_level(schedule, i / 1000))
        beta, now, before = betas[i - 1], alpha_bar[i - 1], alpha_bar[i - 2]
        assert kernel.variance == pytest.approx((1 - before) / (1 - now) * beta, rel=1e-11)
        assert kernel.clean == pytest.approx(np.sqrt(before) * beta / (1 - now), rel=1e-11)
        assert kernel.noisy == pytest.approx(np.sqrt(1 - beta) * (1 - before) / (1 - now), rel=1e-11)


def test_posterior_at_the_data_is_the_data() -> None:
    schedule = LinearBeta().build()
    kernel = posterior(noise_level(schedule, 0.0), noise_level(schedule, 0.4))
    assert (kernel.noisy, kernel.clean, kernel.variance) == (0.0, 1.0, 0.0)


def test_kernels_of_tensors_agree_with_floats() -> None:
    schedule = CosineBeta().build()
    s, t = torch.tensor([0.0, 0.2, 0.61]), torch.tensor([0.1, 0.5, 0.62])
    together = (
        posterior(noise_level(schedule, s), noise_level(schedule, t)),
        transition(noise_level(schedule, s), noise_level(schedule, t)),
    )
    for k in range(3):
        one = noise_level(schedule, s.double()[k].item()), noise_level(schedule, t.double()[k].item())
        assert [v[k].item() for v in (together[0].noisy, together[0].clean, together[0].variance)] == pytest.approx(
            [posterior(*one).noisy, posterior(*one).clean, posterior(*one).variance], rel=1e-14
        )
        assert together[1].variance[k].item() == pytest.approx(transition(*one).variance, rel=1e-14)


def test_add_noise_has_one_level_a_sample() -> None:
    schedule = LinearBeta().build()
    t = torch.tensor([0.1, 0.9])
    x_0, noise = torch.ones(2, 3, 4, 5), torch.full((2, 3, 4, 5), 10.0)
    x_t = add_noise(x_0, noise, noise_level(schedule, t))
    for k in range(2):
        now = noise_level(schedule, t.double()[k].item())
        torch.testing.assert_close(x_t[k], torch.full((3, 4, 5), now.alpha + 10 * now.sigma))

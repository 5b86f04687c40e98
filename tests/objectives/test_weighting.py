"""Weightings: each is the plain error of what its paper predicts, and the likelihood's is the bound's."""

import numpy as np
import pytest
import torch

from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import (
    PredictClean,
    PredictFlow,
    PredictNoise,
    PredictPreconditioned,
    PredictScore,
    PredictVelocity,
)
from sumi.denoising.weighting import (
    ConstantWeighting,
    EDMWeighting,
    FlowWeighting,
    LikelihoodWeighting,
    MinSNRWeighting,
    OutputWeighting,
    SNRWeighting,
    StepLikelihood,
    TruncatedSNRWeighting,
    VelocityWeighting,
)
from sumi.errors import InputError
from sumi.objectives.uncertainty import UncertainLoss, Uncertainty
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.continuous import VP, Flow, SubVP
from sumi.process.exploding import EDM, VE, Ladder
from sumi.process.gaussian import posterior
from sumi.process.schedule import NoiseLevel, noise_level

SCHEDULES = {c.name: c.build() for c in (LinearBeta(), VP(), SubVP(), Flow(), VE(), EDM())}
TIMES = torch.tensor(
    [0.0015, 0.0525, 0.3005, 0.7005, 0.9985], dtype=torch.float64
)  # between the grid points of a chain
PRESERVING = ("linear", "vp")


@pytest.mark.parametrize(
    ("weighting", "parameterization", "schedules"),
    [
        (ConstantWeighting(), PredictClean(), SCHEDULES),
        (SNRWeighting(), PredictNoise(), SCHEDULES),
        (VelocityWeighting(), PredictVelocity(), PRESERVING),
        (FlowWeighting(), PredictFlow(), SCHEDULES),
        (EDMWeighting(), PredictPreconditioned(), SCHEDULES),
        (EDMWeighting(sigma_data=1.3), PredictPreconditioned(sigma_data=1.3), SCHEDULES),
        *((OutputWeighting(each), each, SCHEDULES) for each in (PredictNoise(), PredictScore(), PredictFlow())),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_the_plain_error_of_what_is_predicted_is_a_weight(weighting, parameterization, schedules) -> None:
    """w c_out² = 1."""
    for name in schedules:
        now = noise_level(SCHEDULES[name], TIMES)
        one = weighting.weight(now) * parameterization.coefficients(now).c_out ** 2
        torch.testing.assert_close(one, torch.ones_like(TIMES), rtol=1e-11, atol=0)  # log_snr of 13 keeps 1e-15 · 13


def test_score_matching_weighed_by_sigma_squared_is_the_simple_loss() -> None:
    for schedule in SCHEDULES.values():
        now = noise_level(schedule, TIMES)
        of_score = SNRWeighting().weight(now) * PredictScore().coefficients(now).c_out ** 2
        torch.testing.assert_close(of_score, now.sigma**2, rtol=1e-11, atol=0)


def test_truncated_and_min_snr_meet_at_one() -> None:
    now = noise_level(Flow().build(), torch.tensor([0.25, 0.5, 0.75, 1.0], dtype=torch.float64))
    snr = [9.0, 1.0, 1 / 9, 0.0]
    assert TruncatedSNRWeighting().weight(now).tolist() == pytest.approx([9, 1, 1, 1])
    assert MinSNRWeighting(gamma=1.0).weight(now).tolist() == pytest.approx([1, 1, 1 / 9, 0])
    assert SNRWeighting().weight(now).tolist() == pytest.approx(snr)
    assert VelocityWeighting().weight(now).tolist() == pytest.approx([10, 2, 10 / 9, 1])
    assert EDMWeighting().weight(now).tolist() == pytest.approx([13, 5, 4 + 1 / 9, 4])
    assert FlowWeighting().weight(now).tolist() == pytest.approx([16, 4, 16 / 9, 1])  # 1/t²
    # -½ d/dt ((1 - t)/t)² = (1 - t)/t³
    assert LikelihoodWeighting().weight(now).tolist() == pytest.approx([48, 4, 16 / 27, 0])


@pytest.mark.parametrize("name", SCHEDULES)
def test_likelihood_is_half_the_fall_of_snr(name: str) -> None:
    """Central differences of SNR with step 1e-6: their error is 1e-12 of the third derivative, rounding 1e-10."""
    schedule, h = SCHEDULES[name], 1e-6
    before, after = (SNRWeighting().weight(noise_level(schedule, TIMES + step)) for step in (-h, h))
    found = LikelihoodWeighting().weight(noise_level(schedule, TIMES))
    torch.testing.assert_close(found, (before - after) / (4 * h), rtol=1e-5, atol=0)


@pytest.mark.parametrize("config", [LinearBeta(), CosineBeta(), LinearBeta(steps=7, beta_end=0.3), Ladder()])
def test_a_steps_likelihood_is_the_kl_of_its_posterior(config) -> None:
    """KL(q(x_s | x_t, x_0) ‖ q(x_s | x_t, x̂_0)) for an error of 1 in x̂_0, times T; the first step is the decoder's."""
    schedule, steps = config.build(), config.steps
    t = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    found = StepLikelihood(schedule, steps).weight(noise_level(schedule, t))
    s, now = noise_level(schedule, t[:-1]), noise_level(schedule, t[1:])
    q = posterior(s, now)
    torch.testing.assert_close(found[1:], steps * q.clean**2 / (2 * q.variance), rtol=1e-9, atol=0)
    first = noise_level(schedule, t[:1])
    decoder_variance = (first.sigma / first.alpha) ** 2
    torch.testing.assert_close(found[:1], steps / (2 * decoder_variance), rtol=1e-9, atol=0)


def test_a_steps_likelihood_is_the_mean_of_the_continuous_one_over_the_step() -> None:
    """By Gauss-Legendre quadrature on step 3 of 5, where the rate is constant."""
    schedule = LinearBeta(steps=5, beta_end=0.3).build()
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(20))
    t = 0.5 + nodes / 10
    mean = (weights / 2 * LikelihoodWeighting().weight(noise_level(schedule, t))).sum()
    step = StepLikelihood(schedule, 5).weight(noise_level(schedule, torch.tensor([0.6], dtype=torch.float64)))
    assert mean.item() == pytest.approx(step.item(), rel=1e-10)


def test_snr_at_time_zero_is_used_where_it_is_finite() -> None:
    schedule = VE(sigma_min=0.1, sigma_max=10.0).build()
    first = StepLikelihood(schedule, 10).weight(noise_level(schedule, torch.tensor([0.1], dtype=torch.float64)))
    assert first.item() == pytest.approx(5 * (100 - 100 / 10**0.4), rel=1e-12)  # sigma² grows by 100^(2/10)


def at(log_snr: list[float]) -> NoiseLevel:
    x = torch.tensor(log_snr, dtype=torch.float64)
    return NoiseLevel(x, x, x, x, x, x)


def test_uncertainty_begins_at_nothing_and_is_finite_at_both_ends() -> None:
    u = Uncertainty()
    assert u(at([0.0, 3.0])).tolist() == [0.0, 0.0]
    torch.nn.init.normal_(u.series)
    ends = u(at([float("inf"), 20.0, -20.0, float("-inf")]))
    assert ends[0] == ends[1]
    assert ends[2] == ends[3]
    k = torch.arange(32)
    torch.testing.assert_close(ends[0], u.series.sum())  # z = 0
    torch.testing.assert_close(ends[3], (u.series * (-1.0) ** k).sum())  # z = 1
    torch.testing.assert_close(u(at([0.0]))[0], (u.series * torch.cos(torch.pi * k / 2)).sum())  # z = ½


def test_uncertainty_tells_noise_levels_apart_up_to_the_largest_of_any_schedule() -> None:
    """z = (ln σ̂ + 10)/20: variance-exploding schedules go beyond σ = 100."""
    u = Uncertainty()
    with torch.no_grad():
        u.series[1] = 1.0
    sigma = torch.tensor([5e-5, 0.01, 20.0, 80.0, 120.0, 348.0, 5000.0, 2e4], dtype=torch.float64)
    found = u(at((-2 * sigma.log()).tolist())).double()
    torch.testing.assert_close(found, torch.cos(torch.pi * (sigma.log() + 10) / 20), rtol=0, atol=1e-6)
    assert bool((found.diff() < -0.01).all())


def test_the_best_uncertainty_is_the_log_of_the_loss_and_makes_all_levels_count_alike() -> None:
    """Losses that differ a thousandfold between levels: e^u learns each, and the weighted loss is 1 + u everywhere."""
    levels, losses = at([-8.0, -2.0, 3.0, 9.0]), torch.tensor([1.0, 0.1, 0.01, 0.001])
    u, denoiser = Uncertainty(), NetworkDenoiser(torch.nn.Identity(), SCHEDULES["linear"], PredictNoise())
    loss = UncertainLoss(lambda denoiser, x_0, t, noise: losses, u)
    optimizer = torch.optim.LBFGS(u.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        total = loss(denoiser, losses, levels, losses).sum()
        total.backward()
        return total

    optimizer.step(closure)
    torch.testing.assert_close(u(levels), losses.log(), rtol=0, atol=1e-3)
    torch.testing.assert_close(losses * (-u(levels)).exp(), torch.ones(4), rtol=0, atol=1e-3)


def test_uncertainty_keeps_float32_under_autocast() -> None:
    u = Uncertainty()
    torch.nn.init.normal_(u.series)
    levels = at([-3.3, 0.7, 5.0])
    with torch.autocast("cpu", torch.bfloat16):
        inside = u(levels)
    assert torch.equal(inside, u(levels))


@pytest.mark.parametrize("make", [lambda: MinSNRWeighting(0), lambda: EDMWeighting(0)])
def test_impossible_values_are_refused_by_name(make) -> None:
    with pytest.raises(InputError, match=r"^weighting\.\w+: "):
        make()

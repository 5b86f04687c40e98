"""Schedules: published values, exactness on the grid and at the ends, the inverse, slopes, and the SDE they obey."""

from dataclasses import replace
from itertools import pairwise
from math import exp, expm1, inf, log, pi, sinh

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from sumi.errors import InputError
from sumi.process.chain import (
    BetaSchedule,
    ConstantBeta,
    CosineBeta,
    LinearBeta,
    ListedBeta,
    QuadraticBeta,
    SigmoidBeta,
)
from sumi.process.continuous import VP, Cosine, Erasing, Flow, SubVP
from sumi.process.exploding import EDM, VE, Ladder
from sumi.process.gaussian import transition
from sumi.process.learned import Learned, LearnedChain
from sumi.process.schedule import DATA, NoiseLevel, deviation, noise_level, noise_levels, noise_ratio, wronskian
from tests.oracles import reference_alpha_bar

CHAINS = [
    LinearBeta(),
    LinearBeta(steps=50, beta_end=0.3),
    ConstantBeta(),
    CosineBeta(),
    CosineBeta(steps=7),
    CosineBeta(steps=20, max_beta=0.4),
    QuadraticBeta(),
    SigmoidBeta(),
    SigmoidBeta(steps=30, width=2.0),
    ListedBeta((0.1, 0.5, 0.02)),
]
CONTINUOUS = [VP(), VP(beta_min=1.0, beta_max=1.0), SubVP(), SubVP(beta_min=1.0, beta_max=1.0), Cosine(), Flow()]
EXPLODING = [VE(), VE(sigma_min=0.5, sigma_max=3.0), EDM(), EDM(rho=1.0), Ladder(), Ladder(steps=2)]
LEARNED = [Learned(width=16), LearnedChain(steps=20, beta_end=0.3)]
ON_A_GRID = [Erasing(), Erasing(steps=7)]  # a formula in continuous time, for a chain's grid
CONFIGS = [*CHAINS, *CONTINUOUS, *EXPLODING, *LEARNED, *ON_A_GRID]
IDS = [f"{type(c).__name__}-{c.steps}" for c in CONFIGS]
BUILT = {config: config.build() for config in CONFIGS}


@pytest.fixture(autouse=True)
def no_gradients():
    """Learned schedules are looked at here; how they learn is in test_learned_schedule.py."""
    with torch.no_grad():
        yield


def values(of: list[float]) -> torch.Tensor:
    return torch.tensor(of, dtype=torch.float64)


def at(t: float) -> torch.Tensor:
    return values([t])


def log_snr_slope(now: NoiseLevel) -> float:
    """d log_snr/dt = 2 (alpha'/alpha - sigma'/sigma)."""
    return 2 * (now.alpha_slope / now.alpha - now.sigma_slope / now.sigma)


def corners(config) -> list[float]:
    """Where the slope jumps: the grid points of a chain or a ladder."""
    return [] if config.steps is None or config in ON_A_GRID else [i / config.steps for i in range(config.steps + 1)]


def reference_betas(config) -> np.ndarray:
    """The papers' formulas, in NumPy."""
    if isinstance(config, LinearBeta):
        return np.linspace(config.beta_start, config.beta_end, config.steps)
    if isinstance(config, ConstantBeta):
        return np.full(config.steps, config.beta)
    if isinstance(config, QuadraticBeta):
        return np.linspace(config.beta_start**0.5, config.beta_end**0.5, config.steps) ** 2
    if isinstance(config, SigmoidBeta):
        rising = 1 / (1 + np.exp(-np.linspace(-config.width, config.width, config.steps)))
        return config.beta_start + (config.beta_end - config.beta_start) * rising
    if isinstance(config, ListedBeta):
        return np.array(config.betas)
    i = np.arange(config.steps, dtype=np.longdouble)

    def f(t: np.ndarray) -> np.ndarray:
        return np.cos((t + config.s) / (1 + config.s) * np.longdouble(np.pi) / 2) ** 2

    return np.minimum(1 - f((i + 1) / config.steps) / f(i / config.steps), config.max_beta).astype(np.float64)


def test_published_values_of_alpha_bar() -> None:
    linear, cosine = LinearBeta().build(), CosineBeta().build()
    t = torch.tensor([0.5, 1.0], dtype=torch.float64)
    assert linear.alpha(t).square().tolist() == pytest.approx([0.0786, 4.04e-5], rel=2e-3)  # three digits are given
    assert float(cosine.alpha(t[:1])) ** 2 == pytest.approx(0.494, abs=5e-4)
    assert ConstantBeta().build().alpha(t[1:]).square().item() == pytest.approx(
        linear.alpha(t[1:]).square().item(), rel=1e-4
    )


def test_sigma_as_the_papers_number_it() -> None:
    """EDM's eq. 5 with its i from the noisiest, NCSN's ten levels from the noisiest, VE's geometric middle."""
    i = torch.arange(18, dtype=torch.float64)
    karras = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    torch.testing.assert_close(EDM().build().sigma(1 - i / 17), karras, rtol=1e-13, atol=0)  # a 7th power of roundings
    rungs = 1 - torch.arange(10, dtype=torch.float64) / 10
    assert Ladder().build().sigma(rungs).tolist() == pytest.approx(np.geomspace(1, 0.01, 10), rel=1e-14)
    assert VE().build().sigma(at(0.5)).item() == pytest.approx((0.01 * 50) ** 0.5, rel=1e-14)


@pytest.mark.parametrize("config", CHAINS, ids=IDS[: len(CHAINS)])
def test_exact_on_the_grid(config) -> None:
    """alpha, sigma and log-SNR at i/T against products in extended precision; float64 sums of T terms keep 1e-12."""
    schedule = config.build()
    alpha_bar = reference_alpha_bar(reference_betas(config))[1:]
    t = torch.arange(1, config.steps + 1, dtype=torch.float64) / config.steps
    np.testing.assert_allclose(schedule.alpha(t), np.sqrt(alpha_bar).astype(float), rtol=1e-12)
    np.testing.assert_allclose(schedule.sigma(t), np.sqrt(1 - alpha_bar).astype(float), rtol=1e-12)
    np.testing.assert_allclose(
        schedule.log_snr(t), (np.log(alpha_bar) - np.log1p(-alpha_bar)).astype(float), rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(schedule.betas(config.steps), reference_betas(config), rtol=1e-11)


ENDS = [  # alpha(0), sigma(0), alpha(1), sigma(1), and the relative error that their formulas leave
    (VP(), 1.0, 0.0, exp(-10.05 / 2), (-expm1(-10.05)) ** 0.5, 1e-15),
    (SubVP(), 1.0, 0.0, exp(-10.05 / 2), -expm1(-10.05), 1e-15),
    (Cosine(), 1.0, 0.0, 0.0, 1.0, 0.0),
    (Flow(), 1.0, 0.0, 0.0, 1.0, 0.0),
    (Erasing(), 1.0, 0.0, 0.0, 1.0, 0.0),
    (VE(), 1.0, 0.01, 1.0, 50.0, 0.0),
    (EDM(), 1.0, 0.002, 1.0, 80.0, 1e-14),  # a seventh root to the seventh power
    (Ladder(), 1.0, 0.0, 1.0, 1.0, 0.0),
    (
        Learned(width=16),
        (1 + exp(-13.3)) ** -0.5,
        (1 + exp(13.3)) ** -0.5,
        (1 + exp(5)) ** -0.5,
        (1 + exp(-5)) ** -0.5,
        1e-15,
    ),
]


@pytest.mark.parametrize(
    ("config", "alpha_0", "sigma_0", "alpha_1", "sigma_1", "error"), ENDS, ids=lambda v: getattr(v, "name", "")
)
def test_ends(config, alpha_0: float, sigma_0: float, alpha_1: float, sigma_1: float, error: float) -> None:
    start, end = (noise_level(config.build(), t) for t in (0.0, 1.0))
    assert (start.alpha, start.sigma) == pytest.approx((alpha_0, sigma_0), rel=error, abs=0)
    assert (end.alpha, end.sigma) == pytest.approx((alpha_1, sigma_1), rel=error, abs=0)
    for now in (start, end):
        expected = inf if now.sigma == 0 else -inf if now.alpha == 0 else 2 * log(now.alpha / now.sigma)
        assert now.log_snr == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_at_the_start_sigma_rises(config) -> None:
    """Its slope is positive or, where sigma grows like √t, +inf."""
    start = noise_level(BUILT[config], 0.0)
    assert start.sigma_slope > 0
    root = isinstance(config, VP | LearnedChain | Erasing) or config in CHAINS
    assert (start.sigma_slope == inf) == root


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_log_snr_out_of_range_belongs_to_the_nearer_end(config) -> None:
    schedule = BUILT[config]
    start, end = (schedule.log_snr(at(t)).item() for t in (0.0, 1.0))
    assert schedule.time(values([inf, start, start + 1])).tolist() == [0.0, pytest.approx(0, abs=1e-15), 0.0]
    assert schedule.time(values([-inf, end, end - 1])).tolist() == [1.0, pytest.approx(1, abs=1e-15), 1.0]


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_log_snr_of_float32_has_the_time_that_it_has_in_float64(config) -> None:
    log_snr = torch.linspace(-12.0, 12.0, 50)
    assert torch.equal(BUILT[config].time(log_snr), BUILT[config].time(log_snr.double()))


def test_small_betas_keep_their_digits() -> None:
    schedule = BetaSchedule([1e-13, 2e-13, 0.5])
    sigma = schedule.sigma(torch.tensor([1 / 3, 2 / 3], dtype=torch.float64))
    np.testing.assert_allclose(sigma.square(), [1e-13, 3e-13], rtol=1e-12)
    np.testing.assert_allclose(schedule.betas(3), [1e-13, 2e-13, 0.5], rtol=1e-12)


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
@given(t=st.floats(1e-6, 1, exclude_max=True))
def test_time_inverts_log_snr(config, t: float) -> None:
    """To within the time that a few roundings of log-SNR (of the size of its terms) amount to."""
    schedule = BUILT[config]
    now = noise_level(schedule, t)
    terms = abs(log(now.alpha)) + abs(log(now.sigma)) + 1
    assert schedule.time(at(now.log_snr)).item() == pytest.approx(t, abs=1e-15 + 2e-15 * terms / -log_snr_slope(now))


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
@given(t=st.floats(0, 1), s=st.floats(0, 1))
def test_monotone_and_of_bounded_variance(config, t: float, s: float) -> None:
    schedule = BUILT[config]
    now, other = noise_level(schedule, t), noise_level(schedule, s)
    if config in EXPLODING:
        assert now.alpha == 1
    elif isinstance(config, SubVP):
        assert now.alpha**2 + now.sigma == pytest.approx(1, abs=1e-15)
    elif isinstance(config, Flow):
        assert now.alpha + now.sigma == pytest.approx(1, abs=1e-15)
    else:
        assert now.alpha**2 + now.sigma**2 == pytest.approx(1, abs=1e-15)
    if t - s > 1e-9:
        assert now.log_snr < other.log_snr
        assert now.alpha <= other.alpha
        assert now.sigma >= other.sigma


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
@given(t=st.floats(0.01, 0.99))
def test_slopes_are_central_differences(config, t: float) -> None:
    """Of fourth order with steps h of 2e-5, or 1/5 of the way to the nearest corner.

    A rounding of the values, 1e-16, becomes 1e-11 of them at such a step; the formula's own error is about (h/T)⁴ of
    the slope, where T = sigma²/(dsigma²/dt) is how far back the variance would vanish (right behind a chain's corner
    that is nearer than t), and 1 - t where a schedule is singular at 1.
    """
    h = min([2e-5, *(abs(t - corner) / 5 for corner in corners(config))])
    if h < 1e-5:
        return  # at a corner
    schedule = BUILT[config]
    now = noise_level(schedule, t)
    table = schedule.noise_level(t + h * torch.tensor([-2.0, -1.0, 1.0, 2.0], dtype=torch.float64))
    formula = (2 * h * now.sigma_slope / now.sigma) ** 4
    stencil = torch.tensor([1.0, -8.0, 8.0, -1.0], dtype=torch.float64) / (12 * h)
    for value, slope, values in (
        (now.alpha, now.alpha_slope, table.alpha),
        (now.sigma, now.sigma_slope, table.sigma),
        (now.log_snr, log_snr_slope(now), table.log_snr),
    ):
        assert float(values @ stencil) == pytest.approx(slope, rel=1e-8 + formula, abs=1e-10 * (1 + abs(value)))


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_at_a_corner_slopes_are_those_of_the_side_toward_data(config) -> None:
    corner = values(corners(config)[1:])
    now, before = (BUILT[config].noise_level(t) for t in (corner, corner * (1 - 1e-10)))
    torch.testing.assert_close(now.alpha_slope, before.alpha_slope, rtol=1e-6, atol=0)
    torch.testing.assert_close(now.sigma_slope, before.sigma_slope, rtol=1e-6, atol=0)


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_small_steps_make_the_process_of_the_slopes(config) -> None:
    """dx = f x dt + g dw with f = alpha'/alpha, g² = dsigma²/dt - 2 f sigma² ≥ 0.

    A step of h in the middle of an interval has the variance g² h and multiplies the mean by 1 + f h, both to within
    a part in h; all the steps together are the jump.
    """
    schedule, h = BUILT[config], 1e-6
    for t in (0.0313, 0.2511, 0.5013, 0.9017):
        s, now, after = (noise_level(schedule, u) for u in (t - h / 2, t, t + h / 2))
        f = now.alpha_slope / now.alpha
        g_squared = 2 * now.sigma * now.sigma_slope - 2 * f * now.sigma**2
        assert g_squared > 0
        step = transition(s, after)
        assert (step.scale - 1) / h == pytest.approx(f, rel=1e-4, abs=1e-9)  # scale - 1 keeps 1e-16/h
        assert step.variance / h == pytest.approx(g_squared, rel=1e-4)
    times = torch.arange(20, 981, dtype=torch.float64) / 1000
    walk = list(noise_levels(schedule, times))
    mean, variance = walk[0].alpha, walk[0].sigma ** 2
    for s, now in pairwise(walk):
        step = transition(s, now)
        mean, variance = step.scale * mean, step.scale**2 * variance + step.variance
    assert mean == pytest.approx(walk[-1].alpha, rel=1e-12)
    assert variance == pytest.approx(walk[-1].sigma ** 2, rel=1e-12)


@pytest.mark.parametrize("t", [0.1, 0.5, 1.0])
def test_the_sdes_diffuse_as_published(t: float) -> None:
    """g² of Song et al. 2021, eqs. 9, 11 and 12: β; β (1 - exp(-2B)); dsigma²/dt = 2 log(σ_max/σ_min) sigma²."""
    beta, integral = 0.1 + 19.9 * t, 0.1 * t + 19.9 * t**2 / 2
    for config, drift, diffusion in (
        (VP(), -beta / 2, beta),
        (SubVP(), -beta / 2, beta * -expm1(-2 * integral)),
        (VE(), 0.0, 2 * log(5000) * 0.01**2 * 5000 ** (2 * t)),
    ):
        now = noise_level(config.build(), t)
        f = now.alpha_slope / now.alpha
        assert f == pytest.approx(drift, rel=1e-14)
        assert 2 * now.sigma * (now.sigma_slope - f * now.sigma) == pytest.approx(diffusion, rel=1e-12)


@pytest.mark.parametrize("tiny", [1e-3, 1e-8, 1e-13])
def test_no_digits_are_lost_near_the_ends(tiny: float) -> None:
    integral = 0.1 * tiny + 19.9 * tiny**2 / 2
    sub_vp = noise_level(SubVP().build(), tiny)
    assert sub_vp.sigma == pytest.approx(-expm1(-integral), rel=1e-15)
    assert sub_vp.log_snr == pytest.approx(-2 * log(2 * sinh(integral / 2)), rel=1e-15)
    start, end = noise_level(Cosine().build(), tiny), noise_level(Cosine().build(), 1 - tiny)
    left = 1 - (1 - tiny)  # of the time, as a float has it
    assert start.sigma == pytest.approx(np.sin(pi / 2 * tiny), rel=1e-15)
    assert end.alpha == pytest.approx(np.sin(pi / 2 * left), rel=1e-15)
    assert end.log_snr == pytest.approx(2 * log(np.tan(pi / 2 * left)), rel=1e-14)
    assert noise_level(Ladder().build(), tiny).sigma == pytest.approx(0.1 * tiny, rel=1e-15)


def test_sub_vp_has_the_mean_of_vp_and_its_variance_as_deviation() -> None:
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    vp, sub_vp = VP().build(), SubVP().build()
    assert sub_vp.alpha(t).tolist() == vp.alpha(t).tolist()
    torch.testing.assert_close(sub_vp.sigma(t), vp.sigma(t) ** 2, rtol=1e-15, atol=0)


def test_the_continuous_cosine_is_the_chains_without_offset() -> None:
    """On the grid of 50 steps but the last, where the chain's β is limited."""
    chain, cosine = CosineBeta(steps=50, s=0.0).build(), Cosine().build()
    t = torch.arange(50, dtype=torch.float64) / 50
    torch.testing.assert_close(cosine.alpha(t), chain.alpha(t), rtol=1e-13, atol=0)
    torch.testing.assert_close(cosine.sigma(t), chain.sigma(t), rtol=1e-13, atol=0)


def test_below_its_first_level_the_ladder_is_linear_and_above_geometric() -> None:
    ladder = Ladder(steps=3, sigma_min=0.1, sigma_max=10.0).build()
    t = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0], dtype=torch.float64) / 3
    assert ladder.sigma(t).tolist() == pytest.approx([0, 0.05, 0.1, 10**-0.5, 1, 10], rel=1e-14)


def test_nothing_is_taken_from_the_data_where_variance_explodes() -> None:
    for config in EXPLODING:
        assert config.build().betas(10).tolist() == [0.0] * 10


def test_vp_is_its_integral_and_the_limit_of_its_chain() -> None:
    """alpha² = exp(-∫β) by quadrature; 1000 steps of β(t)/1000 come within Σ β²/4 = 1.7 % of it at t = 0.8."""
    schedule = VP().build()
    for t in (0.1, 0.5, 1.0):
        integral, _ = integrate.quad(lambda u: 0.1 + 19.9 * u, 0, t)
        alpha = float(schedule.alpha(torch.tensor(t, dtype=torch.float64)))
        assert alpha == pytest.approx(np.exp(-integral / 2), rel=1e-13)
    chain = LinearBeta(beta_start=1e-4, beta_end=0.02).build()
    t = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    torch.testing.assert_close(schedule.alpha(t), chain.alpha(t), rtol=2e-2, atol=0)


def test_flow_is_a_straight_line() -> None:
    schedule = Flow().build()
    t = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    assert schedule.alpha(t).tolist() == [1.0, 0.75, 0.0]
    assert schedule.sigma(t).tolist() == [0.0, 0.25, 1.0]
    assert schedule.log_snr(t).tolist() == [float("inf"), pytest.approx(2 * np.log(3)), float("-inf")]
    assert schedule.time(schedule.log_snr(t)).tolist() == pytest.approx([0.0, 0.25, 1.0])


@pytest.mark.parametrize("steps", [1, 7, 2000])
def test_erasing_takes_the_same_share_of_the_data_at_each_step(steps: int) -> None:
    """β_i = 1/(T - i + 1) (Sohl-Dickstein et al. 2015, section 2.4.1): alpha² falls by 1/T, to exactly nothing."""
    schedule = Erasing(steps=steps).build()
    left = steps - torch.arange(steps, dtype=torch.float64)
    torch.testing.assert_close(schedule.betas(steps), 1 / left, rtol=1e-12, atol=1e-15)
    alpha = schedule.alpha(torch.arange(steps + 1, dtype=torch.float64) / steps)
    torch.testing.assert_close(alpha.square().diff(), torch.full_like(left, -1 / steps), rtol=0, atol=1e-15)
    assert alpha[-1] == 0


def test_between_grid_points_the_rate_is_constant() -> None:
    """Halving every step of the chain gives the chain's own ᾱ at its own times."""
    schedule = LinearBeta(steps=10, beta_end=0.3).build()
    fine = schedule.betas(20)
    np.testing.assert_allclose(fine[::2], fine[1::2], rtol=1e-12)
    np.testing.assert_allclose(1 - (1 - fine[::2]) * (1 - fine[1::2]), schedule.betas(10), rtol=1e-12)


def test_levels_are_floats_and_agree_with_tensors() -> None:
    schedule = CosineBeta().build()
    times = torch.tensor([1.0, 0.3, 0.0], dtype=torch.float64)
    rows = list(noise_levels(schedule, times))
    assert all(type(value) is float for row in rows for value in (row.t, row.alpha, row.sigma, row.log_snr))
    assert [row.sigma for row in rows] == schedule.sigma(times).tolist()
    assert noise_level(schedule, rows[1]) is rows[1]
    assert noise_level(schedule, 0.3) == rows[1]
    assert (rows[1].t, rows[1].alpha) == (0.3, schedule.alpha(times)[1].item())
    assert noise_level(schedule, times.float()).alpha.dtype == torch.float64


def test_the_wronskian_is_half_of_g_squared_alpha_over_sigma() -> None:
    """g² is 2t/(1 - t) for rectified flow, π tan(πt/2) for the cosine, β(t) for VP."""
    t = values([0.1, 0.5, 0.9])
    for config, expected in ((Flow(), t * 0 + 1), (Cosine(), t * 0 + pi / 2)):
        np.testing.assert_allclose(wronskian(noise_level(config.build(), t)), expected, rtol=1e-14)
    vp = noise_level(VP(beta_min=0.1, beta_max=20.0).build(), t)
    np.testing.assert_allclose(wronskian(vp), (0.1 + 19.9 * t) / 2 * vp.alpha / vp.sigma, rtol=1e-14)
    assert wronskian(noise_level(Flow().build(), 0.3)) == pytest.approx(1, rel=1e-14)
    assert wronskian(DATA) == inf


def test_deviation_is_that_of_x_t() -> None:
    """Of data of any deviation s; for a variance preserving process and s = 1 it is 1 throughout."""
    t = values([0.0, 0.3, 1.0])
    np.testing.assert_allclose(deviation(noise_level(CosineBeta().build(), t)), 1, rtol=1e-14)
    np.testing.assert_allclose(
        deviation(noise_level(Flow().build(), t), 0.5), [0.5, (0.35**2 + 0.3**2) ** 0.5, 1], rtol=1e-14
    )
    assert deviation(DATA, 0.5) == 0.5


def test_noise_ratio_is_finite_as_long_as_a_float_can_hold_it() -> None:
    """At e^-1000 alpha itself has underflowed, while log-SNR is still finite."""
    assert noise_ratio(noise_level(Flow().build(), 0.75)) == pytest.approx(3, rel=1e-14)
    assert noise_ratio(DATA) == 0
    assert noise_ratio(noise_level(Flow().build(), 1.0)) == inf
    assert noise_ratio(noise_level(VP(beta_max=2800.0).build(), 1.0)) == pytest.approx(exp(700.025), rel=1e-12)
    assert noise_ratio(noise_level(VP(beta_max=4000.0).build(), 1.0)) == inf


def test_the_levels_of_some_samples_have_their_own_ends() -> None:
    schedule, t = Flow().build(), values([0.9, 0.6, 0.3])
    whole = replace(schedule.noise_level(t), until=schedule.noise_level(t / 3))
    some = whole.chosen(torch.tensor([2, 0]))
    assert torch.equal(some.t, values([0.3, 0.9]))
    assert torch.equal(some.until.sigma, t[[2, 0]] / 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LinearBeta(steps=0),
        lambda: LinearBeta(beta_end=1.0),
        lambda: ConstantBeta(beta=0.0),
        lambda: CosineBeta(s=-0.1),
        lambda: CosineBeta(max_beta=1.5),
        lambda: ListedBeta((0.1, 2.0)),
        lambda: SigmoidBeta(width=0.0),
        lambda: QuadraticBeta(beta_start=0.0),
        lambda: VP(beta_min=0.0),
        lambda: VP(beta_min=2.0, beta_max=1.0),
        lambda: SubVP(beta_min=0.0),
        lambda: VE(sigma_min=0.0),
        lambda: VE(sigma_min=2.0, sigma_max=1.0),
        lambda: VE(sigma_max=inf),
        lambda: EDM(sigma_min=-1.0),
        lambda: EDM(rho=0.5),
        lambda: EDM(rho=inf),
        lambda: Ladder(steps=1),
        lambda: Ladder(sigma_min=1.0),
        lambda: Erasing(steps=0),
        lambda: Learned(gamma_min=5.0),
        lambda: Learned(gamma_max=inf),
        lambda: Learned(width=0),
        lambda: LearnedChain(steps=0),
        lambda: LearnedChain(beta_start=0.0),
        lambda: BetaSchedule([]),
        lambda: BetaSchedule([0.1, 1.0]),
        lambda: BetaSchedule([0.0, 0.1]),
        lambda: BetaSchedule([float("nan")]),
    ],
)
def test_impossible_values_are_refused_by_name(make) -> None:
    with pytest.raises(InputError, match=r"^schedule\.\w+: "):
        make()

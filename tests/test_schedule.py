"""Schedules: the published values, exactness on the grid, and the inverse."""

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
from sumi.process.continuous import VP, Flow
from sumi.process.schedule import level, levels
from tests.oracles import reference_alpha_bar

CHAINS = [
    LinearBeta(),
    LinearBeta(steps=50, beta_end=0.3),
    ConstantBeta(),
    CosineBeta(),
    CosineBeta(steps=7),
    QuadraticBeta(),
    SigmoidBeta(),
    ListedBeta((0.1, 0.5, 0.02)),
]
CONTINUOUS = [VP(), VP(beta_min=1.0, beta_max=1.0), Flow()]
CONFIGS = [*CHAINS, *CONTINUOUS]
IDS = [f"{type(c).__name__}-{c.steps}" for c in CONFIGS]


def reference_betas(config) -> np.ndarray:
    """The papers' formulas, in NumPy."""
    if isinstance(config, LinearBeta):
        return np.linspace(config.beta_start, config.beta_end, config.steps)
    if isinstance(config, ConstantBeta):
        return np.full(config.steps, config.beta)
    if isinstance(config, QuadraticBeta):
        return np.linspace(config.beta_start**0.5, config.beta_end**0.5, config.steps) ** 2
    if isinstance(config, SigmoidBeta):
        rising = 1 / (1 + np.exp(-np.linspace(-6, 6, config.steps)))
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


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_ends(config) -> None:
    schedule = config.build()
    start = level(schedule, 0.0)
    assert (start.alpha, start.sigma, start.log_snr) == (1.0, 0.0, float("inf"))
    assert schedule.time(torch.tensor([float("inf")])).item() == 0.0
    end = schedule.log_snr(torch.ones(1, dtype=torch.float64))
    assert schedule.time(end - 1).item() == pytest.approx(1.0, abs=1e-15)  # noisier than the schedule ever is


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
@given(t=st.floats(1e-6, 1))
def test_time_inverts_log_snr(config, t: float) -> None:
    schedule = config.build()
    back = schedule.time(schedule.log_snr(torch.tensor([t], dtype=torch.float64)))
    # one rounding of log-SNR is this much time: the slope of log-SNR is that of its chain of 1000 steps or its own
    steps = config.steps or 1000
    slope = float((-schedule.betas(steps)).log1p().abs().min()) * steps
    assert back.item() == pytest.approx(t, abs=1e-12 + 1e-15 / slope)


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
@given(t=st.floats(0, 1), s=st.floats(0, 1))
def test_variance_preserving_and_monotone(config, t: float, s: float) -> None:
    schedule = config.build()
    now, other = level(schedule, t), level(schedule, s)
    if not isinstance(config, Flow):
        assert now.alpha**2 + now.sigma**2 == pytest.approx(1, abs=1e-15)
    if abs(t - s) > 1e-9:
        assert (now.log_snr > other.log_snr) == (t < s)


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


def test_between_grid_points_the_rate_is_constant() -> None:
    """Halving every step of the chain gives the chain's own ᾱ at its own times."""
    schedule = LinearBeta(steps=10, beta_end=0.3).build()
    fine = schedule.betas(20)
    np.testing.assert_allclose(fine[::2], fine[1::2], rtol=1e-12)
    np.testing.assert_allclose(1 - (1 - fine[::2]) * (1 - fine[1::2]), schedule.betas(10), rtol=1e-12)


def test_levels_are_floats_and_agree_with_tensors() -> None:
    schedule = CosineBeta().build()
    times = torch.tensor([1.0, 0.3, 0.0], dtype=torch.float64)
    rows = list(levels(schedule, times))
    assert all(type(value) is float for row in rows for value in (row.t, row.alpha, row.sigma, row.log_snr))
    assert [row.sigma for row in rows] == schedule.sigma(times).tolist()
    assert level(schedule, rows[1]) is rows[1]
    assert level(schedule, 0.3) == rows[1]
    assert (rows[1].t, rows[1].alpha) == (0.3, schedule.alpha(times)[1].item())
    assert level(schedule, times.float()).alpha.dtype == torch.float64


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
        lambda: BetaSchedule([]),
        lambda: BetaSchedule([0.1, 1.0]),
        lambda: BetaSchedule([float("nan")]),
    ],
)
def test_impossible_values_are_refused_by_name(make) -> None:
    with pytest.raises(InputError, match=r"^schedule\.\w+: "):
        make()

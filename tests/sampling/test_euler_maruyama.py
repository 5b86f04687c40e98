"""The reverse SDE on targets whose exact denoiser is known: linear probes, no Monte Carlo."""

from itertools import pairwise
from math import exp, log, sqrt

import pytest
import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.process.chain import LinearBeta
from sumi.process.continuous import VP, Cosine, Flow, SubVP
from sumi.process.exploding import EDM, VE
from sumi.process.schedule import DATA, level, levels
from sumi.randomness import Purpose
from sumi.sampling.sample import sample
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.euler_maruyama import EulerMaruyama
from sumi.sampling.time_grid import uniform
from tests.oracles import GaussianTarget, linear_probe

CONTINUOUS = {config.name: config.build() for config in (VP(), SubVP(), Cosine(), Flow(), VE(), EDM())}
TARGET = GaussianTarget(mean=0.5, std=0.3)
DRAW = torch.tensor([[0.7], [-1.1]], dtype=torch.float64)


def no_noise(purpose: Purpose, draw: int = 0) -> Tensor:
    raise AssertionError("drew noise")


def published(name: str, t: float) -> tuple[float, float]:
    """f and g² at t as the paper prints them; those of flow and EDM worked out by hand."""
    beta, integral = 0.1 + 19.9 * t, 0.1 * t + 19.9 * t**2 / 2
    root = 0.002 ** (1 / 7) + (80 ** (1 / 7) - 0.002 ** (1 / 7)) * t
    return {
        "vp": (-beta / 2, beta),
        "sub_vp": (-beta / 2, beta * (1 - exp(-2 * integral))),
        "ve": (0.0, 0.01**2 * 5000 ** (2 * t) * 2 * log(5000)),
        "flow": (-1 / (1 - t), 2 * t / (1 - t)),
        "edm": (0.0, 14 * (80 ** (1 / 7) - 0.002 ** (1 / 7)) * root**13),
    }[name]


@pytest.mark.parametrize("name", ["vp", "sub_vp", "ve", "flow", "edm"])
@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_a_step_is_the_papers(name: str, share: float) -> None:
    """x + dt (f x - (1 + λ²)/2 g² score) + λ g √|dt| z: Song et al. 2021, eq. 6, with their eqs. 30 to 32."""
    schedule = CONTINUOUS[name]
    t, s = level(schedule, 0.6), level(schedule, 0.57)
    x = torch.tensor([[0.2], [-0.9]], dtype=torch.float64)
    f, g2 = published(name, 0.6)
    mean, variance = TARGET.marginal(t)
    score = -(x - mean) / variance
    expected = x - 0.03 * (f * x - (1 + share**2) / 2 * g2 * score) + share * sqrt(g2 * 0.03) * DRAW
    solver = EulerMaruyama(share)
    draws: list = []

    def noise(purpose: Purpose, draw: int = 0) -> Tensor:
        draws.append((purpose, draw))
        return DRAW

    got, _ = solver.step(TARGET.denoiser(schedule), x, t, s, solver.init(), noise)
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)
    assert draws == ([(Purpose.STEP, 0)] if share else [])


def grid(schedule, kind: str, steps: int) -> Tensor:
    """From σ̂ = 2 to 0.2, even in t or in log σ̂."""
    part = torch.arange(steps + 1, dtype=torch.float64) / steps
    times = schedule.time(-2 * (log(2.0) + log(0.1) * part))
    return times if kind == "geometric" else times[0] + (times[-1] - times[0]) * part


@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("kind", ["uniform", "geometric"])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_weak_order_one_and_the_same_marginal_for_any_share(name: str, kind: str, share: float) -> None:
    """Mean and variance from σ̂ = 2 to 0.2 start and end with the target's own; their errors halve with the steps' size:
    order 1 ± 0.05 at 800 steps, where the second order is a few per cent of the first."""
    schedule = CONTINUOUS[name]
    found = []
    for steps in (400, 800):
        times = grid(schedule, kind, steps)
        first, last = (TARGET.marginal(v) for v in levels(schedule, times[[0, -1]]))
        got = linear_probe(TARGET.denoiser(schedule), EulerMaruyama(share), times, first[0] + 0.1, first[1])
        # the mean starts 0.1 off; the SDE forgets most of that, its ODE nothing
        mean, variance = exact_moments(schedule, share, times, first[0] + 0.1, first[1])
        assert variance == pytest.approx(last[1], rel=1e-9)
        found.append((abs(got[0] - mean), abs(got[1] - variance)))
    for a, b in zip(*found, strict=True):
        assert log(a / b) / log(2) == pytest.approx(1, abs=0.05)


def exact_moments(schedule, share: float, times: Tensor, mean: float, variance: float) -> tuple[float, float]:
    """Mean and variance that the reverse SDE itself carries from times[0] to times[-1].

    A deviation d from the target's mean follows d log d = (f + (1 + λ²)/2 g²/V) dt with V' = 2 f V + g², that is
    d log d = (1 + λ²)/2 d log V - λ² f dt: a power of V and of alpha.
    """
    first, last = levels(schedule, times[[0, -1]])
    (mean_t, v_t), (mean_s, v_s) = TARGET.marginal(first), TARGET.marginal(last)
    kept = (v_s / v_t) ** ((1 + share**2) / 2) * (first.alpha / last.alpha) ** share**2
    return mean_s + kept * (mean - mean_t), v_s + kept**2 * (variance - v_t)


def test_the_last_step_is_the_denoised_image_and_from_pure_noise_the_first_is_ddims() -> None:
    """x̂_0 at the data, without noise, on every schedule; f and g are infinite where alpha = 0, the kernel is not."""
    for schedule in (*CONTINUOUS.values(), LinearBeta().build()):
        t = level(schedule, 0.02)
        x = t.alpha * DRAW
        got, _ = EulerMaruyama().step(TARGET.denoiser(schedule), x, t, DATA, None, no_noise)
        torch.testing.assert_close(got, TARGET.clean(x, t), rtol=0, atol=1e-14)
    for schedule in (CONTINUOUS["flow"], CONTINUOUS["continuous_cosine"]):
        end, s = level(schedule, 1.0), level(schedule, 0.9)
        for share in (0.0, 0.6, 1.0):
            step = EulerMaruyama(share).step(TARGET.denoiser(schedule), 0 * DRAW, end, s, None, lambda purpose: DRAW)[0]
            torch.testing.assert_close(step, s.alpha * 0.5 + share * s.sigma * DRAW, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [*CONTINUOUS, "linear"])
def test_samples_converge_to_the_data(name: str) -> None:
    """From t = 1 to the data: ever nearer to N(0.5, 0.3²), within 0.02 after 1000 even steps (VE after 100)."""
    schedule = CONTINUOUS[name] if name in CONTINUOUS else LinearBeta().build()
    begin = TARGET.marginal(level(schedule, 1.0))
    far = []
    for steps in (100, 1000):
        mean, variance = linear_probe(TARGET.denoiser(schedule), EulerMaruyama(), uniform(steps), *begin)
        far.append(abs(mean - 0.5) + abs(sqrt(variance) - 0.3))
    assert far[1] < max(far[0] / 3, 1e-3)
    assert far[1] < 0.02


def test_any_number_of_steps_is_so_many_evaluations() -> None:
    class Counting:
        def __init__(self, schedule) -> None:
            self.schedule, self.asked = schedule, []

        def __call__(self, x: Tensor, t):
            self.asked.append(t)
            return TARGET.denoiser(self.schedule)(x, t)

    def noise(step: int, purpose: Purpose, draw: int = 0) -> Tensor:
        return DRAW

    for name in ("vp", "flow", "edm"):
        for steps in range(1, 51):
            denoiser = Counting(CONTINUOUS[name])
            end = sample(denoiser, EulerMaruyama(), uniform(steps), DRAW, noise)
            assert denoiser.asked == list(levels(denoiser.schedule, uniform(steps)))[:-1]
            assert all(a.t > b.t for a, b in pairwise(denoiser.asked))
            assert end.shape == DRAW.shape


def test_noise_is_asked_for_only_with_stochasticity() -> None:
    schedule = CONTINUOUS["vp"]
    with pytest.raises(InputError, match=r"^noise: "):
        sample(TARGET.denoiser(schedule), EulerMaruyama(), uniform(3), DRAW)
    ode = sample(TARGET.denoiser(schedule), EulerMaruyama(0.0), uniform(2000), DRAW)
    ddim = sample(TARGET.denoiser(schedule), DDIM(), uniform(2000), DRAW)
    torch.testing.assert_close(ode, ddim, rtol=0, atol=5e-3)  # both are first order in 1/2000


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_impossible_values_are_refused_by_name(share: float) -> None:
    with pytest.raises(InputError, match=r"^stochasticity: "):
        EulerMaruyama(share)

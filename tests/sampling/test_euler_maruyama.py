"""The reverse SDE on targets whose exact denoiser is known: linear probes, no Monte Carlo."""

from math import exp, log, sqrt

import pytest
import torch
from torch import Tensor

from sumi.process.chain import LinearBeta
from sumi.process.continuous import VP, Cosine, Flow, SubVP
from sumi.process.exploding import EDM, VE
from sumi.process.schedule import DATA, noise_level
from sumi.randomness import Purpose
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
    t, s = noise_level(schedule, 0.6), noise_level(schedule, 0.57)
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


def test_the_last_step_is_the_denoised_image_and_from_pure_noise_the_first_is_ddims() -> None:
    """x̂_0 at the data, without noise, on every schedule; f and g are infinite where alpha = 0, the kernel is not."""
    for schedule in (*CONTINUOUS.values(), LinearBeta().build()):
        t = noise_level(schedule, 0.02)
        x = t.alpha * DRAW
        got, _ = EulerMaruyama().step(TARGET.denoiser(schedule), x, t, DATA, None, no_noise)
        torch.testing.assert_close(got, TARGET.clean(x, t), rtol=0, atol=1e-14)
    for schedule in (CONTINUOUS["flow"], CONTINUOUS["continuous_cosine"]):
        end, s = noise_level(schedule, 1.0), noise_level(schedule, 0.9)
        for share in (0.0, 0.6, 1.0):
            step = EulerMaruyama(share).step(TARGET.denoiser(schedule), 0 * DRAW, end, s, None, lambda purpose: DRAW)[0]
            torch.testing.assert_close(step, s.alpha * 0.5 + share * s.sigma * DRAW, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [*CONTINUOUS, "linear"])
def test_samples_converge_to_the_data(name: str) -> None:
    """From t = 1 to the data: ever nearer to N(0.5, 0.3²), within 0.02 after 1000 even steps (VE after 100)."""
    schedule = CONTINUOUS[name] if name in CONTINUOUS else LinearBeta().build()
    begin = TARGET.marginal(noise_level(schedule, 1.0))
    far = []
    for steps in (100, 1000):
        mean, variance = linear_probe(TARGET.denoiser(schedule), EulerMaruyama(), uniform(steps), *begin)
        far.append(abs(mean - 0.5) + abs(sqrt(variance) - 0.3))
    assert far[1] < max(far[0] / 3, 1e-3)
    assert far[1] < 0.02

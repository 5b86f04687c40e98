"""Cascades: with exact stages the law of what they make is exact, with and without noise on the way up."""

from math import cos, pi, sin

import pytest
import torch
from torch import Tensor

from sumi.conditioning.cascade import augmented, cascade, stage_seed
from sumi.conditioning.condition import Condition
from sumi.denoising.denoiser import FunctionDenoiser
from sumi.process.continuous import Flow
from sumi.process.schedule import NoiseLevel
from sumi.randomness import Purpose
from sumi.sampling.sample import sample
from sumi.sampling.solvers.ddim import DDIM

BELOW, SPREAD = 0.3, 0.5
"""y ~ N(BELOW, SPREAD²), and x = 0.2 + 0.8 y + 0.1 ε."""
TIMES = torch.tensor([1.0, 0.6, 0.2, 1e-7, 0.0], dtype=torch.float64)  # the last step draws no noise
ROWS = 32


class Units:
    """Noise of which row 0 is zero, and each other row a unit of one draw alone."""

    def __init__(self) -> None:
        self.row: dict[tuple[object, ...], int] = {}

    def of(self, *draw: object) -> Tensor:
        assert draw not in self.row, "the same noise twice"
        self.row[draw] = 1 + len(self.row)
        unit = torch.zeros(ROWS, 1, 1, 1, dtype=torch.float64)
        unit[self.row[draw]] = 1
        return unit


def gaussian(units: Units, place: int, mean: Tensor | float, variance: float) -> Tensor:
    """N(mean, variance) by the real sampler, exactly: an ancestral walk with the exact variance of x_0."""

    def clean(x_t: Tensor, t: NoiseLevel) -> Tensor:
        gain = t.alpha * variance / (t.alpha**2 * variance + t.sigma**2)
        return mean + gain * (x_t - t.alpha * mean)

    def rest(t: NoiseLevel) -> float:
        return variance * t.sigma**2 / (t.alpha**2 * variance + t.sigma**2)

    def noise(step: int, purpose: Purpose, draw: int = 0) -> Tensor:
        return units.of(place, step, purpose, draw)

    denoiser = FunctionDenoiser(clean, Flow().build(), rest)
    return sample(denoiser, DDIM(1.0, "learned"), TIMES, units.of(place, "start"), noise)


def law(s: float, level_given: float | None = None) -> tuple[Tensor, Tensor]:
    """Mean and covariance of (y, x) as a cascade of two exact stages makes them."""
    units = Units()

    def stage(place: int, below: Condition | None) -> Tensor:
        if below is None:
            return gaussian(units, place, BELOW, SPREAD**2)
        z = below["small"][:, :1]
        level = float(below["small_noise"][0]) if level_given is None else level_given
        c, d = cos(pi / 2 * level), sin(pi / 2 * level)
        gain = c * SPREAD**2 / (c**2 * SPREAD**2 + d**2)
        y = BELOW + gain * (z - c * BELOW)
        return gaussian(units, place, 0.2 + 0.8 * y, 0.8**2 * (1 - gain * c) * SPREAD**2 + 0.1**2)

    made = torch.stack(cascade([stage, stage], lambda place, _: units.of(place, "augmentation"), s))[..., 0, 0, 0].T
    response = made[1 : 1 + len(units.row)] - made[0]
    return made[0], response.T @ response


@pytest.mark.parametrize("s", [0.0, 0.1, 0.5, 1.0])
def test_two_exact_stages_have_the_exact_joint_law(s: float) -> None:
    """Whatever the augmentation, x has its own law; what is common with y is what of it is seen, for s = 0 all."""
    mean, covariance = law(s)
    c, d = cos(pi / 2 * s), sin(pi / 2 * s)
    common = 0.8 * SPREAD**2 * c**2 * SPREAD**2 / (c**2 * SPREAD**2 + d**2)
    wanted = [[SPREAD**2, common], [common, (0.8 * SPREAD) ** 2 + 0.1**2]]
    torch.testing.assert_close(mean, torch.tensor([BELOW, 0.2 + 0.8 * BELOW], dtype=torch.float64), rtol=0, atol=1e-10)
    torch.testing.assert_close(covariance, torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-10)


def test_a_stage_that_is_given_another_level_makes_another_law() -> None:
    variance = law(0.5, level_given=0.0)[1][1, 1]
    assert abs(variance - (0.8 * SPREAD) ** 2 - 0.1**2) > 0.1


def test_the_level_given_is_that_of_the_noise() -> None:
    picture = torch.rand(2, 3, 4, 4)
    noise = torch.randn(2, 3, 4, 4)
    below = augmented(picture, noise, 0.25)
    assert below["small_noise"].tolist() == [0.25, 0.25]
    torch.testing.assert_close(below["small"][:, :3], cos(pi / 8) * picture + sin(pi / 8) * noise)
    assert bool((below["small"][:, 3] == 1).all())
    assert torch.equal(augmented(picture, noise, 0.0)["small"][:, :3], picture)


def test_the_noise_of_each_stage_is_its_own_and_the_first_has_that_of_the_seed() -> None:
    seeds = {(seed, place): stage_seed(seed, place) for seed in range(3) for place in range(4)}
    assert len(set(seeds.values())) == len(seeds)
    assert [stage_seed(seed, 0) for seed in (0, 7)] == [0, 7]
    assert stage_seed(7, 2) == stage_seed(7, 2) < 2**63

"""Densities in the plane add up to one within what is stated, also when they are a trained network's."""

from math import exp, log, pi

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.exact import mixture_denoiser
from sumi.denoising.parameterization import PredictPreconditioned
from sumi.errors import InputError
from sumi.likelihood.plane import density_on_plane, integrate_lattice, lattice, upper_limit
from sumi.likelihood.probability_flow import ProbabilityFlow
from sumi.likelihood.trace import ExactTrace
from sumi.process.continuous import Flow
from sumi.process.exploding import EDM
from sumi.sampling.sample import sample
from sumi.sampling.solvers.heun import Heun
from sumi.sampling.time_grid import karras

MEANS = torch.tensor([[-0.6, 0.2], [0.7, -0.1]], dtype=torch.float64)
STDS, SHARES = torch.tensor([0.15, 0.25]).double(), torch.tensor([0.3, 0.7]).double()
RNG = np.random.default_rng(0)
COMPONENT = torch.from_numpy(RNG.choice(2, 4000, p=SHARES.numpy()))
SAMPLES = MEANS[COMPONENT] + STDS[COMPONENT, None] * torch.from_numpy(RNG.standard_normal((4000, 2)))
WIDE = ((-1.6, 2.2), (-1.4, 1.4))


def exact(x: Tensor) -> Tensor:
    squares = (x[:, None] - MEANS).square().sum(-1)
    return (SHARES.log() - squares / (2 * STDS**2) - (2 * pi * STDS**2).log()).logsumexp(1)


def test_a_mixtures_density_by_the_ode_adds_up_to_one() -> None:
    """Within what is stated, and nearly all of that is what 4000 samples leave open; the values are right, in place."""
    schedule = Flow().build()
    denoiser = mixture_denoiser(MEANS, STDS, SHARES, schedule)
    flow = ProbabilityFlow(rtol=1e-4, atol=1e-4)
    counts = []
    plane = density_on_plane(
        lambda x: flow.log_density(denoiser, x, ExactTrace()).log_density,
        WIDE,
        SAMPLES,
        points=33,
        batch_size=500,
        progress=lambda done, total: counts.append((done, total)),
    )
    assert abs(plane.integral - 1) < plane.error
    assert plane.outside == 4 / 4004
    assert plane.relative_error < 0.02
    assert counts == [(500, 1089), (1000, 1089), (1089, 1089)]
    for i, j in ((8, 20), (20, 8), (24, 15)):
        place = torch.stack([plane.first[i], plane.second[j]])[None]
        assert float(plane.log_density[i, j]) == pytest.approx(float(exact(place)), abs=2e-3)


def test_a_networks_own_density_adds_up_to_one() -> None:
    """Whatever the network says: the ODE and its divergence belong together. Not trained at all, and no gradient."""
    torch.manual_seed(3)

    class Perceptron(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 2))

        def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
            return self.layers(x) * (1 - c_noise[:, None] / 4)

    schedule = EDM(sigma_min=0.05, sigma_max=20.0).build()
    denoiser = NetworkDenoiser(Perceptron(), schedule, PredictPreconditioned()).double().requires_grad_(False)
    noise = torch.from_numpy(RNG.standard_normal((1000, 2))) * 20
    samples = sample(denoiser, Heun(), karras(schedule, 30), noise)
    spread = float(samples.abs().max()) * 1.3
    flow = ProbabilityFlow(rtol=1e-5, atol=1e-5)
    plane = density_on_plane(
        lambda x: flow.log_density(denoiser, x, ExactTrace()).log_density,
        ((-spread, spread), (-spread, spread)),
        samples,
        points=65,
    )
    assert plane.outside < 0.005
    assert plane.relative_error < 0.01
    assert abs(plane.integral - 1) < plane.error


@pytest.mark.parametrize("points", [9, 17, 33, 65])
def test_the_stated_error_holds_for_any_lattice(points: int) -> None:
    plane = density_on_plane(exact, WIDE, SAMPLES, points=points)
    assert abs(plane.integral - 1) < plane.error


def test_what_is_cut_off_is_in_the_stated_error() -> None:
    """Half of the plane holds what samples say it holds, within the error of the rule and of the share."""
    half = ((-1.6, 0.0), (-1.4, 1.4))
    plane = density_on_plane(exact, half, SAMPLES, points=129)
    share = float((SAMPLES[:, 0] < 0).double().mean())
    assert plane.integral == pytest.approx(share, abs=0.025)
    assert 1 - share < plane.outside < 1 - share + 0.025
    assert 1 - plane.integral < plane.error


def test_the_rule_is_the_trapezoidal_one() -> None:
    """Exact for a bilinear function, of order 2 for others, with a huge constant factor doing no harm."""
    first, second = lattice(((0.0, 2.0), (1.0, 4.0)), 5)
    bilinear = (1 + first)[:, None] * (2 + second)
    value, error = integrate_lattice(bilinear.log() + 2000, first, second)
    assert value - 2000 == pytest.approx(log(4 * 13.5), abs=1e-12)
    assert error < 1e-12
    steep = first[:, None] * torch.ones_like(second)
    value, error = integrate_lattice(steep, first, second)
    true = (exp(2) - 1) * 3
    assert 0 < exp(value) - true < error * exp(value) < 4 * (exp(value) - true)


def test_the_upper_limit_is_wilsons() -> None:
    """The share p at which the count is two of its standard deviations, √(p (1 - p)/n), below."""
    assert upper_limit(0, 100) == pytest.approx(4 / 104)
    assert upper_limit(100, 100) == pytest.approx(1.0)
    p = upper_limit(20, 100)
    assert p - 0.2 == pytest.approx(2 * (p * (1 - p) / 100) ** 0.5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: lattice(WIDE, 32),
        lambda: lattice(WIDE, 3),
        lambda: lattice(((1.0, 0.0), (0.0, 1.0)), 9),
        lambda: density_on_plane(exact, WIDE, torch.zeros(3, 3), points=9),
        lambda: density_on_plane(exact, WIDE, torch.zeros(0, 2), points=9),
    ],
)
def test_impossible_values_are_refused_by_name(make) -> None:
    with pytest.raises(InputError, match=r"^\w+: "):
        make()

"""Energies: their gradient is conservative, trains through second derivatives, and is an ordinary denoiser."""

from contextlib import nullcontext

import pytest
import torch

from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.energy import EnergyGradient
from sumi.denoising.parameterization import PredictEnergy
from sumi.denoising.weighting import SNRWeighting
from sumi.networks.unet import UNetConfig
from sumi.objectives.denoising import DenoisingLoss
from sumi.process.chain import LinearBeta
from sumi.process.exploding import EDM
from sumi.process.schedule import noise_level
from sumi.sampling.sample import sample
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.time_grid import uniform
from tests.oracles import GaussianTarget


class Perceptron(torch.nn.Module):
    """A smooth network in D dimensions whose field is no gradient of anything."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(dimension + 1, 16), torch.nn.Tanh(), torch.nn.Linear(16, dimension)
        ).double()

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        return self.layers(torch.cat([x, c_noise[:, None] / 1000], dim=1))


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def jacobian(field: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    c_noise = torch.full((1,), 300.0, dtype=torch.float64)
    return torch.autograd.functional.jacobian(lambda v: field(v[None], c_noise)[0], x)


def test_the_field_is_conservative_where_the_plain_networks_is_not() -> None:
    network, x = Perceptron(4), torch.randn(4, dtype=torch.float64)
    plain, energetic = jacobian(network, x), jacobian(EnergyGradient(network), x)
    assert float((plain - plain.T).abs().max()) > 0.05
    torch.testing.assert_close(energetic, energetic.T, rtol=0, atol=1e-14)
    c_noise = torch.full((1,), 300.0, dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(lambda v: EnergyGradient(network).energy(v[None], c_noise)[0], x)
    torch.testing.assert_close(energetic, hessian)


def test_the_field_is_the_slope_of_the_energy() -> None:
    """Central differences with step 1e-5 have an error of 1e-10 times a third derivative, and as much rounding."""
    field, x = EnergyGradient(Perceptron(3)), torch.randn(5, 3, dtype=torch.float64)
    c_noise = torch.linspace(0, 999, 5, dtype=torch.float64)
    found = field(x, c_noise)
    for k in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[k] = 1e-5
        slope = (field.energy(x + step, c_noise) - field.energy(x - step, c_noise)) / 2e-5
        torch.testing.assert_close(found[:, k], slope, rtol=0, atol=1e-9)


def test_energy_is_half_the_squared_distance_to_the_networks_output() -> None:
    network, x, c_noise = Perceptron(3), torch.randn(5, 3, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    expected = 0.5 * (x - network(x, c_noise)).norm(dim=1) ** 2
    torch.testing.assert_close(EnergyGradient(network).energy(x, c_noise), expected)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, nullcontext])
def test_every_mode_of_autograd_gives_the_same_field(mode) -> None:
    field, c_noise = EnergyGradient(Perceptron(3)), torch.ones(5, dtype=torch.float64)
    x = torch.randn(5, 3, dtype=torch.float64)
    expected = field(x, c_noise)
    with mode():
        assert torch.equal(field(x * 1, c_noise * 1), expected)
        assert field(x, c_noise).requires_grad == (mode is nullcontext)
    field.requires_grad_(False)
    assert not field(x, c_noise).requires_grad  # a frozen model records nothing
    assert field(x.clone().requires_grad_(), c_noise).requires_grad


@pytest.mark.parametrize("schedule", [LinearBeta().build(), EDM().build()], ids=["linear", "edm"])
def test_the_energy_of_a_gaussian_is_its_log_density(schedule) -> None:
    """A network with which E is the exact energy: so is the denoiser, and log p = -E/(c_in sigma) + constant."""
    target = GaussianTarget(mean=0.4, std=0.3)
    now = noise_level(schedule, 0.6)
    mean, variance = target.marginal(now)
    c_in = (now.alpha**2 + now.sigma**2) ** -0.5

    class Exact(torch.nn.Module):
        def forward(self, z: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
            """½ (z - f)² = sigma c_in (z/c_in - mean)²/(2 variance)."""
            return z - (now.sigma * c_in / variance) ** 0.5 * (z / c_in - mean)

    field = EnergyGradient(Exact())
    x = torch.randn(7, 1, dtype=torch.float64) * variance**0.5 + mean
    denoised = NetworkDenoiser(field, schedule, PredictEnergy())(x, now)
    # ε̂ is known to 1e-15 and multiplied by sigma/alpha, 26 at most
    torch.testing.assert_close(denoised.clean, target.clean(x, now), rtol=0, atol=1e-13)
    torch.testing.assert_close(denoised.score, -(x - mean) / variance, rtol=1e-12, atol=1e-12)
    log_density = -field.energy(c_in * x, x[:, 0]) / (c_in * now.sigma)
    torch.testing.assert_close(log_density, (-((x - mean) ** 2) / (2 * variance))[:, 0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_trains_through_second_derivatives(precision: str) -> None:
    """Every weight of a U-Net with attention gets the gradient that finite differences find, in bf16 nearly so."""
    unet = UNetConfig(widths=(32, 32), blocks=(1, 1), attention=(1,), embedding=16).build((1, 4, 4))
    for p in unet.parameters():
        torch.nn.init.normal_(p, std=0.08)
    denoiser = NetworkDenoiser(EnergyGradient(unet), LinearBeta().build(), PredictEnergy())
    x_0, noise = torch.randn(2, 6, 1, 4, 4)
    t = torch.linspace(0.1, 1.0, 6, dtype=torch.float64)
    loss = DenoisingLoss(SNRWeighting())
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss(denoiser, x_0, t, noise).mean().backward()
    direction = [p.grad for p in denoiser.parameters()]
    assert all(g is not None and float(g.abs().sum()) > 0 for g in direction)
    slope = sum(float(g.square().sum()) for g in direction)

    denoiser.double()

    @torch.no_grad()
    def moved(step: float) -> float:
        for p, g in zip(denoiser.parameters(), direction, strict=True):
            p.add_(g, alpha=step)
        return float(loss(denoiser, x_0.double(), t, noise.double()).mean())

    h = 1e-4 / slope**0.5
    measured = (moved(h) - moved(-2 * h)) / (2 * h)
    # the gradient's float32; bf16 keeps 8 bits of every activation
    assert slope == pytest.approx(measured, rel=1e-4 if precision == "fp32" else 0.05)


def test_a_sampler_carries_it_in_inference_mode() -> None:
    network = EnergyGradient(Perceptron(2)).requires_grad_(False)
    denoiser = NetworkDenoiser(network, LinearBeta().build(), PredictEnergy())
    x = torch.randn(3, 2, dtype=torch.float64)
    expected = sample(denoiser, DDIM(), uniform(4), x)
    with torch.inference_mode():
        assert torch.equal(sample(denoiser, DDIM(), uniform(4), x * 1), expected)

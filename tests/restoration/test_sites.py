"""Curved measurements of each number as Gaussian ones, and the method that takes them: exact where they say so."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from sumi.operators.linear import Linear, Weighted
from sumi.process.exploding import EDM
from sumi.process.schedule import noise_level
from sumi.restoration.measurement import Measurement
from sumi.restoration.posterior import PseudoinverseGuidance
from sumi.restoration.proximal import DiffPIR
from sumi.restoration.sites import gaussian_sites
from tests.restoration_targets import SCHEDULE, SUMS, gaussian

D = 0.5


def squared(z: Tensor) -> Tensor:
    return 0.3 * z * z.abs()


def rooted(y: Tensor) -> Tensor:
    return y.sign() * (y.abs() / 0.3).sqrt()


def posterior(y: float, std: float) -> tuple[float, float]:
    """Mean and variance of z ~ N(0, D²) given y = 0.3 z |z| + N(0, std²), by adaptive quadrature around its peaks."""
    middle = float(rooted(torch.tensor(y)))
    width = max(float(rooted(torch.tensor(std))), 1e-9)
    points = sorted({0.0, middle, middle - width, middle + width, middle - 1e-2 * width, middle + 1e-2 * width})

    def integral(power: int) -> float:
        def of(z: float) -> float:
            return z**power * np.exp(-0.5 * ((y - 0.3 * z * abs(z)) / std) ** 2 - 0.5 * (z / D) ** 2 + shift)

        return quad(of, -6, 6, points=points, limit=500, epsabs=1e-14, epsrel=1e-10)[0]

    shift = 0.5 * (middle / D) ** 2
    total = integral(0)
    mean = integral(1) / total
    return mean, integral(2) / total - mean**2


@pytest.mark.parametrize("y", [0.0, 0.004, -0.05, 0.3, 1.2])
@pytest.mark.parametrize("std", [0.003, 0.05])
def test_the_gaussian_measurement_leaves_the_mean_and_variance_of_the_posterior(y: float, std: float) -> None:
    """Weights are float32. Where the posterior is wider than the data, y says nothing."""
    weight, pull = map(float, gaussian_sites(torch.tensor([[y]]), std, squared, rooted, D))
    mean, variance = posterior(y, std)
    assert 1 / (1 / D**2 + weight**2) == pytest.approx(min(variance, D**2), rel=1e-5)
    assert pull * weight == pytest.approx(mean / variance if variance < D**2 else 0, rel=1e-5, abs=1e-5)


def test_of_quiet_data_in_loud_noise_nothing_is_known() -> None:
    """y = (z/50)² s: what is measured of z falls with the noise, however far the noise alone would put z."""
    weights = []
    for std in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        weight, _ = gaussian_sites(
            torch.zeros(1, 1), std, lambda z: z * z.abs() / 2500, lambda y: 50 * y.sign() * y.abs().sqrt(), D
        )
        weights.append(float(weight))
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] < 1e-3


def test_of_a_straight_measurement_it_is_the_measurement() -> None:
    y = torch.tensor([[0.7, -2.0, 0.0]], dtype=torch.float64)
    weights, pulls = gaussian_sites(y, 0.2, lambda z: 4 * z, lambda y: y / 4, D)
    torch.testing.assert_close(weights, torch.full((1, 3), 20.0), rtol=1e-5, atol=0)
    torch.testing.assert_close(pulls, (5 * y).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("std", [0.0, 0.3])
@pytest.mark.parametrize("schedule", [SCHEDULE, EDM().build()], ids=["vp", "edm"])
@pytest.mark.parametrize("operator", [Linear(torch.from_numpy(SUMS)), Weighted(torch.tensor([0.0, 0.75, 40.0]))])
def test_diffpir_is_exact_on_isotropic_gaussians(operator, schedule, std: float) -> None:
    """x_0 ~ N(m, 0.7² I), times of a batch together: what ΠGDM is by the denoiser's derivative."""
    data = gaussian(np.array([0.3, -0.2, 0.1]), 0.49 * np.eye(3))
    x_t = 2 * torch.from_numpy(np.random.default_rng(0).standard_normal((5, 3)))
    t = torch.tensor([0.02, 0.2, 0.5, 0.7, 0.9]).double()
    y = operator(torch.tensor([[0.9, -0.8, 0.4]], dtype=torch.float64))
    known, denoiser = Measurement(operator, y, std), data.denoiser(schedule)
    matrix = SUMS if isinstance(operator, Linear) else np.diag([0.75, 40.0]) @ np.eye(3)[1:]
    seen = known.y.numpy()[0] if isinstance(operator, Linear) else known.y.numpy()[0, 1:]
    found = DiffPIR(denoiser, known, data_std=0.7)(x_t, t)
    wanted = data.given(matrix, seen, std).clean(x_t, noise_level(schedule, t))
    torch.testing.assert_close(found.clean, wanted, rtol=0, atol=1e-9)
    torch.testing.assert_close(
        found.clean, PseudoinverseGuidance(denoiser, known, 0.7)(x_t, t).clean, rtol=0, atol=1e-9
    )
    assert found.clean_variance is None


def test_a_measurement_that_makes_z_less_certain_says_nothing() -> None:
    """A step far out, and a y that leaves open on which side: the variance is above that of z ~ N(0, 1)."""

    def inverse(v: Tensor) -> Tensor:
        inside = 2 + v.clamp(-0.999999, 0.999999).atanh() / 800
        return torch.where(v.abs() < 1, inside, v.sign() * torch.inf)

    y = torch.tensor([0.2])
    root, pull = gaussian_sites(y, 0.326, lambda z: (800 * (z - 2)).tanh(), inverse, 1.0)
    assert (root.tolist(), pull.tolist()) == ([0.0], [0.0])

"""Decoders: probabilities of pixels that are exact in the tails, against 60-digit arithmetic and SciPy."""

from itertools import product
from math import inf

import mpmath
import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Tensor

from sumi.errors import InputError
from sumi.likelihood import discretised
from sumi.likelihood.discretised import discretised_gaussian, posterior_of_levels


def grid(levels: int) -> Tensor:
    return torch.linspace(-1, 1, levels, dtype=torch.float64)


def in_many_digits(x: float, mean: float, std: float, levels: int) -> float:
    """-log of the mass of the bin around x, bins of the end levels open (Ho et al. 2020, eq. 13)."""
    with mpmath.workdps(60):
        half = mpmath.mpf(1) / (levels - 1)
        low = mpmath.ninf if x == -1 else (mpmath.mpf(x) - half - mpmath.mpf(mean)) / mpmath.mpf(std)
        high = mpmath.inf if x == 1 else (mpmath.mpf(x) + half - mpmath.mpf(mean)) / mpmath.mpf(std)
        if low + high > 0:
            low, high = -high, -low
        # as lower tails: both are tiny numbers of full precision, however far out
        mass = (mpmath.erfc(-high / mpmath.sqrt(2)) - mpmath.erfc(-low / mpmath.sqrt(2))) / 2
        return float(-mpmath.log(mass))


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
@pytest.mark.parametrize("std", [1e-3, 0.02, 0.5, 3.0])
def test_the_mass_of_a_bin_is_exact_from_its_middle_to_far_outside(levels: int, std: float) -> None:
    """Up to -log P = 2e7. For std 3 and 256 levels two tails share three digits: 1e-12 of 1e-16 remain."""
    x = grid(levels)[[0, 1, levels // 2, -1]]
    means = torch.tensor([-5.0, -1.1, -0.25, 0.0, 0.3, 1.0, 1.004, 5.0], dtype=torch.float64)
    pairs = torch.cartesian_prod(x, means)
    found = discretised_gaussian(pairs[:, 0], pairs[:, 1], std, levels)
    exact = [in_many_digits(a, m, std, levels) for a, m in pairs.tolist()]
    np.testing.assert_allclose(found, exact, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_levels_share_one(levels: int) -> None:
    for mean, std in product([-1.7, -0.4, 0.0, 1.0], [1e-3, 0.1, 4.0]):
        x = grid(levels)
        mass = (-discretised_gaussian(x, torch.full_like(x, mean), std, levels)).exp()
        assert mass.sum().item() == pytest.approx(1, abs=1e-12)


def test_the_end_bins_are_open() -> None:
    """Two levels share the line at 0; a mean far outside makes the nearer end certain."""
    x, mean = torch.tensor([-1.0, 1.0]), torch.tensor([0.3, 0.3])
    np.testing.assert_allclose(
        discretised_gaussian(x, mean, 0.5, 2), -stats.norm.logcdf([-0.6, 0.6]), rtol=1e-6
    )  # 0.3 is a float32
    assert discretised_gaussian(torch.tensor([1.0]), torch.tensor([9.0]), 0.1, 256).item() == 0.0


def test_many_fine_levels_are_a_density() -> None:
    """P = p(x) times the bin, up to (bin/std)²/24 = 3e-6."""
    x = grid(256)[100:110]
    found = discretised_gaussian(x, torch.full_like(x, -0.3), 1.0, 256)
    density = discretised_gaussian(x, torch.full_like(x, -0.3), 1.0, None)
    np.testing.assert_allclose(density, -stats.norm.logpdf(x, -0.3, 1.0), rtol=1e-13)
    torch.testing.assert_close(found, density - np.log(2 / 255), rtol=0, atol=3e-6)


@pytest.mark.parametrize("levels", [2, 256, None])
def test_gradients_in_mean_and_std_are_those_of_the_values(levels: int | None) -> None:
    """Central differences, with relative steps; far tails included."""
    x = grid(levels or 256)[[0, 0, -1, (levels or 256) // 2, 1, -1]]
    mean = torch.tensor([-1.2, 0.9, 0.4, 0.1, -1.0, -0.3], dtype=torch.float64, requires_grad=True)
    std = torch.tensor([0.3, 0.05, 0.1, 0.2, 0.01, 0.02], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda m, s: discretised_gaussian(x, m, s, levels), (mean, std), eps=1e-7, rtol=1e-5
    )


def test_gradients_are_finite_where_a_pixel_is_certain_or_impossible() -> None:
    x = torch.tensor([1.0, -1.0, 1.0, grid(256)[128]])
    mean = torch.tensor([50.0, 50.0, 1.0, grid(256)[128]], requires_grad=True)
    std = torch.full((4,), 1e-4, requires_grad=True)
    nats = discretised_gaussian(x, mean, std, 256)
    nats.sum().backward()
    assert nats.dtype == torch.float64
    assert bool(nats.isfinite().all() & mean.grad.isfinite().all() & std.grad.isfinite().all())
    assert nats.detach().tolist() == pytest.approx([0, in_many_digits(-1, 50, 1e-4, 256), 0, 0], rel=1e-6, abs=1e-12)


def test_numbers_and_tensors_of_a_sample_are_spread_over_its_elements() -> None:
    draws = torch.Generator().manual_seed(0)
    x = grid(256)[torch.randint(256, (2, 3, 4), generator=draws)]
    mean, std = torch.zeros_like(x), torch.tensor([0.1, 0.7], dtype=torch.float64).reshape(2, 1, 1)
    found = discretised_gaussian(x, mean, std, 256)
    for row, s in enumerate((0.1, 0.7)):
        torch.testing.assert_close(found[row], discretised_gaussian(x[row], mean[row], s, 256), rtol=1e-14, atol=0)


# the levels' posterior


def posterior_in_scipy(z: np.ndarray, alpha: float, sigma: float, levels: int) -> np.ndarray:
    """-log P(v | z) of every level v: (len(z), levels)."""
    log_density = stats.norm.logpdf(z[:, None], alpha * np.linspace(-1, 1, levels), sigma)
    return special.logsumexp(log_density, axis=1, keepdims=True) - log_density


@pytest.mark.parametrize("levels", [2, 3, 256])
@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.01), (0.9, 0.3), (1.0, 2.0)])
def test_the_posterior_is_bayes_rule_over_the_levels(levels: int, alpha: float, sigma: float) -> None:
    """SciPy's densities reach 2e5 nats, whose 1e-16 is 3e-11."""
    z = np.array([-3.0, -1.0, -0.2, 0.001, 0.7, 1.5])
    x = grid(levels)
    found = posterior_of_levels(
        torch.from_numpy(z)[:, None].expand(-1, levels), alpha, sigma, x.expand(len(z), -1), levels
    )
    np.testing.assert_allclose(found, posterior_in_scipy(z, alpha, sigma, levels), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose((-found).exp().sum(1), 1, rtol=1e-12)


def test_the_posterior_is_sure_where_noise_is_invisible_and_uniform_where_nothing_else_is() -> None:
    x = grid(256)
    assert posterior_of_levels(x, 1.0, 1e-4, x, 256).max().item() == 0.0
    everywhere = posterior_of_levels(x, 1.0, 1e6, x, 256)
    torch.testing.assert_close(everywhere, torch.full_like(x, np.log(256)), rtol=0, atol=1e-9)
    far = posterior_of_levels(torch.tensor([1.0], dtype=torch.float64), 1.0, 1e-4, x[:1], 256)
    assert far.item() == pytest.approx(2**2 / (2 * 1e-8), rel=1e-12)


def test_without_levels_the_posterior_is_the_density_of_what_was_noised() -> None:
    z, x = torch.tensor([0.3, -2.0], dtype=torch.float64), torch.tensor([0.5, -1.0], dtype=torch.float64)
    found = posterior_of_levels(z, 0.8, 0.2, x, None)
    np.testing.assert_allclose(found, -stats.norm.logpdf(x, z / 0.8, 0.25), rtol=1e-13)


def test_each_sample_may_have_its_own_noise_and_chunks_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = torch.Generator().manual_seed(0)
    x = grid(17)[torch.randint(17, (3, 2, 5), generator=draws)].float()
    alpha = torch.tensor([1.0, 0.9, 0.5], dtype=torch.float64).reshape(3, 1, 1)
    sigma = torch.tensor([0.1, 0.4, 1.0], dtype=torch.float64).reshape(3, 1, 1)
    z = alpha * x + sigma * torch.randn(x.shape, generator=draws)
    whole = posterior_of_levels(z, alpha, sigma, x, 17)
    for row in range(3):
        one = posterior_of_levels(z[row], float(alpha[row]), float(sigma[row]), x[row], 17)
        torch.testing.assert_close(whole[row], one, rtol=1e-14, atol=0)
    monkeypatch.setattr(discretised, "_TABLE", 17 * 7)
    assert torch.equal(whole, posterior_of_levels(z, alpha, sigma, x, 17))


def test_the_posterior_can_be_differentiated_in_z() -> None:
    z = torch.tensor([-1.3, 0.02, 0.6], dtype=torch.float64, requires_grad=True)
    x = grid(5)[[0, 2, 4]]
    assert torch.autograd.gradcheck(lambda z: posterior_of_levels(z, 0.9, 0.3, x, 5), (z,))


@pytest.mark.parametrize("levels", [1, 65537, -inf])
def test_impossible_numbers_of_levels_are_refused(levels: int) -> None:
    x = torch.zeros(1)
    for decode in (lambda: discretised_gaussian(x, x, 1.0, levels), lambda: posterior_of_levels(x, 1, 1, x, levels)):
        with pytest.raises(InputError, match=r"^levels: .* give 2 to 65536"):
            decode()

"""Adams-Bashforth on ε: its weights, its order, exactness on Gaussians, and how near it lands on mixtures."""

from itertools import pairwise
from math import exp, inf, log, log1p

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from sumi.denoising.denoiser import FunctionDenoiser
from sumi.errors import InputError
from sumi.process.chain import LinearBeta
from sumi.process.continuous import VP, Cosine, Flow, SubVP
from sumi.process.exploding import EDM, VE
from sumi.process.schedule import DATA, noise_level, noise_levels
from sumi.sampling.gaussian import Gaussian
from sumi.sampling.sample import sample
from sumi.sampling.solvers.adams import Adams, known_end
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.gaussian_adams import GaussianAdams
from sumi.sampling.solvers.solver import StepNoise
from sumi.sampling.time_grid import log_ratio, snap, uniform
from tests.convergence import errors, grids, limit
from tests.oracles import MIXTURE, GaussianTarget, MixtureTarget, linear_probe, random_mixture

SCHEDULES = {c.name: c.build() for c in (VP(), SubVP(), Cosine(), Flow(), VE(), EDM())}
GAUSS = GaussianTarget(0.5, 0.3)


@pytest.mark.parametrize("name", ["vp", "flow"])
@pytest.mark.parametrize("order", [2, 3, 4])
def test_the_step_to_the_data_keeps_the_order(order: int, name: str) -> None:
    """From σ̂ = 2 to σ̂ = 0 itself, evenly in the grid's variable: no lower order at the end."""
    schedule = SCHEDULES[name]
    near, far = 0.05 * 0.3, 100 * 0.3
    first, last = log((2 + near) / (2 + far)), log(near / far)
    x = torch.tensor([[1.3], [-0.4]], dtype=torch.float64)
    found = []
    for n in (80, 160, 320):
        v = first + (last - first) * torch.arange(n, dtype=torch.float64) / n
        noise = (far * v.exp() - near) / -v.expm1()
        walk = [*noise_levels(schedule, schedule.time(-2 * noise.log())), DATA]
        state, at = Adams(order, 0.3).init(), x
        for k, (t, s) in enumerate(pairwise(walk)):
            at, state = Adams(order, 0.3).step(GAUSS.denoiser(schedule), at, t, s, state, StepNoise(None, k))
            at = GAUSS.flow(x, walk[0], s) if k < order - 1 else at
        found.append(float((at - GAUSS.flow(x, walk[0], DATA)).abs().max()))
    assert limit([80, 160, 320], found) == pytest.approx(order, abs=0.05)


def test_started_by_itself_it_is_of_second_order() -> None:
    """The first step is of first order, so its local error h² stays: 2, whatever the order. What it is in practice."""
    schedule = SCHEDULES["vp"]
    x = torch.tensor([[1.3], [-0.4]], dtype=torch.float64)
    steps = [160, 320, 640]
    found = errors(GAUSS.denoiser(schedule), Adams(4, 0.3), grids(schedule, 2.0, 0.2)["log_snr"], steps, x, GAUSS.flow)
    assert limit(steps, found) == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("moments", [False, True])
def test_a_grid_that_is_cut_above_the_data_ends_at_the_known_noise_of_0(moments: bool) -> None:
    """VE stops at sigma = 0.01. From there ε is extrapolated over a step many times the last ones, or, as it is 0 at
    σ̂ = 0, interpolated: the error falls from 1.9e-4 to 1.7e-5.
    """
    schedule = SCHEDULES["ve"]
    target = MixtureTarget(MIXTURE.means, MIXTURE.stds / 5, MIXTURE.weights)
    adams = Adams(data_std=0.6)
    solver = GaussianAdams(Gaussian.of_moments(torch.zeros(2).double(), 0.36 * torch.eye(2).double()), adams)
    times = log_ratio(schedule, 100, 0.6)
    start = noise_level(schedule, 1.0)
    x = float(start.sigma) * torch.randn(8, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    end = sample(target.denoiser(schedule), solver if moments else adams, times, x)
    away = float((end - target.flow(x, start, DATA)).abs().max())
    assert away < 3e-5
    assert known_end(noise_level(schedule, 0.0), DATA) == (0.0,)
    assert known_end(noise_level(schedule, 0.1), DATA) == ()


@pytest.mark.parametrize("name", SCHEDULES)
def test_order_1_is_ddim(name: str) -> None:
    schedule = SCHEDULES[name]
    x = torch.tensor([[1.3], [-0.4]], dtype=torch.float64)
    denoiser = GAUSS.denoiser(schedule)
    times = log_ratio(schedule, 7, 0.3)
    one, other = (sample(denoiser, solver, times, x) for solver in (Adams(order=1, data_std=0.3), DDIM()))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-13)


@settings(deadline=None, max_examples=40)
@given(
    nodes=st.lists(st.floats(0.05, 60), min_size=2, max_size=5, unique_by=lambda s: round(log(s), 1)),
    part=st.floats(0, 0.9),
    near=st.sampled_from([0.01, 0.1, inf]),
    far=st.sampled_from([50.0, inf]),
)
def test_weights_integrate_the_interpolating_polynomials(nodes, part: float, near: float, far: float) -> None:
    """Σ w_j p(v_j) = ∫ p(v) dσ̂ for every power of v below the number of nodes, against scipy's adaptive quadrature."""
    nodes = sorted(nodes)
    after = nodes[0] * part
    if near == inf:
        far = inf

    def v(s: float) -> float:
        if near == inf:
            return s
        return log(s + near) if far == inf else log1p((near - far) / (s + far))

    centre = v(nodes[0])
    weights = Adams(data_std=1.0, near=near, far=far).weights(tuple(nodes), after)
    for power in range(len(nodes)):
        exact, _ = integrate.quad(lambda s, k=power: (v(s) - centre) ** k, nodes[0], after, epsabs=1e-14, epsrel=1e-12)
        size = sum(abs(w * (v(s) - centre) ** power) for w, s in zip(weights, nodes, strict=True))
        got = sum(w * (v(s) - centre) ** power for w, s in zip(weights, nodes, strict=True))
        assert got == pytest.approx(exact, abs=1e-11 * (1 + size))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_gaussian_data_with_its_moments_given_takes_one_step(name: str, steps: int) -> None:
    """From t = 1 to the data in any number of steps, for a full covariance, to 1e-10 (flow(t = 1) included)."""
    schedule = SCHEDULES[name]
    draw = torch.Generator().manual_seed(7)
    root = torch.randn(6, 6, generator=draw, dtype=torch.float64) / 4
    mean, covariance = torch.linspace(-0.5, 0.7, 6, dtype=torch.float64), root @ root.T + 0.01 * torch.eye(6)
    eigenvalues, basis = torch.linalg.eigh(covariance)

    def clean(x, t):
        gain = t.alpha * eigenvalues / (t.alpha**2 * eigenvalues + t.sigma**2)
        return mean + ((x - t.alpha * mean) @ basis * gain) @ basis.T

    end = noise_level(schedule, 1.0)
    z = torch.randn(5, 6, generator=draw, dtype=torch.float64)
    x = end.alpha * mean + (z * (end.alpha**2 * eigenvalues + end.sigma**2).sqrt()) @ basis.T
    exact = mean + (z * eigenvalues.sqrt()) @ basis.T
    solver = GaussianAdams(Gaussian.of_moments(mean, covariance))
    got = sample(FunctionDenoiser(clean, schedule), solver, log_ratio(schedule, steps), x)
    assert (got - exact).abs().max().item() < 1e-10


def test_with_infinite_variances_the_carried_part_vanishes() -> None:
    """λ → ∞ carries nothing, and what is left is plain Adams: to the digits that λ = 1e12 leaves."""
    target, std = random_mixture(5, dimension=3, components=2)
    schedule = SCHEDULES["edm"]
    x = 80 * torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wide = Gaussian(torch.zeros(3).double(), torch.eye(3).double(), torch.full((3,), 1e12).double(), 0.0)
    times = log_ratio(schedule, 8, std)
    adams = Adams(data_std=std)
    plain, carried = (sample(target.denoiser(schedule), s, times, x) for s in (adams, GaussianAdams(wide, adams)))
    torch.testing.assert_close(plain, carried, rtol=0, atol=1e-7)


def test_moments_of_data() -> None:
    x = torch.randn(300, 2, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.3
    flat = x.flatten(1)
    exact = torch.cov(flat.T)
    y = torch.randn(4, 6, dtype=torch.float64)
    for rank in (0, 2, 6):
        data = Gaussian.of_data(x, rank)
        torch.testing.assert_close(data.mean, flat.mean(0))
        total = float(data.variances.sum()) + (6 - rank) * data.rest
        assert total == pytest.approx(float(exact.trace()), rel=1e-12)
        torch.testing.assert_close(data.scaled(y, torch.full((rank,), 2.0).double(), 2.0), 2 * y)
    torch.testing.assert_close(Gaussian.of_data(x).scaled(y, data.variances, 0.0), y @ exact)
    with pytest.raises(InputError, match="1 examples"):
        Gaussian.of_data(x[:1])


@pytest.mark.parametrize("name", ["vp", "edm"])
@pytest.mark.parametrize(("steps", "bound"), [(10, 1.5e-2), (20, 1.5e-3), (50, 6e-5), (100, 3e-6)])
def test_lands_near_on_mixtures(name: str, steps: int, bound: float) -> None:
    """The median error relative to the data's deviation, on mixtures that no constant was chosen on."""
    schedule = SCHEDULES[name]
    end = noise_level(schedule, 1.0)
    for seed in (31, 32):
        target, std = random_mixture(seed)
        z = torch.randn(24, 64, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        x = z * (end.alpha**2 + end.sigma**2) ** 0.5
        exact = sample(target.denoiser(schedule), Adams(6, std), log_ratio(schedule, 400, std), x)
        got = sample(target.denoiser(schedule), Adams(data_std=std), log_ratio(schedule, steps, std), x)
        assert float((got - exact).square().mean(1).sqrt().median()) / std < bound


def test_the_reference_above_is_the_exact_flow() -> None:
    schedule = SCHEDULES["vp"]
    target, std = random_mixture(31)
    x = torch.randn(2, 64, generator=torch.Generator().manual_seed(31), dtype=torch.float64)
    got = sample(target.denoiser(schedule), Adams(6, std), log_ratio(schedule, 400, std), x)
    first, last = noise_levels(schedule, torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert (got - target.flow(x, first, last)).square().mean().sqrt().item() < 1e-7 * std


def test_scales_with_the_data() -> None:
    """Data, noise and ``data_std`` twice as large: everything twice as large, to rounding."""
    target, std = random_mixture(2, dimension=3, components=3)
    double = MixtureTarget(2 * target.means, 2 * target.stds, target.weights)
    small, large = EDM().build(), EDM(sigma_min=0.004, sigma_max=160.0).build()
    x = 80 * torch.randn(3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    one = sample(target.denoiser(small), Adams(data_std=std), log_ratio(small, 9, std), x)
    other = sample(double.denoiser(large), Adams(data_std=2 * std), log_ratio(large, 9, 2 * std), 2 * x)
    torch.testing.assert_close(2 * one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("steps", [1, 7, 40])
def test_mean_and_variance_on_a_chain(steps: int) -> None:
    """The linear probe on N(0.5, 0.3²), T = 1000: from the exact marginal to the data, as many digits as steps buy."""
    schedule = LinearBeta().build()
    mean, variance = GAUSS.marginal(noise_level(schedule, 1.0))
    got = linear_probe(
        GAUSS.denoiser(schedule), Adams(data_std=0.3), snap(log_ratio(schedule, steps, 0.3), 1000), mean, variance
    )
    tolerance = {1: 0.3, 7: 2e-2, 40: 2e-4}[steps]
    assert got[0] == pytest.approx(0.5, abs=1e-4)  # the mean of x̂_0 is right from the first evaluation
    assert got[1] ** 0.5 == pytest.approx(0.3, abs=tolerance)


def test_the_grid_is_even_in_its_variable() -> None:
    schedule = SCHEDULES["flow"]
    times = log_ratio(schedule, 12, 0.25)
    noise = [exp(-v.log_snr / 2) if v.log_snr > -inf else inf for v in noise_levels(schedule, times)]
    near, far = 0.05 * 0.25, 100 * 0.25
    v = torch.tensor([log1p((near - far) / (s + far)) for s in noise], dtype=torch.float64)
    torch.testing.assert_close(v, torch.linspace(0, log(near / far), 13, dtype=torch.float64), rtol=1e-10, atol=1e-12)
    assert times[0] == 1
    assert times[-1] == 0


def test_the_grid_does_not_pass_the_least_noise() -> None:
    """σ̂(0) = 0.002 of EDM: the last step begins there where an even grid would go below."""
    schedule = SCHEDULES["edm"]
    for steps in (2, 10, 100, 1000):
        times = log_ratio(schedule, steps, 0.5)
        noise = schedule.sigma(times)
        assert len(times) == steps + 1
        assert bool((times[:-1].diff() < 0).all())
        assert noise[-2].item() >= 0.002 * (1 - 1e-12)
    assert noise[-2].item() == pytest.approx(0.002, rel=1e-9)
    assert uniform(4).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]

"""Densities by the ODE are those of the exact targets, on every schedule; each sample by itself; orders and traces."""

from dataclasses import dataclass
from itertools import pairwise
from math import log, pi, sqrt

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sumi.denoising.denoiser import Denoised, FunctionDenoiser, NetworkDenoiser
from sumi.denoising.energy import EnergyGradient
from sumi.denoising.exact import gaussian_denoiser, mixture_denoiser
from sumi.denoising.parameterization import PredictEnergy, PredictVelocity
from sumi.errors import InputError, SumiError
from sumi.likelihood.grid_flow import GridFlow, integrals
from sumi.likelihood.probability_flow import SMALLEST, LogDensity, ProbabilityFlow
from sumi.likelihood.trace import ExactTrace, draw_probes
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.continuous import VP, Cosine, Flow, SubVP
from sumi.process.exploding import EDM, VE
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel, Schedule, noise_level, noise_ratio
from sumi.sampling.sample import sample
from sumi.sampling.solvers.adaptive import Adaptive

CONTINUOUS = {config.name: config.build() for config in (VP(), SubVP(), Cosine(), Flow(), VE(), EDM())}
EXACT = ExactTrace()


@dataclass(frozen=True)
class Mixture:
    """Two Gaussians in some dimension, and points drawn of them."""

    means: Tensor
    stds: Tensor
    shares: Tensor
    points: Tensor

    def denoiser(self, schedule: Schedule) -> FunctionDenoiser:
        return mixture_denoiser(self.means, self.stds, self.shares, schedule)

    def log_density(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """log p(x_t) at the noise level: (N,)."""
        variance = alpha**2 * self.stds**2 + sigma**2
        squares = (x[:, None] - alpha * self.means).square().sum(-1)
        each = self.shares.log() - squares / (2 * variance) - x.shape[1] / 2 * (2 * pi * variance).log()
        return each.logsumexp(1)


def mixture(dimensions: int, count: int = 12, seed: int = 0) -> Mixture:
    rng = np.random.default_rng(seed)
    means = torch.from_numpy(0.6 * rng.standard_normal((2, dimensions)))
    stds, shares = torch.tensor([0.1, 0.25]).double(), torch.tensor([0.4, 0.6]).double()
    component = torch.from_numpy(rng.integers(0, 2, count))
    noise = torch.from_numpy(rng.standard_normal((count, dimensions)))
    return Mixture(means, stds, shares, means[component] + stds[component, None] * noise)


def normal_log_density(x: Tensor, std: float) -> Tensor:
    return -(x / std).square().sum(1) / 2 - x.shape[1] / 2 * log(2 * pi * std**2)


def with_exact_prior(found, target: Mixture, schedule: Schedule) -> Tensor:
    """The found log-density, had the walk ended in the target's own p(x_1) instead of N(0, sigma_1²)."""
    end = noise_level(schedule, 1.0)
    prior = normal_log_density(found.latent, float(end.sigma))
    return found.log_density - prior + target.log_density(found.latent, float(end.alpha), float(end.sigma))


def bits(nats: Tensor, dimensions: int) -> Tensor:
    return nats / (dimensions * log(2))


@pytest.mark.parametrize("dimensions", [1, 2, 8])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_density_of_a_mixture(name: str, dimensions: int) -> None:
    """Within 10⁻⁴ bits a dimension of the analytic one with the first level's noise, every point of them."""
    schedule, target = CONTINUOUS[name], mixture(dimensions)
    flow = ProbabilityFlow(rtol=3e-6, atol=3e-6)
    found = flow.log_density(target.denoiser(schedule), target.points, EXACT)
    first = noise_ratio(flow.first(schedule))
    assert first == pytest.approx({"ve": 0.01, "edm": 0.002}.get(name, SMALLEST), rel=1e-9)
    truth = target.log_density(target.points, 1.0, first)
    error = bits(with_exact_prior(found, target, schedule) - truth, dimensions)
    assert error.abs().max() < 1e-4
    if noise_level(schedule, 1.0).alpha < 1e-6:  # nothing of the data is left: the prior is exact
        assert bits(found.log_density - truth, dimensions).abs().max() < 1e-4
    assert 40 < found.evaluations.double().mean() < 100  # 6 to 16 steps


@pytest.mark.parametrize("name", ["vp", "flow", "edm"])
def test_the_error_follows_the_tolerance(name: str) -> None:
    schedule, target = CONTINUOUS[name], mixture(2)
    for tolerance, bound in ((1e-4, 3e-3), (1e-6, 1e-5), (1e-8, 1e-7)):
        flow = ProbabilityFlow(rtol=tolerance, atol=tolerance)
        found = flow.log_density(target.denoiser(schedule), target.points, EXACT)
        truth = target.log_density(target.points, 1.0, noise_ratio(flow.first(schedule)))
        assert bits(with_exact_prior(found, target, schedule) - truth, 2).abs().max() < bound


def covariance_denoiser(covariance: Tensor, schedule: Schedule) -> FunctionDenoiser:
    """x̂_0 = alpha Σ (alpha² Σ + sigma²)⁻¹ x_t, with levels of floats or of tensors (N,)."""
    variances, axes = torch.linalg.eigh(covariance)

    def clean(x_t: Tensor, t: NoiseLevel) -> Tensor:
        alpha, sigma = (expand(torch.as_tensor(v).reshape(-1), x_t) for v in (t.alpha, t.sigma))
        return (x_t @ axes * (alpha * variances / (alpha**2 * variances + sigma**2))) @ axes.T

    return FunctionDenoiser(clean, schedule)


@pytest.mark.parametrize("name", ["vp", "ve"])
def test_a_gaussian_with_full_covariance_from_any_level(name: str) -> None:
    """Its correlations are in the Jacobian's off-diagonal; ``start`` and ``prior_std`` are those that are given."""
    schedule = CONTINUOUS[name]
    factor = torch.tensor([[0.5, 0.0, 0.0], [0.4, 0.3, 0.0], [-0.3, 0.2, 0.1]], dtype=torch.float64)
    covariance = factor @ factor.T
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((5, 3))) @ factor.T
    start, end = noise_level(schedule, 0.3), noise_level(schedule, 1.0)
    std = 1.1 * float(end.sigma)
    flow = ProbabilityFlow(rtol=1e-7, atol=1e-7)
    found = flow.log_density(covariance_denoiser(covariance, schedule), x, EXACT, start=start, prior_std=std)

    def gaussian(x: Tensor, alpha: float, sigma: float) -> Tensor:
        noisy = alpha**2 * covariance + sigma**2 * torch.eye(3, dtype=torch.float64)
        return torch.distributions.MultivariateNormal(torch.zeros(3).double(), noisy).log_prob(x)

    prior = normal_log_density(found.latent, std)
    wanted = gaussian(x, 1.0, noise_ratio(start)) + prior - gaussian(found.latent, end.alpha, end.sigma)
    torch.testing.assert_close(found.log_density, wanted, rtol=0, atol=1e-5)


def test_the_latent_leads_back_to_the_sample() -> None:
    schedule, target = CONTINUOUS["vp"], mixture(2)
    flow = ProbabilityFlow(rtol=1e-8, atol=1e-8)
    latent = flow.log_density(target.denoiser(schedule), target.points, EXACT).latent
    times = torch.tensor([1.0, flow.first(schedule).t], dtype=torch.float64)
    back = sample(target.denoiser(schedule), Adaptive(rtol=1e-8, atol=1e-8), times, latent)
    torch.testing.assert_close(back, target.points * flow.first(schedule).alpha, rtol=0, atol=1e-6)


def test_rademacher_probes_are_exact_where_the_jacobian_is_a_multiple_of_one() -> None:
    """One dimension's gain for all; normal probes are not, and differ from each other."""
    schedule, x = CONTINUOUS["vp"], torch.randn(3, 5, dtype=torch.float64)
    denoiser, flow = gaussian_denoiser(0.3, 0.2, schedule), ProbabilityFlow()
    exact = flow.log_density(denoiser, x, EXACT)
    signs = flow.log_density(denoiser, x, draw_probes(0, range(3), x, 4))
    torch.testing.assert_close(signs.estimates, exact.estimates.expand(3, 4), rtol=0, atol=1e-10)
    assert signs.standard_error.max() < 1e-10
    assert exact.standard_error.isnan().all()
    normal = flow.log_density(denoiser, x, draw_probes(0, range(3), x, 4, "normal"))
    assert normal.standard_error.min() > 0.1


def test_the_standard_error_of_the_mean_is_the_deviation_of_estimates_over_the_root_of_their_number() -> None:
    estimates = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 5.0, 5.0, 9.0]], dtype=torch.float64)
    found = LogDensity(estimates, torch.ones(2, dtype=torch.int64), torch.zeros(2, 1))
    assert found.log_density.tolist() == [2.5, 6.0]
    assert found.standard_error.tolist() == pytest.approx([(5 / 3 / 4) ** 0.5, 1.0], rel=1e-12)


@pytest.mark.parametrize("distribution", ["rademacher", "normal"])
def test_hutchinsons_estimate_has_no_bias_and_the_stated_error(distribution) -> None:
    """64 probes at once for 12 samples: the scaled errors have mean 0 and standard deviation 1 within their own."""
    schedule, target = CONTINUOUS["flow"], mixture(4)
    denoiser, flow = target.denoiser(schedule), ProbabilityFlow(rtol=1e-6, atol=1e-6)
    exact = flow.log_density(denoiser, target.points, EXACT)
    found = flow.log_density(denoiser, target.points, draw_probes(1, range(12), target.points, 64, distribution))
    scaled = (found.log_density - exact.log_density) / found.standard_error
    assert abs(float(scaled.mean())) < 3 / sqrt(12)
    assert 0.4 < float(scaled.std()) < 1.6
    assert found.standard_error.min() > 1e-3


def test_a_sample_does_not_depend_on_its_batch() -> None:
    """Bit for bit, its evaluations and probes included; the batch is asked as often as its hardest row."""
    schedule, target = CONTINUOUS["vp"], mixture(2, 6)
    requested = []

    def counted(x_t: Tensor, t: NoiseLevel) -> Tensor:
        requested.append(len(x_t))
        return denoiser.f(x_t, t)

    denoiser = target.denoiser(schedule)
    counting, flow = FunctionDenoiser(counted, schedule), ProbabilityFlow()
    together = flow.log_density(counting, target.points, draw_probes(3, range(10, 16), target.points, 2))
    assert len(requested) == together.evaluations.max()
    assert len(set(together.evaluations.tolist())) > 1
    for k in range(6):
        x = target.points[k : k + 1]
        alone = flow.log_density(denoiser, x, draw_probes(3, [10 + k], x, 2))
        assert torch.equal(alone.estimates[0], together.estimates[k])
        assert torch.equal(alone.latent[0], together.latent[k])
        assert alone.evaluations[0] == together.evaluations[k]


class Perceptron(nn.Module):
    """A field in the plane that is no gradient, the same at all noise levels."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        return self.layers(x)


@pytest.mark.parametrize("energetic", [False, True])
def test_a_network_in_every_mode_and_type(energetic: bool) -> None:
    """The slopes are a trained network's own: inside inference mode, in float32, with frozen weights or not."""
    torch.manual_seed(0)
    network, schedule = Perceptron(), CONTINUOUS["vp"]
    if energetic:
        model = NetworkDenoiser(EnergyGradient(network), schedule, PredictEnergy())
    else:
        model = NetworkDenoiser(network, schedule, PredictVelocity())
    model.double()
    x, flow = torch.randn(4, 2, dtype=torch.float64) / 2, ProbabilityFlow(rtol=1e-4, atol=1e-4)
    wanted = flow.log_density(model, x, EXACT)
    assert not wanted.estimates.requires_grad
    assert not wanted.latent.requires_grad
    with torch.inference_mode():
        inside = flow.log_density(model, x * 1, ExactTrace())
        probed = flow.log_density(model, x * 1, draw_probes(0, range(4), x * 1, 2))
    assert torch.equal(inside.estimates, wanted.estimates)
    assert bool(probed.estimates.isfinite().all())
    model.requires_grad_(False)
    assert torch.equal(flow.log_density(model, x, EXACT).estimates, wanted.estimates)
    model.float()
    narrow = flow.log_density(model, x.float(), EXACT)
    assert narrow.latent.dtype == torch.float32
    assert narrow.estimates.dtype == torch.float64
    # rounding of 6e-8 over sin φ = 0.001 is noise of 6e-5 in the first slopes, less than a step's tolerance
    torch.testing.assert_close(narrow.log_density, wanted.log_density, rtol=0, atol=1e-3)


def test_images_have_the_density_of_their_elements() -> None:
    """Shape is nothing but bookkeeping: (1, 2, 2) or (4,)."""
    schedule, x = CONTINUOUS["edm"], torch.randn(3, 4, dtype=torch.float64)
    denoiser = gaussian_denoiser(0.1, 0.4, schedule)
    for trace in (lambda x: EXACT, lambda x: draw_probes(0, range(3), x, 2)):
        flat, image = (ProbabilityFlow().log_density(denoiser, v, trace(v)) for v in (x, x.view(3, 1, 2, 2)))
        torch.testing.assert_close(flat.estimates, image.estimates, rtol=0, atol=1e-12)
        assert image.latent.shape == (3, 1, 2, 2)


# the times of a chain


@pytest.mark.parametrize("name", ["vp", "flow", "edm"])
def test_the_grids_method_has_order_four(name: str) -> None:
    """From σ̂ = 0.1 on, where 160 … 640 even steps follow every scale; each halving divides the error by 16 ± 25 %."""
    schedule, target = CONTINUOUS[name], mixture(2)
    denoiser, whole = target.denoiser(schedule), 640
    share = round(float(schedule.time(torch.tensor(-2 * log(0.1)).double())) * whole)
    start = noise_level(schedule, share / whole)
    exact = ProbabilityFlow(rtol=1e-11, atol=1e-11).log_density(denoiser, target.points, EXACT, start=start)
    found = []
    for stride in (4, 2, 1):
        near = GridFlow(whole, stride).log_density(denoiser, target.points, EXACT, start=start)
        found.append(float((near.log_density - exact.log_density).abs().mean()))
    assert all(12 < a / b < 20 for a, b in pairwise(found)), found


class Recorder:
    """A target's denoiser that keeps the times it was asked for."""

    def __init__(self, denoiser: FunctionDenoiser) -> None:
        self.denoiser, self.schedule, self.requested = denoiser, denoiser.schedule, []

    def __call__(self, x_t: Tensor, t) -> Denoised:
        self.requested.append(float(noise_level(self.schedule, t).t))
        return self.denoiser(x_t, t)


@pytest.mark.parametrize("stride", [1, 4, 7])
def test_a_chain_is_asked_at_its_own_times_only(stride: int) -> None:
    schedule, target = LinearBeta(steps=50).build(), mixture(2)
    denoiser = Recorder(target.denoiser(schedule))
    found = GridFlow(50, stride).log_density(denoiser, target.points, EXACT)
    assert set(denoiser.requested) == {k / 50 for k in (*range(1, 50, stride), 50)}
    assert found.evaluations.tolist() == [len(denoiser.requested)] * 12
    assert len(denoiser.requested) == len(set(denoiser.requested)) + 6  # the first three steps three times


@pytest.mark.parametrize("build", [LinearBeta(), CosineBeta()], ids=["linear", "cosine"])
def test_the_density_of_a_mixture_by_a_chain(build) -> None:
    """That of x_t/alpha at t = 1/T, within what two strides differ by, and within 2·10⁻⁴ bits a dimension."""
    schedule, target = build.build(), mixture(2)
    denoiser = target.denoiser(schedule)
    found = GridFlow(1000).log_density(denoiser, target.points, EXACT)
    truth = target.log_density(target.points, 1.0, noise_ratio(noise_level(schedule, 0.001)))
    error = (with_exact_prior(found, target, schedule) - truth).abs()
    assert bits(error, 2).max() < 2e-4
    wider = GridFlow(1000, 2).log_density(denoiser, target.points, EXACT)
    stated = (found.log_density - wider.log_density).abs()
    assert (error < stated + 1e-6).all()
    assert stated.max() < 30 * error.max()


def test_weights_integrate_polynomials() -> None:
    """Through unequal nodes, inside and outside of the interval."""
    nodes = [-2.0, -1.2, -1.0, -0.7]
    weights = integrals(nodes, -1.0, -0.7)
    for power in range(4):
        exact = ((-0.7) ** (power + 1) - (-1.0) ** (power + 1)) / (power + 1)
        assert sum(w * v**power for w, v in zip(weights, nodes, strict=True)) == pytest.approx(exact, abs=1e-14)
    assert integrals([-2.0, -1.0], -2.0, -2.0) == [0.0, 0.0]


# what is refused


def test_the_row_that_fails_is_named() -> None:
    schedule = CONTINUOUS["vp"]

    def broken(x_t: Tensor, t: NoiseLevel) -> Tensor:
        late = torch.as_tensor(t.t).reshape(-1, 1) > 0.5
        return torch.where(late & (x_t > 5), torch.nan, 0.1 * x_t)

    x = torch.tensor([[0.0], [50.0]], dtype=torch.float64)
    with pytest.raises(SumiError, match=r"^likelihood: row 1 of the batch is no longer finite at σ̂ = "):
        ProbabilityFlow().log_density(FunctionDenoiser(broken, schedule), x, EXACT)
    with pytest.raises(SumiError, match=r"^likelihood: row 0 of the batch is still at σ̂ = .* after 2 steps; raise"):
        ProbabilityFlow(max_steps=2).log_density(gaussian_denoiser(0.0, 0.2, schedule), x, EXACT)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ProbabilityFlow(rtol=0.0),
        lambda: ProbabilityFlow(atol=-1.0),
        lambda: ProbabilityFlow(smallest=0.0),
        lambda: GridFlow(1),
        lambda: GridFlow(10, 10),
        lambda: draw_probes(0, [0], torch.zeros(1, 2), 0),
    ],
)
def test_impossible_values_are_refused_by_name(make) -> None:
    with pytest.raises(InputError, match=r"^\w+: "):
        make()

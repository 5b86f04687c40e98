"""The variational bound of a chain: with the right variance it *is* the entropy, and nothing is below it.

Every term is a quadratic form in x_0 and ε for data N(m, c²), so its mean is that over the four points m ± c, ε = ±1
(two Gauss-Hermite nodes for each): no Monte Carlo error is left.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from math import e, log, pi

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sumi.denoising.denoiser import Denoised, NetworkDenoiser
from sumi.denoising.parameterization import PredictNoise
from sumi.denoising.weighting import StepLikelihood
from sumi.errors import InputError
from sumi.likelihood.fitted_variance import measure_variance
from sumi.likelihood.variational import (
    VARIANCES,
    CleanVariance,
    PosteriorVariance,
    StepVariance,
    TransitionVariance,
    VariationalBound,
    even_times,
    step_kl,
)
from sumi.objectives.denoising import DenoisingLoss
from sumi.process.chain import BetaSchedule, CosineBeta, LinearBeta
from sumi.process.continuous import VP, Cosine, Flow, SubVP
from sumi.process.exploding import EDM, VE, Ladder
from sumi.process.gaussian import add_noise, expand, gaussian_kl, log_ratio
from sumi.process.learned import LearnedChain
from sumi.process.schedule import NoiseLevel, Schedule, Time, noise_level
from tests.likelihood.gaussian import UNEVEN, ExactGaussian, float64, least, prior_std

SCHEDULES = {
    c.name: c.build() for c in (LinearBeta(), CosineBeta(), VP(), SubVP(), Cosine(), Flow(), VE(), EDM(), Ladder())
}


class ExactMixture:
    """E[x_0 | x_t] and the elements' Var(x_0 | x_t) of a mixture: means (K, D), stds and shares (K,)."""

    def __init__(self, means: Tensor, stds: Tensor, shares: Tensor, schedule: Schedule) -> None:
        self.means, self.stds, self.shares, self.schedule = means, stds, shares, schedule

    def log_density(self, x: Tensor, alpha: float | Tensor = 1.0, variance: Tensor | None = None) -> Tensor:
        """log of share times density of each component at x_t (N, D): (N, K)."""
        variance = self.stds**2 if variance is None else variance
        offset = x[:, None] - (alpha[:, None] if isinstance(alpha, Tensor) else alpha) * self.means
        return self.shares.log() - (offset.square().sum(-1) / variance + x.shape[1] * (2 * pi * variance).log()) / 2

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        now = noise_level(self.schedule, t)
        alpha, sigma = expand(now.alpha, x_t), expand(now.sigma, x_t)
        variance = alpha**2 * self.stds**2 + sigma**2
        probability = self.log_density(x_t, alpha, variance).softmax(1)[..., None]
        offset = x_t[:, None] - (alpha[:, None] if isinstance(alpha, Tensor) else alpha) * self.means
        each = self.means + (alpha * self.stds**2 / variance)[..., None] * offset
        clean = (probability * each).sum(1)
        within, apart = (self.stds**2 * sigma**2 / variance)[..., None], (each - clean[:, None]).square()
        return Denoised(clean, x_t, alpha, sigma, (probability * (within + apart)).sum(1))

    def mean(self, f: Callable[[Tensor, Tensor], Tensor], nodes: int) -> float:
        """E f(x_0, ε) over data and noise, by Gauss-Hermite quadrature with ``nodes`` in each dimension."""
        d = self.means.shape[1]
        one, weight = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(nodes))
        z = torch.cartesian_prod(*[one] * (2 * d))
        weights = torch.stack([*torch.meshgrid(*[weight / weight.sum()] * (2 * d), indexing="ij")]).prod(0).flatten()
        parts = (p * weights @ f(m + c * z[:, :d], z[:, d:]) for p, m, c in zip(*self._parts(), strict=True))
        return float(sum(parts))

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.shares, self.means, self.stds


def whole(bound: VariationalBound, denoiser, x_0: Tensor, noise: Tensor) -> Tensor:
    """prior + Σ steps, for rows (N, D), every step at once: (N,)."""
    index = torch.arange(1, bound.steps + 1).repeat_interleave(len(x_0))
    steps = bound.step(denoiser, x_0.repeat(bound.steps, 1), index, noise.repeat(bound.steps, 1))
    return bound.prior(x_0) + steps.view(bound.steps, -1).sum(0)


def mean_bound(bound: VariationalBound, denoiser, mean: float, std: float) -> float:
    """Exact over x_0 ~ N(mean, std²) and ε (module docstring)."""
    x_0 = mean + std * float64(-1, -1, 1, 1)[:, None]
    return whole(bound, denoiser, x_0, float64(-1, 1, -1, 1)[:, None]).mean().item()


# KL of Gaussians


@pytest.mark.parametrize("d", [0.0, 1e-12, -1e-12, 1e-5, 0.3, -0.5, -0.999999, 1e6])
def test_the_divergence_of_gaussians_in_many_digits(d: float) -> None:
    """1e-16 of d is lost and no more, also where the variances agree in twelve digits."""
    variance_p = 0.7
    variance_q = variance_p * (1 + d)
    with mpmath.workdps(60):
        ratio = mpmath.mpf(variance_q) / mpmath.mpf(variance_p)
        exact_log = float(mpmath.log(ratio))
        exact = float((ratio - 1 - mpmath.log(ratio) + mpmath.mpf(0.01) ** 2 / mpmath.mpf(variance_p)) / 2)
    close = {"rel": 1e-13, "abs": 1e-15 * abs(d)}
    assert log_ratio(variance_q, variance_p) == pytest.approx(exact_log, rel=1e-14, abs=0)
    assert gaussian_kl(0.01, variance_q, variance_p) == pytest.approx(exact, **close)
    found = gaussian_kl(float64(0.01, -0.01), float64(variance_q), variance_p)
    assert found.tolist() == pytest.approx([exact, exact], **close)


def test_the_divergence_is_zero_and_flat_where_both_are_the_same() -> None:
    q, p = float64(1e-4, 3.0).requires_grad_(), float64(1e-4, 3.0).requires_grad_()
    kl = gaussian_kl(float64(0.0, 0.0), q, p)
    kl.sum().backward()
    for zero in (kl, q.grad, p.grad):
        assert zero.tolist() == [0, 0]


def test_the_divergence_has_the_gradients_of_its_values() -> None:
    q, p = float64(0.5, 1e-9, 2.0).requires_grad_(), float64(0.7, 1.0, 1.9).requires_grad_()
    assert torch.autograd.gradcheck(gaussian_kl, (float64(0.1, 0.2, 0.0), q, p), eps=1e-12, rtol=1e-3)


# the entropy


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.4, 0.6)])
def test_with_the_true_variance_the_bound_is_the_entropy(name: str, steps: int, mean: float, std: float) -> None:
    """… and KL(q(x_T) ‖ prior), for any number of steps: each KL is that of the joint distributions of a Gaussian."""
    schedule = SCHEDULES[name]
    for prior in (prior_std(schedule, 1.0), 1.3 * prior_std(schedule, std)):
        bound = VariationalBound(schedule, even_times(steps), CleanVariance(), None, prior)
        found = mean_bound(bound, ExactGaussian(mean, std, schedule), mean, std)
        assert found == pytest.approx(least(schedule, mean, std, prior), abs=1e-10)


def test_for_data_of_unit_variance_that_is_the_entropy_alone() -> None:
    schedule = SCHEDULES["linear"]
    bound = VariationalBound(schedule, even_times(1000), CleanVariance(), None)
    assert mean_bound(bound, ExactGaussian(0, 1, schedule), 0, 1) == pytest.approx(log(2 * pi * e) / 2, abs=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_it_is_so_on_any_grid_and_nothing_else_is_below(name: str) -> None:
    """Fixed variances, and a denoiser that is wrong."""
    schedule, (mean, std) = SCHEDULES[name], (0.4, 0.6)
    prior = prior_std(schedule, std)
    right, wrong = ExactGaussian(mean, std, schedule), ExactGaussian(mean, std, schedule, bias=0.1)
    bounds = {n: VariationalBound(schedule, UNEVEN, v, None, prior) for n, v in VARIANCES.items()}
    entropy = least(schedule, mean, std, prior)
    assert mean_bound(bounds["learned"], right, mean, std) == pytest.approx(entropy, abs=1e-12)
    assert mean_bound(bounds["small"], right, mean, std) > entropy + 1e-3
    assert mean_bound(bounds["large"], right, mean, std) > entropy + 1e-3
    assert mean_bound(bounds["learned"], wrong, mean, std) > entropy + 1e-3


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("variance", VARIANCES)
def test_an_error_of_the_denoiser_costs_exactly_its_weighted_square(name: str, variance: str) -> None:
    """clean² bias²/(2V) at each step: with V = β̃ this is ½ (SNR_s - SNR_t) bias²."""
    schedule, bias = SCHEDULES[name], 0.3
    bound = VariationalBound(schedule, UNEVEN, VARIANCES[variance], None, prior_std(schedule, 0.6))
    x_0, noise = 0.6 * float64(-1, -1, 1, 1)[:, None], float64(-1, 1, -1, 1)[:, None]
    now = noise_level(schedule, UNEVEN)
    snr = (now.alpha / now.sigma) ** 2
    for i in range(1, len(UNEVEN)):
        index = torch.full((4,), i)
        exact, biased = (
            bound.step(ExactGaussian(0, 0.6, schedule, b), x_0, index, noise).mean().item() for b in (0.0, bias)
        )
        residual = 0.36 / (1 + 0.36 * snr[i])  # Var(x_0 | x_t)
        if i == 1:
            cost = bias**2 / (2 * residual)
        else:
            small = (snr[i - 1] - snr[i]) / 2
            share = {  # β̃/V
                "small": torch.ones(()),
                "large": now.sigma[i - 1] ** 2 / now.sigma[i] ** 2,
                "learned": 1 / (1 + 2 * small * residual),
            }[variance]
            cost = small * share * bias**2
        if i > 1 or variance == "learned":  # the fixed variances of the decoder have tests of their own
            assert biased - exact == pytest.approx(float(cost), rel=1e-8, abs=1e-12)


# what the papers say


def test_the_prior_of_the_linear_chain_is_nearly_nothing() -> None:
    """½ ᾱ_T nats at x_0 = ±1, ᾱ_T = 4.04e-5: 2.9e-5 bits a dimension."""
    bound = VariationalBound(SCHEDULES["linear"], even_times(1000), PosteriorVariance())
    nats = bound.prior(torch.tensor([[1.0, -1.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64))
    assert nats[0].item() / 3 / log(2) == pytest.approx(2.9e-5, rel=0.01)
    assert nats[1].item() / 3 < 1e-9
    assert VariationalBound(SCHEDULES["flow"], even_times(4), PosteriorVariance()).prior(torch.ones(2, 3)).tolist() == [
        0,
        0,
    ]


def reference_terms(betas: np.ndarray, x_0: np.ndarray, noise: np.ndarray, clean, variances: np.ndarray) -> np.ndarray:
    """L_1 … L_{T-1} by the formulas of Ho et al. 2020, eqs. 5 to 7, one step at a time in NumPy: (T - 1,)."""
    alpha_bar = np.cumprod(1 - betas)
    terms = []
    for i in range(1, len(betas)):  # from x_{i+1} to x_i in the paper's numbers
        x_t = np.sqrt(alpha_bar[i]) * x_0 + np.sqrt(1 - alpha_bar[i]) * noise
        of_clean = np.sqrt(alpha_bar[i - 1]) * betas[i] / (1 - alpha_bar[i])
        of_noisy = np.sqrt(1 - betas[i]) * (1 - alpha_bar[i - 1]) / (1 - alpha_bar[i])
        true = of_clean * x_0 + of_noisy * x_t
        model = of_clean * clean(x_t) + of_noisy * x_t
        q = betas[i] * (1 - alpha_bar[i - 1]) / (1 - alpha_bar[i])
        kl = 0.5 * (np.log(variances[i] / q) - 1 + q / variances[i] + (true - model) ** 2 / variances[i])
        terms.append(kl.sum())
    return np.array(terms)


@pytest.mark.parametrize("name", ["small", "large"])
def test_the_steps_of_a_chain_are_those_of_its_paper(name: str) -> None:
    """A denoiser that is plainly wrong, 20 steps; the last step's variance is β̃_2 for both, as in the paper's code."""
    betas = np.linspace(0.001, 0.3, 20)
    schedule = BetaSchedule(betas.tolist())
    draws = np.random.default_rng(0)
    x_0, noise = draws.uniform(-1, 1, (1, 6)), draws.standard_normal((1, 6))

    class Wrong:
        def __init__(self) -> None:
            self.schedule = schedule

        def __call__(self, x_t: Tensor, t: Time) -> Denoised:
            now = noise_level(schedule, t)
            return Denoised(x_t.tanh(), x_t, expand(now.alpha, x_t), expand(now.sigma, x_t))

    alpha_bar = np.cumprod(1 - betas)
    second = betas[1] * (1 - alpha_bar[0]) / (1 - alpha_bar[1])
    variances = betas if name == "large" else betas * (1 - np.append(1, alpha_bar[:-1])) / (1 - alpha_bar)
    bound = VariationalBound(schedule, even_times(20), VARIANCES[name], None)
    found = bound.step(
        Wrong(), torch.from_numpy(x_0).repeat(20, 1), torch.arange(1, 21), torch.from_numpy(noise).repeat(20, 1)
    )
    np.testing.assert_allclose(found[1:], reference_terms(betas, x_0, noise, np.tanh, variances), rtol=1e-10)
    clean = np.tanh(np.sqrt(1 - betas[0]) * x_0 + np.sqrt(betas[0]) * noise)
    density = ((x_0 - clean) ** 2 / (2 * second) + np.log(2 * pi * second) / 2).sum()
    assert found[0].item() == pytest.approx(density, rel=1e-10)


@pytest.mark.parametrize("name", ["small", "large"])
def test_the_last_step_without_one_before_it_takes_that_of_unit_data(name: str) -> None:
    """T = 1, and schedules with sigma(0) > 0: sigma²/(alpha² + sigma²) at t_1, the best for data N(0, 1)."""
    for schedule, steps in ((SCHEDULES["vp"], 1), (SCHEDULES["flow"], 1), (SCHEDULES["edm"], 30)):
        denoiser = ExactGaussian(0, 1, schedule)
        of_last = [
            VariationalBound(schedule, even_times(steps), v, None).decoder(
                denoiser, float64(0.3, 0.3)[:, None], float64(-1, 1)[:, None]
            )
            for v in (VARIANCES[name], CleanVariance())
        ]
        torch.testing.assert_close(*of_last, rtol=1e-12, atol=0)


def test_the_first_level_of_pixels_is_discretised() -> None:
    """Levels share one in the decoder, and each has the mass of its bin under N(x̂_0, V_1)."""
    schedule = SCHEDULES["linear"]
    bound = VariationalBound(schedule, even_times(1000), CleanVariance(), 5)
    now = noise_level(schedule, 0.001)
    message = Denoised(torch.full((5, 1), 0.2, dtype=torch.float64), torch.zeros(5, 1), now.alpha, now.sigma, 0.09)
    nats = bound.of_denoised(message, torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None], torch.ones(5).long())
    edges = float64(-torch.inf, -0.75, -0.25, 0.25, 0.75, torch.inf)
    mass = torch.special.ndtr((edges - 0.2) / 0.3).diff()
    torch.testing.assert_close((-nats).exp(), mass, rtol=1e-12, atol=0)


# gradients


class Line(nn.Module):
    """a x + b, in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(float64(0.7)), nn.Parameter(float64(0.1))

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        return self.a * x + self.b


@pytest.mark.parametrize(
    "schedule", [LinearBeta(steps=9, beta_end=0.4).build(), CosineBeta(steps=9).build(), Ladder(steps=9).build()]
)
def test_the_denoising_loss_weighted_by_the_likelihood_is_the_bound_with_the_small_variance(schedule) -> None:
    """Values and gradients alike for i = 2 … T, in nats a dimension; the first differs by the decoder's variance."""
    draws = torch.Generator().manual_seed(0)
    x_0, noise = (torch.randn(9, 4, generator=draws, dtype=torch.float64) for _ in range(2))
    denoiser = NetworkDenoiser(Line(), schedule, PredictNoise())
    bound = VariationalBound(schedule, even_times(9), PosteriorVariance(), None)
    nats = bound.step(denoiser, x_0, torch.arange(1, 10), noise)
    losses = 4 * DenoisingLoss(StepLikelihood(schedule, 9))(denoiser, x_0, even_times(9)[1:], noise) / 9
    torch.testing.assert_close(nats[1:], losses[1:], rtol=1e-10, atol=0)
    rows = [
        torch.autograd.grad(value, list(denoiser.network.parameters()), retain_graph=True) for value in (*nats, *losses)
    ]
    gradients = torch.tensor(rows, dtype=torch.float64).view(2, 9, 2)
    torch.testing.assert_close(gradients[0, 1:], gradients[1, 1:], rtol=1e-9, atol=1e-12)
    first, second = (noise_level(schedule, i / 9) for i in (1, 2))
    small = first.sigma**2 * (1 - (second.alpha / second.sigma) ** 2 / (first.alpha / first.sigma) ** 2)
    ratio = (first.sigma / first.alpha) ** 2 / small
    torch.testing.assert_close(gradients[0, 0], ratio * gradients[1, 0], rtol=1e-9, atol=0)


def test_a_gradient_reaches_the_predicted_mean_and_variance() -> None:
    """Finite differences, steps and decoder in one batch, the variance per element or for a whole sample."""
    schedule, index = SCHEDULES["linear"], torch.tensor([1, 500, 2, 1000])
    x_0 = float64(-1, 0.5, 1, 0)[:, None].repeat(1, 3)
    clean = (x_0 + float64(0.01, -0.2, 0.03)).requires_grad_()
    now = noise_level(schedule, index / 1000)
    for variance in (0.01 + 0.1 * x_0**2, float64(0.01, 0.2, 0.03, 0.5)[:, None], float64(0.07)):
        for levels in (None, 5):
            bound = VariationalBound(schedule, even_times(1000), CleanVariance(), levels)

            def nats(clean: Tensor, variance: Tensor, bound=bound) -> Tensor:
                message = Denoised(clean, x_0, expand(now.alpha, x_0), expand(now.sigma, x_0), variance)
                return bound.of_denoised(message, x_0, index)

            assert torch.autograd.gradcheck(nats, (clean, variance.clone().requires_grad_()), eps=1e-7, rtol=1e-4)


def test_the_true_variance_is_where_the_bound_is_least() -> None:
    """The mean derivative in the clean variance is 0 there, at the decoder and at a step, and below 0 at half of it."""
    schedule = SCHEDULES["vp"]
    bound = VariationalBound(schedule, UNEVEN, CleanVariance(), None)
    x_0, noise = float64(-1, -1, 1, 1)[:, None], float64(-1, 1, -1, 1)[:, None]
    for i in (1, 2, 5):
        now = noise_level(schedule, UNEVEN[i])
        t = NoiseLevel(*(float(v) for v in (now.t, now.alpha, now.sigma, now.log_snr, 0, 0)))
        exact = ExactGaussian(0, 1, schedule)(add_noise(x_0, noise, t), t)
        slopes = []
        for factor in (1.0, 0.5):
            variance = float64(factor * exact.clean_variance).requires_grad_()
            bound.of_denoised(replace(exact, clean_variance=variance), x_0, torch.full((4,), i)).sum().backward()
            slopes.append(float(variance.grad * exact.clean_variance))
        assert abs(slopes[0]) < 1e-12 * abs(slopes[1])
        assert slopes[1] < 0


def test_each_sample_has_its_own_step_and_a_certain_one_spoils_no_gradient() -> None:
    """A batch is its rows. Var(x_0 | x_t) = 0 at a step means V = β̃, finite in value and gradient."""
    schedule, index = SCHEDULES["flow"], torch.tensor([3, 1, 2, 3, 1])
    bound = VariationalBound(schedule, even_times(3), CleanVariance(), 256)
    draws = torch.Generator().manual_seed(0)
    x_0, noise = torch.ones(5, 2, 3), torch.randn(5, 2, 3, generator=draws)
    denoiser = ExactGaussian(0.1, 0.5, schedule)
    together = bound.step(denoiser, x_0, index, noise)
    assert together.dtype == torch.float32
    for n in range(5):
        alone = bound.step(denoiser, x_0[n : n + 1], index[n : n + 1], noise[n : n + 1])
        assert together[n].item() == pytest.approx(alone.item(), rel=1e-6)
    variance = torch.tensor([0.0, 0.1, 0.0, 0.0, 0.1]).reshape(5, 1, 1).requires_grad_()
    message = Denoised(0.9 * x_0, x_0, 0.5, 0.5, variance)
    nats = bound.of_denoised(message, x_0, index)
    nats.sum().backward()
    assert bool(nats.isfinite().all() & variance.grad.isfinite().all())
    small = VariationalBound(schedule, even_times(3), PosteriorVariance(), 256).of_denoised(message, x_0, index)
    torch.testing.assert_close(nats[[0, 2, 3]], small[[0, 2, 3]])


def test_a_learned_chain_gets_gradients_from_every_step() -> None:
    schedule = LearnedChain(steps=6, beta_start=0.01, beta_end=0.6).build()
    bound = VariationalBound(schedule, even_times(6), CleanVariance(), None)
    nats = bound.step(ExactGaussian(0, 0.6, schedule), torch.ones(6, 1).double(), torch.arange(1, 7), torch.ones(6, 1))
    for value in nats[1:]:
        (gradient,) = torch.autograd.grad(value, [schedule.logits], retain_graph=True)
        assert bool(gradient.isfinite().all())
        assert float(gradient.abs().max()) > 0


# mixtures

NARROW = ExactMixture(float64(-1, 0.8)[:, None], float64(0.5, 0.7), float64(0.4, 0.6), SCHEDULES["flow"])
"""In one dimension Var(x_0 | x_t) is all there is to know but for its shape."""
PLANE = ExactMixture(
    torch.tensor([[-1, 0.5], [0.8, -0.4]], dtype=torch.float64),
    float64(0.5, 0.7),
    float64(0.4, 0.6),
    SCHEDULES["continuous_cosine"],
)
"""In two the elements of x_0 given x_t depend on each other, which the model's step does not know."""


def excess(mixture: ExactMixture, steps: int, variance: StepVariance, nodes: int, denoiser=None) -> float:
    """The mean bound less the entropy, by quadrature: for a prior that is q(x_1) exactly (no data is left there)."""
    bound = VariationalBound(mixture.schedule, even_times(steps), variance, None)

    def both(x_0: Tensor, noise: Tensor) -> Tensor:
        return whole(bound, denoiser or mixture, x_0, noise) + mixture.log_density(x_0).logsumexp(1)

    return mixture.mean(both, nodes)


def test_a_mixtures_bound_is_above_its_entropy_and_falls_to_it_with_more_steps() -> None:
    """Of second order in 1/T where the elements are independent, of first where they are not.

    Errors of the true p(x_s | x_t) that a Gaussian of its mean and variances makes: of third order in a step, or of
    second if it is correlated.
    """
    found = [excess(NARROW, steps, CleanVariance(), 40) for steps in (16, 32, 64)]
    for coarse, fine in itertools.pairwise(found):
        assert log(coarse / fine) / log(2) == pytest.approx(1.9, abs=0.1)
    assert found[-1] == pytest.approx(1.35e-4, rel=0.01)
    coarse, fine = (excess(PLANE, steps, CleanVariance(), 10) for steps in (4, 8))
    assert log(coarse / fine) / log(2) == pytest.approx(1.05, abs=0.1)


def test_the_measured_variance_is_the_best_that_is_one_number_a_step() -> None:
    """Bao et al. 2022, theorem 1: below both fixed ones, and above it when it is a fifth larger or smaller.

    4000 draws know the error to 2 %, which costs some 1e-4 of the excess.
    """
    steps = 8
    draws = torch.Generator().manual_seed(0)
    which = torch.multinomial(NARROW.shares, 4000, replacement=True, generator=draws)
    data = NARROW.means[which] + NARROW.stds[which, None] * torch.randn(4000, 1, generator=draws, dtype=torch.float64)
    measured = measure_variance(NARROW, data, even_times(steps)[1:], seed=1)
    best = excess(NARROW, steps, CleanVariance(), 40, measured)
    assert 0 < best < 0.9 * excess(NARROW, steps, TransitionVariance(), 40)
    assert best < 0.1 * excess(NARROW, steps, PosteriorVariance(), 40)
    for factor in (0.8, 1.25):
        other = replace(measured, error=factor * measured.error)
        assert excess(NARROW, steps, CleanVariance(), 40, other) > best


# the measured variance


def test_on_gaussian_data_the_measured_variance_is_the_true_one() -> None:
    """20000 squared errors have a standard error of 1 %; between the times the logarithm bends by 1/32 of log-SNR²."""
    schedule, std = SCHEDULES["flow"], 0.6
    data = 0.3 + std * torch.randn(5000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = ExactGaussian(0.3, std, schedule)
    measured = measure_variance(exact, data, float64(1.0, 0.9, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8), seed=3)
    x = torch.zeros(1, 2, 2, dtype=torch.float64)
    for t in (0.001, 0.02, 0.1, 0.13, 0.5, 0.6, 0.95, 1.0):
        found, true = measured(x, t), exact(x, t)
        assert found.clean_variance == pytest.approx(true.clean_variance, rel=0.06)
        assert torch.equal(found.clean, true.clean)
    assert measured.error_at(float("inf")).item() == 0.0
    each = measured(x.repeat(2, 1, 1), float64(0.1, 0.5)).clean_variance
    assert each.shape == (2, 1, 1)
    assert each.flatten().tolist() == pytest.approx([measured(x, t).clean_variance for t in (0.1, 0.5)])


def test_the_measurement_counts_every_element_once_and_interpolates_in_log_snr() -> None:
    """A denoiser that always says 0 has the data's mean square as its error, in whatever batches."""
    schedule = SCHEDULES["vp"]

    class Zero:
        def __init__(self) -> None:
            self.schedule = schedule

        def __call__(self, x_t: Tensor, t: Time) -> Denoised:
            return Denoised(0 * x_t, x_t, 1.0, 1.0)

    data, seen = torch.arange(20.0).reshape(5, 2, 2), []
    measured = measure_variance(
        Zero(), data, float64(0.2, 0.7), seed=0, batch_size=2, progress=lambda done, total: seen.append((done, total))
    )
    assert measured.error.tolist() == [data.square().mean().item()] * 2
    assert seen == [(2, 10), (4, 10), (5, 10), (7, 10), (9, 10), (10, 10)]
    apart = replace(measured, error=float64(4.0, 1.0))
    high, low = (float(noise_level(schedule, t).log_snr) for t in (0.2, 0.7))
    wanted = float64(low - 3, low, (low + high) / 2, high, high + log(10))
    assert apart.error_at(wanted).tolist() == pytest.approx([4, 4, 2, 1, 0.1])
    alone = measure_variance(Zero(), data, float64(0.2), seed=0)
    size = data.square().mean().item()
    assert alone.error_at(float64(high - 2, high, high + log(10))).tolist() == pytest.approx([size, size, size / 10])


def test_nothing_is_measured_on_nothing() -> None:
    exact, data = ExactGaussian(0, 1, SCHEDULES["vp"]), torch.zeros(2, 1)
    with pytest.raises(InputError, match=r"^variance: there is no data to fit it to"):
        measure_variance(exact, data[:0], float64(0.5), seed=0)
    with pytest.raises(InputError, match=r"^times: two have the same noise level"):
        measure_variance(exact, data, float64(0.5, 0.5), seed=0)


# what is refused, and the grid


def test_impossible_bounds_are_refused_by_name() -> None:
    schedule = SCHEDULES["vp"]
    for times in (float64(0.0, 0.5), float64(0.1, 1.0), float64(0, 0.5, 0.5, 1), float64(1.0), float64(1, 0)):
        with pytest.raises(InputError, match=r"^times: they must rise from 0 to 1"):
            VariationalBound(schedule, times, PosteriorVariance())
    with pytest.raises(InputError, match=r"^levels: 1 is out of range"):
        VariationalBound(schedule, even_times(2), PosteriorVariance(), levels=1)
    with pytest.raises(InputError, match=r"^prior_std: 0 is not positive"):
        VariationalBound(schedule, even_times(2), PosteriorVariance(), prior_std=0)
    bound = VariationalBound(schedule, even_times(2), CleanVariance())
    message = replace(ExactGaussian(0, 1, schedule)(torch.zeros(1, 1), 0.5), clean_variance=None)
    for i in (1, 2):
        with pytest.raises(InputError, match=r"^variance: this denoiser has learned none; choose small or large"):
            bound.of_denoised(message, torch.zeros(1, 1), torch.tensor([i]))


def test_a_time_belongs_to_the_nearest_step() -> None:
    bound = VariationalBound(SCHEDULES["vp"], UNEVEN, PosteriorVariance())
    assert bound.index(UNEVEN).tolist() == [1, 1, 2, 3, 4, 5]
    assert bound.index(float64(0.0114, 0.0116, 0.47, 0.48, 0.9)).tolist() == [1, 2, 3, 4, 5]
    grid = VariationalBound(SCHEDULES["vp"], even_times(1000), PosteriorVariance())
    assert grid.index(even_times(1000)[1:]).tolist() == list(range(1, 1001))


def test_one_step_may_be_taken_between_levels_of_floats() -> None:
    schedule = SCHEDULES["vp"]
    bound = VariationalBound(schedule, UNEVEN, CleanVariance(), None)
    x_0 = float64(-1, 2)[:, None]
    t = noise_level(schedule, 0.75)
    message = ExactGaussian(0, 1, schedule)(x_0, t)
    one = step_kl(message, x_0, noise_level(schedule, 0.2), t, CleanVariance())
    torch.testing.assert_close(one, bound.of_denoised(message, x_0, torch.tensor([4, 4])), rtol=1e-12, atol=0)

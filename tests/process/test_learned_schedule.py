"""Learned schedules: fixed ends, a free and monotone interior, and gradients that are those of the papers.

Data N(0, std²) has an exact denoiser, E[x_0 | x_t] = alpha std²/(alpha² std² + sigma²) x_t with the error
std²/(1 + std² SNR), so the bound and its gradient are known in closed form.
"""

from copy import deepcopy

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import Tensor, nn

from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import Coefficients, PredictVelocity
from sumi.denoising.weighting import LikelihoodWeighting, StepLikelihood
from sumi.errors import InputError
from sumi.objectives.denoising import DenoisingLoss
from sumi.objectives.schedule import VarianceMinimisingLoss
from sumi.process.chain import LinearBeta
from sumi.process.continuous import VP
from sumi.process.learned import Learned, LearnedChain, MonotoneSchedule, TrainableChain
from sumi.process.schedule import NoiseLevel, Schedule, noise_level, noise_levels
from sumi.sampling.sample import sample
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.time_grid import log_snr as log_snr_grid
from sumi.sampling.time_grid import uniform

STD = 0.7


def varied(schedule: nn.Module, seed: int, spread: float = 1.0) -> nn.Module:
    """The schedule with its parameters moved at random."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in schedule.parameters():
            p.add_(spread * torch.randn(p.shape, generator=draws))
    return schedule


def monotone(seed: int | None = None, spread: float = 1.0, width: int = 16, **ends: float) -> MonotoneSchedule:
    schedule = Learned(width=width, **ends).build()
    return schedule if seed is None else varied(schedule, seed, spread)


def chain(seed: int | None = None, steps: int = 6) -> TrainableChain:
    schedule = LearnedChain(steps=steps, beta_start=0.01, beta_end=0.6).build()
    return schedule if seed is None else varied(schedule, seed)


class FromLogSNR:
    """The network returns x̂_0 itself, and is told the log-SNR."""

    def coefficients(self, t: NoiseLevel) -> Coefficients:
        return Coefficients(1.0, 0.0 * t.alpha, 0.0 * t.alpha + 1.0, t.log_snr)


class ExactNetwork(nn.Module):
    """E[x_0 | x_t] of data N(0, STD²) where alpha² + sigma² = 1, from the log-SNR."""

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        alpha_squared = log_snr.sigmoid()
        gain = alpha_squared.sqrt() * STD**2 / (alpha_squared * STD**2 + (-log_snr).sigmoid())
        return gain[:, None] * x


def exact_denoiser(schedule: Schedule) -> NetworkDenoiser:
    return NetworkDenoiser(ExactNetwork(), schedule, FromLogSNR())


def expected(loss, denoiser: NetworkDenoiser, t: Tensor) -> Tensor:
    """The loss at the times t (K,), averaged exactly over x_0 and ε: a quadratic form needs their signs alone."""
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    x_0, noise = (STD * signs[:, :1]).repeat(len(t), 1), signs[:, 1:].repeat(len(t), 1)
    return loss(denoiser, x_0, t.repeat_interleave(2), noise).view(-1, 2).mean(1)


def quadrature(n: int) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre times and weights on [0, 1]."""
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(n))
    return (nodes + 1) / 2, weights / 2


def information(snr: float) -> float:
    """½ log(1 + std² SNR), whose derivative by SNR is half the denoiser's error (Guo et al. 2005)."""
    return 0.5 * np.log1p(STD**2 * snr)


# the monotone network


@pytest.mark.parametrize("shape", [(), (1,), (2,), (7, 3), (1000,)])
@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_the_ends_are_exact_whatever_the_parameters(seed: int | None, shape: tuple[int, ...]) -> None:
    schedule = monotone(seed, width=1024)
    for t, gamma in ((0.0, -13.3), (1.0, 5.0)):
        now = schedule.noise_level(torch.full(shape, t, dtype=torch.float64))
        assert now.log_snr.shape == shape
        assert set(now.log_snr.flatten().tolist()) == {-gamma}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_monotone_and_variance_preserving_whatever_the_parameters(seed: int, spread: float) -> None:
    """At times a thousandth apart, also where the sigmoids are as steep as 20 e^4."""
    now = monotone(seed, spread).noise_level(torch.linspace(0, 1, 1001, dtype=torch.float64))
    assert (now.log_snr.diff() < 0).all()
    assert (now.alpha_slope < 0).all()
    assert (now.sigma_slope > 0).all()
    torch.testing.assert_close(now.alpha**2 + now.sigma**2, torch.ones(1001, dtype=torch.float64), rtol=1e-15, atol=0)
    torch.testing.assert_close(2 * (now.alpha / now.sigma).log(), now.log_snr, rtol=0, atol=1e-13)


def test_it_is_the_papers_network() -> None:
    """gamma(t) from l_1(t) + l_3(sigmoid(l_2(l_1(t)))), layer by layer, in NumPy."""
    schedule = monotone(5)
    w_1, w_2, centre, w_3 = (
        p.detach().double().numpy()
        for p in (schedule.log_line.exp(), schedule.log_steepness.exp(), schedule.centre, schedule.log_share.exp())
    )
    t = np.array([0.0, 0.2, 0.7, 1.0])
    first = w_1 * t
    second = first[:, None] * w_2 - w_2 * centre
    g = first + (1 / (1 + np.exp(-second))) @ w_3
    gamma = -13.3 + 18.3 * (g - g[0]) / (g[-1] - g[0])
    np.testing.assert_allclose(schedule.gamma(torch.from_numpy(t))[0].detach(), gamma, rtol=1e-5)  # weights in float32


def test_it_begins_nearly_linear() -> None:
    with torch.no_grad():
        gamma, slope = Learned().build().gamma(torch.linspace(0, 1, 101, dtype=torch.float64))
    torch.testing.assert_close(gamma, torch.linspace(-13.3, 5, 101, dtype=torch.float64), rtol=0, atol=0.25)
    assert 0.7 * 18.3 < slope.min() < slope.max() < 1.1 * 18.3


@pytest.mark.parametrize("seed", range(3))
def test_slopes_are_central_differences(seed: int) -> None:
    """Of fourth order with h = 1e-5: rounding leaves 1e-16 · 13/h = 1e-10, and sigmoids of steepness 20 less."""
    schedule, h = monotone(seed), 1e-5
    t = torch.linspace(0.001, 0.999, 50, dtype=torch.float64)
    around = schedule.noise_level(t[:, None] + h * torch.tensor([-2.0, -1.0, 1.0, 2.0], dtype=torch.float64))
    now = schedule.noise_level(t)
    stencil = torch.tensor([1.0, -8.0, 8.0, -1.0], dtype=torch.float64) / (12 * h)
    torch.testing.assert_close(around.alpha @ stencil, now.alpha_slope, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(around.sigma @ stencil, now.sigma_slope, rtol=1e-8, atol=1e-9)
    _, slope = schedule.gamma(t)
    torch.testing.assert_close(-around.log_snr @ stencil, slope, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("make", [lambda: monotone(4), lambda: chain(4)], ids=["monotone", "chain"])
def test_the_level_is_differentiable_in_every_parameter(make) -> None:
    """Autograd against finite differences (`gradcheck`), slopes included, on parameters of float64."""
    schedule = make().double()
    t = torch.tensor([0.05, 0.25, 0.6, 0.95], dtype=torch.float64)

    def values(*parameters: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(dict(schedule.named_parameters()), parameters, strict=True))
        now = torch.func.functional_call(Leveled(schedule), {f"schedule.{k}": v for k, v in named.items()}, (t,))
        return now.alpha, now.sigma, now.log_snr, now.alpha_slope, now.sigma_slope

    assert torch.autograd.gradcheck(values, tuple(schedule.parameters()), rtol=1e-5, atol=1e-7)


class Leveled(nn.Module):
    def __init__(self, schedule: nn.Module) -> None:
        super().__init__()
        self.schedule = schedule

    def forward(self, t: Tensor) -> NoiseLevel:
        return self.schedule.noise_level(t)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_time_inverts_log_snr(seed: int, spread: float) -> None:
    """In log-SNR to a few of its roundings (13 · 1e-16), sigmoids as steep as 20 e^4 included; the ends exactly."""
    schedule = monotone(seed, spread)
    wanted = torch.linspace(20, -10, 301, dtype=torch.float64)
    t = schedule.time(wanted)
    assert not t.requires_grad
    found = schedule.log_snr(t).detach()
    slope = schedule.gamma(t)[1].detach()
    reachable = wanted.clamp(-5.0, 13.3)
    assert ((found - reachable).abs() <= 1e-14 + 1e-15 * slope).all()
    assert t[wanted >= 13.3].unique().tolist() == [0.0]
    assert t[wanted <= -5.0].unique().tolist() == [1.0]


def test_at_the_start_both_halves_are_alike() -> None:
    """Centres spread evenly are mirrored about t = 1/2, and so is u: u(t) + u(1 - t) = 1."""
    t = torch.linspace(0, 0.5, 33, dtype=torch.float64)
    (early, slope), (late, mirrored) = (monotone().rise(time) for time in (t, 1 - t))
    torch.testing.assert_close(early + late, torch.ones_like(t), rtol=0, atol=1e-14)
    torch.testing.assert_close(slope, mirrored, rtol=1e-12, atol=0)


# the chain


def test_a_chain_begins_as_the_linear_one() -> None:
    """To the digits of its float32 logits; β_1 and ᾱ_T exactly."""
    linear, learned = LinearBeta().build(), LearnedChain().build()
    torch.testing.assert_close(learned.betas(1000).detach(), linear.betas(1000), rtol=2e-6, atol=0)
    first = torch.tensor([1e-3, 1.0], dtype=torch.float64)
    assert learned.alpha(first).tolist() == linear.alpha(first).tolist()


@pytest.mark.parametrize("seed", range(4))
def test_first_beta_and_last_alpha_stay_whatever_the_logits(seed: int) -> None:
    before, after = chain(), chain(seed)
    assert after.log_alpha_bar()[[0, 1, -1]].tolist() == before.log_alpha_bar()[[0, 1, -1]].tolist()
    assert (after.betas(6) > 0).all()
    assert (after.betas(6)[1:] - before.betas(6)[1:]).abs().min() > 1e-3


def test_the_logits_share_what_is_left() -> None:
    """log(1 - β_k) of the steps from 2 on are in the ratios of softmax(logits)."""
    schedule = chain(1)
    rates = (-schedule.betas(6)).log1p()[1:]
    torch.testing.assert_close(rates / rates.sum(), schedule.logits.double().softmax(0), rtol=1e-12, atol=0)
    before = schedule.betas(6).detach()
    schedule.logits.data = schedule.logits.detach().double() + 1000  # which is a factor of all
    torch.testing.assert_close(schedule.betas(6).detach(), before, rtol=1e-9, atol=0)


# the gradients


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_the_likelihoods_mean_is_the_same_for_every_interior(seed: int | None) -> None:
    """∫ -½ dSNR/dt std²/(1 + std² SNR) dt = ½ log(1 + std² SNR(0)) - ½ log(1 + std² SNR(1))."""
    t, weights = quadrature(200)
    losses = expected(VarianceMinimisingLoss(), exact_denoiser(monotone(seed, spread=0.5)), t)
    exact = information(np.exp(13.3)) - information(np.exp(-5))
    assert (weights @ losses).item() == pytest.approx(exact, rel=1e-9)


class SmallNetwork(nn.Module):
    """An untrained network that is told the log-SNR."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        return self.layers(torch.cat([x, log_snr[:, None] / 5], dim=1))


def test_one_backward_pass_gives_the_network_the_mean_and_the_schedule_the_mean_square() -> None:
    torch.manual_seed(0)
    denoiser = NetworkDenoiser(SmallNetwork(), monotone(1, gamma_min=-4.0, gamma_max=3.0), FromLogSNR())
    x_0, noise, t = torch.randn(9, 3).double(), torch.randn(9, 3).double(), torch.rand(9).double()
    plain = DenoisingLoss(LikelihoodWeighting())(denoiser, x_0, t, noise)
    of_mean = torch.autograd.grad(plain.mean(), list(denoiser.network.parameters()), retain_graph=True)
    of_square = torch.autograd.grad(plain.square().mean(), list(denoiser.schedule.parameters()))
    losses = VarianceMinimisingLoss()(denoiser, x_0, t, noise)
    assert losses.tolist() == plain.tolist()
    losses.mean().backward()
    for p, gradient in zip(denoiser.network.parameters(), of_mean, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-12, atol=0)
    for p, gradient in zip(denoiser.schedule.parameters(), of_square, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=2e-6, atol=1e-6)  # float32 parameters


def test_without_a_learned_schedule_it_is_the_likelihoods_loss() -> None:
    denoiser = NetworkDenoiser(SmallNetwork(), VP().build(), FromLogSNR())
    x_0, noise, t = torch.randn(5, 3).double(), torch.randn(5, 3).double(), torch.rand(5).double()
    plain = DenoisingLoss(LikelihoodWeighting())(denoiser, x_0, t, noise)
    assert VarianceMinimisingLoss()(denoiser, x_0, t, noise).tolist() == plain.tolist()
    with torch.no_grad():
        assert VarianceMinimisingLoss()(exact_denoiser(monotone()), x_0, t, noise).shape == (5,)


def test_training_makes_the_loss_alike_at_all_times() -> None:
    """E[L²] ≥ E[L]² with equality where L does not depend on t: the best schedule of an exact denoiser.

    The excess falls from 40 % to below 0.5 %; of the loss before the last tenth of the time, where the optimum rises
    steeply, no part is off by 5 % any more (it fell there from 1.7 to 0.09 of the mean).
    """
    draws = torch.Generator().manual_seed(3)
    schedule = monotone(width=64, gamma_min=-6.0, gamma_max=3.0)
    denoiser, loss = exact_denoiser(schedule), VarianceMinimisingLoss()
    t, weights = quadrature(100)

    def relative() -> Tensor:
        losses = expected(loss, denoiser, t).detach()
        return losses / (weights @ losses)

    before = relative()
    optimizer = torch.optim.Adam(schedule.parameters(), lr=0.03)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    for _ in range(300):
        x_0, noise = (torch.randn(64, 256, generator=draws, dtype=torch.float64) for _ in range(2))
        times = (torch.arange(64) + torch.rand(1, generator=draws)).double() / 64
        optimizer.zero_grad()
        loss(denoiser, STD * x_0, times, noise).mean().backward()
        optimizer.step()
        decay.step()
    after = relative()
    assert weights @ before**2 > 1.3
    assert weights @ after**2 < 1.005
    assert before[t < 0.9].max() - before[t < 0.9].min() > 1.5
    assert (after[t < 0.9] - 1).abs().max() < 0.05


def summed_bound(log_alpha_bar: np.ndarray) -> float:
    """Σ_i ½ (SNR_{i-1} - SNR_i) error_i, the first step with a decoder of variance 1/SNR_1, in plain NumPy."""
    snr = np.exp(log_alpha_bar[1:]) / -np.expm1(log_alpha_bar[1:])
    drop = np.concatenate([snr[:1], snr[:-1] - snr[1:]])
    return float((drop / 2 * STD**2 / (1 + STD**2 * snr)).sum())


def chain_bound(first: float, last: float, logits: np.ndarray) -> float:
    shares = np.exp(logits - logits.max())
    shares = np.cumsum(shares / shares.sum())
    return summed_bound(np.concatenate([[0.0, first], first + (last - first) * shares]))


def test_the_chains_gradient_is_that_of_its_summed_bound() -> None:
    """Every step once, the expectation exact: against central differences of the closed form in the logits."""
    schedule = chain(2)
    t = torch.arange(1, 7, dtype=torch.float64) / 6
    loss = expected(DenoisingLoss(StepLikelihood(schedule, 6)), exact_denoiser(schedule), t).mean()
    loss.backward()
    _, first, *_, last = schedule.log_alpha_bar().tolist()
    logits = schedule.logits.detach().double().numpy()
    assert loss.item() == pytest.approx(chain_bound(first, last, logits), rel=1e-12)
    found = optimize.approx_fprime(logits, lambda v: chain_bound(first, last, v), 1e-6)
    np.testing.assert_allclose(schedule.logits.grad, found, rtol=1e-4, atol=1e-6)


def test_training_finds_the_best_chain() -> None:
    """The bound falls from that of the linear β to the least that any division of -log ᾱ_T has."""
    schedule = chain()
    denoiser, loss = exact_denoiser(schedule), DenoisingLoss(StepLikelihood(schedule, 6))
    _, first, *_, last = schedule.log_alpha_bar().tolist()
    logits = schedule.logits.detach().double().numpy()
    best = optimize.minimize(lambda v: chain_bound(first, last, v), logits, tol=1e-10).fun
    start = chain_bound(first, last, logits)
    t = torch.arange(1, 7, dtype=torch.float64) / 6
    optimizer = torch.optim.Adam(schedule.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        expected(loss, denoiser, t).mean().backward()
        optimizer.step()
    assert expected(loss, denoiser, t).mean().item() == pytest.approx(best, rel=1e-6)
    assert best < 0.5 * start


def test_a_chain_of_one_step_is_refused_and_of_two_is_fixed_but_whole() -> None:
    with pytest.raises(InputError, match=r"^schedule\.steps: 1 leaves nothing to learn; give 2 or more$"):
        LearnedChain(steps=1)
    with pytest.raises(InputError, match=r"^schedule\.steps: 0 is not a number of steps"):
        LearnedChain(steps=0)
    two = LearnedChain(steps=2, beta_start=0.1, beta_end=0.5).build()
    assert two.log_alpha_bar().exp().tolist() == pytest.approx([1, 0.9, 0.45])


# as part of a model


@pytest.mark.parametrize("make", [monotone, chain], ids=["monotone", "chain"])
def test_its_parameters_are_the_denoisers(make) -> None:
    denoiser = NetworkDenoiser(SmallNetwork(), make(1), PredictVelocity())
    names = {f"schedule.{name}" for name, _ in make().named_parameters()}
    assert names == {name for name, _ in denoiser.named_parameters() if name.startswith("schedule.")}
    other = NetworkDenoiser(SmallNetwork(), make(2), PredictVelocity())
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    assert other.schedule.log_snr(t).tolist() != denoiser.schedule.log_snr(t).tolist()
    other.load_state_dict(denoiser.state_dict())
    assert other.schedule.log_snr(t).tolist() == denoiser.schedule.log_snr(t).tolist()
    assert deepcopy(denoiser).schedule.log_snr(t).tolist() == denoiser.schedule.log_snr(t).tolist()


@pytest.mark.parametrize("make", [monotone, chain], ids=["monotone", "chain"])
def test_sampling_in_inference_mode_and_training_do_not_meet(make) -> None:
    """DDIM on the exact denoiser, then a training step: nothing that was made for one is kept for the other."""
    schedule = make(1)
    denoiser = exact_denoiser(schedule)
    times = log_snr_grid(schedule, 200)
    with torch.inference_mode():
        x = torch.ones(2, 3, dtype=torch.float64)
        end = sample(denoiser, DDIM(), times, x)
        again = sample(denoiser, DDIM(), log_snr_grid(schedule, 200), x)
    assert end.tolist() == again.tolist()
    assert not end.requires_grad
    first = noise_level(schedule, 1.0)
    exact = STD / (first.alpha**2 * STD**2 + first.sigma**2) ** 0.5
    assert end[0, 0].item() == pytest.approx(exact, rel=0.02)  # first order in 1/200, over 18 units of log-SNR
    x_0 = torch.ones(4, 3, dtype=torch.float64)
    t = torch.arange(1, 5).double() / 4
    VarianceMinimisingLoss()(denoiser, x_0, t, x_0).mean().backward()
    assert all(bool(p.grad.isfinite().all()) for p in schedule.parameters())


@pytest.mark.parametrize("make", [monotone, chain], ids=["monotone", "chain"])
def test_levels_are_floats_also_while_gradients_are_kept(make) -> None:
    schedule = make(1)
    rows = list(noise_levels(schedule, uniform(4)))
    assert all(type(row.alpha) is float for row in rows)
    assert schedule.noise_level(torch.tensor([0.5], dtype=torch.float64)).alpha.requires_grad
    assert noise_level(schedule, 0.5) == rows[2]
    assert not schedule.time(torch.tensor([rows[2].log_snr])).requires_grad


# ends that are learned too


def test_learned_ends_begin_where_the_fixed_ones_are() -> None:
    """In float32, and what is learned is theirs: the same levels, and the ends are parameters."""
    fixed, learned = monotone(3), varied_like(monotone(3), learn_ends=True)
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(learned.gamma(t)[0], fixed.gamma(t)[0], rtol=0, atol=1e-6)
    assert dict(learned.named_parameters()).keys() - dict(fixed.named_parameters()).keys() == {"ends"}
    assert fixed.gamma_ends().tolist() == [-13.3, 5.0]
    assert not fixed.gamma_ends().requires_grad
    assert learned.gamma_ends().requires_grad


def varied_like(schedule: MonotoneSchedule, **options) -> MonotoneSchedule:
    other = Learned(width=16, **options).build()
    other.load_state_dict(schedule.state_dict(), strict=False)
    return other


def test_moved_ends_are_the_schedules_ends() -> None:
    """Level, slope and inverse go by them, exactly, and they are in what is saved."""
    schedule = varied_like(monotone(3), learn_ends=True)
    with torch.no_grad():
        schedule.ends.copy_(torch.tensor([-9.0, 2.5]))
    t = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    gamma, slope = schedule.gamma(t)
    height, rate = schedule.rise(t)
    assert gamma[[0, 2]].tolist() == [-9.0, 2.5]
    torch.testing.assert_close(gamma, -9 + 11.5 * height, rtol=1e-14, atol=0)
    torch.testing.assert_close(slope, 11.5 * rate, rtol=1e-14, atol=0)
    torch.testing.assert_close(schedule.time(schedule.log_snr(t).detach()), t, rtol=0, atol=1e-13)
    assert schedule.time(torch.tensor([100.0, -100.0])).tolist() == [0.0, 1.0]
    other = Learned(width=16, learn_ends=True).build()
    other.load_state_dict(schedule.state_dict())
    assert torch.equal(other.gamma(t)[0], gamma)


def test_the_ends_gradient_is_that_of_the_mean_and_the_interiors_that_of_the_square() -> None:
    """One backward pass, any network: nothing of the square reaches the ends, and nothing of the mean the interior."""
    torch.manual_seed(0)
    schedule = varied_like(monotone(1), learn_ends=True, gamma_min=-4.0, gamma_max=3.0)
    denoiser = NetworkDenoiser(SmallNetwork(), schedule, FromLogSNR())
    x_0, noise, t = torch.randn(9, 3).double(), torch.randn(9, 3).double(), torch.rand(9).double()
    plain = DenoisingLoss(LikelihoodWeighting())(denoiser, x_0, t, noise)
    parameters = dict(schedule.named_parameters())
    of_mean = torch.autograd.grad(plain.mean(), schedule.ends, retain_graph=True)[0]
    inside = [p for name, p in parameters.items() if name != "ends"]
    of_square = torch.autograd.grad(plain.square().mean(), inside)
    VarianceMinimisingLoss()(denoiser, x_0, t, noise).mean().backward()
    torch.testing.assert_close(schedule.ends.grad, of_mean, rtol=1e-6, atol=0)
    for p, gradient in zip(inside, of_square, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=2e-6, atol=1e-6)


def test_the_level_is_differentiable_in_its_ends() -> None:
    schedule = varied_like(monotone(4), learn_ends=True).double()
    t = torch.tensor([0.0, 0.25, 0.6, 1.0], dtype=torch.float64)

    def values(ends: Tensor) -> tuple[Tensor, ...]:
        now = torch.func.functional_call(Leveled(schedule), {"schedule.ends": ends}, (t,))
        return now.alpha, now.sigma, now.log_snr, now.alpha_slope, now.sigma_slope

    assert torch.autograd.gradcheck(values, (schedule.ends,), rtol=1e-5, atol=1e-7)

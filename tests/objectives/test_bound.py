"""Losses that hold terms of the bound: what each part of a model follows, and that it arrives where it should.

For data N(m, c²) means over x_0 and ε are exact over the four points m ± c, ε = ±1, where a loss is a quadratic form.
"""

from math import e, log, pi

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sumi.data.batch import batch_of
from sumi.data.config import DataConfig
from sumi.data.images import ImageSpec
from sumi.data.load import load
from sumi.data.pixels import PixelRange
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.exact import gaussian_denoiser
from sumi.denoising.parameterization import Coefficients, PredictNoise
from sumi.denoising.variance import LearnedVariance
from sumi.denoising.weighting import LikelihoodWeighting, SNRWeighting, VelocityWeighting
from sumi.likelihood.continuous import ContinuousBound
from sumi.likelihood.variational import CleanVariance, VariationalBound, even_times
from sumi.models.diffusion.build import build_loss
from sumi.objectives.bound import DECODED, ChainBoundLoss, HybridLoss, WholeBoundLoss
from sumi.objectives.denoiser import IN_TRAINING
from sumi.objectives.denoising import DenoisingLoss, DenoisingObjective
from sumi.objectives.times import GridTimes
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.gaussian import expand, posterior
from sumi.process.learned import Learned, MonotoneSchedule
from sumi.process.schedule import DATA, NoiseLevel, noise_level
from sumi.randomness import Purpose, normal
from sumi.recipes import build

MEAN, STD, STEPS = 0.2, 0.6, 12
CHAIN = LinearBeta(steps=STEPS, beta_start=0.01, beta_end=0.5).build()
TIMES = torch.arange(1, STEPS + 1, dtype=torch.float64) / STEPS
BOUND = VariationalBound(CHAIN, even_times(STEPS), CleanVariance(), None)


class TwoParts(nn.Module):
    """F and what is said of the variance, by two networks of their own."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.mean, self.variance = (
                nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double() for _ in range(2)
            )

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        seen = torch.cat([x, c_noise[:, None] / 1000], 1)
        return torch.cat([self.mean(seen), self.variance(seen)], 1)


def two_parts(schedule=CHAIN) -> NetworkDenoiser:
    return NetworkDenoiser(TwoParts(), schedule, PredictNoise(), STEPS, learned_variance=True)


def batch(count: int = STEPS) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    x_0, noise = (torch.randn(count, 3, generator=draws, dtype=torch.float64) for _ in range(2))
    return 0.5 * x_0, noise


def gradients(losses: Tensor, part: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(losses.mean(), list(part.parameters()), retain_graph=True, allow_unused=False))


# the hybrid loss


@pytest.mark.parametrize("weighting", [SNRWeighting(), VelocityWeighting()], ids=lambda w: w.name)
def test_the_hybrid_loss_is_the_plain_one_and_a_little_of_the_bound(weighting) -> None:
    """loss + λ T L_{i-1}/d at every step i = 1 … T (Nichol & Dhariwal 2021, eq. 16)."""
    denoiser, (x_0, noise) = two_parts(), batch()
    plain = DenoisingLoss(weighting)(denoiser, x_0, TIMES, noise)
    terms = BOUND.step(denoiser, x_0, torch.arange(1, STEPS + 1), noise)
    found = HybridLoss(weighting, BOUND, 0.25)(denoiser, x_0, TIMES, noise)
    torch.testing.assert_close(found, plain + 0.25 * STEPS / 3 * terms, rtol=1e-10, atol=0)


def test_in_the_hybrid_loss_the_bound_moves_the_variance_alone() -> None:
    """The mean's gradient is the plain loss's, the variance's is λ times the bound's; each is not 0."""
    denoiser, (x_0, noise) = two_parts(), batch()
    hybrid = HybridLoss(SNRWeighting(), BOUND, 0.25)(denoiser, x_0, TIMES, noise)
    plain = DenoisingLoss(SNRWeighting())(denoiser, x_0, TIMES, noise)
    bound = ChainBoundLoss(BOUND)(denoiser, x_0, TIMES, noise)
    for part, expected in ((denoiser.network.mean, plain), (denoiser.network.variance, 0.25 * bound)):
        for found, wanted in zip(gradients(hybrid, part), gradients(expected, part), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
            assert float(wanted.abs().max()) > 1e-4
    apart = [
        float((one - other).abs().max())
        for one, other in zip(
            gradients(bound, denoiser.network.mean), gradients(plain, denoiser.network.mean), strict=True
        )
    ]
    assert max(apart) > 1e-2  # in the bound alone the mean is moved otherwise


@pytest.mark.parametrize("levels", [None, 5])
def test_the_chains_loss_is_the_bound_but_for_its_prior(levels: int | None) -> None:
    """T L_{i-1}/d in the mean over the times of the chain: Σ_i L_{i-1} for one element of x_0."""
    bound = VariationalBound(CHAIN, even_times(STEPS), CleanVariance(), levels)
    denoiser, (x_0, noise) = two_parts(), batch(1)
    x_0 = (x_0 * 2).round().clamp(-2, 2) / 2 if levels else x_0
    rows = (v.repeat(STEPS, 1) for v in (x_0, noise))
    found = ChainBoundLoss(bound)(denoiser, next(rows), TIMES, next(rows)).mean()
    whole = sum(bound.step(denoiser, x_0, torch.tensor([i]), noise) for i in range(1, STEPS + 1))
    assert found.item() == pytest.approx(whole.item() / 3, rel=1e-12)


class Affine(nn.Module):
    """At each step of the chain its own ε̂ = a x + b and its own v."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(STEPS, 3, dtype=torch.float64))

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        index = ((c_noise + 1) * STEPS / 1000).round().long() - 1
        a, b, message = self.table[index].T[..., None]
        return torch.cat([a * x + b, message.expand_as(x)], 1)


@pytest.mark.parametrize("which", ["hybrid", "bound"])
def test_training_brings_mean_and_variance_to_the_exact_ones(which: str) -> None:
    """All steps at once with exact means, by Adam: x̂_0 and Σ of N(m, c²), and the bound is the entropy."""
    denoiser = NetworkDenoiser(Affine(), CHAIN, PredictNoise(), STEPS, learned_variance=True)
    loss = HybridLoss(SNRWeighting(), BOUND, 1.0) if which == "hybrid" else ChainBoundLoss(BOUND)
    signs = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    x_0, noise = (MEAN + STD * signs[:, :1]).repeat(STEPS, 1), signs[:, 1:].repeat(STEPS, 1)
    t = TIMES.repeat_interleave(4)
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=0.05)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 800)
    for _ in range(800):
        optimizer.zero_grad()
        losses = loss(denoiser, x_0, t, noise)
        losses.mean().backward()
        optimizer.step()
        decay.step()
    exact = gaussian_denoiser(MEAN, STD, CHAIN)
    x_t = torch.tensor([[-0.7], [0.4]], dtype=torch.float64)
    with torch.no_grad():
        for now in TIMES.tolist():
            found, wanted = denoiser(x_t, now), exact(x_t, now)
            torch.testing.assert_close(found.clean, wanted.clean, rtol=0, atol=2e-3)
            i = round(now * STEPS)
            q = posterior(DATA if i == 1 else noise_level(CHAIN, (i - 1) / STEPS), noise_level(CHAIN, now))
            step = [q.variance + q.clean**2 * float(v) for v in (found.clean_variance[0], wanted.clean_variance)]
            assert step[0] == pytest.approx(step[1], rel=5e-3)
        bound = ChainBoundLoss(BOUND)(denoiser, x_0, t, noise).mean() + BOUND.prior(x_0).mean()
    end = noise_level(CHAIN, 1.0)
    spread = end.alpha**2 * STD**2 + end.sigma**2
    prior = (spread - 1 - log(spread) + (end.alpha * MEAN) ** 2) / 2  # KL(q(x_T) ‖ N(0, 1))
    assert bound.item() == pytest.approx(log(2 * pi * e * STD**2) / 2 + prior, abs=1e-4)


# the ends of a schedule


class FromLogSNR:
    """The network returns x̂_0 itself, and is told the log-SNR."""

    def coefficients(self, t: NoiseLevel) -> Coefficients:
        return Coefficients(1.0, 0.0 * t.alpha, 0.0 * t.alpha + 1.0, t.log_snr)


class ExactNetwork(nn.Module):
    """E[x_0 | x_t] of data N(0, STD²) where alpha² + sigma² = 1."""

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        alpha_squared = log_snr.sigmoid()
        gain = alpha_squared.sqrt() * STD**2 / (alpha_squared * STD**2 + (-log_snr).sigmoid())
        return gain[:, None] * x


def learned_ends(gamma_min: float = -5.0, gamma_max: float = 3.0, seed: int = 2) -> MonotoneSchedule:
    schedule = Learned(width=8, gamma_min=gamma_min, gamma_max=gamma_max, learn_ends=True).build()
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in schedule.named_parameters():
            if name != "ends":
                p.add_(0.4 * torch.randn(p.shape, generator=draws))
    return schedule.double()


def quadrature(nodes: int) -> tuple[Tensor, Tensor]:
    node, weight = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(nodes))
    return (node + 1) / 2, weight / 2


def whole_loss(schedule: MonotoneSchedule, count: int = 80) -> Tensor:
    """The mean of `WholeBoundLoss` over uniform t, x_0 ~ N(0, STD²) and ε: each node of t a batch of four points."""
    denoiser = NetworkDenoiser(ExactNetwork(), schedule, FromLogSNR())
    signs = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    nodes, weights = quadrature(count)
    loss = WholeBoundLoss(None)
    each = [loss(denoiser, STD * signs[:, :1], t.expand(4), signs[:, 1:]).mean() for t in nodes]
    return weights @ torch.stack(each)


def exact_whole(ends: Tensor) -> Tensor:
    """The continuous bound of N(0, STD²) in closed form: prior + ½ log (1 + c² SNR_0)/(1 + c² SNR_1) + decoder."""
    alpha_1, sigma_1 = (-ends[1]).sigmoid(), ends[1].sigmoid()  # squares
    prior = (alpha_1 * STD**2 + sigma_1 - 1 - sigma_1.log()) / 2
    condition = (torch.log1p(STD**2 * (-ends[0]).exp()) - torch.log1p(STD**2 * (-ends[1]).exp())) / 2
    return prior + condition + 0.5 + (2 * pi * ends[0].exp()).log() / 2


def test_the_whole_loss_is_the_continuous_bound() -> None:
    """In the mean over uniform times, prior and decoder included; also as `ContinuousBound` has them."""
    schedule = learned_ends()
    found = whole_loss(schedule).item()
    assert found == pytest.approx(exact_whole(torch.tensor([-5.0, 3.0]).double()).item(), rel=1e-9)
    bound = ContinuousBound(schedule, 0.0, None)
    x_0, noise = batch(5)
    denoiser = NetworkDenoiser(ExactNetwork(), schedule, FromLogSNR())
    t = torch.linspace(0.1, 1, 5, dtype=torch.float64)
    with torch.no_grad():
        losses = WholeBoundLoss(None)(denoiser, x_0, t, noise)
        parts = bound.prior(x_0) + bound.diffusion(denoiser, x_0, t, noise) + bound.reconstruction(x_0, noise)
    torch.testing.assert_close(losses, parts / 3, rtol=1e-9, atol=0)


def test_the_ends_follow_the_gradient_of_the_bound_and_the_interior_that_of_its_square() -> None:
    """Ends: the closed form's slope, also by differences. Interior: the mean square of the part that depends on t."""
    schedule = learned_ends(gamma_max=1.0)
    whole_loss(schedule).backward()
    ends = schedule.ends.detach().clone().requires_grad_()
    exact_whole(ends).backward()
    torch.testing.assert_close(schedule.ends.grad, ends.grad, rtol=1e-7, atol=1e-10)
    with torch.no_grad():
        for k in (0, 1):
            move = torch.zeros(2, dtype=torch.float64)
            move[k] = 1e-4
            slope = (exact_whole(ends + move) - exact_whole(ends - move)) / 2e-4
            assert schedule.ends.grad[k].item() == pytest.approx(slope.item(), rel=1e-5)
    assert float(schedule.ends.grad.abs().min()) > 1e-3

    denoiser = NetworkDenoiser(ExactNetwork(), schedule, FromLogSNR())
    signs = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    nodes, weights = quadrature(80)
    plain = DenoisingLoss(LikelihoodWeighting())
    squares = torch.stack(
        [
            plain(denoiser, STD * signs[:, :1], schedule.noise_level(t.expand(4)), signs[:, 1:]).square().mean()
            for t in nodes
        ]
    )
    inside = [p for name, p in schedule.named_parameters() if name != "ends"]
    for p, wanted in zip(inside, torch.autograd.grad(weights @ squares, inside), strict=True):
        torch.testing.assert_close(p.grad, wanted, rtol=1e-7, atol=1e-10)


def test_training_moves_the_ends_to_where_the_bound_is_least() -> None:
    """For N(0, c²): SNR(0) grows without end, and gamma_1 settles where prior and integral balance."""
    schedule = learned_ends(gamma_max=0.5)
    optimizer = torch.optim.Adam([schedule.ends], lr=0.2)
    before = whole_loss(schedule).item()
    for _ in range(12):
        optimizer.zero_grad()
        whole_loss(schedule, 16).backward()
        optimizer.step()
    assert schedule.ends[0].item() < -6
    assert schedule.ends[1].item() > 1.5
    assert whole_loss(schedule).item() < before - 0.02


@pytest.mark.parametrize("count", [3, DECODED, 20, 64])
def test_few_samples_stand_for_all_before_the_decoder(count: int) -> None:
    """The mean of a batch has the decoder's mean over its first samples, with weight 1; over all batches it is that of
    all samples, for items come in any order."""
    schedule = learned_ends(gamma_min=-3.0)
    denoiser = NetworkDenoiser(ExactNetwork(), schedule, FromLogSNR())
    draws = torch.Generator().manual_seed(1)
    x_0 = torch.randint(0, 5, (count, 3), generator=draws).double() / 2 - 1
    noise = torch.randn(count, 3, generator=draws, dtype=torch.float64)
    t = torch.rand(count, generator=draws, dtype=torch.float64)
    bound = ContinuousBound(schedule, 0.0, 5)
    with torch.no_grad():
        rest = bound.prior(x_0) + bound.diffusion(denoiser, x_0, t, noise)
        decoder = bound.reconstruction(x_0, noise)
        shift = [  # each cyclic order of the items once: every item is among the first equally often
            WholeBoundLoss(5)(denoiser, *(v.roll(k, 0) for v in (x_0, t, noise))).mean() for k in range(count)
        ]
    few = min(DECODED, count)
    assert shift[0].item() == pytest.approx((rest.mean() + decoder[:few].mean()).item() / 3, rel=1e-9)
    assert torch.stack(shift).mean().item() == pytest.approx((rest + decoder).mean().item() / 3, rel=1e-9)
    assert decoder.mean() > 0.01


# as a run makes them


def configured(*settings: str):
    from sumi.boundary.settings import override

    return override(build("improved-ddpm", DataConfig(source="digits")), settings)


def test_a_run_takes_the_loss_that_its_parts_ask_for() -> None:
    from sumi.models.diffusion.build import build_denoiser

    images = ImageSpec(1, 8, 8, 17, ())
    tiny = ["network.widths=32", "network.blocks=1", "network.embedding=32"]
    config = configured(*tiny)
    loss = build_loss(config, build_denoiser(config, images), 17)
    assert isinstance(loss, HybridLoss)
    assert (loss.weighting, loss.bound_weight, loss.bound.levels, loss.bound.steps) == (SNRWeighting(), 1e-3, 17, 1000)
    assert config.variance == LearnedVariance()
    config = configured("weighting=likelihood", "times=importance", *tiny)
    loss = build_loss(config, build_denoiser(config, images), 17)
    assert isinstance(loss, ChainBoundLoss)
    assert isinstance(loss.bound.variance, CleanVariance)
    config = build("vdm", DataConfig(source="digits"))
    loss = build_loss(config, build_denoiser(config, images), 17)
    assert loss == WholeBoundLoss(17)


# values spread over their bins

DIGITS = load(DataConfig(source="digits")).subset(list(range(40)))
WIDTH = 2 / 16


class Seen:
    """A loss that keeps x_0."""

    def __call__(self, denoiser, x_0: Tensor, t, noise: Tensor) -> Tensor:
        self.x_0 = x_0.clone()
        return x_0.flatten(1).mean(1)


def spread(step: int, positions: list[int], items: list[int], seed: int = 5, flip: bool = False) -> Tensor:
    seen = Seen()
    denoiser = NetworkDenoiser(nn.Linear(1, 1), CosineBeta().build(), PredictNoise(), 1000)
    objective = DenoisingObjective(denoiser, seen, GridTimes(), bin_width=WIDTH)
    objective(batch_of(DIGITS, np.array(items), np.array(positions), step=step, seed=seed, flip=flip))
    return seen.x_0


def test_training_values_are_spread_evenly_over_their_bins() -> None:
    """200 batches of one image: within half a bin of its levels, with mean 0 and variance width²/12."""
    levels = PixelRange(17).to_model(DIGITS.images[[7]])
    apart = torch.cat([spread(step, [0, 1], [7, 7]) for step in range(1, 101)]).double() - levels
    assert float(apart.abs().max()) <= WIDTH / 2 * (1 + 1e-5)
    count = apart.numel()
    assert abs(float(apart.mean())) < 4 * WIDTH / (12 * count) ** 0.5
    assert float(apart.square().mean()) == pytest.approx(WIDTH**2 / 12, rel=4 * (0.8 / count) ** 0.5)
    assert float(apart.abs().max()) > 0.499 * WIDTH
    assert torch.equal(PixelRange(17).to_levels(apart + levels)[3], torch.from_numpy(DIGITS.images[7]))


def test_where_in_a_bin_depends_on_seed_step_and_position_alone() -> None:
    base = spread(3, [0, 1], [4, 4])
    assert torch.equal(spread(3, [1], [4])[0], base[1])
    for other in (spread(4, [0, 1], [4, 4]), spread(3, [2, 3], [4, 4]), spread(3, [0, 1], [4, 4], seed=6)):
        assert not torch.isclose(other, base).flatten(1).all(1).any()
    assert not torch.equal(base[0], base[1])
    as_noise = normal(5, [0], 3, Purpose.TRAINING_NOISE, DIGITS.shape)
    assert abs(float(torch.corrcoef(torch.stack([as_noise.flatten(), (base[0] - base[1]).flatten()]))[0, 1])) < 0.5
    assert IN_TRAINING == 1  # draw 0 is that of an evaluation


def test_mirrored_images_are_spread_after_they_are_mirrored() -> None:
    positions, items = list(range(40)), [k % 40 for k in range(40)]
    plain, flipped = spread(2, positions, items), spread(2, positions, items, flip=True)
    levels = PixelRange(17).to_model(DIGITS.images)
    places = plain - levels
    mirrored = (flipped != plain).flatten(1).any(1)
    assert 5 < int(mirrored.sum()) < 35
    torch.testing.assert_close(flipped[mirrored], levels[mirrored].flip(-1) + places[mirrored], rtol=0, atol=1e-6)


def test_values_spread_over_bins_are_real_numbers_to_the_decoder(tmp_path) -> None:
    """A decoder of levels would be asked for a level's probability at a value that is none."""
    from sumi.models.model import RunDescription
    from sumi.training.run_folder import RunFolder
    from sumi.training_run import Events, build_trainer

    dataset = load(DataConfig(source="digits"))
    tiny = ["network.widths=32", "network.blocks=1", "network.embedding=32"]
    for settings, levels in (((), 17), (("data.dequantize=true",), None)):
        config = configured(*tiny, *settings)
        description = RunDescription.of(config, dataset)
        trainer, _ = build_trainer(description, dataset, RunFolder(tmp_path), "cpu", Events())
        assert trainer.objective.loss.bound.levels == levels
        assert trainer.objective.bin_width == (0.0 if levels else WIDTH)


def test_the_network_may_have_any_shape_of_data() -> None:
    """Images as well as vectors: `expand` and the halves along channels."""
    draws = torch.Generator().manual_seed(0)
    x_0 = torch.randn(STEPS, 2, 3, 3, generator=draws, dtype=torch.float64)

    class Doubled(nn.Module):
        def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
            return torch.cat([x, expand(c_noise / 1000, x) + 0 * x], 1)

    denoiser = NetworkDenoiser(Doubled(), CHAIN, PredictNoise(), STEPS, learned_variance=True)
    losses = HybridLoss(SNRWeighting(), BOUND)(denoiser, x_0, TIMES, x_0.flip(0))
    flat = HybridLoss(SNRWeighting(), BOUND)(denoiser, x_0.flatten(1), TIMES, x_0.flip(0).flatten(1))
    torch.testing.assert_close(losses, flat, rtol=1e-10, atol=0)

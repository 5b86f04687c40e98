"""Dequantisers on discrete data whose probabilities are known: bounds lie above, and come down to -log P."""

from math import log, pi

import numpy as np
import pytest
import torch
from torch import Tensor

from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.exact import gaussian_denoiser
from sumi.denoising.parameterization import PredictVelocity
from sumi.denoising.weighting import StepLikelihood
from sumi.errors import InputError
from sumi.likelihood.dequantize import (
    GaussianDequantizer,
    UniformDequantizer,
    bin_width,
    bits_per_dim,
    importance_weighted_bits,
    log_weights,
    mean_with_error,
)
from sumi.likelihood.probability_flow import ProbabilityFlow
from sumi.likelihood.trace import ExactTrace
from sumi.models.diffusion.dequantizer import LearnedDequantizer, train_dequantizer
from sumi.objectives.times import GridTimes
from sumi.process.continuous import VP
from sumi.process.schedule import noise_level, noise_ratio

MEAN, STD, LEVELS, DIMENSIONS = 0.12, 0.2, 5, 2  # bins of 0.5: log p varies a lot within one
SCHEDULE = VP().build()
VALUES = torch.linspace(-1, 1, LEVELS, dtype=torch.float64)
COUNT = 400


def normal_density(std: float):
    """log N(z; MEAN, std²), with no error at all."""

    def density(z: Tensor, _: int) -> Tensor:
        return (-((z.double() - MEAN) ** 2) / (2 * std**2) - log(2 * pi * std**2) / 2).flatten(1).sum(1)

    return density


def bin_probabilities(open_ended: bool = False) -> Tensor:
    """Of N(MEAN, STD²) in each bin, those at the ends reaching to infinity or not: (LEVELS,)."""
    low, high = VALUES - 1 / (LEVELS - 1), VALUES + 1 / (LEVELS - 1)
    if open_ended:
        low[0], high[-1] = -torch.inf, torch.inf
    return torch.special.ndtr((high - MEAN) / STD) - torch.special.ndtr((low - MEAN) / STD)


CHOSEN = torch.from_numpy(
    np.random.default_rng(0).choice(LEVELS, (COUNT, DIMENSIONS), p=bin_probabilities(open_ended=True).numpy())
)
DATA = VALUES[CHOSEN]


def true_bits(open_ended: bool = False) -> Tensor:
    return -bin_probabilities(open_ended).log2()[CHOSEN].mean(1)


def weights(dequantizer, density, draws: int, x: Tensor = DATA) -> Tensor:
    return log_weights(dequantizer, density, x, seed=0, indices=range(len(x)), draws=draws)


def excess(found: Tensor, open_ended: bool = False) -> tuple[float, float]:
    """How far bits are above the truth, in the mean over the same samples, and its standard error."""
    return mean_with_error(found - true_bits(open_ended))


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_a_uniform_density_over_all_bins_takes_log2_levels_bits(levels: int) -> None:
    """Exactly: the width of the bins is in it, and nothing else."""
    x = torch.linspace(-1, 1, levels, dtype=torch.float64).reshape(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    width = 2 / (levels - 1)

    def density(z: Tensor, _: int) -> Tensor:
        assert ((z - x).abs() <= width / 2).all()
        return torch.full((len(z),), -12 * log(2 + width), dtype=torch.float64)

    found = weights(UniformDequantizer(levels), density, 3, x)
    for bits in (bits_per_dim(found, 12), importance_weighted_bits(found, 12)):
        torch.testing.assert_close(bits, torch.full_like(bits, np.log2(levels)), rtol=1e-12, atol=0)


def test_the_uniform_bound_comes_down_to_the_truth() -> None:
    """Far above for one draw, and with more draws ever nearer, never below."""
    found = weights(UniformDequantizer(LEVELS), normal_density(STD), 256)
    by_draws = [excess(importance_weighted_bits(found[:, :k], DIMENSIONS)) for k in (1, 4, 32, 256)]
    assert by_draws[0][0] > 0.3
    assert by_draws[0][0] > by_draws[1][0] > by_draws[2][0] > by_draws[3][0] > 0
    assert by_draws[3][0] < 0.003
    mean, error = excess(bits_per_dim(found, DIMENSIONS))
    assert abs(mean - by_draws[0][0]) < 4 * by_draws[0][1]  # the mean of 256 bounds of one draw
    assert error < by_draws[0][1]


def test_weights_have_the_mean_of_the_probability() -> None:
    """E[w] = P(x), for one x of each kind: within four standard errors of 4000 draws."""
    x = VALUES[:, None]
    for dequantizer in (UniformDequantizer(LEVELS), LearnedDequantizer((1,), LEVELS).double()):
        w = weights(dequantizer, normal_density(STD), 4000, x).exp()
        error = w.std(1) / 4000**0.5
        assert ((w.mean(1) - bin_probabilities()).abs() < 4 * error).all()


def test_the_bound_by_the_ode_is_that_of_the_exact_density() -> None:
    """Dequantised draws through the real ODE: the same bits to 10⁻³, float32 included."""
    flow, schedule = ProbabilityFlow(), SCHEDULE
    denoiser = gaussian_denoiser(MEAN, STD, schedule)
    blurred = (STD**2 + noise_ratio(flow.first(schedule)) ** 2) ** 0.5
    x = DATA[:20].float()
    exact = weights(UniformDequantizer(LEVELS), normal_density(blurred), 2, x)
    end = noise_level(schedule, 1.0)
    std = (end.alpha**2 * STD**2 + end.sigma**2) ** 0.5  # of x_1; its mean, 8e-4, costs less than 1e-2 nats

    def density(z: Tensor, _: int) -> Tensor:
        return flow.log_density(denoiser, z, ExactTrace(), prior_std=std).log_density

    found = weights(UniformDequantizer(LEVELS), density, 2, x)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-2)


@pytest.mark.parametrize("t", [0.05, 0.1])
def test_the_gaussian_bound_comes_down_to_the_truth(t: float) -> None:
    """With the decoder's right width, Var(x_0 | x_t)^½, z and x̂_0 together make N(MEAN, STD²), end bins open."""
    now = noise_level(SCHEDULE, t)
    denoiser, ratio = gaussian_denoiser(MEAN, STD, SCHEDULE), noise_ratio(now)
    width = STD * ratio / (STD**2 + ratio**2) ** 0.5
    density = normal_density((STD**2 + ratio**2) ** 0.5)
    found = weights(GaussianDequantizer(denoiser, now, LEVELS, width), density, 64)
    by_draws = [excess(importance_weighted_bits(found[:, :k], DIMENSIONS), open_ended=True) for k in (1, 8, 64)]
    assert by_draws[0][0] > 3 * by_draws[0][1]
    assert by_draws[0][0] > by_draws[1][0] > by_draws[2][0] > -3 * by_draws[2][1]
    assert by_draws[2][0] < 0.02
    wide = weights(GaussianDequantizer(denoiser, now, LEVELS), density, 1)  # its own noise: a worse decoder
    assert excess(bits_per_dim(wide, DIMENSIONS))[0] > by_draws[0][0]


def test_a_learned_dequantizer_begins_uniform() -> None:
    """The same draws as the uniform one's, and its density."""
    even, learned = UniformDequantizer(LEVELS), LearnedDequantizer((DIMENSIONS,), LEVELS).double()
    for number in range(2):
        a, b = (one.draw(DATA, 3, range(COUNT), number) for one in (even, learned))
        torch.testing.assert_close(a.z, b.z, rtol=0, atol=1e-14)
        torch.testing.assert_close(a.log_ratio, b.log_ratio, rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", [(4,), (2, 3, 3)])
def test_the_learned_density_is_the_slope_of_its_map(shape) -> None:
    """log q = -log |dz/du| for uniform u, by the Jacobian of the map, and z stays in its bin."""
    torch.manual_seed(0)
    learned = LearnedDequantizer(shape, LEVELS).double()
    for p in learned.parameters():
        torch.nn.init.normal_(p, std=0.2)
    x = VALUES[torch.randint(0, LEVELS, (1, *shape))]
    places = torch.rand(1, *shape, dtype=torch.float64)
    z, log_q = learned(x, places)
    assert ((z - x).abs() <= bin_width(LEVELS) / 2).all()
    jacobian = torch.autograd.functional.jacobian(lambda u: learned(x, u)[0].flatten(), places).reshape(z.numel(), -1)
    torch.testing.assert_close(-jacobian.logdet().reshape(1), log_q)
    torch.testing.assert_close(jacobian, torch.diag(jacobian.diag()))


def trained(**settings) -> tuple[LearnedDequantizer, list[float]]:
    learned, losses = LearnedDequantizer((DIMENSIONS,), LEVELS).double(), []
    denoiser = gaussian_denoiser(MEAN, STD, SCHEDULE)
    train_dequantizer(learned, denoiser, DATA, progress=lambda _, loss: losses.append(loss), **settings)
    return learned, losses


def test_a_learned_dequantizer_takes_most_of_the_gap() -> None:
    """The exact model is frozen; 300 steps leave less than a fifth of what uniform noise costs, above the truth."""
    learned, losses = trained(steps=300, learning_rate=3e-3)
    even = excess(bits_per_dim(weights(UniformDequantizer(LEVELS), normal_density(STD), 4), DIMENSIONS))[0]
    found = weights(learned, normal_density(STD), 64)
    gap, error = excess(bits_per_dim(found[:, :4], DIMENSIONS))
    assert gap < even / 5
    assert gap > 3 * error
    tight, error = excess(importance_weighted_bits(found, DIMENSIONS))
    assert -3 * error < tight < gap / 4
    assert np.mean(losses[-50:]) < np.mean(losses[:50])


def test_training_follows_from_the_seed_alone() -> None:
    (a, first), (b, again), (_, other) = (trained(steps=5, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_it_learns_on_the_times_of_a_chain_through_a_frozen_network() -> None:
    """A network's weights get no gradient, and only i/T are asked; its loss is the chain's."""
    requested: list[Tensor] = []

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = torch.nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

        def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
            requested.append((c_noise + 1) / 1000)
            return self.gain * x

    denoiser = NetworkDenoiser(Network(), SCHEDULE, PredictVelocity(), trained_steps=20)
    learned = LearnedDequantizer((DIMENSIONS,), LEVELS).double()
    train_dequantizer(
        learned, denoiser, DATA, steps=3, times=GridTimes(20), weighting=StepLikelihood(SCHEDULE, 20), batch_size=32
    )
    steps = torch.cat(requested) * 20
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-9)
    assert denoiser.network.gain.grad is None
    assert any(float(p.detach().abs().sum()) > 0 for p in learned.last.parameters())


def test_a_draw_depends_on_its_own_index_alone() -> None:
    now = noise_level(SCHEDULE, 0.1)
    variants = (
        UniformDequantizer(LEVELS),
        GaussianDequantizer(gaussian_denoiser(MEAN, STD, SCHEDULE), now, LEVELS),
        LearnedDequantizer((DIMENSIONS,), LEVELS).double(),
    )
    for kind in variants:
        together = kind.draw(DATA[:4], 5, [7, 8, 9, 10], 1)
        alone = kind.draw(DATA[2:3], 5, [9], 1)
        torch.testing.assert_close(alone.z[0], together.z[2], rtol=0, atol=1e-15)
        torch.testing.assert_close(alone.log_ratio[0], together.log_ratio[2], rtol=1e-14, atol=0)
        assert not torch.equal(kind.draw(DATA[2:3], 5, [9], 2).z, alone.z)
        assert not torch.equal(kind.draw(DATA[2:3], 6, [9], 1).z, alone.z)


def test_means_come_with_their_error() -> None:
    assert mean_with_error(torch.tensor([1.0, 3.0])) == pytest.approx((2.0, 1.0))
    mean, error = mean_with_error(torch.tensor([2.5]))
    assert (mean, np.isnan(error)) == (2.5, True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: UniformDequantizer(1),
        lambda: GaussianDequantizer(gaussian_denoiser(0, 1, SCHEDULE), noise_level(SCHEDULE, 0.1), 256, 0.0),
        lambda: LearnedDequantizer((2, 2), 256),
        lambda: weights(UniformDequantizer(LEVELS), normal_density(STD), 0),
        lambda: trained(steps=0),
    ],
)
def test_impossible_values_are_refused_by_name(make) -> None:
    with pytest.raises(InputError, match=r"^\w+: "):
        make()

"""A learned variance: the mixing law of Nichol & Dhariwal 2021, eq. 15, told as Var(x_0 | x_t) and back.

Tables of β̃ and of what should come out are written with ᾱ alone, in NumPy.
"""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import Coefficients, PredictNoise
from sumi.denoising.variance import LearnedVariance, clean_variance
from sumi.errors import InputError
from sumi.likelihood.variational import CleanVariance
from sumi.networks.mlp import MLPConfig
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.exploding import Ladder
from sumi.process.gaussian import posterior
from sumi.process.learned import LearnedChain
from sumi.process.schedule import DATA, NoiseLevel, Schedule, noise_level

STEPS = 25


def learned_chain() -> Schedule:
    schedule = LearnedChain(steps=STEPS, beta_start=0.01, beta_end=0.5).build()
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        schedule.logits.add_(torch.randn(STEPS - 1, generator=draws))
    return schedule.requires_grad_(False)


CHAINS = {
    "linear": LinearBeta(steps=STEPS, beta_end=0.4).build(),
    "cosine": CosineBeta(steps=STEPS).build(),
    "learned": learned_chain(),
}


def betas(schedule: Schedule) -> tuple[np.ndarray, np.ndarray]:
    """β_i, and β̃_i = β_i (1 - ᾱ_{i-1})/(1 - ᾱ_i) with β̃_2 in the place of β̃_1, i = 1 … T."""
    beta = schedule.betas(STEPS).numpy()
    kept = np.concatenate([[1.0], np.cumprod(1 - beta)])
    small = beta * (1 - kept[:-1]) / (1 - kept[1:])
    small[0] = small[1]
    return beta, small


def step_variance(schedule: Schedule, i: int, of_clean: Tensor) -> Tensor:
    """Σ of the step from i to i - 1 by the law of total variance: β̃ + c² Var(x_0 | x_i); the data have σ = 0."""
    t = noise_level(schedule, i / STEPS)
    q = posterior(DATA if i == 1 else noise_level(schedule, (i - 1) / STEPS), t)
    return q.variance + q.clean**2 * of_clean


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("v", [0.0, 0.25, 0.5, 1.0, -0.5, -3.0, 1.4])
def test_the_steps_variance_is_the_papers_mixture_at_every_step(name: str, v: float) -> None:
    """Σ = exp(v log β + (1 - v) log β̃), also outside of [0, 1] and for i = 1, to 1e-9: noise_fraction keeps 12."""
    schedule = CHAINS[name]
    beta, small = betas(schedule)
    message = torch.full((1, 3), 2 * v - 1, dtype=torch.float64)
    for i in range(1, STEPS + 1):
        found = step_variance(schedule, i, clean_variance(message, noise_level(schedule, i / STEPS), schedule, STEPS))
        expected = np.exp(v * np.log(beta[i - 1]) + (1 - v) * np.log(small[i - 1]))
        assert found.shape == (1, 3)
        assert found.tolist()[0] == pytest.approx([expected] * 3, rel=1e-9)


def test_it_is_so_for_a_thousand_steps_of_float32() -> None:
    """What a network says is float32, and the two variances of the last steps agree in six digits: 1e-6 of Σ."""
    schedule = CosineBeta().build()
    beta = schedule.betas(1000).numpy()
    kept = np.concatenate([[1.0], np.cumprod(1 - beta)])
    small = beta * (1 - kept[:-1]) / (1 - kept[1:])
    small[0] = small[1]
    index = torch.arange(1, 1001)
    v = torch.linspace(-1, 2, 1000)
    now = noise_level(schedule, index.double() / 1000)
    of_clean = clean_variance((2 * v - 1)[:, None], now, schedule, 1000)
    assert of_clean.dtype == torch.float32
    for i in (1, 2, 3, 500, 998, 999, 1000):
        t = noise_level(schedule, i / 1000)
        q = posterior(DATA if i == 1 else noise_level(schedule, (i - 1) / 1000), t)
        found = q.variance + q.clean**2 * of_clean[i - 1].item()
        at = float(v[i - 1])
        assert found == pytest.approx(beta[i - 1] ** at * small[i - 1] ** (1 - at), rel=1e-6)


@pytest.mark.parametrize("name", CHAINS)
def test_nothing_and_all_of_it_are_the_two_fixed_variances(name: str) -> None:
    """v = 0 leaves nothing of x_0 unknown after the first step, v = 1 makes Σ = β; below 0 it is less than nothing."""
    schedule = CHAINS[name]
    beta, small = betas(schedule)
    times = torch.arange(1, STEPS + 1, dtype=torch.float64) / STEPS
    none, half, less, whole = (
        clean_variance(
            torch.full((STEPS, 1), message, dtype=torch.float64), noise_level(schedule, times), schedule, STEPS
        )[:, 0]
        for message in (-1.0, 0.0, -2.0, 1.0)
    )
    assert none[1:].tolist() == [0.0] * (STEPS - 1)
    assert none[0].item() == pytest.approx(small[1], rel=1e-9)
    assert whole[0].item() == pytest.approx(beta[0], rel=1e-9)
    assert bool((less[1:] < 0).all())
    assert less[0] > 0
    assert bool((none < half).all() & (half < whole).all())


@pytest.mark.parametrize("name", CHAINS)
def test_floats_and_tensors_agree(name: str) -> None:
    """A sampler's one level for all, and a batch in training whose samples are each at their own step."""
    schedule = CHAINS[name]
    message = torch.randn(STEPS, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    times = torch.arange(1, STEPS + 1, dtype=torch.float64) / STEPS
    together = clean_variance(message, noise_level(schedule, times), schedule, STEPS)
    later = clean_variance(message[1:], noise_level(schedule, times[1:]), schedule, STEPS)
    assert together.shape == message.shape
    torch.testing.assert_close(together[1:], later, rtol=1e-12, atol=0)
    for i, t in enumerate(times.tolist()):
        alone = clean_variance(message[i : i + 1], noise_level(schedule, t), schedule, STEPS)
        torch.testing.assert_close(alone[0], together[i], rtol=1e-12, atol=1e-15)


def test_a_chain_of_one_step_has_its_own_noise() -> None:
    """No second step, so no other variance: sigma_1² whatever v."""
    schedule = LinearBeta(steps=1, beta_start=0.3, beta_end=0.3).build()
    message = torch.tensor([[-1.0], [0.0], [5.0]], dtype=torch.float64)
    assert clean_variance(message, noise_level(schedule, 1.0), schedule, 1).flatten().tolist() == pytest.approx(
        [0.3] * 3
    )


def test_it_needs_no_preserved_variance() -> None:
    """On NCSN's ladder, alpha = 1: β = sigma_t² - sigma_s², β̃ = β sigma_s²/sigma_t²."""
    schedule = Ladder(sigma_min=0.1, sigma_max=2.0, steps=STEPS).build()
    sigma = 0.1 * 20 ** (np.arange(STEPS) / (STEPS - 1))
    for i in (2, 9, STEPS):
        beta = sigma[i - 1] ** 2 - sigma[i - 2] ** 2
        small = beta * sigma[i - 2] ** 2 / sigma[i - 1] ** 2
        message = torch.full((1, 1), 0.4, dtype=torch.float64)  # v = 0.7
        found = step_variance(schedule, i, clean_variance(message, noise_level(schedule, i / STEPS), schedule, STEPS))
        assert found.item() == pytest.approx(beta**0.7 * small**0.3, rel=1e-9)
    first = clean_variance(torch.full((1, 1), 1.0).double(), noise_level(schedule, 1 / STEPS), schedule, STEPS)
    assert first.item() == pytest.approx(sigma[0] ** 2)


# in a denoiser


class Halves(nn.Module):
    """Says tanh of its input as F, and ``said`` as the other half."""

    def __init__(self, message: float) -> None:
        super().__init__()
        self.message = message

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        return torch.cat([x.tanh(), torch.full_like(x, self.message)], 1)


class Known:
    """x̂_0 = F."""

    def coefficients(self, t: NoiseLevel) -> Coefficients:
        return Coefficients(1.0, 0.0 * t.alpha, 0.0 * t.alpha + 1.0, t.t)


def test_a_networks_second_half_is_the_variance_and_its_first_the_prediction() -> None:
    schedule = CHAINS["linear"]
    denoiser = NetworkDenoiser(Halves(0.3), schedule, Known(), STEPS, learned_variance=True)
    x = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for t in (0.4, torch.tensor([0.04, 0.08, 0.52, 1.0], dtype=torch.float64)):
        denoised = denoiser(x, t)
        torch.testing.assert_close(denoised.clean, x.tanh(), rtol=0, atol=0)
        expected = clean_variance(torch.full_like(x, 0.3), noise_level(schedule, t), schedule, STEPS)
        torch.testing.assert_close(denoised.clean_variance, expected, rtol=0, atol=0)
    assert denoiser.predict(x, Known().coefficients(noise_level(schedule, 0.4))).shape == x.shape


def test_the_bound_takes_the_papers_variance_for_each_step() -> None:
    """`CleanVariance` between steps and to the data, from a network that says v = 0.65."""
    schedule = CHAINS["cosine"]
    beta, small = betas(schedule)
    denoiser = NetworkDenoiser(Halves(0.3), schedule, Known(), STEPS, learned_variance=True)
    x = torch.zeros(1, 2, dtype=torch.float64)
    for i in (2, 7, STEPS):
        t, s = (noise_level(schedule, k / STEPS) for k in (i, i - 1))
        found = CleanVariance().between(denoiser(x, t), s, t)
        assert found[0, 0].item() == pytest.approx(beta[i - 1] ** 0.65 * small[i - 1] ** 0.35, rel=1e-9)
    first = CleanVariance().of_data(denoiser(x, 1 / STEPS), 0.0)
    assert first[0, 0].item() == pytest.approx(beta[0] ** 0.65 * small[1] ** 0.35, rel=1e-9)


def test_a_new_network_begins_half_way() -> None:
    """Networks begin at 0: v = ½, the geometric mean of the two."""
    schedule = CHAINS["linear"]
    network = MLPConfig(width=16, blocks=1, embedding=8).build((3,), 2)
    denoiser = NetworkDenoiser(network, schedule, PredictNoise(), STEPS, learned_variance=True)
    beta, small = betas(schedule)
    with torch.no_grad():
        found = step_variance(schedule, 9, denoiser(torch.randn(2, 3), 9 / STEPS).clean_variance)
    assert found.shape == (2, 3)
    assert found.flatten().tolist() == pytest.approx([(beta[8] * small[8]) ** 0.5] * 6, rel=1e-5)


def test_without_it_a_network_says_nothing_of_the_variance() -> None:
    network = MLPConfig(width=16, blocks=1, embedding=8).build((3,))
    denoiser = NetworkDenoiser(network, CHAINS["linear"], PredictNoise(), STEPS)
    assert denoiser(torch.zeros(1, 3), 0.4).clean_variance is None


def test_a_weight_that_is_none_is_refused_by_name() -> None:
    for weight in (0.0, -1.0, float("nan")):
        with pytest.raises(
            InputError, match=r"^variance\.bound_weight: .* is not positive; the paper's value is 0\.001$"
        ):
            LearnedVariance(bound_weight=weight)

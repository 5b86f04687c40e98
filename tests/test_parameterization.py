"""Parameterizations: what each network would output for known (x_0, ε), and the round trips between all of them."""

import pytest
import torch

from sumi.denoising.denoiser import Denoised, FunctionDenoiser, NetworkDenoiser
from sumi.denoising.parameterization import PredictClean, PredictNoise, PredictScore, PredictVelocity
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.continuous import RectifiedFlow
from sumi.process.forward import add_noise, expand
from sumi.process.schedule import level

SCHEDULES = [LinearBeta().build(), CosineBeta().build()]
# what the network must output, straight from the definition of each quantity
MEANING = {
    PredictClean(): lambda x_0, noise, alpha, sigma: x_0,
    PredictNoise(): lambda x_0, noise, alpha, sigma: noise,
    PredictVelocity(): lambda x_0, noise, alpha, sigma: alpha * noise - sigma * x_0,
    PredictScore(): lambda x_0, noise, alpha, sigma: -noise / sigma,
}
TIMES = torch.tensor([0.001, 0.05, 0.3, 0.7, 0.999], dtype=torch.float64)


class Fixed(torch.nn.Module):
    """A network that has one answer and remembers what it was asked."""

    def __init__(self, output: torch.Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        self.asked = x, c_noise
        return self.output


def _example():
    g = torch.Generator().manual_seed(0)
    return torch.randn(5, 2, 3, generator=g).double(), torch.randn(5, 2, 3, generator=g).double()


@pytest.mark.parametrize("parameterization", MEANING, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=["linear", "cosine"])
def test_the_right_output_gives_back_the_data(parameterization, schedule) -> None:
    """With F as the paper defines it, x̂_0 = x_0, and noise, score and velocity are those of the pair (x_0, ε)."""
    x_0, noise = _example()
    now = level(schedule, TIMES)
    alpha, sigma = expand(now.alpha, x_0), expand(now.sigma, x_0)
    x_t = add_noise(x_0, noise, now)
    network = Fixed(MEANING[parameterization](x_0, noise, alpha, sigma))
    denoised = NetworkDenoiser(network, schedule, parameterization)(x_t, TIMES)
    # one division by alpha, whose smallest value here is 4.9e-5·(linear: 6.4e-3), on float64
    torch.testing.assert_close(denoised.clean, x_0, rtol=0, atol=1e-10)
    torch.testing.assert_close(denoised.noise, noise, rtol=0, atol=1e-10)
    torch.testing.assert_close(denoised.score, -noise / sigma, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(denoised.velocity, alpha * noise - sigma * x_0, rtol=0, atol=1e-10)


@pytest.mark.parametrize("parameterization", MEANING, ids=lambda p: type(p).__name__)
def test_floats_for_the_batch_equal_tensors_for_each(parameterization) -> None:
    x, _ = _example()
    denoiser = NetworkDenoiser(Fixed(x.flip(0)), SCHEDULES[0], parameterization)
    together = denoiser(x, torch.full((5,), 0.37, dtype=torch.float64))
    one = denoiser(x, 0.37)
    torch.testing.assert_close(one.clean, together.clean, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(one.score, together.score, rtol=1e-13, atol=1e-13)
    assert denoiser.network.asked[1].shape == (5,)


def test_the_network_is_told_the_index_of_the_chain() -> None:
    x, _ = _example()
    denoiser = NetworkDenoiser(Fixed(x), SCHEDULES[0], PredictNoise(), grid=1000)
    for index in (0, 499, 999):
        denoiser(x, (index + 1) / 1000)
        assert denoiser.network.asked[1].tolist() == pytest.approx([index] * 5, abs=1e-9)
        assert torch.equal(denoiser.network.asked[0], x)


def test_denoised_views_agree_with_their_definitions() -> None:
    x_0, noise = _example()
    alpha, sigma = 0.8, 0.5  # deliberately not variance preserving
    view = Denoised(x_0, alpha * x_0 + sigma * noise, alpha, sigma)
    torch.testing.assert_close(view.noise, noise)
    torch.testing.assert_close(view.score, -noise / sigma)
    torch.testing.assert_close(view.velocity, alpha * noise - sigma * x_0)


def test_velocity_without_variance_preservation() -> None:
    """x_0 = (alpha x_t - sigma v)/(alpha² + sigma²) also where alpha² + sigma² is not 1."""

    x_0, noise = _example()
    denoiser = NetworkDenoiser(Fixed(0.6 * noise - 0.4 * x_0), RectifiedFlow(), PredictVelocity())
    torch.testing.assert_close(denoiser(0.6 * x_0 + 0.4 * noise, 0.4).clean, x_0)


def test_any_callable_is_a_denoiser() -> None:
    x, _ = _example()
    denoiser = FunctionDenoiser(lambda x_t, t: x_t * t.alpha, SCHEDULES[0])
    torch.testing.assert_close(denoiser(x, 0.5).clean, x * level(SCHEDULES[0], 0.5).alpha)

"""The loss: its derived targets, its weights, and the times it is taken at."""

import pytest
import torch

from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.objective import DenoisingLoss
from sumi.denoising.parameterization import PredictClean, PredictNoise, PredictScore, PredictVelocity
from sumi.denoising.time_sampling import GridTimes, UniformTimes
from sumi.denoising.weighting import ConstantWeighting, MinSNRWeighting, SNRWeighting
from sumi.errors import InputError
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.forward import add_noise, expand
from sumi.process.schedule import level

SCHEDULE = LinearBeta().build()
PARAMETERIZATIONS = [PredictClean(), PredictNoise(), PredictVelocity(), PredictScore()]
WEIGHTS = {
    ConstantWeighting(): lambda snr: torch.ones_like(snr),
    SNRWeighting(): lambda snr: snr,
    MinSNRWeighting(): lambda snr: snr.clamp(max=5.0),
    MinSNRWeighting(gamma=1.5): lambda snr: snr.clamp(max=1.5),
}


class Echo(torch.nn.Module):
    def forward(self, x: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        return torch.sin(x) + c_noise.reshape(-1, 1, 1) / 1000


def _example():
    g = torch.Generator().manual_seed(1)
    x_0, noise = torch.randn(6, 2, 3, generator=g).double(), torch.randn(6, 2, 3, generator=g).double()
    return x_0, noise, torch.tensor([0.001, 0.02, 0.2, 0.5, 0.8, 1.0], dtype=torch.float64)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("weighting", WEIGHTS, ids=repr)
def test_loss_is_the_weighted_error_of_the_denoised_image(parameterization, weighting) -> None:
    """Taken on F with w c_out², it equals w ‖x̂_0 - x_0‖² computed through the denoiser itself."""
    x_0, noise, t = _example()
    denoiser = NetworkDenoiser(Echo(), SCHEDULE, parameterization)
    now = level(SCHEDULE, t)
    error = (denoiser(add_noise(x_0, noise, now), t).clean - x_0).square().flatten(1).mean(1)
    expected = WEIGHTS[weighting](now.alpha**2 / now.sigma**2) * error
    loss = DenoisingLoss(weighting)(denoiser, x_0, t, noise)
    assert loss.shape == (6,)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-12)  # the loss is float32


def test_simple_loss_is_the_error_of_the_noise() -> None:
    """SNR-weighted with an ε network: exactly ‖F - ε‖², also in float32 at the smallest sigma (no cancellation)."""
    x_0, noise, t = (v.float() for v in _example())
    denoiser = NetworkDenoiser(Echo(), SCHEDULE, PredictNoise())
    now = level(SCHEDULE, t)
    output = Echo()(add_noise(x_0, noise, now), (1000 * t - 1).float())
    expected = (output - noise).square().flatten(1).mean(1)
    torch.testing.assert_close(DenoisingLoss(SNRWeighting())(denoiser, x_0, t, noise), expected, rtol=1e-5, atol=0)


def test_the_gradient_reaches_the_network_alone() -> None:
    x_0, noise, t = _example()
    layer = torch.nn.Linear(3, 3).double()

    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x, c_noise):
            return self.layer(x)

    loss = DenoisingLoss(SNRWeighting())(NetworkDenoiser(Layer(), SCHEDULE, PredictVelocity()), x_0, t, noise)
    loss.mean().backward()
    assert layer.weight.grad is not None
    assert float(layer.weight.grad.abs().sum()) > 0


def test_grid_times_are_each_equally_often_and_exact() -> None:
    sampler = GridTimes(steps=10)
    times = sampler.times(torch.arange(1000, dtype=torch.float64) / 1000)
    assert sorted(set(times.tolist())) == [i / 10 for i in range(1, 11)]
    assert all((times == i / 10).sum() == 100 for i in range(1, 11))
    assert sampler.times(torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)).tolist() == [0.1, 1.0]
    assert sampler.grid == 10


def test_uniform_times_fill_their_interval() -> None:
    sampler = UniformTimes(start=0.1)
    assert sampler.times(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)).tolist() == pytest.approx([0.1, 0.55, 1.0])
    assert sampler.grid is None


def test_snr_weight_keeps_its_digits_at_both_ends() -> None:
    now = level(CosineBeta().build(), torch.tensor([0.001, 1.0], dtype=torch.float64))
    assert expand(now.alpha, torch.zeros(2, 1)).shape == (2, 1)
    torch.testing.assert_close(SNRWeighting().weight(now), (now.alpha / now.sigma) ** 2, rtol=1e-12, atol=0)


@pytest.mark.parametrize("make", [lambda: MinSNRWeighting(0), lambda: GridTimes(0), lambda: UniformTimes(0.0)])
def test_impossible_values_are_refused_by_name(make) -> None:
    with pytest.raises(InputError, match=r"^\w+\.\w+: "):
        make()

"""The loss: its derived targets, its weights, and where its gradients go."""

import pytest
import torch

from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import (
    PredictClean,
    PredictEnergy,
    PredictFlow,
    PredictNoise,
    PredictPreconditioned,
    PredictScore,
    PredictVelocity,
)
from sumi.denoising.weighting import (
    ConstantWeighting,
    EDMWeighting,
    LikelihoodWeighting,
    MinSNRWeighting,
    SNRWeighting,
    TruncatedSNRWeighting,
    VelocityWeighting,
)
from sumi.objectives.denoising import DenoisingLoss
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.gaussian import add_noise, expand
from sumi.process.schedule import NoiseLevel, noise_level

SCHEDULE = LinearBeta().build()
PARAMETERIZATIONS = [
    PredictClean(),
    PredictNoise(),
    PredictVelocity(),
    PredictScore(),
    PredictFlow(),
    PredictPreconditioned(),
    PredictEnergy(),
]
WEIGHTS = {
    ConstantWeighting(): lambda snr: torch.ones_like(snr),
    SNRWeighting(): lambda snr: snr,
    MinSNRWeighting(): lambda snr: snr.clamp(max=5.0),
    MinSNRWeighting(gamma=1.5): lambda snr: snr.clamp(max=1.5),
    TruncatedSNRWeighting(): lambda snr: snr.clamp(min=1.0),
    VelocityWeighting(): lambda snr: snr + 1,
    EDMWeighting(): lambda snr: snr + 4,
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
    now = noise_level(SCHEDULE, t)
    error = (denoiser(add_noise(x_0, noise, now), t).clean - x_0).square().flatten(1).mean(1)
    expected = WEIGHTS[weighting](now.alpha**2 / now.sigma**2) * error
    loss = DenoisingLoss(weighting)(denoiser, x_0, t, noise)
    assert loss.shape == (6,)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-9, atol=1e-12)


def test_simple_loss_is_the_error_of_the_noise() -> None:
    """SNR-weighted with an ε network: exactly ‖F - ε‖², also in float32 at the smallest sigma (no cancellation)."""
    x_0, noise, t = (v.float() for v in _example())
    denoiser = NetworkDenoiser(Echo(), SCHEDULE, PredictNoise())
    now = noise_level(SCHEDULE, t)
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


def test_snr_weight_keeps_its_digits_at_both_ends() -> None:
    now = noise_level(CosineBeta().build(), torch.tensor([0.001, 1.0], dtype=torch.float64))
    assert expand(now.alpha, torch.zeros(2, 1)).shape == (2, 1)
    torch.testing.assert_close(SNRWeighting().weight(now), (now.alpha / now.sigma) ** 2, rtol=1e-12, atol=0)


def test_a_level_is_taken_as_it_is_and_its_gradient_reaches_the_schedule() -> None:
    """dL/dlevel through x_t, c_noise, the target and the weight: against finite differences of the level's numbers."""
    x_0, noise, t = _example()
    denoiser = NetworkDenoiser(Echo(), SCHEDULE, PredictPreconditioned())
    loss = DenoisingLoss(LikelihoodWeighting())
    torch.testing.assert_close(loss(denoiser, x_0, noise_level(SCHEDULE, t), noise), loss(denoiser, x_0, t, noise))

    def of_numbers(*numbers: torch.Tensor) -> torch.Tensor:
        return loss(denoiser, x_0[2:], NoiseLevel(*numbers), noise[2:])

    now = noise_level(SCHEDULE, t[2:])
    numbers = (now.t, now.alpha, now.sigma, now.log_snr, now.alpha_slope, now.sigma_slope)
    assert torch.autograd.gradcheck(of_numbers, tuple(v.clone().requires_grad_() for v in numbers), rtol=1e-5)

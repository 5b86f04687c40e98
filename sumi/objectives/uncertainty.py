"""Learned uncertainty: a log-variance per noise level, trained with the network, that weights the loss.

    loss = L(t) e^-u(t) + u(t),        minimal in u where e^u(t) = E[L(t)]

At the optimal u every noise level counts alike, however large its error; the weight adapts as the network learns
(Kendall, Gal & Cipolla 2018, eq. 7; Karras et al. 2024, "EDM2", eqs. 14-16). The loss is, up to a constant, twice the
negative log-likelihood of Gaussian errors of variance e^u, and may be negative.

u is a cosine series in ln σ̂ = -log_snr/2 on [-10, 10], constant beyond:

    u = Σ_k a_k cos(π k z),   z = (ln σ̂ + 10)/20,   k = 0 … 31,   a = 0 at the start (where the loss is L itself)

The loss is convex in a, and does not depend on schedule, grid or parameterization.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sumi.denoising.denoiser import ReadDenoiser
from sumi.objectives.denoising import DenoisingLoss
from sumi.process.schedule import NoiseLevel, Time, noise_level

TERMS = 32
LARGEST = 10.0


class Uncertainty(nn.Module):
    """u at a noise level of tensors (N,): float32 (N,), on the device of its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.series = nn.Parameter(torch.zeros(TERMS))

    def forward(self, t: NoiseLevel) -> Tensor:
        place = (-torch.as_tensor(t.log_snr) / 2).clamp(-LARGEST, LARGEST) / (2 * LARGEST) + 0.5
        waves = torch.cos(torch.pi * place[:, None] * torch.arange(TERMS, dtype=torch.float64))
        # a sum instead of a matrix product, so that autocast keeps float32
        return (waves.to(self.series.device, self.series.dtype) * self.series).sum(1)


@dataclass(frozen=True)
class UncertainLoss:
    """``loss`` weighted by a learned ``uncertainty`` (module docstring); called like `DenoisingLoss`."""

    loss: DenoisingLoss
    uncertainty: Uncertainty

    def __call__(self, denoiser: ReadDenoiser, x_0: Tensor, t: Time, noise: Tensor) -> Tensor:
        """The loss of each sample, (N,) in x_0's type, on its device. x_0 and noise: (N, …); t: (N,) in (0, 1]."""
        now = noise_level(denoiser.schedule, t)
        losses = self.loss(denoiser, x_0, now, noise)
        u = self.uncertainty(now).to(losses)
        return losses * (-u).exp() + u

"""The denoising loss, with a target that is derived and never written per case.

The network's output F should make x̂_0 = c_skip x_t + c_out F equal to x_0. With x_t = alpha x_0 + sigma ε that
target is

    (x_0 - c_skip x_t)/c_out = ((1 - c_skip alpha)/c_out) x_0 - (c_skip sigma/c_out) ε,

whose two coefficients are formed in float64: for the ε parameterization they are 0 and 1 to within 1e-14, so no
digits of float32 are lost at small sigma.
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from sumi.denoising.denoiser import ReadDenoiser
from sumi.denoising.weighting import Weighting
from sumi.process.gaussian import add_noise, expand
from sumi.process.schedule import Time, level

Trained = TypeVar("Trained", contravariant=True)
"""The kind of denoiser that a loss is made for."""


class Loss(Protocol[Trained]):
    """What a denoiser is trained on: a loss (N,) of clean data and noise (N, …) at times t (N,) in (0, 1]."""

    def __call__(self, denoiser: Trained, x_0: Tensor, t: Time, noise: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class DenoisingLoss:
    """w(t) ‖x̂_0 - x_0‖², averaged over the elements of each sample."""

    weighting: Weighting

    def __call__(self, denoiser: ReadDenoiser, x_0: Tensor, t: Time, noise: Tensor) -> Tensor:
        """The loss of each sample, (N,) in x_0's type.

        x_0 and noise: (N, …). t: (N,) in (0, 1], or the level there, whose gradients are kept.
        """
        now = level(denoiser.schedule, t)
        c = denoiser.parameterization.coefficients(now)
        output = denoiser.predict(add_noise(x_0, noise, now), c)
        of_clean = expand((1 - c.c_skip * now.alpha) / c.c_out, x_0)
        of_noise = expand(c.c_skip * now.sigma / c.c_out, x_0)
        target = of_clean * x_0 - of_noise * noise
        weight = torch.as_tensor(self.weighting.weight(now) * c.c_out**2).to(target)
        return weight * (output.to(target.dtype) - target).square().flatten(1).mean(1)

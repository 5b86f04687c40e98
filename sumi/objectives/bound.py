"""Losses with terms of the bound beyond the error of x̂_0: for a learned variance, and for a schedule's learned ends.

    hybrid   w(t) ‖x̂_0 - x_0‖² + λ · T L_{i-1}       the bound trains the variance only (Nichol & Dhariwal 2021, eq.
    16) bound    T L_{i-1}                                it trains mean and variance (there "L_vlb") ends     -½
    dSNR/dt ‖x̂_0 - x_0‖² + prior + decoder    the whole bound, in continuous time (Kingma et al. 2021)

all per element of x_0, the bound in nats. L_{i-1} is the term of one step of the chain. T times its mean over the steps
is the bound without the prior's term, which does not depend on the network. In the last line, prior and decoder depend
on the schedule's ends only.
"""

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from sumi.denoising.denoiser import ReadDenoiser
from sumi.denoising.weighting import Weighting
from sumi.likelihood.discretised import posterior_of_levels
from sumi.likelihood.variational import VariationalBound
from sumi.objectives.schedule import VarianceMinimisingLoss
from sumi.process.gaussian import add_noise, gaussian_kl
from sumi.process.schedule import Time, noise_level

DECODED: Final = 8
"""How many samples of a batch the decoder is evaluated on: it takes time to compare each element with every level."""


@dataclass(frozen=True)
class HybridLoss:
    """The ``weighting``'s error plus ``bound_weight`` (λ) times the bound on a chain, with no gradient to the mean."""

    weighting: Weighting
    bound: VariationalBound
    bound_weight: float = 1e-3

    def __call__(self, denoiser: ReadDenoiser, x_0: Tensor, t: Time, noise: Tensor) -> Tensor:
        """The loss of each sample, (N,) in x_0's type. x_0 and noise: (N, …); t: (N,), times of the chain."""
        now = noise_level(denoiser.schedule, t)
        denoised = denoiser(add_noise(x_0, noise, now), now)
        weight = self.weighting.weight(now).to(x_0)
        error = weight * (denoised.clean - x_0).square().flatten(1).mean(1)
        held = replace(denoised, clean=denoised.clean.detach())
        index = self.bound.index(torch.as_tensor(now.t))
        per_element = self.bound.steps / x_0[0].numel()
        return error + self.bound_weight * per_element * self.bound.of_denoised(held, x_0, index)


@dataclass(frozen=True)
class ChainBoundLoss:
    """The bound of a chain, estimated from one step per sample, in nats per element."""

    bound: VariationalBound

    def __call__(self, denoiser: ReadDenoiser, x_0: Tensor, t: Time, noise: Tensor) -> Tensor:
        """The loss of each sample, (N,) in x_0's type. x_0 and noise: (N, …); t: (N,), times of the chain."""
        index = self.bound.index(torch.as_tensor(noise_level(denoiser.schedule, t).t))
        return self.bound.step(denoiser, x_0, index, noise) * (self.bound.steps / x_0[0].numel())


@dataclass(frozen=True)
class WholeBoundLoss:
    """The continuous bound with prior and decoder, for a schedule with learned ends, in nats per element.

    ``levels``: how many values an element takes; None for real numbers. The prior is N(0, 1).
    """

    levels: int | None

    def __call__(self, denoiser: ReadDenoiser, x_0: Tensor, t: Time, noise: Tensor) -> Tensor:
        """The loss of each sample, (N,) in x_0's type. x_0 and noise: (N, …); t: (N,), uniform on [0, 1].

        The decoder is evaluated on the first `DECODED` samples, each standing for N/`DECODED`.
        """
        losses = VarianceMinimisingLoss()(denoiser, x_0, t, noise)
        first, end = (noise_level(denoiser.schedule, torch.full((1,), v, dtype=torch.float64)) for v in (0.0, 1.0))
        prior = torch.as_tensor(gaussian_kl(_at(end.alpha, x_0) * x_0, _at(end.sigma, x_0) ** 2, 1.0))
        losses = losses + prior.flatten(1).mean(1)
        few = min(DECODED, len(x_0))
        alpha, sigma = _at(first.alpha, x_0), _at(first.sigma, x_0)
        z = alpha * x_0[:few] + sigma * noise[:few]
        nats = posterior_of_levels(z, alpha, sigma, x_0[:few], self.levels).flatten(1).mean(1).to(losses)
        return torch.cat([losses[:few] + nats * (len(x_0) / few), losses[few:]])


def _at(value: float | Tensor, x: Tensor) -> Tensor:
    """A level's single value as a scalar tensor with x's device and type; gradients are kept."""
    return torch.as_tensor(value).reshape(()).to(x)

"""The variational bound in continuous time: the limit of ever finer chains (Kingma et al. 2021, eqs. 12-18).

From the time ``start`` ≥ 0, where the noise is nearly invisible, z = alpha x_0 + sigma ε, to t = 1,

    -log p(x_0) ≤ KL(q(x_1 | x_0) ‖ N(0, prior_std²))                       prior
                + ∫_start^1 -½ dSNR/dt E‖x̂_0 - x_0‖² dt                     diffusion: the likelihood's weight
                + E[-log P(x_0 | z)]                                        decoder: the levels' posterior

in nats. The integral is one over SNR, so only the schedule's ends matter. The decoder needs no network. With the exact
denoiser E[x_0 | x_t] the mean of the bound is the entropy of the data, plus KL(q(x_1) ‖ prior), plus the decoder's gap
KL(q(x_0 | z) ‖ P(x_0 | z)). For real-valued data N(m, c²) that gap is ½ log(1 + (sigma/alpha)²/c²) per dimension, with
sigma and alpha at ``start``.

A chain of T steps from ``start`` to 1 with the posterior's variance replaces the integral by an upper sum of T
rectangles, which converges like 1/T. With the exact variance on data N(m, c²) it equals the integral for every T.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.denoising.weighting import LikelihoodWeighting
from sumi.errors import InputError
from sumi.likelihood.discretised import check_levels, posterior_of_levels
from sumi.likelihood.estimate import Strata, information, informed_time
from sumi.likelihood.variational import check_prior, prior_kl
from sumi.process.gaussian import add_noise
from sumi.process.schedule import NoiseLevel, Schedule, noise_level


@dataclass(frozen=True)
class ContinuousBound:
    """The bound from ``start`` on (module docstring).

    ``start`` in [0, 1), above 0 where sigma(0) = 0. ``levels``: the number of values of a pixel in [-1, 1]; None for
    real numbers. Raises InputError for values out of range.
    """

    schedule: Schedule
    start: float = 0.0
    levels: int | None = 256
    prior_std: float = 1.0

    def __post_init__(self) -> None:
        check_levels(self.levels)
        check_prior(self.prior_std)
        if not 0 <= self.start < 1:
            raise InputError(f"start: {self.start} is not a time in [0, 1); give 0 or a little more")
        if noise_level(self.schedule, self.start).sigma == 0:
            raise InputError(f"start: the bound is infinite without noise at t = {self.start}; give 1e-5")

    def prior(self, x_0: Tensor) -> Tensor:
        """KL(q(x_1 | x_0) ‖ N(0, prior_std²)): nats (N,)."""
        return prior_kl(x_0, noise_level(self.schedule, 1.0), self.prior_std)

    def diffusion(self, denoiser: Denoiser, x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """-½ dSNR/dt ‖x̂_0 - x_0‖² at x_t made with ``noise``: nats per unit of time, (N,) in x_0's type.

        x_0 and noise: (N, …). t: (N,) in [start, 1].
        """
        now = noise_level(self.schedule, t)
        return LikelihoodWeighting().weight(now).to(x_0) * _squared_error(denoiser, x_0, now, noise)

    def reconstruction(self, x_0: Tensor, noise: Tensor) -> Tensor:
        """-log P(x_0 | z) at z made with ``noise`` (N, …): nats (N,), in x_0's type."""
        now = noise_level(self.schedule, self.start)
        nats = posterior_of_levels(add_noise(x_0, noise, now), now.alpha, now.sigma, x_0, self.levels)
        return nats.flatten(1).sum(1).to(x_0)

    # the interface of `sumi.likelihood.estimate`

    def decoder(self, _: Denoiser, x_0: Tensor, noise: Tensor) -> Tensor:
        """-log P(x_0 | z), (N,)."""
        return self.reconstruction(x_0, noise)

    def strata(self, count: int, data_std: float) -> Strata:
        """``count`` strata from the start to 1."""
        ends = torch.tensor([self.start, 1.0], dtype=torch.float64)
        first, last = information(noise_level(self.schedule, ends), data_std).tolist()
        edges = torch.linspace(first, last, count + 1, dtype=torch.float64)
        times = torch.cat([ends[:1], informed_time(self.schedule, edges[1:-1], data_std), ends[1:]])
        return Strata(edges, times, times.diff())

    def rate(self, denoiser: Denoiser, x_0: Tensor, place: Tensor, noise: Tensor, data_std: float) -> Tensor:
        """The bound's density in I, at I = ``place`` (N,): (SNR + 1/s²) ‖x̂_0 - x_0‖² nats per nat, (N,)."""
        now = noise_level(self.schedule, informed_time(self.schedule, place, data_std))
        snr = torch.as_tensor(now.log_snr).exp()
        return (snr + 1 / data_std**2).to(x_0) * _squared_error(denoiser, x_0, now, noise)


def _squared_error(denoiser: Denoiser, x_0: Tensor, t: NoiseLevel, noise: Tensor) -> Tensor:
    """‖x̂_0 - x_0‖² at x_t made with ``noise`` (N, …): (N,)."""
    clean = denoiser(add_noise(x_0, noise, t), t).clean
    return (clean - x_0).square().flatten(1).sum(1)

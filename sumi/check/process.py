"""Laws of the forward process and of parameterizations, for every configurable schedule."""

from itertools import pairwise
from math import isfinite
from typing import get_args

import torch
from torch import Tensor, nn

from sumi.check.law import Law
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import ParameterizationConfig
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.gaussian import add_noise, posterior, transition
from sumi.process.schedule import noise_level, noise_levels
from sumi.process.schedules import ScheduleConfig
from sumi.randomness import Purpose, normal

SCHEDULES = [config().build() for config in get_args(ScheduleConfig)]
TIMES = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)


def laws() -> list[Law]:
    """Every law of the process, measured now."""
    return [
        Law("noising step by step is noising at once", _step_by_step(), 1e-10),
        Law("prior × transition = marginal × posterior (Bayes)", _bayes(), 1e-10),
        Law("the time that a log-SNR belongs to is the time it came from", _inverse(), 1e-9),
        Law("ᾱ of the linear chain is 0.0786 half-way and 4.04e-5 at the end, of cosine 0.494", _published(), 2e-3),
        Law("x̂_0 → what the network predicts → x̂_0, for all parameterizations", _round_trips(), 1e-9),
        Law("image 13 has the same noise alone as in a batch", _alone(), 0.0),
    ]


def _step_by_step() -> float:
    """Mean and variance of a point through 25 transitions, against the marginal at the end."""
    worst = 0.0
    for schedule in SCHEDULES:
        walk = list(noise_levels(schedule, TIMES[::2]))
        mean, variance = walk[0].alpha, walk[0].sigma ** 2
        for s, t in pairwise(walk):
            kernel = transition(s, t)
            mean, variance = kernel.scale * mean, kernel.scale**2 * variance + kernel.variance
        end = walk[-1]
        worst = max(worst, abs(mean / end.alpha - 1), abs(variance / end.sigma**2 - 1))
    return float(worst)


def _bayes() -> float:
    """Mean and variance of x_s | x_t, x_0 two ways: by `posterior`, and from the product of two Gaussians."""
    worst = 0.0
    x_t, x_0 = 0.7, -0.4
    for schedule in SCHEDULES:
        for s, t in pairwise(noise_levels(schedule, TIMES)):
            kernel, reverse = transition(s, t), posterior(s, t)
            precision = 1 / s.sigma**2 + kernel.scale**2 / kernel.variance
            mean = (s.alpha * x_0 / s.sigma**2 + kernel.scale * x_t / kernel.variance) / precision
            worst = max(worst, abs(reverse.variance * precision - 1))
            worst = max(worst, abs(reverse.noisy * x_t + reverse.clean * x_0 - mean) * precision**0.5)
    return float(worst)


def _inverse() -> float:
    return max(float((s.time(s.log_snr(TIMES)) - TIMES).abs().max()) for s in SCHEDULES)


def _published() -> float:
    """The largest relative deviation; three digits are published (Ho et al. 2020; Nichol & Dhariwal 2021, eq. 17)."""
    linear, cosine = LinearBeta().build(), CosineBeta().build()
    found = [float(linear.alpha(torch.tensor(t).double())) ** 2 for t in (0.5, 1.0)]
    found.append(float(cosine.alpha(torch.tensor(0.5).double())) ** 2)
    return max(abs(a / b - 1) for a, b in zip(found, (0.0786, 4.04e-5, 0.494), strict=True))


class _Answer(nn.Module):
    """A network that returns a given answer."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        del x, c_noise
        return self.answer


def _round_trips() -> float:
    worst = 0.0
    x_0, noise = torch.randn(2, 8, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for schedule in SCHEDULES:
        for config in get_args(ParameterizationConfig):
            for t in (0.05, 0.5, 0.95):
                now = noise_level(schedule, t)
                x_t = add_noise(x_0, noise, now)
                c = config().coefficients(now)
                denoiser = NetworkDenoiser(_Answer((x_0 - c.c_skip * x_t) / c.c_out), schedule, config())
                off = float((denoiser(x_t, now).clean - x_0).abs().max())
                worst = max(worst, off if isfinite(off) else float("inf"))
    return worst


def _alone() -> float:
    together = normal(7, range(64), 3, Purpose.STEP, (3, 8, 8))
    return float((together[13] - normal(7, [13], 3, Purpose.STEP, (3, 8, 8))[0]).abs().max())

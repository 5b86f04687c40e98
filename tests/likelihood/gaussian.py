"""Gaussian data whose denoiser, variance and least bound are known."""

from math import e, log, pi

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoised
from sumi.process.gaussian import expand
from sumi.process.schedule import Schedule, Time, deviation, noise_level

UNEVEN = torch.tensor([0.0, 0.01, 0.013, 0.2, 0.75, 1.0], dtype=torch.float64)


def float64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


class ExactGaussian:
    """E[x_0 | x_t] + ``bias`` and Var(x_0 | x_t) of data N(mean, std²)."""

    def __init__(self, mean: float, std: float, schedule: Schedule, bias: float = 0.0) -> None:
        self.mean, self.std, self.schedule, self.bias = mean, std, schedule, bias

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        now = noise_level(self.schedule, t)
        alpha, sigma = expand(now.alpha, x_t), expand(now.sigma, x_t)
        power = alpha**2 * self.std**2 + sigma**2
        clean = self.mean + alpha * self.std**2 / power * (x_t - alpha * self.mean)
        return Denoised(clean + self.bias, x_t, alpha, sigma, self.std**2 * sigma**2 / power)


def prior_std(schedule: Schedule, data_std: float) -> float:
    return float(deviation(noise_level(schedule, 1.0), data_std))


def least(schedule: Schedule, mean: float, std: float, prior: float) -> float:
    """The entropy of N(mean, std²) and KL(q(x_1) ‖ N(0, prior²))."""
    end = noise_level(schedule, 1.0)
    ratio = (end.alpha**2 * std**2 + end.sigma**2) / prior**2
    return 0.5 * log(2 * pi * e * std**2) + (ratio - 1 - log(ratio) + (end.alpha * mean / prior) ** 2) / 2

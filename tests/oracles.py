"""Targets whose exact denoiser is known, and the exact recursion of any affine sampler on them.

For x_0 ~ N(m, c²) per dimension, E[x_0 | x_t] = m + (alpha c²/(alpha² c² + sigma²)) (x_t - alpha m), so one step of a
sampler that is affine in x_t and its noise is an affine map, and a whole run turns the mean and variance of its start
into those of its end with no sampling error.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sumi.denoising.denoiser import FunctionDenoiser
from sumi.process.noise import Purpose
from sumi.process.schedule import NoiseLevel, Schedule
from sumi.sampling.sample import sample


@dataclass(frozen=True)
class GaussianTarget:
    """x_0 ~ N(mean, std²), independently in each dimension."""

    mean: float
    std: float

    def clean(self, x_t: Tensor, t: NoiseLevel) -> Tensor:
        gain = t.alpha * self.std**2 / (t.alpha**2 * self.std**2 + t.sigma**2)
        return self.mean + gain * (x_t - t.alpha * self.mean)

    def denoiser(self, schedule: Schedule) -> FunctionDenoiser:
        return FunctionDenoiser(self.clean, schedule)

    def marginal(self, t: NoiseLevel) -> tuple[float, float]:
        """Mean and variance of x_t."""
        return t.alpha * self.mean, t.alpha**2 * self.std**2 + t.sigma**2


@dataclass(frozen=True)
class MixtureTarget:
    """A mixture of isotropic Gaussians: means (K, D), stds (K,), weights (K,), all float64."""

    means: Tensor
    stds: Tensor
    weights: Tensor

    def clean(self, x_t: Tensor, t: NoiseLevel) -> Tensor:
        variance = t.alpha**2 * self.stds**2 + t.sigma**2
        offset = x_t[:, None] - t.alpha * self.means
        log_density = self.weights.log() - offset.square().sum(-1) / (2 * variance)
        log_density = log_density - x_t.shape[1] / 2 * variance.log()
        posterior = log_density.softmax(1)
        each = self.means + (t.alpha * self.stds**2 / variance)[:, None] * offset
        return (posterior[..., None] * each).sum(1)


def linear_probe(denoiser, solver, times: Tensor, start_mean: float, start_variance: float) -> tuple[float, float]:
    """Mean and variance of the output of the real sampler, from its response to zero and to a unit of each noise."""
    steps = len(times) - 1
    # row 0: the mean; row 1: a unit at the start; row 2 + k: a unit of step k's noise
    x = torch.full((steps + 2, 1), start_mean, dtype=torch.float64)
    x[1] += 1

    def noise(step: int, purpose: Purpose) -> Tensor:
        assert purpose == Purpose.STEP
        unit = torch.zeros(steps + 2, 1, dtype=torch.float64)
        unit[2 + step] = 1
        return unit

    end = sample(denoiser, solver, times, x, noise)[:, 0]
    response = end[1:] - end[0]
    return float(end[0]), float(response[0] ** 2 * start_variance + response[1:].square().sum())


def reference_alpha_bar(betas: np.ndarray) -> np.ndarray:
    """ᾱ_0 … ᾱ_T by plain products in extended precision."""
    return np.concatenate([[1.0], np.cumprod(1 - betas.astype(np.longdouble))]).astype(np.longdouble)

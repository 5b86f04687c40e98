"""The loss on held-out data by noise level: where a model knows much and where little.

At each time the error of x̂_0 and of ε̂, per element, with the same noise for every model:

    mse_clean(t) = E ‖x̂_0 - x_0‖²/d,        mse_noise(t) = SNR(t) · mse_clean(t)
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.process.forward import add_noise
from sumi.process.noise import Purpose, normal
from sumi.process.schedule import levels


@dataclass(frozen=True)
class LossByNoise:
    """Mean squared errors at each of the times, from data to noise."""

    t: tuple[float, ...]
    log_snr: tuple[float, ...]
    mse_clean: tuple[float, ...]
    mse_noise: tuple[float, ...]


def looked_at(grid: int | None, count: int = 20) -> Tensor:
    """About ``count`` even times in (0, 1], float64: those of a chain of ``grid`` steps, or of a thousandth of time."""
    steps = grid or 1000
    return (torch.linspace(0.02, 1, count, dtype=torch.float64) * steps).round().clamp(min=1).unique() / steps


@torch.inference_mode()
def loss_by_noise(
    denoiser: Denoiser, images: Tensor, times: Tensor, *, seed: int, batch_size: int = 256
) -> LossByNoise:
    """Errors on ``images`` (N, C, H, W) in [-1, 1] at ``times`` (K,) in (0, 1], averaged over images and elements."""
    rows: list[tuple[float, float, float, float]] = []
    for k, level in enumerate(levels(denoiser.schedule, times)):
        total = 0.0
        for first in range(0, len(images), batch_size):
            x_0 = images[first : first + batch_size]
            indices = range(first, first + len(x_0))
            noise = normal(seed, indices, k, Purpose.EVALUATION, x_0.shape[1:], device=x_0.device)
            clean = denoiser(add_noise(x_0, noise, level), level).clean
            total += float((clean - x_0).square().flatten(1).mean(1).sum())
        mse = total / len(images)
        snr = float(level.alpha) ** 2 / float(level.sigma) ** 2
        rows.append((float(level.t), float(level.log_snr), mse, snr * mse))
    return LossByNoise(*zip(*rows, strict=True))

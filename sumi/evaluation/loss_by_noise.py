"""The loss on held-out data by noise level.

The errors of x̂_0 and of ε̂ per element at each time, with the same noise for every model:

    mse_clean(t) = E ‖x̂_0 - x_0‖²/d,        mse_noise(t) = SNR(t) · mse_clean(t)

The meaning of a time depends on the schedule; that of log-SNR does not. So models are compared in bins of equal width
in log-SNR, with one random time and noise per image and bin. Intervals are from the bootstrap over images, with all
bins resampled together, of the studentised mean (Hall 1988): losses are skewed, so percentile intervals would be too
short.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.metrics.intervals import Estimate
from sumi.process.gaussian import add_noise
from sumi.process.schedule import NoiseLevel, Schedule, noise_level, noise_levels
from sumi.randomness import Purpose, generator, normal

ITEMS = 500  # held-out items used for a run's loss
BINS = 12
RESAMPLES = 2000
TIMES, BOOTSTRAP = 1, 2  # draws besides the noise's


@dataclass(frozen=True)
class LossByNoise:
    """Mean squared errors at each of the times, from data to noise."""

    t: tuple[float, ...]
    log_snr: tuple[float, ...]
    mse_clean: tuple[float, ...]
    mse_noise: tuple[float, ...]


def probe_times(grid: int | None, count: int = 20) -> Tensor:
    """About ``count`` evenly spaced times in (0, 1], float64, on a chain of ``grid`` steps (1000 for None)."""
    steps = grid or 1000
    return (torch.linspace(0.02, 1, count, dtype=torch.float64) * steps).round().clamp(min=1).unique() / steps


@torch.inference_mode()
def loss_by_noise(
    denoiser: Denoiser,
    images: Tensor,
    times: Tensor,
    *,
    seed: int,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> LossByNoise:
    """Errors on ``images`` (N, C, H, W) in [-1, 1] at ``times`` (K,) in (0, 1], averaged over images and elements.

    ``progress(done, total)`` counts times.
    """
    rows: list[tuple[float, float, float, float]] = []
    for k, now in enumerate(noise_levels(denoiser.schedule, times)):
        total = 0.0
        for first in range(0, len(images), batch_size):
            part = images[first : first + batch_size]
            total += float(_errors(denoiser, part, first, now, seed, k).sum())
        mse = total / len(images)
        snr = float(now.alpha) ** 2 / float(now.sigma) ** 2
        rows.append((float(now.t), float(now.log_snr), mse, snr * mse))
        if progress is not None:
            progress(k + 1, len(times))
    return LossByNoise(*zip(*rows, strict=True))


@dataclass(frozen=True)
class NoiseBin:
    """Mean squared errors at log-SNRs from ``low`` to ``high``, with one evaluation per image."""

    low: float
    high: float
    mse_clean: Estimate
    mse_noise: Estimate


@dataclass(frozen=True)
class LossByLogSnr:
    """Of ``images`` images, in bins from noise to data; bins without a time of the model are left out."""

    images: int
    bins: tuple[NoiseBin, ...]


@torch.inference_mode()
def loss_by_log_snr(
    denoiser: Denoiser,
    images: Tensor,
    *,
    grid: int | None,
    seed: int,
    bins: int = BINS,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> LossByLogSnr:
    """Errors on ``images`` (N, C, H, W) in [-1, 1], N ≥ 1, in ``bins`` of log-SNR.

    ``grid``: the number of steps of a chain, which has only the times i/grid; None: times i/1000.
    ``progress(done, total)`` counts bins.
    """
    found = errors_by_log_snr(
        denoiser, images, grid=grid, seed=seed, bins=bins, batch_size=batch_size, progress=progress
    )
    means = bootstrapped(torch.stack([errors for bin in found for errors in (bin.clean, bin.noise)], 1), seed)
    pairs = zip(found, means[::2], means[1::2], strict=True)
    return LossByLogSnr(len(images), tuple(NoiseBin(bin.low, bin.high, *pair) for bin, *pair in pairs))


@dataclass(frozen=True)
class Errors:
    """Of each image, float64 (N,), at a log-SNR of its own from ``low`` to ``high``: ‖x̂_0 - x_0‖²/d and ‖ε̂ - ε‖²/d."""

    low: float
    high: float
    clean: Tensor
    noise: Tensor


@torch.inference_mode()
def errors_by_log_snr(
    denoiser: Denoiser,
    images: Tensor,
    *,
    grid: int | None,
    seed: int,
    bins: int = BINS,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> list[Errors]:
    """See `loss_by_log_snr`, which takes their means."""
    found: list[Errors] = []
    there = binned_times(denoiser.schedule, grid, bins)
    for k, (low, high, times) in enumerate(there):
        chosen = [generator(seed, i, k, Purpose.EVALUATION, TIMES).integers(len(times)) for i in range(len(images))]
        now = noise_level(denoiser.schedule, times[torch.tensor(chosen)])
        clean = torch.cat(
            [
                _errors(denoiser, images[i : i + batch_size], i, now.chosen(slice(i, i + batch_size)), seed, k)
                for i in range(0, len(images), batch_size)
            ]
        )
        found.append(Errors(low, high, clean, clean * torch.as_tensor(now.log_snr).exp()))
        if progress is not None:
            progress(k + 1, len(there))
    return found


def binned_times(schedule: Schedule, grid: int | None, bins: int) -> list[tuple[float, float, Tensor]]:
    """The bins, of equal width in log-SNR from noise to data: ends, and the times in each; none is empty."""
    steps = grid or 1000
    times = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    log_snr = schedule.log_snr(times).detach()
    times, log_snr = times[log_snr.isfinite()], log_snr[log_snr.isfinite()]
    edges = torch.linspace(float(log_snr.min()), float(log_snr.max()), bins + 1, dtype=torch.float64)
    place = torch.bucketize(log_snr, edges[1:-1], right=True)
    there = [(k, times[place == k]) for k in range(bins)]
    return [(float(edges[k]), float(edges[k + 1]), chosen) for k, chosen in there if len(chosen)]


def bootstrapped(values: Tensor, seed: int) -> list[Estimate]:
    """The mean of each column of ``values`` (N, K) with its 95 % interval; rows are resampled together."""
    n, mean = len(values), values.mean(0)
    draws = generator(seed, 0, 0, Purpose.EVALUATION, BOOTSTRAP).multinomial(n, [1 / n] * n, size=RESAMPLES)
    weights, apart = torch.from_numpy(draws).double() / n, values - mean
    moved = weights @ apart
    error = (weights @ apart.square() - moved.square()).clamp(min=0).sqrt()
    # a resample of one repeated value has no standard error; it counts as 0
    studentised = (moved / error).nan_to_num(0.0, 0.0, 0.0)
    low, high = studentised.quantile(torch.tensor([0.975, 0.025], dtype=torch.float64), dim=0)
    error = apart.square().mean(0).sqrt()
    return [Estimate(*row) for row in torch.stack([mean, mean - low * error, mean - high * error], 1).tolist()]


def _errors(denoiser: Denoiser, x_0: Tensor, first: int, now: NoiseLevel, seed: int, k: int) -> Tensor:
    """‖x̂_0 - x_0‖²/d of the images from number ``first``, float64 (N,) on the CPU; ``k`` numbers the noise."""
    noise = normal(seed, range(first, first + len(x_0)), k, Purpose.EVALUATION, x_0.shape[1:], device=x_0.device)
    clean = denoiser(add_noise(x_0, noise, now), now).clean
    return (clean - x_0).square().flatten(1).mean(1).double().cpu()

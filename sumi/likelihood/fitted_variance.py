"""The variance of x_0 fitted to a denoiser's error: optimal for the bound of a network that learned no variance.

    error(t) = E‖x̂_0 - x_0‖²/d,        V(s, t) = β̃ + clean² error(t)

Of all variances that are the same for every x_t and element, this V minimises each KL of the chain, for any network
(Bao et al. 2022, "Analytic-DPM", theorem 1, eq. 9, in terms of the mean square of the score). It includes the network's
own error; for the exact E[x_0 | x_t] it is the mean of Var(x_0 | x_t).

Between the measured times log error is linear in log-SNR. Closer to the data the error of ε̂ is constant, so that of
x̂_0 falls like 1/SNR; closer to the noise the error of x̂_0 is constant.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoised, Denoiser
from sumi.errors import InputError
from sumi.process.gaussian import add_noise, expand
from sumi.process.schedule import Number, Schedule, Time, noise_level, noise_levels
from sumi.randomness import Purpose, normal

_DRAW: Final = 1  # noise different from that of an evaluation with the same seed
_ONLY_NOISE: Final = -40.0  # instead of log-SNR = -inf, where alpha = 0
_LEAST: Final = 1e-30  # errors need a logarithm


@dataclass(frozen=True)
class MeasuredVariance:
    """``denoiser``, with the measured error as its clean_variance.

    ``log_snr``, rising, and ``error``, per element: float64 (K,), K ≥ 1, on the CPU.
    """

    denoiser: Denoiser
    log_snr: Tensor
    error: Tensor

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def error_at(self, log_snr: Number) -> Tensor:
        """The error at these log-SNR: float64, their shape."""
        wanted = torch.as_tensor(log_snr, dtype=torch.float64)
        if len(self.log_snr) == 1:
            return self.error[0] * (self.log_snr[0] - wanted).clamp(max=0).exp()
        inside = wanted.clamp(self.log_snr[0], self.log_snr[-1])
        right = torch.searchsorted(self.log_snr, inside).clamp(1, len(self.log_snr) - 1)
        low, high = self.log_snr[right - 1], self.log_snr[right]
        logs = self.error.log()
        log_error = torch.lerp(logs[right - 1], logs[right], (inside - low) / (high - low))
        return (log_error - (wanted - self.log_snr[-1]).clamp(min=0)).exp()

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        now = noise_level(self.schedule, t)
        error = self.error_at(now.log_snr)
        variance = expand(error, x_t) if error.ndim else float(error)
        return replace(self.denoiser(x_t, now), clean_variance=variance)


@torch.inference_mode()
def measure_variance(
    denoiser: Denoiser,
    images: Tensor,
    times: Tensor,
    *,
    seed: int,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> MeasuredVariance:
    """The mean squared error of x̂_0 at ``times`` (K,) in (0, 1], over the elements of ``images`` (N, …).

    Use other images than those whose bound you compute. For a network that knows only the grid of a chain, give times
    of that grid, preferably all. The noise depends on (seed, image, time) alone. ``progress(done, total)`` counts
    images. Raises InputError for no images, no times, or repeated times.
    """
    if not len(images) or not len(times):
        raise InputError("variance: there is no data to fit it to; give images and times")
    logs: list[float] = []
    errors: list[float] = []
    for k, now in enumerate(noise_levels(denoiser.schedule, times)):
        total = 0.0
        for first in range(0, len(images), batch_size):
            x_0 = images[first : first + batch_size]
            indices = range(first, first + len(x_0))
            noise = normal(seed, indices, k, Purpose.EVALUATION, x_0.shape[1:], draw=_DRAW, dtype=x_0.dtype).to(x_0)
            clean = denoiser(add_noise(x_0, noise, now), now).clean
            total += float((clean - x_0).double().square().sum())
            if progress is not None:
                progress(k * len(images) + indices.stop, len(times) * len(images))
        logs.append(max(float(now.log_snr), _ONLY_NOISE))
        errors.append(max(total / images.numel(), _LEAST))
    log_snr, order = torch.tensor(logs, dtype=torch.float64).sort()
    if bool((log_snr.diff() <= 0).any()):
        raise InputError("times: two have the same noise level; give each once")
    return MeasuredVariance(denoiser, log_snr, torch.tensor(errors, dtype=torch.float64)[order])

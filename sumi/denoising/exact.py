"""A denoiser that is known exactly: for Gaussian data.

For x_0 ~ N(m, c²) in each dimension, x_t ~ N(alpha m, alpha² c² + sigma²) and

    E[x_0 | x_t] = m + alpha c²/(alpha² c² + sigma²) (x_t - alpha m).
"""

from torch import Tensor

from sumi.denoising.denoiser import FunctionDenoiser
from sumi.process.schedule import NoiseLevel, Schedule


def gaussian_denoiser(mean: float, std: float, schedule: Schedule) -> FunctionDenoiser:
    """The exact denoiser of data N(mean, std²), independent in each dimension; levels of floats."""

    def clean(x_t: Tensor, t: NoiseLevel) -> Tensor:
        gain = t.alpha * std**2 / (t.alpha**2 * std**2 + t.sigma**2)
        return mean + gain * (x_t - t.alpha * mean)

    return FunctionDenoiser(clean, schedule)

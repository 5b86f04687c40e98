"""Thresholding: keeping x̂_0 where the data can be."""

from dataclasses import dataclass, replace

from torch import Tensor

from sumi.denoising.denoiser import Denoised, Denoiser
from sumi.process.schedule import Schedule, Time


@dataclass(frozen=True)
class StaticThreshold:
    """x̂_0 clamped to [low, high] at every step (Ho et al. 2020 in its code; Saharia et al. 2022, section 2.3)."""

    denoiser: Denoiser
    low: float = -1.0
    high: float = 1.0

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        denoised = self.denoiser(x_t, t)
        return replace(denoised, clean=denoised.clean.clamp(self.low, self.high))

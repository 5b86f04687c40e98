"""Thresholding: keeping x̂_0 where the data can be."""

from dataclasses import dataclass

from torch import Tensor

from sumi.denoising.denoiser import Denoised, Denoiser
from sumi.errors import InputError
from sumi.process.schedule import Schedule, Time


@dataclass(frozen=True)
class DynamicThreshold:
    """x̂_0 clamped to [-s, s] and divided by s, for each sample (Saharia et al. 2022, "Imagen", section 2.3).

    s is the ``percentile`` of |x̂_0| over the sample's elements, in (0, 1], and at least 1: where guidance pushes many
    pixels past the range of the data, all move back in instead of those alone.
    """

    denoiser: Denoiser
    percentile: float = 0.995

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 1:
            raise InputError(f"percentile: {self.percentile} is not in (0, 1]; the paper's value is 0.995")

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        return self.denoiser(x_t, t).mapped(self._scaled)

    def _scaled(self, clean: Tensor) -> Tensor:
        size = clean.abs().flatten(1).quantile(self.percentile, dim=1).clamp(min=1.0)
        s = size.reshape(-1, *(1,) * (clean.ndim - 1))
        return clean.clamp(-s, s) / s


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
        return self.denoiser(x_t, t).mapped(lambda clean: clean.clamp(self.low, self.high))

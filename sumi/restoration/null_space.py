"""The range of A from the measurement, its null space from the denoiser (DDNM, Wang et al. 2023, eq. 13).

    x̂_0 ← (I - A⁺ A) x̂_0 + A⁺ y

Exact if the parts of x_0 in A's range and null space are independent, for any distributions. Otherwise the null-space
part learns of y only through x_t: at the noisy end not at all.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from sumi.denoising.denoiser import Denoised, Denoiser
from sumi.process.schedule import Schedule, Time
from sumi.restoration.measurement import Measurement


@dataclass(frozen=True)
class DDNM:
    """DDNM (module docstring), for a linear measurement without noise; every x̂_0 satisfies A x̂_0 = y.

    Raises InputError for a noisy measurement, and for an operator that is not linear.
    """

    denoiser: Denoiser
    measurement: Measurement

    def __post_init__(self) -> None:
        self.measurement.noiseless("DDNM")

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        denoised = self.denoiser(x_t, t)
        return replace(denoised, clean=self.measurement.consistent(denoised.clean), clean_variance=None)

"""The point between what the denoiser finds and what was measured (DiffPIR, Zhu et al. 2023, algorithm 1).

    x̂_0 ← argmin_x ‖y - A x‖²/(2 s²) + ‖x - x̂_0‖²/(2 r²) = x̂_0 + r² A* (r² A A* + s² I)⁻¹ (y - A x̂_0)

with r² = d² sigma²/(alpha² d² + sigma²), the variance of x_0 given x_t for x_0 ~ N(m, d² I), for which it is exact with
every A and s (the paper has sigma²/alpha² and a factor to be chosen). It is ΠGDM (`sumi.restoration.posterior`) with
r² I for (sigma²/alpha) times the denoiser's Jacobian, so it needs no derivative, and with weights (`Weighted`) it is a
mean of both: it cannot overshoot, whatever the network.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from sumi.denoising.denoiser import Denoised, Denoiser
from sumi.process.gaussian import expand
from sumi.process.schedule import Schedule, Time, noise_level
from sumi.restoration.measurement import Measurement
from sumi.restoration.posterior import check_guidance, clean_variance, weighed


@dataclass(frozen=True)
class DiffPIR:
    """DiffPIR (module docstring). ``data_std``: d, in units of the data. ``iterations``: of conjugate gradients, as of
    `PseudoinverseGuidance`. Raises InputError for an operator that is not linear."""

    denoiser: Denoiser
    measurement: Measurement
    data_std: float = 1.0
    iterations: int = 20

    def __post_init__(self) -> None:
        check_guidance(self.measurement, self.data_std, self.iterations, "DiffPIR")

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        """x_t of (N, …)."""
        now = noise_level(self.schedule, t)
        denoised = self.denoiser(x_t, now)
        variance = clean_variance(now, self.data_std)
        back = weighed(self.measurement, self.measurement.residual(denoised.clean), variance, self.iterations)
        clean = denoised.clean + expand(variance, denoised.clean) * back
        return replace(denoised, clean=clean, clean_variance=None)

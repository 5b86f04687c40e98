"""Twisted sequential Monte Carlo (Wu et al. 2023, "Practical and asymptotically exact conditional sampling", alg. 1).

K particles for each measurement follow the reverse chain. Its kernel and an approximation of p(y | x_t) are

    p(x_s | x_t) = N(μ, τ² I),    μ = noisy x_t + clean x̂_0,    τ² = Var(x_s | x_t, x_0) + clean² r_t²
    h_t(x_t)     = N(y; A x̂_0, r_t² A A* + s² I)

with the posterior's coefficients, and r_t² the variance of x_0 given x_t for data N(m, d² I), as in ΠGDM, whose shift
of x̂_0 "twists" the proposal. Importance weights correct the error of h:

    x_s ~ N(μ̃, τ² I),    μ̃ = μ + clean (sigma_t²/alpha_t) ∇ log h_t(x_t)
    w ← w · h_s(x_s)/h_t(x_t) · N(x_s; μ, τ²)/N(x_s; μ̃, τ²),        w = h_1(x_1) at the start

and where the effective number of particles (Σ w)²/Σ w² falls below a part of K, they are resampled in proportion to w.
In the last step, to the data, the kernel is N(x̂_0, r_t² I), and its product with N(y; A x_0, s²) is sampled exactly;
h_t is its normaliser, so weights do not change.

With K → ∞ particles are samples of the chain's p(x_0 | y), for any A, s and data (if h is not 0 where p is not). What
remains is the chain's own error, which vanishes with more steps and is 0 for x_0 ~ N(m, d² I).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sumi.boundary.arguments import MOST_COUNT, whole
from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.process.gaussian import posterior
from sumi.process.schedule import NoiseLevel
from sumi.randomness import Purpose
from sumi.restoration.measurement import Measurement
from sumi.restoration.posterior import check_guidance, clean_variance, guided, weighed
from sumi.sampling.particles import effective_number, resampled
from sumi.sampling.solvers.solver import StepNoise


@dataclass(frozen=True)
class Particles:
    """The state at x_t (M K, …): ``log_weight`` (M, K), and the results of `guided`."""

    log_weight: Tensor
    clean: Tensor
    shift: Tensor
    log_likelihood: Tensor


@dataclass(frozen=True)
class TwistedSMC:
    """A solver with ``particles`` = K for each of M measurements: x is (M K, …), each measurement's K side by side.

    In the end every particle is a sample of the posterior, but those of one measurement are not independent: use any
    one, or average all. One evaluation and one backward pass per step. ``measurement``: y of (M, …) or (1, …), linear.
    ``data_std``: d. ``threshold``: the part of K below which particles are resampled. ``iterations``: as in
    `PseudoinverseGuidance`. ``watch(level, ess)`` gets the effective numbers (M,) at each level.
    """

    off_grid = False
    order = 0
    draws_noise = True

    measurement: Measurement
    particles: int
    data_std: float = 1.0
    threshold: float = 0.5
    iterations: int = 20
    watch: Callable[[NoiseLevel, Tensor], None] | None = None

    def __post_init__(self) -> None:
        check_guidance(self.measurement, self.data_std, self.iterations, "twisted sequential Monte Carlo")
        whole("particles", self.particles, least=1, most=MOST_COUNT)

    def init(self) -> Particles | None:
        return None

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: Particles | None, noise: StepNoise
    ) -> tuple[Tensor, Particles]:
        """One step (module docstring). Raises InputError without noise, where alpha = 0, and for other than M K x."""
        measurement = self._for_particles(x)
        if state is None:
            state = self._look(denoiser, x, t, measurement, x.new_zeros(len(x)))
        x, state = self._resampled(x, t, state, bool(s.sigma == 0), noise)
        z, spread = noise(Purpose.STEP), float(clean_variance(t, self.data_std))
        if s.sigma == 0:
            return self._end(state.clean + spread**0.5 * z, spread, measurement, noise), state
        kernel = posterior(s, t)
        std = (float(kernel.variance) + float(kernel.clean) ** 2 * spread) ** 0.5
        twist = float(kernel.clean) * state.shift
        x = float(kernel.noisy) * x + float(kernel.clean) * state.clean + twist + std * z
        correction = -(twist * (twist + 2 * std * z)).flatten(1).sum(1) / (2 * std**2)
        log_weight = state.log_weight.view(-1) + correction - state.log_likelihood
        return x, self._look(denoiser, x, s, measurement, log_weight)

    def _for_particles(self, x: Tensor) -> Measurement:
        groups, y = len(x) // self.particles, self.measurement.y
        if len(x) % self.particles or len(y) not in (1, groups):
            raise InputError(
                f"particles: {len(x)} samples are not {self.particles} for each of {len(y)} measurements; give so many"
            )
        return self.measurement if len(y) == 1 else replace(self.measurement, y=y.repeat_interleave(self.particles, 0))

    def _look(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, measurement: Measurement, before: Tensor
    ) -> Particles:
        """The state at x_t; ``before`` (M K,): the log-weights without the factor h_t."""
        denoised, shift, log_likelihood = guided(denoiser, x, t, measurement, self.data_std, self.iterations)
        log_weight = (before + log_likelihood).view(-1, self.particles)
        return Particles(log_weight, denoised.clean, shift, log_likelihood)

    def _resampled(
        self, x: Tensor, t: NoiseLevel, state: Particles, last: bool, noise: StepNoise
    ) -> tuple[Tensor, Particles]:
        """Resample to equal weights where the effective number is too small, and in the last step."""
        ess = effective_number(state.log_weight)
        if self.watch is not None:
            self.watch(t, ess)
        poor = (ess < self.threshold * self.particles) | last
        rows, log_weight = resampled(state.log_weight, poor, noise)
        return x[rows], Particles(log_weight, state.clean[rows], state.shift[rows], state.log_likelihood[rows])

    def _end(self, x: Tensor, variance: float, measurement: Measurement, noise: StepNoise) -> Tensor:
        """A sample x of N(x̂_0, r² I) turned into one of its product with N(y; A x_0, s² I) (Matheron's rule)."""
        if measurement.std == 0:
            return measurement.consistent(x)
        missing = measurement.residual(x)
        size = missing[0].numel()
        draws = [noise(Purpose.MEASUREMENT, draw).flatten(1) for draw in range(-(-size // x[0].numel()))]
        of_y = torch.cat(draws, 1)[:, :size].view_as(missing)
        return x + variance * weighed(measurement, missing - measurement.std * of_y, variance, self.iterations)

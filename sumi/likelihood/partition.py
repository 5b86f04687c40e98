"""The normalising constant of an energy at one noise level, three ways.

A network that is an energy's gradient (`PredictEnergy`) gives at every level the density

    log p(x_t) = -U(x_t) - log Z(t),      U(x_t) = E(c_in x_t, c_noise)/(c_in sigma)

up to Z(t).

*Annealed importance sampling* (Neal 2001) goes down the noise levels from t = 1, where the density is known: the prior
N(0, prior_std²). At each level chains move by Langevin steps with a Metropolis test (MALA; Roberts & Tweedie 1996),
which leave that level's exp(-U) invariant. Then, for any number of levels and steps,

    Z = E[w],      log w = Σ_k log f_k(y_k) - log f_{k-1}(y_k),      f_0 the prior's density, f_k that of level k

with y_k the chain's state on reaching level k, before it moves there. Chains use y = x_t/r, r = √(alpha² + sigma²), in
which neighbouring levels differ least: f_k(y) = r^D exp(-U(r y)). A step is

    y' = y + τ ∇ log f_k(y) + √(2τ) z,      τ = c D^(-1/3) sin²φ,      sin φ = sigma/r

since the curvature of log-densities with that much noise is at most 1/sin²φ, and the power of D keeps the acceptance
rate (Roberts & Rosenthal 1998). The log of a mean weight is below log Z on average, by half its squared standard error.
Trust neither if a few chains have all the weight (`Annealing.effective`): use more levels.

*Quadrature* in the plane sums exp(-U) over a lattice (`sumi.likelihood.plane`).

*The ODE* gives log p itself: log Z = -U(x_t) - log p_ODE(x_t) at any x_t. If this depends on x_t, the level's energy
and the flow from the prior are different densities; the spread measures by how much.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import atan, exp, log, log1p, pi, tan

import torch
from torch import Tensor

from sumi.data.spec import expect
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.energy import EnergyGradient
from sumi.errors import InputError
from sumi.likelihood.plane import Interval, Plane, density_on_plane
from sumi.likelihood.probability_flow import Flow
from sumi.likelihood.trace import Trace
from sumi.process.schedule import NoiseLevel, Schedule, deviation, noise_level, noise_levels
from sumi.randomness import Purpose, normal, uniform
from sumi.sampling.solvers.runge_kutta import angle, at_angle


@dataclass(frozen=True, slots=True)
class LogPartition:
    """log Z of one level in nats: ``value``, its ``error`` (standard error, or a limit for quadrature), and the
    ``spread``, the standard deviation of the single estimates, 0 for quadrature."""

    value: float
    error: float
    spread: float


@dataclass(frozen=True, slots=True)
class Annealing:
    """The annealed chains: ``log_weights`` (M,) in nats, float64, and the share of steps ``accepted`` at each level but
    the last, float64 (K - 1,)."""

    log_weights: Tensor
    accepted: Tensor

    @property
    def effective(self) -> float:
        """The effective number of chains, (Σ w)²/Σ w²."""
        share = self.log_weights.softmax(0)
        return float(1 / share.square().sum())

    @property
    def log_partition(self) -> LogPartition:
        """log of the mean weight; its error is the mean weight's relative error."""
        count = len(self.log_weights)
        value = float(self.log_weights.logsumexp(0)) - log(count)
        error = float((self.log_weights - value).exp().std()) / count**0.5
        return LogPartition(value, error, float(self.log_weights.std()))


def energy(denoiser: NetworkDenoiser, x_t: Tensor, t: NoiseLevel) -> Tensor:
    """U(x_t) in nats, (N,) in x_t's type, for x_t (N, …) at a level of floats. Can be differentiated in x_t.

    Raises InputError where the network is not an energy's gradient.
    """
    why = "model: its network is not an energy; train one with parameterization=energy"
    network = expect(denoiser.network, EnergyGradient, why)
    c = denoiser.parameterization.coefficients(t)
    c_noise = x_t.new_full((len(x_t),), float(c.c_noise))
    return network.energy(float(c.c_in) * x_t, c_noise) / (float(c.c_in) * float(t.sigma))


def annealing_times(schedule: Schedule, t: float, count: int) -> Tensor:
    """``count`` times from 1 down to t, evenly spaced in log tan(φ/2): float64.

    Near the data this is even in log σ̂, near the noise in φ. Raises InputError for fewer than 2.
    """
    if count < 2:
        raise InputError(f"levels: {count} is too few to go from the noise to t = {t}; give 2 or more")
    first, last = (log(tan(angle(noise_level(schedule, time)) / 2)) for time in (1.0, t))
    places = torch.linspace(first, last, count, dtype=torch.float64).tolist()
    inner = [float(at_angle(schedule, 2 * atan(exp(place))).t) for place in places[1:-1]]
    return torch.tensor([1.0, *inner, t], dtype=torch.float64)


@torch.no_grad()
def anneal(
    denoiser: NetworkDenoiser,
    shape: Sequence[int],
    times: Tensor,
    *,
    seed: int = 0,
    chains: int = 256,
    moves: int = 1,
    step_size: float = 1.0,
    prior_std: float | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Annealing:
    """Annealed importance sampling of exp(-U) at ``times[-1]``, for samples of ``shape`` (module docstring).

    ``times``: falling from 1, (K,); multiples of 1/T where the network knows only those. ``moves``: steps at a level;
    ``step_size``: c, > 0. ``prior_std``: sigma(1) where None. ``progress(done, total)`` counts levels. Chain k
    depends on (seed, k) alone. Raises InputError for impossible numbers, and as `energy`.
    """
    for name, number in (("chains", chains - 1), ("moves", moves), ("step_size", step_size)):
        if not number > 0:
            raise InputError(f"{name}: is too small; give 2 or more chains, and more than 0 for the others")
    rows = range(chains)

    def density(y: Tensor, now: NoiseLevel) -> tuple[Tensor, Tensor]:
        """log f (N,), float64 on the CPU, and its slope in y."""
        size = float(deviation(now))
        with torch.inference_mode(False), torch.enable_grad():
            point = y.clone().requires_grad_()
            u = energy(denoiser, size * point, now)
            (slope,) = torch.autograd.grad(u.sum(), point)
        return point[0].numel() * log(size) - u.detach().to("cpu", torch.float64), -slope

    walk = list(noise_levels(denoiser.schedule, times))
    std = (float(walk[0].sigma) if prior_std is None else prior_std) / float(deviation(walk[0]))
    y = std * normal(seed, rows, 0, Purpose.START, shape, dtype=dtype, device=device)
    dimensions = y[0].numel()
    before = -_square(y) / (2 * std**2) - dimensions / 2 * log(2 * pi * std**2)
    log_weights = torch.zeros(chains, dtype=torch.float64)
    accepted: list[float] = []
    for k, now in enumerate(walk):
        log_f, slope = density(y, now)
        log_weights += log_f - before
        if progress is not None:
            progress(k + 1, len(walk))
        if k == len(walk) - 1:
            break
        tau, taken = step_size * dimensions ** (-1 / 3) * float(now.sigma / deviation(now)) ** 2, 0.0
        for move in range(moves):
            z = normal(seed, rows, k, Purpose.CORRECTOR, shape, draw=move, dtype=dtype, device=device)
            proposed = y + tau * slope + (2 * tau) ** 0.5 * z
            log_f_new, slope_new = density(proposed, now)
            there, back = (_square(v) / (4 * tau) for v in (proposed - y - tau * slope, y - proposed - tau * slope_new))
            ratio = log_f_new - log_f + there - back
            take = uniform(seed, rows, k * moves + move, Purpose.STEP).log() < ratio
            log_f = torch.where(take, log_f_new, log_f)
            wide = take.to(y.device).reshape(-1, *(1,) * (y.ndim - 1))
            y, slope = torch.where(wide, proposed, y), torch.where(wide, slope_new, slope)
            taken += float(take.double().mean()) / moves
        before = log_f
        accepted.append(taken)
    return Annealing(log_weights, torch.tensor(accepted, dtype=torch.float64))


def partition_on_plane(
    denoiser: NetworkDenoiser,
    t: NoiseLevel,
    rectangle: tuple[Interval, Interval],
    samples: Tensor,
    *,
    points: int = 129,
    batch_size: int = 4096,
) -> tuple[LogPartition, Plane]:
    """log Z by quadrature over a rectangle of x_t's plane, and the unnormalised exp(-U) there.

    ``samples`` of x_t, (M, 2), in the network's type, bound the mass outside. Raises InputError as `energy` and
    `density_on_plane` do.
    """

    @torch.no_grad()
    def log_density(x_t: Tensor) -> Tensor:
        return -energy(denoiser, x_t, t)

    plane = density_on_plane(
        log_density,
        rectangle,
        samples,
        points=points,
        batch_size=batch_size,
        dtype=samples.dtype,
        device=samples.device,
    )
    if not plane.outside < 1:
        raise InputError("rectangle: all samples lie outside; give one around them")
    return LogPartition(plane.log_integral, plane.relative_error - log1p(-plane.outside), 0.0), plane


def partition_by_flow(
    denoiser: NetworkDenoiser,
    flow: Flow,
    trace: Trace,
    x_t: Tensor,
    t: NoiseLevel,
    *,
    prior_std: float | None = None,
) -> LogPartition:
    """log Z by the ODE's density at the points x_t (N, …), N ≥ 2, of level t; see `Flow` for the other arguments."""
    alpha = float(t.alpha)
    found = flow.log_density(denoiser, x_t / alpha, trace, start=t, prior_std=prior_std).log_density
    log_density = found - x_t[0].numel() * log(alpha)
    with torch.no_grad():
        values = -energy(denoiser, x_t, t).to("cpu", torch.float64) - log_density
    spread = float(values.std())
    return LogPartition(float(values.mean()), spread / len(values) ** 0.5, spread)


def _square(v: Tensor) -> Tensor:
    """‖v‖² of each row, float64 on the CPU."""
    return v.to("cpu", torch.float64).square().flatten(1).sum(1)

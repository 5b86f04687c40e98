"""A mixture in the plane whose components carry one of two labels: everything that guidance does to it is known.

p(x_t), p(x_t | y) and p(y | x_t) are known at every level, and with them the field that guidance follows, here from
log-densities and autograd, integrated by scipy.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp, inf, log

import numpy as np
import torch
from scipy import integrate
from torch import Tensor

from sumi.denoising.denoiser import Denoised, Denoiser, FunctionDenoiser
from sumi.denoising.exact import mixture_denoiser
from sumi.guidance.extrapolation import Extrapolation
from sumi.process.continuous import VP, Flow
from sumi.process.exploding import EDM
from sumi.process.schedule import NoiseLevel, Schedule, Time
from sumi.sampling.sample import sample
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.time_grid import TIME_GRIDS

MEANS = torch.tensor([[-0.7, 0.1], [0.6, -0.5], [0.4, 0.8]], dtype=torch.float64)
STDS = torch.tensor([0.35, 0.3, 0.25], dtype=torch.float64)
SHARES = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
OF_CLASS = torch.tensor([1, 2])  # the class that is asked for has two components; the first component is the other
SCHEDULES = {"vp": VP().build(), "edm": EDM().build(), "flow": Flow().build()}
SCALES = [0.0, 0.5, 1.0, 2.0, 5.0]
POINTS = torch.from_numpy(np.random.default_rng(0).standard_normal((16, 2)))


def mixture(schedule: Schedule, parts: Tensor | None = None) -> FunctionDenoiser:
    parts = torch.arange(3) if parts is None else parts
    return mixture_denoiser(MEANS[parts], STDS[parts], SHARES[parts] / SHARES[parts].sum(), schedule)


def guided(schedule: Schedule, scale: float) -> Extrapolation:
    return Extrapolation(mixture(schedule, OF_CLASS), mixture(schedule), scale)


def log_densities(x_t: Tensor, t: NoiseLevel) -> tuple[Tensor, Tensor]:
    """log p(x_t) and log p(y | x_t), each (N,), by Bayes' rule from the components' densities."""
    parts = [
        torch.distributions.MultivariateNormal(t.alpha * m, (t.alpha**2 * s**2 + t.sigma**2) * torch.eye(2).double())
        for m, s in zip(MEANS, STDS, strict=True)
    ]
    joint = torch.stack([w.log() + p.log_prob(x_t) for w, p in zip(SHARES, parts, strict=True)], 1)
    marginal = joint.logsumexp(1)
    return marginal, joint[:, OF_CLASS].logsumexp(1) - marginal


def guided_score(x_t: Tensor, t: NoiseLevel, scale: float) -> Tensor:
    """∇ log (p(x_t) p(y | x_t)^w), by autograd."""
    point = x_t.detach().clone().requires_grad_()
    marginal, posterior = log_densities(point, t)
    (score,) = torch.autograd.grad((marginal + scale * posterior).sum(), point)
    return score


Score = Callable[[Tensor, NoiseLevel, float], Tensor]


def flow_of_score(x_t: Tensor, t: NoiseLevel, scale: float, score_of: Score = guided_score) -> Tensor:
    """x at the data, along dx̂/dσ̂ = -σ̂ ∇ log p_w(x̂; σ̂) of x̂ = x_t/alpha, by DOP853 in log(σ̂ + 0.02)."""
    shift = 0.02

    def slope(tau: float, x: np.ndarray) -> np.ndarray:
        sigma = max(exp(tau) - shift, 1e-12)
        here = NoiseLevel(0.0, 1.0, sigma, -2 * log(sigma), 0.0, 0.0)
        score = score_of(torch.from_numpy(x).view(x_t.shape), here, scale)
        return (-sigma * (sigma + shift) * score).reshape(-1).numpy()

    ends = [log(exp(-t.log_snr / 2) + shift), log(shift)]
    start = (x_t / t.alpha).reshape(-1).numpy()
    solution = integrate.solve_ivp(slope, ends, start, method="DOP853", rtol=1e-10, atol=1e-11)
    assert solution.success
    return torch.from_numpy(solution.y[:, -1].copy()).view(x_t.shape)


@dataclass
class Counted:
    """A denoiser that keeps count of its evaluations."""

    denoiser: Denoiser
    count: int = field(default=0)

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        self.count += 1
        return self.denoiser(x_t, t)


def normal_points(count: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).standard_normal((count, 2)))


def walked(denoiser: Denoiser, x: Tensor, steps: int = 150) -> Tensor:
    """Along the ODE, from t = 1 of `VP`."""
    return sample(denoiser, Adams(data_std=0.5), TIME_GRIDS["log_ratio"](denoiser.schedule, steps, 0.5), x)


def tempered(scale: float) -> tuple[Tensor, Tensor]:
    """Mean and deviation of p(x) p(y | x)^w / Z over the plane, by quadrature."""
    axis = torch.linspace(-3, 3, 401, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    marginal, posterior = log_densities(x, NoiseLevel(0.0, 1.0, 0.0, inf, 0.0, 0.0))
    share = (marginal + scale * posterior).softmax(0)
    mean = share @ x
    return mean, (share @ (x - mean).square()).sqrt()

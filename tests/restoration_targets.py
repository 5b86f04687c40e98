"""Data whose posterior given y = A x_0 + s n is known, and what each method makes of it.

For x_0 ~ N(m, Σ) the posterior is N(m + G (y - A m), Σ - G A Σ), G = Σ Aᵀ (A Σ Aᵀ + s² I)⁻¹; for a mixture it is the
mixture of its components' posteriors, each weighted by N(y; A m, A Σ Aᵀ + s² I) too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import multivariate_normal
from torch import Tensor

from sumi.denoising.denoiser import Denoiser, FunctionDenoiser
from sumi.operators.linear import Linear, Mask
from sumi.process.continuous import VP
from sumi.process.schedule import NoiseLevel, Schedule
from sumi.randomness import Purpose
from sumi.restoration.dps import DPS
from sumi.restoration.measurement import Measurement
from sumi.restoration.null_space import DDNM
from sumi.restoration.posterior import MomentMatching, PseudoinverseGuidance
from sumi.restoration.replacement import RePaint, repaint_times
from sumi.restoration.twisted import TwistedSMC
from sumi.sampling.sample import sample
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.solver import Solver

SCHEDULE = VP().build()


@dataclass(frozen=True)
class Mixture:
    """Weights (K,), means (K, D), covariances (K, D, D); one component is a Gaussian."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def clean(self, x_t: Tensor, t: NoiseLevel) -> Tensor:
        means, covariances = torch.from_numpy(self.means), torch.from_numpy(self.covariances)
        alpha, sigma = (torch.as_tensor(v, dtype=torch.float64).reshape(-1, 1, 1) for v in (t.alpha, t.sigma))
        eye = torch.eye(means.shape[1], dtype=torch.float64)
        noisy = alpha[..., None] ** 2 * covariances + sigma[..., None] ** 2 * eye  # (N or 1, K, D, D)
        offset = x_t[:, None] - alpha * means  # (N, K, D)
        scaled = torch.einsum("nkij,nkj->nki", torch.linalg.inv(noisy).expand(len(x_t), -1, -1, -1), offset)
        log_density = -(offset * scaled).sum(-1) / 2 - torch.logdet(noisy) / 2 + torch.from_numpy(self.weights).log()
        each = means + alpha * torch.einsum("kij,nkj->nki", covariances, scaled)
        return (log_density.softmax(1)[..., None] * each).sum(1)

    def denoiser(self, schedule: Schedule = SCHEDULE) -> FunctionDenoiser:
        return FunctionDenoiser(self.clean, schedule)

    def given(self, a: np.ndarray, y: np.ndarray, std: float) -> "Mixture":
        """The posterior of one measurement, by conditioning (module docstring)."""
        inside = a @ self.covariances @ a.T + std**2 * np.eye(len(a))
        gain = self.covariances @ a.T @ np.linalg.inv(inside)
        likely = [multivariate_normal.pdf(y, a @ m, c) for m, c in zip(self.means, inside, strict=True)]
        means = self.means + (gain @ (y - self.means @ a.T)[..., None])[..., 0]
        weights = self.weights * likely
        return Mixture(weights / weights.sum(), means, self.covariances - gain @ a @ self.covariances)

    def noised(self, t: NoiseLevel) -> "Mixture":
        eye = np.eye(self.means.shape[1])
        return Mixture(self.weights, t.alpha * self.means, t.alpha**2 * self.covariances + t.sigma**2 * eye)

    @property
    def mean(self) -> np.ndarray:
        return self.weights @ self.means

    @property
    def covariance(self) -> np.ndarray:
        spread = self.means - self.mean
        return np.tensordot(self.weights, self.covariances, 1) + (spread.T * self.weights) @ spread

    def draws(self, count: int, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        which = rng.choice(len(self.weights), count, p=self.weights)
        roots = np.linalg.cholesky(self.covariances)
        return self.means[which] + (roots[which] @ rng.standard_normal((count, self.means.shape[1], 1)))[..., 0]


def gaussian(mean: np.ndarray, covariance: np.ndarray) -> Mixture:
    return Mixture(np.ones(1), mean[None], covariance[None])


ROOT = np.array([[1.0, 0.0, 0.0], [0.8, 0.5, 0.0], [-0.3, 0.4, 0.7]])
PAIR = gaussian(np.zeros(2), np.array([[1.0, 0.9], [0.9, 1.0]]))
TRIPLE = gaussian(np.array([0.3, -0.2, 0.1]), ROOT @ ROOT.T)
MODES = Mixture(
    np.array([0.5, 0.3, 0.2]),
    np.array([[-1.0, -0.8], [0.8, 1.0], [0.6, -1.2]]),
    np.array([[[0.2, 0.1], [0.1, 0.15]], [[0.15, -0.08], [-0.08, 0.2]], [[0.1, 0.0], [0.0, 0.1]]]),
)
SKEWED = Mixture(
    np.array([0.8, 0.2]),
    np.array([[0.0, 0.0], [1.0, 2.0]]),
    np.array([[[0.3, 0.28], [0.28, 0.3]], [[0.02, 0.0], [0.0, 0.02]]]),
)
SUMS = np.array([[1.0, 0.5, 0.0], [0.0, -0.7, 1.0]])
"""Two noisy numbers that are known of `TRIPLE`."""


@dataclass(frozen=True)
class Gauss:
    """Fast normal noise for many samples, by torch's own generator: also a function of step, purpose and draw."""

    shape: tuple[int, ...]
    seed: int = 0

    def __call__(self, step: int, purpose: Purpose, draw: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(((self.seed * 10_007 + step) * 101 + int(purpose)) * 101 + draw)
        return torch.randn(self.shape, generator=generator, dtype=torch.float64)


def probe(denoiser, solver, times: Tensor, mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance that an affine sampler makes of its start's, with no Monte Carlo error.

    By its responses to zero, to a unit of each element of the start, and to one of each element of each draw.
    """
    size, draws = len(mean), []

    def count(step: int, purpose: Purpose, draw: int = 0) -> Tensor:
        assert (step, purpose, draw) not in draws, "the same noise twice"
        draws.append((step, purpose, draw))
        return torch.zeros(1, size, dtype=torch.float64)

    middle = torch.from_numpy(mean)[None]
    sample(denoiser, solver, times, middle, count)
    x = middle.repeat(1 + size * (1 + len(draws)), 1)
    units = torch.eye(size, dtype=torch.float64)
    x[1 : 1 + size] += units
    first = {source: 1 + size * (1 + k) for k, source in enumerate(draws)}

    def noise(step: int, purpose: Purpose, draw: int = 0) -> Tensor:
        unit, at = torch.zeros_like(x), first[step, purpose, draw]
        unit[at : at + size] = units
        return unit

    end = sample(denoiser, solver, times, x, noise).numpy()
    response = end[1:] - end[0]
    of_start, of_noise = response[:size], response[size:]
    return end[0], of_start.T @ covariance @ of_start + of_noise.T @ of_noise


@dataclass(frozen=True, eq=False)
class Case:
    """Data and what is known of them: the first element exactly (``sums`` None), or noisy sums."""

    name: str
    data: Mixture
    y: np.ndarray
    sums: np.ndarray | None = None
    std: float = 0.0

    @property
    def size(self) -> int:
        return self.data.means.shape[1]

    @property
    def measurement(self) -> Measurement:
        if self.sums is not None:
            return Measurement(Linear(torch.from_numpy(self.sums)), torch.from_numpy(self.y)[None], self.std)
        return Measurement(Mask(torch.arange(self.size) > 0), torch.from_numpy(self.y)[None])

    @property
    def conditioned(self) -> Mixture:
        """The posterior of all elements."""
        if self.sums is not None:
            return self.data.given(self.sums, self.y, self.std)
        return self.data.given(np.eye(1, self.size), self.y[:1], 0.0)

    @property
    def posterior(self) -> Mixture:
        """The posterior of all elements but a known first one."""
        condition = self.conditioned
        first = 0 if self.sums is not None else 1
        return Mixture(condition.weights, condition.means[:, first:], condition.covariances[:, first:, first:])


CASES = (
    Case("one of two, ρ = 0.9", PAIR, np.array([1.0, 0.0])),
    Case("two noisy sums of three", TRIPLE, np.array([0.9, -0.8]), SUMS, 0.3),
    Case("one of two, three modes", MODES, np.array([0.3, 0.0])),
)

STEPS, PARTICLES = 200, 64
TIMES = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64) ** 2
ANCESTRAL = DDIM(eta=1.0)


@dataclass(frozen=True)
class Method:
    """``setting(case)``: the denoiser, the solver and the times. ``samples``: how many where it is not affine; standard
    errors of 4000 are 2 % of a deviation, of 16000 particles that depend on each other 3 %."""

    setting: Callable[[Case], tuple[Denoiser, Solver[Any], Tensor]]
    affine: bool = True
    noiseless: bool = False
    samples: int = 4000


EXACT, REPLACEMENT, REPAINT = "posterior's own denoiser", "replacement", "RePaint, 10 × 10"
NULL_SPACE, GRADIENT, PSEUDOINVERSE = "DDNM", "DPS, ζ = 0.1", "ΠGDM"
MATCHING, TWISTED = "moment matching", "twisted SMC, K = 64"
METHODS: dict[str, Method] = {
    EXACT: Method(lambda c: (c.conditioned.denoiser(), ANCESTRAL, TIMES)),
    REPLACEMENT: Method(lambda c: (c.data.denoiser(), RePaint(ANCESTRAL, c.measurement), TIMES), noiseless=True),
    REPAINT: Method(
        lambda c: (c.data.denoiser(), RePaint(ANCESTRAL, c.measurement), repaint_times(TIMES)), noiseless=True
    ),
    NULL_SPACE: Method(lambda c: (DDNM(c.data.denoiser(), c.measurement), ANCESTRAL, TIMES), noiseless=True),
    GRADIENT: Method(lambda c: (c.data.denoiser(), DPS(ANCESTRAL, c.measurement, 0.1), TIMES), affine=False),
    PSEUDOINVERSE: Method(
        lambda c: (PseudoinverseGuidance(c.data.denoiser(), c.measurement, iterations=2), ANCESTRAL, TIMES)
    ),
    MATCHING: Method(lambda c: (MomentMatching(c.data.denoiser(), c.measurement, 2), ANCESTRAL, TIMES)),
    TWISTED: Method(
        lambda c: (c.data.denoiser(), TwistedSMC(c.measurement, PARTICLES, iterations=2), TIMES),
        affine=False,
        samples=16_000,
    ),
}


def moments(method: Method, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of what a method samples from N(0, I) at t = 1, of the elements that the posterior has: by a
    probe where it is affine on Gaussians, of samples where not."""
    denoiser, solver, times = method.setting(case)
    if len(case.data.weights) == 1 and method.affine:
        mean, covariance = probe(denoiser, solver, times, np.zeros(case.size), np.eye(case.size))
    else:
        noise = Gauss((method.samples, case.size))
        end = sample(denoiser, solver, times, noise(0, Purpose.START), noise).numpy()
        mean, covariance = end.mean(0), np.cov(end.T)
    first = 0 if case.sums is not None else 1
    return mean[first:], covariance[first:, first:]


def bias(method: Method, case: Case) -> tuple[float, float, float]:
    """The error of the mean in posterior standard deviations (Mahalanobis), and of the deviations in the directions in
    which they are most and least too small: the smallest and largest ratio of found to true."""
    mean, covariance = moments(method, case)
    whiten = np.linalg.inv(np.linalg.cholesky(case.posterior.covariance))
    ratios = np.linalg.eigvalsh(whiten @ covariance @ whiten.T) ** 0.5
    return float(np.linalg.norm(whiten @ (mean - case.posterior.mean))), float(ratios[0]), float(ratios[-1])


def table() -> str:
    """The bias of every method on every case, as text."""
    rows = ["".join(f"{title:>28}" for title in ("", *(case.name for case in CASES)))]
    for name, method in METHODS.items():
        cells = []
        for case in CASES:
            if case.std and method.noiseless:
                cells.append("takes no noise")
                continue
            shift, low, high = bias(method, case)
            cells.append(f"{shift:.3f}  {low:.3f}" + (f" … {high:.3f}" if case.sums is not None else ""))
        rows.append(f"{name:>28}" + "".join(f"{cell:>28}" for cell in cells))
    return "\n".join(rows)

"""Laws of the samplers, on data whose exact denoiser is known: N(0.5, 0.3²), and mixtures of Gaussians."""

from itertools import pairwise
from math import log, sqrt
from typing import Any

import torch
from torch import Tensor

from sumi.check import peer
from sumi.check.law import Law
from sumi.denoising.exact import gaussian_denoiser, mixture_denoiser
from sumi.process.chain import LinearBeta
from sumi.process.continuous import VP, Flow
from sumi.process.exploding import EDM
from sumi.process.schedule import Schedule, noise_level, noise_levels
from sumi.randomness import Purpose
from sumi.sampling.gaussian import Gaussian
from sumi.sampling.sample import sample
from sumi.sampling.solvers import SOLVERS
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.gaussian_adams import GaussianAdams
from sumi.sampling.solvers.solver import Solver, StepNoise
from sumi.sampling.time_grid import log_ratio, log_snr, snap, uniform

MEAN, STD = 0.5, 0.3
ORDERS = {"ddim": 1, "heun": 2, "rk4": 4, "dpmpp_2m": 2, "dpmpp_3m": 3, "unipc": 3, "adams": 4}
MIXTURE_BOUNDS = {10: 1.2e-2, 20: 1.5e-3, 50: 6e-5, 100: 3e-6}


def laws() -> list[Law]:
    """Every law of the samplers, measured now."""
    return [*_affine(), *_orders(), *_exactness(), *_mixtures()]


def probe(schedule: Schedule, solver: Solver[Any], times: Tensor) -> tuple[float, float]:
    """Mean and deviation of an affine sampler's results from the exact marginal at t = 1, without sampling error.

    The real sampler runs on a batch of zero, a unit start, and a unit of each noise that it uses.
    """
    steps = len(times) - 1
    end = noise_level(schedule, 1.0)
    mean, variance = float(end.alpha) * MEAN, (float(end.alpha) * STD) ** 2 + float(end.sigma) ** 2
    x = torch.full((2 + steps, 1), mean, dtype=torch.float64)
    x[1] += 1

    def unit(step: int, purpose: Purpose, draw: int = 0, /) -> Tensor:
        del purpose, draw
        noise = torch.zeros_like(x)
        noise[2 + step] = 1
        return noise

    out = sample(gaussian_denoiser(MEAN, STD, schedule), solver, times, x, unit)[:, 0]
    response = out[1:] - out[0]
    return float(out[0]), sqrt(float(response[0] ** 2 * variance + response[1:].square().sum()))


def _affine() -> list[Law]:
    chain, vp = LinearBeta().build(), VP().build()
    ddim = probe(chain, DDIM(), snap(uniform(7), 1000))[0] - MEAN
    ancestral = probe(chain, DDIM(eta=1.0), uniform(1000))[1] - STD
    theirs = peer.ancestral_deviation(MEAN, STD)
    halves = [
        Law(f"{title}: twice the steps, half the error", abs(_order_of_deviation(vp, solver) - 1), 0.05)
        for title, solver in (("ancestral", DDIM(eta=1.0)), ("Euler-Maruyama", SOLVERS["euler_maruyama"]))
    ]
    return [
        Law("DDIM in 7 steps keeps the mean of N(0.5, 0.3²)", abs(ddim), 1e-3, peer.ddim_mean(7, MEAN, STD)),
        Law("linear multistep in 7 steps keeps it (peer: PNDM)", _lms_mean(), 1e-3, peer.pndm_mean(7, MEAN, STD)),
        Law("ancestral sampling in 1000 steps: deviation of N(0.5, 0.3²)", abs(ancestral), 5e-3, theirs),
        *halves,
    ]


def _order_of_deviation(schedule: Schedule, solver: Solver[Any]) -> float:
    """From the deviations with 1000 and 2000 steps, at half of the noise, far from both ends."""
    errors = []
    for steps in (1000, 2000):
        times = torch.linspace(1, 0.5, steps + 1, dtype=torch.float64)
        last = noise_level(schedule, 0.5)
        exact = sqrt((float(last.alpha) * STD) ** 2 + float(last.sigma) ** 2)
        errors.append(abs(probe(schedule, solver, times)[1] - exact))
    return log(errors[0] / errors[1], 2)


def _lms_mean() -> float:
    chain = LinearBeta().build()
    return abs(probe(chain, SOLVERS["lms"], snap(uniform(7), 1000))[0] - MEAN)


def _orders() -> list[Law]:
    """Observed orders on σ̂ from 2 to 0.2, even in log-SNR; multistep methods start with exact steps."""
    found = []
    for name, order in ORDERS.items():
        off = max(abs(observed_order(s, SOLVERS[name], order) - order) for s in (VP().build(), EDM().build()))
        found.append(Law(f"{name} is of order {order}", off, 0.05))
    return found


def observed_order(schedule: Schedule, solver: Solver[Any], order: int) -> float:
    """The order from three numbers of steps, with one extrapolation: e(n) = a n^-p (1 + b/n + …)."""
    steps = [160, 320, 640] if order < 4 else [80, 160, 320]
    errors = [_error(schedule, solver, n, order - 1) for n in steps]
    coarse, fine = (log(a / b, 2) for a, b in pairwise(errors))
    return 2 * fine - coarse


def _error(schedule: Schedule, solver: Solver[Any], steps: int, exact_steps: int) -> float:
    ends = torch.tensor([2.0, 0.2], dtype=torch.float64).log()
    noise = torch.lerp(ends[0], ends[1], torch.arange(steps + 1, dtype=torch.float64) / steps)
    walk = list(noise_levels(schedule, schedule.time(-2 * noise)))
    denoiser, state = gaussian_denoiser(MEAN, STD, schedule), solver.init()
    start = torch.tensor([[1.3], [-0.4]], dtype=torch.float64)

    def exact(s: Any) -> Tensor:
        deviations = [sqrt((t.alpha * STD) ** 2 + t.sigma**2) for t in (walk[0], s)]
        return s.alpha * MEAN + (start - walk[0].alpha * MEAN) * (deviations[1] / deviations[0])

    x = start
    for k, (t, s) in enumerate(pairwise(walk)):
        x, state = solver.step(denoiser, x, t, s, state, StepNoise(None, k))
        x = exact(s) if k < exact_steps else x
    return float((x - exact(walk[-1])).abs().max())


def _exactness() -> list[Law]:
    worst, counts = 0.0, 0.0
    for schedule in (VP().build(), EDM().build(), Flow().build()):
        end = noise_level(schedule, 1.0)
        variance = torch.tensor([0.3**2], dtype=torch.float64)
        gaussian = Gaussian(torch.tensor([MEAN]).double(), torch.eye(1).double(), variance, 0.0)
        z = torch.tensor([[-1.5], [0.2], [2.0]], dtype=torch.float64)
        x = float(end.alpha) * MEAN + z * sqrt((float(end.alpha) * STD) ** 2 + float(end.sigma) ** 2)
        got = sample(gaussian_denoiser(MEAN, STD, schedule), GaussianAdams(gaussian), log_ratio(schedule, 1), x)
        worst = max(worst, float((got - (MEAN + STD * z)).abs().max()))
        counts = max(counts, _ends(schedule))
    return [
        Law("Gaussian data with its moments given takes one step", worst, 1e-10),
        Law("K steps begin at t = 1, end at the data, and are K evaluations, for K = 1 … 60", counts, 0.0),
    ]


def _ends(schedule: Schedule) -> float:
    """The number of cases with evaluations missing, in excess, or at times off the grid."""
    wrong = 0
    inner = gaussian_denoiser(MEAN, STD, schedule)
    for grid in (log_ratio, log_snr):
        for steps in range(1, 61):
            walked: list[float] = []
            times = grid(schedule, steps)
            x = torch.zeros(1, 1, dtype=torch.float64)
            denoiser = type(inner)(lambda x_t, t, seen=walked: (seen.append(float(t.t)), inner.f(x_t, t))[1], schedule)
            sample(denoiser, Adams(), times, x)
            wrong += walked != times[:-1].tolist() or times[0] != 1 or times[-1] != 0
    return float(wrong)


def _mixtures() -> list[Law]:
    """The median distance to the exact ODE in units of the deviation, for 10 Gaussians in 64 dimensions."""
    draw = torch.Generator().manual_seed(41)
    means = torch.rand(10, 64, generator=draw, dtype=torch.float64) - 0.5
    stds = 0.02 * 5 ** torch.rand(10, generator=draw, dtype=torch.float64)
    shares = torch.full((10,), 0.1, dtype=torch.float64)
    std = sqrt(float(stds.square().mean() + (means - means.mean(0)).square().mean()))
    z = torch.randn(32, 64, generator=draw, dtype=torch.float64)
    found = []
    for name, schedule in (("variance preserving", VP().build()), ("EDM", EDM().build())):
        end = noise_level(schedule, 1.0)
        x = z * sqrt(float(end.alpha) ** 2 + float(end.sigma) ** 2)
        denoiser = mixture_denoiser(means, stds, shares, schedule)
        exact = sample(denoiser, Adams(6, std), log_ratio(schedule, 400, std), x)
        for steps, bound in MIXTURE_BOUNDS.items():
            got = sample(denoiser, Adams(data_std=std), log_ratio(schedule, steps, std), x)
            statement = f"mixture, {name}: where the ODE ends, in {steps} evaluations"
            theirs = peer.mixture_error(means, stds, shares, std, z, steps) if name != "EDM" else None
            found.append(Law(statement, _median(got, exact, std), bound, theirs))
    return found


def _median(got: Tensor, exact: Tensor, std: float) -> float:
    return float((got - exact).square().mean(1).sqrt().median()) / std

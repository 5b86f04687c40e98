"""The same laws in diffusers, where it is installed: None where it is not."""

import importlib.util
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from sumi.denoising.exact import mixture_denoiser
from sumi.process.chain import LinearBeta
from sumi.process.schedule import NoiseLevel, noise_levels
from sumi.sampling.sample import sample
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.time_grid import log_ratio

_CHAIN: dict[str, Any] = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def installed() -> bool:
    return importlib.util.find_spec("diffusers") is not None


def _scheduler(name: str, **options: Any) -> Any:
    import diffusers

    diffusers.utils.logging.set_verbosity_error()
    return getattr(diffusers, name)(**_CHAIN, **options)


def _level_of(timestep: float) -> NoiseLevel:
    """The noise level that a network of the chain expects at diffusers' timestep 0 … 999."""
    return next(noise_levels(LinearBeta().build(), torch.tensor([(timestep + 1) / 1000], dtype=torch.float64)))


def _gaussian_noise(x: Tensor, t: NoiseLevel, mean: float, std: float) -> Tensor:
    """The exact ε for data N(mean, std²)."""
    variance = float(t.alpha) ** 2 * std**2 + float(t.sigma) ** 2
    return float(t.sigma) * (x - float(t.alpha) * mean) / variance


def _mean(scheduler: Any, steps: int, mean: float, std: float) -> float:
    """The mean of the results, from the mean of x at t = 1, since the sampler is affine."""
    scheduler.set_timesteps(steps)
    x = torch.full((1, 1), float(_level_of(999).alpha) * mean, dtype=torch.float64)
    for t in scheduler.timesteps:
        x = scheduler.step(_gaussian_noise(x, _level_of(float(t)), mean, std), t, x, return_dict=False)[0]
    return float(x)


def ddim_mean(steps: int, mean: float, std: float) -> float | None:
    """DDIM's error of the mean, with "linspace" spacing."""
    if not installed():
        return None
    return abs(
        _mean(_scheduler("DDIMScheduler", clip_sample=False, timestep_spacing="linspace"), steps, mean, std) - mean
    )


def pndm_mean(steps: int, mean: float, std: float) -> float | None:
    """PNDM's error of the mean, with "linspace" spacing."""
    if not installed():
        return None
    scheduler = _scheduler("PNDMScheduler", skip_prk_steps=True, timestep_spacing="linspace")
    return abs(_mean(scheduler, steps, mean, std) - mean)


def ancestral_deviation(mean: float, std: float) -> float | None:
    """Ancestral sampling's error of the deviation in 1000 steps, from its response to zero and to unit noise."""
    if not installed():
        return None
    scheduler = _scheduler("DDPMScheduler", clip_sample=False)
    scheduler.set_timesteps(1000)
    end = _level_of(999)
    x = torch.full((2, 1), float(end.alpha) * mean, dtype=torch.float64)
    x[1] += 1
    variance_of_noise = 0.0
    for t in scheduler.timesteps:
        now = _level_of(float(t))
        before = x
        x = scheduler.step(
            _gaussian_noise(x, now, mean, std), t, x, generator=torch.Generator().manual_seed(0), return_dict=False
        )[0]
        draw = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
        added = float(scheduler._get_variance(t)) ** 0.5 if t > 0 else 0.0
        x = x - added * draw
        gain = float((x[1] - x[0]) / (before[1] - before[0]))
        variance_of_noise = variance_of_noise * gain**2 + added**2
    start = (float(end.alpha) * std) ** 2 + float(end.sigma) ** 2
    deviation = sqrt(float(x[1] - x[0]) ** 2 * start + variance_of_noise)
    return abs(deviation - std)


def mixture_error(means: Tensor, stds: Tensor, shares: Tensor, data_std: float, z: Tensor, steps: int) -> float | None:
    """DPM-Solver++ (2M, Karras' grid) on a mixture from the noise ``z``: median distance to the exact ODE."""
    if not installed():
        return None
    schedule = LinearBeta().build()
    denoiser = mixture_denoiser(means, stds, shares, schedule)
    end = _level_of(999)
    start = z * sqrt(float(end.alpha) ** 2 + float(end.sigma) ** 2)
    exact = sample(denoiser, Adams(6, data_std), log_ratio(schedule, 400, data_std), start)
    scheduler = _scheduler("DPMSolverMultistepScheduler", solver_order=2, use_karras_sigmas=True)
    scheduler.set_timesteps(steps)
    x = start
    for t in scheduler.timesteps:
        x = scheduler.step(denoiser(x, _level_of(float(t))).noise, t, x, return_dict=False)[0].double()
    return float((x - exact).square().mean(1).sqrt().median()) / data_std

"""Every schedule × parameterization × weighting × time sampler: refused by name, or exact on a Gaussian.

For x_0 ~ N(m, c²) the best network is known, whatever F means. With it, x̂_0 is the posterior mean, and
the loss of a batch with x_0 = m ± c and ε = ±1 in all four combinations, whose moments up to the second are those of
the distribution, is exactly

    w(t) Var(x_0 | x_t) = w(t) c² sigma²/(alpha² c² + sigma²).
"""

from typing import get_args

import pytest
import torch

from sumi.data.config import DataConfig
from sumi.data.images import ImageSpec
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import ParameterizationConfig, Reread
from sumi.denoising.variance import LearnedVariance
from sumi.denoising.weighting import WeightingConfig
from sumi.errors import InputError
from sumi.models.diffusion.build import build_denoiser, build_loss, build_times
from sumi.models.diffusion.system import DiffusionConfig
from sumi.networks.unet import UNetConfig
from sumi.objectives.times import GridTimes, ImportanceTimes, TimeSamplerConfig
from sumi.process.gaussian import add_noise
from sumi.process.schedule import NoiseLevel, noise_level
from sumi.process.schedules import ScheduleConfig
from sumi.sampling.sampler import Sampling

MEAN, STD = 0.3, 0.6
IMAGES = ImageSpec(1, 2, 2, 256, ())
U = torch.tensor([*(k / 8 for k in range(8)), 2.0**-53, 1 - 2.0**-53], dtype=torch.float64)

SCHEDULES = [cls() for cls in get_args(ScheduleConfig)]
# `Reread` is any of the others: tests/check/test_mend.py
PARAMETERIZATIONS = [cls() for cls in get_args(ParameterizationConfig) if cls is not Reread]
WEIGHTINGS = [cls() for cls in get_args(WeightingConfig)]
TIME_SAMPLERS = get_args(TimeSamplerConfig)

CONTINUOUS = {"vp", "sub_vp", "continuous_cosine", "flow", "ve", "edm", "learned"}
NO_DATA_LEFT = {"continuous_cosine", "flow", "erasing"}  # alpha(1) = 0
SINGULAR = {"noise", "score", "energy", "edm"}  # there, 1/alpha or ln(sigma/alpha) is infinite
LEARNED = {"learned", "learned_chain"}


def refusal(schedule: str, parameterization: str, weighting: str, times: str) -> str | None:
    """How the message begins where a combination makes no sense."""
    if schedule in CONTINUOUS and times in ("grid", "importance"):
        return f"times: schedule={schedule} is continuous and has no grid; set times=uniform"
    if schedule in LEARNED and weighting != "likelihood":
        return f"weighting: schedule={schedule} is learned by the bound, not by {weighting}; set weighting=likelihood"
    if schedule == "learned" and times != "uniform":
        return "times: schedule=learned is learned from uniform times; set times=uniform"
    if schedule == "learned_chain" and times not in ("grid", "importance"):
        return "times: schedule=learned_chain is learned on its own grid; set times=grid"
    if weighting == "uncertainty" and times == "importance":
        return "times: weighting=uncertainty makes all times count alike; set times=grid"
    if schedule == "erasing" and parameterization in ("flow", "smooth_flow"):
        return f"parameterization: schedule=erasing ends with an infinite slope, and so does {parameterization}"
    if schedule == "erasing" and weighting == "flow":
        return "weighting: schedule=erasing ends with an infinite slope, and flow weighs it"
    if schedule == "erasing" and weighting == "likelihood" and times not in ("grid", "importance"):
        return "times: weighting=likelihood has for schedule=erasing a bound of steps"
    if schedule in NO_DATA_LEFT and parameterization in SINGULAR:
        ends = "schedule: at t = 1 no data is left (alpha = 0.0e+00, sigma = 1.0e+00)"
        return f"{ends}, and parameterization={parameterization} is singular"
    return None


class Exact(torch.nn.Module):
    """The best network, times ``gain``; it must be told the level that c_noise stands for."""

    now: NoiseLevel

    def __init__(self, parameterization: str) -> None:
        super().__init__()
        self.parameterization = parameterization
        self.gain = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

    def best(self, x_t: torch.Tensor) -> torch.Tensor:
        """F at x_t (N, D), from the posterior means of x_0 and ε."""
        alpha, sigma, alpha_slope, sigma_slope = (
            v[:, None] for v in (self.now.alpha, self.now.sigma, self.now.alpha_slope, self.now.sigma_slope)
        )
        offset = (x_t - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2)
        clean, noise = MEAN + alpha * STD**2 * offset, sigma * offset
        spread = (sigma**2 + alpha**2 / 4).sqrt()  # sigma_data = ½
        power = alpha**2 + sigma**2
        signal = alpha.maximum(0.1 * power.sqrt())  # least_signal = 0.1
        return {
            "clean": clean,
            "bounded_clean": clean - (0.02 - sigma).clamp(min=0) / alpha.clamp(min=0.01) * noise,  # least_noise
            "noise": noise,
            "energy": noise,
            "velocity": alpha * noise - sigma * clean,
            "score": -noise / sigma,
            "flow": alpha_slope * clean + sigma_slope * noise,
            "smooth_flow": alpha_slope * clean + sigma_slope * noise,
            "bounded_noise": (signal * (alpha * noise - sigma * clean) + sigma * x_t) / power,
            # Karras et al. 2022, eq. 8 with table 1: (σ̂ x_0 - sigma_data² ε)/(sigma_data √(σ̂² + sigma_data²))
            "edm": (sigma * clean - alpha / 4 * noise) / (spread / 2),
        }[self.parameterization]

    def forward(self, z: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        alpha, sigma = self.now.alpha[:, None], self.now.sigma[:, None]
        condition = {"edm": (sigma / alpha).log()[:, 0] / 4, "smooth_flow": 4 * self.now.t - 2}.get(
            self.parameterization, 1000 * self.now.t - 1
        )
        torch.testing.assert_close(c_noise, condition, rtol=1e-9, atol=1e-9)
        power = {"edm": sigma**2 + alpha**2 / 4, "energy": sigma**2 + alpha**2}.get(self.parameterization, 1.0)
        x_t = z * power**0.5
        if self.parameterization == "energy":  # ½ (z - f)² has the slope gain · ε̂ in z
            steepness = self.gain * sigma / (alpha**2 * STD**2 + sigma**2) / power**0.5
            return z - steepness.sqrt() * (x_t - alpha * MEAN)
        return self.gain * self.best(x_t)


def expected_weight(weighting: str, now: NoiseLevel, schedule, grid: int | None) -> torch.Tensor:
    """The papers' formulas, with everything at its default."""
    snr = (now.alpha / now.sigma) ** 2
    # d SNR/dt = SNR · 2 (alpha'/alpha - sigma'/sigma)
    snr_slope = 2 * now.alpha * now.alpha_slope / now.sigma**2 - 2 * snr * now.sigma_slope / now.sigma
    if weighting == "likelihood" and grid is not None:
        index = (now.t * grid).round()
        before = noise_level(schedule, (index - 1) / grid)
        snr_before = torch.where(before.sigma > 0, (before.alpha / before.sigma) ** 2, 2 * snr)
        return grid / 2 * (snr_before - snr)
    return {
        "constant": torch.ones_like(snr),
        "snr": snr,
        "velocity": snr + 1,
        "min_snr": snr.minimum(torch.tensor(5.0)),
        "truncated_snr": snr.maximum(torch.tensor(1.0)),
        "edm": snr + 4,
        "likelihood": -snr_slope / 2,
        "flow": (now.alpha * now.sigma_slope / now.sigma - now.alpha_slope) ** 2,
    }[weighting]


def configured(schedule, parameterization, weighting, times: type, **parts) -> tuple[DiffusionConfig, NetworkDenoiser]:
    on_grid = times in (GridTimes, ImportanceTimes)
    config = DiffusionConfig(
        recipe="",
        data=DataConfig(source="digits"),
        schedule=schedule,
        parameterization=parameterization,
        weighting=weighting,
        times=times(steps=schedule.steps or 1000) if on_grid else times(),
        sampling=Sampling(steps=1),
        **parts,
    )
    return config, build_denoiser(config, IMAGES)


def check(config: DiffusionConfig, denoiser: NetworkDenoiser, exact: Exact, t: torch.Tensor) -> None:
    """The denoiser, the loss and its gradient at the times t, for a network that is exact and for one half as large."""
    schedule = denoiser.schedule
    with torch.no_grad():
        now = exact.now = noise_level(schedule, t)
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).double().T
    x_0, noise = (signs[:, None] * torch.ones(len(t), 1)).unbind()
    x_0 = MEAN + STD * x_0
    alpha, sigma = now.alpha[:, None], now.sigma[:, None]

    x_t = add_noise(x_0, noise, now)
    variance = alpha**2 * STD**2 + sigma**2
    posterior_mean = MEAN + alpha * STD**2 / variance * (x_t - alpha * MEAN)
    exact.gain.data.fill_(1.0)
    clean = denoiser(x_t, now).clean
    c_out = torch.as_tensor(config.parameterization.coefficients(now).c_out)[:, None]
    best = exact.best(x_t)
    # the two terms of x̂_0 are as large as c_out F, sigma/alpha where that is ε's; each keeps all but its last digits
    assert bool(((clean - posterior_mean).abs() <= 1e-14 * (1 + (c_out * best).abs())).all())

    if config.weighting.name == "uncertainty":
        weight = c_out[:, 0] ** -2  # u begins at 0
    else:
        weight = expected_weight(config.weighting.name, now, schedule, config.times.grid)
    least = weight * (STD**2 * sigma**2 / variance)[:, 0]
    loss = build_loss(config, denoiser)
    losses = loss(denoiser, x_0, t, noise)
    torch.testing.assert_close(losses, least, rtol=1e-7, atol=0)

    exact.gain.data.fill_(0.5)
    (gradient,) = torch.autograd.grad(loss(denoiser, x_0, t, noise).sum(), exact.gain)
    # d/dg w c_out² E[(g F - target)²] = -2 (1 - g) w c_out² E[F²], where E[target | x_t] = F
    expected = -(weight * (c_out * best).square().mean(1)).sum()
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=lambda c: c.name)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda c: c.name)
def test_refused_by_name_or_exact(schedule, parameterization, monkeypatch) -> None:
    exact = Exact(parameterization.name)
    monkeypatch.setattr(UNetConfig, "build", lambda *_: exact)
    for weighting in WEIGHTINGS:
        accepted: dict[int | None, tuple[DiffusionConfig, NetworkDenoiser, list[torch.Tensor]]] = {}
        for times in TIME_SAMPLERS:
            message = refusal(schedule.name, parameterization.name, weighting.name, times.name)
            if message is not None:
                with pytest.raises(InputError) as error:
                    configured(schedule, parameterization, weighting, times)
                assert str(error.value).startswith(message)
                continue
            config, denoiser = configured(schedule, parameterization, weighting, times)
            draws = accepted.setdefault(config.times.grid, (config, denoiser, []))[2]
            draws.append(build_times(config, denoiser).times(U, denoiser.schedule))
        for config, denoiser, draws in accepted.values():  # samplers of one grid share everything but the times
            check(config, denoiser, exact, torch.cat(draws))


# a learned variance


def variance_refusal(schedule: str, parameterization: str, weighting: str, times: str) -> str | None:
    """How the message begins where a combination makes no sense with a variance that is learned."""
    plain = refusal(schedule, parameterization, weighting, times)
    if plain is not None and not plain.startswith("schedule: at t = 1"):  # that is found later, with the network
        return plain
    if times not in ("grid", "importance"):
        return "variance: learned is that of a chain's steps; set a schedule of steps and times=grid"
    if parameterization == "energy":
        return "variance: parameterization=energy gives a gradient and no variance; set variance=fixed"
    if weighting == "uncertainty":
        return "variance: weighting=uncertainty learns its own; set variance=fixed"
    if schedule == "learned_chain":
        return "variance: schedule=learned_chain is learned with fixed variances; set variance=fixed"
    return plain


class WithVariance(Exact):
    """The best network, which also says v = ½: of each step's variance the geometric mean of β and β̃."""

    def forward(self, z: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        return torch.cat([super().forward(z, c_noise), torch.zeros_like(z)], 1)


def mean_step_nats(now: NoiseLevel, schedule, grid: int) -> torch.Tensor:
    """E L_{i-1} of one element with the exact mean and V = √(β β̃), in ᾱ-free form: from sigma² and SNR alone."""
    index = (now.t * grid).round()
    left = 1 / ((now.alpha / now.sigma) ** 2 + 1 / STD**2)  # Var(x_0 | x_t)
    first = index == 1
    later, earlier = (noise_level(schedule, (index + first.double() - k).clamp(max=grid) / grid) for k in (0, 1))
    added = 1 - (later.alpha / later.sigma) ** 2 / (earlier.alpha / earlier.sigma) ** 2
    small = earlier.sigma**2 * added
    large = torch.where(first, now.sigma**2, later.sigma**2 * added)
    variance = (small * large).sqrt()
    unknown = torch.where(first, 1.0, earlier.alpha**2 * added**2) * left
    kl = (small / variance - 1 - (small / variance).log() + unknown / variance) / 2
    return torch.where(first, ((2 * torch.pi * variance).log() + unknown / variance) / 2, kl)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=lambda c: c.name)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda c: c.name)
def test_with_a_learned_variance_refused_by_name_or_exact(schedule, parameterization, monkeypatch) -> None:
    """The hybrid loss is w Var(x_0 | x_t) + λ T L, and with weighting=likelihood it is T L, at every kind of times."""
    exact = WithVariance(parameterization.name)
    monkeypatch.setattr(UNetConfig, "build", lambda *_: exact)
    for weighting in WEIGHTINGS:
        for times in TIME_SAMPLERS:
            message = variance_refusal(schedule.name, parameterization.name, weighting.name, times.name)
            if message is not None:
                with pytest.raises(InputError) as error:
                    configured(schedule, parameterization, weighting, times, variance=LearnedVariance(0.5))
                assert str(error.value).startswith(message)
                continue
            config, denoiser = configured(schedule, parameterization, weighting, times, variance=LearnedVariance(0.5))
            grid = config.times.grid
            assert grid is not None
            t = torch.cat(
                [build_times(config, denoiser).times(U, denoiser.schedule), torch.tensor([1.0, 2.0]).double() / grid]
            )
            now = exact.now = noise_level(denoiser.schedule, t)
            signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).double().T
            x_0, noise = (signs[:, None] * torch.ones(len(t), 1)).unbind()
            found = build_loss(config, denoiser)(denoiser, MEAN + STD * x_0, t, noise)
            nats = grid * mean_step_nats(now, denoiser.schedule, grid)
            left = STD**2 * now.sigma**2 / (now.alpha**2 * STD**2 + now.sigma**2)
            if weighting.name == "likelihood":
                expected = nats
            else:
                expected = expected_weight(weighting.name, now, denoiser.schedule, grid) * left + 0.5 * nats
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)

"""Step by step against an independent implementation, where its timesteps are right.

With "trailing" spacing diffusers starts at the last time of the chain, as ours does. (Its defaults do not: "leading"
starts 50 steps at t = 981/1000 and "linspace" takes unequal steps with coefficients for equal ones; on an exact noise
prediction for N(0.5, 0.3²) its DDIM with "linspace" and 7 steps ends at mean 0.477 instead of 0.5.)
"""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from sumi.denoising.denoiser import FunctionDenoiser, NetworkDenoiser
from sumi.denoising.parameterization import PredictNoise
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.sampling.sample import sample
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.time_grid import snap, uniform


class Wavy(torch.nn.Module):
    """Some smooth function of image and time."""

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        return torch.sin(2 * x) + 0.3 * torch.cos(c_noise / 300).reshape(-1, 1, 1, 1)


def run_diffusers(scheduler, steps: int, x: torch.Tensor, **options) -> list[torch.Tensor]:
    scheduler.set_timesteps(steps)
    states = []
    for t in scheduler.timesteps:
        x = scheduler.step(Wavy()(x, torch.full((len(x),), float(t))), t, x, **options).prev_sample
        states.append(x)
    return states


def run_ours(config, solver, steps: int, x: torch.Tensor, noise) -> list[torch.Tensor]:
    states: list[torch.Tensor] = []
    denoiser = NetworkDenoiser(Wavy(), config.build(), PredictNoise(), trained_steps=1000)
    sample(denoiser, solver, snap(uniform(steps), 1000), x, noise, lambda k, s, x: states.append(x))
    return states


@pytest.mark.parametrize("steps", [1, 10, 50, 1000])
@pytest.mark.parametrize("eta", [0.0, 0.7])
@pytest.mark.parametrize(("name", "config"), [("linear", LinearBeta()), ("squaredcos_cap_v2", CosineBeta())])
def test_ddim(name: str, config, steps: int, eta: float) -> None:
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scheduler = DDIMScheduler(
        num_train_timesteps=1000, beta_schedule=name, clip_sample=False, timestep_spacing="trailing"
    )
    draws = [
        torch.randn(x.shape, generator=torch.Generator().manual_seed(k), dtype=torch.float64) for k in range(steps)
    ]
    scheduler.set_timesteps(steps)
    theirs, state = [], x
    for k, t in enumerate(scheduler.timesteps):
        output = Wavy()(state, torch.full((2,), float(t)))
        noise = {"variance_noise": draws[k]} if eta else {}
        state = scheduler.step(output, t, state, eta=eta, **noise).prev_sample
        theirs.append(state)
    ours = run_ours(config, DDIM(eta=eta), steps, x, lambda k, purpose, draw: draws[k])
    # their ᾱ are float32 products of up to 1000 factors; at the cosine chain's end ᾱ is only 2e-9
    scale = max(float(state.abs().max()) for state in ours)
    for mine, other in zip(ours, theirs, strict=True):
        assert float((mine - other).abs().max()) < 2e-3 * scale


@pytest.mark.parametrize(("variance", "ours"), [("fixed_small", "small"), ("fixed_large", "large")])
def test_ddpm_over_the_whole_chain(variance: str, ours: str) -> None:
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scheduler = DDPMScheduler(num_train_timesteps=1000, variance_type=variance, clip_sample=False)
    theirs = run_diffusers(scheduler, 1000, x, generator=torch.Generator().manual_seed(5))
    draws = torch.Generator().manual_seed(5)  # its order of draws is ours: one a step, none at the last
    mine = run_ours(
        LinearBeta(),
        DDIM(1.0, ours),
        1000,
        x,
        lambda k, p, draw: torch.randn(x.shape, generator=draws, dtype=torch.float64),
    )
    scale = max(float(state.abs().max()) for state in mine)
    for state, other in zip(mine, theirs, strict=True):
        assert float((state - other).abs().max()) < 1e-4 * scale


def test_their_linspace_spacing_is_biased_and_ours_is_not() -> None:
    """The number in this file's docstring: start from the true marginal, exact ε, 7 steps."""
    config = LinearBeta()
    schedule = config.build()
    scheduler = DDIMScheduler(
        num_train_timesteps=1000, beta_schedule="linear", clip_sample=False, timestep_spacing="linspace"
    )
    scheduler.set_timesteps(7)
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    x = torch.tensor([[alpha_bar[-1] ** 0.5 * 0.5]], dtype=torch.float64)  # the mean of x_1
    for t in scheduler.timesteps:
        a = float(alpha_bar[int(t)])
        clean = 0.5 + a**0.5 * 0.09 / (a * 0.09 + 1 - a) * (x - a**0.5 * 0.5)
        x = scheduler.step((x - a**0.5 * clean) / (1 - a) ** 0.5, t, x).prev_sample
    assert float(x) == pytest.approx(0.477, abs=1e-3)

    def clean_of(x: torch.Tensor, t) -> torch.Tensor:
        return 0.5 + t.alpha * 0.09 / (t.alpha**2 * 0.09 + t.sigma**2) * (x - t.alpha * 0.5)

    start = torch.tensor([[0.5 * float(schedule.alpha(torch.ones(1, dtype=torch.float64)))]], dtype=torch.float64)
    ours = sample(FunctionDenoiser(clean_of, schedule), DDIM(), snap(uniform(7), 1000), start)
    assert float(ours) == pytest.approx(0.5, abs=1e-12)

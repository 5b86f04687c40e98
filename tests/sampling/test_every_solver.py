"""Every solver by its name, with the grid it takes by itself, on every kind of schedule."""

import pytest
import torch

from sumi.denoising.denoiser import FunctionDenoiser
from sumi.denoising.exact import gaussian_denoiser
from sumi.errors import InputError
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.continuous import VP, Cosine, Flow, SubVP
from sumi.process.exploding import EDM, VE, Ladder
from sumi.process.schedule import DATA, level
from sumi.randomness import Purpose, SampleNoise
from sumi.sampling.sample import sample
from sumi.sampling.sampler import build_method
from sumi.sampling.solvers import SOLVERS
from tests.oracles import GaussianTarget

CONFIGS = (LinearBeta(), CosineBeta(), VP(), SubVP(), Cosine(), Flow(), VE(), EDM(), Ladder())
SCHEDULES = {config.name: config.build() for config in CONFIGS}
GAUSS = GaussianTarget(0.5, 0.3)


class Draws:
    """Noise that counts how often it is asked for."""

    def __init__(self, count: int) -> None:
        self.noise, self.drawn = SampleNoise(1, range(count), (1,), dtype=torch.float64), 0

    def __call__(self, step: int, purpose: Purpose, draw: int = 0) -> torch.Tensor:
        self.drawn += 1
        return self.noise(step, purpose, draw)


@pytest.mark.parametrize(
    ("name", "schedule"), [(n, s) for n in SOLVERS for s in SCHEDULES if n != "langevin" or s == "ladder"]
)
def test_ends_at_the_data(name: str, schedule: str) -> None:
    """40 steps. A solver that draws no noise ends within 0.02 (DDIM, of first order: 0.12) of where the ODE of
    N(0.5, 0.3²) leads from each start; one that does, with mean and deviation of 400 samples within 0.1 (their own
    standard error is 0.015). Annealed Langevin is on its own ladder only: 40 levels from σ̂ = 157 down are too
    far apart for it.
    """
    process, steps = SCHEDULES[schedule], 10 if name == "langevin" else 40
    method = build_method(name, steps, process, data_std=0.3)
    end = level(process, 1.0)
    mean, variance = GAUSS.marginal(end)
    z = SampleNoise(0, range(400), (1,), dtype=torch.float64)(0, Purpose.START)
    x, noise = mean + variance**0.5 * z, Draws(400)
    got = sample(gaussian_denoiser(0.5, 0.3, process), method.solver, method.times, x, noise)
    if noise.drawn:
        assert float(got.mean()) == pytest.approx(0.5, abs=0.1)
        assert float(got.std()) == pytest.approx(0.3, abs=0.1)
    else:
        assert float((got - GAUSS.flow(x, end, DATA)).abs().max()) < (0.12 if name == "ddim" else 0.02)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", SOLVERS)
def test_one_and_two_steps_are_steps_too(name: str, schedule: str) -> None:
    for steps in (1, 2, 3):
        method = build_method(name, steps, SCHEDULES[schedule], data_std=0.3)
        x = torch.full((2, 1), 0.7, dtype=torch.float64)
        assert bool(
            sample(gaussian_denoiser(0.5, 0.3, SCHEDULES[schedule]), method.solver, method.times, x, Draws(2))
            .isfinite()
            .all()
        )


@pytest.mark.parametrize("name", SOLVERS)
def test_what_a_network_of_a_chain_does_not_know_is_refused(name: str) -> None:
    """Off the grid: refused by name; on it: only times of the chain are asked for."""
    schedule, asked = SCHEDULES["linear"], []
    if SOLVERS[name].off_grid:
        with pytest.raises(InputError, match=rf"^--solver {name}: {name} evaluates between the times"):
            build_method(name, 7, schedule, grid=1000)
        return
    method = build_method(name, 7, schedule, grid=1000)
    exact = gaussian_denoiser(0.5, 0.3, schedule)
    listening = FunctionDenoiser(lambda x, t: asked.append(t.t) or exact.f(x, t), schedule, exact.clean_variance)
    sample(listening, method.solver, method.times, torch.zeros(1, 1, dtype=torch.float64), Draws(1))
    assert {round(t * 1000, 9) % 1 for t in asked} == {0.0}

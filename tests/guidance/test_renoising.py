"""CFG++ on a mixture whose classes are known: the paper's step, what it is in terms of a scale, and its ends."""

import pytest
import torch

from sumi.errors import InputError
from sumi.guidance.extrapolation import Extrapolation, Interval
from sumi.guidance.renoising import PlusPlus, UnguidedNoise, renoised_unguided
from sumi.guidance.thresholding import StaticThreshold
from sumi.process.schedule import DATA, Schedule, noise_level, noise_ratio
from sumi.randomness import SampleNoise
from sumi.sampling.sample import sample
from sumi.sampling.solvers import SOLVERS
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.solver import StepNoise
from tests.labelled_mixture import OF_CLASS, POINTS, SCHEDULES, mixture

GRID = torch.linspace(0.95, 0, 9, dtype=torch.float64)
CONVERGING = [name for name, solver in SOLVERS.items() if solver.order]
NOISE = SampleNoise(3, range(16), (2,), torch.float64)


def plus_plus(schedule: Schedule, share: float, interval: Interval | None = None) -> PlusPlus:
    return PlusPlus(mixture(schedule, OF_CLASS), mixture(schedule), share, interval or Interval())


@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_step_of_ddim_is_the_papers_and_guidance_by_a_scale_of_its_own(schedule: Schedule, share: float) -> None:
    """To 1e-10: denoised with guidance and renoised without; and w = λ/(1 - σ̂_s/σ̂_t), in a step to the data λ."""
    t = noise_level(schedule, 0.7)
    for s in (noise_level(schedule, 0.4), DATA):
        x = POINTS * (t.alpha**2 + t.sigma**2) ** 0.5
        made, _ = UnguidedNoise(DDIM()).step(plus_plus(schedule, share), x, t, s, None, StepNoise(None, 0))
        worse, better = mixture(schedule)(x, t), mixture(schedule, OF_CLASS)(x, t)
        clean = worse.clean + share * (better.clean - worse.clean)
        torch.testing.assert_close(made, s.alpha * clean + s.sigma * worse.noise, rtol=0, atol=1e-10)
        scale = share / (1 - noise_ratio(s) / noise_ratio(t))
        plain = Extrapolation(mixture(schedule, OF_CLASS), mixture(schedule), scale)
        expected, _ = DDIM().step(plain, x, t, s, None, StepNoise(None, 0))
        torch.testing.assert_close(made, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", CONVERGING)
def test_every_solver_steps_without_guidance_and_is_moved_once(name: str) -> None:
    """The first step to the bit; without λ all steps are those of the worse denoiser."""
    schedule, solver = SCHEDULES["vp"], SOLVERS[name]
    if name == "ddpm_learned":
        pytest.skip("an extrapolation has no variance")
    two = GRID[:2]
    t, s = (noise_level(schedule, float(v)) for v in two)
    one = sample(mixture(schedule), solver, two, POINTS, NOISE)
    first = SOLVERS[name].off_grid  # Churn evaluates at another level, and others elsewhere
    made = sample(plus_plus(schedule, 0.6), UnguidedNoise(solver), two, POINTS, NOISE)
    if not first:
        shift = mixture(schedule, OF_CLASS)(POINTS, t).clean - mixture(schedule)(POINTS, t).clean
        torch.testing.assert_close(made, one + 0.6 * s.alpha * shift, rtol=0, atol=1e-12)
    assert not torch.allclose(made, one)
    nothing = sample(plus_plus(schedule, 0.0), UnguidedNoise(solver), GRID, POINTS, NOISE)
    assert torch.equal(nothing, sample(mixture(schedule), solver, GRID, POINTS, NOISE))


def test_outside_of_the_interval_the_better_one_is_alone() -> None:
    schedule, never = SCHEDULES["vp"], Interval(1e6)
    made = sample(plus_plus(schedule, 0.6, never), UnguidedNoise(Adams()), GRID, POINTS)
    assert torch.equal(made, sample(mixture(schedule, OF_CLASS), Adams(), GRID, POINTS))
    times = torch.tensor([0.9, 0.1], dtype=torch.float64)
    both = plus_plus(schedule, 0.6, Interval(1.0))(POINTS[:2], times)
    torch.testing.assert_close(both.unguided[0], mixture(schedule)(POINTS[:1], 0.9).clean[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(both.clean[1], mixture(schedule, OF_CLASS)(POINTS[1:2], 0.1).clean[0])


def test_a_threshold_is_of_both() -> None:
    """So that without λ samples are those of the worse denoiser under its threshold."""
    schedule = SCHEDULES["vp"]
    found = StaticThreshold(plus_plus(schedule, 0.5), -0.1, 0.1)(POINTS, 0.3)
    assert float(found.clean.abs().max()) == float(found.unguided.abs().max()) == 0.1


def test_with_more_steps_it_does_not_come_near_to_anything() -> None:
    """The first coordinate's mean goes on rising, by more than 0.05 each time; so the order is 0."""
    schedule, means = SCHEDULES["vp"], []
    for steps in (10, 40, 160):
        grid = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
        means.append(float(sample(plus_plus(schedule, 0.6), UnguidedNoise(DDIM()), grid, POINTS)[:, 0].mean()))
    assert means[1] - means[0] > 0.05 < means[2] - means[1], means
    assert UnguidedNoise(Adams()).order == 0


def test_what_follows_no_ode_is_refused() -> None:
    with pytest.raises(InputError, match=r"^guidance.method: cfg\+\+ changes the steps .*, and langevin is none"):
        renoised_unguided("langevin", SOLVERS["langevin"])

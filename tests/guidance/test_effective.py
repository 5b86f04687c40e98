"""The effective scale on a mixture whose classes are known, and scales that are fitted to one."""

from math import inf

import pytest
import torch

from sumi.guidance.effective import Measured, Strength, calibrated
from sumi.guidance.extrapolation import Extrapolation, Interval
from sumi.guidance.projection import Projected
from sumi.guidance.renoising import PlusPlus, UnguidedNoise
from sumi.process.schedule import DATA, noise_level, noise_ratio
from sumi.sampling.sample import sample
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.solver import StepNoise
from sumi.sampling.time_grid import TIME_GRIDS
from tests.labelled_mixture import OF_CLASS, POINTS, SCHEDULES, Counted, mixture

SCHEDULE = SCHEDULES["vp"]
PAIR = mixture(SCHEDULE, OF_CLASS), mixture(SCHEDULE)
TIMES = TIME_GRIDS["log_ratio"](SCHEDULE, 15, 0.5)


def measured(guided, solver) -> tuple[float, torch.Tensor]:
    probe = Measured(solver, *PAIR)
    made = sample(guided, probe, TIMES, POINTS)
    return probe.strength.scale, made


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5, 7.0])
def test_that_of_classifier_free_guidance_is_its_own(scale: float) -> None:
    """And measuring changes no sample, and evaluates the guided denoiser no more often."""
    counted = Counted(Extrapolation(*PAIR, scale))
    found, made = measured(counted, Adams())
    assert found == pytest.approx(scale, abs=1e-10)
    assert counted.count == len(TIMES) - 1
    assert torch.equal(made, sample(Extrapolation(*PAIR, scale), Adams(), TIMES, POINTS))


def test_of_one_step_of_cfg_plus_plus_it_is_the_scale_that_ddim_would_have() -> None:
    t = noise_level(SCHEDULE, 0.7)
    for s in (noise_level(SCHEDULE, 0.4), DATA):
        probe = Measured(UnguidedNoise(DDIM()), *PAIR)
        probe.step(PlusPlus(*PAIR, 0.3), POINTS, t, s, None, StepNoise(None, 0))
        assert probe.strength.scale == pytest.approx(0.3 / (1 - noise_ratio(s) / noise_ratio(t)), rel=1e-10)


def test_steps_count_by_what_their_velocities_are_apart() -> None:
    """Of two steps, of which the first is guided by 5 and the second by 1: the mean, weighted by c ‖Δ‖²/(1 + σ̂²)."""
    t, s = noise_level(SCHEDULE, 0.7), noise_level(SCHEDULE, 0.4)
    probe, better, worse = Measured(DDIM(), *PAIR), *PAIR
    x, weights = POINTS, []
    for scale, now, then in ((5.0, t, s), (1.0, s, DATA)):
        square = float((better(x, now).clean - worse(x, now).clean).square().sum())
        weights.append((1 - noise_ratio(then) / noise_ratio(now)) * square / (1 + noise_ratio(now) ** 2))
        x, _ = probe.step(Extrapolation(*PAIR, scale), x, now, then, None, StepNoise(None, 0))
    wanted = (5 * weights[0] + weights[1]) / sum(weights)
    assert probe.strength.scale == pytest.approx(wanted, rel=1e-10)


def test_an_interval_and_a_projection_guide_less_than_they_say() -> None:
    for guided in (
        Extrapolation(*PAIR, 4.0, Interval(0.3, 1.0)),
        Projected(*PAIR, 4.0),
        Projected(*PAIR, 4.0, parallel=1.0, momentum=-0.5),
    ):
        assert 1 < measured(guided, Adams())[0] < 3.9


@pytest.mark.parametrize("wanted", [1.5, 3.0])
def test_scales_are_fitted_to_what_is_wanted(wanted: float) -> None:
    """To 2 %, of an interval, a projection with momentum, and CFG++; a limit is kept."""

    def interval(scale: float) -> float:
        return measured(Extrapolation(*PAIR, scale, Interval(0.3, 3.0)), Adams())[0]

    def projection(scale: float) -> float:
        return measured(Projected(*PAIR, scale, parallel=0.5, momentum=-0.5), Adams())[0]

    def plus_plus(share: float) -> float:
        return measured(PlusPlus(*PAIR, share), UnguidedNoise(DDIM()))[0]

    for measure, first, none, most in (
        (interval, wanted, 1.0, inf),
        (projection, wanted, 1.0, inf),
        (plus_plus, 0.3, 0.0, inf),
    ):
        assert measure(calibrated(measure, wanted, first, none, most)) == pytest.approx(wanted, rel=0.021)
    assert calibrated(plus_plus, 1000.0, 0.3, 0.0, 1.0) == 1.0
    tried: list[float] = []
    halved = calibrated(lambda scale: tried.append(scale) or 1 + (scale - 1) / 2, 3.0, 2.0, 1.0, inf)
    assert (halved, tried) == (5.0, [2.0, 5.0])  # above none it is in proportion, and found at once
    assert calibrated(lambda _: 1.0, wanted, 2.0, 1.0, inf) == 2.0


def test_what_cannot_be_guided_counts_as_not_guided() -> None:
    assert Strength().scale == 1

"""Adaptive projected guidance on a mixture whose classes are known, against the paper's algorithm."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.guidance.extrapolation import Extrapolation
from sumi.guidance.projection import Projected
from sumi.process.schedule import Schedule
from tests.labelled_mixture import OF_CLASS, POINTS, SCHEDULES, mixture

TIMES = [0.9, 0.6, 0.3, 0.1]


def projected(schedule: Schedule, scale: float, *numbers: float | None) -> Projected:
    parallel, norm, momentum = numbers
    own = {"parallel": parallel, "norm": norm, "momentum": momentum}
    return Projected(mixture(schedule, OF_CLASS), mixture(schedule), scale, **own)


def by_the_paper(
    better: Tensor, worse: Tensor, scale: float, parallel: float, norm: float | None, before: Tensor, momentum: float
) -> tuple[Tensor, Tensor]:
    """Algorithm 1 of one sample: x̂_0, and the difference that is remembered."""
    change = better - worse + momentum * before
    kept = change.clone()
    if norm is not None:
        change = change * min(1.0, norm / float(np.linalg.norm(change)))
    axis = better / float(np.linalg.norm(better))
    along = float(change @ axis) * axis
    return better + (scale - 1) * (change - along + parallel * along), kept


@pytest.mark.parametrize("numbers", [(0.0, None, 0.0), (0.4, None, -0.5), (0.0, 0.2, -0.75), (1.0, 0.1, 0.3)])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_projections_are_what_the_formula_says(schedule: Schedule, numbers: tuple) -> None:
    """To 1e-10 along a walk towards the data, on which Δ is remembered."""
    denoiser = projected(schedule, 6.0, *numbers)
    better, worse, before = mixture(schedule, OF_CLASS), mixture(schedule), torch.zeros_like(POINTS)
    parallel, norm, momentum = numbers
    for t in TIMES:
        found, one, other = (d(POINTS, t).clean for d in (denoiser, better, worse))
        rows = [
            by_the_paper(a, b, 6.0, parallel, norm, last, momentum)
            for a, b, last in zip(one, other, before, strict=True)
        ]
        expected, before = (torch.stack(part) for part in zip(*rows, strict=True))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_all_of_the_part_along_and_no_momentum_is_guidance_to_the_bit() -> None:
    schedule = SCHEDULES["vp"]
    plain = Extrapolation(mixture(schedule, OF_CLASS), mixture(schedule), 4.0)
    assert torch.equal(projected(schedule, 4.0, 1.0, None, 0.0)(POINTS, 0.5).clean, plain(POINTS, 0.5).clean)
    alone = projected(schedule, 1.0, 0.0, 0.1, -0.5)(POINTS, 0.5).clean
    assert torch.equal(alone, mixture(schedule, OF_CLASS)(POINTS, 0.5).clean)


def test_what_is_added_is_at_right_angles_to_the_picture_and_no_longer_than_is_allowed() -> None:
    schedule = SCHEDULES["vp"]
    better = mixture(schedule, OF_CLASS)(POINTS, 0.5).clean
    added = projected(schedule, 3.0, 0.0, None, 0.0)(POINTS, 0.5).clean - better
    torch.testing.assert_close((added * better).sum(1), torch.zeros(16).double(), rtol=0, atol=1e-12)
    plain = 2 * (better - mixture(schedule)(POINTS, 0.5).clean)
    short = projected(schedule, 3.0, 1.0, 0.05, 0.0)(POINTS, 0.5).clean - better
    torch.testing.assert_close(short.norm(dim=1), plain.norm(dim=1).clamp(max=0.1), rtol=1e-12, atol=0)


def test_momentum_is_forgotten_where_the_noise_rises_and_of_each_sample_by_itself() -> None:
    schedule = SCHEDULES["vp"]
    denoiser = projected(schedule, 3.0, 1.0, None, -0.5)
    first = denoiser(POINTS, 0.8).clean
    assert not torch.equal(denoiser(POINTS, 0.8).clean, first)  # a second evaluation at a level goes on
    assert not torch.equal(denoiser(POINTS, 0.2).clean, projected(schedule, 3.0, 1.0, None, -0.5)(POINTS, 0.2).clean)
    assert torch.equal(denoiser(POINTS, 0.8).clean, first)
    few = projected(schedule, 3.0, 1.0, None, -0.5)(POINTS[:4], 0.5).clean
    assert torch.equal(denoiser(POINTS[:4], 0.5).clean, few)  # of other samples
    each = torch.tensor([0.6, 0.4, 0.6, 0.4], dtype=torch.float64)
    made = denoiser(POINTS[:4], each).clean
    anew = projected(schedule, 3.0, 1.0, None, -0.5)(POINTS[:4], each).clean
    assert torch.equal(made[0::2], anew[0::2])
    assert not torch.isclose(made[1::2], anew[1::2]).all()


def test_momentum_remembers_numbers_and_no_graph() -> None:
    """Where restoration differentiates each evaluation, that of the one before is let go."""
    denoiser = projected(SCHEDULES["vp"], 3.0, 1.0, None, -0.5)
    for t in TIMES:
        x = POINTS.clone().requires_grad_()
        found = denoiser(x, t).clean
        assert not denoiser.memory.difference.requires_grad
        (slope,) = torch.autograd.grad(found.sum(), x)
        alone = Extrapolation(denoiser.better, denoiser.worse, 3.0)(x, t).clean
        torch.testing.assert_close(slope, torch.autograd.grad(alone.sum(), x)[0], rtol=0, atol=1e-12)


def test_in_many_steps_the_difference_is_divided_by_1_minus_momentum() -> None:
    schedule = SCHEDULES["flow"]
    denoiser = projected(schedule, 2.0, 1.0, None, -0.5)
    for _ in range(60):
        found = denoiser(POINTS, 0.5).clean
    expected = Extrapolation(denoiser.better, denoiser.worse, 1 + 1 / 1.5)(POINTS, 0.5).clean
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_picture_of_nothing_has_no_part_along_it() -> None:
    schedule = SCHEDULES["vp"]
    denoiser, nothing = projected(schedule, 3.0, 0.0, None, 0.0), torch.zeros(2, 3).double()
    assert torch.equal(denoiser.difference(nothing, nothing - 1, None), nothing + 1)


@pytest.mark.parametrize(
    ("numbers", "answer"),
    [
        ((1.1, None, 0.0), r"guidance.parallel: 1.1 is not between 0"),
        ((0.0, 0.0, 0.0), "guidance.norm: 0 is not positive"),
        ((0.0, None, -1.0), "guidance.momentum: -1 is not between -1 and 1"),
    ],
)
def test_numbers_that_cannot_be_are_refused(numbers: tuple, answer: str) -> None:
    with pytest.raises(InputError, match=answer):
        projected(SCHEDULES["vp"], 2.0, *numbers)

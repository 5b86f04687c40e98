"""The sampling loop refuses what it cannot take in one line, and leaves the states of a sampler to the sampler."""

import pytest
import torch
from torch import Tensor

import sumi
from sumi.errors import InputError
from sumi.process.schedule import NoiseLevel

DENOISER = sumi.FunctionDenoiser(lambda x_t, level: 0.3 * x_t, sumi.schedules.VP().build())
TIMES = sumi.time_grids.uniform(5)


@pytest.mark.parametrize(
    ("denoiser", "solver", "message"),
    [
        (DENOISER, "ddim", "solver: 'ddim' is no solver"),
        (DENOISER, sumi.solvers.DDIM, "solver: <class .* is no solver"),
        (lambda x_t, t: x_t, sumi.solvers.DDIM(), "denoiser: .* has no schedule; give sumi.FunctionDenoiser"),
    ],
)
def test_what_cannot_be_sampled_is_refused_in_one_line(denoiser: object, solver: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sumi.sample(denoiser, solver, TIMES, torch.ones(2, 3))  # pyrefly: ignore[bad-argument-type]


def test_a_function_that_changes_its_x_t_samples_as_one_that_does_not() -> None:
    def in_place(x_t: Tensor, _: NoiseLevel) -> Tensor:
        return x_t.mul_(0.3)

    x = torch.linspace(-1, 1, 6).reshape(2, 3)
    made = [
        sumi.sample(denoiser, sumi.solvers.Adams(), TIMES, x)
        for denoiser in (DENOISER, sumi.FunctionDenoiser(in_place, DENOISER.schedule))
    ]
    assert torch.equal(*made)

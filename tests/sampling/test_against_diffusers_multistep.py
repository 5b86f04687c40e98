"""DPM-Solver++ and UniPC step by step against diffusers 0.42, where it is right; and two numbers where it is not.

Both see the same exact denoiser on the same noise levels: ours in float64 are put in place of its float32 ones. UniPC
and singlestep then agree to float64's rounding; multistep rounds x to float32 in every step. What their schedulers do
not share with our pure steps, which do not know how many are to come, is the order of the last ones: diffusers takes
the step before the last at order 2 where the solver has order 3 ("lower_order_final").

Its third-order multistep has half of the second difference's coefficient (D2 lacks the factor 2 that its singlestep one
has), so it converges at second order; its stochastic third order has a wrong sign besides (-0.5 for +0.5). Its UniPC
with bh1 ends with NaN at σ = 0 (∞ · 0).
"""

from itertools import pairwise
from math import exp, log

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, DPMSolverSinglestepScheduler, UniPCMultistepScheduler
from torch import Tensor

from sumi.denoising.denoiser import FunctionDenoiser
from sumi.process.continuous import VP
from sumi.process.schedule import noise_levels
from sumi.sampling.sample import sample
from sumi.sampling.solvers.dpm_solver import DPMSolverMultistep, DPMSolverSinglestep
from sumi.sampling.solvers.unipc import UniPC
from sumi.sampling.time_grid import TIME_GRIDS
from tests.convergence import errors, orders
from tests.oracles import MIXTURE

SCHEDULE = VP().build()
X = torch.from_numpy(np.random.default_rng(3).standard_normal((4, 2)))
FLOAT32 = 3e-6  # of states around 1, after up to 50 roundings of 6e-8


def theirs(scheduler, times: Tensor, x: Tensor, draws=None) -> list[Tensor]:
    """The states of a diffusers scheduler, at our noise levels."""
    walk = list(noise_levels(SCHEDULE, times))
    scheduler.set_timesteps(len(walk) - 1)
    ends = [0.0 if t.t == 0 else exp(-t.log_snr / 2) for t in walk]
    scheduler.sigmas = torch.tensor(ends, dtype=torch.float64)
    scheduler.timesteps = torch.arange(len(walk) - 1, 0, -1)
    states = []
    for k, t in enumerate(walk[:-1]):
        options = {} if draws is None else {"variance_noise": draws[k]}
        x = scheduler.step(MIXTURE.clean(x, t), scheduler.timesteps[k], x, **options).prev_sample
        states.append(x)
    return states


def ours(solver, times: Tensor, x: Tensor, draws=None) -> list[Tensor]:
    states: list[Tensor] = []
    denoiser = FunctionDenoiser(MIXTURE.clean, SCHEDULE)
    noise = None if draws is None else lambda k, purpose, draw: draws[k]
    sample(denoiser, solver, times, x, noise, lambda k, s, x: states.append(x))
    return states


def distance(mine: list[Tensor], others: list[Tensor]) -> float:
    return float(torch.stack([a - b for a, b in zip(mine, others, strict=True)]).abs().max())


def grid(name: str, steps: int) -> Tensor:
    return TIME_GRIDS[name](SCHEDULE, steps, 0.5)


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 30])
@pytest.mark.parametrize("name", ["uniform", "log_snr"])
@pytest.mark.parametrize(
    ("order", "solver_type", "slope"), [(1, "midpoint", "bh2"), (2, "midpoint", "bh2"), (2, "heun", "exact")]
)
def test_multistep(name: str, steps: int, order: int, solver_type: str, slope) -> None:
    scheduler = DPMSolverMultistepScheduler(solver_order=order, solver_type=solver_type, prediction_type="sample")
    times = grid(name, steps)
    assert distance(ours(DPMSolverMultistep(order, slope=slope), times, X), theirs(scheduler, times, X)) < FLOAT32


@pytest.mark.parametrize("steps", [2, 9, 30])
@pytest.mark.parametrize(
    ("order", "solver_type", "slope"), [(1, "midpoint", "bh2"), (2, "midpoint", "bh2"), (2, "heun", "exact")]
)
def test_stochastic_multistep(steps: int, order: int, solver_type: str, slope) -> None:
    scheduler = DPMSolverMultistepScheduler(
        solver_order=order, solver_type=solver_type, prediction_type="sample", algorithm_type="sde-dpmsolver++"
    )
    draws = list(torch.from_numpy(np.random.default_rng(4).standard_normal((steps, 4, 2))))
    times = grid("log_snr", steps)
    solver = DPMSolverMultistep(order, eta=1.0, slope=slope)
    assert distance(ours(solver, times, X, draws), theirs(scheduler, times, X, draws)) < FLOAT32


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6, 7, 30, 31, 32])
@pytest.mark.parametrize("name", ["uniform", "log_snr"])
@pytest.mark.parametrize(
    ("order", "solver_type", "slope"), [(2, "midpoint", "bh2"), (2, "heun", "exact"), (3, "heun", "exact")]
)
def test_singlestep(name: str, steps: int, order: int, solver_type: str, slope) -> None:
    """Its list of orders, made for a number of steps that is known, is what ours come to, for every remainder."""
    scheduler = DPMSolverSinglestepScheduler(
        solver_order=order, solver_type=solver_type, prediction_type="sample", lower_order_final=True
    )
    times = grid(name, steps)
    assert distance(ours(DPMSolverSinglestep(order, slope), times, X), theirs(scheduler, times, X)) < 1e-11


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 30])
@pytest.mark.parametrize("name", ["uniform", "log_snr"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("slope", ["bh1", "bh2"])
def test_unipc(name: str, steps: int, order: int, slope) -> None:
    scheduler = UniPCMultistepScheduler(
        solver_order=order, solver_type=slope, prediction_type="sample", lower_order_final=True
    )
    times = grid(name, steps)
    mine, others = ours(UniPC(order, slope), times, X), theirs(scheduler, times, X)
    same = steps
    if slope == "bh1":
        assert others[-1].isnan().all()
        same = steps - 1
    if order == 3 and steps > 3:
        same = steps - 2  # their step before the last is of order 2
    # their φ, by recurrence upwards, lose up to five digits in the short steps
    assert same == 0 or distance(mine[:same], others[:same]) < 1e-10


THIRD = {"solver_order": 3, "prediction_type": "sample", "lower_order_final": False, "final_sigmas_type": "sigma_min"}


def test_their_third_order_multistep_is_of_second_order() -> None:
    """In steps so long that their float32 hides nothing, on a grid even in λ and after two exact steps for both."""
    steps, found = (40, 80), []
    x = X * 0.6
    times = {n: SCHEDULE.time(torch.linspace(0.0, -2 * log(0.3), n + 1, dtype=torch.float64)) for n in steps}
    for n in steps:
        walk = list(noise_levels(SCHEDULE, times[n]))
        scheduler = DPMSolverMultistepScheduler(**THIRD)
        scheduler.set_timesteps(n)
        scheduler.sigmas = torch.tensor([exp(-t.log_snr / 2) for t in walk], dtype=torch.float64)
        scheduler.timesteps = torch.arange(n, 0, -1)
        at = x
        for k, (t, s) in enumerate(pairwise(walk)):
            after = scheduler.step(MIXTURE.clean(at, t), scheduler.timesteps[k], at).prev_sample
            at = MIXTURE.flow(at, t, s) if k < 2 else after
        found.append(float((at - MIXTURE.flow(x, walk[0], walk[-1])).abs().max()))
    assert orders(steps, found) == [pytest.approx(2, abs=0.15)]
    mine = errors(MIXTURE.denoiser(SCHEDULE), DPMSolverMultistep(3), times.get, steps, x, MIXTURE.flow, 2)
    assert orders(steps, mine) == [pytest.approx(3, abs=0.15)]
    assert (mine[1], found[1]) == (pytest.approx(2.0e-6, rel=0.05), pytest.approx(1.95e-5, rel=0.05))


@pytest.mark.parametrize(
    ("algorithm", "eta", "theirs"),
    [
        ("dpmsolver++", 0.0, 0.5 * (1 - 4 * (1 - 2 * (1 - exp(-0.5))))),  # half of E_2 at y = 0.5
        ("sde-dpmsolver++", 1.0, (1 - exp(-1.0) - 1) - 0.5),  # -0.868 where E_2 is 0.264
    ],
)
def test_the_weights_of_the_second_difference_in_their_third_order_step(algorithm: str, eta, theirs: float) -> None:
    """Three even steps of h = 0.5; D2 = (D_0 - 2 D_1 + D_2)/2 of the evaluations. All else is the same."""
    walk = list(noise_levels(SCHEDULE, SCHEDULE.time(2 * torch.tensor([0.0, 0.5, 1.0, 1.5], dtype=torch.float64))))
    scheduler = DPMSolverMultistepScheduler(algorithm_type=algorithm, **THIRD)
    scheduler.set_timesteps(3)
    scheduler.sigmas = torch.tensor([exp(-t.log_snr / 2) for t in walk], dtype=torch.float64)
    values = [torch.tensor([[v]], dtype=torch.float64) for v in (0.3, -0.4, 0.9)]
    x = mine = after = torch.zeros(1, 1, dtype=torch.float64)
    for k, value in enumerate(values):
        after = scheduler.step(value, scheduler.timesteps[k], x, variance_noise=x).prev_sample
    outputs = iter(values)
    denoiser = FunctionDenoiser(lambda x, t: next(outputs), SCHEDULE)
    solver, state = DPMSolverMultistep(3, eta=eta), ()
    for t, s in pairwise(walk):
        mine, state = solver.step(denoiser, x, t, s, state, lambda purpose: x)
    y = 0.5 * (1 + eta)
    exact = 1 - 2 / y * (1 - (1 - exp(-y)) / y)
    difference = (values[2] - 2 * values[1] + values[0]) / 2
    torch.testing.assert_close(mine - after, walk[-1].alpha * (exact - theirs) * difference, rtol=1e-10, atol=0)

"""The laws of models of few steps, on data whose ODE is known: N(m, s²) in closed form, a mixture by integration."""

from dataclasses import replace
from itertools import pairwise, product
from math import log2
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sumi.conditioning.condition import Condition
from sumi.data.batch import Batch, batch_of
from sumi.data.vectors import VectorDataset
from sumi.denoising.denoiser import Denoised, FunctionDenoiser, NetworkDenoiser
from sumi.denoising.parameterization import (
    PredictBoundedClean,
    PredictBoundedNoise,
    PredictClean,
    PredictFlow,
    PredictNoise,
    PredictPreconditioned,
    PredictSmoothFlow,
    PredictVelocity,
)
from sumi.networks.condition import NetworkCondition
from sumi.networks.dropout import Dropout, masks_by_position, masks_repeated
from sumi.objectives.consistency import ANCHOR, ConsistencyObjective, Gap, anchor_of, consistency_loss, pair_at
from sumi.objectives.direction import OfTeacher, carried
from sumi.objectives.mean_flow import MeanFlowObjective, Ways, along_path, mean_velocity
from sumi.objectives.progressive import ProgressiveObjective
from sumi.objectives.times import LogitNormalTimes, LogNormalTimes
from sumi.process.chain import LinearBeta
from sumi.process.continuous import VP, Cosine, Flow
from sumi.process.exploding import EDM
from sumi.process.gaussian import expand
from sumi.process.schedule import DATA, NoiseLevel, noise_level, noise_ratio
from sumi.randomness import Purpose
from sumi.sampling.sample import sample
from sumi.sampling.solvers import SOLVERS
from sumi.sampling.time_grid import LARGEST, log_ratio, uniform
from tests.oracles import MIXTURE, GaussianTarget, linear_probe

TARGET = GaussianTarget(0.4, 0.3)
SCHEDULES = {"flow": Flow().build(), "vp": VP().build(), "cosine": Cosine().build(), "edm": EDM().build()}
X = torch.from_numpy(np.random.default_rng(3).standard_normal((6, 2)))


def end_of(x_t: Tensor, t: NoiseLevel) -> Tensor:
    """The consistency function of N(m, s²): m + (x_t - alpha m) s/√(alpha² s² + sigma²)."""
    of_x = TARGET.std / (t.alpha**2 * TARGET.std**2 + t.sigma**2) ** 0.5
    return TARGET.mean + expand(of_x, x_t) * (x_t - expand(t.alpha, x_t) * TARGET.mean)


def exact_clean(x_t: Tensor, t: NoiseLevel) -> Tensor:
    level = NoiseLevel(*(expand(value, x_t) for value in t.columns().values()))
    return TARGET.clean(x_t, level)


class ExactFlow(nn.Module):
    """A network of two times that knows the mean velocity of N(m, s²) on the straight line."""

    def __init__(self) -> None:
        super().__init__()
        self.anything = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition) -> Tensor:
        assert condition.vector is not None
        t = (c_noise + 1)[:, None] / 1000
        s = t - condition.vector / 4
        variance_t, variance_s = ((1 - time) ** 2 * TARGET.std**2 + time**2 for time in (t, s))
        # x_t - x_s over t - s, without the difference of the two roots: right at s = t as well
        slope = ((t + s) * (1 + TARGET.std**2) - 2 * TARGET.std**2) / (variance_t.sqrt() + variance_s.sqrt())
        return (x - (1 - t) * TARGET.mean) * slope / variance_t.sqrt() - TARGET.mean + self.anything


class ExactClean(ExactFlow):
    """The same, as the x̂_0 that stands for it."""

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition) -> Tensor:
        return x - (c_noise + 1)[:, None] / 1000 * super().forward(x, c_noise, condition)


class MixtureFlow(nn.Module):
    """A network of two times that knows the mean velocity of `MIXTURE` on the straight line, by Runge-Kutta steps.

    The mean of the velocities over the way is (x_t - x_s)/(t - s), and v where s = t.
    """

    def __init__(self, steps: int = 80) -> None:
        super().__init__()
        self.steps = steps

    def clean(self, x: Tensor, t: Tensor) -> Tensor:
        """E[x_0 | x_t] of x (N, D) at t (N,): of two components, so that a sigmoid weighs them."""
        t = t[:, None]
        variance = (1 - t) ** 2 * MIXTURE.stds**2 + t**2
        offset = x[:, None] - (1 - t)[..., None] * MIXTURE.means
        log_density = MIXTURE.weights.log() - offset.square().sum(-1) / (2 * variance) - variance.log()
        each = MIXTURE.means + ((1 - t) * MIXTURE.stds**2 / variance)[..., None] * offset
        second = (log_density[:, 1:] - log_density[:, :1]).sigmoid()
        return (1 - second) * each[:, 0] + second * each[:, 1]

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        return (x - self.clean(x, t)) / t[:, None]

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition) -> Tensor:
        assert condition.vector is not None
        t, way = (c_noise + 1) / 1000, condition.vector[:, 0] / 4
        step, total = way / self.steps, torch.zeros_like(x)
        for k in range(self.steps):
            now, half = t - k * step, step[:, None] / 2
            first = self.velocity(x, now)
            second = self.velocity(x - half * first, now - step / 2)
            third = self.velocity(x - half * second, now - step / 2)
            fourth = self.velocity(x - 2 * half * third, now - step)
            mean = (first + 2 * second + 2 * third + fourth) / 6
            x, total = x - 2 * half * mean, total + mean / self.steps
        return total


class Same(nn.Module):
    def forward(self, span: Tensor) -> Tensor:
        return span[:, None]


def exact_flow() -> NetworkDenoiser:
    return NetworkDenoiser(ExactFlow(), SCHEDULES["flow"], PredictFlow(), span=Same())


def batch(n: int = 6) -> Batch:
    data = VectorDataset(X.float().numpy(), tuple(map(str, range(len(X)))))
    return batch_of(data, np.arange(n) % len(data), np.arange(n), step=3, seed=2)


def of_exact(x_t: Tensor, t: NoiseLevel, _x_0: Tensor, _: object) -> Tensor:
    return exact_clean(x_t, t)


# --- consistency


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_consistency_function_is_the_end_of_the_ode(schedule) -> None:
    """And one evaluation of it from t = 1, or several noised in between, make the data's mean and variance."""
    for t in (0.05, 0.4, 0.9):
        level = noise_level(schedule, t)
        assert torch.allclose(end_of(X, level), TARGET.flow(X, level, DATA), rtol=0, atol=1e-10)
    denoiser, (mean, variance) = FunctionDenoiser(end_of, schedule), TARGET.marginal(noise_level(schedule, 1.0))
    for steps in (1, 2, 4):
        found = linear_probe(denoiser, SOLVERS["consistency"], log_ratio(schedule, steps), mean, variance)
        assert found == pytest.approx((TARGET.mean, TARGET.std**2), rel=0, abs=1e-10)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_target_of_consistency_tuning_tends_to_the_exact_one_with_slope_one(schedule) -> None:
    """In units of the gap, its error falls with the gap to the first power; x_r follows the mean of the data."""
    t, gap, errors = torch.tensor([0.3, 0.5, 0.7], dtype=torch.float64), Gap(), []
    for stage in (8, 9, 10, 11):
        pair = pair_at(schedule, t, stage, gap)
        x_r = carried(X[:3], exact_clean(X[:3], pair.t), pair.t, pair.r)
        error = (end_of(x_r, pair.r) - end_of(X[:3], pair.t)).abs().amax(1) / pair.gap
        errors.append(float(error.max()))
    slopes = [log2(a / b) for a, b in pairwise(errors)]
    assert slopes[-1] == pytest.approx(1, abs=0.02)
    assert errors[-1] < 0.02
    exact = FunctionDenoiser(end_of, schedule)
    losses = [
        float(consistency_loss(exact, X[:3], exact_clean(X[:3], pair.t), pair).max())
        for pair in (pair_at(schedule, t, stage, gap) for stage in (8, 11))
    ]
    assert losses[1] < losses[0] / 6


def test_a_gap_is_the_share_of_its_stage_and_ends_at_the_data() -> None:
    gap, ratio = Gap(2.0, 2, 6), torch.tensor([1e-3, 0.5, 3.0, 80.0], dtype=torch.float64)
    n = 1 + 8 / (1 + ratio.exp())
    assert torch.allclose(gap.earlier(ratio, 5), (ratio * (1 - n / 32)).clamp(min=0))
    assert gap.earlier(ratio, 1)[:2].tolist() == [0, 0]
    assert [gap.stage(step, 100) for step in (1, 20, 21, 60, 61, 100)] == [2, 2, 3, 4, 5, 6]
    pair = pair_at(SCHEDULES["flow"], torch.tensor([0.001, 0.5, 1.0], dtype=torch.float64), 5, gap)
    assert pair.ends.tolist() == [True, False, False]
    noise = torch.tensor([0.001 / 0.999, 1.0, LARGEST], dtype=torch.float64)  # t = 1 has no end of its own
    assert torch.allclose(pair.gap, noise - torch.where(pair.ends, 0.0, gap.earlier(noise, 5)), rtol=1e-9)


def test_a_chain_is_asked_at_its_own_times_alone() -> None:
    t = torch.linspace(0.0004, 1, 50, dtype=torch.float64)
    pair = pair_at(LinearBeta().build(), t, 12, Gap(), 1000)
    for level in (pair.t, pair.r):
        steps = torch.as_tensor(level.t) * 1000
        assert torch.allclose(steps, steps.round(), rtol=0, atol=1e-9)
    assert torch.allclose(torch.as_tensor(pair.t.t) * 1000, (t * 1000).ceil(), rtol=0, atol=1e-9)  # each as often
    assert bool((torch.as_tensor(pair.r.t) < torch.as_tensor(pair.t.t))[~pair.ends].all())
    assert bool(pair.ends[0])


def test_the_earlier_neighbour_is_the_target_and_gets_no_gradient() -> None:
    """At the data the target is the data."""
    schedule = SCHEDULES["flow"]
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    denoiser = FunctionDenoiser(lambda x_t, t: weight * end_of(x_t, t), schedule)
    pair = pair_at(schedule, torch.tensor([0.0005, 0.5], dtype=torch.float64), 4, Gap())
    x_t, clean = X[:2], exact_clean(X[:2], pair.t)
    (found,) = torch.autograd.grad(consistency_loss(denoiser, x_t, clean, pair).sum(), weight)
    x_r = carried(x_t, clean, pair.t, pair.r)
    target = torch.stack([clean[0], 0.7 * end_of(x_r, pair.r)[1]])
    own = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    difference = own * end_of(x_t, pair.t) - target
    (wanted,) = torch.autograd.grad((difference.square().mean(1).sqrt() / pair.gap).sum(), own)
    assert torch.allclose(found, wanted, rtol=1e-6)


OF_ANY_SCHEDULE = (PredictNoise(), PredictBoundedNoise(), PredictVelocity(), PredictPreconditioned(0.5))


@pytest.mark.parametrize(
    ("parameterization", "data"),
    [
        *product(OF_ANY_SCHEDULE, [DATA]),
        *product((PredictFlow(), PredictSmoothFlow()), [noise_level(SCHEDULES["flow"], 0.0)]),  # its slopes are finite
    ],
)
def test_at_the_data_a_consistency_function_is_its_input(parameterization, data) -> None:
    """c_skip = 1 and c_out = 0, exactly, so f(x, 0) = x whatever the network says."""
    c = parameterization.coefficients(data)
    assert (float(c.c_skip), float(c.c_out)) == (1, 0)


@pytest.mark.parametrize(
    ("parameterization", "schedule"),
    [
        *product(OF_ANY_SCHEDULE, SCHEDULES.values()),
        *product((PredictFlow(), PredictSmoothFlow()), [SCHEDULES["flow"]]),
    ],
)
def test_near_the_data_a_consistency_function_leaves_its_input_as_the_noise_does(parameterization, schedule) -> None:
    """|c_out| = σ̂ + O(σ̂²) and |c_skip - 1| ≤ σ̂ + O(σ̂²), as α(x̂ - x_0) = σ ε.

    The second order has 1 of α = 1 - t on the straight line, and 1/s² = 4 of EDM's F.
    """
    for t in (1e-2, 1e-3, 1e-4):
        level = noise_level(schedule, t)
        c, ratio = parameterization.coefficients(level), noise_ratio(level)
        assert abs(abs(float(c.c_out)) - ratio) <= ratio**2
        assert abs(float(c.c_skip) - 1) <= ratio + 5 * ratio**2


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_bounded_noise_is_noise_with_enough_signal_and_counts_at_most_tenfold_without(schedule) -> None:
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    now = noise_level(schedule, t)
    c, plain = PredictBoundedNoise().coefficients(now), PredictNoise().coefficients(now)
    power = (torch.as_tensor(now.alpha) ** 2 + torch.as_tensor(now.sigma) ** 2).sqrt()
    enough = torch.as_tensor(now.alpha) / power > 0.1
    assert torch.allclose(torch.as_tensor(c.c_skip)[enough], torch.as_tensor(plain.c_skip)[enough], rtol=1e-12)
    assert torch.allclose(torch.as_tensor(c.c_out)[enough], torch.as_tensor(plain.c_out)[enough], rtol=1e-12)
    assert float(torch.as_tensor(c.c_out).abs().max()) <= 10 + 1e-9
    # all noise gives no data: ε̂ = x_t/sigma at alpha = 0
    end = NoiseLevel(1.0, 0.0, 1.0, -torch.inf, 0.0, 0.0)
    last = PredictBoundedNoise().coefficients(end)
    assert last.c_skip + last.c_out == pytest.approx(0, abs=1e-12)


def test_an_objective_of_consistency_passes_times_noise_and_direction() -> None:
    """The direction's loss at the exact function is that of the target's error, far below that of the data's way."""
    denoiser = exact_flow()
    objective = ConsistencyObjective(denoiser, LogNormalTimes(-1.1, 2.0), Gap(), 100, at_end=0.5)
    seen: list[Tensor] = []

    def direction(x_t: Tensor, t: NoiseLevel, x_0: Tensor, _: object) -> Tensor:
        seen.append(torch.as_tensor(t.t))
        return x_0

    objective.direction = direction
    first, again = objective(batch(64)), objective(batch(64))
    assert torch.equal(first, again)
    assert first.shape == (64,)
    assert bool(first.isfinite().all())
    assert 16 < int((seen[0] == 1).sum()) < 48


class Offset(nn.Module):
    """A network of x_0 that gives the end of the ODE, moved by as much at all levels."""

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(0.0, dtype=torch.float64))

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        return end_of(x, noise_level(SCHEDULES["flow"], (c_noise + 1) / 1000)) + self.by


def test_a_network_of_clean_data_cannot_move_away_from_them() -> None:
    """An offset that is the same at all levels costs something in over a tenth of the items, in the finest stage too.

    Without an anchor both neighbours have it, and their difference does not, but at the smallest σ̂ (0.8 %).
    """
    offset = Offset()
    denoiser = NetworkDenoiser(offset, SCHEDULES["flow"], PredictClean())
    objective = ConsistencyObjective(denoiser, LogNormalTimes(-1.1, 2.0), Gap(), 100, at_end=0.0)
    objective.direction = of_exact
    last = replace(batch(256), step=100)
    with torch.no_grad():
        exact = objective(last)
        offset.by.fill_(0.2)
        moved = objective(last)
    assert float(exact.mean()) < 0.2
    assert float((moved - exact > 0.1).double().mean()) > 0.1
    assert anchor_of(PredictClean(), SCHEDULES["edm"]) == anchor_of(PredictBoundedClean(), SCHEDULES["flow"]) == ANCHOR
    assert all(anchor_of(one, schedule) == 0 for one in OF_ANY_SCHEDULE for schedule in SCHEDULES.values())


# --- mean flow


def test_the_mean_velocity_of_a_mixture_is_the_displacement_of_the_ode() -> None:
    """The mean of the velocity over the way, by quadrature, is (x_t - x_s)/(t - s)."""
    schedule, t, s = SCHEDULES["flow"], 0.8, 0.3
    nodes, weights = np.polynomial.legendre.leggauss(40)
    places = s + (t - s) * (nodes + 1) / 2
    start, mean = noise_level(schedule, t), torch.zeros_like(X)
    x, now = X, start
    for place, weight in sorted(zip(places, weights, strict=True), reverse=True):
        there = noise_level(schedule, float(place))
        x, now = MIXTURE.flow(x, now, there), there
        velocity = (x - MIXTURE.denoiser(schedule)(x, float(place)).clean) / place
        mean += weight / 2 * velocity
    wanted = (X - MIXTURE.flow(X, start, noise_level(schedule, s))) / (t - s)
    assert torch.allclose(mean, wanted, rtol=0, atol=1e-10)


def test_mean_velocity_is_the_displacement_and_obeys_its_identity() -> None:
    """u + (t - s) du/dt = v, exactly, and a slope over a width comes near with its square."""
    denoiser, schedule = exact_flow(), SCHEDULES["flow"]
    t = torch.tensor([0.2, 0.5, 0.9, 0.6, 0.3, 1.0], dtype=torch.float64)
    s = torch.tensor([0.0, 0.1, 0.85, 0.6, 0.0, 0.0], dtype=torch.float64)
    u, v = mean_velocity(denoiser, X, t, s), mean_velocity(denoiser, X, t, t)
    for row in range(6):
        now, then = (noise_level(schedule, float(time[row])) for time in (t, s))
        clean = TARGET.clean(X[row : row + 1], now)
        assert torch.allclose(v[row], ((X[row] - clean) / t[row])[0], rtol=0, atol=1e-10)
        if t[row] > s[row]:
            moved = X[row] - TARGET.flow(X[row : row + 1], now, then)[0]
            assert torch.allclose(u[row], moved / (t[row] - s[row]), rtol=0, atol=1e-10)
    other = NetworkDenoiser(ExactClean(), schedule, PredictClean(), span=Same())
    assert torch.allclose(mean_velocity(other, X, t, s), u, rtol=0, atol=1e-10)
    bend = along_path(denoiser, X, t, s, v)
    assert torch.allclose(u + (t - s)[:, None] * bend, v, rtol=0, atol=1e-10)
    near = [
        float((along_path(denoiser, X[:5], t[:5], s[:5], v[:5], None, h) - bend[:5]).abs().max()) for h in (0.02, 0.01)
    ]
    assert near[0] / near[1] == pytest.approx(4, abs=0.3)
    assert near[1] < 0.05


def test_training_and_sampling_know_the_mean_velocity_of_a_mixture_to_ten_places() -> None:
    """`mean_velocity`, its derivative along the path, the loss and the solver, of an exact network.

    The loss is a squared error: of 1e-10 in each of two dimensions, at most.
    """
    schedule = SCHEDULES["flow"]
    network = MixtureFlow()
    denoiser = NetworkDenoiser(network, schedule, PredictFlow(), span=Same())
    t = torch.tensor([0.2, 0.5, 0.9, 0.6, 0.3, 0.95], dtype=torch.float64)
    s = torch.tensor([0.15, 0.42, 0.75, 0.6, 0.25, 0.8], dtype=torch.float64)
    u, v = mean_velocity(denoiser, X, t, s), mean_velocity(denoiser, X, t, t)
    for row in range(6):
        now, then = (noise_level(schedule, float(time[row])) for time in (t, s))
        x = X[row : row + 1]
        assert torch.allclose(v[row], ((x - MIXTURE.clean(x, now)) / t[row])[0], rtol=0, atol=1e-10)
        moved = (x - MIXTURE.flow(x, now, then))[0]
        assert torch.allclose((t - s)[row] * u[row], moved, rtol=0, atol=1e-10)
    bend = along_path(denoiser, X, t, s, v)
    assert torch.allclose(u + (t - s)[:, None] * bend, v, rtol=0, atol=1e-10)
    assert float(bend.abs().max()) > 1

    data = batch(8)
    data = replace(data, x=data.x.double())
    ways = Ways(LogitNormalTimes(0.5, 0.2), LogitNormalTimes(0.2, 0.2), 0.25)
    objective = MeanFlowObjective(denoiser, ways, "improved", 0.0, 0.01)
    objective.direction = lambda x_t, now, _x_0, _: network.clean(x_t, torch.as_tensor(now.t))
    assert float(objective(data).max()) < 2e-20

    times = torch.tensor([0.9, 0.75, 0.6], dtype=torch.float64)
    end = MIXTURE.flow(X, *(noise_level(schedule, float(time)) for time in times[[0, -1]]))
    assert torch.allclose(sample(denoiser, SOLVERS["mean_flow"], times, X), end, rtol=0, atol=1e-10)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_mean_flow_lands_on_the_end_of_the_ode_in_any_number_of_steps(steps: int) -> None:
    schedule = SCHEDULES["flow"]
    found = sample(exact_flow(), SOLVERS["mean_flow"], uniform(steps), X)
    assert torch.allclose(found, TARGET.flow(X, noise_level(schedule, 1.0), DATA), rtol=0, atol=1e-10)


@pytest.mark.parametrize("form", ["plain", "improved"])
def test_the_exact_mean_velocity_has_no_loss(form) -> None:
    """Along the exact direction; the network that is a little off has one that grows with the error's power."""
    ways = Ways(LogitNormalTimes(-0.6, 1.6), LogitNormalTimes(-4.0, 1.6), 0.25)
    denoiser = exact_flow()
    objective = MeanFlowObjective(denoiser, ways, form, 0.0, 0.01)
    objective.direction = of_exact
    data = batch(32)
    data = replace(data, x=data.x.double())
    assert float(objective(data).max()) < 1e-10  # the noise is of float32
    with torch.no_grad():
        denoiser.network.anything += 0.1
    off = objective(data)
    if form == "plain":  # the other one's derivative follows a velocity that is off as well
        assert torch.allclose(off, torch.full_like(off, 2 * 0.1**2), rtol=1e-3)
    assert float(off.min()) > 0.1**2
    objective.power = 1.0
    assert torch.allclose(objective(data), off / (off + 0.01), rtol=1e-6)
    weighed, plain = objective(data).sum(), (off / (off.detach() + 0.01)).sum()  # whose weights have no gradient
    found, exact = (torch.autograd.grad(loss, denoiser.network.anything)[0] for loss in (weighed, plain))
    assert torch.allclose(found, exact, rtol=1e-6)


def test_ways_are_sorted_and_a_share_of_them_stands_still() -> None:
    u = torch.rand(4000, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t, s = Ways(LogitNormalTimes(-0.6, 1.6), LogitNormalTimes(-4.0, 1.6), 0.25).times(u, exact_flow())
    assert bool((s <= t).all())
    assert float((s == t).double().mean()) == pytest.approx(0.27, abs=0.04)


def test_passes_that_repeat_their_masks_drop_the_same_values() -> None:
    layer, x = Dropout(0.5).train(), torch.ones(3, 40)
    with masks_by_position(1, 2, [0, 1, 2]):
        once = layer(x)
        with masks_repeated():
            again = layer(x)
        assert torch.equal(once, again)
        assert not torch.equal(once, layer(x))
    with masks_repeated():
        torch_own = nn.Dropout(0.5)(x)
    with masks_repeated():
        assert torch.equal(torch_own, nn.Dropout(0.5)(x))


# --- progressive distillation


@pytest.mark.parametrize("within", [1, 2, 3])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_progressive_target_ends_where_the_steps_of_the_teacher_end(schedule, within: int) -> None:
    denoiser = NetworkDenoiser(ExactFlow(), schedule, PredictClean(), span=Same())
    objective = ProgressiveObjective(denoiser, 4, within)
    objective.direction = of_exact
    i = torch.tensor([1.0, 2, 3, 4, 1, 4], dtype=torch.float64)
    target = objective.target(X, X, i, None)
    for row in range(6):
        t, s = i[row] / 4, (i[row] - 1) / 4
        times = torch.linspace(float(t), float(s), within + 1, dtype=torch.float64)
        wanted = sample(TARGET.denoiser(schedule), SOLVERS["ddim"], times, X[row : row + 1])
        student = FunctionDenoiser(lambda x, _, row=row: target[row : row + 1], schedule)
        found = sample(student, SOLVERS["ddim"], times[[0, -1]], X[row : row + 1])
        assert torch.allclose(found, wanted, rtol=0, atol=1e-10)


class Nothing(nn.Module):
    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        return 0 * x


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_progressive_loss_is_the_larger_one_of_clean_data_and_of_noise(schedule) -> None:
    """One step along the data ends where they would: x̂_0 of a network that gives 0 misses them by themselves."""
    objective, data = ProgressiveObjective(NetworkDenoiser(Nothing(), schedule, PredictClean()), 8, 1), batch(64)
    t = ((data.uniform(Purpose.TRAINING_TIME) * 8).floor() + 1) / 8
    weight = schedule.log_snr(t).exp().clamp(1, 1e4)
    assert (weight == 1).any()
    expected = weight * data.x.double().square().mean(1)
    torch.testing.assert_close(objective(data).double(), expected, rtol=1e-3, atol=0)


def test_a_progressive_student_of_a_chain_takes_the_nearest_of_its_times() -> None:
    denoiser = NetworkDenoiser(Nothing(), LinearBeta().build(), PredictNoise(), trained_steps=10)
    level = ProgressiveObjective(denoiser, 3, 1).level(torch.tensor([1.0, 2.0, 3.0, 1.0], dtype=torch.float64), 0)
    assert torch.as_tensor(level.t).tolist() == [0.3, 0.7, 1.0, 0.3]


class Recorded(nn.Module):
    """A denoiser whose x̂_0 is the number of parts of its condition, which it keeps in mind."""

    conditioner = SimpleNamespace(stays=("small",))

    def __init__(self) -> None:
        super().__init__()
        self.given: list[set[str]] = []

    def forward(self, x_t: Tensor, t: NoiseLevel, condition: Condition | None = None) -> Denoised:
        self.given.append(set(condition or ()))
        return Denoised(torch.full_like(x_t, float(len(self.given[-1]))), x_t, t.alpha, t.sigma)


def test_a_teacher_is_guided_away_from_what_guidance_leaves_of_the_condition() -> None:
    """As its run guides: a small picture that is to be enlarged stays in both, a class in one alone."""
    teacher, t = Recorded(), SCHEDULES["flow"].noise_level(torch.full((6,), 0.5, dtype=torch.float64))
    rows = Condition({"labels": torch.zeros(6), "small": torch.ones(6, 1, 2, 2)})
    direction = OfTeacher(teacher, lambda better, worse, scale, _: worse + expand(scale, worse) * (better - worse), 3.0)
    found = direction(X[:6], t, X[:6], rows)
    assert teacher.given == [{"labels", "small"}, {"small"}]
    assert torch.equal(found, torch.full_like(found, 1 + 3.0 * (2 - 1)))

"""Time samplers: each is the inverse of its stated distribution, and what divides by its density is unbiased."""

import numpy as np
import pytest
import torch
from scipy import stats

from sumi.errors import InputError
from sumi.objectives.times import (
    GridTimes,
    ImportanceSampler,
    ImportanceTimes,
    LogitNormalTimes,
    LogNormalTimes,
    LogSNRTimes,
    UniformTimes,
    stratified,
)
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.continuous import VP, Flow
from sumi.process.exploding import EDM, VE, Ladder
from sumi.process.schedule import noise_level

SCHEDULES = {c.name: c.build() for c in (LinearBeta(), CosineBeta(), VP(), Flow(), VE(), EDM(), Ladder())}
CONTINUOUS = [
    UniformTimes(start=0.1),
    LogitNormalTimes(),
    LogitNormalTimes(mean=0.5, std=2.0),
    LogNormalTimes(),
    LogNormalTimes(mean=0.4, std=1.5),
    LogSNRTimes(),
    LogSNRTimes(low=-4.0, high=3.0),
]
U = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)


def log_noise(schedule, t: torch.Tensor) -> torch.Tensor:
    now = noise_level(schedule, t)
    return now.sigma.log() - now.alpha.log()


def test_grid_times_are_each_equally_often_and_exact() -> None:
    sampler = GridTimes(steps=10)
    times = sampler.times(torch.arange(1000, dtype=torch.float64) / 1000, SCHEDULES["linear"])
    assert sorted(set(times.tolist())) == [i / 10 for i in range(1, 11)]
    assert all((times == i / 10).sum() == 100 for i in range(1, 11))
    ends = sampler.times(torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64), SCHEDULES["linear"])
    assert ends.tolist() == [0.1, 1.0]
    assert sampler.grid == 10


def test_uniform_times_fill_their_interval() -> None:
    sampler = UniformTimes(start=0.1)
    times = sampler.times(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64), SCHEDULES["flow"])
    assert times.tolist() == pytest.approx([0.1, 0.55, 1.0])
    assert sampler.grid is None


@pytest.mark.parametrize(("mean", "std"), [(-1.2, 1.2), (0.4, 1.5)])
@pytest.mark.parametrize("name", SCHEDULES)
def test_log_normal_noise_has_its_distribution_within_the_schedules_range(name: str, mean: float, std: float) -> None:
    """F(ln σ̂(times(u))) = u for scipy's truncated normal distribution."""
    schedule = SCHEDULES[name]
    found = log_noise(schedule, LogNormalTimes(mean, std).times(U, schedule))
    first, last = ((log_noise(schedule, torch.tensor([t]))[0].item() - mean) / std for t in (0.0, 1.0))
    expected = stats.truncnorm(first, last, loc=mean, scale=std).cdf(found.numpy())
    np.testing.assert_allclose(expected, U.numpy(), rtol=0, atol=1e-10)


def test_the_papers_log_normal_is_hardly_truncated_on_its_own_schedule() -> None:
    found = log_noise(SCHEDULES["edm"], LogNormalTimes().times(U, SCHEDULES["edm"]))
    np.testing.assert_allclose(found, stats.norm(-1.2, 1.2).ppf(U.numpy()), rtol=0, atol=1e-3)  # 1.5e-5 of it is cut


def test_logit_normal_times_have_their_distribution() -> None:
    t = LogitNormalTimes(mean=0.5, std=2.0).times(U, SCHEDULES["flow"])
    np.testing.assert_allclose(stats.norm(0.5, 2.0).cdf(torch.logit(t).numpy()), U.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_log_snr_is_uniform_between_the_nearer_of_the_schedules_and_the_stated_ends(name: str) -> None:
    schedule = SCHEDULES[name]
    high, low = (-2 * log_noise(schedule, torch.tensor([t]))[0].item() for t in (0.0, 1.0))
    high, low = min(high, 13.3), max(low, -20.0)
    found = -2 * log_noise(schedule, LogSNRTimes().times(U, schedule))
    np.testing.assert_allclose(found, high - U.numpy() * (high - low), rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("sampler", CONTINUOUS, ids=repr)
def test_density_is_the_slope_of_the_distribution(sampler, name: str) -> None:
    """p(times(u)) · d times/du = 1, by central differences; next to a chain's corner they see both sides."""
    schedule, h = SCHEDULES[name], 1e-6
    t = sampler.times(U, schedule)
    slope = (sampler.times(U + h, schedule) - sampler.times(U - h, schedule)) / (2 * h)
    product = sampler.density(noise_level(schedule, t), schedule) * slope
    smooth = name not in ("linear", "cosine", "ladder")
    # 1000 steps change a rate by 2 % at the most, in the middle of the range; the ladder changes none
    torch.testing.assert_close(product, torch.ones_like(product), rtol=1e-5 if smooth else 0.02, atol=0)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("sampler", [*CONTINUOUS, GridTimes(), LogNormalTimes(mean=6.0, std=3.0)], ids=repr)
def test_times_rise_with_u_and_noise_is_never_absent(sampler, name: str) -> None:
    u = torch.tensor([0.0, 2**-53, *U.tolist(), 1 - 2**-53], dtype=torch.float64)
    t = sampler.times(u, SCHEDULES[name])
    assert t.dtype == torch.float64
    assert bool((t.diff() >= 0).all())
    assert bool(((t >= 0) & (t <= 1)).all())
    assert bool((noise_level(SCHEDULES[name], t).sigma > 0).all())


def test_a_range_that_is_empty_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"^times\.mean: 50\.0 with times\.std = 1\.2 lies outside"):
        LogNormalTimes(mean=50.0).times(U, SCHEDULES["edm"])
    with pytest.raises(InputError, match=r"^times\.low: there is no log-SNR from"):
        LogSNRTimes(low=12.9).times(U, SCHEDULES["edm"])


@pytest.mark.parametrize(
    "make",
    [
        lambda: GridTimes(0),
        lambda: UniformTimes(0.0),
        lambda: LogNormalTimes(std=0),
        lambda: LogitNormalTimes(std=-1),
        lambda: ImportanceTimes(steps=0),
        lambda: ImportanceTimes(history=0),
    ],
)
def test_impossible_values_are_refused_by_name(make) -> None:
    with pytest.raises(InputError, match=r"^times\.\w+: "):
        make()


# --- importance sampling


def filled(profile: torch.Tensor, history: int = 3) -> ImportanceSampler:
    """A sampler that has seen ``history`` losses of each time, all of them the profile's (T,)."""
    sampler = ImportanceTimes(steps=len(profile), history=history).sampler()
    t = torch.arange(1, len(profile) + 1, dtype=torch.float64) / len(profile)
    sampler.record(t[1:], profile[1:])  # of the first time one loss fewer is known than of the others
    for step in range(1, history + 1):
        sampler.begin(step)
        assert torch.equal(sampler.times(U, SCHEDULES["linear"]), GridTimes(len(profile)).times(U, SCHEDULES["linear"]))
        sampler.record(t, profile)
    sampler.begin(history + 1)
    return sampler


PROFILE = torch.tensor([8.0, 3.0, 1.0, 0.5, 0.25], dtype=torch.float64)


def test_uniform_until_every_loss_is_known_and_then_in_proportion() -> None:
    """p ∝ √E[L²], with a thousandth of uniform times; each time fills p of the range of u."""
    sampler = filled(PROFILE)
    p = 0.999 * PROFILE / PROFILE.sum() + 0.001 / 5
    schedule = SCHEDULES["linear"]
    t = torch.arange(1, 6, dtype=torch.float64) / 5
    torch.testing.assert_close(sampler.density(noise_level(schedule, t), schedule), 5 * p, rtol=1e-12, atol=0)
    edges = p.cumsum(0)
    for k in range(5):
        below = edges[k] - 1e-9
        above = (edges[k - 1] if k else 0) + 1e-9
        assert sampler.times(torch.stack([torch.as_tensor(above), below]), schedule).tolist() == [(k + 1) / 5] * 2
    assert sampler.times(torch.tensor([0.0, 1 - 2**-53]), schedule).tolist() == [0.2, 1.0]


def test_the_mean_square_counts_and_not_the_mean() -> None:
    sampler = ImportanceTimes(steps=2, history=2).sampler()
    for losses in ([3.0, 1.0], [4.0, 1.0]):
        sampler.record(torch.tensor([0.5, 1.0]), torch.tensor(losses))
    sampler.begin(1)
    density = sampler.density(noise_level(SCHEDULES["linear"], torch.tensor([0.5, 1.0])), SCHEDULES["linear"])
    root = 12.5**0.5
    assert density.tolist() == pytest.approx([1.998 * r / (root + 1) + 0.001 for r in (root, 1)], rel=1e-6)


def test_divided_by_the_density_the_estimate_is_unbiased_and_varies_less() -> None:
    """Over all u in fine steps: the mean of L/p is the uniform mean of L; its variance is a hundredth here."""
    sampler, schedule = filled(PROFILE), SCHEDULES["linear"]
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000

    def estimate(times) -> torch.Tensor:
        t = times.times(u, schedule)
        losses = PROFILE[(t * 5).round().long() - 1]
        return losses / times.density(noise_level(schedule, t), schedule)

    importance, plain = estimate(sampler), estimate(GridTimes(5))
    assert importance.mean().item() == pytest.approx(PROFILE.mean().item(), rel=1e-4)  # five edges in 1e5 steps
    assert plain.mean().item() == pytest.approx(PROFILE.mean().item(), rel=1e-12)
    assert importance.var() < 1e-2 * plain.var()


def test_the_history_is_the_last_losses_of_each_time_in_the_order_of_the_batch() -> None:
    """Against a plain list for each time, with times that come again within a batch, more often than are kept."""
    g = torch.Generator().manual_seed(3)
    sampler, seen = ImportanceTimes(steps=4, history=3).sampler(), [[], [], [], []]
    for _ in range(20):
        index, losses = torch.randint(4, (9,), generator=g), torch.rand(9, generator=g)
        sampler.record((index + 1).double() / 4, losses.requires_grad_())
        for i, loss in zip(index.tolist(), losses.tolist(), strict=True):
            seen[i].append(loss)
    assert sampler.counts.tolist() == [len(s) for s in seen]
    for row, past in zip(sampler.losses, seen, strict=True):
        assert sorted(row.tolist()) == sorted(past[-3:])
    assert not sampler.losses.requires_grad


def test_density_is_held_for_a_whole_step() -> None:
    """The parts of a batch see the same times, however many there are."""
    sampler, schedule = filled(PROFILE), SCHEDULES["linear"]
    before = sampler.times(U, schedule)
    sampler.record(torch.full((3,), 1.0, dtype=torch.float64), torch.full((3,), 1e3))
    sampler.begin(4)  # the step that `filled` began
    assert torch.equal(sampler.times(U, schedule), before)
    sampler.begin(5)
    assert float((sampler.times(U, schedule) == 1.0).double().mean()) > 0.9


def test_losses_of_zero_leave_uniform_times() -> None:
    sampler, schedule = filled(torch.zeros(5, dtype=torch.float64)), SCHEDULES["linear"]
    assert torch.equal(sampler.times(U, schedule), GridTimes(5).times(U, schedule))


def test_a_sampler_that_is_saved_and_loaded_goes_on_the_same() -> None:
    sampler, schedule = filled(PROFILE), SCHEDULES["linear"]
    again = ImportanceTimes(steps=5, history=3).sampler()
    again.load_state_dict(sampler.state_dict())
    again.begin(4)
    assert torch.equal(again.times(U, schedule), sampler.times(U, schedule))


# --- stratified times


def test_stratified_places_are_evenly_spaced_whatever_the_part_of_the_batch() -> None:
    positions = torch.arange(8)
    u = stratified(0.3, positions, 8)
    assert u.sort().values.diff().tolist() == pytest.approx([1 / 8] * 7)
    assert bool(((u >= 0) & (u < 1)).all())
    assert torch.equal(torch.cat([stratified(0.3, positions[:3], 8), stratified(0.3, positions[3:], 8)]), u)
    assert bool((stratified(1 - 2**-53, positions, 8) < 1).all())


def test_each_stratified_place_is_uniform() -> None:
    """Kolmogorov-Smirnov over 2,000 first places, at the first, a middle and the last position."""
    first = np.random.default_rng(0).random(2000)
    u = np.array([stratified(f, torch.tensor([0, 77, 127]), 128).tolist() for f in first])
    for column in u.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("sampler", [UniformTimes(), LogitNormalTimes(), LogNormalTimes(), LogSNRTimes()], ids=repr)
def test_the_mean_over_a_stratified_batch_varies_as_one_over_its_size_squared(sampler) -> None:
    """A loss f(u) on n places first + i/n: the mean over ``first`` is the integral, the variance (f(1) - f(0))²/12n².

    For 64 independent places it is Var f/64, which is some fifty times more.
    """
    schedule, n = SCHEDULES["vp"], 64

    def loss(u: torch.Tensor) -> torch.Tensor:
        return noise_level(schedule, sampler.times(u, schedule)).sigma.square()

    first = (torch.arange(1000, dtype=torch.float64) + 0.5) / 64_000  # in [0, 1/n); beyond, the places come again
    batches = torch.stack([loss(stratified(f.item(), torch.arange(n), n)).mean() for f in first])
    everywhere = loss((torch.arange(64_000, dtype=torch.float64) + 0.5) / 64_000)
    rise = everywhere[-1] - everywhere[0]
    assert batches.mean().item() == pytest.approx(everywhere.mean().item(), rel=1e-12)  # the very same places
    assert batches.var().item() == pytest.approx(rise.item() ** 2 / 12 / n**2, rel=0.05)  # the slope's part: 1/n more
    assert batches.var() < everywhere.var() / n / 40

"""The bound in continuous time, and bounds estimated on data.

As in `test_variational`, means over N(m, c²) and ε are exact over four points; integrals over t are by Gauss-Legendre.
"""

from itertools import pairwise
from math import log, sqrt

import numpy as np
import pytest
import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoised
from sumi.errors import InputError
from sumi.likelihood.continuous import ContinuousBound
from sumi.likelihood.estimate import BoundEstimate, estimate_bound
from sumi.likelihood.variational import CleanVariance, PosteriorVariance, VariationalBound, even_times, step_kl
from sumi.process.chain import LinearBeta
from sumi.process.continuous import VP, Cosine, Flow, SubVP
from sumi.process.exploding import EDM, VE
from sumi.process.gaussian import add_noise
from sumi.process.learned import Learned, MonotoneSchedule
from sumi.process.schedule import Schedule, Time, noise_level
from sumi.randomness import Purpose, normal
from tests.likelihood.gaussian import UNEVEN, ExactGaussian, float64, least, prior_std

STARTS = {
    "vp": (VP().build(), 1e-4),
    "sub_vp": (SubVP().build(), 1e-3),
    "flow": (Flow().build(), 0.01),
    "cosine": (Cosine().build(), 0.02),
    "ve": (VE().build(), 0.0),
    "edm": (EDM().build(), 0.0),
    "learned": (Learned(width=8).build(), 0.0),
}
X_0, NOISE = float64(-1, -1, 1, 1)[:, None], float64(-1, 1, -1, 1)[:, None]
"""Points of unit variance for the data and the noise (module docstring)."""


def moved(schedule: MonotoneSchedule, seed: int) -> MonotoneSchedule:
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in schedule.parameters():
            p.add_(0.7 * torch.randn(p.shape, generator=draws))
    return schedule


def integral(bound: ContinuousBound, denoiser, x_0: Tensor, pieces: int = 40) -> float:
    """∫ diffusion dt, the mean over rows, with 40 nodes in each of ``pieces`` that grow like a geometric series."""
    edges = np.geomspace(bound.start + 1e-4, 1 + 1e-4, pieces + 1) - 1e-4
    edges[0], edges[-1] = bound.start, 1.0
    node, weight = np.polynomial.legendre.leggauss(40)
    total = 0.0
    with torch.no_grad():
        for low, high in pairwise(edges.tolist()):
            t = torch.from_numpy((low + high) / 2 + (high - low) / 2 * node)
            rows = (v.repeat(len(t), 1) for v in (x_0, NOISE))
            x, noise = rows
            rate = bound.diffusion(denoiser, x, t.repeat_interleave(len(x_0)), noise).view(len(t), -1).mean(1)
            total += (high - low) / 2 * float(torch.from_numpy(weight) @ rate)
    return total


# the exact value


@pytest.mark.parametrize("name", STARTS)
def test_the_bound_is_the_entropy_and_what_the_decoder_does_not_know(name: str) -> None:
    """… + KL(q(x_1) ‖ prior) + ½ log(1 + (sigma/alpha)²/c²) with alpha, sigma at the start, exactly."""
    (schedule, start), (mean, std) = STARTS[name], (0.4, 0.6)
    for prior in (prior_std(schedule, std), 1.2 * prior_std(schedule, 1.0)):
        bound = ContinuousBound(schedule, start, None, prior)
        x_0 = mean + std * X_0
        found = (bound.prior(x_0) + bound.reconstruction(x_0, NOISE)).mean().item()
        found += integral(bound, ExactGaussian(mean, std, schedule), x_0)
        now = noise_level(schedule, start)
        gap = log(1 + (now.sigma / now.alpha / std) ** 2) / 2
        assert found == pytest.approx(least(schedule, mean, std, prior) + gap, abs=1e-9)


def test_only_the_ends_of_the_schedule_matter() -> None:
    """EDM's ρ, and VDM's monotone network before and after its parameters are moved: the same integral."""
    x_0 = 0.6 * X_0
    for one, other in (
        (EDM(rho=7.0).build(), EDM(rho=2.0).build()),
        (EDM(sigma_min=0.01, sigma_max=50).build(), VE().build()),
        (Learned(width=8).build(), moved(Learned(width=8).build(), 0)),
    ):
        values = [integral(ContinuousBound(s), ExactGaussian(0.0, 0.6, s, bias=0.1), x_0) for s in (one, other)]
        assert values[0] == pytest.approx(values[1], rel=1e-9)
        middle = [noise_level(s, 0.5).log_snr for s in (one, other)]
        assert middle[0] != pytest.approx(middle[1], rel=0.01)


def steps_from(start: float, steps: int, schedule: Schedule, variance, denoiser, x_0: Tensor) -> float:
    """Σ KL of a chain's ``steps`` even steps between ``start`` and 1, the mean over rows."""
    times = start + (1 - start) * even_times(steps)
    s, t = (noise_level(schedule, v.repeat_interleave(len(x_0))) for v in (times[:-1], times[1:]))
    x, noise = x_0.repeat(steps, 1), NOISE.repeat(steps, 1)
    return step_kl(denoiser(add_noise(x, noise, t), t), x, s, t, variance).sum().item() / len(x_0)


@pytest.mark.parametrize("name", ["vp", "flow", "edm"])
def test_a_chains_steps_fall_to_the_integral_like_one_over_their_number(name: str) -> None:
    """With the posterior's variance: upper rectangles. With the learned one on Gaussian data: there at once."""
    schedule, start = STARTS[name][0], 0.05
    x_0, denoiser = 0.6 * X_0, ExactGaussian(0.0, 0.6, schedule)
    limit = integral(ContinuousBound(schedule, start), denoiser, x_0)
    above = [steps_from(start, n, schedule, PosteriorVariance(), denoiser, x_0) - limit for n in (400, 800, 1600)]
    assert above[0] > above[1] > above[2] > 0
    assert log(above[1] / above[2]) / log(2) == pytest.approx(1.0, abs=0.03)
    for n in (1, 5):
        learned = steps_from(start, n, schedule, CleanVariance(), denoiser, x_0)
        assert learned == pytest.approx(limit, rel=1e-9)


def test_the_prior_and_the_weight_are_the_papers() -> None:
    """Kingma et al. 2021, eqs. 14 and 18, by hand: rectified flow, -½ dSNR/dt = (1 - t)/t³."""
    bound = ContinuousBound(Flow().build(), 0.01, None, prior_std=2.0)
    x_0 = float64(0.5, -1.0)[None]
    assert bound.prior(x_0).item() == pytest.approx(0.25 - 1 - log(0.25))  # KL(N(0, 1) ‖ N(0, 4)), twice
    biased = ExactGaussian(0.0, 1e-9, bound.schedule, bias=0.3)  # always says 0.3
    found = bound.diffusion(biased, x_0, float64(0.2), float64(0.1, 0.2)[None])
    assert found.item() == pytest.approx(0.8 / 0.2**3 * (0.2**2 + 1.3**2), rel=1e-9)


def test_pixels_are_almost_certain_where_the_noise_is_invisible() -> None:
    """VDM's start, SNR = e^13.3: levels are 6 standard deviations of the noise apart, and 0.00697 nats are left.

    For a level in the middle, against an endless row of them, by the trapezium rule over the noise.
    """
    n = np.linspace(-9, 9, 2001)
    density = np.exp(-(n**2) / 2) / np.sqrt(2 * np.pi)
    others = 2 / 255 * np.exp(13.3 / 2) * np.arange(-3, 4)
    nats = np.log(np.exp((n**2 - (n[:, None] + others).T ** 2) / 2).sum(0))
    x_0 = torch.linspace(-1, 1, 256, dtype=torch.float64)[128].expand(2001, 1)
    found = ContinuousBound(Learned().build()).reconstruction(x_0, torch.from_numpy(n)[:, None]).detach()
    assert np.trapezoid(found.numpy() * density, n) == pytest.approx(np.trapezoid(nats * density, n), rel=1e-9)
    assert np.trapezoid(nats * density, n) == pytest.approx(0.00697, rel=1e-3)


def test_impossible_starts_are_refused_by_name() -> None:
    for schedule in (VP().build(), Flow().build()):
        with pytest.raises(InputError, match=r"^start: the bound is infinite without noise at t = 0\.0"):
            ContinuousBound(schedule)
    for start in (-0.1, 1.0):
        with pytest.raises(InputError, match=r"^start: .* is not a time in"):
            ContinuousBound(VE().build(), start)
    with pytest.raises(InputError, match=r"^levels: 65537"):
        ContinuousBound(VE().build(), levels=65_537)
    with pytest.raises(InputError, match=r"^prior_std: -1"):
        ContinuousBound(VE().build(), prior_std=-1)


# estimates

STD, COUNT, DIMENSIONS = 0.6, 600, 3
DATA = STD * torch.randn(COUNT, DIMENSIONS, generator=torch.Generator().manual_seed(5))


class Recorder:
    """A denoiser that keeps what it was asked."""

    def __init__(self, denoiser) -> None:
        self.denoiser, self.schedule = denoiser, denoiser.schedule
        self.seen: list[tuple[Tensor, Tensor]] = []

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        self.seen.append((x_t, torch.as_tensor(noise_level(self.schedule, t).t)))
        return self.denoiser(x_t, t)


LEARNED = CleanVariance()


def chain(steps: int, variance=LEARNED, schedule: Schedule | None = None) -> VariationalBound:
    return VariationalBound(schedule or STARTS["vp"][0], even_times(steps), variance, None)


def within(found: Tensor, exact: float, errors: float = 4.0) -> None:
    """The mean of ``found`` (M,) is ``exact`` to so many standard errors, which are above 0."""
    error = float(found.std()) / sqrt(len(found))
    assert error > 0
    assert abs(float(found.mean()) - exact) < errors * error


@pytest.mark.parametrize("evaluations", [1, 4, 50])
@pytest.mark.parametrize("name", ["vp", "flow", "edm"])
def test_a_chains_estimate_is_its_exact_bound(name: str, evaluations: int) -> None:
    """float32 samples, 19 steps between prior and decoder, each of the three parts: within 4 standard errors."""
    schedule = STARTS[name][0]
    bound = VariationalBound(schedule, even_times(20), CleanVariance(), None, prior_std(schedule, 1.0))
    denoiser = ExactGaussian(0.0, STD, schedule)
    found = estimate_bound(denoiser, bound, DATA, seed=1, evaluations=evaluations)
    within(found.total, DIMENSIONS * least(schedule, 0.0, STD, bound.prior_std))
    exact = bound.step(denoiser, STD * X_0.repeat(20, 1), torch.arange(1, 21).repeat_interleave(4), NOISE.repeat(20, 1))
    exact = exact.view(20, 4).mean(1) * DIMENSIONS
    within(found.decoder, exact[0].item())
    within(found.between, exact[1:].sum().item())
    assert found.total.dtype == torch.float64
    assert len(found.rate) == min(evaluations, 19)


@pytest.mark.parametrize("evaluations", [1, 4, 50])
@pytest.mark.parametrize("name", ["vp", "flow", "edm", "learned"])
def test_an_estimate_in_continuous_time_is_the_exact_bound(name: str, evaluations: int) -> None:
    schedule, start = STARTS[name]
    bound = ContinuousBound(schedule, start, None, prior_std(schedule, 1.0))
    found = estimate_bound(ExactGaussian(0.0, STD, schedule), bound, DATA, seed=2, evaluations=evaluations)
    now = noise_level(schedule, start)
    gap = log(1 + (now.sigma / now.alpha / STD) ** 2) / 2
    within(found.total, DIMENSIONS * (least(schedule, 0.0, STD, bound.prior_std) + gap))
    assert len(found.rate) == evaluations


def test_as_many_evaluations_as_steps_see_each_step_once() -> None:
    """No randomness over t is left: the sum is that of the steps with the noise of (seed, sample, stratum)."""
    bound, denoiser = chain(12), Recorder(ExactGaussian(0.0, STD, STARTS["vp"][0]))
    found = estimate_bound(denoiser, bound, DATA[:7], seed=3, evaluations=11)
    assert [set(t.tolist()) for _, t in denoiser.seen] == [{i / 12} for i in range(1, 13)]
    x_0 = DATA[:7].double()
    noises = [normal(3, range(7), k, Purpose.EVALUATION, (DIMENSIONS,)).double() for k in range(12)]
    each = [bound.step(denoiser, x_0, torch.full((7,), i), noises[i - 2]) for i in range(1, 13)]  # the decoder's last
    torch.testing.assert_close(found.between, torch.stack(each[1:]).sum(0), rtol=1e-5, atol=0)
    torch.testing.assert_close(found.decoder, each[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.rate, torch.stack(each[1:]).mean(1), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(found.centres, (2 * torch.arange(2, 13) - 1).double() / 24)
    more = estimate_bound(denoiser, bound, DATA[:7], seed=3, evaluations=1000)
    assert torch.equal(more.total, found.total)


@pytest.mark.parametrize("bound", [chain(30), ContinuousBound(*STARTS["vp"])], ids=["chain", "continuous"])
def test_a_sample_has_the_same_noise_and_value_alone_as_in_a_batch(bound) -> None:
    """Also in parts of any size, by its own index."""
    whole = Recorder(ExactGaussian(0.0, STD, bound.schedule))
    together = estimate_bound(whole, bound, DATA[:6], seed=4, evaluations=5)
    parts = estimate_bound(
        ExactGaussian(0.0, STD, bound.schedule), bound, DATA[:6], seed=4, evaluations=5, batch_size=4
    )
    alone = Recorder(ExactGaussian(0.0, STD, bound.schedule))
    one = estimate_bound(alone, bound, DATA[4:5], seed=4, evaluations=5, indices=[4])
    for (x, t), (x_one, t_one) in zip(whole.seen, alone.seen, strict=True):
        assert x.dtype == torch.float32
        assert torch.equal(x[4:5], x_one)
        assert torch.equal(t[4:5], t_one)
    torch.testing.assert_close(parts.total, together.total, rtol=1e-12, atol=0)
    torch.testing.assert_close(one.total, together.total[4:5], rtol=1e-12, atol=0)
    other = estimate_bound(whole, bound, DATA[:6], seed=5, evaluations=5)
    assert bool((other.total != together.total).all())


@pytest.mark.parametrize("name", STARTS)
def test_strata_are_even_in_the_information_and_so_is_the_bound_of_gaussian_data(name: str) -> None:
    """I = ½ log(1 + s² SNR), also where it ends at nothing; with s of the data every stratum has the same nats."""
    schedule, start = STARTS[name]
    bound = ContinuousBound(schedule, start, None)
    strata = bound.strata(6, STD)
    assert (strata.times[0], strata.times[-1]) == (start, 1)
    shannon = torch.log1p(STD**2 * schedule.log_snr(strata.times).exp()).detach() / 2
    torch.testing.assert_close(strata.information, shannon, rtol=1e-9, atol=1e-12)
    width = float(shannon[0] - shannon[-1]) / 6
    torch.testing.assert_close(-strata.information.diff(), torch.full((6,), width).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(strata.lengths, strata.times.diff())
    places = strata.information[:-1].repeat_interleave(4) - width / 3
    rows = STD * X_0.repeat(6, 1), places, NOISE.repeat(6, 1)
    rate = bound.rate(ExactGaussian(0.0, STD, schedule), *rows, STD).view(6, 4).mean(1)
    torch.testing.assert_close(rate, torch.ones(6).double(), rtol=1e-9, atol=0)


def test_a_rate_is_the_diffusion_in_another_coordinate() -> None:
    """rate dI = diffusion dt, by central differences of I(t) with step 1e-6."""
    schedule, h = STARTS["flow"][0], 1e-6
    bound, t = ContinuousBound(schedule, 0.01), float64(0.1, 0.3, 0.8)
    wrong = ExactGaussian(0.3, 0.2, schedule, bias=0.1)
    now, before, after = (torch.log1p(0.25 * schedule.log_snr(v).exp()) / 2 for v in (t, t - h, t + h))
    rows = float64(1, 2, 3)[:, None], float64(-1, 0.5, 1)[:, None]
    found = bound.rate(wrong, rows[0], now, rows[1], 0.5) * (before - after) / (2 * h)
    torch.testing.assert_close(found, bound.diffusion(wrong, rows[0], t, rows[1]), rtol=1e-7, atol=0)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
def test_strata_of_a_chain_cover_every_step_and_count_them(count: int) -> None:
    for bound in (chain(1000), chain(7), VariationalBound(VP().build(), UNEVEN, PosteriorVariance(), None)):
        strata = bound.strata(count, 0.5)
        pieces = min(count, bound.steps - 1)
        assert len(strata.lengths) == len(strata.times) - 1 == len(strata.information) - 1 == pieces
        assert strata.lengths.sum().item() == pytest.approx(bound.steps - 1)
        assert bool((strata.lengths > 0).all() & (strata.times.diff() > 0).all())
        assert strata.times[[0, -1]].tolist() == pytest.approx([float(bound.times[1]), 1])
        if pieces == bound.steps - 1:
            assert torch.equal(strata.times, bound.times[1:])
            assert bool((strata.lengths == 1).all())


def test_in_a_stratum_of_many_steps_each_is_as_likely_as_its_share_of_the_information() -> None:
    """The mean of the rate over a stratum's places is the sum of the steps in it, whole or in part."""
    bound, denoiser = chain(10, PosteriorVariance()), ExactGaussian(0.0, STD, STARTS["vp"][0], bias=0.2)
    strata, grid = bound.strata(1, 0.5), bound.strata(100, 0.5).information
    high, low = strata.information.tolist()
    count = 20000
    places = high + (low - high) * (torch.arange(count, dtype=torch.float64) + 0.5) / count
    x_0, noise = torch.ones(count, 1).double(), torch.full((count, 1), 0.5).double()
    found = bound.rate(denoiser, x_0, places, noise, 0.5)
    each = bound.step(denoiser, x_0[:9], torch.arange(2, 11), noise[:9])
    assert (high - low) * found.mean().item() == pytest.approx(each.sum().item(), rel=1e-3)  # 20000 places, 9 steps
    middle = (grid[:-1] + grid[1:]) / 2
    at_each = bound.rate(denoiser, x_0[:9], middle, noise[:9], 0.5)
    torch.testing.assert_close(at_each * -grid.diff(), each, rtol=1e-12, atol=0)


def test_few_evaluations_of_gaussian_data_say_nearly_what_all_do() -> None:
    """With s of the data the variance over t is gone: the error is that of noise alone, to a fifth."""
    bound, denoiser = chain(200), ExactGaussian(0.0, STD, STARTS["vp"][0])
    spread = [
        float(estimate_bound(denoiser, bound, DATA, seed=8, evaluations=k, data_std=s).between.std())
        for k, s in ((10, STD), (10, 0.05), (199, STD))
    ]
    assert spread[0] < 0.6 * spread[1]
    assert spread[2] < spread[0]


def test_the_parts_add_up_and_progress_is_reported() -> None:
    condition: list[tuple[int, int]] = []
    found = estimate_bound(
        ExactGaussian(0.0, STD, STARTS["vp"][0]),
        chain(40),
        DATA[:10],
        seed=7,
        evaluations=6,
        batch_size=4,
        progress=lambda done, total: condition.append((done, total)),
    )
    assert condition == [(first * 6 + size * k, 60) for first, size in ((0, 4), (4, 4), (8, 2)) for k in range(1, 7)]
    torch.testing.assert_close(found.prior + found.between + found.decoder, found.total)
    torch.testing.assert_close((found.lengths * found.rate).sum(), found.between.mean())
    assert found.lengths.sum().item() == pytest.approx(39)
    assert (found.times[0], found.times[-1]) == (1 / 40, 1)


def test_standard_errors_are_those_of_repetition() -> None:
    """The means of 20 runs on other samples spread as their errors say: three such variances are known to 20 %."""
    bound, denoiser = chain(10, PosteriorVariance()), ExactGaussian(0.0, STD, STARTS["vp"][0])
    runs = [estimate_bound(denoiser, bound, DATA[i * 30 : i * 30 + 30], seed=i, evaluations=3) for i in range(20)]
    spread = torch.stack([run.rate for run in runs]).var(0)
    expected = torch.stack([run.rate_error for run in runs]).square().mean(0)
    assert (spread.mean() / expected.mean()).item() == pytest.approx(1, abs=0.6)  # 3 standard errors


def test_one_step_and_one_sample_are_enough() -> None:
    """A chain of one step is prior and decoder; one sample has no standard error."""
    denoiser = ExactGaussian(0.0, STD, STARTS["vp"][0])
    found = estimate_bound(denoiser, chain(1), DATA[:2], seed=0, evaluations=3)
    assert isinstance(found, BoundEstimate)
    assert found.between.tolist() == [0, 0]
    assert len(found.rate) == len(found.centres) == 0
    single = estimate_bound(denoiser, chain(5), DATA[:1], seed=0, evaluations=3)
    assert bool(single.rate_error.isnan().all())
    with pytest.raises(InputError, match=r"^evaluations: 0 is too few; give 1 or more"):
        estimate_bound(denoiser, chain(5), DATA[:1], seed=0, evaluations=0)
    with pytest.raises(InputError, match=r"^data_std: 0 is not positive"):
        estimate_bound(denoiser, chain(5), DATA[:1], seed=0, evaluations=1, data_std=0)
    with pytest.raises(InputError, match=r"^data: there is no sample"):
        estimate_bound(denoiser, chain(5), DATA[:0], seed=0, evaluations=1)


def test_pixels_in_a_chain_of_a_thousand_steps_are_estimated_whole() -> None:
    """Images of 256 levels: the estimate from 8 noise levels is that from all of them, to 4 standard errors."""
    schedule = LinearBeta().build()
    bound = VariationalBound(schedule, even_times(1000), CleanVariance())
    draws = torch.Generator().manual_seed(0)
    images = torch.linspace(-1, 1, 256)[torch.randint(100, 156, (30, 1, 4, 4), generator=draws)]
    denoiser = ExactGaussian(0.0, 0.13, schedule)
    few = estimate_bound(denoiser, bound, images, seed=0, evaluations=8, data_std=0.13)
    every = estimate_bound(denoiser, bound, images, seed=0, evaluations=999, batch_size=30)
    error = few.total.std().item() / sqrt(30) + every.total.std().item() / sqrt(30)
    assert abs(few.total.mean() - every.total.mean()).item() < 4 * error
    bits = every.total.mean().item() / 16 / log(2)
    assert log(56) / log(2) < bits < 6.3  # the entropy of 56 levels is 5.81 bits; a Gaussian's model of them costs more

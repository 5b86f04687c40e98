"""Guidance by extrapolation, against mixtures whose classes are known: the score, the ODE, and what it is not.

The data are a mixture in the plane whose components carry one of two labels, so p(x_t), p(x_t | y) and p(y | x_t) are
known at every level, and with them the field that guidance follows. Here it is written once more, from log-densities
and autograd, and integrated by scipy.
"""

from itertools import product
from math import inf, log

import numpy as np
import pytest
import torch
from torch import Tensor

from sumi.denoising.denoiser import FunctionDenoiser
from sumi.denoising.exact import gaussian_denoiser, mixture_denoiser
from sumi.errors import InputError
from sumi.guidance.extrapolation import Extrapolation, Interval
from sumi.guidance.thresholding import DynamicThreshold, StaticThreshold
from sumi.process.continuous import VP
from sumi.process.exploding import EDM
from sumi.process.schedule import NoiseLevel, Schedule, Time, noise_level
from sumi.sampling.sample import sample
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.adaptive import Adaptive
from tests.labelled_mixture import (
    MEANS,
    OF_CLASS,
    POINTS,
    SCALES,
    SCHEDULES,
    SHARES,
    STDS,
    Counted,
    flow_of_score,
    guided,
    guided_score,
    mixture,
    normal_points,
    tempered,
    walked,
)
from tests.oracles import GaussianTarget

WIDER = (STDS[OF_CLASS] ** 2 + 0.3**2) ** 0.5  # what a worse model of the class knows: it blurs


def worse(schedule: Schedule) -> FunctionDenoiser:
    return mixture_denoiser(MEANS[OF_CLASS], WIDER, SHARES[OF_CLASS] / SHARES[OF_CLASS].sum(), schedule)


def autoguided_score(x_t: Tensor, t: NoiseLevel, scale: float) -> Tensor:
    """w ∇ log p(x_t | y) + (1 - w) ∇ log q(x_t | y), q the worse model's, by autograd (Karras et al. 2024)."""
    point = x_t.detach().clone().requires_grad_()

    def log_density(stds: Tensor) -> Tensor:
        variance = t.alpha**2 * stds**2 + t.sigma**2
        squares = (point[:, None] - t.alpha * MEANS[OF_CLASS]).square().sum(-1)
        return (SHARES[OF_CLASS].log() - squares / (2 * variance) - variance.log()).logsumexp(1)

    (score,) = torch.autograd.grad(
        (scale * log_density(STDS[OF_CLASS]) + (1 - scale) * log_density(WIDER)).sum(), point
    )
    return score


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_score_is_that_of_p_of_x_times_p_of_y_given_x_to_the_w(schedule: Schedule, scale: float) -> None:
    """At each level, to 1e-10 of the largest; levels of floats, and one for each sample."""
    times = torch.linspace(0.02, 0.98, 16, dtype=torch.float64)
    for t in times.tolist():
        now = noise_level(schedule, t)
        x_t = POINTS * (now.alpha**2 + now.sigma**2) ** 0.5
        expected = guided_score(x_t, now, scale)
        bound = 1e-10 * float(expected.abs().max())
        torch.testing.assert_close(guided(schedule, scale)(x_t, now).score, expected, rtol=0, atol=bound)
    now = noise_level(schedule, times)
    x_t = POINTS * ((now.alpha**2 + now.sigma**2) ** 0.5)[:, None]
    each = torch.cat([guided(schedule, scale)(x[None], t.item()).clean for x, t in zip(x_t, times, strict=True)])
    torch.testing.assert_close(guided(schedule, scale)(x_t, times).clean, each, rtol=0, atol=1e-12)


QUICK = {("vp", 0.5), ("edm", 0.0), ("flow", 5.0)}
FIELDS = [pytest.param(*f, marks=[pytest.mark.slow] * (f not in QUICK)) for f in product(SCHEDULES, SCALES)]


@pytest.mark.parametrize(("name", "scale"), FIELDS)
def test_samplers_follow_the_guided_field(name: str, scale: float) -> None:
    """As scipy does from log-densities, to 1e-6: Adams in many steps, and the adaptive solver, of per-sample times.

    From where noise is 5 times the data, on every schedule, until it is 1e-4 of them: the last step, to x̂_0, is of
    first order.
    """
    schedule = EDM(sigma_min=1e-4).build() if name == "edm" else SCHEDULES[name]
    begin = float(schedule.time(torch.tensor([-2 * log(5.0)]).double()))
    t = noise_level(schedule, begin)
    x = POINTS[:6] * t.sigma
    expected = flow_of_score(x, t, scale)
    reach = torch.linspace(log(5.0), log(1e-3), 2000, dtype=torch.float64)
    grid = torch.cat([schedule.time(-2 * reach), torch.zeros(1).double()])
    grid[0] = begin
    denoiser = guided(schedule, scale)
    close = {"rtol": 0, "atol": 1e-6}
    torch.testing.assert_close(sample(denoiser, Adams(data_std=0.5), grid, x), expected, **close)
    adaptive = Adaptive(rtol=1e-9, atol=1e-9, smallest=1e-4)
    few = torch.tensor([begin, 0.0], dtype=torch.float64)
    torch.testing.assert_close(sample(denoiser, adaptive, few, x), expected, **close)


def test_scale_0_and_1_give_the_two_distributions_themselves() -> None:
    """Where the class has one component, w = 1 is its Gaussian's flow in closed form; w = 0 has the mixture's moments.

    The mean and variance of 4000 samples, to four standard errors of at most 0.7/√4000; the start is N(0, 1) where the
    data have left alpha(1) = 0.0066.
    """
    schedule = SCHEDULES["vp"]
    one, other = gaussian_denoiser(0.4, 0.25, schedule), gaussian_denoiser(-0.3, 0.6, schedule)
    flow = GaussianTarget(0.4, 0.25).flow(POINTS, noise_level(schedule, 1.0), noise_level(schedule, 0.0))
    plain = sample(Extrapolation(one, other, 1.0), Adams(data_std=0.5), torch.linspace(1, 0, 4001).double(), POINTS)
    torch.testing.assert_close(plain, flow, rtol=0, atol=1e-6)

    x = normal_points(4000)
    for scale, parts in ((0.0, torch.arange(3)), (1.0, OF_CLASS)):
        made, share = walked(guided(schedule, scale), x), SHARES[parts] / SHARES[parts].sum()
        mean = share @ MEANS[parts]
        variance = share @ (MEANS[parts] ** 2 + STDS[parts, None] ** 2) - mean**2
        assert bool(((made.mean(0) - mean).abs() < 4 * 0.8 / 4000**0.5).all())
        assert bool(((made.var(0) - variance).abs() < 0.03).all())


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_autoguidance_has_the_score_of_the_better_to_the_w_over_the_worse(schedule: Schedule, scale: float) -> None:
    """At each level, to 1e-10 of the largest."""
    denoiser = Extrapolation(mixture(schedule, OF_CLASS), worse(schedule), scale)
    for t in torch.linspace(0.02, 0.98, 16, dtype=torch.float64).tolist():
        now = noise_level(schedule, t)
        x_t = POINTS * (now.alpha**2 + now.sigma**2) ** 0.5
        expected = autoguided_score(x_t, now, scale)
        bound = 1e-10 * float(expected.abs().max())
        torch.testing.assert_close(denoiser(x_t, now).score, expected, rtol=0, atol=bound)


def test_samples_of_autoguidance_follow_its_score() -> None:
    """At 2 as scipy does from log-densities, to 1e-6, from noise of 5 times the data to where it is 1e-3 of them."""
    schedule, scale = SCHEDULES["vp"], 2.0
    begin = float(schedule.time(torch.tensor([-2 * log(5.0)]).double()))
    reach = torch.linspace(log(5.0), log(1e-3), 2000, dtype=torch.float64)
    grid = torch.cat([schedule.time(-2 * reach), torch.zeros(1).double()])
    grid[0] = begin
    x = POINTS[:6] * noise_level(schedule, begin).sigma
    made = sample(Extrapolation(mixture(schedule, OF_CLASS), worse(schedule), scale), Adams(data_std=0.5), grid, x)
    expected = flow_of_score(x, noise_level(schedule, begin), scale, autoguided_score)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-6)


def test_autoguidance_of_scale_0_and_1_samples_the_worse_and_the_better_one() -> None:
    """The mean and variance of 4000 samples, as of classifier-free guidance; 2 is neither: it varies less than both."""
    schedule, x, spread = SCHEDULES["vp"], normal_points(4000), []
    share = SHARES[OF_CLASS] / SHARES[OF_CLASS].sum()
    for scale, stds in ((0.0, WIDER), (1.0, STDS[OF_CLASS]), (2.0, None)):
        made = walked(Extrapolation(mixture(schedule, OF_CLASS), worse(schedule), scale), x)
        spread.append(float(made.var(0).sum()))
        if stds is not None:
            mean = share @ MEANS[OF_CLASS]
            variance = share @ (MEANS[OF_CLASS] ** 2 + stds[:, None] ** 2) - mean**2
            assert bool(((made.mean(0) - mean).abs() < 4 * 0.8 / 4000**0.5).all())
            assert bool(((made.var(0) - variance).abs() < 0.03).all())
    assert spread == sorted(spread, reverse=True)


def test_what_comes_out_is_not_the_tempered_distribution() -> None:
    """At w = 2 the first coordinate should be 0.536 ± 0.286 if it were; it is 0.70 ± 0.23. At w = 1 both are one.

    4000 samples, so a standard error of 0.005: the mean is more than 30 of them off.
    """
    schedule, x = SCHEDULES["vp"], normal_points(4000)
    for scale, mean, deviation in ((1.0, 0.520, 0.298), (2.0, 0.703, 0.233)):
        made = walked(guided(schedule, scale), x)[:, 0]
        assert (float(made.mean()), float(made.std())) == pytest.approx((mean, deviation), abs=0.01)
    mean, deviation = tempered(2.0)
    assert (float(mean[0]), float(deviation[0])) == pytest.approx((0.536, 0.286), abs=1e-3)
    mean, deviation = tempered(1.0)
    assert (float(mean[0]), float(deviation[0])) == pytest.approx((0.520, 0.298), abs=1e-3)


@pytest.mark.parametrize(("scale", "counts"), [(0.0, (0, 1)), (1.0, (1, 0)), (1, (1, 0)), (2.0, (1, 1)), (-1, (1, 1))])
def test_a_denoiser_that_does_not_count_is_not_evaluated(scale: float, counts: tuple[int, int]) -> None:
    """With one level for all and one for each; and the one that is alone answers in its own bits."""
    schedule = SCHEDULES["vp"]
    for t in (0.5, torch.linspace(0.1, 0.9, 16).double()):
        better, worse = Counted(mixture(schedule, OF_CLASS)), Counted(mixture(schedule))
        made = Extrapolation(better, worse, scale)(POINTS, t)
        assert (better.count, worse.count) == counts
        if sum(counts) == 1:
            assert torch.equal(made.clean, (better if counts[0] else worse)(POINTS, t).clean)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_outside_of_the_interval_the_better_one_is_alone(schedule: Schedule) -> None:
    """Guidance counts where low < sigma/alpha ≤ high, at levels of floats and of each sample; there it is all of it."""
    ratios = torch.tensor([0.1, 0.29, 0.31, 1.0, 1.99, 2.01, 5.0, 20.0], dtype=torch.float64)
    inside = (ratios > 0.3) & (ratios <= 2)
    times, points = schedule.time(-2 * ratios.log()), POINTS[: len(ratios)]
    whole, better = guided(schedule, 3.0), mixture(schedule, OF_CLASS)
    counted = Counted(better), Counted(mixture(schedule))
    limited = Extrapolation(*counted, 3.0, Interval(0.3, 2.0))
    for k, t in enumerate(times.tolist()):
        clean = limited(points, t).clean
        assert torch.equal(clean, (whole if inside[k] else better)(points, t).clean)
    assert [one.count for one in counted] == [len(times), int(inside.sum())]
    each = limited(points, times).clean
    torch.testing.assert_close(each[inside], whole(points, times).clean[inside], rtol=0, atol=0)
    torch.testing.assert_close(each[~inside], better(points, times).clean[~inside], rtol=0, atol=0)
    before = counted[1].count
    assert torch.equal(limited(points[:2], times[:2]).clean, better(points[:2], times[:2]).clean)
    assert counted[1].count == before  # all outside


@pytest.mark.parametrize("t", [1.0, torch.ones(16).double()], ids=["one level", "one each"])
def test_pure_noise_is_guided_too(t: Time) -> None:
    """At alpha = 0, where sigma/alpha is infinite and the interval open at its end, as at all other levels."""
    schedule = SCHEDULES["flow"]
    better, worse = (FunctionDenoiser(lambda x, _, v=v: torch.full_like(x, v), schedule) for v in (1.0, 0.0))
    for low, high, expected in ((0.0, inf, 2.0), (0.5, inf, 2.0), (0.0, 5.0, 1.0)):
        clean = Extrapolation(better, worse, 2.0, Interval(low, high))(POINTS, t).clean
        assert torch.equal(clean, torch.full_like(POINTS, expected))


def test_rescaling_brings_the_deviation_back() -> None:
    """φ = 1: of each sample as the better one's; 0: untouched; between: that share of the way. Also where none is."""
    schedule, t = SCHEDULES["vp"], torch.linspace(0.1, 0.9, 5).double()
    x = torch.from_numpy(np.random.default_rng(2).standard_normal((5, 3, 4, 4)))
    better, worse = (gaussian_denoiser(m, s, schedule) for m, s in ((0.4, 0.9), (-0.2, 0.5)))
    alone, plain, half, full = (
        d(x, t).clean for d in (better, *(Extrapolation(better, worse, 3.0, rescale=v) for v in (0.0, 0.5, 1.0)))
    )
    deviations = [v.flatten(1).std(1) for v in (alone, plain, full)]
    assert not torch.allclose(deviations[0], deviations[1], rtol=0.05)
    torch.testing.assert_close(deviations[2], deviations[0], rtol=1e-12, atol=0)
    torch.testing.assert_close(half, (plain + full) / 2, rtol=1e-12, atol=1e-12)
    flat = x[:, :1, :1, 0]  # a sample of one element has no deviation
    made = Extrapolation(better, worse, 3.0, rescale=1.0)(flat, t).clean
    assert torch.equal(made, Extrapolation(better, worse, 3.0)(flat, t).clean)


def test_autoguidance_and_negative_conditions_are_the_same_class() -> None:
    """Away from a wider model, and away from another class: x̂_0 on the far side of the better one's."""
    schedule, x = SCHEDULES["vp"], POINTS
    better = gaussian_denoiser(0.3, 0.5, schedule)
    for left in (gaussian_denoiser(0.3, 0.9, schedule), gaussian_denoiser(-0.5, 0.5, schedule)):
        one, other, made = (d(x, 0.6).clean for d in (better, left, Extrapolation(better, left, 2.5)))
        torch.testing.assert_close(made, one + 1.5 * (one - other), rtol=1e-12, atol=1e-12)


def test_what_is_known_of_the_variance_is_the_better_ones() -> None:
    schedule = SCHEDULES["vp"]
    better, worse = gaussian_denoiser(0.3, 0.5, schedule), gaussian_denoiser(0.3, 0.9, schedule)
    assert Extrapolation(better, worse, 2.0)(POINTS, 0.5).clean_variance == better(POINTS, 0.5).clean_variance


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({"scale": float("nan")}, "guidance: nan is not a finite number"),
        ({"scale": inf}, "guidance: inf is not a finite number"),
        ({"rescale": 1.5}, "guidance.rescale: 1.5"),
        ({"rescale": -0.1}, "guidance.rescale: -0.1"),
        ({"worse": mixture(SCHEDULES["flow"])}, "different schedules"),
    ],
)
def test_impossible_guidance_is_refused(options: dict, answer: str) -> None:
    plain = {"better": mixture(SCHEDULES["vp"]), "worse": mixture(VP().build()), "scale": 2.0}
    with pytest.raises(InputError, match=answer):
        Extrapolation(**plain | options)


@pytest.mark.parametrize(("low", "high"), [(-1.0, inf), (2.0, 2.0), (float("nan"), 1.0), (0.0, float("nan"))])
def test_an_empty_interval_is_refused(low: float, high: float) -> None:
    with pytest.raises(InputError, match=f"the interval from {low} to {high} is empty"):
        Interval(low, high)


# --- what keeps guided images in range


def spread(sizes: list[float]) -> tuple[FunctionDenoiser, Tensor]:
    """A denoiser that answers with samples of these deviations."""
    noise = np.random.default_rng(3).standard_normal((len(sizes), 3, 8, 8)) * np.array(sizes)[:, None, None, None]
    answer = torch.from_numpy(noise)
    return FunctionDenoiser(lambda *_: answer.clone(), SCHEDULES["vp"]), answer


@pytest.mark.parametrize("percentile", [0.9, 0.995, 1.0])
def test_a_dynamic_threshold_is_the_papers(percentile: float) -> None:
    """Imagen's lines, one sample at a time: s = max(1, percentile of |x̂_0|), then clip to ±s and divide by s."""
    denoiser, answer = spread([0.2, 0.8, 3.0, 10.0])
    made = DynamicThreshold(denoiser, percentile)(answer, 0.5).clean
    for x, y in zip(answer.numpy(), made.numpy(), strict=True):
        s = max(1.0, float(np.quantile(np.abs(x), percentile)))
        np.testing.assert_allclose(y, np.clip(x, -s, s) / s, rtol=1e-12)
        assert np.abs(y).max() <= 1 + 1e-12


def test_a_dynamic_threshold_leaves_what_is_inside_and_does_not_look_at_other_samples() -> None:
    denoiser, answer = spread([0.2, 10.0])
    both = DynamicThreshold(denoiser)(answer, 0.5).clean
    assert float(answer[0].abs().max()) < 1
    assert torch.equal(both[0], answer[0])
    alone = DynamicThreshold(FunctionDenoiser(lambda *_: answer[1:].clone(), SCHEDULES["vp"]))(answer[1:], 0.5).clean
    assert torch.equal(both[1:], alone)
    few = DynamicThreshold(denoiser, 0.9)(answer, torch.tensor([0.1, 0.9]).double())
    assert float(few.clean[1].abs().median()) < float(StaticThreshold(denoiser)(answer, 0.5).clean[1].abs().median())


@pytest.mark.parametrize("percentile", [0.0, 1.1, float("nan")])
def test_a_percentile_that_is_none_is_refused(percentile: float) -> None:
    with pytest.raises(InputError, match=r"percentile: .* is not in \(0, 1\]"):
        DynamicThreshold(mixture(SCHEDULES["vp"]), percentile)

"""Classifier guidance, against mixtures whose classes are known: the denoiser of a class, the score, the ODE.

The classifier is exact here, by Bayes' rule from the components' densities (`tests.guidance.test_extrapolation`), and
its gradient is found by autograd; the conditional denoiser that it must lead to is written in closed form.
"""

from dataclasses import dataclass
from math import exp, inf, log

import pytest
import torch
from torch import Tensor, nn

from sumi.denoising.denoiser import Denoiser
from sumi.denoising.exact import gaussian_denoiser, mixture_denoiser
from sumi.errors import InputError
from sumi.guidance.classifier import ClassifierGuidance, NoisyClassifier
from sumi.guidance.extrapolation import Extrapolation, Interval
from sumi.process.chain import CosineBeta
from sumi.process.continuous import VP, Flow
from sumi.process.exploding import EDM
from sumi.process.schedule import NoiseLevel, Schedule, Time, noise_level
from sumi.sampling.sample import sample
from sumi.sampling.solvers.adams import Adams
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
    guided_score,
    log_densities,
    mixture,
    normal_points,
    walked,
)
from tests.oracles import GaussianTarget


def class_probability(x_t: Tensor, t: NoiseLevel) -> Tensor:
    """log p(y | x_t), (N,), at a level of floats or at one for each sample."""
    if not isinstance(t.alpha, Tensor):
        return log_densities(x_t, t)[1]
    each = zip(x_t, t.alpha.tolist(), torch.as_tensor(t.sigma).tolist(), strict=True)
    return torch.cat([log_densities(x[None], NoiseLevel(0.0, a, s, 0.0, 0.0, 0.0))[1] for x, a, s in each])


def guided(schedule: Schedule, scale: float, base: Denoiser | None = None) -> ClassifierGuidance:
    return ClassifierGuidance(base or mixture(schedule), class_probability, scale)


TIMES = torch.linspace(0.02, 0.98, 16, dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_scale_1_makes_of_the_unconditional_denoiser_the_conditional_one(schedule: Schedule) -> None:
    """To 1e-10, at levels of floats and of each sample; scale 0 leaves it in its own bits."""
    for t in (*TIMES.tolist(), TIMES):
        now = noise_level(schedule, t)
        size = torch.as_tensor((now.alpha**2 + now.sigma**2) ** 0.5, dtype=torch.float64).reshape(-1, 1)
        x_t = POINTS * size
        expected = mixture(schedule, OF_CLASS)(x_t, now).clean
        torch.testing.assert_close(guided(schedule, 1.0)(x_t, now).clean, expected, rtol=0, atol=1e-10)
        assert torch.equal(guided(schedule, 0.0)(x_t, now).clean, mixture(schedule)(x_t, now).clean)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_score_is_the_guided_one(schedule: Schedule, scale: float) -> None:
    """∇ log p(x_t) + s ∇ log p(y | x_t), to 1e-10 of the largest; on a conditional denoiser that of s + 1."""
    for t in TIMES.tolist():
        now = noise_level(schedule, t)
        x_t = POINTS * (now.alpha**2 + now.sigma**2) ** 0.5
        for base, total in ((mixture(schedule), scale), (mixture(schedule, OF_CLASS), scale + 1)):
            expected = guided_score(x_t, now, total)
            bound = 1e-10 * float(expected.abs().max())
            made = guided(schedule, scale, base)(x_t, now).score
            torch.testing.assert_close(made, expected, rtol=0, atol=bound)


@pytest.mark.parametrize(
    ("name", "scale"), [*(pytest.param(*f, marks=pytest.mark.slow) for f in [("vp", 0.5), ("edm", 2.0)]), ("flow", 2.0)]
)
def test_samplers_follow_the_guided_field(name: str, scale: float) -> None:
    """As scipy does from log-densities, to 1e-6, from noise of 5 times the data to where it is 1e-3 of them."""
    schedule = EDM(sigma_min=1e-4).build() if name == "edm" else SCHEDULES[name]
    begin = float(schedule.time(torch.tensor([-2 * log(5.0)]).double()))
    x = POINTS[:6] * noise_level(schedule, begin).sigma
    reach = torch.linspace(log(5.0), log(1e-3), 2000, dtype=torch.float64)
    grid = torch.cat([schedule.time(-2 * reach), torch.zeros(1).double()])
    grid[0] = begin
    made = sample(guided(schedule, scale), Adams(data_std=0.5), grid, x)
    torch.testing.assert_close(made, flow_of_score(x, noise_level(schedule, begin), scale), rtol=0, atol=1e-6)


def test_scale_0_and_1_sample_the_two_distributions_themselves() -> None:
    """Of two Gaussians, 1 is the flow of the class's own in closed form; of the mixture, the moments of 4000 samples.

    The first to 1e-5, what the walk's 1000 steps leave; the second to four standard errors.
    """
    schedule = SCHEDULES["vp"]
    two = [(0.5, GaussianTarget(0.4, 0.25)), (0.5, GaussianTarget(-0.3, 0.6))]

    def first_of_two(x_t: Tensor, t: NoiseLevel) -> Tensor:
        joint = []
        for share, target in two:
            mean, variance = target.marginal(t)
            joint.append(log(share) - (x_t - mean).square().sum(1) / (2 * variance) - log(variance) / 2)
        return torch.stack(joint, 1).log_softmax(1)[:, 0]

    points = POINTS[:, :1]
    both = MEANS.new_tensor([[0.4], [-0.3]]), MEANS.new_tensor([0.25, 0.6]), MEANS.new_tensor([0.5, 0.5])
    grid = torch.linspace(1, 0, 1001, dtype=torch.float64)
    made = sample(
        ClassifierGuidance(mixture_denoiser(*both, schedule), first_of_two, 1.0), Adams(data_std=0.5), grid, points
    )
    flow = two[0][1].flow(points, noise_level(schedule, 1.0), noise_level(schedule, 0.0))
    torch.testing.assert_close(made, flow, rtol=0, atol=1e-5)

    x = normal_points(4000)
    for scale, parts in ((0.0, torch.arange(3)), (1.0, OF_CLASS)):
        made, share = walked(guided(schedule, scale), x), SHARES[parts] / SHARES[parts].sum()
        mean = share @ MEANS[parts]
        variance = share @ (MEANS[parts] ** 2 + STDS[parts, None] ** 2) - mean**2
        assert bool(((made.mean(0) - mean).abs() < 4 * 0.8 / 4000**0.5).all())
        assert bool(((made.var(0) - variance).abs() < 0.03).all())


def test_it_is_the_field_of_classifier_free_guidance() -> None:
    """With an exact classifier the two are one, so what comes out at 2 is not the tempered distribution here either."""
    schedule, x = SCHEDULES["vp"], normal_points(200)
    other = Extrapolation(mixture(schedule, OF_CLASS), mixture(schedule), 2.0)
    torch.testing.assert_close(walked(guided(schedule, 2.0), x), walked(other, x), rtol=0, atol=1e-8)


def test_it_works_where_nothing_else_is_differentiated_and_keeps_the_variance() -> None:
    schedule = SCHEDULES["vp"]
    base = gaussian_denoiser(0.3, 0.5, schedule)
    one = ClassifierGuidance(base, class_probability, 2.0)
    expected = one(POINTS, 0.5)
    with torch.inference_mode():
        inside = one(POINTS.clone(), 0.5)
    assert torch.equal(inside.clean, expected.clean)
    assert not expected.clean.requires_grad
    classifier = NoisyClassifier(Recorder(), -8.0, 8.0)
    with torch.inference_mode():  # labels made there too
        own = ClassifierGuidance(base, classifier.of(torch.ones(16, dtype=torch.int64)), 2.0)(POINTS.clone(), 0.5)
    torch.testing.assert_close(own.clean, expected.clean, rtol=0, atol=1e-10)
    assert expected.clean_variance == base(POINTS, 0.5).clean_variance


def test_outside_of_the_interval_the_classifier_is_not_asked() -> None:
    schedule, requested = SCHEDULES["vp"], []

    def counting(x_t: Tensor, t: NoiseLevel) -> Tensor:
        requested.append(t)
        return class_probability(x_t, t)

    ratios = torch.tensor([0.1, 0.29, 0.31, 1.0, 1.99, 2.01, 20.0], dtype=torch.float64)
    inside = (ratios > 0.3) & (ratios <= 2)
    times, points = schedule.time(-2 * ratios.log()), POINTS[: len(ratios)]
    counted = Counted(mixture(schedule))
    limited = ClassifierGuidance(counted, counting, 3.0, Interval(0.3, 2.0))
    whole, alone = guided(schedule, 3.0), mixture(schedule)
    for k, t in enumerate(times.tolist()):
        assert torch.equal(limited(points, t).clean, (whole if inside[k] else alone)(points, t).clean)
    assert (counted.count, len(requested)) == (len(times), int(inside.sum()))
    each = limited(points, times).clean
    assert torch.equal(each[inside], whole(points, times).clean[inside])
    assert torch.equal(each[~inside], alone(points, times).clean[~inside])


@pytest.mark.parametrize("t", [1.0, torch.tensor([1.0, 0.5]).double()], ids=["one level", "one each"])
def test_where_no_data_is_left_there_is_nothing_to_classify(t: Time) -> None:
    """At alpha = 0: refused, unless the interval ends before."""
    schedule = SCHEDULES["flow"]
    denoiser = gaussian_denoiser(0.3, 0.5, schedule)

    def first(x_t: Tensor, _: NoiseLevel) -> Tensor:
        return x_t[:, 0]

    with pytest.raises(InputError, match=r"no data is left .* to be classified; end the interval below that"):
        ClassifierGuidance(denoiser, first, 1.0)(POINTS[:2], t)
    ended = ClassifierGuidance(denoiser, first, 1.0, Interval(0.0, 50.0))(POINTS[:2], t).clean
    assert torch.equal(ended[0], denoiser(POINTS[:2], t).clean[0])
    assert bool(ended.isfinite().all())


@pytest.mark.parametrize("scale", [float("nan"), inf])
def test_a_scale_that_is_no_number_is_refused(scale: float) -> None:
    with pytest.raises(InputError, match=r"classifier_scale: .* is not a finite number; 0 is none"):
        guided(SCHEDULES["vp"], scale)


# --- one network for every schedule


@dataclass
class Seen:
    """What a network was given."""

    x: Tensor
    c_noise: Tensor


class Recorder(nn.Module):
    """Logits that depend on all of its input: Bayes' rule for the mixture, at the level it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Seen] = []

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        self.seen.append(Seen(x.detach(), c_noise.detach()))
        log_snr = 4 * c_noise
        alpha, sigma = log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()
        now = NoiseLevel(torch.zeros_like(alpha), alpha, sigma, log_snr, alpha, sigma)
        of_class = class_probability(x, now)
        return torch.stack([torch.log(-torch.expm1(of_class)), of_class], 1)


ANY_SCHEDULE = {**SCHEDULES, "cosine": CosineBeta().build(), "flow": Flow().build(), "vp": VP().build()}


@pytest.mark.parametrize("schedule", ANY_SCHEDULE.values(), ids=ANY_SCHEDULE)
def test_one_classifier_guides_every_schedule(schedule: Schedule) -> None:
    """A network that knows variance-preserving images by their log-SNR alone gives each schedule its class exactly.

    It sees √u x_0 + √(1 - u) ε and log-SNR/4; gradients to 1e-10 of x̂_0.
    """
    network = Recorder()
    classifier = NoisyClassifier(network, -20.0, 20.0)
    of_class = classifier.of(torch.ones(16, dtype=torch.int64))
    for t in (0.3, 0.8, torch.linspace(0.1, 0.9, 16).double()):
        now = noise_level(schedule, t)
        size = torch.as_tensor((now.alpha**2 + now.sigma**2) ** 0.5, dtype=torch.float64).reshape(-1, 1)
        made = ClassifierGuidance(mixture(schedule), of_class, 1.0)(POINTS * size, now).clean
        torch.testing.assert_close(made, mixture(schedule, OF_CLASS)(POINTS * size, now).clean, rtol=0, atol=1e-10)
        torch.testing.assert_close(network.seen[-1].x, POINTS, rtol=1e-12, atol=1e-12)
        wanted = torch.as_tensor(now.log_snr, dtype=torch.float64).expand(16) / 4
        torch.testing.assert_close(network.seen[-1].c_noise, wanted, rtol=0, atol=1e-12)


def test_it_knows_the_levels_it_was_trained_at() -> None:
    """The interval of sigma/alpha between its log-SNR; beyond them it answers as at the nearest, which is finite."""
    network = Recorder()
    classifier = NoisyClassifier(network, -8.0, 6.0)
    assert classifier.interval == Interval(exp(-3.0), exp(4.0))
    for log_snr, condition in ((-inf, -2.0), (-9.0, -2.0), (0.4, 0.1), (7.0, 1.5), (inf, 1.5)):
        classifier.logits(POINTS, NoiseLevel(0.0, 0.6, 0.8, log_snr, 0.0, 0.0))
        torch.testing.assert_close(network.seen[-1].c_noise, torch.full((16,), condition).double())


def test_each_sample_is_asked_for_its_own_class() -> None:
    labels = torch.tensor([0, 1]).repeat(8)
    classifier, now = NoisyClassifier(Recorder(), -8.0, 8.0), NoiseLevel(0.0, 0.6, 0.8, 2 * log(0.75), 0.0, 0.0)
    found, of_class = classifier.of(labels)(POINTS, now), log_densities(POINTS, now)[1]
    expected = torch.where(labels == 1, of_class, torch.log(-torch.expm1(of_class)))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)

"""Parameterizations: what each network would output for known (x_0, ε), and the round trips between all of them."""

from math import log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sumi.denoising.denoiser import Denoised, FunctionDenoiser, NetworkDenoiser
from sumi.denoising.parameterization import (
    PredictBoundedClean,
    PredictClean,
    PredictEnergy,
    PredictFlow,
    PredictNoise,
    PredictPreconditioned,
    PredictScore,
    PredictVelocity,
)
from sumi.errors import InputError
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.continuous import VP, CosineNoise, Flow, RectifiedFlow, SubVP
from sumi.process.exploding import EDM, VE
from sumi.process.gaussian import add_noise, expand
from sumi.process.schedule import NoiseLevel, noise_level

SCHEDULES = [LinearBeta().build(), CosineBeta().build()]
ALL = {c.name: c.build() for c in (LinearBeta(), CosineBeta(), VP(), SubVP(), Flow(), VE(), EDM())}


def karras_target(x_0, noise, now, s):
    """(y - c_skip (y + n))/c_out of Karras et al. 2022, eq. 8 and table 1, for y = x_0 and n = σ̂ ε."""
    sigma = now.sigma / now.alpha
    c_skip = s**2 / (sigma**2 + s**2)
    c_out = sigma * s / (sigma**2 + s**2).sqrt()
    return (x_0 - c_skip * (x_0 + sigma * noise)) / c_out


# what the network must output, straight from the definition of each quantity
MEANING = {
    PredictClean(): lambda x_0, noise, now: x_0,
    # at noise below 0.05 the true (x_t - alpha x_0)/sigma is (x_t - alpha F)/0.05
    PredictBoundedClean(0.05): lambda x_0, noise, now: x_0 - (0.05 - now.sigma).clamp(min=0) / now.alpha * noise,
    PredictNoise(): lambda x_0, noise, now: noise,
    PredictVelocity(): lambda x_0, noise, now: now.alpha * noise - now.sigma * x_0,
    PredictScore(): lambda x_0, noise, now: -noise / now.sigma,
    PredictFlow(): lambda x_0, noise, now: now.alpha_slope * x_0 + now.sigma_slope * noise,
    PredictPreconditioned(): lambda x_0, noise, now: karras_target(x_0, noise, now, 0.5),
    PredictPreconditioned(sigma_data=2.0): lambda x_0, noise, now: karras_target(x_0, noise, now, 2.0),
    PredictEnergy(): lambda x_0, noise, now: noise,
}
TIMES = torch.tensor([0.001, 0.05, 0.3, 0.7, 0.999], dtype=torch.float64)


class Fixed(torch.nn.Module):
    """A network that has one answer and remembers what it was asked."""

    def __init__(self, output: torch.Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        self.requested = x, c_noise
        return self.output


def shaped(now: NoiseLevel, x: torch.Tensor) -> NoiseLevel:
    """The level's numbers ready to multiply x (N, …)."""
    numbers = (now.t, now.alpha, now.sigma, now.log_snr, now.alpha_slope, now.sigma_slope)
    return NoiseLevel(*(expand(v, x) for v in numbers))


def _example():
    g = torch.Generator().manual_seed(0)
    return torch.randn(5, 2, 3, generator=g).double(), torch.randn(5, 2, 3, generator=g).double()


@pytest.mark.parametrize("parameterization", MEANING, ids=repr)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=["linear", "cosine"])
def test_the_right_output_gives_back_the_data(parameterization, schedule) -> None:
    """With F as the paper defines it, x̂_0 = x_0, and noise, score and velocity are those of the pair (x_0, ε)."""
    x_0, noise = _example()
    now = noise_level(schedule, TIMES)
    alpha, sigma = expand(now.alpha, x_0), expand(now.sigma, x_0)
    x_t = add_noise(x_0, noise, now)
    network = Fixed(MEANING[parameterization](x_0, noise, shaped(now, x_0)))
    denoised = NetworkDenoiser(network, schedule, parameterization)(x_t, TIMES)
    # one division by alpha, whose smallest value here is 4.9e-5·(linear: 6.4e-3), on float64
    torch.testing.assert_close(denoised.clean, x_0, rtol=0, atol=1e-10)
    torch.testing.assert_close(denoised.noise, noise, rtol=0, atol=1e-10)
    torch.testing.assert_close(denoised.score, -noise / sigma, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(denoised.velocity, alpha * noise - sigma * x_0, rtol=0, atol=1e-10)


@pytest.mark.parametrize("parameterization", MEANING, ids=repr)
def test_floats_for_the_batch_equal_tensors_for_each(parameterization) -> None:
    x, _ = _example()
    denoiser = NetworkDenoiser(Fixed(x.flip(0)), SCHEDULES[0], parameterization)
    together = denoiser(x, torch.full((5,), 0.37, dtype=torch.float64))
    one = denoiser(x, 0.37)
    torch.testing.assert_close(one.clean, together.clean, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(one.score, together.score, rtol=1e-13, atol=1e-13)
    assert denoiser.network.requested[1].shape == (5,)


def test_the_network_is_given_the_index_of_the_chain() -> None:
    x, _ = _example()
    denoiser = NetworkDenoiser(Fixed(x), SCHEDULES[0], PredictNoise(), trained_steps=1000)
    for index in (0, 499, 999):
        denoiser(x, (index + 1) / 1000)
        assert denoiser.network.requested[1].tolist() == pytest.approx([index] * 5, abs=1e-9)
        assert torch.equal(denoiser.network.requested[0], x)


def test_denoised_views_agree_with_their_definitions() -> None:
    x_0, noise = _example()
    alpha, sigma = 0.8, 0.5  # deliberately not variance preserving
    view = Denoised(x_0, alpha * x_0 + sigma * noise, alpha, sigma)
    torch.testing.assert_close(view.noise, noise)
    torch.testing.assert_close(view.score, -noise / sigma)
    torch.testing.assert_close(view.velocity, alpha * noise - sigma * x_0)


def test_velocity_without_variance_preservation() -> None:
    """x_0 = (alpha x_t - sigma v)/(alpha² + sigma²) also where alpha² + sigma² is not 1."""

    x_0, noise = _example()
    denoiser = NetworkDenoiser(Fixed(0.6 * noise - 0.4 * x_0), RectifiedFlow(), PredictVelocity())
    torch.testing.assert_close(denoiser(0.6 * x_0 + 0.4 * noise, 0.4).clean, x_0)


@pytest.mark.parametrize("t", [0.001, 0.01, 0.019, 0.02, 0.3, 1.0])
def test_a_bounded_prediction_of_the_data_divides_by_no_less_noise(t) -> None:
    """ε̂ = (x_t - alpha F)/max(sigma, 0.02), on the straight line from data to noise."""
    x_t, output = _example()
    denoised = NetworkDenoiser(Fixed(output), Flow().build(), PredictBoundedClean())(x_t, t)
    torch.testing.assert_close(denoised.noise, (x_t - (1 - t) * output) / max(t, 0.02), rtol=0, atol=1e-11)


@pytest.mark.parametrize("value", [0, -0.1, 1.5, float("nan")])
def test_a_bound_that_is_none_is_refused(value) -> None:
    with pytest.raises(InputError, match=r"parameterization\.least_noise: .* is not in \(0, 1\]"):
        PredictBoundedClean(value)


def test_any_callable_is_a_denoiser() -> None:
    x, _ = _example()
    denoiser = FunctionDenoiser(lambda x_t, t: x_t * t.alpha, SCHEDULES[0])
    torch.testing.assert_close(denoiser(x, 0.5).clean, x * noise_level(SCHEDULES[0], 0.5).alpha)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=30, deadline=None)
@given(t=st.floats(1e-3, 1 - 1e-3), pair=st.tuples(st.floats(-3, 3), st.floats(-3, 3)))
def test_round_trips_between_all_parameterizations(name: str, t: float, pair: tuple[float, float]) -> None:
    """F of one, from its definition, → x̂_0, ε̂ → F of another, from its definition: what x_0 and ε give at once.

    x̂_0 loses the digits that alpha is small by; as a part of F of unit size it keeps 1e-12 of all that it is made of.
    """
    now = noise_level(ALL[name], torch.tensor([t], dtype=torch.float64))
    x_0, noise = (torch.tensor([v], dtype=torch.float64) for v in pair)
    x_t = now.alpha * x_0 + now.sigma * noise
    for first, meaning in MEANING.items():
        c = first.coefficients(now)
        clean = c.c_skip * x_t + c.c_out * meaning(x_0, noise, now)
        terms = (c.c_skip * x_t).abs() + (c.c_out * meaning(x_0, noise, now)).abs()
        assert abs(clean - x_0) <= 1e-13 * (1 + terms), first
        found = Denoised(clean, x_t, now.alpha, now.sigma)
        for second, other in MEANING.items():
            d = second.coefficients(now)
            back = (clean - d.c_skip * x_t) / d.c_out
            by_name = other(clean, found.noise, now)
            scale = ((clean.abs() + (d.c_skip * x_t).abs() + terms) / d.c_out.abs()) + 1
            assert abs(back - other(x_0, noise, now)) <= 1e-12 * scale, (first, second)
            assert abs(back - by_name) <= 1e-12 * scale, (first, second)


@pytest.mark.parametrize("schedule", [RectifiedFlow(), CosineNoise()], ids=["flow", "cosine"])
def test_flow_is_the_slope_of_the_path_and_finite_where_no_data_is_left(schedule) -> None:
    """u = d/dt (alpha x_0 + sigma ε), by central differences of the path; at t = 1, where alpha is 0, x̂_0 is exact."""
    x_0, noise, h = torch.tensor([[0.7]]).double(), torch.tensor([[-1.1]]).double(), 1e-6

    def path(t: float) -> torch.Tensor:
        return add_noise(x_0, noise, noise_level(schedule, t))

    for t in (1e-4, 0.2, 0.5, 0.9, 1.0):
        u = (path(t) - path(t - h)) / h if t == 1 else (path(t + h) - path(t - h)) / (2 * h)
        clean = NetworkDenoiser(Fixed(u), schedule, PredictFlow())(path(t), t).clean
        torch.testing.assert_close(
            clean, x_0, rtol=0, atol=1e-8 if t < 1 else 1e-5
        )  # a central, a one-sided difference
    end = PredictFlow().coefficients(noise_level(schedule, 1.0))
    assert end.c_skip == pytest.approx(noise_level(schedule, 1.0).sigma_slope / -noise_level(schedule, 1.0).alpha_slope)


def test_rectified_flow_is_noise_minus_data() -> None:
    x_0, noise = _example()
    denoiser = NetworkDenoiser(Fixed(noise - x_0), RectifiedFlow(), PredictFlow())
    t = torch.tensor([1e-5, 0.1, 0.5, 0.9, 1.0], dtype=torch.float64)
    torch.testing.assert_close(denoiser(add_noise(x_0, noise, noise_level(RectifiedFlow(), t)), t).clean, x_0)


@pytest.mark.parametrize("name", ALL)
def test_edm_reads_and_predicts_unit_variance(name: str) -> None:
    """For data of variance sigma_data² input and target have variance 1 at all times, and c_noise = ln(σ̂)/4."""
    now, s = noise_level(ALL[name], TIMES), 0.7
    c = PredictPreconditioned(sigma_data=s).coefficients(now)
    variance_in = c.c_in**2 * (now.alpha**2 * s**2 + now.sigma**2)
    of_clean, of_noise = (1 - c.c_skip * now.alpha) / c.c_out, c.c_skip * now.sigma / c.c_out
    torch.testing.assert_close(variance_in, torch.ones_like(TIMES))
    torch.testing.assert_close(of_clean**2 * s**2 + of_noise**2, torch.ones_like(TIMES), rtol=1e-9, atol=0)
    torch.testing.assert_close(c.c_noise, (now.sigma / now.alpha).log() / 4, rtol=1e-10, atol=1e-12)


def test_edm_on_its_own_schedule_is_the_papers_table() -> None:
    """sigma = 0.002, 0.5 and 80 with sigma_data = 0.5, by hand."""
    found = [
        PredictPreconditioned().coefficients(NoiseLevel(0.0, 1.0, s, -2 * log(s), 0.0, 1.0)) for s in (0.002, 0.5, 80)
    ]
    assert [c.c_skip for c in found] == pytest.approx([0.25 / 0.250004, 0.5, 0.25 / 6400.25])
    assert [c.c_out for c in found] == pytest.approx([0.001 / 0.250004**0.5, 0.25 / 0.5**0.5, 40 / 6400.25**0.5])
    assert [c.c_in for c in found] == pytest.approx([1 / 0.250004**0.5, 2**0.5, 1 / 6400.25**0.5])
    assert [c.c_noise for c in found] == pytest.approx([log(0.002) / 4, log(0.5) / 4, log(80) / 4])


def test_sigma_data_must_be_positive() -> None:
    with pytest.raises(InputError, match=r"^parameterization\.sigma_data: 0 is not positive"):
        PredictPreconditioned(sigma_data=0)

"""Inverse problems without training: each method is exact where it is said to be, with any solver."""

from dataclasses import replace
from itertools import pairwise
from math import log

import numpy as np
import pytest
import torch
from torch import Tensor

from sumi.denoising.denoiser import FunctionDenoiser, NetworkDenoiser
from sumi.denoising.exact import gaussian_denoiser
from sumi.denoising.parameterization import PredictVelocity
from sumi.errors import InputError
from sumi.networks.unet import UNetConfig
from sumi.operators.jpeg import JPEG
from sumi.operators.linear import Linear, Mask
from sumi.operators.separable import bicubic
from sumi.process.continuous import Flow
from sumi.process.exploding import EDM
from sumi.process.gaussian import transition
from sumi.process.schedule import DATA, NoiseLevel, noise_level
from sumi.randomness import Purpose, SampleNoise
from sumi.restoration.dps import DPS
from sumi.restoration.measurement import Measurement
from sumi.restoration.null_space import DDNM
from sumi.restoration.posterior import MomentMatching, PseudoinverseGuidance
from sumi.restoration.product import Conditioned, KnownValues
from sumi.restoration.replacement import DataConsistency, RePaint, repaint_times
from sumi.restoration.twisted import TwistedSMC
from sumi.sampling.sample import sample
from sumi.sampling.sampler import build_method
from sumi.sampling.solvers import SOLVERS
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.runge_kutta import RungeKutta
from sumi.sampling.solvers.solver import StepNoise
from tests.restoration_targets import SCHEDULE, SUMS, TRIPLE, Gauss, Mixture, gaussian, probe

LEVELS = [noise_level(SCHEDULE, t) for t in (0.01, 0.2, 0.5, 0.8, 1.0)]
Y = np.array([0.9, -0.8])
SEEN = np.eye(3)[[0, 2]]
"""The first and the last of three elements."""


def randn(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape))


def of_matrix(a: np.ndarray, y: np.ndarray, std: float = 0.0) -> Measurement:
    return Measurement(Linear(torch.from_numpy(a)), torch.from_numpy(y).reshape(-1, len(a)), std)


def masked(std: float = 0.0) -> Measurement:
    return Measurement(
        Mask(torch.tensor([False, True, False])), torch.tensor([[0.9, 7.0, -0.8]], dtype=torch.float64), std
    )


@pytest.mark.parametrize("std", [0.0, 0.3])
@pytest.mark.parametrize("t", LEVELS, ids=lambda t: str(t.t))
def test_moment_matching_is_exact_on_every_gaussian(t: NoiseLevel, std: float) -> None:
    """At any x_t the denoiser of the posterior, to 1e-10, whatever is measured of it."""
    x_t = 2 * randn(20, 3)
    for measurement, a in ((of_matrix(SUMS, Y, std), SUMS), (masked(std), SEEN)):
        got = MomentMatching(TRIPLE.denoiser(), measurement)(x_t, t)
        torch.testing.assert_close(got.clean, TRIPLE.given(a, Y, std).clean(x_t, t), rtol=0, atol=1e-10)
        torch.testing.assert_close(t.alpha * got.clean + t.sigma * got.noise, x_t)


def test_what_is_measured_without_noise_is_met_after_one_iteration_too() -> None:
    x_t = 2 * randn(20, 3)
    rough = MomentMatching(TRIPLE.denoiser(), of_matrix(SUMS, Y), 1)(x_t, 0.4).clean
    assert (rough - TRIPLE.given(SUMS, Y, 0.0).clean(x_t, noise_level(SCHEDULE, 0.4))).abs().max() > 1e-3
    measured = (rough @ torch.from_numpy(SUMS).double().T).expand(20, -1)
    torch.testing.assert_close(measured, torch.from_numpy(Y).expand(20, -1), rtol=0, atol=1e-12)


def test_with_a_mask_it_is_the_conditioning_of_known_values() -> None:
    x_t, known = randn(5, 3), torch.tensor([True, False, True])
    for std in (0.0, 0.2):
        one = Conditioned(TRIPLE.denoiser(), KnownValues(masked().y[0], known, std))
        torch.testing.assert_close(
            MomentMatching(TRIPLE.denoiser(), masked(std))(x_t, 0.4).clean, one(x_t, 0.4).clean, rtol=0, atol=1e-13
        )


def test_what_says_the_same_twice_is_no_trouble() -> None:
    """Four equations of rank two, and more iterations than there are unknowns."""
    twice = np.concatenate([SUMS, 2 * SUMS - SUMS[::-1]])
    y, x_t = twice @ np.array([0.4, 0.1, -0.6]), randn(6, 3)
    wanted = TRIPLE.given(SUMS, y[:2], 0.0)
    for t in LEVELS:
        got = MomentMatching(TRIPLE.denoiser(), of_matrix(twice, y), 30)(x_t, t).clean
        torch.testing.assert_close(got, wanted.clean(x_t, t), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("solver", "std", "order", "error"),
    [
        (DDIM(), 0.0, 1, 0.01),
        (DDIM(), 0.3, 1, 0.01),
        pytest.param(RungeKutta(4), 0.0, 2, 1e-5, marks=pytest.mark.slow),
        (RungeKutta(4), 0.3, 4, 1e-8),
    ],
)
def test_what_moment_matching_samples_is_the_posterior(solver, std: float, order: int, error: float) -> None:
    """Mean and covariance, from the posterior's at t = 1, converge at the solver's own order.

    Of RK4 that is 2 where the measurement is without noise: its ODE has the slope 1/sigma at the end.
    """
    target = TRIPLE.given(SUMS, Y, std)
    start, found = target.noised(noise_level(SCHEDULE, 1.0)), []
    for n in (60, 120):
        times = torch.linspace(1, 0, n + 1, dtype=torch.float64) ** 2
        denoiser = MomentMatching(TRIPLE.denoiser(), of_matrix(SUMS, Y, std), 2)
        mean, covariance = probe(denoiser, solver, times, start.mean, start.covariance)
        found.append(max(np.abs(mean - target.mean).max(), np.abs(covariance - target.covariance).max()))
    assert found[1] < error
    assert log(found[0] / found[1], 2) == pytest.approx(order, abs=0.05)


@pytest.mark.parametrize("std", [0.0, 0.3])
@pytest.mark.parametrize("schedule", [SCHEDULE, EDM().build()], ids=["vp", "edm"])
def test_pseudoinverse_guidance_is_exact_on_isotropic_gaussians(schedule, std: float) -> None:
    """x_0 ~ N(m, 0.7² I), any matrix, times of a batch together."""
    data, x_t = gaussian(np.array([0.3, -0.2, 0.1]), 0.49 * np.eye(3)), 2 * randn(5, 3)
    t = torch.tensor([0.02, 0.2, 0.5, 0.7, 0.9]).double()
    guide = PseudoinverseGuidance(data.denoiser(schedule), of_matrix(SUMS, Y, std), data_std=0.7)
    wanted = data.given(SUMS, Y, std).clean(x_t, noise_level(schedule, t))
    torch.testing.assert_close(guide(x_t, t).clean, wanted, rtol=0, atol=1e-10)
    for k in range(5):
        alone = guide(x_t[k : k + 1], float(t[k])).clean
        torch.testing.assert_close(alone, wanted[k : k + 1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("t", LEVELS, ids=lambda t: str(t.t))
def test_ddnm_is_exact_where_seen_and_unseen_are_independent(t: NoiseLevel) -> None:
    """Two Gaussian modes in the unseen direction, a Gaussian in the seen one, both oblique to the axes."""
    q = np.linalg.qr(randn(3, 3).numpy())[0]
    covariance = q @ np.diag([0.5, 0.1, 0.1]) @ q.T
    data = Mixture(np.array([0.3, 0.7]), np.stack([q @ [0.2, -1, 0], q @ [0.2, 0.8, 0.5]]), np.stack([covariance] * 2))
    a, x_t = 3 * q[:, :1].T, randn(20, 3)
    got = DDNM(data.denoiser(), of_matrix(a, np.array([1.5])))(x_t, t).clean
    torch.testing.assert_close(got, data.given(a, np.array([1.5]), 0.0).clean(x_t, t), rtol=0, atol=1e-10)


@pytest.mark.parametrize("solver", [DDIM(), DDIM(eta=1.0)])
def test_repaint_is_as_good_as_the_solver_where_elements_are_independent(solver) -> None:
    """What is not known is sampled as without any measurement: by the probe, a walk of one resampling has the same
    moments to 1e-12. Each time the way is gone again the solver's own error comes again, and goes with its steps."""
    mean, covariance = np.array([0.5, -0.3, 0.2]), np.diag([0.2, 0.6, 0.4])
    data, start = gaussian(mean, covariance), (np.zeros(3), np.eye(3))
    errors = []
    for n, jump in ((50, 5), (100, 10)):
        times = torch.linspace(1, 0, n + 1, dtype=torch.float64) ** 2
        plain = probe(data.denoiser(), solver, times, *start)
        once = probe(data.denoiser(), RePaint(solver, masked()), repaint_times(times, jump, 1), *start)
        assert once[0] == pytest.approx([0.9, plain[0][1], -0.8], abs=1e-12)
        assert once[1] == pytest.approx(np.diag([0, plain[1][1, 1], 0]), abs=1e-12)
        thrice = probe(data.denoiser(), RePaint(solver, masked()), repaint_times(times, jump, 3), *start)
        errors.append(abs(thrice[1][1, 1] - 0.6))
    assert errors[0] < 0.1
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.3)


def test_after_a_step_the_seen_part_is_the_noised_measurement() -> None:
    """And a step up is one of the forward process, with a fresh state."""
    s, t, z = noise_level(SCHEDULE, 0.3), noise_level(SCHEDULE, 0.5), Gauss((4, 3))
    measurement = of_matrix(SUMS, Y)
    solver, noise = RePaint(RungeKutta(4), measurement), StepNoise(z, 7)
    x, _ = solver.step(TRIPLE.denoiser(), randn(4, 3), t, s, None, noise)
    operator = measurement.linear("test")
    noised = s.alpha * torch.from_numpy(Y) + s.sigma * operator(z(7, Purpose.MEASUREMENT))
    torch.testing.assert_close(operator(x), noised, rtol=0, atol=1e-12)
    inner, _ = RungeKutta(4).step(TRIPLE.denoiser(), randn(4, 3), t, s, None, noise)
    torch.testing.assert_close(operator.pseudo_inverse(operator(x - inner)), x - inner, rtol=0, atol=1e-12)
    up, state = solver.step(TRIPLE.denoiser(), x, s, t, "used up", noise)
    kernel = transition(s, t)
    torch.testing.assert_close(up, kernel.scale * x + kernel.variance**0.5 * z(7, Purpose.STEP), rtol=0, atol=1e-14)
    assert state is None


def test_the_walk_of_repaint_is_that_of_its_authors() -> None:
    """250 steps with jumps of 10, 10 times: 4570 of their steps, of which ours takes each 10 up as one."""
    times = torch.linspace(1, 0, 251, dtype=torch.float64)
    places = (repaint_times(times) * 250).round().int().tolist()
    moves = [b - a for a, b in pairwise(places)]
    assert set(moves) == {-1, 10}
    assert (moves.count(-1), moves.count(10)) == (2410, 216)
    assert (places[0], places[-1], places.count(0)) == (250, 0, 1)
    assert all(places.count(k) == 10 + 9 * (k % 10 == 1 and k > 1) for k in range(1, 241) if k % 10 == 1 and k < 232)
    assert torch.equal(repaint_times(times, 10, 1), times)
    short = repaint_times(torch.tensor([1.0, 0.7, 0.4, 0.2, 0.0]), jump=2, resamplings=2)
    assert short.tolist() == pytest.approx([1, 0.7, 0.4, 0.2, 0.7, 0.4, 0.2, 0])


def test_resampling_takes_the_bias_of_replacement_away() -> None:
    """Correlation 0.9, one element known: the error of the other's mean, 0.9, falls with each resampling."""
    pair = gaussian(np.zeros(2), np.array([[1.0, 0.9], [0.9, 1.0]]))
    known = Measurement(Mask(torch.tensor([False, True])), torch.ones(1, 2).double())
    times, errors = torch.linspace(1, 0, 51, dtype=torch.float64) ** 2, []
    for resamplings in (1, 2, 4, 8):
        walk = repaint_times(times, 5, resamplings)
        mean, _ = probe(pair.denoiser(), RePaint(DDIM(eta=1.0), known), walk, np.zeros(2), np.eye(2))
        errors.append(abs(mean[1] - 0.9))
    assert errors[0] > 0.2
    assert all(after < 0.75 * before for before, after in pairwise(errors))


def test_dps_steps_down_the_distance_of_the_measurement() -> None:
    """For a Gaussian ‖y - A x̂_0‖ has the gradient -Jᵀ Aᵀ r/‖r‖; what the solver needs of x_t is evaluated once."""
    s, t, x_t = noise_level(SCHEDULE, 0.3), noise_level(SCHEDULE, 0.5), randn(4, 3)
    requested, exact = [], TRIPLE.denoiser()
    counting = FunctionDenoiser(lambda x, now: requested.append(now.t) or exact.f(x, now), SCHEDULE)
    x, _ = DPS(DDIM(), of_matrix(SUMS, Y, 0.3), 0.4).step(counting, x_t, t, s, None, StepNoise(None, 0))
    assert requested == [t.t]
    a, covariance = SUMS, TRIPLE.covariances[0]
    jacobian = t.alpha * covariance @ np.linalg.inv(t.alpha**2 * covariance + t.sigma**2 * np.eye(3))
    r = Y - exact.f(x_t, t).numpy() @ a.T
    plain, _ = DDIM().step(exact, x_t, t, s, None, StepNoise(None, 0))
    wanted = plain.numpy() + 0.4 * r / np.linalg.norm(r, axis=1, keepdims=True) @ a @ jacobian
    np.testing.assert_allclose(x.numpy(), wanted, rtol=0, atol=1e-12)


def test_dps_restores_what_is_not_linear() -> None:
    """Pictures of white noise around grey, JPEG of quality 30: measured again they are four times nearer to y."""
    denoiser = gaussian_denoiser(0.1, 0.4, SCHEDULE)
    truth = 0.1 + 0.4 * Gauss((8, 1, 16, 16), 1)(0, Purpose.START)
    measurement, noise = Measurement(JPEG(30), JPEG(30)(truth)), Gauss((8, 1, 16, 16))
    times = torch.linspace(1, 0, 101, dtype=torch.float64) ** 2
    left = []
    for solver in (DDIM(), DPS(DDIM(), measurement, 1.0)):
        end = sample(denoiser, solver, times, noise(0, Purpose.START), noise)
        left.append(float(measurement.residual(end).square().mean().sqrt()))
    assert left[1] < left[0] / 4


WRAPPERS = {
    "moment matching": lambda d, m: MomentMatching(d, m),
    "ΠGDM": lambda d, m: PseudoinverseGuidance(d, m, 0.4),
    "DDNM": lambda d, m: DDNM(d, m),
}


class Draws:
    """Noise that counts how often it is asked for."""

    def __init__(self, *shape: int) -> None:
        self.noise, self.draws = Gauss(shape), 0

    def __call__(self, step: int, purpose: Purpose, draw: int = 0) -> Tensor:
        self.draws += 1
        return self.noise(step, purpose, draw)


@pytest.mark.parametrize("name", [n for n in SOLVERS if n not in ("ddpm_learned", "langevin", "consistency")])
def test_every_method_goes_with_every_solver(name: str) -> None:
    """40 steps on N(0.5, 0.4² I), for which all of these are exact, two of three elements known: those are kept to the
    bit, and the other ends as without any measurement: N(0.5, 0.4²), by 400 samples, within four standard errors and
    the solver's own error, which is less than 0.03. DPS and RePaint too. (Annealed Langevin needs its own ladder, and
    consistency sampling a network that gives the end of the ODE.)"""
    denoiser, noise = gaussian_denoiser(0.5, 0.4, SCHEDULE), Draws(400, 3)
    method = build_method(name, 40, SCHEDULE, data_std=0.4)
    solver, known = DataConsistency(method.solver, masked()), masked()
    found = {n: (wrap(denoiser, known), solver, method.times) for n, wrap in WRAPPERS.items()}
    found["DPS"] = (denoiser, replace(solver, solver=DPS(method.solver, known, 0.1)), method.times)
    found["RePaint"] = (denoiser, RePaint(method.solver, known), repaint_times(method.times, 4, 2))
    for how, (conditioned, with_solver, times) in found.items():
        end = sample(conditioned, with_solver, times, noise.noise(0, Purpose.START), noise)
        assert torch.equal(end[:, [0, 2]], known.y[:, [0, 2]].expand(400, 2)), how
        assert float(end[:, 1].mean()) == pytest.approx(0.5, abs=0.11), how
        assert float(end[:, 1].std()) == pytest.approx(0.4, abs=0.09), how


def test_pictures_of_a_network_in_float32() -> None:
    """Down-sampling and a mask: measured to rounding and to the bit, with no graph and no gradients left."""
    network = NetworkDenoiser(
        UNetConfig(widths=(8, 8), blocks=(1, 1), embedding=8, group_width=4).build((1, 8, 8)),
        SCHEDULE,
        PredictVelocity(),
    )
    white = torch.zeros(8, 8, dtype=torch.bool)
    white[2:6, 2:6] = True
    truth, times = torch.rand(2, 1, 8, 8), torch.linspace(1, 0, 6, dtype=torch.float64)
    noise, x = SampleNoise(0, range(2), (1, 8, 8)), torch.randn(2, 1, 8, 8)
    for operator, atol in ((Mask(white), 0.0), (bicubic(8, 8, 2), 1e-5)):
        measurement = Measurement(operator, operator(truth))
        for wrap in WRAPPERS.values():
            ends = []
            for mode in (torch.no_grad, torch.inference_mode):
                with mode():
                    solver = DataConsistency(DDIM(), measurement)
                    ends.append(sample(wrap(network, measurement), solver, times, x, noise))
            assert (ends[0].dtype, ends[0].requires_grad) == (torch.float32, False)
            assert torch.equal(*ends)
            torch.testing.assert_close(operator(ends[0]), operator(truth), rtol=0, atol=atol)
        for solver in (RePaint(DDIM(), measurement), DPS(DDIM(), measurement), TwistedSMC(measurement, 1)):
            with torch.inference_mode():
                end = sample(network, solver, times, x, noise)
            assert (end.dtype, end.requires_grad) == (torch.float32, False)
            if not isinstance(solver, DPS):
                torch.testing.assert_close(operator(end), operator(truth), rtol=0, atol=atol)
    assert all(p.grad is None for p in network.parameters())


def test_wrappers_are_of_their_denoisers_and_solvers_kind() -> None:
    denoiser = TRIPLE.denoiser()
    assert all(wrap(denoiser, masked()).schedule is SCHEDULE for wrap in WRAPPERS.values())
    for name in ("heun", "ddim", "rk4"):  # rk4 evaluates between the times
        for wrap in (RePaint, DPS, DataConsistency):
            assert wrap(SOLVERS[name], masked()).off_grid == SOLVERS[name].off_grid


FLAT, JPEGS = TRIPLE.denoiser(Flow().build()), Measurement(JPEG(50), torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MomentMatching(FLAT, JPEGS), "operator: JPEG is not linear, which moment matching needs; use DPS"),
        (lambda: PseudoinverseGuidance(FLAT, JPEGS), "operator: JPEG is not linear, which ΠGDM needs"),
        (lambda: DDNM(FLAT, JPEGS), "operator: JPEG is not linear, which DDNM needs"),
        (lambda: RePaint(DDIM(), JPEGS), "operator: JPEG is not linear, which RePaint needs"),
        (lambda: DataConsistency(DDIM(), JPEGS), "operator: JPEG is not linear, which data consistency needs"),
        (lambda: TwistedSMC(JPEGS, 4), "operator: JPEG is not linear, which twisted sequential Monte Carlo needs"),
        (lambda: DDNM(FLAT, masked(0.1)), "std: DDNM assumes an exact y, not noise of 0.1; use MomentMatching"),
        (lambda: RePaint(DDIM(), masked(0.1)), "std: RePaint assumes an exact y"),
        (lambda: DataConsistency(DDIM(), masked(0.1)), "std: data consistency assumes an exact y"),
        (lambda: MomentMatching(FLAT, masked(), 0), "iterations: 0"),
        (lambda: PseudoinverseGuidance(FLAT, masked(), 1.0, 0), "iterations: 0"),
        (lambda: PseudoinverseGuidance(FLAT, masked(), 0.0), "data_std: 0.0"),
        (lambda: DPS(DDIM(), masked(), 0.0), "zeta: 0.0"),
        (lambda: TwistedSMC(masked(), 0), "particles: 0"),
        (lambda: repaint_times(torch.ones(3), 0), "jump, resamplings: 0 and 10"),
        (lambda: MomentMatching(FLAT, masked())(torch.zeros(1, 3), 1.0), "times: at t = 1 no data is left"),
        (lambda: PseudoinverseGuidance(FLAT, masked())(torch.zeros(1, 3), 1.0), "times: at t = 1 no data is left"),
        (lambda: DDNM(FLAT, of_matrix(np.eye(2), Y))(torch.zeros(1, 3), 0.5), "x: is of shape"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        call()


def test_the_last_step_of_repaint_is_the_measurement_itself() -> None:
    x, _ = RePaint(DDIM(), masked()).step(
        TRIPLE.denoiser(), randn(4, 3), noise_level(SCHEDULE, 0.1), DATA, None, StepNoise(None, 0)
    )
    assert torch.equal(x[:, [0, 2]], masked().y[:, [0, 2]].expand(4, 2))

"""The model's distribution times a second one: exact where it is said to be, and by how much not elsewhere."""

from dataclasses import dataclass
from math import log

import numpy as np
import pytest
import torch
from torch import Tensor

from sumi.denoising.binomial import BinomialDenoiser
from sumi.denoising.denoiser import FunctionDenoiser, NetworkDenoiser
from sumi.denoising.parameterization import PredictVelocity
from sumi.errors import InputError
from sumi.networks.mlp import MLPConfig
from sumi.operators.linear import solve
from sumi.process.binomial import draw
from sumi.process.continuous import VP, Erasing, Flow
from sumi.process.schedule import NoiseLevel, Schedule, noise_level
from sumi.randomness import Purpose, SampleNoise
from sumi.restoration.bits import BitProduct, ConditionedBits, known_bits
from sumi.restoration.product import Conditioned, KnownValues, Product
from sumi.sampling.sample import sample
from sumi.sampling.solvers.binomial import BinomialAncestral
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.runge_kutta import RungeKutta
from tests.bits import Exact, are_heartbeats, grid, heartbeats, law_of, random_distribution, states
from tests.oracles import GaussianTarget, linear_probe

SCHEDULE, ERASING = VP().build(), Erasing().build()
LEVELS = [noise_level(SCHEDULE, t) for t in (0.01, 0.2, 0.5, 0.8, 1.0)]


@dataclass(frozen=True)
class FullGaussian:
    """x_0 ~ N(mean, covariance) of D dimensions."""

    mean: np.ndarray
    covariance: np.ndarray

    def clean(self, x_t: Tensor, t: NoiseLevel) -> Tensor:
        mean, covariance = torch.from_numpy(self.mean), torch.from_numpy(self.covariance)
        alpha, sigma = (torch.as_tensor(v, dtype=torch.float64).reshape(-1, 1, 1) for v in (t.alpha, t.sigma))
        gain = alpha * covariance @ torch.linalg.inv(alpha**2 * covariance + sigma**2 * torch.eye(len(mean)))
        return mean + (gain @ (x_t - alpha[..., 0] * mean)[..., None])[..., 0]

    def denoiser(self, schedule: Schedule = SCHEDULE) -> FunctionDenoiser:
        return FunctionDenoiser(self.clean, schedule)

    def conditioned(self, values: np.ndarray, known: np.ndarray, width: float) -> "FullGaussian":
        """Times Π N(x_0; values, width²) over the known elements, by conditioning the joint Gaussian."""
        h = np.eye(len(known))[known]
        gain = self.covariance @ h.T @ np.linalg.inv(h @ self.covariance @ h.T + width**2 * np.eye(len(h)))
        return FullGaussian(self.mean + gain @ (h @ (values - self.mean)), self.covariance - gain @ h @ self.covariance)


ROOT = np.array([[1.0, 0.0, 0.0], [0.8, 0.5, 0.0], [-0.3, 0.4, 0.7]])
TARGET = FullGaussian(np.array([0.3, -0.2, 0.1]), ROOT @ ROOT.T)
VALUES, KNOWN = np.array([0.9, 0.0, -0.5]), np.array([True, False, True])
PAIR = FullGaussian(np.zeros(2), np.array([[1.0, 0.9], [0.9, 1.0]]))


def known(width: float) -> KnownValues:
    return KnownValues(torch.from_numpy(VALUES), torch.from_numpy(KNOWN), width)


def points(count: int, dimensions: int) -> Tensor:
    return torch.from_numpy(2 * np.random.default_rng(0).standard_normal((count, dimensions)))


def probe(denoiser, solver, times: Tensor, start: FullGaussian) -> FullGaussian:
    """Mean and covariance that a deterministic affine sampler makes of ``start``'s."""
    units = torch.eye(len(start.mean), dtype=torch.float64)
    x = torch.from_numpy(start.mean) + torch.cat([torch.zeros_like(units[:1]), units])
    end = sample(denoiser, solver, times, x)
    response = (end[1:] - end[0]).numpy().T
    return FullGaussian(end[0].numpy(), response @ start.covariance @ response.T)


def noised(target: FullGaussian, t: NoiseLevel) -> FullGaussian:
    return FullGaussian(t.alpha * target.mean, t.alpha**2 * target.covariance + t.sigma**2 * np.eye(len(target.mean)))


@pytest.mark.parametrize("width", [0.0, 0.3])
@pytest.mark.parametrize("t", LEVELS, ids=lambda t: str(t.t))
def test_conditioning_is_exact_on_every_gaussian(t: NoiseLevel, width: float) -> None:
    """Two of three correlated elements: at any x_t the denoiser of p r, to 1e-10."""
    x_t = points(20, 3)
    got = Conditioned(TARGET.denoiser(), known(width))(x_t, t)
    expected = TARGET.conditioned(VALUES, KNOWN, width).clean(x_t, t)
    torch.testing.assert_close(got.clean, expected, rtol=0, atol=1e-10)
    if width == 0:
        assert torch.equal(got.clean[:, KNOWN], torch.from_numpy(VALUES[KNOWN]).expand(20, 2))
    torch.testing.assert_close(t.alpha * got.clean + t.sigma * got.noise, x_t)


@pytest.mark.parametrize(
    ("solver", "width", "order", "error"),
    [
        (DDIM(), 0.0, 1, 5e-3),
        (DDIM(), 0.3, 1, 5e-3),
        (RungeKutta(4), 0.0, 2, 1e-6),
        pytest.param(RungeKutta(4), 0.3, 4, 1e-9, marks=pytest.mark.slow),
    ],
)
def test_what_is_sampled_is_the_conditioned_gaussian(solver, width: float, order: int, error: float) -> None:
    """Mean and covariance, from those of p r at t = 1, converge at the solver's own order.

    Of RK4 that is 2 where values are known exactly: their ODE has the slope 1/sigma at the end.
    """
    target = TARGET.conditioned(VALUES, KNOWN, width)
    found = []
    for n in (100, 200):
        times = grid(n) ** 2
        end = probe(
            Conditioned(TARGET.denoiser(), known(width)), solver, times, noised(target, noise_level(SCHEDULE, 1.0))
        )
        found.append(max(np.abs(end.mean - target.mean).max(), np.abs(end.covariance - target.covariance).max()))
    assert found[1] < error
    assert log(found[0] / found[1], 2) == pytest.approx(order, abs=0.05)


def test_times_of_a_batch_and_inference_mode_change_nothing() -> None:
    x_t, t = points(3, 3), torch.tensor([0.1, 0.5, 0.9])
    for denoiser in (Conditioned(TARGET.denoiser(), known(0.2)), Product(TARGET.denoiser(), known(0.2).score)):
        together = denoiser(x_t, t).clean
        with torch.inference_mode():
            inside = denoiser(x_t.clone(), t).clean
        torch.testing.assert_close(inside, together, rtol=0, atol=0)
        for k in range(3):
            alone = denoiser(x_t[k : k + 1], float(t[k].double())).clean
            torch.testing.assert_close(alone[0], together[k], rtol=1e-12, atol=1e-12)


def test_a_network_is_conditioned_and_keeps_no_graph() -> None:
    """Pictures of float32: values known exactly stand in x̂_0 as they are."""
    network = NetworkDenoiser(MLPConfig(width=8, blocks=1).build((4,)), SCHEDULE, PredictVelocity())
    values, mask = torch.full((4,), 0.25), torch.tensor([True, True, False, False])
    denoised = Conditioned(network, KnownValues(values, mask))(torch.randn(2, 4), 0.5)
    assert not denoised.clean.requires_grad
    assert denoised.clean.dtype == torch.float32
    assert denoised.clean[:, :2].tolist() == [[0.25, 0.25]] * 2
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("shape", [(5,), (2, 3)])
def test_conjugate_gradients_solve_in_as_many_iterations_as_there_are_unknowns(shape: tuple[int, ...]) -> None:
    rng, n = np.random.default_rng(2), int(np.prod(shape))
    roots = torch.from_numpy(rng.standard_normal((4, n, n)))
    matrices, right = roots @ roots.mT + torch.eye(n), torch.from_numpy(rng.standard_normal((4, *shape)))
    right[3] = 0  # solved from the start

    def matrix(v: Tensor) -> Tensor:
        return (matrices @ v.reshape(4, n, 1)).reshape(4, *shape)

    expected = torch.linalg.solve(matrices, right.reshape(4, n, 1)).reshape(4, *shape)
    for iterations in (n, n + 20):
        torch.testing.assert_close(solve(matrix, right, iterations), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("t", LEVELS, ids=lambda t: str(t.t))
def test_the_diffused_product_is_exact_where_the_model_is_flat(t: NoiseLevel) -> None:
    """Independent elements of deviation 1e8: p r is r, of which p leaves 1e-16; nothing happens where none is known."""
    flat, x_t = FullGaussian(np.zeros(3), 1e16 * np.eye(3)), points(20, 3)
    got = Product(flat.denoiser(), known(0.3).score)(x_t, t).clean
    gain = t.alpha * 0.09 / (t.alpha**2 * 0.09 + t.sigma**2)
    condition = torch.from_numpy(VALUES) + gain * (x_t - t.alpha * torch.from_numpy(VALUES))
    scale = 1 + (t.sigma / t.alpha) ** 2  # of the two terms that make it
    torch.testing.assert_close(got[:, KNOWN], condition[:, KNOWN], rtol=0, atol=1e-12 * scale)
    assert torch.equal(got[:, ~KNOWN], flat.clean(x_t, t)[:, ~KNOWN])


@pytest.mark.parametrize("solver", [DDIM(), DDIM(eta=1.0), DDIM(eta=1.0, variance="large")])
def test_a_product_with_the_exact_score_is_sampled_as_the_product(solver) -> None:
    """For independent elements h(x_t) = N(y; x̂_0, V + s²) with V = Var(x_0 | x_t): every output moment, to 1e-10."""
    mean, std, y, width = 0.3, 0.6, 1.0, 0.4
    target = GaussianTarget(mean, std)

    def score(x_t: Tensor, t: NoiseLevel) -> Tensor:
        power = t.alpha**2 * std**2 + t.sigma**2
        variance, slope = std**2 * t.sigma**2 / power, t.alpha * std**2 / power
        return slope * (y - target.clean(x_t, t)) / (variance + width**2)

    joint = GaussianTarget((mean / std**2 + y / width**2) / (std**-2 + width**-2), (std**-2 + width**-2) ** -0.5)
    times = grid(20)
    got = linear_probe(Product(target.denoiser(SCHEDULE), score), solver, times, 0.1, 0.9)
    assert got == pytest.approx(linear_probe(joint.denoiser(SCHEDULE), solver, times, 0.1, 0.9), abs=1e-10)


def test_the_diffused_product_is_biased_on_dependent_elements() -> None:
    """Correlation 0.9, the first known to be 1: the other should be 0.9 ± 0.436 (module docstring of the product).

    From N(0, I) through 200 steps of RK4, whose own error is below 1e-5; conditioning has it right but for what
    is left of the data at t = 1, alpha = 0.0066.
    """
    one = KnownValues(torch.ones(2).double(), torch.tensor([True, False]))
    start = FullGaussian(np.zeros(2), np.eye(2))
    times = grid(200) ** 2
    found = probe(Product(PAIR.denoiser(), one.score), RungeKutta(4), times, start)
    right = probe(Conditioned(PAIR.denoiser(), one), RungeKutta(4), times, start)
    assert (found.mean[0], found.covariance[0, 0]) == pytest.approx((1, 0), abs=1e-3)
    assert (found.mean[1], found.covariance[1, 1] ** 0.5) == pytest.approx((0.301, 0.741), abs=1e-3)
    assert (right.mean[1], right.covariance[1, 1] ** 0.5) == pytest.approx((0.9, 0.19**0.5), abs=1e-2)


def test_what_makes_no_sense_is_refused() -> None:
    flow = PAIR.denoiser(Flow().build())
    one = KnownValues(torch.ones(2), torch.tensor([True, False]))
    for denoiser in (Product(flow, one.score), Conditioned(flow, one)):
        assert denoiser.schedule is flow.schedule
        for t in (1.0, torch.tensor([0.5, 1.0])):
            with pytest.raises(InputError, match=r"^times: at t = 1 no data is left"):
                denoiser(torch.zeros(2, 2), t)
    with pytest.raises(InputError, match=r"^width: -1"):
        KnownValues(torch.ones(2), torch.ones(2, dtype=torch.bool), -1.0)
    with pytest.raises(InputError, match=r"^iterations: 0"):
        Conditioned(flow, one, 0)
    for wrapper in (BitProduct, ConditionedBits):
        with pytest.raises(InputError, match=r"^probability: holds values outside"):
            wrapper(flow, torch.tensor([0.5, 1.1]))


def condition(p: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """p over all states times a table of P(+1), normalised."""
    up = states(len(probability)) > 0
    tilted = p * np.where(up, probability, 1 - probability).prod(1)
    return tilted / tilted.sum()


BIT_LEVELS = [noise_level(ERASING, t) for t in (0.02, 0.5, 0.9)]
TABLES = [np.array([0.9, 0.5, 0.3, 1.0]), np.array([0.5, 0.0, 0.5, 0.5])]


@pytest.mark.parametrize("wrapper", [BitProduct, ConditionedBits])
@pytest.mark.parametrize("t", BIT_LEVELS, ids=lambda t: str(t.t))
def test_the_product_of_independent_bits_is_exact(t: NoiseLevel, wrapper) -> None:
    means = np.array([0.2, -0.9, 0.5, -0.3])
    p = np.where(states(4) > 0, (1 + means) / 2, (1 - means) / 2).prod(1)
    x_t = torch.from_numpy(states(4))
    for table in TABLES:
        got = wrapper(Exact(states(4), p), torch.from_numpy(table))(x_t, t)
        with np.errstate(divide="ignore"):
            expected = Exact(states(4), condition(p, table))(x_t, t).clean
        torch.testing.assert_close(got.clean, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(got.clean_variance, 1 - expected**2, rtol=0, atol=1e-12)


@pytest.mark.parametrize("t", BIT_LEVELS, ids=lambda t: str(t.t))
@pytest.mark.parametrize("probability", [0.0, 0.2, 1.0])
def test_given_one_bit_all_bits_of_any_distribution_follow_exactly(probability: float, t: NoiseLevel) -> None:
    p, x_t = random_distribution(4), torch.from_numpy(states(4))
    table = np.array([0.5, 0.5, probability, 0.5])
    with np.errstate(divide="ignore"):
        expected = Exact(states(4), condition(p, table))(x_t, t).clean
    got = ConditionedBits(Exact(states(4), p), torch.from_numpy(table))(x_t, t)
    torch.testing.assert_close(got.clean, expected, rtol=0, atol=1e-10)
    alone = BitProduct(Exact(states(4), p), torch.from_numpy(table))(x_t, t).clean
    torch.testing.assert_close(alone[:, 2], expected[:, 2], rtol=0, atol=1e-12)


def test_given_several_bits_a_heartbeat_follows() -> None:
    """The phases are affine in a bit of each; bits that say the same, as two a period apart, are no trouble."""
    bits = heartbeats()
    x_t = torch.from_numpy(np.random.default_rng(4).choice([1.0, -1.0], (50, 20)))
    mask = np.isin(np.arange(20), [0, 1, 5, 12])
    for phase, others in ((0, [0]), (3, [3, 4])):  # places 0, 1, 5 and 12 tell the first three phases
        table = known_bits(torch.from_numpy(bits[phase]), torch.from_numpy(mask))
        left = Exact(bits[others], np.full(len(others), 1 / len(others)))
        for t in BIT_LEVELS[1:]:
            got = ConditionedBits(Exact(bits, np.full(5, 0.2)), table)(x_t, t).clean
            torch.testing.assert_close(got, left(x_t, t).clean, rtol=0, atol=1e-6)


def test_each_sample_can_be_given_something_else() -> None:
    denoiser, x_t = Exact(states(4), random_distribution(4)), torch.from_numpy(states(4)[[3, 9, 12]])
    tables = torch.tensor([[0.5, 0.9, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], [0.0, 0.5, 0.5, 0.2]]).double()
    t = torch.tensor([0.2, 0.5, 1.0])
    for wrapper in (BitProduct, ConditionedBits):
        together = wrapper(denoiser, tables)(x_t, t).clean
        for k in range(3):
            alone = wrapper(denoiser, tables[k])(x_t[k : k + 1], float(t[k].double())).clean
            torch.testing.assert_close(together[k], alone[0], rtol=0, atol=1e-10)
        torch.testing.assert_close(together[1], denoiser(x_t, t).clean[1], rtol=0, atol=1e-15)


def test_what_is_given_for_certain_overrules_what_the_model_is_certain_of() -> None:
    sure, x_t = torch.tensor([1.0, -1.0, 1.0, -1.0]), torch.ones(2, 4)
    model = FunctionDenoiser(lambda x_t, _: sure.expand_as(x_t), ERASING)
    for wrapper in (BitProduct, ConditionedBits):
        clean = wrapper(model, torch.tensor([0.0, 1.0, 1.0, 0.5]))(x_t, 0.3).clean
        assert clean.tolist() == [[-1.0, 1.0, 1.0, -1.0]] * 2


def test_where_nothing_is_left_only_the_given_bits_change() -> None:
    denoiser, x_t = Exact(states(4), random_distribution(4)), torch.from_numpy(states(4))
    table = torch.tensor([0.5, 1.0, 0.5, 0.5]).double()
    conditioned, plain = ConditionedBits(denoiser, table)(x_t, 1.0).clean, denoiser(x_t, 1.0).clean
    assert conditioned[:, 1].tolist() == [1.0] * 16
    assert torch.equal(conditioned[:, [0, 2, 3]], plain[:, [0, 2, 3]])


def test_what_is_sampled_given_one_bit_is_the_conditional_distribution() -> None:
    """Total variation over all 16 states falls at first order; the known bit is always as told."""
    p, table = random_distribution(4), np.array([0.5, 1.0, 0.5, 0.5])
    expected, errors = condition(p, table), []
    for steps in (16, 32):
        denoiser = ConditionedBits(Exact(states(4), p), torch.from_numpy(table))
        found = law_of(denoiser, np.full(16, 1 / 16), steps, 4)
        assert found[states(4)[:, 1] < 0].max() < 1e-300
        errors.append(np.abs(found - expected).sum() / 2)
    assert log(errors[0] / errors[1], 2) == pytest.approx(1, abs=0.05)


def test_how_often_a_given_heartbeat_is_one() -> None:
    """Exact denoiser, 50 steps, one bit known to be 1: 0.32 where the others see it through x_t alone, 1 where told.

    0.32 is little more than the 0.2 of a phase at random: by the time x_t shows one bit, the others have decided.
    """
    count, steps = 400, 50
    exact = Exact(heartbeats(), np.full(5, 0.2))
    noise = SampleNoise(3, range(count), (20,), dtype=torch.float64)
    start = draw(torch.zeros(count, 20, dtype=torch.float64), noise(0, Purpose.START))
    table = known_bits(torch.ones(20).double(), torch.arange(20) == 7)
    share = {}
    for wrapper in (BitProduct, ConditionedBits):
        end = sample(wrapper(exact, table), BinomialAncestral(), grid(steps), start, noise)
        assert end[:, 7].tolist() == [1.0] * count
        share[wrapper] = float(are_heartbeats(end)[:, 2].double().mean())
    assert share[BitProduct] == pytest.approx(0.32, abs=0.09)  # four standard deviations
    assert share[ConditionedBits] > 0.99


def test_a_network_of_bits_in_float32_keeps_what_is_known() -> None:
    network = BinomialDenoiser(MLPConfig(width=8, blocks=1).build((6,)), ERASING)
    values = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    table, noise = known_bits(values, torch.arange(6) < 4), SampleNoise(1, range(200), (6,))
    for wrapper in (BitProduct, ConditionedBits):
        with torch.inference_mode():
            end = sample(wrapper(network, table), BinomialAncestral(), grid(7), torch.ones(200, 6), noise)
        assert torch.equal(end[:, :4], values[:4].expand(200, 4))
        assert end.dtype == torch.float32
        assert set(end.unique().tolist()) == {-1.0, 1.0}

"""Steering on a mixture whose tilted law is known: with a linear reward it is a mixture of the same kind."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.guidance.steering import FeynmanKac, Potential, feynman_kac
from sumi.process.schedule import noise_level
from sumi.randomness import Purpose, SampleNoise
from sumi.sampling.sample import sample
from sumi.sampling.solvers import SOLVERS
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.solver import Noise, StepNoise
from sumi.sampling.time_grid import TIME_GRIDS
from tests.labelled_mixture import MEANS, SCHEDULES, SHARES, STDS, Counted, mixture

SCHEDULE = SCHEDULES["vp"]
SLOPE = torch.tensor([1.5, -1.0], dtype=torch.float64)
COUNT = 4000
TIMES = TIME_GRIDS["log_ratio"](SCHEDULE, 60, 0.5)


def linear(x_0: Tensor) -> Tensor:
    return x_0 @ SLOPE


def tilted() -> tuple[Tensor, Tensor]:
    """Shares and means of the components of p(x) exp(a·x): π exp(a·m + c² ‖a‖²/2), and m + c² a."""
    log_share = SHARES.log() + MEANS @ SLOPE + STDS**2 * SLOPE.square().sum() / 2
    return log_share.softmax(0), MEANS + STDS[:, None] ** 2 * SLOPE


def normal(seed: int, count: int) -> tuple[Tensor, Noise]:
    """Start and noise of ``count`` particles, of one generator for each draw: quicker than one for each sample."""

    def noise(step: int, purpose: Purpose, draw: int = 0) -> Tensor:
        generator = np.random.default_rng([seed, step, purpose, draw])
        return torch.from_numpy(generator.standard_normal((count, 2)))

    return noise(0, Purpose.START), noise


def test_many_particles_have_the_tilted_law() -> None:
    """Shares of the components and means, in one group of 4000 particles, of a chain of 60 steps.

    The mean of p is 0.6 away. The tolerance of 0.05 is two standard errors of 400 independent samples of deviation 0.5,
    as particles share ancestors.
    """
    shares, means = tilted()
    x, noise = normal(1, COUNT)
    made = sample(mixture(SCHEDULE), FeynmanKac(DDIM(eta=1.0), linear, COUNT), TIMES, x, noise)
    expected = shares @ means
    assert float((expected - SHARES @ MEANS).norm()) > 0.5
    assert float((made.mean(0) - expected).abs().max()) < 0.05, (made.mean(0), expected)
    distance = (made[:, None] - means).square().sum(-1) / (2 * STDS**2) + 2 * STDS.log() - shares.log()
    assert float(((-distance).softmax(1).mean(0) - shares).abs().max()) < 0.05


@pytest.mark.parametrize("potential", ["difference", "max", "sum"])
def test_every_potential_ends_at_the_samplers_law_times_the_reward(potential: Potential) -> None:
    """In three steps, whatever they make: the mean and variance of samples weighed by exp(λ r(x_0)), to 0.03.

    Four standard errors of 4000 of deviation 0.5; without the last factor G_0 sums are 0.5 off, and largest ones 0.3.
    """
    times, (x, noise) = TIMES[[0, 30, 45, 60]], normal(6, COUNT)
    plain = sample(mixture(SCHEDULE), DDIM(eta=1.0), times, x, noise)
    weight = (0.5 * linear(plain)).softmax(0)
    mean = weight @ plain
    made = sample(mixture(SCHEDULE), FeynmanKac(DDIM(eta=1.0), linear, COUNT, 0.5, potential), times, x, noise)
    torch.testing.assert_close(made.mean(0), mean, rtol=0, atol=0.03)
    torch.testing.assert_close(made.var(0), weight @ (plain - mean).square(), rtol=0, atol=0.03)


@pytest.mark.parametrize(("potential", "spent"), [("difference", 2.0), ("max", 7.0), ("sum", 11.0)])
def test_a_path_has_spent_the_product_of_its_potentials(potential: Potential, spent: float) -> None:
    """Rewards 1, 3 and 2 on the way: 1 + 2 - 1, 1 + 3 + 3 and 1 + 4 + 6."""
    rewards = iter([1.0, 3.0, 2.0])
    x, noise = normal(8, 4)
    solver = FeynmanKac(DDIM(eta=1.0), lambda x_0: 0 * x_0[:, 0] + next(rewards), 2, 1.0, potential)
    state, levels = None, [noise_level(SCHEDULE, t) for t in (0.9, 0.7, 0.5, 0.3)]
    for step, (t, s) in enumerate(pairwise(levels)):
        x, state = solver.step(mixture(SCHEDULE), x, t, s, state, StepNoise(noise, step))
    assert state.spent.tolist() == [spent] * 4


def test_no_noise_is_used_twice() -> None:
    """Where particles are resampled before the last step, and after it."""
    used = set()
    x, source = normal(9, 4)

    def noise(step: int, purpose: Purpose, draw: int = 0) -> Tensor:
        assert (step, purpose, draw) not in used
        used.add((step, purpose, draw))
        return source(step, purpose, draw)

    sample(mixture(SCHEDULE), FeynmanKac(DDIM(eta=1.0), linear, 4, threshold=2.0), TIMES[[0, 40, 60]], x, noise)


def test_one_particle_is_the_sampler_to_the_bit() -> None:
    """And a scale of 0 weighs nothing: particles are then its samples in another order."""
    x, noise = normal(2, 12)
    plain = sample(mixture(SCHEDULE), DDIM(eta=1.0), TIMES, x, noise)
    for name in ("ddpm", "euler_maruyama", "heun_churn"):
        one = sample(mixture(SCHEDULE), FeynmanKac(SOLVERS[name], linear, 1, 5.0), TIMES, x, noise)
        assert torch.equal(one, sample(mixture(SCHEDULE), SOLVERS[name], TIMES, x, noise)), name
    none = sample(mixture(SCHEDULE), FeynmanKac(DDIM(eta=1.0), linear, 12, 0.0), TIMES, x, noise)
    torch.testing.assert_close(none.sort(0).values, plain.sort(0).values, rtol=0, atol=1e-12)


def test_groups_know_nothing_of_each_other_and_no_evaluation_is_added() -> None:
    noise = SampleNoise(3, range(16), (2,), torch.float64)
    x = noise(0, Purpose.START)
    counted = Counted(mixture(SCHEDULE))
    both = sample(counted, FeynmanKac(DDIM(eta=1.0), linear, 8, 4.0), TIMES, x, noise)
    assert counted.count == len(TIMES) - 1
    alone = SampleNoise(3, range(8, 16), (2,), torch.float64)
    second = sample(mixture(SCHEDULE), FeynmanKac(DDIM(eta=1.0), linear, 8, 4.0), TIMES, x[8:], alone)
    torch.testing.assert_close(both[8:], second, rtol=0, atol=1e-12)


def test_the_more_particles_the_more_reward() -> None:
    """The mean reward of 64 groups rises from that of p towards that of the tilted law, of a reward without a slope."""

    def stepped(x_0: Tensor) -> Tensor:
        return (x_0[:, 1] > 0.5).double()

    found = []
    for particles in (1, 4, 16):
        x, noise = normal(4, 64 * particles)
        made = sample(mixture(SCHEDULE), FeynmanKac(DDIM(eta=1.0), stepped, particles, 3.0), TIMES, x, noise)
        found.append(float(stepped(made[::particles]).mean()))
    assert found[0] + 0.1 < found[1] < found[2] + 0.05
    assert found[2] > found[0] + 0.3, found


def test_what_no_reward_suits_is_refused() -> None:
    x, noise = normal(5, 6)
    for solver, answer in (("adams", "adams draws no noise"), ("dpmpp_2m_sde", "dpmpp_2m_sde remembers")):
        with pytest.raises(InputError, match=rf"^solver: {answer}"):
            feynman_kac(solver, SOLVERS[solver], linear, 2, 1.0, "difference")
    for particles, reward, answer in (
        (4, linear, "6 samples are not groups of 4"),
        (2, lambda x_0: x_0, r"reward: is of shape \(6, 2\) for 6 samples"),
        (2, lambda x_0: x_0[:, 0] / 0, "reward: is not finite"),
    ):
        with pytest.raises(InputError, match=answer):
            sample(mixture(SCHEDULE), FeynmanKac(DDIM(eta=1.0), reward, particles), TIMES, x, noise)
    with pytest.raises(InputError, match="potential: there is no 'product'; choose from difference, max, sum"):
        FeynmanKac(DDIM(eta=1.0), linear, 2, potential="product")


@pytest.mark.parametrize(("threshold", "resampled"), [(0.3, False), (0.6, True)])
def test_particles_are_resampled_below_the_threshold_as_a_part_of_all(threshold: float, resampled: bool) -> None:
    """Two of four have all the weight, so that two are effective."""
    x, noise = normal(3, 4)
    rewards = torch.tensor([9.0, 9.0, -90.0, -90.0])
    solver = FeynmanKac(DDIM(eta=1.0), lambda _: rewards, 4, threshold=threshold)
    t, s = (noise_level(SCHEDULE, time) for time in (0.9, 0.8))
    _, state = solver.step(mixture(SCHEDULE), x, t, s, solver.init(), StepNoise(noise, 0))
    assert (state.log_weight == 0).all() == resampled

"""Categorical diffusion against enumeration: 3 symbols at 4 positions, every state, every expectation as a sum."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from sumi.denoising.binomial import bound_term
from sumi.denoising.categorical import categorical_term, log_clean, masked_term
from sumi.errors import InputError
from sumi.likelihood.categorical import categorical_bound
from sumi.process.binomial import flip
from sumi.process.categorical import Categorical, Mixture, draw_symbols
from sumi.process.continuous import Cosine
from sumi.process.schedule import DATA, Schedule, noise_level, noise_levels
from tests.bits import ERASING
from tests.symbols import FLOW, PROCESSES, Exact, matrix, random_law, sequences

ENDS = noise_level(ERASING, 0.3), noise_level(ERASING, 0.8)


def pairs(process: Categorical, positions: int) -> tuple[Tensor, Tensor]:
    """Every x_0 with every x_t."""
    every, noisy = sequences(3, positions), sequences(process.states, positions)
    return every.repeat_interleave(len(noisy), 0), noisy.repeat(len(every), 1)


def selecting(process: Categorical, x_0: Tensor, x_t: Tensor, schedule: Schedule, steps: int):
    """Noise that makes the process draw x_t from x_0, where it can."""

    def noise(i: int, *_) -> Tensor:
        law = process.marginal(x_0, noise_level(schedule, i / steps))
        share = law.gather(-1, x_t[..., None])[..., 0]
        return torch.special.ndtri(law.cumsum(-1).gather(-1, x_t[..., None])[..., 0] - share / 2)

    return noise


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_the_posterior_is_bayes_rule(process: Categorical) -> None:
    for s, t in (ENDS, (DATA, ENDS[1])):
        a_s, a_t = s.alpha**2, t.alpha**2
        joint = matrix(process, a_s)[:3, :, None] * matrix(process, a_t / a_s)  # by x_0, x_s, x_t
        for x_0, x_t in product(range(3), range(process.states)):
            if joint[x_0, :, x_t].sum() == 0:
                continue
            clean = torch.eye(3, dtype=torch.float64)[[x_0]]
            found = process.reverse(clean, torch.tensor([x_t]), s, t)[0]
            np.testing.assert_allclose(found, joint[x_0, :, x_t] / joint[x_0, :, x_t].sum(), atol=1e-14)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_the_reverse_of_the_exact_denoiser_carries_the_law_of_x_t_to_that_of_x_s(process: Categorical) -> None:
    """One symbol, so that nothing is lost within a step; to the data too."""
    law, x_t = random_law(1), sequences(process.states, 1)
    exact = Exact(process, law, 1)
    for s, t in (ENDS, (DATA, ENDS[1])):
        clean = log_clean(process, exact.logits(x_t, t), x_t, t).exp()
        of_t, of_s = (law.numpy() @ matrix(process, u.alpha**2)[:3] for u in (t, s))
        np.testing.assert_allclose(of_t @ process.reverse(clean, x_t, s, t)[:, 0].numpy(), of_s, atol=1e-14)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_the_bound_is_the_enumerated_one(process: Categorical) -> None:
    """Its mean over the data: KL of the chain's matrices, of all 81 sequences with all states of 4 positions."""
    steps, law = 3, random_law(4)
    exact = Exact(process, law, 4)
    x_0, x_t = pairs(process, 4)
    bound = categorical_bound(exact, x_0, steps, selecting(process, x_0, x_t, ERASING, steps))
    levels = list(noise_levels(ERASING, torch.arange(1, steps + 1).double() / steps))
    mine = torch.cat([bound.decoder[:, None], bound.steps], 1).numpy()
    found = wanted = 0.0
    noisy, every = sequences(process.states, 4).numpy(), sequences(3, 4).numpy()
    for i, t in enumerate(levels):
        a_s, a_t = 1.0 if i == 0 else levels[i - 1].alpha ** 2, t.alpha**2
        of_t = matrix(process, a_t)[:3][every[:, None], noisy[None]].prod(-1) * law.numpy()[:, None]
        found += float(np.where(of_t.reshape(-1) > 0, of_t.reshape(-1) * mine[:, i], 0.0).sum())
        joint = matrix(process, a_s)[:3, :, None] * matrix(process, a_t / a_s)  # of one position, by x_0, x_s, x_t
        total = joint.sum(1, keepdims=True)
        kernel = np.where(total > 0, joint / np.where(total > 0, total, 1), 0)
        for position in range(4):
            given = np.stack([of_t[every[:, position] == k].sum(0) for k in range(3)])  # by x_0 there, x_t
            here = kernel[:, :, noisy[:, position]]
            mean = (given[:, None] * here).sum(0) / np.maximum(given.sum(0), 1e-300)
            joined = given[:, None] * here
            ratio = np.divide(here, mean, where=joined > 0, out=np.ones_like(joined))
            wanted += float((joined * np.log(ratio)).sum())
    assert found == pytest.approx(wanted, abs=1e-8)
    assert bound.prior.abs().max() < 1e-12  # nothing is left at t = 1
    assert found > -float(torch.xlogy(law, law).sum())


@pytest.mark.parametrize("schedule", [ERASING, FLOW, Cosine().build()], ids=["erasing", "flow", "cosine"])
def test_the_absorbing_bound_in_continuous_time_is_log_p_under_any_schedule(schedule: Schedule) -> None:
    """Of each of 81 sequences, the time integrated by Gauss-Legendre quadrature."""
    process, law = PROCESSES["absorbing"], random_law(4)
    x_0, x_t = pairs(process, 4)
    possible = ((x_t == 3) | (x_t == x_0)).all(1)
    x_0, x_t = x_0[possible], x_t[possible]
    nodes, weights = np.polynomial.legendre.leggauss(100)
    exact, total = Exact(process, law, 4, schedule), torch.zeros(len(x_0), dtype=torch.float64)
    masks = (x_t == 3).sum(1)
    for u, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        t = noise_level(schedule, float(u))
        chance = (1 - t.alpha**2) ** masks * t.alpha ** (2 * (4 - masks))
        total += weight * chance * masked_term(process, exact.logits(x_t, t), x_t, x_0, t).sum(1)
    bound = total.reshape(81, 16).sum(1)
    torch.testing.assert_close(bound, -law.log(), rtol=0, atol=1e-6)


def test_a_short_step_is_the_integrand() -> None:
    process, x_0 = PROCESSES["absorbing"], torch.tensor([[0, 1, 2]])
    x_t, logits = torch.tensor([[3, 1, 3]]), torch.randn(1, 3, 3, generator=torch.Generator().manual_seed(0))
    t, s = (noise_level(FLOW, u) for u in (0.6, 0.6 - 1e-6))
    step = categorical_term(process, logits, x_t, x_0, s, t) / 1e-6
    torch.testing.assert_close(step, masked_term(process, logits, x_t, x_0, t), rtol=1e-5, atol=1e-12)
    assert step[0, 1] == 0


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_the_gradient_is_a_number_at_certain_states(process: Categorical) -> None:
    logits = torch.zeros(1, 3, 3, requires_grad=True)
    x_0, x_t = torch.tensor([[0, 1, 2]]), torch.tensor([[process.states - 1, 1, process.states - 1]])
    for s in (DATA, ENDS[0]):
        (slope,) = torch.autograd.grad(categorical_term(process, logits, x_t, x_0, s, ENDS[1]).sum(), logits)
        assert slope.isfinite().all()
        assert slope.abs().max() > 0


def test_two_symbols_are_bits() -> None:
    """Symbol 0 is +1: the same draws and the same terms of the bound."""
    process, generator = Categorical(2, mask=0.0), torch.Generator().manual_seed(1)
    x_0 = torch.randint(2, (5, 40), generator=generator)
    noise = torch.randn(5, 40, generator=generator, dtype=torch.float64)
    odds = torch.randn(5, 40, generator=generator, dtype=torch.float64)
    bits = 1.0 - 2.0 * x_0.double()
    for s, t in (ENDS, (DATA, ENDS[1])):
        x_t = process.noised(x_0, noise, t)
        assert torch.equal(1.0 - 2.0 * x_t.double(), flip(bits, noise, t))
        found = categorical_term(process, torch.stack([odds, torch.zeros_like(odds)], -1), x_t, x_0, s, t)
        torch.testing.assert_close(found, bound_term(odds, 1.0 - 2.0 * x_t.double(), bits, s, t), rtol=0, atol=1e-13)


def test_a_draw_has_its_law_and_never_the_impossible() -> None:
    law = torch.tensor([0.0, 0.2, 0.0, 0.7999, 1e-4, 0.0], dtype=torch.float64)
    noise = torch.from_numpy(stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000))
    counts = torch.bincount(draw_symbols(law.expand(100_000, 6), noise), minlength=6)
    assert counts.tolist() == pytest.approx([0, 20_000, 0, 79_990, 10, 0], abs=1)
    assert draw_symbols(law.expand(2, 6), torch.tensor([-60.0, 60.0])).tolist() == [1, 4]


def test_rare_symbols_keep_their_probability_under_noise_of_float32() -> None:
    """Φ(5.5) = 1 - 1.9e-8 and Φ(5.7) = 1 - 6e-9, neither of which float32 tells from 1."""
    law = torch.tensor([1 - 1e-8, 1e-8], dtype=torch.float64).expand(2, 2)
    assert draw_symbols(law, torch.tensor([5.5, 5.7])).tolist() == [0, 1]


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_next_to_the_data_the_posterior_still_adds_up_to_1(process: Categorical) -> None:
    s, t = (noise_level(ERASING, time) for time in (1e-12, 2e-12))
    x_0, x_t = pairs(process, 1)
    x_0, x_t = (x[process.likelihood(x_t, t).gather(-1, x_0[..., None])[:, 0, 0] > 0] for x in (x_0, x_t))
    found = process.reverse(torch.nn.functional.one_hot(x_0, 3).double(), x_t, s, t).sum(-1)
    torch.testing.assert_close(found, torch.ones_like(found), rtol=1e-3, atol=0)  # of 1e-12 four digits are there


def test_what_is_no_symbol_is_refused() -> None:
    exact = Exact(PROCESSES["absorbing"], random_law(4), 4)
    with pytest.raises(InputError, match=r"^x_0: holds values outside 0 to 2"):
        categorical_bound(exact, torch.full((1, 4), 3), 2, lambda *_: torch.zeros(1, 4))
    with pytest.raises(InputError, match=r"^steps: 0"):
        categorical_bound(exact, torch.zeros(1, 4, dtype=torch.long), 0, lambda *_: torch.zeros(1, 4))
    with pytest.raises(InputError, match=r"^symbols: 1"):
        Categorical(1, mask=1.0)
    with pytest.raises(InputError, match=r"^mask: 1.5"):
        Categorical(3, mask=1.5)
    with pytest.raises(InputError, match=r"^process.mask: 1.0 is not between"):
        Mixture(1.0)

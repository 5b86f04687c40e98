"""The laws of the samplers of symbols, enumerated: 3 symbols at 4 positions, every state of every step."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from sumi.denoising.categorical import continuous_term
from sumi.errors import InputError
from sumi.process.categorical import Categorical
from sumi.process.schedule import NoiseLevel, Schedule, Time, noise_level, noise_levels
from sumi.randomness import Purpose, SampleNoise
from sumi.sampling.symbols import (
    SYMBOL_SOLVERS,
    UNKNOWN,
    AllowedSymbols,
    AncestralSymbols,
    ClassifiedSymbols,
    ConfidenceOrder,
    GuidedSymbols,
    KnownSymbols,
    SymbolSolver,
    TemperedSymbols,
    find_symbol_solver,
    sample_symbols,
)
from tests.bits import ERASING
from tests.symbols import FLOW, PROCESSES, Exact, matrix, random_law, sequences

MASKED = PROCESSES["absorbing"]


class Timeless(Exact):
    """As a network that is not told the time: given symbols at t = 1 are states like others."""

    def logits(self, x_t: Tensor, t: Time) -> Tensor:
        return super().logits(x_t, 0.5)


def law_of(denoiser, solver: SymbolSolver, steps: int, known: Tensor | None = None) -> Tensor:
    """The law of what the sampler ends with, over all states (S^4,): products of the laws of its positions."""
    process, length = denoiser.process, 4
    every = sequences(process.states, length)
    start = process.prior(every).expand(length, -1)
    if known is not None:
        denoiser = KnownSymbols(denoiser, known.expand(len(every), length))
        given = known != UNKNOWN
        fixed = torch.nn.functional.one_hot(known.clamp(min=0), process.states).double()
        start = torch.where(given[:, None], fixed, start)
    law = start.gather(1, every.T).prod(0)
    masks = torch.full((len(every),), length if known is None else int((known == UNKNOWN).sum()))
    for t, s in pairwise(noise_levels(denoiser.schedule, torch.linspace(1, 0, steps + 1).double())):
        step = solver.law(denoiser, every, t, s, masks).nan_to_num()  # states that are not reached have none
        if known is not None:
            step = torch.where((every == known)[..., None] & given[:, None], fixed, step)
        kernel = torch.ones(len(every), len(every), dtype=torch.float64)
        for place in range(length):
            kernel *= step[:, place][:, every[:, place]]
        law = torch.where(law > 0, law, 0.0) @ kernel
    return law


def of_data(process: Categorical, law: Tensor) -> Tensor:
    """A law over all sequences of symbols as one over states."""
    whole = torch.zeros(process.states**4, dtype=torch.float64)
    places = (sequences(3, 4) * process.states ** torch.arange(3, -1, -1)).sum(1)
    return whole.index_put((places,), law)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_the_ancestral_sampler_has_the_enumerated_law(process: Categorical) -> None:
    """Against matrices of the process: x_0 drawn at each position by itself, then the posterior of the chain."""
    steps, exact = 3, Exact(process, random_law(4), 4)
    noisy = sequences(process.states, 4)
    levels = list(noise_levels(ERASING, torch.linspace(1, 0, steps + 1).double()))
    prior = matrix(process, 0.0)[0]
    wanted = prior[noisy.numpy()].prod(-1)
    for t, s in pairwise(levels):
        a_s, a_t = s.alpha**2, t.alpha**2
        forward = matrix(process, a_t)[:3]  # of x_t by x_0
        joint = exact.law.numpy()[:, None] * forward[sequences(3, 4).numpy()[:, None], noisy.numpy()[None]].prod(-1)
        of_x_0 = np.stack([[joint[sequences(3, 4)[:, p] == k].sum(0) for k in range(3)] for p in range(4)])
        of_x_0 /= np.where(joint.sum(0) > 0, joint.sum(0), 1)  # (position, symbol, x_t)
        each = matrix(process, a_s)[:3, :, None] * matrix(process, a_t / a_s)  # by x_0, x_s, x_t
        total = each.sum(1, keepdims=True)
        each = np.where(total > 0, each / np.where(total > 0, total, 1), 0)
        kernel = np.ones((len(noisy), len(noisy)))
        for p in range(4):
            step = np.einsum("kn,ksn->ns", of_x_0[p], each[:, :, noisy[:, p]])
            kernel *= step[:, noisy[:, p]]
        wanted = wanted @ kernel
    np.testing.assert_allclose(law_of(exact, AncestralSymbols(), steps), wanted, atol=1e-8, rtol=0)
    assert wanted.sum() == pytest.approx(1)


def test_one_position_a_step_gives_the_law_of_the_data_in_any_order() -> None:
    """The most confident first, and many small steps of the ancestral sampler, whose error falls as 1/steps."""
    law = random_law(4)
    exact, wanted = Exact(MASKED, law, 4), of_data(MASKED, law)
    torch.testing.assert_close(law_of(exact, ConfidenceOrder(), 4), wanted, atol=1e-8, rtol=0)
    errors = [float((law_of(exact, AncestralSymbols(), steps) - wanted).abs().sum()) for steps in (8, 16, 32)]
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.4)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.3)


def test_infilling_has_the_law_of_the_data_given_the_known_symbols() -> None:
    law, known = random_law(4), torch.tensor([UNKNOWN, 2, UNKNOWN, 0])
    agrees = (sequences(3, 4)[:, 1] == 2) & (sequences(3, 4)[:, 3] == 0)
    wanted = of_data(MASKED, torch.where(agrees, law, 0.0) / law[agrees].sum())
    found = law_of(Timeless(MASKED, law, 4), ConfidenceOrder(), 2, known)
    torch.testing.assert_close(found, wanted, atol=1e-8, rtol=0)


def test_a_classifier_guides_to_the_law_given_its_class() -> None:
    """s = 1 and an exact p(y | x_t): Bayes' rule, to rounding; other scales differ."""
    law = random_law(4)
    likely = torch.from_numpy(np.random.default_rng(5).uniform(0.05, 1, 81))
    both = Exact(MASKED, law * likely, 4)
    plain = Exact(MASKED, law, 4)

    def log_probability(x_t: Tensor, t: Time) -> Tensor:
        of_symbol = torch.from_numpy(matrix(MASKED, 0.5))
        shares = of_symbol[sequences(3, 4)[None], x_t[:, None]].prod(-1)
        return ((both.law * shares).sum(1) / (plain.law * shares).sum(1)).log()

    guided = ClassifiedSymbols(plain, log_probability)
    wanted = of_data(MASKED, both.law / both.law.sum())
    torch.testing.assert_close(law_of(guided, ConfidenceOrder(), 4), wanted, atol=1e-8, rtol=0)
    stronger = law_of(ClassifiedSymbols(plain, log_probability, 2.0), ConfidenceOrder(), 4)
    assert (stronger - wanted).abs().sum() > 0.01


def test_guidance_multiplies_the_laws_of_a_position() -> None:
    """p^w q^(1 - w), normalised, in one step from masks; w = 1 is p alone."""
    one, other = Exact(MASKED, random_law(1), 1), Exact(MASKED, torch.tensor([0.2, 0.5, 0.3]).double(), 1)
    x, masks = torch.tensor([[3]]), torch.tensor([1])
    ends = noise_level(ERASING, 1.0), noise_level(ERASING, 0.0)
    for scale in (1.0, 2.5):
        wanted = one.law**scale * other.law ** (1 - scale)
        for solver in SYMBOL_SOLVERS.values():
            found = solver.law(GuidedSymbols(one, other, scale), x, *ends, masks)[0, 0, :3]
            torch.testing.assert_close(found, wanted / wanted.sum(), atol=1e-14, rtol=0)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize("name", SYMBOL_SOLVERS)
def test_samples_follow_these_laws_and_do_not_depend_on_their_batch(process: Categorical, name: str) -> None:
    if SYMBOL_SOLVERS[name].absorbing and not process.absorbing:
        return
    exact, solver, count = Exact(process, random_law(4), 4), SYMBOL_SOLVERS[name], 1500
    whole = sample_symbols(exact, solver, 4, SampleNoise(0, range(count), (4,)), (count, 4))
    part = sample_symbols(exact, solver, 4, SampleNoise(0, range(7, 9), (4,)), (2, 4))
    assert torch.equal(whole[7:9], part)
    assert whole.max() < 3  # no mask is left
    shares = torch.bincount((whole * process.states ** torch.arange(3, -1, -1)).sum(1), minlength=process.states**4)
    wanted = law_of(exact, solver, 4)
    top = wanted.topk(10).indices
    error = (wanted[top] * (1 - wanted[top]) / count).sqrt()
    assert ((shares[top] / count - wanted[top]).abs() < 4 * error).all()


def test_known_symbols_stay_and_unallowed_ones_never_come() -> None:
    known = torch.tensor([UNKNOWN, 2, UNKNOWN, 0]).expand(50, 4)
    allowed = torch.ones(4, 3, dtype=torch.bool)
    allowed[2, 1] = False
    for process in PROCESSES.values():
        seen: list[tuple[int, float, Tensor]] = []

        def record(step: int, level: NoiseLevel, x: Tensor, seen: list[tuple[int, float, Tensor]] = seen) -> None:
            seen.append((step, float(level.t), x))

        denoiser = AllowedSymbols(Exact(process, random_law(4), 4), allowed)
        noise = SampleNoise(1, range(50), (4,))
        x = sample_symbols(denoiser, AncestralSymbols(), 5, noise, (50, 4), known=known, record=record)
        assert (x[:, 1] == 2).all()
        assert (x[:, 3] == 0).all()
        assert (x[:, 2] != 1).all()
        assert [step for step, _, _ in seen] == list(range(6))
        assert (seen[0][1], seen[-1][1]) == (1.0, 0.0)
        assert torch.equal(seen[-1][2], x)
        if process.absorbing:
            assert (seen[0][2][:, [0, 2]] == 3).all()


@dataclass
class Counted:
    """A denoiser of constant logits, whose evaluations are counted."""

    process: Categorical
    schedule: Schedule = ERASING
    calls: int = 0

    def logits(self, x_t: Tensor, t: Time) -> Tensor:
        self.calls += 1
        return torch.zeros(*x_t.shape, 3)


def test_a_step_is_one_evaluation_and_confidence_unmasks_evenly() -> None:
    denoiser, left = Counted(MASKED), []
    x = sample_symbols(
        denoiser,
        ConfidenceOrder(),
        6,
        SampleNoise(0, range(3), (12,)),
        (3, 12),
        record=lambda i, level, x: left.append(int((x == 3).sum(1).max())),
    )
    assert (denoiser.calls, left) == (6, [12, 10, 8, 6, 4, 2, 0])
    assert len(x.unique()) == 3


def test_what_is_no_solver_of_the_process_is_refused() -> None:
    with pytest.raises(InputError, match=r"^solver: confidence is of process=masked alone; choose ancestral"):
        find_symbol_solver("confidence", PROCESSES["uniform"], "solver")
    with pytest.raises(InputError, match=r"^solver: there is no solver 'ancestrl'; did you mean ancestral"):
        find_symbol_solver("ancestrl", MASKED, "solver")


@pytest.mark.parametrize("process", [PROCESSES["uniform"], PROCESSES["mixture"]], ids=["uniform", "mixture"])
def test_the_bound_of_continuous_time_is_the_limit_of_short_steps(process: Categorical) -> None:
    """Per unit of time, KL of one step of 1e-6."""
    from sumi.denoising.categorical import categorical_term

    generator = torch.Generator().manual_seed(0)
    x_0, logits = torch.tensor([[0, 1, 2, 2]]), torch.randn(1, 4, 3, generator=generator)
    x_t = torch.tensor([[0, 2, 1, process.states - 1]])
    for schedule in (FLOW, ERASING):
        t, s = (noise_level(schedule, u) for u in (0.6, 0.6 - 1e-6))
        step = categorical_term(process, logits, x_t, x_0, s, t) / 1e-6
        found = continuous_term(process, logits, x_t, x_0, t)
        torch.testing.assert_close(step, found, rtol=1e-4, atol=1e-9)
        assert (found > 0).all()


def test_noise_is_of_the_step_and_the_sample() -> None:
    """What the sampler asks for: the start first, then one draw a step."""
    wanted = []

    def noise(step: int, purpose: Purpose, draw: int = 0) -> Tensor:
        wanted.append((step, purpose))
        return torch.zeros(1, 4)

    sample_symbols(Exact(MASKED, random_law(4), 4), AncestralSymbols(), 2, noise, (1, 4))
    assert wanted == [(0, Purpose.START), (1, Purpose.STEP), (2, Purpose.STEP)]


def test_a_temperature_sharpens_the_law_of_each_position() -> None:
    denoiser, x = Exact(PROCESSES["uniform"], random_law(2), 2), sequences(3, 2)
    logits = TemperedSymbols(denoiser, 0.5).logits(x, 0.5)
    law = denoiser.logits(x, 0.5).softmax(-1)
    torch.testing.assert_close(logits.softmax(-1), law.square() / law.square().sum(-1, keepdim=True))
    assert find_symbol_solver("auto", MASKED, "solver") == ConfidenceOrder()
    assert find_symbol_solver("auto", PROCESSES["uniform"], "solver") == AncestralSymbols()


def test_a_correction_repairs_what_does_not_fit() -> None:
    """Of three sequences of one symbol each, a few others aside: the odd symbol is replaced, given ones are not."""
    every = sequences(3, 4)
    law = (every == every[:, :1]).all(1).double() / 3 + 1e-9
    exact, given = Exact(MASKED, law / law.sum(), 4), torch.tensor([[-1, -1, -1, -1], [0, 0, 2, 0]])
    start = torch.tensor([[0, 0, 2, 0], [0, 0, 2, 0]])

    class Certain:
        """A step that ends there."""

        absorbing = True

        def law(self, denoiser, x, t, s, masks):
            return torch.nn.functional.one_hot(start, 4).double()

    def noise(step: int, _: Purpose) -> Tensor:
        return torch.zeros(2, 4)

    states: list[Tensor] = []
    x = sample_symbols(exact, Certain(), 1, noise, (2, 4), corrections=1, record=lambda *a: states.append(a[2]))
    assert x.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0]]
    assert [s.tolist() for s in states[1:]] == [start.tolist(), x.tolist()]
    x = sample_symbols(exact, Certain(), 1, noise, (2, 4), known=given, corrections=2)
    assert x.tolist() == [[0, 0, 0, 0], [0, 0, 2, 0]]
    assert sample_symbols(exact, Certain(), 1, noise, (2, 4)).tolist() == start.tolist()


def test_a_correction_draws_the_surest_first() -> None:
    """Of two symbols that are drawn anew, the second follows the first, of which alone one can be sure."""

    class Following:
        process, schedule = MASKED, FLOW

        def logits(self, x: Tensor, _: Time) -> Tensor:
            law = torch.tensor([0.98, 0.01, 0.01]).repeat(*x.shape, 1)
            law[:, 0] = torch.tensor([0.05, 0.9, 0.05])
            of_first = torch.tensor([[0.2, 0.4, 0.4], [0.05, 0.9, 0.05], [0.2, 0.4, 0.4], [0.55, 0.4, 0.05]])
            law[:, 1] = of_first[x[:, 0]]  # by its symbol, and where it is masked
            return law.log()

    class Zeros:
        """A step that ends there."""

        absorbing = True

        def law(self, denoiser, x, t, s, masks):
            return torch.nn.functional.one_hot(torch.zeros_like(x), 4).double()

    x = sample_symbols(Following(), Zeros(), 1, lambda step, _: torch.zeros(1, 8), (1, 8), corrections=1)
    assert x.tolist() == [[1, 1, 0, 0, 0, 0, 0, 0]]

"""Classifiers of noised symbols: their probabilities written out, and what guidance asks them for."""

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical as Classes
from torch.distributions import Normal

from sumi.conditioning.condition import Condition
from sumi.guidance.symbols import LEAST_DEVIATION, SymbolClassifier
from sumi.process.categorical import Categorical
from sumi.process.continuous import ConstantErasing
from sumi.process.schedule import NoiseLevel, Schedule, Time, noise_level
from sumi.sampling import symbols
from sumi.sampling.symbols import ClassifiedSymbols

MASKED, UNIFORM = Categorical(3, 1.0), Categorical(3, 0.0)
STATES = torch.tensor([[0, 3, 2, 3], [1, 1, 0, 2], [3, 3, 3, 3], [2, 0, 3, 1]])


class Table(nn.Module):
    """Outputs that are random numbers of each symbol and place, moved by the level it is given."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.table = torch.randn(4, 4, outputs, generator=torch.Generator().manual_seed(0))

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        return self.table[torch.arange(x.shape[1]), x] + 1e-3 * c_noise[:, None, None]


class Flat:
    """A denoiser to which all symbols are equally likely."""

    schedule: Schedule = ConstantErasing()

    def __init__(self, process: Categorical) -> None:
        self.process = process

    def logits(self, x_t: Tensor, t: Time) -> Tensor:
        del t
        return torch.zeros(*x_t.shape, self.process.symbols)


@pytest.mark.parametrize("process", [MASKED, UNIFORM], ids=["masked", "uniform"])
def test_its_probability_is_that_of_the_class_and_of_each_number_that_is_known(process: Categorical) -> None:
    """Of the mean of the outputs; float32."""
    classifier, now = SymbolClassifier(Table(7), process, 3, ("a", "b")), noise_level(ConstantErasing(), 0.3)
    classifier.mean.copy_(torch.tensor([10.0, -2.0]))
    classifier.std.copy_(torch.tensor([4.0, 0.5]))
    x = STATES if process.absorbing else STATES.clamp(max=2)
    labels, values = torch.tensor([2, 0, 1, 1]), torch.tensor([[11.0, -2], [9, torch.nan], [torch.nan] * 2, [0, -1]])
    level = 0.0 if process.absorbing else 300.0  # 1000 (1 - a)
    outputs = classifier.network(x, torch.full((4,), level)).mean(1)
    logits, mean, spread = outputs.split([3, 2, 2], 1)
    of_class = Classes(logits=logits).log_prob(labels)
    density = Normal(mean, LEAST_DEVIATION + nn.functional.softplus(spread))
    of_values = density.log_prob((values.nan_to_num() - torch.tensor([10.0, -2])) / torch.tensor([4, 0.5]))
    of_values = torch.where(values.isnan(), 0.0, of_values).sum(1)
    for asked, wanted in (
        ({"labels": labels}, of_class),
        ({"values": values}, of_values),
        ({"labels": labels, "values": values}, of_class + of_values),
    ):
        found = classifier.log_probability(x, now, Condition(asked))
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
        many = classifier.of(Condition(asked))(x.repeat_interleave(5, 0), now)
        torch.testing.assert_close(many, wanted.repeat_interleave(5), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("process", [MASKED, UNIFORM], ids=["masked", "uniform"])
@pytest.mark.parametrize("together", [1, 2**24])
def test_guidance_adds_what_each_symbol_at_each_place_gains(
    process: Categorical, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one. With the masked process, only where there is a mask; in however many parts."""
    monkeypatch.setattr(symbols, "TOGETHER", together)
    seen: list[Tensor] = []

    def log_probability(x: Tensor, now: NoiseLevel) -> Tensor:
        seen.append(x)
        weights = torch.tensor([[1.0, 2, 3, 4]]) * torch.arange(1, 5).repeat_interleave(len(x) // 4)[:, None]
        return float(now.alpha) * (weights * x).sum(1)  # each sample's own: its rows stand together

    x, now = STATES if process.absorbing else STATES.clamp(max=2), noise_level(ConstantErasing(), 0.4)
    found = ClassifiedSymbols(Flat(process), log_probability, 0.5).logits(x, now)
    wanted = torch.full((4, 4, 3), -torch.tensor(3.0).log().item(), dtype=torch.float64)
    for sample in range(4):
        for place in range(4):
            if process.absorbing and x[sample, place] != 3:
                continue
            for symbol in range(3):
                changed = x.clone()
                changed[sample, place] = symbol
                wanted[sample, place, symbol] += 0.5 * log_probability(changed, now)[sample].double()
    there = (x == 3)[..., None] if process.absorbing else torch.ones(4, 4, 1, dtype=torch.bool)
    torch.testing.assert_close(torch.where(there, found, 0), torch.where(there, wanted, 0), atol=1e-5, rtol=1e-6)
    whole = 4 * 4 * 3  # of four samples, the most masks in one, three symbols
    assert sum(map(len, seen[: 1 if together > 1 else 4])) == whole


def test_what_is_certain_is_not_asked_about() -> None:
    """Of four masks, one of which has one symbol left, and one two: three are seen, with three symbols each."""

    class Sure(Flat):
        def logits(self, x_t: Tensor, t: Time) -> Tensor:
            logits = super().logits(x_t, t)
            logits[:, 0, 1:] = -torch.inf
            logits[:, 1, 2] = -torch.inf
            return logits

    seen: list[Tensor] = []

    def log_probability(x: Tensor, now: NoiseLevel) -> Tensor:
        seen.append(x)
        return x.sum(1).float()

    logits = ClassifiedSymbols(Sure(MASKED), log_probability).logits(STATES[2:3], 0.5)
    assert [len(x) for x in seen] == [9]
    assert all(int(x[row, 0]) == 3 for x in seen for row in range(9))
    gained = logits - Sure(MASKED).logits(STATES[2:3], 0.5).double().log_softmax(-1)
    assert (gained[0, 1, 1] - gained[0, 1, 0]).item() == pytest.approx(1)


def test_where_nothing_is_masked_no_classifier_is_asked() -> None:
    def log_probability(x: Tensor, now: NoiseLevel) -> Tensor:
        raise AssertionError

    guided = ClassifiedSymbols(Flat(MASKED), log_probability)
    assert torch.equal(guided.logits(STATES[1:2], 0.5), Flat(MASKED).logits(STATES[1:2], 0.5).double().log_softmax(-1))

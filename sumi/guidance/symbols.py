"""A classifier of noised symbols, p(y | x_t), which guides diffusion models of symbols (Schiff et al. 2024, "Simple
guidance mechanisms for discrete diffusion models", section 3).

    x_t ─ transformer ─ an output for each position ─ their mean ┬─ logits of the classes
                                                                 └─ mean and deviation of each number

A number v is normal given x_t: (v - m)/s ~ N(μ(x_t), σ(x_t)²), with m and s of the training data, so a model can be
guided to values as to classes. How noisy x_t is counts by the share a of symbols that noise kept, so one classifier
guides models of every schedule of its process. `sumi.sampling.symbols.ClassifiedSymbols` guides by it.
"""

from collections.abc import Sequence
from math import log, pi
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.conditioning.condition import Condition
from sumi.conditioning.values import column_of, mean_and_std
from sumi.data.dataset import Dataset
from sumi.errors import InputError
from sumi.process.binomial import kept
from sumi.process.categorical import Categorical
from sumi.process.schedule import NoiseLevel
from sumi.sampling.symbols import LogProbability

LEAST_DEVIATION: Final = 0.02
"""σ in deviations of the data: a number is never predicted better."""
TOGETHER: Final = 4096
"""Sequences that the network sees at once."""


class SymbolClassifier(nn.Module):
    """See the module docstring.

    ``network(x_t (N, L), c_noise (N,)) -> (N, L, outputs)`` has one output for each class and two for each number;
    c_noise = 1000 (1 - a), and 0 for the absorbing process. ``classes``: how many it tells apart, 0 for none;
    ``names``: of numbers.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, process: Categorical, classes: int, names: Sequence[str]) -> None:
        super().__init__()
        self.network, self.process, self.classes, self.names = network, process, classes, tuple(names)
        self.register_buffer("mean", torch.zeros(len(self.names)))
        self.register_buffer("std", torch.ones(len(self.names)))

    def fit(self, data: Dataset) -> None:
        """Take mean and deviation of the numbers. Raises InputError where the data lack one."""
        for k, (name, column) in enumerate(zip(self.names, self.numbers_of(data).unbind(1), strict=True)):
            if len(column[~column.isnan()].unique()) < 2:
                raise InputError(f"values: {name} has no two different numbers in the data; name another column")
            self.mean[k], self.std[k] = mean_and_std(column)

    def numbers_of(self, data: Dataset) -> Tensor:
        """The numbers of each item in their own units, float64 (N, names), nan where unknown. Raises InputError."""
        empty = torch.empty(len(data), 0, dtype=torch.float64)
        return torch.cat([empty, *(column_of(data, name)[:, None] for name in self.names)], 1)

    def outputs(self, x_t: Tensor, now: NoiseLevel) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, classes), and μ and σ (N, names) in deviations of the data, of the states x_t (N, L).

        ``now``: one level, or one for each.
        """
        erased = 0.0 if self.process.absorbing else 1000 * (1 - kept(now))
        c_noise = torch.as_tensor(erased, dtype=torch.float32).to(x_t.device).expand(len(x_t))
        parts = zip(x_t.split(TOGETHER), c_noise.split(TOGETHER), strict=True)
        found = torch.cat([self.network(*part).float().mean(1) for part in parts])
        logits, mean, spread = found.split([self.classes, len(self.names), len(self.names)], 1)
        return logits, mean, LEAST_DEVIATION + F.softplus(spread)

    def log_probability(self, x_t: Tensor, now: NoiseLevel, asked: Condition) -> Tensor:
        """log p(y | x_t), (N,), of the ``labels`` (N,) and ``values`` (N, names) of ``asked``; nan is unknown."""
        logits, mean, deviation = self.outputs(x_t, now)
        total = logits.new_zeros(len(x_t))
        if "labels" in asked:
            total = total + logits.log_softmax(1).gather(1, asked["labels"].to(x_t.device)[:, None])[:, 0]
        if "values" in asked:
            z = (asked["values"].to(self.mean) - self.mean) / self.std
            known = ~z.isnan()
            error = (torch.where(known, z, 0.0) - mean) / deviation
            density = -0.5 * error.square() - deviation.log() - 0.5 * log(2 * pi)
            total = total + torch.where(known, density, 0.0).sum(1)
        return total

    def of(self, asked: Condition) -> LogProbability:
        """log p(y | x_t) of N samples, each with its row of ``asked``; of M = N k states, k for each sample."""
        (count,) = asked.sizes()

        def log_probability(x_t: Tensor, now: NoiseLevel) -> Tensor:
            if len(x_t) % count:
                raise InputError(f"x_t: {len(x_t)} states are not as many of each of {count} samples; give a multiple")
            rows = torch.arange(count).repeat_interleave(len(x_t) // count)
            return self.log_probability(x_t, now, asked.rows(rows))

        return log_probability

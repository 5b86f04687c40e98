"""How an autoregressive network says which level a value takes: parameters (N, P, …), one distribution an element.

    softmax    one logit a level                                     for few levels
    mixture    Σ_k π_k Logistic(m_k, s_k), over the level's bin       for many (Salimans et al. 2017, "PixelCNN++")

A logistic's cumulative function is σ((x - m)/s), so that a bin of half width h has, for each k,

    P = σ((x + h - m)/s) - σ((x - h - m)/s) = σ(a) - σ(b) = σ(a) σ(-b) (1 - e^(b - a)),

written as a product so that its logarithm is exact far away too. The bin of the lowest level reaches down to -∞, that
of the highest up to ∞. A draw takes two uniform numbers: which component, and where in it; the nearest level is drawn.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from sumi.errors import InputError

LOWEST_LOG_STD = -7.0


class LevelDistribution(Protocol):
    """A distribution over ``levels`` values in [-1, 1], 2/(levels - 1) apart."""

    @property
    def parameters(self) -> int:
        """How many numbers describe one, P."""
        ...

    def log_probability(self, parameters: Tensor, x: Tensor) -> Tensor:
        """log P(x) in nats, float64 (N, H, W); ``parameters`` (N, P, H, W), ``x`` (N, H, W) on the levels."""
        ...

    def draw(self, parameters: Tensor, u: Tensor) -> Tensor:
        """A value on the levels, (N,), for parameters (N, P) and uniform numbers ``u`` (N, 2) in (0, 1)."""
        ...


@dataclass(frozen=True)
class Softmax:
    """One logit a level."""

    levels: int

    @property
    def parameters(self) -> int:
        return self.levels

    def log_probability(self, parameters: Tensor, x: Tensor) -> Tensor:
        """See `LevelDistribution`."""
        index = ((x + 1) * ((self.levels - 1) / 2)).round().long()
        return parameters.double().log_softmax(1).gather(1, index[:, None])[:, 0]

    def draw(self, parameters: Tensor, u: Tensor) -> Tensor:
        """The first level at which the cumulative probability passes u."""
        cumulative = parameters.double().softmax(1).cumsum(1)
        index = (cumulative < u[:, :1].to(cumulative) * cumulative[:, -1:]).sum(1)
        return (2 * index - (self.levels - 1)).to(parameters.dtype) / (self.levels - 1)


@dataclass(frozen=True)
class LogisticMixture:
    """``components`` logistics: parameters are logits of π, then m, then log s."""

    levels: int
    components: int

    @property
    def parameters(self) -> int:
        return 3 * self.components

    def log_probability(self, parameters: Tensor, x: Tensor) -> Tensor:
        """See `LevelDistribution`."""
        logits, mean, log_std = parameters.double().chunk(3, dim=1)
        inverse = (-floored(log_std)).exp()
        x = x.double()[:, None]
        half = 1 / (self.levels - 1)
        above, below = (x + half - mean) * inverse, (x - half - mean) * inverse
        inner = F.logsigmoid(above) + F.logsigmoid(-below) + torch.log(-torch.expm1(below - above))
        log_bin = torch.where(x < half - 1, F.logsigmoid(above), torch.where(x > 1 - half, F.logsigmoid(-below), inner))
        return (logits.log_softmax(1) + log_bin).logsumexp(1)

    def draw(self, parameters: Tensor, u: Tensor) -> Tensor:
        """See `LevelDistribution`."""
        logits, mean, log_std = parameters.double().chunk(3, dim=1)
        cumulative = logits.softmax(1).cumsum(1)
        which = (cumulative < u[:, :1].to(cumulative) * cumulative[:, -1:]).sum(1, keepdim=True)
        place = u[:, 1:].to(cumulative).logit()
        x = mean.gather(1, which) + floored(log_std).exp().gather(1, which) * place
        index = ((x[:, 0] + 1) * ((self.levels - 1) / 2)).round().clamp(0, self.levels - 1)
        return ((2 * index - (self.levels - 1)) / (self.levels - 1)).to(parameters.dtype)


def level_distribution(levels: int, components: int) -> LevelDistribution:
    """A softmax for up to 32 levels, a mixture of so many logistics for more. Raises InputError."""
    if not 2 <= levels <= 256:
        raise InputError(f"levels: {levels} is out of range; give 2 to 256")
    return Softmax(levels) if levels <= 32 else LogisticMixture(levels, components)


def floored(log_std: Tensor, lowest: float = LOWEST_LOG_STD) -> Tensor:
    """log s, kept above ``lowest`` without losing its gradient."""
    return F.softplus(log_std - lowest) + lowest

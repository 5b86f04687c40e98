"""Categorical diffusion: each step keeps a symbol or draws it anew (Austin et al. 2021, "D3PM", appendix A).

A symbol is one of K, written 0 … K - 1. One step keeps it with probability 1 - β and otherwise draws from a law π,
which has a share m of the mask, a further state K, and is uniform over the symbols for the rest:

    m = 1    masked (absorbing) diffusion: a mask never leaves itself          (Sahoo et al. 2024, "MDLM")
    m = 0    uniform diffusion, without a mask                                 (Schiff et al. 2024, "UDLM")
    between  the mixture: symbols are masked, or replaced by others            (von Rütte et al. 2025, "GIDD")

With a = Π (1 - β) = alpha², b = a_t/a_s (s < t) and δ the identity

    marginal     q(x_t | x_0)           = a_t δ(x_t, x_0) + (1 - a_t) π(x_t)
    transition   q(x_t | x_s)           = b δ(x_t, x_s) + (1 - b) π(x_t)
    posterior    q(x_s | x_t, x_0)      = q(x_t | x_s) q(x_s | x_0)/q(x_t | x_0)
    reverse      p(x_s | x_t)           = Σ_i p(x_0 = i | x_t) q(x_s | x_t, i)
                                        = q(x_t | x_s) [a_s r(x_s) + (1 - a_s) π(x_s) Σ_i r_i],   r_i = p_i/q(x_t | i)

Nothing is of size K². With two symbols and the uniform law it is binomial diffusion (`sumi.process.binomial`), which
also gives a and b.

A symbol is drawn by inverting its cumulative law at Φ of one standard normal number, in float64: rare symbols keep
their probability, as they do not with Gumbel noise in float32.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from sumi.errors import InputError
from sumi.process.binomial import kept, transition
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel, Number


@dataclass(frozen=True)
class Categorical:
    """The process on ``symbols`` = K symbols, at least 2, with a share ``mask`` = m of masks (module docstring).

    States are integers (N, …) below `states`, laws are float64 with one more axis. Raises InputError for K < 2 and a
    share outside [0, 1].
    """

    symbols: int
    mask: float

    def __post_init__(self) -> None:
        if self.symbols < 2:
            raise InputError(f"symbols: {self.symbols} must be 2 or more")
        if not 0 <= self.mask <= 1:
            raise InputError(f"mask: {self.mask} is not a share from 0 to 1")

    @property
    def absorbing(self) -> bool:
        """Whether what is masked stays masked, and all else is x_0's own symbol."""
        return self.mask == 1

    @property
    def states(self) -> int:
        """S: the K symbols and, where there is one, the mask, which is the last."""
        return self.symbols + (self.mask > 0)

    def prior(self, x: Tensor) -> Tensor:
        """The law π of what a step draws, and of x_1 where a = 0: (S,) on x's device."""
        law = torch.full((self.states,), (1 - self.mask) / self.symbols, dtype=torch.float64, device=x.device)
        law[self.symbols :] = self.mask
        return law

    def marginal(self, x_0: Tensor, t: NoiseLevel) -> Tensor:
        """q(x_t | x_0), (N, …, S)."""
        a = _share(kept(t), x_0)
        return a * one_hot(x_0, self.states) + (1 - a) * self.prior(x_0)

    def likelihood(self, x_t: Tensor, t: NoiseLevel) -> Tensor:
        """q(x_t | x_0 = i) of each symbol i, (N, …, K); 0 where x_t excludes it."""
        a = _share(kept(t), x_t)
        return a * one_hot(x_t, self.states)[..., : self.symbols] + (1 - a) * self.prior(x_t)[x_t][..., None]

    def reverse(self, clean: Tensor, x_t: Tensor, s: NoiseLevel, t: NoiseLevel) -> Tensor:
        """p(x_s | x_t), (N, …, S), from ``clean`` = p(x_0 | x_t), (N, …, K); s may be the data.

        ``clean`` must be 0 where `likelihood` is. One-hot at x_0 it gives the posterior.
        """
        a, b = _share(kept(s), x_t), _share(transition(s, t), x_t)
        evidence = self.likelihood(x_t, t)
        ratio = pad(clean / torch.where(evidence > 0, evidence, 1.0), (0, self.states - self.symbols))
        law = self.prior(x_t)
        step = b * one_hot(x_t, self.states) + (1 - b) * law[x_t][..., None]
        return step * (a * ratio + (1 - a) * law * ratio.sum(-1, keepdim=True))

    def noised(self, x_0: Tensor, noise: Tensor, t: NoiseLevel) -> Tensor:
        """Sample q(x_t | x_0) by standard normal ``noise``, shapes (N, …)."""
        return draw_symbols(self.marginal(x_0, t), noise)


@dataclass(frozen=True)
class Masked:
    """Masked diffusion: symbols become masks."""

    name: ClassVar[str] = "masked"
    mask: ClassVar[float] = 1.0


@dataclass(frozen=True)
class Uniform:
    """Uniform diffusion: symbols become other symbols."""

    name: ClassVar[str] = "uniform"
    mask: ClassVar[float] = 0.0


@dataclass(frozen=True)
class Mixture:
    """Both: a share ``mask`` of what a step replaces becomes masks, the rest other symbols."""

    name: ClassVar[str] = "mixture"

    mask: float = field(default=0.5, metadata={"help": "share of masks, between 0 and 1"})

    def __post_init__(self) -> None:
        if not 0 < self.mask < 1:
            raise InputError(f"process.mask: {self.mask} is not between 0 and 1; set process=masked or process=uniform")


CategoricalConfig = Masked | Uniform | Mixture
"""The categorical processes by name; ``Categorical(symbols, mask)`` is the process."""


def draw_symbols(law: Tensor, noise: Tensor) -> Tensor:
    """A state of each law (N, …, S), integers (N, …): the first whose cumulative probability exceeds Φ(noise).

    States of probability 0 are never drawn, whatever the noise. The laws need not add up to 1 exactly.
    """
    below = torch.special.ndtr(noise.double()).clamp(max=1 - 2**-53)
    total = law.double().cumsum(-1)
    return (total / total[..., -1:] <= below[..., None]).sum(-1)


def _share(value: Number, x: Tensor) -> Tensor:
    """A coefficient that broadcasts against the laws of x (N, …)."""
    return torch.as_tensor(expand(value, x.double()), dtype=torch.float64, device=x.device)[..., None]

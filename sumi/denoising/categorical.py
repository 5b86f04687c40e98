"""Denoising symbols: the terms of the variational bound of categorical diffusion (`sumi.process.categorical`).

A network gives a logit for each of the K symbols; none for the mask. Symbols that x_t excludes have probability 0: with
the absorbing process an unmasked symbol is its own answer (Sahoo et al. 2024, "MDLM", section 3.2.3). A step from t to
s has, for each symbol, the term KL(q(x_s | x_t, x_0) ‖ p(x_s | x_t)), which is -log p(x_0 | x_t) where s is the data.
With the absorbing process it is (a_s - a_t)/(1 - a_t) times the cross-entropy of a masked symbol; in continuous time

    ∫_0^1 E [ -a'(t)/(1 - a(t)) Σ_masked -log p(x_0 | x_t) ] dt,

which depends on the schedule by its ends alone. From a(0) = 1 to a(1) = 0, the exact p gives -log p(x_0).

Of any law π a symbol x_t jumps back to y at the rate β π(x_t) r(y), with β = -a'/a and r(y) = q(y | x_0)/q(x_t | x_0).
The model's rate has r̂, the mean of r over p(x_0 | x_t), and the integrand is the Bregman divergence of the two rates
(Campbell et al. 2022, "A continuous time framework for discrete denoising models"; Schiff et al. 2024, "UDLM"),

    β π(x_t) Σ_y [r̂ - r + r log(r/r̂)].
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad

from sumi.denoising.denoiser import Condition, Conditioner
from sumi.errors import InputError
from sumi.networks.condition import NOTHING
from sumi.process.binomial import kept
from sumi.process.categorical import Categorical
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel, Schedule, Time, noise_level


class SymbolDenoiser(Protocol):
    """A denoiser of symbols that gives their logits."""

    @property
    def process(self) -> Categorical: ...

    @property
    def schedule(self) -> Schedule: ...

    def logits(self, x_t: Tensor, t: Time) -> Tensor:
        """log p(x_0 = i | x_t) up to a constant, (N, …, K), of the states x_t (N, …)."""
        ...


def log_clean(process: Categorical, logits: Tensor, x_t: Tensor, t: NoiseLevel) -> Tensor:
    """log p(x_0 = i | x_t) in float64, (N, …, K), with -inf for the symbols that x_t excludes."""
    excluded = process.likelihood(x_t, t) == 0
    return logits.double().masked_fill(excluded, -torch.inf).log_softmax(-1)


def categorical_term(
    process: Categorical, logits: Tensor, x_t: Tensor, x_0: Tensor, s: NoiseLevel, t: NoiseLevel
) -> Tensor:
    """The bound's term of each symbol in nats (module docstring), for the step from t back to s: float64 (N, …)."""
    truth = process.reverse(one_hot(x_0, process.symbols).double(), x_t, s, t)
    model = process.reverse(log_clean(process, logits, x_t, t).exp(), x_t, s, t)
    reached = torch.where(truth > 0, model, 1.0)  # the logarithm of a state that is never reached has no slope
    return (torch.xlogy(truth, truth) - torch.xlogy(truth, reached)).sum(-1)


def masked_term(process: Categorical, logits: Tensor, x_t: Tensor, x_0: Tensor, t: NoiseLevel) -> Tensor:
    """The integrand of continuous time of each symbol in nats (module docstring), 0 < t < 1: float64 (N, …).

    For the absorbing process alone. 0 where x_t is not masked, since the answer is then certain.
    """
    truth = log_clean(process, logits, x_t, t).gather(-1, x_0[..., None])[..., 0]
    return expand(2 * t.alpha * t.alpha_slope / (1 - kept(t)), truth) * truth


def continuous_term(process: Categorical, logits: Tensor, x_t: Tensor, x_0: Tensor, t: NoiseLevel) -> Tensor:
    """The integrand of continuous time of each symbol in nats (module docstring), 0 < t < 1: float64 (N, …)."""
    if process.absorbing:
        return masked_term(process, logits, x_t, x_0, t)
    a, evidence = expand(kept(t), x_t.double()), process.likelihood(x_t, t)
    law = process.prior(x_t)
    truth = process.marginal(x_0, t) / evidence.gather(-1, x_0[..., None])
    ratio = pad(log_clean(process, logits, x_t, t).exp() / evidence, (0, process.states - process.symbols))
    share = torch.as_tensor(a, dtype=torch.float64, device=x_t.device)[..., None]
    model = share * ratio + (1 - share) * law * ratio.sum(-1, keepdim=True)
    divergence = model - truth + torch.xlogy(truth, truth) - torch.xlogy(truth, model)
    rate = expand(-2 * t.alpha_slope / t.alpha, x_t.double())
    return rate * law[x_t] * divergence.sum(-1)


class CategoricalDenoiser(nn.Module):
    """A network F(x_t, c_noise, condition) that gives logits; c_noise = 1000 (1 - a), and 0 for the absorbing process,
    whose x_t says by its masks how noisy it is.

    ``conditioner``: as of `sumi.denoising.denoiser.NetworkDenoiser`. ``end``: the symbol that fills sequences up, of
    which nothing else comes after the first one (`sumi.data.symbols`); with the absorbing process alone. What follows
    from that is then certain, and what stands behind an end is not computed. Raises InputError for a schedule that does
    not lead from a = 1 to a = 0, as the bound is without ends, and for an ``end`` of another process.
    """

    def __init__(
        self,
        network: nn.Module,
        process: Categorical,
        schedule: Schedule,
        conditioner: Conditioner | None = None,
        end: int | None = None,
    ) -> None:
        super().__init__()
        if noise_level(schedule, 0.0).alpha != 1 or abs(float(noise_level(schedule, 1.0).alpha)) > 1e-12:
            raise InputError("schedule: does not lead from alpha = 1 to alpha = 0; choose one such as erasing")
        if end is not None and not process.absorbing:
            raise InputError("certain_ends: true is of process=masked alone; set certain_ends=false")
        self.network, self.process, self.schedule, self.conditioner = network, process, schedule, conditioner
        self.end = end

    def logits(self, x_t: Tensor, t: Time, condition: Condition | None = None) -> Tensor:
        """See `SymbolDenoiser`; ``condition``: one row a sample, None: unconditional."""
        erased = 0.0 if self.process.absorbing else 1000 * (1 - kept(noise_level(self.schedule, t)))
        c_noise = torch.as_tensor(erased, dtype=torch.float32).to(x_t.device).expand(len(x_t))
        known = NOTHING
        if self.conditioner is not None:
            given = self.conditioner.null(x_t.float()) if condition is None else condition.to(x_t.device)
            known = self.conditioner(given)
        if self.end is None:
            return self.network(x_t, c_noise, known)
        first, behind = after_end(x_t, self.end)
        filled, parts, order = x_t.masked_fill(behind, self.end), list[Tensor](), list[Tensor]()
        for size, rows in _by_length(first + 1, x_t.shape[1]):
            part = self.network(filled[rows, :size], c_noise[rows], known.rows(rows))
            parts.append(pad(part, (0, 0, 0, x_t.shape[1] - size)))
            order.append(rows)
        logits = torch.cat(parts)[torch.cat(order).argsort()]
        return logits.masked_fill(excluded_by_ends(x_t, behind, self.end, self.process.symbols), -torch.inf)


PIECE: Final = 6
"""Sequences that end are computed up to a multiple of this, so that a few lengths serve a batch."""


def after_end(x_t: Tensor, end: int) -> tuple[Tensor, Tensor]:
    """The place of the first end, int64 (N,), L where there is none, and what stands behind it, bool (N, L)."""
    places = torch.arange(x_t.shape[1], device=x_t.device)
    first = torch.where(x_t == end, places, x_t.shape[1]).amin(1)
    return first, places > first[:, None]


def excluded_by_ends(x_t: Tensor, behind: Tensor, end: int, symbols: int) -> Tensor:
    """Which symbols the masks of x_t (N, L) cannot hide, bool (N, L, K): ends before a symbol, others ``behind`` an
    end."""
    masked = x_t == symbols
    there = ~masked & ~behind & (x_t != end)
    before = there.flip(1).cumsum(1).flip(1) > 0
    is_end = torch.arange(symbols, device=x_t.device) == end
    return masked[..., None] & torch.where(is_end, before[..., None], behind[..., None])


def _by_length(needed: Tensor, longest: int) -> Iterator[tuple[int, Tensor]]:
    """The rows that need so many places, and how many are computed."""
    sizes = ((needed + PIECE - 1) // PIECE * PIECE).clamp(max=longest)
    for size in sizes.unique().tolist():
        yield size, (sizes == size).nonzero()[:, 0]


@dataclass(frozen=True)
class ConditionedSymbols:
    """A denoiser with the ``condition`` of N samples bound to it."""

    denoiser: CategoricalDenoiser
    condition: Condition

    @property
    def process(self) -> Categorical:
        return self.denoiser.process

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def logits(self, x_t: Tensor, t: Time) -> Tensor:
        """See `SymbolDenoiser`."""
        return self.denoiser.logits(x_t, t, self.condition)

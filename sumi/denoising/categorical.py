"""Denoising symbols: the terms of the variational bound of categorical diffusion (`sumi.process.categorical`).

A network gives a logit for each of the K symbols; none for the mask. Symbols that x_t excludes have probability 0: with
the absorbing process an unmasked symbol is its own answer (Sahoo et al. 2024, "MDLM", section 3.2.3). A step from t to
s has, for each symbol, the term KL(q(x_s | x_t, x_0) ‖ p(x_s | x_t)), which is -log p(x_0 | x_t) where s is the data.
With the absorbing process it is (a_s - a_t)/(1 - a_t) times the cross-entropy of a masked symbol; in continuous time

    ∫_0^1 E [ -a'(t)/(1 - a(t)) Σ_masked -log p(x_0 | x_t) ] dt,

which depends on the schedule by its ends alone. From a(0) = 1 to a(1) = 0, the exact p gives -log p(x_0).
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from sumi.process.binomial import kept
from sumi.process.categorical import Categorical
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel, Schedule, Time


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

"""The likelihood of bits: the variational bound of binomial diffusion (Sohl-Dickstein et al. 2015, section 2.4).

    -log p(x_0)  ≤  KL(q(x_T | x_0) ‖ p(x_T))  +  Σ_{i=2}^T E KL(q(x_{i-1} | x_i, x_0) ‖ p(x_{i-1} | x_i))
                    - E log p(x_0 | x_1)

with p(x_T) fair coins: the first term, Σ (log 2 - H((1 + a_T)/2)) over the bits, is exact. The other means, over
x_i ~ q(x_i | x_0), are estimated by one sample each. All is in nats per sample (a sequence); the data are discrete, so
dividing by log 2 gives bits, without any bin size.

For independent bits and the exact denoiser the bound equals -log p(x_0) on average over the data, with any number of
steps. For dependent bits the gap is the dependence within single steps, which falls with more steps.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.denoising.binomial import BitDenoiser, before, bound_term
from sumi.errors import InputError
from sumi.process.binomial import bernoulli_kl, flip, kept
from sumi.process.schedule import NoiseLevel, noise_levels
from sumi.randomness import Purpose
from sumi.sampling.solvers.solver import Noise


@dataclass(frozen=True)
class BinomialBound:
    """The bound's terms in nats for each sample, float64: ``prior`` and ``decoder`` (N,), ``steps`` (N, T - 1).

    ``prior`` is L_T, ``steps`` L_1 … L_{T-1} in order of time, ``decoder`` L_0 = -log p(x_0 | x_1).
    """

    prior: Tensor
    steps: Tensor
    decoder: Tensor

    @property
    def total(self) -> Tensor:
        """An upper bound on -log p(x_0), in expectation, in nats: (N,)."""
        return self.prior + self.steps.sum(1) + self.decoder


@torch.no_grad()
def binomial_bound(denoiser: BitDenoiser, x_0: Tensor, steps: int, noise: Noise, draws: int = 1) -> BinomialBound:
    """The bound of the chain with times i/``steps`` at the bits x_0 = ±1 of shape (N, …).

    ``noise(i, Purpose.EVALUATION, draw)``: standard normal noise shaped like x_0, such as a `SampleNoise`; each term is
    the mean of ``draws`` draws. Raises InputError if x_0 is not bits, or there are no steps or draws.
    """
    if steps < 1 or draws < 1:
        raise InputError(f"steps: {steps} and draws = {draws} must both be 1 or more")
    if not bool((x_0.abs() == 1).all()):
        raise InputError("x_0: holds values other than -1 and 1; give bits")

    def estimate(i: int, now: NoiseLevel, draw: int) -> Tensor:
        x_t = flip(x_0, noise(i, Purpose.EVALUATION, draw), now)
        term = bound_term(denoiser.logits(x_t, now), x_t, x_0, before(denoiser.schedule, now, steps), now)
        return term.flatten(1).double().sum(1)

    walk = list(noise_levels(denoiser.schedule, torch.arange(1, steps + 1, dtype=torch.float64) / steps))
    terms = [torch.stack([estimate(i, now, k) for k in range(draws)]).mean(0) for i, now in enumerate(walk, 1)]
    end = torch.full((), float(kept(walk[-1])), dtype=torch.float64)
    prior = bernoulli_kl(end, torch.zeros_like(end)) * x_0[0].numel()
    return BinomialBound(prior.to(terms[0].device).expand(len(x_0)), torch.stack(terms, 1)[:, 1:], terms[0])

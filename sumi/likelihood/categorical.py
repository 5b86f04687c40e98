"""The likelihood of symbols: the variational bound of categorical diffusion (Austin et al. 2021, section 3).

    -log p(x_0)  ≤  KL(q(x_T | x_0) ‖ π)  +  Σ_{i=2}^T E KL(q(x_{i-1} | x_i, x_0) ‖ p(x_{i-1} | x_i))
                    - E log p(x_0 | x_1)

The bound of the chain that sampling takes in T steps. As for bits (`sumi.likelihood.binomial`), the first term is
exact, and infinite for an absorbing process that leaves symbols unmasked at t = 1; the others are estimated by samples.
In nats per sequence: dividing by log 2 and its length gives bits per character.

In continuous time (`sumi.denoising.categorical`) the bound is an integral over t, without ends where a(0) = 1 and
a(1) = 0. It is estimated at K times, one in each of K equal parts of [0, 1], at one place in all of them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sumi.denoising.binomial import before
from sumi.denoising.categorical import SymbolDenoiser, categorical_term, continuous_term
from sumi.errors import InputError
from sumi.likelihood.binomial import BinomialBound
from sumi.process.schedule import NoiseLevel, noise_level, noise_levels
from sumi.randomness import Purpose, SampleNoise, uniform
from sumi.sampling.solvers.solver import Noise


@torch.no_grad()
def categorical_bound(denoiser: SymbolDenoiser, x_0: Tensor, steps: int, noise: Noise, draws: int = 1) -> BinomialBound:
    """The bound of the chain with times i/``steps`` at the symbols x_0, integers (N, …), by the same terms as of bits.

    ``noise(i, Purpose.EVALUATION, draw)``: standard normal noise shaped like x_0; each term is the mean of ``draws``
    draws. Raises InputError if x_0 holds other than the process's symbols, or there are no steps or draws.
    """
    process = denoiser.process
    if steps < 1 or draws < 1:
        raise InputError(f"steps: {steps} and draws = {draws} must both be 1 or more")
    if not bool(((x_0 >= 0) & (x_0 < process.symbols)).all()):
        raise InputError(f"x_0: holds values outside 0 to {process.symbols - 1}; give symbols, no mask")

    def estimate(now: NoiseLevel, i: int, draw: int) -> Tensor:
        x_t = process.noised(x_0, noise(i, Purpose.EVALUATION, draw).to(x_0.device), now)
        earlier = before(denoiser.schedule, now, steps)
        return categorical_term(process, denoiser.logits(x_t, now), x_t, x_0, earlier, now).flatten(1).sum(1)

    walk = list(noise_levels(denoiser.schedule, torch.arange(1, steps + 1, dtype=torch.float64) / steps))
    terms = [torch.stack([estimate(now, i, k) for k in range(draws)]).mean(0) for i, now in enumerate(walk, 1)]
    end = process.marginal(x_0, walk[-1])
    prior = torch.xlogy(end, end) - torch.xlogy(end, process.prior(x_0))
    return BinomialBound(prior.flatten(1).sum(1), torch.stack(terms, 1)[:, 1:], terms[0])


@torch.no_grad()
def continuous_bound(
    denoiser: SymbolDenoiser, x_0: Tensor, seed: int, indices: Sequence[int], evaluations: int
) -> Tensor:
    """The bound of continuous time at symbols x_0 (N, L), in nats a sequence, float64 (N,).

    The noise is that of ``indices``. For a denoiser whose schedule leads from a = 1 to a = 0 (`CategoricalDenoiser`).
    """
    noise = SampleNoise(seed, indices, tuple(x_0.shape[1:]))
    first, total = uniform(seed, indices, 0, Purpose.EVALUATION), torch.zeros(len(x_0), dtype=torch.float64)
    for k in range(evaluations):
        now = noise_level(denoiser.schedule, (k + first).clamp(min=1e-9) / evaluations)
        x_t = denoiser.process.noised(x_0, noise(k, Purpose.EVALUATION, 1).to(x_0.device), now)
        term = continuous_term(denoiser.process, denoiser.logits(x_t, now), x_t, x_0, now)
        total = total + term.flatten(1).sum(1).cpu() / evaluations
    return total

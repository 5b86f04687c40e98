"""From densities to probabilities: data on L levels in [-1, 1], 2/(L - 1) apart, under a model of real numbers.

A *dequantiser* is a q(z | x) that spreads a discrete x over real z, and a P(x | z) in return. For any such pair

    log P(x) = log E_q[w] ≥ E_q[log w],        w = p(z) P(x | z)/q(z | x)

(Theis et al. 2016; Ho et al. 2019, "Flow++", section 3.1). Averaging the weights of K draws gives a tighter bound,
E[log (1/K) Σ_k w_k], which increases to log P(x) with K (Burda et al. 2016, "Importance weighted autoencoders"). All is
in bits per dimension of x, the original data.

    uniform     q is uniform on x's bin, P(x | z) = 1                        w = p(z) · bin^D
    gaussian    z = x + σ̂ ε, x_t/alpha at the flow's first level;            P(x | z) from the discretised Gaussian
                                                                             around x̂_0(z) (Ho et al. 2020, eq. 13)
    learned     q is fitted within x's bin: `sumi.models.diffusion.dequantizer`

The uniform one's gap is the variation of log p within a bin. With the gaussian one z is noisy data, as the model knows
them. If p consists of peaks at the levels, as wide as that noise, its gap is 0. If p is smooth over a bin the noise
should be about as wide as a bin: much narrower noise costs log2 (bin/(4.13 σ̂)) bits, since P(x | z) is 1 where q(z |
x) is not uniform. The 0.01 of the linear chain's first time suits 8-bit pixels, and costs 1.6 bits at 17 levels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log, pi
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.likelihood.discretised import check_levels, discretised_gaussian
from sumi.process.schedule import NoiseLevel, noise_ratio
from sumi.randomness import Purpose, generator, normal

Density = Callable[[Tensor, int], Tensor]
"""log p(z) in nats, float64 (N,) on the CPU, of z (N, …) and its draw number."""


@dataclass(frozen=True, slots=True)
class Dequantized:
    """A sample z (N, …) of q(z | x), and log P(x | z) - log q(z | x) in nats, float64 (N,) on the CPU."""

    z: Tensor
    log_ratio: Tensor


class Dequantizer(Protocol):
    """q(z | x) and P(x | z)."""

    def draw(self, x: Tensor, seed: int, indices: Sequence[int], number: int, /) -> Dequantized:
        """Draw ``number`` for x (N, …), values on the levels; row k's noise depends on ``indices[k]`` alone."""
        ...


def bin_width(levels: int) -> float:
    """2/(L - 1): the distance of neighbouring levels. Raises InputError unless there are 2 to 65536."""
    check_levels(levels)
    return 2 / (levels - 1)


def uniform_places(seed: int, indices: Sequence[int], step: int, shape: Sequence[int], draw: int) -> Tensor:
    """Uniform values strictly between 0 and 1, float64 (len(indices), *shape) on the CPU."""
    rows = [generator(seed, i, step, Purpose.DEQUANTIZE, draw).random(tuple(shape)) for i in indices]
    return torch.from_numpy(np.stack(rows)).clamp(min=2.0**-54)  # they are multiples of 2⁻⁵³, from 0


@dataclass(frozen=True)
class UniformDequantizer:
    """z is uniform on x's bin (Theis et al. 2016)."""

    levels: int

    def __post_init__(self) -> None:
        check_levels(self.levels)

    def draw(self, x: Tensor, seed: int, indices: Sequence[int], number: int, /) -> Dequantized:
        """See `Dequantizer`."""
        width = bin_width(self.levels)
        places = uniform_places(seed, indices, 0, x.shape[1:], number)
        log_ratio = torch.full((len(x),), x[0].numel() * log(width), dtype=torch.float64)
        return Dequantized(x + (width * (places - 0.5)).to(x), log_ratio)


@dataclass(frozen=True)
class GaussianDequantizer:
    """z = x + σ̂ ε with the σ̂ of ``start``, a level of floats; P(x | z) has mean x̂_0 and standard deviation ``std``.

    ``std`` None means σ̂, an upper limit of Var(x_0 | x_t)^½; the fitted one gives a tighter bound.
    """

    denoiser: Denoiser
    start: NoiseLevel
    levels: int
    std: float | None = None

    def __post_init__(self) -> None:
        check_levels(self.levels)
        if self.std is not None and not self.std > 0:
            raise InputError(f"std: {self.std} is not positive; leave it out to use the level's noise")

    @torch.no_grad()
    def draw(self, x: Tensor, seed: int, indices: Sequence[int], number: int, /) -> Dequantized:
        """See `Dequantizer`. One evaluation of the denoiser."""
        ratio = noise_ratio(self.start)
        noise = normal(seed, indices, 0, Purpose.DEQUANTIZE, x.shape[1:], draw=number, dtype=x.dtype, device=x.device)
        z = x + ratio * noise
        log_q = -noise.to("cpu", torch.float64).square() / 2 - log(2 * pi * ratio**2) / 2
        clean = self.denoiser(float(self.start.alpha) * z, self.start).clean
        nats = discretised_gaussian(x, clean, self.std or ratio, self.levels)
        return Dequantized(z, (-nats.cpu() - log_q).flatten(1).sum(1))


def log_weights(
    dequantizer: Dequantizer,
    log_density: Density,
    x: Tensor,
    *,
    seed: int,
    indices: Sequence[int],
    draws: int = 1,
) -> Tensor:
    """log w for ``draws`` draws per sample x (N, …), nats, float64 (N, draws).

    Raises InputError for fewer than one draw.
    """
    if draws < 1:
        raise InputError(f"draws: {draws} is not a number of draws; give 1 or more")
    columns = []
    for number in range(draws):
        sampled = dequantizer.draw(x, seed, indices, number)
        columns.append(log_density(sampled.z, number) + sampled.log_ratio)
    return torch.stack(columns, dim=1)


def bits_per_dim(weights: Tensor, dimensions: int) -> Tensor:
    """The bound on -log P(x) averaged over the draws, bits per dimension, float64 (N,); weights: log w, (N, K)."""
    return -weights.mean(1) / (dimensions * log(2))


def importance_weighted_bits(weights: Tensor, dimensions: int) -> Tensor:
    """The tighter, importance-weighted bound of K draws, bits per dimension, float64 (N,); weights: log w, (N, K).

    For exact log p(z) only. The noise of Hutchinson's probes biases the exponentials upwards, so the result is then not
    a bound; that of `bits_per_dim` still is.
    """
    return -(weights.logsumexp(1) - log(weights.shape[1])) / (dimensions * log(2))


def mean_with_error(bits: Tensor) -> tuple[float, float]:
    """The mean over the samples (N,) and its standard error, which is NaN for a single one."""
    return float(bits.mean()), float(bits.std()) / len(bits) ** 0.5 if len(bits) > 1 else float("nan")

"""Decoders: from a density over real numbers to a probability of pixels, in nats.

A pixel takes one of L levels in [-1, 1], 2/(L - 1) apart. Two models of the probability of level x:

    discretised Gaussian     P(x) = Φ((x + h - m)/s) - Φ((x - h - m)/s),   h = 1/(L - 1)      (Ho et al. 2020, eq. 13)
    posterior of the levels  P(x | z) = N(z; alpha x, sigma²) / Σ_v N(z; alpha v, sigma²)     (Kingma et al. 2021)

In the first, the lowest level's bin extends to -∞ and the highest's to ∞. The second is for z = x up to invisible
noise: the exact posterior if all levels were equally frequent. Without levels (``None``) the data are real numbers and
both are Gaussian densities, whose nats may be negative.

Both are precise however far x is from m: with c = |x - m|/s the first is, by symmetry, a difference of *lower* tails,

    log P = log Φ(h/s - c) + log(1 - exp(log Φ(-h/s - c) - log Φ(h/s - c))).

All is computed in float64, and differentiable in the continuous arguments.
"""

from math import pi
from typing import Final

import torch
from torch import Tensor

from sumi.data.pixels import MOST_LEVELS
from sumi.errors import InputError
from sumi.process.schedule import Number

_TABLE: Final = 2**20
"""How many pairs of element and level are evaluated at once: 8 MiB."""


def check_levels(levels: int | None) -> None:
    """Raises InputError unless ``levels`` is 2 to 65536, or None for real numbers."""
    if levels is not None and not 2 <= levels <= MOST_LEVELS:
        raise InputError(
            f"levels: {levels} is out of range; give 2 to {MOST_LEVELS}, or None where the data are real numbers"
        )


def discretised_gaussian(x: Tensor, mean: Tensor, std: Number, levels: int | None) -> Tensor:
    """-log P(x) of each element under N(mean, std²): float64, x's shape (module docstring).

    ``x``: on the levels, in [-1, 1]. ``mean`` and ``std`` > 0: of x's shape, or broadcast to it.
    """
    check_levels(levels)
    x, mean, std = _float64(x), _float64(mean), _float64(std)
    if levels is None:
        return _gaussian(x - mean, std)
    half = 1 / (levels - 1)
    distance = (x - mean).abs() / std
    high, low = torch.special.log_ndtr(half / std - distance), torch.special.log_ndtr(-half / std - distance)
    inner = high + _log_one_minus_exp(low - high)
    outward = torch.where(x < 0, mean - x, x - mean)  # for the two unbounded bins
    outer = torch.special.log_ndtr((half - outward) / std)
    return -torch.where(x.abs() > 1 - half, outer, inner)


def posterior_of_levels(z: Tensor, alpha: Number, sigma: Number, x: Tensor, levels: int | None) -> Tensor:
    """-log P(x | z) of each element for z = alpha x + sigma ε: float64, x's shape (Kingma et al. 2021, section 3.3).

    ``x``: in [-1, 1], rounded to the nearest level. ``alpha`` and ``sigma`` > 0: numbers, or tensors that broadcast to
    z. ``levels=None``: the density N(x; z/alpha, (sigma/alpha)²). Beyond the result, memory stays below 100 MiB without
    autograd.
    """
    check_levels(levels)
    z, x, alpha, sigma = _float64(z), _float64(x), _float64(alpha), _float64(sigma)
    if levels is None:
        return _gaussian(x - z / alpha, sigma / alpha)
    values = torch.linspace(-1, 1, levels, dtype=torch.float64, device=x.device)
    own = values[((x + 1) * ((levels - 1) / 2)).round().long().clamp(0, levels - 1)]
    at, precision = z / alpha, (alpha / sigma).square().to(z.device).expand_as(z)
    nats = []
    chunks = (v.reshape(-1, 1).split(_TABLE // levels) for v in (own, at, precision))
    for v, u, snr in zip(*chunks, strict=True):
        # log N(z; alpha values) - log N(z; alpha v), as a product: no squares of z are subtracted
        nats.append((snr * (values - v) * (u - (values + v) / 2)).logsumexp(1))
    return torch.cat(nats).view_as(x)


def _log_one_minus_exp(x: Tensor) -> Tensor:
    """log(1 - e^x) for x < 0, precise for small and large -x (Mächler 2012)."""
    return torch.where(x > -0.69, (-x.expm1()).log(), torch.log1p(-x.exp()))


def _gaussian(difference: Tensor, std: Tensor) -> Tensor:
    """-log N(difference; 0, std²)."""
    return (difference / std).square() / 2 + (2 * pi * std.square()).log() / 2


def _float64(x: Number) -> Tensor:
    """x in float64 on its device, or on the CPU if the device has no float64."""
    match x:
        case Tensor():
            return (x.cpu() if x.device.type == "mps" else x).double()
    return torch.tensor(x, dtype=torch.float64)

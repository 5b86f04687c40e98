"""What a measurement of each number by itself says of it, as a Gaussian: y = g(z) + s n, with a monotonic g.

Of z ~ N(0, d²) the posterior p(z | y) has a mean m and a variance v. The Gaussian measurement of z with these is

    μ = z + n/√λ,    λ = 1/v - 1/d²,    λ μ = m/v        (a site of expectation propagation, Minka 2001)

and λ = 0 where y says nothing. With it the methods for linear measurements restore what was measured through g, whose
slope may be anything. Where z is Gaussian, what they make has the mean and the variance of p(z | y).
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

NODES: Final = 257
FAR: Final = 9.0
"""In d: no data are further from 0."""
REACH: Final = 7.0
"""In s: what is further from y does not count."""


def gaussian_sites(
    y: Tensor, std: float, curve: Callable[[Tensor], Tensor], inverse: Callable[[Tensor], Tensor], data_std: float
) -> tuple[Tensor, Tensor]:
    """√λ and √λ μ (module docstring), float32, shaped like ``y``: as `Weighted` measures z, with noise of deviation 1.

    ``curve``: g, ``inverse``: g⁻¹, element by element of y and any shape (K, …) of such; ``std``: s > 0;
    ``data_std``: d.
    """
    y = y.double()
    low, high = (inverse(y + way * REACH * std) for way in (-1, 1))
    near = (high > -FAR * data_std) & (low < FAR * data_std)  # what data never are needs no nodes
    low = torch.where(near, low.clamp(min=-FAR * data_std), low)
    high = torch.where(near, high.clamp(max=FAR * data_std), high)
    places = torch.linspace(0, 1, NODES, dtype=torch.float64, device=y.device).view(-1, *[1] * y.ndim)
    z = low + (high - low) * places
    log_density = -0.5 * ((y - curve(z)) / std).square() - 0.5 * (z / data_std).square()
    weights = log_density.softmax(0)
    mean = (weights * z).sum(0)
    variance = (weights * (z - mean).square()).sum(0)
    precision = (1 / variance - 1 / data_std**2).clamp(min=0)
    root = precision.sqrt()
    pull = torch.where(precision > 0, mean / variance / root, 0.0)
    return root.float(), pull.float()

"""Do two ways of sampling differ, where both began from the same noise? A test by exchanging pairs.

Sample i of the one way and sample i of the other are a pair. If the ways made no difference, the two might as well have
changed places. So each pair is exchanged with probability 1/2, the difference D of a figure of the one set and of the
other is taken again, and that is done B times:

    p = (1 + #{|D_b| ≥ |D|})/(B + 1)

(a sign-flip test: Fisher 1935, "The design of experiments", section 21; the 1 counts D itself: Phipson and Smyth 2010).
It is exact for exchangeable pairs, whatever the figure, and for means over samples, or what is smooth in them, in large
samples too where only the figure is the same. What the two ways have in common by their noise cancels, so it sees
changes far smaller than the two figures' own intervals. All real images stay as they are: p says whether the figures
differ *against these* images.
"""

from collections.abc import Callable

import torch
from torch import Tensor

EXCHANGES = 199

Difference = Callable[[Tensor], Tensor]
"""Figures (K,) of the second set less those of the first, where the pairs chosen by a bool (N,) are exchanged."""


def exchange_p_values(
    difference: Difference,
    pairs: int,
    *,
    exchanges: int = EXCHANGES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """p of each of K differences, float64 (K,), two-sided: from 1/(exchanges + 1), for a certain change, to 1.

    ``pairs``: N; ``seed`` chooses the exchanges; ``progress(done, total)``.
    """
    generator = torch.Generator().manual_seed(seed)
    observed = difference(torch.zeros(pairs, dtype=torch.bool)).abs()
    reached = torch.ones_like(observed)
    for done in range(exchanges):
        exchanged = torch.rand(pairs, generator=generator) < 0.5
        # equal but for rounding is equal: a set taken in another order
        reached += difference(exchanged).abs() >= observed * (1 - 1e-9)
        if progress is not None:
            progress(done + 1, exchanges)
    return reached / (exchanges + 1)


def exchanged(first: Tensor, second: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Two sets of rows (N, …) where the rows ``chosen``, bool (N,), have changed places."""
    mask = chosen.reshape(-1, *(1,) * (first.ndim - 1))
    return torch.where(mask, second, first), torch.where(mask, first, second)

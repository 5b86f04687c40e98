"""A paired permutation test: do two ways of sampling differ, given the same noise?

Samples i of both ways form a pair. If the ways made no difference, exchanging a pair would not matter. So each pair is
exchanged with probability 1/2, the difference D of a metric between the two sets is recomputed, and this is repeated B
times:

    p = (1 + #{|D_b| ≥ |D|})/(B + 1)

(a sign-flip test: Fisher 1935, "The design of experiments", section 21; the 1 counts D itself: Phipson and Smyth 2010).
It is exact for exchangeable pairs and any metric. For smooth functions of means it is also valid in large samples if
only the metric is equal. The variation due to the shared noise cancels, so it detects changes far smaller than the
metrics' own intervals. Real images are fixed: p is about the difference *against these* images.
"""

from collections.abc import Callable

import torch
from torch import Tensor

EXCHANGES = 199

Difference = Callable[[Tensor], Tensor]
"""Metrics (K,) of the second set minus those of the first, with the pairs of a bool (N,) exchanged."""


def exchange_p_values(
    difference: Difference,
    pairs: int,
    *,
    exchanges: int = EXCHANGES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Two-sided p of each of K differences, float64 (K,), from 1/(exchanges + 1) to 1.

    ``pairs``: N; ``seed`` chooses the exchanges; ``progress(done, total)``.
    """
    generator = torch.Generator().manual_seed(seed)
    observed = difference(torch.zeros(pairs, dtype=torch.bool)).abs()
    reached = torch.ones_like(observed)
    for done in range(exchanges):
        exchanged = torch.rand(pairs, generator=generator) < 0.5
        # equal up to rounding counts as equal, as when a set is taken in another order
        reached += difference(exchanged).abs() >= observed * (1 - 1e-9)
        if progress is not None:
            progress(done + 1, exchanges)
    return reached / (exchanges + 1)


def exchanged(first: Tensor, second: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Two sets of rows (N, …) with the rows ``chosen``, bool (N,), exchanged."""
    mask = chosen.reshape(-1, *(1,) * (first.ndim - 1))
    return torch.where(mask, second, first), torch.where(mask, first, second)

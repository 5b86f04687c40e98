"""Pictures too large for the memory: encoded and decoded in overlapping tiles, which are blended."""

from collections.abc import Callable
from math import ceil

import torch
from torch import Tensor


def tiled(function: Callable[[Tensor], Tensor], x: Tensor, tile: int, overlap: int) -> Tensor:
    """``function`` of x (N, C, H, W) in tiles of ``tile`` that share ``overlap`` or more with the next; else at once.

    ``function`` scales sides by one whole factor, up or down, that divides tile and overlap. Tiles fade into each other
    linearly: the result is that of x at once where what it makes of a block depends on that block alone, and near it
    where it sees less far than the overlap, as the sides of tiles count little.
    """
    height, width = x.shape[2:]
    if max(height, width) <= tile:
        return function(x)
    total = weights = torch.zeros(0)
    for top in _starts(height, tile, overlap):
        for left in _starts(width, tile, overlap):
            part = x[:, :, top : top + tile, left : left + tile]
            made = function(part)
            scale = made.shape[2] / part.shape[2]
            if not total.numel():
                total = made.new_zeros(*made.shape[:2], round(height * scale), round(width * scale))
                weights = made.new_zeros(total.shape[2:])
            rows, columns = (_fade(side, round(overlap * scale)).to(made) for side in made.shape[2:])
            weight, place = (
                rows[:, None] * columns,
                (
                    slice(round(top * scale), round(top * scale) + made.shape[2]),
                    slice(round(left * scale), round(left * scale) + made.shape[3]),
                ),
            )
            total[:, :, *place] += weight * made
            weights[place] += weight
    return total / weights


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along a side: a step apart, the last one up to the end."""
    if side <= tile:
        return [0]
    count = ceil((side - tile) / (tile - overlap))
    return [*(k * (tile - overlap) for k in range(count)), side - tile]


def _fade(side: int, overlap: int) -> Tensor:
    """Rising over the overlap, 1 between, falling: above 0 everywhere."""
    ramp = (torch.arange(side) + 1) / (overlap + 1)
    return torch.minimum(ramp, ramp.flip(0)).clamp(max=1)

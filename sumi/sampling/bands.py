"""Bands of spatial frequencies: images in the cosine transform of their two sides, cut by the distance from the mean.

The transform (DCT-II) is orthonormal, so distances are those of pixels. Most of an image's variance is in its low
frequencies, and a sampler passes high frequencies later than low ones: a band is a part of the image whose variance is
about the same throughout.
"""

from dataclasses import dataclass
from functools import cache
from math import log
from typing import Final

import numpy as np
import torch
from torch import Tensor

LOW: Final = 8
"""The lowest frequencies along each side that have means of their own."""
HIGHEST: Final = 0.7
"""Where the last band begins, in units of the fastest wave along a side."""


@dataclass(frozen=True)
class Bands:
    """``count`` bands of items of ``shape`` (C, H, W); items of any shape may be one band, which is not transformed."""

    shape: tuple[int, ...]
    count: int

    @staticmethod
    def of(shape: tuple[int, ...], count: int) -> "Bands":
        """So many of images, and one of anything else."""
        return Bands(shape, count if len(shape) == 3 and min(shape[1:]) > 1 else 1)

    @property
    def are_cut(self) -> bool:
        return self.count > 1

    def transformed(self, x: Tensor) -> Tensor:
        """Frequencies (N, …) of items (N, …), in their type."""
        if not self.are_cut:
            return x
        rows, columns = (cosines(x, side) for side in self.shape[1:])
        return rows @ x @ columns.T

    def restored(self, y: Tensor) -> Tensor:
        """Items of frequencies."""
        if not self.are_cut:
            return y
        rows, columns = (cosines(y, side) for side in self.shape[1:])
        return rows.T @ y @ columns

    def spread(self, numbers: Tensor) -> Tensor:
        """A number of each band (count,) for all of its frequencies: (H, W), or () of one band."""
        return numbers[places(self.shape[1], self.shape[2], self.count)] if self.are_cut else numbers[0]

    def masks(self) -> list[Tensor]:
        """Which frequencies are in each band: bool, of ``shape``."""
        if not self.are_cut:
            return [torch.ones(self.shape, dtype=torch.bool)]
        where = places(self.shape[1], self.shape[2], self.count)
        return [(where == band).expand(self.shape) for band in range(self.count)]

    def lowest(self, y: Tensor) -> Tensor:
        """The frequencies of ``y`` (…, H, W) that have means: a view."""
        return y[..., :LOW, :LOW]


def cosines(x: Tensor, side: int) -> Tensor:
    """The orthonormal cosine transform of a side (side, side), a row for each frequency, in the type of ``x``."""
    return torch.as_tensor(_cosines(side), dtype=x.dtype, device=x.device)


@cache
def _cosines(side: int) -> np.ndarray:
    waves = np.cos(np.pi * np.outer(np.arange(side), np.arange(side) + 0.5) / side)
    return waves * np.sqrt(np.where(np.arange(side) == 0, 1, 2) / side)[:, None]


@cache
def places(height: int, width: int, count: int) -> Tensor:
    """The band of each frequency, int64 (height, width): 0 has the mean and the slowest waves."""
    down, across = (torch.arange(side, dtype=torch.float64) / side for side in (height, width))
    radius = (down[:, None] ** 2 + across**2).sqrt()
    first = log(1 / max(height, width))
    edges = torch.linspace(first, max(log(HIGHEST), first), count - 1, dtype=torch.float64).exp()
    return torch.bucketize(radius, edges * (1 + 1e-9))

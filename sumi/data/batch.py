"""One training step's batch, or a part of it: items of the data at their positions, and the noise that belongs to them.

Every number is a function of (seed, step, position), whatever part of the batch is computed where
(`sumi.randomness`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sumi.data.dataset import Dataset
from sumi.randomness import Purpose, generator, normal, uniform


@dataclass(frozen=True, eq=False)
class Batch:
    """``items`` (n,) of ``data`` at ``positions`` (n,) of the batch of a ``step``; ``x`` (n, …): them, on the CPU."""

    data: Dataset
    x: Tensor
    items: NDArray[np.int64]
    positions: NDArray[np.int64]
    step: int
    seed: int

    def normal(self, purpose: Purpose, shape: Sequence[int], draw: int = 0) -> Tensor:
        """Standard normal numbers, float32 (n, *shape) on the CPU."""
        return normal(self.seed, self.positions.tolist(), self.step, purpose, shape, draw=draw)

    def uniform(self, purpose: Purpose) -> Tensor:
        """One number in [0, 1) for each item, float64 (n,)."""
        return uniform(self.seed, self.positions.tolist(), self.step, purpose)

    def uniforms(self, purpose: Purpose, count: int, draw: int = 0) -> Tensor:
        """Numbers in [0, 1), float64 (n, count); the first ones are the same whatever the count."""
        rows = [generator(self.seed, i, self.step, purpose, draw).random(count) for i in self.positions.tolist()]
        return torch.from_numpy(np.stack(rows))


def batch_of(
    data: Dataset, items: NDArray[np.int64], positions: NDArray[np.int64], *, step: int, seed: int, flip: bool = False
) -> Batch:
    """The batch of these items; with ``flip`` half of the images are mirrored left to right."""
    x = data.batch(items)
    if flip:
        mirrored = uniform(seed, positions.tolist(), step, Purpose.FLIP) < 0.5
        x[mirrored] = x[mirrored].flip(-1)
    return Batch(data, x, items, positions, step, seed)

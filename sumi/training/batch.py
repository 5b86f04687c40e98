"""The images of a training batch, some of them mirrored: which ones depends on (seed, step, position) alone."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sumi.data.dataset import Dataset
from sumi.randomness import Purpose, uniform


def training_batch(
    data: Dataset, items: NDArray[np.int64], *, flip: bool, seed: int, step: int, positions: Sequence[int]
) -> Tensor:
    """``items`` (n,) of the data as a model sees them, (n, …) on the CPU; ``flip``: half of them left to right."""
    x = data.batch(items)
    if flip:
        mirrored = uniform(seed, positions, step, Purpose.FLIP) < 0.5
        x[mirrored] = x[mirrored].flip(-1)
    return x

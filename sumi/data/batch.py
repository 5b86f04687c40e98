"""One training step's batch, or a part of it: items of the data at their positions, and the noise that belongs to them.

Every number is a function of (seed, step, position), whatever part of the batch is computed where
(`sumi.data.philox`, and `sumi.randomness` for runs that began with NumPy's generator).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sumi import randomness
from sumi.data import philox
from sumi.data.dataset import Dataset
from sumi.randomness import Purpose, generator

NoiseName: TypeAlias = Literal["philox", "numpy"]
"""The generator of a batch's numbers."""
CPU: Final = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Batch:
    """``items`` (n,) of ``data`` at ``positions`` (n,) of the batch of a ``step``; ``x`` (n, …): them, on the CPU.

    ``noise``: the generator of its numbers; "philox" makes normal ones on ``device``, "numpy" on the CPU.
    """

    data: Dataset
    x: Tensor
    items: NDArray[np.int64]
    positions: NDArray[np.int64]
    step: int
    seed: int
    noise: NoiseName = "numpy"
    device: torch.device = CPU

    def normal(self, purpose: Purpose, shape: Sequence[int], draw: int = 0) -> Tensor:
        """Standard normal numbers, float32 (n, *shape), where ``noise`` makes them."""
        places = self.positions.tolist()
        match self.noise:
            case "philox":
                return philox.normal(self.seed, places, self.step, purpose, shape, draw=draw, device=self.device)
            case "numpy":
                return randomness.normal(self.seed, places, self.step, purpose, shape, draw=draw)

    def uniform(self, purpose: Purpose) -> Tensor:
        """One number in [0, 1) for each item, float64 (n,) on the CPU."""
        return self.uniforms(purpose, 1)[:, 0]

    def uniforms(self, purpose: Purpose, count: int, draw: int = 0) -> Tensor:
        """Numbers in [0, 1), float64 (n, count) on the CPU; the first ones are the same whatever the count."""
        places = self.positions.tolist()
        match self.noise:
            case "philox":
                return philox.uniform(self.seed, places, self.step, purpose, count, draw=draw)
            case "numpy":
                rows = [generator(self.seed, place, self.step, purpose, draw).random(count) for place in places]
                return torch.from_numpy(np.stack(rows))


def batch_of(
    data: Dataset,
    items: NDArray[np.int64],
    positions: NDArray[np.int64],
    *,
    step: int,
    seed: int,
    flip: bool = False,
    noise: NoiseName = "numpy",
    device: torch.device = CPU,
) -> Batch:
    """The batch of these items; with ``flip`` half of the images are mirrored left to right."""
    batch = Batch(data, data.batch(items), items, positions, step, seed, noise, device)
    if flip:
        mirrored = batch.uniform(Purpose.FLIP) < 0.5
        batch.x[mirrored] = batch.x[mirrored].flip(-1)
    return batch

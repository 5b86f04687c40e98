"""Counter-based randomness: every number is a pure function of (seed, sample index, step, purpose).

A Philox generator (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") has no hidden state: its state
*is* a 256-bit counter under a 128-bit key. The key holds the seed and the draw number. The counter's upper words hold
the sample's index, the step and the purpose; its lowest word counts the values. So sample 37 gets the same bits alone
or in a batch of 64, in any order, number of processes and device (numbers are generated on the CPU and copied), and a
training run can stop and resume without saving generator state.

The stream of normal values is NumPy's for a given NumPy release.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, unique

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@unique
class Purpose(IntEnum):
    """What a draw is for. The numbers are part of the promise: never renumber, only add."""

    START = 0
    STEP = 1
    TRAINING_TIME = 2
    TRAINING_NOISE = 3
    DATA_ORDER = 4
    FLIP = 5
    DROPOUT = 6
    EVALUATION = 7
    CHURN = 8
    CORRECTOR = 9
    PROBE = 10
    DEQUANTIZE = 11
    MEASUREMENT = 12
    RESAMPLE = 13
    CONDITION_DROPOUT = 14
    LABEL = 15
    CONDITION_NOISE = 16
    # 17 to 19 are reserved
    POSTERIOR = 20
    PIXEL = 21
    CODEBOOK = 22
    LATENT = 23
    SCALE = 24
    CAPTION = 25
    STAGE = 26
    CROP = 27
    AUGMENTATION = 28
    SIZE = 30


def generator(seed: int, index: int, step: int, purpose: Purpose, draw: int = 0) -> np.random.Generator:
    """A fresh generator for one (seed, index, step, purpose). All integers in [0, 2⁶⁴).

    ``draw`` numbers the draws of a step that needs several for one purpose.
    """
    key = np.array([seed, draw], dtype=np.uint64)
    counter = np.array([0, purpose, step, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def normal(
    seed: int,
    indices: Sequence[int],
    step: int,
    purpose: Purpose,
    shape: Sequence[int],
    *,
    draw: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Standard normal noise, shape (len(indices), *shape); row k depends on ``indices[k]`` alone, not on the others."""
    draws = [generator(seed, index, step, purpose, draw) for index in indices]
    if dtype == torch.float64:
        rows = [draw.standard_normal(shape, dtype=np.float64) for draw in draws]
    else:
        rows = [draw.standard_normal(shape, dtype=np.float32) for draw in draws]
    return torch.from_numpy(np.stack(rows)).to(device)


def uniform(seed: int, indices: Sequence[int], step: int, purpose: Purpose) -> Tensor:
    """One uniform value in [0, 1) for each index, float64 on the CPU, shape (len(indices),)."""
    return torch.tensor([generator(seed, i, step, purpose).random() for i in indices], dtype=torch.float64)


def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of ``count`` items in one epoch: int64 (count,)."""
    return generator(seed, 0, epoch, Purpose.DATA_ORDER).permutation(count)


ROUNDS = 8
"""Of the cipher of `_keyed`."""


def keyed_order(seed: int, epoch: int, count: int, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """The items at ``places`` (n,) of a permutation of ``count`` items, without making the others: int64 (n,).

    See `_keyed`.
    """
    return _keyed(generator(seed, 0, epoch, Purpose.DATA_ORDER, draw=1), count, places)


BLOCK, WINDOW = 1024, 16
"""Of `windowed_order`: neighbouring items that stay near each other, and how many blocks of them are mixed."""


def windowed_order(seed: int, epoch: int, count: int, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """The items at ``places`` (n,) of a permutation that reads ``count`` items nearly in their order: int64 (n,).

    Blocks of `BLOCK` neighbours, which begin elsewhere in every epoch, come in an order of their own, and each `WINDOW`
    blocks that come together are mixed: any `BLOCK` * `WINDOW` items in a row lie in at most 2 * `WINDOW` + 2 pieces of
    the data. As `keyed_order` it needs no memory.
    """
    start = int(generator(seed, 0, epoch, Purpose.DATA_ORDER, draw=2).integers(count))
    blocks, size = count // BLOCK, BLOCK * WINDOW
    mixed = np.empty_like(places)
    for window in np.unique(places // size).tolist():
        here, first = places // size == window, window * size
        draws = generator(seed, 0, epoch, Purpose.DATA_ORDER, draw=4 + window)
        mixed[here] = first + _keyed(draws, min(size, count - first), places[here] - first)
    block, within = np.divmod(mixed, BLOCK)
    full = block < blocks  # what is left over at the end is no block
    draws = generator(seed, 0, epoch, Purpose.DATA_ORDER, draw=3)
    mixed[full] = _keyed(draws, blocks, block[full]) * BLOCK + within[full]
    return (mixed + start) % count


def _keyed(draws: np.random.Generator, count: int, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """A permutation of ``count`` numbers, at ``places`` (n,): int64 (n,).

    A Feistel cipher (Luby & Rackoff 1988) permutes the numbers of 2h bits, the fewest with 4ʰ ≥ count and h ≥ 4,

        (L, R) → (R, L ⊕ F_k(R)),   k = 1 … ROUNDS,

    and what it sends outside of the items is encrypted again until it is one (Black & Rogaway 2002): of more than 64
    items, fewer than four times on average. F_k mixes R with the round's key as splitmix64 does (Steele et al. 2014).
    """
    half = np.uint64(max(4, (count - 1).bit_length() + 1 >> 1))
    mask = np.uint64((1 << int(half)) - 1)
    keys = draws.integers(2**64, size=ROUNDS, dtype=np.uint64)
    found = places.astype(np.uint64)
    outside = np.ones(found.shape, bool)
    while outside.any():
        left, right = found[outside] >> half, found[outside] & mask
        for key in keys:
            left, right = right, left ^ (_mixed(right + key) & mask)
        found[outside] = left << half | right
        outside = found >= count
    return found.astype(np.int64)


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A function of 64 bits in which every bit of the input moves each of the output half of the time."""
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)


@dataclass(frozen=True)
class SampleNoise:
    """The noise that a sampler needs for the samples with the given indices, each of ``shape``."""

    seed: int
    indices: Sequence[int]
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    device: torch.device | str = "cpu"

    def __call__(self, step: int, purpose: Purpose, draw: int = 0) -> Tensor:
        """Standard normal noise of shape (len(indices), *shape)."""
        return normal(
            self.seed, self.indices, step, purpose, self.shape, draw=draw, dtype=self.dtype, device=self.device
        )

"""Dropout (Srivastava et al. 2014) with masks that do not depend on how a training batch is divided.

    y = x · m / (1 - p),   m = 1 with probability 1 - p, else 0, for each value by itself

PyTorch draws m for a whole tensor from one generator, so a sample's mask depends on gradient accumulation and on the
number of processes. Here the mask of each row is a function of (seed, step, position in the step's batch, index of the
layer in the pass) alone. Sixteen random bits decide each value, so p is exact to 2⁻¹⁷.
"""

import copy
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from sumi.randomness import Purpose, generator


@dataclass(frozen=True)
class _Masks:
    """The masks of one forward pass: a stream of random bits per row, consumed by the dropout layers in order."""

    seed: int
    step: int
    positions: Sequence[int]

    @cached_property
    def streams(self) -> list[np.random.BitGenerator]:
        """Created by the first active dropout layer; without one a pass costs nothing."""
        return [generator(self.seed, index, self.step, Purpose.DROPOUT).bit_generator for index in self.positions]

    def next(self, x: Tensor, p: float) -> Tensor:
        """The next layer's mask for x (N, C, …): bool, with x's shape and memory layout; True: kept."""
        if len(x) != len(self.positions):
            raise ValueError(f"dropout: {len(x)} rows for {len(self.positions)} positions of the batch")
        values = prod(x.shape[1:])
        words = np.stack([stream.random_raw(-(-values // 4)) for stream in self.streams])  # of 64 bits
        bits = words.astype("<u8", copy=False).view("<u2")[:, :values]
        kept = torch.from_numpy(bits >= round(p * 2**16)).to(x.device)
        return kept.view(len(x), *x.shape[2:], x.shape[1]).movedim(-1, 1)


_MASKS: ContextVar[_Masks | None] = ContextVar("masks", default=None)


@contextmanager
def masks_by_position(seed: int, step: int, positions: Sequence[int]) -> Generator[None]:
    """Within this context, (seed, step, positions[k]) and the layer's index determine the mask of row k."""
    with _within(_Masks(seed, step, positions)):
        yield


@contextmanager
def _within(masks: _Masks | None) -> Generator[None]:
    token = _MASKS.set(masks)
    try:
        yield
    finally:
        _MASKS.reset(token)


@contextmanager
def masks_repeated() -> Generator[None]:
    """Within this context the masks begin anew: two passes, each within one of its own, drop the same values.

    So does torch's generator of the CPU, for a user's own network.
    """
    masks = _MASKS.get()
    again = masks and _Masks(masks.seed, masks.step, masks.positions)
    with _within(again), torch.random.fork_rng(devices=[]):
        yield


def masks_from_here() -> AbstractContextManager[None]:
    """A context in which the masks are those that the layers after this call get, for computing them again."""
    masks = copy.deepcopy(_MASKS.get())
    return nullcontext() if masks is None else _within(masks)


class Dropout(nn.Dropout):
    """`torch.nn.Dropout`, with the masks of `masks_by_position` within it. ``forward(x: (N, C, …))``, same shape."""

    def forward(self, input: Tensor) -> Tensor:
        masks = _MASKS.get()
        if masks is None or not self.training or self.p == 0:
            return super().forward(input)
        return torch.where(masks.next(input, self.p), input * (1 / (1 - self.p)), 0.0)

"""What is said of samples, before any network has heard of it.

    Condition ── conditioner (`sumi.conditioning`, trained with the network) ──▶ Told (`sumi.networks.condition`)

A condition is data: labels, images, numbers, one row a sample. A conditioner knows which parts of it its network was
trained for, and which condition says nothing (``null``): the unconditional branch is part of every model whose
conditions were left out now and then in training (Ho & Salimans 2022).
"""

from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sumi.errors import InputError


@dataclass(frozen=True)
class Condition:
    """What is said of N samples; None: nothing.

    Attributes:
        labels: int64 (N,), the class of each; the number of classes itself stands for none.
        image: (N, C' + 1, h, w): what is known of an image, in [-1, 1] and 0 where it is not known; the last channel
            is 1 where it is known. Zeros say nothing.
        noise: (N,), how far ``image`` was noised, in [0, 1] (`sumi.conditioning.image`).
        values: (N, K) numbers, in their own units; nan where nothing is said.
    """

    labels: Tensor | None = None
    image: Tensor | None = None
    noise: Tensor | None = None
    values: Tensor | None = None

    def parts(self) -> dict[str, Tensor]:
        """What is said, by name."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: part for name, part in found.items() if part is not None}

    def to(self, device: torch.device) -> "Condition":
        """The same on ``device``."""
        return Condition(**{name: part.to(device) for name, part in self.parts().items()})

    def rows(self, which: slice | Tensor) -> "Condition":
        """Of some of the samples: a slice, or indices (M,)."""
        return Condition(**{name: part[which] for name, part in self.parts().items()})

    def require(self, name: str) -> Tensor:
        """The part called ``name``. Raises InputError where nothing is said of it."""
        part: Tensor | None = getattr(self, name)
        if part is None:
            raise InputError(f"condition.{name}: is missing, and the model is told nothing else; give it")
        return part


class Draws(Protocol):
    """The randomness of one training step: row k belongs to the k-th sample, whatever the batch."""

    def uniform(self, count: int) -> Tensor:
        """Uniform numbers in [0, 1), float64 (n, count). Each call begins anew with the same numbers."""
        ...

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal numbers, float32 (n, *shape); independent of the others."""
        ...


class TrainingCondition(Protocol):
    """What a network is told of its training data."""

    def of(self, items: NDArray[np.int64], x_0: Tensor, draws: Draws) -> Condition:
        """What is said of ``items`` (n,) of the data, which the network will see as ``x_0`` (n, …)."""
        ...


def check_dropout(dropout: float) -> None:
    """Raises InputError where ``conditioning.dropout`` is no share below 1."""
    if not 0 <= dropout < 1:
        raise InputError(f"conditioning.dropout: {dropout} is not in [0, 1); the usual value is 0.1")

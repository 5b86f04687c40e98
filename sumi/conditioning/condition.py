"""Conditions: besides the noise level, a network can be conditioned on labels, numbers and images, one row per sample.

    Condition ── conditioners (`sumi.conditioning.conditioner`, trained with the network) ──▶ NetworkCondition

Each named part belongs to one conditioner and has a null value that means "unconditional". A model whose conditions
are dropped at random in training has learned the unconditional distribution too (Ho & Salimans 2022).
"""

from collections.abc import Iterator, Mapping
from typing import Final

import torch
from torch import Tensor

HOST: Final = ("text", "text_weights")
"""Parts that stay on the CPU: their padding is cut off there before each encoding, without waiting for a device."""


class Condition(Mapping[str, Tensor]):
    """Named tensors of N rows.

    labels       int64 (N,): the class; the number of classes stands for "no label"
    text         int64 (N, P, L): the tokens of up to P prompts of a sample, which count together; on the CPU
    text_weights (N, P, L): how much each token counts; 1: as it is (`sumi.conditioning.text`); on the CPU
    states       (N, L, D): what tokens became elsewhere, and states_count int64 (N,), how many there are
    clip         (N, D): the vector of a text, towards which a CLIP guides (`sumi.guidance.clip`)
    values       (N, K): numbers in their own units, nan where unknown
    masked, small, grey
                 (N, C' + 1, h, w): the known pixels of an image in [-1, 1], 0 where unknown; the last channel is 1
                 where they are known
    small_noise  (N,): the noise s on ``small``, in [0, 1] (`sumi.conditioning.image`)
    """

    def __init__(self, parts: Mapping[str, Tensor] | None = None, /, **named: Tensor) -> None:
        self._parts: dict[str, Tensor] = {**(parts or {}), **named}

    def __getitem__(self, name: str) -> Tensor:
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        return f"Condition({', '.join(f'{name}: {tuple(part.shape)}' for name, part in self.items())})"

    def to(self, device: torch.device) -> "Condition":
        """The condition on ``device``, and its texts on the CPU (`HOST`)."""
        there = device.type != "cpu"  # where what is copied may arrive later
        return Condition(
            {n: part.cpu() if n in HOST else part.to(device, non_blocking=there) for n, part in self.items()}
        )

    def rows(self, which: slice | Tensor) -> "Condition":
        """The condition of some samples: a slice, or indices (M,) on any device."""
        match which:
            case slice():
                return Condition({name: part[which] for name, part in self.items()})
            case Tensor():
                return Condition({name: part[which.to(part.device)] for name, part in self.items()})

    def without(self, *names: str) -> "Condition":
        """The other parts."""
        return Condition({name: part for name, part in self.items() if name not in names})

    def sizes(self) -> set[int]:
        """The numbers of rows of the parts; one number if they agree."""
        return {len(part) for part in self.values()}

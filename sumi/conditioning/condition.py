"""A condition: what N samples are to be, before any network sees it. Labels, images, numbers, one row a sample.

    Condition ── conditioners (`sumi.conditioning.conditioner`, trained with the network) ──▶ NetworkCondition

Its parts have names, each of which one conditioner owns. A model knows for every part the value that says nothing
(``null``): the unconditional branch is part of every model whose conditions were left out now and then in training
(Ho & Salimans 2022).
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


class Condition(Mapping[str, Tensor]):
    """Named tensors of N rows each.

    labels       int64 (N,): the class of each; the number of classes itself stands for none
    values       (N, K): numbers in their own units, nan where unknown
    masked, small, grey
                 (N, C' + 1, h, w): what is known of an image, in [-1, 1] and 0 where it is unknown; the last channel
                 is 1 where it is known
    small_noise  (N,): how far ``small`` was noised, in [0, 1] (`sumi.conditioning.image`)
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
        """The same on ``device``."""
        return Condition({name: part.to(device) for name, part in self.items()})

    def rows(self, which: slice | Tensor) -> "Condition":
        """Of some of the samples: a slice, or indices (M,)."""
        return Condition({name: part[which] for name, part in self.items()})

    def without(self, *names: str) -> "Condition":
        """The other parts."""
        return Condition({name: part for name, part in self.items() if name not in names})

    def sizes(self) -> set[int]:
        """The numbers of rows of its parts: one number where they agree."""
        return {len(part) for part in self.values()}

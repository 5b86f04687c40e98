"""Sizes as a condition (Podell et al. 2023, "SDXL", section 2.2): of the picture as it was, and as it shall be.

    height, width, top, left, height', width'    (N, 6) ──▶ the last numbers of a vector, after a text's summary

A picture of height × width was cut at (top, left), to height' × width'. Where they are not given, it is of the model's
own size and was not cut. Guidance, which leaves the text out, leaves them as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Never

import torch
from torch import Tensor

from sumi.boundary.arguments import finite
from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioner import Conditioner, Items
from sumi.data.batch import Batch
from sumi.data.dataset import Dataset
from sumi.errors import InputError
from sumi.networks.condition import NetworkCondition

NUMBERS: Final = 6


@dataclass(frozen=True)
class SizesConditioning:
    """The network knows the size of a picture before and after it was cut."""

    name: ClassVar[str] = "sizes"

    height: int = field(default=1024, metadata={"most": 2**20, "help": "of a picture where it is not given"})
    width: int = field(default=1024, metadata={"most": 2**20, "help": "of a picture where it is not given"})

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1:
            raise InputError(f"conditioning.height: {self.height} x {self.width} is no size; give 1 or more")

    @property
    def dropout(self) -> float:
        """None: a network knows them always."""
        return 0.0

    def build(self, items: Items, width: int) -> "SizesConditioner":
        """A new conditioner."""
        del items
        return SizesConditioner(self, width)


class SizesConditioner(Conditioner):
    """``sizes`` (N, 6) -> a vector (N, ``width``) that ends with them."""

    stays = ("sizes",)

    def __init__(self, config: SizesConditioning, width: int) -> None:
        super().__init__()
        own = (config.height, config.width)
        self.width, self.own = width, (*own, 0, 0, *own)

    def fit(self, data: Dataset) -> Never:
        """Raises InputError: no data hold them."""
        del data
        raise InputError("conditioning: sizes are given by hand, and no data hold any; train without")

    def parse(self, given: object, indices: Sequence[int]) -> Condition:
        """``given``: height, width, top, left, height', width', (6,) for all samples or (N, 6). Raises InputError."""
        sizes = finite("condition.sizes", given)
        if sizes.shape not in ((NUMBERS,), (len(indices), NUMBERS)):
            raise InputError(
                f"condition.sizes: are of shape {tuple(sizes.shape)}; give height, width, top, left, height and width"
            )
        return Condition(sizes=sizes.expand(len(indices), NUMBERS))

    def of_data(self, batch: Batch, x_0: Tensor, draw: int) -> Condition:
        """The model's own: no data hold them."""
        del batch, draw
        return self.null(x_0)

    def null(self, like: Tensor) -> Condition:
        return Condition(sizes=torch.tensor(self.own, dtype=torch.float32, device=like.device).expand(len(like), -1))

    def forward(self, condition: Condition) -> NetworkCondition:
        return NetworkCondition(torch.nn.functional.pad(condition["sizes"], (self.width - NUMBERS, 0)))

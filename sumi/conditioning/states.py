"""States of tokens that are computed elsewhere, as a condition: such as those of an encoder that Sumi does not have.

    states (L, D) ──▶ tokens, to which the network attends; what is missing to the full length does not count

No condition is one token of zeros.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Never

import torch
from torch import Tensor

from sumi.boundary.arguments import finite
from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioner import Conditioner, Items, check_dropout
from sumi.data.batch import Batch
from sumi.data.dataset import Dataset
from sumi.errors import InputError
from sumi.networks.condition import ConditionShape, NetworkCondition


@dataclass(frozen=True)
class StatesConditioning:
    """The network attends to states that are given."""

    name: ClassVar[str] = "states"

    width: int = field(default=768, metadata={"most": 65_536, "help": "numbers of a state"})
    length: int = field(default=77, metadata={"most": 65_536, "help": "most states of a sample"})
    dropout: float = field(default=0.0, metadata={"help": "share of its training without any, [0, 1)"})

    def __post_init__(self) -> None:
        check_dropout(self.dropout)
        if min(self.width, self.length) < 1:
            raise InputError(f"conditioning.length: {self.length} states of {self.width} are none; give 1 or more")

    def build(self, items: Items, width: int) -> "StatesConditioner":
        """A new conditioner."""
        del items, width
        return StatesConditioner(self)


class StatesConditioner(Conditioner):
    """``states`` (N, L, D) and ``states_count`` (N,), how many of them there are -> tokens, and log weights 0 or -∞."""

    def __init__(self, config: StatesConditioning) -> None:
        super().__init__()
        self.width, self.length, self.dropout = config.width, config.length, config.dropout
        self.shape = ConditionShape(token_width=config.width)

    def fit(self, data: Dataset) -> Never:
        """Raises InputError: no data hold them."""
        del data
        raise InputError("conditioning: states are given by hand, and no data hold any; train with text instead")

    def parse(self, given: object, indices: Sequence[int]) -> Condition:
        """``given``: states (l, D) for all samples, or (N, l, D), l ≤ L. Raises InputError."""
        n, rows = len(indices), finite("condition.states", given)
        rows = rows[None].expand(n, -1, -1) if rows.ndim == 2 else rows
        if rows.ndim != 3 or len(rows) != n or rows.shape[2] != self.width or not 1 <= rows.shape[1] <= self.length:
            raise InputError(
                f"condition.states: are of shape {tuple(rows.shape)}; give (l, {self.width}) with l of 1 to "
                f"{self.length}, or as many for each of {n} samples"
            )
        count = rows.shape[1]
        whole = torch.nn.functional.pad(rows, (0, 0, 0, self.length - count))
        return Condition(states=whole, states_count=torch.full((n,), count))

    def of_data(self, batch: Batch, x_0: Tensor, draw: int) -> Condition:
        """None: no data hold them."""
        del batch, draw
        return self.null(x_0)

    def null(self, like: Tensor) -> Condition:
        n = len(like)
        states = like.new_zeros((n, self.length, self.width))
        return Condition(states=states, states_count=torch.ones(n, dtype=torch.int64, device=like.device))

    def forward(self, condition: Condition) -> NetworkCondition:
        states, count = condition["states"], condition["states_count"]
        there = torch.arange(self.length, device=count.device) < count[:, None]
        return NetworkCondition(tokens=states, log_weights=there.to(states.dtype).log())

"""The scale of guidance as a condition (Meng et al. 2023, "On distillation of guided diffusion models").

A student of few steps learns what its teacher makes with guidance of scale w, for all w of a range: sampling then costs
one evaluation instead of two. ln w becomes sines and cosines, and a small perceptron a vector of them, which begins
at zero. The null value is w = 1, no guidance.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log
from typing import ClassVar, Final

import torch
from torch import Tensor

from sumi.boundary.arguments import real
from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioner import Conditioner, Items, check_dropout
from sumi.data.batch import Batch
from sumi.errors import InputError
from sumi.networks.condition import NetworkCondition
from sumi.networks.layers import ZeroStartEmbedding
from sumi.randomness import Purpose

GUIDANCE: Final = "guidance"


@dataclass(frozen=True)
class GuidanceConditioning:
    """The network is given the scale of the guidance that it stands for."""

    name: ClassVar[str] = GUIDANCE

    low: float = field(default=1.0, metadata={"help": "least scale learned, > 0"})
    high: float = field(default=4.0, metadata={"help": "largest scale learned"})
    dropout: float = field(default=0.1, metadata={"help": "share of training items at scale 1, in [0, 1)"})

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise InputError(
                f"conditioning.low: {self.low:g} to high = {self.high:g} is no range; give such as 1 and 4"
            )
        check_dropout(self.dropout)

    def build(self, items: Items, width: int) -> "GuidanceConditioner":
        """A new conditioner, for any data."""
        del items
        return GuidanceConditioner(self.low, self.high, width, self.dropout)


class GuidanceConditioner(Conditioner):
    """``guidance`` (N,): the scale, nan for none, -> one vector (N, width)."""

    def __init__(self, low: float, high: float, width: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.low, self.high, self.dropout = low, high, dropout
        self.embedding = ZeroStartEmbedding(width)

    def parse(self, given: object, indices: Sequence[int]) -> Condition:
        """``given``: the scale of all samples. Raises InputError outside of the range that was learned."""
        scale = real("guidance.scale", given)
        if scale != 1 and not self.low <= scale <= self.high:
            raise InputError(
                f"guidance.scale: {scale:g} is out of range; this model has learned {self.low:g} to {self.high:g}"
            )
        return Condition({GUIDANCE: torch.full((len(indices),), scale)})

    def of_data(self, batch: Batch, x_0: Tensor, draw: int) -> Condition:
        """Scales of which ln is uniform, with dropout."""
        del x_0
        left_out, place = batch.uniforms(Purpose.CONDITION_DROPOUT, 2, draw).unbind(1)
        scale = (log(self.low) + place * (log(self.high) - log(self.low))).exp()
        return Condition({GUIDANCE: torch.where(left_out < self.dropout, torch.nan, scale).float()})

    def null(self, like: Tensor) -> Condition:
        return Condition({GUIDANCE: like.new_full((len(like),), torch.nan)})

    def forward(self, condition: Condition) -> NetworkCondition:
        scale = condition[GUIDANCE].to(next(self.parameters())).nan_to_num(nan=1.0)
        return NetworkCondition(vector=self.embedding(scale.log()))

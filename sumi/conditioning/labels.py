"""Class labels as a condition: one learned vector a class, or a few tokens, and one for "nothing said".

In training a label is left out with probability p, at random and for each sample, so that one network learns both
p(x | y) and p(x) (Ho & Salimans 2022, "Classifier-free diffusion guidance", algorithm 1). By ``way=norm`` the vector is
added to the network's embedding of the noise level (Dhariwal & Nichol 2021, section 3.1); by ``way=attention`` a class
is a short text of learned words, and every position of the image looks at them (Rombach et al. 2022, section 3.3).
"""

from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sumi.conditioning.condition import Condition, Draws, check_dropout
from sumi.networks.condition import Told

TOKENS: Final = 4
"""Words of a class."""


@dataclass(frozen=True)
class LabelConditioning:
    """The network is told the class of what it denoises."""

    name: ClassVar[str] = "labels"

    dropout: float = field(
        default=0.1, metadata={"help": "share of training labels that are left out, in [0, 1); guidance needs some"}
    )
    way: Literal["norm", "attention"] = field(
        default="norm", metadata={"help": "how it is told: norm (as the noise level is), or attention to learned words"}
    )

    def __post_init__(self) -> None:
        check_dropout(self.dropout)


class LabelEmbedding(nn.Module):
    """Labels (N,) -> one vector (N, width), or with ``tokens`` > 0 that many tokens (N, tokens, width).

    The label ``classes`` (`null`) says nothing.
    """

    def __init__(self, classes: int, width: int, tokens: int = 0) -> None:
        super().__init__()
        self.classes, self.tokens = classes, tokens
        self.table = nn.Embedding(classes + 1, width * max(tokens, 1))
        nn.init.normal_(self.table.weight, std=0.02 if not tokens else 1.0)

    def null(self, like: Tensor) -> Condition:
        """Nothing is said of as many samples as ``like`` (N, …) has, on its device."""
        return Condition(labels=torch.full((len(like),), self.classes, dtype=torch.int64, device=like.device))

    def forward(self, condition: Condition) -> Told:
        rows = self.table(condition.require("labels"))
        return Told(tokens=rows.unflatten(1, (self.tokens, -1))) if self.tokens else Told(vector=rows)


@dataclass(frozen=True)
class TrainingLabels:
    """The class of each item of the data, int64 (M,), some of which are left out in training."""

    labels: NDArray[np.int64]
    classes: int
    dropout: float

    def of(self, items: NDArray[np.int64], x_0: Tensor, draws: Draws) -> Condition:
        """The labels of ``items`` (n,); nothing is said where the uniform draw is below ``dropout``."""
        del x_0
        left_out = draws.uniform(1)[:, 0] < self.dropout
        return Condition(labels=torch.where(left_out, self.classes, torch.from_numpy(self.labels[items])))

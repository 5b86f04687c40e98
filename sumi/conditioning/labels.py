"""Class labels as a condition: one learned vector a class, and one for "nothing said".

In training a label is left out with probability p, at random and for each sample, so that one network learns both
p(x | y) and p(x) (Ho & Salimans 2022, "Classifier-free diffusion guidance", algorithm 1). The vector is added to the
network's embedding of the noise level (Dhariwal & Nichol 2021, section 3.1).
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sumi.errors import InputError


@dataclass(frozen=True)
class NoConditioning:
    """The network is told the noise level and nothing else."""

    name: ClassVar[str] = "none"


@dataclass(frozen=True)
class LabelConditioning:
    """The network is told the class of what it denoises."""

    name: ClassVar[str] = "labels"

    dropout: float = field(
        default=0.1, metadata={"help": "share of training labels that are left out, in [0, 1); guidance needs some"}
    )

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise InputError(f"conditioning.dropout: {self.dropout} is not in [0, 1); the paper's value is 0.1")


ConditioningConfig = NoConditioning | LabelConditioning


class LabelEmbedding(nn.Module):
    """``forward(labels: int64 (N,)) -> (N, width)``; the label ``classes`` (`null`) says nothing."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.classes = classes
        self.table = nn.Embedding(classes + 1, width)
        nn.init.normal_(self.table.weight, std=0.02)

    def null(self, count: int) -> Tensor:
        """The labels of ``count`` samples of which nothing is said, on the device of the table."""
        return torch.full((count,), self.classes, dtype=torch.int64, device=self.table.weight.device)

    def forward(self, labels: Tensor) -> Tensor:
        return self.table(labels)


@dataclass(frozen=True)
class TrainingLabels:
    """The class of each item of the data, int64 (M,), some of which are left out in training."""

    labels: NDArray[np.int64]
    classes: int
    dropout: float

    def of(self, items: NDArray[np.int64], places: Tensor) -> Tensor:
        """The labels of ``items`` (N,); nothing is said where the uniform ``places`` (N,) are below ``dropout``."""
        return torch.where(places < self.dropout, self.classes, torch.from_numpy(self.labels[items]))

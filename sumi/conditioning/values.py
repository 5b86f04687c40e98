"""Numbers as a condition: of each image how bright it is, how old, how far away; whatever is known of it.

A value v is told as sines and cosines of (v - mean)/std at `FREQUENCIES`, and whether anything is said of it at all;
a small perceptron makes a vector of all, which is added to the embedding of the noise level. Mean and deviation are
those of the training data and stay with the weights. In training each sample's values are left out with probability p,
as labels are (Ho & Salimans 2022).

Columns of numbers in ``metadata.jsonl`` are values by their names; brightness and contrast are measured.
"""

from dataclasses import dataclass, field
from math import pi
from typing import ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sumi.conditioning.condition import Condition, Draws, check_dropout
from sumi.config import nearest
from sumi.data.dataset import Dataset
from sumi.errors import InputError
from sumi.networks.condition import Told

FREQUENCIES: Final = tuple(pi * 2.0**k for k in range(-3, 4))
"""Radians for a deviation: the slowest turns by half a cycle over eight deviations."""
MEASURED: Final = {"brightness": "mean", "contrast": "std"}
"""Of the pixels in [-1, 1], over all of an image."""


@dataclass(frozen=True)
class ValuesConditioning:
    """The network is told numbers that belong to what it denoises."""

    name: ClassVar[str] = "values"

    names: tuple[str, ...] = field(
        default=("brightness",),
        metadata={"help": "brightness, contrast, or columns of numbers in the folder's metadata.jsonl"},
    )
    dropout: float = field(default=0.1, metadata={"help": "share of training images of which nothing is told, [0, 1)"})

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) != len(self.names):
            raise InputError(f"conditioning.names: {list(self.names)} names none, or one twice; give each once")
        check_dropout(self.dropout)


class ValuesEmbedding(nn.Module):
    """``values`` (N, K), nan where nothing is said, -> one vector (N, width)."""

    mean: Tensor
    std: Tensor
    frequencies: Tensor

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("std", torch.ones(count))
        self.register_buffer("frequencies", torch.tensor(FREQUENCIES), persistent=False)
        inputs = count * (2 * len(FREQUENCIES) + 1)
        self.perceptron = nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width))

    def fit(self, values: Tensor) -> None:
        """Take mean and deviation from training data (M, K), nan where unknown."""
        for k, column in enumerate(values.unbind(1)):
            there = column[~column.isnan()]
            self.mean[k], std = there.mean(), there.std(correction=0)
            self.std[k] = std if std > 0 else 1.0

    def null(self, like: Tensor) -> Condition:
        """Nothing is said of as many samples as ``like`` (N, …) has."""
        return Condition(values=like.new_full((len(like), len(self.mean)), torch.nan))

    def forward(self, condition: Condition) -> Told:
        values = condition.require("values").to(self.mean)
        said = ~values.isnan()
        phase = torch.where(said, (values - self.mean) / self.std, 0.0)[..., None] * self.frequencies
        features = torch.cat([phase.sin(), phase.cos(), torch.ones_like(phase[..., :1])], 2) * said[..., None]
        return Told(vector=self.perceptron(features.flatten(1)))


@dataclass(frozen=True)
class TrainingValues:
    """The values of each item of the data, float32 (M, K)."""

    values: NDArray[np.float32]
    dropout: float

    def of(self, items: NDArray[np.int64], x_0: Tensor, draws: Draws) -> Condition:
        """The values of ``items`` (n,); nothing is said where the uniform draw is below ``dropout``."""
        del x_0
        left_out = draws.uniform(1) < self.dropout
        return Condition(values=torch.where(left_out, torch.nan, torch.from_numpy(self.values[items])))


def values_of(data: Dataset, names: tuple[str, ...]) -> NDArray[np.float32]:
    """The values called ``names`` of every image, (N, K). Raises InputError where the data have none of that name."""
    columns = []
    for name in names:
        if name in data.columns:
            columns.append(data.column(name))
        elif name in MEASURED:
            columns.append(_measured(data, name))
        else:
            known = (*MEASURED, *data.columns)
            raise InputError(f"conditioning.names: the data have no values {name!r}; {nearest(name, known)}")
    return np.stack(columns, 1).astype(np.float32)


def _measured(data: Dataset, name: str) -> NDArray[np.float64]:
    parts = np.split(np.arange(len(data)), range(1024, len(data), 1024))
    measure = torch.Tensor.mean if MEASURED[name] == "mean" else torch.Tensor.std
    return np.concatenate([measure(data.batch(part).double().flatten(1), 1).numpy() for part in parts])

"""Numbers as a condition: brightness, age, distance, or any other number known about each image.

A value v becomes sines and cosines of (v - mean)/std at `FREQUENCIES`, and a flag that it is known. A small perceptron
maps them to a vector, which is added to the embedding of the noise level. Mean and standard deviation are those of the
training data and are saved with the weights. In training each sample's values are dropped with probability p, as labels
are (Ho & Salimans 2022).

Values are columns of ``metadata.jsonl``, or brightness and contrast, which are computed from the pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import pi
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn

from sumi.boundary.arguments import real
from sumi.boundary.config import nearest
from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioner import Conditioner, Items, check_dropout
from sumi.data.batch import Batch
from sumi.data.dataset import Dataset
from sumi.data.latents import LatentDataset
from sumi.errors import InputError
from sumi.networks.condition import NetworkCondition
from sumi.randomness import Purpose

FREQUENCIES: Final = tuple(pi * 2.0**k for k in range(-3, 4))
"""Radians per standard deviation: the slowest turns by half a cycle over eight deviations."""
MEASURED: Final = {"brightness": "mean", "contrast": "std"}
"""Computed over all pixels of an image, in [-1, 1]."""


@dataclass(frozen=True)
class ValuesConditioning:
    """The network is conditioned on numbers that belong to each image."""

    name: ClassVar[str] = "values"

    names: tuple[str, ...] = field(
        default=("brightness",),
        metadata={"help": "brightness, contrast, or columns of numbers in the folder's metadata.jsonl"},
    )
    dropout: float = field(default=0.1, metadata={"help": "share of training images that go without, [0, 1)"})

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) != len(self.names):
            raise InputError(f"conditioning.names: {list(self.names)} is empty or has duplicates; give each once")
        check_dropout(self.dropout)

    def build(self, items: Items, width: int) -> "ValuesConditioner":
        """A new conditioner. Raises InputError for data that are no images."""
        if len(items.shape) == 1:
            raise InputError(
                f"conditioning: {self.name} need images or molecules, and these data are not; set conditioning=none"
            )
        return ValuesConditioner(self.names, width, self.dropout)


class ValuesConditioner(Conditioner):
    """``values`` (N, K), nan where unknown, -> one vector (N, width)."""

    mean: Tensor
    std: Tensor
    frequencies: Tensor

    def __init__(self, names: Sequence[str], width: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.names, self.dropout = tuple(names), dropout
        self.register_buffer("mean", torch.zeros(len(self.names)))
        self.register_buffer("std", torch.ones(len(self.names)))
        self.register_buffer("frequencies", torch.tensor(FREQUENCIES), persistent=False)
        inputs = len(self.names) * (2 * len(FREQUENCIES) + 1)
        self.perceptron = nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width))

    def fit(self, data: Dataset) -> None:
        """Take the mean and standard deviation of the training data's values, ignoring nan.

        Raises InputError where no training item has one of them.
        """
        self.columns = torch.stack([column_of(data, name) for name in self.names], 1).float()
        for k, column in enumerate(self.columns.unbind(1)):
            if bool(column.isnan().all()):
                raise InputError(
                    f"conditioning.names: no training item has a number for {self.names[k]}; leave it out, or add some"
                )
            self.mean[k], self.std[k] = mean_and_std(column)

    def parse(self, given: object, indices: Sequence[int]) -> Condition:
        """``given``: by name, a number for all samples or one for each; the others stay unknown. Raises InputError."""
        return Condition(values=values_of(given, self.names, len(indices)))

    def of_data(self, batch: Batch, x_0: Tensor, draw: int) -> Condition:
        """The batch's values, with dropout."""
        del x_0
        left_out = batch.uniforms(Purpose.CONDITION_DROPOUT, 1, draw) < self.dropout
        return Condition(values=torch.where(left_out, torch.nan, self.columns[torch.from_numpy(batch.items)]))

    def null(self, like: Tensor) -> Condition:
        return Condition(values=like.new_full((len(like), len(self.mean)), torch.nan))

    def forward(self, condition: Condition) -> NetworkCondition:
        values = condition["values"].to(self.mean)
        known = ~values.isnan()
        phase = torch.where(known, (values - self.mean) / self.std, 0.0)[..., None] * self.frequencies
        features = torch.cat([phase.sin(), phase.cos(), torch.ones_like(phase[..., :1])], 2) * known[..., None]
        return NetworkCondition(vector=self.perceptron(features.flatten(1)))


def mean_and_std(column: Tensor) -> tuple[Tensor, Tensor]:
    """Of the numbers that are known, of (N,), nan where one is not; the deviation of equal ones is 1."""
    there = column[~column.isnan()].double()
    return there.mean(), torch.where(there.amax() > there.amin(), there.std(correction=0), 1.0)


def values_of(given: object, names: Sequence[str], count: int) -> Tensor:
    """float32 (count, names), nan where unknown, of numbers by name, each for all samples or one a sample.

    Raises InputError for another name, and for what are no numbers.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"values: {given!r} does not map names to numbers; write {{{names[0]!r}: 0.2}}")
    for name in given:
        if name not in names:
            raise InputError(f"values: the model was not trained with {name}; {nearest(str(name), names)}")
    known = {name: _numbers(f"values.{name}", value, count) for name, value in given.items()}
    return torch.stack([known.get(name, torch.full((count,), torch.nan)) for name in names], 1)


def _numbers(field: str, given: object, count: int) -> Tensor:
    """float32 (count,): one number for all, or one for each. Raises InputError, naming ``field``."""
    match given:
        case Tensor() | np.ndarray():
            return _numbers(field, given.tolist(), count)
        case list() | tuple() as each:
            if len(each) != count:
                raise InputError(f"{field}: {len(each)} are given for {count} samples; give one, or one per sample")
            return torch.tensor([real(field, one) for one in each])
        case one:
            return torch.full((count,), real(field, one))


def column_of(data: Dataset, name: str) -> Tensor:
    """The value ``name`` of every item, float64 (N,): a column of the data, or computed from the pixels.

    Raises InputError for an unknown name.
    """
    match data:
        case LatentDataset():  # measured on the images, of which it has some twice
            return column_of(data.images, name).repeat(len(data) // len(data.images))
        case _:
            pass
    if name in data.columns:
        return torch.from_numpy(data.column(name)).double()
    if name not in MEASURED or len(data.shape) != 3:
        known = (*(MEASURED if len(data.shape) == 3 else ()), *data.columns) or ("none",)
        raise InputError(f"conditioning.names: the data have no values {name!r}; {nearest(name, known)}")
    measure = torch.Tensor.mean if MEASURED[name] == "mean" else torch.Tensor.std
    parts = torch.arange(len(data)).split(1024)
    return torch.cat([measure(data.batch(part.numpy()).double().flatten(1), 1) for part in parts])

"""Class labels as a condition: a learned vector, or a few tokens, for each class and for "no label".

In training each sample's label is dropped with probability p, so that one network learns both
p(x | y) and p(x) (Ho & Salimans 2022, "Classifier-free diffusion guidance", algorithm 1). By ``way=norm`` the vector is
added to the embedding of the noise level (Dhariwal & Nichol 2021, section 3.1); by ``way=attention`` a class is a few
learned tokens, to which every position of the image attends (Rombach et al. 2022, section 3.3).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, SupportsIndex

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sumi.boundary.arguments import whole
from sumi.boundary.config import nearest
from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioner import Conditioner, Items, check_dropout
from sumi.data.batch import Batch
from sumi.errors import InputError
from sumi.networks.condition import ConditionShape, NetworkCondition
from sumi.randomness import Purpose

TOKENS: Final = 4
"""Tokens per class."""


@dataclass(frozen=True)
class LabelConditioning:
    """The network is conditioned on the class."""

    name: ClassVar[str] = "labels"

    dropout: float = field(
        default=0.1, metadata={"help": "share of training labels that are left out, in [0, 1); guidance needs some"}
    )
    way: Literal["norm", "attention"] = field(
        default="norm", metadata={"help": "how it enters: norm (as the noise level), or attention to learned words"}
    )

    def __post_init__(self) -> None:
        check_dropout(self.dropout)

    def build(self, items: Items, width: int) -> "LabelConditioner":
        """A new conditioner. Raises InputError for data without classes."""
        if not items.label_names:
            raise InputError("conditioning: labels need data with classes, and these have none; set conditioning=none")
        return LabelConditioner(items.label_names, width, TOKENS if self.way == "attention" else 0, self.dropout)


class LabelConditioner(Conditioner):
    """``labels`` (N,) -> one vector (N, width), or with ``tokens`` > 0 that many tokens (N, tokens, width).

    The label ``len(names)`` (`null`) means "no label".
    """

    def __init__(self, names: Sequence[str], width: int, tokens: int = 0, dropout: float = 0.1) -> None:
        super().__init__()
        self.names, self.tokens, self.dropout = tuple(names), tokens, dropout
        self.shape = ConditionShape(token_width=width if tokens else 0)
        self.table = nn.Embedding(len(self.names) + 1, width * max(tokens, 1))
        nn.init.normal_(self.table.weight, std=0.02 if not tokens else 1.0)

    def parse(self, given: object, indices: Sequence[int]) -> Condition:
        """See `labels_of`."""
        return Condition(labels=labels_of(given, self.names, indices))

    def of_data(self, batch: Batch, x_0: Tensor, draw: int) -> Condition:
        """The batch's labels, with dropout."""
        del x_0
        left_out = batch.uniforms(Purpose.CONDITION_DROPOUT, 1, draw)[:, 0] < self.dropout
        return Condition(labels=torch.where(left_out, len(self.names), batch.data.labels_of(batch.items)))

    def null(self, like: Tensor) -> Condition:
        return Condition(labels=torch.full((len(like),), len(self.names), dtype=torch.int64, device=like.device))

    def forward(self, condition: Condition) -> NetworkCondition:
        rows = self.table(condition["labels"])
        if self.tokens:
            return NetworkCondition(tokens=rows.unflatten(1, (self.tokens, -1)))
        return NetworkCondition(vector=rows)

    def checked(self, condition: Condition) -> Condition:
        if "labels" not in condition:
            return condition
        return Condition({**condition, "labels": classes(condition["labels"], len(self.names))})


Labels = str | SupportsIndex | Iterable[str] | Iterable[SupportsIndex] | Tensor | NDArray[Any]
"""A class by its name or number, or one for each sample; "all": one class after the other."""


def labels_of(given: object, names: Sequence[str], indices: Sequence[int], field: str = "label") -> Tensor:
    """int64 (n,): the classes of samples ``indices``.

    ``given``: a class by its name or number, "all" to cycle through the classes, or one class for each sample, by name
    or number: a list, an array or a tensor (n,). Raises InputError, naming ``field``, for an unknown class.
    """
    match _plain(given):
        case "all":
            return torch.tensor([i % len(names) for i in indices])
        case str() as name:
            return torch.full((len(indices),), _class_of(name, names, field))
        case Iterable() as labels:
            found = [_class_of(label, names, field) for label in labels]
            if len(found) != len(indices):
                raise InputError(f"{field}: {len(found)} are given for {len(indices)} samples; give one per sample")
            return torch.tensor(found, dtype=torch.int64)
        case number:
            return torch.full((len(indices),), _class_of(number, names, field))


def _plain(given: Any) -> Any:
    """An array or tensor as a list, and one without axes as its value."""
    array = given if hasattr(given, "tolist") or not hasattr(given, "__array__") else np.asarray(given)
    return array.tolist() if hasattr(array, "tolist") else array


def _class_of(label: object, names: Sequence[str], field: str) -> int:
    match label:
        case str():
            if label not in names:
                raise InputError(f"{field}: there is no class {label}; {nearest(label, (*names, 'all'))}")
            return list(names).index(label)
        case _:
            number = whole(field, label)
    if number >= len(names):
        raise InputError(f"{field}: there is no class number {number}; give 0 to {len(names) - 1}, or a name")
    return number


def classes(labels: Tensor, count: int) -> Tensor:
    """Classes (N,) as int64. Raises InputError unless they are in 0 … ``count`` - 1."""
    if labels.is_floating_point() or labels.ndim != 1 or bool(((labels < 0) | (labels >= count)).any()):
        raise InputError(f"label: give whole numbers from 0 to {count - 1}, one per sample")
    return labels.to(torch.int64)

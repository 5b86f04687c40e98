"""Conditioners: each handles one condition end to end, from user input to the network's input.

    input ── parse ──▶ Condition ── forward ──▶ NetworkCondition ──▶ network
    data  ── of_data ──▲        null: the unconditional value

A model has a tuple of them. Their vectors are added, their images and tokens concatenated
(`sumi.networks.condition`), so labels, numbers and images combine.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from sumi.boundary.config import nearest
from sumi.conditioning.condition import Condition
from sumi.data.batch import Batch
from sumi.data.dataset import Dataset
from sumi.errors import InputError
from sumi.networks.condition import ConditionShape, NetworkCondition, combined


class Items(Protocol):
    """What a conditioner needs to know about the data."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def label_names(self) -> tuple[str, ...]: ...


class ConditionerConfig(Protocol):
    """The configuration of one conditioner. ``dropout``: the share of training items without it, in [0, 1)."""

    name: ClassVar[str]

    @property
    def dropout(self) -> float: ...

    def build(self, items: Items, width: int) -> "Conditioner":
        """A new conditioner for a network with an embedding of ``width``. Raises InputError for unsuitable data."""
        ...


class Conditioner(nn.Module, ABC):
    """See the module docstring. ``shape``: the image and tokens that `forward` returns.

    ``stays``: names of its parts that guidance does not leave out.
    """

    shape = ConditionShape()
    dropout: float = 0.0
    stays: tuple[str, ...] = ()

    def fit(self, data: Dataset) -> None:
        """Fit to the training data. Raises InputError if they lack what the condition needs."""
        del data

    @abstractmethod
    def parse(self, given: object, indices: Sequence[int]) -> Condition:
        """The condition of the samples ``indices`` from user input. Raises InputError."""

    @abstractmethod
    def of_data(self, batch: Batch, x_0: Tensor, draw: int) -> Condition:
        """The condition of a training batch ``x_0`` (n, …), with dropout.

        ``draw`` numbers the conditioners of a model, so that each is dropped independently.
        """

    @abstractmethod
    def null(self, like: Tensor) -> Condition:
        """The unconditional value for as many samples as ``like`` (N, …), on its device; texts are on the CPU."""

    @abstractmethod
    def forward(self, condition: Condition) -> NetworkCondition:
        """The network's input."""

    def checked(self, condition: Condition) -> Condition:
        """The condition, of the right names and shapes, with its values checked. Raises InputError."""
        return condition


class Conditioners(nn.Module):
    """All conditioners of a model, by name."""

    def __init__(self, conditioners: Mapping[str, Conditioner]) -> None:
        super().__init__()
        self.names = tuple(conditioners)
        for name, conditioner in conditioners.items():
            self.add_module(name, conditioner)

    def __getitem__(self, name: str) -> Conditioner:
        conditioner = self.get_submodule(name)
        assert isinstance(conditioner, Conditioner)
        return conditioner

    def __iter__(self) -> Iterator[Conditioner]:
        """Each of them, in the order of the configuration."""
        return (self[name] for name in self.names)

    @property
    def always(self) -> bool:
        """Whether one of them has no dropout, so that the network has not learned the unconditional distribution."""
        return any(conditioner.dropout == 0 and not conditioner.stays for conditioner in self)

    @property
    def stays(self) -> tuple[str, ...]:
        """The parts that guidance does not leave out."""
        return tuple(name for conditioner in self for name in conditioner.stays)

    @property
    def shape(self) -> ConditionShape:
        """What the network must accept. Raises InputError if tokens have different widths."""
        shapes = [conditioner.shape for conditioner in self]
        widths = {shape.token_width for shape in shapes if shape.token_width}
        if len(widths) > 1:
            raise InputError(f"conditioning: tokens have widths {sorted(widths)}; give conditions of one width")
        return ConditionShape(sum(shape.channels for shape in shapes), max(widths, default=0))

    def fit(self, data: Dataset) -> None:
        """Fit each to the training data. Raises InputError."""
        for conditioner in self:
            conditioner.fit(data)

    def parse(self, given: Mapping[str, object], indices: Sequence[int]) -> Condition:
        """The condition of samples ``indices`` from user input by name. Raises InputError."""
        found: dict[str, Tensor] = {}
        for name, value in given.items():
            if name not in self.names:
                raise InputError(f"condition: this model has no condition {name}; {nearest(name, self.names)}")
            found |= self[name].parse(value, indices)
        return Condition(found)

    def of_data(self, batch: Batch, x_0: Tensor) -> Condition:
        """The condition of a training batch (`Conditioner.of_data`)."""
        return _joined([c.of_data(batch, x_0, draw) for draw, c in enumerate(self)]).to(x_0.device)

    def null(self, like: Tensor) -> Condition:
        """The unconditional value for as many samples as ``like`` (N, …)."""
        return _joined([conditioner.null(like) for conditioner in self])

    def forward(self, condition: Condition) -> NetworkCondition:
        return combined([conditioner(condition) for conditioner in self])

    def checked(self, condition: Condition, shape: tuple[int, ...], device: torch.device) -> Condition:
        """``condition`` as the network takes it for samples of ``shape``; absent parts become null.

        Raises InputError if the model was not trained for a part's name, shape or values.
        """
        sizes = condition.sizes()
        if len(sizes) != 1:
            raise InputError(f"condition: has parts of {sorted(sizes)} rows; give one row per sample")
        nothing = self.null(torch.zeros(sizes.pop(), *shape, device=device))
        for name, part in condition.items():
            if name not in nothing:
                raise InputError(
                    f"condition.{name}: this model was trained with conditioning={','.join(self.names)} only"
                )
            if part.shape[1:] != nothing[name].shape[1:]:
                like = ", ".join(map(str, nothing[name].shape[1:]))
                raise InputError(f"condition.{name}: has shape {tuple(part.shape)}; give (N, {like})")
        for conditioner in self:
            condition = conditioner.checked(condition)
        return Condition({**nothing, **{name: part.to(nothing[name]) for name, part in condition.items()}})


def _joined(conditions: Sequence[Condition]) -> Condition:
    return Condition({name: part for condition in conditions for name, part in condition.items()})


def check_dropout(dropout: float) -> None:
    """Raises InputError if ``conditioning.dropout`` is not in [0, 1)."""
    if not 0 <= dropout < 1:
        raise InputError(f"conditioning.dropout: {dropout} is not in [0, 1); the usual value is 0.1")

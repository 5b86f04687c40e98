"""Conditioners: each owns one condition end to end, from what a person typed to what the network is given.

    typed ── parse ──▶ Condition ── forward ──▶ NetworkCondition ──▶ network
    data  ── of_data ──▲        null: the condition that says nothing

A model has a tuple of them. Their vectors are added, their images and tokens concatenated
(`sumi.networks.condition`), so labels, numbers and images combine.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from sumi.conditioning.condition import Condition
from sumi.config import nearest
from sumi.data.batch import Batch
from sumi.data.dataset import Dataset
from sumi.errors import InputError
from sumi.networks.condition import ConditionShape, NetworkCondition, combined


class Items(Protocol):
    """What a conditioner has to know of the data."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def label_names(self) -> tuple[str, ...]: ...


class ConditionerConfig(Protocol):
    """The configuration of one conditioner. ``dropout``: the share of training items that go without it, [0, 1)."""

    name: ClassVar[str]

    @property
    def dropout(self) -> float: ...

    def build(self, items: Items, width: int) -> "Conditioner":
        """A new conditioner for a network whose embedding is ``width`` wide. Raises InputError for unfit data."""
        ...


class Conditioner(nn.Module, ABC):
    """See the module docstring. ``shape``: the image and tokens that its `forward` gives."""

    shape = ConditionShape()
    dropout: float = 0.0

    def fit(self, data: Dataset) -> None:
        """Take from the training data what must be known of them. Raises InputError where they lack it."""
        del data

    @abstractmethod
    def parse(self, given: object, indices: Sequence[int]) -> Condition:
        """What a person gave, as the condition of the samples ``indices``. Raises InputError."""

    @abstractmethod
    def of_data(self, batch: Batch, x_0: Tensor, draw: int) -> Condition:
        """The condition of a training batch that the network sees as ``x_0`` (n, …), left out at random.

        ``draw`` numbers the conditioners of a model, so that each is left out independently of the others.
        """

    @abstractmethod
    def null(self, like: Tensor) -> Condition:
        """The condition that says nothing of as many samples as ``like`` (N, …), on its device."""

    @abstractmethod
    def forward(self, condition: Condition) -> NetworkCondition:
        """What the network is given."""

    def checked(self, condition: Condition) -> Condition:
        """The condition, whose names and shapes fit, with values that it knows. Raises InputError."""
        return condition


class Conditioners(nn.Module):
    """All conditioners of a model, by name, called as one."""

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
        """Whether the network was never trained without one of them, and has learned nothing unconditional."""
        return any(conditioner.dropout == 0 for conditioner in self)

    @property
    def shape(self) -> ConditionShape:
        """What a network must take. Raises InputError where tokens have different widths."""
        shapes = [conditioner.shape for conditioner in self]
        widths = {shape.token_width for shape in shapes if shape.token_width}
        if len(widths) > 1:
            raise InputError(f"conditioning: tokens are {sorted(widths)} wide; give conditions of one width")
        return ConditionShape(sum(shape.channels for shape in shapes), max(widths, default=0))

    def fit(self, data: Dataset) -> None:
        """Each takes from the training data what it must know of them. Raises InputError."""
        for conditioner in self:
            conditioner.fit(data)

    def parse(self, given: Mapping[str, object], indices: Sequence[int]) -> Condition:
        """The condition of samples ``indices`` that ``given`` states by name. Raises InputError."""
        found: dict[str, Tensor] = {}
        for name, value in given.items():
            if name not in self.names:
                raise InputError(f"condition: this model knows no {name}; {nearest(name, self.names)}")
            found |= self[name].parse(value, indices)
        return Condition(found)

    def of_data(self, batch: Batch, x_0: Tensor) -> Condition:
        """The condition of a training batch (`Conditioner.of_data`)."""
        return _joined([c.of_data(batch, x_0, draw) for draw, c in enumerate(self)]).to(x_0.device)

    def null(self, like: Tensor) -> Condition:
        """The condition that says nothing of as many samples as ``like`` (N, …)."""
        return _joined([conditioner.null(like) for conditioner in self])

    def forward(self, condition: Condition) -> NetworkCondition:
        return combined([conditioner(condition) for conditioner in self])

    def checked(self, condition: Condition, shape: tuple[int, ...], device: torch.device) -> Condition:
        """``condition`` as the network takes it for samples of ``shape``; parts that are absent say nothing.

        Raises InputError where a part has a name, a shape or values that it was not trained for.
        """
        sizes = condition.sizes()
        if len(sizes) != 1:
            raise InputError(f"condition: has parts of {sorted(sizes)} rows; give one row for each sample")
        nothing = self.null(torch.zeros(sizes.pop(), *shape, device=device))
        for name, part in condition.items():
            if name not in nothing:
                raise InputError(
                    f"condition.{name}: this model was not trained for it, but for conditioning={','.join(self.names)}"
                )
            if part.shape[1:] != nothing[name].shape[1:]:
                like = ", ".join(map(str, nothing[name].shape[1:]))
                raise InputError(f"condition.{name}: has shape {tuple(part.shape)}; give (N, {like})")
        for conditioner in self:
            condition = conditioner.checked(condition)
        return Condition({**nothing, **condition.to(device)})


def _joined(conditions: Sequence[Condition]) -> Condition:
    return Condition({name: part for condition in conditions for name, part in condition.items()})


def check_dropout(dropout: float) -> None:
    """Raises InputError where ``conditioning.dropout`` is no share below 1."""
    if not 0 <= dropout < 1:
        raise InputError(f"conditioning.dropout: {dropout} is not in [0, 1); the usual value is 0.1")

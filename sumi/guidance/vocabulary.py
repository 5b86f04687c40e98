"""What may condition a model's samples: classes and values by their names, and any condition of the right shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioner import Conditioners
from sumi.conditioning.labels import classes, labels_of
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.errors import InputError


@dataclass(frozen=True)
class Vocabulary:
    """Of a model with these ``conditioners`` on data whose classes are ``label_names``."""

    conditioners: Conditioners | None
    label_names: tuple[str, ...]

    def of_label(self, indices: Sequence[int], label: str, *, field: str = "label") -> Condition:
        """The classes of these items: ``label`` for all, or "all" for one class after the other.

        Raises InputError, which names ``field``, where there is no such class.
        """
        return Condition(labels=labels_of(label, self.label_names, indices, field))

    @property
    def knows_labels(self) -> bool:
        """Whether the model itself was trained with them."""
        return self.conditioners is not None and "labels" in self.conditioners.names

    def of_values(self, n: int, values: Mapping[str, float]) -> Condition:
        """``n`` samples that all have these ``values``, by name; others stay unknown.

        Raises InputError where the model was not trained with values of that name.
        """
        if self.conditioners is None or "values" not in self.conditioners.names:
            raise InputError("values: this model was trained without; train with conditioning=values")
        return self.conditioners.parse({"values": values}, range(n))

    def classes(self, labels: Tensor) -> Tensor:
        """Classes (N,) as int64. Raises InputError where they are none of the model's."""
        return classes(labels, len(self.label_names))

    def checked(self, condition: Condition, network: NetworkDenoiser, shape: tuple[int, ...]) -> Condition:
        """``condition`` as ``network`` takes it for samples of ``shape``. Raises InputError."""
        conditioner = network.conditioner
        if not isinstance(conditioner, Conditioners):
            raise InputError("condition: this model was trained without; train one with conditioning=labels")
        return conditioner.checked(condition, shape, next(network.parameters()).device)

    @property
    def without_dropout(self) -> bool:
        """Whether the network was always given its conditions, and has learned nothing unconditional."""
        return self.conditioners is not None and any(c.dropout == 0 for c in self.conditioners)

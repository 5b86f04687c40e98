"""What may be said of a model's samples: classes and values by their names, and any condition of the right shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioner import ConditioningConfig
from sumi.conditioning.labels import LabelConditioning
from sumi.conditioning.values import ValuesConditioning
from sumi.config import nearest
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.errors import InputError


@dataclass(frozen=True)
class Vocabulary:
    """Of a model with ``conditioning`` on data whose classes are ``label_names``."""

    conditioning: ConditioningConfig
    label_names: tuple[str, ...]

    def of_label(self, indices: Sequence[int], label: str, *, field: str = "label") -> Condition:
        """The classes of these items: ``label`` for all, or "all" for one class after the other.

        Raises InputError, which names ``field``, where there is no such class.
        """
        names = self.label_names
        if label == "all":
            return Condition(labels=torch.tensor([i % len(names) for i in indices]))
        if label not in names:
            raise InputError(f"{field}: there is no class {label}; {nearest(label, (*names, 'all'))}")
        return Condition(labels=torch.full((len(indices),), names.index(label)))

    @property
    def knows_labels(self) -> bool:
        """Whether the model itself was trained with them."""
        return isinstance(self.conditioning, LabelConditioning)

    def of_values(self, n: int, values: Mapping[str, float]) -> Condition:
        """``n`` samples that all have these ``values``, by name; of others nothing is said.

        Raises InputError where the model was not told values of that name.
        """
        config = self.conditioning
        if not isinstance(config, ValuesConditioning):
            raise InputError("values: this model was trained without; train with conditioning=values")
        for name in values:
            if name not in config.names:
                raise InputError(f"values: the model knows no {name}; {nearest(name, config.names)}")
        row = torch.tensor([values.get(name, torch.nan) for name in config.names])
        return Condition(values=row.expand(n, -1))

    def classes(self, labels: Tensor) -> Tensor:
        """Classes (N,) as int64. Raises InputError where they are none of the model's."""
        count = len(self.label_names)
        if labels.is_floating_point() or labels.ndim != 1 or bool(((labels < 0) | (labels >= count)).any()):
            raise InputError(f"label: gives no classes; give whole numbers from 0 to {count - 1}, one for each item")
        return labels.to(torch.int64)

    def checked(self, condition: Condition, network: NetworkDenoiser, shape: tuple[int, ...]) -> Condition:
        """``condition`` as ``network`` takes it for samples of ``shape``.

        Raises InputError where it is of another kind or shape than the network was trained for.
        """
        if network.conditioner is None:
            raise InputError("condition: this model was trained without; train one with conditioning=labels")
        given = condition.parts()
        rows = {len(part) for part in given.values()}
        if len(rows) != 1:
            raise InputError(f"condition: says something of {sorted(rows)} samples; give one row for each")
        device = next(network.parameters()).device
        takes = network.conditioner.null(torch.zeros(1, *shape, device=device))
        assert isinstance(takes, Condition)
        for name, part in given.items():
            wanted = takes.parts().get(name)
            if wanted is None:
                known = self.conditioning.name
                raise InputError(f"condition.{name}: this model was not trained for it, but for conditioning={known}")
            if part.shape[1:] != wanted.shape[1:]:
                like = ", ".join(map(str, wanted.shape[1:]))
                raise InputError(f"condition.{name}: has shape {tuple(part.shape)}; give (N, {like})")
        if condition.labels is not None:
            condition = replace(condition, labels=self.classes(condition.labels))
        return condition.to(device)

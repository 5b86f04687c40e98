"""What a network may be told, by configuration: which conditioner it has, and what training says of its data."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import nn

from sumi.conditioning.condition import TrainingCondition
from sumi.conditioning.image import (
    GreyConditioning,
    ImageConditioner,
    MaskedConditioning,
    SmallConditioning,
    TrainingImages,
)
from sumi.conditioning.labels import TOKENS, LabelConditioning, LabelEmbedding, TrainingLabels
from sumi.conditioning.values import TrainingValues, ValuesConditioning, ValuesEmbedding, values_of
from sumi.data.dataset import Dataset, every_label
from sumi.errors import InputError
from sumi.networks.condition import ToldSpec


@dataclass(frozen=True)
class NoConditioning:
    """The network is told the noise level and nothing else."""

    name: ClassVar[str] = "none"


ConditioningConfig = (
    NoConditioning | LabelConditioning | ValuesConditioning | MaskedConditioning | SmallConditioning | GreyConditioning
)


class Items(Protocol):
    """What a conditioner has to know of the data."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def label_names(self) -> tuple[str, ...]: ...


def build_conditioner(
    config: ConditioningConfig, items: Items, width: int
) -> tuple[LabelEmbedding | ValuesEmbedding | ImageConditioner | None, ToldSpec]:
    """A new conditioner for a network whose embedding is ``width`` wide, and what that network must take.

    Raises InputError for data that have none of what is to be told.
    """
    if isinstance(config, NoConditioning):
        return None, ToldSpec()
    if isinstance(config, LabelConditioning):
        if not items.label_names:
            raise InputError("conditioning: labels needs data with classes, and these have none; set conditioning=none")
        if config.way == "attention":
            return LabelEmbedding(len(items.label_names), width, TOKENS), ToldSpec(token_width=width)
        return LabelEmbedding(len(items.label_names), width), ToldSpec()
    if len(items.shape) != 3:
        raise InputError(f"conditioning: {config.name} needs images, and these data are none; set conditioning=none")
    if isinstance(config, ValuesConditioning):
        return ValuesEmbedding(len(config.names), width), ToldSpec()
    channels, height, breadth = items.shape
    if isinstance(config, GreyConditioning) and channels != 3:
        raise InputError("conditioning: grey needs images in colour, and these are grey; set data.channels=3 or none")
    if isinstance(config, SmallConditioning):
        if height % config.factor or breadth % config.factor:
            raise InputError(
                f"conditioning.factor: {config.factor} does not divide the images' sides, {height} and {breadth}; "
                "give one that does"
            )
        said = ImageConditioner(channels, config.factor, width if config.noise else 0)
    else:
        said = ImageConditioner(1 if isinstance(config, GreyConditioning) else channels)
    return said, ToldSpec(channels=said.channels + 1)  # and where it is known


def training_condition(
    config: ConditioningConfig, data: Dataset, conditioner: nn.Module | None
) -> TrainingCondition | None:
    """What a network is told of ``data`` in training; None: nothing. A conditioner of values takes their scale.

    Raises InputError where the data have not the values asked for.
    """
    if isinstance(config, NoConditioning) or len(data.shape) != 3:
        return None
    if isinstance(config, LabelConditioning):
        return TrainingLabels(every_label(data).numpy(), len(data.label_names), config.dropout)
    if isinstance(config, ValuesConditioning):
        values = values_of(data, config.names)
        if isinstance(conditioner, ValuesEmbedding):
            conditioner.fit(torch.from_numpy(values))
        return TrainingValues(values, config.dropout)
    return TrainingImages(config, (data.shape[1], data.shape[2]))

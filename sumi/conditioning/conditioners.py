"""The conditions that a network can be trained with: one line per conditioner."""

from collections.abc import Sequence

from sumi.conditioning.augmentation import AugmentationConditioning
from sumi.conditioning.conditioner import Conditioner, ConditionerConfig, Conditioners, Items
from sumi.conditioning.embedding import EmbeddingConditioning
from sumi.conditioning.guidance import GuidanceConditioning
from sumi.conditioning.image import GreyConditioning, MaskedConditioning, SmallConditioning
from sumi.conditioning.labels import LabelConditioning
from sumi.conditioning.picture_sizes import SizesConditioning
from sumi.conditioning.states import StatesConditioning
from sumi.conditioning.text import TextConditioning
from sumi.conditioning.values import ValuesConditioning
from sumi.errors import InputError

ConditioningConfig = (
    LabelConditioning
    | TextConditioning
    | EmbeddingConditioning
    | StatesConditioning
    | SizesConditioning
    | ValuesConditioning
    | MaskedConditioning
    | SmallConditioning
    | GreyConditioning
    | GuidanceConditioning
    | AugmentationConditioning
)


def build_conditioners(configs: Sequence[ConditionerConfig], items: Items, width: int) -> Conditioners | None:
    """New conditioners for a network with an embedding of ``width``; None if there are none.

    Raises InputError for data that lack the condition, and for a conditioner that is given twice.
    """
    built: dict[str, Conditioner] = {}
    for config in configs:
        if config.name in built:
            raise InputError(f"conditioning: {config.name} is given twice; give it once")
        built[config.name] = config.build(items, width)
    return Conditioners(built) if built else None

"""A judge of pictures: one network that reads every attribute of a picture, with a head for each.

    picture ─ `Vision` ─ features ─ linear ─ logits of attribute 1 | logits of attribute 2 | …

The loss is the cross-entropy of each attribute, their mean. A picture of a kind that lacks an attribute is of the first
value of its head, which stands for that; so a judge does not read a mouth where there is none.

To judge what was generated of combinations that no picture of a generator's training shows, the judge must know them
itself: it is trained on all splits of the data, and a hash of the names decides what is held out (``data.own_splits``).
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Final, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.data.batch import Batch
from sumi.data.dataset import Dataset
from sumi.data.image_set import ImageDataset
from sumi.data.items import Items, read_items
from sumi.data.spec import DataSpec, expect
from sumi.errors import InputError
from sumi.models.model import RunDescription, SystemConfig, TrainedModel
from sumi.models.size import bounded
from sumi.networks.vision import VisionConfig
from sumi.objectives.objective import Objective

BATCH: Final = 256
Attributes = Sequence[Mapping[str, str]]
"""What is known of each picture, value by name."""


@dataclass(frozen=True)
class JudgeConfig(SystemConfig):
    """The full configuration of a judge of attributes."""

    name: ClassVar[str] = "judge"

    attributes: tuple[tuple[str, ...], ...] = field(
        default=(), metadata={"help": "what it reads, each a name and its values: set from the data when it is trained"}
    )
    network: VisionConfig = field(default_factory=VisionConfig, metadata={"help": "the network"})

    def of_data(self, data: Dataset) -> Self:
        """With the attributes of ``data``. Raises InputError where they have none."""
        return replace(self, attributes=attributes_in(attributes_of(data)))

    def annotations(self, data: Dataset) -> str:
        """See `SystemConfig.annotations`: attributes. Raises InputError where ``data`` have none."""
        known = json.dumps([sorted(each.items()) for each in attributes_of(data)])
        return hashlib.sha256(known.encode()).hexdigest()

    @property
    def identity(self) -> tuple[object, ...]:
        """The settings that the weights depend on."""
        return self.attributes, self.network

    def build(self, items: DataSpec) -> "JudgeObjective":
        """A new judge, to which all values are equally likely. Raises InputError for items that are no images."""
        return JudgeObjective(bounded(lambda: Judge(self.network, self.attributes, items.shape)))

    def wrap(self, description: RunDescription, module: nn.Module, step: int, folder: Path) -> "JudgeModel":
        """The judge, ready to read."""
        assert isinstance(module, Judge)
        return JudgeModel(description, module, step, folder)


def attributes_of(data: Dataset) -> Attributes:
    """What is known of each item. Raises InputError where nothing is."""
    images = expect(data, ImageDataset, "data.source: holds no images, and attributes are of images; give images")
    if not images.attributes:
        raise InputError("data.source: has no attributes of its images to read; give such as characters")
    return images.attributes


def attributes_in(known: Attributes) -> tuple[tuple[str, ...], ...]:
    """(name, value, value, …) of all attributes, in the order in which they come, their values sorted."""
    values: dict[str, set[str]] = {}
    for each in known:
        for name, value in each.items():
            values.setdefault(name, set()).add(value)
    return tuple((name, *sorted(some)) for name, some in values.items())


class Judge(nn.Module):
    """``forward(x: (N, C, H, W)) -> [(N, 1 + values)]``: float32 logits of each attribute; the first: it has none."""

    def __init__(self, config: VisionConfig, attributes: Sequence[tuple[str, ...]], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.attributes = {name: values for name, *values in attributes}
        self.sizes = [1 + len(values) for values in self.attributes.values()]
        self.vision = config.build(shape)
        self.out = nn.Linear(config.features, sum(self.sizes))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> list[Tensor]:
        return list(self.out(self.vision(x)).float().split(self.sizes, 1))

    def targets(self, known: Attributes) -> Tensor:
        """int64 (N, attributes): the place of each value in its head. Raises InputError for an unknown value."""
        return torch.tensor([[self._place(name, each.get(name)) for name in self.attributes] for each in known])

    def _place(self, name: str, value: str | None) -> int:
        if value is None:
            return 0
        if value not in self.attributes[name]:
            raise InputError(f"data: {name} is {value!r}, which the judge was not trained on; give its own data")
        return 1 + self.attributes[name].index(value)


class JudgeObjective(Objective[Judge]):
    """The mean over a picture's attributes of their cross-entropy, in nats."""

    def forward(self, batch: Batch) -> Tensor:
        known = attributes_of(batch.data)
        targets = self.model.targets([known[item] for item in batch.items.tolist()]).to(self.device)
        logits = self.model(batch.x.to(self.device))
        losses = [F.cross_entropy(head, targets[:, k], reduction="none") for k, head in enumerate(logits)]
        return torch.stack(losses).mean(0)


class JudgeModel(TrainedModel[JudgeConfig, Judge]):
    """A judge with what it was trained for."""

    what: ClassVar[str] = "judges of attributes"

    @property
    def evaluated_as(self) -> str:
        return "judges"

    def preview(self) -> bytes | None:
        """None: a judge makes no samples."""
        return None

    @torch.inference_mode()
    def read(self, images: Items, progress: Callable[[int, int], None] | None = None) -> list[dict[str, str]]:
        """The attributes that it reads in images (N, C, H, W) in [-1, 1], or in one, those that a picture has.

        Raises InputError as `read_items`, and for images of another shape than it was trained on.
        """
        images = read_items("images", images, self.items.shape)
        images = images[None] if images.ndim == len(self.items.shape) else images
        if images.shape[1:] != self.items.shape:
            raise InputError(f"images: are {tuple(images.shape[1:])}, and {self.folder} reads {self.items.shape}")
        found: list[dict[str, str]] = []
        for part in images.split(BATCH):
            places = torch.stack([head.argmax(1) for head in self.module(part.to(self.device))], 1).tolist()
            found += [
                {
                    name: values[k - 1]
                    for (name, values), k in zip(self.module.attributes.items(), row, strict=True)
                    if k
                }
                for row in places
            ]
            if progress is not None:
                progress(len(found), len(images))
        return found

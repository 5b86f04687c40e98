"""An objective: a model with the loss it is trained on; a module, so hooks, DDP and FSDP see all that is trained."""

from abc import ABC, abstractmethod
from typing import Any, Generic

import torch
from torch import Tensor, nn
from typing_extensions import TypeVar

from sumi.data.batch import Batch
from sumi.data.dataset import Dataset

ModelT = TypeVar("ModelT", bound=nn.Module, default=Any)


class Objective(nn.Module, ABC, Generic[ModelT]):
    """What the trainer trains. ``model``: what is averaged, saved and used afterwards; it holds all parameters."""

    def __init__(self, model: ModelT) -> None:
        super().__init__()
        self.model: ModelT = model

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """The loss of each item, float32 (n,): a function of the batch and the weights."""

    def fit(self, data: Dataset) -> None:
        """Take from the training data what the model must know of them, before the first step. Raises InputError."""
        del data

    def auxiliary(self) -> list[nn.Module]:
        """Parts of the model that are trained beside its network, such as a learned schedule or a discriminator."""
        return []

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        """The parameters of the network, then those of each auxiliary part that has any; each is clipped for itself."""
        others = [found for part in self.auxiliary() if (found := list(part.parameters()))]
        apart = {parameter for part in others for parameter in part}
        return [[parameter for parameter in self.parameters() if parameter not in apart], *others]

    @property
    def device(self) -> torch.device:
        return next(self.parameters(), torch.empty(0)).device  # on the CPU where nothing is trained

"""An objective: a model with its training loss, as one module, so that hooks, DDP and FSDP see all parameters."""

from abc import ABC, abstractmethod
from typing import Any, Generic

import torch
from torch import Tensor, nn
from typing_extensions import TypeVar

from sumi.data.batch import Batch
from sumi.data.dataset import Dataset
from sumi.networks.recompute import blocks

ModelT = TypeVar("ModelT", bound=nn.Module, default=Any)


class Objective(nn.Module, ABC, Generic[ModelT]):
    """What the trainer trains. ``model`` holds all parameters; it is averaged, saved and used afterwards."""

    def __init__(self, model: ModelT) -> None:
        super().__init__()
        self.model: ModelT = model

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """The loss of each item, float32 (n,): a function of the batch and the weights only."""

    def fit(self, data: Dataset) -> None:
        """Fit the model to statistics of the training data, before the first step. Raises InputError."""
        del data

    def auxiliary(self) -> list[nn.Module]:
        """Modules trained together with the network, such as a learned schedule or a discriminator."""
        return []

    def blocks(self) -> list[nn.Module]:
        """Modules whose weights are used in their own ``forward`` alone, and whose derivatives are taken by the
        training's backward pass alone: such as can be compiled.

        Where processes also call them alike (`calls_alike`), a block's weights can be gathered while it computes and at
        no other time (`sumi.training.sharding`). All other weights are gathered for the whole step.
        """
        return blocks(self.model)

    @property
    def calls_alike(self) -> bool:
        """Whether each process calls every block equally often, whatever its items of a batch are."""
        return True

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        """The parameters of the network, then those of each auxiliary module; gradients are clipped per group."""
        trained = ([weight for weight in part.parameters() if weight.requires_grad] for part in self.auxiliary())
        others = [found for found in trained if found]
        apart = {parameter for part in others for parameter in part}
        own = [weight for weight in self.parameters() if weight.requires_grad and weight not in apart]
        return [own, *others]

    @property
    def device(self) -> torch.device:
        return next(self.parameters(), torch.empty(0)).device  # the CPU if there are no parameters

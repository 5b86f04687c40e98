"""VAEs, GANs and PixelCNNs as a kind of run, for the comparison with diffusion."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from sumi.data.dataset import Dataset
from sumi.data.images import ImageSpec
from sumi.data.spec import expect
from sumi.models.baselines.baseline import Baseline
from sumi.models.baselines.config import BaselineConfig
from sumi.models.baselines.model import BaselineModel
from sumi.models.baselines.task import BaselineTask, baseline
from sumi.models.description import RunDescription


@dataclass(frozen=True)
class BaselineKind:
    """The kind of run of `BaselineConfig`."""

    config: BaselineConfig
    description: RunDescription

    def build(self) -> Baseline:
        """The configured network. Raises InputError for data that it cannot take."""
        items, network = self.description.items, self.config.network.name
        why = f"data.source: {self.config.data.source} has {items.name}; a {network} takes images"
        items = expect(items, ImageSpec, why)
        return self.config.network.build(items.shape, items.levels)

    def task(self, module: nn.Module, data: Dataset, device: torch.device) -> BaselineTask:
        """The module's own loss."""
        del module
        return BaselineTask(data, self.config.seed, device, self.config.data.flip)

    def model(self, module: nn.Module, step: int, folder: Path) -> BaselineModel:
        """The module with all that is needed to sample."""
        return BaselineModel(self.description, baseline(module), step, folder)

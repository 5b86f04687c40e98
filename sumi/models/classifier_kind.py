"""Classifiers of noisy images as a kind of run."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from sumi.data.dataset import Dataset, every_label
from sumi.errors import InputError, SumiError
from sumi.guidance.classifier import NoisyClassifier
from sumi.models.classifier import ClassifierModel
from sumi.models.classifier_config import NoisyClassifierConfig
from sumi.models.classifier_task import ClassificationTask
from sumi.models.description import RunDescription


@dataclass(frozen=True)
class Classification:
    """The kind of run of `NoisyClassifierConfig`."""

    config: NoisyClassifierConfig
    description: RunDescription

    def build(self) -> NoisyClassifier:
        """A new network that takes all classes to be alike. Raises InputError for data without classes."""
        items, config = self.description.items, self.config
        if not items.label_names:
            raise InputError(f"data.source: {config.data.source} has no classes to tell apart; give labelled images")
        return NoisyClassifier(config.network.build(items.shape, len(items.label_names)), config.lowest, config.highest)

    def task(self, module: nn.Module, data: Dataset, device: torch.device) -> ClassificationTask:
        """Tell the classes of noised ``data`` apart. Raises InputError where they have none."""
        del module
        if not data.label_names:
            raise InputError(f"data.source: {self.config.data.source} has no labelled images; give some")
        return ClassificationTask(data, every_label(data), self.config.seed, device, flip=self.config.data.flip)

    def model(self, module: nn.Module, step: int, folder: Path) -> ClassifierModel:
        """The classifier, ready to guide."""
        if not isinstance(module, NoisyClassifier):
            raise SumiError(f"classifier: a {type(module).__name__} is none; build one with this kind")
        return ClassifierModel(self.description, module, step, folder)

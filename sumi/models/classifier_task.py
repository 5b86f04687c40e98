"""The task of a classifier of noisy images: the cross-entropy of the class given x_t (Dhariwal & Nichol 2021, 4.1).

x_t = √u x_0 + √(1 - u) ε,      u = sigmoid(log_snr),      log_snr uniform over what the classifier is to know
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.data.dataset import Dataset
from sumi.errors import SumiError
from sumi.guidance.classifier import NoisyClassifier
from sumi.process.gaussian import add_noise
from sumi.process.schedule import at_log_snr
from sumi.randomness import Purpose, normal, uniform
from sumi.training.batch import training_batch


@dataclass(frozen=True)
class ClassificationTask:
    """Labelled images, noised by the counter. ``flip``: mirror images left to right, half of the time."""

    data: Dataset
    labels: Tensor
    seed: int
    device: torch.device
    flip: bool = False

    @property
    def items(self) -> int:
        return len(self.data)

    def loss(self, module: nn.Module, step: int, positions: np.ndarray, items: np.ndarray) -> Tensor:
        """The cross-entropy of each sample in nats, float32 (n,): a function of (seed, step, positions, items)."""
        if not isinstance(module, NoisyClassifier):
            raise SumiError(f"training: a classification task trains a classifier, not a {type(module).__name__}")
        where = positions.tolist()
        x_0 = training_batch(self.data, items, flip=self.flip, seed=self.seed, step=step, positions=where)
        place = uniform(self.seed, where, step, Purpose.TRAINING_TIME)
        now = at_log_snr(module.lowest + (module.highest - module.lowest) * place)
        noise = normal(self.seed, where, step, Purpose.TRAINING_NOISE, self.data.shape)
        x_t = add_noise(x_0, noise, now).to(self.device, non_blocking=True)
        return F.cross_entropy(module.logits(x_t, now), self.labels[items].to(self.device), reduction="none")

    def beside(self, module: nn.Module) -> list[nn.Module]:
        """Nothing: the classifier is one network."""
        del module
        return []

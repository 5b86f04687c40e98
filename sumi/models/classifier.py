"""Classifiers of noisy images, which guide diffusion models of whatever schedule (Dhariwal & Nichol 2021, section 4.1).

    x_t = √u x_0 + √(1 - u) ε,      u = sigmoid(log_snr),      log_snr uniform over what the classifier is to know

The objective is the cross-entropy of the class given x_t. Beyond that range of log-SNR, noise either hides the class
completely or not at all.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.data.batch import Batch
from sumi.data.dataset import Dataset
from sumi.data.spec import DataSpec
from sumi.errors import InputError
from sumi.guidance.classifier import NoisyClassifier
from sumi.metrics.intervals import Estimate, share
from sumi.models.model import RunDescription, SystemConfig, TrainedModel
from sumi.models.size import bounded
from sumi.networks.classifier import ClassifierConfig
from sumi.networks.guided_classifier import GuidedClassifierConfig
from sumi.objectives.objective import Objective
from sumi.process.gaussian import add_noise
from sumi.process.schedule import at_log_snr
from sumi.randomness import Purpose, normal

POINTS: Final = 17
BATCH: Final = 256
MOST: Final = 2000


@dataclass(frozen=True)
class NoisyClassifierConfig(SystemConfig):
    """The full configuration of a classifier of noisy images."""

    name: ClassVar[str] = "classifier"

    lowest: float = field(default=-8.0, metadata={"help": "log-SNR of the noisiest images it is trained on"})
    highest: float = field(default=8.0, metadata={"help": "log-SNR of the cleanest"})
    network: ClassifierConfig | GuidedClassifierConfig = field(
        default_factory=ClassifierConfig, metadata={"help": "the backbone"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -20 <= self.lowest < self.highest <= 20:
            raise InputError(
                f"lowest, highest: {self.lowest:g} to {self.highest:g} is no range of log-SNR; give lowest below "
                "highest, between -20 and 20"
            )

    @property
    def identity(self) -> tuple[object, ...]:
        """The settings that the weights depend on."""
        return self.lowest, self.highest, self.network

    def build(self, items: DataSpec) -> "ClassifierObjective":
        """A new network, which predicts all classes equally. Raises InputError for data without classes."""
        if not items.label_names:
            raise InputError(f"data.source: {self.data.source} has no classes to tell apart; give labelled images")
        shape, classes = items.shape, len(items.label_names)
        network = bounded(lambda: self.network.build(shape, classes))
        return ClassifierObjective(NoisyClassifier(network, self.lowest, self.highest))

    def wrap(self, description: RunDescription, module: nn.Module, step: int, folder: Path) -> "ClassifierModel":
        """The classifier, ready to guide."""
        assert isinstance(module, NoisyClassifier)
        return ClassifierModel(description, module, step, folder)


class ClassifierObjective(Objective[NoisyClassifier]):
    """The cross-entropy of each image's class in nats, at a random noise level."""

    def forward(self, batch: Batch) -> Tensor:
        model = self.model
        now = at_log_snr(model.lowest + (model.highest - model.lowest) * batch.uniform(Purpose.TRAINING_TIME))
        noise = batch.normal(Purpose.TRAINING_NOISE, batch.data.shape)
        x_0, noise = (value.to(self.device, non_blocking=True) for value in (batch.x, noise))
        x_t = add_noise(x_0, noise, now)
        labels = batch.data.labels_of(batch.items).to(self.device)
        return F.cross_entropy(model.logits(x_t, now), labels, reduction="none")


@dataclass(frozen=True)
class AccuracyByNoise:
    """Accuracy on ``images`` held-out images by log-SNR, noise first; ``guess``: the most frequent class's share."""

    log_snr: tuple[float, ...]
    accuracy: tuple[Estimate, ...]
    guess: float
    images: int


class ClassifierModel(TrainedModel[NoisyClassifierConfig, NoisyClassifier]):
    """A noisy classifier with what it was trained for."""

    what: ClassVar[str] = "classifiers of noisy images"

    @property
    def classifier(self) -> NoisyClassifier:
        return self.module

    @property
    def evaluated_as(self) -> str:
        return "classifiers"

    def preview(self) -> bytes | None:
        """None: a classifier makes no samples."""
        return None

    @torch.inference_mode()
    def accuracy_by_noise(
        self, held_out: Dataset, *, seed: int = 0, progress: Callable[[int, int], None] | None = None
    ) -> AccuracyByNoise:
        """The accuracy on held-out images at log-SNRs from the lowest to the highest.

        At most 2000 images are used, evenly spaced. Raises InputError if there are none, or if they have other classes
        than the model.
        """
        if not held_out.label_names or held_out.label_names != self.items.label_names or not len(held_out):
            raise InputError("data.source: has no held-out images of the classes it knows; give the data of the run")
        chosen = torch.linspace(0, len(held_out) - 1, min(MOST, len(held_out))).round().long()
        labels = held_out.labels_of(chosen.numpy())
        points = torch.linspace(self.classifier.lowest, self.classifier.highest, POINTS, dtype=torch.float64)
        found = []
        for k, log_snr in enumerate(points):
            right = 0
            for part in chosen.split(BATCH):
                x_0 = held_out.batch(part.numpy())
                now = at_log_snr(log_snr.expand(len(part)))
                noise = normal(seed, part.tolist(), k, Purpose.EVALUATION, held_out.shape)
                logits = self.classifier.logits(add_noise(x_0, noise, now).to(self.device), now)
                right += int((logits.argmax(1).cpu() == held_out.labels_of(part.numpy())).sum())
            found.append(share(right, len(chosen)))
            if progress is not None:
                progress(k + 1, POINTS)
        guess = float(labels.bincount().max()) / len(labels)
        return AccuracyByNoise(tuple(points.tolist()), tuple(found), guess, len(labels))

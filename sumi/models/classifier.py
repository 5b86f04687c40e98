"""A trained classifier of noisy images: what guides, and how well it recognises held-out images in so much noise."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import torch

from sumi.data.dataset import Dataset
from sumi.errors import InputError
from sumi.guidance.classifier import NoisyClassifier
from sumi.metrics.intervals import Estimate, share
from sumi.models.classifier_config import NoisyClassifierConfig
from sumi.models.description import RunDescription
from sumi.models.model import TrainedModel
from sumi.process.gaussian import add_noise
from sumi.process.schedule import at_log_snr
from sumi.randomness import Purpose, normal

POINTS: Final = 17
BATCH: Final = 256
MOST: Final = 2000


@dataclass(frozen=True)
class AccuracyByNoise:
    """Shares right of ``images`` held-out images, by log-SNR, noise first; ``guess``: the commonest class's share."""

    log_snr: tuple[float, ...]
    accuracy: tuple[Estimate, ...]
    guess: float
    images: int


class ClassifierModel(TrainedModel):
    """A noisy classifier with what it was trained for."""

    what: ClassVar[str] = "classifiers of noisy images"

    def __init__(self, description: RunDescription, classifier: NoisyClassifier, step: int, folder: Path) -> None:
        if not isinstance(description.config, NoisyClassifierConfig):
            raise InputError(f"{folder}: is a run of {description.config.recipe}, and this is for {self.what}")
        super().__init__(description, classifier, step, folder)
        self._config, self.classifier = description.config, classifier

    @property
    def config(self) -> NoisyClassifierConfig:
        return self._config

    @property
    def evaluated_as(self) -> str:
        return "classifiers"

    def preview(self) -> bytes | None:
        """None: a classifier draws nothing."""
        return None

    @torch.inference_mode()
    def accuracy_by_noise(
        self, held_out: Dataset, *, seed: int = 0, progress: Callable[[int, int], None] | None = None
    ) -> AccuracyByNoise:
        """How much of the held-out images it recognises at log-SNR from its lowest to its highest.

        Of more than 2000 images, so many are looked at, evenly spaced. Raises InputError where they are none, or have
        other classes than it knows.
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

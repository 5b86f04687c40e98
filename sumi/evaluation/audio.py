"""Measurements of sound: distances of features of log-mel pictures, what a judge hears, copies, loudness.

Features and judge are classifiers of log-mel pictures (`sumi.metrics.features.log_mel`) of different seeds. The judge
also learns from half of the held-out clips, and so also from recordings, and speakers where these differ, that the
model never heard; the other half says how often it is right of real clips.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sumi.boundary.progress import Count, counting_one
from sumi.data.audio import AudioSpec
from sumi.data.dataset import Dataset, every_label, everything
from sumi.data.sound_files import LEVELS, clipped
from sumi.evaluation.images import Distances, distances, look
from sumi.metrics.correlation import best_correlation
from sumi.metrics.features.learned import FEWEST_IMAGES, train_classifier, train_rotations
from sumi.metrics.features.log_mel import as_images
from sumi.metrics.features.network import FEWEST, FeatureNetwork
from sumi.metrics.intervals import Estimate, share

COPY = 0.9
"""A best correlation above this is a copy."""
COMPARED = 48
"""Samples, and held-out clips, that are compared with all training clips."""


@dataclass(frozen=True)
class Level:
    """Medians over clips of the ``loudness``, 20 lg of the root of the mean square, and of the ``offset``, |mean|; and
    the share of values that 16 bits clip."""

    loudness: float
    offset: float
    clipped: float


@dataclass(frozen=True)
class AudioEvaluation:
    """Of ``samples`` clips and ``held_out`` real ones.

    ``distances``: samples to held-out clips, ``real_distances``: as many training clips to those. ``heard`` and
    ``heard_real``: how often the judge names the class that was to be made, and that of real clips; None without
    classes. ``copies`` and ``copies_real``: the share of clips whose best correlation with a training clip is above
    `COPY`; ``alike`` and ``alike_real``: its median.
    """

    seed: int
    training: int
    samples: int
    held_out: int
    distances: Distances
    real_distances: Distances
    heard: Estimate | None
    heard_real: Estimate | None
    copies: Estimate
    copies_real: Estimate
    alike: float
    alike_real: float
    level: Level
    level_real: Level


def enough(samples: int, train: Dataset, held_out: Dataset) -> bool:
    """Whether there is enough to measure."""
    return min(samples, len(held_out)) >= 2 * FEWEST and len(train) >= FEWEST_IMAGES


def evaluate_sound(
    samples: Tensor,
    labels: Tensor | None,
    train: Dataset,
    held_out: Dataset,
    spec: AudioSpec,
    *,
    seed: int = 0,
    progress: Count | None = None,
) -> AudioEvaluation:
    """Measure ``samples`` (N, 1, L), of the classes ``labels`` (N,), against held-out clips (module docstring)."""
    known, real = everything(train), everything(held_out)
    pictures, of_known, of_real = (as_images(x, spec.rate) for x in (samples, known, real))
    network = _network(of_known, train, seed, counting_one(progress, "training the feature network on real clips"))
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))[: len(real)]
    seen = [look(network, [x], len(x), lambda _: None) for x in (pictures, of_real, of_known[order])]
    heard = heard_real = None
    if labels is not None and held_out.label_names == train.label_names:
        heard, heard_real = _heard(pictures, labels, of_known, of_real, train, held_out, seed, progress)
    chosen = [torch.linspace(0, len(x) - 1, min(COMPARED, len(x))).round().long() for x in (samples, real)]
    counted = counting_one(progress, "searching for copies")
    made, of_reals = (
        best_correlation(x[rows].flatten(1), known.flatten(1), counted)[0]
        for x, rows in zip((samples, real), chosen, strict=True)
    )
    return AudioEvaluation(
        seed,
        len(known),
        len(samples),
        len(real),
        distances(seen[0], seen[1]),
        distances(seen[2], seen[1]),
        heard,
        heard_real,
        share(int((made > COPY).sum()), len(made)),
        share(int((of_reals > COPY).sum()), len(of_reals)),
        float(made.median()),
        float(of_reals.median()),
        level_of(samples),
        level_of(real),
    )


def level_of(x: Tensor) -> Level:
    """Of clips (N, 1, L)."""
    flat = x.double().flatten(1)
    loudness = 10 * flat.square().mean(1).clamp(min=LEVELS**-2).log10()
    return Level(float(loudness.median()), float(flat.mean(1).abs().median()), clipped(x.numpy()) / x.numel())


def _network(pictures: Tensor, data: Dataset, seed: int, report: object) -> FeatureNetwork:
    progress = report if callable(report) else None
    if not data.label_names:
        return train_rotations(pictures, seed=seed, progress=progress)
    labels, classes = every_label(data), len(data.label_names)
    return train_classifier(pictures, labels, classes=classes, seed=seed, progress=progress)


def _heard(
    pictures: Tensor,
    labels: Tensor,
    of_known: Tensor,
    of_real: Tensor,
    train: Dataset,
    held_out: Dataset,
    seed: int,
    progress: Count | None,
) -> tuple[Estimate, Estimate]:
    """How often a judge names the classes of samples, and of the half of the held-out clips that it did not see."""
    mixed = torch.from_numpy(np.random.default_rng(seed).permutation(len(of_real)))
    taught, tested = mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]
    truth = every_label(held_out)
    judge = train_classifier(
        torch.cat([of_known, of_real[taught]]),
        torch.cat([every_label(train), truth[taught]]),
        classes=len(train.label_names),
        seed=seed + 1,
        progress=counting_one(progress, "training the judge"),
    )

    def right(x: Tensor, wanted: Tensor) -> Estimate:
        return share(int((judge.probabilities(x).argmax(1) == wanted).sum()), len(x))

    return right(pictures, labels), right(of_real[tested], truth[tested])

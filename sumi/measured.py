"""What measuring a model gives, whatever it makes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sumi.evaluation.intervals import Estimate
from sumi.evaluation.summary import Evaluation
from sumi.noisy_classifier import AccuracyByNoise

Count = Callable[[str, int, int], None]
"""Told what is being done, and done of total."""


@dataclass(frozen=True)
class VectorEvaluation:
    """What was measured. ``distance``: samples to held-out data; ``real``: as many others of the same data.

    ``known`` and ``known_real``: of bits, how many samples and held-out sequences occur in training; else None.
    """

    seed: int
    samples: int
    held_out: int
    distance: Estimate
    real: Estimate
    known: Estimate | None
    known_real: Estimate | None


@dataclass(frozen=True)
class Measured:
    """What was found: the figures (None where too few data are held out), in words, and the report's files."""

    evaluation: Evaluation | VectorEvaluation | AccuracyByNoise | None
    verdict: str
    report: Path
    files: tuple[Path, ...]


def counting_one(progress: Count | None, what: str) -> Callable[[int, int], None] | None:
    """``progress`` for one thing of that name."""
    return None if progress is None else lambda done, total: progress(what, done, total)
